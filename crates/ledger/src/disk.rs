//! Every touch of the disk, in one place, so that a test can make any of them fail.
//!
//! Two classes of error: a full disk ([`is_full`]) is waited out; any other failure to make
//! something durable is fatal, because the page cache can no longer be trusted (a second fsync
//! may succeed without the data).

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

/// What is about to be done to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Touch {
    /// Creating or overwriting a whole file.
    Write,
    /// Writing into a segment that is open.
    WriteAt,
    /// fdatasync or fsync of a file, fsync of a folder, syncfs.
    Sync,
    /// Renaming.
    Rename,
    /// Removing.
    Remove,
}

/// Asked before each touch; an error it gives is what the touch gives.
pub type Hook = Arc<dyn Fn(Touch, &Path) -> io::Result<()> + Send + Sync>;

/// The disk, perhaps with a hook before it.
#[derive(Clone, Default)]
pub struct Disk {
    hook: Option<Hook>,
}

/// Whether the error says that there is no room: on the disk, or for one more open file. Everything
/// else about making something durable is fatal.
pub fn is_full(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let out_of_files = [Errno::MFILE, Errno::NFILE, Errno::NOMEM].map(Errno::raw_os_error);
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
        || error.raw_os_error().is_some_and(|code| out_of_files.contains(&code))
}

impl Disk {
    /// A disk whose every touch asks `hook` first.
    pub fn with_hook(hook: Hook) -> Self {
        Self { hook: Some(hook) }
    }

    fn ask(&self, touch: Touch, path: &Path) -> io::Result<()> {
        match &self.hook {
            Some(hook) => hook(touch, path),
            None => Ok(()),
        }
    }

    /// Writes bytes at a place of an open file.
    pub fn write_at(&self, file: &File, path: &Path, bytes: &[u8], at: u64) -> io::Result<()> {
        self.ask(Touch::WriteAt, path)?;
        file.write_all_at(bytes, at)
    }

    /// fdatasync.
    pub fn sync_data(&self, file: &File, path: &Path) -> io::Result<()> {
        self.ask(Touch::Sync, path)?;
        file.sync_data()
    }

    /// Makes the names in a folder durable.
    pub fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        self.ask(Touch::Sync, folder)?;
        File::open(folder)?.sync_all()
    }

    /// Makes everything written to the file system of `folder` durable (syncfs). One call for
    /// hundreds of small files, where an fsync of each would cost seconds.
    pub fn sync_file_system(&self, folder: &Path) -> io::Result<()> {
        self.ask(Touch::Sync, folder)?;
        rustix::fs::syncfs(File::open(folder)?).map_err(io::Error::from)
    }

    /// Creates or overwrites a file for its owner alone; not durable before a sync.
    pub fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.ask(Touch::Write, path)?;
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = match (options.open(path), path.parent()) {
            // Rare: of 256 files in a folder the first.
            (Err(error), Some(folder)) if error.kind() == io::ErrorKind::NotFound => {
                fs::create_dir_all(folder)?;
                options.open(path)?
            }
            (opened, _) => opened?,
        };
        file.write_all(bytes)
    }

    /// Replaces a file as a whole, durably: after a crash there is the old content or the new.
    pub fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let fresh = path.with_extension("new");
        self.write(&fresh, bytes)?;
        self.sync_data(&File::open(&fresh)?, &fresh)?;
        self.rename(&fresh, path)?;
        match path.parent() {
            Some(folder) => self.sync_folder(folder),
            None => Ok(()),
        }
    }

    /// Renames; durable after a sync of the folder.
    pub fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.ask(Touch::Rename, to)?;
        fs::rename(from, to)
    }

    /// Removes a file; one that is gone already is fine.
    pub fn remove(&self, path: &Path) -> io::Result<()> {
        self.ask(Touch::Remove, path)?;
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Creates a file of zeros of this size and makes it durable. On an error nothing is left.
    pub fn create_zeroed(&self, path: &Path, bytes_len: usize) -> io::Result<()> {
        static CHUNK: [u8; 1 << 16] = [0; 1 << 16];
        let fill = || -> io::Result<()> {
            self.ask(Touch::Write, path)?;
            let mut options = OpenOptions::new();
            let mut file =
                options.write(true).create(true).truncate(true).mode(0o600).open(path)?;
            let mut left = bytes_len;
            while left > 0 {
                let now = left.min(CHUNK.len());
                file.write_all(CHUNK.get(..now).unwrap_or_default())?;
                left -= now;
            }
            self.ask(Touch::Sync, path)?;
            file.sync_all()
        };
        fill().inspect_err(|_| {
            let _ = fs::remove_file(path);
        })
    }
}
