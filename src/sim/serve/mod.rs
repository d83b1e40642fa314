//! The simulated platform on the network: what `flyctl`, Waveoff and people reach it by.
//!
//! One listener speaks the Machines API (`/v1`), GraphQL (`/graphql`), the release endpoints
//! (`/api/v1`), an image registry (`/v2`), the managed Prometheus (`/prometheus`) and the control
//! API (`/_sim`); every running machine
//! serves its metrics on a loopback address of its own ([`metrics`]). The state model knows
//! nothing of any of this.

mod apps;
mod call;
mod connection;
mod control;
mod faults;
mod graphql;
mod ledger;
mod limits;
mod machine_json;
mod machines;
mod managed;
pub mod metrics;
mod organization_json;
mod registry;
mod reply;
mod rights;
mod route;
mod volumes;

use std::{
    future::Future,
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::{ConnectInfo, Request, State},
    http::{HeaderMap, Response, header},
    serve::Listener,
};
use base64::Engine as _;
use serde_json::Value;

use self::{
    call::Call,
    connection::{CutSwitch, CuttableListener},
    faults::{Fault, Faults},
    limits::Limits,
    reply::{Answer, Reply},
    route::Operation,
};
use crate::sim::{handle::Sim, model::rights::owner_of};

/// The largest request body read, in bytes.
const LARGEST_BODY: usize = 4 << 20;

/// How long a call that was told to time out keeps its caller waiting.
const HANG: Duration = Duration::from_secs(120);

/// How long connections may take to end once the server is told to.
const FAREWELL: Duration = Duration::from_secs(2);

/// How to serve.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Whether the Machines API's rate limits hold; the control API can switch them.
    pub limits: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { limits: true }
    }
}

