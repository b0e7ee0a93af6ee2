//! What a check found, in plain words and as JSON.

use crate::witnessed::Cosigned;
use loggia_tlog::Hash;
use loggia_tlog::policy::Quorum;
use serde_json::{Value as Json, json};
use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Erasures that are named one by one in the text of a report.
const ERASED_SHOWN: usize = 50;
/// Findings of one severity that are kept; the others are counted.
const FINDINGS_KEPT: usize = 200;

/// The answer in one word. Its number is the exit code of `loggia verify`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// Everything that was checked holds.
    Intact,
    /// Something is missing that the log itself says was there, or nobody can have left out
    /// honestly.
    Incomplete,
    /// Fewer witnesses have cosigned than the auditor's policy asks for, or too long ago.
    NoQuorum,
    /// The log is not the one that the key belongs to, so nothing is proven.
    OtherOrigin,
    /// Something was altered after it was signed.
    Tampered,
}

impl Verdict {
    /// The exit code: 0, 10, 11 or 12.
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Intact => 0,
            Self::Tampered => 10,
            Self::Incomplete => 11,
            Self::OtherOrigin | Self::NoQuorum => 12,
        }
    }

    /// The word in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Intact => "intact",
            Self::Tampered => "tampered",
            Self::Incomplete => "incomplete",
            Self::OtherOrigin => "other_origin",
            Self::NoQuorum => "no_quorum",
        }
    }
}

/// Where something is wrong.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Place {
    /// The file, relative to the folder that was checked.
    pub file: Option<String>,
    /// Index of the entry.
    pub entry: Option<u64>,
    /// Where in the file, in bytes from its beginning.
    pub offset: Option<u64>,
}

impl Place {
    /// In a file.
    pub fn file(file: impl Into<String>) -> Self {
        Self { file: Some(file.into()), ..Self::default() }
    }

    /// At an entry, wherever it lies.
    pub fn entry(entry: u64) -> Self {
        Self { entry: Some(entry), ..Self::default() }
    }

    /// The same place, at this entry.
    pub fn at_entry(mut self, entry: u64) -> Self {
        self.entry = Some(entry);
        self
    }

    /// The same place, at this many bytes.
    pub fn at_offset(mut self, offset: usize) -> Self {
        self.offset = u64::try_from(offset).ok();
        self
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        if let Some(file) = &self.file {
            f.write_str(file)?;
            separator = ", ";
        }
        if let Some(entry) = self.entry {
            write!(f, "{separator}entry {entry}")?;
            separator = ", ";
        }
        match self.offset {
            Some(offset) => write!(f, "{separator}byte {offset}"),
            None => Ok(()),
        }
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What it means for the whole.
    pub verdict: Verdict,
    /// Where.
    pub place: Place,
    /// What.
    pub what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (verdict, place) = (self.verdict.as_str(), self.place.to_string());
        write!(f, "{verdict}: {}: {}", printable(&place), printable(&self.what))
    }
}

/// All that is wrong: the first of each severity, and how many more.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings {
    kept: Vec<Finding>,
    counts: [u64; 5],
}

impl Findings {
    /// Adds one.
    pub fn add(&mut self, verdict: Verdict, place: Place, what: impl Into<String>) {
        let Some(count) = self.counts.get_mut(verdict as usize) else { return };
        *count += 1;
        if *count <= FINDINGS_KEPT as u64 {
            self.kept.push(Finding { verdict, place, what: what.into() });
        }
    }

    /// Those that are kept, in the order in which they were found.
    pub fn kept(&self) -> &[Finding] {
        &self.kept
    }

    /// How many were found and not kept.
    pub fn more(&self) -> u64 {
        self.counts.iter().sum::<u64>() - self.kept.len() as u64
    }

    /// How many there are of one severity.
    pub fn count(&self, verdict: Verdict) -> u64 {
        self.counts.get(verdict as usize).copied().unwrap_or(0)
    }

    /// The worst of them; intact where there is none.
    pub fn verdict(&self) -> Verdict {
        [Verdict::Tampered, Verdict::OtherOrigin, Verdict::NoQuorum, Verdict::Incomplete]
            .into_iter()
            .find(|verdict| self.count(*verdict) > 0)
            .unwrap_or(Verdict::Intact)
    }
}

