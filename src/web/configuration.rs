//! The configuration over HTTP: what is in force, what was pushed, pushing another one.

use std::collections::BTreeMap;

use async_trait::async_trait;
use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::{IntoParams, ToSchema};

use super::{
    ApiState,
    answers::{Refusal, problem},
    gate::{Operator, Ordered},
    operator,
    view::ProblemView,
};
use crate::config::{Bundle, Problem, bundle::BUNDLE_MAX, shelf::Label};

/// Longest body of a configuration: its text, and what JSON makes of it.
pub(super) const BODY_MAX: usize = BUNDLE_MAX * 3;
/// Longest note, in characters.
const NOTE_MAX: usize = 500;

/// A configuration: which one it is, and what it says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Configuration)]
pub struct ConfigView {
    pub version: VersionView,
    /// Text of each file, by its path.
    pub files: BTreeMap<String, String>,
}

/// Which configuration it is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Version)]
pub struct VersionView {
    /// Counts up with each push; `null`: what the image brought.
    pub number: Option<u32>,
    /// When it was pushed, by whom, and why.
    pub at: Option<Timestamp>,
    pub by: Option<String>,
    pub note: Option<String>,
    /// Differs when anything in any file does.
    pub fingerprint: String,
}

impl VersionView {
    pub fn pushed(label: &Label) -> Self {
        Self {
            number: Some(label.number),
            at: Some(label.at),
            by: Some(label.by.clone()),
            note: Some(label.note.clone()).filter(|note| !note.is_empty()),
            fingerprint: label.fingerprint.clone(),
        }
    }

    /// `configuration 7`, `the image's configuration`.
    pub fn name(&self) -> String {
        self.number.map_or("the image's configuration".to_owned(), |number| {
            format!("configuration {number}")
        })
    }
}

/// Every version that is kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Versions)]
pub struct VersionsView {
    pub in_force: VersionView,
    /// Those that were pushed, the newest first.
    pub pushed: Vec<VersionView>,
}

/// A configuration that is to be in force.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PushRequest {
    /// Text of each file, by its path: `waveoff.toml` and `thresholds/NAME.toml`.
    pub files: BTreeMap<String, String>,
    /// Who says so.
    #[serde(default)]
    pub by: Option<String>,
    /// Why; it stands in the history.
    #[serde(default)]
    pub note: Option<String>,
}

/// What came of a push.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Pushed)]
pub struct PushedView {
    pub version: VersionView,
    /// How many policies are in force by it.
    pub policies: usize,
    /// `false`: it is in force already, and nothing was changed.
    pub changed: bool,
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    InForce,
    Image,
    Pushed(u32),
}

/// A configuration that is to be in force, as it was understood.
#[derive(Debug)]
pub struct Push {
    pub bundle: Bundle,
    pub by: String,
    pub note: String,
    /// The fingerprint of what has to be in force still; `None`: whatever is.
    pub instead_of: Option<String>,
}

/// Why a configuration was not shown or not put in force.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ConfigError {
    #[error("this daemon keeps no configuration that is pushed to it")]
    NotKept,
    #[error("configuration {0} is not kept")]
    Unknown(u32),
    /// Somebody was quicker.
    #[error("another configuration is in force than the one that this was compared with: {}", .0.name())]
    Changed(VersionView),
    #[error("the configuration is wrong, and the old one stays:\n{}", listed(.0))]
    Wrong(Vec<Problem>),
    #[error("the configuration cannot be shown: {0}")]
    Unreadable(String),
    #[error("the configuration cannot be written down, and the old one stays: {0}")]
    NotWritten(String),
    #[error("the daemon did not answer in time; `waveoff config versions` says what is in force")]
    NoAnswer,
}

fn listed(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// Who has the configuration.
#[async_trait]
pub trait ConfigDesk: Send + Sync {
    async fn read(&self, which: Which) -> Result<ConfigView, ConfigError>;
    async fn versions(&self) -> Result<VersionsView, ConfigError>;
    /// Puts a configuration in force.
    async fn push(&self, push: Push) -> Result<PushedView, ConfigError>;
    /// Puts what the image brings in force again.
    async fn reset(&self, by: String) -> Result<PushedView, ConfigError>;
}

/// Of a daemon whose configuration comes from no files.
pub struct NoFiles;

#[async_trait]
impl ConfigDesk for NoFiles {
    async fn read(&self, _: Which) -> Result<ConfigView, ConfigError> {
        Err(ConfigError::NotKept)
    }

    async fn versions(&self) -> Result<VersionsView, ConfigError> {
        Err(ConfigError::NotKept)
    }

    async fn push(&self, _: Push) -> Result<PushedView, ConfigError> {
        Err(ConfigError::NotKept)
    }

    async fn reset(&self, _: String) -> Result<PushedView, ConfigError> {
        Err(ConfigError::NotKept)
    }
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ReadQuery {
    /// A number, or `image`; without it, what is in force.
    #[param(pattern = "^(image|[0-9]{1,9})$")]
    version: Option<String>,
}

/// The configuration in force, or another that is kept
///
/// Threshold files say what is watched and how well: who may read them is who may change them.
#[utoipa::path(get, path = "/api/v1/config", operation_id = "config", params(ReadQuery),
    security(("operator" = [])),
    responses((status = 200, description = "A configuration, and what it says.", body = ConfigView),
        (status = 404, description = "It is not kept.", body = ProblemView, content_type = "application/problem+json"),
        (status = 409, description = "The daemon's configuration comes from no files.", body = ProblemView, content_type = "application/problem+json")))]
