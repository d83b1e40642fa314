//! Metrics servers: Fly's managed Prometheus, or any other Prometheus or `VictoriaMetrics`.
//!
//! A server is asked one query for all apps that want the same (`query`), by a task of its own, so
//! that no round waits for it; `tracks` makes increments of its samples, and a round takes what came
//! since the one before. A server knows machines and no releases: an increment is given to the
//! instance that the list shows once the list is newer than it, and only what lies within that
//! instance's life. `http` speaks with the servers.

mod asked;
mod askers;
mod expressions;
mod http;
mod past;
mod query;
mod tracks;
mod trouble;
mod values;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};
use tracing::debug;

use self::{
    asked::{Asked, began, key},
    tracks::What,
    trouble::{Turn, pause},
};
pub use self::{
    http::{HttpServers, PlatformServer},
    past::{Past, unknown_machine},
    query::{present, rates},
};
use crate::{
    config::{Config, MetricsServer},
    model::{
        AppName, InstanceId, Machine, MachineId, MachineSample, MachineState, Readings, Selection,
        SourceName, Wanted,
    },
    ports::{MetricsServers, SampledSeries, ServerError, ServerQuery},
    sources::{Answer, Question, Source},
};

/// Apps in one query; more are asked for by another one.
const APPS_MAX: usize = 100;
/// Buckets in one query; where apps have more, all are asked for.
const ENDS_MAX: usize = 20;
/// For one query, whatever the client does.
const DEADLINE: Duration = Duration::from_secs(15);
/// How long a round waits for an answer that is on its way.
const BRIEF: Duration = Duration::from_secs(1);
/// How often a server is asked at most and at least, where it reads its targets more seldom.
const GAP_MIN: Duration = Duration::from_secs(1);
const GAP_MAX: Duration = Duration::from_secs(5);
/// The longest pause after failures.
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// What nobody asked for so long is asked for no more.
const FORGET_AFTER: Duration = Duration::from_secs(600);
/// A server that nobody asked for so long is in nobody's way.
const WANTED_LATELY: Duration = Duration::from_secs(120);
/// A selection of which a server had nothing for any app for so long is told as one that matches
/// nothing.
const NOTHING_FOR: Duration = Duration::from_secs(60);
/// A sample may be late by this, besides some of the server's own readings.
const LATE_MAX: Duration = Duration::from_secs(60);
const LATE_SCRAPES: u32 = 4;
/// How much newer than what was counted a list of machines has to be, at most: it may lag.
const LISTS_LAG: Duration = Duration::from_secs(15);

/// All metrics servers.
pub struct Servers {
    port: Arc<dyn MetricsServers>,
    servers: Mutex<BTreeMap<String, Arc<Server>>>,
}

impl std::fmt::Debug for Servers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Servers").finish_non_exhaustive()
    }
}

/// One server, and what is known from it.
struct Server {
    settings: MetricsServer,
    state: Mutex<State>,
    /// Counts what was asked and answered, or not.
    polls: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    /// By what is looked for.
    asked: BTreeMap<String, Asked>,
    polling: bool,
    next_poll: Option<Instant>,
    /// How often in a row nothing could be asked, and why: what concerns one question is kept with it.
    failures: u32,
    trouble: Option<String>,
    /// The question that was not answered last.
    failed_last: Option<String>,
    /// A query was answered.
    answered: bool,
}

