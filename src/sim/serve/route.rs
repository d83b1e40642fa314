//! Which operation a request asks for: method and path in, a name and identifiers out.
//!
//! The name is what rate limits, faults and the call log go by; the handlers follow from it too,
//! so there is one list of what the served platform can do.

use axum::http::Method;

use crate::sim::Right;

macro_rules! actions {
    ($($variant:ident $name:literal,)*) => {
        /// An operation of one of the doors.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Operation { $($variant,)* }

        impl Operation {
            /// The name used in the call log and for faults.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

actions! {
    Graphql "graphql",
    Organization "organization_get",
    BuildStart "build_start",
    BuildFinish "build_finish",
    ReleaseCreate "release_create",
    ReleasePatch "release_patch",
    ReleasesList "releases_list",
    ReleaseCurrent "release_current",
    ReleasesAllCurrent "releases_all_current",
    Logs "logs",
    AppsList "apps_list",
    AppGet "app_get",
    AppCreate "app_create",
    AppDestroy "app_destroy",
    MachinesList "machines_list",
    MachineCreate "machine_create",
    MachineGet "machine_get",
    MachineUpdate "machine_update",
    MachineDestroy "machine_destroy",
    MachineStart "machine_start",
    MachineStop "machine_stop",
    MachineRestart "machine_restart",
    MachineSuspend "machine_suspend",
    MachineSignal "machine_signal",
    MachineCordon "machine_cordon",
    MachineUncordon "machine_uncordon",
    MachineWait "machine_wait",
    MachineEvents "machine_events",
    MachineVersions "machine_versions",
    LeaseGet "lease_get",
    LeaseTake "lease_take",
    LeaseRelease "lease_release",
    MetadataGet "metadata_get",
    MetadataSet "metadata_set",
    MetadataKeyGet "metadata_key_get",
    MetadataKeySet "metadata_key_set",
    MetadataKeyDelete "metadata_key_delete",
    Processes "machine_ps",
    OrgMachines "org_machines",
    Volumes "volumes_list",
    VolumeCreate "volume_create",
    VolumeGet "volume_get",
    VolumeUpdate "volume_update",
    VolumeExtend "volume_extend",
    VolumeDestroy "volume_destroy",
    VolumeSnapshots "volume_snapshots",
    OrgVolumes "org_volumes",
    SecretsList "secrets_list",
    SecretsSet "secrets_set",
    SecretGet "secret_get",
    SecretSet "secret_set",
    SecretDelete "secret_delete",
    Ips "ips_list",
    Regions "regions_list",
    TokenCurrent "token_current",
    TokenAuthorize "token_authorize",
    RegistryPing "registry_ping",
    Manifest "manifest",
    MetricsQuery "metrics_query",
    Control "control",
    Unrouted "unrouted",
}

impl Operation {
    /// The right it takes; `None`: none, or one that depends on what is asked.
    pub fn right(self) -> Option<Right> {
        match self {
            Self::Control | Self::TokenCurrent | Self::TokenAuthorize | Self::Unrouted => None,
            Self::ReleaseCreate | Self::ReleasePatch | Self::BuildStart | Self::BuildFinish => {
                Some(Right::Ledger)
            }
            Self::RegistryPing | Self::Manifest => Some(Right::Registry),
            Self::MachineCreate
            | Self::MachineUpdate
            | Self::MachineDestroy
            | Self::MachineStart
            | Self::MachineStop
            | Self::MachineRestart
            | Self::MachineSuspend
            | Self::MachineSignal
            | Self::MachineCordon
            | Self::MachineUncordon
            | Self::LeaseTake
            | Self::LeaseRelease
            | Self::MetadataSet
            | Self::MetadataKeySet
            | Self::MetadataKeyDelete
            | Self::SecretsSet
            | Self::SecretSet
            | Self::SecretDelete
            | Self::AppCreate
            | Self::AppDestroy
            | Self::VolumeCreate
            | Self::VolumeUpdate
            | Self::VolumeExtend
            | Self::VolumeDestroy => Some(Right::Write),
            Self::Graphql
            | Self::Organization
            | Self::ReleasesList
            | Self::ReleaseCurrent
            | Self::ReleasesAllCurrent
            | Self::Logs
            | Self::AppsList
            | Self::AppGet
            | Self::MachinesList
            | Self::MachineGet
            | Self::MachineWait
            | Self::MachineEvents
            | Self::MachineVersions
            | Self::LeaseGet
            | Self::MetadataGet
            | Self::MetadataKeyGet
            | Self::Processes
            | Self::OrgMachines
            | Self::Volumes
            | Self::VolumeGet
            | Self::VolumeSnapshots
            | Self::OrgVolumes
            | Self::SecretsList
            | Self::SecretGet
            | Self::Ips
            | Self::Regions
            | Self::MetricsQuery => Some(Right::Read),
        }
    }
}

/// What a request asks for; identifiers that do not apply are empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    pub action: Operation,
    /// App, organization slug, or repository.
    pub app: String,
    pub machine: String,
    /// Release id, metadata key, manifest reference, or the control API's path.
    pub key: String,
}

impl Route {
    fn new(action: Operation, app: &str, machine: &str, key: &str) -> Self {
        Self { action, app: app.to_owned(), machine: machine.to_owned(), key: key.to_owned() }
    }

    /// What the rate limit counts by: the machine, or else the app.
    pub fn identifier(&self) -> &str {
        if self.machine.is_empty() { &self.app } else { &self.machine }
    }

    /// Whether the Machines API limits it (its documented limits cover nothing else).
    pub fn is_limited(&self) -> bool {
        !matches!(
            self.action,
            Operation::Graphql
                | Operation::Organization
                | Operation::BuildStart
                | Operation::BuildFinish
                | Operation::ReleaseCreate
                | Operation::ReleasePatch
                | Operation::ReleasesList
                | Operation::ReleaseCurrent
                | Operation::ReleasesAllCurrent
                | Operation::Logs
                | Operation::RegistryPing
                | Operation::Manifest
                | Operation::MetricsQuery
                | Operation::Control
                | Operation::Unrouted
        )
    }
}

/// The operation behind `method` and `path`.
pub fn parse(method: &Method, path: &str) -> Route {
    find(method, path).unwrap_or_else(|| Route::new(Operation::Unrouted, "", "", ""))
}

/// `None`: there is nothing of that name.
fn find(method: &Method, path: &str) -> Option<Route> {
    let segments: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let method = method.as_str();
    match segments.as_slice() {
        ["graphql"] if method == "POST" => Some(Route::new(Operation::Graphql, "", "", "")),
        ["_sim", rest @ ..] => Some(Route::new(Operation::Control, "", "", &rest.join("/"))),
        ["v2"] => Some(Route::new(Operation::RegistryPing, "", "", "")),
        ["v2", repository @ .., "manifests", reference] if matches!(method, "GET" | "HEAD") => {
            Some(Route::new(Operation::Manifest, &repository.join("/"), "", reference))
        }
        ["api", "v1", rest @ ..] => uiex(method, rest),
        ["prometheus", slug, "api", "v1", what @ ..] if matches!(method, "GET" | "POST") => {
            Some(Route::new(Operation::MetricsQuery, slug, "", &what.join("/")))
        }
        ["v1", rest @ ..] => machines_api(method, rest),
        _ => None,
    }
}

fn uiex(method: &str, segments: &[&str]) -> Option<Route> {
    let (action, app, key) = match (method, segments) {
        ("GET", ["organizations", slug]) => (Operation::Organization, *slug, ""),
        ("POST", ["builds"]) => (Operation::BuildStart, "", ""),
        ("POST", ["builds", "finish"]) => (Operation::BuildFinish, "", ""),
        ("POST", ["releases"]) => (Operation::ReleaseCreate, "", ""),
        ("PATCH", ["releases", id]) => (Operation::ReleasePatch, "", *id),
        ("GET", ["releases", "all_current"]) => (Operation::ReleasesAllCurrent, "", ""),
        ("GET", ["apps", app, "releases"]) => (Operation::ReleasesList, *app, ""),
        ("GET", ["apps", app, "releases", "current"]) => (Operation::ReleaseCurrent, *app, ""),
        ("GET", ["apps", app, "logs"]) => (Operation::Logs, *app, ""),
        _ => return None,
    };
    Some(Route::new(action, app, "", key))
}

fn machines_api(method: &str, segments: &[&str]) -> Option<Route> {
    let (action, app) = match (method, segments) {
        ("GET", ["apps"]) => (Operation::AppsList, ""),
        ("POST", ["apps"]) => (Operation::AppCreate, ""),
        ("GET", ["apps", app]) => (Operation::AppGet, *app),
        ("DELETE", ["apps", app]) => (Operation::AppDestroy, *app),
        ("GET", ["apps", app, "machines"]) => (Operation::MachinesList, *app),
        ("POST", ["apps", app, "machines"]) => (Operation::MachineCreate, *app),
        ("GET", ["apps", app, "volumes"]) => (Operation::Volumes, *app),
        ("POST", ["apps", app, "volumes"]) => (Operation::VolumeCreate, *app),
        ("GET", ["orgs", slug, "volumes"]) => (Operation::OrgVolumes, *slug),
        ("GET", ["apps", app, "secrets"]) => (Operation::SecretsList, *app),
        ("POST", ["apps", app, "secrets"]) => (Operation::SecretsSet, *app),
        ("GET", ["apps", app, "ip_assignments"]) => (Operation::Ips, *app),
        ("GET", ["orgs", slug, "machines"]) => (Operation::OrgMachines, *slug),
        ("GET", ["platform", "regions"]) => (Operation::Regions, ""),
        ("GET", ["tokens", "current"]) => (Operation::TokenCurrent, ""),
        ("POST", ["tokens", "authorize"]) => (Operation::TokenAuthorize, ""),
        (_, ["apps", app, "secrets", name]) => {
            let action = match method {
                "GET" => Operation::SecretGet,
                "POST" => Operation::SecretSet,
                "DELETE" => Operation::SecretDelete,
                _ => return None,
            };
            return Some(Route::new(action, app, "", name));
        }
        (_, ["apps", app, "volumes", id, rest @ ..]) => {
            let action = match (method, rest) {
                ("GET", []) => Operation::VolumeGet,
                ("PUT", []) => Operation::VolumeUpdate,
                ("DELETE", []) => Operation::VolumeDestroy,
                ("PUT", ["extend"]) => Operation::VolumeExtend,
                ("GET", ["snapshots"]) => Operation::VolumeSnapshots,
                _ => return None,
            };
            return Some(Route::new(action, app, "", id));
        }
        (_, ["apps", app, "machines", machine, rest @ ..]) => {
            return on_machine(method, app, machine, rest);
        }
        _ => return None,
    };
    Some(Route::new(action, app, "", ""))
}

fn on_machine(method: &str, app: &str, machine: &str, rest: &[&str]) -> Option<Route> {
    let (action, key) = match (method, rest) {
        ("GET", []) => (Operation::MachineGet, ""),
        ("POST", []) => (Operation::MachineUpdate, ""),
        ("DELETE", []) => (Operation::MachineDestroy, ""),
        ("POST", ["start"]) => (Operation::MachineStart, ""),
        ("POST", ["stop"]) => (Operation::MachineStop, ""),
        ("POST", ["restart"]) => (Operation::MachineRestart, ""),
        ("POST", ["suspend"]) => (Operation::MachineSuspend, ""),
        ("POST", ["signal"]) => (Operation::MachineSignal, ""),
        ("POST", ["cordon"]) => (Operation::MachineCordon, ""),
        ("POST", ["uncordon"]) => (Operation::MachineUncordon, ""),
        ("GET", ["wait"]) => (Operation::MachineWait, ""),
        ("GET", ["events"]) => (Operation::MachineEvents, ""),
        ("GET", ["versions"]) => (Operation::MachineVersions, ""),
        ("GET", ["lease"]) => (Operation::LeaseGet, ""),
        ("POST", ["lease"]) => (Operation::LeaseTake, ""),
        ("DELETE", ["lease"]) => (Operation::LeaseRelease, ""),
        ("GET", ["metadata"]) => (Operation::MetadataGet, ""),
        ("PUT" | "PATCH", ["metadata"]) => (Operation::MetadataSet, ""),
        ("GET", ["metadata", key]) => (Operation::MetadataKeyGet, *key),
        ("POST", ["metadata", key]) => (Operation::MetadataKeySet, *key),
        ("DELETE", ["metadata", key]) => (Operation::MetadataKeyDelete, *key),
        ("GET", ["ps"]) => (Operation::Processes, ""),
        _ => return None,
    };
    Some(Route::new(action, app, machine, key))
}

/// The query string's parameters in order, percent-decoded; a parameter may come several times.
pub fn query(text: &str) -> Vec<(String, String)> {
    text.split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name), decode(value))
        })
        .collect()
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        match (first, tail) {
            (b'%', [high, low, after @ ..]) if hex(*high).is_some() && hex(*low).is_some() => {
                bytes.push(hex(*high).unwrap_or(0) * 16 + hex(*low).unwrap_or(0));
                rest = after;
            }
            (b'+', _) => bytes.push(b' '),
            (other, _) => bytes.push(*other),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_door_is_told_from_the_path() {
        let route = parse(&Method::POST, "/v1/apps/web/machines/m1/lease");
        assert_eq!((route.action, route.identifier()), (Operation::LeaseTake, "m1"));
        let route = parse(&Method::HEAD, "/v2/team/web/manifests/sha256:41");
        assert_eq!((route.app.as_str(), route.key.as_str()), ("team/web", "sha256:41"));
        let route = parse(&Method::PATCH, "/api/v1/releases/rel_43");
        assert_eq!((route.action, route.key.as_str()), (Operation::ReleasePatch, "rel_43"));
        let nowhere = parse(&Method::PUT, "/v1/apps/web/machines");
        assert_eq!(nowhere.action, Operation::Unrouted);
    }

    #[test]
    fn query_parameters_are_decoded_and_may_repeat() {
        let pairs = query("state=started&state=stopped&t=2026-01-01T00%3A00%3A00Z");
        assert_eq!(pairs.len(), 3);
        assert_eq!(pairs[2].1, "2026-01-01T00:00:00Z");
    }
}
