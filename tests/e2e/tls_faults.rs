//! What clients of a TLS listener do wrong: other protocols, garbage, handshakes that never end (F29), broken records.

use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ringgate::rng::Rng;
use rustls::client::Resumption;
use rustls::{AlertDescription, ClientConfig, ClientConnection};

use super::client::Client;
use super::gateway::{Gateway, json};
use super::plan::{Io, Plan};
use super::site::{Site, greeter};
use super::wait::{Ends, is_quicker_than, now_ms, thread, until_true};
use super::wire::{End, Wire};

/// Connections that say nothing.
const SILENT: usize = 2_000;
/// Connections that say half a hello.
const HALF: usize = 500;
/// Connections that say the beginning of a hello that is long.
const LONG: usize = 1_000;
/// Handshakes that one worker has under way at most.
const AT_ONCE: usize = 4_096;
/// More of them.
const FURTHER: usize = 1_000;

fn failures(reason: &str) -> String {
    format!("tls_handshake_failures_total{{reason=\"{reason}\"}}")
}

/// The first message of a client, as it goes over the wire.
fn hello(config: &Arc<ClientConfig>) -> Vec<u8> {
    let name = "a.example".try_into().expect("a name");
    let mut connection = ClientConnection::new(Arc::clone(config), name).expect("a client");
    let mut bytes = Vec::new();
    connection.write_tls(&mut bytes).expect("a hello");
    bytes
}

fn is_served(gateway: &Gateway, config: &Arc<ClientConfig>) {
    let mut client = Client::secured(gateway.address(), config, "a.example");
    client.asks("/x");
    assert_eq!(client.expects(200).text(), "hello");
}

/// The alert that a read meets.
fn alert(wire: &mut Wire) -> AlertDescription {
    let error = wire.try_read().expect_err("an alert");
    match error.get_ref().and_then(|inner| inner.downcast_ref()) {
        Some(rustls::Error::AlertReceived(alert)) => *alert,
        _ => panic!("{error:?} instead of an alert"),
    }
}

/// HTTP without TLS on the port is answered in kind, counted and logged.
fn plain_http_is_answered_with_a_400_that_says_so(io: Io) {
    let (gateway, config) = greeter(io, "");
    for method in ["GET", "POST"] {
        let mut client = gateway.client();
        client.sends(format!("{method} /secret HTTP/1.1\r\nHost: a.example\r\n\r\n"));
        let answer = client.expects(400);
        assert_eq!(answer.reason(), "plain_http");
        assert!(answer.text().contains("https") && answer.announces_close(), "{answer}");
        assert_eq!(gateway.metric("net_connections_active"), 1.0, "counted once");
        client.half_closes().sees_end();
    }
    gateway.waits_for(&failures("plain_http"), 2.0);
    gateway.waits_for("gateway_rejected_requests_total{reason=\"plain_http\"}", 2.0);
    let line = gateway.lines.first("a log line", |line| Some(json(line)));
    assert_eq!((&line["status"], &line["reason"]), (&400.into(), &"plain_http".into()), "{line}");
    is_served(&gateway, &config);
    gateway.waits_for("net_connections_active", 0.0);
    gateway.stop();
}

