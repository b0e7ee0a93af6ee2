//! The SFTP observer over any bytes of both sides, whole and in pieces.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| loggia_proxy_ssh::codec::fuzz_sftp(data));
