//! `ringgate policy`.

use clap::Subcommand;
use hyper::Method;
use serde_json::{Map, Value};

use super::admin::{Answer, Server};
use super::{Error, say};

/// The live policy of a running gateway.
#[derive(Debug, clap::Args)]
pub(super) struct Policy {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Prints the document.
    Get {
        #[command(flatten)]
        server: Server,
    },
    /// Changes the document, and waits until every core serves by it; what is not given stays.
    Set {
        /// Does anything pass: `true` or `false`?
        #[arg(long, value_name = "BOOL")]
        enabled: Option<bool>,
        /// Requests a second, of all clients together.
        #[arg(long, value_name = "NUMBER")]
        rate_limit: Option<serde_json::Number>,
        /// Failures in a row that open circuit breakers.
        #[arg(long, value_name = "NUMBER")]
        circuit_breaker_threshold: Option<u32>,
        #[command(flatten)]
        server: Server,
    },
}

impl Policy {
    pub(super) fn run(self) -> Result<(), Error> {
        match self.action {
            Action::Get { server } => print(&server),
            Action::Set { enabled, rate_limit, circuit_breaker_threshold, server } => {
                let members = [
                    ("enabled", enabled.map(Value::Bool)),
                    ("rateLimit", rate_limit.map(Value::Number)),
                    ("circuitBreakerThreshold", circuit_breaker_threshold.map(Value::from)),
                ];
                let given = members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
                let body: Map<String, Value> = given.collect();
                if body.is_empty() {
                    let needed = "`--enabled`, `--rate-limit` or `--circuit-breaker-threshold`";
                    return Err(Error::Usage(format!("nothing to set: give {needed}")));
                }
                let answer = server.ask(Method::POST, "/policy", Some(Value::Object(body).to_string()))?;
                if answer.status == 200 { print(&server) } else { Err(refused(&answer)) }
            }
        }
    }
}

fn print(server: &Server) -> Result<(), Error> {
    let answer = server.ask(Method::GET, "/policy", None)?;
    if answer.status != 200 {
        return Err(refused(&answer));
    }
    let document: Option<Value> = serde_json::from_str(&answer.body).ok();
    say(document.map_or(answer.body, |document| format!("{document:#}")));
    Ok(())
}

/// What an answer says of itself.
fn refused(answer: &Answer) -> Error {
    let told: Option<Value> = serde_json::from_str(&answer.body).ok();
    let word = |key: &str| told.as_ref().and_then(|told| told[key].as_str());
    match (word("error"), word("detail")) {
        (Some(error), Some(detail)) => Error::Runtime(format!("{error}: {detail}")),
        (Some(error), None) => Error::Runtime(error.to_owned()),
        (None, _) => Error::Runtime(format!("answered with {}: {}", answer.status, answer.body.trim())),
    }
}
