//! From a record to an event of the API.

use crate::record::{CIRCUMSTANCES, Opened, Record};
use loggia_api::audit::{AuditEvent, EventActor, Node, ResultPlace, SessionPlace};
use loggia_model::Value;
use loggia_model::actor::ActorType;
use loggia_model::value::Object;
use serde_json::Map;
use std::borrow::Cow;
use time::OffsetDateTime;
use time::macros::format_description;

type Members = Map<String, serde_json::Value>;

/// A time in RFC 3339, UTC, with microseconds.
pub(crate) fn rfc3339(time_us: i64) -> String {
    let format =
        format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z");
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(time_us) * 1_000)
        .ok()
        .and_then(|time| time.format(format).ok())
        .unwrap_or_default()
}

fn json(value: &Value) -> serde_json::Value {
    match value {
        Value::Str(text) => serde_json::Value::from(text.as_str()),
        Value::Int(number) => serde_json::Value::from(*number),
        Value::Bool(flag) => serde_json::Value::from(*flag),
        Value::Array(items) => items.iter().map(json).collect(),
        Value::Object(object) => serde_json::Value::Object(members(object)),
    }
}

pub(crate) fn members(object: &Object) -> Members {
    object.iter().map(|(key, value)| (key.to_string(), json(value))).collect()
}

/// The event as the API tells it, with all that was joined.
pub(crate) fn event(record: &Record) -> AuditEvent {
    let mut event = AuditEvent {
        kind: record.code.to_string(),
        time_us: record.time_us,
        time: rfc3339(record.time_us),
        index: record.index,
        leaf_hash: record.entry.leaf_hash.to_hex(),
        ..AuditEvent::default()
    };
    let opened = match Opened::read(&record.entry) {
        Ok(opened) => opened,
        Err(error) => {
            event.damage = Some(error.to_string());
            return event;
        }
    };
    event.id = opened.event.id.to_string();
    event.node =
        Node { id: opened.event.node.to_string(), boot: opened.event.boot, seq: opened.event.seq };
    event.session =
        opened.event.session.map(|place| SessionPlace { id: place.id.to_string(), seq: place.seq });
    event.context = record.context_id.map(|id| id.to_string());
    event.effects = effects(&opened);
    let [actor, decision, intent, resource, source] =
        CIRCUMSTANCES.map(|name| circumstances(name, record, &opened));
    event.actor = opened.event.actor.map(|id| self::actor(id, &actor));
    event.decision = members(&decision);
    event.intent = members(&intent);
    event.resource = members(&resource);
    event.source = members(&source);
    event.detail = members(&opened.section("detail"));
    event.outcome = members(&opened.section("outcome"));
    event.erased = opened.erased();
    event.large = opened.large.clone();
    event.damage = opened.damage.clone();
    join(&mut event, record);
    event
}

fn effects(opened: &Opened) -> Vec<String> {
    match opened.event.whole.get("effects") {
        Some(Value::Array(words)) => words.iter().map(|word| word.display().into_owned()).collect(),
        _ => Vec::new(),
    }
}

/// What the session states, and over it what the event itself says.
fn circumstances(name: &str, record: &Record, opened: &Opened) -> Object {
    let stated = record.context.as_ref().and_then(|context| context.section(name));
    let mut members = stated.cloned().unwrap_or_default();
    members.extend(opened.section(name));
    members
}

fn join(event: &mut AuditEvent, record: &Record) {
    if let Some(text) = record.prepared.as_ref().and_then(|prepared| prepared.value.as_ref())
        && !event.detail.contains_key("text")
    {
        event.detail.insert("text".to_owned(), json(text));
    }
    let Some(result) = &record.result else { return };
    let place = ResultPlace {
        id: result.id.to_string(),
        index: result.entry.index,
        time_us: result.time_us,
    };
    event.result = Some(place);
    if let Ok(opened) = Opened::read(&result.entry) {
        event.outcome.extend(members(&opened.section("outcome")));
        if event.damage.is_none() {
            event.damage = opened.damage;
        }
    }
}

/// An actor of whom only the id is certain.
pub(crate) fn actor(id: loggia_model::id::ActorId, members: &Object) -> EventActor {
    let text = |key: &str| members.get(key).map(|value| value.display()).map(Cow::into_owned);
    EventActor {
        id: id.to_string(),
        name: text("name"),
        actor_type: text("type").or_else(|| Some(ActorType::of(id).as_str().to_owned())),
        authn: text("authn"),
        credential: text("credential"),
        on_behalf_of: text("on_behalf_of"),
    }
}
