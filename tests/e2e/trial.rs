//! A gateway with a configuration on trial, as tests of rollouts see it.

use std::net::SocketAddr;
use std::process::Output;

use serde_json::Value;

use super::client::Client;
use super::gateway::{Gateway, json};
use super::process::binary;
use super::wait::until;

/// A connection per answer, asked all at once: who answered each.
pub(crate) fn answers(gateway: &Gateway, count: usize) -> Vec<(u16, String)> {
    let mut clients: Vec<Client> = (0..count).map(|_| gateway.client()).collect();
    for client in &mut clients {
        client.asks("/x");
    }
    clients.iter_mut().map(answer).collect()
}

/// The next answer on a connection.
pub(crate) fn answer(client: &mut Client) -> (u16, String) {
    let answer = client.expects_any();
    (answer.status(), answer.text().to_owned())
}

/// Who answers on a connection.
pub(crate) fn server_of(client: &mut Client) -> String {
    client.asks("/x").expects(200).text().to_owned()
}

/// A new connection that is served by whoever says `word`.
pub(crate) fn client_of(gateway: &Gateway, word: &str) -> Client {
    until(&format!("a connection served by {word}"), || {
        let mut client = gateway.client();
        (server_of(&mut client) == word).then_some(client)
    })
}

/// Has the gateway read `yaml`, and it is put on trial for a while; the number of the trial.
pub(crate) fn stages(gateway: &Gateway, yaml: &str) -> u64 {
    let number = tries(gateway, yaml);
    let shown = rollout(gateway);
    assert_eq!((&shown["phase"], &shown["running"]["number"]), (&"running".into(), &number.into()), "{shown}");
    number
}

/// The same for one whose trial may be over at once.
pub(crate) fn tries(gateway: &Gateway, yaml: &str) -> u64 {
    gateway.writes(yaml);
    let answer = gateway.asks_admin("POST", "/reload");
    assert_eq!(answer.status(), 200, "{answer}");
    json(answer.text())["rollout"].as_u64().expect("a number")
}

/// The page `/rollout`.
pub(crate) fn rollout(gateway: &Gateway) -> Value {
    json(gateway.asks_admin("GET", "/rollout").text())
}

/// Waits for the end of a trial; how it ended.
pub(crate) fn ends(gateway: &Gateway, number: u64) -> Value {
    until(&format!("the end of trial {number}"), || {
        let page = rollout(gateway);
        (page["phase"] == "idle" && page["last"]["number"] == number).then(|| page["last"].clone())
    })
}

/// An order to the gateway: its status, and what was said.
pub(crate) fn orders(gateway: &Gateway, order: &str) -> (u16, Value) {
    let answer = gateway.asks_admin("POST", &format!("/rollout/{order}"));
    (answer.status(), json(answer.text()))
}

/// Runs a command that asks this admin server.
pub(crate) fn command(admin: SocketAddr, arguments: &[&str]) -> Output {
    let admin = format!("http://{admin}");
    binary().args(arguments).args(["--admin", &admin]).output().expect("a child")
}

/// What a command said on both outputs.
pub(crate) fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}
