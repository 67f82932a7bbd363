//! H1 and H2: the live policy document, its file, and what it does to requests (F3).

use std::fs::OpenOptions;
use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::symlink;

use serde_json::{Value, json};

use super::folder::Folder;
use super::gateway::{Gateway, json};
use super::message::Message;
use super::patient::Patient;
use super::plan::{Io, Plan};
use super::process::binary;
use super::rate_limits::passed;
use super::wait::{thread, until_true};
use super::wire::Wire;

const FILE: &str = ".gateway-policy.json";
const ERRORS: &str = "policy_updates_total{result=\"error\"}";

/// A gateway that answers by itself, under a policy.
fn plan(io: Io, policy: &str) -> Plan {
    Plan::bare(io).route("name: all, match: { path: /* }, respond: { status: 200, body: in }").and(policy)
}

fn posts(gateway: &Gateway, body: &str) -> Message {
    gateway.posts("/policy", body)
}

/// The document, without the time of its change.
pub(crate) fn document(gateway: &Gateway) -> Value {
    let answer = gateway.asks_admin("GET", "/policy");
    assert_eq!(answer.status(), 200, "{answer}");
    let mut document = json(answer.text());
    let time = document.as_object_mut().expect("an object").remove("updatedAt").expect("a time");
    assert!(time.as_str().is_some_and(|time| time.starts_with("20")), "{time}");
    document
}

pub(crate) fn of(enabled: bool, rate: u64, threshold: u64) -> Value {
    json!({"enabled": enabled, "rateLimit": rate, "circuitBreakerThreshold": threshold})
}

fn kept(folder: &Folder) -> Value {
    let mut document = json(&std::fs::read_to_string(folder.path(FILE)).expect("it is kept"));
    document.as_object_mut().expect("an object").remove("updatedAt").expect("a time");
    document
}

fn statuses<const N: usize>(to: SocketAddr) -> [u16; N] {
    let mut client = super::client::Client::to(to);
    [(); N].map(|()| client.asks("/").expects_any().status())
}

