//! Every way an exchange can fail, and what follows from each.

mod grpc;
mod unproven;

pub use grpc::GrpcStatus;
pub use unproven::Unproven;

use crate::http1::{ChunkError, HeadError};

/// Who is to blame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The client: what it sent, or that it left.
    Client,
    /// The gateway: its configuration or its own limits.
    Gateway,
    /// The endpoint.
    Upstream,
}

impl Fault {
    /// The name in logs and documents.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Gateway => "gateway",
            Self::Upstream => "upstream",
        }
    }
}

/// What was being done when an exchange failed, in the order of the walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The request's head or body was being received.
    Receive,
    /// A route was being chosen, or what it allows looked at.
    Route,
    /// The policies of the route were asked, or a place under the limits of the gateway and its clusters was sought.
    Admit,
    /// An endpoint was being chosen.
    Balance,
    /// A connection to the endpoint was being made or secured.
    Connect,
    /// The request was being sent to the endpoint.
    Send,
    /// The head of the endpoint's response was awaited.
    Answer,
    /// The body of the endpoint's response was being relayed.
    Relay,
    /// The response was being sent to the client, or the exchange was given up before its end.
    Respond,
    /// A connection that had switched protocols was open.
    Tunnel,
}

impl Stage {
    /// The name in logs and documents.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Receive => "receive",
            Self::Route => "route",
            Self::Admit => "admit",
            Self::Balance => "balance",
            Self::Connect => "connect",
            Self::Send => "send",
            Self::Answer => "answer",
            Self::Relay => "relay",
            Self::Respond => "respond",
            Self::Tunnel => "tunnel",
        }
    }
}

/// What lets another attempt follow, if the request can be sent again: a condition of the route's `retry.on`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryOn {
    /// `connect`: nothing was sent.
    Connect,
    /// `reset`: the endpoint took the request and its connection died before a byte of an answer.
    Reset,
    /// The status of the answer.
    Status,
    /// `timeout`: no answer in time.
    Timeout,
    /// Nothing has to: the endpoint did not look at the request.
    Unread,
    /// Nothing does.
    Never,
}

impl RetryOn {
    /// The name in documents.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Reset => "reset",
            Self::Status => "its status",
            Self::Timeout => "timeout",
            Self::Unread => "always",
            Self::Never => "-",
        }
    }
}

/// How loudly a failure is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Everyday noise.
    Notice,
    /// Worth a look when frequent.
    Warning,
    /// Worth a look.
    Error,
}

