//! `ringgate status`.

use std::fmt::Write as _;

use hyper::Method;
use serde_json::{Value, json};

use super::admin::Server;
use super::{Error, rollout, say};

/// What a running gateway does: its workers, its last reload, its live policy, and every endpoint with what keeps it away.
#[derive(Debug, clap::Args)]
pub(super) struct Status {
    /// The same as one JSON object.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

impl Status {
    pub(super) fn run(self) -> Result<(), Error> {
        let status = self.page("/status")?;
        let clusters = self.page("/clusters")?["clusters"].take();
        if self.json {
            say(format!("{:#}", json!({"status": status, "clusters": clusters})));
        } else {
            say(summary(&status, &clusters).trim_end());
        }
        Ok(())
    }

    fn page(&self, path: &str) -> Result<Value, Error> {
        let answer = self.server.ask(Method::GET, path, None)?;
        let page = serde_json::from_str(&answer.body).ok().filter(|_| answer.status == 200);
        page.ok_or_else(|| Error::Runtime(format!("{path}: answered with {}: {}", answer.status, answer.body.trim())))
    }
}

fn summary(status: &Value, clusters: &Value) -> String {
    let mut out = String::new();
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let state = match (status["draining"].as_bool(), status["ready"].as_bool()) {
        (Some(true), _) => "draining",
        (_, Some(true)) => "ready",
        _ => "not ready",
    };
    let up = lasting(status["uptime_seconds"].as_u64().unwrap_or_default());
    let (version, pid, epoch) = (word(&status["version"]), &status["pid"], &status["epoch"]);
    line(&mut out, "ringgate", &format!("{version}, pid {pid}, up {up}, epoch {epoch}, {state}"));
    let workers = status["workers"].as_array().map_or(&[][..], Vec::as_slice);
    let sum = |key: &str| workers.iter().filter_map(|worker| worker[key].as_u64()).sum::<u64>();
    let (connections, idle, requests) = (sum("connections_active"), sum("connections_idle"), sum("requests_active"));
    let driver = word(&status["io"]["driver"]);
    let doing = format!("{connections} connections, {idle} of them idle, {requests} requests");
    line(&mut out, "workers", &format!("{} on {driver}: {doing}", workers.len()));
    for listener in status["listeners"].as_array().into_iter().flatten() {
        line(&mut out, "listener", &format!("{} on {}", word(&listener["name"]), word(&listener["address"])));
    }
    reload(&mut out, &status["last_reload"]);
    out.push_str(&rollout::summary(&status["rollout"]));
    policy(&mut out, &status["policy"]);
    for cluster in clusters.as_array().into_iter().flatten() {
        self::cluster(&mut out, cluster);
    }
    out
}

fn reload(out: &mut String, reload: &Value) {
    let Some(at) = reload["at"].as_str() else { return };
    let by = reload["trigger"].as_str().unwrap_or_default();
    match reload["error"].as_str() {
        None => line(out, "reload", &format!("published at {at}, asked for by {by}")),
        Some(report) => line(out, "reload", &format!("REFUSED at {at}, asked for by {by}:\n{}", report.trim_end())),
    }
}

fn policy(out: &mut String, policy: &Value) {
    if policy["in_force"].as_bool() == Some(true) {
        let document = &policy["document"];
        let switch = if document["enabled"].as_bool() == Some(true) { "enabled" } else { "NOTHING PASSES" };
        let (rate, threshold) = (&document["rateLimit"], &document["circuitBreakerThreshold"]);
        line(out, "policy", &format!("{switch}, {rate} requests a second, breakers open after {threshold} failures"));
    }
    if let Some(error) = policy["error"].as_str() {
        line(out, "policy", &format!("TROUBLE: {error}"));
    }
}

fn cluster(out: &mut String, cluster: &Value) {
    let word = |key: &str| cluster[key].as_str().unwrap_or_default();
    let number = |key: &str| cluster[key].as_u64().unwrap_or_default();
    let (active, most) = (number("connections_active"), number("max_connections"));
    // An idle one makes room for whoever needs it.
    let idle = number("connections").saturating_sub(active);
    let of = if most > 0 { format!(" of {most}") } else { String::new() };
    let cap = format!("{active}{of} connections in use, {idle} idle");
    let (in_flight, waiting) = (&cluster["in_flight"], &cluster["waiting"]);
    line(
        out,
        "cluster",
        &format!("{} ({}): {cap}, {in_flight} in flight, {waiting} waiting", word("name"), word("balance")),
    );
    for endpoint in cluster["endpoints"].as_array().into_iter().flatten() {
        let word = |key: &str| endpoint[key].as_str().unwrap_or_default();
        let fit = if endpoint["fit"].as_bool() == Some(true) { "fit" } else { word("unfit") };
        let (weight, in_flight) = (&endpoint["weight"], &endpoint["in_flight"]);
        let detail = match word("probe_detail") {
            "" => String::new(),
            detail => format!(", last probe: {detail}"),
        };
        let text = format!(
            "{:<24} {fit}, weight {weight}, {in_flight} in flight, breaker {}{detail}",
            word("address"),
            word("breaker")
        );
        line(out, "", &text);
    }
}

fn line(out: &mut String, what: &str, text: &str) {
    writeln!(out, "{what:<9} {text}").expect("a String takes everything");
}

/// Seconds in words: the two largest units.
pub(super) fn lasting(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, minutes) => format!("{minutes}m {}s", seconds % 60),
        (0, hours, minutes) => format!("{hours}h {minutes}m"),
        (days, hours, _) => format!("{days}d {hours}h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_told_by_its_two_largest_units() {
        assert_eq!([59, 61, 3_661, 90_061].map(lasting), ["59s", "1m 1s", "1h 1m", "1d 1h"]);
    }

