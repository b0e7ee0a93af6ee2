//! Checks a whole log from its files alone: that nothing under a signed checkpoint was altered,
//! and that nothing is missing that cannot honestly be missing.
//!
//! What it trusts is the log's key and whatever checkpoints the verifier has kept, both from
//! outside the log. Every entry is hashed anew; the root that this gives must be the signed one;
//! every tile of the tree must hold the hashes that this gives. Where something differs, the
//! side that leads to the signed root is the genuine one, and the other is named.
//!
//! - [`bundle`]: one bundle of entries by itself, many at a time.
//! - [`tree`]: their hashes in order: root and tiles.
//! - [`head`]: the checkpoint that all is held to.
//! - [`cosigned`]: what witnesses say of it.
//! - [`rotated`]: the keys that the log has had.
//! - [`tail`]: the write-ahead log beside and behind the tree.

use crate::erased::{self, EpochErased};
use crate::folder::{FolderError, LogFolder, file_names};
use crate::report::{Findings, Place, Report, Verdict};
use crate::signed::{self, Signed};
use crate::witnessed::{Cosigned, WitnessTrust};
use loggia_tlog::merkle::root_of;
use loggia_tlog::note::KeyKind;
use loggia_tlog::policy::Quorum;
use loggia_tlog::{Checkpoint, Hash, SignedNote, VerifierKey};
use std::path::{Path, PathBuf};

mod bundle;
mod cosigned;
mod epoch;
mod head;
mod recordings;
pub(crate) mod rotated;
mod tail;
mod tree;

#[cfg(test)]
mod tests;

/// What the verifier holds from outside the log.
#[derive(Debug, Clone, Default)]
pub struct Trust {
    /// Keys of logs; the name of each is the origin of its log. One is enough for all epochs that
    /// are linked to its epoch.
    pub keys: Vec<VerifierKey>,
    /// Signed checkpoints that were seen before: the log must still contain them.
    pub known_checkpoints: Vec<Vec<u8>>,
    /// Whose cosignatures count, and how many it takes. Without it all rests on the operator.
    pub witnesses: Option<WitnessTrust>,
}

/// How much is checked.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Whether events are read: sessions, completeness and disclosures. Without, only the tree
    /// and the files that make it up.
    pub events: bool,
    /// Whether the recordings beside the log are checked too, where events are read.
    pub recordings: bool,
    /// Threads that hash and read; 0 for one on each core.
    pub threads: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { events: true, recordings: true, threads: 0 }
    }
}

/// Why nothing could be said. The fault lies with the call or the machine, not with the log.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The operating system refused to read.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The folder holds no log.
    #[error(
        "{} holds no log: give a data folder, or the folder of an epoch (ledger/e1)",
        path.display()
    )]
    NoLog {
        /// The folder.
        path: PathBuf,
    },
    /// No key was given.
    #[error("the key of the log is needed, from outside the log")]
    NoKey,
    /// A key that is no log's.
    #[error("the key {name} is not the key of a log")]
    NotALogKey {
        /// Name of the key.
        name: String,
    },
    /// A checkpoint of the verifier's own cannot be used.
    #[error("known checkpoint {number} cannot be used: {why}")]
    KnownCheckpoint {
        /// Which one, from 1.
        number: usize,
        /// Why.
        why: String,
    },
}

/// A tree of a log that must be contained in what is found.
#[derive(Debug, Clone)]
struct Known {
    size: u64,
    root: Hash,
}

/// An epoch's folder.
pub(crate) struct EpochFolder {
    /// Relative to the folder that is checked.
    label: String,
    pub(crate) folder: LogFolder,
}

/// What an epoch's checkpoint file is, seen with the keys at hand.
enum Standing {
    None,
    Signed(Box<signed::By>),
    Altered(String),
    /// Signed in the name of a known log by a key that is not known.
    OtherKey(String),
    Foreign(String),
}

