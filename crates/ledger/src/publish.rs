//! The publisher: turns committed entries into tiles and signs checkpoints over them.
//!
//! One round, [`Publisher::round`], is a straight line; recovery runs the same one.

use crate::error::LedgerError;
use crate::resume;
use crate::sequencer::Standing;
use crate::shared::Shared;
use crate::signer::{SignError, sign_all};
use crate::subjects::Sealed;
use crate::tiles::Tiles;
use loggia_model::catalogue::Kind;
use loggia_model::id::ActorId;
use loggia_model::port::AppendError;
use loggia_tlog::SignedNote;
use loggia_tlog::checkpoint::Checkpoint;
use loggia_tlog::hash::Hash;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Segments that are kept ready beyond what reserves ask for.
pub(crate) const READY_SEGMENTS: usize = 2;
/// Between tries when the disk is full.
const RETRY_WAIT: Duration = Duration::from_millis(250);

pub(crate) struct Publisher {
    shared: Arc<Shared>,
    tiles: Tiles,
    interval: Duration,
    /// Whether it was said that publishing waits.
    told: bool,
    /// Whether the tiles are those of a round that failed half-way.
    stale: bool,
    /// Whether the key did not sign the last time.
    unsigned: bool,
    /// A checkpoint that is signed and recorded but not yet shown: no other is signed before it is.
    recorded: Option<(u64, SignedNote)>,
}

impl Publisher {
    pub(crate) fn new(shared: Arc<Shared>, tiles: Tiles, interval: Duration) -> Self {
        Self { shared, tiles, interval, told: false, stale: false, unsigned: false, recorded: None }
    }

    /// Publishes at each interval while the log grows, and once more when the ledger is closed in
    /// good order.
    pub(crate) fn run(mut self) {
        self.tiles.remove_orphans();
        while self.shared.sleep(self.interval) {
            self.publish_or_retry();
            self.blank();
        }
        if self.shared.sequencer.lock().closed.is_none() {
            self.publish_or_retry();
            self.blank();
        }
    }

    /// Takes disclosures away that were ordered to be destroyed: in memory and in the file. What
    /// fails is tried again with the next round.
    fn blank(&mut self) {
        let Some((ticket, indices)) = self.shared.blanks.take().filter(|_| !self.stale) else {
            return;
        };
        match self.tiles.blank(&indices) {
            Ok(()) => self.shared.blanks.carried(ticket, &indices),
            Err(error) if error.is_full() => self.wait_told(&error),
            Err(error) => self.shared.fatal(&error.to_string()),
        }
    }

    /// One round; a full disk is waited out, anything else is fatal.
    fn publish_or_retry(&mut self) {
        if self.stale {
            self.reload();
            if self.stale {
                return;
            }
        }
        let done = self.signs_again().and_then(|()| self.show_recorded());
        let done = done.and_then(|()| self.round());
        self.note_lag(done.as_ref().err());
        match done {
            Ok(()) => {
                self.told = false;
                if std::mem::take(&mut self.unsigned) {
                    self.record_signer(Kind::SignerRestored, None);
                }
            }
            // Nothing depends on checkpoints but the proof: events are taken as before.
            Err(LedgerError::Signer { path, source }) => {
                self.shared.metrics.signer_failures.inc();
                let error = LedgerError::Signer { path, source: source.clone() };
                self.wait_told(&error);
                self.reload();
                if !std::mem::replace(&mut self.unsigned, true) {
                    self.record_signer(Kind::SignerFailed, Some(&source));
                }
            }
            Err(error) if error.is_full() => {
                self.wait_told(&error);
                self.reload();
                self.shared.sleep(RETRY_WAIT);
            }
            Err(LedgerError::Append(error @ AppendError::Paused(_))) => {
                self.wait_told(&error);
                self.reload();
            }
            // A failed flush has ended everything already.
            Err(LedgerError::Append(_)) => {}
            Err(error) => self.shared.fatal(&error.to_string()),
        }
    }

