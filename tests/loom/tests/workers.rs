//! Workers that follow the protocol of `src/cluster/state.rs`; each waits for one request at a time.

use loom::sync::mpsc::{Receiver, Sender, channel};
use ringgate_loom::ClusterState;

/// One cluster and the mailbox of each of its workers.
pub(crate) struct Workers {
    pub(crate) state: ClusterState,
    mailboxes: Vec<(Sender<()>, Receiver<()>)>,
}

impl Workers {
    /// Workers of a cluster all of whose `limit` credits are out.
    pub(crate) fn saturated(workers: usize, limit: usize) -> Self {
        let mailboxes = (0..workers).map(|_| channel()).collect();
        let state = ClusterState::new(workers, limit);
        assert!((0..limit).all(|_| state.try_take()));
        Self { state, mailboxes }
    }

    /// Sends a message; what it asks for follows from the state when it arrives.
    pub(crate) fn wake(&self, named: Option<usize>) {
        if let Some(worker) = named {
            self.mailboxes[worker].0.send(()).unwrap();
        }
    }

    /// Waits for a message.
    pub(crate) fn receive(&self, worker: usize) {
        self.mailboxes[worker].1.recv().unwrap();
    }

    /// Becomes the first waiter of `worker`; whether it has its credit at once.
    pub(crate) fn join(&self, worker: usize) -> bool {
        let ticket = self.state.try_join(usize::MAX).unwrap();
        self.state.set_head(worker, Some(ticket));
        self.serve(worker)
    }

    /// Serves the only waiter of `worker`, if it is its turn.
    pub(crate) fn serve(&self, worker: usize) -> bool {
        let is_served = self.state.try_take_turn(worker);
        if is_served {
            self.state.set_head(worker, None);
            self.wake(self.state.on_served());
        }
        is_served
    }

    /// The only waiter of `worker` gives up.
    pub(crate) fn leave(&self, worker: usize) {
        self.state.set_head(worker, None);
        self.wake(self.state.on_left());
    }

    /// Waits in the queue until there is a credit for `worker`.
    pub(crate) fn wait(&self, worker: usize) {
        let mut is_served = self.join(worker);
        while !is_served {
            self.receive(worker);
            is_served = self.serve(worker);
        }
    }

    pub(crate) fn release(&self) {
        self.wake(self.state.on_released());
    }

    /// Credits that are out, and waiters.
    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.state.taken(), self.state.waiting())
    }
}
