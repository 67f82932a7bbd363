//! Every exchange that began is counted once, told of once, and for the reason that ended it.

use std::rc::Rc;

use ringgate::telemetry::WorkerCounters;

use crate::entry::Entry;
use crate::pipe::{End, Profile};
use crate::stage::{Stage, Upstream, head, rest};

/// Often enough for one of them to be read in one piece.
const TRAP: &str = "x-panic: read x-panic: read x-panic: read x-panic: read ";
const OPEN: &str = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nsome";

/// Less goes through than any answer has, until it is read.
const NARROW: Profile = Profile { window: 64, ..Profile::FAST };

async fn say(end: &End, text: &str) {
    end.send(text.as_bytes()).await.expect("the gateway listens");
}

fn rejected(counters: &WorkerCounters) -> u64 {
    counters.rejected.iter().map(|one| one.value()).sum()
}

/// What was counted: requests, rejections and aborts.
fn counted(stage: &Stage) -> (u64, u64, u64) {
    let gateway = &stage.gateway;
    (gateway.requests(), gateway.sum(rejected), gateway.sum(|counters| counters.client_aborts.value()))
}

/// The record of the only exchange, as status and reason.
fn told(stage: &Stage) -> (u16, String) {
    let records = stage.gateway.records();
    assert_eq!(records.len(), 1, "one record of one exchange");
    let Entry { status, reason, .. } = &records[0];
    (*status, reason.clone().unwrap_or_default())
}

/// An endpoint that takes what is asked and never answers.
async fn silent(upstream: Upstream) {
    upstream.request().await;
    upstream.note_end().await;
}

#[test]
fn a_client_that_leaves_without_an_answer_is_an_abort_and_no_rejection() {
    let stage = Stage::new(silent);
    let there = Rc::clone(&stage);
    stage.play(async move {
        let client = there.client();
        say(&client, "GET /x HTTP/1.1\r\nHost: a\r\n\r\n").await;
        there.world.sleep_ms(20).await;
        client.reset_on_close();
        drop(client);
        there.world.sleep_ms(600).await;
        assert_eq!(counted(&there), (1, 0, 1));
        assert_eq!(told(&there), (499, "client_abort".to_owned()));
    });
}

/// A refusal stays one, whether or not its client is there to hear it; any other answer of the gateway's own that is not
/// taken is an abort.
#[test]
fn the_log_and_the_counters_agree_on_local_replies_that_nobody_takes() {
    for (request, counts, status, reason) in [
        ("TRACE /x HTTP/1.1\r\nHost: a\r\n\r\n", (1, 1, 0), 405, "method_refused"),
        ("OPTIONS /x HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n\r\n", (1, 0, 1), 200, "client_abort"),
    ] {
        let stage = Stage::new(silent);
        let there = Rc::clone(&stage);
        stage.play(async move {
            let client = there.gateway.accept_at(0, "client".to_owned(), NARROW);
            say(&client, request).await;
            there.world.sleep_ms(20).await;
            client.reset_on_close();
            drop(client);
            there.world.sleep_ms(100).await;
            assert_eq!(counted(&there), counts, "{request}");
            assert_eq!(told(&there), (status, reason.to_owned()));
        });
    }
}

/// An exchange waits for its endpoint, one relays a body whose end only a close shows, and one is refused and not heard:
/// all end with their worker.
#[test]
fn what_a_stopped_worker_gives_up_is_counted_and_told_of() {
    for (request, counts, status, reason) in [
        ("GET /silent HTTP/1.1\r\nHost: a\r\n\r\n", (1, 1, 0), 503, "shutting_down"),
        ("GET /open HTTP/1.0\r\nHost: a\r\n\r\n", (1, 0, 0), 200, "shutting_down"),
        ("TRACE /x HTTP/1.1\r\nHost: a\r\n\r\n", (1, 1, 0), 405, "method_refused"),
    ] {
        let stage = Stage::new(|upstream: Upstream| async move {
            if upstream.request().await.is_some_and(|head| head.starts_with("GET /open ")) {
                upstream.say(OPEN).await;
            }
            upstream.note_end().await;
        });
        let there = Rc::clone(&stage);
        stage.play(async move {
            let client = there.gateway.accept_at(0, "client".to_owned(), NARROW);
            say(&client, request).await;
            there.world.sleep_ms(20).await;
            there.gateway.workers[0].shard().expect("a shard").stop();
            there.world.sleep_ms(1).await;
            let all = counted(&there);
            assert_eq!((all, told(&there)), (counts, (status, reason.to_owned())), "{request}");
            assert_eq!(there.gateway.sum(|counters| counters.requests_active.value()), 0);
            assert_eq!(there.gateway.open(), 0);
            assert_eq!(rest(&client).await.1, request.contains("/open"), "only a reset shows that it is not whole");
        });
    }
}

#[test]
fn what_a_bug_ends_is_counted_and_told_of() {
    let bug = "HTTP/1.1 200 OK\r\nX-Panic: read\r\nContent-Length: 2\r\n\r\nok";
    for (first, then, counts, status) in [(bug, "", (1, 1, 0), 500), (OPEN, TRAP, (1, 0, 0), 200)] {
        let stage = Stage::new(move |upstream: Upstream| async move {
            upstream.request().await;
            upstream.say(first).await;
            upstream.world.sleep_ms(20).await;
            upstream.say(then).await;
            upstream.note_end().await;
        });
        let there = Rc::clone(&stage);
        stage.play(async move {
            let client = there.client();
            say(&client, "GET /x HTTP/1.0\r\nHost: a\r\n\r\n").await;
            if !then.is_empty() {
                head(&client).await.expect("an answer");
            }
            let (_, is_reset) = rest(&client).await;
            assert_eq!(is_reset, !then.is_empty(), "only a reset shows that it is not whole");
            there.world.sleep_ms(20).await;
            assert_eq!((counted(&there), told(&there)), (counts, (status, "internal_error".to_owned())));
            assert_eq!(there.gateway.sum(|counters| counters.requests_active.value()), 0);
        });
    }
}
