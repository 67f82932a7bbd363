//! `PUT /config`: a new main file from an operator, in force and on the disk, or neither.

use std::io::{self, Read as _};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use axum::body::Bytes;
use tokio::sync::oneshot;

use super::disk::Prepared;
use super::gateway::{Gateway, Trigger};
use super::{systemd, written};
use crate::limits::CONFIG_BYTES;

/// Somebody sends a configuration and wants to know what became of it.
pub(super) type PutRequest = (Order, oneshot::Sender<Result<Taken, Refused>>);

/// A new main file.
#[derive(Debug, Clone)]
pub(super) struct Order {
    pub(super) text: Bytes,
    pub(super) condition: Condition,
}

/// What the file must be that is to be replaced (RFC 9110 section 13.1.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Condition {
    /// Nothing was said: the one that was taken up last.
    Unsaid,
    /// Any.
    Any,
    /// One with one of these tags.
    Tags(Vec<String>),
}

/// It is in force or on trial, and on the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Taken {
    pub(super) epoch: u64,
    pub(super) tag: String,
    /// The number of the trial that it is on, if it is.
    pub(super) rollout: Option<NonZeroU32>,
    /// Whether every worker serves by it.
    pub(super) is_adopted: bool,
}

/// Why a configuration was not taken; then nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refused {
    /// It is invalid, or cannot be served by: the whole report.
    Invalid(String),
    /// The file is not what the operator thinks: its tag, if there is a file.
    Mismatch(Option<String>),
    /// The file was changed since it was taken up last, and the operator did not say that this is known.
    Changed(Option<String>),
    /// The gateway runs without a file.
    NoFile,
    /// It could not be written, perhaps because there is no room.
    Unkept { why: String, is_full: bool },
    /// Something else must end first.
    Busy(&'static str),
}

impl Refused {
    /// In words, for the log and whoever sent it.
    pub(super) fn why(&self) -> String {
        match self {
            Self::Invalid(report) => report.clone(),
            Self::Mismatch(_) => "the configuration file is another one than `If-Match` says".to_owned(),
            Self::Changed(_) => "the configuration file was changed since it was taken up; \
                say that this is known by `If-Match`, with its ETag or `*`"
                .to_owned(),
            Self::NoFile => "the gateway runs without a configuration file".to_owned(),
            Self::Unkept { why, .. } => why.clone(),
            Self::Busy(why) => (*why).to_owned(),
        }
    }
}

/// The text, ready to take the place of a file of the tag that was looked at.
pub(super) struct Keeping {
    prepared: Prepared,
    path: PathBuf,
    seen: Option<String>,
}

impl Keeping {
    /// Writes it beside the file, off the control thread.
    ///
    /// # Errors
    /// There is no room, or no right to write there.
    async fn new(path: PathBuf, seen: Option<String>, text: Bytes) -> Result<Self, Refused> {
        let shown = path.display().to_string();
        let writing =
            tokio::task::spawn_blocking(move || Ok(Self { prepared: Prepared::new(&path, &text)?, path, seen }));
        unless_failed(&shown, writing.await)
    }

    /// Puts it in its place, unless the file has become another one meanwhile.
    ///
    /// # Errors
    /// The disk refuses it, or somebody was faster.
    pub(super) async fn commit(self) -> Result<(), Refused> {
        let shown = self.path.display().to_string();
        let committing = tokio::task::spawn_blocking(move || {
            if tag_of(&self.path)? != self.seen {
                return Ok(Err(Refused::Changed(tag_of(&self.path)?)));
            }
            self.prepared.commit().map(Ok)
        });
        unless_failed(&shown, committing.await)?
    }
}

fn unless_failed<T>(shown: &str, done: Result<io::Result<T>, tokio::task::JoinError>) -> Result<T, Refused> {
    done.unwrap_or_else(|error| Err(io::Error::other(error))).map_err(|error| {
        let is_full = matches!(
            error.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
        );
        Refused::Unkept { why: format!("the configuration cannot be written to {shown}: {error}"), is_full }
    })
}

