//! J4: another service is asked whether a request may pass.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

use super::client::Client;
use super::endpoint::Endpoint;
use super::gateway::Gateway;
use super::h2_client::H2Client;
use super::h2_peer::H2Peer;
use super::h2_wire::settings;
use super::message::Message;
use super::origin::Origin;
use super::plan::{Io, Plan};
use super::wait::{PATIENCE, now_ms, until_true};

fn reply(status: &str, fields: &str, content: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\n{fields}Content-Length: {}\r\n\r\n{content}", content.len()).into_bytes()
}

/// Answers by the token in `Authorization`, and tells of every question.
fn service(told: Sender<Message>) -> Origin {
    Origin::answering(move |request| {
        drop(told.send(request.clone()));
        match request.field("authorization").unwrap_or_default() {
            "Bearer good" => reply("200 OK", "X-User: alice\r\nX-User: staff\r\nX-Other: no\r\n", "ignored"),
            "Bearer empty" => b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(),
            "Bearer login" => reply("302 Found", "Location: https://login.example/?a=b\r\nSet-Cookie: s=1\r\n", ""),
            "Bearer wrong" => reply("403 Forbidden", "Content-Type: text/html\r\nServer: inner\r\n", "<p>no</p>"),
            "Bearer broken" => reply("500 Internal Server Error", "", "trace"),
            "Bearer garbage" => b"SMTP ready\r\n\r\n".to_vec(),
            "Bearer cut" => b"HTTP/1.1 200 OK\r\nX-User: mallory\r\nContent-Length: 100\r\n\r\nshort".to_vec(),
            "Bearer odd" => reply("304 Not Modified", "", ""),
            _ => reply("401 Unauthorized", "WWW-Authenticate: Bearer realm=\"svc\"\r\n", "who are you"),
        }
    })
}

/// What the endpoint is told of the user.
fn fields(request: &Message) -> Vec<u8> {
    let is_of_interest = |line: &&String| {
        let name = line.split(':').next().unwrap_or(line).to_ascii_lowercase().replace('_', "-");
        name == "x-user"
    };
    let content = request.lines_without(&[]).iter().filter(is_of_interest).cloned().collect::<Vec<_>>().join("|");
    reply("200 OK", "", &content)
}

fn plan(io: Io, origin: &Origin, service: &Origin, rest: &str) -> Plan {
    Plan::bare(io)
        .speaks_h2()
        .cluster("app", &[origin.address()])
        .cluster("svc", &[service.address()])
        .policies(&format!(
            "asked: {{ external_auth: {{ cluster: svc, path: '/verify?x=1', response_headers: [x-user]{rest} }} }}"
        ))
        .route("name: all, match: { path: /* }, cluster: app, policies: [asked]")
}

