//! The end of an app's task when no policy names the app any more.

use std::{sync::Arc, time::Duration};

use tracing::{info, warn};

use super::{AppTask, Course, Done};
use crate::{
    decide::{Input, state::Phase},
    model::Policy,
};

/// How long commands under way may take when the app is not watched any more.
const LETTING_GO: Duration = Duration::from_secs(60);

impl AppTask {
    /// Ends what was begun under a policy that is gone: said, recorded, and closed in the ledger.
    pub(super) async fn let_go(&self, mut course: Course) -> anyhow::Result<()> {
        info!(app = %self.app, "{} is not watched any more", self.app);
        let Some(policy) = course.policy.take() else { return Ok(()) };
        self.take(&mut course, &policy, &Input::Unwatched).await?;
        let closing = async {
            while let Some(done) = course.work.join_next().await {
                if let Ok(Done::Command(command, outcome)) = done {
                    let input = Input::Finished { command, outcome };
                    self.take(&mut course, &policy, &input).await?;
                }
            }
            Ok(())
        };
        match tokio::time::timeout(LETTING_GO, closing).await {
            Ok(ended) => ended,
            Err(_) => {
                warn!(app = %self.app, "{}: not everything ended in time", self.app);
                Ok(())
            }
        }
    }

    /// A policy to end by what is under way, where nobody named the app any more when the daemon began: who
    /// takes an app out of the configuration to stop a rollback deploys that. Which one it is does not
    /// matter. `None`: nothing is under way.
    pub(super) fn stand_in(&self, course: &Course) -> Option<Arc<Policy>> {
        let acts = match &course.state.phase {
            Phase::CountingDown { .. } | Phase::CheckingImage { .. } | Phase::RollingBack(_) => {
                true
            }
            Phase::Unseen
            | Phase::Steady
            | Phase::Watching(_)
            | Phase::Held { .. }
            | Phase::RolledBack(_)
            | Phase::Stopped { .. } => false,
        };
        let config = self.config.borrow();
        config.policies.first().filter(|_| acts).map(|file| Arc::clone(&file.policy))
    }
}
