//! The reader of recordings.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| loggia_verify::fuzz_recording(data));
