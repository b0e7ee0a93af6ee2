//! People and service accounts.

use super::{Answer, Body, ControlApi, Part, Who, convert, problem};
use crate::error::ControlError;
use crate::people::{Disabled, ENROLMENT_US, NewPerson};
use axum::Json;
use axum::extract::{Path, State};
use loggia_api::control as api;
use loggia_model::decision::Action;
use std::sync::Arc;

pub(super) async fn list_people(
    State(state): State<Arc<ControlApi>>,
    caller: Who,
    part: Part,
) -> Answer<api::People> {
    state.may(&caller.0, Action::PeopleRead, api::PEOPLE).await?;
    let (people, next) = part.of(state.control.people(), |person| person.name.clone());
    Ok(Json(api::People { people: people.into_iter().map(convert::person).collect(), next }))
}

pub(super) async fn add_person(
    State(state): State<Arc<ControlApi>>,
    caller: Who,
    Body(new): Body<api::AddPerson>,
) -> Answer<api::PersonAdded> {
    state.may(&caller.0, Action::PeopleManage, api::PEOPLE).await?;
    // Who may add people must not so give themself what they were not given: neither by what is
    // asked for nor by a name that others gave rights to already.
    let newcomer = !new.admin && new.groups.is_empty() && !state.control.is_spoken_for(&new.name);
    if !newcomer {
        state.may(&caller.0, Action::ConfigApply, api::PEOPLE).await?;
    }
    let (enrolment_code, code_digest) = state.codes.issue();
    let expires_us = state.control.now_us() + ENROLMENT_US;
    let api::AddPerson { name, admin, groups } = new;
    let new = NewPerson { name, admin, groups, newcomer, code_digest, expires_us };
    let added = state.control.add_person(new, caller.by()).await.map_err(problem)?;
    let person = convert::person(added);
    Ok(Json(api::PersonAdded { person, enrolment_code, expires_us }))
}

pub(super) async fn disable_person(
    State(state): State<Arc<ControlApi>>,
    caller: Who,
    Path(name): Path<String>,
    body: Option<Body<api::Disable>>,
) -> Answer<api::Disabled> {
    state.may(&caller.0, Action::PeopleManage, api::PERSON_DISABLE).await?;
    let people = state.control.people();
    if people.iter().any(|person| person.name == name && person.admin) {
        state.may(&caller.0, Action::ConfigApply, api::PERSON_DISABLE).await?;
    }
    let by = caller.by();
    let reason = body.and_then(|Body(disable)| disable.reason);
    let (control, why) = (state.control.clone(), reason.clone());
    let work = async move { control.disable_person(&name, why, by).await };
    state.disable(work, reason).await
}

pub(super) async fn list_services(
    State(state): State<Arc<ControlApi>>,
    caller: Who,
    part: Part,
) -> Answer<api::Services> {
    state.may(&caller.0, Action::ServicesRead, api::SERVICES).await?;
    let (services, next) = part.of(state.control.services(), |service| service.name.clone());
    let services = services.into_iter().map(convert::service).collect();
    Ok(Json(api::Services { services, next }))
}

pub(super) async fn add_service(
    State(state): State<Arc<ControlApi>>,
    caller: Who,
    Body(new): Body<api::AddService>,
) -> Answer<api::Service> {
    state.may(&caller.0, Action::ServicesManage, api::SERVICES).await?;
    let newcomer = !state.control.is_spoken_for(&new.name);
    if !newcomer {
        state.may(&caller.0, Action::ConfigApply, api::SERVICES).await?;
    }
    let added = state.control.add_service(&new.name, &new.public_key, newcomer, caller.by()).await;
    Ok(Json(convert::service(added.map_err(problem)?)))
}

pub(super) async fn disable_service(
    State(state): State<Arc<ControlApi>>,
    caller: Who,
    Path(name): Path<String>,
    body: Option<Body<api::Disable>>,
) -> Answer<api::Disabled> {
    state.may(&caller.0, Action::ServicesManage, api::SERVICE_DISABLE).await?;
    let by = caller.by();
    let reason = body.and_then(|Body(disable)| disable.reason);
    let (control, why) = (state.control.clone(), reason.clone());
    let work = async move { control.disable_service(&name, why, by).await };
    state.disable(work, reason).await
}

impl ControlApi {
    /// Disables somebody and ends their sessions, even when the caller hangs up in between.
    async fn disable<F>(self: Arc<Self>, work: F, reason: Option<String>) -> Answer<api::Disabled>
    where
        F: Future<Output = Result<Disabled, ControlError>> + Send + 'static,
    {
        let state = Arc::clone(&self);
        let disabled = self.control.to_the_end(async move {
            let disabled = work.await?;
            let reason = reason.unwrap_or_else(|| "the account was disabled".to_owned());
            state.cut.cut(&disabled.as_lock(reason, state.control.now_us())).await;
            Ok(disabled)
        });
        let disabled = disabled.await.map_err(problem)?;
        let credentials = u64::try_from(disabled.credentials.len()).unwrap_or(u64::MAX);
        Ok(Json(api::Disabled { id: disabled.id.to_string(), credentials }))
    }
}
