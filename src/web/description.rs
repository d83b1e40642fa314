//! The description of the API, made from its handlers and their types: `OpenAPI` 3.1.
//!
//! Handlers say what they are for, what they take and what they answer with. What holds for all of
//! them, as `answers` has it, is added here: refusals, tags of what is read, who may give orders,
//! and that every field of an answer is there.

use std::{collections::BTreeMap, sync::LazyLock};

use utoipa::{
    Modify, OpenApi, PartialSchema as _,
    openapi::{
        self, Components, Content, Header, HeaderBuilder, Ref, RefOr, Required, Response,
        path::{Operation, Parameter, ParameterBuilder, ParameterIn},
        schema::{AllOf, ObjectBuilder, Schema, Type},
        security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme},
    },
};

use super::{acts, api, configuration, view::ProblemView};
use crate::model::AppName;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Waveoff",
        version = "1",
        description = "What the daemon knows, and the orders it takes. Every refusal is a problem of RFC 9457. New fields may appear; none changes its meaning or goes away under /api/v1.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    paths(
        api::status, api::app, api::history, api::releases, api::explanation, api::deliveries,
        api::whole_history, configuration::read, configuration::versions, configuration::push,
        configuration::reset, api::hold, api::unhold, api::resend, api::test_receiver,
        acts::rollback, acts::approve, acts::veto, acts::resume, acts::pin, acts::unpin,
        acts::quarantine, acts::unquarantine, acts::trust,
    ),
    components(schemas(ProblemView)),
    modifiers(&Everywhere)
)]
struct Api;

/// The description as it is served; `guarded`: reading takes a token.
pub(super) fn text(guarded: bool) -> &'static str {
    static OPEN: LazyLock<String> = LazyLock::new(|| written(false));
    static GUARDED: LazyLock<String> = LazyLock::new(|| written(true));
    if guarded { &GUARDED } else { &OPEN }
}

fn written(guarded: bool) -> String {
    let mut api = Api::openapi();
    if guarded {
        guard(&mut api);
    }
    serde_json::to_string(&api).unwrap_or_default()
}

/// Reading takes one of the tokens.
fn guard(api: &mut openapi::OpenApi) {
    for item in api.paths.paths.values_mut() {
        if let Some(read) = item.get.as_mut().filter(|read| read.security.is_none()) {
            let with = ["reader", "operator"];
            read.security = Some(with.map(|who| SecurityRequirement::new(who, [""; 0])).to_vec());
            refuses(read, OF_READERS.iter());
        }
    }
    let components = api.components.get_or_insert_default();
    components.add_security_scheme("reader", token("The daemon's WAVEOFF_READ_TOKEN."));
}

fn token(says: &str) -> SecurityScheme {
    let token = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(says));
    SecurityScheme::Http(token.build())
}

/// Adds what holds for every request.
struct Everywhere;

/// Statuses that any request may be answered with, and why.
const OF_ALL: [(&str, &str); 2] = [
    ("400", "Not understood."),
    ("503", "Not now: too much at once, the journal does not answer, or the app's task."),
];
/// Those of requests about something by its name.
const OF_NAMED: [(&str, &str); 1] = [("404", "It is not watched, or there is no such thing.")];
/// Those of what is read where that takes a token.
const OF_READERS: [(&str, &str); 2] = [
    ("401", "Without a token that may read, or with a wrong one."),
    ("403", "The token for reading that the daemon has is too short to be one."),
];
/// Those of orders.
const OF_ORDERS: [(&str, &str); 5] = [
    ("401", "Without the operator's token, or with a wrong one."),
    ("403", "The daemon takes no orders."),
    ("409", "Something stands against it; `refusal` says what, as facts."),
    ("413", "The body is longer than 64 KiB, or than a configuration may be."),
    ("415", "The body is not JSON."),
];

