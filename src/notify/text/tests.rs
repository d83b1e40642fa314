//! What people read, for every kind of event.

use super::*;
use crate::model::{
    Ailment, Alone, AppName, Exits, Kind, MachineFailure, MachineReport, MirrorTrouble, Note,
    Obstacle, OperatorHold, Reason, RegionStage, ReleaseVersion, Signed, Tally, Trouble, Troubled,
    Unit, Wait,
};

fn release(version: u64) -> ReleaseInfo {
    ReleaseInfo {
        version: Some(ReleaseVersion(version)),
        tag: Some(format!("deployment-{version}")),
        digest: "sha256:0123456789abcdef0123".into(),
        author: Some("dana@example.com".to_owned()),
        created_at: None,
    }
}

fn measured(name: &str, kind: Kind, unit: Unit, verdict: Verdict) -> Evidence {
    Evidence {
        threshold: name.to_owned(),
        kind,
        unit,
        verdict,
        value: Some(37.0 / 410.0),
        limit: 0.02,
        source: "jobs_failed_total".to_owned(),
        bad: 37.0,
        total: 410.0,
        lately: None,
        ln_odds: Some(9.3927),
        ln_odds_needed: Some(8.3),
        blocks: 3,
        last_blocks: Vec::new(),
        control: None,
        note: None,
        may_roll_back: true,
        applies: true,
        raised: None,
        unseen: false,
    }
}

fn region(name: &str, phase: RegionStage, machines: &[(&str, MachineReport)]) -> RegionReport {
    RegionReport {
        region: name.into(),
        phase,
        machines: machines.iter().map(|(id, state)| ((*id).into(), state.clone())).collect(),
    }
}

fn of_the_daemon(kind: EventKind) -> Event {
    let mut event = Event::new(kind, "2026-03-01T02:03:04Z".parse().unwrap(), None);
    let text = "what was seen, and what to do about it".to_owned();
    event.reason = Some(Reason::Told { text });
    event
}

