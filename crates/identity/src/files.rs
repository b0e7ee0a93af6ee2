//! Files with keys in them: only for the owner, written whole or not at all.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Largest key file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// Why the keys cannot be used. Nothing of a key stands in the text.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
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
    /// Others than the owner can read a private key.
    #[error("{} holds a private key and others can reach it (mode {mode:03o})", path.display())]
    TooOpen {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The content is not what we wrote.
    #[error("{} is damaged: {why}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A name for the server certificate that cannot stand in one.
    #[error("the server certificate cannot be made for `{names}`: {why}")]
    Names {
        /// The names.
        names: String,
        /// What is wrong.
        why: String,
    },
    /// The cryptographic library failed.
    #[error("cannot make a key or certificate: {0}")]
    Make(String),
}

impl KeysError {
    /// What a person can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Io { .. } | Self::Make(_) => None,
            Self::TooOpen { path, .. } => Some(format!("chmod 600 {}", path.display())),
            Self::Damaged { path, .. } => Some(format!(
                "put {} back from a backup; a new authority makes every issued certificate void",
                path.display()
            )),
            Self::Names { .. } => {
                Some("give host names or addresses, without port or scheme".to_owned())
            }
        }
    }
}

/// Adds what was tried, and on which file, to an error of the operating system.
fn io(what: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> KeysError {
    move |source| KeysError::Io { what, path: path.to_owned(), source }
}

/// Makes the folder for keys, mode 0700. One that is there is narrowed to its owner.
pub(crate) fn open_folder(folder: &Path) -> Result<(), KeysError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(io("make the folder", folder))?;
    let metadata = folder.metadata().map_err(io("look at", folder))?;
    if metadata.permissions().mode() & 0o077 != 0 {
        std::fs::set_permissions(folder, Permissions::from_mode(0o700))
            .map_err(io("narrow the permissions of", folder))?;
    }
    Ok(())
}

/// Reads a file with a private key; none where there is no such file.
pub(crate) fn read_private(path: &Path) -> Result<Option<Zeroizing<String>>, KeysError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io("open", path)(error)),
    };
    let mode = file.metadata().map_err(io("look at", path))?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(KeysError::TooOpen { path: path.to_owned(), mode });
    }
    let mut text = Zeroizing::new(String::new());
    file.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(io("read", path))?;
    Ok(Some(text))
}

/// Writes a file that must not be there yet. A crash leaves either the whole file or none, and a
/// `.new` beside it that the next attempt removes.
pub(crate) fn create(path: &Path, text: &str, mode: u32) -> Result<(), KeysError> {
    let new = write_new(path, text, mode)?;
    // Unlike a rename, a link fails where the name is taken: a key is never overwritten.
    let linked = std::fs::hard_link(&new, path).map_err(io("create", path));
    std::fs::remove_file(&new).map_err(io("remove", &new))?;
    linked?;
    sync_folder(path)
}

/// Writes a file, in place of the old one where there is one. A crash leaves the old or the new.
pub(crate) fn replace(path: &Path, text: &str, mode: u32) -> Result<(), KeysError> {
    let new = write_new(path, text, mode)?;
    std::fs::rename(&new, path).map_err(io("replace", path))?;
    sync_folder(path)
}

/// Writes the text to `<path>.new` and syncs it.
fn write_new(path: &Path, text: &str, mode: u32) -> Result<PathBuf, KeysError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let new = PathBuf::from(name);
    match std::fs::remove_file(&new) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(io("remove", &new)(error)),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&new)
        .map_err(io("create", &new))?;
    file.write_all(text.as_bytes()).map_err(io("write", &new))?;
    file.sync_all().map_err(io("sync", &new))?;
    Ok(new)
}

fn sync_folder(path: &Path) -> Result<(), KeysError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(io("sync", folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        path.metadata().unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_key_file_is_for_its_owner_and_is_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let keys = folder.path().join("data/keys");
        open_folder(&keys).unwrap();
        assert_eq!(mode(&keys), 0o700);
        let path = keys.join("ca.pem");
        assert!(read_private(&path).unwrap().is_none());
        create(&path, "first", 0o600).unwrap();
        assert_eq!(mode(&path), 0o600);
        assert!(matches!(create(&path, "second", 0o600), Err(KeysError::Io { .. })));
        assert_eq!(read_private(&path).unwrap().unwrap().as_str(), "first");
        replace(&path, "third", 0o600).unwrap();
        assert_eq!(read_private(&path).unwrap().unwrap().as_str(), "third");
        let files: Vec<_> = std::fs::read_dir(&keys).unwrap().collect();
        assert_eq!(files.len(), 1, "nothing is left beside it");
    }

    #[test]
    fn a_key_that_others_can_read_is_refused_with_the_command_that_helps() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        create(&path, "key", 0o600).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        let refused = read_private(&path).unwrap_err();
        assert!(refused.to_string().contains("mode 640"), "{refused}");
        assert!(refused.hint().unwrap().starts_with("chmod 600 /"));
    }

    #[test]
    fn what_a_crash_left_behind_is_no_obstacle_and_a_wide_folder_is_narrowed() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        open_folder(folder.path()).unwrap();
        assert_eq!(mode(folder.path()), 0o700);
        let path = folder.path().join("ca.pem");
        std::fs::write(folder.path().join("ca.pem.new"), "half").unwrap();
        create(&path, "whole", 0o600).unwrap();
        assert_eq!(read_private(&path).unwrap().unwrap().as_str(), "whole");
    }
}
