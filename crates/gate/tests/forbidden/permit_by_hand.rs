//! A permit comes from a decision that allows, in the spine, and from nowhere else.
use loggia_gate::Permit;

fn forge(decision: loggia_model::decision::Decision) -> Permit {
    Permit { decision }
}

fn main() {}
