//! The Machines API: reading machines, leases, updates, starting, waiting.
//!
//! What is repeated after a lost answer, and why that is safe:
//! - readings, always;
//! - an update, under the same lease: it is applied again or turned away, and in the second case
//!   a look at the machine tells whether the first one was (nobody else could write meanwhile);
//! - prolonging a lease and giving it back: once more changes nothing;
//! - taking a lease, not: if the lost attempt succeeded, the lease is ours under a nonce nobody
//!   knows, and the second attempt can only be told that it is held. It ends by itself soon;
//! - starting, not: the caller looks at the machine and starts it again if need be.
//!
//! What the rate limit turned away, and what found no connection, was not done and is repeated in
//! any case.

use std::time::Duration;

use reqwest::{Method, Url};
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::time::sleep;
use tracing::warn;

use super::{
    Answer, Fly, below,
    errors::Failure,
    http::{self, Call, Patience},
    limits::Action,
    retry::Repeat,
    wire::{
        config::Config,
        image,
        machine::{WireApps, WireLease, WireMachine, WireSecrets, WireTokens, WireWait},
    },
};
use crate::{
    model::{AppName, InstanceId, Machine, MachineId, MachineState, RawConfig, Secrets},
    ports::{Lease, MachineUpdate, PlatformError, TokenScope, WaitFor},
};

/// Shown to anyone who lists machines with their leases.
const DESCRIPTION: &str = concat!("waveoff ", env!("CARGO_PKG_VERSION"), " puts an image back");
/// Looks at a machine after an update of which the answer was lost.
const LOOKS: u32 = 5;
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Shorter than a lease lives.
const LEASE_PATIENCE: Patience = Patience::seconds(5, 12);
/// The platform plans the update before it answers.
const UPDATE_PATIENCE: Patience = Patience::seconds(20, 60);
/// A wait's answer may take this much longer than the wait.
const WAIT_MARGIN: Duration = Duration::from_secs(5);

fn read(fly: &Fly, action: Action, id: &str, url: Url) -> Call {
    Call { authorization: fly.caller.tokens().machines(), ..Call::get(action, id, url) }
}

fn machine_url(fly: &Fly, app: &AppName, id: &MachineId, rest: &[&str]) -> Url {
    let mut path = vec!["v1", "apps", app.as_str(), "machines", id.as_str()];
    path.extend(rest);
    below(&fly.bases.flaps, &path)
}

/// A write to a leased machine, not repeated unless it certainly was not done.
fn write(fly: &Fly, action: Action, lease: &Lease, method: Method, rest: &[&str]) -> Call {
    let url = machine_url(fly, &lease.app, &lease.machine, rest);
    Call {
        method,
        nonce: Some(lease.nonce.clone()),
        repeat: Repeat::IfUndone,
        ..read(fly, action, lease.machine.as_str(), url)
    }
}

/// Every app of the organization.
pub(super) async fn apps(fly: &Fly) -> Answer<Vec<AppName>> {
    let mut url = below(&fly.bases.flaps, &["v1", "apps"]);
    url.query_pairs_mut().append_pair("org_slug", &fly.organization);
    let call = read(fly, Action::Apps, &fly.organization, url);
    let answer = fly.caller.call(&call).await?;
    let apps: WireApps = fly.caller.decode(&answer)?;
    let names = apps.apps.into_iter().map(|app| app.name).filter(|name| !name.is_empty());
    Ok(names.map(AppName::new).collect())
}

/// Every machine of an app that is not destroyed. One machine that cannot be understood makes the
/// list unreadable: a machine left out would be one that nobody watches.
pub(super) async fn list(fly: &Fly, app: &AppName) -> Answer<Vec<Machine>> {
    let mut url = below(&fly.bases.flaps, &["v1", "apps", app.as_str(), "machines"]);
    url.query_pairs_mut().append_pair("include_leases", "true");
    let call = read(fly, Action::Machines, app.as_str(), url);
    let answer = fly.caller.call(&call).await?;
    let wire: Option<Vec<WireMachine>> = fly.caller.decode(&answer)?;
    let mut machines = Vec::new();
    for machine in wire.unwrap_or_default() {
        let machine = machine.into_machine(app).map_err(|what| answer.unreadable(&what))?;
        if machine.state != MachineState::Destroyed {
            machines.push(machine);
        }
    }
    if machines.iter().any(|machine| machine.image.digest.is_none()) {
        let listed = machines.clone();
        machines.iter_mut().for_each(|machine| image::complete(machine, &listed));
    }
    Ok(machines)
}

/// One machine. Where the platform leaves out which image it runs, its neighbours are asked.
pub(super) async fn one(fly: &Fly, app: &AppName, id: &MachineId) -> Answer<Machine> {
    let mut url = machine_url(fly, app, id, &[]);
    url.query_pairs_mut().append_pair("include_leases", "true");
    let call = read(fly, Action::Machine, id.as_str(), url);
    let answer = fly.caller.call(&call).await?;
    let machine: WireMachine = fly.caller.decode(&answer)?;
    let mut machine = machine.into_machine(app).map_err(|what| answer.unreadable(&what))?;
    if machine.image.digest.is_none()
        && machine.image.tag.is_some()
        && machine.state != MachineState::Destroyed
        && let Ok(listed) = list(fly, app).await
    {
        image::complete(&mut machine, &listed);
    }
    Ok(machine)
}

