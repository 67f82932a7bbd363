//! What all tests of this room share, and tests that cross its files.

use super::*;

/// Generous bounds for tests that are not about bounds.
pub(super) const LIMITS: HeadLimits = HeadLimits { bytes: 16 * 1024, count: 64, line: 8 * 1024 };

/// Parses `text` as a whole request head.
pub(super) fn request(text: &str) -> Result<RequestHead, HeadError> {
    let mut head = RequestHead::new();
    assert_eq!(head.parse(text.as_bytes(), &LIMITS)?, Progress::Complete, "{text:?} is not a whole head");
    Ok(head)
}

/// Parses `text` as the whole head of the response to a request of `method`.
pub(super) fn response(method: Method, text: &str) -> Result<ResponseHead, HeadError> {
    let mut head = ResponseHead::new();
    assert_eq!(head.parse(text.as_bytes(), &LIMITS, method)?, Progress::Complete, "{text:?} is not a whole head");
    Ok(head)
}

/// A small generator of test cases: the same seed gives the same cases.
pub(super) struct Cases(u64);

impl Cases {
    /// Cases of `seed`, which is printed with a failing test.
    pub(super) fn of_seed(seed: u64) -> Self {
        eprintln!("seed {seed}");
        Self(seed)
    }

    /// The next number below `bound`.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound as u64).unwrap()
    }

    /// One of `choices`.
    pub(super) fn pick<'a, T: ?Sized>(&mut self, choices: &[&'a T]) -> &'a T {
        choices[self.below(choices.len())]
    }
}

/// Everything that a request head tells, to compare two of them.
fn told(head: &RequestHead, bytes: &[u8]) -> String {
    format!(
        "{} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {} {} {} {:?} {:?}",
        head.len(),
        head.method(),
        head.version(),
        String::from_utf8_lossy(head.path(bytes)),
        head.query(bytes),
        head.scheme(),
        head.host(),
        head.authority(),
        head.body(),
        head.keep_alive(),
        head.expects_continue(),
        head.accepts_trailers(),
        head.max_forwards(),
        head.fields(),
    )
}

/// What came of parsing a head that arrived in pieces which end at `ends`.
fn parse_in_pieces(bytes: &[u8], ends: impl Iterator<Item = usize>) -> Result<Option<String>, HeadError> {
    let mut head = RequestHead::new();
    for end in ends {
        if head.parse(&bytes[..end], &LIMITS)? == Progress::Complete {
            return Ok(Some(told(&head, bytes)));
        }
    }
    Ok(None)
}

const HEADS: [&str; 16] = [
    "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "\r\n\r\nPOST /a%2e/./b?x=1 HTTP/1.1\r\nHost: A.example:80\r\nContent-Length: 5\r\n\r\nhello",
    "OPTIONS * HTTP/1.1\r\nHost: a\r\nMax-Forwards: 3\r\nConnection: close, x-y\r\nX-Y: 1\r\n\r\n",
    "GET http://b.example/c HTTP/1.1\r\nhost:a\r\nTE:  trailers \t\r\nEmpty:\r\n\r\nGET /next HTTP/1.1\r\n",
    "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n0\r\n\r\n",
    "GET / HTTP/1.0\r\n\r\n",
    "GET / HTTP/1.1\nHost: a\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\n\n",
    "GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n",
    "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
    "GET / HTTP/2.0\r\nHost: a\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    "G@T / HTTP/1.1\r\n\r\n",
    "GET  / HTTP/1.1\r\n\r\n",
    "\n\nGET / HTTP/1.1\r\n\r\n",
];

