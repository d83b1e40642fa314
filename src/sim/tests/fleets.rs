//! The fleets under `docs/fleets`: each shows one thing that the simulation can play, and is played
//! here.

use super::super::*;
use std::time::Duration;

/// A fleet of the documentation, whose time is moved by hand.
struct Shown {
    sim: Sim,
    gone: u64,
}

/// What a file shows.
type Story = fn(&mut Shown);

const STORIES: [(&str, Story); 19] = [
    ("autostop", autostop),
    ("bluegreen", bluegreen),
    ("by-hand", by_hand),
    ("canary", canary),
    ("config", config),
    ("draining", draining),
    ("failed-launch", failed_launch),
    ("gates", gates),
    ("jobs", jobs),
    ("kept-events", kept_events),
    ("late-lists", late_lists),
    ("odd-checks", odd_checks),
    ("one-region", one_region),
    ("rights", rights),
    ("secrets", secrets),
    ("skewed-clock", skewed_clock),
    ("slow-boot", slow_boot),
    ("standby", standby),
    ("volumes", volumes),
];

#[test]
fn every_fleet_of_the_documentation_plays_what_it_says() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/fleets");
    let mut names: Vec<String> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, STORIES.map(|(name, _)| format!("{name}.toml")));
    for (name, story) in STORIES {
        let text = std::fs::read_to_string(folder.join(format!("{name}.toml"))).unwrap();
        let fleet = Fleet::parse(&text).unwrap_or_else(|problem| panic!("{name}: {problem}"));
        let sim = Sim::at(&fleet, "2026-01-05T03:00:00Z".parse().unwrap());
        let mut shown = Shown { sim, gone: 0 };
        story(&mut shown);
        assert!(shown.sim.is_script_over(), "{name}: the story ends before the script");
    }
}

impl Shown {
    /// Seconds after the beginning.
    fn at(&mut self, second: u64) -> &mut Self {
        self.sim.skip(Duration::from_secs(second - self.gone));
        self.gone = second;
        self
    }

    fn app(&self) -> String {
        self.sim.with(|org| org.apps.keys().next().cloned().unwrap())
    }

    /// The tags that machines of a region run, with their states.
    fn machines(&self, region: &str) -> Vec<(String, &'static str)> {
        let app = self.app();
        self.sim.with(|org| {
            org.of_app(&app)
                .filter(|machine| machine.region == region && !machine.is_destroyed())
                .map(|machine| {
                    let tag = machine.version.reference().tag.unwrap();
                    (tag, machine.state.as_str())
                })
                .collect()
        })
    }

    fn tags(&self, region: &str) -> Vec<String> {
        self.machines(region).into_iter().map(|(tag, _)| tag).collect()
    }

    fn states(&self, region: &str) -> Vec<&'static str> {
        self.machines(region).into_iter().map(|(_, state)| state).collect()
    }

    /// The tags that a list shows for a region.
    fn listed(&self, region: &str) -> Vec<String> {
        let app = self.app();
        self.sim.with(|org| {
            let listed = org.listed(&app).unwrap().into_iter();
            let of_region = listed.filter(|machine| machine.region == region);
            of_region.map(|machine| machine.version.reference().tag.unwrap()).collect()
        })
    }

    fn shown(&self, region: &str, number: usize) -> serde_json::Value {
        let app = self.app();
        let id = self.sim.machine_ids(&app, Some(region)).remove(number);
        self.sim.with(|org| org.show_machine(&app, &id, false)).unwrap()
    }

    fn releases(&self) -> Vec<(u64, String)> {
        let releases = self.sim.releases(&self.app()).into_iter();
        releases.map(|entry| (entry.version, entry.status)).collect()
    }

    fn newest(&self) -> (u64, String) {
        self.releases().remove(0)
    }
}

fn late_lists(shop: &mut Shown) {
    shop.at(32);
    assert_eq!(shop.tags("lhr"), ["v8", "v8"]);
    assert_eq!(
        (shop.listed("iad"), shop.listed("lhr")),
        (vec!["v8".into(); 2], vec!["v7".into(); 2])
    );
    shop.at(75);
    assert_eq!(shop.listed("lhr"), ["v8", "v8"]);
    shop.at(95);
    assert!(shop.listed("lhr").is_empty());
    shop.at(115);
    assert_eq!(shop.listed("lhr").len(), 2);
}

fn skewed_clock(shop: &mut Shown) {
    shop.at(11);
    assert_eq!(shop.sim.platform_now().to_string(), "2026-01-05T03:05:11Z");
    assert_eq!(shop.shown("iad", 0)["updated_at"], "2026-01-05T03:05:10.5Z");
}

