//! What `status` shows, and what other tests draw.

use std::collections::BTreeMap;

use super::*;
use crate::{
    model::{Digest, Kind, MachineReport, RegionStage, ReleaseVersion},
    web::view::{
        CommandView, Counts, FeedView, Protection, ProtectionLevel, QuarantinedView, RunningView,
        SuspectView, UnknownView,
    },
};

pub(in crate::cli) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_772_366_400 + seconds).unwrap()
}

pub(in crate::cli) fn release(version: u64, tag: &str) -> ReleaseInfo {
    ReleaseInfo {
        version: Some(ReleaseVersion(version)),
        tag: Some(tag.to_owned()),
        digest: Digest::new(format!("sha256:{version:064}")),
        author: Some("ada@example.com".to_owned()),
        created_at: None,
    }
}

pub(in crate::cli) fn evidence(threshold: &str, kind: Kind, unit: Unit) -> EvidenceView {
    EvidenceView {
        threshold: threshold.to_owned(),
        kind,
        unit,
        verdict: Verdict::Pass,
        value: Some(0.25),
        limit: Some(0.3),
        source: String::new(),
        counts: Counts { bad: 1.0, total: 4.0 },
        lately: None,
        ln_odds: None,
        ln_odds_needed: None,
        control: None,
        raised: None,
        note: None,
        may_roll_back: true,
    }
}

pub(in crate::cli) fn rolling_back() -> AppView {
    let errors = EvidenceView {
        verdict: Verdict::Breach,
        value: Some(0.09),
        limit: Some(0.02),
        counts: Counts { bad: 37.0, total: 410.0 },
        lately: None,
        ln_odds: Some(12_000_f64.ln()),
        ln_odds_needed: Some(5_000_f64.ln()),
        control: Some(Counts { bad: 5.0, total: 1250.0 }),
        ..evidence("5xx", Kind::Ratio, Unit::Requests)
    };
    let silent = EvidenceView {
        verdict: Verdict::Inconclusive,
        value: None,
        counts: Counts { bad: 0.0, total: 0.0 },
        note: Some("no machine serves this metric".to_owned()),
        may_roll_back: false,
        ..evidence("memory", Kind::Gauge, Unit::Plain)
    };
    let on_target = MachineReport::OnTarget { at_rest: false };
    let region = |name: &str, phase, machines: &[(&str, &MachineReport)]| RegionReport {
        region: name.into(),
        phase,
        machines: machines
            .iter()
            .map(|(id, state)| ((*id).into(), (*state).clone()))
            .collect::<BTreeMap<_, _>>(),
    };
    AppView {
        app: "api".into(),
        policy: "web".to_owned(),
        mode: Mode::Rollback,
        phase: Phase::RollingBack,
        since: at(0),
        release: Some(release(42, "deploy-\u{1b}[31m42")),
        running: vec![
            RunningView { release: release(42, "deploy-\u{1b}[31m42"), image_of: None },
            RunningView { release: release(43, "deploy-41"), image_of: Some(ReleaseVersion(41)) },
        ],
        target: Some(release(41, "deploy-41")),
        known_good: Some(release(41, "deploy-41")),
        dispersions: std::collections::BTreeMap::new(),
        protection: Protection {
            level: ProtectionLevel::Trusted,
            against: Some(release(41, "deploy-41")),
            why_not: None,
            braked: false,
        },
        quarantined: vec![QuarantinedView {
            digest: "sha256:ddddddddddddeeee".into(),
            version: Some(ReleaseVersion(40)),
            tag: Some("winter".to_owned()),
            at: at(-9000),
        }],
        vetoed: None,
        pinned: None,
        mirror: Vec::new(),
        operator_hold: None,
        hold: None,
        blind: Some("metrics of 2 machines".to_owned()),
        unknown: vec![UnknownView {
            threshold: "p95".to_owned(),
            why: "never_exercised".to_owned(),
            text: "never exercised: nothing was counted since the release came".to_owned(),
        }],
        unread: BTreeMap::from([("m4".into(), "it is an HTML page".to_owned())]),
        suspects: Vec::new(),
        evidence: vec![errors, evidence("checks", Kind::Checks, Unit::Machines), silent],
        commands: Vec::new(),
        regions: vec![
            region("iad", RegionStage::Confirmed, &[("m1", &on_target), ("m2", &on_target)]),
            region(
                "syd",
                RegionStage::RollingBack,
                &[("m3", &on_target), ("m4", &MachineReport::Waiting)],
            ),
        ],
        next_deadline: Some(at(78)),
    }
}

