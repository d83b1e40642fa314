//! Looks after what belongs to no single app: whether the platform answers anybody, whether the
//! journal can be written, what the clock and the token are worth. Each is told once when it begins
//! and once when it is over, also across restarts.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use jiff::SignedDuration;
use tokio::{
    sync::{Notify, watch},
    time::{Instant, timeout},
};
use tracing::{error, info, warn};

use super::{
    Ports,
    page::Page,
    shared::{Outage, Shared},
};
use crate::{
    config::Config,
    model::{Event, EventKind, Reason, SourceName, reason::TokenLack},
    notify::recipients,
    ports::{PlatformError, TokenScope},
};

mod sources;

const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long the platform may answer nobody before people are told.
const OUTAGE_TOLD_AFTER: Duration = Duration::from_secs(15);
/// and how long before it is an error, where nothing is at stake.
const OUTAGE_PRESSES_AFTER: Duration = Duration::from_secs(180);
/// A host's clock that is wrong by more than this is told of.
const CLOCK_WRONG: SignedDuration = SignedDuration::from_secs(30);
/// and by less than this it is right again.
const CLOCK_RIGHT: SignedDuration = SignedDuration::from_secs(10);
/// How long the journal may refuse before people are told the shortest way.
const JOURNAL_TOLD_AFTER: Duration = Duration::from_secs(5);
/// How often the journal is tried, and the heartbeat sent.
const BEAT_EVERY: Duration = Duration::from_secs(60);
/// The first one, once the first rounds are likely over.
const FIRST_BEAT: Duration = Duration::from_secs(10);
const BEAT_DEADLINE: Duration = Duration::from_secs(10);
/// How often the platform is asked what the token may do, and how soon again without an answer.
const TOKEN_EVERY: Duration = Duration::from_secs(600);
const TOKEN_DEADLINE: Duration = Duration::from_secs(30);
/// An app whose last round is longer ago than this, and than twice its pace, is stuck.
const ROUND_MAX: Duration = Duration::from_secs(180);

pub(super) struct Lookout {
    pub(super) ports: Arc<Ports>,
    pub(super) config: watch::Receiver<Arc<Config>>,
    pub(super) shared: Arc<Shared>,
    pub(super) mail: Arc<Notify>,
    pub(super) installation: String,
}

/// Something of which people are told once.
struct Topic {
    /// What the journal and the message ids call it.
    name: String,
    /// What was told last and holds still, as the journal has it.
    told: Option<String>,
}

struct Course {
    platform: Topic,
    /// That a person has to look, because it lasts or something is at stake.
    pressing: Topic,
    clock: Topic,
    token: Topic,
    /// Sources that tell nothing to anybody, since when, and what was told of them.
    sources: BTreeMap<SourceName, (Option<Instant>, Topic)>,
    journal_since: Option<Instant>,
    page: Option<Page>,
    next_beat: Instant,
    next_token: Instant,
}

