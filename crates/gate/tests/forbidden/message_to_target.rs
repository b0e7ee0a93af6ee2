//! A target that takes messages takes recorded ones alone.
use loggia_gate::{MessageSink, TargetWriter};

async fn smuggle<S: MessageSink>(writer: &mut TargetWriter<S>, message: S::Message) {
    let _ = writer.send(message).await;
}

fn main() {}
