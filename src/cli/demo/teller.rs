//! Tells the story: as a board that is drawn anew, line by line, or as JSON lines.

use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::{
    APP, Bad, Output, line,
    show::Show,
    stage::Stage,
    story::{self, Story, app_of, text},
    twin,
};
use crate::{
    cli::{receiver::Received, terminal::Look, text::table_in},
    numbers::whole,
    sim::Totals,
    web::{AppView, Phase},
};

/// Writes the story down.
pub(super) struct Teller {
    bad: Bad,
    json: bool,
    start: Instant,
    last_evidence: String,
    show: Option<Show>,
}

/// How it ended, in numbers.
struct Ending<'e> {
    detect_s: Option<f64>,
    recover_s: Option<f64>,
    users: Totals,
    calls: u64,
    story: &'e Story,
    /// The bad release's machines and users here, and without Waveoff.
    here: Option<twin::Left>,
    without: twin::Left,
}

impl Teller {
    pub(super) fn new(bad: Bad, output: Output, start: Instant) -> anyhow::Result<Self> {
        let show = match output {
            Output::Board => Some(Show::open(bad, start)?),
            Output::Lines | Output::Json => None,
        };
        let json = output == Output::Json;
        Ok(Self { bad, json, start, last_evidence: String::new(), show })
    }

    fn at(&self) -> f64 {
        (self.start.elapsed().as_secs_f64() * 10.0).round() / 10.0
    }

    pub(super) fn intro(&self, stage: &Stage) -> anyhow::Result<()> {
        if self.json {
            return self.json_line("demo.started", json!({"api": stage.api_url}));
        }
        if self.show.is_some() {
            return Ok(());
        }
        line("A simulated Fly organization is up: api in iad, lhr and syd, web, and worker.")?;
        line("The daemon watches it over real sockets. From another terminal:")?;
        line(&format!("  waveoff status --url {}", stage.api_url))?;
        line("")
    }

    /// Something the demo itself did.
    pub(super) fn note(&mut self, event: &str, text: &str, fields: Value) -> anyhow::Result<()> {
        if self.json {
            return self.json_line(event, fields);
        }
        if let Some(show) = &mut self.show {
            show.note(text);
            return Ok(());
        }
        line(&format!("{:>6.1} s  == {text}", self.at()))
    }

    /// A verified webhook.
    pub(super) fn tell(&mut self, message: &Received) -> anyhow::Result<()> {
        let kind = text(&message.body, "type");
        if self.json {
            let data = message.body.get("data").cloned().unwrap_or(Value::Null);
            return self.json_line(kind, data);
        }
        if app_of(&message.body) != APP {
            // The other apps only learn; one line each would hide the story.
            return Ok(());
        }
        if let Some(show) = &mut self.show {
            show.tell(message);
            return Ok(());
        }
        line(&format!("{:>6.1} s  {kind:<25} {}", self.at(), story::told(kind, &message.body)))
    }

    /// Draws the board, where it is drawn.
    pub(super) fn draw(&mut self, stage: &Stage) -> anyhow::Result<()> {
        self.show.as_mut().map_or(Ok(()), |show| show.draw(stage))
    }

    /// The evidence so far, when it moved.
    pub(super) fn evidence(&mut self, view: &AppView) -> anyhow::Result<()> {
        let is_watched = matches!(view.phase, Phase::Deploying | Phase::Baking);
        if self.json || self.show.is_some() || !is_watched {
            return Ok(());
        }
        let worst = view
            .evidence
            .iter()
            .filter(|evidence| evidence.counts.bad > 0.0)
            .max_by(|a, b| a.ln_odds.unwrap_or(0.0).total_cmp(&b.ln_odds.unwrap_or(0.0)));
        let Some(worst) = worst else { return Ok(()) };
        let odds = match (worst.ln_odds, worst.ln_odds_needed) {
            (Some(odds), Some(needed)) => {
                format!(", odds {:.1}:1, needed {:.0}:1", odds.exp(), needed.exp())
            }
            _ => String::new(),
        };
        let text = format!(
            "{}: {:.0} of {:.0}{odds}",
            worst.threshold, worst.counts.bad, worst.counts.total
        );
        if text == self.last_evidence {
            return Ok(());
        }
        line(&format!("{:>6.1} s    evidence so far        {text}", self.at()))?;
        self.last_evidence = text;
        Ok(())
    }

