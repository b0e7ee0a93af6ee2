//! The folder of recordings: where they lie, and how one is begun.

use crate::lines::SilentKey;
use crate::tape::FileTape;
use loggia_model::Mint;
use loggia_model::id::SessionId;
use loggia_model::port::{Fatal, Recordings, Tape, TapeError};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Name of the file with the silent key, in the folder of keys.
const SILENT_KEY: &str = "silent.key";

/// Why recordings cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// The operating system said no.
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// Others than the owner can read the key.
    #[error("{} holds a key and others can reach it (mode {mode:03o}); chmod 600 it", path.display())]
    TooOpen {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The key is none.
    #[error("{} is damaged: a key is 32 bytes; put it back from a backup", path.display())]
    NoKey {
        /// The file.
        path: PathBuf,
    },
}

fn io(what: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> FolderError {
    move |source| FolderError::Io { what, path: path.to_owned(), source }
}

/// The folder of recordings under a data folder.
pub(crate) fn folder_of(data: &Path) -> PathBuf {
    data.join("recordings")
}

/// Name of a session's recording.
pub(crate) fn recording_name(session: SessionId) -> String {
    format!("{session}.rec")
}

/// Name of the file with the leaf hashes of a session's recording.
pub(crate) fn leaves_name(session: SessionId) -> String {
    format!("{session}.leaves")
}

/// The folder of recordings.
pub struct RecordingFolder {
    dir: Arc<Path>,
    silent: SilentKey,
    fatal: Fatal,
}

impl RecordingFolder {
    /// Opens `<data>/recordings`, and the silent key in `keys`; each is made where it is missing.
    /// `fatal` is called when a recording cannot be made durable, for another reason than room.
    ///
    /// # Errors
    /// [`FolderError`].
    pub fn open(data: &Path, keys: &Path, mint: &Mint, fatal: Fatal) -> Result<Self, FolderError> {
        let dir = folder_of(data);
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&dir);
        made.map_err(io("make the folder", &dir))?;
        let path = keys.join(SILENT_KEY);
        let silent = match silent_key(&path)? {
            Some(key) => key,
            None => {
                let key = zeroize::Zeroizing::new(mint.random::<32>());
                create(&path, key.as_slice())?;
                SilentKey::new(*key)
            }
        };
        Ok(Self { dir: dir.into(), silent, fatal })
    }

    /// Destroys the recording of a session that has ended; whether it had one. A crash in between
    /// leaves a part of it, which goes when this is done again.
    ///
    /// # Errors
    /// [`FolderError`].
    pub fn destroy(&self, session: SessionId) -> Result<bool, FolderError> {
        let mut had = false;
        let leaves = leaves_name(session);
        for name in [format!("{leaves}.new"), leaves, recording_name(session)] {
            let path = self.dir.join(name);
            match std::fs::remove_file(&path) {
                Ok(()) => had = true,
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(io("remove", &path)(error)),
            }
        }
        if had {
            let synced = File::open(&*self.dir).and_then(|dir| dir.sync_all());
            synced.map_err(io("make durable", &self.dir))?;
        }
        Ok(had)
    }

    /// The file of a session's recording, whether it has one or not.
    pub fn path(&self, session: SessionId) -> PathBuf {
        self.dir.join(recording_name(session))
    }
}

impl Recordings for RecordingFolder {
    fn begin(
        &self,
        session: SessionId,
        salt: &[u8; 32],
        started_us: i64,
    ) -> Result<Box<dyn Tape>, TapeError> {
        let key = self.silent.session(salt);
        let (dir, fatal) = (Arc::clone(&self.dir), Arc::clone(&self.fatal));
        let tape = FileTape::create(dir, fatal, session, salt, key, started_us)?;
        Ok(Box::new(tape))
    }
}

/// Reads a silent key; none where there is no such file.
///
/// # Errors
/// [`FolderError`]; also where others than its owner can read the file.
pub fn silent_key(path: &Path) -> Result<Option<SilentKey>, FolderError> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io("open", path)(error)),
    };
    let mode = file.metadata().map_err(io("look at", path))?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(FolderError::TooOpen { path: path.to_owned(), mode });
    }
    let no_key = || FolderError::NoKey { path: path.to_owned() };
    let mut key = zeroize::Zeroizing::new([0; 32]);
    file.read_exact(key.as_mut_slice()).map_err(|_| no_key())?;
    match file.read(&mut [0]) {
        Ok(0) => Ok(Some(SilentKey::new(*key))),
        _ => Err(no_key()),
    }
}

/// Writes a key that must not be there yet. A crash leaves either the whole file or none, and a
/// `.new` beside it that the next attempt removes.
fn create(path: &Path, bytes: &[u8]) -> Result<(), FolderError> {
    let new = path.with_extension("key.new");
    match std::fs::remove_file(&new) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(io("remove", &new)(error)),
        _ => {}
    }
    let mut options = OpenOptions::new();
    let file = options.write(true).create_new(true).mode(0o600).open(&new);
    let mut file = file.map_err(io("create", &new))?;
    file.write_all(bytes).map_err(io("write", &new))?;
    file.sync_all().map_err(io("sync", &new))?;
    // Unlike a rename, a link fails where the name is taken: a key is never overwritten.
    let linked = std::fs::hard_link(&new, path).map_err(io("create", path));
    std::fs::remove_file(&new).map_err(io("remove", &new))?;
    linked?;
    let folder = path.parent().unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(io("sync", folder))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tape::no_fault;
    use loggia_model::mint::{Clock, Entropy};

    struct Fixed(u8);

    impl Clock for Fixed {
        fn now_us(&self) -> i64 {
            0
        }
    }

    impl Entropy for Fixed {
        fn fill(&self, buffer: &mut [u8]) {
            buffer.fill(self.0);
        }
    }

    fn mint(byte: u8) -> Mint {
        Mint::new(Arc::new(Fixed(byte)), Arc::new(Fixed(byte)))
    }

    fn mode(path: &Path) -> u32 {
        path.metadata().unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn the_silent_key_is_made_once_for_its_owner_and_kept() {
        let data = tempfile::tempdir().unwrap();
        let keys = data.path().join("keys");
        std::fs::create_dir(&keys).unwrap();
        // What a crash left of an earlier try is no obstacle.
        std::fs::write(keys.join("silent.key.new"), "half").unwrap();
        let open = |byte| RecordingFolder::open(data.path(), &keys, &mint(byte), no_fault());
        open(7).unwrap();
        open(8).unwrap();
        let path = keys.join("silent.key");
        assert_eq!(std::fs::read(&path).unwrap(), [7; 32], "the first one stays");
        assert_eq!((mode(&path), mode(&data.path().join("recordings"))), (0o600, 0o700));
        assert_eq!(std::fs::read_dir(&keys).unwrap().count(), 1);

        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let refused = open(8).err().unwrap();
        assert!(refused.to_string().contains("chmod 600"), "{refused}");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::write(&path, [7; 33]).unwrap();
        let refused = open(8).err().unwrap();
        assert!(refused.to_string().contains("32 bytes"), "{refused}");
    }
}
