//! Directed tests of failures: one situation each, at exact virtual times.

use std::rc::Rc;

use ringgate::telemetry::Counter;

use crate::pipe::End;
use crate::settings::{BreakerSettings, HEADER_MS, RESPONSE_HEADER_MS, Settings};
use crate::stage::{Stage, Upstream, head, response, rest};

const GET: &str = "GET /x HTTP/1.1\r\nHost: a\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const TICK_MS: u64 = ringgate::limits::TICK_MS;

async fn say(end: &End, text: &str) {
    end.send(text.as_bytes()).await.expect("the gateway listens");
}

/// Answers every request that has no body.
async fn answer_all(upstream: Upstream) {
    while upstream.request().await.is_some() {
        upstream.say(OK).await;
    }
}

fn assert_about(at_ms: u64, due_ms: u64) {
    assert!(at_ms.abs_diff(due_ms) <= TICK_MS + 2, "at {at_ms} ms, due at {due_ms} ms");
}

#[test]
fn the_header_timeout_counts_from_the_first_byte() {
    let stage = Stage::new(answer_all);
    let there = Rc::clone(&stage);
    stage.play(async move {
        let client = there.client();
        there.world.sleep_ms(50).await;
        let began_ms = there.world.now_ms();
        for byte in ["G", "E", "T", " ", "/"] {
            say(&client, byte).await;
            there.world.sleep_ms(150).await;
        }
        let (text, _) = rest(&client).await;
        assert!(text.starts_with("HTTP/1.1 408 "), "{text}");
        assert_about(there.world.now_ms(), began_ms + HEADER_MS);
    });
}

#[test]
fn a_body_below_the_minimum_rate_is_given_up() {
    let stage = Stage::new(|upstream: Upstream| async move {
        upstream.request().await;
        upstream.note_end().await;
    });
    let there = Rc::clone(&stage);
    stage.play(async move {
        let client = Rc::new(there.client());
        say(&client, "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5000\r\n\r\n").await;
        let (dripping, world) = (Rc::clone(&client), there.world.clone());
        there.world.spawn(async move {
            while dripping.send(b"x").await.is_ok() {
                world.sleep_ms(50).await
            }
        });
        let answer = response(&client).await.expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
        // 20 bytes a second where 100 are asked for: the grace of a second, and what the bytes earn.
        assert!((1_000..1_500).contains(&there.world.now_ms()), "{}", there.world.now_ms());
        there.world.sleep_ms(100).await;
        assert!(there.time_of("gone").is_some());
    });
}

#[test]
fn the_response_header_timeout_is_exact_and_a_slow_upload_does_not_count() {
    let stage = Stage::new(|upstream: Upstream| async move {
        upstream.request().await;
        upstream.note_end().await;
    });
    let there = Rc::clone(&stage);
    stage.play(async move {
        let client = there.client();
        say(&client, "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 600\r\n\r\n").await;
        for _ in 0..6 {
            there.world.sleep_ms(300).await;
            say(&client, &"x".repeat(100)).await;
        }
        let sent_ms = there.world.now_ms();
        let answer = response(&client).await.expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 504 "), "{answer}");
        assert_about(there.world.now_ms(), sent_ms + RESPONSE_HEADER_MS);
    });
}

/// Asks for a 100 and sends what it promised so long after that has come.
async fn upload_when_told(stage: &Stage, takes_ms: u64) -> String {
    let client = stage.client();
    say(&client, "PUT /x HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n").await;
    let first = response(&client).await.expect("an answer");
    if !first.starts_with("HTTP/1.1 100 ") {
        return first;
    }
    stage.world.sleep_ms(takes_ms).await;
    // Who is too late has its answer already.
    let _sent = client.send(b"hello").await;
    response(&client).await.expect("an answer")
}

/// RFC 9110 section 10.1.1: it is for the endpoint to say 100 or what else it has to say, and nobody else's delay until then.
#[test]
fn an_endpoint_that_leaves_an_expectation_unanswered_is_late() {
    let stage = Stage::new(|upstream: Upstream| async move {
        upstream.request().await;
        upstream.note_end().await;
    });
    let there = Rc::clone(&stage);
    stage.play(async move {
        let answer = upload_when_told(&there, 0).await;
        assert!(answer.starts_with("HTTP/1.1 504 ") && answer.contains("upstream_timeout"), "{answer}");
        assert_about(there.world.now_ms(), RESPONSE_HEADER_MS);
    });
}

