//! K3: spans of exchanges and their attempts, as a collector gets them, and collectors that do not take any.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::collector::{CLIENT, Collector, Mood, SERVER};
use super::endpoint::Endpoint;
use super::folder::Folder;
use super::gateway::Gateway;
use super::h2_client::H2Client;
use super::h2_endpoint::H2Endpoint;
use super::origin::Origin;
use super::pki::Authority;
use super::plan::{Io, Plan};
use super::site::{VERSIONS, server_of};
use super::trial::{ends, orders, stages};
use super::wait::{now_ms, until_true};

/// The span of a client that records its trace, as it says so.
const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
/// Retries on 503, as many as asked for.
const RETRY: &str = "retry: { attempts: 3, on: [503], budget: 100%, backoff: 1ms }";

fn tracing(address: impl std::fmt::Display, share: &str) -> String {
    format!("  tracing: {{ otlp: 'http://{address}', sample: {share} }}")
}

fn traced(plan: Plan, collector: &Collector, share: &str) -> Plan {
    plan.and(&tracing(collector.address(), share))
}

fn dropped(gateway: &Gateway, reason: &str) -> f64 {
    gateway.metric(&format!("traces_dropped_total{{reason=\"{reason}\"}}"))
}

/// Each attempt is noted in a buffer of the pool, and those differ in where they begin.
fn attempts_are_recorded_however_many_exchanges_are_under_way(io: Io) {
    const CLIENTS: usize = 40;
    let (collector, endpoint) = (Collector::start(), Endpoint::listens());
    let plan =
        Plan::bare(io).cluster("app", &[endpoint.address()]).route("name: shop, match: { path: /* }, cluster: app");
    let gateway = traced(plan, &collector, "100%").start();
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| gateway.client()).collect();
    let mut held = Vec::new();
    for (number, client) in clients.iter_mut().enumerate() {
        client.sends(format!("GET /{number} HTTP/1.1\r\nHost: a\r\n\r\n"));
        let mut upstream = endpoint.accepts();
        upstream.expects(&format!("GET /{number} "));
        held.push(upstream);
    }
    for upstream in &mut held {
        upstream.replies("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    }
    for (number, client) in clients.iter_mut().enumerate() {
        client.expects(200);
        let (_, attempts) = collector.exchange(&format!("/{number}"));
        assert_eq!(attempts.len(), 1, "of exchange {number}");
    }
    gateway.stop();
}

/// One span for the exchange, the child of the client's, and one for each attempt, the child of the exchange's, whose
/// identity its endpoint was told.
fn an_exchange_is_a_span_and_each_attempt_a_child_of_it(io: Io) {
    let (collector, endpoint) = (Collector::start(), Endpoint::listens());
    let plan = Plan::bare(io).cluster("app", &[endpoint.address()]);
    let plan = plan.route(&format!("name: shop, match: {{ path: /* }}, cluster: app, {RETRY}"));
    let gateway = traced(plan, &collector, "0%").start();
    let mut client = gateway.client();
    client.sends(format!(
        "GET /cart?secret=1 HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: test/1\r\nTraceparent: {PARENT}\r\n\r\n"
    ));
    let mut told = Vec::new();
    for status in ["503 No", "503 No", "200 OK"] {
        // What was given up of an answer ends with its connection.
        let mut upstream = endpoint.accepts();
        let request = upstream.expects("GET /cart?secret=1");
        told.push(request.field("traceparent").expect("one").split('-').nth(2).expect("a span").to_owned());
        upstream.replies(format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\nok"));
    }
    client.expects(200);
    let (own, attempts) = collector.exchange("/cart");
    assert_eq!((own.span.kind, &*own.span.name, &*own.service), (SERVER, "GET shop", "ringgate"));
    assert_eq!(own.trace(), "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(own.parent(), "00f067aa0ba902b7");
    for (key, value) in [
        ("http.request.method", "GET"),
        ("http.route", "shop"),
        ("http.response.status_code", "200"),
        ("server.address", "shop.example"),
        ("client.address", "127.0.0.1"),
        ("user_agent.original", "test/1"),
        ("network.protocol.version", "1.1"),
        ("gateway.cluster", "app"),
        ("gateway.attempts", "3"),
        ("error.type", ""),
    ] {
        assert_eq!(own.says(key), value, "{key}");
    }
    assert!(!own.is_error() && !format!("{:?}", own.span).contains("secret"), "{own:?}");
    assert_eq!(attempts.iter().map(|attempt| attempt.id()).collect::<Vec<_>>(), told);
    let port = endpoint.address().port().to_string();
    for (number, attempt) in attempts.iter().enumerate() {
        assert_eq!((attempt.span.kind, &*attempt.span.name), (CLIENT, "GET app"));
        assert_eq!((attempt.trace(), attempt.says("server.address")), (own.trace(), "127.0.0.1".to_owned()));
        assert_eq!((attempt.says("server.port"), attempt.says("url.path")), (port.clone(), "/cart".to_owned()));
        let is_last = number == 2;
        assert_eq!(attempt.is_error(), !is_last);
        assert_eq!(attempt.says("http.response.status_code"), if is_last { "200" } else { "503" });
        assert_eq!(attempt.says("gateway.reason"), if is_last { "" } else { "upstream_status" });
        assert_eq!(attempt.says("http.request.resend_count"), ["", "1", "2"][number]);
        assert_eq!(attempt.says("gateway.connection_reused"), "false");
        let (span, all) = (&attempt.span, &own.span);
        assert!(
            all.start_time_unix_nano <= span.start_time_unix_nano && span.end_time_unix_nano <= all.end_time_unix_nano
        );
        assert!(span.start_time_unix_nano < span.end_time_unix_nano, "{span:?}");
    }
    let now_ns = ringgate::clock::unix_ms() * 1_000_000;
    assert!(now_ns.abs_diff(own.span.start_time_unix_nano) < 60_000_000_000, "the wall clock");
    gateway.waits_for("traces_exported_total", 4.0);
    gateway.stop();
}

/// What failed and what was slow is recorded, whatever the share and the client say, also when its client would not wait any
/// longer; what a client did wrong is not.
fn errors_and_slow_ones_are_always_recorded(io: Io) {
    let (collector, endpoint) = (Collector::start(), Endpoint::listens());
    let plan = Plan::bare(io).cluster("app", &[endpoint.address()]).cluster("gone", &[Endpoint::closed()]);
    let plan = plan
        .route("name: gone, match: { path: /gone }, cluster: gone")
        .route("name: app, match: { path: /app/* }, cluster: app")
        .sample("slow: { over: 500ms }");
    let gateway = traced(plan, &collector, "0%").start();
    let mut client = gateway.client();
    client.sends(format!("GET /gone HTTP/1.1\r\nHost: a\r\nTraceparent: {}\r\n\r\n", PARENT.replace("-01", "-00")));
    client.expects(502);
    client.asks("/none");
    client.expects(404);
    client.asks("/app/quick");
    let mut upstream = endpoint.accepts();
    upstream.expects("GET /app/quick");
    upstream.replies_with("ok");
    client.expects(200);
    client.asks("/app/slow");
    upstream.expects("GET /app/slow");
    let began_ms = now_ms();
    until_true("it is slow", || now_ms() > began_ms + 530);
    upstream.replies_with("ok");
    client.expects(200);
    let (gone, attempts) = collector.exchange("/gone");
    assert!(gone.is_error() && gone.parent() == "00f067aa0ba902b7", "{gone:?}");
    for span in [&gone, &attempts[0]] {
        assert_eq!((span.says("error.type"), span.says("gateway.reason")).0, "connect_refused");
        assert_eq!(span.says("gateway.reason"), "connect_refused");
    }
    assert_eq!((attempts.len(), attempts[0].says("http.response.status_code")), (1, String::new()));
    let (slow, _) = collector.exchange("/app/slow");
    assert!(slow.span.end_time_unix_nano - slow.span.start_time_unix_nano >= 500_000_000 && !slow.is_error());
    client.asks("/app/tired");
    upstream.expects("GET /app/tired");
    let began_ms = now_ms();
    until_true("it is slow", || now_ms() > began_ms + 530);
    client.resets();
    let (tired, attempts) = collector.exchange("/app/tired");
    assert_eq!((tired.says("gateway.reason"), attempts.len(), tired.is_error()), ("client_abort".into(), 1, false));
    let quick = collector.all().iter().any(|seen| ["/none", "/app/quick"].contains(&&*seen.says("url.path")));
    assert!(!quick, "{:?}", collector.all());
    gateway.stop();
}

/// About the share of the traces that begin here is recorded.
fn a_share_is_recorded(io: Io) {
    let (collector, origin) = (Collector::start(), Origin::saying("ok"));
    let gateway = traced(Plan::to(io, &[origin.address()]).sample("ok: 0%"), &collector, "25%").start();
    let mut client = gateway.client();
    for number in 0..400 {
        client.asks(&format!("/{number}"));
        client.expects(200);
    }
    // Everything is there once the gateway has ended.
    gateway.stop();
    let recorded = collector.all().iter().filter(|seen| seen.span.kind == SERVER).count();
    assert!((50..=150).contains(&recorded), "{recorded} of 400 at 25 %");
}

/// A call of gRPC over HTTP/2 is a span with its status, and its attempt is told of.
fn a_call_is_a_span_with_its_status(io: Io) {
    let (collector, endpoint) = (Collector::start(), H2Endpoint::listens());
    let plan = Plan::bare(io).speaks_h2().cluster_of("app", &endpoint.entry());
    let gateway = traced(plan.route("name: calls, cluster: app"), &collector, "100%").start();
    let mut client = H2Client::to(gateway.address());
    let call = client.asks("POST", "/shop.Cart/Add", &[("content-type", "application/grpc"), ("te", "trailers")]);
    let accepted = endpoint.accepts();
    let mut asked = accepted.expects("POST /shop.Cart/Add");
    let told = asked.field("traceparent").to_owned();
    asked.begins(200, &[("content-type", "application/grpc")], false);
    asked.sends_trailers(&[("grpc-status", "5")]);
    call.expects(200);
    let (own, attempts) = collector.exchange("/shop.Cart/Add");
    assert_eq!((own.says("rpc.grpc.status_code"), own.says("network.protocol.version")), ("5".into(), "2".into()));
    assert_eq!(told, format!("00-{}-{}-01", own.trace(), attempts[0].id()));
    assert!(own.span.parent_span_id.is_empty(), "it begins here");
    gateway.stop();
}

/// A call of gRPC that its server fails is an error in the log and in its trace, like a status from 500 on; what a client got
/// wrong is none. Its shares: no line and no span but of errors.
fn a_call_that_its_server_fails_is_an_error(io: Io) {
    const CALL: [(&str, &str); 2] = [("content-type", "application/grpc"), ("te", "trailers")];
    let (collector, endpoint) = (Collector::start(), H2Endpoint::listens());
    let plan = Plan::bare(io).speaks_h2().cluster_of("app", &endpoint.entry()).route("name: calls, cluster: app");
    let gateway = traced(plan.sample("ok: 0%, errors: 100%, slow: { over: 1h }"), &collector, "0%").start();
    let mut client = H2Client::to(gateway.address());
    let mut accepted = None;
    for (path, status) in [("/a.B/None", "5"), ("/a.B/Well", "0"), ("/a.B/Down", "14")] {
        let call = client.asks("POST", path, &CALL);
        let mut asked = accepted.get_or_insert_with(|| endpoint.accepts()).expects(&format!("POST {path}"));
        asked.begins(200, &CALL[..1], false);
        asked.sends_trailers(&[("grpc-status", status)]);
        assert_eq!(call.expects(200).trailers["grpc-status"], status);
    }
    let (own, attempts) = collector.exchange("/a.B/Down");
    assert_eq!((own.is_error(), own.says("error.type")), (true, "14".to_owned()));
    assert_eq!((attempts.len(), attempts[0].is_error(), attempts[0].says("error.type")), (1, true, "14".to_owned()));
    assert_eq!(collector.all().len(), 2, "nothing of the others");
    let line = gateway.log_of("/a.B/Down");
    assert_eq!((&line["status"], &line["grpc_status"]), (&200.into(), &14.into()), "{line}");
    assert_eq!(gateway.log_lines().len(), 1);
    gateway.stop();
}

/// A tunnel that was opened at once is not slow, however long it is used: neither the log nor a trace has it as such.
fn a_tunnel_is_not_slow_for_being_used(io: Io) {
    const ASK: &str = "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let (collector, endpoint) = (Collector::start(), Endpoint::listens());
    let plan = Plan::to(io, &[endpoint.address()]).route("name: bad, match: { path: /bad }, respond: { status: 500 }");
    let plan = plan.sample("ok: 0%, slow: { over: 3s, share: 100% }, errors: 100%");
    let gateway = traced(plan, &collector, "0%").start();
    let mut client = gateway.client();
    client.sends(ASK);
    let mut upstream = endpoint.accepts();
    upstream.expects("GET /chat");
    upstream.replies(SWITCH);
    client.expects_interim(101);
    let began_ms = now_ms();
    until_true("it is used for long", || now_ms() > began_ms + 3_100);
    client.closes();
    upstream.closes();
    gateway.waits_for("tunnels_active", 0.0);
    // Whatever came before this one has its line and its span before it.
    gateway.client().asks("/bad").expects(500);
    collector.exchange("/bad");
    gateway.log_of("/bad");
    assert!(collector.find("/chat").is_none() && gateway.log_lines().len() == 1, "{:?}", gateway.log_lines());
    gateway.stop();
}

/// A configuration on trial that turns tracing on has its spans sent from its promotion on, and none is lost before: they are
/// not made.
fn a_trial_is_recorded_once_it_is_promoted(io: Io) {
    const STAGE: &str = "reload: { watch: false, stage: { share: 100%, for: 1h } }";
    let (collector, origin) = (Collector::start(), Origin::saying("ok"));
    let plan = Plan::to(io, &[origin.address()]);
    let gateway = plan.clone().and(STAGE).start();
    let number = stages(&gateway, &traced(plan, &collector, "100%").and(STAGE).yaml());
    let mut client = gateway.client();
    client.asks("/staged").expects(200);
    gateway.log_of("/staged");
    assert_eq!(orders(&gateway, "promote").0, 200);
    assert_eq!(ends(&gateway, number)["outcome"], "promoted");
    client.asks("/promoted").expects(200);
    collector.exchange("/promoted");
    assert!(collector.find("/staged").is_none());
    assert_eq!(gateway.metric_sum("traces_dropped_total"), 0.0);
    gateway.stop();
}

/// To turn tracing on while there is traffic loses no span of any request that is served by the new configuration, and to turn
/// it off is no loss.
fn to_turn_tracing_on_and_off_loses_no_span(io: Io) {
    let (collector, origin) = (Collector::start(), Origin::saying("ok"));
    let plan = Plan::to(io, &[origin.address()]);
    let gateway = plan.start();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let mut client = gateway.client();
        let is_over = &is_over;
        let busy = scope.spawn(move || {
            for _ in 0..100_000 {
                client.asks("/x").expects(200);
                if is_over.load(Ordering::Relaxed) {
                    return;
                }
                // However rarely the spans are collected, there is room for those of so few.
                std::thread::park_timeout(Duration::from_millis(1));
            }
        });
        gateway.adopts(&traced(plan.clone(), &collector, "100%").yaml());
        until_true("some are recorded", || collector.all().len() > 100);
        is_over.store(true, Ordering::Relaxed);
        busy.join().expect("it asks and is answered");
    });
    gateway.client().asks("/last").expects(200);
    gateway.log_of("/last");
    let traced = gateway.log_lines().iter().filter(|line| line["epoch"] == 2).count();
    until_true("all are there", || collector.all().len() >= 2 * traced);
    assert_eq!(collector.all().len(), 2 * traced, "an exchange and an attempt each");
    gateway.adopts(&plan.yaml());
    assert_eq!(gateway.metric_sum("traces_dropped_total"), 0.0);
    gateway.stop();
}

/// A collector that answers 500 or rubbish costs spans, which are counted by why, and no traffic; once it takes them again,
/// it gets them.
fn a_collector_that_takes_nothing_costs_spans_and_no_traffic(io: Io) {
    let (collector, origin) = (Collector::start(), Origin::saying("ok"));
    let plan = Plan::to(io, &[origin.address()]);
    let gateway = traced(plan.clone(), &collector, "100%").start();
    let mut client = gateway.client();
    let mut asks = |path: &str| {
        client.asks(path);
        assert_eq!(client.expects(200).text(), "ok");
    };
    for (mood, reason) in [(Mood::Fails, "status"), (Mood::Page, "bad_answer"), (Mood::Garbage, "bad_answer")] {
        collector.turns(mood);
        let before = dropped(&gateway, reason);
        asks(&format!("/{reason}"));
        until_true(reason, || dropped(&gateway, reason) >= before + 2.0);
    }
    collector.turns(Mood::Takes);
    asks("/again");
    collector.exchange("/again");
    assert_eq!(gateway.notices_of("the collector takes no spans, they are lost and counted").len(), 1, "told once");
    gateway.notice("the collector takes spans again");
    collector.turns(Mood::Picks);
    asks("/picked");
    until_true("one is counted", || dropped(&gateway, "rejected") > 0.0);
    // A collector that is not there at all, by a reload.
    gateway.adopts(&plan.clone().and(&tracing(Endpoint::closed(), "100%")).yaml());
    asks("/away");
    until_true("unreachable", || dropped(&gateway, "unreachable") >= 2.0);
    // And none any more.
    let requests = collector.requests();
    gateway.adopts(&plan.yaml());
    asks("/untraced");
    gateway.stop();
    assert_eq!(collector.requests(), requests);
}

/// A collector that takes connections and says nothing costs spans, which are counted, no traffic, no memory, and not the end.
fn a_collector_that_stalls_costs_spans_and_no_traffic(io: Io) {
    let (stalled, origin) = (Endpoint::listens(), Origin::saying("ok"));
    let plan = Plan::to(io, &[origin.address()]).log("off").and(&tracing(stalled.address(), "100%"));
    let gateway = plan.start();
    let mut client = gateway.client();
    let requests = "GET /x HTTP/1.1\r\nHost: a\r\n\r\n".repeat(50);
    let mut floods = || {
        client.sends(&requests);
        for _ in 0..50 {
            client.expects(200);
        }
    };
    let mut until_full = |more: f64| {
        let before = dropped(&gateway, "ring_full");
        until_true("a full ring drops", || {
            floods();
            dropped(&gateway, "ring_full") > before + more
        });
    };
    until_full(0.0);
    let resident = gateway.process.resident_bytes();
    until_full(5_000.0);
    let grown = gateway.process.resident_bytes().saturating_sub(resident);
    assert!(grown < 4 << 20, "{grown} bytes more");
    until_true("late answers are counted", || dropped(&gateway, "timeout") > 0.0);
    let began_ms = now_ms();
    gateway.stop();
    assert!(now_ms() - began_ms < 6_000, "the end waits for nobody that long");
}

/// Over TLS by the authority that is named, and nobody else's: a collector that another one vouches for gets no span; they are
/// counted, the log says why, and traffic does not notice.
fn a_collector_over_tls_is_known_by_its_authority(io: Io) {
    let (known, other, folder) = (Authority::new("known"), Authority::new("other"), Folder::new());
    let origin = Origin::saying("ok");
    let server = || server_of(&known.certifies(&["localhost"]), &VERSIONS, None);
    let (collector, stranger) = (Collector::secured(server()), Collector::secured(server()));
    let (good, bad) = (folder.write("known.pem", known.pem()), folder.write("other.pem", other.pem()));
    let to = |collector: &Collector, ca: &Path| {
        let (port, ca) = (collector.address().port(), ca.display());
        format!("  tracing: {{ otlp: 'https://localhost:{port}', ca: '{ca}', sample: 100% }}")
    };
    let plan = Plan::to(io, &[origin.address()]);
    let gateway = plan.clone().and(&to(&collector, &good)).start();
    let mut client = gateway.client();
    let mut asks = |path: &str| assert_eq!(client.asks(path).expects(200).text(), "ok");
    asks("/known");
    collector.exchange("/known");
    gateway.waits_for("traces_exported_total", 2.0);
    gateway.adopts(&plan.clone().and(&to(&stranger, &bad)).yaml());
    asks("/lost");
    until_true("they are lost", || dropped(&gateway, "unreachable") >= 2.0);
    let told = gateway.notice("the collector takes no spans, they are lost and counted");
    assert!(told["error"].as_str().is_some_and(|error| error.contains("UnknownIssuer")), "{told}");
    // The same collector with the right authority, by a reload.
    gateway.adopts(&plan.and(&to(&stranger, &good)).yaml());
    asks("/again");
    stranger.exchange("/again");
    assert!(stranger.find("/lost").is_none(), "it never came to a request");
    gateway.waits_for("traces_exported_total", 4.0);
    gateway.stop();
}

/// Batches of a gateway that has spans all the time are half a second apart and share a connection; the first one does not wait.
fn batches_are_few_and_share_a_connection(io: Io) {
    let (collector, origin) = (Collector::start(), Origin::saying("ok"));
    let gateway = traced(Plan::to(io, &[origin.address()]), &collector, "100%").start();
    let mut client = gateway.client();
    let began_ms = now_ms();
    for path in ["/a", "/b", "/c"] {
        client.asks(path).expects(200);
        collector.exchange(path);
    }
    let took_ms = now_ms() - began_ms;
    assert!(took_ms >= 1_000, "{took_ms} ms");
    assert_eq!((collector.requests(), collector.connections()), (3, 1));
    gateway.stop();
}

/// A graceful end sends what is left.
fn the_last_spans_are_sent_before_the_end(io: Io) {
    let (collector, origin) = (Collector::start(), Origin::saying("ok"));
    let gateway = traced(Plan::to(io, &[origin.address()]), &collector, "100%").start();
    let mut client = gateway.client();
    for number in 0..600 {
        client.asks(&format!("/{number}"));
        client.expects(200);
    }
    gateway.stop();
    let recorded = collector.all().iter().filter(|seen| seen.says("url.path") != "/health").count();
    assert_eq!(recorded, 1_200, "an exchange and an attempt each");
    // Those of a request that was just answered: the exporter has not looked since by itself.
    for _ in 0..5 {
        let collector = Collector::start();
        let mut gateway = traced(Plan::to(io, &[origin.address()]), &collector, "100%").start();
        gateway.client().asks("/last").expects(200);
        gateway.signal(libc::SIGTERM);
        assert_eq!(gateway.process.exit_code(), Some(0));
        let (_own, attempts) = collector.find("/last").expect("it was sent before the end");
        assert_eq!(attempts.len(), 1);
    }
}

on_both_drivers![
    an_exchange_is_a_span_and_each_attempt_a_child_of_it,
    attempts_are_recorded_however_many_exchanges_are_under_way,
    errors_and_slow_ones_are_always_recorded,
    a_share_is_recorded,
    a_call_is_a_span_with_its_status,
    a_call_that_its_server_fails_is_an_error,
    a_tunnel_is_not_slow_for_being_used,
    a_trial_is_recorded_once_it_is_promoted,
    to_turn_tracing_on_and_off_loses_no_span,
    a_collector_that_takes_nothing_costs_spans_and_no_traffic,
    a_collector_over_tls_is_known_by_its_authority,
    a_collector_that_stalls_costs_spans_and_no_traffic,
    batches_are_few_and_share_a_connection,
    the_last_spans_are_sent_before_the_end,
];
