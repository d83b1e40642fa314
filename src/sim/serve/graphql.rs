//! The GraphQL door: enough of the schema for every query that a Fly client sends here.
//!
//! A query is parsed and answered field by field, as it selects and names them. A root field that
//! is not known is an error, which says so; below, a field that is not known is null.

#![expect(clippy::indexing_slicing, reason = "a JSON field that is missing reads as null")]

use graphql_parser::query::{
    Definition, Document, Field, OperationDefinition, Selection, SelectionSet, Value as Argument,
    parse_query,
};
use serde_json::{Map, Value, json};

use super::{call::Call, reply::Reply};
use crate::sim::{handle::Sim, model::ledger::Entry};

/// Releases in an answer that asks for no number of them.
const RELEASES: u64 = 25;

/// Selections nested deeper than that are no client's.
const DEPTH_MAX: usize = 20;

/// A failed query, as GraphQL says it: HTTP 200 with errors in it.
pub fn failure(message: &str, code: &str) -> Value {
    json!({"data": null, "errors": [{"message": message, "extensions": {"code": code}}]})
}

/// Answers a query; always HTTP 200, errors are in the body.
pub fn answer(sim: &Sim, call: &Call) -> Reply {
    let text = call.body["query"].as_str().unwrap_or_default();
    match execute(sim, text, &call.body["variables"]) {
        Ok(data) => Reply::ok(json!({"data": data})),
        Err(failure) => Reply::ok(failure),
    }
}

fn execute(sim: &Sim, text: &str, variables: &Value) -> Result<Value, Value> {
    let document: Document<'_, &str> = parse_query(text)
        .map_err(|error| failure(&format!("the query cannot be parsed: {error}"), "INVALID"))?;
    let query = Query { sim, document: &document, variables };
    let root = document.definitions.iter().find_map(|definition| match definition {
        Definition::Operation(OperationDefinition::SelectionSet(root)) => Some(root),
        Definition::Operation(OperationDefinition::Query(query)) => Some(&query.selection_set),
        Definition::Operation(_) | Definition::Fragment(_) => None,
    });
    let root = root.ok_or_else(|| failure("only queries are answered here", "INVALID"))?;
    let mut data = Map::new();
    for field in query.fields(root, 0) {
        let object = query.root(field)?;
        data.insert(named(field), query.project(&object, field, 1)?);
    }
    Ok(Value::Object(data))
}

/// The name under which a field's answer is expected.
fn named<'a>(field: &Field<'a, &'a str>) -> String {
    field.alias.unwrap_or(field.name).to_owned()
}

fn no_app(name: &str) -> Value {
    failure(&format!("Could not find App \"{name}\""), "NOT_FOUND")
}

/// A query that is being answered.
#[derive(Clone, Copy)]
struct Query<'a> {
    sim: &'a Sim,
    document: &'a Document<'a, &'a str>,
    variables: &'a Value,
}

