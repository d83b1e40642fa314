//! What a token may do, as the platform answers when it is asked; and how it refuses the rest.

#![expect(clippy::indexing_slicing, reason = "a JSON field that is missing reads as null")]

use serde_json::{Value, json};

use super::{
    call::Call,
    graphql,
    reply::{Answer, Reply, set_field},
    route::Operation,
};
use crate::sim::{Refusal, Right, Sim, owner_of};

/// Answers a question about tokens.
pub fn answer(sim: &Sim, call: &Call) -> Answer {
    match call.route.action {
        Operation::TokenAuthorize => authorize(sim, call),
        _ => current(sim, call),
    }
}

/// The refusal in the shape of the door that was knocked at.
pub fn refused(action: Operation, refusal: &Refusal) -> Reply {
    if action == Operation::Graphql && refusal.status() == 403 {
        return Reply::ok(graphql::failure("Not authorized to access this", "UNAUTHORIZED"));
    }
    Reply::error(refusal.status(), &refusal.text())
}

/// A token without any right is no token.
fn current(sim: &Sim, call: &Call) -> Answer {
    let denied: Vec<Option<u16>> =
        sim.with(|org| Right::ALL.iter().map(|right| org.denied(&call.owner, *right)).collect());
    if denied.contains(&Some(401)) || denied.iter().all(Option::is_some) {
        return Err(Reply::error(401, "unauthenticated: token missing or invalid"));
    }
    Ok(Reply::ok(json!({"tokens": [{
        "token_id": "sim", "org_slug": sim.with(|org| org.slug.clone()),
        "organization": sim.with(|org| org.slug.clone()), "apps": ["*"], "user": call.owner,
    }]})))
}

fn authorize(sim: &Sim, call: &Call) -> Answer {
    let Some(header) = call.body["header"].as_str().filter(|text| !text.trim().is_empty()) else {
        return Err(Reply::invalid("header is required"));
    };
    let access = &call.body["access"];
    let Some(rights) = wanted(access) else {
        return Err(Reply::invalid("access.action is required"));
    };
    let slug = access["org_slug"].as_str().unwrap_or_default();
    if !slug.is_empty() {
        sim.ask(|org| org.check_slug(slug))?;
    }
    let app = access["app_name"].as_str().unwrap_or_default();
    if !app.is_empty() {
        sim.ask(|org| org.show_app(app))?;
    }
    // The scheme, where there is one, is no part of the token.
    let token = header.trim().rsplit(' ').next().unwrap_or_default();
    let owner = owner_of(token);
    let denied = sim.with(|org| rights.iter().find_map(|right| org.denied(&owner, *right)));
    if denied.is_some() {
        return Err(Reply::error(400, "permission_denied: token verification failed"));
    }
    Ok(Reply::ok(json!({"access": shown(access), "verified_token": {"header": header}})))
}

/// An access as it is answered: what it may do as bits, whom it concerns as numbers.
fn shown(access: &Value) -> Value {
    let bits = match &access["action"] {
        Value::String(letters) => "rwcdC"
            .chars()
            .enumerate()
            .filter(|(_, letter)| letters.contains(*letter))
            .map(|(place, _)| 1_u64 << place)
            .sum(),
        bits => bits.as_u64().unwrap_or(0),
    };
    let mut shown = json!({"action": bits, "orgid": 1});
    for field in ["app_feature", "mutation"] {
        if let Some(text) = access[field].as_str() {
            set_field(&mut shown, field, text);
        }
    }
    shown
}

/// The rights that an access takes: its action is letters, or the same as bits.
fn wanted(access: &Value) -> Option<Vec<Right>> {
    let (reads, writes) = match &access["action"] {
        Value::String(letters) if !letters.is_empty() => {
            (letters.contains('r'), letters.chars().any(|letter| "wcdC".contains(letter)))
        }
        Value::Number(bits) => {
            let bits = bits.as_u64().filter(|bits| (1..=31).contains(bits))?;
            (bits & 1 != 0, bits & !1 != 0)
        }
        _ => return None,
    };
    let mut rights = Vec::new();
    if access["app_feature"] == "images" {
        rights.push(Right::Registry);
    } else if access["mutation"].as_str().is_some_and(|name| !name.is_empty()) {
        rights.push(Right::Ledger);
    } else {
        rights.extend(reads.then_some(Right::Read));
        rights.extend(writes.then_some(Right::Write));
    }
    Some(rights)
}
