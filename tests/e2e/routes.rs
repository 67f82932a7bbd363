//! Which request goes where, and the answers that the gateway gives itself: C1 to C4, B5, G4, K4.

use serde_json::Value;

use super::endpoint::Endpoint;
use super::origin::Origin;
use super::plan::{Io, Plan};

/// C1 and C2: host before path before predicates before order.
fn the_most_specific_route_wins(io: Io) {
    let fixed = |name: &str, matching: &str| {
        format!("name: {name}, match: {{ {matching} }}, respond: {{ status: 200, body: {name} }}")
    };
    let gateway = Plan::bare(io)
        .route("name: rest, respond: { status: 200, body: rest }")
        .route(&fixed("wild", "host: '*.example.com'"))
        .route(&fixed("wilder", "host: '*.b.example.com'"))
        .route(&fixed("host", "host: a.example.com"))
        .route(&fixed("prefix", "path: /api/*"))
        .route(&fixed("longer", "path: /api/v2/*"))
        .route(&fixed("exact", "path: /api/v2/x"))
        .route(&fixed("method", "path: /api/*, methods: [DELETE]"))
        .route(&fixed("field", "path: /api/*, headers: { x-version: '2' }"))
        .route(&fixed("query", "path: /api/*, query: { preview: 'yes' }"))
        .start();
    let mut client = gateway.client();
    for (request, route) in [
        ("GET /other HTTP/1.1\r\nHost: q", "rest"),
        ("GET /api HTTP/1.1\r\nHost: q", "prefix"),
        ("GET /api/ HTTP/1.1\r\nHost: q", "prefix"),
        ("GET /apix HTTP/1.1\r\nHost: q", "rest"),
        ("GET /api/v2 HTTP/1.1\r\nHost: q", "longer"),
        ("GET /api/v2/x HTTP/1.1\r\nHost: q", "exact"),
        ("GET /api/./v2/%78 HTTP/1.1\r\nHost: q", "exact"),
        ("DELETE /api/x HTTP/1.1\r\nHost: q", "method"),
        ("GET /api/x HTTP/1.1\r\nHost: q\r\nX-Version: 2", "field"),
        ("GET /api/x HTTP/1.1\r\nHost: q\r\nX-Version: 3", "prefix"),
        ("GET /api/x?a=b&preview=yes HTTP/1.1\r\nHost: q", "query"),
        ("GET /api/v2/x HTTP/1.1\r\nHost: A.Example.COM.:81", "host"),
        ("GET /api/v2/x HTTP/1.1\r\nHost: x.example.com", "wild"),
        ("GET /api/v2/x HTTP/1.1\r\nHost: x.b.example.com", "wilder"),
        ("GET /other HTTP/1.1\r\nHost: example.com", "rest"),
    ] {
        client.sends(format!("{request}\r\n\r\n"));
        assert_eq!(client.expects(200).text(), route, "{request}");
    }
    gateway.stop();
}

/// C1, and RFC 3986 section 6.2.2: a route means a path, not one way to write it; so does `explain`.
fn a_path_is_the_same_however_it_is_escaped(io: Io) {
    let origin = Origin::echo();
    let plan = Plan::to(io, &[origin.address()])
        .listener("health_path: '/ali%76e%2fnow'")
        .route("name: ops, match: { path: '/%7Eops/*' }, respond: { status: 403, body: ops }")
        .route("name: slash, match: { path: '/a%2fb' }, respond: { status: 403, body: slash }")
        .route("name: coffee, match: { path: '/caf%c3%a9' }, respond: { status: 403, body: coffee }")
        .route("name: old, match: { path: '/%6Fld/*' }, cluster: app, rewrite: { prefix: /new }");
    let file = super::folder::Folder::new();
    let path = file.write("gateway.yaml", plan.yaml());
    let gateway = plan.start();
    let mut client = gateway.client();
    for (path_asked, route) in [
        ("/~ops/x", "ops"),
        ("/%7eops/x", "ops"),
        ("/%7Eops", "ops"),
        ("/a%2fb", "slash"),
        ("/a%2Fb", "slash"),
        ("/caf%c3%A9", "coffee"),
    ] {
        client.asks(path_asked);
        assert_eq!(client.expects(403).text(), route, "{path_asked}");
        let output =
            super::process::binary().args(["explain", "GET", path_asked, "-c"]).arg(&path).output().expect("a child");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(said.starts_with(&format!("route `{route}`")), "{path_asked}: {said}");
    }
    client.asks("/a/b");
    assert_eq!(client.expects(200).text(), "GET /a/b HTTP/1.1");
    client.asks("/old/%6f");
    assert_eq!(client.expects(200).text(), "GET /new/o HTTP/1.1");
    client.asks("/alive%2Fnow");
    assert_eq!(super::gateway::json(client.expects(200).text())["status"], "ok");
    gateway.stop();
}

