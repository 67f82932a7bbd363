//! `ringgate check --online` against endpoints of every kind: requirements B6 and L1.

use std::process::Output;

use h2::server::Builder;
use rcgen::date_time_ymd;
use rustls::ServerConfig;
use rustls::version::TLS12;

use super::endpoint::Endpoint;
use super::folder::Folder;
use super::h2_endpoint::H2Endpoint;
use super::origin::Origin;
use super::pki::{Authority, Pair};
use super::plan::{Io, Plan};
use super::process::binary;
use super::site::{VERSIONS, server_of};
use super::wait::now_ms;

/// What is in the directory of the file, and the file.
struct Scene {
    folder: Folder,
    authority: Authority,
    plan: Plan,
}

impl Scene {
    fn new() -> Self {
        let (folder, authority) = (Folder::new(), Authority::new("inside"));
        folder.write("ca.crt", authority.pem());
        Self { folder, authority, plan: Plan::bare(Io::Epoll) }
    }

    /// A further cluster with one endpoint and these entries beside it.
    fn with(mut self, name: &str, url: &str, entries: &str) -> Self {
        self.plan = self.plan.cluster_as(name, &format!("{entries}endpoints: [{{ url: '{url}' }}]"));
        self
    }

    /// The same for an endpoint whose certificate must be for `a.example`, and signed by the authority.
    fn with_tls(self, name: &str, url: &str, entries: &str) -> Self {
        let ca = self.folder.path("ca.crt");
        let believed = format!("tls: {{ ca: '{}', server_name: a.example }}, {entries}", ca.display());
        self.with(name, url, &believed)
    }

    /// A server that speaks these protocols inside TLS.
    fn server(&self, pair: &Pair, protocols: &[&str]) -> ServerConfig {
        let mut config = server_of(pair, &VERSIONS, None);
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        config
    }

    fn good_server(&self, protocols: &[&str]) -> ServerConfig {
        self.server(&self.authority.certifies(&["a.example"]), protocols)
    }

    /// What it finds, with so many seconds for each endpoint.
    fn checks(&self, patience: &str) -> Output {
        let path = self.folder.write("gateway.yaml", self.plan.yaml());
        let command = ["check", "--online", "--timeout", patience, "-c", path.to_str().expect("UTF-8")];
        binary().args(command).output().expect("a child")
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What was found of a cluster's only endpoint.
fn found<'a>(stdout: &'a str, cluster: &str) -> &'a str {
    let line = stdout.lines().find(|line| line.starts_with(&format!("{cluster}: "))).unwrap_or_default();
    line.rsplit_once("): ").or_else(|| line.split_once(":81: ")).map_or(line, |(_, found)| found)
}

fn speaking(config: ServerConfig) -> Origin {
    Origin::secured(config, |_, _| b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_vec())
}

