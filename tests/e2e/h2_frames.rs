//! RFC 9113 by its paragraphs, frame by frame: http.md 57 to 76, and what is not in the dialogues of `h2_requests`.

use super::client::Client;
use super::h2_scene::Scene;
use super::h2_wire::{
    ACK, CANCEL, CONTINUATION, DATA, END_HEADERS, END_STREAM, ENDS, FLOW_CONTROL_ERROR, FRAME_SIZE_ERROR, Fate, GOAWAY,
    H2Wire, HEADERS, PING, PREFACE, PRIORITY, PROTOCOL_ERROR, PUSH, RESET, SETTINGS, SETTINGS_TIMEOUT, STREAM_CLOSED,
    WINDOW, block, fields_of, frame_of, get, post, reset, settings, window,
};
use super::plan::Io;
use super::wait::{now_ms, until_true};
use super::wire::{End, Wire};

/// What is sent on a new connection behind its settings, and what becomes of stream 1 or of the connection.
struct Case {
    rule: &'static str,
    frames: Vec<u8>,
    fate: Fate,
}

fn case(rule: &'static str, frames: impl Into<Vec<u8>>, fate: Fate) -> Case {
    Case { rule, frames: frames.into(), fate }
}

const OK: Fate = Fate::Status(200);
const PROTOCOL: Fate = Fate::GoAway(PROTOCOL_ERROR);
const SIZE: Fate = Fate::GoAway(FRAME_SIZE_ERROR);
const MALFORMED: Fate = Fate::Reset(PROTOCOL_ERROR);

