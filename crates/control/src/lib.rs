//!
//! Start reading at [`Control`]: one SQLite file, and in memory what is in force of it. Every
//! change goes the same way (`change.rs`): looked at, recorded in the ledger, written in one
//! transaction together with the event's id, put in force. Questions ([`loggia_model::port::Decide`],
//! [`loggia_model::port::Resolve`]) are answered from memory and never wait.
//!
//! [`Declaration`] reads what people declare in files; [`Control::plan`] says what it would
//! change, [`Control::apply`] does it.

mod change;
mod database;
mod declaration;
mod directory;
mod edit;
mod error;
mod handlers;
mod hold;
mod keys;
mod lock;
mod locks;
mod people;
mod plan;
mod snapshot;

pub use change::{ChangeBy, Control};
pub use declaration::{Declaration, DeclarationError, DeclarationErrors, DeclaredFile};
pub use error::ControlError;
pub use handlers::{ControlApi, Cut, routes};
pub use hold::{Hold, HoldScope, StandingHolds};
pub use keys::OwnedKey;
pub use lock::{Lock, LockTarget};
pub use locks::NewLock;
pub use people::{Disabled, ENROLMENT_US, NewPerson};
pub use plan::{Applied, EnrolmentCodes, Plan, PlannedChange};
pub use snapshot::{Identity, SshKey};

#[cfg(test)]
mod tests;
