//! A machine's last log lines, from the endpoint behind the platform's own `fly logs`. It is not a
//! documented interface, may refuse tokens that can do everything else, and is only ever asked
//! for something to show.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::{
    Answer, Fly, below,
    http::{Call, Patience},
    limits::Action,
    wire::lenient,
};
use crate::model::{AppName, MachineId};

/// Letters of a line that are kept.
const LINE_MAX: usize = 1000;

#[derive(Default, Deserialize)]
#[serde(default)]
struct WireLogs {
    #[serde(deserialize_with = "lenient::or_default")]
    data: Vec<WireLine>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WireLine {
    #[serde(deserialize_with = "lenient::or_default")]
    attributes: WireAttributes,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WireAttributes {
    #[serde(deserialize_with = "lenient::time")]
    timestamp: Option<Timestamp>,
    #[serde(deserialize_with = "lenient::text")]
    message: String,
    /// The machine's id.
    #[serde(deserialize_with = "lenient::text")]
    instance: String,
    meta: Value,
}

impl WireAttributes {
    /// Whether the line is the machine's; one that names no machine is, as only it was asked for.
    fn is_of(&self, id: &MachineId) -> bool {
        let named = match self.instance.as_str() {
            "" => self.meta.get("instance").and_then(Value::as_str).unwrap_or_default(),
            instance => instance,
        };
        named.is_empty() || named == id.as_str()
    }
}

/// The newest lines, oldest first.
pub(super) async fn newest(
    fly: &Fly,
    app: &AppName,
    id: &MachineId,
    limit: u32,
) -> Answer<Vec<String>> {
    let mut url = below(&fly.bases.api, &["api", "v1", "apps", app.as_str(), "logs"]);
    url.query_pairs_mut().append_pair("instance", id.as_str());
    let call = Call {
        authorization: fly.caller.tokens().machines(),
        patience: Patience::seconds(5, 10),
        ..Call::get(Action::Logs, id.as_str(), url)
    };
    let answer = fly.caller.call(&call).await?;
    let logs: WireLogs = fly.caller.decode(&answer)?;
    let mut lines: Vec<WireAttributes> = logs
        .data
        .into_iter()
        .map(|line| line.attributes)
        .filter(|line| line.is_of(id) && !line.message.trim().is_empty())
        .collect();
    // Stable: lines of one moment stay in the platform's order.
    lines.sort_by_key(|line| line.timestamp);
    let wanted = usize::try_from(limit).unwrap_or(usize::MAX);
    let skipped = lines.len().saturating_sub(wanted);
    let tokens = fly.caller.tokens();
    Ok(lines.iter().skip(skipped).map(|line| shown(&tokens.scrub(&line.message))).collect())
}

/// A line fit to be shown: its indentation stays, terminal commands do not.
fn shown(message: &str) -> String {
    let clean = message.trim_end().chars().map(|char| if char.is_control() { ' ' } else { char });
    clean.take(LINE_MAX).collect()
}
