//! The configuration file: strict, commented, with a default for everything but the data folder.
//!
//! Control state (people, resources, policies) is not configuration: it is declared, planned and
//! applied. This file says only where things listen and lie.

use crate::witnesses::WitnessConfig;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// The commented file that `loggia init` writes.
const TEMPLATE: &str = include_str!("loggia.toml");

/// The configuration of one gateway.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The data folder.
    pub data: PathBuf,
    /// Host names and addresses under which clients reach this gateway.
    #[serde(default = "default_names")]
    pub names: Vec<String>,
    /// Where the listeners are.
    #[serde(default)]
    pub listen: Listen,
    /// The write-ahead log's segments and the second place of the checkpoint.
    #[serde(default)]
    pub ledger: LedgerConfig,
    /// Sign-in.
    #[serde(default)]
    pub identity: IdentityConfig,
    /// Search.
    #[serde(default)]
    pub store: StoreConfig,
    /// Limits of sessions, where policies say nothing else.
    #[serde(default)]
    pub session: SessionConfig,
    /// How long disclosures and recordings are kept.
    #[serde(default)]
    pub retention: RetentionConfig,
}

/// How long is kept what may be destroyed; without a period, for ever.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetentionConfig {
    /// What is disclosed of events: `365d`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disclosures: Option<Days>,
    /// Recordings of sessions: `90d`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recordings: Option<Days>,
}

/// A period of whole days, written `90d`: at least one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Days(pub u32);

impl TryFrom<String> for Days {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let days = text.strip_suffix('d').and_then(|days| days.parse().ok());
        let days = days.filter(|days| (1..=36_500).contains(days));
        days.map(Self).ok_or_else(|| format!("`{text}` is no period; write days, such as 90d"))
    }
}

impl From<Days> for String {
    fn from(days: Days) -> Self {
        format!("{}d", days.0)
    }
}

/// Addresses to listen on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Listen {
    /// API.
    pub api: SocketAddr,
    /// PostgreSQL.
    pub postgres: SocketAddr,
    /// SSH.
    pub ssh: SocketAddr,
    /// Metrics; plain HTTP, no secrets.
    pub metrics: SocketAddr,
}

impl Default for Listen {
    fn default() -> Self {
        Self {
            api: SocketAddr::from(([127, 0, 0, 1], 7443)),
            postgres: SocketAddr::from(([127, 0, 0, 1], 7432)),
            ssh: SocketAddr::from(([127, 0, 0, 1], 7022)),
            metrics: SocketAddr::from(([127, 0, 0, 1], 7464)),
        }
    }
}

/// The ledger.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LedgerConfig {
    /// Where the last checkpoint is written a second time. Without it: the state folder of the
    /// service or of the user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checkpoint_copy: Option<PathBuf>,
    /// Size of a segment of the write-ahead log, in MiB: 1 to 64.
    pub segment_mib: usize,
    /// A C2SP `tlog-policy` file: which of the witnesses together are enough. Without it: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<PathBuf>,
    /// Those who cosign this log's checkpoints.
    #[serde(rename = "witness", skip_serializing_if = "Vec::is_empty")]
    pub witnesses: Vec<WitnessConfig>,
}

impl Default for LedgerConfig {
    fn default() -> Self {
        Self { checkpoint_copy: None, segment_mib: 16, policy: None, witnesses: Vec::new() }
    }
}

/// Sign-in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct IdentityConfig {
    /// How long credentials last, in minutes: 1 to 1440.
    pub credential_minutes: u32,
    /// The notice that everything is recorded, shown at login and at session start.
    pub notice: String,
}

impl Default for IdentityConfig {
    fn default() -> Self {
        Self { credential_minutes: 480, notice: loggia_identity::NOTICE_DEFAULT.to_owned() }
    }
}

/// Search.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StoreConfig {
    /// Memory for the newest events, in MiB: 1 to 65536.
    pub memory_mib: usize,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self { memory_mib: 256 }
    }
}

/// Limits of a session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SessionConfig {
    /// Time without an action, in minutes.
    pub idle_minutes: u32,
    /// Time in all, in minutes.
    pub minutes: u32,
    /// What its events and its recording may take, in MiB; the session ends there.
    pub recorded_mib: u64,
    /// What its recording may take, in MiB; beyond, bytes are hashed and counted, and not kept.
    pub recording_mib: u64,
    /// How long a session waits for a ledger that takes no events before it is ended, in seconds.
    pub pause_seconds: u32,
}

impl Default for SessionConfig {
    fn default() -> Self {
        Self {
            idle_minutes: 480,
            minutes: 1_440,
            recorded_mib: 8_192,
            recording_mib: 1_024,
            pause_seconds: 30,
        }
    }
}

fn default_names() -> Vec<String> {
    loggia_identity::DEFAULT_NAMES.map(str::to_owned).to_vec()
}

/// Why a configuration file cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {message}")]
pub struct ConfigError {
    /// `FILE:LINE:COLUMN`, or the file.
    pub place: String,
    /// What is wrong.
    pub message: String,
    /// What may have been meant.
    pub hint: Option<String>,
}

