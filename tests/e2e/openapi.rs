//! H5: the document of the admin API against the API: every path, method and status that it tells of is answered so, with a
//! body of the shape it tells, and no page takes a method that it does not tell of.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::os::unix::fs::symlink;

use boon::{Compiler, Schemas};
use serde_json::Value;

use super::endpoint::Endpoint;
use super::folder::Folder;
use super::gateway::{Gateway, json};
use super::message::Message;
use super::origin::Origin;
use super::plan::{Io, Plan};
use super::wait::until_true;
use super::wire::Wire;

const TOKEN: &str = "a-token-that-may-do-everything";
const READ_TOKEN: &str = "a-token-that-may-only-look";
/// What cannot be had from a gateway that works: other tests show these, or nothing can be asked then.
const UNSEEN: [(&str, &str, &str); 9] = [
    ("get", "/config", "503"),
    ("get", "/events", "503"),
    ("get", "/latency", "503"),
    ("post", "/upgrade", "200"),
    ("post", "/rollout/promote", "500"),
    ("post", "/rollout/abort", "500"),
    ("post", "/clusters/{cluster}/{endpoint}/drain", "500"),
    ("post", "/clusters/{cluster}/{endpoint}/undrain", "500"),
    ("put", "/clusters/{cluster}/{endpoint}/weight", "500"),
];

/// The document, and what of it was seen.
struct Walk {
    document: Value,
    compiler: Compiler,
    seen: BTreeSet<(String, String, String)>,
}

impl Walk {
    fn new(document: Value) -> Self {
        let mut compiler = Compiler::new();
        compiler.add_resource("http://ringgate.test/openapi.json", document.clone()).expect("JSON");
        Self { document, compiler, seen: BTreeSet::new() }
    }

    /// Every operation: its method and path, and what is told of it.
    fn operations(&self) -> Vec<(String, String, Value)> {
        let paths = self.document["paths"].as_object().expect("paths");
        let of = |(path, methods): (&String, &Value)| {
            let methods = methods.as_object().expect("methods").clone();
            let path = path.clone();
            methods.into_iter().map(move |(method, told)| (method, path.clone(), told)).collect::<Vec<_>>()
        };
        paths.iter().flat_map(of).collect()
    }

    /// An answer to `method` of `path` must be as it is told.
    fn sees(&mut self, method: &str, path: &str, answer: &Message) {
        let status = answer.status().to_string();
        let told = &self.document["paths"][path][method]["responses"][&status];
        assert!(told["description"].is_string(), "nothing is told of {method} {path}: {answer}");
        let kind = answer.field("content-type").unwrap_or_default();
        let media = kind.split(';').next().unwrap_or_default().trim();
        let contents = told["content"].as_object().unwrap_or_else(|| panic!("no content of {method} {path} {status}"));
        assert!(contents.contains_key(media), "{method} {path} {status}: {media} is none of {:?}", contents.keys());
        let body = if media == "application/json" { json(answer.text()) } else { answer.text().into() };
        let pointer = [path, method, "responses", &status, "content", media, "schema"].map(escaped).join("/");
        let mut schemas = Schemas::new();
        let at = format!("http://ringgate.test/openapi.json#/paths/{pointer}");
        let schema = self.compiler.compile(&at, &mut schemas).unwrap_or_else(|error| panic!("{at}: {error:#}"));
        if let Err(error) = schemas.validate(&body, schema) {
            panic!("{method} {path} {status}: {error}\n{body:#}");
        }
        self.seen.insert((method.to_owned(), path.to_owned(), status));
    }
}

/// A part of a JSON pointer in a URL (RFC 6901 section 6).
fn escaped(part: &str) -> String {
    part.replace('~', "~0").replace('/', "~1").replace('{', "%7B").replace('}', "%7D")
}

fn asks(admin: SocketAddr, method: &str, path: &str, fields: &str, body: &[u8]) -> Message {
    let mut wire = Wire::to(admin);
    let (method, length) = (method.to_uppercase(), body.len());
    let head = format!("{method} {path} HTTP/1.1\r\n{fields}Connection: close\r\nContent-Length: {length}\r\n\r\n");
    drop(wire.try_send([head.as_bytes(), body].concat()));
    let mut message = wire.reads_head();
    // A stream of events has no end.
    if message.field("content-type") != Some("text/event-stream") {
        wire.reads_body(&mut message);
    }
    message
}

const LOCAL: &str = "Host: localhost\r\n";

fn concrete(path: &str, endpoint: SocketAddr) -> String {
    path.replace("{cluster}", "app").replace("{endpoint}", &endpoint.to_string())
}

