//! Counts and hashes the bytes of a file as they go by.

use super::operation::{Content, Run};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// The bytes that went one way between a client and a file.
///
/// Bytes that come in order are hashed where they lie. Bytes that come before their turn are kept
/// until it is theirs, within a budget that the caller shares out among its files.
#[derive(Debug, Default)]
pub(super) struct Tally {
    from: Option<u64>,
    next: u64,
    hash: Sha256,
    /// Bytes before their turn, by place; neither touching nor overlapping.
    early: BTreeMap<u64, Vec<u8>>,
    scattered: bool,
    arrived: u64,
    end: Option<u64>,
}

impl Tally {
    /// Says where the transfer begins, if it has not begun: at the first place that was asked for.
    pub(super) fn begin(&mut self, at: u64) {
        if self.from.is_none() {
            self.from = Some(at);
            self.next = at;
        }
    }

    /// Whether nothing was asked for, nor came.
    pub(super) fn is_untouched(&self) -> bool {
        self.from.is_none() && !self.scattered
    }

    /// Where the last byte stands that is hashed or kept, and one more.
    pub(super) fn reach(&self) -> u64 {
        let kept = self.early.last_key_value();
        let kept = kept.map_or(0, |(at, bytes)| at.saturating_add(bytes.len() as u64));
        kept.max(self.next)
    }

    /// Where the piece that is hashed ends.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// Takes bytes of the file that stand at `at`. `budget` is what may still be kept early, in
    /// bytes, by all who share it.
    pub(super) fn take(&mut self, at: u64, bytes: &[u8], budget: &mut usize) {
        if self.scattered || bytes.is_empty() {
            return;
        }
        self.begin(at);
        if at > self.next {
            return self.keep(at, bytes, budget);
        }
        if at < self.next {
            return self.scatter(budget);
        }
        self.hash(bytes);
        while let Some((&place, _)) = self.early.first_key_value() {
            if place > self.next {
                break;
            }
            let Some(kept) = self.early.remove(&place) else { break };
            *budget = budget.saturating_add(kept.len());
            if place < self.next {
                return self.scatter(budget);
            }
            self.hash(&kept);
        }
    }

    fn hash(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
        self.next = self.next.saturating_add(bytes.len() as u64);
    }

    fn keep(&mut self, at: u64, bytes: &[u8], budget: &mut usize) {
        let end = at.saturating_add(bytes.len() as u64);
        let overlaps_behind = self.early.range(at..).next().is_some_and(|(&place, _)| place < end);
        let mut before = self.early.range_mut(..at).next_back();
        let end_before =
            before.as_ref().map_or(0, |(place, kept)| place.saturating_add(kept.len() as u64));
        if overlaps_behind || end_before > at || bytes.len() > *budget {
            return self.scatter(budget);
        }
        *budget -= bytes.len();
        match &mut before {
            Some((_, kept)) if end_before == at => kept.extend_from_slice(bytes),
            _ => {
                self.early.insert(at, bytes.to_vec());
            }
        }
    }

    /// Gives up on an order, and gives back what was kept.
    pub(super) fn scatter(&mut self, budget: &mut usize) {
        self.scattered = true;
        for kept in std::mem::take(&mut self.early).into_values() {
            *budget = budget.saturating_add(kept.len());
        }
    }

    /// Counts bytes that arrived.
    pub(super) fn arrived(&mut self, bytes: u64) {
        self.arrived = self.arrived.saturating_add(bytes);
    }

    /// The target said that the file ends at or before `at`.
    pub(super) fn end_of_file(&mut self, at: u64) {
        self.begin(at);
        self.end = Some(self.end.map_or(at, |end| end.min(at)));
    }

    /// Whether the target said that the file ends where the hashed piece ends.
    pub(super) fn met_end(&self) -> bool {
        self.end == Some(self.next) && self.from == Some(0)
    }

