//! Empties the outbox: at least once, in order per receiver, and no receiver waits for another.
//!
//! The journal holds what is to be sent and when; nothing here has to survive a restart. A crash
//! between sending and noting it sends the message again under the same id, and receivers
//! recognise it by that.

pub(super) mod ongoing;

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    pin::pin,
    sync::Arc,
    time::Duration,
};

use futures_util::{StreamExt, stream::FuturesUnordered};
use jiff::{SignedDuration, Timestamp};
use sha2::{Digest, Sha256};
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep, timeout},
};

use crate::{
    config::{Config, Format, Receiver, Secret},
    notify::{Sender, discord, pagerduty, payload, signing, slack, teams},
    numbers::moment,
    ports::{Clock, Delivery as Request, DeliveryOutcome, Notifier},
    store::{Attempt, Journal, Queued, StoreError},
    web::Board,
};

/// The first wait after a failure; it doubles with every further one.
const BACKOFF_MIN: Duration = Duration::from_secs(1);
/// The longest wait between attempts, unless the receiver asks for a longer one.
const BACKOFF_MAX: Duration = Duration::from_secs(600);
/// Longest a single attempt may take, should the notifier's own deadline fail.
const ATTEMPT_MAX: Duration = Duration::from_secs(30);
/// Attempts that may be answered by "not this message" before it is given up. More than one: a
/// receiver may be misconfigured for a moment. Not many: the messages behind it wait meanwhile.
const UNFIT_MAX: u32 = 5;
/// Messages of which it is remembered.
const UNFIT_KEPT: usize = 1000;
/// A receiver that is missing from the configuration is believed gone after so long.
const GONE_AFTER: Duration = Duration::from_secs(60);
/// How soon to look again while something is being sent, or the journal cannot be read.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// How long to sleep at most: the clock may be set, or a wake-up lost.
const SLEEP_MAX: Duration = Duration::from_secs(60);
/// How long attempts under way may still take when the daemon ends.
const SHUTDOWN_MAX: Duration = Duration::from_secs(2);

/// The worker that sends what is in the outbox.
pub struct Delivery {
    pub journal: Arc<dyn Journal>,
    /// Who the receivers are; read anew for every message.
    pub config: watch::Receiver<Arc<Config>>,
    pub notifier: Arc<dyn Notifier>,
    pub clock: Clock,
    /// Shows how receivers take it.
    pub board: Board,
    /// To be told after every commit that queued something.
    pub wake: Arc<Notify>,
}

/// A message whose turn it is.
struct Turn {
    queued: Queued,
    /// How often it was found unfit so far.
    unfit: u32,
}

/// Receivers that messages wait for and that are not configured, with when that was first seen.
#[derive(Default)]
struct Gone(BTreeMap<String, Instant>);

impl Gone {
    /// Forgets those that are back.
    fn look(&mut self, config: &Config) {
        self.0.retain(|name, _| !config.receivers.contains_key(name));
    }

    /// Whether it is missing, and may yet come back: an editor's half-written file loses nothing.
    fn is_doubtful(&mut self, receiver: &str, config: &Config) -> bool {
        if config.receivers.contains_key(receiver) {
            return false;
        }
        self.0.entry(receiver.to_owned()).or_insert_with(Instant::now).elapsed() < GONE_AFTER
    }
}

impl Delivery {
    /// Works until `shutdown` completes.
    pub async fn run(mut self, shutdown: impl Future<Output = ()>) {
        let mut shutdown = pin!(shutdown);
        let mut config_lives = true;
        let mut busy: BTreeSet<String> = BTreeSet::new();
        // How often messages were found unfit. Not in the journal: a restart costs a few attempts
        // more.
        let mut unfit: BTreeMap<i64, u32> = BTreeMap::new();
        let mut gone = Gone::default();
        let mut sending = FuturesUnordered::new();
        loop {
            let now = self.clock.now();
            let wait = match self.look(now, &busy).await {
                Ok((due, mut wait)) => {
                    let config = Arc::clone(&self.config.borrow_and_update());
                    gone.look(&config);
                    self.board.keep_receivers(|name| config.receivers.contains_key(name));
                    for queued in due {
                        if gone.is_doubtful(&queued.entry.receiver, &config) {
                            wait = wait.min(LOOK_AGAIN);
                            continue;
                        }
                        busy.insert(queued.entry.receiver.clone());
                        let config = Arc::clone(&config);
                        let unfit = unfit.get(&queued.sequence).copied().unwrap_or(0);
                        sending.push(self.attempt(Turn { queued, unfit }, config));
                    }
                    wait
                }
                Err(error) => {
                    tracing::warn!(%error, "the outbox cannot be read, trying again");
                    LOOK_AGAIN
                }
            };
            // While an attempt runs its message stays the oldest due one, so `wait` cannot tell
            // when another receiver's turn comes.
            let wait = if busy.is_empty() { wait } else { LOOK_AGAIN };
            tokio::select! {
                biased;
                () = &mut shutdown => break,
                Some((receiver, sequence, times)) = sending.next() => {
                    busy.remove(&receiver);
                    unfit.remove(&sequence);
                    if times > 0 {
                        unfit.insert(sequence, times);
                    }
                    while unfit.len() > UNFIT_KEPT {
                        unfit.pop_first();
                    }
                }
                () = self.wake.notified() => {}
                changed = self.config.changed(), if config_lives => {
                    config_lives = changed.is_ok();
                }
                () = sleep(wait) => {}
            }
        }
        let rest = async { while sending.next().await.is_some() {} };
        if timeout(SHUTDOWN_MAX, rest).await.is_err() {
            tracing::info!("messages under way at the end will be sent again under the same ids");
        }
    }

