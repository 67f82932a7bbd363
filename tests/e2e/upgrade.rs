//! I4 and F41: a new process takes over the listening sockets, and nobody notices.

use std::net::SocketAddr;
use std::sync::Arc;

use super::client::Client;
use super::endpoint::{Accepted, Endpoint};
use super::folder::Folder;
use super::h2_client::H2Client;
use super::heirs::{Heirs, Load};
use super::origin::Origin;
use super::plan::{Io, Plan};
use super::process::{BINARY, binary};
use super::site::{Site, TLS};
use super::wait::{now_ms, until, until_true};

const ASK: &str = "GET /chat HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                      Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
/// Answers between two upgrades, where each is looked at.
const SPAN: u64 = 250;
/// Upgrades in a row.
const ROW: u64 = 20;

/// A new connection for every request: none is refused, reset or left without its answer, and every process that was
/// replaced ends by itself.
fn nobody_notices_upgrades_in_a_row(io: Io) {
    let origin = Origin::echo();
    let mut heirs = Heirs::start(&Plan::to(io, &[origin.address()]).workers("2").log("off").yaml());
    let load = Load::plain(4, heirs.gateway.address());
    for _ in 0..ROW {
        let old = heirs.upgrades();
        load.goes_on(50);
        assert_eq!(heirs.exit_code_of(old), Some(0), "{}", heirs.gateway.notices.all().join("\n"));
    }
    assert!(load.ends_whole() >= ROW * 50);
    heirs.stop();
}

/// A client that keeps its connection learns by an answer that it is over, and no request that it has sent is lost; who rests
/// is let go after a while.
fn requests_on_kept_connections_are_answered(io: Io) {
    let origin = Origin::echo();
    let plan = Plan::to(io, &[origin.address()]).workers("2").log("off").runtime("idle_grace: 700ms");
    let mut heirs = Heirs::start(&plan.yaml());
    let load = Load::keeping(6, heirs.gateway.address());
    for _ in 0..2 {
        load.goes_on(20);
        let old = heirs.upgrades();
        load.goes_on(20);
        assert_eq!(heirs.exit_code_of(old), Some(0));
    }
    load.ends_whole();
    heirs.stop();
}

/// The new process may have more workers or fewer, another driver, and other listeners: no queue is left alone.
fn workers_driver_and_listeners_may_change_with_it(io: Io) {
    let origin = Origin::echo();
    let yaml = |io, workers: &str| Plan::to(io, &[origin.address()]).workers(workers).log("off").yaml();
    let other = if io == Io::Uring { Io::Epoll } else { Io::Uring };
    let more = "listeners:\n  more: { address: '127.0.0.1:0' }\n";
    let mut heirs = Heirs::start(&yaml(io, "3"));
    let load = Load::plain(4, heirs.gateway.address());
    for (io, workers, listeners) in [(other, 1, "listeners:\n"), (io, 2, more), (other, 2, "listeners:\n")] {
        load.goes_on(SPAN);
        heirs.gateway.writes(&yaml(io, &workers.to_string()).replace("listeners:\n", listeners));
        let old = heirs.upgrades();
        load.goes_on(SPAN);
        let status = heirs.gateway.status();
        assert_eq!(status["io"]["driver"], io.name());
        assert_eq!(status["workers"].as_array().map(Vec::len), Some(workers));
        assert_eq!(status["listeners"].as_array().map(Vec::len), Some(if listeners == more { 2 } else { 1 }));
        assert_eq!(heirs.exit_code_of(old), Some(0));
    }
    load.ends_whole();
    heirs.stop();
}

/// I4: the new process listens on more than what is passed to it, on the same port.
fn a_listener_is_widened_by_an_upgrade(io: Io) {
    let plan = Plan::bare(io).route("name: all, respond: { status: 200 }").workers("2").and("reload: { watch: false }");
    let mut heirs = Heirs::start(&plan.yaml());
    let port = heirs.gateway.address().port();
    heirs.gateway.writes(&plan.yaml().replace("web: { address: '127.0.0.1:0'", &format!("web: {{ address: ':{port}'")));
    let old = heirs.upgrades();
    assert_eq!(heirs.exit_code_of(old), Some(0));
    for ip in [[127, 0, 0, 1], [127, 0, 0, 2]] {
        let mut client = Client::to(SocketAddr::from((ip, port)));
        client.asks("/x");
        client.expects(200);
    }
    heirs.stop();
}

