//! The OpenAPI document of the contract.
//!
//! Each route of the contract has a function in [`identity`], [`control`], [`audit`],
//! [`recordings`] or [`health`]: it is never called, it carries the description. `GET /openapi.json` serves the
//! document, `docs/reference/openapi.json` is a copy of it that a test keeps equal.

mod audit;
mod control;
mod health;
mod identity;
mod recordings;
mod retention;

use crate::Problem;
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{Ref, RefOr, Response, ResponseBuilder};
use utoipa::{Modify, OpenApi};

/// Name of the scheme of tokens.
const TOKEN: &str = "token";
/// Name of the scheme of client certificates.
const CERTIFICATE: &str = "client_certificate";
/// Name under which the components hold the answer of every failure.
const PROBLEM: &str = "Problem";

/// The whole API as the contract has it.
pub fn document() -> utoipa::openapi::OpenApi {
    Document::openapi()
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Loggia",
        description = "People, service accounts, resources, policies and what was recorded of \
            them. JSON over TLS. Each refusal by policy and each read of what was recorded is an event of \
            its own."
    ),
    servers((url = "https://localhost:7443", description = "The address of a gateway on this machine")),
    tags(
        (name = "identity", description = "Signing in and out"),
        (name = "control", description = "People, service accounts, resources, locks, declarations"),
        (name = "audit", description = "Events, sessions, timelines, recordings; ending a session"),
        (name = "retention", description = "Erasure, retention, legal holds"),
        (name = "health", description = "Whether the gateway lives and can do its work"),
    ),
    security(("token" = []), ("client_certificate" = [])),
    components(schemas(Problem)),
    modifiers(&Schemes, &Failures),
    paths(
        identity::enrol_begin,
        identity::enrol_finish,
        identity::login,
        identity::service_challenge,
        identity::service_certify,
        identity::whoami,
        identity::ssh_trust,
        identity::logout,
        control::list_people,
        control::add_person,
        control::disable_person,
        control::list_services,
        control::add_service,
        control::disable_service,
        control::list_keys,
        control::add_key,
        control::remove_key,
        control::list_resources,
        control::list_locks,
        control::add_lock,
        control::remove_lock,
        control::plan,
        control::apply,
        audit::search_events,
        audit::tail_events,
        audit::list_sessions,
        audit::show_session,
        audit::session_receipt,
        audit::end_session,
        retention::erase,
        retention::run_retention,
        retention::list_holds,
        retention::add_hold,
        retention::remove_hold,
        recordings::read_recording,
        recordings::watch_session,
        health::healthz,
        health::readyz,
        health::openapi,
    )
)]
struct Document;

/// The two ways to say who is calling.
struct Schemes;

impl Modify for Schemes {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let token = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("The token that a login gave, as `Authorization: Bearer TOKEN`."))
            .build();
        let certificate = SecurityScheme::MutualTls {
            description: Some("The client certificate that a login gave.".to_owned()),
            deprecated: None,
            extensions: None,
        };
        let components = document.components.get_or_insert_default();
        components.add_security_scheme(TOKEN, SecurityScheme::Http(token));
        components.add_security_scheme(CERTIFICATE, certificate);
    }
}

/// What every route answers when it fails: problem details (RFC 9457).
struct Failures;

impl Modify for Failures {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let schema = Ref::from_schema_name(PROBLEM);
        let content = ContentBuilder::new().schema(Some(schema)).build();
        let problem = ResponseBuilder::new()
            .description("A problem: a code for programs, a sentence and a hint for people.")
            .content("application/problem+json", content)
            .build();
        let components = document.components.get_or_insert_default();
        components.responses.insert(PROBLEM.to_owned(), RefOr::T(problem));
        for item in document.paths.paths.values_mut() {
            let methods = [&mut item.get, &mut item.post, &mut item.delete];
            methods.into_iter().flatten().for_each(add_failures);
        }
    }
}

/// Adds what can go wrong with a route to its answers.
fn add_failures(operation: &mut Operation) {
    let answers = &mut operation.responses.responses;
    let reference = || RefOr::<Response>::Ref(Ref::from_response_name(PROBLEM));
    // Routes with a requirement of their own are those that everybody may call.
    if operation.security.is_none() {
        for status in ["401", "403"] {
            answers.insert(status.to_owned(), reference());
        }
    }
    answers.insert("default".to_owned(), reference());
}

#[cfg(test)]
mod tests;
