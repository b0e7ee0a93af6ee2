//! `resume.json`: where things stood at the last checkpoint, so that a start need not read the
//! whole log again. A view: it names the root of the tree that it was made from and is used only
//! where the log still has that root; whatever was written behind is read from the log itself.

use crate::erase::{self, Doomed, Ordered};
use crate::sequencer::{Chain, Standing};
use loggia_model::catalogue::Kind;
use loggia_model::event::Event;
use loggia_model::{LeafHash, Value};
use loggia_tlog::VerifierKey;
use loggia_verify::rotation::KeyRotation;
use std::borrow::Cow;

/// The bytes of the file; `root` is that of the tree at the standing's size, in hex.
pub(crate) fn encode(standing: &Standing, root: &str) -> Vec<u8> {
    let sessions = standing.sessions.iter().map(|(id, chain)| {
        Value::object([
            ("actor", Value::from(chain.actor.to_string())),
            ("head", Value::from(chain.head.to_hex())),
            ("id", Value::from(id.to_string())),
            ("seq", Value::count(chain.seq)),
            ("start", Value::from(chain.start.to_string())),
        ])
    });
    let changes = standing.changes.iter().map(|id| Value::from(id.to_string()));
    let orders = standing.orders.iter().map(|order| {
        let (what, value) = order.doomed.stored();
        Value::object([
            ("event", Value::from(order.event.to_string())),
            ("index", Value::count(order.index)),
            ("value", Value::Str(value)),
            ("what", Value::from(what)),
        ])
    });
    let rotated = standing.rotated.as_ref().map(|key| ("rotated", Value::from(key.to_string())));
    Value::Object(
        [
            ("boot", Value::count(standing.boot)),
            ("changes", Value::Array(changes.collect())),
            ("clean", Value::Bool(standing.clean)),
            ("last_time_us", Value::Int(standing.last_time_us)),
            ("orders", Value::Array(orders.collect())),
            ("root", Value::from(root)),
            ("seq", Value::count(standing.seq)),
            ("sessions", Value::Array(sessions.collect())),
            ("size", Value::count(standing.size)),
        ]
        .into_iter()
        .chain(rotated)
        .map(|(key, value)| (Cow::Borrowed(key), value))
        .collect(),
    )
    .to_bytes()
}

/// Reads the file: the standing, and the root it was made from; `None` where it cannot be used.
pub(crate) fn decode(bytes: &[u8]) -> Option<(Standing, String)> {
    let all = Value::parse(bytes).ok()?;
    let number = |object: &Value, key: &str| u64::try_from(object.get(key)?.as_int()?).ok();
    let array = |key: &str| match all.get(key) {
        Some(Value::Array(items)) => Some(items),
        _ => None,
    };
    let mut standing = Standing {
        size: number(&all, "size")?,
        boot: number(&all, "boot")?,
        seq: number(&all, "seq")?,
        last_time_us: all.get("last_time_us")?.as_int()?,
        clean: all.get("clean") == Some(&Value::Bool(true)),
        ..Standing::default()
    };
    if let Some(key) = all.get("rotated") {
        standing.rotated = Some(VerifierKey::parse(key.as_str()?).ok()?);
    }
    for id in array("changes")? {
        standing.changes.push(id.as_str()?.parse().ok()?);
    }
    // Written by an earlier program it has none, and such a log has none either.
    for order in array("orders").into_iter().flatten() {
        let text = |key| order.get(key).and_then(Value::as_str);
        standing.orders.push(Ordered {
            event: text("event")?.parse().ok()?,
            index: number(order, "index")?,
            doomed: Doomed::from_stored(text("what")?, text("value")?)?,
        });
    }
    for session in array("sessions")? {
        let text = |key| session.get(key).and_then(Value::as_str);
        let mut head = [0; 32];
        hex::decode_to_slice(text("head")?, &mut head).ok()?;
        let chain = Chain {
            seq: number(session, "seq")?,
            head: LeafHash(head),
            start: text("start")?.parse().ok()?,
            actor: text("actor")?.parse().ok()?,
        };
        standing.sessions.insert(text("id")?.parse().ok()?, chain);
    }
    let root = all.get("root")?.as_str()?.to_owned();
    Some((standing, root))
}

/// Moves the standing on by one entry read back from the log.
pub(crate) fn advance(standing: &mut Standing, event: &Event, head: LeafHash) {
    if event.boot != standing.boot {
        standing.boot = event.boot;
        standing.changes.clear();
    }
    standing.size += 1;
    standing.seq = event.seq;
    standing.last_time_us = event.time_us;
    let kind = event.known_kind();
    standing.clean = kind == Some(Kind::NodeShutdown);
    if kind.is_some_and(erase::concerns) {
        erase::note(&mut standing.orders, event, standing.size - 1);
    }
    if kind == Some(Kind::ConfigChange) {
        standing.changes.push(event.id);
    }
    if let Some(Ok(rotation)) = KeyRotation::of(event) {
        standing.rotated = Some(rotation.new_key().clone());
    }
    let (Some(place), Some(actor)) = (event.session, event.actor) else { return };
    if kind == Some(Kind::SessionEnd) {
        standing.sessions.remove(&place.id);
        return;
    }
    let start = place.context.unwrap_or(event.id);
    let chain = standing.sessions.entry(place.id).or_insert(Chain { seq: 0, head, start, actor });
    chain.seq = place.seq;
    chain.head = head;
}

#[cfg(test)]
mod tests {
    use super::*;
    use loggia_model::id::{ActorId, EventId, PersonId, SessionId};
    use loggia_tlog::SigningKey;

    #[test]
    fn a_standing_round_trips_and_nonsense_is_not_used() {
        let mut standing =
            Standing { size: 9, boot: 2, seq: 4, last_time_us: 77, ..Standing::default() };
        let key = SigningKey::from_seed("log.example/e1", &[8; 32]).unwrap();
        standing.rotated = Some(key.verifier().clone());
        standing.changes.push(EventId::from_parts(1, [1; 10]));
        standing.sessions.insert(
            SessionId::from_parts(1, [2; 10]),
            Chain {
                seq: 3,
                head: LeafHash([9; 32]),
                start: EventId::from_parts(1, [3; 10]),
                actor: ActorId::Person(PersonId::from_parts(1, [4; 10])),
            },
        );
        let event = EventId::from_parts(1, [5; 10]);
        let subject = ActorId::Person(PersonId::from_parts(1, [6; 10]));
        for (index, doomed) in [
            (7, Doomed::Subject(subject)),
            (8, Doomed::DisclosuresUntil(99)),
            (9, Doomed::RecordingsUntil(-1)),
        ] {
            standing.orders.push(Ordered { event, index, doomed });
        }
        let bytes = encode(&standing, "00");
        assert_eq!(decode(&bytes), Some((standing, "00".to_owned())));
        assert_eq!(decode(&bytes[..bytes.len() - 1]), None);
        assert_eq!(decode(b"{}"), None);
    }
}
