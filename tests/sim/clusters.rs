//! Directed tests of clusters: endpoints that fail one another, caps over several workers, changes on the way.

use std::collections::HashSet;
use std::rc::Rc;

use ringgate::limits;

use crate::pipe::End;
use crate::settings::{BreakerSettings, ClusterSettings, MirrorSettings, PassiveSettings, QueueSettings, Settings};
use crate::stage::{Stage, Upstream, response};

const GET: &str = "GET /x HTTP/1.1\r\nHost: a\r\n\r\n";
const BAD: &str = "HTTP/1.1 500 Bad\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

async fn say(end: &End, text: &str) {
    end.send(text.as_bytes()).await.expect("the gateway listens");
}

/// Two endpoints of one cluster.
fn pair() -> Settings {
    Settings::plain([0, 1])
}

#[test]
fn a_response_head_that_a_reset_cuts_is_not_asked_for_again() {
    for resets in [false, true] {
        let stage = Stage::with(1, &pair(), &[(0, 0), (0, 1)], move |upstream: Upstream| async move {
            upstream.request().await;
            upstream.say("HTTP/1.1 200 OK\r\nContent-Le").await;
            upstream.world.sleep_ms(5).await;
            if resets {
                upstream.end.reset_on_close();
            }
        });
        let there = Rc::clone(&stage);
        stage.play(async move {
            let client = there.client();
            say(&client, GET).await;
            let answer = response(&client).await.expect("an answer");
            assert!(answer.starts_with("HTTP/1.1 502 ") && answer.contains("upstream_head_cut"), "{answer}");
            assert_eq!(there.noted().len(), 1);
        });
    }
}

#[test]
fn a_request_that_was_read_whole_keeps_its_connection_when_a_retry_finds_nobody() {
    // The other endpoint refuses connections.
    let stage = Stage::with(1, &pair(), &[(0, 0)], |upstream: Upstream| async move {
        let Some(head) = upstream.request().await else { return };
        if head.starts_with("GET") {
            return upstream.say(OK).await;
        }
        while upstream.end.recv().await.is_ok_and(|bytes| !bytes.ends_with(b"z")) {}
        upstream.end.reset_on_close();
    });
    let there = Rc::clone(&stage);
    stage.play(async move {
        let client = there.client();
        say(&client, "PUT /x HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\na").await;
        there.world.sleep_ms(20).await;
        say(&client, &format!("bcz{GET}")).await;
        let first = response(&client).await.expect("an answer");
        assert!(first.starts_with("HTTP/1.1 502 ") && !first.contains("Connection: close"), "{first}");
        let second = response(&client).await.expect("an answer to the request behind it");
        assert!(second.starts_with("HTTP/1.1 200 "), "{second}");
    });
}

#[test]
fn all_attempts_together_take_no_longer_than_the_request_may() {
    let settings = Settings { request_ms: 500, ..pair() };
    let stage = Stage::with(1, &settings, &[(0, 0), (0, 1)], |upstream: Upstream| async move {
        upstream.request().await;
        if upstream.number == 0 {
            // Half of the time is over when this connection dies.
            upstream.world.sleep_ms(250).await;
            return upstream.end.reset_on_close();
        }
        upstream.note_end().await;
    });
    let there = Rc::clone(&stage);
    stage.play(async move {
        let client = there.client();
        let began_ms = there.world.now_ms();
        say(&client, GET).await;
        let answer = response(&client).await.expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 504 ") && answer.contains("request_timeout"), "{answer}");
        let took_ms = there.world.now_ms() - began_ms;
        assert!(took_ms.abs_diff(500) <= 2 * limits::TICK_MS, "{took_ms}");
    });
}