    /// What can be sent now, and how long until there may be more.
    async fn look(
        &self,
        now: Timestamp,
        busy: &BTreeSet<String>,
    ) -> Result<(Vec<Queued>, Duration), StoreError> {
        let mut due = self.journal.due(now).await?;
        due.retain(|queued| !busy.contains(&queued.entry.receiver));
        let next = self.journal.next_due(now).await?;
        let wait = next.map_or(SLEEP_MAX, |at| {
            Duration::try_from(at.duration_since(self.clock.now())).unwrap_or(Duration::ZERO)
        });
        // A clock that shows whole steps could wake a moment early and spin.
        Ok((due, wait.clamp(Duration::from_millis(1), SLEEP_MAX)))
    }

    /// Sends one message once and notes how it went; answers with the receiver's name, the
    /// message's number and how often it was found unfit. The future borrows nothing, so that the
    /// worker can go on meanwhile.
    fn attempt(
        &self,
        mut turn: Turn,
        config: Arc<Config>,
    ) -> impl Future<Output = (String, i64, u32)> + Send + use<> {
        let (journal, notifier) = (Arc::clone(&self.journal), Arc::clone(&self.notifier));
        let (clock, board) = (self.clock.clone(), self.board.clone());
        async move {
            let name = turn.queued.entry.receiver.clone();
            let attempt = match config.receivers.get(&name) {
                Some(receiver) => {
                    let sender = Sender::of(&config);
                    let way = Way {
                        notifier: notifier.as_ref(),
                        journal: journal.as_ref(),
                        clock: &clock,
                    };
                    try_once(&mut turn, receiver, &sender, &way).await
                }
                None => Attempt::untried("the receiver is no longer configured".to_owned()),
            };
            let queued = turn.queued;
            report(&queued, &attempt);
            let outcome = match &attempt {
                Attempt::Delivered => Ok(()),
                Attempt::RetryAt { reason, .. } | Attempt::Dead { reason, .. } => {
                    Err(reason.as_str())
                }
            };
            if config.receivers.contains_key(&name) {
                board.sent(&name, clock.now(), outcome);
            }
            // Not noted: the message stays due and goes out again under the same id. Staying
            // busy for a moment keeps that from becoming a flood.
            if let Err(error) = journal.attempted(queued.sequence, &attempt, clock.now()).await {
                tracing::warn!(receiver = name, %error, "a delivery could not be noted");
                sleep(backoff(queued.attempts, "")).await;
            }
            (name, queued.sequence, turn.unfit)
        }
    }
}

/// How a message goes out.
struct Way<'w> {
    notifier: &'w dyn Notifier,
    journal: &'w dyn Journal,
    clock: &'w Clock,
}

