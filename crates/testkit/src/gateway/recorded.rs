//! What stands in a log folder, read without the gateway: also while it runs, and after it was
//! killed, before anything recovered.

use loggia_verify::subject_keys::Revealed;
use std::borrow::Cow;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use loggia_model::seal::Disclosure;
use loggia_model::{Event, LeafHash, Value};
use loggia_tlog::checkpoint::Checkpoint;
use loggia_verify::folder::{FolderError, LogFolder};
use loggia_verify::wal::RecordType;

/// Entries that are read at a time.
const BATCH_ENTRIES: usize = 4_096;
/// How often reading begins anew when the running gateway takes a file away.
const TRIES: usize = 10;

/// An event with what is disclosed of it.
#[derive(Debug, Clone)]
pub struct RecordedEvent {
    /// Number of the epoch.
    pub epoch: u64,
    /// Index in the epoch's log.
    pub index: u64,
    /// The event as it stands in the leaf.
    pub event: Event,
    /// Hash of the leaf.
    pub leaf_hash: LeafHash,
    /// The disclosed fields: pointer and value.
    pub open: Vec<(String, Value)>,
}

impl RecordedEvent {
    /// The code of its kind.
    pub fn kind(&self) -> &str {
        &self.event.kind
    }

    /// The value at a pointer, whether it is sealed or not.
    pub fn value(&self, pointer: &str) -> Option<&Value> {
        let sealed = self.open.iter().find(|(path, _)| path == pointer);
        sealed.map(|(_, value)| value).or_else(|| self.event.whole.at(pointer))
    }

    /// The text at a pointer; bytes that are no text read as `None`.
    pub fn text(&self, pointer: &str) -> Option<&str> {
        self.value(pointer).and_then(Value::as_str)
    }

    /// The session, as text.
    pub fn session(&self) -> Option<String> {
        self.event.session.map(|place| place.id.to_string())
    }
}

/// A `sql.statement` with the text that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedStatement {
    /// Index in the log.
    pub index: u64,
    /// Id of the event.
    pub id: String,
    /// The session.
    pub session: String,
    /// Who acted.
    pub actor: String,
    /// The text: its own, or that of the statement that was prepared; `None` where the name was
    /// made by SQL.
    pub text: Option<String>,
    /// The parameters of a Bind: `None` for the simple protocol, NULL as `Value::Object`.
    pub parameters: Option<Vec<Value>>,
}

/// The folders of the epochs of a data folder, oldest first.
pub(super) fn epochs(data: &Path) -> Vec<PathBuf> {
    let folders = std::fs::read_dir(data.join("ledger")).into_iter().flatten().flatten();
    let mut numbered: Vec<(u64, PathBuf)> = folders
        .filter_map(|entry| {
            let number = entry.file_name().to_str()?.strip_prefix('e')?.parse().ok()?;
            Some((number, entry.path()))
        })
        .collect();
    numbered.sort();
    numbered.into_iter().map(|(_, path)| path).collect()
}

/// Everything in the log of a data folder, in order.
pub(super) fn events(data: &Path) -> Result<Vec<RecordedEvent>> {
    let mut all = Vec::new();
    for (place, folder) in epochs(data).into_iter().enumerate() {
        all.extend(epoch_events(place as u64 + 1, &folder, 0)?);
    }
    Ok(all)
}

/// What stands in the newest epoch from an index on.
pub(super) fn newest_events(data: &Path, from: u64) -> Result<Vec<RecordedEvent>> {
    let folders = epochs(data);
    let newest = folders.last().context("no log in the data folder")?;
    epoch_events(folders.len() as u64, newest, from)
}

fn epoch_events(epoch: u64, dir: &Path, from: u64) -> Result<Vec<RecordedEvent>> {
    let folder = LogFolder::open(dir)?;
    let mut last = None;
    for _ in 0..TRIES {
        match read_epoch(epoch, &folder, from) {
            Ok(events) => return Ok(events),
            // The running gateway has published and used the segment again.
            Err(error) => last = Some(error),
        }
    }
    Err(last.context("no try")?).with_context(|| format!("reading {}", dir.display()))
}

