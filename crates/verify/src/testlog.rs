//! Writes small logs for tests, the way the ledger writes large ones, and lets tests spoil them.

use crate::folder::LogFolder;
use crate::rotation::KeyRotation;
use crate::wal::{HEADER_BYTES, Header, RecordType, encode_record, file_name, record_bytes};
use loggia_model::catalogue::Kind;
use loggia_model::envelope::{Content, KeyId, SubjectKey, seal};
use loggia_model::event::{Draft, EventDraft, LeafHash, Role, SessionSlot, Stamp};
use loggia_model::id::{ActorId, EventId, NodeId, PersonId, SessionId};
use loggia_model::seal::Seed;
use loggia_tlog::tile::{
    bundle_encode, bundles_for_growth, open_encode, tile_encode, tiles_for_growth,
};
use loggia_tlog::{
    BundleId, Checkpoint, CompactRange, Hash, SigningKey, TileId, VerifierKey, leaf_hash,
};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

const TIME_US: i64 = 1_790_000_000_000_000;
const NODE_MS: u64 = 1_790_000_000_000;

/// A session that is open.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Open {
    pub(crate) id: SessionId,
    pub(crate) context: EventId,
}

/// A log being written. Its fields are open, so that a test can write what no ledger would.
pub(crate) struct TestLog {
    data: PathBuf,
    epoch: u64,
    pub(crate) key: SigningKey,
    pub(crate) node: NodeId,
    pub(crate) boot: u64,
    pub(crate) seq: u64,
    pub(crate) time_us: i64,
    pub(crate) entries: Vec<(Vec<u8>, Vec<u8>)>,
    pub(crate) chains: HashMap<SessionId, (u64, LeafHash)>,
    pub(crate) segment_bytes: usize,
    published: u64,
    ids: u64,
    segment: Vec<u8>,
    segment_number: u64,
    /// The key that disclosures are put under from now on.
    pub(crate) seal_under: Option<(KeyId, SubjectKey)>,
}

impl TestLog {
    pub(crate) fn new(data: &Path, epoch: u64) -> Self {
        let node = NodeId::from_parts(NODE_MS, [1; 10]);
        let origin = format!("loggia.internal/test/{node}/e{epoch}");
        let key = SigningKey::from_seed(&origin, &[epoch as u8; 32]).unwrap();
        Self::with_key(data, epoch, key)
    }

    pub(crate) fn with_key(data: &Path, epoch: u64, key: SigningKey) -> Self {
        let mut log = Self {
            data: data.to_path_buf(),
            epoch,
            key,
            node: NodeId::from_parts(NODE_MS, [1; 10]),
            boot: 0,
            seq: 0,
            time_us: TIME_US,
            entries: Vec::new(),
            chains: HashMap::new(),
            segment_bytes: 32 << 10,
            published: 0,
            ids: epoch << 32,
            segment: Vec::new(),
            segment_number: 0,
            seal_under: None,
        };
        std::fs::create_dir_all(log.dir().join("wal")).unwrap();
        std::fs::create_dir_all(log.dir().join("log")).unwrap();
        log.begin_segment();
        log
    }

    pub(crate) fn dir(&self) -> PathBuf {
        self.data.join(format!("ledger/e{}", self.epoch))
    }

    pub(crate) fn folder(&self) -> LogFolder {
        LogFolder::open(self.dir()).unwrap()
    }

    pub(crate) fn vkey(&self) -> VerifierKey {
        self.key.verifier().clone()
    }

    pub(crate) fn size(&self) -> u64 {
        self.entries.len() as u64
    }

    fn random(&mut self) -> [u8; 10] {
        self.ids += 1;
        let mut random = [0; 10];
        random[..8].copy_from_slice(&self.ids.to_be_bytes());
        random
    }

    pub(crate) fn draft(&mut self, kind: Kind) -> EventDraft {
        let random = self.random();
        let seed = Seed::from_random(leaf_hash(&random).0);
        let person = PersonId::from_parts(NODE_MS, [7; 10]);
        EventDraft::new(kind, EventId::from_parts(NODE_MS, random), seed)
            .actor(ActorId::Person(person))
    }

    /// Stamps and appends; the index of the entry.
    pub(crate) fn append(&mut self, draft: EventDraft) -> u64 {
        let draft = draft.encode().unwrap();
        self.seq += 1;
        self.time_us += 1_000;
        let session = draft.session.map(|slot| match self.chains.get(&slot.id) {
            None => (1, None),
            Some((seq, head)) => (seq + 1, Some(*head)),
        });
        let leaf = self.stamped(&draft, session);
        if let (Some(slot), Some((seq, _))) = (draft.session, session) {
            self.chains.insert(slot.id, (seq, LeafHash::of(&leaf)));
        }
        for blob in &draft.blobs {
            let path = self.data.join("blobs").join(&blob.name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, &blob.bytes).unwrap();
        }
        let disclosure = match &self.seal_under {
            Some((id, key)) if !draft.disclosure.is_empty() => {
                let mut nonce = [0; 24];
                nonce[..8].copy_from_slice(&self.size().to_be_bytes());
                let content = Content::Disclosure { apart: false };
                seal(content, (*id, key), nonce, &draft.disclosure).unwrap()
            }
            _ => draft.disclosure.to_vec(),
        };
        self.append_raw(leaf, disclosure)
    }

