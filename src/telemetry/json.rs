//! Records as JSON lines. What a peer sent is data: it can neither end a line, nor a string, nor steer a terminal.

use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};

use super::counters::PROTOCOLS;
use super::record::Record;
use crate::clock;

/// Appends `bytes` to `out` as the inside of a JSON string.
///
/// `"` and `\` are escaped by a backslash; control characters (below 0x20, 0x7f, U+0080 to U+009F) and the line
/// separators U+2028 and U+2029 become `\u00XX` or `\u20XX`; each run of bytes that is not UTF-8 becomes U+FFFD,
/// as RFC 8259 section 8.1 demands UTF-8. Everything else is copied.
pub fn escape(out: &mut Vec<u8>, bytes: &[u8]) {
    if are_plain(bytes) {
        out.extend_from_slice(bytes);
        return;
    }
    for chunk in bytes.utf8_chunks() {
        let valid = chunk.valid();
        let mut copied = 0;
        for (at, char) in valid.char_indices().filter(|(_, char)| must_escape(*char)) {
            out.extend_from_slice(&valid.as_bytes()[copied..at]);
            copied = at + char.len_utf8();
            match char {
                '"' => out.extend_from_slice(b"\\\""),
                '\\' => out.extend_from_slice(b"\\\\"),
                other => write_infallible(out, format_args!("\\u{:04x}", u32::from(other))),
            }
        }
        out.extend_from_slice(&valid.as_bytes()[copied..]);
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
}

fn must_escape(char: char) -> bool {
    matches!(char, '"' | '\\' | '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}')
}

/// Are all of them plain? Without a way out at the first that is not, as nearly all are.
fn are_plain(bytes: &[u8]) -> bool {
    !bytes.iter().fold(false, |odd, byte| odd | IS_ODD[usize::from(*byte)])
}

/// Which bytes are not characters of their own that need no escape.
const IS_ODD: [bool; 256] = {
    let mut odd = [true; 256];
    let mut byte = b' ';
    while byte <= b'~' {
        odd[byte as usize] = byte == b'"' || byte == b'\\';
        byte += 1;
    }
    odd
};

/// Appends the record as one JSON object and a line feed; fields that say nothing are left out.
///
/// With every request in the log this is most of what a line costs, so nothing goes through a formatter that need not.
pub fn render_line(out: &mut Vec<u8>, record: &Record<'_>) {
    out.extend_from_slice(b"{\"time\":\"");
    out.extend_from_slice(&clock::rfc3339(record.unix_ms));
    out.push(b'"');
    text(out, ",\"protocol\":\"", protocol(record.protocol));
    text(out, ",\"method\":\"", record.method);
    text(out, ",\"host\":\"", record.host);
    text(out, ",\"path\":\"", record.path);
    if record.query {
        out.extend_from_slice(b",\"query\":true");
    }
    number(out, ",\"status\":", u64::from(record.status));
    millis(out, ",\"duration_ms\":", record.duration_ns);
    out.extend_from_slice(b",\"client_ip\":\"");
    address(out, record.client);
    out.push(b'"');
    text(out, ",\"request_id\":\"", record.request_id);
    text(out, ",\"trace_id\":\"", record.trace_id);
    text(out, ",\"route\":\"", record.route);
    text(out, ",\"cluster\":\"", record.cluster);
    if let Some(endpoint) = record.endpoint {
        socket(out, endpoint);
        text(out, ",\"upstream_protocol\":\"", protocol(record.upstream_protocol));
        out.extend_from_slice(if record.reused { b",\"reused\":true" } else { b",\"reused\":false" });
    }
    number(out, ",\"attempts\":", u64::from(record.attempts));
    if let Some(status) = record.grpc_status {
        number(out, ",\"grpc_status\":", u64::from(status));
    }
    number(out, ",\"bytes_in\":", record.bytes_in);
    number(out, ",\"bytes_out\":", record.bytes_out);
    if let Some(reason) = record.reason {
        text(out, ",\"reason\":\"", reason.as_bytes());
        text(out, ",\"fault\":\"", record.fault.as_bytes());
        text(out, ",\"stage\":\"", record.stage.as_bytes());
        text(out, ",\"detail\":\"", record.detail.as_bytes());
    }
    text(out, ",\"user_agent\":\"", record.user_agent);
    text(out, ",\"client_cert\":\"", record.client_cert);
    text(out, ",\"identity\":\"", record.identity);
    millis(out, ",\"head_ms\":", record.head_ns);
    if record.admit_ns > 0 {
        millis(out, ",\"admit_ms\":", record.admit_ns);
    }
    if record.queue_ns > 0 {
        millis(out, ",\"queue_ms\":", record.queue_ns);
    }
    if record.attempts > 0 {
        millis(out, ",\"connect_ms\":", record.connect_ns);
        millis(out, ",\"first_byte_ms\":", record.first_byte_ns);
        millis(out, ",\"body_ms\":", record.body_ns);
    }
    number(out, ",\"epoch\":", record.epoch);
    out.extend_from_slice(b"}\n");
}

/// The name of a protocol, nothing where none is known.
fn protocol(place: Option<u8>) -> &'static [u8] {
    place.and_then(|place| PROTOCOLS.get(usize::from(place))).map_or(&[], |name| name.as_bytes())
}

