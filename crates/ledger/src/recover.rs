//! Opening: what is on disk becomes the state to go on from. The entries that a crash left in the
//! write-ahead log go through the same tiles and the same round of publishing as every other.

use crate::cosign::{Known, Witnessed};
use crate::disk::Disk;
use crate::error::LedgerError;
use crate::layout::EpochLayout;
use crate::resume;
use crate::sequencer::Standing;
use crate::tail::{from_files, read_entries};
use crate::tiles::Tiles;
use loggia_model::Event;
use loggia_model::port::Committed;
use loggia_tlog::SignedNote;
use loggia_tlog::checkpoint::Checkpoint;
use loggia_tlog::merkle::{CompactRange, root_of};
use loggia_tlog::note::VerifierKey;
use loggia_verify::folder::FolderError;
use loggia_verify::wal::{EndReason, RecordType, WalEnd};
use std::path::Path;

/// Entries that are read back at a time.
const READ_ENTRIES: usize = 4_096;

/// What the disk held.
pub(crate) struct Recovered {
    /// Entries below the last checkpoint that stands in the folder.
    pub(crate) published: u64,
    /// Entries that only the write-ahead log has, in order.
    pub(crate) beyond: Vec<Committed>,
    /// Where things stand behind the last of them.
    pub(crate) standing: Standing,
}

/// Reads everything there is, checks that it goes together, and makes it durable before anything
/// is built on it.
pub(crate) fn recover(
    disk: &Disk,
    layout: &EpochLayout,
    keys: &[VerifierKey],
    copy: Option<&Path>,
    witnessed: &[Witnessed],
) -> Result<Recovered, LedgerError> {
    // 1. What stands there: the checkpoint in the folder, and what the write-ahead log has beyond.
    let checkpoint = read_checkpoint(&layout.folder.checkpoint_path(), keys)?;
    let mut published = checkpoint.as_ref().map_or(0, Checkpoint::size);
    let mut wal = read_wal(layout, published)?;
    let recorded = wal.checkpoints.iter().map(|note| open(note, keys, &layout.wal));
    let recorded = recorded.collect::<Result<Vec<Checkpoint>, _>>()?;

    // 2. What the page cache shows may not be on disk: after this it is. A crash before it finds
    //    less the next time, and nothing that was built on more.
    sync_wal(disk, &layout.wal)?;

    // 3. Every checkpoint that ever left and is still known, wherever that is; what was found must
    //    continue each of them.
    let mut promised: Vec<(String, Checkpoint)> =
        recorded.iter().map(|one| (shown(&layout.wal), one.clone())).collect();
    if let Some(copy) = copy
        && let Some(checkpoint) = read_checkpoint(copy, keys)?
    {
        promised.push((shown(copy), checkpoint));
    }
    let path = layout.folder.checkpoint_path();
    promised.extend(checkpoint.map(|checkpoint| (shown(&path), checkpoint)));
    let found = published + wal.beyond.len() as u64;
    let of_this = |one: &&Witnessed| keys.iter().any(|key| key.name() == one.origin);
    for Witnessed { place, what, .. } in witnessed.iter().filter(of_this) {
        match what {
            Known::Checkpoint(checkpoint) => promised.push((place.clone(), checkpoint.clone())),
            Known::Size(known) if *known > found => {
                return Err(LedgerError::Behind { found, known: *known, place: place.clone() });
            }
            Known::Size(_) => {}
        }
    }
    hold_to(layout, published, &wal.beyond, &promised)?;

    // 4. A checkpoint that was recorded and not shown any more is shown, before another is signed.
    //    A crash after this finds it shown.
    let notes = recorded.iter().zip(&wal.checkpoints);
    let newest = notes.max_by_key(|(one, _)| one.size());
    if let Some((newest, note)) = newest.filter(|(one, _)| one.size() > published)
        && are_in_tiles(disk, layout, newest.size())?
    {
        show(disk, layout, copy, note)?;
        published = newest.size();
        wal.beyond.retain(|entry| entry.index >= published);
    }

    // 5. Where the sessions and the boot were left.
    let standing = stand(layout, published, &wal.beyond)?;
    Ok(Recovered { published, beyond: wal.beyond, standing })
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// Whether the tiles of a recorded checkpoint are whole. They were durable before it was signed; if
/// somebody took one away or damaged it, the entries are still in the write-ahead log, and the next
/// round writes it again. What cannot be read now says nothing of that.
fn are_in_tiles(disk: &Disk, layout: &EpochLayout, size: u64) -> Result<bool, LedgerError> {
    match Tiles::load(disk.clone(), layout.clone(), size) {
        Ok(_) => Ok(true),
        Err(unread @ (LedgerError::Io { .. } | LedgerError::Folder(FolderError::Read { .. }))) => {
            Err(unread)
        }
        Err(error) => {
            tracing::warn!(%error, size, "tiles of a recorded checkpoint are written again");
            Ok(false)
        }
    }
}

/// Shows a checkpoint that a crash left in the write-ahead log alone: in the folder, then in its
/// second place, as a round of publishing does.
fn show(
    disk: &Disk,
    layout: &EpochLayout,
    copy: Option<&Path>,
    note: &[u8],
) -> Result<(), LedgerError> {
    let folder = layout.folder.checkpoint_path();
    for path in [Some(folder.as_path()), copy].into_iter().flatten() {
        disk.replace(path, note).map_err(|error| LedgerError::io(path, error))?;
    }
    Ok(())
}

/// The checkpoint in a file, signed by one of the keys that its log has had; `None` where the file
/// is absent.
pub(crate) fn read_checkpoint(
    path: &Path,
    keys: &[VerifierKey],
) -> Result<Option<Checkpoint>, LedgerError> {
    match std::fs::read(path) {
        Ok(bytes) => open(&bytes, keys, path).map(Some),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(LedgerError::io(path, error)),
    }
}

fn open(note: &[u8], keys: &[VerifierKey], path: &Path) -> Result<Checkpoint, LedgerError> {
    let note = SignedNote::parse(note).map_err(|error| LedgerError::damaged(path, error))?;
    let opened = Checkpoint::verify_by_any(&note, keys);
    opened.map(|(checkpoint, _)| checkpoint).map_err(|error| LedgerError::damaged(path, error))
}

struct Wal {
    beyond: Vec<Committed>,
    checkpoints: Vec<Vec<u8>>,
}

/// Reads the write-ahead log from the oldest segment on. Entries below `published` are skipped:
/// the tiles have them. What a crash tore off at the end was never acknowledged; a hole in the
/// middle is damage.
fn read_wal(layout: &EpochLayout, published: u64) -> Result<Wal, LedgerError> {
    let mut wal = Wal { beyond: Vec::new(), checkpoints: Vec::new() };
    let mut scan = layout.folder.wal()?;
    while let Some(record) = scan.next_record()? {
        match record.kind {
            RecordType::Checkpoint => wal.checkpoints.push(record.leaf.to_vec()),
            RecordType::Entry if record.index < published => {}
            RecordType::Entry => wal.beyond.push(from_files(
                record.index,
                record.leaf.to_vec(),
                (!record.disclosure.is_empty()).then(|| record.disclosure.to_vec()),
            )),
        }
    }
    let end = scan.end();
    if let Some(WalEnd { segment, index, reason: EndReason::Gap { first_index, .. }, .. }) = end {
        let why = format!("it ends at entry {index}, the next segment begins at {first_index}");
        return Err(LedgerError::damaged(&scan.path(segment), why));
    }
    let first_missing = wal.beyond.first().is_some_and(|entry| entry.index != published);
    let short = end.is_some_and(|end| end.reason != EndReason::Empty && end.index < published);
    if first_missing || short {
        let why = format!("it does not reach the checkpoint over {published} entries");
        return Err(LedgerError::damaged(&layout.wal, why));
    }
    Ok(wal)
}

fn sync_wal(disk: &Disk, folder: &Path) -> Result<(), LedgerError> {
    let io = |error| LedgerError::io(folder, error);
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(io(error)),
    };
    for entry in entries {
        let path = entry.map_err(io)?.path();
        let file = std::fs::File::open(&path).map_err(|error| LedgerError::io(&path, error))?;
        disk.sync_data(&file, &path).map_err(|error| LedgerError::io(&path, error))?;
    }
    disk.sync_folder(folder).map_err(io)
}

