//! The live policy document as JSON: reading, merging, writing.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Number;

use crate::limits::RATE_LIMIT_MAX;
use crate::policy::Pace;

/// Bytes of a document.
pub(super) const BYTES_MAX: usize = 64 * 1024;
/// Highest threshold of a breaker, which counts no further.
const THRESHOLD_MAX: u64 = 65_535;
/// Characters of a time.
const TIME_CHARS: usize = 64;

/// A whole document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::control) struct Document {
    /// Does anything pass?
    pub(in crate::control) enabled: bool,
    /// Requests a second, of all clients together.
    pub(in crate::control) rate_limit: Number,
    /// Failures in a row that open breakers.
    pub(in crate::control) circuit_breaker_threshold: u32,
    /// When it was changed, ISO 8601.
    pub(in crate::control) updated_at: String,
}

/// Some members of a document, each of the right type.
#[derive(Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::control) struct Parts {
    #[serde(default, deserialize_with = "given")]
    enabled: Option<bool>,
    #[serde(default, deserialize_with = "given")]
    rate_limit: Option<Number>,
    #[serde(default, deserialize_with = "given")]
    circuit_breaker_threshold: Option<Number>,
    #[serde(default, deserialize_with = "given")]
    updated_at: Option<String>,
}

/// A member that is there has a value: `null` is none.
fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(from: D) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}

impl Document {
    /// What holds when nothing is said, as of `now`.
    pub(super) fn standard(now: String) -> Self {
        Self { enabled: true, rate_limit: 1000.into(), circuit_breaker_threshold: 50, updated_at: now }
    }

    /// A document of which members may be missing, as it stands in a file; `now` is when it was changed unless it says that.
    ///
    /// # Errors
    /// What is wrong with it, in one sentence.
    pub(super) fn parse(bytes: &[u8], now: String) -> Result<Self, String> {
        Self::standard(now).with(parts(bytes)?)
    }

    /// This document with the members of another, changed at `now` unless it says when.
    ///
    /// # Errors
    /// What is wrong with it, in one sentence.
    pub(super) fn merged(&self, bytes: &[u8], now: String) -> Result<Self, String> {
        let parts = parts(bytes)?;
        Self { updated_at: now, ..self.clone() }.with(parts)
    }

    fn with(self, parts: Parts) -> Result<Self, String> {
        let Parts { enabled, rate_limit, circuit_breaker_threshold, updated_at } = parts;
        let threshold = match circuit_breaker_threshold {
            None => self.circuit_breaker_threshold,
            Some(number) => threshold(&number)?,
        };
        let document = Self {
            enabled: enabled.unwrap_or(self.enabled),
            rate_limit: rate_limit.unwrap_or(self.rate_limit),
            circuit_breaker_threshold: threshold,
            updated_at: updated_at.unwrap_or(self.updated_at),
        };
        if document.pace().is_none() {
            let hint = "to let nothing pass, set `enabled` to false";
            return Err(format!("`rateLimit` is a number of requests a second, up to {}; {hint}", Pace::MOST));
        }
        if !is_time(&document.updated_at) {
            return Err("`updatedAt` is a time such as 2026-01-31T12:00:00Z".to_owned());
        }
        Ok(document)
    }

    /// Its rate; `None` when it can be none.
    pub(super) fn pace(&self) -> Option<Pace> {
        Pace::per_second(self.rate_limit.as_f64()?, RATE_LIMIT_MAX)
    }

    /// As it stands in a file, with a final line feed.
    pub(in crate::control) fn to_json(&self) -> String {
        let json = serde_json::to_string_pretty(self).expect("strings, numbers and switches are JSON");
        format!("{json}\n")
    }
}

fn parts(bytes: &[u8]) -> Result<Parts, String> {
    if bytes.len() > BYTES_MAX {
        return Err("a document has at most 64 KiB".to_owned());
    }
    // A list of the members would be taken as well.
    if !bytes.trim_ascii_start().starts_with(b"{") {
        return Err("a document is a JSON object".to_owned());
    }
    serde_json::from_slice(bytes).map_err(|error| error.to_string())
}

fn threshold(number: &Number) -> Result<u32, String> {
    let whole = number.as_u64().or_else(|| {
        // JSON has one kind of number: 50.0 is 50.
        let float = number.as_f64()?;
        (float.fract() == 0.0).then(|| format!("{float:.0}").parse().ok()).flatten()
    });
    let within = whole.filter(|whole| (1..=THRESHOLD_MAX).contains(whole)).and_then(|whole| u32::try_from(whole).ok());
    within.ok_or_else(|| {
        format!("`circuitBreakerThreshold` is a whole number of failures in a row, from 1 to {THRESHOLD_MAX}")
    })
}

