//! Which checkpoint a log is held to: the largest one that its key has signed, wherever in the
//! folder it stands.
//!
//! The writer makes a checkpoint durable in the write-ahead log, when all that it covers is
//! durable too, and then puts it into `log/checkpoint`. A crash between the two leaves the
//! published one behind by this one round. Anything older in `log/checkpoint` was put back there.

use super::bundle::{Bundles, Problem};
use super::epoch::Subject;
use super::{VerifyError, relative, tail};
use crate::folder::{FolderError, LogFolder, file_names, read_into};
use crate::report::{Place, Verdict};
use crate::signed::{self, Signed};
use crate::wal::{RecordType, SEGMENT_BYTES_MAX, WalEnd, file_name, number_of};
use loggia_model::event::Event;
use loggia_tlog::note::MAX_NOTE_BYTES;
use loggia_tlog::tile::{TILE_WIDTH, bundles_for_growth, tiles_for_growth};
use loggia_tlog::{Checkpoint, Hash, SignedNote, TileId, VerifierKey, leaf_hash};
use std::path::{Path, PathBuf};

/// What stands before the text in a checkpoint's record: u8 type, u32 length.
const BEFORE_TEXT: usize = 5;

/// A signed checkpoint in the write-ahead log.
#[derive(Debug, Clone)]
pub(super) struct Recorded {
    pub(super) checkpoint: Checkpoint,
    /// As it was signed.
    pub(super) note: SignedNote,
    pub(super) file: PathBuf,
    pub(super) offset: usize,
}

/// What the signed checkpoints in a write-ahead log say together.
#[derive(Debug, Default)]
pub(super) struct Records {
    /// The largest.
    pub(super) newest: Option<Recorded>,
    /// The published checkpoint has this many entries at least: within one boot the writer
    /// publishes each before it records the next.
    pub(super) published_at_least: u64,
}

/// The signed checkpoints in the write-ahead log of a log that had published `from` entries before
/// it was looked at. What is published by the time that this returns must bear what it says.
pub(super) fn records(
    folder: &LogFolder,
    keys: &[VerifierKey],
    from: u64,
) -> Result<Records, VerifyError> {
    let mut tries = tail::TRIES;
    loop {
        tries -= 1;
        match records_once(folder, keys, from) {
            Err(FolderError::Missing { .. }) if tries > 0 => {}
            outcome => return Ok(outcome?),
        }
    }
}

fn records_once(
    folder: &LogFolder,
    keys: &[VerifierKey],
    from: u64,
) -> Result<Records, FolderError> {
    let mut found = Records::default();
    let mut wal = folder.wal()?;
    let (mut boot, mut last) = (None, None);
    while let Some(record) = wal.next_record()? {
        if record.kind == RecordType::Entry {
            // Those below were published, and so is what was recorded between them.
            let event = (record.index >= from).then(|| Event::parse(record.leaf).ok()).flatten();
            if let Some(event) = event
                && boot.replace(event.boot) != Some(event.boot)
            {
                last = None;
            }
            continue;
        }
        let Signed::By(signed) = signed::read(record.leaf, keys) else { continue };
        let signed::By { checkpoint, note, .. } = *signed;
        let size = checkpoint.size();
        if let Some(before) = last.filter(|before| *before < size) {
            found.published_at_least = found.published_at_least.max(before);
        }
        last = last.max(Some(size));
        let file = folder.wal_dir().join(file_name(record.segment));
        found.keep(Recorded { checkpoint, note, file, offset: record.offset });
    }
    if let Some(end) = wal.end() {
        found.search_behind(folder, keys, end)?;
    }
    Ok(found)
}

impl Records {
    fn keep(&mut self, recorded: Recorded) {
        let newest = self.newest.as_ref().map_or(0, |newest| newest.checkpoint.size());
        if recorded.checkpoint.size() > newest {
            self.newest = Some(recorded);
        }
    }

    /// Looks for signed checkpoints behind the last record that can be read. None is there after a
    /// crash: what it covers is durable before it is signed. Those that an earlier use of a segment
    /// left are smaller than the published one.
    fn search_behind(
        &mut self,
        folder: &LogFolder,
        keys: &[VerifierKey],
        end: WalEnd,
    ) -> Result<(), FolderError> {
        let dir = folder.wal_dir();
        let mut bytes = Vec::new();
        let numbers = file_names(&dir)?.into_iter().filter_map(|name| number_of(&name));
        for number in numbers.filter(|number| *number >= end.segment) {
            let file = dir.join(file_name(number));
            if !read_into(&file, SEGMENT_BYTES_MAX, &mut bytes)? {
                return Err(FolderError::Missing { path: file });
            }
            let begin = if number == end.segment { end.offset } else { 0 };
            let mut names: Vec<&str> = keys.iter().map(VerifierKey::name).collect();
            names.sort_unstable();
            names.dedup();
            for name in names {
                self.search(&file, &bytes, begin, name, keys);
            }
        }
        Ok(())
    }

