//! Recordings of a real `flyctl`, played request by request against the served model.
//!
//! They are not part of this repository: `WAVEOFF_FLYCTL_TRAFFIC` names their folder, or they lie
//! beside it. Without them this test says so and holds nothing; the scenes hold the protocol.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a helper that cannot go on fails its test"
)]

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::{Value, json};
use waveoff::sim::{Behaviour, Entry, Fleet, Placed, Sim, fleet::Traffic};

use crate::served::{Served, Y, id};

fn recordings() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/flyctl-traffic");
    let named = std::env::var_os("WAVEOFF_FLYCTL_TRAFFIC").map(PathBuf::from);
    named.or(Some(beside)).filter(|folder| folder.join("fleet.json").is_file())
}

/// One request at its time, in seconds of the recording.
#[derive(Clone, Debug)]
struct Request {
    at: f64,
    method: String,
    path: String,
    status: u64,
    nonce: bool,
    body: Value,
}

/// The commands of a recording, each with its requests in order of time; what was counted instead
/// of kept is put back at the pace of the three that were kept.
fn read(path: &Path) -> Vec<Vec<Request>> {
    let mut commands: Vec<Vec<Request>> = Vec::new();
    let mut counts: Vec<Vec<(usize, u64)>> = Vec::new();
    for line in std::fs::read_to_string(path).unwrap().lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        if line.get("command").is_some() {
            commands.push(Vec::new());
            counts.push(Vec::new());
            continue;
        }
        let requests = commands.last_mut().unwrap();
        if let Some(times) = line["repeated"].as_u64() {
            counts.last_mut().unwrap().push((requests.len(), times));
        }
        requests.push(Request {
            at: line["at"].as_f64().unwrap(),
            method: line["method"].as_str().unwrap().to_owned(),
            path: line["path"].as_str().unwrap().to_owned(),
            status: line["status"].as_u64().unwrap(),
            nonce: line["nonce"].as_bool().unwrap_or(false),
            body: line["body"].clone(),
        });
    }
    for (requests, counts) in commands.iter_mut().zip(counts) {
        let recorded = requests.clone();
        for (index, times) in counts {
            let request = &recorded[index];
            let same =
                |other: &&Request| (&other.method, &other.path) == (&request.method, &request.path);
            let pace =
                recorded[..index].iter().rfind(same).map_or(0.1, |other| request.at - other.at);
            // Not beyond whatever came next to the same place: a release, a success, the end.
            let place = request.path.split('?').next().unwrap();
            let next = recorded[index + 1..]
                .iter()
                .find(|other| other.path.starts_with(place) && !other.path.contains("/ps"))
                .or(recorded.last())
                .unwrap();
            let again = (1..=times).map(|time| Request {
                at: request.at + pace * f64::from(u32::try_from(time).unwrap()),
                ..request.clone()
            });
            requests.extend(again.filter(|again| again.at < next.at));
        }
        requests.sort_by(|one, other| one.at.total_cmp(&other.at));
    }
    commands
}

/// The recorded fleet.
fn organization(file: &Path, behaviour_of_y: &Behaviour) -> Sim {
    let recorded: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let mut fleet = Fleet::empty(recorded["organization"].as_str().unwrap());
    // The recorded stand-in took about a fifth of a second for everything.
    (fleet.boot_s, fleet.replace_s, fleet.check_s) = (0.1, 0.1, 0.0);
    let sim = Sim::at(&fleet, "2026-11-23T23:10:02Z".parse().unwrap());
    sim.with(|org| {
        for (reference, digest) in recorded["images"].as_object().unwrap() {
            let behaviour =
                if reference == Y { behaviour_of_y.clone() } else { Behaviour::default() };
            org.add_image(reference, digest.as_str(), behaviour);
        }
        let app = text(&recorded["app"]);
        org.add_app(&app, Traffic::default());
        for release in recorded["releases"].as_array().unwrap() {
            org.add_release(Entry {
                id: text(&release["id"]),
                app: app.clone(),
                version: release["version"].as_u64().unwrap(),
                status: text(&release["status"]),
                strategy: "ROLLING".to_owned(),
                image: text(&release["imageRef"]),
                author: text(&release["user"]["email"]),
                created_at: release["createdAt"].as_str().unwrap().parse().unwrap(),
                definition: recorded["definition"].clone(),
            });
        }
        for machine in recorded["machines"].as_array().unwrap() {
            let placed = Placed {
                id: machine["id"].as_str().map(str::to_owned),
                name: machine["name"].as_str().map(str::to_owned),
                region: text(&machine["region"]),
                started: machine["state"] == "started",
                config: machine["config"].clone(),
            };
            org.place(&app, placed);
        }
    });
    sim
}

