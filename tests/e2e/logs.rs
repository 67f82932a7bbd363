//! The access log: K2, K4, F36 and F37.

use std::process::Stdio;

use super::endpoint::Endpoint;
use super::gateway::{Gateway, json};
use super::origin::Origin;
use super::plan::{Io, Plan};
use super::wait::{until, until_true};

/// K2: one JSON line for each request, with what happened to it.
fn every_request_has_one_line(io: Io) {
    let origin = Origin::mirror();
    let gateway = Plan::to(io, &[origin.address()]).start();
    let mut client = gateway.client();
    client.sends("POST /orders/7?secret=1 HTTP/1.1\r\nHost: Shop.Example:80\r\nUser-Agent: test/1\r\nContent-Length: 5\r\n\r\nhello");
    let answer = client.expects(200);
    client.asks("/again");
    client.expects(200);
    let line = gateway.log_of("/orders/7");
    for (key, value) in [
        ("method", "POST"),
        ("host", "shop.example"),
        ("client_ip", "127.0.0.1"),
        ("route", "everything"),
        ("cluster", "app"),
        ("endpoint", &origin.address().to_string()),
        ("upstream_protocol", "HTTP/1.1"),
        ("user_agent", "test/1"),
        ("request_id", answer.field("x-request-id").expect("an id")),
    ] {
        assert_eq!(line[key], value, "{key}: {line}");
    }
    for (key, value) in [("status", 200), ("attempts", 1), ("bytes_in", 5), ("bytes_out", 5), ("epoch", 1)] {
        assert_eq!(line[key], value, "{key}: {line}");
    }
    assert!(
        line["duration_ms"].as_f64().is_some_and(|ms| ms > 0.0) && line["query"] == true && line["reused"] == false
    );
    assert!(!line.to_string().contains("secret"), "a query may hold secrets: {line}");
    assert_eq!(gateway.log_of("/again")["reused"], true);
    assert_eq!(gateway.log_lines().len(), 2);
    gateway.stop();
}

/// Log injection: what a client sends can neither end a line nor steer a terminal (CR, LF, ESC, U+2028, quotes).
fn nothing_a_client_sends_can_forge_a_line(io: Io) {
    let gateway = Plan::bare(io).start();
    let mut client = gateway.client();
    client.sends(
        "GET /a%0d%0a%1b[31m%22%5c%e2%80%a8 HTTP/1.1\r\nHost: a\r\nUser-Agent: \"},{\"x\":\\ \u{2028}\u{85}\ttab\r\n\r\n",
    );
    client.expects(404);
    client.sends(b"GET /binary HTTP/1.1\r\nHost: a\r\nUser-Agent: \xff\xfe\r\n\r\n");
    client.expects(404);
    let line = gateway.log_of("/a%0D%0A%1B[31m%22%5C%E2%80%A8");
    assert_eq!(line["user_agent"], "\"},{\"x\":\\ \u{2028}\u{85}\ttab");
    gateway.log_of("/binary");
    let raw = gateway.lines.all();
    assert_eq!(raw.len(), 2);
    for line in raw {
        assert!(!line.chars().any(|char| char.is_control() || matches!(char, '\u{2028}' | '\u{2029}')), "{line:?}");
    }
    gateway.stop();
}

