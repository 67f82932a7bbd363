//! Pages that tell what the gateway does now: latencies, and events as they come.

use std::convert::Infallible;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use futures_util::stream;
use serde_json::json;

use super::Shared;

pub(super) fn pages() -> Router<Shared> {
    Router::new().route("/latency", get(latency)).route("/events", get(events))
}

async fn latency(State(shared): State<Shared>) -> Response {
    Json(shared.pulse.latency()).into_response()
}

/// Server-sent events (WHATWG HTML section 9.2): `past` once, then a `frame` for every second and every change.
async fn events(State(shared): State<Shared>) -> Response {
    let Some(listener) = shared.pulse.listen() else {
        let full = json!({"error": "as many listen as may"});
        return (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, "5")], Json(full)).into_response();
    };
    let told = stream::unfold(listener, |mut listener| async move {
        let event = listener.next().await?;
        Some((Ok::<_, Infallible>(event), listener))
    });
    let fields = [(CONTENT_TYPE, "text/event-stream"), (CACHE_CONTROL, "no-store")];
    (fields, Body::from_stream(told)).into_response()
}
