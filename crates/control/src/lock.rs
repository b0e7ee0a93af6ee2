//! Locks: who is kept out, from what, until when and why.

use crate::snapshot::{Identity, Snapshot};
use loggia_model::Actor;
use loggia_model::id::{ActorId, LockId};
use loggia_model::resource::Resource;

/// Whom or what a lock meets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LockTarget {
    /// One person or service account.
    Identity(ActorId),
    /// Everybody in this group.
    Group(String),
    /// Everybody, at this resource.
    Resource(String),
    /// Everybody, at every resource. It does not keep anybody from the API, so that it can be
    /// taken away again.
    All,
}

impl LockTarget {
    /// The two columns: type, and id or name.
    pub(crate) fn stored(&self) -> (&'static str, String) {
        match self {
            Self::Identity(id @ ActorId::Person(_)) => ("person", id.to_string()),
            Self::Identity(id) => ("service", id.to_string()),
            Self::Group(name) => ("group", name.clone()),
            Self::Resource(name) => ("resource", name.clone()),
            Self::All => ("all", String::new()),
        }
    }

    /// From the two columns.
    pub(crate) fn from_stored(kind: &str, target: &str) -> Option<Self> {
        match kind {
            "person" | "service" => target.parse().ok().map(Self::Identity),
            "group" => Some(Self::Group(target.to_owned())),
            "resource" => Some(Self::Resource(target.to_owned())),
            "all" => Some(Self::All),
            _ => None,
        }
    }
}

impl LockTarget {
    /// Whether this actor is meant, at this resource; without a resource, wherever they are.
    /// `groups` are those the actor belongs to now.
    pub fn meets(&self, actor: ActorId, groups: &[String], resource: Option<&str>) -> bool {
        match self {
            Self::Identity(id) => *id == actor,
            Self::Group(group) => groups.contains(group),
            Self::Resource(name) => resource == Some(name),
            Self::All => resource.is_some(),
        }
    }
}

/// A lock: whoever it meets gets no new session, and running ones are ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lock {
    /// Its id.
    pub id: LockId,
    /// Whom or what it meets.
    pub target: LockTarget,
    /// Why; shown to whoever it meets.
    pub reason: String,
    /// When it was added, microseconds since 1970.
    pub created_us: i64,
    /// When it ends, microseconds since 1970; absent: when it is removed.
    pub expires_us: Option<i64>,
    /// Name of who added it.
    pub created_by: Option<String>,
}

impl Lock {
    /// Whether it is in force at this time (microseconds since 1970).
    pub fn in_force(&self, now_us: i64) -> bool {
        self.expires_us.is_none_or(|expires_us| now_us < expires_us)
    }

    /// Whether it meets this actor at this resource; without a resource, whether it meets the
    /// actor wherever they are. `groups` are those the actor belongs to now.
    pub fn meets(&self, actor: ActorId, groups: &[String], resource: Option<&str>) -> bool {
        self.target.meets(actor, groups, resource)
    }
}

impl Snapshot {
    /// The lock that keeps the actor from the resource: of several, the one added first.
    pub(crate) fn lock_for(
        &self,
        actor: &Actor,
        resource: Option<&Resource>,
        now_us: i64,
    ) -> Option<&Lock> {
        // The groups of now, not those of the sign-in.
        let known = self.identities.get(&actor.id);
        let groups = known.map_or(&actor.groups, |identity: &Identity| &identity.groups);
        let resource = resource.map(|resource| resource.name.as_str());
        let mut in_force = self.locks.iter().filter(|lock| lock.in_force(now_us));
        in_force.find(|lock| lock.meets(actor.id, groups, resource))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use loggia_model::id::{PersonId, ServiceId};

    fn lock(target: LockTarget, expires_us: Option<i64>) -> Lock {
        let id = LockId::from_parts(1, [1; 10]);
        Lock { id, target, reason: "r".into(), created_us: 0, expires_us, created_by: None }
    }

    #[test]
    fn a_lock_meets_its_target_and_nobody_else() {
        let alice = ActorId::Person(PersonId::from_parts(1, [1; 10]));
        let bot = ActorId::Service(ServiceId::from_parts(1, [1; 10]));
        let staff = ["staff".to_owned()];
        let meets = |target: LockTarget, actor, groups: &[String], resource| {
            lock(target, None).meets(actor, groups, resource)
        };
        assert!(meets(LockTarget::Identity(alice), alice, &[], None));
        assert!(!meets(LockTarget::Identity(alice), bot, &staff, Some("shop")));
        assert!(meets(LockTarget::Group("staff".into()), bot, &staff, None));
        assert!(!meets(LockTarget::Group("board".into()), bot, &staff, None));
        assert!(meets(LockTarget::Resource("shop".into()), alice, &[], Some("shop")));
        assert!(!meets(LockTarget::Resource("shop".into()), alice, &[], Some("mail")));
        assert!(!meets(LockTarget::Resource("shop".into()), alice, &[], None));
        assert!(meets(LockTarget::All, bot, &[], Some("shop")));
        assert!(!meets(LockTarget::All, bot, &[], None), "the API stays reachable");
    }

    #[test]
    fn a_lock_ends_at_its_time() {
        assert!(lock(LockTarget::All, None).in_force(i64::MAX));
        assert!(lock(LockTarget::All, Some(10)).in_force(9));
        assert!(!lock(LockTarget::All, Some(10)).in_force(10));
    }

    #[test]
    fn targets_are_stored_and_read_back() {
        for target in [
            LockTarget::Identity(ActorId::Person(PersonId::from_parts(1, [1; 10]))),
            LockTarget::Identity(ActorId::Service(ServiceId::from_parts(1, [1; 10]))),
            LockTarget::Group("staff".into()),
            LockTarget::Resource("shop".into()),
            LockTarget::All,
        ] {
            let (kind, text) = target.stored();
            assert_eq!(LockTarget::from_stored(kind, &text), Some(target));
        }
        assert_eq!(LockTarget::from_stored("planet", "x"), None);
    }
}