#[test]
fn a_head_in_two_pieces_means_what_it_means_in_one() {
    for text in HEADS {
        let whole = parse_in_pieces(text.as_bytes(), [text.len()].into_iter());
        for split in 0..=text.len() {
            let pieces = parse_in_pieces(text.as_bytes(), [split, text.len()].into_iter());
            assert_eq!(pieces.clone().ok(), whole.clone().ok(), "{text:?} split at {split}: {pieces:?}");
        }
        let bytes = parse_in_pieces(text.as_bytes(), 0..=text.len());
        assert_eq!(bytes.ok(), whole.ok(), "{text:?} byte by byte");
    }
}

#[test]
fn a_response_head_in_pieces_means_what_it_means_in_one() {
    for text in [
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nDate: x\r\n\r\nhello",
        "HTTP/1.0 404\r\nKeep-Alive: timeout=5\r\n\r\n",
        "HTTP/1.1 200 OK\nA: b\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA: b\r\n\n",
        "HTTP/1.1 999 x\r\n\r\n",
    ] {
        let outcome = |ends: &mut dyn Iterator<Item = usize>| -> Result<Option<String>, HeadError> {
            let mut head = ResponseHead::new();
            for end in ends {
                if head.parse(&text.as_bytes()[..end], &LIMITS, Method::Get)? == Progress::Complete {
                    return Ok(Some(format!("{head:?}").split("fields").nth(1).unwrap().to_owned()));
                }
            }
            Ok(None)
        };
        let whole = outcome(&mut [text.len()].into_iter());
        for split in 0..=text.len() {
            assert_eq!(
                outcome(&mut [split, text.len()].into_iter()).ok(),
                whole.clone().ok(),
                "{text:?} split at {split}"
            );
        }
        assert_eq!(outcome(&mut (0..=text.len())).ok(), whole.ok(), "{text:?} byte by byte");
    }
}

/// A mostly valid head: of each part one in sixteen is odd.
fn random_head(cases: &mut Cases) -> Vec<u8> {
    let mut text = String::new();
    let mut part = |cases: &mut Cases, usual: &[&str], odd: &[&str]| {
        let choices = if cases.below(16) == 0 { odd } else { usual };
        text.push_str(cases.pick(choices));
    };
    let (end, bad_end) = (&["\r\n"], &["\n", "\r", ""]);
    part(cases, &["", "\r\n"], &["\n"]);
    part(cases, &["GET", "POST", "OPTIONS", "X!"], &["get", "G T", ""]);
    part(cases, &[" "], &["  ", "\t"]);
    part(cases, &["/", "/a/../b?c=d", "http://h/p", "/%41%2F"], &["*", "/%zz", "a", "/a#b", "/..;/", "\u{e9}"]);
    part(cases, &[" HTTP/1.1", " HTTP/1.0"], &[" HTTP/1.2", ""]);
    part(cases, end, bad_end);
    part(cases, &["Host: a.example\r\n"], &["", "Host: a\r\nHost: a\r\n"]);
    for _ in 0..cases.below(5) {
        part(
            cases,
            &["A-b", "Connection", "X_Forwarded_For", "X-Forwarded-For", "TE"],
            &["Content-Length", "Transfer-Encoding", "", " x"],
        );
        part(cases, &[": ", ":", ":\t "], &[" : ", ""]);
        part(cases, &["5", "close, a-b", "trailers", "", "a b"], &["a\u{b}b", "chunked", "gzip, chunked", "5, 5"]);
        part(cases, &["", " ", "\t"], &[" \t "]);
        part(cases, end, bad_end);
    }
    part(
        cases,
        &["", "Content-Length: 3\r\n", "Transfer-Encoding: chunked\r\n"],
        &["Transfer-Encoding:\u{b}chunked\r\n"],
    );
    part(cases, end, bad_end);
    text.into_bytes()
}

