//! J5: who may come by address, and what scripts of other origins may ask (CORS).

use super::endpoint::Endpoint;
use super::gateway::Gateway;
use super::h2_client::H2Client;
use super::origin::Origin;
use super::plan::{Io, Plan};

/// Policies behind a route of one endpoint.
fn guarded(io: Io, endpoint: std::net::SocketAddr, policies: &str, names: &str) -> Plan {
    let route = format!("name: all, match: {{ path: /* }}, cluster: app, policies: [{names}]");
    Plan::bare(io).cluster("app", &[endpoint]).policies(policies).route(&route)
}

/// The peer decides where it is no trusted proxy, whatever it says of others; a trusted one is asked for its client, and
/// the most specific network decides. What is denied never reaches an endpoint.
fn the_most_specific_network_decides_who_may_come(io: Io) {
    let origin = Origin::saying("in");
    let policy = "office: { access: { allow: [127.0.0.0/8, 192.0.2.0/24], deny: [192.0.2.66, '2001:db8::/32'] } }";
    let plan = guarded(io, origin.address(), policy, "office");
    let gateway = plan.start();
    let mut client = gateway.client();
    client.sends("GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.66\r\n\r\n");
    client.expects(200);
    gateway.stop();

    let gateway = plan.listener("trusted_proxies: [127.0.0.1]").speaks_h2().start();
    let mut client = gateway.client();
    for (told, status) in [
        ("192.0.2.1", 200),
        ("192.0.2.66", 403),
        ("::ffff:192.0.2.66", 403),
        ("198.51.100.1", 403),
        ("2001:db8::1", 403),
        ("192.0.2.66, 192.0.2.1", 200),
        ("192.0.2.66,, 192.0.2.1 ,", 200),
        ("198.51.100.1,", 403),
        // Some proxies write the port as well.
        ("192.0.2.1:4711", 200),
        ("198.51.100.1:4711", 403),
        ("[2001:db8::1]:4711", 403),
        ("[2001:db8::1]", 403),
        // RFC 9110 section 5.3: several lines are one list, whose end is what the proxy says.
        ("192.0.2.1\r\nX-Forwarded-For: 198.51.100.1", 403),
        ("198.51.100.1\r\nX-Forwarded-For: 192.0.2.1", 200),
        ("192.0.2.1, 198.51.100.1\r\nX-Forwarded-For:\r\nX-Forwarded-For: 127.0.0.1", 403),
    ] {
        client.sends(format!("GET /{status} HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: {told}\r\n\r\n"));
        let answer = client.expects(status);
        assert_eq!(answer.field("x-gateway-reason"), (status == 403).then_some("access_denied"), "{told}");
    }
    assert_eq!(gateway.log_of("/403")["reason"], "access_denied");
    assert_eq!(gateway.log_of("/403")["stage"], "admit");
    gateway.waits_for("gateway_rejected_requests_total{reason=\"access_denied\"}", 10.0);
    let mut client = H2Client::to(gateway.address());
    for (last, status) in [("192.0.2.1", 200), ("198.51.100.1", 403)] {
        client.asks("GET", "/h2", &[("x-forwarded-for", "192.0.2.1"), ("x-forwarded-for", last)]).expects(status);
    }
    gateway.stop();
}

/// Every one of several must let the address pass, a refused body is read past or the connection ends, and so it is for
/// a route that answers by itself and for HTTP/2.
fn access_is_asked_on_every_kind_of_route_and_connection(io: Io) {
    let policies = "inside: { access: { allow: [127.0.0.0/8] } }, nobody: { access: { deny: [127.0.0.1] } }";
    let gateway = Plan::bare(io)
        .speaks_h2()
        .policies(policies)
        .route("name: open, match: { path: /open }, respond: { status: 200, body: in }, policies: [inside]")
        .route("name: shut, match: { path: /shut }, respond: { status: 200, body: in }, policies: [inside, nobody]")
        .start();
    let mut client = gateway.client();
    client.asks("/open").expects(200);
    client.sends("POST /shut HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc");
    client.expects(403);
    client.asks("/open").expects(200);
    let mut client = H2Client::to(gateway.address());
    client.gets("/shut").expects(403);
    client.gets("/open").expects(200);
    gateway.stop();
}

const CORS: &str = "browser: { cors: { origins: ['https://app.example.com', 'https://*.example.org'], \
                    methods: [GET, PUT], headers: [content-type], expose: [x-total], max_age: 10m } }";

fn shared(io: Io, endpoint: &Endpoint) -> Gateway {
    let route = |line: &str| format!("cluster: app, {line}");
    Plan::bare(io)
        .cluster("app", &[endpoint.address()])
        .policies(CORS)
        .route(&route("name: shared, match: { path: /api/*, methods: [GET, PUT] }, policies: [browser]"))
        .route(&route("name: rest, match: { path: /* }"))
        .start()
}

