//! The HTTP side: who asks, may they, what is answered. Types are those of `loggia_api::control`;
//! they are converted by hand, here.

mod convert;
mod declarations;
mod holds;
mod identities;
mod keys;
mod lists;

use crate::change::{ChangeBy, Control};
use crate::error::ControlError;
use crate::lock::Lock;
use crate::plan::EnrolmentCodes;
use async_trait::async_trait;
use axum::extract::{FromRequest, FromRequestParts, Json, OptionalFromRequest, Query, Request};
use axum::http::request::Parts;
use axum::routing::{delete, get, post};
use axum::{Extension, Router};
use loggia_api::{Problem, control as api, retention};
use loggia_model::decision::Action;
use loggia_model::port::{Authorize, Caller};
use loggia_model::{Fault, PublicError};
use serde::de::DeserializeOwned;
use std::sync::Arc;

/// Ends live sessions.
#[async_trait]
pub trait Cut: Send + Sync {
    /// Ends the sessions that the lock meets, with its reason; returns when they are told to end.
    async fn cut(&self, lock: &Lock);
}

/// What the handlers need.
pub struct ControlApi {
    /// Control state.
    pub control: Control,
    /// Asked before anything is done.
    pub authorize: Arc<dyn Authorize>,
    /// Makes codes for new people.
    pub codes: Arc<dyn EnrolmentCodes>,
    /// Ends the sessions of those who are locked out or disabled.
    pub cut: Arc<dyn Cut>,
    /// The protocols that this gateway speaks, as declarations name them.
    pub protocols: Vec<&'static str>,
}

/// The routes of `loggia_api::control`. A middleware must have put a [`Caller`] into the
/// request's extensions; without one every route answers `unauthenticated`.
pub fn routes(state: Arc<ControlApi>) -> Router {
    Router::new()
        .route(api::PEOPLE, get(identities::list_people).post(identities::add_person))
        .route(api::PERSON_DISABLE, post(identities::disable_person))
        .route(api::SERVICES, get(identities::list_services).post(identities::add_service))
        .route(api::SERVICE_DISABLE, post(identities::disable_service))
        .route(api::KEYS, get(keys::list).post(keys::add))
        .route(api::KEY, delete(keys::remove))
        .route(api::RESOURCES, get(lists::resources))
        .route(api::LOCKS, get(lists::locks).post(lists::add_lock))
        .route(api::LOCK, delete(lists::remove_lock))
        .route(retention::HOLDS, get(holds::holds).post(holds::add))
        .route(retention::HOLD_REMOVE, post(holds::remove))
        .route(api::PLAN, post(declarations::plan))
        .route(api::APPLY, post(declarations::apply))
        .with_state(state)
}

/// What every handler answers with.
type Answer<T> = Result<Json<T>, Problem>;

impl ControlApi {
    /// Returns when the caller may do this; otherwise the refusal is recorded already.
    async fn may(
        &self,
        caller: &Caller,
        action: Action,
        route: &'static str,
    ) -> Result<(), Problem> {
        self.authorize.authorize(caller, action, route).await.map_err(Problem::from)
    }
}

/// An error as a problem; what really happened goes to the gateway's own log.
fn problem(error: ControlError) -> Problem {
    let public = PublicError::from(error);
    if public.fault == Fault::Gateway {
        let cause = public.cause.as_deref().unwrap_or_default();
        tracing::error!(code = public.code, cause, "{}", public.message);
    }
    public.into()
}

/// The caller, whom the server's middleware has identified.
struct Who(Caller);

impl Who {
    /// As the one who changes something.
    fn by(&self) -> ChangeBy {
        ChangeBy { actor: Some(self.0.actor.clone()), source: Some(self.0.source), attested: true }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Who {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Extension::<Caller>::from_request_parts(parts, state).await {
            Ok(Extension(caller)) => Ok(Self(caller)),
            Err(_) => Err(PublicError::new("unauthenticated", Fault::Client, "sign in first")
                .hint("run `loggia login`")
                .into()),
        }
    }
}

fn malformed(message: impl Into<String>) -> Problem {
    PublicError::new("invalid", Fault::Client, "the request is malformed").detail(message).into()
}

/// The body, as JSON of a known form.
struct Body<T>(T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        match <Json<T> as FromRequest<S>>::from_request(request, state).await {
            Ok(Json(body)) => Ok(Self(body)),
            Err(rejection) => Err(malformed(rejection.body_text())),
        }
    }
}

impl<S: Send + Sync, T: DeserializeOwned> OptionalFromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Option<Self>, Problem> {
        match <Json<T> as OptionalFromRequest<S>>::from_request(request, state).await {
            Ok(body) => Ok(body.map(|Json(body)| Self(body))),
            Err(rejection) => Err(malformed(rejection.body_text())),
        }
    }
}

/// Which part of a list is wanted.
struct Part {
    after: Option<String>,
    limit: usize,
}

impl<S: Send + Sync> FromRequestParts<S> for Part {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Query::<api::Page>::from_request_parts(parts, state).await {
            Ok(Query(page)) => match page.limit.unwrap_or(api::PAGE_MAX) {
                limit @ 1..=api::PAGE_MAX => Ok(Self { after: page.after, limit }),
                _ => Err(malformed(format!("`limit` is 1 to {}", api::PAGE_MAX))),
            },
            Err(rejection) => Err(malformed(rejection.body_text())),
        }
    }
}

impl Part {
    /// This part of a list that is ordered by `key`, and where the rest begins.
    fn of<T>(&self, all: Vec<T>, key: impl Fn(&T) -> String) -> (Vec<T>, Option<String>) {
        let behind = |entry: &T| self.after.as_ref().is_none_or(|after| key(entry) > *after);
        let mut rest = all.into_iter().filter(behind);
        let part: Vec<T> = rest.by_ref().take(self.limit).collect();
        let next = rest.next().and(part.last().map(&key));
        (part, next)
    }
}

#[cfg(test)]
mod tests;
