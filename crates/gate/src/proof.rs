//! Values that prove that a step was taken. Their fields are private to this crate, so no other
//! code can make one; compile-fail tests in `tests/` hold that.

use bytes::Bytes;
use loggia_model::decision::{Decision, Effect};
use loggia_model::id::{EventId, SessionId};
use loggia_model::port::OnDisk;
use loggia_model::resource::{Account, Resource};
use loggia_model::{Actor, LeafHash};
use std::sync::Arc;

/// This actor may open this resource with this account: made from a decision that allows.
#[derive(Debug, Clone)]
pub struct Permit {
    actor: Actor,
    resource: Arc<Resource>,
    account: Account,
    database: Option<String>,
    decision: Decision,
}

impl Permit {
    /// A permit, where the decision allows; the decision itself otherwise.
    pub(crate) fn from_decision(
        decision: Decision,
        actor: Actor,
        resource: Arc<Resource>,
        account: Account,
        database: Option<String>,
    ) -> Result<Self, Decision> {
        match decision.effect {
            Effect::Allow => Ok(Self { actor, resource, account, database, decision }),
            Effect::Deny => Err(decision),
        }
    }

    /// Who.
    pub fn actor(&self) -> &Actor {
        &self.actor
    }

    /// To what.
    pub fn resource(&self) -> &Arc<Resource> {
        &self.resource
    }

    /// With which account on the target.
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// The database that was asked for, where one was.
    pub fn database(&self) -> Option<&str> {
        self.database.as_deref()
    }

    /// Why.
    pub fn decision(&self) -> &Decision {
        &self.decision
    }
}

/// An event is on disk: made from what the ledger answered to whoever waited for that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    on_disk: OnDisk,
}

impl Receipt {
    pub(crate) fn new(on_disk: OnDisk) -> Self {
        Self { on_disk }
    }

    /// Hash of the leaf.
    pub fn leaf_hash(&self) -> LeafHash {
        self.on_disk.leaf_hash
    }

    /// Index in the log.
    pub fn index(&self) -> u64 {
        self.on_disk.index
    }
}

/// What it takes to dial a target: a permit, and the receipt of the `session.start` that says so.
#[derive(Debug, Clone)]
pub struct Dial {
    permit: Arc<Permit>,
    receipt: Receipt,
    session: SessionId,
}

impl Dial {
    pub(crate) fn new(permit: Arc<Permit>, receipt: Receipt, session: SessionId) -> Self {
        Self { permit, receipt, session }
    }

    /// For which session.
    pub fn session(&self) -> SessionId {
        self.session
    }

    /// Who may reach what, with which account.
    pub fn permit(&self) -> &Permit {
        &self.permit
    }

    /// Where it is recorded.
    pub fn receipt(&self) -> &Receipt {
        &self.receipt
    }
}

/// What a frame of a protocol is to the record. Each codec puts every type of frame into exactly
/// one class; a type in none is opaque.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FrameClass {
    /// Has an effect: needs an event of its own.
    Action,
    /// Bulk data of an action: hashed and counted into the action's result.
    Part,
    /// Without an effect of its own.
    Neutral,
    /// Not understood: refused unless policy allows it, then recorded as such.
    Opaque,
}

/// A frame on its way to the target.
pub trait WireFrame {
    /// What goes to the target: bytes where the target is a stream of them, a message where a
    /// library of the protocol writes it.
    type Wire;
    /// Its class.
    fn class(&self) -> FrameClass;
    /// Where the target is a stream of bytes: how many at its front go on with a frame that one
    /// before it began. Bulk data alone may come in pieces; a piece is what began the frame, or
    /// says here that it goes on with it.
    fn lead_bytes(&self) -> usize {
        0
    }
    /// As it goes to the target.
    fn into_wire(self) -> Self::Wire;
}

/// A frame on its way, with what it says of itself.
#[derive(Debug)]
pub(crate) struct Placed<W> {
    pub(crate) class: FrameClass,
    pub(crate) lead_bytes: usize,
    pub(crate) wire: W,
}

impl<W> Placed<W> {
    pub(crate) fn of(frame: impl WireFrame<Wire = W>) -> Self {
        Self { class: frame.class(), lead_bytes: frame.lead_bytes(), wire: frame.into_wire() }
    }
}

/// Frames whose record is safe. The only thing a [`crate::TargetWriter`] takes.
#[derive(Debug)]
pub struct Recorded<W = Bytes> {
    pub(crate) frames: Vec<Placed<W>>,
}

/// An action of this session that was given to a [`crate::Batch`]. It names the action, for bulk
/// data and results, and proves nothing: a batch that is given up is never recorded. Where bulk
/// data goes on by itself, a [`RecordedAction`] is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ActionRef {
    pub(crate) event: EventId,
    pub(crate) batch: u64,
}

impl ActionRef {
    /// Id of the action's event.
    pub fn event(&self) -> EventId {
        self.event
    }
}

/// An action of this session whose record is safe: made from a commit that succeeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordedAction(pub(crate) ActionRef);

impl RecordedAction {
    /// Id of the action's event.
    pub fn event(&self) -> EventId {
        self.0.event
    }
}
