//! What a person orders for one app: each order is a request of its own, with the fields that it has
//! and none else.

use std::collections::BTreeSet;

use axum::{
    Json,
    extract::{FromRequestParts, Path, rejection::JsonRejection, rejection::PathRejection},
    http::{StatusCode, request::Parts},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::{
    ApiState,
    answers::{Refusal, problem},
    api::undone,
    gate::Operator,
    operator::{REASON_MAX, tidy, who},
};
use crate::model::{Act, AppName, Region, Signed, Strategy, Wish};

/// Longest text that may name a release: a whole reference, with its digest.
const NAME_OF_RELEASE_MAX: usize = 600;

/// Who orders something, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SayRequest {
    /// Who says so.
    #[serde(default)]
    pub by: Option<String>,
    /// Why, in their words; at most 500 characters are kept.
    #[serde(default)]
    pub reason: Option<String>,
}

/// A release that something is ordered about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NameRequest {
    /// Its number, its tag or its digest.
    #[schema(min_length = 1, pattern = "^[\\x21-\\x7e]")]
    pub release: String,
    /// Who says so.
    #[serde(default)]
    pub by: Option<String>,
    /// Why, in their words; at most 500 characters are kept.
    #[serde(default)]
    pub reason: Option<String>,
}

/// A rollback by hand.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RollbackRequest {
    /// The release to go to; `null`: the newest that was seen healthy, other than what runs.
    #[serde(default)]
    pub to: Option<String>,
    /// Only these; empty: all.
    #[serde(default)]
    pub regions: BTreeSet<Region>,
    /// Instead of the policy's.
    #[serde(default)]
    pub strategy: Option<Strategy>,
    /// Also across migrations, and to a release that was never seen healthy.
    #[serde(default)]
    pub force: bool,
    /// Say what would be done, and do nothing.
    #[serde(default)]
    pub dry_run: bool,
    /// Who says so.
    #[serde(default)]
    pub by: Option<String>,
    /// Why, in their words; at most 500 characters are kept.
    #[serde(default)]
    pub reason: Option<String>,
}

/// What came of an order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Done)]
pub struct ActView {
    pub app: AppName,
    /// The order's word.
    pub act: String,
    /// What was done, for people.
    pub text: String,
    /// The same as facts, such as the plan of a rollback.
    #[schema(value_type = Object)]
    pub effect: Value,
}

/// The body of an order.
type Body<T> = Result<Json<T>, JsonRejection>;
/// What an order is answered with.
type Answered = Result<Response, Refusal>;

/// An app's order by somebody who may give it.
pub(super) struct AtDesk {
    state: ApiState,
    app: AppName,
}

impl FromRequestParts<ApiState> for AtDesk {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, Refusal> {
        Operator::from_request_parts(parts, state).await?;
        let path: Result<Path<AppName>, PathRejection> =
            Path::from_request_parts(parts, state).await;
        let Path(app) = path?;
        Ok(Self { state: state.clone(), app })
    }
}

impl AtDesk {
    async fn act(self, act: Act, by: Option<String>, reason: Option<String>) -> Answered {
        let Self { state, app } = self;
        let word = act.word();
        let reason = tidy(reason.as_deref().unwrap_or_default(), REASON_MAX);
        let signed = Signed { by: who(by.as_deref()), reason, at: state.clock.now() };
        let answer = state.desk.act(app.clone(), act, signed).await;
        let answer = answer.map_err(|error| undone(&state, error))?;
        if !answer.done {
            return Ok(problem(StatusCode::CONFLICT, answer.text, Some(answer.facts)));
        }
        let view = ActView { app, act: word.to_owned(), text: answer.text, effect: answer.facts };
        Ok(Json(view).into_response())
    }

    async fn say(self, act: Act, request: Body<SayRequest>) -> Answered {
        let Json(SayRequest { by, reason }) = request?;
        self.act(act, by, reason).await
    }

