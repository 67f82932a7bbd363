//! Connections of HTTP/2 to endpoints, from the first to the last: requirements B6 and B7.

use std::time::Duration;

use h2::Reason;
use h2::server::Builder;

use super::client::Client;
use super::endpoint::Endpoint;
use super::gateway::Gateway;
use super::h2_client::H2Client;
use super::h2_endpoint::{H2Accepted, H2Asked, H2Endpoint};
use super::h2_wire::{ENDS, H2Wire, HEADERS, PREFACE, frame_of, settings};
use super::origin::Origin;
use super::plan::{Io, Plan};
use super::wait::{until, until_true};

/// A gateway before this endpoint.
fn before(io: Io, endpoint: &H2Endpoint) -> Plan {
    Plan::bare(io).cluster_of("app", &endpoint.entry()).route("name: everything, cluster: app")
}

/// An endpoint that takes so many streams on a connection.
fn taking(streams: u32) -> H2Endpoint {
    let mut builder = Builder::new();
    builder.max_concurrent_streams(streams);
    H2Endpoint::with(builder, None)
}

/// B7: a lower limit is obeyed by further connections, also by requests that came before it was known.
fn a_lower_limit_means_more_connections(io: Io) {
    let endpoint = taking(3);
    let gateway = before(io, &endpoint).start();
    let mut clients: Vec<Client> = (0..9).map(|_| gateway.client()).collect();
    for client in &mut clients {
        client.asks("/");
    }
    let accepted: Vec<H2Accepted> = (0..3).map(|_| endpoint.accepts()).collect();
    let asked: Vec<H2Asked> = accepted.iter().flat_map(|accepted| (0..3).map(|_| accepted.expects("GET /"))).collect();
    assert!(endpoint.is_alone() && accepted.iter().all(H2Accepted::is_quiet));
    asked.into_iter().for_each(|asked| asked.replies_with("ok"));
    for client in &mut clients {
        assert_eq!(client.expects(200).text(), "ok");
    }
    gateway.waits_for("http2_upstream_streams_active", 0.0);
    // Requests gather on the one that was begun first, whichever the endpoint got first.
    let mut asked_again = || {
        clients[0].asks("/again");
        let comes = || accepted.iter().enumerate().find_map(|(at, one)| Some((at, one.takes()?)));
        let (at, asked) = until("a request on one of them", comes);
        asked.replies_with("ok");
        clients[0].expects(200);
        at
    };
    assert_eq!(asked_again(), asked_again());
    gateway.stop();
}

/// A gateway before an endpoint whose every frame is the test's.
fn before_frames(io: Io, endpoint: &Endpoint) -> Plan {
    Plan::bare(io)
        .cluster_of("app", &format!("{{ url: 'h2c://{}' }}", endpoint.address()))
        .route("name: everything, cluster: app")
}

/// Clients of their own, each with a request on its way.
fn ask(gateway: &Gateway, count: usize) -> Vec<Client> {
    let mut clients: Vec<Client> = (0..count).map(|_| gateway.client()).collect();
    for client in &mut clients {
        client.asks("/");
    }
    clients
}

/// A connection whose preface has come, and nothing that the endpoint says.
fn is_begun(endpoint: &Endpoint) -> H2Wire {
    let mut wire = endpoint.accepts().into_wire();
    assert_eq!(wire.reads(PREFACE.len()), PREFACE, "RFC 9113 section 3.4");
    H2Wire::over_begun(wire)
}

/// A frame of settings with which a connection takes so many streams at once.
fn takes(streams: u32) -> Vec<u8> {
    settings(&[(3, streams)])
}

/// A connection that takes so many streams at once, from the start.
fn begins(endpoint: &Endpoint, streams: u32) -> H2Wire {
    let mut connection = is_begun(endpoint);
    connection.sends(takes(streams)).settles();
    connection
}

/// Answers requests that come, so many.
fn answers(connection: &mut H2Wire, count: usize) {
    for _ in 0..count {
        let stream = connection.expects(HEADERS).stream;
        connection.sends(frame_of(HEADERS, ENDS, stream, &[0x88]));
    }
}

