//! Directed tests of queues: whoever waits for a connection goes where the balancer says, as if there had been room.

use std::rc::Rc;

use futures_util::future::join_all;

use crate::mailbox::Hearing;
use crate::pipe::{End, Profile};
use crate::settings::{BreakerSettings, MirrorSettings, QueueSettings, Settings};
use crate::stage::{Stage, Upstream, response};

const GET: &[u8] = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n";
const BAD: &str = "HTTP/1.1 500 Bad\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
const LAST: &str = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// Two endpoints with fewer connections than there are clients; one failure keeps an endpoint away for a while.
fn crowded(cap: usize) -> Settings {
    let mut settings = Settings::plain([0, 1]);
    settings.request_ms = 10_000;
    let app = &mut settings.clusters[0];
    (app.cap, app.queue) = (cap, Some(QueueSettings { max: 50, timeout_ms: 5_000 }));
    app.breaker = Some(BreakerSettings { min_requests: 100, consecutive: 1, open_ms: 100, probes: 1, close_after: 1 });
    settings
}

/// Answers what it is asked; the endpoint `ill` fails on connections of the first moment.
async fn serve(upstream: Upstream, ill: usize) {
    let is_ill = upstream.at.1 == ill && upstream.world.now_ms() < 50;
    while upstream.request().await.is_some() {
        upstream.note(format!("asked {}", upstream.at.1));
        upstream.world.sleep_ms(5).await;
        upstream.say(if is_ill { BAD } else { OK }).await;
    }
}

async fn ask(there: &Stage, end: &End) -> String {
    end.send(GET).await.expect("the gateway listens");
    there.world.within(10_000, response(end)).await.flatten().expect("an answer")
}

/// Clients that ask again as soon as they are answered.
async fn crowd(there: &Stage, clients: usize, times: usize) {
    let asks_on = async |_| {
        let client = there.client();
        for _ in 0..times {
            let answer = ask(there, &client).await;
            assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        }
    };
    join_all((0..clients).map(asks_on)).await;
}

/// Who was asked, in order.
fn asked(there: &Stage) -> Vec<String> {
    there.noted().into_iter().filter(|note| note.starts_with("asked")).collect()
}

fn share_of(asked: &[String], endpoint: usize) -> usize {
    asked.iter().filter(|note| **note == format!("asked {endpoint}")).count()
}

/// The queue never empties, so that no connection ever rests: each goes from hand to hand.
#[test]
fn an_endpoint_that_returns_finds_room_behind_a_queue() {
    let stage = Stage::with(1, &crowded(2), &[(0, 0), (0, 1)], |upstream| serve(upstream, 1));
    let there = Rc::clone(&stage);
    stage.play(async move {
        let first = there.client();
        while !ask(&there, &first).await.starts_with("HTTP/1.1 500 ") {}
        drop(first);
        let before = asked(&there).len();
        crowd(&there, 5, 100).await;
        let asked = asked(&there);
        let returned = share_of(&asked[before..], 1);
        assert!((100..=400).contains(&returned), "{returned} of 500");
    });
}

#[test]
fn the_better_tier_is_gone_back_to_behind_a_queue() {
    let mut settings = crowded(2);
    settings.clusters[0].endpoints[1].priority = 1;
    let stage = Stage::with(1, &settings, &[(0, 0), (0, 1)], |upstream| serve(upstream, 0));
    let there = Rc::clone(&stage);
    stage.play(async move {
        let first = there.client();
        assert!(ask(&there, &first).await.starts_with("HTTP/1.1 500 "));
        drop(first);
        crowd(&there, 5, 40).await;
        let asked = asked(&there);
        assert!(share_of(&asked[..20], 1) > 15, "it fails over: {asked:?}");
        assert_eq!(share_of(&asked[100..], 1), 0, "and back: {asked:?}");
    });
}

/// Where connections are as the balancer would have them, they stay, though the one that comes free is mostly not the one that
/// it names.
#[test]
fn connections_to_equal_endpoints_stay_open_behind_a_queue() {
    let stage = Stage::with(1, &crowded(8), &[(0, 0), (0, 1)], |upstream: Upstream| async move {
        upstream.note("opened");
        let mut takes_ms = 1;
        while upstream.request().await.is_some() {
            upstream.note(format!("asked {}", upstream.at.1));
            takes_ms = (takes_ms * 5 + upstream.world.now_ms()) % 11 + 1;
            upstream.world.sleep_ms(takes_ms).await;
            upstream.say(OK).await;
        }
    });
    let there = Rc::clone(&stage);
    stage.play(async move {
        crowd(&there, 24, 100).await;
        let (asked, noted) = (asked(&there), there.noted());
        let opened = noted.iter().filter(|note| *note == "opened").count();
        assert!(opened < 24, "{opened} connections for {} requests", asked.len());
        let one = share_of(&asked, 0);
        assert!((1000..=1400).contains(&one), "{one} of {}", asked.len());
    });
}

/// One endpoint ends its connections with each answer, the other with the third: of four requests one uses an open connection
/// in the place of the first, and the next one for that finds a place to open one. By that it has what it was passed over for,
/// and nobody's connection is closed besides.
#[test]
fn a_place_that_came_free_settles_what_an_endpoint_is_owed() {
    closes_none_for_what_is_settled(4, 100);
}

