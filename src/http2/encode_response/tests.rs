use http::{HeaderName, HeaderValue};

use super::*;
use crate::http1::{BodyLength, HeadLimits, Method, Progress, ResponseHead};

const LIMITS: HeadLimits = HeadLimits { bytes: 65_536, count: 128, line: 16_384 };

fn fields(lines: &[(&str, &str)]) -> HeaderMap {
    let mut fields = HeaderMap::new();
    for (name, value) in lines {
        let name: HeaderName = name.parse().expect("a name");
        fields.append(name, HeaderValue::from_str(value).expect("a value"));
    }
    fields
}

fn encoded(
    status: u16,
    lines: &[(&str, &str)],
    is_head: bool,
    is_over: bool,
) -> Result<(String, AnswerBody), HeadError> {
    let mut out = Vec::new();
    let status = StatusCode::from_u16(status).expect("a status");
    let body = encode_response_head(&mut out, status, &fields(lines), is_head, is_over)?;
    Ok((String::from_utf8(out).expect("text"), body))
}

/// What the parser of the request path finds in a head.
fn parsed(text: &str, method: Method) -> BodyLength {
    let mut head = ResponseHead::new();
    assert_eq!(head.parse(text.as_bytes(), &LIMITS, method), Ok(Progress::Complete), "{text}");
    assert!(head.keep_alive() && head.len() == text.len());
    head.body()
}

/// RFC 9113 section 8.1 and RFC 9112 section 6: one framing, which our own parser reads as it is meant.
#[test]
fn a_response_is_framed_in_one_way() {
    for (status, length, is_head, is_over, body, read) in [
        (200, Some("5"), false, false, AnswerBody::Exact(5), BodyLength::Exact(5)),
        (200, None, false, false, AnswerBody::Chunked, BodyLength::Chunked),
        (200, None, false, true, AnswerBody::Exact(0), BodyLength::Exact(0)),
        (200, Some("0"), false, false, AnswerBody::Chunked, BodyLength::Chunked),
        (200, Some("5"), true, true, AnswerBody::None, BodyLength::None),
        (200, None, true, true, AnswerBody::None, BodyLength::None),
        (204, Some("5"), false, true, AnswerBody::None, BodyLength::None),
        (304, Some("5"), false, true, AnswerBody::None, BodyLength::None),
        (304, None, false, false, AnswerBody::None, BodyLength::None),
    ] {
        let lines: Vec<_> = length.map(|length| ("content-length", length)).into_iter().collect();
        let (text, framed) = encoded(status, &lines, is_head, is_over).expect("well-formed");
        assert_eq!(framed, body, "{text}");
        let found = parsed(&text, if is_head { Method::Head } else { Method::Get });
        let is_nothing = |length| matches!(length, BodyLength::None | BodyLength::Exact(0));
        assert!(found == read || is_nothing(found) && is_nothing(read), "{found:?}: {text}");
    }
}

#[test]
fn fields_are_relayed_as_they_came() {
    let (text, _) = encoded(404, &[("x-a", "1"), ("set-cookie", "a"), ("set-cookie", "b"), ("x-e", "")], false, true)
        .expect("well-formed");
    assert_eq!(
        text,
        "HTTP/1.1 404 Not Found\r\nx-a: 1\r\nset-cookie: a\r\nset-cookie: b\r\nx-e: \r\ncontent-length: 0\r\n\r\n"
    );
}

/// RFC 9113 section 8.1.1.
#[test]
fn a_malformed_response_is_refused() {
    for (lines, is_over, why) in [
        (&[("content-length", "5")][..], true, HeadError::InvalidContentLength),
        (&[("content-length", "5"), ("content-length", "6")], false, HeadError::InvalidContentLength),
        (&[("content-length", "+5")], false, HeadError::InvalidContentLength),
        (&[("connection", "close")], false, HeadError::InvalidFieldName),
        (&[("transfer-encoding", "chunked")], false, HeadError::InvalidFieldName),
        (&[("upgrade", "h2c")], false, HeadError::InvalidFieldName),
        (&[("x-a", "1 ")], false, HeadError::InvalidFieldValue),
    ] {
        assert_eq!(encoded(200, lines, false, is_over), Err(why), "{lines:?}");
    }
}

/// RFC 9113 sections 8.1 and 8.6.
#[test]
fn an_interim_response_has_no_framing_and_is_no_switch() {
    let mut out = Vec::new();
    let lines = fields(&[("link", "</a>"), ("content-length", "3")]);
    encode_interim_head(&mut out, StatusCode::EARLY_HINTS, &lines).expect("an interim response");
    assert_eq!(out, b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n");
    for status in [StatusCode::SWITCHING_PROTOCOLS, StatusCode::OK] {
        assert_eq!(encode_interim_head(&mut out, status, &lines), Err(HeadError::InvalidStatus));
    }
}

/// RFC 8441 section 5.
#[test]
fn a_switch_is_told_in_the_words_of_http1() {
    let mut out = Vec::new();
    let fields = HeaderMap::from_iter([("sec-websocket-protocol".parse().unwrap(), "chat".parse().unwrap())]);
    encode_switched_head(&mut out, b"websocket", &fields).unwrap();
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "HTTP/1.1 101 Switching Protocols\r\nsec-websocket-protocol: chat\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n"
    );
    let wrong = HeaderMap::from_iter([("connection".parse().unwrap(), "close".parse().unwrap())]);
    assert!(encode_switched_head(&mut Vec::new(), b"websocket", &wrong).is_err());
}
