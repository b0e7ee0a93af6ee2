//! Which keys are taken, and what is said of the others.

use super::*;
use crate::tests::{House, root, signed_in};
use loggia_model::id::CredentialId;
use loggia_model::port::{CredentialRecord, Directory};
use proptest::prelude::*;

// Keys as `ssh-keygen` makes them; their private halves are gone.
pub(crate) const ED25519: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOle+VxsrInpGOjBWGcBZiVd2xYCkI9g1nRbX1ZrGjC9";
pub(crate) const OTHER: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGCAlBIwJFTm+YnhK5q16hmTXIAC20Jcw52ZH8Ihx+NH";
pub(crate) const ECDSA: &str = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBK/XJA5rrnzurH2P\
    JwdRWbyQAna+Ngo5CWoN4HFsQKPzH1bLxrMEMrs6N8k58Hj4gX7QKwXjgvw9foN9vhNqD/Q=";
pub(crate) const RSA_3072: &str = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABgQC+sFd4bZ3F2ovN0Y4ol85NlG/l1OIK22B5C8hgyvrOL0q8PsTD\
    GT8U6ksoqF0sQgVhu2x+ed5Loc9+mUsbfxSLk64C798jPuoTbiZtieX45a0jd84dm2X7MakA6bAJZYxB0Nqi6S8b\
    DvsZ0ddEylVdD7YfS39K1QKP2mjTbnSWy5Xy481x43W76yn/zQoyvG0tEBoRTDL1JE+B1T8d4KwS+ledyORMB+hG\
    9GBV5oQyIQTLL0QBTct2Zq2ua/7HL5EwQHTx1lWGPYj+LbmWHJrwidiZ90q95zfUmIiZADnkTWM5+77ED8LzHwi9\
    QHOGYKmPhQAEm0GJBHQFa17ST2+DGKue8HjRzfxQeowObHo3ek6cglLssTlplyunjOhEI9QwQWlps+CWj1WmCRN/\
    y42+jgfyFiuYis1UCa2ySf5JbkfvDU8/ESWsS/2kq9k8Qlt7aSKd0yUnenUoF+2zrrVFesUlT9OICTxxrOpfgamC\
    Fmw1rW6pKfjzXI2baxFZ2SM=";
pub(crate) const RSA_2048: &str = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQCRxxsJOdZjmjbuLMI+iK1BXd6kkihwdhmg/uENtm+KlDEQOeFh\
    MYTR3jpDeWIWHLMik1D5okr/3Y9ibqV8E7B1T9aO1kdJx0WX8azfNWCfTriUQhPOK1/XuK0WszYcX4fYSgTJ4psq\
    AupmN1QXTxac+xsw37fjkQCdgu9aYpVl6mRYGXCGOAtte8pMz0gJKHh/IpRq2krRjsWRBKPWH15Ymrx9PM3clquU\
    Xn37zK1PrFOMlsKxyQwMQd0moU5eL8Jxo27r/I6MzUynrars0YImuA77PHf6YVybp4vSY0zKIwJw9FeqgJepUame\
    Y+fQS+6gKGFhjHYlW0+ipoNbbmHt";
pub(crate) const RSA_1024: &str = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQDUFv4CAya8/d23JOn1J2Vp4mQmIIvtxNSDaEIlObRWO+al0Bcr\
    QhEls5KCXOL4Ql9qoxLygpa+y0Fh3LdXjhfWE6g4PBSyzAvXUAmcV8FSWPexnVLY+giR63bi1mMz5W3wFDOelAW3\
    +tp+HRXwiw69U2SYkb+ZCnSvQ41GqDOmZQ==";
