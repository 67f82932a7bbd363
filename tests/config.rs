//! Replays every bad configuration in `tests/config` against the report that stands beside it, and loads the examples.
//!
//! `BLESS=1 cargo test --test config` writes the reports anew; read the difference before you keep it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use ringgate::config::{self, Disk, Loaded, Report, Sources};

/// Files of one directory and a fixed environment, so that reports are the same everywhere.
struct Fixed {
    directory: PathBuf,
}

impl Sources for Fixed {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        fs::read(self.directory.join(path))
    }

    fn env(&self, name: &str) -> Option<String> {
        match name {
            "SECRET" => Some("hunter2".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        }
    }

    fn glob(&self, pattern: &str) -> Vec<PathBuf> {
        let files = Disk.glob(&self.directory.join(pattern).to_string_lossy());
        files.iter().filter_map(|file| file.strip_prefix(&self.directory).ok()).map(Path::to_owned).collect()
    }
}

fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn yaml_files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).expect("the directory exists");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("readable").path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    files
}

fn load_in(directory: &Path, file: &Path) -> Result<Loaded, Report> {
    let name = Path::new(file.file_name().expect("a file"));
    config::load(name, &Fixed { directory: directory.to_owned() })
}

#[test]
fn every_bad_file_is_answered_with_exactly_the_report_beside_it() {
    let directory = project().join("tests/config");
    let files = yaml_files(&directory);
    assert!(files.len() >= 25, "only {} bad files", files.len());
    let mut wrong = Vec::new();
    for file in files {
        let report = match load_in(&directory, &file) {
            Err(report) => report,
            Ok(loaded) => loaded.warnings,
        };
        assert!(!report.is_empty(), "{} has nothing to report", file.display());
        let beside = file.with_extension("err");
        if std::env::var_os("BLESS").is_some() {
            fs::write(&beside, report.to_string()).expect("writable");
        }
        let expected = fs::read_to_string(&beside).unwrap_or_default();
        if report.to_string() != expected {
            wrong.push(format!("{}\n--- expected\n{expected}--- reported\n{report}", file.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_report_shows_a_value_from_the_environment() {
    let directory = project().join("tests/config");
    for file in yaml_files(&directory) {
        let report = load_in(&directory, &file).map_or_else(|report| report, |loaded| loaded.warnings);
        assert!(!report.to_string().contains("hunter2"), "{}\n{report}", file.display());
    }
}

#[test]
fn every_example_loads_without_a_warning() {
    let directory = project().join("config");
    let files = yaml_files(&directory);
    assert!(files.len() >= 3);
    for file in files {
        match load_in(&directory, &file) {
            Ok(loaded) => assert!(loaded.warnings.is_empty(), "{}\n{}", file.display(), loaded.warnings),
            Err(report) => panic!("{}\n{report}", file.display()),
        }
    }
}

/// Every name of a property anywhere in a schema.
fn properties(schema: &serde_json::Value, names: &mut Vec<String>) {
    if let Some(object) = schema.as_object() {
        for (key, value) in object {
            if let Some(inner) = value.as_object().filter(|_| key == "properties") {
                names.extend(inner.keys().cloned());
            }
            properties(value, names);
        }
    }
    for entry in schema.as_array().into_iter().flatten() {
        properties(entry, names);
    }
}

#[test]
fn the_annotated_example_shows_every_key_of_the_schema() {
    let text = fs::read_to_string(project().join("config/ringgate.yaml")).expect("readable");
    let mut names = Vec::new();
    properties(&config::json_schema(), &mut names);
    assert!(names.len() > 60, "only {} keys", names.len());
    for name in names {
        assert!(text.contains(&format!("{name}:")), "config/ringgate.yaml does not show `{name}`");
    }
}

#[test]
fn a_file_that_is_not_there_is_one_clear_error() {
    let report = config::load(Path::new("no/such/file.yaml"), &Disk).expect_err("no such file").to_string();
    assert!(report.starts_with("error: no/such/file.yaml: cannot read the configuration: "), "{report}");
    assert!(report.ends_with("1 error\n"), "{report}");
}
