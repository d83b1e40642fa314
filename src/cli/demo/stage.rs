//! What the demo plays on: the simulated platform and its metrics pages on loopback addresses, a
//! webhook receiver, and the daemon, set up from files as a user would.

use std::{path::Path, sync::Arc};

use anyhow::Context as _;
use jiff::Timestamp;
use tokio::{
    net::{TcpListener, TcpSocket},
    sync::{mpsc, oneshot},
    task::JoinHandle,
};

use super::{
    super::{
        aside::Aside,
        receiver::{self, Received},
        sim,
    },
    Bad,
    show::Standing,
    twin,
};
use crate::{
    config::{self, Config, Secret},
    daemon::{self, ConfigSource, Counted, Ports, Settings},
    fly::{Fly, FlySettings},
    model::AppName,
    notify::http::HttpNotifier,
    ports::Clock,
    sim::{
        ShipOptions, Sim, State, Totals, fleet,
        serve::{self, Options},
    },
    sources::{
        pages::{CONCURRENCY, HttpPages, Scraper},
        probes::{self, HttpProbes, Prober},
    },
    store::SqliteJournal,
    web::{AppView, Board, Tokens},
};

/// Signs the demo's webhooks; it protects nothing.
const SECRET: &str = "whsec_d2F2ZW9mZi1kZW1vLXdlYmhvb2stc2VjcmV0LTE=";
/// Messages that may wait to be told.
const MESSAGES: usize = 100;
/// Everything as shipped but for the times, which fit a rollback into a minute.
const POLICY: &str = r#"
apps = ["*"]
mode = "rollback"

[watch]
scrape_every = "1s"
block = "1s"
bake = "3s"

[rollback]
confirm = "2s"
ready_timeout = "30s"

[[threshold]]
name = "5xx"
ratio = { bad = 'http_requests_total{status=~"5.."}', total = 'http_requests_total' }
max = "2%"
no_data = "ignore"

[[threshold]]
name = "p95"
latency = { histogram = 'http_request_duration_seconds', quantile = 0.95 }
max = "500ms"
no_data = "ignore"

[[threshold]]
name = "checks"
checks = { failing = "30%", consecutive = 2 }

[[threshold]]
name = "crashes"
crashes = { exits = 2, oom = 1 }
"#;

pub(super) struct Stage {
    pub(super) daemon: JoinHandle<anyhow::Result<()>>,
    pub(super) messages: mpsc::Receiver<Result<Received, String>>,
    pub(super) api_url: String,
    pub(super) platform_url: String,
    sim: Sim,
    clock: Clock,
    board: Board,
    stop: oneshot::Sender<()>,
    others: Vec<JoinHandle<()>>,
    _aside: Aside,
    _metrics_port: TcpSocket,
}

impl Stage {
    pub(super) async fn set_up() -> anyhow::Result<Self> {
        let clock = Clock::system();
        let mut fleet = fleet::demo();
        // Another demo, or a served simulation, may have the usual port.
        let (metrics_port, port) =
            sim::reserve_port().context("find a free port for the metrics")?;
        (fleet.metrics_port, fleet.service_port) = (port, port);
        let sim = Sim::new(&fleet, Clock::system());
        let (platform_url, mut others) = open_platform(&sim).await?;
        let (hook_url, messages, receiving) = open_receiver(clock.clone()).await?;
        others.push(receiving);

        let aside = Aside::new("demo")?;
        let thresholds = aside.path().join("config/thresholds");
        std::fs::create_dir_all(&thresholds)
            .with_context(|| format!("make {}", thresholds.display()))?;
        let config = write_config(aside.path(), &hook_url)?;
        let settings = FlySettings::from_env(config.organization.clone(), |name| match name {
            "FLY_API_TOKEN" => Some("sim-token".to_owned()),
            "FLY_API_BASE_URL" | "FLY_FLAPS_BASE_URL" | "FLY_UIEX_BASE_URL" => {
                Some(platform_url.clone())
            }
            "FLY_REGISTRY_HOST" => Some(platform_url.replace("http://", "")),
            _ => None,
        })?;
        let fly = Arc::new(Fly::new(settings)?);
        let board = Board::new(&config.organization, clock.now());
        let journal = SqliteJournal::open(&aside.path().join("waveoff.sqlite"))?;
        let listener = TcpListener::bind("127.0.0.1:0").await.context("listen for the API")?;
        let api_url = format!("http://{}", listener.local_addr()?);
        let ports = Ports {
            platform: Arc::new(Counted::new(fly.clone(), board.clone())),
            sources: vec![
                Arc::new(Scraper::new(Arc::new(HttpPages::new()?), CONCURRENCY)),
                Arc::new(Prober::new(Arc::new(HttpProbes::default()), probes::CONCURRENCY)),
            ],
            registry: fly,
            notifier: Arc::new(HttpNotifier::new(clock.clone())?),
            journal: Arc::new(journal),
            board: board.clone(),
            clock: clock.clone(),
        };
        let settings = Settings {
            config,
            source: Some(ConfigSource::files(aside.path().join("config"), Arc::new(secrets))),
            listener: Some(listener),
            feed_every: super::super::run::FEED_EVERY,
            tokens: Tokens::default(),
            orders: Arc::default(),
        };
        let (stop, stopped) = oneshot::channel::<()>();
        let daemon = tokio::spawn(daemon::run(settings, Arc::new(ports), async move {
            if stopped.await.is_err() {
                tracing::debug!("the stage was left: the daemon stops");
            }
        }));
        Ok(Self {
            daemon,
            messages,
            api_url,
            platform_url,
            sim,
            clock,
            board,
            stop,
            others,
            _aside: aside,
            _metrics_port: metrics_port,
        })
    }

