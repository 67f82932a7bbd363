//! Tests of the whole room: text in, configuration or report out.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::*;

mod clusters;
mod routes;
mod tls;

/// Files and variables in memory.
#[derive(Default)]
struct Memory {
    files: BTreeMap<PathBuf, Vec<u8>>,
    variables: BTreeMap<String, String>,
}

impl Memory {
    fn of(text: &str) -> Self {
        Self::default().file("etc/gateway.yaml", text)
    }

    fn file(mut self, path: &str, text: impl AsRef<[u8]>) -> Self {
        self.files.insert(PathBuf::from(path), text.as_ref().to_vec());
        self
    }

    fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.insert(name.to_owned(), value.to_owned());
        self
    }

    fn load(&self) -> Result<Loaded, Report> {
        load(Path::new("etc/gateway.yaml"), self)
    }

    fn config(&self) -> Config {
        self.load().unwrap_or_else(|report| panic!("refused:\n{report}")).config
    }

    fn report(&self) -> String {
        self.load().map(drop).expect_err("has errors").to_string()
    }
}

impl Sources for Memory {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.files.get(path).cloned().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }

    fn env(&self, name: &str) -> Option<String> {
        self.variables.get(name).cloned()
    }

    fn glob(&self, pattern: &str) -> Result<Vec<PathBuf>, String> {
        let pattern = glob::Pattern::new(pattern).expect("a legal glob");
        // Against the order, because the caller has to sort.
        Ok(self.files.keys().rev().filter(|path| pattern.matches_path(path)).cloned().collect())
    }
}

/// The configuration that a text says, for tests of those who take one.
pub(crate) fn of_text(text: &str) -> Config {
    Memory::of(text).config()
}

const MINIMAL: &str = "version: 1\nlisteners: { web: { address: ':8080' } }\nclusters: { app: { endpoints: [{ url: 'http://10.0.0.7:3000' }] } }\nroutes: [{ name: all, cluster: app }]\n";

/// An endpoint of which nothing but the URL was given.
fn endpoint(host: &str, port: u16) -> Endpoint {
    Endpoint { scheme: Scheme::Http, host: host.to_owned(), port, weight: 1, priority: 0, dns_ttl_max: None }
}

#[test]
fn what_is_left_out_has_its_documented_default() {
    let config = Memory::of(MINIMAL).config();
    let runtime = Runtime {
        workers: Workers::Auto,
        io: Io::Auto,
        user: None,
        sandbox: true,
        shutdown_grace: Duration::from_secs(30),
        idle_grace: Duration::from_secs(1),
        upgrade_timeout: Duration::from_secs(20),
        max_connections: 50_000,
        memory_limit: MemoryLimit::Auto,
        accept_balance: true,
    };
    assert_eq!(config.runtime, runtime);
    let dns = Dns {
        servers: Vec::new(),
        timeout: Duration::from_secs(2),
        ttl_min: Duration::from_secs(1),
        ttl_max: Duration::from_secs(30),
    };
    assert_eq!(config.dns, dns);
    assert_eq!(config.admin.listen, AdminListen::Tcp("127.0.0.1:9090".parse().expect("an address")));
    let listener = &config.listeners[0];
    assert_eq!((listener.name.as_str(), listener.address.to_string().as_str()), ("web", "0.0.0.0:8080"));
    assert_eq!((listener.health_path.as_deref(), listener.strict_host), (Some("/health"), false));
    assert!(listener.trusted_proxies.is_empty());
    let limits = ListenerLimits {
        header_bytes: 64 * 1024,
        header_count: 128,
        header_timeout: Duration::from_secs(10),
        handshake_timeout: Duration::from_secs(10),
        idle_timeout: Duration::from_secs(75),
        body_min_rate: BodyMinRate { bytes_per_second: 1024, grace: Duration::from_secs(10) },
        write_timeout: Duration::from_secs(30),
        connections: None,
        connections_per_client: None,
        h2_streams: 100,
    };
    assert_eq!(listener.limits, limits);
    let keepalive = Keepalive {
        idle_per_endpoint: 1000,
        idle_total: 10_000,
        idle_timeout: Duration::from_secs(90),
        tcp: Some(Duration::from_secs(30)),
        ping_after: Some(Duration::from_secs(10)),
        ping_timeout: Duration::from_secs(5),
    };
    assert_eq!(config.clusters[0].keepalive, keepalive);
    let route = &config.routes[0];
    assert_eq!((&route.host, &route.path), (&HostMatch::Any, &PathMatch::Prefix("/".to_owned())));
    assert_eq!((route.action.clone(), route.body_limit), (Action::Forward { cluster: 0 }, Some(10 << 20)));
    let timeouts = Timeouts {
        connect: Duration::from_secs(5),
        response_header: Duration::from_secs(10),
        request: Duration::from_secs(30),
        body_idle: Duration::from_secs(30),
        tunnel_idle: Duration::from_secs(3600),
    };
    assert_eq!((route.timeouts, route.host_header), (timeouts, HostHeader::Preserve));
    let sample = Sample { ok: 1.0, slow_over: Duration::from_millis(500), slow_share: 1.0, errors: 1.0 };
    assert_eq!(config.access_log, AccessLog { output: Output::Stdout, sample });
    assert_eq!((config.reason_header, config.watch), (false, true));
}

