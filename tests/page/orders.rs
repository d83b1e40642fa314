//! Orders that are given from the page.

use serde_json::json;
use waveoff::{
    model::{OperatorHold, ReleaseVersion},
    web::view::ReleaseView,
};

use crate::{
    browser::Browser,
    looks::three,
    stage::{TOKEN, ago, releases},
};

const HELD: &str = "'shop is held until it is ended: nothing is rolled back.'";

/// Clicks a button of an order, and what of its dialog.
fn click(what: &str) -> String {
    format!("document.querySelector('{what}').click()")
}

#[tokio::test]
async fn a_tab_that_was_left_open_offers_the_releases_as_they_are_now() {
    // Given an app's page that somebody has open
    let (stage, browser) = (three().await, Browser::start().await);
    browser.open(&format!("{}/apps/shop", stage.url)).await;
    browser.until("it is live", "document.getElementById('link').innerText === 'live'").await;

    // When a new release comes
    let mut releases = releases();
    let newest = ReleaseVersion(99);
    releases.insert(0, ReleaseView { version: Some(newest), ..releases[0].clone() });
    stage.board.know(&"shop".into(), releases);
    let listed = "document.getElementById('releases').innerText.includes('v99')";
    browser.until("it is listed", listed).await;

    // Then an order can be about it
    browser.value(&click("button[data-act=rollback]")).await;
    let offers =
        "[...document.querySelectorAll('select[name=release] option')].map(one => one.value)";
    assert_eq!(browser.value(&format!("{offers}.includes('v99')")).await, true);
}

#[tokio::test]
async fn what_was_said_of_one_order_is_not_said_of_the_next() {
    let (stage, browser) = (three().await, Browser::start().await);
    browser.open(&format!("{}/apps/shop", stage.url)).await;
    let token = format!("sessionStorage.setItem('waveoff-operator-token', {})", json!(TOKEN));
    browser.value(&token).await;
    let said = "document.getElementById('order-answer').innerText";
    browser.value(&click("button[data-act=hold]")).await;
    browser.value("document.querySelector('input[name=reason]').value = 'a sale'").await;
    browser.value(&click("#order-go")).await;
    browser.until("it is done", &format!("{said} === {HELD}")).await;
    browser.value(&click("#order-close")).await;
    browser.value(&click("button[data-act=pin]")).await;
    browser.value(&click("#order-go")).await;
    browser.until("it is done", &format!("{said} === 'it is done'")).await;
    let last = stage.ordered().pop().unwrap();
    assert!(last.starts_with("pin shop") && last.ends_with("by an operator: "), "{last}");
}

#[tokio::test]
async fn who_ends_a_hold_says_why() {
    let (stage, browser) = (three().await, Browser::start().await);
    let hold = OperatorHold {
        by: "dana".to_owned(),
        reason: "night".to_owned(),
        since: ago(60),
        until: None,
    };
    stage.board.held(Some(hold));
    browser.open(&stage.url).await;
    let heading = "document.querySelector('h1').innerText";
    assert_ne!(browser.value(heading).await, "Nothing is wrong", "every app is held");
    let token = format!("sessionStorage.setItem('waveoff-operator-token', {})", json!(TOKEN));
    browser.value(&token).await;
    browser.value(&click("button[data-act=unhold]")).await;
    browser.value("document.querySelector('input[name=reason]').value = 'all clear'").await;
    browser.value(&click("#order-go")).await;
    let said = "document.getElementById('order-answer').innerText";
    browser.until("it is done", &format!("{said} === 'Every app is no longer held.'")).await;
    assert_eq!(stage.ordered(), ["unhold all all clear"]);
}

#[tokio::test]
async fn an_app_is_held_by_the_keyboard_alone() {
    // Given an app's page
    let (stage, browser) = (three().await, Browser::start().await);
    browser.open(&format!("{}/apps/shop", stage.url)).await;

    // When somebody opens the order with the keyboard, and gives a wrong token first
    browser.tab_to("button[data-act=hold]").await;
    browser.key("Enter").await;
    browser.until("it is asked for", "document.getElementById('order').open").await;
    browser.until("the token is first", "document.activeElement.name === 'token'").await;
    browser.write("another-token-altogether").await;
    browser.tab_to("input[name=reason]").await;
    browser.write("a sale").await;
    browser.tab_to("input[name=by]").await;
    browser.write("dana").await;
    browser.key("Enter").await;

    // Then it is refused with the reason, and nothing was ordered
    let said = "document.getElementById('order-answer').innerText";
    browser.until("it is refused", &format!("{said}.includes('is not the daemon')")).await;
    assert_eq!(stage.ordered(), [""; 0]);
    let kept = browser.value("sessionStorage.length").await;
    assert_eq!(kept, 0, "a wrong token is not kept");

    // and with the right one it is done
    browser.value("document.querySelector('input[name=token]').select()").await;
    browser.value("document.querySelector('input[name=token]').focus()").await;
    browser.write(TOKEN).await;
    browser.key("Enter").await;
    browser.until("it is done", &format!("{said} === {HELD}")).await;
    assert_eq!(stage.ordered(), ["hold shop by dana: a sale"]);
    browser.key("Escape").await;
    browser.until("it is closed", "!document.getElementById('order').open").await;

    // and the token is in this tab alone, and nowhere else
    assert_eq!(browser.value("sessionStorage.getItem('waveoff-operator-token')").await, TOKEN);
    let elsewhere = "document.cookie + JSON.stringify(localStorage) + location.href";
    let elsewhere = browser.value(elsewhere).await;
    assert!(!elsewhere.as_str().unwrap().contains(TOKEN), "{elsewhere}");
}

