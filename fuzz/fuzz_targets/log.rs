//! The readers of a log folder: write-ahead log, bundles, disclosures, notes, proofs.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| loggia_verify::fuzz_one(data));