fn kept_events(shop: &mut Shown) {
    let before = shop.shown("iad", 0)["updated_at"].clone();
    shop.at(15);
    assert_eq!(shop.shown("iad", 0)["updated_at"], before, "restarted, and nothing moved");
    shop.at(40);
    let machine = shop.shown("iad", 0);
    assert!(machine["events"].to_string().contains("exit_event"), "{machine}");
    assert_ne!(machine["updated_at"], before);
}

fn failed_launch(shop: &mut Shown) {
    shop.at(40);
    assert_eq!((shop.states("iad"), shop.states("lhr")), (vec!["failed"; 2], vec!["started"; 2]));
    shop.at(600);
    assert_eq!(shop.states("lhr"), ["starting", "started"]);
}

fn slow_boot(shop: &mut Shown) {
    shop.at(90);
    assert_eq!(shop.states("iad"), ["starting", "started"]);
    shop.at(110);
    assert_eq!(shop.states("iad")[0], "started");
}

fn jobs(night: &mut Shown) {
    // They were up for an hour before the beginning.
    night.at(50);
    assert_eq!((night.states("iad"), night.states("lhr")), (vec!["stopped"], vec!["started"]));
    night.at(70);
    assert_eq!(night.states("iad"), ["started"]);
    night.at(90);
    assert_eq!(night.states("iad"), ["stopped"]);
    let exits = night.shown("iad", 0)["events"].to_string();
    assert_eq!(exits.matches("\"exit_code\":0").count(), 2);
}

fn draining(shop: &mut Shown) {
    shop.at(15);
    assert_eq!(
        (shop.states("iad"), shop.states("lhr")),
        (vec!["stopping", "started"], vec!["suspending", "destroying"],)
    );
    shop.at(40);
    assert_eq!(
        (shop.states("iad"), shop.states("lhr")),
        (vec!["stopped", "started"], vec!["suspended"])
    );
}

fn odd_checks(shop: &mut Shown) {
    shop.at(30);
    let checks = shop.shown("iad", 0)["checks"].clone();
    assert_eq!((&checks[0]["status"], &checks[0]["updated_at"]), (&"warning".into(), &().into()));
    assert_eq!(checks[1]["name"], "bg_deployments_compat_1");
    assert!(shop.shown("lhr", 0)["checks"][0]["status"].is_null());
}

fn rights(shop: &mut Shown) {
    let only_reads = owner_of("read-only");
    assert!(!shop.sim.may(&only_reads, Right::Write) && shop.sim.may(&only_reads, Right::Read));
    assert!(shop.sim.may("anybody", Right::Write));
    shop.at(30);
    assert!(!shop.sim.may("anybody", Right::Write));
    shop.at(81);
    assert!(shop.sim.may("anybody", Right::Write));
}

fn canary(shop: &mut Shown) {
    shop.at(20);
    assert_eq!(shop.tags("iad"), ["v7", "v7", "v8"]);
    shop.at(50);
    assert_eq!((shop.newest(), shop.tags("iad").len()), ((8, "failed".into()), 3));
    shop.at(100);
    assert_eq!((shop.newest(), shop.tags("lhr")), ((9, "complete".into()), vec!["v9".into(); 2]));
    assert_eq!(shop.tags("iad"), ["v9", "v9", "v9"], "the one left behind is updated too");
}

fn bluegreen(shop: &mut Shown) {
    shop.at(20);
    assert_eq!(shop.tags("iad"), ["v7", "v7", "v8", "v8"]);
    shop.at(50);
    assert_eq!((shop.newest(), shop.tags("iad").len()), ((8, "failed".into()), 2));
    shop.at(100);
    assert_eq!((shop.newest(), shop.tags("iad")), ((9, "complete".into()), vec!["v9".into(); 2]));
    assert_eq!(shop.sim.totals("shop").failed, 0);
}

fn gates(shop: &mut Shown) {
    shop.at(60);
    assert_eq!(shop.newest(), (8, "failed".into()));
    assert_eq!(
        (shop.tags("iad"), shop.tags("lhr")),
        (vec!["v8".into(), "v7".into()], vec!["v7".into(); 2],)
    );
    let gates = shop.sim.gates("shop");
    assert!(gates.len() == 1 && !gates[0].passed);
}