#[test]
fn the_time_an_upload_takes_is_no_part_of_what_the_request_may_take_nor_of_its_retries() {
    let settings = Settings { request_ms: 500, ..pair() };
    let stage = Stage::with(1, &settings, &[(0, 0), (0, 1)], |upstream: Upstream| async move {
        if upstream.request().await.is_none() {
            return;
        }
        while upstream.end.recv().await.is_ok_and(|bytes| !bytes.ends_with(b"z")) {}
        if upstream.number == 0 {
            upstream.world.sleep_ms(250).await;
            return upstream.end.reset_on_close();
        }
        upstream.note_end().await;
    });
    let there = Rc::clone(&stage);
    stage.play(async move {
        let client = there.client();
        say(&client, "PUT /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\na").await;
        there.world.sleep_ms(800).await;
        say(&client, "bz").await;
        let sent_ms = there.world.now_ms();
        let answer = response(&client).await.expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 504 ") && answer.contains("request_timeout"), "{answer}");
        let took_ms = there.world.now_ms() - sent_ms;
        assert!(took_ms.abs_diff(500) <= 2 * limits::TICK_MS, "{took_ms}");
        assert_eq!(there.noted().iter().filter(|note| note.starts_with("PUT")).count(), 2);
    });
}

/// A breaker that one failure opens, and ejection after one.
fn touchy() -> Settings {
    let mut settings = Settings::plain([0]);
    let app = &mut settings.clusters[0];
    app.breaker = Some(BreakerSettings { min_requests: 20, consecutive: 1, open_ms: 5_000, probes: 1, close_after: 1 });
    app.passive = Some(PassiveSettings { min_requests: 1, eject_ms: 5_000, max_ejected: 100 });
    app.fail_open = false;
    settings
}

#[test]
fn what_a_policy_decides_after_a_reload_took_it_away_keeps_nobody_away() {
    for (keeps_breaker, keeps_passive) in [(false, true), (true, false), (false, false)] {
        let mut before = touchy();
        before.clusters[0].breaker.take_if(|_| keeps_breaker);
        before.clusters[0].passive.take_if(|_| keeps_passive);
        let stage = Stage::with(1, &before, &[(0, 0)], |upstream: Upstream| async move {
            upstream.request().await;
            if upstream.number == 0 {
                // In flight while the configuration changes.
                upstream.world.sleep_ms(200).await;
                return upstream.end.reset_on_close();
            }
            upstream.say(OK).await;
        });
        let there = Rc::clone(&stage);
        stage.play(async move {
            let client = there.client();
            say(&client, GET).await;
            there.world.sleep_ms(50).await;
            let mut after = Settings::plain([0]);
            after.clusters[0].fail_open = false;
            there.gateway.reload(&after, true);
            assert!(response(&client).await.expect("an answer").starts_with("HTTP/1.1 502 "));
            say(&client, GET).await;
            let answer = response(&client).await.expect("an answer");
            assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        });
    }
}

#[test]
fn an_endpoint_that_closed_a_connection_at_rest_is_gone_back_to_when_the_others_are_dead() {
    // Nobody listens at the second endpoint.
    let stage = Stage::with(1, &pair(), &[(0, 0)], |upstream: Upstream| async move {
        upstream.request().await;
        upstream.say(OK).await;
        // The second request comes while the connection is being closed.
        upstream.request().await;
    });
    let there = Rc::clone(&stage);
    stage.play(async move {
        let client = there.client();
        for _ in 0..8 {
            say(&client, GET).await;
            let answer = response(&client).await.expect("an answer");
            assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
            // Until the endpoint that refused is asked again.
            there.world.sleep_ms(400).await;
        }
    });
}

#[test]
fn a_mirror_that_never_answers_neither_delays_nor_fails_what_it_copies() {
    let mut settings = Settings::plain([0]);
    let shadow = ClusterSettings { room: 2, ..settings.clusters[0].clone() };
    settings.clusters.push(shadow);
    settings.mirror = Some(MirrorSettings { room: 2, share: 100 });
    let stage = Stage::with(1, &settings, &[(0, 0), (2, 0)], |upstream: Upstream| async move {
        while upstream.request().await.is_some() {
            if upstream.at == (2, 0) {
                upstream.note("a copy");
                return upstream.note_end().await;
            }
            upstream.say(OK).await;
        }
    });
    let there = Rc::clone(&stage);
    stage.play(async move {
        let client = there.client();
        for _ in 0..3 {
            let asked_ms = there.world.now_ms();
            say(&client, GET).await;
            assert!(response(&client).await.expect("an answer").starts_with("HTTP/1.1 200 "));
            assert!(there.world.now_ms() - asked_ms <= 2);
        }
        there.world.sleep_ms(20).await;
        assert_eq!(there.noted().iter().filter(|note| *note == "a copy").count(), 3);
    });
}

