//! One frame of `/events`: everything that the dashboard shows, bounded whatever the configuration has.

use axum::body::Bytes;
use serde::Serialize;

use super::State;
use super::meter::{BUCKETS_PER_ROW, Beat, Rejection};
use crate::control::board::{Board, Glance};
use crate::control::latency::Percentiles;
use crate::telemetry::{Cells, ClusterView, LATENCY_BUCKETS, LatencySeries, latency_bound_ns};

/// Clusters of a frame.
const CLUSTERS: usize = 100;
/// Endpoints of a frame, of all its clusters together.
const ENDPOINTS: usize = 500;

#[derive(Serialize)]
struct Frame<'a> {
    /// The last second.
    second: Option<&'a Beat>,
    gateway: Glance,
    requests_active: u64,
    connections_active: u64,
    connections_idle: u64,
    minute: Percentiles,
    clusters: Vec<ShownCluster>,
    /// Clusters for which there is no room.
    clusters_omitted: usize,
    rejections: Vec<Rejection>,
    workers: Vec<ShownWorker>,
}

#[derive(Serialize)]
struct ShownCluster {
    #[serde(flatten)]
    view: ClusterView,
    saturation: f64,
    endpoints_fit: usize,
    /// Endpoints for which there is no room; those that are not fit have it first.
    endpoints_omitted: usize,
    requests_per_second: f64,
    minute: Percentiles,
}

#[derive(Serialize)]
struct ShownWorker {
    index: usize,
    cpu: Option<usize>,
    epoch: u64,
    requests_per_second: f64,
    /// The share of its core that its thread used, 0 to 1, once that is known.
    busy: Option<f64>,
    connections_active: u64,
    requests_active: u64,
    tasks: u64,
    stalls: u64,
    stall_max_ms: f64,
}

/// What those who come to look get first.
#[derive(Serialize)]
struct Past<'a> {
    /// The lower bound of each row of the heatmap in microseconds, and the end of the last one.
    heat_bounds_us: Vec<f64>,
    seconds: Vec<&'a Beat>,
}

/// The frame of now, as a server-sent event.
pub(super) fn frame(board: &Board, state: &State) -> Bytes {
    let (mut clusters, mut room) = (board.clusters(), ENDPOINTS);
    let clusters_omitted = clusters.len().saturating_sub(CLUSTERS);
    clusters.truncate(CLUSTERS);
    let [_, names] = board.series_names();
    let slot = |name: &str| names.iter().position(|known| known == name).unwrap_or(usize::MAX);
    let clusters = clusters.into_iter().map(|view| cluster(board, state, slot(&view.name), view, &mut room)).collect();
    let sum = |cell: fn(&Cells) -> u64| board.seats().iter().map(|seat| cell(&seat.counters)).sum();
    event(
        "frame",
        &Frame {
            second: state.meter.beat(),
            gateway: board.glance(),
            requests_active: sum(|cells| cells.requests_active.value()),
            connections_active: sum(|cells| cells.connections_active.value()),
            connections_idle: sum(|cells| cells.connections_idle.value()),
            minute: Percentiles::of(&state.ledger.minute(board.seats(), LatencySeries::All)),
            clusters,
            clusters_omitted,
            rejections: state.meter.rejections(board.reasons()),
            workers: (0..board.seats().len()).map(|index| worker(board, state, index)).collect(),
        },
    )
}

/// The seconds that are kept, as a server-sent event.
pub(super) fn past(state: &State) -> Bytes {
    let bounds = (0..=LATENCY_BUCKETS).step_by(usize::from(BUCKETS_PER_ROW));
    event(
        "past",
        &Past {
            heat_bounds_us: bounds.map(|bucket| micros(latency_bound_ns(bucket))).collect(),
            seconds: state.meter.history().iter().collect(),
        },
    )
}

/// Its lines have no line ends: those of JSON are escaped.
fn event(kind: &str, what: &impl Serialize) -> Bytes {
    let text = serde_json::to_string(what).expect("numbers, texts and lists of them are JSON");
    Bytes::from(format!("event: {kind}\ndata: {text}\n\n"))
}

fn cluster(board: &Board, state: &State, slot: usize, mut view: ClusterView, room: &mut usize) -> ShownCluster {
    let series = LatencySeries::Cluster(slot);
    let endpoints = view.endpoints.len();
    let endpoints_fit = view.endpoints.iter().filter(|endpoint| endpoint.fit).count();
    if endpoints > *room {
        view.endpoints.sort_by_key(|endpoint| endpoint.fit);
        view.endpoints.truncate(*room);
    }
    *room -= view.endpoints.len();
    ShownCluster {
        saturation: view.saturation,
        endpoints_fit,
        endpoints_omitted: endpoints - view.endpoints.len(),
        requests_per_second: state.meter.of_cluster(slot),
        minute: Percentiles::of(&state.ledger.minute(board.seats(), series)),
        view,
    }
}

fn worker(board: &Board, state: &State, index: usize) -> ShownWorker {
    let seat = &board.seats()[index];
    let cells = &seat.counters;
    ShownWorker {
        index,
        cpu: seat.cpu,
        epoch: cells.epoch.value(),
        requests_per_second: state.meter.of_worker(index),
        busy: state.busy.of_worker(index),
        connections_active: cells.connections_active.value(),
        requests_active: cells.requests_active.value(),
        tasks: cells.tasks.value(),
        stalls: cells.stalls.value(),
        stall_max_ms: micros(cells.stall_max_ns.value()) / 1e3,
    }
}

#[allow(clippy::cast_precision_loss, reason = "a page rounds")]
fn micros(ns: u64) -> f64 {
    ns as f64 / 1e3
}
