//! `${NAME}`, `${NAME:-default}` and `${file:PATH}` inside one scalar.

use super::leaf::Refusal;

/// Defaults inside defaults.
const DEPTH_MAX: usize = 8;

/// Replaces every `${...}`; `$${` stands for `${` itself. `None` when there is nothing to replace.
///
/// `env` gives the value of a variable, `file` the text of a file. A variable that is set but empty takes its default,
/// as in a shell.
pub(super) fn substitute(
    text: &str,
    env: &dyn Fn(&str) -> Option<String>,
    file: &mut dyn FnMut(&str) -> Result<String, Refusal>,
) -> Result<Option<String>, Refusal> {
    // Nearly no text has either of the two, and a single byte is found faster.
    if memchr::memchr(b'$', text.as_bytes()).is_none() || !text.contains("${") {
        return Ok(None);
    }
    expand(text, env, file, DEPTH_MAX).map(Some)
}

fn expand(
    text: &str,
    env: &dyn Fn(&str) -> Option<String>,
    file: &mut dyn FnMut(&str) -> Result<String, Refusal>,
    depth: usize,
) -> Result<String, Refusal> {
    if depth == 0 {
        return Err(Refusal::new("defaults are nested too deeply"));
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        let before = &rest[..start];
        rest = &rest[start + 2..];
        if let Some(literal) = before.strip_suffix('$') {
            out.push_str(literal);
            out.push_str("${");
            continue;
        }
        out.push_str(before);
        let Some(end) = closing(rest) else {
            return Err(Refusal::new("`${` has no closing `}`").hint("write `$${` for the characters themselves"));
        };
        let inside = &rest[..end];
        rest = &rest[end + 1..];
        if let Some(path) = inside.strip_prefix("file:") {
            out.push_str(&file(path)?);
            continue;
        }
        let (name, default) = match inside.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inside, None),
        };
        if !is_name(name) {
            return Err(Refusal::new("`${` is followed by neither a variable's name nor `file:`").hint(
                "write `${NAME}`, `${NAME:-default}` or `${file:PATH}`, and `$${` for the characters themselves",
            ));
        }
        match (env(name), default) {
            (Some(value), None) => out.push_str(&value),
            (Some(value), Some(_)) if !value.is_empty() => out.push_str(&value),
            (_, Some(default)) => out.push_str(&expand(default, env, file, depth - 1)?),
            (None, None) => {
                return Err(Refusal::new(format!("the environment variable `{name}` is not set"))
                    .hint(format!("`${{{name}:-default}}` would give it a default")));
            }
        }
    }
    out.push_str(rest);
    Ok(out)
}

/// Where the brace closes that is already open, braces of inner `${` skipped.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 0usize;
    let mut before = 0;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'{' if before == b'$' => depth += 1,
            b'}' if depth == 0 => return Some(at),
            b'}' => depth -= 1,
            _ => {}
        }
        before = byte;
    }
    None
}

fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(text: &str) -> Result<Option<String>, Refusal> {
        let env = |name: &str| match name {
            "PORT" => Some("80".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        substitute(text, &env, &mut |path| Ok(format!("<{path}>")))
    }

    fn text(source: &str) -> String {
        run(source).expect("legal").expect("substituted")
    }

    #[test]
    fn variables_defaults_and_files_are_replaced() {
        assert_eq!(text("${PORT}"), "80");
        assert_eq!(text("a:${PORT}/${PORT}b"), "a:80/80b");
        assert_eq!(text("${NONE:-:8080}"), ":8080");
        assert_eq!(text("${EMPTY:-x}"), "x");
        assert_eq!(text("${EMPTY}"), "");
        assert_eq!(text("${NONE:-}"), "");
        assert_eq!(text("${NONE:-${PORT}}!"), "80!");
        assert_eq!(text("${file:/run/secrets/x}"), "</run/secrets/x>");
    }

    #[test]
    fn dollars_without_a_brace_stay() {
        assert_eq!(run("$PORT {path} }").ok(), Some(None));
        assert_eq!(text("$${PORT}"), "${PORT}");
        assert_eq!(text("$${A} ${PORT}"), "${A} 80");
    }

    #[test]
    fn what_cannot_be_replaced_is_an_error() {
        for bad in ["${NONE}", "${", "${PORT", "${}", "${1A}", "${A B}", "${NONE:-${OTHER}}", "${:-x}"] {
            assert!(run(bad).is_err(), "{bad}");
        }
        assert!(run(&("${N:-".repeat(20) + &"}".repeat(20))).is_err());
    }
}
