//! The parser of events and of what is disclosed of them.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| loggia_model::fuzz_one(data));