/// What the platform chose in this run, by what it had chosen in the recording.
#[derive(Default)]
struct Chosen {
    /// Release and machine ids.
    names: BTreeMap<String, String>,
    /// Machine → its lease's nonce.
    nonces: BTreeMap<String, String>,
    created: Option<String>,
}

impl Chosen {
    fn translate(&self, text: &str) -> String {
        self.names.iter().fold(text.to_owned(), |text, (old, new)| text.replace(old, new))
    }

    fn learn(&mut self, request: &Request, body: &Value) {
        let nonce = body["data"]["nonce"].as_str().or(body["nonce"].as_str());
        if request.path.ends_with("/releases") {
            let new = &body["release"];
            let old = format!("rel_{}", new["version"]);
            self.names.insert(old, new["id"].as_str().unwrap().to_owned());
        }
        if request.method == "POST" && request.path.ends_with("/machines") {
            self.created = body["id"].as_str().map(str::to_owned);
            let id = self.created.clone().unwrap();
            self.nonces.extend(nonce.map(|nonce| (id, nonce.to_owned())));
        } else if let (Some(id), Some(nonce)) = (machine_of(&request.path), nonce) {
            self.nonces.insert(self.translate(&id), nonce.to_owned());
        }
    }

    /// A machine nobody knows is the one created last.
    fn meet(&mut self, path: &str) {
        if let (Some(id), Some(created)) = (machine_of(path), &self.created)
            && id.parse::<u32>().is_ok_and(|number| number > 4)
        {
            self.names.insert(id, created.clone());
        }
    }
}

fn machine_of(path: &str) -> Option<String> {
    let rest = path.split_once("/machines/")?.1;
    rest.split(['/', '?']).next().map(str::to_owned)
}

/// Plays one recording; what differs is told in words.
async fn play(web: &Served, commands: &[Vec<Request>]) -> Vec<String> {
    let mut chosen = Chosen::default();
    let mut problems = Vec::new();
    for requests in commands {
        let mut clock = 0.0;
        for request in requests {
            web.sim.skip(Duration::from_secs_f64((request.at - clock).max(0.0)));
            clock = request.at;
            chosen.meet(&request.path);
            let path = chosen.translate(&request.path);
            let body: Value =
                serde_json::from_str(&chosen.translate(&request.body.to_string())).unwrap();
            let nonce = machine_of(&path).and_then(|id| chosen.nonces.get(&id).cloned());
            let nonce = nonce.filter(|_| request.nonce);
            if request.nonce && nonce.is_none() {
                problems.push(format!("{} {path}: no nonce was ever given", request.method));
            }
            let answer = web.ask((&request.method, &path), nonce.as_deref(), &body).await;
            // The recorded stand-in gave back leases that nobody had renewed; they are gone here,
            // and `flyctl` does not mind.
            let ran_out = answer.error().contains("lease not found") && request.method == "DELETE";
            let as_recorded = u64::from(answer.status) == request.status || ran_out;
            // It also knew of newer images, which the platform does not for an app's own.
            let knows_less = request.body["query"].to_string().contains("latestImageDetails");
            if !as_recorded || !(answer.body["errors"].is_null() || knows_less) {
                let (method, at) = (&request.method, request.at);
                problems.push(format!("{at} {method} {path}: {answer:?}, not {}", request.status));
            }
            chosen.learn(request, &answer.body);
        }
        web.pass(1000);
    }
    problems
}

/// Machine → image and state, and the newest release's number and status.
async fn outcome(web: &Served) -> Value {
    let machines = web.get("/v1/apps/web/machines").await.body;
    let machines: serde_json::Map<String, Value> = machines
        .as_array()
        .unwrap()
        .iter()
        .map(|machine| {
            let image = machine["image_ref"]["tag"].as_str().unwrap();
            let tag = image.chars().last().map(String::from).unwrap();
            let id = machine["id"].as_str().unwrap().trim_start_matches('0').to_owned();
            (id, json!(format!("{tag} {}", machine["state"].as_str().unwrap())))
        })
        .collect();
    let release = web.get("/api/v1/apps/web/releases/current").await.body;
    let release = format!("{} {}", release["version"], release["status"].as_str().unwrap());
    json!({"machines": machines, "release": release})
}

