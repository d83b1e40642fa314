//! No silence, and one message per thing: what belongs to no single app is told once, and what
//! flaps is summed up.

use waveoff::{
    model::EventKind::{
        ConfigReloaded, ConfigWarning, MonitorBlind, MonitorClock, MonitorJournal,
        MonitorRecovered, ReleaseDegraded, ReleaseTrusted, RollbackCompleted,
        RollbackRegionConfirmed, RollbackStopped,
    },
    ports::PlatformError,
    sim::{Behaviour, Fault, FaultRule, fleet},
};

use crate::world::{APP, QUICK, World, policy, why};

fn fault(error: PlatformError) -> FaultRule {
    FaultRule::new(Fault::Fail(error))
}

/// The token does not work when the daemon starts: no app is known, and people hear of it.
#[tokio::test(start_paused = true)]
async fn a_token_that_is_refused_at_the_start_is_told_once_with_its_remedy() {
    let mut world = World::idle(&fleet::demo(), &policy(QUICK));
    world.sim.add_fault(fault(PlatformError::Denied("GET /v1/apps answered 401".to_owned())));
    world.start().await;
    world.run_for(600).await;
    let told = world.received(MonitorBlind);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0]["data"]["app"].is_null());
    let text = told[0]["data"]["text"].as_str().unwrap();
    assert!(text.contains("401") && text.contains("fly tokens create org"), "{text}");

    // A restart says nothing twice, and its end is told.
    world.restart().await;
    world.run_for(120).await;
    assert_eq!(world.received(MonitorBlind).len(), 1);
    world.sim.clear_faults();
    world.trusted().await;
    let recovered = world.received(MonitorRecovered);
    assert_eq!(recovered.len(), 1, "{recovered:?}");
    world.finish().await;
}

/// The platform is down for everybody: one message for the organization, none per app.
#[tokio::test(start_paused = true)]
async fn an_outage_of_the_platform_is_one_message() {
    let all = policy(QUICK).replace(r#"apps = ["api"]"#, r#"apps = ["*"]"#);
    let mut world = World::new(&fleet::demo(), &all).await;
    world.trusted().await;
    world.run_for(60).await;
    world.sim.add_fault(fault(PlatformError::Unavailable("answered 503".to_owned())));
    world.run_for(120).await;
    world.sim.clear_faults();
    world.run_for(60).await;
    for (kind, said) in [(MonitorBlind, "503"), (MonitorRecovered, "can be read again")] {
        let told = world.told(kind).await;
        assert_eq!(told.len(), 1, "{told:?}");
        assert_eq!(told[0].app, None);
        assert!(why(&told[0]).contains(said), "{told:?}");
    }
    world.finish().await;
}

/// The disk is full: people hear of it past the journal, nothing is done, and it goes on later.
#[tokio::test(start_paused = true)]
async fn a_journal_that_cannot_be_written_is_told_directly_and_decides_nothing() {
    let mut world = World::quick().await;
    world.trusted().await;
    world.run_for(5).await;
    world.tamper(
        "CREATE TRIGGER full BEFORE UPDATE ON apps \
         BEGIN SELECT RAISE(FAIL, 'database or disk is full'); END",
    );
    world.ship("registry.fly.io/api:errors");
    world.run_for(120).await;
    let told = world.received(MonitorJournal);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0]["data"]["text"].as_str().unwrap().contains("disk is full"), "{told:?}");
    assert!(world.board.journal_trouble().is_some());
    world.all_run("errors");

    world.tamper("DROP TRIGGER full");
    world.until(RollbackCompleted).await;
    world.all_run("v41");
    assert_eq!(world.board.journal_trouble(), None);
    assert_eq!(world.received(MonitorJournal).len(), 1);
    assert_eq!(world.told(MonitorRecovered).await.len(), 1);
    world.finish().await;
}

/// The disk fills up in the middle of a rollback: what commands brought about is not forgotten.
#[tokio::test(start_paused = true)]
async fn a_journal_that_fails_in_the_middle_of_a_rollback_only_delays_it() {
    let mut world = World::quick().await;
    world.trusted().await;
    world.ship("registry.fly.io/api:errors");
    world.until(RollbackRegionConfirmed).await;
    world.tamper(
        "CREATE TRIGGER full BEFORE UPDATE ON apps \
         BEGIN SELECT RAISE(FAIL, 'database or disk is full'); END",
    );
    world.run_for(40).await;
    world.tamper("DROP TRIGGER full");
    world.until(RollbackCompleted).await;
    world.all_run("v41");
    world.finish().await;
}

