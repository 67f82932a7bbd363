//! Who is probed, and by which names.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::cluster::EndpointId;
use crate::config::{ActiveHealth, Config, ProbeKind, UpstreamProtocol};
use crate::control::sides::Sides;
use crate::snapshot::{self, ProxyVersion, Snapshot};

/// An endpoint and how it is probed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::control) struct Target {
    /// Its identity.
    pub(in crate::control) id: EndpointId,
    /// Name of its cluster.
    pub(in crate::control) cluster: Arc<str>,
    /// Where it serves; it is probed at [`Target::probed`].
    pub(in crate::control) address: SocketAddr,
    /// Its own name as a `Host` field gives it.
    pub(in crate::control) authority: String,
    /// How it is probed.
    pub(in crate::control) health: ActiveHealth,
    /// The header that connections to it begin with; those of probes speak for the gateway itself.
    pub(in crate::control) proxy_protocol: Option<ProxyVersion>,
    /// What requests speak at the port that is probed; HTTP/1.1 at one of its own.
    pub(in crate::control) protocol: UpstreamProtocol,
    /// Do they speak TLS there?
    pub(in crate::control) speaks_tls: bool,
}

impl Target {
    /// The address that is probed: its own, or the port of the probe at its own host.
    pub(in crate::control) fn probed(&self) -> SocketAddr {
        let mut address = self.address;
        address.set_port(self.health.port.unwrap_or(address.port()));
        address
    }

    /// Is it probed over TLS? `https` asks for it, and gRPC has it where requests have.
    pub(super) const fn is_secure(&self) -> bool {
        match self.health.kind {
            ProbeKind::Https => true,
            ProbeKind::Grpc => self.speaks_tls,
            ProbeKind::Tcp | ProbeKind::Http => false,
        }
    }

    /// What probes speak: what requests speak, as far as that can be without what secures them.
    pub(super) const fn spoken(&self) -> UpstreamProtocol {
        match (self.health.kind, self.protocol) {
            (ProbeKind::Grpc, _) => UpstreamProtocol::H2,
            (ProbeKind::Https, protocol) => protocol,
            (ProbeKind::Http, UpstreamProtocol::H2) if !self.speaks_tls => UpstreamProtocol::H2,
            (ProbeKind::Http | ProbeKind::Tcp, _) => UpstreamProtocol::Http1,
        }
    }

    /// The scheme of what is asked for.
    pub(super) const fn scheme(&self) -> &'static str {
        if self.is_secure() { "https" } else { "http" }
    }

    /// The `Host` of a request to it (RFC 9110 section 7.2): the configured one, or its own host and the probed port,
    /// which is left out when it is the scheme's default.
    pub(super) fn host_field(&self) -> String {
        if let Some(host) = &self.health.host {
            return host.clone();
        }
        let default = if self.is_secure() { 443 } else { 80 };
        let (host, port) = (host_of(&self.authority), self.probed().port());
        if port == default { host.to_owned() } else { format!("{host}:{port}") }
    }

    /// The name that its certificate must be for: a domain or an IP address, the latter without brackets.
    pub(super) fn server_name(&self) -> &str {
        let host = self.health.tls.server_name.as_deref().unwrap_or_else(|| host_of(&self.authority));
        host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
    }
}

/// An authority without its port; an IPv6 address keeps its brackets.
fn host_of(authority: &str) -> &str {
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    match authority.rsplit_once(':') {
        Some((host, port)) if is_port(port) && (host.ends_with(']') || !host.contains(':')) => host,
        Some(_) | None => authority,
    }
}

