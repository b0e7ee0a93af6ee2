//! What destroys: disclosures and large values of one subject, or of a time.
//!
//! The event that says so (`erasure.started`, `retention.started`) is the intent; everything after
//! it can be done again. In order, with what a crash leaves behind:
//! 1. the subject's key is changed and the event is stamped, with nothing of the subject in
//!    between ([`Ledger::begin_erasure`]). A crash before: nothing happened, there is one key more.
//! 2. once a checkpoint covers the event, the old keys are destroyed and what lies in `open/` and
//!    `blobs/` is taken away ([`Ledger::destroy`]). A crash: the next boot finds the event without
//!    its `….done` and does the same again. Whatever is left then is unreadable already.
//!
//! Files of full bundles are replaced as wholes. The bundle that is not full belongs to the
//! publisher, which is told by [`Blanks`].

use crate::error::LedgerError;
use crate::layout::EpochLayout;
use crate::ledger::{Ledger, read_stored};
use crate::sequencer::Sequencer;
use crate::shared::Shared;
use loggia_model::catalogue::Kind;
use loggia_model::envelope::{Content, Envelope, is_envelope};
use loggia_model::event::Event;
use loggia_model::id::{ActorId, EventId, SessionId};
use loggia_model::port::{Append, AppendError, Appended};
use loggia_model::{EventDraft, Value};
use loggia_tlog::tile::{TILE_WIDTH, open_encode};
use loggia_tlog::{BundleId, Checkpoint, SignedNote};
use loggia_verify::wal::RecordType;
use parking_lot::{Condvar, Mutex};
use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::time::Duration;

/// Files that are replaced with one sync of the file system.
const FILES_AT_ONCE: usize = 256;
/// How long a checkpoint over the event, and the publisher, may take.
const PUBLISH_WAIT_MAX: Duration = Duration::from_secs(30);
/// How long followers may take to forget.
const FORGET_WAIT_MAX: Duration = Duration::from_secs(10);
/// Entries that are read at a time.
const READ_ENTRIES: usize = 2_048;

/// What is to be destroyed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doomed {
    /// What is disclosed of the events of one subject.
    Subject(ActorId),
    /// What is disclosed of events from before this time, microseconds since 1970.
    DisclosuresUntil(i64),
    /// Recordings that began before this time, microseconds since 1970.
    RecordingsUntil(i64),
}

impl Doomed {
    /// As two texts, for a file.
    pub(crate) fn stored(&self) -> (&'static str, String) {
        match self {
            Self::Subject(subject) => ("subject", subject.to_string()),
            Self::DisclosuresUntil(until_us) => ("disclosures", until_us.to_string()),
            Self::RecordingsUntil(until_us) => ("recordings", until_us.to_string()),
        }
    }

    pub(crate) fn from_stored(what: &str, value: &str) -> Option<Self> {
        match what {
            "subject" => value.parse().ok().map(Self::Subject),
            "disclosures" => value.parse().ok().map(Self::DisclosuresUntil),
            "recordings" => value.parse().ok().map(Self::RecordingsUntil),
            _ => None,
        }
    }

    fn of(event: &Event) -> Option<Self> {
        let until_us = || event.whole.at("/detail/until_us").and_then(Value::as_int);
        match event.known_kind()? {
            Kind::ErasureStarted => event.text("/detail/subject")?.parse().ok().map(Self::Subject),
            Kind::RetentionStarted => match event.text("/detail/what")? {
                "disclosures" => until_us().map(Self::DisclosuresUntil),
                "recordings" => until_us().map(Self::RecordingsUntil),
                _ => None,
            },
            _ => None,
        }
    }

    fn meets(&self, event: &Event) -> bool {
        match *self {
            Self::Subject(subject) => event.actor == Some(subject),
            Self::DisclosuresUntil(until_us) | Self::RecordingsUntil(until_us) => {
                event.time_us < until_us
            }
        }
    }
}

/// An order to destroy that is on record, and not known to be carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ordered {
    /// Id of the event that says so.
    pub event: EventId,
    /// Its index.
    pub index: u64,
    /// What is to be destroyed: of what stands before it.
    pub doomed: Doomed,
}

/// Whether events of this kind begin or end an order.
pub(crate) const fn concerns(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::ErasureStarted | Kind::RetentionStarted | Kind::ErasureDone | Kind::RetentionDone
    )
}

