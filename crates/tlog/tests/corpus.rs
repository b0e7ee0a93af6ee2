//! The fuzz target `tlog` on the stable toolchain.

#[path = "../../../fuzz/mutations.rs"]
mod mutations;

#[test]
fn the_corpus_and_its_mutations() {
    mutations::run("tlog", 200_000, loggia_tlog::fuzz_one);
}
