//! Events: how one is put together, how it becomes the bytes of a leaf, how it is read back.
//!
//! The bytes are one canonical JSON object (see [`crate::value`]). Its top-level keys, in order:
//! `actor decision detail effects id intent kind node outcome resource sealed session source
//! time_us v`. Everything but `node`, `session` and `time_us` is known to whoever reports the
//! action and is written out by [`EventDraft::encode`]; those three are stamped by the sequencer,
//! in log order, by [`Draft::stamp`], which only copies bytes.

use crate::catalogue::{Effect, Kind};
use crate::id::{ActorId, EventId, NodeId, SessionId};
use crate::seal::{self, Blob, Digest32, Seed};
use crate::value::{Object, Value, ValueError, write_int};
use bytes::Bytes;
use std::borrow::Cow;

/// A leaf is at most this long, in bytes (the entry bundle's length prefix has 16 bits).
pub const LEAF_BYTES_MAX: usize = 65_535;
/// A sealed value longer than this, in canonical bytes, becomes a blob.
pub const VALUE_BYTES_MAX: usize = 65_535;
/// All blobs of one action together are at most this long, in bytes.
pub const ACTION_BYTES_MAX: usize = 16 << 20;
/// What leaf and disclosure of a usual event take beside its sealed values, in bytes.
const ENCODED_BYTES_GUESS: usize = 640;
/// Room in a leaf for what the sequencer stamps, in bytes.
const STAMP_BYTES_MAX: usize = 512;

/// SHA-256 over `0x00 ‖ leaf` (RFC 6962 section 2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LeafHash(pub Digest32);

impl LeafHash {
    /// The hash of a leaf's bytes.
    pub fn of(leaf: &[u8]) -> Self {
        use sha2::Digest;
        let mut hash = sha2::Sha256::new();
        hash.update([0]);
        hash.update(leaf);
        Self(hash.finalize().into())
    }

    /// Lower-case hex.
    pub fn to_hex(self) -> String {
        hex::encode(self.0)
    }
}

/// Why a report cannot become an event. The action it reports must then not happen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DraftError {
    /// The catalogue has no such field for this kind: a mistake in the program.
    #[error("{kind} has no field {pointer}")]
    UnknownField {
        /// Code of the kind.
        kind: &'static str,
        /// The field that was set.
        pointer: &'static str,
    },
    /// The values of the action are larger than what is recorded.
    #[error("the action has {bytes} bytes of text or values; at most {max} are recorded")]
    TooLarge {
        /// Size in bytes.
        bytes: usize,
        /// The limit in bytes.
        max: usize,
    },
}

/// Where an event stands in a session's chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Opens the chain; room for its end is reserved.
    Start,
    /// In the middle.
    Member,
    /// Closes the chain; uses the reserved room.
    End,
}

/// The session an event belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionSlot {
    /// The session.
    pub id: SessionId,
    /// Id of the `session.start` or `session.context` in which the circumstances stand; a
    /// `session.start` has none.
    pub context: Option<EventId>,
    /// The place in the chain.
    pub role: Role,
}

/// An event being put together.
#[derive(Clone)]
pub struct EventDraft {
    kind: Kind,
    id: EventId,
    seed: Seed,
    actor: Option<ActorId>,
    effects: Cow<'static, [Effect]>,
    session: Option<SessionSlot>,
    fields: Vec<Field>,
    unknown_field: Option<&'static str>,
}

impl EventDraft {
    /// Begins an event; the seed must be used for this event alone.
    pub fn new(kind: Kind, id: EventId, seed: Seed) -> Self {
        Self {
            kind,
            id,
            seed,
            actor: None,
            effects: Cow::Borrowed(kind.spec().effects),
            session: None,
            fields: Vec::with_capacity(8),
            unknown_field: None,
        }
    }

    /// The id of the event.
    pub fn id(&self) -> EventId {
        self.id
    }

    /// The kind of the event.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Who acts. Absent only before identification.
    pub fn actor(mut self, actor: ActorId) -> Self {
        self.actor = Some(actor);
        self
    }

