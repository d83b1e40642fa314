//! Sources that tell nothing to anybody, such as a metrics server that refuses its token: one message
//! for the organization when it begins, and one when it is over.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::Instant;

use super::{Lookout, Topic};
use crate::model::{EventKind, Reason, SourceName};

/// How long a source may tell nothing before people are told.
const TOLD_AFTER: Duration = Duration::from_secs(15);

impl Lookout {
    pub(super) async fn sources(&self, known: &mut BTreeMap<SourceName, (Option<Instant>, Topic)>) {
        let troubles: BTreeMap<SourceName, String> =
            self.ports.sources.iter().flat_map(|source| source.troubles()).collect();
        let configured: Vec<String> =
            self.config.borrow().metrics_servers.keys().cloned().collect();
        for name in configured {
            let source = SourceName::Server(name.clone());
            if !known.contains_key(&source) {
                let topic = self.topic(&format!("source_{name}")).await;
                known.insert(source.clone(), (None, topic));
            }
            let Some((since, topic)) = known.get_mut(&source) else { continue };
            match troubles.get(&source) {
                Some(detail) => {
                    let began = *since.get_or_insert_with(Instant::now);
                    if topic.told.is_none() && began.elapsed() >= TOLD_AFTER {
                        let reason =
                            Reason::ServerUnreadable { server: name, detail: detail.clone() };
                        let event = self.event(EventKind::MonitorBlind, reason);
                        self.tell(topic, Some(detail), event).await;
                    }
                }
                None => {
                    *since = None;
                    let answers = self.ports.sources.iter().any(|one| one.is_answered(&source));
                    if topic.told.is_some() && answers {
                        let reason = Reason::ServerReadable { server: name };
                        let event = self.event(EventKind::MonitorRecovered, reason);
                        self.tell(topic, None, event).await;
                    }
                }
            }
        }
    }
}
