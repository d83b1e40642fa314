//! The GraphQL door: enough of the schema for every query that a Fly client sends here.
//!
//! A query is parsed and answered field by field, as it selects and names them. A field that is not
//! simulated is an error that names it, at the root and below: a client that got null instead would
//! show nothing, or break.

#![expect(clippy::indexing_slicing, reason = "a JSON field that is missing reads as null")]

mod mutations;
mod objects;

use graphql_parser::query::{
    Definition, Document, Field, OperationDefinition, Selection, SelectionSet, TypeCondition,
    Value as Argument, parse_query,
};
use serde_json::{Map, Value, json};

use super::{call::Call, reply::Reply};
use crate::sim::{handle::Sim, model::ledger::Entry};

/// Releases in an answer that asks for no number of them.
const RELEASES: u64 = 25;

/// Selections nested deeper than that are no client's.
const DEPTH_MAX: usize = 20;

/// Why a query has no answer.
#[derive(Debug)]
struct Failure {
    message: String,
    code: &'static str,
    /// It asks for something that is not simulated.
    is_unknown: bool,
}

impl Failure {
    fn new(message: String, code: &'static str) -> Self {
        Self { message, code, is_unknown: false }
    }

    fn unknown(what: &str) -> Self {
        let message = format!("the simulated platform has no {what}");
        Self { message, code: "INVALID", is_unknown: true }
    }

    fn no_app(name: &str) -> Self {
        Self::new(format!("Could not find App \"{name}\""), "NOT_FOUND")
    }
}

/// A failed query, as GraphQL says it: HTTP 200 with errors in it.
pub fn failure(message: &str, code: &str) -> Value {
    json!({"data": null, "errors": [{"message": message, "extensions": {"code": code}}]})
}

/// Answers a query; always HTTP 200, errors are in the body.
pub fn answer(sim: &Sim, call: &Call) -> Reply {
    let text = call.body["query"].as_str().unwrap_or_default();
    match execute(sim, &call.owner, text, &call.body["variables"]) {
        Ok(data) => Reply::ok(json!({"data": data})),
        Err(Failure { message, code, is_unknown }) => {
            let mut reply = Reply::ok(failure(&message, code));
            reply.unknown = is_unknown.then_some(message);
            reply
        }
    }
}

fn execute(sim: &Sim, owner: &str, text: &str, variables: &Value) -> Result<Value, Failure> {
    let document: Document<'_, &str> = parse_query(text)
        .map_err(|error| Failure::new(format!("the query cannot be parsed: {error}"), "INVALID"))?;
    let query = Query { sim, owner, document: &document, variables };
    let root = document.definitions.iter().find_map(|definition| match definition {
        Definition::Operation(OperationDefinition::SelectionSet(root)) => Some((root, false)),
        Definition::Operation(OperationDefinition::Query(query)) => {
            Some((&query.selection_set, false))
        }
        Definition::Operation(OperationDefinition::Mutation(mutation)) => {
            Some((&mutation.selection_set, true))
        }
        Definition::Operation(OperationDefinition::Subscription(_)) | Definition::Fragment(_) => {
            None
        }
    });
    let (root, changes) = root.ok_or_else(|| Failure::unknown("subscriptions"))?;
    let mut data = Map::new();
    for field in query.fields(root, None, 0) {
        let object = if changes { query.change(field)? } else { query.root(field)? };
        data.insert(named(field), query.project(&object, field, 1)?);
    }
    Ok(Value::Object(data))
}

/// The name under which a field's answer is expected.
fn named<'a>(field: &Field<'a, &'a str>) -> String {
    field.alias.unwrap_or(field.name).to_owned()
}

/// A query that is being answered.
#[derive(Clone, Copy)]
struct Query<'a> {
    sim: &'a Sim,
    /// Who asks.
    owner: &'a str,
    document: &'a Document<'a, &'a str>,
    variables: &'a Value,
}

