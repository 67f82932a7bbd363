use super::decide::Likeness;
use super::*;
use crate::config::tests::of_text;

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
    let (gateway, request) = (Decider::new(of_text(GATEWAY)), serde_json::from_str(line).unwrap());
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
fn a_route_of_the_path_of_health_has_what_fits_it() {
    let plain = GATEWAY.replace("8081, health_path: off, strict_host: on", "8081");
    let line = r#"{"status":200,"method":"GET","host":"a.example","path":"/health"}"#;
    for (own, words) in [
        ("methods: [POST]", "health"),
        ("methods: [GET]", "route `own`, cluster `app`"),
        ("headers: { x-own: '1' }", "health, or route `own`, cluster `app`, or route `rest`, cluster `app`"),
    ] {
        let route = format!("  - {{ name: own, match: {{ host: a.example, path: /health, {own} }}, cluster: app }}\n");
        let gateway = Decider::new(of_text(format!("{plain}{route}").leak()));
        let decisions = gateway.decide(&serde_json::from_str(line).unwrap());
        assert_eq!(gateway.words(&decisions), words, "{own}");
    }
}

#[test]
fn which_listener_answers_for_itself_is_no_matter_only_where_that_is_the_same_one() {
    let line = |host: &str, path: &str| {
        format!(r#"{{"status":200,"method":"GET","host":"{host}","path":"{path}","route":"rest","cluster":"app"}}"#)
    };
    let compared = |new: &'static str, line: &str| {
        let [new, old] = [new, GATEWAY].map(|text| Decider::new(of_text(text)));
        let request = serde_json::from_str(line).unwrap();
        new.compare_with(&new.decide(&request), &old, &old.decide(&request))
    };
    let [health, stranger, plain] = [line("a.example", "/health"), line("b.example", "/x"), line("a.example", "/x")];
    for line in [&health, &stranger, &plain] {
        assert_eq!(compared(GATEWAY, line), Likeness::Same, "{line}");
    }
    let swapped = GATEWAY.replace("8080 }", "8080, health_path: off }").replace("health_path: off, strict", "strict");
    assert_eq!(compared(swapped.leak(), &health), Likeness::Unsure);
    let swapped = GATEWAY.replace(", strict_host: on", "").replace("8080 }", "8080, strict_host: on }");
    let swapped = swapped.leak();
    assert_eq!(compared(swapped, &stranger), Likeness::Unsure);
    assert_eq!(compared(swapped, &plain), Likeness::Same);
}

#[test]
fn tables_stay_small_however_many_routes_a_log_names() {
    let gateway = Decider::new(of_text(GATEWAY));
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

#[test]
fn tables_stay_small_however_long_the_names_of_a_log_are() {
    let gateway = Decider::new(of_text(GATEWAY));
    let mut report = Report::new(2);
    for number in 0..20 {
        report.lines += 1;
        let route = format!("{number}-{}", "x".repeat(100_000));
        let line = format!(
            r#"{{"status":200,"method":"GET","host":"a.example","path":"/x","route":"{route}","cluster":"app"}}"#
        );
        replay_one(&serde_json::from_str(&line).unwrap(), &gateway, None, &mut report);
    }
    let told = report.json();
    assert_eq!(told["routes"].as_object().map(serde_json::Map::len), Some(20));
    assert!(told.to_string().len() < 40_000, "{}", told.to_string().len());
}