/// Names and digests of an app's secrets.
pub(super) async fn secrets(fly: &Fly, app: &AppName) -> Answer<Secrets> {
    let url = below(&fly.bases.flaps, &["v1", "apps", app.as_str(), "secrets"]);
    let call = read(fly, Action::Secrets, app.as_str(), url);
    let answer = fly.caller.call(&call).await?;
    let wire: WireSecrets = fly.caller.decode(&answer)?;
    let named = wire.secrets.into_iter().filter(|secret| !secret.name.is_empty());
    Ok(named.map(|secret| (secret.name, secret.digest)).collect())
}

/// What the platform says of our token.
pub(super) async fn token_scope(fly: &Fly) -> Answer<TokenScope> {
    let url = below(&fly.bases.flaps, &["v1", "tokens", "current"]);
    let call = read(fly, Action::Tokens, &fly.organization, url);
    let answer = fly.caller.call(&call).await?;
    let wire: WireTokens = fly.caller.decode(&answer)?;
    let mut scope = TokenScope::default();
    for token in wire.tokens {
        scope.organizations.extend(Some(token.org_slug).filter(|slug| !slug.is_empty()));
        scope.apps.extend(token.apps);
        let machine = token.restricted_to_machine;
        scope.only_machine = scope.only_machine.or(Some(machine).filter(|id| !id.is_empty()));
    }
    Ok(scope)
}

#[derive(Serialize)]
struct LeaseBody {
    description: &'static str,
    ttl: u64,
}

fn lease_call(call: Call, ttl: Duration) -> Answer<Call> {
    // Whole seconds, rounded up: a lease may live longer than asked for, never shorter.
    let seconds = ttl.as_secs().saturating_add(u64::from(ttl.subsec_nanos() > 0)).max(1);
    let mut url = call.url.clone();
    url.query_pairs_mut().append_pair("ttl", &seconds.to_string());
    let body = json(&LeaseBody { description: DESCRIPTION, ttl: seconds })?;
    Ok(Call { method: Method::POST, url, body: Some(body), patience: LEASE_PATIENCE, ..call })
}

fn json(body: &impl Serialize) -> Answer<String> {
    serde_json::to_string(body)
        .map_err(|error| PlatformError::Refused(format!("the request cannot be written: {error}")))
}

fn granted(
    fly: &Fly,
    answer: &http::Answer,
    app: &AppName,
    id: &MachineId,
    ttl: Duration,
) -> Answer<Lease> {
    let grant = fly.caller.decode::<WireLease>(answer)?.grant();
    if grant.nonce.is_empty() {
        return Err(answer.unreadable("a lease without a nonce"));
    }
    let now = fly.caller.clock().now();
    let expires_at = grant.expires_at.or_else(|| now.checked_add(ttl).ok()).unwrap_or(now);
    Ok(Lease { app: app.clone(), machine: id.clone(), nonce: grant.nonce, expires_at })
}

/// Takes a machine's lease.
pub(super) async fn lease(
    fly: &Fly,
    app: &AppName,
    id: &MachineId,
    ttl: Duration,
) -> Answer<Lease> {
    let url = machine_url(fly, app, id, &["lease"]);
    let call = read(fly, Action::Lease, id.as_str(), url);
    let call = lease_call(Call { repeat: Repeat::IfUndone, ..call }, ttl)?;
    let answer = fly.caller.call(&call).await?;
    granted(fly, &answer, app, id, ttl)
}

/// Prolongs a lease.
pub(super) async fn refresh(fly: &Fly, lease: &Lease, ttl: Duration) -> Answer<Lease> {
    let call = write(fly, Action::Lease, lease, Method::POST, &["lease"]);
    let call = lease_call(Call { repeat: Repeat::Always, ..call }, ttl)?;
    let answer = fly.caller.call(&call).await?;
    let refreshed = granted(fly, &answer, &lease.app, &lease.machine, ttl)?;
    if refreshed.nonce == lease.nonce {
        return Ok(refreshed);
    }
    // Ours had ended and this is another: what happened in between is not known. It is given
    // back, so that it does not keep others out.
    if let Err(error) = release(fly, &refreshed).await {
        warn!(machine.id = %lease.machine, "a lease of {} was not given back: {error}", lease.machine);
    }
    Err(PlatformError::NotFound(format!("the lease of {} has ended", lease.machine)))
}

/// Gives a lease back; one that is gone is no error.
pub(super) async fn release(fly: &Fly, lease: &Lease) -> Answer<()> {
    let call = write(fly, Action::LeaseRelease, lease, Method::DELETE, &["lease"]);
    let call = Call { repeat: Repeat::Always, patience: LEASE_PATIENCE, ..call };
    match fly.caller.call(&call).await.map_err(PlatformError::from) {
        Ok(_) | Err(PlatformError::NotFound(_) | PlatformError::LeaseHeld { .. }) => Ok(()),
        Err(PlatformError::Refused(text) | PlatformError::Conflict(text))
            if text.contains("lease not found") =>
        {
            Ok(())
        }
        Err(error) => Err(error),
    }
}

