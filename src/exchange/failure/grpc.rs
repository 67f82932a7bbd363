//! What a failure is to a client that speaks gRPC (<https://grpc.github.io/grpc/core/md_doc_statuscodes.html>).

use super::Failure;

/// The status of a call that the gateway ended, of those that it gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum GrpcStatus {
    /// The client gave it up.
    Cancelled = 1,
    /// Its time was over.
    DeadlineExceeded = 4,
    /// The client may not.
    PermissionDenied = 7,
    /// A bound was reached.
    ResourceExhausted = 8,
    /// There is no such method here.
    Unimplemented = 12,
    /// Somebody broke the protocol.
    Internal = 13,
    /// It may work at another time.
    Unavailable = 14,
    /// Nobody knows who the client is.
    Unauthenticated = 16,
}

impl GrpcStatus {
    /// The name that gRPC has for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cancelled => "CANCELLED",
            Self::DeadlineExceeded => "DEADLINE_EXCEEDED",
            Self::PermissionDenied => "PERMISSION_DENIED",
            Self::ResourceExhausted => "RESOURCE_EXHAUSTED",
            Self::Unimplemented => "UNIMPLEMENTED",
            Self::Internal => "INTERNAL",
            Self::Unavailable => "UNAVAILABLE",
            Self::Unauthenticated => "UNAUTHENTICATED",
        }
    }

    /// The number as a field has it.
    #[must_use]
    pub const fn digits(self) -> &'static str {
        match self {
            Self::Cancelled => "1",
            Self::DeadlineExceeded => "4",
            Self::PermissionDenied => "7",
            Self::ResourceExhausted => "8",
            Self::Unimplemented => "12",
            Self::Internal => "13",
            Self::Unavailable => "14",
            Self::Unauthenticated => "16",
        }
    }
}

impl Failure {
    /// The status of a call that fails so: the one place that decides it.
    ///
    /// A client may send an UNAVAILABLE call again, so that is for what never reached an application, or found it dead.
    #[must_use]
    pub fn grpc_status(self) -> GrpcStatus {
        match self {
            Self::BadRequest(why) if matches!(why.status(), 414 | 431) => GrpcStatus::ResourceExhausted,
            Self::BadRequestBody(why) if why.status() == 431 => GrpcStatus::ResourceExhausted,
            Self::BadRequest(_) | Self::BadRequestBody(_) | Self::PlainHttp | Self::LoopDetected => {
                GrpcStatus::Internal
            }
            Self::ClientHeaderTimeout
            | Self::ClientBodyTimeout
            | Self::ClientWriteTimeout
            | Self::ClientAbort
            | Self::TunnelIdle => GrpcStatus::Cancelled,
            Self::BodyTooLarge
            | Self::RateLimited
            | Self::MemoryShort
            | Self::Overloaded
            | Self::UpstreamSaturated
            | Self::QueueTimeout => GrpcStatus::ResourceExhausted,
            Self::MethodRefused | Self::RouteNotFound | Self::Misdirected => GrpcStatus::Unimplemented,
            Self::CertificateMissing | Self::AccessDenied | Self::OriginRefused => GrpcStatus::PermissionDenied,
            Self::Unproven(why) => why.grpc_status(),
            Self::ListenerRemoved
            | Self::DescriptorsExhausted
            | Self::LimiterUnavailable
            | Self::PolicyEnforced
            | Self::BreakerOpen
            | Self::NoneFit
            | Self::ConnectRefused
            | Self::ConnectTimeout
            | Self::ConnectFailed
            | Self::CertificateUnknown
            | Self::CertificateName
            | Self::CertificateExpired
            | Self::NotTls
            | Self::NoSharedTls
            | Self::TlsFailed
            | Self::SpeaksTls
            | Self::NotH2
            | Self::SpeaksH2
            | Self::NoStream
            | Self::StreamRefused
            | Self::StreamReset
            | Self::UpstreamSilent
            | Self::UpstreamReset
            | Self::UpstreamEof
            | Self::UpstreamStatus
            | Self::ResponseHeadCut
            | Self::UpstreamTruncated
            | Self::TunnelBroken
            | Self::Stopped => GrpcStatus::Unavailable,
            Self::UpstreamTimeout | Self::RequestTimeout | Self::UpstreamWriteTimeout | Self::UpstreamBodyTimeout => {
                GrpcStatus::DeadlineExceeded
            }
            Self::BadResponse(_)
            | Self::ResponseHeaderTooLarge
            | Self::InterimFlood
            | Self::UnaskedSwitch
            | Self::NotSwitched
            | Self::BadResponseBody(_)
            | Self::Bug => GrpcStatus::Internal,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::RetryOn;
    use super::*;

    #[test]
    fn digits_and_numbers_are_the_same() {
        for kind in Failure::KINDS {
            let status = kind.grpc_status();
            assert_eq!(status.digits(), (status as u8).to_string(), "{kind:?}");
        }
    }

    /// <https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md>, where it does not say UNKNOWN; and what
    /// is told by 503 and 504 here is told apart.
    #[test]
    fn statuses_of_http_and_of_calls_do_not_contradict_each_other() {
        for kind in Failure::KINDS {
            let status = kind.grpc_status();
            let agrees = match kind.verdict().status {
                400 | 508 => status == GrpcStatus::Internal,
                401 => status == GrpcStatus::Unauthenticated,
                403 => status == GrpcStatus::PermissionDenied,
                404 | 405 | 421 => status == GrpcStatus::Unimplemented,
                413 | 431 => status == GrpcStatus::ResourceExhausted,
                408 | 499 => status == GrpcStatus::Cancelled,
                502 => matches!(status, GrpcStatus::Unavailable | GrpcStatus::Internal),
                503 => matches!(status, GrpcStatus::Unavailable | GrpcStatus::ResourceExhausted),
                504 => matches!(status, GrpcStatus::DeadlineExceeded | GrpcStatus::Unavailable),
                _ => true,
            };
            assert!(agrees, "{kind:?}: {status:?}");
        }
    }

    #[test]
    fn what_may_be_tried_again_is_unavailable() {
        for kind in Failure::KINDS {
            let is_unavailable = kind.grpc_status() == GrpcStatus::Unavailable;
            match kind.verdict().retry_on {
                RetryOn::Connect | RetryOn::Reset | RetryOn::Status | RetryOn::Unread => {
                    assert!(is_unavailable, "{kind:?}");
                }
                RetryOn::Timeout => assert_eq!(kind.grpc_status(), GrpcStatus::DeadlineExceeded, "{kind:?}"),
                RetryOn::Never => {}
            }
        }
    }
}
