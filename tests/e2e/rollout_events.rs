//! What happens while a configuration is on trial: other reloads, the live policy, weights, upgrades, the end.

use super::client::Client;
use super::endpoint::Endpoint;
use super::gateway::Gateway;
use super::heirs::{Heirs, Load};
use super::origin::Origin;
use super::plan::{Io, Plan};
use super::trial::{answers, client_of, ends, orders, rollout, server_of, stages, tries};
use super::wait::until_true;

/// Everything is answered with `word`, by a configuration that is to prove itself so.
fn saying(io: Io, word: &str, rules: &str) -> Plan {
    Plan::bare(io)
        .workers("2")
        .log("off")
        .route(&format!("name: all, respond: {{ status: 200, body: '{word}' }}"))
        .and(&format!("reload: {{ watch: false, stage: {{ {rules} }} }}"))
}

/// Clients that come anew for every request.
fn load(gateway: &Gateway) -> Load {
    let address = gateway.address();
    Load::of(2, move || {
        let mut client = Client::to(address);
        client.asks("/x").expects(200);
        client.closes();
        Ok(())
    })
}

/// The live policy and a weight reach both sides at once, and both stay what they are.
fn what_else_changes_reaches_both_sides(io: Io) {
    let (old, new) = (Origin::saying("old"), Origin::saying("new"));
    let plan = |origin: &Origin, rules: &str| {
        let reload = format!("policy: {{}}\nreload: {{ watch: false, stage: {{ {rules} }} }}");
        Plan::to(io, &[origin.address()]).workers("2").and(&reload)
    };
    let gateway = plan(&old, "").start();
    let mut current = client_of(&gateway, "old");
    stages(&gateway, &plan(&new, "share: 50%, for: 1h").yaml());
    let mut candidate = client_of(&gateway, "new");
    assert_eq!(gateway.posts("/policy", r#"{"enabled": false}"#).status(), 200);
    for client in [&mut current, &mut candidate] {
        assert_eq!(client.asks("/x").expects(429).reason(), "policy_enforced");
    }
    assert_eq!(gateway.posts("/policy", r#"{"enabled": true}"#).status(), 200);
    assert_eq!([server_of(&mut current), server_of(&mut candidate)], ["old", "new"]);
    // A weight has both compiled afresh: the endpoint of the one in force is drained, the other one is not.
    let drain = |origin: &Origin, what: &str| {
        gateway.asks_admin("POST", &format!("/clusters/app/{}/{what}", origin.address())).status()
    };
    assert_eq!(drain(&old, "drain"), 200);
    assert_eq!(current.asks("/x").expects(503).reason(), "no_healthy_endpoint");
    assert_eq!(server_of(&mut candidate), "new");
    assert_eq!([drain(&old, "undrain"), drain(&new, "drain")], [200, 200]);
    assert_eq!(server_of(&mut current), "old");
    assert_eq!(candidate.asks("/x").expects(503).reason(), "no_healthy_endpoint");
    assert_eq!(drain(&new, "undrain"), 200);
    assert_eq!([server_of(&mut current), server_of(&mut candidate)], ["old", "new"]);
    assert_eq!(rollout(&gateway)["phase"], "running");
    gateway.stop();
}

/// The newest configuration is the one that is on trial, and whoever had another is served by what is in force; what is
/// refused changes nothing; what is in force ends it.
fn the_newest_configuration_takes_the_place_of_what_is_on_trial(io: Io) {
    let gateway = saying(io, "old", "").start();
    let mut kept: Vec<(Client, &str)> = Vec::new();
    for (number, word) in [(1, "one"), (2, "two"), (3, "three")] {
        assert_eq!(stages(&gateway, &saying(io, word, "share: 50%, for: 1h").yaml()), number);
        kept.push((client_of(&gateway, word), word));
        for (client, of) in &mut kept {
            assert_eq!(server_of(client), if *of == word { word } else { "old" });
        }
    }
    assert_eq!(rollout(&gateway)["last"]["outcome"], "superseded");
    gateway.writes("version: 1\nlisteners: nonsense\n");
    assert_eq!(gateway.asks_admin("POST", "/reload").status(), 400);
    assert_eq!(server_of(&mut kept[2].0), "three", "what is invalid is refused as always");
    assert_eq!(stages(&gateway, &saying(io, "three", "share: 50%, for: 1h").yaml()), 3, "the same goes on");
    assert_eq!(server_of(&mut kept[2].0), "three");
    gateway.writes(&saying(io, "old", "").yaml());
    assert_eq!(gateway.asks_admin("POST", "/reload").status(), 200);
    let last = ends(&gateway, 3);
    assert_eq!(
        (&last["outcome"], rollout(&gateway)["files_rolled_back"].as_bool()),
        (&"superseded".into(), Some(false))
    );
    assert!(kept.iter_mut().all(|(client, _)| server_of(client) == "old"));
    let at_once = saying(io, "at_once", "").yaml().replace(", stage: {  }", "");
    assert!(!at_once.contains("stage"));
    assert_eq!(stages(&gateway, &saying(io, "four", "share: 50%, for: 1h").yaml()), 4);
    gateway.writes(&at_once);
    assert_eq!(gateway.asks_admin("POST", "/reload").status(), 200);
    assert_eq!(ends(&gateway, 4)["outcome"], "superseded");
    assert!(kept.iter_mut().all(|(client, _)| server_of(client) == "at_once"));
    gateway.stop();
}

/// A mistake that is taken back to what is on trial, or was rolled back, is over, and one that was made before a promotion is
/// told again when it is made again.
fn a_mistake_during_a_trial_is_over_when_it_is_taken_back(io: Io) {
    let watched = |word: &str, rules: &str| saying(io, word, rules).yaml().replace("watch: false", "watch: true");
    let gateway = Gateway::start(&watched("old", ""));
    let candidate = watched("new", "share: 50%, for: 1h");
    let errs = || {
        gateway.writes("version: 1\nlisteners: nonsense\n");
        gateway.waits_for("config_last_reload_success", 0.0);
    };
    gateway.writes(&candidate);
    until_true("the watch has it tried", || rollout(&gateway)["phase"] == "running");
    for number in [1, 2] {
        errs();
        gateway.writes(&candidate);
        gateway.waits_for("config_last_reload_success", 1.0);
        assert_eq!(gateway.status()["last_reload"]["ok"], true, "trial {number} is under way");
        assert_eq!(orders(&gateway, "abort").0, 200);
        errs();
        gateway.writes(&candidate);
        gateway.waits_for("config_last_reload_success", 1.0);
        assert_eq!(rollout(&gateway)["files_rolled_back"], true);
        assert_eq!(stages(&gateway, &candidate), number + 1);
    }
    errs();
    assert_eq!(orders(&gateway, "promote").0, 200);
    gateway.waits_for("config_last_reload_success", 1.0);
    errs();
    gateway.stop();
}

/// Reloads that follow one another at once, of which one in three is broken: the last one wins, and nobody is left without an
/// answer.
fn reloads_in_quick_succession_end_with_the_last(io: Io) {
    let gateway = saying(io, "0", "").start();
    let load = load(&gateway);
    for turn in 1..=30 {
        let yaml = saying(io, &turn.to_string(), "share: 50%, for: 1h").yaml();
        gateway.writes(if turn % 3 == 0 { "nonsense" } else { &yaml });
        let status = gateway.asks_admin("POST", "/reload").status();
        assert_eq!(status, if turn % 3 == 0 { 400 } else { 200 });
    }
    assert!(load.ends_whole() > 0);
    let number = tries(&gateway, &saying(io, "last", "share: 50%, for: 50ms").yaml());
    assert_eq!((number, &ends(&gateway, number)["outcome"]), (21, &"promoted".into()));
    assert!(answers(&gateway, 20).iter().all(|(_, word)| word == "last"));
    assert_eq!(gateway.metric("gateway_rollouts_total{outcome=\"superseded\"}"), 20.0);
    gateway.stop();
}

/// A listener that cannot be opened keeps the whole file out, before anybody is served by it.
fn a_listener_that_cannot_be_opened_keeps_it_from_its_trial(io: Io) {
    let gateway = saying(io, "old", "").start();
    let taken = Endpoint::listens();
    let more = format!("  more: {{ address: '{}' }}\ndefaults:", taken.address());
    gateway.writes(&saying(io, "new", "share: 100%").yaml().replace("defaults:", &more));
    let answer = gateway.asks_admin("POST", "/reload");
    assert!(answer.status() == 400 && answer.text().contains("cannot listen on"), "{answer}");
    assert_eq!(rollout(&gateway)["phase"], "idle");
    assert!(answers(&gateway, 10).iter().all(|(_, word)| word == "old"));
    gateway.stop();
}

/// The end of the process, asked for or not, ends a trial: whoever starts next serves by the files.
fn a_trial_ends_with_its_process(io: Io) {
    let endpoint = Endpoint::listens();
    let mut gateway = saying(io, "old", "").start();
    let new = Plan::to(io, &[endpoint.address()]).log("off").and("reload: { stage: { share: 100%, for: 1h } }");
    stages(&gateway, &new.yaml());
    let mut client = gateway.client();
    client.asks("/in-flight");
    let mut upstream = endpoint.accepts();
    upstream.expects("GET /in-flight");
    gateway.signal(libc::SIGTERM);
    until_true("it drains", || gateway.status()["draining"] == true);
    upstream.replies_with("done");
    assert_eq!(client.expects(200).text(), "done");
    assert_eq!(gateway.process.exit_code(), Some(0));

    let gateway = Gateway::start_in(gateway.folder, &saying(io, "old", "").yaml());
    stages(&gateway, &saying(io, "new", "share: 50%, for: 1h").yaml());
    let folder = gateway.killed();
    let gateway = Gateway::start_in(folder, &saying(io, "new", "share: 50%, for: 1h").yaml());
    assert!(answers(&gateway, 10).iter().all(|(_, word)| word == "new"));
    assert_eq!(rollout(&gateway)["phase"], "idle");
    gateway.stop();
}

/// An upgrade takes the files as they are, without a request lost.
fn an_upgrade_takes_what_the_files_say(io: Io) {
    let mut heirs = Heirs::start(&saying(io, "old", "").yaml());
    let load = load(&heirs.gateway);
    stages(&heirs.gateway, &saying(io, "new", "share: 50%, for: 1h").yaml());
    let mut staged = client_of(&heirs.gateway, "new");
    let old = heirs.upgrades();
    load.goes_on(50);
    assert!(answers(&heirs.gateway, 10).iter().all(|(_, word)| word == "new"));
    assert_eq!(rollout(&heirs.gateway)["phase"], "idle");
    assert_eq!(orders(&heirs.gateway, "abort").0, 409);
    staged.sees_end();
    assert_eq!(heirs.exit_code_of(old), Some(0));
    load.ends_whole();
    heirs.stop();
}

on_both_drivers![
    what_else_changes_reaches_both_sides,
    the_newest_configuration_takes_the_place_of_what_is_on_trial,
    a_mistake_during_a_trial_is_over_when_it_is_taken_back,
    reloads_in_quick_succession_end_with_the_last,
    a_listener_that_cannot_be_opened_keeps_it_from_its_trial,
    a_trial_ends_with_its_process,
    an_upgrade_takes_what_the_files_say,
];
