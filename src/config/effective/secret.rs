//! What is not shown: passwords, tokens, and what stands in free text.

use serde_yaml::Value;

use super::{Kind, Node, Origin};

/// What stands for a secret.
pub(super) const MARK: &str = "<redacted>";

/// Values that may be anything: what a variable puts there is not shown.
const FREE: [&str; 13] = [
    "admin.token",
    "admin.read_token",
    "routes.*.headers.request.set.*",
    "routes.*.headers.request.add.*",
    "routes.*.headers.response.set.*",
    "routes.*.headers.response.add.*",
    "routes.*.match.headers.*",
    "routes.*.match.query.*",
    "routes.*.respond.body",
    "policies.*.jwt.issuer",
    "policies.*.jwt.jwks_url",
    "policies.*.external_auth.path",
    "clusters.*.health.active.path",
];

/// Parts of the names of fields and parameters whose values are secrets.
const NAMES: [&str; 8] = ["auth", "cookie", "token", "secret", "password", "passwd", "key", "credential"];

/// May the value at this place be anything?
pub(super) fn is_free(path: &str) -> bool {
    FREE.contains(&path)
}

/// Does a secret stand in the file itself, under this name? What is a reference is none, but its default is.
pub(super) fn is_written(path: &str, name: &str, value: &Value) -> bool {
    let Some(text) = value.as_str() else { return false };
    // The rest of a URL may be a reference, and a URL the default of one.
    if password(text).is_some_and(|range| !text[range].split('&').next().is_some_and(is_reference)) {
        return true;
    }
    let name = name.to_ascii_lowercase();
    let is_named = is_free(path) && NAMES.iter().any(|part| name.contains(part));
    is_named && (!text.contains("${") || text.contains(":-"))
}

/// Is it one `${NAME}` or `${file:PATH}` and nothing else? What stands beside it, or in its default, is shown by it.
fn is_reference(text: &str) -> bool {
    let inside = text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
    inside.is_some_and(|inside| !inside.contains(['$', '{', '}']) && !inside.contains(":-"))
}

/// Is it a URL with a password?
pub(in crate::config) fn has_password(text: &str) -> bool {
    password(text).is_some()
}

/// Where the password of a URL stands (RFC 3986 section 3.2.1), in a query with all that follows.
fn password(text: &str) -> Option<std::ops::Range<usize>> {
    let start = text.find("://")? + 3;
    if let Some(at) = password_of_socket(&text[..start - 3], &text[start..]) {
        return Some(start + at..text.len());
    }
    let authority = text[start..].split(['/', '?', '#']).next().unwrap_or_default();
    // A password may hold an `@` itself, so the last one ends it.
    let user = &authority[..authority.rfind('@')?];
    let colon = user.find(':')?;
    (colon + 1 < user.len()).then(|| start + colon + 1..start + user.len())
}

/// Where a password begins in what follows `://`, if `before` ends with the scheme of a unix socket: a server of Redis
/// there has it from the query (`unix:///run/redis.sock?user=me&pass=secret`).
pub(in crate::config) fn password_of_socket(before: &str, rest: &str) -> Option<usize> {
    let is_socket = before.len().checked_sub(4).and_then(|at| before.get(at..))?.eq_ignore_ascii_case("unix");
    let mut at = rest.find('?').filter(|_| is_socket)? + 1;
    for pair in rest[at..].split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        // Characters of a name may be escaped (RFC 3986 section 2.1) or a variable's, and whoever writes `password` means
        // one, too.
        if !value.is_empty() && (name.starts_with("pass") || name.contains(['%', '$'])) {
            return Some(at + name.len() + 1);
        }
        at += pair.len() + 1;
    }
    None
}

/// The value without its secret.
pub(super) fn redacted(value: &Value, origin: Origin) -> Node {
    let text = value.as_str().unwrap_or_default();
    let shown = match password(text) {
        Some(range) => format!("{}{MARK}{}", &text[..range.start], &text[range.end..]),
        None => MARK.to_owned(),
    };
    Node { kind: Kind::Scalar(Value::String(shown)), origin: Origin { is_redacted: true, ..origin } }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(url: &str) -> String {
        let node = redacted(&Value::String(url.to_owned()), Origin::default());
        let Kind::Scalar(Value::String(text)) = node.kind else { panic!("{node:?}") };
        text
    }

    #[test]
    fn only_the_password_of_a_url_is_left_out() {
        assert_eq!(shown("redis://me:hunter2@db:6379/1"), "redis://me:<redacted>@db:6379/1");
        assert_eq!(shown("redis://:a@b@db"), "redis://:<redacted>@db");
        assert_eq!(shown("unix:///r.sock?db=1&pass=a#b&user=me"), "unix:///r.sock?db=1&pass=<redacted>");
        assert_eq!(shown("redis+unix:///r.sock?p%61ss=a"), "redis+unix:///r.sock?p%61ss=<redacted>");
        for plain in ["unix:///pass=a/r.sock", "unix:///r.sock?db=1", "unix:///r.sock?pass=", "http://a/?pass=b"] {
            assert!(!has_password(plain), "{plain}");
        }
        for plain in ["redis://db", "redis://me@db", "http://a:80/x@y:z", "a:b@c", "redis://me:@db"] {
            assert!(!has_password(plain), "{plain}");
        }
    }

    #[test]
    fn what_a_field_is_called_tells_a_secret() {
        let secret = |path: &str, name: &str| is_written(path, name, &Value::String("x".to_owned()));
        assert!(secret("routes.*.headers.request.set.*", "X-Api-Key"));
        assert!(secret("routes.*.match.query.*", "access_token"));
        assert!(!secret("routes.*.headers.request.set.*", "x-edge"));
        assert!(!secret("policies.*.jwt.realm", "token"));
        let written = |text: &str| is_written("routes.*.match.query.*", "token", &Value::String(text.to_owned()));
        for reference in ["${T}", "redis://me:${T}@db", "unix:///r.sock?pass=${T}", "unix:///r.sock?pass=${T}&db=1"] {
            assert!(!written(reference), "{reference}");
        }
        for own in ["redis://me:a@${H}", "${U:-redis://me:a@db}", "unix:///${D}/r.sock?pass=a&user=${U}", "${T:-a}"] {
            assert!(written(own), "{own}");
        }
        let token = |text: &str| is_written("admin.token", "token", &Value::String(text.to_owned()));
        assert!(token("${T:-a}") && !token("${T}") && !token("${file:t}"));
    }
}