/// Words that are no handshake end it at once, and cost nobody else anything.
fn garbage_ends_a_handshake_and_nothing_else(io: Io) {
    let (gateway, config) = greeter(io, "");
    let whole = hello(&config);
    let garbage: [(&str, Vec<u8>); 7] = [
        ("zeros", vec![0; 100]),
        ("a hello of SSL 2", b"\x80\x2e\x01\x03\x01\x00\x15\x00\x00\x00\x10".to_vec()),
        ("a record too long", b"\x16\x03\x01\xff\xff".to_vec()),
        ("an empty record", b"\x16\x03\x01\x00\x00".to_vec()),
        ("another kind of record", b"\x17\x03\x03\x00\x05hello".to_vec()),
        ("an alert", b"\x15\x03\x01\x00\x02\x02\x28".to_vec()),
        ("another message", [b"\x16\x03\x01\x00\x04\x02\x00\x00\x00".as_slice(), &whole].concat()),
    ];
    for (what, bytes) in &garbage {
        let mut client = gateway.client();
        client.sends(bytes);
        let (answer, _) = client.half_closes().reads_to_end();
        assert!(answer.is_empty() || answer[0] == 0x15, "{what}: {answer:?}");
        is_served(&gateway, &config);
    }
    let mut rng = Rng::from_seed(7);
    for round in 0..200 {
        let mut bytes = whole.clone();
        for _ in 0..=round % 4 {
            let at = usize::try_from(rng.u64() % bytes.len() as u64).expect("an index");
            bytes[at] ^= 1 << (rng.u64() % 8);
        }
        let mut client = gateway.client();
        client.sends(&bytes);
        client.half_closes().try_reads_to_end();
    }
    gateway.waits_for("net_connections_active", 0.0);
    gateway.waits_for("tls_handshakes_active", 0.0);
    let ended = gateway.metric_sum("tls_handshake_failures_total");
    assert_eq!(ended, 207.0, "each was counted once: {}", gateway.metrics());
    is_served(&gateway, &config);
    gateway.stop();
}

/// F29: thousands of connections that say nothing, or half a hello, end at the time-out of handshakes; others are served
/// meanwhile, memory is bounded, and all descriptors come back.
fn half_handshakes_end_in_time_and_others_are_served(io: Io) {
    let (gateway, config) = greeter(io, "handshake_timeout: 6s");
    let half = &hello(&config)[..700];
    is_served(&gateway, &config);
    gateway.waits_for("net_connections_active", 0.0);
    let (descriptors, memory) = (gateway.process.descriptors(), gateway.process.resident_bytes());
    let began_ms = now_ms();
    let mut held: Vec<Wire> = (0..SILENT + HALF).map(|_| Wire::to(gateway.address())).collect();
    for wire in &mut held[SILENT..] {
        wire.sends(half);
    }
    until_true("half a hello is read", || gateway.metric("tls_handshakes_active") > HALF as f64 - 0.5);
    is_served(&gateway, &config);
    let most = gateway.process.resident_bytes().saturating_sub(memory);
    assert!(most < 40 << 20, "{most} bytes more for {SILENT} silent connections and {HALF} half hellos");
    let mut ends = held.iter_mut().map(Wire::sees_break);
    assert!(ends.all(|end| end == End::Closed));
    let took = now_ms() - began_ms;
    assert!((6_000..15_000).contains(&took), "{took} ms");
    gateway.waits_for(&failures("timeout"), (SILENT + HALF) as f64);
    until_true("all descriptors are back", || gateway.process.descriptors() <= descriptors + 2);
    is_served(&gateway, &config);
    gateway.stop();
}

/// Handshakes that do not go on by the thousand end one another, the oldest first: honest clients are served meanwhile, and
/// memory and CPU are bounded.
fn half_handshakes_beyond_the_bound_end_one_another(io: Io) {
    let (gateway, config) = greeter(io, "handshake_timeout: 60s");
    let half = &hello(&config)[..700];
    is_served(&gateway, &config);
    gateway.waits_for("net_connections_active", 0.0);
    let (memory, ticks) = (gateway.process.resident_bytes(), gateway.process.cpu_ticks());
    let begins = || {
        let mut wire = Wire::to(gateway.address());
        wire.sends(half);
        wire
    };
    let mut held: Vec<Wire> = (0..AT_ONCE).map(|_| begins()).collect();
    gateway.waits_for("tls_handshakes_active", AT_ONCE as f64);
    for _ in 0..5 {
        let is_quick = is_quicker_than(Duration::from_secs(1), || is_served(&gateway, &config));
        assert!(is_quick, "an honest client waited for a second");
        held.extend((0..FURTHER / 5).map(|_| begins()));
    }
    gateway.waits_for("tls_handshakes_active", AT_ONCE as f64);
    gateway.waits_for(&failures("too_many"), FURTHER as f64);
    assert_eq!(held[0].sees_break(), End::Closed);
    let most = gateway.process.resident_bytes().saturating_sub(memory);
    assert!(most < 80 << 20, "{most} bytes more for {AT_ONCE} half hellos");
    let worked = gateway.process.cpu_ticks() - ticks;
    assert!(worked < 500, "{worked} hundredths of a second for {} half hellos", AT_ONCE + FURTHER);
    drop(held);
    gateway.waits_for("tls_handshakes_active", 0.0);
    gateway.waits_for("net_connections_active", 0.0);
    is_served(&gateway, &config);
    gateway.stop();
}

