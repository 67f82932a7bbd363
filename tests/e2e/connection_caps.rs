//! J5 and F29: how many connections a listener has at most, and each client of it.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::sync::Arc;

use socket2::{Domain, Socket, Type};

use super::client::Client;
use super::endpoint::Endpoint;
use super::gateway::Gateway;
use super::h2_wire::{CANCEL, Fate, H2Wire, REFUSED_STREAM, get, reset};
use super::plan::{Io, Plan};
use super::site::{Site, greeter};
use super::wait::{thread, until_true};
use super::wire::End;

const PER_CLIENT: &str = "net_connections_rejected_total{cap=\"connections_per_client\"}";
const IN_ALL: &str = "net_connections_rejected_total{cap=\"connections\"}";

/// A gateway of two workers that answers everything itself.
fn plan(io: Io, limits: &str) -> Plan {
    Plan::bare(io).workers("2").route("name: all, respond: { status: 200, body: hello }").limits(limits)
}

/// A connection from 127.0.0.`host`.
fn from(host: u8, to: SocketAddr) -> Client {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    let own = SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, host), 0);
    socket.bind(&own.into()).expect("an address of loopback");
    socket.connect(&to.into()).expect("a connection to loopback");
    Client::of(TcpStream::from(socket))
}

/// Is a request on it answered? Otherwise the connection is closed without a word.
fn is_let_in(client: &mut Client) -> bool {
    if client.try_send("GET /x HTTP/1.1\r\nHost: a.example\r\n\r\n").is_err() {
        return false;
    }
    let answer = client.try_reads_head();
    if answer.is_some() {
        assert_eq!(client.reads(5), b"hello");
    }
    answer.is_some()
}

/// Many connections at once by several threads; those that are let in.
fn storms(gateway: &Gateway, host: u8, many: usize) -> Vec<Client> {
    let address = gateway.address();
    let storm = move || {
        let mut clients: Vec<_> = (0..many / 4).map(|_| from(host, address)).collect();
        clients.retain_mut(is_let_in);
        clients
    };
    let threads: Vec<_> = (0..4).map(|_| thread("storm", storm)).collect();
    threads.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect()
}

/// Of many at once from one address exactly as many are let in as may be, over both workers; others do not notice, and
/// what is given up is given on.
fn a_client_has_as_many_connections_as_it_may(io: Io) {
    let gateway = plan(io, "connections_per_client: 10").start();
    let mut bystander = from(3, gateway.address());
    assert!(is_let_in(&mut bystander));
    for round in 1..=3 {
        let mut held = storms(&gateway, 2, 60);
        assert_eq!(held.len(), 10, "round {round}");
        gateway.waits_for(PER_CLIENT, f64::from(round) * 51.0 - 1.0);
        assert!(is_let_in(&mut bystander) && is_let_in(&mut from(4, gateway.address())));
        held.pop();
        gateway.waits_for("net_connections_active", 10.0);
        let mut next = from(2, gateway.address());
        assert!(is_let_in(&mut next) && held.iter_mut().all(is_let_in));
        assert!(!is_let_in(&mut from(2, gateway.address())));
        drop((held, next));
        gateway.waits_for("net_connections_active", 1.0);
        gateway.waits_for(PER_CLIENT, f64::from(round) * 51.0);
    }
    gateway.stop();
}

/// The same for all clients of a listener together; another listener has caps of its own.
fn a_listener_has_as_many_connections_as_it_may(io: Io) {
    let yaml = plan(io, "connections: 8").yaml();
    let gateway = Gateway::start(&yaml.replace("defaults:", "  other: { address: '127.0.0.1:0' }\ndefaults:"));
    for round in 1..=3 {
        let mut held = storms(&gateway, 2, 40);
        assert_eq!(held.len(), 8, "round {round}");
        assert!(!is_let_in(&mut from(3, gateway.address())), "whoever it is");
        assert!(is_let_in(&mut from(3, gateway.address_of("other"))));
        gateway.waits_for(IN_ALL, f64::from(round) * 33.0);
        assert!(held.iter_mut().all(is_let_in));
        drop(held);
        gateway.waits_for("net_connections_active", 0.0);
    }
    let notice = gateway.notice("connections rejected");
    assert_eq!(notice["cap"], "connections");
    assert_eq!(gateway.notices_of("connections rejected").len(), 1, "one for all of them");
    assert_eq!(gateway.metric("net_connections_rejected_total{cap=\"max_connections\"}"), 0.0);
    gateway.stop();
}

