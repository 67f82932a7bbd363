//! J4: bearer tokens (JWT) by keys of files.

use super::folder::Folder;
use super::gateway::Gateway;
use super::h2_client::H2Client;
use super::issuer::{Issuer, in_seconds, key_set, token_by_secret};
use super::message::Message;
use super::origin::Origin;
use super::plan::{Io, Plan};

/// The fields of a request under these names, whatever their spelling, and what it has of credentials.
fn seen(request: &Message) -> Vec<u8> {
    let is_of_interest = |line: &&String| {
        let name = line.split(':').next().unwrap_or(line).to_ascii_lowercase().replace('_', "-");
        ["x-user", "x-role", "x-client", "x-api-key", "authorization"].contains(&name.as_str())
    };
    let lines: Vec<String> = request.lines_without(&[]);
    let content = lines.iter().filter(is_of_interest).cloned().collect::<Vec<_>>().join("|");
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{content}", content.len()).into_bytes()
}

/// A gateway whose only route wants a token by the rules given, and its endpoint, which says what it saw.
fn guarded(io: Io, folder: Folder, rules: &str) -> (Gateway, Origin) {
    let origin = Origin::answering(seen);
    let plan = plan(io, &origin, rules);
    (Gateway::start_in(folder, &plan.yaml()), origin)
}

fn plan(io: Io, origin: &Origin, rules: &str) -> Plan {
    Plan::bare(io)
        .speaks_h2()
        .cluster("app", &[origin.address()])
        .policies(&format!("staff: {{ jwt: {{ {rules} }} }}"))
        .route("name: all, match: { path: /* }, cluster: app, policies: [staff]")
}

fn folder_with(issuers: &[&Issuer]) -> Folder {
    let folder = Folder::new();
    folder.write("keys.json", key_set(issuers));
    folder
}

fn get(fields: &str) -> String {
    format!("GET /{} HTTP/1.1\r\nHost: a\r\n{fields}\r\n", fields.len())
}

fn bears(token: &str) -> String {
    get(&format!("Authorization: Bearer {token}\r\n"))
}

