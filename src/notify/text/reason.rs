//! Why something happened, as a phrase that can stand after a colon.

mod lists;

use self::lists::{left, mix, names};
use super::{countdown, drift, late, report};
use crate::{
    model::{
        Ailment, Alone, HoldReason, MirrorTrouble, NotFed, Obstacle, OperatorHold, Reason, Signed,
        SourceName, Tally, Unknown,
        reason::{TokenLack, Unseen},
    },
    numbers::{cut, duration, share, share_limit, whole},
    threshold::{ailment, remark},
};

/// What keeps an image from the mirror, and what helps.
fn not_mirrored(mirror: &str, trouble: MirrorTrouble, detail: &str) -> String {
    let remedy = match trouble {
        MirrorTrouble::SourceGone => {
            "its own registry has lost it, and only a new deploy brings it back"
        }
        MirrorTrouble::SourceRefused => "check that FLY_API_TOKEN may read the app's images",
        MirrorTrouble::NotAllowed => {
            "set WAVEOFF_MIRROR_USER and WAVEOFF_MIRROR_TOKEN to an account that may push there"
        }
        MirrorTrouble::NoRepository => "create the repository, or check its name in `mirror`",
        MirrorTrouble::Refused => "check `mirror` and what that registry takes",
        MirrorTrouble::NoAnswer => "it is tried again, at least once an hour",
    };
    // The remedy has to be read, however long the registry's own words are.
    format!("{}: {remedy} ({})", cut(mirror, 90), cut(detail, 120))
}

