//! Pages that change what an endpoint gets.

use std::net::SocketAddr;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{post, put};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::{Shared, stopping};
use crate::control::weights::{WEIGHT_MAX, Wanted};

/// Somebody asks for another weight of an endpoint and wants to know the epoch of it; `None` without such an endpoint.
pub(in crate::control) type WeightRequest =
    ((String, SocketAddr, Wanted), oneshot::Sender<Result<Option<u64>, String>>);

pub(super) fn pages() -> Router<Shared> {
    Router::new()
        .route("/clusters/{cluster}/{endpoint}/drain", post(drain))
        .route("/clusters/{cluster}/{endpoint}/undrain", post(undrain))
        .route("/clusters/{cluster}/{endpoint}/weight", put(weigh))
}

async fn drain(State(shared): State<Shared>, Path(endpoint): Path<(String, String)>) -> Response {
    order(&shared, endpoint, Wanted::Weight(0)).await
}

async fn undrain(State(shared): State<Shared>, Path(endpoint): Path<(String, String)>) -> Response {
    order(&shared, endpoint, Wanted::Configured).await
}

async fn weigh(State(shared): State<Shared>, Path(endpoint): Path<(String, String)>, body: Bytes) -> Response {
    let weight =
        serde_json::from_slice::<Value>(&body).ok().filter(|body| body.as_object().is_some_and(|o| o.len() == 1));
    let weight = weight.and_then(|body| body["weight"].as_u64()).and_then(|weight| u32::try_from(weight).ok());
    match weight.filter(|weight| *weight <= WEIGHT_MAX) {
        Some(weight) => order(&shared, endpoint, Wanted::Weight(weight)).await,
        None => {
            refused(StatusCode::BAD_REQUEST, &format!("expected {{\"weight\": 0}} to {{\"weight\": {WEIGHT_MAX}}}"))
        }
    }
}

async fn order(shared: &Shared, (cluster, endpoint): (String, String), wanted: Wanted) -> Response {
    let unknown = format!("no endpoint {endpoint} of a cluster {cluster}; GET /clusters lists them");
    let Ok(address) = endpoint.parse() else { return refused(StatusCode::NOT_FOUND, &unknown) };
    let (reply, answer) = oneshot::channel();
    if shared.orders.weights.send(((cluster, address, wanted), reply)).await.is_err() {
        return stopping();
    }
    match answer.await {
        Ok(Ok(Some(epoch))) => Json(json!({"status": "ok", "epoch": epoch})).into_response(),
        Ok(Ok(None)) => refused(StatusCode::NOT_FOUND, &unknown),
        Ok(Err(why)) => refused(StatusCode::INTERNAL_SERVER_ERROR, &why),
        Err(_) => stopping(),
    }
}

fn refused(status: StatusCode, why: &str) -> Response {
    (status, Json(json!({"status": "error", "error": why}))).into_response()
}
