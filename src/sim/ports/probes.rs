//! Requests to simulated machines.

use async_trait::async_trait;

use super::{About, CallKind, SimPlatform};
use crate::{
    model::{ProbeMethod, ProbeRequest},
    ports::{ProbeTarget, Probed, Probes},
    sim::model::answer::Said,
};

#[async_trait]
impl Probes for SimPlatform {
    async fn probe(&self, target: &ProbeTarget, request: &ProbeRequest) -> Probed {
        let about = About::machine(CallKind::Probe, &target.app, &target.machine);
        let (app, id) = (target.app.as_str(), target.machine.as_str());
        let path = request.path.split('?').next().unwrap_or_default();
        let said = self.call(about, |org| {
            let is_there = org.machine(app, id).is_ok_and(|one| one.address == target.address);
            Ok(if is_there { org.say(app, id, target.port, path) } else { Said::Nowhere })
        });
        let wait = |time| tokio::time::sleep(time);
        match said.await {
            Err(error) => Probed::Unreachable(error.to_string()),
            Ok(Said::Nowhere) => {
                wait(request.timeout).await;
                Probed::Unreachable(format!("{} cannot be reached", target.address))
            }
            Ok(Said::Refused) => Probed::Refused,
            Ok(Said::Answer { status, body, after }) if after < request.timeout => {
                wait(after).await;
                let body = if request.method == ProbeMethod::Head { "" } else { body.as_str() };
                let has_text = request.body.as_deref().is_none_or(|text| body.contains(text));
                Probed::Answered { status, has_text }
            }
            Ok(Said::Nothing | Said::Answer { .. }) => {
                wait(request.timeout).await;
                Probed::TimedOut
            }
        }
    }
}
