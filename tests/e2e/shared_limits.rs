//! E6 and E7: limits that several gateways keep together in Redis, and what becomes of them without it (F38).

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::client::Client;
use super::gateway::Gateway;
use super::plan::{Io, Plan};
use super::redis::Redis;
use super::redis_front::RedisFront;
use super::wait::until_true;

/// A gateway of two workers that answers by itself, under a limit that it shares.
pub(crate) fn sharing(io: Io, limit: &str, store: &str) -> Plan {
    let policy =
        format!("p: {{ rate_limit: {{ key: global, limit: {limit}, scope: cluster, store: {{ {store} }} }} }}");
    let route = "name: all, match: { path: /* }, respond: { status: 200, body: in }, policies: [p]";
    Plan::bare(io).workers("2").policies(&policy).route(route)
}

/// How many pass of the requests that four connections to each gateway send at once.
fn passed(gateways: &[SocketAddr], each: usize) -> usize {
    let passed = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for to in gateways.iter().flat_map(|to| [to; 4]) {
            scope.spawn(|| {
                let mut client = Client::to(*to);
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

fn three(plan: &Plan) -> (Vec<Gateway>, Vec<SocketAddr>) {
    let gateways: Vec<Gateway> = (0..3).map(|_| plan.start()).collect();
    let addresses = gateways.iter().map(Gateway::address).collect();
    (gateways, addresses)
}

/// Of 240 requests at once to three gateways of two workers exactly 100 pass when each is asked for; of leases no more, and
/// hardly fewer: a hundredth of the limit can be lost by each worker.
fn of_many_at_once_to_three_gateways_no_more_than_the_limit_passes(io: Io) {
    for (mode, least) in [("exact", 100), ("leased", 94)] {
        let redis = Redis::start();
        let store = format!("redis: '{}', mode: {mode}, store_timeout: 5s", redis.url());
        let (gateways, addresses) = three(&sharing(io, "100/24h", &store));
        let mut passed = passed(&addresses, 20);
        let mut client = gateways[0].client();
        // A worker of it may have a token left.
        let refused = std::iter::repeat_with(|| client.asks("/").expects_any())
            .take(8)
            .inspect(|answer| passed += usize::from(answer.status() == 200))
            .find(|answer| answer.status() == 429)
            .expect("no more than a lease is left");
        assert!((least..=100).contains(&passed), "{mode}: {passed}");
        assert_eq!((refused.reason(), refused.field("x-ratelimit-remaining")), ("rate_limited", Some("0")), "{mode}");
        assert!(refused.field("retry-after").is_some(), "{refused}");
        gateways.into_iter().for_each(Gateway::stop);
    }
}

/// With leases a worker asks far less often than it is asked, and nobody waits once the leases have grown.
fn leases_are_asked_for_ahead_of_use(io: Io) {
    let redis = Redis::start();
    let store = format!("redis: '{}', store_timeout: 5s", redis.url());
    let gateway = sharing(io, "100000/1h", &store).start();
    assert_eq!(passed(&[gateway.address()], 500), 2000);
    let asked = gateway.metric("rate_limiter_store_requests_total");
    let waited = gateway.metric("rate_limiter_store_waits_total");
    assert!((1.0..=100.0).contains(&asked), "{asked} questions for 2000 requests");
    assert!(waited <= 60.0, "{waited} of 2000 requests waited");
    gateway.stop();
}

/// However many come at once and however low the limit, a store that takes its time is not taken for a lost one: what is
/// asked for is enough for all who wait.
fn many_who_come_at_once_wait_for_few_questions(io: Io) {
    for (fallback, count) in [("deny", 100), ("allow", 300)] {
        let redis = Redis::start();
        let front = RedisFront::of(&redis);
        front.takes(Duration::from_millis(40));
        let store = format!("redis: 'redis://{}', store_timeout: 2s, on_store_error: {fallback}", front.address());
        let gateway = sharing(io, "100/24h", &store).workers("1").start();
        let mut clients: Vec<Client> = (0..count).map(|_| gateway.client()).collect();
        for client in &mut clients {
            client.asks("/");
        }
        let statuses: Vec<u16> = clients.iter_mut().map(|client| client.expects_any().status()).collect();
        let passed = statuses.iter().filter(|status| **status == 200).count();
        assert_eq!(passed, 100, "{fallback}: {statuses:?}");
        assert!(gateway.metric_sum("rate_limiter_store_errors_total") < 0.5, "{fallback}");
        gateway.stop();
    }
}

/// Without the store each policy does what it says, at once and by itself: all pass, none does, or the limit holds for this
/// gateway alone. Once the store is back, it counts again.
fn without_its_store_a_policy_does_what_it_says(io: Io) {
    for (fallback, statuses) in [("allow", [200; 4]), ("deny", [503; 4]), ("local", [200, 200, 429, 429])] {
        for mode in ["exact", "leased"] {
            let mut redis = Redis::start();
            let store =
                format!("redis: '{}', mode: {mode}, on_store_error: {fallback}, store_timeout: 5s", redis.url());
            let gateway = sharing(io, "2/24h", &store).start();
            let mut client = gateway.client();
            until_true("the first answer of the store", || {
                let answer = client.asks("/").expects_any();
                answer.status() == 200 && answer.field("x-ratelimit-limit").is_some()
            });
            redis.is_killed();
            // A token that was leased before is used up first.
            let mut leased = 0;
            let mut now: Vec<u16> = Vec::new();
            while now.len() < statuses.len() {
                let answer = client.asks("/").expects_any();
                let is_leased =
                    mode == "leased" && now.is_empty() && answer.field("x-ratelimit-remaining") == Some("0");
                if is_leased && answer.status() == 200 && leased == 0 {
                    leased += 1;
                } else {
                    now.push(answer.status());
                }
            }
            assert_eq!(now, statuses, "{fallback}, {mode}");
            if fallback == "deny" {
                assert_eq!(client.asks("/denied").expects(503).reason(), "limiter_unavailable");
                assert_eq!(gateway.log_of("/denied")["fault"], "gateway");
            }
            assert!(gateway.metric_sum("rate_limiter_store_errors_total") > 0.0);
            redis.returns();
            until_true("the limit to hold again", || client.asks("/").expects_any().status() == 429);
            gateway.stop();
        }
    }
}

/// A reload loses no lease: of the limit no more passes, and no less than the leases that end with it.
fn leases_outlive_a_reload(io: Io) {
    let redis = Redis::start();
    let store = format!("redis: '{}', store_timeout: 5s", redis.url());
    let plan = sharing(io, "2000/24h", &store);
    let gateway = plan.start();
    let mut sum = passed(&[gateway.address()], 200);
    assert_eq!(sum, 800);
    for round in 0..3 {
        let asked = gateway.metric("rate_limiter_store_requests_total");
        gateway.adopts(
            &plan
                .clone()
                .route(&format!("name: r{round}, match: {{ path: /r{round} }}, respond: {{ status: 200 }}"))
                .yaml(),
        );
        sum += passed(&[gateway.address()], 1);
        let more = gateway.metric("rate_limiter_store_requests_total") - asked;
        assert!(more <= 2.0, "{more} questions for four requests: the leases were dropped");
    }
    sum += passed(&[gateway.address()], 400);
    assert!((1960..=2000).contains(&sum), "{sum}");
    gateway.stop();
}

/// What of a lease is not used in its window is lost, and counted.
fn what_is_lost_of_leases_is_counted(io: Io) {
    let redis = Redis::start();
    let store = format!("redis: '{}', store_timeout: 5s", redis.url());
    let gateway = sharing(io, "1000/1s", &store).start();
    passed(&[gateway.address()], 20);
    let mut client = gateway.client();
    until_true("a lease whose window is over", || {
        client.asks("/").expects(200);
        gateway.metric("rate_limiter_lease_lost_total") > 0.0
    });
    gateway.stop();
}

on_both_drivers![
    of_many_at_once_to_three_gateways_no_more_than_the_limit_passes,
    leases_are_asked_for_ahead_of_use,
    many_who_come_at_once_wait_for_few_questions,
    without_its_store_a_policy_does_what_it_says,
    leases_outlive_a_reload,
    what_is_lost_of_leases_is_counted,
];
