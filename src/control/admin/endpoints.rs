//! Pages that change what an endpoint gets.

use std::net::SocketAddr;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use tokio::sync::oneshot;

use super::Shared;
use super::answers::{Done, Weight, done, failed, stopping};
use super::page::{FAILED, Page, json, post, put};
use crate::control::weights::{WEIGHT_MAX, Wanted};

/// Somebody asks for another weight of an endpoint and wants to know the epoch of it; `None` without such an endpoint.
pub(in crate::control) type WeightRequest =
    ((String, SocketAddr, Wanted), oneshot::Sender<Result<Option<u64>, String>>);

pub(super) fn pages() -> Vec<Page> {
    let ordered = |page: Page| {
        page.answers(200, "Every worker obeys it.", &[json::<Done>()])
            .answers(404, "There is no such endpoint.", FAILED)
            .answers(500, "A worker did not take it up in time.", FAILED)
            .answers(503, "The gateway shuts down.", FAILED)
    };
    let weigh = put("/clusters/{cluster}/{endpoint}/weight", "Gives an endpoint another weight.", weigh);
    vec![
        ordered(post("/clusters/{cluster}/{endpoint}/drain", "Sends an endpoint nothing more.", drain)),
        ordered(post("/clusters/{cluster}/{endpoint}/undrain", "Gives an endpoint its own weight again.", undrain)),
        ordered(weigh.takes("The weight.", &[json::<Weight>()]).answers(400, "It is no weight.", FAILED)),
    ]
}

async fn drain(State(shared): State<Shared>, Path(endpoint): Path<(String, String)>) -> Response {
    order(&shared, endpoint, Wanted::Weight(0)).await
}

async fn undrain(State(shared): State<Shared>, Path(endpoint): Path<(String, String)>) -> Response {
    order(&shared, endpoint, Wanted::Configured).await
}

async fn weigh(State(shared): State<Shared>, Path(endpoint): Path<(String, String)>, body: Bytes) -> Response {
    let weight = serde_json::from_slice::<Weight>(&body).ok().map(|weight| weight.weight);
    match weight.filter(|weight| *weight <= WEIGHT_MAX) {
        Some(weight) => order(&shared, endpoint, Wanted::Weight(weight)).await,
        None => failed(StatusCode::BAD_REQUEST, &format!("expected {{\"weight\": 0}} to {{\"weight\": {WEIGHT_MAX}}}")),
    }
}

async fn order(shared: &Shared, (cluster, endpoint): (String, String), wanted: Wanted) -> Response {
    let unknown = format!("no endpoint {endpoint} of a cluster {cluster}; GET /clusters lists them");
    let Ok(address) = endpoint.parse() else { return failed(StatusCode::NOT_FOUND, &unknown) };
    let (reply, answer) = oneshot::channel();
    if shared.orders.weights.send(((cluster, address, wanted), reply)).await.is_err() {
        return stopping();
    }
    match answer.await {
        Ok(Ok(Some(epoch))) => done(Some(epoch)),
        Ok(Ok(None)) => failed(StatusCode::NOT_FOUND, &unknown),
        Ok(Err(why)) => failed(StatusCode::INTERNAL_SERVER_ERROR, &why),
        Err(_) => stopping(),
    }
}
