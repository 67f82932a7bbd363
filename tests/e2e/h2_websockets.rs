//! RFC 8441: tunnels on streams of HTTP/2 to endpoints of HTTP/1.1; http.md 74 and F44.

use super::endpoint::{Accepted, Endpoint};
use super::gateway::Gateway;
use super::h2_wire::{
    CANCEL, DATA, END_HEADERS, END_STREAM, ENDS, Fate, H2Wire, HEADERS, RESET, SETTINGS, block, frame_of, get, reset,
    settings, status_of, window,
};
use super::plan::{Io, Plan};
use super::wait::until_true;
use super::websocket::accept_of;
use super::wire::Wire;

/// The fields of an extended CONNECT.
fn connect_to(path: &str, protocol: &str) -> Vec<u8> {
    block(&[
        (":method", "CONNECT"),
        (":protocol", protocol),
        (":scheme", "http"),
        (":path", path),
        (":authority", "a.example"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-protocol", "chat"),
    ])
}

/// A gateway before one endpoint.
fn one(io: Io, plan: impl FnOnce(Plan) -> Plan) -> (Endpoint, Gateway) {
    let endpoint = Endpoint::listens();
    let gateway = plan(Plan::to(io, &[endpoint.address()]).speaks_h2()).start();
    (endpoint, gateway)
}

/// Asks for a WebSocket on a stream; the endpoint has seen the offer, and this is the challenge.
fn asks(client: &mut H2Wire, stream: u32, endpoint: &Endpoint) -> (Accepted, String) {
    client.sends(frame_of(HEADERS, END_HEADERS, stream, &connect_to("/chat", "websocket")));
    let mut accepted = endpoint.accepts();
    let seen = accepted.expects("GET /chat ");
    assert_eq!((seen.field("upgrade"), seen.field("connection")), (Some("websocket"), Some("Upgrade")), "{seen}");
    assert_eq!(seen.field("sec-websocket-version"), Some("13"));
    let key = seen.field("sec-websocket-key").expect("a challenge").to_owned();
    (accepted, key)
}

/// The switch that answers a challenge.
fn switch(key: &str) -> String {
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: {}\r\nSec-WebSocket-Protocol: chat\r\n\r\n",
        accept_of(key)
    )
}

/// A stream and an endpoint with a tunnel between them.
fn switched(client: &mut H2Wire, stream: u32, endpoint: &Endpoint) -> Accepted {
    let (mut accepted, key) = asks(client, stream, endpoint);
    accepted.replies(switch(&key));
    assert_eq!(client.fate_of(stream), Fate::Status(200));
    accepted
}

/// RFC 8441 section 3: the setting says that it may be asked for.
fn the_setting_is_sent(io: Io) {
    let (_endpoint, gateway) = one(io, |plan| plan);
    let mut client = H2Wire::bare(Wire::to(gateway.address()));
    client.sends(settings(&[]));
    let sent = client.expects(SETTINGS).payload;
    assert!(sent.chunks(6).any(|setting| setting == [0, 8, 0, 0, 0, 1]), "{sent:?}");
    drop(client);
    gateway.stop();
}

/// Section 5: bytes pass both ways, each side ends for itself, and other streams go on beside it.
fn a_stream_becomes_a_tunnel(io: Io) {
    let (endpoint, gateway) = one(io, |plan| plan);
    let mut client = H2Wire::to(gateway.address());
    let (mut accepted, key) = asks(&mut client, 1, &endpoint);
    accepted.replies(switch(&key));
    let answer = client.expects(HEADERS);
    assert_eq!((status_of(&answer.payload), answer.ends()), (200, false));
    let (mut other, other_key) = asks(&mut client, 3, &endpoint);
    assert_ne!(key, other_key);
    other.replies(switch(&other_key));
    assert_eq!(client.fate_of(3), Fate::Status(200));
    for round in 0..3 {
        client.sends(frame_of(DATA, 0, 1, format!("up {round}").as_bytes()));
        assert_eq!(accepted.reads(4), format!("up {round}").into_bytes());
        accepted.sends(format!("down {round}"));
        let down = client.expects(DATA);
        assert_eq!((down.stream, down.payload), (1, format!("down {round}").into_bytes()));
    }
    assert_eq!((gateway.metric("tunnels_active"), gateway.metric("tunnels_total")), (2.0, 2.0));
    client.sends(frame_of(DATA, END_STREAM, 1, b""));
    accepted.sees_end();
    accepted.sends("after the end");
    let last = client.expects(DATA);
    assert_eq!(last.payload, b"after the end");
    accepted.closes();
    assert!(last.ends() || client.expects(DATA).ends());
    let line = gateway.log_of("/chat");
    assert_eq!((&line["status"], &line["reason"]), (&200.into(), &serde_json::Value::Null), "{line}");
    assert_eq!((&line["bytes_in"], &line["bytes_out"]), (&12.into(), &31.into()), "{line}");
    assert_eq!(line["protocol"], "HTTP/2");
    other.sends("still here");
    assert_eq!(client.expects(DATA).payload, b"still here");
    // The endpoint ends first.
    other.closes();
    assert!(client.expects(DATA).ends());
    client.sends(frame_of(DATA, END_STREAM, 3, b""));
    gateway.waits_for("tunnels_active", 0.0);
    gateway.waits_for("http2_streams_active", 0.0);
    drop(client);
    gateway.stop();
}

