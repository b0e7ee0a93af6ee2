//! What was recorded once is forwarded once.
use loggia_gate::{Recorded, TargetWriter};

fn replay<W: tokio::io::AsyncWrite + Unpin>(writer: &mut TargetWriter<W>, recorded: Recorded) {
    writer.queue(recorded);
    writer.queue(recorded);
}

fn main() {}
