//! `ringgate replay`: the log of a gateway against configurations that would decide.

use std::io::Write as _;
use std::process::{Output, Stdio};

use serde_json::Value;

use super::folder::Folder;
use super::gateway::json;
use super::origin::Origin;
use super::plan::{Io, Plan};
use super::process::binary;
use super::wait::until_true;

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Replays `log.jsonl` of a folder against configurations of it.
fn replay(folder: &Folder, arguments: &[&str]) -> Output {
    let path = |name: &str| folder.path(name).to_str().expect("UTF-8").to_owned();
    let is_file = |argument: &str| argument.contains('.');
    let arguments = arguments.iter().map(|one| if is_file(one) { path(one) } else { (*one).to_owned() });
    binary().args(["replay", "--log", &path("log.jsonl")]).args(arguments).output().expect("a child")
}

/// What the report says in JSON, with the exit code.
fn report(folder: &Folder, arguments: &[&str]) -> (Option<i32>, Value) {
    let output = replay(folder, &[arguments, &["--json"]].concat());
    (output.status.code(), json(&text(&output.stdout)))
}

/// How many lines are the same, different, undecided.
fn counts(of: &Value) -> [u64; 3] {
    ["same", "different", "undecided"].map(|name| of[name].as_u64().unwrap_or_else(|| panic!("{name} in {of}")))
}

/// What all gateways here have.
fn plan(io: Io, endpoint: std::net::SocketAddr) -> Plan {
    Plan::bare(io)
        .cluster("app", &[endpoint])
        .policies("far: { access: { allow: [203.0.113.0/24] } }, near: { access: { allow: [127.0.0.0/8] } }")
}

/// A route for each way that a configuration has to decide.
fn old(io: Io, endpoint: std::net::SocketAddr) -> Plan {
    plan(io, endpoint)
        .route("name: orders, match: { host: a.example, path: /orders/*, methods: [GET] }, cluster: app")
        .route("name: canary, match: { path: /canary }, split: [{ cluster: app, weight: 1 }]")
        .route("name: robots, match: { path: /robots.txt }, respond: { status: 200, body: none }")
        .route("name: old, match: { path: /old }, redirect: { to: /new, status: 301 }")
        .route("name: inside, match: { path: /inside }, policies: [far], cluster: app")
        .route("name: upload, match: { path: /upload }, body_limit: 10B, cluster: app")
        .route("name: versioned, match: { path: /v/*, headers: { x-version: '2' } }, cluster: app")
        .route("name: wide, match: { path: /v/* }, cluster: app")
        .route("name: asked, match: { path: /asked, query: { q: '1' } }, cluster: app")
}

/// Requests of every kind to a gateway on `old`; its log.
fn log(io: Io, origin: &Origin) -> String {
    let gateway = old(io, origin.address()).start();
    let mut client = gateway.client();
    for (target, status) in [
        ("/orders/7", 200),
        ("/orders/8?secret=1", 200),
        ("/canary", 200),
        ("/robots.txt", 200),
        ("/old", 301),
        ("/inside", 403),
        ("/v/1", 200),
        ("/asked?q=1", 200),
        ("/asked", 404),
        ("/nowhere", 404),
        ("/health", 200),
    ] {
        client.asks(target);
        client.expects(status);
    }
    client.sends("POST /upload HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\n\r\nhello");
    client.expects(200);
    client.sends("POST /orders/9 HTTP/1.1\r\nHost: a.example\r\nContent-Length: 0\r\n\r\n");
    client.expects(404);
    client.sends("TRACE /t HTTP/1.1\r\nHost: a.example\r\n\r\n");
    client.expects(405);
    let mut large = gateway.client();
    large.sends("POST /upload HTTP/1.1\r\nHost: a.example\r\nContent-Length: 50\r\n\r\n");
    large.expects(413);
    // It would wait for what they still have to say.
    large.closes();
    let mut bad = gateway.client();
    bad.sends("GET / HTTP/1.1\r\n\r\n");
    bad.expects(400);
    bad.closes();
    until_true("every request is logged", || gateway.log_lines().len() == 16);
    let log = gateway.lines.all().join("\n") + "\n";
    gateway.stop();
    log
}

