//! The spine: every connection walks through the same phases, in this order, in [`spine`]:
//! accept, open, identify, decide, record, dial, relay, close.
//!
//! Authorization and recording are values that the next step needs in order to exist:
//! - a [`Permit`] is made here alone, from a decision that allows;
//! - a [`Receipt`] is made here alone, from an append that succeeded;
//! - [`Dial`] holds both, and a front end gets to the target only with it;
//! - [`Recorded`] owns the bytes that were recorded, and [`TargetWriter`] takes nothing else.
//!
//! A front end brings a [`Protocol`]: how to read the opening, how to refuse, how to dial, how to
//! relay. It knows neither policies nor the ledger.

mod batch;
mod limits;
mod listen;
mod metrics;
mod proof;
mod protocol;
mod recording;
mod refusal;
mod report;
mod sessions;
mod sources;
mod spine;
mod strangers;
mod target;
mod watch;

pub use batch::Batch;
pub use limits::{Limits, SessionLimits};
pub use listen::listen;
pub use metrics::GateMetrics;
pub use proof::{
    ActionRef, Dial, FrameClass, Permit, Receipt, Recorded, RecordedAction, WireFrame,
};
pub use protocol::{Dialled, EndReason, Ended, OpenFailure, Opened, Opening, Protocol};
pub use recording::Stream;
pub use sessions::{EndNotice, SessionView, Sessions};
pub use sources::{HangUp, Place, Sources};
pub use spine::{Spine, SpineParts};
pub use strangers::Strangers;
pub use target::{FrameBytes, MessageSink, Misframed, TargetWriter};
pub use watch::{EndSignal, Unrecorded, Watch};