impl Config {
    /// The defaults over a data folder.
    pub fn over(data: impl Into<PathBuf>) -> Self {
        Self {
            data: data.into(),
            names: default_names(),
            listen: Listen::default(),
            ledger: LedgerConfig::default(),
            identity: IdentityConfig::default(),
            store: StoreConfig::default(),
            session: SessionConfig::default(),
            retention: RetentionConfig::default(),
        }
    }

    /// The commented file for this data folder.
    pub fn template(data: &Path) -> String {
        let data = toml::Value::String(data.display().to_string()).to_string();
        TEMPLATE.replace("@DATA@", &data)
    }

    /// Reads and checks a file.
    ///
    /// # Errors
    /// With line, column and the nearest known key.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|error| ConfigError {
            place: path.display().to_string(),
            message: error.to_string(),
            hint: Some("`loggia init` writes a configuration file".to_owned()),
        })?;
        Self::parse(&text, &path.display().to_string())
    }

    /// Reads and checks the text of a file called `name`.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn parse(text: &str, name: &str) -> Result<Self, ConfigError> {
        let config: Self = toml::from_str(text).map_err(|error| {
            let message = error.message().to_owned();
            let place = match error.span() {
                Some(span) => place_of(text, span.start, name),
                None => name.to_owned(),
            };
            ConfigError { place, hint: did_you_mean(&message), message }
        })?;
        config.check(name)?;
        Ok(config)
    }

    fn check(&self, name: &str) -> Result<(), ConfigError> {
        let wrong =
            |message: String| Err(ConfigError { place: name.to_owned(), message, hint: None });
        if !(1..=64).contains(&self.ledger.segment_mib) {
            return wrong("ledger.segment_mib must be 1 to 64".to_owned());
        }
        if let Err(why) = crate::witnesses::check(&self.ledger.witnesses) {
            return wrong(why);
        }
        if self.ledger.policy.is_some() && self.ledger.witnesses.is_empty() {
            return wrong(
                "ledger.policy says which witnesses are enough, and there are none".into(),
            );
        }
        if !(1..=1_440).contains(&self.identity.credential_minutes) {
            return wrong("identity.credential_minutes must be 1 to 1440".to_owned());
        }
        if !(1..=65_536).contains(&self.store.memory_mib) {
            return wrong("store.memory_mib must be 1 to 65536".to_owned());
        }
        if self.names.is_empty() {
            return wrong("names must have at least one host name or address".to_owned());
        }
        let session = &self.session;
        let minutes = [session.idle_minutes, session.minutes].map(u64::from);
        let limits = [session.recorded_mib, session.recording_mib];
        if minutes.into_iter().chain(limits).any(|limit| limit == 0) {
            return wrong("limits under [session] must be at least 1".to_owned());
        }
        Ok(())
    }

    /// The control database.
    pub fn control_db(&self) -> PathBuf {
        self.data.join("control.db")
    }

    /// The folder of keys.
    pub fn keys(&self) -> PathBuf {
        self.data.join("keys")
    }

    /// The spine's limits.
    pub fn limits(&self) -> loggia_gate::Limits {
        let minute_us = 60_000_000;
        loggia_gate::Limits {
            pause_max: std::time::Duration::from_secs(u64::from(self.session.pause_seconds)),
            session: loggia_gate::SessionLimits {
                idle_us_max: i64::from(self.session.idle_minutes) * minute_us,
                session_us_max: i64::from(self.session.minutes) * minute_us,
                recorded_bytes_max: mib(self.session.recorded_mib),
                recording_bytes_max: mib(self.session.recording_mib),
            },
            ..loggia_gate::Limits::default()
        }
    }
}

const fn mib(count: u64) -> u64 {
    count.saturating_mul(1 << 20)
}

fn place_of(text: &str, offset: usize, name: &str) -> String {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    format!("{name}:{line}:{column}")
}

/// From "unknown field `x`, expected one of `a`, `b`": the nearest of those.
fn did_you_mean(message: &str) -> Option<String> {
    let mut quoted = message.strip_prefix("unknown field ")?.split('`').skip(1).step_by(2);
    let unknown = quoted.next()?;
    let nearest = quoted
        .map(|known| (strsim::damerau_levenshtein(unknown, known), known))
        .min()
        .filter(|(distance, _)| *distance <= 3)?;
    Some(format!("did you mean `{}`?", nearest.1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_written_file_reads_back_as_the_defaults() {
        let text = Config::template(Path::new("/var/lib/loggia"));
        let config = Config::parse(&text, "loggia.toml").unwrap();
        assert_eq!(config, Config::over("/var/lib/loggia"));
    }

    #[test]
    fn an_unknown_key_is_named_with_its_place_and_the_nearest_known_one() {
        let text = "data = \"/x\"\n[listen]\npostgers = \"127.0.0.1:1\"\n";
        let error = Config::parse(text, "loggia.toml").unwrap_err();
        assert_eq!(error.place, "loggia.toml:3:1");
        assert!(error.message.contains("postgers"), "{}", error.message);
        assert_eq!(error.hint.as_deref(), Some("did you mean `postgres`?"));
    }

    #[test]
    fn values_out_of_bounds_are_refused() {
        let error = Config::parse("data = \"/x\"\n[ledger]\nsegment_mib = 0\n", "c").unwrap_err();
        assert!(error.to_string().contains("segment_mib"));
    }
}
