//! What is said of releases that degrade after they were trusted.

use jiff::Timestamp;

use crate::{
    model::{
        AppName,
        reason::{Change, Changed, Degradation, Stays},
    },
    numbers::{duration, share},
};

/// Changes that are named.
const CHANGES_MAX: usize = 3;

/// It was trusted, and degrades.
pub(super) fn degrades(late: &Degradation) -> String {
    let mut parts = vec![format!("since {}, after it was trusted", time(late.since))];
    parts.push(match late.stays {
        Some(stays) => format!("nothing is undone: {}", self::stays(stays)),
        None => "it is undone".to_owned(),
    });
    if late.revoked {
        parts.push("it is nothing to go back to until it has earned trust anew".to_owned());
    }
    let apps = late.with.iter().map(AppName::as_str).collect::<Vec<_>>().join(", ");
    if !apps.is_empty() {
        parts.push(format!("{apps} degrade with it"));
    }
    if late.well > 0 {
        let word = if late.well == 1 { "app" } else { "apps" };
        parts.push(format!("{} {word} beside it well", late.well));
    }
    let changes: Vec<String> = late.changes.iter().take(CHANGES_MAX).map(change).collect();
    parts.push(match changes.as_slice() {
        [] => "nothing is known to have changed".to_owned(),
        changes => format!("changed: {}", changes.join(", ")),
    });
    parts.join("; ")
}

fn change(change: &Change) -> String {
    let what = match &change.what {
        Changed::Deployed { app, label } => format!("{app} runs {label}"),
        Changed::Secrets => "the app's secrets".to_owned(),
        Changed::Configured { machines } => format!("{} configured anew", count(*machines)),
        Changed::Restarted { machines } => format!("{} restarted", count(*machines)),
        Changed::Scaled { from, to } => format!("{from} machines became {to}"),
    };
    format!("{what} ({})", time(change.at))
}

fn count(machines: u32) -> String {
    if machines == 1 { "1 machine".to_owned() } else { format!("{machines} machines") }
}

fn time(at: Timestamp) -> String {
    at.strftime("%H:%M UTC").to_string()
}

/// It is over.
pub(super) fn well_again(after_s: f64, revoked: bool) -> String {
    let trust = if revoked { "; it has to earn trust anew" } else { "" };
    format!("it was degraded for {}{trust}", duration(after_s))
}

/// A rollback stopped half way, and what runs degrades.
pub(super) fn degrades_after_stop(since: Timestamp) -> String {
    format!(
        "since {}, after its rollback stopped half way; nothing is done until a person says so",
        time(since)
    )
}

/// The same, and what runs is well.
pub(super) fn well_after_stop(after_s: f64) -> String {
    format!(
        "what runs since the rollback stopped half way was degraded for {}; the rest of it is left as it is",
        duration(after_s)
    )
}

/// Why it is left as it is.
pub(super) fn stays(stays: Stays) -> &'static str {
    match stays {
        Stays::OnlyAlerts => "late = \"alert\"",
        Stays::VouchedFor => "a person vouched for it",
        Stays::TooOld => "it runs for more than 24 hours",
        Stays::NotReplaced => "the release that it replaced is nothing to go back to",
        Stays::NobodyVouches => "no two apps beside it are well, so that it may be anything",
        Stays::CalledOff => "its rollback was called off three times",
    }
}

/// What ran before failed as much.
pub(super) fn degraded_before(threshold: &str, by: &str, share_then: Option<f64>) -> String {
    let then = share_then.map_or_else(String::new, |then| format!(" ({})", share(then)));
    format!(
        "{threshold}: {by}, which ran before it, was degraded as much{then} when it came: that is not this \
         release"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        format!("2026-03-01T{text}:30Z").parse().unwrap()
    }

    /// As docs/operating.md has it.
    #[test]
    fn it_says_since_when_what_follows_who_is_beside_it_and_what_changed() {
        let deployed = Changed::Deployed { app: "pay".into(), label: "v12".to_owned() };
        let mut late = Degradation {
            since: at("14:02"),
            changes: vec![
                Change { at: at("13:58"), what: Changed::Secrets },
                Change { at: at("13:40"), what: deployed },
            ],
            with: Vec::new(),
            well: 3,
            revoked: true,
            stays: Some(Stays::OnlyAlerts),
        };
        let docs = include_str!("../../../docs/operating.md").replace('\n', " ");
        assert!(docs.contains(&degrades(&late)), "{}", degrades(&late));
        let all = [
            Stays::OnlyAlerts,
            Stays::VouchedFor,
            Stays::TooOld,
            Stays::NotReplaced,
            Stays::NobodyVouches,
            Stays::CalledOff,
        ];
        for one in all {
            assert!(docs.contains(&format!("`{}`", stays(one))) || one == Stays::OnlyAlerts);
        }
        late.stays = None;
        late.with = vec!["blog".into(), "pay".into()];
        (late.well, late.revoked, late.changes) = (1, false, Vec::new());
        assert_eq!(
            degrades(&late),
            "since 14:02 UTC, after it was trusted; it is undone; blog, pay degrade with it; \
             1 app beside it well; nothing is known to have changed"
        );
    }
}
