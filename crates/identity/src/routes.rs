//! The handlers of [`loggia_api::identity`]. The server composes them and says from where a caller
//! came (`Extension<Source>`) and, behind authentication, who they are (`Extension<Caller>`).

use crate::sign_in::{Refused, SignIn, who_am_i};
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use loggia_api::Problem;
use loggia_api::identity as contract;
use loggia_model::port::Caller;
use loggia_model::{Fault, PublicError, Source};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;

/// Longest body of a request without a credential, in bytes.
const BODY_BYTES_MAX: usize = 16 * 1024;

type Body = Result<Bytes, BytesRejection>;
type Answer<T> = Result<Fresh<T>, Refused>;

/// Routes for those who have no credential yet; they need `Extension<Source>`.
pub fn public_routes(sign_in: Arc<SignIn>) -> Router {
    Router::new()
        .route(contract::LOGIN, post(login))
        .route(contract::ENROL_BEGIN, post(enrol_begin))
        .route(contract::ENROL_FINISH, post(enrol_finish))
        .route(contract::SERVICE_CHALLENGE, post(service_challenge))
        .route(contract::SERVICE_CERTIFY, post(service_certify))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(sign_in)
}

/// Routes for an identified caller; they need `Extension<Caller>`. Everybody may call them: they
/// are about nobody but the caller.
pub fn routes(sign_in: Arc<SignIn>) -> Router {
    Router::new()
        .route(contract::WHOAMI, get(whoami))
        .route(contract::SSH_TRUST, get(ssh_trust))
        .route(contract::LOGOUT, post(logout))
        .with_state(sign_in)
}

async fn login(
    State(sign_in): State<Arc<SignIn>>,
    Extension(source): Extension<Source>,
    body: Body,
) -> Answer<contract::SignedIn> {
    sign_in.login(read(body)?, &source).await.map(Fresh)
}

async fn enrol_begin(
    State(sign_in): State<Arc<SignIn>>,
    Extension(source): Extension<Source>,
    body: Body,
) -> Answer<contract::EnrolBegun> {
    sign_in.enrol_begin(read(body)?, &source).await.map(Fresh)
}

async fn enrol_finish(
    State(sign_in): State<Arc<SignIn>>,
    Extension(source): Extension<Source>,
    body: Body,
) -> Answer<contract::SignedIn> {
    sign_in.enrol_finish(read(body)?, &source).await.map(Fresh)
}

async fn service_challenge(
    State(sign_in): State<Arc<SignIn>>,
    body: Body,
) -> Answer<contract::Challenge> {
    Ok(Fresh(sign_in.service_challenge(&read(body)?)))
}

async fn service_certify(
    State(sign_in): State<Arc<SignIn>>,
    Extension(source): Extension<Source>,
    body: Body,
) -> Answer<contract::SignedIn> {
    sign_in.service_certify(read(body)?, &source).await.map(Fresh)
}

async fn whoami(Extension(caller): Extension<Caller>) -> Fresh<contract::WhoAmI> {
    Fresh(who_am_i(&caller))
}

async fn ssh_trust(
    State(sign_in): State<Arc<SignIn>>,
    Extension(_): Extension<Caller>,
) -> Fresh<contract::SshTrust> {
    Fresh(sign_in.ssh_trust())
}

async fn logout(
    State(sign_in): State<Arc<SignIn>>,
    Extension(caller): Extension<Caller>,
) -> Answer<contract::LoggedOut> {
    Ok(Fresh(sign_in.logout_to_the_end(caller).await?))
}

/// An answer that no cache may keep (RFC 9111 section 5.2.2.5).
struct Fresh<T>(T);

impl<T: Serialize> IntoResponse for Fresh<T> {
    fn into_response(self) -> Response {
        let mut response = Json(self.0).into_response();
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        if let Some(cause) = &self.error.cause {
            tracing::warn!(code = self.error.code, cause, "a sign-in could not be served");
        }
        let mut response = Problem::from(self.error).into_response();
        if let Some(seconds) = self.retry_after_s {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// Reads a body. What is wrong is told by place alone: the body holds secrets.
fn read<T: DeserializeOwned>(body: Body) -> Result<T, PublicError> {
    let body = body.map_err(|_| {
        let says = format!("the body of the request is not whole, or over {BODY_BYTES_MAX} bytes");
        PublicError::new("bad_request", Fault::Client, says)
    })?;
    serde_json::from_slice(&body).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        let what = match error.classify() {
            serde_json::error::Category::Data => "has a field that is missing, unknown or wrong",
            _ => "is not JSON",
        };
        let says = format!("the body of the request {what} (line {line}, column {column})");
        PublicError::new("bad_request", Fault::Client, says)
    })
}

#[cfg(test)]
mod tests;