#[expect(clippy::print_stderr, reason = "a figure for whoever asks")]
fn tell(what: &str) {
    eprintln!("{what}");
}

/// A hello that announces 64 KiB holds no more than a buffer: what does not fit one ends its connection at once.
fn a_long_hello_costs_a_buffer_at_most(io: Io) {
    let (gateway, config) = greeter(io, "handshake_timeout: 60s");
    is_served(&gateway, &config);
    gateway.waits_for("net_connections_active", 0.0);
    let memory = gateway.process.resident_bytes();
    // Four records of a message whose last bytes never come (RFC 8446 sections 4 and 5.1).
    let message = [b"\x01\x00\xff\x00\x03\x03".as_slice(), &[7; 64 << 10]].concat();
    let records = message.chunks(14_000).map(|part| {
        let length = u16::try_from(part.len()).expect("a record");
        [b"\x16\x03\x01".as_slice(), &length.to_be_bytes(), part].concat()
    });
    let records: Vec<_> = records.collect();
    let begins = |bytes: &[u8]| {
        let mut wire = Wire::to(gateway.address());
        drop(wire.try_send(bytes));
        wire
    };
    let mut greedy: Vec<Wire> = (0..10).map(|_| begins(&records[..4].concat())).collect();
    assert!(greedy.iter_mut().all(|wire| wire.try_reads_to_end().len() < 100), "an alert at most");
    gateway.waits_for(&failures("broken"), 10.0);
    drop(greedy);
    let held: Vec<Wire> = (0..LONG).map(|_| begins(&records[0])).collect();
    gateway.waits_for("tls_handshakes_active", LONG as f64);
    let mut most = 0;
    until_true("all of it is read", || {
        let before = most;
        most = gateway.process.resident_bytes().saturating_sub(memory);
        most > LONG as u64 * 14_000 && most == before
    });
    tell(&format!("{} bytes for each of {LONG} long hellos", most / LONG as u64));
    assert!(most < LONG as u64 * 24 * 1024, "{most} bytes more for {LONG} long hellos");
    is_served(&gateway, &config);
    drop(held);
    gateway.waits_for("net_connections_active", 0.0);
    gateway.stop();
}

/// Whole handshakes as fast as some clients can do them disturb neither a connection that is there nor a new one.
fn a_flood_of_handshakes_leaves_others_undisturbed(io: Io) {
    let (gateway, config) = greeter(io, "");
    let mut flooding = ClientConfig::clone(&config);
    flooding.resumption = Resumption::disabled();
    let (flooding, address) = (Arc::new(flooding), gateway.address());
    let done = Arc::new(AtomicBool::new(false));
    let floods: Vec<_> = (0..4)
        .map(|_| {
            let (flooding, done) = (Arc::clone(&flooding), Arc::clone(&done));
            thread("flood", move || {
                while !done.load(Ordering::Relaxed) {
                    drop(Client::try_secured(address, &flooding, "a.example"));
                }
            })
        })
        .collect();
    let ends = Ends(&done);
    until_true("the flood is on", || gateway.metric("tls_handshakes_total{kind=\"full\"}") > 50.0);
    let mut kept = Client::secured(address, &config, "a.example");
    for _ in 0..20 {
        let is_quick = is_quicker_than(Duration::from_secs(1), || {
            kept.asks("/x");
            kept.expects(200);
            is_served(&gateway, &config);
        });
        assert!(is_quick, "others waited for a second");
    }
    drop(ends);
    floods.into_iter().for_each(|flood| flood.join().expect("it ends in order"));
    drop(kept);
    assert_eq!(gateway.metric(&failures("too_many")), 0.0);
    gateway.waits_for("net_connections_active", 0.0);
    gateway.stop();
}

