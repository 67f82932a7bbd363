use std::net::Ipv6Addr;

use super::super::record::tests::full;
use super::*;
use crate::limits;

fn escaped(bytes: &[u8]) -> String {
    let mut room = [0; 64];
    let left = escape(&mut room, bytes).len();
    String::from_utf8(room[..room.len() - left].to_vec()).unwrap()
}

fn line(record: &Record<'_>) -> String {
    let mut bytes = Vec::new();
    record.encode(&mut bytes);
    let mut lines = Lines::new(0);
    lines.add(&Decoded::of(&bytes).unwrap());
    String::from_utf8(lines.as_bytes().to_vec()).unwrap()
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
            let text: String = serde_json::from_str(&json).unwrap();
            assert_eq!(text, String::from_utf8_lossy(&[first, second]), "{first:02x} {second:02x}");
        }
    }
}

#[test]
fn text_is_plain_when_none_of_its_bytes_is_odd_wherever_they_stand() {
    let is_plain = |byte: u8| (b' '..=b'~').contains(&byte) && byte != b'"' && byte != b'\\';
    for first in 0..=255u8 {
        for second in 0..=255u8 {
            for at in 0..16 {
                let mut text = *b"what is plain text";
                text[at..at + 2].copy_from_slice(&[first, second]);
                assert_eq!(are_plain(&text), is_plain(first) && is_plain(second), "{first:02x} {second:02x} at {at}");
            }
        }
    }
    assert!(are_plain(b""));
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
        "reason": "connect_refused", "fault": "upstream", "stage": "connect", "user_agent": "curl/8", "sni": "www.example.com", "client_cert": "CN=a", "identity": "alice", "head_ms": 0.001, "admit_ms": 0.002, "queue_ms": 0.003,
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
    let mut place = None;
    let text = Millis::write(&mut place, [(&[b'x'; 24][..], u64::MAX); 5], b"\r\n");
    assert!(text.ends_with(b".551\r\n"), "five of the longest have room");
    let endpoint = SocketAddr::new(Ipv6Addr::LOCALHOST.into(), 443);
    assert!(line(&Record { endpoint: Some(endpoint), ..full() }).contains("\"endpoint\":\"[::1]:443\""));
    for (duration_ns, shown) in [
        (0, "0.000"),
        (999, "0.000"),
        (1_000, "0.001"),
        (12_345_678_999, "12345.678"),
        (u64::MAX, "18446744073709.551"),
    ] {
        let text = Millis::write(&mut place, [(&b"a="[..], duration_ns), (b";b=", 0)], b"");
        assert_eq!(String::from_utf8_lossy(text), format!("a={shown};b=0.000"));
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
        sni: b"",
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
        "sni",
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

/// Numbers that are as good as random.
struct Dice(u64);

impl Dice {
    fn below<T: TryFrom<u64>>(&mut self, bound: u64) -> T {
        self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        T::try_from((self.0 >> 33) % bound).unwrap_or_else(|_| panic!("a number below {bound}"))
    }

    /// Of every magnitude.
    fn number(&mut self) -> u64 {
        let bits: u32 = self.below(60);
        (self.below::<u64>(1 << 31) << 30 | self.below::<u64>(1 << 30)) & ((1 << bits) - 1)
    }

    /// Often empty, mostly plain, and otherwise of whatever there is.
    fn text(&mut self) -> Vec<u8> {
        let length = [0, self.below(12), self.below(80)][self.below::<usize>(3)];
        let odd = self.below::<u8>(4) == 0;
        let mut text = Vec::new();
        for _ in 0..length {
            match self.below::<u8>(8) {
                0 if odd => text.push(self.below(256)),
                1 if odd => {
                    text.extend_from_slice(["ä", "\u{85}", "\u{2028}", "\u{1f9c0}"][self.below::<usize>(4)].as_bytes())
                }
                _ => text.push(b'#' + self.below::<u8>(50)),
            }
        }
        text
    }

    fn ip(&mut self) -> IpAddr {
        if self.below::<u8>(4) == 0 {
            Ipv6Addr::from_bits(u128::from(self.number()) << 64 | 7).into()
        } else {
            IpAddr::from(std::array::from_fn::<u8, 4, _>(|_| self.below(256)))
        }
    }

    fn maybe<T>(&mut self, value: T) -> Option<T> {
        (self.below::<u8>(2) == 0).then_some(value)
    }
}

/// What a line is to say, without any regard for what it costs.
fn plainly(record: &Record<'_>) -> serde_json::Value {
    let mut json = serde_json::Map::new();
    let text = |bytes: &[u8]| serde_json::Value::from(String::from_utf8_lossy(bytes));
    let millis = |ns: u64| {
        let us = ns / 1_000;
        serde_json::from_str::<serde_json::Value>(&format!("{}.{:03}", us / 1_000, us % 1_000)).unwrap()
    };
    let protocol = |place: Option<u8>| place.map_or(&b""[..], |place| PROTOCOLS[usize::from(place)].as_bytes());
    json.insert("time".into(), text(&clock::rfc3339(record.unix_ms)));
    json.insert("status".into(), record.status.into());
    json.insert("duration_ms".into(), millis(record.duration_ns));
    json.insert("client_ip".into(), record.client.to_string().into());
    json.insert("attempts".into(), record.attempts.into());
    json.insert("bytes_in".into(), record.bytes_in.into());
    json.insert("bytes_out".into(), record.bytes_out.into());
    json.insert("head_ms".into(), millis(record.head_ns));
    json.insert("epoch".into(), record.epoch.into());
    let mut texts = vec![
        ("protocol", protocol(record.protocol)),
        ("method", record.method),
        ("host", record.host),
        ("path", record.path),
        ("request_id", record.request_id),
        ("trace_id", record.trace_id),
        ("route", record.route),
        ("cluster", record.cluster),
        ("user_agent", record.user_agent),
        ("sni", record.sni),
        ("client_cert", record.client_cert),
        ("identity", record.identity),
    ];
    if let Some(reason) = record.reason {
        texts.extend(
            [("reason", reason), ("fault", record.fault), ("stage", record.stage), ("detail", record.detail)]
                .map(|(name, text)| (name, text.as_bytes())),
        );
    }
    if let Some(endpoint) = record.endpoint {
        json.insert("endpoint".into(), endpoint.to_string().into());
        json.insert("reused".into(), record.reused.into());
        texts.push(("upstream_protocol", protocol(record.upstream_protocol)));
    }
    for (name, bytes) in texts.into_iter().filter(|(_, bytes)| !bytes.is_empty()) {
        json.insert(name.into(), text(bytes));
    }
    if record.query {
        json.insert("query".into(), true.into());
    }
    if let Some(status) = record.grpc_status {
        json.insert("grpc_status".into(), status.into());
    }
    for (name, ns) in [("admit_ms", record.admit_ns), ("queue_ms", record.queue_ns)] {
        if ns > 0 {
            json.insert(name.into(), millis(ns));
        }
    }
    if record.attempts > 0 {
        json.insert("connect_ms".into(), millis(record.connect_ns));
        json.insert("first_byte_ms".into(), millis(record.first_byte_ns));
        json.insert("body_ms".into(), millis(record.body_ns));
    }
    json.into()
}

#[test]
fn every_record_is_the_line_that_a_plain_rendering_gives() {
    let mut dice = Dice(7);
    let mut lines = Lines::new(0);
    let mut encoded = Vec::new();
    for _ in 0..20_000 {
        let texts: [Vec<u8>; 11] = std::array::from_fn(|_| dice.text());
        let [method, path, host, request_id, trace_id, route, cluster, user_agent, sni, client_cert, identity] = &texts;
        let reason = ["connect_refused", "bad_request"][dice.below::<usize>(2)];
        let reason = dice.maybe(reason);
        let endpoint = SocketAddr::new(dice.ip(), dice.below(65_536));
        let protocol = dice.below(3);
        let record = Record {
            unix_ms: dice.number() % 250_000_000_000_000,
            protocol: dice.maybe(protocol),
            method,
            path,
            query: dice.below::<u8>(2) == 0,
            host,
            status: dice.below(1_000),
            duration_ns: dice.number(),
            client: dice.ip(),
            request_id,
            trace_id,
            route,
            cluster,
            endpoint: dice.maybe(endpoint),
            upstream_protocol: dice.maybe(protocol),
            attempts: dice.below::<u32>(3) * dice.below::<u32>(2_000),
            grpc_status: dice.maybe(14),
            bytes_in: dice.number(),
            bytes_out: dice.number(),
            reason,
            fault: reason.map_or("", |_| "upstream"),
            stage: reason.map_or("", |_| "connect"),
            detail: reason.map_or("", |_| "a \"quoted\" word"),
            user_agent,
            sni,
            client_cert,
            identity,
            head_ns: dice.number(),
            admit_ns: dice.number() * dice.below::<u64>(2),
            queue_ns: dice.number() * dice.below::<u64>(2),
            connect_ns: dice.number(),
            first_byte_ns: dice.number(),
            body_ns: dice.number(),
            reused: dice.below::<u8>(2) == 0,
            epoch: dice.number(),
        };
        encoded.clear();
        record.encode(&mut encoded);
        lines.clear();
        lines.add(&Decoded::of(&encoded).unwrap());
        let line = str::from_utf8(lines.as_bytes()).unwrap();
        assert_eq!(line.find('\n'), Some(line.len() - 1), "{line:?}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(line).unwrap(), plainly(&record), "{line}");
    }
}

#[test]
fn the_longest_line_fits_and_ends_a_batch() {
    let odd = [0x1b; 2 * limits::LOG_FIELD_BYTES];
    let word = str::from_utf8(&odd).unwrap();
    let client = IpAddr::V6(Ipv6Addr::from_bits(u128::MAX));
    let record = Record {
        method: &odd,
        path: &odd,
        host: &odd,
        request_id: &odd,
        trace_id: &odd,
        route: &odd,
        cluster: &odd,
        user_agent: &odd,
        sni: &odd,
        client_cert: &odd,
        identity: &odd,
        reason: Some(word),
        fault: word,
        stage: word,
        detail: word,
        client,
        endpoint: Some(SocketAddr::new(client, u16::MAX)),
        unix_ms: u64::MAX,
        duration_ns: u64::MAX,
        bytes_in: u64::MAX,
        attempts: u32::MAX,
        head_ns: u64::MAX,
        admit_ns: u64::MAX,
        queue_ns: u64::MAX,
        connect_ns: u64::MAX,
        first_byte_ns: u64::MAX,
        body_ns: u64::MAX,
        epoch: u64::MAX,
        ..full()
    };
    let mut encoded = Vec::new();
    record.encode(&mut encoded);
    let mut lines = Lines::new(0);
    assert!(!lines.are_full());
    lines.add(&Decoded::of(&encoded).unwrap());
    assert!(lines.are_full() && lines.as_bytes().len() <= LINE_BYTES_MAX);
    assert_eq!(lines.after_a_break()[..2], *b"\n{");
    assert!(serde_json::from_slice::<serde_json::Value>(lines.as_bytes()).is_ok());
    lines.clear();
    assert!(lines.as_bytes().is_empty() && !lines.are_full());
}
