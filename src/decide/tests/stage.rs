//! An app whose every step can be looked at: what its machines show is set by the test, which sees
//! the commands of each round and answers them.

use std::collections::BTreeMap;

use super::*;
use crate::model::{
    Act, Belated, Check, CheckStatus, Count, InstanceId, MachineId, MachineSample, Oddity, Order,
    Origin, Ratio, RawConfig, Readings, Release, ReleaseStatus, Selector, Signed, Since,
    SourceName,
};

pub(super) struct Stage {
    pub(super) policy: Policy,
    pub(super) state: AppState,
    pub(super) second: i64,
    pub(super) machines: Vec<Machine>,
    pub(super) ledger: Option<Vec<Release>>,
    pub(super) secrets: Option<crate::model::Secrets>,
    pub(super) org: OrgContext,
    pub(super) events: Vec<Event>,
    /// What opening a release comes to; `None`: it is not answered.
    pub(super) opens: Option<Outcome>,
    /// What looking an image up comes to.
    pub(super) registry: Outcome,
    /// Whom `serves` is read from, and why a metrics server, `fly`, tells nothing.
    pub(super) source: SourceName,
    pub(super) silent: Option<String>,
    /// What each machine's page counts in every round: all requests, and bad ones.
    pub(super) serves: Vec<(&'static str, f64, f64)>,
    /// What is told late in every round of the instance that a machine ran before: all requests, and bad ones.
    pub(super) belated: Vec<(&'static str, InstanceId, f64, f64)>,
    /// Machines of which nothing is counted, and why their numbers cannot be judged.
    pub(super) odd: Vec<(&'static str, Oddity)>,
    /// Whether what is counted is what was added, or all since the process started.
    pub(super) since: Since,
    /// What each endpoint counts on every machine that serves: all requests, and bad ones.
    pub(super) endpoints: Vec<(&'static str, f64, f64)>,
    /// What a gauge shows of each machine that serves.
    pub(super) gauges: Vec<(&'static str, f64)>,
    /// Why the platform cannot be read, and why no page can be.
    pub(super) unreadable: Option<String>,
    pub(super) no_page: Option<String>,
    /// Steps so far: a story that does not end is a failure.
    steps: usize,
}

/// More than the longest story takes.
const STEPS_MAX: usize = 100_000;

impl Stage {
    /// v1 runs on these machines, and has earned trust.
    pub(super) fn trusted(ids: &[&str]) -> Self {
        let mut stage = Self::unknown(ids);
        stage.pass(90);
        assert!(stage.state.memory.newest_trusted().is_some(), "{:?}", stage.events);
        stage
    }

    /// v1 runs on these machines, and no round has looked at the app yet.
    pub(super) fn unknown(ids: &[&str]) -> Self {
        let machines = ids.iter().map(|id| named(id, machine(1, "sha256:1"))).collect();
        let mut policy = policy(Mode::Rollback);
        // One after the other, although everything is out.
        policy.rollback.escalate = false;
        // Each has a page.
        policy.metrics_port = Some(9091);
        Self {
            policy,
            state: AppState::new("api".into()),
            second: 0,
            machines,
            ledger: Some(vec![entry(1, "sha256:1")]),
            secrets: None,
            org: OrgContext::default(),
            events: Vec::new(),
            opens: Some(opened(3)),
            registry: Outcome::ImagePresent,
            source: SourceName::Pages,
            silent: None,
            serves: Vec::new(),
            belated: Vec::new(),
            odd: Vec::new(),
            since: Since::LastScrape,
            endpoints: Vec::new(),
            gauges: Vec::new(),
            unreadable: None,
            no_page: None,
            steps: 0,
        }
    }

    /// v2 fails its checks on every machine, and is about to be undone: the ledger has our entry,
    /// v3, and no machine was ordered yet.
    pub(super) fn rolling_back(ids: &[&str]) -> Self {
        let mut stage = Self::trusted(ids);
        stage.ship(2, "sha256:2");
        for machine in &mut stage.machines {
            fail_checks(machine);
        }
        stage.begin();
        stage
    }

    /// Rounds until a rollback begins, which orders no machine yet.
    pub(super) fn begin(&mut self) {
        let until = self.second + 300;
        while !matches!(self.state.phase, Phase::RollingBack(_)) {
            assert!(self.second < until, "{:?}", self.events);
            let ordered = self.look();
            assert!(ordered.iter().all(|command| !matches!(command, Command::PutImage(_))));
        }
    }

    /// Every machine runs a release that somebody made.
    pub(super) fn ship(&mut self, version: u64, digest: &str) {
        for machine in &mut self.machines {
            put(machine, version, digest, at(self.second));
        }
        self.announce(version, digest);
    }

    /// The ledger has a release that somebody made.
    pub(super) fn announce(&mut self, version: u64, digest: &str) {
        let release = Release { created_at: at(self.second), ..entry(version, digest) };
        self.ledger.get_or_insert_default().insert(0, release);
    }

    pub(super) fn machine(&mut self, id: &str) -> &mut Machine {
        self.machines.iter_mut().find(|machine| machine.id.as_str() == id).unwrap()
    }

    /// The rollback that is under way, or over.
    pub(super) fn rollback(&self) -> &state::Rollback {
        match &self.state.phase {
            Phase::RollingBack(rollback)
            | Phase::RolledBack(rollback)
            | Phase::Stopped { rollback, .. } => rollback,
            other => panic!("{other:?}"),
        }
    }

    /// One round, two seconds later.
    pub(super) fn look(&mut self) -> Vec<Command> {
        self.second += 2;
        self.look_at_once()
    }

    /// A round, as there is one after each outcome. The commands that it brought, but for those that
    /// look an image up or open a release: these are answered.
    pub(super) fn look_at_once(&mut self) -> Vec<Command> {
        let now = at(self.second);
        let input = Input::Observed(Observation {
            began: now,
            machines: self.unreadable.clone().map_or_else(|| Ok(self.machines.clone()), Err),
            ledger: self.ledger.clone(),
            secrets: self.secrets.clone(),
            samples: self.samples(),
            blind: self.blind(),
            org: self.org.clone(),
        });
        let mut ordered = self.tell(&input);
        while let Some(command) = self.pending(|one| matches!(one, Command::CheckImage { .. })) {
            let outcome = self.registry.clone();
            ordered.extend(self.tell(&Input::Finished { command, outcome }));
        }
        if let Some(command) = self.pending(|one| matches!(one, Command::OpenRelease { .. }))
            && let Some(outcome) = self.opens.clone()
        {
            ordered.extend(self.tell(&Input::Finished { command, outcome }));
        }
        ordered.retain(|command| {
            !matches!(command, Command::CheckImage { .. } | Command::OpenRelease { .. })
        });
        ordered
    }

    fn blind(&self) -> BTreeMap<SourceName, String> {
        let server = SourceName::Server("fly".to_owned());
        let blind = [(SourceName::Pages, &self.no_page), (server, &self.silent)];
        blind.into_iter().filter_map(|(source, why)| Some((source, why.clone()?))).collect()
    }

    fn samples(&self) -> Vec<MachineSample> {
        let told = self.serves.iter().map(|one| self.sample(one));
        let late = self.belated.iter().map(|(id, instance, n, k)| {
            // It was counted in the time that can be told by now.
            let belated = Belated {
                instance: instance.clone(),
                tally: crate::model::Tally { n: *n, k: *k },
                series: BTreeMap::new(),
                from: at(self.second - 30),
                to: at(self.second - 15),
            };
            let belated = [("5xx".to_owned(), belated)].into();
            let readings = Ok(Readings { belated, ..Readings::default() });
            let source = self.source.clone();
            MachineSample { machine: (*id).into(), instance: instance.clone(), source, readings }
        });
        told.chain(late).collect()
    }

    fn sample(&self, (id, n, k): &(&str, f64, f64)) -> MachineSample {
        let machine = self.machines.iter().find(|machine| machine.id.as_str() == *id).unwrap();
        let mut readings = Readings::default();
        if let Some((_, odd)) = self.odd.iter().find(|(odd, _)| odd == id) {
            readings.oddities.insert("5xx".to_owned(), odd.clone());
        } else {
            let count = Count { n: *n, k: *k, since: self.since };
            readings.counts.insert("5xx".to_owned(), count);
            let tally = |n: &f64, k: &f64| crate::model::Tally { n: *n, k: *k };
            let by_path = self.endpoints.iter().map(|(path, n, k)| (path.to_string(), tally(n, k)));
            readings.series.insert("5xx".to_owned(), by_path.collect());
            let gauge = self.gauges.iter().find(|(one, _)| one == id);
            readings.gauges.extend(gauge.map(|(_, value)| ("5xx".to_owned(), *value)));
        }
        MachineSample {
            machine: machine.id.clone(),
            instance: machine.instance.clone(),
            source: self.source.clone(),
            readings: Ok(readings),
        }
    }

    /// Rounds for so many seconds; what all of them ordered.
    pub(super) fn pass(&mut self, seconds: i64) -> Vec<Command> {
        let until = self.second + seconds;
        let mut ordered = Vec::new();
        while self.second < until {
            ordered.extend(self.look());
        }
        ordered
    }

    /// One step; the commands that it brought.
    pub(super) fn tell(&mut self, input: &Input) -> Vec<Command> {
        self.steps += 1;
        assert!(self.steps < STEPS_MAX, "it never ends: {:?}", self.state.phase);
        let done = step(&self.policy, self.state.clone(), input, at(self.second));
        self.state = done.state;
        self.events.extend(done.events);
        let pending = &self.state.memory.pending;
        done.commands.iter().filter_map(|id| pending.get(id).cloned()).collect()
    }

    /// What came of the pending command that `is` finds.
    pub(super) fn answer(
        &mut self,
        is: impl Fn(&Command) -> bool,
        outcome: Outcome,
    ) -> Vec<Command> {
        let command = self.pending(is).expect("it is pending");
        self.tell(&Input::Finished { command, outcome })
    }

    pub(super) fn pending(&self, is: impl Fn(&Command) -> bool) -> Option<CommandId> {
        let mut pending = self.state.memory.pending.iter();
        pending.find(|(_, command)| is(command)).map(|(id, _)| *id)
    }

    /// The platform does what is ordered, until the rollback is completed.
    pub(super) fn undo(&mut self) {
        let until = self.second + 300;
        while !matches!(self.state.phase, Phase::RolledBack(_)) {
            assert!(self.second < until, "{:?}", self.events);
            self.look();
            self.put_right_now();
        }
    }

    /// The platform does what was ordered.
    pub(super) fn put_right_now(&mut self) {
        while let Some(command) = self.pending(|one| matches!(one, Command::PutImage(_))) {
            self.put_right(command);
        }
    }

    /// The same, but for one machine, which takes its time.
    pub(super) fn put_right_but(&mut self, id: &str) {
        let other =
            |one: &Command| matches!(one, Command::PutImage(put) if put.machine.as_str() != id);
        while let Some(command) = self.pending(other) {
            self.put_right(command);
        }
    }

    /// The platform does what was ordered of one machine; what follows from that.
    pub(super) fn put_back(&mut self, id: &str) -> Vec<Command> {
        let command = self.pending(puts(id)).expect("it is pending");
        self.put_right(command)
    }

    /// Rounds for so many seconds: the platform does what is ordered, but for machines that it
    /// refuses. What was ordered, and when.
    pub(super) fn work(&mut self, seconds: i64, refused: &[&str]) -> Vec<(i64, String)> {
        let until = self.second + seconds;
        let mut ordered = Vec::new();
        while self.second < until {
            self.look();
            while let Some(command) = self.pending(|one| matches!(one, Command::PutImage(_))) {
                let Command::PutImage(put) = &self.state.memory.pending[&command] else { break };
                let id = put.machine.as_str().to_owned();
                if refused.contains(&id.as_str()) {
                    let refused = PutOutcome::Refused { reason: "no".to_owned() };
                    self.tell(&Input::Finished { command, outcome: Outcome::Put(refused) });
                } else {
                    self.put_right(command);
                }
                ordered.push((self.second, id));
            }
        }
        ordered
    }

    fn put_right(&mut self, command: CommandId) -> Vec<Command> {
        let Command::PutImage(order) = self.state.memory.pending[&command].clone() else {
            panic!("it is no order to put a machine right");
        };
        let now = at(self.second);
        let machine = self.machine(order.machine.as_str());
        let replaced = Some(machine.instance.clone());
        let target = order.target.digest.clone().unwrap();
        put(machine, order.release.unwrap().0, target.as_str(), now);
        if let Some(texts) = order.put_back.get(&machine.group) {
            let env = texts.get("env").unwrap_or("{}");
            machine.config = Some(RawConfig(format!(r#"{{"env":{env}}}"#).into()));
        }
        let verified = rival::Verified { instance: machine.instance.clone(), replaced };
        let outcome = Outcome::Put(PutOutcome::Updated { verified });
        self.tell(&Input::Finished { command, outcome })
    }

    /// What comes of what a person orders; `dana` says so.
    pub(super) fn order(&mut self, act: Act) -> Reply {
        let signed = signed(self.second);
        let order = Order::Act { act, signed };
        let input = Input::Operator { order, machines: self.machines.clone() };
        let done = step(&self.policy, self.state.clone(), &input, at(self.second));
        self.state = done.state;
        self.events.extend(done.events);
        done.reply.unwrap()
    }

    pub(super) fn told(&self, kind: EventKind) -> Vec<&Event> {
        self.events.iter().filter(|event| event.kind == kind).collect()
    }
}

/// Who orders in these tests, and why.
pub(super) fn signed(second: i64) -> Signed {
    Signed { by: "dana".to_owned(), reason: "the sale".to_owned(), at: at(second) }
}

/// The ledger has our entry.
pub(super) fn opened(version: u64) -> Outcome {
    Outcome::ReleaseOpened { id: format!("rel_{version}"), version: ReleaseVersion(version) }
}

/// A release in the ledger, made long ago.
pub(super) fn entry(version: u64, digest: &str) -> Release {
    Release {
        id: format!("rel_{version}"),
        version: ReleaseVersion(version),
        status: ReleaseStatus::Complete,
        image: format!("registry.fly.io/api@{digest}"),
        author: Some("zoe@example.com".to_owned()),
        created_at: at(-3600),
        has_release_command: Some(false),
        is_brief: false,
    }
}

pub(super) fn named(id: &str, machine: Machine) -> Machine {
    Machine { id: id.into(), instance: format!("{id}-1").as_str().into(), ..machine }
}

/// A machine is given an image, and comes up with it.
pub(super) fn put(machine: &mut Machine, version: u64, digest: &str, now: Timestamp) {
    machine.release = Some(ReleaseVersion(version));
    machine.image.digest = Some(Digest::new(digest));
    machine.instance = format!("{}-{version}-{now}", machine.id).as_str().into();
    machine.state = MachineState::Started;
    machine.started_at = Some(now);
    machine.placed_at = Some(now);
    machine.updated_at = now;
    machine.exits.clear();
    machine.checks.clear();
    machine.checks_configured = 0;
}

/// At most 2 % of the requests may fail.
pub(in crate::decide) fn ratio() -> Threshold {
    let ratio = Ratio {
        bad: Selector::metric("bad"),
        total: Selector::metric("requests"),
        max: 0.02,
        relative: None,
        strict: false,
        by: Vec::new(),
        from: Origin::PAGES,
    };
    Threshold {
        name: "5xx".to_owned(),
        kind: ThresholdKind::Ratio(ratio),
        no_data: NoData::Hold,
        on_breach: OnBreach::Rollback,
    }
}

pub(super) fn fail_checks(machine: &mut Machine) {
    machine.checks_configured = 1;
    machine.checks = vec![Check {
        name: "http".to_owned(),
        status: CheckStatus::Critical,
        output: String::new(),
        changed_at: None,
        interval: Some(Duration::from_secs(5)),
        grace: None,
    }];
}

/// The machines that were ordered to be put right.
pub(super) fn put_on(ordered: &[Command]) -> Vec<&str> {
    let put = ordered.iter().filter_map(|command| match command {
        Command::PutImage(put) => Some(put.machine.as_str()),
        _ => None,
    });
    put.collect()
}

/// The machines that were ordered to be started.
pub(super) fn started(ordered: &[Command]) -> Vec<&str> {
    let start = ordered.iter().filter_map(|command| match command {
        Command::StartMachine(start) => Some(start.machine.as_str()),
        _ => None,
    });
    start.collect()
}

/// Whether a command is the order to put a machine right.
pub(super) fn puts(id: &str) -> impl Fn(&Command) -> bool {
    let id = MachineId::new(id);
    move |command| matches!(command, Command::PutImage(put) if put.machine == id)
}