pub(super) async fn read(
    State(state): State<ApiState>,
    _: Operator,
    query: Result<Query<ReadQuery>, QueryRejection>,
) -> Result<Json<ConfigView>, Refusal> {
    let Query(query) = query?;
    let which = match query.version.as_deref() {
        None => Which::InForce,
        Some("image") => Which::Image,
        Some(text) => {
            let wrong = |_| {
                let text = "version is a number, or the word image".to_owned();
                Refusal(StatusCode::BAD_REQUEST, text)
            };
            Which::Pushed(text.parse().map_err(wrong)?)
        }
    };
    Ok(Json(state.configuration.read(which).await.map_err(|error| refused(&error))?))
}

/// Every configuration that is kept
#[utoipa::path(get, path = "/api/v1/config/versions", operation_id = "config_versions",
    responses((status = 200, description = "What is in force, and what was pushed.", body = VersionsView),
        (status = 409, description = "The daemon's configuration comes from no files.", body = ProblemView, content_type = "application/problem+json")))]
pub(super) async fn versions(State(state): State<ApiState>) -> Result<Json<VersionsView>, Refusal> {
    Ok(Json(state.configuration.versions().await.map_err(|error| refused(&error))?))
}

/// Put a configuration in force
#[utoipa::path(put, path = "/api/v1/config",
    params(("If-Match" = Option<String>, Header, pattern = "^(\\*|\"[0-9a-f]*\")$",
        description = "The fingerprint of what has to be in force still, between quotes.")),
    request_body = PushRequest,
    responses((status = 200, description = "What is in force now.", body = PushedView),
        (status = 412, description = "Another one is in force than `If-Match` names; `refusal` says which.", body = ProblemView, content_type = "application/problem+json"),
        (status = 422, description = "It is wrong, and the old one stays; `refusal` says where.", body = ProblemView, content_type = "application/problem+json")))]
pub(super) async fn push(
    State(state): State<ApiState>,
    headers: HeaderMap,
    Ordered(request): Ordered<PushRequest>,
) -> Result<Response, Refusal> {
    let instead_of = expected(&headers)?;
    let bundle =
        Bundle::new(request.files).map_err(|text| Refusal(StatusCode::BAD_REQUEST, text))?;
    let by = operator::who(request.by.as_deref());
    let note = operator::tidy(&request.note.unwrap_or_default(), NOTE_MAX);
    match state.configuration.push(Push { bundle, by, note, instead_of }).await {
        Ok(pushed) => Ok(Json(pushed).into_response()),
        Err(ConfigError::Wrong(problems)) => {
            let facts = json!({ "kind": "wrong", "problems": problems });
            let text = ConfigError::Wrong(problems).to_string();
            Ok(problem(StatusCode::UNPROCESSABLE_ENTITY, text, Some(facts)))
        }
        Err(ConfigError::Changed(version)) => {
            let facts = json!({ "kind": "changed", "in_force": version });
            let text = ConfigError::Changed(version).to_string();
            Ok(problem(StatusCode::PRECONDITION_FAILED, text, Some(facts)))
        }
        Err(error) => Err(refused(&error)),
    }
}

/// Who wants the image's configuration back.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ResetRequest {
    /// Who says so.
    #[serde(default)]
    pub by: Option<String>,
}

/// Put in force again what the image brings
#[utoipa::path(delete, path = "/api/v1/config", request_body = ResetRequest,
    responses((status = 200, description = "What is in force now.", body = PushedView)))]
pub(super) async fn reset(
    State(state): State<ApiState>,
    Ordered(request): Ordered<ResetRequest>,
) -> Result<Json<PushedView>, Refusal> {
    let by = operator::who(request.by.as_deref());
    Ok(Json(state.configuration.reset(by).await.map_err(|error| refused(&error))?))
}

/// The fingerprint that `If-Match` names.
fn expected(headers: &HeaderMap) -> Result<Option<String>, Refusal> {
    let Some(value) = headers.get(header::IF_MATCH) else { return Ok(None) };
    let text = value.to_str().unwrap_or_default().trim();
    if text == "*" {
        return Ok(None);
    }
    let tag = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    let wrong = || {
        let text = "If-Match is one fingerprint between quotes, or *".to_owned();
        Refusal(StatusCode::BAD_REQUEST, text)
    };
    tag.filter(|tag| tag.chars().all(|c| c.is_ascii_hexdigit()))
        .map(str::to_owned)
        .map(Some)
        .ok_or_else(wrong)
}

fn refused(error: &ConfigError) -> Refusal {
    let status = match error {
        ConfigError::NotKept => StatusCode::CONFLICT,
        ConfigError::Unknown(_) => StatusCode::NOT_FOUND,
        ConfigError::Changed(_) => StatusCode::PRECONDITION_FAILED,
        ConfigError::Wrong(_) => StatusCode::UNPROCESSABLE_ENTITY,
        ConfigError::Unreadable(_) | ConfigError::NotWritten(_) | ConfigError::NoAnswer => {
            StatusCode::SERVICE_UNAVAILABLE
        }
    };
    Refusal(status, error.to_string())
}
