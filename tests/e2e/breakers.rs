//! Circuit breakers: F1. Their clusters fail open, which never goes past an open breaker.

use std::net::SocketAddr;

use super::client::Client;
use super::endpoint::{Accepted, Endpoint};
use super::gateway::Gateway;
use super::message::Message;
use super::patient::Patient;
use super::plan::{Io, Plan};
use super::wait::until_true;

const FAR: &str = "open_for: 60s";
const SOON: &str = "open_for: 100ms";

/// All requests to these endpoints in turn, with this breaker.
fn plan(io: Io, endpoints: &[SocketAddr], breaker: &str) -> Plan {
    Plan::bare(io)
        .cluster_with("app", endpoints, &format!("breaker: {{ {breaker} }}"))
        .route("name: everything, cluster: app")
}

fn state(gateway: &Gateway, address: SocketAddr) -> f64 {
    gateway.metric(&format!("circuit_breaker_state{{cluster=\"app\",endpoint=\"{address}\"}}"))
}

/// How often breakers closed, opened and became half-open.
fn entered(gateway: &Gateway) -> [f64; 3] {
    ["closed", "open", "half_open"]
        .map(|state| gateway.metric(&format!("circuit_breaker_transitions_total{{to=\"{state}\"}}")))
}

/// One more request, which the endpoint answers with this status.
fn is_told(client: &mut Client, patient: &Patient, status: u16) {
    patient.tells_clients(status);
    client.asks("/x").expects(status);
}

/// One more request, which no breaker lets pass.
fn is_refused(client: &mut Client) -> Message {
    let answer = client.asks("/refused").expects(503);
    assert_eq!(answer.reason(), "breaker_open", "{answer}");
    assert!(!answer.announces_close());
    answer
}

/// F1 and K4: it opens at the share of failures once there were enough requests, and then: 503 with a reason and the time
/// to wait, the client is kept, the endpoint is left alone.
fn a_breaker_opens_by_its_rate_and_says_when_to_come_back(io: Io) {
    let patient = Patient::start("it");
    let rules = format!("error_rate: 50%, min_requests: 6, consecutive: 0, {FAR}");
    let gateway = plan(io, &[patient.address()], &rules).start();
    let mut client = gateway.client();
    for status in [200, 200, 500, 200, 503] {
        is_told(&mut client, &patient, status);
    }
    assert_eq!(state(&gateway, patient.address()), 0.0, "two of five");
    is_told(&mut client, &patient, 500);
    assert_eq!(state(&gateway, patient.address()), 1.0, "three of six");
    for _ in 0..3 {
        let wait_s: u64 = is_refused(&mut client).field("retry-after").expect("a time").parse().expect("seconds");
        assert!((40..=60).contains(&wait_s), "{wait_s}");
    }
    assert_eq!(patient.served(), 6);
    assert_eq!(entered(&gateway), [0.0, 1.0, 0.0]);
    let line = gateway.log_of("/refused");
    let known = ["reason", "cluster", "route"].map(|key| line[key].as_str().unwrap_or_default().to_owned());
    assert_eq!(known, ["breaker_open", "app", "everything"], "{line}");
    assert_eq!((&line["status"], &line["attempts"]), (&503.into(), &0.into()), "{line}");
    assert_eq!(gateway.metric("gateway_rejected_requests_total{reason=\"breaker_open\"}"), 3.0);
    let shown = gateway.shows("app", patient.address());
    assert_eq!((&shown["breaker"], &shown["unfit"]), (&"open".into(), &"unfit: breaker".into()), "{shown}");
    let told = gateway.notice("breaker opened");
    assert_eq!((&told["cluster"], &told["endpoint"]), (&"app".into(), &patient.address().to_string().into()), "{told}");
    gateway.stop();
}

/// F1: failures in a row open it, one success between them begins the row anew; a refused connection is a failure.
fn a_breaker_opens_by_failures_in_a_row(io: Io) {
    let patient = Patient::start("it");
    let gateway = plan(io, &[patient.address()], &format!("min_requests: 1000, consecutive: 3, {FAR}")).start();
    let mut client = gateway.client();
    for status in [500, 500, 200, 500, 404, 502, 500] {
        is_told(&mut client, &patient, status);
    }
    assert_eq!(entered(&gateway), [0.0; 3], "never three in a row: 404 is an answer like any other");
    is_told(&mut client, &patient, 500);
    is_refused(&mut client);
    gateway.stop();

    let closed = Endpoint::closed();
    let gateway = plan(io, &[closed], &format!("min_requests: 1000, consecutive: 3, {FAR}")).start();
    let mut client = gateway.client();
    for _ in 0..3 {
        assert_eq!(client.asks("/x").expects(502).reason(), "connect_refused");
    }
    is_refused(&mut client);
    gateway.stop();
}

