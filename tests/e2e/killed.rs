//! An endpoint's process killed under load and started again: F15, and what the users of three endpoints notice of it.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::child_origin::ChildOrigin;
use super::client::Client;
use super::gateway::Gateway;
use super::plan::{Io, Plan};
use super::wait::{Ends, now_ms, until, until_true};

/// Names of the origins, which are what they answer with; the last one is killed.
const NAMES: [&str; 3] = ["a", "b", "c"];
/// Clients that send one GET after the other.
const GETTERS: usize = 16;
/// Clients that send one POST after the other.
const POSTERS: usize = 8;
/// Answers by which it is judged whether traffic is even.
const WINDOW: u64 = 450;
/// Most milliseconds from the return of a process until traffic is even again.
const EVEN_MS: u64 = 6_000;

/// The answers of each origin so far.
type Counts = [AtomicU64; 3];

/// What one client saw.
#[derive(Debug, Default)]
struct Seen {
    /// Paths of requests that were answered with 200.
    answered: Vec<String>,
    /// Paths of those that were answered with 502.
    lost: Vec<String>,
}

fn origins() -> [ChildOrigin; 3] {
    NAMES.map(|name| ChildOrigin::start_with(name, &["--delay-ms", "6"]))
}

/// The same origin again, at the same port.
fn returned(name: &str, address: SocketAddr) -> ChildOrigin {
    ChildOrigin::start_with(name, &["--delay-ms", "6", "--port", &address.port().to_string()])
}

/// Sends one request after the other until told to end. A GET gets nothing but 200, a POST perhaps 502.
fn sends_all_the_time(mut client: Client, method: &str, prefix: &str, counts: &Counts, ended: &AtomicBool) -> Seen {
    let mut seen = Seen::default();
    while !ended.load(Ordering::Relaxed) {
        let path = format!("{prefix}/{}", seen.answered.len() + seen.lost.len());
        let body = if method == "POST" { "Content-Length: 5\r\n\r\nhello" } else { "\r\n" };
        client.sends(format!("{method} {path} HTTP/1.1\r\nHost: a\r\n{body}"));
        let answer = client.expects_any();
        match answer.status() {
            200 => {
                let origin = NAMES.iter().position(|name| answer.text() == *name).expect("an origin's name");
                counts[origin].fetch_add(1, Ordering::Relaxed);
                seen.answered.push(path);
            }
            502 if method == "POST" => {
                assert!(["upstream_reset", "upstream_eof"].contains(&answer.reason()), "{method} {path}: {answer}");
                assert!(!answer.announces_close(), "the client is kept");
                seen.lost.push(path);
            }
            _ => panic!("{method} {path}: {answer}"),
        }
    }
    seen
}

fn total(counts: &Counts) -> u64 {
    counts.iter().map(|count| count.load(Ordering::Relaxed)).sum()
}

/// Waits until so many more answers have come.
fn more_answers(counts: &Counts, more: u64) {
    let before = total(counts);
    until_true(&format!("{more} more answers"), || total(counts) >= before + more);
}

/// Waits for a window of answers that came from all origins alike; when it began. Each look may begin one, so that it does not
/// matter how long a window lasts.
fn even_window(counts: &Counts) -> u64 {
    let mut looks = VecDeque::new();
    until("a window of even traffic", || {
        let now = [0, 1, 2].map(|origin: usize| counts[origin].load(Ordering::Relaxed));
        looks.push_back((now_ms(), now));
        let parts = |from: &(u64, [u64; 3])| [0, 1, 2].map(|origin: usize| now[origin] - from.1[origin]);
        while looks.get(1).is_some_and(|next| parts(next).iter().sum::<u64>() >= WINDOW) {
            looks.pop_front();
        }
        let (parts, began_ms) = (parts(&looks[0]), looks[0].0);
        let all: u64 = parts.iter().sum();
        let is_even = parts.iter().all(|part| part * 3 > all * 85 / 100 && part * 3 < all * 115 / 100);
        (all >= WINDOW && is_even).then_some(began_ms)
    })
}