#[test]
fn defaults_of_the_file_stand_in_for_what_a_route_or_cluster_leaves_out() {
    let text = MINIMAL.to_owned()
        + "defaults:\n  route: { timeouts: { request: 2s, connect: 1s }, body_limit: 0 }\n  cluster: { keepalive: { tcp: off, ping_after: off, idle_total: 7 } }\n";
    let text = text.replace(
        "cluster: app }]",
        "cluster: app, timeouts: { connect: 3s } }, { name: b, match: { path: /b }, cluster: app, body_limit: 1B }]",
    );
    let config = Memory::of(&text).config();
    let timeouts = config.routes[0].timeouts;
    assert_eq!((timeouts.connect, timeouts.request), (Duration::from_secs(3), Duration::from_secs(2)));
    assert_eq!((config.routes[0].body_limit, config.routes[1].body_limit), (None, Some(1)));
    let keepalive = config.clusters[0].keepalive;
    assert_eq!((keepalive.tcp, keepalive.ping_after, keepalive.idle_total), (None, None, 7));
    assert_eq!(keepalive.ping_timeout, Duration::from_secs(5));
}

#[test]
fn substituted_values_become_what_their_place_wants() {
    let text =
        "version: ${V}\nruntime: { workers: \"${W}\", max_connections: \"${C:-9}\" }\nreload: { watch: '${WATCH}' }\n"
            .to_owned()
            + &MINIMAL.replace("version: 1\n", "").replace("http://10.0.0.7:3000", "http://${HOST:-h}:${PORT}");
    let memory =
        Memory::of(&text).variable("V", "1").variable("W", "3").variable("WATCH", "false").variable("PORT", "81");
    let config = memory.config();
    assert_eq!(
        (config.runtime.workers.clone(), config.runtime.max_connections, config.watch),
        (Workers::Count(3), 9, false)
    );
    assert_eq!(config.clusters[0].endpoints, [endpoint("h", 81)]);
    assert_eq!(memory.variable("W", "auto").config().runtime.workers, Workers::Auto);
}

#[test]
fn a_secret_from_a_file_is_read_beside_the_configuration_and_watched() {
    let text = MINIMAL.replace("cluster: app", "cluster: app, headers: { request: { set: { x-key: '${file:key}' } } }");
    let loaded = Memory::of(&text).file("etc/key", "s3cret\n").load().expect("legal");
    assert_eq!(loaded.config.routes[0].request_headers.set, [("x-key".to_owned(), "s3cret".to_owned())]);
    assert_eq!(loaded.files, [PathBuf::from("etc/gateway.yaml"), PathBuf::from("etc/key")]);
}

#[test]
fn a_substituted_value_is_never_shown() {
    let text = "version: 1\nruntime: { io: '${S}', workers: '${S}', shutdown_grace: '${S}', max_connections: '${S}' }\nadmin: { listen: '${S}' }\nlisteners:\n  web: { address: '${S}', health_path: '${S}', limits: { header_bytes: '${S}' }, trusted_proxies: ['${S}'], strict_host: '${S}' }\ndns: { servers: ['${S}'], ttl_max: '${S}' }\nclusters:\n  app: { balance: '${S}', hash_key: '${S}', max_connections: '${S}', none_healthy: '${S}', endpoints: [{ url: '${S}', weight: '${S}' }, { url: '${T}', priority: '${S}' }], keepalive: { tcp: '${S}' } }\n  probed: { hash_key: { cookie: '${S}' }, endpoints: [{ url: '${V}' }, { url: '${V}' }], health: { active: { kind: https, ca: '${U}', path: '${S}', host: '${S}', expect: '${S}', server_name: '${S}', service: '${S}' } }, breaker: { error_rate: '${S}' } }\nroutes:\n  - { name: '${S}', cluster: '${S}', match: { host: '${S}', path: '${S}', methods: ['${S}'], headers: { a: '${file:bad}' } } }\n  - { name: '${S}', cluster: '${T}', redirect: { to: '${S}', status: '${S}' } }\n  - { name: '${U}', cluster: '${U}', mirror: { cluster: '${U}', share: '${S}' }, retry: { on: ['${S}', '${U}'], methods: '${S}' } }\n  - { name: '${S}', split: [{ cluster: '${U}', weight: '${S}' }], split_key: '${S}' }\n  - { name: '${U}', respond: { status: '${S}' } }\nobservability: { reason_header: '${S}', access_log: { output: '${T}', sample: { ok: '${S}' } } }\n";
    let secret = "hunter2 \u{1f511}";
    let memory = Memory::of(text)
        .variable("S", secret)
        .variable("T", "https://hunter2.example")
        .variable("U", "hunter2")
        .variable("V", "http://hunter2.example")
        .file("etc/bad", "hunter2\nhunter2\n")
        .variable("CONFIG_PORT", "hunter2");
    let report = memory.report();
    assert!(!report.contains("hunter2"), "{report}");
    assert!(report.lines().filter(|line| line.starts_with("error: ")).count() > 45, "{report}");
}

