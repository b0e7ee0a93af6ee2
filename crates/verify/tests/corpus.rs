//! The fuzz targets `log` and `recording` on the stable toolchain.

#[path = "../../../fuzz/mutations.rs"]
mod mutations;

#[test]
fn the_corpus_and_its_mutations() {
    mutations::run("log", 200_000, loggia_verify::fuzz_one);
}

#[test]
fn the_corpus_of_recordings_and_its_mutations() {
    mutations::run("recording", 60_000, loggia_verify::fuzz_recording);
}
