//! The ledger as the rest of Loggia sees it.

use crate::cosign::{WitnessStanding, Witnessed};
use crate::disk::Disk;
use crate::epoch::lock_folder;
use crate::erase::{Blanks, Ordered};
use crate::error::LedgerError;
use crate::keys::EpochKeys;
use crate::layout::{EpochLayout, Layout};
use crate::metrics::LedgerMetrics;
use crate::publish::{Publisher, make_segments};
use crate::recover::{Recovered, recover};
use crate::segments::Segments;
use crate::sequencer::{Chain, Sequencer, Standing};
use crate::shared::{Fed, Shared};
use crate::signer::{KeyStore, LogSigners, SIGN_WAIT_MAX};
use crate::subjects::Subjects;
use crate::tail::{Tail, read_entries};
use crate::tiles::Tiles;
use async_trait::async_trait;
use loggia_model::catalogue::Kind;
use loggia_model::event::{Role, SessionSlot};
use loggia_model::id::{ActorId, EventId, NodeId, SessionId};
use loggia_model::port::{
    Append, AppendError, Appended, Committed, Fatal, Follow, OnDisk, ReadLog,
};
use loggia_model::{Draft, EventDraft, Fault, Mint, PublicError};
use loggia_tlog::SignedNote;
use parking_lot::{Condvar, Mutex, RwLock};
use std::fs::File;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::watch;

/// Asked, for the sessions that the last boot left open (id, and id of the `session.start`), what
/// is to be recorded of them before their ends. The log holds everything of that boot.
pub type LastWords = Arc<
    dyn Fn(&[(SessionId, EventId)], &dyn ReadLog) -> Vec<(SessionId, EventDraft)> + Send + Sync,
>;

/// How a ledger is opened.
pub struct LedgerOptions {
    /// The data folder.
    pub data: PathBuf,
    /// Time, randomness, ids.
    pub mint: Mint,
    /// The disk; a test can put a hook before it.
    pub disk: Disk,
    /// Size of a segment of the write-ahead log, in bytes (16 MiB; 8 in tests).
    pub segment_bytes: usize,
    /// Between checkpoints while the log grows.
    pub checkpoint_interval: Duration,
    /// The second place of the last checkpoint.
    pub checkpoint_copy: Option<PathBuf>,
    /// Entries on disk that are in no tile yet, in bytes, before sessions pause.
    pub backlog_bytes_max: u64,
    /// SHA-256 of the program and of its configuration (hex) for `node.boot`, self-reported.
    pub binary_hash: Option<String>,
    /// See `binary_hash`.
    pub config_hash: Option<String>,
    /// Version of the program for `node.boot`.
    pub version: String,
    /// What there is to say of sessions that the last boot left open.
    pub last_words: Option<LastWords>,
    /// Called when the disk cannot be trusted any more.
    pub fatal: Fatal,
    /// Where keys lie that are in no file of the data folder.
    pub keys: Option<Arc<dyn KeyStore>>,
    /// How long a signature by such a key may take.
    pub sign_wait_max: Duration,
    /// What the log's witnesses know of it; see [`crate::ask_witnesses`].
    pub witnessed: Vec<Witnessed>,
    /// The very first entry of an epoch, before `node.boot`.
    pub(crate) first: Option<EventDraft>,
}

impl LedgerOptions {
    /// What production uses, but for the paths.
    pub fn new(data: impl Into<PathBuf>, mint: Mint) -> Self {
        Self {
            data: data.into(),
            mint,
            disk: Disk::default(),
            segment_bytes: 16 << 20,
            checkpoint_interval: Duration::from_secs(1),
            checkpoint_copy: None,
            backlog_bytes_max: 512 << 20,
            binary_hash: None,
            config_hash: None,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            last_words: None,
            fatal: Arc::new(|_| std::process::abort()),
            keys: None,
            sign_wait_max: SIGN_WAIT_MAX,
            witnessed: Vec::new(),
            first: None,
        }
    }
}