impl<'a> Query<'a> {
    /// The fields that are selected of an object of this type, fragments included.
    fn fields(
        self,
        selected: &'a SelectionSet<'a, &'a str>,
        kind: Option<&str>,
        depth: usize,
    ) -> Vec<&'a Field<'a, &'a str>> {
        if depth > DEPTH_MAX {
            return Vec::new();
        }
        let applies = |condition: Option<&TypeCondition<'a, &'a str>>| match (condition, kind) {
            (Some(TypeCondition::On(wanted)), Some(kind)) => *wanted == kind,
            _ => true,
        };
        let mut fields = Vec::new();
        for selection in &selected.items {
            match selection {
                Selection::Field(field) => fields.push(field),
                Selection::InlineFragment(inline) => {
                    if applies(inline.type_condition.as_ref()) {
                        fields.extend(self.fields(&inline.selection_set, kind, depth + 1));
                    }
                }
                Selection::FragmentSpread(spread) => {
                    let fragment = self.document.definitions.iter().find_map(|one| match one {
                        Definition::Fragment(fragment) => {
                            (fragment.name == spread.fragment_name).then_some(fragment)
                        }
                        Definition::Operation(_) => None,
                    });
                    if let Some(fragment) =
                        fragment.filter(|one| applies(Some(&one.type_condition)))
                    {
                        fields.extend(self.fields(&fragment.selection_set, kind, depth + 1));
                    }
                }
            }
        }
        fields
    }

    /// An argument's value, of the query itself or of its variables.
    fn argument(self, field: &'a Field<'a, &'a str>, name: &str) -> Value {
        let found = field.arguments.iter().find(|(other, _)| *other == name);
        found.map_or(Value::Null, |(_, value)| self.value(value))
    }

    fn value(self, argument: &Argument<'a, &'a str>) -> Value {
        match argument {
            Argument::Variable(variable) => self.variables[*variable].clone(),
            Argument::String(text) => json!(text),
            Argument::Int(number) => json!(number.as_i64()),
            Argument::Boolean(flag) => json!(flag),
            Argument::Enum(name) => json!(name),
            Argument::Float(number) => json!(number),
            Argument::Null => Value::Null,
            Argument::List(values) => values.iter().map(|value| self.value(value)).collect(),
            Argument::Object(fields) => Value::Object(
                fields.iter().map(|(key, value)| ((*key).to_owned(), self.value(value))).collect(),
            ),
        }
    }

    fn text(self, field: &'a Field<'a, &'a str>, name: &str) -> String {
        self.argument(field, name).as_str().unwrap_or_default().to_owned()
    }

    /// What a root field stands for; what depends on arguments below it is still left out.
    fn root(self, field: &'a Field<'a, &'a str>) -> Result<Value, Failure> {
        let sim = self.sim;
        match field.name {
            "app" => {
                let name = self.text(field, "name");
                objects::app(sim, self.owner, &name).ok_or_else(|| Failure::no_app(&name))
            }
            "apps" => {
                let role = self.text(field, "role");
                // No app here has a role.
                let names = if role.is_empty() { sim.with(|org| org.app_names()) } else { vec![] };
                let nodes: Vec<Value> =
                    names.iter().filter_map(|name| objects::app(sim, self.owner, name)).collect();
                Ok(json!({
                    "pageInfo": {"hasNextPage": false, "endCursor": null}, "nodes": nodes,
                }))
            }
            "appNameAvailable" => {
                let name = self.text(field, "name");
                Ok(json!(sim.with(|org| org.app(&name).is_err())))
            }
            "organizations" => Ok(json!({"nodes": [objects::organization(sim, self.owner)]})),
            "organization" => {
                let slug = self.text(field, "slug");
                let known = sim.with(|org| org.check_slug(&slug).is_ok());
                if !known {
                    let text = "Could not find Organization".to_owned();
                    return Err(Failure::new(text, "NOT_FOUND"));
                }
                Ok(objects::organization(sim, self.owner))
            }
            "viewer" => Ok(objects::user(self.owner)),
            "platform" => Ok(objects::platform(sim)),
            "nearestRegion" => Ok(objects::nearest_region(sim)),
            "machine" => {
                let id = self.text(field, "machineId");
                let found =
                    sim.with(|org| org.app_of(&id).ok().map(|app| (app, org.clone_of(&id))));
                let found = found.and_then(|(app, machine)| {
                    Some(objects::machine(&machine?, &objects::app(sim, self.owner, &app)?))
                });
                let text = format!("Could not find Machine \"{id}\"");
                found.ok_or_else(|| Failure::new(text, "NOT_FOUND"))
            }
            "volume" => {
                let id = self.text(field, "id");
                let app = sim.with(|org| org.volumes.get(&id).map(|volume| volume.app.clone()));
                let app = app.and_then(|app| objects::app(sim, self.owner, &app));
                let text = format!("Could not find Volume \"{id}\"");
                let app = app.ok_or_else(|| Failure::new(text, "NOT_FOUND"))?;
                Ok(json!({"__typename": "Volume", "id": id, "app": app, "state": "created"}))
            }
            // Every image here is some app's own; of those the platform knows no newer ones.
            "latestImageDetails" => {
                let image = self.text(field, "image");
                Err(Failure::new(format!("Unknown repository {image}"), "NOT_FOUND"))
            }
            "canPerformBluegreenDeployment" => Ok(json!(true)),
            other => Err(Failure::unknown(&format!("field `{other}`"))),
        }
    }

    /// What a field selects of an object, or of each in a list of them.
    fn project(
        self,
        value: &Value,
        field: &'a Field<'a, &'a str>,
        depth: usize,
    ) -> Result<Value, Failure> {
        if field.selection_set.items.is_empty() || depth > DEPTH_MAX {
            return Ok(value.clone());
        }
        match value {
            Value::Array(list) => {
                list.iter().map(|one| self.project(one, field, depth + 1)).collect()
            }
            Value::Object(object) => {
                let mut selected = Map::new();
                let kind = object.get("__typename").and_then(Value::as_str);
                for inner in self.fields(&field.selection_set, kind, 0) {
                    let found = self.field(object, inner, field.name)?;
                    selected.insert(named(inner), self.project(&found, inner, depth + 1)?);
                }
                Ok(Value::Object(selected))
            }
            other => Ok(other.clone()),
        }
    }

    /// A field of an object that was selected as `parent`; those with arguments are an app's.
    fn field(
        self,
        object: &Map<String, Value>,
        field: &'a Field<'a, &'a str>,
        parent: &str,
    ) -> Result<Value, Failure> {
        let name = object.get("name").and_then(Value::as_str).unwrap_or_default();
        let is_app = object.get("__typename").is_some_and(|kind| kind == "App");
        Ok(match field.name {
            "releases" | "releasesUnprocessed" if is_app => self.releases(name, field)?,
            "image" if is_app => {
                let reference = self.text(field, "ref");
                self.sim.digest(&reference).map_or(Value::Null, |digest| {
                    json!({
                        "id": "img_1", "digest": digest, "ref": reference, "manifest": null,
                        "compressedSize": "123456", "compressedSizeFull": "123456",
                    })
                })
            }
            other => object
                .get(other)
                .cloned()
                .ok_or_else(|| Failure::unknown(&format!("field `{other}` of `{parent}`")))?,
        })
    }

    fn releases(self, app: &str, field: &'a Field<'a, &'a str>) -> Result<Value, Failure> {
        let all = self.sim.with(|org| org.releases(app)).map_err(|_| Failure::no_app(app))?;
        let limit = self.argument(field, "first").as_u64().unwrap_or(RELEASES);
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        // A cursor is the number of the last release before it.
        let after = self.text(field, "after").parse::<u64>().ok();
        let older = |entry: &&Entry| after.is_none_or(|after| entry.version < after);
        let rest: Vec<&Entry> = all.iter().filter(older).collect();
        let nodes: Vec<Value> = rest.iter().take(limit).copied().map(objects::release).collect();
        let last = nodes.last().map(|node| node["version"].to_string());
        Ok(json!({
            "nodes": nodes,
            "pageInfo": {"hasNextPage": rest.len() > limit, "endCursor": last},
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::fleet;

    fn ask(text: &str, variables: &Value) -> Value {
        let sim = Sim::at(&fleet::demo(), "2026-01-05T03:00:00Z".parse().unwrap());
        match execute(&sim, "ann@acme.test", text, variables) {
            Ok(data) => data,
            Err(failure) => json!(failure.message),
        }
    }

    #[test]
    fn an_answer_has_what_the_query_selects_under_the_names_it_gives() {
        let text = "query ($name: String!) { compact: app(name: $name) { ...short
            current: currentReleaseUnprocessed { version } role { name } } }
            fragment short on App { name organization { slug } }";
        let data = ask(text, &json!({"name": "web"}));
        let wanted = json!({"compact": {
            "name": "web", "organization": {"slug": "acme"}, "current": {"version": 41}, "role": null,
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
        assert!(said("{ onboarding { id } }").contains("`onboarding`"));
        let tokens =
            said("{ organization(slug: \"acme\") { limitedAccessTokens { nodes { id } } } }");
        assert_eq!(
            tokens,
            "the simulated platform has no field `limitedAccessTokens` of `organization`"
        );
        assert!(said("{ app(name: \"no\") { id } }").contains("Could not find App"));
        assert!(said("{ app(name: ").contains("cannot be parsed"));
        assert!(said("mutation { lockApp { id } }").contains("no mutation `lockApp`"));
        assert!(said("{ latestImageDetails(image: \"web:v1\") { tag } }").contains("Unknown repo"));
    }
}
