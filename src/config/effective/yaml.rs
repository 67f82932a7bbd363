//! The effective configuration as YAML.

use serde_yaml::Value;

use super::{Effective, Entries, Kind, Node, Order, table};

/// Column of the origins, where the value leaves room.
const COLUMN: usize = 56;

pub(super) fn write(effective: &Effective, with_origins: bool) -> String {
    let mut writing = Writing { out: String::new(), with_origins };
    if with_origins {
        for file in &effective.files {
            writing.out += &format!("# read: {}\n", file.display());
        }
    }
    writing.mapping(&effective.top, 0, table::order());
    writing.out
}

struct Writing {
    out: String,
    with_origins: bool,
}

impl Writing {
    fn mapping(&mut self, entries: &Entries, indent: usize, order: &Order) {
        for (index, (key, node)) in order.sorted(entries).into_iter().enumerate() {
            // The first key of an entry of a list stands behind its dash.
            if index > 0 || !self.out.ends_with("- ") {
                self.indent(indent);
            }
            self.out += &quoted(key);
            self.out.push(':');
            self.value(node, indent, order.below(key).unwrap_or(&Order::default()));
        }
    }

    /// What stands behind a key.
    fn value(&mut self, node: &Node, indent: usize, order: &Order) {
        match &node.kind {
            Kind::Scalar(value) => self.line(&format!(" {}", scalar(value)), node),
            Kind::Mapping(entries) if entries.is_empty() => self.line(" {}", node),
            Kind::Mapping(entries) => {
                self.out.push('\n');
                self.mapping(entries, indent + 2, order);
            }
            Kind::List(nodes) => match flow(nodes) {
                Some(list) => self.line(&format!(" {list}"), nodes.first().unwrap_or(node)),
                None => {
                    self.out.push('\n');
                    let order = order.below("*").unwrap_or(order);
                    nodes.iter().for_each(|node| self.entry(node, indent + 2, order));
                }
            },
        }
    }

    fn entry(&mut self, node: &Node, indent: usize, order: &Order) {
        self.indent(indent);
        self.out += "- ";
        match &node.kind {
            Kind::Mapping(entries) if !entries.is_empty() => self.mapping(entries, indent + 2, order),
            Kind::Mapping(_) => self.line("{}", node),
            Kind::Scalar(value) => self.line(&scalar(value), node),
            // Nothing in the format is a list of lists.
            Kind::List(_) => self.line("[]", node),
        }
    }

    fn line(&mut self, text: &str, node: &Node) {
        self.out += text;
        if self.with_origins {
            let start = self.out.rfind('\n').map_or(0, |end| end + 1);
            let room = COLUMN.saturating_sub(self.out[start..].chars().count()).max(2);
            self.out += &format!("{:room$}# {}", "", node.origin);
        }
        self.out.push('\n');
    }

    fn indent(&mut self, indent: usize) {
        self.out.extend(std::iter::repeat_n(' ', indent));
    }
}

/// A list of scalars in brackets.
fn flow(nodes: &[Node]) -> Option<String> {
    let scalars = nodes.iter().map(|node| match &node.kind {
        Kind::Scalar(value) => Some(scalar(value)),
        Kind::List(_) | Kind::Mapping(_) => None,
    });
    Some(format!("[{}]", scalars.collect::<Option<Vec<_>>>()?.join(", ")))
}

fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) => quoted(text),
        Value::Number(number) => number.to_string(),
        Value::Bool(on) => on.to_string(),
        Value::Null | Value::Sequence(_) | Value::Mapping(_) | Value::Tagged(_) => "null".to_owned(),
    }
}

/// Text that is the same text in YAML wherever it stands: plain where no reader could take it for something else.
fn quoted(text: &str) -> String {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || b"_./%-".contains(&byte);
    let is_plain = text.bytes().all(|byte| is_word(byte) || byte == b':')
        && text.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric() || first == b'/')
        && !text.ends_with(':')
        // Numbers, also those of YAML 1.1 such as 1:30 and 0x1f.
        && !text.bytes().all(|byte| byte.is_ascii_digit() || b"_:-".contains(&byte))
        && !text.starts_with("0x")
        && text.parse::<f64>().is_err()
        && !matches!(text.to_ascii_lowercase().as_str(), "true" | "false" | "null" | "yes" | "no" | "y" | "n");
    if is_plain { text.to_owned() } else { escaped(text) }
}

/// In double quotes (YAML 1.2 section 7.3.1), with whatever is not printable escaped.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for char in text.chars() {
        match char {
            '"' => out += "\\\"",
            '\\' => out += "\\\\",
            '\n' => out += "\\n",
            '\t' => out += "\\t",
            '\u{feff}' | '\u{2028}' | '\u{2029}' => out += &format!("\\u{:04X}", u32::from(char)),
            char if char.is_control() => out += &format!("\\u{:04X}", u32::from(char)),
            char => out.push(char),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_quoted_where_it_could_be_something_else() {
        for plain in ["10.0.0.1:80", "10.0.0.1", "auto", "64KiB", "100/1m", "5%", "/a/b", "http://a:80", "off", "1h"] {
            assert_eq!(quoted(plain), plain);
        }
        let odd = [
            "",
            "1",
            "1.2",
            "1e5",
            ":8080",
            "a:",
            "true",
            "No",
            "null",
            "*",
            "/*",
            "- a",
            "a b",
            "a#b",
            "[x]",
            "{",
            "${A}",
            "\"",
            "\\",
            "a\nb",
            "\u{7f}\u{85}\u{a0}",
            "ä",
            "\u{feff}",
            "0x1f",
            "1:30",
            "::1",
            "~",
            "nan",
            "-",
        ];
        for odd in odd {
            let yaml = quoted(odd);
            assert!(yaml.starts_with('"'), "{odd}: {yaml}");
            assert_eq!(serde_yaml::from_str::<Value>(&yaml).unwrap(), Value::String(odd.to_owned()), "{yaml}");
        }
    }
}