#[test]
fn waiters_of_several_workers_are_served_in_the_order_they_came() {
    let mut settings = Settings::plain([0]);
    settings.request_ms = 10_000;
    settings.clusters[0].cap = 1;
    settings.clusters[0].queue = Some(QueueSettings { max: 10, timeout_ms: 5_000 });
    let stage = Stage::with(3, &settings, &[(0, 0)], |upstream: Upstream| async move {
        while upstream.request().await.is_some() {
            upstream.world.sleep_ms(30).await;
            upstream.say(OK).await;
        }
    });
    let there = Rc::clone(&stage);
    stage.play(async move {
        // They hold on, so that what one worker keeps idle is asked back.
        let order = [0, 1, 2, 1, 0, 2, 0];
        let clients: Vec<_> = order.iter().map(|worker| Rc::new(there.client_of(*worker))).collect();
        for (number, client) in clients.iter().enumerate() {
            say(client, &format!("GET /{number} HTTP/1.1\r\nHost: a\r\n\r\n")).await;
            there.world.sleep_ms(2).await;
        }
        for client in &clients {
            assert!(response(client).await.expect("an answer").starts_with("HTTP/1.1 200 "));
        }
        let expected: Vec<_> = (0..order.len()).map(|number| format!("GET /{number} HTTP/1.1")).collect();
        assert_eq!(there.noted(), expected);
    });
}

/// Workers begin at different places, or the first endpoint would get the first request of each.
#[test]
fn workers_begin_their_turns_at_different_endpoints() {
    const WORKERS: usize = 8;
    let listening = [(0, 0), (0, 1), (0, 2), (0, 3)];
    let stage = Stage::with(WORKERS, &Settings::plain(0..4), &listening, |upstream: Upstream| async move {
        while upstream.request().await.is_some() {
            upstream.note(format!("asked {}", upstream.at.1));
            upstream.say(OK).await;
        }
    });
    let there = Rc::clone(&stage);
    stage.play(async move {
        for worker in 0..WORKERS {
            let client = there.client_of(worker);
            say(&client, GET).await;
            response(&client).await.expect("an answer");
        }
        let firsts: HashSet<_> = there.noted().into_iter().filter(|note| note.starts_with("asked")).collect();
        assert!(firsts.len() > 1, "{firsts:?}");
    });
}

/// An epoch of other addresses comes with every change of a name: shares are exact across them.
#[test]
fn shares_are_exact_across_reloads_that_keep_them() {
    let settings = |endpoints: &[usize]| {
        let mut settings = Settings::plain([0]);
        let mut other = settings.clusters[0].clone();
        other.room = 1;
        settings.clusters.push(other);
        settings.clusters[0].endpoints.truncate(0);
        settings.clusters[0].endpoints.extend(Settings::plain(endpoints.iter().copied()).clusters[0].endpoints.clone());
        settings.split = vec![3, 1];
        settings
    };
    let listening = [(0, 0), (0, 1), (1, 0)];
    let stage = Stage::with(1, &settings(&[0]), &listening, |upstream: Upstream| async move {
        while upstream.request().await.is_some() {
            upstream.note(format!("room {}", upstream.at.0));
            upstream.say(OK).await;
        }
    });
    let there = Rc::clone(&stage);
    stage.play(async move {
        let client = there.client();
        for number in 0..40 {
            say(&client, GET).await;
            response(&client).await.expect("an answer");
            there.gateway.reload(&settings(if number % 2 == 0 { &[0, 1] } else { &[0] }), true);
        }
        let went = |room: &str| there.noted().iter().filter(|note| *note == room).count();
        assert_eq!((went("room 0"), went("room 1")), (30, 10));
    });
}

