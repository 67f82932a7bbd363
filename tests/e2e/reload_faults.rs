//! F39: whatever is wrong with a configuration or with this machine, nothing is lost, the old state is live, and the error is in
//! the log, in `/status` and in `/metrics`.

use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, Ordering};

use super::endpoint::{Endpoint, own_loopback};
use super::folder::Folder;
use super::gateway::{Gateway, json};
use super::plan::{Io, Plan};
use super::process::{Lines, Process, binary};
use super::wait::{Ends, until_true};

/// A configuration that answers everything with `word`.
fn saying(io: Io, word: &str) -> Plan {
    let plan = Plan::bare(io).workers("2").route(&format!("name: all, respond: {{ status: 200, body: {word} }}"));
    plan.and("reload: { watch: false }")
}

/// Somebody listens there already; once it is free, it stays so.
fn taken() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((own_loopback(), 0)).expect("loopback");
    let address = listener.local_addr().expect("a bound socket");
    (listener, address)
}

/// Each kind of bad file, by an order and by a signal: refused whole, with the place, and told wherever one may look.
fn what_is_refused_is_told_wherever_one_looks(io: Io) {
    let plan = saying(io, "old");
    let good = plan.yaml();
    let endpoint = Endpoint::listens();
    let gateway = Gateway::start(&good);
    let mut client = gateway.client();
    let (_held, port) = taken();
    let new = |from: &str, to: &str| {
        let yaml = good.replace("body: old", "body: new").replace(from, to);
        assert!(yaml != good && yaml.contains(to), "{yaml}");
        yaml
    };
    let listen = "admin: { listen: '127.0.0.1:0' }";
    let cases = [
        ("half a file", good[..good.len() / 2].to_owned(), "gateway.yaml:"),
        ("a mistake behind 10 MB", format!("{good}{}routes: 5\n", "# more\n".repeat(1_500_000)), "gateway.yaml:15000"),
        ("10 MB of rubbish", "\u{7}x: [".repeat(2 << 20), "gateway.yaml:1"),
        ("a wrong type", new("workers: 2", "workers: [true]"), "gateway.yaml:2:"),
        ("an unknown field", new("status: 200", "statsu: 200"), "did you mean"),
        ("a list for a map", new("clusters: {}", "clusters: []"), "gateway.yaml:"),
        ("a route to nowhere", new("respond: { status: 200, body: new }", "cluster: gone"), "gone"),
        ("an admin endpoint for all", new(listen, "admin: { listen: '0.0.0.0:0' }"), "must stay on loopback"),
        ("a stolen port", new("defaults:", &format!("  more: {{ address: '{port}' }}\ndefaults:")), "another process"),
        (
            "a file that is not there",
            new("policies: {", "policies: { p: { api_key: { keys_file: gone.yaml } }"),
            "gone.yaml",
        ),
    ];
    let mut refused = 0.0;
    for (what, text, told) in cases {
        gateway.writes(&text);
        let answer = gateway.asks_admin("POST", "/reload");
        assert_eq!(answer.status(), 400, "{what}: {answer}");
        refused += 1.0;
        let report = json(answer.text())["error"].as_str().expect("a report").to_owned();
        assert!(report.contains(told) && report.len() < 64 << 10, "{what}: {report}");
        let status = gateway.status();
        assert_eq!(
            (&status["epoch"], &status["ready"], &status["last_reload"]["ok"]),
            (&1.into(), &true.into(), &false.into())
        );
        assert_eq!(status["last_reload"]["error"], report.as_str(), "{what}");
        assert_eq!(status["listeners"].as_array().map(Vec::len), Some(1), "{what}");
        let is_logged = || {
            gateway
                .notices_of("configuration refused, the last one stays")
                .iter()
                .any(|notice| notice["report"] == report.as_str())
        };
        until_true("a notice", is_logged);
        assert_eq!(gateway.metric("config_reloads_total{result=\"error\"}"), refused, "{what}");
        assert_eq!(
            (gateway.metric("config_last_reload_success"), gateway.metric("config_epoch")),
            (0.0, 1.0),
            "{what}"
        );
        assert_eq!(client.asks("/x").expects(200).text(), "old", "{what}: the connection of before");
        assert_eq!(gateway.client().asks("/x").expects(200).text(), "old", "{what}: a new one");
    }
    gateway.signal(libc::SIGHUP);
    gateway.waits_for("config_reloads_total{result=\"error\"}", refused + 1.0);
    gateway.writes(&plan.cluster("app", &[endpoint.address()]).yaml().replace("body: old", "body: new"));
    assert_eq!(gateway.asks_admin("POST", "/reload").status(), 200);
    assert_eq!(client.asks("/x").expects(200).text(), "new");
    assert_eq!(
        (gateway.metric("config_last_reload_success"), &gateway.status()["last_reload"]["error"]),
        (1.0, &serde_json::Value::Null)
    );
    gateway.stop();
}

