//! What an app was like: how many requests, how many of them failed, how long they took; and the limits that
//! follow from it.

use std::{collections::BTreeMap, time::Duration};

use crate::{model::AppName, ports::SampledSeries};

/// Requests that a window needs, to say something of a share.
const COUNTED_MIN: f64 = 200.0;
/// Of a hundred windows, which one is high: what came more seldom was an accident.
const HIGH: usize = 95;
/// How much above what is high a limit stands.
const ROOM: f64 = 1.5;
/// The limits of the preset `fly-http`.
const SHARE_SHIPPED: f64 = 0.02;
const LATENCY_SHIPPED_S: f64 = 2.5;
/// Limits that people read easily.
const SHARES: [(f64, &str); 8] = [
    (0.03, "3%"),
    (0.04, "4%"),
    (0.05, "5%"),
    (0.08, "8%"),
    (0.10, "10%"),
    (0.15, "15%"),
    (0.20, "20%"),
    (0.30, "30%"),
];
/// Windows of one app that are kept.
const WINDOWS_MAX: usize = 1000;

/// What is usual, and what is high but no accident.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Range {
    pub(super) usual: f64,
    pub(super) high: f64,
}

/// What an app was like.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Habit {
    /// Requests in a second, on average.
    pub(super) rate: f64,
    /// Share of the answers that were 5xx.
    pub(super) failed: Option<Range>,
    /// 95 of 100 requests were answered within so many seconds: the bound of a bucket.
    pub(super) slow: Option<Range>,
    /// The bounds of the buckets, in seconds, ascending; without the last, which is endless.
    pub(super) bounds: Vec<f64>,
}

/// Limits other than those of the preset; `None`: those do.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Proposal {
    pub(super) share: Option<String>,
    pub(super) latency: Option<String>,
}

/// Of each app, window by window.
#[derive(Clone, Debug, Default)]
struct Seen {
    rates: Vec<f64>,
    shares: Vec<f64>,
    slow: Vec<f64>,
    bounds: Vec<f64>,
}

/// What the apps were like.
#[derive(Clone, Debug, Default)]
pub(super) struct Habits {
    seen: BTreeMap<AppName, Seen>,
    known: BTreeMap<AppName, Habit>,
}

impl Habits {
    /// Takes in one window: rates by app and status, and by app and upper bound.
    pub(super) fn window(
        &mut self,
        length: Duration,
        answered: &[SampledSeries],
        times: &[SampledSeries],
    ) {
        let mut counts: BTreeMap<AppName, (f64, f64)> = BTreeMap::new();
        for (app, status, rate) in read(answered, "status") {
            let (bad, all) = counts.entry(app).or_default();
            *all += rate;
            if status.starts_with('5') {
                *bad += rate;
            }
        }
        for (app, (bad, all)) in counts {
            let seen = self.seen.entry(app).or_default();
            push(&mut seen.rates, all);
            if all * length.as_secs_f64() >= COUNTED_MIN {
                push(&mut seen.shares, (bad / all).clamp(0.0, 1.0));
            }
        }
        let mut buckets: BTreeMap<AppName, Vec<(f64, f64)>> = BTreeMap::new();
        for (app, bound, rate) in read(times, "le") {
            let bound = if bound == "+Inf" { Ok(f64::INFINITY) } else { bound.parse::<f64>() };
            buckets.entry(app).or_default().extend(bound.ok().map(|bound| (bound, rate)));
        }
        for (app, mut buckets) in buckets {
            buckets.sort_by(|one, other| one.0.total_cmp(&other.0));
            let seen = self.seen.entry(app).or_default();
            seen.bounds = buckets.iter().map(|one| one.0).filter(|one| one.is_finite()).collect();
            let all = buckets.last().map_or(0.0, |one| one.1);
            if all * length.as_secs_f64() >= COUNTED_MIN
                && let Some((bound, _)) = buckets.iter().find(|one| one.1 >= 0.95 * all)
            {
                push(&mut seen.slow, *bound);
            }
        }
        self.known = self.seen.iter().map(|(app, seen)| (app.clone(), seen.habit())).collect();
    }

    pub(super) fn of(&self, app: &AppName) -> Option<&Habit> {
        self.known.get(app)
    }
}

fn push(list: &mut Vec<f64>, value: f64) {
    if list.len() < WINDOWS_MAX {
        list.push(value);
    }
}

/// App, the value of a label, and the last sample.
fn read<'s>(
    series: &'s [SampledSeries],
    label: &'s str,
) -> impl Iterator<Item = (AppName, &'s str, f64)> {
    series.iter().filter_map(move |one| {
        let app = one.labels.get("app").filter(|app| !app.is_empty())?;
        let (_, value) =
            one.samples.last().filter(|(_, value)| value.is_finite() && *value >= 0.0)?;
        Some((AppName::new(app), one.labels.get(label)?.as_str(), *value))
    })
}

