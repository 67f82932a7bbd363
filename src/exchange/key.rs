//! What tells one client's requests from another's, hashed.

use std::net::IpAddr;

use super::held::Exchange;
use crate::cluster::Ring;
use crate::http1::RequestHead;
use crate::net::Env;
use crate::snapshot::KeyFrom;

impl<E: Env> Exchange<'_, E> {
    /// The hash of what `from` names; `None` when the request does not have it.
    pub(super) fn key(&self, from: &KeyFrom) -> Option<u32> {
        let bytes = match from {
            KeyFrom::Header(name) => self.head.field(self.bytes, name)?,
            KeyFrom::Cookie(name) => cookie(self.head, self.bytes, name)?,
            KeyFrom::Path => self.head.path(self.bytes),
            KeyFrom::ClientIp => {
                return Some(match self.client_ip() {
                    IpAddr::V4(ip) => Ring::hash(&ip.octets()),
                    IpAddr::V6(ip) => Ring::hash(&ip.octets()),
                });
            }
        };
        (!bytes.is_empty()).then(|| Ring::hash(bytes))
    }
}

/// The value of a cookie (RFC 6265 section 4.2.1: one line, pairs split by semicolons; names are case-sensitive).
fn cookie<'a>(head: &'a RequestHead, bytes: &'a [u8], name: &str) -> Option<&'a [u8]> {
    find_cookie(head.field(bytes, "cookie")?, name)
}

fn find_cookie<'a>(line: &'a [u8], name: &str) -> Option<&'a [u8]> {
    line.split(|byte| *byte == b';').find_map(|pair| {
        let at = pair.iter().position(|byte| *byte == b'=')?;
        let (key, value) = pair.split_at(at);
        (key.trim_ascii() == name.as_bytes()).then(|| value[1..].trim_ascii())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_found_by_its_whole_name() {
        let line = b"a=1; sid=abc=def;b; SID=no ;empty=";
        for (name, value) in
            [("a", Some(&b"1"[..])), ("sid", Some(b"abc=def")), ("empty", Some(b"")), ("b", None), ("id", None)]
        {
            assert_eq!(find_cookie(line, name), value, "{name}");
        }
        assert_eq!(find_cookie(b"", "a"), None);
    }
}
