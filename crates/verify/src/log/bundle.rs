//! One bundle by itself: its entries against the tile beside it, its events, its disclosures.
//! Needs nothing of other bundles, so that many can be looked at at once.

use super::rotated::Rotated;
use super::{Known, Link, VerifyError, relative};
use crate::erased::{Erasure, GoneOne};
use crate::folder::{FolderError, Found, Items, LogFolder};
use crate::recording::ledgered::Ledgered;
use crate::report::{Disclosed, Place, Verdict};
use crate::session::Facts;
use crate::subject_keys::Revealed;
use loggia_model::catalogue::Kind;
use loggia_model::envelope::OVERHEAD_BYTES;
use loggia_model::event::{ACTION_BYTES_MAX, Event};
use loggia_model::id::SessionId;
use loggia_model::seal::{Disclosure, check_blob};
use loggia_model::value::{Object, Value};
use loggia_tlog::tile::TILE_WIDTH;
use loggia_tlog::{BundleId, Hash, TileId, VerifierKey, leaf_hash};
use std::borrow::Cow;
use std::path::Path;

/// Something wrong, before it is known whether other findings make it moot.
pub(super) type Problem = (Verdict, Place, String);

/// What there is to know for every bundle of an epoch.
#[derive(Clone, Copy)]
pub(super) struct Bundles<'a> {
    pub(super) root: &'a Path,
    pub(super) folder: &'a LogFolder,
    /// Entries of the log.
    pub(super) size: u64,
    /// Whether to read the events.
    pub(super) events: bool,
}

/// What was found in one bundle.
#[derive(Debug)]
pub(super) struct Looked {
    pub(super) bundle: BundleId,
    /// Hashes of the entries; where one cannot be read, what the tile says.
    pub(super) by_entries: Vec<Hash>,
    /// Hashes in the tile; where it cannot be read, those of the entries.
    pub(super) by_tile: Vec<Hash>,
    pub(super) problems: Vec<Problem>,
    /// Of each entry whose hash the tile confirms and which is an event.
    pub(super) facts: Vec<Option<Facts>>,
    pub(super) links: Vec<Link>,
    pub(super) rotations: Vec<Rotated>,
    /// What is said of recordings, in order.
    pub(super) recorded: Vec<(SessionId, Ledgered, GoneOne)>,
    /// Events whose disclosures are gone.
    pub(super) gone: Vec<GoneOne>,
    /// Events whose disclosures lie under keys that should be here, and their file.
    pub(super) keyless: Vec<(GoneOne, String)>,
    /// What the events say was destroyed.
    pub(super) erasures: Vec<Erasure>,
    pub(super) disclosed: Disclosed,
    pub(super) unknown_kinds: u64,
}

