//! Where in the text a place is. Built only when there is something to report.

use rustc_hash::FxHashMap;
use saphyr_parser::{Event, Parser, Span};

use super::place::Step;

/// A stretch of one line: line and column from 1, width in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Spot {
    pub(super) line: usize,
    pub(super) column: usize,
    pub(super) width: usize,
}

impl Spot {
    /// The part of a span that stands on its first line, or one character when it goes on to the next.
    fn of(span: Span) -> Self {
        let one_line = span.start.line() == span.end.line();
        let width = if one_line { span.end.col().saturating_sub(span.start.col()).max(1) } else { 1 };
        Self { line: span.start.line(), column: span.start.col() + 1, width }
    }
}

/// Whether the key or the value of a place is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Key,
    Value,
}

#[derive(Debug)]
struct Node {
    /// The key before it, for entries of mappings.
    key: Option<Spot>,
    /// `None` for a value that is not there at all.
    value: Option<Spot>,
    children: FxHashMap<Step, usize>,
    /// Its text, when its key is `name`.
    text: Option<String>,
}

/// A key that its mapping had already.
#[derive(Debug)]
pub(super) struct Duplicate {
    pub(super) key: String,
    pub(super) first: Spot,
    pub(super) again: Spot,
}

/// Every place of one text.
#[derive(Debug, Default)]
pub(super) struct Index {
    nodes: Vec<Node>,
    pub(super) duplicates: Vec<Duplicate>,
    /// Where values carry a tag such as `!include`.
    pub(super) tags: Vec<Spot>,
}

/// A list or mapping whose end has not been seen.
#[derive(Debug)]
enum Open {
    List {
        node: usize,
        next: usize,
    },
    Mapping {
        node: usize,
        key: Option<(String, Spot)>,
    },
    /// A list or mapping used as a key: nothing in it has a place.
    Key {
        depth: usize,
    },
}

#[derive(Default)]
struct Builder {
    index: Index,
    open: Vec<Open>,
    anchors: FxHashMap<usize, usize>,
}

impl Builder {
    /// Takes a node into the innermost open list or mapping; `None` when it is (part of) a key there.
    fn attach(&mut self, value: Option<Spot>, text: Option<&str>, existing: Option<usize>) -> Option<usize> {
        let (parent, step, key) = match self.open.last_mut() {
            None if !self.index.nodes.is_empty() => return None,
            None => return Some(self.push(None, value, None)),
            Some(Open::Key { .. }) => return None,
            Some(Open::List { node, next }) => {
                *next += 1;
                (*node, Step::Index(*next - 1), None)
            }
            Some(Open::Mapping { key: key @ None, .. }) => {
                if let (Some(text), Some(spot)) = (text, value) {
                    *key = Some((text.to_owned(), spot));
                }
                return None;
            }
            Some(Open::Mapping { node, key }) => {
                let (text, spot) = key.take()?;
                (*node, Step::Key(text), Some(spot))
            }
        };
        let kept = text.filter(|_| step == Step::Key("name".to_owned())).map(str::to_owned);
        let child = match existing {
            // What an alias stands for has its places where the anchor is.
            Some(target) => {
                let children = self.index.nodes[target].children.clone();
                let child = self.push(key, value, kept);
                self.index.nodes[child].children = children;
                child
            }
            None => self.push(key, value, kept),
        };
        if let (Some(first), Step::Key(name), Some(again)) = (self.index.nodes[parent].children.get(&step), &step, key)
        {
            let first = self.index.nodes[*first].key.unwrap_or(again);
            self.index.duplicates.push(Duplicate { key: name.clone(), first, again });
        } else {
            self.index.nodes[parent].children.insert(step, child);
        }
        Some(child)
    }

    fn push(&mut self, key: Option<Spot>, value: Option<Spot>, text: Option<String>) -> usize {
        self.index.nodes.push(Node { key, value, children: FxHashMap::default(), text });
        self.index.nodes.len() - 1
    }

    /// Opens a list or mapping.
    fn open(&mut self, span: Span, anchor: usize, open: impl FnOnce(usize) -> Open) {
        if let Some(Open::Key { depth }) = self.open.last_mut() {
            *depth += 1;
            return;
        }
        match self.attach(Some(Spot::of(span)), None, None) {
            Some(node) => {
                self.anchors.insert(anchor, node);
                self.open.push(open(node));
            }
            None => self.open.push(Open::Key { depth: 0 }),
        }
    }

    fn close(&mut self, span: Span) {
        match self.open.last_mut() {
            Some(Open::Key { depth: depth @ 1.. }) => *depth -= 1,
            Some(Open::Key { .. }) => {
                self.open.pop();
                if let Some(Open::Mapping { key, .. }) = self.open.last_mut() {
                    *key = Some((String::new(), Spot::of(span)));
                }
            }
            Some(Open::List { node, .. } | Open::Mapping { node, .. }) => {
                // A flow collection on one line is marked as a whole, up to its bracket, whose span may run on into the
                // space behind it; a block one has an end without width and is marked at its first character.
                if let Some(spot) = &mut self.index.nodes[*node].value {
                    let bracket = span.start;
                    if bracket.col() < span.end.col() && bracket.line() == spot.line && bracket.col() + 2 > spot.column
                    {
                        spot.width = bracket.col() + 2 - spot.column;
                    }
                }
                self.open.pop();
            }
            None => {}
        }
    }
}

