//! A YAML value to the types of `file`: all wrong keys and shapes at once.
//!
//! The straight way reads the text into the types. When it fails the text is read again piece by piece; what does not
//! fit a piece is recorded, cut out, and the piece is read again until it fits.

use std::collections::HashMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_path_to_error::Segment;
use serde_yaml::{Mapping, Value};

use super::file::{Document, Named};
use super::locate::{Index, Spot};
use super::place::{Place, Step};
use super::portions;
use super::problems::{Pending, Problems, Subject};
use super::text::{self, TextError};
use super::words;

/// Problems looked for in one piece, such as one route; a piece with more is given up.
const PIECE_PROBLEMS: usize = 64;

/// Reads one file; problems are recorded, and what is left of the file is returned unless it is no YAML mapping at all.
pub(super) fn read_document(source: &str, file: usize, problems: &mut Problems) -> Option<Document> {
    if let Err(error) = text::guard(source) {
        refuse_text(error, file, problems);
        return None;
    }
    if text::is_empty(source) {
        problems.push(Pending::error(Place::root(file), "the file is empty").subject(Subject::Nothing));
        return None;
    }
    let straight = || Document::deserialize(serde_yaml::Deserializer::from_str(source)).ok();
    portions::read(source).or_else(straight).or_else(|| read_pieces(source, file, problems))
}

/// Records why a file is no text or no YAML.
pub(super) fn refuse_text(error: TextError, file: usize, problems: &mut Problems) {
    let problem = Pending::error(Place::root(file), error.message).subject(Subject::Nothing).note(error.note);
    let start = Spot { line: 1, column: 1, width: 1 };
    problems.push(problem.spot(error.spot.unwrap_or(start)));
}

fn read_pieces(source: &str, file: usize, problems: &mut Problems) -> Option<Document> {
    let value = match text::parse(source) {
        Ok(value) => value,
        Err(error) => {
            refuse_text(error, file, problems);
            return None;
        }
    };
    report_oddities(source, file, problems);
    let root = Place::root(file);
    let mut top = match value {
        Value::Mapping(top) => top,
        other @ (Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::String(_)
        | Value::Sequence(_)
        | Value::Tagged(_)) => {
            let message = format!("expected a mapping at the top of the file, found {}", found(&other));
            problems.push(Pending::error(root, message).subject(Subject::Nothing));
            return None;
        }
    };
    let collections = ["listeners", "clusters", "routes"].map(|key| (key, top.remove(key)));
    let mut document: Document = fit(Value::Mapping(top), &root, problems);
    for (key, value) in collections {
        let place = root.child(Step::Key(key.to_owned()));
        match (key, value) {
            (_, None | Some(Value::Null)) => {}
            ("listeners", Some(value)) => document.listeners = fit_named(value, &place, problems),
            ("clusters", Some(value)) => document.clusters = fit_named(value, &place, problems),
            (_, Some(Value::Sequence(list))) => {
                let fit_one = |(index, value)| fit(value, &place.child(Step::Index(index)), problems);
                document.routes = Some(list.into_iter().enumerate().map(fit_one).collect());
            }
            (_, Some(other)) => wrong_shape("a list of routes", &other, place, problems),
        }
    }
    Some(document)
}

/// Records keys given twice and tags, which the value no longer shows.
fn report_oddities(source: &str, file: usize, problems: &mut Problems) {
    let index = Index::new(source);
    for duplicate in &index.duplicates {
        let problem = Pending::error(Place::root(file), format!("the key `{}` is given twice", duplicate.key));
        let note = format!("it is first given on line {}", duplicate.first.line);
        problems.push(problem.subject(Subject::Nothing).spot(duplicate.again).note(Some(note)));
    }
    for tag in &index.tags {
        let problem = Pending::error(Place::root(file), "tags such as `!name` have no meaning here");
        problems.push(problem.subject(Subject::Nothing).spot(*tag));
    }
}

fn fit_named<T: DeserializeOwned + Default>(value: Value, place: &Place, problems: &mut Problems) -> Option<Named<T>> {
    let Value::Mapping(entries) = value else {
        wrong_shape("a mapping from names to values", &value, place.clone(), problems);
        return None;
    };
    let fit_one = |(key, value): (Value, Value)| {
        // `text::parse` makes text of every key.
        let key = key.as_str().unwrap_or_default().to_owned();
        let fitted = fit(value, &place.child(Step::Key(key.clone())), problems);
        (key, fitted)
    };
    Some(Named(entries.into_iter().map(fit_one).collect()))
}

