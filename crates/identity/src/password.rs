//! Passwords: what one must be, how it is kept, and how checking it is bounded.
//!
//! Kept as argon2id in PHC string format with the first choice of the OWASP Password Storage Cheat
//! Sheet: 19 MiB, two passes, one lane. At most two are computed at a time, so strangers can
//! occupy two threads and 38 MiB and no more; a further 32 may wait, for at most ten seconds.

use argon2::{Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version};
use loggia_model::{Fault, Mint, PublicError, Secret};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Shortest password, in characters.
pub const PASSWORD_CHARS_MIN: usize = 12;
/// Longest password, in bytes.
pub const PASSWORD_BYTES_MAX: usize = 1024;

/// Memory of one computation, in KiB.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;
const COMPUTING_MAX: usize = 2;
const WAITING_MAX: usize = 32;
const WAIT_MAX: Duration = Duration::from_secs(10);

/// A hash of the same cost that no password fits: what is checked where there is no person.
const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$bG9nZ2lhLm5vYm9keS4uLg$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Checks that a new password is fit to be one. `name` is the person's own name.
///
/// Length is what counts (NIST SP 800-63B section 3.1.1.2): there are no rules of composition.
pub fn check_rules(password: &Secret, name: &str) -> Result<(), PublicError> {
    let text = password.reveal();
    let refuse = |why: String| {
        Err(PublicError::new("bad_password", Fault::Client, why)
            .hint("choose a longer one, such as four or more words"))
    };
    if text.len() > PASSWORD_BYTES_MAX {
        return refuse(format!("a password has at most {PASSWORD_BYTES_MAX} bytes"));
    }
    if text.chars().count() < PASSWORD_CHARS_MIN {
        return refuse(format!("a password has at least {PASSWORD_CHARS_MIN} characters"));
    }
    if text.to_lowercase() == name.to_lowercase() {
        return refuse("a password is not the user name".to_owned());
    }
    Ok(())
}

/// Computes and checks hashes, a bounded number at a time. Cheap to clone.
#[derive(Clone)]
pub struct Passwords {
    computing: Arc<Semaphore>,
    admitted: Arc<Semaphore>,
}

impl Default for Passwords {
    fn default() -> Self {
        Self {
            computing: Arc::new(Semaphore::new(COMPUTING_MAX)),
            admitted: Arc::new(Semaphore::new(COMPUTING_MAX + WAITING_MAX)),
        }
    }
}

/// Held while a hash is computed; the permits go with the computation and not with whoever asked,
/// so that asking and hanging up does not make room for more.
struct Turn {
    _computing: OwnedSemaphorePermit,
    _admitted: OwnedSemaphorePermit,
}

impl Passwords {
    /// The hash to keep of a new password, with a salt of 16 random bytes.
    ///
    /// Errors: too many at once, or no answer in ten seconds (`busy`).
    pub async fn hash(&self, password: Secret, mint: &Mint) -> Result<Secret, PublicError> {
        let salt: [u8; 16] = mint.random();
        let turn = self.turn().await?;
        let hashed = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let hash = argon2()?.hash_password_with_salt(password.reveal().as_bytes(), &salt)?;
            Ok::<_, argon2::password_hash::Error>(Secret::new(hash.to_string()))
        });
        hashed.await.map_err(broken)?.map_err(broken)
    }

    /// Whether the password fits the hash. Without a hash the same work is done and the answer is
    /// `false`.
    ///
    /// Errors: too many at once, or no answer in ten seconds (`busy`).
    pub async fn verify(
        &self,
        password: Secret,
        hash: Option<Secret>,
    ) -> Result<bool, PublicError> {
        // Longer ones cannot have been set; hashing them would only cost.
        let fits_at_all = password.reveal().len() <= PASSWORD_BYTES_MAX && hash.is_some();
        let password = if fits_at_all { password } else { Secret::new(String::new()) };
        let turn = self.turn().await?;
        let verified = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let hash = hash.as_ref().map_or(NOBODY, Secret::reveal);
            let verified = argon2()?.verify_password(password.reveal().as_bytes(), hash);
            Ok::<_, argon2::password_hash::Error>(verified.is_ok())
        });
        let verified = verified.await.map_err(broken)?.map_err(broken)?;
        Ok(verified && fits_at_all)
    }

    async fn turn(&self) -> Result<Turn, PublicError> {
        let busy = || {
            PublicError::new("busy", Fault::Gateway, "too many logins at once")
                .hint("try again in a few seconds")
                .retry()
        };
        let admitted = Arc::clone(&self.admitted).try_acquire_owned().map_err(|_| busy())?;
        let computing = Arc::clone(&self.computing).acquire_owned();
        let computing = tokio::time::timeout(WAIT_MAX, computing).await.map_err(|_| busy())?;
        let computing = computing.map_err(|_| busy())?;
        Ok(Turn { _computing: computing, _admitted: admitted })
    }
}

