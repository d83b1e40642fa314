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
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use futures_util::future::join_all;
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
    model::{
        AppName, Machine, MachineId, MachineSample, MachineState, Policy, Readings, SourceName,
    },
    ports::{MetricsPages, ScrapeTarget},
    sources::{Answer, Question, Source},
};

/// How many pages are read at the same time, unless told otherwise.
/// Many, because a machine that hangs holds its turn until the deadline and the others must not
/// wait for it.
pub const CONCURRENCY: usize = 64;

/// For one page.
const PAGE_DEADLINE: Duration = Duration::from_secs(5);

/// For a page that did not come in time lately, and how often until it is given its whole time
/// again: a round waits for its slowest page, and one machine that hangs must not slow the watch
/// over all others.
const BRIEF_DEADLINE: Duration = Duration::from_secs(1);
const BRIEF_LOOKS: u32 = 5;

/// Machines that are remembered as late, at most.
const LATE_MAX: usize = 10_000;

/// For a turn to read a page.
const TURN_DEADLINE: Duration = Duration::from_secs(10);

/// Reads machines' pages and remembers their counters between rounds.
pub struct Scraper {
    pages: Arc<dyn MetricsPages>,
    turns: Semaphore,
    deadline: Duration,
    counters: Mutex<Counters>,
    /// Machines whose page was late, and how many brief looks are left.
    late: Mutex<BTreeMap<MachineId, u32>>,
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
            late: Mutex::default(),
        }
    }

    /// Replaces the deadline of one page, 5 s.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Reads one machine's page for what is wanted. The caller asks for started machines only, and
    /// for one machine not twice at the same time.
    async fn scrape(&self, question: Question<'_>, machine: &Machine) -> MachineSample {
        MachineSample {
            machine: machine.id.clone(),
            instance: machine.instance.clone(),
            source: SourceName::Pages,
            readings: self.readings(question, machine).await,
        }
    }

    async fn readings(
        &self,
        Question { app, wanted, policy, .. }: Question<'_>,
        machine: &Machine,
    ) -> Result<Readings, String> {
        let target = target(app, machine, policy)?;
        let mut page = FamilySelector::new(wanted_names(wanted), Limits::default());
        {
            let _turn = match timeout(TURN_DEADLINE, self.turns.acquire()).await {
                Ok(Ok(turn)) => turn,
                Ok(Err(_)) | Err(_) => {
                    return Err(format!(
                        "too many pages are being read: no turn within {TURN_DEADLINE:?}"
                    ));
                }
            };
            let (deadline, began) = (self.patience(&machine.id), Instant::now());
            let read = match timeout(deadline, self.pages.read(&target, &mut page)).await {
                Ok(read) => read.map_err(|error| error.to_string()),
                Err(_) => Err(format!("the page did not finish within {deadline:?}")),
            };
            self.note_time(&machine.id, read.is_ok(), deadline, began.elapsed());
            read?;
        }
        let series = page.finish().and_then(|lines| parse(&lines));
        let series = series.map_err(|error| error.to_string())?;
        let Reading { readings, notes } =
            self.counters.lock().unwrap_or_else(PoisonError::into_inner).read(
                &machine.id,
                (&machine.instance, machine.started_at),
                &series,
                wanted,
                Instant::now(),
            );
        for (threshold, note) in notes {
            tracing::debug!(%app, machine = %machine.id, threshold, note, "note on a threshold");
        }
        Ok(readings)
    }

    fn late(&self) -> MutexGuard<'_, BTreeMap<MachineId, u32>> {
        self.late.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long this machine's page is waited for now.
    fn patience(&self, machine: &MachineId) -> Duration {
        let mut late = self.late();
        match late.get_mut(machine) {
            Some(left) if *left > 0 => {
                *left -= 1;
                self.deadline.min(BRIEF_DEADLINE)
            }
            Some(_) => {
                late.remove(machine);
                self.deadline
            }
            None => self.deadline,
        }
    }

    fn note_time(&self, machine: &MachineId, is_read: bool, allowed: Duration, took: Duration) {
        let mut late = self.late();
        if is_read {
            late.remove(machine);
        } else if allowed > BRIEF_DEADLINE && took > BRIEF_DEADLINE {
            if late.len() >= LATE_MAX {
                late.clear();
            }
            late.insert(machine.clone(), BRIEF_LOOKS);
        }
    }
}

#[async_trait]
impl Source for Scraper {
    fn has(&self, source: &SourceName) -> bool {
        *source == SourceName::Pages
    }

    async fn read(&self, question: Question<'_>) -> Answer {
        let started = question
            .machines
            .iter()
            .filter(|machine| !machine.is_ephemeral())
            .filter(|machine| matches!(machine.state, MachineState::Started));
        let samples = join_all(started.map(|machine| self.scrape(question, machine))).await;
        let first = samples.iter().find_map(|sample| sample.readings.as_ref().err().cloned());
        let blind = first.filter(|_| samples.iter().all(|sample| sample.readings.is_err()));
        Answer { samples, blind }
    }
}

/// Where a machine's page is: what the policy says before what the machine says.
///
/// # Errors
/// What neither of them says; for people.
pub fn target(app: &AppName, machine: &Machine, policy: &Policy) -> Result<ScrapeTarget, String> {
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
        https: policy.metrics_https.or(own.map(|page| page.https)).unwrap_or(false),
    })
}

#[cfg(test)]
mod tests;