/// What came of a kill under load.
struct Outcome {
    seen: Vec<Seen>,
    /// The process that was started again.
    again: ChildOrigin,
    /// Milliseconds from its return until traffic showed it.
    again_ms: u64,
}

/// Waits for answers of the origin that returned; when they began.
fn any_answer(counts: &Counts) -> u64 {
    let before = counts[2].load(Ordering::Relaxed);
    until_true("an answer of the one that returned", || counts[2].load(Ordering::Relaxed) > before + 20);
    now_ms()
}

/// Sends from many clients, by all of the `prefixes`, while `script` runs; returns what they saw and what it brought.
fn under_load<T>(gateway: &Gateway, prefixes: &[&str], script: impl FnOnce(&Counts) -> T) -> (Vec<Seen>, T) {
    let (counts, ended) = (Counts::default(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let ends = Ends(&ended);
        let clients: Vec<_> = (0..GETTERS + POSTERS)
            .map(|number| {
                let method = if number < GETTERS { "GET" } else { "POST" };
                let prefix = format!("{}/{number}", prefixes[number % prefixes.len()]);
                let (client, counts, ended) = (gateway.client(), &counts, &ended);
                scope.spawn(move || sends_all_the_time(client, method, &prefix, counts, ended))
            })
            .collect();
        more_answers(&counts, 400);
        let brought = script(&counts);
        drop(ends);
        (clients.into_iter().map(|client| client.join().expect("no panic")).collect(), brought)
    })
}

/// Kills the last of `origins` under load and starts it again, until it is `seen_again`.
fn kills_under_load(
    gateway: &Gateway,
    origins: &mut [ChildOrigin; 3],
    prefixes: &[&str],
    seen_again: fn(&Counts) -> u64,
) -> Outcome {
    let (seen, (again, again_ms)) = under_load(gateway, prefixes, |counts| {
        origins[2].is_killed();
        more_answers(counts, 400);
        let again = returned(NAMES[2], origins[2].address());
        let returned_ms = now_ms();
        (again, seen_again(counts) - returned_ms)
    });
    Outcome { seen, again, again_ms }
}

/// How often each POST was read by an origin.
fn posts_read<'a>(origins: impl IntoIterator<Item = &'a ChildOrigin>) -> HashMap<String, u32> {
    let mut reads = HashMap::new();
    for line in origins.into_iter().flat_map(ChildOrigin::requests) {
        if let Some(path) = line.strip_prefix("POST ") {
            *reads.entry(path.to_owned()).or_default() += 1;
        }
    }
    reads
}

/// What must hold whatever the configuration; every GET was answered with 200, or its client had failed.
fn only_what_was_in_flight_is_lost(gateway: &Gateway, origins: &[ChildOrigin; 3], outcome: &Outcome) {
    let (seen, again) = (&outcome.seen, &outcome.again);
    let lost: Vec<_> = seen.iter().flat_map(|client| &client.lost).collect();
    // A client has one request in flight.
    assert!(seen.iter().all(|client| client.lost.len() <= 1), "more than was in flight: {lost:?}");
    let answered: Vec<_> = seen[GETTERS..].iter().flat_map(|client| &client.answered).collect();
    let all_reads = || posts_read(origins.iter().chain([again]));
    until_true("word of each POST that was answered", || {
        let reads = all_reads();
        answered.iter().all(|path| reads.contains_key(*path))
    });
    let reads = all_reads();
    assert!(reads.values().all(|reads| *reads == 1), "no POST was sent twice (RFC 9110 section 9.2.2)");
    let elsewhere = posts_read(origins[..2].iter().chain([again]));
    assert!(lost.iter().all(|path| !elsewhere.contains_key(*path)), "the killed one had what was lost: {lost:?}");
    let requests: usize = seen.iter().map(|client| client.answered.len() + client.lost.len()).sum();
    until_true("a log line for each request", || gateway.lines.all().len() >= requests);
    let failed: Vec<_> = gateway.log_lines().into_iter().filter(|line| line["status"] != 200).collect();
    assert_eq!(failed.len(), lost.len());
    let killed = origins[2].address().to_string();
    assert!(failed.iter().all(|line| line["endpoint"] == killed && line["method"] == "POST"), "{failed:?}");
    let counted = gateway.metric_sum("http_requests_total");
    assert!((counted - f64::from(u32::try_from(requests).expect("few"))).abs() < 0.5, "{counted} of {requests}");
}

