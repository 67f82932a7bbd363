//! H5: latencies and events of the admin server.

use serde_json::{Value, json};

use super::admin::{READ_TOKEN, TOKEN, asks, guarded};
use super::folder::Folder;
use super::gateway::Gateway;
use super::gateway::json as parsed;
use super::heirs::Heirs;
use super::origin::Origin;
use super::plan::{Io, Plan};
use super::wait::{now_ms, until};
use super::wire::Wire;

/// Those who may listen at once.
const LISTENERS: usize = 32;

/// One who listens to events, once the answer has begun.
struct Listener(Wire);

impl Listener {
    /// The answer's status instead, if it is another than 200.
    fn of(gateway: &Gateway) -> Result<Self, u16> {
        let mut wire = Wire::to(gateway.admin());
        wire.sends(format!("GET /events HTTP/1.1\r\nHost: {}\r\n\r\n", gateway.admin()));
        let head = wire.reads_head();
        if head.status() != 200 {
            return Err(head.status());
        }
        assert_eq!(head.field("content-type"), Some("text/event-stream"));
        Ok(Self(wire))
    }

    /// The kind of the next event and what it says; `None` at the end.
    fn next(&mut self) -> Option<(String, Value)> {
        let event = String::from_utf8(self.0.reads_chunk()?).expect("text");
        let (kind, told) =
            event.strip_suffix("\n\n").expect("a whole event").split_once("\ndata: ").expect("two lines");
        Some((kind.strip_prefix("event: ").expect("a kind").to_owned(), parsed(told)))
    }

    /// The next frame for which `wanted` gives something.
    fn waits_for<T>(&mut self, what: &str, mut wanted: impl FnMut(&Value) -> Option<T>) -> T {
        until(what, || {
            let (kind, frame) = self.next().expect("no end");
            if kind == "frame" { wanted(&frame) } else { None }
        })
    }
}

fn named<'a>(page: &'a Value, kind: &str, name: &str) -> &'a Value {
    let all = page[kind].as_array().expect("a list");
    all.iter().find(|one| one["name"] == name).unwrap_or_else(|| panic!("no {name} in {page}"))
}

/// Percentiles rise, none is longer than what a client measured, and every exchange is in all, in its route and in its cluster.
fn latencies_are_told_by_route_and_by_cluster(io: Io) {
    let origin = Origin::echo();
    let gateway = Plan::bare(io)
        .workers("2")
        .cluster("app", &[origin.address()])
        .route("name: far, match: { path: /far/* }, cluster: app")
        .route("name: near, match: { path: /near }, respond: { status: 200, body: in }")
        .start();
    let began_ms = now_ms();
    for _ in 0..3 {
        let mut client = gateway.client();
        for _ in 0..20 {
            client.asks("/far/x").expects(200);
            client.asks("/near").expects(200);
        }
        client.asks("/nowhere").expects(404);
    }
    gateway.waits_for("http_requests_active", 0.0);
    let most_us = (now_ms() - began_ms + 1) as f64 * 1_000.0 * 33.0 / 32.0;
    let page = parsed(gateway.asks_admin("GET", "/latency").text());
    let counted = [
        ("all", &page["all"], 123),
        ("far", named(&page, "routes", "far"), 60),
        ("near", named(&page, "routes", "near"), 60),
        ("other", named(&page, "routes", "other"), 3),
        ("app", named(&page, "clusters", "app"), 60),
    ];
    for (name, shown, count) in counted {
        for span in ["minute", "since_start"] {
            let shown = &shown[span];
            assert_eq!(shown["count"], count, "{name} {span}: {page}");
            let keys = ["p50_us", "p90_us", "p99_us", "p99_9_us", "p99_99_us", "max_us"];
            let values = keys.map(|key| shown[key].as_f64().expect("a number"));
            assert!(values[0] > 0.0 && values.is_sorted() && values[5] <= most_us, "{name} {span}: {values:?}");
        }
    }
    assert_eq!(
        (page["routes"].as_array().map(Vec::len), page["clusters"].as_array().map(Vec::len)),
        (Some(3), Some(1))
    );
    gateway.stop();
}

/// However many routes there are, memory is that of so many series; the rest is told together.
fn routes_beyond_the_bound_share_their_latencies(io: Io) {
    let mut plan = Plan::bare(io);
    for number in 0..1030 {
        plan = plan.route(&format!("name: r{number}, match: {{ path: /{number} }}, respond: {{ status: 204 }}"));
    }
    let gateway = plan.start();
    let mut client = gateway.client();
    for number in [0, 1023, 1024, 1029] {
        client.asks(&format!("/{number}")).expects(204);
    }
    gateway.waits_for("http_requests_active", 0.0);
    let page = parsed(gateway.asks_admin("GET", "/latency").text());
    let shown: Vec<(&Value, &Value)> =
        page["routes"].as_array().expect("a list").iter().map(|one| (&one["name"], &one["minute"]["count"])).collect();
    assert_eq!(json!(shown), json!([["r0", 1], ["r1023", 1], ["other", 2]]));
    gateway.stop();
}

