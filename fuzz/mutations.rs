//! A small stand-in for a fuzzer that runs on the stable toolchain, in a test: the committed
//! corpus of a target, and so many mutations of it. Always the same ones, so that a failure comes
//! again.
//!
//! A test takes it in by its path; it is no crate, because nobody ships it.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "part of tests, where a panic is the message"
)]

use std::path::Path;

/// Runs `target` over the corpus in `fuzz/corpus/<name>` and over `rounds` mutations of it.
/// Names the input where the target panics.
pub(crate) fn run(name: &str, rounds: u32, target: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(name);
    let mut corpus: Vec<(String, Vec<u8>)> = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| {
            let entry = entry.unwrap();
            let name = entry.file_name().to_string_lossy().into_owned();
            (name, std::fs::read(entry.path()).unwrap())
        })
        .collect();
    corpus.sort();
    assert!(corpus.len() >= 12, "{} has only {} files", folder.display(), corpus.len());
    for (name, input) in &corpus {
        attempt(&format!("{name} as it is"), input, target);
    }
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for round in 0..rounds {
        let (name, input) = &corpus[random.below(corpus.len())];
        let (_, other) = &corpus[random.below(corpus.len())];
        let mut input = input.clone();
        for _ in 0..=random.below(4) {
            mutate(&mut input, other, &mut random);
        }
        attempt(&format!("{name}, mutated in round {round}"), &input, target);
    }
}

fn attempt(what: &str, input: &[u8], target: fn(&[u8])) {
    if let Err(panic) = std::panic::catch_unwind(|| target(input)) {
        eprintln!("the target panicked on {what}: {}", input.escape_ascii());
        std::panic::resume_unwind(panic);
    }
}

fn mutate(input: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    let place = random.below(input.len() + 1);
    let length = random.below(24).min(input.len() - place);
    match random.below(7) {
        0 if place < input.len() => input[place] ^= 1 << random.below(8),
        1 if place < input.len() => input[place] = random.below(256) as u8,
        // Lengths and counts stand at edges.
        2 if place < input.len() => input[place] = [0, 1, 0x7f, 0x80, 0xff][random.below(5)],
        3 => drop(input.drain(place..place + length)),
        4 => input.truncate(place),
        5 => {
            let again = input[place..place + length].to_vec();
            input.splice(place..place, again);
        }
        _ => {
            let from = random.below(other.len() + 1);
            let until = (from + random.below(64)).min(other.len());
            input.splice(place..place + length, other[from..until].iter().copied());
        }
    }
}

/// xorshift64* (Marsaglia 2003, Vigna 2014).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d);
        ((number >> 32) as usize) % bound
    }
}
