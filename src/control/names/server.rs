//! One name server, asked over UDP, and over TCP when the answer did not fit.

use std::net::SocketAddr;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RecordType};
use tokio::time::timeout;

use super::answer::{Family, Nothing, family_of};

/// One name server; sockets are opened when it is asked.
///
/// It is one resolver of the library for itself: a pool of them would give up at the first server that refuses, and
/// forget the order in which the servers were written.
pub(super) struct Server {
    address: SocketAddr,
    patience: Duration,
    extended: TokioResolver,
    plain: TokioResolver,
}

/// Whether a question announces room for long answers (EDNS, RFC 6891), which a few servers and middleboxes refuse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// With EDNS.
    Extended,
    /// As in RFC 1035.
    Plain,
}

impl Server {
    /// The server at `address`, which may take `patience` for each answer.
    ///
    /// # Errors
    /// What the library says against it.
    pub(super) fn new(address: SocketAddr, patience: Duration) -> Result<Self, String> {
        let resolver = |dialect| resolver(address, patience, dialect).map_err(|error| format!("{address}: {error}"));
        Ok(Self { address, patience, extended: resolver(Dialect::Extended)?, plain: resolver(Dialect::Plain)? })
    }

    /// Asks once for the `kind` (`A` or `AAAA`) of `name`, an absolute name.
    pub(super) async fn ask(&self, name: &Name, kind: RecordType, dialect: Dialect) -> Family {
        let resolver = match dialect {
            Dialect::Extended => &self.extended,
            Dialect::Plain => &self.plain,
        };
        // The library waits once for each of its steps: UDP, the TCP connection, the answer over TCP.
        match timeout(self.patience, resolver.lookup(name.clone(), kind)).await {
            Ok(Ok(lookup)) => family_of(name, kind, lookup.answers()),
            Ok(Err(error)) => self.family_of_error(&error),
            Err(_) => Family::Unknown(self.silence()),
        }
    }

    fn family_of_error(&self, error: &NetError) -> Family {
        if let NetError::Dns(DnsError::NoRecordsFound(none)) = error {
            if none.response_code == ResponseCode::NXDomain {
                return Family::Nothing(Nothing::NoName);
            }
            if none.response_code == ResponseCode::NoError {
                return Family::Nothing(Nothing::NoAddress);
            }
        }
        if let NetError::Dns(DnsError::ResponseCode(code)) = error {
            return Family::Unknown(format!("{} answers: {code}", self.address));
        }
        if matches!(error, NetError::Timeout) {
            return Family::Unknown(self.silence());
        }
        Family::Unknown(format!("{}: {error}", self.address))
    }

    fn silence(&self) -> String {
        format!("{} gives no answer within {:?}", self.address, self.patience)
    }
}

fn resolver(address: SocketAddr, patience: Duration, dialect: Dialect) -> Result<TokioResolver, NetError> {
    let mut connections = vec![ConnectionConfig::udp(), ConnectionConfig::tcp()];
    for connection in &mut connections {
        connection.port = address.port();
    }
    let server = NameServerConfig::new(address.ip(), true, connections);
    let config = ResolverConfig::from_name_servers(vec![server]);
    let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
    let options = builder.options_mut();
    options.timeout = patience;
    // Tries are counted by whoever asks, over all servers.
    options.attempts = 0;
    // When to ask again is decided by our own bounds, so an answer of the past is of no use.
    options.cache_size = 0;
    // The file is looked at before any server is asked.
    options.use_hosts_file = ResolveHosts::Never;
    options.edns0 = dialect == Dialect::Extended;
    builder.build()
}
