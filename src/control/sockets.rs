//! Listening sockets: one per worker and listener, bound on the control side and handed to the workers.

use std::io;
use std::net::{SocketAddr, TcpListener};

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

/// Opens every listener of `wanted` (name and address): what was inherited is taken up, the rest is bound.
///
/// # Errors
/// The first that cannot be opened, by name; then none stays bound.
pub(super) fn open_all(
    wanted: &[(String, SocketAddr)],
    workers: usize,
    inherited: &mut Inherited,
) -> Result<Vec<Opened>, String> {
    let mut one = |(name, configured): &(String, SocketAddr)| {
        let refused = |why: String| format!("listener `{name}`: {why}");
        let found = inherited.take_for(name, *configured);
        let is_inherited = found.is_some();
        let (bound, sockets) = match found {
            Some(found) => (found.bound, found.sockets),
            None => bind(*configured, workers).map_err(refused)?,
        };
        let berths = berths(&sockets, workers).map_err(|error| refused(error.to_string()))?;
        let held = Held { name: name.clone(), configured: *configured, bound };
        Ok(Opened { held, sockets, is_inherited, berths })
    };
    wanted.iter().map(&mut one).collect()
}

/// Whether every listener of `wanted` could be opened, without a queue that anybody might come to.
///
/// # Errors
/// The first that cannot be opened, by name.
pub(super) fn may_open(wanted: &[(String, SocketAddr)]) -> Result<(), String> {
    for (name, address) in wanted.iter().filter(|(_, address)| address.port() != 0) {
        drop(open(*address, false).map_err(|error| format!("listener `{name}`: {}", explain(*address, &error)))?);
    }
    Ok(())
}

/// Binds `workers` sockets to `address` (port 0: the kernel chooses one for all).
///
/// `SO_REUSEPORT` would let a second gateway share the port in silence, so a socket without it is bound first and closed again.
///
/// # Errors
/// One sentence that names the address and the likely cause.
fn bind(address: SocketAddr, workers: usize) -> Result<(SocketAddr, Vec<TcpListener>), String> {
    let explained = |error: io::Error| explain(address, &error);
    if address.port() != 0 {
        drop(open(address, false).map_err(explained)?);
    }
    let first = open(address, true).map_err(explained)?;
    let address = first.local_addr().map_err(explained)?;
    let mut sockets = vec![first];
    while sockets.len() < workers {
        sockets.push(open(address, true).map_err(explained)?);
    }
    Ok((address, sockets))
}

/// A listening socket; accepted sockets inherit `TCP_NODELAY` and `SO_KEEPALIVE` from it.
fn open(address: SocketAddr, reuse_port: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // `[::]` takes IPv4 clients too, whatever net.ipv6.bindv6only says.
        socket.set_only_v6(false)?;
    }
    if reuse_port {
        socket.set_reuse_port(true)?;
        socket.set_tcp_nodelay(true)?;
        socket.set_keepalive(true)?;
    }
    socket.bind(&SockAddr::from(address))?;
    if reuse_port {
        socket.listen(limits::LISTEN_BACKLOG)?;
    }
    Ok(socket.into())
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
        let opened = open_all(&[("web".to_owned(), loopback())], 3, &mut Inherited::default()).unwrap();
        assert_ne!(opened[0].held.bound.port(), 0);
        assert_eq!(opened[0].held.configured.port(), 0);
        assert_eq!(opened[0].sockets.len(), 3);
        for socket in &opened[0].sockets {
            assert_eq!(socket.local_addr().unwrap(), opened[0].held.bound);
        }
    }

    #[test]
    fn a_port_that_another_gateway_listens_on_is_an_error_that_says_so() {
        let (address, _sockets) = bind(loopback(), 1).unwrap();
        let error = open_all(&[("web".to_owned(), address)], 1, &mut Inherited::default()).unwrap_err();
        assert!(error.contains("`web`") && error.contains(&address.to_string()), "{error}");
        assert!(error.contains("another process"), "{error}");
        assert_eq!(may_open(&[("web".to_owned(), address)]), Err(error));
        assert_eq!(may_open(&[("more".to_owned(), loopback())]), Ok(()));
    }

    #[test]
    fn a_port_is_free_again_once_its_sockets_are_closed() {
        let (address, sockets) = bind(loopback(), 2).unwrap();
        drop(sockets);
        assert!(bind(address, 2).is_ok());
    }

    #[test]
    fn no_socket_is_left_alone_and_no_worker_without_one() {
        let sockets = bind(loopback(), 3).unwrap().1;
        let counts = |workers| berths(&sockets, workers).unwrap().iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(counts(1), [3]);
        assert_eq!(counts(2), [2, 1]);
        assert_eq!(counts(3), [1, 1, 1]);
        assert_eq!(counts(5), [1, 1, 1, 1, 1]);
    }

    #[test]
    fn an_address_of_no_interface_is_explained() {
        let error = bind("192.0.2.1:0".parse().unwrap(), 1).unwrap_err();
        assert!(error.contains("192.0.2.1:0") && error.contains("no interface"), "{error}");
    }
}
