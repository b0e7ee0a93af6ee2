//! Reading what was recorded: events, sessions and their timelines; ending a session.
//!
//! An event reads here as its leaf says, with three things joined in that stand elsewhere in the
//! log: the circumstances of its session ([`AuditEvent::context`] names the event they stand in),
//! the text of a prepared statement (`detail.prepared` names the event it stands in) and what the
//! action gave ([`AuditEvent::result`] names the event that says so).

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Searches events: [`EventQuery`] in, [`EventPage`] out.
pub const EVENTS: &str = "/v1/events";
/// Follows events from now on: [`TailQuery`] in, one [`TailLine`] per line out
/// (`application/x-ndjson`). An empty line now and then says that the connection lives.
pub const EVENTS_TAIL: &str = "/v1/events/tail";
/// Lists sessions, newest first: [`SessionQuery`] in, [`SessionPage`] out.
pub const SESSIONS: &str = "/v1/sessions";
/// One session from its beginning: [`TimelineQuery`] in, [`Timeline`] out.
pub const SESSION: &str = "/v1/sessions/{id}";
/// The proof of a session's beginning and end, for the person whose it is: [`Receipt`] out.
pub const SESSION_RECEIPT: &str = "/v1/sessions/{id}/receipt";
/// Ends a running session: [`EndSession`] in, [`SessionEnding`] out.
pub const SESSION_END: &str = "/v1/sessions/{id}/end";

/// The media type of a tail.
pub const NDJSON: &str = "application/x-ndjson";
/// Events on a page when nobody asks for a number.
pub const LIMIT_DEFAULT: u32 = 100;
/// Events on a page at most.
pub const LIMIT_MAX: u32 = 1_000;
/// A query is at most this long, in bytes.
pub const QUERY_BYTES_MAX: usize = 4_096;
/// A stated reason is at most this long, in bytes.
pub const REASON_BYTES_MAX: usize = 1_024;

/// Which end of the log comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// The newest event first.
    #[default]
    Newest,
    /// The oldest event first.
    Oldest,
}

/// What to search for.
#[derive(
    Debug,
    Clone,
    Default,
    PartialEq,
    Eq,
    Serialize,
    Deserialize,
    utoipa::ToSchema,
    utoipa::IntoParams,
)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct EventQuery {
    /// The query; empty finds every event. At most 4096 bytes.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub q: String,
    /// Events on the page: 1 to 1000; 100 without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// `next` of the page before, with the same query and order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// Which end comes first.
    #[serde(default)]
    pub order: Order,
}

/// What to follow.
#[derive(
    Debug,
    Clone,
    Default,
    PartialEq,
    Eq,
    Serialize,
    Deserialize,
    utoipa::ToSchema,
    utoipa::IntoParams,
)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct TailQuery {
    /// The query; empty follows every event.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub q: String,
}

/// Events that match a query.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct EventPage {
    /// The events, in the order that was asked for.
    pub items: Vec<AuditEvent>,
    /// Where the next page begins; absent at the end of the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// Events that were looked at for this page.
    pub scanned: u64,
    /// Those of them that match.
    pub matched: u64,
    /// How long it took, in microseconds.
    pub took_us: u64,
    /// False where the search stopped because it took too long and not because the page was
    /// full; `next` goes on from there.
    pub complete: bool,
    /// Entries in the log when the search began.
    pub log_size: u64,
}

/// One event.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct AuditEvent {
    /// Its id.
    pub id: String,
    /// Code of the kind, such as `sql.statement`; `unreadable` for an entry that is no event of a
    /// version that this program knows.
    pub kind: String,
    /// When: microseconds since 1970.
    pub time_us: i64,
    /// The same in RFC 3339, UTC.
    pub time: String,
    /// Index in the log.
    pub index: u64,
    /// SHA-256 of the leaf as in RFC 6962 (hex).
    pub leaf_hash: String,
    /// The node that wrote it.
    pub node: Node,
    /// Its place in a session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionPlace>,
    /// Who acted; absent before identification.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<EventActor>,
    /// What it does to the world: words of a closed set, sorted.
    #[serde(default)]
    pub effects: Vec<String>,
    /// To what: `id`, `name`, `protocol`, `account`, `database`.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    #[schema(value_type = Object)]
    pub resource: Map<String, Value>,
    /// From where: `ip`, `port`.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    #[schema(value_type = Object)]
    pub source: Map<String, Value>,
    /// By what right: `effect`, `policies`, `policy_set`.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    #[schema(value_type = Object)]
    pub decision: Map<String, Value>,
    /// Why: `reason`, `ticket`.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    #[schema(value_type = Object)]
    pub intent: Map<String, Value>,
    /// What the kind has to say; see the reference of events.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    #[schema(value_type = Object)]
    pub detail: Map<String, Value>,
    /// How it went; for an action, what its result says.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    #[schema(value_type = Object)]
    pub outcome: Map<String, Value>,
    /// The event in which the joined circumstances of the session stand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    /// The event in which the joined outcome stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<ResultPlace>,
    /// Sealed fields that cannot be shown any more: RFC 6901 pointers, sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub erased: Vec<String>,
    /// Sealed fields that are too large to be shown here: RFC 6901 pointers, sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub large: Vec<String>,
    /// What is wrong with the entry: it cannot be read, or its disclosure is not what the log
    /// committed to. `loggia verify` says more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub damage: Option<String>,
}

/// The node that wrote an event, and its number there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Node {
    /// Id of the node.
    pub id: String,
    /// Number of the node's boot.
    pub boot: u64,
    /// Number of the event in that boot.
    pub seq: u64,
}

/// The place of an event in its session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct SessionPlace {
    /// Id of the session.
    pub id: String,
    /// Number in the session, from 1, without gaps.
    pub seq: u64,
}

