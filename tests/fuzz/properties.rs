//! What must hold for any input: the body of every fuzz target, and of the test that replays their corpora.

#[path = "admission.rs"]
mod admission;
#[path = "connection.rs"]
mod connection;
#[path = "credentials.rs"]
mod credentials;
#[path = "endpoint.rs"]
mod endpoint;
#[path = "reverse.rs"]
mod reverse;

pub use admission::{access, api_key};
pub use connection::connection;
pub use credentials::{key_set, login, token};
pub use endpoint::endpoint;
pub use reverse::answer;

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use http::request::Parts;
use ringgate::http1::{
    BodyLength, ChunkError, ChunkedDecoder, FieldEdits, FieldKind, Forwarded, HeadError, HeadLimits, LocalReply,
    Method, Progress, RequestHead, RequestOut, ResponseBody, ResponseHead, ResponseOut, Version, encode_chunk_line,
    encode_local, encode_request, encode_response,
};
use ringgate::http2::{PREFACE, decode_response_head, encode_request_head};
use ringgate::net::{PROXY_HEADER_BYTES, ProxyProgress, parse_proxy_header};

const LIMITS: HeadLimits = HeadLimits { bytes: 16 * 1024, count: 64, line: 8 * 1024 };

/// Room for what a gateway adds to a head it forwards.
const WIDE: HeadLimits = HeadLimits { bytes: 64 * 1024, count: 128, line: 16 * 1024 };

