//! That the description of the API says what the API is.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{super::view::ProblemView, *};
use crate::{
    model::{Raised, RegionReport, RegionStage, Tally, Unknown, event::ReleaseInfo},
    web::{
        configuration::{ConfigView, PushedView, VersionView, VersionsView},
        explain::{
            Explained, MachineView, NeighbourView, Promises, SeriesView, SilenceView, ThresholdView,
        },
        view::{
            CommandView, ImageState, MirrorState, MirrorView, PinnedView, QuarantinedView,
            ReleaseView, RunningView, SuspectView,
        },
    },
};

fn description() -> Value {
    serde_json::from_str(super::super::description::text(false)).unwrap()
}

fn keys(value: &Value) -> BTreeSet<String> {
    value.as_object().unwrap_or_else(|| panic!("no object: {value}")).keys().cloned().collect()
}

/// An app with everything that an app can have.
fn full() -> AppView {
    let release = ReleaseInfo {
        version: None,
        tag: None,
        digest: "sha256:1".into(),
        author: None,
        created_at: None,
    };
    let signed = Signed { by: "d".into(), reason: "x".into(), at: noon() };
    let held = crate::model::OperatorHold {
        by: "d".into(),
        reason: "x".into(),
        since: noon(),
        until: None,
    };
    let mut app = view("api", Phase::RollingBack);
    app.release = Some(release.clone());
    app.running = vec![RunningView { release: release.clone(), image_of: None }];
    app.target = Some(release.clone());
    app.commands = vec![CommandView { purpose: String::new(), command: String::new() }];
    app.suspects = vec![SuspectView {
        machine: "m1".into(),
        text: String::new(),
        commands: app.commands.clone(),
    }];
    app.operator_hold = Some(held);
    app.vetoed = Some(signed.clone());
    app.pinned = Some(PinnedView { digest: "sha256:1".into(), version: None, signed });
    app.quarantined =
        vec![QuarantinedView { digest: "sha256:1".into(), version: None, tag: None, at: noon() }];
    app.mirror = vec![MirrorView {
        release,
        image: String::new(),
        reference: None,
        state: MirrorState::Waiting,
        done: None,
        of: None,
        why: None,
        next: None,
        only_copy: false,
    }];
    app.regions = vec![RegionReport {
        region: "iad".into(),
        phase: RegionStage::Waiting,
        machines: BTreeMap::new(),
    }];
    app
}

fn block() -> crate::model::Block {
    let tally = crate::model::Tally { n: 10.0, k: 1.0 };
    crate::model::Block { at: noon(), tally, ln_odds: 1.0, control: tally }
}

fn threshold() -> ThresholdView {
    let raised = Raised { from: 0.01, to: 0.02, by: "v40".to_owned(), share: 0.01, relative: None };
    let evidence = crate::model::Evidence { raised: Some(raised), ..super::evidence() };
    let mut view = ThresholdView::new(&evidence, "v41", &[block()]);
    view.phi = Some(2.5);
    view.dispersion = super::view("api", Phase::Baking).dispersions.remove("5xx");
    view.series = vec![SeriesView::new((String::new(), Tally::default(), None))];
    view
}

fn explained(release: ReleaseInfo) -> Explained {
    Explained {
        release,
        known_good: None,
        thresholds: vec![threshold()],
        silence: SilenceView {
            found_after_s: Some(60),
            text: "would be found after 60 s (its longest in the last days: 2 s)".to_owned(),
        },
        promises: Promises { false_rollbacks: 0.001, false_late_alarms: 0.001, span: None },
        neighbours: vec![NeighbourView {
            app: "shop".into(),
            degraded_since: None,
            deployed: false,
            regions: Vec::new(),
        }],
        machines: vec![MachineView {
            machine: "m1".into(),
            region: "iad".into(),
            state: "started".to_owned(),
            on: true,
            version: None,
            exits: 0,
            failing: Vec::new(),
        }],
    }
}

