//! A real `flyctl`, where `FLYCTL` names one, on the served platform in real time.
//!
//! It is not part of this repository. Without it these tests say so and hold nothing.

#![expect(clippy::unwrap_used, reason = "a helper that cannot go on fails its test")]

use std::{path::PathBuf, time::Duration};

use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    net::TcpListener,
    process::Command,
    task::JoinHandle,
    time::{interval, timeout},
};
use waveoff::{
    ports::Clock,
    sim::{
        Behaviour, Fleet, Sim, State,
        fleet::{FleetApp, FleetImage, Group},
        serve::{self, Options},
    },
};

use crate::between::Between;

/// What every machine runs, and what it is to run.
const OLD: &str = "registry.fly.io/web:v1";
const NEW: &str = "registry.fly.io/web:v2";

/// How long one command may take.
const PATIENCE: Duration = Duration::from_secs(180);

struct Driven {
    sim: Sim,
    base: String,
    between: Between,
    flyctl: PathBuf,
    /// Where it keeps what it keeps.
    home: TempDir,
    server: JoinHandle<()>,
}

impl Drop for Driven {
    fn drop(&mut self) {
        self.server.abort();
        let problems = self.between.problems();
        if !std::thread::panicking() {
            assert!(problems.is_empty(), "against the official description: {problems:#?}");
        }
    }
}

/// What a command said, and whether it was content.
struct Said {
    text: String,
    worked: bool,
}

impl Driven {
    /// The app `web` with four machines each in ams and iad; `None`: there is no `flyctl`.
    async fn web() -> Option<Self> {
        Self::with(Group::of(&[("ams", 4), ("iad", 4)]), Options::default()).await
    }

    async fn with(group: Group, options: Options) -> Option<Self> {
        let Some(flyctl) = std::env::var_os("FLYCTL").map(PathBuf::from) else {
            println!("no flyctl is named (FLYCTL): nothing was driven");
            return None;
        };
        let mut fleet = Fleet::empty("acme");
        (fleet.boot_s, fleet.replace_s, fleet.check_s, fleet.metrics_port) = (0.3, 0.2, 0.3, 0);
        let mut app = FleetApp::new("web", OLD, &[], 10.0);
        app.groups = vec![group];
        fleet.apps = vec![app];
        let image = |name: &str| FleetImage::new(name, Behaviour::default());
        fleet.images = vec![image(OLD), image(NEW)];
        let sim = Sim::new(&fleet, Clock::system());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let served = sim.clone();
        let server = tokio::spawn(async move {
            serve::serve(served, listener, options, std::future::pending()).await.unwrap();
        });
        let between = Between::of(&base).await;
        let home = TempDir::new().unwrap();
        // Over websockets it would ask the gateway's port 443, where nobody is.
        std::fs::write(home.path().join("config.yml"), "wire_guard_websockets: false\n").unwrap();
        Some(Self { sim, base, between, flyctl, home, server })
    }

    async fn unlimited() -> Option<Self> {
        Self::with(Group::of(&[("ams", 1), ("iad", 1)]), Options { limits: false }).await
    }

    /// The same, and the new image behaves like this.
    async fn with_new(behaviour: Behaviour) -> Option<Self> {
        let web = Self::unlimited().await?;
        web.sim.set_behaviour(NEW, behaviour).unwrap();
        Some(web)
    }

    /// Deploys the new image, without what takes time and shows nothing here.
    async fn deploy(&self, options: &str) -> Said {
        let fixed = "--dns-checks=false --smoke-checks=false --update-only --yes";
        self.run(&format!("deploy -a web --image {NEW} {fixed} {options}")).await
    }