/// An endpoint whose breaker was opened by one failure, and a client.
struct Opened {
    endpoint: Endpoint,
    gateway: Gateway,
    /// The endpoint's only connection, if there is one.
    upstream: Option<Accepted>,
    client: Client,
}

impl Opened {
    fn new(io: Io, rules: &str) -> Self {
        let endpoint = Endpoint::listens();
        let gateway = plan(io, &[endpoint.address()], &format!("consecutive: 1, {rules}")).start();
        let client = gateway.client();
        let mut opened = Self { endpoint, gateway, upstream: None, client };
        opened.fails();
        opened
    }

    fn state(&self) -> f64 {
        state(&self.gateway, self.endpoint.address())
    }

    /// One more request, which fails.
    fn fails(&mut self) {
        self.client.asks("/failure");
        self.gets("/failure");
        self.answers(500);
    }

    /// One more request, which is answered.
    fn passes(&mut self) {
        self.client.asks("/passes");
        self.gets("/passes");
        self.answers(200);
    }

    /// The endpoint gets a request.
    fn gets(&mut self, path: &str) {
        let upstream = self.upstream.get_or_insert_with(|| self.endpoint.accepts());
        upstream.expects(&format!("GET {path}"));
    }

    /// Asks until the endpoint gets a request, and leaves that unanswered.
    fn tries(&mut self) {
        let (gateway, client, upstream) = (&self.gateway, &mut self.client, self.upstream.as_ref());
        let connects = || gateway.metric("upstream_connects_total");
        let before = connects();
        let is_reached = || upstream.map_or_else(|| connects() > before, |upstream| !upstream.is_silent());
        until_true("a probe is let through", || {
            client.asks("/probe");
            until_true("one end or the other", || !client.is_silent() || is_reached());
            let is_through = client.is_silent();
            if !is_through {
                assert_eq!(client.expects(503).reason(), "breaker_open");
            }
            is_through
        });
        self.gets("/probe");
        assert_eq!(self.state(), 2.0);
    }

    /// The client leaves, which the endpoint sees.
    fn is_abandoned(&mut self) {
        let next = self.gateway.client();
        std::mem::replace(&mut self.client, next).resets();
        self.upstream.take().expect("a connection").reads_to_end();
    }