/// Notes an event: an order begins, or is carried out.
pub(crate) fn note(orders: &mut Vec<Ordered>, event: &Event, index: u64) {
    match event.known_kind() {
        Some(Kind::ErasureStarted | Kind::RetentionStarted) => {
            let order = |doomed| Ordered { event: event.id, index, doomed };
            orders.extend(Doomed::of(event).map(order));
        }
        Some(Kind::ErasureDone | Kind::RetentionDone) => {
            let of = event.text("/detail/of").and_then(|id| id.parse().ok());
            orders.retain(|order| Some(order.event) != of);
        }
        _ => {}
    }
}

/// What a legal hold keeps: what meets all that is given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Keep {
    /// Id of the hold.
    pub id: String,
    /// Events of this actor.
    pub actor: Option<ActorId>,
    /// Events of this session.
    pub session: Option<SessionId>,
    /// Events of sessions on the resource of this name.
    pub resource: Option<String>,
    /// Events from this time on, microseconds since 1970.
    pub from_us: Option<i64>,
    /// Events before this time, microseconds since 1970.
    pub to_us: Option<i64>,
}

impl Keep {
    fn meets(&self, event: &Event, resource: Option<&str>) -> bool {
        let session = event.session.map(|place| place.id);
        self.actor.is_none_or(|actor| event.actor == Some(actor))
            && self.session.is_none_or(|wanted| session == Some(wanted))
            && self.resource.as_deref().is_none_or(|wanted| resource == Some(wanted))
            && self.from_us.is_none_or(|from_us| event.time_us >= from_us)
            && self.to_us.is_none_or(|to_us| event.time_us < to_us)
    }
}

/// What an order meets, or has destroyed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Met {
    /// Events whose disclosures were there.
    pub disclosures: u64,
    /// Large values that were there.
    pub blobs: u64,
    /// Keys of the subject.
    pub keys: u64,
    /// Sessions of these events.
    pub sessions: u64,
    /// Sessions of these events that were recorded.
    pub recordings: Vec<SessionId>,
    /// Events, or recordings, that a hold keeps.
    pub held: u64,
    /// Ids of the holds that are met.
    pub holds: BTreeSet<String>,
    /// Names of the followers that have not forgotten what was destroyed.
    pub pending: Vec<&'static str>,
}

/// Disclosures of the bundle that is not full, which the publisher is to take away.
#[derive(Default)]
pub(crate) struct Blanks {
    asked: Mutex<Asked>,
    done: Condvar,
}

#[derive(Default)]
struct Asked {
    /// Asked for and carried out so far, counted.
    wanted: u64,
    carried: u64,
    indices: BTreeSet<u64>,
}

impl Blanks {
    /// Asks for it and waits until it is done; `false` where that takes too long.
    fn ask(&self, indices: &[u64], ends: &dyn Fn() -> bool) -> bool {
        if indices.is_empty() {
            return true;
        }
        let mut asked = self.asked.lock();
        asked.indices.extend(indices);
        asked.wanted += 1;
        let ticket = asked.wanted;
        let deadline = tokio::time::Instant::now() + PUBLISH_WAIT_MAX;
        while asked.carried < ticket {
            self.done.wait_for(&mut asked, Duration::from_millis(50));
            if asked.carried < ticket && (ends() || tokio::time::Instant::now() > deadline) {
                return false;
            }
        }
        true
    }

    /// What is asked for now, and the ticket to hand back.
    pub(crate) fn take(&self) -> Option<(u64, BTreeSet<u64>)> {
        let asked = self.asked.lock();
        (asked.carried < asked.wanted).then(|| (asked.wanted, asked.indices.clone()))
    }

    /// Says that all up to the ticket is carried out.
    pub(crate) fn carried(&self, ticket: u64, indices: &BTreeSet<u64>) {
        let mut asked = self.asked.lock();
        asked.carried = asked.carried.max(ticket);
        if asked.carried == asked.wanted {
            asked.indices.retain(|index| !indices.contains(index));
        }
        drop(asked);
        self.done.notify_all();
    }
}

impl Ledger {
    /// What an order would meet now, and which of the holds it meets.
    ///
    /// # Errors
    /// Where the log cannot be read.
    pub fn survey(&self, doomed: Doomed, keeps: &[Keep]) -> Result<Met, LedgerError> {
        let mut walk = Walk::new(self.shared(), doomed, keeps, false);
        walk.all(u64::MAX)?;
        if let Doomed::Subject(subject) = doomed {
            walk.met.keys = self.shared().subjects.count(subject);
        }
        Ok(walk.finish())
    }

