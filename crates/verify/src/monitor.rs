//! Watching a log over time, without reading its entries: that it only grows, and that witnesses
//! were shown the same log as the one who asks here.

use crate::report::{Findings, Place, Verdict, printable};
use crate::signed::{self, Signed};
use crate::witnessed::{Cosigned, WitnessTrust};
use loggia_tlog::merkle::{MerkleError, ProveError, consistency_proof, verify_consistency};
use loggia_tlog::policy::Quorum;
use loggia_tlog::{Checkpoint, HashReader, SignedNote, VerifierKey};
use serde_json::{Value as Json, json};
use std::fmt;

/// What a log and its witnesses show now.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// The newest checkpoint.
    pub checkpoint: Vec<u8>,
    /// The newest one that enough witnesses have cosigned, where the log shows one.
    pub cosigned: Option<Vec<u8>>,
    /// The checkpoint that was seen the last time.
    pub remembered: Option<Vec<u8>>,
    /// Names of witnesses and the checkpoints of this log that they show; absent where one shows
    /// none.
    pub copies: Vec<(String, Option<Vec<u8>>)>,
}

/// What came of it.
#[derive(Debug, Clone, Default)]
pub struct Monitored {
    /// Name of the log.
    pub origin: String,
    /// Entries under its newest checkpoint.
    pub size: u64,
    /// Entries that it had the last time.
    pub remembered_size: Option<u64>,
    /// The checkpoint with the best cosignatures.
    pub cosigned: Option<Cosigned>,
    /// Names of witnesses, and how many entries of this log they have seen.
    pub copies: Vec<(String, Option<u64>)>,
    /// What is wrong.
    pub findings: Findings,
    /// Whether what is shown continues all that was seen: then it is to be remembered.
    pub continues: bool,
    trust: &'static str,
}

/// Compares what is shown now with what was seen, and with what witnesses have seen. `tree` reads
/// the hashes of the log's tree of a size; what it gives need not be trusted.
pub fn monitor<R: HashReader>(
    seen: &Seen,
    keys: &[VerifierKey],
    witnesses: Option<&WitnessTrust>,
    tree: impl Fn(u64) -> R,
) -> Monitored
where
    R::Error: fmt::Display,
{
    let mut monitored = Monitored { trust: "operator_trusted_only", ..Monitored::default() };
    let place = || Place::file("checkpoint");
    let signed::By { checkpoint: newest, key, .. } = match signed::read(&seen.checkpoint, keys) {
        Signed::By(signed) => *signed,
        Signed::Altered(why) | Signed::OtherKey(why) => {
            monitored.findings.add(Verdict::Tampered, place(), why);
            return monitored;
        }
        Signed::Foreign(origin) => {
            let what = format!("this is the log {origin}, whose key was not given");
            monitored.findings.add(Verdict::OtherOrigin, place(), what);
            return monitored;
        }
    };
    monitored.origin = newest.origin().to_owned();
    monitored.size = newest.size();
    let watched = Watched { newest: &newest, keys, tree };
    if let Some(bytes) = &seen.remembered {
        monitored.remembered_size =
            watched.hold(bytes, "what was seen before", &mut monitored.findings);
    }
    for (witness, bytes) in &seen.copies {
        let place = format!("the copy of the witness {witness}");
        let of_this_log = |bytes: &&Vec<u8>| {
            let claimed = SignedNote::parse(bytes).ok().map(|note| Checkpoint::parse(note.text()));
            !matches!(claimed, Some(Ok(claimed)) if claimed.origin() != newest.origin())
        };
        let size = bytes.as_ref().filter(of_this_log);
        let size = size.and_then(|bytes| watched.hold(bytes, &place, &mut monitored.findings));
        monitored.copies.push((witness.clone(), size));
    }
    if let Some(bytes) = &seen.cosigned {
        watched.hold(bytes, "cosigned", &mut monitored.findings);
    }
    monitored.continues = monitored.findings.verdict() == Verdict::Intact;
    if let Some(witnesses) = witnesses {
        monitored.judge(seen, &key, witnesses);
    }
    monitored
}

struct Watched<'a, T> {
    newest: &'a Checkpoint,
    keys: &'a [VerifierKey],
    tree: T,
}