/// The promise of this file, for a cluster with these entries besides its endpoints.
fn a_killed_process_is_not_noticed(io: Io, entries: &str) -> Gateway {
    let mut origins = origins();
    let gateway = Plan::bare(io)
        .workers("2")
        .cluster_as("app", &format!("{}{entries}", endpoints(&origins)))
        .route("name: all, cluster: app")
        .start();
    let outcome = kills_under_load(&gateway, &mut origins, &[""], even_window);
    assert!(outcome.again_ms <= EVEN_MS, "even again {} ms after its return", outcome.again_ms);
    only_what_was_in_flight_is_lost(&gateway, &origins, &outcome);
    gateway
}

fn endpoints(origins: &[ChildOrigin]) -> String {
    let urls: Vec<_> = origins.iter().map(|origin| format!("{{ url: 'http://{}' }}", origin.address())).collect();
    format!("endpoints: [{}]", urls.join(", "))
}

/// F15: with nothing configured but three endpoints, no GET is lost, POSTs lose at most what was in flight at the process
/// that was killed, and its return is noticed within seconds.
fn a_killed_process_is_not_noticed_without_health_checks(io: Io) {
    let gateway = a_killed_process_is_not_noticed(io, "");
    assert!(gateway.metric_sum("upstream_errors_total") >= 1.0);
    gateway.stop();
}

/// F15, G1: the same with active checks.
fn a_killed_process_is_not_noticed_with_active_checks(io: Io) {
    let active = "active: { kind: http, interval: 200ms, timeout: 200ms, healthy_after: 2, unhealthy_after: 2 }";
    let gateway = a_killed_process_is_not_noticed(io, &format!(", health: {{ {active} }}"));
    assert!(gateway.metric("health_probes_total{result=\"failed\"}") >= 1.0);
    gateway.stop();
}

/// F15, G2, F1: the same with everything that guards a cluster; its failures eject the endpoint, which is counted.
fn a_killed_process_is_not_noticed_with_all_guards(io: Io) {
    let active = "active: { kind: tcp, interval: 200ms, timeout: 200ms, healthy_after: 1, unhealthy_after: 1 }";
    let passive = "passive: { window: 1s, error_rate: 1%, min_requests: 1, eject_for: 500ms }";
    let breaker = "breaker: { window: 1s, min_requests: 1, consecutive: 1, open_for: 500ms, close_after: 1 }";
    let gateway = a_killed_process_is_not_noticed(
        io,
        &format!(
            ", health: {{ {active}, {passive} }}, {breaker}, max_connections: 64, queue: {{ max: 64, timeout: 5s }}"
        ),
    );
    assert!(gateway.metric("upstream_ejections_total") >= 1.0);
    assert!(gateway.metric_sum("circuit_breaker_transitions_total") >= 2.0);
    gateway.stop();
}

/// F15, D1: whatever the balancer, nothing more is lost; all of them share the endpoints.
fn a_killed_process_is_not_noticed_whatever_the_balancer(io: Io) {
    let mut origins = origins();
    let balancers =
        ["round_robin", "weighted_round_robin", "least_connections", "least_saturated", "p2c", "consistent_hash"];
    let mut plan = Plan::bare(io).workers("2");
    let prefixes = balancers.map(|balance| format!("/{balance}"));
    for balance in balancers {
        let key = if balance == "consistent_hash" { ", hash_key: path" } else { "" };
        plan = plan
            .cluster_as(balance, &format!("{}, balance: {balance}{key}, max_connections: 64", endpoints(&origins)))
            .route(&format!("name: {balance}, match: {{ path: /{balance}/* }}, cluster: {balance}"));
    }
    let gateway = plan.start();
    let outcome = kills_under_load(&gateway, &mut origins, &prefixes.each_ref().map(String::as_str), any_answer);
    assert!(outcome.again_ms <= EVEN_MS, "asked again {} ms after its return", outcome.again_ms);
    only_what_was_in_flight_is_lost(&gateway, &origins, &outcome);
    gateway.stop();
}

