//! RFC 8441 towards endpoints of HTTP/2: tunnels from clients of either protocol; F44.

use h2::Reason;
use h2::ext::Protocol;
use h2::server::Builder;

use super::client::Client;
use super::gateway::Gateway;
use super::h2_client::H2Client;
use super::h2_endpoint::{H2Accepted, H2Asked, H2Endpoint};
use super::plan::{Io, Plan};
use super::websocket::accept_of;

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// A gateway before an endpoint that takes extended CONNECT, or does not.
fn before(io: Io, takes: bool) -> (H2Endpoint, Gateway) {
    let mut builder = Builder::new();
    if takes {
        builder.enable_connect_protocol();
    }
    let endpoint = H2Endpoint::with(builder, None);
    let gateway =
        Plan::bare(io).speaks_h2().cluster_of("app", &endpoint.entry()).route("name: everything, cluster: app").start();
    (endpoint, gateway)
}

/// A client of HTTP/1.1 that offers to switch, with something behind the offer.
fn offers(gateway: &Gateway, early: &str) -> Client {
    let mut client = gateway.client();
    client.sends(format!(
        "GET /chat HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n{early}"
    ));
    client
}

/// The endpoint is asked for a tunnel.
fn is_asked(accepted: &H2Accepted) -> H2Asked {
    let asked = accepted.expects("CONNECT /chat");
    let request = asked.request();
    assert_eq!(request.extensions().get::<Protocol>().map(Protocol::as_str), Some("websocket"));
    assert_eq!((request.uri().scheme_str(), request.uri().host()), (Some("http"), Some("a.example")));
    for (name, value) in
        [("sec-websocket-version", "13"), ("sec-websocket-key", ""), ("upgrade", ""), ("connection", "")]
    {
        assert_eq!(asked.field(name), value, "{name}");
    }
    asked
}

/// Sections 4 and 5: bytes pass both ways, early ones too, each side ends for itself, and other streams go on beside it.
fn a_websocket_goes_by_an_extended_connect(io: Io) {
    let (endpoint, gateway) = before(io, true);
    let mut client = offers(&gateway, "early");
    let accepted = endpoint.accepts();
    let mut asked = is_asked(&accepted);
    asked.begins(200, &[("sec-websocket-protocol", "chat")], false);
    let switch = client.expects_head(101);
    assert_eq!((switch.field("upgrade"), switch.field("connection")), (Some("websocket"), Some("Upgrade")), "{switch}");
    assert_eq!(switch.field("sec-websocket-accept"), Some(&accept_of(KEY)[..]));
    assert_eq!(switch.field("sec-websocket-protocol"), Some("chat"));
    assert_eq!(asked.reads().as_deref(), Some(&b"early"[..]));
    let mut other = gateway.client();
    other.asks("/beside");
    accepted.expects("GET /beside").replies_with("it");
    assert_eq!(other.expects(200).text(), "it");
    for round in 0..3 {
        client.sends(format!("up {round}"));
        assert_eq!(asked.reads().as_deref(), Some(format!("up {round}").as_bytes()));
        asked.sends(format!("down {round}"), false);
        assert_eq!(client.reads(6), format!("down {round}").into_bytes());
    }
    assert_eq!(gateway.metric("tunnels_active"), 1.0);
    client.half_closes();
    assert_eq!(asked.reads_all(), b"");
    asked.sends("last", true);
    assert_eq!(client.reads_to_end().0, b"last");
    let line = gateway.log_of("/chat");
    assert_eq!((&line["status"], &line["upstream_protocol"]), (&101.into(), &"HTTP/2".into()), "{line}");
    assert_eq!((&line["bytes_in"], &line["bytes_out"]), (&17.into(), &22.into()), "{line}");
    gateway.waits_for("tunnels_active", 0.0);
    gateway.waits_for("http2_upstream_streams_active", 0.0);
    assert!(endpoint.is_alone());
    gateway.stop();
}

/// The same from a client of HTTP/2: the endpoint ends first, and a reset of either side is one of the other.
fn a_tunnel_goes_through_from_stream_to_stream(io: Io) {
    let (endpoint, gateway) = before(io, true);
    let mut front = H2Client::to(gateway.address());
    let mut stream = front.connects("/chat");
    let accepted = endpoint.accepts();
    let mut asked = is_asked(&accepted);
    asked.begins(200, &[], false);
    assert_eq!(stream.expects_head(200).field("sec-websocket-accept"), "");
    stream.sends("ping", false);
    assert_eq!(asked.reads().as_deref(), Some(&b"ping"[..]));
    asked.sends("pong", true);
    assert_eq!(stream.reads().as_deref(), Some(&b"pong"[..]));
    stream.sends("bye", true);
    assert_eq!(asked.reads_all(), b"bye");
    let mut cut = front.connects("/chat");
    let mut asked = is_asked(&accepted);
    asked.begins(200, &[], false);
    cut.expects_head(200);
    asked.resets(Reason::CANCEL);
    assert_eq!(cut.expects_reset(), Reason::CANCEL);
    let mut left = front.connects("/chat");
    let mut asked = is_asked(&accepted);
    asked.begins(200, &[], false);
    left.expects_head(200);
    left.resets(Reason::CANCEL);
    assert_eq!(asked.waits_for_reset(), Reason::CANCEL);
    gateway.waits_for("tunnels_active", 0.0);
    gateway.waits_for("http2_upstream_streams_active", 0.0);
    assert!(endpoint.is_alone());
    gateway.stop();
}

/// A refusal is an answer like any other.
fn a_refusal_is_relayed(io: Io) {
    let (endpoint, gateway) = before(io, true);
    let mut client = offers(&gateway, "");
    let accepted = endpoint.accepts();
    is_asked(&accepted).replies(403, &[("x-why", "no")], "not you");
    let answer = client.expects(403);
    assert_eq!((answer.text(), answer.field("x-why")), ("not you", Some("no")));
    let mut front = H2Client::to(gateway.address());
    let stream = front.connects("/chat");
    is_asked(&accepted).replies(404, &[], "none");
    assert_eq!(stream.expects(404).text(), "none");
    gateway.waits_for("http2_upstream_streams_active", 0.0);
    gateway.stop();
}

/// Section 3: an endpoint that does not say that it may be asked is not; it gets the request without the offer.
fn an_endpoint_that_takes_none_gets_a_plain_request(io: Io) {
    let (endpoint, gateway) = before(io, false);
    let mut client = offers(&gateway, "");
    let accepted = endpoint.accepts();
    let asked = accepted.expects("GET /chat");
    assert_eq!((asked.field("upgrade"), asked.field("connection")), ("", ""));
    asked.replies(426, &[], "by HTTP/1.1");
    assert_eq!(client.expects(426).text(), "by HTTP/1.1");
    // To a client of HTTP/2 every 2xx would be a tunnel.
    let mut front = H2Client::to(gateway.address());
    let stream = front.connects("/chat");
    // Its content would meet a reset: the head is enough.
    let mut page = accepted.expects("GET /chat");
    page.begins(200, &[], false);
    assert_eq!(stream.expects(502).reason(), "not_switched");
    gateway.stop();
}

on_both_drivers!(
    a_websocket_goes_by_an_extended_connect,
    a_tunnel_goes_through_from_stream_to_stream,
    a_refusal_is_relayed,
    an_endpoint_that_takes_none_gets_a_plain_request,
);