    /// Puts the event into a session.
    pub fn session(mut self, slot: SessionSlot) -> Self {
        self.session = Some(slot);
        self
    }

    /// Other effects than the kind's usual ones.
    pub fn effects(mut self, mut effects: Vec<Effect>) -> Self {
        effects.sort_unstable();
        effects.dedup();
        self.effects = Cow::Owned(effects);
        self
    }

    /// Sets the field at `pointer`; the catalogue says whether it is sealed. Setting a field again
    /// replaces it. A field that the catalogue does not list makes [`Self::encode`] fail.
    pub fn set(mut self, pointer: &'static str, value: impl Into<Value>) -> Self {
        let Some(field) = self.kind.field(pointer) else {
            self.unknown_field = Some(pointer);
            return self;
        };
        let value = value.into();
        match self.fields.iter_mut().find(|(known, _, _)| *known == pointer) {
            Some((_, _, set)) => *set = value,
            None => self.fields.push((pointer, field.sealed, value)),
        }
        self
    }

    /// Sets the field where there is a value.
    pub fn set_some(self, pointer: &'static str, value: Option<impl Into<Value>>) -> Self {
        match value {
            Some(value) => self.set(pointer, value),
            None => self,
        }
    }

    /// Writes out all that the sequencer does not stamp.
    pub fn encode(mut self) -> Result<Draft, DraftError> {
        if let Some(pointer) = self.unknown_field {
            return Err(DraftError::UnknownField { kind: self.kind.code(), pointer });
        }
        // Ascending pointers make every object below canonical.
        self.fields.sort_unstable_by_key(|(pointer, _, _)| *pointer);
        let sealing = self.seal()?;

        // One piece of memory for everything: this is done twice for every statement.
        let mut bytes = Vec::with_capacity(ENCODED_BYTES_GUESS + sealing.inline_bytes());
        let mut fields = Fields(&self.fields);
        self.write_head(&mut fields, &mut bytes);
        let middle_at = bytes.len();
        self.write_middle(&mut fields, &sealing, &mut bytes);
        let tail_at = bytes.len();
        write_section("source", &mut fields, &mut bytes);
        let leaf_end = bytes.len();
        if leaf_end + STAMP_BYTES_MAX > LEAF_BYTES_MAX {
            let bytes = leaf_end + STAMP_BYTES_MAX;
            return Err(DraftError::TooLarge { bytes, max: LEAF_BYTES_MAX });
        }
        if !sealing.commitments.is_empty() {
            seal::write_disclosure(&self.seed, &sealing.inline, &sealing.apart, &mut bytes);
        }
        let mut leaf = Bytes::from(bytes);
        let disclosure = leaf.split_off(leaf_end);
        Ok(Draft {
            id: self.id,
            kind: self.kind,
            actor: self.actor,
            session: self.session,
            disclosure,
            blobs: sealing.blobs,
            leaf,
            middle_at,
            tail_at,
        })
    }

    /// What stands before `node`.
    fn write_head(&self, fields: &mut Fields<'_>, out: &mut Vec<u8>) {
        out.push(b'{');
        self.write_actor(fields.section("actor"), out);
        write_section("decision", fields, out);
        write_section("detail", fields, out);
        self.write_effects(out);
        out.extend_from_slice(b"\"id\":\"");
        self.id.write(out);
        out.extend_from_slice(b"\",");
        write_section("intent", fields, out);
        out.extend_from_slice(b"\"kind\":");
        write_plain(self.kind.code(), out);
    }

    /// What stands between `node` and `session`.
    fn write_middle(&self, fields: &mut Fields<'_>, sealing: &Sealing, out: &mut Vec<u8>) {
        write_section("outcome", fields, out);
        write_section("resource", fields, out);
        if sealing.commitments.is_empty() {
            return;
        }
        out.extend_from_slice(b"\"sealed\":{");
        for (place, (pointer, commitment)) in sealing.commitments.iter().enumerate() {
            if place > 0 {
                out.push(b',');
            }
            write_plain(pointer, out);
            out.extend_from_slice(b":\"");
            seal::write_hex(commitment, out);
            out.push(b'"');
        }
        out.extend_from_slice(b"},");
    }

