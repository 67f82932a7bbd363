//! Taking up a new configuration: I1, I2, F39 and F40.

use std::fmt::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;

use super::client::Client;
use super::endpoint::Endpoint;
use super::folder::Folder;
use super::gateway::{Gateway, json};
use super::h2_client::H2Client;
use super::origin::Origin;
use super::plan::{Io, Plan};
use super::process::binary;
use super::wait::{now_ms, thread, until, until_true};

/// A configuration that answers everything with `word`.
fn saying(io: Io, word: &str) -> Plan {
    Plan::bare(io).route(&format!("name: all, respond: {{ status: 200, body: {word} }}"))
}

fn says(client: &mut Client, word: &str) -> bool {
    client.asks("/x");
    client.expects(200).text() == word
}

/// I1: a file that is renamed into place, SIGHUP, SIGUSR1 and POST /reload; the connection of the client stays.
fn a_new_file_is_taken_up_whoever_asks(io: Io) {
    let gateway = saying(io, "zero").start();
    let mut client = gateway.client();
    assert!(says(&mut client, "zero"));
    gateway.writes(&saying(io, "one").yaml());
    until_true("the watch sees a rename", || says(&mut client, "one"));
    let quiet = |word: &str| saying(io, word).and("reload: { watch: false }").yaml();
    gateway.adopts(&quiet("two"));
    for (word, signal) in [("three", libc::SIGHUP), ("four", libc::SIGUSR1)] {
        gateway.writes(&quiet(word));
        gateway.signal(signal);
        until_true("the signal asks for it", || says(&mut client, word));
    }
    gateway.writes(&quiet("five"));
    let answer = gateway.asks_admin("POST", "/reload");
    assert_eq!(answer.status(), 200);
    let epoch = json(answer.text())["epoch"].as_u64().expect("a number");
    assert!(says(&mut client, "five"), "once it is answered, it is in force");
    assert_eq!(gateway.epoch(), epoch);
    assert_eq!(gateway.asks_admin("GET", "/reload").status(), 405);
    gateway.waits_for("config_reloads_total{result=\"error\"}", 0.0);
    assert_eq!(gateway.status()["last_reload"]["trigger"], "admin");
    gateway.stop();
}

/// F39: whatever is wrong with the new file, the old configuration stays in force, whole, and the report says where.
fn an_invalid_file_changes_nothing_and_is_reported(io: Io) {
    let good = saying(io, "old").yaml();
    let gateway = Gateway::start(&good);
    let mut client = gateway.client();
    let half = &good[..good.len() / 2];
    let typo = good.replace("status: 200", "statsu: 200").replace("old", "new");
    let large = "x: ".repeat(4 << 20);
    for (what, text, told) in [
        ("garbage", "\u{1}\u{2}\u{3}: [", "gateway.yaml:1"),
        ("empty", "", "gateway.yaml"),
        ("half a file", half, "gateway.yaml:"),
        ("a typo", typo.as_str(), "did you mean"),
        ("12 MB of nonsense", large.as_str(), "gateway.yaml"),
    ] {
        gateway.writes(text);
        let answer = gateway.asks_admin("POST", "/reload");
        assert_eq!(answer.status(), 400, "{what}: {answer}");
        let report = json(answer.text())["error"].as_str().expect("a report").to_owned();
        assert!(report.contains(told), "{what}: {report}");
        assert!(report.len() < 64 << 10, "{what}: a report of {} bytes", report.len());
        let status = gateway.status();
        assert_eq!((&status["epoch"], &status["last_reload"]["ok"]), (&1.into(), &false.into()), "{what}");
        assert!(says(&mut client, "old"), "{what}");
    }
    std::fs::remove_file(gateway.folder.path("gateway.yaml")).expect("a file");
    assert_eq!(gateway.asks_admin("POST", "/reload").status(), 400, "no file at all");
    assert!(says(&mut client, "old"));
    gateway.waits_for("config_last_reload_success", 0.0);
    assert!(gateway.metric("config_reloads_total{result=\"error\"}") >= 6.0);
    gateway.notice("configuration refused, the last one stays");
    gateway.writes(&saying(io, "new").yaml());
    until_true("a valid file is taken up", || says(&mut client, "new"));
    gateway.waits_for("config_last_reload_success", 1.0);
    gateway.stop();
}