    fn stamped(&self, draft: &Draft, session: Option<(u64, Option<LeafHash>)>) -> Vec<u8> {
        let node = self.node.to_string();
        let stamp =
            Stamp { time_us: self.time_us, node: &node, boot: self.boot, seq: self.seq, session };
        let mut leaf = Vec::new();
        draft.stamp(&stamp, &mut leaf);
        leaf
    }

    /// Appends any bytes as an entry.
    pub(crate) fn append_raw(&mut self, leaf: Vec<u8>, disclosure: Vec<u8>) -> u64 {
        self.record(RecordType::Entry, &leaf, &disclosure);
        self.entries.push((leaf, disclosure));
        self.size() - 1
    }

    /// Ends the log: another one goes on from here.
    pub(crate) fn close_for(&mut self, next: &Self) {
        let draft = self
            .draft(Kind::EpochClosed)
            .set("/detail/origin", next.key.name())
            .set("/detail/key", next.vkey().to_string());
        self.append(draft);
    }

    /// Begins where another one ended, which is published.
    pub(crate) fn open_after(&mut self, before: &Self) {
        let ended = Checkpoint::open(&before.checkpoint(before.size()), &before.vkey()).unwrap();
        self.boot = 1;
        self.begin_boot();
        let draft = self
            .draft(Kind::EpochOpened)
            .set("/detail/origin", before.key.name())
            .set("/detail/key", self.vkey().to_string())
            .set("/detail/previous_key", before.vkey().to_string())
            .set("/detail/size", ended.size())
            .set("/detail/root", ended.root().to_base64());
        self.append(draft);
    }

    pub(crate) fn begin_boot(&mut self) -> u64 {
        self.boot += 1;
        self.seq = 0;
        let boot = self.draft(Kind::NodeBoot).set("/detail/version", "test");
        self.append(boot)
    }

    pub(crate) fn start(&mut self) -> Open {
        let id = SessionId::from_parts(NODE_MS, self.random());
        let slot = SessionSlot { id, context: None, role: Role::Start };
        let start = self.draft(Kind::SessionStart).session(slot).set("/actor/name", "alice");
        let context = start.id();
        self.append(start);
        Open { id, context }
    }

    pub(crate) fn in_session(&mut self, open: Open, kind: Kind) -> EventDraft {
        let role = if kind == Kind::SessionEnd { Role::End } else { Role::Member };
        self.draft(kind).session(SessionSlot { id: open.id, context: Some(open.context), role })
    }

    pub(crate) fn statement(&mut self, open: Open, text: &str) -> EventId {
        let draft = self.in_session(open, Kind::SqlStatement).set("/detail/text", text);
        let id = draft.id();
        self.append(draft);
        id
    }

    pub(crate) fn result(&mut self, open: Open, of: EventId) -> u64 {
        let draft = self
            .in_session(open, Kind::SqlResult)
            .set("/detail/of", of.to_string())
            .set("/outcome/rows", 3_u64);
        self.append(draft)
    }

    pub(crate) fn end(&mut self, open: Open) -> u64 {
        let draft = self.in_session(open, Kind::SessionEnd).set("/detail/reason", "client_closed");
        self.append(draft)
    }

    /// Goes on under `new`, which from here on signs alone.
    pub(crate) fn rotate(&mut self, new: SigningKey) -> u64 {
        let checkpoint = Checkpoint::open(&self.checkpoint(self.size()), &self.vkey()).unwrap();
        let (size, root) = (checkpoint.size(), checkpoint.root());
        let rotation = KeyRotation::new(size, root, self.vkey(), new.verifier().clone()).unwrap();
        let signatures = [&self.key, &new].map(|key| key.sign(&rotation.text()).unwrap());
        let statement = rotation.statement(signatures.to_vec()).unwrap().to_string();
        let draft = self.rotated(&rotation, statement);
        self.key = new;
        self.append(draft)
    }

    /// The entry of a rotation, with any statement.
    pub(crate) fn rotated(&mut self, rotation: &KeyRotation, statement: String) -> EventDraft {
        self.draft(Kind::KeyRotated)
            .set("/detail/key", rotation.new_key().to_string())
            .set("/detail/previous_key", rotation.old().to_string())
            .set("/detail/size", rotation.size())
            .set("/detail/root", rotation.root().to_base64())
            .set("/detail/statement", statement)
    }

