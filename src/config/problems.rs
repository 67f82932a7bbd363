//! Problems while they are collected: with a place instead of a line.

use std::borrow::Cow;
use std::path::PathBuf;

use rustc_hash::FxHashSet;

use super::locate::{Index, Part, Spot};
use super::place::Place;
use super::report::{Excerpt, Problem, Report, Severity};
use crate::limits::CONFIG_ERRORS;

/// Problems that are kept until they are sorted; further ones are only counted.
const KEPT: usize = 20 * CONFIG_ERRORS;

/// A file that has been read.
#[derive(Debug)]
pub(super) struct SourceFile {
    /// As it is named in reports; `None` for the built-in text of a start without a file.
    pub(super) shown: Option<PathBuf>,
    pub(super) text: String,
}

/// Which words end a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Subject {
    /// The value at the place.
    Own,
    /// What holds the value.
    Container,
    /// The message says it all.
    Nothing,
}

#[derive(Debug)]
pub(super) struct Pending {
    severity: Severity,
    place: Place,
    part: Part,
    subject: Subject,
    message: String,
    note: Option<String>,
    other: Option<Place>,
    spot: Option<Spot>,
}

impl Pending {
    pub(super) fn error(place: Place, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            place,
            part: Part::Value,
            subject: Subject::Own,
            message: message.into(),
            note: None,
            other: None,
            spot: None,
        }
    }

    pub(super) fn warning(place: Place, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(place, message) }
    }

    /// Whether its place is known without a look at the text.
    fn is_placed(&self) -> bool {
        self.spot.is_some() && self.subject == Subject::Nothing
    }

    /// Points at the key, and names what holds it.
    pub(super) fn at_key(self) -> Self {
        Self { part: Part::Key, subject: Subject::Container, ..self }
    }

    /// Points at the key, and names the value.
    pub(super) fn at_own_key(self) -> Self {
        Self { part: Part::Key, ..self }
    }

    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    pub(super) fn into_place(self) -> Place {
        self.place
    }

    pub(super) fn subject(self, subject: Subject) -> Self {
        Self { subject, ..self }
    }

    pub(super) fn note(self, note: Option<String>) -> Self {
        Self { note, ..self }
    }

    /// Points to a second place, in a note.
    pub(super) fn other(self, other: Place) -> Self {
        Self { other: Some(other), ..self }
    }

    /// The spot itself, when the parser already told it.
    pub(super) fn spot(self, spot: Spot) -> Self {
        Self { spot: Some(spot), ..self }
    }
}

/// All problems found so far.
#[derive(Debug, Default)]
pub(super) struct Problems {
    pending: Vec<Pending>,
    uncounted: usize,
    has_errors: bool,
    is_incomplete: bool,
    /// Places whose content was refused: what is missing there is no news.
    broken: FxHashSet<Place>,
    /// Secrets that were written where everybody can read them; no message shows them once more.
    hidden: Vec<String>,
}

impl Problems {
    pub(super) fn push(&mut self, problem: Pending) {
        self.has_errors |= problem.severity == Severity::Error;
        if self.pending.len() < KEPT {
            self.pending.push(problem);
        } else if problem.severity == Severity::Error {
            self.uncounted += 1;
        }
    }

    pub(super) fn has_errors(&self) -> bool {
        self.has_errors
    }

    /// Whether a suggestion is still worth its search.
    pub(super) fn are_few(&self) -> bool {
        self.pending.len() < CONFIG_ERRORS
    }

    /// What is missing at a place is no news, because something there was refused.
    pub(super) fn mark_broken(&mut self, place: Place) {
        self.broken.insert(place);
    }

    /// There may be more errors than those that were recorded.
    pub(super) fn give_up(&mut self, place: Place) {
        self.broken.insert(place);
        self.is_incomplete = true;
    }

    pub(super) fn is_broken(&self, place: &Place) -> bool {
        self.broken.contains(place)
    }

