//! An entry of the log, read and made ready to be searched.

use crate::query::{fold_into, folded};
use bytes::Bytes;
use loggia_model::catalogue::Effect;
use loggia_model::event::{Event, EventError};
use loggia_model::id::{ActorId, EventId, SessionId};
use loggia_model::port::Committed;
use loggia_model::seal::Disclosure;
use loggia_model::value::Object;
use loggia_model::{Kind, Value};
use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

/// The code under which an entry appears that is not an event of a version we know.
pub(crate) const UNREADABLE: &str = "unreadable";
/// The sections of an event in which circumstances stand that a session states once.
pub(crate) const CIRCUMSTANCES: [&str; 5] = ["actor", "decision", "intent", "resource", "source"];
/// The words of `outcome.status`.
const STATUSES: [&str; 6] = ["ok", "error", "denied", "partial", "cancelled", "unknown"];
/// The kinds of action for which a result may come.
pub(crate) const KINDS_WITH_RESULT: [Kind; 11] = [
    Kind::SqlStatement,
    Kind::SqlFetch,
    Kind::SqlCall,
    Kind::SqlPrepare,
    Kind::SqlOpaque,
    Kind::SqlCancel,
    Kind::SshShell,
    Kind::SshExec,
    Kind::SshSubsystem,
    Kind::SshForward,
    Kind::FileOperation,
];
/// Where an event may say how many bytes it is about; the largest counts.
const BYTES: [&str; 8] = [
    "/outcome/bytes",
    "/outcome/copied_bytes",
    "/outcome/bytes_in",
    "/outcome/bytes_out",
    "/outcome/bytes_read",
    "/outcome/bytes_written",
    "/detail/bytes",
    "/detail/bytes_out",
];

/// An entry with what its disclosure tells.
pub(crate) struct Opened {
    pub(crate) event: Event,
    /// Sealed fields that are open: pointer and value.
    pub(crate) values: Vec<(String, Value)>,
    /// Pointers of the sealed fields that are blobs.
    pub(crate) large: Vec<String>,
    /// Why nothing sealed is shown although something is disclosed.
    pub(crate) damage: Option<String>,
}

impl Opened {
    pub(crate) fn read(entry: &Committed) -> Result<Self, EventError> {
        let event = Event::parse(&entry.leaf)?;
        let mut opened = Self { event, values: Vec::new(), large: Vec::new(), damage: None };
        if entry.disclosure.is_empty() {
            return Ok(opened);
        }
        let nothing = Object::new();
        let sealed = opened.event.sealed().unwrap_or(&nothing);
        // A value is shown only where it is what the log committed to.
        match Disclosure::open(&entry.disclosure, sealed) {
            Ok(open) => {
                opened.values = open.values;
                opened.large = open.blobs.into_iter().map(|(pointer, _)| pointer).collect();
            }
            Err(error) => opened.damage = Some(error.to_string()),
        }
        Ok(opened)
    }

    /// The value at a pointer, sealed or not.
    pub(crate) fn at(&self, pointer: &str) -> Option<&Value> {
        let open = self.values.iter().find(|(known, _)| known == pointer);
        open.map(|(_, value)| value).or_else(|| self.event.whole.at(pointer))
    }

    fn str_at(&self, pointer: &str) -> Option<&str> {
        self.at(pointer).and_then(Value::as_str)
    }

    fn count_at(&self, pointer: &str) -> Option<u64> {
        self.at(pointer).and_then(Value::as_int).and_then(|number| u64::try_from(number).ok())
    }

    /// A section, such as `detail`, with its open sealed members in their places.
    pub(crate) fn section(&self, name: &str) -> Object {
        let mut members =
            self.event.whole.get(name).and_then(Value::as_object).cloned().unwrap_or_default();
        for (pointer, value) in &self.values {
            let steps = pointer.strip_prefix('/').and_then(|rest| rest.split_once('/'));
            if let Some((_, key)) = steps.filter(|(section, _)| *section == name) {
                members.insert(Cow::Owned(key.to_owned()), value.clone());
            }
        }
        members
    }

