//! Asking the way the C library does: the file of hosts first, then the search list over the name servers in their
//! order, all by the files of this machine as they are now.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use hickory_resolver::Hosts;
use hickory_resolver::config::ConnectionConfig;
use hickory_resolver::proto::op::Query;
use hickory_resolver::proto::rr::{Name, RecordType};
use hickory_resolver::system_conf::parse_resolv_conf;
use tokio::sync::Mutex;

use super::Asker;
use super::answer::{Answer, Family};
use super::server::{Dialect, Server};
use crate::clock;
use crate::config::Dns;

/// How long what was read from a file is taken for what it says.
const FRESH_MS: u64 = 1_000;
/// Seconds that an address holds which no server gave: until the name is due in any case.
const LOCAL_TTL_S: u32 = i32::MAX.cast_unsigned();
/// Dots in a name that is tried as it is before the search list, unless the file says otherwise (resolv.conf(5)).
const NDOTS: usize = 1;

/// The files that say how names are resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Files {
    /// Addresses by name, see hosts(5).
    pub(super) hosts: PathBuf,
    /// Name servers, search list and options, see resolv.conf(5).
    pub(super) resolv_conf: PathBuf,
    /// Milliseconds before they are looked at again.
    pub(super) fresh_ms: u64,
}

impl Default for Files {
    fn default() -> Self {
        let (hosts, resolv_conf) = (PathBuf::from("/etc/hosts"), PathBuf::from("/etc/resolv.conf"));
        Self { hosts, resolv_conf, fresh_ms: FRESH_MS }
    }
}

/// The files of this machine and the name servers they or the configuration name.
#[derive(Clone)]
pub(in crate::control) struct System {
    dns: Dns,
    files: Files,
    seen: Arc<Mutex<Seen>>,
}

impl System {
    /// By the settings `dns` and by `files`, none of which is read before somebody asks.
    pub(super) fn new(dns: &Dns, files: &Files) -> Self {
        Self { dns: dns.clone(), files: files.clone(), seen: Arc::default() }
    }

    /// The directory by what the files say, which are looked at again when that was some time ago.
    async fn directory(&self) -> Arc<Directory> {
        let mut seen = self.seen.lock().await;
        let now_ms = clock::now_ns() / 1_000_000;
        if let Some(directory) = &seen.directory
            && now_ms < seen.at_ms + self.files.fresh_ms
        {
            return Arc::clone(directory);
        }
        let hosts = tokio::fs::read(&self.files.hosts).await.unwrap_or_default();
        let resolv_conf = tokio::fs::read(&self.files.resolv_conf).await.map_err(|error| error.to_string());
        let is_same = seen.hosts == hosts && seen.resolv_conf == resolv_conf;
        // Servers that are asked already keep their sockets.
        let directory = match seen.directory.take().filter(|_| is_same) {
            Some(directory) => directory,
            None => Arc::new(self.open(&hosts, &resolv_conf)),
        };
        *seen = Seen { at_ms: now_ms, hosts, resolv_conf, directory: Some(Arc::clone(&directory)) };
        directory
    }

    fn open(&self, hosts: &[u8], resolv_conf: &Result<Vec<u8>, String>) -> Directory {
        let mut listed = Hosts::default();
        if let Err(error) = listed.read_hosts_conf(hosts) {
            tracing::warn!(path = %self.files.hosts.display(), %error, "not read to its end");
        }
        let named = |why: &str| format!("no name server: {}: {why}", self.files.resolv_conf.display());
        let own = &self.dns.servers;
        let (client, servers) = match resolv_conf {
            Ok(text) if own.is_empty() => match Client::parsed(text) {
                Ok(client) => {
                    let servers = self.servers(&client.servers);
                    (client, servers)
                }
                Err(error) => (Client::default(), Err(named(&error.to_string()))),
            },
            Err(why) if own.is_empty() => (Client::default(), Err(named(why))),
            Ok(text) => (Client::searching(text).unwrap_or_default(), self.servers(own)),
            Err(_) => (Client::default(), self.servers(own)),
        };
        Directory { hosts: listed, search: client.search, ndots: client.ndots, servers }
    }

