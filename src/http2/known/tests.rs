use http::HeaderMap;

use super::*;
use crate::http2::decode_request_head;

/// Heads as the encoder writes them.
const REQUESTS: [&str; 12] = [
    "GET /a HTTP/1.1\r\nHost: a\r\nX-A: 1\r\nX-Request-ID: 7\r\n\r\n",
    "GET /a HTTP/1.1\r\nHost: a\r\nX-A: 1\r\nX-Request-ID: 8\r\n\r\n",
    "PUT /b?c HTTP/1.1\r\nHost: a\r\nX-A: \r\nX-Request-ID: 10\r\n\r\n",
    // Another host, other names, an order of their own.
    "GET /a HTTP/1.1\r\nHost: b\r\nX-A: 1\r\nX-Request-ID: 9\r\n\r\n",
    "GET /a HTTP/1.1\r\nHost: a\r\nX-B: 1\r\nX-Request-ID: 9\r\n\r\n",
    "GET /a HTTP/1.1\r\nHost: a\r\nX-Request-ID: 9\r\nX-A: 1\r\n\r\n",
    // Names that occur twice.
    "GET /a HTTP/1.1\r\nHost: a\r\nX-A: 1\r\nX-A: 2\r\n\r\n",
    "GET /a HTTP/1.1\r\nHost: a\r\nX-A: 1\r\nx-a: 3\r\n\r\n",
    // Framing and what belongs to a connection.
    "PUT /a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTE: trailers\r\nConnection: TE\r\n\r\nabc",
    "PUT /a HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nTE: trailers\r\nConnection: TE\r\n\r\n",
    "PUT /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTE: trailers\r\nConnection: TE\r\n\r\n0\r\n",
    "GET /a HTTP/1.1\r\nHost: a\r\nX-A: 1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
];

/// What a map says in its order, and which values stay out of the peer's table.
fn all_of(fields: &HeaderMap) -> Vec<(&str, &[u8], bool)> {
    fields.iter().map(|(name, value)| (name.as_str(), value.as_bytes(), value.is_sensitive())).collect()
}

fn decodes_alike(known: &mut KnownRequests, text: &str, is_secure: bool) {
    let fresh = decode_request_head(text.as_bytes(), is_secure).expect("a head");
    let start = known.decode(text.as_bytes(), is_secure).expect("a head");
    assert_eq!((start.request.method(), start.request.uri()), (fresh.request.method(), fresh.request.uri()), "{text}");
    assert_eq!(all_of(start.request.headers()), all_of(fresh.request.headers()), "{text}");
    assert_eq!((start.used, start.body, start.upgrade), (fresh.used, fresh.body, fresh.upgrade), "{text}");
}

#[test]
fn whatever_came_before_a_head_says_what_it_says_alone() {
    let mut known = KnownRequests::default();
    // Each behind each, once and thrice: the first does not take a known one's place, the others do.
    for (times, is_secure) in [(1, false), (3, false), (1, true), (3, true)] {
        for before in REQUESTS {
            for text in REQUESTS {
                for _ in 0..times {
                    decodes_alike(&mut known, before, false);
                }
                decodes_alike(&mut known, text, is_secure);
            }
        }
    }
}

#[test]
fn what_is_no_head_is_none_whatever_is_known() {
    let mut known = KnownRequests::default();
    let good = REQUESTS[0];
    for bad in [good.replace("/a ", "/a\t"), good.replace("X-A: 1", "X-A: \u{1}"), good.replace("\r\n\r\n", "\r\n")] {
        decodes_alike(&mut known, good, false);
        let expected = decode_request_head(bad.as_bytes(), false).expect_err("no head");
        assert_eq!(known.decode(bad.as_bytes(), false).err(), Some(expected), "{bad}");
    }
}

/// Does the known head stand where one with as many lines as `text` would, with this value of X-A?
fn is_known(known: &KnownRequests, text: &str, value: &str) -> bool {
    let extent = Extent::of(text.as_bytes()).expect("a head");
    let place = known.0[extent.lines() % PLACES].as_ref();
    place.is_some_and(|place| place.start.request.headers().get("x-a").is_some_and(|known| known == value))
}

#[test]
fn heads_that_take_turns_drive_out_nobody_and_what_comes_twice_stays() {
    let mut known = KnownRequests::default();
    let [a, other] = ["X-A: 1", "X-B: 1"].map(|line| format!("GET / HTTP/1.1\r\nHost: a\r\n{line}\r\n\r\n"));
    known.decode(a.as_bytes(), false).expect("a head");
    for _ in 0..3 {
        known.decode(other.as_bytes(), false).expect("a head");
        known.decode(a.replace('1', "2").as_bytes(), false).expect("a head");
        assert!(is_known(&known, &a, "1"));
    }
    for _ in 0..2 {
        known.decode(other.as_bytes(), false).expect("a head");
    }
    assert!(!is_known(&known, &a, "1"));
    let mut empty = KnownRequests::default();
    let large = a.replace('1', &"x".repeat(BYTES));
    empty.decode(large.as_bytes(), false).expect("a head");
    assert!(empty.0.iter().all(Option::is_none), "large ones take no room");
}