/// What opening found out.
#[derive(Debug, Clone)]
pub struct Opening {
    /// Whether the last boot ended in good order (or there was none).
    pub clean: bool,
    /// Entries taken over from the write-ahead log.
    pub recovered: u64,
    /// Sessions that were open when the last boot died; their ends are on record now.
    pub sessions_ended: u64,
    /// Configuration changes that the last boot recorded, for comparison with what is in force.
    pub changes: Vec<EventId>,
    /// Orders to destroy that are on record and were not carried out to the end.
    pub unfinished: Vec<Ordered>,
}

/// An open ledger. Dropping it without [`Ledger::close`] is what a crash is.
pub struct Ledger {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    flusher: Mutex<Option<JoinHandle<()>>>,
    opening: Opening,
    node: NodeId,
    /// Held for as long as the ledger is open.
    _lock: File,
}

impl Ledger {
    /// Opens the newest epoch of a data folder: takes the lock, recovers, writes `node.boot` and
    /// the ends of the sessions that the last boot left open, and starts the threads.
    ///
    /// # Errors
    /// Everything of [`LedgerError`]; after an error nothing was changed but what recovery makes
    /// durable.
    pub fn open(options: LedgerOptions) -> Result<Self, LedgerError> {
        let layout = Layout::new(&options.data);
        let lock = lock_folder(&layout)?;
        let mut keys = EpochKeys::load_latest(&layout)?;
        let epoch = EpochLayout::open(&layout.epoch(keys.epoch))?;
        let copy = options.checkpoint_copy.clone();
        let recovered =
            recover(&options.disk, &epoch, &keys.verifiers(), copy.as_deref(), &options.witnessed)?;
        // A crash in a change of the key leaves the files behind what the log says.
        if keys.settle(&layout, &options.disk, recovered.standing.rotated.as_ref())? {
            keys = EpochKeys::load(&layout, keys.epoch)?;
        }
        let signers = keys.signers(options.keys.as_deref(), options.sign_wait_max)?;
        let copy_present = copy.as_deref().is_some_and(std::path::Path::exists);
        let boot = next_boot(&options.disk, &layout, recovered.standing.boot)?;

        let node = keys.node;
        let place = Place { layout, epoch, node };
        let (shared, tiles, before) = assemble(&options, place, signers, recovered, boot)?;
        let opening = begin_boot(&shared, &options, &before, node, copy_present)?;
        let (threads, flusher) = start_threads(&shared, tiles, options.checkpoint_interval);
        let (threads, flusher) = (Mutex::new(threads), Mutex::new(flusher));
        Ok(Self { shared, threads, flusher, opening, node, _lock: lock })
    }

    /// What opening found out.
    pub fn opening(&self) -> &Opening {
        &self.opening
    }

    /// This node.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// The counters.
    pub fn metrics(&self) -> &LedgerMetrics {
        &self.shared.metrics
    }

    /// The log's verification key, to be kept elsewhere.
    pub fn verification_key(&self) -> String {
        self.shared.key().to_string()
    }

    /// The folder of the open epoch.
    pub fn epoch_folder(&self) -> PathBuf {
        self.shared.epoch.folder.dir().to_owned()
    }

    /// Entries below the last durable checkpoint; changes as the log is published.
    pub fn published(&self) -> watch::Receiver<u64> {
        self.shared.published.subscribe()
    }

    /// Since when no checkpoint could be published, and why; `None` where all is well.
    pub fn unpublished(&self) -> Option<(Duration, String)> {
        let unpublished = self.shared.unpublished.lock();
        unpublished.as_ref().map(|(since, why)| (since.elapsed(), why.clone()))
    }

