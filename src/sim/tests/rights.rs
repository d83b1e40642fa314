//! What a token may not do, it is refused, by kind of call, for as long as it is told to be.

use super::{super::*, *};

#[tokio::test(start_paused = true)]
async fn each_kind_of_call_can_be_refused_to_one_or_to_all() {
    let scene = Scene::new(Behaviour::default());
    let us = "us@acme.test";
    let ten = Some(Duration::from_secs(10));
    scene.sim.deny(Some(us), Right::Write, 403, ten);
    let app = "web".into();
    let refused = scene.platform.lease(&app, &scene.ids[0], TTL).await.unwrap_err();
    assert!(matches!(refused, PlatformError::Denied(_)), "{refused}");
    assert!(scene.platform.machines(&app).await.is_ok(), "reading goes on");
    let other = SimPlatform::new(scene.sim.clone(), "other@acme.test");
    assert!(other.lease(&app, &scene.ids[0], Duration::from_secs(1)).await.is_ok());
    assert!(!scene.sim.may(us, Right::Write) && scene.sim.may(us, Right::Read));
    pass(11).await;
    assert!(scene.platform.lease(&app, &scene.ids[0], TTL).await.is_ok(), "its time is over");

    for right in Right::ALL {
        scene.sim.deny(None, right, 401, None);
    }
    let denied = |error: PlatformError| assert!(matches!(error, PlatformError::Denied(_)));
    denied(scene.platform.machines(&app).await.unwrap_err());
    denied(scene.platform.presence(&scene.image_of(OLD)).await.unwrap_err());
    let new = NewRelease { app: "web".into(), image: OLD.to_owned() };
    denied(scene.platform.open_release(&new).await.unwrap_err());
    assert_eq!(scene.sim.releases("web").len(), 1, "nothing was written");
    scene.sim.allow_all();
    assert!(scene.platform.machines(&app).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_fleet_can_begin_with_a_token_that_only_reads() {
    let mut fleet = fleet(Behaviour::default());
    fleet.denied = vec![Denial {
        owner: None,
        token: Some("read-only".to_owned()),
        right: Right::Write,
        status: 403,
        for_s: None,
    }];
    let scene = Scene::of(&fleet);
    assert!(!scene.sim.may(&owner_of("read-only"), Right::Write));
    assert!(scene.sim.may(&owner_of("another"), Right::Write));
}