    fn seal(&self) -> Result<Sealing, DraftError> {
        let mut sealing = Sealing::default();
        let mut blob_bytes = 0;
        for (pointer, _, value) in self.fields.iter().filter(|(_, sealed, _)| *sealed) {
            let bytes = value.to_bytes();
            let salt = seal::salt(&self.seed, pointer);
            let commitment = seal::commitment(&salt, pointer, &bytes);
            sealing.commitments.push((pointer, commitment));
            if bytes.len() <= VALUE_BYTES_MAX {
                sealing.inline.push((pointer, bytes));
                continue;
            }
            blob_bytes += bytes.len();
            if blob_bytes > ACTION_BYTES_MAX {
                return Err(DraftError::TooLarge { bytes: blob_bytes, max: ACTION_BYTES_MAX });
            }
            sealing.apart.push(pointer);
            sealing.blobs.push(Blob { name: hex::encode(commitment), bytes });
        }
        Ok(sealing)
    }

    fn write_actor(&self, members: &[Field], out: &mut Vec<u8>) {
        let Some(actor) = self.actor else { return };
        let mut before_id = true;
        let write_id = |out: &mut Vec<u8>| {
            out.extend_from_slice(b"\"id\":\"");
            actor.write(out);
            out.extend_from_slice(b"\",");
        };
        out.extend_from_slice(b"\"actor\":{");
        for (pointer, _, value) in members.iter().filter(|(_, sealed, _)| !sealed) {
            let key = pointer.get("/actor/".len()..).unwrap_or_default();
            if before_id && key > "id" {
                write_id(out);
                before_id = false;
            }
            write_plain(key, out);
            out.push(b':');
            value.write(out);
            out.push(b',');
        }
        if before_id {
            write_id(out);
        }
        // In place of the last comma.
        out.pop();
        out.extend_from_slice(b"},");
    }

    fn write_effects(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"\"effects\":[");
        for (place, effect) in self.effects.iter().enumerate() {
            if place > 0 {
                out.push(b',');
            }
            write_plain(effect.as_str(), out);
        }
        out.extend_from_slice(b"],");
    }
}

/// A field that was set: its pointer, whether it is sealed, its value.
type Field = (&'static str, bool, Value);

/// What is not written yet of the fields of a draft, in the order of their pointers. Sections are
/// asked for in their order too, so that each is found where the one before ended.
struct Fields<'a>(&'a [Field]);

impl<'a> Fields<'a> {
    /// The fields of one section, such as `detail`. What stands before it is left out.
    fn section(&mut self, name: &str) -> &'a [Field] {
        let section = |pointer: &str| {
            let rest = pointer.strip_prefix('/').unwrap_or(pointer);
            let length = rest.find('/').unwrap_or(rest.len());
            rest.get(..length).unwrap_or_default().cmp(name)
        };
        let before = |field: &&Field| section(field.0).is_lt();
        let begin = self.0.iter().take_while(before).count();
        let fields = self.0.get(begin..).unwrap_or_default();
        let length = fields.iter().take_while(|field| section(field.0).is_eq()).count();
        let (section, rest) = fields.split_at_checked(length).unwrap_or_default();
        self.0 = rest;
        section
    }
}

/// Writes the unsealed members of a section, where there are any.
fn write_section(name: &str, fields: &mut Fields<'_>, out: &mut Vec<u8>) {
    let mut first = true;
    for (pointer, _, value) in fields.section(name).iter().filter(|(_, sealed, _)| !sealed) {
        if first {
            write_plain(name, out);
            out.extend_from_slice(b":{");
        } else {
            out.push(b',');
        }
        first = false;
        write_plain(pointer.get(name.len() + 2..).unwrap_or_default(), out);
        out.push(b':');
        value.write(out);
    }
    if !first {
        out.extend_from_slice(b"},");
    }
}

/// Writes a string of the catalogue, none of which needs an escape.
fn write_plain(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    out.extend_from_slice(text.as_bytes());
    out.push(b'"');
}

