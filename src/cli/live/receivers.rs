//! Whether receivers are there. They are asked for their heads alone: no message is sent.

use futures_util::future::join_all;

use super::{
    PATIENCE,
    finding::{Finding, Grade},
};
use crate::config::{Config, Receiver};

pub(super) async fn look(config: &Config) -> anyhow::Result<Vec<Finding>> {
    let client = reqwest::Client::builder()
        .timeout(PATIENCE)
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("waveoff/", env!("CARGO_PKG_VERSION")))
        .build()?;
    Ok(join_all(config.receivers.values().map(|receiver| one(&client, receiver))).await)
}

async fn one(client: &reqwest::Client, receiver: &Receiver) -> Finding {
    let what = receiver.name.as_str();
    if receiver.url.expose().is_empty() {
        let next = "set the variable that its `url_env` names".to_owned();
        return Finding::new(Grade::Look, what, "its URL is not set here".to_owned(), next);
    }
    match client.head(receiver.url.expose()).send().await {
        Ok(answer) => {
            let status = answer.status();
            let says = format!("somebody answers ({})", status.as_u16());
            if matches!(status.as_u16(), 404 | 410) {
                let next = "some answer so to whatever is no message; look at its URL".to_owned();
                return Finding::new(Grade::Look, what, says, next);
            }
            Finding::ok(what, says)
        }
        // The error would name the URL, which is a secret.
        Err(error) => {
            let why = if error.is_timeout() {
                "does not answer in time"
            } else if error.is_connect() {
                "cannot be reached: no such host, nobody who listens, or no TLS"
            } else {
                "does not answer as HTTP does"
            };
            Finding::wrong(what, why.to_owned(), "check its URL".to_owned())
        }
    }
}
