//! What is read from a machine's configuration. It is never written from here: the configuration
//! travels as the text it came as.

use std::{collections::BTreeMap, time::Duration};

use serde::Deserialize;
use serde_json::Value;

use super::lenient::{self, duration_of};
use crate::model::{MetricsPage, RestartPolicy};

/// The parts that are looked at. Each is taken as it comes, so that an odd one spoils no other.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Config {
    #[serde(default, deserialize_with = "lenient::text")]
    pub(crate) image: String,
    #[serde(default)]
    metadata: Value,
    #[serde(default)]
    checks: Value,
    #[serde(default)]
    services: Value,
    #[serde(default)]
    metrics: Value,
    #[serde(default)]
    standbys: Value,
    #[serde(default)]
    restart: Value,
    #[serde(default)]
    schedule: Value,
    #[serde(default)]
    auto_destroy: Value,
}

/// One check of a service.
struct ServiceCheck<'a> {
    kind: &'a str,
    port: Option<u64>,
    timing: Timing,
}

/// When a check runs, as far as the configuration says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Timing {
    pub(crate) interval: Option<Duration>,
    /// How long it may fail after a start.
    pub(crate) grace: Option<Duration>,
}

impl Timing {
    fn of(check: &Value) -> Self {
        let duration = |key: &str| check.get(key).and_then(duration_of);
        Self { interval: duration("interval"), grace: duration("grace_period") }
    }
}

impl Config {
    pub(crate) fn metadata(&self) -> BTreeMap<String, String> {
        let entries = self.metadata.as_object().into_iter().flatten();
        entries.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
    }

    /// How many checks have results to be waited for. Health checks of containers are left out:
    /// the platform does not report them among a machine's checks.
    pub(crate) fn checks_configured(&self) -> usize {
        let own = self.checks.as_object().map_or(0, serde_json::Map::len);
        own + self.service_checks().count()
    }

    /// The timing of the check that is reported under `name`: the key of a check of the machine,
    /// or `servicecheck-NN-TYPE-PORT`.
    pub(crate) fn timing(&self, name: &str) -> Timing {
        if let Some(check) = self.checks.get(name) {
            return Timing::of(check);
        }
        self.service_timing(name).unwrap_or_default()
    }

    fn service_timing(&self, name: &str) -> Option<Timing> {
        let mut parts = name.strip_prefix("servicecheck-")?.splitn(3, '-');
        let (number, kind) = (parts.next()?, parts.next()?);
        let port: u64 = parts.next()?.parse().ok()?;
        let fits = |check: &ServiceCheck<'_>| check.kind == kind && check.port == Some(port);
        let numbered = number.parse().ok().and_then(|number| self.service_checks().nth(number));
        if let Some(check) = numbered.filter(|check| fits(check)) {
            return Some(check.timing);
        }
        // Whatever the number counts: the slowest check that fits claims the fewest failures.
        let fitting = || self.service_checks().filter(fits).map(|check| check.timing);
        Some(Timing {
            interval: fitting().filter_map(|timing| timing.interval).max(),
            grace: fitting().filter_map(|timing| timing.grace).max(),
        })
    }

