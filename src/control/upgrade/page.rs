//! `POST /upgrade`.

use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Json, Response};
use tokio::sync::{mpsc, oneshot};

use super::super::admin::{HandedOver, failed, stopping};
use super::{UpgradeRequest, Upgraded};

/// Asks for an upgrade and answers when it is over.
pub(in crate::control) async fn upgrade(orders: &mpsc::Sender<UpgradeRequest>) -> Response {
    let (reply, answer) = oneshot::channel();
    if orders.send(reply).await.is_err() {
        return stopping();
    }
    match answer.await {
        Ok(Ok(Upgraded { pid, epoch, .. })) => Json(HandedOver { status: "ok", pid, epoch }).into_response(),
        Ok(Err(why)) => failed(StatusCode::INTERNAL_SERVER_ERROR, &why),
        Err(_) => stopping(),
    }
}
