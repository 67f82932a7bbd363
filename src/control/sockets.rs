//! Listening sockets: one per worker and listener, bound on the control side and handed to the workers.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::changes::Held;
use super::upgrade::Inherited;
use crate::limits;

/// A listener just bound.
#[derive(Debug)]
pub(super) struct Opened {
    /// Its name and addresses.
    pub(super) held: Held,
    /// Its sockets, which listen.
    pub(super) sockets: Vec<TcpListener>,
    /// Whether they came from another process, which may accept from them still.
    pub(super) is_inherited: bool,
    /// Copies of the sockets for each worker.
    pub(super) berths: Vec<Vec<TcpListener>>,
}

/// Every listening socket of this process, kept to be passed on; workers accept from copies.
#[derive(Debug, Default)]
pub(super) struct Originals(Vec<(Held, Vec<TcpListener>)>);

impl Originals {
    /// A listener was opened.
    pub(super) fn keep(&mut self, held: Held, sockets: Vec<TcpListener>) {
        self.0.push((held, sockets));
    }

    /// The listener bound to that address is to be closed.
    pub(super) fn close(&mut self, bound: SocketAddr) {
        self.0.retain(|(held, _)| held.bound != bound);
    }

    /// The listener bound to that address is held so from now on.
    pub(super) fn rename(&mut self, to: &Held) {
        for (held, _) in self.0.iter_mut().filter(|(held, _)| held.bound == to.bound) {
            held.clone_from(to);
        }
    }

    /// What this process listens on.
    pub(super) fn held(&self) -> Vec<Held> {
        self.0.iter().map(|(held, _)| held.clone()).collect()
    }

    /// Where this process listens.
    pub(super) fn bound(&self) -> Vec<SocketAddr> {
        self.0.iter().map(|(held, _)| held.bound).collect()
    }

    /// Opens further listeners, as [`open_all`] does.
    ///
    /// # Errors
    /// The first that cannot be opened, by name.
    pub(super) fn open_more(&self, wanted: &[(String, SocketAddr)], workers: usize) -> Result<Vec<Opened>, String> {
        open_all(wanted, self.bound(), workers, &mut Inherited::default())
    }

    /// Every listener with its sockets.
    pub(super) fn all(&self) -> impl Iterator<Item = (&Held, &[TcpListener])> {
        self.0.iter().map(|(held, sockets)| (held, sockets.as_slice()))
    }
}

/// Copies of `sockets` for each of `workers`. Another process may have had more workers, of which no queue may be left
/// alone, or fewer, and then several accept from one socket.
///
/// # Errors
/// No descriptor is left.
pub(super) fn berths(sockets: &[TcpListener], workers: usize) -> io::Result<Vec<Vec<TcpListener>>> {
    let mut berths: Vec<Vec<TcpListener>> = (0..workers).map(|_| Vec::new()).collect();
    for turn in 0..sockets.len().max(workers) {
        berths[turn % workers].push(sockets[turn % sockets.len()].try_clone()?);
    }
    Ok(berths)
}

/// Opens every listener of `wanted` (name and address): what was inherited is taken up, the rest is bound, beside what this
/// process listens on already (`ours`, and what it inherited).
///
/// # Errors
/// The first that cannot be opened, by name; then none stays bound.
pub(super) fn open_all(
    wanted: &[(String, SocketAddr)],
    mut ours: Vec<SocketAddr>,
    workers: usize,
    inherited: &mut Inherited,
) -> Result<Vec<Opened>, String> {
    ours.extend(inherited.bound());
    let mut one = |(name, configured): &(String, SocketAddr)| {
        let refused = |why: String| format!("listener `{name}`: {why}");
        let found = inherited.take_for(name, *configured);
        let is_inherited = found.is_some();
        let (bound, sockets) = match found {
            Some(found) => (found.bound, found.sockets),
            None => bind(*configured, workers, is_beside(*configured, &ours)).map_err(refused)?,
        };
        // A configuration that a reload takes starts as well.
        ours.push(bound);
        let berths = berths(&sockets, workers).map_err(|error| refused(error.to_string()))?;
        let held = Held { name: name.clone(), configured: *configured, bound };
        Ok(Opened { held, sockets, is_inherited, berths })
    };
    wanted.iter().map(&mut one).collect()
}

