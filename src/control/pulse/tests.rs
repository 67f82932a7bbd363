use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::Value;
use tokio::time::timeout;

use super::*;
use crate::control::board::tests::board;
use crate::limits;

const PATIENCE: Duration = Duration::from_secs(10);

/// The kind of the next event, and what it says.
async fn next(listener: &mut Listener) -> (String, Value) {
    let event = timeout(PATIENCE, listener.next()).await.expect("in time").expect("more");
    let text = std::str::from_utf8(&event).unwrap();
    let (kind, told) = text.strip_suffix("\n\n").unwrap().split_once("\ndata: ").unwrap();
    (kind.strip_prefix("event: ").unwrap().to_owned(), serde_json::from_str(told).unwrap())
}

#[tokio::test]
async fn who_listens_is_told_of_the_past_then_of_now_and_then_of_every_second() {
    let pulse = Pulse::start(Arc::new(board()));
    let mut listener = pulse.listen().unwrap();
    let (kind, past) = next(&mut listener).await;
    assert_eq!((kind.as_str(), past["seconds"].as_array().unwrap().len()), ("past", 0));
    let bounds = past["heat_bounds_us"].as_array().unwrap();
    assert_eq!((bounds.len(), bounds[0].as_f64()), (113, Some(0.0)));
    let (kind, now) = next(&mut listener).await;
    assert_eq!((kind.as_str(), &now["second"]), ("frame", &Value::Null));
    pulse.inner.board.seats()[0].counters.on_exchange(0, 500, None, None, 1_000_000);
    let second = loop {
        let second = next(&mut listener).await.1["second"].clone();
        if !second.is_null() {
            break second;
        }
    };
    assert_eq!((&second["beat"], &second["latency"]["count"]), (&1.into(), &1.into()), "{second}");
    assert!(second["errors_per_second"].as_f64().unwrap() > 0.0, "{second}");
}

/// Every route has been busy, so that there is a lot to read.
#[tokio::test]
async fn others_have_their_turn_while_all_latencies_are_read() {
    let pulse = Pulse::start(Arc::new(board()));
    for route in 0..limits::ROUTE_SERIES {
        pulse.inner.board.seats()[0].counters.on_exchange(0, 200, Some(route), None, 1_000_000);
    }
    let turns = AtomicU64::new(0);
    let others = async {
        loop {
            tokio::task::yield_now().await;
            turns.fetch_add(1, Ordering::Relaxed);
        }
    };
    let page = tokio::select! {
        page = pulse.latency() => serde_json::to_value(page.expect("it does not end")).unwrap(),
        () = others => unreachable!("it goes on and on"),
    };
    assert_eq!(page["routes"].as_array().map(Vec::len), Some(limits::ROUTE_SERIES));
    assert!(turns.load(Ordering::Relaxed) > 1);
    for _ in 0..4 {
        mark(Arc::clone(&pulse.inner), clock::now_ns()).await;
    }
    let all = &serde_json::to_value(pulse.latency().await.expect("it does not end")).unwrap()["all"];
    assert_eq!((&all["minute"]["count"], &all["since_start"]["count"]), (&0.into(), &limits::ROUTE_SERIES.into()));
}

#[tokio::test]
async fn a_change_is_told_without_waiting_for_the_next_second() {
    let pulse = Pulse::start(Arc::new(board()));
    let mut listener = pulse.listen().unwrap();
    next(&mut listener).await;
    let mut last = next(&mut listener).await.1;
    let told_between_beats = async {
        for epoch in 1.. {
            pulse.inner.board.on_policy_published(epoch, 1);
            let told = next(&mut listener).await.1;
            // Two frames of one second: the later one came because of the change.
            if told["second"] == last["second"] && told["gateway"]["epoch"] == epoch {
                return;
            }
            last = told;
        }
    };
    timeout(PATIENCE, told_between_beats).await.expect("not only once a second");
}

#[tokio::test]
async fn so_many_may_listen_and_one_who_leaves_makes_room() {
    let pulse = Pulse::start(Arc::new(board()));
    let mut all: Vec<Listener> = (0..LISTENERS).map(|_| pulse.listen().unwrap()).collect();
    assert!(pulse.listen().is_none());
    all.pop();
    assert!(pulse.listen().is_some());
}

#[tokio::test]
async fn the_end_is_told_to_everybody() {
    let pulse = Pulse::start(Arc::new(board()));
    let mut listener = pulse.listen().unwrap();
    pulse.stop();
    timeout(PATIENCE, async { while listener.next().await.is_some() {} }).await.expect("an end");
}

#[tokio::test]
async fn who_asks_too_seldom_misses_frames_and_not_the_last_one() {
    let pulse = Pulse::start(Arc::new(board()));
    let mut listener = pulse.listen().unwrap();
    for _ in 0..2 {
        next(&mut listener).await;
    }
    for epoch in 1..=3 {
        pulse.inner.board.on_policy_published(epoch, 1);
        let mut other = pulse.listen().unwrap();
        while next(&mut other).await.1["gateway"]["epoch"] != epoch {}
        // The other one may have been told by its first frame: wait for the one that goes to everybody.
        timeout(PATIENCE, other.frames.changed()).await.expect("in time").expect("more");
    }
    let epoch = next(&mut listener).await.1["gateway"]["epoch"].as_u64().unwrap();
    assert_eq!(epoch, 3);
}
