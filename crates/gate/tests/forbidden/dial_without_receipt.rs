//! Nobody but the spine puts a permit and a receipt together.
use loggia_gate::{Dial, Permit, Receipt};
use std::sync::Arc;

fn dial(permit: Arc<Permit>, receipt: Receipt) -> Dial {
    Dial { permit, receipt }
}

fn main() {}