/// Runs each case on a connection of its own, of which nobody else notices anything.
fn run(io: Io, cases: Vec<Case>) {
    let mut scene = Scene::set(io);
    let mut wrong = Vec::new();
    for Case { rule, frames, fate } in cases {
        let mut client = scene.attacker();
        client.sends(frames);
        let found = client.fate_of(1);
        if found != fate {
            wrong.push(format!("{rule}: {found:?} instead of {fate:?}"));
        }
        if matches!(found, Fate::Status(_) | Fate::Reset(_)) {
            client.sends(get(1001, "/echo"));
            assert_eq!(client.fate_of(1001), OK, "the connection goes on: {rule}");
        }
        scene.goes_on();
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    scene.recovers();
}

/// A frame of fields that ends its stream.
fn fields(flags: u8, block: &[u8]) -> Vec<u8> {
    frame_of(HEADERS, flags, 1, block)
}

/// http.md 57, section 3.4: the preface, and settings first.
fn a_connection_begins_with_preface_and_settings(io: Io) {
    let scene = Scene::set(io);
    let address = scene.gateway.address();
    for (what, frames) in [
        ("a request", get(1, "/echo")),
        ("an answer to settings", frame_of(SETTINGS, ACK, 0, b"")),
        ("an unknown frame", frame_of(0x4a, 0, 0, b"")),
    ] {
        let mut client = H2Wire::bare(Wire::to(address));
        client.sends(frames);
        assert_eq!(client.fate_of(1), PROTOCOL, "{what}");
    }
    // The preface in one write with everything else, and in two.
    for split in [0, 3, 24, 30] {
        let all = [PREFACE, &settings(&[(1, 0)]), &get(1, "/echo")].concat();
        let mut wire = Wire::to(address);
        let (one, two) = all.split_at(split);
        wire.sends(one).sends(two);
        let mut client = H2Wire::over_begun(wire);
        assert_eq!(client.fate_of(1), OK, "{split}");
    }
    // Not quite a preface: a request of HTTP/1 that does not exist, or the end.
    let mut wrong = Client::to(address);
    wrong.sends("PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n");
    let (_, end) = wrong.reads_to_end();
    assert_eq!(end, End::Closed);
    scene.recovers();
}

/// http.md 57, section 6.5.3: settings are answered in time.
fn settings_that_are_not_answered_end_the_connection(io: Io) {
    let scene = Scene::set_with(io, |plan| plan.limits("header_timeout: 1s"));
    let mut silent = H2Wire::bare(Wire::to(scene.gateway.address()));
    silent.sends([settings(&[(1, 0)]), get(1, "/echo")].concat());
    let began_ms = now_ms();
    assert_eq!(silent.fate_of(1), OK, "until then it is served");
    assert_eq!(silent.fate_of(0), Fate::GoAway(SETTINGS_TIMEOUT));
    assert!(now_ms() - began_ms < 3000);
    scene.gateway.waits_for("http2_goaways_total{code=\"settings_timeout\"}", 1.0);
    scene.recovers();
}

/// http.md 58, 59, 60: sections 4.1, 4.2, 4.3 and 5.5.
fn frames_are_what_they_have_to_be(io: Io) {
    let unknown = || frame_of(0x4a, 0xff, 7, b"anything");
    let open = || frame_of(HEADERS, END_STREAM, 1, &fields_of("GET", "/echo", &[]));
    let mut reserved = get(1, "/echo");
    reserved[5] |= 0x80;
    let padded = [&[2][..], &fields_of("GET", "/echo", &[]), &[0, 0]].concat();
    run(
        io,
        vec![
            case("4.1: an unknown kind is ignored", [unknown(), get(1, "/echo")].concat(), OK),
            case("4.1: the reserved bit is ignored", reserved, OK),
            case("4.1: unknown flags are ignored", fields(ENDS | 0xd2, &fields_of("GET", "/echo", &[])), OK),
            case("4.2: larger than was allowed", frame_of(DATA, 0, 1, &[0; 16_385]), SIZE),
            case("4.2: settings of five bytes", frame_of(SETTINGS, 0, 0, &[0; 5]), SIZE),
            case("6.5: an answer with content", frame_of(SETTINGS, ACK, 0, &[0; 6]), SIZE),
            case("6.7: a ping of seven bytes", frame_of(PING, 0, 0, &[0; 7]), SIZE),
            case("6.9: a window of three bytes", frame_of(WINDOW, 0, 0, &[0; 3]), SIZE),
            case("6.4: a reset of three bytes", [post(1, "/stuck"), frame_of(RESET, 0, 1, &[0; 3])].concat(), SIZE),
            case("6.3: a priority of six bytes", frame_of(PRIORITY, 0, 1, &[0; 6]), SIZE),
            case("6.8: a goodbye of seven bytes", frame_of(GOAWAY, 0, 0, &[0; 7]), SIZE),
            case("6.1: no room for the padding's length", frame_of(DATA, 8, 1, &[]), SIZE),
            case("6.2: no room for the priority", fields(ENDS | 0x20, &[0; 4]), SIZE),
            case("6.2: padding", fields(ENDS | 8, &padded), OK),
            case("6.2: more padding than there is", fields(ENDS | 8, &[9, 0]), PROTOCOL),
            case("6.1: more padding than there is", [post(1, "/stuck"), frame_of(DATA, 8, 1, &[9])].concat(), PROTOCOL),
            case("5.5: an unknown kind within fields", [open(), unknown()].concat(), PROTOCOL),
            case("4.3: another frame within fields", [open(), frame_of(PING, 0, 0, &[0; 8])].concat(), PROTOCOL),
            case("6.10: fields of another stream", [open(), frame_of(CONTINUATION, 4, 3, b"")].concat(), PROTOCOL),
            case("6.10: a continuation of nothing", frame_of(CONTINUATION, 4, 1, b""), PROTOCOL),
            case("6.10: fields in two frames", [open(), frame_of(CONTINUATION, 4, 1, b"")].concat(), OK),
            // Known limits of `h2`: COMPRESSION_ERROR would be the code.
            case("4.3: an index that nobody has", fields(ENDS, &[0xff, 0x20]), PROTOCOL),
            case("4.3: text that ends too early", fields(ENDS, &[0, 9, b'x']), PROTOCOL),
            case("4.3: a table larger than allowed", fields(ENDS, &[0x3f, 0xe2, 0x1f]), PROTOCOL),
        ],
    );
}

/// http.md 61 to 64: sections 5.1, 5.4, 6.4 and 6.9.
fn frames_fit_the_state_of_their_stream(io: Io) {
    let on_idle = |kind: u8, payload: &[u8]| frame_of(kind, 0, 7, payload);
    run(
        io,
        vec![
            case("5.1: content on an idle stream", on_idle(DATA, b"x"), PROTOCOL),
            case("5.1: a window on an idle stream", on_idle(WINDOW, &[0, 0, 0, 1]), PROTOCOL),
            case("5.1: a reset of an idle stream", on_idle(RESET, &[0; 4]), PROTOCOL),
            case("5.1: a priority of an idle stream", [on_idle(PRIORITY, &[0; 5]), get(1, "/echo")].concat(), OK),
            case("5.1.1: an even number", frame_of(HEADERS, ENDS, 2, &fields_of("GET", "/echo", &[])), PROTOCOL),
            case("5.1.1: a smaller number", [get(5, "/stuck"), get(3, "/echo")].concat(), PROTOCOL),
            case("5.1.1: a number for the second time", [get(1, "/stuck"), get(1, "/stuck")].concat(), PROTOCOL),
            case("5.1: content behind the end", [get(1, "/stuck"), frame_of(DATA, 0, 1, b"x")].concat(), PROTOCOL),
            case("6.1: content on no stream", frame_of(DATA, 0, 0, b"x"), PROTOCOL),
            case("6.2: fields on no stream", frame_of(HEADERS, ENDS, 0, &fields_of("GET", "/", &[])), PROTOCOL),
            case("6.3: a priority of no stream", frame_of(PRIORITY, 0, 0, &[0; 5]), PROTOCOL),
            case("6.4: a reset of no stream", frame_of(RESET, 0, 0, &[0; 4]), PROTOCOL),
            case("6.5: settings of a stream", frame_of(SETTINGS, 0, 1, b""), PROTOCOL),
            case("6.7: a ping of a stream", frame_of(PING, 0, 1, &[0; 8]), PROTOCOL),
            case("6.8: a goodbye of a stream", frame_of(GOAWAY, 0, 1, &[0; 8]), PROTOCOL),
            case("5.3.1: a stream that depends on itself", fields(ENDS | 0x20, &[0, 0, 0, 1, 16, 0x82]), MALFORMED),
            case("6.9: an increment of zero", window(0, 0), PROTOCOL),
            case("6.9.1: too much room", window(0, 0x7fff_ffff), Fate::GoAway(FLOW_CONTROL_ERROR)),
            case(
                "6.9.1: too much room on a stream",
                [get(1, "/stuck"), window(1, 0x7fff_ffff)].concat(),
                Fate::Reset(FLOW_CONTROL_ERROR),
            ),
            case("6.9.2: a window that no stream can have", settings(&[(4, 0x8000_0000)]), PROTOCOL),
            case("6.5.2: neither push nor none", settings(&[(2, 2)]), PROTOCOL),
            case("6.5.2: frames smaller than the least", settings(&[(5, 16_383)]), PROTOCOL),
            case("6.5.2: a setting that nobody knows", [settings(&[(0x4a4a, 9)]), get(1, "/echo")].concat(), OK),
            case("6.5.3: an answer to nothing", frame_of(SETTINGS, ACK, 0, b""), PROTOCOL),
            case(
                "8.4: a push",
                [post(1, "/stuck"), frame_of(PUSH, END_HEADERS, 1, &[0, 0, 0, 2, 0x82])].concat(),
                PROTOCOL,
            ),
        ],
    );
}

/// http.md 67 to 70: sections 8.1 and 8.2.
fn malformed_requests_are_refused_and_never_forwarded(io: Io) {
    let with = |fields: &[(&str, &str)]| frame_of(HEADERS, ENDS, 1, &fields_of("GET", "/stuck", fields));
    let body = |flags: u8, content: &[u8]| frame_of(DATA, flags, 1, content);
    let sized = frame_of(HEADERS, END_HEADERS, 1, &fields_of("POST", "/stuck", &[("content-length", "5")]));
    let trailers = |flags: u8, fields: &[(&str, &str)]| frame_of(HEADERS, flags, 1, &block(fields));
    run(
        io,
        vec![
            case(
                "8.1: trailers that do not end the stream",
                [post(1, "/stuck"), trailers(END_HEADERS, &[("a", "b")])].concat(),
                MALFORMED,
            ),
            case("8.1.1: less than was announced", [&sized[..], &body(END_STREAM, b"four")].concat(), MALFORMED),
            case("8.1.1: more than was announced", [&sized[..], &body(0, b"sixsix")].concat(), MALFORMED),
            case("8.1.1: nothing of what was announced", with(&[("content-length", "5")]), MALFORMED),
            case("8.1.1: two lengths", with(&[("content-length", "5"), ("content-length", "6")]), MALFORMED),
            case("8.1.1: no length", with(&[("content-length", "-1")]), MALFORMED),
            // Known limit of `h2`: the whole connection, where the stream would do.
            case("8.2: a name in upper case", with(&[("X-Upper", "1")]), PROTOCOL),
            case("8.2.1: a name with a space", with(&[("x y", "1")]), PROTOCOL),
            case("8.2.1: a name with a colon", with(&[("x:y", "1")]), PROTOCOL),
            case("8.2.1: no name", with(&[("", "1")]), PROTOCOL),
            case("8.2.1: a value with a line end", with(&[("x", "1\r\ny: 2")]), PROTOCOL),
            case("8.2.1: a value with a zero", with(&[("x", "1\0")]), PROTOCOL),
            case("8.2.1: a value that begins with a space", with(&[("x", " 1")]), Fate::Status(400)),
            case("8.2.1: a value that ends with a tab", with(&[("x", "1\t")]), Fate::Status(400)),
            case("8.2.2: connection", with(&[("connection", "close")]), MALFORMED),
            case("8.2.2: transfer-encoding", with(&[("transfer-encoding", "chunked")]), MALFORMED),
            case("8.2.2: upgrade", with(&[("upgrade", "h2c")]), MALFORMED),
            case("8.2.2: keep-alive", with(&[("keep-alive", "1")]), MALFORMED),
            case("8.2.2: proxy-connection", with(&[("proxy-connection", "close")]), MALFORMED),
            case("8.2.2: te of something else", with(&[("te", "gzip")]), MALFORMED),
        ],
    );
}

/// http.md 71, 72 and 74: sections 8.3 and 8.5.
fn requests_without_their_pseudo_fields_are_refused(io: Io) {
    let with = |fields: &[(&str, &str)]| frame_of(HEADERS, ENDS, 1, &fields_of("GET", "/stuck", fields));
    let of = |fields: &[(&str, &str)]| frame_of(HEADERS, ENDS, 1, &block(fields));
    let (method, scheme) = ((":method", "GET"), (":scheme", "http"));
    let (path, authority) = ((":path", "/stuck"), (":authority", "a.example"));
    let connect = (":method", "CONNECT");
    run(
        io,
        vec![
            case("8.3: a pseudo-field behind a field", of(&[method, scheme, path, ("x", "1"), authority]), MALFORMED),
            case(
                "8.3: a pseudo-field that nobody knows",
                of(&[method, scheme, path, authority, (":x", "1")]),
                PROTOCOL,
            ),
            case(
                "8.3: a pseudo-field of a response",
                of(&[method, scheme, path, authority, (":status", "200")]),
                MALFORMED,
            ),
            case("8.3.1: two methods", of(&[method, method, scheme, path, authority]), MALFORMED),
            case("8.3.1: two paths", of(&[method, scheme, path, path, authority]), MALFORMED),
            case("8.3.1: no method", of(&[scheme, path, authority]), MALFORMED),
            case("8.3.1: no scheme", of(&[method, path, authority]), MALFORMED),
            case("8.3.1: no path", of(&[method, scheme, authority]), MALFORMED),
            case("8.3.1: an empty path", of(&[method, scheme, (":path", ""), authority]), MALFORMED),
            case("8.3.1: a path without a slash", of(&[method, scheme, (":path", "stuck"), authority]), MALFORMED),
            case("8.3.1: a path with a space", of(&[method, scheme, (":path", "/a b"), authority]), MALFORMED),
            case("8.3.1: an asterisk for a GET", of(&[method, scheme, (":path", "*"), authority]), Fate::Status(400)),
            case("8.3.1: a method that is no token", of(&[(":method", "G T"), scheme, path, authority]), PROTOCOL),
            case(
                "8.3.1: an authority of other characters",
                of(&[method, scheme, path, (":authority", "a b")]),
                MALFORMED,
            ),
            case(
                "8.3.1: an authority with a user",
                of(&[method, scheme, path, (":authority", "u@a")]),
                Fate::Status(400),
            ),
            case("8.3.1: a host that says something else", with(&[("host", "b.example")]), Fate::Status(400)),
            case(
                "8.3.1: no authority, two hosts",
                of(&[method, scheme, path, ("host", "a"), ("host", "a")]),
                Fate::Status(400),
            ),
            case("8.5: CONNECT with a path", of(&[connect, path, authority]), MALFORMED),
            case("8.5: CONNECT with a scheme", of(&[connect, scheme, authority]), MALFORMED),
            case("8.5: CONNECT is not offered", of(&[connect, (":authority", "a.example:443")]), Fate::Status(405)),
        ],
    );
}

/// http.md 64: content for a stream that is over still counts on its connection, whose room comes back.
fn content_for_a_stream_that_is_over_counts_on_its_connection(io: Io) {
    let scene = Scene::set_with(io, |plan| plan.defaults("body_limit: 10B"));
    let mut client = scene.attacker();
    let mut sent = 0;
    // Twice the connection's window, to streams whose requests were answered and reset long before.
    for number in 0..140 {
        let stream = 2 * number + 1;
        client.sends(post(stream, "/stuck"));
        let part = frame_of(DATA, 0, stream, &[0; 16_000]);
        client.sends(&part);
        assert_eq!(client.fate_of(stream), Fate::Status(413));
        sent += 16_000;
    }
    assert!(sent > 2 << 20);
    assert!(scene.gateway.metric("http2_goaways_total{code=\"flow_control_error\"}") < 1.0);
    // More than there is room for is the client's error: section 6.9.1.
    let mut greedy = scene.attacker();
    greedy.sends(post(1, "/stuck"));
    let fate = loop {
        if greedy.try_sends(frame_of(DATA, 0, 1, &[0; 16_000])).is_err() || !greedy.is_silent() {
            break greedy.fate_of(1);
        }
    };
    assert!(matches!(fate, Fate::Status(413) | Fate::Reset(_) | Fate::GoAway(FLOW_CONTROL_ERROR)), "{fate:?}");
    drop((client, greedy));
    scene.recovers();
}

/// http.md 65, section 6.9.2: settings are applied in order and at once, to streams that are open, below zero too.
fn a_smaller_window_holds_open_streams(io: Io) {
    let scene = Scene::set_with(io, |plan| {
        plan.route("name: fixed, match: { path: /fixed }, respond: { status: 200, body: '0123456789' }")
    });
    let mut client = scene.attacker();
    client.sends([settings(&[(4, 4)]), get(1, "/fixed")].concat());
    assert_eq!(client.expects(SETTINGS).flags, ACK, "at once");
    assert_eq!(client.expects(DATA).payload, b"0123");
    // Four have gone, and there is room for two: two less than nothing.
    client.sends(settings(&[(4, 2)])).pings();
    client.sends(window(1, 2)).pings();
    assert!(client.is_silent(), "room for nothing");
    client.sends(window(1, 1));
    assert_eq!(client.expects(DATA).payload, b"4");
    client.sends([settings(&[(4, 4)]), window(1, 3)].concat());
    let mut rest: Vec<u8> = Vec::new();
    loop {
        let frame = client.expects(DATA);
        rest.extend(&frame.payload);
        if frame.ends() {
            break;
        }
    }
    assert_eq!(rest, b"56789");
    drop(client);
    scene.recovers();
}

/// F25: a client that never makes room for a stream holds that stream alone, which is reset in time.
fn a_stream_without_room_holds_nobody_up_and_is_reset(io: Io) {
    let scene = Scene::set_with(io, |plan| {
        let body = "x".repeat(1000);
        plan.limits("write_timeout: 3s")
            .route(&format!("name: large, match: {{ path: /large }}, respond: {{ status: 200, body: '{body}' }}"))
    });
    let mut client = scene.attacker();
    let began_ms = now_ms();
    client.sends([settings(&[(4, 0)]), get(1, "/large")].concat());
    assert_eq!(client.fate_of(1), OK);
    // Others move: the window of each of them is opened by hand.
    for stream in (3..23).step_by(2) {
        client.sends([get(stream, "/echo"), window(stream, 100)].concat());
        assert_eq!(client.fate_of(stream), OK);
        assert_eq!(client.expects(DATA).payload, b"GET /echo HTTP/1.1");
    }
    assert!(now_ms() - began_ms < 2_900, "they wait for nobody");
    assert!(matches!(client.fate_of(1), Fate::Reset(_)));
    let took_ms = now_ms() - began_ms;
    assert!((2_900..9_000).contains(&took_ms), "{took_ms} ms");
    assert_eq!(scene.gateway.log_of("/large")["reason"], "client_write_timeout");
    client.sends([get(23, "/echo"), window(23, 100)].concat());
    assert_eq!(client.fate_of(23), OK, "the connection goes on");
    drop(client);
    scene.recovers();
}

/// F25: the same of what an endpoint has sent, which is free again then; and of a connection whose window is shut.
fn what_an_endpoint_sent_waits_no_longer_than_it_may(io: Io) {
    let scene = Scene::set_with(io, |plan| {
        let body = "x".repeat(100_000);
        plan.limits("write_timeout: 1s")
            .route(&format!("name: large, match: {{ path: /large }}, respond: {{ status: 200, body: '{body}' }}"))
    });
    let mut client = scene.attacker();
    client.sends([settings(&[(4, 0)]), get(1, "/echo")].concat());
    assert_eq!(client.fate_of(1), OK);
    assert!(matches!(client.fate_of(1), Fate::Reset(_)));
    assert_eq!(scene.gateway.log_of("/echo")["status"], 200);
    scene.gateway.waits_for("upstream_connections_active", 1.0);
    client.sends([get(3, "/echo"), window(3, 100)].concat());
    assert_eq!(client.fate_of(3), OK);
    drop(client);
    // Its first 65,535 bytes are all that the connection has room for.
    let mut client = scene.attacker();
    client.sends([settings(&[(4, 1 << 20)]), get(1, "/large")].concat());
    assert_eq!(client.fate_of(1), OK);
    assert!(matches!(client.fate_of(1), Fate::Reset(_)));
    client.sends([window(0, 100_000), get(3, "/echo")].concat());
    assert_eq!(client.fate_of(3), OK, "the connection goes on");
    drop(client);
    scene.recovers();
}

/// http.md 63, section 5.4.2: there is no reset in answer to a reset, nor anything else for a stream that is over.
fn a_reset_is_not_answered(io: Io) {
    let scene = Scene::set(io);
    let mut client = scene.attacker();
    client.sends(get(1, "/stuck")).pings();
    until_true("it is upstream", || scene.stuck.waiting() == 1);
    client.sends(reset(1, CANCEL)).sends([window(1, 1), reset(1, CANCEL), reset(1, STREAM_CLOSED)].concat()).pings();
    until_true("it was cancelled", || scene.stuck.left() == 1);
    client.pings();
    assert!(client.reads_now().iter().all(|frame| frame.kind != RESET && frame.stream != 1));
    drop(client);
    scene.recovers();
}

/// http.md 66, section 6.8: the first goodbye names the highest stream, the last one the last stream, and none is higher.
fn goodbyes_never_name_a_higher_stream(io: Io) {
    let scene = Scene::set_with(io, |plan| plan.limits("idle_timeout: 1s"));
    let mut client = scene.attacker();
    client.sends(get(1, "/echo"));
    assert_eq!(client.fate_of(1), OK);
    let first = client.expects(GOAWAY);
    assert_eq!((first.number(0), first.number(4)), (0x7fff_ffff, 0));
    let ping = client.expects(PING);
    // A stream that was on its way is served.
    client.sends(get(3, "/echo"));
    assert_eq!(client.fate_of(3), OK);
    client.sends(frame_of(PING, ACK, 0, &ping.payload));
    let last = client.expects(GOAWAY);
    assert_eq!((last.number(0), last.number(4)), (3, 0));
    assert_eq!(client.ends(), End::Closed);
    scene.recovers();
}

/// `x-request-id` in the code of RFC 7541 appendix B.
const REQUEST_ID: &[u8] = b"\xf2\xb5\x85\xed\x69\x50\x95\x8d\x27";

/// RFC 7541 sections 2.3.2 and 6.2.3: values that differ each time stay out of the client's table, but their names are in it
/// from the first response on.
fn a_name_is_spelled_out_once_also_where_its_values_never_come_again(io: Io) {
    let scene = Scene::set(io);
    let mut client = H2Wire::bare(Wire::to(scene.gateway.address()));
    client.sends(settings(&[])).settles();
    let spelled = [1, 3, 5].map(|stream| {
        let head = client.sends(get(stream, "/echo")).expects(HEADERS);
        head.payload.windows(REQUEST_ID.len()).any(|bytes| bytes == REQUEST_ID)
    });
    assert_eq!(spelled, [true, false, false]);
    client.closes();
    scene.recovers();
}

/// http.md 73 and section 5.5: a client's goodbye lets its streams end and takes no more of them.
fn a_client_that_says_goodbye_is_served_to_its_end(io: Io) {
    let scene = Scene::set(io);
    let mut client = scene.attacker();
    client.sends([get(1, "/echo"), frame_of(GOAWAY, 0, 0, &[0; 8])].concat());
    assert_eq!(client.fate_of(1), OK);
    assert_eq!(client.fate_of(0), Fate::GoAway(0), "an orderly end");
    scene.gateway.waits_for("http2_goaways_total{code=\"no_error\"}", 1.0);
    assert!(scene.gateway.metric("http2_abuses_total{kind=\"other\"}") < 1.0);
    scene.recovers();
}

on_both_drivers![
    a_connection_begins_with_preface_and_settings,
    settings_that_are_not_answered_end_the_connection,
    frames_are_what_they_have_to_be,
    frames_fit_the_state_of_their_stream,
    malformed_requests_are_refused_and_never_forwarded,
    requests_without_their_pseudo_fields_are_refused,
    content_for_a_stream_that_is_over_counts_on_its_connection,
    a_smaller_window_holds_open_streams,
    a_stream_without_room_holds_nobody_up_and_is_reset,
    what_an_endpoint_sent_waits_no_longer_than_it_may,
    a_reset_is_not_answered,
    goodbyes_never_name_a_higher_stream,
    a_name_is_spelled_out_once_also_where_its_values_never_come_again,
    a_client_that_says_goodbye_is_served_to_its_end,
];
