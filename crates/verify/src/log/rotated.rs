//! Keys that a log has had one after the other.
//!
//! A verifier who holds an earlier key, or only the newest, finds the others in the log itself: each
//! change is an entry that both keys have signed. What is found here before anything is checked need
//! not be trusted, because the statements prove themselves; that they stand in the log, in order and
//! over the tree that they name, the pass over the whole log checks.

use super::bundle::Problem;
use super::epoch::Subject;
use super::join;
use crate::folder::{FolderError, LogFolder};
use crate::report::{Place, Verdict};
use crate::rotation::{KeyRotation, RotationError, follow};
use loggia_model::catalogue::Kind;
use loggia_model::event::Event;
use loggia_tlog::merkle::root_of;
use loggia_tlog::tile::TILE_WIDTH;
use loggia_tlog::{BundleId, Checkpoint, SignedNote, VerifierKey};

/// Changes of key that are taken from one log. Each is made by hand.
const ROTATIONS_MAX: usize = 1_000;

/// What an entry says of a new key.
#[derive(Debug, Clone)]
pub(super) struct Rotated {
    pub(super) index: u64,
    pub(super) said: Result<KeyRotation, RotationError>,
}

impl Rotated {
    /// What an event says of it; `None` for another kind.
    pub(super) fn of(index: u64, event: &Event) -> Option<Self> {
        KeyRotation::of(event).map(|said| Self { index, said })
    }
}

/// Adds to `keys` those to which the entries of a log lead from them. Gives what does not lead
/// anywhere.
pub(crate) fn learn(
    folder: &LogFolder,
    keys: &mut Vec<VerifierKey>,
) -> Result<Vec<String>, FolderError> {
    let mut found = Vec::new();
    // The size is only a claim: where the bundles end, the search ends.
    let claimed = folder.checkpoint_bytes()?.and_then(|bytes| {
        let note = SignedNote::parse(&bytes).ok()?;
        Checkpoint::parse(note.text()).ok()
    });
    let size = claimed.map_or(0, |checkpoint| checkpoint.size());
    let code = Kind::KeyRotated.code().as_bytes();
    for number in 0..size.div_ceil(u64::from(TILE_WIDTH)) {
        let Some(bundle) = BundleId::in_tree(number, size) else { break };
        let entries = match folder.entries(&bundle) {
            Ok(entries) => entries,
            // Damage is for the check itself to name.
            Err(FolderError::Read { path, source }) => {
                return Err(FolderError::Read { path, source });
            }
            Err(_) => break,
        };
        for (index, leaf) in (bundle.first_entry()..).zip(entries.iter()) {
            // Parsing costs far more than looking for the code, which other events may mention too.
            let mentions = leaf.windows(code.len()).any(|window| window == code);
            let event = mentions.then(|| Event::parse(leaf).ok()).flatten();
            found.extend(event.and_then(|event| Rotated::of(index, &event)));
        }
        if found.len() >= ROTATIONS_MAX {
            break;
        }
    }
    follow(keys, found.iter().filter_map(|rotated| rotated.said.as_ref().ok()));
    let wrong = found.iter().filter_map(|rotated| {
        let why = rotated.said.as_ref().err()?;
        Some(format!("entry {} names a new key: {why}", rotated.index))
    });
    Ok(wrong.collect())
}

/// The newest key of a log, and what is wrong with how it came to be.
pub(super) struct Judged {
    pub(super) newest: VerifierKey,
    /// All keys that the log has had, as far as they are known.
    pub(super) keys: Vec<VerifierKey>,
    pub(super) problems: Vec<Problem>,
    pub(super) notes: Vec<String>,
}

/// Judges the changes of key that stand in a log, in order. `whole` says that its tiles can be read
/// to compare with.
pub(super) fn judge(subject: &Subject<'_>, rotations: &[Rotated], whole: bool) -> Judged {
    let Subject { folder, checkpoint, note, .. } = subject;
    let origin = checkpoint.origin();
    let mut judged = Judged {
        newest: subject.key.clone(),
        keys: subject.keys.to_vec(),
        problems: Vec::new(),
        notes: Vec::new(),
    };
    let valid = rotations.iter().filter_map(|rotated| rotated.said.as_ref().ok());
    follow(&mut judged.keys, valid);
    let mut current: Option<&VerifierKey> = None;
    for Rotated { index, said } in rotations {
        let mut wrong = |what: String| {
            judged.problems.push((Verdict::Tampered, Place::entry(*index), what));
        };
        let rotation = match said {
            Ok(rotation) => rotation,
            Err(why) => {
                wrong(format!("it names a new key of the log: {why}"));
                continue;
            }
        };
        if rotation.old().name() != origin || current.is_some_and(|key| key != rotation.old()) {
            wrong("it replaces a key that is not the one of this log".to_owned());
            continue;
        }
        let size = rotation.size();
        let tree = (whole && size <= *index)
            .then(|| root_of(size, &folder.hash_reader(checkpoint.size())).ok())
            .flatten();
        if size > *index || (whole && tree != Some(rotation.root())) {
            wrong(format!(
                "the keys changed over another tree of {size} entries than the one here"
            ));
        }
        judged.notes.push(format!(
            "entry {index}: the key {} was replaced, both keys signed; the key of the log is now {}",
            rotation.old().id(),
            rotation.new_key()
        ));
        current = Some(rotation.new_key());
    }
    if let Some(newest) = current {
        judged.newest = newest.clone();
        // Whoever still has the old key must not be able to go on with it.
        if Checkpoint::verify_note(note, newest, &[]).is_err() {
            let what = format!(
                "its signature is not by the key {} that the log has by then: only a retired key \
                 has signed it",
                newest.id()
            );
            let place = Place::file(join(subject.label, "log/checkpoint"));
            judged.problems.push((Verdict::Tampered, place, what));
        }
    }
    judged
}
