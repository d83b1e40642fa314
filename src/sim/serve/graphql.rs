//! The GraphQL door: enough of it for every query a Fly client sends here.
//!
//! Clients send one of a handful of fixed texts, most without an operation name, so a query is
//! recognised by a piece of its text that no other has.

#![expect(clippy::indexing_slicing, reason = "a JSON field that is missing reads as null")]

use serde_json::{Value, json};

use super::{
    call::Call,
    desk::{Desk, Entry},
    reply::{Reply, put},
};

/// The queries that are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Query {
    /// The release history of an app.
    Releases,
    /// An app in short.
    AppCompact,
    /// Number of the current release.
    CurrentVersion,
    /// Id, number and status of the current release, as fly-autoscaler asks.
    CurrentRelease,
    /// The configuration the current release was made with.
    Definition,
    /// Image of the current release.
    LatestImage,
    /// Whether an image exists, and its digest.
    ResolveImage,
    /// The newest image behind a tag.
    LatestImageDetails,
    Apps,
    Organizations,
    Organization,
    EgressAddresses,
    BlueGreen,
}

/// Pieces of text and what they mean; the first that occurs wins, so the special come first.
const TEXTS: [(&str, Query); 14] = [
    ("releasesUnprocessed(first: $limit)", Query::Releases),
    ("appcompact:app(name: $appName)", Query::AppCompact),
    ("currentRelease:currentReleaseUnprocessed { version }", Query::CurrentVersion),
    ("currentRelease: currentReleaseUnprocessed", Query::CurrentRelease),
    ("currentRelease:currentReleaseUnprocessed", Query::CurrentRelease),
    ("query FlyctlConfigCurrentRelease", Query::Definition),
    ("query LatestImage", Query::LatestImage),
    ("image(ref: $imageRef)", Query::ResolveImage),
    ("latestImageDetails(image: $image", Query::LatestImageDetails),
    ("apps(type: \"container\"", Query::Apps),
    ("organizations(admin: $admin)", Query::Organizations),
    ("organization(slug: $slug)", Query::Organization),
    ("egressIpAddresses", Query::EgressAddresses),
    ("canPerformBluegreenDeployment(name: $appName)", Query::BlueGreen),
];

/// What a query's text asks for; `None`: not one of the known ones.
pub fn recognise(text: &str) -> Option<Query> {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    TEXTS.iter().find(|(piece, _)| line.contains(piece)).map(|(_, query)| *query)
}

/// A failed query, as GraphQL says it: HTTP 200 with errors in it.
pub fn failure(message: &str, code: &str) -> Value {
    json!({"data": null, "errors": [{"message": message, "extensions": {"code": code}}]})
}

/// The failure for a query nobody taught this platform; it names the query.
pub fn unknown(text: &str) -> Value {
    let start: String =
        text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(160).collect();
    failure(&format!("the simulated platform does not know the query: {start}"), "INVALID")
}

/// Answers a query; always HTTP 200, errors are in the body.
pub fn answer(desk: &dyn Desk, call: &Call) -> Reply {
    let text = call.body["query"].as_str().unwrap_or_default();
    let Some(query) = recognise(text) else { return Reply::ok(unknown(text)) };
    match data(desk, query, &call.body["variables"]) {
        Ok(data) => Reply::ok(json!({"data": data})),
        Err(error) => Reply::ok(error),
    }
}

