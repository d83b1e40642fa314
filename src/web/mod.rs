//! The HTTP side of the daemon: the status page, health, its own metrics, and a JSON API to read by.
//!
//! Everything served here is a copy: the daemon puts views on the [`Board`] after each round, and
//! requests read them without waiting for a round. History comes from the journal. Operators
//! give their orders over HTTP as well, with a token.

pub mod acts;
mod answers;
mod api;
mod board;
mod changes;
pub mod configuration;
mod description;
pub mod explain;
mod gate;
mod listing;
mod metrics;
pub mod operator;
mod outcomes;
mod page;
mod patience;
mod process;
pub mod rank;
pub mod receivers;
mod releases;
mod standing;
#[cfg(test)]
mod tests;
pub mod view;

use std::{
    future::{Future, IntoFuture},
    io,
    sync::Arc,
    time::Duration,
};

use axum::Router;
use patience::Patient;
use tokio::{net::TcpListener, sync::Notify};

pub use api::out_of_order;
pub use board::{Board, Readiness};
pub use gate::{READ_VARIABLE, TOKEN_VARIABLE, Tokens};
pub use operator::{Desk, OrderError};
pub use outcomes::{CallOutcome, RollbackOutcome};
pub use page::Live;
pub use view::{AppView, Phase};

use crate::{
    config::PolicyFile,
    model::{AppName, Event},
    ports::Clock,
    store::Journal,
};

/// How long requests in flight may take once the daemon is told to stop.
const GRACE: Duration = Duration::from_secs(5);

/// Looks up the file of the policy in force for an app.
pub type Policies = Arc<dyn Fn(&AppName) -> Option<PolicyFile> + Send + Sync>;

/// What the handlers read from.
#[derive(Clone)]
pub struct ApiState {
    pub board: Board,
    pub journal: Arc<dyn Journal>,
    pub clock: Clock,
    /// Names of the receivers in force.
    pub receivers: Arc<dyn Fn() -> Vec<String> + Send + Sync>,
    /// The sentence a person reads for an event; given, so that text has one home.
    pub sentence: fn(&Event) -> String,
    /// The file of the policy in force for an app.
    pub policies: Policies,
    /// What pages are made from, and who reads their changes.
    pub live: Live,
    /// Carries out what operators order, and knows an app's releases.
    pub desk: Arc<dyn Desk>,
    /// Who has the configuration, and takes another one.
    pub configuration: Arc<dyn configuration::ConfigDesk>,
    /// What people have to show.
    pub tokens: Tokens,
}

/// All routes: the status page, `/healthz`, `/readyz`, `/metrics` and `/api/v1/…`.
pub fn router(state: ApiState) -> Router {
    api::routes(state)
}

/// Serves until `shutdown` completes; requests in flight then get a few seconds to finish.
///
/// # Errors
/// When the listener fails.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let stopping = Arc::new(Notify::new());
    let told = Arc::clone(&stopping);
    let server = axum::serve(Patient::new(listener), router).with_graceful_shutdown(async move {
        shutdown.await;
        told.notify_one();
    });
    tokio::select! {
        ended = server.into_future() => ended,
        // A client that never reads its answer must not keep the daemon alive.
        () = async { stopping.notified().await; tokio::time::sleep(GRACE).await } => Ok(()),
    }
}
