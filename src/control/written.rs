//! The configuration in force as `/config` shows it, and by what two states of its file are told apart.

use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::HEXLOWER;
use serde_json::{Map, Value};

use crate::config::{Effective, Sources, Texts};

/// What is in force, as it was written.
#[derive(Clone)]
pub(super) struct Written {
    pub(super) texts: Texts,
    pub(super) sources: Arc<dyn Sources + Send + Sync>,
}

impl Written {
    /// What tells this state of the main file from any other; `None` after a start without a file.
    pub(super) fn tag(&self) -> Option<String> {
        self.texts.main().map(|text| tag(text.as_bytes()))
    }

    /// As YAML, with the origin of each value behind it; takes a while for a large one.
    pub(super) fn to_yaml(&self, epoch: u64) -> String {
        format!("# epoch {epoch}\n{}", self.effective().to_yaml(true))
    }

    /// As JSON, and the origins beside it.
    pub(super) fn to_json(&self) -> (Map<String, Value>, Map<String, Value>) {
        let mut shown = self.effective().to_json();
        let mut part = |key: &str| match shown[key].take() {
            Value::Object(part) => part,
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => Map::new(),
        };
        (part("config"), part("origins"))
    }

    fn effective(&self) -> Effective {
        let root = std::env::current_dir().unwrap_or_else(|_| Path::new("/").to_owned());
        self.texts.effective(self.sources.as_ref(), &root)
    }
}

/// The entity tag (RFC 9110 section 8.8.3) of a file with this text: its SHA-256.
pub(super) fn tag(text: &[u8]) -> String {
    // As a text is kept once it was read.
    let text = text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(text);
    format!("\"{}\"", HEXLOWER.encode(digest(&SHA256, text).as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_order_mark_makes_no_other_file() {
        assert_eq!(tag(b"a"), tag("\u{feff}a".as_bytes()));
        assert_ne!(tag(b"a"), tag(b"b"));
        assert_eq!(tag(b"").len(), 66);
    }
}