    #[test]
    fn what_keeps_an_endpoint_away_and_what_was_refused_is_told() {
        let status = json!({
            "version": "1.0", "pid": 7, "uptime_seconds": 5, "epoch": 3, "ready": true, "draining": false,
            "io": {"driver": "io_uring"}, "listeners": [{"name": "web", "address": "127.0.0.1:80"}],
            "workers": [{"connections_active": 2, "connections_idle": 1, "requests_active": 1}, {"connections_active": 3}],
            "last_reload": {"at": "T", "trigger": "files", "error": "gateway.yaml:1:1: wrong\n"},
            "policy": {"in_force": true, "document": {"enabled": false, "rateLimit": 5, "circuitBreakerThreshold": 9}, "error": "x"},
        });
        let clusters = json!([{
            "name": "app", "balance": "p2c", "connections": 1, "connections_active": 0, "max_connections": 0,
            "in_flight": 0, "waiting": 0,
            "endpoints": [{"address": "10.0.0.1:80", "fit": false, "unfit": "unfit: probe", "weight": 1, "in_flight": 0,
                "breaker": "closed", "probe_detail": "connection refused"}],
        }, {
            "name": "capped", "balance": "p2c", "connections": 64, "connections_active": 3, "max_connections": 64,
            "in_flight": 3, "waiting": 0,
        }]);
        let expected = "\
ringgate  1.0, pid 7, up 5s, epoch 3, ready
workers   2 on io_uring: 5 connections, 1 of them idle, 1 requests
listener  web on 127.0.0.1:80
reload    REFUSED at T, asked for by files:
gateway.yaml:1:1: wrong
policy    NOTHING PASSES, 5 requests a second, breakers open after 9 failures
policy    TROUBLE: x
cluster   app (p2c): 0 connections in use, 1 idle, 0 in flight, 0 waiting
          10.0.0.1:80              unfit: probe, weight 1, 0 in flight, breaker closed, last probe: connection refused
cluster   capped (p2c): 3 of 64 connections in use, 61 idle, 3 in flight, 0 waiting
";
        assert_eq!(summary(&status, &clusters), expected);
    }
}
