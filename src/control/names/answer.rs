//! What asking for a name brought; pure.

use std::net::IpAddr;

use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};

/// Names that one answer may lead through by aliases, the name asked for included.
const ALIASES: usize = 16;

/// What is known of a name after it was asked for, by family of addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::control) struct Answer {
    /// `A` records.
    pub(super) v4: Family,
    /// `AAAA` records.
    pub(super) v6: Family,
}

/// What is known of one family of addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::control) enum Family {
    /// There are addresses.
    Found(Found),
    /// There are none, for sure.
    Nothing(Nothing),
    /// Nobody knows, for this reason: what was known before stays.
    Unknown(String),
}

/// Addresses and how long they hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::control) struct Found {
    /// At least one.
    pub(super) addresses: Vec<IpAddr>,
    /// Seconds by the shortest record that led to them.
    pub(super) ttl_s: u32,
}

/// A sure answer without addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::control) enum Nothing {
    /// The name does not exist (RFC 8020).
    NoName,
    /// The name exists and has no address of this family (RFC 2308 section 2.2).
    NoAddress,
}

impl Answer {
    /// The same reason for both families.
    pub(super) fn unknown(why: String) -> Self {
        Self { v4: Family::Unknown(why.clone()), v6: Family::Unknown(why) }
    }

    /// Addresses that hold for `ttl_s` seconds, whatever their order and family.
    pub(super) fn found(addresses: impl IntoIterator<Item = IpAddr>, ttl_s: u32) -> Self {
        let (v4, v6) = addresses.into_iter().filter(is_usable).partition(IpAddr::is_ipv4);
        let family = |addresses: Vec<IpAddr>| {
            let nothing = Family::Nothing(Nothing::NoAddress);
            if addresses.is_empty() { nothing } else { Family::Found(Found { addresses, ttl_s }) }
        };
        Self { v4: family(v4), v6: family(v6) }
    }

    /// Is it sure that the name has no address at all?
    pub(super) const fn is_nothing(&self) -> bool {
        matches!((&self.v4, &self.v6), (Family::Nothing(_), Family::Nothing(_)))
    }

    /// Both families.
    pub(super) const fn families(&self) -> [&Family; 2] {
        [&self.v4, &self.v6]
    }

    /// Seconds that the addresses found hold, `None` when there are none.
    pub(super) fn ttl_s(&self) -> Option<u32> {
        let ttl_of = |family: &Family| match family {
            Family::Found(found) => Some(found.ttl_s),
            Family::Nothing(_) | Family::Unknown(_) => None,
        };
        self.families().into_iter().filter_map(ttl_of).min()
    }

    /// What is not known and why; `None` when both families are.
    pub(super) fn doubt(&self) -> Option<&str> {
        self.families().into_iter().find_map(|family| match family {
            Family::Unknown(why) => Some(why.as_str()),
            Family::Found(_) | Family::Nothing(_) => None,
        })
    }

    /// Why there is no address, for an operator; of use only when none was found.
    pub(super) fn why_nothing(&self) -> String {
        let no_name = Family::Nothing(Nothing::NoName);
        match self.doubt() {
            Some(why) => why.to_owned(),
            None if self.families().contains(&&no_name) => "no such name".to_owned(),
            None => "the name has no address".to_owned(),
        }
    }
}

/// The family `kind` (`A` or `AAAA`) of `name` by the records of an answer, which may stand in any order and hold what
/// nobody asked for.
pub(super) fn family_of(name: &Name, kind: RecordType, records: &[Record]) -> Family {
    let mut names = vec![name];
    let mut ttl_s = u32::MAX;
    let mut reached = 0;
    while let Some(&owner) = names.get(reached) {
        for record in records.iter().filter(|record| record.name == *owner) {
            if let RData::CNAME(target) = &record.data
                && names.len() < ALIASES
                && !names.contains(&&target.0)
            {
                names.push(&target.0);
                ttl_s = ttl_s.min(ttl_of(record));
            }
        }
        reached += 1;
    }
    let mut addresses = Vec::new();
    for record in records.iter().filter(|record| record.record_type() == kind && names.contains(&&record.name)) {
        if let Some(address) = record.data.ip_addr().filter(is_usable) {
            addresses.push(address);
            ttl_s = ttl_s.min(ttl_of(record));
        }
    }
    if addresses.is_empty() { Family::Nothing(Nothing::NoAddress) } else { Family::Found(Found { addresses, ttl_s }) }
}

/// RFC 2181 section 8: a TTL with its highest bit set counts as 0.
const fn ttl_of(record: &Record) -> u32 {
    if record.ttl > u32::MAX >> 1 { 0 } else { record.ttl }
}

