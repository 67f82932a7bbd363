//! Kinds of values that name a place on a network: listening addresses, networks, endpoint URLs.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use ipnet::IpNet;

use super::leaf::{Kind, Refusal};
use super::model::Scheme;

/// Reads `IP`, `[IP]`, `localhost` or nothing (every address of the machine) with an optional port.
pub(crate) fn ip_and_port(text: &str) -> Option<(IpAddr, Option<u16>)> {
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Some((ip, None));
    }
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            (IpAddr::V6(host.parse().ok()?), port)
        }
        None => {
            let end = text.rfind(':').unwrap_or(text.len());
            let (host, port) = text.split_at(end);
            let ip = match host {
                "" => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
                "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
                host => IpAddr::V4(host.parse().ok()?),
            };
            (ip, port)
        }
    };
    match port.strip_prefix(':') {
        Some(digits) => Some((host, Some(port_number(digits)?))),
        None => port.is_empty().then_some((host, None)),
    }
}

/// Reads a port: `parse` alone would also take a sign.
pub(super) fn port_number(digits: &str) -> Option<u16> {
    if digits.starts_with('+') { None } else { digits.parse().ok() }
}

/// An address to listen on: `:8080`, `127.0.0.1:8080`, `[::1]:8080`.
pub(super) struct Listen;

impl Kind for Listen {
    type Out = SocketAddr;
    const EXPECTED: &'static str = "an address with a port such as `:8080`, `127.0.0.1:8080` or `[::1]:8080`";
    const PATTERN: Option<&'static str> = Some(".*:[0-9]+");

    fn text(text: &str) -> Result<SocketAddr, Refusal> {
        match ip_and_port(text) {
            Some((ip, Some(port))) => Ok(SocketAddr::new(ip, port)),
            Some((IpAddr::V6(ip), None)) => Err(Refusal::expected::<Self>().hint(format!("add a port: `[{ip}]:8080`"))),
            Some((IpAddr::V4(ip), None)) => Err(Refusal::expected::<Self>().hint(format!("add a port: `{ip}:8080`"))),
            None => Err(Refusal::expected::<Self>().hint("names are not resolved here, and a port is at most 65535")),
        }
    }

    fn number(number: u64) -> Result<SocketAddr, Refusal> {
        Err(Refusal::expected::<Self>().hint(format!("did you mean `:{number}`?")))
    }
}

/// Where the admin endpoint listens, as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum AdminAddress {
    Off,
    /// A path that may be relative to the file.
    Unix(String),
    /// Without a port the default applies.
    Tcp(IpAddr, Option<u16>),
}

/// `127.0.0.1:9090`, `127.0.0.1`, `unix:/run/ringgate.sock` or `off`.
pub(super) struct AdminListen;

impl Kind for AdminListen {
    type Out = AdminAddress;
    const EXPECTED: &'static str = "an address such as `127.0.0.1:9090`, `unix:/path` or `off`";
    const TYPES: &'static [&'static str] = &["string", "boolean"];

    fn text(text: &str) -> Result<AdminAddress, Refusal> {
        if text == "off" {
            return Ok(AdminAddress::Off);
        }
        if let Some(path) = text.strip_prefix("unix:") {
            // `sun_path` holds 108 bytes with its final NUL (unix(7)).
            return match path.len() {
                1..=107 if !path.contains('\0') => Ok(AdminAddress::Unix(path.to_owned())),
                _ => Err(Refusal::new("expected a socket path of 1 to 107 bytes after `unix:`")),
            };
        }
        let Some((ip, port)) = ip_and_port(text) else {
            return Err(Refusal::expected::<Self>());
        };
        Ok(AdminAddress::Tcp(ip, port))
    }

    fn number(number: u64) -> Result<AdminAddress, Refusal> {
        Err(Refusal::expected::<Self>().hint(format!("did you mean `127.0.0.1:{number}`?")))
    }

    fn switch(on: bool) -> Result<AdminAddress, Refusal> {
        if on { Err(Refusal::expected::<Self>()) } else { Ok(AdminAddress::Off) }
    }
}

/// A network in CIDR notation, or one address.
pub(super) struct Network;

impl Kind for Network {
    type Out = IpNet;
    const EXPECTED: &'static str = "a network such as `10.0.0.0/8` or `fd00::/8`, or one address";

