//! The origin of the demonstration: tells what it received.

use std::io;
use std::net::SocketAddr;
use std::sync::mpsc::channel;
use std::thread;

use axum::Router;
use axum::extract::Request;
use axum::response::Json;
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// Starts the origin on a free port of loopback, on a thread that lives as long as the process.
pub(super) fn start() -> io::Result<SocketAddr> {
    let (tell, told) = channel();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    thread::Builder::new().name("origin".to_owned()).spawn(move || {
        runtime.block_on(async {
            let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
            let _ = tell.send(listener.local_addr()?);
            axum::serve(listener, Router::new().fallback(tell_request)).await
        })
    })?;
    told.recv().map_err(|_| io::Error::other("the origin did not start"))
}

async fn tell_request(request: Request) -> Json<Value> {
    let (parts, body) = request.into_parts();
    let sizes = body.into_data_stream().map(|chunk| chunk.map_or(0, |chunk| chunk.len()));
    let received: usize = sizes.fold(0, |sum, size| async move { sum + size }).await;
    let fields: Value = parts
        .headers
        .iter()
        .map(|(name, value)| (name.to_string(), Value::from(String::from_utf8_lossy(value.as_bytes()))))
        .collect::<serde_json::Map<_, _>>()
        .into();
    Json(json!({
        "origin": "received",
        "method": parts.method.as_str(),
        "target": parts.uri.to_string(),
        "body_bytes": received,
        "fields": fields,
    }))
}
