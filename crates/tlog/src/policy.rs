//! Quorum policies (C2SP `tlog-policy`): which logs an auditor accepts, which witnesses they know,
//! and how many of those must have cosigned. An auditor's root of trust, kept outside the log.
//!
//! ```text
//! log <vkey> [<url>]
//! witness <name> <vkey> [<url>]
//! group <name> all|any|<k> <member>…
//! quorum <name>|none                     exactly once
//! # a comment
//! ```
//! Lines refer only to names above them, and each name is a member of at most one group, so that a
//! witness counts once.

use alloc::borrow::Cow;
use alloc::borrow::ToOwned;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use thiserror::Error;

use crate::checkpoint::{Checkpoint, CheckpointError, Cosignature, CosignedCheckpoint};
use crate::note::{KeyKind, NoteError, SignedNote, VerifierKey};

/// Longest policy that is accepted, in bytes.
pub const MAX_POLICY_BYTES: usize = 1 << 20;
/// Most logs, most witnesses and most groups that are accepted.
pub const MAX_ITEMS: usize = 256;

const NONE: &[u8] = b"none";

/// Why a policy is malformed. Lines count from 1.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("line {line}: {problem}")]
pub struct PolicyError {
    /// Which line; the one after the last where something is missing at the end.
    pub line: usize,
    /// What is wrong with it.
    #[source]
    pub problem: Problem,
}

/// What is wrong with a line of a policy.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Problem {
    /// Longer than [`MAX_POLICY_BYTES`].
    #[error("a policy is at most {MAX_POLICY_BYTES} bytes long")]
    TooLong,
    /// More than [`MAX_ITEMS`] of a kind.
    #[error("a policy has at most {MAX_ITEMS} logs, witnesses and groups each")]
    TooMany,
    /// A control character other than tab and newline.
    #[error("a control character")]
    ControlCharacter,
    /// The last line has no newline.
    #[error("the last line does not end in a newline")]
    Cut,
    /// None of the four kinds of line.
    #[error("a line begins with log, witness, group or quorum")]
    Keyword,
    /// Too few or too many words.
    #[error("expected: {expected}")]
    Words {
        /// The form of the line.
        expected: &'static str,
    },
    /// The key is malformed.
    #[error("the key is not usable")]
    Key(#[source] NoteError),
    /// A key of a type that does not do what the line asks for.
    #[error("{name} is not the key of {of}")]
    KeyKind {
        /// Name of the key.
        name: String,
        /// What it should be of.
        of: &'static str,
    },
    /// The same key stands in the policy already, perhaps under another name.
    #[error("the key of {name} stands here twice")]
    SameKey {
        /// Name of the key.
        name: String,
    },
    /// The name is taken, or is `none`.
    #[error("the name {name} is taken")]
    NameTaken {
        /// The name.
        name: String,
    },
    /// No witness and no group of that name stands above.
    #[error("no witness or group {name} stands above")]
    UnknownName {
        /// The name.
        name: String,
    },
    /// A name is a member for the second time.
    #[error("{name} is a member already")]
    MemberTwice {
        /// The name.
        name: String,
    },
    /// The threshold is not `all`, `any` or a number from 1 to the number of members.
    #[error("a group needs all, any, or a number from 1 to that of its members")]
    Threshold,
    /// A second quorum line.
    #[error("a policy has one quorum line")]
    QuorumTwice,
    /// No quorum line.
    #[error("the quorum line is missing")]
    QuorumMissing,
}

/// A log that the policy accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyLog {
    /// Its key; the name is its origin.
    pub key: VerifierKey,
    /// Where it can be read.
    pub url: Option<String>,
}

/// A witness that the policy knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyWitness {
    /// Its name in this file.
    pub name: String,
    /// Its key.
    pub key: VerifierKey,
    /// Its submission prefix.
    pub url: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Member {
    Witness(usize),
    Group(usize),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Group {
    threshold: usize,
    members: Vec<Member>,
}

/// Whether enough witnesses have cosigned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quorum {
    /// The policy asks for none: what follows rests on the log's operator alone.
    NotAsked,
    /// Enough have.
    Met,
    /// Not enough have.
    NotMet,
}

/// A parsed policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    logs: Vec<PolicyLog>,
    witnesses: Vec<PolicyWitness>,
    groups: Vec<Group>,
    /// Absent: none is asked for.
    quorum: Option<Member>,
    /// Names of witnesses and groups, as they stand in the file: opaque bytes.
    names: Vec<(Vec<u8>, Member)>,
}

