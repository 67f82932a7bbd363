//! A Rust file as a flat list of tokens with lines, which is all the rules need and survives macros.

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use std::collections::BTreeSet;

/// What a token is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// A word: identifier, keyword or the name of a lifetime.
    Word,
    /// One character of an operator.
    Punct,
    /// A string, a number, a character.
    Literal,
    /// An opening bracket; `close` is the index of its mate.
    Open,
    /// A closing bracket.
    Close,
}

/// One token.
#[derive(Clone, Debug)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    pub(crate) text: String,
    /// Line it begins on, from 1.
    pub(crate) line: usize,
    /// Line it ends on.
    pub(crate) end_line: usize,
    /// For an opening bracket: the index of its mate. Otherwise its own index.
    pub(crate) close: usize,
    /// Inside an item that only test builds contain.
    pub(crate) in_test: bool,
    /// Inside `#[...]`.
    pub(crate) in_attribute: bool,
}

/// One parsed file.
pub(crate) struct Source {
    /// Path relative to the root, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
    /// Every token but comments and documentation.
    pub(crate) tokens: Vec<Token>,
    /// Lines that hold a token: the code lines.
    pub(crate) code_lines: BTreeSet<usize>,
}

/// A function with a body.
pub(crate) struct Function<'a> {
    pub(crate) name: &'a str,
    pub(crate) line: usize,
    pub(crate) code_lines: usize,
    pub(crate) in_test: bool,
}

impl Source {
    /// Parses `text`; the error names file and place.
    pub(crate) fn parse(path: &str, text: &str) -> Result<Self, String> {
        let stream: TokenStream = text.parse().map_err(|error| format!("{path}: {error}"))?;
        let mut tokens = Vec::new();
        flatten(stream, false, &mut tokens);
        let whole_file_is_test = path.ends_with("/tests.rs") || path.contains("/tests/");
        mark_tests(&mut tokens, whole_file_is_test);
        let code_lines = tokens.iter().flat_map(|token| token.line..=token.end_line).collect();
        Ok(Self { path: path.to_owned(), text: text.to_owned(), tokens, code_lines })
    }

    /// The room: first part of the path below `src`, without its ending (`main` and `lib` for the roots).
    pub(crate) fn room(&self) -> &str {
        let below = self.path.strip_prefix("src/").unwrap_or(&self.path);
        below.split('/').next().unwrap_or(below).trim_end_matches(".rs")
    }

    /// The module path of the file below the crate root; empty for the roots.
    pub(crate) fn module(&self) -> Vec<&str> {
        let below = self.path.strip_prefix("src/").unwrap_or(&self.path).trim_end_matches(".rs");
        below.split('/').filter(|part| !matches!(*part, "mod" | "main" | "lib")).collect()
    }

    /// A problem at `line`, as the messages print it.
    pub(crate) fn at(&self, line: usize, problem: impl std::fmt::Display) -> String {
        format!("{}:{line}: {problem}", self.path)
    }

    /// The text of token `index`, empty past the end.
    pub(crate) fn text_of(&self, index: usize) -> &str {
        self.tokens.get(index).map_or("", |token| token.text.as_str())
    }

    /// Whether the tokens from `index` on read exactly `texts`.
    pub(crate) fn reads(&self, index: usize, texts: &[&str]) -> bool {
        texts.iter().enumerate().all(|(offset, text)| self.text_of(index + offset) == *text)
    }

    /// Whether a path continues into token `index`: `::` stands before it, with a name or `<...>` before that.
    pub(crate) fn follows_path(&self, index: usize) -> bool {
        if index < 3 || !self.reads(index - 2, &[":", ":"]) {
            return false;
        }
        let before = &self.tokens[index - 3];
        match before.kind {
            // `use ::name` begins a path, it does not continue one.
            Kind::Word => !matches!(
                before.text.as_str(),
                "use" | "in" | "as" | "return" | "match" | "if" | "else" | "mut" | "dyn" | "impl"
            ),
            Kind::Punct => before.text == ">",
            Kind::Literal | Kind::Open | Kind::Close => false,
        }
    }

