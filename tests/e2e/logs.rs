//! The access log: K2, K4, F36 and F37.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::SocketAddr;
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use super::client::Client;
use super::endpoint::Endpoint;
use super::folder::Folder;
use super::gateway::{Gateway, json};
use super::origin::Origin;
use super::plan::{Io, Plan};
use super::process::{Process, binary};
use super::wait::{PATIENCE, now_ms, until, until_true};

/// K2: one JSON line for each request, with what happened to it.
fn every_request_has_one_line(io: Io) {
    let origin = Origin::mirror();
    let gateway = Plan::to(io, &[origin.address()]).start();
    let mut client = gateway.client();
    client.sends("POST /orders/7?secret=1 HTTP/1.1\r\nHost: Shop.Example:80\r\nUser-Agent: test/1\r\nContent-Length: 5\r\n\r\nhello");
    let answer = client.expects(200);
    client.asks("/again");
    client.expects(200);
    let line = gateway.log_of("/orders/7");
    for (key, value) in [
        ("method", "POST"),
        ("host", "shop.example"),
        ("client_ip", "127.0.0.1"),
        ("route", "everything"),
        ("cluster", "app"),
        ("endpoint", &origin.address().to_string()),
        ("upstream_protocol", "HTTP/1.1"),
        ("user_agent", "test/1"),
        ("request_id", answer.field("x-request-id").expect("an id")),
    ] {
        assert_eq!(line[key], value, "{key}: {line}");
    }
    for (key, value) in [("status", 200), ("attempts", 1), ("bytes_in", 5), ("bytes_out", 5), ("epoch", 1)] {
        assert_eq!(line[key], value, "{key}: {line}");
    }
    assert!(
        line["duration_ms"].as_f64().is_some_and(|ms| ms > 0.0) && line["query"] == true && line["reused"] == false
    );
    assert!(!line.to_string().contains("secret"), "a query may hold secrets: {line}");
    assert_eq!(gateway.log_of("/again")["reused"], true);
    assert_eq!(gateway.log_lines().len(), 2);
    gateway.stop();
}

/// The line is about the last attempt: one whose new connection was refused had none that was open before, whatever the one
/// before it had.
fn a_refused_connection_is_none_that_was_kept(io: Io) {
    let endpoint = Endpoint::listens();
    let gateway = Plan::to(io, &[endpoint.address()]).start();
    let mut client = gateway.client();
    client.asks("/warm");
    let mut upstream = endpoint.accepts();
    upstream.expects("GET /warm");
    upstream.replies_with("ok");
    client.expects(200);
    client.asks("/x");
    upstream.expects("GET /x");
    drop(endpoint);
    upstream.closes();
    client.expects(502);
    let line = gateway.log_of("/x");
    assert_eq!((&line["reason"], &line["attempts"]), (&"connect_refused".into(), &2.into()), "{line}");
    assert_eq!(
        (&line["reused"], line["connect_ms"].as_f64().is_some_and(|ms| ms > 0.0)),
        (&false.into(), true),
        "{line}"
    );
    gateway.stop();
}

/// Log injection: what a client sends can neither end a line nor steer a terminal (CR, LF, ESC, U+2028, quotes).
fn nothing_a_client_sends_can_forge_a_line(io: Io) {
    let gateway = Plan::bare(io).start();
    let mut client = gateway.client();
    client.sends(
        "GET /a%0d%0a%1b[31m%22%5c%e2%80%a8 HTTP/1.1\r\nHost: a\r\nUser-Agent: \"},{\"x\":\\ \u{2028}\u{85}\ttab\r\n\r\n",
    );
    client.expects(404);
    client.sends(b"GET /binary HTTP/1.1\r\nHost: a\r\nUser-Agent: \xff\xfe\r\n\r\n");
    client.expects(404);
    let line = gateway.log_of("/a%0D%0A%1B[31m%22%5C%E2%80%A8");
    assert_eq!(line["user_agent"], "\"},{\"x\":\\ \u{2028}\u{85}\ttab");
    gateway.log_of("/binary");
    let raw = gateway.lines.all();
    assert_eq!(raw.len(), 2);
    for line in raw {
        assert!(!line.chars().any(|char| char.is_control() || matches!(char, '\u{2028}' | '\u{2029}')), "{line:?}");
    }
    gateway.stop();
}

