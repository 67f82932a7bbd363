//! The way down from control to a worker: a bounded queue and a bell.

use std::io::{self, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::sync::mpsc;

use crate::limits;

/// What control asks of a worker.
#[derive(Debug)]
pub enum Message {
    /// Adopt the newest snapshot now.
    Nudge,
    /// Accept on this socket as well.
    Listen {
        /// The listener's name.
        name: String,
        /// Its socket.
        socket: TcpListener,
    },
    /// Stop accepting on the listener of this name.
    Unlisten {
        /// The listener's name.
        name: String,
    },
    /// Stop accepting, close idle connections, finish the others, then end.
    Drain,
    /// End now.
    Stop,
}

pub(super) struct Sender {
    queue: mpsc::SyncSender<Message>,
    bell: UnixStream,
}

pub(super) struct Receiver {
    pub(super) queue: mpsc::Receiver<Message>,
    pub(super) bell: UnixStream,
}

pub(super) fn mailbox() -> io::Result<(Sender, Receiver)> {
    let (near, far) = UnixStream::pair()?;
    // Control never waits for a worker: a full bell has been rung already.
    near.set_nonblocking(true)?;
    let (sender, receiver) = mpsc::sync_channel(limits::MAILBOX_MESSAGES);
    Ok((Sender { queue: sender, bell: near }, Receiver { queue: receiver, bell: far }))
}

impl Sender {
    pub(super) fn send(&self, message: Message) -> bool {
        let queued = self.queue.try_send(message).is_ok();
        let rung = match (&self.bell).write(&[1]) {
            Ok(_) => true,
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        };
        queued && rung
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_mailbox_refuses_and_a_bell_rung_often_does_not_block() {
        let (sender, receiver) = mailbox().expect("a pair of sockets");
        for _ in 0..limits::MAILBOX_MESSAGES {
            assert!(sender.send(Message::Nudge));
        }
        assert!(!sender.send(Message::Nudge));
        assert_eq!(receiver.queue.try_iter().count(), limits::MAILBOX_MESSAGES);
        assert!(sender.send(Message::Drain));
    }

    #[test]
    fn a_mailbox_without_its_worker_refuses() {
        let (sender, receiver) = mailbox().expect("a pair of sockets");
        drop(receiver);
        assert!(!sender.send(Message::Stop));
    }
}
