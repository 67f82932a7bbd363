//! A request's fields as the head of HTTP/1.1.

use http::Method;
use http::header;
use http::request::Parts;
use http::uri::PathAndQuery;

use crate::http1::{FieldKind, HeadError};

/// Appends the head of HTTP/1.1 that says what the fields of `request` say.
///
/// `has_body` tells whether the stream goes on behind its fields, `is_secure` whether the connection is.
///
/// | part | written |
/// |---|---|
/// | method, path and query | as received, in origin form; absolute with `https` on a connection that is not secured |
/// | Host | exactly one, first, from `:authority` if there is one (RFC 9113 section 8.3.1) |
/// | Cookie | one line, its crumbs joined (section 8.2.3) |
/// | Content-Length | as received |
/// | Transfer-Encoding | `chunked` for a body without a length |
/// | all others | as received |
///
/// # Errors
/// The request is malformed (RFC 9113 section 8.1.1) or has no form in HTTP/1.1; what was appended is of no use then.
pub fn encode_request_head(
    out: &mut Vec<u8>,
    request: &Parts,
    has_body: bool,
    is_secure: bool,
) -> Result<(), HeadError> {
    push_request_line(out, request.method.as_str(), request, is_secure)?;
    push_host(out, request)?;
    let has_length = push_fields(out, request, has_body)?;
    if has_body && !has_length {
        out.extend_from_slice(b"transfer-encoding: chunked\r\n");
    }
    // RFC 9110 section 8.6: a method that anticipates content says so when there is none.
    if !has_body && !has_length && matches!(request.method, Method::POST | Method::PUT | Method::PATCH) {
        out.extend_from_slice(b"content-length: 0\r\n");
    }
    out.extend_from_slice(b"\r\n");
    Ok(())
}

/// Appends the head of HTTP/1.1 that asks for what an extended CONNECT asks for (RFC 8441): a GET that offers to switch to
/// `protocol`. `key` is the challenge that the switch to a WebSocket has to answer (RFC 6455 section 4.1), of which HTTP/2
/// has none.
///
/// # Errors
/// As those of [`encode_request_head`].
pub fn encode_switch_head(
    out: &mut Vec<u8>,
    request: &Parts,
    protocol: &str,
    key: &[u8],
    is_secure: bool,
) -> Result<(), HeadError> {
    push_request_line(out, Method::GET.as_str(), request, is_secure)?;
    push_host(out, request)?;
    // RFC 8441 section 5: a stream has no use for the challenge of HTTP/1.1, and two would be none.
    if request.headers.contains_key(header::SEC_WEBSOCKET_KEY) || !is_protocol(protocol) {
        return Err(HeadError::InvalidFieldName);
    }
    push_fields(out, request, false)?;
    out.extend_from_slice(b"connection: upgrade\r\n");
    push_line(out, b"upgrade", protocol.as_bytes());
    if protocol.eq_ignore_ascii_case("websocket") {
        push_line(out, b"sec-websocket-key", key);
    }
    out.extend_from_slice(b"\r\n");
    Ok(())
}

/// RFC 9110 section 7.8: a protocol, and perhaps its version.
fn is_protocol(name: &str) -> bool {
    let is_of_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~/".contains(&byte);
    !name.is_empty() && name.bytes().all(is_of_token)
}

fn push_request_line(out: &mut Vec<u8>, method: &str, request: &Parts, is_secure: bool) -> Result<(), HeadError> {
    let uri = &request.uri;
    out.extend_from_slice(method.as_bytes());
    out.push(b' ');
    let start = out.len();
    let authority = uri.authority().map(|authority| authority.as_str().as_bytes());
    if method == Method::CONNECT.as_str() {
        // RFC 9113 section 8.5: there is nothing but an authority.
        out.extend_from_slice(authority.ok_or(HeadError::InvalidTarget)?);
    } else {
        let path = uri.path_and_query().map_or("", PathAndQuery::as_str);
        // RFC 9110 section 7.4: whoever refuses `https` on a plain connection has to see it.
        match uri.scheme_str() {
            None | Some("http") => {}
            Some("https") if is_secure => {}
            Some("https") => {
                out.extend_from_slice(b"https://");
                out.extend_from_slice(authority.unwrap_or_default());
            }
            // RFC 9113 section 8.3.1 lets a gateway translate other schemes; we know none.
            Some(_) => return Err(HeadError::InvalidTarget),
        }
        // RFC 9113 section 8.3.1: the path begins with a slash, or is the asterisk of OPTIONS; anything else would be read
        // as another form of target.
        match path.as_bytes() {
            [b'/', ..] => out.extend_from_slice(path.as_bytes()),
            b"*" if request.method == Method::OPTIONS && out.len() == start => out.push(b'*'),
            b"*" if request.method == Method::OPTIONS => {}
            _ => return Err(HeadError::InvalidTarget),
        }
    }
    if !out[start..].iter().all(u8::is_ascii_graphic) {
        return Err(HeadError::InvalidTarget);
    }
    out.extend_from_slice(b" HTTP/1.1\r\n");
    Ok(())
}