/// RFC 9113 section 6.5.2: no streams is a limit for a moment, and another connection would fare no better.
fn an_endpoint_that_takes_none_yet_is_waited_for(io: Io) {
    let endpoint = Endpoint::listens();
    let gateway = before_frames(io, &endpoint).start();
    let clients = ask(&gateway, 5);
    let mut connection = begins(&endpoint, 0);
    for _ in 0..3 {
        connection.pings();
        assert!(endpoint.is_alone() && connection.is_silent());
    }
    connection.sends(takes(5));
    answers(&mut connection, 5);
    for mut client in clients {
        client.expects(200);
    }
    assert!(endpoint.is_alone());
    gateway.waits_for("upstream_connects_total", 1.0);
    gateway.stop();
}

/// The same for good: every request is told so in time, and they all have opened one connection.
fn an_endpoint_that_never_takes_any_costs_one_connection(io: Io) {
    let endpoint = Endpoint::listens();
    let gateway = before_frames(io, &endpoint).timeouts("connect: 1s").start();
    let clients = ask(&gateway, 5);
    let mut connection = begins(&endpoint, 0);
    for mut client in clients {
        assert_eq!(client.expects(504).reason(), "upstream_no_stream");
    }
    let mut late = gateway.client();
    late.asks("/");
    assert_eq!(late.expects(504).reason(), "upstream_no_stream");
    assert!(endpoint.is_alone());
    gateway.waits_for("http2_upstream_connections", 1.0);
    connection.sends(takes(1));
    late.asks("/");
    answers(&mut connection, 1);
    late.expects(200);
    gateway.waits_for("upstream_connects_total", 1.0);
    gateway.stop();
}

/// A limit that changes in mid-life is obeyed from then on; what is under way is not touched.
fn a_limit_lowered_in_mid_life_is_obeyed(io: Io) {
    let endpoint = Endpoint::listens();
    let gateway = before_frames(io, &endpoint).start();
    let mut first = ask(&gateway, 2);
    let mut connection = begins(&endpoint, 2);
    let streams: Vec<u32> = (0..2).map(|_| connection.expects(HEADERS).stream).collect();
    connection.sends(takes(0)).pings();
    let mut waiting = ask(&gateway, 1);
    gateway.waits_for("http_requests_active", 3.0);
    for stream in streams {
        connection.pings().sends(frame_of(HEADERS, ENDS, stream, &[0x88]));
    }
    first.iter_mut().for_each(|client| drop(client.expects(200)));
    connection.pings();
    assert!(endpoint.is_alone() && connection.is_silent());
    connection.sends(takes(1));
    answers(&mut connection, 1);
    waiting[0].expects(200);
    // Full is something else: there is room on another one (B7).
    let mut one = ask(&gateway, 1);
    let stream = connection.expects(HEADERS).stream;
    let mut other = ask(&gateway, 1);
    answers(&mut begins(&endpoint, 1), 1);
    other[0].expects(200);
    connection.sends(frame_of(HEADERS, ENDS, stream, &[0x88]));
    one[0].expects(200);
    gateway.stop();
}

/// Of several connections that take no streams any more, one is enough to hear of a change.
fn connections_without_room_end_but_for_one(io: Io) {
    let endpoint = Endpoint::listens();
    let gateway = before_frames(io, &endpoint).start();
    let clients = ask(&gateway, 3);
    let mut connections: Vec<H2Wire> = (0..3).map(|_| begins(&endpoint, 1)).collect();
    // One of them ends with its stream, the others without any.
    let streams: Vec<u32> = connections.iter_mut().map(|connection| connection.expects(HEADERS).stream).collect();
    connections[0].sends(takes(0)).pings();
    for (connection, stream) in connections.iter_mut().zip(streams) {
        connection.sends(frame_of(HEADERS, ENDS, stream, &[0x88]));
    }
    for mut client in clients {
        client.expects(200);
    }
    gateway.waits_for("http2_upstream_streams_active", 0.0);
    gateway.waits_for("http2_upstream_connections", 3.0);
    for connection in &mut connections[1..] {
        connection.sends(takes(0));
    }
    gateway.waits_for("http2_upstream_connections", 1.0);
    assert!(endpoint.is_alone());
    gateway.stop();
}

