//! What of an exchange is different when it is a call of gRPC: its time, the pauses between its messages, its status.

use super::failure::Failure;
use super::held::{Exchange, Sending};
use crate::http1::{FieldKind, ResponseHead, parse_grpc_status, parse_grpc_timeout};
use crate::net::Env;
use crate::snapshot::Timeouts;

/// The field that says how a call ended.
const STATUS: &str = "grpc-status";

impl<E: Env> Exchange<'_, E> {
    /// Milliseconds that the client gave the call; what cannot be read goes on as it is and bounds nothing.
    pub(super) fn call_ms(&self) -> Option<u64> {
        if !self.is_grpc {
            return None;
        }
        parse_grpc_timeout(self.head.find(self.bytes, FieldKind::GrpcTimeout)?)
    }

    /// Either side of a call has sent something, or taken it.
    pub(super) fn on_moved(&self, sending: &Sending) {
        if self.is_grpc {
            sending.moved_ms.set(self.shard.alarms.now_ms());
        }
    }

    /// How long the next bytes of a call may still be away. Its messages may be as far apart as those of a tunnel, where one
    /// side may be silent while the other is not, but not beyond its time.
    pub(super) fn message_ms(&self, timeouts: &Timeouts, sending: &Sending) -> u64 {
        let now_ms = self.shard.alarms.now_ms();
        let left_ms = sending.call_due_ms.get().map_or(u64::MAX, |due_ms| due_ms.saturating_sub(now_ms));
        (sending.moved_ms.get() + timeouts.tunnel_idle_ms).saturating_sub(now_ms).min(left_ms)
    }

    /// What a wait for the bytes of a body failed by: nobody was too slow when the time of the call was over.
    pub(super) fn late(&self, sending: &Sending, failure: Failure) -> Failure {
        let is_late = matches!(failure, Failure::ClientBodyTimeout | Failure::UpstreamBodyTimeout);
        let is_over = sending.call_due_ms.get().is_some_and(|due_ms| self.shard.alarms.now_ms() >= due_ms);
        if is_late && is_over { Failure::RequestTimeout } else { failure }
    }

    /// Notes the status of a call whose answer is nothing but fields.
    pub(super) fn on_call_answered(&self, response: &ResponseHead, bytes: &[u8]) {
        if self.is_grpc {
            self.tally.grpc_status.set(response.field(bytes, STATUS).and_then(parse_grpc_status));
        }
    }

    /// Notes the status of a call in the trailers of its answer.
    pub(super) fn on_call_trailers(&self, trailers: &[u8]) {
        if !self.is_grpc || trailers.is_empty() {
            return;
        }
        let value = trailers.split(|byte| *byte == b'\n').find_map(|line| {
            let (name, value) = line.split_at_checked(STATUS.len())?;
            name.eq_ignore_ascii_case(STATUS.as_bytes()).then(|| value.strip_prefix(b":"))?
        });
        if let Some(status) = value.and_then(|value| parse_grpc_status(value.trim_ascii())) {
            self.tally.grpc_status.set(Some(status));
        }
    }
}
