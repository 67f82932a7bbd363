//! Single values as written: a scalar, and the kind of value it has to be.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, Visitor};

/// A YAML scalar before anything is known about it.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Scalar {
    /// `true` or `false`.
    Switch(bool),
    /// A number without sign and fraction.
    Number(u64),
    /// Every other number.
    OddNumber,
    /// Text, quoted or not.
    Text(String),
    /// Nothing at all, where an entry of a list or a mapping was opened.
    Nothing,
}

/// Why a scalar is not of its kind; the message never shows the value, the hint may.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) message: Cow<'static, str>,
    pub(super) hint: Option<String>,
}

impl Refusal {
    pub(super) fn new(message: impl Into<Cow<'static, str>>) -> Self {
        Self { message: message.into(), hint: None }
    }

    /// The scalar is not what the kind expects.
    pub(super) fn expected<K: Kind>() -> Self {
        Self::new(format!("expected {}", K::EXPECTED))
    }

    pub(super) fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// A hint for when no better one is there.
    pub(super) fn or_hint(self, hint: &str) -> Self {
        Self { hint: self.hint.or_else(|| Some(hint.to_owned())), ..self }
    }
}

/// A kind of value that a scalar can be read as.
pub(super) trait Kind {
    /// What the checked value is.
    type Out;
    /// What the scalar has to be, with an article and an example.
    const EXPECTED: &'static str;
    /// A regular expression for editors, without anchors; the empty one leaves only `${...}`.
    const PATTERN: Option<&'static str> = None;
    /// JSON types of the scalar.
    const TYPES: &'static [&'static str] = &["string"];
    /// Whether text that no substitution made is refused, because the value is a plain number.
    const PLAIN: bool = false;

    fn text(text: &str) -> Result<Self::Out, Refusal>;

    fn number(_number: u64) -> Result<Self::Out, Refusal>
    where
        Self: Sized,
    {
        Err(Refusal::expected::<Self>())
    }

    fn switch(_on: bool) -> Result<Self::Out, Refusal>
    where
        Self: Sized,
    {
        Err(Refusal::expected::<Self>())
    }
}

/// A scalar at a place where the format wants a value of kind `K`.
pub(super) struct Leaf<K> {
    pub(super) scalar: Scalar,
    kind: PhantomData<fn() -> K>,
}

impl<K: Kind> Leaf<K> {
    pub(super) fn new(scalar: Scalar) -> Self {
        Self { scalar, kind: PhantomData }
    }

    /// The value without substitution.
    pub(super) fn plain(&self) -> Result<K::Out, Refusal> {
        match &self.scalar {
            Scalar::Switch(on) => K::switch(*on),
            Scalar::Number(number) => K::number(*number),
            Scalar::OddNumber | Scalar::Nothing => Err(Refusal::expected::<K>()),
            Scalar::Text(text) if K::PLAIN && text.bytes().all(|byte| byte.is_ascii_digit()) => {
                Err(Refusal::expected::<K>().hint("write the number without quotes"))
            }
            Scalar::Text(text) => K::text(text),
        }
    }
}

impl<K> Clone for Leaf<K> {
    fn clone(&self) -> Self {
        Self { scalar: self.scalar.clone(), kind: PhantomData }
    }
}

impl<K> fmt::Debug for Leaf<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.scalar.fmt(f)
    }
}

impl<'de, K: Kind> Deserialize<'de> for Leaf<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let scalar = deserializer.deserialize_any(ScalarVisitor { expected: K::EXPECTED })?;
        Ok(Self::new(scalar))
    }
}

impl<K: Kind> JsonSchema for Leaf<K> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        K::EXPECTED.into()
    }

    fn json_schema(_generator: &mut SchemaGenerator) -> Schema {
        let mut schema = json_schema!({ "type": K::TYPES });
        if let [one] = K::TYPES {
            schema.insert("type".to_owned(), (*one).into());
        }
        if let Some(pattern) = K::PATTERN {
            let alternatives = if pattern.is_empty() { String::new() } else { format!("{pattern}|") };
            schema.insert("pattern".to_owned(), format!("^({alternatives}.*\\$\\{{.+)$").into());
        }
        schema
    }
}

/// Reads any scalar; a list or a mapping is refused.
pub(super) struct ScalarVisitor {
    pub(super) expected: &'static str,
}

impl Visitor<'_> for ScalarVisitor {
    type Value = Scalar;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_bool<E: de::Error>(self, on: bool) -> Result<Scalar, E> {
        Ok(Scalar::Switch(on))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Scalar, E> {
        Ok(Scalar::Number(number))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Scalar, E> {
        Ok(u64::try_from(number).map_or(Scalar::OddNumber, Scalar::Number))
    }

    fn visit_u128<E: de::Error>(self, _number: u128) -> Result<Scalar, E> {
        Ok(Scalar::OddNumber)
    }

    fn visit_i128<E: de::Error>(self, _number: i128) -> Result<Scalar, E> {
        Ok(Scalar::OddNumber)
    }

    fn visit_f64<E: de::Error>(self, _number: f64) -> Result<Scalar, E> {
        Ok(Scalar::OddNumber)
    }

    fn visit_unit<E: de::Error>(self) -> Result<Scalar, E> {
        Ok(Scalar::Nothing)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Scalar, E> {
        Ok(Scalar::Text(text.to_owned()))
    }

    fn visit_string<E: de::Error>(self, text: String) -> Result<Scalar, E> {
        Ok(Scalar::Text(text))
    }
}
