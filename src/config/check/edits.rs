//! Edits of fields, and field names and values in general.

use rustc_hash::FxHashSet;

use super::super::file::{EditsFile, Named};
use super::super::leaf::{Kind, Leaf};
use super::super::model::HeaderEdits;
use super::super::patterns::{FieldName, FieldValue};
use super::super::place::At;
use super::super::problems::{Pending, Subject};
use super::Check;

/// Fields of one connection or of the framing: the gateway writes them itself (RFC 9110 section 7.6.1, RFC 9112
/// section 6).
const OWNED: [&str; 11] = [
    "connection",
    "content-length",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "http2-settings",
];

/// Which message is edited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    Request,
    Response,
}

pub(super) fn check(check: &mut Check<'_>, at: At<'_>, file: Option<&EditsFile>, direction: Direction) -> HeaderEdits {
    let Some(file) = file else { return HeaderEdits::default() };
    let set = check_fields(check, at.key("set"), file.set.as_ref());
    let add = check_fields(check, at.key("add"), file.add.as_ref());
    for (key, written) in [("set", file.set.as_ref()), ("add", file.add.as_ref())] {
        let at = at.key(key);
        for (name, _) in written.iter().flat_map(|named| &named.0) {
            refuse_owned(check, &name.to_ascii_lowercase(), direction, |message| {
                Pending::error(at.key(name).place(), message).at_key()
            });
        }
    }
    let at_remove = at.key("remove");
    let mut remove = Vec::new();
    for (index, leaf) in file.remove.iter().flatten().enumerate() {
        let at = at_remove.index(index);
        let Some(name) = check.value(at, Some(leaf)) else { continue };
        refuse_owned(check, &name, direction, |message| Pending::error(at.place(), message));
        if set.iter().any(|(other, _)| *other == name) {
            check.error(at, "this field is both set and removed: `set` alone replaces it");
        }
        remove.push(name);
    }
    HeaderEdits { set, add, remove }
}

fn refuse_owned(check: &mut Check<'_>, name: &str, direction: Direction, problem: impl Fn(&str) -> Pending) {
    if OWNED.contains(&name) {
        let note = "it belongs to one connection or to the framing of the message, and the gateway writes it itself";
        check.problems.push(problem("this field cannot be edited").note(Some(note.to_owned())));
    }
    if name == "host" && direction == Direction::Request {
        let note = "write `host_header: upstream` to send the endpoint's own";
        check.problems.push(problem("`host` cannot be edited").note(Some(note.to_owned())));
    }
}

/// Names and values of fields; the names come out in lower case, each at most once.
pub(super) fn check_fields(
    check: &mut Check<'_>,
    at: At<'_>,
    file: Option<&Named<Leaf<FieldValue>>>,
) -> Vec<(String, String)> {
    let mut fields = Vec::new();
    let mut seen = FxHashSet::default();
    for (written, leaf) in file.into_iter().flat_map(|named| &named.0) {
        let at = at.key(written);
        let value = check.value(at, Some(leaf));
        let problem = |message: String| Pending::error(at.place(), message).at_key();
        let name = match FieldName::text(written) {
            Ok(name) => name,
            Err(refusal) => {
                check.problems.push(problem(refusal.message.into_owned()));
                continue;
            }
        };
        if !seen.insert(name.clone()) {
            let message = format!("the field `{name}` is given twice, names are the same in upper and lower case");
            check.problems.push(problem(message).subject(Subject::Nothing));
        }
        fields.push((name, value.unwrap_or_default()));
    }
    fields
}
