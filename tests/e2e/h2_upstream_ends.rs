//! How connections of HTTP/2 to endpoints end: by silence (PING), by GOAWAY, by the end of the gateway.

use std::net::TcpStream;

use super::client::Client;
use super::endpoint::Endpoint;
use super::gateway::Gateway;
use super::h2_client::H2Client;
use super::h2_endpoint::H2Endpoint;
use super::h2_peer::{H2Peer, goaway};
use super::h2_wire::{ACK, Fate, HEADERS, PING, RESET, frame_of};
use super::plan::{Io, Plan};
use super::wait::{now_ms, until_true};
use super::wire::End;

/// No error, and one of the endpoint's own (RFC 9113 section 7).
const NO_ERROR: u32 = 0;
const INTERNAL_ERROR: u32 = 2;

/// A gateway before an endpoint whose frames are a test's.
fn before(io: Io, keepalive: &str) -> (Endpoint, Gateway) {
    let endpoint = Endpoint::listens();
    let gateway = Plan::bare(io)
        .keepalive(keepalive)
        .cluster_of("app", &format!("{{ url: 'h2c://{}' }}", endpoint.address()))
        .route("name: everything, cluster: app")
        .start();
    (endpoint, gateway)
}

fn posts(client: &mut Client, path: &str) {
    client.sends(format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nok"));
}

/// F4: an endpoint that takes everything and says nothing is left in the time of the configuration, and its requests are
/// told so; those that may be sent again are, on a new connection.
fn an_endpoint_that_falls_silent_is_left(io: Io) {
    let (endpoint, gateway) = before(io, "ping_after: 1s, ping_timeout: 500ms");
    let (mut getter, mut poster) = (gateway.client(), gateway.client());
    getter.asks("/warm");
    let mut silent = H2Peer::accepts(&endpoint);
    let warm = silent.expects_request();
    silent.replies_with(warm, "warm");
    getter.expects(200);
    let began_ms = now_ms();
    getter.asks("/again");
    silent.expects_request();
    posts(&mut poster, "/once");
    silent.expects_request();
    assert_eq!((silent.expects(PING).flags, silent.wire().is_silent()), (0, true));
    let mut alive = H2Peer::accepts(&endpoint);
    let again = alive.expects_request();
    alive.replies_with(again, "alive");
    assert_eq!(getter.expects(200).text(), "alive");
    assert_eq!(poster.expects(504).reason(), "upstream_silent");
    let took_ms = now_ms() - began_ms;
    assert!((1_000..5_000).contains(&took_ms), "{took_ms} ms");
    assert!(silent.ends() == End::Closed && alive.is_silent(), "it is closed, and nothing is sent twice");
    gateway.waits_for("http2_upstream_connections", 1.0);
    gateway.waits_for("http2_upstream_streams_active", 0.0);
    gateway.waits_for("upstream_errors_total{reason=\"upstream_silent\"}", 2.0);
    gateway.stop();
}

/// Whoever answers is waited for, and asked less and less often; nobody is asked anything while nothing is open.
fn an_endpoint_that_gives_a_sign_of_life_is_waited_for(io: Io) {
    let (endpoint, gateway) = before(io, "ping_after: 100ms, ping_timeout: 10s");
    let (mut client, began_ms) = (gateway.client(), now_ms());
    client.asks("/slow");
    let mut peer = H2Peer::accepts(&endpoint);
    let slow = peer.expects_request();
    let mut asked_ms = Vec::new();
    for _ in 0..3 {
        let ping = peer.expects(PING);
        asked_ms.push(now_ms() - began_ms);
        peer.sends(frame_of(PING, ACK, 0, &ping.payload));
    }
    // After 100 ms, 200 ms and 400 ms of silence.
    assert!(asked_ms[0] >= 80 && asked_ms[1] >= 270 && asked_ms[2] >= 650, "{asked_ms:?}");
    peer.replies_with(slow, "at last");
    assert_eq!(client.expects(200).text(), "at last");
    // It rests for longer than it may be silent: the next word is the next request, and with it the question.
    until_true("a rest", || now_ms() - began_ms > asked_ms[2] + 400);
    assert!(peer.is_silent());
    client.asks("/next");
    let next = peer.expects_request();
    let ping = peer.expects(PING);
    peer.sends(frame_of(PING, ACK, 0, &ping.payload));
    peer.replies_with(next, "next");
    assert_eq!(client.expects(200).text(), "next");
    gateway.stop();
}

/// A question without an answer ends a connection at rest too, so that no request has to find out.
fn a_connection_at_rest_that_owes_an_answer_ends(io: Io) {
    let (endpoint, gateway) = before(io, "ping_after: 100ms, ping_timeout: 2s");
    let mut client = gateway.client();
    client.asks("/slow");
    let mut silent = H2Peer::accepts(&endpoint);
    silent.expects_request();
    silent.expects(PING);
    client.resets();
    silent.expects(RESET);
    gateway.waits_for("http2_upstream_streams_active", 0.0);
    assert_eq!(silent.ends(), End::Closed);
    gateway.waits_for("http2_upstream_connections", 0.0);
    let mut other = gateway.client();
    posts(&mut other, "/new");
    let mut alive = H2Peer::accepts(&endpoint);
    let new = alive.expects_request();
    alive.replies_with(new, "alive");
    assert_eq!(other.expects(200).text(), "alive");
    gateway.stop();
}

/// RFC 9113 section 6.8: streams above the last one are sent elsewhere whatever their method, the others finish, and the
/// connection takes no more.
fn streams_above_the_last_one_go_elsewhere(io: Io) {
    let (endpoint, gateway) = before(io, "");
    let mut clients: Vec<Client> = (0..3).map(|_| gateway.client()).collect();
    posts(&mut clients[0], "/kept");
    let mut old = H2Peer::accepts(&endpoint);
    let kept = old.expects_request();
    posts(&mut clients[1], "/moved");
    let moved = old.expects_request();
    assert!(moved > kept);
    old.sends(goaway(kept, NO_ERROR));
    let mut new = H2Peer::accepts(&endpoint);
    let again = new.expects_request();
    new.replies_with(again, "moved");
    assert_eq!(clients[1].expects(200).text(), "moved");
    clients[2].asks("/later");
    let later = new.expects_request();
    new.replies_with(later, "later");
    assert_eq!(clients[2].expects(200).text(), "later");
    assert!(old.reads_now().iter().all(|frame| frame.kind != HEADERS), "it takes no stream any more");
    old.replies_with(kept, "kept");
    assert_eq!(clients[0].expects(200).text(), "kept");
    assert_eq!(old.fate_of(0), Fate::GoAway(NO_ERROR));
    gateway.waits_for("upstream_retries_total{reason=\"refused\"}", 1.0);
    gateway.waits_for("upstream_errors_total{reason=\"upstream_stream_refused\"}", 1.0);
    gateway.waits_for("http2_upstream_connections", 1.0);
    gateway.stop();
}

/// The same with words of warning first: the highest identity, then the real one.
fn a_goodbye_in_two_steps_loses_nothing(io: Io) {
    let (endpoint, gateway) = before(io, "");
    let mut clients: Vec<Client> = (0..2).map(|_| gateway.client()).collect();
    posts(&mut clients[0], "/kept");
    let mut old = H2Peer::accepts(&endpoint);
    let kept = old.expects_request();
    posts(&mut clients[1], "/moved");
    old.expects_request();
    old.sends(goaway(0x7fff_ffff, NO_ERROR)).sends(goaway(kept, NO_ERROR));
    let mut new = H2Peer::accepts(&endpoint);
    let again = new.expects_request();
    new.replies_with(again, "moved");
    assert_eq!(clients[1].expects(200).text(), "moved");
    old.replies_with(kept, "kept");
    assert_eq!(clients[0].expects(200).text(), "kept");
    gateway.stop();
}

/// What an endpoint may have looked at before it failed is not sent again unless it may be, whatever its GOAWAY says.
fn streams_that_were_perhaps_looked_at_are_not_sent_twice(io: Io) {
    for code in [NO_ERROR, INTERNAL_ERROR] {
        let (endpoint, gateway) = before(io, "");
        let (mut first, mut second) = (gateway.client(), gateway.client());
        posts(&mut first, "/perhaps");
        let mut old = H2Peer::accepts(&endpoint);
        let perhaps = old.expects_request();
        posts(&mut second, "/surely-not");
        old.expects_request();
        old.sends(goaway(perhaps, code));
        let mut new = H2Peer::accepts(&endpoint);
        let again = new.expects_request();
        // The rest of the connection is gone with its answer.
        old.closes();
        let answer = first.expects(502);
        assert!(["upstream_eof", "upstream_reset"].contains(&answer.reason()), "{answer}");
        new.replies_with(again, "new");
        assert_eq!(second.expects(200).text(), "new");
        assert!(new.reads_now().iter().all(|frame| frame.kind != HEADERS) && endpoint.is_alone(), "{code}");
        gateway.stop();
    }
}

/// A connection that dies without a word was perhaps looked at as well.
fn a_connection_that_dies_with_many_streams_fails_each_once(io: Io) {
    let (endpoint, gateway) = before(io, "");
    let mut clients: Vec<Client> = (0..5).map(|_| gateway.client()).collect();
    clients[0].asks("/warm");
    let mut dying = H2Peer::accepts(&endpoint);
    let warm = dying.expects_request();
    dying.replies_with(warm, "warm");
    clients[0].expects(200);
    for (number, client) in clients.iter_mut().enumerate() {
        if number % 2 == 0 {
            client.asks("/get");
        } else {
            posts(client, "/post")
        };
        dying.expects_request();
    }
    dying.closes();
    // Those that may be sent again share the next connection.
    let mut alive = H2Peer::accepts(&endpoint);
    for _ in 0..3 {
        let again = alive.expects_request();
        alive.replies_with(again, "again");
    }
    for (number, client) in clients.iter_mut().enumerate() {
        client.expects(if number % 2 == 0 { 200 } else { 502 });
    }
    assert!(alive.is_silent() && endpoint.is_alone());
    gateway.waits_for("upstream_retries_total{reason=\"reused\"}", 3.0);
    gateway.waits_for("http2_upstream_streams_active", 0.0);
    gateway.stop();
}

/// F41: the end of the gateway loses no request that is in flight to an endpoint of HTTP/2, and tells that endpoint.
fn requests_in_flight_are_finished_before_the_end(io: Io) {
    let endpoint = H2Endpoint::listens();
    let mut gateway =
        Plan::bare(io).speaks_h2().cluster_of("app", &endpoint.entry()).route("name: everything, cluster: app").start();
    let mut clients: Vec<Client> = (0..10).map(|_| gateway.client()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.sends(format!("POST /{number} HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbo"));
    }
    let accepted = endpoint.accepts();
    let mut asked: Vec<_> = (0..10).map(|_| accepted.expects_any()).collect();
    let mut front = H2Client::to(gateway.address());
    let streaming = front.begins("GET", "/streaming", &[]);
    let mut stream = accepted.expects("GET /streaming");
    stream.begins(200, &[], false);
    gateway.signal(libc::SIGTERM);
    gateway.notice("shutting down gracefully");
    // Before that a worker may not have heard of it.
    until_true("nobody listens", || TcpStream::connect(gateway.address()).is_err());
    for (number, client) in clients.iter_mut().enumerate() {
        client.sends("dy");
        let at = asked.iter().position(|asked| asked.request().uri().path() == format!("/{number}"));
        let mut asked = asked.swap_remove(at.expect("all came"));
        assert_eq!(asked.reads_all(), b"body");
        asked.replies_with(&number.to_string());
        let answer = client.expects(200);
        assert_eq!(answer.text(), number.to_string());
        assert!(answer.announces_close(), "RFC 9112 section 9.6: {answer}");
    }
    assert!(gateway.process.ended().is_none(), "one is still in flight");
    stream.sends("done", true);
    assert_eq!(streaming.expects(200).text(), "done");
    assert_eq!(accepted.waits_for_end(), None, "an orderly end");
    drop(clients);
    drop(front);
    assert_eq!(gateway.process.exit_code(), Some(0), "{}", gateway.notices.all().join("\n"));
    assert_eq!(gateway.whole_log().len(), 11, "the last lines are flushed");
}

on_both_drivers!(
    an_endpoint_that_falls_silent_is_left,
    an_endpoint_that_gives_a_sign_of_life_is_waited_for,
    a_connection_at_rest_that_owes_an_answer_ends,
    streams_above_the_last_one_go_elsewhere,
    a_goodbye_in_two_steps_loses_nothing,
    streams_that_were_perhaps_looked_at_are_not_sent_twice,
    a_connection_that_dies_with_many_streams_fails_each_once,
    requests_in_flight_are_finished_before_the_end,
);