#[derive(Default)]
struct Sealing {
    commitments: Vec<(&'static str, Digest32)>,
    /// Sealed values that stand in the disclosure, as canonical bytes.
    inline: Vec<(&'static str, Vec<u8>)>,
    /// Fields whose values are blobs.
    apart: Vec<&'static str>,
    blobs: Vec<Blob>,
}

impl Sealing {
    fn inline_bytes(&self) -> usize {
        self.inline.iter().map(|(pointer, bytes)| pointer.len() + bytes.len()).sum()
    }
}

/// An event written out but for what the sequencer stamps.
#[derive(Debug, Clone)]
pub struct Draft {
    /// The id of the event.
    pub id: EventId,
    /// The kind of the event.
    pub kind: Kind,
    /// Who acts.
    pub actor: Option<ActorId>,
    /// The session it belongs to.
    pub session: Option<SessionSlot>,
    /// The disclosure of its sealed fields; empty where there are none.
    pub disclosure: Bytes,
    /// Values that are kept in files of their own, which must be on disk before the event is.
    pub blobs: Vec<Blob>,
    /// All of the leaf but what is stamped.
    leaf: Bytes,
    /// Where in it `node` belongs, and where `session` does.
    middle_at: usize,
    tail_at: usize,
}

/// What the sequencer knows of an event: its place.
#[derive(Debug, Clone, Copy)]
pub struct Stamp<'a> {
    /// Microseconds since 1970.
    pub time_us: i64,
    /// The node's id, as text.
    pub node: &'a str,
    /// Number of the boot, from 1.
    pub boot: u64,
    /// Number of the event in this boot, from 1, without gaps.
    pub seq: u64,
    /// In a session: number of the event in it, from 1, and the leaf hash of the one before.
    pub session: Option<(u64, Option<LeafHash>)>,
}

impl Draft {
    /// The largest number of bytes that the leaf and disclosure together can take.
    pub fn bytes_max(&self) -> usize {
        self.leaf.len() + self.disclosure.len() + STAMP_BYTES_MAX
    }

    /// Appends the bytes of the leaf.
    pub fn stamp(&self, stamp: &Stamp<'_>, out: &mut Vec<u8>) {
        let part = |range: std::ops::Range<usize>| self.leaf.get(range).unwrap_or_default();
        out.extend_from_slice(part(0..self.middle_at));
        out.extend_from_slice(b",\"node\":{\"boot\":");
        write_unsigned(stamp.boot, out);
        out.extend_from_slice(b",\"id\":");
        write_plain(stamp.node, out);
        out.extend_from_slice(b",\"seq\":");
        write_unsigned(stamp.seq, out);
        out.extend_from_slice(b"},");
        out.extend_from_slice(part(self.middle_at..self.tail_at));
        if let (Some(slot), Some((seq, prev))) = (&self.session, stamp.session) {
            out.extend_from_slice(b"\"session\":{");
            if let Some(context) = slot.context {
                out.extend_from_slice(b"\"context\":\"");
                context.write(out);
                out.extend_from_slice(b"\",");
            }
            out.extend_from_slice(b"\"id\":\"");
            slot.id.write(out);
            out.push(b'"');
            if let Some(prev) = prev {
                out.extend_from_slice(b",\"prev\":\"");
                seal::write_hex(&prev.0, out);
                out.push(b'"');
            }
            out.extend_from_slice(b",\"seq\":");
            write_unsigned(seq, out);
            out.extend_from_slice(b"},");
        }
        out.extend_from_slice(part(self.tail_at..self.leaf.len()));
        out.extend_from_slice(b"\"time_us\":");
        write_int(stamp.time_us, out);
        out.extend_from_slice(b",\"v\":1}");
    }
}

fn write_unsigned(number: u64, out: &mut Vec<u8>) {
    Value::count(number).write(out);
}

/// Why a leaf is not an event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EventError {
    /// Not the canonical JSON of an event.
    #[error(transparent)]
    Value(#[from] ValueError),
    /// An event of a version that this program does not know.
    #[error("an event of version {0}; this program reads version 1")]
    Version(i64),
    /// A part that every event has is missing or malformed.
    #[error("the event's `{0}` is missing or malformed")]
    Part(&'static str),
}

/// An event read back from the bytes of a leaf.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The id.
    pub id: EventId,
    /// The code of the kind; see [`Kind::from_code`].
    pub kind: String,
    /// Microseconds since 1970.
    pub time_us: i64,
    /// The node that wrote it.
    pub node: NodeId,
    /// Number of the node's boot.
    pub boot: u64,
    /// Number of the event in that boot.
    pub seq: u64,
    /// Who acted; absent before identification.
    pub actor: Option<ActorId>,
    /// The place in a session.
    pub session: Option<SessionPlace>,
    /// The whole object as it stands in the leaf.
    pub whole: Value,
}

/// The place of an event in its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionPlace {
    /// The session.
    pub id: SessionId,
    /// Number in the session, from 1, without gaps.
    pub seq: u64,
    /// Leaf hash of the session's event before this one.
    pub prev: Option<LeafHash>,
    /// Id of the event in which the circumstances stand.
    pub context: Option<EventId>,
}