    /// Puts the order to destroy on record: `draft` is an `erasure.started` or
    /// `retention.started` that says what. Returns once it is on disk.
    ///
    /// # Errors
    /// Where nothing could be written; nothing is to be destroyed then.
    pub async fn begin_erasure(
        &self,
        doomed: Doomed,
        draft: EventDraft,
    ) -> Result<Ordered, AppendError> {
        let event = draft.id();
        let draft = draft.encode()?;
        let shared = self.shared();
        let appended: Appended = {
            // Everything of the subject that is stamped before the event is sealed under keys that
            // are destroyed, everything behind it under the new one.
            let Doomed::Subject(subject) = doomed else {
                let appended = self.append(&[draft])?;
                return self.ordered(event, doomed, &appended).await;
            };
            let fatal = |error: &AppendError| {
                if let AppendError::Closed(why) = error {
                    shared.fatal(why);
                }
            };
            let mut turned = shared.subjects.turn(subject).inspect_err(fatal)?;
            let sealed = turned.seal(&draft).inspect_err(fatal)?;
            shared.stamp(&sealed, Sequencer::write_out)?
        };
        self.ordered(event, doomed, &appended).await
    }

    async fn ordered(
        &self,
        event: EventId,
        doomed: Doomed,
        appended: &Appended,
    ) -> Result<Ordered, AppendError> {
        let index = self.on_disk(appended).await?.index;
        Ok(Ordered { event, index, doomed })
    }

    /// Carries an order out: keys, disclosures, large values. Of recordings it says which they are;
    /// they are not the ledger's. May be done again. `keeps` are the holds that retention respects.
    ///
    /// # Errors
    /// Where something could not be read or written; what is destroyed by then stays so.
    pub fn destroy(&self, order: &Ordered, keeps: &[Keep]) -> Result<Met, LedgerError> {
        let shared = self.shared();
        // Whoever verifies must find the event that covers what is missing.
        if !wait_published(shared, order.index) {
            let why = "no checkpoint covers the order yet; it is taken up at the next start";
            return Err(AppendError::Closed(why.to_owned()).into());
        }
        let mut keys = 0;
        if let Doomed::Subject(subject) = order.doomed {
            // The key in use was made with the order, or later.
            keys = shared.subjects.destroy(subject)?;
        }
        let mut walk = Walk::new(shared, order.doomed, keeps, true);
        walk.all(order.index)?;
        shared.tail.close(&walk.in_memory);
        let mut met = walk.finish();
        met.keys = keys;
        met.pending = crate::follow::forget(shared, FORGET_WAIT_MAX);
        Ok(met)
    }
}

fn wait_published(shared: &Shared, index: u64) -> bool {
    let deadline = tokio::time::Instant::now() + PUBLISH_WAIT_MAX;
    while *shared.published.borrow() <= index {
        if tokio::time::Instant::now() > deadline || !shared.sleep(Duration::from_millis(20)) {
            return false;
        }
    }
    true
}

/// A walk along all epochs, which counts what an order meets and, where it is carried out, takes
/// it away.
struct Walk<'a> {
    shared: &'a Shared,
    doomed: Doomed,
    keeps: &'a [Keep],
    carry_out: bool,
    met: Met,
    sessions: BTreeSet<SessionId>,
    /// Resources of sessions that have not ended; only where a hold asks for them.
    resources: HashMap<SessionId, String>,
    recorded: BTreeSet<SessionId>,
    held_recordings: BTreeSet<SessionId>,
    /// Entries that may stand in memory too, from `memory_from` on.
    in_memory: BTreeSet<u64>,
    memory_from: u64,
    /// Files to be replaced: path and content.
    fresh: Vec<(PathBuf, Vec<u8>)>,
}

impl<'a> Walk<'a> {
    fn new(shared: &'a Shared, doomed: Doomed, keeps: &'a [Keep], carry_out: bool) -> Self {
        Self {
            shared,
            doomed,
            keeps,
            carry_out,
            met: Met::default(),
            sessions: BTreeSet::new(),
            resources: HashMap::new(),
            recorded: BTreeSet::new(),
            held_recordings: BTreeSet::new(),
            in_memory: BTreeSet::new(),
            memory_from: u64::MAX,
            fresh: Vec::new(),
        }
    }

