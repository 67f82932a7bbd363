//! Clients of TLS that others wrote: `openssl s_client` and Python's ssl; and HTTP/2 over TLS by the tests' own client.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::Arc;

use super::client::Client;
use super::gateway::Gateway;
use super::h2_wire::{DATA, Fate, H2Wire, get};
use super::layer::Layer;
use super::origin::Origin;
use super::plan::{Io, Plan};
use super::site::Site;
use super::tool::{Said, run, runs, runs_python};
use super::wire::Wire;

/// A request after which the gateway closes.
const REQUEST: &str = "GET /x HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n";

/// Runs `openssl s_client`, which believes the site and asks for it by its name.
fn s_client(gateway: &Gateway, arguments: &[&str], input: &str) -> Said {
    let (address, ca) = (gateway.address().to_string(), gateway.folder.path("ca.crt").display().to_string());
    let mut all = vec!["s_client", "-connect", &address, "-servername", "a.example", "-CAfile", &ca];
    all.extend(["-verify_return_error", "-verify_hostname", "a.example", "-ign_eof"]);
    all.extend(arguments);
    run("openssl", &all, input)
}

fn gateway(io: Io) -> (Origin, Gateway) {
    let origin = Origin::echo();
    let gateway = Site::new().start(Plan::to(io, &[origin.address()]).speaks_h2()).1;
    (origin, gateway)
}

/// http.md 75: both versions, the protocols agreed on, sessions resumed, nothing else.
fn openssl_is_served(io: Io) {
    let (_origin, gateway) = gateway(io);
    for (option, version) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
        let said = s_client(&gateway, &[option, "-alpn", "http/1.1"], REQUEST).text;
        assert!(said.contains("GET /x HTTP/1.1") && said.contains(version), "{said}");
        assert!(said.contains("Verify return code: 0 (ok)") && said.contains("ALPN protocol: http/1.1"), "{said}");
        assert!(said.contains("Compression: NONE"), "{said}");
        assert!(said.contains("AES") || said.contains("CHACHA20"), "{said}");
        let said = s_client(&gateway, &[option, "-alpn", "http/1.1,h2"], "\n").text;
        assert!(said.contains("ALPN protocol: h2"), "the gateway's favourite: {said}");
        let session = gateway.folder.path(version).display().to_string();
        let first = s_client(&gateway, &[option, "-sess_out", &session], REQUEST).text;
        assert!(first.contains(&format!("New, {version}")), "{first}");
        let again = s_client(&gateway, &[option, "-sess_in", &session], REQUEST).text;
        assert!(again.contains(&format!("Reused, {version}")) && again.contains("200 OK"), "{again}");
    }
    let said = s_client(&gateway, &["-tls1_2", "-reconnect"], REQUEST).text;
    assert_eq!(said.matches("Reused, TLSv1.2").count(), 5, "{said}");
    // RFC 7301 section 3.2: no protocol in common is no connection.
    let refused = s_client(&gateway, &["-alpn", "spdy/3"], "");
    assert!(!refused.is_content && refused.text.contains("no application protocol"), "{}", refused.text);
    gateway.stop();
}

/// TLS below 1.2, and suites without forward secrecy or authenticated encryption, are refused.
fn openssl_is_refused_what_is_not_safe(io: Io) {
    let (_origin, gateway) = gateway(io);
    for arguments in [
        &["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"][..],
        &["-tls1", "-cipher", "ALL:@SECLEVEL=0"],
        &["-tls1_2", "-cipher", "AES128-GCM-SHA256"],
        &["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA256"],
        &["-tls1_2", "-cipher", "ECDHE-ECDSA-AES256-SHA"],
    ] {
        let refused = s_client(&gateway, arguments, "");
        assert!(!refused.is_content, "{arguments:?}: {}", refused.text);
        assert!(refused.text.contains("alert"), "{arguments:?}: {}", refused.text);
    }
    gateway.stop();
}

