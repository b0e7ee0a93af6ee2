//! Who beside the operator has signed for a log: cosignatures, and the auditor's policy over them.

use crate::report::printable;
use loggia_tlog::checkpoint::{CheckpointError, Cosignature};
use loggia_tlog::note::NoteError;
use loggia_tlog::policy::Quorum;
use loggia_tlog::{Checkpoint, Hash, Policy, SignedNote, VerifierKey};
use serde_json::{Value as Json, json};
use std::fmt;

/// The auditor's own word on witnesses, from outside the log.
#[derive(Debug, Clone)]
pub struct WitnessTrust {
    /// Which witnesses there are, and which of them are enough.
    pub policy: Policy,
    /// A cosignature older than this does not count; without, age is no matter.
    pub max_age_s: Option<u64>,
    /// The time now, seconds since 1970.
    pub now_s: u64,
}

/// A checkpoint and who of the policy's witnesses has cosigned it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cosigned {
    /// Entries under it.
    pub size: u64,
    /// Root of their tree.
    pub root: Hash,
    /// By whom, and when.
    pub by: Vec<CosignedBy>,
    /// Whether that is enough.
    pub quorum: Quorum,
}

/// One cosignature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CosignedBy {
    /// Name of the witness in the policy.
    pub witness: String,
    /// When, by the witness's clock, seconds since 1970.
    pub time_s: u64,
    /// Whether it is too old to count.
    pub stale: bool,
}

impl WitnessTrust {
    /// What the policy's witnesses say on a checkpoint of this log.
    ///
    /// # Errors
    /// The name of a witness of the policy whose cosignature does not hold, or what is wrong with
    /// the checkpoint.
    pub(crate) fn judge(&self, note: &SignedNote, key: &VerifierKey) -> Result<Cosigned, String> {
        let witnesses = self.policy.witness_keys();
        let opened =
            Checkpoint::verify_note(note, key, &witnesses).map_err(|error| match error {
                CheckpointError::Signature(NoteError::InvalidSignature { name, .. }) => {
                    format!("the signature of {} does not hold", printable(&name))
                }
                error => error.to_string(),
            })?;
        let fresh: Vec<Cosignature> =
            opened.cosignatures.iter().filter(|one| !self.stale(one)).cloned().collect();
        let mut by: Vec<CosignedBy> =
            opened.cosignatures.iter().filter_map(|one| self.named(one)).collect();
        // In the order of the policy: lines stand in the order in which they came.
        let place = |by: &CosignedBy| {
            self.policy.witnesses().iter().position(|witness| witness.name == by.witness)
        };
        by.sort_by_key(place);
        let (size, root) = (opened.checkpoint.size(), opened.checkpoint.root());
        Ok(Cosigned { size, root, by, quorum: self.policy.quorum(&fresh) })
    }

    fn stale(&self, cosignature: &Cosignature) -> bool {
        let Some(max_age_s) = self.max_age_s else { return false };
        let time_s = cosignature.time_s.unwrap_or(0);
        time_s.saturating_add(max_age_s) < self.now_s
    }

    fn named(&self, cosignature: &Cosignature) -> Option<CosignedBy> {
        let of =
            |key: &VerifierKey| key.id() == cosignature.key_id && key.name() == cosignature.name;
        let witness = self.policy.witnesses().iter().find(|witness| of(&witness.key))?;
        let time_s = cosignature.time_s?;
        let stale = self.stale(cosignature);
        Some(CosignedBy { witness: witness.name.clone(), time_s, stale })
    }
}

impl Cosigned {
    /// Whether it is to be preferred: a quorum first, then more entries.
    pub(crate) fn better_than(&self, other: Option<&Self>) -> bool {
        let rank = |one: &Self| (one.quorum != Quorum::NotMet, one.size, one.by.len());
        other.is_none_or(|other| rank(self) > rank(other))
    }

    pub(crate) fn to_json(&self) -> Json {
        let by = self
            .by
            .iter()
            .map(|one| json!({ "witness": one.witness, "time_s": one.time_s, "stale": one.stale }));
        json!({
            "size": self.size,
            "root": self.root.to_base64(),
            "by": by.collect::<Vec<_>>(),
            "quorum": quorum_word(self.quorum),
        })
    }
}

/// The word in JSON.
pub(crate) fn quorum_word(quorum: Quorum) -> &'static str {
    match quorum {
        Quorum::NotAsked => "not_asked",
        Quorum::Met => "met",
        Quorum::NotMet => "not_met",
    }
}

impl fmt::Display for Cosigned {
    /// Names and times, or that there is none.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.by.is_empty() {
            return f.write_str("no witness of the policy");
        }
        for (position, one) in self.by.iter().enumerate() {
            let separator = if position == 0 { "" } else { ", " };
            let time_us = i64::try_from(one.time_s).unwrap_or(i64::MAX).saturating_mul(1_000_000);
            let time = crate::report::time_text(time_us);
            let stale = if one.stale { ", too old" } else { "" };
            write!(f, "{separator}{} ({time}{stale})", printable(&one.witness))?;
        }
        Ok(())
    }
}