/// The phrase for a reason.
#[expect(clippy::too_many_lines, reason = "one arm for each")]
pub fn reason(reason: &Reason) -> String {
    match reason {
        Reason::FirstSeen => "first seen: it has to earn trust".to_owned(),
        Reason::RolledBackBefore => {
            "this image was rolled back before: it is watched without a warm-up".to_owned()
        }
        Reason::OnlyBaked => {
            "seen healthy for its whole bake, and too few requests to say so too: \
                              after a failure of everything it is gone back to"
                .to_owned()
        }
        Reason::RequestsMissing { threshold, missing } => format!(
            "seen healthy for its whole bake, and too few requests to say so too: some {} more are \
             needed ({threshold}); after a failure of everything it is gone back to",
            whole(*missing)
        ),
        Reason::NothingProtects { obstacle } => format!(
            "nothing of this app is trusted or baked yet, so a bad release would not be undone: {}",
            self::obstacle(obstacle)
        ),
        Reason::OnlyAlerts { thresholds } => {
            format!("{} only alerts: nothing is done", thresholds.join(", "))
        }
        Reason::AlertsOver { thresholds, after_s } => {
            let (names, lasted) = (thresholds.join(", "), duration(*after_s));
            format!("{names} within its limit again, after {lasted}; it only alerts")
        }
        Reason::AlertsGone { thresholds } => {
            let names = thresholds.join(", ");
            format!("{names} is told of no more: the policy has no such threshold that only alerts")
        }
        Reason::DegradesLate { late } => late::degrades(late),
        Reason::WellAgain { after_s, revoked } => late::well_again(*after_s, *revoked),
        Reason::DegradesAfterStop { since } => late::degrades_after_stop(*since),
        Reason::WellAfterStop { after_s } => late::well_after_stop(*after_s),
        Reason::TrustedAgain => "it degraded after it was trusted, and is trusted again".to_owned(),
        Reason::FailsAlone { threshold, alone } => fails_alone(threshold, alone),
        Reason::ObservesOnly => "observe mode: nothing is done".to_owned(),
        Reason::CountsDown { seconds, together, unvouched, passed_before } => {
            let why = countdown::why(together, *unvouched, *passed_before);
            format!("in {seconds} s{why}")
        }
        Reason::AwaitsApproval { until } => format!(
            "it waits for a yes until {}, and without one nothing is done",
            until.strftime("%Y-%m-%d %H:%M UTC")
        ),
        Reason::ApprovedBy { by } => signed("approved", by),
        Reason::OrderedBy { by } => signed("ordered", by),
        Reason::ResumedBy { by } => signed("let go on", by),
        Reason::VouchedBy { by } => signed("vouched for", by),
        Reason::Pinned { by } => format!(
            "{}; it is what is gone back to, whatever is trusted later",
            signed("pinned", by)
        ),
        Reason::Unpinned { by } => signed("unpinned", by),
        Reason::QuarantinedBy { by } => format!(
            "{}; a redeploy is watched without a warm-up, and it is never gone back to",
            signed("quarantined", by)
        ),
        Reason::UnquarantinedBy { by } => signed("taken out of quarantine", by),
        Reason::VetoedBy { by } => {
            format!("{}; it is not rolled back by itself", signed("vetoed", by))
        }
        Reason::RegistrySilent { detail } => {
            format!("the registry cannot say whether the image exists: {detail}")
        }
        Reason::Recovered => "the release recovered".to_owned(),
        Reason::CountdownCancelled { cause } => match &**cause {
            // It is not rolled back: that stands before it.
            Reason::VetoedBy { by } => signed("vetoed", by),
            cause => self::reason(cause),
        },
        Reason::NotSeen { what } => unseen(*what).to_owned(),
        Reason::NotSeenLately => "it has to be looked at again first".to_owned(),
        Reason::NewerRelease { label } => format!("a newer release wins: {label}"),
        Reason::NobodyRunsIt => "no machine runs this release any more".to_owned(),
        Reason::NothingLeft => "nothing is left to undo: no machine runs this image".to_owned(),
        Reason::ImageGone { image, mirror: None } => {
            format!("{image} is not in the registry any more")
        }
        Reason::ImageGone { image, mirror: Some(mirror) } => {
            format!("{image} is not in the registry any more; its copy {mirror} is used instead")
        }
        Reason::NotMirrored { mirror, trouble, detail } => not_mirrored(mirror, *trouble, detail),
        Reason::RunsAgain { machines, put_right } => {
            let then = if *put_right { "it is put right" } else { "nothing is done" };
            format!("the image that was rolled back runs again on {}: {then}", names(machines))
        }
        Reason::SetByHand { machines } => format!(
            "somebody set {} to the image that was rolled back: left as it is",
            names(machines)
        ),
        Reason::RegionWell { region, shown, watched_s, on, nothing_breached } => {
            let on = on.as_deref().unwrap_or("the known-good release");
            let seen = duration(*watched_s);
            match shown {
                Some(shown) => format!("{region} is well on {on}: {}", report::shown(shown)),
                // Requests were not what spoke against it.
                None if *nothing_breached => {
                    format!("{region} runs {on}; its checks and exits were well for {seen}")
                }
                None => format!(
                    "{region} is well on {on}, as far as checks and exits tell in {seen}: there \
                     are too few requests"
                ),
            }
        }
        Reason::RegionRests { region } => {
            format!("{region} is done, and went to rest: it serves nobody, and shows nothing")
        }
        Reason::Waits { wait } => report::wait(wait),
        Reason::WaitOver { was } => format!("was waiting: {}", report::wait(was)),
        Reason::NoProgress { minutes, wait } => format!(
            "it has come no further for {minutes} minutes and is tried on: {}",
            report::wait(wait)
        ),
        Reason::QuarantinedServes { machines } => {
            format!("an image that was rolled back serves on {}", names(machines))
        }
        Reason::MixedImages { images } => {
            format!("machines of one group run different images: {}", mix(images))
        }
        Reason::UnwatchedImages { images } => format!(
            "other groups run images of their own under the same number, and nothing watches \
             those: {}",
            mix(images)
        ),
        Reason::PlatformUnreadable { detail } => format!("the platform cannot be read: {detail}"),
        Reason::PlatformReadable { was } => format!("the platform can be read again (was: {was})"),
        Reason::MetricsUnreadable { detail } => {
            format!("no machine's metrics can be read: {detail}")
        }
        Reason::MetricsReadable => "metrics can be read again".to_owned(),
        Reason::ProbesUnanswered { detail } => {
            format!("no machine can be reached with a probe: {detail}")
        }
        Reason::ProbesAnswered => "machines can be reached with probes again".to_owned(),
        Reason::ServerUnreadable { server, detail } => {
            format!("nothing can be read from {}: {detail}", server_name(server))
        }
        Reason::ServerReadable { server } => {
            format!("{} can be read again", server_name(server))
        }
        Reason::Unjudgeable { threshold, source, note } => {
            format!("threshold {threshold:?} judges nothing: {}", remark(note, source))
        }
        Reason::Judgeable { threshold } => format!("threshold {threshold:?} judges again"),
        Reason::NoRequests { threshold, seconds: None } => format!(
            "{threshold}: not one request was counted since it came, so that nobody knows how it serves them"
        ),
        Reason::NoRequests { threshold, seconds: Some(seconds) } => format!(
            "{threshold}: no request was counted for {}, so that nobody knows how it serves them",
            duration(f64::from(u32::try_from(*seconds).unwrap_or(u32::MAX)))
        ),
        Reason::Unmatched { threshold, source } => format!(
            "threshold {threshold:?} judges nothing: {source} matches no series on any machine of \
             the release"
        ),
        Reason::Held { hold } => self::hold(hold),
        Reason::HoldOver { was } => report::over(was),
        Reason::HoldLifted { was, by } => signed(&format!("{}; ended", report::over(was)), by),
        Reason::NoCommandSeen => report::NO_COMMAND_SEEN.to_owned(),
        Reason::LimitRaised { threshold, raised } => format!(
            "{threshold}: limit {}, raised to {}: {} ran at {}. A limit that is never met says nothing; write \
             the one that is meant, or floor = false",
            share_limit(raised.from),
            share_limit(raised.to),
            raised.by,
            share(raised.share)
        ),
        Reason::RegistryAnswers => "the registry answers again".to_owned(),
        Reason::LedgerStaysOpen { release } => {
            format!("our release {release} cannot be closed in the ledger: close it by hand")
        }
        Reason::MachineFailed { machine, region, failure } => {
            format!("{machine} in {region}: {}", report::failure(failure))
        }
        Reason::LeftBehind { machines } => {
            format!("not on the known-good image: {}", left(machines))
        }
        Reason::StateUnreadable { .. }
        | Reason::StateReadable
        | Reason::TokenRefused { .. }
        | Reason::TokenLacks { .. }
        | Reason::TokenSuffices
        | Reason::ClockDiffers { .. }
        | Reason::ClockRight
        | Reason::JournalUnopened { .. }
        | Reason::JournalUnwritable { .. }
        | Reason::JournalWritable
        | Reason::NoAppMatches { .. }
        | Reason::OutboxCrowded { .. } => of_the_daemon(reason).unwrap_or_default(),
        Reason::Told { text } => text.clone(),
    }
}