/// TLS, and HTTP/2 in the clear, on listeners of one gateway.
fn tls_and_http2_are_handed_over(io: Io) {
    let site = Site::new();
    let believer = Arc::new(site.believer());
    let plan = Plan::bare(io).route("name: all, respond: { status: 200, body: hello }").listener(TLS).log("off");
    let more = "listeners:\n  clear: { address: '127.0.0.1:0', protocols: [h2, http/1.1] }\n";
    let yaml = plan.yaml().replace("listeners:\n", more);
    let mut heirs = Heirs::start_in(site.folder, &yaml, |_| {});
    let (clear, web) = (heirs.gateway.address_of("clear"), heirs.gateway.address_of("web"));
    let secured = Load::of(2, move || {
        let mut client = Client::try_secured(web, &believer, "a.example").map_err(|error| format!("{error}"))?;
        client.asks("/x");
        assert_eq!(client.expects(200).text(), "hello");
        client.closes();
        Ok(())
    });
    let streams = Load::of(2, move || {
        // The process that ends says so at once, also to a client that has just come and not asked yet; it comes again.
        let (_client, stream) = until("a connection that takes a stream", || {
            let mut client = H2Client::to(clear);
            client.try_gets("/x").map(|stream| (client, stream))
        });
        assert_eq!(stream.expects(200).text(), "hello");
        Ok(())
    });
    for _ in 0..2 {
        secured.goes_on(20);
        streams.goes_on(20);
        let old = heirs.upgrades();
        secured.goes_on(20);
        streams.goes_on(20);
        assert_eq!(heirs.exit_code_of(old), Some(0));
    }
    secured.ends_whole();
    streams.ends_whole();
    heirs.stop();
}

/// A download of which the client has the first piece.
fn begins(endpoint: &Endpoint, client: &mut Client) -> Accepted {
    client.asks("/download");
    let mut download = endpoint.accepts();
    download.expects("GET /download");
    download.replies("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n");
    client.expects_head(200);
    assert_eq!(client.reads_chunk().as_deref(), Some(&b"first"[..]));
    download
}

/// What is open stays with the old process until it is done: a request, a download, a tunnel.
fn what_is_open_ends_in_its_own_time(io: Io) {
    let endpoint = Endpoint::listens();
    let mut heirs = Heirs::start(&Plan::to(io, &[endpoint.address()]).keepalive("idle_per_endpoint: 0").yaml());
    let (mut client, mut loading, mut talking) =
        (heirs.gateway.client(), heirs.gateway.client(), heirs.gateway.client());
    client.asks("/slow");
    let mut slow = endpoint.accepts();
    slow.expects("GET /slow");
    let mut download = begins(&endpoint, &mut loading);
    talking.sends(ASK);
    let mut tunnel = endpoint.accepts();
    tunnel.expects("GET /chat");
    tunnel.replies(SWITCH);
    talking.expects_interim(101);

    let old = heirs.upgrades();
    let mut new = heirs.gateway.client();
    new.asks("/new");
    let mut upstream = endpoint.accepts();
    upstream.expects("GET /new");
    upstream.replies_with("new");
    assert_eq!(new.expects(200).text(), "new");
    assert_eq!(heirs.gateway.metric("tunnels_active"), 0.0, "the admin server is the new process's");

    slow.replies_with("slow");
    let answer = client.expects(200);
    assert!(answer.text() == "slow" && answer.announces_close(), "RFC 9112 section 9.6: {answer}");
    client.sees_end();
    client.closes();
    download.replies("4\r\nlast\r\n0\r\n\r\n");
    assert_eq!(loading.reads_chunk().as_deref(), Some(&b"last"[..]));
    loading.closes();
    for _ in 0..3 {
        talking.sends("ping");
        assert_eq!(tunnel.reads(4), b"ping");
        tunnel.sends("pong");
        assert_eq!(talking.reads(4), b"pong");
    }
    assert!(heirs.gateway.process.ended().is_none(), "the tunnel is open");
    talking.half_closes();
    tunnel.sees_end();
    tunnel.closes();
    talking.sees_end();
    assert_eq!(heirs.exit_code_of(old), Some(0), "{}", heirs.gateway.notices.all().join("\n"));
    heirs.stop();
}

