//! Field edits of a route, compiled once: what to remove, what to append.

use super::certificate::{CertificateTemplate, ClientCertificate};
use super::encode::push_line;
use super::fields::{FieldKind, HOP, KindSet, is_loosely, is_token, is_value};
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
    /// Kinds of the names below in every spelling.
    kinds: KindSet,
    /// Names, in lower case, of fields that are not forwarded.
    dropped: Vec<Box<[u8]>>,
    /// Field lines to append, each with its CR LF.
    lines: Vec<u8>,
    /// Fields to append that tell of the client's certificate.
    templates: Vec<(Box<[u8]>, CertificateTemplate)>,
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
    /// The value of this field names a variable that there is not, or one in a field that clients may send as well.
    InvalidVariable(String),
}

impl fmt::Display for FieldEditError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidName(name) => write!(f, "{name:?} is not a header name"),
            Self::InvalidValue(name) => {
                write!(f, "the value of header {name:?} holds a control character or white space at an end")
            }
            Self::Reserved(name) => write!(f, "header {name:?} is written by the gateway itself and cannot be edited"),
            Self::InvalidVariable(name) => write!(f, "the variable in header {name:?} is unknown, or not in a `set`"),
        }
    }
}

impl core::error::Error for FieldEditError {}

impl FieldEdits {
    /// Compiles edits: `set` replaces every field of the name, `add` appends one, `remove` takes all away. A value of a
    /// `set` may have variables (see [`CertificateTemplate`]); where they have nothing to say, the field is only removed.
    ///
    /// Errors: the first name or value that is invalid, or the first field that may not be edited.
    pub fn new(set: &[(String, String)], add: &[(String, String)], remove: &[String]) -> Result<Self, FieldEditError> {
        let mut edits = Self::default();
        for name in remove.iter().chain(set.iter().map(|(name, _)| name)) {
            edits.kinds = edits.kinds.union(check_name(name)?);
            edits.dropped.push(name.to_ascii_lowercase().into_bytes().into_boxed_slice());
        }
        for (name, value) in set.iter().chain(add) {
            check_name(name)?;
            if !is_value(value.as_bytes()) || value.trim_ascii().len() != value.len() {
                return Err(FieldEditError::InvalidValue(name.clone()));
            }
            // What a client sends under the name of an identity must never pass for one.
            let is_ours = edits.dropped.iter().any(|dropped| name.as_bytes().eq_ignore_ascii_case(dropped));
            match CertificateTemplate::parse(value) {
                Ok(None) => push_line(&mut edits.lines, name.as_bytes(), value.as_bytes()),
                Ok(Some(template)) if is_ours => edits.templates.push((name.as_bytes().into(), template)),
                Ok(Some(_)) | Err(_) => return Err(FieldEditError::InvalidVariable(name.clone())),
            }
        }
        Ok(edits)
    }

    /// Whether nothing is edited.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.dropped.is_empty() && self.lines.is_empty() && self.templates.is_empty()
    }

    /// Whether the field `name` of `kind` is not to be forwarded, nor written by the gateway; `_` counts as `-`, because
    /// endpoints like CGI cannot tell them apart.
    #[inline]
    pub(super) fn drops(&self, kind: FieldKind, name: &[u8]) -> bool {
        self.kinds.contains(kind) && self.dropped.iter().any(|dropped| is_loosely(name, dropped))
    }

    /// Appends the fields that tell of `certificate`.
    #[inline]
    pub(super) fn push_templates(&self, out: &mut Vec<u8>, certificate: Option<&ClientCertificate>) {
        let Some(certificate) = certificate else { return };
        for (name, template) in &self.templates {
            let start = out.len();
            out.extend_from_slice(name);
            out.extend_from_slice(b": ");
            if template.push(out, certificate) {
                out.extend_from_slice(b"\r\n");
            } else {
                out.truncate(start);
            }
        }
    }

    /// The lines to append.
    #[inline]
    pub(super) fn lines(&self) -> &[u8] {
        &self.lines
    }
}

