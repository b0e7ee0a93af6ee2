//! The formats of the log: notes, keys, requests to witnesses, policies, proofs, paths.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| loggia_tlog::fuzz_one(data));
