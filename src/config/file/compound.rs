//! Shapes of values that serde has no type for: mappings from names, and scalars that may also be a list or a mapping.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Unexpected, Visitor};

use super::super::leaf::{Kind, Leaf, Scalar, ScalarVisitor};

/// A mapping from names to values in the order written; a name given twice is an error.
#[derive(Debug)]
pub(in crate::config) struct Named<T>(pub(in crate::config) Vec<(String, T)>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Named<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(NamedVisitor(PhantomData))
    }
}

impl<T: JsonSchema> JsonSchema for Named<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("Named{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "object", "additionalProperties": generator.subschema_for::<T>() })
    }
}

struct NamedVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for NamedVisitor<T> {
    type Value = Named<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a mapping from names to values")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Named<T>, A::Error> {
        let mut seen = rustc_hash::FxHashSet::default();
        let mut list: Vec<(String, T)> = Vec::new();
        while let Some(key) = entries.next_key::<String>()? {
            if !seen.insert(key.clone()) {
                return Err(de::Error::custom("a name is given twice"));
            }
            list.push((key, entries.next_value()?));
        }
        Ok(Named(list))
    }
}

/// A scalar of kind `K`, or a list or mapping `T`.
pub(in crate::config) enum ScalarOr<K, T> {
    Scalar(Leaf<K>),
    Compound(T),
}

impl<K, T: fmt::Debug> fmt::Debug for ScalarOr<K, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scalar(leaf) => leaf.fmt(f),
            Self::Compound(compound) => compound.fmt(f),
        }
    }
}

/// A list or a mapping that may stand where a scalar may; what it is not, it refuses with `None`.
pub(in crate::config) trait Compound: Sized {
    fn from_list<'de, A: SeqAccess<'de>>(_list: A) -> Option<Result<Self, A::Error>> {
        None
    }

    fn from_mapping<'de, A: MapAccess<'de>>(_mapping: A) -> Option<Result<Self, A::Error>> {
        None
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema;
}

impl<K: Kind> Compound for Vec<Leaf<K>> {
    fn from_list<'de, A: SeqAccess<'de>>(mut list: A) -> Option<Result<Self, A::Error>> {
        let mut leaves = Self::new();
        loop {
            match list.next_element() {
                Ok(Some(leaf)) => leaves.push(leaf),
                Ok(None) => return Some(Ok(leaves)),
                Err(error) => return Some(Err(error)),
            }
        }
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "array", "items": Leaf::<K>::json_schema(generator), "minItems": 1 })
    }
}

impl<'de, K: Kind, T: Compound> Deserialize<'de> for ScalarOr<K, T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ScalarOrVisitor(PhantomData))
    }
}

impl<K: Kind, T: Compound> JsonSchema for ScalarOr<K, T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        K::EXPECTED.into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let scalar = Leaf::<K>::json_schema(generator);
        let compound = T::schema(generator);
        json_schema!({ "anyOf": [scalar, compound] })
    }
}

struct ScalarOrVisitor<K, T>(PhantomData<(K, T)>);

impl<K: Kind, T> ScalarOrVisitor<K, T> {
    const SCALAR: ScalarVisitor = ScalarVisitor { expected: K::EXPECTED };

    fn taken(scalar: Scalar) -> ScalarOr<K, T> {
        ScalarOr::Scalar(Leaf::new(scalar))
    }
}

impl<'de, K: Kind, T: Compound> Visitor<'de> for ScalarOrVisitor<K, T> {
    type Value = ScalarOr<K, T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(K::EXPECTED)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
        let refusal = || Err(de::Error::invalid_type(Unexpected::Seq, &self));
        T::from_list(list).map_or_else(refusal, |list| list.map(ScalarOr::Compound))
    }

    fn visit_map<A: MapAccess<'de>>(self, mapping: A) -> Result<Self::Value, A::Error> {
        let refusal = || Err(de::Error::invalid_type(Unexpected::Map, &self));
        T::from_mapping(mapping).map_or_else(refusal, |mapping| mapping.map(ScalarOr::Compound))
    }

    fn visit_bool<E: de::Error>(self, on: bool) -> Result<Self::Value, E> {
        Self::SCALAR.visit_bool(on).map(Self::taken)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Self::Value, E> {
        Self::SCALAR.visit_u64(number).map(Self::taken)
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Self::Value, E> {
        Self::SCALAR.visit_i64(number).map(Self::taken)
    }

    fn visit_u128<E: de::Error>(self, number: u128) -> Result<Self::Value, E> {
        Self::SCALAR.visit_u128(number).map(Self::taken)
    }

    fn visit_i128<E: de::Error>(self, number: i128) -> Result<Self::Value, E> {
        Self::SCALAR.visit_i128(number).map(Self::taken)
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Self::Value, E> {
        Self::SCALAR.visit_f64(number).map(Self::taken)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        Self::SCALAR.visit_str(text).map(Self::taken)
    }
}