impl<'a> Query<'a> {
    /// The fields that are selected, fragments included.
    fn fields(
        self,
        selected: &'a SelectionSet<'a, &'a str>,
        depth: usize,
    ) -> Vec<&'a Field<'a, &'a str>> {
        if depth > DEPTH_MAX {
            return Vec::new();
        }
        let mut fields = Vec::new();
        for selection in &selected.items {
            match selection {
                Selection::Field(field) => fields.push(field),
                Selection::InlineFragment(inline) => {
                    fields.extend(self.fields(&inline.selection_set, depth + 1));
                }
                Selection::FragmentSpread(spread) => {
                    let fragment = self.document.definitions.iter().find_map(|one| match one {
                        Definition::Fragment(fragment) => {
                            (fragment.name == spread.fragment_name).then_some(fragment)
                        }
                        Definition::Operation(_) => None,
                    });
                    if let Some(fragment) = fragment {
                        fields.extend(self.fields(&fragment.selection_set, depth + 1));
                    }
                }
            }
        }
        fields
    }

    /// An argument's value, of the query itself or of its variables.
    fn argument(self, field: &'a Field<'a, &'a str>, name: &str) -> Value {
        let found = field.arguments.iter().find(|(other, _)| *other == name);
        match found.map(|(_, value)| value) {
            Some(Argument::Variable(variable)) => self.variables[*variable].clone(),
            Some(Argument::String(text)) => json!(text),
            Some(Argument::Int(number)) => json!(number.as_i64()),
            Some(Argument::Boolean(flag)) => json!(flag),
            _ => Value::Null,
        }
    }

    fn text(self, field: &'a Field<'a, &'a str>, name: &str) -> String {
        self.argument(field, name).as_str().unwrap_or_default().to_owned()
    }

    /// What a root field stands for; what depends on arguments below it is still left out.
    fn root(self, field: &'a Field<'a, &'a str>) -> Result<Value, Value> {
        let sim = self.sim;
        match field.name {
            "app" => {
                let name = self.text(field, "name");
                app(sim, &name).ok_or_else(|| no_app(&name))
            }
            "apps" => {
                let names = sim.with(|org| org.app_names());
                let nodes: Vec<Value> = names.iter().filter_map(|name| app(sim, name)).collect();
                Ok(json!({
                    "pageInfo": {"hasNextPage": false, "endCursor": null}, "nodes": nodes,
                }))
            }
            "organizations" => Ok(json!({"nodes": [organization(sim)]})),
            "organization" => {
                let slug = self.text(field, "slug");
                let known = sim.with(|org| org.check_slug(&slug).is_ok());
                if !known {
                    return Err(failure("Could not find Organization", "NOT_FOUND"));
                }
                Ok(organization(sim))
            }
            // Every image here is some app's own; of those the platform knows no newer ones.
            "latestImageDetails" => {
                let image = self.text(field, "image");
                Err(failure(&format!("Unknown repository {image}"), "NOT_FOUND"))
            }
            "canPerformBluegreenDeployment" => Ok(json!(true)),
            other => {
                let text = format!("the simulated platform does not know the field `{other}`");
                Err(failure(&text, "INVALID"))
            }
        }
    }

    /// What a field selects of an object, or of each in a list of them.
    fn project(
        self,
        value: &Value,
        field: &'a Field<'a, &'a str>,
        depth: usize,
    ) -> Result<Value, Value> {
        if field.selection_set.items.is_empty() || depth > DEPTH_MAX {
            return Ok(value.clone());
        }
        match value {
            Value::Array(list) => {
                list.iter().map(|one| self.project(one, field, depth + 1)).collect()
            }
            Value::Object(object) => {
                let mut selected = Map::new();
                for inner in self.fields(&field.selection_set, 0) {
                    let found = self.field(object, inner)?;
                    selected.insert(named(inner), self.project(&found, inner, depth + 1)?);
                }
                Ok(Value::Object(selected))
            }
            other => Ok(other.clone()),
        }
    }

    /// A field of an object; those with arguments are an app's.
    fn field(
        self,
        object: &Map<String, Value>,
        field: &'a Field<'a, &'a str>,
    ) -> Result<Value, Value> {
        let name = object.get("name").and_then(Value::as_str).unwrap_or_default();
        let is_app = object.get("__typename").is_some_and(|kind| kind == "App");
        Ok(match field.name {
            "releases" | "releasesUnprocessed" if is_app => {
                let all = self.sim.ask(|org| org.releases(name)).map_err(|_| no_app(name))?;
                let limit = self.argument(field, "first").as_u64().unwrap_or(RELEASES);
                let limit = usize::try_from(limit).unwrap_or(usize::MAX);
                // A cursor is the number of the last release before it.
                let after = self.text(field, "after").parse::<u64>().ok();
                let older = |entry: &&Entry| after.is_none_or(|after| entry.version < after);
                let rest: Vec<&Entry> = all.iter().filter(older).collect();
                let nodes: Vec<Value> = rest.iter().take(limit).copied().map(release).collect();
                let last = nodes.last().map(|node| node["version"].to_string());
                json!({
                    "nodes": nodes,
                    "pageInfo": {"hasNextPage": rest.len() > limit, "endCursor": last},
                })
            }
            "image" if is_app => {
                let reference = self.text(field, "ref");
                self.sim.digest(&reference).map_or(Value::Null, |digest| {
                    json!({
                        "id": "img_1", "digest": digest, "ref": reference, "manifest": null,
                        "compressedSize": "123456", "compressedSizeFull": "123456",
                    })
                })
            }
            other => object.get(other).cloned().unwrap_or(Value::Null),
        })
    }
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