    /// The words of the file with their index.
    pub(crate) fn words(&self) -> impl Iterator<Item = (usize, &Token)> {
        self.tokens.iter().enumerate().filter(|(_, token)| token.kind == Kind::Word)
    }

    /// Every function with a body.
    pub(crate) fn functions(&self) -> Vec<Function<'_>> {
        let mut found = Vec::new();
        for (index, token) in self.words() {
            let Some(name) = self.tokens.get(index + 1).filter(|next| token.text == "fn" && next.kind == Kind::Word)
            else {
                continue;
            };
            let Some(body) = self.body(index + 2) else { continue };
            let last = self.tokens[self.tokens[body].close].line;
            found.push(Function {
                name: &name.text,
                line: token.line,
                code_lines: self.code_lines.range(token.line..=last).count(),
                in_test: token.in_test,
            });
        }
        found
    }

    /// The index of the `{` that begins the body of the item whose head goes on at `index`; `None` when it ends in `;`.
    pub(crate) fn body(&self, mut index: usize) -> Option<usize> {
        while let Some(token) = self.tokens.get(index) {
            match (token.kind, token.text.as_str()) {
                (Kind::Open, "{") => return Some(index),
                (Kind::Open, _) => index = token.close + 1,
                (Kind::Punct, ";") | (Kind::Close, _) => return None,
                _ => index += 1,
            }
        }
        None
    }
}

/// Appends the tokens of `stream`, documentation left out.
fn flatten(stream: TokenStream, in_attribute: bool, into: &mut Vec<Token>) {
    let trees: Vec<TokenTree> = stream.into_iter().collect();
    let mut index = 0;
    while index < trees.len() {
        if let Some(length) = documentation(&trees[index..]) {
            index += length;
            continue;
        }
        let span = trees[index].span();
        let (line, end_line) = (span.start().line, span.end().line);
        let kind = match &trees[index] {
            TokenTree::Group(group) => {
                let attribute = in_attribute || begins_attribute(&trees[..index]);
                let (open, close) = match group.delimiter() {
                    Delimiter::Parenthesis => ("(", ")"),
                    Delimiter::Brace => ("{", "}"),
                    Delimiter::Bracket => ("[", "]"),
                    Delimiter::None => ("", ""),
                };
                let at = into.len();
                into.push(token(Kind::Open, open, (group.span_open().start().line, line), attribute));
                into[at].end_line = into[at].line;
                flatten(group.stream(), attribute, into);
                let last = group.span_close().start().line;
                into[at].close = into.len();
                into.push(token(Kind::Close, close, (last, last), attribute));
                index += 1;
                continue;
            }
            TokenTree::Ident(_) => Kind::Word,
            TokenTree::Punct(_) => Kind::Punct,
            TokenTree::Literal(_) => Kind::Literal,
        };
        into.push(token(kind, &trees[index].to_string(), (line, end_line), in_attribute));
        index += 1;
    }
}

fn token(kind: Kind, text: &str, (line, end_line): (usize, usize), in_attribute: bool) -> Token {
    Token { kind, text: text.to_owned(), line, end_line, close: 0, in_test: false, in_attribute }
}

/// Number of trees of a documentation attribute at the front, which is what a `///` or `//!` comment parses to.
fn documentation(trees: &[TokenTree]) -> Option<usize> {
    let punct =
        |tree: Option<&TokenTree>, wanted: char| matches!(tree, Some(TokenTree::Punct(p)) if p.as_char() == wanted);
    if !punct(trees.first(), '#') {
        return None;
    }
    let at = if punct(trees.get(1), '!') { 2 } else { 1 };
    let Some(TokenTree::Group(group)) = trees.get(at) else { return None };
    let inner: Vec<TokenTree> = group.stream().into_iter().take(2).collect();
    let is_doc = matches!(inner.first(), Some(TokenTree::Ident(word)) if *word == "doc") && punct(inner.get(1), '=');
    is_doc.then_some(at + 1)
}

/// Whether the trees before a bracket group are `#` or `#!`.
fn begins_attribute(before: &[TokenTree]) -> bool {
    let texts: Vec<String> = before.iter().rev().take(2).map(ToString::to_string).collect();
    match texts.as_slice() {
        [first, second] => first == "#" || first == "!" && second == "#",
        [first] => first == "#",
        _ => false,
    }
}