    fn text(text: &str) -> Result<IpNet, Refusal> {
        if let Ok(ip) = text.parse::<IpAddr>() {
            return Ok(IpNet::from(ip));
        }
        let Some(network) = network(text) else {
            return Err(Refusal::expected::<Self>());
        };
        if network.addr() == network.network() {
            return Ok(network);
        }
        Err(Refusal::new("the network has bits set behind its prefix")
            .hint(format!("did you mean `{}`?", network.trunc())))
    }
}

/// The address is read by the standard library: ipnet takes `010.0.0.0` for one, which others read as octal.
fn network(text: &str) -> Option<IpNet> {
    let (address, prefix) = text.split_once('/')?;
    let is_number = prefix.bytes().all(|digit| digit.is_ascii_digit());
    IpNet::new(address.parse().ok()?, prefix.parse().ok().filter(|_| is_number)?).ok()
}

/// A name server: `127.0.0.1`, `127.0.0.1:5353`, `[::1]:53`; its port is 53 unless given (RFC 1035 section 4.2).
pub(super) struct NameServer;

impl Kind for NameServer {
    type Out = SocketAddr;
    const EXPECTED: &'static str = "the address of a name server such as `127.0.0.1`, `127.0.0.1:5353` or `[::1]:53`";

    fn text(text: &str) -> Result<SocketAddr, Refusal> {
        match ip_and_port(text) {
            Some((_, Some(0))) => Err(Refusal::new("expected a port from 1 to 65535")),
            // No host at all stands for every address too, and nobody is asked there.
            Some((ip, _)) if ip.is_unspecified() => Err(Refusal::expected::<Self>()),
            Some((ip, port)) => Ok(SocketAddr::new(ip, port.unwrap_or(53))),
            None => Err(Refusal::expected::<Self>().hint("names are not resolved here, and a port is at most 65535")),
        }
    }
}

/// The value of a `Host` field: a name or an address, with or without a port (RFC 9110 section 7.2).
pub(super) struct HostField;

impl Kind for HostField {
    type Out = String;
    const EXPECTED: &'static str = "a host such as `orders.internal` or `orders.internal:8080`";

    fn text(text: &str) -> Result<String, Refusal> {
        match host_and_port(text, Scheme::Http) {
            Ok(_) => Ok(text.to_ascii_lowercase()),
            Err(_) => Err(Refusal::expected::<Self>()),
        }
    }
}

/// The name that a certificate must have: a host name or an IP address.
pub(super) struct ServerName;

impl Kind for ServerName {
    type Out = String;
    const EXPECTED: &'static str = "a host name such as `orders.internal`, or an IP address";

    fn text(text: &str) -> Result<String, Refusal> {
        if let Ok(ip) = text.parse::<IpAddr>() {
            return Ok(ip.to_string());
        }
        if is_host_name(text) { Ok(text.to_ascii_lowercase()) } else { Err(Refusal::expected::<Self>()) }
    }
}

/// A scheme, a host and a TCP port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Origin {
    /// Whether it is spoken to by TLS.
    pub(super) scheme: Scheme,
    /// A name in lower case, or an IP address; an IPv6 address is without brackets.
    pub(super) host: String,
    /// Never 0.
    pub(super) port: u16,
}

/// The URL of an endpoint: `http://host:port`, `https://host:port` or `h2c://host:port`, nothing behind it.
pub(super) struct EndpointUrl;

impl Kind for EndpointUrl {
    type Out = Origin;
    const EXPECTED: &'static str =
        "a URL such as `http://10.0.0.7:3000`, `https://orders.internal` or `h2c://10.0.0.7:50051`";
    const PATTERN: Option<&'static str> = Some("(https?|h2c)://.+");

    fn text(text: &str) -> Result<Origin, Refusal> {
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(Refusal::expected::<Self>().hint(format!("did you mean `http://{text}`?")));
        };
        let scheme = match scheme {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            "h2c" => Scheme::H2c,
            _ => return Err(Refusal::expected::<Self>()),
        };
        // RFC 9110 section 4.2.3: an empty path and `/` are the same.
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.contains('@') {
            return Err(Refusal::new("an endpoint URL carries no user name or password"));
        }
        if let Some(at) = authority.find(['/', '?', '#']) {
            let refusal = Refusal::new("an endpoint URL has no path, query or fragment");
            let near = &text[..text.len() - rest.len() + at];
            return Err(
                refusal.hint(format!("write `{near}` here and the path as `rewrite: {{ prefix: ... }}` of the route"))
            );
        }
        host_and_port(authority, scheme)
    }
}