/// Every field that is served is described, and every one that is described is served.
#[tokio::test]
async fn every_field_of_the_answers_is_described_and_no_other() {
    let app = full();
    let release = app.release.clone().unwrap();
    let mut event = Event::new(EventKind::ReleaseDegraded, noon(), Some("api".into()));
    event.release = Some(release.clone());
    let entry = HistoryEntry { sequence: 1, message_id: "m-1".to_owned(), event };
    let served = Served::with(Some(vec![entry])).await;
    served.board.publish(app);
    served.board.explain(&"api".into(), Some(explained(release)));
    let json = async |path: &str| served.json::<Value>(path, 200).await;
    let status = json("/api/v1/status").await;
    let history = json("/api/v1/apps/api/history").await;
    let explain = json("/api/v1/apps/api/explain").await;
    let deliveries = json("/api/v1/deliveries").await;
    let app = &status["apps"][0];
    let mut known = ReleaseView::unknown("a:b", None);
    known.image_state = ImageState::Missing;
    let problem = ProblemView {
        kind: String::new(),
        title: String::new(),
        status: 409,
        detail: String::new(),
        error: String::new(),
        refusal: Some(json!({})),
    };
    let version = VersionView { number: Some(1), ..VersionView::default() };
    let pushed = PushedView { version: version.clone(), policies: 1, changed: true };
    let versions = VersionsView { in_force: version.clone(), pushed: Vec::new() };
    let configuration = ConfigView { version, files: BTreeMap::new() };
    let cases = [
        ("Configuration", serde_json::to_value(&configuration).unwrap()),
        ("Version", serde_json::to_value(&configuration.version).unwrap()),
        ("Versions", serde_json::to_value(versions).unwrap()),
        ("Pushed", serde_json::to_value(pushed).unwrap()),
        ("Status", status.clone()),
        ("Feed", status["feed"].clone()),
        ("App", app.clone()),
        ("Release", app["release"].clone()),
        ("Protection", app["protection"].clone()),
        ("Running", app["running"][0].clone()),
        ("Command", app["commands"][0].clone()),
        ("Suspect", app["suspects"][0].clone()),
        ("OperatorHold", app["operator_hold"].clone()),
        ("Signed", app["vetoed"].clone()),
        ("Pinned", app["pinned"].clone()),
        ("Quarantined", app["quarantined"][0].clone()),
        ("MirrorCopy", app["mirror"][0].clone()),
        ("Evidence", app["evidence"][0].clone()),
        ("Counts", app["evidence"][0]["counts"].clone()),
        ("RegionProgress", app["regions"][0].clone()),
        ("History", history.clone()),
        ("Event", history["events"][0].clone()),
        ("Explanation", explain.clone()),
        ("Told", explain["told"][0].clone()),
        ("Threshold", explain["thresholds"][0].clone()),
        ("Raised", explain["thresholds"][0]["raised"].clone()),
        ("Block", explain["thresholds"][0]["blocks"][0].clone()),
        ("SeriesCounts", explain["thresholds"][0]["series"][0].clone()),
        ("Neighbour", explain["neighbours"][0].clone()),
        ("ListedMachine", explain["machines"][0].clone()),
        ("Releases", json("/api/v1/apps/api/releases").await),
        ("KnownRelease", serde_json::to_value(known).unwrap()),
        ("Deliveries", deliveries.clone()),
        ("Receiver", deliveries["receivers"][0].clone()),
        ("Letter", deliveries["letters"][0].clone()),
        ("Problem", serde_json::to_value(problem).unwrap()),
    ];
    let schemas = &description()["components"]["schemas"];
    for (name, value) in cases {
        let described = keys(&schemas[name]["properties"]);
        assert_eq!(keys(&value), described, "{name}");
        // What is served is always there, so that nobody has to ask whether it is.
        let required = schemas[name]["required"].as_array().unwrap();
        let required: BTreeSet<_> = required.iter().map(|it| it.as_str().unwrap().into()).collect();
        assert_eq!(required, described, "{name}");
    }
}

