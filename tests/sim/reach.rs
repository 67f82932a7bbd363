//! What the seeds have reached: a simulation in which something never happens says nothing about it.

use std::collections::BTreeMap;

use ringgate::telemetry::{Counter, NotRetried};

use crate::scenario::Run;
use crate::traffic::Dialled;

/// Everything that a normal run of the seeds must have seen, and how often at least.
pub(crate) const WANTED: [(&str, u64); 14] = [
    ("served", 1_000),
    ("reuses", 500),
    ("retries", 50),
    ("retries denied by a budget", 5),
    ("breaker transitions", 50),
    ("trials of breakers", 20),
    ("ejections", 10),
    ("breaker_open", 10),
    ("no_healthy_endpoint", 20),
    ("upstream_queue_timeout", 20),
    ("waiters served", 50),
    ("calls to wake", 50),
    ("calls to reclaim", 10),
    ("copies sent", 100),
];

/// The same of those with TLS and HTTP/2.
pub(crate) const WANTED_SEALED: [(&str, u64); 14] = [
    ("served", 800),
    ("reuses", 300),
    ("handshakes in full", 150),
    ("handshakes resumed", 150),
    ("handshakes that failed", 8),
    ("tls_failed", 8),
    ("streams", 800),
    ("streams reset by clients", 15),
    ("streams reset by the gateway", 30),
    ("client_abort", 20),
    ("retries", 50),
    ("upstream_truncated", 2),
    ("waiters served", 50),
    ("copies sent", 50),
];

/// The same of those with endpoints of HTTP/2.
pub(crate) const WANTED_SHARED: [(&str, u64); 12] = [
    ("served", 1_000),
    ("reuses", 600),
    ("streams", 800),
    ("retries", 100),
    ("upstream_stream_reset", 4),
    ("upstream_stream_refused", 1),
    ("upstream_silent", 1),
    ("upstream_truncated", 4),
    ("upstream_reset", 8),
    ("client_abort", 15),
    ("waiters", 30),
    ("copies sent", 50),
];

/// The same of those with words of proxies, calls and tunnels.
pub(crate) const WANTED_EDGE: [(&str, u64); 7] = [
    ("served", 500),
    ("streams", 300),
    ("tunnels", 40),
    ("calls served", 100),
    ("calls that failed", 20),
    ("bad introductions", 20),
    ("introductions refused", 20),
];

fn total(counters: &[Counter]) -> u64 {
    counters.iter().map(Counter::value).sum()
}

/// How often what happened.
#[derive(Default)]
pub(crate) struct Reach(BTreeMap<String, u64>);

impl Reach {
    pub(crate) fn of(run: &Run, reasons: impl Iterator<Item = String>) -> Self {
        let mut reach = Self::default();
        reasons.for_each(|reason| reach.add(&reason, 1));
        for (name, count) in run.gateway.inspector.seen.borrow().iter() {
            reach.add(name, *count);
        }
        let gateway = &run.gateway;
        for (name, count) in [
            ("retries", gateway.sum(|counters| total(&counters.retries))),
            (
                "retries denied by a budget",
                gateway.sum(|counters| counters.retries_denied[NotRetried::Budget as usize].value()),
            ),
            ("breaker transitions", gateway.sum(|counters| total(&counters.breaker_transitions))),
            ("ejections", gateway.sum(|counters| counters.ejections.value())),
            ("copies sent", gateway.sum(|counters| counters.mirrors_sent.value())),
            ("copies that failed", gateway.sum(|counters| counters.mirrors_failed.value())),
            ("copies skipped", gateway.sum(|counters| counters.mirrors_skipped.value())),
            ("reuses", gateway.sum(|counters| counters.upstream_reuses.value())),
            ("handshakes in full", gateway.sum(|counters| counters.tls_handshakes_full.value())),
            ("handshakes resumed", gateway.sum(|counters| counters.tls_handshakes_resumed.value())),
            ("handshakes that failed", gateway.sum(|counters| total(&counters.tls_failures))),
            ("streams", gateway.sum(|counters| counters.h2_streams.value())),
            ("streams reset by clients", gateway.sum(|counters| counters.h2_resets_received.value())),
            ("streams reset by the gateway", gateway.sum(|counters| counters.h2_resets_sent.value())),
            ("connections excessive", gateway.sum(|counters| total(&counters.h2_excesses))),
            ("tunnels", gateway.sum(|counters| counters.tunnels.value())),
            ("introductions refused", gateway.sum(|counters| counters.proxy_headers_refused.value())),
            ("client aborts", gateway.sum(|counters| counters.client_aborts.value())),
        ] {
            reach.add(name, count);
        }
        for dialogue in run.ledger.dialogues.borrow().iter() {
            for (request, reply) in dialogue.plan.requests.iter().zip(&dialogue.replies) {
                let is_served = reply.is_whole && reply.head.one("x-echo-token").is_some();
                let what = if is_served { "calls served" } else { "calls that failed" };
                reach.add(what, u64::from(request.call.is_some()));
            }
        }
        for dial in gateway.inspector.dials.borrow().iter() {
            reach.add(
                match dial.outcome.get() {
                    Dialled::Open => "dials that opened",
                    Dialled::Refused => "dials refused",
                    Dialled::Silence => "dials in vain",
                },
                1,
            );
        }
        reach
    }

    pub(crate) fn add(&mut self, name: &str, count: u64) {
        *self.0.entry(name.to_owned()).or_default() += count;
    }

    pub(crate) fn extend(&mut self, other: Self) {
        other.0.into_iter().for_each(|(name, count)| self.add(&name, count));
    }

    /// What was not seen often enough.
    pub(crate) fn missing(&self, wanted: &[(&str, u64)]) -> Vec<String> {
        let seen = |name: &str| self.0.get(name).copied().unwrap_or(0);
        let missing = wanted.iter().filter(|(name, least)| seen(name) < *least);
        missing.map(|(name, least)| format!("{name}: {} of {least}", seen(name))).collect()
    }

    /// As a table.
    pub(crate) fn told(&self) -> String {
        self.0.iter().map(|(name, count)| format!("{count:>8} {name}\n")).collect()
    }
}
