//! A log and its witnesses as others serve them: plain files over HTTP (C2SP `tlog-tiles`).

use crate::web::{HttpWitness, Web, prefix};
use futures::future::join_all;
use loggia_ledger::{AskWitness, MirrorEntry, MirrorSource};
use loggia_tlog::note::MAX_NOTE_BYTES;
use loggia_tlog::tile::{MAX_ENTRY_BYTES, TILE_WIDTH, TileReadError, bundle_decode};
use loggia_tlog::{BundleId, Hash, HashReader, TileId, TileReader};
use reqwest::Url;
use std::path::Path;
use tokio::runtime::Handle;

/// The longest tile, in bytes.
const TILE_BYTES_MAX: usize = TILE_WIDTH as usize * 32;

/// The longest bundle, in bytes.
const BUNDLE_BYTES_MAX: usize = TILE_WIDTH as usize * (2 + MAX_ENTRY_BYTES);

/// A log below an address.
#[derive(Clone)]
pub struct RemoteLog {
    web: Web,
    prefix: Url,
}

impl RemoteLog {
    /// The log whose `checkpoint` is below this address.
    ///
    /// # Errors
    /// Where that is no address, or the authorities cannot be read.
    pub fn new(address: &str, ca_file: Option<&Path>) -> anyhow::Result<Self> {
        let prefix = prefix(address).map_err(|why| anyhow::anyhow!("{address}: {why}"))?;
        Ok(Self { web: Web::new(ca_file)?, prefix })
    }

    /// The address.
    pub fn address(&self) -> String {
        self.prefix.to_string()
    }

    /// A small file of the log, such as `checkpoint`; `None` where it is not there.
    ///
    /// # Errors
    /// Says why it cannot be had.
    pub async fn file(&self, name: &str) -> Result<Option<Vec<u8>>, String> {
        self.get(name, MAX_NOTE_BYTES).await
    }

    async fn get(&self, path: &str, bytes_max: usize) -> Result<Option<Vec<u8>>, String> {
        let url = self.prefix.join(path).map_err(|error| error.to_string())?;
        self.web.get(url, bytes_max).await
    }

    /// A tile; where a partial one is gone, the beginning of the full one.
    async fn tile(&self, tile: &TileId) -> Result<Vec<u8>, String> {
        if let Some(bytes) = self.get(&tile.path(), TILE_BYTES_MAX).await? {
            return Ok(bytes);
        }
        let full = self.get(&tile.to_full().path(), TILE_BYTES_MAX).await?;
        let mut bytes = full.ok_or_else(|| format!("{} is missing", tile.path()))?;
        bytes.truncate(tile.byte_len());
        Ok(bytes)
    }

    /// Reads hashes of the tree of a size, one request for each tile. For threads that may block.
    pub fn hash_reader(&self, size: u64, handle: Handle) -> RemoteHashes {
        RemoteHashes { log: self.clone(), size, handle }
    }
}

/// Reads a tree over HTTP.
pub struct RemoteHashes {
    log: RemoteLog,
    size: u64,
    handle: Handle,
}

impl HashReader for RemoteHashes {
    type Error = String;

    fn read(&self, level: u8, index: u64) -> Result<Hash, String> {
        let fetch = |tile: &TileId| self.handle.block_on(self.log.tile(tile));
        TileReader::new(self.size, fetch).read(level, index).map_err(|error| match error {
            TileReadError::Fetch { source, .. } => source,
            other => other.to_string(),
        })
    }
}

/// A log over HTTP as the source of a copy: the log alone, for what is disclosed beside it is not
/// served to strangers. For threads that may block.
pub struct RemoteSource {
    log: RemoteLog,
    handle: Handle,
}

impl RemoteSource {
    /// The log below an address.
    pub fn new(log: RemoteLog, handle: Handle) -> Self {
        Self { log, handle }
    }
}

impl MirrorSource for RemoteSource {
    fn checkpoint(&self) -> Result<Option<Vec<u8>>, String> {
        self.handle.block_on(self.log.file("checkpoint"))
    }

    fn cosigned(&self) -> Result<Option<Vec<u8>>, String> {
        self.handle.block_on(self.log.file("cosigned"))
    }

    fn entries(&self, from: u64, _max: usize, size: u64) -> Result<Vec<MirrorEntry>, String> {
        let width = u64::from(TILE_WIDTH);
        let bundle = BundleId::in_tree(from / width, size);
        let bundle = bundle.ok_or_else(|| format!("a log of {size} has no entry {from}"))?;
        let bytes = self.handle.block_on(self.log.get(&bundle.path(), BUNDLE_BYTES_MAX))?;
        let (bytes, found) = match bytes {
            Some(bytes) => (bytes, bundle.width()),
            None => {
                let full = bundle.to_full();
                let bytes = self.handle.block_on(self.log.get(&full.path(), BUNDLE_BYTES_MAX))?;
                (bytes.ok_or_else(|| format!("{} is missing", bundle.path()))?, full.width())
            }
        };
        let entries =
            bundle_decode(&bytes, found).map_err(|error| format!("{}: {error}", bundle.path()))?;
        let skipped = usize::try_from(from % width).unwrap_or(usize::MAX);
        let wanted = entries.into_iter().take(bundle.width().into()).skip(skipped);
        Ok(wanted.map(|entry| (entry.to_vec(), None)).collect())
    }

    fn discloses(&self) -> bool {
        false
    }

    fn blob(&self, _name: &str) -> Result<Option<Vec<u8>>, String> {
        Ok(None)
    }
}

/// The copies of a log's checkpoint that witnesses show.
pub struct WitnessCopies {
    witnesses: Vec<(String, HttpWitness)>,
}

impl WitnessCopies {
    /// Of these witnesses: name and address.
    ///
    /// # Errors
    /// Where that is no address, or the authorities cannot be read.
    pub fn new(ca_file: Option<&Path>, witnesses: &[(String, String)]) -> anyhow::Result<Self> {
        let web = Web::new(ca_file)?;
        let mut asked = Vec::new();
        for (name, address) in witnesses {
            let submit = prefix(address).map_err(|why| anyhow::anyhow!("{address}: {why}"))?;
            let witness = HttpWitness { web: web.clone(), monitor: submit.clone(), submit };
            asked.push((name.clone(), witness));
        }
        Ok(Self { witnesses: asked })
    }

    /// Asks all of them for the logs of these names; who did not answer is told apart.
    pub async fn get(&self, origins: &[&str]) -> (Vec<(String, Option<Vec<u8>>)>, Vec<String>) {
        let (mut copies, mut silent) = (Vec::new(), Vec::new());
        for origin in origins {
            let asked = self
                .witnesses
                .iter()
                .map(|(name, witness)| async move { (name, witness.latest(origin).await) });
            for (name, answer) in join_all(asked).await {
                match answer {
                    // Of several logs, one that it shows says more than one that it does not.
                    Ok(None) if copies.iter().any(|(known, _)| known == name) => {}
                    Ok(copy) => copies.push((name.clone(), copy)),
                    Err(why) => silent.push(format!("the witness {name}: {why}")),
                }
            }
        }
        (copies, silent)
    }
}
