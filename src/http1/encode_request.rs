//! Writing the request that goes upstream.

use super::certificate::ClientCertificate;
use super::edits::FieldEdits;
use super::encode::{push_all, push_fields, push_length, push_line, push_number};
use super::fields::{CLAIMS, Field, FieldKind, KindSet, is_loosely};
use super::framing::BodyLength;
use super::grpc::push_grpc_timeout;
use super::method::{Method, Version};
use super::request::RequestHead;
use super::traceparent::TraceOut;
use core::net::IpAddr;
use std::io::Write as _;

/// What the gateway says about the client in the forwarding fields.
#[derive(Copy, Clone, Debug)]
pub struct Forwarded<'a> {
    /// The peer's address as text, from the socket.
    pub peer_ip: &'a [u8],
    /// `http` or `https`: how the client reached us.
    pub proto: &'static str,
    /// The client, if the peer is a proxy whose own forwarding fields are believed: by these, or the peer.
    pub client: Option<IpAddr>,
}

/// How a request is written.
#[derive(Copy, Clone, Debug)]
pub struct RequestOut<'a> {
    /// Path to ask for, in its normal form, or `*`.
    pub path: &'a [u8],
    /// Query without its question mark.
    pub query: Option<&'a [u8]>,
    /// Value of Host.
    pub host: &'a [u8],
    /// Who the client is.
    pub forwarded: Forwarded<'a>,
    /// Value of X-Request-ID; empty for none.
    pub request_id: &'a [u8],
    /// What to say of the trace; what came goes on where nothing is said.
    pub trace: Option<TraceOut>,
    /// Our pseudonym in Via.
    pub via: &'a [u8],
    /// Did the request come by HTTP/2?
    pub by_h2: bool,
    /// Edits of the route.
    pub edits: &'a FieldEdits,
    /// Lines that policies add, each with its CR LF; edits do not touch them.
    pub added: &'a [&'a [u8]],
    /// Framing of the body as it will be sent; never `UntilClose`.
    pub body: BodyLength,
    /// Name of a field that tells the upstream its deadline, and milliseconds.
    pub timeout_ms: Option<(&'a [u8], u64)>,
    /// Whether the connection will not be used again.
    pub close: bool,
    /// The protocol to ask for a switch to; empty for none.
    pub upgrade: &'a [u8],
    /// Milliseconds that are left of a gRPC call; the client's own `grpc-timeout` goes on where nothing is said.
    pub grpc_timeout_ms: Option<u64>,
    /// What the client's certificate says, for the edits.
    pub certificate: Option<&'a ClientCertificate>,
}

/// Fields that are written by ourselves or not at all.
const OWN: KindSet = KindSet::of(&[
    FieldKind::Host,
    FieldKind::ContentLength,
    FieldKind::TransferEncoding,
    FieldKind::Expect,
    FieldKind::XForwardedFor,
    FieldKind::XRequestId,
]);

/// Appends the head of the request that goes upstream.
///
/// | field | written |
/// |---|---|
/// | Host | exactly one, first (RFC 9112 section 3.2) |
/// | hop-by-hop and those that Connection names | never (RFC 9110 section 7.6.1) |
/// | Content-Length, Transfer-Encoding | at most one of both, by `how.body` (RFC 9112 section 6.2) |
/// | Expect | `100-continue` if the client asked (RFC 9110 section 10.1.1) |
/// | TE | `trailers` with `Connection: TE` if the client asked (RFC 9110 section 10.1.4) |
/// | Upgrade | `how.upgrade` with `Connection: Upgrade` (RFC 9110 section 7.8) |
/// | Trailer | as received if the body goes on in chunks |
/// | Max-Forwards | one less for OPTIONS and TRACE (RFC 9110 section 7.6.2) |
/// | grpc-timeout | `how.grpc_timeout_ms`, else as received |
/// | Via | appended (RFC 9110 section 7.6.3) |
/// | Forwarded, X-Forwarded-*, X-Real-IP | the client's only if the peer is trusted, else our own |
/// | X-Request-ID | `how.request_id` |
/// | traceparent | `how.trace`, else as received |
/// | tracestate | as received, if the trace is the one it came with (W3C Trace Context section 3.3) |
/// | all others | as received, in their order |
///
/// Edits act last. Nothing is allocated but room in `out`.
pub fn encode_request(out: &mut Vec<u8>, bytes: &[u8], head: &RequestHead, how: &RequestOut<'_>) {
    debug_assert!(how.body != BodyLength::UntilClose, "a request cannot end with its connection");
    out.reserve(head.len() + 512);
    push_request_line(out, head.method_name(bytes), how);
    let dropped = dropped_kinds(head, how);
    let deadline = how.timeout_ms.map_or(&b""[..], |(name, _)| name);
    push_fields(out, bytes, head.fields(), |field| keeps(field, bytes, dropped, deadline, how.edits));
    push_forwarding(out, bytes, head, how);
    push_via(out, head.version(), how);
    push_own(out, head, how);
    push_all(out, how.added);
    out.extend_from_slice(how.edits.lines());
    how.edits.push_templates(out, how.certificate);
    out.extend_from_slice(b"\r\n");
}

