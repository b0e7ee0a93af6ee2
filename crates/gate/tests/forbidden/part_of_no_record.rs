//! Bulk data goes on alone only as part of an action whose record is safe: one that was given to a
//! batch may never be.
use loggia_gate::{ActionRef, Recorded, Watch, WireFrame};

fn smuggle<F: WireFrame>(watch: &Watch, given: &ActionRef, frame: F) -> Option<Recorded<F::Wire>> {
    watch.counted(given, frame).ok()
}

fn main() {}