fn get(path: &str, fields: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a.example\r\n{fields}\r\n")
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

fn question(told: &Receiver<Message>) -> Message {
    told.recv_timeout(PATIENCE).expect("the service is asked")
}

/// The service is told of the request and of nothing that was not named; what it says of the user goes to the endpoint, and
/// what the client says does not.
fn whom_the_service_lets_pass_passes(io: Io) {
    let (sender, told) = channel();
    let (origin, service) = (Origin::answering(fields), service(sender));
    let gateway = plan(io, &origin, &service, ", forward_headers: [authorization, x-tenant]").start();
    let mut client = gateway.client();
    client.sends(format!(
        "POST /orders/../a%20b?q=1 HTTP/1.1\r\nHost: a.example\r\n{}X-Tenant: t\r\nX-User: root\r\nX_User: root\r\nCookie: c=1\r\n\
         X-Forwarded-Uri: /forged\r\nContent-Length: 5\r\n\r\nhello",
        bearer("good")
    ));
    assert_eq!(client.expects(200).text(), "x-user: alice|x-user: staff");
    let asked = question(&told);
    assert_eq!(asked.start, "GET /verify?x=1 HTTP/1.1");
    for (name, value) in [
        ("host", service.address().to_string().as_str()),
        ("authorization", "Bearer good"),
        ("x-tenant", "t"),
        ("x-forwarded-method", "POST"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", "a.example"),
        ("x-forwarded-uri", "/a%20b?q=1"),
        ("x-forwarded-for", "127.0.0.1"),
    ] {
        assert_eq!(asked.all(name), [value], "{asked}");
    }
    for name in ["cookie", "x-user", "x_user", "content-length"] {
        assert!(asked.all(name).is_empty(), "{asked}");
    }
    client.sends(get("/", &format!("{}X-User: root\r\n", bearer("empty"))));
    assert_eq!(client.expects(200).text(), "", "nobody says who it is");
    let mut h2 = H2Client::to(gateway.address());
    let passed = h2.asks("GET", "/h2", &[("authorization", "Bearer good"), ("x-user", "root")]).expects(200);
    assert_eq!(passed.text(), "x-user: alice|x-user: staff");
    // The connections to the service are kept.
    assert_eq!((service.requests(), service.connections()), (3, 1));
    gateway.waits_for("external_auth_requests_total", 3.0);
    gateway.stop();
}

/// J1: of the client the service is told what the endpoint is told: what a trusted proxy says, and of strangers nothing that
/// they say themselves, nor is that part of what an answer is remembered by.
fn the_service_is_told_of_the_client_what_the_endpoint_is_told(io: Io) {
    let said = "X-Forwarded-Proto: https\r\nX-Forwarded-Host: outer.example\r\nX-Forwarded-For: 192.0.2.9\r\n\
                X-Forwarded-User: root\r\nX-Real-IP: 192.0.2.9\r\nForwarded: for=192.0.2.9\r\n";
    let named = ["x-forwarded-user", "x-real-ip", "forwarded"];
    for (trusted, own, claims) in [
        ("10.0.0.0/8", ["http", "a.example", "127.0.0.1"], [&[][..], &[], &[]]),
        ("127.0.0.0/8", ["https", "outer.example", "192.0.2.9"], [&["root"], &["192.0.2.9"], &["for=192.0.2.9"]]),
    ] {
        let (sender, told) = channel();
        let (origin, service) = (Origin::answering(fields), service(sender));
        let forwards = format!(", forward_headers: [authorization, {}]", named.join(", "));
        let gateway = plan(io, &origin, &service, &forwards).listener(&format!("trusted_proxies: [{trusted}]")).start();
        let mut client = gateway.client();
        client.sends(get("/", &format!("{}{said}", bearer("good"))));
        client.expects(200);
        let asked = question(&told);
        let ours = ["x-forwarded-proto", "x-forwarded-host", "x-forwarded-for"];
        assert_eq!(ours.map(|name| asked.all(name)), own.map(|value| vec![value]), "{asked}");
        assert_eq!(named.map(|name| asked.all(name)), claims.map(<[&str]>::to_vec), "{asked}");
        gateway.stop();
    }
}

/// 4xx and redirects are told to the client in the words of the service.
fn what_the_service_refuses_is_told_in_its_words(io: Io) {
    let (sender, _told) = channel();
    let (origin, service) = (Origin::answering(fields), service(sender));
    let gateway = plan(io, &origin, &service, "").start();
    let mut client = gateway.client();
    client.sends(get("/", ""));
    let refused = client.expects(401);
    assert_eq!(refused.all("www-authenticate"), ["Bearer realm=\"svc\""]);
    assert_eq!((refused.text(), refused.reason()), ("who are you", "auth_refused"));
    client.sends(get("/", &bearer("login")));
    let moved = client.expects(302);
    assert_eq!((moved.all("location"), moved.all("set-cookie")), (vec!["https://login.example/?a=b"], vec!["s=1"]));
    client.sends(get("/", &bearer("wrong")));
    let refused = client.expects(403);
    assert_eq!((refused.text(), refused.all("content-type")), ("<p>no</p>", vec!["text/html"]));
    assert!(!refused.to_string().contains("inner"), "{refused}");
    client.sends(get("/", &bearer("good").repeat(2)));
    assert_eq!(client.expects(400).reason(), "credentials_ambiguous");
    assert_eq!(origin.requests(), 0);
    gateway.waits_for("gateway_rejected_requests_total{reason=\"auth_refused\"}", 3.0);
    gateway.stop();
}

/// Without an answer the policy decides; the door is shut unless it says otherwise, and within the time it gives.
fn without_an_answer_the_policy_decides(io: Io) {
    let (sender, _told) = channel();
    let (origin, service) = (Origin::answering(fields), service(sender));
    for (mode, status) in [("", 503), (", on_error: allow", 200)] {
        let gateway = plan(io, &origin, &service, mode).start();
        let mut client = gateway.client();
        let tokens = ["broken", "garbage", "cut", "odd"];
        for token in tokens {
            client.sends(get("/", &format!("{}X-User: root\r\n", bearer(token))));
            let answer = client.expects(status);
            match status {
                200 => assert_eq!(answer.text(), "", "{token}"),
                _ => assert_eq!(
                    (answer.reason(), answer.field("retry-after").is_some()),
                    ("auth_unavailable", true),
                    "{token}"
                ),
            }
        }
        client.sends(get("/", &bearer("good")));
        client.expects(200);
        gateway.waits_for("external_auth_failures_total", 4.0);
        gateway.stop();
    }
    let silent = Origin::serving(|mut wire| drop(wire.reads_to_end()));
    let gateway = plan(io, &origin, &silent, ", timeout: 200ms").start();
    let (mut client, began_ms) = (gateway.client(), now_ms());
    client.sends(get("/", &bearer("good")));
    assert_eq!(client.expects(503).reason(), "auth_unavailable");
    let took_ms = now_ms() - began_ms;
    assert!((150..2_000).contains(&took_ms), "{took_ms} ms");
    gateway.stop();
}

/// An endpoint of the service that is gone is passed over, and a connection that it closed meanwhile costs nobody an answer.
fn another_endpoint_of_the_service_is_asked(io: Io) {
    let (sender, _told) = channel();
    let (origin, good) = (Origin::answering(fields), service(sender));
    let once = Origin::serving(|mut wire| {
        drop(wire.reads_head());
        drop(wire.try_send(reply("200 OK", "X-User: once\r\n", "")));
    });
    let gone = Endpoint::closed();
    let yaml = Plan::bare(io)
        .cluster("app", &[origin.address()])
        .cluster("svc", &[gone, good.address()])
        .cluster("once", &[once.address()])
        .policies("asked: { external_auth: { cluster: svc } }, kept: { external_auth: { cluster: once } }")
        .route("name: all, match: { path: /* }, cluster: app, policies: [asked]")
        .route("name: kept, match: { path: /kept }, cluster: app, policies: [kept]");
    let gateway: Gateway = yaml.start();
    let mut client = gateway.client();
    for path in ["/1", "/2", "/3", "/kept", "/kept", "/kept"] {
        client.sends(get(path, &bearer("good")));
        client.expects(200);
    }
    assert_eq!(once.connections(), 3);
    gateway.stop();
}

/// A client that leaves, while a connection to the service comes about, in its queue or before its answer, ends there, and
/// nothing of it is held against the service.
fn a_client_that_leaves_says_nothing_against_the_service(io: Io) {
    let (origin, slow) = (Origin::answering(fields), Endpoint::listens());
    let (deaf, _held) = Endpoint::deaf();
    let breaker = "breaker: { consecutive: 1, open_for: 60s }";
    let asks = |name| format!("{name}: {{ external_auth: {{ cluster: {name}, timeout: 9s }} }}");
    let route = |name| format!("name: {name}, match: {{ path: /{name}/* }}, cluster: app, policies: [{name}]");
    let gateway = Plan::bare(io)
        .timeouts("connect: 20s")
        .cluster("app", &[origin.address()])
        .cluster_with("deaf", &[deaf.address()], breaker)
        .cluster_with(
            "slow",
            &[slow.address()],
            &format!("{breaker}, max_connections: 1, queue: {{ max: 9, timeout: 9s }}"),
        )
        .policies(&asks("deaf"))
        .policies(&asks("slow"))
        .route(&route("deaf"))
        .route(&route("slow"))
        .start();
    let joins = |path: &str, active| {
        let mut client = gateway.client();
        client.asks(path);
        gateway.waits_for("http_requests_active", active);
        client
    };
    let leaves = |client: Client, path: &str| {
        let began_ms = now_ms();
        client.resets();
        let line = gateway.log_of(path);
        assert_eq!((&line["status"], &line["reason"]), (&499.into(), &"client_abort".into()), "{line}");
        assert!(now_ms() - began_ms < 2_000, "{path}: {} ms", now_ms() - began_ms);
    };
    leaves(joins("/deaf/connects", 1.0), "/deaf/connects");
    let asked = joins("/slow/asked", 1.0);
    let mut question = slow.accepts();
    question.expects("GET /");
    let waits = joins("/slow/waits", 2.0);
    until_true("it waits for a connection", || gateway.cluster("slow")["waiting"] == 1);
    leaves(waits, "/slow/waits");
    leaves(asked, "/slow/asked");
    question.reads_to_end();
    let mut client = joins("/slow/stays", 1.0);
    let mut question = slow.accepts();
    question.expects("GET /");
    question.replies(reply("200 OK", "", ""));
    client.expects(200);
    for (cluster, address) in [("deaf", deaf.address()), ("slow", slow.address())] {
        let breaker = format!("circuit_breaker_state{{cluster=\"{cluster}\",endpoint=\"{address}\"}}");
        assert_eq!(gateway.metric(&breaker), 0.0, "{cluster}");
    }
    gateway.waits_for("client_aborts_total", 3.0);
    assert_eq!(gateway.metric("external_auth_failures_total"), 0.0);
    gateway.stop();
}

/// A burst of clients opens no breaker: a service is not charged for a question that waited for a connection, or for a place
/// under the cap to open one, until little of the time was left. One that has all of the time and says nothing is.
fn a_service_is_not_charged_for_time_that_a_queue_used_up(io: Io) {
    const TIMEOUT_MS: u64 = 6_000;
    const GUARDS: &str =
        "max_connections: 1, queue: { max: 9, timeout: 9s }, breaker: { consecutive: 1, open_for: 60s }";
    let (names, services) = (["kept", "closed", "silent"], [(); 3].map(|()| Endpoint::listens()));
    let origin = Origin::saying("ok");
    let mut plan = Plan::bare(io).timeouts("connect: 20s").cluster("app", &[origin.address()]);
    for ((name, service), timeout_ms) in names.iter().zip(&services).zip([TIMEOUT_MS, TIMEOUT_MS, 300]) {
        plan = plan
            .cluster_with(name, &[service.address()], GUARDS)
            .policies(&format!("{name}: {{ external_auth: {{ cluster: {name}, timeout: {timeout_ms}ms }} }}"))
            .route(&format!("name: {name}, match: {{ path: /{name} }}, cluster: app, policies: [{name}]"));
    }
    let gateway = plan.start();
    let asks = |name: &str| {
        let mut client = gateway.client();
        client.asks(&format!("/{name}"));
        client
    };
    let began_ms = now_ms();
    let mut pairs = [0, 1].map(|at| {
        let first = asks(names[at]);
        let mut asked = services[at].accepts();
        asked.expects("GET /");
        let second = asks(names[at]);
        until_true("it waits for a connection", || gateway.cluster(names[at])["waiting"] == 1);
        (first, second, asked)
    });
    // Where the second one has to open a connection, it opens none.
    let _held = services[1].goes_deaf();
    until_true("three quarters are over", || now_ms() > began_ms + TIMEOUT_MS * 3 / 4);
    for ((first, _, asked), field) in pairs.iter_mut().zip(["", "Connection: close\r\n"]) {
        asked.replies(reply("200 OK", field, ""));
        first.expects(200);
    }
    pairs[0].2.expects("GET /");
    for (_, second, _) in &mut pairs {
        assert_eq!(second.expects(503).reason(), "auth_unavailable");
    }
    assert_eq!(asks("silent").expects(503).reason(), "auth_unavailable");
    for ((name, service), state) in names.iter().zip(&services).zip([0.0, 0.0, 1.0]) {
        let breaker = format!("circuit_breaker_state{{cluster=\"{name}\",endpoint=\"{}\"}}", service.address());
        assert_eq!(gateway.metric(&breaker), state, "{name}");
    }
    gateway.stop();
}

/// The same for a wait for a stream of HTTP/2, of which a service may allow none for a while.
fn a_service_is_not_charged_for_a_wait_for_a_stream_that_a_queue_cut_short(io: Io) {
    const TIMEOUT_MS: u64 = 6_000;
    let (service, origin) = (Endpoint::listens(), Origin::saying("ok"));
    let entries = format!(
        "endpoints: [{{ url: 'h2c://{}' }}], max_connections: 1, queue: {{ max: 9, timeout: 9s }}, \
         breaker: {{ consecutive: 1, open_for: 60s }}",
        service.address()
    );
    let gateway = Plan::bare(io)
        .timeouts("connect: 20s")
        .cluster("app", &[origin.address()])
        .cluster_as("service", &entries)
        .policies(&format!("asked: {{ external_auth: {{ cluster: service, timeout: {TIMEOUT_MS}ms }} }}"))
        .route("name: all, cluster: app, policies: [asked]")
        .start();
    let (mut first, mut second) = (gateway.client(), gateway.client());
    let began_ms = now_ms();
    first.asks("/first");
    let mut connection = H2Peer::accepts(&service);
    let stream = connection.expects_request();
    second.asks("/second");
    until_true("it waits for a stream", || gateway.cluster("service")["waiting"] == 1);
    until_true("three quarters are over", || now_ms() > began_ms + TIMEOUT_MS * 3 / 4);
    connection.sends(settings(&[(3, 0)]));
    connection.replies_with(stream, "");
    first.expects(200);
    assert_eq!(second.expects(503).reason(), "auth_unavailable");
    let breaker = format!("circuit_breaker_state{{cluster=\"service\",endpoint=\"{}\"}}", service.address());
    assert_eq!(gateway.metric(&breaker), 0.0);
    gateway.stop();
}

/// What lets pass is remembered by the fields of the key, for its time and by the policy as it is; what refuses is not.
fn who_may_pass_is_remembered(io: Io) {
    let (sender, _told) = channel();
    let (origin, service) = (Origin::answering(fields), service(sender));
    let with = |cache: &str| plan(io, &origin, &service, &format!(", forward_headers: [authorization, cookie]{cache}"));
    let gateway = with(", cache: { for: 1h }").start();
    let mut client = gateway.client();
    let mut asks = |fields: &str, status, user: &str, asked| {
        client.sends(get("/", fields));
        let answer = client.expects(status);
        assert!(user.is_empty() || answer.text() == user, "{answer}");
        assert_eq!(service.requests(), asked, "{fields}");
    };
    for _ in 0..3 {
        asks(&bearer("good"), 200, "x-user: alice|x-user: staff", 1);
    }
    asks(&format!("{}Cookie: a=1\r\n", bearer("good")), 200, "", 2);
    asks(&format!("{}Cookie: a=1\r\n", bearer("good")), 200, "", 2);
    asks(&bearer("wrong"), 403, "", 3);
    asks(&bearer("wrong"), 403, "", 4);
    asks("", 401, "", 5);
    asks("", 401, "", 6);
    gateway.adopts(&with(", cache: { for: 2h }").yaml().replace("2h", "59m"));
    asks(&bearer("good"), 200, "x-user: alice|x-user: staff", 7);
    gateway.stop();
}

/// After its time the service is asked anew, and what it says by then holds: who may pass no more does not.
fn what_is_remembered_is_asked_anew_after_its_time(io: Io) {
    let (turn, asked) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicU64::new(0)));
    let (lets, count) = (Arc::clone(&turn), Arc::clone(&asked));
    let service = Origin::answering(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
        reply(if lets.load(Ordering::Relaxed) { "200 OK" } else { "403 Forbidden" }, "X-User: alice\r\n", "")
    });
    let origin = Origin::answering(fields);
    let gateway = plan(io, &origin, &service, ", cache: { for: 2s }").start();
    let mut client = gateway.client();
    let mut asks = || {
        client.sends(get("/", &bearer("a")));
        client.expects_any().status()
    };
    let began_ms = now_ms();
    assert_eq!((asks(), asks()), (200, 200));
    turn.store(false, Ordering::Relaxed);
    until_true("the end of what is remembered", || asks() == 403);
    let took_ms = now_ms() - began_ms;
    assert!((900..5_000).contains(&took_ms), "{took_ms} ms");
    assert_eq!(asked.load(Ordering::Relaxed), 2, "once before and once after");
    gateway.stop();
}

on_both_drivers![
    whom_the_service_lets_pass_passes,
    the_service_is_told_of_the_client_what_the_endpoint_is_told,
    what_the_service_refuses_is_told_in_its_words,
    without_an_answer_the_policy_decides,
    another_endpoint_of_the_service_is_asked,
    a_client_that_leaves_says_nothing_against_the_service,
    a_service_is_not_charged_for_time_that_a_queue_used_up,
    a_service_is_not_charged_for_a_wait_for_a_stream_that_a_queue_cut_short,
    who_may_pass_is_remembered,
    what_is_remembered_is_asked_anew_after_its_time,
];
