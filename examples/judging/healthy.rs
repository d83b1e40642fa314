//! Families in which the release is not to blame.

use super::{
    dice::Dice,
    families::{Family, Nature, late},
    scene::{DAY_S, From, Incident, Noise, Place, Scene, bursts},
};

const fn family(name: &'static str, what: &'static str, draw: fn(&mut Dice) -> Scene) -> Family {
    Family { name, nature: Nature::Healthy, what, in_sample: true, draw }
}

const fn own(name: &'static str, what: &'static str, draw: fn(&mut Dice) -> Scene) -> Family {
    Family { in_sample: false, ..family(name, what, draw) }
}

fn wandering(rate: f64, tau_s: f64) -> Scene {
    Scene { noise: Noise::Wandering { tau_s }, ..Scene::calm(rate) }
}

fn bursting(rate: f64, dice: &mut Dice) -> Scene {
    Scene { incidents: bursts(dice, 2400.0), ..Scene::calm(rate) }
}

fn with(incident: Incident, rate: f64) -> Scene {
    Scene { incidents: vec![incident], ..Scene::calm(rate) }
}

/// It is looked at for a day.
fn day(scene: Scene) -> Scene {
    Scene { ends: DAY_S, ..scene }
}

fn shipped(scene: Scene) -> Scene {
    Scene { from: From::Shipped, ..scene }
}

fn probed(scene: Scene) -> Scene {
    Scene { from: From::Probes, ..scene }
}

/// A short failure, and the clients that come again.
fn storm(at: f64) -> Incident {
    Incident { rate: 5.0, fades_s: 10.0, ..Incident::outage(at, 10.0, 0.6) }
}

fn in_deploy(dice: &mut Dice) -> Incident {
    Incident::outage(dice.between(5.0, 30.0), 30.0, 0.4)
}