/// F39: nothing is half applied: a listener that cannot be bound keeps the routes of the same file out.
fn a_listener_that_cannot_be_bound_keeps_the_whole_file_out(io: Io) {
    let gateway = saying(io, "old").start();
    let mut client = gateway.client();
    let taken = Endpoint::listens();
    let yaml = saying(io, "new")
        .yaml()
        .replace("defaults:", &format!("  more: {{ address: '{}' }}\ndefaults:", taken.address()));
    gateway.writes(&yaml);
    let answer = gateway.asks_admin("POST", "/reload");
    assert_eq!(answer.status(), 400, "{answer}");
    assert!(answer.text().contains("cannot listen on"), "{}", answer.text());
    assert!(says(&mut client, "old"));
    gateway.stop();
}

/// I2: what a reload does not touch goes on: a request in flight, its connection, a listener on a port of its own.
fn a_reload_touches_nothing_that_stays(io: Io) {
    let endpoint = Endpoint::listens();
    let plan = Plan::to(io, &[endpoint.address()]);
    let gateway = plan.start();
    let address = gateway.address();
    let mut client = gateway.client();
    client.asks("/in-flight");
    let mut upstream = endpoint.accepts();
    upstream.expects("GET /in-flight");
    gateway.adopts(&plan.route("name: more, match: { path: /more }, respond: { status: 200, body: more }").yaml());
    upstream.replies_with("done");
    assert_eq!(client.expects(200).text(), "done");
    client.asks("/more");
    assert_eq!(client.expects(200).text(), "more");
    assert_eq!(gateway.status()["listeners"][0]["address"], address.to_string());
    client.asks("/pooled");
    upstream.expects("GET /pooled");
    upstream.replies_with("again");
    client.expects(200);
    assert_eq!(gateway.log_of("/pooled")["reused"], true, "the pool outlives an epoch");
    // The route goes away while its request is in flight.
    client.asks("/last");
    upstream.expects("GET /last");
    gateway.adopts(&saying(io, "other").yaml());
    upstream.replies_with("late");
    assert_eq!(client.expects(200).text(), "late");
    assert!(says(&mut client, "other"));
    upstream.sees_end();
    gateway.stop();
}

/// I1: a listener takes clients on every address of its port, and on one again.
fn a_listener_is_widened_and_narrowed_on_its_port(io: Io) {
    let plan = saying(io, "in");
    let gateway = plan.start();
    let near = gateway.address();
    let far = SocketAddr::from(([127, 0, 0, 2], near.port()));
    let on = |ip: &str| {
        plan.yaml().replace("web: { address: '127.0.0.1:0'", &format!("web: {{ address: '{ip}:{}'", near.port()))
    };
    for wide in ["0.0.0.0", "[::]"] {
        gateway.adopts(&on(wide));
        assert!(says(&mut Client::to(near), "in") && says(&mut Client::to(far), "in"));
        gateway.adopts(&on("127.0.0.1"));
        until_true("nobody listens there", || TcpStream::connect(far).is_err());
        assert!(says(&mut Client::to(near), "in"));
    }
    gateway.stop();
}

/// I2: listeners come and go; what a removed one served drains.
fn listeners_come_and_go(io: Io) {
    let with_more = |plan: Plan| plan.yaml().replace("defaults:", "  more: { address: '127.0.0.1:0' }\ndefaults:");
    let endpoint = Endpoint::listens();
    let plan = Plan::to(io, &[endpoint.address()]);
    let gateway = plan.start();
    gateway.adopts(&with_more(plan.clone()));
    let listeners = gateway.status()["listeners"].clone();
    let more = listeners.as_array().expect("a list").iter().find(|one| one["name"] == "more").expect("a new listener");
    let address = more["address"].as_str().expect("an address").parse().expect("an address");
    let (mut idle, mut busy) = (Client::to(address), Client::to(address));
    idle.asks("/health");
    idle.expects(200);
    busy.asks("/busy");
    let mut upstream = endpoint.accepts();
    upstream.expects("GET /busy");
    gateway.adopts(&plan.yaml());
    until_true("nobody listens there", || TcpStream::connect(address).is_err());
    upstream.replies_with("done");
    let answer = busy.expects(200);
    assert!(answer.text() == "done" && answer.announces_close(), "{answer}");
    busy.sees_end();
    let mut client = gateway.client();
    client.asks("/health");
    client.expects(200);
    // A further request on the removed listener is not served, and its client is told so.
    let answer = idle.asks("/health").expects(503);
    assert!(answer.reason() == "listener_removed" && answer.announces_close(), "{answer}");
    idle.sees_end();
    idle.closes();
    gateway.waits_for("gateway_rejected_requests_total{reason=\"listener_removed\"}", 1.0);
    gateway.stop();
}

