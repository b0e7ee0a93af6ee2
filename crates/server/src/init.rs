//! `loggia init`: a data folder, keys, the first administrator, a commented configuration file.

use crate::compose::{Foundation, ledger_options};
use crate::config::Config;
use crate::explain;
use anyhow::Context;
use loggia_api::identity::EnrolmentCode;
use loggia_control::{ChangeBy, ENROLMENT_US, NewPerson};
use loggia_ledger::LogName;
use loggia_model::Secret;
use loggia_model::resource::is_name;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// What `init` made, to be told.
#[derive(Debug)]
pub struct Initialised {
    /// The configuration file.
    pub config_file: PathBuf,
    /// The data folder.
    pub data: PathBuf,
    /// The log's verification key, to be kept elsewhere.
    pub verification_key: String,
    /// Name of the first administrator.
    pub administrator: String,
    /// Their one-time enrolment code.
    pub enrolment_code: Secret,
    /// SHA-256 of the servers' authority, lower-case hex.
    pub ca_sha256: String,
}

/// Makes everything for one gateway. Never overwrites: where a file or a ledger is already, nothing
/// is changed. `key` is the URI of where the log's key is to lie; without it, in a file.
///
/// # Errors
/// Where something exists, or cannot be written.
pub async fn init(
    config_file: &Path,
    data: &Path,
    administrator: &str,
    name: &LogName,
    key: Option<&str>,
) -> anyhow::Result<Initialised> {
    anyhow::ensure!(
        is_name(administrator),
        "`{administrator}` cannot be a name; use a-z, 0-9, `.`, `_` and `-`"
    );
    anyhow::ensure!(!config_file.exists(), "{} exists already", config_file.display());
    let data = std::path::absolute(data)?;
    let config = Config::over(&data);
    let store = crate::log_key::store();
    let to = crate::log_key::elsewhere(store.as_deref(), key)?;
    let mint = crate::system::mint();
    let verification_key = loggia_ledger::init_with_key(&data, name, &mint, to).map_err(explain)?;

    let foundation = Foundation::open(&config).await?;
    let secret: [u8; 32] = foundation.mint.random();
    let address = format!(
        "{}:{}",
        config.names.first().map_or("localhost", String::as_str),
        config.listen.api.port()
    );
    let code = EnrolmentCode::new(&address, secret, foundation.ca.ca_sha256())?;
    let person = NewPerson {
        name: administrator.to_owned(),
        admin: true,
        groups: Vec::new(),
        newcomer: false,
        code_digest: code.digest(),
        expires_us: foundation.mint.now_us() + ENROLMENT_US,
    };
    let by = ChangeBy::local_root(foundation.ledger.node());
    foundation.control.add_person(person, by).await?;
    let ca_sha256 = hex::encode(foundation.ca.ca_sha256());
    foundation.close("init").await?;

    // Last, so that a file that is there means that everything is.
    write_new(config_file, &Config::template(&data))?;
    Ok(Initialised {
        config_file: config_file.to_owned(),
        data,
        verification_key,
        administrator: administrator.to_owned(),
        enrolment_code: code.encode(),
        ca_sha256,
    })
}

/// Begins a new epoch of the log because the operator says so; gives the new verification key.
/// `key` is as in [`init`].
///
/// # Errors
/// Where the folder is in use, or cannot be written.
pub async fn new_epoch(config: &Config, key: Option<&str>, reason: &str) -> anyhow::Result<String> {
    anyhow::ensure!(!reason.trim().is_empty(), "a reason is needed; it stands in the log");
    let options = ledger_options(config);
    let store = options.keys.clone();
    let to = crate::log_key::elsewhere(store.as_deref(), key)?;
    loggia_ledger::new_epoch(options, to, reason).await.map_err(explain)
}

/// Puts the log under a new key; gives the new verification key. `key` is as in [`init`].
///
/// # Errors
/// Where the folder is in use or cannot be written, or the last replaced key still signs.
pub async fn rotate_key(
    config: &Config,
    key: Option<&str>,
    reason: &str,
) -> anyhow::Result<String> {
    anyhow::ensure!(!reason.trim().is_empty(), "a reason is needed; it stands in the log");
    let options = ledger_options(config);
    let store = options.keys.clone();
    let to = crate::log_key::elsewhere(store.as_deref(), key)?;
    loggia_ledger::rotate_key(options, to, reason).await.map_err(explain)
}

/// Removes the key that the last rotation replaced; gives its verification key.
///
/// # Errors
/// Where the folder is in use, or there is none.
pub fn retire_key(config: &Config) -> anyhow::Result<String> {
    loggia_ledger::retire_key(&config.data).map_err(explain)
}

impl Foundation {
    /// Closes what was opened, in good order.
    ///
    /// # Errors
    /// Where the last events could not be written.
    pub async fn close(self, reason: &str) -> anyhow::Result<()> {
        let reason = reason.to_owned();
        let ledger = self.ledger;
        let closed = tokio::task::spawn_blocking(move || ledger.close(&reason)).await?;
        self.control.close().await;
        closed.map_err(explain)
    }
}

/// Writes a file that must not exist, for its owner alone.
pub(crate) fn write_new(path: &Path, text: &str) -> anyhow::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let mut options = std::fs::OpenOptions::new();
    let file = options.write(true).create_new(true).mode(0o600).open(path);
    let mut file = file.with_context(|| path.display().to_string())?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    Ok(())
}