/// What was found of values that stand behind commitments.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Disclosed {
    /// Sealed fields in the log.
    pub sealed: u64,
    /// Those whose value is there and is what the log committed to.
    pub open: u64,
    /// Those of which nothing is there to read: erased, or closed under a key that is not here.
    pub undisclosed: u64,
    /// Those of them that lie there closed under a key that is not here, so that nothing tells
    /// whether they are what the log committed to.
    pub closed: u64,
    /// Those whose value should be in a file of its own that is not there.
    pub blobs_missing: u64,
    /// Files of disclosures that are not there although their bundle has sealed fields.
    pub files_missing: u64,
}

impl Disclosed {
    /// Adds up.
    pub(crate) fn add(&mut self, other: Self) {
        self.sealed += other.sealed;
        self.open += other.open;
        self.undisclosed += other.undisclosed;
        self.closed += other.closed;
        self.blobs_missing += other.blobs_missing;
        self.files_missing += other.files_missing;
    }
}

/// What was erased under one event of the log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Erased {
    /// Id of the `erasure.started` or `retention.started`; none where the log grew while it was
    /// read, so that it may stand in what was not read yet.
    pub under: Option<String>,
    /// Whose; none for what retention has destroyed.
    pub subject: Option<String>,
    /// Events whose disclosures are gone.
    pub disclosures: u64,
    /// Recordings that are gone.
    pub recordings: u64,
}

impl Erased {
    pub(crate) fn count(&mut self, recordings: bool, count: u64) {
        if recordings {
            self.recordings += count;
        } else {
            self.disclosures += count;
        }
    }
}

/// What was found of the recordings beside a log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Recordings {
    /// Those that were held to the log.
    pub checked: u64,
    /// Those of them that go on behind what the log claims of them.
    pub unproven_tails: u64,
    /// Those that nothing can be said of, because their salt is not disclosed.
    pub undisclosed: u64,
    /// Those that the log knows of and that do not lie beside this copy of it.
    pub elsewhere: u64,
}

/// What was checked of one epoch of a log, and until where it speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EpochReport {
    /// The folder, relative to the one that was checked; empty where it is that one.
    pub folder: String,
    /// Name of the log.
    pub origin: String,
    /// Entries under the checkpoint.
    pub size: u64,
    /// Root of their tree.
    pub root: Hash,
    /// Verification key of the log: the newest, where it changed.
    pub key: String,
    /// Time of the last of them, microseconds since 1970; unknown where events were not read.
    pub last_time_us: Option<i64>,
    /// Boots of the gateway in it.
    pub boots: u64,
    /// Sessions that began and ended.
    pub sessions_ended: u64,
    /// Sessions that were open at the end.
    pub sessions_open: u64,
    /// Sealed fields.
    pub disclosed: Disclosed,
    /// What is not there any more, by the event that says so.
    pub erased: Vec<Erased>,
    /// Recordings of sessions.
    pub recordings: Recordings,
    /// Entries that stand only in the write-ahead log, behind the checkpoint: nothing proves them.
    pub unproven_tail: Option<Range<u64>>,
    /// The checkpoint with the best cosignatures, where a policy was given.
    pub cosigned: Option<Cosigned>,
    /// Entries whose time is outside of what witnesses saw.
    pub outside_bracket: u64,
    /// Times that a running gateway gave no sign of life.
    pub silences: u64,
    /// What is worth knowing and not wrong.
    pub notes: Vec<String>,
}

/// The outcome of checking a folder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// The epochs that could be checked, oldest first.
    pub epochs: Vec<EpochReport>,
    /// What is wrong.
    pub findings: Findings,
    /// Whether events, sessions and disclosures were checked, or the tree alone.
    pub events_checked: bool,
    /// The auditor's quorum in words, where a policy was given.
    pub policy: Option<String>,
}

impl Report {
    /// The answer in one word.
    pub fn verdict(&self) -> Verdict {
        self.findings.verdict()
    }

    /// On whom the verdict rests: `cosigned` where a quorum of witnesses vouches for the newest
    /// epoch, else `operator_trusted_only`.
    pub fn trust(&self) -> &'static str {
        let cosigned = self.epochs.last().and_then(|epoch| epoch.cosigned.as_ref());
        match cosigned.map(|cosigned| cosigned.quorum) {
            Some(Quorum::Met) => "cosigned",
            _ => "operator_trusted_only",
        }
    }

    /// The report as one JSON object. Keys are only ever added.
    pub fn to_json(&self) -> Json {
        let findings = self.findings.kept().iter().map(|finding| {
            json!({
                "verdict": finding.verdict.as_str(),
                "file": finding.place.file,
                "entry": finding.place.entry,
                "offset": finding.place.offset,
                "what": finding.what,
            })
        });
        json!({
            "verdict": self.verdict().as_str(),
            "exit_code": self.verdict().exit_code(),
            "trust": self.trust(),
            "policy": self.policy,
            "events_checked": self.events_checked,
            "epochs": self.epochs.iter().map(EpochReport::to_json).collect::<Vec<_>>(),
            "findings": findings.collect::<Vec<_>>(),
            "findings_more": self.findings.more(),
        })
    }
}