/// A reload changes how many there may be: at once for new connections, never for those that are there.
fn a_reload_changes_how_many_there_may_be(io: Io) {
    let gateway = plan(io, "connections_per_client: 4").start();
    let mut held = storms(&gateway, 2, 20);
    assert_eq!(held.len(), 4);
    gateway.adopts(&plan(io, "connections_per_client: 6").yaml());
    held.extend(storms(&gateway, 2, 20));
    assert_eq!(held.len(), 6, "those of before it count");
    gateway.adopts(&plan(io, "connections_per_client: 3, connections: 7").yaml());
    assert!(held.iter_mut().all(is_let_in), "nobody is turned out");
    assert!(!is_let_in(&mut from(2, gateway.address())));
    let mut other = from(3, gateway.address());
    assert!(is_let_in(&mut other) && !is_let_in(&mut from(4, gateway.address())), "seven in all");
    held.truncate(2);
    gateway.waits_for("net_connections_active", 3.0);
    held.extend(storms(&gateway, 2, 20));
    assert_eq!(held.len(), 3);
    gateway.adopts(&plan(io, "").yaml());
    assert_eq!(storms(&gateway, 2, 20).len(), 20);
    gateway.stop();
}

/// Those who are there count whatever their listener is called, and wherever it is by now.
fn a_listener_that_is_renamed_and_moved_keeps_its_count(io: Io) {
    let plan = plan(io, "connections_per_client: 4, connections: 5");
    let gateway = plan.start();
    let mut held = storms(&gateway, 2, 20);
    assert_eq!(held.len(), 4);
    for (name, ip) in [("site", "127.0.0.1"), ("site", "0.0.0.0"), ("more", "0.0.0.0")] {
        let listener = format!("{name}: {{ address: '{ip}:{}'", gateway.address().port());
        gateway.adopts(&plan.yaml().replace("web: { address: '127.0.0.1:0'", &listener));
        assert!(!is_let_in(&mut from(2, gateway.address())), "{listener}");
        let mut other = from(3, gateway.address());
        assert!(is_let_in(&mut other) && !is_let_in(&mut from(4, gateway.address())), "{listener}: five in all");
        drop(other);
        gateway.waits_for("net_connections_active", 4.0);
        assert!(held.iter_mut().all(is_let_in), "{listener}");
    }
    held.truncate(2);
    gateway.waits_for("net_connections_active", 2.0);
    assert_eq!(storms(&gateway, 2, 20).len(), 2);
    gateway.stop();
}

/// A connection that another worker serves than the one that accepted it counts once, and not after its end.
fn a_connection_that_is_handed_over_gives_its_place_back(io: Io) {
    const HANDED: &str = "net_connections_handed_over_total";
    let gateway = plan(io, "connections: 40, connections_per_client: 20").start();
    let mut rounds = 0;
    until_true("connections were handed over, in three rounds at least", || {
        let mut held: Vec<Client> = (0..20).map(|_| from(2, gateway.address())).collect();
        assert!(held.iter_mut().all(is_let_in), "all places are back, round {rounds}");
        assert!(!is_let_in(&mut from(2, gateway.address())), "and no more than these");
        drop(held);
        gateway.waits_for("net_connections_active", 0.0);
        rounds += 1;
        rounds >= 3 && gateway.metric(HANDED) > 5.0
    });
    assert_eq!(gateway.metric(PER_CLIENT), f64::from(rounds));
    gateway.stop();
}

/// Behind a trusted proxy the client is whom the proxy announces; the proxy itself has as many connections as it likes.
fn behind_a_proxy_the_announced_client_is_counted(io: Io) {
    let trust = "proxy_protocol: optional, trusted_proxies: [127.0.0.2]";
    let gateway = plan(io, "connections_per_client: 2").listener(trust).start();
    let announced = |client: &str| {
        let mut proxy = from(2, gateway.address());
        proxy.sends(format!("PROXY TCP4 {client} 192.0.2.9 5 6\r\n"));
        proxy
    };
    let mut held: Vec<Client> = Vec::new();
    for client in ["192.0.2.1", "192.0.2.2"] {
        held.extend((0..2).map(|_| announced(client)));
        assert!(held.iter_mut().all(is_let_in));
        assert!(!is_let_in(&mut announced(client)), "{client}");
    }
    held.extend((0..5).map(|_| from(2, gateway.address())));
    assert!(held.iter_mut().all(is_let_in), "it speaks for itself");
    let mut strangers: Vec<Client> = (0..3).map(|_| from(3, gateway.address())).collect();
    assert_eq!(strangers.iter_mut().filter_map(|stranger| is_let_in(stranger).then_some(())).count(), 2);
    held.remove(0).closes();
    gateway.waits_for("net_connections_active", 10.0);
    assert!(is_let_in(&mut announced("192.0.2.1")), "what is given up is given on");
    drop((held, strangers));
    gateway.waits_for("net_connections_active", 0.0);
    gateway.stop();
}