/// What does not end in the grace is closed then: the old process ends, and well, and the new one serves all the while.
fn an_old_process_drains_no_longer_than_its_grace(io: Io) {
    const GRACE_MS: u64 = 600;
    let endpoint = Endpoint::listens();
    let plan = Plan::to(io, &[endpoint.address()]).keepalive("idle_per_endpoint: 0");
    let mut heirs = Heirs::start(&plan.runtime(&format!("shutdown_grace: {GRACE_MS}ms")).yaml());
    let mut client = heirs.gateway.client();
    let mut download = begins(&endpoint, &mut client);

    let began_ms = now_ms();
    let old = heirs.upgrades();
    client.sees_break();
    download.sees_break();
    let took_ms = now_ms() - began_ms;
    assert!((GRACE_MS..GRACE_MS + 10_000).contains(&took_ms), "{took_ms} ms");
    assert_eq!(heirs.exit_code_of(old), Some(0), "{}", heirs.gateway.notices.all().join("\n"));
    let cut = heirs.gateway.notice("closing the connections that are left");
    assert_eq!((&cut["cut"], &cut["why"]), (&1.into(), &"Late".into()), "{cut}");

    let mut new = heirs.gateway.client();
    new.asks("/new");
    let mut upstream = endpoint.accepts();
    upstream.expects("GET /new");
    upstream.replies_with("new");
    assert_eq!(new.expects(200).text(), "new");
    drop((client, new, upstream));
    heirs.stop();
}

/// Whatever comes of the new process, the old one goes on, and everybody is told why.
fn a_process_that_cannot_serve_changes_nothing(io: Io) {
    let origin = Origin::echo();
    let plan = Plan::to(io, &[origin.address()]).workers("2").log("off");
    let unwatched = |plan: &Plan| format!("{}reload: {{ watch: off }}\n", plan.yaml());
    let mut heirs = Heirs::start(&unwatched(&plan));
    let load = Load::plain(2, heirs.gateway.address());
    let pid = heirs.gateway.status()["pid"].clone();
    let fails = |heirs: &Heirs, reason: &str| {
        let output = heirs.asks_for_upgrade();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(1) && said.contains(reason), "{reason}: {said}");
        let status = heirs.gateway.status();
        assert_eq!((&status["pid"], &status["last_upgrade"]["ok"]), (&pid, &false.into()), "{status}");
        let shown = status["last_upgrade"]["error"].as_str().unwrap_or_default();
        assert!(shown.contains(reason), "{reason}: {shown}");
        let text = "upgrade failed, this process goes on serving";
        let is_said = || heirs.gateway.notices_of(text).iter().any(|notice| notice["why"] == shown);
        until_true("a notice", is_said);
        load.goes_on(30);
    };
    heirs.places("/nonexistent/ringgate");
    fails(&heirs, "No such file or directory");
    heirs.places_script("crash", "exit 7");
    fails(&heirs, "the new process ended: exit status: 7");
    heirs.places_script("murder", "kill -9 $$");
    fails(&heirs, "the new process ended: signal: 9");
    heirs.places(BINARY);
    heirs.gateway.writes("version: 1\nlisteners: { web: { adress: ':80' } }\n");
    fails(&heirs, "gateway.yaml:2:21");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback");
    let more = format!("listeners:\n  more: {{ address: '{}' }}\n", taken.local_addr().expect("a bound socket"));
    heirs.gateway.writes(&unwatched(&plan).replace("listeners:\n", &more));
    fails(&heirs, "listener `more`: cannot listen on");
    let allows = |heirs: &Heirs, timeout: &str| {
        heirs.gateway.writes(&unwatched(&plan.clone().runtime(&format!("upgrade_timeout: {timeout}"))));
        assert_eq!(heirs.gateway.asks_admin("POST", "/reload").status(), 200);
    };
    allows(&heirs, "300ms");
    heirs.places_script("sleep", "exec sleep 1000");
    fails(&heirs, "not ready within 0.3s");
    heirs.places(BINARY);
    allows(&heirs, "20s");

    let old = heirs.upgrades();
    load.goes_on(30);
    assert_eq!(heirs.exit_code_of(old), Some(0));
    load.ends_whole();
    heirs.stop();
}

