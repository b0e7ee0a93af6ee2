//! Events as they come, one line each, for a terminal.

use loggia_model::Event;
use loggia_model::port::{Committed, Follow};
use loggia_model::seal::Disclosure;
use loggia_model::value::Object;
use std::sync::atomic::{AtomicU64, Ordering};

/// Prints each event to standard error.
#[derive(Default)]
pub(super) struct Shown {
    next: AtomicU64,
}

impl Follow for Shown {
    fn name(&self) -> &'static str {
        "shown"
    }

    fn cursor(&self) -> u64 {
        self.next.load(Ordering::Relaxed)
    }

    fn apply(&self, batch: &[Committed]) {
        for entry in batch {
            self.next.store(entry.index + 1, Ordering::Relaxed);
            if let Some(line) = line(entry) {
                eprintln!("{line}");
            }
        }
    }
}

/// One event in a line; what people typed is escaped, so that it cannot act on the terminal.
fn line(entry: &Committed) -> Option<String> {
    let event = Event::parse(&entry.leaf).ok()?;
    let none = Object::new();
    let open =
        Disclosure::open(&entry.disclosure, event.sealed().unwrap_or(&none)).unwrap_or_default();
    let opened = |pointer: &str| {
        let value = open.values.iter().find(|(path, _)| path == pointer);
        value.map(|(_, value)| value.display().escape_debug().to_string())
    };
    let what = opened("/detail/text")
        .or_else(|| opened("/detail/command"))
        .or_else(|| opened("/detail/path"))
        .or_else(|| opened("/outcome/message"))
        .or_else(|| event.text("/outcome/tag").map(str::to_owned))
        .or_else(|| event.text("/detail/reason").map(str::to_owned))
        .or_else(|| opened("/actor/name"))
        .unwrap_or_default();
    let seconds = event.time_us.div_euclid(1_000_000).rem_euclid(86_400);
    let (hours, minutes, seconds) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    let kind = &event.kind;
    Some(format!("{hours:02}:{minutes:02}:{seconds:02} {:>6} {kind:<18} {what}", entry.index))
}