/// A body has its whole grace of a second from its 100 on.
#[test]
fn a_late_100_is_no_delay_of_the_client() {
    let stage = Stage::new(|upstream: Upstream| async move {
        upstream.request().await;
        upstream.world.sleep_ms(600).await;
        upstream.say("HTTP/1.1 100 Continue\r\n\r\n").await;
        let mut left = 5;
        while left > 0 {
            match upstream.end.recv().await {
                Ok(bytes) if !bytes.is_empty() => left -= bytes.len(),
                _ => return,
            }
        }
        upstream.world.sleep_ms(600).await;
        upstream.say(OK).await;
    });
    let there = Rc::clone(&stage);
    stage.play(async move {
        let answer = upload_when_told(&there, 900).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        let late = upload_when_told(&there, 1_400).await;
        assert!(late.starts_with("HTTP/1.1 408 "), "{late}");
    });
}

#[test]
fn a_client_that_left_cancels_its_request_within_a_second() {
    for resets in [false, true] {
        let stage = Stage::new(|upstream: Upstream| async move {
            upstream.request().await;
            upstream.note_end().await;
        });
        let there = Rc::clone(&stage);
        stage.play(async move {
            let client = there.client();
            say(&client, GET).await;
            there.world.sleep_ms(20).await;
            if resets {
                client.reset_on_close();
            }
            drop(client);
            there.world.sleep_ms(600).await;
            assert!(there.time_of("gone").is_some(), "cancelled before the response timeout, reset: {resets}");
            let records = there.gateway.records();
            assert_eq!((records.len(), records[0].status), (1, 499));
            assert_eq!(there.gateway.sum(|counters| counters.client_aborts.value()), 1);
        });
    }
}

#[test]
fn a_half_closed_client_still_gets_its_response() {
    let stage = Stage::new(|upstream: Upstream| async move {
        upstream.request().await;
        upstream.world.sleep_ms(500).await;
        upstream.say(OK).await;
    });
    let there = Rc::clone(&stage);
    stage.play(async move {
        let client = there.client();
        say(&client, GET).await;
        client.end_write();
        let (text, is_reset) = rest(&client).await;
        let last = text.rsplit("HTTP/1.1 ").next().unwrap_or_default();
        assert!(last.starts_with("200 OK") && last.ends_with("\r\n\r\nok") && !is_reset, "{text}");
    });
}

#[test]
fn a_half_closed_client_is_told_that_the_endpoint_timed_out() {
    let stage = Stage::new(|upstream: Upstream| async move {
        upstream.request().await;
        upstream.note_end().await;
    });
    let there = Rc::clone(&stage);
    stage.play(async move {
        let client = there.client();
        say(&client, GET).await;
        client.end_write();
        let (text, _) = rest(&client).await;
        assert!(text.contains("HTTP/1.1 504 "), "{text}");
    });
}

#[test]
fn a_failure_behind_an_interim_response_is_told() {
    let stage = Stage::new(|upstream: Upstream| async move {
        upstream.request().await;
        upstream.say("HTTP/1.1 103 Early Hints\r\n\r\n").await;
        upstream.world.sleep_ms(5).await;
    });
    let there = Rc::clone(&stage);
    stage.play(async move {
        let client = there.client();
        say(&client, GET).await;
        assert!(head(&client).await.expect("an interim head").starts_with("HTTP/1.1 103 "));
        let answer = response(&client).await.expect("a final answer");
        assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    });
}

#[test]
fn a_truncated_response_is_followed_by_nothing() {
    let stage = Stage::new(|upstream: Upstream| async move {
        upstream.request().await;
        upstream.say("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n0123456789").await;
    });
    let there = Rc::clone(&stage);
    stage.play(async move {
        let client = there.client();
        say(&client, GET).await;
        let (text, _) = rest(&client).await;
        assert!(text.starts_with("HTTP/1.1 200 OK") && text.ends_with("\r\n\r\n0123456789"), "{text}");
    });
}

#[test]
fn a_pooled_connection_that_died_is_noticed_before_it_is_used() {
    let stage = Stage::new(|upstream: Upstream| async move {
        upstream.request().await;
        upstream.say(OK).await;
        upstream.world.sleep_ms(5).await;
    });
    let there = Rc::clone(&stage);
    stage.play(async move {
        let client = there.client();
        for _ in 0..3 {
            say(&client, "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n").await;
            assert!(response(&client).await.expect("an answer").starts_with("HTTP/1.1 200 "));
            there.world.sleep_ms(25).await;
        }
        assert_eq!(there.noted(), ["POST /x HTTP/1.1"; 3]);
        assert_eq!(there.gateway.sum(|counters| counters.retries.iter().map(Counter::value).sum()), 0);
    });
}

/// Serves one request well; the second one on a connection kills it.
async fn die_on_second(upstream: Upstream) {
    upstream.request().await;
    upstream.say(OK).await;
    upstream.request().await;
}