    /// Where the log's witnesses stand; empty where it has none.
    pub fn witnesses(&self) -> Vec<WitnessStanding> {
        self.shared.witnesses.lock().clone()
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Whether events are taken now; why not, otherwise.
    pub fn readiness(&self) -> Result<(), AppendError> {
        if self.shared.subjects.is_full() {
            return Err(AppendError::Paused("no room on the disk"));
        }
        // Whoever waited for a paused ledger must not be refused again for its size.
        let sequencer = self.shared.sequencer.lock();
        let bytes = sequencer.batch_bytes_max();
        match sequencer.refusal(bytes, bytes / 2, false) {
            None => Ok(()),
            Some(refusal) => Err(refusal),
        }
    }

    /// Runs a follower in a thread of its own until the ledger closes. It is given what is below
    /// its cursor from files, then what comes.
    pub fn follow(&self, follower: Arc<dyn Follow>) {
        let shared = Arc::clone(&self.shared);
        let feeding = Arc::default();
        let fed = Fed { follower: Arc::clone(&follower), feeding: Arc::clone(&feeding) };
        shared.followers.lock().push(fed);
        let name = follower.name();
        let body = move || {
            let fed = AssertUnwindSafe(|| crate::follow::run(&shared, &*follower, &feeding));
            if std::panic::catch_unwind(fed).is_err() {
                // A view that broke must not take the gateway with it, nor break unseen.
                tracing::error!(follower = name, "a follower panicked and is fed no more");
                shared.metrics.followers_dead.inc();
            }
        };
        match std::thread::Builder::new().name(format!("follow-{name}")).spawn(body) {
            Ok(thread) => self.threads.lock().push(thread),
            Err(error) => {
                tracing::error!(%error, "a follower's thread could not be started");
                self.shared.metrics.followers_dead.inc();
            }
        }
    }

    /// Ends in good order: `node.shutdown`, a last checkpoint, all durable.
    ///
    /// # Errors
    /// Where the last events could not be written; the next start then recovers as after a crash.
    pub fn close(&self, reason: &str) -> Result<(), LedgerError> {
        let draft = {
            let sequencer = self.shared.sequencer.lock();
            sequencer.draft(Kind::NodeShutdown).actor(ActorId::Node(self.node))
        };
        let draft = draft.set("/detail/reason", reason).encode().map_err(AppendError::Draft)?;
        self.append(&[draft])?;
        // Followers see everything to the end.
        crate::flush::flush(&self.shared)?;
        // The publisher ends with a last checkpoint, over this very entry.
        self.shared.stop_threads();
        join(std::mem::take(&mut *self.threads.lock()));
        self.end("the ledger was closed");
        let (published, size) = (*self.shared.published.borrow(), self.shared.tail.size());
        if published < size {
            let why = format!(
                "the last checkpoint covers {published} of {size} entries; the others are safe in \
                 the write-ahead log and get theirs at the next start"
            );
            return Err(AppendError::Closed(why).into());
        }
        Ok(())
    }

    /// Stops everything; what was written is made durable on the way.
    fn end(&self, why: &str) {
        self.shared.sequencer.lock().close(why.to_owned());
        self.shared.stop_threads();
        join(std::mem::take(&mut *self.threads.lock()));
        join(self.flusher.lock().take().into_iter().collect());
    }
}

impl Drop for Ledger {
    /// Without [`Ledger::close`] the log has no end of the boot, as after a crash.
    fn drop(&mut self) {
        self.end("the ledger was dropped");
    }
}

fn join(threads: Vec<JoinHandle<()>>) {
    for thread in threads {
        // A thread that panicked has logged why; there is nothing left to do for it.
        let _ = thread.join();
    }
}

/// Durable before the first event of the boot, so that `(boot, seq)` is never used twice even
/// when the machine loses the boot's first entries.
fn next_boot(disk: &Disk, layout: &Layout, last: u64) -> Result<u64, LedgerError> {
    let path = layout.boot();
    let noted = std::fs::read_to_string(&path).ok();
    let noted = noted.and_then(|text| text.trim().parse::<u64>().ok()).unwrap_or(0);
    let boot = noted.max(last) + 1;
    disk.replace(&path, format!("{boot}\n").as_bytes())
        .map_err(|error| LedgerError::io(&path, error))?;
    Ok(boot)
}

/// Which log of which node.
struct Place {
    layout: Layout,
    epoch: EpochLayout,
    node: NodeId,
}

fn assemble(
    options: &LedgerOptions,
    place: Place,
    signers: LogSigners,
    recovered: Recovered,
    boot: u64,
) -> Result<(Arc<Shared>, Tiles, Standing), LedgerError> {
    let Place { layout, epoch, node } = place;
    let disk = options.disk.clone();
    let before = recovered.standing;
    let size = before.size;
    let io = |error| LedgerError::io(&epoch.wal, error);
    let segments = Segments::open(&epoch.wal, disk.clone(), options.segment_bytes, size);
    let segments = Arc::new(segments.map_err(io)?);
    segments.make_ready().map_err(io)?;
    let number = segments.highest_number() + 1;
    // Never behind a torn record: a boot begins in a segment of its own.
    let segment = segments.begin(number, size).map_err(io)?;
    let segment = segment.ok_or_else(|| LedgerError::damaged(&epoch.wal, "no segment"))?;
    segments.make_ready().map_err(io)?;

    let standing = Standing { boot, seq: 0, changes: Vec::new(), ..before.clone() };
    let tiles = Tiles::load(disk.clone(), epoch.clone(), recovered.published)?;
    let shown = shown(&epoch, recovered.published);
    let tail = Tail::new(recovered.published);
    tail.push(recovered.beyond);
    let sequencer = Sequencer::new(
        disk.clone(),
        options.mint.clone(),
        Arc::clone(&segments),
        node.to_string(),
        standing,
        segment,
        options.backlog_bytes_max,
    );
    let reader = Arc::clone(epoch.folder.subject_keys());
    let subjects = Subjects::open(disk.clone(), options.mint.clone(), reader)?;
    let shared = Arc::new(Shared {
        disk,
        subjects,
        layout,
        epoch,
        segments,
        sequencer: Mutex::new(sequencer),
        flushing: Mutex::new(()),
        work: Condvar::new(),
        on_disk: watch::channel(size).0,
        tail,
        blanks: Blanks::default(),
        followers: Mutex::default(),
        published: watch::channel(recovered.published).0,
        shown: Mutex::new(shown),
        witnesses: Mutex::default(),
        node,
        origin: signers.origin().to_owned(),
        signers: RwLock::new(signers),
        unpublished: Mutex::default(),
        checkpoint_copy: options.checkpoint_copy.clone(),
        boot,
        boot_first_index: size,
        metrics: LedgerMetrics::default(),
        fatal: Arc::clone(&options.fatal),
        stop: Mutex::new(false),
        stopping: Condvar::new(),
    });
    Ok((shared, tiles, before))
}

/// The checkpoint in the folder, with the cosignatures that stand on it.
fn shown(epoch: &EpochLayout, size: u64) -> Option<(u64, SignedNote)> {
    let bytes = std::fs::read(epoch.folder.checkpoint_path()).ok()?;
    Some((size, SignedNote::parse(&bytes).ok()?))
}

/// Writes `node.boot` and what the last boot left unsaid, and makes it durable.
fn begin_boot(
    shared: &Arc<Shared>,
    options: &LedgerOptions,
    before: &Standing,
    node: NodeId,
    copy_present: bool,
) -> Result<Opening, LedgerError> {
    let clean = before.clean || before.size == 0;
    let recovered = before.size - *shared.published.borrow();
    let boot = boot_draft(shared, options, before, clean, recovered, copy_present);
    let mut drafts: Vec<EventDraft> = options.first.iter().cloned().collect();
    drafts.push(boot.actor(ActorId::Node(node)));
    let mut left_open: Vec<_> = before.sessions.iter().collect();
    left_open.sort_by_key(|(id, _)| **id);
    let mut last_words = last_words(shared, options, &left_open);
    for (id, chain) in &left_open {
        let slot = |role| SessionSlot { id: **id, context: Some(chain.start), role };
        let of_it = last_words.extract_if(.., |(of, _)| *of == **id);
        drafts.extend(of_it.map(|(_, draft)| draft.session(slot(Role::Member)).actor(chain.actor)));
        let draft = options.mint.draft(Kind::SessionEnd).session(slot(Role::End));
        drafts.push(draft.actor(chain.actor).set("/detail/reason", "gateway_died"));
    }
    let drafts: Result<Vec<Draft>, _> = drafts.into_iter().map(EventDraft::encode).collect();
    let drafts = drafts.map_err(AppendError::Draft)?;
    let sealed = shared.seal(&drafts)?;
    for one in sealed.one_by_one() {
        shared.stamp(&one, Sequencer::write_out)?;
    }
    drop(sealed);
    // If we crash before this, the next boot finds the same sessions open.
    crate::flush::flush(shared)?;
    Ok(Opening {
        clean,
        recovered,
        sessions_ended: left_open.len() as u64,
        changes: before.changes.clone(),
        unfinished: before.orders.clone(),
    })
}

fn last_words(
    shared: &Shared,
    options: &LedgerOptions,
    left_open: &[(&SessionId, &Chain)],
) -> Vec<(SessionId, EventDraft)> {
    let Some(words) = options.last_words.as_ref().filter(|_| !left_open.is_empty()) else {
        return Vec::new();
    };
    let sessions: Vec<_> = left_open.iter().map(|(id, chain)| (**id, chain.start)).collect();
    words(&sessions, &Reading(shared))
}

fn boot_draft(
    shared: &Shared,
    options: &LedgerOptions,
    before: &Standing,
    clean: bool,
    recovered: u64,
    copy_present: bool,
) -> EventDraft {
    let draft = options
        .mint
        .draft(Kind::NodeBoot)
        .set("/detail/version", options.version.as_str())
        .set_some("/detail/binary", options.binary_hash.clone())
        .set_some("/detail/config", options.config_hash.clone())
        .set("/detail/clean", clean)
        .set("/detail/checkpoint_copy", if copy_present { "ok" } else { "absent" })
        .set("/detail/previous_boot", before.boot)
        .set("/detail/recovered", recovered)
        .set("/detail/clock", "system")
        .set("/detail/epoch", crate::epoch::epoch_of(&shared.origin).unwrap_or(1));
    if clean {
        return draft;
    }
    draft.set(
        "/detail/possible_gap",
        "the death of a process loses nothing; if the machine died too, entries of kernel depth \
         from its last 10 to 30 ms may be missing",
    )
}

/// The threads that end first, and the flusher, which ends last.
type Threads = (Vec<JoinHandle<()>>, Option<JoinHandle<()>>);

fn start_threads(shared: &Arc<Shared>, tiles: Tiles, interval: Duration) -> Threads {
    let publisher = Publisher::new(Arc::clone(shared), tiles, interval);
    let maker = Arc::clone(shared);
    let flusher = Arc::clone(shared);
    let threads = [
        start(shared, "ledger-publish", move || publisher.run()),
        start(shared, "ledger-segments", move || make_segments(&maker)),
    ];
    let flusher = start(shared, "ledger-flush", move || crate::flush::run(&flusher));
    (threads.into_iter().flatten().collect(), flusher)
}

/// Starts a thread without which the ledger cannot go on: its panic is fatal.
fn start(
    shared: &Arc<Shared>,
    name: &'static str,
    body: impl FnOnce() + Send + 'static,
) -> Option<JoinHandle<()>> {
    let watched = Arc::clone(shared);
    let body = move || {
        if std::panic::catch_unwind(AssertUnwindSafe(body)).is_err() {
            watched.fatal(&format!("the thread {name} panicked"));
        }
    };
    match std::thread::Builder::new().name(name.to_owned()).spawn(body) {
        Ok(thread) => Some(thread),
        Err(error) => {
            shared.fatal(&format!("the thread {name} could not be started: {error}"));
            None
        }
    }
}

#[async_trait]
impl Append for Ledger {
    fn append(&self, drafts: &[Draft]) -> Result<Appended, AppendError> {
        let sealed = self.shared.seal(drafts)?;
        for draft in sealed.drafts().iter().filter(|draft| !draft.blobs.is_empty()) {
            crate::blobs::keep(&self.shared, &draft.blobs)?;
        }
        self.shared.stamp(&sealed, Sequencer::write_out)
    }