/// How an exchange failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The request's head breaks a rule of RFC 9112.
    BadRequest(HeadError),
    /// The request's chunked body breaks the grammar.
    BadRequestBody(ChunkError),
    /// The client speaks HTTP where TLS is spoken.
    PlainHttp,
    /// The request's head took too long.
    ClientHeaderTimeout,
    /// The request's body came too slowly.
    ClientBodyTimeout,
    /// The client takes nothing of its response.
    ClientWriteTimeout,
    /// The client left.
    ClientAbort,
    /// The request's body is larger than the route allows.
    BodyTooLarge,
    /// TRACE or CONNECT.
    MethodRefused,
    /// No route matches.
    RouteNotFound,
    /// The client's address is none that may pass.
    AccessDenied,
    /// Scripts of this origin may not ask for this.
    OriginRefused,
    /// A rate limit of the route, or that of all, is used up.
    RateLimited,
    /// The live policy lets nothing pass.
    PolicyEnforced,
    /// The client did not prove who it is, or may not although it did.
    Unproven(Unproven),
    /// The store of a rate limit does not answer, and the policy lets nothing pass without it.
    LimiterUnavailable,
    /// The route is for clients with a certificate, and this one showed none.
    CertificateMissing,
    /// The host is not one this listener answers for.
    Misdirected,
    /// The request has been here before.
    LoopDetected,
    /// A reload removed the listener that the connection came in by.
    ListenerRemoved,
    /// No file descriptor or port was left for a connection.
    DescriptorsExhausted,
    /// The process has no memory to spare.
    MemoryShort,
    /// The cluster has more to do than it can without getting slow.
    Overloaded,
    /// The cluster's cap on connections is reached.
    UpstreamSaturated,
    /// The wait for a connection took too long.
    QueueTimeout,
    /// The breakers of all endpoints that might be tried are open.
    BreakerOpen,
    /// No endpoint is fit.
    NoneFit,
    /// The endpoint refused the connection.
    ConnectRefused,
    /// The endpoint did not answer the connection attempt in time.
    ConnectTimeout,
    /// The connection failed in another way.
    ConnectFailed,
    /// The endpoint's certificate is signed by nobody we know.
    CertificateUnknown,
    /// The endpoint's certificate is for another name.
    CertificateName,
    /// The endpoint's certificate is not valid now.
    CertificateExpired,
    /// The endpoint does not speak TLS, although its URL says so.
    NotTls,
    /// The endpoint and the gateway have no TLS version, suite or protocol in common.
    NoSharedTls,
    /// The TLS handshake with the endpoint failed in another way.
    TlsFailed,
    /// The endpoint speaks TLS, although its URL does not say so.
    SpeaksTls,
    /// The endpoint does not speak HTTP/2, although the configuration says so.
    NotH2,
    /// The endpoint speaks HTTP/2, although the configuration does not say so.
    SpeaksH2,
    /// The endpoint took no stream on its connection in time (RFC 9113 section 6.5.2).
    NoStream,
    /// The endpoint did nothing with the request and said so (RFC 9113 section 8.7).
    StreamRefused,
    /// The endpoint reset the stream of the request before its response.
    StreamReset,
    /// The endpoint gave no sign of life on a connection of HTTP/2.
    UpstreamSilent,
    /// The endpoint reset the connection before its response.
    UpstreamReset,
    /// The endpoint closed the connection before its response.
    UpstreamEof,
    /// The endpoint answered with a status after which the request goes to another.
    UpstreamStatus,
    /// The endpoint's response head took too long.
    UpstreamTimeout,
    /// All attempts together took too long.
    RequestTimeout,
    /// The endpoint takes nothing of the request.
    UpstreamWriteTimeout,
    /// The endpoint's response head breaks a rule of RFC 9112.
    BadResponse(HeadError),
    /// The endpoint closed the connection in the middle of its response head.
    ResponseHeadCut,
    /// The endpoint's response head is too large.
    ResponseHeaderTooLarge,
    /// Too many interim responses.
    InterimFlood,
    /// The endpoint switched protocols although nobody asked.
    UnaskedSwitch,
    /// The endpoint did not switch protocols, and its answer would look to a client of HTTP/2 as if it had.
    NotSwitched,
    /// The endpoint's body ended before its framing did.
    UpstreamTruncated,
    /// The endpoint's body stalled.
    UpstreamBodyTimeout,
    /// The endpoint's chunked body breaks the grammar.
    BadResponseBody(ChunkError),
    /// Neither side of a tunnel said anything for too long.
    TunnelIdle,
    /// The endpoint broke its side of a tunnel; a client that does has left.
    TunnelBroken,
    /// The worker ended before the exchange did.
    Stopped,
    /// The gateway hit a bug of its own.
    Bug,
}

/// What follows from a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Status of the local reply; 499 stands for a client that is gone or cannot be told.
    pub status: u16,
    /// Who is to blame.
    pub fault: Fault,
    /// What of the route's `retry.on` lets another attempt follow.
    pub retry_on: RetryOn,
    /// How loudly it is told.
    pub severity: Severity,
    /// Reason code in logs, metrics and `X-Gateway-Reason`.
    pub label: &'static str,
    /// Content of the local reply.
    pub text: &'static str,
}

const fn client(status: u16, label: &'static str, text: &'static str) -> Verdict {
    Verdict { status, fault: Fault::Client, retry_on: RetryOn::Never, severity: Severity::Notice, label, text }
}

const fn gateway(status: u16, label: &'static str, text: &'static str) -> Verdict {
    Verdict { status, fault: Fault::Gateway, retry_on: RetryOn::Never, severity: Severity::Error, label, text }
}

