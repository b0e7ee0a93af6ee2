//! The sequencer: the one place where events get their order.
//!
//! Everything here happens under one lock and takes microseconds; once for each segment, when the
//! next one begins, as long as one fdatasync. The life of an event:
//! 1. *admit*: is there room for it, and for the ends of all open sessions; is the disk not too
//!    far behind? If not, nothing happens and the caller waits.
//! 2. *stamp*: time, `(boot, seq)`, the session's chain; the leaf is complete, hashed, and stands
//!    in the buffer as a record. A crash here leaves nothing. Who appends is told nothing yet; who
//!    appends *soon* (a result) goes on from here, and may lose it: then its outcome is unknown.
//! 3. *write out*: the buffer goes to the segment with one write, at once, for what is appended
//!    soon within 10 ms. From here on the event survives the death of our processes (`kernel`). A
//!    crash during the write leaves a torn record, which recovery cuts off: nobody who waits for
//!    the write was told.
//! 4. the flusher makes it durable (`disk`), then publishers and followers see it.

use crate::disk::Disk;
use crate::erase::{self, Ordered};
use crate::segments::{Segment, Segments};
use crate::subjects::Sealed;
use bytes::{Bytes, BytesMut};
use loggia_model::catalogue::Kind;
use loggia_model::event::{DraftError, Role, Stamp};
use loggia_model::id::{ActorId, EventId, SessionId};
use loggia_model::port::{AppendError, Appended, Committed};
use loggia_model::{Draft, Event, LeafHash, Mint};
use loggia_tlog::VerifierKey;
use loggia_verify::wal::{HEADER_BYTES, RecordType, encode_record, record_bytes};
use std::collections::HashMap;
use std::fs::File;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Room that a session's start reserves for its end, in bytes.
pub(crate) const END_RESERVE_BYTES: usize = 8 << 10;
/// Room that is always kept for the ledger's own records, in bytes.
const OWN_RESERVE_BYTES: usize = 64 << 10;
/// Entries that were written stay in memory in pieces of this size.
const KEPT_BYTES: usize = 64 << 10;
/// How far the disk may be behind the writes before sessions pause.
const LAG_MAX: Duration = Duration::from_millis(250);
/// How far the wall clock may be behind the last stamp without being called a step, microseconds.
const STEP_US: i64 = 1_000_000;

/// The chain of an open session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Chain {
    pub(crate) seq: u64,
    pub(crate) head: LeafHash,
    pub(crate) start: EventId,
    pub(crate) actor: ActorId,
}

/// What goes on from one boot to the next, as of one size of the log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    /// Number of entries.
    pub(crate) size: u64,
    /// Number of the boot of the last entry; 0 in an empty log.
    pub(crate) boot: u64,
    /// The last number in that boot.
    pub(crate) seq: u64,
    /// The last stamped time, microseconds since 1970.
    pub(crate) last_time_us: i64,
    /// The sessions that are open.
    pub(crate) sessions: HashMap<SessionId, Chain>,
    /// The changes of configuration recorded in that boot.
    pub(crate) changes: Vec<EventId>,
    /// Orders to destroy that are on record and not carried out to the end.
    pub(crate) orders: Vec<Ordered>,
    /// The key that the last rotation has made the log's.
    pub(crate) rotated: Option<VerifierKey>,
    /// Whether the last entry is the boot's `node.shutdown`.
    pub(crate) clean: bool,
}

struct Buffered {
    index: u64,
    leaf_hash: LeafHash,
    leaf: Range<usize>,
    disclosure: Range<usize>,
}

/// What the flusher takes to make it durable.
pub(crate) struct Unsynced {
    pub(crate) files: Vec<(Arc<File>, PathBuf)>,
    pub(crate) names_changed: bool,
    pub(crate) entries: Vec<Committed>,
    pub(crate) size: u64,
    pub(crate) since: Option<Instant>,
}

/// The state under the lock.
pub(crate) struct Sequencer {
    disk: Disk,
    mint: Mint,
    segments: Arc<Segments>,
    node: String,
    backlog_bytes_max: u64,

    // Moved on by whoever appends:
    /// Where things stand after the last stamped event.
    pub(crate) standing: Standing,
    segment: Segment,
    leaf: Vec<u8>,
    // Stamped, not written.
    buffer: Vec<u8>,
    buffered: Vec<Buffered>,

