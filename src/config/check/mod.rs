//! The document as written to the checked model: every wrong value and every contradiction, all at once.
//!
//! Owns the rules that need more than one scalar. Each `check_*` returns a value even when parts of it were refused, so
//! that the rest is looked at too; the caller drops the model when there was any error.

mod admin;
mod auth;
mod clusters;
mod dns;
mod edits;
mod endpoints;
mod external_auth;
mod hash_key;
mod health;
mod listeners;
mod live_policy;
mod policies;
mod process;
mod rate_limit;
mod retry;
mod rollout;
mod routes;
mod split;
mod tls;

use std::borrow::Cow;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use rustc_hash::FxHashMap;

use super::effective::secret::has_password;
use super::file::Document;
use super::leaf::{Kind, Leaf, Refusal, Scalar};
use super::model::{Admin, Config};
use super::place::{At, Place, Step};
use super::problems::{Pending, Problems, Subject};
use super::source::Sources;
use super::substitute::substitute;
use super::units::{Count, Text};
use super::words;

/// Bytes of a file that `${file:PATH}` names.
const SECRET_BYTES: usize = 64 * 1024;
/// Bytes of the name of a listener, cluster or route.
const NAME_BYTES: usize = 128;

/// Bytes of a value that a message shows.
const SHOWN_BYTES: usize = 100;

/// One file of the configuration.
pub(super) struct Written {
    pub(super) document: Document,
    /// Index among the files read.
    pub(super) file: usize,
    /// What relative paths in it are relative to.
    pub(super) base: PathBuf,
}

/// What the rules need while they look.
pub(super) struct Check<'a> {
    pub(super) sources: &'a dyn Sources,
    pub(super) problems: &'a mut Problems,
    /// What relative paths of the file under check are relative to.
    pub(super) base: PathBuf,
    /// Files that substitutions named.
    pub(super) read: Vec<PathBuf>,
    /// Whether a file is missing from what is checked, so that names may be defined there.
    pub(super) is_partial: bool,
}

