//! gRPC through the gateway, with tonic at both ends: all kinds of calls, statuses, deadlines and cancellation.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use rustls::ClientConfig;
use tokio::sync::mpsc::unbounded_channel;
use tonic::{Code, Request};

use super::gateway::Gateway;
use super::pki::Authority;
use super::plan::{Io, Plan};
use super::rpc::{RpcClient, RpcServer, is_told, run};
use super::site::{Site, TLS, VERSIONS, server_of};
use super::wait::until_true;

/// A gateway between a client and a server, either side over TLS or not.
struct Between {
    gateway: Gateway,
    server: RpcServer,
    tls: Option<Arc<ClientConfig>>,
}

impl Between {
    fn new(io: Io, secures_clients: bool, secures_server: bool, plan: impl FnOnce(Plan) -> Plan) -> Self {
        let (site, inside) = (Site::new(), Authority::new("inside"));
        let server =
            RpcServer::start(secures_server.then(|| server_of(&inside.certifies(&["a.example"]), &VERSIONS, None)));
        let entries = match secures_server {
            true => format!(
                "protocol: h2, tls: {{ ca: inside.crt, server_name: a.example }}, endpoints: [{{ url: 'https://{}' }}]",
                server.address
            ),
            false => format!("endpoints: [{{ url: 'h2c://{}' }}]", server.address),
        };
        let bare = Plan::bare(io).speaks_h2().cluster_as("app", &entries).route("name: everything, cluster: app");
        let plan = if secures_clients { plan(bare).listener(TLS) } else { plan(bare) };
        let mut config = site.believer();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let (_, gateway) = site.with_file("inside.crt", inside.pem()).start_on(&plan);
        Self { gateway, server, tls: secures_clients.then(|| Arc::new(config)) }
    }

    async fn client(&self) -> RpcClient {
        RpcClient::to(self.gateway.address(), self.tls.clone()).await
    }
}

fn text(text: &'static str) -> Request<Bytes> {
    Request::new(Bytes::from_static(text.as_bytes()))
}

/// Unary, client streaming, server streaming and both ways at once, with either side secured or not: messages, metadata,
/// and the status at the end.
fn every_kind_of_call_goes_through(io: Io) {
    for (secures_clients, secures_server) in [(false, false), (true, false), (false, true), (true, true)] {
        let between = Between::new(io, secures_clients, secures_server, |plan| plan);
        run(async {
            let mut client = between.client().await;
            let mut request = text("hello");
            request.metadata_mut().insert("x-tag", "1".parse().expect("a value"));
            let answer = client.unary("Unary", request).await.expect("an answer");
            assert_eq!(answer.metadata().get("x-tag").map(|value| value.as_bytes()), Some(&b"1"[..]));
            assert_eq!(answer.into_inner(), "hello");
            let messages = stream::iter((0..100).map(|_| Bytes::from_static(b"message")));
            assert_eq!(client.up(messages).await.expect("an answer").into_inner(), "100 700");
            let down = client.down(100).await.expect("an answer").into_inner();
            let numbers: Vec<String> = down
                .map(|message| String::from_utf8(message.expect("a message").to_vec()).expect("a number"))
                .collect()
                .await;
            assert_eq!(numbers, (0..100).map(|number| number.to_string()).collect::<Vec<_>>());
            takes_turns(&mut client).await;
        });
        assert_eq!(between.server.seen.calls(), 4);
        between.gateway.stop();
    }
}

/// Each message is answered before the next one is sent; the client's end is the server's, whose status follows.
async fn takes_turns(client: &mut RpcClient) {
    let (says, said) = unbounded_channel::<Bytes>();
    let said = stream::unfold(said, |mut said| async { said.recv().await.map(|message| (message, said)) });
    says.send(Bytes::from_static(b"0")).expect("an open call");
    let mut answers = client.both(said).await.expect("an answer").into_inner();
    for number in 0..20 {
        let answer = answers.message().await.expect("a message").expect("no end yet");
        assert_eq!(answer, number.to_string());
        says.send(Bytes::from((number + 1).to_string())).expect("an open call");
    }
    assert_eq!(answers.message().await.expect("a message").expect("no end yet"), "20");
    drop(says);
    assert_eq!(answers.message().await.expect("an orderly end"), None);
    assert!(answers.trailers().await.expect("trailers").is_some());
}

/// A status with its message, details and metadata, at once or behind messages.
fn statuses_of_the_server_arrive_whole(io: Io) {
    let between = Between::new(io, false, false, |plan| plan);
    run(async {
        let mut client = between.client().await;
        is_told(&client.unary("Fail", text("")).await.expect_err("a status"));
        let words = ["1", "2", "fail"].map(|word| Bytes::from_static(word.as_bytes()));
        let mut answers = client.both(stream::iter(words)).await.expect("an answer").into_inner();
        assert_eq!(answers.message().await.expect("a message").expect("one"), "1");
        assert_eq!(answers.message().await.expect("a message").expect("one"), "2");
        is_told(&answers.message().await.expect_err("a status"));
        let status = client.unary("Nothing", text("")).await.expect_err("a status");
        assert_eq!((status.code(), status.message()), (Code::Unimplemented, "no such method at the server"));
    });
    let line = between.gateway.log_of("/test.Echo/Fail");
    assert_eq!((&line["status"], &line["grpc_status"]), (&200.into(), &15.into()), "{line}");
    between.gateway.stop();
}

