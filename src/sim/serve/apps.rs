//! Apps and what belongs to none of their machines: their secrets.

#![expect(clippy::indexing_slicing, reason = "a JSON field that is missing reads as null")]

use serde_json::{Map, Value, json};

use super::{
    call::Call,
    machine_json::rfc3339,
    reply::{Answer, Reply, set_field},
    route::Operation,
};
use crate::sim::{handle::Sim, model::org::Org, model::refusal::Refusal};

/// Letters of an app's name at most.
const NAME_MAX: usize = 63;

pub(super) fn list(sim: &Sim, call: &Call) -> Answer {
    let Some(slug) = call.parameter("org_slug") else {
        return Err(Reply::invalid("org_slug is required"));
    };
    sim.ask(|org| org.check_slug(slug))?;
    // No app here has a role.
    let names = match call.parameter("app_role") {
        Some(_) => Vec::new(),
        None => sim.with(|org| org.app_names()),
    };
    let apps: Vec<Value> =
        names.iter().map(|name| sim.ask(|org| org.show_app(name))).collect::<Result<_, _>>()?;
    Ok(Reply::ok(json!({"total_apps": apps.len(), "apps": apps})))
}

pub(super) fn create(sim: &Sim, call: &Call) -> Answer {
    let body = &call.body;
    let text = |key: &str| body[key].as_str().filter(|text| !text.is_empty());
    let (Some(name), Some(slug)) = (text("name").or(text("app_name")), text("org_slug")) else {
        return Err(Reply::invalid("name and org_slug are required"));
    };
    sim.ask(|org| org.check_slug(slug))?;
    if sim.with(|org| org.app(name).is_ok()) {
        let mut refusal = Reply::error(422, "Validation failed: Name has already been taken");
        set_field(&mut refusal.body, "status", "name_taken");
        return Err(refusal);
    }
    let network = text("network").unwrap_or("default");
    let mut app = sim.ask(|org| {
        org.found_app(name, network)?;
        org.show_app(name)
    })?;
    set_field(&mut app, "created_at", sim.platform_now().as_millisecond());
    Ok(Reply::with(201, app))
}

pub(super) fn secrets(sim: &Sim, call: &Call) -> Answer {
    let (app, name) = (&call.route.app, &call.route.key);
    let set = |values: &[(&String, Option<&str>)]| {
        sim.ask(|org| {
            org.set_secrets(app, values)?;
            org.app(app).map(|app| app.secrets_version)
        })
    };
    match call.route.action {
        Operation::SecretsList => {
            Ok(Reply::ok(json!({"secrets": sim.ask(|org| org.show_secrets(app))?})))
        }
        Operation::SecretsSet => {
            let empty = Map::new();
            let values = call.body["values"].as_object().unwrap_or(&empty);
            let values: Vec<(&String, Option<&str>)> =
                values.iter().map(|(name, value)| (name, value.as_str())).collect();
            let version = set(&values)?;
            let secrets = sim.ask(|org| org.show_secrets(app))?;
            Ok(Reply::ok(json!({"secrets": secrets, "version": version})))
        }
        Operation::SecretSet => {
            let Some(value) = call.body["value"].as_str() else {
                return Err(Reply::invalid("value is required"));
            };
            let version = set(&[(name, Some(value))])?;
            let mut secret = sim.ask(|org| org.show_secret(app, name))?;
            set_field(&mut secret, "version", version);
            Ok(Reply::with(201, secret))
        }
        Operation::SecretDelete => Ok(Reply::ok(json!({"version": set(&[(name, None)])?}))),
        _ => Ok(Reply::ok(sim.ask(|org| org.show_secret(app, name))?)),
    }
}

impl Org {
    /// A new app with nothing in it.
    fn found_app(&mut self, name: &str, network: &str) -> Result<(), Refusal> {
        let fits = name.len() <= NAME_MAX
            && name.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-');
        if !fits {
            let text =
                "Validation failed: Name may only contain numbers, lowercase letters and dashes";
            return Err(Refusal::Unprocessable(text.to_owned()));
        }
        self.add_app(name, crate::sim::fleet::Traffic::default());
        network.clone_into(&mut self.app_mut(name)?.network);
        Ok(())
    }

    /// Values are never shown; digests tell them apart.
    fn show_secrets(&self, app: &str) -> Result<Vec<Value>, Refusal> {
        let names = self.app(app)?.secrets.keys();
        names.map(|name| self.show_secret(app, name)).collect()
    }

    fn show_secret(&self, app: &str, name: &str) -> Result<Value, Refusal> {
        let secrets = &self.app(app)?.secrets;
        let digest = secrets.get(name).ok_or_else(|| Refusal::no("secret", name))?;
        let at = rfc3339(self.began);
        Ok(json!({"name": name, "digest": digest, "created_at": at, "updated_at": at}))
    }
}
