//! Names against a DNS server on loopback: real sockets and files, and a clock that a test may put forward.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use self::dns::DnsServer;
use super::tests::{config, ips, resolves};
use super::*;

mod dns;

/// Longest wait for anything that must happen.
const LIMIT: Duration = Duration::from_secs(20);
/// Time for an answer that comes.
const AMPLE: Duration = Duration::from_secs(5);
/// Time for an answer that does not come.
const SHORT: Duration = Duration::from_millis(500);

/// Names and what they are resolved by.
struct Rig {
    names: Names<System>,
    files: Files,
    forward_ms: Arc<AtomicU64>,
    dns: Dns,
}

impl Rig {
    /// By these servers and empty files.
    fn new(servers: &[&DnsServer]) -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("ringgate-names-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let files = Files { hosts: folder.join("hosts"), resolv_conf: folder.join("resolv.conf"), fresh_ms: 0 };
        let dns = Dns { servers: servers.iter().map(|server| server.address()).collect(), ..config(&[]).dns };
        let dns = Dns { timeout: AMPLE, ..dns };
        let forward_ms = Arc::new(AtomicU64::new(0));
        let forward = Arc::clone(&forward_ms);
        let now_ms = move || clock::now_ns() / 1_000_000 + forward.load(Ordering::Relaxed);
        let rig = Self { names: Names::new(System::new(&dns, &files), now_ms), files, forward_ms, dns };
        rig.writes_hosts("");
        rig.writes_resolv_conf("");
        rig
    }

    fn patience(mut self, patience: Duration) -> Self {
        self.dns.timeout = patience;
        self
    }

    fn writes_hosts(&self, text: &str) {
        std::fs::write(&self.files.hosts, text).unwrap();
    }

    fn writes_resolv_conf(&self, text: &str) {
        std::fs::write(&self.files.resolv_conf, text).unwrap();
    }

    /// Takes up the endpoints `cluster host:port`.
    async fn takes_up(&mut self, endpoints: &[&str]) -> Result<(), Vec<String>> {
        let config = Config { dns: self.dns.clone(), ..config(endpoints) };
        timeout(LIMIT, resolves(&mut self.names, &config)).await.expect("in time")?;
        self.names.on_published();
        Ok(())
    }

    fn addresses(&self, host: &str) -> Vec<IpAddr> {
        self.names.statuses().into_iter().find(|status| status.host == host).unwrap().addresses
    }

    /// Puts the clock forward by the longest wait, so that every name is due.
    fn forward(&self) {
        self.forward_ms.fetch_add(31_000, Ordering::Relaxed);
    }

    /// Works until `condition` holds; the names whose change was told.
    async fn works_until(&mut self, condition: impl Fn(&Self) -> bool) -> Vec<String> {
        let mut told = Vec::new();
        let working = async {
            while !condition(self) {
                told.extend(self.names.step().await.into_iter().flatten());
            }
        };
        timeout(LIMIT, working).await.expect("in time");
        told
    }

    async fn works_until_changed(&mut self) -> Vec<String> {
        timeout(LIMIT, self.names.changed()).await.expect("in time")
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        let folder: Option<PathBuf> = self.files.hosts.parent().map(PathBuf::from);
        drop(folder.map(std::fs::remove_dir_all));
    }
}

fn run(test: impl AsyncFnOnce()) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test());
}

#[test]
fn a_changed_address_is_seen_when_the_ttl_is_over() {
    run(async || {
        let server = DnsServer::start();
        server.set("a.test", 5, &ips(&["10.0.0.1"]));
        let mut rig = Rig::new(&[&server]);
        rig.takes_up(&["a a.test:80"]).await.unwrap();
        assert_eq!(rig.addresses("a.test"), ips(&["10.0.0.1"]));
        assert!(server.queries("a.test") >= 2, "one for each family");
        let due_in_ms = rig.names.statuses()[0].due_in_ms;
        assert!((4_000..=5_500).contains(&due_in_ms), "{due_in_ms}");
        server.set("a.test", 5, &ips(&["10.0.0.2", "10.0.0.3"]));
        rig.forward();
        assert_eq!(rig.works_until_changed().await, ["a.test"]);
        assert_eq!(rig.addresses("a.test"), ips(&["10.0.0.2", "10.0.0.3"]));
    });
}

