//! The release ledger: read through GraphQL, written through the release endpoints, as the
//! platform's own command line does. Neither is a documented interface.
//!
//! Where GraphQL fails, or does not know the token, the release endpoints are read too: they have
//! numbers, authors and status, and nothing of app configurations.
//!
//! A release that is not known to have been opened is not opened again here: the caller looks for
//! it first. Setting a status is repeated, because twice is once.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use reqwest::{Method, Url};
use serde::Serialize;
use serde_json::{Value, value::RawValue};
use tokio::time::Instant;
use tracing::debug;

use super::{
    Answer, Fly, below,
    errors::{Failure, excerpt},
    http::{self, Call, Patience},
    limits::Action,
    retry::Repeat,
    wire::release::{
        WireBrief, WireData, WireGraph, WireGraphError, WireOpened, WireRelease, WireReleases,
    },
};
use crate::{
    model::{AppName, Release, ReleaseStatus},
    ports::{NewRelease, PlatformError},
};

/// Releases a page holds. Fewer are never asked for: the platform does not promise their order,
/// so the newest few have to be found among many.
const PAGE: u32 = 25;
/// Pages at most, whatever is asked for.
const PAGES_MAX: u32 = 40;
/// Whoever reads the ledger waits for half a minute: both ways to it have to fit in.
const GRAPH_PATIENCE: Patience = Patience::seconds(10, 15);
const BRIEF_PATIENCE: Patience = Patience::seconds(5, 10);

const FIRST_PAGE: &str = "query($appName: String!, $limit: Int!) { app(name: $appName) { \
    releases: releasesUnprocessed(first: $limit) { nodes { id version status imageRef \
    user { email name } createdAt configDefinition } pageInfo { hasNextPage endCursor } } } }";
const LATER_PAGE: &str = "query($appName: String!, $limit: Int!, $after: String!) { \
    app(name: $appName) { releases: releasesUnprocessed(first: $limit, after: $after) { \
    nodes { id version status imageRef user { email name } createdAt configDefinition } \
    pageInfo { hasNextPage endCursor } } } }";

#[derive(Serialize)]
struct Question<'a> {
    query: &'static str,
    variables: Variables<'a>,
}

#[derive(Serialize)]
struct Variables<'a> {
    #[serde(rename = "appName")]
    app_name: &'a str,
    limit: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<&'a str>,
}

/// For so long after a failure GraphQL is asked after the release endpoints, not before them: nobody
/// who reads the ledger has to wait for it each time.
const SILENT_FOR: Duration = Duration::from_secs(20);

/// When GraphQL failed last: for everyone, where it does not answer or does not let us in; else for the app
/// whose question it did not take.
#[derive(Debug, Default)]
pub(super) struct Silence(Mutex<BTreeMap<Option<AppName>, Instant>>);

impl Silence {
    fn failed_at(&self) -> MutexGuard<'_, BTreeMap<Option<AppName>, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lasts(&self, app: &AppName) -> bool {
        let mut failed_at = self.failed_at();
        failed_at.retain(|_, at| at.elapsed() < SILENT_FOR);
        failed_at.contains_key(&None) || failed_at.contains_key(&Some(app.clone()))
    }

    fn begins(&self, app: &AppName, error: &PlatformError) {
        let is_everyones =
            matches!(error, PlatformError::Unavailable(_) | PlatformError::Denied(_));
        self.failed_at().insert((!is_everyones).then(|| app.clone()), Instant::now());
    }

    /// It answered.
    fn ends(&self, app: &AppName) {
        let mut failed_at = self.failed_at();
        failed_at.remove(&None);
        failed_at.remove(&Some(app.clone()));
    }
}

/// The newest releases, newest first.
pub(super) async fn newest(fly: &Fly, app: &AppName, limit: u32) -> Answer<Vec<Release>> {
    if fly.silence.lasts(app)
        && let Ok(brief) = brief(fly, app, limit).await
    {
        return Ok(brief);
    }
    match read(fly, app, limit).await {
        Ok(nodes) => {
            fly.silence.ends(app);
            Ok(sorted(&nodes, limit))
        }
        // That is an answer, and a clear one.
        Err(error @ PlatformError::NotFound(_)) => Err(error),
        Err(error) => {
            fly.silence.begins(app, &error);
            let brief = brief(fly, app, limit).await.map_err(|_| error)?;
            debug!(app = %app, "{app}: GraphQL does not answer, the ledger is read without configurations");
            Ok(brief)
        }
    }
}

/// The same as the release endpoints have it.
async fn brief(fly: &Fly, app: &AppName, limit: u32) -> Answer<Vec<Release>> {
    let mut url = below(&fly.bases.uiex, &["api", "v1", "apps", app.as_str(), "releases"]);
    url.query_pairs_mut().append_pair("limit", &limit.max(PAGE).to_string());
    let call = Call {
        authorization: fly.caller.tokens().releases(),
        patience: BRIEF_PATIENCE,
        ..Call::get(Action::Ledger, app.as_str(), url)
    };
    let answer = fly.caller.call(&call).await?;
    let list: WireBrief = fly.caller.decode(&answer)?;
    let nodes = list.releases.ok_or_else(|| answer.unreadable("no list of releases in it"))?;
    let mut releases = sorted(&nodes, limit);
    for release in &mut releases {
        release.is_brief = true;
    }
    Ok(releases)
}

fn sorted(nodes: &[WireRelease], limit: u32) -> Vec<Release> {
    let mut releases: Vec<Release> = nodes.iter().filter_map(WireRelease::release).collect();
    releases.sort_by_key(|release| std::cmp::Reverse(release.version));
    releases.dedup_by_key(|release| release.version);
    releases.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    releases
}