    pub(super) fn ship_good(&self) -> anyhow::Result<()> {
        self.ship("good")
    }

    pub(super) fn ship_bad(&self, bad: Bad) -> anyhow::Result<()> {
        self.ship(super::story::fault(bad))
    }

    /// A deploy by somebody else, as a CI job does it.
    fn ship(&self, tag: &str) -> anyhow::Result<()> {
        let image = format!("registry.fly.io/{}:{tag}", super::APP);
        self.sim
            .ship(super::APP, &image, ShipOptions::default())
            .map_err(|refusal| anyhow::anyhow!("ship {image}: {}", refusal.text()))?;
        Ok(())
    }

    pub(super) fn view(&self, app: &str) -> Option<AppView> {
        self.board.app(&AppName::new(app))
    }

    pub(super) fn all_on_good(&self, app: &str) -> bool {
        let running = self.sim.running(app);
        !running.is_empty() && running.values().all(|image| image.contains(":good@"))
    }

    /// What the app's users got so far.
    pub(super) fn totals(&self, app: &str) -> Totals {
        self.sim.totals(app)
    }

    /// How many machines of the story's app run the bad image, of how many.
    pub(super) fn on_bad(&self, bad: Bad) -> (usize, usize) {
        twin::on(&self.sim, super::story::fault(bad))
    }

    /// The app's machines as the platform has them.
    pub(super) fn standings(&self, app: &str) -> Vec<Standing> {
        self.sim.with(|org| {
            let machines = org.standings(app).map(|machine| Standing {
                region: machine.region.to_owned(),
                digest: machine.digest.map(str::to_owned),
                is_up: machine.state == State::Started && machine.passes,
            });
            machines.collect()
        })
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Calls that the daemon made to the platform.
    pub(super) fn platform_calls(&self) -> u64 {
        self.board.platform_calls()
    }

    pub(super) async fn tear_down(self) -> anyhow::Result<()> {
        // A daemon that has ended by itself hears nothing; its result tells.
        let told = self.stop.send(()).is_ok();
        tracing::debug!(told, "the demo ends");
        self.daemon.await.context("the daemon's task")??;
        for other in self.others {
            other.abort();
        }
        Ok(())
    }
}

/// Serves the platform and the machines' pages; answers with the platform's base URL.
async fn open_platform(sim: &Sim) -> anyhow::Result<(String, Vec<JoinHandle<()>>)> {
    let listener = TcpListener::bind("127.0.0.1:0").await.context("listen for the platform")?;
    let url = format!("http://{}", listener.local_addr()?);
    let pages = tokio::spawn(serve::metrics::serve(sim.clone()));
    let serving = serve::serve(sim.clone(), listener, Options::default(), std::future::pending());
    let platform = tokio::spawn(async move {
        if let Err(error) = serving.await {
            tracing::error!("the simulated platform ended: {error}");
        }
    });
    Ok((url, vec![pages, platform]))
}

type Messages = mpsc::Receiver<Result<Received, String>>;

async fn open_receiver(clock: Clock) -> anyhow::Result<(String, Messages, JoinHandle<()>)> {
    let listener = TcpListener::bind("127.0.0.1:0").await.context("listen for webhooks")?;
    let url = format!("http://{}/hook", listener.local_addr()?);
    let (sender, messages) = mpsc::channel(MESSAGES);
    let serving = receiver::serve(listener, Secret::new(SECRET), clock, sender);
    let task = tokio::spawn(async move {
        if let Err(error) = serving.await {
            tracing::error!("the webhook receiver ended: {error}");
        }
    });
    Ok((url, messages, task))
}

fn write_config(dir: &Path, hook_url: &str) -> anyhow::Result<Config> {
    let config = dir.join("config");
    let head = format!(
        r#"
organization = "acme"

[[receiver]]
name = "demo"
format = "standard"
url = "{hook_url}"
secrets_env = ["DEMO_SECRET"]
"#
    );
    std::fs::write(config.join("waveoff.toml"), head).context("write waveoff.toml")?;
    std::fs::write(config.join("thresholds/demo.toml"), POLICY).context("write demo.toml")?;
    config::load(&config, secrets)
        .map_err(|errors| anyhow::anyhow!("the demo's configuration: {errors}"))
}

/// The demo's environment variables.
fn secrets(name: &str) -> Option<String> {
    (name == "DEMO_SECRET").then(|| SECRET.to_owned())
}
