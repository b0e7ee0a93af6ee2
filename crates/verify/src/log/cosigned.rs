//! What witnesses say of a log: in its folder, and in the checkpoints that the verifier holds.

use super::{Known, KnownCheckpoint, VerifyError, join};
use crate::folder::{FolderError, LogFolder};
use crate::report::{Findings, Place, Verdict};
use crate::signed::{self, Signed};
use crate::witnessed::{Cosigned, WitnessTrust};
use loggia_tlog::{Checkpoint, SignedNote, VerifierKey};

/// How far a clock may be from a witness's before an entry counts as outside its bracket.
const BRACKET_SLACK_US: i64 = 120_000_000;

/// What was gathered of one epoch.
#[derive(Default)]
pub(super) struct Gathered {
    /// The checkpoint with the best cosignatures.
    pub(super) best: Option<Cosigned>,
    /// Trees that the log must contain.
    pub(super) trees: Vec<Known>,
    /// Times between which witnesses saw entries come.
    pub(super) brackets: Brackets,
}

/// Between two cosigned checkpoints the entries came between their times.
#[derive(Default)]
pub(super) struct Brackets {
    /// Size and time, microseconds; sorted by size.
    seen: Vec<(u64, i64)>,
}

impl Brackets {
    fn add(&mut self, cosigned: &Cosigned) {
        let times = cosigned.by.iter().map(|one| one.time_s);
        // Before the first of them nobody had seen it; after the last everybody who says so had.
        if let Some(time_s) = times.min() {
            let time_us = i64::try_from(time_s).unwrap_or(i64::MAX).saturating_mul(1_000_000);
            self.seen.push((cosigned.size, time_us));
            self.seen.sort_unstable();
        }
    }

    /// Whether an entry states a time at which it cannot have come, as the witnesses saw it.
    pub(super) fn excludes(&self, index: u64, time_us: i64) -> bool {
        let at = self.seen.partition_point(|(size, _)| *size <= index);
        let (before, after) = self.seen.split_at_checked(at).unwrap_or_default();
        let too_early = before.iter().map(|(_, seen)| *seen).max();
        let too_late = after.iter().map(|(_, seen)| *seen).min();
        too_early.is_some_and(|seen| time_us < seen.saturating_sub(BRACKET_SLACK_US))
            || too_late.is_some_and(|seen| time_us > seen.saturating_add(BRACKET_SLACK_US))
    }
}

/// Reads what stands beside a log's checkpoint, before that is read: a log that grows meanwhile
/// then covers it.
pub(super) fn gather(
    label: &str,
    folder: &LogFolder,
    keys: &[VerifierKey],
    known: &[KnownCheckpoint],
    witnesses: Option<&WitnessTrust>,
    findings: &mut Findings,
) -> Result<Gathered, VerifyError> {
    let mut gathered = Gathered::default();
    let files =
        [("log/cosigned", folder.cosigned_bytes()), ("log/checkpoint", folder.checkpoint_bytes())];
    for (name, bytes) in files {
        let bytes = match bytes {
            Ok(Some(bytes)) => bytes,
            Ok(None) | Err(FolderError::TooLarge { .. }) => continue,
            Err(error) => return Err(error.into()),
        };
        let mut altered = |why: String| {
            findings.add(Verdict::Tampered, Place::file(join(label, name)), why);
        };
        let signed::By { checkpoint, note, key } = match signed::read(&bytes, keys) {
            Signed::By(signed) => *signed,
            // The checkpoint itself is looked at elsewhere.
            _ if name == "log/checkpoint" => continue,
            Signed::Altered(why) | Signed::OtherKey(why) => {
                altered(why);
                continue;
            }
            Signed::Foreign(origin) => {
                altered(format!("this is of another log, {origin}"));
                continue;
            }
        };
        if name == "log/cosigned" {
            let (size, root) = (checkpoint.size(), checkpoint.root());
            gathered.trees.push(Known { size, root });
        }
        if let Some(witnesses) = witnesses
            && let Err(why) = gathered.judge(witnesses, &note, &key)
        {
            altered(why);
        }
    }
    let of_log =
        |known: &&KnownCheckpoint| keys.iter().any(|key| key.name() == known.checkpoint.origin());
    if let Some(witnesses) = witnesses {
        for known in known.iter().filter(of_log) {
            let (_, by) = Checkpoint::verify_by_any(&known.note, keys)
                .map_err(|error| known.refused(error.to_string()))?;
            for key in by.iter().take(1) {
                gathered.judge(witnesses, &known.note, key).map_err(|why| known.refused(why))?;
            }
        }
    }
    Ok(gathered)
}

impl Gathered {
    fn judge(
        &mut self,
        witnesses: &WitnessTrust,
        note: &SignedNote,
        key: &VerifierKey,
    ) -> Result<(), String> {
        let cosigned = witnesses.judge(note, key)?;
        self.brackets.add(&cosigned);
        if cosigned.better_than(self.best.as_ref()) {
            self.best = Some(cosigned);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::witnessed::CosignedBy;
    use loggia_tlog::Hash;
    use loggia_tlog::policy::Quorum;

    #[test]
    fn an_entry_came_between_what_witnesses_saw() {
        let mut brackets = Brackets::default();
        assert!(!brackets.excludes(0, 0));
        for (size, time_s) in [(10, 1_000), (20, 2_000)] {
            let by = vec![CosignedBy { witness: "w".into(), time_s, stale: false }];
            brackets.add(&Cosigned { size, root: Hash([0; 32]), by, quorum: Quorum::Met });
        }
        for (index, time_s, outside) in [
            (0, 900, false),
            (9, 1_119, false),
            (9, 1_121, true),
            (10, 1_500, false),
            (10, 879, true),
            (10, 881, false),
            (19, 2_121, true),
            (20, 9_999, false),
            (20, 1_879, true),
        ] {
            assert_eq!(brackets.excludes(index, time_s * 1_000_000), outside, "{index} {time_s}");
        }
    }
}
