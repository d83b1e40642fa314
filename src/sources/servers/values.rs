//! What a server evaluates: one value per machine, or one for an app as a whole.

use std::collections::BTreeMap;

use tokio::time::Instant;

use crate::{config::MetricsServer, model::AppName, ports::SampledSeries};

/// The newest values of one expression.
#[derive(Debug, Default)]
pub(super) struct Values(BTreeMap<AppName, OfApp>);

#[derive(Debug)]
struct OfApp {
    at: Instant,
    /// By machine.
    machines: BTreeMap<String, Value>,
    whole: Option<f64>,
    /// Machines that were told the value of the whole.
    told: Vec<String>,
    /// Why the server does not evaluate it.
    refused: Option<String>,
}

impl OfApp {
    fn nothing(at: Instant) -> Self {
        Self { at, machines: BTreeMap::new(), whole: None, told: Vec::new(), refused: None }
    }
}

#[derive(Debug)]
struct Value {
    value: f64,
    told: bool,
}

/// A value, and whether it tells of the whole app.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Told {
    pub(super) value: f64,
    pub(super) whole_app: bool,
}

impl Values {
    /// Whether it was evaluated for an app since `then`.
    pub(super) fn is_fresh(&self, app: &AppName, then: Option<Instant>) -> bool {
        self.0.get(app).is_some_and(|of| then.is_none_or(|then| of.at > then))
    }

    /// Takes what an expression came to for one app; of several values of one machine the largest counts.
    pub(super) fn absorb(
        &mut self,
        server: &MetricsServer,
        app: &AppName,
        answer: &[SampledSeries],
        now: Instant,
    ) {
        let mut of = OfApp::nothing(now);
        for series in answer {
            let Some(value) = series.samples.last().map(|(_, value)| *value) else { continue };
            if value.is_nan() {
                continue;
            }
            match series.labels.get(&server.machine_label) {
                Some(machine) => {
                    let known = of.machines.entry(machine.clone());
                    let known = known.or_insert(Value { value, told: false });
                    known.value = known.value.max(value);
                }
                None => of.whole = Some(of.whole.map_or(value, |whole| whole.max(value))),
            }
        }
        self.0.insert(app.clone(), of);
    }

    /// The server does not evaluate it for this app.
    pub(super) fn refuse(&mut self, app: &AppName, detail: String, now: Instant) {
        let of = OfApp { refused: Some(detail), ..OfApp::nothing(now) };
        self.0.insert(app.clone(), of);
    }

    /// Why the server does not evaluate it for this app.
    pub(super) fn refused(&self, app: &AppName) -> Option<&str> {
        self.0.get(app)?.refused.as_deref()
    }

    /// What there is to tell of one machine, once.
    pub(super) fn tell(&mut self, app: &AppName, machine: &str) -> Option<Told> {
        let of = self.0.get_mut(app)?;
        if let Some(value) = of.machines.get_mut(machine) {
            let told = std::mem::replace(&mut value.told, true);
            return (!told).then_some(Told { value: value.value, whole_app: false });
        }
        let value = of.whole.filter(|_| !of.told.iter().any(|told| told == machine))?;
        of.told.push(machine.to_owned());
        Some(Told { value, whole_app: true })
    }

    /// Forgets apps of which nobody asks any more.
    pub(super) fn keep(&mut self, wanted: impl Fn(&AppName) -> bool) {
        self.0.retain(|app, _| wanted(app));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(machine: Option<&str>, value: f64) -> SampledSeries {
        let labels = machine.map(|machine| ("instance".to_owned(), machine.to_owned()));
        let at = jiff::Timestamp::UNIX_EPOCH;
        SampledSeries { labels: labels.into_iter().collect(), samples: vec![(at, value)] }
    }

    #[tokio::test]
    async fn each_value_is_told_once_for_its_machine_or_for_all() {
        let (mut values, app) = (Values::default(), AppName::new("api"));
        let server = MetricsServer::fly();
        let answer = [
            series(Some("m1"), 3.0),
            series(Some("m1"), 5.0),
            series(Some("m2"), f64::NAN),
            series(None, 7.0),
        ];
        values.absorb(&server, &app, &answer, Instant::now());
        assert_eq!(values.tell(&app, "m1"), Some(Told { value: 5.0, whole_app: false }));
        assert_eq!(values.tell(&app, "m1"), None);
        assert_eq!(values.tell(&app, "m2"), Some(Told { value: 7.0, whole_app: true }));
        assert_eq!(values.tell(&app, "m2"), None);
        assert_eq!(values.tell(&"shop".into(), "m1"), None);
        values.absorb(&server, &app, &[], Instant::now());
        assert_eq!(values.tell(&app, "m1"), None, "nothing is nothing");
    }
}