fn wrong_shape(expected: &str, value: &Value, place: Place, problems: &mut Problems) {
    problems.push(Pending::error(place.clone(), format!("expected {expected}, found {}", found(value))));
    problems.mark_broken(place.parent());
    problems.mark_broken(place);
}

/// What a value is, in words.
fn found(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Sequence(_) => "a list",
        Value::Mapping(_) => "a mapping",
        Value::Tagged(_) => "a tag",
    }
}

/// Reads a value as `T`, cutting out what does not fit.
fn fit<T: DeserializeOwned + Default>(mut value: Value, base: &Place, problems: &mut Problems) -> T {
    let mut tries: HashMap<Vec<Step>, usize> = HashMap::new();
    for _ in 0..PIECE_PROBLEMS {
        let error = match serde_path_to_error::deserialize::<_, T>(&value) {
            Ok(fitted) => return fitted,
            Err(error) => error,
        };
        let mut steps = steps(error.path());
        let message = error.inner().to_string();
        if let Some((key, known)) = unknown_key(&message) {
            if steps.last() == Some(&Step::Key(key.to_owned())) {
                steps.pop();
            }
            if let Some(Value::Mapping(mapping)) = find(&mut value, &steps) {
                mapping.remove(key);
                let container = steps.into_iter().fold(base.clone(), |place, step| place.child(step));
                refuse_key(key, &known, &container, problems);
                continue;
            }
        }
        let tried = tries.entry(steps.clone()).or_default();
        *tried += 1;
        let Some(misfit) = find(&mut value, &steps) else { break };
        let place = steps.iter().fold(base.clone(), |place, step| place.child(step.clone()));
        if *tried == 1 {
            wrong_shape(&expected(&message), misfit, place, problems);
        }
        // Nothing fits wherever a value is optional, an empty mapping or list where it is an entry.
        *misfit = match *tried {
            1 if !misfit.is_null() => Value::Null,
            1 | 2 => Value::Mapping(Mapping::new()),
            3 => Value::Sequence(Vec::new()),
            _ => break,
        };
    }
    problems.give_up(base.clone());
    T::default()
}

fn steps(path: &serde_path_to_error::Path) -> Vec<Step> {
    path.iter()
        .filter_map(|segment| match segment {
            Segment::Seq { index } => Some(Step::Index(*index)),
            Segment::Map { key } => Some(Step::Key(key.clone())),
            Segment::Enum { .. } | Segment::Unknown => None,
        })
        .collect()
}

fn find<'a>(value: &'a mut Value, steps: &[Step]) -> Option<&'a mut Value> {
    steps.iter().try_fold(value, |value, step| match step {
        Step::Key(key) => value.as_mapping_mut()?.get_mut(key.as_str()),
        Step::Index(index) => value.as_sequence_mut()?.get_mut(*index),
    })
}

/// The key that an error of serde refuses, and the keys it knows.
fn unknown_key(message: &str) -> Option<(&str, Vec<&str>)> {
    let rest = message.strip_prefix("unknown field `")?;
    let (key, known) = rest.rsplit_once("`, expected ")?;
    // The list has backticks of its own: the key ends before its first one.
    let key = key.split_once("`, expected ").map_or(key, |(key, _)| key);
    Some((key, known.split('`').skip(1).step_by(2).collect()))
}

/// What an error of serde expects; never its other half, which shows the value.
fn expected(message: &str) -> String {
    match message.rsplit_once(", expected ") {
        Some((_, "a sequence")) => "a list".to_owned(),
        Some((_, expected)) => expected.to_owned(),
        None => "something else".to_owned(),
    }
}

fn refuse_key(key: &str, known: &[&str], container: &Place, problems: &mut Problems) {
    let place = container.child(Step::Key(key.to_owned()));
    let list = format!("known keys: {}", known.join(", "));
    let note = if key == "<<" {
        "merge keys are not supported, write the keys out".to_owned()
    } else if let Some(near) = words::nearest(key, known.iter().copied()) {
        format!("did you mean `{near}`? {list}")
    } else if words::is_later_key(key) {
        format!("`{key}` is not in this version of ringgate; {list}")
    } else {
        list
    };
    problems.push(Pending::error(place, format!("unknown key `{key}`")).at_key().note(Some(note)));
    problems.mark_broken(container.clone());
}
