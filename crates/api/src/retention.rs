//! What is destroyed, and what must not be: erasure of one subject, retention, legal holds.

use serde::{Deserialize, Serialize};

/// Erases what is disclosed and recorded of somebody: [`Erase`] in, [`Erased`] out.
pub const ERASURES: &str = "/v1/erasures";
/// Destroys what is older than its period: [`RunRetention`] in, [`RetentionRun`] out.
pub const RETENTION_RUN: &str = "/v1/retention/run";
/// Lists legal holds: [`Page`](crate::control::Page) in, [`Holds`] out. Adds one: [`AddHold`] in,
/// [`Hold`] out.
pub const HOLDS: &str = "/v1/holds";
/// Takes a legal hold away: [`RemoveHold`] in, [`Hold`] out.
pub const HOLD_REMOVE: &str = "/v1/holds/{id}/remove";

/// Whom to erase, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Erase {
    /// Name or id of a person or service account.
    pub subject: String,
    /// Why; recorded, and itself sealed.
    pub reason: String,
    /// Only say what would go.
    #[serde(default)]
    pub dry_run: bool,
}

/// What an erasure has destroyed, or would destroy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Erased {
    /// `would_erase`, `erased`, or `running`: it goes on, and `erasure.done` says when it is done.
    pub state: String,
    /// Id of the subject.
    pub subject: String,
    /// Id of the `erasure.started`; absent where nothing was started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<String>,
    /// Events whose disclosures go.
    pub disclosures: u64,
    /// Large values that go.
    pub blobs: u64,
    /// Recordings that go.
    pub recordings: u64,
    /// Sessions that these events belong to.
    pub sessions: u64,
    /// Keys that go, and with them every copy of what lies under them.
    pub keys: u64,
    /// Ids of the legal holds that keep it from being done.
    pub holds: Vec<String>,
    /// Followers that have not forgotten yet.
    pub pending: Vec<String>,
}

/// Whether retention is to be run, or only told.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RunRetention {
    /// Only say what would go.
    #[serde(default)]
    pub dry_run: bool,
}

/// What retention has destroyed, or would destroy.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct RetentionRun {
    /// What has a period in the configuration; empty where nothing has.
    pub parts: Vec<RetentionPart>,
}

/// One sort of thing that has a period.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct RetentionPart {
    /// `disclosures` or `recordings`.
    pub what: String,
    /// `would_destroy`, `destroyed`, `nothing`, or `running`.
    pub state: String,
    /// What is from before this time goes, microseconds since 1970.
    pub until_us: i64,
    /// Id of the `retention.started`; absent where nothing was started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<String>,
    /// Events whose disclosures go.
    pub disclosures: u64,
    /// Large values that go.
    pub blobs: u64,
    /// Recordings that go.
    pub recordings: u64,
    /// Events or recordings that a legal hold keeps.
    pub held: u64,
    /// Ids of the legal holds that keep something.
    pub holds: Vec<String>,
}

/// A legal hold: keeps what meets all that is given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Hold {
    /// Its id.
    pub id: String,
    /// Name of a person or service account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub person: Option<String>,
    /// Id of a session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// Name of a resource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// From this time on, microseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_us: Option<i64>,
    /// Before this time, microseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_us: Option<i64>,
    /// Why.
    pub reason: String,
    /// When it was added, microseconds since 1970.
    pub created_us: i64,
    /// Name of who added it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
}

/// Legal holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Holds {
    /// In the order they were added.
    pub holds: Vec<Hold>,
    /// Where the rest begins; absent at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A legal hold that is to be added; at least one of what it keeps must be given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AddHold {
    /// Name or id of a person or service account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub person: Option<String>,
    /// Id of a session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// Name of a resource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// From this time on, microseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_us: Option<i64>,
    /// Before this time, microseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_us: Option<i64>,
    /// Why.
    pub reason: String,
}

/// Why a hold is taken away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RemoveHold {
    /// Why; recorded.
    pub reason: String,
}
