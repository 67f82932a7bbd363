//! `ringgate replay`.

mod decide;
mod lines;
mod logged;
mod report;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use decide::Decider;
use lines::Read;
use logged::{Logged, Was};
use report::Report;

use super::{Error, say};
use crate::config::{self, Disk};

/// Reads the log only; nothing is sent. Routes, actions, access by address, health, hosts, methods and body limits are
/// replayed; what hangs on state or on what the log does not have is not: rate limits, credentials, load, breakers, and
/// which member of a split.
#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub(super) struct Replay {
    /// The access log, or `-` for standard input.
    #[arg(long, value_name = "FILE")]
    log: PathBuf,
    /// The configuration that would decide.
    #[arg(long, value_name = "FILE")]
    new: PathBuf,
    /// A configuration to compare it with; without one it is compared with what the log says.
    #[arg(long, value_name = "FILE")]
    old: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Lines that are shown as examples.
    #[arg(long, value_name = "COUNT", default_value_t = 10, value_parser = clap::value_parser!(u16).range(0..=1000))]
    examples: u16,
}

const EXIT_CODES: &str = "Exit codes: 0 no request is decided otherwise, 1 some are, 2 wrong usage or a log that cannot be \
read, 3 invalid configuration.";

/// Bytes that are read at once.
const READ_BYTES: usize = 1024 * 1024;
/// How a file of gzip begins (RFC 1952 section 2.3.1).
const GZIP: [u8; 2] = [0x1f, 0x8b];

impl Replay {
    pub(super) fn run(self) -> Result<(), Error> {
        let new = decider(&self.new)?;
        let old = self.old.as_deref().map(decider).transpose()?;
        let log: Box<dyn io::Read> = if self.log == Path::new("-") {
            Box::new(io::stdin().lock())
        } else {
            Box::new(File::open(&self.log).map_err(|error| self.unread(&error))?)
        };
        let mut log = BufReader::with_capacity(READ_BYTES, log);
        if log.fill_buf().map_err(|error| self.unread(&error))?.starts_with(&GZIP) {
            let name = self.log.display();
            return Err(Error::Usage(format!("{name} is compressed: `zcat {name} | ringgate replay --log - ...`")));
        }
        let mut report = Report::new(self.examples.into());
        replay(&mut log, &new, old.as_ref(), &mut report).map_err(|error| self.unread(&error))?;
        if self.json {
            say(format_args!("{:#}", report.json()));
        } else {
            report.text().iter().for_each(say);
        }
        if report.is_vain() {
            return Err(Error::Usage(format!("{} is no access log", self.log.display())));
        }
        if report.differs() { Err(Error::Runtime("some requests are decided otherwise".to_owned())) } else { Ok(()) }
    }

    fn unread(&self, error: &io::Error) -> Error {
        Error::Usage(format!("{}: {error}", self.log.display()))
    }
}

/// Its warnings are those of `ringgate check`, and not told here: what is printed is a report.
fn decider(path: &Path) -> Result<Decider, Error> {
    let loaded = config::load(path, &Disk).map_err(|report| Error::Config(report.to_string()))?;
    Ok(Decider::new(loaded.config))
}

/// Compares every line.
fn replay(log: &mut impl BufRead, new: &Decider, old: Option<&Decider>, report: &mut Report) -> io::Result<()> {
    let mut line = Vec::new();
    loop {
        let read = lines::next(log, &mut line)?;
        if read == Read::End {
            return Ok(());
        }
        report.lines += 1;
        if read == Read::TooLong {
            report.on_rubbish(format!("longer than {} bytes", lines::LINE_BYTES_MAX));
            continue;
        }
        match serde_json::from_slice(&line) {
            Ok(logged) => replay_one(&logged, new, old, report),
            Err(error) if read == (Read::Line { is_cut: true }) => {
                report.on_rubbish(format!("the log ends within the line ({})", of_line(&error)));
            }
            Err(error) => report.on_rubbish(of_line(&error)),
        }
    }
}

fn replay_one(request: &Logged<'_>, new: &Decider, old: Option<&Decider>, report: &mut Report) {
    if request.is_cut() {
        return report.on_cut();
    }
    if request.was() == Was::Undecided {
        return report.on_undecidable();
    }
    if request.method.is_empty() || request.path.is_empty() {
        return report.on_rubbish("neither method nor path, and no reason".to_owned());
    }
    let ours = new.decide(request);
    let asked = || {
        let client = request.client_ip.map_or(String::new(), |client| format!(" from {client}"));
        format!("{} {}{}{client}", request.method, request.host, request.path)
    };
    if let Some(old) = old {
        let theirs = old.decide(request);
        let likeness = new.compare_with(&ours, old, &theirs);
        report.on_compared(&request.route, likeness, || [asked(), old.words(&theirs), new.words(&ours)]);
    } else {
        let likeness = new.compare(&ours, request);
        report.on_compared(&request.route, likeness, || [asked(), request.words(), new.words(&ours)]);
    }
}

/// What is wrong with a line, which is all that the parser saw.
fn of_line(error: &serde_json::Error) -> String {
    error.to_string().replace(" at line 1 column ", " at column ")
}