impl EpochReport {
    /// Entries under the operator's signature alone.
    pub fn not_cosigned(&self) -> Option<Range<u64>> {
        let cosigned = self.cosigned.as_ref().filter(|one| one.quorum == Quorum::Met);
        let from = cosigned.map_or(0, |cosigned| cosigned.size.min(self.size));
        (from < self.size).then_some(from..self.size)
    }

    /// What can be read of what was typed, and what cannot.
    fn write_disclosed(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Disclosed { sealed, open, undisclosed, blobs_missing, closed, .. } = self.disclosed;
        if sealed > 0 {
            writeln!(
                f,
                "  of {sealed} sealed fields {open} are disclosed, {undisclosed} undisclosed"
            )?;
        }
        if closed > 0 {
            writeln!(
                f,
                "  {closed} of these lie closed under keys that are not here, and were not checked"
            )?;
        }
        self.write_erased(f)?;
        if blobs_missing > 0 {
            writeln!(f, "  {blobs_missing} large values are missing")?;
        }
        Ok(())
    }

    /// How much is not there any more, and what says so.
    fn write_erased(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for erased in self.erased.iter().take(ERASED_SHOWN) {
            write!(f, "  {} disclosures", erased.disclosures)?;
            if erased.recordings > 0 {
                write!(f, " and {} recordings", erased.recordings)?;
            }
            match (&erased.under, &erased.subject) {
                (Some(under), Some(subject)) => writeln!(f, " of {subject} erased under {under}")?,
                (Some(under), None) => writeln!(f, " erased by retention under {under}")?,
                (None, _) => writeln!(f, " gone while the log grew: check again")?,
            }
        }
        match self.erased.len().saturating_sub(ERASED_SHOWN) {
            0 => Ok(()),
            more => writeln!(f, "  and under {more} more erasures"),
        }
    }