/// At least `limit` releases if there are so many, in the platform's order.
async fn read(fly: &Fly, app: &AppName, limit: u32) -> Answer<Vec<WireRelease>> {
    let mut nodes = Vec::new();
    let mut after: Option<String> = None;
    for _ in 0..PAGES_MAX {
        let page = page(fly, app, after.as_deref()).await?;
        nodes.extend(page.nodes);
        let enough = usize::try_from(limit).is_ok_and(|limit| nodes.len() >= limit);
        let next = page.page.end_cursor;
        if enough || !page.page.has_next || next.is_empty() || after.as_ref() == Some(&next) {
            break;
        }
        after = Some(next);
    }
    Ok(nodes)
}

async fn page(fly: &Fly, app: &AppName, after: Option<&str>) -> Answer<WireReleases> {
    let query = if after.is_some() { LATER_PAGE } else { FIRST_PAGE };
    let variables = Variables { app_name: app.as_str(), limit: PAGE, after };
    let call = Call {
        method: Method::POST,
        authorization: fly.caller.tokens().graphql(),
        patience: GRAPH_PATIENCE,
        body: Some(json(&Question { query, variables })?),
        check: Some(check),
        ..Call::get(Action::Ledger, app.as_str(), below(&fly.bases.api, &["graphql"]))
    };
    let answer = fly.caller.call(&call).await?;
    let graph: WireGraph<WireData> = fly.caller.decode(&answer)?;
    let app_data = graph
        .data
        .unwrap_or_default()
        .app
        .ok_or_else(|| PlatformError::NotFound(format!("GraphQL knows no app {app}")))?;
    app_data.releases.ok_or_else(|| answer.unreadable("no list of releases in it"))
}

/// GraphQL says that it failed inside an answer of success. Data beside errors is used.
fn check(answer: &http::Answer) -> Result<(), Failure> {
    let graph: WireGraph<Value> = match serde_json::from_slice(&answer.body) {
        Ok(graph) => graph,
        // What is not JSON is reported where it is decoded.
        Err(_) => return Ok(()),
    };
    let has_data = graph.data.as_ref().is_some_and(|data| {
        data.as_object().is_some_and(|fields| fields.values().any(|field| !field.is_null()))
    });
    match graph.errors.first() {
        Some(error) if !has_data => Err(Failure::unknown(graph_error(error))),
        Some(_) | None => Ok(()),
    }
}

fn graph_error(error: &WireGraphError) -> PlatformError {
    let code = error.extensions.get("code").and_then(Value::as_str).unwrap_or_default();
    let text = format!("GraphQL: {}", excerpt(&error.message, 300));
    match code {
        "NOT_FOUND" => PlatformError::NotFound(text),
        _ if error.message.contains("Could not find App") => PlatformError::NotFound(text),
        "UNAUTHORIZED" | "FORBIDDEN" => PlatformError::Denied(text),
        "SERVER_ERROR" => PlatformError::Unavailable(text),
        _ => PlatformError::Refused(text),
    }
}

fn json(body: &impl Serialize) -> Answer<String> {
    serde_json::to_string(body)
        .map_err(|error| PlatformError::Refused(format!("the request cannot be written: {error}")))
}

#[derive(Serialize)]
struct OpenBody<'a> {
    app_name: &'a str,
    /// None of our own.
    build_id: u32,
    /// The app configuration of the newest release, as it came; null if no release has one.
    definition: Option<&'a RawValue>,
    image: &'a str,
    strategy: &'static str,
}

/// Writes a release into the ledger.
pub(super) async fn open(fly: &Fly, new: &NewRelease) -> Answer<Release> {
    let nodes = read(fly, &new.app, PAGE).await?;
    let current = nodes.iter().filter(|node| node.definition.is_some()).max_by_key(|n| n.version);
    let body = OpenBody {
        app_name: new.app.as_str(),
        build_id: 0,
        definition: current.and_then(|node| node.definition.as_deref()),
        image: &new.image,
        strategy: "ROLLING",
    };
    let call = Call {
        method: Method::POST,
        body: Some(json(&body)?),
        repeat: Repeat::IfUndone,
        ..write(fly, new.app.as_str(), below(&fly.bases.uiex, &["api", "v1", "releases"]))
    };
    let answer = fly.caller.call(&call).await?;
    match WireOpened::parse(&answer.body) {
        Ok(Some(release)) => Ok(release),
        Ok(None) => Err(answer.unreadable("a release without id or number")),
        Err(error) => Err(answer.unreadable(&format!("no release in it ({error})"))),
    }
}

#[derive(Serialize)]
struct StatusBody<'a> {
    status: &'a str,
}

/// Sets a release's status; the answer's body says nothing that is needed.
pub(super) async fn set_status(fly: &Fly, id: &str, status: &ReleaseStatus) -> Answer<()> {
    let call = Call {
        method: Method::PATCH,
        body: Some(json(&StatusBody { status: status.as_str() })?),
        ..write(fly, id, below(&fly.bases.uiex, &["api", "v1", "releases", id]))
    };
    match fly.caller.call(&call).await {
        Ok(_) => Ok(()),
        // An attempt before this one was carried out, and its answer lost.
        Err(failure)
            if failure.maybe_done
                && failure.status == Some(422)
                && failure.error.to_string().contains("already finished") =>
        {
            Ok(())
        }
        Err(failure) => Err(failure.error),
    }
}

fn write(fly: &Fly, id: &str, url: Url) -> Call {
    Call { authorization: fly.caller.tokens().releases(), ..Call::get(Action::Ledger, id, url) }
}
