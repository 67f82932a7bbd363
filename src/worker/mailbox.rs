//! The way to a worker, from control and from the other workers: bounded queues and a bell.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Weak, mpsc};

use super::credit::Taken;
use super::loads::Place;
use crate::exchange::Call;
use crate::limits;
use crate::snapshot::Entrance;

/// What is asked of a worker.
#[derive(Debug)]
pub enum Message {
    /// Adopt the newest snapshot now.
    Nudge,
    /// Accept on this socket as well.
    Listen {
        /// Where its connections come in.
        entrance: Entrance,
        /// Its socket.
        socket: TcpListener,
    },
    /// Stop accepting on this address.
    Unlisten {
        /// The address bound.
        address: SocketAddr,
    },
    /// Stop accepting on this address, and leave its queue to another process that has the same sockets.
    Release {
        /// The address bound.
        address: SocketAddr,
    },
    /// Stop accepting, close idle connections, finish the others, then end.
    Drain {
        /// Milliseconds for which resting connections may still bring a request.
        rest_ms: u64,
    },
    /// End now.
    Stop,
    /// Serve this connection, which another worker accepted.
    Serve {
        /// The connection.
        socket: TcpStream,
        /// Its client.
        peer: SocketAddr,
        /// When it was accepted, by the monotonic clock.
        accepted_ns: u64,
        /// Where it came in.
        entrance: Entrance,
        /// Its part of the process's connections.
        taken: Taken,
        /// Its place on the worker asked.
        place: Place,
    },
    /// Something of its clusters, by another worker.
    Call(Call),
}

/// One worker's mailbox before that worker starts.
#[derive(Debug)]
pub struct Mailbox {
    pub(super) sender: Arc<Sender>,
    pub(super) receiver: Receiver,
    pub(super) peers: Peers,
}

/// Makes a mailbox for each of `workers` workers, all before any of them starts, so that each can reach every other.
///
/// # Errors
/// A wake-up socket cannot be created.
pub fn crew(workers: usize) -> io::Result<Vec<Mailbox>> {
    let pairs = (0..workers).map(|_| pair()).collect::<io::Result<Vec<_>>>()?;
    let peers = Peers(pairs.iter().map(|(sender, _)| Arc::downgrade(sender)).collect());
    let mailbox = |(sender, receiver)| Mailbox { sender, receiver, peers: peers.clone() };
    Ok(pairs.into_iter().map(mailbox).collect())
}

impl Mailbox {
    /// The mailboxes of all workers.
    #[must_use]
    pub fn peers(&self) -> Peers {
        self.peers.clone()
    }
}

/// Control's end; alive as long as control holds it.
#[derive(Debug)]
pub(super) struct Sender {
    orders: mpsc::SyncSender<Message>,
    // Apart from the orders, which what workers send each other must not crowd out.
    calls: mpsc::SyncSender<Message>,
    bell: UnixStream,
}

/// The worker's end.
#[derive(Debug)]
pub(super) struct Receiver {
    pub(super) inbox: Inbox,
    pub(super) bell: UnixStream,
}

/// What has come and has not been acted on.
#[derive(Debug)]
pub(super) struct Inbox {
    orders: mpsc::Receiver<Message>,
    calls: mpsc::Receiver<Message>,
}

/// The mailboxes of all workers, for one of them; no worker keeps another's alive.
#[derive(Clone, Debug)]
pub struct Peers(Arc<[Weak<Sender>]>);

fn pair() -> io::Result<(Arc<Sender>, Receiver)> {
    let (near, far) = UnixStream::pair()?;
    // Nobody waits for a worker: a full bell has been rung already.
    near.set_nonblocking(true)?;
    let (orders, orders_received) = mpsc::sync_channel(limits::MAILBOX_MESSAGES);
    let (calls, calls_received) = mpsc::sync_channel(limits::MAILBOX_MESSAGES);
    let inbox = Inbox { orders: orders_received, calls: calls_received };
    Ok((Arc::new(Sender { orders, calls, bell: near }), Receiver { inbox, bell: far }))
}