/// A place to split `bytes` at, chosen by the bytes themselves.
fn split_of(bytes: &[u8]) -> usize {
    let sum = bytes.iter().fold(bytes.len(), |sum, &byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    sum % (bytes.len() + 1)
}

/// Parses a request head that arrives in pieces which end at `ends`.
fn parse_request(bytes: &[u8], ends: &[usize]) -> Result<Option<RequestHead>, HeadError> {
    let mut head = RequestHead::new();
    for &end in ends {
        if head.parse(&bytes[..end], &LIMITS)? == Progress::Complete {
            return Ok(Some(head));
        }
    }
    Ok(None)
}

/// Whether the empty line behind a head has arrived.
fn has_ended(input: &[u8]) -> bool {
    let start = input.iter().position(|byte| !matches!(byte, b'\r' | b'\n')).unwrap_or(input.len());
    input[start..].windows(4).any(|end| end == b"\r\n\r\n")
}

/// A head is the same however it arrives, and what it tells lies within it and is normal.
pub fn head(input: &[u8]) {
    let whole = parse_request(input, &[input.len()]);
    let split = parse_request(input, &[split_of(input), input.len()]);
    match (&whole, &split) {
        (Ok(Some(whole)), Ok(Some(split))) => {
            assert_eq!((whole.len(), whole.fields()), (split.len(), split.fields()));
            assert_eq!(
                (whole.path(input), whole.authority(), whole.body()),
                (split.path(input), split.authority(), split.body())
            );
            check_request(input, whole);
        }
        (Ok(None), Ok(None)) | (Err(_), Err(_)) => {}
        // Of a head in pieces only the line ends are checked as they come, all else when it has ended or doubled.
        (Err(_), Ok(None)) => assert!(!has_ended(input), "a head that has ended was not refused"),
        other => panic!("whole and split differ: {other:?}"),
    }
    for method in [Method::Get, Method::Head, Method::Connect] {
        let mut response = ResponseHead::new();
        if response.parse(input, &LIMITS, method) == Ok(Progress::Complete) {
            assert!((100..=599).contains(&response.status()) && input[..response.len()].ends_with(b"\r\n\r\n"));
            assert!(response.body() != BodyLength::UntilClose || !response.keep_alive());
        }
    }
}

/// What every accepted request head is.
fn check_request(input: &[u8], head: &RequestHead) {
    let text = &input[..head.len()];
    assert!(text.ends_with(b"\r\n\r\n"));
    assert!(
        text.iter().enumerate().all(|(at, &byte)| byte != b'\n' || text[at - 1] == b'\r'),
        "a bare LF was accepted"
    );
    assert!(
        text.iter().enumerate().all(|(at, &byte)| byte != b'\r' || text[at + 1] == b'\n'),
        "a bare CR was accepted"
    );
    assert!(
        !head.host().iter().any(|byte| byte.is_ascii_uppercase() || matches!(byte, b'/' | b'@' | b',' | b' ' | b'%'))
    );
    assert!(head.version() == Version::Http10 || !head.host().is_empty());
    assert!(head.body() != BodyLength::UntilClose);
    for field in head.fields() {
        let (name, value) = (field.name.of(input), field.value.of(input));
        assert!(!name.is_empty() && !name.iter().any(|byte| byte.is_ascii_whitespace() || *byte == b':'));
        assert_eq!(value.trim_ascii(), value);
        assert!(!value.iter().any(|&byte| (byte < b' ' && byte != b'\t') || byte == 0x7f));
    }
}

/// Lines of `head` whose name is one of `names`.
fn count_lines(head: &[u8], names: &[&str]) -> usize {
    let lines = head.split(|&byte| byte == b'\n').skip(1);
    let starts = |line: &[u8], name: &str| {
        line.len() > name.len() && line[name.len()] == b':' && line[..name.len()].eq_ignore_ascii_case(name.as_bytes())
    };
    lines.filter(|line| names.iter().any(|name| starts(line, name))).count()
}

/// Whatever is accepted is forwarded as one message that frames itself in one way.
pub fn framing(input: &[u8]) {
    let edits = FieldEdits::default();
    if let Ok(Some(head)) = parse_request(input, &[input.len()]) {
        check_forwarded_request(input, &head, &edits);
    }
    let mut head = ResponseHead::new();
    if head.parse(input, &LIMITS, Method::Get) != Ok(Progress::Complete) || head.is_interim() {
        return;
    }
    let (body, close) = match head.body() {
        BodyLength::None => (ResponseBody::AsReceived, false),
        BodyLength::Exact(length) => (ResponseBody::Exact(length), false),
        BodyLength::Chunked => (ResponseBody::Chunked, false),
        BodyLength::UntilClose => (ResponseBody::UntilClose, true),
    };
    let mut out = Vec::new();
    let how = ResponseOut {
        version: Version::Http11,
        request_id: b"id",
        date: b"d",
        edits: &edits,
        added: &[],
        body,
        close,
        keep_alive_10: false,
        trailers: true,
    };
    encode_response(&mut out, input, &head, &how);
    assert!(count_lines(&out, &["content-length", "transfer-encoding"]) <= 1);
    assert_eq!(count_lines(&out, &["date"]).min(1), 1);
    let mut again = ResponseHead::new();
    assert_eq!(again.parse(&out, &WIDE, Method::Get), Ok(Progress::Complete));
    assert_eq!((again.len(), again.status(), again.body()), (out.len(), head.status(), head.body()));
    assert_eq!(again.reason(&out), head.reason(input));
    if body != ResponseBody::UntilClose && head.status() != 101 {
        check_response_fields(&out, &again);
    }
}

/// A head that we wrote says the same in the fields of HTTP/2 (RFC 9113 section 8.3.2).
fn check_response_fields(out: &[u8], head: &ResponseHead) {
    let start = decode_response_head(out, false).expect("we wrote it");
    assert_eq!((start.used, start.response.status().as_u16()), (head.len(), head.status()));
    assert_eq!(start.body.is_over(), matches!(head.body(), BodyLength::None | BodyLength::Exact(0)));
    let kept = head.fields().iter().filter(|field| !field.hop);
    let mut names: Vec<_> = kept.clone().map(|field| field.name.of(out).to_ascii_lowercase()).collect();
    names.sort();
    let mut fields: Vec<_> =
        start.response.headers().iter().map(|(name, _)| name.as_str().as_bytes().to_vec()).collect();
    fields.sort();
    assert_eq!(fields, names);
    for field in kept {
        let name = String::from_utf8_lossy(field.name.of(out)).to_ascii_lowercase();
        let mut values = start.response.headers().get_all(&name).iter();
        assert!(values.any(|value| value.as_bytes().trim_ascii() == field.value.of(out)), "{name}");
    }
}

/// Forwards `head` and reads it as an upstream would.
fn check_forwarded_request(input: &[u8], head: &RequestHead, edits: &FieldEdits) {
    let client = (split_of(input) % 2 == 1).then_some([198, 51, 100, 7].into());
    let how = RequestOut {
        path: head.path(input),
        query: head.query(input),
        host: b"up.example",
        forwarded: Forwarded { peer_ip: b"192.0.2.7", proto: "http", client },
        request_id: b"id",
        trace: None,
        via: b"ringgate",
        by_h2: false,
        edits,
        added: &[],
        body: head.body(),
        timeout_ms: None,
        close: false,
        upgrade: b"",
        grpc_timeout_ms: None,
        certificate: None,
    };
    let mut out = Vec::new();
    encode_request(&mut out, input, head, &how);
    assert!(count_lines(&out, &["content-length", "transfer-encoding"]) <= 1);
    assert_eq!(count_lines(&out, &["host"]), 1);
    assert_eq!(count_lines(&out, &["x-forwarded-for"]), 1);
    assert_eq!(
        count_lines(&out, &["upgrade", "keep-alive", "proxy-connection", "x_forwarded_for", "http2-settings"]),
        0
    );
    if head.method() == Method::Connect {
        return;
    }
    let mut again = RequestHead::new();
    assert_eq!(again.parse(&out, &WIDE), Ok(Progress::Complete));
    assert_eq!((again.len(), again.method_name(&out), again.body()), (out.len(), head.method_name(input), head.body()));
    assert_eq!((again.path(&out), again.query(&out)), (head.path(input), head.query(input)));
    reverse::check_request_fields(&out, &again);
}

/// Content and trailers of a chunked body with the bytes used, or nothing if it has not ended.
type Body = Option<(Vec<u8>, Vec<u8>, usize)>;

/// Decodes a chunked body that arrives in pieces which end at `ends`.
fn decode(coded: &[u8], ends: &[usize]) -> Result<Body, ChunkError> {
    let mut decoder = ChunkedDecoder::new();
    let (mut content, mut from) = (Vec::new(), 0);
    for &end in ends {
        let mut piece = coded[from..end].to_vec();
        let decoded = decoder.decode(&mut piece)?;
        assert!(decoded.content <= decoded.consumed && (decoded.done || decoded.consumed == piece.len()));
        assert_eq!(piece[decoded.consumed..], coded[from + decoded.consumed..end], "what follows was touched");
        content.extend_from_slice(&piece[..decoded.content]);
        if decoded.done {
            return Ok(Some((content, decoder.trailers().to_vec(), from + decoded.consumed)));
        }
        from = end;
    }
    Ok(None)
}

/// A chunked body is the same however it arrives, and its content survives being chunked again.
pub fn chunked(input: &[u8]) {
    let whole = decode(input, &[input.len()]);
    assert_eq!(decode(input, &[split_of(input), input.len()]), whole);
    let bytes: Vec<usize> = (1..=input.len().min(2048)).chain([input.len()]).collect();
    assert_eq!(decode(input, &bytes), whole);
    let Ok(Some((content, trailers, _))) = whole else { return };
    let mut coded = Vec::new();
    for chunk in content.chunks(split_of(input).max(1)) {
        let mut line = [0; 18];
        let start = encode_chunk_line(chunk.len(), &mut line);
        coded.extend_from_slice(&line[start..]);
        coded.extend_from_slice(chunk);
        coded.extend_from_slice(b"\r\n");
    }
    coded.extend_from_slice(b"0\r\n");
    coded.extend_from_slice(&trailers);
    coded.extend_from_slice(b"\r\n");
    let length = coded.len();
    assert_eq!(decode(&coded, &[length]), Ok(Some((content, trailers, length))));
}

/// Names mean the same in any case, and no edit or local reply can break the message it is written to.
pub fn fields(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    for line in text.lines().take(16) {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        if name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')) {
            let kind = FieldKind::classify(name.as_bytes());
            assert_eq!(FieldKind::classify(name.to_ascii_uppercase().as_bytes()), kind);
            assert_eq!(FieldKind::classify(name.to_ascii_lowercase().as_bytes()), kind);
        }
        let edits = FieldEdits::new(&[(name.to_owned(), value.to_owned())], &[], &[]).unwrap_or_default();
        check_local(&edits, value.as_bytes(), input);
    }
}

