//! E1 to E5: how many requests may pass, exact over all workers, and what clients are told of it.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::endpoint::Endpoint;
use super::folder::Folder;
use super::gateway::Gateway;
use super::h2_client::H2Client;
use super::issuer::{Issuer, hash, key_set};
use super::message::Message;
use super::origin::Origin;
use super::plan::{Io, Plan};

/// A route that answers by itself, under these policies.
fn limited(io: Io, policies: &str, names: &str) -> Plan {
    let route = "match: { path: /* }, respond: { status: 200, body: in }";
    Plan::bare(io).policies(policies).route(&format!("name: all, {route}, policies: [{names}]"))
}

/// How many of the requests pass that so many connections send at once, each so many.
pub(crate) fn passed(to: SocketAddr, connections: usize, each: usize) -> usize {
    let passed = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..connections {
            scope.spawn(|| {
                let mut client = super::client::Client::to(to);
                for _ in 0..each {
                    let answer = client.asks("/").expects_any();
                    assert!(matches!(answer.status(), 200 | 429), "{answer}");
                    passed.fetch_add(usize::from(answer.status() == 200), Ordering::Relaxed);
                }
            });
        }
    });
    passed.into_inner()
}

/// The fields that tell of a limit, in whole numbers: the limit, what is left, when the window ends.
fn told(answer: &Message) -> [u64; 3] {
    ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"].map(|name| {
        assert_eq!(answer.all(name).len(), 1, "{answer}");
        answer.field(name).unwrap().parse().unwrap()
    })
}

/// The limit of E5, whatever the worker that a connection belongs to: of 320 requests on 32 connections at once to 4
/// workers exactly 100 pass, and the 220 others are counted.
fn of_many_at_once_exactly_the_limit_passes(io: Io) {
    for policy in ["p: { rate_limit: {} }", "p: { rate_limit: { limit: 100/1h, algorithm: token_bucket, burst: 100 } }"]
    {
        let gateway = limited(io, policy, "p").workers("4").start();
        assert_eq!(passed(gateway.address(), 32, 10), 100);
        gateway.waits_for("rate_limiter_rejected_total{client=\"127.0.0.1\"}", 220.0);
        gateway.waits_for("gateway_rejected_requests_total{reason=\"rate_limited\"}", 220.0);
        assert_eq!(gateway.metric("rate_limiter_rejected_total{client=\"other\"}"), 0.0);
        gateway.stop();
    }
}

/// Of a high limit workers lease tokens: never more than the limit passes, and at most 2.5 % less.
fn of_a_high_limit_almost_all_passes_and_never_more(io: Io) {
    let gateway = limited(io, "p: { rate_limit: { limit: 2000/1h } }", "p").workers("4").start();
    let passed = passed(gateway.address(), 16, 150);
    assert!((1950..=2000).contains(&passed), "{passed}");
    gateway.stop();
}