fn organization(sim: &Sim) -> Value {
    let slug = sim.with(|org| org.slug.clone());
    json!({
        "__typename": "Organization", "id": "org_sim", "internalNumericId": "1", "slug": slug,
        "rawSlug": slug, "name": slug, "type": "SHARED", "paidPlan": true, "billable": true,
        "viewerRole": "admin", "wireGuardPeers": {"nodes": []},
        "delegatedWireGuardTokens": {"nodes": []},
    })
}

fn app(sim: &Sim, name: &str) -> Option<Value> {
    let app = sim.with(|org| org.show_app(name)).ok()?;
    let newest = sim.with(|org| org.releases(name)).ok()?.first().map(release);
    let nothing = json!({"nodes": []});
    Some(json!({
        "__typename": "App", "id": app["id"], "internalNumericId": app["internal_numeric_id"],
        "name": name, "hostname": format!("{name}.fly.dev"), "cnameTarget": null,
        "deployed": true, "network": "default", "status": "deployed",
        "appUrl": format!("https://{name}.fly.dev/"), "platformVersion": "machines",
        "organization": organization(sim), "role": null,
        "currentRelease": newest, "currentReleaseUnprocessed": newest,
        "egressIpAddresses": nothing, "ipAddresses": nothing,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::fleet;

    fn ask(text: &str, variables: &Value) -> Value {
        let sim = Sim::at(&fleet::demo(), "2026-01-05T03:00:00Z".parse().unwrap());
        match execute(&sim, text, variables) {
            Ok(data) => data,
            Err(failure) => failure["errors"][0]["message"].clone(),
        }
    }

    #[test]
    fn an_answer_has_what_the_query_selects_under_the_names_it_gives() {
        let text = "query ($name: String!) { compact: app(name: $name) { ...short
            current: currentReleaseUnprocessed { version } odd { id } } }
            fragment short on App { name organization { slug } }";
        let data = ask(text, &json!({"name": "web"}));
        let wanted = json!({"compact": {
            "name": "web", "organization": {"slug": "acme"}, "current": {"version": 41}, "odd": null,
        }});
        assert_eq!(data, wanted);
    }

    #[test]
    fn one_field_is_answered_by_what_is_selected_of_it() {
        let peers = "query($slug: String!) { organization(slug: $slug) \
                     { wireGuardPeers { nodes { id } } } }";
        let slug = json!({"slug": "acme"});
        assert_eq!(ask(peers, &slug), json!({"organization": {"wireGuardPeers": {"nodes": []}}}));
        let id = "{ organization(slug: \"acme\") { id } }";
        assert_eq!(ask(id, &Value::Null), json!({"organization": {"id": "org_sim"}}));
        let other = ask(peers, &json!({"slug": "other"}));
        assert_eq!(other, "Could not find Organization");
    }

    #[test]
    fn releases_come_in_pages() {
        let text = "query($first: Int) { app(name: \"web\") { releases: releasesUnprocessed\
                    (first: $first) { nodes { version } pageInfo { hasNextPage endCursor } } } }";
        let page = &ask(text, &json!({"first": 5}))["app"]["releases"];
        assert_eq!(page["nodes"], json!([{"version": 41}]));
        assert_eq!(page["pageInfo"], json!({"hasNextPage": false, "endCursor": "41"}));
    }

    #[test]
    fn what_is_not_known_or_cannot_be_read_says_so() {
        let said = |text: &str| ask(text, &Value::Null).as_str().unwrap_or_default().to_owned();
        assert!(said("{ viewer { id } }").contains("`viewer`"));
        assert!(said("{ app(name: \"no\") { id } }").contains("Could not find App"));
        assert!(said("{ app(name: ").contains("cannot be parsed"));
        assert!(said("mutation { lockApp { id } }").contains("only queries"));
        assert!(said("{ latestImageDetails(image: \"web:v1\") { tag } }").contains("Unknown repo"));
    }
}
