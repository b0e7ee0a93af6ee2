//! A log in memory for tests, filled with events as the gateway writes them.

use loggia_model::event::{Role, SessionSlot, Stamp};
use loggia_model::id::{ActorId, EventId, NodeId, PersonId, SessionId};
use loggia_model::port::{Committed, ReadLog};
use loggia_model::seal::Seed;
use loggia_model::{EventDraft, Kind, LeafHash, PublicError, Value};
use parking_lot::RwLock;
use std::sync::Arc;

pub(crate) const T0_US: i64 = 1_790_000_000_000_000;

/// The log.
#[derive(Default)]
pub(crate) struct FakeLog {
    entries: RwLock<Vec<Committed>>,
}

impl ReadLog for FakeLog {
    fn size(&self) -> u64 {
        self.entries.read().len() as u64
    }

    fn read(&self, from: u64, max: usize) -> Result<Vec<Committed>, PublicError> {
        let entries = self.entries.read();
        Ok(entries.iter().skip(from as usize).take(max).cloned().collect())
    }
}

/// Writes events into a log.
pub(crate) struct Scene {
    pub(crate) log: Arc<FakeLog>,
    pub(crate) now_us: i64,
    made: u128,
}

/// A session as its events need it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Session {
    pub(crate) id: SessionId,
    pub(crate) actor: ActorId,
    pub(crate) start: EventId,
    seq: u64,
}

pub(crate) fn person(number: u8) -> ActorId {
    ActorId::Person(PersonId::from_parts(1, [number; 10]))
}

impl Scene {
    pub(crate) fn new() -> Self {
        Self { log: Arc::new(FakeLog::default()), now_us: T0_US, made: 0 }
    }

    fn random(&mut self) -> [u8; 10] {
        self.made += 1;
        self.made.to_be_bytes()[6..].try_into().unwrap()
    }

    pub(crate) fn draft(&mut self, kind: Kind) -> EventDraft {
        let random = self.random();
        let id = EventId::from_parts((self.now_us / 1_000) as u64, random);
        EventDraft::new(kind, id, Seed::from_random([random[9]; 32]))
    }

    pub(crate) fn add(&mut self, draft: EventDraft) -> Committed {
        self.write(draft, None)
    }

    fn write(&mut self, draft: EventDraft, seq: Option<u64>) -> Committed {
        self.now_us += 100;
        let draft = draft.encode().unwrap();
        let node = NodeId::from_parts(1, [1; 10]).to_string();
        let mut leaf = Vec::new();
        let index = self.log.size();
        draft.stamp(
            &Stamp {
                time_us: self.now_us,
                node: &node,
                boot: 1,
                seq: index + 1,
                session: seq.map(|seq| (seq, (seq > 1).then_some(LeafHash([0; 32])))),
            },
            &mut leaf,
        );
        self.raw(leaf, draft.disclosure.to_vec())
    }

    pub(crate) fn raw(&mut self, leaf: Vec<u8>, disclosure: Vec<u8>) -> Committed {
        let entry = Committed {
            index: self.log.size(),
            leaf_hash: LeafHash::of(&leaf),
            leaf: leaf.into(),
            disclosure: disclosure.into(),
        };
        self.log.entries.write().push(entry.clone());
        entry
    }

    /// Changes an entry that is in the log.
    pub(crate) fn alter(&mut self, index: u64, change: impl FnOnce(&mut Committed)) {
        change(&mut self.log.entries.write()[index as usize]);
    }

    pub(crate) fn start(&mut self, number: u8, name: &str, resource: &str, ip: &str) -> Session {
        let draft = self.draft(Kind::SessionStart);
        let random = self.random();
        let id = SessionId::from_parts((self.now_us / 1_000) as u64, random);
        let session = Session { id, actor: person(number), start: draft.id(), seq: 1 };
        let slot = SessionSlot { id, context: None, role: Role::Start };
        let draft = draft
            .actor(session.actor)
            .session(slot)
            .set("/actor/name", name)
            .set("/actor/type", "human")
            .set("/actor/authn", "token")
            .set("/resource/name", resource)
            .set("/resource/account", "app")
            .set("/source/ip", ip)
            .set("/detail/application", "psql")
            .set("/decision/effect", "allow");
        self.write(draft, Some(1));
        session
    }

    pub(crate) fn in_session(
        &mut self,
        session: &mut Session,
        kind: Kind,
        fill: impl FnOnce(EventDraft) -> EventDraft,
    ) -> EventId {
        let role = if kind == Kind::SessionEnd { Role::End } else { Role::Member };
        let slot = SessionSlot { id: session.id, context: Some(session.start), role };
        let draft = fill(self.draft(kind).actor(session.actor).session(slot));
        let id = draft.id();
        session.seq += 1;
        self.write(draft, Some(session.seq));
        id
    }

    pub(crate) fn statement(&mut self, session: &mut Session, text: &str) -> EventId {
        self.in_session(session, Kind::SqlStatement, |draft| draft.set("/detail/text", text))
    }

    pub(crate) fn result(&mut self, session: &mut Session, of: EventId, rows: u32) {
        self.in_session(session, Kind::SqlResult, |draft| {
            draft
                .set("/detail/of", of.to_string())
                .set("/outcome/status", "ok")
                .set("/outcome/tag", format!("SELECT {rows}"))
                .set("/outcome/rows", rows)
                .set("/outcome/bytes", rows * 10)
                .set("/outcome/duration_us", rows * 1_000)
        });
    }

    pub(crate) fn failure(&mut self, session: &mut Session, of: EventId, message: &str) {
        self.in_session(session, Kind::SqlResult, |draft| {
            draft
                .set("/detail/of", of.to_string())
                .set("/outcome/status", "error")
                .set("/outcome/sqlstate", "42P01")
                .set("/outcome/message", message)
        });
    }

    pub(crate) fn end(&mut self, session: &mut Session) {
        self.in_session(session, Kind::SessionEnd, |draft| {
            draft
                .set("/detail/reason", "client_closed")
                .set("/detail/actions", 3u32)
                .set("/detail/bytes_in", Value::count(10))
                .set("/detail/bytes_out", Value::count(20))
        });
    }

    pub(crate) fn all(&self) -> Vec<Committed> {
        self.log.entries.read().clone()
    }
}