/// Every answer tells what is left, the endpoint's own numbers are not passed on, and who is refused is told when to
/// come back. A refused request never reaches an endpoint.
fn answers_tell_what_is_left_and_when_to_come_back(io: Io) {
    let endpoint = Endpoint::listens();
    let gateway = Plan::bare(io)
        .cluster("app", &[endpoint.address()])
        .policies("p: { rate_limit: { limit: 2/1m } }")
        .route("name: all, match: { path: /* }, cluster: app, policies: [p]")
        .start();
    let mut client = gateway.client();
    client.asks("/1");
    let mut upstream = endpoint.accepts();
    upstream.expects("GET /1");
    upstream
        .replies("HTTP/1.1 200 OK\r\nX-RateLimit-Limit: 7\r\nX-RateLimit-Remaining: 6\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(told(&client.expects(200)), [2, 1, 60]);
    client.asks("/2");
    upstream.expects("GET /2");
    upstream.replies("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(told(&client.expects(200))[1], 0);
    let refused = client.asks("/3").expects(429);
    let [limit, remaining, reset] = told(&refused);
    assert!(limit == 2 && remaining == 0 && (55..=60).contains(&reset), "{refused}");
    let wait: u64 = refused.field("retry-after").unwrap().parse().unwrap();
    assert!((55..=60).contains(&wait), "{refused}");
    assert_eq!((refused.reason(), refused.text()), ("rate_limited", "rate limit exceeded"));
    let line = gateway.log_of("/3");
    assert_eq!(
        (&line["reason"], &line["stage"], &line["status"]),
        (&"rate_limited".into(), &"admit".into(), &429.into())
    );
    gateway.stop();
}

/// Who waits as long as `Retry-After` says may pass.
fn who_comes_back_when_told_may_pass(io: Io) {
    let gateway = limited(io, "p: { rate_limit: { limit: 2/2s } }", "p").start();
    let mut client = gateway.client();
    let began = super::wait::now_ms();
    client.asks("/").expects(200);
    client.asks("/").expects(200);
    let refused = client.asks("/").expects(429);
    assert!(matches!(refused.field("retry-after"), Some("1" | "2")), "{refused}");
    // The quota comes back by itself, after two seconds and not before.
    super::wait::until_true("the window to move on", || client.asks("/").expects_any().status() == 200);
    let waited = super::wait::now_ms() - began;
    assert!(waited >= 1_999, "{waited} ms");
    gateway.stop();
}

/// By address, behind trusted proxies that of the client they name, never with its port; by a field, and by the address
/// of those who do not send it; all together.
fn requests_are_counted_by_what_the_policy_says(io: Io) {
    let policies = "ip: { rate_limit: { limit: 1/1h } }, \
                    tenant: { rate_limit: { key: [header.x-tenant, client_ip], limit: 1/1h } }, \
                    all: { rate_limit: { key: global, limit: 3/1h } }";
    let route = |name: &str| {
        format!("name: {name}, match: {{ path: /{name} }}, respond: {{ status: 200, body: in }}, policies: [{name}]")
    };
    let gateway = Plan::bare(io)
        .listener("trusted_proxies: [127.0.0.1]")
        .policies(policies)
        .route(&route("ip"))
        .route(&route("tenant"))
        .route(&route("all"))
        .start();
    let ask = |path: &str, fields: &str| {
        let mut client = gateway.client();
        client.sends(format!("GET {path} HTTP/1.1\r\nHost: a\r\n{fields}\r\n"));
        client.expects_any().status()
    };
    let from = |ip: &str| ask("/ip", &format!("X-Forwarded-For: {ip}\r\n"));
    assert_eq!(["192.0.2.1", "192.0.2.1", "192.0.2.2", "::ffff:192.0.2.2"].map(from), [200, 429, 200, 429]);
    assert_eq!(["2001:db8::1", "2001:db8::2", "2001:db8:0:1::1"].map(from), [200, 429, 200]);
    let tenant = |fields: &str| ask("/tenant", fields);
    assert_eq!(["X-Tenant: a\r\n", "X-Tenant: b\r\n", "x-tenant: a\r\n"].map(tenant), [200, 200, 429]);
    assert_eq!(["", "", "X-Tenant: \r\n", "X-Forwarded-For: 192.0.2.9\r\n"].map(tenant), [200, 429, 429, 200]);
    let all = |ip: &str| ask("/all", &format!("X-Forwarded-For: {ip}\r\n"));
    assert_eq!(["192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"].map(all), [200, 200, 200, 429]);
    gateway.stop();
}

/// Several limits of a route each have their say, and the one with least left is told; routes of one policy share its
/// counters, and a route without it has none.
fn a_route_may_have_several_limits_and_share_them_with_others(io: Io) {
    let gateway =
        limited(io, "few: { rate_limit: { limit: 3/1h } }, many: { rate_limit: { limit: 5/1h } }", "many, few")
            .route("name: other, match: { path: /other }, respond: { status: 200, body: in }, policies: [many]")
            .route("name: free, match: { path: /free }, respond: { status: 200, body: in }")
            .start();
    let mut client = gateway.client();
    let left: Vec<_> = (0..3).map(|_| told(&client.asks("/").expects(200))).map(|told| (told[0], told[1])).collect();
    assert_eq!(left, [(3, 2), (3, 1), (3, 0)]);
    assert_eq!(told(&client.asks("/").expects(429))[0], 3);
    assert_eq!(told(&client.asks("/other").expects(200))[..2], [5, 0], "the refused one was counted as well");
    client.asks("/other").expects(429);
    assert_eq!(client.asks("/free").expects(200).field("x-ratelimit-limit"), None);
    gateway.stop();
}

/// A reload resets no counter, and takes up another limit at once.
fn a_reload_keeps_what_was_counted(io: Io) {
    let plan = |limit: &str| limited(io, &format!("p: {{ rate_limit: {{ limit: {limit} }} }}"), "p").workers("2");
    let gateway = plan("5/1h").start();
    let mut client = gateway.client();
    for left in [4, 3, 2] {
        assert_eq!(told(&client.asks("/").expects(200))[1], left);
    }
    gateway.adopts(&plan("5/1h").route("name: new, match: { path: /new }, respond: { status: 200 }").yaml());
    assert_eq!(told(&gateway.client().asks("/").expects(200))[1], 1);
    gateway.adopts(&plan("10/1h").yaml());
    assert_eq!(told(&client.asks("/").expects(200))[..2], [10, 5]);
    gateway.adopts(&plan("4/1h").yaml());
    client.asks("/").expects(429);
    gateway.stop();
}

/// Streams of HTTP/2 are counted like requests, and a call of gRPC is told by its status.
fn streams_and_calls_are_limited_like_requests(io: Io) {
    let gateway = limited(io, "p: { rate_limit: { limit: 2/1h } }", "p").speaks_h2().start();
    let mut client = H2Client::to(gateway.address());
    client.gets("/").expects(200);
    gateway.client().asks("/").expects(200);
    let refused = client.gets("/").expects(429);
    assert_eq!((refused.field("x-ratelimit-remaining"), refused.reason()), ("0", "rate_limited"));
    assert!(!refused.field("retry-after").is_empty(), "{refused:?}");
    let call =
        client.asks("POST", "/a.B/C", &[("content-type", "application/grpc"), ("te", "trailers")]).expects_head(200);
    assert_eq!((call.field("grpc-status"), call.reason()), ("8", "rate_limited"), "{call:?}");
    gateway.stop();
}

/// E3: every answer to a stream tells what is left, an endpoint's and one in its place too.
fn answers_to_streams_tell_what_is_left(io: Io) {
    let origin = Origin::saying("in");
    let gateway = Plan::bare(io)
        .speaks_h2()
        .cluster("app", &[origin.address()])
        .cluster("gone", &[Endpoint::closed()])
        .policies("p: { rate_limit: { limit: 3/1h } }")
        .route("name: app, match: { path: /app }, cluster: app, policies: [p]")
        .route("name: gone, match: { path: /gone }, cluster: gone, policies: [p]")
        .start();
    let mut client = H2Client::to(gateway.address());
    for (path, status, left) in [("/app", 200, "2"), ("/gone", 502, "1"), ("/app", 200, "0"), ("/gone", 429, "0")] {
        let answer = client.gets(path).expects(status);
        let told = ["x-ratelimit-limit", "x-ratelimit-remaining"].map(|name| answer.field(name));
        assert_eq!(told, ["3", left], "{path}: {answer:?}");
        let reset: u64 = answer.field("x-ratelimit-reset").parse().unwrap();
        assert!((3_500..=3_600).contains(&reset), "{answer:?}");
    }
    let told = gateway.client().asks("/gone").expects(429);
    assert_eq!(told.field("x-ratelimit-remaining"), Some("0"));
    gateway.stop();
}

/// A reload while workers hold leases of a high limit lets no more pass than the limit, and hardly fewer.
fn a_reload_keeps_what_was_leased(io: Io) {
    let plan = limited(io, "p: { rate_limit: { limit: 2000/1h } }", "p").workers("2");
    let gateway = plan.start();
    let mut sum = passed(gateway.address(), 4, 150);
    assert_eq!(sum, 600);
    for round in 0..3 {
        let path = format!("match: {{ path: /r{round} }}");
        gateway.adopts(&plan.clone().route(&format!("name: r{round}, {path}, respond: {{ status: 200 }}")).yaml());
        sum += passed(gateway.address(), 4, 25);
    }
    sum += passed(gateway.address(), 8, 200);
    assert!((1950..=2000).contains(&sum), "{sum}");
    gateway.stop();
}

/// Scripts may read that they were refused, and a preflight costs nothing.
fn a_preflight_is_not_counted_and_a_refusal_is_shared(io: Io) {
    let policies = "p: { rate_limit: { limit: 1/1h }, cors: { origins: ['https://app.example.com'] } }";
    let gateway = limited(io, policies, "p").start();
    let mut client = gateway.client();
    for _ in 0..3 {
        client.sends(
            "OPTIONS / HTTP/1.1\r\nHost: a\r\nOrigin: https://app.example.com\r\nAccess-Control-Request-Method: GET\r\n\r\n",
        );
        client.expects(204);
    }
    for status in [200, 429] {
        client.sends("GET / HTTP/1.1\r\nHost: a\r\nOrigin: https://app.example.com\r\n\r\n");
        assert_eq!(client.expects(status).all("access-control-allow-origin"), ["https://app.example.com"]);
    }
    gateway.stop();
}

/// A limit that is used up costs its clients, and nobody else: others go on, and the connection stays.
fn a_refused_client_keeps_its_connection(io: Io) {
    let origin = Origin::saying("in");
    let gateway: Gateway = Plan::bare(io)
        .cluster("app", &[origin.address()])
        .policies("p: { rate_limit: { limit: 1/1h } }")
        .route("name: all, match: { path: /* }, cluster: app, policies: [p]")
        .start();
    let mut client = gateway.client();
    client.asks("/").expects(200);
    for _ in 0..5 {
        client.sends("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc");
        client.expects(429);
    }
    gateway.stop();
}

/// A token's claim counts wherever its bearer comes from, and so does the holder of a key, whichever of its keys it uses;
/// who is not let in at all is not counted.
fn bearers_of_tokens_and_holders_of_keys_are_counted_by_who_they_are(io: Io) {
    let issuer = Issuer::new("k1");
    let folder = Folder::new();
    folder.write("jwks.json", key_set(&[&issuer]));
    folder.write("keys.yaml", format!("acme: [{}, {}]\nglobex: {}\n", hash("key-a"), hash("key-b"), hash("key-c")));
    let plan = Plan::bare(io)
        .listener("trusted_proxies: [127.0.0.1]")
        .policies(
            "staff: { jwt: { keys_file: jwks.json, audience: api } }, partner: { api_key: { keys_file: keys.yaml } }",
        )
        .policies("tenant: { rate_limit: { key: [jwt.tenant, client_ip], limit: 1/1h } }")
        .policies("each: { rate_limit: { key: api_key, limit: 1/1h } }")
        .route("name: staff, match: { path: /staff }, respond: { status: 200, body: in }, policies: [staff, tenant]")
        .route(
            "name: partner, match: { path: /partner }, respond: { status: 200, body: in }, policies: [partner, each]",
        );
    let gateway = Gateway::start_in(folder, &plan.yaml());
    let ask = |path: &str, from: &str, field: &str| {
        let mut client = gateway.client();
        client.sends(format!("GET {path} HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: {from}\r\n{field}\r\n\r\n"));
        client.expects_any().status()
    };
    let bears = |from: &str, claims: &str| {
        let token = issuer.token(&format!(r#""aud":"api",{claims}"#));
        ask("/staff", from, &format!("Authorization: Bearer {token}"))
    };
    assert_eq!(bears("192.0.2.1", r#""sub":"a","tenant":"one""#), 200);
    assert_eq!(bears("192.0.2.2", r#""sub":"b","tenant":"one""#), 429, "of the same tenant");
    assert_eq!(bears("192.0.2.1", r#""sub":"c","tenant":"two""#), 200);
    assert_eq!(["192.0.2.1", "192.0.2.1", "192.0.2.2"].map(|from| bears(from, r#""sub":"d""#)), [200, 429, 200]);
    assert_eq!(ask("/staff", "192.0.2.9", "Authorization: Bearer x"), 401);
    let holds = |key: &str| ask("/partner", "192.0.2.1", &format!("X-Api-Key: {key}"));
    assert_eq!(["key-d", "key-a", "key-b", "key-c", "key-c"].map(holds), [401, 200, 429, 200, 429]);
    gateway.stop();
}

on_both_drivers![
    bearers_of_tokens_and_holders_of_keys_are_counted_by_who_they_are,
    of_many_at_once_exactly_the_limit_passes,
    of_a_high_limit_almost_all_passes_and_never_more,
    answers_tell_what_is_left_and_when_to_come_back,
    who_comes_back_when_told_may_pass,
    requests_are_counted_by_what_the_policy_says,
    a_route_may_have_several_limits_and_share_them_with_others,
    a_reload_keeps_what_was_counted,
    streams_and_calls_are_limited_like_requests,
    answers_to_streams_tell_what_is_left,
    a_reload_keeps_what_was_leased,
    a_preflight_is_not_counted_and_a_refusal_is_shared,
    a_refused_client_keeps_its_connection,
];
