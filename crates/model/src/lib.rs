//! The nouns of Loggia and the ports by which its rooms meet. No I/O, no runtime, no clock.
//!
//! Start reading at [`event`]: how a report becomes the bytes of a leaf. [`value`] is the text
//! form, [`seal`] keeps what people typed out of the leaf, [`catalogue`] is the closed list of
//! kinds. [`port`] is what rooms need of each other.

pub mod actor;
pub mod catalogue;
pub mod circumstances;
pub mod decision;
pub mod envelope;
pub mod event;
pub mod fault;
mod fuzz;
pub mod id;
pub mod mint;
pub mod port;
pub mod recording;
pub mod resource;
pub mod seal;
pub mod secret;
pub mod value;

pub use actor::{Actor, ActorType, Authn, Credential, Source};
pub use catalogue::Kind;
pub use event::{Draft, Event, EventDraft, LeafHash};
pub use fault::{Fault, PublicError};
pub use fuzz::fuzz_one;
pub use mint::{Clock, Entropy, Mint};
pub use secret::Secret;
pub use value::Value;