/// A local reply is one whole response, whatever is quoted in it.
fn check_local(edits: &FieldEdits, value: &[u8], body: &[u8]) {
    let extra = [("X-Quoted", value)];
    let reply = LocalReply {
        status: 400,
        body,
        content_type: "text/plain",
        request_id: Some(value),
        date: b"d",
        close: true,
        head_only: false,
        version: Version::Http11,
        keep_alive_10: false,
        extra: &extra,
        edits,
        added: &[],
    };
    let mut out = Vec::new();
    encode_local(&mut out, &reply);
    let mut head = ResponseHead::new();
    assert_eq!(head.parse(&out, &WIDE, Method::Get), Ok(Progress::Complete));
    assert_eq!((head.len() + body.len(), head.body()), (out.len(), BodyLength::Exact(body.len() as u64)));
    assert!(!head.keep_alive());
}

/// An accepted path has one normal form, in which no dot segment is left.
pub fn path(input: &[u8]) {
    let request = |path: &[u8]| [b"GET ", path, b" HTTP/1.1\r\nHost: a\r\n\r\n"].concat();
    let bytes = request(input);
    let Ok(Some(head)) = parse_request(&bytes, &[bytes.len()]) else { return };
    if head.target(&bytes) != input {
        return;
    }
    let normal = head.path(&bytes);
    assert_eq!(normal.first(), Some(&b'/'));
    assert!(normal.iter().all(|byte| (0x21..0x7f).contains(byte) && !matches!(byte, b'#' | b'?' | b'\\')));
    assert!(!normal.split(|&byte| byte == b'/').any(|segment| matches!(segment, b"." | b"..")));
    for (at, _) in normal.iter().enumerate().filter(|&(_, &byte)| byte == b'%') {
        assert!(normal[at + 1..at + 3].iter().all(|byte| byte.is_ascii_digit() || (b'A'..=b'F').contains(byte)));
        assert_ne!(&normal[at + 1..at + 3], b"00");
    }
    let again = request(normal);
    let Ok(Some(twice)) = parse_request(&again, &[again.len()]) else { panic!("a normal path was refused") };
    assert_eq!(twice.path(&again), normal);
}