/// B7: a hundred at once until the endpoint says otherwise, and the others on another connection.
fn a_hundred_is_assumed_until_settings_come(io: Io) {
    let endpoint = Endpoint::listens();
    let gateway = before_frames(io, &endpoint).start();
    let clients = ask(&gateway, 150);
    let (mut first, mut second) = (is_begun(&endpoint), is_begun(&endpoint));
    gateway.waits_for("http_requests_active", 150.0);
    assert!(endpoint.is_alone());
    for connection in [&mut first, &mut second] {
        connection.sends(takes(128)).settles();
    }
    let mut streams = [first, second].map(|connection| (connection, Vec::new()));
    until_true("every request has come", || {
        for (connection, streams) in &mut streams {
            let come = connection.reads_now().into_iter().filter(|frame| frame.kind == HEADERS);
            streams.extend(come.map(|frame| frame.stream));
        }
        streams.iter().map(|(_, streams)| streams.len()).sum::<usize>() == 150
    });
    let mut counts = streams.each_ref().map(|(_, streams)| streams.len());
    counts.sort_unstable();
    assert_eq!(counts, [50, 100]);
    for (connection, streams) in &mut streams {
        connection.sends(streams.iter().flat_map(|at| frame_of(HEADERS, ENDS, *at, &[0x88])).collect::<Vec<_>>());
    }
    for mut client in clients {
        client.expects(200);
    }
    assert!(endpoint.is_alone());
    gateway.stop();
}

/// RFC 9113 section 6.8: a connection that goes away ends its requests in order, and gets no more.
fn a_connection_that_goes_away_ends_in_order(io: Io) {
    let endpoint = H2Endpoint::listens();
    let gateway = before(io, &endpoint).start();
    let (mut first, mut second) = (gateway.client(), gateway.client());
    first.asks("/before");
    let old = endpoint.accepts();
    let mut asked = old.expects("GET /before");
    old.leaves();
    // Whoever has this has the word before it.
    asked.informs(103, &[("link", "</a>")]);
    first.expects_interim(103);
    second.sends("POST /after HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nok");
    let new = endpoint.accepts();
    let mut after = new.expects("POST /after");
    assert_eq!(after.reads_all(), b"ok");
    after.replies_with("new");
    assert_eq!(second.expects(200).text(), "new");
    asked.replies_with("old");
    assert_eq!(first.expects(200).text(), "old");
    assert_eq!(old.waits_for_end(), None);
    gateway.waits_for("http2_upstream_connections", 1.0);
    gateway.stop();
}

/// RFC 9113 section 8.7: a request that was not looked at goes out again, whatever its method, and costs nobody anything.
fn a_request_that_was_not_looked_at_is_sent_again(io: Io) {
    let endpoint = H2Endpoint::listens();
    let gateway = before(io, &endpoint).speaks_h2().start();
    let mut client = gateway.client();
    client.sends("POST /once HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nok");
    let accepted = endpoint.accepts();
    accepted.expects("POST /once").resets(Reason::REFUSED_STREAM);
    let mut again = accepted.expects("POST /once");
    assert_eq!(again.reads_all(), b"ok");
    again.replies_with("done");
    assert_eq!(client.expects(200).text(), "done");
    gateway.waits_for("upstream_retries_total{reason=\"refused\"}", 1.0);
    // A body that came behind its head was kept.
    let mut front = H2Client::to(gateway.address());
    let mut stream = front.begins("POST", "/call", &[]);
    stream.sends("whole", true);
    let mut first = accepted.expects("POST /call");
    assert_eq!(first.reads_all(), b"whole");
    first.resets(Reason::REFUSED_STREAM);
    let mut again = accepted.expects("POST /call");
    assert_eq!(again.reads_all(), b"whole");
    again.replies_with("done");
    assert_eq!(stream.expects(200).text(), "done");
    // Not for ever.
    client.asks("/never");
    for _ in 0..3 {
        accepted.expects("GET /never").resets(Reason::REFUSED_STREAM);
    }
    assert_eq!(client.expects(502).reason(), "upstream_stream_refused");
    assert!(accepted.is_quiet());
    gateway.stop();
}