/// What all requests share.
struct Shared {
    sim: Sim,
    faults: Mutex<Faults>,
    /// `None`: not limited.
    limits: Mutex<Option<Limits>>,
    requests: AtomicU64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Serves an organization on `listener` until `shutdown` resolves.
///
/// # Errors
/// When the listener fails for good.
pub async fn serve<L>(
    sim: Sim,
    listener: L,
    options: Options,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()>
where
    L: Listener,
    L::Addr: std::fmt::Debug,
{
    sim.with(crate::sim::Org::keep_metrics);
    let shared = Arc::new(Shared {
        sim,
        faults: Mutex::new(Faults::default()),
        limits: Mutex::new(options.limits.then(Limits::default)),
        requests: AtomicU64::new(0),
    });
    let router = Router::new()
        .fallback(handle)
        .with_state(shared)
        .into_make_service_with_connect_info::<CutSwitch>();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let server =
        axum::serve(CuttableListener(listener), router).with_graceful_shutdown(async move {
            shutdown.await;
            // The receiver is only gone when the server already is.
            let _ = stop.send(());
        });
    tokio::select! {
        ended = async { server.await } => ended,
        () = async {
            if stopped.await.is_err() {
                std::future::pending::<()>().await;
            }
            // Waits in progress last up to a minute; nobody waits for those.
            tokio::time::sleep(FAREWELL).await;
        } => Ok(()),
    }
}

async fn handle(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(switch): ConnectInfo<CutSwitch>,
    request: Request,
) -> Response<Body> {
    let id = shared.requests.fetch_add(1, Ordering::Relaxed);
    let head_only = request.method() == axum::http::Method::HEAD;
    let reply = respond(&shared, &switch, request).await;
    let mut response =
        reply.unwrap_or_else(|refusal| refusal).into_response(id, shared.sim.platform_now());
    if head_only {
        *response.body_mut() = Body::empty();
    }
    response
}

/// A lost request or answer: whatever is returned here is never sent.
fn lost(switch: &CutSwitch) -> Reply {
    switch.cut();
    Reply::error(500, "lost")
}

async fn respond(shared: &Shared, switch: &CutSwitch, request: Request) -> Answer {
    let (head, body) = request.into_parts();
    let nonce = head.headers.get("fly-machine-lease-nonce").and_then(|text| text.to_str().ok());
    let mut call = Call {
        method: head.method.as_str().to_owned(),
        path: head.uri.path().to_owned(),
        query: route::query(head.uri.query().unwrap_or_default()),
        nonce: nonce.filter(|text| !text.is_empty()).map(str::to_owned),
        body: Value::Null,
        owner: String::new(),
        route: route::parse(&head.method, head.uri.path()),
    };
    let read = if call.route.action == Operation::MetricsQuery {
        // What is too long for a URL comes as a form.
        read_form(body).await.map(|form| {
            call.query.extend(form);
            Value::Null
        })
    } else {
        read(body).await
    };
    if call.route.action == Operation::Control {
        call.body = read?;
        return control::answer(shared, &call);
    }
    let uri = head.uri.to_string();
    let reply = match read {
        // A form is no reason to say less than that there is nothing of that name.
        Err(refusal) if call.route.action != Operation::Unrouted => Err(refusal),
        read => {
            call.body = read.unwrap_or(Value::Null);
            guarded(shared, switch, &head.headers, &mut call).await
        }
    };
    let (Ok(told) | Err(told)) = &reply;
    if let Some(unknown) = &told.unknown {
        tracing::warn!(method = call.method, path = uri, "{unknown}");
    }
    lock(&shared.faults).record(shared.sim.platform_now(), &call, &uri, told);
    reply
}

async fn whole(body: Body) -> Result<axum::body::Bytes, Reply> {
    axum::body::to_bytes(body, LARGEST_BODY)
        .await
        .map_err(|_| Reply::invalid("the body is too large or broke off"))
}

/// A form in a request's body.
async fn read_form(body: Body) -> Result<Vec<(String, String)>, Reply> {
    Ok(route::query(&String::from_utf8_lossy(&whole(body).await?)))
}

/// A request's body; none is null.
async fn read(body: Body) -> Result<Value, Reply> {
    let body = whole(body).await?;
    if body.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_slice(&body)
        .map_err(|error| Reply::invalid(&format!("malformed body: {error}")))
}

/// A request of the platform's own doors: token, rate limit, fault, answer.
async fn guarded(
    shared: &Shared,
    switch: &CutSwitch,
    headers: &HeaderMap,
    call: &mut Call,
) -> Answer {
    call.owner = authenticate(headers)?;
    if call.route.is_limited()
        && let Some(limits) = lock(&shared.limits).as_mut()
    {
        let now = tokio::time::Instant::now();
        limits
            .take(call.route.action.as_str(), call.route.identifier(), now)
            .map_err(Reply::too_many)?;
    }
    let fault = lock(&shared.faults).take(call);
    if fault.is_none()
        && let Some(right) = call.route.action.right()
    {
        let denied = shared.sim.with(|org| org.allow(&call.owner, right));
        denied.map_err(|refusal| rights::refused(call.route.action, &refusal))?;
    }
    match fault {
        None => dispatch(&shared.sim, call).await,
        Some(Fault::Status { status, retry_after }) => {
            let mut reply = Reply::error(status, "simulated fault");
            if let Some(seconds) = retry_after {
                reply.headers.push(("retry-after", seconds.to_string()));
            }
            Err(reply)
        }
        Some(Fault::Timeout) => {
            tokio::time::sleep(HANG).await;
            Err(lost(switch))
        }
        Some(Fault::RequestLost) => Err(lost(switch)),
        Some(Fault::AnswerLost) => {
            // Applied, and nobody is told: that is the fault.
            drop(dispatch(&shared.sim, call).await);
            Err(lost(switch))
        }
        Some(Fault::Truncated) => {
            let mut reply = dispatch(&shared.sim, call).await.unwrap_or_else(|refusal| refusal);
            reply.is_cut = true;
            Ok(reply)
        }
    }
}

async fn dispatch(sim: &Sim, call: &Call) -> Answer {
    match call.route.action {
        Operation::Graphql => Ok(graphql::answer(sim, call)),
        Operation::Organization
        | Operation::BuildStart
        | Operation::BuildFinish
        | Operation::ReleaseCreate
        | Operation::ReleasePatch
        | Operation::ReleasesList
        | Operation::ReleaseCurrent
        | Operation::ReleasesAllCurrent
        | Operation::Logs => ledger::answer(sim, call),
        Operation::RegistryPing | Operation::Manifest => registry::answer(sim, call),
        Operation::TokenCurrent | Operation::TokenAuthorize => rights::answer(sim, call),
        Operation::Volumes
        | Operation::VolumeCreate
        | Operation::VolumeGet
        | Operation::VolumeUpdate
        | Operation::VolumeExtend
        | Operation::VolumeDestroy
        | Operation::VolumeSnapshots
        | Operation::OrgVolumes => volumes::answer(sim, call),
        Operation::MetricsQuery => managed::answer(sim, call),
        Operation::Unrouted => Err(Reply::not_simulated(&format!("{} {}", call.method, call.path))),
        _ => machines::answer(sim, call).await,
    }
}

/// Whom a token belongs to. Any token will do; none will not.
fn authenticate(headers: &HeaderMap) -> Result<String, Reply> {
    let refusal = || Reply::error(401, "unauthenticated: token missing or invalid");
    let text = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .ok_or_else(refusal)?;
    let (scheme, token) = text.split_once(' ').ok_or_else(refusal)?;
    let token = if scheme.eq_ignore_ascii_case("basic") {
        let decoded = base64::engine::general_purpose::STANDARD
            .decode(token.trim())
            .map_err(|_| refusal())?;
        let pair = String::from_utf8(decoded).map_err(|_| refusal())?;
        pair.split_once(':').map(|(_, token)| token.to_owned()).ok_or_else(refusal)?
    } else {
        token.trim().to_owned()
    };
    if token.is_empty() {
        return Err(refusal());
    }
    Ok(owner_of(&token))
}