/// The phrase for what concerns the daemon itself; `None` for all other reasons.
fn of_the_daemon(reason: &Reason) -> Option<String> {
    let text = match reason {
        Reason::StateUnreadable { detail } => format!("its stored state cannot be read: {detail}"),
        Reason::StateReadable => "its stored state can be read again".to_owned(),
        Reason::TokenRefused { detail } => format!(
            "the platform refuses the token ({detail}); make one with `fly tokens create org` and \
             set it with `fly secrets set FLY_API_TOKEN=…`"
        ),
        Reason::TokenLacks { lacks } => {
            // The slug may be misspelt as well.
            let other = lacks.iter().any(|one| matches!(one, TokenLack::Organization { .. }));
            let slug = if other { "write the slug as it is (`organization`), or " } else { "" };
            let lacks: Vec<String> = lacks.iter().map(lack).collect();
            format!(
                "{}; {slug}make one for the whole organization with `fly tokens create org`",
                lacks.join("; ")
            )
        }
        Reason::TokenSuffices => "it reaches the whole organization again".to_owned(),
        Reason::ClockDiffers { platform_ahead_s } => {
            let by = duration(platform_ahead_s.unsigned_abs() as f64);
            let side = if *platform_ahead_s < 0 { "ahead of" } else { "behind" };
            format!(
                "it is {by} {side} the platform's, which is used instead; set the host's clock right"
            )
        }
        Reason::ClockRight => "it agrees with the platform's".to_owned(),
        Reason::JournalUnopened { detail } => {
            format!("the journal cannot be opened, and nothing is watched until it can: {detail}")
        }
        Reason::JournalUnwritable { detail } => {
            format!("{detail}; it is tried again, and nothing is lost that was written")
        }
        Reason::JournalWritable => "the journal can be written again".to_owned(),
        Reason::NoAppMatches { policy, pattern } => {
            format!(
                "the pattern \"{pattern}\" of policy {policy} matches no app of the organization"
            )
        }
        Reason::OutboxCrowded { receiver, messages } => format!(
            "{messages} messages for {receiver} were given up, the oldest of the least important \
             first, because more were waiting than there is room for"
        ),
        _ => return None,
    };
    Some(text)
}

