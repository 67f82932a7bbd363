//! Where the questions of workers to stores arrive and their answers leave.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::Store;
use crate::limits::STORE_ASKS;
use crate::policy::limit::StoreError;
use crate::worker::{Call, Message, Peers, StoreAsk};

/// Where workers leave questions to stores; answers go to their mailboxes. It ends with the runtime.
pub(in super::super) fn open(peers: Peers) -> mpsc::Sender<StoreAsk> {
    let (sender, inbox) = mpsc::channel(STORE_ASKS);
    drop(tokio::spawn(answer_all(inbox, peers)));
    sender
}

async fn answer_all(mut inbox: mpsc::Receiver<StoreAsk>, peers: Peers) {
    let mut stores: HashMap<Arc<str>, Option<Arc<Store>>> = HashMap::new();
    while let Some(ask) = inbox.recv().await {
        // The checker has looked at the URL, so that there is one.
        let store =
            stores.entry(Arc::clone(&ask.store)).or_insert_with_key(|url| Store::new(url).ok().map(Arc::new)).clone();
        let peers = peers.clone();
        drop(tokio::spawn(async move {
            let result = match store {
                Some(store) => store.charge(&ask.charge, Duration::from_millis(ask.patience_ms)).await,
                None => Err(StoreError::Unreachable),
            };
            // A worker whose mailbox is full gives up waiting by itself.
            let _told = peers.tell(ask.worker, Message::Call(Call::Answered { ticket: ask.ticket, result }));
        }));
    }
}
