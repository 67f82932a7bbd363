//! Which certificate of a listener is for whom.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

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
        self.choose(&hello).map(|identity| Arc::clone(identity.certified()))
    }
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificates").field("exact", &self.exact).field("wildcard", &self.wildcard).finish()
    }
}

/// TLS with the clients of a listener.
#[derive(Clone)]
pub struct Inbound {
    config: Arc<ServerConfig>,
    certificates: Arc<Certificates>,
    /// What everybody gets where there is only one.
    single: Shown,
    asks_clients: bool,
}

/// The certificate that one connection got, once it asked for it.
pub type Shown = Option<Arc<OnceLock<Arc<Identity>>>>;

impl Inbound {
    pub(super) fn new(config: Arc<ServerConfig>, certificates: Arc<Certificates>, asks_clients: bool) -> Self {
        let single = match certificates.all.as_slice() {
            [identity] => Some(Arc::new(OnceLock::from(Arc::clone(identity)))),
            _ => None,
        };
        Self { config, certificates, single, asks_clients }
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

    /// What secures a new connection, and which certificate it gets.
    #[must_use]
    pub fn of_connection(&self) -> (Arc<ServerConfig>, Shown) {
        // A reload may bring others, and this connection lives on.
        if let Some(single) = &self.single {
            return (Arc::clone(&self.config), Some(Arc::clone(single)));
        }
        let shown = Arc::new(OnceLock::new());
        let mut config = ServerConfig::clone(&self.config);
        config.cert_resolver = Arc::new(Watched(Arc::clone(&self.certificates), Arc::clone(&shown)));
        (Arc::new(config), Some(shown))
    }

    /// May a connection that got `shown` carry requests for `host`, in lower case? It may not where its certificate is not
    /// for that host, and another one is (RFC 9110 section 7.4): with a new connection the client gets that one. For a host
    /// that none is for there is nothing better to be had.
    #[must_use]
    pub fn speaks_for(&self, host: &str, shown: &Shown) -> bool {
        let (true, Some(shown)) = (self.makes_a_difference(), shown.as_ref().and_then(|shown| shown.get())) else {
            return true;
        };
        let Some(rightful) = self.certificates.rightful(host) else { return true };
        Arc::ptr_eq(&self.certificates.all[rightful], shown) || is_for(shown, host)
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

/// Remembers which certificate a connection got: its session does not tell.
#[derive(Debug)]
struct Watched(Arc<Certificates>, Arc<OnceLock<Arc<Identity>>>);

impl ResolvesServerCert for Watched {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let Self(certificates, shown) = self;
        let identity = certificates.choose(&hello)?;
        // A handshake begun anew (RFC 8446 section 4.1.4) asks for the same name.
        Some(Arc::clone(shown.get_or_init(|| Arc::clone(identity)).certified()))
    }
}
