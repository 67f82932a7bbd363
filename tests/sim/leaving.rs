//! Directed tests of clients that leave while their request, or the rest of it, waits for an endpoint (requirement B12).

use std::future::{pending, poll_fn};
use std::rc::Rc;

use bytes::Bytes;
use http::{Method, Request, Response};
use ringgate::telemetry::Counter;

use crate::link::{Link, LinkIo};
use crate::pipe::Profile;
use crate::plan::{Tongue, WireTrouble};
use crate::seals::Sessions;
use crate::settings::{BreakerSettings, Settings};
use crate::stage::{Stage, Upstream, response, rest};

const GET: &str = "GET /x HTTP/1.1\r\nHost: a\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
/// More than all windows between a client and an endpoint have room for.
const UPLOAD: usize = 900_000;
/// When a client leaves.
const LEAVES_MS: u64 = 100;
/// When that has been noticed, well before the endpoint would be blamed for taking nothing.
const NOTICED_MS: u64 = LEAVES_MS + 350;

/// How a client leaves.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    /// Its connection is reset.
    Reset,
    /// Its stream is.
    ResetStream,
    /// Its connection ends in order, in the middle of a stream.
    Close,
}

/// What clients speak, and the ways to leave that go with it.
fn clients() -> Vec<(Tongue, Way)> {
    let tongue = |is_tls, is_h2| Tongue { is_tls, is_h2, ..Tongue::default() };
    let h1 = [false, true].map(|is_tls| (tongue(is_tls, false), Way::Reset));
    let h2 = [Way::Reset, Way::ResetStream, Way::Close].map(|way| (tongue(false, true), way));
    h1.into_iter().chain(h2).collect()
}

/// A breaker that opens at once.
fn touchy(is_shared: bool) -> Settings {
    let mut settings = Settings::plain([0]);
    settings.seal(false);
    settings.is_shared = is_shared;
    settings.clusters[0].breaker =
        Some(BreakerSettings { min_requests: 100, consecutive: 1, open_ms: 10_000, probes: 1, close_after: 1 });
    settings
}

/// Takes the head of an upload, says something and nothing more; answers all else.
async fn hold_uploads(upstream: Upstream, says: &'static str) {
    while let Some(head) = upstream.request().await {
        if head.starts_with("POST ") {
            upstream.say(says).await;
            return upstream.note_end_unread().await;
        }
        upstream.say(OK).await;
    }
}

/// The same by HTTP/2.
async fn hold_streams(upstream: Upstream) {
    let world = upstream.world.clone();
    let (end, note) = upstream.apart();
    let link = Rc::new(Link::plain(end, WireTrouble::default()));
    let mut builder = h2::server::Builder::new();
    let Ok(mut connection) = builder.data_frame_budget(usize::MAX).handshake::<_, Bytes>(LinkIo(link)).await else {
        return;
    };
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        let note = note.clone();
        world.spawn(async move {
            if request.method() == Method::POST {
                let _reason = poll_fn(|poller| respond.poll_reset(poller)).await;
                note("gone");
                drop(request);
            } else {
                respond.send_response(Response::new(()), true).expect("an open stream");
            }
        });
    }
}

