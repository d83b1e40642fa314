//! The page of a daemon whose readers need a token, as a browser asks for it.

use crate::{
    browser::Browser,
    stage::{Stage, TOKEN, rolling_back, steady},
};

const READER: &str = "a-token-of-the-readers";

#[tokio::test]
async fn a_browser_that_has_the_token_reads_everything_and_orders_take_the_operators() {
    // Given a page that takes a token
    let (stage, browser) = (Stage::guarded(Some(READER)).await, Browser::start().await);
    stage.show(vec![steady("api"), rolling_back("shop")]);

    // When somebody comes without it, then there is nothing to be seen
    browser.open(&stage.url).await;
    let text = browser.text("body").await;
    assert!(!text.contains("shop") && !text.contains("acme"), "{text}");

    // When they have given it to the browser, then the page is there, with its style, and live
    let url = stage.url.replace("http://", &format!("http://dana:{READER}@"));
    browser.open(&url).await;
    let held = "document.querySelector('button[data-act=hold]').click()";
    browser.value(held).await;
    browser.value("document.querySelector('input[name=reason]').value = 'a sale'").await;
    browser.value(&format!("document.querySelector('input[name=token]').value = '{TOKEN}'")).await;
    browser.value("document.getElementById('order-go').click()").await;
    let said = "document.getElementById('order-answer').innerText";
    browser.until("it is done", &format!("{said}.startsWith('Every app is held until')")).await;
    browser.open(&stage.url).await;
    assert_eq!(browser.text("h1").await, "1 app is in trouble");
    let styled = "getComputedStyle(document.body).fontFamily !== 'Times New Roman' && document.styleSheets.length > 0";
    assert_eq!(browser.value(styled).await, true);
    browser.until("it is live", "document.getElementById('link').innerText === 'live'").await;
    stage.show(vec![steady("api"), steady("shop")]);
    browser
        .until("nothing is bad", "document.querySelector('h1').innerText === 'Nothing is wrong'")
        .await;

    // and what the browser sends by itself orders nothing
    let order = |token: &str| {
        format!(
            "fetch(location.origin + '/api/v1/apps/shop/approve', {{ method: 'POST', body: '{{}}',
                headers: {{ 'content-type': 'application/json'{token} }} }}).then(it => it.status)"
        )
    };
    assert_eq!(browser.value(&order("")).await, 401);
    assert_eq!(stage.ordered().len(), 1);
    let token = format!(", authorization: 'Bearer {TOKEN}'");
    assert_eq!(browser.value(&order(&token)).await, 200);
    assert_eq!(stage.ordered().len(), 2);

    // and the token is nowhere where a script could find it
    let kept =
        "document.cookie + JSON.stringify({ ...localStorage, ...sessionStorage }) + location.href";
    let kept = browser.value(kept).await;
    assert!(!kept.as_str().unwrap().contains(READER), "{kept}");
}