impl<T, R> Watched<'_, T>
where
    T: Fn(u64) -> R,
    R: HashReader,
    R::Error: fmt::Display,
{
    /// Checks that the newest tree continues the one of this note; gives its size where the log has
    /// signed it.
    fn hold(&self, note: &[u8], place: &str, findings: &mut Findings) -> Option<u64> {
        let at = || Place::file(place);
        // Only what the log itself has signed binds it.
        let what = match signed::read(note, self.keys) {
            Signed::By(signed) if signed.key.name() == self.newest.origin() => Ok(signed),
            Signed::By(_) | Signed::Foreign(_) => Err("another log's".to_owned()),
            Signed::Altered(why) | Signed::OtherKey(why) => Err(why),
        };
        let earlier = match what {
            Ok(signed) => signed.checkpoint,
            Err(why) => {
                let what = format!("not a checkpoint of this log: {why}");
                findings.add(Verdict::Incomplete, at(), what);
                return None;
            }
        };
        let (old, new) = (earlier.size(), self.newest.size());
        if old > new {
            let what = format!(
                "it has {old} entries, the log shows only {new}: an old copy of it is shown here, \
                 or its tail was cut"
            );
            findings.add(Verdict::Tampered, at(), what);
            return Some(old);
        }
        let (old_root, new_root) = (earlier.root(), self.newest.root());
        let held = match consistency_proof(old, new, &(self.tree)(new)) {
            Ok(proof) => verify_consistency(old, &old_root, new, &new_root, &proof),
            Err(ProveError::Request(error)) => Err(error),
            Err(ProveError::Read(error)) => {
                let what = format!("its tree cannot be read: {error}");
                findings.add(Verdict::Incomplete, at(), what);
                return Some(old);
            }
        };
        match held {
            Ok(()) => {}
            Err(MerkleError::RootMismatch) if old != new => {
                let what = "the tiles of the log do not lead to its checkpoint".to_owned();
                findings.add(Verdict::Tampered, at(), what);
            }
            Err(_) => {
                let what = format!(
                    "A FORK: the log has signed another tree of {old} entries than the one that \
                     it shows here"
                );
                findings.add(Verdict::Tampered, at(), what);
            }
        }
        Some(old)
    }
}

impl Monitored {
    fn judge(&mut self, seen: &Seen, key: &VerifierKey, witnesses: &WitnessTrust) {
        let notes = [("cosigned", seen.cosigned.as_ref()), ("checkpoint", Some(&seen.checkpoint))];
        for (name, bytes) in notes {
            let Some(Ok(note)) = bytes.map(|bytes| SignedNote::parse(bytes)) else { continue };
            match witnesses.judge(&note, key) {
                Ok(cosigned) if cosigned.better_than(self.cosigned.as_ref()) => {
                    self.cosigned = Some(cosigned);
                }
                Ok(_) => {}
                Err(why) => self.findings.add(Verdict::Tampered, Place::file(name), why),
            }
        }
        let quorum = self.cosigned.as_ref().map(|cosigned| cosigned.quorum);
        match quorum.unwrap_or_else(|| witnesses.policy.quorum(&[])) {
            Quorum::Met => self.trust = "cosigned",
            Quorum::NotAsked => {}
            Quorum::NotMet => {
                let by = self.cosigned.as_ref().map(ToString::to_string).unwrap_or_default();
                let what = format!("the policy asks for {}; cosigned by {by}", witnesses.policy);
                self.findings.add(Verdict::NoQuorum, Place::file("cosigned"), what);
            }
        }
    }

    /// The answer in one word.
    pub fn verdict(&self) -> Verdict {
        self.findings.verdict()
    }

    /// The same as one JSON object. Keys are only ever added.
    pub fn to_json(&self) -> Json {
        let copies = self.copies.iter();
        let copies = copies.map(|(witness, size)| json!({ "witness": witness, "size": size }));
        let findings = self.findings.kept().iter().map(|finding| {
            json!({
                "verdict": finding.verdict.as_str(),
                "place": finding.place.file,
                "what": finding.what,
            })
        });
        json!({
            "verdict": self.verdict().as_str(),
            "exit_code": self.verdict().exit_code(),
            "trust": self.trust,
            "origin": self.origin,
            "size": self.size,
            "remembered_size": self.remembered_size,
            "cosigned": self.cosigned.as_ref().map(Cosigned::to_json),
            "copies": copies.collect::<Vec<_>>(),
            "findings": findings.collect::<Vec<_>>(),
        })
    }
}