/// Uploads for ever, and leaves at its time.
async fn upload_and_leave(stage: &Stage, tongue: Tongue, way: Way) {
    let end = stage.gateway.accept_by(tongue.listener(), "client".to_owned(), Profile::FAST);
    let link = Rc::new(tongue.link(end, &Sessions::new()));
    if way == Way::Reset {
        link.end.reset_on_close();
    }
    let left_ms = LEAVES_MS - stage.world.now_ms();
    if tongue.is_h2 {
        let io = LinkIo(Rc::clone(&link));
        let handshake = h2::client::Builder::new().handshake::<_, Bytes>(io).await;
        let (sender, connection) = handshake.expect("the gateway speaks HTTP/2");
        stage.world.spawn(async move { drop(connection.await) });
        let uploading = async move {
            let mut sender = sender.ready().await.expect("the gateway takes streams");
            let request = Request::post("http://a/x").body(()).expect("a request");
            let (answer, mut stream) = sender.send_request(request, false).expect("an open connection");
            loop {
                stream.reserve_capacity(1024);
                let Some(Ok(room)) = poll_fn(|poller| stream.poll_capacity(poller)).await else { break };
                stream.send_data(vec![b'x'; room].into(), false).expect("an open stream");
            }
            pending::<()>().await;
            drop(answer);
        };
        assert!(stage.world.within(left_ms, uploading).await.is_none(), "it is gone only now");
    } else {
        link.handshake().await.expect("a handshake");
        let uploading = async {
            link.send(format!("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: {UPLOAD}\r\n\r\n").as_bytes()).await?;
            link.send(&vec![b'x'; UPLOAD]).await
        };
        let uploaded = stage.world.within(left_ms, uploading).await;
        assert!(uploaded.is_none(), "{tongue:?}: the upload does not wait: {uploaded:?}");
    }
    if way != Way::ResetStream {
        link.end.close();
    }
}

/// Its going was noticed, and the endpoint is not blamed for it.
async fn assert_noticed(stage: &Stage, what: &str) {
    stage.world.sleep_ms(NOTICED_MS - stage.world.now_ms()).await;
    let gone_ms = stage.time_of("gone");
    assert!(gone_ms.is_some_and(|ms| ms >= LEAVES_MS), "{what}: {gone_ms:?}");
    let records = stage.gateway.records();
    let reasons: Vec<_> = records.iter().map(|record| record.reason.as_deref()).collect();
    assert_eq!(reasons, [Some("client_abort")], "{what}");
    let errors = stage.gateway.sum(|counters| counters.upstream_errors.iter().map(Counter::value).sum());
    assert_eq!((errors, stage.gateway.sum(|counters| counters.client_aborts.value())), (0, 1), "{what}");
    let other = stage.client();
    other.send(GET.as_bytes()).await.expect("the gateway listens");
    let answer = response(&other).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{what}: {answer}");
}

#[test]
fn a_client_that_leaves_an_upload_that_waits_is_noticed_and_its_endpoint_not_blamed() {
    for is_shared in [false, true] {
        for (tongue, way) in clients() {
            let settings = touchy(is_shared);
            let stage = match is_shared {
                true => Stage::with(1, &settings, &[(0, 0)], hold_streams),
                false => Stage::with(1, &settings, &[(0, 0)], |upstream| hold_uploads(upstream, "")),
            };
            let there = Rc::clone(&stage);
            stage.play(async move {
                let what = format!("{tongue:?} {way:?} shared: {is_shared}");
                upload_and_leave(&there, tongue, way).await;
                assert_noticed(&there, &what).await;
            });
        }
    }
}

/// RFC 9112 section 9.5: the rest of a request that was refused is not sent, and nobody reads it either.
#[test]
fn a_client_that_leaves_a_refusal_that_stalls_is_noticed_and_its_endpoint_not_blamed() {
    const REFUSAL: &str = "HTTP/1.1 413 Content Too Large\r\nContent-Length: 100\r\n\r\nto be";
    for (tongue, way) in clients() {
        let stage = Stage::with(1, &touchy(false), &[(0, 0)], |upstream| hold_uploads(upstream, REFUSAL));
        let there = Rc::clone(&stage);
        stage.play(async move {
            upload_and_leave(&there, tongue, way).await;
            assert_noticed(&there, &format!("{tongue:?} {way:?}")).await;
        });
    }
}

