//! I5: a changed configuration takes a share of new connections, and is promoted or rolled back by what it does.

use std::sync::Arc;
use std::time::Duration;

use super::client::Client;
use super::configuration::puts;
use super::endpoint::Endpoint;
use super::gate::Gate;
use super::gateway::{Gateway, json};
use super::h2_client::H2Client;
use super::issuer::{Issuer, key_set};
use super::origin::Origin;
use super::patient::Patient;
use super::plan::{Io, Plan};
use super::site::{Site, TLS};
use super::trial::{answer, answers, client_of, command, ends, orders, rollout, said, server_of, stages, tries};
use super::wait::until_true;

/// All requests to `origin`, by a configuration that is to prove itself so.
fn plan(io: Io, origin: &Origin, rules: &str) -> Plan {
    let reload = format!("reload: {{ watch: false, stage: {{ {rules} }} }}");
    Plan::to(io, &[origin.address()]).workers("2").log("off").and(&reload)
}

/// The same for one whose health a test decides.
fn patient(io: Io, origin: &Patient, rules: &str) -> Plan {
    let reload = format!("reload: {{ watch: false, stage: {{ {rules} }} }}");
    Plan::to(io, &[origin.address()]).workers("2").log("off").and(&reload)
}

/// F: what always fails is given up at once, and only about its share of new connections has seen it; whoever was connected
/// before has not, and whoever has is served by what is in force again.
fn what_fails_is_rolled_back_and_only_its_share_has_seen_it(io: Io) {
    let (old, new) = (Patient::start("old"), Patient::start("new"));
    new.tells_clients(500);
    let gateway = patient(io, &old, "").start();
    let mut connected: Vec<_> = (0..8).map(|_| client_of(&gateway, "old")).collect();
    let number = stages(&gateway, &patient(io, &new, "share: 20%, for: 1h").yaml());
    let (mut staged, mut served, mut failed) = (Vec::new(), 0_u64, 0_u64);
    while rollout(&gateway)["phase"] == "running" {
        for _ in 0..10 {
            let mut client = gateway.client();
            match answer(client.asks("/x")) {
                (200, word) => assert_eq!(word, "old"),
                (500, word) => {
                    assert_eq!(word, "new");
                    failed += 1;
                    staged.push(client);
                }
                other => panic!("{other:?}"),
            }
            served += 1;
        }
        assert!(connected.iter_mut().all(|client| server_of(client) == "old"));
    }
    let last = ends(&gateway, number);
    assert_eq!(last["outcome"], "rolled_back", "{last}");
    assert!(last["reason"].as_str().is_some_and(|reason| reason.contains("failed")), "{last}");
    // Twenty failures decide, and there is a look ten times a second.
    assert!(failed >= 20 && (8..=35).contains(&(failed * 100 / served)), "{failed} of {served}");
    let (candidate, current) = (&last["candidate"], &last["current"]);
    assert_eq!((&current["gateway_failed"], &current["upstream_failed"]), (&0.into(), &0.into()), "{last}");
    assert!(candidate["connections"].as_u64() >= candidate["requests"].as_u64(), "{last}");
    assert!(staged.iter_mut().all(|client| server_of(client) == "old"), "it is over for them");
    assert!(answers(&gateway, 40).iter().all(|answer| *answer == (200, "old".to_owned())));
    assert_eq!(gateway.metric("gateway_rollouts_total{outcome=\"rolled_back\"}"), 1.0);
    assert_eq!(gateway.metric("gateway_rollout_running"), 0.0);
    assert_eq!(gateway.metric("gateway_rollout_files_rolled_back"), 1.0);
    let notice = gateway.notice("rollout ended");
    assert_eq!((&notice["level"], &notice["reason"]), (&"ERROR".into(), &last["reason"]), "{notice}");
    assert_eq!(gateway.status()["rollout"]["files_rolled_back"], true);
    gateway.stop();
}