#[derive(Serialize)]
struct UpdateBody<'a> {
    config: &'a RawValue,
    #[serde(skip_serializing_if = "str::is_empty")]
    current_version: &'a str,
    skip_launch: bool,
}

fn update_body(update: &MachineUpdate) -> Answer<String> {
    // The configuration is looked through, not rebuilt: it goes out as it is.
    let config: &RawValue = serde_json::from_str(&update.config.0).map_err(|error| {
        PlatformError::Refused(format!("the configuration is no JSON: {error}"))
    })?;
    let current_version = update.current.as_str();
    json(&UpdateBody { config, current_version, skip_launch: update.skip_launch })
}

/// Replaces a machine's configuration.
pub(super) async fn update(fly: &Fly, lease: &Lease, update: &MachineUpdate) -> Answer<InstanceId> {
    let call = write(fly, Action::Update, lease, Method::POST, &[]);
    let body = Some(update_body(update)?);
    let call = Call { repeat: Repeat::Always, patience: UPDATE_PATIENCE, body, ..call };
    let failure = match fly.caller.call(&call).await {
        Ok(answer) => match updated(fly, &answer) {
            Ok(instance) => return Ok(instance),
            Err(error) => Failure::unknown(error),
        },
        Err(failure) => failure,
    };
    let unclear =
        matches!(failure.error, PlatformError::Conflict(_) | PlatformError::Unreadable(_));
    if failure.maybe_done
        && unclear
        && let Some(instance) = find_own(fly, lease, update).await
    {
        return Ok(instance);
    }
    Err(failure.error)
}

fn updated(fly: &Fly, answer: &http::Answer) -> Answer<InstanceId> {
    let machine: WireMachine = fly.caller.decode(answer)?;
    match machine.instance() {
        "" => Err(answer.unreadable("an updated machine without an instance id")),
        instance => Ok(InstanceId::new(instance)),
    }
}

/// Looks whether an update of which the answer was lost was carried out: under our lease, another
/// instance that is configured with our image can only be ours.
async fn find_own(fly: &Fly, lease: &Lease, update: &MachineUpdate) -> Option<InstanceId> {
    let image = image_of(&update.config)?;
    for _ in 0..LOOKS {
        let machine = one(fly, &lease.app, &lease.machine).await.ok()?;
        if machine.instance != update.current {
            let ours = machine.config.as_ref().and_then(image_of) == Some(image);
            return ours.then_some(machine.instance);
        }
        if !matches!(machine.state, MachineState::Transient(_)) {
            return None;
        }
        // It is being replaced, and may show its new instance a little later.
        sleep(LOOK_EVERY).await;
    }
    None
}

fn image_of(config: &RawConfig) -> Option<String> {
    let config: Config = serde_json::from_str(&config.0).ok()?;
    Some(config.image).filter(|image| !image.is_empty())
}

/// Starts a machine; whether it starts has to be looked at.
pub(super) async fn start(fly: &Fly, lease: &Lease) -> Answer<()> {
    let call = write(fly, Action::Start, lease, Method::POST, &["start"]);
    fly.caller.call(&call).await?;
    Ok(())
}

/// Waits for a state of an instance. Whenever the platform says anything but yes, the answer is
/// "not yet": what it says of an instance that it gave up is not documented, and the caller looks
/// at the machine anyway.
pub(super) async fn wait(
    fly: &Fly,
    app: &AppName,
    id: &MachineId,
    instance: &InstanceId,
    state: WaitFor,
    timeout: Duration,
) -> Answer<bool> {
    let name = match state {
        WaitFor::Started => "started",
        WaitFor::Settled => "settled",
    };
    let seconds = timeout.as_secs().clamp(1, 60);
    let mut url = machine_url(fly, app, id, &["wait"]);
    url.query_pairs_mut().append_pair("state", name).append_pair("timeout", &seconds.to_string());
    if !instance.as_str().is_empty() {
        url.query_pairs_mut().append_pair("version", instance.as_str());
    }
    let attempt = Duration::from_secs(seconds) + WAIT_MARGIN;
    let call = Call {
        patience: Patience { attempt, total: attempt + WAIT_MARGIN },
        answers: &[400, 408],
        ..read(fly, Action::Wait, id.as_str(), url)
    };
    let answer = fly.caller.call(&call).await?;
    if answer.status == 400 {
        warn!(app = %app, machine.id = %id, "{}", fly.caller.scrub(answer.failure().error));
    }
    if !answer.is_success() {
        return Ok(false);
    }
    if answer.body.trim_ascii().is_empty() {
        return Ok(true);
    }
    let end: WireWait = fly.caller.decode(&answer)?;
    let told = !end.version.is_empty() && !instance.as_str().is_empty();
    let other_instance = told && end.version != instance.as_str();
    let other_state = state == WaitFor::Started && !end.state.is_empty() && end.state != name;
    Ok(end.ok != Some(false) && !other_instance && !other_state)
}