    /// Appends the strings of a section and of its open sealed members, folded. Called for every
    /// entry that comes in, which is why it does not go by way of [`Self::section`] and its copies.
    fn fold_section(&self, name: &str, text: &mut String) {
        let values = self.values.iter().filter(|(pointer, _)| {
            pointer
                .strip_prefix('/')
                .and_then(|rest| rest.strip_prefix(name))
                .is_some_and(|rest| rest.starts_with('/'))
        });
        values.for_each(|(_, value)| fold_value(value, text));
        if let Some(members) = self.event.whole.get(name).and_then(Value::as_object) {
            fold_members(members, text);
        }
    }

    /// Sealed fields of which nothing is left.
    pub(crate) fn erased(&self) -> Vec<String> {
        if self.damage.is_some() {
            return Vec::new();
        }
        let sealed = self.event.sealed().into_iter().flatten().map(|(pointer, _)| pointer);
        let gone = sealed.filter(|pointer| {
            let open = self.values.iter().any(|(known, _)| *known == **pointer);
            !open && !self.large.iter().any(|known| *known == **pointer)
        });
        gone.map(|pointer| pointer.to_string()).collect()
    }
}

/// What a search compares, as far as an event or its session's context says it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Facts {
    pub(crate) actor_name: Option<Box<str>>,
    pub(crate) resource: Option<Box<str>>,
    pub(crate) resource_id: Option<Box<str>>,
    pub(crate) account: Option<Box<str>>,
    pub(crate) ip: Option<IpAddr>,
    pub(crate) allowed: Option<bool>,
}

impl Facts {
    fn of(opened: &Opened) -> Self {
        let text = |pointer: &str| opened.str_at(pointer).map(Box::from);
        Self {
            actor_name: text("/actor/name"),
            resource: text("/resource/name"),
            resource_id: text("/resource/id"),
            account: text("/resource/account"),
            ip: opened.str_at("/source/ip").and_then(|ip| ip.parse().ok()),
            allowed: opened.str_at("/decision/effect").map(|effect| effect == "allow"),
        }
    }

    /// These facts, and the base's where these say nothing.
    fn over(self, base: &Self) -> Self {
        Self {
            actor_name: self.actor_name.or_else(|| base.actor_name.clone()),
            resource: self.resource.or_else(|| base.resource.clone()),
            resource_id: self.resource_id.or_else(|| base.resource_id.clone()),
            account: self.account.or_else(|| base.account.clone()),
            ip: self.ip.or(base.ip),
            allowed: self.allowed.or(base.allowed),
        }
    }
}

/// The circumstances of a session from one of its events on.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) facts: Facts,
    /// The sections of [`CIRCUMSTANCES`], in that order.
    pub(crate) sections: [Object; 5],
    /// All their strings, folded.
    pub(crate) text: Box<str>,
}

impl Context {
    /// What a `session.start` or `session.context` says, over what was so before.
    pub(crate) fn of(opened: &Opened, base: Option<&Self>) -> Self {
        let mut text = String::new();
        let sections = std::array::from_fn(|place| {
            let name = CIRCUMSTANCES.get(place).copied().unwrap_or_default();
            let mut members =
                base.and_then(|base| base.sections.get(place)).cloned().unwrap_or_default();
            members.extend(opened.section(name));
            fold_members(&members, &mut text);
            members
        });
        let facts = Facts::of(opened);
        let facts = match base {
            Some(base) => facts.over(&base.facts),
            None => facts,
        };
        Self { facts, sections, text: text.into_boxed_str() }
    }

    /// One of the sections.
    pub(crate) fn section(&self, name: &str) -> Option<&Object> {
        let place = CIRCUMSTANCES.iter().position(|known| *known == name)?;
        self.sections.get(place)
    }
}

/// The text of a prepared statement.
#[derive(Debug)]
pub(crate) struct Prepared {
    /// As it was sent; absent where it was erased or is too large.
    pub(crate) value: Option<Value>,
    /// Folded.
    pub(crate) text: Box<str>,
}

impl Prepared {
    pub(crate) fn of(opened: &Opened) -> Self {
        let value = opened.at("/detail/text").cloned();
        let mut text = String::new();
        value.iter().for_each(|value| fold_value(value, &mut text));
        Self { value, text: text.into_boxed_str() }
    }
}

