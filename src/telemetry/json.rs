//! Records as JSON lines. What a peer sent is data: it can neither end a line, nor a string, nor steer a terminal.

use std::fmt::Write as _;

use super::counters::PROTOCOLS;
use super::record::OwnedRecord;
use crate::clock;

/// Appends `bytes` to `out` as the inside of a JSON string.
///
/// `"` and `\` are escaped by a backslash; control characters (below 0x20, 0x7f, U+0080 to U+009F) and the line
/// separators U+2028 and U+2029 become `\u00XX` or `\u20XX`; each run of bytes that is not UTF-8 becomes U+FFFD,
/// as RFC 8259 section 8.1 demands UTF-8. Everything else is copied.
pub fn escape(out: &mut String, bytes: &[u8]) {
    for chunk in bytes.utf8_chunks() {
        let valid = chunk.valid();
        let mut copied = 0;
        for (at, char) in valid.char_indices().filter(|(_, char)| must_escape(*char)) {
            out.push_str(&valid[copied..at]);
            copied = at + char.len_utf8();
            match char {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                other => write_infallible(out, format_args!("\\u{:04x}", u32::from(other))),
            }
        }
        out.push_str(&valid[copied..]);
        if !chunk.invalid().is_empty() {
            out.push('\u{fffd}');
        }
    }
}

fn must_escape(char: char) -> bool {
    matches!(char, '"' | '\\' | '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}')
}

/// Appends the record as one JSON object and a line feed; fields that say nothing are left out.
pub fn render_line(out: &mut String, record: &OwnedRecord) {
    let time = clock::rfc3339(record.unix_ms);
    out.push_str("{\"time\":\"");
    escape(out, &time);
    out.push('"');
    text(out, "protocol", protocol(record.protocol));
    text(out, "method", &record.method);
    text(out, "host", &record.host);
    text(out, "path", &record.path);
    if record.query {
        out.push_str(",\"query\":true");
    }
    number(out, "status", u64::from(record.status));
    millis(out, "duration_ms", record.duration_ns);
    write_infallible(out, format_args!(",\"client_ip\":\"{}\"", record.client));
    text(out, "request_id", &record.request_id);
    text(out, "route", &record.route);
    text(out, "cluster", &record.cluster);
    if let Some(endpoint) = record.endpoint {
        write_infallible(out, format_args!(",\"endpoint\":\"{endpoint}\""));
        text(out, "upstream_protocol", protocol(record.upstream_protocol));
        write_infallible(out, format_args!(",\"reused\":{}", record.reused));
    }
    number(out, "attempts", u64::from(record.attempts));
    if let Some(status) = record.grpc_status {
        number(out, "grpc_status", u64::from(status));
    }
    number(out, "bytes_in", record.bytes_in);
    number(out, "bytes_out", record.bytes_out);
    if let Some(reason) = &record.reason {
        text(out, "reason", reason.as_bytes());
        text(out, "fault", &record.fault);
        text(out, "stage", &record.stage);
        if !record.detail.is_empty() {
            text(out, "detail", &record.detail);
        }
    }
    text(out, "user_agent", &record.user_agent);
    text(out, "client_cert", &record.client_cert);
    text(out, "identity", &record.identity);
    millis(out, "head_ms", record.head_ns);
    if record.attempts > 0 {
        millis(out, "connect_ms", record.connect_ns);
        millis(out, "first_byte_ms", record.first_byte_ns);
    }
    number(out, "epoch", record.epoch);
    out.push_str("}\n");
}

/// The name of a protocol, nothing where none is known.
fn protocol(place: Option<u8>) -> &'static [u8] {
    place.and_then(|place| PROTOCOLS.get(usize::from(place))).map_or(&[], |name| name.as_bytes())
}

/// One string member; left out when empty. `key` is a literal of this file and needs no escaping.
fn text(out: &mut String, key: &str, value: &[u8]) {
    if value.is_empty() {
        return;
    }
    write_infallible(out, format_args!(",\"{key}\":\""));
    escape(out, value);
    out.push('"');
}

fn number(out: &mut String, key: &str, value: u64) {
    write_infallible(out, format_args!(",\"{key}\":{value}"));
}

/// Milliseconds with three decimals, cut and not rounded.
fn millis(out: &mut String, key: &str, ns: u64) {
    write_infallible(out, format_args!(",\"{key}\":{}.{:03}", ns / 1_000_000, ns / 1_000 % 1_000));
}

fn write_infallible(out: &mut String, arguments: std::fmt::Arguments<'_>) {
    out.write_fmt(arguments).expect("writing to a String cannot fail");
}

#[cfg(test)]
mod tests {
    use super::super::record::tests::full;
    use super::*;
    use crate::telemetry::record::Record;

    fn escaped(bytes: &[u8]) -> String {
        let mut out = String::new();
        escape(&mut out, bytes);
        out
    }

    fn line(record: &Record<'_>) -> String {
        let mut bytes = Vec::new();
        record.encode(&mut bytes);
        let mut out = String::new();
        render_line(&mut out, &OwnedRecord::decode(&bytes).unwrap());
        out
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
            "request_id": "0123456789abcdef0123456789abcdef", "route": "everything", "cluster": "app",
            "endpoint": "10.0.0.7:3000", "upstream_protocol": "HTTP/1.1", "reused": false, "attempts": 2, "grpc_status": 14, "bytes_in": 3, "bytes_out": u64::MAX,
            "reason": "connect_refused", "fault": "upstream", "stage": "connect", "user_agent": "curl/8", "client_cert": "CN=a", "identity": "alice", "head_ms": 0.0, "connect_ms": 0.0,
            "first_byte_ms": 0.0, "epoch": 9,
        });
        assert_eq!(json, expected);
    }

    #[test]
    fn a_local_reply_has_no_upstream_members() {
        let record = Record {
            endpoint: None,
            upstream_protocol: None,
            attempts: 0,
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
            "query",
        ] {
            assert!(json.get(key).is_none(), "{key}");
        }
    }
}
