//! Shares that a configuration promises: of splits, of retries, of copies, of clients that stay at one endpoint.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;

use ringgate::telemetry::WorkerCounters;

use crate::plan::Mood;
use crate::scenario::Run;
use crate::settings::{ROOMS, Settings, address};
use crate::storm::Event;
use crate::verdict::Logged;

pub(crate) fn judge(run: &Run, logged: &[Logged]) {
    judge_splits(run, logged);
    judge_budgets(run, logged);
    judge_copies(run, logged);
    judge_keys(run);
}

/// A worker deals out requests by turns, exactly over every cycle of the weights.
fn judge_splits(run: &Run, logged: &[Logged]) {
    let mut dealt: HashMap<(usize, u64), Vec<String>> = HashMap::new();
    for one in logged.iter().filter(|one| !one.record.cluster.is_empty()) {
        dealt.entry((one.worker, one.record.epoch)).or_default().push(one.cluster());
    }
    for ((worker, epoch), clusters) in dealt {
        let Settings { split, is_sticky, .. } = run.gateway.settings_of(epoch);
        let cycle: u32 = split.iter().sum();
        let (cycles, rest) = (clusters.len() / cycle as usize, clusters.len() % cycle as usize);
        for (weight, name) in split.iter().zip(ROOMS) {
            let count = clusters.iter().filter(|cluster| *cluster == name).count();
            let least = cycles * *weight as usize;
            let is_exact = (least..=least + rest.min(*weight as usize)).contains(&count);
            if !is_sticky && !is_exact || *weight == 0 && count > 0 {
                run.world.blame(format!(
                    "worker {worker} gave {name} {count} of {} requests by {split:?} in epoch {epoch}",
                    clusters.len()
                ));
            }
        }
    }
}

/// Retries of a cluster over all workers stay within its budget, those of connections that had rested left out.
fn judge_budgets(run: &Run, logged: &[Logged]) {
    let attempts = run.gateway.inspector.attempts.borrow();
    for name in ROOMS {
        let of_these = |one: &&Logged| one.cluster() == name;
        let requests: Vec<_> = logged.iter().filter(of_these).collect();
        let tokens: HashSet<String> = requests.iter().map(|one| one.token()).collect();
        let mut last = HashMap::new();
        let (mut retries, mut span_ms) = (0, (u64::MAX, 0));
        for attempt in attempts.iter().filter(|one| !one.is_copy && tokens.contains(&one.token)) {
            span_ms = (span_ms.0.min(attempt.began_ms), span_ms.1.max(attempt.began_ms));
            if last.insert(attempt.token.as_str(), attempt.reused) == Some(false) {
                retries += 1;
            }
        }
        let epochs: Vec<Settings> = run.gateway.epochs();
        let budget = epochs.iter().map(|settings| settings.retry.budget).max().unwrap_or(0) as usize;
        let elapsed = usize::try_from(span_ms.1.saturating_sub(span_ms.0) / 100).expect("a short run");
        // A reload may begin a new budget, with ten to begin with.
        let most = 10 * epochs.len() + elapsed + requests.len() * budget / 100 + 2 * run.gateway.workers.len();
        if retries > most {
            let count = requests.len();
            run.world.blame(format!("{name}: {retries} retries of {count} requests, {most} at most"));
        }
    }
}

/// Every request that is to be copied is, or is counted as one that was not.
fn judge_copies(run: &Run, logged: &[Logged]) {
    let sum = |of: fn(&WorkerCounters) -> u64| run.gateway.sum(of);
    let (sent, skipped) =
        (sum(|counters| counters.mirrors_sent.value()), sum(|counters| counters.mirrors_skipped.value()));
    let mirror = |one: &&Logged| {
        let mirror = run.gateway.settings_of(one.record.epoch).mirror;
        mirror.filter(|_| !one.record.cluster.is_empty()).map(|mirror| mirror.share)
    };
    let shares: Vec<u32> = logged.iter().filter_map(|one| mirror(&one)).collect();
    let sure = shares.iter().filter(|share| **share == 100).count() as u64;
    if !(sure..=shares.len() as u64).contains(&(sent + skipped)) {
        run.world.blame(format!("{sent} copies sent and {skipped} not, of {sure} to {} requests", shares.len()));
    }
    let seen = run.gateway.inspector.attempts.borrow().iter().filter(|one| one.is_copy).count() as u64;
    if seen > sent {
        run.world.blame(format!("{seen} copies are under way, {sent} were sent"));
    }
}

/// While nothing changes and nobody fails, what has one key goes to one endpoint of a cluster.
fn judge_keys(run: &Run) {
    let is_changed = run.plan.events.iter().any(|(_, event)| matches!(event, Event::Reload(..)));
    if run.plan.bones.mood != Mood::Calm || is_changed {
        return;
    }
    for cluster in &run.plan.settings.clusters {
        if cluster.balance != "consistent_hash" || cluster.key != "client_ip" {
            continue;
        }
        let mut homes: HashMap<String, HashSet<SocketAddr>> = HashMap::new();
        for attempt in run.gateway.inspector.attempts.borrow().iter().filter(|one| !one.is_copy) {
            let client = attempt.token.split('r').next().unwrap_or_default();
            if cluster.endpoints.iter().any(|one| address(cluster.room, one.number) == attempt.address) {
                homes.entry(client.to_owned()).or_default().insert(attempt.address);
            }
        }
        for (client, homes) in homes.iter().filter(|(_, homes)| homes.len() > 1) {
            run.world.blame(format!("{client} went to {homes:?} by one key"));
        }
    }
}
