//! Endpoints of HTTP/2: requirements B6 and B7, http.md "H2 <-> H1 translation".

use h2::Reason;

use super::client::Client;
use super::h2_client::H2Client;
use super::h2_endpoint::H2Endpoint;
use super::plan::{Io, Plan};

/// A gateway before this endpoint.
fn before(io: Io, endpoint: &H2Endpoint) -> Plan {
    Plan::bare(io).cluster_of("app", &endpoint.entry()).route("name: everything, cluster: app")
}

/// http.md 53, 81: a request of HTTP/1.1 in the form of HTTP/2, and its answer back.
fn a_request_is_translated_and_so_is_its_answer(io: Io) {
    let endpoint = H2Endpoint::listens();
    let gateway = before(io, &endpoint).start();
    let mut client = gateway.client();
    client.sends(
        "POST /x?y=1 HTTP/1.1\r\nHost: a.example\r\nX-Upper: A\r\nConnection: x-hop, te\r\nX-Hop: 1\r\n\
         TE: trailers\r\nContent-Length: 5\r\n\r\nhello",
    );
    let accepted = endpoint.accepts();
    let mut asked = accepted.expects("POST /x?y=1");
    let uri = asked.request().uri();
    assert_eq!(
        (uri.scheme_str(), uri.authority().map(|authority| authority.as_str())),
        (Some("http"), Some("a.example"))
    );
    assert_eq!((asked.field("x-upper"), asked.field("content-length"), asked.field("te")), ("A", "5", "trailers"));
    assert_eq!((asked.field("x-forwarded-for"), asked.field("x-forwarded-proto")), ("127.0.0.1", "http"));
    for name in ["host", "connection", "x-hop", "transfer-encoding"] {
        assert_eq!(asked.field(name), "", "{name}");
    }
    assert_eq!(asked.reads_all(), b"hello");
    asked.replies(404, &[("x-answer", "1"), ("set-cookie", "a"), ("set-cookie", "b"), ("content-length", "2")], "no");
    let message = client.expects(404);
    assert_eq!(
        (message.text(), message.field("x-answer"), message.field("content-length")),
        ("no", Some("1"), Some("2"))
    );
    assert_eq!(message.all("set-cookie"), ["a", "b"]);
    // The next one goes on the same connection, whoever's it is.
    let mut other = gateway.client();
    other.asks("/other");
    accepted.expects("GET /other").replies_with("again");
    let message = other.expects(200);
    assert_eq!((message.text(), message.field("transfer-encoding")), ("again", Some("chunked")));
    let line = gateway.log_of("/other");
    assert_eq!((&line["protocol"], &line["upstream_protocol"]), (&"HTTP/1.1".into(), &"HTTP/2".into()), "{line}");
    gateway.waits_for("http2_upstream_connections", 1.0);
    gateway.waits_for("http2_upstream_streams_active", 0.0);
    gateway.waits_for("upstream_connects_total", 1.0);
    gateway.waits_for("upstream_reuses_total", 1.0);
    assert!(endpoint.is_alone());
    gateway.stop();
}

/// B7: requests share a connection, also those that come while it is opened, and none waits for another.
fn requests_share_a_connection(io: Io) {
    let endpoint = H2Endpoint::listens();
    let gateway = before(io, &endpoint).start();
    let mut clients: Vec<Client> = (0..20).map(|_| gateway.client()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.asks(&format!("/{number}"));
    }
    let accepted = endpoint.accepts();
    let mut asked: Vec<_> = (0..20).map(|_| accepted.expects_any()).collect();
    gateway.waits_for("http2_upstream_streams_active", 20.0);
    asked.reverse();
    for asked in asked {
        let path = asked.request().uri().path().to_owned();
        asked.replies_with(&path);
    }
    for (number, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.expects(200).text(), format!("/{number}"));
    }
    assert!(endpoint.is_alone());
    gateway.stop();
}

/// http.md 80, 82: bodies of any framing and trailers, both ways.
fn bodies_and_trailers_pass_in_both_directions(io: Io) {
    let endpoint = H2Endpoint::listens();
    let gateway = before(io, &endpoint).speaks_h2().start();
    let mut client = gateway.client();
    client.sends(
        "POST /up HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: TE\r\nTransfer-Encoding: chunked\r\n\r\n\
         5\r\nhello\r\n6\r\n world\r\n0\r\nX-Sum: 7\r\n\r\n",
    );
    let accepted = endpoint.accepts();
    let mut asked = accepted.expects("POST /up");
    assert_eq!(asked.reads_all(), b"hello world");
    assert_eq!(asked.reads_trailers()["x-sum"], "7");
    asked.begins(200, &[], false);
    asked.sends("down", false);
    asked.sends_trailers(&[("grpc-status", "0"), ("x-more", "a")]);
    let message = client.expects(200);
    assert_eq!(message.text(), "down");
    assert_eq!(message.trailers, [("grpc-status".to_owned(), "0".to_owned()), ("x-more".to_owned(), "a".to_owned())]);
    // The same from HTTP/2 to HTTP/2.
    let mut front = H2Client::to(gateway.address());
    let mut stream = front.begins("POST", "/call", &[("te", "trailers")]);
    stream.sends("ping", false).sends_trailers(&[("x-sum", "8")]);
    let mut asked = accepted.expects("POST /call");
    assert_eq!((asked.reads_all(), &asked.reads_trailers()["x-sum"]), (b"ping".to_vec(), &"8".parse().unwrap()));
    assert!(asked.field("via").starts_with("2.0 "), "RFC 9110 section 7.6.3");
    asked.begins(200, &[("content-type", "application/grpc")], false);
    asked.sends("pong", false);
    asked.sends_trailers(&[("grpc-status", "5")]);
    let reply = stream.expects(200);
    assert_eq!((reply.text(), &reply.trailers["grpc-status"]), ("pong", &"5".parse().unwrap()));
    gateway.stop();
}