fn data(desk: &dyn Desk, query: Query, variables: &Value) -> Result<Value, Value> {
    let name = variables["appName"].as_str().unwrap_or_default();
    let app = || {
        desk.app(name).map_err(|_| failure(&format!("Could not find App \"{name}\""), "NOT_FOUND"))
    };
    let releases = || {
        desk.releases(name)
            .map_err(|_| failure(&format!("Could not find App \"{name}\""), "NOT_FOUND"))
    };
    let current = |show: fn(&Entry) -> Value| {
        Ok::<Value, Value>(releases()?.first().map_or(Value::Null, show))
    };
    Ok(match query {
        Query::Releases => {
            let limit = variables["limit"].as_u64().and_then(|limit| usize::try_from(limit).ok());
            let nodes: Vec<Value> =
                releases()?.iter().take(limit.unwrap_or(25)).map(release).collect();
            json!({"app": {"releases": {"nodes": nodes}}})
        }
        Query::AppCompact => json!({"appcompact": compact(desk, &app()?)}),
        Query::CurrentVersion | Query::CurrentRelease => {
            json!({"app": {"currentRelease": current(release)?}})
        }
        Query::Definition => {
            let definition = current(|entry| json!({"configDefinition": entry.definition}))?;
            json!({"app": {"currentReleaseUnprocessed": definition}})
        }
        Query::LatestImage => {
            json!({"app": {"currentReleaseUnprocessed": current(release)?}})
        }
        Query::ResolveImage => {
            let reference = variables["imageRef"].as_str().unwrap_or_default();
            let app = app()?;
            let image = desk.resolve(reference).map_or(Value::Null, |digest| {
                json!({"id": "img_1", "digest": digest, "ref": reference,
                       "compressedSize": "123456", "manifest": null})
            });
            json!({"app": {"id": app["id"], "image": image}})
        }
        Query::LatestImageDetails => latest_image(desk, variables)?,
        Query::Apps => {
            let nodes: Vec<Value> = desk
                .app_names()
                .iter()
                .filter_map(|name| desk.app(name).ok().map(|app| (name, app)))
                .map(|(name, app)| {
                    let mut node = compact(desk, &app);
                    let newest = desk.releases(name).ok().and_then(|all| all.first().map(release));
                    put(&mut node, "currentRelease", newest.unwrap_or(Value::Null));
                    node
                })
                .collect();
            json!({"apps": {"pageInfo": {"hasNextPage": false, "endCursor": null}, "nodes": nodes}})
        }
        Query::Organizations => json!({"organizations": {"nodes": [organization(desk)]}}),
        Query::Organization => {
            let slug = variables["slug"].as_str().unwrap_or_default();
            desk.check_organization(slug)
                .map_err(|_| failure("Could not find Organization", "NOT_FOUND"))?;
            json!({"organization": organization(desk)})
        }
        Query::EgressAddresses => {
            app()?;
            json!({"app": {"egressIpAddresses": {"nodes": []}}})
        }
        Query::BlueGreen => json!({"canPerformBluegreenDeployment": true}),
    })
}

fn release(entry: &Entry) -> Value {
    json!({
        "id": entry.id, "version": entry.version, "description": "Release", "reason": "deploy",
        "status": entry.status, "imageRef": entry.image, "stable": entry.status == "complete",
        "user": {"id": "u1", "email": entry.author, "name": entry.author},
        "createdAt": entry.created_at.to_string(), "configDefinition": entry.definition,
        "deploymentStrategy": entry.strategy,
    })
}

fn organization(desk: &dyn Desk) -> Value {
    let slug = desk.organization();
    json!({"id": "org_sim", "internalNumericId": "1", "slug": slug, "rawSlug": slug, "name": slug,
           "type": "SHARED", "paidPlan": true, "billable": true, "viewerRole": "admin"})
}

fn compact(desk: &dyn Desk, app: &Value) -> Value {
    let name = app["name"].as_str().unwrap_or_default();
    json!({
        "id": app["id"], "internalNumericId": app["internal_numeric_id"], "name": name,
        "hostname": format!("{name}.fly.dev"), "cnameTarget": null, "deployed": true,
        "network": "default", "status": "deployed", "appUrl": format!("https://{name}.fly.dev/"),
        "platformVersion": "machines", "organization": organization(desk),
        "postgresAppRole": null,
    })
}

fn latest_image(desk: &dyn Desk, variables: &Value) -> Result<Value, Value> {
    let image = variables["image"].as_str().unwrap_or_default();
    let unknown = || failure(&format!("Unknown repository {image}"), "NOT_FOUND");
    // Clients leave the registry out when it is Fly's own.
    let full = format!("registry.fly.io/{image}");
    let digest = desk.resolve(image).or_else(|| desk.resolve(&full)).ok_or_else(unknown)?;
    let (repository, tag) = image.rsplit_once(':').unwrap_or((image, ""));
    Ok(json!({"latestImageDetails": {
        "registry": "registry.fly.io", "repository": repository, "tag": tag, "version": "N/A",
        "digest": digest,
    }}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_told_by_their_text_whatever_the_white_space() {
        let text = "\nquery LatestImage ($appName: String!) {\n\tapp(name: $appName) {\n}}";
        assert_eq!(recognise(text), Some(Query::LatestImage));
        let text = "query ($a: String!) { app(name:$appName) \
                    { currentRelease:currentReleaseUnprocessed { version } } }";
        assert_eq!(recognise(text), Some(Query::CurrentVersion));
        assert_eq!(recognise("{ viewer { id } }"), None);
        assert!(unknown("{ viewer { id } }").to_string().contains("viewer"));
    }
}