fn preflight(path: &str, origin: &str) -> String {
    format!(
        "OPTIONS {path} HTTP/1.1\r\nHost: a\r\nOrigin: {origin}\r\nAccess-Control-Request-Method: PUT\r\n\
         Access-Control-Request-Headers: content-type\r\n\r\n"
    )
}

/// A preflight is answered by the gateway for the route of the request that it asks about, although that route has no
/// OPTIONS; it never reaches an endpoint. One of a strange origin is refused with a reason. Where no such policy is in
/// force, it is a request like any other.
fn a_preflight_is_answered_for_the_route_it_asks_about(io: Io) {
    let endpoint = Endpoint::listens();
    let gateway = shared(io, &endpoint);
    let mut client = gateway.client();
    for origin in ["https://app.example.com", "https://a.b.example.org"] {
        client.sends(preflight("/api/x", origin));
        let answer = client.expects(204);
        assert_eq!(answer.all("access-control-allow-origin"), [origin]);
        assert_eq!(answer.all("access-control-allow-methods"), ["GET, PUT"]);
        assert_eq!(answer.all("access-control-allow-headers"), ["content-type"]);
        assert_eq!(answer.all("access-control-max-age"), ["600"]);
        assert!(answer.all("vary").iter().any(|vary| vary.contains("Origin")), "{answer}");
    }
    for origin in ["https://evil.test", "null", "http://app.example.com"] {
        client.sends(preflight("/api/x", origin));
        let answer = client.expects(403);
        assert_eq!(
            (answer.reason(), answer.field("access-control-allow-origin")),
            ("origin_refused", None),
            "{origin}"
        );
    }
    client.sends(preflight("/other", "https://app.example.com"));
    let mut upstream = endpoint.accepts();
    upstream.expects("OPTIONS /other");
    upstream.replies("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(client.expects(200).field("access-control-allow-origin"), None);
    gateway.stop();
}

/// The answer to a request of a script names its origin, in place of what the endpoint says; failures of the gateway tell
/// it too, so that a script may read them; and caches are told that answers differ.
fn scripts_of_shared_origins_may_read_answers(io: Io) {
    let endpoint = Endpoint::listens();
    let gateway = shared(io, &endpoint);
    let mut client = gateway.client();
    let asks = |origin: &str| format!("GET /api/x HTTP/1.1\r\nHost: a\r\n{origin}\r\n");
    client.sends(asks("Origin: https://app.example.com\r\n"));
    let mut upstream = endpoint.accepts();
    upstream.expects("GET /api/x");
    upstream.replies(
        "HTTP/1.1 200 OK\r\nAccess-Control-Allow-Origin: *\r\nAccess-Control-Allow-Credentials: true\r\nVary: Accept\r\n\
         Content-Length: 0\r\n\r\n",
    );
    let answer = client.expects(200);
    assert_eq!(answer.all("access-control-allow-origin"), ["https://app.example.com"]);
    assert_eq!(answer.all("access-control-expose-headers"), ["x-total"]);
    assert_eq!(answer.all("access-control-allow-credentials"), Vec::<&str>::new());
    assert_eq!(answer.all("vary"), ["Accept", "Origin"]);
    for origin in ["Origin: https://evil.test\r\n", ""] {
        client.sends(asks(origin));
        upstream.expects("GET /api/x");
        upstream.replies("HTTP/1.1 200 OK\r\nAccess-Control-Allow-Origin: *\r\nContent-Length: 0\r\n\r\n");
        let answer = client.expects(200);
        assert_eq!(
            (answer.field("access-control-allow-origin"), answer.all("vary")),
            (None, vec!["Origin"]),
            "{origin}"
        );
    }
    client.sends(asks("Origin: https://app.example.com\r\n"));
    upstream.expects("GET /api/x");
    upstream.replies("HTTP/1.1 200 OK\r\nnonsense\r\n\r\n");
    let answer = client.expects(502);
    assert_eq!(answer.all("access-control-allow-origin"), ["https://app.example.com"]);
    gateway.stop();
}

/// A reload changes who may come, without a connection lost.
fn a_reload_changes_who_may_come(io: Io) {
    let origin = Origin::saying("in");
    let gateway = guarded(io, origin.address(), "gate: { access: { allow: [127.0.0.1] } }", "gate").start();
    let mut client = gateway.client();
    client.asks("/").expects(200);
    gateway.adopts(&guarded(io, origin.address(), "gate: { access: { deny: [127.0.0.1] } }", "gate").yaml());
    client.asks("/").expects(403);
    gateway.adopts(&guarded(io, origin.address(), "gate: { access: { deny: [127.0.0.2] } }", "gate").yaml());
    client.asks("/").expects(200);
    gateway.stop();
}

on_both_drivers![
    the_most_specific_network_decides_who_may_come,
    access_is_asked_on_every_kind_of_route_and_connection,
    a_preflight_is_answered_for_the_route_it_asks_about,
    scripts_of_shared_origins_may_read_answers,
    a_reload_changes_who_may_come,
];
