//! What an identified actor is told who is not let through.

use loggia_model::decision::Decision;
use loggia_model::port::AppendError;
use loggia_model::resource::Resource;
use loggia_model::{Actor, Fault, PublicError};
use std::sync::Arc;

/// Why an identified actor is not let through: what the client is told, and what the event says.
pub(crate) struct Refusal {
    pub(crate) error: PublicError,
    pub(crate) decision: Option<Decision>,
    pub(crate) resource: Option<Arc<Resource>>,
}

impl From<PublicError> for Refusal {
    fn from(error: PublicError) -> Self {
        Self { error, decision: None, resource: None }
    }
}

impl From<AppendError> for Refusal {
    fn from(error: AppendError) -> Self {
        unrecordable(error).into()
    }
}

pub(crate) fn unknown_resource(name: &str) -> PublicError {
    PublicError::new(
        "unknown_resource",
        Fault::Client,
        format!("there is no resource `{name}` here"),
    )
    .hint("`loggia resource ls` lists what you can reach")
}

pub(crate) fn unknown_account(resource: &Resource, wanted: Option<&str>) -> PublicError {
    let message = match wanted {
        Some(account) => format!("resource `{}` has no account `{account}`", resource.name),
        None => format!("resource `{}` has no account to sign in with", resource.name),
    };
    PublicError::new("unknown_account", Fault::Client, message)
        .hint("`loggia resource ls` lists resources with their accounts; write ACCOUNT~RESOURCE")
}

pub(crate) fn denied(
    actor: &Actor,
    resource: &Resource,
    account: &str,
    decision: &Decision,
) -> PublicError {
    PublicError::new(
        "denied",
        Fault::Policy,
        format!("{} may not connect to `{}` as `{account}`", actor.name, resource.name),
    )
    .detail(decision.why_denied())
    .hint("`loggia resource ls` lists what you can reach; ask an administrator for access")
}

pub(crate) fn unrecordable(error: AppendError) -> PublicError {
    PublicError::new(
        "unrecordable",
        Fault::Gateway,
        "nothing can be recorded at the moment, so nothing is let through",
    )
    .hint("the gateway's disk may be full; `loggia doctor` on its machine tells. Then try again")
    .cause(error)
    .retry()
}

pub(crate) fn identity_late() -> PublicError {
    PublicError::new("state", Fault::Gateway, "who you are could not be looked up in time")
        .hint("try again; if it stays, `loggia doctor` on the gateway's machine tells")
        .retry()
}

pub(crate) fn target_late(resource: &Resource) -> PublicError {
    PublicError::new("target_down", Fault::Target, "the target did not answer in time")
        .hint(format!("is `{}` up? `loggia doctor` on the gateway's machine tells", resource.name))
        .retry()
}