#[test]
fn included_files_are_read_in_sorted_order_and_only_once() {
    let main = "include: [conf.d/*.yaml, conf.d/b.yaml, '*.yaml']\n".to_owned() + MINIMAL;
    let route = |name: &str| format!("routes: [{{ name: {name}, match: {{ path: /{name} }}, cluster: app }}]\n");
    let memory = Memory::of(&main).file("etc/conf.d/b.yaml", route("b")).file("etc/conf.d/a.yaml", route("a"));
    let loaded = memory.load().expect("legal");
    let names: Vec<&str> = loaded.config.routes.iter().map(|route| route.name.as_str()).collect();
    assert_eq!(names, ["all", "a", "b"]);
    let files: Vec<&str> = loaded.files.iter().filter_map(|file| file.to_str()).collect();
    assert_eq!(files, ["etc/conf.d/a.yaml", "etc/conf.d/b.yaml", "etc/gateway.yaml"]);
}

#[test]
fn a_bracket_in_the_name_of_a_directory_is_no_wildcard() {
    let more = "routes: [{ name: a, match: { path: /a }, cluster: app }]\n";
    let main = "include: ['conf.d/*.yaml']\n".to_owned() + MINIMAL;
    let memory = Memory::default().file("et[c]/gateway.yaml", main).file("et[c]/conf.d/a.yaml", more);
    let loaded = load(Path::new("et[c]/gateway.yaml"), &memory).expect("legal");
    assert_eq!(loaded.config.routes.len(), 2);
}

#[test]
fn a_name_defined_twice_names_both_files_and_lines() {
    let main = "include: [more.yaml]\n".to_owned() + MINIMAL;
    let more = "# comment\nclusters:\n  app: { endpoints: [{ url: 'http://x' }] }\nlisteners: { web: { address: ':81' } }\nroutes:\n  - { name: all, match: { path: /x }, cluster: app }\n";
    let report = Memory::of(&main).file("etc/more.yaml", more).report();
    assert!(report.contains("error: etc/more.yaml:3:3: the cluster `app` is defined twice\n"), "{report}");
    assert!(report.contains("      = the other one is at etc/gateway.yaml:4:13\n"), "{report}");
    assert!(
        report.contains("the listener `web` is defined twice") && report.contains("the route `all` is defined twice"),
        "{report}"
    );
    assert!(report.ends_with("3 errors\n"), "{report}");
}

#[test]
fn a_broken_include_does_not_make_its_names_unknown() {
    let main = "include: [a.yaml, b.yaml]\n".to_owned() + &MINIMAL.replace("cluster: app }", "cluster: elsewhere }");
    let report = Memory::of(&main).file("etc/a.yaml", "clusters: [\n").report();
    assert!(report.contains("error: etc/a.yaml:"), "{report}");
    assert!(report.contains("cannot read the included file `etc/b.yaml`"), "{report}");
    assert!(report.ends_with("2 errors\n"), "{report}");
}

#[test]
fn a_start_without_a_file_takes_three_variables() {
    let memory = Memory::default().variable("UPSTREAM_URL", "http://host:3000").variable("CONFIG_PORT", "9191");
    let loaded = from_environment(&memory).expect("legal");
    assert_eq!(loaded.config.listeners[0].address.to_string(), "0.0.0.0:8080");
    assert_eq!(loaded.config.clusters[0].endpoints, [endpoint("host", 3000)]);
    assert_eq!(loaded.config.admin.listen, AdminListen::Tcp("127.0.0.1:9191".parse().expect("an address")));
    assert_eq!((loaded.config.watch, loaded.files, loaded.warnings.is_empty()), (false, Vec::new(), true));
    let memory = memory.variable("LISTEN_ADDR", "127.0.0.1:0");
    assert_eq!(from_environment(&memory).expect("legal").config.listeners[0].address.to_string(), "127.0.0.1:0");
}

