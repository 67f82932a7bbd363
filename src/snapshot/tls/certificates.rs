//! Which certificate of a listener is for whom.

use std::cell::Cell;
use std::fmt;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustc_hash::FxHashMap;
use rustls::ServerConfig;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::config::Identity;

/// The certificates of a listener by the names they are for.
pub(super) struct Certificates {
    all: Vec<Arc<Identity>>,
    exact: FxHashMap<String, usize>,
    /// By what follows the star and its dot.
    wildcard: FxHashMap<String, usize>,
    /// Hellos that asked for a name that none is for. One for all workers: what follows a hello costs a thousand times more.
    unknown: Arc<AtomicU64>,
}

impl Certificates {
    pub(super) fn new(identities: &[Identity], unknown: Arc<AtomicU64>) -> Self {
        let (mut exact, mut wildcard) = (FxHashMap::default(), FxHashMap::default());
        for (index, identity) in identities.iter().enumerate() {
            for name in identity.names() {
                let (table, name) = match name.strip_prefix("*.") {
                    Some(parent) => (&mut wildcard, parent),
                    None => (&mut exact, name.as_str()),
                };
                table.entry(name.to_owned()).or_insert(index);
            }
        }
        Self { all: identities.iter().cloned().map(Arc::new).collect(), exact, wildcard, unknown }
    }

    /// The one for `name`, in lower case: the one that has just this name, else the one that has a star for its first
    /// label (RFC 6125 section 6.4.3).
    fn rightful(&self, name: &str) -> Option<usize> {
        let wildcard = || self.wildcard.get(name.split_once('.')?.1).copied();
        self.exact.get(name).copied().or_else(wildcard)
    }

    /// The one that a client gets who asks for `name`: the first of all where none is for it.
    pub(super) fn find(&self, name: Option<&str>) -> usize {
        name.and_then(|name| self.rightful(name)).unwrap_or(0)
    }

    fn choose(&self, hello: &ClientHello<'_>) -> Option<&Arc<Identity>> {
        let name = hello.server_name();
        if name.is_some_and(|name| self.rightful(name).is_none()) {
            self.unknown.fetch_add(1, Ordering::Relaxed);
        }
        self.all.get(self.find(name))
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let identity = self.choose(&hello)?;
        GREETING.set(Some(Greeting { name: hello.server_name().map(Box::from), identity: Arc::clone(identity) }));
        Some(Arc::clone(identity.certified()))
    }
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificates").field("exact", &self.exact).field("wildcard", &self.wildcard).finish()
    }
}

thread_local! {
    /// What the resolver was asked last, until whoever polls that handshake takes it: neither a session of this kind nor
    /// its resolver tells the other.
    static GREETING: Cell<Option<Greeting>> = const { Cell::new(None) };
}

/// What a client asked for by its hello, and got.
#[derive(Debug)]
pub struct Greeting {
    /// In lower case (RFC 6066 section 3).
    name: Option<Box<str>>,
    identity: Arc<Identity>,
}

impl Greeting {
    /// Runs a handshake to its end, and tells what was asked for in it, if it came that far. One begun anew (RFC 8446
    /// section 4.1.4) asks again, and the last answer is the one that holds.
    pub async fn of<F: Future>(handshake: F) -> (F::Output, Option<Self>) {
        let mut handshake = pin!(handshake);
        let mut greeting = None;
        let output = poll_fn(|cx| {
            let polled = handshake.as_mut().poll(cx);
            greeting = GREETING.take().or_else(|| greeting.take());
            polled
        });
        (output.await, greeting)
    }

    /// The name the client asked for, in lower case; empty when it named none.
    #[must_use]
    pub fn name(&self) -> &str {
        self.name.as_deref().unwrap_or_default()
    }
}

/// TLS with the clients of a listener.
#[derive(Clone)]
pub struct Inbound {
    config: Arc<ServerConfig>,
    certificates: Arc<Certificates>,
    asks_clients: bool,
}

impl Inbound {
    pub(super) const fn new(config: Arc<ServerConfig>, certificates: Arc<Certificates>, asks_clients: bool) -> Self {
        Self { config, certificates, asks_clients }
    }

    /// What secures every connection.
    #[must_use]
    pub const fn config(&self) -> &Arc<ServerConfig> {
        &self.config
    }

    /// Are clients asked for a certificate?
    #[must_use]
    pub const fn asks_clients(&self) -> bool {
        self.asks_clients
    }

    /// May a connection of such a `greeting` carry requests for `host`, in lower case? It may not where its certificate is
    /// not for that host, and another one is (RFC 9110 section 7.4): with a new connection the client gets that one. For a
    /// host that none is for there is nothing better to be had.
    #[must_use]
    pub fn speaks_for(&self, host: &str, greeting: &Greeting) -> bool {
        if !self.makes_a_difference() {
            return true;
        }
        let Some(rightful) = self.certificates.rightful(host) else { return true };
        Arc::ptr_eq(&self.certificates.all[rightful], &greeting.identity) || is_for(&greeting.identity, host)
    }

    fn makes_a_difference(&self) -> bool {
        self.certificates.all.len() > 1
    }
}

/// Is the certificate for this host, whichever others are too?
fn is_for(identity: &Identity, host: &str) -> bool {
    let parent = host.split_once('.').map(|(_, parent)| parent);
    identity.names().iter().any(|name| match name.strip_prefix("*.") {
        Some(star) => parent == Some(star),
        None => name == host,
    })
}