/// The tag of the file at a path, if there is one.
fn tag_of(path: &Path) -> io::Result<Option<String>> {
    let mut text = Vec::new();
    match std::fs::File::open(path).and_then(|file| file.take(CONFIG_BYTES + 1).read_to_end(&mut text)) {
        Ok(_) => Ok(Some(written::tag(&text))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

impl Condition {
    /// Is it met by a file of this tag, when the one in force was taken up with that?
    fn is_met(&self, seen: Option<&String>, in_force: Option<&String>) -> bool {
        match self {
            Self::Unsaid => seen == in_force,
            Self::Any => seen.is_some(),
            Self::Tags(tags) => seen.is_some_and(|seen| tags.contains(seen)),
        }
    }

    fn refusal(&self, seen: Option<String>) -> Refused {
        if *self == Self::Unsaid { Refused::Changed(seen) } else { Refused::Mismatch(seen) }
    }
}

impl Gateway {
    /// Puts a new main file in force and on the disk.
    ///
    /// # Errors
    /// Why not; then nothing has changed.
    pub(super) async fn put(&mut self, order: Order) -> Result<Taken, Refused> {
        systemd::on_reloading();
        let result = self.take_up_text(order).await;
        systemd::on_ready(self.last_refusal.as_deref());
        if let Err(refused) = &result {
            self.refuse_text(refused);
        }
        result
    }

    async fn take_up_text(&mut self, Order { text, condition }: Order) -> Result<Taken, Refused> {
        let Some(path) = self.source.path().map(Path::to_owned) else { return Err(Refused::NoFile) };
        let (shown, looked_at) = (path.display().to_string(), path.clone());
        let looking = tokio::task::spawn_blocking(move || tag_of(&looked_at));
        let seen = unless_failed(&shown, looking.await)?;
        if !condition.is_met(seen.as_ref(), self.read_last().tag().as_ref()) {
            return Err(condition.refusal(seen));
        }
        self.rollouts.on_reading();
        let loading = self.source.with_main(text.clone()).load();
        let loaded = self.meanwhile(loading).await.map_err(Refused::Invalid)?;
        let tag = written::tag(&text);
        let keeping = Keeping::new(path, seen, text).await?;
        let epoch = self.take_up_loaded(Trigger::Put, loaded, Some(keeping)).await?;
        self.last_refusal = None;
        self.board.on_reload(Trigger::Put.name(), None);
        let is_adopted = self.adopted().await;
        let rollout = self.rollouts.number();
        let on_trial = rollout.is_some();
        tracing::info!(epoch, trigger = Trigger::Put.name(), is_adopted, on_trial, "configuration published");
        Ok(Taken { epoch, tag, rollout, is_adopted })
    }

    fn refuse_text(&self, refused: &Refused) {
        let (report, epoch, trigger) = (refused.why(), self.publisher.epoch(), Trigger::Put.name());
        match refused {
            // No reload failed: the file and what is in force are what they were, and whoever sent it has the report.
            Refused::Invalid(_) | Refused::Unkept { .. } => {
                self.board.on_put_refused();
                tracing::warn!(trigger, epoch, report, "configuration refused, the last one stays");
            }
            // Nothing is wrong with what was sent, or was even looked at: whoever sent it is to look again.
            Refused::Mismatch(_) | Refused::Changed(_) | Refused::NoFile | Refused::Busy(_) => {
                tracing::info!(trigger, epoch, report, "configuration not taken, the last one stays");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_says_nothing_replaces_only_what_was_taken_up() {
        let (a, b) = (Some("\"a\"".to_owned()), Some("\"b\"".to_owned()));
        let is_met = |condition: &Condition, seen: &Option<String>| condition.is_met(seen.as_ref(), a.as_ref());
        assert!(is_met(&Condition::Unsaid, &a) && !is_met(&Condition::Unsaid, &b));
        assert!(!is_met(&Condition::Unsaid, &None), "somebody took it away");
        assert!(is_met(&Condition::Any, &b) && !is_met(&Condition::Any, &None));
        let tags = Condition::Tags(vec!["\"x\"".to_owned(), "\"b\"".to_owned()]);
        assert!(is_met(&tags, &b) && !is_met(&tags, &a) && !is_met(&tags, &None));
        assert_eq!(tags.refusal(a.clone()), Refused::Mismatch(a.clone()));
        assert_eq!(Condition::Unsaid.refusal(b.clone()), Refused::Changed(b));
    }
}