#[test]
fn several_records_of_both_families_are_several_addresses() {
    run(async || {
        let server = DnsServer::start();
        server.set("a.test", 60, &ips(&["2001:db8::2", "10.0.0.2", "10.0.0.1", "2001:db8::1", "0.0.0.0"]));
        server.set("v6.test", 60, &ips(&["2001:db8::9"]));
        let mut rig = Rig::new(&[&server]);
        rig.takes_up(&["a a.test:80", "a v6.test:80"]).await.unwrap();
        assert_eq!(rig.addresses("a.test"), ips(&["10.0.0.1", "10.0.0.2", "2001:db8::1", "2001:db8::2"]));
        assert_eq!(rig.addresses("v6.test"), ips(&["2001:db8::9"]));
        assert!(rig.names.statuses().iter().all(|status| status.error.is_none()));
    });
}

#[test]
fn a_ttl_of_zero_waits_for_the_floor() {
    run(async || {
        let server = DnsServer::start();
        server.set("a.test", 0, &ips(&["10.0.0.1"]));
        let mut rig = Rig::new(&[&server]);
        rig.dns.ttl_min = Duration::from_secs(20);
        rig.takes_up(&["a a.test:80"]).await.unwrap();
        let due_in_ms = rig.names.statuses()[0].due_in_ms;
        assert!((15_000..=22_000).contains(&due_in_ms), "{due_in_ms}");
    });
}

#[test]
fn no_failure_takes_addresses_away() {
    run(async || {
        let server = DnsServer::start();
        server.set("a.test", 60, &ips(&["10.0.0.1"]));
        let mut rig = Rig::new(&[&server]);
        rig.takes_up(&["a a.test:80"]).await.unwrap();
        let at = server.address();
        let failures: [(&dyn Fn(), String); 5] = [
            (&|| server.set_nxdomain("a.test"), "no such name".to_owned()),
            (&|| server.set_code("a.test", 2), format!("{at} answers: Server Failure")),
            (&|| server.set_code("a.test", 5), format!("{at} answers: Query Refused")),
            (&|| server.set("a.test", 60, &[]), "the name has no address".to_owned()),
            (&|| server.set_rubbish("a.test"), format!("{at}: protocol error")),
        ];
        for (number, (fail, why)) in (1..).zip(failures) {
            fail();
            rig.forward();
            let told = rig.works_until(|rig| rig.names.counts().failed == number).await;
            assert_eq!((told, rig.addresses("a.test")), (vec![], ips(&["10.0.0.1"])), "{why}");
            let status = &rig.names.statuses()[0];
            assert!(
                status.is_failing && status.error.as_ref().is_some_and(|told| told.starts_with(&why)),
                "{status:?}"
            );
        }
        server.set("a.test", 60, &ips(&["10.0.0.2"]));
        rig.forward();
        assert_eq!(rig.works_until_changed().await, ["a.test"]);
    });
}

#[test]
fn a_silent_name_keeps_its_addresses_and_holds_up_no_other() {
    run(async || {
        let server = DnsServer::start();
        server.set("slow.test", 60, &ips(&["10.0.0.1"]));
        server.set("a.test", 60, &ips(&["10.0.0.1"]));
        let mut rig = Rig::new(&[&server]).patience(Duration::from_secs(2));
        rig.takes_up(&["a slow.test:80", "a a.test:80"]).await.unwrap();
        server.set_silent("slow.test");
        server.set("a.test", 60, &ips(&["10.0.0.2"]));
        rig.forward();
        assert_eq!(rig.works_until_changed().await, ["a.test"]);
        let is_asked = |rig: &Rig| rig.names.statuses()[1].due_in_ms == 0;
        assert!(is_asked(&rig) && rig.names.counts().failed == 0, "the silent one is still waited for");
        rig.works_until(|rig| rig.names.counts().failed == 1).await;
        assert_eq!(rig.addresses("slow.test"), ips(&["10.0.0.1"]));
        let error = rig.names.statuses()[1].error.clone().unwrap();
        assert_eq!(error, format!("{} gives no answer within 2s", server.address()));
    });
}

