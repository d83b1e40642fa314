//! Requests to the machines themselves: one per machine, probe and round, counted as answered
//! rightly or not.
//!
//! `http` makes them. [`Prober`] knows which machines are asked and at which port, how many are
//! asked at once, and whether a machine that cannot be reached says something of the machine or of us.

pub mod http;

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use futures_util::future::join_all;
use jiff::SignedDuration;
use tokio::{sync::Semaphore, time::Instant};

pub use self::http::HttpProbes;
use crate::{
    model::{
        Count, HostStatus, Machine, MachineSample, MachineState, ProbeFailure, ProbeRequest,
        Readings, Selection, Since, SourceName,
    },
    ports::{ProbeTarget, Probed, Probes},
    sources::{Answer, Question, Source},
};

/// How many requests are under way at the same time. A machine that hangs holds its turn for its
/// timeout.
pub const CONCURRENCY: usize = 64;
/// For a turn, beyond the request's own timeout.
const TURN_DEADLINE: std::time::Duration = std::time::Duration::from_secs(5);
/// A start in the future by more than this is another clock's.
const CLOCKS_DIFFER: SignedDuration = SignedDuration::from_secs(5);

/// Asks machines, and tells how they answered.
pub struct Prober {
    probes: Arc<dyn Probes>,
    turns: Semaphore,
    /// When any machine of any app was last reached.
    reached_at: Mutex<Option<Instant>>,
}

impl std::fmt::Debug for Prober {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Prober").finish_non_exhaustive()
    }
}

/// What one machine has to do with one probe.
enum Came {
    /// It is not asked.
    Nothing,
    /// There was no turn for it.
    Unasked,
    Of(Probed),
}

impl Prober {
    /// Makes at most `concurrency` requests at once, for all apps together.
    pub fn new(probes: Arc<dyn Probes>, concurrency: usize) -> Self {
        Self {
            probes,
            turns: Semaphore::new(concurrency.clamp(1, Semaphore::MAX_PERMITS)),
            reached_at: Mutex::default(),
        }
    }

    async fn ask(
        &self,
        question: Question<'_>,
        machine: &Machine,
        request: &ProbeRequest,
        others_serve: bool,
    ) -> Came {
        let port = match request.port {
            Some(port) if machine.has_services || !others_serve => Some(port),
            // Where machines of the app serve requests, the rest is a worker.
            Some(_) => None,
            None => machine.service_port.filter(|_| machine.has_services),
        };
        let (Some(port), Some(address)) = (port, machine.private_ip) else { return Came::Nothing };
        let target =
            ProbeTarget { app: question.app.clone(), machine: machine.id.clone(), address, port };
        let turn = tokio::time::timeout(TURN_DEADLINE, self.turns.acquire()).await;
        let Ok(Ok(_turn)) = turn else { return Came::Unasked };
        // The port keeps to the timeout by itself; this is for one that does not.
        let deadline = request.timeout.saturating_mul(2);
        let asked = tokio::time::timeout(deadline, self.probes.probe(&target, request)).await;
        let came = asked.unwrap_or(Probed::TimedOut);
        if !matches!(came, Probed::Unreachable(_)) {
            *self.reached_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        }
        Came::Of(came)
    }

    /// Whether any machine was reached since `began`: then what is not reached is the machine's.
    fn reaches_others(&self, began: Instant) -> bool {
        let at = *self.reached_at.lock().unwrap_or_else(PoisonError::into_inner);
        at.is_some_and(|at| at >= began)
    }
}

#[async_trait]
impl Source for Prober {
    fn has(&self, source: &SourceName) -> bool {
        *source == SourceName::Probes
    }

    async fn read(&self, question: Question<'_>) -> Answer {
        let began = Instant::now();
        let wanted: Vec<(&str, &ProbeRequest)> = question
            .wanted
            .iter()
            .filter_map(|one| match &one.selection {
                Selection::Answer(request) => Some((one.threshold.as_str(), request)),
                _ => None,
            })
            .collect();
        let others_serve = question.machines.iter().any(|machine| machine.has_services);
        let asked = question
            .machines
            .iter()
            .filter(|machine| !machine.is_ephemeral() && machine.host == HostStatus::Ok)
            .filter(|machine| machine.state == MachineState::Started);
        let of_machine = asked.map(|machine| {
            let requests = wanted.clone();
            async move {
                let one = requests
                    .iter()
                    .map(|(_, request)| self.ask(question, machine, request, others_serve));
                (machine, join_all(one).await)
            }
        });
        let came = join_all(of_machine).await;
        let reaches_others = self.reaches_others(began);
        let mut samples = Vec::new();
        for (machine, answers) in came {
            let readings = readings(question, machine, &wanted, answers, reaches_others);
            samples.push(MachineSample {
                machine: machine.id.clone(),
                instance: machine.instance.clone(),
                source: SourceName::Probes,
                readings,
            });
        }
        let first = samples.iter().find_map(|sample| sample.readings.as_ref().err().cloned());
        let counts = |sample: &MachineSample| {
            sample.readings.as_ref().is_ok_and(|readings| !readings.counts.is_empty())
        };
        let blind = first.filter(|_| !samples.iter().any(counts));
        Answer { samples, blind }
    }
}

/// One machine's answers as counts. `Err`: nothing can be said of it, and why.
fn readings(
    question: Question<'_>,
    machine: &Machine,
    wanted: &[(&str, &ProbeRequest)],
    answers: Vec<Came>,
    reaches_others: bool,
) -> Result<Readings, String> {
    let mut readings = Readings::default();
    for ((threshold, request), came) in wanted.iter().zip(answers) {
        let failure = match came {
            Came::Nothing => continue,
            Came::Unasked => {
                return Err(format!(
                    "too many machines are being asked: no turn for {} within {TURN_DEADLINE:?}",
                    machine.id
                ));
            }
            Came::Of(Probed::Unreachable(detail)) if !reaches_others => return Err(detail),
            Came::Of(Probed::Answered { status, .. }) if !request.expects(status) => {
                Some(ProbeFailure::Status(status))
            }
            Came::Of(Probed::Answered { has_text, .. }) => {
                (!has_text).then_some(ProbeFailure::Body)
            }
            Came::Of(Probed::Refused) => Some(ProbeFailure::Refused),
            Came::Of(Probed::TimedOut) => Some(ProbeFailure::TimedOut),
            Came::Of(Probed::Broken) => Some(ProbeFailure::Broken),
            Came::Of(Probed::Unreachable(_)) => Some(ProbeFailure::Unreachable),
        };
        if failure.is_some() && is_starting(question, machine, request) {
            continue;
        }
        let k = if failure.is_some() { 1.0 } else { 0.0 };
        let count = Count { n: 1.0, k, since: Since::LastScrape };
        readings.counts.insert((*threshold).to_owned(), count);
        if let Some(failure) = failure {
            readings.failures.insert((*threshold).to_owned(), failure);
        }
    }
    Ok(readings)
}

/// Whether what fails may still be on its way up.
fn is_starting(question: Question<'_>, machine: &Machine, request: &ProbeRequest) -> bool {
    let started = machine.started_at.unwrap_or(machine.updated_at);
    let age = question.listed.duration_since(started);
    let grace = SignedDuration::try_from(request.grace).unwrap_or(SignedDuration::MAX);
    -CLOCKS_DIFFER <= age && age < grace
}

#[cfg(test)]
mod tests;