/// Who listens is told what was, then what is, every second and at every change; the gateway's end is not held up.
fn events_tell_of_every_second_and_of_every_change(io: Io) {
    let origin = Origin::echo();
    let gateway = Plan::to(io, &[origin.address()]).workers("2").and("policy: {}").start();
    let mut listener = Listener::of(&gateway).unwrap();
    assert_eq!(listener.next().expect("no end").0, "past");
    let first = listener.next().expect("no end");
    assert_eq!((first.0.as_str(), &first.1["gateway"]["ready"]), ("frame", &true.into()));
    let mut client = gateway.client();
    for _ in 0..50 {
        client.asks("/x").expects(200);
    }
    let mut told = 0;
    let frame = listener.waits_for("fifty requests in the seconds told", |frame| {
        let second = &frame["second"];
        told += second["latency"]["count"].as_u64().unwrap_or(0);
        (told >= 50).then(|| frame.clone())
    });
    let (second, cluster) = (&frame["second"], &frame["clusters"][0]);
    assert!(second["requests_per_second"].as_f64().is_some_and(|rate| rate > 0.0), "{frame}");
    let heat = second["heat"].as_array().expect("rows");
    assert_eq!(
        heat.iter().map(|row| row[1].as_u64().unwrap()).sum::<u64>(),
        second["latency"]["count"].as_u64().unwrap()
    );
    assert_eq!(
        (&cluster["name"], &cluster["endpoints"][0]["address"]),
        (&"app".into(), &origin.address().to_string().into())
    );
    assert_eq!((&cluster["endpoints_fit"], &cluster["minute"]["count"]), (&1.into(), &50.into()), "{cluster}");
    assert_eq!(frame["workers"].as_array().map(Vec::len), Some(2));
    assert_eq!(gateway.posts("/policy", r#"{"enabled": false}"#).status(), 200);
    listener
        .waits_for("the policy", |frame| (frame["gateway"]["policy"]["document"]["enabled"] == false).then_some(()));
    client.asks("/x").expects(429);
    listener.waits_for("the rejection", |frame| (frame["rejections"][0]["reason"] == "policy_enforced").then_some(()));
    listener.waits_for("what workers use", |frame| frame["workers"][0]["busy"].as_f64());
    drop(client);
    let began_ms = now_ms();
    gateway.stop();
    until("the end of the stream", || listener.0.try_reads_to_end().is_empty().then_some(()));
    assert!(now_ms() - began_ms < 5_000, "a stream held up the end");
}

/// As many may listen as a bound says; one who leaves makes room.
fn listeners_are_bounded(io: Io) {
    let gateway = Plan::bare(io).route("name: all, match: { path: /* }, respond: { status: 204 }").start();
    let mut all: Vec<Listener> = (0..LISTENERS).map(|_| Listener::of(&gateway).unwrap()).collect();
    assert_eq!(Listener::of(&gateway).err(), Some(503));
    all.pop();
    all.push(until("a free place", || Listener::of(&gateway).ok()));
    gateway.stop();
}

/// A token for looking is enough, and without one nothing is told but the page, which holds nothing.
fn a_token_for_looking_suffices(io: Io) {
    let folder = Folder::new();
    folder.write("all", TOKEN);
    folder.write("look", READ_TOKEN);
    let gateway = guarded(io, folder, "listen: '0.0.0.0:0', token: '${file:all}', read_token: '${file:look}'");
    assert_eq!(asks(&gateway, "GET", "/", None).0, 200);
    for (token, status) in [(None, 401), (Some("wrong"), 401), (Some(READ_TOKEN), 200), (Some(TOKEN), 200)] {
        assert_eq!(asks(&gateway, "GET", "/latency", token).0, status, "{token:?}");
        let mut wire = Wire::to(([127, 0, 0, 1], gateway.admin().port()).into());
        let shown = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
        wire.sends(format!("GET /events HTTP/1.1\r\nHost: gateway.example\r\n{shown}\r\n"));
        assert_eq!(wire.reads_head().status(), status, "{token:?}");
    }
    drop(gateway.killed());
}

/// A process that was replaced ends although somebody listens to it, who is told by the end of the stream.
fn an_upgrade_ends_the_streams_of_the_old_process(io: Io) {
    let mut heirs =
        Heirs::start(&Plan::bare(io).route("name: all, match: { path: /* }, respond: { status: 204 }").yaml());
    let mut listener = Listener::of(&heirs.gateway).unwrap();
    listener.next().expect("no end");
    let old = heirs.upgrades();
    while listener.next().is_some() {}
    assert_eq!(heirs.exit_code_of(old), Some(0));
    let mut listener = Listener::of(&heirs.gateway).unwrap();
    listener.waits_for("the new process", |frame| (frame["gateway"]["pid"] == heirs.serving).then_some(()));
    heirs.stop();
}

on_both_drivers![
    latencies_are_told_by_route_and_by_cluster,
    routes_beyond_the_bound_share_their_latencies,
    events_tell_of_every_second_and_of_every_change,
    listeners_are_bounded,
    a_token_for_looking_suffices,
    an_upgrade_ends_the_streams_of_the_old_process,
];
