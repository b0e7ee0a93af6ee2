//! Locks: add, list, remove.

use crate::change::{ChangeBy, Control, Why};
use crate::edit::Edit;
use crate::error::ControlError;
use crate::lock::{Lock, LockTarget};
use crate::people::{not_found, only_administrator};
use crate::snapshot::{Identity, Snapshot};
use loggia_model::id::LockId;

/// The longest reason, in bytes.
const REASON_BYTES_MAX: usize = 1000;
/// The longest a lock with an end lasts, in seconds: ten years.
const LOCK_S_MAX: u64 = 10 * 366 * 86_400;

/// A lock that is to be added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewLock {
    /// Whom or what it is to meet.
    pub target: LockTarget,
    /// Why; shown to whoever it meets.
    pub reason: String,
    /// How long it lasts, in seconds; none: until it is removed.
    pub duration_s: Option<u64>,
    /// Whether it may keep administrators out; see [`Control::means_administrators`].
    pub administrators: bool,
}

impl Control {
    /// The locks that are in force, in the order they were added.
    pub fn locks(&self) -> Vec<Lock> {
        let now_us = self.inner.mint.now_us();
        self.now().locks.iter().filter(|lock| lock.in_force(now_us)).cloned().collect()
    }

    /// Whether the target means somebody who administers this Loggia and is not disabled.
    pub fn means_administrators(&self, target: &LockTarget) -> bool {
        self.now().administrators_met(target).next().is_some()
    }

    /// Locks somebody or something out.
    ///
    /// # Errors
    /// Where the target does not exist, the reason is empty or too long, whoever asks or the last
    /// administrator would be kept out, or the change fails.
    pub async fn add_lock(&self, new: NewLock, by: ChangeBy) -> Result<Lock, ControlError> {
        let control = self.clone();
        let NewLock { target, reason, duration_s, administrators } = new;
        self.to_the_end(async move {
            let writing = control.inner.writing().await;
            control.check_target(&target)?;
            check_reason(&reason)?;
            check_not_oneself(&target, &by, &writing.now)?;
            let created_us = writing.inner.mint.now_us();
            check_administrators(&target, administrators, &writing.now, created_us)?;
            let (unix_ms, random) = writing.inner.mint.id_parts();
            let lock = Lock {
                id: LockId::from_parts(unix_ms, random),
                target,
                reason,
                created_us,
                expires_us: duration_s.map(|it| end(created_us, it)).transpose()?,
                created_by: by.actor.as_ref().map(|actor| actor.name.clone()),
            };
            let why = Why { reason: Some(&lock.reason), digest: None };
            writing.commit(&[Edit::AddLock(lock.clone())], &by, why).await?;
            Ok(lock)
        })
        .await
    }

    /// Takes a lock away.
    ///
    /// # Errors
    /// Where there is no such lock, or the change fails.
    pub async fn remove_lock(&self, id: LockId, by: ChangeBy) -> Result<Lock, ControlError> {
        let control = self.clone();
        self.to_the_end(async move {
            let writing = control.inner.writing().await;
            let found = writing.now.locks.iter().find(|lock| lock.id == id).cloned();
            let lock = found.ok_or_else(|| not_found("lock", &id.to_string(), []))?;
            writing.commit(&[Edit::RemoveLock(lock.clone())], &by, Why::default()).await?;
            Ok(lock)
        })
        .await
    }

    fn check_target(&self, target: &LockTarget) -> Result<(), ControlError> {
        let now = self.now();
        match target {
            LockTarget::Identity(id) if !now.identities.contains_key(id) => {
                Err(not_found("person or service", &id.to_string(), []))
            }
            LockTarget::Group(name) if !now.groups.contains_key(name) => {
                Err(not_found("group", name, now.groups.keys().map(String::as_str)))
            }
            LockTarget::Resource(name) if !now.resources.contains_key(name) => {
                Err(not_found("resource", name, now.resources.keys().map(String::as_str)))
            }
            _ => Ok(()),
        }
    }
}

/// Whoever locks themself out could not take the lock away again, and the last administrator
/// nobody could let back in.
fn check_not_oneself(
    target: &LockTarget,
    by: &ChangeBy,
    now: &Snapshot,
) -> Result<(), ControlError> {
    let Some(actor) = &by.actor else { return Ok(()) };
    // The groups of now, not those of the sign-in.
    let groups = now.identities.get(&actor.id).map_or(&actor.groups, |known| &known.groups);
    if !target.meets(actor.id, groups, None) {
        return Ok(());
    }
    Err(ControlError::Conflict {
        message: "this lock would keep you yourself from taking it away again".to_owned(),
        hint: "have another administrator add it, or lock the resource".to_owned(),
    })
}

/// Of administrators one at least must stay who can come in, and only somebody who may change
/// policies keeps any of them out.
fn check_administrators(
    target: &LockTarget,
    may: bool,
    now: &Snapshot,
    now_us: i64,
) -> Result<(), ControlError> {
    let Some(met) = now.administrators_met(target).next() else { return Ok(()) };
    if !may {
        return Err(ControlError::Conflict {
            message: format!("this lock would keep `{}`, an administrator, out by now", met.name),
            hint: "ask for it again, as somebody who may apply declarations".to_owned(),
        });
    }
    if now.another_admin(now_us, |it| target.meets(it.id, &it.groups, None)) {
        return Ok(());
    }
    Err(only_administrator(&met.name))
}

impl Snapshot {
    fn administrators_met(&self, target: &LockTarget) -> impl Iterator<Item = &Identity> {
        let admins = self.identities.values().filter(|it| it.admin && !it.disabled);
        admins.filter(|it| target.meets(it.id, &it.groups, None))
    }
}

fn check_reason(reason: &str) -> Result<(), ControlError> {
    if !reason.trim().is_empty() && reason.len() <= REASON_BYTES_MAX {
        return Ok(());
    }
    Err(ControlError::Invalid {
        message: "a lock needs a reason".to_owned(),
        hint: format!("it is shown to whoever the lock meets; at most {REASON_BYTES_MAX} bytes"),
    })
}

/// The end of a lock, microseconds since 1970.
fn end(created_us: i64, duration_s: u64) -> Result<i64, ControlError> {
    let duration_us = i64::try_from(duration_s.saturating_mul(1_000_000)).unwrap_or(i64::MAX);
    if duration_s == 0 || duration_s > LOCK_S_MAX {
        return Err(ControlError::Invalid {
            message: format!("a lock cannot last {duration_s} seconds"),
            hint: format!("1 to {LOCK_S_MAX}; without an end it lasts until it is removed"),
        });
    }
    Ok(created_us.saturating_add(duration_us))
}
