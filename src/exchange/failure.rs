//! Every way an exchange can fail, and what follows from each.

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

/// How loudly a failure is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Everyday noise.
    Info,
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
    /// The host is not one this listener answers for.
    Misdirected,
    /// The request has been here before.
    LoopDetected,
    /// No file descriptor or port was left for a connection.
    DescriptorsExhausted,
    /// The endpoint refused the connection.
    ConnectRefused,
    /// The endpoint did not answer the connection attempt in time.
    ConnectTimeout,
    /// The connection failed in another way.
    ConnectFailed,
    /// The endpoint reset the connection before its response.
    UpstreamReset,
    /// The endpoint closed the connection before its response.
    UpstreamEof,
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
    /// The endpoint's body ended before its framing did.
    UpstreamTruncated,
    /// The endpoint's body stalled.
    UpstreamBodyTimeout,
    /// The endpoint's chunked body breaks the grammar.
    BadResponseBody(ChunkError),
}

/// What follows from a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Status of the local reply; 499 stands for a client that is gone or cannot be told.
    pub status: u16,
    /// Who is to blame.
    pub fault: Fault,
    /// May the request be sent again, if it can be replayed?
    pub retryable: bool,
    /// How loudly it is told.
    pub severity: Severity,
    /// Reason code in logs, metrics and `X-Gateway-Reason`.
    pub label: &'static str,
    /// Content of the local reply.
    pub text: &'static str,
}

const fn verdict(
    status: u16,
    fault: Fault,
    retryable: bool,
    severity: Severity,
    label: &'static str,
    text: &'static str,
) -> Verdict {
    Verdict { status, fault, retryable, severity, label, text }
}

impl Failure {
    /// One of each, for tables and counters; the details of a grammar error do not make a new kind.
    pub const KINDS: [Self; 28] = [
        Self::BadRequest(HeadError::ALL[0]),
        Self::BadRequestBody(ChunkError::ALL[0]),
        Self::ClientHeaderTimeout,
        Self::ClientBodyTimeout,
        Self::ClientWriteTimeout,
        Self::ClientAbort,
        Self::BodyTooLarge,
        Self::MethodRefused,
        Self::RouteNotFound,
        Self::Misdirected,
        Self::LoopDetected,
        Self::DescriptorsExhausted,
        Self::ConnectRefused,
        Self::ConnectTimeout,
        Self::ConnectFailed,
        Self::UpstreamReset,
        Self::UpstreamEof,
        Self::UpstreamTimeout,
        Self::RequestTimeout,
        Self::UpstreamWriteTimeout,
        Self::BadResponse(HeadError::ALL[0]),
        Self::ResponseHeadCut,
        Self::ResponseHeaderTooLarge,
        Self::InterimFlood,
        Self::UnaskedSwitch,
        Self::UpstreamTruncated,
        Self::UpstreamBodyTimeout,
        Self::BadResponseBody(ChunkError::ALL[0]),
    ];

    /// Its place in [`Failure::KINDS`], the index of its counters.
    #[must_use]
    pub fn index(self) -> usize {
        let kind = std::mem::discriminant(&self);
        let place = Self::KINDS.iter().position(|known| std::mem::discriminant(known) == kind);
        place.expect("KINDS holds one of each")
    }

