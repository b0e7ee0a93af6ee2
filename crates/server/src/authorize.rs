//! Whether a caller of the API may do what it asks for; a refusal is an event.

use async_trait::async_trait;
use loggia_gate::Sessions;
use loggia_model::catalogue::Kind;
use loggia_model::circumstances::policy_error;
use loggia_model::decision::{Action, Ask, Effect};
use loggia_model::port::{Append, AppendError, Authorize, Caller, Decide, OnDisk, Resolve};
use loggia_model::{EventDraft, Fault, Mint, PublicError};
use std::sync::Arc;

/// Asks the policies in force.
pub(crate) struct Policies {
    pub(crate) decide: Arc<dyn Decide>,
    pub(crate) resolve: Arc<dyn Resolve>,
    /// They know which credentials were given back a moment ago.
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) append: Arc<dyn Append>,
    pub(crate) mint: Mint,
}

#[async_trait]
impl Authorize for Policies {
    async fn authorize(
        &self,
        caller: &Caller,
        action: Action,
        route: &'static str,
    ) -> Result<(), PublicError> {
        // Whoever follows something is asked for again and again, and was identified long ago.
        if caller.actor.credential.is_some_and(|it| self.sessions.has_ended(it)) {
            return Err(PublicError::new("unauthenticated", Fault::Client, "you logged out")
                .hint("`loggia login` gives a new credential"));
        }
        let lock = self.resolve.lock(&caller.actor, None);
        let decision = self.decide.decide(&Ask {
            actor: &caller.actor,
            action,
            resource: None,
            account: None,
            database: None,
            source_ip: caller.source.peer.ip(),
            time_us: self.mint.now_us(),
        });
        let allowed = decision.effect == Effect::Allow;
        if allowed && lock.is_none() {
            return Ok(());
        }
        if let Some(draft) = policy_error(&self.mint, &decision)
            && let Err(error) = record(&*self.append, draft).await
        {
            tracing::error!(%error, "a policy error could not be recorded");
        }
        let draft = by(self.mint.draft(Kind::ApiDenied), caller)
            .set("/detail/route", route)
            .set("/detail/action", action.as_str())
            .decided(&decision)
            .set("/outcome/status", "denied");
        // What cannot be recorded is refused all the same.
        if let Err(error) = record(&*self.append, draft).await {
            tracing::error!(%error, "a refusal could not be recorded");
        }
        Err(match lock {
            Some(lock) => {
                PublicError::new("locked", Fault::Policy, format!("locked: {}", lock.reason))
                    .detail(format!("lock {}", lock.lock))
                    .hint("ask an administrator")
            }
            None => {
                let message = format!("{} may not do `{}`", caller.actor.name, action.as_str());
                PublicError::new("denied", Fault::Policy, message)
                    .hint("ask an administrator; policies decide by action")
            }
        })
    }
}

/// Sets who asked, with what credential, from where.
pub(crate) fn by(draft: EventDraft, caller: &Caller) -> EventDraft {
    draft.by(&caller.actor).out_of(&caller.source)
}

/// Makes one event durable.
pub(crate) async fn record(append: &dyn Append, draft: EventDraft) -> Result<OnDisk, PublicError> {
    let written = match draft.encode() {
        Ok(draft) => append.append(&[draft]),
        Err(error) => Err(AppendError::Draft(error)),
    };
    let place = match written {
        Ok(appended) => append.on_disk(&appended).await,
        Err(error) => Err(error),
    };
    place.map_err(|error| {
        PublicError::new(
            "unrecordable",
            Fault::Gateway,
            "nothing can be recorded at the moment, so nothing is done",
        )
        .hint("the gateway's disk may be full; `loggia doctor` on its machine tells")
        .cause(error)
        .retry()
    })
}
