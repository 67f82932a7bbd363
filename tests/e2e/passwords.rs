//! J4: users with passwords (Basic, RFC 7617), tried where no request waits for them.

use data_encoding::BASE64;

use super::client::Client;
use super::folder::Folder;
use super::gateway::Gateway;
use super::h2_client::H2Client;
use super::issuer::{cheap_hash, slow_hash};
use super::message::Message;
use super::origin::Origin;
use super::plan::{Io, Plan};
use super::wait::{now_ms, until_true};
use ringgate::limits::PASSWORD_ASKS;

fn fields(request: &Message) -> Vec<u8> {
    let is_of_interest = |line: &&String| {
        let name = line.split(':').next().unwrap_or(line).to_ascii_lowercase().replace('_', "-");
        ["authorization", "x-user"].contains(&name.as_str())
    };
    let content = request.lines_without(&[]).iter().filter(is_of_interest).cloned().collect::<Vec<_>>().join("|");
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{content}", content.len()).into_bytes()
}

fn plan(io: Io, origin: &Origin, rest: &str) -> Plan {
    Plan::bare(io)
        .speaks_h2()
        .cluster("app", &[origin.address()])
        .policies(&format!("staff: {{ basic_auth: {{ users_file: users, realm: Staff only{rest} }} }}"))
        .route("name: all, match: { path: /* }, cluster: app, policies: [staff]")
        .route("name: open, match: { path: /open }, cluster: app")
}

fn start(io: Io, origin: &Origin, users: &str, rest: &str) -> Gateway {
    let folder = Folder::new();
    folder.write("users", users);
    Gateway::start_in(folder, &plan(io, origin, rest).yaml())
}

fn basic(login: &str) -> String {
    format!("Authorization: Basic {}\r\n", BASE64.encode(login.as_bytes()))
}

fn get(path: &str, fields: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a\r\n{fields}\r\n")
}

/// The right password lets in, the first time and when it is known; the endpoint is told the user, whatever the client says,
/// and not the password.
fn a_password_lets_in_whose_it_is(io: Io) {
    let origin = Origin::answering(fields);
    let users = format!("# staff\nalice:{}\nbob:{}:a remark\n", cheap_hash("open sesame"), cheap_hash("a:b\u{a3}"));
    let gateway = start(io, &origin, &users, ", forward_user: x-user");
    let mut client = gateway.client();
    for (login, user) in [("alice:open sesame", "alice"), ("bob:a:b\u{a3}", "bob"), ("alice:open sesame", "alice")] {
        client.sends(get("/", &format!("{}X-User: root\r\nx_user: root\r\n", basic(login))));
        assert_eq!(client.expects(200).text(), format!("x-user: {user}"));
    }
    let mut h2 = H2Client::to(gateway.address());
    let field = format!("basic {}", BASE64.encode(b"bob:a:b\xc2\xa3"));
    assert_eq!(h2.asks("GET", "/h2", &[("authorization", &field)]).expects(200).text(), "x-user: bob");
    assert_eq!(gateway.log_of("/h2")["identity"], "bob");
    let requests = origin.requests();
    client.sends(get("/", ""));
    let answer = client.expects(401);
    let challenge = r#"Basic realm="Staff only", charset="UTF-8""#;
    assert_eq!((answer.reason(), answer.all("www-authenticate")), ("credentials_missing", vec![challenge]));
    // The second time of each it is known to be wrong.
    for login in ["alice:a:b\u{a3}", "alice:", "mallory:open sesame", "Alice:open sesame", ":", "alice:open sesame "] {
        for _ in 0..2 {
            client.sends(get("/", &basic(login)));
            let answer = client.expects(401);
            assert_eq!(
                (answer.reason(), answer.all("www-authenticate")),
                ("password_refused", vec![challenge]),
                "{login}"
            );
        }
    }
    assert_eq!(origin.requests(), requests);
    gateway.waits_for("gateway_rejected_requests_total{reason=\"password_refused\"}", 12.0);
    gateway.stop();
}

