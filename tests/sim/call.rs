//! Calls of gRPC among the requests: what makes a request one, and what its answers must be.

use crate::chance::Chance;
use crate::ledger::Reply;
use crate::plan::{BodyPlan, RequestPlan, Shape};

/// A request that is a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CallPlan {
    /// How long it may take.
    pub(crate) timeout_ms: Option<u64>,
    /// What it comes to, unless something goes wrong.
    pub(crate) status: u8,
}

impl CallPlan {
    /// Makes a call of a request.
    pub(crate) fn make(request: &mut RequestPlan, chance: &Chance, is_calm: bool) {
        let timeouts: &[Option<u64>] =
            if is_calm { &[None, Some(60_000)] } else { &[None, Some(50), Some(200), Some(900)] };
        request.call = Some(Self { timeout_ms: chance.pick(timeouts), status: chance.pick(&[0, 0, 0, 5, 9]) });
        request.method = "POST";
        request.expects = false;
        let length = request.body.length().max(5);
        request.body = BodyPlan::Chunked { length, sizes: vec![5, 700, 4_000], trailers: false };
        for behaviour in &mut request.behaviours {
            (behaviour.status, behaviour.shape) = (200, Shape::Chunked);
        }
    }

    /// Its fields in a request.
    pub(crate) fn fields(&self) -> Vec<(&'static str, String)> {
        let timeout = self.timeout_ms.map(|ms| ("grpc-timeout", format!("{ms}m")));
        [("content-type", "application/grpc".to_owned())].into_iter().chain(timeout).collect()
    }

    /// What is wrong with the fields that an endpoint got.
    pub(crate) fn problem(&self, content_type: &str, timeout: &str) -> Option<String> {
        let left_ms = timeout.strip_suffix('m').and_then(|digits| digits.parse::<u64>().ok());
        let is_in_time = match self.timeout_ms {
            None => timeout.is_empty(),
            Some(most_ms) => left_ms.is_some_and(|left_ms| left_ms <= most_ms),
        };
        (content_type != "application/grpc" || !is_in_time)
            .then(|| format!("{self:?} came as {content_type:?} with a time of {timeout:?}"))
    }

    /// What is wrong with an answer; `is_local`: is it the gateway's own?
    pub(crate) fn reply_problem(&self, reply: &Reply, is_local: bool) -> Option<String> {
        let in_head = reply.head.one("grpc-status");
        let in_trailers =
            reply.trailers.iter().find(|(name, _)| name == "grpc-status").map(|(_, value)| value.as_str());
        let (http, is_call) = (reply.head.status(), reply.head.one("content-type") == Some("application/grpc"));
        if is_local {
            let is_told = in_head.is_some_and(|status| status != "0") && reply.content.is_empty();
            return (http != Ok(200) || !is_call || !is_told).then(|| "no failure of a call".to_owned());
        }
        let is_sound = http == Ok(200) && is_call && in_trailers == Some(self.status.to_string().as_str());
        // A host that is sick answers as no service would.
        (reply.is_whole && http == Ok(200) && !is_sound).then(|| format!("{in_trailers:?} instead of {}", self.status))
    }
}
