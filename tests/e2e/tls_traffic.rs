//! Requests over TLS: bodies large and slow, ends that are announced and ends that are not, drains and reloads.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustls::ClientConfig;

use super::client::Client;
use super::endpoint::Endpoint;
use super::gateway::{Gateway, json};
use super::origin::Origin;
use super::pki::{Authority, first_in};
use super::plan::{Io, Plan};
use super::site::{Site, TLS, VERSIONS, credulous, greeter, server_of, write_pair};
use super::wait::{thread, until_true};
use super::wire::End;

/// Bytes of a large body.
const LARGE: usize = if cfg!(debug_assertions) { 20 << 20 } else { 50 << 20 };

/// A gateway with TLS in front of this endpoint, and a client's configuration that believes it.
fn in_front_of(io: Io, endpoint: &Endpoint, limits: &str) -> (Gateway, Arc<ClientConfig>) {
    let site = Site::new();
    let config = Arc::new(site.believer());
    (site.start(Plan::to(io, &[endpoint.address()]).limits(limits)).1, config)
}

fn client(gateway: &Gateway, config: &Arc<ClientConfig>) -> Client {
    Client::secured(gateway.address(), config, "a.example")
}

/// J1: the endpoint is told that the client came by TLS; an absolute target of that scheme is ours.
fn endpoints_are_told_of_the_scheme(io: Io) {
    let endpoint = Endpoint::listens();
    let (gateway, config) = in_front_of(io, &endpoint, "");
    let mut client = client(&gateway, &config);
    client.asks("/1");
    let mut upstream = endpoint.accepts();
    assert_eq!(upstream.expects("GET /1").field("x-forwarded-proto"), Some("https"));
    upstream.replies_with("1");
    client.expects(200);
    client.sends("GET https://b.example/2 HTTP/1.1\r\nHost: a.example\r\n\r\n");
    let request = upstream.expects("GET /2");
    assert_eq!((request.field("host"), request.field("x-forwarded-proto")), (Some("b.example"), Some("https")));
    upstream.replies_with("2");
    client.expects(200);
    client.sends("GET http://b.example/3 HTTP/1.1\r\nHost: a.example\r\n\r\n");
    assert_eq!(upstream.expects("GET /3").field("x-forwarded-proto"), Some("https"), "as the client came");
    upstream.replies_with("3");
    client.expects(200);
    gateway.stop();
}

/// Requests behind one another on one connection, many of them in one record, are answered in order.
fn pipelined_requests_are_answered_in_order(io: Io) {
    let site = Site::new();
    let config = Arc::new(site.believer());
    let origin = Origin::echo();
    let (_, gateway) = site.start(Plan::to(io, &[origin.address()]));
    let mut client = client(&gateway, &config);
    let requests: Vec<String> = (0..50).map(|n| format!("GET /{n} HTTP/1.1\r\nHost: a.example\r\n\r\n")).collect();
    client.sends(requests.concat());
    for number in 0..50 {
        assert_eq!(client.expects(200).text(), format!("GET /{number} HTTP/1.1"));
    }
    assert_eq!(gateway.metric("tls_handshakes_total{kind=\"full\"}"), 1.0);
    gateway.stop();
}

/// A large body each way, over TLS on both sides, arrives whole, and memory does not grow by it.
fn large_bodies_pass_both_ways_through_tls_on_both_sides(io: Io) {
    let inside = Authority::new("inside");
    let body: Arc<Vec<u8>> = Arc::new((0..LARGE).map(|at| u8::try_from(at % 251).expect("a byte")).collect());
    let (sent, expected) = (Arc::clone(&body), Arc::clone(&body));
    let origin = Origin::secured(server_of(&inside.certifies(&["b.example"]), &VERSIONS, None), move |_, request| {
        if request.start.starts_with("POST") {
            let text = if request.body == *expected { "whole" } else { "damaged" };
            return format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len()).into_bytes();
        }
        let mut answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", sent.len()).into_bytes();
        answer.extend_from_slice(&sent);
        answer
    });
    let site = Site::new().with_file("inside.crt", inside.pem());
    let config = Arc::new(site.believer());
    let plan = Plan::bare(io).defaults("body_limit: 100MiB").cluster_as(
        "app",
        &format!(
            "endpoints: [{{ url: 'https://{}' }}], tls: {{ ca: inside.crt, server_name: b.example }}",
            origin.address()
        ),
    );
    let (_, gateway) = site.start(plan.route("name: everything, cluster: app"));
    let mut client = client(&gateway, &config);
    let before = gateway.process.resident_bytes();
    client.asks("/down");
    assert!(client.expects(200).body == *body, "a download arrives whole");
    client.sends("POST /up HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n");
    for part in body.chunks(1 << 20) {
        client.sends(format!("{:x}\r\n", part.len())).sends(part).sends("\r\n");
    }
    client.sends("0\r\n\r\n");
    assert_eq!(client.expects(200).text(), "whole");
    let grown = gateway.process.resident_bytes().saturating_sub(before);
    assert!(grown < 16 << 20, "{grown} bytes more");
    gateway.stop();
}

