//! Names, outputs and log lines that somebody else chose can do nothing.

use serde_json::json;
use waveoff::{
    model::{OperatorHold, Reason, Verdict},
    web::{explain::ThresholdView, view::EvidenceView},
};

use crate::{
    browser::Browser,
    stage::{Stage, ago, blocks, evidence, explained, rolling_back, story, watched},
};

/// What would run if it were not escaped.
const ATTACK: &str =
    "\"'></title></script><script>window.hit=1</script><img src=x onerror=window.hit=1>\u{202e}";

#[tokio::test]
async fn nothing_that_others_chose_is_run_or_believed() {
    // Given an app of which every text is an attack
    let stage = Stage::set().await;
    let mut view = rolling_back(ATTACK);
    view.policy = ATTACK.to_owned();
    view.hold = Some(ATTACK.to_owned());
    view.blind = Some(ATTACK.to_owned());
    view.operator_hold = Some(OperatorHold {
        by: ATTACK.to_owned(),
        reason: ATTACK.to_owned(),
        since: ago(1),
        until: None,
    });
    view.unread = [(ATTACK.into(), ATTACK.to_owned())].into();
    for release in [&mut view.release, &mut view.known_good] {
        let release = release.as_mut().unwrap();
        (release.tag, release.author) = (Some(ATTACK.to_owned()), Some(ATTACK.to_owned()));
    }
    view.evidence = vec![EvidenceView::from(&evidence(ATTACK, Verdict::Breach))];
    view.regions[0].region = ATTACK.into();
    let mut hostile = explained();
    let mut breach = evidence(ATTACK, Verdict::Breach);
    breach.source = ATTACK.to_owned();
    hostile.thresholds = vec![ThresholdView::new(&breach, ATTACK, &blocks())];
    hostile.machines[0].state = ATTACK.to_owned();
    hostile.machines[0].failing = vec![ATTACK.to_owned()];
    stage.show(vec![view.clone(), watched("api")]);
    stage.board.explain(&ATTACK.into(), Some(hostile));
    let mut events = story(ATTACK);
    events[3].log_lines = vec![ATTACK.to_owned()];
    events[3].reason = Some(Reason::Told { text: ATTACK.to_owned() });
    stage.tell(ATTACK, events.clone()).await;
    let browser = Browser::start().await;

    // When somebody opens the list, and the app, and is sent changes of both
    browser.open(&stage.url).await;
    browser.until("it is live", "document.getElementById('link').innerText === 'live'").await;
    stage.show(vec![view.clone(), watched("api"), watched(&format!("{ATTACK}2"))]);
    browser.until("it came", "document.querySelectorAll('#rows tr').length === 3").await;
    let sound = "document.querySelectorAll('script').length === 1 && document.images.length === 0 \
                 && !('hit' in window)";
    assert_eq!(browser.value(sound).await, true);
    let shown = browser.text("#rows th").await;
    assert!(shown.starts_with("\"'></title></script><script>window.hit=1"), "{shown}");
    browser.value("document.querySelector('#rows a').click()").await;
    browser.until("its page is there", "location.pathname.startsWith('/apps/%22')").await;
    browser.until("it is live", "document.getElementById('link')?.innerText === 'live'").await;
    stage.tell(ATTACK, events).await;
    let told = "document.querySelectorAll('#timeline li p.when').length";
    browser.until("it was told", &format!("{told} === 8")).await;

    // Then it is text, and nothing of it ran
    assert_eq!(browser.value(sound).await, true);
    assert!(browser.text("#timeline").await.contains("onerror=window.hit=1"));
    assert!(browser.complaints().is_empty(), "{:?}", browser.complaints());
}

#[tokio::test]
async fn the_policy_of_the_page_stops_what_would_slip_through() {
    let stage = Stage::set().await;
    stage.show(vec![watched("api")]);
    let browser = Browser::start().await;
    browser.open(&stage.url).await;
    // Given something that was not escaped, put in by hand
    browser
        .value(
            "(() => { const script = document.createElement('script'); try { script.text = 'window.hit = 1';
             document.body.append(script) } catch {} })()",
        )
        .await;
    let attribute = "(() => { try { document.body.innerHTML += '<img src=x onerror=window.hit=1>' } \
                     catch (error) { return error.name } })()";
    assert_eq!(
        browser.value(attribute).await,
        "TypeError",
        "only the page's own script makes HTML"
    );
    assert_eq!(browser.value("'hit' in window").await, false);
    assert!(!browser.complaints().is_empty(), "the browser says what it refused");

    // and the answer says all of that to every browser, with no cookie beside it
    let answer = reqwest::get(&stage.url).await.unwrap();
    let headers = answer.headers().clone();
    let policy = headers["content-security-policy"].to_str().unwrap();
    assert!(
        policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self'"),
        "{policy}"
    );
    assert!(!policy.contains("unsafe"), "{policy}");
    assert_eq!(headers["x-content-type-options"], "nosniff");
    assert_eq!(headers["referrer-policy"], "no-referrer");
    assert!(!headers.contains_key("set-cookie"));
    let html = answer.text().await.unwrap();
    for inline in ["style=", "onclick", "<style", "<script>"] {
        assert!(!html.contains(inline), "{inline}");
    }
}

/// Another site can make a browser send requests, and cannot make it send the token.
#[tokio::test]
async fn a_request_that_another_site_can_make_orders_nothing() {
    let stage = Stage::set().await;
    stage.show(vec![watched("api")]);
    let client = reqwest::Client::new();
    for kind in ["text/plain", "application/x-www-form-urlencoded", "application/json"] {
        let body = json!({"app": "api", "reason": "x"}).to_string();
        let request = client.post(format!("{}/api/v1/hold", stage.url));
        let request = request.header("content-type", kind).header("origin", "https://evil.example");
        assert_eq!(request.body(body).send().await.unwrap().status(), 401, "{kind}");
    }
    let preflight = client.request(reqwest::Method::OPTIONS, format!("{}/api/v1/hold", stage.url));
    let answer = preflight.header("origin", "https://evil.example").send().await.unwrap();
    assert!(!answer.headers().contains_key("access-control-allow-origin"));
    assert_eq!(stage.ordered(), [""; 0]);
}
