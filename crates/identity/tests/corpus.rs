//! The fuzz target `ssh_certificate` on the stable toolchain, and where its corpus comes from.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use loggia_model::id::{ActorId, PersonId};
use ssh_key::certificate::{Builder, CertType};
use ssh_key::private::Ed25519Keypair;
use ssh_key::{PrivateKey, PublicKey};
use std::path::Path;

#[path = "../../../fuzz/mutations.rs"]
mod mutations;

#[test]
fn the_corpus_and_its_mutations() {
    mutations::run("ssh_certificate", 200_000, loggia_identity::ssh::fuzz_one);
}

/// What a certificate of the corpus says; by default a good one.
struct Says {
    kind: CertType,
    principals: Vec<String>,
    options: Vec<(&'static str, &'static str)>,
    validity: (u64, u64),
    binding: Option<String>,
}

impl Default for Says {
    fn default() -> Self {
        let me = ActorId::Person(PersonId::from_parts(1_790_000_000_000, [4; 10]));
        Self {
            kind: CertType::User,
            principals: vec![me.to_string()],
            options: vec![],
            validity: (1_789_999_940, 1_790_028_800),
            binding: Some(format!("loggia.internal/main/nd_1/e1:4711:{}", "0f".repeat(32))),
        }
    }
}

fn certificate(says: Says) -> Vec<u8> {
    let authority = PrivateKey::from(Ed25519Keypair::from_seed(&[1; 32]));
    let key = PrivateKey::from(Ed25519Keypair::from_seed(&[2; 32]));
    let (from, until) = says.validity;
    let mut builder = Builder::new([3; 32], PublicKey::from(&key), from, until).unwrap();
    builder.cert_type(says.kind).unwrap().key_id("loggia:pe:cr").unwrap().serial(7).unwrap();
    if says.principals.is_empty() {
        builder.all_principals_valid().unwrap();
    }
    for principal in says.principals {
        builder.valid_principal(principal).unwrap();
    }
    for (name, value) in says.options {
        builder.critical_option(name, value).unwrap();
    }
    builder.extension("permit-pty", "").unwrap();
    if let Some(binding) = says.binding {
        builder.extension("log-binding-v1@loggia.internal", binding).unwrap();
    }
    builder.sign(&authority).unwrap().to_bytes().unwrap()
}

#[test]
#[ignore = "writes fuzz/corpus/ssh_certificate; run it when the form of certificates changes"]
fn write_the_corpus() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/ssh_certificate");
    std::fs::create_dir_all(&folder).unwrap();
    let good = Says::default;
    let with = |options| Says { options, ..good() };
    let bound = |binding: &str| Says { binding: Some(binding.to_owned()), ..good() };
    let named = |principals| Says { principals, ..good() };
    for (name, says) in [
        ("good", good()),
        ("host", Says { kind: CertType::Host, ..good() }),
        ("everybody", named(vec![])),
        ("two-principals", named([good().principals, vec!["root".into()]].concat())),
        ("a-name", named(vec!["alice".into()])),
        ("over", Says { validity: (1, 2), ..good() }),
        ("to-come", Says { validity: (1_900_000_000, u64::MAX), ..good() }),
        ("here", with(vec![("source-address", "192.0.2.7,10.0.0.0/8,::1")])),
        ("elsewhere", with(vec![("source-address", "192.0.2.0/24")])),
        ("nowhere", with(vec![("source-address", "10.1.2.3/8,")])),
        ("forced", with(vec![("force-command", "/bin/true")])),
        ("unknown-option", with(vec![("source-address", "10.0.0.0/8"), ("zz@example.org", "")])),
        ("unbound", Says { binding: None, ..good() }),
        ("bound-oddly", bound("o:01:0f")),
        ("bound-shortly", bound(&format!("o:0:{}", "a0".repeat(32)))),
    ] {
        std::fs::write(folder.join(name), certificate(says)).unwrap();
    }
}
