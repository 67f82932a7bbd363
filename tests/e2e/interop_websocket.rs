//! WebSockets by programs that others wrote: tungstenite as client and as endpoint, over HTTP/1.1, TLS and HTTP/2, and a
//! browser.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};
use tungstenite::WebSocket;
use tungstenite::protocol::Role;

use super::folder::Folder;
use super::gateway::Gateway;
use super::h2_client::{H2Client, H2Stream};
use super::plan::{Io, Plan};
use super::site::Site;
use super::tool::run;
use super::wait::PATIENCE;
use super::websocket::{converses, echoing};

const ADDRESS: &str = "ws://a.example/socket";

fn connects(gateway: &Gateway) -> TcpStream {
    let stream = TcpStream::connect(gateway.address()).expect("loopback");
    stream.set_read_timeout(Some(PATIENCE)).expect("a positive time");
    stream
}

fn tungstenite_converses_over_http_1(io: Io) {
    let origin = echoing(|_| {});
    let gateway = Plan::to(io, &[origin.address()]).speaks_h2().start();
    let (socket, switch) = tungstenite::client(ADDRESS, connects(&gateway)).expect("a switch");
    assert_eq!(switch.status(), 101);
    converses(socket);
    gateway.waits_for("tunnels_active", 0.0);
    assert_eq!(gateway.log_of("/socket")["status"], 101);
    gateway.stop();
}

fn tungstenite_converses_over_tls(io: Io) {
    let site = Site::new();
    let config = Arc::new(site.believer());
    let origin = echoing(|_| {});
    let gateway = site.start(Plan::to(io, &[origin.address()]).speaks_h2()).1;
    let name = ServerName::try_from("a.example").expect("a name");
    let session = ClientConnection::new(config, name).expect("a client");
    let secured = StreamOwned::new(session, connects(&gateway));
    converses(tungstenite::client(ADDRESS, secured).expect("a switch").0);
    gateway.waits_for("tunnels_active", 0.0);
    gateway.stop();
}

/// A stream of HTTP/2 as a socket.
struct Tunnel {
    stream: H2Stream,
    unread: Bytes,
}

impl Read for Tunnel {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.unread.is_empty() {
            self.unread = self.stream.reads().unwrap_or_default();
        }
        let count = self.unread.len().min(into.len());
        into[..count].copy_from_slice(&self.unread.split_to(count));
        Ok(count)
    }
}

impl Write for Tunnel {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        self.stream.try_sends(from, false).map_err(|_| io::ErrorKind::BrokenPipe)?;
        Ok(from.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn tungstenite_converses_over_http_2(io: Io) {
    let origin = echoing(|_| {});
    let gateway = Plan::to(io, &[origin.address()]).speaks_h2().start();
    let mut client = H2Client::to(gateway.address());
    for round in 1..4 {
        let mut stream = client.connects("/socket");
        stream.expects_head(200);
        converses(WebSocket::from_raw_socket(Tunnel { stream, unread: Bytes::new() }, Role::Client, None));
        gateway.waits_for("tunnels_total", f64::from(round));
    }
    gateway.waits_for("tunnels_active", 0.0);
    assert_eq!(gateway.log_of("/socket")["status"], 200);
    drop(client);
    gateway.stop();
}

/// Opens a page of the endpoint behind the gateway in a browser: a script talks to a WebSocket there, and the page is
/// complete once it has.
fn browses(gateway: &Gateway, scheme: &str) -> String {
    let profile = Folder::new();
    let arguments: Vec<String> = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--disable-dev-shm-usage",
        "--ignore-certificate-errors",
        "--no-proxy-server",
        "--dump-dom",
    ]
    .iter()
    .map(|argument| (*argument).to_owned())
    .chain([format!("--user-data-dir={}", profile.path("browser").display())])
    .chain([format!("{scheme}://{}/page", gateway.address())])
    .collect();
    run("chromium", &arguments, "").text
}

const PAGE: &str = "<!doctype html><title>echo</title><p id=said>nothing</p><img src=/wait alt=''><script>\
    const socket = new WebSocket(location.href.replace('http', 'ws').replace('/page', '/socket'));\
    const said = document.getElementById('said'); let count = 0;\
    socket.onopen = () => socket.send('one');\
    socket.onmessage = (event) => { said.textContent += ' ' + event.data; count += 1;\
        if (count < 3) socket.send(event.data + count); else socket.close(); };\
    socket.onerror = () => { said.textContent = 'failed'; };\
    socket.onclose = () => { said.textContent += ' closed'; fetch('/closed'); };\
    </script>";

/// What the page says once everything was said.
const SAID: &str = "nothing one one1 one12 closed";

/// An origin of the page, of what it waits for, and of the WebSocket.
fn page() -> super::origin::Origin {
    let is_closed = AtomicBool::new(false);
    echoing(move |mut wire| {
        let Some(head) = wire.try_reads_head() else { return };
        let path = head.start.split(' ').nth(1).unwrap_or_default().to_owned();
        if path == "/closed" {
            is_closed.store(true, Ordering::Relaxed);
        }
        if path == "/wait" {
            super::wait::until_true("the page has said everything", || is_closed.load(Ordering::Relaxed));
        }
        let body = if path == "/page" { PAGE } else { "" };
        let length = body.len();
        let kind = "Content-Type: text/html\r\nConnection: close";
        // The browser may have gone.
        drop(wire.try_send(format!("HTTP/1.1 200 OK\r\n{kind}\r\nContent-Length: {length}\r\n\r\n{body}")));
    })
}

fn a_browser_converses_over_http_1(io: Io) {
    let origin = page();
    let gateway = Plan::to(io, &[origin.address()]).start();
    let dom = browses(&gateway, "http");
    assert!(dom.contains(SAID), "{dom}");
    let line = gateway.log_of("/socket");
    assert_eq!((&line["protocol"], &line["status"]), (&"HTTP/1.1".into(), &101.into()));
    gateway.stop();
}

/// RFC 8441 by a browser: the page and its WebSocket on one connection.
fn a_browser_converses_over_http_2(io: Io) {
    let origin = page();
    let gateway = Site::new().start(Plan::to(io, &[origin.address()]).speaks_h2()).1;
    let dom = browses(&gateway, "https");
    assert!(dom.contains(SAID), "{dom}");
    let line = gateway.log_of("/socket");
    assert_eq!((&line["protocol"], &line["status"]), (&"HTTP/2".into(), &200.into()));
    gateway.stop();
}

on_both_drivers![
    tungstenite_converses_over_http_1,
    tungstenite_converses_over_tls,
    tungstenite_converses_over_http_2,
    a_browser_converses_over_http_1,
    a_browser_converses_over_http_2,
];
