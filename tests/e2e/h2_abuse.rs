//! Abuse of HTTP/2 that is legal frame by frame (RFC 9113 section 10.5): the table of faults.md, a row a test.

use super::gateway::Gateway;
use super::h2_scene::Scene;
use super::h2_wire::{
    CALM, CANCEL, CONTINUATION, DATA, END_HEADERS, ENDS, FLOW_CONTROL_ERROR, FRAME_SIZE_ERROR, Fate, Frame, GOAWAY,
    H2Wire, HEADERS, PING, PREFACE, PRIORITY, PROTOCOL_ERROR, REFUSED_STREAM, RESET, STREAM_CLOSED, block, fields_of,
    frame_of, get, post, reset, settings, window,
};
use super::plan::Io;
use super::wait::{now_ms, until_true};
use super::wire::Wire;

/// Streams that an attacker opens before it must have been stopped.
const MANY: usize = 20_000;

/// The number of a client's stream.
fn id(number: usize) -> u32 {
    u32::try_from(2 * number + 1).expect("few streams")
}

/// The gateway's goodbye, if it is among what there is to be read now.
fn goodbye(attacker: &mut H2Wire) -> Option<Frame> {
    attacker.reads_now().into_iter().find(|frame| frame.kind == GOAWAY)
}

/// Rapid reset (CVE-2023-44487): what a client opens and gives up at once is bounded by a budget, and cancelled upstream.
fn streams_that_are_reset_at_once_end_the_connection(io: Io) {
    let mut scene = Scene::set(io);
    // All at once: many of them are reset before anybody has looked at them.
    let mut attacker = scene.attacker();
    let (code, _) = scene.floods(&mut attacker, MANY, |n| [get(id(n), "/stuck"), reset(id(n), CANCEL)].concat());
    assert_eq!(code, CALM);
    scene.names("resets", 1.0);
    let streams = scene.gateway.metric("http2_streams_total");
    assert!(streams <= 200.0, "{streams} requests");
    // One after another: each of them has work upstream.
    let mut attacker = scene.attacker();
    let mut opened = 0;
    let goaway = loop {
        assert!(opened < 200, "faults.md: at most 200 above the rate");
        // The goodbye may come only behind the last look at what was said.
        let mut goaway = None;
        drop(attacker.try_sends((opened..opened + 10).flat_map(|n| get(id(n), "/stuck")).collect::<Vec<u8>>()));
        until_true("all of them are upstream, or it may have no more", || {
            goaway = goaway.take().or_else(|| goodbye(&mut attacker));
            goaway.is_some() || scene.stuck.waiting() == 10
        });
        if let Some(goaway) = goaway {
            break goaway;
        }
        attacker.sends((opened..opened + 10).flat_map(|n| reset(id(n), CANCEL)).collect::<Vec<u8>>());
        opened += 10;
        until_true("all of them were cancelled", || scene.stuck.waiting() == 0);
        if let Some(goaway) = goodbye(&mut attacker) {
            break goaway;
        }
        scene.goes_on();
    };
    assert_eq!(goaway.number(4), CALM);
    assert!(opened > 100, "a client may leave all its streams at once: {opened}");
    scene.names("resets", 2.0);
    drop(attacker);
    until_true("each was logged as left by its client", || {
        let lines = scene.gateway.log_lines();
        lines.iter().filter(|line| line["reason"] == "client_abort").count() >= 100
    });
    scene.recovers();
}

/// A client may leave as many streams at once as it may have, and does not lose its connection (http.md, H2: 100 in 10 s).
fn a_client_may_leave_all_its_streams_at_once(io: Io) {
    let scene = Scene::set(io);
    let mut client = scene.attacker();
    let opened: Vec<u8> = (0..100).flat_map(|number| get(id(number), "/stuck")).collect();
    let left: Vec<u8> = (0..100).flat_map(|number| reset(id(number), CANCEL)).collect();
    client.sends([opened, left].concat());
    client.sends(get(id(100), "/echo"));
    assert_eq!(client.fate_of(id(100)), Fate::Status(200));
    assert_eq!(scene.gateway.metric("http2_resets_total{by=\"client\"}"), 100.0);
    drop(client);
    scene.recovers();
}