#[test]
fn endpoints_that_are_as_configured_are_exit_code_0() {
    let scene = Scene::new();
    let plain = Origin::saying("ok");
    let sealed = speaking(scene.good_server(&["http/1.1"]));
    let (h2c, h2) = (H2Endpoint::listens(), H2Endpoint::with(Builder::new(), Some(scene.good_server(&["h2"]))));
    let introduced = Origin::serving(|mut wire| {
        assert!(wire.reads_through(b"\r\n").starts_with(b"PROXY UNKNOWN"));
        drop(wire.reads_head());
        wire.sends("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
    });
    let scene = scene
        .with("plain", &format!("http://{}", plain.address()), "")
        .with("introduced", &format!("http://{}", introduced.address()), "proxy_protocol: v1, ")
        .with("h2c", &format!("h2c://{}", h2c.address()), "")
        .with_tls("sealed", &format!("https://{}", sealed.address()), "")
        .with_tls("h2", &format!("https://{}", h2.address()), "protocol: h2, ")
        .with_tls("auto_old", &format!("https://{}", sealed.address()), "protocol: auto, ")
        .with_tls("auto_new", &format!("https://{}", h2.address()), "protocol: auto, ");
    let output = scene.checks("5");
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{stdout}{stderr}");
    for (cluster, spoken) in [
        ("plain", "HTTP/1.1"),
        ("introduced", "HTTP/1.1"),
        ("sealed", "HTTP/1.1"),
        ("auto_old", "HTTP/1.1"),
        ("h2c", "HTTP/2"),
        ("h2", "HTTP/2"),
        ("auto_new", "HTTP/2"),
    ] {
        assert_eq!(found(&stdout, cluster), spoken, "{cluster} in {stdout}");
    }
    for progress in ["1 of 7: ", "7 of 7: "] {
        assert!(stderr.contains(progress), "{stderr}");
    }
    assert!(stdout.contains("valid, 1 listener, 7 clusters"), "{stdout}");
}

/// B6: what is wrong is told by the reason that requests would fail with, and by exit code 1.
#[test]
fn each_way_not_to_be_as_configured_has_its_reason() {
    let scene = Scene::new();
    let sealed = speaking(scene.good_server(&["http/1.1"]));
    let (plain, h2c) = (Origin::saying("ok"), H2Endpoint::listens());
    let curt = Origin::serving(|mut wire| {
        assert!(wire.has_bytes());
        wire.sends("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
    });
    let hasty = Origin::serving(|mut wire| {
        drop(wire.reads_head());
        wire.closes();
    });
    let other_words = Origin::serving(|mut wire| drop(wire.sends("SSH-2.0-OpenSSH\r\n").try_reads_to_end()));
    let (deaf, _connections) = Endpoint::deaf();
    let mute = Endpoint::listens();
    let mut scene = scene
        .with("refused", &format!("http://{}", Endpoint::closed()), "")
        .with("deaf", &format!("http://{}", deaf.address()), "")
        .with("mute_h2", &format!("h2c://{}", mute.address()), "")
        .with("speaks_tls", &format!("http://{}", sealed.address()), "")
        .with("speaks_tls_too", &format!("h2c://{}", sealed.address()), "")
        .with("speaks_h2", &format!("http://{}", h2c.address()), "")
        .with("not_h2", &format!("h2c://{}", plain.address()), "")
        .with("hasty", &format!("http://{}", hasty.address()), "")
        .with("other_words", &format!("http://{}", other_words.address()), "")
        .with("unresolved", "http://nobody.invalid:81", "")
        .with_tls("not_h2_sealed", &format!("https://{}", sealed.address()), "protocol: h2, ")
        .with_tls("plain", &format!("https://{}", curt.address()), "")
        .with("good", &format!("http://{}", plain.address()), "");
    scene.plan = scene.plan.and(&format!("dns: {{ servers: ['{}'], timeout: 200ms }}", Endpoint::closed()));
    // Each takes its time, and none waits for another.
    for number in 0..20 {
        scene = scene.with(&format!("mute_{number}"), &format!("http://{}", mute.address()), "");
    }
    let began_ms = now_ms();
    let output = scene.checks("2");
    let took_ms = now_ms() - began_ms;
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{stdout}{stderr}");
    for (cluster, reason) in [
        ("refused", "connect_refused"),
        ("deaf", "connect_timeout"),
        ("mute_0", "upstream_timeout"),
        ("mute_h2", "connect_timeout"),
        ("speaks_tls", "upstream_speaks_tls"),
        ("speaks_tls_too", "upstream_speaks_tls"),
        ("speaks_h2", "upstream_speaks_h2"),
        ("not_h2", "upstream_not_h2"),
        ("not_h2_sealed", "upstream_not_h2"),
        ("hasty", "upstream_eof"),
        ("other_words", "bad_response"),
        ("unresolved", "unresolved"),
        ("plain", "tls_plain_peer"),
    ] {
        assert!(found(&stdout, cluster).starts_with(&format!("{reason}: ")), "{cluster} in {stdout}");
    }
    assert_eq!(found(&stdout, "good"), "HTTP/1.1", "{stdout}");
    assert!(stderr.contains("32 of 33 endpoints are not as configured"), "{stderr}");
    assert!(took_ms < 10_000, "one after the other: {took_ms} ms");
}

/// The same for certificates that are not believed, and for endpoints that want one.
#[test]
fn each_way_not_to_be_believed_has_its_reason() {
    let scene = Scene::new();
    let expired = scene.authority.certifies_as(&["a.example"], |params| {
        (params.not_before, params.not_after) = (date_time_ymd(2001, 1, 1), date_time_ymd(2002, 1, 1));
    });
    let other = scene.authority.certifies(&["b.example"]);
    let unknown = Authority::new("stranger").certifies(&["a.example"]);
    let [expired, other, unknown] = [expired, other, unknown].map(|pair| speaking(scene.server(&pair, &["http/1.1"])));
    let good = scene.authority.certifies(&["a.example"]);
    let demanding = speaking(server_of(&good, &[&TLS12], Some(&scene.authority)));
    let scene = scene
        .with_tls("expired", &format!("https://{}", expired.address()), "")
        .with_tls("other_name", &format!("https://{}", other.address()), "")
        .with_tls("unknown", &format!("https://{}", unknown.address()), "")
        .with_tls("demanding", &format!("https://{}", demanding.address()), "");
    let output = scene.checks("5");
    let stdout = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{stdout}");
    for (cluster, reason) in [
        ("expired", "tls_expired"),
        ("other_name", "tls_wrong_name"),
        ("unknown", "tls_unknown_issuer"),
        ("demanding", "tls_failed"),
    ] {
        assert!(found(&stdout, cluster).starts_with(&format!("{reason}: ")), "{cluster} in {stdout}");
    }
}

/// A machine without root certificates has nothing to believe an endpoint by, and all that needs none is told all the same, by
/// `ringgate doctor` too.
#[test]
fn a_system_without_root_certificates_is_one_finding_among_the_others() {
    let plain = Origin::saying("ok");
    let address = plain.address();
    let scene =
        Scene::new().with("plain", &format!("http://{address}"), "").with("secured", "https://127.0.0.1:81", "");
    let file = scene.folder.write("gateway.yaml", scene.plan.yaml());
    let why = "https://127.0.0.1:81: unverifiable: this system has no root certificates, set `ca`";
    for (command, lines) in [
        (
            &["check", "--online"][..],
            [format!("plain: http://{address} ({address}): HTTP/1.1"), format!("secured: {why}")],
        ),
        (&["doctor"], [format!("ok   plain http://{address}: HTTP/1.1"), format!("FAIL secured {why}")]),
    ] {
        let mut asked = binary();
        asked.args(command).arg("-c").arg(&file).env("SSL_CERT_FILE", "/dev/null").env("SSL_CERT_DIR", "/nonexistent");
        let output = asked.output().expect("a child");
        let stdout = text(&output.stdout);
        assert_eq!(output.status.code(), Some(1), "{stdout}");
        for line in lines {
            assert!(stdout.lines().any(|other| other == line), "no `{line}` in {stdout}");
        }
    }
}

#[test]
fn the_help_tells_the_exit_codes() {
    let output = binary().args(["check", "--help"]).output().expect("a child");
    let help = text(&output.stdout);
    for part in ["--online", "Exit codes:", "1 some endpoint is not as configured", "OPTIONS *"] {
        assert!(help.contains(part), "{part} is missing:\n{help}");
    }
    let output = binary().args(["check", "--timeout", "3", "-c", "gateway.yaml"]).output().expect("a child");
    assert_eq!(output.status.code(), Some(2), "a time for what is not asked for");
}