    // Filled by writing out, taken by the flusher:
    written: Vec<Committed>,
    /// Room for more of it.
    kept: BytesMut,
    full_segments: Vec<(Arc<File>, PathBuf)>,
    names_changed: bool,
    dirty_since: Option<Instant>,
    /// Somebody waits for the disk.
    pub(crate) urgent: bool,

    // Set by the flusher:
    /// What it is making durable now was written then.
    pub(crate) syncing_since: Option<Instant>,

    // Set by flusher and publisher, with [`crate::shared::Shared::note_backlog`]:
    /// Entries that are durable but in no tile yet, in bytes.
    pub(crate) backlog_bytes: u64,

    // Set once, by whoever ends the ledger:
    pub(crate) closed: Option<String>,
}

impl Sequencer {
    pub(crate) fn new(
        disk: Disk,
        mint: Mint,
        segments: Arc<Segments>,
        node: String,
        standing: Standing,
        segment: Segment,
        backlog_bytes_max: u64,
    ) -> Self {
        Self {
            disk,
            mint,
            segments,
            node,
            backlog_bytes_max,
            standing,
            segment,
            leaf: Vec::with_capacity(2 << 10),
            buffer: Vec::with_capacity(64 << 10),
            buffered: Vec::new(),
            written: Vec::new(),
            kept: BytesMut::new(),
            full_segments: Vec::new(),
            // The first segment's name is not durable yet.
            names_changed: true,
            dirty_since: None,
            urgent: false,
            syncing_since: None,
            backlog_bytes: 0,
            closed: None,
        }
    }

    /// A draft of the ledger's own.
    pub(crate) fn draft(&self, kind: Kind) -> loggia_model::EventDraft {
        self.mint.draft(kind)
    }

    /// Why nothing of this size can be taken now, where that is so. `largest` is the longest
    /// record of it: of a segment's end, up to that can stay unused. The end of a session and the
    /// ledger's own records (`own`) use reserved room and are not held back by a slow disk.
    pub(crate) fn refusal(&self, bytes: usize, largest: usize, own: bool) -> Option<AppendError> {
        if let Some(why) = &self.closed {
            return Some(AppendError::Closed(why.clone()));
        }
        let segment_bytes = self.segments.segment_bytes();
        let left = segment_bytes - self.segment.offset - self.buffer.len();
        let usable = (segment_bytes - HEADER_BYTES).saturating_sub(largest);
        let room = left.saturating_sub(largest) + self.segments.ready() * usable;
        let reserve = self.standing.sessions.len() * END_RESERVE_BYTES + OWN_RESERVE_BYTES;
        if own {
            // Fits where it is, or in the next segment.
            let fits = left >= bytes || room >= bytes;
            return (!fits).then_some(AppendError::Paused("no room left in the reserve"));
        }
        if room < bytes + reserve {
            return Some(AppendError::Paused("no room on the disk"));
        }
        let oldest = self.syncing_since.or(self.dirty_since);
        if oldest.is_some_and(|since| since.elapsed() > LAG_MAX) {
            return Some(AppendError::Paused("the disk is behind"));
        }
        if self.backlog_bytes > self.backlog_bytes_max {
            return Some(AppendError::Paused("the tiles are behind"));
        }
        None
    }

    /// What one batch can take at the most, in bytes: there is room for it whenever the ledger is
    /// not paused.
    pub(crate) fn batch_bytes_max(&self) -> usize {
        self.segments.segment_bytes() / 2
    }

