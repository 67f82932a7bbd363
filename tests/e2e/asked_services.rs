//! J4: what is spoken to a service that is asked, how calls of gRPC are told, and what the service's cluster bounds.

use h2::server::Builder;

use super::endpoint::Endpoint;
use super::gateway::Gateway;
use super::h2_client::{H2Client, H2Stream};
use super::h2_endpoint::{H2Accepted, H2Endpoint};
use super::origin::Origin;
use super::plan::{Io, Plan};
use super::site::{Site, VERSIONS, server_of};
use super::wait::until_true;

/// All requests, by leave of a cluster with these entries; behind `/open` nobody is asked.
fn asking(io: Io, origin: &Origin, service: &str) -> Plan {
    Plan::bare(io)
        .speaks_h2()
        .cluster("app", &[origin.address()])
        .cluster_as("svc", service)
        .policies("asked: { external_auth: { cluster: svc, path: /verify, response_headers: [x-user], timeout: 5s } }")
        .route("name: all, match: { path: /* }, cluster: app, policies: [asked]")
        .route("name: open, match: { path: /open }, cluster: app")
}

fn one(address: std::net::SocketAddr) -> String {
    format!("endpoints: [{{ url: 'http://{address}' }}]")
}

/// Says whom it was told of.
fn told() -> Origin {
    Origin::answering(|request| {
        let user = request.all("x-user").join("|");
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{user}", user.len()).into_bytes()
    })
}

fn bearer(token: &str) -> String {
    format!("GET /x?a=b HTTP/1.1\r\nHost: a.example\r\nAuthorization: Bearer {token}\r\nX-User: root\r\n\r\n")
}

/// A dialogue with a service of HTTP/2: it lets pass, refuses, and leaves a question without an answer.
fn is_asked_over_h2(gateway: &Gateway, endpoint: &H2Endpoint, scheme: &str) -> H2Accepted {
    let mut client = gateway.client();
    client.sends(bearer("good"));
    let accepted = endpoint.accepts();
    let asked = accepted.expects("GET /verify");
    assert_eq!(asked.request().uri().scheme_str(), Some(scheme));
    for (name, value) in
        [("authorization", "Bearer good"), ("x-forwarded-uri", "/x?a=b"), ("x-user", ""), ("connection", "")]
    {
        assert_eq!(asked.field(name), value, "{name}: {:?}", asked.request());
    }
    asked.replies(200, &[("x-user", "alice")], "ignored");
    assert_eq!(client.expects(200).text(), "alice");
    client.sends(bearer("bad"));
    accepted.expects("GET /verify").replies(403, &[("content-type", "text/html")], "<p>no</p>");
    let refused = client.expects(403);
    assert_eq!((refused.text(), refused.reason()), ("<p>no</p>", "auth_refused"));
    client.sends(bearer("reset"));
    accepted.expects("GET /verify").resets(h2::Reason::INTERNAL_ERROR);
    assert_eq!(client.expects(503).reason(), "auth_unavailable");
    accepted
}

/// Over HTTP/2 without TLS, several questions share a connection.
fn a_service_may_speak_http2(io: Io) {
    let (origin, endpoint) = (told(), H2Endpoint::listens());
    let gateway = asking(io, &origin, &format!("endpoints: [{}]", endpoint.entry())).start();
    let accepted = is_asked_over_h2(&gateway, &endpoint, "http");
    let mut clients = [gateway.client(), gateway.client()];
    let asked = clients.each_mut().map(|client| {
        client.sends(bearer("good"));
        accepted.expects("GET /verify")
    });
    asked.into_iter().for_each(|asked| asked.replies(200, &[("x-user", "bob")], ""));
    assert_eq!(clients.map(|mut client| client.expects(200).text().to_owned()), ["bob", "bob"]);
    assert!(endpoint.is_alone());
    gateway.stop();
}

/// Over TLS, HTTP/2 and HTTP/1.1; a service whose certificate is another's is told nothing and lets nobody pass.
fn a_service_may_speak_tls(io: Io) {
    let tls = |name: &str, address: std::net::SocketAddr| {
        format!(
            "protocol: auto, tls: {{ ca: ca.crt, server_name: {name} }}, endpoints: [{{ url: 'https://{address}' }}]"
        )
    };
    for protocol in ["h2", "http/1.1"] {
        let (site, origin) = (Site::new(), told());
        let mut config = server_of(&site.authority.certifies(&["a.example"]), &VERSIONS, None);
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        if protocol == "h2" {
            let endpoint = H2Endpoint::with(Builder::new(), Some(config));
            let plan = asking(io, &origin, &tls("a.example", endpoint.address()));
            let gateway = Gateway::start_in(site.folder, &plan.yaml());
            is_asked_over_h2(&gateway, &endpoint, "https");
            gateway.stop();
            continue;
        }
        let service =
            Origin::secured(config, |_, _| b"HTTP/1.1 200 OK\r\nX-User: carol\r\nContent-Length: 0\r\n\r\n".to_vec());
        let plan = asking(io, &origin, &tls("a.example", service.address()));
        let gateway = Gateway::start_in(site.folder, &plan.yaml());
        let mut client = gateway.client();
        for _ in 0..2 {
            client.sends(bearer("good"));
            assert_eq!(client.expects(200).text(), "carol");
        }
        assert_eq!((service.requests(), service.connections()), (2, 1));
        gateway.adopts(&asking(io, &origin, &tls("b.example", service.address())).yaml());
        client.sends(bearer("good"));
        assert_eq!(client.expects(503).reason(), "auth_unavailable");
        assert_eq!(service.requests(), 2);
        gateway.stop();
    }
}

