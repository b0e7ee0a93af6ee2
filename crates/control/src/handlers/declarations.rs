//! Declarations: plan and apply.

use super::{Answer, Body, ControlApi, Who, convert, problem};
use axum::Json;
use axum::extract::State;
use loggia_api::control as api;
use loggia_model::decision::Action;
use std::sync::Arc;

pub(super) async fn plan(
    State(state): State<Arc<ControlApi>>,
    caller: Who,
    Body(declared): Body<api::Declaration>,
) -> Answer<api::Plan> {
    state.may(&caller.0, Action::ConfigApply, api::PLAN).await?;
    let declaration = state.declaration(declared.files).map_err(problem)?;
    let plan = state.control.plan(&declaration, &caller.by()).map_err(problem)?;
    Ok(Json(convert::plan(plan)))
}

pub(super) async fn apply(
    State(state): State<Arc<ControlApi>>,
    caller: Who,
    Body(apply): Body<api::Apply>,
) -> Answer<api::Applied> {
    state.may(&caller.0, Action::ConfigApply, api::APPLY).await?;
    let declaration = state.declaration(apply.files).map_err(problem)?;
    let codes = Arc::clone(&state.codes);
    let applied = state
        .control
        .apply(declaration, caller.by(), Some(apply.digest), codes)
        .await
        .map_err(problem)?;
    let expires_us = applied.enrolments_expire_us;
    let enrolments = applied
        .enrolments
        .into_iter()
        .map(|(name, enrolment_code)| api::NewEnrolment { name, enrolment_code, expires_us })
        .collect();
    Ok(Json(api::Applied { plan: convert::plan(applied.plan), enrolments }))
}