/// Whether every listener of `wanted` could be opened beside `ours`, without a queue that anybody might come to: clients
/// come to sockets that listen alone.
///
/// # Errors
/// The first that cannot be opened, by name.
pub(super) fn may_open(wanted: &[(String, SocketAddr)], ours: &[SocketAddr]) -> Result<(), String> {
    for (name, address) in wanted.iter().filter(|(_, address)| address.port() != 0) {
        let bound = bound_socket(*address, is_beside(*address, ours));
        drop(bound.map_err(|error| format!("listener `{name}`: {}", explain(*address, &error)))?);
    }
    Ok(())
}

/// Whether one of `ours` is on the port of `address` and has clients in common with it, as when a listener is widened from
/// one address to all, or narrowed: only by `SO_REUSEPORT` may both listen. Clients come to the narrower one.
fn is_beside(address: SocketAddr, ours: &[SocketAddr]) -> bool {
    // `[::]` takes IPv4 clients too.
    let covers = |wide: IpAddr, narrow: IpAddr| wide.is_unspecified() && (wide.is_ipv6() || narrow.is_ipv4());
    let overlap = |one: IpAddr, other: IpAddr| one == other || covers(one, other) || covers(other, one);
    let is_near = |held: &&SocketAddr| held.port() == address.port() && **held != address;
    ours.iter().filter(is_near).any(|held| overlap(held.ip().to_canonical(), address.ip().to_canonical()))
}

/// Binds `workers` sockets to `address` (port 0: the kernel chooses one for all).
///
/// `SO_REUSEPORT` would let a second gateway share the port in silence, so unless this process itself listens beside it, a
/// socket without it is bound first and closed again.
///
/// # Errors
/// One sentence that names the address and the likely cause.
fn bind(address: SocketAddr, workers: usize, is_beside: bool) -> Result<(SocketAddr, Vec<TcpListener>), String> {
    let explained = |error: io::Error| explain(address, &error);
    if address.port() != 0 && !is_beside {
        drop(bound_socket(address, false).map_err(explained)?);
    }
    let first = open(address).map_err(explained)?;
    let address = first.local_addr().map_err(explained)?;
    let mut sockets = vec![first];
    while sockets.len() < workers {
        sockets.push(open(address).map_err(explained)?);
    }
    Ok((address, sockets))
}

/// A listening socket; accepted sockets inherit `TCP_NODELAY` and `SO_KEEPALIVE` from it.
fn open(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = bound_socket(address, true)?;
    socket.set_tcp_nodelay(true)?;
    socket.set_keepalive(true)?;
    socket.listen(limits::LISTEN_BACKLOG)?;
    Ok(socket.into())
}

/// A socket that does not listen yet.
fn bound_socket(address: SocketAddr, reuse_port: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // `[::]` takes IPv4 clients too, whatever net.ipv6.bindv6only says.
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_port(reuse_port)?;
    socket.bind(&SockAddr::from(address))?;
    Ok(socket)
}

