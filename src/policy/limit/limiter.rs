//! The rate limit of one policy, and what all of them share.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use aws_lc_rs::digest;

use super::key::KeySeed;
use super::ledger::Ledger;
use super::rule::{Decision, Rule};
use super::shard::Shard;
use super::store::{Algorithm, Charge, OnStoreError};
use super::word::Key;
use crate::limits::RATE_LEDGER_SETS;

/// What requests are counted by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyFrom {
    /// The client's address; of IPv6 its first 64 bits, which is what one client is given.
    ClientIp,
    /// Nothing: all requests together.
    Global,
    /// The value of this field, whose name is in lower case.
    Header(String),
    /// This claim of the client's token, as it was verified.
    Claim(String),
    /// The name of the client whose API key it was.
    ApiKey,
    /// The name of the user whose password it was.
    User,
}

impl KeyFrom {
    /// As it is written.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::ClientIp => "client_ip".to_owned(),
            Self::Global => "global".to_owned(),
            Self::Header(name) => format!("header.{name}"),
            Self::Claim(claim) => format!("jwt.{claim}"),
            Self::ApiKey => "api_key".to_owned(),
            Self::User => "basic_auth".to_owned(),
        }
    }
}

/// A rule and the keys that it counts by.
#[derive(Debug)]
pub struct Limiter {
    policy: u64,
    rule: Rule,
    /// The first that a request has counts.
    keys: Vec<(u64, KeyFrom)>,
    /// For a request that has none of them.
    client_ip: u64,
    shared: Option<Shared>,
}

/// How a limit is kept together with other gateways.
#[derive(Debug)]
pub struct Shared {
    /// The store's URL.
    pub store: Arc<str>,
    /// Are tokens leased ahead of use? Otherwise the store is asked for each request.
    pub is_leased: bool,
    /// What becomes of a request when the store does not answer.
    pub on_error: OnStoreError,
    /// Longest wait for the store in milliseconds.
    pub timeout_ms: u64,
    /// How it is counted.
    pub algorithm: Algorithm,
    /// Requests in a period.
    pub limit: u32,
    /// The period.
    pub period: Duration,
    /// The beginning of its keys in the store.
    pub prefix: Vec<u8>,
}

/// What a request is told by the keys that it has.
pub trait Keys {
    /// The client's address.
    fn client_ip(&self) -> IpAddr;
    /// The value of a field, by its name in lower case.
    fn header(&self, name: &str) -> Option<&[u8]>;
    /// A claim of the token that was verified for this request.
    fn claim(&self, name: &str) -> Option<&str>;
    /// Whose API key was verified for this request.
    fn api_key(&self) -> Option<&str>;
    /// Whose password was verified for this request.
    fn user(&self) -> Option<&str>;
}

impl Limiter {
    /// The limit of the policy of this name, whose counters stay while its name does.
    #[must_use]
    pub fn new(policy: &str, rule: Rule, keys: &[KeyFrom]) -> Self {
        // Names are the operator's, so these numbers need no secret; the keys made of them have one.
        let number = |name: &str| KeySeed::new([0; 16]).number(name);
        let keys = keys.iter().map(|from| (number(&from.name()), from.clone())).collect();
        Self { policy: number(policy), rule, keys, client_ip: number(&KeyFrom::ClientIp.name()), shared: None }
    }

    /// The same limit, kept in a store.
    #[must_use]
    pub fn kept_by(self, shared: Shared) -> Self {
        Self { shared: Some(shared), ..self }
    }

    /// The number of its policy's name.
    #[must_use]
    pub const fn policy(&self) -> u64 {
        self.policy
    }

    /// Does it count the same requests as `other` by the same rule?
    #[must_use]
    pub fn counts_as(&self, other: &Self) -> bool {
        (self.rule, &self.keys) == (other.rule, &other.keys)
    }

    /// The same limit with counts of its own, in this process alone, for the trial of this number.
    #[must_use]
    pub fn on_trial(&self, trial: NonZeroU32) -> Self {
        let policy = KeySeed::new([0; 16]).number(&format!("{:016x} on trial {trial}", self.policy));
        Self { policy, rule: self.rule, keys: self.keys.clone(), client_ip: self.client_ip, shared: None }
    }

    /// How it is kept together with other gateways, if it is.
    #[must_use]
    pub const fn shared(&self) -> Option<&Shared> {
        self.shared.as_ref()
    }

    /// May a request pass?
    pub fn decide(&self, request: &impl Keys, limits: &Limits, shard: &mut Shard, now_ns: u64) -> Decision {
        shard.decide(limits.ledger(), self.key(request, &limits.seed), &self.rule, now_ns)
    }

    /// The key that the leases of a worker know this request by.
    pub fn lease_key(&self, request: &impl Keys, limits: &Limits) -> Key {
        self.key(request, &limits.seed)
    }

    /// The question for `want` tokens for this request. Allocates.
    pub fn charge(&self, shared: &Shared, request: &impl Keys, want: u32) -> Charge {
        let mut digest = digest::Context::new(&digest::SHA256);
        self.identify(request, |source, value| {
            digest.update(&source.to_be_bytes());
            digest.update(value);
        });
        let mut key = shared.prefix.clone();
        // Every gateway makes the same key of it, and nobody can read out of the store who came.
        for byte in &digest.finish().as_ref()[..16] {
            key.extend_from_slice(format!("{byte:02x}").as_bytes());
        }
        Charge { key, algorithm: shared.algorithm, limit: shared.limit, period: shared.period, want }
    }