pub(crate) const DSA: &str = "ssh-dss AAAAB3NzaC1kc3MAAACBAPMMfsTarE1b/9E1VkrjRrtRisBe2MzRfjBxT1ULkMGuUBpyP6P7SWfF0uqL\
    wcde5szPYc6sj3C8IFS0UUTLyfhsjIsGh3jEaJDvpf6SXr5R9vq95Y3sN3cgVBxFYUqLaeDXZKWEhgk0PzHmVqUj\
    ZDDbbOtUqgHi9/SdE/r6Bj/hAAAAFQDfFMDuVQ7adMTPM0ZdwgXI/zzUGQAAAIBdxIt0DXG6n46JOestnIPCUHJ6\
    LsAFFAxkr7kDiACO6mQnOgylGwjE7xhqFnWlZqAnXSjOacX5sZ0/tIKchE84hYsFmCu/0wW1ZmxJT0wkldNpPuo8\
    FdX3z9hz7WqSwwn1b3LiAqConPvUfnKtloFOpERxrndpaVpjQNNKgV2JDQAAAIAeRmP7FF5KuoYVEZzr9wXwFWZM\
    dxh7PtlOJu9I2lmwb24EMP3Uucr5g9uO2m9o3ErCo6ThqfdfJ5WZ7v8QuG6ATA05sBIfSBC8wGbCNkgsKDz057ZB\
    8SUI+R+r1WTsL5gZXJA3pekVTonw1DPjwPyq6gz6fLr5CtUVYANdVQwM/w==";
const SECURITY_KEY: &str = "sk-ssh-ed25519@openssh.com AAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2guY29tAAAAIAABAgMEBQYHCAkKC\
    wwNDg8QERITFBUWFxgZGhscHR4fAAAABHNzaDo=";
/// Of the first, as `ssh-keygen -lf` shows it.
pub(crate) const FINGERPRINT: &str = "SHA256:DDyMoA1XbKZtXev3HM2IlhuRgN7Eyko+bo/kN/4OkUg";

