//! What a gateway does to a message on its way: RFC 9110 sections 7 to 10, J1 and K3.

use super::client::Client;
use super::endpoint::{Accepted, Endpoint};
use super::gateway::Gateway;
use super::message::Message;
use super::plan::{Io, Plan};

/// Fields that the gateway adds to every request.
const OURS: [&str; 6] =
    ["host", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-real-ip", "x-request-id"];

/// A client, the gateway, and its one connection to the endpoint.
struct Dialogue {
    gateway: Gateway,
    endpoint: Endpoint,
    client: Client,
    upstream: Option<Accepted>,
}

impl Dialogue {
    fn of(plan: impl FnOnce(&Endpoint) -> Plan) -> Self {
        let endpoint = Endpoint::listens();
        let gateway = plan(&endpoint).start();
        let client = gateway.client();
        Self { gateway, endpoint, client, upstream: None }
    }

    fn plain(io: Io) -> Self {
        Self::of(|endpoint| Plan::to(io, &[endpoint.address()]))
    }

    /// What the endpoint sees of a request, and what the client gets for its reply.
    fn exchange(&mut self, request: impl AsRef<[u8]>, reply: impl AsRef<[u8]>) -> (Message, Message) {
        let request = request.as_ref();
        self.client.sends(request);
        let upstream = self.upstream.get_or_insert_with(|| self.endpoint.accepts());
        let seen = upstream.expects("");
        upstream.replies(reply);
        let head = request.starts_with(b"HEAD ");
        let answer = if head { self.client.expects_head(200) } else { self.client.expects(200) };
        (seen, answer)
    }

    /// What the endpoint sees of a request that it answers with nothing special.
    fn sees(&mut self, request: impl AsRef<[u8]>) -> Message {
        self.exchange(request, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").0
    }
}

/// Items 41 to 43 and B3: fields of the connection end here, those it names too; all others pass in their order.
fn fields_of_the_connection_end_here_and_others_pass(io: Io) {
    let mut dialogue = Dialogue::plain(io);
    let seen = dialogue.sees(
        "GET /x HTTP/1.1\r\nX-One: 1\r\nHost: a.example\r\nConnection: x-hop, keep-alive, X-HOP-TOO\r\nx-hop: 1\r\nX-Hop-Too: 2\r\n\
         Keep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nProxy-Authorization: Basic eA==\r\nTE: gzip\r\n\
         Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\nTrailer: X-T\r\nCookie: a=1\r\nx-one:   2  \r\nAccept: */*\r\n\r\n",
    );
    assert_eq!(
        seen.lines_without(&[&OURS[..], &["via"]].concat()),
        ["x-one: 1", "cookie: a=1", "x-one: 2", "accept: */*"],
        "9110 sections 7.6.1, 5.1, 5.3; http.md 85: h2c is not forwarded"
    );
    let (seen, _) = dialogue.exchange(
        "GET /x HTTP/1.1\r\nHost: a.example\r\nConnection: Host, Cookie, Authorization, X-Forwarded-For, X-Request-ID, close-not\r\n\
         Cookie: a=1\r\nAuthorization: b\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: Content-Length, Set-Cookie, Date\r\nSet-Cookie: s=1\r\n\r\n",
    );
    assert_eq!((seen.field("cookie"), seen.field("authorization")), (Some("a=1"), Some("b")), "http.md 42");
    assert_eq!((seen.field("host"), seen.field("x-forwarded-for")), (Some("a.example"), Some("127.0.0.1")));
    assert!(seen.field("x-request-id").is_some());
    dialogue.gateway.stop();
}

/// Item 42: a connection option cannot take a field off a response that all recipients need.
fn an_endpoint_cannot_take_off_end_to_end_fields(io: Io) {
    let mut dialogue = Dialogue::plain(io);
    let (_, answer) = dialogue.exchange(
        "GET /x HTTP/1.1\r\nHost: a\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: Content-Length, Set-Cookie, Date, X-Hop\r\nX-Hop: 1\r\nSet-Cookie: s=1\r\n\r\nok",
    );
    assert_eq!((answer.field("set-cookie"), answer.field("x-hop")), (Some("s=1"), None));
    dialogue.gateway.stop();
}

/// Item 44 and RFC 9110 section 7.6.3: Via names us and the version received, values before ours stay apart.
fn via_names_the_version_received_and_us(io: Io) {
    let mut dialogue = Dialogue::plain(io);
    let seen = dialogue.sees("GET /x HTTP/1.1\r\nHost: a\r\nVia: 1.0 first\r\n\r\n");
    let via = seen.all("via");
    assert_eq!(via.len(), 2);
    assert_eq!(via[0], "1.0 first");
    assert!(via[1].starts_with("1.1 ringgate-"), "{}", via[1]);
    let ours = via[1].trim_start_matches("1.1 ").to_owned();
    let seen = dialogue.sees("GET /x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert_eq!(seen.all("via"), [format!("1.0 {ours}")]);
    // Item 45, RFC 9110 section 7.6: what we forwarded already is not forwarded to ourselves again.
    let mut client = dialogue.gateway.client();
    client.sends(format!("GET /x HTTP/1.1\r\nHost: a\r\nVia: 1.1 x, 1.1 {ours}\r\n\r\n"));
    let answer = client.expects(508);
    assert_eq!(answer.reason(), "loop_detected");
    dialogue.gateway.stop();
}

/// J1: what a stranger says of its client is removed, in every spelling; the peer's address is what counts.
fn forwarding_fields_of_strangers_are_replaced(io: Io) {
    let mut dialogue = Dialogue::plain(io);
    let seen = dialogue.sees(
        "GET /x HTTP/1.1\r\nHost: A.example:80\r\nX-Forwarded-For: 6.6.6.6\r\nx-forwarded-for: 7.7.7.7\r\nX_Forwarded_For: 8.8.8.8\r\n\
         Forwarded: for=6.6.6.6\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\nX-Forwarded-Port: 1\r\n\
         X-Forwarded-Anything: x\r\nX-Real-IP: 6.6.6.6\r\nX_Real_IP: 6.6.6.6\r\nX-Request-ID: \x22forged\x22\r\n\r\n",
    );
    assert_eq!(seen.all("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(seen.all("x-forwarded-proto"), ["http"]);
    assert_eq!(seen.all("x-forwarded-host"), ["a.example:80"]);
    assert_eq!(seen.all("x-real-ip"), ["127.0.0.1"]);
    let rest = seen.lines_without(&[&OURS[..], &["via"]].concat());
    assert_eq!(rest, [""; 0], "nothing else of it is left");
    assert_eq!(dialogue.gateway.log_of("/x")["client_ip"], "127.0.0.1");
    dialogue.gateway.stop();
}

/// J1: a trusted proxy is believed, and our own hop is added behind what it says.
fn forwarding_fields_of_trusted_proxies_are_extended(io: Io) {
    let mut dialogue =
        Dialogue::of(|endpoint| Plan::to(io, &[endpoint.address()]).listener("trusted_proxies: ['127.0.0.0/8']"));
    let seen = dialogue.sees(
        "GET /x HTTP/1.1\r\nHost: inner\r\nX-Forwarded-For: 192.0.2.9, 198.51.100.7\r\nX-Forwarded-Proto: https\r\n\
         X-Forwarded-Host: outer.example\r\nX_Forwarded_For: 6.6.6.6\r\n\r\n",
    );
    assert_eq!(seen.all("x-forwarded-for"), ["192.0.2.9, 198.51.100.7, 127.0.0.1"]);
    assert_eq!(
        (seen.field("x-forwarded-proto"), seen.field("x-forwarded-host")),
        (Some("https"), Some("outer.example"))
    );
    assert_eq!(seen.all("x-real-ip"), ["198.51.100.7"], "the client, where the proxy does not say it this way");
    let seen =
        dialogue.sees("GET /x HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.9\r\nX-Real-IP: 192.0.2.8\r\n\r\n");
    assert_eq!(seen.all("x-real-ip"), ["192.0.2.8"]);
    assert_eq!(seen.all("x_forwarded_for"), [""; 0], "an underscore looks like a dash to some");
    assert_eq!(dialogue.gateway.log_of("/x")["client_ip"], "198.51.100.7", "the last address that is not trusted");
    dialogue.gateway.stop();
}

/// J1: on a listener of both families, whose peers of IPv4 come as addresses mapped into IPv6, they are what they are.
fn a_trusted_proxy_of_ipv4_is_one_also_on_a_listener_of_ipv6(io: Io) {
    for (trusted, client_ip) in [("127.0.0.0/8", "192.0.2.9"), ("10.0.0.0/8", "127.0.0.1")] {
        let plan = Plan::bare(io)
            .listener(&format!("trusted_proxies: [{trusted}]"))
            .route("name: all, match: { path: /* }, respond: { status: 200, body: in }");
        let gateway = Gateway::start(&plan.yaml().replace("address: '127.0.0.1:0'", "address: '[::]:0'"));
        let mut client = Client::to(([127, 0, 0, 1], gateway.address().port()).into());
        client.sends("GET /x HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: ::ffff:192.0.2.9\r\n\r\n");
        client.expects(200);
        assert_eq!(gateway.log_of("/x")["client_ip"], client_ip, "{trusted}");
        gateway.stop();
    }
}

/// K3: a valid identity is kept, another is replaced by 128 random bits; it goes both ways and into the log.
fn request_ids_are_kept_or_minted(io: Io) {
    let mut dialogue = Dialogue::plain(io);
    let (seen, answer) = dialogue.exchange(
        "GET /kept HTTP/1.1\r\nHost: a\r\nX-Request-ID: 01J9Z3-kept_1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX-Request-ID: theirs\r\nContent-Length: 0\r\n\r\n",
    );
    assert_eq!(
        (seen.field("x-request-id"), answer.field("x-request-id")),
        (Some("01J9Z3-kept_1"), Some("01J9Z3-kept_1"))
    );
    assert_eq!(dialogue.gateway.log_of("/kept")["request_id"], "01J9Z3-kept_1");
    let mut minted = Vec::new();
    let too_long = format!("X-Request-ID: {}\r\n", "x".repeat(129));
    for field in ["", "X-Request-ID:\r\n", "X-Request-ID: a b\r\n", "X-Request-ID: <script>\r\n", &too_long] {
        let reply = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        let (seen, answer) = dialogue.exchange(format!("GET /minted HTTP/1.1\r\nHost: a\r\n{field}\r\n"), reply);
        let id = seen.field("x-request-id").expect("one is minted").to_owned();
        assert!(id.len() == 32 && id.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)), "{id}");
        assert_eq!(answer.field("x-request-id"), Some(id.as_str()));
        assert!(!minted.contains(&id), "twice: {id}");
        minted.push(id);
    }
    dialogue.gateway.stop();
}

/// Item 10, RFC 9112 section 3.2.2: of an absolute target the host counts and the Host field does not.
fn an_absolute_target_names_the_host(io: Io) {
    let mut dialogue = Dialogue::of(|endpoint| {
        Plan::bare(io)
            .cluster("app", &[endpoint.address()])
            .route("name: a, match: { host: a.example }, cluster: app")
            .route("name: b, match: { host: b.example }, respond: { status: 200, body: b }")
    });
    let seen = dialogue.sees("GET http://A.example:8080/p?q=1 HTTP/1.1\r\nHost: b.example\r\n\r\n");
    assert_eq!(seen.start, "GET /p?q=1 HTTP/1.1");
    assert_eq!((seen.field("host"), seen.field("x-forwarded-host")), (Some("a.example:8080"), Some("a.example:8080")));
    let seen = dialogue.sees("GET http://a.example HTTP/1.1\r\nHost: a.example\r\n\r\n");
    assert_eq!(seen.start, "GET / HTTP/1.1", "9112 section 3.2.1: an empty path is /");
    let seen = dialogue.sees("GET HTTP://a.example?q HTTP/1.1\r\nHost: a.example\r\n\r\n");
    assert_eq!(seen.start, "GET /?q HTTP/1.1");
    // Item 55, RFC 9110 section 7.4: a plain connection has no authority over https resources.
    dialogue.client.sends("GET https://a.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n");
    dialogue.client.expects(421);
    // Item 11, RFC 9112 section 3.2.4: OPTIONS of a whole server.
    let seen = dialogue.sees("OPTIONS http://a.example HTTP/1.1\r\nHost: a.example\r\n\r\n");
    assert_eq!(seen.start, "OPTIONS * HTTP/1.1");
    let seen = dialogue.sees("OPTIONS * HTTP/1.1\r\nHost: a.example\r\n\r\n");
    assert_eq!(seen.start, "OPTIONS * HTTP/1.1");
    dialogue.gateway.stop();
}

/// Item 11, RFC 9112 section 3.2.4: `*` names no path, so that there is none to rewrite or to redirect to.
fn options_of_the_server_goes_on_as_such(io: Io) {
    let mut dialogue = Dialogue::of(|endpoint| {
        Plan::bare(io)
            .cluster("app", &[endpoint.address()])
            .route("name: moved, match: { host: moved.example }, redirect: { to: 'https://docs.example{path}', status: 308 }")
            .route("name: all, match: { path: /* }, cluster: app, rewrite: { prefix: /v2 }")
    });
    let seen = dialogue.sees("OPTIONS * HTTP/1.1\r\nHost: a.example\r\n\r\n");
    assert_eq!(seen.start, "OPTIONS * HTTP/1.1");
    let seen = dialogue.sees("OPTIONS /x HTTP/1.1\r\nHost: a.example\r\n\r\n");
    assert_eq!(seen.start, "OPTIONS /v2/x HTTP/1.1");
    dialogue.client.sends("OPTIONS * HTTP/1.1\r\nHost: moved.example\r\n\r\n");
    assert_eq!(dialogue.client.expects(308).field("location"), Some("https://docs.example"));
    dialogue.gateway.stop();
}

/// B12: the endpoint is told what is left of the request's time, or of that for the head of its answer where that is less,
/// whatever the client says.
fn the_endpoint_is_told_its_deadline(io: Io) {
    let mut dialogue = Dialogue::of(|endpoint| {
        let timed = |path: &str, timeouts: &str| {
            format!(
                "name: of{path}, match: {{ path: /{path} }}, cluster: app, timeouts: {{ {timeouts} }}, deadline_header: X-Request-Timeout-Ms"
            )
        };
        Plan::bare(io)
            .cluster("app", &[endpoint.address()])
            .route(&timed("whole", "request: 2s"))
            .route(&timed("head", "request: 20s, response_header: 1s"))
    });
    for (path, most) in [("whole", 2000), ("head", 1000)] {
        let seen = dialogue.sees(format!("GET /{path} HTTP/1.1\r\nHost: a\r\nx-request-timeout-ms: 999999\r\n\r\n"));
        let left: u64 = seen.field("x-request-timeout-ms").expect("the field").parse().expect("milliseconds");
        assert!((1..=most).contains(&left), "{path}: {left}");
    }
    dialogue.gateway.stop();
}

/// Items 9 and 48: the target goes on in the form that was matched; the query is not touched (RFC 9110 section 7.7).
fn the_target_goes_on_in_the_form_that_was_matched(io: Io) {
    let mut dialogue = Dialogue::plain(io);
    for (sent, forwarded) in [
        ("/a/b?x=%2e%2e&y=/../z?", "/a/b?x=%2e%2e&y=/../z?"),
        ("/a/./b/../c", "/a/c"),
        ("/%61%2d%2Fb%3f", "/a-%2Fb%3F"),
        ("/../../etc", "/etc"),
        ("//double//slash", "//double//slash"),
        ("/a?", "/a?"),
        ("/;p=1/x", "/;p=1/x"),
    ] {
        let seen = dialogue.sees(format!("GET {sent} HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert_eq!(seen.start, format!("GET {forwarded} HTTP/1.1"), "{sent}");
    }
    let seen = dialogue.sees("PURGE /x HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(seen.start, "PURGE /x HTTP/1.1", "a method that we do not know is the endpoint's to judge");
    dialogue.gateway.stop();
}

/// Items 12 and 47: CONNECT and TRACE are refused with what is allowed (RFC 9110 section 15.5.6).
fn trace_and_connect_are_refused(io: Io) {
    let endpoint = Endpoint::listens();
    let gateway = Plan::to(io, &[endpoint.address()]).start();
    let mut client = gateway.client();
    for request in
        ["TRACE / HTTP/1.1\r\nHost: a\r\nCookie: secret\r\n\r\n", "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n"]
    {
        client.sends(request);
        let answer = client.expects(405);
        assert_eq!(answer.reason(), "method_refused");
        assert!(answer.field("allow").is_some_and(|allow| allow.contains("GET") && !allow.contains("TRACE")));
        assert!(!answer.text().contains("secret"));
    }
    assert!(endpoint.is_alone());
    gateway.stop();
}

/// Item 46, RFC 9110 section 7.6.2: at zero we answer, else one less is forwarded; none is invented; GET knows no hops.
fn max_forwards_counts_hops_of_options(io: Io) {
    let mut dialogue = Dialogue::plain(io);
    let seen = dialogue.sees("OPTIONS /x HTTP/1.1\r\nHost: a\r\nMax-Forwards: 3\r\n\r\n");
    assert_eq!(seen.all("max-forwards"), ["2"]);
    assert_eq!(dialogue.sees("OPTIONS /x HTTP/1.1\r\nHost: a\r\n\r\n").field("max-forwards"), None);
    assert_eq!(dialogue.sees("GET /x HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n\r\n").field("max-forwards"), Some("0"));
    dialogue.client.sends("OPTIONS /x HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n\r\n");
    assert!(dialogue.client.expects(200).field("allow").is_some());
    assert!(dialogue.upstream.as_mut().is_some_and(|upstream| upstream.is_silent()));
    dialogue.gateway.stop();
}

/// Item 52, RFC 9110 section 10.1.1: the expectation is forwarded, the 100 comes back, the body follows.
fn an_expectation_is_the_endpoints_to_meet(io: Io) {
    let endpoint = Endpoint::listens();
    let gateway = Plan::to(io, &[endpoint.address()]).start();
    let mut client = gateway.client();
    client.sends("POST /big HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: 5\r\n\r\n");
    let mut upstream = endpoint.accepts();
    assert_eq!(upstream.expects_head("POST /big").field("expect"), Some("100-continue"));
    assert!(client.is_silent(), "nobody asked for the body yet");
    upstream.replies("HTTP/1.1 100 Continue\r\n\r\n");
    client.expects_interim(100);
    client.sends("hello");
    assert_eq!(upstream.reads(5), b"hello");
    upstream.replies_with("thanks");
    assert_eq!(client.expects(200).text(), "thanks");
    // A refusal instead of the 100: the body is never sent, and it is clear that it will not be taken for a request.
    client.sends("POST /big HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    upstream.expects_head("POST /big");
    upstream.replies("HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n");
    let answer = client.expects(417);
    assert!(answer.announces_close(), "{answer}");
    // A 1.0 client knows no expectation (RFC 9110 section 10.1.1).
    let mut old = gateway.client();
    old.sends("POST /old HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nok");
    let mut upstream = endpoint.accepts();
    let seen = upstream.expects("POST /old");
    assert_eq!((seen.field("expect"), seen.text()), (None, "ok"));
    upstream.replies_with("");
    old.expects(200);
    gateway.stop();
}

/// B2, F11 and F16: whoever waits for a 100 is not slow: an endpoint that says nothing is. But many never say 100 by
/// themselves: clients that wait for it could open any breaker, which therefore hears nothing of that.
fn an_endpoint_that_leaves_an_expectation_unanswered_times_out(io: Io) {
    let endpoint = Endpoint::listens();
    let gateway = Plan::bare(io)
        .limits("body_min_rate: { rate: 1KiB, grace: 3s }")
        .cluster_with("app", &[endpoint.address()], "breaker: { consecutive: 1 }")
        .route("name: all, cluster: app, timeouts: { response_header: 800ms }")
        .start();
    let post = "POST /big HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
    let mut client = gateway.client();
    client.sends(post);
    let mut upstream = endpoint.accepts();
    upstream.expects_head("POST /big");
    let answer = client.expects(504);
    assert_eq!((answer.reason(), answer.announces_close()), ("upstream_timeout", true));
    assert_eq!(gateway.log_of("/big")["fault"], "upstream");
    assert_eq!(gateway.cluster("app")["endpoints"][0]["breaker"], "closed");
    let mut next = gateway.client();
    next.asks("/after");
    let mut upstream = endpoint.accepts();
    upstream.expects("GET /after");
    upstream.replies_with("ok");
    next.expects(200);
    // Rubbish is the endpoint's own doing, whatever the client waits for.
    next.sends(post);
    upstream.expects_head("POST /big");
    upstream.replies("rubbish\r\n\r\n");
    assert_eq!(next.expects(502).reason(), "bad_response");
    assert_eq!(gateway.cluster("app")["endpoints"][0]["breaker"], "open");
    gateway.stop();
}

/// Item 53, RFC 9110 section 10.1.4: TE is ours alone, and goes with a connection option of its name.
fn te_is_said_anew_with_its_connection_option(io: Io) {
    let mut dialogue = Dialogue::plain(io);
    let seen = dialogue.sees("GET /x HTTP/1.1\r\nHost: a\r\nTE: trailers, gzip;q=0.5\r\nConnection: TE\r\n\r\n");
    assert_eq!((seen.field("te"), seen.field("connection")), (Some("trailers"), Some("TE")));
    let seen = dialogue.sees("GET /x HTTP/1.1\r\nHost: a\r\nTE: gzip, chunked\r\n\r\n");
    assert_eq!((seen.field("te"), seen.field("connection")), (None, None));
    dialogue.gateway.stop();
}

on_both_drivers![
    fields_of_the_connection_end_here_and_others_pass,
    an_endpoint_cannot_take_off_end_to_end_fields,
    via_names_the_version_received_and_us,
    forwarding_fields_of_strangers_are_replaced,
    forwarding_fields_of_trusted_proxies_are_extended,
    a_trusted_proxy_of_ipv4_is_one_also_on_a_listener_of_ipv6,
    request_ids_are_kept_or_minted,
    an_absolute_target_names_the_host,
    options_of_the_server_goes_on_as_such,
    the_endpoint_is_told_its_deadline,
    the_target_goes_on_in_the_form_that_was_matched,
    trace_and_connect_are_refused,
    max_forwards_counts_hops_of_options,
    an_expectation_is_the_endpoints_to_meet,
    an_endpoint_that_leaves_an_expectation_unanswered_times_out,
    te_is_said_anew_with_its_connection_option,
];
