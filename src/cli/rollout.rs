//! `ringgate rollout`, and the wait for the end of one.

use std::fmt::Write as _;
use std::time::Duration;

use clap::Subcommand;
use hyper::Method;
use serde_json::Value;

use super::admin::Server;
use super::{Error, say};

/// Pause between two looks at a trial.
const LOOK: Duration = Duration::from_millis(300);

/// What is on trial in a running gateway.
#[derive(Debug, clap::Args)]
pub(super) struct Rollout {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Tells what is on trial, how it does, and how the last trial ended.
    Status {
        /// The same as one JSON object.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        server: Server,
    },
    /// Puts what is on trial in force, now and for everybody.
    Promote {
        #[command(flatten)]
        server: Server,
    },
    /// Rolls back what is on trial.
    Abort {
        #[command(flatten)]
        server: Server,
    },
}

impl Rollout {
    pub(super) fn run(self) -> Result<(), Error> {
        match self.action {
            Action::Status { json, server } => {
                let page = page(&server)?;
                if json {
                    say(format!("{page:#}"));
                } else {
                    let told = summary(&page);
                    say(if told.is_empty() { "rollout   nothing is on trial" } else { told.trim_end() });
                }
                Ok(())
            }
            Action::Promote { server } => decide(&server, "/rollout/promote", "promoted"),
            Action::Abort { server } => decide(&server, "/rollout/abort", "rolled back"),
        }
    }
}

fn decide(server: &Server, path: &str, done: &str) -> Result<(), Error> {
    let answer = server.order(path)?;
    let told: Value = serde_json::from_str(&answer.body).unwrap_or_default();
    if answer.status == 200 {
        say(format!("{done}, epoch {}", told["epoch"]));
        return Ok(());
    }
    let why = told["error"].as_str().unwrap_or(answer.body.trim());
    Err(Error::Runtime(format!("answered with {}: {why}", answer.status)))
}

fn page(server: &Server) -> Result<Value, Error> {
    let answer = server.ask(Method::GET, "/rollout", None)?;
    let page = serde_json::from_str(&answer.body).ok().filter(|_| answer.status == 200);
    page.ok_or_else(|| Error::Runtime(format!("/rollout: answered with {}: {}", answer.status, answer.body.trim())))
}

/// Waits for the end of a trial, and tells it.
///
/// # Errors
/// It was not promoted.
pub(super) fn wait_for(server: &Server, number: u64) -> Result<(), Error> {
    loop {
        let page = page(server)?;
        if page["running"]["number"].as_u64() != Some(number) {
            return ended(&page["last"], number);
        }
        std::thread::park_timeout(LOOK);
    }
}

fn ended(last: &Value, number: u64) -> Result<(), Error> {
    if last["number"].as_u64() < Some(number) {
        return Err(Error::Runtime("the gateway was replaced or started again before the end of the trial".to_owned()));
    }
    if last["number"].as_u64() > Some(number) {
        return Err(Error::Runtime("superseded: another configuration was on trial in its place".to_owned()));
    }
    let reason = last["reason"].as_str().unwrap_or_default();
    match last["outcome"].as_str() {
        Some("promoted") => {
            say(format!("promoted: {reason}"));
            Ok(())
        }
        outcome => Err(Error::Runtime(format!("{}: {reason}", outcome.unwrap_or_default().replace('_', " ")))),
    }
}

/// The lines about rollouts; none when there was none.
pub(super) fn summary(rollout: &Value) -> String {
    let mut out = String::new();
    let running = &rollout["running"];
    if running.is_object() {
        let (share, number) = (percent(running["share"].as_f64().unwrap_or_default()), &running["number"]);
        let by = running["decided_by"].as_str().unwrap_or_default();
        if running["waits"].as_bool() == Some(true) {
            line(&mut out, &format!("ON TRIAL, trial {number} waits for first keys and probes, then with {share} %"));
        } else {
            line(&mut out, &format!("ON TRIAL, trial {number} with {share} % of new connections, until {by}"));
        }
        sides(&mut out, running);
    }
    let last = &rollout["last"];
    if last.is_object() {
        let word = |key: &str| last[key].as_str().unwrap_or_default();
        let outcome = word("outcome").replace('_', " ");
        line(&mut out, &format!("trial {} {outcome} at {}: {}", last["number"], word("at"), word("reason")));
        if !running.is_object() {
            sides(&mut out, last);
        }
    }
    if rollout["files_rolled_back"].as_bool() == Some(true) {
        line(&mut out, "THE FILES SAY WHAT WAS ROLLED BACK: a restart or an upgrade would take it as it is");
    }
    out
}

