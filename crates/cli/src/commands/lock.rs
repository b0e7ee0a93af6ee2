//! `lock add`, `ls`, `rm`.

use super::Context;
use crate::fail::{Done, Fail};
use crate::out::say;
use crate::text;
use clap::{Args, Subcommand};
use loggia_api::control::{AddLock, LockTarget, Page};
use std::str::FromStr;

/// Locks.
#[derive(Debug, Subcommand)]
pub(crate) enum Lock {
    /// Lock now: sessions that it meets end within a second, new ones are refused
    Add(Add),
    /// List the locks in force
    Ls(Ls),
    /// Take a lock away
    Rm(Rm),
}

/// Adds a lock.
#[derive(Debug, Args)]
#[command(before_help = "Examples:
  loggia lock add person:mallory --reason 'laptop lost'
  loggia lock add resource:shop --for 2h --reason 'migration'
  loggia lock add all --reason 'incident 4711'")]
pub(crate) struct Add {
    /// person:NAME, service:NAME, group:NAME, resource:NAME or all
    target: Target,
    /// Why; shown to whoever it meets
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// How long, such as 90m or 2h [default: until it is removed]
    #[arg(long = "for", value_name = "DURATION", value_parser = humantime::parse_duration)]
    duration: Option<std::time::Duration>,
}

/// Lists locks.
#[derive(Debug, Args)]
#[command(before_help = "Example:
  loggia lock ls")]
pub(crate) struct Ls {}

/// Removes a lock.
#[derive(Debug, Args)]
#[command(before_help = "Example:
  loggia lock rm lk_01h455vb4pex5vsknk084sn02q")]
pub(crate) struct Rm {
    /// Id of the lock, as `loggia lock ls` shows it
    id: String,
}

#[derive(Debug, Clone)]
struct Target(LockTarget);

impl FromStr for Target {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let named = |make: fn(String) -> LockTarget, name: &str| Ok(Self(make(name.to_owned())));
        match text.split_once(':') {
            None if text == "all" => Ok(Self(LockTarget::All)),
            Some(("person", name)) if !name.is_empty() => named(LockTarget::Person, name),
            Some(("service", name)) if !name.is_empty() => named(LockTarget::Service, name),
            Some(("group", name)) if !name.is_empty() => named(LockTarget::Group, name),
            Some(("resource", name)) if !name.is_empty() => named(LockTarget::Resource, name),
            _ => {
                Err("write person:NAME, service:NAME, group:NAME, resource:NAME or all".to_owned())
            }
        }
    }
}

fn shown(target: &LockTarget) -> String {
    match target {
        LockTarget::Person(name) => format!("person:{name}"),
        LockTarget::Service(name) => format!("service:{name}"),
        LockTarget::Group(name) => format!("group:{name}"),
        LockTarget::Resource(name) => format!("resource:{name}"),
        LockTarget::All => "all".to_owned(),
    }
}

impl Lock {
    pub(super) async fn run(self, context: &Context) -> Done {
        let client = context.client()?;
        match self {
            Self::Add(args) => {
                if args.duration.is_some_and(|duration| duration.as_secs() == 0) {
                    return Err(Fail::usage("a lock lasts at least a second"));
                }
                let add = AddLock {
                    target: args.target.0,
                    reason: args.reason,
                    duration_s: args.duration.map(|duration| duration.as_secs()),
                };
                let lock = client.add_lock(&add).await?;
                context.out.either(&lock, || lock.id.clone())?;
                say(&format!("{} is locked", text::line(&shown(&lock.target))));
                Ok(())
            }
            Self::Ls(Ls {}) => {
                let mut all = Vec::new();
                let mut page = Page::default();
                loop {
                    let mut locks = client.locks(&page).await?;
                    all.append(&mut locks.locks);
                    page.after = locks.next;
                    if page.after.is_none() {
                        break;
                    }
                }
                context.out.table(
                    &all,
                    &["id", "target", "since", "until", "by", "reason"],
                    |lock| {
                        vec![
                            lock.id.clone(),
                            shown(&lock.target),
                            text::moment_of(lock.created_us),
                            lock.expires_us.map(text::moment_of).unwrap_or_default(),
                            lock.created_by.clone().unwrap_or_default(),
                            lock.reason.clone(),
                        ]
                    },
                    "no lock is in force",
                )
            }
            Self::Rm(args) => {
                let lock = client.remove_lock(&args.id).await?;
                if context.out.json {
                    return context.out.object(&lock);
                }
                say(&format!("{} is no longer locked", text::line(&shown(&lock.target))));
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_read_as_they_are_shown() {
        for text in ["person:alice", "service:ci", "group:dba", "resource:shop", "all"] {
            assert_eq!(shown(&text.parse::<Target>().unwrap().0), text);
        }
        for wrong in ["alice", "person:", "host:x", "all:x", ""] {
            assert!(wrong.parse::<Target>().is_err(), "{wrong}");
        }
    }
}
