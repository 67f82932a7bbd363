//! Directed tests of bodies, connections that end, and changes of the gateway while it works.

use std::rc::Rc;

use crate::pipe::{End, Profile};
use crate::settings::Settings;
use crate::stage::{Stage, Upstream, head, response, rest};

const GET: &str = "GET /x HTTP/1.1\r\nHost: a\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

async fn say(end: &End, text: &str) {
    end.send(text.as_bytes()).await.expect("the gateway listens");
}

/// Reads a request with a body of that many bytes, notes both, answers.
async fn take_upload(upstream: Upstream) {
    while let Some(head) = upstream.request().await {
        let length: usize = head
            .lines()
            .find_map(|line| line.strip_prefix("Content-Length: "))
            .map_or(0, |text| text.parse().expect("a number"));
        let mut body = Vec::new();
        while body.len() < length {
            match upstream.end.recv().await {
                Ok(more) if !more.is_empty() => body.extend(more),
                _ => return upstream.note(format!("cut at {}", body.len())),
            }
        }
        upstream.note(String::from_utf8_lossy(&body));
        upstream.say(OK).await;
    }
}

#[test]
fn a_body_that_fills_the_buffer_of_its_head_arrives_whole() {
    let body: String = (0..20_000).map(|at| char::from(b'a' + u8::try_from(at % 23).unwrap())).collect();
    for length in [100, 15_900, 16_100, 16_250, 16_350, 20_000] {
        let stage = Stage::new(take_upload);
        let (there, body) = (Rc::clone(&stage), body[..length].to_owned());
        stage.play(async move {
            let client = there.client();
            say(&client, &format!("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{body}")).await;
            let answer = there.world.within(500, response(&client)).await.flatten();
            assert!(answer.is_some_and(|answer| answer.starts_with("HTTP/1.1 200 ")), "length {length}");
            assert!(there.noted()[1] == body, "length {length}");
        });
    }
}

#[test]
fn a_request_whose_body_is_still_arriving_is_not_replayed_with_a_hole() {
    let stage = Stage::new(|upstream: Upstream| async move {
        if upstream.number > 0 {
            return take_upload(upstream).await;
        }
        upstream.request().await;
        upstream.say(OK).await;
        // The second request: its head is there, its body is not, and the connection dies.
        upstream.request().await;
        upstream.world.sleep_ms(5).await;
    });
    let there = Rc::clone(&stage);
    stage.play(async move {
        let client = there.client();
        say(&client, GET).await;
        assert!(response(&client).await.is_some());
        there.world.sleep_ms(20).await;
        say(&client, "PUT /x HTTP/1.1\r\nHost: a\r\nContent-Length: 30\r\n\r\n").await;
        // The body begins right when the first attempt is given up, and with it a read of the client.
        there.world.sleep_ns(5_050_000).await;
        for piece in 0..30 {
            if client.send(&[b'a' + piece % 26]).await.is_err() {
                break;
            }
            there.world.sleep_ns(100_000).await;
        }
        let answer = there.world.within(3_000, response(&client)).await.flatten();
        let whole: String = (0..30).map(|at| char::from(b'a' + at % 26)).collect();
        let noted = there.noted();
        let is_replayed = noted.contains(&whole);
        let is_refused = answer.as_ref().is_some_and(|answer| answer.starts_with("HTTP/1.1 502 "));
        assert!(is_replayed || is_refused, "{answer:?} {noted:?}");
    });
}

#[test]
fn nothing_is_served_behind_a_response_that_says_close() {
    let stage = Stage::new(|upstream: Upstream| async move {
        while let Some(head) = upstream.request().await {
            if head.starts_with("POST") {
                upstream.world.sleep_ms(30).await;
                return;
            }
            upstream.say(OK).await;
        }
    });
    let there = Rc::clone(&stage);
    stage.play(async move {
        let client = there.client();
        say(&client, "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n").await;
        there.world.sleep_ms(2).await;
        say(&client, "1\r\nx\r\n0\r\n\r\n").await;
        say(&client, GET).await;
        let first = response(&client).await.expect("an answer");
        assert!(first.starts_with("HTTP/1.1 502 "), "{first}");
        let (more, _) = there.world.within(2_500, rest(&client)).await.unwrap_or(("(open)".to_owned(), false));
        let goes_on = more.starts_with("HTTP/1.1 200 ");
        assert_eq!(first.contains("Connection: close"), !goes_on, "{first} and then {more}");
    });
}

#[test]
fn the_last_response_before_a_drain_survives_the_requests_behind_it() {
    let stage = Stage::new(|upstream: Upstream| async move {
        upstream.request().await;
        upstream.world.sleep_ms(100).await;
        upstream.say(OK).await;
    });
    let there = Rc::clone(&stage);
    stage.play(async move {
        let client = there.gateway.accept("client".to_owned(), Profile { reset_discards: true, ..Profile::FAST });
        say(&client, GET).await;
        there.world.sleep_ms(20).await;
        say(&client, GET).await;
        there.gateway.drain();
        there.world.sleep_ms(500).await;
        let answer = response(&client).await.expect("an answer that no reset took away");
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("Connection: close"), "{answer}");
    });
}

