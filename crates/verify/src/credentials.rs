//! Credentials that a target accepted, held against the log: each names the entry that minted it,
//! so one that the log does not have was made by somebody who went around the recording.

use crate::folder::{FolderError, LogFolder};
use crate::log::{Trust, VerifyError, epochs};
use crate::report::{printable, time_text};
use crate::signed::{self, Signed};
use crate::witnessed::{Cosigned, WitnessTrust};
use loggia_model::catalogue::Kind;
use loggia_model::event::Event;
use loggia_tlog::merkle::{inclusion_proof, verify_inclusion};
use loggia_tlog::policy::Quorum;
use loggia_tlog::tile::TILE_WIDTH;
use loggia_tlog::{BundleId, Checkpoint, Hash, SignedNote, VerifierKey, leaf_hash};
use serde_json::{Value as Json, json};
use std::collections::HashMap;
use std::fmt;
use std::path::Path;

/// What a credential begins its binding to the log with (subjectAltName URI of a certificate).
const BINDING_PREFIX: &str = "loggia:log-binding:v1:";
/// Longest serial number that is taken, in hex digits (RFC 5280: 20 bytes).
const SERIAL_DIGITS_MAX: usize = 40;

/// How a credential is named by those who saw it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Named {
    /// By the serial number of its certificate: lower-case hex without leading zeros.
    Serial(String),
    /// By the binding that stands in it.
    Binding {
        /// Name of the log.
        origin: String,
        /// Index of the entry.
        index: u64,
        /// Its leaf hash.
        leaf_hash: Hash,
    },
}

impl Named {
    /// Reads a serial number, with or without colons, or a binding.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if let Some(rest) = text.strip_prefix(BINDING_PREFIX) {
            let (rest, hash) = rest.rsplit_once(':')?;
            let (origin, index) = rest.rsplit_once(':')?;
            let (index, leaf_hash) = (index.parse().ok()?, Hash::from_hex(hash).ok()?);
            return Some(Self::Binding { origin: origin.to_owned(), index, leaf_hash });
        }
        let hex: String = text.chars().filter(|letter| *letter != ':').collect();
        let fine = !hex.is_empty() && hex.len() <= SERIAL_DIGITS_MAX;
        (fine && hex.bytes().all(|byte| byte.is_ascii_hexdigit()))
            .then(|| Self::Serial(plain(&hex)))
    }
}

/// One form for each number: tools write leading zeros and capitals as they like.
fn plain(hex: &str) -> String {
    let digits = hex.trim_start_matches('0');
    if digits.is_empty() { "0".to_owned() } else { digits.to_ascii_lowercase() }
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Serial(serial) => f.write_str(serial),
            Self::Binding { origin, index, leaf_hash } => {
                write!(f, "{BINDING_PREFIX}{}:{index}:{leaf_hash}", printable(origin))
            }
        }
    }
}

/// The entry that minted a credential, proven to be in a signed log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Minted {
    /// Name of the log.
    pub origin: String,
    /// Index of the entry.
    pub index: u64,
    /// For whom: the actor's id.
    pub actor: Option<String>,
    /// When, microseconds since 1970.
    pub time_us: i64,
    /// Whether a quorum of witnesses has cosigned a tree with it.
    pub cosigned: bool,
}

/// What was found of each credential, in the order in which they were asked for.
#[derive(Debug, Clone, Default)]
pub struct CredentialReport {
    /// The credential, and its entry where there is one.
    pub found: Vec<(Named, Option<Minted>)>,
}

impl CredentialReport {
    /// Those that the log does not have.
    pub fn without_proof(&self) -> impl Iterator<Item = &Named> {
        self.found.iter().filter(|(_, minted)| minted.is_none()).map(|(named, _)| named)
    }

    /// One JSON object for each credential. Keys are only ever added.
    pub fn to_json(&self) -> Vec<Json> {
        let one = |(named, minted): &(Named, Option<Minted>)| {
            json!({
                "credential": named.to_string(),
                "proven": minted.is_some(),
                "origin": minted.as_ref().map(|one| &one.origin),
                "index": minted.as_ref().map(|one| one.index),
                "actor": minted.as_ref().and_then(|one| one.actor.as_ref()),
                "time_us": minted.as_ref().map(|one| one.time_us),
                "cosigned": minted.as_ref().map(|one| one.cosigned),
            })
        };
        self.found.iter().map(one).collect()
    }
}