/// I2: a listener that is renamed goes on, with its connections and whoever comes meanwhile.
fn a_renamed_listener_loses_nobody(io: Io) {
    let origin = Origin::echo();
    let plan = Plan::to(io, &[origin.address()]).workers("2").speaks_h2().and("reload: { watch: false }");
    let gateway = plan.start();
    let address = gateway.address();
    let (mut kept, mut client) = (gateway.client(), H2Client::to(address));
    let mut asks_both = || {
        kept.asks("/kept");
        assert!(!kept.expects(200).announces_close());
        client.gets("/streams").expects(200);
    };
    asks_both();
    let ends = Arc::default();
    let clients: Vec<_> = (0..2).map(|_| load(&gateway, &ends)).collect();
    for number in 0..20 {
        let name = format!("web{number}: {{ address: '{address}'");
        gateway.writes(&plan.yaml().replace("web: { address: '127.0.0.1:0'", &name));
        assert_eq!(gateway.asks_admin("POST", "/reload").status(), 200);
        asks_both();
    }
    ends.store(true, Ordering::Relaxed);
    clients.into_iter().for_each(|client| assert!(client.join().expect("no request failed") > 0));
    let listeners = gateway.status()["listeners"].clone();
    assert_eq!((&listeners[0]["name"], &listeners[0]["address"]), (&"web19".into(), &address.to_string().into()));
    assert_eq!(listeners[1], Value::Null);
    // Who came after a new name is known by that one, and found by it where its listener moves to another address.
    let mut late = gateway.client();
    late.asks("/late");
    late.expects(200);
    gateway.writes(&plan.yaml().replace("web: {", "web19: {"));
    assert_eq!(gateway.asks_admin("POST", "/reload").status(), 200);
    late.asks("/moved");
    late.expects(200);
    gateway.stop();
}

/// I1: ten thousand routes are taken up, and every one of them answers.
fn ten_thousand_routes_are_taken_up(io: Io) {
    let gateway = saying(io, "small").start();
    let mut routes = String::new();
    for number in 0..10_000 {
        let _ = writeln!(
            routes,
            "  - {{ name: r{number}, match: {{ host: h{}.example, path: /p{number}/* }}, respond: {{ status: 200, body: r{number} }} }}",
            number % 100
        );
    }
    let yaml = saying(io, "large").yaml().replace("routes:\n", &format!("routes:\n{routes}"));
    gateway.adopts(&yaml);
    let mut client = gateway.client();
    for number in [0, 1, 4_999, 9_999] {
        client.sends(format!("GET /p{number}/x HTTP/1.1\r\nHost: h{}.example\r\n\r\n", number % 100));
        assert_eq!(client.expects(200).text(), format!("r{number}"));
    }
    assert!(says(&mut client, "large"));
    let published = gateway.notice("configuration published");
    assert_eq!((&published["routes"], &published["adopted"]), (&10_001.into(), &true.into()));
    gateway.stop();
}

/// Requests without end, half of them on connections of their own; how many there were, all of them answered.
fn load(gateway: &Gateway, ends: &Arc<AtomicBool>) -> std::thread::JoinHandle<u64> {
    let (address, ends) = (gateway.address(), Arc::clone(ends));
    thread("load", move || {
        let mut kept = Client::to(address);
        let mut count = 0;
        while !ends.load(Ordering::Relaxed) {
            kept.asks("/kept");
            assert!(!kept.expects(200).announces_close());
            let mut single = Client::to(address);
            single.sends("POST /single HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello");
            assert_eq!(single.expects(200).text(), "POST /single HTTP/1.1");
            count += 2;
        }
        count
    })
}