/// CVE-2024-27316: a field section without an end, in frames with fields, without any, and full.
fn field_sections_without_an_end_end_the_connection(io: Io) {
    let scene = Scene::set(io);
    let twenty = block(&[("x-a", "1"); 20]);
    let full = block(&[("x-long", &"y".repeat(1600)[..]); 10]);
    for (number, (name, unit)) in [("fields", &twenty[..]), ("empty", &[]), ("full", &full)].into_iter().enumerate() {
        let mut attacker = scene.attacker();
        attacker.sends(frame_of(HEADERS, 1, 1, &fields_of("GET", "/stuck", &[])));
        for _ in 0..5 {
            attacker.sends(frame_of(CONTINUATION, 0, 1, unit));
        }
        assert!(attacker.reads_now().iter().all(|frame| frame.kind != GOAWAY), "{name}: five may be needed");
        let (code, _) = scene.floods(&mut attacker, 1000, |_| frame_of(CONTINUATION, 0, 1, unit));
        assert_eq!(code, CALM, "{name}");
        drop(attacker);
        scene.names("continuation", number as f64 + 1.0);
    }
    assert_eq!(scene.stuck.left() + scene.stuck.waiting(), 0, "nothing of it became a request");
    scene.recovers();
}

/// RFC 9113 section 4.3: fields that take too long to come end the connection.
fn field_sections_that_do_not_go_on_end_the_connection(io: Io) {
    let scene = Scene::set_with(io, |plan| plan.limits("header_timeout: 500ms"));
    let mut attacker = scene.attacker();
    attacker.sends(frame_of(HEADERS, 1, 1, &fields_of("GET", "/stuck", &[])));
    assert_eq!(attacker.fate_of(1), Fate::GoAway(CALM));
    assert_is_too_slow(&scene.gateway, 1.0);
    // Nor does the rest of the preface come, behind what told it from a request.
    let mut silent = Wire::to(scene.gateway.address());
    silent.sends(&PREFACE[..20]);
    silent.reads_to_end();
    assert_is_too_slow(&scene.gateway, 2.0);
    scene.recovers();
}

/// As with HTTP/1, a request whose head does not come is one that was refused for that, in the log and on the page.
fn assert_is_too_slow(gateway: &Gateway, times: f64) {
    gateway.waits_for("gateway_rejected_requests_total{reason=\"client_header_timeout\"}", times);
    until_true("a line for each", || {
        let lines = gateway.log_lines().into_iter().filter(|line| line["reason"] == "client_header_timeout");
        lines.filter(|line| line["status"] == 408 && line["duration_ms"].as_f64() >= Some(400.0)).count() as f64
            == times
    });
}

/// CVE-2025-8671 "MadeYouReset": streams that the gateway is made to reset count like those that the client resets.
fn streams_that_the_gateway_is_made_to_reset_end_the_connection(io: Io) {
    let scene = Scene::set(io);
    type Unit = fn(usize) -> Vec<u8>;
    let overflow: Unit = |n| [get(id(n), "/stuck"), window(id(n), 0x7fff_ffff)].concat();
    let itself: Unit = |n| {
        let on_itself = [&id(n).to_be_bytes()[..], &[16]].concat();
        [get(id(n), "/stuck"), frame_of(PRIORITY, 0, id(n), &on_itself)].concat()
    };
    let malformed: Unit = |n| frame_of(HEADERS, ENDS, id(n), &fields_of("GET", "/stuck", &[("connection", "close")]));
    let too_long: Unit = |n| {
        let fields = fields_of("POST", "/stuck", &[("content-length", "1")]);
        [frame_of(HEADERS, END_HEADERS, id(n), &fields), frame_of(DATA, 0, id(n), b"two")].concat()
    };
    let closed: Unit = |n| {
        // Once it was answered and forgotten; the first answers are out by then.
        let late = if n < 40 { Vec::new() } else { frame_of(DATA, 0, id(n - 40), b"late") };
        [get(id(n), "/health"), late].concat()
    };
    for (number, (name, unit, code)) in [
        ("window overflow", overflow, FLOW_CONTROL_ERROR),
        ("dependency on itself", itself, PROTOCOL_ERROR),
        ("malformed fields", malformed, PROTOCOL_ERROR),
        ("more than announced", too_long, PROTOCOL_ERROR),
    ]
    .into_iter()
    .enumerate()
    {
        let mut attacker = scene.attacker();
        attacker.sends(unit(0));
        assert_eq!(attacker.fate_of(1), Fate::Reset(code), "{name}");
        let (code, sent) = scene.floods(&mut attacker, MANY, |n| unit(n + 1));
        assert_eq!(code, CALM, "{name}");
        assert!(sent >= 100, "{name}: {sent}");
        scene.names("resets", number as f64 + 1.0);
    }
    // Content for streams that are over: RFC 9113 section 5.1 calls it an error of the stream or of the connection.
    let mut attacker = scene.attacker();
    let (code, _) = scene.floods(&mut attacker, MANY, closed);
    assert!([CALM, STREAM_CLOSED, PROTOCOL_ERROR].contains(&code), "{code}");
    drop(attacker);
    // These are errors of the connection at once: section 6.9, 6.3 and 5.1.
    for (name, frames, code) in [
        ("increment of zero", window(1, 0), PROTOCOL_ERROR),
        ("priority of four bytes", frame_of(PRIORITY, 0, 1, &[0; 4]), FRAME_SIZE_ERROR),
        ("content behind the end", frame_of(DATA, 0, 1, b"x"), PROTOCOL_ERROR),
    ] {
        let mut attacker = scene.attacker();
        attacker.sends([get(1, "/stuck"), frames].concat());
        assert_eq!(attacker.fate_of(1), Fate::GoAway(code), "{name}");
    }
    scene.recovers();
}

