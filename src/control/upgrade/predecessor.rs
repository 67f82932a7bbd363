//! The process that is to be replaced, as the new one sees it; and the words that pass between them.

use std::io;
use std::net::SocketAddr;
use std::os::unix::net::UnixStream as Channel;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;

use crate::control::Failure;

/// Bytes of one word; a report of a refused configuration may be long.
const WORD_BYTES: u64 = 4 << 20;

/// What is said, a line of JSON each.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Word {
    /// The new process: everything is done but accepting. Listeners of the old one that it goes on with, and whether it
    /// has the admin server's socket.
    Ready { listeners: Vec<String>, admin: bool },
    /// The old process, which still accepts: what operators gave it, if they did.
    Given(Given),
    /// The new process: it serves by what it was given.
    Inherited,
    /// The old process: it does not accept any more.
    Go,
    /// The new process: it accepts, by this epoch.
    Serving { epoch: u64 },
    /// The new process: it cannot serve.
    Failed { why: String },
}

/// What operators gave a process that stands in none of its files, or may not be read there.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::control) struct Given {
    /// Weights of endpoints, by cluster and address.
    pub(in crate::control) weights: Vec<(String, SocketAddr, u32)>,
    /// The live policy document, if it is kept nowhere.
    pub(in crate::control) policy: Option<String>,
    /// The live policy document in force, if it has a place; a process of before does not say it.
    #[serde(default)]
    pub(in crate::control) last_policy: Option<String>,
    /// The file of the live policy, if it was ever there; a process of before does not say it.
    #[serde(default)]
    pub(in crate::control) policy_file: Option<String>,
}

/// One end of the way between the two processes.
#[derive(Debug)]
pub(super) struct Talk(BufReader<UnixStream>);

impl Talk {
    /// Over this channel, on the runtime of the caller.
    pub(super) fn new(channel: Channel) -> io::Result<Self> {
        channel.set_nonblocking(true)?;
        Ok(Self(BufReader::new(UnixStream::from_std(channel)?)))
    }

    /// Says a word.
    pub(super) async fn say(&mut self, word: &Word) -> io::Result<()> {
        let line = serde_json::to_string(word)? + "\n";
        self.0.get_mut().write_all(line.as_bytes()).await
    }

    /// The next word of the other side; nothing when it is gone.
    pub(super) async fn hear(&mut self) -> io::Result<Option<Word>> {
        let mut line = String::new();
        match (&mut self.0).take(WORD_BYTES).read_line(&mut line).await? {
            0 => Ok(None),
            _ => Ok(Some(serde_json::from_str(&line)?)),
        }
    }
}

fn given_up() -> Failure {
    Failure::Runtime("the process to be replaced gave the upgrade up".to_owned())
}

/// The process whose sockets this one has.
#[derive(Debug)]
pub(in crate::control) struct Predecessor {
    /// Its number.
    pub(in crate::control) pid: u32,
    channel: Option<Channel>,
    talk: Option<Talk>,
}

impl Predecessor {
    pub(super) const fn new(pid: u32, channel: Channel) -> Self {
        Self { pid, channel: Some(channel), talk: None }
    }

    fn talk(&mut self) -> io::Result<&mut Talk> {
        if let Some(channel) = self.channel.take() {
            self.talk = Some(Talk::new(channel)?);
        }
        self.talk.as_mut().ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    /// Says that all is ready but accepting; what the other process was given, to be answered by
    /// [`Predecessor::on_inherited`] while it still accepts, or nothing once it does not any more.
    ///
    /// # Errors
    /// It gave the upgrade up.
    pub(in crate::control) async fn relieve(
        &mut self,
        listeners: Vec<String>,
        admin: bool,
    ) -> Result<Option<Given>, Failure> {
        match self.asks(&Word::Ready { listeners, admin }).await {
            Ok(Some(Word::Given(given))) => Ok(Some(given)),
            Ok(Some(Word::Go)) => Ok(None),
            Ok(_) | Err(_) => Err(given_up()),
        }
    }

    /// Says that what it was given is taken up, and waits until the other process has stopped accepting.
    ///
    /// # Errors
    /// It gave the upgrade up.
    pub(in crate::control) async fn on_inherited(&mut self) -> Result<(), Failure> {
        match self.asks(&Word::Inherited).await {
            Ok(Some(Word::Go)) => Ok(()),
            Ok(_) | Err(_) => Err(given_up()),
        }
    }

    async fn asks(&mut self, word: &Word) -> io::Result<Option<Word>> {
        let talk = self.talk()?;
        talk.say(word).await?;
        talk.hear().await
    }

    /// Says how the start ended.
    pub(in crate::control) async fn tell(&mut self, started: Result<u64, &Failure>) {
        let word = match started {
            Ok(epoch) => Word::Serving { epoch },
            Err(failure) => Word::Failed { why: failure.to_string() },
        };
        // One that is gone has nothing to do any more.
        if let Ok(talk) = self.talk() {
            drop(talk.say(&word).await);
        }
    }
}
