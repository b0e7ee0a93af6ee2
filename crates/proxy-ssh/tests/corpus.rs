//! The fuzz targets `sftp`, `scp` and `echo` on the stable toolchain.

use loggia_proxy_ssh::codec;

#[path = "../../../fuzz/mutations.rs"]
mod mutations;

#[test]
fn sftp() {
    mutations::run("sftp", 40_000, codec::fuzz_sftp);
}

#[test]
fn scp() {
    mutations::run("scp", 30_000, codec::fuzz_scp);
}

#[test]
fn echo() {
    mutations::run("echo", 15_000, codec::fuzz_echo);
}
