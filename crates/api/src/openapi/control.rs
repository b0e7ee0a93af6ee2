//! Routes of [`crate::control`].

#![expect(dead_code, reason = "the functions carry descriptions and are not called")]

use crate::control as contract;

/// List people
///
/// Action `people.read`.
#[utoipa::path(
    get,
    path = contract::PEOPLE,
    tag = "control",
    params(contract::Page),
    responses((status = 200, description = "People, by name.", body = contract::People))
)]
fn list_people() {}

/// Add a person
///
/// Action `people.manage`; and `config.apply` for an administrator, for groups, for a name that a
/// policy writes out, and to give somebody who has not enrolled yet a new code. The enrolment code
/// is told this once.
#[utoipa::path(
    post,
    path = contract::PEOPLE,
    tag = "control",
    request_body = contract::AddPerson,
    responses((status = 200, description = "The person and their code.", body = contract::PersonAdded))
)]
fn add_person() {}

/// Let a person no longer in
///
/// Action `people.manage`, and `config.apply` for an administrator. Their credentials and their
/// sessions end. The body may be left out.
#[utoipa::path(
    post,
    path = contract::PERSON_DISABLE,
    tag = "control",
    params(("name" = String, Path, description = "Name of the person.")),
    request_body = Option<contract::Disable>,
    responses((status = 200, description = "They may no longer come in.", body = contract::Disabled))
)]
fn disable_person() {}

/// List service accounts
///
/// Action `services.read`.
#[utoipa::path(
    get,
    path = contract::SERVICES,
    tag = "control",
    params(contract::Page),
    responses((status = 200, description = "Service accounts, by name.", body = contract::Services))
)]
fn list_services() {}

/// Add a service account
///
/// Action `services.manage`, and `config.apply` for a name that a policy writes out.
#[utoipa::path(
    post,
    path = contract::SERVICES,
    tag = "control",
    request_body = contract::AddService,
    responses((status = 200, description = "The account.", body = contract::Service))
)]
fn add_service() {}

/// Let a service account no longer in
///
/// Action `services.manage`. Its credentials and its sessions end. The body may be left out.
#[utoipa::path(
    post,
    path = contract::SERVICE_DISABLE,
    tag = "control",
    params(("name" = String, Path, description = "Name of the account.")),
    request_body = Option<contract::Disable>,
    responses((status = 200, description = "It may no longer come in.", body = contract::Disabled))
)]
fn disable_service() {}

/// List registered SSH keys
///
/// Those of people with action `people.read`, those of service accounts with `services.read`, and
/// one's own.
#[utoipa::path(
    get,
    path = contract::KEYS,
    tag = "control",
    params(contract::Page),
    responses((status = 200, description = "Keys, by owner.", body = contract::Keys))
)]
fn list_keys() {}

/// Register an SSH key
///
/// Action `people.manage` or `services.manage`, and `config.apply`: whoever registers a key for
/// somebody can become them.
#[utoipa::path(
    post,
    path = contract::KEYS,
    tag = "control",
    request_body = contract::AddKey,
    responses((status = 200, description = "The key.", body = contract::Key))
)]
fn add_key() {}

/// Take a registered SSH key away
///
/// Action `people.manage` or `services.manage`. Sessions that run go on.
#[utoipa::path(
    delete,
    path = contract::KEY,
    tag = "control",
    params(("fingerprint" = String, Path, description = "Fingerprint of the key, percent-encoded.")),
    responses((status = 200, description = "The key that was.", body = contract::Key))
)]
fn remove_key() {}

/// List resources
///
/// All of them for whoever may do `resources.read`; for everybody else those that they may
/// connect to.
#[utoipa::path(
    get,
    path = contract::RESOURCES,
    tag = "control",
    params(contract::Page),
    responses((status = 200, description = "Resources, by name.", body = contract::Resources))
)]
fn list_resources() {}

/// List locks
///
/// Action `locks.read`.
#[utoipa::path(
    get,
    path = contract::LOCKS,
    tag = "control",
    params(contract::Page),
    responses((status = 200, description = "Locks in force, by age.", body = contract::Locks))
)]
fn list_locks() {}

/// Add a lock
///
/// Action `locks.manage`, and `config.apply` for one that meets an administrator. Sessions that it
/// meets are told to end before the answer is given.
#[utoipa::path(
    post,
    path = contract::LOCKS,
    tag = "control",
    request_body = contract::AddLock,
    responses((status = 200, description = "The lock.", body = contract::Lock))
)]
fn add_lock() {}

/// Take a lock away
///
/// Action `locks.manage`.
#[utoipa::path(
    delete,
    path = contract::LOCK,
    tag = "control",
    params(("id" = String, Path, description = "Id of the lock.")),
    responses((status = 200, description = "The lock that was.", body = contract::Lock))
)]
fn remove_lock() {}

/// Say what a declaration would change
///
/// Action `config.apply`. Nothing is changed.
#[utoipa::path(
    post,
    path = contract::PLAN,
    tag = "control",
    request_body = contract::Declaration,
    responses((status = 200, description = "The changes.", body = contract::Plan))
)]
fn plan() {}

/// Apply a declaration
///
/// Action `config.apply`. Each change is recorded before it takes effect. Where the plan would be
/// another by now, nothing is changed and the answer is 409.
#[utoipa::path(
    post,
    path = contract::APPLY,
    tag = "control",
    request_body = contract::Apply,
    responses((status = 200, description = "What was changed.", body = contract::Applied))
)]
fn apply() {}
