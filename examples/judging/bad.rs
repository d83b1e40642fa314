//! Families in which the release is to blame.

use super::{
    dice::Dice,
    families::{Family, Nature, any_moment, late},
    scene::{Fault, From, How, Incident, Place, Scene},
};

const fn family(name: &'static str, what: &'static str, draw: fn(&mut Dice) -> Scene) -> Family {
    Family { name, nature: Nature::Bad, what, in_sample: true, draw }
}

const fn own(name: &'static str, what: &'static str, draw: fn(&mut Dice) -> Scene) -> Family {
    Family { in_sample: false, ..family(name, what, draw) }
}

fn bad(rate: f64, fault: Fault) -> Scene {
    Scene { fault: Some(fault), ..Scene::calm(rate) }
}

fn start(rate: f64, share: f64) -> Scene {
    bad(rate, Fault::errors(0.0, share))
}

fn later(rate: f64, share: f64, dice: &mut Dice) -> Scene {
    bad(rate, Fault::errors(late(dice), share))
}

fn how(how: How, from: f64) -> Scene {
    bad(100.0, Fault { how, ..Fault::errors(from, 0.0) })
}

fn told_late(scene: Scene) -> Scene {
    Scene { from: From::Server, ..scene }
}

fn shipped(scene: Scene) -> Scene {
    Scene { from: From::Shipped, ..scene }
}

fn probed(scene: Scene) -> Scene {
    Scene { from: From::Probes, ..scene }
}

fn slow(from: f64) -> Scene {
    bad(100.0, Fault { how: How::Slow, ..Fault::errors(from, 0.3) })
}

