//! F38: limits whose store does not answer, answers late, talks rubbish or wants another password.

use std::time::Duration;

use super::client::Client;
use super::gateway::Gateway;
use super::plan::{Io, Plan};
use super::redis::Redis;
use super::redis_front::{RUBBISH, RedisFront};
use super::shared_limits::sharing;
use super::wait::{now_ms, until, until_true};

const WAYS: [&str; 6] = ["allow/exact", "allow/leased", "deny/exact", "deny/leased", "local/exact", "local/leased"];
const ERRORS: &str = "rate_limiter_store_errors_total";

/// A limit for each of `WAYS`, by its path.
fn each_way(io: Io, limit: &str, url: &str) -> Plan {
    WAYS.iter().fold(Plan::bare(io), |plan, way| {
        let (fallback, mode) = way.split_once('/').expect("two words");
        let name = format!("{fallback}_{mode}");
        let store = format!("redis: '{url}', mode: {mode}, on_store_error: {fallback}, store_timeout: 100ms");
        let limit = format!("key: global, limit: {limit}, scope: cluster, store: {{ {store} }}");
        plan.policies(&format!("{name}: {{ rate_limit: {{ {limit} }} }}")).route(&format!(
            "name: {name}, match: {{ path: /{way} }}, respond: {{ status: 200, body: in }}, policies: [{name}]"
        ))
    })
}

/// What comes of it, and how many milliseconds it took.
fn timed<T>(asks: impl FnOnce() -> T) -> (T, u64) {
    let began_ms = now_ms();
    (asks(), now_ms() - began_ms)
}

fn status(client: &mut Client, way: &str) -> u16 {
    client.asks(&format!("/{way}")).expects_any().status()
}

/// Each policy does what it says of a store without an answer, and at once.
fn each_does_what_it_says(client: &mut Client) {
    for way in WAYS {
        let wanted = match &way[..4] {
            "allo" => [200; 4],
            "deny" => [503; 4],
            _ => [200, 200, 429, 429],
        };
        let (statuses, took_ms) = timed(|| [(); 4].map(|()| status(client, way)));
        assert_eq!(statuses, wanted, "{way}");
        assert!(took_ms < 1_500, "{way}: {took_ms} ms");
    }
}

/// The store is asked again, by itself, and its limit of two holds.
fn the_store_counts(gateway: &Gateway, client: &mut Client) {
    until_true("a store that is asked again", || {
        let before = gateway.metric_sum(ERRORS);
        for way in WAYS {
            status(client, way);
        }
        (gateway.metric_sum(ERRORS) - before).abs() < 0.5
    });
    for way in WAYS {
        let refused = until("the limit to hold", || {
            let answer = client.asks(&format!("/{way}")).expects_any();
            (answer.status() == 429).then_some(answer)
        });
        assert_eq!((refused.reason(), refused.field("x-ratelimit-remaining")), ("rate_limited", Some("0")), "{way}");
    }
    gateway.notice("a store of rate limits answers again");
}

/// Whatever comes from the store that is no answer, each policy does what it says, and an operator is told; once there is a
/// server of Redis at its address, it counts.
fn a_store_that_talks_rubbish_is_no_store(io: Io) {
    for rubbish in 0..RUBBISH.len() {
        let redis = Redis::start();
        let front = RedisFront::of(&redis);
        front.talks(rubbish);
        let gateway = each_way(io, "2/24h", &format!("redis://{}", front.address())).start();
        let mut client = gateway.client();
        each_does_what_it_says(&mut client);
        let notice = gateway.notice("a store of rate limits does not answer");
        assert_eq!(notice["store"], front.address().to_string(), "{notice}");
        assert_eq!(redis.says(["DBSIZE"]), [":0"]);
        front.passes_on();
        the_store_counts(&gateway, &mut client);
        gateway.stop();
    }
}

/// A store whose answers take two seconds costs a request no more than `store_timeout`, and most requests nothing; its late
/// answers are not taken for those to later questions.
fn a_slow_store_costs_no_more_than_its_time(io: Io) {
    let redis = Redis::start();
    let front = RedisFront::of(&redis);
    let gateway = each_way(io, "5000/24h", &format!("redis://{}", front.address())).start();
    let mut client = gateway.client();
    WAYS.iter().for_each(|way| until_true("the store to answer", || status(&mut client, way) == 200));
    front.takes(Duration::from_secs(2));
    let timeouts = format!("{ERRORS}{{reason=\"timeout\"}}");
    until_true("three questions without an answer", || {
        for way in WAYS {
            let (status, took_ms) = timed(|| status(&mut client, way));
            assert!(took_ms < 1_000, "{way}: {took_ms} ms");
            match way {
                // A token that was leased before may be left.
                "deny/leased" => assert!(matches!(status, 200 | 503), "{status}"),
                "deny/exact" => assert_eq!(status, 503),
                _ => assert_eq!(status, 200, "{way}"),
            }
        }
        gateway.metric(&timeouts) >= 3.0
    });
    assert!(gateway.metric(&format!("{ERRORS}{{reason=\"resting\"}}")) > gateway.metric(&timeouts));
    until_true("what was leased before is used up", || status(&mut client, "deny/leased") == 503);
    assert_eq!(status(&mut client, "deny/leased"), 503);
    front.takes(Duration::ZERO);
    let left = |client: &mut Client| {
        let answer = client.asks("/deny/exact").expects_any();
        answer.field("x-ratelimit-remaining").map(|left| left.parse::<u64>().expect("a number"))
    };
    // One that comes late now and then is the machine's doing.
    let mut lefts = Vec::new();
    until_true("five answers of the store in time", || {
        lefts.extend(left(&mut client));
        lefts.len() == 5
    });
    assert!(lefts.windows(2).all(|two| two[1] < two[0]), "{lefts:?}");
    gateway.stop();
}

