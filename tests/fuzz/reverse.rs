//! Messages between an exchange and an endpoint of HTTP/2: what goes there says the same in fields, and what comes back is a
//! head that reads in one way.

use http::StatusCode;
use http::header::{CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue};
use ringgate::http1::{BodyLength, FieldKind, HeadError, Method, Progress, RequestHead, ResponseHead};
use ringgate::http2::{
    AnswerBody, decode_request_head, decode_response_head, encode_interim_head, encode_request_head,
    encode_response_head,
};

use super::WIDE;

/// What the strict parser refuses of a response that the library of frames has no objection to.
pub(super) const LEFT_TO_PARSER: [HeadError; 5] = [
    HeadError::InvalidFieldName,
    HeadError::InvalidFieldValue,
    HeadError::InvalidStatus,
    HeadError::TooManyFields,
    HeadError::HeadTooLarge,
];

/// The lines of a text as a status and fields, as the library of frames gives them.
fn fields_of(text: &[u8]) -> Option<(StatusCode, HeaderMap)> {
    let mut lines = text.split(|&byte| byte == b'\n');
    let status = StatusCode::from_bytes(lines.next()?).ok()?;
    let mut fields = HeaderMap::new();
    for line in lines.filter(|line| !line.is_empty()) {
        let colon = line.iter().position(|&byte| byte == b':')?;
        let name = HeaderName::from_lowercase(&line[..colon]).ok()?;
        fields.append(name, HeaderValue::from_bytes(&line[colon + 1..]).ok()?);
    }
    Some((status, fields))
}

/// Whatever an endpoint of HTTP/2 answers is one answer in HTTP/1.1, the same one, or is refused.
pub fn answer(input: &[u8]) {
    let [shape, text @ ..] = input else { return };
    let Some((status, fields)) = fields_of(text).filter(|_| text.len() < 16 * 1024) else { return };
    let (is_head, is_over) = (shape & 1 == 1, shape & 2 == 2);
    let mut out = Vec::new();
    let body = if status.is_informational() {
        encode_interim_head(&mut out, status, &fields).map(|()| AnswerBody::None)
    } else {
        encode_response_head(&mut out, status, &fields, is_head, is_over)
    };
    let Ok(body) = body else { return };
    let method = if is_head { Method::Head } else { Method::Get };
    let mut head = ResponseHead::new();
    match head.parse(&out, &WIDE, method) {
        Ok(Progress::Complete) => {}
        Ok(Progress::Partial) => panic!("a head without an end"),
        Err(why) => return assert!(LEFT_TO_PARSER.contains(&why), "{why:?}"),
    }
    assert_eq!((head.len(), head.status()), (out.len(), status.as_u16()));
    match body {
        AnswerBody::None => {
            assert!(matches!(head.body(), BodyLength::None | BodyLength::Exact(0)), "{:?}", head.body())
        }
        AnswerBody::Exact(0) => assert!(matches!(head.body(), BodyLength::None | BodyLength::Exact(0))),
        AnswerBody::Exact(length) => assert_eq!(head.body(), BodyLength::Exact(length)),
        AnswerBody::Chunked => assert_eq!(head.body(), BodyLength::Chunked),
    }
    let back = decode_response_head(&out, is_head).expect("a head of ours");
    assert_eq!((back.used, back.response.status()), (out.len(), status));
    let own = |name: &HeaderName| name == CONTENT_LENGTH || FieldKind::classify(name.as_str().as_bytes()).is_hop();
    let plain = |fields: &HeaderMap| {
        let kept = fields.iter().filter(|(name, _)| !own(name));
        kept.map(|(name, value)| (name.clone(), value.as_bytes().trim_ascii().to_vec())).collect::<Vec<_>>()
    };
    assert_eq!(plain(back.response.headers()), plain(&fields));
}

/// A request that the gateway writes says the same as fields of HTTP/2, or is refused.
pub(super) fn check_request_fields(out: &[u8], head: &RequestHead) {
    let Ok(start) = decode_request_head(out, false) else { return };
    assert_eq!(start.used, out.len());
    let has_body = !matches!(head.body(), BodyLength::None | BodyLength::Exact(0));
    let (parts, ()) = start.request.into_parts();
    assert_eq!(parts.method.as_str().as_bytes(), head.method_name(out));
    let mut back = Vec::new();
    if encode_request_head(&mut back, &parts, has_body, false).is_err() {
        return;
    }
    let mut again = RequestHead::new();
    let Ok(Progress::Complete) = again.parse(&back, &WIDE) else { return };
    assert_eq!(again.len(), back.len());
    assert_eq!((again.method_name(&back), again.host()), (head.method_name(out), head.host()));
    let is_same = parts.uri.path_and_query().is_some_and(|target| target.as_str().as_bytes() == head.target(out));
    assert!(!is_same || again.path(&back) == head.path(out));
    assert_eq!(matches!(again.body(), BodyLength::None | BodyLength::Exact(0)), !has_body);
}
