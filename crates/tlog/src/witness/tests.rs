use proptest::prelude::*;

use super::*;
use crate::hash::leaf_hash;
use crate::merkle::{CompactRange, HashReader, consistency_proof};
use crate::note::SigningKey;

/// Every perfect subtree of a small log, computed anew.
struct Tree(Vec<Hash>);

impl Tree {
    fn of(branch: &str, size: u64) -> Self {
        Self((0..size).map(|index| leaf_hash(format!("{branch}{index}").as_bytes())).collect())
    }

    fn seen(&self, size: u64) -> Seen {
        let mut range = CompactRange::new();
        self.0.iter().take(size as usize).for_each(|leaf| range.append(*leaf));
        Seen { size, root: range.root() }
    }
}

impl HashReader for Tree {
    type Error = ();

    fn read(&self, level: u8, index: u64) -> Result<Hash, ()> {
        let (start, end) = (index << level, (index + 1) << level);
        let mut range = CompactRange::new();
        let leaves = self.0.get(start as usize..end as usize).ok_or(())?;
        leaves.iter().for_each(|leaf| range.append(*leaf));
        Ok(range.root())
    }
}

fn key() -> SigningKey {
    SigningKey::from_seed("log.example", &[1; 32]).unwrap()
}

fn request(tree: &Tree, old_size: u64, size: u64) -> AddCheckpoint {
    let Seen { root, .. } = tree.seen(size);
    let checkpoint = Checkpoint::new("log.example", size, root).unwrap().sign(&key()).unwrap();
    let proof = consistency_proof(old_size, size, tree).unwrap();
    AddCheckpoint { old_size, proof, checkpoint }
}

fn judged(request: &AddCheckpoint, seen: Option<&Seen>) -> Result<u64, u16> {
    let keys = [key().verifier().clone()];
    match judge(request, &keys, seen) {
        Ok(checkpoint) => Ok(checkpoint.size()),
        Err(refusal) => Err(refusal.status()),
    }
}

#[test]
fn a_growing_log_is_cosigned() {
    let tree = Tree::of("a", 40);
    assert_eq!(judged(&request(&tree, 0, 0), None), Ok(0));
    assert_eq!(judged(&request(&tree, 0, 5), None), Ok(5));
    let seen = tree.seen(5);
    assert_eq!(judged(&request(&tree, 5, 5), Some(&seen)), Ok(5));
    assert_eq!(judged(&request(&tree, 5, 40), Some(&seen)), Ok(40));
}

#[test]
fn a_log_that_does_not_know_where_the_witness_is_gets_told() {
    let tree = Tree::of("a", 40);
    let seen = tree.seen(5);
    let keys = [key().verifier().clone()];
    for old in [0, 4, 6] {
        let refusal = judge(&request(&tree, old, 40), &keys, Some(&seen)).unwrap_err();
        assert_eq!((refusal.status(), &refusal), (409, &Refusal::OldSize { seen: 5 }));
    }
    // Also one that is behind: the witness has seen more than it has.
    assert_eq!(judged(&request(&tree, 3, 3), Some(&seen)), Err(409));
}

#[test]
fn a_fork_is_refused_and_recognised() {
    let (tree, fork) = (Tree::of("a", 40), Tree::of("b", 40));
    let seen = tree.seen(5);
    for size in [6, 40] {
        assert_eq!(judged(&request(&fork, 5, size), Some(&seen)), Err(422));
    }
    let same_size = request(&fork, 5, 5);
    assert_eq!(judged(&same_size, Some(&seen)), Err(422));
    let keys = [key().verifier().clone()];
    let signed = signed(&same_size.checkpoint, &keys).unwrap();
    assert!(contradicts(&seen, &signed));
    assert!(!contradicts(&tree.seen(4), &signed));
    // From nothing every tree is the first; with a proof beside it the request is false.
    assert_eq!(judged(&request(&fork, 0, 40), None), Ok(40));
    let with_proof = AddCheckpoint { old_size: 0, ..request(&fork, 5, 40) };
    assert_eq!(judged(&with_proof, None), Err(422));
}

