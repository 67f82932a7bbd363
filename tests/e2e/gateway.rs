//! The gateway under test, as its operator and its clients see it.

use std::collections::HashSet;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::client::Client;
use super::folder::Folder;
use super::message::Message;
use super::process::{Lines, Process, binary};
use super::wait::{is_quicker_than, until, until_true};
use super::wire::Wire;

/// Name of the configuration file.
const FILE: &str = "gateway.yaml";

/// A running gateway with a directory of its own.
#[derive(Debug)]
pub(crate) struct Gateway {
    pub(crate) process: Process,
    pub(crate) folder: Folder,
    /// Standard error: the process log.
    pub(crate) notices: Lines,
    /// Standard output: the access log, unless it goes elsewhere.
    pub(crate) lines: Lines,
    listeners: Vec<(String, SocketAddr)>,
    admin: SocketAddr,
}

impl Gateway {
    /// Starts the binary on `yaml` and waits until it serves.
    pub(crate) fn start(yaml: &str) -> Self {
        Self::start_in(Folder::new(), yaml)
    }

    /// The same in a given directory.
    pub(crate) fn start_in(folder: Folder, yaml: &str) -> Self {
        let file = folder.write(FILE, yaml);
        let mut command = binary();
        command.arg("run").arg("-c").arg(file).current_dir(&folder);
        Self::start_with(folder, &mut command)
    }

    /// Starts `command`, which runs the gateway.
    pub(crate) fn start_with(folder: Folder, command: &mut Command) -> Self {
        let mut process = Process::start(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
        let lines = Lines::of(process.child().stdout.take().expect("a pipe"));
        Self::attach(folder, process, lines)
    }

    /// Starts the binary on `yaml` with a standard output that this test reads or does not read.
    pub(crate) fn start_writing_to(stdout: Stdio, yaml: &str) -> Self {
        let folder = Folder::new();
        let file = folder.write(FILE, yaml);
        let process = Process::start(binary().arg("run").arg("-c").arg(file).stdout(stdout).stderr(Stdio::piped()));
        Self::attach(folder, process, Lines::of(std::io::empty()))
    }

    fn attach(folder: Folder, mut process: Process, lines: Lines) -> Self {
        let notices = Lines::of(process.child().stderr.take().expect("a pipe"));
        let starting = until("`gateway starting`", || {
            let found = notices.all().iter().find_map(|line| message_of(line, "gateway starting"));
            let all = || notices.all().join("\n");
            assert!(found.is_some() || process.ended().is_none(), "it ended: {}", all());
            found
        });
        let word = |key: &str| starting[key].as_str().unwrap_or_else(|| panic!("no `{key}` in {starting}")).to_owned();
        let listeners = word("listeners")
            .split(' ')
            .map(|pair| pair.split_once('=').expect("name=address"))
            .map(|(name, address)| (name.to_owned(), address.parse().expect("an address")))
            .collect();
        let admin = word("admin").parse().unwrap_or_else(|_| SocketAddr::from(([0, 0, 0, 0], 0)));
        Self { process, folder, notices, lines, listeners, admin }
    }

    /// Where the only or first listener listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.listeners.first().expect("a listener").1
    }

    /// Where the listener of that name listens.
    pub(crate) fn address_of(&self, listener: &str) -> SocketAddr {
        self.listeners.iter().find(|(name, _)| name == listener).expect("a listener").1
    }

    /// Where the admin server listens.
    pub(crate) const fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// A new connection to the first listener.
    pub(crate) fn client(&self) -> Client {
        Client::to(self.address())
    }

