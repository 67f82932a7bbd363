//! The workers as the control loop sees them: threads with a mailbox.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use super::board::Seat;
use super::{passwords, store};
use crate::cluster::Fleet;
use crate::net::{Driver, Sandbox};
use crate::snapshot::{Entrance, Publisher};
use crate::telemetry::{LogRing, SpanRing};
use crate::worker::{self, Ask, Credit, Loads, Mailbox, Message, Peers, Question, WorkerHandle, WorkerSpec};

/// Pause between two looks at threads that are to end.
const END_POLL: Duration = Duration::from_millis(5);

/// The sockets of one worker, each with where its connections come in.
pub(super) type Berth = Vec<(Entrance, TcpListener)>;

/// What all workers share.
pub(super) struct Shared<'a> {
    pub(super) publisher: &'a Publisher,
    pub(super) sandbox: &'a Option<Sandbox>,
    pub(super) fleet: &'a Arc<Fleet>,
    pub(super) credit: &'a Arc<Credit>,
    pub(super) loads: &'a Arc<Loads>,
}

/// Where workers ask what they must not wait for: a full desk refuses.
fn desks(peers: Peers) -> Result<Ask, String> {
    let tried = passwords::open(&peers).map_err(|error| format!("cannot start a thread: {error}"))?;
    let stores = store::open(peers);
    Ok(Arc::new(move |question| match question {
        Question::Store(ask) => stores.try_send(ask).is_ok(),
        Question::Password(ask) => tried.try_send(ask).is_ok(),
    }))
}

/// Every worker of the process.
pub(super) struct Crew {
    workers: Vec<WorkerHandle>,
}

impl Crew {
    /// Starts one worker per seat; those already started are stopped when one cannot be.
    ///
    /// # Errors
    /// The worker that could not be started, and why.
    pub(super) fn spawn(
        driver: Driver,
        seats: &[Seat],
        rings: Vec<(LogRing, SpanRing)>,
        berths: Vec<Berth>,
        shared: &Shared<'_>,
    ) -> Result<Self, String> {
        let mailboxes = worker::crew(seats.len()).map_err(|error| format!("cannot start the workers: {error}"))?;
        let peers = mailboxes.first().map(Mailbox::peers).ok_or("there is no worker to start")?;
        let ask = desks(peers)?;
        let mut crew = Self { workers: Vec::new() };
        let belongings = seats.iter().zip(rings).zip(berths).zip(mailboxes);
        for (index, (((seat, (log, spans)), listeners), mailbox)) in belongings.enumerate() {
            let spec = WorkerSpec {
                index,
                cpu: seat.cpu,
                driver,
                sandbox: shared.sandbox.clone(),
                counters: Arc::clone(&seat.counters),
                log,
                spans,
                snapshots: shared.publisher.reader(index),
                fleet: Arc::clone(shared.fleet),
                listeners,
                max_connections: Arc::clone(shared.credit),
                loads: Arc::clone(shared.loads),
                ask: Arc::clone(&ask),
            };
            match WorkerHandle::spawn(spec, mailbox) {
                Ok(worker) => crew.workers.push(worker),
                Err(error) => {
                    crew.tell(|| Message::Stop);
                    return Err(format!("cannot start worker {index}: {error}"));
                }
            }
        }
        Ok(crew)
    }

    /// Workers in all.
    pub(super) fn len(&self) -> usize {
        self.workers.len()
    }

    /// Sends one message to every worker.
    pub(super) fn tell(&self, message: impl Fn() -> Message) {
        for worker in &self.workers {
            Self::send(worker, message());
        }
    }

    /// Hands each worker its sockets of a listener.
    pub(super) fn listen(&self, entrance: Entrance, berths: Vec<Vec<TcpListener>>) {
        for (worker, sockets) in self.workers.iter().zip(berths) {
            for socket in sockets {
                Self::send(worker, Message::Listen { entrance, socket });
            }
        }
    }

    fn send(worker: &WorkerHandle, message: Message) {
        if !worker.send(message) && !worker.is_finished() {
            tracing::error!("a worker's mailbox is full, a message is lost");
        }
    }

    /// Has a worker ended?
    pub(super) fn any_finished(&self) -> bool {
        self.workers.iter().any(WorkerHandle::is_finished)
    }

    /// Waits until every worker ended.
    pub(super) async fn ended(&self) {
        while !self.workers.iter().all(WorkerHandle::is_finished) {
            tokio::time::sleep(END_POLL).await;
        }
    }

    /// `what` happened, and why if a worker tells, for which those that ended are joined; the others are left to the end of the
    /// process.
    pub(super) fn because(self, what: &str) -> String {
        let ended = self.workers.into_iter().enumerate().filter(|(_, worker)| worker.is_finished());
        let whys = ended.filter_map(|(index, worker)| worker.join().err().map(|why| format!("worker {index}: {why}")));
        // All of them, so that all are joined.
        whys.fold(what.to_owned(), |told, why| format!("{told}: {why}"))
    }
}