/// What each scene ends with: images (by their last letter) and states of machines 1 to 4, and the
/// newest release.
const ENDS: [(&str, [&str; 4], &str); 15] = [
    ("reads", ["X started", "X started", "X started", "X stopped"], "42 complete"),
    ("deploy-rolling", ["Y started", "Y started", "X started", "X stopped"], "43 complete"),
    (
        "deploy-rolling-tag-and-digest",
        ["Y started", "Y started", "X started", "X stopped"],
        "43 complete",
    ),
    ("deploy-all-regions", ["Y started", "Y started", "Y started", "Y stopped"], "43 complete"),
    ("deploy-immediate", ["X started", "X started", "Y started", "Y stopped"], "43 complete"),
    ("deploy-canary", ["X started", "X started", "Y started", "Y stopped"], "43 complete"),
    (
        "deploy-only-regions-bug",
        ["X started", "X started", "X started", "X stopped"],
        "43 complete",
    ),
    ("deploy-unknown-image", ["X started", "X started", "X started", "X stopped"], "42 complete"),
    ("deploy-check-fails", ["Y started", "X started", "X started", "X stopped"], "43 failed"),
    ("deploy-crash", ["Y started", "X started", "X started", "X stopped"], "43 failed"),
    ("deploy-lease-busy-8s", ["Y started", "Y started", "X started", "X stopped"], "43 complete"),
    ("deploy-lease-busy-100s", ["X started", "X started", "X started", "X stopped"], "43 failed"),
    ("machine-update", ["Y started", "X started", "X started", "X stopped"], "42 complete"),
    ("machine-commands", ["X started", "X started", "X suspended", "X stopped"], "42 complete"),
    (
        "secrets-set-on-two-images",
        ["Y started", "X started", "X started", "X stopped"],
        "43 complete",
    ),
];

#[tokio::test]
async fn recorded_commands_get_the_same_answers_and_have_the_same_effects() {
    let Some(folder) = recordings() else {
        println!("no recordings of flyctl are here (WAVEOFF_FLYCTL_TRAFFIC): nothing was replayed");
        return;
    };
    let mut problems = Vec::new();
    for (scene, machines, release) in ENDS {
        let behaviour = match scene {
            "deploy-check-fails" => Behaviour::unhealthy(),
            "deploy-crash" => Behaviour::crashing(0.3),
            _ => Behaviour::default(),
        };
        let web = Served::serve(organization(&folder.join("fleet.json"), &behaviour)).await;
        let mut commands = read(&folder.join(format!("{scene}.jsonl")));
        let busy = match scene {
            "deploy-lease-busy-8s" => Some(Duration::from_millis(7_700)),
            "deploy-lease-busy-100s" => Some(Duration::from_secs(100)),
            _ => None,
        };
        if let Some(busy) = busy {
            web.sim.lease_as(&id(2), "other@acme.test", busy).unwrap();
        }
        // Between two commands of this recording somebody else leased machine 2.
        let later = if scene == "machine-commands" { commands.split_off(6) } else { Vec::new() };
        let mut wrong = play(&web, &commands).await;
        if !later.is_empty() {
            web.sim.lease_as(&id(2), "other@acme.test", Duration::from_secs(60)).unwrap();
            wrong.extend(play(&web, &later).await);
        }
        let end = outcome(&web).await;
        let machines: BTreeMap<String, &str> =
            (1..=4).map(|number: u32| number.to_string()).zip(machines).collect();
        let wanted = json!({"machines": machines, "release": release});
        if end != wanted {
            wrong.push(format!("it ended as {end}, not {wanted}"));
        }
        let exits =
            web.machine(1).await["events"].to_string().matches("\"requested_stop\":false").count();
        if (exits > 0) != (scene == "deploy-crash") {
            wrong.push(format!("machine 1 crashed {exits} times"));
        }
        let played: usize = commands.iter().chain(&later).map(Vec::len).sum();
        println!("{scene}: {played} requests played");
        problems.extend(wrong.into_iter().map(|problem| format!("{scene}: {problem}")));
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}
