//! `ringgate schema`.

use super::{Error, say};
use crate::config::json_schema;

pub(super) fn run() -> Result<(), Error> {
    say(format_args!("{:#}", json_schema()));
    Ok(())
}
