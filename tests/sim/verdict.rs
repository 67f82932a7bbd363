//! The invariants, judged when everything is over.

use std::collections::HashMap;

use crate::chance::{checksum, pattern};
use crate::entry::Entry;
use crate::ledger::{Dialogue, Ended, Reply};
use crate::plan::{Ending, Flaw, Mood, RequestPlan, Shape, Trouble};
use crate::reach::Reach;
use crate::scenario::Run;
use crate::settings::Settings;
use crate::world::MS;
use crate::{reasons, shares};

/// Statuses that the gateway may answer a good request with itself.
const LOCAL: [u16; 4] = [408, 502, 503, 504];

/// What a call may take beyond its time: ticks of the gateway, and bytes on their way.
const DEADLINE_SLACK_MS: u64 = 400;

/// What one worker logged of one request.
pub(crate) struct Logged {
    pub(crate) worker: usize,
    pub(crate) record: Entry,
}

impl Logged {
    pub(crate) fn token(&self) -> String {
        String::from_utf8_lossy(&self.record.request_id).into_owned()
    }

    /// The name of the cluster it went to; empty when it went nowhere.
    pub(crate) fn cluster(&self) -> String {
        String::from_utf8_lossy(&self.record.cluster).into_owned()
    }
}

/// Judges one run.
pub(crate) fn judge(run: &Run) -> Reach {
    let workers = run.gateway.workers.iter().enumerate();
    let logged =
        workers.flat_map(|(worker, one)| one.records().into_iter().map(move |record| Logged { worker, record }));
    let logged: Vec<Logged> = logged.collect();
    for dialogue in run.ledger.dialogues.borrow().iter() {
        for (request, reply) in dialogue.plan.requests.iter().zip(&dialogue.replies) {
            for problem in reply_problems(request, reply) {
                run.world.blame(format!("{}: {problem}: {:?}", request.token, reply.head));
            }
        }
        judge_end(run, dialogue);
    }
    judge_records(run, &logged);
    shares::judge(run, &logged);
    judge_repeats(run);
    judge_leftovers(run);
    if run.plan.bones.mood == Mood::Calm {
        judge_calm(run);
    }
    Reach::of(run, logged.iter().map(|one| one.record.reason.clone().unwrap_or_else(|| "served".to_owned())))
}

