//! The formats of a C2SP tiled transparency log: Merkle tree, tiles, signed
//! notes, checkpoints, cosignatures of witnesses, quorum policies and offline proofs.
//!
//! What it is: pure functions and values over bytes. Everything that another
//! implementation must agree with bit for bit is here and nowhere else, so that
//! the gateway that writes a log and the outsider who verifies one run the same
//! code. Sources: RFC 6962 section 2.1 (tree), C2SP `signed-note`,
//! `tlog-checkpoint`, `tlog-cosignature`, `tlog-witness`, `tlog-tiles`, `tlog-policy` and
//! `tlog-proof`.
//!
//! What it is not: it opens no file and no socket, reads no clock, keeps no log.
//! The write-ahead log, the sequencer and the publishing of tiles are in
//! `loggia-ledger`; what a whole log or a session must fulfil is checked by
//! `loggia-verify`. It depends on no other crate of ours.
//!
//! Where to start reading: [`hash`] (two functions define the tree), then
//! [`merkle`] (append, prove, verify), [`tile`] (how the tree lies in files),
//! [`note`] and [`checkpoint`] (what is signed), [`cosignature`] and [`witness`] (who else saw
//! it), [`policy`] (how many of them it takes), [`proof`] (all of it in one file for one entry).
//!
//! It needs an allocator and nothing else of a system (`no_std`), so it also runs in a browser.
//!
//! Bytes from outside never panic here: every parser returns an error that says
//! what is malformed, accepts only the canonical form, and gives back the same
//! bytes when formatted again.
#![forbid(unsafe_code)]
#![cfg_attr(not(test), no_std)]

extern crate alloc;

pub mod checkpoint;
pub mod cosignature;
mod fuzz;
pub mod hash;
pub mod merkle;
pub mod note;
pub mod policy;
pub mod proof;
pub mod tile;
pub mod witness;

pub use checkpoint::{Checkpoint, CosignedCheckpoint};
pub use cosignature::CosignerKey;
pub use fuzz::fuzz_one;
pub use hash::{EMPTY_ROOT, Hash, leaf_hash, node_hash};
pub use merkle::{CompactRange, HashReader};
pub use note::{SignedNote, SigningKey, VerifierKey};
pub use policy::Policy;
pub use proof::TlogProof;
pub use tile::{BundleId, TileId, TilePath, TileReader};
