//! L3: what runs in containers, the compose file and the manifests of Kubernetes, without an engine: their schemas, the same
//! commands, the same signals.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::admin::asks;
use super::artefacts::{read, shipped};
use super::collector::Collector;
use super::folder::Folder;
use super::gateway::{Gateway, json};
use super::origin::Origin;
use super::process::{BINARY, binary};
use super::redis::Redis;
use super::tool::{PYTHON, run, runs, runs_python};
use super::wait::until_true;

/// Where the compose file mounts the token for all, and that for looking.
const TOKENS: [&str; 2] = ["/run/ringgate/admin/token", "/run/ringgate/read/token"];

fn script(name: &str) -> String {
    format!("{}/tests/interop/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// The configuration in the manifests.
pub(crate) fn of_the_manifests() -> String {
    let manifests = read("kubernetes/ringgate.yaml");
    let (_, rest) = manifests.split_once("gateway.yaml: |\n").expect("a ConfigMap");
    let lines = rest.lines().map_while(|line| line.strip_prefix("    ").or(line.is_empty().then_some("")));
    lines.collect::<Vec<&str>>().join("\n")
}

/// The objects of the manifests.
fn manifests() -> Vec<Value> {
    let load = "import json, sys, yaml; print(json.dumps(list(yaml.safe_load_all(open(sys.argv[1])))))";
    let said = runs(PYTHON, &["-c", load, shipped("kubernetes/ringgate.yaml").to_str().expect("text")]);
    json(&said).as_array().expect("a list").clone()
}

fn manifest(kind: &str) -> Value {
    manifests().into_iter().find(|thing| thing["kind"] == kind).expect("one of its kind")
}

/// Those that Compose would make in this folder.
fn makes_tokens(folder: &Folder) -> [String; 2] {
    let paths = ["all", "look"].map(|name| folder.path(name).display().to_string());
    runs("sh", &[&[shipped("compose/tokens.sh").display().to_string()], &paths[..]].concat());
    paths.map(|path| std::fs::read_to_string(path).expect("a token"))
}

/// A configuration of the compose file's folder, with addresses and places of this machine.
fn composed(name: &str, folder: &Folder, others: &[(&str, String)]) -> String {
    std::fs::create_dir_all(folder.path("state")).expect("a directory");
    let path = |name: &str| folder.path(name).display().to_string();
    let own = [
        (TOKENS[0], path("all")),
        (TOKENS[1], path("look")),
        ("0.0.0.0:9090", "0.0.0.0:0".to_owned()),
        ("\":8080\"", "'127.0.0.1:0'".to_owned()),
    ];
    own.iter().chain(others).fold(read(&format!("compose/gateway/{name}.yaml")), |yaml, (from, to)| {
        assert!(yaml.contains(from), "{from} in {yaml}");
        yaml.replace(from, to)
    })
}

/// `up` works in a fresh checkout: by the schema of Compose, without variables or secrets that somebody must have set, and with
/// nothing that has to be copied into a root that is read-only.
#[test]
fn the_compose_file_is_what_compose_takes() {
    let schema = format!("{}/tests/artefacts/compose-1.29.json", env!("CARGO_MANIFEST_DIR"));
    runs_python("compose.py", &[schema.clone(), shipped("compose.yaml").display().to_string()]);
    let (folder, compose) = (Folder::new(), read("compose.yaml"));
    let secret = "\nsecrets:\n  key: { environment: RINGGATE_KEY }\n";
    for (from, to, told) in [
        ("    read_only: true\n", "    readonly: true\n", "readonly"),
        ("${RINGGATE_CONFIG:-gateway}", "${RINGGATE_CONFIG}", "RINGGATE_CONFIG} has no default"),
        ("    cap_drop: [ALL]\n", "    secrets: [key]\n", "gateway: secrets/key is no file, and its root is read-only"),
        ("  policy:\n  admin_token:\n", "  policy:\n", "the volume admin_token is not declared"),
        ("    depends_on: [prometheus]\n", "    depends_on: [redis]\n", "grafana waits for redis"),
        ("./compose/tokens.sh:", "./compose/token.sh:", "./compose/token.sh is not there"),
    ] {
        assert!(compose.contains(from), "{from}");
        let secret = if to.contains("secrets") { secret } else { "" };
        let broken = folder.write("broken.yaml", compose.replace(from, to) + secret);
        let said = run(PYTHON, &[script("compose.py"), schema.clone(), broken.display().to_string()], "");
        assert!(!said.is_content && said.text.contains(told), "{told}: {}", said.text);
    }
}

/// The tokens are made once, each another one, for others than root to read.
#[test]
fn the_tokens_of_the_compose_file_are_made_once() {
    let folder = Folder::new();
    let [all, look] = makes_tokens(&folder);
    assert!(all != look && all.len() == 32 && all.bytes().all(|byte| byte.is_ascii_hexdigit()), "{all} {look}");
    assert_eq!(makes_tokens(&folder), [all, look]);
    let compose = read("compose.yaml");
    assert!(compose.contains(r#"["sh", "/tokens.sh", "/admin/token", "/read/token"]"#), "{compose}");
    for mount in ["admin_token:/admin\n", "admin_token:/run/ringgate/admin:ro\n", "read_token:/run/ringgate/read:ro\n"]
    {
        assert!(compose.contains(mount), "{mount}");
    }
}

/// What runs in the container of the compose file: its configuration serves, the health check tells so, the token for looking is
/// enough for a scrape, and the signal that stops it ends it well.
#[test]
fn the_container_serves_is_checked_and_stops() {
    let (origin, folder) = (Origin::echo(), Folder::new());
    let [all, look] = makes_tokens(&folder);
    let state = folder.path("state").display().to_string();
    let upstream = format!("http://{}", origin.address());
    let yaml = composed("gateway", &folder, &[("/var/lib/ringgate", state), ("http://upstream:80", upstream)]);
    let mut gateway = Gateway::start_in(folder, &yaml);
    gateway.client().asks("/x").expects(200);
    let port = gateway.admin().port().to_string();
    let health = || binary().arg("health").env("CONFIG_PORT", &port).output().expect("a child").status.code();
    assert_eq!(health(), Some(0), "without a token");
    assert_eq!(asks(&gateway, "GET", "/metrics", Some(&look)).0, 200);
    assert_eq!(asks(&gateway, "POST", "/reload", Some(&look)).0, 403);
    assert_eq!(asks(&gateway, "POST", "/reload", Some(&all)).0, 200);
    gateway.signal(libc::SIGTERM);
    assert_eq!(gateway.process.exit_code(), Some(0));
    gateway.notice("shutting down gracefully");
    assert_eq!(health(), Some(1));
}

/// With the profiles `redis` and `jaeger` its other configuration uses both, and serves without either.
#[test]
fn the_profiles_of_the_compose_file_are_of_use() {
    let (origin, collector, mut redis, folder) = (Origin::echo(), Collector::start(), Redis::start(), Folder::new());
    let [_, look] = makes_tokens(&folder);
    let others = [
        ("http://upstream:80", format!("http://{}", origin.address())),
        ("redis://redis:6379", redis.url()),
        ("http://jaeger:4318", format!("http://{}", collector.address())),
    ];
    let yaml = composed("everything", &folder, &others);
    let mut gateway = Gateway::start_in(folder, &yaml);
    redis.obeys(&["SET", "gateway:policy", r#"{"enabled": false}"#]);
    until_true("the policy of Redis", || gateway.client().asks("/policy").expects_any().status() == 429);
    redis.obeys(&["SET", "gateway:policy", r#"{"enabled": true}"#]);
    until_true("the policy of Redis again", || gateway.client().asks("/x").expects_any().status() == 200);
    collector.exchange("/x");
    // Beside the policy.
    until_true("a count of the limit", || redis.says(["DBSIZE"]) != [":1"]);
    redis.is_killed();
    drop(collector);
    gateway.client().asks("/y").expects(200);
    assert_eq!(asks(&gateway, "GET", "/metrics", Some(&look)).0, 200);
    gateway.signal(libc::SIGTERM);
    assert_eq!(gateway.process.exit_code(), Some(0));
}

/// The configurations of the compose file's folder and in the manifests pass `check`.
#[test]
fn the_configurations_of_the_artefacts_pass_their_check() {
    let folder = Folder::new();
    let secret = folder.write("secret", "0123456789abcdef");
    for (name, yaml) in [
        ("compose", read("compose/gateway/gateway.yaml")),
        ("everything", read("compose/gateway/everything.yaml")),
        ("kubernetes", of_the_manifests()),
    ] {
        let words = yaml.split("${file:").map(|part| match part.split_once('}') {
            Some((path, rest)) if path.starts_with("/run/") => format!("${{file:{}}}{rest}", secret.display()),
            _ => part.to_owned(),
        });
        let file = folder.write(&format!("{name}.yaml"), words.collect::<String>());
        runs(BINARY, &[Path::new("check"), Path::new("-c"), &file]);
    }
}

/// The manifests are what the API of Kubernetes takes, by its own schemas.
#[test]
fn the_manifests_fit_the_schemas_of_kubernetes() {
    let schemas = format!("{}/tests/artefacts/kubernetes-1.31.json", env!("CARGO_MANIFEST_DIR"));
    let manifests = shipped("kubernetes/ringgate.yaml").display().to_string();
    runs_python("manifests.py", &[schemas.clone(), manifests]);
    let folder = Folder::new();
    let broken =
        folder.write("broken.yaml", read("kubernetes/ringgate.yaml").replace("minReplicas: 3", "minReplicas: three"));
    let said = run(PYTHON, &[script("manifests.py"), schemas, broken.display().to_string()], "");
    assert!(!said.is_content && said.text.contains("spec/minReplicas"), "{}", said.text);
}

/// The seconds of all waits in a file of the source whose constants have this name or one that ends so.
fn waits_s(source: &str, name: &str) -> u64 {
    let text = read(&format!("../src/control/{source}"));
    let waits = text
        .lines()
        .filter_map(|line| line.split_once(&format!("{name}: Duration = Duration::from_secs("))?.1.split(')').next());
    let waits: Vec<u64> = waits.map(|wait| wait.parse().expect("seconds")).collect();
    assert!(!waits.is_empty(), "{source} has no {name}");
    waits.iter().sum()
}

/// The number that follows `key` in a text.
fn number(text: &str, key: &str) -> u64 {
    let (_, rest) = text.split_once(key).unwrap_or_else(|| panic!("no {key} in {text}"));
    rest.chars().take_while(char::is_ascii_digit).collect::<String>().parse().expect("a number")
}

/// Whoever stops a gateway gives it the time that a shutdown can take, and whoever starts it that for the names of endpoints.
#[test]
fn a_start_and_a_stop_get_the_time_that_they_can_take() {
    let effective =
        runs(BINARY, &[Path::new("dump"), Path::new("--effective"), Path::new("-c"), &shipped("minimal.yaml")]);
    let grace = number(&effective, "shutdown_grace: ");
    let stop = Duration::from_secs(grace + waits_s("shutdown.rs", "PATIENCE") + waits_s("journal.rs", "PATIENCE"));
    let start = Duration::from_secs(waits_s("names.rs", "PATIENCE"));
    let fits = |given: u64, needed: Duration, what: &str| {
        assert!(given >= needed.as_secs() + 5, "{what}: {given} s for {needed:?}");
    };
    let (unit, compose) = (read("ringgate.service"), read("compose.yaml"));
    fits(number(&unit, "TimeoutStopSec="), stop, "the unit's stop");
    fits(number(&unit, "TimeoutStartSec="), start, "the unit's start");
    fits(number(&compose, "stop_grace_period: "), stop, "the compose file's stop");
    fits(number(&compose, "start_period: "), start, "the compose file's start");
    fits(number(&read("Dockerfile"), "--start-period="), start, "the image's start");
    fits(number(&read("Dockerfile"), "# `docker stop` "), stop, "the image's stop");
    assert_eq!(number(&of_the_manifests(), "shutdown_grace: "), grace);
    let pod = &manifest("Deployment")["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    let before = container["lifecycle"]["preStop"]["exec"]["command"][1].as_str().expect("seconds");
    let before = Duration::from_secs(before.parse().expect("a number"));
    fits(pod["terminationGracePeriodSeconds"].as_u64().expect("a number"), stop + before, "the pod's stop");
    let probe = |name: &str, key: &str| container[name][key].as_u64().expect("a number");
    fits(probe("startupProbe", "periodSeconds") * probe("startupProbe", "failureThreshold"), start, "the pod's start");
    assert!(probe("readinessProbe", "failureThreshold") >= 2 && probe("readinessProbe", "timeoutSeconds") >= 2);
}

/// What the manifests allow in connections fits into the memory of a pod, by the formula of the runbook; the autoscaler adds pods
/// long before, and by CPU at what the runbook plans for.
#[test]
fn a_pod_has_the_memory_for_its_connections() {
    let most = number(&of_the_manifests(), "max_connections: ");
    let runbooks = read("../docs/runbooks.md");
    let (base, each) =
        (number(&runbooks, "As a rule of thumb: "), number(&runbooks, "for each thousand requests at work "));
    let limits = &manifest("Deployment")["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"];
    let memory = limits["memory"].as_str().and_then(|text| text.strip_suffix("Mi")?.parse::<u64>().ok()).expect("MiB");
    let needed = base + each * most / 1000;
    assert!(needed * 5 <= memory * 4, "{needed} of {memory} MiB");
    let scaler = manifest("HorizontalPodAutoscaler");
    let metrics = scaler["spec"]["metrics"].as_array().expect("a list");
    assert_eq!(metrics[0]["pods"]["target"]["averageValue"], "500m");
    assert_eq!(metrics[1]["pods"]["target"]["averageValue"], "700m");
    assert_eq!(metrics[2]["resource"]["target"]["averageUtilization"], 50);
    let words: Vec<&str> = runbooks.split_whitespace().collect();
    assert!(words.join(" ").contains("Plan for half of a core at peak"), "another plan");
}

/// A build is sent what it is made of, and neither what builds have left nor the history.
#[test]
fn a_build_is_sent_no_more_than_it_needs() {
    let ignored = read("../.dockerignore");
    for line in [".git", "**/target"] {
        assert!(ignored.lines().any(|other| other == line), "{line}");
    }
    // Cargo wants the files of every target that the manifest names, though the image has only one.
    for needed in ["src", "benches", "config", "Cargo.lock"] {
        assert!(!ignored.lines().any(|line| line.trim_matches('/') == needed), "{needed}");
    }
}
