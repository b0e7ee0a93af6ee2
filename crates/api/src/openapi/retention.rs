//! Routes of [`crate::retention`].

#![expect(dead_code, reason = "the functions carry descriptions and are not called")]

use crate::control::Page;
use crate::retention as contract;

/// Erase what is disclosed and recorded of somebody
///
/// Action `data.erase`. An event says who, whom and why before anything is destroyed. Where a legal
/// hold meets it, or the subject has open sessions, nothing is destroyed and it is refused.
#[utoipa::path(
    post,
    path = contract::ERASURES,
    tag = "retention",
    request_body = contract::Erase,
    responses((status = 200, description = "What was destroyed.", body = contract::Erased))
)]
fn erase() {}

/// Destroy what is older than its period
///
/// Action `data.erase`. The periods stand in the configuration of the gateway; legal holds are
/// respected. An event comes before anything is destroyed.
#[utoipa::path(
    post,
    path = contract::RETENTION_RUN,
    tag = "retention",
    request_body = contract::RunRetention,
    responses((status = 200, description = "What was destroyed.", body = contract::RetentionRun))
)]
fn run_retention() {}

/// List legal holds
///
/// Action `holds.read`.
#[utoipa::path(
    get,
    path = contract::HOLDS,
    tag = "retention",
    params(Page),
    responses((status = 200, description = "Holds, by age.", body = contract::Holds))
)]
fn list_holds() {}

/// Add a legal hold
///
/// Action `holds.manage`.
#[utoipa::path(
    post,
    path = contract::HOLDS,
    tag = "retention",
    request_body = contract::AddHold,
    responses((status = 200, description = "The hold.", body = contract::Hold))
)]
fn add_hold() {}

/// Take a legal hold away
///
/// Action `holds.manage`.
#[utoipa::path(
    post,
    path = contract::HOLD_REMOVE,
    tag = "retention",
    params(("id" = String, Path, description = "Id of the hold.")),
    request_body = contract::RemoveHold,
    responses((status = 200, description = "The hold that was.", body = contract::Hold))
)]
fn remove_hold() {}