#[test]
fn signatures_and_names_are_checked_before_sizes() {
    let tree = Tree::of("a", 40);
    let good = request(&tree, 0, 5);
    let other = SigningKey::from_seed("log.example", &[2; 32]).unwrap();
    let keys = [other.verifier().clone()];
    assert_eq!(judge(&good, &keys, None).unwrap_err().status(), 403);
    let foreign = SigningKey::from_seed("other.example", &[2; 32]).unwrap();
    let keys = [foreign.verifier().clone()];
    assert_eq!(judge(&good, &keys, None).unwrap_err().status(), 404);
    assert_eq!(judge(&good, &[], None).unwrap_err().status(), 404);
    // One of two keys of a log is enough: one may be the next.
    let keys = [other.verifier().clone(), key().verifier().clone()];
    assert!(judge(&good, &keys, None).is_ok());
    let mut altered = good.clone();
    altered.checkpoint =
        SignedNote::parse(altered.checkpoint.to_string().replacen("\n5\n", "\n6\n", 1).as_bytes())
            .unwrap();
    assert_eq!(judged(&altered, None), Err(403));
    assert_eq!(judged(&AddCheckpoint { old_size: 6, ..good }, None), Err(400));
}

#[test]
fn bodies_are_strict() {
    let body = request(&Tree::of("a", 40), 5, 40).to_string();
    assert_eq!(AddCheckpoint::parse(body.as_bytes()).unwrap().to_string(), body);
    let (head, note) = body.split_once("\n\n").unwrap();
    let hash = head.lines().last().unwrap();
    for bad in [
        String::new(),
        body.replacen("old 5", "old 05", 1),
        body.replacen("old 5", "old +5", 1),
        body.replacen("old 5", "old", 1),
        body.replacen("old 5\n", "", 1),
        body.replacen("old 5", "Old 5", 1),
        body.replacen(hash, &hash[1..], 1),
        format!("{head}\n{note}"),
        format!("{head}\n\n\n"),
        body.trim_end().to_owned(),
        format!("old 5\n{}\n{note}", format!("{hash}\n").repeat(64)),
    ] {
        assert_eq!(AddCheckpoint::parse(bad.as_bytes()).unwrap_err().status(), 400, "{bad}");
    }
    let most = format!("old 5\n{}\n{note}", format!("{hash}\n").repeat(63));
    assert!(AddCheckpoint::parse(most.as_bytes()).is_ok());
    let long = vec![b'a'; MAX_REQUEST_BYTES + 1];
    assert_eq!(AddCheckpoint::parse(&long).unwrap_err().status(), 413);
}

#[test]
fn sizes_and_paths() {
    assert_eq!(parse_size(b"0\n"), Some(0));
    assert_eq!(parse_size(b"20852014\n"), Some(20_852_014));
    for bad in [b"".as_slice(), b"5", b"05\n", b"5\n\n", b" 5\n", b"-5\n", b"\xff\n"] {
        assert_eq!(parse_size(bad), None);
    }
    assert_eq!(
        monitor_path("example.com/behind-the-sofa"),
        format!("{}/checkpoint", hex::encode(Sha256::digest("example.com/behind-the-sofa")))
    );
}

proptest! {
    #[test]
    fn every_step_of_every_log_is_cosigned_and_no_fork_is(
        first in 1..40_u64, more in 0..40_u64, split in 0..40_u64,
    ) {
        let size = first + more;
        let tree = Tree::of("a", size);
        let seen = tree.seen(first);
        prop_assert_eq!(judged(&request(&tree, first, size), Some(&seen)), Ok(size));
        // Another history that differs from some entry of the old tree on.
        let split = split % first;
        let mut fork = Tree::of("b", size);
        fork.0[..split as usize].copy_from_slice(&tree.0[..split as usize]);
        prop_assert_eq!(judged(&request(&fork, first, size), Some(&seen)), Err(422));
    }

    #[test]
    fn bodies_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(request) = AddCheckpoint::parse(&bytes) {
            prop_assert_eq!(request.to_string().into_bytes(), bytes);
        }
    }
}