impl Event {
    /// Reads a leaf, strictly. An unknown kind is not an error here.
    pub fn parse(leaf: &[u8]) -> Result<Self, EventError> {
        let whole = Value::parse(leaf)?;
        let version = whole.get("v").and_then(Value::as_int).ok_or(EventError::Part("v"))?;
        if version != 1 {
            return Err(EventError::Version(version));
        }
        let node = whole.get("node").ok_or(EventError::Part("node"))?;
        let actor = match whole.get("actor") {
            None => None,
            Some(actor) => Some(parse_member(actor, "id").ok_or(EventError::Part("actor"))?),
        };
        let session = match whole.get("session") {
            None => None,
            Some(place) => Some(parse_place(place).ok_or(EventError::Part("session"))?),
        };
        Ok(Self {
            id: parse_member(&whole, "id").ok_or(EventError::Part("id"))?,
            kind: whole
                .get("kind")
                .and_then(Value::as_str)
                .ok_or(EventError::Part("kind"))?
                .to_owned(),
            time_us: whole
                .get("time_us")
                .and_then(Value::as_int)
                .ok_or(EventError::Part("time_us"))?,
            node: parse_member(node, "id").ok_or(EventError::Part("node"))?,
            boot: unsigned_member(node, "boot").ok_or(EventError::Part("node"))?,
            seq: unsigned_member(node, "seq").ok_or(EventError::Part("node"))?,
            actor,
            session,
            whole,
        })
    }

    /// The kind, where this program knows it.
    pub fn known_kind(&self) -> Option<Kind> {
        Kind::from_code(&self.kind)
    }

    /// The commitments: pointer to lower-case hex.
    pub fn sealed(&self) -> Option<&Object> {
        self.whole.get("sealed").and_then(Value::as_object)
    }

    /// The text at a pointer, such as `/detail/reason`.
    pub fn text(&self, pointer: &str) -> Option<&str> {
        self.whole.at(pointer).and_then(Value::as_str)
    }
}

fn parse_member<T: std::str::FromStr>(object: &Value, key: &str) -> Option<T> {
    object.get(key)?.as_str()?.parse().ok()
}

fn unsigned_member(object: &Value, key: &str) -> Option<u64> {
    u64::try_from(object.get(key)?.as_int()?).ok()
}

fn parse_place(place: &Value) -> Option<SessionPlace> {
    let prev = match place.get("prev") {
        None => None,
        Some(hash) => {
            let mut digest = [0; 32];
            hex::decode_to_slice(hash.as_str()?, &mut digest).ok()?;
            Some(LeafHash(digest))
        }
    };
    let context = match place.get("context") {
        None => None,
        Some(id) => Some(id.as_str()?.parse().ok()?),
    };
    Some(SessionPlace {
        id: parse_member(place, "id")?,
        seq: unsigned_member(place, "seq")?,
        prev,
        context,
    })
}

#[cfg(test)]
mod tests;