    fn to_json(&self) -> Json {
        json!({
            "folder": self.folder,
            "origin": self.origin,
            "size": self.size,
            "root": self.root.to_base64(),
            "key": self.key,
            "last_time_us": self.last_time_us,
            "boots": self.boots,
            "sessions_ended": self.sessions_ended,
            "sessions_open": self.sessions_open,
            "sealed_fields": self.disclosed.sealed,
            "sealed_fields_open": self.disclosed.open,
            "sealed_fields_undisclosed": self.disclosed.undisclosed,
            "sealed_fields_closed": self.disclosed.closed,
            "erased": self.erased.iter().map(|erased| json!({
                "under": erased.under,
                "subject": erased.subject,
                "disclosures": erased.disclosures,
                "recordings": erased.recordings,
            })).collect::<Vec<_>>(),
            "blobs_missing": self.disclosed.blobs_missing,
            "disclosure_files_missing": self.disclosed.files_missing,
            "recordings_checked": self.recordings.checked,
            "recordings_unproven_tails": self.recordings.unproven_tails,
            "recordings_undisclosed": self.recordings.undisclosed,
            "recordings_elsewhere": self.recordings.elsewhere,
            "unproven_tail": self.unproven_tail.as_ref().map(|tail| [tail.start, tail.end]),
            "cosigned": self.cosigned.as_ref().map(Cosigned::to_json),
            "not_cosigned": self.not_cosigned().map(|range| [range.start, range.end]),
            "outside_bracket": self.outside_bracket,
            "silences": self.silences,
            "attested": false,
            "notes": self.notes,
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.verdict() {
            Verdict::Intact if self.trust() == "cosigned" => writeln!(
                f,
                "intact: nothing under the checkpoint was altered, and witnesses outside the \
                 operator's control vouch for what they have cosigned"
            )?,
            Verdict::Intact => writeln!(
                f,
                "intact: nothing under the checkpoint was altered, as far as the operator's key \
                 can show (operator-trusted only: {})",
                match self.policy {
                    None => "no policy says which witnesses count",
                    Some(_) => "the policy asks for no witness",
                }
            )?,
            Verdict::Tampered => writeln!(f, "TAMPERED: this is not what was signed")?,
            Verdict::Incomplete => {
                writeln!(f, "INCOMPLETE: nothing signed was altered, but something is missing")?;
            }
            Verdict::NoQuorum => {
                writeln!(f, "NOT PROVEN: fewer witnesses vouch for it than the policy asks for")?;
            }
            Verdict::OtherOrigin => {
                writeln!(f, "NOT PROVEN: the key is not the key of this log")?;
            }
        }
        for finding in self.findings.kept() {
            writeln!(f, "  {finding}")?;
        }
        if self.findings.more() > 0 {
            writeln!(f, "  and {} more", self.findings.more())?;
        }
        self.epochs.iter().try_for_each(|epoch| epoch.fmt(f))
    }
}

impl fmt::Display for EpochReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "log {}", printable(&self.origin))?;
        write!(f, "  speaks for entries 0 to {} (not included)", self.size)?;
        match self.last_time_us {
            Some(time_us) => writeln!(f, ", the last of {}", time_text(time_us))?,
            None => writeln!(f)?,
        }
        writeln!(f, "  root {}", self.root.to_base64())?;
        if let Some(cosigned) = &self.cosigned {
            writeln!(f, "  cosigned: entries 0 to {} by {cosigned}", cosigned.size)?;
            if let Some(range) = self.not_cosigned() {
                writeln!(
                    f,
                    "  not cosigned: entries {} to {}, operator-trusted only",
                    range.start, range.end
                )?;
            }
        }
        if self.boots > 0 {
            writeln!(
                f,
                "  {} boots, {} sessions ended, {} open at the end",
                self.boots, self.sessions_ended, self.sessions_open
            )?;
            writeln!(
                f,
                "  not attested: nobody but the gateway signs who acted and why they said they did"
            )?;
        }
        self.write_disclosed(f)?;
        let Recordings { checked, unproven_tails, undisclosed, elsewhere } = self.recordings;
        if checked > 0 {
            write!(f, "  {checked} recordings are checked")?;
            match unproven_tails {
                0 => writeln!(f)?,
                tails => writeln!(f, ", {tails} of them have an unproven tail")?,
            }
        }
        if undisclosed > 0 {
            writeln!(
                f,
                "  {undisclosed} recordings cannot be checked: their salts are not disclosed"
            )?;
        }
        if elsewhere > 0 {
            writeln!(f, "  {elsewhere} recordings do not lie beside this copy of the log")?;
        }
        if let Some(tail) = &self.unproven_tail {
            writeln!(
                f,
                "  unproven tail [{}..{}): in the write-ahead log, not yet under a checkpoint",
                tail.start, tail.end
            )?;
        }
        self.notes.iter().try_for_each(|note| writeln!(f, "  note: {}", printable(note)))
    }
}

/// Text for a terminal: what came out of files may hold sequences that command one.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    if !text.contains(char::is_control) {
        return Cow::Borrowed(text);
    }
    let mut clean = String::with_capacity(text.len() + 16);
    for letter in text.chars() {
        if letter.is_control() {
            clean.extend(letter.escape_unicode());
        } else {
            clean.push(letter);
        }
    }
    Cow::Owned(clean)
}

/// A time in UTC (RFC 3339), from microseconds since 1970.
pub(crate) fn time_text(time_us: i64) -> String {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(time_us) * 1000)
        .ok()
        .and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_else(|| format!("{time_us} µs since 1970"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_finding_decides_and_many_are_counted() {
        let mut findings = Findings::default();
        assert_eq!(findings.verdict().exit_code(), 0);
        for entry in 0..300 {
            findings.add(Verdict::Incomplete, Place::entry(entry), "gone");
        }
        assert_eq!((findings.verdict().exit_code(), findings.more()), (11, 100));
        findings.add(Verdict::OtherOrigin, Place::file("log/checkpoint"), "another");
        assert_eq!(findings.verdict().exit_code(), 12);
        findings.add(Verdict::Tampered, Place::file("a").at_entry(3).at_offset(9), "changed");
        assert_eq!(findings.verdict().exit_code(), 10);
        let last = findings.kept().last().unwrap().to_string();
        assert_eq!(last, "tampered: a, entry 3, byte 9: changed");
    }

    #[test]
    fn what_comes_from_files_commands_no_terminal() {
        let mut findings = Findings::default();
        findings.add(Verdict::Tampered, Place::file("a"), "at \u{1b}[2J\n");
        assert_eq!(findings.kept()[0].to_string(), "tampered: a: at \\u{1b}[2J\\u{a}");
    }

    #[test]
    fn a_time_is_readable() {
        assert_eq!(time_text(1_790_000_000_000_001), "2026-09-21T14:13:20.000001Z");
        assert!(time_text(i64::MAX).contains("since 1970"));
    }
}
