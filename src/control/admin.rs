//! The admin server: metrics, health, status, reload and the live policy, on an address or a unix socket.

mod answers;
mod catalogue;
mod configuration;
mod dashboard;
mod endpoints;
mod events;
mod guard;
mod openapi;
mod page;
mod patience;
mod rollout;
mod seats;
mod secure;

use std::fmt::Debug;
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Request, State};
use axum::http::header::{ACCEPT, CONTENT_TYPE, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Json, Response};
use axum::serve::Listener;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinHandle;

use self::answers::{ClusterPage, Failed, RoutePage, done};
pub(super) use self::answers::{HandedOver, failed, stopping};
pub(super) use self::endpoints::WeightRequest;
use self::guard::Guard;
use self::patience::Patient;
pub(super) use self::rollout::RolloutRequest;
pub(super) use self::seats::Turned;
use self::seats::{Seats, Sitter, seated};
use self::secure::Secured;
use super::board::Board;
use super::gateway::Reloaded;
use super::policy::Refusal;
use super::pulse::Pulse;
use super::put::PutRequest;
use super::upgrade::{self, UpgradeRequest};
use crate::config::{Admin, AdminListen};
use crate::telemetry::{Format, render_metrics};

/// Somebody asks for a reload and wants to know how it went: the epoch and the trial, or the whole
/// report.
pub(super) type ReloadRequest = oneshot::Sender<Result<Reloaded, String>>;

/// Somebody posts a part of a live policy document and wants to know whether it was taken.
pub(super) type PolicyRequest = (Bytes, oneshot::Sender<Result<(), Refusal>>);

/// To whom orders go.
#[derive(Clone)]
pub(super) struct Orders {
    pub(super) reloads: mpsc::Sender<ReloadRequest>,
    pub(super) policies: mpsc::Sender<PolicyRequest>,
    pub(super) weights: mpsc::Sender<WeightRequest>,
    pub(super) upgrades: mpsc::Sender<UpgradeRequest>,
    pub(super) puts: mpsc::Sender<PutRequest>,
    pub(super) rollouts: mpsc::Sender<RolloutRequest>,
}

/// Longest wait for last answers.
const RETIREMENT: Duration = Duration::from_secs(2);

/// The running server.
#[derive(Debug)]
pub(super) struct AdminServer {
    task: JoinHandle<()>,
    /// Where it listens, as text: an address, or `unix:` and a path.
    pub(super) address: String,
    socket: Option<PathBuf>,
    /// A copy of the listening socket, to be passed on; made at the start, which may fail.
    listener: Option<OwnedFd>,
    retiring: Arc<Notify>,
    pulse: Arc<Pulse>,
}

#[derive(Clone)]
struct Shared {
    board: Arc<Board>,
    pulse: Arc<Pulse>,
    orders: Orders,
    /// What is told of the pages.
    document: Arc<str>,
}

impl AdminServer {
    /// Binds, unless the socket was inherited, and serves; `None` when the configuration has no admin endpoint.
    ///
    /// # Errors
    /// One sentence with the address when it cannot be bound.
    pub(super) async fn start(
        admin: &Admin,
        board: Arc<Board>,
        orders: Orders,
        inherited: Option<OwnedFd>,
    ) -> Result<Option<Self>, String> {
        let pages = || {
            let pulse = Arc::new(Pulse::start(Arc::clone(&board)));
            let (board, to_tell) = (Arc::clone(&board), Arc::clone(&pulse));
            let pages = catalogue::router(|document| Shared { board, pulse: to_tell, orders, document });
            // Within the guard: who may not ask has no request that would keep its seat.
            (pages.layer(from_fn(seated)), pulse)
        };
        let seats = Seats::new(Arc::clone(board.turned()));
        let server = match &admin.listen {
            AdminListen::Off => return Ok(None),
            AdminListen::Tcp(address) => Self::on_tcp(*address, admin, seats, pages(), inherited).await,
            AdminListen::Unix(path) => Self::on_unix(path, seats, pages(), inherited),
        };
        let server = server.map_err(|error| format!("admin.listen: {error}"))?;
        board.on_admin(server.address.clone());
        Ok(Some(server))
    }

    async fn on_tcp(
        address: SocketAddr,
        admin: &Admin,
        seats: Seats,
        (pages, pulse): (Router, Arc<Pulse>),
        inherited: Option<OwnedFd>,
    ) -> io::Result<Self> {
        let named = |error: io::Error| io::Error::new(error.kind(), format!("{address}: {error}"));
        let listener = match inherited {
            Some(socket) => TcpListener::from_std(socket.into())?,
            None => TcpListener::bind(address).await.map_err(named)?,
        };
        let original = listener.as_fd().try_clone_to_owned()?;
        let address = listener.local_addr()?.to_string();
        let guard = Arc::new(Guard::new(admin, listener.local_addr()?.ip()));
        let pages = pages.layer(from_fn_with_state(guard, admit));
        let (task, retiring) = match &admin.tls {
            None => serving(listener, seats, pages),
            Some(tls) => serving(Secured::new(listener, tls)?, seats, pages),
        };
        Ok(Self { task, address, socket: None, listener: Some(original), retiring, pulse })
    }

    fn on_unix(
        path: &Path,
        seats: Seats,
        (pages, pulse): (Router, Arc<Pulse>),
        inherited: Option<OwnedFd>,
    ) -> io::Result<Self> {
        let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        let listener = if let Some(socket) = inherited {
            UnixListener::from_std(socket.into())?
        } else {
            remove_stale(path).map_err(named)?;
            let listener = UnixListener::bind(path).map_err(named)?;
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
            listener
        };
        let original = listener.as_fd().try_clone_to_owned()?;
        let (task, retiring) = serving(listener, seats, pages);
        let address = format!("unix:{}", path.display());
        Ok(Self { task, address, socket: Some(path.to_owned()), listener: Some(original), retiring, pulse })
    }