#[test]
fn every_answer_is_as_the_document_tells() {
    let origin = Origin::saying("ok");
    let folder = Folder::new();
    std::fs::create_dir(folder.path("state")).expect("a directory");
    let yaml = Plan::to(Io::Epoll, &[origin.address()]).and("policy: { file: state/policy.json }").yaml();
    let gateway = Gateway::start_in(folder, &yaml);
    let (admin, endpoint) = (gateway.admin(), origin.address());
    let mut walk = Walk::new(json(asks(admin, "get", "/openapi.json", LOCAL, b"").text()));
    assert_eq!(walk.document["openapi"], "3.1.0");
    // Whatever can be looked at, as it is.
    for (method, path, _) in walk.operations().into_iter().filter(|(method, ..)| method == "get") {
        walk.sees(&method, &path, &asks(admin, &method, &path, LOCAL, b""));
        walk.sees(&method, &path, &asks(admin, &method, &path, "Host: evil.example\r\n", b""));
    }
    for accept in ["application/json", "application/openmetrics-text"] {
        for path in ["/config", "/metrics"] {
            walk.sees("get", path, &asks(admin, "get", path, &format!("{LOCAL}Accept: {accept}\r\n"), b""));
        }
    }
    orders(&mut walk, &gateway, endpoint, &yaml);
    not_ready(&mut walk);
    ending(&mut walk);
    guarded(&mut walk, endpoint);
    no_other_methods(&walk, admin, endpoint);
    let told = walk.operations().into_iter().flat_map(|(method, path, told)| {
        let statuses = told["responses"].as_object().expect("responses").keys().cloned().collect::<Vec<_>>();
        statuses.into_iter().map(move |status| (method.clone(), path.clone(), status))
    });
    let unseen: Vec<_> = told.filter(|told| !walk.seen.contains(told)).collect();
    let unknown: Vec<_> = unseen
        .iter()
        .filter(|(method, path, status)| !UNSEEN.contains(&(method.as_str(), path.as_str(), status.as_str())))
        .collect();
    assert!(unknown.is_empty(), "told of, and never seen: {unknown:#?}");
    drop(gateway.killed());
}

