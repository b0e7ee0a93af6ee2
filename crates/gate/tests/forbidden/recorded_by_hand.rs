//! Recorded frames come from a batch that was committed.
use loggia_gate::Recorded;

fn forge() -> Recorded<()> {
    Recorded { frames: Vec::new() }
}

fn main() {}
