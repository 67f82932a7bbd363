//! I1 and I2: connections follow their listener from name to name and from address to address.

use std::net::SocketAddr;

use super::client::Client;
use super::endpoint::{Endpoint, own_loopback};
use super::gateway::Gateway;
use super::h2_client::H2Client;
use super::plan::{Io, Plan};

fn reloads(gateway: &Gateway, yaml: &str) {
    gateway.writes(yaml);
    assert_eq!(gateway.asks_admin("POST", "/reload").status(), 200);
}

/// A request for `path` is answered, and the connection kept.
fn is_kept(client: &mut Client, path: &str, when: &str) {
    client.asks(path);
    let answer = client.expects(200);
    assert!(!answer.announces_close(), "{when}: {answer}");
}

/// A listener gets these names and addresses, one reload each: requests in flight, connections that ask after each, and those
/// that rest until the end go on.
fn follow(io: Io, steps: &[(&str, &str)]) {
    let endpoint = Endpoint::listens();
    let plan = Plan::to(io, &[endpoint.address()]).workers("2").speaks_h2().and("reload: { watch: false }");
    let gateway = plan.start();
    let [mut resting, mut asking, mut busy] = [(); 3].map(|()| gateway.client());
    let [mut quiet, mut streams] = [(); 2].map(|()| H2Client::to(gateway.address()));
    is_kept(&mut resting, "/health", "before");
    is_kept(&mut asking, "/health", "before");
    quiet.gets("/health").expects(200);
    busy.asks("/busy");
    let mut first = endpoint.accepts();
    first.expects("GET /busy ");
    let begun = streams.gets("/begun");
    let mut second = endpoint.accepts();
    second.expects("GET /begun ");
    for (name, ip) in steps {
        let listener = format!("{name}: {{ address: '{ip}:{}'", gateway.address().port());
        reloads(&gateway, &plan.yaml().replace("web: { address: '127.0.0.1:0'", &listener));
        is_kept(&mut asking, "/health", &listener);
        streams.gets("/health").expects(200);
    }
    let when = format!("after {steps:?}");
    is_kept(&mut resting, "/health", &when);
    quiet.gets("/health").expects(200);
    first.replies_with("done");
    let answer = busy.expects(200);
    assert!(answer.text() == "done" && !answer.announces_close(), "{when}: {answer}");
    is_kept(&mut busy, "/health", &when);
    second.replies_with("done");
    assert_eq!(begun.expects(200).text(), "done", "{when}");
    assert_eq!(gateway.metric_sum("gateway_rejected_requests_total"), 0.0);
    gateway.stop();
}

fn whoever_came_by_a_listener_stays_when_it_is_renamed_and_then_moved(io: Io) {
    let far = own_loopback().to_string();
    follow(io, &[("site", "127.0.0.1"), ("site", &far)]);
    follow(io, &[("site", "127.0.0.1"), ("site", "0.0.0.0")]);
}

fn whoever_came_by_a_listener_stays_when_it_is_moved_and_then_renamed(io: Io) {
    let far = own_loopback().to_string();
    follow(io, &[("web", &far), ("site", &far)]);
    follow(io, &[("web", "0.0.0.0"), ("site", "0.0.0.0")]);
}

fn whoever_came_by_a_listener_stays_when_it_changes_three_times(io: Io) {
    let far = own_loopback().to_string();
    follow(io, &[("site", "127.0.0.1"), ("site", &far), ("more", &far)]);
    follow(io, &[("web", &far), ("site", &far), ("site", "0.0.0.0")]);
}

/// Two listeners swap their names: what listens on an address is the other one, and serves whoever came there.
fn whoever_came_by_an_address_stays_there_when_names_are_swapped(io: Io) {
    const ANY: [&str; 2] = ["127.0.0.1:0"; 2];
    let yaml = |names: [&str; 2], addresses: [&str; 2]| {
        let plan = Plan::bare(io).workers("2").and("reload: { watch: false }");
        let listeners: Vec<String> = (names.iter().zip(addresses).zip(["/near", "/far"]))
            .map(|((name, address), path)| format!("  {name}: {{ address: '{address}', health_path: {path} }}\n"))
            .collect();
        let yaml = plan.route("name: none, match: { path: /none }, respond: { status: 200 }").yaml();
        let (before, rest) = yaml.split_once("  web: {").expect("a listener");
        let (_, after) = rest.split_once('\n').expect("a line");
        format!("{before}{}{after}", listeners.concat())
    };
    let gateway = Gateway::start(&yaml(["web", "more"], ANY));
    let [near, far] = ["web", "more"].map(|name| gateway.address_of(name));
    let addresses = [near, far].map(|address| address.to_string());
    let clients =
        || [(near, "/near"), (far, "/far")].map(|(address, path): (SocketAddr, _)| (Client::to(address), path));
    let ask = |clients: &mut [(Client, &str); 2], when: &str| {
        clients.iter_mut().for_each(|(client, path)| is_kept(client, path, when));
    };
    let (mut resting, mut asking) = (clients(), clients());
    ask(&mut resting, "before");
    for (number, names) in [["more", "web"], ["web", "more"], ["more", "web"]].into_iter().enumerate() {
        reloads(&gateway, &yaml(names, [&addresses[0], &addresses[1]]));
        let when = format!("swap {number}");
        ask(&mut asking, &when);
        ask(&mut clients(), &when);
    }
    ask(&mut resting, "after all of them");
    gateway.stop();
}

on_both_drivers![
    whoever_came_by_a_listener_stays_when_it_is_renamed_and_then_moved,
    whoever_came_by_a_listener_stays_when_it_is_moved_and_then_renamed,
    whoever_came_by_a_listener_stays_when_it_changes_three_times,
    whoever_came_by_an_address_stays_there_when_names_are_swapped,
];
