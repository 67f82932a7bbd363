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

/// How a variable of a request's fields begins.
const VARIABLE: &str = "{client_cert.";
/// What is told of a client's certificate.
const TOLD: [&str; 4] = ["subject", "san", "serial", "fingerprint"];

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
        let fields = if key == "set" { &set } else { &add };
        check_variables(check, at, fields, key == "set" && direction == Direction::Request);
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

/// What a value may tell of the client's certificate, and where: a client must not be able to send the same itself.
fn check_variables(check: &mut Check<'_>, at: At<'_>, fields: &[(String, String)], may_tell: bool) {
    for (name, value) in fields {
        let mut variables = value.split(VARIABLE).skip(1).peekable();
        if variables.peek().is_some() && !may_tell {
            let note = "a client could send the like itself, and a response has no use for it";
            check.error_with(at.key(name), "a client's certificate is told by `set` of a request alone", note);
        } else if variables.any(|variable| !is_known(variable)) {
            let known = TOLD.map(|name| format!("`{VARIABLE}{name}}}`")).join(", ");
            check.error_with(at.key(name), "this is no variable", &format!("there are {known}"));
        }
    }
}

fn is_known(variable: &str) -> bool {
    variable.split_once('}').is_some_and(|(name, _)| TOLD.contains(&name))
}

pub(super) fn refuse_owned(check: &mut Check<'_>, name: &str, direction: Direction, problem: impl Fn(&str) -> Pending) {
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