/// Marks the items behind `#[cfg(test)]` and `#[test]`, and the mates of closing brackets.
fn mark_tests(tokens: &mut [Token], whole_file: bool) {
    for token in tokens.iter_mut() {
        token.in_test = whole_file;
    }
    let mut index = 0;
    while index + 1 < tokens.len() {
        let attribute =
            tokens[index].text == "#" && tokens[index + 1].text == "[" && tokens[index + 1].kind == Kind::Open;
        if !attribute {
            index += 1;
            continue;
        }
        let close = tokens[index + 1].close;
        let words: Vec<&str> =
            tokens[index + 1..close].iter().filter(|t| t.kind == Kind::Word).map(|t| t.text.as_str()).collect();
        let only_in_tests = match words.as_slice() {
            ["cfg", rest @ ..] => rest.contains(&"test") && !rest.contains(&"not"),
            path => path.last() == Some(&"test") && path.first() != Some(&"cfg_attr"),
        };
        if only_in_tests {
            let end = item_end(tokens, close + 1);
            for token in &mut tokens[index..=end] {
                token.in_test = true;
            }
        }
        index = close + 1;
    }
}

/// The index of the last token of the item that begins at `index`, attributes of its own included.
fn item_end(tokens: &[Token], mut index: usize) -> usize {
    while let Some(token) = tokens.get(index) {
        match (token.kind, token.text.as_str()) {
            (Kind::Open, "{") => return token.close,
            (Kind::Open, _) => index = token.close + 1,
            (Kind::Punct, ";") => return index,
            (Kind::Close, _) => return index - 1,
            _ => index += 1,
        }
    }
    tokens.len() - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Source {
        Source::parse("src/http1/head.rs", text).expect("sample parses")
    }

    #[test]
    fn comments_documentation_and_blank_lines_are_no_code() {
        let source = parse("//! Head.\n\n/// Doc.\n// note\nfn a() {\n    /* b */\n    let x = \"1\n2\";\n}\n");
        assert_eq!(source.code_lines.iter().copied().collect::<Vec<_>>(), [5, 7, 8, 9]);
    }

    #[test]
    fn functions_are_found_with_their_size() {
        let source =
            parse("trait T { fn without(&self); }\nfn long() -> [u8; 2] {\n\n    [1, 2]\n}\ntype F = fn(u8);\n");
        let found: Vec<_> = source.functions().iter().map(|f| (f.name.to_owned(), f.line, f.code_lines)).collect();
        assert_eq!(found, [("long".to_owned(), 2, 3)]);
    }

    #[test]
    fn test_items_are_told_from_the_rest() {
        let source = parse(
            "fn a() {}\n#[cfg(test)]\nmod tests {\n    fn b() {}\n}\n#[cfg(not(test))]\nfn c() {}\n#[cfg_attr(test, x)]\nfn d() {}\n",
        );
        let found: Vec<_> = source.functions().iter().map(|f| (f.name.to_owned(), f.in_test)).collect();
        assert_eq!(
            found,
            [("a".to_owned(), false), ("b".to_owned(), true), ("c".to_owned(), false), ("d".to_owned(), false)]
        );
        assert!(Source::parse("src/http1/head/tests.rs", "fn a() {}").expect("sample parses").functions()[0].in_test);
    }

    #[test]
    fn rooms_and_modules_come_from_the_path() {
        let room = |path: &str| {
            let source = Source::parse(path, "").expect("empty parses");
            (source.room().to_owned(), source.module().join("::"))
        };
        assert_eq!(room("src/clock.rs"), ("clock".to_owned(), "clock".to_owned()));
        assert_eq!(room("src/http1/mod.rs"), ("http1".to_owned(), "http1".to_owned()));
        assert_eq!(room("src/http1/head/tests.rs"), ("http1".to_owned(), "http1::head::tests".to_owned()));
        assert_eq!(room("src/main.rs"), ("main".to_owned(), String::new()));
    }
}