/// With TLS a connection counts from its beginning, before the handshake, and until its end.
fn connections_of_tls_are_counted_before_their_handshake(io: Io) {
    let (gateway, config) = greeter(io, "connections_per_client: 2, handshake_timeout: 60s");
    let mut client = Client::secured(gateway.address(), &config, "a.example");
    client.asks("/x");
    client.expects(200);
    let silent = gateway.client();
    gateway.waits_for("net_connections_active", 2.0);
    assert!(Client::try_secured(gateway.address(), &config, "a.example").is_err());
    gateway.waits_for(PER_CLIENT, 1.0);
    silent.closes();
    gateway.waits_for("net_connections_active", 1.0);
    let mut next = Client::secured(gateway.address(), &config, "a.example");
    next.asks("/x");
    next.expects(200);
    drop((client, next));
    gateway.waits_for("net_connections_active", 0.0);
    gateway.stop();
}

/// A connection of HTTP/2 is one however many streams it has, and a tunnel is one for as long as it lives.
fn streams_and_tunnels_are_counted_with_their_connection(io: Io) {
    let endpoint = Endpoint::listens();
    let plan = Plan::to(io, &[endpoint.address()]).speaks_h2().limits("connections_per_client: 2");
    let gateway = plan.start();
    let mut streams = H2Wire::to(gateway.address());
    for number in [1, 3, 5] {
        streams.sends(get(number, "/health"));
        assert_eq!(streams.fate_of(number), Fate::Status(200));
    }
    let mut tunnel = gateway.client();
    tunnel.sends("GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    let mut accepted = endpoint.accepts();
    accepted.expects("GET /chat");
    accepted.replies("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    tunnel.expects_interim(101);
    gateway.waits_for("tunnels_active", 1.0);
    assert!(matches!(gateway.client().sees_break(), End::Closed | End::Reset));
    accepted.closes();
    tunnel.sees_end();
    drop(tunnel);
    gateway.waits_for("net_connections_active", 1.0);
    let mut next = gateway.client();
    next.asks("/health");
    next.expects(200);
    assert!(matches!(gateway.client().sees_break(), End::Closed | End::Reset));
    drop(streams);
    gateway.waits_for("net_connections_active", 1.0);
    let mut last = gateway.client();
    last.asks("/health");
    last.expects(200);
    gateway.stop();
}

/// F29: a client that opens connections and says nothing keeps nobody else out.
fn a_client_with_silent_connections_keeps_nobody_out(io: Io) {
    let site = Site::new();
    let config = Arc::new(site.believer());
    let plan = plan(io, "connections: 60, connections_per_client: 50, handshake_timeout: 60s");
    let (_, gateway) = site.start(plan);
    let silent: Vec<Client> = (0..200).map(|_| from(2, gateway.address())).collect();
    gateway.waits_for(PER_CLIENT, 150.0);
    let mut client = Client::secured(gateway.address(), &config, "a.example");
    client.asks("/x");
    client.expects(200);
    drop(silent);
    gateway.waits_for("net_connections_active", 1.0);
    gateway.stop();
}

/// A client of HTTP/2 may have as many streams as the listener says, and leave all of them at once.
fn a_client_may_have_and_leave_as_many_streams_as_it_is_told(io: Io) {
    let origin = super::origin::Origin::serving(|mut wire| {
        wire.try_reads_head();
        wire.try_reads_to_end();
    });
    for most in [7_u32, 300] {
        let plan = Plan::to(io, &[origin.address()]).speaks_h2().limits(&format!("h2_streams: {most}"));
        let gateway = plan.keepalive("idle_per_endpoint: 0").start();
        let streams: Vec<u32> = (0..most).map(|number| 2 * number + 1).collect();
        let further = 2 * most + 1;
        let opens = || {
            let mut client = H2Wire::to(gateway.address());
            client.sends(streams.iter().flat_map(|id| get(*id, "/stuck")).collect::<Vec<u8>>());
            gateway.waits_for("http2_streams_active", f64::from(most));
            client
        };
        let mut client = opens();
        client.sends(streams.iter().flat_map(|id| reset(*id, CANCEL)).collect::<Vec<u8>>());
        client.sends(get(further, "/health"));
        assert_eq!(client.fate_of(further), Fate::Status(200), "{most}");
        gateway.waits_for("http2_streams_active", 0.0);
        let mut greedy = opens();
        greedy.sends(get(further, "/health"));
        assert_eq!(greedy.fate_of(further), Fate::Reset(REFUSED_STREAM), "{most}");
        drop((client, greedy));
        until_true("nothing is left upstream", || gateway.metric("upstream_connections_active") < 0.5);
        gateway.stop();
    }
}

on_both_drivers![
    a_client_has_as_many_connections_as_it_may,
    a_listener_has_as_many_connections_as_it_may,
    a_reload_changes_how_many_there_may_be,
    a_listener_that_is_renamed_and_moved_keeps_its_count,
    a_connection_that_is_handed_over_gives_its_place_back,
    behind_a_proxy_the_announced_client_is_counted,
    connections_of_tls_are_counted_before_their_handshake,
    streams_and_tunnels_are_counted_with_their_connection,
    a_client_with_silent_connections_keeps_nobody_out,
    a_client_may_have_and_leave_as_many_streams_as_it_is_told,
];
