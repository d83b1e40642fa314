//! An app that answers nothing any more, though nothing fails: it hangs, or nobody asks. Counters of answered
//! requests cannot tell these apart, and the app's own past can: one that answered in every minute for days,
//! by night as well, is not asked by nobody from one moment to the next.
//!
//! So the longest silence of each of the last days is remembered. One that is ten times as long as
//! any of them is told of; where two apps beside it serve their requests meanwhile, it counts against a release.
//! What falls silent each night has a long silence behind it, and is left alone.
//!
//! Machines that count what a threshold looks for are asked, and those of their process groups: a worker counts
//! no requests. A page that is missing now and then leaves the clock as it is, and a machine that was not read
//! for an hour is not waited for.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{
    Round, distress,
    state::{Memory, Watch},
    voucher,
};
use crate::model::{
    Machine, MachineId, MachineSample, MachineState, Note, OrgContext, Policy, ProcessGroup, Since,
    Verdict,
};

/// Days of which the longest silence is remembered.
const DAYS_MAX: usize = 7;
const DAY: SignedDuration = SignedDuration::from_hours(24);
/// How long the app has to be known before its silence says something: by itself, and while neighbours serve.
const KNOWN_FOR: SignedDuration = SignedDuration::from_hours(24);
const KNOWN_BESIDE: SignedDuration = SignedDuration::from_hours(1);
/// A silence is told of when it is so many times as long as any before it, and at least this long.
const LONGER: i32 = 10;
const SILENT_MIN: SignedDuration = SignedDuration::from_secs(60);
/// What it answered lately fades by half in so many seconds, and has to be so much.
const HALF_S: f64 = 1200.0;
const ANSWERED_MIN: f64 = 300.0;
/// Two looks further apart than this did not see what was between them.
const LOOKS_APART: SignedDuration = SignedDuration::from_secs(120);
/// A machine that started, and was read, so long ago is not waited for.
const UNREAD_FOR: SignedDuration = SignedDuration::from_hours(1);
/// Process groups and machines of a threshold that are remembered.
const GROUPS_MAX: usize = 50;
const MACHINES_MAX: usize = 2000;

/// How silent an app is, and was.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Silence {
    /// Since when it is known.
    known_since: Option<Timestamp>,
    /// The days, each since when, and its longest silence in seconds; the oldest first.
    days: VecDeque<(Timestamp, i64)>,
    /// What it answered lately, as of the last look.
    answered: f64,
    /// When it was last seen as a whole.
    looked_at: Option<Timestamp>,
    /// Since when it answers nothing.
    since: Option<Timestamp>,
    /// Who counts what each threshold looks for.
    #[serde(default)]
    fed: BTreeMap<String, Fed>,
}

/// Who counts what a threshold looks for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Fed {
    groups: BTreeSet<ProcessGroup>,
    /// What it looks for; empty: noted by an older version.
    #[serde(default)]
    counts: String,
    /// When each machine was last read.
    read_at: BTreeMap<MachineId, Timestamp>,
}

/// What a round shows of those who are to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Sight {
    /// All of them.
    Whole,
    /// Some are waited for.
    Part,
    /// There is nobody to be read.
    Nobody,
}

impl Fed {
    /// Takes in which of the started machines were read.
    fn look(&mut self, started: &[(&Machine, bool)], now: Timestamp) -> Sight {
        for (machine, _) in started.iter().filter(|(_, is_read)| *is_read) {
            if self.groups.len() < GROUPS_MAX {
                self.groups.insert(machine.group.clone());
            }
            self.read_at.insert(machine.id.clone(), now);
        }
        if self.read_at.len() > MACHINES_MAX {
            self.read_at.retain(|id, _| started.iter().any(|(machine, _)| machine.id == *id));
        }
        let lately = |at: Timestamp| now.duration_since(at) < UNREAD_FOR;
        let of_groups =
            || started.iter().filter(|(machine, _)| self.groups.contains(&machine.group));
        let is_missing = |(machine, is_read): &&(&Machine, bool)| {
            let read_at = self.read_at.get(&machine.id).copied();
            !is_read && read_at.max(machine.started_at).is_some_and(lately)
        };
        if of_groups().any(|one| is_missing(&one)) {
            Sight::Part
        } else if of_groups().any(|(_, is_read)| *is_read) {
            Sight::Whole
        } else {
            Sight::Nobody
        }
    }