/// The request line with our own version (RFC 9112 section 2.3), and Host.
#[inline]
fn push_request_line(out: &mut Vec<u8>, method: &[u8], how: &RequestOut<'_>) {
    out.extend_from_slice(method);
    out.push(b' ');
    out.extend_from_slice(how.path);
    if let Some(query) = how.query {
        out.push(b'?');
        out.extend_from_slice(query);
    }
    out.extend_from_slice(b" HTTP/1.1\r\nHost: ");
    out.extend_from_slice(how.host);
    out.extend_from_slice(b"\r\n");
}

/// The kinds of this request that are not copied.
#[inline]
fn dropped_kinds(head: &RequestHead, how: &RequestOut<'_>) -> KindSet {
    let mut dropped = if how.forwarded.client.is_some() { OWN } else { OWN.union(CLAIMS) };
    if how.body != BodyLength::Chunked {
        dropped = dropped.with(FieldKind::Trailer);
    }
    if head.max_forwards().is_some() {
        dropped = dropped.with(FieldKind::MaxForwards);
    }
    if how.grpc_timeout_ms.is_some() {
        dropped = dropped.with(FieldKind::GrpcTimeout);
    }
    if let Some(trace) = how.trace {
        dropped = dropped.with(FieldKind::Traceparent);
        if !trace.is_continued {
            dropped = dropped.with(FieldKind::Tracestate);
        }
    }
    dropped
}

/// Whether a field is copied.
#[inline]
fn keeps(field: &Field, bytes: &[u8], dropped: KindSet, deadline: &[u8], edits: &FieldEdits) -> bool {
    !field.hop
        && !dropped.contains(field.kind)
        && !is_loosely(field.name.of(bytes), deadline)
        && (edits.is_empty() || !edits.drops(field.kind, field.name.of(bytes)))
}

/// The fields that tell the upstream who the client is.
fn push_forwarding(out: &mut Vec<u8>, bytes: &[u8], head: &RequestHead, how: &RequestOut<'_>) {
    let Forwarded { peer_ip, proto, client } = how.forwarded;
    let trusted = client.is_some();
    let is_ours = |kind, name: &[u8]| !(how.edits.drops(kind, name) || trusted && head.find(bytes, kind).is_some());
    if !how.edits.drops(FieldKind::XForwardedFor, b"x-forwarded-for") {
        out.extend_from_slice(b"X-Forwarded-For: ");
        if trusted {
            push_received_hops(out, bytes, head);
        }
        out.extend_from_slice(peer_ip);
        out.extend_from_slice(b"\r\n");
    }
    if is_ours(FieldKind::XForwardedProto, b"x-forwarded-proto") {
        push_line(out, b"X-Forwarded-Proto", proto.as_bytes());
    }
    if !head.authority().is_empty() && is_ours(FieldKind::XForwardedHost, b"x-forwarded-host") {
        push_line(out, b"X-Forwarded-Host", head.authority());
    }
    if is_ours(FieldKind::XRealIp, b"x-real-ip") {
        match client {
            Some(client) => {
                out.extend_from_slice(b"X-Real-IP: ");
                push_address(out, client);
                out.extend_from_slice(b"\r\n");
            }
            None => push_line(out, b"X-Real-IP", peer_ip),
        }
    }
}

