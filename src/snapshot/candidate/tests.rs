//! Nothing that is on trial decides for those who have no part in it.

use std::net::IpAddr;

use super::super::{Registry, Resolved, compile, compile_beside};
use super::*;
use crate::cluster::Probe;
use crate::config::Config;
use crate::config::tests::of_text;
use crate::policy::limit::{Decision, Keys, Shard};

const SECOND: u64 = 1_000_000_000;

/// A route to a cluster with these entries, by a rate limit of these.
fn config(cluster: &str, limit: &str) -> Config {
    let text = format!(
        "version: 1\nlisteners: {{ web: {{ address: '127.0.0.1:0' }} }}\n\
         policies: {{ p: {{ rate_limit: {{ {limit} }} }} }}\n\
         routes: [{{ name: all, match: {{ path: /* }}, cluster: app, policies: [p] }}]\n\
         clusters: {{ app: {{ {cluster} endpoints: [{{ url: 'http://10.0.0.1:80' }}] }} }}\n"
    );
    of_text(&text)
}

/// `current` in force alone with the first of these addresses, and then with all of them beside `candidate`.
fn beside(registry: &mut Registry, current: &Config, candidate: &Config, addresses: &[&str]) -> Snapshot {
    let resolved = |addresses: &[&str]| {
        let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
        Resolved::from_iter([(("10.0.0.1".to_owned(), 80), addresses)])
    };
    let alone = compile(current, 1, registry, &resolved(&addresses[..1])).unwrap();
    registry.on_publishing(&alone, current, 1);
    registry.on_published(1);
    let all = resolved(addresses);
    let snapshot = compile(current, 2, registry, &all).unwrap();
    let staged = compile_beside(candidate, 2, registry, &all).unwrap();
    let snapshot = snapshot.beside(staged, Share::new(0.5), Arc::new(Trial::new(NonZeroU32::MIN, 1)));
    registry.on_publishing_beside(&snapshot, current, Some(candidate), 2);
    registry.on_published(2);
    snapshot
}

struct Client;

impl Keys for Client {
    fn client_ip(&self) -> IpAddr {
        IpAddr::from([192, 0, 2, 1])
    }
    fn header(&self, _: &str) -> Option<&[u8]> {
        None
    }
    fn claim(&self, _: &str) -> Option<&str> {
        None
    }
    fn api_key(&self) -> Option<&str> {
        None
    }
    fn user(&self) -> Option<&str> {
        None
    }
}

/// A request of the client in each limit of the only route.
fn asks(snapshot: &Snapshot, now_ns: u64) -> Vec<Decision> {
    let policies = snapshot.routes[0].policies.as_ref().unwrap();
    let mut shard = Shard::default();
    policies.limits.iter().map(|limit| limit.decide(&Client, &snapshot.limits, &mut shard, now_ns)).collect()
}

fn passes(snapshot: &Snapshot, now_ns: u64) -> bool {
    asks(snapshot, now_ns).iter().all(|decision| decision.allowed)
}

const FAST: &str = "algorithm: token_bucket, limit: 100/1s, burst: 100";
const SLOW: &str = "algorithm: token_bucket, limit: 1/1h, burst: 1";

fn limited(current: &str, candidate: &str) -> Snapshot {
    let (current, candidate) = (config("", current), config("", candidate));
    beside(&mut Registry::new(1), &current, &candidate, &["10.0.0.1:80"])
}

#[test]
fn a_rate_limit_on_trial_uses_up_nothing_of_the_one_in_force() {
    let snapshot = limited(FAST, SLOW);
    let candidate = &snapshot.candidate.as_ref().unwrap().snapshot;
    assert!(passes(candidate, SECOND) && !passes(candidate, SECOND), "its own rule shows");
    let passed = (0..200).filter(|_| passes(&snapshot, SECOND)).count();
    assert_eq!(passed, 98, "it counts the two of the candidate as well");
}

#[test]
fn a_rate_limit_on_trial_that_allows_more_does_not_while_it_is_on_trial() {
    let snapshot = limited(SLOW, FAST);
    let candidate = &snapshot.candidate.as_ref().unwrap().snapshot;
    assert!(passes(&snapshot, SECOND) && !passes(candidate, SECOND));
}

#[test]
fn the_same_rate_limit_counts_a_request_once() {
    let snapshot = limited(FAST, FAST);
    let candidate = &snapshot.candidate.as_ref().unwrap().snapshot;
    assert_eq!(asks(candidate, SECOND).len(), 1);
    let passed = (0..200).filter(|at| passes(if at % 2 == 0 { candidate } else { &snapshot }, SECOND)).count();
    assert_eq!(passed, 99, "and one before");
}

#[test]
fn connections_that_both_sides_share_are_kept_as_what_is_in_force_says() {
    let cluster = |keepalive: &str| config(&format!("keepalive: {{ {keepalive} }},"), FAST);
    let current = cluster("idle_per_endpoint: 8, idle_timeout: 40s, ping_after: 5s");
    let candidate = cluster("idle_per_endpoint: 1, idle_timeout: 1s, tcp: 9s");
    let snapshot = beside(&mut Registry::new(1), &current, &candidate, &["10.0.0.1:80"]);
    let of = |snapshot: &Snapshot| {
        let cluster = &snapshot.clusters[0];
        (cluster.idle, cluster.keep_alive_s, cluster.pings)
    };
    assert_eq!(of(&snapshot).0.idle_ms, 40_000);
    assert_eq!(of(&snapshot.candidate.as_ref().unwrap().snapshot), of(&snapshot));
}

#[test]
fn what_is_in_force_says_whether_a_new_address_is_probed_first() {
    let first = "health: { active: { kind: http, path: /, require_probe: true } },";
    for (current, candidate, expected) in [(first, "", Probe::Pending), ("", first, Probe::Unprobed)] {
        let (current, candidate) = (config(current, FAST), config(candidate, FAST));
        let mut registry = Registry::new(1);
        let snapshot = beside(&mut registry, &current, &candidate, &["10.0.0.1:80", "10.0.0.2:80"]);
        let added = snapshot.clusters[0].endpoints.iter().find(|one| one.address.ip() == IpAddr::from([10, 0, 0, 2]));
        assert_eq!(registry.fleet().slot(added.unwrap().id).probe(), expected);
    }
}
