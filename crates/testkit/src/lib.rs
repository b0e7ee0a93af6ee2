//! Fakes and helpers for tests: clock, real PostgreSQL, real OpenSSH, fault-injecting storage.
//!
//! What starts a server here starts the real one, in a temporary folder, on a
//! loopback port that the kernel picked, as an unprivileged account, and stops
//! it by its process id. If the test process itself is killed, a small guard
//! process still stops the server and removes the folder.

pub mod account;
pub mod bench;
pub mod certificates;
pub mod deadline;
pub mod demo;
pub mod folder;
pub mod gateway;
pub mod openssh;
pub mod parts;
pub mod pgbouncer;
pub mod postgres;
pub mod process;
pub mod small_disk;
pub mod torture;

pub use certificates::{Authority, Issued};
pub use deadline::{Deadline, wait_until};
pub use folder::{Workspace, free_port};
pub use gateway::{GatewayOptions, GatewayUnderTest, SshSignIn, SshTarget, Target, Verified};
pub use openssh::{OpenSsh, Sshd, SshdOptions};
pub use pgbouncer::{Pgbouncer, PgbouncerOptions};
pub use postgres::{LoggedStatement, Postgres, PostgresOptions, StatementKind};
pub use process::ManagedProcess;
pub use small_disk::SmallDisk;
