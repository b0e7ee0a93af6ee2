//! One epoch from its first entry to its last.

use super::bundle::{Bundles, Looked, bundles};
use super::cosigned::Brackets;
use super::head::Recorded;
use super::recordings::Recordings;
use super::rotated::{self, Rotated};
use super::tail::{self, Behind};
use super::tree::{Genuine, Grown, Tree};
use super::{Known, Link, Options, VerifyError, join};
use crate::erased::EpochErased;
use crate::folder::LogFolder;
use crate::report::{Disclosed, EpochReport, Findings, Place, Verdict};
use crate::session::{Chains, Gap};
use crate::witnessed::Cosigned;
use loggia_model::LeafHash;
use loggia_tlog::{Checkpoint, SignedNote, VerifierKey};
use std::path::Path;

/// Bundles that each thread looks at before the tree and the sessions take them in.
const BUNDLES_AT_ONCE: u64 = 16;
/// Gaps that are kept until it is known whether the log was altered, which would explain them.
const GAPS_KEPT: usize = 1_000;
/// Threads at most.
const THREADS_MAX: usize = 16;

/// What is checked, and against what.
pub(super) struct Subject<'a> {
    pub(super) root: &'a Path,
    pub(super) label: &'a str,
    pub(super) folder: &'a LogFolder,
    pub(super) checkpoint: &'a Checkpoint,
    /// Entries under `log/checkpoint`, where that is known.
    pub(super) published: Option<u64>,
    /// A larger checkpoint in the write-ahead log, whose tree is not all there.
    pub(super) newer: Option<&'a Recorded>,
    /// The checkpoint as it was signed.
    pub(super) note: &'a SignedNote,
    /// A key that has signed it.
    pub(super) key: &'a VerifierKey,
    /// Keys of the log that are known before it is read.
    pub(super) keys: &'a [VerifierKey],
    pub(super) known: &'a [Known],
    /// What witnesses saw, and when.
    pub(super) brackets: &'a Brackets,
    pub(super) cosigned: Option<Cosigned>,
    pub(super) options: Options,
}

/// What came of it.
pub(super) struct Outcome {
    pub(super) report: EpochReport,
    pub(super) links: Vec<Link>,
    pub(super) erased: EpochErased,
    /// All keys that the log has had, as far as they are known.
    pub(super) keys: Vec<VerifierKey>,
    /// The newest of them.
    pub(super) newest: VerifierKey,
    /// Whether every file of the tree is as it was signed.
    pub(super) whole: bool,
}

/// What is gathered from bundle to bundle.
struct Pass<'a> {
    tree: Tree<'a>,
    chains: Chains,
    gaps: Vec<Gap>,
    gaps_more: usize,
    links: Vec<Link>,
    rotations: Vec<Rotated>,
    disclosed: Disclosed,
    erased: EpochErased,
    unknown_kinds: u64,
    last_time_us: Option<i64>,
    recordings: Recordings<'a>,
    brackets: &'a Brackets,
    /// How many entries are outside them, and the first.
    outside: (u64, u64),
}