#[tokio::test]
async fn a_rollback_by_hand_shows_its_plan_before_it_is_done() {
    let (stage, browser) = (three().await, Browser::start().await);
    browser.open(&format!("{}/apps/shop", stage.url)).await;
    let token = format!("sessionStorage.setItem('waveoff-operator-token', {})", json!(TOKEN));
    browser.value(&token).await;

    // When somebody chooses a release and asks
    browser.value("document.querySelector('button[data-act=rollback]').click()").await;
    browser.value("document.querySelector('select[name=release]').value = 'v40'").await;
    browser.value("document.getElementById('order-go').click()").await;

    // Then nothing is done before it is said again
    let go = "document.getElementById('order-go').innerText";
    browser.until("the plan is there", &format!("{go} === 'Roll back now'")).await;
    assert_eq!(stage.ordered(), ["rollback shop to v40, dry run true by an operator: "]);

    // and another choice asks for another plan
    let choose = "{ const one = document.querySelector('select[name=release]'); one.value = 'v41';
        one.dispatchEvent(new Event('input', { bubbles: true })); }";
    browser.value(choose).await;
    assert_eq!(browser.value(go).await, "Show the plan");
    browser.value("document.getElementById('order-go').click()").await;
    browser.until("the plan is there", &format!("{go} === 'Roll back now'")).await;
    browser.value("document.getElementById('order-go').click()").await;
    let said = "document.getElementById('order-answer').innerText";
    browser
        .until(
            "it is done",
            &format!(
                "{said} === 'It begins. it is done' && document.activeElement.id === 'order-close'"
            ),
        )
        .await;
    let last = stage.ordered().pop().unwrap();
    assert_eq!(last, "rollback shop to v41, dry run false by an operator: ");
    assert_eq!(stage.ordered().len(), 3);
}

#[tokio::test]
async fn a_release_is_vouched_for_or_shut_out_and_only_what_makes_sense_can_be_chosen() {
    let (stage, browser) = (three().await, Browser::start().await);
    browser.open(&format!("{}/apps/shop", stage.url)).await;
    let token = format!("sessionStorage.setItem('waveoff-operator-token', {})", json!(TOKEN));
    browser.value(&token).await;
    let choices = "[...document.querySelectorAll('select[name=release] option')]
        .filter(one => !one.disabled).map(one => one.value).join()";
    let said = "document.getElementById('order-answer').innerText";
    let mut offered = Vec::new();
    for act in ["trust", "quarantine", "pin"] {
        // When somebody opens the order and gives it for what is chosen first
        browser.value(&format!("document.querySelector('button[data-act={act}]').click()")).await;
        offered.push((act, browser.value(choices).await.as_str().unwrap().to_owned()));
        let chosen = browser.value("document.querySelector('select[name=release]').value").await;
        browser.value("document.getElementById('order-go').click()").await;
        browser.until("it is done", &format!("{said} === 'it is done'")).await;
        // Then it is that release, once
        let last = stage.ordered().pop().unwrap();
        let want = format!("{act} shop {} by an operator: ", chosen.as_str().unwrap());
        assert_eq!(last, want);
        browser.value("document.getElementById('order-close').click()").await;
    }
    // Trusted releases are pinned and not trusted again, and what was rolled back is not shut out again
    let of = |act: &str| offered.iter().find(|(word, _)| *word == act).unwrap().1.clone();
    let all =
        browser.value("document.querySelectorAll('select[name=release] option').length").await;
    let (trust, pin) = (of("trust"), of("pin"));
    let shown = trust.split(',').count() + pin.split(',').count();
    assert_eq!(u64::try_from(shown).unwrap(), all.as_u64().unwrap());
    assert!(!of("quarantine").is_empty());
    assert_eq!(stage.ordered().len(), 3);
}

#[tokio::test]
async fn what_is_refused_is_said_and_everything_can_be_held_from_the_list() {
    let (stage, browser) = (three().await, Browser::start().await);
    let token = format!("sessionStorage.setItem('waveoff-operator-token', {})", json!(TOKEN));
    browser.open(&format!("{}/apps/api", stage.url)).await;
    browser.value(&token).await;
    browser.value("document.querySelector('button[data-act=veto]').click()").await;
    browser.value("document.getElementById('order-go').click()").await;
    let said = "document.getElementById('order-answer').innerText";
    browser.until("it is refused", &format!("{said} === 'there is nothing to veto'")).await;

    browser.open(&stage.url).await;
    browser.value("document.querySelector('button[data-act=hold]').click()").await;
    browser.value("document.querySelector('input[name=reason]').value = 'an incident'").await;
    browser.value("document.getElementById('order-go').click()").await;
    browser.until("it is done", &format!("{said}.startsWith('Every app is held until')")).await;
    assert_eq!(stage.ordered().pop().unwrap(), "hold all by an operator: an incident");
}