/// F40: reloads under load cost no request, and the old generations go.
fn reloads_under_load_cost_no_request(io: Io) {
    let origin = Origin::echo();
    let plan = Plan::to(io, &[origin.address()]).workers("2");
    let gateway = plan.start();
    let ends = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..3).map(|_| load(&gateway, &ends)).collect();
    for number in 0..20 {
        let route = format!("name: r{number}, match: {{ path: /r{number} }}, respond: {{ status: 200, body: r }}");
        gateway.writes(&plan.clone().route(&route).and("reload: { watch: false }").yaml());
        assert_eq!(gateway.asks_admin("POST", "/reload").status(), 200);
    }
    ends.store(true, Ordering::Relaxed);
    let requests: u64 = clients.into_iter().map(|client| client.join().expect("no request failed")).sum();
    assert!(requests > 20, "{requests}");
    assert!(gateway.epoch() >= 21);
    // A request is counted when its response is out.
    let requests = f64::from(u32::try_from(requests).expect("few"));
    until_true("each is counted once", || (gateway.metric_sum("http_requests_total") - requests).abs() < 0.5);
    assert_eq!(gateway.metric_sum("gateway_rejected_requests_total"), 0.0);
    gateway.stop();
}

/// I1: a signal that comes while a reload is under way is not lost.
fn a_signal_during_a_reload_is_not_lost(io: Io) {
    let mut plan = Plan::bare(io).log("access.log").and("reload: { watch: false }");
    for number in 0..2_000 {
        plan = plan.route(&format!("name: r{number}, match: {{ path: /r{number}/* }}, respond: {{ status: 200 }}"));
    }
    let gateway = plan.start();
    let log = gateway.folder.path("access.log");
    for _ in 0..5 {
        std::fs::remove_file(&log).expect("the log exists");
        gateway.signal(libc::SIGHUP);
        let sent_ms = now_ms();
        until_true("the reload began", || now_ms() > sent_ms + 10);
        gateway.signal(libc::SIGUSR1);
        until_true("the log is opened anew", || log.exists());
    }
    gateway.stop();
}

/// I2: reloads do not grow memory, once the first of them have shown what one takes.
fn memory_does_not_grow_by_reloads(io: Io) {
    let origin = Origin::echo();
    let mut plan = Plan::to(io, &[origin.address()]).and("reload: { watch: false }");
    for number in 0..200 {
        plan = plan.route(&format!("name: r{number}, match: {{ path: /r{number}/* }}, cluster: app"));
    }
    let folder = Folder::new();
    let file = folder.write("gateway.yaml", plan.yaml());
    // One arena: how an allocator spreads over threads is not what this test asks.
    let mut command = binary();
    let gateway = Gateway::start_with(folder, command.env("MALLOC_ARENA_MAX", "1").arg("run").arg("-c").arg(file));
    let mut client = gateway.client();
    let mut reload = |times: u32| {
        for _ in 0..times {
            assert_eq!(gateway.asks_admin("POST", "/reload").status(), 200);
            client.asks("/r7/x");
            client.expects(200);
        }
        gateway.process.resident_bytes()
    };
    let before = reload(100);
    let after = reload(300);
    assert!(after < before + (8 << 20), "{before} bytes before and {after} after 300 reloads");
    gateway.stop();
}

/// L2: a change in an included file counts; a setting that needs a restart is told.
fn included_files_are_watched_too(io: Io) {
    let folder = Folder::new();
    std::fs::create_dir(folder.path("conf.d")).expect("a directory");
    let part = |word: &str| {
        format!("routes:\n  - {{ name: part, match: {{ path: /part }}, respond: {{ status: 200, body: {word} }} }}\n")
    };
    folder.write("conf.d/part.yaml", part("one"));
    let yaml = saying(io, "main").yaml().replace("version: 1\n", "version: 1\ninclude: [conf.d/*.yaml]\n");
    let gateway = Gateway::start_in(folder, &yaml);
    let mut client = gateway.client();
    let mut part_says = |word: &str| {
        client.asks("/part");
        client.expects(200).text() == word
    };
    assert!(part_says("one"));
    gateway.folder.write("conf.d/part.yaml", part("two"));
    until_true("the change is seen", || part_says("two"));
    gateway.writes(&yaml.replace(io.name(), "auto"));
    let notice = until("a notice", || {
        gateway.notices_of("changed settings that take effect at the next start").into_iter().next()
    });
    assert!(notice["settings"].as_str().is_some_and(|settings| settings.contains("runtime.io")), "{notice}");
    gateway.stop();
}