/// A server at a port, of which we need a password, or a name and one, and one of its databases.
fn a_store_may_want_a_password_and_have_databases(io: Io) {
    let redis = Redis::start();
    assert_eq!(
        redis.says(["ACL SETUSER gate on >canary-2 ~* &* +@all", "CONFIG SET requirepass canary-1"]),
        ["+OK", "+OK"]
    );
    let front = RedisFront::of(&redis);
    let at = |who: &str, database: u8| format!("redis://{who}@{}/{database}", front.address());
    let store = format!("redis: '{}', mode: exact, store_timeout: 5s, on_store_error: deny", at(":canary-1", 3));
    let policy = format!("policy: {{ redis: {{ url: '{}' }} }}", at("gate:canary-2", 4));
    let gateway = sharing(io, "2/24h", &store).and(&policy).start();
    let mut client = gateway.client();
    let statuses = [(); 3].map(|()| client.asks("/").expects_any().status());
    assert_eq!(statuses, [200, 200, 429]);
    until_true("the live policy", || gateway.posts("/policy", r#"{"rateLimit": 300}"#).status() == 200);
    assert_eq!(gateway.status()["policy"]["error"], serde_json::Value::Null);
    let found = redis.says(["AUTH canary-1", "DBSIZE", "SELECT 3", "DBSIZE", "SELECT 4", "EXISTS gateway:policy"]);
    assert_eq!(found, ["+OK", ":0", "+OK", ":1", "+OK", ":1"]);
    assert!(!gateway.notices.all().join("\n").contains("canary"));
    gateway.stop();
}

/// A wrong password is a store without an answer: told in the log by its reason and by no word of it. Once the server takes
/// it, the store counts.
fn a_wrong_password_is_told_and_the_policy_does_what_it_says(io: Io) {
    let redis = Redis::start();
    assert_eq!(redis.says(["CONFIG SET requirepass right"]), ["+OK"]);
    let front = RedisFront::of(&redis);
    let url = format!("redis://:canary@{}", front.address());
    let gateway = each_way(io, "2/24h", &url).and(&format!("policy: {{ redis: {{ url: '{url}' }} }}")).start();
    let mut client = gateway.client();
    each_does_what_it_says(&mut client);
    let notice = gateway.notice("a store of rate limits does not answer");
    assert!(notice["why"].as_str().is_some_and(|why| why.contains("authentication failed")), "{notice}");
    assert!(gateway.metric(&format!("{ERRORS}{{reason=\"refused\"}}")) >= 1.0);
    let trouble = || gateway.status()["policy"]["error"].as_str().unwrap_or_default().to_ascii_lowercase();
    until_true("the trouble of the live policy", || trouble().contains("authentication failed"));
    assert_eq!(gateway.posts("/policy", r#"{"enabled": false}"#).status(), 503);
    assert_eq!(redis.says(["AUTH right", "CONFIG SET requirepass canary"]), ["+OK", "+OK"]);
    the_store_counts(&gateway, &mut client);
    until_true("the live policy", || trouble().is_empty());
    assert!(!gateway.notices.all().join("\n").contains("canary"));
    gateway.stop();
}

/// F38: a store that is stopped costs a request its `store_timeout`, and most of them nothing; what it says when it goes on is
/// taken up again.
fn a_store_that_does_not_answer_is_not_waited_for(io: Io) {
    let redis = Redis::start();
    let store = format!("redis: '{}', mode: exact, store_timeout: 100ms", redis.url());
    let gateway = sharing(io, "5000/24h", &store).start();
    let mut client = gateway.client();
    until_true("the store to answer", || client.asks("/").expects(200).field("x-ratelimit-limit").is_some());
    redis.freezes();
    let slowest_ms = (0..50).map(|_| timed(|| client.asks("/").expects(200)).1).max();
    assert!(slowest_ms < Some(1_000), "{slowest_ms:?}");
    assert!(gateway.metric("rate_limiter_store_errors_total{reason=\"timeout\"}") >= 1.0);
    assert!(gateway.metric("rate_limiter_store_errors_total{reason=\"resting\"}") >= 1.0);
    redis.thaws();
    until_true("the store to be asked again", || client.asks("/").expects(200).field("x-ratelimit-limit").is_some());
    gateway.stop();
}

on_both_drivers![
    a_store_that_talks_rubbish_is_no_store,
    a_slow_store_costs_no_more_than_its_time,
    a_store_may_want_a_password_and_have_databases,
    a_wrong_password_is_told_and_the_policy_does_what_it_says,
    a_store_that_does_not_answer_is_not_waited_for,
];