    /// Before a round that a signer is likely to end: a round writes all that is not published yet,
    /// which is more each time.
    fn signs_again(&self) -> Result<(), LedgerError> {
        if self.unsigned {
            for signer in self.shared.signers.read().of(self.shared.rotated().as_ref()) {
                signer.probe().map_err(|source| self.no_signature(source))?;
            }
        }
        Ok(())
    }

    fn no_signature(&self, source: SignError) -> LedgerError {
        let epoch = crate::epoch::epoch_of(&self.shared.origin).unwrap_or(1);
        LedgerError::Signer { path: self.shared.layout.log_key(epoch), source }
    }

    /// Once for each time that the key stops signing, and signs again: an event makes the log grow.
    fn record_signer(&self, kind: Kind, why: Option<&SignError>) {
        let key = self.shared.key();
        let published = *self.shared.published.borrow();
        let draft = self.shared.sequencer.lock().draft(kind);
        let draft = draft
            .actor(ActorId::Node(self.shared.node))
            .set("/detail/key", key.id().to_string())
            .set("/detail/published_size", published)
            .set_some("/detail/reason", why.map(SignError::code));
        let written = draft.encode().map_err(AppendError::Draft);
        let written = written
            .and_then(Sealed::bare)
            .and_then(|sealed| self.shared.stamp(&sealed, |_| Ok(())));
        if let Err(error) = written {
            tracing::warn!(%error, "an event about the log's key could not be written");
        }
    }

    /// Shows since when nothing could be published.
    fn note_lag(&self, why: Option<&LedgerError>) {
        let mut unpublished = self.shared.unpublished.lock();
        let Some(why) = why else {
            *unpublished = None;
            self.shared.metrics.checkpoint_lag_s.set(0);
            return;
        };
        let since = unpublished.as_ref().map_or_else(Instant::now, |(since, _)| *since);
        let lag_s = i64::try_from(since.elapsed().as_secs()).unwrap_or(i64::MAX);
        self.shared.metrics.checkpoint_lag_s.set(lag_s);
        *unpublished = Some((since, why.to_string()));
    }

    /// Says once in a while of waiting that checkpoints wait.
    fn wait_told(&mut self, why: &dyn std::fmt::Display) {
        if !std::mem::replace(&mut self.told, true) {
            tracing::error!(%why, "no checkpoint can be published; trying again");
        }
    }

    /// Forgets a round that failed half-way and takes up the last durable state. The entries are
    /// still in the tail, so nothing is lost.
    fn reload(&mut self) {
        self.stale = false;
        let size = *self.shared.published.borrow();
        match Tiles::load(self.shared.disk.clone(), self.shared.epoch.clone(), size) {
            Ok(tiles) => self.tiles = tiles,
            // Tried again with the next round, which starts from here too.
            Err(error) if error.is_full() => self.stale = true,
            Err(error) => self.shared.fatal(&error.to_string()),
        }
    }

    /// Publishes all that is stamped when it begins.
    fn round(&mut self) -> Result<(), LedgerError> {
        // 1. Where things stand now; everything stamped until here goes under this checkpoint.
        let standing = self.shared.sequencer.lock().standing.clone();
        if standing.size == self.tiles.size() {
            return Ok(());
        }

        // 2. It must be on disk first. A checkpoint over entries that a crash could lose would
        //    be a promise that the next boot breaks.
        crate::flush::flush(&self.shared)?;

        // 3. Tiles, bundles and disclosures; durable together. A crash here leaves files that no
        //    checkpoint refers to; recovery writes them again, with the same bytes.
        self.take_entries(standing.size)?;
        let superseded = self.tiles.settle()?;

        // 4. The checkpoint, durable in the write-ahead log before it leaves the process. A crash
        //    after this finds it there and holds the next checkpoint to it.
        let checkpoint = Checkpoint::new(&self.shared.origin, standing.size, self.tiles.root())?;
        let signers = self.shared.signers.read().of(standing.rotated.as_ref());
        let note = sign_all(checkpoint.to_string(), &signers)
            .map_err(|source| self.no_signature(source))?;
        self.shared.sequencer.lock().checkpoint_record(note.to_string().as_bytes())?;
        crate::flush::flush(&self.shared)?;

        // 5. Now it may be seen.
        self.recorded = Some((standing.size, note));
        self.show_recorded()?;

        // 6. What the next start needs to be quick. It is a view: without it, or when it does not
        //    check out, recovery reads the entries themselves.
        self.save_resume(&standing, self.tiles.root())?;

        // 7. What nobody needs any more. A crash here leaves it to the next start.
        for path in superseded {
            let removed = self.shared.disk.remove(&path);
            removed.map_err(|error| LedgerError::io(&path, error))?;
        }
        let wal = self.shared.segments.folder();
        let retired = self.shared.segments.retire(standing.size, READY_SEGMENTS + 1);
        retired.map_err(|error| LedgerError::io(wal, error))
    }

