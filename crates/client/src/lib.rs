//! Typed client of the HTTP contract: one call for each route of `loggia_api`.
//!
//! A server is known by the certificate authority that was saved at enrolment, or, before that, by
//! the fingerprint in the enrolment code ([`Trust`]); nothing is sent to any other. There is no
//! setting that turns the check off.

mod client;
mod error;
mod recording;
mod tail;
mod trust;

pub use client::{Auth, Client};
pub use error::ClientError;
pub use recording::{RecordingPart, RecordingStream};
pub use tail::TailStream;
pub use trust::{SeenAuthority, Trust};