/// What takes longer is given up, though nothing of it fails.
fn what_is_slow_is_rolled_back(io: Io) {
    let old = Origin::saying("old");
    let new = Origin::answering(|_| {
        std::thread::park_timeout(Duration::from_millis(200));
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nnew".to_vec()
    });
    let gateway = plan(io, &old, "").start();
    let number = stages(&gateway, &plan(io, &new, "share: 50%, for: 1h, min_requests: 30").yaml());
    while rollout(&gateway)["phase"] == "running" {
        assert!(answers(&gateway, 16).iter().all(|(status, _)| *status == 200));
    }
    let last = ends(&gateway, number);
    assert_eq!(last["outcome"], "rolled_back", "{last}");
    assert!(last["reason"].as_str().is_some_and(|reason| reason.contains("99th percentile")), "{last}");
    assert!(answers(&gateway, 20).iter().all(|(_, word)| word == "old"));
    gateway.stop();
}

/// What lets fewer requests pass is given up: a forgotten route is no failure of anybody.
fn what_refuses_is_rolled_back(io: Io) {
    let origin = Origin::saying("old");
    let gateway = plan(io, &origin, "").start();
    let yaml = plan(io, &origin, "share: 50%, for: 1h, min_requests: 30").yaml();
    let number = stages(&gateway, &yaml.replace("name: everything,", "name: everything, match: { path: /y },"));
    while rollout(&gateway)["phase"] == "running" {
        assert!(answers(&gateway, 16).iter().all(|(status, _)| matches!(status, 200 | 404)));
    }
    let last = ends(&gateway, number);
    assert!(last["reason"].as_str().is_some_and(|reason| reason.contains("refused")), "{last}");
    gateway.stop();
}

/// What turns connections away that the one in force lets in is given up, though none of its requests fails.
fn what_turns_connections_away_is_rolled_back(io: Io) {
    let origin = Origin::saying("old");
    let gateway = plan(io, &origin, "").limits("connections: 100").start();
    let held: Vec<_> = (0..4).map(|_| client_of(&gateway, "old")).collect();
    let candidate = plan(io, &origin, "share: 50%, for: 1h, min_requests: 20");
    let proxied = "proxy_protocol: required, trusted_proxies: ['10.0.0.0/8']";
    for candidate in [candidate.clone().limits("connections: 3"), candidate.listener(proxied)] {
        let number = stages(&gateway, &candidate.yaml());
        until_true("it is given up", || {
            for mut client in [(); 8].map(|()| gateway.client()) {
                if client.try_send("GET /x HTTP/1.1\r\nHost: a.example\r\n\r\n").is_ok() {
                    let _unless_closed = client.try_reads_head();
                }
            }
            rollout(&gateway)["phase"] == "idle"
        });
        let last = ends(&gateway, number);
        assert!(last["reason"].as_str().is_some_and(|reason| reason.contains("refused")), "{last}");
        assert_eq!(last["candidate"]["refused"], last["candidate"]["requests"], "{last}");
    }
    drop(held);
    gateway.stop();
}

/// Nobody is served by what is on trial before an issuer that is new with it has published its keys, and an endpoint that has
/// to be probed first was.
fn what_is_new_is_heard_of_before_anybody_depends_on_it(io: Io) {
    let (old, issuer) = (Origin::saying("old"), Issuer::new("new"));
    let (fetches, probes) = (Gate::new(), Gate::new());
    let (asked, keys) = (fetches.clone(), key_set(&[&issuer]));
    let issues = Origin::answering(move |_| {
        asked.passes();
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{keys}", keys.len()).into_bytes()
    });
    let probed = probes.origin("new");
    let gateway = plan(io, &old, "").start();
    let jwt = format!("staff: {{ jwt: {{ audience: api, jwks_url: 'http://{}/' }} }}", issues.address());
    let health =
        "health: { active: { kind: http, path: /held, interval: 10s, require_probe: true, healthy_after: 1 } }";
    let reload = "reload: { watch: false, stage: { share: 100%, for: 1h } }";
    let candidate = Plan::bare(io).workers("2").log("off").policies(&jwt);
    let candidate = candidate.cluster_with("app", &[probed.address()], health).and(reload);
    stages(&gateway, &candidate.route("name: everything, cluster: app, policies: [staff]").yaml());
    let waits = || rollout(&gateway)["running"]["waits"] == true;
    fetches.sees(1);
    assert!(answers(&gateway, 20).iter().all(|(_, word)| word == "old") && waits());
    fetches.opens();
    probes.sees(1);
    assert!(answers(&gateway, 20).iter().all(|(_, word)| word == "old") && waits(), "no probe has passed");
    probes.opens();
    until_true("it has its share", || !waits());
    let token = issuer.token("\"aud\":\"api\"");
    for mut client in [(); 20].map(|()| gateway.client()) {
        client.sends(format!("GET /x HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n"));
        assert_eq!(answer(&mut client), (200, "new".to_owned()));
    }
    let page = rollout(&gateway);
    assert_eq!(page["running"]["candidate"]["gateway_failed"], 0, "{page}");
    gateway.stop();
}

