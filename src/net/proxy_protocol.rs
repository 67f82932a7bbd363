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

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Option<SocketAddr> {
        Some(text.parse().expect("an address"))
    }

    fn v2(command: u8, family: u8, content: &[u8]) -> Vec<u8> {
        let length = u16::try_from(content.len()).expect("a short header").to_be_bytes();
        [V2, &[command, family], &length, content].concat()
    }

    #[test]
    fn lines_of_version_1_are_read_as_they_are_written_in_the_specification() {
        for (line, is) in [
            ("PROXY TCP4 192.0.2.1 192.0.2.2 56324 443", source("192.0.2.1:56324")),
            ("PROXY TCP6 2001:db8::1 2001:db8::2 1 65535", source("[2001:db8::1]:1")),
            ("PROXY UNKNOWN", None),
            ("PROXY UNKNOWN ffff:f...f:ffff whatever 1 2", None),
        ] {
            let bytes = format!("{line}\r\nGET / HTTP/1.1\r\n");
            let length = line.len() + 2;
            assert_eq!(
                parse_proxy_header(bytes.as_bytes()),
                ProxyProgress::Complete(ProxyHeader { source: is, length }),
                "{line}"
            );
            for end in 0..length {
                assert_eq!(parse_proxy_header(&bytes.as_bytes()[..end]), ProxyProgress::Partial, "{line} to {end}");
            }
        }
    }

    #[test]
    fn lines_that_break_the_protocol_are_refused() {
        for line in [
            "PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 56324\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 56324 443 1\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 056324 443\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 +1 443\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 65536 443\r\n",
            "PROXY TCP4 2001:db8::1 192.0.2.2 1 443\r\n",
            "PROXY TCP6 192.0.2.1 192.0.2.2 1 443\r\n",
            "PROXY UDP4 192.0.2.1 192.0.2.2 1 443\r\n",
            "PROXY  TCP4 192.0.2.1 192.0.2.2 1 443\r\n",
            "PROXY \r\n",
            "PROXY TCP4 \u{7f}\r\n",
        ] {
            assert_eq!(parse_proxy_header(line.as_bytes()), ProxyProgress::Malformed, "{line:?}");
        }
        let endless = format!("PROXY TCP4 {}", "1".repeat(200));
        assert_eq!(parse_proxy_header(endless.as_bytes()), ProxyProgress::Malformed);
    }

    #[test]
    fn version_2_names_the_client_wherever_it_is_cut() {
        let v6 = [[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]; 2].concat();
        for (family, content, is) in [
            (0x11, [&[192, 0, 2, 1, 192, 0, 2, 2][..], &[0xdc, 4, 1, 0xbb]].concat(), source("192.0.2.1:56324")),
            (0x21, [&v6[..], &[0, 1, 0xff, 0xff]].concat(), source("[2001:db8::1]:1")),
        ] {
            let mut bytes = v2(0x21, family, &content);
            let length = bytes.len();
            bytes.extend(b"\x16\x03\x01");
            assert_eq!(parse_proxy_header(&bytes), ProxyProgress::Complete(ProxyHeader { source: is, length }));
            for end in 0..length {
                assert_eq!(parse_proxy_header(&bytes[..end]), ProxyProgress::Partial, "to {end}");
            }
        }
    }

    #[test]
    fn version_2_says_nothing_of_a_client_when_it_is_local_or_of_another_family() {
        for (command, family, content) in
            [(0x20, 0x11, &[1; 12][..]), (0x20, 0, &[]), (0x21, 0, &[9; 20]), (0x21, 0x31, &[0; 216])]
        {
            let bytes = v2(command, family, content);
            let length = bytes.len();
            assert_eq!(parse_proxy_header(&bytes), ProxyProgress::Complete(ProxyHeader { source: None, length }));
        }
        // Fields of the sender's own follow the addresses.
        let bytes = v2(0x21, 0x11, &[10, 0, 0, 1, 10, 0, 0, 2, 0, 80, 0, 81, 3, 0, 1, 7]);
        let header = ProxyHeader { source: source("10.0.0.1:80"), length: 32 };
        assert_eq!(parse_proxy_header(&bytes), ProxyProgress::Complete(header));
    }

    #[test]
    fn version_2_that_breaks_the_protocol_is_refused() {
        for bytes in [
            v2(0x11, 0x11, &[1; 12]),
            v2(0x22, 0x11, &[1; 12]),
            v2(0x21, 0x11, &[1; 11]),
            v2(0x21, 0x21, &[1; 35]),
            v2(0x21, 0x11, &[1; 2048]),
        ] {
            assert_eq!(parse_proxy_header(&bytes), ProxyProgress::Malformed, "{bytes:?}");
        }
    }

    #[test]
    fn other_first_bytes_are_none() {
        for bytes in
            [&b"GET / HTTP/1.1\r\n"[..], b"\x16\x03\x01", b"PRI * HTTP/2.0\r\n", b"PROXX", b"\r\nGET", b"proxy "]
        {
            assert_eq!(parse_proxy_header(bytes), ProxyProgress::Absent, "{bytes:?}");
        }
    }
}
