//! The fuzz target `log` on the stable toolchain.

#[path = "../../../fuzz/mutations.rs"]
mod mutations;

#[test]
fn the_corpus_and_its_mutations() {
    mutations::run("log", 200_000, loggia_verify::fuzz_one);
}