#[test]
fn a_client_that_leaves_behind_an_upload_beside_an_answer_is_noticed() {
    let stage = Stage::with(1, &touchy(false), &[(0, 0)], |upstream: Upstream| async move {
        while let Some(head) = upstream.request().await {
            if head.starts_with("POST ") {
                upstream.say("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nto be").await;
                return upstream.note_end().await;
            }
            upstream.say(OK).await;
        }
    });
    let there = Rc::clone(&stage);
    stage.play(async move {
        let client = there.client();
        client.reset_on_close();
        client.send(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\no").await.expect("it listens");
        there.world.sleep_ms(LEAVES_MS / 2).await;
        client.send(b"k").await.expect("it listens");
        there.world.sleep_ms(LEAVES_MS / 2).await;
        drop(client);
        assert_noticed(&there, "beside an answer").await;
    });
}

#[test]
fn a_client_that_leaves_while_its_head_waits_is_noticed_and_its_endpoint_not_blamed() {
    let narrow = Profile { window: 2_000, ..Profile::FAST };
    let stage = Stage::over(narrow, 1, &touchy(false), &[(0, 0)], |upstream: Upstream| async move {
        match upstream.number {
            0 => upstream.note_end_unread().await,
            _ => hold_uploads(upstream, "").await,
        }
    });
    let there = Rc::clone(&stage);
    stage.play(async move {
        let client = there.client();
        client.reset_on_close();
        let cookie = "x".repeat(8_000);
        client.send(format!("GET /x HTTP/1.1\r\nHost: a\r\nCookie: {cookie}\r\n\r\n").as_bytes()).await.expect("room");
        there.world.sleep_ms(LEAVES_MS).await;
        drop(client);
        assert_noticed(&there, "a head").await;
    });
}

/// RFC 9110 section 9.3: a half-close behind a whole request is no leaving, however slowly its endpoint takes it.
#[test]
fn a_half_close_behind_an_upload_that_waits_is_no_leaving() {
    let narrow = Profile { window: 2_000, ..Profile::FAST };
    let stage = Stage::over(narrow, 1, &touchy(false), &[(0, 0)], |upstream: Upstream| async move {
        upstream.request().await;
        upstream.world.sleep_ms(600).await;
        let mut left = 8_000;
        while left > 0 {
            left -= upstream.end.recv().await.map_or(0, |bytes| bytes.len());
        }
        upstream.say(OK).await;
    });
    let there = Rc::clone(&stage);
    stage.play(async move {
        let client = there.client();
        client.send(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 8000\r\n\r\n").await.expect("the gateway listens");
        there.world.sleep_ms(5).await;
        client.send(&[b'x'; 8_000]).await.expect("the gateway listens");
        client.end_write();
        let (text, _) = rest(&client).await;
        assert!(text.contains("HTTP/1.1 200 "), "{text}");
    });
}

/// What nobody reads any more makes no sense to TLS, and is no sign that the client is gone.
#[test]
fn a_client_that_goes_on_with_a_refused_upload_gets_the_whole_refusal() {
    for is_tls in [false, true] {
        let stage = Stage::with(1, &touchy(false), &[(0, 0)], |upstream: Upstream| async move {
            upstream.request().await;
            upstream.say("HTTP/1.1 413 Content Too Large\r\nContent-Length: 10\r\n\r\nto be").await;
            upstream.world.sleep_ms(600).await;
            upstream.say(" over").await;
            upstream.note_end_unread().await;
        });
        let there = Rc::clone(&stage);
        stage.play(async move {
            let tongue = Tongue { is_tls, ..Tongue::default() };
            let end = there.gateway.accept_by(tongue.listener(), "client".to_owned(), Profile::FAST);
            let link = Rc::new(tongue.link(end, &Sessions::new()));
            link.handshake().await.expect("a handshake");
            link.send(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 90000\r\n\r\n").await.expect("it listens");
            let (writer, world) = (Rc::clone(&link), there.world.clone());
            there.world.spawn(async move {
                while writer.send(&[b'x'; 50]).await.is_ok() {
                    world.sleep_ms(1).await;
                }
            });
            let mut all = Vec::new();
            while !all.ends_with(b"over") {
                let more = link.recv().await.unwrap_or_default();
                assert!(!more.is_empty(), "TLS: {is_tls}: {}", String::from_utf8_lossy(&all));
                all.extend(more);
            }
            link.end.close();
        });
    }
}
