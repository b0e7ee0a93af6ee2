//! Recorded frames come from a batch that was committed.
use loggia_gate::Recorded;

fn forge(bytes: bytes::Bytes) -> Recorded {
    Recorded { frames: vec![bytes] }
}

fn main() {}
