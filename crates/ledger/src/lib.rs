//! The ledger: write-ahead log, sequencer, tiles, checkpoints, followers, recovery.
//!
//! The life of an event, file by file: [`sequencer`](self) stamps and writes it, `flush` makes it
//! durable, `publish` puts it into tiles and under a signed checkpoint, `follow` shows it to
//! everything else. `recover` takes up what a crash left and goes on with the same steps.
//!
//! `signer` is the port behind which the log's key lies, `keys` where its keys stand in the folder,
//! `rotate` puts the log under a new one.
//!
//! `mirror` makes a second copy. `cosign` takes each checkpoint to the log's witnesses; `witness` is the other side: a witness of other people's logs.
//!
//! What is trusted: nothing on disk but the keys. `log/` and `wal/` are held to every checkpoint
//! that is still known; `resume.json` is a view and can be deleted.

mod blobs;
mod cosign;
mod disk;
mod epoch;
mod erase;
mod error;
mod flush;
mod follow;
mod keys;
mod layout;
mod ledger;
mod metrics;
mod mirror;
mod publish;
mod recover;
mod resume;
mod rotate;
mod segments;
mod sequencer;
mod shared;
mod signer;
mod subjects;
mod tail;
mod tiles;
mod witness;

pub use cosign::{
    Answer, AskWitness, CosignLimits, Cosigning, PeerState, WitnessPeer, WitnessStanding,
    Witnessed, ask_witnesses, compare,
};
pub use disk::{Disk, Hook, Touch, is_full};
pub use epoch::{LogName, init, init_with_key, new_epoch, own_log_keys};
pub use erase::{Doomed, Keep, Met, Ordered};
pub use error::LedgerError;
pub use layout::Layout;
pub use ledger::{LastWords, Ledger, LedgerOptions, Opening};
pub use metrics::LedgerMetrics;
pub use mirror::{FolderSource, Mirror, MirrorEntry, MirrorError, MirrorSource, Pulled};
pub use rotate::{retire_key, rotate_key};
pub use signer::{FileSigner, KeyElsewhere, KeyStore, LogSigner, SignError};
#[cfg(feature = "pkcs11")]
pub use signer::{Pkcs11, ReadPin};
pub use witness::{NotCosigned, Remembered, Witness, WitnessError, WitnessOptions};
