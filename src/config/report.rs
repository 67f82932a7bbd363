//! What an operator reads: problems with their place, the line as written, and a hint.

use std::fmt;
use std::path::PathBuf;

use super::effective::secret::password_of_socket;
use crate::limits::CONFIG_ERRORS;

/// Characters of a shown line; longer lines are cut around the place in question.
const EXCERPT_CHARS: usize = 120;

/// How bad a problem is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The configuration is refused.
    Error,
    /// The configuration is taken, but probably not what was meant.
    Warning,
}

/// One problem of a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// The file as it was named, `None` when no file is at fault.
    pub file: Option<PathBuf>,
    /// Line in the file from 1; 0 when the whole file is meant.
    pub line: usize,
    /// Column in characters from 1; 0 when the whole file is meant.
    pub column: usize,
    /// What is wrong. Never shows a substituted value.
    pub message: String,
    /// What to do about it.
    pub note: Option<String>,
    /// The line as written, before substitution.
    pub excerpt: Option<Excerpt>,
}

/// A line of a file and the part of it that is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Excerpt {
    /// The line, cut when it is long, without control characters.
    pub text: String,
    /// Characters before the marked part.
    pub before: usize,
    /// Characters of the marked part, at least 1.
    pub width: usize,
}

impl Excerpt {
    /// Cuts a line around `width` characters at `column`, counted from 1. Passwords of URLs are not shown.
    pub(super) fn new(line: &str, column: usize, width: usize) -> Self {
        let line = &without_passwords(line);
        let printable = |c: char| if c.is_control() { ' ' } else { c };
        let start = column.saturating_sub(1);
        let length = line.chars().count();
        // A third of the room stands before the place, the rest behind it.
        let from = if length <= EXCERPT_CHARS { 0 } else { start.saturating_sub(EXCERPT_CHARS / 3) };
        let mut text: String = line.chars().skip(from).take(EXCERPT_CHARS).map(printable).collect();
        text.truncate(text.trim_end().len());
        let before = start - from;
        let room = EXCERPT_CHARS.saturating_sub(before).min(length.saturating_sub(start));
        Self { text, before, width: width.min(room).max(1) }
    }
}

/// A line with as many stars as the passwords of its URLs have characters: reports stand in logs and answers.
fn without_passwords(line: &str) -> String {
    let (mut shown, mut rest) = (String::with_capacity(line.len()), line);
    while let Some((before, behind)) = rest.split_once("://") {
        let end = url_end(before, behind);
        let (url, next) = behind.split_at(end);
        shown.extend([before, "://"]);
        let login = url.rsplit_once('@').and_then(|(login, host)| Some((login.split_once(':')?, host)));
        let (user, password, host) = match (password_of_socket(before, url), login) {
            (Some(at), _) => (&url[..at], &url[at..], ""),
            (None, Some(((user, password), host))) => {
                (&url[..=user.len()], password, &url[url.len() - host.len() - 1..])
            }
            (None, None) => (url, "", ""),
        };
        shown.push_str(user);
        shown.extend(password.chars().map(|_| '*'));
        shown.push_str(host);
        rest = next;
    }
    shown.push_str(rest);
    shown
}

/// Where a URL ends of which `before` ends with the scheme. A password that was not escaped may hold anything: in quotes the
/// URL goes on to the end of its scalar (YAML 1.2 sections 7.3.1 and 7.3.2), without any to the next space.
fn url_end(before: &str, behind: &str) -> usize {
    let outside = before.trim_end_matches(|c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'));
    let end = match outside.chars().next_back() {
        Some('"') => quote_end(behind, '"', '\\'),
        Some('\'') => quote_end(behind, '\'', '\''),
        Some(_) | None => behind.find(char::is_whitespace),
    };
    end.unwrap_or(behind.len())
}

/// Where the first `quote` is that no `escape` makes part of the text.
fn quote_end(text: &str, quote: char, escape: char) -> Option<usize> {
    let mut chars = text.char_indices().peekable();
    while let Some((at, char)) = chars.next() {
        let is_escape = char == escape && chars.peek().is_some_and(|(_, next)| escape != quote || *next == quote);
        if is_escape {
            chars.next();
        } else if char == quote {
            return Some(at);
        }
    }
    None
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.severity {
            Severity::Error => "error: ",
            Severity::Warning => "warning: ",
        })?;
        if let Some(file) = &self.file {
            write!(f, "{}:", file.display())?;
            if self.line > 0 {
                write!(f, "{}:{}:", self.line, self.column)?;
            }
            f.write_str(" ")?;
        }
        writeln!(f, "{}", self.message)?;
        if let Some(excerpt) = &self.excerpt {
            writeln!(f, "{:>5} | {}", self.line, excerpt.text)?;
            writeln!(f, "      | {:before$}{:^<width$}", "", "", before = excerpt.before, width = excerpt.width)?;
        }
        match &self.note {
            Some(note) => writeln!(f, "      = {note}"),
            None => Ok(()),
        }
    }
}

/// All problems of a configuration, sorted by file and line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The problems themselves, at most [`CONFIG_ERRORS`].
    pub problems: Vec<Problem>,
    /// How many errors there are, shown or not.
    pub errors: usize,
    /// How many warnings there are, shown or not.
    pub warnings: usize,
    /// Whether all of the configuration was looked at; otherwise there may be more errors.
    pub is_complete: bool,
}

