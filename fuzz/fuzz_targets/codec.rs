//! The PostgreSQL codec over any bytes, in both directions, whole and split.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| loggia_proxy_postgres::codec::fuzz_one(data));
