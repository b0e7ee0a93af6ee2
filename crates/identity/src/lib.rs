//! People, services and their credentials.
//!
//! Start reading at [`sign_in`]: how somebody without a credential proves who they are. What they
//! get for it is made in [`credential`], and what it is worth later is judged in [`identify`]. The
//! proofs are [`password`], [`totp`] and [`key`]; [`throttle`] keeps strangers at bay; [`ca`],
//! [`ssh`] and [`files`] hold the keys; [`mod@routes`] is the way in by HTTP.
//!
//! Trusted: the files in `keys/` and the control database. Whoever can write the latter can let
//! anybody in, and the log will not know of the credential they used: that is how it shows.

pub mod ca;
mod certificate;
pub mod credential;
mod events;
pub mod files;
pub mod identify;
pub mod key;
pub mod password;
pub mod routes;
pub mod sign_in;
pub mod ssh;
pub mod throttle;
pub mod token;
pub mod totp;

#[cfg(test)]
mod testing;

pub use ca::{Ca, DEFAULT_NAMES, ServerCertificate};
pub use credential::{Issued, Minter, Wanted};
pub use files::KeysError;
pub use identify::Identifier;
pub use routes::{public_routes, routes};
pub use sign_in::{EndSessions, NOTICE_DEFAULT, Settings, SignIn};
pub use ssh::{SshAuthorities, SshPublicKey};