fn said(line: &str) -> String {
    match registered_key(line) {
        Ok(key) => panic!("this is taken: {key:?}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_key_is_known_as_openssh_knows_it_with_its_comment_apart() {
    let key = registered_key(&format!("  {ED25519} alice@laptop \n")).unwrap();
    assert_eq!(key.public_key, ED25519);
    assert_eq!((key.comment.as_str(), key.fingerprint.as_str()), ("alice@laptop", FINGERPRINT));
    assert_eq!(fingerprint(&key.digest).as_deref(), Some(FINGERPRINT));
    let words = registered_key(&format!("{ED25519} the old\u{1b}[31m one")).unwrap();
    assert_eq!(words.comment, "the old[31m one");
    for good in [ECDSA, RSA_3072] {
        assert_eq!(registered_key(good).unwrap().public_key, good);
    }
    assert_eq!(fingerprint("ab"), None);
}

#[test]
fn weak_keys_and_what_is_no_key_are_refused_with_the_reason() {
    assert!(said(RSA_2048).contains("3072 bits"));
    assert!(said(DSA).contains("DSA is broken"));
    assert!(said(SECURITY_KEY).contains("of this type"));
    assert!(said("-----BEGIN OPENSSH PRIVATE KEY-----").contains("private key"));
    let forced = format!("command=\"/bin/true\" {ED25519}");
    let two = format!("{ED25519}\n{OTHER}");
    let cut = &ED25519[..ED25519.len() - 4];
    let other_type = ED25519.replacen("ssh-ed25519", "ssh-rsa", 1);
    for bad in ["", "ssh-ed25519", "ssh-ed25519 AAAA", &forced, &two, cut, &other_type] {
        assert!(said(bad).contains("no public SSH key"), "{bad}");
    }
}

#[test]
fn host_keys_have_one_form_and_authorities_their_mark() {
    assert_eq!(host_key(&format!("{ED25519} root@web-1")).unwrap(), ED25519);
    let authority = format!("@cert-authority {OTHER}");
    assert_eq!(host_key(&format!("@cert-authority   {OTHER} hosts")).unwrap(), authority);
    assert!(host_key(RSA_2048).is_ok() && host_key(ECDSA).is_ok());
    let scanned = format!("web-1.internal {ED25519}");
    for (bad, words) in [
        (scanned.as_str(), "no host key"),
        ("unverified", "no host key"),
        ("*", "no host key"),
        (RSA_1024, "type or length"),
        (DSA, "type or length"),
        (&format!("@revoked {ED25519}"), "only `@cert-authority`"),
        (&format!("@cert-authority * {ED25519}"), "no host key"),
    ] {
        let (message, hint) = host_key(bad).unwrap_err();
        assert!(message.contains(words), "{bad}: {message}");
        assert!(!hint.is_empty());
    }
    let (_, hint) = host_key(&scanned).unwrap_err();
    assert!(hint.contains("ssh-keyscan"));
}

#[tokio::test]
async fn a_key_is_registered_and_removed_on_record_and_known_after_a_restart() {
    let house = House::new().await;
    let alice = house.person("alice", false).await;
    let added = house.control.add_key("alice", &format!("{ED25519} laptop"), signed_in()).await;
    let added = added.unwrap();
    assert_eq!((added.owner.name.as_str(), added.key.comment.as_str()), ("alice", "laptop"));
    assert_eq!(added.key.created_us, crate::tests::NOW_US);
    let event = house.ledger.events().pop().unwrap();
    assert_eq!(event.text("/detail/change"), Some("key.add"));
    assert_eq!(event.text("/detail/object"), Some(alice.to_string().as_str()));
    assert_eq!(event.text("/actor/authn"), Some("client_certificate"));
    let after = house.ledger.last_open("/detail/after").unwrap();
    assert_eq!(after.at("/fingerprint").and_then(|it| it.as_str()), Some(FINGERPRINT));

    let house = house.reopened().await;
    let digest = added.key.digest.as_str();
    assert_eq!(house.control.ssh_key(digest).await.unwrap(), Some(alice));
    let removed = house.control.remove_key(FINGERPRINT, root()).await.unwrap();
    assert_eq!(removed, added);
    assert_eq!(house.ledger.changes().pop().as_deref(), Some("key.remove alice"));
    assert_eq!(house.control.ssh_key(digest).await.unwrap(), None);
    assert!(matches!(
        house.control.remove_key(FINGERPRINT, root()).await,
        Err(ControlError::NotFound { .. })
    ));
    house.control.add_key("alice", ED25519, root()).await.unwrap();
}

#[tokio::test]
async fn no_key_is_that_of_two_nor_of_a_certificate_nor_of_nobody() {
    let house = House::new().await;
    let alice = house.person("alice", false).await;
    house.person("bob", false).await;
    house.control.add_key("alice", ED25519, root()).await.unwrap();
    let before = house.ledger.events().len();
    let said = async |name: &str, key: &str| {
        house.control.add_key(name, key, root()).await.unwrap_err().to_string()
    };
    assert!(said("bob", ED25519).await.contains("that of `alice` already"));
    assert!(said("alice", ED25519).await.contains("that of `alice` already"));
    assert!(said("alise", OTHER).await.contains("no person or service named `alise`"));
    let record = CredentialRecord {
        id: CredentialId::from_parts(1, [1; 10]),
        actor: alice,
        digest: registered_key(OTHER).unwrap().digest,
        authn: "password_totp",
        expires_us: i64::MAX,
        revoked: true,
        log_index: 1,
    };
    house.control.add_credential(record).await.unwrap();
    assert!(said("alice", OTHER).await.contains("a certificate was issued"));
    assert_eq!(house.ledger.events().len(), before, "and nothing was recorded");
    house.control.disable_person("bob", None, root()).await.unwrap();
    assert!(said("bob", ECDSA).await.contains("`bob` is disabled"));
}

#[tokio::test]
async fn a_key_that_cannot_be_recorded_lets_nobody_in() {
    let house = House::new().await;
    house.person("alice", false).await;
    *house.ledger.mood.lock() = crate::tests::Mood::RefusesAppend;
    let refused = house.control.add_key("alice", ED25519, root()).await;
    assert!(matches!(refused, Err(ControlError::NotRecorded(_))));
    assert!(house.control.ssh_keys().is_empty());
}

proptest! {
    #[test]
    fn no_text_panics(text in "\\PC{0,200}", tail in "[A-Za-z0-9+/= ]{0,120}") {
        for text in [text, format!("ssh-ed25519 {tail}"), format!("@cert-authority ssh-rsa {tail}")] {
            let _ = registered_key(&text);
            let _ = host_key(&text);
        }
    }
}