#[test]
fn a_truncated_answer_is_asked_for_over_tcp() {
    run(async || {
        let server = DnsServer::start();
        let many: Vec<IpAddr> = (1..=200).map(|last| IpAddr::from([10, 0, 0, last])).collect();
        server.set("a.test", 60, &many);
        let mut rig = Rig::new(&[&server]);
        rig.takes_up(&["a a.test:80"]).await.unwrap();
        assert_eq!(rig.addresses("a.test"), many);
        assert!(server.tcp_queries("a.test") >= 1);
        server.set("a.test", 60, &many[..150]);
        rig.forward();
        rig.works_until_changed().await;
        assert_eq!(rig.addresses("a.test"), many[..150]);
    });
}

#[test]
fn aliases_are_followed_whether_or_not_the_server_does() {
    run(async || {
        let server = DnsServer::start();
        server.set_alias("a.test", 20, "b.test");
        server.set_alias("b.test", 30, "c.test");
        server.set_bare_alias("bare.test", 5, "twice.test");
        server.set_bare_alias("twice.test", 30, "c.test");
        server.set("c.test", 30, &ips(&["10.0.0.1"]));
        server.set_alias("dangling.test", 20, "nowhere.test");
        server.set_alias("circle.test", 20, "circle.test");
        let mut rig = Rig::new(&[&server]);
        rig.takes_up(&["a a.test:80", "a bare.test:80"]).await.unwrap();
        for (host, due_ms) in [("a.test", 18_000..=22_000), ("bare.test", 4_500..=5_500)] {
            assert_eq!(rig.addresses(host), ips(&["10.0.0.1"]));
            let status = rig.names.statuses().into_iter().find(|status| status.host == host).unwrap();
            assert!((due_ms.start() - 1_000..=*due_ms.end()).contains(&status.due_in_ms), "{status:?}");
        }
        let refused = rig.takes_up(&["a dangling.test:80", "b circle.test:80"]).await.unwrap_err();
        assert_eq!(refused.len(), 2, "{refused:?}");
        assert_eq!(refused[0], "cluster `a`: cannot resolve `dangling.test`: no such name");
    });
}

#[test]
fn a_server_that_knows_no_edns_is_asked_without() {
    run(async || {
        let server = DnsServer::start();
        server.refuse_edns();
        server.set("a.test", 60, &ips(&["10.0.0.1"]));
        let mut rig = Rig::new(&[&server]);
        rig.takes_up(&["a a.test:80"]).await.unwrap();
        assert_eq!(rig.addresses("a.test"), ips(&["10.0.0.1"]));
    });
}

#[test]
fn the_next_server_is_asked_when_one_fails_but_not_when_it_knows() {
    run(async || {
        let (first, second) = (DnsServer::start(), DnsServer::start());
        for (host, fail) in [("silent.test", None), ("broken.test", Some(2)), ("refused.test", Some(5))] {
            match fail {
                Some(code) => first.set_code(host, code),
                None => first.set_silent(host),
            }
            second.set(host, 60, &ips(&["10.0.0.1"]));
        }
        second.set("gone.test", 60, &ips(&["10.0.0.1"]));
        let mut rig = Rig::new(&[&first, &second]).patience(SHORT);
        rig.takes_up(&["a silent.test:80", "a broken.test:80", "a refused.test:80"]).await.unwrap();
        for host in ["silent.test", "broken.test", "refused.test"] {
            assert_eq!(rig.addresses(host), ips(&["10.0.0.1"]), "{host}");
        }
        assert!(rig.takes_up(&["a gone.test:80"]).await.is_err());
        assert_eq!(second.queries("gone.test"), 0);
    });
}

#[test]
fn an_unknown_name_is_refused_with_its_cluster_and_the_reason() {
    run(async || {
        let server = DnsServer::start();
        server.set_silent("slow.test");
        let mut rig = Rig::new(&[&server]).patience(SHORT);
        let refused = rig.takes_up(&["a gone.test:80", "b slow.test:80"]).await.unwrap_err();
        let silence = format!("{} gives no answer within {SHORT:?}", server.address());
        assert_eq!(
            refused,
            [
                "cluster `a`: cannot resolve `gone.test`: no such name".to_owned(),
                format!("cluster `b`: cannot resolve `slow.test`: {silence}")
            ]
        );
    });
}