    fn append_soon(&self, draft: Draft) -> Result<(), AppendError> {
        let sealed = self.shared.seal(std::slice::from_ref(&draft))?;
        for draft in sealed.drafts().iter().filter(|draft| !draft.blobs.is_empty()) {
            crate::blobs::keep(&self.shared, &draft.blobs)?;
        }
        self.shared.stamp(&sealed, |_| Ok(())).map(drop)
    }

    async fn on_disk(&self, appended: &Appended) -> Result<OnDisk, AppendError> {
        if appended.boot != self.shared.boot || appended.seq == 0 {
            return Err(AppendError::Closed("a receipt of another boot".to_owned()));
        }
        let index = self.shared.boot_first_index + appended.seq - 1;
        let mut on_disk = self.shared.on_disk.subscribe();
        if *on_disk.borrow_and_update() <= index {
            self.shared.sequencer.lock().urgent = true;
            self.shared.work.notify_all();
        }
        loop {
            if *on_disk.borrow_and_update() > index {
                return Ok(OnDisk { index, leaf_hash: appended.leaf_hash });
            }
            if let Some(why) = self.shared.sequencer.lock().closed.clone()
                && *self.shared.stop.lock()
            {
                return Err(AppendError::Closed(why));
            }
            if on_disk.changed().await.is_err() {
                return Err(AppendError::Closed("the ledger is gone".to_owned()));
            }
        }
    }