    /// The endpoint answers.
    fn answers(&mut self, status: u16) {
        let upstream = self.upstream.as_mut().expect("a connection");
        upstream.replies(format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n"));
        self.client.expects(status);
    }
}

/// F1: when its time is over it lets one request through to try, the others are refused; enough successes close it.
fn a_half_open_breaker_tries_one_at_a_time_and_closes_after_successes(io: Io) {
    let mut opened = Opened::new(io, &format!("{SOON}, close_after: 2"));
    assert_eq!(entered(&opened.gateway), [0.0, 1.0, 0.0]);
    opened.tries();
    let mut other = opened.gateway.client();
    for _ in 0..3 {
        assert_eq!(is_refused(&mut other).field("retry-after"), Some("1"));
    }
    opened.answers(200);
    assert_eq!(opened.state(), 2.0, "one success of two");
    opened.tries();
    is_refused(&mut other);
    opened.answers(204);
    assert_eq!(opened.state(), 0.0);
    assert_eq!(entered(&opened.gateway), [1.0, 1.0, 1.0]);
    for _ in 0..3 {
        opened.passes();
    }
    opened.gateway.stop();
}

/// F1: as many at once as `probes` says.
fn a_half_open_breaker_tries_as_many_at_once_as_it_is_told(io: Io) {
    let mut opened = Opened::new(io, &format!("{SOON}, probes: 2, close_after: 2"));
    opened.tries();
    let mut second = opened.gateway.client();
    second.asks("/second");
    let mut upstream = opened.endpoint.accepts();
    upstream.expects("GET /second");
    let mut third = opened.gateway.client();
    is_refused(&mut third);
    upstream.replies_with("second");
    second.expects(200);
    opened.answers(200);
    assert_eq!(opened.state(), 0.0);
    opened.gateway.stop();
}

/// F1: a probe that fails opens it for as long again.
fn a_failed_probe_opens_it_again(io: Io) {
    let mut opened = Opened::new(io, &format!("{SOON}, close_after: 1"));
    for round in 1..=2 {
        opened.tries();
        opened.answers(503);
        assert_eq!(entered(&opened.gateway), [0.0, 1.0 + f64::from(round), f64::from(round)]);
    }
    opened.tries();
    opened.answers(200);
    assert_eq!(opened.state(), 0.0);
    opened.gateway.stop();
}

/// F1: a probe whose client leaves says nothing, and another may follow.
fn an_abandoned_probe_gives_its_token_back(io: Io) {
    let mut opened = Opened::new(io, &format!("{SOON}, close_after: 1"));
    for _ in 0..3 {
        opened.tries();
        opened.is_abandoned();
        assert_eq!(opened.state(), 2.0, "neither a success nor a failure");
    }
    assert_eq!(entered(&opened.gateway), [0.0, 1.0, 1.0]);
    opened.tries();
    opened.answers(200);
    assert_eq!(opened.state(), 0.0);
    opened.passes();
    opened.gateway.stop();
}

/// F1: what began before the breaker opened, or before it closed again, changes nothing when it ends.
fn late_results_of_an_earlier_term_change_nothing(io: Io) {
    let endpoint = Endpoint::listens();
    let rules = format!("consecutive: 1, {SOON}, close_after: 1");
    let gateway = plan(io, &[endpoint.address()], &rules).start();
    let mut late: Vec<(Client, Accepted)> = (0..4)
        .map(|_| {
            let mut client = gateway.client();
            client.asks("/late");
            let mut upstream = endpoint.accepts();
            upstream.expects("GET /late");
            (client, upstream)
        })
        .collect();
    let mut ends = |status: u16| {
        let (mut client, mut upstream) = late.pop().expect("one is left");
        upstream.replies(format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"));
        client.expects(status);
    };
    let client = gateway.client();
    let mut opened = Opened { endpoint, gateway, upstream: None, client };
    opened.fails();
    opened.tries();
    ends(500);
    assert_eq!(
        (opened.state(), entered(&opened.gateway)),
        (2.0, [0.0, 1.0, 1.0]),
        "a late failure is none of the probe's"
    );
    ends(200);
    assert_eq!(opened.state(), 2.0, "nor is a late success");
    opened.answers(200);
    assert_eq!(opened.state(), 0.0);
    ends(500);
    ends(502);
    assert_eq!((opened.state(), entered(&opened.gateway)), (0.0, [1.0, 1.0, 1.0]), "nor are they of the new term");
    opened.passes();
    opened.gateway.stop();
}

/// F1: an endpoint behind an open breaker is skipped while another one is there, and only then is a request refused.
fn an_open_endpoint_is_skipped_and_all_open_is_a_503(io: Io) {
    let patients = [Patient::start("0"), Patient::start("1")];
    let addresses = patients.each_ref().map(Patient::address);
    let gateway = plan(io, &addresses, &format!("consecutive: 2, {FAR}")).start();
    let mut client = gateway.client();
    patients[0].tells_clients(500);
    until_true("its breaker opens", || {
        client.asks("/x").expects_any();
        state(&gateway, addresses[0]) == 1.0
    });
    assert_eq!(patients[0].served(), 2);
    for _ in 0..6 {
        assert_eq!(client.asks("/x").expects(200).text(), "1");
    }
    is_told(&mut client, &patients[1], 500);
    is_told(&mut client, &patients[1], 500);
    is_refused(&mut client);
    assert_eq!(patients[0].served(), 2);
    gateway.stop();
}

/// F1: whatever goes wrong with an endpoint's answer is a failure. One whose head was fine and whose body was cut is a
/// success and a failure, so that endless answers count before they end.
fn an_answer_that_is_cut_or_malformed_counts_as_a_failure(io: Io) {
    for (answer, status) in [
        ("HTTP/1.1 200 OK\r\nContent-Le", 502),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n", 502),
        ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort", 200),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nrubbish\r\n", 502),
    ] {
        let endpoint = Endpoint::listens();
        let gateway =
            plan(io, &[endpoint.address()], &format!("error_rate: 50%, min_requests: 2, consecutive: 0, {FAR}"))
                .start();
        for _ in 0..2 {
            let mut client = gateway.client();
            client.sends("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
            let mut upstream = endpoint.accepts();
            upstream.expects("POST /x");
            upstream.replies(answer);
            upstream.closes();
            client.expects_head(status);
            until_true("it is counted", || gateway.metric("http_requests_active") == 0.0);
            if state(&gateway, endpoint.address()) == 1.0 {
                break;
            }
        }
        assert_eq!(state(&gateway, endpoint.address()), 1.0, "{answer:?}");
        gateway.stop();
    }
}

/// F1: what one worker sees counts for all of them, and what each saw a part of is summed.
fn failures_of_any_worker_open_it_for_all(io: Io) {
    let patient = Patient::start("it");
    let rules = format!("min_requests: 8, error_rate: 100%, consecutive: 0, {FAR}");
    let gateway = plan(io, &[patient.address()], &rules).workers("2").start();
    let mut clients: Vec<Client> = (0..8).map(|_| gateway.client()).collect();
    until_true("connections at both workers", || {
        let status = gateway.status();
        let workers = status["workers"].as_array().expect("a list");
        workers.iter().all(|worker| worker["connections_active"].as_u64() > Some(1))
            && gateway.metric("net_connections_active") == 8.0
    });
    for client in &mut clients {
        assert_eq!(state(&gateway, patient.address()), 0.0);
        is_told(client, &patient, 500);
    }
    assert_eq!(state(&gateway, patient.address()), 1.0, "eight failures, no worker saw them all");
    for client in &mut clients {
        is_refused(client);
    }
    assert_eq!(patient.served(), 8);
    gateway.stop();
}

/// F1: a reload that keeps the endpoint keeps its breaker, in every state; one without `breaker:` closes it.
fn a_breaker_survives_reloads_until_one_removes_it(io: Io) {
    let mut opened = Opened::new(io, &format!("{FAR}, close_after: 1"));
    let address = opened.endpoint.address();
    let plans = |rules: &str| {
        let one = plan(io, &[address], rules);
        [one.clone().route("name: more, match: { path: /more }, cluster: app"), one]
    };
    for reloaded in plans(&format!("consecutive: 1, {FAR}, close_after: 1")) {
        opened.gateway.adopts(&reloaded.yaml());
        is_refused(&mut opened.client);
    }
    // Of a breaker that opens and closes between two looks nothing is told.
    opened.gateway.notice("breaker opened");
    // Its time is what it was when it opened.
    let half_open = plans(&format!("consecutive: 1, {SOON}, close_after: 2"));
    opened.gateway.adopts(&half_open[0].yaml());
    is_refused(&mut opened.client);
    opened.gateway.adopts(&Plan::to(io, &[address]).yaml());
    assert_eq!(opened.state(), 0.0);
    opened.passes();
    opened.gateway.notice("breaker closed");
    // Half-open, with a probe out, through a storm of reloads.
    opened.gateway.adopts(&half_open[1].yaml());
    opened.fails();
    opened.tries();
    let mut other = opened.gateway.client();
    for reloaded in half_open.iter().cycle().take(6) {
        opened.gateway.adopts(&reloaded.yaml());
        is_refused(&mut other);
    }
    opened.answers(200);
    assert_eq!(opened.state(), 2.0);
    opened.tries();
    opened.answers(200);
    assert_eq!(opened.state(), 0.0);
    opened.gateway.stop();
}

on_both_drivers![
    a_breaker_opens_by_its_rate_and_says_when_to_come_back,
    a_breaker_opens_by_failures_in_a_row,
    a_half_open_breaker_tries_one_at_a_time_and_closes_after_successes,
    a_half_open_breaker_tries_as_many_at_once_as_it_is_told,
    a_failed_probe_opens_it_again,
    an_abandoned_probe_gives_its_token_back,
    late_results_of_an_earlier_term_change_nothing,
    an_open_endpoint_is_skipped_and_all_open_is_a_503,
    an_answer_that_is_cut_or_malformed_counts_as_a_failure,
    failures_of_any_worker_open_it_for_all,
    a_breaker_survives_reloads_until_one_removes_it,
];