#[test]
fn a_start_without_a_file_names_the_variable_that_is_wrong() {
    let report = from_environment(&Memory::default()).expect_err("no upstream").to_string();
    assert!(report.starts_with("error: the environment variable `UPSTREAM_URL` is not set"), "{report}");
    let memory = Memory::default()
        .variable("UPSTREAM_URL", "ftp://h")
        .variable("LISTEN_ADDR", "8080")
        .variable("CONFIG_PORT", "x");
    let report = from_environment(&memory).expect_err("all wrong").to_string();
    for name in ["`${UPSTREAM_URL}`", "`${LISTEN_ADDR:-:8080}`", "`CONFIG_PORT`"] {
        assert!(report.contains(name), "{report}");
    }
    assert!(report.ends_with("3 errors\n"), "{report}");
}

#[test]
fn the_port_of_the_admin_endpoint_is_the_files_before_the_variables() {
    let with = |listen: &str| format!("admin: {{ listen: {listen} }}\n{MINIMAL}");
    let admin = |text: &str| Memory::of(text).variable("CONFIG_PORT", "9999").config().admin.listen;
    assert_eq!(admin(MINIMAL), AdminListen::Tcp("127.0.0.1:9999".parse().expect("an address")));
    assert_eq!(admin(&with("'[::1]'")), AdminListen::Tcp("[::1]:9999".parse().expect("an address")));
    assert_eq!(admin(&with("127.0.0.1:1")), AdminListen::Tcp("127.0.0.1:1".parse().expect("an address")));
    assert_eq!(admin(&with("off")), AdminListen::Off);
    assert_eq!(admin(&with("unix:run/a.sock")), AdminListen::Unix(PathBuf::from("etc/run/a.sock")));
    assert_eq!(admin(&with("unix:/run/a.sock")), AdminListen::Unix(PathBuf::from("/run/a.sock")));
}

#[test]
fn what_nobody_uses_is_warned_of() {
    let text = MINIMAL.replace("app: {", "spare: { endpoints: [{ url: 'http://x' }] }, app: {");
    let warnings = Memory::of(&text).load().expect("legal").warnings;
    let shown = warnings.to_string();
    assert!(shown.starts_with("warning: etc/gateway.yaml:3:13: no route uses the cluster `spare`\n"), "{shown}");
    assert_eq!((warnings.errors, warnings.warnings), (0, 1), "{shown}");
    let text = MINIMAL.replace("routes: [{ name: all, cluster: app }]\n", "");
    assert_eq!(Memory::of(&text).load().expect("legal").warnings.warnings, 2);
}

#[test]
fn fields_and_methods_come_out_in_their_canonical_form() {
    let text = MINIMAL.replace(
        "cluster: app }]",
        "cluster: app, match: { host: API.Example.com., methods: [POST, GET, POST], headers: { X-Version: '2' }, query: { q: '' } }, headers: { request: { set: { X-Edge: '1' }, remove: [X-Debug] } }, rewrite: { prefix: / } }]",
    );
    let route = Memory::of(&text).config().routes.remove(0);
    assert_eq!(route.host, HostMatch::Exact("api.example.com".to_owned()));
    assert_eq!(route.methods, ["GET", "POST"]);
    assert_eq!(
        (route.headers, route.query),
        (vec![("x-version".to_owned(), "2".to_owned())], vec![("q".to_owned(), String::new())])
    );
    assert_eq!(route.request_headers.set, [("x-edge".to_owned(), "1".to_owned())]);
    assert_eq!((route.request_headers.remove, route.rewrite_prefix.as_deref()), (vec!["x-debug".to_owned()], Some("")));
}

#[test]
fn anchors_and_aliases_are_taken() {
    let text = MINIMAL.replace("cluster: app }]", "cluster: app, timeouts: &slow { request: 9s } }, { name: b, match: { path: /b }, cluster: app, timeouts: *slow }]");
    let config = Memory::of(&text).config();
    assert_eq!(config.routes[1].timeouts.request, Duration::from_secs(9));
}