    /// Shows asterisks instead of this text.
    pub(super) fn hide(&mut self, secret: &str) {
        if !secret.is_empty() {
            self.hidden.push(secret.to_owned());
        }
    }

    /// Finds every place and sorts by file, line and column.
    pub(super) fn into_report(self, files: &[SourceFile]) -> Report {
        let mut indices: Vec<Option<Index>> = files.iter().map(|_| None).collect();
        let mut located: Vec<(usize, Problem)> = self
            .pending
            .into_iter()
            .map(|pending| {
                let own = (!pending.is_placed()).then_some(&pending.place);
                for place in [own, pending.other.as_ref()].into_iter().flatten() {
                    indices[place.file].get_or_insert_with(|| Index::new(&files[place.file].text));
                }
                (pending.place.file, locate(pending, files, &indices))
            })
            .collect();
        located.sort_by(|(file, a), (other, b)| (file, a.line, a.column).cmp(&(other, b.line, b.column)));
        located.dedup();
        show_lines(&mut located, files, &self.hidden);
        let problems = located.into_iter().map(|(_, problem)| problem).collect();
        Report { is_complete: !self.is_incomplete, ..Report::new(problems, self.uncounted) }
    }
}

/// Turns places into lines and words.
fn locate(pending: Pending, files: &[SourceFile], indices: &[Option<Index>]) -> Problem {
    // A problem that brings its spot and needs no words needs no index either: the text may be hard to read.
    let index = indices[pending.place.file].as_ref();
    let shown = files[pending.place.file].shown.clone();
    let found = || index.map(|index| index.spot(&pending.place.steps, pending.part).0);
    let spot = pending.spot.or_else(found).unwrap_or(Spot { line: 1, column: 1, width: 1 });
    let route_name = |route| index?.route_name(route);
    let phrase = match pending.subject {
        Subject::Own => pending.place.phrase(route_name),
        Subject::Container => pending.place.parent().phrase(route_name),
        Subject::Nothing => String::new(),
    };
    let other = pending.other.and_then(|other| {
        let spot = indices[other.file].as_ref()?.spot(&other.steps, Part::Key).0;
        let file = files[other.file].shown.as_ref()?;
        Some(format!("the other one is at {}:{}:{}", file.display(), spot.line, spot.column))
    });
    let has_lines = shown.is_some();
    Problem {
        severity: pending.severity,
        line: if has_lines { spot.line } else { 0 },
        column: if has_lines { spot.column } else { 0 },
        message: pending.message + &phrase,
        note: other.or(pending.note),
        excerpt: has_lines.then(|| Excerpt { text: String::new(), before: 0, width: spot.width }),
        file: shown,
    }
}

/// Fills in the lines of the problems that will be shown, in one pass over each text.
fn show_lines(located: &mut [(usize, Problem)], files: &[SourceFile], hidden: &[String]) {
    let mut file = usize::MAX;
    let mut lines = "".split('\n').enumerate().peekable();
    for (at, problem) in located.iter_mut().take(CONFIG_ERRORS) {
        let Some(excerpt) = &mut problem.excerpt else { continue };
        if *at != file {
            file = *at;
            lines = files[file].text.split('\n').enumerate().peekable();
        }
        while lines.next_if(|(number, _)| number + 1 < problem.line).is_some() {}
        let line =
            lines.peek().filter(|(number, _)| number + 1 == problem.line).map(|(_, line)| line.trim_end_matches('\r'));
        let line = line.map(|line| without(line, hidden));
        let excerpt = line.map(|line| Excerpt::new(&line, problem.column, excerpt.width));
        problem.excerpt = excerpt.filter(|excerpt| !excerpt.text.is_empty());
    }
}

/// A line with asterisks in the place of secrets, as many as they have characters.
fn without<'a>(line: &'a str, hidden: &[String]) -> Cow<'a, str> {
    let mut line = Cow::Borrowed(line);
    for secret in hidden {
        if line.contains(secret) {
            line = Cow::Owned(line.replace(secret, &"*".repeat(secret.chars().count())));
        }
    }
    line
}