    fn servers(&self, addresses: &[SocketAddr]) -> Result<Vec<Server>, String> {
        addresses.iter().map(|address| Server::new(*address, self.dns.timeout)).collect()
    }
}

impl Asker for System {
    fn tuned(&self, dns: &Dns) -> Self {
        Self::new(dns, &self.files)
    }

    async fn ask(self, host: Arc<str>) -> Answer {
        match Name::from_ascii(&*host) {
            Ok(name) => self.directory().await.look_up(name).await,
            Err(error) => Answer::unknown(format!("not a name: {error}")),
        }
    }
}

/// What was read last and when.
struct Seen {
    at_ms: u64,
    hosts: Vec<u8>,
    /// Or why it could not be read.
    resolv_conf: Result<Vec<u8>, String>,
    directory: Option<Arc<Directory>>,
}

impl Default for Seen {
    fn default() -> Self {
        Self { at_ms: 0, hosts: Vec::new(), resolv_conf: Ok(Vec::new()), directory: None }
    }
}

/// What resolv.conf(5) says.
struct Client {
    servers: Vec<SocketAddr>,
    search: Vec<Name>,
    ndots: usize,
}

impl Default for Client {
    fn default() -> Self {
        Self { servers: Vec::new(), search: Vec::new(), ndots: NDOTS }
    }
}

impl Client {
    fn parsed(text: &[u8]) -> io::Result<Self> {
        let (config, options) = parse_resolv_conf(text).map_err(|error| io::Error::other(error.to_string()))?;
        let port = ConnectionConfig::udp().port;
        let domain = config.domain().cloned();
        Ok(Self {
            servers: config.name_servers().iter().map(|server| SocketAddr::new(server.ip, port)).collect(),
            search: if config.search().is_empty() { domain.into_iter().collect() } else { config.search().to_vec() },
            ndots: options.ndots,
        })
    }

    /// Only the search list counts, of a file that need not name a server: the parser refuses one without.
    fn searching(text: &[u8]) -> io::Result<Self> {
        Self::parsed(&[text, b"\nnameserver 127.0.0.1\n"].concat())
    }
}

/// Everything that gives addresses to names.
struct Directory {
    hosts: Hosts,
    search: Vec<Name>,
    ndots: usize,
    /// Or why there is none.
    servers: Result<Vec<Server>, String>,
}

impl Directory {
    /// A name in the file of hosts is never asked for elsewhere, not even for its other family, as in getaddrinfo(3).
    async fn look_up(&self, name: Name) -> Answer {
        let listed = self.listed(&name);
        if !listed.is_empty() {
            return Answer::found(listed, LOCAL_TTL_S);
        }
        // RFC 6761 section 6.3: no server is asked for this machine itself.
        if name.is_localhost() {
            return Answer::found([Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()], LOCAL_TTL_S);
        }
        match &self.servers {
            Ok(servers) => search(servers, &candidates(name, &self.search, self.ndots)).await,
            Err(why) => Answer::unknown(why.clone()),
        }
    }

    fn listed(&self, name: &Name) -> Vec<IpAddr> {
        let of_kind = |kind| self.hosts.lookup_static_host(&Query::query(name.clone(), kind));
        let lookups = [of_kind(RecordType::A), of_kind(RecordType::AAAA)];
        lookups.iter().flatten().flat_map(|found| found.answers()).filter_map(|one| one.data.ip_addr()).collect()
    }
}