    /// What came of it. `whole` says that the piece, if it begins at 0, is all of the file.
    /// Gives back what was kept.
    pub(super) fn finish(mut self, whole: bool, budget: &mut usize) -> Content {
        let missing = !self.early.is_empty();
        if missing || self.from.is_some_and(|from| self.next - from != self.arrived) {
            self.scatter(budget);
        }
        let from = self.from.unwrap_or(0);
        let whole = whole && from == 0;
        let run = if self.scattered {
            Run::Scattered
        } else if self.arrived == 0 && !whole {
            Run::Nothing
        } else {
            Run::InOrder { from: Some(from), whole, sha256: self.hash.finalize().into() }
        };
        Content { bytes: self.arrived, run }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sha256(bytes: &[u8]) -> [u8; 32] {
        Sha256::digest(bytes).into()
    }

    fn content(pieces: &[(u64, &[u8])], budget: &mut usize) -> Content {
        let mut tally = Tally::default();
        for (at, bytes) in pieces {
            tally.take(*at, bytes, budget);
            tally.arrived(bytes.len() as u64);
        }
        tally.finish(false, budget)
    }

    #[test]
    fn what_comes_twice_or_never_has_no_hash() {
        let budget = &mut 100;
        assert_eq!(content(&[(0, b"abc"), (1, b"b")], budget).run, Run::Scattered);
        assert_eq!(content(&[(0, b"abc"), (4, b"e")], budget).run, Run::Scattered);
        assert_eq!(content(&[(4, b"e"), (0, b"a")], budget).run, Run::Scattered);
        assert_eq!(content(&[(0, b"a"), (4, b"e"), (4, b"e")], budget).run, Run::Scattered);
        assert_eq!(content(&[(0, b"a"), (4, b"ef"), (3, b"de")], budget).run, Run::Scattered);
        assert_eq!(content(&[(0, b"a"), (4, b"ef"), (1, b"bcde")], budget).run, Run::Scattered);
        assert_eq!(*budget, 100, "all that was kept is given back");
    }

    #[test]
    fn a_piece_from_the_middle_is_hashed_as_such() {
        let found = content(&[(7, b"abc"), (10, b"de")], &mut 0);
        assert_eq!(found.bytes, 5);
        assert_eq!(
            found.run,
            Run::InOrder { from: Some(7), whole: false, sha256: sha256(b"abcde") }
        );
        assert_eq!(found.sha256_of_whole(), None);
        assert_eq!(found.sha256_of_part(), Some((Some(7), sha256(b"abcde"))));
    }

    #[test]
    fn beyond_the_budget_there_is_no_hash_but_a_count() {
        let budget = &mut 3;
        let found = content(&[(0, b"a"), (5, b"fghi"), (1, b"bcde")], budget);
        assert_eq!((found.bytes, found.run, *budget), (9, Run::Scattered, 3));
    }

    #[test]
    fn nothing_is_nothing_unless_the_file_is_known_to_be_empty() {
        assert_eq!(Tally::default().finish(false, &mut 0), Content::default());
        let run = Run::InOrder { from: Some(0), whole: true, sha256: sha256(b"") };
        assert_eq!(Tally::default().finish(true, &mut 0).run, run);
    }

    proptest! {
        /// Pieces in any order give the hash of the whole, once the first one was asked for first.
        #[test]
        fn any_order(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..20), 1..20),
                     order in prop::collection::vec(any::<u32>(), 20)) {
            let mut at = 0;
            let mut placed: Vec<(u32, u64, &[u8])> = Vec::new();
            for (piece, order) in pieces.iter().zip(&order) {
                placed.push((*order, at, piece));
                at += piece.len() as u64;
            }
            placed.sort();
            let mut tally = Tally::default();
            let mut budget = 400;
            tally.begin(0);
            for (_, at, piece) in placed {
                tally.take(at, piece, &mut budget);
                tally.arrived(piece.len() as u64);
            }
            let found = tally.finish(true, &mut budget);
            prop_assert_eq!(found.sha256_of_whole(), Some(sha256(&pieces.concat())));
            prop_assert_eq!(budget, 400);
        }
    }
}