const fn upstream(status: u16, label: &'static str, text: &'static str) -> Verdict {
    Verdict { status, fault: Fault::Upstream, retry_on: RetryOn::Never, severity: Severity::Error, label, text }
}

/// A connection that was not made.
const fn unreached(status: u16, label: &'static str, text: &'static str) -> Verdict {
    Verdict { retry_on: RetryOn::Connect, ..upstream(status, label, text) }
}

/// An upstream failure before any byte of a response.
const fn unanswered(retry_on: RetryOn, status: u16, label: &'static str, text: &'static str) -> Verdict {
    Verdict { retry_on, ..upstream(status, label, text) }
}

/// An upstream failure in the body of a response, or behind it in a tunnel.
const fn cut(status: u16, label: &'static str, text: &'static str) -> Verdict {
    Verdict { severity: Severity::Warning, ..upstream(status, label, text) }
}

impl Failure {
    /// One of each, for tables and counters; the details of a grammar error do not make a new kind.
    pub const KINDS: [Self; 72] = [
        Self::BadRequest(HeadError::ALL[0]),
        Self::BadRequestBody(ChunkError::ALL[0]),
        Self::PlainHttp,
        Self::ClientHeaderTimeout,
        Self::ClientBodyTimeout,
        Self::ClientWriteTimeout,
        Self::ClientAbort,
        Self::BodyTooLarge,
        Self::MethodRefused,
        Self::RouteNotFound,
        Self::CertificateMissing,
        Self::AccessDenied,
        Self::OriginRefused,
        Self::RateLimited,
        Self::PolicyEnforced,
        Self::Unproven(Unproven::KINDS[0]),
        Self::Unproven(Unproven::KINDS[1]),
        Self::Unproven(Unproven::KINDS[2]),
        Self::Unproven(Unproven::KINDS[3]),
        Self::Unproven(Unproven::KINDS[4]),
        Self::Unproven(Unproven::KINDS[5]),
        Self::Unproven(Unproven::KINDS[6]),
        Self::Unproven(Unproven::KINDS[7]),
        Self::Unproven(Unproven::KINDS[8]),
        Self::Unproven(Unproven::KINDS[9]),
        Self::Unproven(Unproven::KINDS[10]),
        Self::LimiterUnavailable,
        Self::Misdirected,
        Self::LoopDetected,
        Self::ListenerRemoved,
        Self::DescriptorsExhausted,
        Self::MemoryShort,
        Self::Overloaded,
        Self::UpstreamSaturated,
        Self::QueueTimeout,
        Self::BreakerOpen,
        Self::NoneFit,
        Self::ConnectRefused,
        Self::ConnectTimeout,
        Self::ConnectFailed,
        Self::CertificateUnknown,
        Self::CertificateName,
        Self::CertificateExpired,
        Self::NotTls,
        Self::NoSharedTls,
        Self::TlsFailed,
        Self::SpeaksTls,
        Self::NotH2,
        Self::SpeaksH2,
        Self::NoStream,
        Self::StreamRefused,
        Self::StreamReset,
        Self::UpstreamSilent,
        Self::UpstreamReset,
        Self::UpstreamEof,
        Self::UpstreamStatus,
        Self::UpstreamTimeout,
        Self::RequestTimeout,
        Self::UpstreamWriteTimeout,
        Self::BadResponse(HeadError::ALL[0]),
        Self::ResponseHeadCut,
        Self::ResponseHeaderTooLarge,
        Self::InterimFlood,
        Self::UnaskedSwitch,
        Self::NotSwitched,
        Self::UpstreamTruncated,
        Self::UpstreamBodyTimeout,
        Self::BadResponseBody(ChunkError::ALL[0]),
        Self::TunnelIdle,
        Self::TunnelBroken,
        Self::Stopped,
        Self::Bug,
    ];

    /// Its place in [`Failure::KINDS`], the index of its counters.
    #[must_use]
    pub fn index(self) -> usize {
        let kind = std::mem::discriminant(&self);
        let place = Self::KINDS.iter().position(|known| std::mem::discriminant(known) == kind);
        let further = if let Self::Unproven(why) = self { why.place() } else { 0 };
        place.expect("KINDS holds one of each") + further
    }

