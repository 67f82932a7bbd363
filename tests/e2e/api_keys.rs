//! J4: API keys, which no file and no line of the gateway holds.

use super::folder::Folder;
use super::gateway::Gateway;
use super::h2_client::H2Client;
use super::issuer::{Issuer, hash, key_set, token_by_secret};
use super::message::Message;
use super::origin::Origin;
use super::plan::{Io, Plan};

fn fields(request: &Message) -> Vec<u8> {
    let is_of_interest = |line: &&String| {
        let name = line.split(':').next().unwrap_or(line).to_ascii_lowercase().replace('_', "-");
        ["x-api-key", "x-client", "x-user"].contains(&name.as_str())
    };
    let content = request.lines_without(&[]).iter().filter(is_of_interest).cloned().collect::<Vec<_>>().join("|");
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{content}", content.len()).into_bytes()
}

fn start(io: Io, origin: &Origin, keys: &str, rest: &str) -> Gateway {
    let folder = Folder::new();
    folder.write("keys.yaml", keys);
    let plan = Plan::bare(io)
        .speaks_h2()
        .cluster("app", &[origin.address()])
        .policies(&format!("partner: {{ api_key: {{ keys_file: keys.yaml{rest} }} }}"))
        .route("name: all, match: { path: /* }, cluster: app, policies: [partner]");
    Gateway::start_in(folder, &plan.yaml())
}

fn get(fields: &str) -> String {
    format!("GET /{} HTTP/1.1\r\nHost: a\r\n{fields}\r\n", fields.len())
}