/// A client that says all it has to say, and takes everything.
struct Script {
    bytes: Vec<u8>,
    at: usize,
}

impl tokio::io::AsyncRead for Script {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        into: &mut tokio::io::ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let rest = &self.bytes[self.at..];
        if rest.is_empty() {
            return Poll::Pending;
        }
        let count = rest.len().min(into.remaining());
        into.put_slice(&rest[..count]);
        self.at += count;
        Poll::Ready(Ok(()))
    }
}

impl tokio::io::AsyncWrite for Script {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, from: &[u8]) -> Poll<std::io::Result<usize>> {
        Poll::Ready(Ok(from.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// What the library of frames makes of a field block: a request and whether a body follows, if it takes it for one.
fn accepted(block: &[u8], has_body: bool) -> Option<Parts> {
    let mut bytes = PREFACE.to_vec();
    bytes.extend_from_slice(&[0, 0, 0, 4, 0, 0, 0, 0, 0]);
    let length = u32::try_from(block.len()).expect("short").to_be_bytes();
    bytes.extend_from_slice(&length[1..]);
    bytes.extend_from_slice(&[1, if has_body { 4 } else { 5 }, 0, 0, 0, 1]);
    bytes.extend_from_slice(block);
    let mut handshake = std::pin::pin!(h2::server::handshake(Script { bytes, at: 0 }));
    let Poll::Ready(Ok(mut connection)) = poll(handshake.as_mut()) else { panic!("a preface was refused") };
    let mut accepting = std::pin::pin!(connection.accept());
    match poll(accepting.as_mut()) {
        Poll::Ready(Some(Ok((request, _)))) => Some(request.into_parts().0),
        Poll::Ready(_) | Poll::Pending => None,
    }
}

/// The lines of a text as a field block of literals (RFC 7541 section 6.2.2); a name may begin with a colon.
fn block_of(text: &[u8]) -> Vec<u8> {
    let mut block = Vec::new();
    for line in text.split(|&byte| byte == b'\n') {
        let colon = line.iter().skip(1).position(|&byte| byte == b':').map(|at| at + 1);
        let (name, value) = colon.map_or((line, &b""[..]), |at| (&line[..at], &line[at + 1..]));
        block.push(0);
        for part in [name, value] {
            push_length(&mut block, part.len());
            block.extend_from_slice(part);
        }
    }
    block
}

/// An integer behind a prefix of seven bits (RFC 7541 section 5.1).
fn push_length(block: &mut Vec<u8>, length: usize) {
    let Some(mut rest) = length.checked_sub(127) else {
        return block.push(u8::try_from(length).expect("below 127"));
    };
    block.push(127);
    while rest >= 128 {
        block.push(u8::try_from(rest % 128).expect("seven bits") | 128);
        rest /= 128;
    }
    block.push(u8::try_from(rest).expect("seven bits"));
}

/// What the translation leaves to the parser behind it: targets, hosts, lengths, expectations, sizes, and names with a
/// quotation mark, which the library of frames lets pass.
const LEFT_TO_PARSER: [HeadError; 13] = [
    HeadError::InvalidFieldName,
    HeadError::InvalidTarget,
    HeadError::InvalidPathEscape,
    HeadError::NulInPath,
    HeadError::AmbiguousDotSegment,
    HeadError::InvalidHost,
    HeadError::InvalidContentLength,
    HeadError::RepeatedContentLength,
    HeadError::UnknownExpectation,
    HeadError::MethodTooLong,
    HeadError::RequestLineTooLong,
    HeadError::HeadTooLarge,
    HeadError::TooManyFields,
];

/// Whatever HTTP/2 takes for a request is one in HTTP/1.1, the same one and nothing behind it, or is refused.
pub fn translation(input: &[u8]) {
    let block = match input {
        [0, raw @ ..] => raw.to_vec(),
        text => block_of(text),
    };
    if block.len() > 16 * 1024 {
        return;
    }
    let has_body = split_of(input) % 2 == 1;
    let Some(request) = accepted(&block, has_body) else { return };
    for is_secure in [false, true] {
        let mut out = Vec::new();
        if encode_request_head(&mut out, &request, has_body, is_secure).is_err() {
            continue;
        }
        let mut head = RequestHead::new();
        match head.parse(&out, &WIDE) {
            Ok(Progress::Complete) => check_translated(&request, has_body, &out, &head),
            Ok(Progress::Partial) => panic!("a head without an end"),
            Err(why) => assert!(LEFT_TO_PARSER.contains(&why), "{why:?}"),
        }
    }
}

fn check_translated(request: &Parts, has_body: bool, out: &[u8], head: &RequestHead) {
    assert_eq!(head.len(), out.len(), "something stands behind the head");
    assert_eq!(head.method_name(out), request.method.as_str().as_bytes());
    if head.method() != Method::Connect {
        let target = request.uri.path_and_query().expect("all but CONNECT have one").as_str().as_bytes();
        assert!(head.target(out).ends_with(target));
        assert_eq!(head.query(out), request.uri.query().map(str::as_bytes));
    }
    let authority = request.uri.authority().map(|authority| authority.as_str().as_bytes());
    let named = authority.unwrap_or_else(|| request.headers["host"].as_bytes());
    assert!(named.to_ascii_lowercase().starts_with(head.host()), "{:?} for {named:?}", head.host());
    assert_eq!(count_lines(out, &["host"]), 1);
    assert!(count_lines(out, &["content-length", "transfer-encoding"]) <= 1);
    assert!(count_lines(out, &["cookie"]) <= 1);
    assert_eq!(count_lines(out, &["connection", "keep-alive", "proxy-connection", "upgrade"]), 0);
    assert!(has_body || matches!(head.body(), BodyLength::None | BodyLength::Exact(0)));
    assert!(!has_body || head.body() != BodyLength::None);
    let is_own = |name: &str| matches!(name, "host" | "cookie" | "content-length" | "transfer-encoding");
    let received = request.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
    let sent = head
        .fields()
        .iter()
        .map(|field| (std::str::from_utf8(field.name.of(out)).expect("a token"), field.value.of(out)));
    let received: Vec<_> = received.filter(|(name, _)| !is_own(name)).collect();
    let sent: Vec<_> = sent.filter(|(name, _)| !is_own(name)).collect();
    assert_eq!(received, sent);
}
/// A PROXY header is judged by its own bytes: what follows changes nothing, and its beginning is never taken for more.
pub fn proxy(input: &[u8]) {
    match parse_proxy_header(input) {
        ProxyProgress::Complete(header) => {
            assert!(header.length <= input.len() && header.length <= PROXY_HEADER_BYTES);
            let whole = parse_proxy_header(&input[..header.length]);
            assert_eq!(whole, ProxyProgress::Complete(header), "what follows a header is no part of it");
            for end in 0..header.length {
                assert_eq!(parse_proxy_header(&input[..end]), ProxyProgress::Partial, "to {end}");
            }
        }
        ProxyProgress::Partial => assert!(input.len() < PROXY_HEADER_BYTES, "nobody waits for more than that"),
        ProxyProgress::Absent | ProxyProgress::Malformed => {
            let mut more = input.to_vec();
            more.extend([b'\r', b'\n', 0]);
            let longer = parse_proxy_header(&more);
            assert!(!matches!(longer, ProxyProgress::Complete(_) | ProxyProgress::Partial), "{longer:?}");
        }
    }
}