/// Whatever is in `Authorization` and is no name and password is refused, and lets nobody in.
fn what_is_no_name_and_password_is_refused(io: Io) {
    let origin = Origin::answering(fields);
    let gateway = start(io, &origin, &format!("alice:{}\n", cheap_hash("secret")), "");
    let mut client = gateway.client();
    let good = BASE64.encode(b"alice:secret");
    for (value, reason) in [
        ("Basic".to_owned(), "credentials_missing"),
        ("Basic ".to_owned(), "credentials_missing"),
        (format!("Bearer {good}"), "credentials_missing"),
        (format!("Basic{good}"), "credentials_missing"),
        (good.clone(), "credentials_missing"),
        (format!("Basic {good}="), "login_malformed"),
        (format!("Basic {} {good}", &good[..4]), "login_malformed"),
        (format!("Basic {}", BASE64.encode(b"alice:secret1").trim_end_matches('=')), "login_malformed"),
        ("Basic ***".to_owned(), "login_malformed"),
        ("Basic alice:secret".to_owned(), "login_malformed"),
        (format!("Basic {}", BASE64.encode(b"alice")), "login_malformed"),
        (format!("Basic {}", BASE64.encode(b"alice:secret\0")), "login_malformed"),
        (format!("Basic {}", BASE64.encode(b"alice\0:secret")), "login_malformed"),
        (format!("Basic {}", BASE64.encode(b"alice:secret\r\n")), "login_malformed"),
        (format!("Basic {}", BASE64.encode(&[b'a'; 20_000])), "login_malformed"),
        (format!("Basic {}", BASE64.encode(b"alice:\xff\xfe")), "password_refused"),
    ] {
        client.sends(get("/", &format!("Authorization: {value}\r\n")));
        assert_eq!(client.expects(401).reason(), reason, "{value:.60}");
    }
    client.sends(get("/", &basic("alice:secret").repeat(2)));
    assert_eq!(client.expects(400).reason(), "credentials_ambiguous");
    let mut large = gateway.client();
    large.sends(get("/", &format!("Authorization: Basic {}\r\n", BASE64.encode(&[b'a'; 100_000]))));
    large.expects(431);
    let mut nul = gateway.client();
    nul.sends(get("/", &format!("Authorization: Basic {good}\0\r\n")));
    nul.expects(400);
    assert_eq!(origin.requests(), 0);
    client.sends(get("/", &basic("alice:secret")));
    assert_eq!(client.expects(200).text(), "", "neither the password nor the name is told unless the policy says so");
    gateway.stop();
}

/// A reload counts at once: who was taken out, or has another password, is not let in by what was known. A file that is wrong
/// changes nothing.
fn a_user_who_is_taken_out_is_out_at_once(io: Io) {
    let origin = Origin::answering(fields);
    let users = |alice: &str| format!("alice:{}\nbob:{}\n", cheap_hash(alice), cheap_hash("bob's"));
    let gateway = start(io, &origin, &users("old"), ", forward_credentials: true");
    let mut client = gateway.client();
    let mut expects = |login: &str, status| {
        client.sends(get("/", &basic(login)));
        client.expects(status);
    };
    for login in ["alice:old", "bob:bob's"] {
        expects(login, 200);
    }
    expects("alice:new", 401);
    gateway.folder.write("users", users("new"));
    assert_eq!(gateway.asks_admin("POST", "/reload").status(), 200);
    expects("alice:old", 401);
    expects("alice:new", 200);
    gateway.folder.write("users", format!("{}carol:plain text\n", users("new")));
    let refused = gateway.asks_admin("POST", "/reload");
    assert!(refused.status() >= 400 && refused.text().contains("users:3: this is no hash"), "{refused}");
    assert!(!refused.text().contains("plain text"), "{refused}");
    expects("alice:new", 200);
    gateway.folder.write("users", format!("alice:{}\n", cheap_hash("new")));
    assert_eq!(gateway.asks_admin("POST", "/reload").status(), 200);
    expects("bob:bob's", 401);
    gateway.stop();
}