impl Policy {
    /// Parses a policy file.
    ///
    /// # Errors
    /// [`PolicyError`], the first line that is wrong.
    pub fn parse(bytes: &[u8]) -> Result<Self, PolicyError> {
        if bytes.len() > MAX_POLICY_BYTES {
            return Err(PolicyError { line: 1, problem: Problem::TooLong });
        }
        let mut parser = Parser::default();
        let mut count = 0;
        let mut rest = bytes;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let (line, after) = rest.split_at(end);
            rest = after.get(1..).unwrap_or_default();
            count += 1;
            parser.line(line).map_err(|problem| PolicyError { line: count, problem })?;
        }
        let line = count + 1;
        if !rest.is_empty() {
            return Err(PolicyError { line, problem: Problem::Cut });
        }
        parser.finish().map_err(|problem| PolicyError { line, problem })
    }

    /// The logs that it accepts; may be none, where the log is known otherwise.
    pub fn logs(&self) -> &[PolicyLog] {
        &self.logs
    }

    /// The witnesses that it knows.
    pub fn witnesses(&self) -> &[PolicyWitness] {
        &self.witnesses
    }

    /// The keys of the witnesses.
    pub fn witness_keys(&self) -> Vec<VerifierKey> {
        self.witnesses.iter().map(|witness| witness.key.clone()).collect()
    }

    /// The keys of the logs.
    pub fn log_keys(&self) -> Vec<VerifierKey> {
        self.logs.iter().map(|log| log.key.clone()).collect()
    }

    /// Whether these cosignatures, all verified, are enough. One without a time does not count: it
    /// does not state that the tree is the largest that its witness knows.
    pub fn quorum(&self, cosignatures: &[Cosignature]) -> Quorum {
        let Some(quorum) = self.quorum else { return Quorum::NotAsked };
        let has_cosigned = |place: usize| {
            self.witnesses.get(place).is_some_and(|witness| {
                cosignatures.iter().any(|cosignature| {
                    cosignature.key_id == witness.key.id()
                        && cosignature.name == witness.key.name()
                        && cosignature.time_s.is_some()
                })
            })
        };
        if self.witnessed(quorum, &has_cosigned) { Quorum::Met } else { Quorum::NotMet }
    }

    /// Opens a checkpoint of one of the logs and says whether enough witnesses have cosigned it.
    ///
    /// # Errors
    /// [`CheckpointError`]: it is of no log of this policy ([`CheckpointError::OriginMismatch`]),
    /// or a signature on it is not valid.
    pub fn open(&self, note: &SignedNote) -> Result<(CosignedCheckpoint, Quorum), CheckpointError> {
        let claimed = Checkpoint::parse(note.text())?;
        let witnesses = self.witness_keys();
        let mut refused = CheckpointError::OriginMismatch {
            expected: self.logs.first().map_or("", |log| log.key.name()).to_owned(),
            found: claimed.origin().to_owned(),
        };
        for log in self.logs.iter().filter(|log| log.key.name() == claimed.origin()) {
            match Checkpoint::verify_note(note, &log.key, &witnesses) {
                Ok(opened) => {
                    let quorum = self.quorum(&opened.cosignatures);
                    return Ok((opened, quorum));
                }
                Err(error) => refused = error,
            }
        }
        Err(refused)
    }

    /// Groups refer only to what stands above them, so this ends.
    fn witnessed(&self, member: Member, has_cosigned: &dyn Fn(usize) -> bool) -> bool {
        match member {
            Member::Witness(place) => has_cosigned(place),
            Member::Group(place) => self.groups.get(place).is_some_and(|group| {
                let met = group.members.iter();
                met.filter(|member| self.witnessed(**member, has_cosigned)).count()
                    >= group.threshold
            }),
        }
    }

    fn describe(&self, member: Member, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Member::Group(place) = member else { return f.write_str(&self.name(member)) };
        let Some(group) = self.groups.get(place) else { return Ok(()) };
        let (threshold, count) = (group.threshold, group.members.len());
        if count > 1 {
            match threshold {
                1 => f.write_str("any of (")?,
                _ if threshold == count => f.write_str("all of (")?,
                _ => write!(f, "{threshold} of (")?,
            }
        }
        for (position, member) in group.members.iter().enumerate() {
            if position > 0 {
                f.write_str(", ")?;
            }
            self.describe(*member, f)?;
        }
        f.write_str(if count > 1 { ")" } else { "" })
    }

    fn name(&self, member: Member) -> String {
        let named = self.names.iter().find(|(_, named)| *named == member);
        named.map(|(name, _)| lossy(name)).unwrap_or_default()
    }
}

impl fmt::Display for Policy {
    /// The quorum in words, such as `all of (auditor, any of (w1, w2))`; not the file.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.quorum {
            None => f.write_str("none"),
            Some(member) => self.describe(member, f),
        }
    }
}

#[derive(Default)]
struct Parser {
    logs: Vec<PolicyLog>,
    witnesses: Vec<PolicyWitness>,
    groups: Vec<Group>,
    quorum: Option<Option<Member>>,
    names: Vec<(Vec<u8>, Member)>,
    grouped: Vec<Member>,
}

impl Parser {
    fn line(&mut self, line: &[u8]) -> Result<(), Problem> {
        if line.iter().any(|byte| (*byte < b' ' && *byte != b'\t') || *byte == 0x7f) {
            return Err(Problem::ControlCharacter);
        }
        let words: Vec<&[u8]> = line
            .split(|byte| matches!(byte, b' ' | b'\t'))
            .filter(|word| !word.is_empty())
            .collect();
        let Some((keyword, words)) = words.split_first() else { return Ok(()) };
        match *keyword {
            comment if comment.starts_with(b"#") => Ok(()),
            b"log" => self.log(words),
            b"witness" => self.witness(words),
            b"group" => self.group(words),
            b"quorum" => self.quorum(words),
            _ => Err(Problem::Keyword),
        }
    }