/// A machine that is left out of what is judged.
fn fails_alone(threshold: &str, alone: &Alone) -> String {
    let Alone { machine, region, counted, rest, .. } = alone;
    let of = |one: &Tally| {
        let all = share(one.share().unwrap_or_default());
        format!("{all} ({} of {})", whole(one.k), whole(one.n))
    };
    let says = match &alone.ailment {
        Ailment::Counts => {
            format!("{threshold} {}, those beside it {}", of(counted), of(rest))
        }
        Ailment::Checks(_) | Ailment::Exits(_) => format!(
            "{}, and {} others of its group are well ({threshold})",
            ailment(alone),
            whole(alone.beside)
        ),
    };
    format!(
        "{machine} in {region}: {says}. It is left out, and nothing is undone; if a restart does not help, \
         replace it: its host may be to blame"
    )
}

/// A metrics server as people know it.
fn server_name(server: &str) -> String {
    if server == "fly" {
        "Fly's managed Prometheus (`fly`)".to_owned()
    } else {
        format!("the metrics server `{server}`")
    }
}

/// The phrase for why nothing is done.
pub fn hold(reason: &HoldReason) -> String {
    match reason {
        HoldReason::ObserveMode => "the policy only observes (mode = \"observe\")".to_owned(),
        HoldReason::Operator { hold } => operator(hold),
        HoldReason::NothingTrusted => {
            "no release of this app is trusted yet: there is nothing to go back to".to_owned()
        }
        HoldReason::NotSeenInGroup { group, release } => format!(
            "{release}, the newest known-good release, never ran in group {group}, and no other one \
             ran in all groups concerned: there is nothing to go back to"
        ),
        HoldReason::OnlyBaked => "only a baked release is there to go back to (its requests did \
                                  not say enough), and not everything fails"
            .to_owned(),
        HoldReason::SameImage { drift } => format!(
            "the image is that of the known-good release, so an image rollback cannot help: {}",
            drift::instead(drift.as_ref())
        ),
        HoldReason::ContainersStay { containers } => report::containers_stay(containers),
        HoldReason::Migrations => "the release ran a release_command (migrations); allow it with \
                                   migrations = \"rollback\""
            .to_owned(),
        HoldReason::MigrationsSince { version } => format!(
            "{version}, which came after the known-good release, ran a release_command \
             (migrations); allow it with migrations = \"rollback\""
        ),
        HoldReason::MigrationsUnknown => "the release ledger has not told yet whether the release \
                                          ran a release_command (migrations); allow it with \
                                          migrations = \"rollback\""
            .to_owned(),
        HoldReason::DailyBudget { max } => {
            format!("the budget of {max} rollbacks in 24 hours is used up")
        }
        HoldReason::OrganizationBudget { max } => {
            format!("the budget of {max} rollbacks of all apps in 24 hours is used up")
        }
        HoldReason::Frozen { reason, until } => format!(
            "nothing is rolled back by itself until {}: {reason}",
            until.strftime("%Y-%m-%d %H:%M UTC")
        ),
        HoldReason::Late { stays } => late::stays(*stays).to_owned(),
        HoldReason::DegradedBefore { threshold, by, share } => {
            late::degraded_before(threshold, by, *share)
        }
        HoldReason::Vetoed { by } => signed("vetoed", by),
        HoldReason::PutByHand { by } => {
            format!(
                "{}: what it shows is told, and nothing is done about it",
                signed("put back", by)
            )
        }
        HoldReason::NotApproved => "nobody approved the rollback in time".to_owned(),
        HoldReason::AlreadyRolledBack => "this release was rolled back once already".to_owned(),
        HoldReason::ControlToo { threshold, control } => format!(
            "{threshold}: the machines that still run the known-good release fail as well ({} of \
             {}): that is not this release",
            whole(control.k),
            whole(control.n)
        ),
        HoldReason::PlatformIncident { region, apps } => format!(
            "{apps} other apps degraded in {region} at the same time: that looks like the \
             platform, not this release"
        ),
        HoldReason::ImagesMissing => {
            "no trusted release's image is left in the registry".to_owned()
        }
        HoldReason::RegistryUnavailable { detail } => {
            format!("the registry cannot say whether the image exists: {detail}")
        }
        HoldReason::NoImprovement { region, detail } => {
            format!(
                "{region} did not improve on the known-good release: {}",
                report::unwell(detail)
            )
        }
        HoldReason::NoFreshBreach => "the rollback was paused for long, and the release does not \
                                      show its breach again: it goes on when it does"
            .to_owned(),
        HoldReason::NotWatched => "no policy names this app any more".to_owned(),
    }
}

