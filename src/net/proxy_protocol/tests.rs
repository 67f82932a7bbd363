//! Headers as the specification writes them, cut and broken, and our own read back.

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
    for bytes in [&b"GET / HTTP/1.1\r\n"[..], b"\x16\x03\x01", b"PRI * HTTP/2.0\r\n", b"PROXX", b"\r\nGET", b"proxy "] {
        assert_eq!(parse_proxy_header(bytes), ProxyProgress::Absent, "{bytes:?}");
    }
}

/// Addresses of both families, the mapped ones of IPv4 and the extremes among them.
const ADDRESSES: [&str; 9] = [
    "192.0.2.1:56324",
    "0.0.0.0:0",
    "255.255.255.255:65535",
    "[2001:db8::1]:443",
    "[::]:0",
    "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535",
    "[::ffff:192.0.2.7]:1",
    "[::1]:80",
    "127.0.0.1:8080",
];

#[test]
fn a_header_of_ours_is_read_back_by_whoever_reads_headers() {
    for (encode, longest) in
        [(encode_proxy_v1 as fn(&mut Vec<u8>, Option<ProxyParties>), V1_BYTES), (encode_proxy_v2, 52)]
    {
        for client in ADDRESSES {
            for gateway in ADDRESSES {
                let parties = ProxyParties {
                    client: client.parse().expect("an address"),
                    gateway: gateway.parse().expect("one"),
                };
                let mut bytes = Vec::new();
                encode(&mut bytes, Some(parties));
                assert!(bytes.len() <= longest, "{client} {gateway}: {}", bytes.len());
                let ProxyProgress::Complete(header) = parse_proxy_header(&bytes) else {
                    panic!("{client} {gateway}: {bytes:?}")
                };
                let source = header.source.expect("a source");
                let canonical = SocketAddr::new(source.ip().to_canonical(), source.port());
                let expected = SocketAddr::new(parties.client.ip().to_canonical(), parties.client.port());
                assert_eq!((canonical, header.length), (expected, bytes.len()), "{client} {gateway}");
                assert_eq!(parse_proxy_header(&[&bytes[..], b"GET"].concat()), ProxyProgress::Complete(header));
            }
        }
        let mut bytes = Vec::new();
        encode(&mut bytes, None);
        let header = ProxyHeader { source: None, length: bytes.len() };
        assert_eq!(parse_proxy_header(&bytes), ProxyProgress::Complete(header), "the gateway speaks for itself");
    }
}

#[test]
fn headers_of_ours_are_those_of_the_specification() {
    let parties = |client: &str, gateway: &str| {
        Some(ProxyParties { client: client.parse().expect("an address"), gateway: gateway.parse().expect("one") })
    };
    let line = |parties| {
        let mut bytes = Vec::new();
        encode_proxy_v1(&mut bytes, parties);
        String::from_utf8(bytes).expect("text")
    };
    assert_eq!(line(None), "PROXY UNKNOWN\r\n");
    assert_eq!(line(parties("192.0.2.1:56324", "192.0.2.2:443")), "PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n");
    assert_eq!(line(parties("[2001:db8::1]:1", "[2001:db8::2]:2")), "PROXY TCP6 2001:db8::1 2001:db8::2 1 2\r\n");
    assert_eq!(line(parties("[::ffff:192.0.2.1]:1", "10.0.0.1:2")), "PROXY TCP4 192.0.2.1 10.0.0.1 1 2\r\n");
    assert_eq!(line(parties("192.0.2.1:1", "[::1]:2")), "PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n");
    let mut bytes = Vec::new();
    encode_proxy_v2(&mut bytes, parties("192.0.2.1:56324", "192.0.2.2:443"));
    assert_eq!(bytes, v2(0x21, 0x11, &[192, 0, 2, 1, 192, 0, 2, 2, 0xdc, 4, 1, 0xbb]));
    bytes.clear();
    encode_proxy_v2(&mut bytes, None);
    assert_eq!(bytes, v2(0x20, 0, &[]));
}
