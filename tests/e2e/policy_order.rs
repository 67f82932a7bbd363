//! A8: in which order a request is asked what it must pass: the live policy, its address, the origin of its script, who it
//! is, the service that is asked, how many there were, and last whether its cluster bears it.

use std::sync::mpsc::channel;

use super::client::Client;
use super::endpoint::Endpoint;
use super::folder::Folder;
use super::gateway::Gateway;
use super::issuer::hash;
use super::message::Message;
use super::origin::Origin;
use super::plan::{Io, Plan};
use super::wait::until_true;

const INSIDE: &str = "X-Forwarded-For: 192.0.2.1\r\n";
const OUTSIDE: &str = "X-Forwarded-For: 198.51.100.1\r\n";
const KEY: &str = "X-Api-Key: key-a\r\n";
const REFUSED: &str = "X-Pass: no\r\n";
const PREFLIGHT: &str = "Origin: https://app.example.com\r\nAccess-Control-Request-Method: GET\r\n";

/// One route with all of them: three requests an hour, and one at a time.
fn guarded(io: Io, endpoint: &Endpoint, service: &Origin) -> Gateway {
    let folder = Folder::new();
    folder.write("keys.yaml", format!("acme: {}", hash("key-a")));
    let plan = Plan::bare(io)
        .listener("trusted_proxies: [127.0.0.1]")
        .cluster_with("app", &[endpoint.address()], "admission: { min: 1, max: 1 }")
        .cluster("svc", &[service.address()])
        .policies("few: { rate_limit: { key: global, limit: 3/1h } }")
        .policies("asked: { external_auth: { cluster: svc, forward_headers: [x-pass] } }")
        .policies("who: { api_key: { keys_file: keys.yaml } }")
        .policies("browser: { cors: { origins: ['https://app.example.com'] } }")
        .policies("inside: { access: { allow: [192.0.2.0/24] } }")
        // As they stand here makes no difference.
        .route("name: all, match: { path: /* }, cluster: app, policies: [few, asked, who, browser, inside]");
    Gateway::start_in(folder, &plan.yaml())
}

fn asks(client: &mut Client, method: &str, fields: &[&str]) -> Message {
    client.sends(format!("{method} / HTTP/1.1\r\nHost: a\r\n{}\r\n", fields.concat()));
    client.expects_any()
}

/// Whoever lacks several things is told of the first one, and what comes behind it is not asked: the service gets no
/// question, the limit counts nothing.
fn the_first_that_refuses_decides_and_no_later_one_is_asked(io: Io) {
    let (endpoint, (told, questions)) = (Endpoint::listens(), channel());
    let service = Origin::answering(move |request| {
        let _sent = told.send(());
        let status = if request.field("x-pass").is_some() { "403 Forbidden" } else { "200 OK" };
        format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").into_bytes()
    });
    let gateway = guarded(io, &endpoint, &service);
    let mut client = gateway.client();
    let refusals: [(&str, &[&str], &str); 6] = [
        // Access, before all that is lacking: a shared origin, credentials, the leave of the service.
        ("OPTIONS", &[OUTSIDE, PREFLIGHT], "access_denied"),
        ("GET", &[OUTSIDE], "access_denied"),
        ("GET", &[OUTSIDE, KEY, REFUSED], "access_denied"),
        // The origin of a script, before who it is.
        ("OPTIONS", &[INSIDE, "Origin: https://b\r\nAccess-Control-Request-Method: GET\r\n"], "origin_refused"),
        // Who it is, before the service.
        ("GET", &[INSIDE, REFUSED], "credentials_missing"),
        ("GET", &[INSIDE, KEY, REFUSED], "auth_refused"),
    ];
    let all_are_refused = |client: &mut Client| {
        for (method, fields, reason) in refusals {
            assert_eq!(asks(client, method, fields).reason(), reason, "{method} {fields:?}");
        }
        assert_eq!(asks(client, "OPTIONS", &[INSIDE, PREFLIGHT]).status(), 204, "no credentials");
        assert_eq!(questions.try_iter().count(), 1, "only the last of them reaches the service");
    };
    all_are_refused(&mut client);

    // None of them has been counted, and the gate lets one in.
    let mut first = gateway.client();
    first.sends(format!("GET /held HTTP/1.1\r\nHost: a\r\n{INSIDE}{KEY}\r\n"));
    let mut upstream = endpoint.accepts();
    upstream.expects("GET /held");
    // A full gate is seen by none of them either, and whom it sheds has been counted.
    questions.try_iter().for_each(|()| ());
    all_are_refused(&mut client);
    for left in ["1", "0"] {
        let shed = asks(&mut client, "GET", &[INSIDE, KEY]);
        assert_eq!((shed.reason(), shed.field("x-ratelimit-remaining")), ("overloaded", Some(left)));
    }
    // The limit, before the gate; and everything else before the limit.
    assert_eq!(asks(&mut client, "GET", &[INSIDE, KEY]).reason(), "rate_limited");
    questions.try_iter().for_each(|()| ());
    all_are_refused(&mut client);
    // The live policy, before all of them.
    assert_eq!(gateway.posts("/policy", r#"{"enabled":false}"#).status(), 200);
    until_true("the policy is adopted", || asks(&mut client, "GET", &[OUTSIDE]).reason() == "policy_enforced");
    for (method, fields, _) in refusals {
        assert_eq!(asks(&mut client, method, fields).reason(), "policy_enforced", "{method} {fields:?}");
    }
    assert_eq!(questions.try_iter().count(), 0);
    upstream.replies_with("in");
    assert_eq!(first.expects(200).field("x-ratelimit-remaining"), Some("2"));
    assert!(endpoint.is_alone());
    gateway.stop();
}

on_both_drivers![the_first_that_refuses_decides_and_no_later_one_is_asked];
