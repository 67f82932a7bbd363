//! Bytes to a YAML value: everything that is wrong before any key is looked at.

use std::fmt;

use rustc_hash::FxHashMap;
use saphyr_parser::{Event, Parser};
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_yaml::{Mapping, Value};

use super::locate::Spot;

/// Lists and mappings inside one another.
const DEPTH_MAX: usize = 64;
/// Values after every alias has been replaced by what it stands for.
const VALUES_MAX: usize = 2_000_000;
/// Bytes of a text that is small enough to be read whatever it holds, unless it nests or uses aliases.
const SMALL_BYTES: usize = 2 * 1024 * 1024;

/// Why a text is not even YAML, and where.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TextError {
    pub(super) message: String,
    pub(super) note: Option<String>,
    pub(super) spot: Option<Spot>,
}

impl TextError {
    fn new(message: impl Into<String>, spot: Option<Spot>) -> Self {
        Self { message: message.into(), note: None, spot }
    }
}

/// The text of a file: UTF-8, not empty, a byte order mark taken off.
pub(super) fn decode(bytes: &[u8]) -> Result<String, TextError> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let valid = &bytes[..error.valid_up_to()];
        let line = 1 + valid.iter().filter(|byte| **byte == b'\n').count();
        let start = valid.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let column = 1 + String::from_utf8_lossy(&valid[start..]).chars().count();
        TextError::new("the file is not UTF-8 text", Some(Spot { line, column, width: 1 }))
    })?;
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text).to_owned())
}

/// Refuses texts that would cost the parser far more than their length is worth: deep nesting, aliases of aliases, and
/// values without end.
pub(super) fn guard(text: &str) -> Result<(), TextError> {
    if text.len() <= SMALL_BYTES && !is_suspicious(text.as_bytes()) {
        return Ok(());
    }
    // Values inside each open list or mapping, with its anchor; and inside each finished anchor.
    let mut open: Vec<(usize, usize)> = Vec::new();
    let mut anchors: FxHashMap<usize, usize> = FxHashMap::default();
    let mut total = 0;
    for event in Parser::new_from_str(text) {
        // What is no YAML is left to the parser that explains it, except for what that one chokes on.
        let (event, span) = match event {
            Ok(event) => event,
            Err(error) if error.to_string().contains("recursion limit") => {
                let spot = Spot { line: error.marker().line(), column: error.marker().col() + 1, width: 1 };
                return Err(TextError::new("lists and mappings are nested too deeply", Some(spot)));
            }
            Err(_) => return Ok(()),
        };
        let spot = Some(Spot { line: span.start.line(), column: span.start.col() + 1, width: 1 });
        let values = match event {
            Event::SequenceStart(anchor, _) | Event::MappingStart(anchor, _) => {
                open.push((anchor, total));
                1
            }
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some((anchor, before)) = open.pop() {
                    anchors.insert(anchor, total - before);
                }
                0
            }
            Event::Alias(anchor) => anchors.get(&anchor).copied().unwrap_or(1),
            Event::Scalar(_, _, anchor, _) => {
                anchors.insert(anchor, 1);
                1
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) | Event::DocumentEnd => 0,
        };
        total += values;
        if total > VALUES_MAX {
            return Err(TextError::new(
                format!("the file has more than {VALUES_MAX} values, counting what aliases stand for"),
                spot,
            ));
        }
        if open.len() > DEPTH_MAX {
            return Err(TextError::new("lists and mappings are nested too deeply", spot));
        }
    }
    Ok(())
}

/// Whether a text might nest deeply or use aliases: a glance that may be wrong only by saying yes.
fn is_suspicious(text: &[u8]) -> bool {
    let mut depth = 0usize;
    for byte in text {
        match byte {
            b'&' => return true,
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > DEPTH_MAX {
            return true;
        }
    }
    false
}

/// Whether there is nothing but comments.
pub(super) fn is_empty(text: &str) -> bool {
    let is_nothing = |line: &str| line.is_empty() || line.starts_with('#') || line == "---" || line == "...";
    text.lines().all(|line| is_nothing(line.trim()))
}

/// The whole text as one value. Of keys that are given twice the first one counts; tags are dropped.
pub(super) fn parse(text: &str) -> Result<Value, TextError> {
    match Loose::deserialize(serde_yaml::Deserializer::from_str(text)) {
        Ok(Loose(value)) => Ok(value),
        Err(error) => Err(explain(&error, text)),
    }
}

fn explain(error: &serde_yaml::Error, text: &str) -> TextError {
    let spot = error.location().map(|at| Spot { line: at.line(), column: at.column(), width: 1 });
    let mut message = error.to_string();
    if let Some(at) = error.location() {
        let place = format!(" at line {} column {}", at.line(), at.column());
        if let Some(start) = message.find(&place) {
            message.replace_range(start..start + place.len(), "");
        }
    }
    let line = spot.and_then(|spot| text.split('\n').nth(spot.line.saturating_sub(1))).unwrap_or_default();
    let indent = &line[..line.len() - line.trim_start().len()];
    if message.contains("more than one document") {
        return TextError::new("the file holds more than one YAML document", spot);
    }
    let mut found = TextError::new(format!("this is not YAML: {message}"), spot);
    if indent.contains('\t') || message.contains("found character that cannot start any token") && line.contains('\t') {
        found.note = Some("YAML is indented with spaces, and this line has a tab".to_owned());
    } else if line.contains("${") {
        found.note = Some("inside `{ }` and `[ ]`, write `${...}` in quotes".to_owned());
    }
    found
}

/// A value that takes the oddities that `Value` itself refuses.
struct Loose(Value);

impl<'de> Deserialize<'de> for Loose {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(LooseVisitor).map(Loose)
    }
}