    /// What follows from this failure: the one place that decides it.
    #[must_use]
    pub fn verdict(self) -> Verdict {
        match self {
            Self::BadRequest(why) => client(why.status(), "bad_request", why.explain()),
            Self::BadRequestBody(why) => client(why.status(), "bad_request_body", why.explain()),
            Self::PlainHttp => client(400, "plain_http", "this port speaks TLS: use https"),
            Self::ClientHeaderTimeout => client(408, "client_header_timeout", "the request head took too long"),
            Self::ClientBodyTimeout => client(408, "client_body_timeout", "the request body came too slowly"),
            Self::ClientWriteTimeout => client(499, "client_write_timeout", "the client took nothing of its response"),
            Self::ClientAbort => client(499, "client_abort", "the client left"),
            Self::BodyTooLarge => client(413, "body_too_large", "request body too large"),
            Self::MethodRefused => client(405, "method_refused", "method not allowed"),
            Self::RouteNotFound => client(404, "route_not_found", "route not found"),
            Self::CertificateMissing => client(403, "client_certificate_missing", "a client certificate is required"),
            Self::AccessDenied => client(403, "access_denied", "access denied"),
            Self::RateLimited => client(429, "rate_limited", "rate limit exceeded"),
            Self::PolicyEnforced => gateway(429, "policy_enforced", "gateway policy enforced"),
            Self::LimiterUnavailable => gateway(503, "limiter_unavailable", "the rate limiter is unavailable"),
            Self::OriginRefused => client(403, "origin_refused", "scripts of this origin may not ask for this"),
            Self::Unproven(why) => why.verdict(),
            Self::Misdirected => client(421, "misdirected", "host not served here"),
            Self::LoopDetected => gateway(508, "loop_detected", "the request has been here before"),
            Self::ListenerRemoved => gateway(503, "listener_removed", "nothing is served here any more"),
            Self::DescriptorsExhausted => gateway(503, "descriptors_exhausted", "no upstream connection was left"),
            Self::MemoryShort => gateway(503, "overloaded_memory", "the gateway is short of memory"),
            Self::Overloaded => gateway(503, "overloaded", "upstream overloaded"),
            Self::UpstreamSaturated => gateway(503, "upstream_saturated", "upstream saturated"),
            Self::QueueTimeout => gateway(503, "upstream_queue_timeout", "upstream saturated"),
            Self::BreakerOpen => upstream(503, "breaker_open", "upstream breaker open"),
            Self::NoneFit => upstream(503, "no_healthy_endpoint", "no healthy upstream"),
            Self::ConnectRefused => unreached(502, "connect_refused", "upstream refused the connection"),
            Self::ConnectTimeout => unreached(504, "connect_timeout", "upstream connection timed out"),
            Self::ConnectFailed => unreached(502, "connect_failed", "upstream connection failed"),
            Self::CertificateUnknown => unreached(502, "tls_unknown_issuer", "upstream certificate of unknown issuer"),
            Self::CertificateName => unreached(502, "tls_wrong_name", "upstream certificate for another name"),
            Self::CertificateExpired => unreached(502, "tls_expired", "upstream certificate not valid now"),
            Self::NotTls => unreached(502, "tls_plain_peer", "upstream does not speak TLS"),
            Self::NoSharedTls => {
                unreached(502, "tls_no_shared_version", "no TLS version or protocol shared with upstream")
            }
            Self::TlsFailed => unreached(502, "tls_failed", "TLS handshake with upstream failed"),
            Self::SpeaksTls => upstream(502, "upstream_speaks_tls", "upstream speaks TLS: use https in its url"),
            Self::NotH2 => unreached(502, "upstream_not_h2", "upstream speaks no HTTP/2: use http1 for its protocol"),
            Self::SpeaksH2 => upstream(502, "upstream_speaks_h2", "upstream speaks HTTP/2: use h2 for its protocol"),
            Self::NoStream => unreached(504, "upstream_no_stream", "upstream takes no requests"),
            Self::StreamRefused => {
                unanswered(RetryOn::Unread, 502, "upstream_stream_refused", "upstream refused the request unread")
            }
            Self::StreamReset => unanswered(RetryOn::Reset, 502, "upstream_stream_reset", "upstream reset the request"),
            Self::UpstreamSilent => unanswered(RetryOn::Reset, 504, "upstream_silent", "upstream gave no sign of life"),
            Self::UpstreamReset => unanswered(RetryOn::Reset, 502, "upstream_reset", "upstream reset the connection"),
            Self::UpstreamEof => unanswered(RetryOn::Reset, 502, "upstream_eof", "upstream closed the connection"),
            Self::UpstreamStatus => unanswered(RetryOn::Status, 502, "upstream_status", "upstream failed"),
            Self::UpstreamTimeout => unanswered(RetryOn::Timeout, 504, "upstream_timeout", "upstream timed out"),
            Self::RequestTimeout => upstream(504, "request_timeout", "upstream timed out"),
            Self::UpstreamWriteTimeout => upstream(504, "upstream_write_timeout", "upstream took no request"),
            Self::BadResponse(_) => upstream(502, "bad_response", "upstream sent a malformed response"),
            Self::ResponseHeadCut => upstream(502, "upstream_head_cut", "upstream closed in its response head"),
            Self::ResponseHeaderTooLarge => upstream(502, "upstream_header_too_large", "upstream head too large"),
            Self::InterimFlood => upstream(502, "interim_flood", "upstream sent too many interim responses"),
            Self::UnaskedSwitch => upstream(502, "unasked_switch", "upstream switched protocols unasked"),
            Self::NotSwitched => upstream(502, "not_switched", "upstream did not switch protocols"),
            Self::UpstreamTruncated => cut(502, "upstream_truncated", "upstream cut its response short"),
            Self::UpstreamBodyTimeout => cut(504, "upstream_body_timeout", "upstream stalled in its response"),
            Self::BadResponseBody(_) => cut(502, "bad_response_body", "upstream sent a malformed body"),
            Self::TunnelIdle => client(499, "tunnel_idle", "nothing came through the tunnel"),
            Self::TunnelBroken => cut(502, "tunnel_broken", "upstream broke the tunnel"),
            Self::Stopped => gateway(503, "shutting_down", "the gateway is shutting down"),
            Self::Bug => gateway(500, "internal_error", "the gateway failed"),
        }
    }

