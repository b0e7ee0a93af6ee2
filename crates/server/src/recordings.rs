//! Recordings meet the ledger here: what a boot records of those that the last one left open, and
//! what the log says of one that is to be read.

use loggia_gate::Sessions;
use loggia_ledger::LastWords;
use loggia_model::catalogue::Kind;
use loggia_model::id::SessionId;
use loggia_model::port::Fatal;
use loggia_model::{Event, Mint, PublicError};
use loggia_recordings::SessionRecords;
use loggia_store::Store;
use loggia_verify::recording::ledgered::Ledgered;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// The store and the spine as recordings ask them.
pub(crate) struct Records {
    pub(crate) store: Arc<Store>,
    pub(crate) sessions: Arc<Sessions>,
}

impl SessionRecords for Records {
    fn ledgered(
        &self,
        session: SessionId,
        gone: &Arc<AtomicBool>,
    ) -> Result<Ledgered, PublicError> {
        let mut ledgered = Ledgered::default();
        self.store.visit_session(session, &Ledgered::concerns, gone, &mut |entry| {
            if let Ok(event) = Event::parse(&entry.leaf) {
                ledgered.take(&event, &entry.disclosure);
            }
        })?;
        Ok(ledgered)
    }

    fn is_live(&self, session: SessionId) -> bool {
        self.sessions.is_open(session)
    }
}

/// What had been recorded of the sessions that the last boot left open, to be said in the ledger
/// before their ends. `fatal` as in the options of the ledger.
pub(crate) fn last_words(data: &Path, mint: &Mint, fatal: Fatal) -> LastWords {
    let (data, mint) = (data.to_owned(), mint.clone());
    Arc::new(move |sessions, log| {
        let grown = loggia_recordings::take_up(&data, sessions, log, &fatal).into_iter();
        grown
            .map(|(session, state)| {
                let draft = mint
                    .draft(Kind::RecordingGrown)
                    .set("/detail/frames", state.frames)
                    .set("/detail/bytes", state.bytes)
                    .set("/detail/root", loggia_tlog::Hash(state.root).to_hex())
                    .set("/detail/recovered", true);
                (session, draft)
            })
            .collect()
    })
}