/// The origin of an authority, without a path behind it.
pub(super) fn origin_of(authority: &str, scheme: Scheme) -> Result<Origin, Refusal> {
    host_and_port(authority, scheme)
}

/// Reads `host`, `host:port` or `[ipv6]:port`; without a port it is the scheme's own.
fn host_and_port(authority: &str, scheme: Scheme) -> Result<Origin, Refusal> {
    let default = Some(scheme.port());
    if let Some((IpAddr::V6(ip), port)) = ip_and_port(authority).filter(|_| authority.starts_with('[')) {
        return with_port(scheme, ip.to_string(), port.or(default));
    }
    let (host, port) = match authority.split_once(':') {
        Some((_, port)) if port.contains(':') => {
            return Err(
                Refusal::expected::<EndpointUrl>().hint("an IPv6 address stands in brackets: `http://[::1]:3000`")
            );
        }
        Some((host, port)) => (host, port_number(port)),
        None => (authority, default),
    };
    if !is_host_name(host) {
        return Err(Refusal::new("the host of the URL is neither a name nor an IP address"));
    }
    with_port(scheme, host.to_ascii_lowercase(), port)
}

fn with_port(scheme: Scheme, host: String, port: Option<u16>) -> Result<Origin, Refusal> {
    match port {
        Some(port) if port > 0 => Ok(Origin { scheme, host, port }),
        _ => Err(Refusal::new("expected a port from 1 to 65535")),
    }
}