/// More passwords than can be tried in time are refused with a reason, and nobody else is kept waiting.
fn a_flood_of_passwords_delays_nobody_else(io: Io) {
    let origin = Origin::answering(fields);
    let gateway = start(io, &origin, &format!("alice:{}\n", slow_hash("secret")), "");
    let mut known = gateway.client();
    known.sends(get("/known", &basic("alice:secret")));
    known.expects(200);
    let mut flood: Vec<Client> = (0..PASSWORD_ASKS + 36).map(|_| gateway.client()).collect();
    for (number, client) in flood.iter_mut().enumerate() {
        client.sends(get("/flood", &basic(&format!("alice:wrong-{number}"))));
    }
    // While they are tried, the user who is known and who needs no password are served.
    let refusals = "gateway_rejected_requests_total{reason=\"passwords_busy\"}";
    until_true("more than can be tried", || gateway.metric(refusals) >= 1.0);
    let began_ms = now_ms();
    for _ in 0..50 {
        known.sends(get("/known", &basic("alice:secret")));
        known.expects(200);
        known.sends(get("/open", ""));
        known.expects(200);
    }
    let took_ms = now_ms() - began_ms;
    let tried = gateway.metric("gateway_rejected_requests_total{reason=\"password_refused\"}");
    assert!(tried < 64.0, "the flood was over before the others were served");
    assert!(took_ms < 10_000, "100 requests took {took_ms} ms");
    let mut reasons: Vec<_> = flood.iter_mut().map(|client| client.expects_any().reason().to_owned()).collect();
    reasons.sort();
    // Of those that found a place some may have waited too long.
    let refused = reasons.iter().filter(|reason| *reason == "password_refused").count();
    assert!(
        refused > 0 && reasons.iter().all(|one| one == "password_refused" || one == "passwords_busy"),
        "{reasons:?}"
    );
    // One bad password, however often it comes, is tried once. Processor time is the same on a busy machine.
    let mut costs = |times: usize, password: &dyn Fn(usize) -> String| {
        let before = gateway.process.cpu_ticks();
        for number in 0..times {
            known.sends(get("/same", &basic(&format!("alice:{}", password(number)))));
            known.expects(401);
        }
        gateway.process.cpu_ticks() - before
    };
    let (tried, same) = (costs(20, &|number| format!("other-{number}")), costs(200, &|_| "the same".to_owned()));
    assert!(same < 5 * tried, "200 times the same cost {same} hundredths of a second, 20 others {tried}");
    gateway.stop();
}

/// A limit may count by users.
fn a_limit_counts_by_users(io: Io) {
    let origin = Origin::answering(fields);
    let folder = Folder::new();
    folder.write("users", format!("alice:{}\nbob:{}\n", cheap_hash("a"), cheap_hash("b")));
    let yaml = Plan::bare(io)
        .cluster("app", &[origin.address()])
        .policies(
            "staff: { basic_auth: { users_file: users } }, each: { rate_limit: { key: basic_auth, limit: 2/1h } }",
        )
        .route("name: all, match: { path: /* }, cluster: app, policies: [staff, each]")
        .yaml();
    let gateway = Gateway::start_in(folder, &yaml);
    let mut client = gateway.client();
    for (login, status) in
        [("alice:a", 200), ("alice:a", 200), ("bob:b", 200), ("alice:a", 429), ("bob:b", 200), ("bob:b", 429)]
    {
        client.sends(get("/", &basic(login)));
        client.expects(status);
    }
    gateway.stop();
}

/// Neither passwords nor hashes are in anything that the gateway says.
fn no_password_and_no_hash_is_ever_told(io: Io) {
    const CANARY: &str = "canary-pAsSwOrD-0123456789";
    let origin = Origin::answering(fields);
    let hash = cheap_hash(CANARY);
    let gateway = start(io, &origin, &format!("alice:{hash}\n"), "");
    let mut client = gateway.client();
    let mut heard = String::new();
    for (path, field, status) in [
        ("/good", basic(&format!("alice:{CANARY}")), 200),
        ("/bad", basic(&format!("alice:{CANARY}x")), 401),
        ("/nobody", basic(&format!("{CANARY}:{CANARY}")), 401),
        ("/plain", format!("Authorization: Basic alice:{CANARY}\r\n"), 401),
        ("/twice", basic(&format!("alice:{CANARY}")).repeat(2), 400),
    ] {
        client.sends(get(path, &field));
        heard += &format!("{}\n{}\n", client.expects(status), gateway.log_of(path));
    }
    for users in
        [CANARY.to_owned(), format!("alice:{CANARY}"), format!("alice:{hash}\nalice:{hash}"), format!("a:{hash}x")]
    {
        gateway.folder.write("users", users);
        heard += &gateway.asks_admin("POST", "/reload").to_string();
    }
    heard += &gateway.status().to_string();
    heard += &gateway.metrics();
    heard += &gateway.notices.all().join("\n");
    assert!(heard.contains("expected `name:hash`") && heard.contains("a second time"), "{heard}");
    let credentials = BASE64.encode(format!("alice:{CANARY}").as_bytes());
    let (_, end) = hash.rsplit_once('$').expect("the hash proper");
    for secret in [CANARY, credentials.trim_end_matches('='), end] {
        assert!(!heard.contains(secret), "{secret} is told: {heard}");
    }
    gateway.stop();
}

on_both_drivers![
    a_password_lets_in_whose_it_is,
    what_is_no_name_and_password_is_refused,
    a_user_who_is_taken_out_is_out_at_once,
    a_flood_of_passwords_delays_nobody_else,
    a_limit_counts_by_users,
    no_password_and_no_hash_is_ever_told,
];
