//! Routes of [`crate::identity`].

#![expect(dead_code, reason = "the functions carry descriptions and are not called")]

use crate::identity as contract;

/// Begin an enrolment
///
/// Takes the secret of an enrolment code and gives a fresh seed for the person's authenticator.
/// Nothing is kept until the second half arrives.
#[utoipa::path(
    post,
    path = contract::ENROL_BEGIN,
    tag = "identity",
    security(()),
    request_body = contract::EnrolBegin,
    responses((status = 200, description = "For whom the code is, and a seed.", body = contract::EnrolBegun))
)]
fn enrol_begin() {}

/// End an enrolment
///
/// Sets password and authenticator; the code ends, and the person is signed in.
#[utoipa::path(
    post,
    path = contract::ENROL_FINISH,
    tag = "identity",
    security(()),
    request_body = contract::EnrolFinish,
    responses((status = 200, description = "The person's credentials.", body = contract::SignedIn))
)]
fn enrol_finish() {}

/// Sign a person in
///
/// By name, password and one-time code. The certificate is recorded before it is issued and names
/// its place in the log. Too many wrong attempts answer 429 with `Retry-After` in seconds.
#[utoipa::path(
    post,
    path = contract::LOGIN,
    tag = "identity",
    security(()),
    request_body = contract::Login,
    responses((status = 200, description = "The person's credentials.", body = contract::SignedIn))
)]
fn login() {}

/// Ask for a challenge for a service account
#[utoipa::path(
    post,
    path = contract::SERVICE_CHALLENGE,
    tag = "identity",
    security(()),
    request_body = contract::ServiceChallenge,
    responses((status = 200, description = "A nonce, good once.", body = contract::Challenge))
)]
fn service_challenge() {}

/// Sign a service account in
///
/// By a signature over the challenge, with the account's key.
#[utoipa::path(
    post,
    path = contract::SERVICE_CERTIFY,
    tag = "identity",
    security(()),
    request_body = contract::ServiceCertify,
    responses((status = 200, description = "The account's credentials.", body = contract::SignedIn))
)]
fn service_certify() {}

/// Who the caller is
#[utoipa::path(
    get,
    path = contract::WHOAMI,
    tag = "identity",
    responses((status = 200, description = "The caller.", body = contract::WhoAmI))
)]
fn whoami() {}

/// The SSH authorities of this Loggia
///
/// What clients and targets are told to trust. Everybody who is known may ask.
#[utoipa::path(
    get,
    path = contract::SSH_TRUST,
    tag = "identity",
    responses((status = 200, description = "Their public keys.", body = contract::SshTrust))
)]
fn ssh_trust() {}

/// End all credentials of the caller
///
/// The sessions that came in with them are told to end before the answer is given.
#[utoipa::path(
    post,
    path = contract::LOGOUT,
    tag = "identity",
    responses((status = 200, description = "They have ended.", body = contract::LoggedOut))
)]
fn logout() {}
