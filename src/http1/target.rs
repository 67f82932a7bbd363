//! The four forms of a request target (RFC 9112 section 3.2).

use super::error::HeadError;
use super::method::Method;
use super::path;
use super::span::Span;

/// Where the path of a request is to be read.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum PathForm {
    /// As received.
    Received(Span),
    /// In the scratch of the head, rewritten to its normal form.
    Rewritten,
    /// The same for every request.
    Fixed(&'static [u8]),
}

/// A request target, taken apart.
#[derive(Copy, Clone, Debug)]
pub(super) struct Target {
    pub(super) path: PathForm,
    pub(super) query: Option<Span>,
    /// Of an absolute-form target.
    pub(super) scheme: Option<&'static str>,
    /// Of an absolute-form or authority-form target: it decides, not the Host field.
    pub(super) authority: Option<Span>,
}

impl Target {
    /// Takes `target`, a span of `bytes`, apart; a path that must be rewritten goes to `scratch`.
    #[inline]
    pub(super) fn try_split(
        bytes: &[u8],
        target: Span,
        method: Method,
        scratch: &mut Vec<u8>,
    ) -> Result<Self, HeadError> {
        let text = target.of(bytes);
        match (method, text) {
            (Method::Connect, _) => Self::try_authority(text, target),
            (_, [b'/', ..]) => Self::try_origin(bytes, target, scratch),
            // RFC 9112 section 3.2.4: the asterisk stands for the server itself and goes with OPTIONS only.
            (Method::Options, b"*") => {
                Ok(Self { path: PathForm::Fixed(b"*"), query: None, scheme: None, authority: None })
            }
            _ => Self::try_absolute(bytes, target, method, scratch),
        }
    }

    /// `absolute-path [ "?" query ]`.
    #[inline]
    fn try_origin(bytes: &[u8], target: Span, scratch: &mut Vec<u8>) -> Result<Self, HeadError> {
        let (start, end) = (target.start as usize, target.end as usize);
        let mark = memchr::memchr(b'?', target.of(bytes)).map(|at| start + at);
        let query = mark.map(|mark| Span::new(mark + 1, end));
        if let Some(query) = query {
            path::check_query(query.of(bytes))?;
        }
        let path = Span::new(start, mark.unwrap_or(end));
        let path =
            if path::normalise(path.of(bytes), scratch)? { PathForm::Rewritten } else { PathForm::Received(path) };
        Ok(Self { path, query, scheme: None, authority: None })
    }

    /// `scheme "://" authority path-abempty [ "?" query ]`: a server accepts it too (RFC 9112 section 3.2.2).
    fn try_absolute(bytes: &[u8], target: Span, method: Method, scratch: &mut Vec<u8>) -> Result<Self, HeadError> {
        let text = target.of(bytes);
        let (scheme, length) = match () {
            () if starts_with(text, b"http://") => ("http", 7),
            () if starts_with(text, b"https://") => ("https", 8),
            () => return Err(HeadError::InvalidTarget),
        };
        let start = target.start as usize + length;
        let authority_end = text[length..]
            .iter()
            .position(|&byte| matches!(byte, b'/' | b'?' | b'#'))
            .map_or(target.end as usize, |at| start + at);
        let authority = Some(Span::new(start, authority_end));
        let rest = Span::new(authority_end, target.end as usize);
        let mut split = match (rest.of(bytes), method) {
            // RFC 9112 section 3.2.4: OPTIONS with neither path nor query is sent on as an asterisk.
            ([], Method::Options) => Self { path: PathForm::Fixed(b"*"), query: None, scheme: None, authority },
            ([b'/', ..], _) => Self::try_origin(bytes, rest, scratch)?,
            // RFC 9112 section 3.2.1: an empty path is sent as `/`.
            _ => Self { path: PathForm::Fixed(b"/"), ..Self::try_origin(bytes, rest, scratch)? },
        };
        split.scheme = Some(scheme);
        split.authority = authority;
        Ok(split)
    }

    /// `uri-host ":" port`: RFC 9110 section 9.3.6 has CONNECT with an empty or invalid port refused.
    fn try_authority(text: &[u8], target: Span) -> Result<Self, HeadError> {
        let port = memchr::memrchr(b':', text).map(|at| &text[at + 1..]);
        if !port.is_some_and(|port| !port.is_empty() && port.iter().all(u8::is_ascii_digit)) {
            return Err(HeadError::InvalidTarget);
        }
        Ok(Self { path: PathForm::Fixed(b""), query: None, scheme: None, authority: Some(target) })
    }
}

/// Whether `text` starts with `scheme`; schemes are compared without regard to case (RFC 3986 section 3.1).
fn starts_with(text: &[u8], scheme: &[u8]) -> bool {
    text.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme))
}
