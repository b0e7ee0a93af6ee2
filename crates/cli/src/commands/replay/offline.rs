//! A recording from a folder, without a gateway: the log is verified first, then says what the
//! recording is held to.

use super::script::{Source, is_recording};
use super::told::Told;
use crate::fail::{Done, Fail, INCOMPLETE};
use loggia_api::audit::AuditEvent;
use loggia_model::Event;
use loggia_model::catalogue::Kind;
use loggia_model::id::SessionId;
use loggia_model::seal::Disclosure;
use loggia_model::value::Object;
use loggia_tlog::VerifierKey;
use loggia_verify::folder::LogEntry;
use loggia_verify::log::{Options, Trust};
use loggia_verify::recording::ledgered::Ledgered;
use loggia_verify::{LogFolder, Verdict, verify_folder};
use std::fs::File;
use std::path::{Path, PathBuf};

/// Entries of the log that are read at a time.
const READ_ENTRIES: usize = 2_048;

/// A recording on this machine.
pub(super) struct OnDisk {
    data: PathBuf,
    file: PathBuf,
    session: SessionId,
}

impl OnDisk {
    /// What a path names: a file in a data folder's `recordings/`, or `DATA/se_…`.
    pub(super) fn find(path: &Path) -> Done<Self> {
        let unknown = || {
            Fail::usage(format!("{} is neither a session nor a recording", path.display()))
                .hint("give a session's id, DATA/recordings/se_….rec or DATA/se_… with --key VKEY")
        };
        let session = path.file_stem().and_then(|name| name.to_str()?.parse().ok());
        let session: SessionId = session.ok_or_else(unknown)?;
        let folder = path.parent().ok_or_else(unknown)?;
        if path.is_file() {
            let data = folder.parent().filter(|_| folder.ends_with("recordings"));
            let data = data.ok_or_else(|| {
                unknown().hint("the file must lie in the recordings/ of its data folder")
            })?;
            return Ok(Self { data: data.to_owned(), file: path.to_owned(), session });
        }
        let file = folder.join("recordings").join(format!("{session}.rec"));
        Ok(Self { data: folder.to_owned(), file, session })
    }

    /// Verifies the log and opens the recording.
    pub(super) fn open(self, keys: Vec<VerifierKey>) -> Done<(Source, Told)> {
        let trust = Trust { keys, ..Trust::default() };
        let options = Options { recordings: false, ..Options::default() };
        let report = verify_folder(&self.data, &trust, options, &mut |_, _| {})
            .map_err(|error| Fail::usage(error.to_string()))?;
        let verdict = report.verdict();
        if matches!(verdict, Verdict::Tampered | Verdict::OtherOrigin) {
            return Err(Fail::with_exit(verdict.exit_code(), "the log itself does not hold")
                .hint(format!("loggia verify {} says what is wrong", self.data.display())));
        }
        let mut said = Said::default();
        for epoch in &report.epochs {
            let folder = LogFolder::open(self.data.join(&epoch.folder));
            let folder = folder.map_err(|error| Fail::new(error.to_string()))?;
            said.read(&folder, epoch.size, self.session)?;
        }
        let session = self.session;
        if !said.ledgered.begun {
            return Err(Fail::new(format!("the log knows of no recording of {session}")));
        }
        let held = said.ledgered.held(session).ok_or_else(|| {
            Fail::new("the recording was erased, or its keys are not here")
                .hint("`loggia verify` says what was erased, and under which event")
        })?;
        let file = File::open(&self.file).map_err(|error| {
            Fail::with_exit(INCOMPLETE, format!("{}: {error}", self.file.display()))
        })?;
        if !is_recording(&file) {
            return Err(Fail::with_exit(
                crate::fail::TAMPERED,
                format!("{} is no recording", self.file.display()),
            ));
        }
        let leaves = Some(self.file.with_extension("leaves"));
        let told = Told::new(session.to_string(), said.events);
        Ok((Source { file, held, leaves, limited: said.ledgered.limited }, told))
    }
}

/// What the log says of one session.
#[derive(Default)]
struct Said {
    ledgered: Ledgered,
    events: Vec<AuditEvent>,
}

impl Said {
    fn read(&mut self, folder: &LogFolder, size: u64, session: SessionId) -> Done {
        let mut at = 0;
        while at < size {
            let entries = folder.read(at, READ_ENTRIES, size);
            let entries = entries.map_err(|error| Fail::new(error.to_string()))?;
            if entries.is_empty() {
                return Ok(());
            }
            at += entries.len() as u64;
            for entry in entries {
                let entry = folder.reveal(entry).map_err(|error| Fail::new(error.to_string()))?;
                self.take(&entry, session);
            }
        }
        Ok(())
    }

    fn take(&mut self, entry: &LogEntry, session: SessionId) {
        let Ok(event) = Event::parse(&entry.leaf) else { return };
        if event.session.is_none_or(|place| place.id != session) {
            return;
        }
        let disclosure = entry.disclosure.as_deref().unwrap_or_default();
        self.ledgered.take(&event, disclosure);
        match event.known_kind() {
            Some(Kind::SshShell | Kind::SshExec | Kind::SshSubsystem) => {
                self.events.push(audit_event(&event, disclosure));
            }
            Some(Kind::SshResult) => {
                let of = event.text("/detail/of");
                let result = audit_event(&event, disclosure);
                if let Some(action) =
                    self.events.iter_mut().find(|action| Some(action.id.as_str()) == of)
                {
                    action.outcome = result.outcome;
                }
            }
            _ => {}
        }
    }
}

/// As much of an event as a headline needs.
fn audit_event(event: &Event, disclosure: &[u8]) -> AuditEvent {
    let json = |name: &str| {
        let bytes = event.whole.get(name).map(loggia_model::Value::to_bytes);
        let value = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        value.unwrap_or_default()
    };
    let mut told = AuditEvent {
        id: event.id.to_string(),
        kind: event.kind.clone(),
        detail: json("detail"),
        outcome: json("outcome"),
        ..AuditEvent::default()
    };
    let none = Object::new();
    let open = Disclosure::open(disclosure, event.sealed().unwrap_or(&none)).unwrap_or_default();
    for (pointer, value) in open.values {
        let Some((section, name)) = pointer.strip_prefix('/').and_then(|p| p.split_once('/'))
        else {
            continue;
        };
        let Ok(value) = serde_json::from_slice(&value.to_bytes()) else { continue };
        match section {
            "detail" => told.detail.insert(name.to_owned(), value),
            "outcome" => told.outcome.insert(name.to_owned(), value),
            _ => None,
        };
    }
    told
}
