//! The thresholds of a policy, each at its own limit and at some above and below it, over the past.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::both::Coming;
use crate::{
    model::{
        Evidence, Machine, NoData, Origin, Policy, Readings, SourceName, Threshold, Verdict, Wanted,
    },
    threshold::{self, Case, Look, Round, Span, ThresholdState, keys::SHARE_MAX},
};

/// The limits that are tried, as multiples of what the policy has.
pub(super) const TIMES: [f64; 8] = [0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0];
/// Breaches that are kept of each limit.
const BREACHES_MAX: usize = 1000;
/// Two breaches with less than this between them are one.
const APART: SignedDuration = SignedDuration::from_mins(5);

/// A time at which a threshold was breached.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Breach {
    pub(super) at: Timestamp,
    /// When it was over; `None`: it was not.
    pub(super) until: Option<Timestamp>,
    /// The deploy before it.
    pub(super) deployed: Option<Timestamp>,
    pub(super) evidence: Evidence,
}

/// One threshold at one limit.
pub(super) struct Rung {
    pub(super) threshold: Threshold,
    pub(super) times: f64,
    state: ThresholdState,
    pub(super) breaches: Vec<Breach>,
    /// How many more there were.
    pub(super) more: usize,
}

/// One threshold at all limits.
pub(super) struct Ladder {
    pub(super) name: String,
    pub(super) rungs: Vec<Rung>,
}

impl Ladder {
    /// As the policy has it.
    pub(super) fn as_it_is(&self) -> Option<&Rung> {
        self.rungs.iter().find(|rung| rung.times.to_bits() == 1.0_f64.to_bits())
    }

    /// The lowest limit at which, and above which, nothing would have been undone; `None`: there
    /// would have been something at every one.
    pub(super) fn quiet(&self) -> Option<&Rung> {
        self.rungs.iter().rev().take_while(|rung| rung.breaches.is_empty()).last()
    }
}

pub(super) struct Course {
    policy: Arc<Policy>,
    pub(super) ladders: Vec<Ladder>,
    /// Thresholds whose past nobody keeps.
    pub(super) left_out: Vec<String>,
    /// Thresholds without a limit of their own: `lived` compares them with what ran before.
    pub(super) compared: Vec<String>,
    coming: Coming,
    deployed: Option<Timestamp>,
    pub(super) from: Option<Timestamp>,
    pub(super) until: Option<Timestamp>,
    /// The most machines that were seen at once.
    pub(super) machines: usize,
    readings: u64,
}

impl Course {
    /// All of it is read from `origin`, wherever the policy reads it from.
    pub(super) fn new(policy: &Arc<Policy>, origin: &Origin, deploys: &[Timestamp]) -> Self {
        let mut course = Self {
            policy: policy.clone(),
            ladders: Vec::new(),
            left_out: Vec::new(),
            compared: Vec::new(),
            coming: Coming::new(deploys),
            deployed: None,
            from: None,
            until: None,
            machines: 0,
            readings: 0,
        };
        for one in &policy.thresholds {
            let room = one.room();
            let has_limit = room.allowed_share().is_none_or(|(share, _)| share < SHARE_MAX);
            if room.relative().is_some() && !has_limit {
                course.compared.push(one.name.clone());
                continue;
            }
            let rungs: Vec<Rung> =
                TIMES.iter().filter_map(|times| rung(one, origin, *times)).collect();
            if rungs.is_empty() {
                course.left_out.push(one.name.clone());
            } else {
                course.ladders.push(Ladder { name: one.name.clone(), rungs });
            }
        }
        course
    }

    /// What has to be read for it.
    pub(super) fn wants(&self, source: &SourceName) -> Vec<Wanted> {
        let thresholds = self.rungs().map(|rung| rung.threshold.clone()).collect();
        let policy = Policy { thresholds, ..Policy::clone(&self.policy) };
        policy.wants(source)
    }

    fn rungs(&self) -> impl Iterator<Item = &Rung> {
        self.ladders.iter().flat_map(|ladder| &ladder.rungs)
    }

    /// Rounds in which there was anything to read.
    pub(super) fn readings(&self) -> u64 {
        self.readings
    }