fn lack(lack: &TokenLack) -> String {
    match lack {
        TokenLack::Refused { detail } => format!("it is refused: {detail}"),
        TokenLack::Organization { wanted, has } => {
            format!("it is of {}, not of {wanted}", has.join(", "))
        }
        TokenLack::OtherApps { has } => format!("it reaches only {}", has.join(", ")),
        TokenLack::OneMachine { machine } => format!("it works on machine {machine} only"),
    }
}

/// Why nothing is known of what a threshold looks at, and what helps.
pub fn unknown(unknown: &Unknown) -> String {
    match unknown {
        Unknown::PlatformDown => "the platform cannot be read".to_owned(),
        Unknown::MonitorDown { source: SourceName::Pages } => {
            "no metrics page can be read".to_owned()
        }
        Unknown::MonitorDown { source: SourceName::Probes } => {
            "no machine can be reached with a probe".to_owned()
        }
        Unknown::MonitorDown { source } => {
            format!("nothing can be read from {}", server_name(source.as_str()))
        }
        Unknown::NotFed(NotFed::NoSeries) => {
            "does not apply: no machine has such a series or takes requests".to_owned()
        }
        Unknown::NotFed(NotFed::NoPage) => {
            "does not apply: the machines have no metrics page".to_owned()
        }
        Unknown::NoSeries => {
            "its selector matches no series on any machine: `waveoff check --live` shows what is there".to_owned()
        }
        Unknown::NoBucket => {
            "no bucket ends at the limit or above: `waveoff check --live` names the last one".to_owned()
        }
        Unknown::NoLabel { label } => format!(
            "no series has the label `{label}`: `waveoff check --live` shows which they have"
        ),
        Unknown::Refused => "the metrics server does not take the expression".to_owned(),
        Unknown::Contradiction => "its numbers contradict themselves".to_owned(),
        Unknown::NeverExercised => {
            "never exercised: nothing was counted since the release came".to_owned()
        }
        Unknown::NoTraffic { since } => {
            format!("no traffic since {}", since.strftime("%H:%M:%S UTC"))
        }
        Unknown::NoValue { since: Some(since) } => {
            format!("no value since {}", since.strftime("%H:%M:%S UTC"))
        }
        Unknown::NoValue { since: None } => "no value yet".to_owned(),
        Unknown::NothingStarted => "no machine of the release is started".to_owned(),
        Unknown::NoChecks => "the machines have no health checks".to_owned(),
        Unknown::NoFreshResult => "no check has a fresh result yet".to_owned(),
    }
}

/// Why a release earns nothing just now.
pub fn obstacle(obstacle: &Obstacle) -> String {
    match obstacle {
        Obstacle::NotSettled => "its deploy is not over".to_owned(),
        Obstacle::NothingUp => "none of its machines is started".to_owned(),
        Obstacle::Unread { machines, of } => {
            format!("the metrics of {machines} of its {of} started machines cannot be read")
        }
        Obstacle::SourceSilent { source: SourceName::Probes } => {
            "no machine can be reached with a probe".to_owned()
        }
        Obstacle::SourceSilent { source } => {
            format!("nothing can be read from {}", server_name(source.as_str()))
        }
        Obstacle::SickRegion { region, threshold } => {
            format!("{region} fails most of its requests by itself ({threshold})")
        }
        Obstacle::Breaches { threshold } => format!("{threshold} is breached"),
        Obstacle::Undecided { threshold } => format!("{threshold} has nothing to say yet"),
        Obstacle::NotSeenLongEnough { seen_s, bake_s } => {
            format!("seen healthy for {} of {}", duration(*seen_s), duration(*bake_s))
        }
    }
}

/// `ordered by dana: the checkout fails`.
pub(super) fn signed(what: &str, by: &Signed) -> String {
    let why = if by.reason.is_empty() { String::new() } else { format!(": {}", by.reason) };
    format!("{what} by {}{why}", by.by)
}

fn operator(hold: &OperatorHold) -> String {
    let until = match hold.until {
        Some(until) => format!(" until {}", until.strftime("%Y-%m-%d %H:%M UTC")),
        None => String::new(),
    };
    format!("held by {}{until}: {}", hold.by, hold.reason)
}

pub(super) fn unseen(what: Unseen) -> &'static str {
    match what {
        Unseen::Platform => "the platform cannot be read",
        Unseen::Metrics => "the metrics cannot be read",
        Unseen::RegionsPages => "none of its pages can be read",
    }
}
