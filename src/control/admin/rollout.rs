//! Pages about what is on trial.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use tokio::sync::oneshot;

use super::Shared;
use super::answers::{Done, done, failed, stopping};
use super::page::{FAILED, Page, get, json, post};
use crate::control::rollout::{Concluded, Order, Status};

/// Somebody decides about what is on trial, and wants to know what is in force afterwards, or why it is not as asked.
pub(in crate::control) type RolloutRequest = (Order, oneshot::Sender<Result<Concluded, String>>);

pub(super) fn pages() -> Vec<Page> {
    let decided = |page: Page| {
        page.answers(200, "Every worker serves by what is in force now.", &[json::<Done>()])
            .answers(409, "Nothing is on trial, it cannot be put in force, or an upgrade is under way.", FAILED)
            .answers(500, "It was done, but a worker does not serve by it yet.", FAILED)
            .answers(503, "The gateway shuts down.", FAILED)
    };
    vec![
        get("/rollout", "What is on trial, and how the last trial ended.", status).answers(
            200,
            "What both sides have done so far.",
            &[json::<Status>()],
        ),
        decided(post("/rollout/promote", "Puts what is on trial in force, for everybody.", promote)),
        decided(post("/rollout/abort", "Rolls back what is on trial.", abort)),
    ]
}

async fn status(State(shared): State<Shared>) -> Response {
    Json(shared.board.rollout()).into_response()
}

async fn promote(State(shared): State<Shared>) -> Response {
    decide(&shared, Order::Promote).await
}

async fn abort(State(shared): State<Shared>) -> Response {
    decide(&shared, Order::Abort).await
}

async fn decide(shared: &Shared, order: Order) -> Response {
    let (reply, answer) = oneshot::channel();
    if shared.orders.rollouts.send((order, reply)).await.is_err() {
        return stopping();
    }
    match answer.await {
        Ok(Ok(Concluded { epoch, is_adopted: true })) => done(Some(epoch)),
        Ok(Ok(Concluded { epoch, .. })) => {
            let why = format!("it was done, in force is epoch {epoch}, but a worker did not take it up in time");
            failed(StatusCode::INTERNAL_SERVER_ERROR, &why)
        }
        Ok(Err(why)) => failed(StatusCode::CONFLICT, &why),
        Err(_) => stopping(),
    }
}