    /// The summary; answers with the exit code.
    pub(super) fn finish(
        &mut self,
        stage: &Stage,
        story: &Story,
        shipped: Instant,
        result: &anyhow::Result<()>,
    ) -> anyhow::Result<i32> {
        let since = |kind: &str| {
            story.when(kind, "v43").map(|at| ((at - shipped).as_secs_f64() * 10.0).round() / 10.0)
        };
        let (bad, machines) = stage.on_bad(self.bad);
        let ending = Ending {
            detect_s: since("release.degraded"),
            recover_s: since("rollback.completed"),
            users: stage.totals(APP),
            calls: stage.platform_calls(),
            story,
            here: story.cost().map(|users| twin::Left { bad, machines, users }),
            without: twin::without_waveoff(self.bad)?,
        };
        if self.json {
            self.json_line("demo.finished", ending.as_json(result))?;
        } else {
            if let Some(show) = &mut self.show {
                show.end(stage)?;
            }
            ending.tell(self.bad, result)?;
        }
        Ok(i32::from(result.is_err()))
    }

    pub(super) fn stay(&self, stage: &Stage) -> anyhow::Result<()> {
        if self.json {
            return Ok(());
        }
        line("")?;
        line("Staying up; Ctrl-C ends it. To poke at it:")?;
        line(&format!("  waveoff status --url {}", stage.api_url))?;
        line(&format!("  waveoff history {APP} --url {}", stage.api_url))?;
        line(&format!("  curl {}/_sim/state", stage.platform_url))?;
        line(&format!("  {} in a browser", stage.api_url))
    }

    fn json_line(&self, event: &str, fields: Value) -> anyhow::Result<()> {
        let mut object = Map::new();
        object.insert("at".to_owned(), json!(self.at()));
        object.insert("event".to_owned(), json!(event));
        if let Value::Object(fields) = fields {
            for (key, value) in fields {
                object.entry(key).or_insert(value);
            }
        }
        line(&Value::Object(object).to_string())
    }
}

fn left_as_json(left: &twin::Left) -> Value {
    json!({
        "machines_bad": left.bad,
        "machines": left.machines,
        "requests": left.users.requests,
        "requests_failed": left.users.failed,
        "requests_slow": left.users.slow,
    })
}

impl Ending<'_> {
    fn as_json(&self, result: &anyhow::Result<()>) -> Value {
        json!({
            "outcome": if result.is_ok() { "rolled_back" } else { "failed" },
            "error": result.as_ref().err().map(|error| format!("{error:#}")),
            "detect_s": self.detect_s,
            "recover_s": self.recover_s,
            "requests": self.users.requests,
            "requests_failed": self.users.failed,
            "requests_slow": self.users.slow,
            "platform_calls": self.calls,
            "webhooks_verified": self.story.verified,
            "with_waveoff": self.here.as_ref().map(left_as_json),
            "without_waveoff": left_as_json(&self.without),
            "without_waveoff_s": twin::UNTIL_SOMEBODY.as_secs(),
        })
    }

    fn tell(&self, bad: Bad, result: &anyhow::Result<()>) -> anyhow::Result<()> {
        let seconds =
            |time: Option<f64>| time.map_or("never".to_owned(), |time| format!("{time:.1} s"));
        line("")?;
        if let Err(error) = result {
            line(&format!("NOT what should have happened: {error:#}"))?;
        } else {
            line("The bad release was undone; every machine runs the good image.")?;
        }
        line(&format!("  time to detect    {}", seconds(self.detect_s)))?;
        line(&format!("  time to recover   {}", seconds(self.recover_s)))?;
        let of_all = |count: u64| format!("{count} of {} in the whole demo", self.users.requests);
        line(&format!("  requests failed   {}", of_all(self.users.failed)))?;
        if bad == Bad::Latency {
            line(&format!("  requests slow     {}", of_all(self.users.slow)))?;
        }
        line(&format!("  platform calls    {}", self.calls))?;
        line(&format!(
            "  webhooks          {} received, all signatures right",
            self.story.verified
        ))?;
        line("")?;
        line(&self.beside(bad))
    }

    /// Beside what a plain deploy would have left.
    fn beside(&self, bad: Bad) -> String {
        let minutes = twin::UNTIL_SOMEBODY.as_secs() / 60;
        let machines = |left: &twin::Left| format!("{} of {}", left.bad, left.machines);
        let users = |left: &twin::Left| {
            let number = |count: u64| whole(u32::try_from(count).map_or(f64::INFINITY, f64::from));
            let hurt = story::hurt(bad, left.users);
            format!("{} of {}", number(hurt), number(left.users.requests))
        };
        let here = |write: &dyn Fn(&twin::Left) -> String| {
            self.here.as_ref().map_or_else(|| "-".to_owned(), write)
        };
        let harm = story::harm(bad);
        let rows = [
            [
                "The same release".to_owned(),
                "with Waveoff, until undone".to_owned(),
                format!("a plain fly deploy, {minutes} min later"),
            ],
            ["machines on it".to_owned(), here(&machines), machines(&self.without)],
            [format!("requests {harm}"), here(&users), users(&self.without)],
        ];
        let look = Look::of_stdout();
        let rows = rows.map(|row| row.to_vec());
        look.paint(table_in(&rows, 0, look.width).trim_end())
    }
}