    /// Takes in what was read at one moment.
    pub(super) fn round(&mut self, at: Timestamp, read: &[(&Machine, Readings)]) {
        let mut is_new = false;
        while let Some(deploy) = self.coming.by(at) {
            self.deployed = Some(deploy);
            is_new = true;
        }
        self.from.get_or_insert(at);
        self.until = Some(at);
        let told = |readings: &Readings| !readings.counts.is_empty() || !readings.gauges.is_empty();
        if read.iter().any(|(_, readings)| told(readings)) {
            self.readings += 1;
            self.machines = self.machines.max(read.len());
        }
        let looks: Vec<Look<'_>> = read
            .iter()
            .map(|(machine, readings)| Look {
                machine,
                readings: Some(readings),
                past_counts: false,
                exits_since: at,
            })
            .collect();
        let policy = &self.policy;
        let round = Round {
            policy,
            now: at,
            span: Span::Release,
            learning: false,
            on: &looks,
            control: &[],
        };
        for rung in self.ladders.iter_mut().flat_map(|ladder| &mut ladder.rungs) {
            if is_new {
                rung.state = ThresholdState::begin(&rung.threshold, at);
            }
            rung.take(&round, self.deployed);
        }
    }
}

fn rung(threshold: &Threshold, origin: &Origin, times: f64) -> Option<Rung> {
    let kind = threshold.room().elsewhere(origin, times)?;
    let name = format!("{}@{times}", threshold.name);
    // What nobody recorded is no breach of the past.
    let threshold = Threshold { name, kind, no_data: NoData::Hold, ..threshold.clone() };
    let state = ThresholdState::begin(&threshold, Timestamp::UNIX_EPOCH);
    Some(Rung { threshold, times, state, breaches: Vec::new(), more: 0 })
}

impl Rung {
    fn take(&mut self, round: &Round<'_>, deployed: Option<Timestamp>) {
        threshold::absorb(&self.threshold, &mut self.state, round);
        let case = Case {
            policy: round.policy,
            now: round.now,
            span: round.span,
            since: round.now,
            first_look: false,
            on: &[],
            usual_exits: 0.0,
        };
        let evidence = threshold::judge(&self.threshold, &self.state, &case);
        let open = self.breaches.last_mut().filter(|breach| breach.until.is_none());
        match (open, evidence.verdict == Verdict::Breach) {
            (Some(breach), false) => breach.until = Some(round.now),
            (None, true) => self.begin(evidence, round.now, deployed),
            (Some(_), true) | (None, false) => {}
        }
    }

