//! What goes to the target, each with its class.

use crate::codec::class::class_of;
use crate::codec::encode;
use crate::codec::frame::{CopyPiece, Frame};
use crate::codec::startup::CancelKey;
use bytes::{Bytes, BytesMut};
use loggia_gate::{FrameClass, WireFrame};

/// Bytes on their way to the target, with what they are to the record.
#[derive(Debug)]
pub(super) struct Outgoing {
    class: FrameClass,
    /// Bytes at the front that go on with a message which was begun before.
    lead_bytes: usize,
    bytes: Bytes,
}

impl Outgoing {
    fn whole(class: FrameClass, bytes: Bytes) -> Self {
        Self { class, lead_bytes: 0, bytes }
    }

    /// A message of the client, as the closed list says.
    pub(super) fn message(frame: Frame) -> Self {
        Self::whole(class_of(frame.tag()), frame.into_wire())
    }

    /// The first Execute of a portal: part of its Bind, which stands in the record.
    pub(super) fn first_execute(frame: Frame) -> Self {
        Self::whole(FrameClass::Part, frame.into_wire())
    }

    /// COPY data.
    pub(super) fn copy(piece: CopyPiece) -> Self {
        let lead_bytes = piece.lead_bytes();
        Self { class: FrameClass::Part, lead_bytes, bytes: piece.into_wire() }
    }

    /// In place of a message that was refused: asks for a statement that does not exist, so that
    /// the server itself answers with an error in its turn, fails the transaction as it should,
    /// and skips what has to be skipped. Without an effect of its own.
    pub(super) fn refused(nonexistent: &[u8], with_sync: bool) -> Self {
        let mut out = BytesMut::new();
        encode::describe_statement(&mut out, nonexistent);
        if with_sync {
            encode::sync(&mut out);
        }
        Self::whole(FrameClass::Neutral, out.freeze())
    }

    /// The gateway's own goodbye to the target.
    pub(super) fn terminate() -> Self {
        let mut out = BytesMut::new();
        encode::terminate(&mut out);
        Self::whole(FrameClass::Neutral, out.freeze())
    }

    /// A request to cancel, for a connection of its own.
    pub(super) fn cancel(key: &CancelKey) -> Self {
        let mut out = BytesMut::new();
        encode::cancel_request(&mut out, key);
        Self::whole(FrameClass::Action, out.freeze())
    }

    /// No bytes: stands for what was agreed at start-up already, such as replication.
    pub(super) fn nothing_opaque() -> Self {
        Self::whole(FrameClass::Opaque, Bytes::new())
    }
}

impl WireFrame for Outgoing {
    type Wire = Bytes;
    fn class(&self) -> FrameClass {
        self.class
    }

    fn lead_bytes(&self) -> usize {
        self.lead_bytes
    }

    fn into_wire(self) -> Bytes {
        self.bytes
    }
}