/// Is this an answer to this request?
fn reply_problems(request: &RequestPlan, reply: &Reply) -> Vec<String> {
    let mut problems = Vec::new();
    let head = &reply.head;
    let status = head.status().unwrap_or(0);
    if head.one("x-secret").is_some() || head.all("date").len() != 1 {
        problems.push("a hop-by-hop field came through, or not one Date".to_owned());
    }
    let call = request.call.as_ref();
    let is_local = head.one("x-echo-token").is_none();
    // What was refused before it was understood is no call.
    let is_understood = head.one("x-request-id").is_some();
    problems.extend(call.filter(|_| is_understood).and_then(|call| call.reply_problem(reply, is_local)));
    let Some(echo) = head.one("x-echo-token") else {
        problems.extend(local_problems(request, head.one("x-request-id"), status));
        return problems;
    };
    if echo == "poison" {
        // Bytes nobody asked for can arrive behind the next request, and then no gateway can tell. Whether it could
        // have told is watched where it reuses the connection.
        return problems;
    }
    if echo != request.token || head.one("x-request-id") != Some(request.token.as_str()) {
        problems.push("the answer to another request".to_owned());
    }
    if head.one("x-echo-line") != Some(format!("{} {}", request.method, request.path()).as_str()) {
        problems.push("another request line".to_owned());
    }
    if let Some(seen) = head.one("x-echo-body")
        && seen != format!("{} {:016x}", request.body.length(), checksum(&request.body()))
    {
        problems.push(format!("the endpoint saw another body: {seen}"));
    }
    let length = head.one("x-body-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let is_bare = request.method == "HEAD" || matches!(status, 204 | 304);
    let full = pattern(&format!("{} answer", request.token), if is_bare { 0 } else { length });
    if !full.starts_with(&reply.content) {
        problems.push("content of something else".to_owned());
    } else if reply.is_whole && reply.content.len() != full.len() {
        problems.push(format!("{} of {} bytes pass for a whole response", reply.content.len(), full.len()));
    }
    if reply.trailers.iter().any(|(name, value)| *value != request.token && name != "grpc-status") {
        problems.push("trailers of something else".to_owned());
    }
    problems
}

fn local_problems(request: &RequestPlan, id: Option<&str>, status: u16) -> Option<String> {
    match &request.flaw {
        Some(Flaw::Head(_)) if (400..=505).contains(&status) => None,
        Some(Flaw::Chunks) if status == 400 || LOCAL.contains(&status) => None,
        Some(_) => Some(format!("{status} for a malformed request")),
        // A head that took too long never became a request with an identity.
        None if status == 408 && id.is_none() => None,
        None if status == 200 && request.call.is_some() && id == Some(request.token.as_str()) => None,
        None if LOCAL.contains(&status) && id == Some(request.token.as_str()) => None,
        None => Some(format!("a local {status} for a good request")),
    }
}

/// May the dialogue have ended as it did?
fn judge_end(run: &Run, dialogue: &Dialogue) {
    let world = &run.world;
    let first = &dialogue.plan.requests[0].token;
    if dialogue.ended == Ended::Never {
        world.blame(format!("client of {first}: neither answered nor closed after every timeout"));
    }
    let count = dialogue.replies.len();
    if !dialogue.plan.is_fair() || count >= dialogue.plan.requests.len() {
        return;
    }
    let waiting = &dialogue.plan.requests[count];
    let last = dialogue.replies.last();
    let owed = last.is_none_or(|reply| reply.is_whole && !reply.head.says_close());
    let is_old_end = count > 0 && dialogue.plan.requests[count - 1].is_old;
    let drained = run.gateway.drained_ms.get().is_some_and(|at_ms| at_ms <= dialogue.ended_ms);
    let reached = !run.ledger.executions(&waiting.token).is_empty();
    // What is wrong with an answer of HTTP/2 may be known before its head has gone: a reset takes it back.
    let is_taken_back = run.plan.settings.is_shared && dialogue.plan.tongue.is_h2 && dialogue.ended == Ended::Reset;
    // A drain may close a connection before its next request is seen, but not one that reached an endpoint.
    if owed && !is_old_end && (!drained || reached) && !(is_taken_back && reached) {
        world.blame(format!("{}: closed without an answer ({:?})", waiting.token, dialogue.ended));
    }
    if let Some(reply) = last
        && run.plan.bones.mood == Mood::Calm
        && !reply.is_whole
    {
        world.blame(format!("client of {first}: a broken answer although nobody misbehaved: {:?}", reply.head));
    }
}

fn judge_records(run: &Run, logged: &[Logged]) {
    let world = &run.world;
    let counted = run.gateway.requests();
    if counted != logged.len() as u64 || run.gateway.sum(|counters| counters.untold[0].value()) != 0 {
        world.blame(format!("{counted} requests counted, {} records", logged.len()));
    }
    let mut by_token: HashMap<String, &Logged> = HashMap::new();
    for one in logged {
        let token = one.token();
        // A request that was refused before it was understood has no identity.
        if by_token.insert(token.clone(), one).is_some() && !token.is_empty() {
            world.blame(format!("{token}: two records, the second: {}", told(&one.record)));
        }
    }
    for token in run.ledger.executions.borrow().keys() {
        if !by_token.contains_key(token) {
            world.blame(format!("{token}: reached an endpoint and has no record"));
        }
    }
    let stories = reasons::Stories::new(run);
    for dialogue in run.ledger.dialogues.borrow().iter() {
        for (number, request) in dialogue.plan.requests.iter().enumerate() {
            let reply = dialogue.replies.get(number);
            let Some(one) = by_token.get(&request.token) else {
                if reply.is_some_and(|reply| reply.head.one("x-request-id") == Some(request.token.as_str())) {
                    world.blame(format!("{}: answered and not recorded", request.token));
                }
                continue;
            };
            let problems = record_problems(dialogue, request, reply, &one.record);
            // Nobody can look into what sealed endpoints are sent.
            let Settings { endpoints_sealed, is_shared, is_edge, .. } = run.plan.settings;
            let is_sealed = endpoints_sealed || is_shared || is_edge;
            let stories = (!is_sealed).then_some(&stories);
            let told_of = stories.into_iter().flat_map(|stories| stories.problems(dialogue, request, one));
            for problem in problems.into_iter().chain(told_of) {
                world.blame(format!("{}: {problem}: {}", request.token, told(&one.record)));
            }
        }
    }
}

/// RFC 9110 section 9.2.2, RFC 9113 section 8.7: what an endpoint may have acted on is not sent again unless it may be.
fn judge_repeats(run: &Run) {
    // Copies go out for a second time, and whoever asks for it has all methods sent again.
    if run.gateway.epochs().iter().any(|settings| settings.mirror.is_some() || settings.retry.any_method) {
        return;
    }
    for dialogue in run.ledger.dialogues.borrow().iter() {
        for request in dialogue.plan.requests.iter().filter(|request| !request.is_idempotent()) {
            let whole = run.ledger.executions(&request.token).iter().filter(|execution| execution.is_whole).count();
            if whole > 1 {
                run.world.blame(format!("{}: endpoints acted {whole} times on a {}", request.token, request.method));
            }
        }
    }
}

/// A record in one line.
fn told(record: &Entry) -> String {
    let Entry { cluster, status, attempts, bytes_in, bytes_out, reason, reused, duration_ns, epoch, .. } = record;
    let cluster = String::from_utf8_lossy(cluster);
    format!(
        "record: {cluster} {status} {reason:?}, {attempts} attempts, {bytes_in} in, {bytes_out} out, \
         reused {reused}, {duration_ns} ns, epoch {epoch}"
    )
}

fn record_problems(dialogue: &Dialogue, request: &RequestPlan, reply: Option<&Reply>, record: &Entry) -> Vec<String> {
    let mut problems = Vec::new();
    if let Some(reply) = reply {
        if reply.head.status() != Ok(record.status) {
            problems.push(format!("the client got {:?}", reply.head.first));
        }
        if reply.head.one("x-echo-token").is_none() && reply.head.one("x-gateway-reason") != record.reason.as_deref() {
            problems.push(format!("the client was told {:?}", reply.head.one("x-gateway-reason")));
        }
        if reply.is_whole && record.bytes_out != reply.content.len() as u64 {
            problems.push(format!("the client got {} bytes of content", reply.content.len()));
        }
        if let Some(seen) = reply.head.one("x-echo-body")
            && record.bytes_in != request.body.length() as u64
        {
            problems.push(format!("the endpoint got a body of {seen}"));
        }
    }
    // A deadline holds, whatever the endpoint does; a client that takes nothing is another matter.
    if let Some(timeout_ms) = request.call.as_ref().and_then(|call| call.timeout_ms)
        && dialogue.plan.is_fair()
        && record.duration_ns > (timeout_ms + DEADLINE_SLACK_MS) * MS
    {
        problems.push(format!("a call of {timeout_ms} ms"));
    }
    // What is logged as served was served, if the client took it.
    let is_served = record.reason.is_none();
    let is_whole = reply.is_some_and(|reply| reply.is_whole);
    if is_served && !is_whole && dialogue.plan.is_fair() && dialogue.ended != Ended::Left {
        problems.push("logged as served, and the client did not get it".to_owned());
    }
    problems
}

/// Nothing may be held when everybody is gone.
fn judge_leftovers(run: &Run) {
    let (gateway, inspector) = (&run.gateway, &run.gateway.inspector);
    let is_up = |worker: &&crate::gateway::Worker| worker.shard().is_some();
    let up = || gateway.workers.iter().filter(is_up);
    let slots = || inspector.places.borrow().values().map(|(_, id)| *id).collect::<Vec<_>>().into_iter();
    let workers = gateway.workers.len();
    let cells = slots().flat_map(|id| (0..workers).map(move |worker| inspector.fleet.cell(worker, id).in_flight()));
    for (name, value) in [
        ("connections_active", gateway.sum(|counters| counters.connections_active.value())),
        ("tunnels_active", gateway.sum(|counters| counters.tunnels_active.value())),
        ("connections_idle", gateway.sum(|counters| counters.connections_idle.value())),
        ("h2_upstream_connections", gateway.sum(|counters| counters.h2_upstream_connections.value())),
        ("h2_upstream_streams", gateway.sum(|counters| counters.h2_upstream_streams.value())),
        ("h2_connections_active", gateway.sum(|counters| counters.h2_connections_active.value())),
        ("tls_handshakes_active", gateway.sum(|counters| counters.tls_handshakes_active.value())),
        ("requests_active", gateway.sum(|counters| counters.requests_active.value())),
        ("upstream_connections_active", gateway.sum(|counters| counters.upstream_connections_active.value())),
        ("upstream_waiting", gateway.sum(|counters| counters.upstream_waiting.value())),
        // A worker that ended does not tick any more, and so does not tell.
        ("upstream_connections_idle", up().map(|worker| worker.counters.upstream_connections_idle.value()).sum()),
        ("buffers lent", up().filter_map(|worker| worker.shard()).map(|shard| shard.buffers_lent() as u64).sum()),
        ("connections open", gateway.open() as u64),
        ("attempts in flight", cells.map(u64::from).sum()),
        ("probe tokens of breakers out", slots().map(|id| inspector.fleet.slot(id).probes_out()).sum()),
        ("snapshots kept besides the newest", gateway.publisher.borrow_mut().retire() as u64 - 1),
    ] {
        if value != 0 {
            run.world.blame(format!("{value} {name} when all is over"));
        }
    }
    for watched in inspector.clusters.borrow().iter() {
        let (taken, waiting, held) = (watched.state.taken(), watched.state.waiting(), watched.held());
        if (taken, waiting, held) != (0, 0, (0, 0)) {
            run.world.blame(format!(
                "{}: {taken} credits out, {waiting} in the queue when all is over; seen {held:?}",
                watched.name
            ));
        }
    }
}

/// In a calm run everything that was asked is answered by an endpoint.
fn judge_calm(run: &Run) {
    let (world, drained) = (&run.world, run.gateway.drained_ms.get().is_some());
    for dialogue in run.ledger.dialogues.borrow().iter() {
        let mut is_open = true;
        for (number, request) in dialogue.plan.requests.iter().enumerate() {
            let Some(reply) = dialogue.replies.get(number) else {
                if is_open && !drained {
                    world.blame(format!("{}: no answer although nobody misbehaved", request.token));
                }
                break;
            };
            let behaviour = &request.behaviours[0];
            debug_assert_eq!(behaviour.trouble, Trouble::None);
            if reply.head.status() != Ok(behaviour.status) || !reply.is_whole {
                world.blame(format!("{}: {:?} although nobody misbehaved", request.token, reply.head));
            }
            // Only an answer without an end of its own, for a client without chunks, must close.
            let shapeless = request.is_old && behaviour.shape != Shape::Length;
            let may_close = request.closes || shapeless || drained;
            if reply.head.says_close() && !may_close && dialogue.plan.ending != Ending::HalfClose {
                world.blame(format!("{}: closed without need: {:?}", request.token, reply.head));
            }
            is_open &= !(reply.head.says_close() || request.is_old && request.closes);
        }
    }
}
