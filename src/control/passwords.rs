//! Passwords are tried here, because that is made to take long: on threads that give way to all others.

#![allow(clippy::disallowed_types, reason = "threads of the control side share one queue")]

use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use crate::clock;
use crate::limits::{PASSWORD_ASKS, PASSWORD_THREADS};
use crate::net::give_way;
use crate::worker::{Call, Message, PasswordAsk, Peers};

/// Where workers leave passwords to be tried; the answers go to their mailboxes. It ends when nobody can ask any more.
///
/// # Errors
/// No thread can be made.
pub(super) fn open(peers: &Peers) -> std::io::Result<SyncSender<PasswordAsk>> {
    let (sender, inbox) = mpsc::sync_channel(PASSWORD_ASKS);
    let inbox = Arc::new(Mutex::new(inbox));
    // Half of the machine at most: they give way, but they do not stop.
    let cpus = thread::available_parallelism().map_or(1, usize::from);
    for number in 0..(cpus / 2).clamp(1, PASSWORD_THREADS) {
        let (inbox, peers) = (Arc::clone(&inbox), peers.clone());
        thread::Builder::new().name(format!("passwords-{number}")).spawn(move || try_all(&inbox, &peers))?;
    }
    Ok(sender)
}

fn try_all(inbox: &Mutex<Receiver<PasswordAsk>>, peers: &Peers) {
    give_way();
    loop {
        let next = inbox.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(PasswordAsk { worker, ticket, book, login, due_ms }) = next else { return };
        // Whoever asked has gone; trying it all the same would let a flood keep everybody else waiting.
        if clock::now_ns() / 1_000_000 >= due_ms {
            continue;
        }
        let found = book.find(&login);
        // A worker whose mailbox is full gives up waiting by itself.
        let _told = peers.tell(worker, Message::Call(Call::Tried { ticket, found }));
    }
}