    fn begin(&mut self, evidence: Evidence, at: Timestamp, deployed: Option<Timestamp>) {
        let evidence = Evidence { last_blocks: Vec::new(), ..evidence };
        let last = self.breaches.last_mut();
        let goes_on = |last: &&mut Breach| {
            last.until.is_some_and(|until| at.duration_since(until) < APART)
                && last.deployed == deployed
        };
        if let Some(last) = last.filter(goes_on) {
            last.until = None;
        } else if self.breaches.len() < BREACHES_MAX {
            self.breaches.push(Breach { at, until: None, deployed, evidence });
        } else {
            self.more += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{
            Checks, Count, Mode, OnBreach, Ratio, RollbackPolicy, Selector, Since, ThresholdKind,
            WatchPolicy,
        },
        sources::servers::unknown_machine,
    };

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_772_366_400 + second).unwrap()
    }

    /// At most 2 % of the requests may fail, and checks have to pass.
    fn policy() -> Arc<Policy> {
        let threshold = |name: &str, kind| Threshold {
            name: name.to_owned(),
            kind,
            no_data: NoData::Breach,
            on_breach: OnBreach::Rollback,
        };
        let ratio = Ratio {
            bad: Selector::metric("bad"),
            total: Selector::metric("requests"),
            max: 0.02,
            relative: None,
            strict: false,
            by: Vec::new(),
            from: Origin::PAGES,
        };
        Arc::new(Policy {
            name: "web".to_owned(),
            mode: Mode::Observe,
            watch: WatchPolicy::default(),
            thresholds: vec![
                threshold("5xx", ThresholdKind::Ratio(ratio)),
                threshold("checks", ThresholdKind::Checks(Checks { failing: 0.3, consecutive: 3 })),
            ],
            rollback: RollbackPolicy::default(),
            freezes: Vec::new(),
            per_organization_max: 10,
            metrics_port: None,
            metrics_path: None,
        })
    }

    /// A reading each 5 s with 500 requests, of which `failed(second)` fail.
    fn lived(deploys: &[i64], seconds: i64, failed: impl Fn(i64) -> f64) -> Course {
        let deploys: Vec<Timestamp> = deploys.iter().map(|second| at(*second)).collect();
        let mut course = Course::new(&policy(), &Origin::PAGES, &deploys);
        let machine = unknown_machine("m1", at(-100));
        let names: Vec<String> =
            course.wants(&SourceName::Pages).into_iter().map(|one| one.threshold).collect();
        for second in (0..seconds).step_by(5) {
            let count = Count { n: 500.0, k: failed(second), since: Since::LastScrape };
            let counts = names.iter().map(|name| (name.clone(), count)).collect();
            course.round(at(second), &[(&machine, Readings { counts, ..Readings::default() })]);
        }
        course
    }

    fn limits(course: &Course) -> Vec<(f64, usize)> {
        course.ladders[0].rungs.iter().map(|rung| (rung.times, rung.breaches.len())).collect()
    }

    #[test]
    fn an_outage_is_found_once_with_its_beginning_and_its_end() {
        // 10 % for five minutes
        let course =
            lived(&[], 3600, |second| if (600..900).contains(&second) { 50.0 } else { 1.0 });
        assert_eq!(course.left_out, ["checks"], "nobody keeps their past");
        let own = course.ladders[0].as_it_is().unwrap();
        assert_eq!(own.breaches.len(), 1);
        let breach = &own.breaches[0];
        let late = |time: Timestamp, second| time.duration_since(at(second)).as_secs();
        assert!((5..120).contains(&late(breach.at, 600)), "{breach:?}");
        assert!((5..120).contains(&late(breach.until.unwrap(), 900)), "{breach:?}");
        assert_eq!(breach.evidence.value.map(|share| share > 0.005), Some(true));
        assert_eq!(course.readings(), 720);
    }

    #[test]
    fn what_is_only_compared_has_no_limit_to_be_chosen() {
        let mut policy = Policy::clone(&policy());
        let ThresholdKind::Ratio(ratio) = policy.thresholds[0].kind.clone() else { panic!() };
        let relative = Some(crate::model::Relative { times: 1.5, plus: 0.002 });
        let kind = ThresholdKind::Ratio(Ratio { max: SHARE_MAX, relative, ..ratio });
        policy.thresholds[0].kind = kind;
        let course = Course::new(&Arc::new(policy), &Origin::PAGES, &[]);
        assert_eq!((course.compared, course.ladders.len()), (vec!["5xx".to_owned()], 0));
    }

    #[test]
    fn the_limit_that_is_proposed_is_the_lowest_from_which_on_all_is_quiet() {
        // 2.5 % always: above 2 %, below 3 %
        let course = lived(&[], 3600, |_| 12.5);
        let quiet = course.ladders[0].quiet().unwrap();
        assert_eq!(quiet.times.to_bits(), 1.5_f64.to_bits(), "{:?}", limits(&course));
        assert!(course.ladders[0].as_it_is().unwrap().breaches[0].until.is_none());
        let worst = lived(&[], 3600, |_| 250.0);
        assert!(worst.ladders[0].quiet().is_none());
        let best = lived(&[], 3600, |_| 0.0);
        assert_eq!(
            best.ladders[0].quiet().map(|rung| rung.times.to_bits()),
            Some(0.25_f64.to_bits())
        );
    }

    #[test]
    fn a_deploy_begins_anew_and_is_named_by_what_follows_it() {
        let course = lived(&[900], 1800, |second| if second < 1000 { 0.0 } else { 50.0 });
        let breaches = &course.ladders[0].as_it_is().unwrap().breaches;
        assert_eq!(breaches.iter().map(|one| one.deployed).collect::<Vec<_>>(), [Some(at(900))]);
        // What was bad before the deploy says nothing of it.
        let course = lived(&[900], 1800, |second| if second < 900 { 50.0 } else { 0.0 });
        let breaches = &course.ladders[0].as_it_is().unwrap().breaches;
        assert_eq!(breaches.len(), 1);
        assert_eq!((breaches[0].deployed, breaches[0].until), (None, Some(at(900))));
    }

    #[test]
    fn what_comes_again_within_minutes_is_one_and_after_them_another() {
        let outages = |gap: i64| {
            lived(&[], 7200, move |second| {
                let second_one = (900 + gap..1200 + gap).contains(&second);
                if (600..900).contains(&second) || second_one { 100.0 } else { 0.0 }
            })
        };
        let count = |course: Course| course.ladders[0].as_it_is().unwrap().breaches.len();
        assert_eq!(count(outages(120)), 1);
        assert_eq!(count(outages(1800)), 2);
    }
}
