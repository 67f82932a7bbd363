//! What one more client that rests costs in memory, by what it speaks.
//!
//! `cargo nextest run --test e2e idle_memory --no-capture` prints the figures; ARCHITECTURE.md, Memory, quotes them.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use ringgate::http2::PREFACE;
use ringgate::limits;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use super::client::Client;
use super::gateway::Gateway;
use super::plan::{Io, Plan};
use super::site::{Site, TLS};
use super::wait::{PATIENCE, now_ms, until};

/// Clients before the first look: more than keep their buffers while they rest.
const BEFORE: usize = limits::BUFFERS_IDLE + 50;
/// Those that are measured.
const MORE: usize = 500;
/// In which nothing changes any more, in milliseconds.
const STILL_MS: u64 = 300;

/// SETTINGS without a value, its acknowledgement, and a GET in the first stream (RFC 7541 appendix A).
const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
const ACKNOWLEDGED: [u8; 9] = [0, 0, 0, 4, 1, 0, 0, 0, 0];
const GET: [u8; 15] = [0, 0, 6, 1, 5, 0, 0, 0, 1, 0x82, 0x86, 0x84, 0x41, 1, b'a'];
const END_STREAM: u8 = 1;

/// Resident bytes once they do not change any more.
fn settled(gateway: &Gateway) -> u64 {
    let (mut seen, mut since_ms) = (gateway.process.resident_bytes(), now_ms());
    until("memory that does not change", || {
        let now = gateway.process.resident_bytes();
        if now != seen {
            (seen, since_ms) = (now, now_ms());
        }
        (now_ms() - since_ms > STILL_MS).then_some(seen)
    })
}

/// What one more client costs, which `open` makes and which is held.
fn bytes_each<T>(gateway: &Gateway, what: &str, open: impl Fn() -> T) -> u64 {
    let mut held: Vec<T> = (0..BEFORE).map(|_| open()).collect();
    let before = settled(gateway);
    held.extend((0..MORE).map(|_| open()));
    let each = settled(gateway).saturating_sub(before) / MORE as u64;
    #[expect(clippy::print_stderr, reason = "a figure for whoever asks")]
    {
        eprintln!("{what}: {each} bytes of an idle client");
    }
    each
}

fn plan(io: Io) -> Plan {
    Plan::bare(io).route("name: all, respond: { status: 200, body: hello }")
}

fn socket(gateway: &Gateway) -> TcpStream {
    let socket = TcpStream::connect(gateway.address()).expect("a connection to loopback");
    socket.set_read_timeout(Some(PATIENCE)).expect("an open socket");
    socket
}

fn secured(gateway: &Gateway, config: &Arc<ClientConfig>) -> StreamOwned<ClientConnection, TcpStream> {
    let name = ServerName::try_from("a.example").expect("a name");
    StreamOwned::new(ClientConnection::new(Arc::clone(config), name).expect("a session"), socket(gateway))
}

/// Begins HTTP/2 and has one stream answered.
fn has_a_stream_answered<S: Read + Write>(mut stream: S) -> S {
    stream.write_all(&[&PREFACE[..], &SETTINGS, &GET].concat()).expect("the gateway listens");
    let mut is_answered = false;
    while !is_answered {
        let mut header = [0; 9];
        stream.read_exact(&mut header).expect("a frame");
        let length = usize::from(header[0]) << 16 | usize::from(header[1]) << 8 | usize::from(header[2]);
        stream.read_exact(&mut vec![0; length]).expect("the rest of it");
        is_answered = header[8] == 1 && header[4] & END_STREAM == END_STREAM;
    }
    stream.write_all(&ACKNOWLEDGED).expect("the gateway listens");
    stream
}

fn a_plain_client_that_rests_is_small(io: Io) {
    let gateway = plan(io).start();
    let each = bytes_each(&gateway, "HTTP/1.1", || {
        let mut client = gateway.client();
        client.asks("/");
        client.expects(200);
        client
    });
    assert!(each < 3 << 10, "{each} bytes");
    gateway.stop();
}

fn a_client_with_tls_that_rests_holds_its_session_and_no_buffer(io: Io) {
    let site = Site::new();
    let config = Arc::new(site.believer());
    let (_, gateway) = site.start(plan(io));
    let each = bytes_each(&gateway, "HTTP/1.1 over TLS", || {
        let mut client = Client::secured(gateway.address(), &config, "a.example");
        client.asks("/");
        client.expects(200);
        client
    });
    assert!(each < 8 << 10, "{each} bytes");
    gateway.stop();
}

fn a_client_of_http2_that_rests_holds_no_buffer(io: Io) {
    let gateway = plan(io).speaks_h2().start();
    let each = bytes_each(&gateway, "HTTP/2", || has_a_stream_answered(socket(&gateway)));
    assert!(each < 28 << 10, "{each} bytes");
    gateway.stop();
}

fn a_client_of_http2_over_tls_that_rests_holds_no_buffer(io: Io) {
    let site = Site::new();
    let mut config = site.believer();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let config = Arc::new(config);
    let (_, gateway) = site.start_on(&plan(io).listener(TLS).speaks_h2());
    let each = bytes_each(&gateway, "HTTP/2 over TLS", || has_a_stream_answered(secured(&gateway, &config)));
    assert!(each < 34 << 10, "{each} bytes");
    gateway.stop();
}

on_both_drivers![
    a_plain_client_that_rests_is_small,
    a_client_with_tls_that_rests_holds_its_session_and_no_buffer,
    a_client_of_http2_that_rests_holds_no_buffer,
    a_client_of_http2_over_tls_that_rests_holds_no_buffer,
];
