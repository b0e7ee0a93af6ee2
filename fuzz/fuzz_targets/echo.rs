//! The observer of a terminal's echo over any bytes of both sides.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| loggia_proxy_ssh::codec::fuzz_echo(data));
