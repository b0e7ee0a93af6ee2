//! The write-ahead log: below the checkpoint it must say what the log says; what it has behind
//! the checkpoint nothing proves yet.

use super::bundle::{Bundles, Problem};
use super::epoch::Subject;
use super::tree::{Genuine, Grown};
use super::{Known, VerifyError, head};
use crate::folder::{FolderError, Items};
use crate::report::{Place, Verdict};
use crate::session::Facts;
use crate::signed::{self, Signed};
use crate::subject_keys::Revealed;
use crate::wal::{EndReason, RecordType, Segment, WalEnd, WalRecord, WalScan, file_name};
use loggia_model::event::Event;
use loggia_model::id::SessionId;
use loggia_model::seal::Disclosure;
use loggia_model::value::Object;
use loggia_tlog::checkpoint::CheckpointError;
use loggia_tlog::merkle::root_of;
use loggia_tlog::tile::TILE_WIDTH;
use loggia_tlog::{BundleId, Checkpoint, Hash, HashReader, SignedNote, VerifierKey, leaf_hash};
use std::ops::Range;

/// How often the reading begins anew when the writer takes a segment away to use it again.
pub(super) const TRIES: usize = 8;

/// What stands in the write-ahead log.
#[derive(Debug, Default)]
pub(super) struct Behind {
    pub(super) problems: Vec<Problem>,
    pub(super) notes: Vec<String>,
    /// Entries behind the checkpoint.
    pub(super) unproven: Option<Range<u64>>,
    /// Roots at known sizes behind the checkpoint.
    pub(super) roots: Vec<(u64, Hash)>,
    /// Sessions that end behind the checkpoint.
    pub(super) sessions_ended: Vec<SessionId>,
    /// How far the log was published by the end of the check, where it grew meanwhile.
    pub(super) outrun: Option<u64>,
}

/// Reads the write-ahead log of an epoch whose tree is `grown`.
pub(super) fn check(
    looker: Bundles<'_>,
    subject: &Subject<'_>,
    keys: &[VerifierKey],
    grown: &Grown,
) -> Result<Behind, VerifyError> {
    let mut tries = TRIES;
    loop {
        tries -= 1;
        let reading = Reading {
            looker,
            subject,
            keys,
            grown,
            behind: Behind::default(),
            hashes: Vec::new(),
            last_below: false,
            published: false,
            signed_behind: None,
            bundle: None,
        };
        match reading.all() {
            Err(VerifyError::Folder(FolderError::Missing { .. })) if tries > 0 => {}
            outcome => return outcome,
        }
    }
}

struct Reading<'a> {
    looker: Bundles<'a>,
    subject: &'a Subject<'a>,
    // All that the log has had.
    keys: &'a [VerifierKey],
    grown: &'a Grown,
    behind: Behind,
    // Of the entries behind the checkpoint.
    hashes: Vec<Hash>,
    // Whether the records of the last entry below the checkpoint and of the checkpoint were there.
    last_below: bool,
    published: bool,
    // Size of the newest checkpoint behind the published one that holds.
    signed_behind: Option<u64>,
    bundle: Option<(BundleId, Items, Items)>,
}

