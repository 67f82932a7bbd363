//! What a connection says ahead of everything (PROXY protocol), read as the specification has it and not by our own code.

use std::io::Read as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::wire::Wire;

/// Who a header is about: the client and where it came to; nobody when its sender speaks for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Announced(pub(crate) Option<(SocketAddr, SocketAddr)>);

impl Announced {
    /// The address of the client.
    pub(crate) fn client(self) -> SocketAddr {
        self.0.expect("a header that names a client").0
    }

    /// Reads a header of version 1, and not a byte more.
    pub(crate) fn reads_v1(wire: &Wire) -> Self {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            assert!(line.len() < 107, "section 2.1: {:?}", String::from_utf8_lossy(&line));
            line.extend(raw::<1>(wire));
        }
        let line = String::from_utf8(line).expect("a line of ASCII");
        let words: Vec<&str> = line.trim_end_matches("\r\n").split(' ').collect();
        match words[..] {
            ["PROXY", "UNKNOWN"] => Self(None),
            ["PROXY", "TCP4" | "TCP6", from, to, from_port, to_port] => {
                let address = |ip: &str, port: &str| {
                    SocketAddr::new(ip.parse().expect("an address"), port.parse().expect("a port"))
                };
                Self(Some((address(from, from_port), address(to, to_port))))
            }
            _ => panic!("no header: {line:?}"),
        }
    }

    /// Reads a header of version 2, and not a byte more.
    pub(crate) fn reads_v2(wire: &Wire) -> Self {
        let [signature @ .., command, family, high, low] = raw::<16>(wire);
        assert_eq!(&signature, b"\r\n\r\n\0\r\nQUIT\n");
        let length = u16::from_be_bytes([high, low]);
        let port = |bytes: [u8; 2]| u16::from_be_bytes(bytes);
        match (command, family, length) {
            (0x20, 0, 0) => Self(None),
            (0x21, 0x11, 12) => {
                let [a, b, c, d, e, f, g, h, ports @ ..] = raw::<12>(wire);
                let address = |ip: [u8; 4], port| SocketAddr::new(IpAddr::V4(Ipv4Addr::from(ip)), port);
                let [i, j, k, l] = ports;
                Self(Some((address([a, b, c, d], port([i, j])), address([e, f, g, h], port([k, l])))))
            }
            (0x21, 0x21, 36) => {
                let (from, to) = (raw::<16>(wire), raw::<16>(wire));
                let address = |ip: [u8; 16], port| SocketAddr::new(IpAddr::V6(Ipv6Addr::from(ip)), port);
                let [i, j, k, l] = raw::<4>(wire);
                Self(Some((address(from, port([i, j])), address(to, port([k, l])))))
            }
            other => panic!("no header: {other:?}"),
        }
    }
}

/// The next bytes of the transport, past whatever secures it.
fn raw<const N: usize>(wire: &Wire) -> [u8; N] {
    let mut bytes = [0; N];
    wire.stream().read_exact(&mut bytes).expect("bytes of a header");
    bytes
}
