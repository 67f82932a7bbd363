//! Trailers behind a body with a length, which HTTP/2 has on both sides and HTTP/1.1 between them has not (RFC 9113 section 8.1).

use h2::Reason;

use super::h2_client::H2Client;
use super::h2_endpoint::H2Endpoint;
use super::plan::{Io, Plan};

/// The fields of a call whose body has this length.
fn call(length: &str) -> [(&str, &str); 3] {
    [("content-type", "application/grpc"), ("te", "trailers"), ("content-length", length)]
}

fn before(io: Io, endpoint: &H2Endpoint, route: &str) -> Plan {
    let route = format!("name: everything, cluster: app{route}");
    Plan::bare(io).speaks_h2().cluster_of("app", &endpoint.entry()).route(&route)
}

/// Whatever of a message is there when: the last of a body does not go ahead of its trailers.
fn trailers_may_come_long_behind_the_body(io: Io) {
    let endpoint = H2Endpoint::listens();
    let gateway = before(io, &endpoint, "").start();
    let mut front = H2Client::to(gateway.address());
    let mut stream = front.begins("POST", "/call", &call("5"));
    stream.sends("hel", false);
    let accepted = endpoint.accepts();
    let mut asked = accepted.expects("POST /call");
    assert_eq!(asked.reads().as_deref(), Some(&b"hel"[..]));
    stream.sends("lo", false).sends_trailers(&[("x-up", "1")]);
    assert_eq!(asked.reads_all(), b"lo");
    assert_eq!(asked.reads_trailers()["x-up"], "1");
    asked.begins(200, &[("content-type", "application/grpc"), ("content-length", "5")], false);
    stream.expects_head(200);
    asked.sends("wor", false);
    assert_eq!(stream.reads().as_deref(), Some(&b"wor"[..]));
    asked.sends("ld", false);
    asked.sends_trailers(&[("grpc-status", "7"), ("grpc-message", "no")]);
    assert_eq!(stream.reads().as_deref(), Some(&b"ld"[..]));
    assert_eq!(stream.reads(), None);
    let trailers = stream.reads_trailers();
    assert_eq!((&trailers["grpc-status"], &trailers["grpc-message"]), (&"7".parse().unwrap(), &"no".parse().unwrap()));
    let line = gateway.log_of("/call");
    assert_eq!(line["grpc_status"], 7, "{line}");
    gateway.stop();
}

/// What goes out again goes with its trailers.
fn trailers_are_repeated_with_their_body(io: Io) {
    let endpoint = H2Endpoint::listens();
    let gateway = before(io, &endpoint, "").start();
    let mut front = H2Client::to(gateway.address());
    let mut stream = front.begins("POST", "/call", &call("5"));
    stream.sends("hello", false).sends_trailers(&[("x-up", "1")]);
    let accepted = endpoint.accepts();
    for turn in 0..2 {
        let mut asked = accepted.expects("POST /call");
        assert_eq!(asked.reads_all(), b"hello");
        assert_eq!(asked.reads_trailers()["x-up"], "1");
        if turn == 0 {
            asked.resets(Reason::REFUSED_STREAM);
        } else {
            asked.replies_with("done");
        }
    }
    assert_eq!(stream.expects(200).text(), "done");
    gateway.stop();
}

/// RFC 9110 section 6.5.1: what may not be in a trailer, or what a route removes, is left out of these as well.
fn what_may_not_be_in_a_trailer_is_left_out(io: Io) {
    let endpoint = H2Endpoint::listens();
    let gateway =
        before(io, &endpoint, ", headers: { request: { remove: [x-user] }, response: { remove: [x-inner] } }").start();
    let mut front = H2Client::to(gateway.address());
    let mut stream = front.begins("POST", "/call", &call("5"));
    stream.sends("hello", false).sends_trailers(&[("x-up", "1"), ("x-user", "root"), ("authorization", "x")]);
    let mut asked = endpoint.accepts().expects("POST /call");
    assert_eq!(asked.reads_all(), b"hello");
    let trailers = asked.reads_trailers();
    assert_eq!((trailers.len(), &trailers["x-up"]), (1, &"1".parse().unwrap()), "{trailers:?}");
    asked.begins(200, &[("content-length", "2")], false);
    asked.sends("ok", false);
    asked.sends_trailers(&[("x-sum", "1"), ("x-inner", "1"), ("set-cookie", "a=b"), ("content-length", "7")]);
    let reply = stream.expects(200);
    assert_eq!((reply.trailers.len(), &reply.trailers["x-sum"]), (1, &"1".parse().unwrap()), "{reply:?}");
    gateway.stop();
}

on_both_drivers!(
    trailers_may_come_long_behind_the_body,
    trailers_are_repeated_with_their_body,
    what_may_not_be_in_a_trailer_is_left_out,
);
