//! A message that goes around the journal: to each receiver at once, without the outbox.

use std::{collections::BTreeSet, time::Duration};

use jiff::Timestamp;
use tokio::time::{Instant, timeout};
use tracing::warn;

use super::delivery;
use crate::{
    config::Config,
    model::Event,
    notify::{Sender, recipients},
    ports::{DeliveryOutcome, Notifier},
    store::{OutboxEntry, Queued},
};

/// How often it is repeated to who did not take it.
const SENT_EVERY: Duration = Duration::from_secs(30);
const DEADLINE: Duration = Duration::from_secs(15);

pub(super) struct Page {
    pub(super) id: String,
    pub(super) event: Event,
    delivered: BTreeSet<String>,
    next: Instant,
}

impl Page {
    /// One that was sent to nobody yet. Every copy carries `id`.
    pub(super) fn new(id: String, event: Event) -> Self {
        Self { id, event, delivered: BTreeSet::new(), next: Instant::now() }
    }

    /// Who should know and has not taken it.
    pub(super) fn missing(&self, config: &Config) -> Vec<String> {
        let all = recipients(config, &self.event);
        all.into_iter().filter(|name| !self.delivered.contains(name)).collect()
    }

    /// Sends it to everybody who has not taken it, unless it was just tried.
    pub(super) async fn send_when_due(
        &mut self,
        config: &Config,
        notifier: &dyn Notifier,
        now: Timestamp,
    ) {
        if Instant::now() < self.next {
            return;
        }
        self.next = Instant::now() + SENT_EVERY;
        for name in self.missing(config) {
            let Some(receiver) = config.receivers.get(&name) else { continue };
            let queued = Queued {
                sequence: 0,
                entry: OutboxEntry {
                    receiver: name.clone(),
                    message_id: self.id.clone(),
                    event: self.event.clone(),
                },
                attempts: 0,
                queued_at: self.event.at,
            };
            let sender = Sender::of(config);
            let sent = delivery::send(&queued, receiver, &sender, notifier, None, now);
            let why = match timeout(DEADLINE, sent).await {
                Ok(DeliveryOutcome::Accepted) => {
                    self.delivered.insert(name);
                    continue;
                }
                Ok(
                    DeliveryOutcome::Refused { reason }
                    | DeliveryOutcome::Unfit { reason }
                    | DeliveryOutcome::Retry { reason, .. },
                ) => reason,
                Err(_) => "no answer in time".to_owned(),
            };
            warn!(receiver = name, "the journal's trouble was not taken: {why}");
        }
    }
}