    /// Stamps the drafts into the buffer, in order. All or none: where one cannot follow those
    /// before it, which the admission rules out, the ledger closes rather than tell that nothing
    /// of them was taken.
    pub(crate) fn stamp_all(&mut self, sealed: &Sealed<'_>) -> Result<Appended, AppendError> {
        let drafts = sealed.drafts();
        // Who begins a session also needs the room for its end.
        let needs = |draft: &Draft| {
            let starts = draft.session.is_some_and(|slot| slot.role == Role::Start);
            record_bytes(draft.bytes_max(), 0) + if starts { END_RESERVE_BYTES } else { 0 }
        };
        let bytes = drafts.iter().map(needs).sum();
        let largest = drafts.iter().map(needs).max().unwrap_or(0);
        let max = self.batch_bytes_max();
        if bytes > max {
            return Err(AppendError::Draft(DraftError::TooLarge { bytes, max }));
        }
        let own = drafts.iter().all(|draft| {
            draft.session.is_some_and(|slot| slot.role == Role::End)
                || matches!(draft.kind, Kind::NodeBoot | Kind::NodeShutdown)
        });
        if let Some(refusal) = self.refusal(bytes, largest, own) {
            return Err(refusal);
        }
        let mut last = None;
        for draft in drafts {
            match self.stamp(draft) {
                Ok(appended) => last = Some(appended),
                Err(error) if last.is_none() => return Err(error),
                Err(error) => return Err(self.close(format!("a batch was cut short: {error}"))),
            }
        }
        last.ok_or_else(|| AppendError::Closed("an empty batch".to_owned()))
    }

    fn stamp(&mut self, draft: &Draft) -> Result<Appended, AppendError> {
        let time_us = self.next_time()?;
        self.stamp_at(draft, time_us)
    }

    /// The time of the next event: never earlier than the last, unless the clock was set back by
    /// more than a second, which is an event of its own.
    fn next_time(&mut self) -> Result<i64, AppendError> {
        let wall_us = self.mint.now_us();
        let last_us = self.standing.last_time_us;
        if wall_us > last_us {
            return Ok(wall_us);
        }
        if last_us - wall_us <= STEP_US {
            return Ok(last_us + 1);
        }
        let stepped = self
            .mint
            .draft(Kind::ClockStepped)
            .set("/detail/from_us", loggia_model::Value::Int(last_us))
            .set("/detail/to_us", loggia_model::Value::Int(wall_us))
            .encode()?;
        self.stamp_at(&stepped, wall_us)?;
        Ok(wall_us + 1)
    }

    fn stamp_at(&mut self, draft: &Draft, time_us: i64) -> Result<Appended, AppendError> {
        let session = draft.session.map(|slot| {
            let chain = self.standing.sessions.get(&slot.id);
            (chain.map_or(1, |chain| chain.seq + 1), chain.map(|chain| chain.head))
        });
        let stamp = Stamp {
            time_us,
            node: &self.node,
            boot: self.standing.boot,
            seq: self.standing.seq + 1,
            session,
        };
        self.leaf.clear();
        draft.stamp(&stamp, &mut self.leaf);
        let leaf_hash = LeafHash::of(&self.leaf);

        let record_len = record_bytes(self.leaf.len(), draft.disclosure.len());
        if self.segment.offset + self.buffer.len() + record_len > self.segments.segment_bytes() {
            self.next_segment()?;
        }
        let (leaf, disclosure) = encode_record(
            self.segment.number,
            RecordType::Entry,
            &self.leaf,
            &draft.disclosure,
            &mut self.buffer,
        );
        self.buffered.push(Buffered { index: self.standing.size, leaf_hash, leaf, disclosure });
        self.note(draft, session.map(|(seq, _)| seq), leaf_hash, time_us);
        Ok(Appended { boot: self.standing.boot, seq: self.standing.seq, leaf_hash, time_us })
    }

    /// Moves the standing on by one stamped event.
    fn note(&mut self, draft: &Draft, session_seq: Option<u64>, head: LeafHash, time_us: i64) {
        self.standing.size += 1;
        self.standing.seq += 1;
        self.standing.last_time_us = time_us;
        self.standing.clean = draft.kind == Kind::NodeShutdown;
        if draft.kind == Kind::ConfigChange {
            self.standing.changes.push(draft.id);
        }
        if erase::concerns(draft.kind)
            && let Ok(event) = Event::parse(&self.leaf)
        {
            erase::note(&mut self.standing.orders, &event, self.standing.size - 1);
        }
        let (Some(slot), Some(seq)) = (draft.session, session_seq) else { return };
        match slot.role {
            Role::End => {
                self.standing.sessions.remove(&slot.id);
            }
            Role::Start | Role::Member => {
                if let Some(chain) = self.standing.sessions.get_mut(&slot.id) {
                    chain.seq = seq;
                    chain.head = head;
                } else if let Some(actor) = draft.actor {
                    let chain = Chain { seq, head, start: draft.id, actor };
                    self.standing.sessions.insert(slot.id, chain);
                }
            }
        }
    }