/// May a connection be opened to it? Linux takes the unspecified address for this machine itself, so an answer that
/// blocks a name (0.0.0.0) would lead there.
fn is_usable(address: &IpAddr) -> bool {
    let broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
    !(address.is_unspecified() || address.is_multicast() || broadcast)
}

#[cfg(test)]
mod tests {
    use hickory_resolver::proto::rr::rdata::CNAME;

    use super::*;

    fn name(text: &str) -> Name {
        let mut name = Name::from_ascii(text).unwrap();
        name.set_fqdn(true);
        name
    }

    fn address(owner: &str, ttl_s: u32, address: &str) -> Record {
        Record::from_rdata(name(owner), ttl_s, RData::from(address.parse::<IpAddr>().unwrap()))
    }

    fn alias(owner: &str, ttl_s: u32, target: &str) -> Record {
        Record::from_rdata(name(owner), ttl_s, RData::CNAME(CNAME(name(target))))
    }

    fn found(addresses: &[&str], ttl_s: u32) -> Family {
        let addresses = addresses.iter().map(|one| one.parse().unwrap()).collect();
        Family::Found(Found { addresses, ttl_s })
    }

    const NO_ADDRESS: Family = Family::Nothing(Nothing::NoAddress);

    fn v4(records: &[Record]) -> Family {
        family_of(&name("a.test"), RecordType::A, records)
    }

    #[test]
    fn the_shortest_record_says_how_long_an_answer_holds() {
        assert_eq!(
            v4(&[address("a.test", 9, "10.0.0.2"), address("A.TEST", 5, "10.0.0.1")]),
            found(&["10.0.0.2", "10.0.0.1"], 5)
        );
        assert_eq!(v4(&[alias("a.test", 3, "b.test"), address("b.test", 7, "10.0.0.1")]), found(&["10.0.0.1"], 3));
    }

    #[test]
    fn aliases_are_followed_whatever_their_order() {
        let records = [address("c.test", 9, "10.0.0.1"), alias("b.test", 8, "c.test"), alias("a.test", 7, "b.test")];
        assert_eq!(v4(&records), found(&["10.0.0.1"], 7));
    }

    #[test]
    fn a_circle_of_aliases_ends() {
        assert_eq!(v4(&[alias("a.test", 1, "b.test"), alias("b.test", 1, "a.test")]), NO_ADDRESS);
    }

    #[test]
    fn an_endless_chain_of_aliases_ends() {
        let owner = |at: usize| if at == 0 { "a.test".to_owned() } else { format!("n{at}.test") };
        let mut records: Vec<_> = (0..100).map(|at| alias(&owner(at), 9, &owner(at + 1))).collect();
        records.push(address(&owner(100), 9, "10.0.0.1"));
        assert_eq!(v4(&records), NO_ADDRESS);
    }

    #[test]
    fn records_of_other_names_and_types_are_left_out() {
        let records =
            [address("evil.test", 9, "10.6.6.6"), address("a.test", 9, "2001:db8::1"), alias("x.test", 1, "a.test")];
        assert_eq!(v4(&records), NO_ADDRESS);
        assert_eq!(family_of(&name("a.test"), RecordType::AAAA, &records), found(&["2001:db8::1"], 9));
    }

    #[test]
    fn addresses_that_lead_nowhere_are_left_out() {
        let records = ["0.0.0.0", "255.255.255.255", "224.0.0.1", "10.0.0.1"].map(|one| address("a.test", 9, one));
        assert_eq!(v4(&records), found(&["10.0.0.1"], 9));
        assert_eq!(v4(&records[..3]), NO_ADDRESS);
        assert!(Answer::found(["::".parse().unwrap(), "ff02::1".parse().unwrap()], 1).is_nothing());
    }

    #[test]
    fn a_ttl_with_its_highest_bit_set_is_zero() {
        assert_eq!(v4(&[address("a.test", 1 << 31, "10.0.0.1")]), found(&["10.0.0.1"], 0));
    }

    #[test]
    fn an_answer_says_why_it_has_no_address() {
        let answer = |v4: &Family, v6: &Family| Answer { v4: v4.clone(), v6: v6.clone() };
        let (no_name, unknown) = (Family::Nothing(Nothing::NoName), Family::Unknown("refused".to_owned()));
        assert_eq!(answer(&no_name, &NO_ADDRESS).why_nothing(), "no such name");
        assert_eq!(answer(&NO_ADDRESS, &NO_ADDRESS).why_nothing(), "the name has no address");
        assert_eq!(answer(&NO_ADDRESS, &unknown).why_nothing(), "refused");
        assert_eq!(answer(&found(&["10.0.0.1"], 7), &unknown).doubt(), Some("refused"));
        assert_eq!(answer(&found(&["10.0.0.1"], 7), &found(&["::1"], 5)).ttl_s(), Some(5));
    }
}
