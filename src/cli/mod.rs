//! The command line: one file per sub-command.
//!
//! Owns: arguments, exit codes (0 ok, 1 runtime, 2 usage, 3 invalid configuration), and everything printed on standard
//! output except for the access log.
//! Never: decides anything about a request or a configuration.

mod admin;
mod check;
mod decision;
mod demo;
mod doctor;
mod dump;
mod explain;
mod health;
mod policy;
mod reload;
mod replay;
mod rollout;
mod run;
mod schema;
mod status;
mod top;
mod upgrade;

use std::fmt::Display;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::OnceLock;

use clap::{Parser, Subcommand};

use crate::config::{self, Disk, Loaded};

/// An API gateway and edge proxy on one pinned `io_uring` reactor per core.
#[derive(Debug, Parser)]
#[command(version, about, after_help = "Exit codes: 0 ok, 1 runtime failure, 2 wrong usage, 3 invalid configuration.")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the gateway until SIGTERM, SIGINT or SIGQUIT; SIGHUP reads the configuration again, SIGUSR1 opens the file of the
    /// access log anew besides, SIGUSR2 has a new process of the program on disk take over.
    Run(run::Run),
    /// Checks a configuration and reports everything that is wrong with it.
    Check(check::Check),
    /// Prints the configuration as it would be in force.
    Dump(dump::Dump),
    /// Looks for what this machine and the endpoints lack for a configuration, with what to do about it.
    Doctor(doctor::Doctor),
    /// Says which route a request takes, and why.
    Explain(explain::Explain),
    /// Says which requests of an access log another configuration would decide otherwise.
    Replay(replay::Replay),
    /// Asks a running gateway for its health; for container health checks.
    Health(health::Health),
    /// Tells what a running gateway does.
    Status(status::Status),
    /// Shows what a running gateway does, second by second.
    Top(top::Top),
    /// Has a running gateway read its configuration again, and tells how that went.
    Reload(reload::Reload),
    /// Tells how a configuration on trial does, puts it in force or rolls it back.
    Rollout(rollout::Rollout),
    /// Has a running gateway hand over to a new process of the program on disk, and tells how that went.
    Upgrade(upgrade::Upgrade),
    /// Shows or changes the live policy of a running gateway.
    Policy(policy::Policy),
    /// Prints the JSON Schema of the configuration.
    Schema,
    /// Shows the gateway at work: an origin, the gateway and real requests, in one process.
    Demo(demo::Demo),
}

/// The configuration that several commands take.
#[derive(Debug, clap::Args)]
struct ConfigFile {
    /// The configuration file.
    #[arg(short = 'c', long = "config", value_name = "FILE")]
    path: PathBuf,
}

/// Why a command did not succeed; printed on standard error.
#[derive(Debug)]
enum Error {
    /// Something of this machine or of a peer.
    Runtime(String),
    /// Wrong arguments that the parser cannot see.
    Usage(String),
    /// An invalid configuration: the report.
    Config(String),
}

/// Runs the command that the arguments name.
#[must_use]
pub fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Run(run) => run.run(),
        Command::Check(check) => check.run(),
        Command::Dump(dump) => dump.run(),
        Command::Doctor(doctor) => doctor.run(),
        Command::Explain(explain) => explain.run(),
        Command::Replay(replay) => replay.run(),
        Command::Health(health) => health.run(),
        Command::Status(status) => status.run(),
        Command::Top(top) => top.run(),
        Command::Reload(reload) => reload.run(),
        Command::Rollout(rollout) => rollout.run(),
        Command::Upgrade(upgrade) => upgrade.run(),
        Command::Policy(policy) => policy.run(),
        Command::Schema => schema::run(),
        Command::Demo(demo) => demo.run(),
    };
    let (code, text) = match result.and_then(|()| all_said()) {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Error::Runtime(text)) => (1, format!("ringgate: {text}")),
        Err(Error::Usage(text)) => (2, format!("ringgate: {text}")),
        Err(Error::Config(report)) => (3, report),
    };
    // Standard error may be closed; the exit code still tells.
    // One write, because a process that is to be replaced may write beside this one.
    drop(io::stderr().write_all(format!("{}\n", text.trim_end()).as_bytes()));
    ExitCode::from(code)
}

/// Why something could not be printed, of the first time.
static UNSAID: OnceLock<String> = OnceLock::new();

/// Prints a line. Whether all could be printed is told when the command is done: [`all_said`].
fn say(line: impl Display) {
    print(format_args!("{line}\n"));
}

/// The same for a text that has its line ends; a reader that left (`ringgate schema | head`) is no failure.
fn print(text: impl Display) {
    let mut out = io::stdout().lock();
    if let Err(error) = write!(out, "{text}").and_then(|()| out.flush())
        && error.kind() != io::ErrorKind::BrokenPipe
    {
        UNSAID.get_or_init(|| error.to_string());
    }
}

/// # Errors
/// Something could not be printed, as on a full disk.
fn all_said() -> Result<(), Error> {
    UNSAID.get().map_or(Ok(()), |why| Err(Error::Runtime(format!("standard output cannot be written: {why}"))))
}

/// Loads a configuration file and prints its warnings.
fn load(path: &Path) -> Result<Loaded, Error> {
    let loaded = config::load(path, &Disk).map_err(|report| Error::Config(report.to_string()))?;
    for warning in &loaded.warnings.problems {
        say(warning.to_string().trim_end());
    }
    Ok(loaded)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_arguments_are_well_formed() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn the_documented_command_lines_parse() {
        for line in [
            "ringgate run",
            "ringgate run -c gateway.yaml",
            "ringgate check --config gateway.yaml",
            "ringgate check --online --timeout 3 -c gateway.yaml",
            "ringgate explain GET http://a.example/x -c gateway.yaml -H x-version:2",
            "ringgate dump -c gateway.yaml",
            "ringgate dump --effective --json -c gateway.yaml",
            "ringgate doctor --offline -c gateway.yaml",
            "ringgate replay --log access.jsonl --new b.yaml",
            "ringgate replay --log - --new b.yaml --old a.yaml --json --examples 3",
            "ringgate health",
            "ringgate health --url http://127.0.0.1:9090/ready",
            "ringgate health -c gateway.yaml",
            "ringgate status --json",
            "ringgate top --once --admin unix:/run/ringgate.sock",
            "ringgate reload",
            "ringgate reload --admin unix:/run/ringgate.sock",
            "ringgate reload --no-wait",
            "ringgate rollout status --json",
            "ringgate rollout promote -c gateway.yaml",
            "ringgate rollout abort",
            "ringgate upgrade --timeout 60 -c gateway.yaml",
            "ringgate policy get -c gateway.yaml",
            "ringgate policy set --enabled false --rate-limit 2.5 --circuit-breaker-threshold 5",
            "ringgate schema",
            "ringgate demo --once",
        ] {
            assert!(Arguments::try_parse_from(line.split(' ')).is_ok(), "{line}");
        }
        for line in [
            "ringgate",
            "ringgate check",
            "ringgate run --nonsense",
            "ringgate explain GET",
            "ringgate replay --log access.jsonl",
            "ringgate policy",
            "ringgate policy set --enabled maybe",
            "ringgate rollout",
        ] {
            assert!(Arguments::try_parse_from(line.split(' ')).is_err(), "{line}");
        }
    }
}
