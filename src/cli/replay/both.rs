//! The two ways of looking at a past, fed alike: every threshold at many limits (`course`), and what the
//! daemon would have done at each deploy (`lived`).

use std::sync::Arc;

use anyhow::bail;
use jiff::Timestamp;

use super::{course::Course, grid::Grid, lived::Lived};
use crate::model::{AppName, Machine, Origin, Policy, Readings, SourceName, Wanted};

pub(super) struct Both {
    pub(super) course: Course,
    pub(super) lived: Lived,
    /// Without a deploy there is nothing that the daemon would have done.
    has_deploys: bool,
    from: Timestamp,
    source: SourceName,
}

/// Deploys that are still to come.
pub(super) struct Coming {
    /// The next one last.
    deploys: Vec<Timestamp>,
}

impl Coming {
    pub(super) fn new(deploys: &[Timestamp]) -> Self {
        let mut deploys = deploys.to_vec();
        deploys.sort_unstable_by(|one, other| other.cmp(one));
        Self { deploys }
    }

    /// The next one, if it was by then.
    pub(super) fn by(&mut self, at: Timestamp) -> Option<Timestamp> {
        self.deploys.pop_if(|deploy| *deploy <= at)
    }
}

impl Both {
    /// All of it is read from `origin`. What was before `from` only tells the thresholds how it was then.
    pub(super) fn new(
        of: (&AppName, &Arc<Policy>),
        neighbours: &[(AppName, Arc<Policy>)],
        origin: &Origin,
        deploys: &[Timestamp],
        (from, grid): (Timestamp, Grid),
    ) -> Self {
        Self {
            course: Course::new(of.1, origin, deploys, (from, grid)),
            lived: Lived::new(of, neighbours, origin, deploys, from),
            has_deploys: !deploys.is_empty(),
            from,
            source: origin.source.clone(),
        }
    }

    /// What has to be read for both.
    pub(super) fn wants(&self) -> Vec<Wanted> {
        let mut wanted = self.course.wants(&self.source);
        wanted.extend(self.lived.wants());
        wanted
    }

    /// What has to be read of each neighbour.
    pub(super) fn neighbours_want(&self) -> Vec<(AppName, Vec<Wanted>)> {
        self.lived.neighbours_want()
    }

    /// Leaves out thresholds that ask what the server does not take.
    ///
    /// # Errors
    /// When nothing is left.
    pub(super) fn leave_out(&mut self, refused: &[(String, String)]) -> anyhow::Result<()> {
        self.course.leave_out(refused);
        self.lived.leave_out(refused);
        if self.course.is_refused() {
            let each = self.course.refused.iter().map(|(name, why)| format!("{name}: {why}"));
            bail!("no threshold can be replayed there:\n{}", each.collect::<Vec<_>>().join("\n"));
        }
        Ok(())
    }

    /// The same of a neighbour, which is told and goes on.
    pub(super) fn leave_out_beside(&mut self, neighbour: usize, refused: &[(String, String)]) {
        let Some(app) = self.lived.leave_out_beside(neighbour, refused) else { return };
        for (name, why) in refused {
            self.course.refused.insert(format!("{name} of {app}"), why.clone());
        }
    }

    /// Takes in what was read at one moment of the app, and of its neighbours in their order.
    pub(super) fn round(
        &mut self,
        at: Timestamp,
        read: &[(&Machine, Readings)],
        beside: &[Vec<(&Machine, Readings)>],
    ) {
        self.course.round(at, read);
        if self.has_deploys && at > self.from {
            self.lived.round(at, read, beside);
        }
    }
}
