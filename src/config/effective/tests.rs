use std::collections::{BTreeSet, HashMap};
use std::io;

use serde_json::Value as Json;

use super::table::{Fallback, TABLE};
use super::*;
use crate::config::{self, Loaded, json_schema};

/// Files and variables of a test.
struct Fixed(HashMap<PathBuf, &'static str>);

impl Sources for Fixed {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.0.get(path).map(|text| text.as_bytes().to_vec()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn env(&self, name: &str) -> Option<String> {
        let value = match name {
            "PORT" => "8081",
            "ON" => "true",
            "NAME" => "007",
            "SECRET" => "hunter2-hunter2-hunter2",
            "URL" => "redis://me:hunter2@db",
            "SOCKET" => "unix:///run/redis.sock?db=1&pass=hunter2",
            _ => return None,
        };
        Some(value.to_owned())
    }

    fn glob(&self, pattern: &str) -> Result<Vec<PathBuf>, String> {
        Ok(self.0.keys().filter(|path| path.starts_with(pattern.trim_end_matches("/*.yaml"))).cloned().collect())
    }
}

const MAIN: &str = "\
version: 1
include: [more/*.yaml]
admin:
  token: ${SECRET}
  read_token: '${file:look}'
listeners:
  web:
    address: 127.0.0.1:${PORT}
    limits: { header_count: 64 }
defaults: { route: { timeouts: { connect: 1s } } }
clusters:
  '${x}.app': &app
    max_connections: '${PORT}'
    required: '${ON}'
    endpoints: [{ url: 'http://10.0.0.1' }]
  app: *app
routes:
  - name: '${NAME}'
    cluster: app
    headers: { request: { set: { x-edge: a, x-api-key: literal, x-any: '${SECRET}', x-price: '5 $${USD}' } } }
policy: { redis: { url: '${URL}' } }
";
const MORE: &str = "\
policies:
  some: { rate_limit: { scope: cluster, store: { redis: 'redis://me:hunter2@db' } } }
  keyed: { jwt: { audience: a, jwks_url: 'http://10.0.0.1/keys?token=${SECRET}' } }
  asked: { external_auth: { cluster: app, path: '/may/${SECRET}?key=${SECRET}' } }
clusters: { probed: { endpoints: [{ url: 'http://10.0.0.1' }], health: { active: { kind: http, path: '/up?key=${SECRET}' } } } }
routes: [{ name: b, match: { path: /b }, redirect: { to: /c, status: 308 }, policies: [some] }]
";

fn files() -> Fixed {
    let main = Box::leak(MAIN.replace("'${x}.app'", "other").into_boxed_str());
    let files = [("gateway.yaml", &*main), ("more/b.yaml", MORE), ("look", "a token that nobody may see")];
    let files = files.into_iter().map(|(path, text)| (PathBuf::from(path), text));
    Fixed(
        files
            .map(|(path, text)| if text.contains("nobody") { (path, "a-token-for-looking") } else { (path, text) })
            .collect(),
    )
}

fn loaded(sources: &Fixed) -> Loaded {
    config::load(Path::new("gateway.yaml"), sources).unwrap_or_else(|report| panic!("{report}"))
}

#[test]
fn each_value_is_shown_with_where_it_comes_from() {
    let sources = files();
    let yaml = loaded(&sources).texts.effective(&sources, Path::new("")).to_yaml(true);
    let line = |start: &str| {
        let found = yaml.lines().find(|line| line.trim_start().trim_start_matches("- ").starts_with(start));
        let found = found.unwrap_or_else(|| panic!("no {start} in\n{yaml}"));
        found.trim_start_matches([' ', '-']).split_whitespace().collect::<Vec<_>>().join(" ")
    };
    for expected in [
        "version: 1 # gateway.yaml:1",
        "workers: auto # default",
        "listen: 127.0.0.1:9090 # default",
        "token: \"${SECRET}\" # gateway.yaml:4, env SECRET, its value is not shown",
        "read_token: \"${file:look}\" # gateway.yaml:5, its value is not shown",
        "address: 127.0.0.1:8081 # gateway.yaml:8, env PORT",
        "header_count: 64 # gateway.yaml:9",
        "header_bytes: 64KiB # default",
        "connect: 1s # gateway.yaml:10",
        "max_connections: 50000 # default",
        "required: true # gateway.yaml:14, env ON",
        "name: \"007\" # gateway.yaml:18, env NAME",
        "x-edge: a # gateway.yaml:20",
        "x-api-key: \"<redacted>\" # gateway.yaml:20, redacted",
        "x-any: \"${SECRET}\" # gateway.yaml:20, env SECRET, its value is not shown",
        "redis: \"redis://me:<redacted>@db\" # more/b.yaml:2, redacted",
        "jwks_url: \"http://10.0.0.1/keys?token=${SECRET}\" # more/b.yaml:3, env SECRET, its value is not shown",
        "status: 308 # more/b.yaml:6",
    ] {
        assert_eq!(line(&format!("{}:", expected.split(':').next().unwrap())), expected);
    }
    assert!(!yaml.contains("hunter2") && !yaml.contains("looking") && !yaml.contains("literal"), "{yaml}");
    assert!(yaml.starts_with("# read: gateway.yaml\n# read: more/b.yaml\nversion: 1"), "{yaml}");
    assert!(yaml.contains("    url: \"${URL}\"") && yaml.contains("# gateway.yaml:21, env URL, its value"), "{yaml}");
    for asked in ["/may/${SECRET}?key=${SECRET}", "/up?key=${SECRET}"] {
        assert!(yaml.contains(&format!("path: \"{asked}\"")), "{asked} in {yaml}");
    }
    // The route that redirects has nothing that only forwarding needs.
    assert_eq!(yaml.matches("response_header:").count(), 2, "{yaml}");
}

#[test]
fn no_password_of_a_store_is_shown_however_it_is_written() {
    for (written, shown) in [
        ("${SOCKET}", "${SOCKET}"),
        ("unix:///run/redis.sock?pass=${SECRET}", "unix:///run/redis.sock?pass=${SECRET}"),
        ("unix:///run/redis.sock?db=1&pass=hunter2", "unix:///run/redis.sock?db=1&pass=<redacted>"),
        ("${NONE:-unix:///run/redis.sock?pass=hunter2}", "${NONE:-unix:///run/redis.sock?pass=<redacted>"),
        ("redis://me:hunter2@${NAME}", "redis://me:<redacted>@${NAME}"),
        ("redis://me:${SECRET}@db", "redis://me:${SECRET}@db"),
        ("redis://me:${NONE:-hunter2}@db", "redis://me:<redacted>@db"),
        ("redis://me:${SECRET:-hunter2}@db", "redis://me:<redacted>@db"),
        ("redis://me:hunter2${NAME}@db", "redis://me:<redacted>@db"),
        ("${NONE:-redis://me:${NONE:-hunter2}@db}", "${NONE:-redis://me:<redacted>@db}"),
        ("unix:///run/redis.sock?pass=${NONE:-hunter2}", "unix:///run/redis.sock?pass=<redacted>"),
        ("unix:///run/redis.sock?pass=hunter2${NAME}&db=1", "unix:///run/redis.sock?pass=<redacted>"),
        ("unix:///run/redis.sock?${NONE:-pass=hunter2}", "unix:///run/redis.sock?${NONE:-pass=<redacted>"),
    ] {
        let text = format!(
            "version: 1\nlisteners: {{ web: {{ address: ':80' }} }}\npolicy: {{ redis: {{ url: '{written}' }} }}\n\
             policies: {{ a: {{ rate_limit: {{ scope: cluster, store: {{ redis: '{written}' }} }} }} }}\n\
             routes: [{{ name: b, respond: {{ status: 200 }}, policies: [a] }}]\n"
        );
        let sources = Fixed(HashMap::from([(PathBuf::from("gateway.yaml"), &*text.leak())]));
        let effective = loaded(&sources).texts.effective(&sources, Path::new(""));
        let (yaml, json) = (effective.to_yaml(true), effective.to_json());
        assert_eq!(yaml.matches(&format!("\"{shown}\"")).count(), 2, "{yaml}");
        assert_eq!(json["config"]["policy"]["redis"]["url"], shown);
        assert!(!yaml.contains("hunter2") && !json.to_string().contains("hunter2"), "{yaml}");
    }
}

#[test]
fn json_has_the_same_values_and_an_origin_for_each() {
    let sources = files();
    let json = loaded(&sources).texts.effective(&sources, Path::new("")).to_json();
    assert_eq!(json["config"]["clusters"]["app"]["max_connections"], 8081);
    assert_eq!(json["config"]["routes"][0]["timeouts"]["connect"], "1s");
    assert_eq!(json["origins"]["/routes/0/timeouts/connect"], "gateway.yaml:10");
    assert_eq!(json["origins"]["/routes/1/name"], "more/b.yaml:6");
    let mut leaves = Vec::new();
    pointers(&json["config"], String::new(), &mut leaves);
    for leaf in leaves {
        assert!(json["origins"][&leaf].is_string(), "{leaf} has no origin");
    }
}

fn pointers(value: &Json, at: String, out: &mut Vec<String>) {
    match value {
        Json::Object(members) => {
            members.iter().for_each(|(key, value)| pointers(value, format!("{at}/{key}"), out));
        }
        Json::Array(list) if !list.is_empty() => {
            list.iter().enumerate().for_each(|(index, value)| pointers(value, format!("{at}/{index}"), out));
        }
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) | Json::Array(_) => out.push(at),
    }
}

#[test]
fn what_is_shown_is_the_same_configuration() {
    let mut sources = files();
    let plain = MAIN.replace("'${x}.app'", "other").replace(", x-api-key: literal", "");
    sources.0.insert("gateway.yaml".into(), Box::leak(plain.into_boxed_str()));
    sources.0.insert("more/b.yaml".into(), Box::leak(MORE.replace("me:hunter2@", "").into_boxed_str()));
    let before = loaded(&sources);
    for with_origins in [true, false] {
        let effective = before.texts.effective(&sources, Path::new(""));
        assert_eq!(effective.redacted(), 0);
        let yaml = effective.to_yaml(with_origins);
        let mut again = files();
        again.0.insert("gateway.yaml".into(), Box::leak(yaml.clone().into_boxed_str()));
        let after = config::load(Path::new("gateway.yaml"), &again).unwrap_or_else(|report| panic!("{report}\n{yaml}"));
        assert_eq!(after.config, before.config, "{yaml}");
    }
}

#[test]
fn relative_paths_are_told_from_the_root() {
    let mut sources = files();
    let tls = "admin: { listen: 'unix:admin.sock' }\nobservability: { access_log: { output: log/a.json } }\npolicy: { file: p.json }\n";
    let text = format!("version: 1\nlisteners: {{ web: {{ address: ':80' }} }}\nroutes: []\n{tls}");
    sources.0.insert("gateway.yaml".into(), Box::leak(text.into_boxed_str()));
    let yaml = loaded(&sources).texts.effective(&sources, Path::new("/etc/rg")).to_yaml(false);
    for path in ["listen: unix:/etc/rg/admin.sock\n", "output: /etc/rg/log/a.json\n", "file: /etc/rg/p.json\n"] {
        assert!(yaml.contains(path), "no {path} in\n{yaml}");
    }
}

/// Paths of all values of a schema in the notation of the table.
fn leaves(root: &Json, here: &Json, at: &str, out: &mut BTreeSet<String>) {
    if let Some(name) = here["$ref"].as_str() {
        return leaves(root, root.pointer(name.trim_start_matches('#')).unwrap(), at, out);
    }
    let join = |key: &str| if at.is_empty() { key.to_owned() } else { format!("{at}.{key}") };
    let below = |value: &Json, key: &str, out: &mut BTreeSet<String>| leaves(root, value, &join(key), out);
    here["anyOf"].as_array().into_iter().flatten().for_each(|one| leaves(root, one, at, out));
    if let Some(properties) = here["properties"].as_object() {
        properties.iter().for_each(|(key, value)| below(value, key, out));
        return;
    }
    let is = |kind: &str| {
        here["type"] == kind || here["type"].as_array().is_some_and(|kinds| kinds.iter().any(|one| one == kind))
    };
    if here["additionalProperties"].is_object() {
        below(&here["additionalProperties"], "*", out);
    } else if is("array") && here["items"]["$ref"].is_string() {
        below(&here["items"], "*", out);
    } else if ["array", "string", "integer", "boolean"].iter().any(|kind| is(kind)) {
        out.insert(at.to_owned());
    }
}

#[test]
fn the_table_has_every_key_of_the_schema_and_no_other() {
    let schema = json_schema();
    let mut known = BTreeSet::new();
    leaves(&schema, &schema, "", &mut known);
    let written: BTreeSet<String> = TABLE.iter().map(|(path, _)| path.replace('?', "")).collect();
    assert_eq!(written.len(), TABLE.len(), "a key is in the table twice");
    let missing: Vec<_> = known.difference(&written).collect();
    let unknown: Vec<_> = written.difference(&known).collect();
    assert!(
        missing.is_empty() && unknown.is_empty(),
        "not in the table: {missing:#?}\nnot in the schema: {unknown:#?}"
    );
}

#[test]
fn what_the_table_says_is_yaml_of_the_right_type() {
    for (path, fallback) in TABLE {
        let Fallback::Is(yaml) = fallback else { continue };
        let plain = path.replace('?', "");
        let kind = match serde_yaml::from_str(yaml).unwrap_or_else(|error| panic!("{path}: {error}")) {
            Value::Number(_) => "integer",
            Value::Bool(_) => "boolean",
            Value::String(_) => "string",
            Value::Sequence(_) => "array",
            other @ (Value::Null | Value::Mapping(_) | Value::Tagged(_)) => panic!("{path}: {other:?}"),
        };
        assert!(table::takes(&plain, kind), "{path} takes no {kind}");
    }
}
