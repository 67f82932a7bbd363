//! Which addresses may pass: networks that are allowed and denied, compiled into one sorted table per family.

use std::net::IpAddr;

use ipnet::IpNet;

/// Which client addresses may pass. Of all networks that hold an address the most specific one decides; an address in
/// none of them passes unless networks are allowed by name.
#[derive(Debug, PartialEq, Eq)]
pub struct Access {
    /// Addresses of IPv4 as the last four bytes of their mapped form (RFC 4291 section 2.5.5.2), in one table with IPv6.
    ranges: Vec<Range>,
}

/// From this address on, up to the next range, one verdict holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Range {
    first: u128,
    passes: bool,
}

/// A network as a range of addresses.
struct Span {
    first: u128,
    last: u128,
    passes: bool,
}

impl Access {
    /// Compiles the networks; one that is both allowed and denied is denied.
    #[must_use]
    pub fn new(allow: &[IpNet], deny: &[IpNet]) -> Self {
        let spans = allow.iter().map(|net| span(net, true)).chain(deny.iter().map(|net| span(net, false)));
        let mut spans: Vec<Span> = spans.collect();
        // A network stands before those it holds, and of equal ones the denied one last: the last word is its own.
        spans.sort_by_key(|span| (span.first, std::cmp::Reverse(span.last), !span.passes));
        let otherwise = allow.is_empty();
        let mut table = Self { ranges: vec![Range { first: 0, passes: otherwise }] };
        let mut open: Vec<Span> = Vec::new();
        for span in spans {
            table.close(&mut open, span.first, otherwise);
            table.push(span.first, span.passes);
            open.push(span);
        }
        table.close(&mut open, u128::MAX, otherwise);
        table.check_invariants();
        table
    }

    /// May a client of this address pass?
    #[must_use]
    pub fn passes(&self, client: IpAddr) -> bool {
        let address = number(client);
        let behind = self.ranges.partition_point(|range| range.first <= address);
        // The first range begins at zero, so there is always one.
        self.ranges[behind - 1].passes
    }

    /// Ends the open networks that lie before `first`: what holds behind each is the verdict of the one around it.
    fn close(&mut self, open: &mut Vec<Span>, first: u128, otherwise: bool) {
        while let Some(ended) = open.pop_if(|span| span.last < first) {
            self.push(ended.last + 1, open.last().map_or(otherwise, |around| around.passes));
        }
    }

    fn push(&mut self, first: u128, passes: bool) {
        while self.ranges.pop_if(|range| range.first >= first).is_some() {}
        if self.ranges.last().is_none_or(|range| range.passes != passes) {
            self.ranges.push(Range { first, passes });
        }
    }

    fn check_invariants(&self) {
        debug_assert_eq!(self.ranges.first().map(|range| range.first), Some(0), "every address has a range");
        debug_assert!(
            self.ranges.is_sorted_by(|a, b| a.first < b.first && a.passes != b.passes),
            "no range is useless"
        );
    }
}

/// An address as a number, one of IPv4 in its mapped form.
fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

fn span(net: &IpNet, passes: bool) -> Span {
    Span { first: number(net.network()), last: number(net.broadcast()), passes }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    fn nets(list: &[&str]) -> Vec<IpNet> {
        list.iter().map(|net| net.parse().unwrap()).collect()
    }

    fn passes(access: &Access, client: &str) -> bool {
        access.passes(client.parse().unwrap())
    }

    #[test]
    fn the_most_specific_network_decides() {
        let access =
            Access::new(&nets(&["192.0.2.0/24", "10.1.0.0/16", "fd00::/8"]), &nets(&["192.0.2.66/32", "10.0.0.0/8"]));
        for (client, expected) in [
            ("192.0.2.0", true),
            ("192.0.2.65", true),
            ("192.0.2.66", false),
            ("192.0.2.67", true),
            ("192.0.2.255", true),
            ("192.0.3.0", false),
            ("192.0.1.255", false),
            ("10.0.255.255", false),
            ("10.1.0.0", true),
            ("10.1.255.255", true),
            ("10.2.0.0", false),
            ("fd12::1", true),
            ("fe80::1", false),
            ("::ffff:192.0.2.1", true),
            ("::ffff:192.0.2.66", false),
        ] {
            assert_eq!(passes(&access, client), expected, "{client}");
        }
    }

    #[test]
    fn an_address_in_no_network_passes_unless_networks_are_allowed() {
        assert!(passes(&Access::new(&[], &nets(&["10.0.0.0/8"])), "192.0.2.1"));
        assert!(!passes(&Access::new(&nets(&["10.0.0.0/8"]), &[]), "192.0.2.1"));
        assert!(passes(&Access::new(&[], &[]), "::1"));
    }

    #[test]
    fn all_of_a_family_and_the_last_address_have_a_verdict() {
        let access = Access::new(&nets(&["0.0.0.0/0", "::/0"]), &nets(&["255.255.255.255/32", "ffff::/16"]));
        for (client, expected) in
            [("255.255.255.254", true), ("255.255.255.255", false), ("ffff::1", false), ("fffe::1", true), ("::", true)]
        {
            assert_eq!(passes(&access, client), expected, "{client}");
        }
        assert!(!passes(&Access::new(&nets(&["::/0"]), &nets(&["::/0"])), "::1"), "denied wins over allowed");
    }

    /// Few different bits, so that networks hold and touch one another.
    fn any_net(rng: &mut Rng) -> IpNet {
        let bits = match rng.below(3) {
            0 => rng.below(8),
            1 => rng.below(8) << 29,
            _ => rng.below(1 << 32),
        };
        let prefix = u8::try_from(rng.below(33)).unwrap();
        IpNet::new(v4(bits), prefix).unwrap().trunc()
    }

    fn v4(bits: u64) -> IpAddr {
        IpAddr::V4(u32::try_from(bits & 0xffff_ffff).unwrap().into())
    }

    #[test]
    fn the_table_decides_as_a_search_of_all_networks_does() {
        for seed in 0..2000 {
            let mut rng = Rng::from_seed(seed);
            let (allowed, denied) = (rng.below(12), rng.below(12));
            let allow: Vec<IpNet> = (0..allowed).map(|_| any_net(&mut rng)).collect();
            let deny: Vec<IpNet> = (0..denied).map(|_| any_net(&mut rng)).collect();
            let access = Access::new(&allow, &deny);
            let edges = allow.iter().chain(&deny).flat_map(|net| {
                let first = u64::try_from(number(net.network()) & 0xffff_ffff).unwrap();
                let last = u64::try_from(number(net.broadcast()) & 0xffff_ffff).unwrap();
                [first.wrapping_sub(1), first, last, last + 1]
            });
            for client in edges.map(v4) {
                let longest =
                    |nets: &[IpNet]| nets.iter().filter(|net| net.contains(&client)).map(IpNet::prefix_len).max();
                let expected = match (longest(&allow), longest(&deny)) {
                    (None, None) => allow.is_empty(),
                    (allowed, denied) => allowed > denied,
                };
                assert_eq!(access.passes(client), expected, "seed {seed}: {client} in {allow:?} but {deny:?}");
            }
        }
    }
}
