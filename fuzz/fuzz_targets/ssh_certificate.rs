//! What an OpenSSH certificate says, behind its signature.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| loggia_identity::ssh::fuzz_one(data));
