//! Whatever is asked of the organization, in whatever order: some things always hold.

use std::time::Duration;

use proptest::prelude::*;

use crate::sim::{
    Behaviour, Fleet, ShipOptions, Sim, State,
    fleet::{FleetApp, FleetImage},
    model::{lease::Ask, org::Org},
};

const IMAGES: [&str; 4] = [
    "registry.fly.io/web:good",
    "registry.fly.io/web:crash",
    "registry.fly.io/web:leak",
    "registry.fly.io/web:gone",
];

#[derive(Clone, Debug)]
enum Move {
    Update(usize, usize),
    Start(usize),
    Rest(usize, bool),
    Restart(usize),
    Kill(usize),
    Lease(usize, u64),
    Ship(usize, bool),
    Clone(usize),
    Destroy(usize),
    Host(usize, bool),
    Pass(u64),
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        (0..6_usize, 0..4_usize).prop_map(|(machine, image)| Move::Update(machine, image)),
        (0..6_usize).prop_map(Move::Start),
        (0..6_usize, any::<bool>()).prop_map(|(machine, suspend)| Move::Rest(machine, suspend)),
        (0..6_usize).prop_map(Move::Restart),
        (0..6_usize).prop_map(Move::Kill),
        (0..6_usize, 1..30_u64).prop_map(|(machine, ttl)| Move::Lease(machine, ttl)),
        (0..3_usize, any::<bool>()).prop_map(|(image, checks)| Move::Ship(image, checks)),
        (0..6_usize).prop_map(Move::Clone),
        (0..6_usize).prop_map(Move::Destroy),
        (0..6_usize, any::<bool>()).prop_map(|(machine, ok)| Move::Host(machine, ok)),
        (1..20_000_u64).prop_map(Move::Pass),
    ];
    proptest::collection::vec(one, 1..40)
}

fn sim() -> Sim {
    let mut fleet = Fleet::empty("acme");
    let good = IMAGES[0];
    fleet.apps = vec![FleetApp::new("web", good, &[("iad", 2), ("lhr", 2)], 20.0)];
    let leaking = Behaviour { leak_bytes_per_s: 50e6, ..Behaviour::default() };
    let behaviours = [Behaviour::default(), Behaviour::crashing(0.0), leaking];
    fleet.images = IMAGES
        .iter()
        .zip(behaviours)
        .map(|(image, behaviour)| FleetImage::new(image, behaviour))
        .collect();
    Sim::at(&fleet, "2026-01-05T03:00:00Z".parse().unwrap())
}

/// Refusals are part of the game; what matters is what is true afterwards.
fn make(sim: &Sim, step: &Move) {
    let ids = sim.machine_ids("web", None);
    let id = |index: usize| ids.get(index).cloned().unwrap_or_default();
    let refused = match step {
        Move::Update(machine, image) => {
            sim.with(|org| org.put_image(&id(*machine), IMAGES[*image])).is_err()
        }
        Move::Start(machine) => sim.with(|org| org.start("web", &id(*machine), None)).is_err(),
        Move::Rest(machine, true) => sim.suspend(&id(*machine)).is_err(),
        Move::Rest(machine, false) => sim.stop(&id(*machine)).is_err(),
        Move::Restart(machine) => sim.with(|org| org.restart("web", &id(*machine), None)).is_err(),
        Move::Kill(machine) => sim.kill(&id(*machine)).is_err(),
        Move::Lease(machine, ttl) => {
            let ttl = Duration::from_secs(*ttl);
            let ask = Ask { nonce: None, ttl, owner: "a", description: "" };
            sim.with(|org| org.take_lease("web", &id(*machine), ask)).is_err()
        }
        Move::Ship(image, checks) => {
            let options = ShipOptions { checks: *checks, ..ShipOptions::default() };
            sim.ship("web", IMAGES[*image], options).is_err()
        }
        Move::Clone(machine) => sim.clone_machine(&id(*machine)).is_err(),
        Move::Destroy(machine) => sim.destroy(&id(*machine)).is_err(),
        Move::Host(machine, ok) => {
            sim.set_host(&id(*machine), if *ok { "ok" } else { "unreachable" }).is_err()
        }
        Move::Pass(milliseconds) => {
            sim.skip(Duration::from_millis(*milliseconds));
            false
        }
    };
    let _refusals_are_fine = refused;
}

fn holds(org: &mut Org) {
    for machine in org.machines.values() {
        let state = machine.state;
        let runs = matches!(state, State::Started | State::Stopping | State::Suspending);
        if state == State::Started {
            assert!(machine.process.is_some(), "started without a process: {machine:?}");
        }
        if machine.process.is_some() {
            assert!(runs, "a process on a machine that is {state:?}");
        }
        assert_eq!(machine.next.is_none(), state.is_settled(), "on its way: {machine:?}");
        if let Some(due) = machine.due() {
            assert!(due > org.now, "{due} was due before {}", org.now);
        }
        assert!(machine.history.back().is_some_and(|moment| moment.state == state));
    }
    let totals = org.apps["web"].totals;
    assert!(totals.failed <= totals.requests);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 50, ..ProptestConfig::default() })]

    #[test]
    fn states_processes_and_counts_agree_and_everything_comes_to_rest(steps in moves()) {
        let sim = sim();
        for step in &steps {
            make(&sim, step);
            sim.with(holds);
        }
        // A lease or a deploy that nobody goes on with is over within minutes; a crash loop too.
        sim.skip(Duration::from_secs(3600));
        sim.with(holds);
        prop_assert!(!sim.is_shipping());
        for id in sim.machine_ids("web", None) {
            prop_assert!(sim.state(&id).is_some_and(State::is_settled));
            prop_assert!(sim.with(|org| org.lease("web", &id)).is_err());
        }
        let over = sim.releases("web");
        prop_assert!(over.iter().all(|entry| crate::sim::model::ledger::is_over(&entry.status)));
    }
}
