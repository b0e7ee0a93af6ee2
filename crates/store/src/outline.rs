//! What the store must know of an entry as it comes in: what it is, to whom and to what it
//! belongs. Read without the rest, because most entries are put out of memory again before anybody
//! looks for them.

use loggia_model::Kind;
use loggia_model::id::EventId;
use loggia_model::port::Committed;
use memchr::memmem::Finder;
use std::sync::LazyLock;

/// The few parts of a frequent event that place it among the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Outline {
    pub(crate) id: EventId,
    pub(crate) kind: Kind,
    /// Of a result: its action.
    pub(crate) of: Option<EventId>,
    /// The event in which the circumstances stand.
    pub(crate) context_id: Option<EventId>,
    /// The event in which the text of the statement stands.
    pub(crate) prepared_id: Option<EventId>,
}

impl Outline {
    /// The outline of an entry of a frequent kind, to which nothing else refers but by its id.
    /// `None` for all others, and for what is not plainly one of them: those are read as a whole.
    ///
    /// An event has one form only: its keys stand in a known order, and no string holds a quote
    /// that is not escaped. So a key with its quotes is found by looking for it, wherever it is.
    pub(crate) fn of(entry: &Committed) -> Option<Self> {
        let leaf: &[u8] = &entry.leaf;
        let (head, rest) = split(leaf, &LOOKS.id)?;
        let (id, rest) = rest.split_at_checked(ID_BYTES)?;
        let rest = rest.strip_prefix(b"\",\"kind\":\"sql.")?;
        let (kind, tail) = if let Some(tail) = rest.strip_prefix(b"statement\",") {
            (Kind::SqlStatement, tail)
        } else {
            (Kind::SqlResult, rest.strip_prefix(b"result\",")?)
        };
        if !head.starts_with(b"{\"") || !tail.ends_with(b",\"v\":1}") {
            return None;
        }
        let of = reference(head, &LOOKS.of)?;
        Some(Self {
            id: event_id(id)?,
            kind,
            of: of.filter(|_| kind == Kind::SqlResult),
            context_id: reference(tail, &LOOKS.context)?,
            prepared_id: reference(head, &LOOKS.prepared)?,
        })
    }
}

/// What is looked for: keys, with what stands before their values.
struct Looks {
    id: Finder<'static>,
    of: Finder<'static>,
    prepared: Finder<'static>,
    context: Finder<'static>,
}

static LOOKS: LazyLock<Looks> = LazyLock::new(|| Looks {
    // Before an event's own id its effects end.
    id: Finder::new(b"],\"id\":\""),
    of: Finder::new(b"\"of\":\""),
    prepared: Finder::new(b"\"prepared\":\""),
    context: Finder::new(b"\"session\":{\"context\":\""),
});

/// Length of the text form of an event's id.
const ID_BYTES: usize = "ev_01h455vb4pex5vsknk084sn02q".len();

/// What stands before and behind the first place where this is found.
fn split<'a>(bytes: &'a [u8], look: &Finder<'_>) -> Option<(&'a [u8], &'a [u8])> {
    let at = look.find(bytes)?;
    Some((bytes.get(..at)?, bytes.get(at + look.needle().len()..)?))
}

fn event_id(bytes: &[u8]) -> Option<EventId> {
    std::str::from_utf8(bytes).ok()?.parse().ok()
}

