//! Gathers one round's facts about an app. A source that fails is a value in them.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures_util::future::join_all;
use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use super::{Ports, shared::Shared};
use crate::{
    model::{
        AppName, Machine, MachineSample, Observation, Policy, Release, ReleaseVersion, Secrets,
        SourceName,
    },
    ports::PlatformError,
    sources::{Answer, Question},
};

/// The machine list, retries included.
const LIST_DEADLINE: Duration = Duration::from_secs(30);
/// The names and digests of secrets.
const SECRETS_DEADLINE: Duration = Duration::from_secs(5);
/// Ledger entries read at a time.
const LEDGER_LENGTH: u32 = 25;

/// What a round is to look at.
pub(super) struct Look {
    pub(super) app: AppName,
    pub(super) policy: Arc<Policy>,
    /// Release numbers above this are news: the ledger is asked who made them.
    pub(super) seen_version: ReleaseVersion,
    /// The ledger is due anyway.
    pub(super) ledger_due: bool,
}

/// One round's facts.
pub(super) async fn observe(ports: &Ports, shared: &Shared, look: &Look) -> Observation {
    let start = Instant::now();
    let listing = ports.platform.machines(&look.app);
    let listed = tokio::time::timeout(LIST_DEADLINE, listing).await.unwrap_or_else(|_| {
        let reason = format!("no machine list in {} s", LIST_DEADLINE.as_secs());
        Err(PlatformError::Unavailable(reason))
    });
    shared.app_read(&look.app, &listed);
    let machines = match listed {
        Ok(machines) => machines,
        Err(error) => return unseen(look, shared, error.to_string(), ports),
    };
    // The answer may have shown that our clock is wrong.
    let now = ports.keep_time();
    let taken = SignedDuration::try_from(start.elapsed()).unwrap_or_default();
    let began = now.checked_sub(taken).unwrap_or(now);
    let news = machines
        .iter()
        .any(|machine| machine.release.is_some_and(|version| version > look.seen_version));
    let wanted = look.ledger_due || news;
    let (ledger, secrets, sampled) = tokio::join!(
        ledger(ports, look, wanted),
        secrets(ports, look, wanted),
        samples(ports, look, &machines, began)
    );
    let mut org = shared.org_context(&look.app, began);
    let troubles = ports.sources.iter().flat_map(|source| source.troubles());
    org.sources_told = troubles.map(|(source, _)| source).collect();
    Observation {
        began,
        machines: Ok(machines),
        ledger,
        secrets,
        samples: sampled.samples,
        blind: sampled.blind,
        org,
    }
}

fn unseen(look: &Look, shared: &Shared, reason: String, ports: &Ports) -> Observation {
    let began = ports.clock.now();
    Observation {
        began,
        machines: Err(reason),
        ledger: None,
        secrets: None,
        samples: Vec::new(),
        blind: BTreeMap::new(),
        org: shared.org_context(&look.app, began),
    }
}

async fn ledger(ports: &Ports, look: &Look, wanted: bool) -> Option<Vec<Release>> {
    if !wanted {
        return None;
    }
    let reading = ports.platform.releases(&look.app, LEDGER_LENGTH);
    match tokio::time::timeout(LIST_DEADLINE, reading).await {
        Ok(Ok(releases)) => Some(releases),
        Ok(Err(error)) => {
            // Machines are the truth; without the ledger, names and authors are missing.
            tracing::warn!(app = %look.app, "{}: the release ledger cannot be read: {error}", look.app);
            None
        }
        Err(_) => {
            tracing::warn!(app = %look.app, "{}: no answer from the release ledger", look.app);
            None
        }
    }
}

/// What tells secrets of one release from those of another: only told, so that nobody waits for it.
async fn secrets(ports: &Ports, look: &Look, wanted: bool) -> Option<Secrets> {
    if !wanted {
        return None;
    }
    let reading = ports.platform.secrets(&look.app);
    match tokio::time::timeout(SECRETS_DEADLINE, reading).await {
        Ok(Ok(secrets)) => Some(secrets),
        Ok(Err(error)) => {
            tracing::debug!(app = %look.app, "{}: its secrets cannot be listed: {error}", look.app);
            None
        }
        Err(_) => None,
    }
}

/// Asks every source for what the policy wants of it.
async fn samples(ports: &Ports, look: &Look, machines: &[Machine], listed: Timestamp) -> Sampled {
    let (app, policy) = (&look.app, &look.policy);
    let asked = policy.sources().into_iter().map(|name| async {
        let wanted = policy.wants(&name);
        let question = Question { app, source: &name, listed, machines, wanted: &wanted, policy };
        let answer = match ports.sources.iter().find(|source| source.has(&name)) {
            Some(source) => source.read(question).await,
            None => Answer { samples: Vec::new(), blind: Some("nobody reads it".to_owned()) },
        };
        (name, answer)
    });
    let mut sampled = Sampled::default();
    for (name, answer) in join_all(asked).await {
        sampled.samples.extend(answer.samples);
        if let Some(reason) = answer.blind {
            sampled.blind.insert(name, reason);
        }
    }
    sampled
}

/// What all sources said together.
#[derive(Default)]
struct Sampled {
    samples: Vec<MachineSample>,
    blind: BTreeMap<SourceName, String>,
}