#[test]
fn what_we_accept_httparse_accepts_with_the_same_fields() {
    let mut cases = Cases::of_seed(0x9e37_79b9_7f4a_7c15);
    let mut accepted = 0;
    for _ in 0..20_000 {
        let bytes = random_head(&mut cases);
        let mut head = RequestHead::new();
        let ours = head.parse(&bytes, &LIMITS);
        let mut slots = [httparse::EMPTY_HEADER; 64];
        let mut theirs = httparse::Request::new(&mut slots);
        let status = theirs.parse(&bytes);
        if ours == Ok(Progress::Complete) {
            accepted += 1;
            assert_eq!(status, Ok(httparse::Status::Complete(head.len())), "{bytes:?}");
            assert_eq!(head.method_name(&bytes), theirs.method.unwrap().as_bytes());
            assert_eq!(head.target(&bytes), theirs.path.unwrap().as_bytes());
            assert_eq!(head.fields().len(), theirs.headers.len());
            for (field, header) in head.fields().iter().zip(theirs.headers.iter()) {
                assert_eq!((field.name.of(&bytes), field.value.of(&bytes)), (header.name.as_bytes(), header.value));
            }
        }
        let split = cases.below(bytes.len() + 1);
        let pieces = parse_in_pieces(&bytes, [split, bytes.len()].into_iter());
        assert_eq!(pieces.is_ok_and(|head| head.is_some()), ours == Ok(Progress::Complete), "{bytes:?} at {split}");
    }
    assert!(accepted > 1000, "only {accepted} heads were accepted");
}

/// What a head that we wrote must be: one that we accept, framed in one way, with one Host.
fn check_forwarded(wire: &[u8], how: &RequestOut<'_>) {
    let text = String::from_utf8_lossy(wire);
    let mut again = RequestHead::new();
    assert_eq!(again.parse(wire, &HeadLimits { bytes: 1 << 20, ..LIMITS }), Ok(Progress::Complete), "{text}");
    assert_eq!(again.len(), wire.len(), "{text}");
    assert_eq!(again.body(), how.body, "{text}");
    assert_eq!(again.version(), Version::Http11);
    let real_ip = how.forwarded.client.map(|client| client.to_string().into_bytes());
    assert_eq!(
        again.find(wire, FieldKind::XRealIp),
        Some(real_ip.as_deref().unwrap_or(how.forwarded.peer_ip)),
        "{text}"
    );
}

#[test]
fn whatever_is_accepted_is_forwarded_as_one_unambiguous_message() {
    let mut cases = Cases::of_seed(0x0123_4567_89ab_cdef);
    let edits = FieldEdits::default();
    for _ in 0..20_000 {
        let bytes = random_head(&mut cases);
        let mut head = RequestHead::new();
        if head.parse(&bytes, &LIMITS) != Ok(Progress::Complete) {
            continue;
        }
        let how = RequestOut {
            upgrade: b"",
            grpc_timeout_ms: None,
            certificate: None,
            path: head.path(&bytes),
            query: head.query(&bytes),
            host: b"up.example",
            forwarded: Forwarded {
                peer_ip: b"192.0.2.7",
                proto: "http",
                client: (cases.below(2) == 0).then_some(core::net::Ipv4Addr::LOCALHOST.into()),
            },
            request_id: b"id",
            trace: None,
            via: b"ringgate",
            by_h2: false,
            edits: &edits,
            added: &[],
            body: head.body(),
            timeout_ms: None,
            close: false,
        };
        let mut wire = Vec::new();
        encode_request(&mut wire, &bytes, &head, &how);
        check_forwarded(&wire, &how);
    }
}

#[test]
fn a_warm_head_is_reused_without_a_trace_of_the_message_before() {
    let mut head = RequestHead::new();
    let first = HEADS[1].as_bytes();
    assert_eq!(head.parse(first, &LIMITS), Ok(Progress::Complete));
    head.clear();
    let second = HEADS[5].as_bytes();
    assert_eq!(head.parse(second, &LIMITS), Ok(Progress::Complete));
    assert_eq!((head.path(second), head.host(), head.body()), (&b"/"[..], &b""[..], BodyLength::None));
    assert!(head.fields().is_empty() && !head.keep_alive());
}