/// Who acted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct EventActor {
    /// The id.
    pub id: String,
    /// The name, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `human`, `service`, `pipeline`, `third_party`, `agent` or `system`.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub actor_type: Option<String>,
    /// How they were authenticated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authn: Option<String>,
    /// Id of the credential.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
    /// Id of the identity for whom they act.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_behalf_of: Option<String>,
}

/// Where the result of an action stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ResultPlace {
    /// Id of the event.
    pub id: String,
    /// Index in the log.
    pub index: u64,
    /// When: microseconds since 1970.
    pub time_us: i64,
}

/// One line of a tail.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(untagged)]
pub enum TailLine {
    /// The reader was too slow, or too much happened: so many events are not in the tail. They
    /// are in the log and a search finds them.
    Skipped {
        /// How many events.
        skipped: u64,
    },
    /// The tail ended; no line follows.
    Ended {
        /// Why, in a sentence.
        ended: String,
    },
    /// An event that matches.
    Event(Box<AuditEvent>),
}

/// Which sessions to list.
#[derive(
    Debug,
    Clone,
    Default,
    PartialEq,
    Eq,
    Serialize,
    Deserialize,
    utoipa::ToSchema,
    utoipa::IntoParams,
)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct SessionQuery {
    /// True: those that run now. Otherwise those that ended, too.
    #[serde(default)]
    pub live: bool,
    /// Sessions on the page: 1 to 1000; 100 without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// `next` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// Sessions, newest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct SessionPage {
    /// The sessions.
    pub items: Vec<SessionSummary>,
    /// Where the next page begins; absent after the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Whether a session runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SessionState {
    /// No end is recorded.
    #[default]
    Open,
    /// Its end is recorded.
    Ended,
}

/// A session in a few words. What its end says stands here once it ended; `actions` of a session
/// that runs is the gateway's counter.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct SessionSummary {
    /// Its id.
    pub id: String,
    /// Whether it runs.
    pub state: SessionState,
    /// Its beginning: microseconds since 1970.
    pub started_us: i64,
    /// The same in RFC 3339, UTC.
    pub started: String,
    /// Its end: microseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_us: Option<i64>,
    /// Who.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<EventActor>,
    /// On what: `id`, `name`, `protocol`, `account`, `database`.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    #[schema(value_type = Object)]
    pub resource: Map<String, Value>,
    /// From where: `ip`, `port`.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    #[schema(value_type = Object)]
    pub source: Map<String, Value>,
    /// Why: `reason`, `ticket`.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    #[schema(value_type = Object)]
    pub intent: Map<String, Value>,
    /// What the client calls itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub application: Option<String>,
    /// Index in the log of its first event.
    pub index: u64,
    /// Actions forwarded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actions: Option<u64>,
    /// Bytes from the client to the target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_in: Option<u64>,
    /// Bytes from the target to the client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_out: Option<u64>,
    /// Frames of its recording, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recording_frames: Option<u64>,
    /// Length of its recording in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recording_bytes: Option<u64>,
    /// Why it ended: stable code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_reason: Option<String>,
    /// What the person was told about its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_note: Option<String>,
}

/// Which part of a timeline.
#[derive(
    Debug,
    Clone,
    Default,
    PartialEq,
    Eq,
    Serialize,
    Deserialize,
    utoipa::ToSchema,
    utoipa::IntoParams,
)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct TimelineQuery {
    /// Events on the page: 1 to 1000; 100 without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// `next` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// What happened in a session, in order. A result is shown with its action, not by itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Timeline {
    /// The session.
    pub session: SessionSummary,
    /// Its events, the first one first.
    pub items: Vec<AuditEvent>,
    /// Where the next page begins; absent after the last event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// The proof of a session's beginning and end, to be kept by the person whose it is. Each part can
/// be checked offline with the log's key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Receipt {
    /// Id of the session.
    pub session: String,
    /// Name of the log.
    pub origin: String,
    /// The log's verification key, as the gateway says: hold it to the one that you have.
    pub key: String,
    /// `start`, and `end` once the session is over.
    pub parts: Vec<ReceiptPart>,
}

/// One entry of a receipt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ReceiptPart {
    /// `start` or `end`.
    pub name: String,
    /// Index in the log.
    pub index: u64,
    /// The bytes of the leaf, verbatim.
    pub entry: String,
    /// What is disclosed of its sealed fields.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open: Option<String>,
    /// Content of a C2SP `tlog-proof` file, with the signed checkpoint.
    pub proof: String,
}

/// Ends a running session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EndSession {
    /// Why; the person is shown it. 1 to 1024 bytes.
    pub reason: String,
}

/// The end of a session was recorded as asked for and is under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct SessionEnding {
    /// Id of the session.
    pub session: String,
    /// Id of the event that says who asked for it.
    pub event: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_a_tail_reads_back_as_what_it_is() {
        let event =
            AuditEvent { id: "ev_1".into(), kind: "sql.statement".into(), ..Default::default() };
        for line in [
            TailLine::Skipped { skipped: 7 },
            TailLine::Ended { ended: "the credential expired".into() },
            TailLine::Event(Box::new(event)),
        ] {
            let text = serde_json::to_string(&line).unwrap();
            assert_eq!(serde_json::from_str::<TailLine>(&text).unwrap(), line, "{text}");
        }
        assert_eq!(
            serde_json::to_string(&TailLine::Skipped { skipped: 7 }).unwrap(),
            r#"{"skipped":7}"#
        );
    }

    #[test]
    fn what_an_event_does_not_have_is_not_written() {
        let text = serde_json::to_string(&AuditEvent::default()).unwrap();
        assert!(!text.contains("null") && !text.contains("resource"), "{text}");
    }
}
