//! The invariants, judged when everything is over.

use std::collections::HashMap;

use ringgate::telemetry::OwnedRecord;

use crate::chance::{checksum, pattern};
use crate::gateway::Gateway;
use crate::ledger::{Dialogue, Ended, Ledger, Reply};
use crate::plan::{Ending, Flaw, RequestPlan, Shape, Trouble};
use crate::world::World;

/// Statuses that the gateway may answer a good request with itself.
const LOCAL: [u16; 3] = [408, 502, 504];

/// Judges one run; `is_calm`: nobody misbehaved, so nothing may have failed.
pub(crate) fn judge(world: &World, ledger: &Ledger, gateway: &Gateway, is_calm: bool) {
    let records = gateway.records();
    for dialogue in ledger.dialogues.borrow().iter() {
        for (request, reply) in dialogue.plan.requests.iter().zip(&dialogue.replies) {
            for problem in reply_problems(request, reply) {
                world.blame(format!("{}: {problem}: {:?}", request.token, reply.head));
            }
        }
        judge_end(world, ledger, gateway, dialogue, is_calm);
    }
    judge_executions(world, ledger);
    judge_records(world, ledger, gateway, &records);
    judge_leftovers(world, gateway);
}

/// Is this an answer to this request?
fn reply_problems(request: &RequestPlan, reply: &Reply) -> Vec<String> {
    let mut problems = Vec::new();
    let head = &reply.head;
    let status = head.status().unwrap_or(0);
    if head.one("x-secret").is_some() || head.all("date").len() != 1 {
        problems.push("a hop-by-hop field came through, or not one Date".to_owned());
    }
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
    if reply.trailers.iter().any(|(_, value)| *value != request.token) {
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
        None if LOCAL.contains(&status) && id == Some(request.token.as_str()) => None,
        None => Some(format!("a local {status} for a good request")),
    }
}

/// May the dialogue have ended as it did?
fn judge_end(world: &World, ledger: &Ledger, gateway: &Gateway, dialogue: &Dialogue, is_calm: bool) {
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
    let drained = gateway.drained_ms.get().is_some_and(|at_ms| at_ms <= dialogue.ended_ms);
    let reached = !ledger.executions(&waiting.token).is_empty();
    // A drain may close a connection before its next request is seen, but not one that reached an endpoint.
    if owed && !is_old_end && (!drained || reached) {
        world.blame(format!("{}: closed without an answer ({:?})", waiting.token, dialogue.ended));
    }
    if let Some(reply) = last
        && is_calm
        && !reply.is_whole
    {
        world.blame(format!("client of {first}: a broken answer although nobody misbehaved: {:?}", reply.head));
    }
}

fn judge_executions(world: &World, ledger: &Ledger) {
    for (token, attempts) in ledger.executions.borrow().iter() {
        let Some(plan) = ledger.plan(token) else { continue };
        let most = if plan.is_idempotent() { 2 } else { 1 };
        if attempts.len() > most {
            world.blame(format!("{token}: {} reached endpoints {} times", plan.method, attempts.len()));
        }
    }
}

fn judge_records(world: &World, ledger: &Ledger, gateway: &Gateway, records: &[OwnedRecord]) {
    let counted = gateway.requests();
    if counted != records.len() as u64 || gateway.counters.log_dropped.value() != 0 {
        world.blame(format!("{counted} requests counted, {} records", records.len()));
    }
    let mut by_token: HashMap<String, &OwnedRecord> = HashMap::new();
    for record in records {
        let token = String::from_utf8_lossy(&record.request_id).into_owned();
        // A request that was refused before it was understood has no identity.
        if by_token.insert(token.clone(), record).is_some() && !token.is_empty() {
            world.blame(format!("{token}: two records, the second: {}", told(record)));
        }
    }
    for token in ledger.executions.borrow().keys() {
        if !by_token.contains_key(token) {
            world.blame(format!("{token}: reached an endpoint and has no record"));
        }
    }
    for dialogue in ledger.dialogues.borrow().iter() {
        for (number, request) in dialogue.plan.requests.iter().enumerate() {
            let reply = dialogue.replies.get(number);
            let Some(record) = by_token.get(&request.token) else {
                if reply.is_some_and(|reply| reply.head.one("x-request-id") == Some(request.token.as_str())) {
                    world.blame(format!("{}: answered and not recorded", request.token));
                }
                continue;
            };
            for problem in record_problems(dialogue, request, reply, record) {
                world.blame(format!("{}: {problem}: {}", request.token, told(record)));
            }
        }
    }
}

/// A record in one line.
fn told(record: &OwnedRecord) -> String {
    let OwnedRecord { path, status, attempts, bytes_in, bytes_out, reason, reused, duration_ns, .. } = record;
    let path = String::from_utf8_lossy(path);
    format!(
        "record: {path} {status} {reason:?}, {attempts} attempts, {bytes_in} in, {bytes_out} out, \
         reused {reused}, {duration_ns} ns"
    )
}

fn record_problems(
    dialogue: &Dialogue,
    request: &RequestPlan,
    reply: Option<&Reply>,
    record: &OwnedRecord,
) -> Vec<String> {
    let mut problems = Vec::new();
    if let Some(reply) = reply {
        if reply.head.status() != Ok(record.status) {
            problems.push(format!("the client got {:?}", reply.head.first));
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
    // What is logged as served was served, if the client took it.
    let is_served = record.reason.is_none();
    let is_whole = reply.is_some_and(|reply| reply.is_whole);
    if is_served && !is_whole && dialogue.plan.is_fair() && dialogue.ended != Ended::Left {
        problems.push("logged as served, and the client did not get it".to_owned());
    }
    problems
}

/// Nothing may be held when everybody is gone.
fn judge_leftovers(world: &World, gateway: &Gateway) {
    let counters = &gateway.counters;
    for (name, value) in [
        ("connections_active", counters.connections_active.value()),
        ("connections_idle", counters.connections_idle.value()),
        ("requests_active", counters.requests_active.value()),
        ("upstream_connections_active", counters.upstream_connections_active.value()),
        ("upstream_connections_idle", counters.upstream_connections_idle.value()),
        ("buffers lent", gateway.shard.buffers_lent() as u64),
        ("connections open", gateway.open.get() as u64),
        ("snapshots kept besides the newest", gateway.publisher.borrow_mut().retire() as u64 - 1),
    ] {
        if value != 0 {
            world.blame(format!("{value} {name} when all is over"));
        }
    }
}

/// In a calm run everything that was asked is answered by an endpoint.
pub(crate) fn judge_calm(world: &World, ledger: &Ledger, gateway: &Gateway) {
    for dialogue in ledger.dialogues.borrow().iter() {
        let mut is_open = true;
        for (number, request) in dialogue.plan.requests.iter().enumerate() {
            let Some(reply) = dialogue.replies.get(number) else {
                if is_open && gateway.drained_ms.get().is_none() {
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
            let may_close = request.closes || shapeless || gateway.drained_ms.get().is_some();
            if reply.head.says_close() && !may_close && dialogue.plan.ending != Ending::HalfClose {
                world.blame(format!("{}: closed without need: {:?}", request.token, reply.head));
            }
            is_open &= !(reply.head.says_close() || request.is_old && request.closes);
        }
    }
}
