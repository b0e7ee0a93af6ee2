//! A witness in its own right (C2SP `tlog-witness`): it remembers the largest tree that it has seen
//! of each log, and cosigns only what continues it. Run elsewhere, by somebody else, it is what a
//! log's operator cannot go around.
//!
//! ```text
//! <dir>/lock                                   held by the one process that serves
//! <dir>/keys/ed25519.key, ml-dsa-44.key        private keys, owner-only
//! <dir>/logs/<sha256(origin)>/checkpoint       the last one cosigned, with the cosignatures
//! <dir>/evidence/<sha256(origin)>/<sha256(text)>/refused    a request that contradicts
//!                                               …/seen      what it contradicts
//! ```
//! One step per log at a time: judge, sign, store durably, answer. A crash before the store leaves
//! the old checkpoint, and nobody has the cosignature; one after it leaves the new one, and the log
//! asks again. A failed sync ends the process: what the page cache shows may not be on disk, and a
//! witness that forgets would cosign a fork.

use crate::disk::{Disk, is_full};
use loggia_model::Mint;
use loggia_model::port::Fatal;
use loggia_tlog::checkpoint::CheckpointError;
use loggia_tlog::cosignature::merge;
use loggia_tlog::note::{KeyKind, NoteError, Signature};
use loggia_tlog::witness::{self, AddCheckpoint, Refusal, Seen};
use loggia_tlog::{Checkpoint, CosignerKey, SignedNote, VerifierKey};
use parking_lot::Mutex;
use rustix::fs::{FlockOperation, flock};
use std::collections::BTreeMap;
use std::fs::{DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// The keys of a witness: file, kind.
const KEYS: [(&str, KeyKind); 2] =
    [("ed25519.key", KeyKind::CosignatureEd25519), ("ml-dsa-44.key", KeyKind::CosignatureMlDsa44)];
/// Pieces of evidence that are kept of one log. Only who has the log's key can make one.
const EVIDENCE_MAX: usize = 1_000;

/// Why a witness does not open, or cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum WitnessError {
    /// The file system said no.
    #[error("{path}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// What it said.
        source: std::io::Error,
    },
    /// Another process serves this folder.
    #[error("another witness serves {0}")]
    Locked(PathBuf),
    /// There are keys already.
    #[error("there is a witness in {0} already")]
    Present(PathBuf),
    /// Others than its owner can read a key.
    #[error("{0} can be read by others than its owner")]
    KeyOpen(PathBuf),
    /// What it remembers is not what it cosigned.
    #[error("{path} is damaged: {why}")]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A key or name that cannot be used.
    #[error("{0}")]
    Key(#[from] NoteError),
    /// A key that is not a log's.
    #[error("{0} is not the key of a log")]
    NotALog(String),
}

impl WitnessError {
    fn io(path: &Path, source: std::io::Error) -> Self {
        Self::Io { path: path.to_owned(), source }
    }

    fn damaged(path: &Path, why: impl std::fmt::Display) -> Self {
        Self::Damaged { path: path.to_owned(), why: why.to_string() }
    }

    /// What a person can do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::KeyOpen(path) => Some(format!(
                "chmod 600 {}; if others may have read it, make a witness with new keys",
                path.display()
            )),
            Self::Damaged { .. } => Some(
                "restore the newest copy of the witness's folder. A witness that has lost what it \
                 remembers must not go on under the same keys: make a new one"
                    .to_owned(),
            ),
            Self::Locked(_) => Some("stop that process first".to_owned()),
            _ => None,
        }
    }
}

/// Why a checkpoint was not cosigned.
#[derive(Debug, thiserror::Error)]
pub enum NotCosigned {
    /// The request is not one that this witness cosigns.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The witness could not store it, so it did not sign it.
    #[error("the witness cannot store checkpoints now")]
    Unavailable,
}

impl NotCosigned {
    /// The HTTP status that says so.
    pub fn status(&self) -> u16 {
        match self {
            Self::Refused(refusal) => refusal.status(),
            Self::Unavailable => 503,
        }
    }
}

/// How a witness is opened.
pub struct WitnessOptions {
    /// Its folder.
    pub dir: PathBuf,
    /// The keys of the logs that it watches.
    pub logs: Vec<VerifierKey>,
    /// Its clock.
    pub mint: Mint,
    /// The disk; a test can put a hook before it.
    pub disk: Disk,
    /// Called when the disk cannot be trusted any more.
    pub fatal: Fatal,
}