    /// Forgets who was not read for long; whether one of them is up.
    fn give_up(&mut self, started: &[(&Machine, bool)], now: Timestamp) -> bool {
        let is_up = |id: &MachineId| started.iter().any(|(machine, _)| machine.id == *id);
        let mut was_up = false;
        self.read_at.retain(|id, at| {
            let stays = now.duration_since(*at) < UNREAD_FOR;
            was_up |= !stays && is_up(id);
            stays
        });
        was_up
    }
}

/// Whether it would be found that an app answers nothing any more.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Ear {
    /// No threshold that decides counts what it answers.
    Nothing,
    /// Not everyone who answers can be read.
    Unread,
    /// It answers too little for that, faded by half every twenty minutes.
    Few { answered: f64, needed: f64 },
    /// It is not known for a day yet: until then only where two apps beside it serve, and not before.
    Young { beside_from: Timestamp, from: Timestamp },
    /// After so many seconds, for `longest` was the longest silence of the last days.
    Hears { after_s: u64, longest_s: u64 },
}

/// What fades is no reason to record anything.
impl PartialEq for Silence {
    fn eq(&self, other: &Self) -> bool {
        self.known_since == other.known_since && self.days == other.days
    }
}

impl Silence {
    /// Takes in what a round counted; `None`: it could not be seen.
    fn look(&mut self, answered: Option<f64>, now: Timestamp) {
        let Some(n) = answered else {
            // A page is missing now and then: the next round has what was counted meanwhile.
            self.since =
                self.since.filter(|_| self.looked_at.is_some_and(|at| is_soon_after(at, now)));
            return;
        };
        let before = self.looked_at.replace(now);
        self.known_since.get_or_insert(now);
        let passed = before.map_or(SignedDuration::ZERO, |before| now.duration_since(before));
        if before.is_some_and(|before| !is_soon_after(before, now)) {
            self.since = None;
        }
        if self.days.back().is_none_or(|(day, _)| now.duration_since(*day) >= DAY) {
            self.days.push_back((now, 0));
            if self.days.len() > DAYS_MAX {
                self.days.pop_front();
            }
        }
        if n > 0.0 {
            let silent = self.since.take().map_or(0, |since| now.duration_since(since).as_secs());
            if let Some((_, longest)) = self.days.back_mut() {
                *longest = (*longest).max(silent);
            }
            let left = (-passed.as_secs_f64().max(0.0) / HALF_S).exp2();
            self.answered = self.answered * left + n;
        } else {
            self.since.get_or_insert(before.filter(|_| passed <= LOOKS_APART).unwrap_or(now));
        }
    }

    /// Since when it is silent for much longer than ever, where that says something.
    fn found(&self, known_for: SignedDuration, now: Timestamp) -> Option<(Timestamp, i64)> {
        let since = self.since?;
        let longest = self.days.iter().map(|(_, longest)| *longest).max()?;
        let is_known = self.known_since.is_some_and(|at| since.duration_since(at) >= known_for);
        let is_busy = self.answered >= ANSWERED_MIN;
        // What was not looked at is no part of it.
        let seen_to = self.looked_at.unwrap_or(now);
        (is_known && is_busy && seen_to.duration_since(since) >= needed(longest))
            .then_some((since, longest))
    }
}