    async fn resumed(&self, wait_max: Duration) -> bool {
        let deadline = tokio::time::Instant::now() + wait_max;
        loop {
            match self.readiness() {
                Ok(()) => return true,
                Err(AppendError::Closed(_)) => return false,
                Err(_) if tokio::time::Instant::now() >= deadline => return false,
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    }

    fn origin(&self) -> String {
        self.shared.origin.clone()
    }
}

impl ReadLog for Ledger {
    fn size(&self) -> u64 {
        Reading(&self.shared).size()
    }

    fn read(&self, from: u64, max: usize) -> Result<Vec<Committed>, PublicError> {
        Reading(&self.shared).read(from, max)
    }
}

/// What is on disk, as others read it.
struct Reading<'a>(&'a Shared);

impl ReadLog for Reading<'_> {
    fn size(&self) -> u64 {
        self.0.tail.size()
    }

    fn read(&self, from: u64, max: usize) -> Result<Vec<Committed>, PublicError> {
        read_anywhere(self.0, from, max).map_err(|error| {
            PublicError::new("ledger", Fault::Gateway, "the ledger could not be read")
                .hint("`loggia verify` on the gateway's machine names damaged places")
                .cause(error)
        })
    }
}

/// Reads from memory where it is there, from files otherwise, and opens what is disclosed.
pub(crate) fn read_anywhere(
    shared: &Shared,
    from: u64,
    max: usize,
) -> Result<Vec<Committed>, LedgerError> {
    Ok(shared.subjects.revealed(read_stored(shared, from, max)?)?)
}

/// The same with disclosures as they are stored.
pub(crate) fn read_stored(
    shared: &Shared,
    from: u64,
    max: usize,
) -> Result<Vec<Committed>, LedgerError> {
    if let Some(entries) = shared.tail.read(from, max) {
        return Ok(entries);
    }
    let published = *shared.published.borrow();
    Ok(read_entries(&shared.epoch.folder, published, from, max)?)
}