impl Index {
    /// Reads the text as far as it is YAML.
    pub(super) fn new(text: &str) -> Self {
        let mut builder = Builder::default();
        for event in Parser::new_from_str(text) {
            let Ok((event, span)) = event else { break };
            match event {
                Event::Alias(anchor) => {
                    let target = builder.anchors.get(&anchor).copied();
                    builder.attach(Some(Spot::of(span)), Some("*"), target);
                }
                Event::Scalar(text, _, anchor, tag) => {
                    if tag.is_some_and(|tag| !tag.is_yaml_core_schema()) {
                        builder.index.tags.push(Spot::of(span));
                    }
                    // An empty value of a mapping is best shown by its key.
                    let is_there = span.start != span.end || matches!(builder.open.last(), Some(Open::List { .. }));
                    if let Some(node) = builder.attach(is_there.then(|| Spot::of(span)), Some(&text), None) {
                        builder.anchors.insert(anchor, node);
                    }
                }
                Event::SequenceStart(anchor, tag) => {
                    if tag.is_some_and(|tag| !tag.is_yaml_core_schema()) {
                        builder.index.tags.push(Spot::of(span));
                    }
                    builder.open(span, anchor, |node| Open::List { node, next: 0 });
                }
                Event::MappingStart(anchor, tag) => {
                    if tag.is_some_and(|tag| !tag.is_yaml_core_schema()) {
                        builder.index.tags.push(Spot::of(span));
                    }
                    builder.open(span, anchor, |node| Open::Mapping { node, key: None });
                }
                Event::SequenceEnd | Event::MappingEnd => builder.close(span),
                Event::DocumentEnd => break,
                Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) => {}
            }
        }
        builder.index
    }

    /// The spot of the deepest part of the path that the text has, and whether that is all of it.
    pub(super) fn spot(&self, steps: &[Step], part: Part) -> (Spot, bool) {
        let start = Spot { line: 1, column: 1, width: 1 };
        let Some(mut node) = self.nodes.first() else { return (start, false) };
        let mut depth = 0;
        let mut best = node.value.unwrap_or(start);
        for step in steps {
            let Some(child) = node.children.get(step) else { break };
            node = &self.nodes[*child];
            depth += 1;
            best = match part {
                Part::Value if depth == steps.len() => node.value.or(node.key).unwrap_or(best),
                Part::Key | Part::Value => node.key.or(node.value).unwrap_or(best),
            };
        }
        (best, depth == steps.len())
    }

    /// The text of `name` in the route at an index.
    pub(super) fn route_name(&self, index: usize) -> Option<String> {
        let routes = self.child(0, &Step::Key("routes".to_owned()))?;
        let route = self.child(routes, &Step::Index(index))?;
        let name = self.child(route, &Step::Key("name".to_owned()))?;
        self.nodes[name].text.clone().filter(|text| !text.is_empty())
    }

    fn child(&self, node: usize, step: &Step) -> Option<usize> {
        self.nodes.get(node)?.children.get(step).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "version: 1\nroutes:\n  - name: one\n    match: { path: /a, methods: [GET, PUT] }\n  - &two\n    name: two\n    empty:\n  - *two\nversion: 2\ntagged: !x 1\n";

    fn key(name: &str) -> Step {
        Step::Key(name.to_owned())
    }

    fn at(steps: &[Step], part: Part) -> (usize, usize, usize) {
        let (spot, _) = Index::new(TEXT).spot(steps, part);
        (spot.line, spot.column, spot.width)
    }

    #[test]
    fn keys_and_values_have_their_line_and_column() {
        assert_eq!(at(&[key("version")], Part::Key), (1, 1, 7));
        assert_eq!(at(&[key("version")], Part::Value), (1, 10, 1));
        let methods = [key("routes"), Step::Index(0), key("match"), key("methods")];
        assert_eq!(at(&methods, Part::Key), (4, 24, 7));
        assert_eq!(at(&methods, Part::Value), (4, 33, 10));
        assert_eq!(
            at(&[key("routes"), Step::Index(0), key("match"), key("methods"), Step::Index(1)], Part::Value),
            (4, 39, 3)
        );
        assert_eq!(at(&[key("routes"), Step::Index(0)], Part::Value), (3, 5, 1));
    }

    #[test]
    fn a_missing_place_is_shown_at_what_holds_it() {
        assert_eq!(at(&[key("routes"), Step::Index(1), key("empty"), key("x")], Part::Value), (7, 5, 5));
        assert_eq!(at(&[key("nothing")], Part::Value), (1, 1, 1));
        assert!(!Index::new(TEXT).spot(&[key("nothing")], Part::Key).1);
    }

    #[test]
    fn an_alias_leads_to_its_anchor() {
        assert_eq!(at(&[key("routes"), Step::Index(2), key("name")], Part::Value), (6, 11, 3));
        assert_eq!(Index::new(TEXT).route_name(2).as_deref(), Some("two"));
    }

    #[test]
    fn duplicates_and_tags_are_noticed() {
        let index = Index::new(TEXT);
        assert_eq!(index.duplicates.len(), 1);
        assert_eq!((index.duplicates[0].first.line, index.duplicates[0].again.line), (1, 9));
        assert_eq!(index.tags.len(), 1);
    }

    #[test]
    fn text_that_is_not_yaml_makes_no_trouble() {
        for text in
            ["", "\t", "{", "[[[[", "a: b: c", "*x", "? [a, b]\n: c\nd: 1", "- - - -", "\"", "%", "&a *a", "{{}: 1}"]
        {
            let index = Index::new(text);
            index.spot(&[key("a"), Step::Index(0)], Part::Value);
            index.route_name(0);
        }
        assert_eq!(Index::new("? [a, [b]]\n: c\nd: 1").spot(&[key("d")], Part::Key).0.line, 3);
    }
}
