//! Files to a configuration: reads the main file and what it includes, checks all of it, reports all of it.

use std::path::{Path, PathBuf};

use super::Loaded;
use super::check::{self, Check, Written};
use super::effective::Texts;
use super::file::Document;
use super::model::Admin;
use super::place::{At, Place, Step};
use super::problems::{Pending, Problems, SourceFile, Subject};
use super::report::Report;
use super::shape;
use super::source::{Sources, WILDCARDS};
use super::text::{self, TextError};
use crate::limits::CONFIG_BYTES;

/// What a start without a file stands for.
const BUILT_IN: &str = r#"
version: 1
listeners: { web: { address: "${LISTEN_ADDR:-:8080}" } }
clusters: { app: { endpoints: [{ url: "${UPSTREAM_URL}" }] } }
routes: [{ name: everything, cluster: app }]
reload: { watch: off }
"#;

/// Everything read so far.
struct Load<'a> {
    sources: &'a dyn Sources,
    problems: Problems,
    files: Vec<SourceFile>,
    written: Vec<Written>,
    read: Vec<PathBuf>,
    is_partial: bool,
}

/// What is left of reading files: dropping it takes a while after a large one.
#[derive(Default)]
pub struct Leavings {
    _documents: Vec<Written>,
}

/// See [`super::load_leaving`].
pub(super) fn from_file(path: &Path, sources: &dyn Sources) -> (Result<Loaded, Report>, Leavings) {
    match Load::of_main(path, sources) {
        Ok(load) => load.finish(),
        Err(report) => (Err(report), Leavings::default()),
    }
}

/// See [`super::load_admin`].
pub(super) fn admin_of(path: &Path, sources: &dyn Sources) -> Result<Admin, Report> {
    let load = Load::of_main(path, sources)?;
    let Some(main) = load.written.first() else { return Err(load.problems.into_report(&load.files)) };
    // What is wrong elsewhere is no matter here.
    let mut problems = Problems::default();
    let (base, is_partial) = (main.base.clone(), load.is_partial);
    let mut check = Check { sources, problems: &mut problems, base, read: Vec::new(), is_partial };
    let admin = check::build_admin(&mut check, main);
    if problems.has_errors() { Err(problems.into_report(&load.files)) } else { Ok(admin) }
}

/// See [`super::from_environment`].
pub(super) fn from_environment(sources: &dyn Sources) -> Result<Loaded, Report> {
    let mut load = Load::new(sources);
    load.add_text(None, PathBuf::new(), Ok(BUILT_IN.to_owned()));
    load.finish().0
}

impl<'a> Load<'a> {
    /// The main file, read.
    fn of_main(path: &Path, sources: &'a dyn Sources) -> Result<Self, Report> {
        let mut load = Self::new(sources);
        let bytes = sources.read(path).map_err(|error| {
            let note = "name the file with `-c FILE`".to_owned();
            Report::of(Some(path.to_owned()), format!("cannot read the configuration: {error}"), Some(note))
        })?;
        load.add(path, &bytes);
        Ok(load)
    }

    fn new(sources: &'a dyn Sources) -> Self {
        Self {
            sources,
            problems: Problems::default(),
            files: Vec::new(),
            written: Vec::new(),
            read: Vec::new(),
            is_partial: false,
        }
    }

    fn add(&mut self, path: &Path, bytes: &[u8]) {
        self.read.push(path.to_owned());
        let too_large = u64::try_from(bytes.len()).unwrap_or(u64::MAX) > CONFIG_BYTES;
        let message = format!("the file is larger than {} MiB", CONFIG_BYTES >> 20);
        let text = match too_large {
            true => Err((String::new(), TextError { message, note: None, spot: None })),
            false => text::decode(bytes).map_err(|error| (String::from_utf8_lossy(bytes).into_owned(), error)),
        };
        let base = path.parent().map(Path::to_owned).unwrap_or_default();
        self.add_text(Some(path.to_owned()), base, text);
    }

    fn add_text(&mut self, shown: Option<PathBuf>, base: PathBuf, text: Result<String, (String, TextError)>) {
        let file = self.files.len();
        match text {
            Ok(text) => {
                match shape::read_document(&text, file, &mut self.problems) {
                    Some(document) => self.written.push(Written { document, file, base }),
                    None => self.is_partial = true,
                }
                self.files.push(SourceFile { shown, text });
            }
            Err((text, error)) => {
                self.is_partial = true;
                shape::refuse_text(error, file, &mut self.problems);
                self.files.push(SourceFile { shown, text });
            }
        }
    }