/// So does one that comes free while nobody waits.
#[test]
fn a_place_that_is_free_settles_it_too() {
    closes_none_for_what_is_settled(1, 400);
}

fn closes_none_for_what_is_settled(clients: usize, requests_each: usize) {
    let mut settings = crowded(1);
    settings.clusters[0].balance = "round_robin";
    let stage = Stage::with(1, &settings, &[(0, 0), (0, 1)], |upstream: Upstream| async move {
        let answers = if upstream.at.1 == 0 { &[OK, OK, LAST][..] } else { &[LAST] };
        for answer in answers {
            if upstream.request().await.is_none() {
                return upstream.note("closed early");
            }
            upstream.note(format!("asked {}", upstream.at.1));
            upstream.world.sleep_ms(5).await;
            upstream.say(answer).await;
        }
    });
    let there = Rc::clone(&stage);
    stage.play(async move {
        crowd(&there, clients, requests_each).await;
        let (opened, early) =
            (share_of(&asked(&there), 1), there.noted().iter().filter(|note| *note == "closed early").count());
        assert!((98..=102).contains(&opened), "{opened} of 400");
        assert_eq!(early, 0, "closed for a connection to the other");
    });
}

/// A request that waits is one draw of the balancer's, as any other.
#[test]
fn who_waits_takes_one_turn_of_the_balancer() {
    let mut settings = crowded(1);
    for balance in ["round_robin", "weighted_round_robin"] {
        settings.clusters[0].balance = balance;
        let stage = Stage::with(1, &settings, &[(0, 0), (0, 1)], |upstream: Upstream| async move {
            upstream.request().await;
            upstream.note(format!("asked {}", upstream.at.1));
            upstream.world.sleep_ms(5).await;
            upstream.say(LAST).await;
        });
        let there = Rc::clone(&stage);
        stage.play(async move {
            crowd(&there, 4, 25).await;
            let asked = asked(&there);
            let (one, other) = (share_of(&asked, 0), share_of(&asked, 1));
            assert!(one.abs_diff(other) <= 2 && one + other == 100, "{balance}: {one} and {other}");
        });
    }
}

/// Whoever waits has asked the worker that keeps a connection for it, and the copy comes there before the message does.
#[test]
fn a_copy_takes_no_connection_that_somebody_waits_for() {
    let mut settings = crowded(2);
    settings.mirror = Some(MirrorSettings { room: 0, share: 100 });
    let slow = Hearing { delay_ms: 2_000, ..Hearing::KEEN };
    let stage = Stage::hearing(slow, Profile::FAST, 2, &settings, &[(0, 0), (0, 1)], |upstream: Upstream| async move {
        while let Some(head) = upstream.request().await {
            upstream.world.sleep_ms(if head.starts_with("GET /long ") { 50 } else { 1 }).await;
            upstream.say(OK).await;
        }
    });
    let there = Rc::clone(&stage);
    stage.play(async move {
        let (first, second, waiting) = (there.client_of(0), there.client_of(0), there.client_of(1));
        first.send(b"GET /long HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("the gateway listens");
        there.world.sleep_ms(5).await;
        // Of two connections one is in use then, and the other rests.
        assert!(ask(&there, &second).await.starts_with("HTTP/1.1 200 "));
        there.world.sleep_ms(5).await;
        let asking = async { ask(&there, &waiting).await };
        let answered = async { response(&first).await.expect("an answer") };
        let (waited, answer) = futures_util::future::join(asking, answered).await;
        assert!(waited.starts_with("HTTP/1.1 200 ") && answer.starts_with("HTTP/1.1 200 "), "{waited} {answer}");
        there.world.sleep_ms(100).await;
        let long = there.noted().iter().filter(|note| note.starts_with("GET /long ")).count();
        assert_eq!(long, 1, "the copy finds no room");
    });
}

/// What has no weight in the configuration of a request is nothing that a breaker keeps from it.
#[test]
fn who_waited_while_weights_changed_is_not_told_of_a_breaker() {
    let weighed = |weights: [u32; 2]| {
        let mut settings = crowded(1);
        settings.clusters[0].breaker = None;
        for (endpoint, weight) in settings.clusters[0].endpoints.iter_mut().zip(weights) {
            endpoint.weight = weight;
        }
        settings
    };
    let stage = Stage::with(1, &weighed([1, 0]), &[(0, 0), (0, 1)], |upstream: Upstream| async move {
        while upstream.request().await.is_some() {
            upstream.world.sleep_ms(50).await;
            upstream.say(OK).await;
        }
    });
    let there = Rc::clone(&stage);
    stage.play(async move {
        let (first, waiting) = (there.client(), there.client());
        first.send(GET).await.expect("the gateway listens");
        there.world.sleep_ms(5).await;
        waiting.send(GET).await.expect("the gateway listens");
        there.world.sleep_ms(5).await;
        there.gateway.reload(&weighed([0, 1]), true);
        assert!(response(&first).await.expect("an answer").starts_with("HTTP/1.1 200 "));
        let refused = response(&waiting).await.expect("an answer");
        assert!(refused.starts_with("HTTP/1.1 503 ") && refused.contains("no_healthy_endpoint"), "{refused}");
        assert!(ask(&there, &waiting).await.starts_with("HTTP/1.1 200 "), "the next one goes by the new weights");
    });
}