#[test]
fn garbage_of_every_kind_is_refused_without_a_panic() {
    let kinds: [&[u8]; 22] = [
        b"",
        b"\n# nothing\n",
        b"---\n",
        b"- a\n- b\n",
        b"text",
        b"1",
        b"null",
        b"\xff\xfe",
        b"\0",
        b"version: 1\n\tx: 1",
        b"{",
        b"[[[[",
        b"a: b: c",
        b"version: 1\n---\nversion: 1\n",
        b"? [a]\n: b\n",
        b"&a [*a]",
        b"version: *x",
        b"!t {version: 1}",
        b"{1: 2, true: 3, ~: 4, 1.5: 2}",
        b"\"",
        b"%",
        b"<<: {a: 1}",
    ];
    for garbage in kinds {
        let report = Memory::default().file("etc/gateway.yaml", garbage).load().map(drop);
        assert!(report.is_err_and(|report| report.errors > 0), "{:?}", String::from_utf8_lossy(garbage));
    }
    // Every prefix of a legal file, and every file with one byte changed, is either legal or refused.
    let text = MINIMAL.as_bytes();
    for end in 0..text.len() {
        drop(Memory::default().file("etc/gateway.yaml", &text[..end]).load());
        for byte in *b"\0\t{}[]:&*!|>'\"%@,#-?~" {
            let mut changed = text.to_vec();
            changed[end] = byte;
            drop(Memory::default().file("etc/gateway.yaml", changed).load());
        }
    }
}

/// Keys whose values have a shape.
const SHAPED: [&str; 40] = [
    "version",
    "include",
    "runtime",
    "admin",
    "listeners",
    "defaults",
    "clusters",
    "routes",
    "observability",
    "reload",
    "runtime.workers",
    "listeners.web",
    "listeners.web.address",
    "listeners.web.limits",
    "listeners.web.limits.body_min_rate",
    "listeners.web.trusted_proxies",
    "clusters.app",
    "clusters.app.endpoints",
    "defaults.route.timeouts",
    "observability.access_log.sample.slow",
    "dns",
    "dns.servers",
    "defaults.route.retry",
    "defaults.route.retry.on",
    "clusters.app.hash_key",
    "clusters.app.hash_key.header",
    "clusters.app.queue",
    "clusters.app.health",
    "clusters.app.health.active",
    "clusters.app.health.active.kind",
    "clusters.app.health.active.expect",
    "clusters.app.health.passive",
    "clusters.app.breaker",
    "policies",
    "policies.office",
    "policies.office.access",
    "policies.office.cors",
    "policies.staff.jwt",
    "policy",
    "policy.redis",
];

#[test]
fn a_wrong_shape_anywhere_is_reported_once_and_hides_nothing_else() {
    let shapes = [
        "~",
        "5",
        "text",
        "[]",
        "{}",
        "[[1]]",
        "[{}]",
        "{a: 1}",
        "true",
        "1.5",
        "-1",
        "[~]",
        "{a: ~}",
        "[5, {a: [b]}]",
    ];
    for key in SHAPED {
        for shape in shapes {
            let mut text = format!("{}{shape}", key.split('.').map(|key| format!("{{{key}: ")).collect::<String>());
            text += &"}".repeat(key.split('.').count());
            // The second mistake is in a part of its own and must be told as well.
            let whole = format!("{{first: {text}, ")[8..].trim_end_matches(", ").to_owned();
            let merged = format!("{}, oops: 1}}", &whole[..whole.len() - 1]);
            let report = Memory::of(&merged).report();
            assert!(report.contains("unknown key `oops`"), "{merged}\n{report}");
            let lines: Vec<&str> = report.lines().filter(|line| line.starts_with("error: ")).collect();
            let mut unique = lines.clone();
            unique.dedup();
            assert_eq!(lines, unique, "{merged}\n{report}");
        }
    }
}

#[test]
fn the_schema_comes_from_the_types() {
    let schema = json_schema();
    let keys = schema["properties"].as_object().expect("properties");
    assert_eq!(keys.len(), 13);
    assert_eq!(schema["additionalProperties"], false);
    assert_eq!(schema["required"], serde_json::json!(["version"]));
    let route = &schema["$defs"]["RouteFile"];
    assert_eq!(route["required"], serde_json::json!(["name"]));
    assert!(route["properties"]["match"].is_object());
    assert!(
        schema["$defs"]["TimeoutsFile"]["properties"]["connect"]["pattern"]
            .as_str()
            .is_some_and(|pattern| pattern.contains("ms|s|m|h"))
    );
    assert!(route["properties"]["name"]["description"].is_string());
    let weight = &schema["$defs"]["EndpointFile"]["properties"]["weight"];
    assert_eq!(weight["maximum"], 1000);
    let key = &schema["$defs"]["ClusterFile"]["properties"]["hash_key"];
    assert!(key.to_string().contains("client_ip|path") && key.to_string().contains("HashKeyFields"), "{key}");
}
