//! J4: keys that an issuer publishes at a URL (JWKS), against a server of them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::client::Client;
use super::endpoint::Endpoint;
use super::folder::Folder;
use super::gate::Gate;
use super::gateway::Gateway;
use super::issuer::{Issuer, key_set};
use super::origin::Origin;
use super::pki::Authority;
use super::plan::{Io, Plan};
use super::site::{VERSIONS, server_of};
use super::wait::{Ends, now_ms, until, until_true};

/// A server of one URL that has several answers, of which one is given at a time.
struct Published {
    origin: Origin,
    turn: Arc<AtomicUsize>,
}

impl Published {
    fn new(answers: Vec<Vec<u8>>) -> Self {
        let turn = Arc::new(AtomicUsize::new(0));
        let now = Arc::clone(&turn);
        let origin = Origin::answering(move |_| answers[now.load(Ordering::Relaxed)].clone());
        Self { origin, turn }
    }

    fn turns_to(&self, answer: usize) {
        self.turn.store(answer, Ordering::Relaxed);
    }

    /// A gateway whose only route asks for tokens by these keys.
    fn guards(&self, io: Io, rest: &str) -> Gateway {
        guarded(io, &format!("jwks_url: 'http://{}/jwks?secret=canary'{rest}", self.origin.address()))
    }
}

fn guarded(io: Io, keys: &str) -> Gateway {
    Plan::bare(io)
        .policies(&format!("staff: {{ jwt: {{ audience: api, {keys} }} }}"))
        .route("name: all, match: { path: /* }, respond: { status: 200, body: in }, policies: [staff]")
        .start()
}

fn answer(status: &str, content: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{content}", content.len()).into_bytes()
}

fn set(issuers: &[&Issuer]) -> Vec<u8> {
    answer("200 OK", &key_set(issuers))
}

/// The status that a token gets, and the reason.
fn asks(client: &mut Client, token: &str) -> (u16, String) {
    client.sends(format!("GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n"));
    let answer = client.expects_any();
    (answer.status(), answer.field("x-gateway-reason").unwrap_or_default().to_owned())
}

/// Asks until the token gets `status`.
fn waits(client: &mut Client, token: &str, status: u16) {
    until_true("the status for a token", || asks(client, token).0 == status);
}

