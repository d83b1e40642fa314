//! Receivers, as the API shows them and tries them out.

use super::{
    super::receivers::{DeliveriesView, LetterState, TestedView},
    OrgView, Served, noon,
};

#[tokio::test]
async fn receivers_are_listed_tried_out_and_sent_again_what_was_given_up() {
    let served = Served::with(Some(Vec::new())).await;
    served.board.sent("idle", noon(), Err("answered 500"));

    let listed: DeliveriesView = served.json("/api/v1/deliveries", 200).await;
    let names: Vec<&str> = listed.receivers.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, ["idle", "on \"call\""]);
    assert_eq!(listed.receivers[0].why.as_deref(), Some("answered 500"));
    assert_eq!((listed.receivers[1].waiting, listed.receivers[1].given_up), (Some(3), Some(1)));
    let letters: Vec<_> =
        listed.letters.iter().map(|one| (one.message.as_str(), one.state)).collect();
    assert_eq!(letters, [("m-1", LetterState::GivenUp), ("m-2", LetterState::Waiting)]);
    let status: OrgView = served.json("/api/v1/status", 200).await;
    assert_eq!(status.receivers, listed.receivers);

    let client = reqwest::Client::new();
    let ask = async |path: &str, token: &str, body: &str| {
        let request = client.post(format!("{}{path}", served.address)).bearer_auth(token);
        let request = request.header("content-type", "application/json").body(body.to_owned());
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    };
    let token = "a-token-of-the-operator";
    let (resend, test) = ("/api/v1/deliveries/resend", "/api/v1/receivers/ops/test");
    assert_eq!(ask(resend, "another-token-altogether", r#"{"receiver":"ops"}"#).await.0, 401);
    assert_eq!(ask(test, "another-token-altogether", "{}").await.0, 401);
    assert_eq!(ask(resend, token, r#"{"receiver":"ops"}"#).await.1, r#"{"resent":7}"#);
    let one = r#"{"receiver":"ops","message":"m-1"}"#;
    assert_eq!(ask(resend, token, one).await.1, r#"{"resent":1}"#);
    assert_eq!(ask(test, token, "{}").await.0, 200);
    let (_, refused) = ask("/api/v1/receivers/chat/test", token, "{}").await;
    let refused: TestedView = serde_json::from_str(&refused).unwrap();
    assert_eq!((refused.accepted, refused.why.as_deref()), (false, Some("answered 404")));
    let (status, text) = ask("/api/v1/receivers/nobody/test", token, "{}").await;
    let says = "no receiver is called nobody; there are ops, chat";
    assert!(status == 404 && text.contains(says), "{text}");
}