/// An event of this kind with what such events carry.
#[expect(clippy::too_many_lines, reason = "one short arm for each kind")]
fn event(kind: EventKind) -> Event {
    let at = "2026-03-01T02:03:04Z".parse().unwrap();
    let mut event = Event::new(kind, at, Some(AppName::new("api")));
    event.release = Some(release(42));
    event.known_good = Some(release(41));
    let mut errors = measured("5xx", Kind::Ratio, Unit::Requests, Verdict::Breach);
    errors.control = Some((5.0, 1250.0));
    let errors = vec![errors];
    match kind {
        EventKind::ReleaseDetected => {}
        EventKind::ReleaseTrusted => {
            let mut calm = measured("5xx", Kind::Ratio, Unit::Requests, Verdict::Pass);
            (calm.value, calm.bad, calm.total) = (Some(0.0002), 12.0, 60_000.0);
            calm.ln_odds = Some(-40.0);
            event.evidence = vec![calm];
            event.after_s = Some(612.0);
        }
        EventKind::ReleaseBaked => {
            event.after_s = Some(672.0);
            event.reason = Some(Reason::OnlyBaked);
        }
        EventKind::OperatorOrder => {
            let (by, reason) = ("dana".to_owned(), "the sale is on".to_owned());
            event.reason = Some(Reason::VetoedBy { by: Signed { by, reason, at } });
        }
        EventKind::ReleaseUntrusted => {
            let obstacle = Obstacle::Unread { machines: 2, of: 6 };
            event.reason = Some(Reason::NothingProtects { obstacle });
        }
        EventKind::ReleaseDegraded => {
            event.evidence = errors;
            event.after_s = Some(14.0);
        }
        EventKind::ReleaseRecovered => {
            event.reason = Some(Reason::WellAgain { after_s: 1260.0, revoked: true });
        }
        EventKind::MachineSuspect => {
            let alone = Alone {
                machine: "148e".into(),
                region: "iad".into(),
                counted: Tally { n: 1000.0, k: 310.0 },
                beside: 5.0,
                rest: Tally { n: 5000.0, k: 25.0 },
                ailment: Ailment::Counts,
            };
            event.reason = Some(Reason::FailsAlone { threshold: "5xx".to_owned(), alone });
        }
        EventKind::RollbackPlanned => {
            event.mode = Some(Mode::Observe);
            event.evidence = errors;
        }
        EventKind::RollbackStarted => {
            event.evidence = errors;
            event.regions = vec![
                region("iad", RegionStage::RollingBack, &[]),
                region("syd", RegionStage::Waiting, &[]),
            ];
        }
        EventKind::RollbackRegionConfirmed => {
            event.evidence = errors;
            event.after_s = Some(48.0);
            event.regions = vec![
                region("iad", RegionStage::Confirmed, &[]),
                region("lhr", RegionStage::Confirmed, &[]),
                region("syd", RegionStage::Waiting, &[]),
            ];
        }
        EventKind::RollbackCompleted => {
            event.evidence = errors;
            event.after_s = Some(93.0);
            event.regions = vec![
                region(
                    "iad",
                    RegionStage::Confirmed,
                    &[
                        ("148e", MachineReport::OnTarget { at_rest: false }),
                        ("9081", MachineReport::HostUnreachable),
                    ],
                ),
                region("syd", RegionStage::Confirmed, &[]),
            ];
        }
        EventKind::RollbackPaused | EventKind::RollbackResumed => {
            let owner = "ci@example.com".to_owned();
            let wait = Wait::Lease { machine: "148e".into(), owner: owner.clone() };
            event.reason = Some(if kind == EventKind::RollbackPaused {
                Reason::Waits { wait }
            } else {
                Reason::WaitOver { was: wait }
            });
            let leased = MachineReport::LeasedBy { owner };
            event.regions = vec![region("iad", RegionStage::RollingBack, &[("148e", leased)])];
        }
        EventKind::RollbackStopped => {
            event.reason =
                Some(Reason::Told { text: "v43 was deployed by somebody else".to_owned() });
            event.regions = vec![
                region("iad", RegionStage::Confirmed, &[]),
                region("syd", RegionStage::RollingBack, &[]),
            ];
        }
        EventKind::RollbackFailed => {
            event.reason = Some(Reason::Told { text: "iad did not get better on v41.".to_owned() });
            event.after_s = Some(200.0);
            event.regions = vec![
                region(
                    "iad",
                    RegionStage::RollingBack,
                    &[("148e", MachineReport::Failed { failure: MachineFailure::StaysDown })],
                ),
                region("syd", RegionStage::Skipped, &[]),
            ];
        }
        EventKind::HoldPlaced => {
            event.reason = Some(Reason::Told { text: "v42 ran migrations".to_owned() });
            event.evidence = errors;
        }
        EventKind::HoldCleared => {
            event.reason = Some(Reason::Told { text: "released by an operator".to_owned() });
        }
        EventKind::MonitorBlind => {
            event.reason =
                Some(Reason::Told { text: "no metrics page could be read for 60 s".to_owned() });
        }
        EventKind::MonitorRecovered => event.after_s = Some(185.0),
        EventKind::ImageMissing => {
            event.reason =
                Some(Reason::Told { text: "registry.fly.io has no such manifest".to_owned() });
        }
        EventKind::ImageNotMirrored => {
            event.reason = Some(Reason::NotMirrored {
                mirror: "ghcr.io/acme/api@sha256:0123456789abcdef".to_owned(),
                trouble: MirrorTrouble::NotAllowed,
                detail: "not allowed: POST /v2/acme/api/blobs/uploads/ answered 403".to_owned(),
            });
        }
        EventKind::ImageMixed => {
            event.regions = vec![region(
                "iad",
                RegionStage::Waiting,
                &[("148e", MachineReport::Waiting), ("9081", MachineReport::Gone)],
            )];
        }
        EventKind::MonitorClock
        | EventKind::MonitorToken
        | EventKind::MonitorJournal
        | EventKind::MonitorOutbox
        | EventKind::ConfigWarning => return of_the_daemon(kind),
        EventKind::ConfigRejected | EventKind::ConfigReloaded => {
            (event.app, event.release, event.known_good) = (None, None, None);
            event.reason =
                Some(Reason::Told { text: "thresholds/web.toml:3: unknown key `maks`".to_owned() });
        }
    }
    event
}