impl Subject<'_> {
    pub(super) fn check(
        &self,
        findings: &mut Findings,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Outcome, VerifyError> {
        let size = self.checkpoint.size();
        let looker =
            Bundles { root: self.root, folder: self.folder, size, events: self.options.events };
        let mut pass = self.begin(looker);
        self.all_bundles(looker, &mut pass, progress)?;
        pass.recordings.finish()?;
        let recordings = pass.recordings.counts;
        pass.erased.recordings = std::mem::take(&mut pass.recordings.gone);
        for (verdict, place, what) in std::mem::take(&mut pass.recordings.problems) {
            findings.add(verdict, place, what);
        }
        let Pass { tree, chains, mut gaps, gaps_more, links, rotations, disclosed, erased, .. } =
            pass;
        let grown = tree.finish(self.checkpoint.root())?;
        let altered = |problem: &&super::bundle::Problem| problem.0 == Verdict::Tampered;
        let whole = grown.problems.iter().find(altered).is_none();
        // In an altered log, only what leads to the signed root may name other keys.
        let genuine = grown.genuine != Genuine::Neither;
        let rotations = if genuine { rotations } else { Vec::new() };
        let judged = rotated::judge(self, &rotations, whole);
        let behind = tail::check(looker, self, &judged.keys, &grown)?;
        self.hold_to_known(&grown, &behind, findings);
        self.report_rotations(judged.problems, findings);
        for (verdict, place, what) in grown.problems.into_iter().chain(behind.problems) {
            findings.add(verdict, place, what);
        }
        let mut notes: Vec<String> = self.head_note().into_iter().chain(behind.notes).collect();
        notes.extend(judged.notes);
        notes.extend(notes_of(&chains, disclosed, pass.unknown_kinds));
        let outside_bracket = pass.outside.0;
        notes.extend(outside_note(pass.outside));
        if whole {
            // In a log that grows while it is read, the ends that a boot begins with may have been
            // published between the two readings, and so stand in neither.
            if behind.outrun.is_none() || !chains.beginning() {
                chains.finish(&behind.sessions_ended, &mut gaps);
            }
            self.report_gaps(gaps, gaps_more, findings);
        } else {
            notes.push("sessions were not judged, because the log was altered".to_owned());
        }
        let report = EpochReport {
            folder: self.label.to_owned(),
            origin: self.checkpoint.origin().to_owned(),
            size,
            root: self.checkpoint.root(),
            key: judged.newest.to_string(),
            last_time_us: pass.last_time_us,
            boots: chains.boots(),
            sessions_ended: chains.ended(),
            sessions_open: chains.open(),
            disclosed,
            erased: Vec::new(),
            recordings,
            unproven_tail: behind.unproven,
            cosigned: self.cosigned.clone(),
            outside_bracket,
            silences: chains.silences().count,
            notes,
        };
        let links = if genuine { links } else { Vec::new() };
        let (keys, newest) = (judged.keys, judged.newest);
        Ok(Outcome { report, links, erased, keys, newest, whole })
    }

    /// What is wrong with changes of the key; where one names no file, it is of the whole log.
    fn report_rotations(&self, problems: Vec<super::bundle::Problem>, findings: &mut Findings) {
        for (verdict, place, what) in problems {
            let place = Place { file: place.file.or_else(|| label_of(self.label)), ..place };
            findings.add(verdict, place, what);
        }
    }

    /// A pass over the bundles that has seen none yet.
    fn begin<'a>(&'a self, looker: Bundles<'a>) -> Pass<'a> {
        let known = self.known.iter().map(|known| known.size);
        let within = known.filter(|known| *known <= looker.size).collect();
        Pass {
            tree: Tree::new(looker, within),
            chains: Chains::default(),
            gaps: Vec::new(),
            gaps_more: 0,
            links: Vec::new(),
            rotations: Vec::new(),
            disclosed: Disclosed::default(),
            erased: EpochErased::default(),
            unknown_kinds: 0,
            last_time_us: None,
            recordings: Recordings::new(self.root, self.folder, self.options.recordings),
            brackets: self.brackets,
            outside: (0, 0),
        }
    }

    /// Looks at all bundles, several at a time, and takes them in in order. While one lot is
    /// taken in the next one is looked at.
    fn all_bundles(
        &self,
        looker: Bundles<'_>,
        pass: &mut Pass<'_>,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<(), VerifyError> {
        let threads = match self.options.threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            threads => threads,
        };
        let threads = threads.clamp(1, THREADS_MAX) as u64;
        let total = bundles(looker.size);
        let lot = threads * BUNDLES_AT_ONCE;
        let mut ready: Vec<Looked> = Vec::new();
        let mut next = 0;
        while next < total || !ready.is_empty() {
            let end = total.min(next + lot);
            ready = std::thread::scope(|scope| {
                let workers: Vec<_> = (0..threads)
                    .map(|worker| {
                        let mine = (next..end).skip(worker as usize).step_by(threads as usize);
                        scope.spawn(move || {
                            mine.map(|number| looker.look(number)).collect::<Result<Vec<_>, _>>()
                        })
                    })
                    .collect();
                for looked in ready.drain(..) {
                    pass.take(looked)?;
                }
                let mut parts = Vec::new();
                for worker in workers {
                    match worker.join() {
                        Ok(part) => parts.push(part?.into_iter()),
                        Err(panic) => std::panic::resume_unwind(panic),
                    }
                }
                Ok::<_, VerifyError>(in_turn(parts))
            })?;
            next = end;
            progress(pass.tree.size(), looker.size);
        }
        Ok(())
    }

    /// The log must still contain every tree that the verifier knows of.
    fn hold_to_known(&self, grown: &Grown, behind: &Behind, findings: &mut Findings) {
        let place = || Place::file(join(self.label, "log/checkpoint"));
        for Known { size, root } in self.known {
            let found = grown.roots.iter().chain(&behind.roots).find(|(at, _)| at == size);
            match found {
                Some((_, found)) if found == root => {}
                Some(_) if grown.genuine == Genuine::Neither => {}
                Some(_) => {
                    let what = format!(
                        "the first {size} entries are not those of the known checkpoint: \
                         the log was written anew"
                    );
                    findings.add(Verdict::Tampered, place(), what);
                }
                None => {
                    let here = self.checkpoint.size();
                    let what = format!(
                        "the log ends at {here} entries, the known checkpoint has {size}: \
                         its tail was cut"
                    );
                    findings.add(Verdict::Tampered, place(), what);
                }
            }
        }
    }

    fn report_gaps(&self, gaps: Vec<Gap>, more: usize, findings: &mut Findings) {
        let place = |index| Place { file: label_of(self.label), ..Place::entry(index) };
        for (index, what) in gaps {
            findings.add(Verdict::Incomplete, place(index), what);
        }
        if more > 0 {
            let what = format!("{more} more gaps");
            findings.add(Verdict::Incomplete, Place::default(), what);
        }
    }
}