fn read_epoch(epoch: u64, folder: &LogFolder, from: u64) -> Result<Vec<RecordedEvent>> {
    let size = published(folder)?;
    let mut events = Vec::new();
    let mut next = from;
    while next < size {
        let entries = folder.read(next, BATCH_ENTRIES, size)?;
        for entry in &entries {
            let disclosure = entry.disclosure.as_deref().unwrap_or_default();
            events.push(opened(epoch, folder, entry.index, &entry.leaf, disclosure)?);
        }
        next += entries.len() as u64;
    }
    let mut scan = folder.wal()?;
    while let Some(record) = scan.next_record()? {
        if record.kind == RecordType::Entry && record.index >= next {
            if record.index > next {
                bail!("entry {next} is neither in a bundle nor in the write-ahead log");
            }
            events.push(opened(epoch, folder, record.index, record.leaf, record.disclosure)?);
            next += 1;
        }
    }
    Ok(events)
}

/// Entries under the checkpoint. Its signature is `loggia verify`'s business.
fn published(folder: &LogFolder) -> Result<u64> {
    let Some(note) = folder.checkpoint_bytes()? else { return Ok(0) };
    let note = String::from_utf8(note).context("a checkpoint that is not UTF-8")?;
    let (text, _) = note.rsplit_once("\n\n").context("a checkpoint without signatures")?;
    Ok(Checkpoint::parse(&format!("{text}\n"))?.size())
}

fn opened(
    epoch: u64,
    folder: &LogFolder,
    index: u64,
    leaf: &[u8],
    disclosure: &[u8],
) -> Result<RecordedEvent> {
    let event = Event::parse(leaf).with_context(|| format!("entry {index}"))?;
    let mut open = Vec::new();
    let disclosure = &*clear(folder, disclosure).with_context(|| format!("entry {index}"))?;
    if let (Some(sealed), false) = (event.sealed(), disclosure.is_empty()) {
        let disclosure =
            Disclosure::open(disclosure, sealed).with_context(|| format!("entry {index}"))?;
        open = disclosure.values;
        for (pointer, _) in disclosure.blobs {
            let name = sealed.get(pointer.as_str()).and_then(Value::as_str).unwrap_or_default();
            let path = folder.blob_path(name).context("a blob without a name")?;
            let bytes = std::fs::read(&path)
                .map_err(|source| FolderError::Read { path: path.clone(), source })?;
            let bytes = clear(folder, &bytes).context("a blob")?;
            open.push((pointer, Value::parse(&bytes).context("a blob")?));
        }
    }
    Ok(RecordedEvent { epoch, index, event, leaf_hash: LeafHash::of(leaf), open })
}

/// What is stored, opened; empty where its key was destroyed.
fn clear<'a>(folder: &LogFolder, stored: &'a [u8]) -> Result<Cow<'a, [u8]>> {
    Ok(match folder.subject_keys().reveal(stored)? {
        Revealed::Clear(clear) => clear,
        Revealed::NoKey => Cow::Borrowed(Default::default()),
        Revealed::Altered(error) => bail!("{error}"),
    })
}

/// The statements among the events, prepared ones with their text.
pub fn statements(events: &[RecordedEvent]) -> Vec<RecordedStatement> {
    let prepared: HashMap<String, &str> = events
        .iter()
        .filter(|event| event.kind() == "sql.prepare")
        .filter_map(|event| Some((event.event.id.to_string(), event.text("/detail/text")?)))
        .collect();
    events
        .iter()
        .filter(|event| event.kind() == "sql.statement")
        .map(|event| {
            let prepared = event.text("/detail/prepared").and_then(|id| prepared.get(id)).copied();
            let bound = event.text("/detail/prepared").is_some()
                || event.value("/detail/unresolved").is_some();
            let parameters = match event.value("/detail/parameters") {
                Some(Value::Array(values)) => Some(values.clone()),
                _ => bound.then(Vec::new),
            };
            RecordedStatement {
                index: event.index,
                id: event.event.id.to_string(),
                session: event.session().unwrap_or_default(),
                actor: event.event.actor.map(|actor| actor.to_string()).unwrap_or_default(),
                text: event.text("/detail/text").or(prepared).map(ToString::to_string),
                parameters,
            }
        })
        .collect()
}