/// The configuration that decided decides the same again, but for what hangs on what the log does not have.
fn the_log_of_a_run_is_decided_the_same_by_its_own_configuration(io: Io) {
    let origin = Origin::mirror();
    let folder = Folder::new();
    folder.write("log.jsonl", log(io, &origin));
    folder.write("old.yaml", old(io, origin.address()).yaml());
    let (code, report) = report(&folder, &["--new", "old.yaml"]);
    assert_eq!((code, &report["lines"], &report["no_decision"]), (Some(0), &16.into(), &1.into()), "{report:#}");
    // Undecided: the header, the query, and how large the upload was to be.
    assert_eq!(counts(&report["all"]), [12, 0, 3], "{report:#}");
    assert_eq!(report["unreadable"], 0);
    assert!(!report.to_string().contains("secret"));
}

/// Each way in which another configuration decides otherwise is counted by route, and told with lines.
fn a_changed_configuration_tells_what_it_changes(io: Io) {
    let origin = Origin::mirror();
    let folder = Folder::new();
    folder.write("log.jsonl", log(io, &origin));
    folder.write("old.yaml", old(io, origin.address()).yaml());
    let new = plan(io, origin.address())
        .cluster("other", &[origin.address()])
        .route("name: orders, match: { host: a.example, path: /orders/* }, cluster: other")
        .route("name: canary, match: { path: /canary }, split: [{ cluster: app, weight: 1 }, { cluster: other, weight: 1 }]")
        .route("name: robots, match: { path: /robots.txt }, respond: { status: 204 }")
        .route("name: old, match: { path: /old }, redirect: { to: /new, status: 302 }")
        .route("name: inside, match: { path: /inside }, policies: [near], cluster: app")
        .route("name: upload, match: { path: /upload }, body_limit: 4B, cluster: app")
        .route("name: wide, match: { path: /v/* }, policies: [far], cluster: app")
        .route("name: asked, match: { path: /asked }, cluster: app")
        .listener("health_path: /alive");
    folder.write("new.yaml", new.yaml());
    let (code, of_log) = report(&folder, &["--new", "new.yaml"]);
    assert_eq!(code, Some(1), "{of_log:#}");
    for (route, expected) in [
        // Two go elsewhere.
        ("orders", [0, 2, 0]),
        // A member of the split is what it was.
        ("canary", [1, 0, 0]),
        ("robots", [0, 1, 0]),
        ("old", [0, 1, 0]),
        ("inside", [0, 1, 0]),
        // Of the one that was too large it still is.
        ("upload", [0, 1, 1]),
        ("wide", [0, 1, 0]),
        ("asked", [1, 0, 0]),
        // The POST finds a route, and so does the one without a query; health is somewhere else. TRACE is what it was.
        ("(none)", [2, 3, 0]),
    ] {
        assert_eq!(counts(&of_log["routes"][route]), expected, "{route}: {of_log:#}");
    }
    let changes: Vec<&str> =
        of_log["changes"].as_array().expect("changes").iter().filter_map(|one| one["what"].as_str()).collect();
    for change in [
        "route `orders`, cluster `app` -> route `orders`, cluster `other`",
        "route `inside`, access_denied -> route `inside`, cluster `app`",
        "route `wide`, cluster `app` -> route `wide`, access_denied",
        "route `upload`, cluster `app` -> route `upload`, body_too_large",
        "health -> no route, route_not_found",
    ] {
        assert!(changes.contains(&change), "{change}: {changes:#?}");
    }
    let of_both = report(&folder, &["--new", "new.yaml", "--old", "old.yaml"]).1;
    // What the split would be told apart by is not in the log, and is in the configurations.
    assert_eq!(counts(&of_both["routes"]["canary"]), [0, 1, 0], "{of_both:#}");
    let same = report(&folder, &["--new", "new.yaml", "--old", "new.yaml"]);
    assert_eq!((same.0, counts(&same.1["all"])), (Some(0), [15, 0, 0]), "{:#}", same.1);
    let told = replay(&folder, &["--new", "new.yaml", "--examples", "1"]);
    let told = (told.status.code(), text(&told.stdout));
    assert_eq!(told.0, Some(1));
    assert!(told.1.contains("16 lines: 15 compared: 4 the same, 10 different, 1 undecided"), "{}", told.1);
    assert!(told.1.contains("line 1: GET a.example/orders/7 from 127.0.0.1: was route `orders`"), "{}", told.1);
    assert_eq!(told.1.matches("  line ").count(), 2, "one of each kind: {}", told.1);
}

