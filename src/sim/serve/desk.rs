//! What the doors ask of the organization's state.
//!
//! The state model is written for the in-memory ports; this is the rest of what a platform is
//! asked over the wire, in the terms of the wire (JSON objects, texts, nonces), so that the
//! doors need not know how the state is kept. Refusals are answers already.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use serde_json::Value;

use super::reply::Reply;
pub use crate::sim::{
    Sim,
    change::{Progress, Update},
    deploy::ShipOptions,
    ledger::Entry,
    page::PageKind,
};

/// The organization, as the doors see it. Every method answers at once; what takes time goes on
/// by itself and is seen by reading again.
pub trait Desk: Send + Sync + 'static {
    fn now(&self) -> Timestamp;
    /// The organization itself, for what the control API does to it.
    fn sim(&self) -> &Sim;
    /// Slug of the organization.
    fn organization(&self) -> String;
    /// 404 for an organization that is not this one (`personal` is anybody's own).
    fn check_organization(&self, slug: &str) -> Result<(), Reply> {
        if slug == self.organization() || slug == "personal" {
            Ok(())
        } else {
            Err(Reply::not_found("organization"))
        }
    }
    fn app_names(&self) -> Vec<String>;
    /// Regions in which the organization has machines.
    fn regions(&self) -> Vec<String>;
    /// An app as the Machines API shows it; 404.
    fn app(&self, app: &str) -> Result<Value, Reply>;

    /// Every machine as the Machines API shows it, destroyed ones included.
    fn machines(&self, app: &str, with_leases: bool) -> Result<Vec<Value>, Reply>;
    fn machine(&self, app: &str, id: &str, with_leases: bool) -> Result<Value, Reply>;
    fn progress(&self, app: &str, id: &str) -> Result<Progress, Reply>;
    /// Configurations submitted so far.
    fn versions(&self, app: &str, id: &str) -> Result<Value, Reply>;
    /// Changes after a time, oldest first, and the regions that could not be read.
    fn feed(&self, after: Option<Timestamp>) -> Result<(Vec<Value>, Vec<String>), Reply>;

    /// Creates a machine and tells its id.
    fn create(
        &self,
        app: &str,
        region: Option<&str>,
        name: Option<&str>,
        config: Value,
        skip_launch: bool,
    ) -> Result<String, Reply>;
    /// Answers with the machine as it is right after.
    fn update(
        &self,
        app: &str,
        id: &str,
        nonce: Option<&str>,
        update: Update<'_>,
    ) -> Result<Value, Reply>;
    fn destroy(&self, app: &str, id: &str, nonce: Option<&str>, force: bool) -> Result<(), Reply>;
    fn start(&self, app: &str, id: &str, nonce: Option<&str>) -> Result<(), Reply>;
    fn stop(&self, app: &str, id: &str, nonce: Option<&str>) -> Result<(), Reply>;
    fn suspend(&self, app: &str, id: &str, nonce: Option<&str>) -> Result<(), Reply>;
    fn restart(&self, app: &str, id: &str, nonce: Option<&str>) -> Result<(), Reply>;
    fn cordon(&self, app: &str, id: &str, nonce: Option<&str>, on: bool) -> Result<(), Reply>;
    /// `None` removes a key. Needs no lease.
    fn set_metadata(
        &self,
        app: &str,
        id: &str,
        pairs: &BTreeMap<String, Option<String>>,
    ) -> Result<(), Reply>;

    /// The lease with its nonce; 404 when there is none.
    fn lease(&self, app: &str, id: &str) -> Result<Value, Reply>;
    /// Takes the lease, or with its nonce holds it longer; 409 when somebody else has it.
    fn take_lease(
        &self,
        app: &str,
        id: &str,
        nonce: Option<&str>,
        ttl: Duration,
        owner: &str,
        description: &str,
    ) -> Result<Value, Reply>;
    fn release_lease(&self, app: &str, id: &str, nonce: &str) -> Result<(), Reply>;

    /// The app's ledger, newest first.
    fn releases(&self, app: &str) -> Result<Vec<Entry>, Reply>;
    fn release(&self, id: &str) -> Result<Entry, Reply>;
    fn create_release(
        &self,
        app: &str,
        image: &str,
        strategy: &str,
        definition: &Value,
        author: &str,
    ) -> Result<Entry, Reply>;
    fn set_release_status(&self, id: &str, status: &str) -> Result<(), Reply>;
    /// Somebody else's deploy: writes the release and goes on by itself.
    fn ship(&self, app: &str, image: &str, options: ShipOptions) -> Result<Entry, Reply>;

    /// The digest behind an image reference, by tag or digest, when the registry has it.
    fn resolve(&self, reference: &str) -> Option<String>;
    fn secrets(&self, app: &str) -> Result<Vec<Value>, Reply>;
    /// `None` removes the secret.
    fn set_secret(&self, app: &str, name: &str, value: Option<&str>) -> Result<(), Reply>;

    /// The metrics page of a running machine: port, path and a text made now.
    fn metrics_pages(&self) -> Vec<MetricsSite>;
    /// The page's text; `None` when the machine does not answer.
    fn page(&self, app: &str, id: &str, path: &str) -> Option<String>;

    /// How the page is served.
    fn page_kind(&self, id: &str) -> PageKind;
    fn set_page_kind(&self, id: &str, kind: PageKind);

    /// A machine's log lines, oldest first.
    fn log_lines(&self, app: &str, id: &str) -> Result<Vec<String>, Reply>;

    /// State in short, for people.
    fn summary(&self) -> Result<Value, Reply>;
    /// What the apps' users got so far.
    fn totals(&self) -> Value;
    fn app_of(&self, id: &str) -> Result<String, Reply>;
    /// Adds an image or changes its behaviour.
    fn set_image(&self, body: &Value) -> Result<(), Reply>;
    fn remove_image(&self, image: &str) -> Result<(), Reply>;
    /// The process dies and is started again.
    fn kill(&self, app: &str, id: &str) -> Result<(), Reply>;
    /// A stop nobody needs a lease for, as the proxy's autostop.
    fn force_stop(&self, app: &str, id: &str) -> Result<(), Reply>;
    fn set_host(&self, app: &str, id: &str, status: &str) -> Result<(), Reply>;
    /// A copy, as an autoscaler makes; tells its id.
    fn clone_machine(&self, app: &str, id: &str) -> Result<String, Reply>;
}

/// Where a machine's metrics are to be served.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MetricsSite {
    pub address: std::net::SocketAddr,
    pub app: String,
    pub machine: String,
}
