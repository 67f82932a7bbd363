//! K2: whatever a peer chooses and the log repeats is one line of JSON, without a byte that steers a terminal.

use std::io::Write as _;
use std::net::TcpStream;
use std::sync::Arc;

use rustls::ClientConnection;
use rustls::pki_types::ServerName;
use serde_json::Value;

use super::client::Client;
use super::gateway::Gateway;
use super::issuer::{Issuer, key_set};
use super::plan::{Io, Plan};
use super::site::{Site, TLS};
use super::wait::{until, until_true};
use super::wire::Wire;

/// What could end a line or a string, steer a terminal, or is no text.
const HOSTILE: [&[u8]; 10] = [
    b"\r",
    b"\n",
    b"\r\n{\"forged\":1}",
    b"\x1b[31m",
    b"\0",
    b"\x7f",
    "\u{2028}\u{2029}".as_bytes(),
    "\u{85}\u{9b}31m".as_bytes(),
    b"\xff\xc3",
    b"\"},{\"forged\":\\",
];

/// The lines of a log, read strictly.
fn strict(bytes: &[u8]) -> Vec<Value> {
    let text = str::from_utf8(bytes).expect("a log is UTF-8");
    let lines = text.split_terminator('\n').map(|line| {
        let is_raw = |char: char| char.is_control() || matches!(char, '\u{2028}' | '\u{2029}');
        assert!(!line.contains(is_raw), "{line:?}");
        let value: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line:?}"));
        assert!(value.is_object() && value.get("forged").is_none(), "{line}");
        value
    });
    lines.collect()
}

/// Both logs, read strictly: the lines of the access log.
fn logs(gateway: &Gateway) -> Vec<Value> {
    strict(gateway.notices.all().join("\n").as_bytes());
    strict(&std::fs::read(gateway.folder.path("access.log")).unwrap_or_default())
}

fn says(gateway: &Gateway, request: &[u8]) {
    let mut client = gateway.client();
    client.sends(request);
    client.expects_any();
}

/// Path, host, agent, request id, trace and method, of any bytes: each request has its line, whatever became of it.
fn no_part_of_a_request_can_forge_a_line(io: Io) {
    let plan = Plan::bare(io).route("name: all, respond: { status: 200 }").limits("header_timeout: 2s");
    let gateway = plan.log("access.log").start();
    let mut count = 0;
    for hostile in HOSTILE {
        for (before, after) in [
            ("GET /a", "b HTTP/1.1\r\nHost: a\r\n\r\n"),
            ("GET / HTTP/1.1\r\nHost: a", "b\r\n\r\n"),
            ("GET / HTTP/1.1\r\nHost: a\r\nUser-Agent: x", "y\r\n\r\n"),
            ("GET / HTTP/1.1\r\nHost: a\r\nX-Request-ID: x", "y\r\n\r\n"),
            ("GET / HTTP/1.1\r\nHost: a\r\nTraceparent: 00-", "\r\n\r\n"),
            ("GE", "T / HTTP/1.1\r\nHost: a\r\n\r\n"),
        ] {
            says(&gateway, &[before.as_bytes(), hostile, after.as_bytes()].concat());
            count += 1;
        }
        let encoded: String = hostile.iter().map(|byte| format!("%{byte:02x}")).collect();
        says(&gateway, format!("GET /{encoded} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes());
        count += 1;
    }
    until_true("a line for each", || logs(&gateway).len() >= count);
    let lines = logs(&gateway);
    let agents: Vec<&str> = lines.iter().filter_map(|line| line["user_agent"].as_str()).collect();
    // What a field may hold came through as it was, or replaced where it is no text.
    for agent in ["x\u{2028}\u{2029}y", "x\u{85}\u{9b}31my", "x\u{fffd}\u{fffd}y", "x\"},{\"forged\":\\y"] {
        assert!(agents.contains(&agent), "{agent:?} in {agents:?}");
    }
    gateway.stop();
}

/// The claims of a token are data as well, though whoever made them is trusted.
fn no_claim_can_forge_a_line(io: Io) {
    let issuer = Issuer::new("k1");
    let plan = Plan::bare(io)
        .policies("staff: { jwt: { audience: api, keys_file: keys.json } }")
        .route("name: all, respond: { status: 200 }, policies: [staff]")
        .log("access.log");
    let folder = super::folder::Folder::new();
    folder.write("keys.json", key_set(&[&issuer]));
    let gateway = Gateway::start_in(folder, &plan.yaml());
    let subject = r#"a\r\n\u001b[31m\u2028\u0000\u009b\"},{\"forged\":\\"#;
    let token = issuer.token(&format!(r#""aud":"api","sub":"{subject}""#));
    says(&gateway, format!("GET /sub HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n").as_bytes());
    let line = until("its line", || logs(&gateway).into_iter().find(|line| line["path"] == "/sub"));
    assert_eq!(
        (&line["status"], &line["identity"]),
        (&200.into(), &"a\r\n\u{1b}[31m\u{2028}\0\u{9b}\"},{\"forged\":\\".into())
    );
    gateway.stop();
}

/// A name that a client asks for in its handshake is in neither log as it came: such handshakes are refused, whole lines follow
/// them, and nobody else is refused for them.
fn no_name_of_a_handshake_can_forge_a_line(io: Io) {
    const NAME: &str = "aaaaaaaaaaaaaaaaaaaaaaaa.example";
    let site = Site::new();
    let config = Arc::new(site.believer());
    let plan = Plan::bare(io).listener(TLS).route("name: all, respond: { status: 200 }").log("access.log");
    let (_, gateway) = site.start_on(&plan);
    for hostile in HOSTILE {
        let name = ServerName::try_from(NAME).expect("a name");
        let mut hello = Vec::new();
        ClientConnection::new(Arc::clone(&config), name).expect("a client").write_tls(&mut hello).expect("memory");
        let at = hello.windows(NAME.len()).position(|bytes| bytes == NAME.as_bytes()).expect("the name in the clear");
        hello[at..at + hostile.len()].copy_from_slice(hostile);
        let mut stream = TcpStream::connect(gateway.address()).expect("it listens");
        stream.write_all(&hello).expect("it takes a handshake");
        // Whatever it says to that.
        drop(Wire::new(stream).try_read());
    }
    until_true("nothing is open", || gateway.metric("net_connections_active") < 1.0);
    let refused = gateway.metric_sum("tls_handshake_failures_total");
    assert!(refused >= 8.0, "{refused} of {} were refused", HOSTILE.len());
    assert_eq!(gateway.metric_sum("http_requests_total"), 0.0, "none of them came as far as a request");
    let mut client = Client::secured(gateway.address(), &config, "a.example");
    client.asks("/after");
    client.expects(200);
    let lines = until("a line", || Some(logs(&gateway)).filter(|lines| !lines.is_empty()));
    assert_eq!((lines.len(), &lines[0]["path"]), (1, &"/after".into()));
    gateway.stop();
}

on_both_drivers![
    no_part_of_a_request_can_forge_a_line,
    no_claim_can_forge_a_line,
    no_name_of_a_handshake_can_forge_a_line,
];
