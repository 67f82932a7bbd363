//! The effective configuration as JSON.

use serde_json::{Map, Value, json};

use super::{Effective, Entries, Kind, Node};

pub(super) fn write(effective: &Effective) -> Value {
    let mut origins = Map::new();
    let config = mapping(&effective.top, "", &mut origins);
    json!({"config": config, "origins": origins})
}

fn mapping(entries: &Entries, at: &str, origins: &mut Map<String, Value>) -> Value {
    let member = |(key, node): &(String, Node)| {
        let at = format!("{at}/{}", key.replace('~', "~0").replace('/', "~1"));
        (key.clone(), value(node, &at, origins))
    };
    Value::Object(entries.iter().map(member).collect())
}

fn value(node: &Node, at: &str, origins: &mut Map<String, Value>) -> Value {
    match &node.kind {
        Kind::Scalar(scalar) => {
            origins.insert(at.to_owned(), node.origin.to_string().into());
            serde_json::to_value(scalar).unwrap_or_default()
        }
        Kind::List(nodes) if nodes.is_empty() => {
            origins.insert(at.to_owned(), node.origin.to_string().into());
            json!([])
        }
        Kind::List(nodes) => {
            let entries = nodes.iter().enumerate();
            entries.map(|(index, node)| value(node, &format!("{at}/{index}"), origins)).collect()
        }
        Kind::Mapping(entries) => mapping(entries, at, origins),
    }
}