/// F44: what either side sends early waits for the switch, and none of it is lost.
fn early_bytes_are_delivered_behind_the_switch(io: Io) {
    let (endpoint, gateway) = one(io, |plan| plan);
    let mut client = H2Wire::to(gateway.address());
    let (mut accepted, key) = asks(&mut client, 1, &endpoint);
    client.sends(frame_of(DATA, 0, 1, b"early")).pings();
    assert!(accepted.is_silent(), "nothing follows the request before the switch");
    accepted.replies(format!("{}hello", switch(&key)));
    assert_eq!(client.fate_of(1), Fate::Status(200));
    assert_eq!(client.expects(DATA).payload, b"hello");
    assert_eq!(accepted.reads(5), b"early");
    drop((client, accepted));
    gateway.stop();
}

/// F44: what an endpoint said before it died waits for the window of the client's stream, and its end comes behind it.
fn last_words_wait_for_a_window(io: Io) {
    const INITIAL_WINDOW_SIZE: u16 = 4;
    let (endpoint, gateway) = one(io, |plan| plan);
    let mut client = H2Wire::to(gateway.address());
    client.sends(settings(&[(INITIAL_WINDOW_SIZE, 10)])).pings();
    let mut accepted = switched(&mut client, 1, &endpoint);
    let words = "last words".repeat(1_000);
    accepted.sends(&words);
    accepted.closes();
    assert_eq!(client.expects(DATA).payload, b"last words");
    client.pings().sends(window(1, 20_000));
    let mut heard = 10;
    while heard < words.len() {
        heard += client.expects(DATA).payload.len();
    }
    assert_eq!(heard, words.len());
    assert!(client.expects(DATA).ends(), "in order");
    drop(client);
    gateway.waits_for("tunnels_active", 0.0);
    gateway.stop();
}

/// Section 5: a reset of the stream is one of the connection, both ways.
fn a_reset_takes_the_other_side_down(io: Io) {
    let (endpoint, gateway) = one(io, |plan| plan);
    let mut client = H2Wire::to(gateway.address());
    let mut accepted = switched(&mut client, 1, &endpoint);
    client.sends(reset(1, CANCEL));
    accepted.sees_break();
    gateway.waits_for("tunnels_active", 0.0);
    let accepted = switched(&mut client, 3, &endpoint);
    accepted.resets();
    assert_eq!(client.expects(RESET).number(0), CANCEL);
    // The connection as a whole, too.
    let mut accepted = switched(&mut client, 5, &endpoint);
    drop(client);
    accepted.sees_break();
    gateway.waits_for("tunnels_active", 0.0);
    gateway.stop();
}

/// What is no switch never looks like one: section 4, RFC 9110 section 9.3.6.
fn what_is_no_switch_is_no_tunnel(io: Io) {
    let (endpoint, gateway) = one(io, |plan| {
        plan.route("name: none, match: { path: /none }, cluster: app, upgrades: []")
            .route("name: fixed, match: { path: /fixed }, respond: { status: 200, body: fixed }")
    });
    let mut client = H2Wire::to(gateway.address());
    let mut stream = 1;
    for (answer, status) in [
        (switch("other"), 502),
        (switch("other").replace("Sec-WebSocket-Accept", "X-Accept"), 502),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_owned(), 502),
        ("HTTP/1.1 204 No Content\r\n\r\n".to_owned(), 502),
        ("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno".to_owned(), 403),
        ("HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n".to_owned(), 302),
    ] {
        let (mut accepted, _) = asks(&mut client, stream, &endpoint);
        accepted.replies(&answer);
        accepted.closes();
        assert_eq!(client.fate_of(stream), Fate::Status(status), "{answer}");
        stream += 2;
    }
    for (path, protocol, fate) in [
        ("/none", "websocket", Fate::Status(405)),
        ("/fixed", "websocket", Fate::Status(405)),
        ("/chat", "connect-ip", Fate::Status(405)),
        ("/chat", "web socket", Fate::Status(400)),
        ("/chat", "", Fate::Status(400)),
    ] {
        client.sends(frame_of(HEADERS, END_HEADERS, stream, &connect_to(path, protocol)));
        assert_eq!(client.fate_of(stream), fate, "{path} {protocol}");
        stream += 2;
    }
    assert!(endpoint.is_alone(), "none of them was forwarded");
    assert!(gateway.metric("tunnels_total") < 1.0);
    client.sends(get(stream, "/fixed"));
    assert_eq!(client.fate_of(stream), Fate::Status(200), "the connection goes on");
    drop(client);
    gateway.stop();
}

