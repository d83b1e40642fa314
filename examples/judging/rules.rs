//! The usual rules, on the same traffic: what the new release's machines served, second by second.
//! A window without requests is no failure, which is kinder than what many of them do.

use super::{
    life::BEGINS,
    policy::LIMIT,
    world::{Second, Tally, to_f64, to_usize},
};

/// For how long a release is looked at.
const WATCH_S: usize = 1800;
/// Flagger's guide: as many checks of a minute may fail.
const FLAGGER_FAILED: u32 = 5;
/// Points of a minute from which on Kayenta's judge says something, and how certain it wants to be
/// (98 % on two sides).
const POINTS_MIN: usize = 5;
const CERTAIN: f64 = 2.326;

pub const NAMES: [&str; 5] = ["2/3 at 30 s", "2/3 at 60 s", "Flagger", "for: 1m", "Mann-Whitney"];

/// When each rule would have undone the release, in seconds since the deploy began.
pub fn judge(seconds: &[Second]) -> [Option<f64>; 5] {
    let offset = to_usize(-BEGINS);
    let (before, after) = seconds.split_at(offset.min(seconds.len()));
    let after = after.get(..WATCH_S).unwrap_or(after);
    let new: Vec<Tally> = after.iter().map(|second| second.new).collect();
    let old: Vec<Tally> = before.iter().map(|second| second.old).collect();
    [
        some_of_three(&new, 30),
        some_of_three(&new, 60),
        flagger(&new),
        lasting(&new),
        mann_whitney(&new, &old),
    ]
}

/// The window of a minute that ends at `end` fails.
fn fails(new: &[Tally], end: usize) -> bool {
    let tally = sum(new.get(end.saturating_sub(60)..end).unwrap_or_default());
    tally.n > 0.0 && tally.k > LIMIT * tally.n
}

fn sum(seconds: &[Tally]) -> Tally {
    let mut all = Tally::default();
    for second in seconds {
        all.add(second.n, second.k);
    }
    all
}

/// Two of the last three checks fail; each looks at the last minute.
fn some_of_three(new: &[Tally], every: usize) -> Option<f64> {
    let ends: Vec<usize> = (1..).map(|i| i * every).take_while(|end| *end <= new.len()).collect();
    let failed: Vec<bool> = ends.iter().map(|end| fails(new, *end)).collect();
    let tripped = |i: &usize| {
        let last = failed.get(i.saturating_sub(2)..=*i).unwrap_or_default();
        last.iter().filter(|failed| **failed).count() >= 2
    };
    (0..ends.len()).find(tripped).map(|i| to_f64(ends[i]))
}

/// So many checks failed since the analysis began, one a minute.
fn flagger(new: &[Tally]) -> Option<f64> {
    let mut failed = 0;
    (1..).map(|i| i * 60).take_while(|end| *end <= new.len()).find_map(|end| {
        failed += u32::from(fails(new, end));
        (failed >= FLAGGER_FAILED).then_some(to_f64(end))
    })
}

/// `rate[1m]` above the limit at every evaluation of a minute, one each 15 s.
fn lasting(new: &[Tally]) -> Option<f64> {
    let mut since = None;
    (1..).map(|i| i * 15).take_while(|end| *end <= new.len()).find_map(|end| {
        if !fails(new, end) {
            since = None;
            return None;
        }
        let began = *since.get_or_insert(end);
        (end - began >= 60).then_some(to_f64(end))
    })
}

/// The release's shares per minute against those of the release before it in the ten minutes before
/// the deploy, at each minute from the fifth on.
fn mann_whitney(new: &[Tally], old: &[Tally]) -> Option<f64> {
    let shares = |seconds: &[Tally]| -> Vec<f64> {
        let minutes = seconds.chunks_exact(60).map(sum);
        minutes.filter(|minute| minute.n > 0.0).map(|minute| minute.k / minute.n).collect()
    };
    let baseline = shares(old);
    (1..).map(|i| i * 60).take_while(|end| *end <= new.len()).find_map(|end| {
        let points = shares(new.get(..end).unwrap_or_default());
        let enough = points.len() >= POINTS_MIN && baseline.len() >= POINTS_MIN;
        (enough && is_higher(&points, &baseline)).then_some(to_f64(end))
    })
}

/// The normal approximation of the rank-sum test, with ties counted by halves.
fn is_higher(points: &[f64], baseline: &[f64]) -> bool {
    let mut wins = 0.0;
    for point in points {
        for other in baseline {
            wins += if point > other {
                1.0
            } else if point < other {
                0.0
            } else {
                0.5
            };
        }
    }
    let (n, m) = (to_f64(points.len()), to_f64(baseline.len()));
    let spread = (n * m * (n + m + 1.0) / 12.0).sqrt();
    (wins - n * m / 2.0 - 0.5) / spread > CERTAIN
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lasts(seconds: usize, share: f64) -> Vec<Tally> {
        vec![Tally { n: 100.0, k: 100.0 * share }; seconds]
    }

    #[test]
    fn the_rules_find_what_is_plainly_bad_when_their_windows_say() {
        let bad = lasts(600, 0.2);
        assert_eq!(some_of_three(&bad, 30), Some(60.0));
        assert_eq!(some_of_three(&bad, 60), Some(120.0));
        assert_eq!(flagger(&bad), Some(300.0));
        assert_eq!(lasting(&bad), Some(75.0));
        assert_eq!(mann_whitney(&bad, &lasts(600, 0.005)), Some(300.0));
    }

    #[test]
    fn the_rules_leave_what_is_well() {
        let well = lasts(1800, 0.005);
        assert_eq!(some_of_three(&well, 30), None);
        assert_eq!(flagger(&well), None);
        assert_eq!(lasting(&well), None);
        assert_eq!(mann_whitney(&well, &lasts(600, 0.005)), None);
    }
}