impl Sender {
    /// An order of control; false when there is no room for it or the worker ended.
    pub(super) fn order(&self, message: Message) -> bool {
        self.orders.try_send(message).is_ok() & self.ring()
    }

    fn call(&self, message: Message) -> Result<(), Message> {
        self.calls.try_send(message).map_err(|refused| match refused {
            mpsc::TrySendError::Full(message) | mpsc::TrySendError::Disconnected(message) => message,
        })?;
        // A worker whose bell is gone is ending, and what lies in its mailbox ends with it.
        self.ring();
        Ok(())
    }

    fn ring(&self) -> bool {
        match (&self.bell).write_all(&[1]) {
            Ok(()) => true,
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        }
    }
}

impl Inbox {
    /// Takes what has come, the orders of control first.
    pub(super) fn messages(&self) -> impl Iterator<Item = Message> {
        self.orders.try_iter().chain(self.calls.try_iter())
    }
}

impl Peers {
    /// Puts a message into a worker's mailbox and wakes that worker; false when the mailbox is full or the worker
    /// ended. Never waits.
    #[must_use]
    pub fn tell(&self, worker: usize, message: Message) -> bool {
        self.try_tell(worker, message).is_ok()
    }

    /// The same; what could not be delivered comes back.
    pub(super) fn try_tell(&self, worker: usize, message: Message) -> Result<(), Message> {
        match self.0[worker].upgrade() {
            Some(sender) => sender.call(message),
            None => Err(message),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn two() -> [Mailbox; 2] {
        crew(2).expect("pairs of sockets").try_into().expect("two of two")
    }

    #[test]
    fn a_full_mailbox_refuses_and_a_bell_rung_often_does_not_block() {
        let [one, _] = two();
        for _ in 0..limits::MAILBOX_MESSAGES {
            assert!(one.sender.order(Message::Nudge));
        }
        assert!(!one.sender.order(Message::Nudge));
        assert_eq!(one.receiver.inbox.messages().count(), limits::MAILBOX_MESSAGES);
        assert!(one.sender.order(Message::Drain { rest_ms: 0 }));
    }

    #[test]
    fn a_mailbox_without_its_worker_refuses() {
        let [one, two] = two();
        drop(two.receiver);
        assert!(!two.sender.order(Message::Stop));
        assert!(!one.peers.tell(1, Message::Nudge));
        let back = one.peers.try_tell(1, Message::Drain { rest_ms: 0 });
        assert!(matches!(back, Err(Message::Drain { .. })), "it comes back");
    }

    #[test]
    fn every_worker_reaches_every_other_one_and_itself() {
        let [one, two] = two();
        for peers in [&one.peers, &two.peers] {
            for (worker, mailbox) in [(0, &one), (1, &two)] {
                assert!(peers.tell(worker, Message::Nudge));
                assert_eq!(mailbox.receiver.inbox.messages().count(), 1);
                assert_eq!((&mailbox.receiver.bell).read(&mut [0; 8]).expect("it was rung"), 1);
            }
        }
    }

    #[test]
    fn workers_do_not_crowd_out_the_orders_of_control() {
        let [one, two] = two();
        for _ in 0..limits::MAILBOX_MESSAGES {
            assert!(one.peers.tell(1, Message::Nudge));
        }
        assert!(!one.peers.tell(1, Message::Nudge));
        assert!(two.sender.order(Message::Stop));
        assert!(matches!(two.receiver.inbox.messages().next(), Some(Message::Stop)), "orders come first");
    }

    #[test]
    fn a_worker_notices_that_control_is_gone_although_its_peers_live() {
        let [one, two] = two();
        drop((one.sender, two.sender));
        assert_eq!((&one.receiver.bell).read(&mut [0; 8]).expect("an end of stream"), 0);
        assert!(!two.peers.tell(0, Message::Nudge));
    }
}