impl fmt::Display for Monitored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = self.verdict().as_str();
        write!(f, "{word}: log {} has {} entries", printable(&self.origin), self.size)?;
        match self.remembered_size {
            Some(before) if self.continues => write!(f, ", continues the {before} seen before")?,
            Some(_) => {}
            None => write!(f, ", seen for the first time")?,
        }
        match &self.cosigned {
            Some(cosigned) => write!(f, "; the first {} cosigned by {cosigned}", cosigned.size)?,
            None => write!(f, "; operator-trusted only")?,
        }
        for (witness, size) in &self.copies {
            match size {
                Some(size) => write!(f, "; {} has seen {size}", printable(witness))?,
                None => write!(f, "; {} shows nothing of it", printable(witness))?,
            }
        }
        self.findings.kept().iter().try_for_each(|finding| write!(f, "\n  {finding}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testlog::TestLog;
    use loggia_tlog::SigningKey;

    fn seen(log: &TestLog, size: u64) -> Seen {
        Seen { checkpoint: log.checkpoint(size), ..Seen::default() }
    }

    fn run(log: &TestLog, seen: &Seen) -> Monitored {
        let folder = log.folder();
        monitor(seen, &[log.vkey()], None, |size| folder.hash_reader(size))
    }

    fn published(data: &std::path::Path, size: u64) -> TestLog {
        let mut log = TestLog::new(data, 1);
        log.begin_boot();
        log.fill(size);
        log.publish();
        log
    }

    #[test]
    fn a_log_that_grows_continues_what_was_seen() {
        let data = tempfile::tempdir().unwrap();
        let log = published(data.path(), 400);
        let first = run(&log, &seen(&log, 400));
        assert_eq!((first.verdict(), first.continues), (Verdict::Intact, true), "{first}");
        assert!(first.to_string().contains("seen for the first time"), "{first}");
        for before in [0, 1, 255, 256, 257, 400] {
            let copies = vec![("w".into(), Some(log.checkpoint(300))), ("v".into(), None)];
            let remembered = Some(log.checkpoint(before));
            let later = run(&log, &Seen { remembered, copies, ..seen(&log, 400) });
            assert_eq!(later.verdict(), Verdict::Intact, "{later}");
            assert_eq!(later.remembered_size, Some(before));
            assert_eq!(later.copies, [("w".into(), Some(300)), ("v".into(), None)]);
        }
    }

    #[test]
    fn what_was_seen_or_witnessed_cannot_be_taken_back() {
        let data = tempfile::tempdir().unwrap();
        let log = published(data.path(), 400);
        let other_data = tempfile::tempdir().unwrap();
        let key = SigningKey::parse(&log.key.private_text()).unwrap();
        let mut other = TestLog::with_key(other_data.path(), 1, key);
        other.begin_boot();
        other.session(3);
        other.fill(500);
        other.publish();

        // Shorter than what was seen: an old copy, or a cut tail.
        let known = log.checkpoint(400);
        let cut = Seen { remembered: Some(known.clone()), ..seen(&log, 300) };
        let cut = run(&log, &cut);
        assert_eq!((cut.verdict(), cut.continues), (Verdict::Tampered, false), "{cut}");
        // Longer, of another history: seen by us, or only by a witness.
        let remembered = Some(known.clone());
        let forked = run(&other, &Seen { remembered, ..seen(&other, 500) });
        assert!(forked.to_string().contains("A FORK"), "{forked}");
        let copies = vec![("auditor".into(), Some(known))];
        let forked = run(&other, &Seen { copies, ..seen(&other, 500) });
        assert_eq!(forked.verdict(), Verdict::Tampered);
        assert!(forked.to_string().contains("the witness auditor"), "{forked}");
        // Two trees of one size.
        let remembered = Some(log.checkpoint(400));
        let same_size = run(&other, &Seen { remembered, ..seen(&other, 400) });
        assert!(same_size.to_string().contains("A FORK"), "{same_size}");
        // What a witness shows and the log never signed accuses nobody but the witness.
        let copies = vec![("w".into(), Some(b"nonsense".to_vec()))];
        let strange = run(&log, &Seen { copies, ..seen(&log, 400) });
        assert_eq!(strange.verdict(), Verdict::Incomplete, "{strange}");
    }

    #[test]
    fn another_log_and_a_forged_checkpoint() {
        let data = tempfile::tempdir().unwrap();
        let log = published(data.path(), 40);
        let stranger = SigningKey::from_seed("other.example", &[5; 32]).unwrap();
        let folder = log.folder();
        let shown = seen(&log, 40);
        let keys = [stranger.verifier().clone()];
        let foreign = monitor(&shown, &keys, None, |size| folder.hash_reader(size));
        assert_eq!(foreign.verdict().exit_code(), 12);
        let mut forged = shown;
        let at = forged.checkpoint.len() - 20;
        forged.checkpoint[at] ^= 1;
        assert_eq!(run(&log, &forged).verdict(), Verdict::Tampered);
    }
}
