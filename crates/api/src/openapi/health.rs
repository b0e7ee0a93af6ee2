//! Routes of the server itself.

#![expect(dead_code, reason = "the functions carry descriptions and are not called")]

/// Whether the process serves
#[utoipa::path(
    get,
    path = "/healthz",
    tag = "health",
    security(()),
    responses((status = 200, description = "It does: `ok`.", body = String, content_type = "text/plain"))
)]
fn healthz() {}

/// Whether the gateway can do its work now
///
/// Ready means: an event would be recorded now, the control database answers, and the stored
/// policies are in force. The answer has `ledger`, `control`, `policies`, `views` and `witnesses`,
/// each `ok` or `not well`; the metrics listener also says why.
#[utoipa::path(
    get,
    path = "/readyz",
    tag = "health",
    security(()),
    responses(
        (status = 200, description = "All of it is `ok`.", body = Object),
        (status = 503, description = "Something is not.", body = Object)
    )
)]
fn readyz() {}

/// This document
#[utoipa::path(
    get,
    path = "/openapi.json",
    tag = "health",
    security(()),
    responses((status = 200, description = "The OpenAPI document.", body = Object))
)]
fn openapi() {}
