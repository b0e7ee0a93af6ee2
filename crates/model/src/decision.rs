//! What is asked of a policy, and what it answers.

use crate::actor::Actor;
use crate::resource::{Depth, Resource};
use std::net::IpAddr;

/// What an actor wants to do. The names are Cedar's `Action::"…"` and stand in the reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "the table below says what each is")]
pub enum Action {
    Connect,
    SqlExecute,
    SqlOpaque,
    SshShell,
    SshExec,
    SshSftp,
    SshForward,
    SshAgent,
    SshX11,
    SshOpaque,
    EventsRead,
    SessionsRead,
    SessionsEnd,
    RecordingsRead,
    LocksRead,
    LocksManage,
    PeopleRead,
    PeopleManage,
    ServicesRead,
    ServicesManage,
    ResourcesRead,
    ConfigApply,
    HoldsRead,
    HoldsManage,
    DataErase,
}

impl Action {
    /// Every action with what it stands for, in the order of the reference.
    pub const ALL: &'static [(Action, &'static str, &'static str)] = &[
        (Self::Connect, "connect", "open a session on a resource"),
        (Self::SqlExecute, "sql.execute", "send a statement to a database"),
        (
            Self::SqlOpaque,
            "sql.opaque",
            "send messages that Loggia cannot read, such as replication",
        ),
        (Self::SshShell, "ssh.shell", "start a shell, with or without a terminal"),
        (Self::SshExec, "ssh.exec", "run a command; scp, rsync and git are commands too"),
        (Self::SshSftp, "ssh.sftp", "transfer and change files by SFTP"),
        (
            Self::SshForward,
            "ssh.forward",
            "reach a host and port through the target, or listen on it; denied to everybody unless a policy permits it",
        ),
        (Self::SshAgent, "ssh.agent", "let the target use the client's SSH agent"),
        (Self::SshX11, "ssh.x11", "let the target use the client's display"),
        (Self::SshOpaque, "ssh.opaque", "start subsystems that Loggia cannot read"),
        (Self::EventsRead, "events.read", "search and follow events"),
        (Self::SessionsRead, "sessions.read", "list sessions and read their timelines"),
        (Self::SessionsEnd, "sessions.end", "end a running session"),
        (Self::RecordingsRead, "recordings.read", "replay recordings and watch running sessions"),
        (Self::LocksRead, "locks.read", "list locks"),
        (Self::LocksManage, "locks.manage", "add and remove locks"),
        (Self::PeopleRead, "people.read", "list people"),
        (Self::PeopleManage, "people.manage", "add and disable people"),
        (Self::ServicesRead, "services.read", "list service accounts"),
        (Self::ServicesManage, "services.manage", "add and disable service accounts"),
        (Self::ResourcesRead, "resources.read", "list all resources"),
        (Self::ConfigApply, "config.apply", "plan and apply declarations"),
        (Self::HoldsRead, "holds.read", "list legal holds"),
        (Self::HoldsManage, "holds.manage", "add and remove legal holds"),
        (
            Self::DataErase,
            "data.erase",
            "erase what is disclosed and recorded of somebody, and run retention",
        ),
    ];

    /// The name in policies and in the log.
    pub fn as_str(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(action, _, _)| *action == self)
            .map_or("connect", |(_, name, _)| name)
    }

    /// Whether the action stands for messages that nobody here can read.
    pub const fn is_opaque(self) -> bool {
        matches!(self, Self::SqlOpaque | Self::SshOpaque)
    }

    /// Whether the action is about one resource; the others are about this Loggia itself.
    pub const fn on_resource(self) -> bool {
        matches!(
            self,
            Self::Connect
                | Self::SqlExecute
                | Self::SqlOpaque
                | Self::SshShell
                | Self::SshExec
                | Self::SshSftp
                | Self::SshForward
                | Self::SshAgent
                | Self::SshX11
                | Self::SshOpaque
        )
    }
}

/// A question to the policies.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// Who.
    pub actor: &'a Actor,
    /// Does what.
    pub action: Action,
    /// To what; none for actions on this Loggia itself.
    pub resource: Option<&'a Resource>,
    /// With which account on the target.
    pub account: Option<&'a str>,
    /// In which database.
    pub database: Option<&'a str>,
    /// From where.
    pub source_ip: IpAddr,
    /// When: microseconds since 1970.
    pub time_us: i64,
}

/// The answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// A permit was satisfied and no forbid.
    Allow,
    /// Anything else, an evaluation error included.
    Deny,
}

impl Effect {
    /// The word in the log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        }
    }
}

/// What the satisfied permits oblige to; of several, the strictest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Obligations {
    /// At least this depth.
    pub depth: Option<Depth>,
    /// End the session after this long without an action, in seconds.
    pub idle_s_max: Option<u64>,
    /// End the session after this long, in seconds.
    pub session_s_max: Option<u64>,
    /// End the session after this many recorded bytes.
    pub recorded_bytes_max: Option<u64>,
}

impl Obligations {
    /// Both together: the strictest of each.
    pub fn and(self, other: Self) -> Self {
        fn strictest(a: Option<u64>, b: Option<u64>) -> Option<u64> {
            match (a, b) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (one, other) => one.or(other),
            }
        }
        Self {
            depth: self.depth.max(other.depth),
            idle_s_max: strictest(self.idle_s_max, other.idle_s_max),
            session_s_max: strictest(self.session_s_max, other.session_s_max),
            recorded_bytes_max: strictest(self.recorded_bytes_max, other.recorded_bytes_max),
        }
    }
}

/// An answer with its reasons.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Allow or deny.
    pub effect: Effect,
    /// Ids of the policies that decided; empty for a deny by default.
    pub policies: Vec<String>,
    /// Hash of the policy set, lower-case hex.
    pub policy_set: String,
    /// What a satisfied permit obliges to.
    pub obligations: Obligations,
    /// Evaluation errors: policy id and message. Any makes the effect `Deny`.
    pub errors: Vec<(String, String)>,
    /// How long the answer may be used again for the same actor, action, resource, account,
    /// database and source, in microseconds: 0 where it must be asked each time, one second where
    /// the policy set reads the time.
    pub reuse_us_max: i64,
}

impl Decision {
    /// Why it denies, as people are told.
    pub fn why_denied(&self) -> String {
        if self.policies.is_empty() {
            return "no policy permits it".to_owned();
        }
        format!("forbidden by {}", self.policies.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_strictest_obligation_wins() {
        let a =
            Obligations { depth: Some(Depth::Kernel), idle_s_max: Some(60), ..Default::default() };
        let b =
            Obligations { depth: Some(Depth::Disk), session_s_max: Some(5), ..Default::default() };
        let both = a.and(b);
        assert_eq!(both.depth, Some(Depth::Disk));
        assert_eq!((both.idle_s_max, both.session_s_max), (Some(60), Some(5)));
        assert_eq!(both, b.and(a));
    }

    #[test]
    fn every_action_has_a_name_of_its_own() {
        let names: std::collections::BTreeSet<_> = Action::ALL.iter().map(|(_, n, _)| n).collect();
        assert_eq!(names.len(), Action::ALL.len());
        for (action, name, _) in Action::ALL {
            assert_eq!(action.as_str(), *name);
        }
    }
}
