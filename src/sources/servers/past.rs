//! What a server has of one app's past, taken in reading by reading as it came then: the same samples
//! go the same way to increments as those of now do.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use tokio::time::{Instant, timeout};

use super::{Asked, DEADLINE, key, query, tracks::What};
use crate::{
    config::MetricsServer,
    model::{
        AppName, HostStatus, ImageRef, Machine, MachineId, MachineState, Readings, Selection,
        Wanted,
    },
    ports::{MetricsServers, SampledSeries, ServerError, ServerQuery},
};

/// What is fetched by one query, as whole readings.
const CHUNK: Duration = Duration::from_secs(1800);
/// How often a query is tried, and the pause between.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_secs(2);
/// Machines that are told of; what is beyond is not.
const MACHINES_MAX: usize = 2000;
/// The label by which regions are known, where there is one.
const REGION: &str = "region";
/// Stands for the whole app where no machine is known.
const NOBODY: &str = "-";

/// One server's past of one app.
pub struct Past {
    port: Arc<dyn MetricsServers>,
    settings: MetricsServer,
    app: AppName,
    /// Each with the thresholds that want the same.
    asked: Vec<(Asked, Vec<Wanted>)>,
    /// By query.
    chunks: BTreeMap<String, Chunk>,
    machines: BTreeMap<MachineId, Machine>,
    /// Up to when it was fetched.
    fetched: Timestamp,
    /// Thresholds whose query the server does not take, with what it says, until they are told.
    refused: Vec<(String, String)>,
    began: (Instant, Timestamp),
}

impl std::fmt::Debug for Past {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Past").field("app", &self.app).finish_non_exhaustive()
    }
}

/// An answer, of which a reading after the other is handed on.
#[derive(Default)]
struct Chunk {
    whole: Vec<SampledSeries>,
    /// The samples of one reading.
    now: Vec<SampledSeries>,
    /// How many samples of each series were handed on.
    done: Vec<usize>,
}

impl Chunk {
    fn new(whole: Vec<SampledSeries>) -> Self {
        let labels = |series: &SampledSeries| SampledSeries {
            labels: series.labels.clone(),
            samples: Vec::new(),
        };
        let now = whole.iter().map(labels).collect();
        let done = vec![0; whole.len()];
        Self { whole, now, done }
    }

    /// Hands on what was read up to a moment.
    fn advance(&mut self, until: Timestamp) {
        for ((whole, now), done) in self.whole.iter().zip(&mut self.now).zip(&mut self.done) {
            now.samples.clear();
            let new = whole.samples.iter().skip(*done).take_while(|(at, _)| *at <= until);
            now.samples.extend(new);
            *done += now.samples.len();
        }
    }
}

impl Past {
    /// Nothing is read before `from`.
    pub fn new(
        port: Arc<dyn MetricsServers>,
        settings: MetricsServer,
        app: &AppName,
        wanted: &[Wanted],
        from: Timestamp,
    ) -> Self {
        let mut alike: BTreeMap<String, (Asked, Vec<Wanted>)> = BTreeMap::new();
        for one in wanted {
            let fresh = || (Asked::new(one), Vec::new());
            alike.entry(key(one)).or_insert_with(fresh).1.push(one.clone());
        }
        Self {
            port,
            settings,
            app: app.clone(),
            asked: alike.into_values().collect(),
            chunks: BTreeMap::new(),
            machines: BTreeMap::new(),
            fetched: from,
            refused: Vec::new(),
            began: (Instant::now(), from),
        }
    }