    /// A session of so many statements with their results.
    pub(crate) fn session(&mut self, statements: usize) -> Open {
        let open = self.start();
        for number in 0..statements {
            let of = self.statement(open, &format!("select {number} from orders"));
            self.result(open, of);
        }
        self.end(open);
        open
    }

    /// Sessions, one after the other, until the log has this many entries.
    pub(crate) fn fill(&mut self, size: u64) {
        while self.size() < size {
            let left = size - self.size();
            if left < 4 {
                let draft = self.draft(Kind::NodeHeartbeat).set("/detail/events", self.size());
                self.append(draft);
            } else {
                self.session(((left - 2) / 2).min(9) as usize);
            }
        }
    }

    fn record(&mut self, kind: RecordType, leaf: &[u8], disclosure: &[u8]) {
        let length = record_bytes(leaf.len(), disclosure.len());
        if self.segment.len() + length > self.segment_bytes {
            self.write_wal();
            self.begin_segment();
        }
        encode_record(self.segment_number, kind, leaf, disclosure, &mut self.segment);
    }

    pub(crate) fn begin_segment(&mut self) {
        self.segment_number += 1;
        let header = Header { number: self.segment_number, first_index: self.size() };
        self.segment = header.encode().to_vec();
        assert_eq!(self.segment.len(), HEADER_BYTES);
    }

    pub(crate) fn write_wal(&self) {
        let mut bytes = self.segment.clone();
        bytes.resize(self.segment_bytes.max(bytes.len()), 0);
        let path = self.dir().join("wal").join(file_name(self.segment_number));
        std::fs::write(path, bytes).unwrap();
    }

    pub(crate) fn wal_path(&self) -> PathBuf {
        self.dir().join("wal").join(file_name(self.segment_number))
    }

    /// The signed checkpoint over the first `size` entries.
    pub(crate) fn checkpoint(&self, size: u64) -> Vec<u8> {
        let mut range = CompactRange::new();
        self.entries[..size as usize].iter().for_each(|(leaf, _)| range.append(leaf_hash(leaf)));
        let checkpoint = Checkpoint::new(self.key.name(), size, range.root()).unwrap();
        checkpoint.sign(&self.key).unwrap().to_string().into_bytes()
    }

    /// Tiles, bundles, disclosures, checkpoint; what is superseded goes.
    pub(crate) fn publish(&mut self) {
        let (old, new) = (self.published, self.size());
        let folder = self.folder();
        let put = |path: PathBuf, bytes: Vec<u8>| {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        };
        let mut nodes: HashMap<(u8, u64), Hash> = HashMap::new();
        let mut range = CompactRange::new();
        for (index, (leaf, _)) in self.entries.iter().enumerate() {
            nodes.insert((0, index as u64), leaf_hash(leaf));
            range.append_with(leaf_hash(leaf), &mut |level, index, hash| {
                nodes.insert((level, index), hash);
            });
        }
        for tile in tiles_for_growth(old, new) {
            let hashes: Vec<Hash> = (0..u64::from(tile.width()))
                .map(|at| nodes[&(tile.node_level(), tile.first_node() + at)])
                .collect();
            put(folder.tile_path(&tile), tile_encode(&hashes).unwrap());
        }
        for bundle in bundles_for_growth(old, new) {
            let first = bundle.first_entry() as usize;
            let part = &self.entries[first..first + usize::from(bundle.width())];
            let leaves: Vec<_> = part.iter().map(|(leaf, _)| leaf).collect();
            let open: Vec<_> = part
                .iter()
                .map(|(_, disclosure)| (!disclosure.is_empty()).then_some(disclosure))
                .collect();
            put(folder.entries_path(&bundle), bundle_encode(&leaves).unwrap());
            put(folder.disclosures_path(&bundle), open_encode(&open).unwrap());
        }
        let note = self.checkpoint(new);
        self.record(RecordType::Checkpoint, &note, b"");
        self.write_wal();
        put(folder.checkpoint_path(), note);
        self.remove_superseded(&folder, old, new);
        self.published = new;
    }

    fn remove_superseded(&self, folder: &LogFolder, old: u64, new: u64) {
        for level in 0..8 {
            let Some(nodes) = (old >> (8 * level)).checked_sub(1) else { continue };
            let before = TileId::in_tree(level, nodes / 256, old).unwrap();
            if TileId::in_tree(level, nodes / 256, new) != Some(before) {
                std::fs::remove_file(folder.tile_path(&before)).unwrap();
            }
        }
        if let Some(last) = old.checked_sub(1) {
            let before = BundleId::in_tree(last / 256, old).unwrap();
            if BundleId::in_tree(last / 256, new) != Some(before) {
                std::fs::remove_file(folder.entries_path(&before)).unwrap();
                std::fs::remove_file(folder.disclosures_path(&before)).unwrap();
            }
        }
    }
}

/// Every file below a folder, in order of its name.
pub(crate) fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = std::fs::read_dir(dir) else { return found };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}
