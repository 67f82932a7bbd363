//! J6: secrets of every kind are planted, everything happens to them that may, and they are in nothing that the gateway says.

use std::process::Command;

use data_encoding::BASE64;

use super::endpoint::Endpoint;
use super::folder::Folder;
use super::gateway::Gateway;
use super::issuer::{cheap_hash, hash, token_by_secret};
use super::origin::Origin;
use super::plan::{Io, Plan};
use super::process::{BINARY, binary};
use super::tool::run;
use super::wire::Wire;

/// A secret for each use, so that a failure says whose it was.
const JWT_SECRET: &str = "canary-jwt-secret-0123456789-abcdef";
const API_KEY: &str = "canary-api-key-0123456789-abcdef";
const PASSWORD: &str = "canary-password-0123456789-abcdef";
const REDIS: &str = "canary-redis-0123456789-abcdef";
const ADMIN: &str = "canary-admin-token-0123456789-abcdef";
const READER: &str = "canary-read-token-0123456789-abcdef";
const SESSION: &str = "canary-session-0123456789-abcdef";
/// By a variable of the environment, in what is asked of others.
const ASKED: &str = "canary-asked-0123456789-abcdef";
const PLANTED: [&str; 8] = [JWT_SECRET, API_KEY, PASSWORD, REDIS, ADMIN, READER, SESSION, ASKED];

/// A server that takes no password, and says what it was told, as Redis does of commands that were renamed.
fn indiscreet() -> Origin {
    Origin::serving(|mut wire| {
        while wire.has_bytes() {
            let count = wire.takes_unread();
            let told = format!("-ERR unknown command 'AUTH', with args beginning with: '{REDIS}' ({count})\r\n");
            if wire.try_send(told.repeat(4)).is_err() {
                return;
            }
        }
    })
}

/// Everything that takes a secret.
fn plan(io: Io, origin: &Origin, redis: &Origin) -> Plan {
    let store = |at: std::net::SocketAddr, mode: &str| {
        format!("scope: cluster, store: {{ redis: 'redis://user:{REDIS}@{at}', mode: {mode} }}")
    };
    Plan::bare(io)
        .cluster("app", &[origin.address()])
        .policies("one: { jwt: { audience: a, secret_file: secret } }")
        .policies("two: { api_key: { keys_file: keys.yaml } }")
        .policies("three: { basic_auth: { users_file: users } }")
        .policies("four: { external_auth: { cluster: app, path: '/verify?key=${ASKED}', forward_headers: [authorization, cookie] } }")
        .policies(&format!("five: {{ rate_limit: {{ limit: 9/1h, {} }} }}", store(Endpoint::closed(), "exact")))
        .policies(&format!("six: {{ rate_limit: {{ limit: 9/1h, {} }} }}", store(redis.address(), "leased")))
        .policies(&format!(
            "seven: {{ jwt: {{ audience: a, jwks_url: 'http://{}/keys?key=${{ASKED}}' }} }}",
            Endpoint::closed()
        ))
        .route("name: issued, match: { path: /issued/* }, cluster: app, policies: [seven]")
        .route("name: token, match: { path: /token/* }, cluster: app, policies: [one]")
        .route("name: key, match: { path: /key/* }, cluster: app, policies: [two]")
        .route("name: password, match: { path: /password/* }, cluster: app, policies: [three]")
        .route("name: asked, match: { path: /asked/* }, cluster: app, policies: [four, five, six]")
        .and(&format!("policy: {{ redis: {{ url: 'redis://:{REDIS}@{}' }} }}", redis.address()))
}

fn files(folder: &Folder) {
    folder.write("secret", JWT_SECRET);
    folder.write("keys.yaml", format!("acme: {}", hash(API_KEY)));
    folder.write("users", format!("alice:{}\n", cheap_hash(PASSWORD)));
    folder.write("admin", ADMIN);
    folder.write("reader", READER);
}

