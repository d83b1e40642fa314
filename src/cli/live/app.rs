//! One app: its machines, what each threshold finds of them, and the image that runs.

use std::{collections::BTreeMap, sync::Arc};

use tokio::time::timeout;

use super::{
    PATIENCE,
    finding::{Finding, Grade},
    late, series,
};
use crate::{
    config::{Config, MetricsServer, PolicyFile, Secret},
    fly::{Fly, FlySettings},
    model::{
        AppName, CheckStatus, Digest, Machine, MachineState, NoData, NotFed, Note, Policy,
        ProbeRequest, Selection, SourceName, Threshold, Want,
    },
    numbers::plain,
    ports::{
        ImagePresence, MetricsPages as _, MetricsServers as _, PageError, PageReader,
        Platform as _, ProbeTarget, Probed, Probes as _, Registry as _, SampledSeries, ServerQuery,
    },
    sources::{
        pages::{
            HttpPages,
            parse::{Series, parse},
            select::KeptLine,
            target,
        },
        probes::HttpProbes,
        servers::{HttpServers, PlatformServer, present},
    },
    threshold,
};

/// Bytes of a page that are looked at.
const PAGE_MAX: usize = 16 << 20;

/// What apps are looked at with.
pub(super) struct Ground {
    fly: Arc<Fly>,
    pages: HttpPages,
    servers: HttpServers,
    /// By name.
    known: BTreeMap<String, MetricsServer>,
}

/// A whole page.
#[derive(Default)]
struct Whole(Vec<u8>);