/// A reset stream says something about its request and nothing about its connection.
fn a_reset_stream_is_told_apart_from_a_dead_connection(io: Io) {
    let endpoint = H2Endpoint::listens();
    let gateway = before(io, &endpoint).start();
    let mut client = gateway.client();
    client.asks("/warm");
    let accepted = endpoint.accepts();
    accepted.expects("GET /warm").replies_with("ok");
    client.expects(200);
    client.asks("/reset");
    accepted.expects("GET /reset").resets(Reason::INTERNAL_ERROR);
    assert_eq!(client.expects(502).reason(), "upstream_stream_reset");
    client.asks("/wants");
    accepted.expects("GET /wants").resets(Reason::HTTP_1_1_REQUIRED);
    assert_eq!(client.expects(502).reason(), "upstream_not_h2");
    // One that dies takes no request with it that can be sent again.
    client.asks("/dies");
    let dying = accepted.expects("GET /dies");
    accepted.drops();
    drop(dying);
    endpoint.accepts().expects("GET /dies").replies_with("alive");
    assert_eq!(client.expects(200).text(), "alive");
    gateway.waits_for("upstream_retries_total{reason=\"reused\"}", 1.0);
    gateway.stop();
}

/// B6: what an endpoint speaks instead is said.
fn a_mismatch_of_protocols_is_reported_as_such(io: Io) {
    let old = Origin::saying("HTTP/1.1");
    let new = H2Endpoint::listens();
    let gateway = Plan::bare(io)
        .cluster_of("old", &format!("{{ url: 'h2c://{}' }}", old.address()))
        .cluster("new", &[new.address()])
        .route("name: old, match: { path: /old }, cluster: old")
        .route("name: new, match: { path: /new }, cluster: new")
        .start();
    let mut client = gateway.client();
    client.asks("/old");
    assert_eq!(client.expects(502).reason(), "upstream_not_h2");
    client.asks("/new");
    assert_eq!(client.expects(502).reason(), "upstream_speaks_h2");
    gateway.stop();
}

/// An endpoint that is not there, or says nothing, is what it is with any protocol.
fn an_endpoint_that_is_not_there_is_told_so(io: Io) {
    let (deaf, _connections) = Endpoint::deaf();
    let mute = Endpoint::listens();
    let gateway = Plan::bare(io)
        .timeouts("connect: 200ms")
        .cluster_of("gone", &format!("{{ url: 'h2c://{}' }}", Endpoint::closed()))
        .cluster_of("deaf", &format!("{{ url: 'h2c://{}' }}", deaf.address()))
        .cluster_of("mute", &format!("{{ url: 'h2c://{}' }}", mute.address()))
        .route("name: gone, match: { path: /gone }, cluster: gone")
        .route("name: deaf, match: { path: /deaf }, cluster: deaf")
        .route("name: mute, match: { path: /mute }, cluster: mute")
        .start();
    let mut client = gateway.client();
    for (path, status, reason) in
        [("/gone", 502, "connect_refused"), ("/deaf", 504, "connect_timeout"), ("/mute", 504, "connect_timeout")]
    {
        client.asks(path);
        assert_eq!(client.expects(status).reason(), reason, "{path}");
    }
    gateway.stop();
}

/// Of HTTP/2 a cluster's cap counts requests, and the queue before it works as it does with connections.
fn a_cap_counts_requests(io: Io) {
    let endpoint = H2Endpoint::listens();
    let gateway = Plan::bare(io)
        .cluster_as(
            "app",
            &format!("max_connections: 2, queue: {{ max: 1, timeout: 10s }}, endpoints: [{}]", endpoint.entry()),
        )
        .route("name: everything, cluster: app")
        .start();
    let mut clients: Vec<Client> = (0..4).map(|_| gateway.client()).collect();
    clients[0].asks("/0");
    clients[1].asks("/1");
    let accepted = endpoint.accepts();
    let first: Vec<_> = (0..2).map(|_| accepted.expects_any()).collect();
    clients[2].asks("/2");
    gateway.waits_for("upstream_requests_waiting", 1.0);
    clients[3].asks("/3");
    assert_eq!(clients[3].expects(503).reason(), "upstream_saturated");
    assert!(accepted.is_quiet());
    first.into_iter().for_each(|asked| asked.replies_with("ok"));
    accepted.expects("GET /2").replies_with("ok");
    clients[..3].iter_mut().for_each(|client| assert_eq!(client.expects(200).text(), "ok"));
    gateway.waits_for("upstream_cluster_connections{cluster=\"app\"}", 0.0);
    assert!(endpoint.is_alone());
    gateway.stop();
}