    fn log(&mut self, words: &[&[u8]]) -> Result<(), Problem> {
        let (vkey, url) = match words {
            [vkey] => (vkey, None),
            [vkey, url] => (vkey, Some(lossy(url))),
            _ => return Err(Problem::Words { expected: "log VKEY [URL]" }),
        };
        let key = self.key(vkey)?;
        if key.kind() != KeyKind::Ed25519 {
            return Err(Problem::KeyKind { name: key.name().to_owned(), of: "a log" });
        }
        within(self.logs.len())?;
        self.logs.push(PolicyLog { key, url });
        Ok(())
    }

    fn witness(&mut self, words: &[&[u8]]) -> Result<(), Problem> {
        let (name, vkey, url) = match words {
            [name, vkey] => (name, vkey, None),
            [name, vkey, url] => (name, vkey, Some(lossy(url))),
            _ => return Err(Problem::Words { expected: "witness NAME VKEY [URL]" }),
        };
        let key = self.key(vkey)?;
        if !key.kind().cosigns() {
            return Err(Problem::KeyKind { name: key.name().to_owned(), of: "a witness" });
        }
        within(self.witnesses.len())?;
        self.define(name, Member::Witness(self.witnesses.len()))?;
        self.witnesses.push(PolicyWitness { name: lossy(name), key, url });
        Ok(())
    }

    fn group(&mut self, words: &[&[u8]]) -> Result<(), Problem> {
        let [name, threshold, names @ ..] = words else {
            return Err(Problem::Words { expected: "group NAME all|any|K MEMBER..." });
        };
        let mut members = Vec::new();
        for name in names {
            let member = self.find(name)?;
            if self.grouped.contains(&member) {
                return Err(Problem::MemberTwice { name: lossy(name) });
            }
            self.grouped.push(member);
            members.push(member);
        }
        let threshold = match *threshold {
            b"all" => Some(members.len()),
            b"any" => Some(1),
            number => parse_number(number),
        };
        let fits = |threshold: &usize| (1..=members.len()).contains(threshold);
        let threshold = threshold.filter(fits).ok_or(Problem::Threshold)?;
        within(self.groups.len())?;
        self.define(name, Member::Group(self.groups.len()))?;
        self.groups.push(Group { threshold, members });
        Ok(())
    }

    fn quorum(&mut self, words: &[&[u8]]) -> Result<(), Problem> {
        let [name] = words else { return Err(Problem::Words { expected: "quorum NAME|none" }) };
        if self.quorum.is_some() {
            return Err(Problem::QuorumTwice);
        }
        self.quorum = Some(if *name == NONE { None } else { Some(self.find(name)?) });
        Ok(())
    }

    fn key(&self, vkey: &[u8]) -> Result<VerifierKey, Problem> {
        let vkey = str::from_utf8(vkey).map_err(|_| Problem::Key(NoteError::NotUtf8))?;
        let key = VerifierKey::parse(vkey).map_err(Problem::Key)?;
        let logs = self.logs.iter().map(|log| &log.key);
        let mut known = logs.chain(self.witnesses.iter().map(|witness| &witness.key));
        if known.any(|other| other.same_key(&key)) {
            return Err(Problem::SameKey { name: key.name().to_owned() });
        }
        Ok(key)
    }

    fn define(&mut self, name: &[u8], member: Member) -> Result<(), Problem> {
        if name == NONE || self.names.iter().any(|(known, _)| known == name) {
            return Err(Problem::NameTaken { name: lossy(name) });
        }
        self.names.push((name.to_vec(), member));
        Ok(())
    }

    fn find(&self, name: &[u8]) -> Result<Member, Problem> {
        let found = self.names.iter().find(|(known, _)| known == name);
        found.map(|(_, member)| *member).ok_or_else(|| Problem::UnknownName { name: lossy(name) })
    }

    fn finish(self) -> Result<Policy, Problem> {
        let Self { logs, witnesses, groups, quorum, names, .. } = self;
        let quorum = quorum.ok_or(Problem::QuorumMissing)?;
        Ok(Policy { logs, witnesses, groups, quorum, names })
    }
}

fn within(count: usize) -> Result<(), Problem> {
    if count < MAX_ITEMS { Ok(()) } else { Err(Problem::TooMany) }
}

/// A decimal number without sign; leading zeros are no other number here.
fn parse_number(word: &[u8]) -> Option<usize> {
    let text = str::from_utf8(word).ok()?;
    let number: usize = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

fn lossy(bytes: &[u8]) -> String {
    match String::from_utf8_lossy(bytes) {
        Cow::Borrowed(text) => text.to_owned(),
        Cow::Owned(text) => text,
    }
}

#[cfg(test)]
mod tests;