impl Bundles<'_> {
    /// Looks at the bundle at `number`.
    pub(super) fn look(&self, number: u64) -> Result<Looked, VerifyError> {
        let outside = || FolderError::Outside { size: self.size, what: format!("bundle {number}") };
        let bundle = BundleId::in_tree(number, self.size).ok_or_else(outside)?;
        let tile = TileId::in_tree(0, number, self.size).ok_or_else(outside)?;
        let mut problems = Vec::new();
        let mut by_tile = self.tile(&tile, &mut problems)?;
        let entries = self.entries(&bundle, &mut problems)?;
        let mut by_entries: Vec<Hash> = entries.iter().map(leaf_hash).collect();
        for position in 0..usize::from(bundle.width()) {
            match (by_entries.get(position).copied(), by_tile.get(position).copied()) {
                (None, Some(hash)) => by_entries.push(hash),
                (Some(hash), None) => by_tile.push(hash),
                (None, None) => {
                    by_entries.push(Hash([0; 32]));
                    by_tile.push(Hash([0; 32]));
                }
                (Some(_), Some(_)) => {}
            }
        }
        let mut looked = Looked {
            bundle,
            by_entries,
            by_tile,
            problems,
            facts: Vec::new(),
            links: Vec::new(),
            rotations: Vec::new(),
            recorded: Vec::new(),
            gone: Vec::new(),
            keyless: Vec::new(),
            erasures: Vec::new(),
            disclosed: Disclosed::default(),
            unknown_kinds: 0,
        };
        if self.events {
            self.events(&entries, &mut looked)?;
        }
        Ok(looked)
    }

    pub(super) fn name(&self, path: &Path) -> String {
        relative(self.root, path)
    }

    /// The hashes of a tile, as many as can be read.
    pub(super) fn tile(
        &self,
        tile: &TileId,
        problems: &mut Vec<Problem>,
    ) -> Result<Vec<Hash>, VerifyError> {
        let missing = Place::file(self.name(&self.folder.tile_path(tile)));
        let Some(found) = readable(self.folder.find_tile(tile), missing, problems)? else {
            return Ok(Vec::new());
        };
        let expected = usize::from(found.width) * 32;
        if found.bytes.len() != expected {
            let what = format!("{} bytes long, not {expected}", found.bytes.len());
            problems.push((Verdict::Tampered, Place::file(self.name(&found.path)), what));
        }
        let (hashes, _) = found.bytes.as_chunks::<32>();
        Ok(hashes.iter().take(tile.width().into()).copied().map(Hash).collect())
    }

    /// The entries of a bundle, as many as can be read.
    fn entries(
        &self,
        bundle: &BundleId,
        problems: &mut Vec<Problem>,
    ) -> Result<Items, VerifyError> {
        let missing = Place::file(self.name(&self.folder.entries_path(bundle)));
        let missing = missing.at_entry(bundle.first_entry());
        let Some(found) = readable(self.folder.find_entries(bundle), missing, problems)? else {
            return Ok(Items::default());
        };
        let Found { path, bytes, width } = found;
        let (items, wrong) = Items::entries_readable(bytes, width);
        if let Some(what) = wrong {
            let place = Place::file(self.name(&path));
            let unread = bundle.first_entry() + items.len() as u64;
            let last = bundle.first_entry() + u64::from(width);
            let place = if unread < last { place.at_entry(unread) } else { place };
            problems.push((Verdict::Tampered, place, what));
        }
        Ok(items.cut(bundle.width()))
    }

    /// The disclosures of a bundle's entries and the file they come from.
    fn disclosures(&self, looked: &mut Looked) -> Result<(Items, String), VerifyError> {
        let bundle = &looked.bundle;
        let place = Place::file(self.name(&self.folder.disclosures_path(bundle)));
        let name = place.file.clone().unwrap_or_default();
        let found = readable(self.folder.find_disclosures(bundle), place, &mut looked.problems)?;
        let Some(found) = found else { return Ok((Items::default(), name)) };
        let Some(found) = found else {
            looked.disclosed.files_missing = 1;
            return Ok((Items::default(), name));
        };
        let name = self.name(&found.path);
        match Items::disclosures(found.bytes, found.width) {
            Ok(items) => Ok((items.cut(bundle.width()), name)),
            Err(what) => {
                looked.problems.push((Verdict::Tampered, Place::file(&name), what));
                Ok((Items::default(), name))
            }
        }
    }

    fn events(&self, entries: &Items, looked: &mut Looked) -> Result<(), VerifyError> {
        let (disclosures, file) = self.disclosures(looked)?;
        for (position, leaf) in entries.iter().enumerate() {
            // What the tile does not confirm is reported as altered; that says enough of it.
            if looked.by_entries.get(position) != looked.by_tile.get(position) {
                looked.facts.push(None);
                continue;
            }
            let index = looked.bundle.first_entry() + position as u64;
            match Event::parse(leaf) {
                Ok(event) => {
                    let stored = disclosures.get(position);
                    let gone = GoneOne { actor: event.actor, index, time_us: event.time_us };
                    let disclosure = self.disclosed(&gone, &event, stored, &file, looked)?;
                    let disclosure = disclosure.as_ref();
                    let facts = Facts::of(&event);
                    if facts.kind().is_some_and(Ledgered::concerns)
                        && let Some(place) = event.session
                    {
                        let mut said = Ledgered::default();
                        said.take(&event, disclosure);
                        looked.recorded.push((place.id, said, gone));
                    }
                    looked.erasures.extend(Erasure::of(&event, index));
                    match facts.kind() {
                        Some(kind) => {
                            looked.links.extend(link(&event, kind));
                            looked.rotations.extend(Rotated::of(index, &event));
                        }
                        None => looked.unknown_kinds += 1,
                    }
                    looked.facts.push(Some(facts));
                }
                Err(error) => {
                    let what = format!("not an event: {error}");
                    looked.problems.push((Verdict::Incomplete, Place::entry(index), what));
                    looked.facts.push(None);
                }
            }
        }
        // Without sealed fields there is nothing that the file could hold.
        if looked.disclosed.sealed == 0 {
            looked.disclosed.files_missing = 0;
        }
        Ok(())
    }

    /// Checks what is disclosed of an event, `stored` as the file has it, where there is one.
    /// Gives it in clear, empty where there is nothing to read.
    fn disclosed<'d>(
        &self,
        place_of: &GoneOne,
        event: &Event,
        stored: Option<&'d [u8]>,
        file: &str,
        looked: &mut Looked,
    ) -> Result<Cow<'d, [u8]>, VerifyError> {
        let index = place_of.index;
        let nothing = Object::new();
        let sealed = event.sealed().unwrap_or(&nothing);
        let mut counts = Disclosed { sealed: sealed.len() as u64, ..Disclosed::default() };
        let place = || Place::file(file).at_entry(index);
        let keys = self.folder.subject_keys();
        let disclosure = match keys.reveal(stored.unwrap_or_default())? {
            Revealed::Clear(clear) => {
                if stored.is_some_and(<[u8]>::is_empty) && !sealed.is_empty() {
                    looked.gone.push(*place_of);
                }
                clear
            }
            Revealed::NoKey => {
                // Where the keys of others are, this one was destroyed.
                if keys.expected() {
                    looked.keyless.push((*place_of, file.to_owned()));
                } else {
                    counts.closed = counts.sealed;
                }
                Cow::Borrowed(Default::default())
            }
            Revealed::Altered(error) => {
                looked.problems.push((Verdict::Tampered, place(), error.to_string()));
                Cow::Borrowed(Default::default())
            }
        };
        if !disclosure.is_empty() {
            match Disclosure::open(&disclosure, sealed) {
                Ok(open) => {
                    counts.open = open.values.len() as u64;
                    for (path, salt) in &open.blobs {
                        let name = sealed.get(path.as_str()).and_then(Value::as_str);
                        match self.blob(name.unwrap_or_default(), path, salt)? {
                            Blob::Genuine => counts.open += 1,
                            Blob::Missing => counts.blobs_missing += 1,
                            Blob::Altered(file) => {
                                let what = format!("not the value of {path} that was committed to");
                                let place = Place::file(file).at_entry(index);
                                looked.problems.push((Verdict::Tampered, place, what));
                            }
                        }
                    }
                }
                Err(error) => {
                    looked.problems.push((Verdict::Tampered, place(), error.to_string()));
                }
            }
        }
        counts.undisclosed = counts.sealed.saturating_sub(counts.open + counts.blobs_missing);
        looked.disclosed.add(counts);
        Ok(disclosure)
    }

    fn blob(&self, name: &str, path: &str, salt: &[u8; 32]) -> Result<Blob, VerifyError> {
        let Some(file) = self.folder.blob_path(name) else { return Ok(Blob::Missing) };
        let stored = match crate::folder::read_file(&file, ACTION_BYTES_MAX + OVERHEAD_BYTES) {
            Ok(None) => return Ok(Blob::Missing),
            Ok(Some(stored)) => stored,
            Err(FolderError::TooLarge { .. }) => return Ok(Blob::Altered(self.name(&file))),
            Err(error) => return Err(error.into()),
        };
        Ok(match self.folder.subject_keys().reveal(&stored)? {
            Revealed::Clear(bytes) if check_blob(name, path, salt, &bytes) => Blob::Genuine,
            Revealed::NoKey => Blob::Missing,
            Revealed::Clear(_) | Revealed::Altered(_) => Blob::Altered(self.name(&file)),
        })
    }
}