/// Frames that carry nothing: 1000 in 10 s, and what they make the gateway say is bounded as well.
fn frames_that_carry_nothing_end_the_connection(io: Io) {
    let mut scene = Scene::set(io);
    for (kind, unit) in [
        ("ping", frame_of(PING, 0, 0, b"flooding")),
        ("settings", settings(&[])),
        ("empty_data", frame_of(DATA, 0, 1, b"")),
        ("window_update", window(0, 1)),
        ("other", frame_of(0x4a, 0, 0, b"unknown")),
        ("priority", frame_of(PRIORITY, 0, 3, &[0, 0, 0, 0, 16])),
    ] {
        let mut attacker = scene.attacker();
        attacker.sends(post(1, "/stuck"));
        let (code, sent) = scene.floods(&mut attacker, 75_000, |_| unit.clone());
        assert_eq!(code, CALM, "{kind}");
        // `h2` has a bound of its own for empty content.
        assert!(sent >= if kind == "empty_data" { 100 } else { 1000 }, "{kind}: {sent}");
        scene.names(kind, 1.0);
        scene.goes_on();
    }
    scene.recovers();
}

/// The same from the first byte on: what comes with the preface counts as what comes later does.
fn floods_that_come_with_the_preface_end_the_connection(io: Io) {
    let scene = Scene::set(io);
    let mut wire = Wire::to(scene.gateway.address());
    wire.sends([PREFACE, &settings(&[]).repeat(1200)].concat());
    let began_ms = now_ms();
    assert_eq!(H2Wire::over_begun(wire).fate_of(0), Fate::GoAway(CALM));
    assert!(now_ms() - began_ms < 2000, "at once");
    scene.names("settings", 1.0);
    scene.recovers();
}

/// The same from clients that read nothing: what is kept for them is bounded, and so is the time.
fn floods_of_clients_that_do_not_read_cost_little(io: Io) {
    let mut scene = Scene::set(io);
    let mut attackers = Vec::new();
    for unit in [frame_of(PING, 0, 0, b"flooding"), settings(&[]), get(1, "/nowhere")] {
        let mut attacker = scene.attacker();
        attacker.wire().holds_little();
        let mut bytes = unit.repeat(2000);
        if unit[3] == HEADERS {
            bytes = (0..2000).flat_map(|number| get(id(number), "/nowhere")).collect();
        }
        // It is cut off once it has sent enough.
        drop(attacker.try_sends(bytes));
        attackers.push(attacker);
    }
    scene.names("ping", 1.0);
    scene.names("settings", 1.0);
    // Requests beyond the streams that it may have are refused, and that is what becomes too much.
    scene.names("resets", 1.0);
    scene.is_bounded("with all of them there");
    scene.goes_on();
    drop(attackers);
    scene.recovers();
}

