//! Metrics pages of machines, as increments per threshold.
//!
//! `http` fetches a page, `select` keeps the wanted lines as they stream by, `parse` reads them
//! exactly, `counters` turns cumulative values into what was added. [`Scraper`] puts them in a
//! row, with a limit on how many pages are read at once and a deadline for each.

pub mod counters;
pub mod http;
pub mod parse;
pub mod select;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::Semaphore,
    time::{Instant, timeout},
};

use self::{
    counters::{Counters, Reading, wanted_names},
    parse::parse,
};
pub use self::{
    http::HttpPages,
    select::{FamilySelector, Limits},
};
use crate::{
    model::{AppName, Machine, MachineSample, Policy, Readings},
    ports::{MetricsPages, ScrapeTarget},
};

/// How many pages are read at the same time, unless told otherwise.
/// Many, because a machine that hangs holds its turn until the deadline and the others must not
/// wait for it.
pub const CONCURRENCY: usize = 64;

/// For one page.
const PAGE_DEADLINE: Duration = Duration::from_secs(5);

/// For a turn to read a page.
const TURN_DEADLINE: Duration = Duration::from_secs(10);

/// Reads machines' pages and remembers their counters between rounds.
pub struct Scraper {
    pages: Arc<dyn MetricsPages>,
    turns: Semaphore,
    deadline: Duration,
    counters: Mutex<Counters>,
}

impl std::fmt::Debug for Scraper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scraper").field("deadline", &self.deadline).finish_non_exhaustive()
    }
}

impl Scraper {
    /// A scraper that reads at most `concurrency` pages at once, of all apps together.
    pub fn new(pages: Arc<dyn MetricsPages>, concurrency: usize) -> Self {
        Self {
            pages,
            turns: Semaphore::new(concurrency.clamp(1, Semaphore::MAX_PERMITS)),
            deadline: PAGE_DEADLINE,
            counters: Mutex::default(),
        }
    }

    /// Replaces the deadline of one page, 5 s.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Reads one machine's page for the thresholds of `policy`. A policy that needs no page gets
    /// empty readings without a request. The caller asks for started machines only, and for one
    /// machine not twice at the same time.
    pub async fn scrape(&self, app: &AppName, machine: &Machine, policy: &Policy) -> MachineSample {
        MachineSample {
            machine: machine.id.clone(),
            instance: machine.instance.clone(),
            readings: self.read(app, machine, policy).await,
        }
    }

    async fn read(
        &self,
        app: &AppName,
        machine: &Machine,
        policy: &Policy,
    ) -> Result<Readings, String> {
        let wanted = wanted_names(&policy.thresholds);
        if wanted.is_empty() {
            return Ok(Readings::default());
        }
        let target = target(app, machine, policy)?;
        let mut page = FamilySelector::new(wanted, Limits::default());
        {
            let _turn = match timeout(TURN_DEADLINE, self.turns.acquire()).await {
                Ok(Ok(turn)) => turn,
                Ok(Err(_)) | Err(_) => {
                    return Err(format!(
                        "too many pages are being read: no turn within {TURN_DEADLINE:?}"
                    ));
                }
            };
            timeout(self.deadline, self.pages.read(&target, &mut page))
                .await
                .map_err(|_| format!("the page did not finish within {:?}", self.deadline))?
                .map_err(|error| error.to_string())?;
        }
        let series = page.finish().and_then(|lines| parse(&lines));
        let series = series.map_err(|error| error.to_string())?;
        let Reading { readings, notes } = self
            .counters
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .read(&machine.id, &machine.instance, &series, &policy.thresholds, Instant::now());
        for (threshold, note) in notes {
            tracing::debug!(%app, machine = %machine.id, threshold, note, "note on a threshold");
        }
        Ok(readings)
    }
}

/// Where a machine's page is: what the policy says before what the machine says.
fn target(app: &AppName, machine: &Machine, policy: &Policy) -> Result<ScrapeTarget, String> {
    let own = machine.metrics.as_ref();
    let id = &machine.id;
    let port = policy.metrics_port.or(own.map(|page| page.port)).ok_or_else(|| {
        format!("machine {id} has no [metrics] section and the policy names no port")
    })?;
    let path = policy.metrics_path.as_deref().or(own.map(|page| page.path.as_str()));
    let address =
        machine.private_ip.ok_or_else(|| format!("machine {id} has no private address"))?;
    Ok(ScrapeTarget {
        app: app.clone(),
        machine: id.clone(),
        address,
        port,
        path: path.filter(|path| !path.is_empty()).unwrap_or("/metrics").to_owned(),
    })
}

#[cfg(test)]
mod tests;
