//! Recordings meet the ledger here: what a boot records of those that the last one left open.

use loggia_ledger::LastWords;
use loggia_model::Mint;
use loggia_model::catalogue::Kind;
use std::path::Path;
use std::sync::Arc;

/// What had been recorded of the sessions that the last boot left open, to be said in the ledger
/// before their ends.
pub(crate) fn last_words(data: &Path, mint: &Mint) -> LastWords {
    let (data, mint) = (data.to_owned(), mint.clone());
    Arc::new(move |sessions, log| {
        let grown = loggia_recordings::take_up(&data, sessions, log).into_iter();
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