/// C4: no route is a 404 with these words; of a host that no route names it is a 421 where that is asked for, but a route for
/// any host takes what it matches.
fn what_no_route_takes_is_404_and_a_foreign_host_421(io: Io) {
    let plan = Plan::bare(io).route("name: a, match: { host: a.example, path: /x }, respond: { status: 200, body: a }");
    let gateway = plan.start();
    let mut client = gateway.client();
    client.asks("/y");
    let answer = client.expects(404);
    assert_eq!((answer.text().trim_end(), answer.reason()), ("route not found", "route_not_found"));
    assert!(!answer.announces_close());
    client.sends("GET /x HTTP/1.1\r\nHost: b.example\r\n\r\n");
    client.expects(404);
    gateway.waits_for("gateway_rejected_requests_total{reason=\"route_not_found\"}", 2.0);
    gateway.stop();

    let robots = "name: robots, match: { path: /robots.txt }, respond: { status: 200, body: robots }";
    let gateway = plan.listener("strict_host: true").route(robots).start();
    let mut client = gateway.client();
    client.sends("GET /x HTTP/1.1\r\nHost: b.example\r\n\r\n");
    assert_eq!(client.expects(421).reason(), "misdirected");
    for host in ["a.example", "b.example"] {
        client.sends(format!("GET /robots.txt HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert_eq!(client.expects(200).text(), "robots", "{host}");
    }
    client.asks("/y");
    client.expects(404);
    client.asks("/x");
    client.expects(200);
    gateway.stop();
}

/// C3: redirects and fixed responses; what an attacker puts into the target stays inside its field (item 56).
fn redirects_and_fixed_responses_are_the_gateways_own(io: Io) {
    let gateway = Plan::bare(io)
        .route("name: moved, match: { path: /old/* }, redirect: { to: 'https://new.example{path}{query}', status: 308 }")
        .route("name: fixed, match: { path: /fixed }, respond: { status: 418, body: '{\"short\":true}', content_type: application/json }")
        .route("name: none, match: { path: /none }, respond: { status: 204 }")
        .start();
    let mut client = gateway.client();
    client.asks("/old/a%0d%0aX:%20y?x=%0d%0a&b=\"'<>");
    let answer = client.expects(308);
    assert_eq!(answer.field("location"), Some("https://new.example/old/a%0D%0AX:%20y?x=%0d%0a&b=\"'<>"));
    client.asks("/old/plain");
    assert_eq!(client.expects(308).field("location"), Some("https://new.example/old/plain"));
    client.asks("/fixed");
    let answer = client.expects(418);
    assert_eq!((answer.text(), answer.field("content-type")), ("{\"short\":true}", Some("application/json")));
    assert!(answer.field("date").is_some() && answer.field("x-request-id").is_some());
    client.sends("HEAD /fixed HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.expects_head(418).field("content-length"), Some("14"));
    client.asks("/none");
    let answer = client.expects(204);
    assert_eq!((answer.field("content-length"), answer.field("content-type")), (None, None));
    gateway.stop();
}

/// B5: the prefix is replaced, what follows it and the query are kept; Host is the endpoint's where that is asked for.
fn a_prefix_is_rewritten_and_host_is_chosen(io: Io) {
    let origin = Origin::answering(|request| {
        let text = format!("{} {}", request.start, request.field("host").expect("a host"));
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len()).into_bytes()
    });
    let gateway = Plan::bare(io)
        .cluster("app", &[origin.address()])
        .route("name: strip, match: { path: /strip/* }, cluster: app, rewrite: { prefix: / }")
        .route("name: swap, match: { path: /swap/* }, cluster: app, rewrite: { prefix: /v2/orders }")
        .route("name: host, match: { path: /host/* }, cluster: app, host_header: upstream")
        .start();
    let mut client = gateway.client();
    for (path, seen) in [
        ("/strip", "GET / HTTP/1.1 a.example".to_owned()),
        ("/strip/", "GET / HTTP/1.1 a.example".to_owned()),
        ("/strip/a/b?x=/strip/", "GET /a/b?x=/strip/ HTTP/1.1 a.example".to_owned()),
        ("/swap", "GET /v2/orders HTTP/1.1 a.example".to_owned()),
        ("/swap/7?x", "GET /v2/orders/7?x HTTP/1.1 a.example".to_owned()),
        ("/strip/../host/x", format!("GET /host/x HTTP/1.1 {}", origin.address())),
    ] {
        client.asks(path);
        assert_eq!(client.expects(200).text(), seen, "{path}");
    }
    gateway.stop();
}

/// B5: fields are removed, set and added, in both directions, on local replies too.
fn fields_are_edited_in_both_directions(io: Io) {
    let endpoint = Endpoint::listens();
    let edits = "headers: { request: { remove: [x-debug, cookie], set: { x-edge: '1' }, add: { x-tag: a } }, \
                 response: { remove: [server], set: { x-frame-options: DENY }, add: { x-via: edge } } }";
    let gateway = Plan::bare(io)
        .cluster("app", &[endpoint.address()])
        .cluster("gone", &[Endpoint::closed()])
        .route(&format!("name: edited, match: {{ path: /edited }}, cluster: app, {edits}"))
        .route(&format!("name: failing, match: {{ path: /failing }}, cluster: gone, {edits}"))
        .start();
    let mut client = gateway.client();
    client.sends(
        "GET /edited HTTP/1.1\r\nHost: a\r\nX-Debug: 1\r\nCookie: a\r\nX-Edge: forged\r\nx-edge: twice\r\nX-Tag: b\r\nX-Kept: 1\r\n\r\n",
    );
    let mut upstream = endpoint.accepts();
    let seen = upstream.expects("GET /edited");
    assert_eq!((seen.field("x-debug"), seen.field("cookie"), seen.field("x-kept")), (None, None, Some("1")));
    assert_eq!((seen.all("x-edge"), seen.all("x-tag")), (vec!["1"], vec!["b", "a"]));
    upstream.replies(
        "HTTP/1.1 200 OK\r\nServer: origin\r\nX-Frame-Options: ALLOW\r\nX-Via: 1\r\nContent-Length: 0\r\n\r\n",
    );
    let answer = client.expects(200);
    assert_eq!((answer.field("server"), answer.field("x-frame-options")), (None, Some("DENY")));
    assert_eq!(answer.all("x-via"), ["1", "edge"]);
    client.asks("/failing");
    let answer = client.expects(502);
    assert_eq!((answer.field("x-frame-options"), answer.field("x-via")), (Some("DENY"), Some("edge")));
    gateway.stop();
}

/// G4: the gateway's own health on the data port, moved or off, and a route of that very path wins, if it is the one of the
/// request; on the admin port.
fn health_is_answered_on_both_ports(io: Io) {
    let origin = Origin::echo();
    let plan = Plan::to(io, &[origin.address()]);
    let gateway = plan.start();
    let mut client = gateway.client();
    client.asks("/health");
    assert_eq!(super::gateway::json(client.expects(200).text())["status"], "ok");
    client.sends("POST /health HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(client.expects(200).text(), "POST /health HTTP/1.1");
    for (path, status) in [("/health", 200), ("/healthz", 200), ("/ready", 200), ("/nothing", 404)] {
        assert_eq!(gateway.asks_admin("GET", path).status(), status, "{path}");
    }
    gateway.stop();
    let gateway = plan.clone().listener("health_path: /alive").start();
    let mut client = gateway.client();
    client.asks("/alive");
    assert!(client.expects(200).text().contains("ok"));
    client.asks("/health");
    assert_eq!(client.expects(200).text(), "GET /health HTTP/1.1");
    gateway.stop();
    let gateway = plan.clone().route("name: own, match: { path: /health, methods: [POST] }, cluster: app").start();
    let mut client = gateway.client();
    client.asks("/health");
    assert_eq!(super::gateway::json(client.expects(200).text())["status"], "ok", "that route is none of a GET");
    client.sends("POST /health HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(client.expects(200).text(), "POST /health HTTP/1.1");
    assert_eq!(gateway.log_of("/health")["route"], Value::Null);
    gateway.stop();
    for plan in
        [plan.clone().listener("health_path: off"), plan.route("name: own, match: { path: /health }, cluster: app")]
    {
        let gateway = plan.start();
        let mut client = gateway.client();
        client.asks("/health");
        assert_eq!(client.expects(200).text(), "GET /health HTTP/1.1");
        gateway.stop();
    }
}

/// The admin server answers nobody who came by another name (DNS rebinding) or from another page.
fn the_admin_server_refuses_strangers(io: Io) {
    let gateway = Plan::bare(io).start();
    for (field, status) in [
        ("Host: evil.example", 403),
        ("Host: localhost\r\nOrigin: https://evil.example", 403),
        ("Host: localhost:1", 200),
        ("Host: 127.0.0.1", 200),
    ] {
        let mut wire = super::wire::Wire::to(gateway.admin());
        wire.sends(format!("GET /status HTTP/1.1\r\n{field}\r\nConnection: close\r\n\r\n"));
        assert_eq!(wire.reads_head().status(), status, "{field}");
    }
    gateway.stop();
}

/// K4: no reason is told to clients unless that is asked for.
fn reasons_are_told_only_when_asked_for(io: Io) {
    let yaml = Plan::bare(io).yaml().replace("reason_header: on", "reason_header: off");
    let gateway = super::gateway::Gateway::start(&yaml);
    let mut client = gateway.client();
    client.asks("/x");
    assert_eq!(client.expects(404).field("x-gateway-reason"), None);
    client.sends("GET / HTTP/1.1\r\n\r\n");
    assert_eq!(client.expects(400).field("x-gateway-reason"), None);
    gateway.stop();
}

on_both_drivers![
    the_most_specific_route_wins,
    a_path_is_the_same_however_it_is_escaped,
    what_no_route_takes_is_404_and_a_foreign_host_421,
    redirects_and_fixed_responses_are_the_gateways_own,
    a_prefix_is_rewritten_and_host_is_chosen,
    fields_are_edited_in_both_directions,
    health_is_answered_on_both_ports,
    the_admin_server_refuses_strangers,
    reasons_are_told_only_when_asked_for,
];
