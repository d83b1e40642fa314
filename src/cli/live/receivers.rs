//! Whether receivers are there. No message is sent: most are asked for their heads alone, and those that
//! answer (a Slack bot's, Grafana) whether they know the token.

use futures_util::future::join_all;

use super::{
    PATIENCE,
    finding::{Finding, Grade},
};
use crate::{
    config::{Config, Format, Problem, Receiver},
    notify::{
        grafana::{Grafana, may_i},
        http::HttpNotifier,
        slack_bot::{Bot, Said, read, who_am_i},
    },
    ports::{Clock, DeliveryOutcome, Notifier as _},
};

/// `unset`: variables that are not set here.
pub(super) async fn look(config: &Config, unset: &[Problem]) -> anyhow::Result<Vec<Finding>> {
    let client = reqwest::Client::builder()
        .timeout(PATIENCE)
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("waveoff/", env!("CARGO_PKG_VERSION")))
        .build()?;
    let notifier = HttpNotifier::new(Clock::system())?;
    let all = config.receivers.values().map(|receiver| one(&client, &notifier, receiver, unset));
    Ok(join_all(all).await)
}

async fn one(
    client: &reqwest::Client,
    notifier: &HttpNotifier,
    receiver: &Receiver,
    unset: &[Problem],
) -> Finding {
    let what = receiver.name.as_str();
    let unset = |key: &str| not_set(what, key, unset);
    if receiver.url.expose().is_empty() {
        return unset("url_env");
    }
    let talks = receiver.format == Format::Grafana || receiver.channel.is_some();
    if talks && receiver.secrets.is_empty() {
        return unset("token_env");
    }
    match receiver.format {
        Format::Grafana => of_grafana(notifier, receiver).await,
        Format::Slack if talks => of_slack(notifier, receiver).await,
        _ => head(client, receiver).await,
    }
}

/// That a variable is not set here, by its name.
fn not_set(what: &str, key: &str, unset: &[Problem]) -> Finding {
    let wanted = format!("receiver \"{what}\".{key}");
    let (says, next) = match unset.iter().find(|problem| problem.key == wanted) {
        Some(problem) => (problem.message.clone(), problem.suggestion.clone()),
        None => ("what it needs is not set here".to_owned(), None),
    };
    let next = next.unwrap_or_else(|| format!("set the variable that its `{key}` names"));
    Finding::new(Grade::Look, what, says, next)
}

/// Who the token is. Whether it may write into the channel shows with a message alone.
async fn of_slack(notifier: &HttpNotifier, receiver: &Receiver) -> Finding {
    let what = receiver.name.as_str();
    let try_it =
        format!("whether it may write into its channel, waveoff webhook test {what} shows");
    let (verb, request) = who_am_i(Bot::of(receiver));
    let why = match notifier.ask(verb, &request).await {
        Err(why) => why,
        Ok(answered) => match read(&answered) {
            Said::Took { .. } => {
                return Finding::ok(what, format!("Slack knows the bot; {try_it}"));
            }
            Said::Gone => "answered something else".to_owned(),
            Said::Refused(
                DeliveryOutcome::Retry { reason, .. }
                | DeliveryOutcome::Unfit { reason }
                | DeliveryOutcome::Refused { reason },
            ) => reason,
            Said::Refused(DeliveryOutcome::Accepted) => {
                return Finding::ok(what, format!("Slack knows the bot; {try_it}"));
            }
        },
    };
    Finding::wrong(what, why, "check the token that its `token_env` names".to_owned())
}

/// Whether the token is known; whether it may write shows with an annotation alone.
async fn of_grafana(notifier: &HttpNotifier, receiver: &Receiver) -> Finding {
    let what = receiver.name.as_str();
    let (verb, request) = may_i(Grafana::of(receiver));
    let (says, next) = match notifier.ask(verb, &request).await {
        Err(why) => (why, "check its URL"),
        Ok(answered) if (200..300).contains(&answered.status) => {
            let try_it = format!("whether it may write, waveoff webhook test {what} shows");
            return Finding::ok(what, format!("Grafana knows the token; {try_it}"));
        }
        Ok(answered) => {
            let next = match answered.status {
                401 => "check the token that its `token_env` names",
                403 => "give its service account the rights annotations:read and annotations:write",
                _ => "check its URL: the address of Grafana itself",
            };
            (format!("answered {}", answered.status), next)
        }
    };
    Finding::wrong(what, says, next.to_owned())
}

async fn head(client: &reqwest::Client, receiver: &Receiver) -> Finding {
    let what = receiver.name.as_str();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_that_is_not_set_is_named() {
        let problem = Problem {
            file: "waveoff.toml".to_owned(),
            line: Some(7),
            key: "receiver \"ops\".url_env".to_owned(),
            message: "the environment variable OPS_URL is not set".to_owned(),
            suggestion: Some("set it to the URL: fly secrets set OPS_URL=…".to_owned()),
        };
        let finding = not_set("ops", "url_env", std::slice::from_ref(&problem));
        assert_eq!(finding.says, problem.message);
        assert!(finding.next.contains("fly secrets set OPS_URL"), "{}", finding.next);
        let of_another = not_set("chat", "url_env", &[problem]);
        assert!(of_another.next.contains("its `url_env` names"), "{}", of_another.next);
    }
}