/// K4 and I4: a local reply has in the log its reason, who failed and at which stage; that of a request that could not even
/// be read has them as well.
fn every_local_reply_has_its_reason_in_the_log(io: Io) {
    let gateway = Plan::to(io, &[Endpoint::closed()]).limits("header_timeout: 200ms").start();
    let mut client = gateway.client();
    client.asks("/refused");
    client.expects(502);
    let why =
        |line: &serde_json::Value| ["reason", "fault", "stage"].map(|key| line[key].as_str().unwrap_or("").to_owned());
    assert_eq!(why(&gateway.log_of("/refused")), ["connect_refused", "upstream", "connect"]);
    client.sends("TRACE /traced HTTP/1.1\r\nHost: a\r\n\r\n");
    client.expects(405);
    assert_eq!(why(&gateway.log_of("/traced")), ["method_refused", "client", "route"]);
    for (bytes, status, reason) in
        [("GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400, "bad_request"), ("GET / HTT", 408, "client_header_timeout")]
    {
        let mut client = gateway.client();
        client.sends(bytes);
        client.expects(status);
        let line = until(reason, || {
            gateway.log_lines().into_iter().find(|line| line["reason"] == reason && line["status"] == status)
        });
        assert_eq!(why(&line), [reason, "client", "receive"]);
    }
    gateway.stop();
}

/// The sample: a class with no share has no lines.
fn a_class_without_a_share_has_no_lines(io: Io) {
    let origin = Origin::echo();
    let gateway = Plan::to(io, &[origin.address()])
        .route("name: bad, match: { path: /bad }, respond: { status: 500 }")
        .sample("ok: 0%, slow: { over: 1h, share: 0% }, errors: 100%")
        .start();
    let mut client = gateway.client();
    for path in ["/one", "/two", "/bad"] {
        client.asks(path);
        client.expects(if path == "/bad" { 500 } else { 200 });
    }
    gateway.log_of("/bad");
    assert_eq!(gateway.log_lines().len(), 1);
    gateway.stop();
}

/// F36: a log on a full disk costs lines, which are counted, and no traffic.
fn a_full_disk_costs_lines_and_no_traffic(io: Io) {
    let origin = Origin::echo();
    let gateway = Plan::to(io, &[origin.address()]).log("/dev/full").start();
    let mut client = gateway.client();
    for _ in 0..50 {
        client.asks("/x");
        client.expects(200);
    }
    gateway.waits_for("access_log_dropped_total", 50.0);
    assert!(gateway.notices_of("access log cannot be written, lines are lost and counted").len() == 1, "told once");
    gateway.stop();
}

/// F36: a reader of the log that stops reading costs lines, which are counted, and no traffic; nor does it hold up the end.
fn a_blocked_log_costs_lines_and_no_traffic(io: Io) {
    let origin = Origin::saying("ok");
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let gateway = Gateway::start_writing_to(Stdio::from(writer), &Plan::to(io, &[origin.address()]).yaml());
    let mut client = gateway.client();
    let path = format!("/{}", "x".repeat(2_000));
    let requests = format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").repeat(50);
    until_true("lines are dropped", || {
        client.sends(&requests);
        for _ in 0..50 {
            client.expects(200);
        }
        gateway.metric("access_log_dropped_total") > 0.0
    });
    client.asks("/still");
    client.expects(200);
    gateway.stop();
    drop(reader);
}

/// F37 and I1: SIGUSR1 opens a renamed log anew; no line is lost, and no descriptor.
fn a_renamed_log_is_opened_anew(io: Io) {
    let origin = Origin::echo();
    let plan = Plan::to(io, &[origin.address()]).log("access.log");
    let gateway = plan.start();
    let path = |name: &str| gateway.folder.path(name);
    let lines = |name: &str| std::fs::read_to_string(path(name)).unwrap_or_default().lines().count();
    let mut client = gateway.client();
    client.asks("/one");
    client.expects(200);
    until_true("the first line", || lines("access.log") == 1);
    let before = gateway.process.descriptors();
    for round in 0..3 {
        let old = format!("access.log.{round}");
        std::fs::rename(path("access.log"), path(&old)).expect("a rename");
        client.asks("/old");
        client.expects(200);
        until_true("a line in the renamed file", || lines(&old) == 2);
        gateway.signal(libc::SIGUSR1);
        until_true("a new file", || path("access.log").exists());
        client.asks("/new");
        client.expects(200);
        until_true("a line in the new file", || lines("access.log") == 1);
        for line in std::fs::read_to_string(path(&old)).expect("the old file").lines() {
            json(line);
        }
    }
    until_true("no descriptor is lost", || gateway.process.descriptors() <= before);
    gateway.stop();
}

on_both_drivers![
    every_request_has_one_line,
    nothing_a_client_sends_can_forge_a_line,
    every_local_reply_has_its_reason_in_the_log,
    a_class_without_a_share_has_no_lines,
    a_full_disk_costs_lines_and_no_traffic,
    a_blocked_log_costs_lines_and_no_traffic,
    a_renamed_log_is_opened_anew,
];