/// A key lets in, under the name of its holder; the endpoint is told the name and not the key, and no client can say a name
/// itself.
fn a_key_lets_in_whom_it_belongs_to(io: Io) {
    let origin = Origin::answering(fields);
    let keys = format!("acme: {}\nglobex: [{}, {}]\n", hash("key-a"), hash("key-b"), hash("key-c").to_uppercase());
    let gateway = start(io, &origin, &keys, ", forward_identity: x-client");
    let mut client = gateway.client();
    for (key, name) in [("key-a", "acme"), ("key-b", "globex"), ("key-c", "globex")] {
        client.sends(get(&format!("X-Api-Key: {key}\r\nX-Client: forged\r\nx_client: forged\r\nx_api_key: other\r\n")));
        assert_eq!(client.expects(200).text(), format!("x-client: {name}"));
    }
    let mut h2 = H2Client::to(gateway.address());
    assert_eq!(h2.asks("GET", "/h2", &[("x-api-key", "key-a")]).expects(200).text(), "x-client: acme");
    assert_eq!(gateway.log_of("/h2")["identity"], "acme");
    let requests = origin.requests();
    client.sends(get(""));
    let answer = client.expects(401);
    assert_eq!(
        (answer.reason(), answer.all("www-authenticate")),
        ("credentials_missing", vec![r#"ApiKey realm="partner""#])
    );
    for key in ["key-d", "KEY-A", "key-a x", &hash("key-a"), &"a".repeat(5000), "\u{e4}"] {
        client.sends(get(&format!("X-Api-Key: {key}\r\n")));
        assert_eq!(client.expects(401).reason(), "api_key_refused", "{key}");
    }
    client.sends(get("X-Api-Key:\r\n"));
    assert_eq!(client.expects(401).reason(), "credentials_missing");
    client.sends(get("X-Api-Key: key-a\r\nx-api-key: key-b\r\n"));
    assert_eq!(client.expects(400).reason(), "credentials_ambiguous");
    client.sends(get("x_api_key: key-a\r\n"));
    assert_eq!(client.expects(401).reason(), "credentials_missing");
    let mut last = gateway.client();
    last.sends(get("X-Api-Key: key-a\0\r\n"));
    last.expects(400);
    drop(last);
    assert_eq!(origin.requests(), requests);
    gateway.waits_for("gateway_rejected_requests_total{reason=\"api_key_refused\"}", 6.0);
    gateway.stop();
}

/// The file is watched: a key that is taken out of it lets nobody in any more.
fn a_key_that_is_removed_lets_nobody_in(io: Io) {
    let origin = Origin::answering(fields);
    let keys = format!("acme: {}\nglobex: {}\n", hash("key-a"), hash("key-b"));
    let gateway = start(io, &origin, &keys, ", header: X-Key, forward_credentials: true");
    let mut client = gateway.client();
    client.sends(get("X-Key: key-a\r\n"));
    client.expects(200);
    gateway.folder.write("keys.yaml", format!("globex: {}\n", hash("key-b")));
    let reloaded = gateway.asks_admin("POST", "/reload");
    assert_eq!(reloaded.status(), 200, "{reloaded}");
    client.sends(get("X-Key: key-a\r\n"));
    client.expects(401);
    client.sends(get("X-Key: key-b\r\n"));
    client.expects(200);
    gateway.stop();
}

/// A route with both wants both.
fn a_token_and_a_key_are_both_wanted(io: Io) {
    let (origin, issuer) = (Origin::answering(fields), Issuer::new("k"));
    let folder = Folder::new();
    folder.write("keys.json", key_set(&[&issuer]));
    folder.write("keys.yaml", format!("acme: {}", hash("key-a")));
    let yaml = Plan::bare(io)
        .cluster("app", &[origin.address()])
        .policies("one: { jwt: { audience: a, keys_file: keys.json, forward_claims: { sub: x-user } } }")
        .policies("two: { api_key: { keys_file: keys.yaml, forward_identity: x-client } }")
        .route("name: all, match: { path: /* }, cluster: app, policies: [one, two]")
        .yaml();
    let gateway = Gateway::start_in(folder, &yaml);
    let token = format!("Authorization: Bearer {}\r\n", issuer.token(r#""aud":"a","sub":"alice""#));
    let key = "X-Api-Key: key-a\r\n";
    let mut client = gateway.client();
    for one in [token.as_str(), key] {
        client.sends(get(one));
        assert_eq!(client.expects(401).reason(), "credentials_missing");
    }
    client.sends(get(&format!("{token}{key}")));
    assert_eq!(client.expects(200).text(), "x-user: alice|x-client: acme");
    gateway.stop();
}

/// Secrets of files and of clients are nowhere in what the gateway says, whatever happens to them.
fn no_secret_is_ever_told(io: Io) {
    const CANARY: &str = "canary-cAnArY-0123456789-abcdefghij";
    let origin = Origin::answering(fields);
    let folder = Folder::new();
    folder.write("secret", CANARY);
    folder.write("keys.yaml", format!("acme: {}", hash(CANARY)));
    let yaml = |rest: &str| {
        Plan::bare(io)
            .cluster("app", &[origin.address()])
            .policies("one: { jwt: { audience: a, secret_file: secret } }, two: { api_key: { keys_file: keys.yaml } }")
            .route("name: token, match: { path: /token/* }, cluster: app, policies: [one]")
            .route("name: key, match: { path: /key/* }, cluster: app, policies: [two]")
            .and(rest)
            .yaml()
    };
    let gateway = Gateway::start_in(folder, &yaml(""));
    let mut client = gateway.client();
    let token = token_by_secret(CANARY.as_bytes(), r#"{"aud":"a","exp":9999999999}"#);
    let signature = token.rsplit('.').next().expect("three parts").to_owned();
    let mut heard = String::new();
    for (path, field, status) in [
        ("/token/good", format!("Authorization: Bearer {token}"), 200),
        ("/token/bad", format!("Authorization: Bearer {token}x"), 401),
        ("/token/cut", format!("Authorization: Bearer {CANARY}"), 401),
        ("/token/basic", format!("Authorization: Basic {CANARY}"), 401),
        ("/key/good", format!("X-Api-Key: {CANARY}"), 200),
        ("/key/bad", format!("X-Api-Key: {CANARY}x"), 401),
        ("/key/twice", format!("X-Api-Key: {CANARY}\r\nX-Api-Key: {CANARY}"), 400),
    ] {
        client.sends(format!("GET {path} HTTP/1.1\r\nHost: a\r\n{field}\r\n\r\n"));
        heard += &format!("{}\n{}\n", client.expects(status), gateway.log_of(path));
    }
    // A key itself where its hash should be, and a secret where a set of keys should be.
    gateway.folder.write("keys.yaml", format!("acme: {CANARY}"));
    heard += &gateway.asks_admin("POST", "/reload").to_string();
    gateway.folder.write("keys.yaml", format!("{CANARY}: acme"));
    heard += &gateway.asks_admin("POST", "/reload").to_string();
    gateway.writes(&yaml("").replace("secret_file", "keys_file"));
    heard += &gateway.asks_admin("POST", "/reload").to_string();
    gateway.writes(&yaml("").replace("secret_file", "public_key_file"));
    heard += &gateway.asks_admin("POST", "/reload").to_string();
    heard += &gateway.status().to_string();
    heard += &gateway.metrics();
    heard += &gateway.notices.all().join("\n");
    assert!(heard.contains("64 hexadecimal digits") && heard.contains("this is no key set"), "{heard}");
    for secret in [CANARY, &signature, &hash(CANARY)] {
        assert!(!heard.contains(secret), "{secret} is told: {heard}");
    }
    gateway.stop();
}

on_both_drivers![
    a_key_lets_in_whom_it_belongs_to,
    a_key_that_is_removed_lets_nobody_in,
    a_token_and_a_key_are_both_wanted,
    no_secret_is_ever_told,
];