/// What does as well is for everybody at the end of its for: on every worker, on connections of before, and with what is
/// no part of a snapshot.
fn what_does_as_well_is_promoted(io: Io) {
    let (old, new) = (Origin::saying("old"), Origin::saying("new"));
    let gateway = plan(io, &old, "").start();
    let mut connected = client_of(&gateway, "old");
    let more = "listeners:\n  more: { address: '127.0.0.1:0' }\n";
    let yaml = |time: &str| {
        let rules = format!("share: 50%, for: {time}, min_requests: 20");
        plan(io, &new, &rules).yaml().replace("listeners:\n", more)
    };
    stages(&gateway, &yaml("1h"));
    assert_eq!(gateway.status()["listeners"].as_array().map(Vec::len), Some(1), "not yet");
    let seen = answers(&gateway, 60);
    for word in ["old", "new"] {
        assert!(seen.iter().filter(|(_, seen)| seen == word).count() >= 10, "{seen:?}");
    }
    assert_eq!(server_of(&mut connected), "old");
    // The same in a trial that nobody is in a hurry to be part of.
    let number = tries(&gateway, &yaml("1ms"));
    let last = ends(&gateway, number);
    assert_eq!(last["outcome"], "promoted", "{last}");
    until_true("every worker on its epoch", || {
        let status = gateway.status();
        status["workers"].as_array().is_some_and(|all| all.iter().all(|worker| worker["epoch"] == status["epoch"]))
    });
    assert!(answers(&gateway, 40).iter().all(|(_, word)| word == "new"));
    assert_eq!(server_of(&mut connected), "new");
    let status = gateway.status();
    assert_eq!(status["listeners"].as_array().map(Vec::len), Some(2), "{status}");
    assert_eq!(status["rollout"]["files_rolled_back"], false, "{status}");
    gateway.waits_for("gateway_rollouts_total{outcome=\"promoted\"}", 1.0);
    gateway.stop();
}

/// Without requests nothing speaks against it; with a few that fail, these do at the end.
fn little_traffic_decides_at_the_end_of_the_hold(io: Io) {
    let (old, new) = (Patient::start("old"), Patient::start("new"));
    let gateway = patient(io, &old, "").start();
    new.tells_clients(503);
    let number = tries(&gateway, &patient(io, &new, "share: 100%, for: 4s").yaml());
    assert!(answers(&gateway, 5).iter().all(|(status, _)| *status == 503));
    let last = ends(&gateway, number);
    assert_eq!((&last["outcome"], &last["candidate"]["requests"]), (&"rolled_back".into(), &5.into()), "{last}");
    new.tells_clients(200);
    let number = tries(&gateway, &patient(io, &new, "share: 100%, for: 100ms").yaml());
    let last = ends(&gateway, number);
    assert_eq!((&last["outcome"], &last["candidate"]["requests"]), (&"promoted".into(), &0.into()), "{last}");
    assert!(answers(&gateway, 10).iter().all(|(_, word)| word == "new"));
    gateway.stop();
}

