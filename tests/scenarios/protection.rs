//! What stands between a bad release and its undoing, as status, page and API say it.

use waveoff::{
    model::{
        Act,
        EventKind::{MonitorBlind, RollbackPlanned},
        OperatorHold, Order, Reply,
    },
    ports::PlatformError,
    sim::{Fault, FaultRule, fleet},
};

use crate::world::{APP, QUICK, World, policy};

/// How the app is protected, and whether nothing would be undone for that.
fn said(world: &World) -> (String, bool) {
    let protection = world.view().protection;
    (protection.sentence(), protection.braked)
}

fn is(sentence: &str, braked: bool) -> (String, bool) {
    (sentence.to_owned(), braked)
}

const BY_V41: &str = "by v41, which is trusted";

#[tokio::test(start_paused = true)]
async fn an_app_is_protected_by_what_it_would_go_back_to() {
    let mut world = World::quick().await;
    world.run_for(20).await;
    let (sentence, braked) = said(&world);
    let nothing = "no: no release is baked or trusted yet: ";
    assert!(sentence.starts_with(nothing) && !braked, "{sentence}");
    world.trusted().await;
    assert_eq!(said(&world), is(BY_V41, false));
    world.finish().await;
}

#[tokio::test(start_paused = true)]
async fn whatever_would_forbid_a_rollback_is_said_to() {
    let mut world = World::quick().await;
    world.trusted().await;
    // Given a hold,
    let (by, reason, since) = ("dana".to_owned(), "a sale".to_owned(), world.now());
    let hold = Order::Hold(OperatorHold { by, reason, since, until: None });
    world.order(Some(APP), &hold).await;
    world.run_for(20).await;
    let (sentence, braked) = said(&world);
    assert!(sentence.starts_with("no: ") && sentence.contains("dana: a sale"), "{sentence}");
    assert!(sentence.ends_with("; v41 is trusted") && braked, "{sentence}");
    world.order(Some(APP), &Order::Unhold(None)).await;
    world.run_for(20).await;
    assert_eq!(said(&world), is(BY_V41, false));
    // a policy that only observes,
    let quick = policy(QUICK);
    world.rewrite_policy(&quick.replace("mode = \"rollback\"", "mode = \"observe\"")).await;
    world.run_for(20).await;
    let (sentence, braked) = said(&world);
    assert!(sentence.contains("observe") && braked, "{sentence}");
    // a freeze,
    let freeze = "[[freeze]]\nat = \"* * * * *\"\nfor = \"1h\"\nreason = \"the fair\"\n";
    world.rewrite_policy(&policy(&format!("{QUICK}\n{freeze}"))).await;
    world.run_for(20).await;
    let (sentence, braked) = said(&world);
    assert!(sentence.contains("the fair") && braked, "{sentence}");
    // or a platform that does not answer:
    world.rewrite_policy(&quick).await;
    let down = Fault::Fail(PlatformError::Unavailable("503".to_owned()));
    world.sim.add_fault(FaultRule::new(down));
    world.run_for(60).await;
    assert_eq!(world.told(MonitorBlind).await.len(), 1);
    let (sentence, braked) = said(&world);
    assert!(sentence.contains("503") && braked, "{sentence}");
    // then nothing would be undone; and when all that is over, it would be.
    world.sim.clear_faults();
    world.run_for(60).await;
    assert_eq!(said(&world), is(BY_V41, false));
    world.finish().await;
}

#[tokio::test(start_paused = true)]
async fn who_said_no_is_named_as_long_as_the_release_runs() {
    let counting = policy(&QUICK.replace("[watch]", "[watch]\ncountdown = \"1m\""));
    let mut world = World::new(&fleet::demo(), &counting).await;
    world.trusted().await;
    world.ship("registry.fly.io/api:errors");
    world.until(RollbackPlanned).await;
    let reply = world.act(Act::Veto).await;
    assert!(matches!(reply, Reply::Done(_)), "{reply:?}");
    world.run_for(30).await;
    let (sentence, braked) = said(&world);
    assert!(sentence.starts_with("no: ") && sentence.contains("dana") && braked, "{sentence}");
    assert!(sentence.ends_with("; v41 is trusted"), "{sentence}");
    world.finish().await;
}
