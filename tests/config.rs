//! Replays every bad configuration in `tests/config` against the report that stands beside it, and loads the examples.
//!
//! `BLESS=1 cargo test --test config` writes the reports anew; read the difference before you keep it.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rcgen::{KeyPair, SanType, date_time_ymd};
use ringgate::config::{self, Disk, Loaded, Report, Sources};

#[allow(dead_code, reason = "the end-to-end tests use the rest of it")]
#[path = "e2e/pki.rs"]
mod pki;

use pki::{Authority, Pair};

/// The time of every report: 10 November 2025.
const NOW_UNIX_S: u64 = 1_762_732_800;

/// Files of certificates and keys, made once.
fn tls_files() -> &'static HashMap<PathBuf, Vec<u8>> {
    static FILES: OnceLock<HashMap<PathBuf, Vec<u8>>> = OnceLock::new();
    FILES.get_or_init(|| {
        let mut files = HashMap::new();
        let mut put = |name: &str, text: &[u8]| drop(files.insert(Path::new("tls").join(name), text.to_vec()));
        let authority = Authority::new("tests");
        let between = |from, to| {
            authority.certifies_as(&["b.example"], |params| (params.not_before, params.not_after) = (from, to))
        };
        let mut pair = |name: &str, Pair { cert, key }: &Pair| {
            put(&format!("{name}.crt"), cert.as_bytes());
            put(&format!("{name}.key"), key.as_bytes());
        };
        let a = authority.certifies(&["a.example", "*.a.example"]);
        pair("a", &a);
        pair("b", &authority.certifies(&["b.example"]));
        pair("readable", &a);
        for name in ["api", "gw"] {
            pair(name, &authority.certifies(&["api.example.com"]));
        }
        pair("expired", &between(date_time_ymd(2001, 2, 3), date_time_ymd(2002, 3, 4)));
        pair("early", &between(date_time_ymd(2900, 5, 6), date_time_ymd(2901, 7, 8)));
        let by_address = |params: &mut rcgen::CertificateParams| {
            params.subject_alt_names = vec![SanType::IpAddress("192.0.2.1".parse().expect("an address"))];
        };
        pair("nameless", &authority.certifies_as(&[], by_address));
        let section = |label: &str, body: &str| format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n");
        pair("no_der", &Pair { cert: section("CERTIFICATE", "MA=="), key: section("PRIVATE KEY", "MA==") });
        let cut = |text: &str| text[..text.len() / 2].to_owned();
        pair("cut", &Pair { cert: cut(&a.cert), key: cut(&a.key) });
        for name in ["internal-ca.crt", "clients-ca.crt"] {
            put(name, authority.pem().as_bytes());
        }
        let no_list = section("X509 CRL", "MA==");
        for (name, text) in [
            ("clients.crl", authority.revokes(&[&a])),
            ("due.crl", authority.revokes_until(2002, &[])),
            ("strangers.crl", Authority::new("strangers").revokes(&[])),
            ("no_der.crl", [authority.revokes(&[]), no_list].concat()),
            ("cut.crl", cut(&authority.revokes(&[]))),
        ] {
            put(name, text.as_bytes());
        }
        put("wrong_order.crt", [authority.pem(), &a.cert].concat().as_bytes());
        put("encrypted.key", section("ENCRYPTED PRIVATE KEY", "MA==").as_bytes());
        let old = "Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nMA==";
        put("old_encrypted.key", section("RSA PRIVATE KEY", old).as_bytes());
        put("several.key", [a.key.clone(), KeyPair::generate().expect("a key").serialize_pem()].concat().as_bytes());
        put("strange.key", section("EC PRIVATE KEY", "MA==").as_bytes());
        put("binary", &[0xff; 100]);
        files
    })
}

/// Files of one directory and a fixed environment, so that reports are the same everywhere.
struct Fixed {
    directory: PathBuf,
}

impl Sources for Fixed {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        if let Some(made) = tls_files().get(path) {
            return Ok(made.clone());
        }
        fs::read(self.directory.join(path))
    }

    fn mode(&self, path: &Path) -> Option<u32> {
        Some(if path.ends_with("readable.key") { 0o100_640 } else { 0o100_600 })
    }

    fn unix_s(&self) -> u64 {
        NOW_UNIX_S
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
