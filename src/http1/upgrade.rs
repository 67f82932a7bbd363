//! Switching protocols (RFC 9110 section 7.8): what a client offers, and what an endpoint takes up.

use super::fields::{Field, FieldKind, list};
use super::method::Version;
use super::request::RequestHead;
use super::response::ResponseHead;

/// The protocols that a client offers to switch to, in its order of preference; none unless Connection names Upgrade, and
/// none from a client of HTTP/1.0, which is to be ignored.
pub fn offered_protocols<'a>(head: &'a RequestHead, bytes: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    let is_offered = head.version() == Version::Http11 && names_upgrade(head.connection_options(bytes));
    protocols(head.fields(), bytes).filter(move |_| is_offered)
}

/// Whether an endpoint's 101 switches to `protocol` and to nothing else.
#[must_use]
pub fn is_switched_to(head: &ResponseHead, bytes: &[u8], protocol: &[u8]) -> bool {
    let mut taken = protocols(head.fields(), bytes);
    head.status() == 101
        && names_upgrade(head.connection_options(bytes))
        && taken.next().is_some_and(|taken| taken.eq_ignore_ascii_case(protocol))
        && taken.next().is_none()
}

fn names_upgrade<'a>(mut options: impl Iterator<Item = &'a [u8]>) -> bool {
    options.any(|option| option.eq_ignore_ascii_case(b"upgrade"))
}

fn protocols<'a>(fields: &'a [Field], bytes: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    fields.iter().filter(|field| field.kind == FieldKind::Upgrade).flat_map(|field| list(field.value.of(bytes)))
}

#[cfg(test)]
mod tests {
    use super::super::Method;
    use super::super::tests::{request, response};
    use super::*;

    fn offered(start: &str, lines: &str) -> Vec<String> {
        let text = format!("{start}|Host: a|{lines}||").replace('|', "\r\n");
        let head = request(&text).unwrap();
        offered_protocols(&head, text.as_bytes()).map(|name| String::from_utf8_lossy(name).into_owned()).collect()
    }

    #[test]
    fn what_is_offered_needs_the_connection_option() {
        let get = "GET / HTTP/1.1";
        assert_eq!(offered(get, "Connection: keep-alive, upgrade|Upgrade: a, b/1|Upgrade: c"), ["a", "b/1", "c"]);
        assert!(offered(get, "Connection: keep-alive|Upgrade: a").is_empty());
        assert!(offered(get, "Connection: upgrade").is_empty());
    }

    #[test]
    fn a_client_of_1_0_offers_nothing() {
        assert!(offered("GET / HTTP/1.0", "Connection: upgrade|Upgrade: a").is_empty());
    }

    #[test]
    fn a_switch_is_one_to_what_was_asked_for() {
        for (lines, is_switch) in [
            ("101 x|Connection: Upgrade|Upgrade: WebSocket", true),
            ("101 x|Connection: Upgrade|Upgrade: websocket, a", false),
            ("101 x|Connection: Upgrade|Upgrade: a", false),
            ("101 x|Connection: Upgrade", false),
            ("101 x|Upgrade: websocket", false),
            ("200 x|Connection: Upgrade|Upgrade: websocket|Content-Length: 0", false),
        ] {
            let text = format!("HTTP/1.1 {lines}||").replace('|', "\r\n");
            let head = response(Method::Get, &text).unwrap();
            assert_eq!(is_switched_to(&head, text.as_bytes(), b"websocket"), is_switch, "{lines}");
        }
    }
}