/// A good token passes, and again from the cache; without one the client is told that it needs one, with a bad one that it
/// is bad (RFC 6750 section 3), and the endpoint never sees either.
fn a_token_lets_in_and_its_lack_is_told(io: Io) {
    let (issuer, other) = (Issuer::new("k1"), Issuer::new("k1"));
    let rules =
        "issuer: https://id.example.com, audience: [api, web], keys_file: keys.json, scopes: [read], realm: Staff only";
    let (gateway, origin) = guarded(io, folder_with(&[&issuer]), rules);
    let claims = r#""iss":"https://id.example.com","aud":"api","scope":"read write","sub":"alice""#;
    let token = issuer.token(claims);
    let mut client = gateway.client();
    for _ in 0..3 {
        client.sends(bears(&token));
        assert_eq!(client.expects(200).text(), format!("authorization: Bearer {token}"));
    }
    assert_eq!(origin.requests(), 3);
    let log = gateway.log_of(&format!("/{}", token.len() + 24));
    assert_eq!(log["identity"], "alice", "{log}");

    client.sends(get(""));
    let answer = client.expects(401);
    assert_eq!(
        (answer.reason(), answer.all("www-authenticate")),
        ("credentials_missing", vec![r#"Bearer realm="Staff only""#])
    );
    client.sends(get("Authorization: Basic YTpi\r\n"));
    assert_eq!(client.expects(401).reason(), "credentials_missing");
    for (bad, detail) in [
        (other.token(claims), "signature wrong"),
        (issuer.token_of(&format!("{{{claims},\"exp\":{}}}", in_seconds(-60))), "expired"),
        (
            issuer.token_of(&format!("{{{claims},\"exp\":{},\"nbf\":{}}}", in_seconds(99), in_seconds(60))),
            "not valid yet",
        ),
        (issuer.token(&claims.replace("api", "other")), "audience wrong"),
        (issuer.token(&claims.replace("id.", "ld.")), "issuer wrong"),
        (Issuer::new("k2").token(claims), "key unknown"),
        (token_by_secret(b"secret", "{}"), "algorithm not accepted"),
    ] {
        let path = format!("/{}", detail.replace(' ', "-"));
        client.sends(format!("GET {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {bad}\r\n\r\n"));
        let answer = client.expects(401);
        assert_eq!(answer.reason(), "token_refused", "{detail}");
        assert_eq!(answer.all("www-authenticate"), [r#"Bearer realm="Staff only", error="invalid_token""#]);
        let log = gateway.log_of(&path);
        assert_eq!((&log["detail"], &log["stage"]), (&detail.into(), &"admit".into()), "{log}");
    }
    client.sends(bears(&issuer.token(&claims.replace("read write", "write"))));
    let answer = client.expects(403);
    assert_eq!(answer.reason(), "scope_missing");
    assert_eq!(answer.all("www-authenticate"), [r#"Bearer realm="Staff only", error="insufficient_scope""#]);
    assert_eq!(origin.requests(), 3, "nothing refused went on");
    gateway.waits_for("gateway_rejected_requests_total{reason=\"token_refused\"}", 7.0);
    gateway.stop();
}

/// RFC 9110 section 5.3: a field that is there twice could be read in two ways, so neither is believed.
fn two_tokens_are_none(io: Io) {
    let issuer = Issuer::new("k1");
    let (gateway, origin) = guarded(io, folder_with(&[&issuer]), "audience: api, keys_file: keys.json");
    let good = issuer.token(r#""aud":"api""#);
    let mut client = gateway.client();
    for second in [good.as_str(), "x", ""] {
        client.sends(get(&format!("Authorization: Bearer {good}\r\nAUTHORIZATION: Bearer {second}\r\n")));
        let answer = client.expects(400);
        assert_eq!(answer.reason(), "credentials_ambiguous");
        assert!(answer.field("www-authenticate").is_some_and(|challenge| challenge.contains("invalid_request")));
    }
    let mut h2 = H2Client::to(gateway.address());
    let (one, two) = (format!("Bearer {good}"), "Bearer x");
    h2.asks("GET", "/", &[("authorization", &one), ("authorization", two)]).expects(400);
    h2.asks("GET", "/", &[("authorization", &one)]).expects(200);
    assert_eq!(origin.requests(), 1);
    gateway.stop();
}

/// Tokens of every wrong shape: a clear 401 each, and the connection lives on.
fn what_is_no_token_is_refused_and_nothing_worse(io: Io) {
    let issuer = Issuer::new("k1");
    let (gateway, origin) = guarded(io, folder_with(&[&issuer]), "audience: api, keys_file: keys.json");
    let good = issuer.token(r#""aud":"api""#);
    let mut client = gateway.client();
    let dots = "...".to_owned();
    for bad in [
        dots,
        ".".repeat(5000),
        "a".repeat(20_000),
        format!("{good}.{good}"),
        format!("{good} {good}"),
        format!("{good},"),
        "eyJhbGciOiJub25lIn0.eyJhdWQiOiJhcGkifQ.".to_owned(),
        "\u{e4}\u{f6}\u{fc}".to_owned(),
        good.replace('.', "\t"),
    ] {
        client.sends(bears(&bad));
        assert_eq!(client.expects(401).reason(), "token_refused", "{} bytes", bad.len());
    }
    client.sends(get("Authorization: Bearer\r\n"));
    assert_eq!(client.expects(401).reason(), "credentials_missing");
    client.sends(get("Authorization:\r\n"));
    assert_eq!(client.expects(401).reason(), "credentials_missing");
    client
        .sends([b"GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer \xff\xfe.\xff.\xff\r\n\r\n".as_slice()].concat());
    client.expects(401);
    client.sends(bears(&good));
    client.expects(200);
    // More than a head may have, and a byte that none may.
    client.sends(bears(&"a".repeat(100 << 10)));
    client.expects(431);
    drop(client);
    let mut client = gateway.client();
    client.sends(get("Authorization: Bearer a\0b\r\n"));
    client.expects(400);
    drop(client);
    assert_eq!(origin.requests(), 1);
    gateway.stop();
}

/// Claims reach the endpoint as fields; what a client sends under their names does not, in no spelling, nor named by
/// `Connection`, nor behind a body. A claim that the token lacks makes no field.
fn claims_are_told_and_never_by_the_client(io: Io) {
    let issuer = Issuer::new("k1");
    let token = issuer.token(r#""aud":"api","sub":"alice""#);
    // However the operator writes the names.
    for (user, role) in [("x-user", "x-role"), ("x_user", "x_role")] {
        let rules = format!(
            "audience: api, keys_file: keys.json, forward_claims: {{ sub: {user}, role: {role} }}, forward_credentials: false"
        );
        let (gateway, _origin) = guarded(io, folder_with(&[&issuer]), &rules);
        let told = format!("{user}: alice");
        let mut client = gateway.client();
        for forged in [
            "X-User: root\r\n",
            "x-user: root\r\nX-USER: root\r\n",
            "x_user: root\r\nX_Role: admin\r\n",
            "X-Role: admin\r\n",
            "Connection: x-user\r\nX-User: root\r\n",
        ] {
            client.sends(get(&format!("{forged}Authorization: Bearer {token}\r\n")));
            assert_eq!(client.expects(200).text(), told, "{forged}");
        }
        client.sends(format!(
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: x-user\r\nAuthorization: Bearer {token}\r\n\r\n\
             1\r\na\r\n0\r\nX-User: root\r\nx_role: admin\r\n\r\n"
        ));
        assert_eq!(client.expects(200).text(), told);
        let mut h2 = H2Client::to(gateway.address());
        let bearer = format!("Bearer {token}");
        let answer =
            h2.asks("GET", "/", &[("x-user", "root"), ("x_user", "root"), ("authorization", &bearer)]).expects(200);
        assert_eq!(answer.text(), told);
        gateway.stop();
    }
}

/// A token that was verified is forgotten with its key: the first request after the reload is refused.
fn a_key_that_is_removed_is_believed_no_more(io: Io) {
    let (old, new) = (Issuer::new("old"), Issuer::new("new"));
    let rules = "audience: api, keys_file: keys.json";
    let (gateway, origin) = guarded(io, folder_with(&[&old, &new]), rules);
    let (by_old, by_new) = (old.token(r#""aud":"api""#), new.token(r#""aud":"api""#));
    let mut clients: Vec<_> = (0..4).map(|_| gateway.client()).collect();
    for client in &mut clients {
        for token in [&by_old, &by_new] {
            client.sends(bears(token));
            client.expects(200);
        }
    }
    gateway.folder.write("keys.json", key_set(&[&new]));
    gateway.adopts(&plan(io, &origin, rules).yaml());
    for client in &mut clients {
        client.sends(bears(&by_old));
        assert_eq!(client.expects(401).reason(), "token_refused");
        client.sends(bears(&by_new));
        client.expects(200);
    }
    // A file that holds no keys any more leaves those in force.
    gateway.folder.write("keys.json", "<html>moved</html>");
    gateway.asks_admin("POST", "/reload").status();
    assert!(gateway.status().to_string().contains("this is a page (HTML) and no key set"), "{}", gateway.status());
    clients[0].sends(bears(&by_new));
    clients[0].expects(200);
    gateway.stop();
}

/// A secret of a file, whose last line end is none of it.
fn a_shared_secret_lets_in(io: Io) {
    let folder = Folder::new();
    let secret = "a secret of some length, 32 bytes";
    folder.write("secret", format!("{secret}\n"));
    let (gateway, _origin) = guarded(io, folder, "audience: api, secret_file: secret, algorithms: [HS256]");
    let payload = format!(r#"{{"aud":"api","exp":{}}}"#, in_seconds(60));
    let mut client = gateway.client();
    client.sends(bears(&token_by_secret(secret.as_bytes(), &payload)));
    client.expects(200);
    client.sends(bears(&token_by_secret(format!("{secret}\n").as_bytes(), &payload)));
    client.expects(401);
    gateway.stop();
}

/// A call of gRPC without a good token is told so by its status.
fn a_call_without_a_token_is_unauthenticated(io: Io) {
    let issuer = Issuer::new("k1");
    let (gateway, _origin) = guarded(io, folder_with(&[&issuer]), "audience: api, keys_file: keys.json, scopes: [x]");
    let mut client = H2Client::to(gateway.address());
    let bearer = |token: &str| format!("Bearer {token}");
    for (token, status, reason) in [
        (String::new(), "16", "credentials_missing"),
        (bearer("a.b.c"), "16", "token_refused"),
        (bearer(&issuer.token(r#""aud":"api""#)), "7", "scope_missing"),
    ] {
        let mut fields = vec![("content-type", "application/grpc"), ("te", "trailers")];
        if !token.is_empty() {
            fields.push(("authorization", &token));
        }
        let reply = client.asks("POST", "/a/B", &fields).expects(200);
        assert_eq!((reply.field("grpc-status"), reply.reason()), (status, reason), "{reply:?}");
    }
    gateway.stop();
}

/// What a script of another origin is told: it may read the refusal, and its preflight needs no token.
fn preflights_need_no_token(io: Io) {
    let issuer = Issuer::new("k1");
    let folder = folder_with(&[&issuer]);
    let yaml = Plan::bare(io)
        .policies("staff: { jwt: { audience: api, keys_file: keys.json } }, web: { cors: { origins: ['https://a.example'] } }")
        .route("name: all, match: { path: /* }, respond: { status: 200, body: in }, policies: [staff, web]")
        .yaml();
    let gateway = Gateway::start_in(folder, &yaml);
    let mut client = gateway.client();
    client.sends(
        "OPTIONS / HTTP/1.1\r\nHost: a\r\nOrigin: https://a.example\r\nAccess-Control-Request-Method: GET\r\n\r\n",
    );
    client.expects(204);
    client.sends(get("Origin: https://a.example\r\n"));
    assert_eq!(client.expects(401).field("access-control-allow-origin"), Some("https://a.example"));
    client.sends("OPTIONS / HTTP/1.1\r\nHost: a\r\nOrigin: https://a.example\r\n\r\n");
    client.expects(401);
    gateway.stop();
}

on_both_drivers![
    a_token_lets_in_and_its_lack_is_told,
    two_tokens_are_none,
    what_is_no_token_is_refused_and_nothing_worse,
    claims_are_told_and_never_by_the_client,
    a_key_that_is_removed_is_believed_no_more,
    a_shared_secret_lets_in,
    a_call_without_a_token_is_unauthenticated,
    preflights_need_no_token,
];