/// How an action went.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) status: Option<&'static str>,
    pub(crate) rows: Option<u64>,
    pub(crate) bytes: Option<u64>,
    pub(crate) duration_us: Option<u64>,
    pub(crate) sqlstate: Option<Box<str>>,
    /// Exit status of a program.
    pub(crate) exit: Option<u64>,
}

impl Outcome {
    fn of(opened: &Opened) -> Self {
        let status = opened.str_at("/outcome/status");
        Self {
            status: status.and_then(|word| STATUSES.into_iter().find(|known| *known == word)),
            rows: opened.count_at("/outcome/rows"),
            bytes: BYTES.iter().filter_map(|pointer| opened.count_at(pointer)).max(),
            duration_us: opened.count_at("/outcome/duration_us"),
            sqlstate: opened.str_at("/outcome/sqlstate").map(Box::from),
            exit: opened.count_at("/outcome/exit_status"),
        }
    }
}

/// The result of an action, as the action's record holds it.
#[derive(Debug)]
pub(crate) struct ResultPart {
    pub(crate) id: EventId,
    pub(crate) time_us: i64,
    pub(crate) outcome: Outcome,
    pub(crate) text: Arc<str>,
    pub(crate) entry: Committed,
}

/// An entry made ready to be searched.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) index: u64,
    pub(crate) time_us: i64,
    /// Absent where the entry cannot be read.
    pub(crate) id: Option<EventId>,
    pub(crate) kind: Option<Kind>,
    pub(crate) code: Cow<'static, str>,
    pub(crate) actor: Option<ActorId>,
    pub(crate) session: Option<SessionId>,
    /// The event in which the circumstances stand.
    pub(crate) context_id: Option<EventId>,
    /// Of a result: its action.
    pub(crate) of: Option<EventId>,
    /// Shown with another event, by itself only where it is asked for: a result with its action,
    /// that a recording grew with its session.
    pub(crate) beside: bool,
    /// The event in which the text of the statement stands.
    pub(crate) prepared_id: Option<EventId>,
    /// One bit for each effect.
    pub(crate) effects: u16,
    pub(crate) facts: Facts,
    pub(crate) outcome: Outcome,
    /// All strings, folded, a line each.
    pub(crate) text: Arc<str>,
    pub(crate) context: Option<Arc<Context>>,
    pub(crate) prepared: Option<Arc<Prepared>>,
    pub(crate) result: Option<Arc<ResultPart>>,
    pub(crate) entry: Committed,
}

impl Record {
    /// Reads an entry; nothing is joined yet. What cannot be read becomes a record that says so.
    pub(crate) fn read(entry: &Committed) -> (Self, Option<Opened>) {
        // Copied, so that a record holds its own bytes alive and not those of its whole bundle.
        let entry = Committed {
            index: entry.index,
            leaf_hash: entry.leaf_hash,
            leaf: Bytes::copy_from_slice(&entry.leaf),
            disclosure: Bytes::copy_from_slice(&entry.disclosure),
        };
        match Opened::read(&entry) {
            Ok(opened) => (Self::of(&opened, entry), Some(opened)),
            Err(_) => (Self::unreadable(entry), None),
        }
    }

    fn of(opened: &Opened, entry: Committed) -> Self {
        let event = &opened.event;
        let kind = event.known_kind();
        let reference = |pointer: &str| opened.str_at(pointer).and_then(|id| id.parse().ok());
        let mut text = String::with_capacity(128);
        for name in CIRCUMSTANCES.into_iter().chain(["detail", "outcome"]) {
            opened.fold_section(name, &mut text);
        }
        Self {
            index: entry.index,
            time_us: event.time_us,
            id: Some(event.id),
            kind,
            code: match kind {
                Some(kind) => Cow::Borrowed(kind.code()),
                None => Cow::Owned(event.kind.clone()),
            },
            actor: event.actor,
            session: event.session.map(|place| place.id),
            context_id: event.session.and_then(|place| place.context),
            of: reference("/detail/of").filter(|_| kind.is_some_and(Kind::is_result)),
            beside: match kind {
                Some(Kind::RecordingGrown) => opened.at("/detail/recovered").is_none(),
                other => other.is_some_and(Kind::is_result),
            },
            prepared_id: reference("/detail/prepared"),
            effects: effect_bits(&event.whole),
            facts: Facts::of(opened),
            outcome: Outcome::of(opened),
            text: text.into(),
            context: None,
            prepared: None,
            result: None,
            entry,
        }
    }