impl fmt::Display for Minted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let actor = self.actor.as_deref().unwrap_or("nobody named");
        let trust = if self.cosigned { "cosigned" } else { "operator-trusted only" };
        let (origin, time) = (printable(&self.origin), time_text(self.time_us));
        write!(f, "minted for {actor} at {time}, entry {} of {origin} ({trust})", self.index)
    }
}

/// Looks for the entries that minted these credentials, in all epochs of the log in `dir` whose
/// keys are given, and proves each to be under a signed checkpoint.
///
/// # Errors
/// [`VerifyError`]: no key, no log, or a file that cannot be read.
pub fn audit_credentials(
    dir: &Path,
    asked: &[Named],
    trust: &Trust,
) -> Result<CredentialReport, VerifyError> {
    if trust.keys.is_empty() {
        return Err(VerifyError::NoKey);
    }
    let mut found: HashMap<&Named, Minted> = HashMap::new();
    for epoch in epochs(dir)? {
        let folder = &epoch.folder;
        let Some(head) = Head::read(folder, trust)? else { continue };
        for number in 0..head.size.div_ceil(u64::from(TILE_WIDTH)) {
            let Some(bundle) = BundleId::in_tree(number, head.size) else { break };
            let entries = folder.entries(&bundle)?;
            for (index, leaf) in (bundle.first_entry()..).zip(entries.iter()) {
                let Some((event, names)) = minted(leaf, &head, index) else { continue };
                let wanted = asked.iter().filter(|asked| names.contains(asked));
                for named in wanted.filter(|named| !found.contains_key(*named)).collect::<Vec<_>>()
                {
                    if let Some(minted) = head.prove(folder, index, leaf, &event)? {
                        found.insert(named, minted);
                    }
                }
            }
        }
    }
    let found = asked.iter().map(|named| (named.clone(), found.get(named).cloned())).collect();
    Ok(CredentialReport { found })
}

/// The event of a leaf that minted a credential, and how that is named.
fn minted(leaf: &[u8], head: &Head, index: u64) -> Option<(Event, [Named; 2])> {
    let code = Kind::CredentialMinted.code().as_bytes();
    // Parsing costs far more than looking for the word.
    leaf.windows(code.len()).find(|window| *window == code)?;
    let event = Event::parse(leaf).ok().filter(|event| event.kind.as_bytes() == code)?;
    let serial = event.text("/detail/serial").map(plain).unwrap_or_default();
    let origin = head.key.name().to_owned();
    let names =
        [Named::Serial(serial), Named::Binding { origin, index, leaf_hash: leaf_hash(leaf) }];
    Some((event, names))
}

/// The tree that a log is held to.
struct Head {
    key: VerifierKey,
    size: u64,
    root: Hash,
    /// Entries that a quorum of witnesses has cosigned.
    cosigned: Option<Cosigned>,
}

impl Head {
    /// `None` where the epoch has no checkpoint that one of the keys has signed.
    fn read(folder: &LogFolder, trust: &Trust) -> Result<Option<Self>, FolderError> {
        let cosigned = folder.cosigned_bytes()?;
        let Some(bytes) = folder.checkpoint_bytes()? else { return Ok(None) };
        let Signed::By(signed) = signed::read(&bytes, &trust.keys) else { return Ok(None) };
        let signed::By { checkpoint, key, .. } = *signed;
        let judged = |witnesses: &WitnessTrust| {
            let note = SignedNote::parse(&cosigned?).ok()?;
            witnesses.judge(&note, &key).ok().filter(|one| one.quorum == Quorum::Met)
        };
        let cosigned = trust.witnesses.as_ref().and_then(judged);
        let (size, root) = (checkpoint.size(), Checkpoint::root(&checkpoint));
        Ok(Some(Self { key, size, root, cosigned }))
    }

