//! An expression for many apps: each is evaluated by itself, several in one query, as often as the app
//! is looked at.
//!
//! What each comes to is marked with a label of ours (`label_replace`) and joined by `or`. Where that is refused, as
//! by a server that knows neither, or as one app's series do not fit the expression, each app is asked for alone.

use std::collections::BTreeMap;

use tokio::time::Instant;

use super::{Server, lock};
use crate::{
    model::AppName,
    ports::{MetricsServers, SampledSeries, ServerError},
};

/// The label that says for which app something was evaluated.
const MARK: &str = "waveoff_app";
/// Characters of a query; servers have their limits (`VictoriaMetrics`: 16 KiB).
const QUERY_MAX: usize = 8000;

/// Apps, and the query that evaluates the expression for all of them.
#[derive(Debug, PartialEq)]
struct Joined {
    apps: Vec<AppName>,
    query: String,
}

/// The expression of one app.
pub(super) fn of(expression: &str, app: &AppName) -> String {
    expression.replace("$app", app.as_str())
}

/// As few queries as there can be; one app is asked for as it is written.
fn join(expression: &str, apps: &[AppName]) -> Vec<Joined> {
    let mut all: Vec<Joined> = Vec::new();
    for app in apps {
        let alone = of(expression, app);
        match all.last_mut() {
            Some(last) if last.query.len() + alone.len() < QUERY_MAX => {
                if let [first] = last.apps.as_slice() {
                    last.query = marked(&last.query, first);
                }
                last.query.push_str(" or ");
                last.query.push_str(&marked(&alone, app));
                last.apps.push(app.clone());
            }
            _ => all.push(Joined { apps: vec![app.clone()], query: alone }),
        }
    }
    all
}

/// The same with our label; the expression may end in a comment.
fn marked(expression: &str, app: &AppName) -> String {
    format!("label_replace((\n{expression}\n), \"{MARK}\", \"{app}\", \"{MARK}\", \".*\")")
}

/// Takes a joined answer apart.
fn apart(answer: Vec<SampledSeries>) -> BTreeMap<String, Vec<SampledSeries>> {
    let mut by_app: BTreeMap<String, Vec<SampledSeries>> = BTreeMap::new();
    for mut series in answer {
        if let Some(app) = series.labels.remove(MARK) {
            by_app.entry(app).or_default().push(series);
        }
    }
    by_app
}

impl Server {
    /// Evaluates an expression for those of whom it is due, those that wait the longest first, for as long as
    /// a round of queries may take: the rest is due in the next one.
    pub(super) async fn evaluate(
        &self,
        port: &dyn MetricsServers,
        key: &str,
        expression: &str,
        until: Instant,
    ) -> Result<(), ServerError> {
        let now = Instant::now();
        let due = lock(&self.state).asked.get_mut(key).map(|asked| {
            // No more often than the server has anything new.
            let then = now.checked_sub(self.settings.scrape_every);
            asked.values.keep(|app| asked.apps.contains(app));
            let mut due = asked.apps.due(now, self.gap());
            due.retain(|app| !asked.values.is_fresh(app, then));
            due.sort_by_key(|app| asked.apps.last_polled(app));
            due
        });
        for Joined { apps, query } in join(expression, &due.unwrap_or_default()) {
            if Instant::now() >= until {
                break;
            }
            let answer = self.ask(port, &query).await;
            match (apps.as_slice(), answer) {
                ([app], answer) => self.evaluated(key, app, answer)?,
                (_, Ok(answer)) => {
                    let mut by_app = apart(answer);
                    for app in &apps {
                        self.evaluated(
                            key,
                            app,
                            Ok(by_app.remove(app.as_str()).unwrap_or_default()),
                        )?;
                    }
                }
                // It was asked too often, or has gone.
                (_, Err(error)) if !error.query_refused => return Err(error),
                (_, Err(_)) => {
                    for app in &apps {
                        if Instant::now() >= until {
                            break;
                        }
                        let answer = self.ask(port, &of(expression, app)).await;
                        self.evaluated(key, app, answer)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Takes in what the expression came to for one app: also that it is refused, which is no trouble of
    /// the others.
    fn evaluated(
        &self,
        key: &str,
        app: &AppName,
        answer: Result<Vec<SampledSeries>, ServerError>,
    ) -> Result<(), ServerError> {
        let now = Instant::now();
        let mut state = lock(&self.state);
        let Some(asked) = state.asked.get_mut(key) else { return Ok(()) };
        match answer {
            Ok(answer) => asked.values.absorb(&self.settings, app, &answer, now),
            Err(error) if error.query_refused => asked.values.refuse(app, error.detail, now),
            Err(error) => return Err(error),
        }
        asked.apps.polled(std::slice::from_ref(app), now);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apps(count: usize) -> Vec<AppName> {
        (0..count).map(|number| AppName::new(format!("app-{number}"))).collect()
    }

    #[test]
    fn one_app_is_asked_for_as_it_is_written_and_several_in_one_query() {
        let expression = "max(queue{app=\"$app\"}) # of $app";
        let alone = join(expression, &apps(1));
        assert_eq!(alone[0].query, "max(queue{app=\"app-0\"}) # of app-0");
        let all = join(expression, &apps(300));
        assert!(
            (4..8).contains(&all.len()) && all.iter().all(|one| one.query.len() <= QUERY_MAX + 200)
        );
        let joined: Vec<AppName> = all.iter().flat_map(|one| one.apps.clone()).collect();
        assert_eq!(joined, apps(300));
        for one in &all {
            promql_parser::parser::parse(&one.query).unwrap();
            assert_eq!(one.query.matches("label_replace").count(), one.apps.len());
        }
        assert!(join(expression, &[]).is_empty());
    }

    #[test]
    fn a_joined_answer_is_taken_apart_by_our_label_alone() {
        let series = |app: Option<&str>, machine: &str| {
            let mark = app.map(|app| (MARK.to_owned(), app.to_owned()));
            let machine = ("instance".to_owned(), machine.to_owned());
            SampledSeries {
                labels: mark.into_iter().chain([machine]).collect(),
                samples: Vec::new(),
            }
        };
        let by_app =
            apart(vec![series(Some("api"), "m1"), series(Some("web"), "m2"), series(None, "m3")]);
        assert_eq!(by_app["api"], [series(None, "m1")]);
        assert_eq!(by_app["web"], [series(None, "m2")]);
        assert_eq!(by_app.len(), 2);
    }
}