pub const FAMILIES: &[Family] = &[
    family("total-0.1", "all requests fail, 0.1/s", |_| start(0.1, 1.0)),
    family("total-1", "the same, 1/s", |_| start(1.0, 1.0)),
    family("total-10", "the same, 10/s", |_| start(10.0, 1.0)),
    family("total-100", "the same, 100/s", |_| start(100.0, 1.0)),
    family("20%-1", "20 % fail, 1/s", |_| start(1.0, 0.2)),
    family("20%-10", "the same, 10/s", |_| start(10.0, 0.2)),
    family("20%-100", "the same, 100/s", |_| start(100.0, 0.2)),
    family("5%-10", "5 % fail, 10/s", |_| start(10.0, 0.05)),
    family("5%-100", "the same, 100/s", |_| start(100.0, 0.05)),
    family("5%-1000", "the same, 1000/s", |_| start(1000.0, 0.05)),
    family("3%-10", "3 % fail, 10/s", |_| start(10.0, 0.03)),
    family("3%-100", "the same, 100/s", |_| start(100.0, 0.03)),
    family("total-late-10", "all fail from a moment of the bake on, 10/s", |dice| {
        later(10.0, 1.0, dice)
    }),
    family("total-late-100", "the same, 100/s", |dice| later(100.0, 1.0, dice)),
    family("20%-late-10", "20 % fail from a moment of the bake on, 10/s", |dice| {
        later(10.0, 0.2, dice)
    }),
    family("20%-late-100", "the same, 100/s", |dice| later(100.0, 0.2, dice)),
    family("20%-late-near-100", "the same, with two apps beside it that are well", |dice| Scene {
        neighbours: true,
        ..later(100.0, 0.2, dice)
    }),
    family("5%-late-10", "5 % fail from a moment of the bake on, 10/s", |dice| {
        later(10.0, 0.05, dice)
    }),
    family("5%-late-100", "the same, 100/s", |dice| later(100.0, 0.05, dice)),
    family("3%-late-10", "3 % fail from a moment of the bake on, 10/s", |dice| {
        later(10.0, 0.03, dice)
    }),
    family("3%-late-100", "the same, 100/s", |dice| later(100.0, 0.03, dice)),
    family("20%-any-100", "20 % fail from any moment of 30 minutes on", |dice| {
        bad(100.0, Fault::errors(any_moment(dice), 0.2))
    }),
    family("3%-any-100", "3 % fail from any moment of 30 minutes on", |dice| {
        bad(100.0, Fault::errors(any_moment(dice), 0.03))
    }),
    family("region-20%-100", "20 % fail in one region of three", |dice| {
        let place = Place::Region(dice.roll(3));
        bad(100.0, Fault { place, ..Fault::errors(0.0, 0.2) })
    }),
    family("region-5%-100", "5 % fail in one region of three", |dice| {
        let place = Place::Region(dice.roll(3));
        bad(100.0, Fault { place, ..Fault::errors(0.0, 0.05) })
    }),
    family("leak-100", "up to 5 % within a quarter of an hour", |_| {
        bad(100.0, Fault { ramp_s: 900.0, ..Fault::errors(0.0, 0.05) })
    }),
    family("hang-100", "nothing is answered, and checks pass", |_| how(How::Hangs, 0.0)),
    family("hang-late-100", "the same from a moment of the bake on", |dice| {
        let from = late(dice);
        how(How::Hangs, from)
    }),
    family("hang-late-near-100", "the same, with two apps beside it that are well", |dice| {
        let from = late(dice);
        Scene { neighbours: true, ..how(How::Hangs, from) }
    }),
    family("hang-late-known-100", "the same alone, of an app that is known for a day", |dice| {
        let from = late(dice);
        Scene { known_s: 90_000.0, ..how(How::Hangs, from) }
    }),
    family("endpoint-10th-100", "an endpoint with a tenth of the traffic: 20 % fail", |_| {
        bad(100.0, Fault { endpoint: 0.1, ..Fault::errors(0.0, 0.2) })
    }),
    family("endpoint-100th-100", "an endpoint with a hundredth of the traffic: all fail", |_| {
        bad(100.0, Fault { endpoint: 0.01, ..Fault::errors(0.0, 1.0) })
    }),
    family("server-total-100", "all fail, told 15 s late every 15 s", |_| {
        told_late(start(100.0, 1.0))
    }),
    family("server-20%-100", "20 % fail, told 15 s late every 15 s", |_| {
        told_late(start(100.0, 0.2))
    }),
    family("server-20%-late-100", "the same from a moment of the bake on", |dice| {
        told_late(later(100.0, 0.2, dice))
    }),
    family("checks-100", "health checks fail", |_| how(How::Unhealthy, 0.0)),
    family("crashes-100", "the process ends every 20 s", |_| how(How::Crashes, 0.0)),
    own("victims-100", "20 % fail, and two apps beside it suffer for it 20 s later", |dice| {
        let from = late(dice);
        Scene {
            neighbours: true,
            theirs: vec![Incident::outage(from + 20.0, 9e9, 0.3)],
            ..bad(100.0, Fault::errors(from, 0.2))
        }
    }),
    own("victims-soon-100", "the same, 8 s later", |dice| {
        let from = late(dice);
        Scene {
            neighbours: true,
            theirs: vec![Incident::outage(from + 8.0, 9e9, 0.3)],
            ..bad(100.0, Fault::errors(from, 0.2))
        }
    }),
    own(
        "region-20%-late-100",
        "20 % fail in one region of three, from a moment of the bake on",
        |dice| {
            let place = Place::Region(dice.roll(3));
            bad(100.0, Fault { place, ..Fault::errors(late(dice), 0.2) })
        },
    ),
    own("flapping-100", "30 % for 20 s of each minute", |dice| {
        bad(100.0, Fault { how: How::Flaps, ..Fault::errors(dice.between(0.0, 60.0), 0.3) })
    }),
    own("ramp-20%-100", "up to 20 % within five minutes", |dice| {
        bad(100.0, Fault { ramp_s: 300.0, ..Fault::errors(late(dice), 0.2) })
    }),
    own("half-10%-100", "10 % fail on half of the machines", |_| {
        bad(100.0, Fault { place: Place::Machines(3), ..Fault::errors(0.0, 0.1) })
    }),
    own("retried-100", "15 % fail, and clients come again: the traffic doubles", |dice| {
        let from = late(dice);
        Scene {
            incidents: vec![Incident { rate: 2.0, ..Incident::outage(from, 9e9, 0.0) }],
            ..bad(100.0, Fault::errors(from, 0.15))
        }
    }),
    own("chronic-worse-100", "10 % fail where 3 % always did, under a limit of 2 %", |_| Scene {
        base: 0.03,
        ..start(100.0, 0.07)
    }),
    own("long-deploy-5%-100", "5 % fail, 12 minutes of deploy", |_| Scene {
        deploy_gap_s: 120.0,
        ..start(100.0, 0.05)
    }),
    own("shipped-total-100", "what ships: all fail", |_| shipped(start(100.0, 1.0))),
    own("shipped-20%-100", "the same: 20 % fail", |_| shipped(start(100.0, 0.2))),
    own("shipped-5%-100", "the same: 5 % fail", |_| shipped(start(100.0, 0.05))),
    own("shipped-20%-late-100", "the same: 20 % from a moment of the bake on", |dice| {
        shipped(later(100.0, 0.2, dice))
    }),
    own("shipped-total-1", "the same: all fail, 1/s", |_| shipped(start(1.0, 1.0))),
    own("shipped-slow-100", "the same: 30 % take longer than 2.5 s", |_| shipped(slow(0.0))),
    own("shipped-slow-late-100", "the same from a moment of the bake on", |dice| {
        shipped(slow(late(dice)))
    }),
    own("shipped-hang-100", "the same: nothing is answered, and checks pass", |_| {
        shipped(how(How::Hangs, 0.0))
    }),
    own("shipped-hang-late-100", "the same from a moment of the bake on", |dice| {
        let from = late(dice);
        shipped(how(How::Hangs, from))
    }),
    own("shipped-checks-100", "the same: health checks fail", |_| {
        shipped(how(How::Unhealthy, 0.0))
    }),
    own("shipped-crashes-100", "the same: the process ends every 20 s", |_| {
        shipped(how(How::Crashes, 0.0))
    }),
    own("probe-total-1", "a probe alone: all fail, 1/s", |_| probed(start(1.0, 1.0))),
    own("probe-20%-100", "the same: 20 % fail", |_| probed(start(100.0, 0.2))),
    own("probe-hang-100", "the same: nothing is answered, and checks pass", |_| {
        probed(how(How::Hangs, 0.0))
    }),
    own("probe-hang-late-100", "the same from a moment of the bake on", |dice| {
        let from = late(dice);
        probed(how(How::Hangs, from))
    }),
    own("in-an-outage-100", "20 % fail, and 30 s of 40 % for all meanwhile", |dice| Scene {
        incidents: vec![Incident::outage(dice.between(5.0, 30.0), 30.0, 0.4)],
        ..start(100.0, 0.2)
    }),
];
