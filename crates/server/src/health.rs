//! Whether the gateway is alive, and whether it really can do its work.

use crate::compose::Parts;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use std::sync::Arc;

/// `GET /healthz` and `GET /readyz`.
pub(crate) fn routes(parts: Arc<Parts>) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .with_state(parts)
}

/// Metrics and the same two checks over plain HTTP, for the machine that watches this one.
pub(crate) fn metrics_router(parts: Arc<Parts>) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .with_state(Arc::clone(&parts))
        .merge(routes(parts))
}

/// Ready means: an event would be recorded now, and the control database answers.
async fn ready(State(parts): State<Arc<Parts>>) -> Response {
    let ledger = parts.ledger.readiness().map_err(|error| error.to_string());
    let control = parts.control.ping().await.map_err(|error| error.to_string());
    let policies = match parts.control.policy_errors() {
        None => Ok(()),
        Some(errors) => Err(errors.to_string()),
    };
    let dead = parts.ledger.metrics().followers_dead.get();
    let views = if dead == 0 { Ok(()) } else { Err(format!("{dead} followers broke")) };
    let checks =
        [("views", views), ("ledger", ledger), ("control", control), ("policies", policies)];
    let ready = checks.iter().all(|(_, check)| check.is_ok());
    let mut body: serde_json::Map<String, serde_json::Value> = checks
        .into_iter()
        .map(|(name, check)| (name.to_owned(), check.err().unwrap_or_else(|| "ok".into()).into()))
        .collect();
    // What is promised stays promised without them: they are told of, and stop nothing.
    let witnesses = crate::witnesses::sentence(&parts.ledger.witnesses());
    body.insert("witnesses".to_owned(), witnesses.into());
    let checkpoints = match parts.ledger.unpublished() {
        None => "ok".to_owned(),
        Some((since, why)) => format!("none for {} s: {why}", since.as_secs()),
    };
    body.insert("checkpoints".to_owned(), checkpoints.into());
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(body)).into_response()
}

async fn metrics(State(parts): State<Arc<Parts>>) -> Response {
    let mut text = String::new();
    match prometheus_client::encoding::text::encode(&mut text, &parts.registry) {
        Ok(()) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(axum::http::header::CONTENT_TYPE, kind)], text).into_response()
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