    fn service_checks(&self) -> impl Iterator<Item = ServiceCheck<'_>> {
        let services = self.services.as_array().into_iter().flatten();
        services.flat_map(|service| {
            let checks = service.get("checks").and_then(Value::as_array);
            checks.into_iter().flatten().map(move |check| ServiceCheck {
                kind: check.get("type").and_then(Value::as_str).unwrap_or_default(),
                port: check
                    .get("port")
                    .and_then(Value::as_u64)
                    .or_else(|| service.get("internal_port").and_then(Value::as_u64)),
                timing: Timing::of(check),
            })
        })
    }

    pub(crate) fn metrics(&self) -> Option<MetricsPage> {
        let port = self.metrics.get("port")?.as_u64()?;
        let port = u16::try_from(port).ok().filter(|port| *port > 0)?;
        let path = self.metrics.get("path").and_then(Value::as_str).unwrap_or_default();
        let path = match path {
            "" => "/metrics".to_owned(),
            path if path.starts_with('/') => path.to_owned(),
            path => format!("/{path}"),
        };
        let https = self.metrics.get("https").and_then(Value::as_bool).unwrap_or(false);
        Some(MetricsPage { port, path, https })
    }

    /// Whether requests reach the machine through the platform's proxy.
    pub(crate) fn has_services(&self) -> bool {
        self.services.as_array().is_some_and(|services| !services.is_empty())
    }

    /// The port of its first service, inside the machine.
    pub(crate) fn service_port(&self) -> Option<u16> {
        let services = self.services.as_array().into_iter().flatten();
        let mut ports = services.filter_map(|service| service.get("internal_port")?.as_u64());
        ports.find_map(|port| u16::try_from(port).ok().filter(|port| *port > 0))
    }

    /// When the platform starts it anew after an end; `None`: it does not say.
    pub(crate) fn restart(&self) -> Option<RestartPolicy> {
        match self.restart.get("policy")?.as_str()? {
            "no" => Some(RestartPolicy::No),
            "on-failure" => Some(RestartPolicy::OnFailure),
            "always" => Some(RestartPolicy::Always),
            _ => None,
        }
    }

    /// Whether it says itself when it runs, or that it runs once.
    pub(crate) fn has_own_schedule(&self) -> bool {
        self.schedule.as_str().is_some_and(|schedule| !schedule.is_empty())
            || self.auto_destroy.as_bool().unwrap_or(false)
    }

    /// Whether the machine stands by for others.
    pub(crate) fn is_standby(&self) -> bool {
        self.standbys.as_array().is_some_and(|standbys| !standbys.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn config(value: Value) -> Config {
        serde_json::from_value(value).unwrap()
    }

    fn seconds(config: &Config, name: &str) -> Option<u64> {
        config.timing(name).interval.map(|interval| interval.as_secs())
    }

    #[test]
    fn checks_are_counted_wherever_they_are_configured() {
        let config = config(json!({
            "checks": {"db": {"interval": "1m0s", "grace_period": "45s"}, "queue": {"interval": 30_000_000_000_u64}},
            "services": [
                {"internal_port": 8080, "checks": [
                    {"type": "http", "interval": "15s"}, {"type": "tcp", "interval": "10s"},
                    {"type": "http", "port": 9090, "interval": "5s"}]},
                {"internal_port": 53, "checks": null},
                {"internal_port": 25},
            ],
            "containers": [{"name": "c", "healthchecks": [{"name": "h"}]}],
        }));
        assert_eq!(config.checks_configured(), 5);
        assert_eq!(seconds(&config, "db"), Some(60));
        assert_eq!(config.timing("db").grace, Some(Duration::from_secs(45)));
        assert_eq!(config.timing("queue").grace, None);
        assert_eq!(seconds(&config, "queue"), Some(30));
        assert_eq!(seconds(&config, "servicecheck-00-http-8080"), Some(15));
        assert_eq!(seconds(&config, "servicecheck-01-tcp-8080"), Some(10));
        assert_eq!(seconds(&config, "servicecheck-07-http-9090"), Some(5), "found by its port");
        assert_eq!(seconds(&config, "servicecheck-00-http-1"), None);
        assert_eq!(seconds(&config, "servicecheck-00"), None);
        assert_eq!(seconds(&config, "other"), None);
    }

    #[test]
    fn an_odd_part_spoils_no_other() {
        let config = config(json!({
            "metadata": {"fly_process_group": "web", "number": 7, "none": null},
            "checks": [], "services": {"odd": true}, "metrics": {"port": 9091, "path": "m"},
            "standbys": null, "image": null,
        }));
        assert_eq!(config.checks_configured(), 0);
        assert_eq!(
            config.metadata().into_iter().collect::<Vec<_>>(),
            [("fly_process_group".to_owned(), "web".to_owned())]
        );
        assert_eq!(
            config.metrics(),
            Some(MetricsPage { port: 9091, path: "/m".to_owned(), https: false })
        );
        assert!(!config.is_standby());
        assert!(!config.has_services());
        assert_eq!(config.restart(), None);
    }

    #[test]
    fn services_and_the_restart_policy_are_read() {
        let ports = json!([{"internal_port": null}, {"internal_port": 8080}]);
        assert_eq!(config(json!({"services": ports})).service_port(), Some(8080));
        let config = config(json!({"services": [{}], "restart": {"policy": "on-failure"}}));
        assert_eq!(config.service_port(), None);
        assert!(config.has_services());
        assert_eq!(config.restart(), Some(RestartPolicy::OnFailure));
    }

    #[test]
    fn what_runs_by_its_own_schedule_says_so() {
        for (value, is) in [
            (json!({"schedule": "daily"}), true),
            (json!({"auto_destroy": true}), true),
            (json!({"schedule": "", "auto_destroy": false}), false),
            (json!({"schedule": null, "auto_destroy": null}), false),
            (json!({}), false),
        ] {
            assert_eq!(config(value.clone()).has_own_schedule(), is, "{value}");
        }
    }

    #[test]
    fn metrics_need_a_port() {
        let page = |value: Value| config(json!({ "metrics": value })).metrics();
        let want = MetricsPage { port: 80, path: "/metrics".to_owned(), https: false };
        let secure = MetricsPage { https: true, ..want.clone() };
        assert_eq!(page(json!({"port": 80, "https": true})), Some(secure));
        assert_eq!(page(json!({"port": 80})), Some(want.clone()));
        assert_eq!(page(json!({"port": 80, "path": ""})), Some(want));
        for odd in [json!({"port": 0}), json!({"port": 70_000}), json!({"path": "/m"}), json!(1)] {
            assert_eq!(page(odd), None);
        }
    }
}
