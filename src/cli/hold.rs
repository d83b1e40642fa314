//! `waveoff hold` and `waveoff unhold`: an operator's brake, put on and taken off.

use std::io::Write;

use anyhow::bail;
use reqwest::Method;

use super::{
    client,
    terminal::Look,
    text::{clean, fit, time},
};
use crate::{
    model::AppName,
    web::operator::{HoldRequest, OrderView, TOKEN_VARIABLE, UnholdRequest},
};

const PATH: &str = "/api/v1/hold";

/// What to do.
pub(super) enum Wish {
    Hold { app: Option<String>, reason: String, length: Option<String>, by: Option<String> },
    Unhold { app: Option<String>, reason: Option<String>, by: Option<String> },
}

/// Gives the order to the daemon at `url` and says what came of it.
///
/// # Errors
/// When there is no token, or the daemon cannot be reached or refuses.
pub(super) async fn run(
    url: &str,
    token: Option<&str>,
    wish: Wish,
    json: bool,
    out: &mut dyn Write,
) -> anyhow::Result<i32> {
    let Some(token) = token.map(str::trim).filter(|token| !token.is_empty()) else {
        bail!("{TOKEN_VARIABLE} is not set: set it to the value that the daemon has");
    };
    let (method, app, body) = match wish {
        Wish::Hold { app, reason, length, by } => {
            let app = app.map(AppName::new);
            let request = HoldRequest { app: app.clone(), reason, length, by };
            (Method::POST, app, serde_json::to_string(&request)?)
        }
        Wish::Unhold { app, reason, by } => {
            let app = app.map(AppName::new);
            let request = UnholdRequest { app: app.clone(), reason, by };
            (Method::DELETE, app, serde_json::to_string(&request)?)
        }
    };
    let answer = client::order(url, method, PATH, token, body).await?;
    if json {
        writeln!(out, "{}", answer.trim_end())?;
        return Ok(0);
    }
    let view: OrderView = client::parse(url, &answer)?;
    let said = clean(&sentence(app.as_ref(), &view));
    writeln!(out, "{}", fit(&said, Look::of_stdout().width))?;
    Ok(0)
}

fn sentence(app: Option<&AppName>, view: &OrderView) -> String {
    let names: Vec<&str> = view.apps.iter().map(AppName::as_str).collect();
    let recorded = match (app, names.as_slice()) {
        (Some(_), [_]) => String::new(),
        (Some(_), _) => "; not recorded yet, its task takes it as soon as it can".to_owned(),
        (None, []) => "; no app has recorded it yet".to_owned(),
        (None, names) => format!("; recorded by {}", names.join(", ")),
    };
    let whom = app.map_or("every app, those that appear later included", AppName::as_str);
    match &view.hold {
        Some(hold) => {
            let until = match hold.until {
                Some(until) => format!("until {} UTC", time(until)),
                None => {
                    let which = app.map_or("--all", AppName::as_str);
                    format!("until it is ended with waveoff unhold {which}")
                }
            };
            format!("{whom}: nothing is rolled back {until}{recorded}")
        }
        None => format!("{whom}: no longer held by an operator{recorded}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::operator::OperatorHold;

    #[test]
    fn what_came_of_an_order_is_said() {
        let hold = OperatorHold {
            by: "dana".to_owned(),
            reason: "a sale".to_owned(),
            since: "2026-03-01T02:03:04Z".parse().unwrap(),
            until: Some("2026-03-01T04:03:04Z".parse().unwrap()),
        };
        let api = AppName::new("api");
        let held = OrderView { apps: vec![api.clone()], hold: Some(hold.clone()) };
        assert_eq!(
            sentence(Some(&api), &held),
            "api: nothing is rolled back until 2026-03-01 04:03:04 UTC"
        );
        assert!(sentence(None, &held).ends_with("; recorded by api"));
        let open = OrderView { hold: Some(OperatorHold { until: None, ..hold }), ..held };
        assert!(sentence(Some(&api), &open).ends_with("with waveoff unhold api"));
        assert!(sentence(None, &open).contains("with waveoff unhold --all;"));
        let busy = OrderView { apps: Vec::new(), hold: None };
        let said = sentence(Some(&api), &busy);
        assert!(said.starts_with("api: no longer held") && said.contains("not recorded yet"));
    }
}
