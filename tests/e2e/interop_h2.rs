//! Clients of HTTP/2 that others wrote: curl, nghttp and h2load of nghttp2, Python's h2.

use std::net::SocketAddr;

use super::folder::Folder;
use super::gateway::Gateway;
use super::origin::Origin;
use super::plan::{Io, Plan};
use super::site::Site;
use super::tool::{runs, runs_python};

/// An origin that tells the first line and the length of the body, or answers with a large body.
fn telling() -> Origin {
    Origin::answering(|request| {
        let line = request.start.trim_end_matches(" HTTP/1.1");
        let text = if line.starts_with("GET /large") {
            "0123456789".repeat(30_000)
        } else {
            format!("{line} {}\n", request.body.len())
        };
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len()).into_bytes()
    })
}

/// With TLS, and without.
fn gateways(io: Io) -> (Origin, Gateway, Gateway) {
    let origin = telling();
    let plan = Plan::to(io, &[origin.address()]).speaks_h2();
    let secured = Site::new().start(plan.clone()).1;
    (origin, secured, plan.start())
}

/// What curl writes out behind each body.
const VERSION: &str = "%{http_version}\n";

/// Runs curl against a gateway with TLS or without.
fn curl(gateway: &Gateway, is_secured: bool, arguments: &[&str], path: &str) -> String {
    let port = gateway.address().port();
    let mut all: Vec<String> =
        ["--silent", "--show-error", "--fail", "--max-time", "20", "--noproxy", "*", "-w", VERSION]
            .iter()
            .chain(arguments)
            .map(|argument| (*argument).to_owned())
            .collect();
    if is_secured {
        all.extend(["--cacert".to_owned(), gateway.folder.path("ca.crt").display().to_string()]);
    }
    all.extend(["--resolve".to_owned(), format!("a.example:{port}:127.0.0.1")]);
    all.push(format!("{}://a.example:{port}{path}", if is_secured { "https" } else { "http" }));
    runs("curl", &all)
}

fn curl_speaks_every_version(io: Io) {
    let (_origin, secured, plain) = gateways(io);
    let folder = Folder::new();
    let file = format!("@{}", folder.write("body", "x".repeat(300_000)).display());
    for (is_secured, option, version) in [
        (true, "--http2", "2"),
        (true, "--http1.1", "1.1"),
        (true, "--http2-prior-knowledge", "2"),
        (false, "--http2-prior-knowledge", "2"),
        // An offer to switch is not taken up: http.md 85.
        (false, "--http2", "1.1"),
    ] {
        let gateway = if is_secured { &secured } else { &plain };
        let ask = |arguments: &[&str], path: &str| curl(gateway, is_secured, &[&[option], arguments].concat(), path);
        assert_eq!(ask(&[], "/a"), format!("GET /a 0\n{version}\n"));
        assert_eq!(ask(&["--data-binary", &file], "/up"), format!("POST /up 300000\n{version}\n"));
        let chunked = ["-T", &file[1..], "-H", "Expect:"];
        assert_eq!(ask(&chunked, "/put"), format!("PUT /put 300000\n{version}\n"));
        let large = ask(&[], "/large");
        assert!(large.len() > 300_000 && large.ends_with(&format!("789{version}\n")), "{}", large.len());
        assert!(ask(&["--head"], "/head").contains(&format!("HTTP/{version} 200")));
    }
    for (name, most) in [("--tlsv1.2", "1.2"), ("--tlsv1.3", "1.3")] {
        assert_eq!(curl(&secured, true, &[name, "--tls-max", most, "--http2"], "/tls"), "GET /tls 0\n2\n");
    }
    let line = secured.log_of("/tls");
    assert_eq!((&line["protocol"], &line["status"]), (&"HTTP/2".into(), &200.into()));
    secured.stop();
    plain.stop();
}

/// Where a program of nghttp2 finds a gateway.
fn url(scheme: &str, address: SocketAddr, path: &str) -> String {
    format!("{scheme}://{address}{path}")
}

fn nghttp_is_served(io: Io) {
    let (_origin, secured, plain) = gateways(io);
    let folder = Folder::new();
    let file = folder.write("body", "x".repeat(300_000)).display().to_string();
    for (scheme, address) in [("https", secured.address()), ("http", plain.address())] {
        let one = url(scheme, address, "/one");
        let (two, large) = (url(scheme, address, "/two"), url(scheme, address, "/large"));
        assert_eq!(runs("nghttp", &["--no-verify-peer", &one]), "GET /one 0\n");
        let both = runs("nghttp", &["--no-verify-peer", "--timeout=20", &one, &two]);
        assert!(both.contains("GET /one 0\n") && both.contains("GET /two 0\n"), "{both}");
        let up = runs("nghttp", &["--no-verify-peer", "--data", &file, &one]);
        assert_eq!(up, "POST /one 300000\n");
        // Padding, small windows, no dynamic table, and a continuation.
        let odd = ["--no-verify-peer", "-b", "100", "-w", "12", "-W", "14", "-c", "0", "--continuation", &large];
        assert_eq!(runs("nghttp", &odd).len(), 300_000);
        let many = runs("nghttp", &["--no-verify-peer", "--null-out", "--multiply=50", "--stat", &one]);
        assert_eq!(many.lines().filter(|line| line.contains(" 200 ")).count(), 50, "{many}");
    }
    secured.waits_for("http2_resets_total{by=\"gateway\"}", 0.0);
    secured.stop();
    plain.stop();
}

fn h2load_sees_no_failure(io: Io) {
    let (_origin, secured, plain) = gateways(io);
    for (scheme, gateway) in [("https", &secured), ("http", &plain)] {
        let one = url(scheme, gateway.address(), "/one");
        let said = runs("h2load", &["-n", "4000", "-c", "4", "-m", "50", "-t", "1", &one]);
        let done = "4000 total, 4000 started, 4000 done, 4000 succeeded, 0 failed, 0 errored, 0 timeout";
        assert!(said.contains(done) && said.contains("4000 2xx"), "{said}");
        // The same by HTTP/1.1, on the same port.
        let said = runs("h2load", &["--h1", "-n", "400", "-c", "4", &one]);
        assert!(said.contains("400 succeeded, 0 failed"), "{said}");
        gateway.waits_for("http_requests_by_protocol_total{protocol=\"HTTP/2\"}", 4000.0);
        gateway.waits_for("http_requests_by_protocol_total{protocol=\"HTTP/1.1\"}", 400.0);
        gateway.waits_for("http2_streams_total", 4000.0);
    }
    secured.stop();
    plain.stop();
}

fn python_h2_is_served(io: Io) {
    let (_origin, secured, plain) = gateways(io);
    let ca = secured.folder.path("ca.crt").display().to_string();
    runs_python("h2_client.py", &[plain.address().port().to_string()]);
    runs_python("h2_client.py", &[secured.address().port().to_string(), ca]);
    secured.stop();
    plain.stop();
}

on_both_drivers![curl_speaks_every_version, nghttp_is_served, h2load_sees_no_failure, python_h2_is_served];
