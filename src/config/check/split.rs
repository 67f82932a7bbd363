//! Which clusters a route names: one, several with their shares, and the one that gets copies.

use rustc_hash::FxHashSet;

use super::super::bounds::SPLIT_WEIGHT_MAX;
use super::super::file::{MirrorFile, RouteFile, SplitFile};
use super::super::model::{Action, Mirror};
use super::super::place::At;
use super::super::problems::Pending;
use super::{Check, Names, hash_key};

pub(super) fn check(check: &mut Check<'_>, at: At<'_>, file: &RouteFile, split: &[SplitFile], names: &Names) -> Action {
    let at_split = at.key("split");
    if split.is_empty() {
        check.missing(&at_split, "a split needs at least one cluster");
    }
    let mut seen = FxHashSet::default();
    let mut to = Vec::with_capacity(split.len());
    for (index, entry) in split.iter().enumerate() {
        let at = at_split.index(index);
        if entry.cluster.is_none() {
            check.missing(&at, "missing `cluster`");
        }
        let cluster = entry.cluster.as_ref().and_then(|leaf| names.find(check, at.key("cluster"), "cluster", leaf));
        if entry.weight.is_none() {
            check.missing(&at, "missing `weight`");
        }
        let weight = check.number(at.key("weight"), entry.weight.as_ref(), 0..=SPLIT_WEIGHT_MAX);
        if cluster.is_some_and(|cluster| !seen.insert(cluster)) {
            check.error_with(at.key("cluster"), "this cluster is given twice", "add the two weights up in one entry");
        }
        to.push((cluster.unwrap_or(0), weight.unwrap_or(1)));
    }
    if !to.is_empty() && to.iter().all(|(_, weight)| *weight == 0) {
        let problem = Pending::error(at_split.place(), "all weights are 0, so no cluster would get a request");
        let note = "a cluster with weight 0 gets nothing: give at least one of them more".to_owned();
        check.problems.push(problem.at_own_key().note(Some(note)));
    }
    Action::Split { to, sticky: hash_key::check(check, at.key("split_key"), file.split_key.as_deref()) }
}

/// A split is all that its key is for.
pub(super) fn refuse_key_alone(check: &mut Check<'_>, at: At<'_>, file: &RouteFile) {
    if file.split_key.is_some() && file.split.is_none() && !check.problems.is_broken(&at.place()) {
        let problem = Pending::error(at.key("split_key").place(), "`split_key` means nothing without `split`");
        let note = "it keeps a client at one cluster of a split; a cluster's own balancing has `hash_key`".to_owned();
        check.problems.push(problem.at_key().note(Some(note)));
    }
}

pub(super) fn check_mirror(
    check: &mut Check<'_>,
    at: At<'_>,
    file: Option<&MirrorFile>,
    names: &Names,
) -> Option<Mirror> {
    let file = file?;
    if file.cluster.is_none() {
        check.missing(&at, "missing `cluster`");
    }
    let cluster = file.cluster.as_ref().and_then(|leaf| names.find(check, at.key("cluster"), "cluster", leaf));
    let share = check.required(&at, "share", file.share.as_ref());
    if share == Some(0.0) {
        check.error_with(at.key("share"), "expected more than `0%`", "leave `mirror` out to copy nothing");
    }
    Some(Mirror { cluster: cluster.unwrap_or(0), share: share.unwrap_or(1.0) })
}