#[test]
fn a_reused_connection_that_dies_is_replaced_once_for_get_and_never_for_post() {
    for (method, expected, reached) in [("GET", "HTTP/1.1 200 ", 3), ("POST", "HTTP/1.1 502 ", 2)] {
        let stage = Stage::new(die_on_second);
        let there = Rc::clone(&stage);
        stage.play(async move {
            let client = there.client();
            let request = format!("{method} /x HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
            say(&client, &request).await;
            assert!(response(&client).await.expect("an answer").starts_with("HTTP/1.1 200 "));
            there.world.sleep_ms(15).await;
            say(&client, &request).await;
            let answer = response(&client).await.expect("an answer");
            assert!(answer.starts_with(expected), "{answer}");
            assert_eq!(there.noted().len(), reached);
        });
    }
}

#[test]
fn an_early_refusal_is_relayed_although_the_upload_broke() {
    let stage = Stage::new(|upstream: Upstream| async move {
        upstream.request().await;
        upstream.say("HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno").await;
    });
    let there = Rc::clone(&stage);
    stage.play(async move {
        let client = Rc::new(there.client());
        say(&client, "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 900000\r\n\r\n").await;
        let writer = Rc::clone(&client);
        there.world.spawn(async move { drop(writer.send(&vec![b'x'; 900_000]).await) });
        let answer = response(&client).await.expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 401 ") && answer.ends_with("no"), "{answer}");
        assert!(answer.contains("Connection: close\r\n"), "{answer}");
    });
}

/// A client may give a call as little time as it likes; others must not lose the endpoint for it.
#[test]
fn a_call_whose_own_time_is_over_says_nothing_against_its_endpoint() {
    let mut settings = Settings::plain([0]);
    settings.clusters[0].breaker =
        Some(BreakerSettings { min_requests: 100, consecutive: 1, open_ms: 10_000, probes: 1, close_after: 1 });
    let stage = Stage::with(1, &settings, &[(0, 0)], |upstream: Upstream| async move {
        while let Some(head) = upstream.request().await {
            if head.starts_with("POST ") {
                return upstream.world.sleep_ms(300).await;
            }
            upstream.say(OK).await;
        }
    });
    let there = Rc::clone(&stage);
    stage.play(async move {
        for _ in 0..3 {
            let hasty = there.client();
            say(
                &hasty,
                "POST /call HTTP/1.1\r\nHost: a\r\nContent-Type: application/grpc\r\nTE: trailers\r\nConnection: TE\r\n\
                 Grpc-Timeout: 50m\r\nContent-Length: 0\r\n\r\n",
            )
            .await;
            let answer = head(&hasty).await.expect("an answer").to_ascii_lowercase();
            assert!(answer.contains("\r\ngrpc-status: 4\r\n"), "{answer}");
        }
        let client = there.client();
        say(&client, GET).await;
        let answer = response(&client).await.expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    });
}

/// Which is no reason to spare another one, that was only slow before.
#[test]
fn a_retry_behind_a_death_may_go_to_an_endpoint_that_was_late() {
    let mut settings = Settings::plain([0, 1]);
    settings.clusters[0].endpoints[1].priority = 1;
    (settings.retry.attempts, settings.retry.on, settings.retry.backoff_ms) =
        (4, vec!["connect", "reset", "timeout"], 1);
    let stage = Stage::with(1, &settings, &[(0, 0), (0, 1)], |upstream: Upstream| async move {
        upstream.request().await;
        match upstream.number {
            0 => upstream.note_end().await,
            1 => {}
            _ => upstream.say(OK).await,
        }
    });
    let there = Rc::clone(&stage);
    stage.play(async move {
        let client = there.client();
        say(&client, GET).await;
        let answer = response(&client).await.expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    });
}

/// What killed a fresh connection is not asked again, also when a timeout before would have allowed that.
#[test]
fn a_retry_behind_a_timeout_spares_the_endpoint_that_died_in_between() {
    let mut settings = Settings::plain([0, 1]);
    settings.clusters[0].endpoints[1].priority = 1;
    (settings.retry.attempts, settings.retry.on, settings.retry.backoff_ms) =
        (4, vec!["connect", "reset", "timeout"], 1);
    // Nobody listens at the other one.
    let stage = Stage::with(1, &settings, &[(0, 0)], |upstream: Upstream| async move {
        upstream.request().await;
        if upstream.number == 0 {
            upstream.note_end().await;
        }
    });
    let there = Rc::clone(&stage);
    stage.play(async move {
        let client = there.client();
        say(&client, GET).await;
        let answer = response(&client).await.expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
        assert_eq!(there.noted(), ["GET /x HTTP/1.1", "gone", "GET /x HTTP/1.1"]);
    });
}