/// The checkpoint that a log is held to.
struct Held {
    checkpoint: Checkpoint,
    /// As it was signed.
    note: SignedNote,
    /// Entries under `log/checkpoint`.
    published: u64,
    /// A larger one, of whose tree only the write-ahead log has the entries.
    newer: Option<head::Recorded>,
}

/// What one epoch says of another.
#[derive(Debug, Clone)]
enum Link {
    Next { origin: String, key: VerifierKey },
    Previous { origin: String, key: VerifierKey, tree: Option<Known> },
}

/// An epoch that was checked.
struct Checked {
    origin: String,
    /// The newest that it has had.
    key: VerifierKey,
    folder: LogFolder,
    label: String,
    size: u64,
    links: Vec<Link>,
    erased: EpochErased,
    whole: bool,
}

/// Checks the log in `dir`: a data folder with all its epochs, or the folder of one epoch.
/// `progress` is told how many entries of how many are done, epoch by epoch. Memory stays flat.
///
/// # Errors
/// [`VerifyError`]: a mistake in the call, or a file that the machine cannot read. Whatever is
/// wrong with the log itself is in the report.
pub fn verify_folder(
    dir: &Path,
    trust: &Trust,
    options: Options,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Report, VerifyError> {
    if trust.keys.is_empty() {
        return Err(VerifyError::NoKey);
    }
    if let Some(key) = trust.keys.iter().find(|key| key.kind() != KeyKind::Ed25519) {
        return Err(VerifyError::NotALogKey { name: key.name().to_owned() });
    }
    let known = parse_known(&trust.known_checkpoints)?;
    let mut run = Run {
        root: dir,
        options,
        keys: trust.keys.clone(),
        witnesses: trust.witnesses.as_ref(),
        report: Report {
            events_checked: options.events,
            policy: trust.witnesses.as_ref().map(|trust| trust.policy.to_string()),
            ..Report::default()
        },
        checked: Vec::new(),
    };
    let mut waiting = epochs(dir)?;
    // An epoch may bring the key of its neighbour, before or behind it.
    while let Some((place, standing)) = run.next_with_a_key(&waiting, &known)? {
        let epoch = waiting.remove(place);
        run.check(epoch, standing, &known, progress)?;
    }
    for EpochFolder { label, folder } in waiting {
        if let Standing::Foreign(origin) = standing(&folder, &run.keys)? {
            foreign(&label, &origin, &mut run.report.findings);
        }
    }
    run.check_origins();
    run.check_links(!is_epoch(dir));
    run.check_known_are_here(&known)?;
    run.check_erased();
    run.report.epochs.sort_by_key(|epoch| epoch_number(&epoch.folder));
    run.check_quorum();
    Ok(run.report)
}

struct Run<'a> {
    root: &'a Path,
    options: Options,
    keys: Vec<VerifierKey>,
    witnesses: Option<&'a WitnessTrust>,
    report: Report,
    checked: Vec<Checked>,
}