impl Pass<'_> {
    fn take(&mut self, looked: Looked) -> Result<(), VerifyError> {
        self.tree.take(&looked)?;
        let first = looked.bundle.first_entry();
        for (position, (facts, hash)) in looked.facts.iter().zip(&looked.by_entries).enumerate() {
            let Some(facts) = facts else { continue };
            let index = first + position as u64;
            self.last_time_us = Some(facts.time_us());
            if self.brackets.excludes(index, facts.time_us()) {
                self.outside = match self.outside {
                    (0, _) => (1, index),
                    (count, first) => (count + 1, first),
                };
            }
            self.chains.take(index, LeafHash(hash.0), facts, &mut self.gaps);
            if self.gaps.len() > GAPS_KEPT {
                self.gaps_more += self.gaps.len() - GAPS_KEPT;
                self.gaps.truncate(GAPS_KEPT);
            }
        }
        self.tree.problems.extend(looked.problems);
        self.links.extend(looked.links);
        self.rotations.extend(looked.rotations);
        for (session, said, place) in &looked.recorded {
            self.recordings.take(*session, said, place)?;
        }
        looked.gone.into_iter().for_each(|one| self.erased.disclosures.add(one, None));
        for (one, file) in looked.keyless {
            self.erased.keyless.add(one, Some(file));
        }
        self.erased.erasures.extend(looked.erasures);
        self.disclosed.add(looked.disclosed);
        self.unknown_kinds += looked.unknown_kinds;
        Ok(())
    }
}

/// What to say of entries whose time the witnesses exclude: how many, and the first.
fn outside_note((count, first): (u64, u64)) -> Option<String> {
    (count > 0).then(|| {
        format!(
            "{count} entries, the first of them {first}, state a time at which they cannot have \
             come, as the witnesses saw it: the clock was wrong, or was set"
        )
    })
}

fn label_of(label: &str) -> Option<String> {
    (!label.is_empty()).then(|| label.to_owned())
}

/// One of each in turn, until all are empty.
fn in_turn<T>(mut parts: Vec<impl Iterator<Item = T>>) -> Vec<T> {
    let mut all = Vec::new();
    loop {
        let before = all.len();
        all.extend(parts.iter_mut().filter_map(Iterator::next));
        if all.len() == before {
            return all;
        }
    }
}

/// What is worth knowing of the events and not wrong.
fn notes_of(chains: &Chains, disclosed: Disclosed, unknown_kinds: u64) -> Vec<String> {
    let mut notes = Vec::new();
    let boots = chains.boots_skipped();
    if boots > 0 {
        notes.push(format!("{boots} boots left no entry: they ended before their first"));
    }
    let silences = chains.silences();
    if silences.count > 0 {
        notes.push(format!(
            "{} times a running gateway said for more than three minutes not that it lives, the \
             longest for {} s until entry {}: the machine slept, the gateway hung, or it was \
             kept from writing",
            silences.count,
            silences.longest_us / 1_000_000,
            silences.longest_at
        ));
    }
    if disclosed.files_missing > 0 {
        notes.push(format!(
            "the disclosures of {} bundles are missing, so their sealed fields cannot be read; \
             the check of the log does not need them",
            disclosed.files_missing
        ));
    }
    if unknown_kinds > 0 {
        notes.push(format!("{unknown_kinds} events are of kinds that this program does not know"));
    }
    notes
}
