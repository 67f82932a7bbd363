//! `POST /upgrade`.

use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Json, Response};
use tokio::sync::{mpsc, oneshot};

use super::super::admin::{HandedOver, failed};
use super::{UpgradeRequest, Upgraded};

/// Asks for an upgrade and answers when it is over.
pub(in crate::control) async fn upgrade(orders: &mpsc::Sender<UpgradeRequest>) -> Response {
    let stopping = "shutting down".to_owned();
    let (reply, answer) = oneshot::channel();
    let outcome = match orders.send(reply).await {
        Ok(()) => answer.await.unwrap_or(Err(stopping)),
        Err(_closed) => Err(stopping),
    };
    match outcome {
        Ok(Upgraded { pid, epoch, .. }) => Json(HandedOver { status: "ok", pid, epoch }).into_response(),
        Err(why) => failed(StatusCode::INTERNAL_SERVER_ERROR, &why),
    }
}