/// A tunnel in which nothing moves is reset in time, and one in which something does is not.
fn a_tunnel_that_rests_too_long_is_reset(io: Io) {
    let (endpoint, gateway) = one(io, |plan| plan.timeouts("tunnel_idle: 2s"));
    let mut client = H2Wire::to(gateway.address());
    let mut accepted = switched(&mut client, 1, &endpoint);
    let began = ringgate::clock::now_ns();
    until_true("more than twice the bound in small steps", || {
        client.sends(frame_of(DATA, 0, 1, b"x"));
        accepted.reads(1);
        ringgate::clock::now_ns() - began > 5_000_000_000
    });
    assert_eq!(client.expects(RESET).number(0), CANCEL);
    accepted.sees_end();
    assert_eq!(gateway.log_of("/chat")["reason"], "tunnel_idle");
    drop((client, accepted));
    gateway.stop();
}

/// Flow control goes through: a client without room stops its endpoint, and loses nothing.
fn a_client_without_room_stops_the_endpoint(io: Io) {
    const BYTES: usize = 20_000_000;
    let (endpoint, gateway) = one(io, |plan| plan);
    let mut client = H2Wire::to(gateway.address());
    let mut accepted = switched(&mut client, 1, &endpoint);
    let before = gateway.process.resident_bytes();
    let sending = super::wait::thread("sender", move || {
        accepted.sends(vec![b'x'; BYTES]);
        accepted
    });
    let mut came = 0;
    while came < 65_535 {
        came += client.expects(DATA).payload.len();
    }
    client.pings();
    assert!(client.is_silent() && came == 65_535, "as much as there was room for: {came}");
    assert!(gateway.process.resident_bytes() < before + (8 << 20), "a tunnel buffers next to nothing");
    client.sends([window(0, 1 << 30), window(1, 1 << 30)].concat());
    while came < BYTES {
        came += client.expects(DATA).payload.len();
    }
    assert_eq!(came, BYTES);
    sending.join().expect("everything was sent").closes();
    assert!(client.expects(DATA).ends());
    drop(client);
    gateway.stop();
}

/// http.md 74: CONNECT with a protocol and without what goes with it is malformed.
fn an_extended_connect_is_whole(io: Io) {
    let (endpoint, gateway) = one(io, |plan| plan);
    let mut client = H2Wire::to(gateway.address());
    let (method, protocol) = ((":method", "CONNECT"), (":protocol", "websocket"));
    let (scheme, path, authority) = ((":scheme", "http"), (":path", "/chat"), (":authority", "a.example"));
    for (number, fields) in [
        &[method, protocol, scheme, authority][..],
        &[method, protocol, path, authority],
        &[(":method", "GET"), protocol, scheme, path, authority],
    ]
    .into_iter()
    .enumerate()
    {
        let stream = u32::try_from(2 * number + 1).expect("few");
        client.sends(frame_of(HEADERS, ENDS, stream, &block(fields)));
        assert_eq!(client.fate_of(stream), Fate::Reset(1), "{fields:?}");
    }
    assert!(endpoint.is_alone());
    drop(client);
    gateway.stop();
}

on_both_drivers![
    the_setting_is_sent,
    a_stream_becomes_a_tunnel,
    early_bytes_are_delivered_behind_the_switch,
    last_words_wait_for_a_window,
    a_reset_takes_the_other_side_down,
    what_is_no_switch_is_no_tunnel,
    a_tunnel_that_rests_too_long_is_reset,
    a_client_without_room_stops_the_endpoint,
    an_extended_connect_is_whole,
];
