//! The description of the API, generated from the contract.

use axum::Json;

/// `GET /openapi.json`.
pub(crate) async fn document() -> Json<utoipa::openapi::OpenApi> {
    Json(loggia_api::openapi::document())
}