/// RFC 5746 is offered and a renegotiation is refused, at no cost to anybody else; 1.3 knows none.
fn openssl_may_not_renegotiate(io: Io) {
    let (site, origin) = (Site::new(), Origin::echo());
    let config = Arc::new(site.believer());
    let gateway = site.start(Plan::to(io, &[origin.address()])).1;
    let mut other = Client::secured(gateway.address(), &config, "a.example");
    other.asks("/before");
    other.expects(200);
    let (address, ca) = (gateway.address().to_string(), gateway.folder.path("ca.crt"));
    let mut command = Command::new("timeout");
    command.args(["30", "openssl", "s_client", "-tls1_2", "-servername", "a.example", "-connect", &address, "-CAfile"]);
    let mut child =
        (command.arg(ca).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()).expect("openssl");
    // A line with this letter asks for it. What is never closed keeps it from leaving for another reason.
    let mut input = child.stdin.take().expect("a pipe");
    input.write_all(b"R\n").expect("it reads");
    let output = child.wait_with_output().expect("our own child");
    drop(input);
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(said.contains("Secure Renegotiation IS supported") && said.contains("RENEGOTIATING"), "{said}");
    assert!(said.contains("no renegotiation") && !output.status.success(), "{said}");
    other.asks("/after");
    other.expects(200);
    gateway.waits_for("net_connections_active", 1.0);
    gateway.waits_for("tls_handshakes_total{kind=\"full\"}", 2.0);
    assert!(gateway.metric_sum("tls_handshake_failures_total") < 0.5);
    gateway.stop();
}

/// X25519MLKEM768 with an OpenSSL that has it, from 3.5 on; X25519 and P-256 with every one.
fn openssl_agrees_on_keys(io: Io) {
    let (_origin, gateway) = gateway(io);
    let version = runs("openssl", &["version"]);
    let numbers: Vec<u32> = version.split([' ', '.']).skip(1).map_while(|number| number.parse().ok()).collect();
    let has_mlkem = numbers.as_slice() >= [3, 5].as_slice();
    let mut groups = vec![("X25519", "X25519"), ("P-256", "prime256v1")];
    if has_mlkem {
        groups.push(("X25519MLKEM768", "X25519MLKEM768"));
    }
    for (group, name) in groups {
        let said = s_client(&gateway, &["-tls1_3", "-groups", group], REQUEST);
        assert!(said.is_content && said.text.contains("200 OK"), "{group}: {}", said.text);
        assert!(said.text.contains(name) || said.text.contains(group), "{group}: {}", said.text);
    }
    gateway.stop();
}

fn python_ssl_is_served(io: Io) {
    let (_origin, gateway) = gateway(io);
    let ca = gateway.folder.path("ca.crt").display().to_string();
    runs_python("ssl_client.py", &[gateway.address().port().to_string(), ca]);
    gateway.stop();
}

/// HTTP/2 by ALPN with this program's own client: many streams in few records, and each byte in a record of its own.
fn http2_over_tls_is_http2(io: Io) {
    let site = Site::new();
    let mut config = site.believer();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let config = Arc::new(config);
    let origin = Origin::echo();
    let gateway = site.start(Plan::to(io, &[origin.address()]).speaks_h2()).1;
    let secured = || {
        let wire = Wire::to(gateway.address()).secured(Layer::client(&config, "a.example")).expect("a handshake");
        assert_eq!(wire.layer().agreed().alpn_protocol(), Some(&b"h2"[..]));
        H2Wire::over(wire)
    };
    let mut client = secured();
    client.sends((0..50).flat_map(|number| get(2 * number + 1, &format!("/{number}"))).collect::<Vec<u8>>());
    let mut answers: Vec<String> =
        (0..50).map(|_| String::from_utf8(client.expects(DATA).payload).expect("text")).collect();
    answers.sort_unstable();
    let mut expected: Vec<String> = (0..50).map(|number| format!("GET /{number} HTTP/1.1")).collect();
    expected.sort_unstable();
    assert_eq!(answers, expected);
    let mut slow = secured();
    for byte in get(1, "/slow") {
        slow.sends([byte]);
    }
    assert_eq!(slow.fate_of(1), Fate::Status(200));
    // Whoever agreed on HTTP/2 and speaks HTTP/1.1 is no client of ours.
    let mut wrong = Wire::to(gateway.address()).secured(Layer::client(&config, "a.example")).expect("a handshake");
    wrong.sends(REQUEST);
    let (said, _) = wrong.reads_to_end();
    assert!(!said.windows(4).any(|bytes| bytes == b"HTTP"), "{said:?}");
    drop((client, slow));
    gateway.waits_for("http2_connections_active", 0.0);
    gateway.stop();
}

on_both_drivers![
    openssl_is_served,
    openssl_is_refused_what_is_not_safe,
    openssl_may_not_renegotiate,
    openssl_agrees_on_keys,
    python_ssl_is_served,
    http2_over_tls_is_http2,
];