/// Whatever changes something, well and badly.
fn orders(walk: &mut Walk, gateway: &Gateway, endpoint: SocketAddr, yaml: &str) {
    let admin = gateway.admin();
    let json_field = format!("{LOCAL}Accept: application/json\r\n");
    let beside = gateway.folder.path("gateway.yaml.new");
    let large = vec![b' '; 9 << 20];
    let other = "/clusters/{cluster}/{endpoint}";
    let mut order = |method: &str, path: &str, at: &str, fields: &str, body: &[u8], status: u16| {
        let answer = asks(admin, method, at, fields, body);
        assert_eq!(answer.status(), status, "{method} {path}: {answer}");
        walk.sees(method, path, &answer);
    };
    for (what, body) in [("drain", ""), ("undrain", ""), ("weight", r#"{"weight": 1}"#)] {
        let (method, path) = (if what == "weight" { "put" } else { "post" }, format!("{other}/{what}"));
        order(method, &path, &concrete(&path, endpoint), LOCAL, body.as_bytes(), 200);
        order(method, &path, &path.replace(['{', '}'], ""), LOCAL, body.as_bytes(), 404);
    }
    let weight = format!("{other}/weight");
    order("put", &weight, &concrete(&weight, endpoint), LOCAL, b"heavy", 400);
    order("post", "/policy", "/policy", LOCAL, b"{\"rateLimit\": 5000}", 200);
    order("post", "/policy", "/policy", LOCAL, b"{\"rateLimit\": 0}", 400);
    std::fs::remove_dir_all(gateway.folder.path("state")).expect("a directory");
    order("post", "/policy", "/policy", LOCAL, b"{\"rateLimit\": 6000}", 503);
    order("put", "/config", "/config", LOCAL, yaml.as_bytes(), 200);
    order("put", "/config", "/config", LOCAL, b"nonsense: 1", 400);
    order("put", "/config", "/config", &json_field, b"nonsense: 1", 400);
    order("put", "/config", "/config", &format!("{LOCAL}If-Match: \"0\"\r\n"), yaml.as_bytes(), 412);
    order("put", "/config", "/config", LOCAL, &large, 413);
    order("put", "/config", "/config", &format!("{LOCAL}Content-Type: image/png\r\n"), yaml.as_bytes(), 415);
    symlink("/dev/full", &beside).expect("a link");
    order("put", "/config", "/config", LOCAL, yaml.as_bytes(), 507);
    std::fs::create_dir(&beside).expect("a directory");
    order("put", "/config", "/config", LOCAL, yaml.as_bytes(), 500);
    std::fs::remove_dir(&beside).expect("a directory");
    order("post", "/reload", "/reload", LOCAL, b"", 200);
    for (what, name) in [("abort", "one"), ("promote", "two")] {
        let path = format!("/rollout/{what}");
        order("post", &path, &path, LOCAL, b"", 409);
        let reload = "reload: { watch: false, stage: { for: 1h } }\n";
        gateway.writes(&format!("{}{reload}", yaml.replace("name: everything", &format!("name: {name}"))));
        order("post", "/reload", "/reload", LOCAL, b"", 200);
        order("get", "/rollout", "/rollout", LOCAL, b"", 200);
        order("post", &path, &path, LOCAL, b"", 200);
        order("get", "/status", "/status", LOCAL, b"", 200);
    }
    gateway.writes("nonsense: 1");
    order("post", "/reload", "/reload", LOCAL, b"", 400);
    order("put", "/config", "/config", LOCAL, yaml.as_bytes(), 409);
    order("post", "/upgrade", "/upgrade", LOCAL, b"", 500);
}

/// A gateway to which nothing should be sent.
fn not_ready(walk: &mut Walk) {
    let health = "required: true, none_healthy: fail_closed, health: { active: { kind: tcp, interval: 50ms, require_probe: true } }";
    let gateway = Plan::bare(Io::Epoll).cluster_with("app", &[Endpoint::closed()], health).start();
    until_true("that it is not ready", || gateway.asks_admin("GET", "/ready").status() == 503);
    walk.sees("get", "/ready", &asks(gateway.admin(), "get", "/ready", LOCAL, b""));
    drop(gateway.killed());
}

/// One that ends obeys no orders, and says so at once.
fn ending(walk: &mut Walk) {
    let endpoint = Endpoint::listens();
    let gateway = Plan::to(Io::Epoll, &[endpoint.address()]).start();
    let mut client = gateway.client();
    client.asks("/in-flight");
    let mut upstream = endpoint.accepts();
    upstream.expects("GET /in-flight");
    gateway.signal(libc::SIGTERM);
    gateway.notice("shutting down gracefully");
    for (method, path, _) in walk.operations().into_iter().filter(|(method, ..)| method != "get") {
        let at = concrete(&path, endpoint.address());
        let answer = asks(gateway.admin(), &method, &at, LOCAL, br#"{"weight": 1}"#);
        assert_eq!((answer.status(), &json(answer.text())["error"]), (503, &"shutting down".into()), "{method} {path}");
        walk.sees(&method, &path, &answer);
    }
    drop(gateway.killed());
}

/// A gateway with tokens: nobody without one, and no orders by one for looking.
fn guarded(walk: &mut Walk, endpoint: SocketAddr) {
    let folder = Folder::new();
    folder.write("all", TOKEN);
    folder.write("look", READ_TOKEN);
    let admin = "admin: { listen: '127.0.0.1:0', token: '${file:all}', read_token: '${file:look}' }";
    let yaml = Plan::to(Io::Epoll, &[endpoint]).yaml().replace("admin: { listen: '127.0.0.1:0' }", admin);
    let gateway = Gateway::start_in(folder, &yaml);
    for (method, path, told) in walk.operations() {
        let at = concrete(&path, endpoint);
        let with = |token: &str| {
            asks(gateway.admin(), &method, &at, &format!("{LOCAL}Authorization: Bearer {token}\r\n"), b"")
        };
        let is_open = told["security"].as_array().is_some_and(Vec::is_empty);
        let nobody = asks(gateway.admin(), &method, &at, LOCAL, b"");
        assert_eq!(nobody.status(), if is_open { 200 } else { 401 }, "{method} {path}: {nobody}");
        walk.sees(&method, &path, &nobody);
        let looks = told["security"].to_string().contains("read_token") || is_open;
        let reader = with(READ_TOKEN);
        assert_eq!(reader.status(), if looks { 200 } else { 403 }, "{method} {path}: {reader}");
        walk.sees(&method, &path, &reader);
        if method == "get" {
            assert_eq!(with(TOKEN).status(), 200, "{path}");
        }
    }
    drop(gateway.killed());
}

/// A method that the document does not tell of is none that the page takes.
fn no_other_methods(walk: &Walk, admin: SocketAddr, endpoint: SocketAddr) {
    for path in walk.document["paths"].as_object().expect("paths").keys() {
        for method in ["get", "post", "put", "delete", "patch"] {
            if walk.document["paths"][path][method].is_null() {
                let answer = asks(admin, method, &concrete(path, endpoint), LOCAL, b"");
                assert_eq!(answer.status(), 405, "{method} {path}: {answer}");
            }
        }
    }
}