impl Check<'_> {
    /// A value of kind `K`; `None` when it is not given or refused.
    fn value<K: Kind>(&mut self, at: At<'_>, leaf: Option<&Leaf<K>>) -> Option<K::Out> {
        let leaf = leaf?;
        let substituted = match &leaf.scalar {
            Scalar::Text(text) => self.substituted(at, text)?,
            Scalar::Nothing if self.problems.is_broken(&at.place()) => return None,
            Scalar::Switch(_) | Scalar::Number(_) | Scalar::OddNumber | Scalar::Nothing => None,
        };
        // Hints may show the value, and a substituted value may be a secret.
        let (result, is_substituted) = match &substituted {
            Some(text) => (K::text(text), true),
            None => (leaf.plain(), false),
        };
        match result {
            Ok(value) => Some(value),
            Err(refusal) => {
                let origin = || format!("the value comes from `{}`", as_written(leaf));
                let note = if is_substituted { Some(origin()) } else { refusal.hint };
                self.problems.push(Pending::error(at.place(), refusal.message).note(note));
                None
            }
        }
    }

    /// The same, refused with `missing` when it is not given.
    fn required<K: Kind>(&mut self, at: &At<'_>, key: &str, leaf: Option<&Leaf<K>>) -> Option<K::Out> {
        if leaf.is_none() {
            self.missing(at, &format!("missing `{key}`"));
        }
        self.value(at.key(key), leaf)
    }

    /// Something is not there, unless it was there and refused.
    fn missing(&mut self, at: &At<'_>, message: &str) {
        let problem = Pending::error(at.place(), message);
        if self.problems.is_broken(problem.place()) {
            return;
        }
        // An entry of a mapping is best shown by its key, an entry of a list has none.
        let is_entry = matches!(problem.place().steps.last(), Some(Step::Key(_)));
        self.problems.push(if is_entry { problem.at_own_key() } else { problem });
    }

    /// Each value of a list, those that are refused left out.
    fn values<K: Kind>(&mut self, at: At<'_>, list: Option<&Vec<Leaf<K>>>) -> Vec<K::Out> {
        let leaves = list.into_iter().flatten().enumerate();
        leaves.filter_map(|(index, leaf)| self.value(at.index(index), Some(leaf))).collect()
    }

    /// A whole number within bounds; `None` when it is not given or refused.
    fn number(&mut self, at: At<'_>, leaf: Option<&Leaf<Count>>, bounds: RangeInclusive<u32>) -> Option<u32> {
        let count = self.value(at, leaf)?;
        let number = u32::try_from(count).ok().filter(|number| bounds.contains(number));
        if number.is_none() {
            let (least, most) = bounds.into_inner();
            // The largest number there is would be no bound that helps anybody.
            let message = match most {
                u32::MAX if count == 0 => format!("expected a whole number of at least {least}"),
                _ => format!("expected a whole number from {least} to {most}"),
            };
            self.error(at, message);
        }
        number
    }

    fn substituted(&mut self, at: At<'_>, text: &str) -> Option<Option<String>> {
        let (sources, base, read) = (self.sources, &self.base, &mut self.read);
        let mut file = |path: &str| {
            let path = base.join(path);
            let refuse = |why: &str| Refusal::new(format!("cannot read the file `{}`: {why}", path.display()));
            let bytes = sources.read(&path).map_err(|error| refuse(&error.to_string()));
            read.push(path.clone());
            let bytes = bytes?;
            if bytes.len() > SECRET_BYTES {
                return Err(refuse("it is larger than 64KiB"));
            }
            let text = String::from_utf8(bytes).map_err(|_| refuse("it is not UTF-8 text"))?;
            let text = text.strip_suffix('\n').unwrap_or(&text);
            Ok(text.strip_suffix('\r').unwrap_or(text).to_owned())
        };
        match substitute(text, &|name| sources.env(name), &mut file) {
            Ok(substituted) => Some(substituted),
            Err(refusal) => {
                self.problems.push(Pending::error(at.place(), refusal.message).note(refusal.hint));
                None
            }
        }
    }

    fn error(&mut self, at: At<'_>, message: impl Into<String>) {
        self.problems.push(Pending::error(at.place(), message));
    }

    /// The same, with what to do about it.
    fn error_with(&mut self, at: At<'_>, message: impl Into<String>, note: &str) {
        self.problems.push(Pending::error(at.place(), message).note(Some(note.to_owned())));
    }

    /// Something legal that is hardly meant, shown at its key.
    fn warn(&mut self, at: At<'_>, key: &str, message: &str, note: &str) {
        let warning = Pending::warning(at.key(key).place(), message).at_key();
        self.problems.push(warning.note(Some(note.to_owned())));
    }

    /// Something legal that is hardly meant, shown at the key of what lacks it.
    fn warn_at(&mut self, at: At<'_>, message: &str, note: &str) {
        let warning = Pending::warning(at.place(), message).at_own_key();
        self.problems.push(warning.note(Some(note.to_owned())));
    }

    /// Tells of a URL with a password that stands in the file itself.
    fn warn_of_password(&mut self, at: At<'_>, key: &str, leaf: Option<&Leaf<impl Kind>>) {
        if let Some(Scalar::Text(written)) = leaf.map(|leaf| &leaf.scalar)
            && !written.contains("${")
            && has_password(written)
        {
            let note = "a configuration is read by many: write `${file:PATH}` or `${VARIABLE}`";
            self.warn(at, key, "a password stands in the configuration itself", note);
        }
    }

    /// A path that may be relative to the file under check.
    fn path(&self, path: &str) -> PathBuf {
        if Path::new(path).is_absolute() { PathBuf::from(path) } else { self.base.join(path) }
    }
}

/// Names that are taken, with the place of their definition.
#[derive(Default)]
struct Names {
    taken: FxHashMap<String, (usize, Place)>,
}

impl Names {
    /// Takes a name for the item at `index`; refuses bad ones and those that are taken.
    fn take(
        &mut self,
        check: &mut Check<'_>,
        kind: &str,
        name: &str,
        index: usize,
        problem: impl Fn(String) -> Pending,
    ) {
        if !is_legal_name(check, kind, name, &problem) {
            return;
        }
        match self.taken.get(name) {
            Some((_, first)) => refuse_again(check, kind, name, first.clone(), problem),
            None => {
                let place = problem(String::new()).into_place();
                self.taken.insert(name.to_owned(), (index, place));
            }
        }
    }

    /// The index of the item that a value names; `None` when there is none, which is refused unless a file is missing.
    fn find(&self, check: &mut Check<'_>, at: At<'_>, kind: &str, leaf: &Leaf<Text>) -> Option<usize> {
        let name = check.value(at, Some(leaf))?;
        if let Some((index, _)) = self.taken.get(&name) {
            return Some(*index);
        }
        if check.is_partial {
            return None;
        }
        let shown = as_written(leaf);
        let note = if shown != name {
            Some("the name is the result of a substitution".to_owned())
        } else if self.taken.is_empty() {
            Some(format!("no {kind} is defined at all"))
        } else if check.problems.are_few() {
            let mut known: Vec<&str> = self.taken.keys().map(String::as_str).collect();
            known.sort_unstable();
            words::nearest(&name, known).map(|near| format!("did you mean `{near}`?"))
        } else {
            None
        };
        let message = format!("no {kind} is named `{shown}`");
        check.problems.push(Pending::error(at.place(), message).subject(Subject::Container).note(note));
        None
    }
}