    /// What follows from this failure: the one place that decides it.
    #[must_use]
    pub fn verdict(self) -> Verdict {
        use Fault::{Client, Gateway, Upstream};
        use Severity::{Error, Info, Warning};
        match self {
            Self::BadRequest(why) => verdict(why.status(), Client, false, Info, "bad_request", why.explain()),
            Self::BadRequestBody(why) => verdict(why.status(), Client, false, Info, "bad_request_body", why.explain()),
            Self::ClientHeaderTimeout => {
                verdict(408, Client, false, Info, "client_header_timeout", "the request head took too long")
            }
            Self::ClientBodyTimeout => {
                verdict(408, Client, false, Info, "client_body_timeout", "the request body came too slowly")
            }
            Self::ClientWriteTimeout => {
                verdict(499, Client, false, Info, "client_write_timeout", "the client took nothing of its response")
            }
            Self::ClientAbort => verdict(499, Client, false, Info, "client_abort", "the client left"),
            Self::BodyTooLarge => verdict(413, Client, false, Info, "body_too_large", "request body too large"),
            Self::MethodRefused => verdict(405, Client, false, Info, "method_refused", "method not allowed"),
            Self::RouteNotFound => verdict(404, Client, false, Info, "route_not_found", "route not found"),
            Self::Misdirected => verdict(421, Client, false, Info, "misdirected", "host not served here"),
            Self::LoopDetected => verdict(508, Gateway, false, Error, "loop_detected", "the request has been here before"),
            Self::DescriptorsExhausted => {
                verdict(503, Gateway, false, Error, "descriptors_exhausted", "no connection to the upstream was left")
            }
            Self::ConnectRefused => verdict(502, Upstream, true, Error, "connect_refused", "upstream refused the connection"),
            Self::ConnectTimeout => verdict(504, Upstream, true, Error, "connect_timeout", "upstream connection timed out"),
            Self::ConnectFailed => verdict(502, Upstream, true, Error, "connect_failed", "upstream connection failed"),
            Self::UpstreamReset => verdict(502, Upstream, true, Error, "upstream_reset", "upstream reset the connection"),
            Self::UpstreamEof => verdict(502, Upstream, true, Error, "upstream_eof", "upstream closed the connection"),
            Self::UpstreamTimeout => verdict(504, Upstream, false, Error, "upstream_timeout", "upstream timed out"),
            Self::RequestTimeout => verdict(504, Upstream, false, Error, "request_timeout", "upstream timed out"),
            Self::UpstreamWriteTimeout => {
                verdict(504, Upstream, false, Error, "upstream_write_timeout", "upstream took nothing of the request")
            }
            Self::BadResponse(_) => verdict(502, Upstream, false, Error, "bad_response", "upstream sent a malformed response"),
            Self::ResponseHeadCut => {
                verdict(502, Upstream, false, Error, "upstream_head_cut", "upstream closed in its response head")
            }
            Self::ResponseHeaderTooLarge => {
                verdict(502, Upstream, false, Error, "upstream_header_too_large", "upstream sent too large a response head")
            }
            Self::InterimFlood => {
                verdict(502, Upstream, false, Error, "interim_flood", "upstream sent too many interim responses")
            }
            Self::UnaskedSwitch => {
                verdict(502, Upstream, false, Error, "unasked_switch", "upstream switched protocols unasked")
            }
            Self::UpstreamTruncated => {
                verdict(502, Upstream, false, Warning, "upstream_truncated", "upstream cut its response short")
            }
            Self::UpstreamBodyTimeout => {
                verdict(504, Upstream, false, Warning, "upstream_body_timeout", "upstream stalled in its response")
            }
            Self::BadResponseBody(_) => {
                verdict(502, Upstream, false, Warning, "bad_response_body", "upstream sent a malformed body")
            }
        }
    }

    /// The finer reason behind a grammar error, for the log.
    #[must_use]
    pub fn detail(self) -> &'static str {
        if let Self::BadRequest(why) | Self::BadResponse(why) = self {
            why.label()
        } else if let Self::BadRequestBody(why) | Self::BadResponseBody(why) = self {
            why.label()
        } else {
            self.verdict().label
        }
    }

    /// The table of every failure as Markdown: the operator's reference.
    #[must_use]
    pub fn reference() -> String {
        let mut table = String::from("| reason | status | fault | retried when replay is safe | level |\n|---|---|---|---|---|\n");
        for kind in Self::KINDS {
            let Verdict { status, fault, retryable, severity, label, .. } = kind.verdict();
            let status = if matches!(kind, Self::BadRequest(_) | Self::BadRequestBody(_)) {
                "400, 413, 414, 417, 431, 501 or 505".to_owned()
            } else {
                status.to_string()
            };
            let retried = if retryable { "yes" } else { "no" };
            let level = format!("{severity:?}").to_lowercase();
            table.push_str(&format!("| `{label}` | {status} | {} | {retried} | {level} |\n", fault.name()));
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
    fn only_what_never_reached_an_application_or_died_before_a_byte_is_retryable() {
        for kind in Failure::KINDS.into_iter().filter(|kind| kind.verdict().retryable) {
            assert_eq!(kind.verdict().fault, Fault::Upstream, "{kind:?}");
            assert_ne!(kind, Failure::UpstreamTimeout);
        }
    }

    #[test]
    fn the_reference_in_the_documents_is_this_table() {
        let document = include_str!("../../ARCHITECTURE.md");
        let table = Failure::reference();
        assert!(document.contains(&table), "ARCHITECTURE.md must hold this table:\n{table}");
    }
}