/// How a call of gRPC ended: by fields alone, with HTTP 200.
fn ends(stream: H2Stream, status: &str, reason: &str) {
    let reply = stream.expects(200);
    assert_eq!((reply.field("grpc-status"), reply.reason()), (status, reason), "{reply:?}");
    assert!(reply.body.is_empty() && reply.field("location").is_empty(), "{reply:?}");
    assert_eq!(reply.field("content-type"), "application/grpc");
}

/// A call that the service refuses, or does not answer for, is told by a status of gRPC, not in the words of the service.
fn a_call_is_refused_by_a_status_of_grpc(io: Io) {
    let (origin, service) = (
        told(),
        Origin::answering(|request| {
            let status = match request.field("authorization").unwrap_or_default() {
                "Bearer good" => "200 OK",
                "Bearer moved" => "302 Found\r\nLocation: /login",
                "Bearer broken" => "500 Internal Server Error",
                _ => "401 Unauthorized\r\nWWW-Authenticate: Bearer",
            };
            format!("HTTP/1.1 {status}\r\nContent-Type: text/html\r\nContent-Length: 2\r\n\r\nno").into_bytes()
        }),
    );
    let gateway = asking(io, &origin, &one(service.address())).start();
    let mut client = H2Client::to(gateway.address());
    let mut calls = |token: &str| {
        let fields =
            [("content-type", "application/grpc"), ("te", "trailers"), ("authorization", &format!("Bearer {token}"))];
        client.asks("POST", "/a.B/Call", &fields)
    };
    ends(calls("bad"), "7", "auth_refused");
    ends(calls("moved"), "7", "auth_refused");
    ends(calls("broken"), "14", "auth_unavailable");
    assert_eq!(origin.requests(), 0);
    assert_eq!(gateway.log_of("/a.B/Call")["grpc_status"], 7);
    calls("good").expects(200);
    assert_eq!((origin.requests(), service.requests()), (1, 4));
    gateway.stop();
}

/// A service that fails opens the breaker of its cluster, is left alone then, and costs the routes that do not ask it nothing.
fn the_breaker_of_its_cluster_spares_a_service_that_fails(io: Io) {
    let (origin, service) = (told(), Origin::answering(|_| b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n".to_vec()));
    let breaker = "breaker: { consecutive: 3, open_for: 1h, min_requests: 1000 }";
    let plan = asking(io, &origin, &format!("{breaker}, {}", one(service.address())));
    let gateway = plan.defaults("retry: { attempts: 5, on: [503, 502, reset], backoff: 1ms }").start();
    let mut client = gateway.client();
    for _ in 0..6 {
        client.sends(bearer("good"));
        assert_eq!(client.expects(503).reason(), "auth_unavailable");
    }
    // The retries of the route are for its own requests: each question was put once.
    assert_eq!(service.requests(), 3);
    assert_eq!(gateway.shows("svc", service.address())["breaker"], "open");
    client.asks("/open").expects(200);
    gateway.waits_for("external_auth_failures_total", 6.0);
    assert_eq!((gateway.metric_sum("upstream_retries_total"), origin.requests()), (0.0, 1));
    gateway.stop();
}

/// A question that was heard and not answered is not put again: it may have been counted.
fn a_question_that_was_heard_is_not_put_again(io: Io) {
    let (origin, service) = (told(), Origin::serving(|mut wire| drop(wire.reads_head())));
    let gateway = asking(io, &origin, &one(service.address())).start();
    let mut client = gateway.client();
    client.sends(bearer("good"));
    assert_eq!(client.expects(503).reason(), "auth_unavailable");
    assert_eq!((service.connections(), origin.requests()), (1, 0));
    gateway.stop();
}

/// The cap of its cluster holds for questions: one more waits in the queue, and without a queue lets nobody pass.
fn the_cap_of_its_cluster_bounds_questions(io: Io) {
    let origin = told();
    for queue in ["", ", queue: { max: 1, timeout: 10s }"] {
        let service = Endpoint::listens();
        let entries = format!("max_connections: 1{queue}, {}", one(service.address()));
        let gateway = asking(io, &origin, &entries).start();
        let (mut first, mut second) = (gateway.client(), gateway.client());
        first.sends(bearer("one"));
        let mut asked = service.accepts();
        asked.expects("GET /verify");
        second.sends(bearer("two"));
        if queue.is_empty() {
            assert_eq!(second.expects(503).reason(), "auth_unavailable");
        } else {
            until_true("the second one waits", || gateway.cluster("svc")["waiting"] == 1);
        }
        let mut passes = |user: &str| {
            asked.replies(format!("HTTP/1.1 200 OK\r\nX-User: {user}\r\nContent-Length: 0\r\n\r\n"));
        };
        passes("one");
        assert_eq!(first.expects(200).text(), "one");
        if !queue.is_empty() {
            asked.expects("GET /verify");
            asked.replies("HTTP/1.1 200 OK\r\nX-User: two\r\nContent-Length: 0\r\n\r\n");
            assert_eq!(second.expects(200).text(), "two");
        }
        assert!(service.is_alone());
        gateway.stop();
    }
}

on_both_drivers![
    a_service_may_speak_http2,
    a_service_may_speak_tls,
    a_call_is_refused_by_a_status_of_grpc,
    the_breaker_of_its_cluster_spares_a_service_that_fails,
    a_question_that_was_heard_is_not_put_again,
    the_cap_of_its_cluster_bounds_questions,
];