impl Lookout {
    pub(super) async fn run(self, ends: impl Future<Output = ()>) -> anyhow::Result<()> {
        let mut course = Course {
            platform: self.topic("platform").await,
            pressing: self.topic("platform-pressing").await,
            clock: self.topic("clock").await,
            token: self.topic("token").await,
            sources: BTreeMap::new(),
            journal_since: None,
            page: None,
            next_beat: Instant::now() + FIRST_BEAT,
            next_token: Instant::now(),
        };
        let mut ends = std::pin::pin!(ends);
        loop {
            tokio::select! {
                biased;
                () = &mut ends => return Ok(()),
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            tokio::select! {
                biased;
                () = &mut ends => return Ok(()),
                () = self.look(&mut course) => {}
            }
        }
    }

    async fn look(&self, course: &mut Course) {
        self.journal(course).await;
        self.platform(&mut course.platform, &mut course.pressing).await;
        self.clock(&mut course.clock).await;
        self.sources(&mut course.sources).await;
        if Instant::now() >= course.next_token {
            course.next_token = Instant::now() + TOKEN_EVERY;
            self.token(&mut course.token).await;
        }
        if Instant::now() >= course.next_beat {
            self.beat().await;
            // In trouble it is tried again soon, so that its end is not missed.
            let blinks = |outage: Outage| outage.since.elapsed() < OUTAGE_TOLD_AFTER;
            let trouble = self.ports.board.journal_trouble().is_some()
                || self.shared.outage().is_some_and(blinks);
            let pause = if trouble { JOURNAL_TOLD_AFTER } else { BEAT_EVERY };
            course.next_beat = Instant::now() + pause;
        }
    }

    async fn topic(&self, name: &str) -> Topic {
        let told = self.ports.journal.note(&format!("told/{name}")).await;
        let told = told.unwrap_or_else(|error| {
            warn!("what was told of the {name} cannot be read: {error}");
            None
        });
        Topic { name: name.to_owned(), told }
    }

    /// Tells what holds now, unless it was told. `fact` recognises it again; `None`: all is well.
    /// Answers with whether that is recorded.
    async fn tell(&self, topic: &mut Topic, fact: Option<&str>, event: Event) -> bool {
        let text = crate::notify::text::sentence(&event);
        let name = event.kind.as_str();
        if fact.is_some() {
            error!(event = name, "{text}");
        } else {
            info!(event = name, "{text}");
        }
        let now = self.ports.clock.now();
        let id = format!("msg_{}_{}_{}", self.installation, topic.name, now.as_millisecond());
        let receivers = recipients(&self.config.borrow(), &event);
        let announced = self.ports.journal.announce(&id, event, &receivers, now).await;
        match announced {
            Ok(()) => {
                self.mail.notify_one();
                self.note(topic, fact).await
            }
            Err(error) => {
                warn!("not recorded, to be tried again: {error}");
                false
            }
        }
    }

    /// Notes what was told; whether that worked.
    async fn note(&self, topic: &mut Topic, fact: Option<&str>) -> bool {
        let noted = self.ports.journal.set_note(&format!("told/{}", topic.name), fact).await;
        match noted {
            Ok(()) => topic.told = fact.map(str::to_owned),
            Err(error) => {
                warn!("not recorded, to be tried again: {error}");
                return false;
            }
        }
        true
    }

    fn event(&self, kind: EventKind, reason: Reason) -> Event {
        let mut event = Event::new(kind, self.ports.clock.now(), None);
        event.reason = Some(reason);
        event
    }

    /// One message for the organization while nobody is answered, and one more when that lasts or
    /// something is at stake.
    async fn platform(&self, topic: &mut Topic, pressing: &mut Topic) {
        let outage = self.shared.outage();
        let refused = outage.clone().filter(|outage| outage.refused);
        self.ports.board.token_refused(refused.map(|Outage { detail, .. }| {
            crate::notify::text::reason(&Reason::TokenRefused { detail })
        }));
        match outage {
            Some(Outage { since, refused, detail }) if since.elapsed() >= OUTAGE_TOLD_AFTER => {
                let is_pressing = refused
                    || since.elapsed() >= OUTAGE_PRESSES_AFTER
                    || self.ports.board.is_anything_at_stake();
                let is_worse = is_pressing && pressing.told.is_none();
                if topic.told.is_none() || is_worse {
                    let fact = detail.clone();
                    let reason = if refused {
                        Reason::TokenRefused { detail }
                    } else {
                        Reason::PlatformUnreadable { detail }
                    };
                    let mut event = self.event(EventKind::MonitorBlind, reason);
                    event.is_pressing = is_pressing;
                    let is_told = self.tell(topic, Some(&fact), event).await;
                    if is_told && is_worse {
                        self.note(pressing, Some("told")).await;
                    }
                }
            }
            None if self.shared.is_answered() => {
                if let Some(was) = topic.told.clone() {
                    let reason = Reason::PlatformReadable { was };
                    self.tell(topic, None, self.event(EventKind::MonitorRecovered, reason)).await;
                }
                if topic.told.is_none() && pressing.told.is_some() {
                    self.note(pressing, None).await;
                }
            }
            Some(_) | None => {}
        }
        self.shared.platform_told(topic.told.is_some());
    }

    async fn clock(&self, topic: &mut Topic) {
        self.ports.keep_time();
        let Some(ahead) = self.ports.clock.correction() else { return };
        let wrong = ahead.abs() >= if topic.told.is_some() { CLOCK_RIGHT } else { CLOCK_WRONG };
        let fact = if ahead.is_negative() { "ahead" } else { "behind" };
        if wrong && topic.told.as_deref() != Some(fact) {
            let reason = Reason::ClockDiffers { platform_ahead_s: ahead.as_secs() };
            self.tell(topic, Some(fact), self.event(EventKind::MonitorClock, reason)).await;
        } else if !wrong && topic.told.is_some() {
            self.tell(topic, None, self.event(EventKind::MonitorClock, Reason::ClockRight)).await;
        }
    }

    /// What the token may do, from the platform's own answer; silence and errors are no verdict.
    async fn token(&self, topic: &mut Topic) {
        let asked = timeout(TOKEN_DEADLINE, self.ports.platform.token_scope()).await;
        let lacks = match asked {
            Ok(Ok(scope)) => {
                let organization = self.config.borrow().organization.clone();
                info!("the token: {}", described(&scope));
                lacking(&scope, &organization)
            }
            Ok(Err(PlatformError::Denied(detail))) => vec![TokenLack::Refused { detail }],
            Ok(Err(error)) => {
                return tracing::debug!("what the token may do is not known: {error}");
            }
            Err(_) => return,
        };
        // A token that is refused altogether is an outage, and told of as one.
        if lacks.iter().any(|lack| matches!(lack, TokenLack::Refused { .. })) {
            return;
        }
        let fact = lacks.iter().map(|lack| format!("{lack:?}")).collect::<Vec<_>>().join(" ");
        if lacks.is_empty() {
            if topic.told.is_some() {
                let event = self.event(EventKind::MonitorToken, Reason::TokenSuffices);
                self.tell(topic, None, event).await;
            }
        } else if topic.told.as_deref() != Some(&fact) {
            let event = self.event(EventKind::MonitorToken, Reason::TokenLacks { lacks });
            self.tell(topic, Some(&fact), event).await;
        }
    }

    /// Tells past the journal that it cannot be written, and by it that it can again.
    async fn journal(&self, course: &mut Course) {
        let Some(detail) = self.ports.board.journal_trouble() else {
            if course.journal_since.take().is_some()
                && let Some(page) = course.page.take()
            {
                let mut event = self.event(EventKind::MonitorRecovered, Reason::JournalWritable);
                event.after_s = Some(event.at.duration_since(page.event.at).as_secs_f64().max(0.0));
                // In history as well, under the id it had; who was told already is not told twice.
                let missing = page.missing(&self.config.borrow());
                let at = page.event.at;
                let kept = self.ports.journal.announce(&page.id, page.event, &missing, at).await;
                if let Err(error) = kept {
                    warn!("not recorded: {error}");
                }
                let mut topic = Topic { name: "journal".to_owned(), told: None };
                self.tell(&mut topic, None, event).await;
            }
            return;
        };
        let since = *course.journal_since.get_or_insert_with(Instant::now);
        if since.elapsed() < JOURNAL_TOLD_AFTER {
            return;
        }
        let page = course.page.get_or_insert_with(|| {
            let event = self.event(EventKind::MonitorJournal, Reason::JournalUnwritable { detail });
            error!(event = event.kind.as_str(), "{}", crate::notify::text::sentence(&event));
            let at = event.at.as_millisecond();
            Page::new(format!("msg_{}_journal_{at}", self.installation), event)
        });
        let config = self.config.borrow().clone();
        let now = self.ports.clock.now();
        page.send_when_due(&config, self.ports.notifier.as_ref(), now).await;
    }

    /// Tries the journal, and tells somebody outside that all is well.
    async fn beat(&self) {
        let now = self.ports.clock.now();
        match self.ports.journal.set_note("alive", Some(&now.to_string())).await {
            Ok(()) => self.ports.board.journal_works(None),
            Err(error) => return self.ports.board.journal_fails(None, &error.to_string()),
        }
        let config = self.config.borrow().clone();
        let Some(url) = &config.heartbeat else { return self.ports.board.heart_beats(None) };
        let taken = match self.stuck(&config) {
            Some(stuck) => Err(format!("no heartbeat: {stuck}")),
            None => match timeout(BEAT_DEADLINE, self.ports.notifier.beat(url.expose())).await {
                Ok(Ok(())) => Ok(()),
                // The URL is a secret, and so is whatever repeats it.
                Ok(Err(why)) => Err(format!("the heartbeat was not taken: {why}")),
                Err(_) => Err("the heartbeat was not taken in time".to_owned()),
            },
        };
        self.ports.board.heart_beats(Some(taken.is_ok()));
        if let Err(why) = taken {
            warn!("{why}");
        }
    }

    /// Why the daemon does not do its work, when it does not.
    fn stuck(&self, config: &Config) -> Option<String> {
        if self.ports.board.journal_trouble().is_some() {
            return Some("the journal cannot be written".to_owned());
        }
        if let Some(outage) = self.shared.outage() {
            // Rounds turn all the same, and see nothing.
            return Some(format!("the platform answers nobody: {}", outage.detail));
        }
        let rounds: BTreeMap<_, _> = self.ports.board.rounds();
        let apps = rounds.len();
        rounds.into_iter().find_map(|(app, ago)| {
            let policy = self.shared.beside.keep(config.policy_for(&app)?, apps);
            let most = (policy.watch.idle_scrape_every * 2).max(ROUND_MAX);
            (ago > most).then(|| format!("{app} had no round for {} s", ago.as_secs()))
        })
    }
}

/// What a token's scope lacks for watching and rolling back an organization.
pub fn lacking(scope: &TokenScope, organization: &str) -> Vec<TokenLack> {
    let mut lacks = Vec::new();
    let organizations = &scope.organizations;
    if !organizations.is_empty() && !organizations.contains(organization) {
        lacks.push(TokenLack::Organization {
            wanted: organization.to_owned(),
            has: organizations.iter().cloned().collect(),
        });
    }
    if !scope.apps.is_empty() && !scope.apps.contains("*") {
        lacks.push(TokenLack::OtherApps { has: scope.apps.iter().cloned().collect() });
    }
    if let Some(machine) = &scope.only_machine {
        lacks.push(TokenLack::OneMachine { machine: machine.clone() });
    }
    lacks
}

/// A token's scope in words.
pub fn described(scope: &TokenScope) -> String {
    let list = |names: &BTreeSet<String>| {
        let names: Vec<&str> = names.iter().map(String::as_str).take(20).collect();
        if names.is_empty() { "not said".to_owned() } else { names.join(", ") }
    };
    format!("organizations {}, apps {}", list(&scope.organizations), list(&scope.apps))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_token_lacks_follows_from_what_the_platform_says_of_it() {
        let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let whole = TokenScope { organizations: set(&["acme"]), ..TokenScope::default() };
        assert_eq!(lacking(&whole, "acme"), []);
        assert_eq!(lacking(&TokenScope::default(), "acme"), [], "nothing said is no lack");
        let every = TokenScope { apps: set(&["*"]), ..whole.clone() };
        assert_eq!(lacking(&every, "acme"), []);
        let other = TokenScope { organizations: set(&["acne"]), ..TokenScope::default() };
        assert!(matches!(lacking(&other, "acme")[..], [TokenLack::Organization { .. }]));
        let one =
            TokenScope { apps: set(&["api"]), only_machine: Some("148e".to_owned()), ..whole };
        assert_eq!(lacking(&one, "acme").len(), 2);
    }
}