/// A share in percent, without the digits by which a double is not what was written.
fn percent(share: f64) -> f64 {
    (share * 1e8).round() / 1e6
}

fn sides(out: &mut String, of: &Value) {
    for side in ["candidate", "current"] {
        let counts = &of[side];
        let failed = [&counts["gateway_failed"], &counts["upstream_failed"]];
        let failed: u64 = failed.iter().filter_map(|count| count.as_u64()).sum();
        let (requests, refused, connections) = (&counts["requests"], &counts["refused"], &counts["connections"]);
        let p99 = counts["p99_ms"].as_f64().unwrap_or_default();
        let text = format!(
            "{side:<9} {connections} new connections, {requests} requests, {failed} failed, {refused} refused, \
             99 % within {p99:.1} ms"
        );
        writeln!(out, "{:<9} {text}", "").expect("a String takes everything");
    }
}

fn line(out: &mut String, text: &str) {
    writeln!(out, "{:<9} {text}", "rollout").expect("a String takes everything");
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_on_trial_is_told_with_what_both_sides_did() {
        let side = |requests: u64| {
            json!({"connections": 2, "requests": requests, "gateway_failed": 1, "upstream_failed": 2,
            "refused": 4, "p99_ms": 1.25})
        };
        let running =
            json!({"number": 2, "share": 0.05, "decided_by": "T", "candidate": side(10), "current": side(90)});
        let last = json!({"number": 1, "outcome": "rolled_back", "reason": "it failed", "at": "S"});
        let page = json!({"phase": "running", "running": running, "last": last, "files_rolled_back": true});
        let expected = "\
rollout   ON TRIAL, trial 2 with 5 % of new connections, until T
          candidate 2 new connections, 10 requests, 3 failed, 4 refused, 99 % within 1.2 ms
          current   2 new connections, 90 requests, 3 failed, 4 refused, 99 % within 1.2 ms
rollout   trial 1 rolled back at S: it failed
rollout   THE FILES SAY WHAT WAS ROLLED BACK: a restart or an upgrade would take it as it is
";
        assert_eq!(summary(&page), expected);
        assert_eq!(summary(&json!({"phase": "idle", "running": null, "last": null, "files_rolled_back": false})), "");
    }

    #[test]
    fn a_share_is_told_as_it_was_written() {
        let told = |share: f64| percent(share).to_string();
        assert_eq!([0.07, 0.29, 0.005, 1.0, 0.000_001].map(told), ["7", "29", "0.5", "100", "0.0001"]);
        let page = json!({"running": {"number": 1, "share": 0.07, "waits": true}});
        assert_eq!(
            summary(&page).lines().next(),
            Some("rollout   ON TRIAL, trial 1 waits for first keys and probes, then with 7 %")
        );
    }

    #[test]
    fn only_a_promotion_is_a_success() {
        let last = |outcome: &str| json!({"number": 3, "outcome": outcome, "reason": "so"});
        assert!(ended(&last("promoted"), 3).is_ok());
        for (last, number, told) in [
            (last("rolled_back"), 3, "rolled back: so"),
            (last("superseded"), 3, "superseded: so"),
            (last("promoted"), 4, "replaced"),
            (Value::Null, 1, "replaced"),
            (last("promoted"), 2, "superseded"),
        ] {
            let Err(Error::Runtime(why)) = ended(&last, number) else { panic!("{last}") };
            assert!(why.contains(told), "{why}");
        }
    }
}