    fn finish(mut self) -> Met {
        self.met.sessions = self.sessions.len() as u64;
        let kept = self.recorded.intersection(&self.held_recordings).count() as u64;
        if matches!(self.doomed, Doomed::RecordingsUntil(_)) {
            self.met.held = kept;
        }
        let destroyed = self.recorded.difference(&self.held_recordings);
        self.met.recordings = destroyed.copied().collect();
        self.met
    }

    /// Walks; of the open epoch only what stands before `end`.
    fn all(&mut self, end: u64) -> Result<(), LedgerError> {
        let layout = &self.shared.layout;
        let latest =
            layout.latest_epoch().map_err(|error| LedgerError::io(layout.data(), error))?;
        for number in 1..latest {
            let folder = layout.epoch(number);
            if let Ok(epoch) = EpochLayout::open(&folder) {
                let size = published_size(&epoch)?;
                self.bundles(&epoch, size, size)?;
                self.old_wal(&epoch, size)?;
            }
        }
        let epoch = self.shared.epoch.clone();
        self.memory_from = self.shared.tail.oldest();
        let size = *self.shared.published.borrow();
        let full = size - size % u64::from(TILE_WIDTH);
        self.bundles(&epoch, full, end)?;
        self.rest(full, end)
    }

    /// The first `size` entries of an epoch, whose bundles nobody writes any more.
    fn bundles(&mut self, epoch: &EpochLayout, size: u64, end: u64) -> Result<(), LedgerError> {
        for number in 0..size.div_ceil(u64::from(TILE_WIDTH)) {
            let first = number * u64::from(TILE_WIDTH);
            let Some(bundle) = BundleId::in_tree(number, size).filter(|_| first < end) else {
                break;
            };
            let entries = epoch.folder.entries(&bundle)?;
            let open = epoch.folder.disclosures(&bundle)?;
            let mut left: Vec<Option<Vec<u8>>> =
                open.iter().map(|one| (!one.is_empty()).then(|| one.to_vec())).collect();
            let mut changed = false;
            for (position, leaf) in entries.iter().enumerate() {
                if first + position as u64 >= end {
                    break;
                }
                let Some(slot) = left.get_mut(position) else { break };
                if self.entry(leaf, slot.as_deref().unwrap_or_default())? {
                    self.remember(first + position as u64);
                    changed |= slot.take().is_some();
                }
            }
            if changed && self.carry_out {
                let bytes = open_encode(&left)?;
                self.fresh.push((epoch.folder.disclosures_path(&bundle), bytes));
                if self.fresh.len() >= FILES_AT_ONCE {
                    self.replace()?;
                }
            }
        }
        self.replace()
    }

    /// The write-ahead log of an epoch that is closed, where disclosures of before there were keys
    /// stand in it in clear: it goes, if all of it stands in the tiles too.
    fn old_wal(&self, epoch: &EpochLayout, size: u64) -> Result<(), LedgerError> {
        if !self.carry_out || matches!(self.doomed, Doomed::RecordingsUntil(_)) {
            return Ok(());
        }
        let (mut clear, mut scan) = (false, epoch.folder.wal()?);
        while let Some(record) = scan.next_record()? {
            let open = !record.disclosure.is_empty() && !is_envelope(record.disclosure);
            clear |= record.kind == RecordType::Entry
                && open
                && Event::parse(record.leaf).is_ok_and(|event| self.doomed.meets(&event));
        }
        if !clear || scan.end().is_some_and(|end| end.index > size) {
            return Ok(());
        }
        for segment in scan.segments() {
            let path = scan.path(segment.number);
            let removed = self.shared.disk.remove(&path);
            removed.map_err(|error| LedgerError::io(&path, error))?;
        }
        Ok(())
    }

    /// What stands in no full bundle of the open epoch.
    fn rest(&mut self, from: u64, end: u64) -> Result<(), LedgerError> {
        let mut at = from;
        let mut indices = Vec::new();
        while at < end {
            let entries = read_stored(self.shared, at, READ_ENTRIES)?;
            if entries.is_empty() {
                break;
            }
            for entry in entries.iter().take_while(|entry| entry.index < end) {
                if self.entry(&entry.leaf, &entry.disclosure)? && !entry.disclosure.is_empty() {
                    self.remember(entry.index);
                    indices.push(entry.index);
                }
            }
            at += entries.len() as u64;
        }
        if self.carry_out && !self.shared.blanks.ask(&indices, &|| *self.shared.stop.lock()) {
            let why = "the publisher did not come to it; it is taken up at the next start";
            return Err(AppendError::Closed(why.to_owned()).into());
        }
        Ok(())
    }