/// http.md 27, 28, 83: what has no content, and interim responses.
fn heads_without_content_and_interim_ones_pass(io: Io) {
    let endpoint = H2Endpoint::listens();
    let gateway = before(io, &endpoint).start();
    let mut client = gateway.client();
    client.sends("HEAD /head HTTP/1.1\r\nHost: a\r\n\r\n");
    let accepted = endpoint.accepts();
    accepted.expects("HEAD /head").replies(200, &[("content-length", "1234")], "");
    assert_eq!(client.expects_head(200).field("content-length"), Some("1234"));
    client.asks("/none");
    accepted.expects("GET /none").replies(204, &[], "");
    assert!(client.expects(204).field("content-length").is_none());
    client.asks("/same");
    accepted.expects("GET /same").replies(304, &[("etag", "\"a\"")], "");
    assert_eq!(client.expects(304).field("etag"), Some("\"a\""));
    client.asks("/empty");
    accepted.expects("GET /empty").replies(200, &[], "");
    assert_eq!(client.expects(200).field("content-length"), Some("0"));
    client.sends("PUT /slow HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
    let mut asked = accepted.expects("PUT /slow");
    assert_eq!(asked.field("expect"), "100-continue");
    asked.informs(100, &[]);
    client.expects_interim(100);
    client.sends("ok");
    assert_eq!(asked.reads_all(), b"ok");
    asked.informs(103, &[("link", "</a>")]);
    asked.replies_with("done");
    let message = client.expects(200);
    assert_eq!((message.text(), message.interims[0].field("link")), ("done", Some("</a>")));
    gateway.stop();
}

/// F26: a client that leaves cancels its stream, and no other.
fn a_client_that_leaves_cancels_its_stream(io: Io) {
    let endpoint = H2Endpoint::listens();
    let gateway = before(io, &endpoint).start();
    let (mut leaving, mut staying) = (gateway.client(), gateway.client());
    leaving.asks("/leaves");
    let accepted = endpoint.accepts();
    let left = accepted.expects("GET /leaves");
    staying.asks("/stays");
    let kept = accepted.expects("GET /stays");
    leaving.resets();
    assert_eq!(left.waits_for_reset(), Reason::CANCEL);
    kept.replies_with("kept");
    assert_eq!(staying.expects(200).text(), "kept");
    assert_eq!(gateway.log_of("/leaves")["reason"], "client_abort");
    gateway.waits_for("http2_upstream_streams_active", 0.0);
    assert!(endpoint.is_alone());
    gateway.stop();
}

/// F9: a response that is cut short is never ended as if it were whole.
fn a_response_that_is_cut_short_is_not_ended(io: Io) {
    let endpoint = H2Endpoint::listens();
    let gateway = before(io, &endpoint).start();
    for (path, fields) in [("/sized", &[("content-length", "1000")][..]), ("/open", &[])] {
        let mut client = gateway.client();
        client.asks(path);
        let accepted = endpoint.accepts();
        let mut asked = accepted.expects(&format!("GET {path}"));
        asked.begins(200, fields, false);
        asked.sends("0123456789", false);
        client.expects_head(200);
        asked.resets(Reason::INTERNAL_ERROR);
        let (rest, _) = client.reads_to_end();
        assert!(rest.len() < 1000 && !rest.ends_with(b"0\r\n\r\n"), "{path}: {rest:?}");
        assert_eq!(gateway.log_of(path)["reason"], "upstream_truncated");
        // Another connection for the next.
        accepted.drops();
        gateway.waits_for("http2_upstream_connections", 0.0);
    }
    gateway.stop();
}

on_both_drivers!(
    a_request_is_translated_and_so_is_its_answer,
    requests_share_a_connection,
    bodies_and_trailers_pass_in_both_directions,
    heads_without_content_and_interim_ones_pass,
    a_client_that_leaves_cancels_its_stream,
    a_response_that_is_cut_short_is_not_ended,
);