fn argon2() -> Result<Argon2<'static>, argon2::password_hash::Error> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None)?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

fn broken(cause: impl std::fmt::Display) -> PublicError {
    PublicError::new("password_check", Fault::Gateway, "the password could not be checked")
        .cause(cause)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{FakeClock, mint};

    fn secret(text: &str) -> Secret {
        Secret::new(text.to_owned())
    }

    #[test]
    fn the_rules_are_about_length_and_say_what_is_wrong() {
        assert!(check_rules(&secret("correct horse battery"), "alice").is_ok());
        assert!(check_rules(&secret("twelve chars"), "alice").is_ok());
        for (bad, says) in [
            ("eleven char", "at least 12"),
            ("ÄÖÜäöüßé", "at least 12"),
            (&"x".repeat(1025), "at most 1024"),
            ("Release-Robot", "not the user name"),
        ] {
            let refused = check_rules(&secret(bad), "release-robot").unwrap_err();
            assert!(refused.message.contains(says), "{}", refused.message);
            assert!(!refused.message.contains(bad));
        }
    }

    #[tokio::test]
    async fn a_hash_fits_its_password_alone_and_names_its_parameters() {
        let passwords = Passwords::default();
        let mint = mint(&FakeClock::at(0));
        let hash = passwords.hash(secret("correct horse battery"), &mint).await.unwrap();
        assert!(hash.reveal().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{}", hash.reveal());
        let verify = |text: &str| passwords.verify(secret(text), Some(hash.clone()));
        assert!(verify("correct horse battery").await.unwrap());
        assert!(!verify("correct horse batterY").await.unwrap());
        assert!(!verify(&"x".repeat(2000)).await.unwrap());
        assert!(!passwords.verify(secret("anything"), Some(secret("no hash"))).await.unwrap());
    }

    #[tokio::test]
    async fn nobody_costs_as_much_as_somebody_and_no_password_fits() {
        // The same parameters in the same format is the same work.
        let nobody = argon2::password_hash::phc::PasswordHash::new(NOBODY).unwrap();
        let mint = mint(&FakeClock::at(0));
        let hash = Passwords::default().hash(secret("correct horse battery"), &mint).await.unwrap();
        let somebody = argon2::password_hash::phc::PasswordHash::new(hash.reveal()).unwrap();
        assert_eq!(nobody.params, somebody.params);
        assert_eq!(nobody.version, somebody.version);
        assert_eq!(
            nobody.salt.as_ref().map(|salt| salt.len()),
            somebody.salt.as_ref().map(|salt| salt.len())
        );
        for text in ["", "correct horse battery"] {
            assert!(!Passwords::default().verify(secret(text), None).await.unwrap());
        }
    }

    #[tokio::test]
    async fn a_crowd_is_told_to_come_back() {
        let passwords = Passwords::default();
        let held: Vec<_> =
            (0..34).map(|_| Arc::clone(&passwords.admitted).try_acquire_owned().unwrap()).collect();
        let refused = passwords.verify(secret("x"), None).await.unwrap_err();
        assert_eq!((refused.code, refused.retry), ("busy", true));
        drop(held);
        assert!(!passwords.verify(secret("x"), None).await.unwrap());
    }
}
