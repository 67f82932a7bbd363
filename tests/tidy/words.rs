//! Words that say nothing, kept out of our own identifiers; names of other crates are theirs.

use crate::source::{Source, Token};
use std::collections::BTreeSet;

/// Banned as a whole word of an identifier.
const WORDS: [&str; 14] = [
    "manager", "managers", "helper", "helpers", "util", "utils", "common", "misc", "context", "contexts", "ctx",
    "data", "info", "infos",
];
/// Fields of structs of other crates that can only be made by naming them.
const FOREIGN_FIELDS: [&str; 1] = ["span_context"];
/// Banned at the front of a snake_case identifier.
const PREFIXES: [&str; 4] = ["process_", "handle_", "do_", "get_"];

/// Identifiers of `source` that use a banned word.
pub(crate) fn problems(source: &Source) -> Vec<String> {
    let foreign = foreign_names(source);
    let mut problems = Vec::new();
    for (index, token) in source.words() {
        let is_field = FOREIGN_FIELDS.contains(&token.text.as_str()) && source.text_of(index + 1) == ":";
        if is_field || foreign.contains(token.text.as_str()) || is_foreign(source, index, token) {
            continue;
        }
        // A test is named by a sentence, which may be about data or begin with a method.
        if token.in_test && index >= 1 && source.text_of(index - 1) == "fn" {
            continue;
        }
        if let Some(word) = banned(&token.text) {
            problems.push(source.at(token.line, format!("`{}` uses `{word}`: say what it is", token.text)));
        }
    }
    problems
}

/// Whether another crate chose the name: a path's tail, a member, a macro, the inside of an attribute.
fn is_foreign(source: &Source, index: usize, token: &Token) -> bool {
    let before = if index == 0 { "" } else { source.text_of(index - 1) };
    let is_member = before == "." && !(index >= 2 && source.text_of(index - 2) == ".");
    token.in_attribute
        || is_member
        || source.follows_path(index)
        || source.text_of(index + 1) == "!" && source.text_of(index + 2) != "="
}

/// The names that `use` brings in from other crates, new names behind `as` left out.
fn foreign_names(source: &Source) -> BTreeSet<&str> {
    let mut names = BTreeSet::new();
    for (index, token) in source.words() {
        if token.text != "use" || matches!(source.text_of(index + 1), "crate" | "self" | "super") {
            continue;
        }
        let end = (index..source.tokens.len()).find(|at| source.text_of(*at) == ";").unwrap_or(source.tokens.len());
        names.extend((index + 1..end).filter(|at| source.text_of(at - 1) != "as").map(|at| source.text_of(at)));
    }
    names
}

/// The banned word that `name` contains.
fn banned(name: &str) -> Option<&'static str> {
    let snake = name.chars().all(|c| !c.is_ascii_uppercase());
    if let Some(prefix) = PREFIXES.iter().find(|prefix| snake && name.starts_with(**prefix)) {
        return Some(prefix);
    }
    parts(name).iter().find_map(|part| WORDS.iter().find(|word| part == *word).copied())
}

/// The words of an identifier in lower case: at underscores, and where a capital follows a small letter.
fn parts(name: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut after_small = false;
    for c in name.chars() {
        if c == '_' || c.is_ascii_uppercase() && after_small {
            parts.push(String::new());
        }
        after_small = c.is_ascii_lowercase() || c.is_ascii_digit();
        if c != '_' {
            parts.last_mut().expect("one part is always there").push(c.to_ascii_lowercase());
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(text: &str) -> usize {
        problems(&Source::parse("src/http1/head.rs", text).expect("sample parses")).len()
    }

    #[test]
    fn banned_words_are_found_wherever_we_choose_the_name() {
        for text in [
            "struct PoolManager;",
            "enum Kind { RequestInfo }",
            "fn get_head() {}",
            "fn f(data: &[u8]) {}",
            "struct S { ctx: u8 }",
            "const DATA_MAX: u8 = 1;",
            "mod util {}",
            "use crate::head as data;",
            "use bytes::Bytes as Data;",
            "fn f() { let info = 1; }",
            "fn f() { g(|data| 1); }",
            "fn f<'ctx>() {}",
            "mod tests { fn helper() {} }",
        ] {
            assert_eq!(count(text), 1, "{text}");
        }
    }

    #[test]
    fn words_that_only_contain_a_banned_one_pass() {
        assert_eq!(
            count(
                "struct Metadata; fn getrandom() {} fn forget_it() {} fn get() {} mod information {} const GET_: u8 = 1;"
            ),
            0
        );
    }

    #[test]
    fn names_of_other_crates_pass() {
        let text = "use std::task::{Context, Poll};\nuse tracing::info;\n#[serde(data)]\nstruct S;\n\
                    fn f(c: &mut Context<'_>) { info!(\"a\"); x.get_ref().data; io::util::copy(); }";
        assert_eq!(count(text), 0);
    }

    #[test]
    fn ranges_and_comparisons_do_not_hide_a_name() {
        assert_eq!(count("fn f() { a(0..data); }"), 1);
        assert_eq!(count("fn f() { if data != 1 {} }"), 1);
    }

    #[test]
    fn sentences_of_tests_may_use_any_word() {
        assert_eq!(count("#[cfg(test)] mod tests { #[test] fn get_with_a_body_keeps_data() {} }"), 0);
        assert_eq!(count("#[cfg(test)] mod tests { #[test] fn t() { let data = 1; } }"), 1);
    }
}
