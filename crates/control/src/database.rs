//! Opens the control database: one SQLite file, readable by its owner alone.
//!
//! Kept and backed up: people, services, verifiers, credentials, resources, policies, locks. Its
//! loss locks everybody out; an edit by hand is not recorded anywhere.

use loggia_model::port::StateError;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{SqlSafeStr, SqlitePool};
use std::fs::{OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

/// How long a statement waits for another process that holds the database.
const BUSY_WAIT_MAX: Duration = Duration::from_secs(5);
/// How long a caller waits for a free connection.
const ACQUIRE_WAIT_MAX: Duration = Duration::from_secs(10);
/// Connections at a time: readers beside the one writer.
const CONNECTIONS_MAX: u32 = 4;

/// The migrations, in order. A migration that was released is never changed.
const MIGRATIONS: &[(i64, &str, &str)] = &[
    (1, "begin", include_str!("../migrations/0001_begin.sql")),
    (2, "ssh", include_str!("../migrations/0002_ssh.sql")),
    (3, "holds", include_str!("../migrations/0003_holds.sql")),
];

/// Opens the database, making it where it is absent, and brings its tables up to date.
pub(crate) async fn open(path: &Path) -> Result<SqlitePool, StateError> {
    own(path).map_err(|error| StateError(format!("{}: {error}", path.display())))?;
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .journal_mode(SqliteJournalMode::Wal)
        // A change that was answered survives the death of the machine.
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(BUSY_WAIT_MAX);
    let pool = SqlitePoolOptions::new()
        .max_connections(CONNECTIONS_MAX)
        .acquire_timeout(ACQUIRE_WAIT_MAX)
        .connect_with(options)
        .await
        .map_err(|error| StateError(format!("{}: {error}", path.display())))?;
    let migrations = MIGRATIONS.iter().map(|(version, name, sql)| {
        let kind = MigrationType::Simple;
        Migration::new(*version, (*name).into(), kind, (*sql).into_sql_str(), false)
    });
    Migrator::with_migrations(migrations.collect())
        .run(&pool)
        .await
        .map_err(|error| StateError(format!("{}: {error}", path.display())))?;
    Ok(pool)
}

/// Sees to it that the file exists and only its owner can read it. SQLite gives the files beside
/// it (`-wal`, `-shm`) the same mode.
fn own(path: &Path) -> io::Result<()> {
    let file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?;
    if file.metadata()?.permissions().mode() & 0o077 != 0 {
        file.set_permissions(Permissions::from_mode(0o600))?;
    }
    Ok(())
}
