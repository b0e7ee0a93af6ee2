//! The machine's own clock, randomness and secrets: what every other room takes as a parameter.

use loggia_model::port::Secrets;
use loggia_model::resource::SecretRef;
use loggia_model::{Clock, Entropy, Fault, Mint, PublicError, Secret};
use parking_lot::Mutex;
use rustix::process::{DumpableBehavior, Resource, Rlimit};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use zeroize::Zeroize;

/// The wall clock of the machine.
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is where everybody's clock comes from")]
    fn now_us(&self) -> i64 {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since.map_or(0, |since| i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }
}

/// The randomness of the operating system. What events need of it, on every statement, is drawn
/// ahead, many bytes with one call; each byte is given out once and wiped then.
pub struct SystemEntropy {
    ahead: Mutex<Ahead>,
}

/// Bytes drawn with one call.
const AHEAD_BYTES: usize = 4_096;
/// What asks for more at once (keys) has it from the operating system.
const SMALL_BYTES_MAX: usize = 64;

struct Ahead {
    bytes: [u8; AHEAD_BYTES],
    used: usize,
}

impl Default for SystemEntropy {
    fn default() -> Self {
        Self { ahead: Mutex::new(Ahead { bytes: [0; AHEAD_BYTES], used: AHEAD_BYTES }) }
    }
}

impl Entropy for SystemEntropy {
    fn fill(&self, buffer: &mut [u8]) {
        if buffer.len() > SMALL_BYTES_MAX {
            return from_system(buffer);
        }
        let mut ahead = self.ahead.lock();
        if ahead.used + buffer.len() > AHEAD_BYTES {
            from_system(&mut ahead.bytes);
            ahead.used = 0;
        }
        let (from, to) = (ahead.used, ahead.used + buffer.len());
        ahead.used = to;
        match ahead.bytes.get_mut(from..to) {
            Some(fresh) => {
                buffer.copy_from_slice(fresh);
                fresh.zeroize();
            }
            None => from_system(buffer),
        }
    }
}

fn from_system(buffer: &mut [u8]) {
    if let Err(error) = getrandom::fill(buffer) {
        // Without randomness every seal and every key would be open; nothing may go on.
        tracing::error!(%error, "the operating system gives no randomness; the process ends");
        std::process::abort();
    }
}

/// Ids and drafts from the machine's own clock and randomness.
pub fn mint() -> Mint {
    Mint::new(Arc::new(SystemClock), Arc::new(SystemEntropy::default()))
}

/// Looks secrets up in the environment and in files, at each use, so that a rotated one is found.
///
/// Whoever may declare resources could otherwise have the gateway send its own keys to a host of
/// theirs: nothing below the data folder is a secret for a target, but what lies in `secrets/`.
pub struct SystemSecrets {
    data: PathBuf,
}

/// A file larger than this is not a secret.
const SECRET_BYTES_MAX: u64 = 64 << 10;

impl SystemSecrets {
    /// For a gateway with this data folder.
    pub fn new(data: &Path) -> Self {
        Self { data: data.to_owned() }
    }

    fn read(&self, path: &str) -> Result<String, String> {
        let say = |error: std::io::Error| error.to_string();
        let place = std::fs::canonicalize(path).map_err(say)?;
        if let Ok(data) = std::fs::canonicalize(&self.data)
            && place.starts_with(&data)
            && !place.starts_with(data.join("secrets"))
        {
            return Err("the gateway's own files are no secrets for targets".to_owned());
        }
        read_secret(&place)
    }
}

/// A secret in a file; newlines at its end do not count.
pub(crate) fn read_secret(place: &Path) -> Result<String, String> {
    let say = |error: std::io::Error| error.to_string();
    let file = std::fs::File::open(place).map_err(say)?;
    if !file.metadata().map_err(say)?.is_file() {
        return Err("not a file".to_owned());
    }
    let mut text = String::new();
    let length = file.take(SECRET_BYTES_MAX + 1).read_to_string(&mut text).map_err(say)?;
    if length as u64 > SECRET_BYTES_MAX {
        return Err(format!("more than {SECRET_BYTES_MAX} bytes are no secret"));
    }
    text.truncate(text.trim_end_matches(['\n', '\r']).len());
    Ok(text)
}

impl Secrets for SystemSecrets {
    fn resolve(&self, reference: &SecretRef) -> Result<Secret, PublicError> {
        let missing = |why: String| {
            PublicError::new(
                "target_auth",
                Fault::Gateway,
                "the target's credential cannot be read",
            )
            .hint("`loggia doctor` on the gateway's machine tells which and why")
            .cause(why)
        };
        match reference {
            SecretRef::Env(name) => {
                #[expect(clippy::disallowed_methods, reason = "secrets are looked up at each use")]
                let value = std::env::var(name);
                value.map(Secret::new).map_err(|error| missing(format!("env:{name}: {error}")))
            }
            SecretRef::File(path) => self
                .read(path)
                .map(Secret::new)
                .map_err(|error| missing(format!("file:{path}: {error}"))),
        }
    }
}

/// Raises the number of files that the process may have open as far as it is allowed to, and gives
/// it. Every connection is one, and the ledger must always get its own.
pub fn raise_open_files() -> u64 {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let wanted = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if rustix::process::setrlimit(Resource::Nofile, wanted).is_err() {
        return limit.current.unwrap_or(u64::MAX);
    }
    limit.maximum.unwrap_or(u64::MAX)
}

/// Keeps what the process has in memory, keys among it, from being written to a disk or read by
/// other processes of its account: no core file when it falls, no debugger. Called before anything
/// secret is read.
pub fn keep_memory_private() {
    // A system that refuses to do less for a process leaves nothing to be done about it.
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    let _ = rustix::process::setrlimit(Resource::Core, none);
    let _ = rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn memory_is_not_dumped_and_not_read_by_others() {
        keep_memory_private();
        let core = rustix::process::getrlimit(Resource::Core);
        assert_eq!((core.current, core.maximum), (Some(0), Some(0)));
        let dumpable = rustix::process::dumpable_behavior().unwrap();
        assert_eq!(dumpable, DumpableBehavior::NotDumpable);
    }

    #[test]
    fn no_random_bytes_are_given_out_twice() {
        let entropy = SystemEntropy::default();
        let mut seen = HashSet::new();
        for length in [10, 16, 42, SMALL_BYTES_MAX, SMALL_BYTES_MAX + 1].repeat(200) {
            let mut bytes = vec![0; length];
            entropy.fill(&mut bytes);
            assert!(bytes.iter().any(|byte| *byte != 0), "{length} bytes were not filled");
            assert!(seen.insert(bytes), "{length} bytes came twice");
        }
    }

    #[test]
    fn the_gateways_own_files_are_not_given_to_targets() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        for (name, text) in
            [("data/keys/log-e1.key", "KEY"), ("data/secrets/app", "pw\n"), ("out", "o")]
        {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let secrets = SystemSecrets::new(&data);
        let resolve = |name: &str| {
            let path = folder.path().join(name).display().to_string();
            secrets.resolve(&SecretRef::File(path)).map(|secret| secret.reveal().to_owned())
        };
        assert_eq!(resolve("data/secrets/app").unwrap(), "pw");
        assert_eq!(resolve("out").unwrap(), "o");
        assert!(resolve("data/keys/log-e1.key").is_err());
        assert!(resolve("data/secrets/../keys/log-e1.key").is_err());
        assert!(secrets.resolve(&SecretRef::File("/dev/zero".into())).is_err());
    }
}