pub(in crate::cli) fn organization(apps: Vec<AppView>) -> OrgView {
    OrgView {
        organization: "acme".to_owned(),
        version: "0.1.0".to_owned(),
        started_at: at(-7500),
        at: at(48),
        ready: true,
        waiting_for: Vec::new(),
        apps_watched: apps.len(),
        feed: FeedView { read_at: None, lag_s: Some(2.0), error_regions: Vec::new() },
        token_refused: None,
        hold: None,
        config: None,
        config_refused: false,
        receivers: Vec::new(),
        apps,
        next_after: None,
    }
}

#[test]
fn a_rollback_under_way_is_shown_with_its_reasons() {
    let text = page(&organization(vec![rolling_back()]), &Asked::Overview, Look::plain(None));
    let expected = "\
acme · waveoff 0.1.0 · up 2 h 5 min · 1 app watched · feed read 2 s ago

api  rolling back · for 48 s · 30 s left · rolls back · policy web
  running     v42 (deploy- [31m42), v43 (v41)
  degraded    v42  deploy- [31m42  000000000000  by ada@example.com
  known good  v41  deploy-41  000000000000  by ada@example.com
  protected   by v41 (deploy-41), which is trusted
  undone      v40  winter  dddddddddddd  a redeploy is watched without a warm-up
  blind       metrics of 2 machines
  unknown     p95: never exercised: nothing was counted since the release came
  unread      metrics of m4: it is an HTML page
    5xx     9.0 %    limit 2 %   37 of 410 (known good 0.4 %)  odds 12 000:1, 5000:1 needed  breach
    checks  25.0 %   limit 30 %  1 of 4                                                      pass
    memory  no data  limit 0.3                                                               inconclusive (alert only): no machine serves this metric
    iad  confirmed     2 on target
    syd  rolling back  1 on target, 1 waiting
";
    assert_eq!(text, expected);
}

#[test]
fn what_waits_for_a_person_names_the_commands_that_answer_it() {
    let command = |purpose: &str, command: &str| CommandView {
        purpose: purpose.to_owned(),
        command: command.to_owned(),
    };
    let mut app = rolling_back();
    app.phase = Phase::AwaitingApproval;
    app.commands =
        vec![command("approve", "waveoff approve api"), command("go_on", "waveoff unhold api")];
    let text = page(&organization(vec![app]), &Asked::Overview, Look::plain(None));
    assert!(text.contains("  approve     waveoff approve api\n"), "{text}");
    assert!(text.contains("  go on       waveoff unhold api\n"), "{text}");
}

/// What was undone stays the news for a while, and is not what runs.
#[test]
fn after_a_rollback_what_runs_is_said_and_the_breach_is_of_then() {
    let mut app = rolling_back();
    app.phase = Phase::RolledBack;
    app.running.remove(0);
    let text = page(&organization(vec![app]), &Asked::Overview, Look::plain(None));
    assert!(text.contains("  running      v43 (v41)\n"), "{text}");
    assert!(text.contains("  rolled back  v42  deploy-"), "{text}");
    assert!(text.contains("  what v42 showed then:\n    5xx     9.0 %"), "{text}");
    assert!(!text.contains("degraded"), "{text}");
}

#[test]
fn in_eighty_columns_what_is_long_is_broken_between_words() {
    let text = page(&organization(vec![rolling_back()]), &Asked::Overview, Look::plain(Some(80)));
    assert!(text.lines().skip(2).all(|line| line.chars().count() <= 80), "{text}");
    let joined = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(joined.contains("a redeploy is watched without a warm-up"), "{text}");
    // What a verdict rests on stands below it.
    let expected = "
    5xx     9.0 %    limit 2 %   breach
      37 of 410 (known good 0.4 %) · odds 12 000:1, 5000:1 needed
    checks  25.0 %   limit 30 %  pass
      1 of 4
    memory  no data  limit 0.3   inconclusive (alert only)
      no machine serves this metric
";
    assert!(text.contains(expected), "{text}");
}

#[test]
fn a_breach_is_red_where_colours_are_wanted() {
    let look = Look { width: None, colours: true };
    let text = page(&organization(vec![rolling_back()]), &Asked::Overview, look);
    assert!(text.contains("\u{1b}[1;31mbreach\u{1b}[0m"), "{text:?}");
    assert!(!text.contains("\u{1b}[31m42"), "what an app wrote: {text:?}");
}

#[test]
fn an_app_that_is_still_learning_has_no_known_good_release() {
    let app = AppView {
        phase: Phase::Learning,
        mode: Mode::Observe,
        known_good: None,
        blind: None,
        unknown: Vec::new(),
        unread: BTreeMap::new(),
        suspects: Vec::new(),
        operator_hold: None,
        hold: Some("nothing is trusted yet".to_owned()),
        evidence: Vec::new(),
        regions: Vec::new(),
        running: Vec::new(),
        target: None,
        next_deadline: None,
        ..rolling_back()
    };
    let text = page(&organization(vec![app]), &Asked::Overview, Look::plain(None));
    assert!(text.contains("api  learning · for 48 s · observes only · policy web\n"), "{text}");
    assert!(text.contains("  known good   none yet\n"), "{text}");
    assert!(text.contains("  held         nothing is trusted yet\n"), "{text}");
}

#[test]
fn a_daemon_that_has_only_just_started_says_so() {
    let mut status = organization(Vec::new());
    status.ready = false;
    status.waiting_for = vec!["the organization's apps: not allowed".to_owned()];
    status.feed = FeedView::default();
    let text = page(&status, &Asked::Overview, Look::plain(None));
    assert!(text.contains("feed not read yet · not ready\n"), "{text}");
    assert!(text.contains("waits for the organization's apps: not allowed\n"), "{text}");
    assert!(text.contains("No app has had a round yet"), "{text}");
}

#[tokio::test]
async fn a_daemon_that_is_not_there_is_named_with_the_way_to_name_another() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", free.local_addr().unwrap());
    drop(free);
    let error = run(&url, &Asked::Overview, false, &mut Vec::new()).await.unwrap_err().to_string();
    assert!(error.contains(&url) && error.contains("WAVEOFF_URL"), "{error}");
}

#[test]
fn who_only_observes_is_not_protected_whatever_is_trusted() {
    let mut protection = rolling_back().protection;
    protection.level = crate::web::view::ProtectionLevel::Trusted;
    protection.why_not = Some("the policy only observes".to_owned());
    let said = protection.sentence();
    assert_eq!(said, "no: the policy only observes; v41 (deploy-41) is trusted");
    protection.level = crate::web::view::ProtectionLevel::Baked;
    protection.braked = true;
    let said = protection.sentence();
    assert_eq!(said, "no: the policy only observes; v41 (deploy-41) is baked");
    protection.braked = false;
    protection.why_not = Some("only against a failure of everything".to_owned());
    let said = protection.sentence();
    assert_eq!(said, "v41 (deploy-41) is baked: only against a failure of everything");
}

/// Twelve apps, of which nothing is to be said, one that rolls back and one that is not seen.
fn fleet() -> OrgView {
    let steady = |name: &str| AppView {
        app: name.into(),
        phase: Phase::Steady,
        since: at(-100_000),
        blind: None,
        unknown: Vec::new(),
        unread: BTreeMap::new(),
        suspects: Vec::new(),
        evidence: Vec::new(),
        regions: Vec::new(),
        next_deadline: None,
        target: None,
        ..rolling_back()
    };
    let mut apps: Vec<AppView> = (1..=6).map(|n| steady(&format!("shop-{n}"))).collect();
    let mut observed = steady("billing-and-invoicing-workers");
    observed.mode = Mode::Observe;
    observed.phase = Phase::Learning;
    observed.unknown = rolling_back().unknown;
    let mut blind = steady("web");
    blind.blind = rolling_back().blind;
    let mut baking = steady("auth");
    (baking.phase, baking.since) = (Phase::Baking, at(0));
    baking.protection.level = ProtectionLevel::Baked;
    apps.extend([observed, blind, baking, rolling_back()]);
    organization(apps)
}

#[test]
fn of_many_apps_those_in_trouble_are_told_of_and_the_others_take_a_line_each() {
    let text = page(&fleet(), &Asked::Overview, Look::plain(Some(80)));
    let (_, text) = text.split_once('\n').unwrap();
    assert!(text.starts_with("\napi  rolling back · for 48 s"), "{text}");
    let (_, lines) = text.rsplit_once("waiting\n").unwrap();
    insta::assert_snapshot!(lines, @r"

    web                            steady    v42  1 d 3 h  blind: metrics of 2 mach…
    auth                           baking    v42  48 s     protected by v41 (baked)
    billing-and-invoicing-workers  learning  v42  1 d 3 h  p95 unknown · observes o…
    shop-1                         steady    v42  1 d 3 h  protected by v41
    shop-2                         steady    v42  1 d 3 h  protected by v41
    shop-3                         steady    v42  1 d 3 h  protected by v41
    shop-4                         steady    v42  1 d 3 h  protected by v41
    shop-5                         steady    v42  1 d 3 h  protected by v41
    shop-6                         steady    v42  1 d 3 h  protected by v41

    `waveoff status APP` shows one of these in full, `--verbose` all of them.
    ");
    assert!(lines.lines().all(|line| columns(line) <= 80), "{lines}");
}

#[test]
fn who_asks_for_it_is_shown_every_app_in_full() {
    let (all, one) = (&Asked::Everything, &Asked::One("auth".to_owned()));
    let text = page(&fleet(), all, Look::plain(Some(80)));
    assert_eq!(text.matches("\n  known good  ").count(), 10, "{text}");
    assert!(!text.contains("waveoff status APP"), "{text}");
    let mut status = fleet();
    status.apps.retain(|app| app.app.as_str() == "auth");
    let text = page(&status, one, Look::plain(Some(80)));
    assert!(text.contains("\nauth  baking · for 48 s") && text.contains("10 apps"), "{text}");
}

#[test]
fn a_refused_token_stands_above_the_apps_with_what_helps() {
    let mut status = organization(vec![rolling_back()]);
    status.token_refused = Some("the platform refuses the token (401); make one".to_owned());
    let text = page(&status, &Asked::Overview, Look::plain(None));
    assert_eq!(
        text.lines().nth(1),
        Some("the platform refuses the token (401); make one"),
        "{text}"
    );
}

#[test]
fn a_release_that_was_undone_with_several_images_has_one_line() {
    let mut app = rolling_back();
    let mut again = app.quarantined[0].clone();
    again.digest = "sha256:ffffffffffffffff".into();
    app.quarantined.push(again);
    let text = page(&organization(vec![app]), &Asked::Overview, Look::plain(None));
    let lines: Vec<&str> = text.lines().filter(|line| line.contains("undone ")).collect();
    assert_eq!(lines.len(), 1, "{text}");
    assert!(lines[0].contains("dddddddddddd, ffffffffffff  a redeploy"), "{text}");
}

#[test]
fn a_machine_that_fails_alone_is_shown_with_its_commands() {
    let mut app = rolling_back();
    let restart = "fly machine restart 148e --app api".to_owned();
    app.suspects = vec![SuspectView {
        machine: "148e".into(),
        text: "148e in iad: 5xx 31.0 %, those beside it 0.5 %".to_owned(),
        commands: vec![CommandView { purpose: "repair".to_owned(), command: restart }],
    }];
    let text = page(&organization(vec![app]), &Asked::One("api".to_owned()), Look::plain(None));
    let shown: Vec<Vec<&str>> =
        text.lines().map(|line| line.split_whitespace().take(2).collect()).collect();
    assert!(shown.contains(&vec!["suspect", "148e"]), "{text}");
    assert!(text.contains("fly machine restart 148e --app api"), "{text}");
}