    async fn run(&self, command: &str) -> Said {
        let mut flyctl = Command::new(&self.flyctl);
        flyctl.args(command.split_whitespace()).env_clear();
        for name in ["FLY_API_BASE_URL", "FLY_FLAPS_BASE_URL", "FLY_UIEX_BASE_URL"] {
            flyctl.env(name, &self.between.base);
        }
        let host = self.base.trim_start_matches("http://");
        flyctl
            .envs([("FLY_API_TOKEN", "sim-token"), ("FLY_REGISTRY_HOST", host)])
            .envs([("FLY_TRACE_COLLECTOR_URL", "127.0.0.1"), ("FLY_NO_UPDATE_CHECK", "1")])
            .envs([("FLY_NO_INCIDENTS_CHECK", "1"), ("FLY_SEND_METRICS", "0"), ("NO_COLOR", "1")])
            .envs([("FLY_CONFIG_DIR", self.home.path()), ("HOME", self.home.path())])
            .current_dir(self.home.path())
            .stdin(std::process::Stdio::null())
            .kill_on_drop(true);
        let output = timeout(PATIENCE, flyctl.output()).await.unwrap().unwrap();
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text).into_owned();
        Said { text, worked: output.status.success() }
    }

    /// Runs a command that works, and tells what it said.
    async fn works(&self, command: &str) -> String {
        let said = self.run(command).await;
        assert!(said.worked, "fly {command}:\n{}", said.text);
        assert!(!said.text.contains("panic"), "fly {command}:\n{}", said.text);
        said.text
    }

    /// Runs a command that is refused, with the sentence that people are to read.
    async fn refused(&self, command: &str, sentence: &str) {
        let said = self.run(command).await;
        let broke = said.worked || said.text.contains("panic");
        assert!(!broke && said.text.contains(sentence), "fly {command}:\n{}", said.text);
    }

    /// Looks until no machine of the app is on its way to anything.
    async fn settle(&self) {
        let looking = async {
            let mut looks = interval(Duration::from_millis(25));
            let is_settled = |id: &String| self.sim.state(id).is_some_and(State::is_settled);
            while !self.sim.machine_ids("web", None).iter().all(is_settled) {
                looks.tick().await;
            }
        };
        timeout(Duration::from_secs(20), looking).await.unwrap();
    }

    fn count(&self) -> usize {
        self.sim.machine_ids("web", None).len()
    }

    /// The tags that machines run.
    fn tags(&self) -> Vec<String> {
        let running = self.sim.running("web").into_values();
        let tag = |image: String| {
            let name = image.split('@').next().unwrap_or_default();
            name.rsplit(':').next().unwrap_or_default().to_owned()
        };
        running.map(tag).collect()
    }

    fn newest(&self) -> (u64, String) {
        let newest = self.sim.releases("web").into_iter().next().unwrap();
        (newest.version, newest.status)
    }
}