#[test]
fn what_is_over_says_what_it_was() {
    let at = "2026-03-01T02:03:04Z".parse().unwrap();
    let hold = OperatorHold { by: "dana".into(), reason: "a sale".into(), since: at, until: None };
    let over = |was: HoldReason| {
        let mut event = Event::new(EventKind::HoldCleared, at, Some("api".into()));
        event.reason = Some(Reason::HoldOver { was });
        sentence(&event)
    };
    assert_eq!(
        over(HoldReason::Operator { hold }),
        "api: no longer held: it was held by dana: a sale."
    );
    let mut event = Event::new(EventKind::HoldCleared, at, Some("api".into()));
    let was = HoldReason::Operator {
        hold: OperatorHold { by: "dana".into(), reason: "a sale".into(), since: at, until: None },
    };
    let by = Signed { by: "lee".into(), reason: "all clear".into(), at };
    event.reason = Some(Reason::HoldLifted { was, by });
    let said = "api: no longer held: it was held by dana: a sale; ended by lee: all clear.";
    assert_eq!(sentence(&event), said);
    let observed = over(HoldReason::ObserveMode);
    assert!(observed.starts_with("api: no longer held: the reason was: "), "{observed}");
}

/// In a chat it is the only message of the breach: it says what would have been done, and why.
#[test]
fn what_is_only_observed_says_what_would_have_been_done() {
    let mut held = event(EventKind::HoldPlaced);
    held.reason = Some(HoldReason::ObserveMode.into());
    insta::assert_snapshot!(message(&held), @r#"
    api v42 → v41: would be rolled back, and is not: the policy only observes (mode = "observe"). 5xx 9.0 % (37 of 410 requests), limit 2 %, odds 12 000:1; v41 at the same time 0.4 % (5 of 1250).
    Go on: waveoff rollback api --to v41
    "#);
}

#[test]
fn every_kind_has_its_sentence() {
    let all: Vec<String> = EventKind::ALL
        .into_iter()
        .map(|kind| format!("{}\n  {}", kind.as_str(), sentence(&event(kind))))
        .collect();
    insta::assert_snapshot!(all.join("\n"), @r#"
    release.detected
      api v42: new release by dana@example.com (deployment-42), judged against v41.
    release.trusted
      api v42: trusted after 10 min: 5xx 0.02 % (12 of 60 000 requests), limit 2 %.
    release.baked
      api v42: baked after 11 min: seen healthy for its whole bake, and too few requests to say so too: after a failure of everything it is gone back to.
    release.untrusted
      api v42: not protected: nothing of this app is trusted or baked yet, so a bad release would not be undone: the metrics of 2 of its 6 started machines cannot be read.
    release.degraded
      api v42: degraded after 14 s: 5xx 9.0 % (37 of 410 requests), limit 2 %, odds 12 000:1; v41 at the same time 0.4 % (5 of 1250).
    release.recovered
      api v42: well again: it was degraded for 21 min; it has to earn trust anew.
    machine.suspect
      api v42: one of its machines fails alone: 148e in iad: 5xx 31.0 % (310 of 1000), those beside it 0.5 % (25 of 5000). It is left out, and nothing is undone; if a restart does not help, replace it: its host may be to blame.
    rollback.planned
      api v42 → v41: would be rolled back (observing only): 5xx 9.0 % (37 of 410 requests), limit 2 %, odds 12 000:1; v41 at the same time 0.4 % (5 of 1250).
    rollback.started
      api v42 → v41: 5xx 9.0 % (37 of 410 requests), limit 2 %, odds 12 000:1; v41 at the same time 0.4 % (5 of 1250). iad rolling back; syd next.
    rollback.paused
      api v42 → v41: rollback paused: 148e is leased by ci@example.com. iad rolling back. Not on target: 148e in iad (leased by ci@example.com).
    rollback.resumed
      api v42 → v41: rollback goes on: was waiting: 148e is leased by ci@example.com. iad rolling back. Not on target: 148e in iad (leased by ci@example.com).
    rollback.region_confirmed
      api v42 → v41: 5xx 9.0 % (37 of 410 requests), limit 2 %, odds 12 000:1; v41 at the same time 0.4 % (5 of 1250). iad, lhr done in 48 s; syd next.
    rollback.completed
      api v42 → v41: rolled back in 93 s: 5xx 9.0 % (37 of 410 requests), limit 2 %, odds 12 000:1; v41 at the same time 0.4 % (5 of 1250). iad, syd done. Not on target: 9081 in iad (host unreachable).
    rollback.stopped
      api v42 → v41: rollback stopped: v43 was deployed by somebody else. iad done; syd rolling back.
    rollback.failed
      api v42 → v41: rollback failed after 3 min: iad did not get better on v41. iad rolling back; syd skipped. Not on target: 148e in iad (failed: the rollback took it down, and it does not start: start it by hand).
    hold.placed
      api v42: held, nothing will be rolled back: v42 ran migrations. 5xx 9.0 % (37 of 410 requests), limit 2 %, odds 12 000:1; v41 at the same time 0.4 % (5 of 1250).
    hold.cleared
      api v42: no longer held: released by an operator.
    operator.order
      api v42: vetoed by dana: the sale is on; it is not rolled back by itself.
    monitor.blind
      api v42: cannot see how it is, nothing is decided meanwhile: no metrics page could be read for 60 s.
    monitor.recovered
      api v42: can be seen again after 3 min.
    monitor.clock
      waveoff: the clock of its host is wrong: what was seen, and what to do about it.
    monitor.token
      waveoff: the token cannot do all that is needed: what was seen, and what to do about it.
    monitor.journal
      waveoff: the journal cannot be written, nothing is decided meanwhile: what was seen, and what to do about it.
    monitor.outbox
      waveoff: messages were given up: what was seen, and what to do about it.
    image.missing
      api v42 → v41: the image to go back to is missing from its registry: registry.fly.io has no such manifest.
    image.not_mirrored
      api v42 → v41: not copied to the mirror: ghcr.io/acme/api@sha256:0123456789abcdef: set WAVEOFF_MIRROR_USER and WAVEOFF_MIRROR_TOKEN to an account that may push there (not allowed: POST /v2/acme/api/blobs/uploads/ answered 403).
    image.mixed
      api v42: its machines run different images. 148e in iad (waiting), 9081 in iad (gone).
    config.rejected
      waveoff: changed configuration refused, the old one stays in force: thresholds/web.toml:3: unknown key `maks`.
    config.reloaded
      waveoff: changed configuration in force: thresholds/web.toml:3: unknown key `maks`.
    config.warning
      waveoff: the configuration is in force and probably not what is meant: what was seen, and what to do about it.
    "#);
}

#[test]
fn every_kind_has_a_sentence_even_when_nothing_else_is_known() {
    let at = "2026-03-01T02:03:04Z".parse().unwrap();
    let all: Vec<String> =
        EventKind::ALL.into_iter().map(|kind| sentence(&Event::new(kind, at, None))).collect();
    insta::assert_snapshot!(all.join("\n"), @r#"
    waveoff: new release.
    waveoff: trusted.
    waveoff: baked.
    waveoff: not protected.
    waveoff: degraded.
    waveoff: well again.
    waveoff: one of its machines fails alone.
    waveoff: will be rolled back.
    waveoff: rolling back.
    waveoff: rollback paused.
    waveoff: rollback goes on.
    waveoff: region confirmed.
    waveoff: rolled back.
    waveoff: rollback stopped.
    waveoff: rollback failed.
    waveoff: held, nothing will be rolled back.
    waveoff: no longer held.
    waveoff: an operator's order was carried out.
    waveoff: cannot see how it is, nothing is decided meanwhile.
    waveoff: can be seen again.
    waveoff: the clock of its host is wrong.
    waveoff: the token cannot do all that is needed.
    waveoff: the journal cannot be written, nothing is decided meanwhile.
    waveoff: messages were given up.
    waveoff: the image to go back to is missing from its registry.
    waveoff: not copied to the mirror.
    waveoff: its machines run different images.
    waveoff: changed configuration refused, the old one stays in force.
    waveoff: changed configuration in force.
    waveoff: the configuration is in force and probably not what is meant.
    "#);
}

#[test]
fn every_kind_of_threshold_is_told_in_its_own_units() {
    let slower = Unit::SlowerThan(0.5);
    let mut latency = measured("p95", Kind::Latency, slower, Verdict::Breach);
    (latency.value, latency.bad, latency.limit) = (Some(0.18), 74.0, 0.05);
    let mut gauge = measured("memory", Kind::Gauge, Unit::Bytes, Verdict::Breach);
    (gauge.value, gauge.limit) = (Some(412_000_000.0), 4e8);
    (gauge.bad, gauge.total, gauge.ln_odds) = (2.0, 3.0, None);
    let mut age = gauge.clone();
    (age.unit, age.value, age.limit) = (Unit::Seconds, Some(93.5), 90.0);
    let mut depth = gauge.clone();
    (depth.unit, depth.value, depth.limit) = (Unit::Plain, Some(12_345.0), 1e4);
    let mut checks = measured("checks", Kind::Checks, Unit::Machines, Verdict::Breach);
    (checks.value, checks.limit, checks.bad, checks.total) = (Some(0.66), 0.3, 2.0, 3.0);
    let trouble = Trouble::Failing { check: "http".to_owned(), times: 3 };
    let troubled = Troubled { machine: "m1".into(), trouble };
    (checks.ln_odds, checks.note) = (None, Some(Note::Troubled(vec![troubled])));
    let mut crashes = checks.clone();
    (crashes.kind, crashes.unit) = (Kind::Crashes, Unit::Exits);
    crashes.threshold = "crashes".to_owned();
    (crashes.value, crashes.limit) = (Some(3.0), 2.0);
    let ended = Exits { machine: "m1".into(), exits: 2, out_of_memory: true, ends: 0 };
    crashes.note = Some(Note::Exits(vec![ended]));
    let mut silent = measured("jobs", Kind::Ratio, Unit::Events, Verdict::Inconclusive);
    (silent.value, silent.ln_odds) = (None, None);
    silent.note = Some(Note::Unmatched);
    let jobs = measured("jobs", Kind::Ratio, Unit::Events, Verdict::Breach);

    let all: Vec<String> = [latency, gauge, age, depth, checks, crashes, silent, jobs]
        .iter()
        .map(|one| phrase(one, "v41"))
        .collect();
    insta::assert_snapshot!(all.join("\n"), @r#"
    p95 18.0 % slower than 500 ms (74 of 410 requests), limit 5 %, odds 12 000:1
    memory 412 MB on 2 of 3 machines, limit 400 MB
    memory 93.5 s on 2 of 3 machines, limit 90 s
    memory 12 345 on 2 of 3 machines, limit 10 000
    checks failing on 2 of 3 machines, limit 30 % (http failed 3 times in a row on m1)
    crashes on 2 of 3 machines, limit 2 exits each (m1 exited 2 times, out of memory, which has its own limit)
    jobs without data, limit 2 % (jobs_failed_total matches no series on any machine)
    jobs 9.0 % (37 of 410 events), limit 2 %, odds 12 000:1
    "#);
}

#[test]
fn the_breaching_thresholds_are_told_and_the_others_left_out() {
    let mut event = event(EventKind::ReleaseDegraded);
    event.evidence.push(measured("p95", Kind::Latency, Unit::SlowerThan(0.5), Verdict::Pass));
    assert!(!sentence(&event).contains("p95"));
}

#[test]
fn a_sentence_stays_short_whatever_an_event_holds() {
    let mut event = event(EventKind::RollbackFailed);
    event.reason = Some(Reason::Told { text: "x".repeat(100_000) });
    event.evidence = vec![event_with_long_names(); 500];
    let leased = MachineReport::LeasedBy { owner: "y".repeat(1000) };
    let ids: Vec<String> = (0..500).map(|n| format!("machine-{n}")).collect();
    let machines: Vec<(&str, MachineReport)> =
        ids.iter().map(|id| (id.as_str(), leased.clone())).collect();
    event.regions = vec![region("iad", RegionStage::RollingBack, &machines)];
    for kind in EventKind::ALL {
        event.kind = kind;
        let text = sentence(&event);
        assert!(text.chars().count() < 4000, "{kind:?}: {}", text.len());
    }
}

fn event_with_long_names() -> Evidence {
    let mut evidence = measured(&"n".repeat(10_000), Kind::Ratio, Unit::Requests, Verdict::Breach);
    let trouble = Trouble::Failing { check: "z".repeat(10_000), times: 3 };
    evidence.note = Some(Note::Troubled(vec![Troubled { machine: "m1".into(), trouble }]));
    evidence
}

#[test]
fn a_rollback_that_waits_for_its_breach_is_not_called_stopped() {
    let mut event = event(EventKind::RollbackCompleted);
    event.kind = EventKind::HoldPlaced;
    let said = |event: &Event| sentence(event);
    event.reason = Some(HoldReason::NoFreshBreach.into());
    let waits = said(&event);
    assert!(waits.contains("held, the rollback waits after "), "{waits}");
    assert!(waits.contains("it goes on when it does"), "{waits}");
    event.reason = Some(HoldReason::NotWatched.into());
    assert!(said(&event).contains("held, the rollback stopped"), "{}", said(&event));
}

#[test]
fn a_threshold_that_judges_nothing_does_not_stop_the_others() {
    let at = "2026-03-01T02:03:04Z".parse().unwrap();
    let mut event = Event::new(EventKind::MonitorBlind, at, Some("api".into()));
    let source = "http_requests".to_owned();
    event.reason = Some(Reason::Unmatched { threshold: "5xx".to_owned(), source });
    event.evidence = vec![
        measured("5xx", Kind::Ratio, Unit::Requests, Verdict::Inconclusive),
        measured("checks", Kind::Checks, Unit::Machines, Verdict::Pass),
    ];
    let said = sentence(&event);
    assert!(
        said.contains("threshold \"5xx\" judges nothing") && said.contains("others go on"),
        "{said}"
    );
    assert!(!said.contains("nothing is decided"), "{said}");
    // Where it is the only one, nothing goes on.
    event.evidence.truncate(1);
    let said = sentence(&event);
    assert!(!said.contains("others go on") && said.contains("nothing is decided"), "{said}");
}

#[test]
fn a_hold_by_hand_says_once_that_it_is_one() {
    let at = "2026-03-01T02:03:04Z".parse().unwrap();
    let mut event = Event::new(EventKind::HoldPlaced, at, Some(AppName::new("api")));
    let hold = OperatorHold { by: "dana".into(), reason: "a sale".into(), since: at, until: None };
    event.reason = Some(HoldReason::Operator { hold }.into());
    assert_eq!(sentence(&event), "api: nothing will be rolled back: held by dana: a sale.");
}