/// SIGUSR2 does what the command does; a second one is ignored, and a reload waits for the outcome.
fn a_signal_upgrades_and_a_second_one_is_ignored(io: Io) {
    let plan = Plan::bare(io).route("name: all, respond: { status: 200, body: first }");
    let mut heirs = Heirs::start(&plan.yaml());
    let folder = heirs.gateway.folder.path("");
    let (waiting, go) = (folder.join("waiting"), folder.join("go"));
    let wait = format!("touch {}; while [ ! -e {} ]; do sleep 0.01; done", waiting.display(), go.display());
    heirs.places_script("slow", &format!("{wait}; exec {BINARY} \"$@\""));
    heirs.signals(libc::SIGUSR2);
    until_true("the new process", || waiting.exists());
    heirs.signals(libc::SIGUSR2);
    assert_eq!(heirs.gateway.notice("upgrade not begun")["why"], "an upgrade is under way");
    heirs.gateway.writes(&plan.yaml().replace("first", "second"));
    heirs.gateway.notice("reload left to the new process");
    std::fs::write(go, "").expect("a file in the temporary directory");
    heirs.gateway.notice("upgraded, the new process serves");
    let pid = heirs.gateway.notice("upgraded, the new process serves")["pid"].clone();
    let old = heirs.is_replaced();
    assert_eq!(pid, heirs.serving);
    let mut client = heirs.gateway.client();
    client.asks("/");
    assert_eq!(client.expects(200).text(), "second");
    client.closes();
    assert_eq!(heirs.exit_code_of(old), Some(0));
    heirs.stop();
}

/// The admin server's unix socket stays where it is, and its path too when the old process ends.
fn the_admin_socket_is_handed_over(io: Io) {
    let folder = Folder::new();
    let socket = folder.path("admin.sock");
    let place = format!("'unix:{}' }}\nlisteners", socket.display());
    let yaml = Plan::bare(io).yaml().replace("'127.0.0.1:0' }\nlisteners", &place);
    let mut heirs = Heirs::start_in(folder, &yaml, |_| {});
    let at = format!("unix:{}", socket.display());
    for _ in 0..2 {
        let output = binary().args(["upgrade", "--admin", &at]).output().expect("a child");
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let pid = said.split_whitespace().nth(2).expect("a number").parse().expect("a number");
        let old = std::mem::replace(&mut heirs.serving, pid);
        assert_eq!(heirs.exit_code_of(old), Some(0));
        let output = binary().args(["health", "--url", &at]).output().expect("a child");
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    }
    heirs.stop();
    assert!(!socket.exists(), "the last one removes it");
}

on_both_drivers![
    nobody_notices_upgrades_in_a_row,
    requests_on_kept_connections_are_answered,
    workers_driver_and_listeners_may_change_with_it,
    a_listener_is_widened_by_an_upgrade,
    tls_and_http2_are_handed_over,
    what_is_open_ends_in_its_own_time,
    an_old_process_drains_no_longer_than_its_grace,
    a_process_that_cannot_serve_changes_nothing,
    a_signal_upgrades_and_a_second_one_is_ignored,
    the_admin_socket_is_handed_over,
];