struct LooseVisitor;

impl<'de> Visitor<'de> for LooseVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any YAML value")
    }

    fn visit_bool<E: de::Error>(self, on: bool) -> Result<Value, E> {
        Ok(Value::Bool(on))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Number(number.into()))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Value, E> {
        Ok(Value::Number(number.into()))
    }

    fn visit_i128<E: de::Error>(self, _number: i128) -> Result<Value, E> {
        Ok(Value::Number(f64::INFINITY.into()))
    }

    fn visit_u128<E: de::Error>(self, _number: u128) -> Result<Value, E> {
        Ok(Value::Number(f64::INFINITY.into()))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Value, E> {
        Ok(Value::Number(number.into()))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Value, E> {
        Ok(Value::String(text.to_owned()))
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(Self)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(Self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Loose(entry)) = entries.next_element()? {
            list.push(entry);
        }
        Ok(Value::Sequence(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut mapping = Mapping::new();
        while let Some(Loose(key)) = entries.next_key()? {
            let key = match key {
                Value::String(text) => text,
                Value::Number(number) => number.to_string(),
                Value::Bool(on) => on.to_string(),
                Value::Null => "null".to_owned(),
                Value::Sequence(_) | Value::Mapping(_) | Value::Tagged(_) => {
                    return Err(de::Error::custom("a list or a mapping cannot be a key"));
                }
            };
            let Loose(value) = entries.next_value()?;
            mapping.entry(Value::String(key)).or_insert(value);
        }
        Ok(Value::Mapping(mapping))
    }

    fn visit_enum<A: de::EnumAccess<'de>>(self, tagged: A) -> Result<Value, A::Error> {
        let (_, content) = tagged.variant::<String>()?;
        de::VariantAccess::newtype_variant::<Loose>(content).map(|Loose(value)| value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_is_not_utf8_is_refused_at_its_first_bad_byte() {
        let error = decode(b"version: 1\nname: \xc3\xa4\xff").expect_err("not UTF-8");
        assert_eq!(error.spot, Some(Spot { line: 2, column: 8, width: 1 }));
        assert_eq!(decode(b"\xef\xbb\xbfversion: 1").as_deref(), Ok("version: 1"));
    }

    #[test]
    fn nesting_and_aliases_are_bounded_before_they_cost_anything() {
        for deep in ["[".repeat(100_000), "{a: ".repeat(100_000), "[[".repeat(100) + "&a"] {
            assert!(guard(&deep).expect_err("too deep").message.contains("nested"));
        }
        let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..9 {
            let list = vec![format!("*a{}", level - 1); 10].join(", ");
            bomb += &format!("a{level}: &a{level} [{list}]\n");
        }
        assert!(guard(&bomb).expect_err("a bomb").message.contains("alias"));
        assert_eq!(guard("a: &x [1, 2]\nb: *x\n"), Ok(()));
    }

    #[test]
    fn duplicates_and_tags_do_not_hide_the_rest() {
        let value = parse("a: 1\na: 2\nb: !x 3\n4: c\n").expect("taken as it is");
        assert_eq!(value, serde_yaml::from_str::<Value>("{a: 1, b: 3, '4': c}").expect("plain"));
        assert!(parse("? [a]\n: b\n").is_err());
    }

    #[test]
    fn a_tab_in_the_indentation_is_named() {
        let error = parse("a:\n\tb: 1\n").expect_err("a tab");
        assert!(error.note.is_some_and(|note| note.contains("tab")), "{}", error.message);
        assert_eq!(error.spot.map(|spot| spot.line), Some(2));
    }
}