impl PageReader for Whole {
    fn chunk(&mut self, bytes: &[u8]) -> Result<(), PageError> {
        if self.0.len() + bytes.len() > PAGE_MAX {
            return Err(PageError(format!("is larger than {} MiB", PAGE_MAX >> 20)));
        }
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

impl Ground {
    pub(super) fn new(
        config: &Config,
        fly: Arc<Fly>,
        settings: &FlySettings,
    ) -> anyhow::Result<Self> {
        let (url, authorization) = settings.prometheus()?;
        Ok(Self {
            fly,
            pages: HttpPages::new()?,
            servers: HttpServers::new(PlatformServer { url, authorization })?,
            known: config.metrics_servers.clone(),
        })
    }

    pub(super) async fn look(&self, app: &AppName, file: &PolicyFile) -> Vec<Finding> {
        let machines = match timeout(PATIENCE, self.fly.machines(app)).await {
            Ok(Ok(machines)) => machines,
            Ok(Err(error)) => {
                return vec![Finding::wrong("machines", error.to_string(), String::new())];
            }
            Err(_) => return vec![late("machines")],
        };
        let judged: Vec<&Machine> = machines.iter().filter(|one| !one.is_ephemeral()).collect();
        let up: Vec<&Machine> =
            judged.iter().copied().filter(|one| one.state == MachineState::Started).collect();
        let says = format!("{} of {} are started", up.len(), judged.len());
        let mut findings = vec![if up.is_empty() {
            let next = "what can only be seen of running machines is not looked at".to_owned();
            Finding::new(Grade::Look, "machines", says, next)
        } else {
            Finding::ok("machines", says)
        }];
        let page = match file.policy.wants_pages() {
            true => self.page(app, &up, &file.policy).await,
            false => Ok((String::new(), Vec::new())),
        };
        let mut wants_machines = false;
        for threshold in &file.policy.thresholds {
            match threshold.room().want() {
                Want::Machines => wants_machines = true,
                Want::Series(source, selection) => {
                    let of = (&source, &selection, idle(&up, &file.policy, &source));
                    findings.push(self.one(threshold, of, app, &judged, &page).await);
                }
            }
        }
        if wants_machines {
            findings.push(checks(&judged));
        }
        findings.extend(self.image(&judged).await);
        findings
    }

    /// The first page that can be read, and whose it is; or why none can.
    async fn page(
        &self,
        app: &AppName,
        up: &[&Machine],
        policy: &Policy,
    ) -> Result<(String, Vec<Series>), String> {
        let mut first = None;
        for machine in up {
            let read = async {
                let target = target(app, machine, policy)?;
                let mut whole = Whole::default();
                self.pages.read(&target, &mut whole).await.map_err(|error| error.to_string())?;
                every_series(&whole.0)
            };
            match read.await {
                Ok(series) => return Ok((machine.id.to_string(), series)),
                Err(why) => first = first.or(Some(why)),
            }
        }
        Err(first.unwrap_or_else(|| "no machine is started".to_owned()))
    }

    /// What a threshold finds; `idle`: what it means where that is nothing, if it is no mistake.
    async fn one(
        &self,
        threshold: &Threshold,
        (source, selection, idle): (&SourceName, &Selection, Option<NotFed>),
        app: &AppName,
        machines: &[&Machine],
        page: &Result<(String, Vec<Series>), String>,
    ) -> Finding {
        let (what, by) = (threshold.name.as_str(), threshold.room().by());
        let metrics = match selection {
            Selection::Share { bad, total } => vec![bad.metric.clone(), total.metric.clone()],
            Selection::Slow { histogram, .. } => {
                let base = &histogram.metric;
                vec![format!("{base}_bucket"), format!("{base}_count"), base.clone()]
            }
            Selection::Largest { gauge } => vec![gauge.metric.clone()],
            Selection::Value { expression } => {
                return self.value(threshold, (source, expression, idle), app).await;
            }
            Selection::Answer(request) => return probe(what, (request, idle), app, machines).await,
        };
        let (whose, seen) = match source {
            SourceName::Server(name) => match self.series(source, app, &metrics).await {
                Ok(seen) if seen.is_empty() => {
                    if let Some(why) = idle {
                        return does_not_apply(what, why);
                    }
                    let says = format!("{name} has no such series of the app now");
                    let next = "series come half a minute after the first request, and stay away \
                                where there are none";
                    return Finding::new(Grade::Look, what, says, next.to_owned());
                }
                Ok(seen) => (format!(" in {name}"), seen),
                Err(why) => return Finding::wrong(what, why, String::new()),
            },
            SourceName::Pages | SourceName::Probes => match page {
                Ok((machine, seen)) => (format!(" on the page of {machine}"), seen.clone()),
                Err(_) if idle == Some(NotFed::NoPage) => {
                    return does_not_apply(what, NotFed::NoPage);
                }
                Err(why) => {
                    let next = "or read it with from = \"fly\"".to_owned();
                    return Finding::wrong(what, why.clone(), next);
                }
            },
        };
        let counted = match selection {
            Selection::Share { total, .. } => total.metric.clone(),
            Selection::Slow { histogram, .. } => format!("{}_bucket", histogram.metric),
            Selection::Largest { .. } | Selection::Value { .. } | Selection::Answer(_) => {
                String::new()
            }
        };
        if let Some(finding) = series::apart(what, by, &counted, &seen) {
            return Finding { says: format!("{}{whose}", finding.says), ..finding };
        }
        let finding = match selection {
            Selection::Share { bad, total } => series::share(what, bad, total, &seen),
            Selection::Slow { histogram, bound_s } => {
                series::slow(what, histogram, *bound_s, &seen)
            }
            Selection::Largest { gauge } => series::largest(what, gauge, &seen),
            Selection::Value { .. } | Selection::Answer(_) => {
                Finding::new(Grade::Look, what, "is not read as series".to_owned(), String::new())
            }
        };
        Finding { says: format!("{}{whose}", finding.says), ..finding }
    }

    /// What a metrics server has of these metrics of an app.
    async fn series(
        &self,
        source: &SourceName,
        app: &AppName,
        metrics: &[String],
    ) -> Result<Vec<Series>, String> {
        let server = self.server(source)?;
        let answer = self.ask(server, &present(metrics, server, app)).await?;
        let one = |mut series: SampledSeries| {
            let name = series.labels.remove("__name__")?;
            let value = series.samples.last()?.1;
            Some(Series { name, labels: series.labels, value })
        };
        Ok(answer.into_iter().filter_map(one).collect())
    }

    fn server(&self, source: &SourceName) -> Result<&MetricsServer, String> {
        let SourceName::Server(name) = source else {
            return Err("it is read from no metrics server".to_owned());
        };
        self.known.get(name).ok_or_else(|| format!("there is no metrics server {name}"))
    }

    async fn ask(&self, server: &MetricsServer, query: &str) -> Result<Vec<SampledSeries>, String> {
        let query = ServerQuery {
            server: &server.name,
            url: server.url.as_deref(),
            token: server.token.as_ref().map(Secret::expose),
            query,
            at: None,
        };
        match timeout(PATIENCE, self.servers.ask(query)).await {
            Ok(answer) => answer.map_err(|error| error.to_string()),
            Err(_) => {
                let (name, seconds) = (&server.name, PATIENCE.as_secs());
                Err(format!("{name} did not answer within {seconds} s"))
            }
        }
    }

    async fn value(
        &self,
        threshold: &Threshold,
        (source, expression, idle): (&SourceName, &str, Option<NotFed>),
        app: &AppName,
    ) -> Finding {
        let what = threshold.name.as_str();
        let expression = expression.replace("$app", app.as_str());
        let answer = match self.server(source) {
            Ok(server) => self.ask(server, &expression).await,
            Err(why) => Err(why),
        };
        match (answer, idle) {
            (Ok(answer), Some(why)) if answer.is_empty() => does_not_apply(what, why),
            (Ok(answer), _) if answer.is_empty() && threshold.no_data == NoData::Ignore => {
                let says = "it has no value now, which is ignored (no_data = \"ignore\")";
                Finding::ok(what, says.to_owned())
            }
            (Ok(answer), _) if answer.is_empty() => {
                let says = "it has no value now".to_owned();
                let next = "if that is so while all is well, write no_data = \"ignore\"".to_owned();
                Finding::new(Grade::Look, what, says, next)
            }
            (Ok(answer), _) => {
                let values = answer.iter().filter_map(|one| one.samples.last()).map(|(_, v)| *v);
                let largest = plain(values.fold(f64::MIN, f64::max), 6);
                let says = format!("{} values, the largest is {largest} now", answer.len());
                Finding::ok(what, says)
            }
            (Err(why), _) => Finding::wrong(what, why, String::new()),
        }
    }

    /// Whether the registry has what runs.
    async fn image(&self, machines: &[&Machine]) -> Option<Finding> {
        let image = machines.iter().find(|one| one.digest().is_some()).map(|one| &one.image)?;
        let what = "image";
        Some(match timeout(PATIENCE, self.fly.presence(image)).await {
            Ok(Ok(ImagePresence::Present)) => {
                // Whole, a digest would fill two lines of a terminal.
                let name = image.tag.as_deref().unwrap_or("the image");
                let digest = image.digest.as_ref().map_or("", Digest::short);
                let of = format!("{}:{name} ({digest})", image.repository);
                Finding::ok(what, format!("{} has {of}", image.registry))
            }
            Ok(Ok(ImagePresence::Missing)) => {
                let says = format!("{} does not have {}", image.registry, image.reference());
                let next =
                    "a release that is gone cannot be gone back to; think of `mirror`".to_owned();
                Finding::new(Grade::Look, what, says, next)
            }
            Ok(Err(error)) => Finding::wrong(what, error.to_string(), String::new()),
            Err(_) => late(what),
        })
    }
}

/// Why nothing may be known of what is read from `source`: no machine that is up takes requests. `None`: one
/// does, or none is up.
fn idle(up: &[&Machine], policy: &Policy, source: &SourceName) -> Option<NotFed> {
    let takes_none = !up.is_empty() && up.iter().all(|machine| !machine.has_services);
    let has_page = || policy.metrics_port.is_some() || up.iter().any(|one| one.metrics.is_some());
    takes_none.then(|| threshold::not_fed(source, has_page()))
}

/// As the daemon says it.
fn does_not_apply(what: &str, why: NotFed) -> Finding {
    Finding::ok(what, threshold::remark(&Note::NotFed(why), what))
}

/// Every series of a page.
fn every_series(page: &[u8]) -> Result<Vec<Series>, String> {
    let text = String::from_utf8_lossy(page);
    let lines: Vec<KeptLine> = text
        .lines()
        .zip(1..)
        .filter(|(line, _)| !line.trim().is_empty() && !line.starts_with('#'))
        .map(|(line, number)| KeptLine { number, text: line.to_owned() })
        .collect();
    parse(&lines).map_err(|error| error.to_string())
}

/// The platform's health checks.
fn checks(machines: &[&Machine]) -> Finding {
    let what = "checks";
    let configured: usize = machines.iter().map(|one| one.checks_configured).sum();
    if configured == 0 {
        let says = "the app has no health checks: nothing can fail".to_owned();
        let next = "give it [checks] in its fly.toml, or a `probe`".to_owned();
        return Finding::new(Grade::Look, what, says, next);
    }
    let failing = machines
        .iter()
        .flat_map(|one| &one.checks)
        .filter(|check| check.status != CheckStatus::Passing);
    let failing = failing.count();
    let many = |count: usize, word: &str| match count {
        1 => format!("1 {word}"),
        count => format!("{count} {word}s"),
    };
    let (checks, on) = (many(configured, "check"), many(machines.len(), "machine"));
    let says = format!("{checks} on {on}, {failing} of them failing");
    Finding::ok(what, says)
}

/// One request to one machine.
async fn probe(
    what: &str,
    (request, idle): (&ProbeRequest, Option<NotFed>),
    app: &AppName,
    machines: &[&Machine],
) -> Finding {
    let asked = machines.iter().filter(|one| one.state == MachineState::Started).find_map(|one| {
        let port = request.port.or(one.service_port)?;
        let address = one.private_ip?;
        Some(ProbeTarget { app: app.clone(), machine: one.id.clone(), address, port })
    });
    let Some(target) = asked else {
        if let Some(why) = idle {
            return does_not_apply(what, why);
        }
        let says = "no machine that is started has a service".to_owned();
        return Finding::wrong(what, says, "name a `port`".to_owned());
    };
    let at = format!("{} at port {}", target.machine, target.port);
    match HttpProbes::default().probe(&target, request).await {
        Probed::Answered { status, has_text } if request.expects(status) && has_text => {
            Finding::ok(what, format!("{at} answers {status}"))
        }
        Probed::Answered { status, .. } if !request.expects(status) => {
            let next = "write it in `status`, if it is well".to_owned();
            Finding::wrong(what, format!("{at} answers {status}"), next)
        }
        Probed::Answered { .. } => {
            Finding::wrong(what, format!("{at} answers without the text"), String::new())
        }
        Probed::Refused => Finding::wrong(
            what,
            format!("nobody listens on {at}"),
            "have it listen on the private network ([::]), or name its `port`".to_owned(),
        ),
        Probed::TimedOut => {
            Finding::wrong(what, format!("{at} does not answer in time"), String::new())
        }
        Probed::Broken => {
            Finding::wrong(what, format!("{at} does not answer as HTTP does"), String::new())
        }
        Probed::Unreachable(why) => {
            let next = "is this host in the organization's private network?".to_owned();
            Finding::wrong(what, format!("{at}: {why}"), next)
        }
    }
}
