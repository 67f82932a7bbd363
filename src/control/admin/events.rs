//! Pages that tell what the gateway does now: latencies, and events as they come.

use std::convert::Infallible;

use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use axum::response::{IntoResponse, Json, Response};
use futures_util::stream;

use super::Shared;
use super::answers::{Failed, stopping};
use super::page::{FAILED, Page, get, json, text};
use crate::control::latency::LatencyPage;

pub(super) fn pages() -> Vec<Page> {
    let told = "`past` once, then a `frame` for every second and every change, until the connection ends.";
    vec![
        get("/latency", "Percentiles by route and by cluster, of the last minute and since the start.", latency)
            .answers(200, "In microseconds.", &[json::<LatencyPage>()])
            .answers(503, "The gateway shuts down.", FAILED),
        get("/events", "What the gateway does, as it does it: server-sent events.", events)
            .answers(200, told, &[text("text/event-stream")])
            .answers(503, "As many listen as may.", FAILED),
    ]
}

async fn latency(State(shared): State<Shared>) -> Response {
    match shared.pulse.latency().await {
        Some(page) => Json(page).into_response(),
        None => stopping(),
    }
}

/// Server-sent events (WHATWG HTML section 9.2): `past` once, then a `frame` for every second and every change.
async fn events(State(shared): State<Shared>) -> Response {
    let Some(listener) = shared.pulse.listen() else {
        let full = Failed { detail: None, error: "as many listen as may".to_owned(), status: None };
        return (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, "5")], Json(full)).into_response();
    };
    let told = stream::unfold(listener, |mut listener| async move {
        let event = listener.next().await?;
        Some((Ok::<_, Infallible>(event), listener))
    });
    let fields = [(CONTENT_TYPE, "text/event-stream"), (CACHE_CONTROL, "no-store")];
    (fields, Body::from_stream(told)).into_response()
}
