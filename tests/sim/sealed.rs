//! Directed tests of TLS and HTTP/2 on pipes that split.

use std::rc::Rc;

use ringgate::http2::PREFACE;

use crate::pipe::{End, Profile};
use crate::plan::Tongue;
use crate::seals::Sessions;
use crate::settings::Settings;
use crate::stage::{Stage, Upstream};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
/// SETTINGS without a value, and a GET in the first stream (RFC 7541 appendix A).
const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
const GET: &[u8] = &[0, 0, 6, 1, 5, 0, 0, 0, 1, 0x82, 0x86, 0x84, 0x41, 1, b'a'];

async fn until_it_ends(end: &End, is_enough: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let mut all = Vec::new();
    while !is_enough(&all) {
        match end.recv().await {
            Ok(more) if !more.is_empty() => all.extend(more),
            _ => break,
        }
    }
    all
}

/// RFC 8446 section 6.1: who is told nothing takes a body that ends with its connection for cut.
#[test]
fn the_end_of_tls_is_announced_to_a_client_that_reads_slowly() {
    let narrow = Profile { window: 2_000, ..Profile::FAST };
    for length in (5_000..7_000).step_by(20) {
        let mut settings = Settings::plain([0]);
        settings.seal(false);
        let stage = Stage::with(1, &settings, &[(0, 0)], move |upstream: Upstream| async move {
            upstream.request().await;
            upstream.say(&format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(length))).await;
        });
        let there = Rc::clone(&stage);
        stage.play(async move {
            let tongue = Tongue { is_tls: true, ..Tongue::default() };
            let end = there.gateway.accept_by(tongue.listener(), "client".to_owned(), narrow);
            let link = tongue.link(end, &Sessions::new());
            link.send(b"GET /x HTTP/1.0\r\nHost: a\r\n\r\n").await.expect("the gateway listens");
            let mut all = Vec::new();
            loop {
                let more = link.recv().await.unwrap_or_else(|error| panic!("{error} behind {} bytes", all.len()));
                if more.is_empty() {
                    break;
                }
                all.extend(more);
                there.world.sleep_ms(20).await;
            }
            assert_eq!(all.iter().rev().take_while(|byte| **byte == b'x').count(), length);
        });
    }
}

/// The same of a tunnel, whose ends are told each for itself.
#[test]
fn the_end_of_a_tunnel_is_announced_to_a_client_that_reads_slowly() {
    let narrow = Profile { window: 2_000, ..Profile::FAST };
    for length in (5_000..7_000).step_by(20) {
        let mut settings = Settings::plain([0]);
        settings.seal(false);
        let stage = Stage::with(1, &settings, &[(0, 0)], move |upstream: Upstream| async move {
            upstream.request().await;
            upstream.say("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n").await;
            upstream.say(&"x".repeat(length)).await;
            upstream.end.end_write();
            upstream.note_end().await;
        });
        let there = Rc::clone(&stage);
        stage.play(async move {
            let tongue = Tongue { is_tls: true, ..Tongue::default() };
            let end = there.gateway.accept_by(tongue.listener(), "client".to_owned(), narrow);
            let link = tongue.link(end, &Sessions::new());
            let asks = b"GET /x HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
            link.send(asks).await.expect("the gateway listens");
            let mut all = Vec::new();
            loop {
                let more = link.recv().await.unwrap_or_else(|error| panic!("{error} behind {} bytes", all.len()));
                if more.is_empty() {
                    break;
                }
                all.extend(more);
                there.world.sleep_ms(20).await;
            }
            assert_eq!(all.iter().rev().take_while(|byte| **byte == b'x').count(), length);
            link.end_write().await;
        });
    }
}

/// RFC 9113 section 3.3: prior knowledge begins with a preface, however it is cut on its way.
#[test]
fn a_preface_may_be_cut_anywhere() {
    for at in 1..PREFACE.len() {
        let mut settings = Settings::plain([0]);
        settings.seal(false);
        let stage = Stage::with(1, &settings, &[(0, 0)], |upstream: Upstream| async move {
            while upstream.request().await.is_some() {
                upstream.say(OK).await;
            }
        });
        let there = Rc::clone(&stage);
        stage.play(async move {
            let client = there.gateway.accept_by("h2c", "client".to_owned(), Profile::FAST);
            client.send(&PREFACE[..at]).await.expect("the gateway listens");
            there.world.sleep_ms(5).await;
            client.send(&[&PREFACE[at..], SETTINGS, GET].concat()).await.expect("the gateway listens");
            // The content may come in two frames.
            let has_content = |all: &[u8]| all.ends_with(b"k") || all.starts_with(b"HTTP/1");
            let answer = there.world.within(500, until_it_ends(&client, has_content)).await.unwrap_or_default();
            assert!(answer.ends_with(b"k"), "cut at {at}: {}", answer.escape_ascii());
        });
    }
}
