//! What pages say of themselves.

use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Json, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::control::routes::ShownRoute;
use crate::telemetry::ClusterView;

/// Why a request failed.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Failed {
    /// What exactly.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) detail: Option<String>,
    /// Why.
    pub(super) error: String,
    /// `error`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) status: Option<&'static str>,
}

/// An order was obeyed.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Done {
    /// The epoch that is in force now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) epoch: Option<u64>,
    /// The trial that the configuration is on, if it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) rollout: Option<u32>,
    /// `ok`.
    pub(super) status: &'static str,
}

/// Another process serves.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::control) struct HandedOver {
    /// The epoch that it serves by.
    pub(in crate::control) epoch: u64,
    /// The new process.
    pub(in crate::control) pid: u32,
    /// `ok`.
    pub(in crate::control) status: &'static str,
}

/// How the gateway is.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct State {
    /// `ok`, `ready` or `not ready`.
    pub(super) status: &'static str,
}

/// The page `/clusters`.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct ClusterPage {
    /// The clusters in force.
    pub(super) clusters: Vec<ClusterView>,
}

/// The page `/routes`.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct RoutePage {
    /// The routes in force, in the order written.
    pub(super) routes: Vec<ShownRoute>,
}

/// What a weight is sent as.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Weight {
    /// The share of the requests beside the others', 0 to 1000; 0 drains the endpoint.
    #[schemars(range(max = 1000))]
    pub(super) weight: u32,
}

/// An order was obeyed.
pub(super) fn done(epoch: Option<u64>) -> Response {
    Json(Done { status: "ok", epoch, rollout: None }).into_response()
}

/// It was not, or there is nothing to show.
pub(in crate::control) fn failed(status: StatusCode, why: &str) -> Response {
    (status, Json(Failed { status: Some("error"), error: why.to_owned(), detail: None })).into_response()
}

/// Nothing is ordered any more.
pub(in crate::control) fn stopping() -> Response {
    failed(StatusCode::SERVICE_UNAVAILABLE, "shutting down")
}