impl Silence {
    /// Whether it would be found, were the app silent from now on.
    pub fn ear(&self, policy: &Policy, now: Timestamp) -> Ear {
        if !policy.thresholds.iter().any(|one| one.room().kind().proves()) {
            return Ear::Nothing;
        }
        let (Some(looked_at), Some(known_since)) = (self.looked_at, self.known_since) else {
            return Ear::Unread;
        };
        let longest = self.days.iter().map(|(_, longest)| *longest).max().unwrap_or(0);
        if !is_soon_after(looked_at, now) {
            Ear::Unread
        } else if self.answered < ANSWERED_MIN {
            Ear::Few { answered: self.answered, needed: ANSWERED_MIN }
        } else if now.duration_since(known_since) < KNOWN_FOR {
            let after = |time| known_since.checked_add(time).unwrap_or(Timestamp::MAX);
            Ear::Young { beside_from: after(KNOWN_BESIDE), from: after(KNOWN_FOR) }
        } else {
            Ear::Hears { after_s: whole(needed(longest).as_secs()), longest_s: whole(longest) }
        }
    }
}

/// How long a silence has to last, after the longest one before it.
fn needed(longest: i64) -> SignedDuration {
    (SignedDuration::from_secs(longest) * LONGER).max(SILENT_MIN)
}

fn whole(seconds: i64) -> u64 {
    u64::try_from(seconds).unwrap_or(0)
}

/// Whether what was between two looks is known.
fn is_soon_after(before: Timestamp, now: Timestamp) -> bool {
    let passed = now.duration_since(before);
    passed <= LOOKS_APART && passed >= SignedDuration::ZERO
}

/// Notes what the app answered since the last round, whatever it runs.
pub(super) fn note(policy: &Policy, memory: &mut Memory, round: &Round<'_>, now: Timestamp) {
    let started: Vec<&Machine> =
        round.machines.iter().copied().filter(|one| one.state == MachineState::Started).collect();
    // The first reading of a process says nothing of now.
    let counts = |sample: &MachineSample, threshold: &str| {
        let count = sample.readings.as_ref().ok().and_then(|one| one.counts.get(threshold));
        count.is_some_and(|count| count.since == Since::LastScrape)
    };
    let is_read = |machine: &Machine, threshold: &str| {
        let mut samples = round.observation.samples.iter();
        samples.any(|one| one.instance == machine.instance && counts(one, threshold))
    };
    let counting = || policy.thresholds.iter().filter(|one| one.room().kind().proves());
    let (mut n, mut sights) = (0.0_f64, BTreeSet::new());
    let mut fed = std::mem::take(&mut memory.silence.fed);
    let is_counted = |name: &String, was: &Fed| {
        let mut same = counting().filter(|one| one.name == *name);
        same.any(|one| was.counts.is_empty() || was.counts == one.room().terms().2)
    };
    let all = fed.len();
    fed.retain(|name, was| is_counted(name, was));
    if fed.len() < all {
        // It may be what answered, and what is counted now may be as silent as this every day.
        memory.silence = Silence::default();
    }
    for threshold in counting() {
        let name = &threshold.name;
        let looked: Vec<(&Machine, bool)> =
            started.iter().map(|machine| (*machine, is_read(machine, name))).collect();
        let one = fed.entry(name.clone()).or_default();
        one.counts = threshold.room().terms().2;
        sights.insert(one.look(&looked, now));
        if one.give_up(&looked, now) {
            // It may be what answered: those that can be read have to be seen to.
            memory.silence.answered = 0.0;
        }
        let counted = distress::counted(round, name);
        n = n.max(counted.values().map(|tally| tally.n).sum());
    }
    memory.silence.fed = fed;
    let is_whole = sights.contains(&Sight::Whole) && !sights.contains(&Sight::Part);
    // What some of them answer is no silence, whether or not all can be seen.
    memory.silence.look((is_whole || n > 0.0).then_some(n), now);
}

