//! Which clients are refused most by rate limits: a table of fixed size, written by one worker and read by whoever scrapes.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering, fence};

use super::counters::Counter;
use crate::limits::TOP_CLIENTS_MAX;

/// Times that a reader tries again when the writer was at the same line.
const READS: usize = 8;

/// Refused requests by client, for the clients that have most of them, and all others together.
///
/// A client that is not in a full table takes the place of the one of the lowest rank and inherits its rank, so that one
/// who is refused often comes to stay (the algorithm is known as Space-Saving); what the other had is counted with `other`.
#[derive(Debug)]
pub struct TopClients {
    lines: Box<[Line]>,
    other: Counter,
}

#[derive(Debug, Default)]
struct Line {
    /// Odd while the line goes from one client to another.
    version: AtomicU64,
    high: AtomicU64,
    low: AtomicU64,
    count: Counter,
    rank: Counter,
}

impl Default for TopClients {
    fn default() -> Self {
        Self { lines: (0..TOP_CLIENTS_MAX).map(|_| Line::default()).collect(), other: Counter::new() }
    }
}

impl TopClients {
    /// A request of `client` was refused. Of IPv6 the first 64 bits are one client, as to the limits themselves.
    pub fn on_refused(&self, client: IpAddr) {
        let (high, low) = halves(client);
        let is_of = |line: &&Line| {
            line.rank.value() > 0
                && line.low.load(Ordering::Relaxed) == low
                && line.high.load(Ordering::Relaxed) == high
        };
        let line = match self.lines.iter().find(is_of) {
            Some(line) => line,
            None => {
                let Some(line) = self.lines.iter().min_by_key(|line| line.rank.value()) else { return };
                self.other.add(line.count.value());
                line.hand_over(high, low);
                line
            }
        };
        line.count.add(1);
        line.rank.add(1);
    }

    /// The `most` clients with the most refused requests over all `workers`, of IPv6 by the first address of their network, and
    /// the refused requests of all others.
    #[must_use]
    pub fn sum<'a>(workers: impl Iterator<Item = &'a Self>, most: usize) -> (Vec<(IpAddr, u64)>, u64) {
        let (mut counts, mut other) = (HashMap::<IpAddr, u64>::new(), 0);
        for worker in workers {
            other += worker.other.value();
            for (client, count) in worker.lines.iter().filter_map(Line::read) {
                *counts.entry(client).or_default() += count;
            }
        }
        let mut counts: Vec<(IpAddr, u64)> = counts.into_iter().collect();
        counts.sort_unstable_by_key(|(client, count)| (Reverse(*count), *client));
        other += counts.drain(most.min(counts.len())..).map(|(_, count)| count).sum::<u64>();
        (counts, other)
    }
}

impl Line {
    /// Gives the line to another client, which inherits its rank.
    fn hand_over(&self, high: u64, low: u64) {
        let version = self.version.load(Ordering::Relaxed);
        self.version.store(version + 1, Ordering::Relaxed);
        fence(Ordering::Release);
        self.high.store(high, Ordering::Relaxed);
        self.low.store(low, Ordering::Relaxed);
        self.count.set(0);
        self.version.store(version + 2, Ordering::Release);
    }

    /// The client and its count; `None` for an unused line, or one that does not hold still.
    fn read(&self) -> Option<(IpAddr, u64)> {
        for _ in 0..READS {
            let before = self.version.load(Ordering::Acquire);
            let (high, low) = (self.high.load(Ordering::Relaxed), self.low.load(Ordering::Relaxed));
            let count = self.count.value();
            fence(Ordering::Acquire);
            if before.is_multiple_of(2) && self.version.load(Ordering::Relaxed) == before {
                let ip = Ipv6Addr::from(u128::from(high) << 64 | u128::from(low));
                return (count > 0).then(|| (IpAddr::V6(ip).to_canonical(), count));
            }
        }
        None
    }
}

/// What a client is known by: its address of IPv4, or the network of IPv6 that it has to choose addresses from.
fn halves(client: IpAddr) -> (u64, u64) {
    let word = |half: &[u8]| half.iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
    match client.to_canonical() {
        IpAddr::V4(v4) => (0, word(&v4.to_ipv6_mapped().octets()[8..])),
        IpAddr::V6(v6) => (word(&v6.octets()[..8]), 0),
    }
}

/// A client as its label.
pub(super) fn client_label(client: IpAddr) -> String {
    match client {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("{ip}/64"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(number: u32) -> IpAddr {
        IpAddr::V4(number.into())
    }

    #[test]
    fn counts_of_all_workers_are_summed_and_the_rest_is_other() {
        let workers = [TopClients::default(), TopClients::default()];
        for (worker, client, times) in [(0, 1, 3), (1, 1, 4), (0, 2, 5), (1, 3, 1)] {
            (0..times).for_each(|_| workers[worker].on_refused(ip(client)));
        }
        let (top, other) = TopClients::sum(workers.iter(), 2);
        assert_eq!((top, other), (vec![(ip(1), 7), (ip(2), 5)], 1));
        assert_eq!(TopClients::sum(workers.iter(), 0), (Vec::new(), 13));
    }

    #[test]
    fn addresses_of_one_network_of_ipv6_are_one_client() {
        let table = TopClients::default();
        for number in 0..1_000_u128 {
            table.on_refused(IpAddr::V6(((0x2001_0db8_u128 << 96) | (number << 40)).into()));
        }
        table.on_refused("::ffff:192.0.2.7".parse().unwrap());
        table.on_refused("2001:db8:0:1::1".parse().unwrap());
        let (top, other) = TopClients::sum(std::iter::once(&table), 5);
        let top: Vec<_> = top.into_iter().map(|(client, count)| (client_label(client), count)).collect();
        let shown: Vec<_> = top.iter().map(|(client, count)| (client.as_str(), *count)).collect();
        assert_eq!(
            (&shown[..], other),
            (&[("2001:db8::/64", 1_000), ("192.0.2.7", 1), ("2001:db8:0:1::/64", 1)][..], 0)
        );
    }

    #[test]
    fn whoever_is_refused_often_stays_however_many_others_come() {
        let table = TopClients::default();
        for number in 0..100_000u32 {
            table.on_refused(ip(1_000_000 + number));
            if number.is_multiple_of(50) {
                table.on_refused("2001:db8::1".parse().unwrap());
            }
        }
        let (top, other) = TopClients::sum(std::iter::once(&table), 5);
        let known = top.iter().find(|(client, _)| client_label(*client) == "2001:db8::/64");
        assert!(known.is_some_and(|(_, count)| *count > 1_500), "{top:?}");
        assert_eq!(top.iter().map(|(_, count)| count).sum::<u64>() + other, 102_000, "none is lost");
    }
}