/// Requirement F2: before retry number i, 100 ms x 2^i x (0.5 to 1).
#[test]
fn the_pause_before_a_retry_doubles_and_is_half_to_whole_of_it() {
    let mut settings = Settings::plain([0]);
    settings.request_ms = 10_000;
    (settings.retry.attempts, settings.retry.on) = (5, vec!["503"]);
    let stage = Stage::with(1, &settings, &[(0, 0)], |upstream: Upstream| async move {
        while upstream.request().await.is_some() {
            upstream.note("asked");
            upstream.say("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n").await;
        }
    });
    let there = Rc::clone(&stage);
    stage.play(async move {
        let mut seen = HashSet::new();
        for round in 0..2 {
            let client = there.client();
            say(&client, GET).await;
            assert!(response(&client).await.expect("an answer").starts_with("HTTP/1.1 503 "));
            let notes = there.notes.borrow();
            let asked: Vec<_> = notes.iter().filter(|(_, note)| note == "asked").map(|(at_ms, _)| *at_ms).collect();
            let attempts = &asked[5 * round..];
            assert_eq!(attempts.len(), 5);
            for (retry, pair) in attempts.windows(2).enumerate() {
                let (pause_ms, whole_ms) = (pair[1] - pair[0], 100 << retry);
                // A tick late at most, and what the bytes take.
                let late_ms = limits::TICK_MS + 5;
                assert!((whole_ms / 2..=whole_ms + late_ms).contains(&pause_ms), "retry {retry}: {pause_ms} ms");
                seen.insert(pause_ms);
            }
        }
        assert!(seen.len() > 4, "they vary: {seen:?}");
    });
}

/// The time that a client takes for its body says nothing of the endpoint, nor does an answer that did not wait for all of it.
#[test]
fn a_slow_upload_leaves_its_endpoint_its_share() {
    for is_early in [false, true] {
        let mut settings = pair();
        settings.clusters[0].balance = "p2c";
        let stage = Stage::with(1, &settings, &[(0, 0), (0, 1)], move |upstream: Upstream| async move {
            while let Some(head) = upstream.request().await {
                upstream.note(format!("asked {}", upstream.at.1));
                let mut left: usize = if head.starts_with("PUT ") { 1_000 } else { 0 };
                while left > if is_early { 200 } else { 0 } {
                    let read = upstream.end.recv().await.map_or(0, |bytes| bytes.len());
                    assert!(read > 0, "{left} bytes of the body are missing");
                    left -= read;
                }
                upstream.world.sleep_ms(1).await;
                upstream.say(OK).await;
            }
        });
        let there = Rc::clone(&stage);
        stage.play(async move {
            let slow = there.client();
            say(&slow, "PUT /x HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n").await;
            for _ in 0..if is_early { 16 } else { 20 } {
                there.world.sleep_ms(100).await;
                say(&slow, &"x".repeat(50)).await;
            }
            assert!(response(&slow).await.expect("an answer").starts_with("HTTP/1.1 200 "));
            let client = there.client();
            for _ in 0..200 {
                say(&client, GET).await;
                response(&client).await.expect("an answer");
            }
            let asked = there.noted().iter().filter(|note| *note == "asked 0").count();
            assert!((70..=130).contains(&asked), "early: {is_early}: {asked} of 201");
        });
    }
}

