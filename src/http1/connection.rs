//! What the Connection field says (RFC 9110 section 7.6.1).

use super::CONNECTION_OPTIONS;
use super::error::HeadError;
use super::fields::{Field, FieldKind, is_end_to_end, list};
use super::method::Version;

/// What the connection options of one head ask for.
#[derive(Copy, Clone, Debug, Default)]
pub(super) struct Options {
    close: bool,
    keep_alive: bool,
}

impl Options {
    /// Reads every connection option of `fields` and marks the fields they name as hop-by-hop.
    ///
    /// An option that names a field with a meaning of its own (Host, Content-Length, Authorization, the
    /// forwarding fields, everything meant for all recipients) is ignored, or a client could take off what
    /// another hop relies on.
    pub(super) fn try_apply(bytes: &[u8], fields: &mut [Field]) -> Result<Self, HeadError> {
        let mut options = Self::default();
        let mut names = 0;
        for index in 0..fields.len() {
            if fields[index].kind != FieldKind::Connection {
                continue;
            }
            let value = fields[index].value.of(bytes);
            // By far the most frequent values, told by one comparison each.
            if value == b"keep-alive" || value == b"close" {
                options.close |= value.len() == 5;
                options.keep_alive |= value.len() != 5;
                continue;
            }
            for option in list(value) {
                if option.eq_ignore_ascii_case(b"close") {
                    options.close = true;
                } else if option.eq_ignore_ascii_case(b"keep-alive") {
                    options.keep_alive = true;
                } else {
                    names += 1;
                    if names > CONNECTION_OPTIONS {
                        return Err(HeadError::TooManyConnectionOptions);
                    }
                    mark_hop(bytes, fields, option);
                }
            }
        }
        Ok(options)
    }

    /// Whether the sender lets the connection persist (RFC 9112 section 9.3).
    pub(super) const fn persists(self, version: Version) -> bool {
        match version {
            Version::Http11 => !self.close,
            Version::Http10 => self.keep_alive && !self.close,
        }
    }
}

/// Marks the fields that `option` names, unless it may not name them.
fn mark_hop(bytes: &[u8], fields: &mut [Field], option: &[u8]) {
    if is_end_to_end(option) {
        return;
    }
    for field in fields {
        if field.kind == FieldKind::Other
            && field.name.len() == option.len()
            && field.name.of(bytes).eq_ignore_ascii_case(option)
        {
            field.hop = true;
        }
    }
}

/// Every connection option of `fields`.
pub(super) fn options<'a>(fields: &'a [Field], bytes: &'a [u8]) -> impl Iterator<Item = &'a [u8]> + Clone {
    fields.iter().filter(|field| field.kind == FieldKind::Connection).flat_map(|field| list(field.value.of(bytes)))
}
