//! Batches: what goes to the target together, and is reported with one append.
//!
//! Nothing here sends anything. A batch that is dropped was neither reported nor forwarded, and
//! what it gave out as names of its actions is worth nothing then.

use crate::proof::{ActionRef, FrameClass, Placed, Recorded, RecordedAction, WireFrame};
use crate::watch::{Unrecorded, Watch};
use bytes::Bytes;
use loggia_model::catalogue::Kind;
use loggia_model::decision::Action;
use loggia_model::{Draft, EventDraft};
use std::sync::atomic::Ordering;

/// Batches with actions that a session may give up and still name those of the others.
const GIVEN_UP_MAX: usize = 1_024;

/// The batches of a session whose reports are not safe: those under way, and those given up.
#[derive(Debug, Default)]
pub(crate) struct Unsafe {
    last: u64,
    open: Vec<u64>,
}

impl Unsafe {
    fn begin(&mut self) -> u64 {
        self.last += 1;
        self.open.push(self.last);
        self.last
    }

    fn committed(&mut self, batch: u64) {
        self.open.retain(|open| *open != batch);
    }

    /// Whether the reports of a batch are safe. Where too many are not to remember more of them,
    /// none is: the bound holds, and what a front end does wrong stays wrong.
    fn is_safe(&self, batch: u64) -> bool {
        self.open.len() <= GIVEN_UP_MAX && !self.open.contains(&batch)
    }
}

/// Frames on their way, with the reports of those that are actions.
pub struct Batch<'a, W = Bytes> {
    watch: &'a Watch,
    /// Its number, once it has an action.
    number: Option<u64>,
    drafts: Vec<Draft>,
    frames: Vec<Placed<W>>,
    actions: u64,
}

impl Watch {
    /// Begins a batch of frames.
    pub fn batch<W>(&self) -> Batch<'_, W> {
        Batch { watch: self, number: None, drafts: Vec::new(), frames: Vec::new(), actions: 0 }
    }

    /// Reports one action and gives its frame back: a batch of one, with the proof that bulk data
    /// outside a batch needs.
    pub async fn record<F: WireFrame>(
        &self,
        action: Action,
        draft: EventDraft,
        frame: F,
    ) -> Result<(RecordedAction, Recorded<F::Wire>), Unrecorded> {
        let mut batch = self.batch();
        let given = batch.record(action, draft, frame)?;
        let recorded = batch.commit().await?;
        Ok((RecordedAction(given), recorded))
    }
}

impl<W> Batch<'_, W> {
    /// An event of the session, to be filled and given to [`Self::record`].
    pub fn draft(&self, kind: Kind) -> EventDraft {
        self.watch.draft(kind)
    }

    /// Adds an action with its report. Opaque frames need `Action::SqlOpaque` to be allowed.
    pub fn record(
        &mut self,
        action: Action,
        draft: EventDraft,
        frame: impl WireFrame<Wire = W>,
    ) -> Result<ActionRef, Unrecorded> {
        let class = frame.class();
        let fits = match class {
            FrameClass::Action => true,
            FrameClass::Opaque => action.is_opaque(),
            FrameClass::Part | FrameClass::Neutral => false,
        };
        if !fits {
            return Err(Unrecorded::WrongClass(class));
        }
        self.watch.permits(action)?;
        let given = self.report(draft, frame)?;
        self.actions += 1;
        Ok(given)
    }

    /// Adds a request to cancel what the session runs, with its report. No policy is asked: it
    /// only ever stops something, and the gateway must be able to.
    pub fn cancel(
        &mut self,
        draft: EventDraft,
        frame: impl WireFrame<Wire = W>,
    ) -> Result<ActionRef, Unrecorded> {
        let class = frame.class();
        if class != FrameClass::Action || !draft.kind().only_stops() {
            return Err(Unrecorded::WrongClass(class));
        }
        self.report(draft, frame)
    }

    fn report(
        &mut self,
        draft: EventDraft,
        frame: impl WireFrame<Wire = W>,
    ) -> Result<ActionRef, Unrecorded> {
        let event = draft.id();
        self.drafts.push(draft.encode().map_err(Unrecorded::TooLarge)?);
        self.frames.push(Placed::of(frame));
        let number = *self.number.get_or_insert_with(|| self.watch.not_safe.lock().begin());
        Ok(ActionRef { event, batch: number })
    }

    /// Adds bulk data of an action: of this batch, with which it is forwarded or not at all, or of
    /// an earlier one whose record is safe. The front end hashes and counts it into the action's
    /// result; nothing is kept of it here.
    pub fn part_of(
        &mut self,
        action: &ActionRef,
        frame: impl WireFrame<Wire = W>,
    ) -> Result<(), Unrecorded> {
        let own = self.number == Some(action.batch);
        if !own && !self.watch.not_safe.lock().is_safe(action.batch) {
            return Err(Unrecorded::NoAction);
        }
        self.add(FrameClass::Part, frame)
    }

    /// Adds a frame without an effect of its own.
    pub fn neutral(&mut self, frame: impl WireFrame<Wire = W>) -> Result<(), Unrecorded> {
        self.add(FrameClass::Neutral, frame)
    }

    fn add(
        &mut self,
        wanted: FrameClass,
        frame: impl WireFrame<Wire = W>,
    ) -> Result<(), Unrecorded> {
        let class = frame.class();
        if class != wanted {
            return Err(Unrecorded::WrongClass(class));
        }
        self.frames.push(Placed::of(frame));
        Ok(())
    }

    /// Whether nothing was added.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Makes the reports safe and gives the frames back, in order. On an error nothing of the
    /// batch may be forwarded, and nothing can be: the frames are gone.
    pub async fn commit(self) -> Result<Recorded<W>, Unrecorded> {
        if !self.drafts.is_empty() {
            self.watch.append(&self.drafts).await?;
            let live = &self.watch.parts.live;
            live.actions.fetch_add(self.actions, Ordering::Relaxed);
            live.last_action_us.store(self.watch.parts.mint.now_us(), Ordering::Relaxed);
            self.watch.parts.metrics.actions.inc_by(self.actions);
        }
        if let Some(number) = self.number {
            self.watch.not_safe.lock().committed(number);
        }
        Ok(Recorded { frames: self.frames })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_safe_once_it_is_committed_and_one_given_up_never_is() {
        let mut not_safe = Unsafe::default();
        let [first, given_up, last] = std::array::from_fn(|_| not_safe.begin());
        assert!(!not_safe.is_safe(first));
        not_safe.committed(first);
        not_safe.committed(last);
        let safe = [first, given_up, last].map(|batch| not_safe.is_safe(batch));
        assert_eq!(safe, [true, false, true]);
    }

    #[test]
    fn past_its_bound_nothing_is_taken_for_safe() {
        let mut not_safe = Unsafe::default();
        let committed = not_safe.begin();
        not_safe.committed(committed);
        for _ in 0..GIVEN_UP_MAX {
            not_safe.begin();
        }
        assert!(not_safe.is_safe(committed));
        not_safe.begin();
        assert!(!not_safe.is_safe(committed));
    }
}