#[test]
fn a_single_label_is_searched_for_and_a_candidate_that_fails_ends_the_search() {
    run(async || {
        let server = DnsServer::start();
        server.set("db.near.test", 60, &ips(&["10.0.0.1"]));
        server.set("db.far.test", 60, &ips(&["10.0.0.66"]));
        server.set("app.far.test", 60, &ips(&["10.0.0.2"]));
        let mut rig = Rig::new(&[&server]);
        rig.writes_resolv_conf("search near.test far.test\n");
        rig.takes_up(&["a db:80", "a app:80", "a app.far.test:80"]).await.unwrap();
        assert_eq!(rig.addresses("db"), ips(&["10.0.0.1"]));
        assert_eq!(rig.addresses("app"), ips(&["10.0.0.2"]));
        server.set_code("db.near.test", 2);
        rig.forward();
        rig.works_until(|rig| rig.names.counts().failed == 1).await;
        assert_eq!(rig.addresses("db"), ips(&["10.0.0.1"]), "not the other machine of that name");
    });
}

#[test]
fn the_file_of_hosts_comes_first_and_its_changes_are_seen() {
    run(async || {
        let server = DnsServer::start();
        server.set("a.test", 60, &ips(&["10.0.0.1", "2001:db8::1"]));
        let mut rig = Rig::new(&[&server]);
        rig.writes_hosts("127.0.0.9 a.test A-alias # a.test\n");
        rig.takes_up(&["a a.test:80", "a a-alias:80"]).await.unwrap();
        assert_eq!((rig.addresses("a.test"), rig.addresses("a-alias")), (ips(&["127.0.0.9"]), ips(&["127.0.0.9"])));
        assert_eq!(server.queries("a.test"), 0, "not even for the other family");
        rig.writes_hosts("127.0.0.8 a-alias\n127.0.0.7 a-alias\n");
        rig.forward();
        assert_eq!(rig.works_until_changed().await, ["a-alias", "a.test"]);
        assert_eq!(rig.addresses("a.test"), ips(&["10.0.0.1", "2001:db8::1"]));
        assert_eq!(rig.addresses("a-alias"), ips(&["127.0.0.7", "127.0.0.8"]));
    });
}

#[test]
fn this_machine_needs_neither_a_server_nor_a_file() {
    run(async || {
        let mut rig = Rig::new(&[]);
        std::fs::remove_file(&rig.files.hosts).unwrap();
        std::fs::remove_file(&rig.files.resolv_conf).unwrap();
        rig.takes_up(&["a localhost:80", "a app.localhost:80", "a 10.0.0.1:80"]).await.unwrap();
        assert_eq!(rig.addresses("localhost"), ips(&["127.0.0.1", "::1"]));
        assert_eq!(rig.addresses("app.localhost"), ips(&["127.0.0.1", "::1"]));
        rig.writes_hosts("127.0.0.1 localhost\n");
        rig.forward();
        rig.works_until_changed().await;
        assert_eq!(rig.addresses("localhost"), ips(&["127.0.0.1"]), "what the file says goes before");
    });
}

#[test]
fn without_a_server_a_name_is_refused_by_the_file_that_names_none() {
    run(async || {
        let mut rig = Rig::new(&[]);
        let file = rig.files.resolv_conf.display().to_string();
        let refused = rig.takes_up(&["a a.test:80"]).await.unwrap_err().join("");
        assert!(refused.contains(&format!("cannot resolve `a.test`: no name server: {file}: ")), "{refused}");
        std::fs::remove_file(&rig.files.resolv_conf).unwrap();
        let refused = rig.takes_up(&["a a.test:80"]).await.unwrap_err().join("");
        assert!(refused.ends_with(&format!("{file}: No such file or directory (os error 2)")), "{refused}");
    });
}

#[test]
fn other_servers_are_taken_up_by_a_reload() {
    run(async || {
        let (old, new) = (DnsServer::start(), DnsServer::start());
        old.set("a.test", 60, &ips(&["10.0.0.1"]));
        new.set("a.test", 60, &ips(&["10.0.0.2"]));
        let mut rig = Rig::new(&[&old]);
        rig.takes_up(&["a a.test:80"]).await.unwrap();
        rig.dns.servers = vec![new.address()];
        rig.takes_up(&["a a.test:80"]).await.unwrap();
        assert_eq!(rig.addresses("a.test"), ips(&["10.0.0.1"]), "known addresses stay until there are others");
        assert_eq!(rig.works_until_changed().await, ["a.test"]);
        assert_eq!(rig.addresses("a.test"), ips(&["10.0.0.2"]));
    });
}
