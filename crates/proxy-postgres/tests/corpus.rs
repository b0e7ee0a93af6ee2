//! The fuzz target `codec` on the stable toolchain.

#[path = "../../../fuzz/mutations.rs"]
mod mutations;

#[test]
fn the_corpus_and_its_mutations() {
    mutations::run("codec", 200_000, loggia_proxy_postgres::codec::fuzz_one);
}