/// What was rolled back is not tried again by itself, however often its file is written; an operator may try again, and
/// another configuration ends it.
fn what_was_rolled_back_is_tried_again_only_when_that_is_asked_for(io: Io) {
    let (old, new) = (Origin::saying("old"), Origin::saying("new"));
    let watched = |origin: &Origin, rules: &str| plan(io, origin, rules).yaml().replace("watch: false", "watch: true");
    let gateway = Gateway::start(&watched(&old, ""));
    let candidate = watched(&new, "share: 50%, for: 1h");
    gateway.writes(&candidate);
    until_true("the watch has it tried", || rollout(&gateway)["phase"] == "running");
    assert_eq!(orders(&gateway, "abort").0, 200);
    gateway.writes(&candidate);
    gateway.notice("the files say what was rolled back, which is not tried again by itself");
    let page = rollout(&gateway);
    assert_eq!((&page["phase"], &page["files_rolled_back"]), (&"idle".into(), &true.into()), "{page}");
    let told = || gateway.notices_of("the files say what was rolled back, which is not tried again by itself").len();
    let before = told();
    gateway.signal(libc::SIGUSR1);
    until_true("the signal has the files read", || told() > before || rollout(&gateway)["phase"] == "running");
    assert_eq!(rollout(&gateway)["phase"], "idle", "who turns the log asks for no trial");
    gateway.signal(libc::SIGHUP);
    until_true("an operator asks for it", || rollout(&gateway)["running"]["number"] == 2);
    assert_eq!(orders(&gateway, "abort").0, 200);
    assert_eq!(stages(&gateway, &candidate), 3);
    assert_eq!(orders(&gateway, "abort").0, 200);
    gateway.writes(&watched(&old, ""));
    until_true("the file says again what is in force", || rollout(&gateway)["files_rolled_back"] == false);
    assert_eq!(rollout(&gateway)["last"]["reason"], "an operator asked for it");
    gateway.stop();
}

/// The commands, and what they say and return.
fn an_operator_waits_decides_and_looks(io: Io) {
    let (old, new) = (Patient::start("old"), Patient::start("new"));
    let gateway = patient(io, &old, "").start();
    let admin = gateway.admin();
    let run = move |arguments: &[&str]| {
        let output = command(admin, arguments);
        (output.status.code(), said(&output))
    };
    let (code, told) = run(&["rollout", "promote"]);
    assert!(code == Some(1) && told.contains("409: no configuration is on trial"), "{told}");
    assert!(run(&["rollout", "status"]).1.contains("nothing is on trial"));

    gateway.writes(&patient(io, &new, "for: 50ms, share: 50%").yaml());
    let (code, told) = run(&["reload"]);
    assert!(
        code == Some(0) && told.contains("trial 1") && told.contains("promoted: nothing spoke against it"),
        "{told}"
    );

    gateway.writes(&patient(io, &old, "for: 1h, share: 50%").yaml());
    let (code, told) = run(&["reload", "--no-wait"]);
    assert!(code == Some(0) && told.contains("trial 2") && !told.contains("promoted"), "{told}");
    for page in ["status", "rollout"] {
        let told = run(if page == "rollout" { &["rollout", "status"] } else { &["status"] }).1;
        assert!(told.contains("ON TRIAL, trial 2 with 50 % of new connections"), "{told}");
    }
    assert_eq!(run(&["rollout", "promote"]).0, Some(0));
    assert!(answers(&gateway, 10).iter().all(|(_, word)| word == "old"));

    gateway.writes(&patient(io, &new, "for: 1h, share: 100%").yaml());
    new.tells_clients(500);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| run(&["reload"]));
        until_true("the trial", || rollout(&gateway)["running"]["number"] == 3);
        // Twenty failures decide, and whoever comes after that is served again.
        assert!(answers(&gateway, 30).iter().filter(|(status, _)| *status == 500).count() >= 20);
        let (code, told) = waiting.join().expect("no assertion failed");
        assert!(code == Some(1) && told.contains("rolled back: ") && told.contains("(100.0 %)"), "{told}");
    });
    assert!(run(&["status"]).1.contains("THE FILES SAY WHAT WAS ROLLED BACK"));
    let (code, told) = run(&["rollout", "abort"]);
    assert!(code == Some(1) && told.contains("no configuration is on trial"), "{told}");
    gateway.stop();
}

/// A cap is one for both sides, and so is what is known of an endpoint.
fn both_sides_share_the_cap_of_a_cluster(io: Io) {
    let endpoint = Endpoint::listens();
    let capped = |rules: &str| {
        let reload = format!("reload: {{ watch: false, stage: {{ {rules} }} }}");
        Plan::bare(io)
            .cluster_with("app", &[endpoint.address()], "max_connections: 1")
            .route("name: all, cluster: app")
            .and(&reload)
    };
    let gateway = capped("").start();
    let mut old = gateway.client();
    old.asks("/first");
    let mut upstream = endpoint.accepts();
    upstream.expects("GET /first");
    stages(&gateway, &capped("share: 100%, for: 1h, rollback_if: { refusal_rate_increase: 20% }").yaml());
    let mut new = gateway.client();
    assert_eq!(new.asks("/second").expects(503).reason(), "upstream_saturated");
    upstream.replies_with("first");
    assert_eq!(old.expects(200).text(), "first");
    new.asks("/third");
    upstream.expects("GET /third");
    upstream.replies_with("third");
    assert_eq!(new.expects(200).text(), "third", "over the same connection");
    gateway.stop();
}