fn explain(address: SocketAddr, error: &io::Error) -> String {
    #[allow(clippy::wildcard_enum_match_arm, reason = "ErrorKind is open; the rest has no likely cause")]
    let cause = match error.kind() {
        io::ErrorKind::AddrInUse => "; another process listens there (`ss -ltnp` shows which)",
        io::ErrorKind::PermissionDenied => "; ports below 1024 need CAP_NET_BIND_SERVICE",
        io::ErrorKind::AddrNotAvailable => "; no interface of this machine has that address",
        _ => "",
    };
    format!("cannot listen on {address}: {error}{cause}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loopback() -> SocketAddr {
        "127.0.0.1:0".parse().unwrap()
    }

    #[test]
    fn every_worker_gets_a_socket_on_the_same_port() {
        let opened = open_all(&[("web".to_owned(), loopback())], Vec::new(), 3, &mut Inherited::default()).unwrap();
        assert_ne!(opened[0].held.bound.port(), 0);
        assert_eq!(opened[0].held.configured.port(), 0);
        assert_eq!(opened[0].sockets.len(), 3);
        for socket in &opened[0].sockets {
            assert_eq!(socket.local_addr().unwrap(), opened[0].held.bound);
        }
    }

    #[test]
    fn a_port_that_another_gateway_listens_on_is_an_error_that_says_so() {
        let (address, _sockets) = bind(loopback(), 1, false).unwrap();
        let error = open_all(&[("web".to_owned(), address)], Vec::new(), 1, &mut Inherited::default()).unwrap_err();
        assert!(error.contains("`web`") && error.contains(&address.to_string()), "{error}");
        assert!(error.contains("another process"), "{error}");
        assert_eq!(may_open(&[("web".to_owned(), address)], &[]), Err(error));
        assert_eq!(may_open(&[("more".to_owned(), loopback())], &[]), Ok(()));
    }

    #[test]
    fn listeners_of_one_port_stand_beside_each_other() {
        let (address, _sockets) = bind(loopback(), 1, false).unwrap();
        let wide = |ip: [u8; 4]| ("wide".to_owned(), SocketAddr::from((ip, address.port())));
        assert!(may_open(&[wide([0, 0, 0, 0])], &[]).is_err());
        assert_eq!(may_open(&[wide([0, 0, 0, 0])], &[address]), Ok(()));
        let wanted = [wide([0, 0, 0, 0]), wide([127, 0, 0, 2])];
        let opened = open_all(&wanted, vec![address], 2, &mut Inherited::default()).unwrap();
        assert_eq!(opened.iter().map(|one| one.held.bound).collect::<Vec<_>>(), [wanted[0].1, wanted[1].1]);
        assert!(bind(address, 1, is_beside(address, &[address])).is_err(), "an address is held once");
    }

    #[test]
    fn what_stands_beside_ours_may_still_be_in_the_way_of_another_process() {
        let (address, sockets) = bind(loopback(), 1, false).unwrap();
        let wide = [("wide".to_owned(), SocketAddr::from(([0, 0, 0, 0], address.port())))];
        // Without SO_REUSEPORT, as another process has it.
        let other = TcpListener::bind(("127.0.0.2", address.port())).unwrap();
        let error = may_open(&wide, &[address]).unwrap_err();
        assert!(error.contains("`wide`") && error.contains("another process"), "{error}");
        drop(other);
        assert_eq!(may_open(&wide, &[address]), Ok(()));
        // What was tried took nothing away from what listens.
        drop(std::net::TcpStream::connect(address).unwrap());
        assert!(sockets[0].accept().is_ok());
    }

    #[test]
    fn what_has_clients_in_common_is_beside() {
        let is_beside = |held: &str, address: &str| is_beside(address.parse().unwrap(), &[held.parse().unwrap()]);
        for (one, other) in [
            ("127.0.0.1:80", "0.0.0.0:80"),
            ("0.0.0.0:80", "[::]:80"),
            ("[::]:80", "10.0.0.1:80"),
            ("[::1]:80", "[::]:80"),
            ("[::ffff:10.0.0.1]:80", "10.0.0.1:80"),
        ] {
            assert!(is_beside(one, other) && is_beside(other, one), "{one} and {other}");
        }
        for (one, other) in [
            ("127.0.0.1:80", "0.0.0.0:81"),
            ("127.0.0.1:80", "10.0.0.1:80"),
            ("0.0.0.0:80", "[::1]:80"),
            ("127.0.0.1:80", "127.0.0.1:80"),
        ] {
            assert!(!is_beside(one, other) && !is_beside(other, one), "{one} and {other}");
        }
    }

    #[test]
    fn a_port_is_free_again_once_its_sockets_are_closed() {
        let (address, sockets) = bind(loopback(), 2, false).unwrap();
        drop(sockets);
        assert!(bind(address, 2, false).is_ok());
    }

    #[test]
    fn no_socket_is_left_alone_and_no_worker_without_one() {
        let sockets = bind(loopback(), 3, false).unwrap().1;
        let counts = |workers| berths(&sockets, workers).unwrap().iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(counts(1), [3]);
        assert_eq!(counts(2), [2, 1]);
        assert_eq!(counts(3), [1, 1, 1]);
        assert_eq!(counts(5), [1, 1, 1, 1, 1]);
    }

    #[test]
    fn an_address_of_no_interface_is_explained() {
        let error = bind("192.0.2.1:0".parse().unwrap(), 1, false).unwrap_err();
        assert!(error.contains("192.0.2.1:0") && error.contains("no interface"), "{error}");
    }
}