/// Every endpoint of `snapshot` whose cluster wants probes; `sides` is what the snapshot was compiled from. One that both have
/// is probed as the configuration in force wants it.
pub(in crate::control) fn targets(sides: Sides<'_>, snapshot: &Snapshot) -> Vec<Target> {
    let mut sides = sides.compiled(snapshot);
    let mut targets = sides.next().map(|(snapshot, config)| targets_of(config, snapshot)).unwrap_or_default();
    for (candidate, config) in sides {
        let taken: HashSet<EndpointId> =
            snapshot.clusters.iter().flat_map(|cluster| cluster.ids.iter().copied()).collect();
        targets.extend(targets_of(config, candidate).into_iter().filter(|target| !taken.contains(&target.id)));
    }
    targets
}

fn targets_of(config: &Config, snapshot: &Snapshot) -> Vec<Target> {
    let mut targets = Vec::new();
    for (written, compiled) in config.clusters.iter().zip(snapshot.clusters.iter()) {
        let Some(health) = &written.active else { continue };
        let cluster: Arc<str> = Arc::from(written.name.as_str());
        targets.extend(compiled.endpoints.iter().map(|endpoint| Target {
            id: endpoint.id,
            cluster: Arc::clone(&cluster),
            address: endpoint.address,
            authority: String::from_utf8_lossy(&endpoint.authority).into_owned(),
            health: health.clone(),
            // A port of its own is for probes, not for what the cluster's requests are sent to.
            proxy_protocol: if health.port.is_none() { compiled.proxy_protocol } else { None },
            protocol: match endpoint.protocol {
                _ if health.port.is_some() => UpstreamProtocol::Http1,
                snapshot::UpstreamProtocol::Http1 => UpstreamProtocol::Http1,
                snapshot::UpstreamProtocol::H2 => UpstreamProtocol::H2,
                snapshot::UpstreamProtocol::Auto => UpstreamProtocol::Auto,
            },
            speaks_tls: health.port.is_none() && endpoint.tls.is_some(),
        }));
    }
    targets
}

#[cfg(test)]
mod tests {
    use super::super::tests::target;
    use super::*;

    fn named(kind: ProbeKind, authority: &str, port: Option<u16>) -> Target {
        let mut target = target(kind, "127.0.0.1:8080".parse().unwrap());
        authority.clone_into(&mut target.authority);
        target.health.port = port;
        target
    }

    #[test]
    fn the_port_of_the_probe_replaces_the_endpoints_own() {
        assert_eq!(named(ProbeKind::Tcp, "a:8080", None).probed().port(), 8080);
        assert_eq!(named(ProbeKind::Tcp, "a:8080", Some(9)).probed(), "127.0.0.1:9".parse().unwrap());
    }

    #[test]
    fn the_host_field_names_the_port_unless_it_is_the_schemes_own() {
        for (kind, authority, port, expected) in [
            (ProbeKind::Http, "a:8080", None, "a:8080"),
            (ProbeKind::Http, "a:8080", Some(80), "a"),
            (ProbeKind::Http, "a", Some(443), "a:443"),
            (ProbeKind::Https, "a:8080", Some(443), "a"),
            (ProbeKind::Https, "a", Some(80), "a:80"),
            (ProbeKind::Grpc, "[::1]:8080", None, "[::1]:8080"),
            (ProbeKind::Http, "[::1]", Some(9), "[::1]:9"),
        ] {
            assert_eq!(named(kind, authority, port).host_field(), expected, "{authority} {port:?}");
        }
        let mut target = named(ProbeKind::Http, "a:8080", Some(9));
        target.health.host = Some("other".to_owned());
        assert_eq!(target.host_field(), "other");
    }

    #[test]
    fn the_certificate_is_for_the_host_without_port_and_brackets() {
        for (authority, expected) in
            [("a.example:443", "a.example"), ("a", "a"), ("[::1]:443", "::1"), ("[::1]", "::1")]
        {
            assert_eq!(named(ProbeKind::Https, authority, None).server_name(), expected);
        }
        let mut target = named(ProbeKind::Https, "a:443", None);
        target.health.tls.server_name = Some("b".to_owned());
        assert_eq!(target.server_name(), "b");
    }
}