#[test]
fn every_word_that_can_come_is_described() {
    let schemas = &description()["components"]["schemas"];
    let kinds: Vec<&str> = EventKind::ALL.into_iter().map(EventKind::as_str).collect();
    assert_eq!(schemas["EventKind"]["enum"], json!(kinds));
    let phases: Vec<&str> = Phase::ALL.into_iter().map(Phase::as_str).collect();
    assert_eq!(schemas["Phase"]["enum"], json!(phases));
    let states: Vec<&str> = MirrorState::ALL.into_iter().map(MirrorState::as_str).collect();
    assert_eq!(schemas["MirrorState"]["enum"], json!(states));
    assert_eq!(schemas["Unknown"]["properties"]["why"]["enum"], json!(Unknown::WORDS));
}

#[tokio::test]
async fn every_route_is_described_and_what_is_described_is_there() {
    let description = description();
    let served = Served::with(Some(Vec::new())).await;
    assert_eq!(served.json::<Value>("/api/v1/openapi.json", 200).await, description);

    // Those of the router, by its source.
    let routes = include_str!("../api.rs").split(".route(\"").skip(1);
    let routes = routes.map(|rest| rest.split('"').next().unwrap());
    let described = keys(&description["paths"]);
    for route in routes.filter(|route| route.starts_with("/api/") && !route.ends_with("json")) {
        assert!(described.contains(route), "{route} is not described");
    }

    let client = reqwest::Client::new();
    for path in described {
        for method in keys(&description["paths"][&path]) {
            let method: reqwest::Method = method.to_uppercase().parse().unwrap();
            let url = path.replace("{app}", "api").replace("{receiver}", "ops");
            let asked = client.request(method.clone(), format!("{}{url}", served.address));
            let answer = asked.bearer_auth("wrong-token-wrong-token").send().await.unwrap();
            let (status, text) = (answer.status().as_u16(), answer.text().await.unwrap());
            let missing = text.contains("no such page");
            assert!(!missing && status != 405, "{method} {path}: {status} {text}");
        }
    }
}

#[tokio::test]
async fn a_refusal_is_a_problem_and_says_the_same_twice_for_those_who_know_the_old_field() {
    let served = Served::with(Some(Vec::new())).await;
    let answer = reqwest::get(format!("{}/api/v1/apps/api", served.address)).await.unwrap();
    assert_eq!(answer.headers()["content-type"], "application/problem+json");
    let problem: ProblemView = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    assert_eq!(
        (problem.kind.as_str(), problem.title.as_str(), problem.status),
        ("about:blank", "Not Found", 404)
    );
    assert_eq!(
        problem.detail,
        "app api is not watched; no policy in force watches it: `waveoff config show api --in-force` says why"
    );
    assert_eq!(problem.error, problem.detail);
}

#[tokio::test]
async fn an_answer_that_is_known_is_not_sent_again() {
    let served = Served::with(Some(Vec::new())).await;
    served.board.publish(view("api", Phase::Steady));
    let client = reqwest::Client::new();
    let url = format!("{}/api/v1/apps/api", served.address);
    let ask = async |tag: Option<&str>| {
        let request = client.get(&url);
        let request = match tag {
            Some(tag) => request.header("if-none-match", tag),
            None => request,
        };
        let answer = request.send().await.unwrap();
        let tag = answer.headers()["etag"].to_str().unwrap().to_owned();
        (answer.status().as_u16(), tag, answer.text().await.unwrap().len())
    };
    let (status, tag, length) = ask(None).await;
    assert!(status == 200 && length > 100);
    assert_eq!(ask(Some(&tag)).await, (304, tag.clone(), 0));
    assert_eq!(ask(Some(&format!("\"x\", W/{tag}"))).await.0, 304);
    assert_eq!(ask(Some("\"x\"")).await.0, 200);
    served.board.publish(view("api", Phase::Baking));
    let (status, other, _) = ask(Some(&tag)).await;
    assert!(status == 200 && other != tag);
}

