//! The observer of scp and the reader of commands over any bytes, whole and in pieces.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| loggia_proxy_ssh::codec::fuzz_scp(data));
