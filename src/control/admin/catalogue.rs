//! Every page that there is.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use serde_json::Value;

use super::answers::{self, ClusterPage, Done, HandedOver, RoutePage};
use super::page::{FAILED, Page, get, json, post, text};
use super::{Shared, configuration, dashboard, endpoints, events, openapi, rollout};
use crate::control::board::Status;
use crate::control::policy::{Document, Parts};

const STOPPING: &str = "The gateway shuts down.";

/// The pages and what is told of them, from one table.
pub(super) fn router(shared: impl FnOnce(Arc<str>) -> Shared) -> Router {
    let pages = pages();
    let document = openapi::document(&pages).to_string();
    let router = pages.into_iter().fold(Router::new(), |router, page| router.route(page.path, page.serves));
    router.fallback(|| async { (StatusCode::NOT_FOUND, "Not Found") }).with_state(shared(document.into()))
}

fn pages() -> Vec<Page> {
    let metrics = "Every metric, as Prometheus reads it; OpenMetrics where `Accept` asks for it.";
    let reload = "Reads the configuration files again.";
    let upgrade = "Hands over to a new process of the program on disk.";
    let mut pages = vec![
        get("/openapi.json", "This document.", document).answers(200, "OpenAPI 3.1.", &[json::<Value>()]),
        get("/metrics", metrics, super::metrics).answers(
            200,
            "In the format asked for.",
            &[text("text/plain"), text("application/openmetrics-text")],
        ),
        get("/health", "Whether the process lives.", super::health).open().answers(
            200,
            "It does.",
            &[json::<answers::State>()],
        ),
        get("/healthz", "The same as `/health`.", super::health).open().answers(
            200,
            "It does.",
            &[json::<answers::State>()],
        ),
        get("/ready", "Whether a load balancer may send traffic.", super::ready)
            .open()
            .answers(200, "It may.", &[json::<answers::State>()])
            .answers(503, "It may not.", &[json::<answers::State>()]),
        get("/status", "How the gateway is.", super::status).answers(200, "So.", &[json::<Status>()]),
        get("/clusters", "Clusters, and what keeps each endpoint away.", super::clusters).answers(
            200,
            "Those in force.",
            &[json::<ClusterPage>()],
        ),
        get("/routes", "Routes, in the order written.", super::routes).answers(
            200,
            "Those in force.",
            &[json::<RoutePage>()],
        ),
        post("/reload", reload, super::reload)
            .answers(200, "They are in force, or on trial.", &[json::<Done>()])
            .answers(400, "They are invalid: the report of `ringgate check`. What was in force stays.", FAILED)
            .answers(503, STOPPING, FAILED),
        post("/upgrade", upgrade, super::upgrade_page)
            .answers(200, "The new process serves; this one drains.", &[json::<HandedOver>()])
            .answers(500, "It does not; this process goes on.", FAILED)
            .answers(503, STOPPING, FAILED),
        get("/policy", "The live policy document.", super::policy).answers(
            200,
            "The document in force.",
            &[json::<Document>()],
        ),
        post("/policy", "Changes the live policy document; what is left out stays.", super::post_policy)
            .takes("Some members of the document.", &[json::<Parts>()])
            .answers(200, "Every worker obeys it, and it is kept.", &[json::<Done>()])
            .answers(400, "It is no document.", FAILED)
            .answers(503, "It could not be kept where it belongs, or the gateway shuts down.", FAILED),
    ];
    pages.extend(dashboard::pages());
    pages.extend(events::pages());
    pages.extend(configuration::pages());
    pages.extend(endpoints::pages());
    pages.extend(rollout::pages());
    pages
}

async fn document(State(shared): State<Shared>) -> Response {
    ([(CONTENT_TYPE, "application/json")], shared.document.to_string()).into_response()
}