    /// Fetches what is missing up to then, and answers with the thresholds whose query the server does not
    /// take, each once and with what it says: nothing more is asked for them.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn reach(&mut self, until: Timestamp) -> Result<Vec<(String, String)>, ServerError> {
        while self.fetched < until {
            self.fetch().await?;
        }
        Ok(std::mem::take(&mut self.refused))
    }

    /// Reads what the server read in the `settings.scrape_every` that ends at `until`, which is later
    /// than that of the call before: the machines, and what each says.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn read(
        &mut self,
        until: Timestamp,
    ) -> Result<Vec<(&Machine, Readings)>, ServerError> {
        while self.fetched < until {
            self.fetch().await?;
        }
        for chunk in self.chunks.values_mut() {
            chunk.advance(until);
        }
        let since = until.duration_since(self.began.1);
        let now = self.began.0 + Duration::try_from(since).unwrap_or_default();
        let mut told: BTreeMap<&MachineId, Readings> = BTreeMap::new();
        for (asked, wanted) in &mut self.asked {
            let query = since_query(&asked.selection, &self.settings, &self.app);
            let Some(chunk) = self.chunks.get(&query) else { continue };
            if let Selection::Value { .. } = &asked.selection {
                asked.values.absorb(&self.settings, &self.app, &chunk.now, now);
            } else {
                let app = std::slice::from_ref(&self.app);
                let Asked { selection, tracks, by, .. } = asked;
                let what = What { selection, server: &self.settings, by, whole: true };
                tracks.absorb(what, app, &chunk.now, now);
            }
            let thresholds: Vec<&Wanted> = wanted.iter().collect();
            for machine in self.machines.values() {
                let told = told.entry(&machine.id).or_default();
                asked.tell((&self.app, machine), (until, until), now, &thresholds, told);
            }
        }
        let machines = self.machines.values();
        Ok(machines.filter_map(|machine| Some((machine, told.remove(&machine.id)?))).collect())
    }

    /// Fetches what follows.
    async fn fetch(&mut self) -> Result<(), ServerError> {
        let until = later(self.fetched, chunk(&self.settings));
        let queries = self
            .asked
            .iter()
            .filter(|(asked, _)| asked.refused.is_none())
            .map(|(asked, _)| since_query(&asked.selection, &self.settings, &self.app));
        let queries: Vec<String> = queries.collect();
        self.chunks.clear();
        for query in queries {
            if self.chunks.contains_key(&query) {
                continue;
            }
            let mut whole = match self.ask(&query, until).await {
                Err(error) if error.query_refused => {
                    self.refuse(&query, &error.detail);
                    continue;
                }
                answer => answer?,
            };
            for series in &mut whole {
                // Its first moment is the last one of the chunk before.
                series.samples.retain(|(at, _)| *at > self.fetched);
            }
            for series in &whole {
                self.meet(series);
            }
            self.chunks.insert(query, Chunk::new(whole));
        }
        if self.machines.is_empty() {
            let nobody = machine(&self.app, NOBODY, NOBODY, self.began.1);
            self.machines.insert(nobody.id.clone(), nobody);
        }
        self.fetched = until;
        Ok(())
    }

    /// Notes that the server does not take a query.
    fn refuse(&mut self, query: &str, why: &str) {
        for (asked, wanted) in &mut self.asked {
            if since_query(&asked.selection, &self.settings, &self.app) == query {
                asked.refused = Some(why.to_owned());
                let each = wanted.iter().map(|one| (one.threshold.clone(), why.to_owned()));
                self.refused.extend(each);
            }
        }
    }

    /// Learns of which machine a series is.
    fn meet(&mut self, series: &SampledSeries) {
        let Some(id) = series.labels.get(&self.settings.machine_label) else { return };
        self.machines.remove(&MachineId::new(NOBODY));
        if self.machines.len() < MACHINES_MAX && !self.machines.contains_key(&MachineId::new(id)) {
            let region = series.labels.get(REGION).map_or(NOBODY, String::as_str);
            let machine = machine(&self.app, id, region, self.began.1);
            self.machines.insert(machine.id.clone(), machine);
        }
    }

    async fn ask(&self, query: &str, at: Timestamp) -> Result<Vec<SampledSeries>, ServerError> {
        let MetricsServer { name, url, token, .. } = &self.settings;
        let token = token.as_ref().map(crate::config::Secret::expose);
        let mut tries = 0;
        loop {
            let (url, at) = (url.as_deref(), Some(at));
            let asked = self.port.ask(ServerQuery { server: name, url, token, query, at });
            let late = || ServerError::plain(format!("no answer within {} s", DEADLINE.as_secs()));
            let answer = timeout(DEADLINE, asked).await.unwrap_or_else(|_| Err(late()));
            tries += 1;
            match answer {
                Err(error) if tries < TRIES && !error.query_refused => {
                    let wait = error.retry_after.unwrap_or(PAUSE).min(super::PAUSE_MAX);
                    tokio::time::sleep(wait).await;
                }
                answer => return answer,
            }
        }
    }
}

/// How much is fetched by one query: a reading of the server is never cut in two.
fn chunk(server: &MetricsServer) -> Duration {
    let every = server.scrape_every.max(Duration::from_secs(1));
    let readings = CHUNK.as_millis().div_ceil(every.as_millis());
    every.saturating_mul(u32::try_from(readings.max(1)).unwrap_or(u32::MAX))
}

/// What is asked for a chunk.
fn since_query(selection: &Selection, server: &MetricsServer, app: &AppName) -> String {
    // In whole seconds; what is older than the chunk is left.
    let back = Duration::from_secs(
        chunk(server).as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX),
    );
    if let Selection::Value { expression } = selection {
        let expression = expression.replace("$app", app.as_str());
        let (back, every) = (back.as_secs(), server.scrape_every.as_secs().max(1));
        return format!("({expression})[{back}s:{every}s]");
    }
    query::since(selection, server, std::slice::from_ref(app), back)
}

fn later(at: Timestamp, by: Duration) -> Timestamp {
    at.checked_add(SignedDuration::try_from(by).unwrap_or(SignedDuration::MAX))
        .unwrap_or(Timestamp::MAX)
}

fn machine(app: &AppName, id: &str, region: &str, since: Timestamp) -> Machine {
    Machine { app: app.clone(), region: region.into(), ..unknown_machine(id, since) }
}

/// A machine of which nothing is known but that it has been up since then.
pub fn unknown_machine(id: &str, since: Timestamp) -> Machine {
    Machine {
        app: NOBODY.into(),
        id: id.into(),
        instance: id.into(),
        region: NOBODY.into(),
        group: "app".into(),
        state: MachineState::Started,
        host: HostStatus::Ok,
        image: ImageRef {
            registry: String::new(),
            repository: String::new(),
            tag: None,
            digest: None,
        },
        release: None,
        metadata: BTreeMap::new(),
        config: None,
        checks: Vec::new(),
        checks_configured: 0,
        exits: Vec::new(),
        started_at: Some(since),
        placed_at: Some(since),
        updated_at: since,
        private_ip: None,
        metrics: None,
        lease: None,
        cordoned: false,
        standby: false,
        has_services: true,
        service_port: None,
        own_schedule: false,
        restart: None,
    }
}

#[cfg(test)]
mod tests;