    fn key(&self, request: &impl Keys, seed: &KeySeed) -> Key {
        self.identify(request, |source, value| seed.key(self.policy, source, value))
    }

    /// Calls back with the kind and the value of the key that counts for this request.
    fn identify<T>(&self, request: &impl Keys, told: impl FnOnce(u64, &[u8]) -> T) -> T {
        for (source, from) in &self.keys {
            let value = match from {
                KeyFrom::ClientIp => break,
                KeyFrom::Global => Some(&[][..]),
                KeyFrom::Header(name) => request.header(name),
                KeyFrom::Claim(claim) => request.claim(claim).map(str::as_bytes),
                KeyFrom::ApiKey => request.api_key().map(str::as_bytes),
                KeyFrom::User => request.user().map(str::as_bytes),
            };
            if let Some(value) = value.filter(|value| !value.is_empty() || *from == KeyFrom::Global) {
                return told(*source, value);
            }
        }
        match request.client_ip().to_canonical() {
            IpAddr::V4(ip) => told(self.client_ip, &ip.octets()),
            IpAddr::V6(ip) => told(self.client_ip, &ip.octets()[..8]),
        }
    }
}

/// What has been used of all rate limits of a process.
#[derive(Debug)]
pub struct Limits {
    seed: KeySeed,
    /// Empty until there is a rate limit, because of its size.
    ledger: OnceLock<Ledger>,
}

impl Limits {
    /// Nothing has been used; `seed` are random bits.
    #[must_use]
    pub const fn new(seed: [u8; 16]) -> Self {
        Self { seed: KeySeed::new(seed), ledger: OnceLock::new() }
    }

    /// Makes the ledger, so that no request has to.
    pub fn prepare(&self) {
        self.ledger();
    }

    /// Keys that lost their count to others in a full set of the ledger.
    #[must_use]
    pub fn stolen(&self) -> u64 {
        self.ledger.get().map_or(0, Ledger::stolen)
    }

    fn ledger(&self) -> &Ledger {
        self.ledger.get_or_init(|| Ledger::new(RATE_LEDGER_SETS))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    struct Request(&'static str, &'static str);

    impl Keys for Request {
        fn client_ip(&self) -> IpAddr {
            self.0.parse().unwrap()
        }

        fn header(&self, name: &str) -> Option<&[u8]> {
            (name == "x-tenant").then_some(self.1.as_bytes())
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

    fn tenant() -> KeyFrom {
        KeyFrom::Header("x-tenant".to_owned())
    }

    fn same(keys: &[KeyFrom], one: &Request, other: &Request) -> bool {
        let limiter = Limiter::new("p", Rule::sliding_window(1, Duration::from_secs(1), 1), keys);
        let seed = KeySeed::new([7; 16]);
        limiter.key(one, &seed) == limiter.key(other, &seed)
    }

    #[test]
    fn a_client_is_an_address_or_the_network_that_one_is_given() {
        let by = [KeyFrom::ClientIp];
        assert!(same(&by, &Request("192.0.2.1", "a"), &Request("::ffff:192.0.2.1", "b")));
        assert!(!same(&by, &Request("192.0.2.1", ""), &Request("192.0.2.2", "")));
        assert!(same(&by, &Request("2001:db8::1", ""), &Request("2001:db8::ffff:1:2", "")));
        assert!(!same(&by, &Request("2001:db8::1", ""), &Request("2001:db8:0:1::1", "")));
    }

    #[test]
    fn the_first_key_that_a_request_has_counts() {
        let by = [tenant(), KeyFrom::ClientIp];
        assert!(same(&by, &Request("192.0.2.1", "a"), &Request("192.0.2.2", "a")));
        assert!(!same(&by, &Request("192.0.2.1", "a"), &Request("192.0.2.1", "b")));
        assert!(same(&by, &Request("192.0.2.1", ""), &Request("192.0.2.1", "")));
        assert!(!same(&by, &Request("192.0.2.1", ""), &Request("192.0.2.2", "")));
    }

    #[test]
    fn a_request_that_has_no_key_is_counted_by_its_address() {
        assert!(!same(&[tenant()], &Request("192.0.2.1", ""), &Request("192.0.2.2", "")));
        assert!(same(&[KeyFrom::Global], &Request("192.0.2.1", ""), &Request("192.0.2.2", "")));
    }

    #[test]
    fn policies_and_kinds_of_keys_are_told_apart() {
        let seed = KeySeed::new([7; 16]);
        let key = |policy: &str, source: &str, seed: &KeySeed| seed.key(seed.number(policy), seed.number(source), b"a");
        assert_ne!(key("p", "header.a", &seed), key("q", "header.a", &seed));
        assert_ne!(key("p", "header.a", &seed), key("p", "header.b", &seed));
        assert_ne!(key("p", "header.a", &seed), key("p", "header.a", &KeySeed::new([8; 16])));
    }
}