/// I2, F15: endpoints that come and go by reloads, and are killed before their removal or after it, cost no GET.
fn reloads_between_kills_cost_no_get(io: Io) {
    let mut origins = origins();
    let addresses = origins.each_ref().map(ChildOrigin::address);
    let with = |members: &[usize]| {
        let urls: Vec<_> = members.iter().map(|origin| format!("{{ url: 'http://{}' }}", addresses[*origin])).collect();
        let plan = Plan::bare(io).workers("2").cluster_of("app", &urls.join(", "));
        plan.route("name: all, cluster: app").and("reload: { watch: false }")
    };
    let gateway = with(&[0, 1, 2]).start();
    let takes_up = |members: &[usize]| {
        gateway.writes(&with(members).yaml());
        let reply = gateway.asks_admin("POST", "/reload");
        assert_eq!(reply.status(), 200, "{reply}");
    };
    let (seen, ()) = under_load(&gateway, &[""], |counts| {
        for killed in 0..NAMES.len() {
            let others: Vec<_> = (0..NAMES.len()).filter(|other| *other != killed).collect();
            if killed == 1 {
                takes_up(&others);
                origins[killed].is_killed();
            } else {
                origins[killed].is_killed();
                takes_up(&others);
            }
            more_answers(counts, 50);
            origins[killed] = returned(NAMES[killed], addresses[killed]);
            takes_up(&[0, 1, 2]);
            let before = counts[killed].load(Ordering::Relaxed);
            until_true("the one that returned is asked", || counts[killed].load(Ordering::Relaxed) > before);
        }
    });
    assert!(
        seen.iter().all(|client| client.lost.len() <= NAMES.len()),
        "a client has one request in flight at each kill"
    );
    until_true("what was removed is not connected any more", || gateway.metric("upstream_connections_active") < 1.0);
    gateway.stop();
}

/// F15: a process killed in the middle of its responses: each is cut short, visibly, and other requests are answered.
fn a_process_killed_in_its_responses_cuts_them_short(io: Io) {
    let mut half = ChildOrigin::start_with("0123456789", &["--sent-bytes", "5"]);
    let other = ChildOrigin::start("other");
    let gateway =
        Plan::bare(io).cluster("half", &[half.address(), other.address()]).route("name: all, cluster: half").start();
    let mut clients: Vec<_> = (0..50).map(|_| gateway.client()).collect();
    let mut cut = Vec::new();
    for mut client in clients.drain(..) {
        client.asks("/x");
        let mut answer = client.expects_head(200);
        if answer.field("content-length") == Some("10") {
            assert_eq!(client.reads(5), b"01234");
            cut.push(client);
        } else {
            client.reads_body(&mut answer);
            assert_eq!(answer.text(), "other");
        }
    }
    assert_eq!(cut.len(), 25);
    half.is_killed();
    for client in &mut cut {
        client.sees_break();
    }
    gateway.waits_for("upstream_errors_total{reason=\"upstream_truncated\"}", 25.0);
    for _ in 0..20 {
        let mut client = gateway.client();
        client.sends("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(client.expects(200).text(), "other");
    }
    gateway.stop();
}

on_both_drivers![
    a_killed_process_is_not_noticed_without_health_checks,
    a_killed_process_is_not_noticed_with_active_checks,
    a_killed_process_is_not_noticed_with_all_guards,
    a_killed_process_is_not_noticed_whatever_the_balancer,
    reloads_between_kills_cost_no_get,
    a_process_killed_in_its_responses_cuts_them_short,
];
