//! What a request may look like: RFC 9112 sections 2 to 7 as a client meets them, and F32.

use super::endpoint::Endpoint;
use super::gateway::Gateway;
use super::origin::Origin;
use super::plan::{Io, Plan};

/// A request that is refused, what it breaks, and the status of the answer.
type Refused<'a> = (&'a str, &'a [u8], u16);

/// Sends each on a connection of its own: it gets its status, and the connection ends.
fn are_refused(io: Io, table: &[Refused<'_>]) {
    let endpoint = Endpoint::listens();
    let gateway = Plan::to(io, &[endpoint.address()]).start();
    let problems: Vec<String> =
        table.iter().filter_map(|(rule, bytes, status)| served_otherwise(&gateway, rule, bytes, *status)).collect();
    assert!(problems.is_empty(), "{}", problems.join("\n----\n"));
    assert!(endpoint.is_alone(), "a refused request reached the endpoint");
    gateway.stop();
}

/// What is wrong with the answer, if it is not this status, once, with the end announced (RFC 9112 section 9.6).
fn served_otherwise(gateway: &Gateway, rule: &str, bytes: &[u8], status: u16) -> Option<String> {
    let mut client = gateway.client();
    client.sends(bytes).half_closes();
    let (answer, _) = client.reads_to_end();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let is_right = answer.starts_with(&format!("HTTP/1.1 {status} "))
        && answer.contains("\r\nConnection: close\r\n")
        && answer.matches("\r\nDate: ").count() == 1;
    let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]);
    (!is_right).then(|| format!("{rule}, {status} expected\n{shown}\n-> {answer}"))
}