#[test]
fn a_connection_with_unasked_bytes_is_not_reused() {
    let stage = Stage::new(|upstream: Upstream| async move {
        upstream.request().await;
        upstream.end.conn.on_answered();
        upstream.say(OK).await;
        upstream.world.sleep_ns(200_000).await;
        upstream.say("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison").await;
        upstream.note_end().await;
    });
    let there = Rc::clone(&stage);
    stage.play(async move {
        let client = there.client();
        for _ in 0..2 {
            say(&client, GET).await;
            let answer = response(&client).await.expect("an answer");
            assert!(answer.ends_with("ok"), "{answer}");
            there.world.sleep_ms(1).await;
        }
    });
}

/// A request that was sent before its client could know is answered, as the last one of its connection; who rests on is
/// closed when the time is over, and not before.
#[test]
fn a_drain_waits_a_while_for_requests_that_are_on_their_way() {
    let stage = Stage::new(|upstream: Upstream| async move {
        while upstream.request().await.is_some() {
            upstream.say(OK).await;
        }
    });
    let there = Rc::clone(&stage);
    stage.play(async move {
        let (fresh, resting, parked, idle) = (there.client(), there.client(), there.client(), there.client());
        for client in [&parked, &idle] {
            say(client, GET).await;
            assert!(response(client).await.is_some());
        }
        there.world.sleep_ms(300).await;
        say(&resting, GET).await;
        assert!(response(&resting).await.is_some());
        let drained_ms = there.world.now_ms();
        there.gateway.drain_after(500);
        there.world.sleep_ms(400).await;
        assert_eq!(there.gateway.open(), 4, "nobody is closed yet");
        for late in [&fresh, &resting, &parked] {
            say(late, GET).await;
            let answer = response(late).await.expect("an answer");
            assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("Connection: close"), "{answer}");
            assert_eq!(rest(late).await.0, "");
        }
        assert_eq!(rest(&idle).await, (String::new(), false));
        let waited_ms = there.world.now_ms() - drained_ms;
        assert!((500..=520).contains(&waited_ms), "{waited_ms} ms");
        drop((fresh, resting, parked, idle));
        there.world.sleep_ms(50).await;
        assert_eq!(there.gateway.open(), 0);
    });
}

/// F41: who was told that the connection persists, and learns the end of the answer after the grace of those that rested when
/// the drain began, has as long as they.
#[test]
fn a_connection_that_comes_to_rest_in_a_drain_is_waited_for_as_well() {
    let stage = Stage::new(|upstream: Upstream| async move {
        while let Some(head) = upstream.request().await {
            if head.starts_with("GET /long") {
                upstream.say("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nb").await;
                for byte in ["e", "e", "n"] {
                    upstream.world.sleep_ms(250).await;
                    upstream.say(byte).await;
                }
            } else {
                upstream.say(OK).await;
            }
        }
    });
    let there = Rc::clone(&stage);
    stage.play(async move {
        let (late, idle) = (there.client(), there.client());
        for client in [&late, &idle] {
            say(client, "GET /long HTTP/1.1\r\nHost: a\r\n\r\n").await;
        }
        there.world.sleep_ms(50).await;
        there.gateway.drain_after(500);
        for client in [&late, &idle] {
            let answer = response(client).await.expect("an answer");
            assert!(answer.ends_with("been") && !answer.contains("Connection: close"), "{answer}");
        }
        let ended_ms = there.world.now_ms();
        there.world.sleep_ms(20).await;
        say(&late, GET).await;
        let answer = response(&late).await.expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("Connection: close"), "{answer}");
        assert_eq!(rest(&late).await.0, "");
        assert_eq!(rest(&idle).await, (String::new(), false));
        let waited_ms = there.world.now_ms() - ended_ms;
        assert!((500..=520).contains(&waited_ms), "{waited_ms} ms");
    });
}