impl Reading<'_> {
    fn all(mut self) -> Result<Behind, VerifyError> {
        let mut wal = self.subject.folder.wal()?;
        while let Some(record) = wal.next_record()? {
            match record.kind {
                RecordType::Entry if record.index < self.looker.size => self.below(&record)?,
                RecordType::Entry => self.beyond(&record),
                RecordType::Checkpoint => self.checkpoint(&record)?,
            }
        }
        if let Some(end) = wal.end() {
            self.ended(&wal, end)?;
        }
        Ok(self.behind)
    }

    fn altered(&mut self, place: Place, what: impl Into<String>) {
        self.behind.problems.push((Verdict::Tampered, place, what.into()));
    }

    fn place(&self, segment: u64, offset: usize) -> Place {
        let path = self.subject.folder.wal_dir().join(file_name(segment));
        Place::file(self.looker.name(&path)).at_offset(offset)
    }

    fn place_of(&self, record: &WalRecord<'_>) -> Place {
        let place = self.place(record.segment, record.offset);
        if record.kind == RecordType::Entry { place.at_entry(record.index) } else { place }
    }

    /// A record that the checkpoint covers.
    fn below(&mut self, record: &WalRecord<'_>) -> Result<(), VerifyError> {
        let size = self.looker.size;
        self.last_below |= record.index + 1 == size;
        let hash = leaf_hash(record.leaf);
        if self.grown.genuine == Genuine::Tiles {
            let genuine = self.looker.folder.hash_reader(size).read(0, record.index);
            if genuine.is_ok_and(|genuine| genuine != hash) {
                self.altered(self.place_of(record), "this record is not the entry that was signed");
            }
            return Ok(());
        }
        // Where nothing leads to the signed root there is nothing to compare with.
        if self.grown.genuine == Genuine::Neither {
            return Ok(());
        }
        let number = record.index / u64::from(TILE_WIDTH);
        let Some(bundle) = BundleId::in_tree(number, size) else { return Ok(()) };
        if self.bundle.as_ref().is_none_or(|(known, _, _)| *known != bundle) {
            let folder = self.looker.folder;
            let (entries, open) = (folder.entries(&bundle), folder.disclosures(&bundle));
            // What is malformed there was reported there.
            self.bundle = Some((bundle, entries.unwrap_or_default(), open.unwrap_or_default()));
        }
        let position = usize::try_from(record.index - bundle.first_entry()).unwrap_or(usize::MAX);
        let Some((_, entries, open)) = &self.bundle else { return Ok(()) };
        let Some(entry) = entries.get(position) else { return Ok(()) };
        if entry != record.leaf {
            self.altered(self.place_of(record), "this record is not the entry that was signed");
            return Ok(());
        }
        let open = open.get(position).unwrap_or_default();
        if record.disclosure != open
            && let Some(what) = self.mismatch(record)?
        {
            self.altered(self.place_of(record), what);
        }
        Ok(())
    }

    /// A record behind the checkpoint: as good as the machine's word.
    fn beyond(&mut self, record: &WalRecord<'_>) {
        // Behind a gap there is no tree to continue.
        if record.index == self.looker.size + self.hashes.len() as u64 {
            self.hashes.push(leaf_hash(record.leaf));
        }
        let event = Event::parse(record.leaf).ok();
        self.behind.sessions_ended.extend(event.and_then(|event| Facts::of(&event).ends()));
    }

    /// A signed checkpoint in the write-ahead log: its tree must be part of this one.
    fn checkpoint(&mut self, record: &WalRecord<'_>) -> Result<(), VerifyError> {
        let published = self.looker.size;
        let opened = SignedNote::parse(record.leaf).map_err(CheckpointError::Note);
        let opened = opened.and_then(|note| Checkpoint::verify_by_any(&note, self.keys));
        let checkpoint = match opened.map(|(checkpoint, _)| checkpoint) {
            Ok(checkpoint) => checkpoint,
            Err(error) if record.index <= published => {
                self.altered(
                    self.place_of(record),
                    format!("the checkpoint in this record: {error}"),
                );
                return Ok(());
            }
            Err(error) => {
                let place = self.place_of(record);
                let note =
                    format!("{place}: behind the checkpoint, a record that is none: {error}");
                self.behind.notes.push(note);
                return Ok(());
            }
        };
        let (size, root) = (checkpoint.size(), checkpoint.root());
        self.published |= size == published;
        let found = if size > record.index {
            None
        } else if size > published {
            // In a log that outran its reader, entries between the two are not here to judge by.
            let Some(found) = self.root_behind(size) else { return Ok(()) };
            if found == root {
                self.signed_behind = self.signed_behind.max(Some(size));
            }
            Some(found)
        } else if self.grown.genuine == Genuine::Neither {
            return Ok(());
        } else {
            // Read out of tiles that were compared with the entries; where one differed, that is
            // reported, and says nothing against this record.
            let tiles = self.looker.folder.hash_reader(published);
            match root_of(size, &tiles) {
                Ok(found) if found == root || self.grown.problems.is_empty() => Some(found),
                _ => return Ok(()),
            }
        };
        if found != Some(root) {
            let what = format!("a signed checkpoint over {size} entries that are not those here");
            self.altered(self.place_of(record), what);
        }
        Ok(())
    }

    /// Root of the tree of the first `size` entries, which ends behind the checkpoint.
    fn root_behind(&self, size: u64) -> Option<Hash> {
        let more = usize::try_from(size.checked_sub(self.looker.size)?).ok()?;
        let mut border = self.grown.border.clone();
        self.hashes.get(..more)?.iter().for_each(|hash| border.append(*hash));
        Some(border.root())
    }

    /// What the place and the reason of the end say.
    fn ended(&mut self, wal: &WalScan, end: WalEnd) -> Result<(), VerifyError> {
        let size = self.looker.size;
        self.headless(wal, end);
        let Some(first) = wal.segments().first() else {
            self.behind.notes.push("there is no write-ahead log here".to_owned());
            return self.newer(None, end);
        };
        let place = self.place(end.segment, end.offset);
        if end.index < size {
            let what = "a checkpoint covers this entry, but its record cannot be read, nor can what \
                        follows it in the write-ahead log";
            self.altered(place.at_entry(end.index), what);
            return Ok(());
        }
        if self.last_below && !self.published {
            let note = format!(
                "{place}: behind the last entry below the checkpoint, the checkpoint's own record \
                 cannot be read"
            );
            self.behind.notes.push(note);
        }
        for Known { size, .. } in self.subject.known {
            self.behind.roots.extend(self.root_behind(*size).map(|root| (*size, root)));
        }
        self.behind.outrun = self.now_published()?.filter(|now| *now > size);
        if let Some(now) = self.behind.outrun {
            self.behind.notes.push(format!("the log grew to {now} entries while it was read"));
        } else if first.first_index > size {
            let note = format!(
                "entries {size} to {} stand neither under the checkpoint nor in the write-ahead log",
                first.first_index - 1
            );
            self.behind.notes.push(note);
        } else if let Some(signed) = self.signed_behind {
            let note = format!(
                "log/checkpoint covers {size} entries; a newer signed checkpoint in the write-ahead \
                 log, over {signed}, proves those there up to it: it was not published yet"
            );
            self.behind.notes.push(note);
        }
        self.newer(Some(place.clone()), end)?;
        let proven = self.behind.outrun.max(self.signed_behind).unwrap_or(size);
        let tail = proven.max(first.first_index)..end.index;
        if !tail.is_empty() {
            self.behind.unproven = Some(tail);
        }
        if let EndReason::Gap { segment, first_index } = end.reason {
            let later = self.looker.name(&wal.path(segment));
            self.behind.notes.push(format!(
                "{place}: the write-ahead log breaks off at entry {}, {later} begins at entry \
                 {first_index}; all of it is behind the checkpoint and unproven",
                end.index
            ));
        }
        Ok(())
    }

    /// What a larger checkpoint covers, and the tree has not, must stand in the write-ahead log.
    fn newer(&mut self, end_place: Option<Place>, end: WalEnd) -> Result<(), VerifyError> {
        let Some(newer) = self.subject.newer else { return Ok(()) };
        let signed = newer.checkpoint.size();
        if self.behind.outrun.is_some_and(|now| now >= signed) {
            return Ok(());
        }
        if self.root_behind(signed).is_some_and(|root| root == newer.checkpoint.root()) {
            self.behind.problems.extend(head::compare(self.looker, newer, &self.hashes)?);
        } else {
            let recorded = newer.place(self.subject.root);
            let place = end_place.unwrap_or_else(|| recorded.clone());
            let place = if end.index < signed { place.at_entry(end.index) } else { place };
            let what = format!(
                "a signed checkpoint over {signed} entries stands at {recorded}; what it covers is \
                 neither here nor in the tiles"
            );
            self.altered(place, what);
        }
        Ok(())
    }

    /// Files that should begin with a header and do not.
    fn headless(&mut self, wal: &WalScan, end: WalEnd) {
        let size = self.looker.size;
        let published = |segment: &&Segment| segment.first_index <= size;
        let covered = wal.segments().iter().rfind(published).map_or(0, |segment| segment.number);
        for number in wal.headless() {
            let what = "its header is not one that was written";
            if *number < covered || end.index < size {
                self.altered(self.place(*number, 0), what);
            } else {
                let note = format!("{}: {what}; behind the checkpoint", self.place(*number, 0));
                self.behind.notes.push(note);
            }
        }
    }

    /// Why a record's disclosure does not go with its leaf. What was erased in the tiles may stand
    /// here until the segment is used again.
    fn mismatch(&self, record: &WalRecord<'_>) -> Result<Option<String>, VerifyError> {
        let Ok(event) = Event::parse(record.leaf) else { return Ok(None) };
        let nothing = Object::new();
        let sealed = event.sealed().unwrap_or(&nothing);
        if record.disclosure.is_empty() {
            return Ok((!sealed.is_empty()).then(|| "its disclosure was removed".to_owned()));
        }
        Ok(match self.subject.folder.subject_keys().reveal(record.disclosure)? {
            Revealed::Clear(clear) => {
                Disclosure::open(&clear, sealed).err().map(|error| error.to_string())
            }
            Revealed::NoKey => None,
            Revealed::Altered(error) => Some(error.to_string()),
        })
    }

    /// Size of the checkpoint that is published by now.
    fn now_published(&self) -> Result<Option<u64>, VerifyError> {
        let Some(bytes) = self.looker.folder.checkpoint_bytes()? else { return Ok(None) };
        Ok(match signed::read(&bytes, self.keys) {
            Signed::By(signed) => Some(signed.checkpoint.size()),
            _ => None,
        })
    }
}