/// An open witness.
pub struct Witness {
    dir: PathBuf,
    keys: Vec<CosignerKey>,
    /// By `sha256(origin)`, hex.
    logs: BTreeMap<String, Log>,
    mint: Mint,
    disk: Disk,
    fatal: Fatal,
    /// Held for as long as the witness is open.
    _lock: File,
}

struct Log {
    origin: String,
    keys: Vec<VerifierKey>,
    standing: Mutex<Standing>,
}

/// What is remembered of a log.
#[derive(Default)]
struct Standing {
    seen: Option<(Seen, SignedNote)>,
    last_time_s: u64,
}

/// What a witness remembers of one log, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remembered {
    /// Name of the log.
    pub origin: String,
    /// `sha256(origin)`, hex: its place below the monitoring prefix.
    pub place: String,
    /// Entries of the last checkpoint cosigned.
    pub size: Option<u64>,
    /// Refused requests that contradict it.
    pub evidence: usize,
}

impl Witness {
    /// Makes the keys of a new witness of this name, for their owner alone. Never overwrites.
    /// Gives the public halves.
    ///
    /// # Errors
    /// [`WitnessError::Present`], or what the file system says.
    pub fn create(dir: &Path, name: &str, mint: &Mint) -> Result<Vec<VerifierKey>, WitnessError> {
        let folder = dir.join("keys");
        if folder.exists() {
            return Err(WitnessError::Present(dir.to_owned()));
        }
        let mut made = Vec::new();
        for (file, kind) in KEYS {
            let seed = Zeroizing::new(mint.random());
            made.push((file, CosignerKey::from_seed(name, kind, &seed)?));
        }
        make_folder(&folder)?;
        let disk = Disk::default();
        for (file, key) in &made {
            let path = folder.join(file);
            disk.replace(&path, format!("{}\n", *key.private_text()).as_bytes())
                .map_err(|error| WitnessError::io(&path, error))?;
        }
        make_folder(&dir.join("logs"))?;
        disk.sync_folder(dir).map_err(|error| WitnessError::io(dir, error))?;
        Ok(made.into_iter().map(|(_, key)| key.verifier().clone()).collect())
    }

    /// The public halves of the keys in a folder.
    ///
    /// # Errors
    /// [`WitnessError`], where they cannot be read.
    pub fn public_keys(dir: &Path) -> Result<Vec<VerifierKey>, WitnessError> {
        Ok(load_keys(dir)?.iter().map(|key| key.verifier().clone()).collect())
    }

    /// Opens a witness: takes the lock and holds what it remembers to its own signatures.
    ///
    /// # Errors
    /// [`WitnessError`]; nothing was changed then.
    pub fn open(options: WitnessOptions) -> Result<Self, WitnessError> {
        let WitnessOptions { dir, logs: log_keys, mint, disk, fatal } = options;
        let keys = load_keys(&dir)?;
        let lock = lock(&dir)?;
        let own: Vec<VerifierKey> = keys.iter().map(|key| key.verifier().clone()).collect();
        let mut by_origin: BTreeMap<String, Vec<VerifierKey>> = BTreeMap::new();
        for key in log_keys {
            if key.kind() != KeyKind::Ed25519 {
                return Err(WitnessError::NotALog(key.name().to_owned()));
            }
            by_origin.entry(key.name().to_owned()).or_default().push(key);
        }
        let mut logs = BTreeMap::new();
        for (origin, keys) in by_origin {
            let place = place_of(&origin);
            let folder = dir.join("logs").join(&place);
            make_folder(&folder)?;
            let standing = load(&folder.join("checkpoint"), &keys, &own)?;
            logs.insert(place, Log { origin, keys, standing: Mutex::new(standing) });
        }
        // A machine that dies must not take the folders of durable files with it.
        for folder in [dir.join("logs"), dir.clone()] {
            disk.sync_folder(&folder).map_err(|error| WitnessError::io(&folder, error))?;
        }
        Ok(Self { dir, keys, logs, mint, disk, fatal, _lock: lock })
    }