    async fn about(self, act: fn(String) -> Act, request: Body<NameRequest>) -> Answered {
        let Json(NameRequest { release, by, reason }) = request?;
        let release = tidy(&release, NAME_OF_RELEASE_MAX);
        if release.is_empty() {
            let text = "release is empty: which one is meant".to_owned();
            return Err(Refusal(StatusCode::BAD_REQUEST, text));
        }
        self.act(act(release), by, reason).await
    }
}

/// Go back by hand, or to any other release
#[utoipa::path(post, path = "/api/v1/apps/{app}/rollback", request_body = RollbackRequest,
    responses((status = 200, description = "What is done, or would be.", body = ActView)))]
pub(super) async fn rollback(desk: AtDesk, request: Body<RollbackRequest>) -> Answered {
    let Json(RollbackRequest { to, regions, strategy, force, dry_run, by, reason }) = request?;
    let to = to.map(|text| tidy(&text, NAME_OF_RELEASE_MAX));
    let wish = Wish { to, regions, strategy, force, dry_run, in_ledger: None };
    desk.act(Act::Rollback(wish), by, reason).await
}

/// Say yes to the rollback that waits for it
#[utoipa::path(post, path = "/api/v1/apps/{app}/approve", request_body = SayRequest,
    responses((status = 200, description = "What was done.", body = ActView)))]
pub(super) async fn approve(desk: AtDesk, request: Body<SayRequest>) -> Answered {
    desk.say(Act::Approve, request).await
}

/// Say no: the release is not rolled back by itself any more
#[utoipa::path(post, path = "/api/v1/apps/{app}/veto", request_body = SayRequest,
    responses((status = 200, description = "What was done.", body = ActView)))]
pub(super) async fn veto(desk: AtDesk, request: Body<SayRequest>) -> Answered {
    desk.say(Act::Veto, request).await
}

/// End a veto, or go on with a rollback that came to a stop
#[utoipa::path(post, path = "/api/v1/apps/{app}/resume", request_body = SayRequest,
    responses((status = 200, description = "What was done.", body = ActView)))]
pub(super) async fn resume(desk: AtDesk, request: Body<SayRequest>) -> Answered {
    desk.say(Act::Resume, request).await
}

/// Go back to what is trusted last again, and no longer to the pinned release
#[utoipa::path(post, path = "/api/v1/apps/{app}/unpin", request_body = SayRequest,
    responses((status = 200, description = "What was done.", body = ActView)))]
pub(super) async fn unpin(desk: AtDesk, request: Body<SayRequest>) -> Answered {
    desk.say(Act::Unpin, request).await
}

/// Go back to this release, whatever is trusted later
#[utoipa::path(post, path = "/api/v1/apps/{app}/pin", request_body = NameRequest,
    responses((status = 200, description = "What was done.", body = ActView)))]
pub(super) async fn pin(desk: AtDesk, request: Body<NameRequest>) -> Answered {
    desk.about(|release| Act::Pin { release }, request).await
}

/// Treat a release as one that was rolled back
#[utoipa::path(post, path = "/api/v1/apps/{app}/quarantine", request_body = NameRequest,
    responses((status = 200, description = "What was done.", body = ActView)))]
pub(super) async fn quarantine(desk: AtDesk, request: Body<NameRequest>) -> Answered {
    desk.about(|release| Act::Quarantine { release }, request).await
}

/// End that
#[utoipa::path(post, path = "/api/v1/apps/{app}/unquarantine", request_body = NameRequest,
    responses((status = 200, description = "What was done.", body = ActView)))]
pub(super) async fn unquarantine(desk: AtDesk, request: Body<NameRequest>) -> Answered {
    desk.about(|release| Act::Unquarantine { release }, request).await
}

/// Vouch for a release: it is gone back to, and what is said against it is called off
#[utoipa::path(post, path = "/api/v1/apps/{app}/trust", request_body = NameRequest,
    responses((status = 200, description = "What was done.", body = ActView)))]
pub(super) async fn trust(desk: AtDesk, request: Body<NameRequest>) -> Answered {
    desk.about(|release| Act::Trust { release }, request).await
}
