//! How who, from where and by what right stand in events: once, for every room that writes them.

use crate::actor::{Actor, Source};
use crate::catalogue::Kind;
use crate::decision::Decision;
use crate::event::EventDraft;
use crate::mint::Mint;
use crate::value::Value;

impl EventDraft {
    /// Sets who acts, with what credential.
    pub fn by(self, actor: &Actor) -> Self {
        self.actor(actor.id)
            .set("/actor/name", actor.name.as_str())
            .set("/actor/type", actor.actor_type().as_str())
            .set("/actor/authn", actor.authn.as_str())
            .set_some("/actor/credential", actor.credential.map(|id| id.to_string()))
    }

    /// Sets from where. An IPv4 address is one, however the listener saw it.
    pub fn out_of(self, source: &Source) -> Self {
        self.set("/source/ip", source.peer.ip().to_canonical().to_string())
            .set("/source/port", u32::from(source.peer.port()))
    }

    /// Sets by what right.
    pub fn decided(self, decision: &Decision) -> Self {
        let policies: Vec<Value> =
            decision.policies.iter().map(|policy| Value::from(policy.as_str())).collect();
        self.set("/decision/effect", decision.effect.as_str())
            .set("/decision/policies", policies)
            .set("/decision/policy_set", decision.policy_set.as_str())
    }
}

/// The event that says that policies could not be evaluated; `None` where they could.
pub fn policy_error(mint: &Mint, decision: &Decision) -> Option<EventDraft> {
    if decision.errors.is_empty() {
        return None;
    }
    let (ids, messages): (Vec<Value>, Vec<&str>) = decision
        .errors
        .iter()
        .map(|(id, message)| (Value::from(id.as_str()), message.as_str()))
        .unzip();
    let draft = mint
        .draft(Kind::PolicyError)
        .set("/detail/policies", ids)
        .set("/detail/message", messages.join("; "))
        .set("/decision/policy_set", decision.policy_set.as_str());
    Some(draft)
}
