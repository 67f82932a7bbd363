//! The head of an answer that goes to no client: that of a service which was asked, or that to a copy.

use super::answer::RESPONSE_LIMITS;
use super::shard::{Shard, Upstream};
use super::wire::{Received, read_once};
use crate::http1::{Method, Progress, ResponseHead};
use crate::limits;
use crate::net::{Alarm, Buffer, Env, StreamFault};

/// Why there is no answer.
pub(super) enum Silent {
    /// Its connection ended before a byte of one.
    Dead,
    Failed,
    /// The time was over before.
    Late,
}

/// A stream that was reset was heard, and its connection is as good as before.
pub(super) const fn told_apart(why: Silent, fault: Option<StreamFault>) -> Silent {
    match (why, fault) {
        (Silent::Dead, None | Some(StreamFault::Unprocessed | StreamFault::Silent)) => Silent::Dead,
        (Silent::Dead | Silent::Failed, _) => Silent::Failed,
        (Silent::Late, _) => Silent::Late,
    }
}

/// Reads until `response` is the head of the final answer to a request of this method; the buffer begins with it.
///
/// # Errors
/// It did not come whole until `due_ms`, or it is none that was asked for.
pub(super) async fn hear_head<E: Env>(
    shard: &Shard<E>,
    upstream: &Upstream<E::Stream>,
    response: &mut ResponseHead,
    alarm: &Alarm,
    method: Method,
    due_ms: u64,
) -> Result<Buffer, Silent> {
    let mut buffer = shard.buffers.lend();
    response.clear();
    let mut interims = 0;
    while take_head(response, &mut buffer, method, &mut interims)? == Progress::Partial {
        buffer.reserve(1);
        let is_silent = buffer.is_empty() && interims == 0;
        let left_ms = due_ms.saturating_sub(shard.alarms.now_ms());
        buffer = match read_once(&upstream.stream, buffer, alarm, left_ms).await {
            Received::Bytes(filled) => filled,
            Received::End(_) | Received::Broken(_) if is_silent => return Err(Silent::Dead),
            Received::End(_) | Received::Broken(_) => return Err(Silent::Failed),
            Received::Expired => return Err(Silent::Late),
        };
    }
    Ok(buffer)
}

/// Reads on in the head of the final response.
fn take_head(
    response: &mut ResponseHead,
    buffer: &mut Buffer,
    method: Method,
    interims: &mut usize,
) -> Result<Progress, Silent> {
    while !buffer.is_empty() {
        let progress = response.parse(buffer.filled(), &RESPONSE_LIMITS, method).map_err(|_| Silent::Failed)?;
        match progress {
            Progress::Partial => break,
            Progress::Complete if response.status() == 101 => return Err(Silent::Failed),
            Progress::Complete if response.is_interim() => {
                *interims += 1;
                if *interims > limits::INTERIM_RESPONSES {
                    return Err(Silent::Failed);
                }
                buffer.consume(response.len());
                response.clear();
            }
            Progress::Complete => return Ok(Progress::Complete),
        }
    }
    Ok(Progress::Partial)
}
