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

/// A file of API keys, and a token for operators.
const TEXTS: [(&str, &str); 2] = [
    ("keys.yaml", "partner: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08\n"),
    ("/run/secrets/admin-token", "c4n4ry-of-the-admin-token\n"),
];

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
        for name in ["api", "gw", "admin"] {
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
        for name in ["internal-ca.crt", "clients-ca.crt", "ops-ca.crt"] {
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
        files.extend(TEXTS.map(|(name, text)| (PathBuf::from(name), text.as_bytes().to_vec())));
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

    fn glob(&self, pattern: &str) -> Result<Vec<PathBuf>, String> {
        let files = Disk.glob(&self.directory.join(pattern).to_string_lossy());
        let files = files.map_err(|why| why.replace(&format!("{}/", self.directory.display()), ""))?;
        Ok(files.iter().filter_map(|file| file.strip_prefix(&self.directory).ok()).map(Path::to_owned).collect())
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

/// Configurations that are shipped, which is all YAML beside them but that of Docker Compose.
fn samples() -> Vec<PathBuf> {
    let mut files = yaml_files(&project().join("config"));
    files.retain(|file| !file.ends_with("compose.yaml"));
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
    let files = samples();
    assert!(files.len() >= 3);
    for file in files {
        match load_in(&directory, &file) {
            Ok(loaded) => assert!(loaded.warnings.is_empty(), "{}\n{}", file.display(), loaded.warnings),
            Err(report) => panic!("{}\n{report}", file.display()),
        }
    }
}

/// What the format is by example. Of what it says without effect one is told, and of nothing else.
#[test]
fn the_example_that_the_format_grew_from_loads() {
    let directory = project().join("tests/config");
    let loaded = load_in(&directory, &directory.join("contract.yaml")).unwrap_or_else(|report| panic!("{report}"));
    assert!(loaded.warnings.to_string().contains("`store` is of no use with `scope: process`"), "{}", loaded.warnings);
    assert_eq!((loaded.config.clusters.len(), loaded.config.policies.len(), loaded.config.routes.len()), (2, 5, 4));
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

/// Validates against the schema of the format.
struct Schema {
    schemas: boon::Schemas,
    index: boon::SchemaIndex,
}

impl Schema {
    fn new() -> Self {
        let (mut schemas, mut compiler) = (boon::Schemas::new(), boon::Compiler::new());
        compiler.add_resource("http://ringgate.test/schema.json", config::json_schema()).expect("JSON");
        let index = compiler.compile("http://ringgate.test/schema.json", &mut schemas).expect("a schema");
        Self { schemas, index }
    }

    /// Why a file does not fit, if it does not; nothing for what is no YAML.
    fn refuses(&self, file: &Path) -> Option<String> {
        let bytes = fs::read(file).expect("readable");
        let value: serde_json::Value = serde_yaml::from_slice(&bytes).ok()?;
        self.schemas.validate(&value, self.index).err().map(|error| error.to_string())
    }
}

/// Files that the schema takes although they are refused: what contradicts something else, what is not there, and values
/// whose bounds no schema tells.
const BEYOND_THE_SCHEMA: [&str; 17] = [
    "admin_on_a_public_address.yaml",
    "admin_on_a_public_address_with_tls.yaml",
    "admin_on_the_port_of_a_listener.yaml",
    "bounds.yaml",
    "dns.yaml",
    "duplicate_key.yaml",
    "include.yaml",
    "include_glob.yaml",
    "memory_limit_too_low.yaml",
    "more_errors_than_are_shown.yaml",
    "network.yaml",
    "no_listener.yaml",
    "substitution.yaml",
    "two_actions.yaml",
    "unknown_cluster.yaml",
    "useless_with_the_action.yaml",
    "wrong_version.yaml",
];

#[test]
fn the_schema_takes_what_is_valid_and_refuses_what_it_can_see_is_not() {
    let (schema, directory) = (Schema::new(), project().join("tests/config"));
    for file in samples() {
        assert_eq!(schema.refuses(&file), None, "{}", file.display());
    }
    let (mut taken, mut refused) = (Vec::new(), 0);
    for file in yaml_files(&directory) {
        let name = file.file_name().expect("a file").to_string_lossy().into_owned();
        let is_yaml = serde_yaml::from_slice::<serde_json::Value>(&fs::read(&file).expect("readable")).is_ok();
        match (load_in(&directory, &file), schema.refuses(&file)) {
            (Ok(_), why) => assert_eq!(why, None, "{name} is valid"),
            (Err(_), None) if is_yaml => taken.push(name),
            (Err(_), _) => refused += 1,
        }
    }
    assert!(refused >= 20, "only {refused} are refused");
    assert_eq!(taken, BEYOND_THE_SCHEMA);
}

/// Editors find the schema by the first line of a sample, beside it.
#[test]
fn every_sample_names_the_schema_for_editors() {
    let kept = project().join("config/ringgate.schema.json");
    let schema = format!("{:#}\n", config::json_schema());
    if std::env::var_os("BLESS").is_some() {
        fs::write(&kept, &schema).expect("writable");
    }
    let told = fs::read_to_string(&kept).unwrap_or_default();
    assert!(told == schema, "config/ringgate.schema.json is not what `ringgate schema` prints: BLESS=1 writes it anew");
    for file in samples() {
        let text = fs::read_to_string(&file).expect("readable");
        let name = text.lines().next().and_then(|line| line.strip_prefix("# yaml-language-server: $schema="));
        let beside = file.with_file_name(name.unwrap_or_else(|| panic!("{} names no schema", file.display())));
        assert!(beside == kept, "{}", beside.display());
    }
}

#[test]
fn a_dump_of_whatever_is_valid_is_the_same_configuration() {
    let (examples, tests) = (project().join("config"), project().join("tests/config"));
    let (samples, kept) = (samples(), yaml_files(&tests));
    let files = samples.iter().map(|file| (&examples, file)).chain(kept.iter().map(|file| (&tests, file)));
    let mut shown = 0;
    for (directory, file) in files {
        let (sources, name) = (Fixed { directory: directory.clone() }, file.file_name().expect("a file").to_owned());
        let Ok(loaded) = load_in(directory, file) else { continue };
        let effective = loaded.texts.effective(&sources, Path::new(""));
        for yaml in [effective.to_yaml(true), effective.to_yaml(false)] {
            assert!(!yaml.contains("hunter2"), "{yaml}");
            if effective.redacted() > 0 {
                continue;
            }
            let again = config::load(Path::new(&name), &Over { text: &yaml, name: Path::new(&name), under: &sources });
            let again = again.unwrap_or_else(|report| panic!("{}\n{report}\n{yaml}", file.display()));
            assert_eq!(again.config, loaded.config, "{}\n{yaml}", file.display());
            shown += 1;
        }
    }
    assert!(shown >= 16, "only {shown}");
}

/// A text that stands for a file.
struct Over<'a> {
    text: &'a str,
    name: &'a Path,
    under: &'a Fixed,
}

impl Sources for Over<'_> {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        if path == self.name { Ok(self.text.as_bytes().to_vec()) } else { self.under.read(path) }
    }

    fn env(&self, name: &str) -> Option<String> {
        self.under.env(name)
    }

    fn glob(&self, pattern: &str) -> Result<Vec<PathBuf>, String> {
        self.under.glob(pattern)
    }

    fn mode(&self, path: &Path) -> Option<u32> {
        self.under.mode(path)
    }

    fn unix_s(&self) -> u64 {
        self.under.unix_s()
    }
}
