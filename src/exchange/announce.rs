//! The words ahead of everything on a connection to an endpoint that is told whom it is for (PROXY protocol).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::held::Exchange;
use crate::net::{Buffer, Env, ProxyParties, Stream, encode_proxy_v1, encode_proxy_v2};
use crate::snapshot::{Cluster, ProxyVersion};

impl<E: Env> Exchange<'_, E> {
    /// The header that a connection to this cluster begins with, if it has one.
    pub(super) fn announcement(&self, cluster: &Cluster) -> Option<Buffer> {
        let version = cluster.proxy_protocol?;
        let mut words = self.shard.buffers.lend();
        let encode = match version {
            ProxyVersion::V1 => encode_proxy_v1,
            ProxyVersion::V2 => encode_proxy_v2,
        };
        encode(words.sink(), Some(self.parties()));
        Some(words)
    }

    /// The client as the log has it, and the address that it, or the proxy in front of us, came to.
    fn parties(&self) -> ProxyParties {
        let ip = self.client_ip();
        // A proxy that tells its client's address in a field tells no port.
        let port = if ip == self.peer.ip().to_canonical() { self.peer.port() } else { 0 };
        let unknown = match ip {
            IpAddr::V4(_) => IpAddr::from(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => IpAddr::from(Ipv6Addr::UNSPECIFIED),
        };
        let gateway = self.connection.stream.local().unwrap_or_else(|| SocketAddr::new(unknown, 0));
        ProxyParties { client: SocketAddr::new(ip, port), gateway }
    }
}