/// Ten megabytes each way, echoed: neither end has to wait for the other to be done.
fn large_streams_flow_both_ways(io: Io) {
    const COUNT: usize = 160;
    const BYTES: usize = 64 * 1024;
    let between = Between::new(io, true, false, |plan| plan.defaults("body_limit: 0"));
    run(async {
        let mut client = between.client().await;
        let messages = stream::iter((0..COUNT).map(|number| Bytes::from(vec![number.to_le_bytes()[0]; BYTES])));
        let mut answers = client.both(messages).await.expect("an answer").into_inner();
        let mut count: usize = 0;
        while let Some(answer) = answers.message().await.expect("a message") {
            assert_eq!((answer.len(), answer[0]), (BYTES, count.to_le_bytes()[0]));
            count += 1;
        }
        assert_eq!(count, COUNT);
    });
    between.gateway.stop();
}

/// Calls at once share connections, and each gets its own answer.
fn calls_at_once_get_their_own_answers(io: Io) {
    let between = Between::new(io, false, false, |plan| plan);
    run(async {
        let client = between.client().await;
        let calls = (0..60).map(|number: u32| {
            let mut client = client.clone();
            async move {
                let request = Request::new(Bytes::from(number.to_string()));
                let answer = client.unary("Unary", request).await.expect("an answer");
                assert_eq!(answer.into_inner(), number.to_string());
            }
        });
        futures_util::future::join_all(calls).await;
    });
    assert_eq!(between.server.seen.calls(), 60);
    between.gateway.stop();
}

/// A time that the client gives is told to the server, less what has passed, and ends the call there too.
fn a_deadline_reaches_the_server_and_ends_the_call(io: Io) {
    let between = Between::new(io, false, false, |plan| plan);
    let seen = &between.server.seen;
    run(async {
        let mut client = between.client().await;
        // On a busy machine the time may be over before the server has the call.
        while seen.cancelled() == 0 {
            let mut request = text("");
            request.set_timeout(Duration::from_millis(400));
            let status = client.unary("Never", request).await.expect_err("a status");
            // Client and gateway keep the same time: whoever looks first.
            assert!(matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled), "{status:?}");
        }
    });
    until_true("no call is left", || seen.waiting() == 0);
    assert!((1..=400).contains(&seen.timeout_ms()), "{}", seen.timeout_ms());
    between.gateway.stop();
}

/// A client that drops a call drops it at the server.
fn a_call_that_is_dropped_ends_at_the_server(io: Io) {
    let between = Between::new(io, true, true, |plan| plan);
    let seen = &between.server.seen;
    run(async {
        let mut client = between.client().await;
        let call = client.unary("Never", text(""));
        let arrival = async {
            while seen.waiting() == 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            biased;
            () = arrival => {}
            ended = call => panic!("{ended:?}"),
        }
    });
    until_true("the end of the call", || seen.cancelled() == 1);
    between.gateway.waits_for("http2_streams_active", 0.0);
    between.gateway.stop();
}

/// `timeouts.request` ends a call that is not answered, and none that is: streams last as long as they do.
fn a_stream_outlives_the_time_for_an_answer(io: Io) {
    let between = Between::new(io, false, false, |plan| plan.timeouts("request: 1s, response_header: 1s"));
    let is_ended = async {
        let status = between.client().await.unary("Never", text("")).await.expect_err("a status");
        assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
    };
    let lasts = async {
        let (says, said) = unbounded_channel::<Bytes>();
        let said = stream::unfold(said, |mut said| async { said.recv().await.map(|message| (message, said)) });
        let mut answers = between.client().await.both(said).await.expect("an answer").into_inner();
        for word in ["1", "2"] {
            let early = tokio::time::timeout(Duration::from_millis(1_200), answers.message()).await;
            assert!(early.is_err(), "nobody has said anything");
            says.send(Bytes::from_static(word.as_bytes())).expect("an open call");
            assert_eq!(answers.message().await.expect("a message").expect("one"), word);
        }
        drop(says);
        assert_eq!(answers.message().await.expect("an orderly end"), None);
    };
    run(async { tokio::join!(is_ended, lasts) });
    between.gateway.stop();
}

on_both_drivers![
    every_kind_of_call_goes_through,
    statuses_of_the_server_arrive_whole,
    large_streams_flow_both_ways,
    calls_at_once_get_their_own_answers,
    a_deadline_reaches_the_server_and_ends_the_call,
    a_call_that_is_dropped_ends_at_the_server,
    a_stream_outlives_the_time_for_an_answer,
];
