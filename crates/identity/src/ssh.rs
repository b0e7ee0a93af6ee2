//! SSH: keys, certificates and the authorities that sign them.
//!
//! [`authority`] keeps the authorities and this gateway's host key as files; `key` is the one form
//! in which public keys are known here; `certificate` judges what somebody presents: everything
//! that OpenSSH's server would check and the SSH library does not.

pub mod authority;
pub(crate) mod certificate;
mod fuzz;
pub(crate) mod key;

pub use authority::SshAuthorities;
pub use fuzz::fuzz_one;
pub use key::SshPublicKey;

use std::fmt;
use std::str::FromStr;

/// Name of the certificate extension that binds a credential to the log entry that minted it.
pub(crate) const BINDING: &str = "log-binding-v1@loggia.internal";

/// The log entry that a certificate belongs to: `ORIGIN:INDEX:LEAF HASH`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Binding {
    /// Origin of the log.
    pub(crate) origin: String,
    /// Index of the entry.
    pub(crate) index: u64,
    /// Hash of its leaf, lower-case hex.
    pub(crate) leaf_hash: String,
}

impl fmt::Display for Binding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.origin, self.index, self.leaf_hash)
    }
}

impl FromStr for Binding {
    type Err = ();

    /// Reads what [`fmt::Display`] writes, and nothing else.
    fn from_str(text: &str) -> Result<Self, ()> {
        let (before, leaf_hash) = text.rsplit_once(':').ok_or(())?;
        let (origin, index) = before.rsplit_once(':').ok_or(())?;
        let lower_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        let good = !origin.is_empty() && leaf_hash.len() == 64 && leaf_hash.bytes().all(lower_hex);
        let binding = Self {
            origin: origin.to_owned(),
            index: index.parse().map_err(|_| ())?,
            leaf_hash: leaf_hash.to_owned(),
        };
        // `+1` and `01` are numbers too.
        if good && binding.to_string() == text { Ok(binding) } else { Err(()) }
    }
}

#[cfg(test)]
mod tests;