/// The absolute names that `name` may stand for, the likeliest first: an absolute one for itself, one with as many dots
/// as `ndots` for itself before the search list, any other for itself after it.
fn candidates(name: Name, search: &[Name], ndots: usize) -> Vec<Name> {
    if name.is_fqdn() {
        return vec![name];
    }
    // A name of n labels has n - 1 dots.
    let is_first = usize::from(name.num_labels()) > ndots;
    let mut searched = search.iter().filter_map(|domain| name.clone().append_domain(domain).ok());
    let mut candidates = Vec::new();
    let mut add = |mut candidate: Name| {
        candidate.set_fqdn(true);
        // The root may stand in the search list, and a domain twice.
        if !candidates.contains(&candidate) {
            candidates.push(candidate);
        }
    };
    if is_first {
        add(name.clone());
    }
    searched.by_ref().for_each(&mut add);
    add(name.clone());
    candidates
}

/// The first candidate with an address. One that cannot be asked for ends the search: the next could be another
/// machine, by a wildcard of a domain further down the list.
async fn search(servers: &[Server], candidates: &[Name]) -> Answer {
    let mut last = Answer::found([], LOCAL_TTL_S);
    for name in candidates {
        let (v4, v6) = tokio::join!(ask_all(servers, name, RecordType::A), ask_all(servers, name, RecordType::AAAA));
        last = Answer { v4, v6 };
        if !last.is_nothing() {
            break;
        }
    }
    last
}

/// The first server that knows, asked in their order, and all once more in the plainest way when none did.
async fn ask_all(servers: &[Server], name: &Name, kind: RecordType) -> Family {
    let mut last = Family::Unknown("no name server".to_owned());
    for dialect in [Dialect::Extended, Dialect::Plain] {
        for server in servers {
            last = server.ask(name, kind, dialect).await;
            if !matches!(last, Family::Unknown(_)) {
                return last;
            }
        }
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::from_ascii(text).unwrap()
    }

    fn tried(host: &str, ndots: usize) -> Vec<String> {
        let search = [name("ns.svc.cluster.local"), name("corp.test")];
        candidates(name(host), &search, ndots).iter().map(Name::to_ascii).collect()
    }

    #[test]
    fn a_name_without_enough_dots_is_searched_for_before_it_stands_for_itself() {
        assert_eq!(tried("db", 1), ["db.ns.svc.cluster.local.", "db.corp.test.", "db."]);
        assert_eq!(
            tried("api.b.test", 5),
            ["api.b.test.ns.svc.cluster.local.", "api.b.test.corp.test.", "api.b.test."]
        );
    }

    #[test]
    fn a_name_with_enough_dots_stands_for_itself_first() {
        assert_eq!(tried("db.test", 1), ["db.test.", "db.test.ns.svc.cluster.local.", "db.test.corp.test."]);
        assert_eq!(tried("db", 0), ["db.", "db.ns.svc.cluster.local.", "db.corp.test."]);
    }

    #[test]
    fn no_name_is_tried_twice() {
        let search = [name("."), name("a.test"), name("A.test.")];
        let tried: Vec<String> = candidates(name("db"), &search, 1).iter().map(Name::to_ascii).collect();
        assert_eq!(tried, ["db.", "db.a.test."]);
    }

    #[test]
    fn an_absolute_name_is_not_searched_for() {
        assert_eq!(tried("db.", 5), ["db."]);
    }

    #[test]
    fn the_file_gives_servers_search_list_and_options() {
        let text = b"domain old.test\nnameserver 10.0.0.53\nnameserver ::1\nsearch a.test b.test\noptions ndots:3\n";
        let client = Client::parsed(text).unwrap();
        assert_eq!(client.servers, ["10.0.0.53:53".parse().unwrap(), "[::1]:53".parse().unwrap()]);
        assert_eq!(client.search, [name("a.test"), name("b.test")]);
        assert_eq!(client.ndots, 3);
    }

    #[test]
    fn the_search_list_counts_even_where_the_servers_do_not() {
        assert!(Client::parsed(b"search a.test\n").is_err());
        assert_eq!(Client::searching(b"search a.test").unwrap().search, [name("a.test")]);
    }
}
