//! The part of a request that is hashed.

use super::super::file::{HashKeyFields, HashKeyFile, ScalarOr};
use super::super::model::HashKey;
use super::super::place::At;
use super::super::problems::{Pending, Subject};
use super::Check;

pub(super) fn check(check: &mut Check<'_>, at: At<'_>, file: Option<&HashKeyFile>) -> Option<HashKey> {
    match file? {
        ScalarOr::Scalar(leaf) => check.value(at, Some(leaf)),
        ScalarOr::Compound(fields) => check_fields(check, at, fields),
    }
}

fn check_fields(check: &mut Check<'_>, at: At<'_>, fields: &HashKeyFields) -> Option<HashKey> {
    let header = check.value(at.key("header"), fields.header.as_ref()).map(HashKey::Header);
    let cookie = check.value(at.key("cookie"), fields.cookie.as_ref()).map(HashKey::Cookie);
    match (&fields.header, &fields.cookie) {
        (Some(_), Some(_)) => {
            let problem = Pending::error(at.key("cookie").place(), "a request is hashed by `header` or by `cookie`");
            check.problems.push(problem.at_key().subject(Subject::Container).note(Some("remove one".to_owned())));
        }
        (None, None) => check.missing(&at, "missing `header` or `cookie`"),
        (Some(_), None) | (None, Some(_)) => {}
    }
    header.or(cookie)
}