    /// A response whose head is refused for this reason.
    #[must_use]
    pub const fn of_response(why: HeadError) -> Self {
        match why.status() {
            414 | 431 => Self::ResponseHeaderTooLarge,
            _ => Self::BadResponse(why),
        }
    }

    /// What was being done when it happened.
    #[must_use]
    pub const fn stage(self) -> Stage {
        match self {
            Self::BadRequest(_)
            | Self::BadRequestBody(_)
            | Self::PlainHttp
            | Self::ClientHeaderTimeout
            | Self::ClientBodyTimeout
            | Self::BodyTooLarge => Stage::Receive,
            Self::MethodRefused
            | Self::RouteNotFound
            | Self::CertificateMissing
            | Self::Misdirected
            | Self::LoopDetected
            | Self::ListenerRemoved => Stage::Route,
            Self::AccessDenied
            | Self::OriginRefused
            | Self::RateLimited
            | Self::PolicyEnforced
            | Self::Unproven(_)
            | Self::LimiterUnavailable
            | Self::DescriptorsExhausted
            | Self::MemoryShort
            | Self::Overloaded
            | Self::UpstreamSaturated
            | Self::QueueTimeout => Stage::Admit,
            Self::BreakerOpen | Self::NoneFit => Stage::Balance,
            Self::ConnectRefused
            | Self::ConnectTimeout
            | Self::ConnectFailed
            | Self::CertificateUnknown
            | Self::CertificateName
            | Self::CertificateExpired
            | Self::NotTls
            | Self::NoSharedTls
            | Self::TlsFailed
            | Self::NotH2
            | Self::NoStream => Stage::Connect,
            Self::UpstreamWriteTimeout => Stage::Send,
            Self::SpeaksTls
            | Self::SpeaksH2
            | Self::StreamRefused
            | Self::StreamReset
            | Self::UpstreamSilent
            | Self::UpstreamReset
            | Self::UpstreamEof
            | Self::UpstreamStatus
            | Self::UpstreamTimeout
            | Self::RequestTimeout
            | Self::BadResponse(_)
            | Self::ResponseHeadCut
            | Self::ResponseHeaderTooLarge
            | Self::InterimFlood
            | Self::UnaskedSwitch
            | Self::NotSwitched => Stage::Answer,
            Self::UpstreamTruncated | Self::UpstreamBodyTimeout | Self::BadResponseBody(_) => Stage::Relay,
            Self::ClientWriteTimeout | Self::ClientAbort | Self::Stopped | Self::Bug => Stage::Respond,
            Self::TunnelIdle | Self::TunnelBroken => Stage::Tunnel,
        }
    }