enum Blob {
    Genuine,
    Missing,
    Altered(String),
}

/// What was read; `None`, and a problem, where the log is at fault that it could not be.
fn readable<T>(
    read: Result<T, FolderError>,
    missing: Place,
    problems: &mut Vec<Problem>,
) -> Result<Option<T>, VerifyError> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(FolderError::Missing { .. }) => {
            problems.push((Verdict::Tampered, missing, "missing".to_owned()));
            Ok(None)
        }
        Err(FolderError::TooLarge { max, .. }) => {
            let what = format!("longer than {max} bytes, which no file of its kind is");
            problems.push((Verdict::Tampered, missing, what));
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// What an event says of the epoch before or behind it.
fn link(event: &Event, kind: Kind) -> Option<Link> {
    if !matches!(kind, Kind::EpochClosed | Kind::EpochOpened) {
        return None;
    }
    let origin = event.text("/detail/origin").map(str::to_owned);
    let key = |pointer| event.text(pointer).and_then(|vkey| VerifierKey::parse(vkey).ok());
    match kind {
        Kind::EpochClosed => {
            let (origin, key) = (origin?, key("/detail/key")?);
            (key.name() == origin).then_some(Link::Next { origin, key })
        }
        Kind::EpochOpened => {
            let (origin, key) = (origin?, key("/detail/previous_key")?);
            let size = event.whole.at("/detail/size").and_then(Value::as_int);
            let size = size.and_then(|size| u64::try_from(size).ok());
            let root = event.text("/detail/root").and_then(|root| Hash::from_base64(root).ok());
            let tree = size.zip(root).map(|(size, root)| Known { size, root });
            (key.name() == origin).then_some(Link::Previous { origin, key, tree })
        }
        _ => None,
    }
}

/// Number of bundles of a log of `size` entries.
pub(super) const fn bundles(size: u64) -> u64 {
    size.div_ceil(TILE_WIDTH as u64)
}