/// K4 and I4: a local reply has in the log its reason, who failed and at which stage; that of a request that could not even
/// be read has them as well.
fn every_local_reply_has_its_reason_in_the_log(io: Io) {
    let gateway = Plan::to(io, &[Endpoint::closed()]).limits("header_timeout: 1s").start();
    let mut client = gateway.client();
    client.asks("/refused");
    client.expects(502);
    let why =
        |line: &serde_json::Value| ["reason", "fault", "stage"].map(|key| line[key].as_str().unwrap_or("").to_owned());
    let refused = gateway.log_of("/refused");
    assert_eq!(why(&refused), ["connect_refused", "upstream", "connect"]);
    assert!(refused["connect_ms"].as_f64().is_some_and(|ms| ms > 0.0), "what failed took its time as well: {refused}");
    client.sends("TRACE /traced HTTP/1.1\r\nHost: a\r\n\r\n");
    client.expects(405);
    assert_eq!(why(&gateway.log_of("/traced")), ["method_refused", "client", "route"]);
    for (bytes, status, reason) in
        [("GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400, "bad_request"), ("GET / HTT", 408, "client_header_timeout")]
    {
        let mut client = gateway.client();
        client.sends(bytes);
        client.expects(status);
        let line = until(reason, || {
            gateway.log_lines().into_iter().find(|line| line["reason"] == reason && line["status"] == status)
        });
        assert_eq!(why(&line), [reason, "client", "receive"]);
    }
    gateway.stop();
}

/// The sample: a class with no share has no lines.
fn a_class_without_a_share_has_no_lines(io: Io) {
    let origin = Origin::echo();
    let gateway = Plan::to(io, &[origin.address()])
        .route("name: bad, match: { path: /bad }, respond: { status: 500 }")
        .sample("ok: 0%, slow: { over: 1h, share: 0% }, errors: 100%")
        .start();
    let mut client = gateway.client();
    for path in ["/one", "/two", "/bad"] {
        client.asks(path);
        client.expects(if path == "/bad" { 500 } else { 200 });
    }
    gateway.log_of("/bad");
    assert_eq!(gateway.log_lines().len(), 1);
    gateway.stop();
}

/// The sample: each class has a share of its own, and of a part of it about as many are there as it says.
fn each_class_has_a_share_of_its_own(io: Io) {
    let endpoint = Endpoint::listens();
    let gateway = Plan::to(io, &[endpoint.address()])
        .route("name: ok, match: { path: /ok }, respond: { status: 200 }")
        .route("name: bad, match: { path: /bad }, respond: { status: 500 }")
        .sample("ok: 25%, slow: { over: 50ms, share: 100% }, errors: 0%")
        .start();
    let mut client = gateway.client();
    for _ in 0..400 {
        client.asks("/ok").expects(200);
    }
    for _ in 0..20 {
        client.asks("/bad").expects(500);
    }
    for number in 0..3 {
        client.asks(&format!("/slow/{number}"));
        let mut upstream = endpoint.accepts();
        upstream.expects(&format!("GET /slow/{number}"));
        let began_ms = now_ms();
        until_true("it is slow", || now_ms() > began_ms + 60);
        upstream.replies("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
        client.expects(200);
    }
    // Whatever came before the last one has its line before it.
    gateway.log_of("/slow/2");
    let paths: Vec<String> =
        gateway.log_lines().iter().map(|line| line["path"].as_str().expect("a path").to_owned()).collect();
    let count = |start: &str| paths.iter().filter(|path| path.starts_with(start)).count();
    assert_eq!((count("/slow/"), count("/bad")), (3, 0));
    assert!((50..=150).contains(&count("/ok")), "{} of 400 at 25 %", count("/ok"));
    assert_eq!(gateway.metric("access_log_dropped_total"), 0.0, "what is not sampled is not lost");
    gateway.stop();
}

/// F36: a log on a full disk costs lines, which are counted, and no traffic.
fn a_full_disk_costs_lines_and_no_traffic(io: Io) {
    let origin = Origin::echo();
    let gateway = Plan::to(io, &[origin.address()]).log("/dev/full").start();
    let mut client = gateway.client();
    for _ in 0..50 {
        client.asks("/x");
        client.expects(200);
    }
    gateway.waits_for("access_log_dropped_total", 50.0);
    let told = "access log cannot be written, lines are lost and counted";
    gateway.notice(told);
    assert_eq!(gateway.notices_of(told).len(), 1, "told once");
    gateway.stop();
}

/// F36: a reader of the log that stops reading costs lines, which are counted, no traffic and no memory; nor does it hold up the end.
fn a_blocked_log_costs_lines_and_no_traffic(io: Io) {
    let origin = Origin::saying("ok");
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let gateway = Gateway::start_writing_to(Stdio::from(writer), &Plan::to(io, &[origin.address()]).yaml());
    let mut client = gateway.client();
    let path = format!("/{}", "x".repeat(2_000));
    let requests = format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").repeat(50);
    let mut until_dropped = |count: f64| {
        until_true("lines are dropped", || {
            client.sends(&requests);
            for _ in 0..50 {
                client.expects(200);
            }
            gateway.metric("access_log_dropped_total") > count
        });
    };
    until_dropped(0.0);
    let resident = gateway.process.resident_bytes();
    until_dropped(300.0);
    let grown = gateway.process.resident_bytes().saturating_sub(resident);
    assert!(grown < 4 << 20, "{grown} bytes more");
    gateway.waits_for("http_requests_active", 0.0);
    let asked = gateway.metric_sum("http_requests_total");
    client.asks("/still");
    client.expects(200);
    gateway.waits_for("http_requests_active", 0.0);
    assert_eq!(gateway.metric_sum("http_requests_total"), asked + 1.0);
    gateway.stop();
    drop(reader);
}

/// Two processes that write to one pipe, as they do while one takes over from the other, keep their lines whole, also long ones
/// and whatever the reader leaves them to write at once.
fn lines_of_two_processes_on_one_pipe_stay_whole(io: Io) {
    let origin = Origin::saying("ok");
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let plan = Plan::to(io, &[origin.address()]).yaml();
    let (held, gate) = std::sync::mpsc::channel::<()>();
    let heard = super::wait::thread("reader", move || {
        // Until the rings hold more than goes through the pipe at once.
        gate.recv().unwrap_err();
        BufReader::new(reader).lines().map(|line| line.expect("text")).collect::<Vec<_>>()
    });
    let gateways = [(); 2].map(|()| {
        let stdout = Stdio::from(writer.try_clone().expect("a descriptor"));
        Gateway::start_writing_to(stdout, &plan)
    });
    drop(writer);
    for gateway in &gateways {
        let mut client = gateway.client();
        let paths = ["a".repeat(3_000), "b".repeat(7), "c".repeat(400)];
        let requests = paths.map(|path| format!("GET /{path} HTTP/1.1\r\nHost: a\r\n\r\n")).concat();
        for _ in 0..200 {
            client.sends(&requests);
            (0..3).for_each(|_| drop(client.expects(200)));
        }
    }
    drop(held);
    for gateway in gateways {
        gateway.stop();
    }
    let lines = heard.join().expect("no panic");
    let lines: Vec<_> = lines.iter().map(|line| json(line)).filter(|line| line["path"] != "/health").collect();
    assert_eq!(lines.len(), 1_200);
    assert!(lines.iter().all(|line| line["status"] == 200));
}

/// A gateway whose standard error is not what a test reads; its admin server is a socket in its directory.
struct Unheard {
    process: Process,
    folder: Folder,
    address: SocketAddr,
}

impl Unheard {
    fn start(io: Io, stderr: impl Into<Stdio>) -> Self {
        let folder = Folder::new();
        let plan = Plan::bare(io).route("name: all, respond: { status: 200, body: in }").log("off");
        let yaml =
            plan.yaml().replace("listen: '127.0.0.1:0'", &format!("listen: 'unix:{}'", folder.path("s").display()));
        let file = folder.write("gateway.yaml", yaml);
        let mut command = binary();
        command.arg("run").arg("-c").arg(file).stdout(Stdio::null()).stderr(stderr);
        let mut process = Process::start(&mut command);
        // It keeps the descriptor, which must be the gateway's alone.
        drop(command);
        let shown = until("it serves", || {
            assert_eq!(process.ended(), None);
            UnixStream::connect(folder.path("s")).ok()?;
            let status = json(&asks(&folder, "GET", "/status"));
            (status["ready"] == true).then(|| status["listeners"][0]["address"].as_str().map(str::to_owned))?
        });
        Self { process, folder, address: shown.parse().expect("an address") }
    }

    fn lost(&self) -> f64 {
        let page = asks(&self.folder, "GET", "/metrics");
        let sample = page.lines().find_map(|line| line.strip_prefix("process_log_dropped_total "));
        sample.expect("it is on the page").parse().expect("a number")
    }

    /// It serves, control obeys, more and more lines are lost, and it ends when it is told to.
    fn goes_on(mut self) {
        let mut client = Client::to(self.address);
        let mut told = 0.0;
        for _ in 0..2 {
            until_true("lines are lost", || {
                // Each of them has a line.
                let refused =
                    says(&self.folder, &"POST /policy HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n{".repeat(50));
                assert_eq!(refused.matches("HTTP/1.1 400 ").count(), 50, "{refused}");
                client.asks("/x").expects(200);
                self.lost() > told
            });
            told = self.lost();
        }
        assert!(asks(&self.folder, "POST", "/reload").contains("\"ok\""));
        self.process.signal(libc::SIGTERM);
        assert_eq!(self.process.exit_code(), Some(0));
    }
}

/// What the admin server says on its socket to these requests and a last one, which is for its state.
fn says(folder: &Folder, requests: &str) -> String {
    let mut stream = UnixStream::connect(folder.path("s")).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a positive time");
    write!(stream, "{requests}GET /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").expect("it reads");
    let mut answers = String::new();
    stream.read_to_string(&mut answers).expect("answers");
    answers
}

/// The body of an answer of the admin server on its socket.
fn asks(folder: &Folder, method: &str, path: &str) -> String {
    let mut stream = UnixStream::connect(folder.path("s")).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a positive time");
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer.split_once("\r\n\r\n").expect("a head").1.to_owned()
}

/// F36, of the log of the process itself: on a full disk its lines are lost and counted, and all goes on.
fn a_full_disk_under_the_process_log_ends_nothing(io: Io) {
    let full = File::options().write(true).open("/dev/full").expect("a device of Linux");
    Unheard::start(io, full).goes_on();
}

/// F36, of the log of the process itself: whoever reads it may stop without that control waits for them.
fn a_blocked_process_log_holds_nobody_up(io: Io) {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    // SAFETY: it makes a pipe of ours smaller, by which no memory is touched.
    assert!(unsafe { libc::fcntl(writer.as_raw_fd(), libc::F_SETPIPE_SZ, 4096) } >= 4096);
    Unheard::start(io, writer).goes_on();
    drop(reader);
}

/// F37 and I1: SIGUSR1 opens a renamed log anew; no line is lost, and no descriptor.
fn a_renamed_log_is_opened_anew(io: Io) {
    let origin = Origin::echo();
    let plan = Plan::to(io, &[origin.address()]).log("access.log");
    let gateway = plan.start();
    let path = |name: &str| gateway.folder.path(name);
    let lines = |name: &str| std::fs::read_to_string(path(name)).unwrap_or_default().lines().count();
    let mut client = gateway.client();
    client.asks("/one");
    client.expects(200);
    until_true("the first line", || lines("access.log") == 1);
    let before = gateway.process.descriptors();
    for round in 0..3 {
        let old = format!("access.log.{round}");
        std::fs::rename(path("access.log"), path(&old)).expect("a rename");
        client.asks("/old");
        client.expects(200);
        until_true("a line in the renamed file", || lines(&old) == 2);
        gateway.signal(libc::SIGUSR1);
        until_true("a new file", || path("access.log").exists());
        client.asks("/new");
        client.expects(200);
        until_true("a line in the new file", || lines("access.log") == 1);
        for line in std::fs::read_to_string(path(&old)).expect("the old file").lines() {
            json(line);
        }
    }
    until_true("no descriptor is lost", || gateway.process.descriptors() <= before);
    gateway.stop();
}

/// An access log that cannot be opened is as much a mistake in a reload as it is at the start.
fn a_reload_whose_log_cannot_be_opened_is_refused(io: Io) {
    let plan = Plan::bare(io).route("name: all, respond: { status: 200 }");
    let gateway = plan.clone().log("off").start();
    for missing in ["missing/access.log", "."] {
        gateway.writes(&plan.clone().log(missing).yaml());
        let answer = gateway.posts("/reload", "");
        assert_eq!(answer.status(), 400);
        let path = gateway.folder.path(missing);
        let expected = format!("the access log {} cannot be opened: ", path.display());
        assert!(answer.text().contains(&expected), "{}", answer.text());
    }
    assert_eq!(gateway.metric("config_last_reload_success"), 0.0);
    gateway.adopts(&plan.log("access.log").yaml());
    gateway.client().asks("/x").expects(200);
    let log = gateway.folder.path("access.log");
    until_true("a line", || std::fs::read_to_string(&log).is_ok_and(|text| text.contains("/x")));
    gateway.stop();
}

/// Nobody reads a named pipe: the gateway starts and serves, and a reload to a file has lines written there.
fn a_blocked_log_can_be_left_for_another(io: Io) {
    let folder = Folder::new();
    let made = Command::new("mkfifo").arg(folder.path("fifo")).status().expect("mkfifo");
    assert!(made.success());
    let plan = Plan::bare(io).route("name: all, respond: { status: 200 }");
    let gateway = Gateway::start_in(folder, &plan.clone().log("./fifo").yaml());
    let mut client = gateway.client();
    let path = format!("/{}", "x".repeat(2_000));
    until_true("lines are dropped", || {
        for _ in 0..50 {
            client.asks(&path).expects(200);
        }
        gateway.metric("access_log_dropped_total") > 0.0
    });
    gateway.adopts(&plan.log("access.log").yaml());
    client.asks("/then").expects(200);
    let log = gateway.folder.path("access.log");
    until_true("a line", || std::fs::read_to_string(&log).is_ok_and(|text| text.contains("/then")));
    gateway.stop();
}

/// A gateway that writes to `first.log` because the directory of the log that its configuration has, `logs`, was gone when that was
/// promoted; and the plan in force.
fn promoted_without_its_log(io: Io) -> (Gateway, Plan) {
    let plan = Plan::bare(io).route("name: all, respond: { status: 200 }");
    let plan = plan.and("reload: { watch: false, stage: { share: 50%, for: 1h } }");
    let gateway = plan.clone().log("./first.log").start();
    let path = |name: &str| gateway.folder.path(name);
    std::fs::create_dir(path("logs")).expect("a directory");
    let plan = plan.log("./logs/second.log");
    gateway.writes(&plan.yaml());
    assert_eq!(gateway.posts("/reload", "").status(), 200);
    std::fs::rename(path("logs"), path("away")).expect("a rename");
    assert_eq!(gateway.posts("/rollout/promote", "").status(), 200);
    gateway.notice("access log stays with its last output");
    (gateway, plan)
}

/// Has a request its line in that file?
fn is_told_in(gateway: &Gateway, file: &str, path: &str) {
    gateway.client().asks(path).expects(200);
    let text = || std::fs::read_to_string(gateway.folder.path(file)).unwrap_or_default();
    until_true(&format!("{path} in {file}"), || text().contains(path));
}

/// The directory of a trial's log is gone when it is promoted: lines stay where they were, and the next reload finds it, whether
/// or not that brings something else.
fn a_log_that_a_promotion_did_not_find_is_opened_by_a_reload(io: Io) {
    for brings in [false, true] {
        let (gateway, plan) = promoted_without_its_log(io);
        let path = |name: &str| gateway.folder.path(name);
        is_told_in(&gateway, "first.log", "/before");
        if brings {
            gateway.writes(&plan.route("name: more, match: { path: /more }, respond: { status: 200 }").yaml());
        }
        assert_eq!(gateway.posts("/reload", "").status(), 400, "it is not there yet");
        std::fs::rename(path("away"), path("logs")).expect("a rename");
        assert_eq!(gateway.posts("/reload", "").status(), 200);
        is_told_in(&gateway, "logs/second.log", "/after");
        gateway.stop();
    }
}

/// The same when it was gone as the log was turned, in the middle of a trial that ends well.
fn a_log_that_was_gone_during_a_trial_is_opened_by_its_promotion(io: Io) {
    let (gateway, plan) = promoted_without_its_log(io);
    let path = |name: &str| gateway.folder.path(name);
    std::fs::rename(path("away"), path("logs")).expect("a rename");
    gateway.writes(&plan.route("name: more, match: { path: /more }, respond: { status: 200 }").yaml());
    assert_eq!(gateway.posts("/reload", "").status(), 200);
    std::fs::rename(path("logs"), path("away")).expect("a rename");
    let gone = || gateway.notices_of("access log stays with its last output").len();
    let before = gone();
    gateway.signal(libc::SIGUSR1);
    until_true("the log is not found", || gone() > before);
    std::fs::rename(path("away"), path("logs")).expect("a rename");
    let opened = || gateway.notices_of("access log opened").len();
    let before = opened();
    assert_eq!(gateway.posts("/rollout/promote", "").status(), 200);
    until_true("the log is opened", || opened() > before);
    gateway.stop();
}

on_both_drivers![
    every_request_has_one_line,
    a_refused_connection_is_none_that_was_kept,
    nothing_a_client_sends_can_forge_a_line,
    every_local_reply_has_its_reason_in_the_log,
    a_class_without_a_share_has_no_lines,
    each_class_has_a_share_of_its_own,
    a_full_disk_costs_lines_and_no_traffic,
    a_blocked_log_costs_lines_and_no_traffic,
    lines_of_two_processes_on_one_pipe_stay_whole,
    a_full_disk_under_the_process_log_ends_nothing,
    a_blocked_process_log_holds_nobody_up,
    a_renamed_log_is_opened_anew,
    a_reload_whose_log_cannot_be_opened_is_refused,
    a_blocked_log_can_be_left_for_another,
    a_log_that_a_promotion_did_not_find_is_opened_by_a_reload,
    a_log_that_was_gone_during_a_trial_is_opened_by_its_promotion,
];
