//! The HTTP contract: types, errors, routes. No implementation: each room brings its handlers,
//! `server` composes them. JSON over `/v1/…`; errors are problem details (RFC 9457).
//!
//! Types of the API are not types of the model or of storage; conversion is by hand, at the edge.

pub mod audit;
pub mod control;
pub mod identity;
pub mod openapi;
pub mod problem;
pub mod recordings;
pub mod retention;

pub use problem::Problem;