/// L2: while the directory of an included file is gone nothing changes, and when it comes back it is taken up by itself.
fn a_directory_that_comes_back_is_watched_again(io: Io) {
    let folder = Folder::new();
    let part = |word: &str| {
        format!("routes:\n  - {{ name: part, match: {{ path: /part }}, respond: {{ status: 200, body: {word} }} }}\n")
    };
    std::fs::create_dir(folder.path("conf.d")).expect("a directory");
    folder.write("conf.d/part.yaml", part("one"));
    let yaml = saying(io, "main").yaml().replace("version: 1\n", "version: 1\ninclude: [conf.d/part.yaml]\n");
    let gateway = Gateway::start_in(folder, &yaml);
    let mut client = gateway.client();
    let mut part_says = |word: &str| {
        client.asks("/part");
        client.expects(200).text() == word
    };
    let folder = &gateway.folder;
    std::fs::rename(folder.path("conf.d"), folder.path("gone")).expect("a rename");
    gateway.waits_for("config_reloads_total{result=\"error\"}", 1.0);
    assert!(part_says("one"));
    std::fs::create_dir(folder.path("conf.d")).expect("a directory");
    folder.write("conf.d/part.yaml", part("two"));
    until_true("the directory is back", || part_says("two"));
    folder.write("conf.d/part.yaml", part("three"));
    until_true("it is watched", || part_says("three"));
    gateway.stop();
}

/// I1: a mistake that was taken back is no trouble any more, and made again it is told again.
fn a_mistake_that_is_taken_back_is_over(io: Io) {
    let plan = saying(io, "one");
    let gateway = plan.start();
    let refusals = || gateway.notices.all().iter().filter(|line| line.contains("configuration refused")).count();
    for times in 1..=2 {
        gateway.writes("version: 1\nlisteners: nonsense\n");
        gateway.waits_for("config_last_reload_success", 0.0);
        gateway.writes(&plan.yaml());
        gateway.waits_for("config_last_reload_success", 1.0);
        let last = &gateway.status()["last_reload"];
        assert_eq!((&last["ok"], &last["error"]), (&true.into(), &Value::Null), "{last}");
        until_true("each time is told", || refusals() >= times);
        assert_eq!(refusals(), times);
    }
    assert!(says(&mut gateway.client(), "one"));
    gateway.stop();
}

/// I1: what is hardly meant is told once for a configuration, not each time its files are looked at; a log that is written
/// beside them is no change of theirs.
fn a_warning_is_told_once(io: Io) {
    let plan = Plan::bare(io).cluster("unused", &[Endpoint::closed()]);
    let gateway = plan.start();
    let warned = || gateway.notices.all().iter().filter(|line| line.contains("no route uses the cluster")).count();
    assert_eq!(warned(), 1, "{}", gateway.notices.all().join("\n"));
    for _ in 0..3 {
        gateway.folder.write("gateway.log", "a line");
        gateway.writes(&plan.yaml());
    }
    let changed = plan.route("name: more, match: { path: /more }, respond: { status: 200 }");
    gateway.adopts(&changed.yaml());
    until_true("the second one", || warned() == 2);
    gateway.stop();
}

on_both_drivers![
    a_warning_is_told_once,
    a_new_file_is_taken_up_whoever_asks,
    an_invalid_file_changes_nothing_and_is_reported,
    a_listener_that_cannot_be_bound_keeps_the_whole_file_out,
    a_reload_touches_nothing_that_stays,
    a_listener_is_widened_and_narrowed_on_its_port,
    listeners_come_and_go,
    a_renamed_listener_loses_nobody,
    ten_thousand_routes_are_taken_up,
    reloads_under_load_cost_no_request,
    a_signal_during_a_reload_is_not_lost,
    memory_does_not_grow_by_reloads,
    included_files_are_watched_too,
    a_directory_that_comes_back_is_watched_again,
    a_mistake_that_is_taken_back_is_over,
];