    /// Did a connection to an endpoint end before a byte of a response?
    #[must_use]
    pub const fn is_death(self) -> bool {
        matches!(self, Self::UpstreamReset | Self::UpstreamEof | Self::UpstreamSilent)
    }

    /// Which rule of the grammar was broken, or what is wrong with a token, for the log; empty for other failures.
    #[must_use]
    pub fn detail(self) -> &'static str {
        if let Self::BadRequest(why) | Self::BadResponse(why) = self {
            why.label()
        } else if let Self::BadRequestBody(why) | Self::BadResponseBody(why) = self {
            why.label()
        } else if let Self::Unproven(why) = self {
            why.detail()
        } else {
            ""
        }
    }

    /// The table of every failure as Markdown: the operator's reference.
    #[must_use]
    pub fn reference() -> String {
        let mut table = String::from(
            "| reason | status | gRPC status | fault | stage | `retry.on` | level |\n|---|---|---|---|---|---|---|\n",
        );
        for kind in Self::KINDS {
            let Verdict { status, fault, retry_on, severity, label, .. } = kind.verdict();
            let is_varied = matches!(kind, Self::BadRequest(_) | Self::BadRequestBody(_));
            let status = if is_varied { "400, 414, 417, 431, 501 or 505".to_owned() } else { status.to_string() };
            let grpc = if is_varied { "INTERNAL or RESOURCE_EXHAUSTED" } else { kind.grpc_status().name() };
            let (fault, stage, retry_on) = (fault.name(), kind.stage().name(), retry_on.name());
            let level = format!("{severity:?}").to_lowercase();
            table.push_str(&format!("| `{label}` | {status} | {grpc} | {fault} | {stage} | {retry_on} | {level} |\n"));
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::telemetry::REASONS_MAX;

    #[test]
    fn every_kind_has_its_own_index_and_label() {
        let indices: HashSet<_> = Failure::KINDS.iter().map(|kind| kind.index()).collect();
        let labels: HashSet<_> = Failure::KINDS.iter().map(|kind| kind.verdict().label).collect();
        assert_eq!(indices.len(), Failure::KINDS.len());
        assert_eq!(labels.len(), Failure::KINDS.len());
        assert!(Failure::KINDS.len() <= REASONS_MAX);
    }

    #[test]
    fn another_attempt_follows_only_what_an_endpoint_did_before_its_answer() {
        for kind in Failure::KINDS {
            let (verdict, stage) = (kind.verdict(), kind.stage());
            match verdict.retry_on {
                RetryOn::Connect => assert_eq!(stage, Stage::Connect, "{kind:?}"),
                RetryOn::Reset | RetryOn::Status | RetryOn::Timeout | RetryOn::Unread => {
                    assert_eq!(stage, Stage::Answer, "{kind:?}");
                }
                RetryOn::Never => continue,
            }
            assert_eq!(verdict.fault, Fault::Upstream, "{kind:?}");
        }
    }

    #[test]
    fn the_reference_in_the_documents_is_this_table() {
        let document = include_str!("../../ARCHITECTURE.md");
        let table = Failure::reference();
        assert!(document.contains(&table), "ARCHITECTURE.md must hold this table:\n{table}");
    }
}