/// The kinds of a name that may be edited, by each of its spellings: one with `_` instead of `-` may be of no kind of its own.
fn check_name(name: &str) -> Result<KindSet, FieldEditError> {
    if !is_token(name.as_bytes()) {
        return Err(FieldEditError::InvalidName(name.to_owned()));
    }
    let kind = FieldKind::classify(name.replace('_', "-").as_bytes());
    if RESERVED.contains(kind) {
        return Err(FieldEditError::Reserved(name.to_owned()));
    }
    let kinds = KindSet::of(&[kind]);
    Ok(if name.contains(['-', '_']) { kinds.with(FieldKind::Other) } else { kinds })
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
    fn a_name_with_underscores_is_the_same_name() {
        let edits = FieldEdits::new(&pairs(&[("x-client-subject", "1")]), &[], &[]).unwrap();
        for name in ["X-Client-Subject", "x_client_subject", "X_Client-Subject"] {
            assert!(edits.drops(FieldKind::Other, name.as_bytes()), "{name}");
        }
        assert!(!edits.drops(FieldKind::Other, b"x.client.subject"));
    }

    /// However the operator writes a name, and whether or not it is one that has a kind: an endpoint that cannot tell `_` from
    /// `-` would take what a client sends under the other spelling for ours.
    #[test]
    fn every_spelling_of_a_name_is_dropped_whichever_was_configured() {
        for words in [&["x", "user"][..], &["user", "agent"], &["x", "forwarded", "for"], &["grpc", "timeout"], &["x"]]
        {
            let spellings = ["-", "_"].map(|joint| words.join(joint));
            let mixed =
                words.iter().enumerate().map(|(at, word)| [word, ["-", "_"][at % 2]].concat()).collect::<String>();
            let spellings = [&spellings[..], &[mixed[..mixed.len() - 1].to_owned()]].concat();
            for configured in &spellings {
                for edits in [
                    FieldEdits::new(&pairs(&[(configured, "1")]), &[], &[]).unwrap(),
                    FieldEdits::new(&[], &[], &[configured.to_uppercase()]).unwrap(),
                ] {
                    for sent in spellings.iter().flat_map(|name| [name.clone(), name.to_uppercase()]) {
                        let kind = FieldKind::classify(sent.as_bytes());
                        assert!(edits.drops(kind, sent.as_bytes()), "{configured} against {sent}");
                    }
                    let other = words.join(".");
                    assert!(words.len() == 1 || !edits.drops(FieldKind::Other, other.as_bytes()), "{configured}");
                }
            }
        }
    }

    #[test]
    fn only_a_set_may_tell_of_a_certificate() {
        let value = "{client_cert.subject}";
        let edits = FieldEdits::new(&pairs(&[("X-Who", value)]), &[], &[]).unwrap();
        assert!(edits.drops(FieldKind::Other, b"x-who") && edits.lines().is_empty() && !edits.is_empty());
        let written = |certificate: Option<&ClientCertificate>| {
            let mut out = b"a".to_vec();
            edits.push_templates(&mut out, certificate);
            String::from_utf8(out).unwrap()
        };
        let certificate = ClientCertificate { subject: b"CN=a".to_vec(), ..ClientCertificate::default() };
        assert_eq!(written(Some(&certificate)), "aX-Who: CN=a\r\n");
        assert_eq!((written(None), written(Some(&ClientCertificate::default()))), ("a".to_owned(), "a".to_owned()));
        let refused = Err(FieldEditError::InvalidVariable("X-Who".to_owned()));
        assert_eq!(FieldEdits::new(&[], &pairs(&[("X-Who", value)]), &[]), refused);
        assert_eq!(FieldEdits::new(&pairs(&[("X-Who", "{client_cert.who}")]), &[], &[]), refused);
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
            "content_length",
            "Transfer_Encoding",
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
