//! The way to the target takes recorded frames and no bytes.
use loggia_gate::TargetWriter;

fn smuggle<W: tokio::io::AsyncWrite + Unpin>(writer: &mut TargetWriter<W>, bytes: bytes::Bytes) {
    writer.queue(bytes);
}

fn main() {}