/// Says of a watch that its app is silent as it never was.
pub(super) fn judge(
    policy: &Policy,
    silence: &Silence,
    org: &OrgContext,
    watch: &mut Watch,
    now: Timestamp,
) {
    let beside = silence.found(KNOWN_BESIDE, now);
    let vouched =
        beside.is_some_and(|(since, _)| voucher::neighbours_are_well(org, watch, since, now));
    let found = beside.filter(|_| vouched).or_else(|| silence.found(KNOWN_FOR, now));
    let Some((since, longest)) = found else { return };
    let proves = |name: &str| {
        let mut thresholds = policy.thresholds.iter();
        thresholds.any(|one| one.name == name && one.room().kind().proves())
    };
    let is_deployed = watch.is_deployed();
    let mut evidence = watch.evidence.iter_mut();
    let told = evidence.find(|one| one.applies && one.may_roll_back && proves(&one.threshold));
    let Some(evidence) = told.filter(|one| one.verdict != Verdict::Breach) else { return };
    evidence.verdict = Verdict::Breach;
    // What was counted before says nothing of it.
    evidence.ln_odds = None;
    evidence.note = Some(Note::Quiet {
        seconds: whole(now.duration_since(since).as_secs()),
        longest: whole(longest),
    });
    // Of a release that somebody brought it is said, and nothing is undone by that alone.
    evidence.may_roll_back = vouched || !is_deployed;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    /// Looks every 15 s from `from` on, with what `answers` says of each; whether it was found.
    fn listen(
        silence: &mut Silence,
        seconds: std::ops::Range<i64>,
        answers: impl Fn(i64) -> Option<f64>,
    ) -> bool {
        let mut found = false;
        for second in seconds.step_by(15) {
            silence.look(answers(second), at(second));
            found |= silence.found(KNOWN_FOR, at(second)).is_some();
        }
        found
    }

    const HOUR: i64 = 3600;
    const WEEK: i64 = 7 * 24 * HOUR;

    #[test]
    fn what_answered_for_days_and_answers_nothing_is_found_after_a_minute() {
        let mut silence = Silence::default();
        assert!(!listen(&mut silence, 0..25 * HOUR, |_| Some(20.0)));
        assert!(!listen(&mut silence, 25 * HOUR..25 * HOUR + 45, |_| Some(0.0)));
        assert!(listen(&mut silence, 25 * HOUR + 45..25 * HOUR + 90, |_| Some(0.0)));
        // It answers again.
        assert!(!listen(&mut silence, 25 * HOUR + 90..26 * HOUR, |_| Some(20.0)));
    }

    #[test]
    fn what_is_known_for_less_than_a_day_says_nothing_by_itself() {
        let mut silence = Silence::default();
        assert!(!listen(&mut silence, 0..2 * HOUR, |_| Some(20.0)));
        assert!(!listen(&mut silence, 2 * HOUR..3 * HOUR, |_| Some(0.0)));
        assert!(silence.found(KNOWN_BESIDE, at(3 * HOUR)).is_some(), "beside neighbours it does");
    }

    #[test]
    fn nights_without_requests_are_nothing_new() {
        let mut silence = Silence::default();
        let office = |second: i64| {
            let hour = second / HOUR % 24;
            Some(if (8..18).contains(&hour) { 30.0 } else { 0.0 })
        };
        assert!(!listen(&mut silence, 8 * HOUR..WEEK, office));
    }

    /// Ever fewer of them, down to some in eight minutes.
    #[test]
    fn a_low_that_comes_slowly_is_no_silence() {
        let mut silence = Silence::default();
        let tide = |second: i64| {
            let from_noon = (second / HOUR % 24 - 12).abs();
            let every = 8 << (from_noon / 2);
            Some(if second % every < 15 { 5.0 } else { 0.0 })
        };
        assert!(!listen(&mut silence, 0..WEEK, tide));
    }

    #[test]
    fn a_job_that_runs_now_and_then_is_told_of_once_at_most() {
        let mut silence = Silence::default();
        let job = |second: i64| Some(if second % (6 * HOUR) < 2 * HOUR { 30.0 } else { 0.0 });
        assert!(!listen(&mut silence, 0..WEEK, job));
    }

    #[test]
    fn what_cannot_be_seen_is_no_silence() {
        let mut silence = Silence::default();
        assert!(!listen(&mut silence, 0..25 * HOUR, |_| Some(20.0)));
        assert!(!listen(&mut silence, 25 * HOUR..26 * HOUR, |_| None));
        // And after it the clock begins anew.
        assert!(!listen(&mut silence, 26 * HOUR..26 * HOUR + 45, |_| Some(0.0)));
    }

    #[test]
    fn a_look_that_is_missing_now_and_then_leaves_the_clock_as_it_is() {
        let mut silence = Silence::default();
        assert!(!listen(&mut silence, 0..25 * HOUR, |_| Some(20.0)));
        let gaps = |second: i64| (second % 45 != 0).then_some(0.0);
        assert!(listen(&mut silence, 25 * HOUR..25 * HOUR + 120, gaps));
        // While nothing is seen for longer it is over.
        assert!(listen(&mut silence, 25 * HOUR + 120..25 * HOUR + 180, |_| None));
        listen(&mut silence, 25 * HOUR + 180..25 * HOUR + 300, |_| None);
        assert!(!listen(&mut silence, 25 * HOUR + 300..26 * HOUR, |_| None));
    }

    #[test]
    fn it_is_said_whether_a_silence_would_be_found_and_what_is_missing() {
        let with = |thresholds| Policy {
            thresholds,
            ..crate::decide::tests::policy(crate::model::Mode::Observe)
        };
        let counts = with(vec![crate::decide::tests::stage::ratio()]);
        let mut silence = Silence::default();
        assert_eq!(silence.ear(&counts, at(0)), Ear::Unread);
        listen(&mut silence, 0..60, |_| Some(20.0));
        let Ear::Few { answered, needed } = silence.ear(&counts, at(60)) else { panic!() };
        assert!(answered < 81.0 && needed > 299.0);
        listen(&mut silence, 60..20 * HOUR, |_| Some(20.0));
        let young = Ear::Young { beside_from: at(HOUR), from: at(24 * HOUR) };
        assert_eq!(silence.ear(&counts, at(20 * HOUR)), young);
        let pause = |second: i64| Some(if second % HOUR < 30 { 0.0 } else { 20.0 });
        listen(&mut silence, 20 * HOUR..25 * HOUR, pause);
        let Ear::Hears { after_s, longest_s } = silence.ear(&counts, at(25 * HOUR)) else {
            panic!()
        };
        assert_eq!(after_s, 10 * longest_s);
        assert!((30..=45).contains(&longest_s), "{longest_s}");
        assert_eq!(
            silence.ear(&counts, at(26 * HOUR)),
            Ear::Unread,
            "nobody has looked for an hour"
        );
        let none = with(Vec::new());
        assert_eq!(silence.ear(&none, at(25 * HOUR)), Ear::Nothing);
    }

    #[test]
    fn few_requests_say_nothing() {
        let mut silence = Silence::default();
        let few = |second: i64| Some(if second % 600 == 0 { 1.0 } else { 0.0 });
        assert!(!listen(&mut silence, 0..25 * HOUR, few));
        assert!(!listen(&mut silence, 25 * HOUR..48 * HOUR, |_| Some(0.0)));
    }

    #[test]
    fn it_is_kept_and_bounded_and_recorded_only_when_it_says_something_new() {
        let mut silence = Silence::default();
        listen(&mut silence, 0..2 * WEEK - HOUR, |_| Some(1.0));
        assert_eq!(silence.days.len(), DAYS_MAX);
        let before = silence.clone();
        listen(&mut silence, 2 * WEEK - HOUR..2 * WEEK - HOUR + 600, |_| Some(1.0));
        assert_eq!(silence, before);
        let text = serde_json::to_string(&silence).unwrap();
        assert_eq!(serde_json::from_str::<Silence>(&text).unwrap(), silence);
    }
}