#[tokio::test]
async fn apps_come_page_by_page_for_who_asks_so() {
    let served = Served::with(Some(Vec::new())).await;
    for name in ["a", "b", "c"] {
        served.board.publish(view(name, Phase::Steady));
    }
    let page = async |query: &str| {
        let view: OrgView = served.json(&format!("/api/v1/status{query}"), 200).await;
        let names: Vec<String> = view.apps.iter().map(|app| app.app.to_string()).collect();
        (names.join(" "), view.next_after.map(|name| name.to_string()))
    };
    assert_eq!(page("").await, ("a b c".to_owned(), None));
    assert_eq!(page("?limit=2").await, ("a b".to_owned(), Some("b".to_owned())));
    assert_eq!(page("?limit=2&after=b").await, ("c".to_owned(), None));
    assert_eq!(page("?after=zzz").await, (String::new(), None));
    served.json::<ProblemView>("/api/v1/status?limit=many", 400).await;
}

#[tokio::test]
async fn a_body_that_is_too_long_or_no_json_is_refused_as_what_it_is() {
    let served = Served::with(Some(Vec::new())).await;
    let client = reqwest::Client::new();
    let post = async |kind: &str, body: String| {
        let request = client.post(format!("{}/api/v1/hold", served.address));
        let request = request.bearer_auth("a-token-of-the-operator").header("content-type", kind);
        request.body(body).send().await.unwrap().status().as_u16()
    };
    let long = json!({ "app": "api", "reason": "x".repeat(70_000) }).to_string();
    assert_eq!(post("application/json", long).await, 413);
    assert_eq!(post("text/plain", "{}".to_owned()).await, 415);
    assert_eq!(post("application/json", "{".to_owned()).await, 400);
}

#[tokio::test]
async fn who_comes_while_too_many_are_answered_is_told_to_come_again_and_health_is_told_to_all() {
    let served = Served::with(Some(Vec::new())).await;
    let client = reqwest::Client::new();
    let stuck: Vec<_> = (0..64)
        .map(|_| {
            let asked = client.get(format!("{}/api/v1/apps/stuck/releases", served.address)).send();
            tokio::spawn(asked)
        })
        .collect();
    let url = format!("{}/api/v1/status", served.address);
    let refused = loop {
        let answer = client.get(&url).send().await.unwrap();
        if answer.status() != 200 {
            break answer;
        }
    };
    assert_eq!(
        (refused.status().as_u16(), &refused.headers()["retry-after"]),
        (503, &"1".parse().unwrap())
    );
    assert_eq!(served.get("/healthz").await.0, 200);
    for one in &stuck {
        one.abort();
    }
    // Their places are free when their connections are gone.
    while client.get(&url).send().await.unwrap().status() != 200 {}
}

/// Messages and API show where a machine stands alike; the words of older versions are in no message.
#[test]
fn the_schema_of_messages_names_every_state_of_a_machine() {
    let schema: Value =
        serde_json::from_str(include_str!("../../../docs/webhook.schema.json")).unwrap();
    let found = schema.pointer("/$defs/region/properties/machine_states/additionalProperties");
    let names = found.and_then(|of| of.pointer("/properties/state/enum")).expect("it names states");
    let names: BTreeSet<&str> =
        names.as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    let described = description();
    let all = described["components"]["schemas"]["Machine"]["oneOf"].as_array().unwrap();
    let all = all.iter().map(|one| one.pointer("/properties/state/enum/0").unwrap());
    let all: BTreeSet<&str> =
        all.map(|name| name.as_str().unwrap()).filter(|name| *name != "told").collect();
    assert_eq!(names, all);
}
