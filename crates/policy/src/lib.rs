//! Decides: (actor, action, resource, context, Cedar policies) to a decision with reasons.
//!
//! Pure: texts and questions go in, answers come out; no clock, no file, no network. Start reading
//! at [`PolicySet::compile`], then [`PolicySet::decide`].
//!
//! - [`SCHEMA`] says what policies can speak of, [`BUILTIN`] is in force beside them.
//! - Annotations: `@id("name")` names a policy, `@description("…")` is for readers, and on a
//!   `permit` the obligations `@depth("disk"|"kernel")`, `@idle("15m")`, `@session("8h")`,
//!   `@recorded("1GiB")`. There are no others.
//! - Any evaluation error makes the answer a deny.

mod ask;
mod compile;
mod error;
mod obligation;
mod reads;
mod scan;

pub use compile::{PolicySet, TEXT_BYTES_MAX};
pub use error::{PolicyError, PolicyErrors};

/// The Cedar schema against which every policy is checked.
pub const SCHEMA: &str = include_str!("loggia.cedarschema");

/// The policies that are compiled in.
pub const BUILTIN: &str = include_str!("builtin.cedar");

#[cfg(test)]
mod tests;
