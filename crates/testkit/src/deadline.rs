//! Waiting with an end: every wait of the test kit goes through here.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Pause between two looks while waiting.
const LOOK_EVERY: Duration = Duration::from_millis(15);

/// A moment after which waiting is given up.
#[derive(Debug, Clone, Copy)]
pub struct Deadline {
    at: Instant,
}

impl Deadline {
    /// The moment `patience` from now.
    #[expect(clippy::disallowed_methods, reason = "waiting for a real process needs real time")]
    pub fn after(patience: Duration) -> Self {
        Self { at: Instant::now() + patience }
    }

    /// Whether the moment has passed.
    pub fn passed(&self) -> bool {
        self.left().is_zero()
    }

    /// How long is left, zero when the moment has passed.
    #[expect(clippy::disallowed_methods, reason = "waiting for a real process needs real time")]
    pub fn left(&self) -> Duration {
        self.at.saturating_duration_since(Instant::now())
    }
}

/// Looks again and again until `ready` says true.
///
/// Fails when `ready` fails, or when `patience` is used up; the message then
/// names `what` was awaited.
pub fn wait_until(
    what: &str,
    patience: Duration,
    mut ready: impl FnMut() -> Result<bool>,
) -> Result<()> {
    let deadline = Deadline::after(patience);
    loop {
        if ready()? {
            return Ok(());
        }
        if deadline.passed() {
            bail!("waited {:.1} s in vain for {what}", patience.as_secs_f64());
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_up_and_names_what_was_awaited() {
        let error = wait_until("the moon", Duration::from_millis(40), || Ok(false))
            .unwrap_err()
            .to_string();
        assert!(error.contains("the moon"), "{error}");
    }

    #[test]
    fn looks_until_ready() {
        let mut looks = 0;
        wait_until("three looks", Duration::from_secs(5), || {
            looks += 1;
            Ok(looks == 3)
        })
        .unwrap();
        assert_eq!(looks, 3);
    }
}
