//! `--name value` arguments, as few programs of the rig need as they have.

use std::str::FromStr;

/// The value behind `--name`, or `otherwise` when the argument is absent.
///
/// # Errors
/// A sentence for the operator when the value is missing or does not parse.
pub fn value<T: FromStr>(name: &str, otherwise: Option<T>) -> Result<T, String> {
    let mut arguments = std::env::args().skip_while(|argument| argument != name);
    match (arguments.next(), arguments.next()) {
        (Some(_), Some(text)) => text.parse().map_err(|_| format!("{name} does not understand {text:?}")),
        (Some(_), None) => Err(format!("{name} needs a value")),
        (None, _) => otherwise.ok_or_else(|| format!("{name} is required")),
    }
}