/// HPACK bomb: a field of 4000 bytes, remembered, and named 16 000 times in a frame: 64 MB unfolded.
fn field_sections_that_unfold_are_refused(io: Io) {
    let mut scene = Scene::set(io);
    let mut attackers = Vec::new();
    for _ in 0..4 {
        let mut attacker = scene.attacker();
        let mut remembered = vec![0x40, 1, b'x', 127];
        // 4000 = 127 + 3873; RFC 7541 section 5.1.
        remembered.extend([0xa1, 0x1e]);
        remembered.extend([b'y'; 4000]);
        attacker.sends(frame_of(HEADERS, ENDS, 1, &[fields_of("GET", "/nowhere", &[]), remembered].concat()));
        assert_eq!(attacker.fate_of(1), Fate::Status(404), "it is a field like others");
        let bomb = [fields_of("GET", "/nowhere", &[]), vec![0xbe; 16_000]].concat();
        attacker.sends(frame_of(HEADERS, ENDS, 3, &bomb));
        let fate = attacker.fate_of(3);
        assert!(matches!(fate, Fate::Status(431) | Fate::GoAway(CALM)), "{fate:?}");
        attackers.push(attacker);
        scene.goes_on();
    }
    scene.names("fields", 4.0);
    drop(attackers);
    scene.recovers();
}

/// A field section above the limit, and not far above: 431, and the connection goes on with its tables (section 10.5.1).
fn a_field_section_above_the_limit_is_answered_and_the_connection_goes_on(io: Io) {
    let scene = Scene::set(io);
    let mut client = scene.attacker();
    let long = "y".repeat(14_000);
    for round in 0..3 {
        let stream = 4 * round + 1;
        // Remembered by the decoder, although its request is refused: RFC 9113 section 4.3.
        let name = format!("x-{round}");
        let remembered = [&[0x40, 3][..], name.as_bytes(), b"\x05value"].concat();
        client.sends(frame_of(HEADERS, 1, stream, &[fields_of("GET", "/echo", &[]), remembered].concat()));
        for part in 0..5 {
            let flags = if part == 4 { END_HEADERS } else { 0 };
            client.sends(frame_of(CONTINUATION, flags, stream, &block(&[("x-long", &long)])));
        }
        assert_eq!(client.fate_of(stream), Fate::Status(431));
        client.sends(frame_of(HEADERS, ENDS, stream + 2, &[fields_of("GET", "/echo", &[]), vec![0xbe]].concat()));
        assert_eq!(client.fate_of(stream + 2), Fate::Status(200), "the table is what the client thinks it is");
    }
    assert_eq!(scene.gateway.metric("http_requests_total{method=\"OTHER\",code=\"431\"}"), 3.0);
    drop(client);
    scene.recovers();
}

/// RFC 9113 section 5.1.2: streams beyond the cap are refused, and those that wait for their bodies cost little.
fn streams_beyond_the_cap_are_refused(io: Io) {
    let scene = Scene::set(io);
    let mut attackers: Vec<H2Wire> = Vec::new();
    for _ in 0..3 {
        let mut attacker = scene.attacker();
        let open: Vec<u8> = (0..150).flat_map(|number| post(id(number), "/stuck")).collect();
        attacker.sends(open);
        let mut refused = Vec::new();
        while refused.len() < 50 {
            let frame = attacker.expects(RESET);
            assert_eq!(frame.number(0), REFUSED_STREAM, "section 8.7: they may be sent again");
            refused.push(frame.stream);
        }
        assert_eq!(refused, (100..150).map(id).collect::<Vec<_>>());
        attackers.push(attacker);
    }
    until_true("as many as may be", || scene.stuck.waiting() == 300);
    let streams = scene.gateway.metric("http2_streams_active");
    assert_eq!(streams, 301.0);
    // Whoever goes on is no honest client any more.
    let (code, _) = scene.floods(&mut attackers[0], MANY, |number| post(id(150 + number), "/stuck"));
    assert_eq!(code, CALM);
    scene.names("resets", 1.0);
    drop(attackers);
    until_true("all of them were cancelled", || scene.stuck.waiting() == 0);
    scene.recovers();
}

on_both_drivers![
    streams_that_are_reset_at_once_end_the_connection,
    a_client_may_leave_all_its_streams_at_once,
    field_sections_without_an_end_end_the_connection,
    field_sections_that_do_not_go_on_end_the_connection,
    streams_that_the_gateway_is_made_to_reset_end_the_connection,
    frames_that_carry_nothing_end_the_connection,
    floods_that_come_with_the_preface_end_the_connection,
    floods_of_clients_that_do_not_read_cost_little,
    field_sections_that_unfold_are_refused,
    a_field_section_above_the_limit_is_answered_and_the_connection_goes_on,
    streams_beyond_the_cap_are_refused,
];
