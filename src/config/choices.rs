//! Kinds of values that are one word out of a few.

use super::leaf::{Kind, Refusal};
use super::model::{Balance, HostHeader, Io};
use super::words;
use crate::limits::WORKERS_MAX;

/// Refuses a word, with the nearest of the right ones.
fn refuse<K: Kind>(text: &str, right: &[&str]) -> Refusal {
    let refusal = Refusal::expected::<K>();
    match words::nearest(text, right.iter().copied()) {
        Some(near) => refusal.hint(format!("did you mean `{near}`?")),
        None => refusal,
    }
}

/// The I/O driver.
pub(super) struct IoName;

impl Kind for IoName {
    type Out = Io;
    const EXPECTED: &'static str = "`auto`, `io_uring` or `epoll`";
    const PATTERN: Option<&'static str> = Some("auto|io_uring|epoll");

    fn text(text: &str) -> Result<Io, Refusal> {
        match text {
            "auto" => Ok(Io::Auto),
            "io_uring" => Ok(Io::IoUring),
            "epoll" => Ok(Io::Epoll),
            _ => Err(refuse::<Self>(text, &["auto", "io_uring", "epoll"])),
        }
    }
}

/// Balancers that exist in the format but not in this version.
const LATER_BALANCERS: [&str; 5] =
    ["weighted_round_robin", "least_connections", "consistent_hash", "least_saturated", "p2c"];

/// How an endpoint is chosen.
pub(super) struct BalanceName;

impl Kind for BalanceName {
    type Out = Balance;
    const EXPECTED: &'static str = "`round_robin`";
    const PATTERN: Option<&'static str> = Some("round_robin");

    fn text(text: &str) -> Result<Balance, Refusal> {
        match text {
            "round_robin" => Ok(Balance::RoundRobin),
            _ if LATER_BALANCERS.contains(&text) => {
                Err(Refusal::expected::<Self>().hint(format!("`{text}` is not in this version of ringgate")))
            }
            _ => Err(refuse::<Self>(text, &["round_robin"])),
        }
    }
}

/// Which `Host` the upstream sees.
pub(super) struct HostHeaderName;

impl Kind for HostHeaderName {
    type Out = HostHeader;
    const EXPECTED: &'static str = "`preserve` or `upstream`";
    const PATTERN: Option<&'static str> = Some("preserve|upstream");

    fn text(text: &str) -> Result<HostHeader, Refusal> {
        match text {
            "preserve" => Ok(HostHeader::Preserve),
            "upstream" => Ok(HostHeader::Upstream),
            _ => Err(refuse::<Self>(text, &["preserve", "upstream"])),
        }
    }
}

/// Where the access log goes, as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum OutputWritten {
    Off,
    Stdout,
    /// A path that may be relative to the file.
    File(String),
}

/// `stdout`, a path, or `off`.
pub(super) struct OutputName;

impl Kind for OutputName {
    type Out = OutputWritten;
    const EXPECTED: &'static str = "`stdout`, the path of a file, or `off`";
    const TYPES: &'static [&'static str] = &["string", "boolean"];

    fn text(text: &str) -> Result<OutputWritten, Refusal> {
        match text {
            "off" => Ok(OutputWritten::Off),
            "stdout" => Ok(OutputWritten::Stdout),
            // A word without a slash or a dot is rather a slip of the pen than a file.
            _ if !text.contains(['/', '.']) || text.contains('\0') => {
                Err(refuse::<Self>(text, &["stdout", "off"]).or_hint("write a path with a `/`: `./access.log`"))
            }
            _ => Ok(OutputWritten::File(text.to_owned())),
        }
    }

    fn switch(on: bool) -> Result<OutputWritten, Refusal> {
        if on { Err(Refusal::expected::<Self>()) } else { Ok(OutputWritten::Off) }
    }
}

/// How many workers: `None` for one on each CPU.
pub(super) struct WorkerCount;

impl Kind for WorkerCount {
    type Out = Option<usize>;
    const EXPECTED: &'static str = "`auto`, a number of workers, or a list of CPUs";
    const PATTERN: Option<&'static str> = Some("auto");
    const TYPES: &'static [&'static str] = &["integer", "string"];
    const PLAIN: bool = true;

    fn text(text: &str) -> Result<Option<usize>, Refusal> {
        match text.parse::<u64>() {
            _ if text == "auto" => Ok(None),
            Ok(number) if !text.starts_with('+') => Self::number(number),
            _ => Err(refuse::<Self>(text, &["auto"])),
        }
    }

    fn number(number: u64) -> Result<Option<usize>, Refusal> {
        match usize::try_from(number) {
            Ok(workers) if (1..=WORKERS_MAX).contains(&workers) => Ok(Some(workers)),
            _ => Err(Refusal::new(format!("expected 1 to {WORKERS_MAX} workers, or `auto`"))),
        }
    }
}