/// RFC 9112 section 9.8: TLS says that nothing more comes before the connection ends, however it came to its end.
fn the_end_of_a_connection_is_announced(io: Io) {
    let (gateway, config) = greeter(io, "idle_timeout: 1s, header_timeout: 1s");
    let mut asked = client(&gateway, &config);
    asked.sends("GET /x HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n");
    asked.expects(200);
    let mut idle = client(&gateway, &config);
    idle.asks("/x");
    idle.expects(200);
    let mut fresh = client(&gateway, &config);
    let mut slow = client(&gateway, &config);
    slow.sends("GET /x HT");
    let mut wrong = client(&gateway, &config);
    wrong.sends("GET /x HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n");
    assert_eq!(wrong.expects_any().status(), 400);
    assert_eq!(slow.expects_any().status(), 408);
    for (what, client) in
        [("close", &mut asked), ("idle", &mut idle), ("fresh", &mut fresh), ("slow", &mut slow), ("bad", &mut wrong)]
    {
        let (rest, end) = client.reads_to_end();
        assert_eq!((rest.len(), end), (0, End::Closed), "{what}");
    }
    drop((asked, idle, fresh, slow, wrong));
    gateway.waits_for("net_connections_active", 0.0);
    gateway.stop();
}

/// A response that was cut short ends without that word, so that it cannot pass for a whole one.
fn a_response_that_was_cut_short_is_not_announced_as_whole(io: Io) {
    let endpoint = Endpoint::listens();
    let (gateway, config) = in_front_of(io, &endpoint, "");
    for framing in ["Content-Length: 100", "Transfer-Encoding: chunked", "Connection: close"] {
        let mut client = client(&gateway, &config);
        client.asks("/cut");
        let mut upstream = endpoint.accepts();
        upstream.expects("GET /cut");
        let part = if framing.starts_with('T') { "5\r\nhello\r\n" } else { "hello" };
        upstream.replies(format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n{part}"));
        client.expects_head(200);
        upstream.resets();
        let (rest, end) = client.reads_to_end();
        assert!(String::from_utf8_lossy(&rest).contains("hello") || end == End::Reset, "{framing}");
        assert!(matches!(end, End::Cut | End::Reset), "{framing}: {end:?}");
    }
    gateway.stop();
}

/// A client that ends its direction, announced or not, still gets its response; one that is gone ends its request.
fn a_half_closed_client_gets_its_response_and_a_gone_one_ends_its_request(io: Io) {
    let endpoint = Endpoint::listens();
    let (gateway, config) = in_front_of(io, &endpoint, "");
    for (path, transport_too) in [("/announced", false), ("/both", true)] {
        let mut client = client(&gateway, &config);
        client.asks(path);
        let mut upstream = endpoint.accepts();
        upstream.expects(&format!("GET {path}"));
        if transport_too {
            client.half_closes();
        } else {
            client.says_close();
        }
        // Long enough for the gateway to look at its client more than once.
        assert!(upstream.is_silent_for(Duration::from_millis(700)), "{path}: the request is not given up");
        upstream.replies_with("late").half_closes();
        assert_eq!(client.expects(200).text(), "late", "{path}");
        assert_eq!(client.reads_to_end().1, End::Closed, "{path}");
    }
    for resets in [true, false] {
        let mut client = client(&gateway, &config);
        client.asks("/gone");
        let mut upstream = endpoint.accepts();
        upstream.expects("GET /gone");
        if resets {
            client.resets();
        } else {
            client.closes();
        }
        upstream.sees_end();
    }
    until_true("both are told as gone", || {
        let lines = gateway.log_lines();
        lines.iter().filter(|line| line["path"] == "/gone" && line["reason"] == "client_abort").count() == 2
    });
    gateway.waits_for("net_connections_active", 0.0);
    gateway.stop();
}

/// F24 over TLS: readers that take nothing hold little and are cut off in time.
fn slow_readers_cost_little_and_are_cut_off(io: Io) {
    let origin = Origin::serving(|mut wire| {
        while wire.has_bytes() {
            wire.reads_head();
            wire.sends("HTTP/1.1 200 OK\r\nContent-Length: 104857600\r\n\r\n");
            let part = vec![b'x'; 1 << 20];
            if (0..100).any(|_| wire.try_send(&part).is_err()) {
                return;
            }
        }
    });
    let site = Site::new();
    let config = Arc::new(site.believer());
    let (_, gateway) = site.start(Plan::to(io, &[origin.address()]).limits("write_timeout: 1s"));
    let before = gateway.process.resident_bytes();
    let mut clients: Vec<Client> = (0..20).map(|_| client(&gateway, &config)).collect();
    for client in &mut clients {
        client.holds_little();
        client.asks("/large");
    }
    let mut most = 0;
    until_true("every slow reader is cut off", || {
        most = most.max(gateway.process.resident_bytes().saturating_sub(before));
        gateway.metric("http_requests_active") < 1.0
            && gateway.metric("http_requests_total{method=\"GET\",code=\"200\"}") > 19.0
    });
    assert!(most < 40 << 20, "{most} bytes more for 20 slow readers of 100 MB each");
    for client in &mut clients {
        assert!(client.reads_to_end().1 != End::Closed, "what is not whole does not end in order");
    }
    assert_eq!(gateway.log_of("/large")["reason"], "client_write_timeout");
    gateway.stop();
}

/// F41: a drain closes idle connections by that word, and those that have said nothing yet; what is in flight is finished.
fn a_drain_announces_the_end_of_idle_connections(io: Io) {
    let endpoint = Endpoint::listens();
    let (mut gateway, config) = in_front_of(io, &endpoint, "handshake_timeout: 60s");
    let mut idle = client(&gateway, &config);
    idle.asks("/health");
    idle.expects(200);
    let mut parked = client(&gateway, &config);
    let mut silent = Client::to(gateway.address());
    let mut busy = client(&gateway, &config);
    busy.asks("/busy");
    let mut upstream = endpoint.accepts();
    upstream.expects("GET /busy");
    gateway.waits_for("net_connections_active", 4.0);
    gateway.signal(libc::SIGTERM);
    gateway.notice("shutting down gracefully");
    for (what, client) in [("idle", &mut idle), ("parked", &mut parked), ("silent", &mut silent)] {
        let (rest, end) = client.reads_to_end();
        assert_eq!((rest.len(), end), (0, End::Closed), "{what}");
    }
    upstream.replies_with("done");
    let answer = busy.expects(200);
    assert!(answer.announces_close());
    assert_eq!(busy.reads_to_end().1, End::Closed);
    drop(busy);
    assert_eq!(gateway.process.exit_code(), Some(0), "{}", gateway.notices.all().join("\n"));
}

/// F39 and J3: a renewed pair is taken up while requests are served, none of which fails; a pair that does not fit is
/// refused, the old one stays, and the report says where.
fn a_renewed_certificate_is_taken_up_under_load_and_a_bad_one_is_refused(io: Io) {
    let site = Site::new();
    let plan = Plan::bare(io).route("name: all, respond: { status: 200, body: hello }").workers("2").listener(TLS);
    let (authority, gateway) = site.start_on(&plan);
    let seen = |gateway: &Gateway| {
        let client = Client::secured(gateway.address(), &Arc::new(credulous()), "a.example");
        client.layer().agreed().peer_certificates().expect("a certificate")[0].clone()
    };
    let before = seen(&gateway);
    let ends = Arc::new(AtomicBool::new(false));
    let load: Vec<_> = (0..3)
        .map(|_| {
            let (ends, address) = (Arc::clone(&ends), gateway.address());
            let config = Arc::new(super::site::believer(&authority));
            thread("load", move || {
                let mut kept = Client::secured(address, &config, "a.example");
                let mut count = 0_u64;
                while !ends.load(Ordering::Relaxed) {
                    kept.asks("/kept");
                    assert!(!kept.expects(200).announces_close());
                    let mut single = Client::secured(address, &config, "a.example");
                    single.asks("/single");
                    single.expects(200);
                    single.closes();
                    count += 2;
                }
                count
            })
        })
        .collect();
    let mut last = before;
    for _ in 0..3 {
        let pair = authority.certifies(&["a.example"]);
        write_pair(&gateway.folder, "site", &pair);
        until_true("new handshakes see the new certificate", || seen(&gateway) == first_in(&pair.cert));
        last = first_in(&pair.cert);
    }
    // The key of another pair: each file is good, the two together are not.
    gateway.folder.write("site.key", authority.certifies(&["a.example"]).key);
    let answer = gateway.asks_admin("POST", "/reload");
    assert_eq!(answer.status(), 400);
    let report = json(answer.text())["error"].as_str().expect("a report").to_owned();
    assert!(report.contains("gateway.yaml:5:") && report.contains("does not belong to the certificate"), "{report}");
    gateway.waits_for("config_last_reload_success", 0.0);
    gateway.notice("configuration refused, the last one stays");
    assert!(seen(&gateway) == last, "the old pair stays");
    std::fs::remove_file(gateway.folder.path("site.crt")).expect("a file");
    assert_eq!(gateway.asks_admin("POST", "/reload").status(), 400, "no file at all");
    assert!(seen(&gateway) == last);
    ends.store(true, Ordering::Relaxed);
    let requests: u64 = load.into_iter().map(|client| client.join().expect("no request failed")).sum();
    assert!(requests > 20, "{requests}");
    gateway.stop();
}

/// J6: nothing of a private key is in anything that the gateway says.
fn no_key_is_ever_shown(io: Io) {
    let (gateway, config) = greeter(io, "");
    let key = std::fs::read_to_string(gateway.folder.path("site.key")).expect("a key");
    let canaries: Vec<&str> = key.lines().filter(|line| !line.starts_with('-')).collect();
    assert!(!canaries.is_empty());
    let mut asked = client(&gateway, &config);
    asked.asks("/x");
    asked.expects(200);
    // A file that is a key where a certificate should be, and one that is cut: what is wrong is told, not what it is.
    let mut said = Vec::new();
    for (name, text) in [("site.crt", key.clone()), ("site.key", key[..key.len() / 2].to_owned())] {
        gateway.folder.write(name, &text);
        said.push(gateway.asks_admin("POST", "/reload").text().to_owned());
        let check = super::process::binary().arg("check").arg("-c").arg(gateway.folder.path("gateway.yaml")).output();
        let check = check.expect("it runs");
        said.push(String::from_utf8_lossy(&check.stdout).into_owned() + &String::from_utf8_lossy(&check.stderr));
    }
    for page in ["/status", "/metrics", "/clusters"] {
        said.push(gateway.asks_admin("GET", page).text().to_owned());
    }
    said.extend(gateway.notices.all());
    said.extend(gateway.lines.all());
    for text in &said {
        assert!(canaries.iter().all(|canary| !text.contains(canary)), "{text}");
    }
    gateway.stop();
}

on_both_drivers![
    endpoints_are_told_of_the_scheme,
    pipelined_requests_are_answered_in_order,
    large_bodies_pass_both_ways_through_tls_on_both_sides,
    the_end_of_a_connection_is_announced,
    a_response_that_was_cut_short_is_not_announced_as_whole,
    a_half_closed_client_gets_its_response_and_a_gone_one_ends_its_request,
    slow_readers_cost_little_and_are_cut_off,
    a_drain_announces_the_end_of_idle_connections,
    a_renewed_certificate_is_taken_up_under_load_and_a_bad_one_is_refused,
    no_key_is_ever_shown,
];
