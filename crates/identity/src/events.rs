//! The events of this room, and what is told when one cannot be written.

use loggia_model::id::CredentialId;
use loggia_model::port::{Append, AppendError, Appended, IdentityRecord, OnDisk, StateError};
use loggia_model::{
    ActorType, Authn, Draft, EventDraft, Fault, Kind, Mint, PublicError, Source, Value,
};
use std::future::Future;
use std::time::Duration;

/// Longest wait for the disk or the control database.
const WAIT_MAX: Duration = Duration::from_secs(10);
/// Characters of a claimed name that are kept.
const CLAIMED_CHARS_MAX: usize = 256;

/// Why a login failed, as the log says it. The person is told the same whichever it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    WrongPassword,
    WrongCode,
    CodeUsed,
    Unknown,
    Disabled,
    Throttled,
    WrongSignature,
    WrongChallenge,
}

impl Reason {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::WrongPassword => "wrong_password",
            Self::WrongCode => "wrong_code",
            Self::CodeUsed => "code_used",
            Self::Unknown => "unknown",
            Self::Disabled => "disabled",
            Self::Throttled => "throttled",
            Self::WrongSignature => "wrong_signature",
            Self::WrongChallenge => "wrong_challenge",
        }
    }
}

/// Whom an event is about, and from where they came.
#[derive(Clone, Copy)]
pub(crate) struct Who<'a> {
    pub(crate) identity: &'a IdentityRecord,
    pub(crate) authn: Authn,
    pub(crate) source: Option<&'a Source>,
}

/// An event of an identified actor.
pub(crate) fn by(who: Who<'_>, mint: &Mint, kind: Kind) -> EventDraft {
    let draft = mint
        .draft(kind)
        .actor(who.identity.id)
        .set("/actor/name", who.identity.name.as_str())
        .set("/actor/type", ActorType::of(who.identity.id).as_str())
        .set("/actor/authn", who.authn.as_str());
    match who.source {
        Some(source) => draft.out_of(source),
        None => draft,
    }
}

/// Somebody failed to prove who they are: there is no actor, only a claim.
pub(crate) fn login_failed(
    mint: &Mint,
    method: Authn,
    reason: Reason,
    claimed: Option<&str>,
    source: &Source,
) -> EventDraft {
    let claimed = claimed.map(|name| name.chars().take(CLAIMED_CHARS_MAX).collect::<String>());
    mint.draft(Kind::AuthLoginFailed)
        .out_of(source)
        .set("/detail/method", method.as_str())
        .set("/detail/reason", reason.as_str())
        .set_some("/detail/claimed", claimed)
        .set("/outcome/status", "denied")
}

/// A credential is about to be issued.
pub(crate) fn minted(
    who: Who<'_>,
    mint: &Mint,
    id: CredentialId,
    credential_type: &'static str,
    expires_us: i64,
) -> EventDraft {
    by(who, mint, Kind::CredentialMinted)
        .set("/detail/credential", id.to_string())
        .set("/detail/type", credential_type)
        .set("/detail/expires_us", Value::Int(expires_us))
}

/// Encodes a report; it fails only where the program is wrong, and then nothing may happen.
pub(crate) fn encode(draft: EventDraft) -> Result<Draft, PublicError> {
    draft.encode().map_err(|error| unrecorded(AppendError::Draft(error)))
}

/// Appends; on return the events survive the death of this process.
pub(crate) fn append(log: &dyn Append, drafts: &[Draft]) -> Result<Appended, PublicError> {
    log.append(drafts).map_err(unrecorded)
}

/// Waits until an event is on disk, ten seconds at most.
pub(crate) async fn on_disk(log: &dyn Append, place: &Appended) -> Result<OnDisk, PublicError> {
    match tokio::time::timeout(WAIT_MAX, log.on_disk(place)).await {
        Ok(place) => place.map_err(unrecorded),
        Err(_) => Err(unrecorded(AppendError::Paused("the disk did not answer in time"))),
    }
}

/// Asks the control database, ten seconds at most.
pub(crate) async fn ask<T>(
    call: impl Future<Output = Result<T, StateError>>,
) -> Result<T, PublicError> {
    match tokio::time::timeout(WAIT_MAX, call).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(StateError("no answer in ten seconds".to_owned()).into()),
    }
}

/// What cannot be recorded does not happen.
fn unrecorded(error: AppendError) -> PublicError {
    let paused = matches!(error, AppendError::Paused(_) | AppendError::Closed(_));
    let refusal = PublicError::new(
        "unrecordable",
        Fault::Gateway,
        "nothing can be recorded at the moment, so nothing is issued or changed",
    )
    .cause(error);
    if paused {
        let hint =
            "the gateway's disk may be full; `loggia doctor` on its machine tells. Then try again";
        return refusal.hint(hint).retry();
    }
    refusal
}
