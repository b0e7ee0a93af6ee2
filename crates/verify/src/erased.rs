//! What is not there any more, and whether the log says why: an erasure covers what is disclosed
//! of its subject's events before it, a retention what is from before its time.
//!
//! State is kept for each subject, not for each event: what an erasure covers is everything below
//! it, so the last thing that is gone decides for all.

use crate::folder::LogFolder;
use crate::report::{Erased, Findings, Place, Verdict};
use loggia_model::catalogue::Kind;
use loggia_model::event::Event;
use loggia_model::id::{ActorId, EventId};
use loggia_model::value::Value;
use std::collections::{BTreeMap, HashMap};

/// What destroys: an event of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Erasure {
    /// What is disclosed of one subject, of all events before `index`.
    Subject { event: EventId, subject: ActorId, index: u64 },
    /// All disclosures, or recordings, from before a time.
    Until { event: EventId, recordings: bool, until_us: i64 },
}

impl Erasure {
    /// What the event at `index` destroys.
    pub(crate) fn of(event: &Event, index: u64) -> Option<Self> {
        match event.known_kind()? {
            Kind::ErasureStarted => {
                let subject = event.text("/detail/subject")?.parse().ok()?;
                Some(Self::Subject { event: event.id, subject, index })
            }
            Kind::RetentionStarted => {
                let recordings = match event.text("/detail/what")? {
                    "recordings" => true,
                    "disclosures" => false,
                    _ => return None,
                };
                let until_us = event.whole.at("/detail/until_us").and_then(Value::as_int)?;
                Some(Self::Until { event: event.id, recordings, until_us })
            }
            _ => None,
        }
    }
}

/// One thing that is gone: of whose event, where, from when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct GoneOne {
    pub(crate) actor: Option<ActorId>,
    pub(crate) index: u64,
    pub(crate) time_us: i64,
}

/// What is gone of one subject.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Gone {
    count: u64,
    first: u64,
    /// The file of the first of them, where it should have one of its own.
    file: Option<String>,
    last: u64,
    last_us: i64,
}

/// What is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sort {
    Disclosures,
    Keyless,
    Recordings,
}

impl Gone {
    /// What to say where nothing covers it.
    fn uncovered(&self, sort: Sort) -> String {
        let what = match (sort, self.count) {
            (Sort::Recordings, 1) => "missing: the log says that there was a recording".to_owned(),
            (Sort::Recordings, count) => {
                format!("missing: the log says that there were recordings, {count} of them")
            }
            (Sort::Disclosures, 1) => "missing: what was disclosed of this event".to_owned(),
            (Sort::Disclosures, count) => {
                format!("missing: what was disclosed of {count} events, the first of them this")
            }
            (Sort::Keyless, count) => format!(
                "what is disclosed lies under a key that is not here ({count} events): it was \
                 altered, or the key is lost"
            ),
        };
        format!("{what}; no erasure or retention in the log covers that")
    }
}

/// All that is gone of an epoch, of one sort.
#[derive(Debug, Clone, Default)]
pub(crate) struct AllGone(HashMap<Option<ActorId>, Gone>);

impl AllGone {
    /// Adds one, with the name of its file where it should have one of its own.
    pub(crate) fn add(&mut self, one: GoneOne, file: Option<String>) {
        let GoneOne { actor, index, time_us } = one;
        let fresh = Gone { count: 0, first: index, file: None, last: index, last_us: time_us };
        let gone = self.0.entry(actor).or_insert(fresh);
        gone.count += 1;
        if gone.count == 1 || index < gone.first {
            (gone.first, gone.file) = (index, file);
        }
        gone.last = gone.last.max(index);
        gone.last_us = gone.last_us.max(time_us);
    }
}

/// What one epoch has lost, and what it says was destroyed.
#[derive(Debug, Clone, Default)]
pub(crate) struct EpochErased {
    pub(crate) disclosures: AllGone,
    /// Disclosures that are there, under keys that are not.
    pub(crate) keyless: AllGone,
    pub(crate) recordings: AllGone,
    pub(crate) erasures: Vec<Erasure>,
}

/// Compares what is gone of an epoch with what it and `later` epochs say was destroyed.
pub(crate) fn settle(
    (label, folder, checked_size): (&str, &LogFolder, u64),
    gone: &EpochErased,
    later: &[&EpochErased],
    findings: &mut Findings,
) -> Vec<Erased> {
    let mut erased: BTreeMap<Option<EventId>, Erased> = BTreeMap::new();
    // A log that grew while it was read may say so in what was not read yet.
    let grew = || {
        let note = folder.checkpoint_bytes().ok().flatten();
        let size = note.and_then(|note| loggia_tlog::SignedNote::parse(&note).ok());
        let size = size.and_then(|note| loggia_tlog::Checkpoint::parse(note.text()).ok());
        size.is_some_and(|checkpoint| checkpoint.size() > checked_size)
    };
    for (all, sort) in [
        (&gone.disclosures, Sort::Disclosures),
        (&gone.keyless, Sort::Keyless),
        (&gone.recordings, Sort::Recordings),
    ] {
        let recordings = sort == Sort::Recordings;
        let mut sorted: Vec<_> = all.0.iter().collect();
        sorted.sort_by_key(|(_, gone)| gone.first);
        for (actor, one) in sorted {
            let cover = covering(*actor, one, recordings, gone, later);
            if let Some((event, subject)) = cover {
                let counted = erased.entry(Some(event)).or_insert_with(|| Erased {
                    under: Some(event.to_string()),
                    subject: subject.map(|subject| subject.to_string()),
                    ..Erased::default()
                });
                counted.count(recordings, one.count);
                continue;
            }
            if grew() {
                let counted = erased.entry(None).or_default();
                counted.count(recordings, one.count);
                continue;
            }
            let label = (!label.is_empty()).then(|| label.to_owned());
            let place = Place { file: one.file.clone().or(label), ..Place::entry(one.first) };
            let verdict = match sort {
                Sort::Keyless => Verdict::Tampered,
                Sort::Disclosures | Sort::Recordings => Verdict::Incomplete,
            };
            findings.add(verdict, place, one.uncovered(sort));
        }
    }
    erased.into_values().collect()
}

/// The event that covers all that is gone of one actor.
fn covering(
    actor: Option<ActorId>,
    gone: &Gone,
    recordings: bool,
    own: &EpochErased,
    later: &[&EpochErased],
) -> Option<(EventId, Option<ActorId>)> {
    let covers = |erasure: &Erasure, same_epoch: bool| match *erasure {
        Erasure::Subject { event, subject, index } => {
            let it = actor == Some(subject) && (!same_epoch || gone.last < index);
            it.then_some((event, Some(subject)))
        }
        Erasure::Until { event, recordings: of, until_us } => {
            (of == recordings && gone.last_us < until_us).then_some((event, None))
        }
    };
    let own = own.erasures.iter().find_map(|erasure| covers(erasure, true));
    let mut later = later.iter().flat_map(|epoch| &epoch.erasures);
    own.or_else(|| later.find_map(|erasure| covers(erasure, false)))
}
