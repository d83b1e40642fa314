//! Grafana's annotations: a release and a breach are a point in time, a rollback is a region that
//! grows until it is over.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Sender,
    ongoing::{self, Step, Told},
    text,
};
use crate::{
    config::{Receiver, Secret},
    model::{Event, EventKind},
    numbers,
    ports::{Answered, Delivery, DeliveryOutcome, Verb},
};

/// Longest text and tag, in characters.
const TEXT_MAX: usize = 2000;
const TAG_MAX: usize = 100;
/// Regions that have a tag.
const REGIONS_MAX: usize = 20;

/// Which Grafana, and who writes there.
#[derive(Clone, Copy, Debug)]
pub struct Grafana<'g> {
    /// Its address, without a slash at its end.
    pub url: &'g str,
    /// Of a service account.
    pub token: &'g str,
}

impl<'g> Grafana<'g> {
    /// That of a receiver.
    pub fn of(receiver: &'g Receiver) -> Self {
        Self {
            url: receiver.url.expose().trim_end_matches('/'),
            token: receiver.secrets.first().map(Secret::expose).unwrap_or_default(),
        }
    }
}

/// Whether it is drawn into graphs.
pub fn is_told(kind: EventKind) -> bool {
    ongoing::is_part(kind) && kind != EventKind::RollbackPlanned
        || matches!(
            kind,
            EventKind::ReleaseDetected
                | EventKind::ReleaseTrusted
                | EventKind::ReleaseDegraded
                | EventKind::ReleaseRecovered
        )
}

/// The request for a step.
pub fn request(
    grafana: Grafana<'_>,
    step: Step,
    event: &Event,
    told: Option<&Told>,
    sender: &Sender<'_>,
) -> (Verb, Delivery) {
    let now = event.at.as_millisecond();
    let mut body = json!({ "text": said(event, sender), "tags": tags(event, sender) });
    let (verb, path, times) = match (step, told) {
        (Step::Change | Step::Reply, Some(told)) => (
            Verb::Patch,
            format!("/api/annotations/{}", told.id),
            json!({ "time": told.began.as_millisecond(), "timeEnd": now }),
        ),
        // A region from the beginning, so that it can grow.
        _ if ongoing::is_part(event.kind) => {
            (Verb::Post, "/api/annotations".to_owned(), json!({ "time": now, "timeEnd": now }))
        }
        _ => (Verb::Post, "/api/annotations".to_owned(), json!({ "time": now })),
    };
    if let (Value::Object(body), Value::Object(times)) = (&mut body, times) {
        body.extend(times);
    }
    (verb, call(grafana, &path, body.to_string()))
}

/// Asks whether the token may read annotations; nothing is written.
pub fn may_i(grafana: Grafana<'_>) -> (Verb, Delivery) {
    (Verb::Get, call(grafana, "/api/annotations?limit=1&tags=waveoff", String::new()))
}

fn call(grafana: Grafana<'_>, path: &str, body: String) -> Delivery {
    Delivery {
        url: format!("{}{path}", grafana.url),
        headers: vec![("authorization".to_owned(), format!("Bearer {}", grafana.token))],
        body,
    }
}

/// The sentence, and where more of it is. Grafana shows HTML, and nothing in an event is.
fn said(event: &Event, sender: &Sender<'_>) -> String {
    let mut text = escape(&numbers::cut(&text::sentence(event), TEXT_MAX));
    if let Some(page) = sender.page(event) {
        text.push_str(&format!("\n<a href=\"{}\">status page</a>", escape(&page)));
    }
    text
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            other => escaped.push(other),
        }
    }
    escaped
}

fn tags(event: &Event, sender: &Sender<'_>) -> Vec<String> {
    let mut tags = vec!["waveoff".to_owned(), event.kind.as_str().to_owned()];
    tags.push(format!("organization:{}", sender.organization));
    if let Some(app) = &event.app {
        tags.push(format!("app:{app}"));
    }
    if let Some(release) = &event.release {
        tags.push(format!("version:{}", release.label()));
    }
    let regions = event.regions.iter().take(REGIONS_MAX);
    tags.extend(regions.map(|report| format!("region:{}", report.region)));
    tags.into_iter().map(|tag| numbers::cut(&tag, TAG_MAX)).collect()
}

/// What Grafana made of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// Taken; of a new annotation its id.
    Took {
        id: Option<String>,
    },
    /// Somebody has removed the annotation.
    Gone,
    Refused(DeliveryOutcome),
}

#[derive(Deserialize)]
struct Written {
    id: u64,
}

/// Reads an answer to a step.
pub fn read(step: Step, answered: &Answered) -> Said {
    match (answered.status, step) {
        (404, Step::Change | Step::Reply) => Said::Gone,
        (200..=299, Step::Change | Step::Reply) => Said::Took { id: None },
        (200..=299, Step::Post) => match serde_json::from_str::<Written>(&answered.body) {
            Ok(written) => Said::Took { id: Some(written.id.to_string()) },
            Err(_) => Said::Refused(DeliveryOutcome::Retry {
                reason: "answered with something that is not Grafana's".to_owned(),
                after: None,
            }),
        },
        _ => Said::Refused(super::http::outcome(answered.status, answered.after, "")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{RegionReport, RegionStage, ReleaseVersion, event::ReleaseInfo};

    #[test]
    fn an_annotation_says_what_happened_where_and_is_no_html() {
        let at = "2026-03-01T02:03:04Z".parse().unwrap();
        let mut event = Event::new(EventKind::RollbackStarted, at, Some("api".into()));
        event.release = Some(ReleaseInfo {
            version: Some(ReleaseVersion(42)),
            tag: Some("<img src=x>".to_owned()),
            digest: "sha256:42".into(),
            author: None,
            created_at: None,
        });
        event.regions = vec![RegionReport {
            region: "iad".into(),
            phase: RegionStage::Waiting,
            machines: std::collections::BTreeMap::new(),
        }];
        let sender = Sender { organization: "acme", page_url: Some("http://w.internal") };
        let grafana = Grafana { url: "http://g", token: "t" };
        let (verb, sent) = request(grafana, Step::Post, &event, None, &sender);
        assert_eq!((verb, sent.url.as_str()), (Verb::Post, "http://g/api/annotations"));
        let body: Value = serde_json::from_str(&sent.body).unwrap();
        let text = body["text"].as_str().unwrap();
        assert!(!text.contains("<img") && text.contains("&lt;img src=x&gt;"), "{text}");
        assert!(text.ends_with("<a href=\"http://w.internal/apps/api\">status page</a>"), "{text}");
        let tags = [
            "waveoff",
            "rollback.started",
            "organization:acme",
            "app:api",
            "version:v42",
            "region:iad",
        ];
        assert_eq!(body["tags"], json!(tags));
        assert_eq!(
            (&body["time"], &body["timeEnd"]),
            (&json!(1_772_330_584_000_i64), &body["time"])
        );
    }
}