    /// The copy of the listening socket, once.
    pub(super) const fn take_listener(&mut self) -> Option<OwnedFd> {
        self.listener.take()
    }

    /// Takes no more connections, and ends those that there are when they have their answers; a path stays if another
    /// process listens there.
    pub(super) fn retire(&mut self, is_kept: bool) {
        self.retiring.notify_one();
        // A stream of events has no end of its own.
        self.pulse.stop();
        if is_kept {
            self.socket = None;
        }
    }

    /// Waits until every connection has ended that was asked to.
    pub(super) async fn retired(&mut self) {
        drop(tokio::time::timeout(RETIREMENT, &mut self.task).await);
    }

    /// Stops serving at once.
    pub(super) fn stop(self) {
        self.pulse.stop();
        self.task.abort();
        if let Some(path) = self.socket {
            drop(std::fs::remove_file(path));
        }
    }
}

/// Serves on a task of its own, until what comes back with it is notified.
fn serving<L>(listener: L, seats: Seats, pages: Router) -> (JoinHandle<()>, Arc<Notify>)
where
    L: Listener,
    L::Addr: Debug,
{
    let retiring = Arc::new(Notify::new());
    let retired = Arc::clone(&retiring).notified_owned();
    let patient = Patient::new(listener, seats);
    let pages = pages.into_make_service_with_connect_info::<Sitter>();
    let task = tokio::spawn(async move { drop(axum::serve(patient, pages).with_graceful_shutdown(retired).await) });
    (task, retiring)
}

/// Removes the socket that a killed process left behind, and nothing that is in use or no socket.
fn remove_stale(path: &Path) -> io::Result<()> {
    match UnixStream::connect(path) {
        Ok(_) => Err(io::Error::new(io::ErrorKind::AddrInUse, "another process listens there")),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path),
        Err(_) => Ok(()),
    }
}

async fn metrics(State(shared): State<Shared>, headers: HeaderMap) -> Response {
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let format = Format::accepted(accept);
    ([(CONTENT_TYPE, format.content_type())], render_metrics(shared.board.scrape(), format)).into_response()
}

/// The process lives; that it answers is the answer.
async fn health() -> Response {
    Json(answers::State { status: "ok" }).into_response()
}

async fn ready(State(shared): State<Shared>) -> Response {
    if shared.board.is_ready() {
        Json(answers::State { status: "ready" }).into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, Json(answers::State { status: "not ready" })).into_response()
    }
}

async fn status(State(shared): State<Shared>) -> Response {
    Json(shared.board.status()).into_response()
}

async fn clusters(State(shared): State<Shared>) -> Response {
    Json(ClusterPage { clusters: shared.board.clusters() }).into_response()
}

async fn routes(State(shared): State<Shared>) -> Response {
    Json(RoutePage { routes: shared.board.routes() }).into_response()
}

async fn reload(State(shared): State<Shared>) -> Response {
    let (reply, answer) = oneshot::channel();
    if shared.orders.reloads.send(reply).await.is_err() {
        return stopping();
    }
    match answer.await {
        Ok(Ok(Reloaded { epoch, rollout })) => {
            let rollout = rollout.map(NonZeroU32::get);
            Json(answers::Done { status: "ok", epoch: Some(epoch), rollout }).into_response()
        }
        Ok(Err(report)) => failed(StatusCode::BAD_REQUEST, &report),
        Err(_) => stopping(),
    }
}

async fn upgrade_page(State(shared): State<Shared>) -> Response {
    upgrade::upgrade(&shared.orders.upgrades).await
}

async fn policy(State(shared): State<Shared>) -> Response {
    Json(shared.board.policy()).into_response()
}

async fn post_policy(State(shared): State<Shared>, body: Result<Bytes, BytesRejection>) -> Response {
    let told = |status: StatusCode, error: &str, detail: String| {
        (status, Json(Failed { status: None, error: error.to_owned(), detail: Some(detail) })).into_response()
    };
    let invalid = |detail: String| told(StatusCode::BAD_REQUEST, "Invalid policy payload", detail);
    let body = match body {
        Ok(body) => body,
        Err(refused) => return invalid(refused.body_text()),
    };
    let (reply, answer) = oneshot::channel();
    if shared.orders.policies.send((body, reply)).await.is_err() {
        return stopping();
    }
    match answer.await {
        Ok(Ok(())) => done(None),
        Ok(Err(Refusal::Invalid(why))) => invalid(why),
        Ok(Err(Refusal::Unkept(why))) => told(StatusCode::SERVICE_UNAVAILABLE, "Policy not stored", why),
        Err(_) => stopping(),
    }
}

async fn admit(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    let told = |status: StatusCode, why: &str| {
        (status, Json(Failed { status: None, error: why.to_owned(), detail: None })).into_response()
    };
    match guard.admits(request.method(), request.uri().path(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(guard::Refusal::Stranger) => (StatusCode::FORBIDDEN, "Forbidden").into_response(),
        Err(guard::Refusal::ReadOnly) => told(StatusCode::FORBIDDEN, "this token is for looking only"),
        Err(guard::Refusal::Unknown) => {
            let mut response = told(StatusCode::UNAUTHORIZED, "send the token as `Authorization: Bearer`");
            let challenge = HeaderValue::from_static("Bearer realm=\"ringgate admin\"");
            response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
            response
        }
    }
}

#[cfg(test)]
mod tests;
