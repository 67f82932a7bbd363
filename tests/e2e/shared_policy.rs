//! H3: a live policy document in Redis, which several gateways share.

use super::gateway::{Gateway, json};
use super::live_policy::{document, of};
use super::plan::{Io, Plan};
use super::rate_limits::passed;
use super::redis::Redis;
use super::wait::{now_ms, until_true};

const KEY: &str = "gateway:policy";

fn sharing(io: Io, redis: &Redis, file: &str) -> Gateway {
    let policy = format!("policy: {{ redis: {{ url: '{}' }}{file} }}", redis.url());
    Plan::bare(io)
        .workers("2")
        .route("name: all, match: { path: /* }, respond: { status: 200, body: in }")
        .and(&policy)
        .start()
}

fn whole(gateway: &Gateway) -> String {
    gateway.asks_admin("GET", "/policy").text().to_owned()
}

fn trouble(gateway: &Gateway) -> String {
    gateway.status()["policy"]["error"].as_str().unwrap_or_default().to_owned()
}

/// What is posted to one gateway is in force on all, also on one that starts later; a file that one of them has changes
/// with it.
fn gateways_share_what_is_posted_to_one(io: Io) {
    let redis = Redis::start();
    let (one, other) = (sharing(io, &redis, ""), sharing(io, &redis, ", file: policy.json"));
    assert_eq!(one.posts("/policy", r#"{"enabled": false, "rateLimit": 300}"#).status(), 200);
    until_true("the other gateway", || whole(&other) == whole(&one));
    assert_eq!(other.client().asks("/").expects(429).reason(), "policy_enforced");
    // It is in force before it is kept.
    until_true("that it is kept", || {
        let kept = std::fs::read_to_string(other.folder.path("policy.json"));
        kept.is_ok_and(|kept| json(&kept) == json(&whole(&one)))
    });
    let late = sharing(io, &redis, "");
    until_true("one that came later", || whole(&late) == whole(&one));
    other.folder.write("policy.json", r#"{"rateLimit": 400}"#);
    until_true("a changed file", || document(&one) == of(true, 400, 50) && document(&late) == of(true, 400, 50));
    for gateway in [one, other, late] {
        assert_eq!(trouble(&gateway), "");
        gateway.stop();
    }
}

/// The rate is that of all gateways together, as long as Redis answers within 50 ms: a busy machine may need another round.
fn gateways_share_the_rate(io: Io) {
    until_true("a round of answers in time", || {
        let redis = Redis::start();
        let gateways = [sharing(io, &redis, ""), sharing(io, &redis, "")];
        assert_eq!(gateways[0].posts("/policy", r#"{"rateLimit": 0.0008}"#).status(), 200);
        until_true("both gateways", || whole(&gateways[1]) == whole(&gateways[0]));
        let passed: usize = gateways.iter().map(|gateway| passed(gateway.address(), 4, 4)).sum();
        let errors: f64 = gateways.iter().map(|gateway| gateway.metric_sum("rate_limiter_store_errors_total")).sum();
        assert!(passed == 1 || errors > 0.0, "{passed} passed");
        gateways.into_iter().for_each(Gateway::stop);
        passed == 1
    });
}

/// A change that no message told of is found; rubbish changes nothing; without Redis the last document stays, nothing can
/// be posted, and a server that is back is heard again.
fn gateways_converge_whatever_they_missed(io: Io) {
    let mut redis = Redis::start();
    let gateways = [sharing(io, &redis, ""), sharing(io, &redis, "")];
    let all = |wanted| gateways.iter().all(|gateway| document(gateway) == wanted);
    redis.sets(KEY, r#"{"rateLimit": 250}"#);
    until_true("a change without a message", || all(of(true, 250, 50)));
    redis.sets(KEY, "rubbish");
    until_true("what is wrong", || gateways.iter().all(|gateway| trouble(gateway).contains("a JSON object")));
    redis.is_killed();
    until_true("that it is gone", || gateways.iter().all(|gateway| !trouble(gateway).contains("a JSON object")));
    let refused = gateways[0].posts("/policy", r#"{"enabled": false}"#);
    assert_eq!((refused.status(), &json(refused.text())["error"]), (503, &"Policy not stored".into()), "{refused}");
    assert!(all(of(true, 250, 50)));
    redis.returns();
    until_true("a server that is back", || gateways.iter().all(|gateway| trouble(gateway).is_empty()));
    assert!(all(of(true, 250, 50)), "it has nothing to say");
    assert_eq!(gateways[0].posts("/policy", r#"{"circuitBreakerThreshold": 5}"#).status(), 200);
    until_true("what is posted", || all(of(true, 250, 5)));
    redis.freezes();
    assert_eq!(gateways[0].posts("/policy", r#"{"enabled": false}"#).status(), 503);
    assert_eq!(gateways[0].client().asks("/").expects(200).text(), "in");
    redis.thaws();
    gateways.into_iter().for_each(Gateway::stop);
}

/// A message tells of a change: nobody waits for the look that is taken once a second, and nobody does after Redis was gone.
fn a_change_is_told_by_a_message(io: Io) {
    const SOON_MS: u64 = 300;
    let mut redis = Redis::start();
    let gateways = [sharing(io, &redis, ""), sharing(io, &redis, "")];
    let mut rate = 100;
    let mut is_soon = || {
        rate += 1;
        assert_eq!(gateways[0].posts("/policy", &format!("{{\"rateLimit\": {rate}}}")).status(), 200);
        let began_ms = now_ms();
        until_true("the other gateway", || document(&gateways[1]) == of(true, rate, 50));
        now_ms() - began_ms < SOON_MS
    };
    for round in 0..2 {
        // Looks alone would be as soon three times in ten; a busy machine may be late for some messages.
        let soon = (0..10).filter(|_| is_soon()).count();
        assert!(soon >= 7, "round {round}: {soon} of 10 within {SOON_MS} ms");
        if round == 0 {
            redis.is_killed();
            until_true("that it is gone", || gateways.iter().all(|gateway| !trouble(gateway).is_empty()));
            redis.returns();
            until_true("it is back", || gateways.iter().all(|gateway| trouble(gateway).is_empty()));
            until_true("a message", &mut is_soon);
        }
    }
    gateways.into_iter().for_each(Gateway::stop);
}

on_both_drivers![
    gateways_share_what_is_posted_to_one,
    gateways_share_the_rate,
    gateways_converge_whatever_they_missed,
    a_change_is_told_by_a_message,
];
