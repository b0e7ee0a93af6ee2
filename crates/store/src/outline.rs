//! What the store must know of an entry as it comes in: what it is, to whom and to what it
//! belongs. Read without the rest, because most entries are put out of memory again before anybody
//! looks for them.

use loggia_model::Kind;
use loggia_model::id::EventId;
use loggia_model::port::Committed;
use serde::Deserialize;

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

#[derive(Deserialize)]
struct Leaf<'a> {
    #[serde(borrow)]
    detail: Option<Detail<'a>>,
    #[serde(borrow)]
    id: &'a str,
    #[serde(borrow)]
    kind: &'a str,
    #[serde(borrow)]
    session: Option<Place<'a>>,
    v: u64,
}

#[derive(Deserialize)]
struct Detail<'a> {
    #[serde(borrow)]
    of: Option<&'a str>,
    #[serde(borrow)]
    prepared: Option<&'a str>,
}

#[derive(Deserialize)]
struct Place<'a> {
    #[serde(borrow)]
    context: Option<&'a str>,
}

impl Outline {
    /// The outline of an entry of a frequent kind, to which nothing else refers but by its id.
    /// `None` for all others, and for what is not plainly one of them: those are read as a whole.
    pub(crate) fn of(entry: &Committed) -> Option<Self> {
        let leaf: Leaf<'_> = serde_json::from_slice(&entry.leaf).ok()?;
        let kind = Kind::from_code(leaf.kind)?;
        if leaf.v != 1 || !matches!(kind, Kind::SqlStatement | Kind::SqlResult) {
            return None;
        }
        let detail = leaf.detail.as_ref();
        let reference = |text: Option<&str>| match text {
            Some(text) => text.parse().ok().map(Some),
            None => Some(None),
        };
        let of = reference(detail.and_then(|detail| detail.of))?;
        Some(Self {
            id: leaf.id.parse().ok()?,
            kind,
            of: of.filter(|_| kind == Kind::SqlResult),
            context_id: reference(leaf.session.and_then(|place| place.context))?,
            prepared_id: reference(detail.and_then(|detail| detail.prepared))?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Record;
    use crate::testlog::Scene;
    use loggia_model::port::ReadLog;

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
        ] {
            let entry = scene.raw(leaf.into(), Vec::new());
            assert_eq!(Outline::of(&entry), None, "{leaf}");
        }
    }
}
