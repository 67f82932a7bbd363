use super::decide::Likeness;
use super::*;
use crate::cli::tests::parsed;

const GATEWAY: &str = "
version: 1
listeners:
  outer: { address: 127.0.0.1:8080 }
  inner: { address: 127.0.0.1:8081, health_path: off, strict_host: on }
clusters: { app: { endpoints: [{ url: 'http://127.0.0.1:3000' }] } }
policies: { scripts: { cors: { origins: ['https://a.example'], methods: [PUT] } } }
routes:
  - { name: shared, match: { host: a.example, path: /shared, methods: [PUT] }, policies: [scripts], cluster: app }
  - { name: robots, match: { host: a.example, path: /*, headers: { user-agent: bot } }, respond: { status: 403 } }
  - { name: rest, match: { host: a.example }, cluster: app }
";

/// What becomes of the request of a line, and how that compares with what the line says.
fn decided(line: &str) -> (String, Likeness) {
    let (gateway, request) = (Decider::new(parsed(GATEWAY)), serde_json::from_str(line).unwrap());
    let decisions = gateway.decide(&request);
    (gateway.words(&decisions), gateway.compare(&decisions, &request))
}

#[test]
fn what_hangs_on_what_a_log_does_not_have_is_told_as_several_things() {
    let rest = "route `rest`, cluster `app`";
    for (line, words, likeness) in [
        (r#""path":"/x","route":"rest","cluster":"app""#, rest, Likeness::Same),
        (r#""path":"/x","route":"rest","cluster":"gone""#, rest, Likeness::Different),
        (r#""path":"/x","route":"all","cluster":"app""#, rest, Likeness::Different),
        // What ended it is nothing that a configuration alone decides.
        (r#""path":"/x","route":"rest","reason":"rate_limited""#, rest, Likeness::Same),
        (r#""path":"/x","user_agent":"bot","route":"robots""#, "route `robots`, answered 403", Likeness::Different),
        // One of two listeners answers for itself.
        (r#""path":"/health""#, &format!("health, or {rest}"), Likeness::Unsure),
        // A preflight, or none.
        (
            r#""path":"/shared","method":"OPTIONS","route":"shared""#,
            &format!("route `shared`, cluster `app`, or {rest}"),
            Likeness::Unsure,
        ),
    ] {
        let method = if line.contains("method") { "" } else { r#""method":"GET","# };
        let line = format!(r#"{{"status":200,"host":"a.example",{method}{line}}}"#);
        assert_eq!(decided(&line), (words.to_owned(), likeness), "{line}");
    }
    let stranger = r#"{"status":404,"method":"GET","host":"b.example","path":"/x","reason":"route_not_found"}"#;
    let words = "no route, misdirected, or no route, route_not_found";
    assert_eq!(decided(stranger), (words.to_owned(), Likeness::Unsure));
    // Whether it was the host or the certificate of its connection is not logged.
    let misdirected = r#"{"status":421,"method":"GET","host":"a.example","path":"/x","reason":"misdirected"}"#;
    assert_eq!(decided(misdirected), (rest.to_owned(), Likeness::Unsure));
}

#[test]
fn tables_stay_small_however_many_routes_a_log_names() {
    let gateway = Decider::new(parsed(GATEWAY));
    let mut report = Report::new(2);
    for number in 0..5_000 {
        report.lines += 1;
        let line = format!(
            r#"{{"status":200,"method":"GET","host":"a.example","path":"/x","route":"r{number}","cluster":"app"}}"#
        );
        replay_one(&serde_json::from_str(&line).unwrap(), &gateway, None, &mut report);
    }
    let told = report.json();
    assert_eq!(told["all"]["different"], 5_000);
    assert_eq!(told["routes"]["(others)"]["different"], 4_000);
    let length = |name: &str| told[name].as_array().map(Vec::len);
    assert_eq!((length("changes"), length("examples")), (Some(1_001), Some(2)));
    assert!(report.text().len() < 100);
}
