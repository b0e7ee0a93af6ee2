//! The events that the spine itself writes about a connection.

use crate::protocol::{OpenFailure, Opening};
use crate::refusal::Refusal;
use crate::spine::{Allowed, Spine};
use loggia_model::catalogue::Kind;
use loggia_model::circumstances::policy_error;
use loggia_model::decision::Decision;
use loggia_model::event::{Role, SessionSlot};
use loggia_model::id::SessionId;
use loggia_model::port::AppendError;
use loggia_model::resource::Resource;
use loggia_model::{Actor, EventDraft, Source};
use std::net::SocketAddr;

impl Spine {
    pub(crate) fn session_start(
        &self,
        protocol: &'static str,
        session: SessionId,
        allowed: &Allowed,
        opening: &Opening,
        source: Source,
    ) -> EventDraft {
        let permit = &allowed.permit;
        let slot = SessionSlot { id: session, context: None, role: Role::Start };
        let draft = self
            .parts
            .mint
            .draft(Kind::SessionStart)
            .by(permit.actor())
            .out_of(&source)
            .session(slot)
            .set("/detail/protocol", protocol)
            .set("/detail/depth", allowed.depth.as_str())
            .set_some("/detail/application", opening.application.clone())
            .set_some("/detail/options", opening.options.clone())
            .set("/resource/account", permit.account().name.as_str())
            .set_some("/resource/database", permit.database());
        with_resource(draft, permit.resource()).decided(permit.decision())
    }

    pub(crate) fn record_refusal(
        &self,
        protocol: &'static str,
        actor: &Actor,
        opening: &Opening,
        source: Source,
        refusal: Refusal,
    ) {
        self.parts.metrics.refused_with(refusal.error.code);
        let mut draft = self
            .parts
            .mint
            .draft(Kind::SessionRefused)
            .by(actor)
            .out_of(&source)
            .set("/detail/reason", refusal.error.code)
            .set("/detail/wanted", opening.address.resource.as_str())
            .set_some("/detail/cause", refusal.error.cause)
            .set("/resource/protocol", protocol)
            .set_some("/resource/account", opening.address.account.as_deref())
            .set("/outcome/status", "denied");
        if let Some(resource) = &refusal.resource {
            draft = with_resource(draft, resource);
        }
        if let Some(decision) = &refusal.decision {
            draft = draft.decided(decision);
        }
        self.append_one(draft);
    }

    pub(crate) fn report_policy_errors(&self, decision: &Decision) {
        if let Some(draft) = policy_error(&self.parts.mint, decision) {
            self.append_one(draft);
        }
    }

    fn append_one(&self, draft: EventDraft) {
        let kind = draft.kind().code();
        let written = match draft.encode() {
            Ok(draft) => self.parts.append.append(&[draft]).map(|_| ()),
            Err(error) => Err(AppendError::Draft(error)),
        };
        // Nothing was let through for which this event would be the record; it is a refusal.
        if let Err(error) = written {
            tracing::error!(kind, %error, "an event could not be written");
        }
    }

    /// A connection that ended before anyone was identified.
    pub(crate) fn stranger(&self, listener: &'static str, peer: SocketAddr, failure: &OpenFailure) {
        self.parts.metrics.refused_with(failure.reason);
        if !self.strangers.lock().note(listener, peer.ip(), self.parts.mint.now_us()) {
            return;
        }
        let claimed = failure.claimed.as_deref().filter(|claimed| !claimed.is_empty());
        let draft = self
            .parts
            .mint
            .draft(Kind::StrangerRefused)
            .set("/detail/listener", listener)
            .set("/detail/reason", failure.reason)
            .set_some("/detail/claimed", claimed)
            .out_of(&Source { peer });
        self.append_one(draft);
    }

    /// A connection for which there is no room; counted, and written within the bounds for
    /// strangers.
    pub(crate) fn turned_away(&self, listener: &'static str, peer: SocketAddr) {
        self.stranger(
            listener,
            peer,
            &OpenFailure { reason: "too_many_connections", claimed: None },
        );
    }

    /// A refusal at a door that is not a spine's listener (the API's).
    pub fn stranger_at(&self, listener: &'static str, peer: SocketAddr, reason: &'static str) {
        self.stranger(listener, peer, &OpenFailure { reason, claimed: None });
    }

    /// Writes what was counted of strangers. Called once a minute and at shutdown.
    pub fn flush_strangers(&self) {
        let counted = self.strangers.lock().take_counted();
        for entry in counted {
            let draft = self
                .parts
                .mint
                .draft(Kind::StrangerSummary)
                .set("/detail/listener", entry.listener)
                .set("/detail/count", entry.count)
                .set("/detail/sources", entry.sources);
            self.append_one(draft);
        }
    }
}

fn with_resource(draft: EventDraft, resource: &Resource) -> EventDraft {
    draft
        .set("/resource/id", resource.id.to_string())
        .set("/resource/name", resource.name.as_str())
        .set("/resource/protocol", resource.protocol.as_str())
}
