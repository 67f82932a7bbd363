//! Routes: splits, mirrors and retries.

use super::*;

/// Two clusters and one route that holds this.
fn with(keys: &str) -> String {
    MINIMAL
        .replace("app: {", "spare: { endpoints: [{ url: 'http://x' }] }, app: {")
        .replace("cluster: app }", &format!("{keys} }}"))
}

fn route(keys: &str) -> Route {
    Memory::of(&with(keys)).config().routes.remove(0)
}

#[test]
fn a_split_names_its_clusters_in_order() {
    let split = "split: [{ cluster: app, weight: 95 }, { cluster: spare, weight: 0 }]";
    assert_eq!(route(split).action, Action::Split { to: vec![(1, 95), (0, 0)], sticky: None });
    let sticky = route(&format!("{split}, split_key: {{ cookie: sid }}")).action;
    assert_eq!(sticky, Action::Split { to: vec![(1, 95), (0, 0)], sticky: Some(HashKey::Cookie("sid".to_owned())) });
}

#[test]
fn splits_and_mirrors_use_their_clusters() {
    let uses = |keys: &str| Memory::of(&with(keys)).load().expect("legal").warnings.is_empty();
    assert!(uses("split: [{ cluster: app, weight: 1 }, { cluster: spare, weight: 0 }]"));
    assert!(uses("cluster: app, mirror: { cluster: spare, share: 1% }"));
    assert!(!uses("cluster: app, mirror: { cluster: app, share: 1% }"));
}

#[test]
fn a_mirror_is_a_share_of_the_requests() {
    assert_eq!(route("cluster: app").mirror, None);
    let mirror = route("cluster: app, mirror: { cluster: spare, share: 1% }").mirror;
    assert_eq!(mirror, Some(Mirror { cluster: 0, share: 0.01 }));
}

#[test]
fn a_route_retries_twice_where_nothing_was_answered_unless_told() {
    let default = Retry {
        attempts: 2,
        on: RetryOn { connect: true, reset: true, timeout: false, statuses: Vec::new() },
        budget: 0.1,
        backoff: Duration::from_millis(100),
        any_method: false,
        same_endpoint: false,
    };
    assert_eq!(route("cluster: app").retry, default);
    let all =
        "retry: { attempts: 10, on: [503, timeout, 502], budget: 0%, backoff: 0s, methods: any, same_endpoint: on }";
    let written = Retry {
        attempts: 10,
        on: RetryOn { connect: false, reset: false, timeout: true, statuses: vec![502, 503] },
        budget: 0.0,
        backoff: Duration::ZERO,
        any_method: true,
        same_endpoint: true,
    };
    assert_eq!(route(&format!("cluster: app, {all}")).retry, written);
}

#[test]
fn retries_of_a_route_stand_on_those_of_the_defaults() {
    let text = with("cluster: app, retry: { attempts: 3 }")
        + "defaults: { route: { retry: { on: [connect, 503], budget: 20%, methods: any } } }\n";
    let retry = Memory::of(&text).config().routes.remove(0).retry;
    assert_eq!((retry.attempts, retry.budget, retry.any_method), (3, 0.2, true));
    assert_eq!(retry.on, RetryOn { connect: true, statuses: vec![503], ..RetryOn::default() });
}

#[test]
fn no_retry_needs_no_reason_and_more_tries_do() {
    assert!(route("cluster: app, retry: { attempts: 1, on: [] }").retry.on.is_empty());
    let off = "defaults: { route: { retry: { attempts: 1, on: [] } } }\n";
    assert_eq!(Memory::of(&(with("cluster: app") + off)).config().routes[0].retry.attempts, 1);
    let report = Memory::of(&(with("cluster: app, retry: { attempts: 3 }") + off)).report();
    assert!(
        report.contains("more than one attempt, but nothing is tried again in `attempts` of `retry` of route `all`"),
        "{report}"
    );
    let report = Memory::of(&with("cluster: app, retry: { on: [] }")).report();
    assert!(
        report.contains("more than one attempt, but nothing is tried again in `on` of `retry` of route `all`"),
        "{report}"
    );
}
