//! What the store must know of an entry as it comes in: what it is, to whom and to what it
//! belongs. Read without the rest, because most entries are put out of memory again before anybody
//! looks for them.

use loggia_model::Kind;
use loggia_model::id::EventId;
use loggia_model::port::Committed;

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
    pub(crate) fn of(entry: &Committed) -> Option<Self> {
        let mut leaf = Members::of(&entry.leaf)?;
        let detail = leaf.find(b"detail");
        let id = leaf.find(b"id").and_then(text)?;
        let kind = Kind::from_code(leaf.find(b"kind").and_then(text)?)?;
        if !matches!(kind, Kind::SqlStatement | Kind::SqlResult) {
            return None;
        }
        let session = leaf.find(b"session");
        if leaf.find(b"v") != Some(b"1") || !leaf.rest.is_empty() {
            return None;
        }
        let mut detail = detail.map_or(Some(Members::none()), Members::of)?;
        let of = reference(detail.find(b"of"))?;
        let prepared_id = reference(detail.find(b"prepared"))?;
        let mut session = session.map_or(Some(Members::none()), Members::of)?;
        Some(Self {
            id: id.parse().ok()?,
            kind,
            of: of.filter(|_| kind == Kind::SqlResult),
            context_id: reference(session.find(b"context"))?,
            prepared_id,
        })
    }
}

/// The id of another event, where there is one; `None` where it cannot be read.
fn reference(value: Option<&[u8]>) -> Option<Option<EventId>> {
    match value {
        Some(value) => text(value)?.parse().ok().map(Some),
        None => Some(None),
    }
}

/// A string without escapes.
fn text(value: &[u8]) -> Option<&str> {
    let text = value.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    std::str::from_utf8(text).ok().filter(|text| !text.contains(['\\', '"']))
}

/// The members of an object in canonical form, one after the other. Values are stepped over and
/// not looked into. What is not in that form ends the walk, or gives a value that nobody can read.
struct Members<'a> {
    rest: &'a [u8],
}

impl<'a> Members<'a> {
    fn of(object: &'a [u8]) -> Option<Self> {
        let rest = object.strip_prefix(b"{")?.strip_suffix(b"}")?;
        Some(Self { rest })
    }

    fn none() -> Self {
        Self { rest: b"" }
    }

    /// The value of a key, if it comes behind what was looked at so far. Keys are in order, so a
    /// walk ends at the first that is greater, which is looked at again then.
    fn find(&mut self, wanted: &[u8]) -> Option<&'a [u8]> {
        while let Some((key, value, rest)) = self.next() {
            if key > wanted {
                return None;
            }
            self.rest = rest;
            if key == wanted {
                return Some(value);
            }
        }
        None
    }

    /// Key, value, and what is behind.
    fn next(&self) -> Option<(&'a [u8], &'a [u8], &'a [u8])> {
        let key = self.rest.strip_prefix(b"\"")?;
        let (key, rest) = key.split_at_checked(key.iter().position(|byte| *byte == b'"')?)?;
        let rest = rest.strip_prefix(b"\":")?;
        let (value, rest) = rest.split_at_checked(value_len(rest)?)?;
        match rest {
            [] => Some((key, value, rest)),
            [b',', rest @ ..] if !rest.is_empty() => Some((key, value, rest)),
            _ => None,
        }
    }
}

/// Length of the value at the front. Byte by byte: what is stepped over is short, and most of it
/// quotes.
fn value_len(bytes: &[u8]) -> Option<usize> {
    let (open, close) = match bytes.first()? {
        b'"' => return string_len(bytes),
        b'{' => (b'{', b'}'),
        b'[' => (b'[', b']'),
        _ => return Some(bytes.iter().position(|byte| *byte == b',').unwrap_or(bytes.len())),
    };
    let (mut depth, mut inside, mut escaped) = (0_usize, false, false);
    for (at, byte) in bytes.iter().enumerate() {
        if inside {
            inside = escaped || *byte != b'"';
            escaped = !escaped && *byte == b'\\';
        } else if *byte == b'"' {
            inside = true;
        } else if *byte == open {
            depth += 1;
        } else if *byte == close {
            depth -= 1;
            if depth == 0 {
                return Some(at + 1);
            }
        }
    }
    None
}

/// Length of the string at the front, quotes included.
fn string_len(bytes: &[u8]) -> Option<usize> {
    let mut escaped = false;
    let ends = |byte: &u8| {
        let ends = !escaped && *byte == b'"';
        escaped = !escaped && *byte == b'\\';
        ends
    };
    bytes.get(1..)?.iter().position(ends).map(|at| at + 2)
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
            value_len(inside.as_bytes());
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
            r#"{"id":"ev_01h455vb4pex5vsknk084sn02q","kind":"sql.result","v":1,}"#,
            r#"{"id":"ev_01h455vb4pex5vsknk084sn02q","kind":"sql.result","v":1,"w":1}"#,
            r#"{"detail":{,"id":"ev_01h455vb4pex5vsknk084sn02q","kind":"sql.result","v":1}"#,
        ] {
            let entry = scene.raw(leaf.into(), Vec::new());
            assert_eq!(Outline::of(&entry), None, "{leaf}");
        }
    }
}