/// One string member, left out when empty. `member` is all that stands before the text.
fn text(out: &mut Vec<u8>, member: &str, value: &[u8]) {
    if value.is_empty() {
        return;
    }
    out.extend_from_slice(member.as_bytes());
    escape(out, value);
    out.push(b'"');
}

fn number(out: &mut Vec<u8>, member: &str, value: u64) {
    out.extend_from_slice(member.as_bytes());
    digits(out, value);
}

/// Milliseconds with three decimals, cut and not rounded.
fn millis(out: &mut Vec<u8>, member: &str, ns: u64) {
    number(out, member, ns / 1_000_000);
    let micros = (ns / 1_000 % 1_000) as u32;
    let digit = |unit: u32| b'0' + (micros / unit % 10) as u8;
    out.extend_from_slice(&[b'.', digit(100), digit(10), digit(1)]);
}

fn digits(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

fn address(out: &mut Vec<u8>, ip: IpAddr) {
    match ip {
        IpAddr::V4(ip) => {
            for (at, octet) in ip.octets().into_iter().enumerate() {
                if at > 0 {
                    out.push(b'.');
                }
                digits(out, u64::from(octet));
            }
        }
        IpAddr::V6(ip) => write_infallible(out, format_args!("{ip}")),
    }
}

fn socket(out: &mut Vec<u8>, endpoint: SocketAddr) {
    out.extend_from_slice(b",\"endpoint\":\"");
    match endpoint {
        SocketAddr::V4(_) => {
            address(out, endpoint.ip());
            out.push(b':');
            digits(out, u64::from(endpoint.port()));
        }
        SocketAddr::V6(endpoint) => write_infallible(out, format_args!("{endpoint}")),
    }
    out.push(b'"');
}

fn write_infallible(out: &mut Vec<u8>, arguments: std::fmt::Arguments<'_>) {
    out.write_fmt(arguments).expect("writing to memory cannot fail");
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::super::record::tests::full;
    use super::*;

    fn escaped(bytes: &[u8]) -> String {
        let mut out = Vec::new();
        escape(&mut out, bytes);
        String::from_utf8(out).unwrap()
    }

    fn line(record: &Record<'_>) -> String {
        let mut bytes = Vec::new();
        record.encode(&mut bytes);
        let mut out = Vec::new();
        render_line(&mut out, &Record::decode(&bytes).unwrap());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn what_could_forge_a_line_is_escaped() {
        assert_eq!(escaped(b"a\r\nb"), "a\\u000d\\u000ab");
        assert_eq!(escaped(b"\x1b[31m"), "\\u001b[31m");
        assert_eq!(escaped(b"\"\\\0\x7f"), "\\\"\\\\\\u0000\\u007f");
        assert_eq!(escaped("\u{2028}\u{2029}\u{85}".as_bytes()), "\\u2028\\u2029\\u0085");
    }

    #[test]
    fn other_text_is_copied_and_bytes_that_are_no_text_are_replaced() {
        assert_eq!(escaped("/käse/\u{1f9c0}".as_bytes()), "/käse/\u{1f9c0}");
        assert_eq!(escaped(b"a\xffb\xc3"), "a\u{fffd}b\u{fffd}");
        assert_eq!(escaped(b""), "");
    }

    #[test]
    fn every_byte_pair_gives_valid_json_on_one_line() {
        for first in 0..=255u8 {
            for second in 0..=255u8 {
                let json = format!("\"{}\"", escaped(&[first, second]));
                assert!(!json.contains(['\n', '\r', '\x1b']));
                assert!(serde_json::from_str::<String>(&json).is_ok(), "{first:02x} {second:02x}");
            }
        }
    }

    #[test]
    fn a_line_is_one_json_object_with_the_documented_members() {
        let line = line(&full());
        assert!(line.ends_with("}\n") && line.matches('\n').count() == 1);
        let json: serde_json::Value = serde_json::from_str(&line).unwrap();
        let expected = serde_json::json!({
            "time": "1994-11-06T08:49:37.123Z", "protocol": "HTTP/2", "method": "GET", "host": "example.com", "path": "/a", "query": true,
            "status": 502, "duration_ms": 1.234, "client_ip": "2001:db8::1",
            "request_id": "0123456789abcdef0123456789abcdef", "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736", "route": "everything", "cluster": "app",
            "endpoint": "10.0.0.7:3000", "upstream_protocol": "HTTP/1.1", "reused": false, "attempts": 2, "grpc_status": 14, "bytes_in": 3, "bytes_out": u64::MAX,
            "reason": "connect_refused", "fault": "upstream", "stage": "connect", "user_agent": "curl/8", "client_cert": "CN=a", "identity": "alice", "head_ms": 0.001, "admit_ms": 0.002, "queue_ms": 0.003,
            "connect_ms": 0.004, "first_byte_ms": 0.005, "body_ms": 0.006, "epoch": 9,
        });
        assert_eq!(json, expected);
    }

    #[test]
    fn addresses_and_numbers_are_written_as_the_standard_library_does() {
        for ip in ["0.0.0.0", "255.255.255.255", "127.0.0.1", "192.0.2.10"] {
            let client: IpAddr = ip.parse().unwrap();
            let endpoint = SocketAddr::new(client, 65_535);
            let line = line(&Record { client, endpoint: Some(endpoint), ..full() });
            assert!(line.contains(&format!("\"client_ip\":\"{ip}\"")), "{line}");
            assert!(line.contains(&format!("\"endpoint\":\"{endpoint}\"")), "{line}");
        }
        let endpoint = SocketAddr::new(Ipv6Addr::LOCALHOST.into(), 443);
        assert!(line(&Record { endpoint: Some(endpoint), ..full() }).contains("\"endpoint\":\"[::1]:443\""));
        for (duration_ns, shown) in [(0, "0.000"), (999, "0.000"), (1_000, "0.001"), (12_345_678_999, "12345.678")] {
            let line = line(&Record { duration_ns, ..full() });
            assert!(line.contains(&format!("\"duration_ms\":{shown},")), "{line}");
        }
    }

    #[test]
    fn a_local_reply_has_no_upstream_members() {
        let record = Record {
            endpoint: None,
            upstream_protocol: None,
            attempts: 0,
            admit_ns: 0,
            queue_ns: 0,
            trace_id: b"",
            cluster: b"",
            user_agent: b"",
            client_cert: b"",
            identity: b"",
            query: false,
            ..full()
        };
        let json: serde_json::Value = serde_json::from_str(&line(&record)).unwrap();
        for key in [
            "endpoint",
            "upstream_protocol",
            "reused",
            "cluster",
            "user_agent",
            "client_cert",
            "identity",
            "connect_ms",
            "first_byte_ms",
            "body_ms",
            "admit_ms",
            "queue_ms",
            "trace_id",
            "query",
        ] {
            assert!(json.get(key).is_none(), "{key}");
        }
    }
}
