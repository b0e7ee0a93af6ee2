//! The person's SSH agent: offered the key of a sign-in where they ask for it, and freed of it
//! again. OpenSSH's own `ssh-add` speaks to it. Nothing here can make a sign-in fail.

use crate::environment;
use crate::out::say;
use crate::profile::{Profile, SSH_KEY};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

/// An agent may be at the far end of a connection that is gone.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// Adds the key and its certificate until the sign-in ends, and says whether that went well.
pub(crate) async fn offer(profile: &Profile, expires_us: i64, wanted: bool) {
    let key = profile.path(SSH_KEY);
    if !wanted || !key.exists() {
        return;
    }
    if !environment::has_ssh_agent() {
        say("note: no SSH agent was found (SSH_AUTH_SOCK is not set); ssh can take the key file");
        return;
    }
    let seconds = (expires_us - environment::now_us()).div_euclid(1_000_000).max(1);
    match ssh_add(&["-q", "-t", &seconds.to_string()], &key).await {
        Ok(()) => say("the SSH key is in your agent until then"),
        Err(why) => say(&format!("note: the SSH key is not in your agent: {why}")),
    }
}

/// Removes the key of the last sign-in, where the agent holds it.
pub(crate) async fn forget(profile: &Profile) {
    let key = profile.path(SSH_KEY);
    if key.exists() && environment::has_ssh_agent() {
        // Mostly it was never added, which is an error to `ssh-add`.
        let _ = ssh_add(&["-q", "-d"], &key).await;
    }
}

async fn ssh_add(options: &[&str], key: &Path) -> Result<(), String> {
    let mut command = tokio::process::Command::new("ssh-add");
    command.args(options).arg(key).stdin(Stdio::null()).stdout(Stdio::null());
    command.stderr(Stdio::null()).kill_on_drop(true);
    match tokio::time::timeout(WAIT_MAX, command.status()).await {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(_)) => Err("ssh-add could not add it".to_owned()),
        Ok(Err(error)) => Err(format!("ssh-add: {error}")),
        Err(_) => Err("it did not answer in time".to_owned()),
    }
}