    /// The answer of the admin server.
    pub(crate) fn asks_admin(&self, method: &str, path: &str) -> Message {
        let mut wire = Wire::to(self.admin);
        wire.sends(format!("{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.admin));
        let mut message = wire.reads_head();
        wire.reads_body(&mut message);
        message
    }

    /// The answer of the admin server to a request with a body.
    pub(crate) fn sends_admin(&self, method: &str, path: &str, body: &str) -> Message {
        let mut wire = Wire::to(self.admin);
        let (host, length) = (self.admin, body.len());
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
        );
        // What is too large need not be taken whole before it is refused.
        drop(wire.try_send(head + body));
        let mut message = wire.reads_head();
        wire.reads_body(&mut message);
        message
    }

    /// The same for a POST.
    pub(crate) fn posts(&self, path: &str, body: &str) -> Message {
        self.sends_admin("POST", path, body)
    }

    /// Kills it; what is left is its directory.
    pub(crate) fn killed(mut self) -> Folder {
        self.signal(libc::SIGKILL);
        assert_eq!(self.process.exit_code(), None);
        self.folder
    }

    /// What is left of one that has ended: its directory.
    pub(crate) fn into_folder(self) -> Folder {
        self.folder
    }

    /// The page `/status`.
    pub(crate) fn status(&self) -> Value {
        json(self.asks_admin("GET", "/status").text())
    }

    /// A cluster as the page `/clusters` shows it.
    pub(crate) fn cluster(&self, name: &str) -> Value {
        let page = json(self.asks_admin("GET", "/clusters").text());
        let all = page["clusters"].as_array().unwrap_or_else(|| panic!("no list in {page}"));
        all.iter().find(|cluster| cluster["name"] == name).unwrap_or_else(|| panic!("no {name} in {page}")).clone()
    }

    /// What `/clusters` shows of an endpoint.
    pub(crate) fn shows(&self, cluster: &str, address: SocketAddr) -> Value {
        let cluster = self.cluster(cluster);
        let endpoints = cluster["endpoints"].as_array().expect("a list");
        let shown = endpoints.iter().find(|shown| shown["address"] == address.to_string());
        shown.unwrap_or_else(|| panic!("no {address} in {cluster}")).clone()
    }

    /// Waits until `/clusters` shows these values of an endpoint.
    pub(crate) fn waits_to_show(&self, cluster: &str, address: SocketAddr, values: &[(&str, &str)]) -> Value {
        until(&format!("{cluster} {address}: {values:?}"), || {
            let shown = self.shows(cluster, address);
            values.iter().all(|(key, value)| shown[*key] == *value).then_some(shown)
        })
    }

    /// The page `/metrics`, which has no series twice.
    pub(crate) fn metrics(&self) -> String {
        let page = self.asks_admin("GET", "/metrics").text().to_owned();
        let mut seen = HashSet::new();
        for line in page.lines().filter(|line| !line.starts_with('#')) {
            let series = line.rsplit_once(' ').expect("a value").0;
            assert!(seen.insert(series), "{series} twice in\n{page}");
        }
        page
    }

    /// The value of one sample, labels included; 0 when its family, which must be there, has no such one.
    pub(crate) fn metric(&self, sample: &str) -> f64 {
        let page = self.metrics();
        let family = sample.split('{').next().expect("a name");
        let family = ["_bucket", "_sum", "_count"].iter().find_map(|end| family.strip_suffix(end)).unwrap_or(family);
        assert!(page.contains(&format!("# TYPE {family} ")), "no family {family} in\n{page}");
        let value = page.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
        value.map_or(0.0, |value| value.parse().expect("a number"))
    }

    /// The sum of all samples of a family.
    pub(crate) fn metric_sum(&self, family: &str) -> f64 {
        let page = self.metrics();
        let values = page.lines().filter_map(|line| {
            let rest = line.strip_prefix(family)?;
            (rest.starts_with(['{', ' '])).then(|| rest.rsplit(' ').next())?
        });
        values.map(|value| value.parse::<f64>().expect("a number")).sum()
    }

    /// Waits until a sample has this value.
    pub(crate) fn waits_for(&self, sample: &str, value: f64) {
        until_true(&format!("{sample} = {value}"), || (self.metric(sample) - value).abs() < 1e-9);
    }

    /// Waits for the first access-log line with this path.
    pub(crate) fn log_of(&self, path: &str) -> Value {
        self.lines.first(&format!("a log line of {path}"), |line| {
            let line = json(line);
            (line["path"] == path).then_some(line)
        })
    }

    /// Every access-log line so far.
    pub(crate) fn log_lines(&self) -> Vec<Value> {
        self.lines.all().iter().map(|line| json(line)).collect()
    }

    /// Every access-log line of one that has ended.
    pub(crate) fn whole_log(&self) -> Vec<Value> {
        self.lines.end();
        self.log_lines()
    }

    /// Waits for a notice of this text.
    pub(crate) fn notice(&self, text: &str) -> Value {
        self.notices.first(text, |line| message_of(line, text))
    }

    /// The notices of this text so far.
    pub(crate) fn notices_of(&self, text: &str) -> Vec<Value> {
        self.notices.all().iter().filter_map(|line| message_of(line, text)).collect()
    }

    /// The epoch in force.
    pub(crate) fn epoch(&self) -> u64 {
        self.status()["epoch"].as_u64().expect("a number")
    }

    /// Replaces the configuration file, by a rename.
    pub(crate) fn writes(&self, yaml: &str) -> PathBuf {
        self.folder.write(FILE, yaml)
    }

    /// Replaces the configuration file and waits until every worker serves by it.
    pub(crate) fn adopts(&self, yaml: &str) {
        let before = self.epoch();
        self.writes(yaml);
        self.waits_for_workers(before + 1);
    }

    /// Waits until an epoch, or a later one, is published and every worker has it.
    pub(crate) fn waits_for_workers(&self, epoch: u64) {
        until_true("every worker on the new epoch", || {
            let status = self.status();
            let workers = status["workers"].as_array().expect("a list");
            status["epoch"].as_u64() >= Some(epoch) && workers.iter().all(|worker| worker["epoch"] == status["epoch"])
        });
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: i32) {
        self.process.signal(signal);
    }

    /// Waits until nothing is in flight, and checks what must hold after every scenario: it lives, no panic, and gauges
    /// at rest.
    pub(crate) fn settles(&mut self) {
        self.waits_for("http_requests_active", 0.0);
        self.waits_for("upstream_connections_active", 0.0);
        assert!(self.process.ended().is_none(), "it ended by itself");
        assert_eq!(self.metric("worker_panics_total"), 0.0, "{}", self.notices.all().join("\n"));
        assert!(!self.notices.all().iter().any(|line| line.contains("panicked")), "{}", self.notices.all().join("\n"));
    }

    /// I2: a fresh connection is answered within a second. One that is to be introduced or secured is answered by its end
    /// or by a 400.
    fn answers(&self) {
        let is_quick = is_quicker_than(Duration::from_secs(1), || {
            // A reload may have taken the listener away.
            let Ok(stream) = TcpStream::connect(self.address()) else { return };
            let mut wire = Wire::new(stream);
            drop(wire.try_send("GET /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"));
            let read = wire.try_read();
            let is_reset = read.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset);
            assert!(read.is_ok() || is_reset, "a fresh request got {read:?}");
        });
        assert!(is_quick, "I2: a fresh connection waited for a second");
    }

    /// Checks what must hold after every scenario and ends it gracefully: exit code 0.
    pub(crate) fn stop(mut self) {
        self.settles();
        self.answers();
        self.signal(libc::SIGTERM);
        assert_eq!(self.process.exit_code(), Some(0), "{}", self.notices.all().join("\n"));
    }
}

/// A line of JSON.
pub(crate) fn json(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

/// The notice, if it has this text.
fn message_of(line: &str, text: &str) -> Option<Value> {
    let value: Value = serde_json::from_str(line).ok()?;
    (value["message"] == text).then_some(value)
}
