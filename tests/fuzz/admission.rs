//! Properties of what lets a client in by its address or by an API key, each beside the plainest search there is.

use std::fmt::Write as _;
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::HEXLOWER;
use ringgate::config::{self, Sources};
use ringgate::limits;
use ringgate::policy::Access;
use ringgate::policy::auth::{Holders, KeyBook, KeyBookError};

/// Networks and keys of one input.
const MOST: usize = 16;

/// A network is read as it is written or refused, and the table decides about any address as a search of all networks
/// does. Lines that begin with `+` are networks that are allowed, with `-` denied ones, with `?` addresses of clients.
pub fn access(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    // The dollar begins a substitution, which is about something else.
    let marked = |mark| text.lines().filter_map(move |line| line.strip_prefix(mark)).filter(|line| !line.contains('$'));
    let allow: Vec<&str> = marked('+').take(MOST).collect();
    let deny: Vec<&str> = marked('-').take(MOST).collect();
    let wanted: Option<Vec<Network>> = allow.iter().chain(&deny).map(|text| Network::parse(text)).collect();
    let Some(read) = read(&allow, &deny) else {
        let is_right = wanted.is_some_and(|networks| !networks.is_empty() && !has_twice(&networks));
        assert!(!is_right, "refused: {allow:?} {deny:?}");
        return;
    };
    let Some(networks) = wanted else { panic!("taken: {allow:?} {deny:?}") };
    let table = Access::new(&read.allow, &read.deny);
    let (allowed, denied) = networks.split_at(allow.len());
    let asked = marked('?').take(MOST).filter_map(|line| line.parse().ok()).map(bits_of);
    let edges = networks.iter().flat_map(|network| {
        let (first, last) = (network.bits, network.bits | !mask(network.prefix));
        [first.saturating_sub(1), first, last, last.saturating_add(1)]
    });
    for bits in asked.chain(edges) {
        let longest = |networks: &[Network]| {
            networks
                .iter()
                .filter(|network| bits & mask(network.prefix) == network.bits)
                .map(|found| found.prefix)
                .max()
        };
        let expected = match (longest(allowed), longest(denied)) {
            (None, None) => allowed.is_empty(),
            (allowed, denied) => allowed > denied,
        };
        let client = Ipv6Addr::from_bits(bits);
        assert_eq!(table.passes(client.into()), expected, "{client} in {allow:?} but {deny:?}");
        if let Some(client) = client.to_ipv4_mapped() {
            assert_eq!(table.passes(client.into()), expected, "{client} in {allow:?} but {deny:?}");
        }
    }
}

/// A network as bits of an address of IPv6 and how many of them count.
#[derive(Clone, Copy, PartialEq)]
struct Network {
    bits: u128,
    prefix: u32,
    /// One of IPv4 and one of IPv6 with the same addresses are two to a configuration.
    is_v4: bool,
}

impl Network {
    /// An address, with a prefix or without, and nothing set behind it.
    fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        let address: IpAddr = address.parse().ok()?;
        let (is_v4, width) = (address.is_ipv4(), if address.is_ipv4() { 32 } else { 128 });
        let prefix = match prefix {
            None => width,
            Some(digits) if digits.bytes().all(|digit| digit.is_ascii_digit()) => {
                digits.parse().ok().filter(|prefix| *prefix <= width)?
            }
            Some(_) => return None,
        };
        let (bits, prefix) = (bits_of(address), 128 - width + prefix);
        (bits & !mask(prefix) == 0).then_some(Self { bits, prefix, is_v4 })
    }
}

fn has_twice(networks: &[Network]) -> bool {
    networks.iter().enumerate().any(|(at, network)| networks[..at].contains(network))
}

fn bits_of(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

fn mask(prefix: u32) -> u128 {
    u128::MAX.checked_shl(128 - prefix).unwrap_or_default()
}

/// What a configuration with these networks has, if it is one.
fn read(allow: &[&str], deny: &[&str]) -> Option<config::Access> {
    let mut yaml =
        String::from("version: 1\nlisteners: { web: { address: 127.0.0.1:0 } }\npolicies: { a: { access: { ");
    for (name, networks) in [("allow", allow), ("deny", deny)].into_iter().filter(|(_, networks)| !networks.is_empty())
    {
        let _ = write!(yaml, "{name}: [");
        for network in networks {
            let spelled: String = network.chars().map(|char| format!("\\U{:08x}", u32::from(char))).collect();
            let _ = write!(yaml, "\"{spelled}\", ");
        }
        let _ = write!(yaml, "], ");
    }
    yaml.push_str("} } }\nroutes: [ { name: r, match: { path: /* }, policies: [a], respond: { status: 200 } } ]\n");
    let loaded = config::load(Path::new("a.yaml"), &Text(yaml)).ok()?;
    loaded.config.policies.into_iter().next()?.access
}

/// One file and nothing else.
struct Text(String);

impl Sources for Text {
    fn read(&self, _path: &Path) -> io::Result<Vec<u8>> {
        Ok(self.0.clone().into_bytes())
    }

    fn env(&self, _name: &str) -> Option<String> {
        None
    }

    fn glob(&self, _pattern: &str) -> Result<Vec<PathBuf>, String> {
        Ok(Vec::new())
    }
}

/// Whoever has a key is found by it whole and by nothing else. The lines of the input are keys, the last one is asked for.
pub fn api_key(input: &[u8]) {
    let mut keys: Vec<&[u8]> = input.split(|byte| *byte == b'\n').take(MOST).collect();
    let asked = keys.pop().unwrap_or_default();
    let mut yaml = String::new();
    for (at, key) in keys.iter().enumerate() {
        let hash = HEXLOWER.encode(digest(&SHA256, key).as_ref());
        // Both spellings of a hash, both shapes of an entry.
        let hash = if at % 2 == 0 { hash } else { format!("[{}]", hash.to_uppercase()) };
        let _ = writeln!(yaml, "holder-{at}: {hash}");
    }
    let book = match KeyBook::parse(&yaml) {
        Ok(book) => book,
        Err(KeyBookError::Empty) => return assert!(keys.is_empty(), "keys are missing"),
        Err(KeyBookError::Twice(one, other)) => return assert_eq!(keys[one - 1], keys[other - 1]),
        Err(why) => panic!("{why}"),
    };
    let holders = Holders::new("x-api-key", book, Some("x-holder"), "gateway", false);
    let longer = [asked, b"\0"].concat();
    let cut = asked.get(1..).unwrap_or_default();
    for key in keys.iter().copied().chain([asked, &longer, cut]) {
        let may_be_one = !key.is_empty() && key.len() <= limits::API_KEY_BYTES;
        let expected = keys.iter().position(|known| *known == key).filter(|_| may_be_one);
        let found = holders.find(key);
        assert_eq!(found.and_then(|found| found.name()), expected.map(|at| format!("holder-{at}")).as_deref());
        let lines = expected.map(|at| format!("x-holder: holder-{at}\r\n"));
        assert_eq!(found.map(|found| found.lines()), lines.as_ref().map(|lines| lines.as_bytes()));
    }
}
