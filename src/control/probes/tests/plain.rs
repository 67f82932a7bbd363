//! TCP and HTTP probes against servers of every mood.

use super::*;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[tokio::test]
async fn a_port_that_accepts_is_up_for_tcp() {
    let outcome = probe(&target(ProbeKind::Tcp, silent().await)).await;
    assert_eq!(outcome.result, Ok("connected".into()));
    assert!(outcome.latency_us >= 1);
}

#[tokio::test]
async fn the_latency_is_that_of_the_answer_when_it_is_slower_than_the_connection() {
    let slow = Duration::from_millis(60);
    let address = server(move |mut stream| async move {
        drop(read_head(&mut stream).await);
        tokio::time::sleep(slow).await;
        drop(stream.write_all(OK).await);
    })
    .await;
    let outcome = probe(&target(ProbeKind::Http, address)).await;
    assert_eq!(outcome.result, Ok("status 200".into()));
    assert!(outcome.latency_us >= 60_000, "{}", outcome.latency_us);
}

#[tokio::test]
async fn a_closed_port_is_refused_for_every_kind() {
    let (_socket, address) = closed_port();
    for kind in [ProbeKind::Tcp, ProbeKind::Http, ProbeKind::Https, ProbeKind::Grpc] {
        let mut target = target(kind, address);
        target.health.tls.insecure_skip_verify = true;
        assert_eq!(probe(&target).await, Outcome { result: Err(Trouble::Refused), latency_us: 0 });
    }
}

#[tokio::test]
async fn the_port_of_the_probe_is_asked_instead_of_the_endpoints_own() {
    let (_socket, closed) = closed_port();
    let mut target = target(ProbeKind::Tcp, closed);
    target.health.port = Some(silent().await.port());
    assert_eq!(said(&target).await, Ok("connected".to_owned()));
}

#[tokio::test]
async fn expected_statuses_are_up_and_others_down() {
    for (status, expected) in [
        (200, Ok("status 200")),
        (204, Ok("status 204")),
        (201, Err("status 201")),
        (302, Err("status 302")),
        (503, Err("status 503")),
    ] {
        let bytes = format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n").into_bytes();
        let address = answering(bytes, false).await;
        let expected = expected.map(str::to_owned).map_err(str::to_owned);
        assert_eq!(said(&target(ProbeKind::Http, address)).await, expected);
    }
}

#[tokio::test]
async fn the_request_names_path_host_and_prober_and_asks_to_close() {
    let (heads, mut inbox) = mpsc::unbounded_channel();
    let address = server(move |mut stream| {
        let heads = heads.clone();
        async move {
            heads.send(read_head(&mut stream).await.unwrap()).unwrap();
            drop(stream.write_all(OK).await);
        }
    })
    .await;
    let mut target = target(ProbeKind::Http, address);
    said(&target).await.unwrap();
    let head = soon(inbox.recv()).await.unwrap().to_lowercase();
    assert!(head.starts_with("get /healthz?deep=1 http/1.1\r\n"), "{head}");
    for field in [&format!("host: localhost:{}", address.port()), "user-agent: ringgate-probe", "connection: close"] {
        assert_eq!(head.matches(&format!("\r\n{field}\r\n")).count(), 1, "{field} in {head}");
    }
    target.health.host = Some("orders.example".to_owned());
    said(&target).await.unwrap();
    assert!(soon(inbox.recv()).await.unwrap().to_lowercase().contains("\r\nhost: orders.example\r\n"));
}

#[tokio::test]
async fn a_body_without_end_changes_nothing_and_is_not_read_on() {
    let (ends, mut ended) = mpsc::unbounded_channel();
    let address = server(move |mut stream| {
        let ends = ends.clone();
        async move {
            read_head(&mut stream).await.unwrap();
            let mut sent = 0_usize;
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
            while stream.write_all(&[b'x'; 4096]).await.is_ok() {
                sent += 4096;
            }
            ends.send(sent).unwrap();
        }
    })
    .await;
    assert_eq!(said(&target(ProbeKind::Http, address)).await, Ok("status 200".to_owned()));
    let sent = soon(ended.recv()).await.unwrap();
    // What fits into the buffers of the kernel is on its way before anybody stops reading.
    assert!(sent < 32 << 20, "{sent} bytes");
}

