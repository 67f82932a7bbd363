//! Listening sockets: one per worker and listener, bound on the control side and handed to the workers.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::changes::Held;
use crate::limits;

/// A listener just bound.
#[derive(Debug)]
pub(super) struct Opened {
    /// Its name and addresses.
    pub(super) held: Held,
    /// One socket for each worker, listening.
    pub(super) sockets: Vec<TcpListener>,
}

/// Binds every listener of `wanted` (name, address, whether this process holds the address already).
///
/// # Errors
/// The first that cannot be bound, by name; then none stays bound.
pub(super) fn open_all(wanted: &[(String, SocketAddr, bool)], workers: usize) -> Result<Vec<Opened>, String> {
    let one = |(name, configured, shared): &(String, SocketAddr, bool)| {
        let (bound, sockets) =
            bind(*configured, workers, *shared).map_err(|why| format!("listener `{name}`: {why}"))?;
        Ok(Opened { held: Held { name: name.clone(), configured: *configured, bound }, sockets })
    };
    wanted.iter().map(one).collect()
}

/// Binds `workers` sockets to `address` (port 0: the kernel chooses one for all).
///
/// `SO_REUSEPORT` would let a second gateway share the port in silence, so unless `shared` says that this process holds
/// the address already, a socket without it is bound first and closed again.
///
/// # Errors
/// One sentence that names the address and the likely cause.
fn bind(address: SocketAddr, workers: usize, shared: bool) -> Result<(SocketAddr, Vec<TcpListener>), String> {
    let explained = |error: io::Error| explain(address, &error);
    if !shared && address.port() != 0 {
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
        let opened = open_all(&[("web".to_owned(), loopback(), false)], 3).unwrap();
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
        let error = open_all(&[("web".to_owned(), address, false)], 1).unwrap_err();
        assert!(error.contains("`web`") && error.contains(&address.to_string()), "{error}");
        assert!(error.contains("another process"), "{error}");
    }

    #[test]
    fn an_address_this_process_holds_can_be_bound_once_more() {
        let (address, _sockets) = bind(loopback(), 1, false).unwrap();
        assert_eq!(bind(address, 2, true).unwrap().0, address);
    }

    #[test]
    fn a_port_is_free_again_once_its_sockets_are_closed() {
        let (address, sockets) = bind(loopback(), 2, false).unwrap();
        drop(sockets);
        assert!(bind(address, 2, false).is_ok());
    }

    #[test]
    fn an_address_of_no_interface_is_explained() {
        let error = bind("192.0.2.1:0".parse().unwrap(), 1, false).unwrap_err();
        assert!(error.contains("192.0.2.1:0") && error.contains("no interface"), "{error}");
    }
}