pub const FAMILIES: &[Family] = &[
    family("iid-0.1", "0.5 % fail, 0.1 requests/s", |_| Scene::calm(0.1)),
    family("iid-1", "the same, 1/s", |_| Scene::calm(1.0)),
    family("iid-10", "the same, 10/s", |_| Scene::calm(10.0)),
    family("iid-100", "the same, 100/s", |_| Scene::calm(100.0)),
    family("iid-1000", "the same, 1000/s", |_| Scene::calm(1000.0)),
    family("ou10-10", "the share wanders within 10 s, 10/s", |_| wandering(10.0, 10.0)),
    family("ou10-100", "the same, 100/s", |_| wandering(100.0, 10.0)),
    family("ou10-1000", "the same, 1000/s", |_| wandering(1000.0, 10.0)),
    family("ou60-100", "the share wanders within a minute, 100/s", |_| wandering(100.0, 60.0)),
    family("ou60-1000", "the same, 1000/s", |_| wandering(1000.0, 60.0)),
    family("bursts-10", "bursts of 30 % for some 3 s, 10/s", |dice| bursting(10.0, dice)),
    family("bursts-100", "the same, 100/s", |dice| bursting(100.0, dice)),
    family("bursts-1000", "the same, 1000/s", |dice| bursting(1000.0, dice)),
    family("retry-storm-100", "10 s of 60 %, and clients that come again", |dice| {
        with(storm(late(dice)), 100.0)
    }),
    family("drift-100", "0.4 % in the beginning, 1.2 % in the end", |_| Scene {
        base: 0.004,
        drifts_to: 3.0,
        ..Scene::calm(100.0)
    }),
    family("restart-100", "two machines are restarted", |dice| Scene {
        restarts: vec![(late(dice), dice.roll(6)), (late(dice), dice.roll(6))],
        ..Scene::calm(100.0)
    }),
    family("shift-20", "the traffic is five times as much from some moment on", |dice| {
        let from = late(dice);
        with(Incident { rate: 5.0, ..Incident::outage(from, 9e9, 0.0) }, 20.0)
    }),
    family("deploy-outage-10", "30 s of 40 % for all while it is deployed, 10/s", |dice| {
        with(in_deploy(dice), 10.0)
    }),
    family("deploy-outage-100", "the same, 100/s", |dice| with(in_deploy(dice), 100.0)),
    family("dependency-100", "30 % fail for all from mid-deploy on, for ten minutes", |dice| {
        with(Incident::outage(dice.between(15.0, 40.0), 600.0, 0.3), 100.0)
    }),
    family("outage-100", "30 s of 40 % after the deploy, nobody beside it", |dice| {
        with(Incident::outage(late(dice), 30.0, 0.4), 100.0)
    }),
    family("outage-near-100", "the same, and two apps beside it have it too", |dice| Scene {
        neighbours: true,
        ..with(Incident::outage(late(dice), 30.0, 0.4), 100.0)
    }),
    family("chronic-100", "3 % always, under a limit of 2 %", |_| Scene {
        base: 0.03,
        ..Scene::calm(100.0)
    }),
    family("bad-host-100", "30 % of one machine's requests fail, from some moment on", |dice| {
        let (from, machine) = (late(dice), dice.roll(6));
        with(Incident { place: Place::Machine(machine), ..Incident::outage(from, 9e9, 0.3) }, 100.0)
    }),
    Family {
        nature: Nature::Exempt,
        ..family("one-client-100", "a client begins to ask for what always fails: 5 %", |dice| {
            let from = late(dice);
            with(Incident { extra: 0.05, ..Incident::outage(from, 9e9, 0.0) }, 100.0)
        })
    },
    own("two-outages-100", "two outages of 20 s after the deploy, nobody beside it", |dice| {
        let first = dice.between(70.0, 300.0);
        let second = first + dice.between(60.0, 300.0);
        let outages = [first, second].map(|from| Incident::outage(from, 20.0, 0.5));
        Scene { incidents: outages.to_vec(), ..Scene::calm(100.0) }
    }),
    own("bad-host-10", "half of one machine's requests fail, from some moment on, 10/s", |dice| {
        let (from, machine) = (late(dice), dice.roll(6));
        with(Incident { place: Place::Machine(machine), ..Incident::outage(from, 9e9, 0.5) }, 10.0)
    }),
    own("near-limit-100", "1.5 % fail, under a limit of 2 %", |_| Scene {
        base: 0.015,
        ..Scene::calm(100.0)
    }),
    own("clusters-100", "0.8 % fail, some 10 requests together", |_| Scene {
        base: 0.008,
        noise: Noise::Clusters { of: 10.0 },
        ..Scene::calm(100.0)
    }),
    own("cold-start-100", "a machine's first seconds: 20 %", |_| Scene {
        cold_share: 0.2,
        ..Scene::calm(100.0)
    }),
    own("batch-100", "every five minutes 20 s of a job of which 10 % fail", |dice| {
        let first = dice.between(0.0, 300.0);
        let times = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0];
        let job =
            |i: f64| Incident { rate: 1.5, ..Incident::outage(first + 300.0 * i, 20.0, 0.03) };
        Scene { incidents: times.map(job).to_vec(), ..Scene::calm(100.0) }
    }),
    own("long-deploy-100", "12 minutes of deploy, with a minute of 40 % for all", |dice| Scene {
        deploy_gap_s: 120.0,
        ..with(Incident::outage(dice.between(130.0, 600.0), 60.0, 0.4), 100.0)
    }),
    own("storm-near-100", "a retry storm that two apps beside it have too", |dice| Scene {
        neighbours: true,
        ..with(storm(late(dice)), 100.0)
    }),
    own("region-outage-100", "a region's machines fail for 45 s, all of it", |dice| {
        let (from, region) = (late(dice), dice.roll(3));
        with(Incident { place: Place::Region(region), ..Incident::outage(from, 45.0, 1.0) }, 100.0)
    }),
    own("day-100", "0.5 % fail, for a whole day", |_| day(Scene::calm(100.0))),
    own("day-bursts-100", "the same with bursts of 30 % for some 3 s", |dice| {
        day(Scene { incidents: bursts(dice, DAY_S), ..Scene::calm(100.0) })
    }),
    own("day-ou60-100", "the same with a share that wanders within a minute", |_| {
        day(wandering(100.0, 60.0))
    }),
    own("day-near-limit-100", "the same with 1.5 % under a limit of 2 %", |_| {
        day(Scene { base: 0.015, ..Scene::calm(100.0) })
    }),
    own("night-20", "a day with hardly any traffic in its night, 20/s", |_| {
        day(Scene { nights: true, ..Scene::calm(20.0) })
    }),
    own("unread-100", "a third of the pages cannot be read", |_| Scene {
        unread: 0.33,
        ..Scene::calm(100.0)
    }),
    own("server-100", "0.5 % fail, told 15 s late every 15 s", |_| Scene {
        from: From::Server,
        ..Scene::calm(100.0)
    }),
    own("shipped-100", "what ships: 0.5 % fail, and 0.5 % are slow", |_| {
        shipped(Scene::calm(100.0))
    }),
    own("shipped-1", "the same, 1/s", |_| shipped(Scene::calm(1.0))),
    own("shipped-bursts-100", "the same with bursts", |dice| shipped(bursting(100.0, dice))),
    own(
        "shipped-deploy-outage-100",
        "the same: 30 s of 40 % for all while it is deployed",
        |dice| {
            let outage = in_deploy(dice);
            shipped(with(outage, 100.0))
        },
    ),
    own("shipped-outage-100", "the same after the deploy, nobody beside it", |dice| {
        shipped(with(Incident::outage(late(dice), 30.0, 0.4), 100.0))
    }),
    own("shipped-night-20", "the same: a day with hardly any traffic in its night", |_| {
        shipped(day(Scene { nights: true, ..Scene::calm(20.0) }))
    }),
    own("probe-100", "a probe alone: 0.5 % of them fail", |_| probed(Scene::calm(100.0))),
    own("probe-bursts-100", "the same with bursts", |dice| probed(bursting(100.0, dice))),
    own("probe-day-100", "the same, for a whole day", |_| day(probed(Scene::calm(100.0)))),
    own("server-bursts-100", "bursts, told 15 s late every 15 s", |dice| Scene {
        from: From::Server,
        ..bursting(100.0, dice)
    }),
];