#[tokio::test]
async fn a_body_that_stalls_costs_the_rest_of_the_timeout_and_not_the_verdict() {
    let address = answering(*b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok", false).await;
    let mut target = target(ProbeKind::Http, address);
    target.health.timeout = Duration::from_secs(1);
    assert_eq!(said(&target).await, Ok("status 200".to_owned()));
}

#[tokio::test]
async fn interim_responses_are_passed_over() {
    let address = answering(*b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 204 X\r\n\r\n", true).await;
    assert_eq!(said(&target(ProbeKind::Http, address)).await, Ok("status 204".to_owned()));
}

#[tokio::test]
async fn a_server_that_never_answers_times_out_and_the_phase_is_told() {
    let address = silent().await;
    for (kind, phase) in
        [(ProbeKind::Http, Phase::Answer), (ProbeKind::Https, Phase::Handshake), (ProbeKind::Grpc, Phase::Answer)]
    {
        let mut target = target(kind, address);
        target.health.timeout = IMPATIENCE;
        target.health.tls.insecure_skip_verify = true;
        let outcome = probe(&target).await;
        assert_eq!(outcome.result, Err(Trouble::TimedOut { after: IMPATIENCE, phase }), "{kind:?}");
        assert!(outcome.latency_us >= 1, "it was connected");
    }
    let late = Trouble::TimedOut { after: Duration::from_secs(2), phase: Phase::Connect };
    assert_eq!(late.detail(), "timed out after 2s while connecting");
}

#[tokio::test]
async fn a_full_accept_queue_times_out_while_connecting() {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut target = target(ProbeKind::Tcp, address);
    target.health.timeout = IMPATIENCE;
    let mut crowd = Vec::new();
    // Nobody accepts, so the queue fills, and then the kernel answers no more.
    for _ in 0..64 {
        match tokio::time::timeout(IMPATIENCE, TcpStream::connect(address)).await {
            Ok(stream) => crowd.push(stream.unwrap()),
            Err(_) => break,
        }
    }
    let expected = Trouble::TimedOut { after: IMPATIENCE, phase: Phase::Connect };
    assert_eq!(probe(&target).await, Outcome { result: Err(expected), latency_us: 0 });
}

#[tokio::test]
async fn a_server_that_closes_or_resets_is_told_apart() {
    let address = closing().await;
    let closed = said(&target(ProbeKind::Http, address)).await;
    assert_eq!(closed, Err("closed without an answer".to_owned()));
    let address = server(|stream| async move {
        stream.set_zero_linger().unwrap();
        stream.readable().await.unwrap();
    })
    .await;
    for kind in [ProbeKind::Http, ProbeKind::Https, ProbeKind::Grpc] {
        let mut target = target(kind, address);
        target.health.tls.insecure_skip_verify = true;
        assert_eq!(said(&target).await, Err("connection reset".to_owned()), "{kind:?}");
    }
}

#[tokio::test]
async fn half_a_head_is_no_answer() {
    let address = answering(*b"HTTP/1.1 200 OK\r\nContent-Le", true).await;
    assert_eq!(said(&target(ProbeKind::Http, address)).await, Err("closed without an answer".to_owned()));
}

#[tokio::test]
async fn garbage_is_not_http() {
    for garbage in
        [&b"220 mail.example ESMTP\r\n"[..], b"\0\0\x12\x05\0\0\0\0\0", b"HTTP/1.1 abc\r\n\r\n", b"\n\n\n-ERR\r\n"]
    {
        let address = answering(garbage, true).await;
        let said = said(&target(ProbeKind::Http, address)).await;
        assert_eq!(said, Err("the answer is not HTTP".to_owned()), "{garbage:?}");
    }
}

#[tokio::test]
async fn a_head_of_a_megabyte_is_refused() {
    let mut head = b"HTTP/1.1 200 OK\r\n".to_vec();
    head.extend(b"X-Padding: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n".repeat(1 << 14));
    head.extend(b"\r\n");
    let one_field = [b"HTTP/1.1 200 OK\r\nX: ".to_vec(), vec![b'a'; 1 << 20], b"\r\n\r\n".to_vec()].concat();
    for head in [head, one_field] {
        let address = answering(head, true).await;
        let said = said(&target(ProbeKind::Http, address)).await;
        assert_eq!(said, Err("the head of the answer is too large".to_owned()));
    }
}

#[tokio::test]
async fn a_plaintext_probe_that_gets_a_tls_alert_says_so() {
    let address = answering(*b"\x15\x03\x03\0\x02\x02\x46", true).await;
    assert_eq!(said(&target(ProbeKind::Http, address)).await, Err("the port speaks TLS".to_owned()));
}

#[tokio::test]
async fn a_plaintext_probe_that_meets_http2_says_so() {
    // The SETTINGS that a server sends before it has read anything, and GOAWAY for what it read then.
    let address = answering(b"\0\0\0\x04\0\0\0\0\0\0\0\x08\x07\0\0\0\0\0\0\0\0\0\0\0\0\x01".as_slice(), true).await;
    assert_eq!(said(&target(ProbeKind::Http, address)).await, Err("the port speaks HTTP/2, not HTTP/1".to_owned()));
}

#[tokio::test]
async fn a_path_that_is_none_is_not_the_endpoints_fault() {
    let mut target = target(ProbeKind::Http, silent().await);
    target.health.path = "/a b".to_owned();
    let outcome = probe(&target).await;
    assert!(outcome.is_ours(), "{outcome:?}");
}