async fn try_once(
    turn: &mut Turn,
    receiver: &Receiver,
    sender: &Sender<'_>,
    way: &Way<'_>,
) -> Attempt {
    let queued = &turn.queued;
    let Way { notifier, journal, clock } = *way;
    let now = clock.now();
    let max_age = SignedDuration::try_from(receiver.max_age).unwrap_or(SignedDuration::MAX);
    if now.duration_since(queued.queued_at) >= max_age {
        let hours = crate::numbers::duration(receiver.max_age.as_secs_f64());
        return Attempt::untried(format!("not delivered within {hours}"));
    }
    let outcome = send(queued, receiver, sender, notifier, Some(journal), now).await;
    let again = |reason: String, after: Option<Duration>| {
        let own = backoff(queued.attempts, &queued.entry.message_id);
        let wait = after.map_or(own, |asked| asked.max(own));
        let at = clock.now().checked_add(wait).unwrap_or(Timestamp::MAX);
        // At its last moment the message is looked at once more, and given up on time.
        let end = queued.queued_at.checked_add(max_age).unwrap_or(Timestamp::MAX);
        Attempt::RetryAt { at: at.min(end), reason }
    };
    match outcome {
        DeliveryOutcome::Accepted => Attempt::Delivered,
        DeliveryOutcome::Refused { reason } => Attempt::Dead { reason, tried: true },
        DeliveryOutcome::Unfit { reason } => {
            turn.unfit = turn.unfit.saturating_add(1);
            if turn.unfit >= UNFIT_MAX {
                let times = turn.unfit;
                let reason = format!("{reason} to {times} attempts");
                return Attempt::Dead { reason, tried: true };
            }
            again(reason, None)
        }
        DeliveryOutcome::Retry { reason, after } => again(reason, after),
    }
}

/// Sends one message once. Without a journal nothing is known of what was said before.
pub(super) async fn send(
    queued: &Queued,
    receiver: &Receiver,
    sender: &Sender<'_>,
    notifier: &dyn Notifier,
    journal: Option<&dyn Journal>,
    now: Timestamp,
) -> DeliveryOutcome {
    let retry = |reason: String| DeliveryOutcome::Retry { reason, after: None };
    if ongoing::is_kept(receiver) {
        let (event, message_id) = (&queued.entry.event, queued.entry.message_id.as_str());
        let letter = ongoing::Letter { receiver, sender, event, message_id };
        return ongoing::tell(&letter, notifier, journal).await;
    }
    match request(queued, receiver, sender, now) {
        Ok(request) => timeout(ATTEMPT_MAX, notifier.send(&request))
            .await
            .unwrap_or_else(|_| retry("no answer in time".to_owned())),
        // The configuration can be mended; the message waits for that.
        Err(error) => retry(error.to_string()),
    }
}

/// The request for a message: the same body every time, signed anew for the time it is sent. What
/// depends on what was said before has no such thing.
fn request(
    queued: &Queued,
    receiver: &Receiver,
    sender: &Sender<'_>,
    now: Timestamp,
) -> Result<Request, signing::SecretError> {
    let entry = &queued.entry;
    let (headers, body) = match receiver.format {
        Format::Standard => {
            let body = payload::standard(&entry.message_id, &entry.event, sender);
            (signing::headers(&entry.message_id, now, &body, &receiver.secrets)?, body)
        }
        Format::Slack => (Vec::new(), slack::slack(&entry.event, sender)),
        Format::Discord => (Vec::new(), discord::discord(&entry.event, sender)),
        Format::Teams => (Vec::new(), teams::teams(&entry.event, sender)),
        // Both go through `ongoing`, which knows what was said before.
        Format::Grafana => (Vec::new(), String::new()),
        Format::PagerDuty => {
            let key = receiver.secrets.first().map(Secret::expose).unwrap_or_default();
            (Vec::new(), pagerduty::pagerduty(&entry.event, sender, key))
        }
    };
    Ok(Request { url: receiver.url.expose().to_owned(), headers, body })
}

/// The wait after failure number `attempts` (from 0): doubled each time, up to a quarter less, so
/// that many messages that failed together do not come back together. The quarter is drawn from
/// the message's id, which keeps runs repeatable.
fn backoff(attempts: u32, message_id: &str) -> Duration {
    let full = BACKOFF_MIN.saturating_mul(2_u32.saturating_pow(attempts)).min(BACKOFF_MAX);
    let hash = Sha256::new().chain_update(message_id).chain_update(attempts.to_be_bytes());
    let draw = hash.finalize().first().copied().unwrap_or(0);
    full.mul_f64(1.0 - 0.25 * f64::from(draw) / 255.0).max(BACKOFF_MIN)
}

fn report(queued: &Queued, attempt: &Attempt) {
    let (receiver, id) = (&queued.entry.receiver, &queued.entry.message_id);
    match attempt {
        Attempt::Delivered => tracing::debug!(receiver, id, "message delivered"),
        Attempt::RetryAt { at, reason } => {
            let attempts = queued.attempts.saturating_add(1);
            let next = moment(*at);
            tracing::warn!(receiver, id, attempts, next, reason, "message not delivered yet");
        }
        Attempt::Dead { reason, .. } => tracing::error!(receiver, id, reason, "message given up"),
    }
}

#[cfg(test)]
mod tests;
