//! Field edits of a route, compiled once: what to remove, what to append.

use super::encode::push_line;
use super::fields::{FieldKind, HOP, KindSet, is_token, is_value};
use core::fmt;

/// Fields that frame or address the message or belong to the hop: no edit may touch them.
const RESERVED: KindSet = HOP.union(KindSet::of(&[
    FieldKind::Host,
    FieldKind::ContentLength,
    FieldKind::Trailer,
    FieldKind::Expect,
    FieldKind::MaxForwards,
    FieldKind::Via,
    FieldKind::Date,
]));

/// Edits of the fields of a message: removals, then lines to append.
///
/// They act last: a field that the gateway itself would write gives way to a removal or a set of its name.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct FieldEdits {
    /// Kinds of the names below.
    kinds: KindSet,
    /// Names, in lower case, of fields that are not forwarded.
    dropped: Vec<Box<[u8]>>,
    /// Field lines to append, each with its CR LF.
    lines: Vec<u8>,
}

/// Why an edit is refused, with the name concerned.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FieldEditError {
    /// The name is not a token.
    InvalidName(String),
    /// The value of this field holds a control character or white space at an end.
    InvalidValue(String),
    /// The field is the gateway's own to write.
    Reserved(String),
}

impl fmt::Display for FieldEditError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidName(name) => write!(f, "{name:?} is not a header name"),
            Self::InvalidValue(name) => {
                write!(f, "the value of header {name:?} holds a control character or white space at an end")
            }
            Self::Reserved(name) => write!(f, "header {name:?} is written by the gateway itself and cannot be edited"),
        }
    }
}

impl core::error::Error for FieldEditError {}

impl FieldEdits {
    /// Compiles edits: `set` replaces every field of the name, `add` appends one, `remove` takes all away.
    ///
    /// Errors: the first name or value that is invalid, or the first field that may not be edited.
    pub fn new(set: &[(String, String)], add: &[(String, String)], remove: &[String]) -> Result<Self, FieldEditError> {
        let mut edits = Self::default();
        for name in remove.iter().chain(set.iter().map(|(name, _)| name)) {
            let kind = check_name(name)?;
            edits.kinds = edits.kinds.with(kind);
            edits.dropped.push(name.to_ascii_lowercase().into_bytes().into_boxed_slice());
        }
        for (name, value) in set.iter().chain(add) {
            check_name(name)?;
            if !is_value(value.as_bytes()) || value.trim_ascii().len() != value.len() {
                return Err(FieldEditError::InvalidValue(name.clone()));
            }
            push_line(&mut edits.lines, name.as_bytes(), value.as_bytes());
        }
        Ok(edits)
    }

    /// Whether nothing is edited.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.dropped.is_empty() && self.lines.is_empty()
    }

    /// Whether the field `name` of `kind` is not to be forwarded, nor written by the gateway.
    #[inline]
    pub(super) fn drops(&self, kind: FieldKind, name: &[u8]) -> bool {
        self.kinds.contains(kind) && self.dropped.iter().any(|dropped| name.eq_ignore_ascii_case(dropped))
    }

    /// The lines to append.
    #[inline]
    pub(super) fn lines(&self) -> &[u8] {
        &self.lines
    }
}

/// The kind of a name that may be edited.
fn check_name(name: &str) -> Result<FieldKind, FieldEditError> {
    if !is_token(name.as_bytes()) {
        return Err(FieldEditError::InvalidName(name.to_owned()));
    }
    let kind = FieldKind::classify(name.as_bytes());
    if RESERVED.contains(kind) { Err(FieldEditError::Reserved(name.to_owned())) } else { Ok(kind) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
        list.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    #[test]
    fn a_set_drops_and_appends_while_an_add_only_appends() {
        let edits = FieldEdits::new(&pairs(&[("X-A", "1")]), &pairs(&[("X-B", "2")]), &["Server".to_owned()]).unwrap();
        assert!(!edits.is_empty());
        assert!(edits.drops(FieldKind::Other, b"x-a") && edits.drops(FieldKind::Server, b"SERVER"));
        assert!(!edits.drops(FieldKind::Other, b"X-B"));
        assert_eq!(edits.lines(), b"X-A: 1\r\nX-B: 2\r\n");
        assert!(FieldEdits::default().is_empty());
    }

    #[test]
    fn framing_and_hop_by_hop_fields_cannot_be_edited() {
        for name in [
            "Host",
            "content-length",
            "Transfer-Encoding",
            "Connection",
            "Keep-Alive",
            "TE",
            "Trailer",
            "Upgrade",
            "Expect",
            "Proxy-Connection",
            "Via",
            "Max-Forwards",
            "Date",
            "HTTP2-Settings",
        ] {
            let reserved = Err(FieldEditError::Reserved(name.to_owned()));
            assert_eq!(FieldEdits::new(&pairs(&[(name, "1")]), &[], &[]), reserved);
            assert_eq!(FieldEdits::new(&[], &pairs(&[(name, "1")]), &[]), reserved);
            assert_eq!(FieldEdits::new(&[], &[], &[name.to_owned()]), reserved);
        }
    }

    /// RFC 9110 section 5.5: no CR, LF or NUL in a value, also not in one that we write.
    #[test]
    fn names_and_values_that_would_break_a_message_are_refused() {
        for name in ["", "a b", "a:", "a\r\nb", "\u{e9}"] {
            assert_eq!(
                FieldEdits::new(&pairs(&[(name, "1")]), &[], &[]),
                Err(FieldEditError::InvalidName(name.to_owned()))
            );
        }
        for value in ["a\r\nb", "a\nb", "a\0", " a", "a\t", "\u{7f}"] {
            assert_eq!(
                FieldEdits::new(&[], &pairs(&[("x", value)]), &[]),
                Err(FieldEditError::InvalidValue("x".to_owned()))
            );
        }
    }
}
