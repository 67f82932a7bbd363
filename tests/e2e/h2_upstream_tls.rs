//! HTTP/2 to endpoints that speak TLS: requirement B6, and what is agreed on in the handshake.

use std::sync::Arc;

use h2::server::Builder;
use rustls::ServerConfig;

use super::endpoint::Endpoint;
use super::gateway::Gateway;
use super::h2_endpoint::H2Endpoint;
use super::h2_peer::H2Peer;
use super::origin::Origin;
use super::plan::{Io, Plan};
use super::site::{Site, VERSIONS, server_of};

/// A server for `a.example` that offers these protocols.
fn offering(site: &Site, protocols: &[&str]) -> ServerConfig {
    let mut config = server_of(&site.authority.certifies(&["a.example"]), &VERSIONS, None);
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    config
}

/// A gateway before one endpoint, to which `protocol` is spoken.
fn start(io: Io, site: Site, protocol: &str, address: std::net::SocketAddr) -> Gateway {
    let entries = format!(
        "protocol: {protocol}, tls: {{ ca: ca.crt, server_name: a.example }}, endpoints: [{{ url: 'https://{address}' }}]"
    );
    let plan = Plan::bare(io).cluster_as("app", &entries).route("name: everything, cluster: app");
    Gateway::start_in(site.folder, &plan.yaml())
}

fn http1(site: &Site, protocols: &[&str]) -> Origin {
    Origin::secured(offering(site, protocols), |_, request| {
        let text = &request.start;
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len()).into_bytes()
    })
}

/// Over TLS as without it, and the endpoint is told that it is.
fn http2_is_spoken_where_tls_agrees_on_it(io: Io) {
    for protocol in ["h2", "auto"] {
        let site = Site::new();
        let endpoint = H2Endpoint::with(Builder::new(), Some(offering(&site, &["h2", "http/1.1"])));
        let gateway = start(io, site, protocol, endpoint.address());
        let (mut client, mut other) = (gateway.client(), gateway.client());
        client.asks("/one");
        other.asks("/two");
        let accepted = endpoint.accepts();
        let asked = [accepted.expects_any(), accepted.expects_any()];
        assert!(asked.iter().all(|asked| asked.request().uri().scheme_str() == Some("https")));
        asked.into_iter().for_each(|asked| asked.replies_with("secret"));
        assert_eq!((client.expects(200).text(), other.expects(200).text()), ("secret", "secret"));
        assert!(endpoint.is_alone());
        gateway.stop();
    }
}

/// Whoever agrees on HTTP/1.1, or on nothing, is spoken to so, by as many connections as there are requests.
fn auto_speaks_http1_where_tls_agrees_on_it(io: Io) {
    for protocols in [&["http/1.1"][..], &[]] {
        let site = Site::new();
        let origin = http1(&site, protocols);
        let gateway = start(io, site, "auto", origin.address());
        let mut clients: Vec<_> = (0..5).map(|_| gateway.client()).collect();
        for _ in 0..2 {
            for client in &mut clients {
                client.asks("/x");
            }
            for client in &mut clients {
                assert_eq!(client.expects(200).text(), "GET /x HTTP/1.1");
            }
        }
        gateway.waits_for("http2_upstream_connections", 0.0);
        assert!(gateway.metric("upstream_reuses_total") >= 5.0);
        gateway.stop();
    }
}

/// Whoever agrees on something else later, as a server does that was upgraded, costs nobody an answer.
fn what_auto_agrees_on_may_change(io: Io) {
    let (site, endpoint) = (Site::new(), Endpoint::listens());
    let of = |protocol: &str| Arc::new(offering(&site, &[protocol]));
    let (old, new) = (of("http/1.1"), of("h2"));
    let gateway = start(io, site, "auto", endpoint.address());
    let mut client = gateway.client();
    client.asks("/old");
    let mut accepted = endpoint.accepts_secured(&old);
    accepted.expects("GET /old");
    accepted.replies("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 3\r\n\r\nold");
    assert_eq!(client.expects(200).text(), "old");
    client.sends("POST /new HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nok");
    // One connection finds out, the next one is to be shared.
    endpoint.accepts_secured(&new).sees_break();
    let mut peer = H2Peer::over(endpoint.accepts_secured(&new), &[]);
    let stream = peer.expects_request();
    peer.replies_with(stream, "new");
    assert_eq!(client.expects(200).text(), "new");
    let line = gateway.log_of("/new");
    assert_eq!((&line["attempts"], &line["upstream_protocol"]), (&1.into(), &"HTTP/2".into()), "{line}");
    client.asks("/more");
    let stream = peer.expects_request();
    peer.replies_with(stream, "more");
    assert_eq!(client.expects(200).text(), "more");
    assert_eq!(gateway.metric_sum("upstream_errors_total"), 0.0);
    assert!(endpoint.is_alone());
    gateway.stop();
}

/// B6: an endpoint that does not agree on what the configuration asks for is told as such.
fn an_endpoint_that_does_not_agree_is_told_so(io: Io) {
    for protocols in [&["http/1.1"][..], &[]] {
        let site = Site::new();
        let origin = http1(&site, protocols);
        let gateway = start(io, site, "h2", origin.address());
        let mut client = gateway.client();
        client.asks("/x");
        assert_eq!(client.expects(502).reason(), "upstream_not_h2", "{protocols:?}");
        gateway.stop();
    }
    // TLS where none is expected.
    let site = Site::new();
    let endpoint = H2Endpoint::with(Builder::new(), Some(offering(&site, &["h2"])));
    let plan = Plan::bare(io).cluster_of("app", &endpoint.entry()).route("name: everything, cluster: app");
    let gateway = plan.start();
    let mut client = gateway.client();
    client.asks("/x");
    assert_eq!(client.expects(502).reason(), "upstream_speaks_tls");
    gateway.stop();
}

on_both_drivers!(
    http2_is_spoken_where_tls_agrees_on_it,
    auto_speaks_http1_where_tls_agrees_on_it,
    what_auto_agrees_on_may_change,
    an_endpoint_that_does_not_agree_is_told_so,
);
