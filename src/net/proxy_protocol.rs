//! The PROXY protocol, versions 1 and 2 (HAProxy, "The PROXY protocol", 2020): who the client of a proxy in front is.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// How a header of version 1 begins.
const V1: &[u8] = b"PROXY ";
/// The longest line of version 1, its end included (section 2.1).
const V1_BYTES: usize = 107;
/// How a header of version 2 begins (section 2.2).
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Bytes of version 2 up to its addresses.
const V2_FIXED: usize = 16;
/// Most bytes of a header that is taken, fields of the sender's own included.
pub const PROXY_HEADER_BYTES: usize = 2048;

/// A header that arrived whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProxyHeader {
    /// The client's address; none when the proxy speaks for itself, as its health checks do, or does not know.
    pub source: Option<SocketAddr>,
    /// Bytes of the header.
    pub length: usize,
}

/// What the first bytes of a connection are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyProgress {
    /// A whole header.
    Complete(ProxyHeader),
    /// The beginning of one.
    Partial,
    /// Something else.
    Absent,
    /// The beginning of one that breaks the protocol.
    Malformed,
}

/// Reads a header from the first bytes of a connection, as many as have come.
#[must_use]
pub fn parse_proxy_header(bytes: &[u8]) -> ProxyProgress {
    if bytes.starts_with(V2) {
        return parse_v2(bytes);
    }
    if bytes.starts_with(V1) {
        return parse_v1(bytes);
    }
    if V1.starts_with(bytes) || V2.starts_with(bytes) { ProxyProgress::Partial } else { ProxyProgress::Absent }
}

fn parse_v1(bytes: &[u8]) -> ProxyProgress {
    let window = &bytes[..bytes.len().min(V1_BYTES)];
    let Some(end) = window.iter().position(|byte| *byte == b'\n') else {
        return if bytes.len() < V1_BYTES { ProxyProgress::Partial } else { ProxyProgress::Malformed };
    };
    let line = window[..end].strip_suffix(b"\r").and_then(|line| std::str::from_utf8(line).ok());
    match line.and_then(|line| source_of_line(&line[V1.len()..])) {
        Some(source) => ProxyProgress::Complete(ProxyHeader { source, length: end + 1 }),
        None => ProxyProgress::Malformed,
    }
}

/// `TCP4 SOURCE DESTINATION PORT PORT` or `UNKNOWN` and anything; the outer `None` is neither.
fn source_of_line(line: &str) -> Option<Option<SocketAddr>> {
    let mut words = line.split(' ');
    let family = words.next()?;
    if family == "UNKNOWN" {
        return Some(None);
    }
    let (source, destination): (IpAddr, IpAddr) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let (port, _) = (port(words.next()?)?, port(words.next()?)?);
    let is_v4 = match family {
        "TCP4" => true,
        "TCP6" => false,
        _ => return None,
    };
    let is_sound = source.is_ipv4() == is_v4 && destination.is_ipv4() == is_v4 && words.next().is_none();
    is_sound.then_some(Some(SocketAddr::new(source, port)))
}

/// A port in decimal without sign or leading zero.
fn port(digits: &str) -> Option<u16> {
    let is_plain = digits == "0" || digits.starts_with(|first: char| ('1'..='9').contains(&first));
    if is_plain { digits.parse().ok() } else { None }
}

fn parse_v2(bytes: &[u8]) -> ProxyProgress {
    let Some(&[command, family, high, low]) = bytes.get(V2.len()..V2_FIXED).and_then(|fixed| fixed.first_chunk())
    else {
        return ProxyProgress::Partial;
    };
    let length = V2_FIXED + usize::from(u16::from_be_bytes([high, low]));
    if length > PROXY_HEADER_BYTES || !matches!(command, 0x20 | 0x21) {
        return ProxyProgress::Malformed;
    }
    let Some(content) = bytes.get(V2_FIXED..length) else { return ProxyProgress::Partial };
    // Command LOCAL, and families without a port, say nothing about a client (section 2.2).
    let source = match (command, family) {
        (0x21, 0x11) => match content.first_chunk::<12>() {
            Some(&[a, b, c, d, _, _, _, _, high, low, _, _]) => {
                Some(SocketAddr::new(Ipv4Addr::new(a, b, c, d).into(), u16::from_be_bytes([high, low])))
            }
            None => return ProxyProgress::Malformed,
        },
        (0x21, 0x21) => match (content.first_chunk::<16>(), content.get(32..36)) {
            (Some(ip), Some(&[high, low, _, _])) => {
                Some(SocketAddr::new(Ipv6Addr::from(*ip).into(), u16::from_be_bytes([high, low])))
            }
            _ => return ProxyProgress::Malformed,
        },
        _ => None,
    };
    ProxyProgress::Complete(ProxyHeader { source, length })
}

/// Whom a header of ours is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProxyParties {
    /// Where the client is; port 0 when that is not known.
    pub client: SocketAddr,
    /// The address of the gateway that it came to.
    pub gateway: SocketAddr,
}

impl ProxyParties {
    /// Both in one family, as a header has it: IPv4 if both are, else IPv6, an address of IPv4 mapped into it.
    fn of_one_family(self) -> (SocketAddr, SocketAddr) {
        let canonical = |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
        let mapped = |address: SocketAddr| match address.ip() {
            IpAddr::V4(ip) => SocketAddr::new(ip.to_ipv6_mapped().into(), address.port()),
            IpAddr::V6(_) => address,
        };
        let (client, gateway) = (canonical(self.client), canonical(self.gateway));
        if client.is_ipv4() == gateway.is_ipv4() { (client, gateway) } else { (mapped(client), mapped(gateway)) }
    }
}

/// Appends a header of version 1 (section 2.1); without parties the gateway speaks for itself.
pub fn encode_proxy_v1(out: &mut Vec<u8>, parties: Option<ProxyParties>) {
    use std::io::Write;
    let Some((client, gateway)) = parties.map(ProxyParties::of_one_family) else {
        return out.extend_from_slice(b"PROXY UNKNOWN\r\n");
    };
    let family = if client.is_ipv4() { "TCP4" } else { "TCP6" };
    let (from, to) = (client.ip(), gateway.ip());
    write!(out, "PROXY {family} {from} {to} {} {}\r\n", client.port(), gateway.port())
        .expect("a vector takes all that is written");
}

/// Appends a header of version 2 (section 2.2); without parties the gateway speaks for itself, by the command LOCAL.
pub fn encode_proxy_v2(out: &mut Vec<u8>, parties: Option<ProxyParties>) {
    out.extend_from_slice(V2);
    match parties.map(ProxyParties::of_one_family) {
        None => out.extend_from_slice(&[0x20, 0, 0, 0]),
        Some((client, gateway)) => {
            out.extend_from_slice(if client.is_ipv4() { &[0x21, 0x11, 0, 12] } else { &[0x21, 0x21, 0, 36] });
            for address in [client, gateway] {
                match address.ip() {
                    IpAddr::V4(ip) => out.extend_from_slice(&ip.octets()),
                    IpAddr::V6(ip) => out.extend_from_slice(&ip.octets()),
                }
            }
            for address in [client, gateway] {
                out.extend_from_slice(&address.port().to_be_bytes());
            }
        }
    }
}

#[cfg(test)]
mod tests;
