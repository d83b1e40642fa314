//! What the demo plays on.

use tokio::{sync::mpsc, task::JoinHandle};

use super::{super::receiver::Received, Bad};
use crate::web::AppView;

pub(super) struct Stage {
    pub(super) daemon: JoinHandle<anyhow::Result<()>>,
    pub(super) messages: mpsc::Receiver<Result<Received, String>>,
    pub(super) api_url: String,
    pub(super) platform_url: String,
}

impl Stage {
    pub(super) async fn set_up() -> anyhow::Result<Self> {
        anyhow::bail!("not built yet")
    }
    pub(super) async fn ship_good(&self) -> anyhow::Result<()> {
        Ok(())
    }
    pub(super) async fn ship_bad(&self, _bad: Bad) -> anyhow::Result<()> {
        Ok(())
    }
    pub(super) fn view(&self, _app: &str) -> Option<AppView> {
        None
    }
    pub(super) fn all_on_good(&self, _app: &str) -> bool {
        false
    }
    pub(super) fn totals(&self, _app: &str) -> (u64, u64) {
        (0, 0)
    }
    pub(super) fn platform_calls(&self) -> u64 {
        0
    }
    pub(super) async fn tear_down(self) -> anyhow::Result<()> {
        Ok(())
    }
}