fn guarded(plan: &Plan) -> String {
    let admin = "admin: { listen: '127.0.0.1:0', token: '${file:admin}', read_token: '${file:reader}' }";
    let yaml = plan.yaml().replace("admin: { listen: '127.0.0.1:0' }", admin);
    assert!(yaml.contains(admin), "{yaml}");
    yaml
}

/// What the admin server says to whoever may do everything.
fn asks_admin(gateway: &Gateway, method: &str, path: &str, token: &str, body: &str) -> String {
    let mut wire = Wire::to(gateway.admin());
    wire.sends(format!(
        "{method} {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\
         Content-Length: {}\r\n\r\n{body}",
        gateway.admin(),
        body.len()
    ));
    String::from_utf8_lossy(&wire.try_reads_to_end()).into_owned()
}

fn reloads(gateway: &Gateway) -> String {
    asks_admin(gateway, "POST", "/reload", ADMIN, "")
}

/// Requests that show secrets, good and bad ones, in every form that is refused.
fn traffic(gateway: &Gateway) -> String {
    let token = token_by_secret(JWT_SECRET.as_bytes(), r#"{"aud":"a","exp":9999999999}"#);
    let login = |password: &str| BASE64.encode(format!("alice:{password}").as_bytes());
    let cookie = format!("Cookie: session={SESSION}");
    let mut heard = String::new();
    for (path, field) in [
        ("/token/good", format!("Authorization: Bearer {token}\r\n{cookie}")),
        ("/token/bad", format!("Authorization: Bearer {token}x")),
        ("/token/other", format!("Authorization: Bearer {JWT_SECRET}.{JWT_SECRET}.{JWT_SECRET}")),
        ("/token/basic", format!("Authorization: Basic {PASSWORD}")),
        ("/token/twice", format!("Authorization: Bearer {token}\r\nAuthorization: Bearer {SESSION}")),
        ("/token/nul", format!("Authorization: Bearer {SESSION}\0")),
        ("/key/good", format!("X-Api-Key: {API_KEY}")),
        ("/key/bad", format!("X-Api-Key: {API_KEY}x")),
        ("/key/space", format!("X-Api-Key : {API_KEY}")),
        ("/password/good", format!("Authorization: Basic {}", login(PASSWORD))),
        ("/password/bad", format!("Authorization: Basic {}", login(&format!("{PASSWORD}x")))),
        ("/password/plain", format!("Authorization: Basic alice:{PASSWORD}")),
        ("/asked/1", format!("Authorization: Bearer {SESSION}\r\n{cookie}")),
        ("/asked/2?key=canary-query", format!("Authorization: {SESSION}\r\n{cookie}")),
        ("/nowhere", format!("Authorization: Bearer {SESSION}\r\nProxy-Authorization: {SESSION}")),
    ] {
        let mut wire = Wire::to(gateway.address());
        wire.sends(format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{field}\r\n\r\n"));
        heard += &String::from_utf8_lossy(&wire.try_reads_to_end());
    }
    heard
}

/// Files and configurations that are wrong, with the secrets where they should not be.
fn mistakes(gateway: &Gateway, yaml: &str) -> String {
    let mut heard = String::new();
    for (name, text) in [
        ("keys.yaml", format!("acme: {API_KEY}")),
        ("keys.yaml", format!("{API_KEY}: acme")),
        ("users", format!("alice:{PASSWORD}")),
        ("users", PASSWORD.to_owned()),
        ("secret", JWT_SECRET[..20].to_owned()),
        ("admin", format!("{ADMIN}\n\n{ADMIN}")),
    ] {
        gateway.folder.write(name, text);
        heard += &reloads(gateway);
        files(&gateway.folder);
    }
    for (right, wrong) in [
        ("secret_file", "keys_file"),
        ("secret_file", "public_key_file"),
        ("users_file: users", "users_file: secret"),
        ("keys_file: keys.yaml", "keys_file: secret"),
        ("redis://user", "rediss://user"),
        ("redis://:", "http://:"),
        ("mode: exact", "mode: ${file:secret}"),
        ("limit: 9/1h", "limit: '${file:users}'"),
        ("audience: a", "audience: '${file:secret}', algorithms: ['${file:secret}']"),
    ] {
        let mistaken = yaml.replace(right, wrong);
        assert_ne!(mistaken, yaml, "{right}");
        gateway.writes(&mistaken);
        heard += &reloads(gateway);
        heard += &asks_admin(gateway, "PUT", "/config", ADMIN, &mistaken);
        let file = gateway.folder.path("gateway.yaml").display().to_string();
        heard += &run(BINARY, &["check", "-c", &file], "").text;
    }
    gateway.writes(yaml);
    heard + &reloads(gateway)
}

/// What the commands of an operator say.
fn commands(gateway: &Gateway) -> String {
    let file = gateway.folder.path("gateway.yaml").display().to_string();
    let mut heard = String::new();
    for arguments in [
        &["check", "-c", &file][..],
        &["check", "--online", "-c", &file],
        &["doctor", "-c", &file],
        &["explain", "-c", &file, "http://a/token/x"],
        &["status", "-c", &file],
        &["top", "--once", "-c", &file],
        &["policy", "get", "-c", &file],
        &["dump", "-c", &file],
        &["dump", "--effective", "-c", &file],
    ] {
        heard += &run("env", &[&[&format!("ASKED={ASKED}"), BINARY][..], arguments].concat(), "").text;
    }
    heard
}

fn no_secret_is_told_by_anything_that_speaks(io: Io) {
    let (origin, redis, folder) = (Origin::saying("in"), indiscreet(), Folder::new());
    files(&folder);
    let yaml = guarded(&plan(io, &origin, &redis));
    let file = folder.write("gateway.yaml", &yaml);
    let mut command: Command = binary();
    // All that there is to log, that of libraries included.
    command.arg("run").arg("-c").arg(file).current_dir(&folder).env("RINGGATE_LOG", "trace").env("ASKED", ASKED);
    let gateway = Gateway::start_with(folder, &mut command);
    let mut heard = traffic(&gateway);
    assert!(heard.matches("HTTP/1.1 200").count() >= 3, "{heard}");
    heard += &mistakes(&gateway, &yaml);
    heard += &commands(&gateway);
    for token in [ADMIN, READER, SESSION] {
        for page in [
            "/",
            "/status",
            "/metrics",
            "/clusters",
            "/routes",
            "/policy",
            "/config",
            "/latency",
            "/ready",
            "/rollout",
            "/openapi.json",
            "/nowhere",
        ] {
            heard += &asks_admin(&gateway, "GET", page, token, "");
        }
        heard += &asks_admin(&gateway, "POST", "/policy", token, r#"{"enabled": "no"}"#);
    }
    gateway.lines.first("the log of the last request", |line| line.contains("/nowhere").then_some(()));
    let (lines, notices) = (gateway.lines.all(), gateway.notices.all());
    assert!(lines.len() >= 10, "{lines:?}");
    heard += &lines.join("\n");
    heard += &notices.join("\n");
    // What was looked for, and where: the pages were read, and mistakes were told.
    for part in ["64 hexadecimal digits", "expected `name:hash`", "http_requests_total", "\"workers\""] {
        assert!(heard.contains(part), "no {part} in {heard}");
    }
    let hidden = [
        hash(API_KEY),
        cheap_hash(PASSWORD).rsplit('$').next().expect("the hash proper").to_owned(),
        BASE64.encode(format!("alice:{PASSWORD}").as_bytes()).trim_end_matches('=').to_owned(),
        token_by_secret(JWT_SECRET.as_bytes(), r#"{"aud":"a","exp":9999999999}"#)
            .rsplit('.')
            .next()
            .unwrap()
            .to_owned(),
        "canary-query".to_owned(),
    ];
    for secret in PLANTED.iter().copied().chain(hidden.iter().map(String::as_str)) {
        let line = heard.lines().find(|line| line.contains(secret));
        assert!(line.is_none(), "{secret} is told: {line:?}");
    }
}

on_both_drivers![no_secret_is_told_by_anything_that_speaks];
