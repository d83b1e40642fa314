//! What the platform's proxy counts of the requests that it passes on, as its own metrics tell it.
//!
//! A proxy counts by machine and not by process: an update in place resets nothing, a restart of the
//! proxy resets everything and gives it a new `proxy_id`.

use std::{collections::BTreeMap, fmt::Write as _};

use super::{
    org::Org,
    page::{BOUNDS, bucket},
    traffic::FAST_S,
};

/// Requests of one machine, by the status they were answered with.
pub(in crate::sim) type Proxied = BTreeMap<&'static str, Answered>;

/// Requests that were answered with one status.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::sim) struct Answered {
    count: u64,
    /// Slow ones, by the place of their histogram bucket.
    slow: BTreeMap<usize, u64>,
    /// Seconds they took together.
    seconds: f64,
}

/// Adds requests, some of which failed and some of which were slow.
pub(in crate::sim) fn add(proxied: &mut Proxied, requests: u64, failed: u64, slow: (u64, f64)) {
    let (slow, slow_s) = slow;
    let ok = requests.saturating_sub(failed);
    let slow_ok = slow.min(ok);
    for (status, count, slow) in [("200", ok, slow_ok), ("500", failed, slow - slow_ok)] {
        if count > 0 {
            let answered = proxied.entry(status).or_default();
            answered.count += count;
            *answered.slow.entry(bucket(slow_s)).or_default() += slow;
            answered.seconds += wide(count.saturating_sub(slow)) * FAST_S + wide(slow) * slow_s;
        }
    }
}

/// Counts stay far below 2^53.
fn wide(count: u64) -> f64 {
    u32::try_from(count).map_or(f64::from(u32::MAX), f64::from)
}

/// One series of the proxy.
#[derive(Clone, Debug, PartialEq)]
pub struct ProxySeries {
    pub name: &'static str,
    pub labels: BTreeMap<&'static str, String>,
    pub value: f64,
}

/// The families that the proxy has here, with their types.
const FAMILIES: [(&str, &str); 3] = [
    (RESPONSES, "counter"),
    ("fly_app_http_response_time_seconds", "histogram"),
    (CONCURRENCY, "gauge"),
];
const RESPONSES: &str = "fly_app_http_responses_count";
const TIME_BUCKET: &str = "fly_app_http_response_time_seconds_bucket";
const TIME_SUM: &str = "fly_app_http_response_time_seconds_sum";
const TIME_COUNT: &str = "fly_app_http_response_time_seconds_count";
const CONCURRENCY: &str = "fly_app_concurrency";

impl Org {
    /// What the proxy tells now of every machine that it ever sent a request.
    pub fn proxy_series(&self) -> Vec<ProxySeries> {
        let mut all = Vec::new();
        let known = self.machines.values().filter(|machine| !machine.is_destroyed());
        for machine in known.filter(|machine| !machine.proxied.is_empty()) {
            let labels: BTreeMap<&'static str, String> = BTreeMap::from([
                ("app", machine.app.clone()),
                ("region", machine.region.clone()),
                ("host", machine.zone.clone()),
                ("instance", machine.id.clone()),
                ("proxy_id", format!("{}-{}", machine.zone, self.proxies_made)),
            ]);
            let mut series = |name, extra: &[(&'static str, &str)], value| {
                let mut labels = labels.clone();
                labels.extend(extra.iter().map(|(name, value)| (*name, (*value).to_owned())));
                all.push(ProxySeries { name, labels, value });
            };
            for (status, answered) in &machine.proxied {
                let status = ("status", *status);
                series(RESPONSES, &[status], wide(answered.count));
                let slow: u64 = answered.slow.values().sum();
                let mut below = answered.count.saturating_sub(slow);
                for (place, bound) in BOUNDS.iter().enumerate() {
                    below += answered.slow.get(&place).copied().unwrap_or(0);
                    series(TIME_BUCKET, &[status, ("le", &bound.to_string())], wide(below));
                }
                series(TIME_BUCKET, &[status, ("le", "+Inf")], wide(answered.count));
                series(TIME_SUM, &[status], answered.seconds);
                series(TIME_COUNT, &[status], wide(answered.count));
            }
            if machine.is_started() {
                let now = self.concurrency(machine);
                series(CONCURRENCY, &[], now);
            }
        }
        all
    }

    /// The same as a page, as a metrics server reads it.
    pub fn proxy_page(&self) -> String {
        let all = self.proxy_series();
        let mut page = String::new();
        for (family, kind) in FAMILIES {
            let of_it = |series: &&ProxySeries| series.name.starts_with(family);
            // Writing to a string cannot fail.
            let _written = writeln!(page, "# TYPE {family} {kind}").is_ok();
            for series in all.iter().filter(of_it) {
                let labels = series.labels.iter();
                let labels: Vec<String> =
                    labels.map(|(name, value)| format!("{name}=\"{value}\"")).collect();
                let labels = labels.join(",");
                let _written =
                    writeln!(page, "{}{{{labels}}} {}", series.name, series.value).is_ok();
            }
        }
        page
    }

    /// The proxy is started anew on every host: its counters begin at 0, under another id.
    pub fn restart_proxies(&mut self) {
        self.proxies_made += 1;
        for machine in self.machines.values_mut() {
            machine.proxied.clear();
        }
    }
}