impl Seen {
    fn habit(&self) -> Habit {
        let count = f64::from(u32::try_from(self.rates.len().max(1)).unwrap_or(u32::MAX));
        Habit {
            rate: self.rates.iter().sum::<f64>() / count,
            failed: range(&self.shares),
            slow: range(&self.slow),
            bounds: self.bounds.clone(),
        }
    }
}

fn range(values: &[f64]) -> Option<Range> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |of_hundred: usize| {
        let index = (sorted.len() * of_hundred).div_ceil(100).saturating_sub(1);
        sorted.get(index).copied()
    };
    Some(Range { usual: at(50)?, high: at(HIGH)? })
}

/// The limits that such an app needs besides the preset's.
pub(super) fn propose(habit: &Habit) -> Proposal {
    let wanted =
        habit.failed.map(|range| range.high * ROOM).filter(|wanted| *wanted > SHARE_SHIPPED);
    let last = SHARES.last().map(|(_, text)| *text);
    let share = wanted.and_then(|wanted| {
        SHARES.iter().find(|(limit, _)| *limit >= wanted).map(|(_, text)| *text).or(last)
    });
    // A limit stands on the bound of a bucket: between two nobody can tell.
    let wanted =
        habit.slow.map(|range| range.high * ROOM).filter(|wanted| *wanted > LATENCY_SHIPPED_S);
    let bound = wanted.and_then(|wanted| {
        habit.bounds.iter().find(|bound| **bound >= wanted).or(habit.bounds.last()).copied()
    });
    let bound = bound.filter(|bound| *bound > LATENCY_SHIPPED_S);
    Proposal { share: share.map(str::to_owned), latency: bound.map(seconds) }
}

/// `2.5s`, as files have it.
fn seconds(value: f64) -> String {
    Duration::try_from_secs_f64(value)
        .map_or_else(|_| format!("{value}s"), crate::config::duration_text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(app: &str, label: (&str, &str), rate: f64) -> SampledSeries {
        let labels = [("app", app), label];
        SampledSeries {
            labels: labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            samples: vec![("2026-03-01T02:03:04Z".parse().unwrap(), rate)],
        }
    }

    const WINDOW: Duration = Duration::from_secs(3600);

    fn share_windows(shares: &[f64], rate: f64) -> Habits {
        let mut habits = Habits::default();
        for share in shares {
            let bad = series("api", ("status", "503"), rate * share);
            let good = series("api", ("status", "200"), rate * (1.0 - share));
            habits.window(WINDOW, &[bad, good], &[]);
        }
        habits
    }

    fn habit(habits: &Habits) -> Habit {
        habits.of(&AppName::new("api")).unwrap().clone()
    }

    #[test]
    fn an_app_within_the_preset_s_limits_needs_no_others() {
        let habits = share_windows(&[0.001; 40], 10.0);
        let habit = habit(&habits);
        assert!((habit.rate - 10.0).abs() < 1e-9);
        assert_eq!(propose(&habit), Proposal::default());
    }

    #[test]
    fn an_app_that_always_fails_a_little_gets_a_limit_above_that() {
        let habits = share_windows(&[0.03; 40], 10.0);
        assert_eq!(propose(&habit(&habits)).share.as_deref(), Some("5%"));
        let habits = share_windows(&[0.5; 40], 10.0);
        assert_eq!(propose(&habit(&habits)).share.as_deref(), Some("30%"));
    }

    #[test]
    fn one_outage_in_two_weeks_is_no_habit() {
        let mut shares = vec![0.002; 54];
        shares.extend([0.6, 0.4]);
        assert_eq!(propose(&habit(&share_windows(&shares, 10.0))), Proposal::default());
    }

    #[test]
    fn a_window_with_few_requests_says_nothing_of_the_share() {
        let habits = share_windows(&[0.5; 40], 0.01);
        let habit = habit(&habits);
        assert_eq!(habit.failed, None);
        assert_eq!(propose(&habit), Proposal::default());
    }

    #[test]
    fn a_limit_on_latency_stands_on_the_bound_of_a_bucket() {
        let mut habits = Habits::default();
        for _ in 0..40 {
            let le = |bound: &str, rate: f64| series("api", ("le", bound), rate);
            let times =
                [le("+Inf", 10.0), le("1", 4.0), le("2.5", 9.0), le("5", 9.8), le("10", 9.9)];
            habits.window(WINDOW, &[], &times);
        }
        let habit = habit(&habits);
        assert_eq!(habit.slow, Some(Range { usual: 5.0, high: 5.0 }));
        assert_eq!(propose(&habit).latency.as_deref(), Some("10s"));
    }

    #[test]
    fn what_has_no_app_or_no_number_is_left_out() {
        let mut habits = Habits::default();
        let nameless = series("", ("status", "200"), 3.0);
        let odd = series("api", ("status", "200"), f64::NAN);
        habits.window(WINDOW, &[nameless, odd], &[]);
        assert_eq!(habits.of(&AppName::new("api")), None);
    }
}