fn token(issuer: &Issuer) -> String {
    issuer.token(r#""aud":"api""#)
}

/// Tokens pass by the keys of the URL. A token that names another key asks for them ahead of time, once in each interval
/// and no more, however many such tokens come.
fn a_key_that_is_not_there_is_asked_for_once(io: Io) {
    let (old, new, never) = (Issuer::new("old"), Issuer::new("new"), Issuer::new("never"));
    let published = Published::new(vec![set(&[&old]), set(&[&old, &new])]);
    let gateway = published.guards(io, "");
    let mut client = gateway.client();
    waits(&mut client, &token(&old), 200);
    published.turns_to(1);
    assert_eq!(asks(&mut client, &token(&new)), (401, "token_refused".to_owned()));
    waits(&mut client, &token(&new), 200);
    assert_eq!(published.origin.requests(), 2);
    let begun_ms = now_ms();
    while now_ms() - begun_ms < 500 {
        assert_eq!(asks(&mut client, &token(&never)).0, 401);
    }
    assert_eq!(published.origin.requests(), 2, "once in an interval");
    waits(&mut client, &token(&old), 200);
    let issuer = gateway.status()["issuers"][0].clone();
    assert_eq!((&issuer["keys"], &issuer["error"]), (&2.into(), &serde_json::Value::Null), "{issuer}");
    assert!(!gateway.status().to_string().contains("canary"), "{}", gateway.status());
    assert!(gateway.metric("jwks_fetches_total{result=\"ok\"}") >= 2.0);
    gateway.stop();
}

/// In the next interval a key that is not there is asked for ahead of time again.
fn the_next_interval_has_an_early_question_of_its_own(io: Io) {
    let (known, never) = (Issuer::new("known"), Issuer::new("never"));
    let published = Published::new(vec![set(&[&known])]);
    let gateway = published.guards(io, ", refresh: 2s");
    let mut client = gateway.client();
    waits(&mut client, &token(&known), 200);
    let mut asks_until = |count: u64| {
        until("a question to the issuer", || {
            assert_eq!(asks(&mut client, &token(&never)).0, 401);
            (published.origin.requests() >= count).then(now_ms)
        })
    };
    let (early_ms, next_ms) = (asks_until(2), asks_until(3));
    // The pause after a question in its time is 1.8 s at least, and a second early one would have come in a tenth of one.
    assert!(next_ms - early_ms > 600, "{} ms from an early question to the next", next_ms - early_ms);
    let again_ms = asks_until(4);
    assert!(again_ms - next_ms < 1_500, "{} ms to the early question of the next interval", again_ms - next_ms);
    gateway.stop();
}

/// Without any keys nobody passes, and nobody is told that their token is bad; as soon as there are keys, they are used.
/// Whatever the server says later that is no set of keys leaves the last good ones, and is shown; a key that it takes back
/// is believed no more.
fn the_last_good_keys_stay_until_there_are_others(io: Io) {
    let (old, new) = (Issuer::new("old"), Issuer::new("new"));
    let published = Published::new(vec![
        answer("500 Internal Server Error", ""),
        set(&[&old]),
        answer("200 OK", "<!DOCTYPE html><html>canary</html>"),
        answer("302 Found", ""),
        answer("200 OK", r#"{"keys":[]}"#),
        set(&[&new]),
    ]);
    let gateway = published.guards(io, ", refresh: 1s");
    let mut client = gateway.client();
    assert_eq!(asks(&mut client, &token(&old)), (503, "keys_missing".to_owned()));
    let shows = |error: &str| {
        until("an error of the issuer", || {
            gateway.status()["issuers"][0]["error"].as_str().filter(|told| told.contains(error)).map(str::to_owned)
        })
    };
    shows("status 500");
    published.turns_to(1);
    waits(&mut client, &token(&old), 200);
    for (turn, error) in [(2, "HTML"), (3, "redirects are not followed"), (4, "the key set is empty")] {
        published.turns_to(turn);
        assert!(!shows(error).contains("canary"));
        assert_eq!(asks(&mut client, &token(&old)).0, 200, "{error}");
    }
    assert!(gateway.metric("jwks_fetches_total{result=\"failed\"}") >= 4.0);
    published.turns_to(5);
    waits(&mut client, &token(&new), 200);
    assert_eq!(asks(&mut client, &token(&old)).0, 401);
    gateway.stop();
}

/// A server whose document or head does not end costs a bounded part of it, is shown with
/// the reason, and leaves the last good keys.
fn a_server_of_keys_that_misbehaves_changes_nothing(io: Io) {
    let good = Issuer::new("good");
    let turn = Arc::new(AtomicUsize::new(0));
    let (now, first, sent) = (Arc::clone(&turn), set(&[&good]), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&sent);
    let server = Origin::serving(move |mut wire| {
        drop(wire.reads_head());
        let part = [b'{'; 65_536];
        let mut says = |bytes: &[u8]| wire.try_send(bytes).is_ok();
        match now.load(Ordering::Relaxed) {
            0 => drop(says(&first)),
            1 => {
                says(b"HTTP/1.1 200 OK\r\n\r\n");
                while says(&part) {
                    counted.fetch_add(part.len(), Ordering::Relaxed);
                }
            }
            _ => {
                says(b"HTTP/1.1 200 OK\r\n");
                while says(b"X: a\r\n") {}
            }
        }
    });
    let gateway = guarded(io, &format!("jwks_url: 'http://{}/', refresh: 1s", server.address()));
    let mut client = gateway.client();
    waits(&mut client, &token(&good), 200);
    for (misbehaviour, reason) in [(1, "too large"), (2, "")] {
        let failed = gateway.metric("jwks_fetches_total{result=\"failed\"}");
        turn.store(misbehaviour, Ordering::Relaxed);
        until_true("a fetch fails", || gateway.metric("jwks_fetches_total{result=\"failed\"}") > failed);
        let shown = gateway.status()["issuers"].to_string();
        assert!(shown.contains(reason) && !shown.contains("\"error\":null"), "{misbehaviour}: {shown}");
        assert_eq!(asks(&mut client, &token(&good)).0, 200, "the last good keys stay");
    }
    let sent = sent.load(Ordering::Relaxed);
    assert!(sent < 16 << 20, "{sent} bytes were taken of a document that does not end");
    gateway.stop();
}

/// A server that takes the question and never answers holds a start up for some seconds and an end not at all, and leaves the last good keys.
fn a_server_of_keys_that_hangs_holds_nothing_up(io: Io) {
    let good = Issuer::new("good");
    let (answers, asked) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (left, count, first) = (Arc::clone(&answers), Arc::clone(&asked), set(&[&good]));
    let server = Origin::serving(move |mut wire| {
        drop(wire.try_reads_head());
        count.fetch_add(1, Ordering::Relaxed);
        match left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)) {
            Ok(_) => drop(wire.try_send(&first)),
            Err(_) => drop(wire.try_reads_to_end()),
        }
    });
    let url = format!("jwks_url: 'http://{}/', refresh: 1s", server.address());
    let stops_at_once = |gateway: Gateway| {
        let began_ms = now_ms();
        gateway.stop();
        assert!(now_ms() - began_ms < 5_000, "its end took {} ms", now_ms() - began_ms);
    };
    let began_ms = now_ms();
    let gateway = guarded(io, &url);
    until_true("the first question", || asked.load(Ordering::Relaxed) == 1);
    assert_eq!(asks(&mut gateway.client(), &token(&good)), (503, "keys_missing".to_owned()));
    assert!(now_ms() - began_ms < 8_000, "its start took {} ms", now_ms() - began_ms);
    stops_at_once(gateway);

    answers.store(1, Ordering::Relaxed);
    let gateway = guarded(io, &url);
    let mut client = gateway.client();
    waits(&mut client, &token(&good), 200);
    until_true("the refresh that hangs", || asked.load(Ordering::Relaxed) == 3);
    assert_eq!(asks(&mut client, &token(&good)).0, 200);
    // A reload goes on while it hangs, and puts no second question.
    assert_eq!(gateway.asks_admin("POST", "/reload").status(), 200);
    assert_eq!((asks(&mut client, &token(&good)).0, asked.load(Ordering::Relaxed)), (200, 3));
    stops_at_once(gateway);
}