/// A check that flaps every minute for an hour.
#[tokio::test(start_paused = true)]
async fn what_flaps_is_summed_up() {
    let observe = "apps = [\"api\"]\nmode = \"observe\"\nuse = [\"checks\", \"crashes\"]\n\
                   [watch]\nbake = \"2m\"\n";
    let mut world = World::new(&fleet::demo(), observe).await;
    world.trusted().await;
    world.ship("registry.fly.io/api:good");
    world.run_for(60).await;
    for _ in 0..30 {
        for behaviour in [Behaviour::unhealthy(), Behaviour::default()] {
            world.sim.set_behaviour("registry.fly.io/api:good", behaviour).unwrap();
            world.run_for(60).await;
        }
    }
    let happened = world.count(ReleaseDegraded).await;
    let told = world.received(ReleaseDegraded);
    assert!(happened >= 10, "{happened} in an hour\n{}", world.timeline().await);
    assert!(told.len() <= 7, "{} of {happened} were told", told.len());
    let counted: u64 = told.iter().map(|body| body["data"]["repeats"].as_u64().unwrap()).sum();
    assert!(usize::try_from(counted).unwrap() + told.len() >= happened - 5, "{counted} {happened}");
    let summed_up = told.iter().find(|body| body["data"]["repeats"].as_u64() > Some(0)).unwrap();
    let text = summed_up["data"]["text"].as_str().unwrap();
    assert!(text.contains("since this was last told"), "{text}");
    world.finish().await;
}

/// An editor removes the policy's file and writes it anew, in the middle of a rollback.
#[tokio::test(start_paused = true)]
async fn a_policy_file_that_is_gone_for_seconds_stops_nothing() {
    let mut world = World::quick().await;
    world.configure("thresholds/other.toml", &policy(QUICK).replace("\"api\"", "\"other\""));
    world.trusted().await;
    world.ship("registry.fly.io/api:errors");
    world.until(RollbackRegionConfirmed).await;
    world.unconfigure("thresholds/api.toml");
    world.run_for(5).await;
    assert_eq!(world.watched(), [APP]);
    world.configure("thresholds/api.toml", &policy(QUICK));
    world.until(RollbackCompleted).await;
    assert_eq!(world.count(RollbackStopped).await, 0);

    // One that stays away is believed after a minute.
    world.unconfigure("thresholds/api.toml");
    world.run_for(50).await;
    assert_eq!(world.watched(), [APP]);
    world.run_for(30).await;
    assert_eq!(world.watched(), Vec::<String>::new());
    world.finish().await;
}

/// The same with the receiver: what happened meanwhile is told.
#[tokio::test(start_paused = true)]
async fn a_receiver_that_is_gone_for_seconds_misses_nothing() {
    let mut world = World::quick().await;
    world.trusted().await;
    *world.inbox.refusing.lock().unwrap() = true;
    world.ship("registry.fly.io/api:errors");
    world.until(RollbackCompleted).await;
    let with = world.configuration("waveoff.toml");
    world.configure("waveoff.toml", "organization = \"acme\"\n");
    world.run_for(5).await;
    world.configure("waveoff.toml", &with);
    world.run_for(5).await;
    *world.inbox.refusing.lock().unwrap() = false;
    world.run_for(1200).await;
    assert_eq!(world.received(RollbackCompleted).len(), 1);
    assert_eq!(world.received(ConfigReloaded).len(), 2);
    world.finish().await;
}

/// A host whose clock is wrong by five minutes: no verdict changes, and people hear of it.
#[tokio::test(start_paused = true)]
async fn a_clock_that_is_wrong_either_way_changes_no_verdict_and_is_told_once() {
    for (skew_s, side) in [(300.0, "5 min behind the platform's"), (-300.0, "5 min ahead of")] {
        let fleet = fleet::Fleet { skew_s, ..fleet::demo() };
        let mut world = World::new(&fleet, &policy(QUICK)).await;
        let start = world.sim.platform_now();
        world.trusted().await;
        let trusted = world.last(ReleaseTrusted).await.unwrap().at.duration_since(start);
        assert!((55..=90).contains(&trusted.as_secs()), "{skew_s}: {trusted}");
        world.ship("registry.fly.io/api:errors");
        world.until(RollbackCompleted).await;
        world.all_run("v41");
        world.run_for(300).await;
        assert_eq!(world.count(RollbackCompleted).await, 1);
        assert_eq!(world.told(MonitorBlind).await, []);
        let told = world.told(MonitorClock).await;
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(why(&told[0]).contains(side), "{told:?}");
        world.finish().await;
    }
}

/// A pattern that matches no app is probably a mistake; it is told once.
#[tokio::test(start_paused = true)]
async fn a_pattern_that_matches_no_app_is_told_once() {
    let typo = policy(QUICK).replace(r#"apps = ["api"]"#, r#"apps = ["api", "apu-*"]"#);
    let mut world = World::new(&fleet::demo(), &typo).await;
    world.trusted().await;
    world.restart().await;
    world.run_for(300).await;
    let told = world.told(ConfigWarning).await;
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(why(&told[0]).contains("\"apu-*\" of policy api matches no app"), "{told:?}");
    world.finish().await;
}
