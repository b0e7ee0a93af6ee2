//! Errors as an outsider sees them: problem details of RFC 9457.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use loggia_model::{Fault, PublicError};
use serde::{Deserialize, Serialize};

/// A problem: what went wrong, in words for people and a code for programs. Never a cause chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Problem {
    /// `https://loggia.internal/problem/` and the code.
    #[serde(rename = "type")]
    pub kind: String,
    /// One sentence.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// Stable code, such as `denied`.
    pub code: String,
    /// More of it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub detail: Option<String>,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub hint: Option<String>,
    /// Whether the same request can succeed later without a change.
    #[serde(default)]
    pub retry: bool,
}

/// The HTTP status for a code; where the code says nothing, whose fault it was decides.
fn status_of(error: &PublicError) -> StatusCode {
    match (error.code, error.fault) {
        ("not_found", _) => StatusCode::NOT_FOUND,
        (
            "unauthenticated"
            | "wrong_login"
            | "expired"
            | "not_yet_valid"
            | "revoked"
            | "unknown_credential"
            | "bad_credential"
            | "foreign_certificate",
            _,
        ) => StatusCode::UNAUTHORIZED,
        ("throttled", _) => StatusCode::TOO_MANY_REQUESTS,
        ("conflict", _) => StatusCode::CONFLICT,
        (_, Fault::Policy) => StatusCode::FORBIDDEN,
        (_, Fault::Client) => StatusCode::BAD_REQUEST,
        (_, Fault::Target) => StatusCode::BAD_GATEWAY,
        (_, Fault::Gateway) if error.retry => StatusCode::SERVICE_UNAVAILABLE,
        (_, Fault::Gateway) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

impl From<PublicError> for Problem {
    fn from(error: PublicError) -> Self {
        Self {
            kind: format!("https://loggia.internal/problem/{}", error.code),
            status: status_of(&error).as_u16(),
            code: error.code.to_owned(),
            title: error.message,
            detail: error.detail,
            hint: error.hint,
            retry: error.retry,
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, axum::Json(self)).into_response();
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_internal_cause_never_leaves() {
        let error = PublicError::new("target_down", Fault::Target, "the target does not answer")
            .cause("connect to 10.1.2.3: refused");
        let text = serde_json::to_string(&Problem::from(error)).unwrap();
        assert!(!text.contains("10.1.2.3"));
        assert!(text.contains("\"status\":502"));
    }
}