fn config(shown: &mut Shown) {
    shown.at(9);
    let before = shown.sim.totals("shop").failed;
    assert_eq!(before, 0);
    let digests = |shown: &Shown| shown.sim.with(|org| org.app("shop").unwrap().secrets.clone());
    assert!(digests(shown).is_empty());
    shown.at(60);
    assert!(digests(shown).contains_key("DB_URL"));
    let ids = shown.sim.machine_ids("shop", None);
    for id in &ids {
        let config: serde_json::Value =
            serde_json::from_str(&shown.sim.config(id).unwrap()).unwrap();
        assert_eq!(config["env"]["POOL"], "0");
        assert_eq!(config["guest"]["memory_mb"], 512);
        assert_eq!(config["services"][0]["checks"], serde_json::json!([]));
        assert_eq!(config["image"], "registry.fly.io/shop:v7");
    }
    assert!(shown.sim.totals("shop").failed > 100, "it breaks on its environment");
}

fn secrets(shop: &mut Shown) {
    shop.at(40);
    assert_eq!(shop.newest(), (8, "complete".into()));
    assert_eq!(
        (shop.tags("iad"), shop.tags("lhr")),
        (vec!["v8".into(), "v7".into()], vec!["v7".into(); 2],)
    );
    let version = "fly_release_version";
    assert!((0..2).all(|number| shop.shown("lhr", number)["config"]["metadata"][version] == "8"));
}

fn by_hand(shop: &mut Shown) {
    shop.at(45);
    assert_eq!(
        (shop.tags("iad"), shop.tags("lhr")),
        (vec!["v8".into(), "v7".into(), "v8".into()], vec!["v7".into(); 4],)
    );
    assert_eq!(shop.releases(), [(7, "complete".into())]);
    let id = shop.sim.machine_ids("shop", Some("lhr")).remove(0);
    assert!(shop.sim.with(|org| org.lease("shop", &id)).unwrap().owner.starts_with("ann"));
}

fn one_region(shop: &mut Shown) {
    shop.at(30);
    assert_eq!((shop.tags("iad"), shop.tags("lhr")), (vec!["v7".into(); 2], vec!["v8".into(); 2]));
    shop.at(120);
    assert_eq!(shop.newest(), (9, "running".into()));
    assert_eq!(shop.tags("iad"), ["v8", "v7"]);
}

fn autostop(shop: &mut Shown) {
    shop.at(59);
    assert_eq!((shop.states("ams"), shop.states("iad")), (vec!["started"; 3], vec!["started"; 2]));
    shop.at(65);
    let one_less = vec!["started", "started", "suspended"];
    assert_eq!((shop.states("ams"), shop.states("iad")), (one_less, vec!["started", "suspended"]));
    shop.at(290);
    let home = vec!["started", "suspended", "suspended"];
    assert_eq!((shop.states("ams"), shop.states("iad")), (home, vec!["suspended", "suspended"]));
    // Four at once are over the limit of three: one more is started where the users are.
    shop.at(310);
    assert_eq!(shop.states("ams"), ["started", "started", "suspended"]);
    assert_eq!(shop.states("iad"), ["suspended", "suspended"]);
    assert_eq!(shop.sim.totals("shop").failed, 0);
}

fn standby(jobs: &mut Shown) {
    jobs.at(50);
    assert_eq!(jobs.states("ams"), ["stopped", "stopped"], "somebody wanted it to stop");
    jobs.at(95);
    assert_eq!(jobs.states("ams"), ["started", "stopped"], "a host may be back soon");
    jobs.at(105);
    assert_eq!(jobs.states("ams"), ["started", "started"]);
    jobs.at(160);
    assert_eq!(jobs.states("ams"), ["started", "started"], "it goes on");
}

fn volumes(shop: &mut Shown) {
    shop.at(15);
    assert_eq!(shop.states("ams"), ["started", "started"], "a copy would want the same volume");
    let mount = shop.shown("ams", 0)["config"]["mounts"][0].clone();
    assert_eq!((&mount["path"], &mount["size_gb"]), (&"/data".into(), &3.into()));
    shop.at(25);
    let hosts = [0, 1].map(|number| shop.shown("ams", number)["host_status"].clone());
    assert_eq!(hosts, ["unreachable", "ok"]);
    // Whoever destroys the machine and makes another one for the volume is refused.
    let id = shop.sim.machine_ids("shop", Some("ams")).remove(0);
    let config = shop.sim.with(|org| org.machines[&id].version.config.clone());
    shop.sim.destroy(&id).unwrap();
    let refused = shop.sim.with(|org| org.create("shop", Placed::new("ams", true, config), false));
    assert!(matches!(refused, Err(Refusal::NoCapacity(_))), "{refused:?}");
    let made = shop.sim.with(|org| org.scale("shop", "ams", 1));
    assert!(made.is_ok(), "with a volume of its own: {made:?}");
}