/// Appends an address; one of IPv4 without a formatter, which would be a tenth of the whole head.
fn push_address(out: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(address) => {
            for (at, part) in address.octets().into_iter().enumerate() {
                if at > 0 {
                    out.push(b'.');
                }
                push_number(out, u64::from(part));
            }
        }
        // Writing to memory cannot fail.
        IpAddr::V6(address) => drop(write!(out, "{address}")),
    }
}

/// What a trusted peer sent in X-Forwarded-For, all lines in one list, with a comma behind it.
fn push_received_hops(out: &mut Vec<u8>, bytes: &[u8], head: &RequestHead) {
    for hops in head.all(bytes, FieldKind::XForwardedFor).filter(|hops| !hops.is_empty()) {
        out.extend_from_slice(hops);
        out.extend_from_slice(b", ");
    }
}

/// Via with the version that was received and our name (RFC 9110 section 7.6.3).
#[inline]
fn push_via(out: &mut Vec<u8>, received: Version, how: &RequestOut<'_>) {
    out.extend_from_slice(match received {
        _ if how.by_h2 => b"Via: 2.0 ",
        Version::Http10 => b"Via: 1.0 ",
        Version::Http11 => b"Via: 1.1 ",
    });
    out.extend_from_slice(how.via);
    out.extend_from_slice(b"\r\n");
}

/// The fields that belong to this hop and this message.
#[inline]
fn push_own(out: &mut Vec<u8>, head: &RequestHead, how: &RequestOut<'_>) {
    if !how.request_id.is_empty() && !how.edits.drops(FieldKind::XRequestId, b"x-request-id") {
        push_line(out, b"X-Request-ID", how.request_id);
    }
    if let Some(trace) = how.trace
        && !how.edits.drops(FieldKind::Traceparent, b"traceparent")
    {
        out.extend_from_slice(b"traceparent: ");
        trace.parent.push(out);
        out.extend_from_slice(b"\r\n");
    }
    if let (Some(hops), Method::Options | Method::Trace) = (head.max_forwards(), head.method()) {
        out.extend_from_slice(b"Max-Forwards: ");
        push_number(out, u64::from(hops.saturating_sub(1)));
        out.extend_from_slice(b"\r\n");
    }
    if let Some((name, milliseconds)) = how.timeout_ms {
        out.extend_from_slice(name);
        out.extend_from_slice(b": ");
        push_number(out, milliseconds);
        out.extend_from_slice(b"\r\n");
    }
    if let Some(milliseconds) = how.grpc_timeout_ms {
        out.extend_from_slice(b"grpc-timeout: ");
        push_grpc_timeout(out, milliseconds);
        out.extend_from_slice(b"\r\n");
    }
    if head.expects_continue() {
        out.extend_from_slice(b"Expect: 100-continue\r\n");
    }
    match how.body {
        BodyLength::Exact(length) => push_length(out, length),
        BodyLength::Chunked => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
        BodyLength::None | BodyLength::UntilClose => {}
    }
    if !how.upgrade.is_empty() {
        // RFC 9110 section 7.8: Upgrade goes with the connection option of its name. A switch leaves no trailers to take.
        out.extend_from_slice(b"Connection: Upgrade\r\n");
        return push_line(out, b"Upgrade", how.upgrade);
    }
    // RFC 9110 section 10.1.4: TE goes with the connection option of its name.
    out.extend_from_slice(match (head.accepts_trailers(), how.close) {
        (true, true) => b"TE: trailers\r\nConnection: close, TE\r\n",
        (true, false) => b"TE: trailers\r\nConnection: TE\r\n",
        (false, true) => b"Connection: close\r\n",
        (false, false) => b"",
    });
}

#[cfg(test)]
mod tests;
