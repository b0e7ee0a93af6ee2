use proptest::prelude::*;

use super::*;
use crate::cosignature::CosignerKey;
use crate::hash::Hash;
use crate::note::SigningKey;

fn log() -> SigningKey {
    SigningKey::from_seed("log.example", &[200; 32]).unwrap()
}

fn witness(seed: u8) -> CosignerKey {
    let name = format!("w{seed}.example");
    let kind = KeyKind::CosignatureEd25519;
    CosignerKey::from_seed(&name, kind, &[seed; 32]).unwrap()
}

fn vkey(seed: u8) -> String {
    witness(seed).verifier().to_string()
}

/// What these witnesses say.
fn cosigned(seeds: &[u8]) -> Vec<Cosignature> {
    let cosignature = |seed: &u8| {
        let key = witness(*seed);
        let (name, key_id) = (key.name().to_owned(), key.verifier().id());
        Cosignature { name, key_id, time_s: Some(1) }
    };
    seeds.iter().map(cosignature).collect()
}

fn problem(text: &str) -> (usize, Problem) {
    let error = Policy::parse(text.as_bytes()).unwrap_err();
    (error.line, error.problem)
}

#[test]
fn a_policy_of_two_levels() {
    let text = format!(
        "# who we trust\n\n\tlog {} https://log.example/\n\
         witness X1 {}\nwitness X2\t{}  https://x2.example \nwitness X3 {}\n\
         group X 2 X1 X2 X3\n  # others\nwitness Y1 {}\nwitness Y2 {}\n\
         group Y any Y1 Y2\ngroup both all X Y\nquorum both\n",
        log().verifier(),
        vkey(1),
        vkey(2),
        vkey(3),
        vkey(4),
        vkey(5),
    );
    let policy = Policy::parse(text.as_bytes()).unwrap();
    assert_eq!(policy.logs()[0].url.as_deref(), Some("https://log.example/"));
    assert_eq!(policy.witnesses()[1].url.as_deref(), Some("https://x2.example"));
    assert_eq!(policy.to_string(), "all of (2 of (X1, X2, X3), any of (Y1, Y2))");
    for (seeds, quorum) in [
        ([].as_slice(), Quorum::NotMet),
        (&[1, 2], Quorum::NotMet),
        (&[1, 4, 5], Quorum::NotMet),
        (&[1, 3, 5], Quorum::Met),
        (&[1, 2, 3, 4, 5], Quorum::Met),
        (&[9, 1, 2], Quorum::NotMet),
    ] {
        assert_eq!(policy.quorum(&cosigned(seeds)), quorum, "{seeds:?}");
    }
    // One without a time is no statement about the largest tree.
    let mut timeless = cosigned(&[1, 3, 5]);
    timeless[2].time_s = None;
    assert_eq!(policy.quorum(&timeless), Quorum::NotMet);
}

#[test]
fn no_quorum_and_a_single_witness() {
    let policy = Policy::parse(b"quorum none\n").unwrap();
    assert_eq!(policy.quorum(&[]), Quorum::NotAsked);
    assert_eq!(policy.to_string(), "none");
    let text = format!("witness auditor {}\nquorum auditor\n", vkey(1));
    let policy = Policy::parse(text.as_bytes()).unwrap();
    assert_eq!(policy.quorum(&cosigned(&[1])), Quorum::Met);
    assert_eq!(policy.quorum(&cosigned(&[2])), Quorum::NotMet);
    assert_eq!(policy.to_string(), "auditor");
}

#[test]
fn malformed_policies_are_told_by_line() {
    let witness = format!("witness a {}\n", vkey(1));
    let key_of_log = log().verifier().to_string();
    for (text, line, expected) in [
        (String::new(), 1, Problem::QuorumMissing),
        ("quorum none".into(), 1, Problem::Cut),
        ("quorum none\nquorum none\n".into(), 2, Problem::QuorumTwice),
        ("quorum\n".into(), 1, Problem::Words { expected: "quorum NAME|none" }),
        ("quorum none none\n".into(), 1, Problem::Words { expected: "quorum NAME|none" }),
        ("quorum a\n".into(), 1, Problem::UnknownName { name: "a".into() }),
        ("Quorum none\n".into(), 1, Problem::Keyword),
        ("quorum none\r\n".into(), 1, Problem::ControlCharacter),
        ("#\u{7f}\nquorum none\n".into(), 1, Problem::ControlCharacter),
        (format!("{witness}{witness}"), 2, Problem::SameKey { name: "w1.example".into() }),
        (format!("{witness}witness a {}\n", vkey(2)), 2, Problem::NameTaken { name: "a".into() }),
        (format!("witness none {}\n", vkey(2)), 1, Problem::NameTaken { name: "none".into() }),
        (format!("{witness}group g 0 a\n"), 2, Problem::Threshold),
        (format!("{witness}group g 2 a\n"), 2, Problem::Threshold),
        (format!("{witness}group g 01 a\n"), 2, Problem::Threshold),
        (format!("{witness}group g all\n"), 2, Problem::Threshold),
        (format!("{witness}group g any a a\n"), 2, Problem::MemberTwice { name: "a".into() }),
        (
            format!("{witness}group g any a\ngroup h any a\n"),
            3,
            Problem::MemberTwice { name: "a".into() },
        ),
        (format!("{witness}group g any g\n"), 2, Problem::UnknownName { name: "g".into() }),
        (format!("{witness}group g any none\n"), 2, Problem::UnknownName { name: "none".into() }),
        (
            format!("log {}\n", vkey(1)),
            1,
            Problem::KeyKind { name: "w1.example".into(), of: "a log" },
        ),
        (
            format!("witness a {key_of_log}\n"),
            1,
            Problem::KeyKind { name: "log.example".into(), of: "a witness" },
        ),
        ("log\n".into(), 1, Problem::Words { expected: "log VKEY [URL]" }),
    ] {
        assert_eq!(problem(&text), (line, expected), "{text}");
    }
    assert!(matches!(problem("log broken\n").1, Problem::Key(_)));
    assert!(matches!(problem("log \u{e9}+1\n").1, Problem::Key(_)));
    let long = vec![b'\n'; MAX_POLICY_BYTES + 1];
    assert_eq!(Policy::parse(&long).unwrap_err().problem, Problem::TooLong);
}