/// A log that is damaged tells as much as can be read of it, and what could not.
#[test]
fn rubbish_is_counted_and_told_and_the_rest_is_compared() {
    let folder = Folder::new();
    folder.write("new.yaml", plan(Io::Epoll, ([127, 0, 0, 1], 9).into()).route("name: all, cluster: app").yaml());
    let good =
        r#"{"status":200,"method":"GET","host":"a","path":"/x","client_ip":"192.0.2.1","route":"all","cluster":"app"}"#;
    let long = format!(r#"{{"status":200,"method":"GET","path":"/{}"}}"#, "x".repeat(10 << 20));
    let deep = "[".repeat(100_000);
    let cut = format!(r#"{{"status":200,"method":"GET","path":"/{}","route":"all"}}"#, "x".repeat(2048));
    let lines: [&[u8]; 13] = [
        good.as_bytes(),
        b"not json",
        b"",
        b"\xff\xfe\0",
        long.as_bytes(),
        deep.as_bytes(),
        br#"{"status":"200","method":"GET","path":"/"}"#,
        br#"{"method":"GET","path":"/"}"#,
        br#"{"status":200,"route":"all","cluster":"app"}"#,
        br#"{"status":200,"method":"GET","path":"/\u001b[31m\u0000","route":"\u001b]0;x","cluster":"app"}"#,
        br#"{"status":400,"reason":"bad_request","stage":"receive"}"#,
        cut.as_bytes(),
        good.as_bytes().split_at(40).0,
    ];
    folder.write("log.jsonl", lines.join(&b'\n'));
    let (code, report) = report(&folder, &["--new", "new.yaml"]);
    assert_eq!((code, &report["lines"]), (Some(1), &13.into()), "{report:#}");
    assert_eq!(counts(&report["all"]), [1, 1, 0], "{report:#}");
    assert_eq!([&report["unreadable"], &report["no_decision"], &report["cut"]], [9, 1, 1], "{report:#}");
    let told: Vec<u64> =
        report["rubbish"].as_array().expect("some").iter().filter_map(|one| one["line"].as_u64()).collect();
    assert_eq!(told, [2, 3, 4, 5, 6], "the first of them");
    let output = replay(&folder, &["--new", "new.yaml"]);
    assert!(!text(&output.stdout).chars().any(|char| char.is_control() && char != '\n'), "{}", text(&output.stdout));
    // All but the line that was cut, which is whole once it is.
    folder.write("log.jsonl", good);
    assert_eq!(self::report(&folder, &["--new", "new.yaml"]).0, Some(0));
}

#[test]
fn exit_codes_tell_a_log_that_is_none_from_one_that_differs() {
    let folder = Folder::new();
    folder.write("new.yaml", plan(Io::Epoll, ([127, 0, 0, 1], 9).into()).route("name: all, cluster: app").yaml());
    folder.write("bad.yaml", "version: 1\nroutes: 7\n");
    let code = |arguments: &[&str]| {
        let output = replay(&folder, arguments);
        (output.status.code(), text(&output.stderr))
    };
    assert_eq!(code(&["--new", "new.yaml"]).0, Some(2), "no log");
    for (log, said) in [(&b"\x1f\x8b\x08\0"[..], "zcat"), (b"what\nnow\n", "no access log")] {
        folder.write("log.jsonl", log);
        let (code, told) = code(&["--new", "new.yaml"]);
        assert!(code == Some(2) && told.contains(said), "{code:?}: {told}");
    }
    folder.write("log.jsonl", "");
    assert_eq!(code(&["--new", "new.yaml"]).0, Some(0), "nothing is decided otherwise");
    for arguments in [&["--new", "bad.yaml"][..], &["--new", "new.yaml", "--old", "bad.yaml"], &["--new", "none.yaml"]]
    {
        let (code, told) = code(arguments);
        assert!(code == Some(3) && !told.is_empty(), "{arguments:?}: {code:?} {told}");
    }
    assert_eq!(code(&["--new", "new.yaml", "--examples", "-1"]).0, Some(2));
}

#[test]
fn a_log_may_come_by_standard_input() {
    let folder = Folder::new();
    let new =
        folder.write("new.yaml", plan(Io::Epoll, ([127, 0, 0, 1], 9).into()).route("name: all, cluster: app").yaml());
    let mut command = binary();
    command.args(["replay", "--log", "-", "--new"]).arg(new).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("a child");
    let mut input = child.stdin.take().expect("a pipe");
    let line = r#"{"status":200,"method":"GET","host":"a","path":"/x","route":"all","cluster":"app"}"#;
    for _ in 0..1_000 {
        writeln!(input, "{line}").expect("it reads");
    }
    drop(input);
    let output = child.wait_with_output().expect("an end");
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stdout).starts_with("1000 lines: 1000 compared: 1000 the same"), "{}", text(&output.stdout));
}

on_both_drivers![
    the_log_of_a_run_is_decided_the_same_by_its_own_configuration,
    a_changed_configuration_tells_what_it_changes,
];
