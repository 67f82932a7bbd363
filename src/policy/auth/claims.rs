//! The claims of a token (RFC 7519 section 4): those that decide, and those that a policy keeps.

use core::fmt;

use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, Visitor};
use serde_json::{Number, Value};

use super::refusal::Refusal;

/// What a token claims, of what is looked at.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Claims {
    pub(super) issuer: Option<String>,
    pub(super) audience: Vec<String>,
    /// Seconds since 1970, rounded down; both ends of the range stand for what lies beyond.
    pub(super) expires_s: Option<i64>,
    pub(super) not_before_s: Option<i64>,
    /// What OAuth calls the scope (RFC 8693 section 4.2), and some issuers `scp`.
    pub(super) scopes: Vec<String>,
    /// Those that are kept, as text, in the order they were found.
    pub(super) kept: Vec<(Box<str>, Box<str>)>,
}

impl Claims {
    /// Reads a payload; of the claims that are no concern of ours those named by `keep` are kept if they can be text.
    ///
    /// # Errors
    /// It is no JSON object, has a claim twice that is looked at, or one of another type than it should be.
    pub(super) fn parse(payload: &[u8], keep: &[Box<str>]) -> Result<Self, Refusal> {
        let mut json = serde_json::Deserializer::from_slice(payload);
        let claims = Seed { keep }.deserialize(&mut json).map_err(|_| Refusal::Malformed)?;
        json.end().map_err(|_| Refusal::Malformed)?;
        Ok(claims)
    }
}

struct Seed<'a> {
    keep: &'a [Box<str>],
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Claims;

    fn deserialize<D: serde::Deserializer<'de>>(self, from: D) -> Result<Claims, D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Claims;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of claims")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Claims, A::Error> {
        let mut claims = Claims::default();
        let mut seen: Vec<String> = Vec::new();
        while let Some(name) = map.next_key::<String>()? {
            let is_kept = self.keep.iter().any(|kept| **kept == *name);
            if !is_kept && !matches!(name.as_str(), "iss" | "aud" | "exp" | "nbf" | "scope" | "scp") {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            // RFC 7519 section 4: a name is there once. Which of two counts must not depend on the reader.
            if seen.contains(&name) {
                return Err(A::Error::custom("a claim twice"));
            }
            let value: Value = map.next_value()?;
            claims.on_claim(&name, &value).ok_or_else(|| A::Error::custom("a claim of another type"))?;
            if is_kept && let Some(text) = text_of(&value) {
                claims.kept.push((name.as_str().into(), text));
            }
            seen.push(name);
        }
        Ok(claims)
    }
}

impl Claims {
    fn on_claim(&mut self, name: &str, value: &Value) -> Option<()> {
        match name {
            "iss" => self.issuer = Some(value.as_str()?.to_owned()),
            "aud" => self.audience = strings(value)?,
            "exp" => self.expires_s = Some(seconds(value.as_number()?)),
            "nbf" => self.not_before_s = Some(seconds(value.as_number()?)),
            "scope" | "scp" => {
                let words = strings(value)?;
                self.scopes.extend(words.iter().flat_map(|word| word.split(' ')).map(str::to_owned));
            }
            _ => {}
        }
        Some(())
    }
}

/// A string, or a list of strings.
fn strings(value: &Value) -> Option<Vec<String>> {
    if let Value::String(one) = value {
        return Some(vec![one.clone()]);
    }
    value.as_array()?.iter().map(|each| each.as_str().map(str::to_owned)).collect()
}

/// RFC 7519 section 2: seconds since 1970, which may have a fraction.
fn seconds(number: &Number) -> i64 {
    if let Some(whole) = number.as_i64() {
        return whole;
    }
    #[allow(clippy::cast_possible_truncation, reason = "the cast saturates, and a fraction of a second is let go")]
    let rounded = number.as_f64().map_or(i64::MAX, |fraction| fraction.floor() as i64);
    rounded
}

/// A claim as text: a string, a number, a truth, or strings without commas with commas between them.
fn text_of(value: &Value) -> Option<Box<str>> {
    match value {
        Value::String(text) => Some(text.as_str().into()),
        Value::Number(number) => Some(number.to_string().into()),
        Value::Bool(truth) => Some(truth.to_string().into()),
        Value::Array(_) => {
            let parts = strings(value)?;
            (!parts.is_empty() && parts.iter().all(|part| !part.contains(','))).then(|| parts.join(",").into())
        }
        Value::Null | Value::Object(_) => None,
    }
}
