//! What a reload changes: which listeners come and go, and what only a restart can change; pure.

use std::net::SocketAddr;

use crate::config::{Config, Listener};
use crate::snapshot::{Entrance, Snapshot};

/// A listener this process holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Held {
    /// Its name.
    pub(super) name: String,
    /// The address as configured; its port may be 0.
    pub(super) configured: SocketAddr,
    /// The address bound; no other one has it.
    pub(super) bound: SocketAddr,
}

impl Held {
    /// Where its connections come in, by the snapshot in force.
    pub(super) fn entrance(&self, snapshot: &Snapshot) -> Entrance {
        snapshot.entrance(&self.name).expect("what is held is what is configured")
    }
}

/// Listeners that come and go.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ListenerChanges {
    /// To be bound: name and address.
    pub(super) open: Vec<(String, SocketAddr)>,
    /// What is held from now on in the place of what is bound to the same address: a socket has its queue, and whoever waits
    /// in that is not to notice that a listener is renamed.
    pub(super) keep: Vec<Held>,
    /// Bound addresses to be closed.
    pub(super) close: Vec<SocketAddr>,
}

/// Compares what is held with what is wanted.
pub(super) fn listener_changes(held: &[Held], wanted: &[Listener]) -> ListenerChanges {
    let stays = |held: &Held, wanted: &Listener| held.name == wanted.name && held.configured == wanted.address;
    let goes = |held: &&Held| !wanted.iter().any(|wanted| stays(held, wanted));
    let mut changes = ListenerChanges {
        close: held.iter().filter(goes).map(|held| held.bound).collect(),
        ..ListenerChanges::default()
    };
    for Listener { name, address, .. } in wanted.iter().filter(|wanted| !held.iter().any(|held| stays(held, wanted))) {
        let (name, configured) = (name.clone(), *address);
        // A port that the kernel is to choose is another one each time.
        match changes.close.iter().position(|bound| *bound == configured) {
            Some(at) => changes.keep.push(Held { name, configured, bound: changes.close.remove(at) }),
            None => changes.open.push((name, configured)),
        }
    }
    changes
}

/// Settings that differ and take effect only at the next start.
pub(super) fn needs_restart(old: &Config, new: &Config) -> Vec<&'static str> {
    [
        ("runtime.workers", old.runtime.workers != new.runtime.workers),
        ("runtime.io", old.runtime.io != new.runtime.io),
        ("runtime.user", old.runtime.user != new.runtime.user),
        ("runtime.sandbox", old.runtime.sandbox != new.runtime.sandbox),
        ("admin", old.admin != new.admin),
    ]
    .into_iter()
    .filter_map(|(key, differs)| differs.then_some(key))
    .collect()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::time::Duration;

    use super::*;
    use crate::config::{
        AccessLog, Admin, AdminListen, BodyMinRate, Dns, Io, ListenerLimits, MemoryLimit, Output, Runtime, Sample,
        Workers,
    };

    fn config() -> Config {
        let runtime = Runtime {
            workers: Workers::Auto,
            io: Io::Auto,
            user: None,
            sandbox: true,
            shutdown_grace: Duration::ZERO,
            idle_grace: Duration::ZERO,
            upgrade_timeout: Duration::ZERO,
            max_connections: 1,
            memory_limit: MemoryLimit::Off,
            accept_balance: true,
        };
        let dns =
            Dns { servers: Vec::new(), timeout: Duration::ZERO, ttl_min: Duration::ZERO, ttl_max: Duration::ZERO };
        let sample = Sample { ok: 1.0, slow_over: Duration::ZERO, slow_share: 1.0, errors: 1.0 };
        Config {
            runtime,
            dns,
            admin: Admin { listen: AdminListen::Off, tls: None, token: None, read_token: None },
            listeners: Vec::new(),
            clusters: Vec::new(),
            policies: Vec::new(),
            live_policy: None,
            routes: Vec::new(),
            access_log: AccessLog { output: Output::Off, sample },
            reason_header: false,
            server_timing: false,
            tracing: None,
            top_clients: 0,
            watch: true,
            rollout: None,
        }
    }

    #[test]
    fn only_what_the_workers_were_started_with_needs_a_restart() {
        let mut new = config();
        new.runtime.max_connections = 2;
        new.runtime.shutdown_grace = Duration::from_secs(9);
        new.access_log.output = Output::Stdout;
        assert!(needs_restart(&config(), &new).is_empty());
        new.runtime.workers = Workers::Count(3);
        new.runtime.io = Io::Epoll;
        new.admin.listen = AdminListen::Unix(PathBuf::from("/run/ringgate.sock"));
        assert_eq!(needs_restart(&config(), &new), ["runtime.workers", "runtime.io", "admin"]);
    }

    fn held(name: &str, configured: &str, bound: &str) -> Held {
        Held { name: name.to_owned(), configured: configured.parse().unwrap(), bound: bound.parse().unwrap() }
    }

    fn wanted(name: &str, address: &str) -> Listener {
        Listener {
            name: name.to_owned(),
            address: address.parse().unwrap(),
            health_path: None,
            tls: None,
            protocols: Vec::new(),
            limits: ListenerLimits {
                header_bytes: 1,
                header_count: 1,
                header_timeout: Duration::ZERO,
                handshake_timeout: Duration::ZERO,
                idle_timeout: Duration::ZERO,
                body_min_rate: BodyMinRate { bytes_per_second: 0, grace: Duration::ZERO },
                write_timeout: Duration::ZERO,
                connections: None,
                connections_per_client: None,
                h2_streams: 1,
            },
            trusted_proxies: Vec::new(),
            strict_host: false,
            proxy_protocol: crate::config::ProxyProtocol::Off,
        }
    }

    #[test]
    fn a_listener_that_stays_is_not_touched_even_on_a_chosen_port() {
        let held = [held("web", "127.0.0.1:0", "127.0.0.1:4711")];
        assert_eq!(listener_changes(&held, &[wanted("web", "127.0.0.1:0")]), ListenerChanges::default());
    }

    #[test]
    fn a_new_address_is_opened_and_the_old_one_closed() {
        let held = [held("web", "127.0.0.1:80", "127.0.0.1:80")];
        let changes = listener_changes(&held, &[wanted("web", "127.0.0.1:81"), wanted("more", "127.0.0.1:82")]);
        assert_eq!(changes.close, [held[0].bound]);
        let open: Vec<_> = changes.open.iter().map(|(name, address)| (name.as_str(), address.port())).collect();
        assert_eq!((open.as_slice(), changes.keep.as_slice()), (&[("web", 81), ("more", 82)][..], &[][..]));
    }

    #[test]
    fn a_renamed_listener_keeps_its_sockets() {
        let (one, other) = ("127.0.0.1:80", "127.0.0.1:81");
        let held_there = [held("web", one, one), held("chosen", "127.0.0.1:0", other)];
        let swapped = [held("chosen", one, one), held("web", other, other)];
        let changes = listener_changes(&held_there, &[wanted("web", other), wanted("chosen", one)]);
        assert_eq!(changes, ListenerChanges { keep: swapped.into_iter().rev().collect(), ..Default::default() });
        let changes = listener_changes(&held_there, &[wanted("site", one), wanted("new", "127.0.0.1:0")]);
        assert_eq!((changes.keep, changes.close), (vec![held("site", one, one)], vec![other.parse().unwrap()]));
        assert_eq!(changes.open, [("new".to_owned(), "127.0.0.1:0".parse().unwrap())]);
    }
}