/// A file that is written in two halves, with the watch on, is taken up once it is whole and never before.
fn a_file_that_is_written_slowly_is_taken_up_whole(io: Io) {
    let plan = |word: &str| {
        let mut plan = Plan::bare(io).workers("2");
        for number in 0..50 {
            plan = plan.route(&format!(
                "name: r{number}, match: {{ path: /r{number} }}, respond: {{ status: 200, body: {word} }}"
            ));
        }
        plan.route(&format!("name: all, respond: {{ status: 200, body: {word} }}")).yaml()
    };
    let gateway = Gateway::start(&plan("old"));
    let mut client = gateway.client();
    let (path, text) = (gateway.folder.path("gateway.yaml"), plan("new"));
    // In the middle of a line, so that what is there is no configuration.
    let middle = text.find("name: r25").expect("a route") + 6;
    std::fs::write(&path, &text[..middle]).expect("our own file");
    gateway.notice("configuration refused, the last one stays");
    assert_eq!(client.asks("/x").expects(200).text(), "old");
    std::fs::write(&path, &text).expect("our own file");
    until_true("the whole file", || client.asks("/r49").expects(200).text() == "new");
    assert_eq!(client.asks("/x").expects(200).text(), "new");
    gateway.stop();
}

/// How a start that is refused ends: its exit code, and what it said.
fn refusal_of(yaml: &str) -> (Option<i32>, String) {
    let folder = Folder::new();
    let file = folder.write("gateway.yaml", yaml);
    let mut command = binary();
    command.arg("run").arg("-c").arg(file).current_dir(&folder);
    let mut process = Process::start(command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::piped()));
    let said = Lines::of(process.child().stderr.take().expect("a pipe"));
    let code = process.exit_code();
    said.end();
    (code, said.all().join("\n"))
}

/// A port of the data side or of the admin server that somebody else has is a start-up error that names it; an admin endpoint for
/// everybody without a word is one, too.
fn a_start_without_its_ports_fails_and_says_so(io: Io) {
    let yaml = saying(io, "in").yaml();
    let (held, port) = taken();
    let at = format!("'{port}'");
    let data = yaml.replace("web: { address: '127.0.0.1:0'", &format!("web: {{ address: {at}"));
    let admin = yaml.replace("admin: { listen: '127.0.0.1:0' }", &format!("admin: {{ listen: {at} }}"));
    for (what, yaml) in [("data", &data), ("admin", &admin)] {
        let (code, said) = refusal_of(yaml);
        assert!(code == Some(1) && said.contains(&port.to_string()), "{what}: {code:?} {said}");
        assert!(said.contains("Address already in use"), "{what}: {said}");
    }
    let open = yaml.replace("admin: { listen: '127.0.0.1:0' }", "admin: { listen: '0.0.0.0:0' }");
    let (code, said) = refusal_of(&open);
    assert!(code == Some(3) && said.contains("must stay on loopback") && said.contains("gateway.yaml:3:"), "{said}");
    drop(held);
    let gateway = Gateway::start(&admin);
    assert_eq!(gateway.admin(), port);
    gateway.stop();
}

/// The admin port is stolen between a stop and the next start: the start fails, and the one after it serves what was there.
fn an_admin_port_stolen_between_two_lives_loses_nothing(io: Io) {
    let folder = Folder::new();
    let (held, port) = taken();
    drop(held);
    let yaml = saying(io, "in").and("policy: {}").yaml();
    let yaml = yaml.replace("admin: { listen: '127.0.0.1:0' }", &format!("admin: {{ listen: '{port}' }}"));
    let gateway = Gateway::start_in(folder, &yaml);
    assert_eq!(gateway.posts("/policy", "{\"rateLimit\": 4321}").status(), 200);
    let folder = gateway.killed();
    let thief = TcpListener::bind(port).expect("it is free again");
    let mut command = binary();
    command.arg("run").arg("-c").arg(folder.path("gateway.yaml")).current_dir(&folder);
    let mut process = Process::start(command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::piped()));
    let said = Lines::of(process.child().stderr.take().expect("a pipe"));
    assert_eq!(process.exit_code(), Some(1));
    said.end();
    assert!(said.all().join("\n").contains(&port.to_string()));
    drop(thief);
    let gateway = Gateway::start_in(folder, &yaml);
    assert_eq!(json(gateway.asks_admin("GET", "/policy").text())["rateLimit"], 4321);
    gateway.stop();
}

/// Whoever renames files beside the configuration as fast as the disk can holds neither the live policy up, nor a reload, nor
/// the admin endpoint.
fn a_storm_of_events_beside_the_configuration_holds_nothing_up(io: Io) {
    let gateway = saying(io, "in").and("policy: { file: policy.json }").start();
    let is_over = AtomicBool::new(false);
    let blow = |name: &str| {
        let (one, two) = (gateway.folder.path(name), gateway.folder.path(&format!("{name}.log")));
        std::fs::write(&one, "").expect("a file");
        while !is_over.load(Ordering::Relaxed) {
            std::fs::rename(&one, &two).expect("a rename");
            std::fs::rename(&two, &one).expect("a rename");
        }
    };
    std::thread::scope(|scope| {
        let _ends = Ends(&is_over);
        for name in ["one", "two"] {
            let blow = &blow;
            scope.spawn(move || blow(name));
        }
        for rate in 1..=5 {
            gateway.folder.write("policy.json", format!("{{\"rateLimit\": {rate}}}"));
            until_true("the policy", || json(gateway.asks_admin("GET", "/policy").text())["rateLimit"] == rate);
        }
        gateway.writes(&saying(io, "new").and("policy: { file: policy.json }").yaml());
        assert_eq!(gateway.asks_admin("POST", "/reload").status(), 200);
    });
    gateway.stop();
}

on_both_drivers![
    what_is_refused_is_told_wherever_one_looks,
    a_file_that_is_written_slowly_is_taken_up_whole,
    a_start_without_its_ports_fails_and_says_so,
    a_storm_of_events_beside_the_configuration_holds_nothing_up,
    an_admin_port_stolen_between_two_lives_loses_nothing,
];