/// Is it a date of ISO 8601 with a time or without?
fn is_time(text: &str) -> bool {
    let shape = |text: &str, pattern: &str| {
        text.len() >= pattern.len()
            && text.bytes().zip(pattern.bytes()).all(|(byte, wanted)| match wanted {
                b'9' => byte.is_ascii_digit(),
                _ => byte == wanted,
            })
    };
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit() || b"-:.,+TWZtz ".contains(&byte));
    is_plain && text.len() <= TIME_CHARS && shape(text, "9999-99-99")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standard() -> Document {
        Document::standard("2026-01-31T12:00:00Z".to_owned())
    }

    fn merged(json: &str) -> Result<Document, String> {
        standard().merged(json.as_bytes(), "2026-02-01T00:00:00Z".to_owned())
    }

    #[test]
    fn what_a_document_leaves_out_stays_and_the_time_is_the_change_s() {
        let document = merged(r#"{"rateLimit": 20}"#).unwrap();
        assert_eq!((document.enabled, document.circuit_breaker_threshold), (true, 50));
        assert_eq!((document.rate_limit.as_u64(), &document.updated_at[..]), (Some(20), "2026-02-01T00:00:00Z"));
        assert!(!merged(r#"{"enabled": false}"#).unwrap().enabled);
        assert_eq!(merged(r#"{"updatedAt": "2020-01-01"}"#).unwrap().updated_at, "2020-01-01");
        assert_eq!(merged(r#" {"circuitBreakerThreshold": 7.0}"#).unwrap().circuit_breaker_threshold, 7);
        assert_eq!(Document::parse(b"{}", "2026-01-31T12:00:00Z".to_owned()), Ok(standard()));
    }

    #[test]
    fn what_is_written_is_read_again() {
        let document = merged(r#"{"enabled": false, "rateLimit": 2.5, "circuitBreakerThreshold": 3}"#).unwrap();
        assert_eq!(Document::parse(document.to_json().as_bytes(), "-".to_owned()), Ok(document.clone()));
        let json: serde_json::Value = serde_json::from_str(&document.to_json()).unwrap();
        let names: Vec<_> = json.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(names, ["circuitBreakerThreshold", "enabled", "rateLimit", "updatedAt"]);
    }

    #[test]
    fn rubbish_is_refused_with_what_is_wrong() {
        for (json, told) in [
            ("", "a JSON object"),
            ("[true]", "a JSON object"),
            ("null", "a JSON object"),
            ("{", "EOF"),
            (r#"{"enabled": true"#, "EOF"),
            (r#"{} {}"#, "trailing"),
            (r#"{"enabled": "yes"}"#, "invalid type"),
            (r#"{"enabled": null}"#, "invalid type"),
            (r#"{"enabled": true, "enabled": false}"#, "duplicate field"),
            (r#"{"ratelimit": 5}"#, "unknown field"),
            (r#"{"rateLimit": "5"}"#, "invalid type"),
            (r#"{"rateLimit": 0}"#, "`rateLimit`"),
            (r#"{"rateLimit": -3}"#, "`rateLimit`"),
            (r#"{"rateLimit": 1e300}"#, "`rateLimit`"),
            (r#"{"rateLimit": 1e999}"#, "number out of range"),
            (r#"{"circuitBreakerThreshold": 0}"#, "`circuitBreakerThreshold`"),
            (r#"{"circuitBreakerThreshold": 1.5}"#, "`circuitBreakerThreshold`"),
            (r#"{"circuitBreakerThreshold": -1}"#, "`circuitBreakerThreshold`"),
            (r#"{"circuitBreakerThreshold": 65536}"#, "`circuitBreakerThreshold`"),
            (r#"{"updatedAt": "yesterday"}"#, "`updatedAt`"),
            (r#"{"updatedAt": "2026-01-31\r\nx"}"#, "`updatedAt`"),
        ] {
            let why = merged(json).expect_err(json);
            assert!(why.contains(told), "{json}: {why}");
        }
        assert!(merged(&format!("{{{}}}", " ".repeat(BYTES_MAX))).is_err());
        assert!(standard().merged(b"{\"enabled\": \xff}", String::new()).is_err());
    }
}
