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

/// Does a secret stand in the file itself, under this name? What is a reference is none.
pub(super) fn is_written(path: &str, name: &str, value: &Value) -> bool {
    let Some(text) = value.as_str() else { return false };
    if text.contains("${") {
        return false;
    }
    let name = name.to_ascii_lowercase();
    let is_named = is_free(path) && path.ends_with(".*") && NAMES.iter().any(|part| name.contains(part));
    is_named || has_password(text)
}

/// Is it a URL with a password?
pub(in crate::config) fn has_password(text: &str) -> bool {
    password(text).is_some()
}

/// Where the password of a URL stands (RFC 3986 section 3.2.1).
fn password(text: &str) -> Option<std::ops::Range<usize>> {
    let start = text.find("://")? + 3;
    let authority = text[start..].split(['/', '?', '#']).next().unwrap_or_default();
    // A password may hold an `@` itself, so the last one ends it.
    let user = &authority[..authority.rfind('@')?];
    let colon = user.find(':')?;
    (colon + 1 < user.len()).then(|| start + colon + 1..start + user.len())
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
        assert!(!is_written("routes.*.match.query.*", "token", &Value::String("${T}".to_owned())));
    }
}