/// Checks that what was found continues every checkpoint that ever left and is still known.
fn hold_to(
    layout: &EpochLayout,
    published: u64,
    beyond: &[Committed],
    promised: &[(String, Checkpoint)],
) -> Result<(), LedgerError> {
    let found = published + beyond.len() as u64;
    let reader = layout.folder.hash_reader(published);
    for (place, checkpoint) in promised {
        let known = checkpoint.size();
        if known > found {
            return Err(LedgerError::Behind { found, known, place: place.clone() });
        }
        let damaged = |error: &dyn std::fmt::Display| LedgerError::damaged(&layout.log, error);
        let root = if known <= published {
            root_of(known, &reader).map_err(|error| damaged(&error))?
        } else {
            let mut range =
                CompactRange::from_reader(published, &reader).map_err(|error| damaged(&error))?;
            let more = usize::try_from(known - published).unwrap_or(usize::MAX);
            for entry in beyond.iter().take(more) {
                range.append(loggia_tlog::hash::Hash(entry.leaf_hash.0));
            }
            range.root()
        };
        if root != checkpoint.root() {
            return Err(LedgerError::Forked { known, place: place.clone() });
        }
    }
    Ok(())
}

/// Where things stand behind the last entry: from `resume.json` where it can be used, and every
/// entry after it.
fn stand(
    layout: &EpochLayout,
    published: u64,
    beyond: &[Committed],
) -> Result<Standing, LedgerError> {
    let mut standing = resumed(layout, published).unwrap_or_default();
    while standing.size < published {
        let entries = read_entries(&layout.folder, published, standing.size, READ_ENTRIES)?;
        if entries.is_empty() {
            return Err(LedgerError::damaged(&layout.log, "an entry is missing"));
        }
        advance_all(&mut standing, &entries, &layout.log)?;
    }
    advance_all(&mut standing, beyond, &layout.wal)?;
    Ok(standing)
}

/// What `resume.json` says, where the log still is the one that it was made from.
fn resumed(layout: &EpochLayout, published: u64) -> Option<Standing> {
    let bytes = std::fs::read(&layout.resume).ok()?;
    let (standing, root) = resume::decode(&bytes)?;
    if standing.size > published {
        return None;
    }
    let found = root_of(standing.size, &layout.folder.hash_reader(published)).ok()?;
    (found.to_hex() == root).then_some(standing)
}

fn advance_all(
    standing: &mut Standing,
    entries: &[Committed],
    place: &Path,
) -> Result<(), LedgerError> {
    for entry in entries {
        let event = Event::parse(&entry.leaf).map_err(|error| {
            LedgerError::damaged(place, format!("entry {}: {error}", entry.index))
        })?;
        resume::advance(standing, &event, entry.leaf_hash);
    }
    Ok(())
}