#[test]
fn a_drain_closes_idle_connections_at_once_and_busy_ones_after_their_response() {
    let stage = Stage::new(|upstream: Upstream| async move {
        while let Some(head) = upstream.request().await {
            if head.starts_with("GET /slow") {
                upstream.world.sleep_ms(400).await;
            }
            upstream.say(OK).await;
        }
    });
    let there = Rc::clone(&stage);
    stage.play(async move {
        let (fresh, resting, parked, busy) = (there.client(), there.client(), there.client(), there.client());
        say(&parked, GET).await;
        assert!(response(&parked).await.is_some());
        there.world.sleep_ms(300).await;
        say(&resting, GET).await;
        assert!(response(&resting).await.is_some());
        say(&busy, "GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").await;
        there.world.sleep_ms(50).await;
        let drained_ms = there.world.now_ms();
        there.gateway.drain();
        for idle in [&fresh, &resting, &parked] {
            assert_eq!(rest(idle).await, (String::new(), false));
        }
        assert!(there.world.now_ms() <= drained_ms + 2);
        let answer = response(&busy).await.expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("Connection: close"), "{answer}");
        assert_eq!(rest(&busy).await.0, "");
        drop(busy);
        there.world.sleep_ms(50).await;
        assert_eq!(there.gateway.open(), 0);
    });
}

#[test]
fn a_snapshot_is_retired_once_its_exchanges_ended() {
    let stage = Stage::new(|upstream: Upstream| async move {
        while upstream.request().await.is_some() {
            upstream.world.sleep_ms(300).await;
            upstream.say(OK).await;
        }
    });
    let there = Rc::clone(&stage);
    stage.play(async move {
        let client = there.client();
        say(&client, GET).await;
        there.world.sleep_ms(50).await;
        there.gateway.reload(&Settings::plain([0]), true);
        there.world.sleep_ms(50).await;
        assert!(there.gateway.publisher.borrow().is_adopted());
        assert_eq!(there.gateway.publisher.borrow_mut().retire(), 2, "an exchange still runs on the old one");
        assert!(response(&client).await.is_some());
        there.world.sleep_ms(20).await;
        assert_eq!(there.gateway.publisher.borrow_mut().retire(), 1);
        assert_eq!(there.gateway.records()[0].epoch, 1);
    });
}

#[test]
fn a_truncated_answer_never_looks_complete_to_a_client_without_chunks() {
    for cut in ["HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", "HTTP/1.1 200 OK\r\n\r\nhello"] {
        let stage = Stage::new(move |upstream: Upstream| async move {
            upstream.request().await;
            upstream.say(cut).await;
            upstream.world.sleep_ms(20).await;
            upstream.end.reset_on_close();
        });
        let there = Rc::clone(&stage);
        stage.play(async move {
            let client = there.client();
            say(&client, "GET /x HTTP/1.0\r\nHost: a\r\n\r\n").await;
            assert!(head(&client).await.expect("a head").starts_with("HTTP/1.1 200 "));
            let (content, is_reset) = rest(&client).await;
            assert!(content == "hello" && is_reset, "{content}, reset: {is_reset}");
        });
    }
}

const ASKS_FOR_TUNNEL: &str = "GET /x HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

/// The time that an endpoint has for its last words begins when its client has ended, however long both were silent.
#[test]
fn an_endpoint_may_still_answer_a_client_that_ends_its_direction_of_a_quiet_tunnel() {
    for (answers_after_ms, answer) in [(10_000, "bye"), (40_000, "")] {
        let stage = Stage::new(move |upstream: Upstream| async move {
            upstream.request().await;
            upstream.say(SWITCH).await;
            assert!(upstream.end.recv().await.is_ok_and(|bytes| bytes.is_empty()), "the end of the client");
            upstream.world.sleep_ms(answers_after_ms).await;
            upstream.say("bye").await;
        });
        let there = Rc::clone(&stage);
        stage.play(async move {
            let client = there.client();
            say(&client, ASKS_FOR_TUNNEL).await;
            assert!(head(&client).await.expect("a switch").starts_with("HTTP/1.1 101 "));
            there.world.sleep_ms(25_000).await;
            client.end_write();
            assert_eq!(rest(&client).await.0, answer, "after {answers_after_ms} ms");
        });
    }
}

#[test]
fn what_comes_early_for_a_tunnel_goes_while_its_endpoint_speaks() {
    const EARLY: usize = 6_000;
    let narrow = Profile { window: 2_000, ..Profile::FAST };
    let stage = Stage::over(narrow, 1, &Settings::plain([0]), &[(0, 0)], |upstream: Upstream| async move {
        upstream.request().await;
        upstream.say(SWITCH).await;
        while let Ok(bytes) = upstream.end.recv().await {
            if bytes.is_empty() || upstream.end.send(&bytes).await.is_err() {
                return;
            }
        }
    });
    let there = Rc::clone(&stage);
    stage.play(async move {
        let client = there.client();
        say(&client, &format!("{ASKS_FOR_TUNNEL}{}", "x".repeat(EARLY))).await;
        assert!(head(&client).await.expect("a switch").starts_with("HTTP/1.1 101 "));
        let mut echoed = 0;
        while echoed < EARLY {
            let more = there.world.within(500, client.recv()).await.and_then(Result::ok).unwrap_or_default();
            assert!(!more.is_empty(), "{echoed} of {EARLY} bytes came back");
            echoed += more.len();
        }
    });
}