impl Run<'_> {
    /// The first epoch that can be judged with the keys at hand.
    fn next_with_a_key(
        &mut self,
        waiting: &[EpochFolder],
        known: &[KnownCheckpoint],
    ) -> Result<Option<(usize, Standing)>, VerifyError> {
        for (place, epoch) in waiting.iter().enumerate() {
            match self.standing_of(&epoch.folder, known)? {
                Standing::Foreign(_) => {}
                standing => return Ok(Some((place, standing))),
            }
        }
        Ok(None)
    }

    /// Reads the checkpoint of an epoch with the keys at hand, and those to which its entries lead
    /// from them where the keys at hand are not all that have signed for it.
    fn standing_of(
        &mut self,
        folder: &LogFolder,
        known: &[KnownCheckpoint],
    ) -> Result<Standing, VerifyError> {
        let found = standing(folder, &self.keys)?;
        let strange =
            |note: &SignedNote| matches!(signed::judge(note, &self.keys), Signed::OtherKey(_));
        let cosigned = match folder.cosigned_bytes() {
            Ok(bytes) => bytes.and_then(|bytes| SignedNote::parse(&bytes).ok()),
            Err(FolderError::TooLarge { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        let origin = match &found {
            Standing::OtherKey(_) => None,
            Standing::Signed(signed) => Some(signed.checkpoint.origin().to_owned()),
            _ => return Ok(found),
        };
        let mine = known.iter().filter(|one| Some(one.checkpoint.origin()) == origin.as_deref());
        let mut others = cosigned.iter().chain(mine.map(|known| &known.note));
        if !matches!(found, Standing::OtherKey(_)) && !others.any(strange) {
            return Ok(found);
        }
        let wrong = rotated::learn(folder, &mut self.keys)?;
        Ok(match standing(folder, &self.keys)? {
            Standing::OtherKey(why) => {
                let wrong: String = wrong.iter().map(|wrong| format!("; {wrong}")).collect();
                Standing::Altered(format!("{why}{wrong}"))
            }
            standing => standing,
        })
    }

    fn check(
        &mut self,
        epoch: EpochFolder,
        standing: Standing,
        known: &[KnownCheckpoint],
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<(), VerifyError> {
        let EpochFolder { label, folder } = epoch;
        let findings = &mut self.report.findings;
        let standing = match standing {
            Standing::None => without_checkpoint(&label, &folder, &self.keys, findings)?,
            standing => standing,
        };
        let signed::By { checkpoint, note, key } = match standing {
            Standing::Signed(signed) => *signed,
            Standing::Altered(why) | Standing::OtherKey(why) => {
                let file = join(&label, "log/checkpoint");
                findings.add(Verdict::Tampered, Place::file(file), why);
                return Ok(());
            }
            Standing::Foreign(origin) => {
                foreign(&label, &origin, findings);
                return Ok(());
            }
            Standing::None => return Ok(()),
        };
        // All that the log has had, as far as they are known by now.
        let keys: Vec<VerifierKey> =
            self.keys.iter().filter(|one| one.name() == key.name()).cloned().collect();
        let gathered = cosigned::gather(&label, &folder, &keys, known, self.witnesses, findings)?;
        let (held, mut trees) = self.head(&label, &folder, (checkpoint, note), &keys)?;
        trees.extend(gathered.trees);
        let (checkpoint, unpublished) = (held.checkpoint, held.newer);
        for known in known.iter().filter(|known| known.checkpoint.origin() == key.name()) {
            trees.push(known.open(&keys)?);
        }
        let subject = epoch::Subject {
            root: self.root,
            label: &label,
            folder: &folder,
            checkpoint: &checkpoint,
            published: Some(held.published),
            newer: unpublished.as_ref(),
            note: &held.note,
            key: &key,
            keys: &keys,
            known: &trees,
            brackets: &gathered.brackets,
            cosigned: gathered.best,
            options: self.options,
        };
        let outcome = subject.check(&mut self.report.findings, progress)?;
        self.take_keys(&outcome);
        self.report.epochs.push(outcome.report);
        self.checked.push(Checked {
            origin: checkpoint.origin().to_owned(),
            size: checkpoint.size(),
            key: outcome.newest,
            folder,
            label,
            links: outcome.links,
            erased: outcome.erased,
            whole: outcome.whole,
        });
        Ok(())
    }

    /// The keys to which an epoch leads: of its own log, and of its neighbours.
    fn take_keys(&mut self, outcome: &epoch::Outcome) {
        let linked = outcome.links.iter().map(|link| {
            let (Link::Next { key, .. } | Link::Previous { key, .. }) = link;
            key
        });
        for key in outcome.keys.iter().chain(linked) {
            if !self.keys.contains(key) {
                self.keys.push(key.clone());
            }
        }
    }

    /// The checkpoint that the log is held to, where `published` was found before anything else;
    /// and the trees that it must contain.
    fn head(
        &mut self,
        label: &str,
        folder: &LogFolder,
        published: (Checkpoint, SignedNote),
        keys: &[VerifierKey],
    ) -> Result<(Held, Vec<Known>), VerifyError> {
        let records = head::records(folder, keys, published.0.size())?;
        // A writer at work may have published what it recorded; so this is read after that.
        let now = match folder.checkpoint_bytes() {
            Ok(bytes) => bytes.and_then(|bytes| match signed::read(&bytes, keys) {
                Signed::By(signed) => Some((signed.checkpoint, signed.note)),
                _ => None,
            }),
            Err(FolderError::TooLarge { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        let (published, note) = now.unwrap_or(published);
        let size = published.size();
        if let Some(what) = head::put_back(size, &records) {
            let place = Place::file(join(label, "log/checkpoint"));
            self.report.findings.add(Verdict::Tampered, place, what);
        }
        let newer = records.newest.filter(|newest| newest.checkpoint.size() > size);
        let tree = Known { size, root: published.root() };
        Ok(match newer {
            Some(newer) if newer.has_tree(folder, size)? => {
                let head::Recorded { checkpoint, note, .. } = newer;
                (Held { checkpoint, note, published: size, newer: None }, vec![tree])
            }
            newer => (Held { checkpoint: published, note, published: size, newer }, Vec::new()),
        })
    }

    /// The newest epoch must have the witnesses that the policy asks for. An earlier one is held to
    /// what the epoch after it says of it.
    fn check_quorum(&mut self) {
        let Some(trust) = self.witnesses else { return };
        let Some(epoch) = self.report.epochs.last() else { return };
        let quorum = match &epoch.cosigned {
            Some(cosigned) => cosigned.quorum,
            None => trust.policy.quorum(&[]),
        };
        if quorum != Quorum::NotMet {
            return;
        }
        let stale = |cosigned: &Cosigned| cosigned.by.iter().any(|one| one.stale);
        let (have, why) = match &epoch.cosigned {
            Some(cosigned) if stale(cosigned) => (
                cosigned.to_string(),
                ". What is too old may be a copy that was kept back while the log went on",
            ),
            Some(cosigned) => (cosigned.to_string(), ""),
            None => ("no witness of the policy".to_owned(), ""),
        };
        let what = format!("the policy asks for {}; cosigned by {have}{why}", trust.policy);
        let place = Place::file(join(&epoch.folder, "log/cosigned"));
        self.report.findings.add(Verdict::NoQuorum, place, what);
    }

    /// What is not there any more must be covered by an event that says so, in its epoch or in a
    /// later one.
    fn check_erased(&mut self) {
        let Report { epochs, findings, .. } = &mut self.report;
        for epoch in &self.checked {
            let number = epoch_number(&epoch.label);
            let later = |other: &&Checked| epoch_number(&other.label) > number;
            let later: Vec<_> = self.checked.iter().filter(later).map(|one| &one.erased).collect();
            let of = (&*epoch.label, &epoch.folder, epoch.size);
            let erased = erased::settle(of, &epoch.erased, &later, findings);
            if let Some(report) = epochs.iter_mut().find(|report| report.folder == epoch.label) {
                report.erased = erased;
            }
        }
    }

    /// No two epochs are of one log: one of them is a copy.
    fn check_origins(&mut self) {
        for (place, epoch) in self.checked.iter().enumerate() {
            let mut before = self.checked.iter().take(place);
            if let Some(first) = before.find(|first| first.origin == epoch.origin) {
                let what = format!(
                    "the log {}, which {} is already: one of the two is a copy",
                    epoch.origin, first.label
                );
                let place = Place::file(join(&epoch.label, "log/checkpoint"));
                self.report.findings.add(Verdict::Tampered, place, what);
            }
        }
    }

    /// What each epoch says of its neighbours must be what they are.
    fn check_links(&mut self, all_should_be_here: bool) {
        for epoch in &self.checked {
            let from = Place::file(&epoch.label);
            for link in &epoch.links {
                let (Link::Next { origin, .. } | Link::Previous { origin, .. }) = link;
                let Some(other) = self.checked.iter().find(|other| other.origin == *origin) else {
                    if all_should_be_here {
                        let what = format!("the neighbouring epoch {origin} is not here");
                        self.report.findings.add(Verdict::Incomplete, from.clone(), what);
                    }
                    continue;
                };
                let Link::Previous { key, tree, .. } = link else { continue };
                if *key != other.key {
                    let what =
                        format!("names another key of {origin} than the one it is signed by");
                    self.report.findings.add(Verdict::Tampered, from.clone(), what);
                }
                if let Some(what) = tree.as_ref().and_then(|tree| other.contradicts(tree)) {
                    let place = Place::file(&other.label);
                    self.report.findings.add(Verdict::Tampered, place, what);
                }
            }
        }
    }

    fn check_known_are_here(&mut self, known: &[KnownCheckpoint]) -> Result<(), VerifyError> {
        for known in known {
            let origin = known.checkpoint.origin();
            if self.checked.iter().any(|epoch| epoch.origin == origin) {
                continue;
            }
            // Its log is not among those checked. That accuses the folder only if it is genuine.
            match self.keys.iter().any(|key| key.name() == origin) {
                true => {
                    known.open(&self.keys)?;
                    let what = format!(
                        "the log {origin}, of which a checkpoint over {} entries is known, is not \
                         here or could not be checked",
                        known.checkpoint.size()
                    );
                    self.report.findings.add(Verdict::Tampered, Place::default(), what);
                }
                false => return Err(known.refused(format!("its log {origin} has no known key"))),
            }
        }
        Ok(())
    }
}

impl Checked {
    /// Why this epoch does not contain a tree that the next one says it had.
    fn contradicts(&self, tree: &Known) -> Option<String> {
        let Known { size, root } = tree;
        if *size > self.size {
            return Some(format!(
                "it ends at {} entries; when the next epoch began it had {size}: its tail was cut",
                self.size
            ));
        }
        // What is damaged is reported already, and its tiles say nothing.
        let found = self.whole.then(|| root_of(*size, &self.folder.hash_reader(self.size)))?;
        match found {
            Ok(found) if found == *root => None,
            _ => Some(format!(
                "its first {size} entries are not those that it had when the next epoch began"
            )),
        }
    }
}

fn foreign(label: &str, origin: &str, findings: &mut Findings) {
    let what = format!(
        "this is the log {origin}, whose key was not given and to which no epoch with a known key \
         leads"
    );
    findings.add(Verdict::OtherOrigin, Place::file(join(label, "log/checkpoint")), what);
}

/// Without a checkpoint nothing can be said; what else is there says how to take that. Where the
/// first one was published meanwhile, gives that.
fn without_checkpoint(
    label: &str,
    folder: &LogFolder,
    keys: &[VerifierKey],
    findings: &mut Findings,
) -> Result<Standing, VerifyError> {
    let place = Place::file(join(label, "log/checkpoint"));
    let tiles = !file_names(&folder.dir().join("log/tile"))?.is_empty();
    let mut tries = tail::TRIES;
    let wal = loop {
        tries -= 1;
        let mut wal = folder.wal()?;
        let end = loop {
            match wal.next_record() {
                Ok(Some(_)) => {}
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        match end {
            Err(FolderError::Missing { .. }) if tries > 0 => {}
            end => break end.map(|()| wal)?,
        }
    };
    let now = standing(folder, keys)?;
    if !matches!(now, Standing::None) {
        return Ok(now);
    }
    let records = head::records(folder, keys, 0)?;
    if matches!(self::standing(folder, keys)?, Standing::None)
        && let Some(what) = head::put_back(0, &records)
    {
        findings.add(Verdict::Tampered, place, what);
        return Ok(Standing::None);
    }
    // A crash in the very first round of publishing leaves tiles that nothing has signed yet; the
    // write-ahead log then still begins with the first entry.
    let begins_at = wal.segments().first().map(|segment| segment.first_index);
    if tiles && begins_at != Some(0) {
        let what = "missing, though there are tiles that it signed";
        findings.add(Verdict::Tampered, place, what);
        return Ok(Standing::None);
    }
    let entries = wal.end().map_or(0, |end| end.index);
    let what = format!("there is none: nothing is proven ({entries} entries unproven)");
    findings.add(Verdict::Incomplete, place, what);
    Ok(Standing::None)
}

/// Reads the checkpoint of an epoch with the keys at hand.
fn standing(folder: &LogFolder, keys: &[VerifierKey]) -> Result<Standing, VerifyError> {
    let bytes = match folder.checkpoint_bytes() {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return Ok(Standing::None),
        Err(FolderError::TooLarge { .. }) => {
            return Ok(Standing::Altered("not a checkpoint: it is too long".to_owned()));
        }
        Err(error) => return Err(error.into()),
    };
    Ok(match signed::read(&bytes, keys) {
        Signed::By(signed) => Standing::Signed(signed),
        Signed::Altered(why) => Standing::Altered(why),
        Signed::OtherKey(why) => Standing::OtherKey(why),
        Signed::Foreign(origin) => Standing::Foreign(origin),
    })
}

/// A checkpoint of the verifier's own, parsed.
struct KnownCheckpoint {
    number: usize,
    note: SignedNote,
    checkpoint: Checkpoint,
}

impl KnownCheckpoint {
    fn refused(&self, why: String) -> VerifyError {
        VerifyError::KnownCheckpoint { number: self.number, why }
    }

    /// The tree that it speaks of, once its signature holds.
    fn open(&self, keys: &[VerifierKey]) -> Result<Known, VerifyError> {
        let (checkpoint, _) = Checkpoint::verify_by_any(&self.note, keys)
            .map_err(|error| self.refused(error.to_string()))?;
        Ok(Known { size: checkpoint.size(), root: checkpoint.root() })
    }
}

fn parse_known(notes: &[Vec<u8>]) -> Result<Vec<KnownCheckpoint>, VerifyError> {
    let mut known = Vec::new();
    for (place, bytes) in notes.iter().enumerate() {
        let number = place + 1;
        let refused = |why: String| VerifyError::KnownCheckpoint { number, why };
        let note = SignedNote::parse(bytes).map_err(|error| refused(error.to_string()))?;
        let checkpoint =
            Checkpoint::parse(note.text()).map_err(|error| refused(error.to_string()))?;
        known.push(KnownCheckpoint { number, note, checkpoint });
    }
    Ok(known)
}

fn is_epoch(dir: &Path) -> bool {
    dir.join("log").is_dir() || dir.join("wal").is_dir()
}

/// The number in the name `e<number>` of an epoch's folder.
fn epoch_number(label: &str) -> Option<u64> {
    let name = label.rsplit('/').next()?;
    name.strip_prefix('e')?.parse().ok()
}

/// The epochs in a data folder, in its `ledger` folder, or the one epoch that the folder is.
pub(crate) fn epochs(dir: &Path) -> Result<Vec<EpochFolder>, VerifyError> {
    if is_epoch(dir) {
        return Ok(vec![EpochFolder { label: String::new(), folder: LogFolder::open(dir)? }]);
    }
    let (ledger, label) =
        if dir.join("ledger").is_dir() { (dir.join("ledger"), "ledger") } else { (dir.into(), "") };
    let mut numbered: Vec<(u64, String)> = file_names(&ledger)?
        .into_iter()
        .filter_map(|name| Some((epoch_number(&name)?, name)))
        .filter(|(_, name)| is_epoch(&ledger.join(name)))
        .collect();
    numbered.sort();
    if numbered.is_empty() {
        return Err(VerifyError::NoLog { path: dir.to_path_buf() });
    }
    let mut epochs = Vec::new();
    for (_, name) in numbered {
        let folder = LogFolder::open(ledger.join(&name))?;
        epochs.push(EpochFolder { label: join(label, &name), folder });
    }
    Ok(epochs)
}

fn join(label: &str, path: &str) -> String {
    if label.is_empty() { path.to_owned() } else { format!("{label}/{path}") }
}

/// The path of a file relative to the folder that is checked.
fn relative(root: &Path, path: &Path) -> String {
    path.strip_prefix(root).unwrap_or(path).to_string_lossy().into_owned()
}
