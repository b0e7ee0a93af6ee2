//! The fuzz target `event` on the stable toolchain, and where its corpus comes from.

use loggia_model::catalogue::Kind;
use loggia_model::event::{EventDraft, LeafHash, Role, SessionSlot, Stamp};
use loggia_model::id::{ActorId, EventId, NodeId, PersonId, SessionId};
use loggia_model::seal::Seed;
use std::path::Path;

#[path = "../../../fuzz/mutations.rs"]
mod mutations;

#[test]
fn the_corpus_and_its_mutations() {
    mutations::run("event", 200_000, loggia_model::fuzz_one);
}

/// An event of each kind, as in the catalogue's examples.
#[test]
#[ignore = "writes fuzz/corpus/event; run it when the form of events changes"]
fn write_the_corpus() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/event");
    let event = EventId::from_parts(1_790_000_000_000, [5; 10]);
    for (number, kind) in Kind::ALL.iter().enumerate() {
        let person = PersonId::from_parts(1_790_000_000_000, [4; 10]);
        let mut draft = EventDraft::new(*kind, event, Seed::from_random([number as u8; 32]))
            .actor(ActorId::Person(person));
        let in_session = kind.code().starts_with("sql.") || kind.code().starts_with("session.");
        if in_session {
            let id = SessionId::from_parts(1_790_000_000_000, [6; 10]);
            draft = draft.session(SessionSlot { id, context: Some(event), role: Role::Member });
        }
        for (pointer, value) in kind.example() {
            draft = draft.set(pointer, value);
        }
        let draft = draft.encode().unwrap();
        let node = NodeId::from_parts(1_790_000_000_000, [2; 10]).to_string();
        let session = in_session.then_some((2, Some(LeafHash([9; 32]))));
        let stamp = Stamp { time_us: 1_790_000_000_000_001, node: &node, boot: 3, seq: 9, session };
        let mut bytes = Vec::new();
        draft.stamp(&stamp, &mut bytes);
        bytes.push(0);
        bytes.extend_from_slice(&draft.disclosure);
        std::fs::write(folder.join(kind.code()), bytes).unwrap();
    }
}
