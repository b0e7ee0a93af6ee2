//! Legal holds: what neither an erasure nor retention may destroy, and why.

use crate::change::{ChangeBy, Control, Why};
use crate::edit::Edit;
use crate::error::ControlError;
use crate::people::not_found;
use crate::snapshot::{Identity, Snapshot};
use loggia_model::Value;
use loggia_model::id::{ActorId, HoldId, SessionId};
use tokio::sync::MutexGuard;

/// The longest reason, in bytes.
const REASON_BYTES_MAX: usize = 1000;
/// Holds at most: each event that is to be destroyed is held against all of them.
const HOLDS_MAX: usize = 1000;

/// What a hold keeps: events that meet all that is given, at least one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HoldScope {
    /// Those of this identity.
    pub identity: Option<ActorId>,
    /// Those of this session.
    pub session: Option<SessionId>,
    /// Those of sessions on the resource of this name.
    pub resource: Option<String>,
    /// Those from this time on, microseconds since 1970.
    pub from_us: Option<i64>,
    /// Those before this time, microseconds since 1970.
    pub to_us: Option<i64>,
}

/// A legal hold. It lasts until it is removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// Its id.
    pub id: HoldId,
    /// What it keeps.
    pub scope: HoldScope,
    /// Why.
    pub reason: String,
    /// When it was added, microseconds since 1970.
    pub created_us: i64,
    /// Name of who added it.
    pub created_by: Option<String>,
}

impl Hold {
    /// As it stands in the log. The person is named by id alone: who is erased later is not named
    /// by the hold that was lifted before.
    pub(crate) fn value(&self) -> Value {
        let HoldScope { identity, session, resource, from_us, to_us } = &self.scope;
        let mut value = Value::object([("reason", Value::from(self.reason.as_str()))]);
        if let Value::Object(members) = &mut value {
            let texts = [
                ("identity", identity.map(|id| id.to_string())),
                ("session", session.map(|id| id.to_string())),
                ("resource", resource.clone()),
            ];
            for (key, text) in texts {
                members.extend(text.map(|text| (key.into(), Value::Str(text))));
            }
            for (key, time_us) in [("from_us", from_us), ("to_us", to_us)] {
                members.extend(time_us.map(|time_us| (key.into(), Value::Int(time_us))));
            }
        }
        value
    }
}

/// The holds as they stand, while nothing in control state changes.
pub struct StandingHolds<'a> {
    /// The holds, in the order they were added.
    pub holds: Vec<Hold>,
    _alone: MutexGuard<'a, ()>,
}

impl Control {
    /// The legal holds, in the order they were added.
    pub fn holds(&self) -> Vec<Hold> {
        self.now().holds.clone()
    }

    /// The holds, and the promise that none is added or removed until that is let go.
    pub async fn standing_holds(&self) -> StandingHolds<'_> {
        let writing = self.inner.writing().await;
        StandingHolds { holds: writing.now.holds.clone(), _alone: writing.into_guard() }
    }

    /// The person or service account of this name or id; of one that is not known any more, the
    /// id alone.
    ///
    /// # Errors
    /// Where neither a name nor an id is known.
    pub fn subject(&self, wanted: &str) -> Result<(ActorId, Option<Identity>), ControlError> {
        let now = self.now();
        if let Some(identity) = now.identity(wanted) {
            return Ok((identity.id, Some(identity.clone())));
        }
        match wanted.parse::<ActorId>() {
            Ok(id) => Ok((id, now.identities.get(&id).cloned())),
            Err(_) => {
                let names = now.by_name.keys().map(String::as_str);
                Err(not_found("person or service", wanted, names))
            }
        }
    }

    /// Adds a legal hold.
    ///
    /// # Errors
    /// Where it would keep everything, the reason is empty or too long, or the change fails.
    pub async fn add_hold(
        &self,
        scope: HoldScope,
        reason: String,
        by: ChangeBy,
    ) -> Result<Hold, ControlError> {
        let control = self.clone();
        self.to_the_end(async move {
            let writing = control.inner.writing().await;
            check(&scope, &reason, &writing.now)?;
            let (unix_ms, random) = writing.inner.mint.id_parts();
            let hold = Hold {
                id: HoldId::from_parts(unix_ms, random),
                scope,
                reason,
                created_us: writing.inner.mint.now_us(),
                created_by: by.actor.as_ref().map(|actor| actor.name.clone()),
            };
            let why = Why { reason: Some(&hold.reason), digest: None };
            writing.commit(&[Edit::AddHold(hold.clone())], &by, why).await?;
            Ok(hold)
        })
        .await
    }

    /// Takes a legal hold away.
    ///
    /// # Errors
    /// Where there is no such hold, no reason is given, or the change fails.
    pub async fn remove_hold(
        &self,
        id: HoldId,
        reason: String,
        by: ChangeBy,
    ) -> Result<Hold, ControlError> {
        let control = self.clone();
        self.to_the_end(async move {
            let writing = control.inner.writing().await;
            check_reason(&reason)?;
            let found = writing.now.holds.iter().find(|hold| hold.id == id).cloned();
            let hold = found.ok_or_else(|| not_found("hold", &id.to_string(), []))?;
            let why = Why { reason: Some(&reason), digest: None };
            writing.commit(&[Edit::RemoveHold(hold.clone())], &by, why).await?;
            Ok(hold)
        })
        .await
    }
}

fn check(scope: &HoldScope, reason: &str, now: &Snapshot) -> Result<(), ControlError> {
    let invalid = |message: &str, hint: &str| {
        Err(ControlError::Invalid { message: message.to_owned(), hint: hint.to_owned() })
    };
    check_reason(reason)?;
    if *scope == HoldScope::default() {
        let hint = "name a person, a resource, a session or a period; several must all be met";
        return invalid("a hold needs something that it keeps", hint);
    }
    if scope.from_us.zip(scope.to_us).is_some_and(|(from, to)| from >= to) {
        return invalid("the period of the hold ends before it begins", "swap its two ends");
    }
    if let Some(name) = scope.resource.as_ref().filter(|name| !now.resources.contains_key(*name)) {
        return Err(not_found("resource", name, now.resources.keys().map(String::as_str)));
    }
    if now.holds.len() >= HOLDS_MAX {
        return invalid("there are too many holds", "remove those that are over");
    }
    Ok(())
}

fn check_reason(reason: &str) -> Result<(), ControlError> {
    if !reason.trim().is_empty() && reason.len() <= REASON_BYTES_MAX {
        return Ok(());
    }
    Err(ControlError::Invalid {
        message: "a reason is needed".to_owned(),
        hint: format!("such as the number of the case; at most {REASON_BYTES_MAX} bytes"),
    })
}