#[tokio::test]
async fn what_is_asked_is_shown() {
    let Some(web) = Driven::unlimited().await else { return };
    let machine = web.sim.machine_ids("web", Some("ams")).remove(0);
    let owner = waveoff::sim::owner_of("sim-token");
    for (command, shows) in [
        ("auth whoami", owner.as_str()),
        ("orgs list", "acme"),
        ("orgs show acme", &owner),
        ("apps list", "deployed"),
        ("status -a web", "2 total"),
        ("status -a web --json", "\"Deployed\": true"),
        ("releases --image -a web", "web:v1"),
        ("machine list -a web", machine.as_str()),
        ("machine list -a web --json", "\"host_status\": \"ok\""),
        (&format!("machine status {machine}"), "started"),
        ("checks list -a web", "passing"),
        ("image show -a web", "v1"),
        ("config show -a web", "primary_region"),
        ("scale show -a web", "ams,iad"),
        ("services list -a web", "8080"),
        ("platform regions", "iad"),
        ("volumes list -a web", "ATTACHED VM"),
        ("ips list -a web", "VERSION"),
        ("secrets list -a web", "DIGEST"),
        ("wireguard list acme", "PEER IP"),
        ("logs -a web --no-tail", "simulated platform"),
    ] {
        let shown = if shows == "2 total" { "1 total, 1 passing" } else { shows };
        let said = web.works(command).await;
        assert!(said.contains(shown), "fly {command}: {said}");
    }
    let log = reqwest::get(format!("{}/_sim/calls", web.base)).await.unwrap().text().await.unwrap();
    let log: Value = serde_json::from_str(&log).unwrap();
    let calls = log.get("calls").and_then(Value::as_array).unwrap();
    let unknown: Vec<&Value> = calls.iter().filter_map(|call| call.get("unknown")).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

#[tokio::test]
async fn what_is_not_simulated_is_refused_in_a_sentence() {
    let Some(web) = Driven::unlimited().await else { return };
    for command in [
        "certs list -a web",
        "certs add example.test -a web",
        "tokens list -a web",
        "tokens create deploy -a web",
        "ips allocate-v6 -a web",
        "volumes snapshots create vol_1 -a web",
    ] {
        web.refused(command, "").await;
    }
    web.refused("certs list -a web", "the simulated platform has no GET").await;
    web.refused("tokens list -a web", "has no field `limitedAccessTokens` of `app`").await;
    web.refused("ips allocate-v6 -a web", "has no mutation `allocateIpAddress`").await;
    web.refused("status -a nothing", "Could not find App").await;
}

#[tokio::test]
async fn machines_are_run_changed_and_destroyed_one_by_one() {
    let Some(web) = Driven::unlimited().await else { return };
    let said = web.works("machine run registry.fly.io/web:v2 -a web --region lhr").await;
    assert!(said.contains("successfully launched"), "{said}");
    let id = web.sim.machine_ids("web", Some("lhr")).remove(0);
    for verb in ["stop", "start", "restart", "cordon", "uncordon", "suspend", "start"] {
        web.works(&format!("machine {verb} {id} -a web")).await;
        // Some of these do not wait until it is done.
        web.settle().await;
    }
    let first = web.sim.machine_ids("web", Some("ams")).remove(0);
    let said = web.works(&format!("machine update {first} --image {NEW} --yes -a web")).await;
    assert!(said.contains("Waiting for") && said.contains("1/1"), "it waits for checks: {said}");
    assert_eq!(web.tags().iter().filter(|tag| *tag == "v2").count(), 2);
    web.works(&format!("machine clone {first} --region syd -a web")).await;
    web.works(&format!("machine leases clear {first} -a web")).await;
    web.works(&format!("machine destroy {id} --force -a web")).await;
    assert_eq!((web.count(), web.newest().0), (3, 41), "no release was made");
}

/// The platform's rate limits hold meanwhile.
#[tokio::test]
async fn an_app_of_eight_is_scaled_to_fourteen_and_back() {
    let Some(web) = Driven::web().await else { return };
    web.works("scale count 14 -a web --yes").await;
    assert_eq!(web.count(), 14);
    web.works("scale count 8 -a web --yes").await;
    assert_eq!(web.count(), 8);
}

#[tokio::test]
async fn an_app_of_eight_is_deployed_bluegreen() {
    let Some(web) = Driven::web().await else { return };
    let before = web.sim.machine_ids("web", None);
    let deploy =
        format!("deploy -a web --image {NEW} --strategy bluegreen --dns-checks=false --yes");
    web.works(&deploy).await;
    assert_eq!(web.tags(), ["v2"; 8]);
    assert!(web.sim.machine_ids("web", None).iter().all(|id| !before.contains(id)));
    assert_eq!(web.newest(), (42, "complete".to_owned()));
}

#[tokio::test]
async fn an_app_is_deployed_by_the_other_strategies() {
    let Some(web) = Driven::unlimited().await else { return };
    for (strategy, image, version) in
        [("rolling", NEW, 42), ("immediate", OLD, 43), ("canary", NEW, 44)]
    {
        web.works(&format!(
            "deploy -a web --image {image} --strategy {strategy} --dns-checks=false \
             --smoke-checks=false --yes"
        ))
        .await;
        // `immediate` waits for nothing.
        web.settle().await;
        let tag = image.rsplit(':').next().unwrap_or_default();
        assert_eq!(
            (web.tags(), web.newest()),
            (vec![tag.to_owned(); 2], (version, "complete".to_owned()),)
        );
    }
    let unknown = "deploy -a web --image registry.fly.io/web:no --dns-checks=false --yes";
    web.refused(unknown, "could not find image").await;
}

#[tokio::test]
async fn an_app_is_made_given_a_volume_restarted_and_destroyed() {
    let Some(web) = Driven::unlimited().await else { return };
    web.works("apps create shop --org acme").await;
    web.refused("apps create shop --org acme", "already been taken").await;
    web.works("volumes create data -a shop --region ams --size 2 --yes").await;
    let run = format!("machine run {OLD} -a shop --region ams --volume data:/data");
    web.works(&run).await;
    let listed = web.works("volumes list -a shop").await;
    let machine = web.sim.machine_ids("shop", None).remove(0);
    assert!(listed.contains(&machine) && listed.contains("2GB"), "{listed}");
    let said = web.works("apps restart web").await;
    assert_eq!(said.matches("restarted successfully").count(), 2, "{said}");
    web.works("image update -a web --yes").await;
    assert!(web.works("wireguard list acme").await.contains("interactive-"));
    web.works("agent stop").await;
    web.works("apps destroy shop --yes").await;
    assert!(!web.works("apps list").await.contains("shop"));
}

#[tokio::test]
async fn secrets_are_set_and_unset_with_a_release_each() {
    let Some(web) = Driven::unlimited().await else { return };
    web.works("secrets set A=b C=d -a web --detach").await;
    assert_eq!(web.newest().0, 42);
    assert!(web.works("secrets list -a web").await.contains('C'));
    web.works("secrets unset C -a web --detach").await;
    assert_eq!(web.newest(), (43, "complete".to_owned()));
    let listed = web.works("secrets list -a web").await;
    assert!(listed.contains('A') && !listed.contains(" C "), "{listed}");
}

/// It once advised the image that was being rolled back.
#[tokio::test]
async fn nobody_is_advised_an_image_while_machines_run_several() {
    let Some(web) = Driven::unlimited().await else { return };
    let first = web.sim.machine_ids("web", Some("ams")).remove(0);
    web.sim.put_image(&first, NEW).unwrap();
    web.settle().await;
    for command in ["status -a web", "image show -a web"] {
        let said = web.works(command).await;
        assert!(said.contains("v1") || said.contains("started"), "{said}");
        assert!(!said.contains("image update"), "fly {command}: {said}");
    }
}

#[tokio::test]
async fn a_deploy_whose_checks_never_pass_fails_at_its_first_machine() {
    let Some(web) = Driven::with_new(Behaviour::unhealthy()).await else { return };
    let said = web.deploy("--wait-timeout 5s").await;
    assert!(!said.worked, "{}", said.text);
    assert_eq!(
        (web.tags(), web.newest()),
        (vec!["v2".to_owned(), "v1".to_owned()], (42, "failed".to_owned()),)
    );
}

#[tokio::test]
async fn a_deploy_that_crashes_fails_and_says_so() {
    let Some(web) = Driven::with_new(Behaviour::crashing(0.1)).await else { return };
    let deploy = format!("deploy -a web --image {NEW} --dns-checks=false --update-only --yes");
    let said = web.run(&deploy).await;
    assert!(!said.worked && said.text.contains("crash"), "{}", said.text);
    assert_eq!(web.newest(), (42, "failed".to_owned()));
}

#[tokio::test]
async fn somebody_elses_lease_is_waited_for_and_not_for_ever() {
    let Some(web) = Driven::unlimited().await else { return };
    let last = web.sim.machine_ids("web", None).pop().unwrap();
    let lease = |seconds| web.sim.lease_as(&last, "ann@acme.test", Duration::from_secs(seconds));
    lease(8).unwrap();
    let said = web.deploy("").await;
    assert!(said.worked, "{}", said.text);
    assert_eq!((web.tags(), web.newest().1), (vec!["v2".to_owned(); 2], "complete".to_owned()));
    lease(100).unwrap();
    let said = web.deploy("").await;
    assert!(!said.worked && said.text.contains("lease currently held by ann"), "{}", said.text);
    assert_eq!(web.newest(), (43, "failed".to_owned()));
}

#[tokio::test]
async fn secrets_on_two_images_leave_each_machine_its_own() {
    let Some(web) = Driven::unlimited().await else { return };
    let first = web.sim.machine_ids("web", None).remove(0);
    web.works(&format!("machine update {first} --image {NEW} --yes -a web")).await;
    web.works("secrets set A=b -a web").await;
    assert_eq!(
        (web.tags(), web.newest()),
        (vec!["v2".to_owned(), "v1".to_owned()], (42, "complete".to_owned()),)
    );
}

#[tokio::test]
async fn a_deploy_to_one_region_leaves_the_others_and_one_to_none_is_complete_all_the_same() {
    let Some(web) = Driven::unlimited().await else { return };
    assert!(web.deploy("--regions iad").await.worked);
    assert_eq!((web.tags(), web.newest().0), (vec!["v1".to_owned(), "v2".to_owned()], 42));
    assert!(web.deploy("--regions syd").await.worked);
    assert_eq!(
        (web.tags(), web.newest()),
        (vec!["v1".to_owned(), "v2".to_owned()], (43, "complete".to_owned()),)
    );
}

#[tokio::test]
async fn an_app_of_ones_own_is_deployed_from_its_file_with_a_volume_and_scaled() {
    let Some(web) = Driven::unlimited().await else { return };
    let file = "app = \"shop\"\nprimary_region = \"ams\"\n\
                [mounts]\nsource = \"data\"\ndestination = \"/data\"\n";
    std::fs::write(web.home.path().join("shop.toml"), file).unwrap();
    web.works("apps create shop --org acme").await;
    let deploy = |image: &str| {
        format!(
            "deploy -a shop -c shop.toml --image {image} --no-public-ips --dns-checks=false \
             --smoke-checks=false --yes"
        )
    };
    web.works(&deploy(OLD)).await;
    let before = web.sim.machine_ids("shop", None);
    web.works(&deploy(NEW)).await;
    assert_eq!(web.sim.machine_ids("shop", None), before, "it stays with its volume");
    web.works("scale count 3 -a shop --yes").await;
    let listed = web.works("volumes list -a shop").await;
    assert_eq!(listed.matches("1GB").count(), 3, "{listed}");
    assert!(web.sim.machine_ids("shop", None).iter().all(|id| listed.contains(id)), "{listed}");
    web.works("apps destroy shop --yes").await;
}
