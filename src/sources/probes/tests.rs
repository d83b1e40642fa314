//! Which machines are asked, what counts, and what is nobody's fault but ours.

use std::{collections::BTreeMap, time::Duration};

use super::*;
use crate::model::{
    AppName, HostStatus, InstanceId, MachineId, Mode, NoData, OnBreach, Origin, Policy, Probe,
    ProbeMethod, RollbackPolicy, Statuses, Threshold, ThresholdKind, WatchPolicy,
    machine::tests::machine as bare,
};

/// Machines that answer as they are told; those that are not are unreachable.
#[derive(Default)]
struct Fleet {
    answers: Mutex<BTreeMap<MachineId, Probed>>,
    asked: Mutex<Vec<ProbeTarget>>,
    under_way: Mutex<(usize, usize)>,
}

impl Fleet {
    fn set(&self, id: &str, probed: Probed) {
        self.answers.lock().unwrap().insert(id.into(), probed);
    }
}

fn says(status: u16) -> Probed {
    Probed::Answered { status, has_text: true }
}

#[async_trait]
impl Probes for Fleet {
    async fn probe(&self, target: &ProbeTarget, _request: &ProbeRequest) -> Probed {
        self.asked.lock().unwrap().push(target.clone());
        {
            let mut now = self.under_way.lock().unwrap();
            now.0 += 1;
            now.1 = now.1.max(now.0);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        self.under_way.lock().unwrap().0 -= 1;
        let answer = self.answers.lock().unwrap().get(&target.machine).cloned();
        answer.unwrap_or_else(|| Probed::Unreachable("no route".to_owned()))
    }
}

fn request() -> ProbeRequest {
    ProbeRequest {
        path: "/healthz".to_owned(),
        port: None,
        https: false,
        method: ProbeMethod::Get,
        timeout: Duration::from_secs(1),
        expect: vec![Statuses::SUCCESS],
        body: None,
        grace: Duration::from_secs(10),
    }
}

/// A machine that serves requests on port 8080, up for a minute.
fn machine(id: &str) -> Machine {
    Machine {
        id: id.into(),
        instance: InstanceId::new(format!("of-{id}")),
        started_at: Some(at(0)),
        private_ip: Some("fdaa::3".parse().unwrap()),
        has_services: true,
        service_port: Some(8080),
        own_schedule: false,
        ..bare(MachineState::Started)
    }
}

fn at(second: i64) -> jiff::Timestamp {
    jiff::Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn policy(request: ProbeRequest) -> Policy {
    let kind = ThresholdKind::Probe(Probe { request, max: 0.1, from: Origin::PROBES });
    let one =
        Threshold { name: "t".into(), kind, no_data: NoData::Hold, on_breach: OnBreach::Rollback };
    Policy {
        name: "web".into(),
        mode: Mode::Rollback,
        watch: WatchPolicy::default(),
        thresholds: vec![one],
        rollback: RollbackPolicy::default(),
        freezes: Vec::new(),
        per_organization_max: 20,
        metrics_port: None,
        metrics_path: None,
        metrics_https: None,
    }
}

/// A round, so many seconds after the machines started.
async fn round(
    prober: &Prober,
    machines: &[Machine],
    request: ProbeRequest,
    second: i64,
) -> Answer {
    let policy = policy(request);
    let wanted = policy.wants(&SourceName::Probes);
    let (app, source): (AppName, _) = ("api".into(), &SourceName::Probes);
    let listed = at(second);
    let question =
        Question { app: &app, source, listed, machines, wanted: &wanted, policy: &policy };
    prober.read(question).await
}

/// Bad probes and why, machine by machine; `None`: nothing was counted.
fn told(answer: &Answer) -> Vec<Option<(f64, Option<ProbeFailure>)>> {
    let one = |sample: &MachineSample| {
        let readings = sample.readings.as_ref().ok()?;
        let count = readings.counts.get("t")?;
        assert_eq!((count.n, count.since), (1.0, Since::LastScrape));
        Some((count.k, readings.failures.get("t").copied()))
    };
    answer.samples.iter().map(one).collect()
}

#[tokio::test(start_paused = true)]
async fn each_machine_counts_one_probe_as_answered_rightly_or_not() {
    let fleet = Arc::new(Fleet::default());
    let prober = Prober::new(fleet.clone(), CONCURRENCY);
    let no_text = Probed::Answered { status: 200, has_text: false };
    for (id, probed) in [
        ("m1", says(204)),
        ("m2", says(302)),
        ("m3", no_text),
        ("m4", Probed::Refused),
        ("m5", Probed::TimedOut),
        ("m6", Probed::Broken),
    ] {
        fleet.set(id, probed);
    }
    let machines = ["m1", "m2", "m3", "m4", "m5", "m6", "m7"].map(machine);
    let answer = round(&prober, &machines, request(), 60).await;
    let bad = |failure| Some((1.0, Some(failure)));
    assert_eq!(
        told(&answer),
        [
            Some((0.0, None)),
            bad(ProbeFailure::Status(302)),
            bad(ProbeFailure::Body),
            bad(ProbeFailure::Refused),
            bad(ProbeFailure::TimedOut),
            bad(ProbeFailure::Broken),
            bad(ProbeFailure::Unreachable),
        ],
        "m7 cannot be reached while others can"
    );
    assert_eq!(answer.blind, None);
}

#[tokio::test(start_paused = true)]
async fn where_nobody_is_reached_we_are_blind_and_blame_no_machine() {
    let fleet = Arc::new(Fleet::default());
    let prober = Prober::new(fleet.clone(), CONCURRENCY);
    let machines = ["m1", "m2"].map(machine);
    let answer = round(&prober, &machines, request(), 60).await;
    assert_eq!(told(&answer), [None, None]);
    assert_eq!(answer.blind.as_deref(), Some("no route"));
    // Who answers at all, however wrongly, was reached.
    fleet.set("m1", Probed::Refused);
    let answer = round(&prober, &machines, request(), 62).await;
    assert_eq!(told(&answer).iter().flatten().count(), 2);
    assert_eq!(answer.blind, None);
}

#[tokio::test(start_paused = true)]
async fn what_fails_in_its_grace_is_still_starting() {
    let fleet = Arc::new(Fleet::default());
    fleet.set("m1", Probed::Refused);
    fleet.set("m2", says(200));
    let prober = Prober::new(fleet.clone(), CONCURRENCY);
    let machines = ["m1", "m2"].map(machine);
    for (second, counted) in [(0, false), (9, false), (10, true), (-3, false), (-60, true)] {
        let answer = round(&prober, &machines, request(), second).await;
        let first = told(&answer)[0];
        assert_eq!(first.is_some(), counted, "at {second}: {first:?}");
        assert_eq!(told(&answer)[1], Some((0.0, None)), "what is answered counts at once");
    }
}

#[tokio::test(start_paused = true)]
async fn only_machines_that_serve_are_asked_and_at_their_services_port() {
    let fleet = Arc::new(Fleet::default());
    let prober = Prober::new(fleet.clone(), CONCURRENCY);
    let worker = Machine { has_services: false, service_port: None, ..machine("worker") };
    let stopped = Machine { state: MachineState::Stopped, ..machine("stopped") };
    let lost = Machine { host: HostStatus::Unreachable, ..machine("lost") };
    let job = Machine { group: "fly_app_release_command".into(), ..machine("job") };
    fleet.set("web", says(200));
    fleet.set("worker", says(200));
    let machines = [machine("web"), worker.clone(), stopped, lost, job];
    let asked = |fleet: &Fleet| {
        let mut asked = fleet.asked.lock().unwrap();
        std::mem::take(&mut *asked)
            .into_iter()
            .map(|target| (target.machine.to_string(), target.port))
            .collect::<Vec<_>>()
    };
    round(&prober, &machines, request(), 60).await;
    assert_eq!(asked(&fleet), [("web".to_owned(), 8080)]);
    let on_9000 = ProbeRequest { port: Some(9000), ..request() };
    round(&prober, &machines, on_9000.clone(), 60).await;
    assert_eq!(asked(&fleet), [("web".to_owned(), 9000)]);
    round(&prober, &[worker], on_9000, 60).await;
    assert_eq!(asked(&fleet), [("worker".to_owned(), 9000)], "an app without services");
}

#[tokio::test(start_paused = true)]
async fn so_many_are_asked_at_once_and_no_more() {
    let fleet = Arc::new(Fleet::default());
    let prober = Prober::new(fleet.clone(), 4);
    let machines: Vec<Machine> = (0..20).map(|i| machine(&format!("m{i}"))).collect();
    for machine in &machines {
        fleet.set(machine.id.as_str(), says(200));
    }
    let answer = round(&prober, &machines, request(), 60).await;
    assert_eq!(told(&answer).iter().flatten().count(), 20);
    assert_eq!(fleet.under_way.lock().unwrap().1, 4);
}