    fn search(
        &mut self,
        file: &Path,
        bytes: &[u8],
        begin: usize,
        origin: &str,
        keys: &[VerifierKey],
    ) {
        let head = format!("{origin}\n");
        let head = head.as_bytes();
        let Some(first) = head.first() else { return };
        let mut at = begin + BEFORE_TEXT;
        while let Some(skip) =
            bytes.get(at..).and_then(|rest| rest.iter().position(|byte| byte == first))
        {
            at += skip;
            let rest = bytes.get(at..).unwrap_or_default();
            let length = bytes.get(at - 4..at).and_then(<[u8]>::first_chunk);
            let length = length.map_or(0, |length| u32::from_be_bytes(*length) as usize);
            if rest.starts_with(head)
                && length <= MAX_NOTE_BYTES
                && let Some(Signed::By(signed)) =
                    rest.get(..length).map(|note| signed::read(note, keys))
            {
                let offset = at - BEFORE_TEXT;
                let signed::By { checkpoint, note, .. } = *signed;
                self.keep(Recorded { checkpoint, note, file: file.to_path_buf(), offset });
            }
            at += 1;
        }
    }
}

impl Recorded {
    pub(super) fn place(&self, root: &Path) -> Place {
        Place::file(relative(root, &self.file)).at_offset(self.offset)
    }

    /// Whether the tree can be checked as this one: unless a partial file of it is missing, which
    /// a start after a crash removes. A full one stays, so that its absence is to be reported.
    pub(super) fn has_tree(&self, folder: &LogFolder, published: u64) -> Result<bool, VerifyError> {
        let size = self.checkpoint.size();
        let gone = |found: Result<_, FolderError>| match found {
            Ok(_) | Err(FolderError::TooLarge { .. }) => Ok(false),
            Err(FolderError::Missing { .. }) => Ok(true),
            Err(error) => Err(error),
        };
        for tile in tiles_for_growth(published, size).filter(|tile| tile.width() < TILE_WIDTH) {
            if gone(folder.find_tile(&tile))? {
                return Ok(false);
            }
        }
        for bundle in bundles_for_growth(published, size).filter(|one| one.width() < TILE_WIDTH) {
            if gone(folder.find_entries(&bundle))? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Compares the files of the tree between the published checkpoint and `recorded`, as far as they
/// are there, with `hashes`: those of the entries from the published checkpoint on, which
/// `recorded` confirms.
pub(super) fn compare(
    looker: Bundles<'_>,
    recorded: &Recorded,
    hashes: &[Hash],
) -> Result<Vec<Problem>, VerifyError> {
    let (published, size) = (looker.size, recorded.checkpoint.size());
    let mut problems = Vec::new();
    for bundle in bundles_for_growth(published, size) {
        let skipped = published.saturating_sub(bundle.first_entry());
        let begin = bundle.first_entry() + skipped;
        let known = usize::try_from(begin - published).ok().and_then(|at| hashes.get(at..));
        let known = known.unwrap_or_default();
        let skipped = usize::try_from(skipped).unwrap_or(usize::MAX);
        let mut differ = |file: &Path, found: Vec<Hash>| {
            let mut pairs = found.iter().skip(skipped).zip(known);
            if let Some(at) = pairs.position(|(found, known)| found != known) {
                let place = Place::file(looker.name(file)).at_entry(begin + at as u64);
                let what = "this is not the entry that a newer signed checkpoint covers";
                problems.push((Verdict::Tampered, place, what.to_owned()));
            }
        };
        // A wider partial file belongs to a round that a crash may have cut short.
        let sure = |width: u16| width == bundle.width() || width == TILE_WIDTH;
        if let Ok(found) = looker.folder.find_entries(&bundle)
            && sure(found.width)
        {
            let (items, _) = crate::folder::Items::entries_readable(found.bytes, found.width);
            differ(&found.path, items.cut(bundle.width()).iter().map(leaf_hash).collect());
        }
        let tile = TileId::in_tree(0, bundle.index(), size);
        if let Some(found) = tile.and_then(|tile| looker.folder.find_tile(&tile).ok())
            && sure(found.width)
        {
            let (found_hashes, _) = found.bytes.as_chunks::<32>();
            let width = bundle.width().into();
            differ(&found.path, found_hashes.iter().take(width).copied().map(Hash).collect());
        }
    }
    Ok(problems)
}

/// What is said where a published checkpoint is older than any crash leaves it.
pub(super) fn put_back(published: u64, records: &Records) -> Option<String> {
    let newest = records.newest.as_ref()?.checkpoint.size();
    (published < records.published_at_least).then(|| {
        let here =
            if published == 0 { "none".to_owned() } else { format!("over {published} entries") };
        format!(
            "the published checkpoint ({here}) is older than those over {} and {newest} entries in \
             the write-ahead log, of which one was published: it was put back (or the folder was \
             copied file by file while the log grew)",
            records.published_at_least
        )
    })
}

impl Subject<'_> {
    /// What to say where the write-ahead log has a checkpoint beyond the published one.
    pub(super) fn head_note(&self) -> Option<String> {
        let published = self.published.filter(|published| *published < self.checkpoint.size())?;
        Some(format!(
            "log/checkpoint covers {published} entries; a newer signed checkpoint in the write-ahead \
             log, over {}, proves the others: it was not published yet",
            self.checkpoint.size()
        ))
    }
}
