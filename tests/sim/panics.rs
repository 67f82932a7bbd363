//! A panic on the request path ends its connection, and gives back all that this held.

use std::rc::Rc;

use crate::pipe::{End, Profile};
use crate::settings::{BreakerSettings, QueueSettings, Settings};
use crate::stage::{Stage, Upstream, response, rest};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const LAST: &str = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok";
const BAD: &str = "HTTP/1.1 500 Bad\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
const BUG: &str = "HTTP/1.1 200 OK\r\nX-Panic: read\r\nContent-Length: 2\r\n\r\nok";

async fn say(end: &End, text: &str) {
    end.send(text.as_bytes()).await.expect("the gateway listens");
}

/// One connection to the endpoint at most, and a queue before it.
fn capped() -> Settings {
    let mut settings = Settings::plain([0]);
    settings.request_ms = 10_000;
    settings.clusters[0].cap = 1;
    settings.clusters[0].queue = Some(QueueSettings { max: 10, timeout_ms: 5_000 });
    settings
}

/// What is out when nobody asks for anything: credits, places in the queue, attempts, probe tokens, connections.
fn assert_all_is_back(stage: &Stage) {
    let (gateway, inspector) = (&stage.gateway, &stage.gateway.inspector);
    for watched in inspector.clusters.borrow().iter() {
        assert_eq!((watched.state.taken(), watched.state.waiting()), (0, 0), "{}", watched.name);
    }
    for (_, id) in inspector.places.borrow().values() {
        assert_eq!((inspector.fleet.cell(0, *id).in_flight(), inspector.fleet.slot(*id).probes_out()), (0, 0));
    }
    assert_eq!(gateway.sum(|counters| counters.upstream_connections_active.value()), 0);
    assert_eq!(gateway.sum(|counters| counters.requests_active.value()), 0);
    assert_eq!(gateway.sum(|counters| counters.upstream_waiting.value()), 0);
    assert_eq!(gateway.workers[0].shard().expect("a shard").buffers_lent(), 0);
}

#[test]
fn a_panic_gives_its_place_under_the_cap_to_the_first_who_waits() {
    for (request, answer) in [("X-Panic: write\r\n", OK), ("", BUG)] {
        let stage = Stage::with(1, &capped(), &[(0, 0)], move |upstream: Upstream| async move {
            while let Some(head) = upstream.request().await {
                upstream.world.sleep_ms(20).await;
                let says = match head.split(' ').nth(1) {
                    Some("/bug") => answer,
                    Some("/before") => OK,
                    _ => LAST,
                };
                upstream.say(says).await;
            }
        });
        let there = Rc::clone(&stage);
        stage.play(async move {
            let (before, unlucky, waiting) = (there.client(), there.client(), there.client());
            say(&before, "GET /before HTTP/1.1\r\nHost: a\r\n\r\n").await;
            there.world.sleep_ms(2).await;
            say(&unlucky, &format!("GET /bug HTTP/1.1\r\nHost: a\r\n{request}\r\n")).await;
            there.world.sleep_ms(2).await;
            say(&waiting, "GET /waiting HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
            assert!(response(&before).await.expect("an answer").starts_with("HTTP/1.1 200 "));
            assert_eq!(rest(&unlucky).await.0, "", "nothing was answered");
            assert!(rest(&waiting).await.0.starts_with("HTTP/1.1 200 "));
            drop(before);
            there.world.sleep_ms(100).await;
            assert_all_is_back(&there);
        });
    }
}

#[test]
fn a_panic_gives_the_token_of_a_half_open_breaker_back() {
    let mut settings = Settings::plain([0]);
    settings.clusters[0].breaker =
        Some(BreakerSettings { min_requests: 100, consecutive: 1, open_ms: 100, probes: 1, close_after: 1 });
    let stage = Stage::with(1, &settings, &[(0, 0)], |upstream: Upstream| async move {
        while let Some(head) = upstream.request().await {
            upstream.say(if head.starts_with("GET /bad ") { BAD } else { LAST }).await;
        }
    });
    let there = Rc::clone(&stage);
    stage.play(async move {
        let ask = async |path: &str, field: &str| {
            let client = there.client();
            say(&client, &format!("GET {path} HTTP/1.1\r\nHost: a\r\n{field}Connection: close\r\n\r\n")).await;
            rest(&client).await.0
        };
        assert!(ask("/bad", "").await.starts_with("HTTP/1.1 500 "));
        let refused = ask("/refused", "").await;
        assert!(refused.starts_with("HTTP/1.1 503 ") && refused.contains("breaker"), "{refused}");
        there.world.sleep_ms(150).await;
        assert_eq!(ask("/bug", "X-Panic: write\r\n").await, "", "nothing was answered");
        assert!(ask("/again", "").await.starts_with("HTTP/1.1 200 "));
        there.world.sleep_ms(100).await;
        assert_all_is_back(&there);
    });
}

#[test]
fn a_panic_gives_back_the_place_that_its_connection_had_among_those_of_its_client() {
    let mut settings = Settings::plain([0]);
    settings.per_client = Some(2);
    let stage = Stage::with(1, &settings, &[(0, 0)], |upstream: Upstream| async move {
        while upstream.request().await.is_some() {
            upstream.say(LAST).await;
        }
    });
    let there = Rc::clone(&stage);
    stage.play(async move {
        let connect = || {
            let peer = std::net::SocketAddr::from(([192, 0, 2, 1], 4000));
            there.gateway.take_from(peer, "web", 0, "client".to_owned(), Profile::FAST)
        };
        let held = connect();
        for _ in 0..5 {
            let unlucky = connect();
            there.world.sleep_ms(1).await;
            assert_eq!(rest(&connect()).await.0, "", "there are two");
            say(&unlucky, "GET /bug HTTP/1.1\r\nHost: a\r\nX-Panic: write\r\n\r\n").await;
            assert_eq!(rest(&unlucky).await.0, "", "nothing was answered");
            there.world.sleep_ms(10).await;
        }
        let rejected = there.gateway.sum(|counters| counters.connections_rejected.iter().map(|one| one.value()).sum());
        assert_eq!(rejected, 5, "one in each round, and none for want of a place that was lost");
        let next = connect();
        for client in [&held, &next] {
            say(client, "GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
            assert!(response(client).await.expect("an answer").starts_with("HTTP/1.1 200 "));
        }
        there.world.sleep_ms(100).await;
        assert_all_is_back(&there);
    });
}