    fn finish(mut self) -> (Result<Loaded, Report>, Leavings) {
        if self.written.is_empty() {
            return (Err(self.problems.into_report(&self.files)), Leavings::default());
        }
        self.include();
        let mut check = Check {
            sources: self.sources,
            problems: &mut self.problems,
            base: PathBuf::new(),
            read: Vec::new(),
            is_partial: self.is_partial,
        };
        check::check_version(&mut check, &self.written[0]);
        let config = check::build(&self.written, &mut check);
        let mut read = std::mem::take(&mut check.read);
        self.read.append(&mut read);
        self.read.sort_unstable();
        self.read.dedup();
        let has_errors = self.problems.has_errors();
        let report = self.problems.into_report(&self.files);
        let leavings = Leavings { _documents: self.written };
        if has_errors {
            return (Err(report), leavings);
        }
        let texts = Texts::new(self.files.into_iter().map(|file| (file.shown, file.text)));
        (Ok(Loaded { config, warnings: report, files: self.read, texts }), leavings)
    }

    /// Reads what the main file includes; included files hold clusters, listeners, policies and routes
    /// only.
    fn include(&mut self) {
        let mut check = Check {
            sources: self.sources,
            problems: &mut self.problems,
            base: self.written[0].base.clone(),
            read: Vec::new(),
            is_partial: self.is_partial,
        };
        let patterns = check::include_patterns(&mut check, &self.written[0]);
        self.read.append(&mut check.read);
        for (index, pattern) in patterns {
            let place = Place::root(0).child(Step::Key("include".to_owned())).child(Step::Index(index));
            let is_glob = pattern.contains(WILDCARDS);
            let paths = if is_glob { self.matches(&pattern) } else { Ok(vec![self.written[0].base.join(&pattern)]) };
            let mut paths = paths.unwrap_or_else(|why| {
                self.is_partial = true;
                let message = format!("cannot include `{pattern}`: {why}");
                self.problems.push(Pending::error(place.clone(), message).subject(Subject::Nothing));
                Vec::new()
            });
            paths.sort_unstable();
            for path in paths {
                // A glob may name the main file itself, and two globs the same file.
                if self.files.iter().any(|file| file.shown.as_ref() == Some(&path)) {
                    continue;
                }
                match self.sources.read(&path) {
                    Ok(bytes) => self.add_included(&path, &bytes),
                    Err(error) => {
                        self.is_partial = true;
                        let message = format!("cannot read the included file `{}`: {error}", path.display());
                        self.problems.push(Pending::error(place.clone(), message).subject(Subject::Nothing));
                    }
                }
            }
        }
    }

    /// The files that a glob of the main file matches.
    fn matches(&self, pattern: &str) -> Result<Vec<PathBuf>, String> {
        let base = self.written[0].base.to_str().ok_or("the name of its directory is not UTF-8")?;
        // A bracket in the name of a directory is no wildcard.
        let full = Path::new(&glob::Pattern::escape(base)).join(pattern);
        self.sources.glob(&full.to_string_lossy())
    }

    fn add_included(&mut self, path: &Path, bytes: &[u8]) {
        let before = self.written.len();
        self.add(path, bytes);
        let Some(written) = self.written.get(before) else { return };
        let Document {
            version,
            include,
            runtime,
            dns,
            admin,
            listeners: _,
            defaults,
            clusters: _,
            policies: _,
            routes: _,
            policy,
            observability,
            reload,
        } = &written.document;
        let main_only = [
            ("version", version.is_some()),
            ("include", include.is_some()),
            ("runtime", runtime.is_some()),
            ("dns", dns.is_some()),
            ("admin", admin.is_some()),
            ("defaults", defaults.is_some()),
            ("policy", policy.is_some()),
            ("observability", observability.is_some()),
            ("reload", reload.is_some()),
        ];
        let root = At::root(written.file);
        for (key, _) in main_only.into_iter().filter(|(_, is_given)| *is_given) {
            let note = "an included file holds `clusters`, `listeners`, `policies` and `routes` only".to_owned();
            let problem = Pending::error(root.key(key).place(), format!("`{key}` belongs into the main file"));
            self.problems.push(problem.at_key().note(Some(note)));
        }
    }
}
