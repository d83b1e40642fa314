//! The story as a board that is drawn anew in its place.

use std::{collections::VecDeque, time::Duration};

use serde_json::Value;
use tokio::time::Instant;

use super::{APP, Bad, stage::Stage, story, twin};
use crate::{
    cli::{
        board::{Cell, Other, Rate, Region, Scene, Told, frame, live, screen::Screen},
        receiver::Received,
        terminal::{Tone, clean},
    },
    sim::Totals,
    web::{AppView, Phase},
};

/// Between two frames, and between two samples of what goes wrong.
pub(super) const DRAW_EVERY: Duration = Duration::from_millis(200);
const SAMPLE_EVERY: Duration = Duration::from_millis(500);
/// Samples that are kept.
const SAMPLES: usize = 120;
/// Told things that are kept.
const TOLD: usize = 40;

pub(super) struct Show {
    screen: Screen,
    bad: Bad,
    start: Instant,
    told: VecDeque<Told>,
    rates: VecDeque<f64>,
    sampled: Option<(Instant, Totals)>,
    is_over: bool,
}

/// A machine as the platform has it.
#[derive(Clone, Debug)]
pub(super) struct Standing {
    pub(super) region: String,
    pub(super) digest: Option<String>,
    pub(super) is_up: bool,
}

impl Show {
    pub(super) fn open(bad: Bad, start: Instant) -> anyhow::Result<Self> {
        Ok(Self {
            screen: Screen::open()?,
            bad,
            start,
            told: VecDeque::new(),
            rates: VecDeque::new(),
            sampled: None,
            is_over: false,
        })
    }

    /// Something the demo itself did.
    pub(super) fn note(&mut self, text: &str) {
        self.add(Tone::Strong, text.to_owned());
    }

    /// A message about the app of the story.
    pub(super) fn tell(&mut self, message: &Received) {
        let kind = message.body.get("type").and_then(Value::as_str).unwrap_or("");
        let said = story::told(kind, &message.body);
        let text = match kind {
            "rollback.planned" => format!("rollback planned: {said}"),
            "rollback.started" => format!("rollback started: {said}"),
            "rollback.completed" => format!("rollback completed {said}"),
            _ => said,
        };
        self.add(tone_of(kind), clean(&text));
    }

    fn add(&mut self, tone: Tone, text: String) {
        let when = format!("{:.1} s", self.start.elapsed().as_secs_f64());
        if self.told.len() == TOLD {
            self.told.pop_front();
        }
        self.told.push_back(Told { when, tone, text });
    }

    /// Looks at what users get, and draws.
    pub(super) fn draw(&mut self, stage: &Stage) -> anyhow::Result<()> {
        self.sample(stage.totals(APP));
        let scene = self.scene(stage);
        self.screen.draw(|width, height| frame(&scene, width, Some(height)))?;
        Ok(())
    }

    fn sample(&mut self, totals: Totals) {
        let now = Instant::now();
        let Some((at, before)) = self.sampled else {
            self.sampled = Some((now, totals));
            return;
        };
        let passed = now - at;
        if passed < SAMPLE_EVERY {
            return;
        }
        let more = twin::since(before, totals);
        let count =
            u32::try_from(story::hurt(self.bad, more)).map_or(f64::from(u32::MAX), f64::from);
        if self.rates.len() == SAMPLES {
            self.rates.pop_front();
        }
        self.rates.push_back(count / passed.as_secs_f64());
        self.sampled = Some((now, totals));
    }

    fn scene(&self, stage: &Stage) -> Scene {
        let now = stage.now();
        let mut scene = Scene {
            head: "waveoff demo · a simulated Fly organization".to_owned(),
            right: format!("{:.0} s", self.start.elapsed().as_secs_f64()),
            told: self.told.iter().cloned().collect(),
            ..Scene::default()
        };
        if let Some(view) = stage.view(APP) {
            let mut panel = live::panel(&view, None, now);
            // Nobody can order anything there: it has no token.
            panel.commands.clear();
            panel.regions = regions(&view, &stage.standings(APP));
            let what = format!("{}/s", story::harm(self.bad));
            let history = self.rates.iter().copied().collect();
            panel.rate = (!self.rates.is_empty()).then_some(Rate { what, history });
            scene.panels.push(panel);
        }
        let others = ["web", "worker"].into_iter().filter_map(|app| stage.view(app));
        scene.others = others.map(|view| live::other(&view, now)).collect::<Vec<Other>>();
        if !self.is_over {
            scene.foot.push(format!("the same in a browser: {} · Ctrl-C ends it", stage.api_url));
        }
        scene
    }

    /// Leaves the last frame on the terminal, and what came of it below.
    pub(super) fn end(&mut self, stage: &Stage) -> anyhow::Result<()> {
        self.is_over = true;
        let scene = self.scene(stage);
        self.screen.end_with(|width| frame(&scene, width, None))?;
        Ok(())
    }
}

fn tone_of(kind: &str) -> Tone {
    match kind {
        "release.trusted" | "rollback.completed" | "rollback.region_confirmed" => Tone::Good,
        "release.degraded" => Tone::Bad,
        "hold.placed" | "rollback.failed" | "rollback.paused" => Tone::Warn,
        _ => Tone::Busy,
    }
}

/// The machines as the platform has them, in the words of what the daemon knows by now.
fn regions(view: &AppView, machines: &[Standing]) -> Vec<Region> {
    let digest = |release: &Option<crate::model::event::ReleaseInfo>| {
        release.as_ref().map(|release| release.digest.as_str().to_owned())
    };
    let (watched, good) = (digest(&view.release), digest(&view.known_good));
    let is_bad = matches!(
        view.phase,
        Phase::CountingDown
            | Phase::AwaitingApproval
            | Phase::RollingBack
            | Phase::Confirming
            | Phase::RolledBack
    );
    let cell = |machine: &Standing| match &machine.digest {
        digest if *digest == watched && is_bad => Cell::Bad,
        _ if !machine.is_up => Cell::Changing,
        digest if *digest == good => Cell::Good,
        digest if *digest == watched => Cell::New,
        _ => Cell::Aside,
    };
    let mut regions: Vec<Region> = Vec::new();
    for machine in machines {
        let cell = cell(machine);
        match regions.iter_mut().find(|region| region.name == machine.region) {
            Some(region) => region.machines.push(cell),
            None => regions.push(Region {
                name: machine.region.clone(),
                machines: vec![cell],
                words: String::new(),
            }),
        }
    }
    for region in &mut regions {
        region.words = words(view, region);
    }
    regions
}

fn words(view: &AppView, region: &Region) -> String {
    let stage = view.regions.iter().find(|one| one.region.as_str() == region.name);
    let stage = stage.map(|stage| stage.phase.word().replace('_', " "));
    let count = |wanted| region.machines.iter().filter(|cell| **cell == wanted).count();
    let (good, new) = (count(Cell::Good), count(Cell::New));
    let all = region.machines.len();
    let label = |release: &Option<crate::model::event::ReleaseInfo>| {
        release.as_ref().map_or_else(String::new, |release| clean(&release.label()))
    };
    match stage {
        Some(stage) => format!("{good} of {all} on {}, {stage}", label(&view.known_good)),
        None if new > 0 => format!("{new} of {all} on {}", label(&view.release)),
        None => format!("{good} of {all} on {}", label(&view.known_good)),
    }
}
