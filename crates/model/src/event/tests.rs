use super::*;
use crate::seal::Disclosure;
use proptest::prelude::*;

fn event_id(n: u8) -> EventId {
    EventId::from_parts(1_790_000_000_000, [n; 10])
}

fn session_id() -> SessionId {
    SessionId::from_parts(1_790_000_000_000, [1; 10])
}

fn stamped(draft: &Draft, session: Option<(u64, Option<LeafHash>)>) -> Vec<u8> {
    let node = NodeId::from_parts(1_790_000_000_000, [2; 10]).to_string();
    let mut leaf = Vec::new();
    draft.stamp(
        &Stamp { time_us: 1_790_000_000_000_001, node: &node, boot: 3, seq: 9, session },
        &mut leaf,
    );
    leaf
}

fn statement(text: &[u8]) -> EventDraft {
    EventDraft::new(Kind::SqlStatement, event_id(5), Seed::from_random([6; 32]))
        .actor(ActorId::Person(crate::id::PersonId::from_parts(1, [4; 10])))
        .session(SessionSlot { id: session_id(), context: Some(event_id(8)), role: Role::Member })
        .set("/detail/text", Value::text(text))
}

#[test]
fn a_statement_reads_back_with_its_text_only_in_the_disclosure() {
    let draft = statement(b"drop table \"x\"").encode().unwrap();
    let leaf = stamped(&draft, Some((7, Some(LeafHash([0xab; 32])))));
    assert!(!String::from_utf8_lossy(&leaf).contains("drop"));
    let event = Event::parse(&leaf).unwrap();
    assert_eq!((event.kind.as_str(), event.boot, event.seq), ("sql.statement", 3, 9));
    let place = event.session.unwrap();
    assert_eq!((place.seq, place.prev), (7, Some(LeafHash([0xab; 32]))));
    let open = Disclosure::open(&draft.disclosure, event.sealed().unwrap()).unwrap();
    assert_eq!(open.values, vec![("/detail/text".into(), Value::from("drop table \"x\""))]);
}

#[test]
fn the_bytes_of_a_statement_are_a_fixed_vector() {
    let leaf =
        stamped(&statement(b"select 1").encode().unwrap(), Some((2, Some(LeafHash([1; 32])))));
    assert_eq!(
        String::from_utf8(leaf).unwrap(),
        include_str!("../../testdata/statement.leaf.json").trim_end()
    );
}

#[test]
fn every_kind_of_the_catalogue_encodes_its_example() {
    for kind in Kind::ALL {
        let mut draft = EventDraft::new(*kind, event_id(1), Seed::from_random([1; 32]));
        if kind.spec().example.iter().any(|(pointer, _)| pointer.starts_with("/actor/")) {
            draft = draft.actor(ActorId::Node(NodeId::from_parts(1, [1; 10])));
        }
        for (pointer, value) in kind.example() {
            draft = draft.set(pointer, value);
        }
        let leaf = stamped(&draft.encode().unwrap(), None);
        let event = Event::parse(&leaf).unwrap_or_else(|e| panic!("{}: {e}", kind.code()));
        assert_eq!(event.known_kind(), Some(*kind));
    }
}

#[test]
fn a_field_outside_the_catalogue_is_refused() {
    let draft = EventDraft::new(Kind::SqlFetch, event_id(1), Seed::from_random([1; 32]))
        .set("/detail/text", "x");
    assert!(matches!(draft.encode(), Err(DraftError::UnknownField { .. })));
}

#[test]
fn a_large_text_becomes_a_blob_and_a_huge_one_is_refused() {
    let text = vec![b'a'; VALUE_BYTES_MAX];
    let draft = statement(&text).encode().unwrap();
    assert_eq!(draft.blobs.len(), 1);
    let event = Event::parse(&stamped(&draft, Some((1, None)))).unwrap();
    let open = Disclosure::open(&draft.disclosure, event.sealed().unwrap()).unwrap();
    let (path, salt) = &open.blobs[0];
    let mut blob = draft.blobs[0].clone();
    assert!(seal::check_blob(&blob.name, path, salt, &blob.bytes));
    blob.bytes[5] ^= 1;
    assert!(!seal::check_blob(&blob.name, path, salt, &blob.bytes));
    let huge = vec![b'a'; ACTION_BYTES_MAX];
    assert!(matches!(statement(&huge).encode(), Err(DraftError::TooLarge { .. })));
}

#[test]
fn another_version_is_refused_by_name() {
    let leaf = stamped(&statement(b"x").encode().unwrap(), Some((1, None)));
    let other = String::from_utf8(leaf).unwrap().replace("\"v\":1}", "\"v\":2}");
    assert_eq!(Event::parse(other.as_bytes()), Err(EventError::Version(2)));
}

proptest! {
    #[test]
    fn whatever_was_typed_the_leaf_is_canonical_and_the_text_comes_back(
        text in proptest::collection::vec(any::<u8>(), 0..300),
        seq in 1u64..1 << 50,
    ) {
        let draft = statement(&text).encode().unwrap();
        let leaf = stamped(&draft, Some((seq, None)));
        prop_assert!(leaf.len() + draft.disclosure.len() <= draft.bytes_max());
        let read: serde_json::Value = serde_json::from_slice(&leaf).unwrap();
        prop_assert_eq!(&leaf, &serde_json_canonicalizer::to_vec(&read).unwrap());
        let event = Event::parse(&leaf).unwrap();
        let open = Disclosure::open(&draft.disclosure, event.sealed().unwrap()).unwrap();
        prop_assert_eq!(&open.values[0].1, &Value::text(&text));
    }

    #[test]
    fn no_bytes_make_the_parser_panic(bytes in any::<Vec<u8>>()) {
        let _ = Event::parse(&bytes);
        let _ = Disclosure::open(&bytes, &Object::new());
    }
}