/// A record that was changed on the way, and one that ends in the middle, end the connection; the first by an alert.
fn a_broken_record_ends_its_connection(io: Io) {
    let (gateway, config) = greeter(io, "");
    let mut client = Client::secured(gateway.address(), &config, "a.example");
    client.asks("/x");
    client.expects(200);
    client.sends_raw([b"\x17\x03\x03\x00\x20".as_slice(), &[7; 32]].concat());
    assert_eq!(alert(&mut client), AlertDescription::BadRecordMac);
    let mut client = Client::secured(gateway.address(), &config, "a.example");
    client.sends_raw(b"\x17\x03\x03\x00\x20\x01\x02\x03").half_closes_raw();
    let (answer, _) = client.reads_to_end();
    assert_eq!(answer, b"");
    is_served(&gateway, &config);
    gateway.waits_for("net_connections_active", 0.0);
    gateway.stop();
}

/// Clients that leave in the middle of a handshake, in order or not.
fn clients_that_leave_in_the_handshake_are_counted(io: Io) {
    let (gateway, config) = greeter(io, "");
    let whole = hello(&config);
    for part in [0, 5, 300, whole.len()] {
        let mut wire = Wire::to(gateway.address());
        wire.sends(&whole[..part]);
        wire.closes();
        let mut wire = Wire::to(gateway.address());
        wire.sends(&whole[..part]);
        wire.resets();
    }
    gateway.waits_for(&failures("closed"), 8.0);
    gateway.waits_for("net_connections_active", 0.0);
    gateway.stop();
}

/// More connections than the process may have are turned away on a TLS listener too, without a word that is no TLS, and it
/// recovers.
fn connections_beyond_the_cap_are_turned_away(io: Io) {
    let site = Site::new();
    let config = Arc::new(site.believer());
    let plan = Plan::bare(io).route("name: all, respond: { status: 200, body: hello }").runtime("max_connections: 2");
    let (_, gateway) = site.start(plan);
    let mut kept: Vec<Client> = (0..2).map(|_| Client::secured(gateway.address(), &config, "a.example")).collect();
    assert!(Client::try_secured(gateway.address(), &config, "a.example").is_err());
    Wire::to(gateway.address()).sees_end();
    assert_eq!(gateway.metric("net_connections_rejected_total{cap=\"max_connections\"}"), 2.0);
    kept.pop();
    until_true("there is room again", || Client::try_secured(gateway.address(), &config, "a.example").is_ok());
    for client in &mut kept {
        client.asks("/x");
        client.expects(200);
    }
    drop(TcpStream::connect(gateway.address()));
    gateway.stop();
}

on_both_drivers![
    plain_http_is_answered_with_a_400_that_says_so,
    garbage_ends_a_handshake_and_nothing_else,
    half_handshakes_end_in_time_and_others_are_served,
    half_handshakes_beyond_the_bound_end_one_another,
    a_long_hello_costs_a_buffer_at_most,
    a_flood_of_handshakes_leaves_others_undisturbed,
    a_broken_record_ends_its_connection,
    clients_that_leave_in_the_handshake_are_counted,
    connections_beyond_the_cap_are_turned_away,
];