    /// Takes the body of `add-checkpoint`, and gives the cosignatures to answer with: on return the
    /// checkpoint is durable.
    ///
    /// The call blocks for a few fsyncs.
    ///
    /// # Errors
    /// [`NotCosigned`], with the status to answer.
    pub fn add_checkpoint(&self, body: &[u8]) -> Result<Vec<Signature>, NotCosigned> {
        let request = AddCheckpoint::parse(body)?;
        let claimed = Checkpoint::parse(request.checkpoint.text()).map_err(Refusal::Checkpoint)?;
        let unknown = || Refusal::UnknownLog { origin: claimed.origin().to_owned() };
        let place = place_of(claimed.origin());
        let log = self.logs.get(&place).ok_or_else(unknown)?;
        let mut standing = log.standing.lock();
        let seen = standing.seen.as_ref().map(|(seen, _)| *seen);
        let checkpoint = witness::judge(&request, &log.keys, seen.as_ref())
            .inspect_err(|refusal| self.keep_evidence(log, &place, &request, &standing, refusal))?;

        // Signed with the lock held, so that times never go backwards for a log.
        let now_s = u64::try_from(self.mint.now_us() / 1_000_000).unwrap_or(0);
        let time_s = now_s.max(standing.last_time_s).max(1);
        let lines: Result<Vec<Signature>, NoteError> =
            self.keys.iter().map(|key| key.cosign(&checkpoint, time_s)).collect();
        let lines = lines.map_err(Refusal::Note)?;
        // What is remembered is the text, the log's line and ours; lines of others are theirs.
        let ours = self.with_our_lines(&log.keys, &request.checkpoint, &lines);
        let note = ours.map_err(Refusal::Note)?;

        // Durable before anybody has the cosignature. If we crash before this, nobody has it; after
        // it, the log finds out by asking again.
        let path = self.dir.join("logs").join(&place).join("checkpoint");
        if let Err(error) = self.disk.replace(&path, note.to_string().as_bytes()) {
            tracing::error!(%error, path = %path.display(), "a checkpoint could not be stored");
            if !is_full(&error) {
                (self.fatal)(&format!("{}: {error}", path.display()));
            }
            return Err(NotCosigned::Unavailable);
        }
        standing.seen = Some((Seen { size: checkpoint.size(), root: checkpoint.root() }, note));
        standing.last_time_s = time_s;
        Ok(lines)
    }

    fn with_our_lines(
        &self,
        log_keys: &[VerifierKey],
        note: &SignedNote,
        lines: &[Signature],
    ) -> Result<SignedNote, NoteError> {
        let of_log = |line: &&Signature| {
            log_keys.iter().any(|key| key.name() == line.name() && key.id() == line.key_id())
        };
        let kept = note.signatures().iter().filter(of_log).chain(lines).cloned().collect();
        SignedNote::new(note.text(), kept)
    }

    /// Keeps what its log has signed and cannot have: two trees of one size, or one that is not
    /// proven to continue what was cosigned. Evidence, not proof: a log may also have sent a wrong
    /// proof.
    fn keep_evidence(
        &self,
        log: &Log,
        place: &str,
        request: &AddCheckpoint,
        standing: &Standing,
        refusal: &Refusal,
    ) {
        let Some((seen, note)) = &standing.seen else { return };
        let Ok(signed) = witness::signed(&request.checkpoint, &log.keys) else { return };
        let contradicts = witness::contradicts(seen, &signed);
        if !contradicts && !matches!(refusal, Refusal::Inconsistent { .. }) {
            return;
        }
        tracing::error!(
            origin = log.origin,
            size = signed.size(),
            seen = seen.size,
            "A FORK WAS REFUSED: the log has signed a tree that does not continue the one before"
        );
        let folder = self.dir.join("evidence").join(place);
        if count(&folder) >= EVIDENCE_MAX {
            tracing::error!("no more evidence is kept of this log");
            return;
        }
        let name = hex::encode(sha256(request.checkpoint.text().as_bytes()));
        let folder = folder.join(name);
        // Without the evidence the refusal still stands; so a full disk is only told.
        let kept = self
            .disk
            .replace(&folder.join("refused"), request.to_string().as_bytes())
            .and_then(|()| self.disk.replace(&folder.join("seen"), note.to_string().as_bytes()));
        if let Err(error) = kept {
            tracing::error!(%error, "the evidence could not be kept");
        }
    }

