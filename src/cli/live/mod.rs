//! `waveoff check --live`: whether what the configuration names is really there. Nothing is changed,
//! and no message is sent.

mod app;
mod finding;
mod receivers;
mod series;

use std::{io::Write, path::Path, sync::Arc, time::Duration};

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use tokio::time::timeout;

use self::finding::{Finding, Grade};
use super::{
    terminal::{Look, toned},
    text,
};
use crate::{
    config::{self, Config},
    daemon::{described, lacking},
    fly::{Fly, FlySettings},
    model::{AppName, Reason},
    notify,
    ports::{Platform as _, PlatformError},
};

const WRONG: i32 = 2;
const NOT_THERE: i32 = 1;
/// For one question.
const PATIENCE: Duration = Duration::from_secs(15);
/// How far the clocks may be apart without anybody's caring, in seconds.
const CLOCK_S: i64 = 30;
/// How often the sign of life moves.
const TICK: Duration = Duration::from_millis(120);
/// Names shown in a list, at most.
const SHOWN: usize = 12;

/// Findings about one thing.
struct Section {
    name: String,
    findings: Vec<Finding>,
}

pub(super) async fn run(
    dir: &Path,
    only: Option<&str>,
    json: bool,
    out: &mut dyn Write,
) -> anyhow::Result<i32> {
    let environment = |name: &str| std::env::var(name).ok();
    let (config, unset) = match config::check(dir, environment) {
        Ok(checked) => (checked.config, checked.missing),
        Err(errors) => {
            text::complain(&errors.to_string())?;
            return Ok(WRONG);
        }
    };
    let mut all = Vec::new();
    let progress = progress();
    let mut tell = |section: Section| -> std::io::Result<()> {
        if !json {
            progress.suspend(|| show(&section, out))?;
        }
        all.push(section);
        Ok(())
    };
    let settings = match FlySettings::from_env(config.organization.clone(), environment) {
        Ok(settings) => Some(settings),
        Err(error) => {
            let findings = vec![Finding::wrong("the token", error.to_string(), String::new())];
            tell(Section { name: "the platform".to_owned(), findings })?;
            None
        }
    };
    if let Some(settings) = settings {
        let fly = Arc::new(Fly::new(settings.clone())?);
        let (mut findings, listed) = platform(&fly, &config).await;
        let missing = |only| missing(only, &config, listed.as_deref()?);
        findings.extend(only.and_then(missing));
        tell(Section { name: "the platform".to_owned(), findings })?;
        let apps = listed.unwrap_or_default();
        let wanted = apps.iter().filter(|name| only.is_none_or(|only| name.as_str() == only));
        let wanted: Vec<_> =
            wanted.filter_map(|name| Some((name, config.file_for(name)?.0))).collect();
        progress.inc_length(u64::try_from(wanted.len()).unwrap_or_default());
        let ground = app::Ground::new(&config, fly, &settings)?;
        for (name, file) in wanted {
            progress.set_message(text::clean(name.as_str()));
            let findings = ground.look(name, file).await;
            tell(Section { name: format!("{name} ({})", file.path.display()), findings })?;
            progress.inc(1);
        }
    }
    if !config.receivers.is_empty() && only.is_none() {
        progress.set_message("receivers");
        let findings = receivers::look(&config, &unset).await?;
        tell(Section { name: "receivers".to_owned(), findings })?;
    }
    progress.finish_and_clear();
    let worst = all.iter().flat_map(|section| &section.findings).map(|one| one.grade).max();
    if json {
        let sections: Vec<_> =
            all.iter().map(|one| json!({ "about": one.name, "findings": one.findings })).collect();
        writeln!(out, "{}", json!({ "ok": worst < Some(Grade::Wrong), "sections": sections }))?;
    } else {
        let count = |grade| {
            all.iter().flat_map(|section| &section.findings).filter(|f| f.grade == grade).count()
        };
        let (wrong, look) = (count(Grade::Wrong), count(Grade::Look));
        writeln!(
            out,
            "\n{} looked at: {wrong} wrong, {look} to look at",
            count(Grade::Ok) + wrong + look
        )?;
    }
    Ok(if worst == Some(Grade::Wrong) { NOT_THERE } else { 0 })
}