impl State {
    /// Whether anybody asked lately.
    fn is_wanted(&self, now: Instant) -> bool {
        self.asked.values().any(|asked| asked.apps.asked_within(WANTED_LATELY, now))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Servers {
    /// The servers of a configuration.
    pub fn new(port: Arc<dyn MetricsServers>, config: &Config) -> Self {
        let servers = Self { port, servers: Mutex::default() };
        servers.configure(config);
        servers
    }

    fn server(&self, name: &str) -> Option<Arc<Server>> {
        lock(&self.servers).get(name).cloned()
    }
}

#[async_trait]
impl Source for Servers {
    fn has(&self, source: &SourceName) -> bool {
        matches!(source, SourceName::Server(_))
    }

    /// What is known from a server that stays as it is, is kept.
    fn configure(&self, config: &Config) {
        let mut servers = lock(&self.servers);
        servers.retain(|name, server| config.metrics_servers.get(name) == Some(&server.settings));
        for (name, settings) in &config.metrics_servers {
            servers.entry(name.clone()).or_insert_with(|| {
                Arc::new(Server {
                    settings: settings.clone(),
                    state: Mutex::default(),
                    polls: watch::Sender::new(0),
                })
            });
        }
    }

    fn is_answered(&self, source: &SourceName) -> bool {
        self.server(source.as_str()).is_some_and(|server| lock(&server.state).is_up())
    }

    fn troubles(&self) -> Vec<(SourceName, String)> {
        let servers = lock(&self.servers);
        let now = Instant::now();
        let trouble = |(name, server): (&String, &Arc<Server>)| {
            let state = lock(&server.state);
            let trouble = state.down(now).filter(|_| state.is_wanted(now))?;
            Some((SourceName::Server(name.clone()), trouble.to_owned()))
        };
        servers.iter().filter_map(trouble).collect()
    }

    async fn read(&self, question: Question<'_>) -> Answer {
        let Some(server) = self.server(question.source.as_str()) else {
            let blind = "no metrics server of this name is configured".to_owned();
            return Answer { samples: Vec::new(), blind: Some(blind) };
        };
        let mut polls = server.polls.subscribe();
        if server.begin(question, Instant::now()) {
            let (server, port) = (server.clone(), self.port.clone());
            tokio::spawn(async move { server.poll(port.as_ref()).await });
        }
        if lock(&server.state).polling {
            // Without an answer it goes on with what it had.
            let _late = timeout(BRIEF, polls.changed()).await.is_err();
        }
        server.hand_out(question, Instant::now())
    }
}

impl Server {
    /// Notes what is wanted, and whether it is time to ask.
    fn begin(&self, question: Question<'_>, now: Instant) -> bool {
        let mut state = lock(&self.state);
        for one in question.wanted {
            let asked = state.asked.entry(key(one));
            let asked = asked.or_insert_with(|| Asked::new(one));
            asked.apps.note(question.app, now);
        }
        let due = !state.polling && state.next_poll.is_none_or(|at| now >= at);
        state.polling |= due;
        if due {
            for asked in state.asked.values_mut() {
                asked.apps.forget(now, FORGET_AFTER);
            }
            state.asked.retain(|_, asked| !asked.apps.is_empty());
        }
        due
    }

    /// Asks everything that is due, one query after the other.
    async fn poll(&self, port: &dyn MetricsServers) {
        let (began, gap) = (Instant::now(), self.gap());
        let mut failed = None;
        for Turn { key, selection, apps, failing } in self.turns(began, gap) {
            let asked = match &selection {
                Selection::Value { expression } => {
                    // Those that failed come when the time of the others is over.
                    let from = if failing { Instant::now() } else { began };
                    self.evaluate(port, &key, expression, from + gap).await
                }
                _ => self.select(port, &key, &selection, &apps).await,
            };
            let refused = match asked {
                Ok(()) => None,
                // One policy's slip is no trouble of the others.
                Err(error) if error.query_refused => Some(error.detail),
                Err(error) if error.whole_server => {
                    failed = Some(error);
                    break;
                }
                // Neither is one that takes the server too long.
                Err(error) => {
                    if self.fails(&key, error, began) {
                        continue;
                    }
                    break;
                }
            };
            let mut state = lock(&self.state);
            state.answered = true;
            if let Some(asked) = state.asked.get_mut(&key) {
                asked.refused = refused;
                asked.trouble.is_over();
            }
        }
        self.end(failed);
    }

    /// The series of all apps, by one query or a few: each is taken in before the next is asked, so
    /// that no more than one answer is held.
    async fn select(
        &self,
        port: &dyn MetricsServers,
        key: &str,
        selection: &Selection,
        apps: &[AppName],
    ) -> Result<(), ServerError> {
        // Of those whose buckets are known only the counted ones are asked for.
        let (mut known, mut whole, mut ends) = (Vec::new(), Vec::new(), BTreeSet::new());
        if let Some(asked) = lock(&self.state).asked.get(key) {
            let now = Instant::now();
            for app in apps {
                match asked.tracks.ends(app, now) {
                    Some(of_app) => {
                        known.push(app.clone());
                        ends.extend(of_app.iter().cloned());
                    }
                    None => whole.push(app.clone()),
                }
            }
        }
        if ends.len() > ENDS_MAX {
            whole.append(&mut known);
        }
        let all = BTreeSet::new();
        for (apps, ends) in [(&whole, &all), (&known, &ends)] {
            for some in apps.chunks(APPS_MAX) {
                let now = Instant::now();
                let query = query::of(selection, &self.settings, some, ends);
                let answer = self.ask(port, &query).await?;
                if let Some(asked) = lock(&self.state).asked.get_mut(key) {
                    let Asked { tracks, by, apps, .. } = asked;
                    let (server, whole) = (&self.settings, ends.is_empty());
                    tracks.absorb(What { selection, server, by, whole }, some, &answer, now);
                    tracks.keep(|app| apps.contains(app));
                    apps.polled(some, now);
                }
            }
        }
        Ok(())
    }

    async fn ask(
        &self,
        port: &dyn MetricsServers,
        query: &str,
    ) -> Result<Vec<SampledSeries>, ServerError> {
        let MetricsServer { name, url, token, .. } = &self.settings;
        let token = token.as_ref().map(crate::config::Secret::expose);
        let url = url.as_deref();
        let asked = port.ask(ServerQuery { server: name, url, token, query, at: None });
        let late = || ServerError::plain(format!("no answer within {} s", DEADLINE.as_secs()));
        timeout(DEADLINE, asked).await.unwrap_or_else(|_| Err(late()))
    }

    /// How long after one round of queries the next may follow.
    fn gap(&self) -> Duration {
        (self.settings.scrape_every / 3).clamp(GAP_MIN, GAP_MAX)
    }

    fn end(&self, failed: Option<ServerError>) {
        let mut state = lock(&self.state);
        let before = state.failures;
        let gap = self.gap();
        let pause = match &failed {
            None => {
                state.failures = 0;
                gap
            }
            Some(error) => {
                state.failures = state.failures.saturating_add(1);
                pause(error, gap, before)
            }
        };
        // One query that failed may be followed by one that holds what it missed.
        let lasts = |error: &ServerError| before > 0 || error.retry_after.is_some();
        state.trouble = failed.filter(lasts).map(|error| error.detail);
        if let Some(trouble) = &state.trouble {
            debug!(server = self.settings.name, trouble, "a metrics server told nothing");
        }
        state.polling = false;
        state.next_poll = Some(Instant::now() + pause);
        drop(state);
        self.polls.send_modify(|polls| *polls += 1);
    }

    /// What a round is told of an app's machines.
    fn hand_out(&self, question: Question<'_>, now: Instant) -> Answer {
        let mut state = lock(&self.state);
        // What is asked for is all in trouble, be it one by one.
        let troubles = question.wanted.iter().map(|one| state.asked.get(&key(one))?.trouble.told());
        let in_trouble = troubles.collect::<Option<Vec<&str>>>();
        let in_trouble = in_trouble.and_then(|all| all.first().copied());
        if let Some(trouble) = state.trouble.as_deref().or(in_trouble) {
            return Answer { samples: Vec::new(), blind: Some(trouble.to_owned()) };
        }
        if !state.answered {
            return Answer::default();
        }
        let started: Vec<&Machine> = question
            .machines
            .iter()
            .filter(|machine| !machine.is_ephemeral())
            .filter(|machine| machine.state == MachineState::Started)
            .collect();
        if let Some(stale) = self.stale(&state, question, &started) {
            return Answer { samples: Vec::new(), blind: Some(stale) };
        }
        let until = earlier(question.listed, LISTS_LAG.min(self.settings.scrape_every));
        // What two thresholds want alike is taken once, and told to both.
        let mut alike: BTreeMap<String, Vec<&Wanted>> = BTreeMap::new();
        for one in question.wanted {
            alike.entry(key(one)).or_default().push(one);
        }
        let running: BTreeSet<&str> = started.iter().map(|machine| machine.id.as_str()).collect();
        let mut told: BTreeMap<&MachineId, Readings> = BTreeMap::new();
        let mut left: BTreeMap<(MachineId, InstanceId), Readings> = BTreeMap::new();
        for (key, thresholds) in &alike {
            let Some(asked) = state.asked.get_mut(key) else { continue };
            for (machine, belated) in asked.tracks.left(question.app, &running, until) {
                let whose = (MachineId::new(&machine), belated.instance.clone());
                let told = &mut left.entry(whose).or_default().belated;
                told.extend(thresholds.iter().map(|one| (one.threshold.clone(), belated.clone())));
            }
            for machine in &started {
                let told = told.entry(&machine.id).or_default();
                let when = (question.listed, until);
                asked.tell((question.app, machine), when, now, thresholds, told);
            }
        }
        let samples = started.iter().map(|machine| MachineSample {
            machine: machine.id.clone(),
            instance: machine.instance.clone(),
            source: question.source.clone(),
            readings: Ok(told.remove(&machine.id).unwrap_or_default()),
        });
        let left = left.into_iter().map(|((machine, instance), readings)| {
            let (source, readings) = (question.source.clone(), Ok(readings));
            MachineSample { machine, instance, source, readings }
        });
        Answer { samples: samples.chain(left).collect(), blind: None }
    }

    /// Why what it answers is of the past: it reads its targets no more.
    fn stale(&self, state: &State, question: Question<'_>, started: &[&Machine]) -> Option<String> {
        let late = LATE_MAX + self.settings.scrape_every * LATE_SCRAPES;
        let oldest = earlier(question.listed, late);
        let asked: Vec<&Asked> =
            question.wanted.iter().filter_map(|one| state.asked.get(&key(one))).collect();
        let newest = asked.iter().filter_map(|asked| asked.tracks.newest()).max()?;
        let serves = |machine: &&&Machine| {
            let id = machine.id.as_str();
            began(machine) < oldest && asked.iter().any(|one| one.tracks.knows(question.app, id))
        };
        if newest >= oldest || !started.iter().any(|machine| serves(&machine)) {
            return None;
        }
        let seconds = question.listed.duration_since(newest).as_secs();
        Some(format!(
            "its newest sample is {seconds} s old: it answers, and reads its targets no more"
        ))
    }
}

fn earlier(at: Timestamp, by: Duration) -> Timestamp {
    let by = SignedDuration::try_from(by).unwrap_or(SignedDuration::MAX);
    at.checked_sub(by).unwrap_or(Timestamp::MIN)
}

#[cfg(test)]
mod tests;