/// A gateway with a route for anybody, and one for tokens by the keys of `server` after a reload to the text.
fn about_to_guard(io: Io, server: &Origin) -> (Gateway, String) {
    let plan = Plan::bare(io).workers("2").and("policy: {}\nreload: { watch: false }");
    let plan = plan.route("name: open, match: { path: /open }, respond: { status: 200, body: in }");
    let gateway = plan.start();
    let jwt = format!("staff: {{ jwt: {{ audience: api, jwks_url: 'http://{}/jwks' }} }}", server.address());
    let guarded = "name: new, match: { path: /* }, respond: { status: 200, body: in }, policies: [staff]";
    (gateway, plan.policies(&jwt).route(guarded).yaml())
}

/// Asks for a reload, whose answer is to be read.
fn begins_reload(gateway: &Gateway) -> Client {
    let mut admin = Client::to(gateway.admin());
    admin.sends(format!("POST /reload HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", gateway.admin()));
    admin
}

/// The status on the open path, on a connection of its own.
fn asks_in_the_open(at: SocketAddr) -> u16 {
    Client::to(at).asks("/open").expects_any().status()
}

/// A server of these keys that answers when the gate is open.
fn holding(gate: &Gate, jwks: Vec<u8>) -> Origin {
    let gate = gate.clone();
    Origin::answering(move |_| {
        gate.passes();
        jwks.clone()
    })
}

/// A reload is published with the keys of an issuer that is new with it: from the first request that meets its route on,
/// and on every worker, its tokens pass. Until then everything goes on as before.
fn the_keys_of_a_new_issuer_are_there_when_a_reload_is(io: Io) {
    let (issuer, gate) = (Issuer::new("new"), Gate::new());
    let server = holding(&gate, set(&[&issuer]));
    let (gateway, yaml) = about_to_guard(io, &server);
    gateway.writes(&yaml);
    let (token, at, is_over) = (token(&issuer), gateway.address(), AtomicBool::new(false));
    let asks_anew = || asks(&mut Client::to(at), &token).0;
    let seen = std::thread::scope(|scope| {
        let ends = Ends(&is_over);
        let asking = scope.spawn(|| {
            let mut seen = Vec::new();
            while !is_over.load(Ordering::Relaxed) {
                seen.push((asks_anew(), asks_in_the_open(at)));
            }
            seen
        });
        let mut reload = begins_reload(&gateway);
        gate.sees(1);
        assert!((0..50).all(|_| asks_anew() == 404), "it is published before its keys are there");
        gate.opens();
        reload.expects(200);
        assert!((0..200).all(|_| asks_anew() == 200), "a token is refused after the reload");
        drop(ends);
        asking.join().expect("answers")
    });
    assert!(seen.iter().all(|(new, open)| matches!(new, 404 | 200) && *open == 200), "{seen:?}");
    assert_eq!((server.requests(), gateway.epoch()), (1, 2), "one question, and one epoch for it all");
    gateway.stop();
}