    fn remember(&mut self, index: u64) {
        if self.carry_out && index >= self.memory_from {
            self.in_memory.insert(index);
        }
    }

    /// Looks at one entry; whether its disclosure is to go.
    fn entry(&mut self, leaf: &[u8], stored: &[u8]) -> Result<bool, LedgerError> {
        let Ok(event) = Event::parse(leaf) else { return Ok(false) };
        let session = event.session.map(|place| place.id);
        let resource = self.resource_of(&event);
        let of_recordings = matches!(self.doomed, Doomed::RecordingsUntil(_));
        let met = self.doomed.meets(&event);
        let mut held = false;
        // A recording is held where any event of its session is.
        if met || (of_recordings && session.is_some_and(|session| self.recorded.contains(&session)))
        {
            for keep in self.keeps.iter().filter(|keep| keep.meets(&event, resource.as_deref())) {
                self.met.holds.insert(keep.id.clone());
                held = true;
            }
        }
        if held && !matches!(self.doomed, Doomed::DisclosuresUntil(_)) {
            self.held_recordings.extend(session);
        }
        if met
            && !matches!(self.doomed, Doomed::DisclosuresUntil(_))
            && event.known_kind() == Some(Kind::RecordingBegun)
        {
            self.recorded.extend(session);
        }
        if event.known_kind() == Some(Kind::SessionEnd) {
            session.iter().for_each(|session| drop(self.resources.remove(session)));
        }
        if !met || of_recordings {
            return Ok(false);
        }
        // Of a time it would be all sessions there ever were.
        if matches!(self.doomed, Doomed::Subject(_)) {
            self.sessions.extend(session);
        }
        if held {
            self.met.held += u64::from(!stored.is_empty());
            return Ok(false);
        }
        if !stored.is_empty() {
            self.met.disclosures += 1;
            self.blobs(&event, stored)?;
        }
        Ok(true)
    }

    /// The resource of the event's session, where a hold asks for one.
    fn resource_of(&mut self, event: &Event) -> Option<String> {
        if self.keeps.iter().all(|keep| keep.resource.is_none()) {
            return None;
        }
        let own = event.text("/resource/name").map(str::to_owned);
        let Some(session) = event.session.map(|place| place.id) else { return own };
        if let Some(name) = own {
            self.resources.insert(session, name);
        }
        self.resources.get(&session).cloned()
    }

    /// Large values of an event: removed before the disclosure that says that there are some.
    fn blobs(&mut self, event: &Event, stored: &[u8]) -> Result<(), LedgerError> {
        let apart = if is_envelope(stored) {
            Envelope::parse(stored)
                .is_ok_and(|it| it.content == Content::Disclosure { apart: true })
        } else {
            stored.starts_with(b"{\"blobs\":")
        };
        if !apart {
            return Ok(());
        }
        let names = event.sealed().into_iter().flatten().filter_map(|(_, name)| name.as_str());
        for name in names {
            let Some(path) = self.shared.epoch.folder.blob_path(name) else { continue };
            if !path.exists() {
                continue;
            }
            self.met.blobs += 1;
            if self.carry_out {
                let removed = self.shared.disk.remove(&path);
                removed.map_err(|error| LedgerError::io(&path, error))?;
            }
        }
        Ok(())
    }

    /// Replaces the files: all new ones are durable before the first takes its place, so that a
    /// crash leaves of each the old or the new.
    fn replace(&mut self) -> Result<(), LedgerError> {
        let files = std::mem::take(&mut self.fresh);
        if files.is_empty() {
            return Ok(());
        }
        let disk = &self.shared.disk;
        let fresh = |path: &PathBuf| path.with_extension("new");
        for (path, bytes) in &files {
            let written = disk.write(&fresh(path), bytes);
            written.map_err(|error| LedgerError::io(path, error))?;
        }
        let ledger = self.shared.layout.ledger();
        let sync =
            || disk.sync_file_system(&ledger).map_err(|error| LedgerError::io(&ledger, error));
        sync()?;
        for (path, _) in &files {
            let renamed = disk.rename(&fresh(path), path);
            renamed.map_err(|error| LedgerError::io(path, error))?;
        }
        sync()
    }
}

/// Entries under the checkpoint of an epoch that is closed.
fn published_size(epoch: &EpochLayout) -> Result<u64, LedgerError> {
    let Some(note) = epoch.folder.checkpoint_bytes()? else { return Ok(0) };
    Ok(Checkpoint::parse(SignedNote::parse(&note)?.text())?.size())
}