    /// The last checkpoint cosigned of a log, by its place below the monitoring prefix.
    pub fn latest(&self, place: &str) -> Option<String> {
        let standing = self.logs.get(place)?.standing.lock();
        standing.seen.as_ref().map(|(_, note)| note.to_string())
    }

    /// What it remembers.
    pub fn remembers(&self) -> Vec<Remembered> {
        let one = |(place, log): (&String, &Log)| {
            remembered(&self.dir, log.origin.clone(), place.clone(), &log.standing.lock())
        };
        self.logs.iter().map(one).collect()
    }

    /// What the witness in a folder remembers of these logs, also while it serves.
    ///
    /// # Errors
    /// [`WitnessError`], where a file cannot be read or does not hold.
    pub fn look(dir: &Path, logs: &[VerifierKey]) -> Result<Vec<Remembered>, WitnessError> {
        let own = Self::public_keys(dir)?;
        let mut found = Vec::new();
        let mut origins: Vec<&str> = logs.iter().map(VerifierKey::name).collect();
        origins.sort_unstable();
        origins.dedup();
        for origin in origins {
            let (origin, place) = (origin.to_owned(), place_of(origin));
            let path = dir.join("logs").join(&place).join("checkpoint");
            let standing = load(&path, logs, &own)?;
            found.push(remembered(dir, origin, place, &standing));
        }
        Ok(found)
    }

    /// The public halves of its keys.
    pub fn keys(&self) -> impl Iterator<Item = &VerifierKey> {
        self.keys.iter().map(CosignerKey::verifier)
    }
}

fn remembered(dir: &Path, origin: String, place: String, standing: &Standing) -> Remembered {
    let evidence = count(&dir.join("evidence").join(&place));
    let size = standing.seen.as_ref().map(|(seen, _)| seen.size);
    Remembered { origin, place, size, evidence }
}

fn place_of(origin: &str) -> String {
    hex::encode(sha256(origin.as_bytes()))
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    use sha2::Digest as _;
    sha2::Sha256::digest(bytes).into()
}

fn count(folder: &Path) -> usize {
    std::fs::read_dir(folder).map_or(0, Iterator::count)
}

fn make_folder(path: &Path) -> Result<(), WitnessError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|error| WitnessError::io(path, error))
}

fn load_keys(dir: &Path) -> Result<Vec<CosignerKey>, WitnessError> {
    let mut keys = Vec::new();
    for (file, kind) in KEYS {
        let path = dir.join("keys").join(file);
        let io = |error| WitnessError::io(&path, error);
        if std::fs::metadata(&path).map_err(io)?.permissions().mode() & 0o077 != 0 {
            return Err(WitnessError::KeyOpen(path));
        }
        let text = Zeroizing::new(std::fs::read_to_string(&path).map_err(io)?);
        let key = CosignerKey::parse(text.trim_end())?;
        if key.verifier().kind() != kind {
            return Err(WitnessError::damaged(&path, "a key of another kind"));
        }
        keys.push(key);
    }
    Ok(keys)
}

fn lock(dir: &Path) -> Result<File, WitnessError> {
    let path = dir.join("lock");
    let mut options = OpenOptions::new();
    let options = options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let file = options.open(&path).map_err(|error| WitnessError::io(&path, error))?;
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        return Err(WitnessError::Locked(dir.to_owned()));
    }
    Ok(file)
}

/// What is remembered of a log: signed by it and by this witness, or nothing.
fn load(
    path: &Path,
    log_keys: &[VerifierKey],
    own: &[VerifierKey],
) -> Result<Standing, WitnessError> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Ok(Standing::default());
        }
        Err(error) => return Err(WitnessError::io(path, error)),
    };
    let damaged = |why: &dyn std::fmt::Display| WitnessError::damaged(path, why);
    let note = SignedNote::parse(&bytes).map_err(|error| damaged(&error))?;
    let checkpoint = witness::signed(&note, log_keys).map_err(|error| damaged(&error))?;
    let taken = merge(&mut note.clone(), note.signatures(), own);
    let taken = taken.map_err(|error: CheckpointError| damaged(&error))?;
    let last_time_s = taken.iter().filter_map(|one| one.time_s).max();
    let last_time_s = last_time_s.ok_or_else(|| damaged(&"it is not cosigned by this witness"))?;
    let seen = Seen { size: checkpoint.size(), root: checkpoint.root() };
    Ok(Standing { seen: Some((seen, note)), last_time_s })
}