impl Report {
    /// Keeps the first problems and counts all, `uncounted` errors included that are not in the list.
    pub(super) fn new(mut problems: Vec<Problem>, uncounted: usize) -> Self {
        let errors = problems.iter().filter(|problem| problem.severity == Severity::Error).count();
        let warnings = problems.len() - errors;
        problems.truncate(CONFIG_ERRORS);
        Self { problems, errors: errors + uncounted, warnings, is_complete: true }
    }

    /// A report of one error that no file is to blame for.
    pub(super) fn of(file: Option<PathBuf>, message: String, note: Option<String>) -> Self {
        let problem = Problem { severity: Severity::Error, file, line: 0, column: 0, message, note, excerpt: None };
        Self::new(vec![problem], 0)
    }

    /// Whether there is nothing to report.
    pub fn is_empty(&self) -> bool {
        self.errors == 0 && self.warnings == 0
    }
}

impl fmt::Display for Report {
    /// Every problem with its excerpt, then a line that counts them; nothing at all when there is nothing to report.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return Ok(());
        }
        for problem in &self.problems {
            problem.fmt(f)?;
        }
        let count = |number: usize, word: &str| format!("{number} {word}{}", if number == 1 { "" } else { "s" });
        let counts: Vec<String> = [(self.errors, "error"), (self.warnings, "warning")]
            .into_iter()
            .filter(|(number, _)| *number > 0)
            .map(|(number, word)| count(number, word))
            .collect();
        f.write_str(if self.is_complete { "" } else { "at least " })?;
        f.write_str(&counts.join(", "))?;
        if self.errors + self.warnings > self.problems.len() {
            write!(f, ", the first {} are shown", self.problems.len())?;
        }
        f.write_str("\n")
    }
}

impl Default for Report {
    fn default() -> Self {
        Self::new(Vec::new(), 0)
    }
}

impl std::error::Error for Report {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_prints_its_place_its_line_and_its_hint() {
        let problem = Problem {
            severity: Severity::Error,
            file: Some(PathBuf::from("gateway.yaml")),
            line: 14,
            column: 7,
            message: "unknown key `adress` in listener `web`".to_owned(),
            note: Some("did you mean `address`?".to_owned()),
            excerpt: Some(Excerpt::new("      adress: 127.0.0.1:8080", 7, 6)),
        };
        assert_eq!(
            problem.to_string(),
            "error: gateway.yaml:14:7: unknown key `adress` in listener `web`\n   14 |       adress: 127.0.0.1:8080\n      |       ^^^^^^\n      = did you mean `address`?\n"
        );
    }

    #[test]
    fn a_long_line_is_cut_around_the_place() {
        let line = format!("{}here{}", "x".repeat(5000), "y".repeat(5000));
        let excerpt = Excerpt::new(&line, 5001, 4);
        assert_eq!(excerpt.text.chars().skip(excerpt.before).take(excerpt.width).collect::<String>(), "here");
        assert!(excerpt.text.len() <= EXCERPT_CHARS);
        assert_eq!(Excerpt::new("a\tb\u{1b}[0m", 1, 1).text, "a b [0m");
        assert_eq!(Excerpt::new("ab", 9, 3).width, 1);
    }

    #[test]
    fn the_password_of_a_url_is_not_shown() {
        for (line, shown) in [
            ("redis: 'redis://user:p\u{e4}ss/w?rd#@h:1/0'", "redis: 'redis://user:**********@h:1/0'"),
            ("[http://a:80/b, redis://:secret@h, http://c]", "[http://a:80/b, redis://:******@h, http://c]"),
            ("url: http://user@host:80/", "url: http://user@host:80/"),
            ("url: http://host:80/", "url: http://host:80/"),
            ("a: b", "a: b"),
            ("url: ://:x@", "url: ://:*@"),
            (r#"url: "redis://u:pa'ss@h:x""#, r#"url: "redis://u:*****@h:x""#),
            (r#"url: "redis://u:pa ss\"@h", at: b@c"#, r#"url: "redis://u:*******@h", at: b@c"#),
            (
                "['http://a:80/b', 'redis://:it''s@h', 'http://c:1']",
                "['http://a:80/b', 'redis://:*****@h', 'http://c:1']",
            ),
            ("url: redis://:a'b\"c@h, at: b@c", "url: redis://:*****@h, at: b@c"),
            ("{ redis: 'unix:///r?pass=a:b@c', mode: exact }", "{ redis: 'unix:///r?pass=*****', mode: exact }"),
            ("url: unix:///r?db=1&pass=a&user=b # c", "url: unix:///r?db=1&pass=******** # c"),
            ("url: unix:///r?db=1 # pass=a", "url: unix:///r?db=1 # pass=a"),
            ("url: 'redis://:never closed@h", "url: 'redis://:************@h"),
        ] {
            assert_eq!(Excerpt::new(line, 1, 1).text, shown);
        }
        let cut = Excerpt::new(&format!("{}redis://:secret@h", "x".repeat(5000)), 5010, 1);
        assert!(cut.text.ends_with("://:******@h") && cut.text.chars().count() <= EXCERPT_CHARS, "{cut:?}");
    }

    #[test]
    fn what_is_not_shown_is_counted() {
        let one = Report::of(None, "it is wrong".to_owned(), None);
        assert_eq!(one.to_string(), "error: it is wrong\n1 error\n");
        let many = Report::new(vec![one.problems[0].clone(); CONFIG_ERRORS + 1], 7);
        assert!(many.to_string().ends_with("58 errors, the first 50 are shown\n"));
        assert_eq!(Report::default().to_string(), "");
    }
}
