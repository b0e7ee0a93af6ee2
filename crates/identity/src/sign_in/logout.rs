//! Giving credentials back, and who one is.

use super::SignIn;
use crate::events::{self, Who, ask};
use loggia_api::identity::{LoggedOut, WhoAmI};
use loggia_model::id::CredentialId;
use loggia_model::port::{Caller, IdentityRecord};
use loggia_model::{Draft, Fault, Kind, PublicError};
use std::sync::Arc;

/// Events that are appended in one go.
const BATCH_MAX: usize = 100;

impl SignIn {
    /// Revokes all credentials of the caller, and ends the sessions that came in with them. Not to
    /// be dropped in the middle.
    ///
    /// Errors: ledger or control database in the way. Where the former is, before anything was
    /// revoked, nothing is; where it is afterwards, what was revoked stays so.
    pub async fn logout(&self, caller: &Caller) -> Result<LoggedOut, PublicError> {
        let actor = &caller.actor;
        let identity = IdentityRecord {
            id: actor.id,
            name: actor.name.clone(),
            groups: actor.groups.clone(),
            admin: actor.admin,
            disabled: false,
        };
        let who = Who { identity: &identity, authn: actor.authn, source: Some(&caller.source) };
        // The credential in hand is known before, and its end is recorded before. Which others
        // there are, only the control database knows, and it tells by revoking them: a crash
        // between leaves them revoked without an event of their own, which is the safe side.
        if let Some(own) = actor.credential {
            let place = events::append(self.log.as_ref(), &[self.revoked(who, own)?])?;
            events::on_disk(self.log.as_ref(), &place).await?;
        }
        let ids = ask(self.directory.revoke_credentials(actor.id)).await?;
        // At once, whatever may come of the rest. The one in hand too where it was revoked before:
        // somebody else's logout may have left its sessions.
        let in_hand = actor.credential.filter(|own| !ids.contains(own));
        let ended: Vec<CredentialId> = ids.iter().copied().chain(in_hand).collect();
        self.sessions.logged_out(&ended, actor.id);
        let mut drafts = Vec::with_capacity(ids.len() + 1);
        for id in ids.iter().filter(|id| Some(**id) != actor.credential) {
            drafts.push(self.revoked(who, *id)?);
        }
        let revoked = ids.len() as u64;
        let logout = events::by(who, &self.mint, Kind::AuthLogout)
            .set("/detail/credentials", revoked)
            .set("/outcome/status", "ok");
        drafts.push(events::encode(logout)?);
        for batch in drafts.chunks(BATCH_MAX) {
            events::append(self.log.as_ref(), batch)?;
        }
        Ok(LoggedOut { revoked })
    }

    /// [`Self::logout`], also when the caller hangs up in between.
    pub(crate) async fn logout_to_the_end(
        self: Arc<Self>,
        caller: Caller,
    ) -> Result<LoggedOut, PublicError> {
        let logout = tokio::spawn(async move { self.logout(&caller).await });
        logout.await.unwrap_or_else(|error| {
            Err(PublicError::new("internal", Fault::Gateway, "the logout broke off").cause(error))
        })
    }

    fn revoked(&self, who: Who<'_>, id: CredentialId) -> Result<Draft, PublicError> {
        let draft = events::by(who, &self.mint, Kind::CredentialRevoked)
            .set("/detail/credential", id.to_string())
            .set("/detail/reason", "logout");
        events::encode(draft)
    }
}

/// Who the caller is, in the words of the API.
pub(crate) fn who_am_i(caller: &Caller) -> WhoAmI {
    let actor = &caller.actor;
    WhoAmI {
        actor: actor.id.to_string(),
        name: actor.name.clone(),
        actor_type: actor.actor_type().as_str().to_owned(),
        groups: actor.groups.clone(),
        admin: actor.admin,
        authn: actor.authn.as_str().to_owned(),
        credential: actor.credential.map(|id| id.to_string()),
        expires_us: actor.expires_us,
        source: caller.source.peer.ip().to_canonical().to_string(),
    }
}