    fn unreadable(entry: Committed) -> Self {
        Self {
            index: entry.index,
            time_us: stamped_us(&entry.leaf).unwrap_or(0),
            id: None,
            kind: None,
            code: Cow::Borrowed(UNREADABLE),
            actor: None,
            session: None,
            context_id: None,
            of: None,
            beside: false,
            prepared_id: None,
            effects: 0,
            facts: Facts::default(),
            outcome: Outcome::default(),
            text: folded(&String::from_utf8_lossy(&entry.leaf)).into(),
            context: None,
            prepared: None,
            result: None,
            entry,
        }
    }

    /// Whether a result may come for it.
    pub(crate) fn is_action(&self) -> bool {
        self.kind.is_some_and(|kind| KINDS_WITH_RESULT.contains(&kind))
    }

    /// Whether a result must come for it, unless it was lost.
    pub(crate) fn awaits_result(&self) -> bool {
        let may_have_none = [Kind::SqlPrepare, Kind::SqlOpaque, Kind::SqlCancel];
        self.is_action() && !self.kind.is_some_and(|kind| may_have_none.contains(&kind))
    }

    /// How it went, with its result where that is known.
    pub(crate) fn outcome(&self) -> &Outcome {
        self.result.as_ref().map_or(&self.outcome, |result| &result.outcome)
    }

    /// This record as the result of its action.
    pub(crate) fn as_result(&self) -> Option<Arc<ResultPart>> {
        Some(Arc::new(ResultPart {
            id: self.id?,
            time_us: self.time_us,
            outcome: self.outcome.clone(),
            text: Arc::clone(&self.text),
            entry: self.entry.clone(),
        }))
    }

    /// Bytes that the record of an entry takes in memory at most, without what it shares with
    /// others. Its strings stand in leaf and disclosure, seldom shorter than they are folded.
    pub(crate) fn bytes_max(entry: &Committed) -> usize {
        let strings = entry.leaf.len() + entry.disclosure.len();
        // Read from the log and folded; of a result its part in its action; the allocator's share.
        2 * strings + size_of::<Self>() + size_of::<ResultPart>() + 128
    }
}

/// The bit of an effect.
pub(crate) fn effect_bit(effect: Effect) -> u16 {
    1 << (effect as u16)
}

fn effect_bits(whole: &Value) -> u16 {
    let Some(Value::Array(words)) = whole.get("effects") else { return 0 };
    let known = words.iter().filter_map(|word| {
        Effect::ALL.into_iter().find(|effect| Some(effect.as_str()) == word.as_str())
    });
    known.fold(0, |bits, effect| bits | effect_bit(effect))
}

/// The time that stands at the end of a leaf, without reading the rest.
pub(crate) fn stamped_us(leaf: &[u8]) -> Option<i64> {
    const KEY: &[u8] = b"\"time_us\":";
    // `"time_us":` with at most 17 digits, and `,"v":1}` or a later version's.
    let tail = leaf.get(leaf.len().saturating_sub(48)..)?;
    let digits = tail.get(memchr::memmem::rfind(tail, KEY)? + KEY.len()..)?;
    let end = digits.iter().position(|byte| !byte.is_ascii_digit() && *byte != b'-')?;
    std::str::from_utf8(digits.get(..end)?).ok()?.parse().ok()
}

fn fold_members(members: &Object, text: &mut String) {
    members.values().for_each(|value| fold_value(value, text));
}

/// Appends every string of a value, folded, a line each, so that no phrase reaches from one into
/// the next.
fn fold_value(value: &Value, text: &mut String) {
    match value {
        Value::Str(string) => {
            fold_into(string, text);
            text.push('\n');
        }
        Value::Array(items) => items.iter().for_each(|item| fold_value(item, text)),
        Value::Object(object) => fold_members(object, text),
        Value::Int(_) | Value::Bool(_) => {}
    }
}