/// Whether this is a host name (labels of letters, digits, `-` and `_`) or an IPv4 address.
pub(super) fn is_host_name(text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    if text.len() > 253 || !text.split('.').all(label) {
        return false;
    }
    // A last label of digits only is an IPv4 address or nothing (RFC 1123 section 2.1).
    let last = text.rsplit('.').next().unwrap_or(text);
    !last.bytes().all(|byte| byte.is_ascii_digit()) || text.parse::<Ipv4Addr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_url(url: &str) -> Option<(Scheme, String, u16)> {
        EndpointUrl::text(url).ok().map(|endpoint| (endpoint.scheme, endpoint.host, endpoint.port))
    }

    #[test]
    fn a_listening_address_may_leave_the_host_out_but_not_the_port() {
        assert_eq!(Listen::text(":8080").ok(), "0.0.0.0:8080".parse().ok());
        assert_eq!(Listen::text("127.0.0.1:0").ok(), "127.0.0.1:0".parse().ok());
        assert_eq!(Listen::text("[::1]:80").ok(), "[::1]:80".parse().ok());
        assert_eq!(Listen::text("localhost:80").ok(), "127.0.0.1:80".parse().ok());
        for bad in ["", "8080", "127.0.0.1", "::1", "[::1]", "host:80", ":65536", ":-1", ":+1", ": 80", "[::1]80", ":"]
        {
            assert!(Listen::text(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_admin_endpoint_has_an_address_a_socket_or_none() {
        assert_eq!(AdminListen::text("off"), Ok(AdminAddress::Off));
        assert_eq!(AdminListen::switch(false), Ok(AdminAddress::Off));
        assert_eq!(AdminListen::text("unix:/run/a.sock"), Ok(AdminAddress::Unix("/run/a.sock".to_owned())));
        assert_eq!(AdminListen::text("127.0.0.1"), Ok(AdminAddress::Tcp(IpAddr::V4(Ipv4Addr::LOCALHOST), None)));
        assert_eq!(
            AdminListen::text("127.8.8.8:1"),
            Ok(AdminAddress::Tcp(IpAddr::V4(Ipv4Addr::new(127, 8, 8, 8)), Some(1)))
        );
        for far in ["[::1]:9090", "0.0.0.0:9090", "10.0.0.1:9090", "[::]:9090", ":9090"] {
            assert!(AdminListen::text(far).is_ok(), "{far}");
        }
        for bad in ["unix:", "on", "9090"] {
            assert!(AdminListen::text(bad).is_err(), "{bad}");
        }
        assert!(AdminListen::text(&format!("unix:/{}", "x".repeat(107))).is_err());
    }

    #[test]
    fn a_network_is_exact() {
        assert!(Network::text("10.0.0.0/8").is_ok());
        assert_eq!(Network::text("192.0.2.7").map(|network| network.to_string()), Ok("192.0.2.7/32".to_owned()));
        assert!(Network::text("fd00::/8").is_ok());
        let refusal = Network::text("10.1.0.0/8").err().and_then(|refusal| refusal.hint);
        assert_eq!(refusal.as_deref(), Some("did you mean `10.0.0.0/8`?"));
        for refused in ["10.0.0.0/33", "010.0.0.0/8", "10.0.00.0/8", "10.0.0.0/+8", "10.0.0.0/", "/8"] {
            assert!(Network::text(refused).is_err(), "{refused}");
        }
        assert!(Network::text("ten").is_err());
    }

    #[test]
    fn a_name_server_is_an_address_and_listens_on_port_53() {
        let address = |text| NameServer::text(text).ok().map(|address| address.to_string());
        assert_eq!(address("127.0.0.1").as_deref(), Some("127.0.0.1:53"));
        assert_eq!(address("127.0.0.1:5353").as_deref(), Some("127.0.0.1:5353"));
        assert_eq!(address("[::1]:53").as_deref(), Some("[::1]:53"));
        assert_eq!(address("::1").as_deref(), Some("[::1]:53"));
        for bad in ["", ":53", "0.0.0.0", "[::]:53", "127.0.0.1:0", "127.0.0.1:", "127.0.0.1:65536", "ns.internal"] {
            assert!(NameServer::text(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn hosts_of_probes_are_names_or_addresses() {
        assert_eq!(HostField::text("Orders.internal:80"), Ok("orders.internal:80".to_owned()));
        assert_eq!(HostField::text("[::1]:80"), Ok("[::1]:80".to_owned()));
        assert_eq!(ServerName::text("Orders.internal"), Ok("orders.internal".to_owned()));
        assert_eq!(ServerName::text("::1"), Ok("::1".to_owned()));
        for bad in ["", "a b", "http://a", "a:0", "a:x", "a/b", "::1:80", "a@b"] {
            assert!(HostField::text(bad).is_err(), "{bad}");
            assert!(ServerName::text(bad).is_err() || bad == "::1:80", "{bad}");
        }
    }

    #[test]
    fn an_endpoint_url_is_a_scheme_a_host_and_a_port() {
        let origin = |scheme, host: &str, port| Some((scheme, host.to_owned(), port));
        assert_eq!(of_url("http://10.0.0.7:3000"), origin(Scheme::Http, "10.0.0.7", 3000));
        assert_eq!(of_url("http://Orders.Internal/"), origin(Scheme::Http, "orders.internal", 80));
        assert_eq!(of_url("http://[::1]:81"), origin(Scheme::Http, "::1", 81));
        assert_eq!(of_url("http://[::1]"), origin(Scheme::Http, "::1", 80));
        assert_eq!(of_url("https://10.0.0.7:3000"), origin(Scheme::Https, "10.0.0.7", 3000));
        assert_eq!(of_url("https://Orders.Internal/"), origin(Scheme::Https, "orders.internal", 443));
        assert_eq!(of_url("https://[::1]"), origin(Scheme::Https, "::1", 443));
        for bad in [
            "",
            "http://",
            "http:///",
            "host:80",
            "http://host:0",
            "http://host:",
            "http://host:99999",
            "http://::1:80",
            "http://a b",
            "http://u:p@host",
            "http://host/path",
            "http://host?q",
            "http://host#f",
            "ftp://host",
            "http://1.2.3.4.5",
            "http://300.1.1.1",
            "http://a..b",
            "http://[::1",
            "http://[x]:1",
            "http://host//",
        ] {
            assert!(EndpointUrl::text(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn http2_without_tls_has_a_scheme_of_its_own() {
        assert_eq!(of_url("h2c://10.0.0.7:50051"), Some((Scheme::H2c, "10.0.0.7".to_owned(), 50051)));
        assert_eq!(of_url("h2c://orders.internal"), Some((Scheme::H2c, "orders.internal".to_owned(), 80)));
        assert_eq!(of_url("h2://orders.internal"), None);
    }

    #[test]
    fn a_hint_about_a_path_keeps_the_scheme() {
        let refusal = EndpointUrl::text("https://host:8443/api").expect_err("no path here");
        assert!(refusal.hint.is_some_and(|hint| hint.starts_with("write `https://host:8443` here")));
    }
}