/// Items 2 to 8, 13 to 16: the syntax of request line and fields.
fn malformed_heads_are_answered_and_closed(io: Io) {
    are_refused(
        io,
        &[
            ("9112 2.2 bare CR in the request line", b"GET /\r HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("9112 2.2 bare CR in a value", b"GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n", 400),
            ("9112 2.2 lone LF", b"GET / HTTP/1.1\nHost: a\n\n", 400),
            ("9112 2.2 lone LF behind a field", b"GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n", 400),
            ("9112 2.2 lone LF as the last line", b"GET / HTTP/1.1\r\nHost: a\r\n\n", 400),
            ("9112 2.2 white space before the first field", b"GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400),
            ("9112 2.2 white space before the first field", b"GET / HTTP/1.1\r\n\tX: a\r\nHost: a\r\n\r\n", 400),
            ("9112 2.2 empty lines without end", b"\r\n\r\n\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("9112 2.3 HTTP/0.9", b"GET /\r\n\r\n", 400),
            ("9112 2.3 version 2.0", b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
            ("9112 2.3 version 1.2", b"GET / HTTP/1.2\r\nHost: a\r\n\r\n", 505),
            ("9112 2.3 version in lower case", b"GET / http/1.1\r\nHost: a\r\n\r\n", 400),
            ("9113 3.4 a preface, but not of HTTP/2", b"PRI * HTTP/3.0\r\n\r\nSM\r\n\r\n", 505),
            ("9112 3 two spaces", b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("9112 3 space behind the version", b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n", 400),
            ("9112 3 space in the target", b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("9112 3 no target", b"GET HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("9112 3 control character in the target", b"GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("9112 3 NUL in the target", b"GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("9110 9.1 method is a token", b"G@T / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            (
                "9112 3 a method longer than any",
                b"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA / HTTP/1.1\r\nHost: a\r\n\r\n",
                501,
            ),
            ("9112 5.1 space before the colon", b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400),
            ("9112 5.1 tab before the colon", b"GET / HTTP/1.1\r\nHost: a\r\nX\t: a\r\n\r\n", 400),
            ("9112 5.2 obs-fold", b"GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n", 400),
            ("9110 5.5 NUL in a value", b"GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n", 400),
            ("9110 5.5 control character in a value", b"GET / HTTP/1.1\r\nHost: a\r\nX: a\x1bb\r\n\r\n", 400),
            ("9110 5.1 empty field name", b"GET / HTTP/1.1\r\nHost: a\r\n: a\r\n\r\n", 400),
            ("9110 5.6.2 no token", b"GET / HTTP/1.1\r\nHost: a\r\nX(: a\r\n\r\n", 400),
            ("9112 5 no colon", b"GET / HTTP/1.1\r\nHost: a\r\nnonsense\r\n\r\n", 400),
            ("9110 4.2.4 fragment in the target", b"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("3986 2.1 broken escape", b"GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("an encoded NUL", b"GET /a%00b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("a backslash", b"GET /a\\..\\b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("a dot segment behind an encoded slash", b"GET /a/..%2fb HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("9110 10.1.1 unknown expectation", b"GET / HTTP/1.1\r\nHost: a\r\nExpect: magic\r\n\r\n", 417),
        ],
    );
}

/// Items 9 to 12: Host and the forms of a target.
fn a_host_that_is_missing_doubled_or_odd_is_refused(io: Io) {
    are_refused(
        io,
        &[
            ("9112 3.2 no Host", b"GET / HTTP/1.1\r\n\r\n", 400),
            ("9112 3.2 two Hosts", b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
            ("9112 3.2 two equal Hosts", b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
            ("9112 3.2 a list", b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", 400),
            ("9112 3.2 user information", b"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", 400),
            ("9112 3.2 a path", b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
            ("9112 3.2 white space", b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
            ("9112 3.2 a port that is none", b"GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", 400),
            ("9112 3.2 a port beyond all ports", b"GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n", 400),
            ("9112 3.2 NUL", b"GET / HTTP/1.1\r\nHost: a\0\r\n\r\n", 400),
            ("9112 3.2 an open bracket", b"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", 400),
            ("9112 3.2.2 user information in an absolute target", b"GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("9112 3.2.2 an absolute target without a host", b"GET http:/// HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("9112 3.2.2 a scheme that is not ours", b"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("9112 3.2.4 the asterisk with GET", b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("9110 9.3.6 CONNECT without a port", b"CONNECT a HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("9110 9.3.6 CONNECT with an empty port", b"CONNECT a: HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ],
    );
}

/// Items 19 to 25: two recipients must not find two ends of one message (RFC 9112 section 6.3).
fn ambiguous_framing_is_refused(io: Io) {
    are_refused(
        io,
        &[
            ("9112 6.3 both framings", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
            ("9112 6.3 both, the other way", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n0\r\n\r\n", 400),
            ("9112 6.1 unknown coding", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
            ("9112 6.1 chunked is not last", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n", 400),
            ("9112 6.1 chunked twice", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", 400),
            ("9112 6.1 chunked in two lines", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
            ("9112 6.1 not quite chunked", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", 400),
            ("9112 6.1 quoted", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n", 400),
            ("9112 6.1 with a parameter", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n", 400),
            ("9112 6.1 empty", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n\r\n", 400),
            ("9112 6.1 in a message of 1.0", b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
            ("9112 6.3 two lengths", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello", 400),
            ("9112 6.3 two equal lengths", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello", 400),
            ("9112 6.3 a list of lengths", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 6\r\n\r\nhello", 400),
            ("9110 8.6 a sign", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\nhello", 400),
            ("9110 8.6 negative", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", 400),
            ("9110 8.6 hexadecimal", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x5\r\n\r\nhello", 400),
            ("9110 8.6 empty", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n", 400),
            ("9110 8.6 white space inside", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1 2\r\n\r\nhello", 400),
            ("9110 8.6 beyond 64 bits", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551616\r\n\r\n", 400),
        ],
    );
}

/// Item 24 and F32: the grammar of chunks is exact (RFC 9112 section 7.1); what was sent of it upstream is aborted.
fn malformed_chunks_end_both_connections(io: Io) {
    let endpoint = Endpoint::listens();
    let gateway = Plan::to(io, &[endpoint.address()]).start();
    let long_extension = format!("5;{}\r\nhello\r\n0\r\n\r\n", "x".repeat(64 << 10));
    let endless_trailers = format!("0\r\n{}", "X-Trailer: trailer\r\n".repeat(1 << 10));
    for (rule, body, status) in [
        ("no size", "\r\nhello\r\n0\r\n\r\n", 400),
        ("no hexadecimal size", "g\r\nhello\r\n0\r\n\r\n", 400),
        ("a sign", "+5\r\nhello\r\n0\r\n\r\n", 400),
        ("a prefix", "0x5\r\nhello\r\n0\r\n\r\n", 400),
        ("a size beyond 64 bits", "10000000000000000\r\nhello\r\n0\r\n\r\n", 400),
        ("a line that ends with LF", "5\nhello\r\n0\r\n\r\n", 400),
        ("content longer than its size", "5\r\nhello!\r\n0\r\n\r\n", 400),
        ("content that ends with LF", "5\r\nhello\n0\r\n\r\n", 400),
        ("a LF in an extension", "5;a\nb\r\nhello\r\n0\r\n\r\n", 400),
        ("an extension of 64 KiB", long_extension.as_str(), 400),
        ("a trailer that is no field", "5\r\nhello\r\n0\r\nnonsense\r\n\r\n", 400),
        ("a trailer with white space before its colon", "5\r\nhello\r\n0\r\nX : a\r\n\r\n", 400),
        ("endless trailers", endless_trailers.as_str(), 431),
    ] {
        let mut client = gateway.client();
        client.sends("POST /chunks HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
        let mut upstream = endpoint.accepts();
        assert_eq!(upstream.expects_head("POST /chunks").all("transfer-encoding"), ["chunked"]);
        drop(client.try_send(body));
        let (relayed, _) = upstream.reads_to_end();
        assert!(
            !relayed.ends_with(b"0\r\n\r\n"),
            "{rule}: no end upstream, the message is incomplete (9112 section 8)"
        );
        let answer = client.expects_head(status);
        assert!(answer.announces_close(), "{rule}: {answer}");
        client.reads_to_end();
    }
    gateway.stop();
}

/// Items 5 and 17: at least one empty line before the request line is ignored (RFC 9112 section 2.2), and nothing
/// happens before the whole head is there.
fn a_head_in_single_bytes_behind_an_empty_line_is_served(io: Io) {
    let origin = Origin::echo();
    let gateway = Plan::to(io, &[origin.address()]).start();
    let mut client = gateway.client();
    for byte in b"\r\n\r\nGET /slow HTTP/1.1\r\nHost: a\r\nX-Empty:\r\n\r\n" {
        client.sends([*byte]);
    }
    assert_eq!(client.expects(200).text(), "GET /slow HTTP/1.1");
    client.asks("/next");
    assert_eq!(client.expects(200).text(), "GET /next HTTP/1.1");
    gateway.stop();
}

/// Item 7, F32 and J2: too long is told apart from malformed (RFC 9112 section 3, RFC 6585 section 5).
fn heads_beyond_the_limits_are_refused_by_what_is_too_large(io: Io) {
    let endpoint = Endpoint::listens();
    let gateway = Plan::to(io, &[endpoint.address()]).start();
    let long_line = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(1 << 20));
    let long_method = format!("{} / HTTP/1.1\r\nHost: a\r\n\r\n", "A".repeat(1 << 16));
    let large = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(1 << 20));
    let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: a\r\n".repeat(10_000));
    let options = format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: {}\r\n\r\n", "x-a, ".repeat(5_000));
    let before = gateway.process.resident_bytes();
    for (what, bytes, statuses) in [
        ("a line of 1 MiB", &long_line, [414, 414]),
        ("a method without end", &long_method, [414, 501]),
        ("a field of 1 MiB", &large, [431, 431]),
        ("10,000 fields", &many, [431, 431]),
        ("5,000 connection options", &options, [400, 400]),
    ] {
        let mut client = gateway.client();
        // It may close before it has read all of it.
        drop(client.try_send(bytes));
        let answer = String::from_utf8_lossy(&client.reads_to_end().0).into_owned();
        assert!(statuses.iter().any(|status| answer.starts_with(&format!("HTTP/1.1 {status} "))), "{what}: {answer}");
    }
    let grown = gateway.process.resident_bytes().saturating_sub(before);
    assert!(grown < 16 << 20, "{grown} bytes more for refused requests (F32: RSS flat)");
    assert!(endpoint.is_alone());
    gateway.stop();
}

/// J2: the bounds are the listener's; a head within them passes, whatever their size.
fn the_bounds_of_a_head_are_the_listeners(io: Io) {
    let origin = Origin::echo();
    let gateway = Plan::to(io, &[origin.address()]).limits("header_bytes: 1MiB, header_count: 600").start();
    let mut client = gateway.client();
    client.sends(format!("GET /large HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(900 << 10)));
    client.expects(200);
    client.sends(format!("GET /many HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: a\r\n".repeat(590)));
    client.expects(200);
    client.sends(format!("GET /more HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: a\r\n".repeat(600)));
    assert!(client.expects(431).announces_close());
    gateway.stop();
}

/// F32 with K4: every refusal counts under its reason.
fn refusals_are_counted_by_reason(io: Io) {
    let gateway = Plan::to(io, &[Endpoint::closed()]).start();
    for _ in 0..3 {
        assert_eq!(served_otherwise(&gateway, "no Host", b"GET / HTTP/1.1\r\n\r\n", 400), None);
    }
    gateway.waits_for("gateway_rejected_requests_total{reason=\"bad_request\"}", 3.0);
    gateway.stop();
}

on_both_drivers![
    malformed_heads_are_answered_and_closed,
    a_host_that_is_missing_doubled_or_odd_is_refused,
    ambiguous_framing_is_refused,
    malformed_chunks_end_both_connections,
    a_head_in_single_bytes_behind_an_empty_line_is_served,
    heads_beyond_the_limits_are_refused_by_what_is_too_large,
    the_bounds_of_a_head_are_the_listeners,
    refusals_are_counted_by_reason,
];