    /// Shows the checkpoint that was recorded last, where it is not shown yet: first in the folder,
    /// then in its second place. A crash between the two leaves the copy behind the folder, which
    /// is allowed; one before both leaves it to recovery, which shows it too.
    fn show_recorded(&mut self) -> Result<(), LedgerError> {
        let Some((size, note)) = self.recorded.clone() else { return Ok(()) };
        let text = note.to_string();
        let replace = |path: &std::path::Path| {
            let replaced = self.shared.disk.replace(path, text.as_bytes());
            replaced.map_err(|error| LedgerError::io(path, error))
        };
        {
            // Cosignatures are put beside it meanwhile; they must not put an older one back.
            let mut shown = self.shared.shown.lock();
            replace(&self.shared.epoch.folder.checkpoint_path())?;
            *shown = Some((size, note));
        }
        self.shared.published.send_replace(size);
        self.shared.tail.in_tiles(size);
        // Whoever waited for the tiles goes on. No flush need come to tell: all may be waiting.
        self.shared.note_backlog();
        self.shared.metrics.checkpoint_size.set(i64::try_from(size).unwrap_or(i64::MAX));
        if let Some(copy) = &self.shared.checkpoint_copy {
            replace(copy)?;
        }
        self.recorded = None;
        if self.tiles.size() != size {
            self.reload();
        }
        Ok(())
    }

    fn take_entries(&mut self, size: u64) -> Result<(), LedgerError> {
        while self.tiles.size() < size {
            let from = self.tiles.size();
            let want = usize::try_from(size - from).unwrap_or(usize::MAX).min(4_096);
            let entries = self.shared.tail.read(from, want).unwrap_or_default();
            if entries.is_empty() {
                let why = format!("entry {from} is on disk but not in memory");
                return Err(LedgerError::damaged(self.shared.segments.folder(), why));
            }
            for entry in &entries {
                self.tiles.push(entry)?;
            }
        }
        Ok(())
    }

    fn save_resume(&self, standing: &Standing, root: Hash) -> Result<(), LedgerError> {
        let path = &self.shared.epoch.resume;
        let bytes = resume::encode(standing, &root.to_hex());
        self.shared.disk.replace(path, &bytes).map_err(|error| LedgerError::io(path, error))
    }
}

/// Keeps segments ready for the sequencer: for what is written, and for the ends of all open
/// sessions. A full disk is tried again until there is room; sessions pause meanwhile.
pub(crate) fn make_segments(shared: &Arc<Shared>) {
    let mut told = false;
    loop {
        let reserve =
            shared.sequencer.lock().standing.sessions.len() * crate::sequencer::END_RESERVE_BYTES;
        let wanted = READY_SEGMENTS + reserve / shared.segments.segment_bytes();
        let mut wait = Duration::from_millis(20);
        if shared.segments.ready() < wanted {
            match shared.segments.make_ready() {
                Ok(()) => {
                    if std::mem::take(&mut told) {
                        tracing::info!("there is room for the write-ahead log again");
                    }
                    continue;
                }
                Err(error) if crate::disk::is_full(&error) => {
                    if !std::mem::replace(&mut told, true) {
                        tracing::error!(%error, "no room for the write-ahead log; sessions pause");
                    }
                    wait = RETRY_WAIT;
                }
                Err(error) => return shared.fatal(&format!("making a segment failed: {error}")),
            }
        }
        if !shared.sleep(wait) {
            return;
        }
    }
}