/// The id of another event, where there is one; `None` where it cannot be read.
fn reference(bytes: &[u8], look: &Finder<'_>) -> Option<Option<EventId>> {
    match split(bytes, look) {
        Some((_, rest)) => event_id(rest.get(..ID_BYTES)?).map(Some),
        None => Some(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Record;
    use crate::testlog::Scene;
    use loggia_model::port::ReadLog;
    use loggia_model::{LeafHash, Value};
    use proptest::prelude::*;

    /// An outline says what the whole entry says.
    fn holds(entry: &Committed) {
        let outline = Outline::of(entry).unwrap();
        let (record, _) = Record::read(entry);
        assert_eq!(Some(outline.id), record.id);
        assert_eq!(Some(outline.kind), record.kind);
        assert_eq!(outline.of, record.of);
        assert_eq!(outline.context_id, record.context_id);
        assert_eq!(outline.prepared_id, record.prepared_id);
    }

    #[test]
    fn an_outline_says_what_the_whole_entry_says() {
        let mut scene = Scene::new();
        let mut session = scene.start(1, "alice", "shop", "10.0.0.1");
        let text = r#"select '"kind":"session.end"', "detail""#;
        let action = scene.statement(&mut session, text);
        scene.result(&mut session, action, 3);
        scene.failure(&mut session, action, "no \"id\":\"x\" here");
        let prepared = scene.in_session(&mut session, Kind::SqlPrepare, |draft| {
            draft.set("/detail/text", "select $1")
        });
        scene.in_session(&mut session, Kind::SqlStatement, |draft| {
            draft.set("/detail/prepared", prepared.to_string())
        });
        let all = scene.log.read(0, 10).unwrap();
        let (start, prepare) = (&all[0], &all[4]);
        assert_eq!((Outline::of(start), Outline::of(prepare)), (None, None), "read as a whole");
        for place in [1, 2, 3, 5] {
            holds(&all[place]);
        }
    }

    fn entry(leaf: Vec<u8>) -> Committed {
        let leaf_hash = LeafHash::of(&leaf);
        Committed { index: 0, leaf_hash, leaf: leaf.into(), disclosure: Default::default() }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(
            before in any::<Vec<u8>>(),
            inside in "[a-z\\[\\]{}\",:\\\\0-9]{0,60}",
        ) {
            Outline::of(&entry(before));
            Outline::of(&entry(format!("{{{inside}}}").into_bytes()));
        }

        #[test]
        fn an_outline_is_that_of_the_whole_entry_whatever_stands_around_it(
            text in any::<String>(),
            list in proptest::collection::vec("[\\]\\[{}\",\\\\a]{0,9}", 0..4),
        ) {
            let list: Vec<Value> = list.into_iter().map(Value::from).collect();
            let mut scene = Scene::new();
            let mut session = scene.start(1, "alice", "shop", "10.0.0.1");
            let action = scene.in_session(&mut session, Kind::SqlStatement, |draft| {
                draft.set("/detail/text", text.as_str()).set("/detail/portal", text.as_str())
            });
            scene.in_session(&mut session, Kind::SqlResult, |draft| {
                draft.set("/detail/of", action.to_string()).set("/outcome/commands", list)
            });
            let all = scene.all();
            holds(&all[1]);
            holds(&all[2]);
        }
    }

    #[test]
    fn what_is_no_event_has_no_outline() {
        let mut scene = Scene::new();
        for leaf in [
            "",
            "{",
            "[]",
            r#"{"id":"ev_x","kind":"sql.result","v":1}"#,
            r#"{"id":"ev_01h455vb4pex5vsknk084sn02q","kind":"sql.result","v":2}"#,
            r#"{"id":"ev_01h455vb4pex5vsknk084sn02q","kind":"sql.result"}"#,
            r#"{"id":"ev_01h455vb4pex5vsknk084sn02q","kind":"no.such","v":1}"#,
            r#"{"effects":[],"id":"ev_01h455vb4pex5vsknk084sn02q","kind":"sql.result","v":1,}"#,
            r#"{"effects":[],"id":"ev_01h455vb4pex5vsknk084sn02q","kind":"sql.result","v":11}"#,
            r#"{"effects":[],"id":"ev_01h455vb4pex5vsknk084sn02"#,
        ] {
            let entry = scene.raw(leaf.into(), Vec::new());
            assert_eq!(Outline::of(&entry), None, "{leaf}");
        }
    }
}