/// A cap that is taken up by idle connections to the others keeps no endpoint from its trial, nor from its share.
#[test]
fn an_endpoint_that_returns_finds_room_under_a_full_cap() {
    let mut settings = pair();
    settings.clusters[0].cap = 4;
    settings.clusters[0].breaker =
        Some(BreakerSettings { min_requests: 100, consecutive: 1, open_ms: 100, probes: 1, close_after: 1 });
    let stage = Stage::with(1, &settings, &[(0, 0), (0, 1)], |upstream: Upstream| async move {
        let mut is_ill = upstream.at.1 == 1 && upstream.world.now_ms() < 50;
        while upstream.request().await.is_some() {
            upstream.note(format!("asked {}", upstream.at.1));
            upstream.world.sleep_ms(5).await;
            upstream.say(if is_ill { BAD } else { OK }).await;
            is_ill = false;
        }
    });
    let there = Rc::clone(&stage);
    stage.play(async move {
        let client = there.client();
        let ask = async || {
            say(&client, GET).await;
            response(&client).await.expect("an answer")
        };
        while !ask().await.starts_with("HTTP/1.1 500 ") {}
        let crowd: Vec<_> = (0..4).map(|_| there.client()).collect();
        for one in &crowd {
            say(one, GET).await;
        }
        for one in &crowd {
            assert!(response(one).await.expect("an answer").starts_with("HTTP/1.1 200 "));
        }
        there.world.sleep_ms(150).await;
        let before = there.noted().iter().filter(|note| *note == "asked 1").count();
        for _ in 0..40 {
            assert!(ask().await.starts_with("HTTP/1.1 200 "));
        }
        let asked = there.noted().iter().filter(|note| *note == "asked 1").count() - before;
        assert!((15..=25).contains(&asked), "{asked} of 40");
    });
}

#[test]
fn a_cluster_that_comes_back_counts_what_requests_of_before_open_then() {
    let mut with = Settings::plain([0]);
    let shadow = ClusterSettings { room: 2, cap: 1, ..with.clusters[0].clone() };
    with.clusters.push(shadow);
    with.mirror = Some(MirrorSettings { room: 2, share: 100 });
    let without = Settings::plain([0]);
    let stage = Stage::with(1, &with, &[(0, 0), (2, 0)], |upstream: Upstream| async move {
        while upstream.request().await.is_some() {
            upstream.note(format!("asked {}", upstream.at.0));
            upstream.world.sleep_ms(100).await;
            upstream.say(OK).await;
        }
    });
    let there = Rc::clone(&stage);
    stage.play(async move {
        let client = there.client();
        say(&client, GET).await;
        // It holds no connection of the cluster that goes and comes back, and will open one for its copy.
        there.world.sleep_ms(30).await;
        there.gateway.reload(&without, true);
        there.world.sleep_ms(30).await;
        there.gateway.reload(&with, true);
        assert!(response(&client).await.expect("an answer").starts_with("HTTP/1.1 200 "));
        there.world.sleep_ms(50).await;
        assert!(there.noted().contains(&"asked 2".to_owned()), "the copy is under way");
        let counted = there.gateway.inspector.clusters.borrow()[1].state.taken();
        assert_eq!(counted, 1, "and counts where the cap is looked up");
        there.world.sleep_ms(200).await;
    });
}

#[test]
fn an_endpoint_that_is_new_finds_room_under_a_full_cap() {
    let mut before = Settings::plain([0]);
    before.clusters[0].cap = 4;
    let mut after = pair();
    after.clusters[0].cap = 4;
    let stage = Stage::with(1, &before, &[(0, 0), (0, 1)], |upstream: Upstream| async move {
        while upstream.request().await.is_some() {
            upstream.note(format!("asked {}", upstream.at.1));
            upstream.world.sleep_ms(5).await;
            upstream.say(OK).await;
        }
    });
    let there = Rc::clone(&stage);
    stage.play(async move {
        let crowd: Vec<_> = (0..4).map(|_| there.client()).collect();
        for one in &crowd {
            say(one, GET).await;
        }
        for one in &crowd {
            response(one).await.expect("an answer");
        }
        there.gateway.reload(&after, true);
        for _ in 0..400 {
            say(&crowd[0], GET).await;
            assert!(response(&crowd[0]).await.expect("an answer").starts_with("HTTP/1.1 200 "));
        }
        let asked = there.noted().iter().filter(|note| *note == "asked 1").count();
        assert!(asked >= 80, "{asked} of 400");
    });
}
