//! The dashboards and the configuration of `config`, with a real Prometheus that scrapes a gateway under load.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::containers::of_the_manifests;
use super::endpoint::Endpoint;
use super::folder::Folder;
use super::gateway::{Gateway, json};
use super::origin::Origin;
use super::plan::{Io, Plan};
use super::process::{Lines, Process};
use super::tool::run;
use super::wait::until_true;
use super::wire::Wire;

/// A running Prometheus; it is killed when the test is done with it.
struct Prometheus {
    _process: Process,
    /// It ends when nobody reads its log.
    _lines: Lines,
    _folder: Folder,
    address: String,
}

impl Prometheus {
    /// Runs the configuration that is shipped, five times a second instead of every five, on this gateway.
    fn scraping(gateway: &Gateway) -> Self {
        let folder = Folder::new();
        let shipped = read("prometheus/prometheus.yml");
        assert!(shipped.contains("127.0.0.1:9090") && shipped.contains(": 5s"), "{shipped}");
        let config = shipped.replace("127.0.0.1:9090", &gateway.admin().to_string()).replace(": 5s", ": 200ms");
        folder.write("prometheus.yml", config);
        folder.write("alerts.yml", read("prometheus/alerts.yml"));
        let mut command = Command::new("prometheus");
        command.args(["--config.file=prometheus.yml", "--storage.tsdb.path=kept", "--web.listen-address=127.0.0.1:0"]);
        command.current_dir(&folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut process = Process::start(&mut command);
        let lines = Lines::of(process.child().stderr.take().expect("a pipe"));
        let address = lines.first("`Listening on`", |line| {
            line.contains("msg=\"Listening on\"")
                .then(|| line.rsplit_once("address=").expect("an address").1.to_owned())
        });
        Self { _process: process, _lines: lines, _folder: folder, address }
    }

    /// The series that a query finds now.
    fn finds(&self, query: &str) -> Vec<Value> {
        let mut wire = Wire::to(self.address.parse().expect("an address"));
        let (host, query) = (&self.address, escaped(query));
        wire.sends(format!("GET /api/v1/query?query={query} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"));
        let mut answer = wire.reads_head();
        wire.reads_body(&mut answer);
        // Until its store is open it answers with 503.
        if answer.status() == 503 {
            return Vec::new();
        }
        assert_eq!(answer.status(), 200, "{answer}");
        json(answer.text())["data"]["result"].as_array().expect("a list").clone()
    }
}

/// A file of `config`.
fn read(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("config").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"))
}

fn escaped(query: &str) -> String {
    query.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// A query with the variables of its dashboard filled in.
fn filled(expr: &str) -> String {
    expr.replace("$__rate_interval", "30s").replace("$instance", ".*")
}

/// What every panel asks for, with the variables of the dashboard filled in.
fn queries() -> Vec<(String, String)> {
    let names = ["gateway", "clusters", "policies"];
    let boards = names.map(|name| (name, json(&read(&format!("grafana/dashboards/{name}.json")))));
    let mut queries = Vec::new();
    for (name, board) in &boards {
        for mark in board["annotations"]["list"].as_array().expect("a list") {
            let (expr, _) = mark["target"]["expr"].as_str().and_then(|expr| expr.split_once(" > 0")).expect("a query");
            queries.push((format!("{name}: marks"), filled(expr)));
        }
        for panel in board["panels"].as_array().expect("a list") {
            for target in panel["targets"].as_array().into_iter().flatten() {
                let place = format!("{name}: {}", panel["title"].as_str().expect("a title"));
                queries.push((place, filled(target["expr"].as_str().expect("a query"))));
            }
        }
    }
    assert!(queries.len() > 50, "{queries:?}");
    queries
}

/// A gateway that has of everything something to tell: a cluster with an adaptive limit, a breaker that opens, a limit
/// that refuses, a live policy.
fn eventful(origin: &Origin) -> Gateway {
    Plan::bare(Io::Uring)
        .cluster_with("app", &[origin.address()], "max_connections: 64, admission: {}, breaker: {}")
        .cluster_with("broken", &[Endpoint::closed()], "breaker: { consecutive: 5 }, health: { active: { kind: tcp } }")
        .policies("few: { rate_limit: { limit: 5/1s } }")
        .route("name: all, match: { path: /* }, cluster: app")
        .route("name: broken, match: { path: /broken }, cluster: broken")
        .route("name: few, match: { path: /few }, cluster: app, policies: [few]")
        .and("policy: {}")
        .start()
}

/// K5: what is shown of each gateway by itself says whose it is.
#[test]
fn every_series_of_one_gateway_is_named_after_it() {
    let mut seen = 0;
    for board in ["gateway", "clusters", "policies"] {
        let board = json(&read(&format!("grafana/dashboards/{board}.json")));
        for panel in board["panels"].as_array().expect("a list") {
            for target in panel["targets"].as_array().into_iter().flatten() {
                let expr = target["expr"].as_str().expect("a query");
                if !["sum", "min"]
                    .iter()
                    .any(|over| expr.contains(&format!("{over}(")) || expr.contains(&format!("{over} by (")))
                {
                    let legend = target["legendFormat"].as_str().unwrap_or_default();
                    assert!(legend.contains("{{instance}}"), "{}: {legend}", panel["title"]);
                    seen += 1;
                }
            }
        }
    }
    assert!(seen >= 8, "{seen} of them");
}

/// K5: every panel has something to show of a gateway under load.
#[test]
fn every_query_of_the_dashboards_finds_something() {
    let origin = Origin::echo();
    let gateway = eventful(&origin);
    let prometheus = Prometheus::scraping(&gateway);
    let mut client = gateway.client();
    let mut left = queries();
    let mut looks = 0;
    until_true("something to show in every panel", || {
        for path in ["/", "/few", "/broken"] {
            client.asks(path).expects_any();
        }
        let mut leaving = gateway.client();
        leaving.asks("/left");
        leaving.resets();
        for switch in [r#"{"enabled": false}"#, r#"{"enabled": true}"#] {
            assert_eq!(gateway.posts("/policy", switch).status(), 200);
            client.asks("/").expects_any();
        }
        left.retain(|(_, query)| prometheus.finds(query).iter().all(|found| found["value"][1] == "NaN"));
        looks += 1;
        assert!(looks < 1_000, "nothing in {left:?}");
        left.is_empty()
    });
    gateway.stop();
}

/// A gateway that has served nobody has refused nothing of nothing: that is 0 %, and neither no answer nor no number.
#[test]
fn a_gateway_without_requests_shows_zero() {
    let gateway = Plan::bare(Io::Epoll).route("name: all, respond: { status: 200 }").start();
    let prometheus = Prometheus::scraping(&gateway);
    until_true("a page", || !prometheus.finds("config_epoch").is_empty());
    for title in ["gateway: Requests", "gateway: Rejected"] {
        let (_, query) = queries().into_iter().find(|(place, _)| place == title).expect("a panel");
        let found = prometheus.finds(&query);
        assert!(found.len() == 1 && found[0]["value"][1] == "0", "{title}: {found:?}");
    }
    gateway.stop();
}

/// A mark is a reload: one that was published, and no other change of what is in force.
#[test]
fn reloads_are_marked_and_other_changes_are_not() {
    let endpoint = Endpoint::listens();
    let gateway = Plan::to(Io::Epoll, &[endpoint.address()]).and("policy: {}").start();
    let prometheus = Prometheus::scraping(&gateway);
    let (_, marks) = queries().into_iter().find(|(place, _)| place == "gateway: marks").expect("marks");
    let epoch = || prometheus.finds("config_epoch").first().map(|found| found["value"][1].clone());
    until_true("a page", || epoch().is_some());
    let before = epoch();
    let place = format!("/clusters/app/{}/drain", endpoint.address());
    assert_eq!(gateway.posts(&place, "").status(), 200);
    until_true("another epoch", || epoch() != before);
    let is_marked = || prometheus.finds(&format!("{marks} > 0")).len() == 1;
    assert!(!is_marked(), "nobody reloaded");
    let yaml = std::fs::read_to_string(gateway.folder.path("gateway.yaml")).expect("its own");
    gateway.adopts(&yaml.replace("reason_header: on", "reason_header: off"));
    until_true("a mark", is_marked);
    gateway.stop();
}

/// L3: the autoscaler asks for a metric that the rule of the adapter makes, and that rule finds it.
#[test]
fn the_autoscaler_has_its_metric() {
    let (manifests, adapter) = (read("kubernetes/ringgate.yaml"), read("kubernetes/adapter.yaml"));
    let [query, of_connections] = ["ringgate_load", "ringgate_connections"].map(|name| {
        assert!(manifests.contains(&format!("metric: {{ name: {name} }}")), "{name}");
        let (_, rule) = adapter.split_once(&format!("as: {name} ")).expect("a rule");
        let (_, query) = rule.split_once("metricsQuery: '").expect("a query");
        let query = query.split_once('\'').expect("its end").0;
        // As the adapter fills it in, but for what Kubernetes adds to the labels.
        query.replace("<<.LabelMatchers>>", "job=\"ringgate\"").replace("<<.GroupBy>>", "instance")
    });
    let endpoint = Endpoint::listens();
    let cap = of_the_manifests();
    let (_, cap) = cap.split_once("max_connections: ").expect("a cap");
    let cap: u32 = cap.lines().next().expect("a number").parse().expect("a number");
    let gateway = Plan::to(Io::Uring, &[endpoint.address()]).runtime(&format!("max_connections: {cap}")).start();
    let prometheus = Prometheus::scraping(&gateway);
    let mut client = gateway.client();
    client.asks("/held");
    let mut upstream = endpoint.accepts();
    upstream.expects("GET /held");
    let is = |query: &str, value: f64| {
        let found = prometheus.finds(query);
        let found = found.first().and_then(|found| found["value"][1].as_str()?.parse::<f64>().ok());
        found.is_some_and(|found| (found - value).abs() < 1e-9)
    };
    until_true("one request of what the manifests allow", || is(&query, 1.0 / f64::from(cap)));
    upstream.replies_with("ok");
    client.expects(200);
    until_true("none", || is(&query, 0.0));
    assert!(is(&of_connections, 1.0 / f64::from(cap)), "the client rests, and has its connection");
    gateway.stop();
}

/// K5: what the alerts ask for exists.
#[test]
fn every_name_in_the_alerts_is_on_the_page() {
    let origin = Origin::echo();
    let gateway = eventful(&origin);
    let page = gateway.metrics();
    let rules = read("prometheus/alerts.yml");
    let is_of_a_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let families: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    let words: BTreeSet<&str> = rules
        .lines()
        .filter(|line| !line.trim_start().starts_with('#') && !line.contains("alert:") && !line.contains("summary:"))
        .flat_map(|line| line.split(|c| !is_of_a_name(c)))
        .filter(|word| word.contains('_') && !word.starts_with('_') && !word.ends_with("_over_time"))
        .collect();
    assert!(words.len() > 10, "{words:?}");
    for word in words {
        let family = ["_bucket", "_sum", "_count"].iter().find_map(|end| word.strip_suffix(end)).unwrap_or(word);
        assert!(families.contains(&family), "{word} is not on the page");
    }
    gateway.stop();
}

/// K1, word for word: every name, and what it is.
#[test]
fn every_name_of_the_contract_is_on_the_page() {
    let origin = Origin::echo();
    let gateway = eventful(&origin);
    let page = gateway.metrics();
    for (family, kind) in [
        ("http_requests_total", "counter"),
        ("http_request_duration_seconds", "histogram"),
        ("http_requests_active", "gauge"),
        ("upstream_errors_total", "counter"),
        ("policy_sync_duration_ms", "histogram"),
        ("net_connections_active", "gauge"),
        ("net_connections_idle", "gauge"),
        ("gateway_rejected_requests_total", "counter"),
        ("upstream_connection_saturation_ratio", "gauge"),
        ("circuit_breaker_state", "gauge"),
        ("rate_limiter_rejected_total", "counter"),
        ("upstream_endpoint_healthy", "gauge"),
        ("memory_usage_bytes", "gauge"),
        ("max_connections", "gauge"),
        ("upstream_connection_reuse_ratio", "gauge"),
        ("worker_tasks", "gauge"),
        ("worker_stall_seconds_max", "gauge"),
    ] {
        assert!(page.lines().any(|line| line == format!("# TYPE {family} {kind}")), "{family} is missing:\n{page}");
    }
    // The buckets that were asked for, and finer ones below.
    for bound in ["0.001", "0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1.0", "2.5", "5.0", "10.0", "+Inf"]
    {
        assert!(page.contains(&format!("http_request_duration_seconds_bucket{{le=\"{bound}\"}} ")), "{bound}\n{page}");
    }
    gateway.stop();
}

/// K1: the page is as Prometheus wants it; the one complaint is about a name that its contract gives.
#[test]
fn promtool_finds_nothing_wrong_with_the_page() {
    let origin = Origin::echo();
    let gateway = eventful(&origin);
    let mut client = gateway.client();
    for path in ["/", "/broken", "/few"] {
        client.asks(path).expects_any();
    }
    let said = run("promtool", &["check", "metrics"], &gateway.metrics());
    assert_eq!(said.text.trim(), "policy_sync_duration_ms metric names should not contain abbreviated units");
    gateway.stop();
}

/// K5: every alert fires and clears, and its text is as it is meant.
#[test]
fn every_alert_fires_and_clears() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/config/prometheus/");
    let said = run("promtool", &["test", "rules", &format!("{folder}alerts_test.yml")], "");
    assert!(said.is_content && said.text.contains("SUCCESS"), "{}", said.text);
    let said = run("promtool", &["check", "config", &format!("{folder}prometheus.yml")], "");
    assert!(said.is_content && said.text.contains("17 rules found"), "{}", said.text);
    // That of the compose file, which has rules and token in places of its container.
    let place = Folder::new();
    let (rules, token) = (place.write("alerts.yml", read("prometheus/alerts.yml")), place.write("token", "t"));
    let composed = read("compose/prometheus.yml").replace("/run/ringgate/read/token", &token.display().to_string());
    let composed = place.write("prometheus.yml", composed);
    assert!(rules.exists());
    let said = run("promtool", &["check", "config", &composed.display().to_string()], "");
    assert!(said.is_content && said.text.contains("17 rules found"), "{}", said.text);
    let (rules, tests) = (read("prometheus/alerts.yml"), read("prometheus/alerts_test.yml"));
    let runbooks = read("../docs/runbooks.md").to_lowercase();
    for place in rules.lines().filter_map(|line| line.trim().strip_prefix("runbook: docs/runbooks.md#")) {
        assert!(runbooks.contains(&format!("\n### {place}\n")), "no runbook of {place}");
    }
    for alert in rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        let looks: Vec<&str> =
            tests.split("alertname: ").filter(|look| look.starts_with(&format!("{alert}\n"))).collect();
        assert!(looks.iter().any(|look| look.contains("exp_labels")), "{alert} is not shown firing");
        assert!(looks.last().is_some_and(|look| look.contains("exp_alerts: []")), "{alert} is not shown clearing");
    }
}