#[test]
fn the_same_key_under_another_name_is_a_duplicate() {
    let kind = KeyKind::CosignatureEd25519;
    let other = CosignerKey::from_seed("other.example", kind, &[1; 32]).unwrap();
    let text = format!("witness a {}\nwitness b {}\nquorum none\n", vkey(1), other.verifier());
    assert_eq!(problem(&text).1, Problem::SameKey { name: "other.example".into() });
}

#[test]
fn names_are_opaque_bytes() {
    let vkey = vkey(1);
    let text = [b"witness \xe2\x84\xaa ".as_slice(), vkey.as_bytes(), b"\nquorum K\n"].concat();
    assert_eq!(Policy::parse(&text).unwrap_err().line, 2);
    let text = [b"witness \xff ".as_slice(), vkey.as_bytes(), b"\nquorum \xff\n# \xfe\n"].concat();
    let policy = Policy::parse(&text).unwrap();
    assert_eq!(policy.quorum(&cosigned(&[1])), Quorum::Met);
}

#[test]
fn as_many_as_the_specification_asks_for() {
    let mut text = String::new();
    for seed in 0..32 {
        let origin = format!("log{seed}.example");
        let key = SigningKey::from_seed(&origin, &[seed + 100; 32]).unwrap();
        text += &format!(
            "log {}\nwitness w{seed} {}\ngroup g{seed} any w{seed}\n",
            key.verifier(),
            vkey(seed)
        );
    }
    assert!(Policy::parse((text + "quorum g31\n").as_bytes()).is_ok());
}

#[test]
fn a_checkpoint_is_opened_by_the_policy() {
    let text = format!("log {}\nwitness a {}\nquorum a\n", log().verifier(), vkey(1));
    let policy = Policy::parse(text.as_bytes()).unwrap();
    let checkpoint = Checkpoint::new("log.example", 3, Hash([1; 32])).unwrap();
    let mut note = checkpoint.sign(&log()).unwrap();
    assert_eq!(policy.open(&note).unwrap().1, Quorum::NotMet);
    note.add(witness(2).cosign(&checkpoint, 7).unwrap()).unwrap();
    assert_eq!(policy.open(&note).unwrap().1, Quorum::NotMet);
    note.add(witness(1).cosign(&checkpoint, 7).unwrap()).unwrap();
    let (opened, quorum) = policy.open(&note).unwrap();
    assert_eq!((quorum, opened.cosignatures.len()), (Quorum::Met, 1));
    let foreign = SigningKey::from_seed("other.example", &[2; 32]).unwrap();
    let other = Checkpoint::new("other.example", 3, Hash([1; 32])).unwrap();
    let error = policy.open(&other.sign(&foreign).unwrap()).unwrap_err();
    assert!(matches!(error, CheckpointError::OriginMismatch { .. }));
}

/// Two histories, each shown to a quorum: with k of n, that takes 2k - n liars at least.
#[test]
fn a_fork_needs_as_many_liars_as_quorums_overlap() {
    for n in 1..=6_u8 {
        for k in 1..=n {
            let mut text: String =
                (0..n).map(|seed| format!("witness w{seed} {}\n", vkey(seed))).collect();
            text += &format!("group q {k}");
            (0..n).for_each(|seed| text += &format!(" w{seed}"));
            let policy = Policy::parse((text + "\nquorum q\n").as_bytes()).unwrap();
            for liars in 0..=n {
                // Liars cosign both, the others one each, split as evenly as can be.
                let honest = n - liars;
                let one: Vec<u8> = (0..liars + honest.div_ceil(2)).collect();
                let two: Vec<u8> = (0..liars).chain(liars + honest.div_ceil(2)..n).collect();
                let forked =
                    [one, two].iter().all(|seeds| policy.quorum(&cosigned(seeds)) == Quorum::Met);
                let possible = i16::from(liars) >= 2 * i16::from(k) - i16::from(n);
                assert_eq!(forked, possible, "{k} of {n}, {liars} liars");
            }
        }
    }
}

proptest! {
    #[test]
    fn policies_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Policy::parse(&bytes);
    }

    #[test]
    fn more_cosignatures_never_unmeet_a_quorum(
        threshold in 1..5_usize,
        seeds in prop::collection::vec(0..5_u8, 0..5),
        more in 0..5_u8,
    ) {
        let mut text: String =
            (0..5).map(|seed| format!("witness w{seed} {}\n", vkey(seed))).collect();
        text += &format!("group q {threshold} w0 w1 w2 w3 w4\nquorum q\n");
        let policy = Policy::parse(text.as_bytes()).unwrap();
        if policy.quorum(&cosigned(&seeds)) == Quorum::Met {
            let more = [seeds, vec![more]].concat();
            prop_assert_eq!(policy.quorum(&cosigned(&more)), Quorum::Met);
        }
    }
}