/// Refuses a bad name of an item.
fn is_legal_name(check: &mut Check<'_>, kind: &str, name: &str, problem: impl Fn(String) -> Pending) -> bool {
    let is_legal = (1..=NAME_BYTES).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte));
    if !is_legal {
        let message = format!("the name of a {kind} has 1 to {NAME_BYTES} letters, digits, `_`, `-` or `.`");
        check.problems.push(problem(message).subject(Subject::Nothing));
    }
    is_legal
}

/// Refuses a name that is taken, which messages show as `shown`.
fn refuse_again(check: &mut Check<'_>, kind: &str, shown: &str, first: Place, problem: impl Fn(String) -> Pending) {
    let again = problem(format!("the {kind} `{shown}` is defined twice"));
    check.problems.push(again.subject(Subject::Nothing).other(first));
}

/// How a scalar is quoted in a message: as written, never as substituted.
fn as_written<K>(leaf: &Leaf<K>) -> Cow<'_, str> {
    match &leaf.scalar {
        Scalar::Text(text) if text.chars().any(char::is_control) || text.len() > SHOWN_BYTES => {
            let shown = text.chars().filter(|c| !c.is_control()).take(SHOWN_BYTES / 2);
            Cow::Owned(shown.chain("...".chars()).collect())
        }
        Scalar::Text(text) => Cow::Borrowed(text),
        Scalar::Number(number) => Cow::Owned(number.to_string()),
        Scalar::Switch(on) => Cow::Owned(on.to_string()),
        Scalar::OddNumber | Scalar::Nothing => Cow::Borrowed(""),
    }
}

/// The version of the format is 1.
pub(super) fn check_version(check: &mut Check<'_>, main: &Written) {
    let root = At::root(main.file);
    check.base.clone_from(&main.base);
    match check.required(&root, "version", main.document.version.as_ref()) {
        Some(1) | None => {}
        Some(_) => check.error(root.key("version"), "expected version 1, the only one of the format"),
    }
}

/// The globs that the main file includes, with their index in the list.
pub(super) fn include_patterns(check: &mut Check<'_>, main: &Written) -> Vec<(usize, String)> {
    let root = At::root(main.file);
    let at = root.key("include");
    let list = main.document.include.iter().flatten().enumerate();
    list.filter_map(|(index, leaf)| Some((index, check.value(at.index(index), Some(leaf))?))).collect()
}

/// Checks the admin endpoint alone; it is only of use when no error was recorded.
pub(super) fn build_admin(check: &mut Check<'_>, main: &Written) -> Admin {
    admin::check(check, main)
}

/// Checks everything; the model is only of use when no error was recorded.
pub(super) fn build(files: &[Written], check: &mut Check<'_>) -> Config {
    let main = &files[0];
    check.base.clone_from(&main.base);
    let defaults = process::check_defaults(check, main);
    let runtime = process::check_runtime(check, main);
    let dns = dns::check(check, main);
    let admin = admin::check(check, main);
    let (access_log, reason_header) = process::check_observability(check, main);
    let (tracing, server_timing) = process::check_tracing(check, main);
    let top_clients = process::check_top_clients(check, main);
    let watch = process::check_watch(check, main);
    let rollout = rollout::check(check, main);
    let live_policy = live_policy::check(check, main);
    let listeners = listeners::check(check, files);
    admin::check_admin_is_apart(check, main, &admin, &listeners);
    let around = clusters::Surroundings { keepalive: defaults.keepalive, runtime: &runtime, dns: &dns };
    let (clusters, cluster_names) = clusters::check(check, files, &around);
    let (policies, policy_names) = policies::check(check, files, &cluster_names);
    let default_policies = policies::check_default(check, main, &policies, &policy_names);
    let known = routes::Known {
        clusters: &cluster_names,
        policies: &policies,
        policy_names: &policy_names,
        default_policies: &default_policies,
    };
    let routes = routes::check(check, files, &known, &defaults);
    let config = Config {
        runtime,
        dns,
        admin,
        listeners,
        clusters,
        policies,
        live_policy,
        routes,
        access_log,
        reason_header,
        server_timing,
        tracing,
        top_clients,
        watch,
        rollout,
    };
    if !check.problems.has_errors() {
        clusters::warn_of_unused(check, &config, &cluster_names);
        policies::warn_of_unused(check, &config, &policy_names);
        routes::warn_of_none(check, files, &config.routes);
    }
    config
}