    /// Appends a signed checkpoint as a record. Has no index and no reserve of its own to ask.
    pub(crate) fn checkpoint_record(&mut self, note: &[u8]) -> Result<(), AppendError> {
        let record_len = record_bytes(note.len(), 0);
        if let Some(refusal) = self.refusal(record_len, record_len, true) {
            return Err(refusal);
        }
        if self.segment.offset + self.buffer.len() + record_len > self.segments.segment_bytes() {
            self.next_segment()?;
        }
        encode_record(self.segment.number, RecordType::Checkpoint, note, b"", &mut self.buffer);
        self.write_out()
    }

    /// Writes the buffer into the segment. Any failure is fatal for the ledger: what the page
    /// cache holds is not known any more.
    pub(crate) fn write_out(&mut self) -> Result<(), AppendError> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let at = self.segment.offset as u64;
        if let Err(error) =
            self.disk.write_at(&self.segment.file, &self.segment.path, &self.buffer, at)
        {
            return Err(self.close(format!("writing the write-ahead log failed: {error}")));
        }
        self.segment.offset += self.buffer.len();
        let bytes = self.keep();
        self.buffer.clear();
        self.written.extend(self.buffered.drain(..).map(|entry| Committed {
            index: entry.index,
            leaf_hash: entry.leaf_hash,
            leaf: bytes.slice(entry.leaf),
            disclosure: bytes.slice(entry.disclosure),
        }));
        self.dirty_since.get_or_insert_with(Instant::now);
        Ok(())
    }

    /// Copies what was written to where publisher and followers take it from: behind what was
    /// written before, as long as there is room. Entries go in the order in which they came, so a
    /// piece of memory is let go as a whole.
    fn keep(&mut self) -> Bytes {
        if self.kept.capacity() < self.buffer.len() {
            self.kept = BytesMut::with_capacity(KEPT_BYTES.max(self.buffer.len()));
        }
        self.kept.extend_from_slice(&self.buffer);
        self.kept.split().freeze()
    }

    /// Goes on in the next segment. The admission made sure that one is ready.
    fn next_segment(&mut self) -> Result<(), AppendError> {
        self.write_out()?;
        let first_index = self.standing.size;
        // Durable before the next one has a name: a machine that dies in between must not keep the
        // second and lose the end of the first. Once for each segment, milliseconds.
        if let Err(error) = self.disk.sync_data(&self.segment.file, &self.segment.path) {
            return Err(self.close(format!("fdatasync failed: {error}")));
        }
        match self.segments.begin(self.segment.number + 1, first_index) {
            Ok(Some(next)) => {
                let full = std::mem::replace(&mut self.segment, next);
                self.segments.finished(&full, first_index);
                self.full_segments.push((full.file, full.path));
                self.names_changed = true;
                Ok(())
            }
            Ok(None) => Err(AppendError::Paused("no segment is ready")),
            Err(error) => Err(self.close(format!("beginning a segment failed: {error}"))),
        }
    }

    /// Closes the ledger for good.
    pub(crate) fn close(&mut self, why: String) -> AppendError {
        let why = self.closed.get_or_insert(why).clone();
        AppendError::Closed(why)
    }

    /// Whether anything waits for the disk, or to be written at all.
    pub(crate) fn has_work(&self) -> bool {
        self.dirty_since.is_some() || !self.buffer.is_empty() || self.names_changed
    }

    /// Hands over what is to be made durable. What is still in the buffer is written out first.
    pub(crate) fn take_unsynced(&mut self) -> Result<Unsynced, AppendError> {
        self.write_out()?;
        let mut files = std::mem::take(&mut self.full_segments);
        files.push((Arc::clone(&self.segment.file), self.segment.path.clone()));
        self.urgent = false;
        self.syncing_since = self.dirty_since.take();
        Ok(Unsynced {
            files,
            names_changed: std::mem::take(&mut self.names_changed),
            entries: std::mem::take(&mut self.written),
            size: self.standing.size,
            since: self.syncing_since,
        })
    }
}