/// Keys that do not come hold a reload up for some seconds and nothing else meanwhile; then it is published without them,
/// with a warning, and they are believed as soon as they come, by the same question. A server that cannot be reached holds
/// nothing up.
fn a_reload_waits_only_so_long_for_keys(io: Io) {
    let (issuer, gate) = (Issuer::new("late"), Gate::new());
    let server = holding(&gate, set(&[&issuer]));
    let (gateway, yaml) = about_to_guard(io, &server);
    gateway.writes(&yaml);
    let (mut client, began_ms) = (gateway.client(), now_ms());
    let mut reload = begins_reload(&gateway);
    gate.sees(1);
    for (enabled, status) in [(false, 429), (true, 200)] {
        assert_eq!(gateway.posts("/policy", &format!("{{\"enabled\": {enabled}}}")).status(), 200);
        assert_eq!(asks_in_the_open(gateway.address()), status, "the switch waits for keys");
    }
    assert_eq!(asks(&mut client, &token(&issuer)).0, 404, "the switch was obeyed only after the reload");
    reload.expects(200);
    assert!((2_500..8_000).contains(&(now_ms() - began_ms)), "it took {} ms", now_ms() - began_ms);
    let warned = gateway.notice("keys of an issuer have not come in time, its tokens are refused until they do");
    let url = format!("http://{}/jwks", server.address());
    assert_eq!((&warned["level"], &warned["url"]), (&"WARN".into(), &url.into()), "{warned}");
    assert_eq!(asks(&mut client, &token(&issuer)), (503, "keys_missing".to_owned()));
    gate.opens();
    waits(&mut client, &token(&issuer), 200);
    assert_eq!(server.requests(), 1, "the question is not put again");

    let dead = Endpoint::closed().to_string();
    gateway.writes(&yaml.replace(&server.address().to_string(), &dead));
    let began_ms = now_ms();
    begins_reload(&gateway).expects(200);
    assert!(now_ms() - began_ms < 2_500, "it took {} ms", now_ms() - began_ms);
    let warned = gateway.notice("keys of an issuer cannot be fetched");
    assert_eq!(warned["url"], format!("http://{dead}/jwks"), "{warned}");
    gateway.stop();
}

/// Over TLS, by the authorities of `jwks_ca` and nobody else's.
fn keys_come_over_tls(io: Io) {
    let (issuer, folder) = (Issuer::new("k"), Folder::new());
    let (known, other) = (Authority::new("known"), Authority::new("other"));
    let jwks = set(&[&issuer]);
    let origin =
        Origin::secured(server_of(&known.certifies(&["localhost"]), &VERSIONS, None), move |_, _| jwks.clone());
    let port = origin.address().port();
    let at = |authority: &Authority| {
        let ca = folder.write("ca.pem", authority.pem());
        format!("jwks_url: 'https://localhost:{port}/', jwks_ca: '{}'", ca.display())
    };
    let gateway = guarded(io, &at(&known));
    waits(&mut gateway.client(), &token(&issuer), 200);
    gateway.stop();
    let gateway = guarded(io, &at(&other));
    until("an error of the issuer", || {
        gateway.status()["issuers"][0]["error"].as_str().filter(|told| told.contains("TLS")).map(str::to_owned)
    });
    assert_eq!(asks(&mut gateway.client(), &token(&issuer)).0, 503);
    gateway.stop();
}

on_both_drivers![
    a_key_that_is_not_there_is_asked_for_once,
    the_next_interval_has_an_early_question_of_its_own,
    the_last_good_keys_stay_until_there_are_others,
    a_server_of_keys_that_misbehaves_changes_nothing,
    a_server_of_keys_that_hangs_holds_nothing_up,
    the_keys_of_a_new_issuer_are_there_when_a_reload_is,
    a_reload_waits_only_so_long_for_keys,
    keys_come_over_tls,
];