/// How far it is, on standard error where that is a terminal.
fn progress() -> ProgressBar {
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template("{spinner} {pos} of {len} apps  {msg}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(TICK);
    bar
}

fn show(section: &Section, out: &mut dyn Write) -> std::io::Result<()> {
    writeln!(out, "\n{}", text::clean(&section.name))?;
    let rows: Vec<Vec<String>> = section
        .findings
        .iter()
        .map(|one| {
            let next = if one.next.is_empty() { String::new() } else { format!("; {}", one.next) };
            let says = text::clean(&format!("{}{next}", one.says));
            vec![toned(one.grade.tone(), one.grade.word()), text::clean(&one.what), says]
        })
        .collect();
    let look = Look::of_stdout();
    write!(out, "{}", look.paint(&text::table_in(&rows, 2, look.width)))
}

/// The token, the clock, and which apps there are; `None`: that is not known.
async fn platform(fly: &Fly, config: &Config) -> (Vec<Finding>, Option<Vec<AppName>>) {
    let mut findings = Vec::new();
    findings.push(match timeout(PATIENCE, fly.token_scope()).await {
        Ok(Ok(scope)) => match lacking(&scope, &config.organization) {
            lacks if lacks.is_empty() => Finding::ok("the token", described(&scope)),
            lacks => {
                let why = notify::text::reason(&Reason::TokenLacks { lacks });
                Finding::wrong("the token", why, String::new())
            }
        },
        Ok(Err(PlatformError::Denied(detail))) => {
            let why = notify::text::reason(&Reason::TokenRefused { detail });
            Finding::wrong("the token", why, String::new())
        }
        Ok(Err(error)) => {
            let next = "what it may do shows below".to_owned();
            Finding::new(Grade::Look, "the token", format!("its scope is not told: {error}"), next)
        }
        Err(_) => late("the token"),
    });
    let apps = match timeout(PATIENCE, fly.apps()).await {
        Ok(Ok(apps)) => apps,
        Ok(Err(error)) => {
            let next = format!("check `organization = {:?}` and the token", config.organization);
            findings.push(Finding::wrong("apps", error.to_string(), next));
            return (findings, None);
        }
        Err(_) => {
            findings.push(late("apps"));
            return (findings, None);
        }
    };
    findings.push(clock(fly));
    findings.extend(watched(config, &apps));
    (findings, Some(apps))
}

/// Why the one app that is to be looked at cannot be.
fn missing(only: &str, config: &Config, apps: &[AppName]) -> Option<Finding> {
    let what = format!("app {only}");
    if !apps.iter().any(|app| app.as_str() == only) {
        let says = format!("no app of {} is called so", config.organization);
        let next = near(only, apps).map_or_else(
            || format!("there are {}", list(&apps.iter().collect::<Vec<_>>())),
            |near| format!("did you mean \"{near}\"?"),
        );
        return Some(Finding::wrong(&what, says, next));
    }
    let says = "no policy watches it, and nothing is looked at".to_owned();
    let next = format!("`waveoff config show {only}` says why");
    config.file_for(&only.into()).is_none().then(|| Finding::wrong(&what, says, next))
}

/// Names, not too many.
fn list(apps: &[&AppName]) -> String {
    let mut names: Vec<&str> = apps.iter().take(SHOWN).map(|app| app.as_str()).collect();
    if apps.len() > SHOWN {
        names.push("…");
    }
    names.join(", ")
}

fn late(what: &str) -> Finding {
    let says = format!("no answer within {} s", PATIENCE.as_secs());
    Finding::wrong(what, says, "check the network between here and there".to_owned())
}

fn clock(fly: &Fly) -> Finding {
    let Some(ahead) = fly.clock_offset() else {
        let says = "the platform's answers carry no time".to_owned();
        return Finding::new(Grade::Look, "the clock", says, String::new());
    };
    let seconds = ahead.as_secs();
    let says = match seconds {
        0 => "as the platform's".to_owned(),
        _ if seconds > 0 => format!("{seconds} s behind the platform's"),
        _ => format!("{} s ahead of the platform's", -seconds),
    };
    if seconds.abs() <= CLOCK_S {
        Finding::ok("the clock", says)
    } else {
        let next = "it is made up for, and messages carry this host's time".to_owned();
        Finding::new(Grade::Look, "the clock", says, next)
    }
}

/// Which apps are watched, which are not, and which patterns match none.
fn watched(config: &Config, apps: &[AppName]) -> Vec<Finding> {
    let (yes, no): (Vec<&AppName>, Vec<&AppName>) =
        apps.iter().partition(|app| config.file_for(app).is_some());
    let mut says = format!("{} of {} are watched", yes.len(), apps.len());
    if !no.is_empty() {
        says.push_str(&format!("; not {}", list(&no)));
    }
    let next = "`waveoff config show APP` says why not".to_owned();
    let mut findings = vec![if yes.is_empty() {
        Finding::wrong("apps", says, next)
    } else {
        Finding::ok("apps", says)
    }];
    findings.extend(
        config
            .ties(apps)
            .into_iter()
            .map(|tie| Finding::wrong("apps", tie, "name it in one of them".to_owned())),
    );
    findings.extend(config.unmatched(apps).into_iter().map(|(policy, pattern)| {
        let says = format!("no app is like \"{pattern}\"");
        let next = near(&pattern, apps).map_or_else(
            || "check its spelling, or leave it for an app that will come".to_owned(),
            |near| format!("did you mean \"{near}\"?"),
        );
        Finding::new(Grade::Look, &format!("policy {policy}"), says, next)
    }));
    findings
}

/// An app whose name is like a pattern's.
fn near<'a>(pattern: &str, apps: &'a [AppName]) -> Option<&'a str> {
    let plain = pattern.replace(['*', '?'], "");
    let likeness = |app: &&AppName| strsim::jaro_winkler(app.as_str(), &plain);
    let best = apps.iter().max_by(|one, other| likeness(one).total_cmp(&likeness(other)))?;
    (likeness(&best) > 0.85).then_some(best.as_str())
}