/// A switch that is off lets nothing pass but the health check, and is off on every worker once it is answered; what a
/// document does not say stays; the file has it.
fn what_is_posted_is_in_force_and_kept(io: Io) {
    let gateway = plan(io, "policy: {}").workers("4").start();
    assert_eq!(document(&gateway), of(true, 1000, 50), "the standard one");
    let mut client = gateway.client();
    client.asks("/").expects(200);
    let answer = posts(&gateway, r#"{"enabled": false}"#);
    assert_eq!((answer.status(), answer.text()), (200, r#"{"status":"ok"}"#));
    assert_eq!((document(&gateway), kept(&gateway.folder)), (of(false, 1000, 50), of(false, 1000, 50)));
    let refused = client.asks("/off").expects(429);
    assert_eq!((refused.reason(), refused.text()), ("policy_enforced", "gateway policy enforced"));
    for _ in 0..8 {
        assert_eq!(statuses::<2>(gateway.address()), [429, 429], "on every worker");
    }
    client.asks("/health").expects(200);
    let line = gateway.log_of("/off");
    assert_eq!(
        (&line["reason"], &line["fault"], &line["stage"]),
        (&"policy_enforced".into(), &"gateway".into(), &"admit".into())
    );
    gateway.waits_for("gateway_rejected_requests_total{reason=\"policy_enforced\"}", 17.0);
    assert_eq!(posts(&gateway, r#"{"enabled": true, "circuitBreakerThreshold": 7}"#).status(), 200);
    assert_eq!(document(&gateway), of(true, 1000, 7));
    client.asks("/").expects(200);
    assert_eq!(gateway.metric("policy_sync_duration_ms_count"), 2.0);
    assert_eq!(gateway.status()["policy"]["in_force"], true);
    gateway.stop();
}

/// Whatever is wrong with it, the last document stays whole.
fn rubbish_is_refused_and_changes_nothing(io: Io) {
    let gateway = plan(io, "policy: {}").start();
    assert_eq!(posts(&gateway, r#"{"rateLimit": 500}"#).status(), 200);
    let long = format!("{{\"enabled\": false{}}}", " ".repeat(70_000));
    let huge = " ".repeat(3 << 20);
    for body in [
        "",
        "{",
        "[]",
        "null",
        "true",
        r#"{"enabled": "false"}"#,
        r#"{"enabled": null}"#,
        r#"{"Enabled": false}"#,
        r#"{"enabled": false, "rate": 5}"#,
        r#"{"rateLimit": 0}"#,
        r#"{"rateLimit": "5"}"#,
        r#"{"rateLimit": -1}"#,
        r#"{"circuitBreakerThreshold": 0}"#,
        r#"{"circuitBreakerThreshold": 2.5}"#,
        r#"{"updatedAt": 5}"#,
        r#"{"enabled": false} x"#,
        "\u{0}",
        &long,
        &huge,
    ] {
        let answer = posts(&gateway, body);
        let told = json(answer.text());
        assert_eq!((answer.status(), &told["error"]), (400, &"Invalid policy payload".into()), "{answer}");
        assert!(told["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{answer}");
    }
    assert_eq!((document(&gateway), kept(&gateway.folder)), (of(true, 500, 50), of(true, 500, 50)));
    assert_eq!(statuses(gateway.address()), [200]);
    assert!(gateway.metric(ERRORS) >= 17.0);
    assert_eq!(gateway.asks_admin("PUT", "/policy").status(), 405);
    let missing = gateway.asks_admin("GET", "/policies");
    assert_eq!((missing.status(), missing.text()), (404, "Not Found"));
    gateway.stop();
}

/// The rate holds for all requests of all workers together, in the second that its first one begins.
fn the_rate_holds_for_all_workers_together(io: Io) {
    let gateway = plan(io, "policy: {}").workers("4").start();
    // One in twenty minutes, so that no second one comes about while the test runs.
    assert_eq!(posts(&gateway, r#"{"rateLimit": 0.0008}"#).status(), 200);
    assert_eq!(passed(gateway.address(), 16, 2), 1);
    let refused = gateway.client().asks("/").expects(429);
    assert_eq!((refused.reason(), refused.field("x-ratelimit-remaining")), ("rate_limited", Some("0")), "{refused}");
    assert!(refused.field("retry-after").is_some(), "{refused}");
    assert_eq!(posts(&gateway, r#"{"rateLimit": 1000000}"#).status(), 200);
    assert_eq!(passed(gateway.address(), 16, 2), 32);
    gateway.stop();
}

/// The log has this trouble, and it is counted.
fn is_logged_and_counted(gateway: &Gateway, trouble: &str) {
    let notices = || gateway.notices_of("the live policy has trouble, the last document stays");
    until_true(&format!("a line of {trouble}"), || notices().iter().any(|notice| notice["why"] == trouble));
    assert!(notices().iter().all(|notice| notice["level"] == "ERROR"), "{:?}", notices());
    assert!(gateway.metric(ERRORS) >= 1.0);
}

/// A file that is written, renamed over, or swapped by a link to its directory is seen; one that is broken, half written or
/// gone changes nothing but what is shown; a restart has the last one.
fn a_file_is_taken_up_when_it_changes(io: Io) {
    let folder = Folder::new();
    folder.write(FILE, r#"{"enabled": true, "rateLimit": 700}"#);
    let yaml = plan(io, "policy: {}").yaml();
    let gateway = Gateway::start_in(folder, &yaml);
    assert_eq!(document(&gateway), of(true, 700, 50));
    gateway.folder.write(FILE, r#"{"enabled": false}"#);
    until_true("a renamed file", || statuses(gateway.address()) == [429]);
    assert_eq!(document(&gateway), of(false, 1000, 50), "what a file does not say is standard");
    // Longer than what was there, so that the file is at no time cut short.
    let written = OpenOptions::new().write(true).open(gateway.folder.path(FILE));
    written.expect("a file").write_all(br#"{"circuitBreakerThreshold": 9}"#).expect("room for it");
    until_true("a written file", || document(&gateway) == of(true, 1000, 9));
    let trouble = || gateway.status()["policy"]["error"].as_str().unwrap_or_default().to_owned();
    let mut troubles = 0.0;
    let mut is_told = |what: &str| {
        until_true(what, || trouble().contains(what) && trouble().contains(FILE));
        is_logged_and_counted(&gateway, &trouble());
        troubles += 1.0;
        assert_eq!(gateway.metric(ERRORS), troubles, "each is counted once");
    };
    for (text, told) in [("{\"enabled\": fal", "EOF"), ("", "a JSON object"), (r#"{"enabled": 1}"#, "invalid type")] {
        gateway.folder.write(FILE, text);
        is_told(told);
    }
    gateway.folder.write(FILE, "x".repeat(10 << 20));
    is_told("64 KiB");
    std::fs::remove_file(gateway.folder.path(FILE)).expect("a file");
    is_told("gone");
    assert_eq!((document(&gateway), statuses(gateway.address())), (of(true, 1000, 9), [200]));
    gateway.folder.write(FILE, r#"{"rateLimit": 800}"#);
    until_true("another file", || document(&gateway) == of(true, 800, 50) && trouble().is_empty());
    gateway.stop();
}

/// Kubernetes swaps a link to a directory.
fn a_swapped_link_is_seen(io: Io) {
    let folder = Folder::new();
    for (name, text) in [("one", r#"{"rateLimit": 1}"#), ("two", r#"{"rateLimit": 2}"#)] {
        std::fs::create_dir(folder.path(name)).expect("a directory");
        folder.write(&format!("{name}/policy.json"), text);
    }
    std::fs::create_dir(folder.path("mounted")).expect("a directory");
    symlink("../one", folder.path("mounted/..data")).expect("a link");
    symlink("..data/policy.json", folder.path("mounted/policy.json")).expect("a link");
    let gateway = Gateway::start_in(folder, &plan(io, "policy: { file: mounted/policy.json }").yaml());
    assert_eq!(document(&gateway), of(true, 1, 50));
    symlink("../two", gateway.folder.path("mounted/next")).expect("a link");
    std::fs::rename(gateway.folder.path("mounted/next"), gateway.folder.path("mounted/..data")).expect("a rename");
    until_true("the other directory", || document(&gateway) == of(true, 2, 50));
    gateway.stop();
}

/// A directory that disappears takes nothing away, a document that cannot be kept is not taken, and both are told.
fn what_cannot_be_kept_is_not_taken(io: Io) {
    let folder = Folder::new();
    std::fs::create_dir(folder.path("state")).expect("a directory");
    let gateway = Gateway::start_in(folder, &plan(io, "policy: { file: state/policy.json }").yaml());
    assert_eq!(posts(&gateway, r#"{"rateLimit": 300}"#).status(), 200);
    std::fs::remove_dir_all(gateway.folder.path("state")).expect("a directory");
    until_true("that it is gone", || gateway.status()["policy"]["error"].is_string());
    // The file goes before its directory.
    let shown = gateway.status()["policy"]["error"].as_str().expect("it is gone").to_owned();
    is_logged_and_counted(&gateway, &shown);
    let answer = posts(&gateway, r#"{"enabled": false}"#);
    assert_eq!((answer.status(), &json(answer.text())["error"]), (503, &"Policy not stored".into()), "{answer}");
    assert_eq!((document(&gateway), statuses(gateway.address())), (of(true, 300, 50), [200]));
    std::fs::create_dir(gateway.folder.path("state")).expect("a directory");
    assert_eq!(posts(&gateway, r#"{"enabled": false}"#).status(), 200);
    assert_eq!((document(&gateway), statuses(gateway.address())), (of(false, 300, 50), [429]));
    gateway.folder.write("state/policy.json", r#"{"rateLimit": 200}"#);
    until_true("the new directory is looked at", || document(&gateway) == of(true, 200, 50));
    gateway.stop();
}

/// Without the section nothing is limited until something is posted, which ends with the process, unless a reload gives it a
/// place; one that takes the section away takes the policy with it, and one that changes something else keeps it.
fn without_the_section_there_is_no_policy(io: Io) {
    let gateway = plan(io, "").start();
    assert_eq!((document(&gateway), &gateway.status()["policy"]["in_force"]), (of(true, 1000, 50), &false.into()));
    assert_eq!(posts(&gateway, r#"{"enabled": false}"#).status(), 200);
    assert_eq!((statuses(gateway.address()), &gateway.status()["policy"]["in_force"]), ([429], &true.into()));
    assert!(!gateway.folder.path(FILE).exists());
    gateway.adopts(&plan(io, "").runtime("max_connections: 99").yaml());
    assert_eq!(statuses(gateway.address()), [429], "another epoch, the same policy");
    gateway.adopts(&plan(io, "policy: {}").yaml());
    assert_eq!((document(&gateway), statuses(gateway.address())), (of(false, 1000, 50), [429]));
    until_true("it is kept", || gateway.folder.path(FILE).exists());
    assert_eq!(kept(&gateway.folder), of(false, 1000, 50));
    gateway.adopts(&plan(io, "").yaml());
    assert_eq!(statuses(gateway.address()), [200]);
    gateway.stop();
}

/// The threshold is that of every breaker, unless its cluster has a lower one: also of a cluster that has none of its own, and not
/// of one that is never to open by a row.
fn the_threshold_is_that_of_every_breaker(io: Io) {
    for (breaker, opens_after) in [
        ("min_requests: 1000", Some(3)),
        ("min_requests: 1000, consecutive: 2", Some(2)),
        ("min_requests: 1000, consecutive: 9", Some(3)),
        ("min_requests: 1000, consecutive: 0", None),
    ] {
        let (patient, gateway) = failing(io, &format!("breaker: {{ open_for: 1h, {breaker} }},"), "policy: {}");
        opens(&gateway, &patient, opens_after);
        gateway.stop();
    }
    for policy in ["", "policy: {}"] {
        let (patient, gateway) = failing(io, "", policy);
        opens(&gateway, &patient, Some(3));
        gateway.stop();
    }
}

/// A breaker that a document brought is gone with it.
fn a_breaker_of_the_document_goes_with_it(io: Io) {
    let (patient, gateway) = failing(io, "", "policy: {}");
    opens(&gateway, &patient, Some(3));
    gateway.adopts(&cluster_of(io, patient.address(), "").yaml());
    assert_eq!(gateway.shows("app", patient.address())["breaker"], "closed");
    let mut client = gateway.client();
    for _ in 0..5 {
        client.asks("/").expects(500);
    }
    gateway.stop();
}

fn cluster_of(io: Io, endpoint: SocketAddr, entries: &str) -> Plan {
    Plan::bare(io)
        .cluster_as("app", &format!("{entries} endpoints: [{{ url: 'http://{endpoint}' }}]"))
        .route("name: all, match: { path: /* }, cluster: app, retry: { attempts: 1 }")
}

/// An endpoint that fails, in a cluster with these entries, under a document whose threshold is 3.
fn failing(io: Io, entries: &str, policy: &str) -> (Patient, Gateway) {
    let patient = Patient::start("it");
    patient.tells_clients(500);
    let gateway = cluster_of(io, patient.address(), entries).and(policy).start();
    assert_eq!(posts(&gateway, "{\"circuitBreakerThreshold\": 3}").status(), 200);
    (patient, gateway)
}

/// The breaker opens after so many failures.
fn opens(gateway: &Gateway, patient: &Patient, after: Option<u64>) {
    let mut client = gateway.client();
    for _ in 0..after.unwrap_or(9) {
        client.asks("/").expects(500);
    }
    if after.is_some() {
        assert_eq!(client.asks("/").expects(503).reason(), "breaker_open");
    }
    assert_eq!(patient.served(), after.unwrap_or(9));
}

/// The command line shows it, changes it and says what is wrong; `reload` tells how that went.
fn the_command_line_shows_and_changes_it(io: Io) {
    let gateway = plan(io, "policy: {}").start();
    let file = gateway.folder.path("gateway.yaml");
    let admin = format!("http://{}", gateway.admin());
    let run = |arguments: &[&str]| {
        let output = binary().args(arguments).args(["--admin", &admin]).output().expect("it runs");
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).expect("text"))
    };
    let (code, text) = run(&["policy", "get"]);
    assert_eq!((code, &json(&text)["rateLimit"]), (Some(0), &1000.into()), "{text}");
    let (code, text) =
        run(&["policy", "set", "--enabled", "false", "--rate-limit", "2.5", "--circuit-breaker-threshold", "5"]);
    assert_eq!(
        (code, &json(&text)["rateLimit"], &json(&text)["enabled"]),
        (Some(0), &2.5.into(), &false.into()),
        "{text}"
    );
    assert_eq!(statuses(gateway.address()), [429]);
    let (code, text) = run(&["status"]);
    assert!(code == Some(0) && text.contains("policy    NOTHING PASSES, 2.5 requests a second"), "{text}");
    let (code, text) = run(&["status", "--json"]);
    assert_eq!((code, &json(&text)["status"]["epoch"]), (Some(0), &2.into()), "{text}");
    let (code, text) = run(&["policy", "set", "--rate-limit", "0"]);
    assert_eq!((code, text.contains("Invalid policy payload: `rateLimit`")), (Some(1), true), "{text}");
    for wrong in [&["policy", "set"][..], &["policy", "set", "--enabled", "2"]] {
        assert_eq!(run(wrong).0, Some(2), "{wrong:?}");
    }
    let (code, text) = run(&["reload"]);
    assert_eq!((code, text.starts_with("configuration published, epoch ")), (Some(0), true), "{text}");
    gateway.writes("version: 1\nlistener: {}\n");
    let (code, text) = run(&["reload"]);
    assert_eq!(
        (code, text.contains(&format!("{}:2:1: unknown key `listener`", file.display()))),
        (Some(3), true),
        "{text}"
    );
    let gone = binary().args(["policy", "get", "--admin", "unix:/nonexistent"]).output().expect("it runs");
    assert_eq!(gone.status.code(), Some(1));
    gateway.stop();
}

/// Killed at any moment while documents are posted one after the other: there is always a whole one, and it is one that was
/// posted.
fn a_crash_leaves_a_whole_document(io: Io) {
    let yaml = plan(io, "policy: {}").yaml();
    let mut folder = Folder::new();
    let mut left = 1000;
    for round in 0..8 {
        let gateway = Gateway::start_in(folder, &yaml);
        assert_eq!(document(&gateway)["rateLimit"], left);
        let admin = gateway.admin();
        let (tell, told) = std::sync::mpsc::channel();
        let posting = thread("posts", move || {
            let mut answered = left;
            // Until nobody is there any more.
            while is_posted(admin, &format!("{{\"rateLimit\": {}}}", answered + 1)) {
                answered += 1;
                let _test_goes_on = tell.send(answered);
            }
            answered
        });
        // So many are answered, and the next is somewhere on its way.
        for _ in 0..=round {
            told.recv().expect("an answer");
        }
        folder = gateway.killed();
        let answered = posting.join().expect("it ends");
        left = kept(&folder)["rateLimit"].as_u64().expect("a number");
        assert!((answered..=answered + 1).contains(&left), "{left} is kept, {answered} was answered");
    }
}

/// Posts to an admin server that may be gone.
pub(crate) fn is_posted(admin: SocketAddr, body: &str) -> bool {
    let Ok(stream) = TcpStream::connect(admin) else { return false };
    let mut wire = Wire::new(stream);
    let head = format!(
        "POST /policy HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    wire.try_send(head + body).is_ok() && wire.try_reads_head().is_some_and(|answer| answer.status() == 200)
}

on_both_drivers![
    what_is_posted_is_in_force_and_kept,
    rubbish_is_refused_and_changes_nothing,
    the_rate_holds_for_all_workers_together,
    a_file_is_taken_up_when_it_changes,
    a_swapped_link_is_seen,
    what_cannot_be_kept_is_not_taken,
    without_the_section_there_is_no_policy,
    the_threshold_is_that_of_every_breaker,
    a_breaker_of_the_document_goes_with_it,
    the_command_line_shows_and_changes_it,
    a_crash_leaves_a_whole_document,
];
