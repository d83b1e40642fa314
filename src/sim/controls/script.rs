//! Playing the steps of a script: each at its time, or at once.

use crate::sim::{
    fleet::{
        FleetImage,
        script::{Host, Lease, Lists, Pick, PutImage, Scale, Secrets, Shipment, Step},
    },
    handle::Sim,
    model::{
        behaviour::Behaviour,
        lease::Ask,
        machine::{SimMachine, later, seconds},
        org::Org,
        refusal::Refusal,
    },
};

impl Org {
    /// Will play a step at its time.
    pub fn plan(&mut self, step: Step) {
        let at = later(self.now, seconds(step.after_s));
        let place = self.script.partition_point(|(other, _)| *other <= at);
        self.script.insert(place, (at, step));
    }

    /// Steps that are still to come.
    pub(in crate::sim) fn planned(&self) -> usize {
        self.script.len()
    }

    /// Plays the step that is due. One that the platform refuses is over, as it would be for
    /// whoever tried it.
    pub(in crate::sim) fn play_script(&mut self) {
        let Some((_, step)) = self.script.pop_front() else { return };
        if let Err(refusal) = self.play(step) {
            tracing::warn!("a step of the script was refused: {refusal}");
        }
    }

    /// Plays a step now, whatever its time.
    ///
    /// # Errors
    /// When the platform refuses it, or there is no such app, image or machine.
    pub fn play(&mut self, step: Step) -> Result<(), Refusal> {
        if let Some(Shipment { app, image, options }) = step.ship {
            self.ship(&app, &image, options)?;
        }
        if let Some(Secrets { app, options }) = step.secrets {
            self.ship_secrets(&app, options)?;
        }
        if let Some(app) = step.kill_ships {
            self.kill_ships(&app);
        }
        if let Some(Scale { app, region, by }) = step.scale {
            self.scale(&app, &region, by)?;
        }
        if let Some(FleetImage { reference, digest, behaviour }) = step.image {
            self.change_image(&reference, digest.as_deref(), behaviour)?;
        }
        if let Some(image) = step.remove_image {
            self.remove_image(&image)?;
        }
        if let Some(denial) = step.deny {
            let time = denial.for_s.map(seconds);
            self.deny(denial.whose().as_deref(), denial.right, denial.status, time);
        }
        if step.allow_all == Some(true) {
            self.allow_all();
        }
        if let Some(lists) = step.lists {
            self.change_lists(&lists);
        }
        if let Some(quirks) = step.quirks {
            self.quirks = quirks;
        }
        self.play_on_machine(step.clone, |org, _, id| org.clone_machine(id).map(|_| ()))?;
        self.play_on_machine(step.stop, |org, app, id| org.force_rest(app, id, false))?;
        self.play_on_machine(step.suspend, |org, app, id| org.force_rest(app, id, true))?;
        self.play_on_machine(step.start, Self::force_start)?;
        self.play_on_machine(step.destroy, Self::force_destroy)?;
        self.play_on_machine(step.kill, |org, _, id| org.kill(id))?;
        if let Some(PutImage { machine, image }) = step.put_image {
            self.play_on_machine(Some(machine), |org, _, id| org.put_image(id, &image))?;
        }
        if let Some(Host { machine, status }) = step.host {
            self.play_on_machine(Some(machine), |org, _, id| org.set_host(id, &status))?;
        }
        if let Some(Lease { machine, owner, for_s }) = step.lease {
            let ask = Ask { nonce: None, ttl: seconds(for_s), owner: &owner, description: "" };
            self.play_on_machine(Some(machine), |org, app, id| {
                org.take_lease(app, id, ask).map(|_| ())
            })?;
        }
        Ok(())
    }

    /// Changes how late lists are, and which regions they leave out.
    pub fn change_lists(&mut self, lists: &Lists) {
        for (region, lag_s) in &lists.lag_s {
            self.set_list_lag(region, seconds(*lag_s));
        }
        for (region, time_s) in &lists.hidden_s {
            self.hide_region(region, seconds(*time_s));
        }
    }

    /// Adds an image, or changes how one behaves.
    ///
    /// # Errors
    /// Never for an image that has a repository and a tag.
    pub fn change_image(
        &mut self,
        reference: &str,
        digest: Option<&str>,
        behaviour: Behaviour,
    ) -> Result<(), Refusal> {
        if self.images.resolve(reference).is_none() {
            self.add_image(reference, digest, behaviour.clone());
        }
        self.set_behaviour(reference, behaviour)
    }

    fn play_on_machine(
        &mut self,
        pick: Option<Pick>,
        act: impl FnOnce(&mut Self, &str, &str) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        let Some(Pick { app, region, number }) = pick else { return Ok(()) };
        let there = |machine: &&SimMachine| !machine.is_destroyed() && machine.region == region;
        let id = self.of_app(&app).filter(there).nth(number.saturating_sub(1));
        let id = id.map(|machine| machine.id.clone());
        let id = id.ok_or_else(|| Refusal::no("machine", &format!("{number} in {region}")))?;
        act(self, &app, &id)
    }
}

impl Sim {
    /// Plays a step at its time, counted from now. See [`Org::plan`].
    pub fn plan(&self, step: Step) {
        self.with(|org| org.plan(step));
    }

    /// Everything of the script has happened.
    pub fn is_script_over(&self) -> bool {
        self.with(|org| org.script.is_empty())
    }
}