/// A connection without a request ends in time, with a word, and the next request opens another.
fn an_idle_connection_ends(io: Io) {
    let endpoint = H2Endpoint::listens();
    let gateway = before(io, &endpoint).keepalive("idle_timeout: 200ms").start();
    let mut client = gateway.client();
    for _ in 0..2 {
        client.asks("/");
        let accepted = endpoint.accepts();
        accepted.expects("GET /").replies_with("ok");
        client.expects(200);
        assert_eq!(accepted.waits_for_end(), None);
        gateway.waits_for("http2_upstream_connections", 0.0);
    }
    gateway.stop();
}

/// An endpoint that a reload removes ends with its last request.
fn a_removed_endpoint_is_left(io: Io) {
    let (old, new) = (H2Endpoint::listens(), H2Endpoint::listens());
    let plan = before(io, &old);
    let gateway = plan.start();
    let (mut first, mut second) = (gateway.client(), gateway.client());
    first.asks("/old");
    let accepted = old.accepts();
    let asked = accepted.expects("GET /old");
    gateway.adopts(&before(io, &new).yaml());
    second.asks("/new");
    new.accepts().expects("GET /new").replies_with("new");
    assert_eq!(second.expects(200).text(), "new");
    assert!(!accepted.ends_within(Duration::ZERO));
    asked.replies_with("old");
    assert_eq!(first.expects(200).text(), "old");
    assert_eq!(accepted.waits_for_end(), None);
    gateway.stop();
}

/// Flow control is end to end: a client that takes nothing stops its endpoint, and no other client's.
fn a_slow_client_stops_its_own_response_alone(io: Io) {
    const PLENTY: usize = 32 * 1024 * 1024;
    let endpoint = H2Endpoint::listens();
    let gateway = before(io, &endpoint).start();
    let mut slow: Vec<Client> = (0..20).map(|_| gateway.client()).collect();
    for client in &mut slow {
        client.asks("/slow");
    }
    let accepted = endpoint.accepts();
    let mut stuck: Vec<_> = (0..slow.len()).map(|_| accepted.expects("GET /slow")).collect();
    let content = vec![b'x'; PLENTY];
    for asked in &mut stuck {
        asked.begins(200, &[], false);
        let sent = asked.sends_for(&content, Duration::from_millis(30));
        assert!(sent < PLENTY / 2, "{sent}");
    }
    let mut quick = gateway.client();
    quick.asks("/quick");
    let mut asked = accepted.expects("GET /quick");
    asked.begins(200, &[("content-length", "1048576")], false);
    asked.sends(&content[..1_048_576], true);
    assert_eq!(quick.expects(200).body.len(), 1_048_576);
    slow.into_iter().for_each(Client::resets);
    gateway.stop();
}

on_both_drivers!(
    a_lower_limit_means_more_connections,
    an_endpoint_that_takes_none_yet_is_waited_for,
    an_endpoint_that_never_takes_any_costs_one_connection,
    a_limit_lowered_in_mid_life_is_obeyed,
    connections_without_room_end_but_for_one,
    a_hundred_is_assumed_until_settings_come,
    a_connection_that_goes_away_ends_in_order,
    a_request_that_was_not_looked_at_is_sent_again,
    a_reset_stream_is_told_apart_from_a_dead_connection,
    a_mismatch_of_protocols_is_reported_as_such,
    an_endpoint_that_is_not_there_is_told_so,
    a_cap_counts_requests,
    an_idle_connection_ends,
    a_removed_endpoint_is_left,
    a_slow_client_stops_its_own_response_alone,
);