/// What is put is on trial as well, is told its number, and is on the disk from then on.
fn what_is_put_is_on_trial_and_knows_its_number(io: Io) {
    let (old, new) = (Origin::saying("old"), Origin::saying("new"));
    let gateway = plan(io, &old, "").start();
    let yaml = plan(io, &new, "share: 50%, for: 1h").yaml();
    let told = json(puts(&gateway, "", &yaml).text());
    assert_eq!((&told["rollout"], &told["status"]), (&1.into(), &"ok".into()), "{told}");
    assert_eq!(rollout(&gateway)["running"]["number"], 1);
    assert_eq!(std::fs::read_to_string(gateway.folder.path("gateway.yaml")).expect("a file"), yaml);
    assert_eq!(orders(&gateway, "promote").0, 200);
    let at_once = yaml.replace(", stage: { share: 50%, for: 1h }", "");
    let told = json(puts(&gateway, "", &at_once).text());
    assert!(told.get("rollout").is_none() && told["status"] == "ok", "{told}");
    gateway.stop();
}

/// A connection of HTTP/2 is on one side with all its streams, and so is one over TLS, whichever protocol it agrees on.
fn connections_of_http2_and_over_tls_are_on_one_side(io: Io) {
    let site = Site::new();
    let words = |word: &str, rules: &str| {
        let reload = format!("reload: {{ watch: false, stage: {{ {rules} }} }}");
        let plan = Plan::bare(io).workers("2").log("off").and(&reload);
        plan.route(&format!("name: all, respond: {{ status: 200, body: {word} }}"))
    };
    let new = "share: 50%, for: 1h";
    let believer = Arc::new(site.believer());
    let mut h2_believer = site.believer();
    h2_believer.alpn_protocols = vec![b"h2".to_vec()];
    let h2_believer = Arc::new(h2_believer);
    let (_, gateway) = site.start(words("old", "").speaks_h2());
    stages(&gateway, &words("new", new).speaks_h2().listener(TLS).yaml());
    is_split(|| {
        let mut client = Client::secured(gateway.address(), &believer, "a.example");
        [(); 4].map(|()| server_of(&mut client))
    });
    let of_streams = |mut client: H2Client| {
        let streams = [(); 4].map(|()| client.asks("GET", "/x", &[]));
        streams.map(|stream| stream.expects(200).text().to_owned())
    };
    is_split(|| of_streams(H2Client::secured(gateway.address(), Arc::clone(&h2_believer), "a.example")));
    gateway.stop();
    let gateway = words("old", "").speaks_h2().start();
    stages(&gateway, &words("new", new).speaks_h2().yaml());
    is_split(|| of_streams(H2Client::to(gateway.address())));
    gateway.stop();
}

/// Forty connections: each has one server alone, and both have some.
fn is_split(connection: impl Fn() -> [String; 4]) {
    let mut served = [0, 0];
    for _ in 0..40 {
        let words = connection();
        assert!(words.iter().all(|word| *word == words[0]), "{words:?}");
        served[usize::from(words[0] == "new")] += 1;
    }
    assert!(served.iter().all(|served| *served >= 6), "{served:?}");
}

on_both_drivers![
    what_fails_is_rolled_back_and_only_its_share_has_seen_it,
    what_is_slow_is_rolled_back,
    what_refuses_is_rolled_back,
    what_turns_connections_away_is_rolled_back,
    what_is_new_is_heard_of_before_anybody_depends_on_it,
    what_does_as_well_is_promoted,
    little_traffic_decides_at_the_end_of_the_hold,
    what_was_rolled_back_is_tried_again_only_when_that_is_asked_for,
    an_operator_waits_decides_and_looks,
    what_is_put_is_on_trial_and_knows_its_number,
    connections_of_http2_and_over_tls_are_on_one_side,
    both_sides_share_the_cap_of_a_cluster,
];