    fn prove(
        &self,
        folder: &LogFolder,
        index: u64,
        leaf: &[u8],
        event: &Event,
    ) -> Result<Option<Minted>, FolderError> {
        let in_tree = |size: u64, root: &Hash| {
            let proof = inclusion_proof(index, size, &folder.hash_reader(size));
            proof.is_ok_and(|proof| {
                verify_inclusion(index, size, &leaf_hash(leaf), &proof, root).is_ok()
            })
        };
        if !in_tree(self.size, &self.root) {
            return Ok(None);
        }
        let cosigned = self.cosigned.as_ref();
        let cosigned = cosigned.is_some_and(|one| index < one.size && in_tree(one.size, &one.root));
        Ok(Some(Minted {
            origin: self.key.name().to_owned(),
            index,
            actor: event.text("/actor/id").map(str::to_owned),
            time_us: event.time_us,
            cosigned,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testlog::TestLog;

    fn log(data: &Path) -> (TestLog, u64) {
        let mut log = TestLog::new(data, 1);
        log.begin_boot();
        log.fill(300);
        let draft = log.draft(Kind::CredentialMinted).set("/detail/serial", "0a0b0c");
        let index = log.append(draft);
        log.fill(310);
        log.publish();
        (log, index)
    }

    #[test]
    fn a_serial_and_a_binding_have_many_forms_and_one_meaning() {
        let serial = Some(Named::Serial("a0b0c".to_owned()));
        for text in ["0a0b0c", "0A:0B:0C", "000a0b0c", " a0b0c "] {
            assert_eq!(Named::parse(text), serial, "{text}");
        }
        for text in ["", "xyz", "0a 0b", &"1".repeat(41), "loggia:log-binding:v1:a:b:c"] {
            assert_eq!(Named::parse(text), None, "{text}");
        }
        let text =
            format!("loggia:log-binding:v1:loggia.internal/main/nd_1/e1:7:{}", Hash([1; 32]));
        assert_eq!(Named::parse(&text).unwrap().to_string(), text);
    }

    #[test]
    fn what_the_log_minted_is_proven_and_nothing_else() {
        let data = tempfile::tempdir().unwrap();
        let (log, index) = log(data.path());
        let trust = Trust { keys: vec![log.vkey()], ..Trust::default() };
        let hash = leaf_hash(&log.entries[index as usize].0);
        let binding = |index: u64, leaf_hash: Hash| Named::Binding {
            origin: log.vkey().name().to_owned(),
            index,
            leaf_hash,
        };
        let asked = [
            Named::parse("0A:0B:0C").unwrap(),
            Named::parse("0a0b0d").unwrap(),
            binding(index, hash),
            binding(index - 1, hash),
            binding(index, Hash([3; 32])),
        ];
        let report = audit_credentials(data.path(), &asked, &trust).unwrap();
        let proven: Vec<bool> = report.found.iter().map(|(_, minted)| minted.is_some()).collect();
        assert_eq!(proven, [true, false, true, false, false]);
        assert_eq!(report.without_proof().count(), 3);
        assert_eq!(report.found[0].1.as_ref().unwrap().index, index);
        assert_eq!(report.to_json()[1]["proven"], false);
        assert!(matches!(
            audit_credentials(data.path(), &asked, &Trust::default()),
            Err(VerifyError::NoKey)
        ));
    }

    #[test]
    fn an_entry_that_was_slipped_in_proves_nothing() {
        let data = tempfile::tempdir().unwrap();
        let (log, index) = log(data.path());
        let trust = Trust { keys: vec![log.vkey()], ..Trust::default() };
        // The forger writes the entry into the bundle, and cannot sign the tree.
        let bundle = BundleId::in_tree(index / 256, log.size()).unwrap();
        let path = log.folder().entries_path(&bundle);
        let bytes = std::fs::read(&path).unwrap();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        assert!(text.contains("0a0b0c"));
        let forged: Vec<u8> = {
            let at = bytes.windows(6).position(|window| window == b"0a0b0c").unwrap();
            let mut forged = bytes.clone();
            forged[at..at + 6].copy_from_slice(b"0f0f0f");
            forged
        };
        std::fs::write(&path, forged).unwrap();
        let asked = [Named::parse("0f0f0f").unwrap()];
        let report = audit_credentials(data.path(), &asked, &trust).unwrap();
        assert_eq!(report.without_proof().count(), 1);
    }
}