/// RFC 9113 section 8.3.1: `:authority` decides; a Host that says something else is a malformed request.
fn push_host(out: &mut Vec<u8>, request: &Parts) -> Result<(), HeadError> {
    let mut hosts = request.headers.get_all(header::HOST).iter();
    let host = hosts.next().map(|host| host.as_bytes());
    if hosts.next().is_some() {
        return Err(HeadError::RepeatedHost);
    }
    let authority = request.uri.authority().map(|authority| authority.as_str().as_bytes());
    let named = match (authority, host) {
        (Some(authority), Some(host)) if !authority.eq_ignore_ascii_case(host) => return Err(HeadError::InvalidHost),
        (Some(authority), _) => authority,
        (None, Some(host)) => checked(host)?,
        (None, None) => return Err(HeadError::MissingHost),
    };
    push_line(out, b"host", named);
    Ok(())
}

/// Appends the fields; whether there was a Content-Length.
fn push_fields(out: &mut Vec<u8>, request: &Parts, has_body: bool) -> Result<bool, HeadError> {
    let (mut has_length, mut has_cookie) = (false, false);
    for (name, value) in &request.headers {
        let value = checked(value.as_bytes())?;
        #[expect(clippy::wildcard_enum_match_arm, reason = "all other fields are only copied")]
        match FieldKind::classify(name.as_str().as_bytes()) {
            FieldKind::Host => continue,
            FieldKind::Cookie if has_cookie => continue,
            FieldKind::Cookie => {
                has_cookie = true;
                push_cookie(out, request)?;
                continue;
            }
            // RFC 9113 section 8.1.1: no content, whatever the length says, is malformed.
            FieldKind::ContentLength if !has_body && value != b"0" => return Err(HeadError::InvalidContentLength),
            // Only the end of the stream tells that nothing comes: until then the body is one of no known length.
            FieldKind::ContentLength if has_body && value == b"0" => continue,
            FieldKind::ContentLength => has_length = true,
            // RFC 9113 section 8.2.2: fields of a connection make a request malformed, and so does any TE but this one.
            FieldKind::Te if value != b"trailers" => return Err(HeadError::InvalidFieldValue),
            FieldKind::Connection
            | FieldKind::KeepAlive
            | FieldKind::ProxyConnection
            | FieldKind::TransferEncoding
            | FieldKind::Upgrade => return Err(HeadError::InvalidFieldName),
            _ => {}
        }
        push_line(out, name.as_str().as_bytes(), value);
    }
    Ok(has_length)
}

/// RFC 9113 section 8.2.3: the crumbs become one field before they go to where crumbs are unknown.
fn push_cookie(out: &mut Vec<u8>, request: &Parts) -> Result<(), HeadError> {
    out.extend_from_slice(b"cookie: ");
    for (number, crumb) in request.headers.get_all(header::COOKIE).iter().enumerate() {
        if number > 0 {
            out.extend_from_slice(b"; ");
        }
        out.extend_from_slice(checked(crumb.as_bytes())?);
    }
    out.extend_from_slice(b"\r\n");
    Ok(())
}

/// RFC 9113 section 8.2.1: no control character, and no white space at either end.
///
/// Here and not left to the parser behind, to which a line end would be one.
pub(super) fn checked(value: &[u8]) -> Result<&[u8], HeadError> {
    let is_clean = value.iter().all(|&byte| byte == b'\t' || (byte >= b' ' && byte != 0x7f));
    let is_blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    if is_clean && !is_blank(value.first()) && !is_blank(value.last()) {
        Ok(value)
    } else {
        Err(HeadError::InvalidFieldValue)
    }
}

pub(super) fn push_line(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests;