impl Modify for Everywhere {
    fn modify(&self, api: &mut openapi::OpenApi) {
        for (path, item) in &mut api.paths.paths {
            let is_named = path.contains('{');
            let is_about_app = path.contains("{app}");
            if let Some(read) = &mut item.get {
                finish(read, is_about_app);
                is_tagged(read);
                refuses(read, OF_ALL.iter().chain(OF_NAMED.iter().filter(|_| is_named)));
                // Not everything that is read is for those who may read.
                let is_for_operators = read.security.is_some();
                refuses(read, OF_ORDERS.iter().take(2).filter(|_| is_for_operators));
            }
            for order in [&mut item.post, &mut item.put, &mut item.delete].into_iter().flatten() {
                finish(order, is_about_app);
                order.security = Some(vec![SecurityRequirement::new("operator", [""; 0])]);
                refuses(order, OF_ALL.iter().chain(&OF_NAMED).chain(&OF_ORDERS));
            }
        }
        let components = api.components.get_or_insert_default();
        components.add_security_scheme("operator", token("The daemon's WAVEOFF_OPERATOR_TOKEN."));
        complete(components);
    }
}

/// An operation by itself: no groups, and the app by its name.
fn finish(operation: &mut Operation, is_about_app: bool) {
    operation.tags = None;
    if is_about_app {
        let app = ParameterBuilder::new().name("app").parameter_in(ParameterIn::Path);
        let app = app.required(Required::True).schema(Some(AppName::schema()));
        let app = app.description(Some("A watched app.")).example(Some("api".into()));
        add(operation, app.build());
    }
}

fn add(operation: &mut Operation, parameter: Parameter) {
    operation.parameters.get_or_insert_default().push(RefOr::T(parameter));
}

fn a_text() -> Schema {
    Schema::Object(ObjectBuilder::new().schema_type(Type::String).build())
}

/// What is read need not be sent again.
fn is_tagged(read: &mut Operation) {
    let known = ParameterBuilder::new().name("If-None-Match").parameter_in(ParameterIn::Header);
    let known = known.required(Required::False).schema(Some(a_text()));
    let known = known.description(Some("An ETag that is known: 304 if the answer is the same."));
    add(read, known.build());
    let responses = &mut read.responses.responses;
    if let Some(RefOr::T(answer)) = responses.get_mut("200") {
        let why = "Changes with what the answer says. Answers of more than 256 KiB have none, but for the status.";
        let tag: Header =
            HeaderBuilder::new().schema(Some(a_text())).description(Some(why)).build();
        answer.headers.insert("ETag".to_owned(), RefOr::T(tag));
    }
    let same = Response::new("The answer is the one with that ETag.");
    responses.insert("304".to_owned(), RefOr::T(same));
}

fn refuses<'a>(operation: &mut Operation, with: impl Iterator<Item = &'a (&'a str, &'a str)>) {
    for (status, why) in with {
        let mut refusal = Response::new(*why);
        let problem = Content::new(Some(Ref::from_schema_name("Problem")));
        refusal.content.insert("application/problem+json".to_owned(), RefOr::T(problem));
        // What a handler says itself, it knows better.
        let responses = &mut operation.responses.responses;
        responses.entry((*status).to_owned()).or_insert(RefOr::T(refusal));
    }
}

/// What is answered has all of its fields, where they say nothing as `null`; one that takes in
/// another has its fields.
fn complete(components: &mut Components) {
    let whole = components.schemas.clone();
    for (name, schema) in &mut components.schemas {
        if let RefOr::T(Schema::AllOf(parts)) = schema {
            *schema = RefOr::T(merged(parts, &whole));
        }
        if let RefOr::T(Schema::Object(object)) = schema
            && !name.ends_with("Request")
        {
            object.required = object.properties.keys().cloned().collect();
        }
    }
}

/// One object with the fields of all parts.
fn merged(parts: &AllOf, all: &BTreeMap<String, RefOr<Schema>>) -> Schema {
    let mut whole = openapi::schema::Object::new();
    whole.description.clone_from(&parts.description);
    for part in &parts.items {
        let part = match part {
            RefOr::Ref(to) => to.ref_location.rsplit('/').next().and_then(|name| all.get(name)),
            RefOr::T(_) => Some(part),
        };
        let Some(RefOr::T(Schema::Object(part))) = part else { continue };
        whole.properties.extend(part.properties.clone());
        if whole.description.is_none() {
            whole.description.clone_from(&part.description);
        }
    }
    Schema::Object(whole)
}
