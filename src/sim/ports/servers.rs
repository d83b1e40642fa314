//! The managed Prometheus, as the daemon asks it.

use async_trait::async_trait;

use super::{About, CallKind, SimPlatform};
use crate::{
    ports::{MetricsServers, PlatformError, SampledSeries, ServerError, ServerQuery},
    sim::model::refusal::Refusal,
};

#[async_trait]
impl MetricsServers for SimPlatform {
    async fn ask(&self, query: ServerQuery<'_>) -> Result<Vec<SampledSeries>, ServerError> {
        let asked = self.call(About::org(CallKind::Query), |org| {
            org.query_metrics(query.query, query.at).map_err(Refusal::Invalid)
        });
        let answered = asked.await.map_err(|error| ServerError {
            query_refused: matches!(error, PlatformError::Refused(_)),
            ..ServerError::plain(error.to_string())
        })?;
        let series = answered.series.into_iter();
        Ok(series.map(|(labels, samples)| SampledSeries { labels, samples }).collect())
    }
}
