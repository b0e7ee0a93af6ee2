//! What the program takes from its surroundings: the environment, the terminal, the clock.

use std::io::IsTerminal;
use std::path::PathBuf;

/// An environment variable that is set and not empty.
#[expect(clippy::disallowed_methods, reason = "the one place where the environment is read")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Microseconds since 1970.
#[expect(clippy::disallowed_methods, reason = "the one place where the clock is read")]
pub(crate) fn now_us() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.ok().and_then(|since| i64::try_from(since.as_micros()).ok()).unwrap_or(0)
}

/// The folder of the profile when none is named.
pub(crate) fn default_home() -> Option<PathBuf> {
    std::env::home_dir().map(|home| home.join(".config").join("loggia"))
}

/// Whether standard output is to be coloured when nothing else is said.
pub(crate) fn wants_color() -> bool {
    if variable("NO_COLOR").is_some() {
        return false;
    }
    if variable("CLICOLOR_FORCE").is_some_and(|value| value != "0") {
        return true;
    }
    std::io::stdout().is_terminal() && variable("TERM").is_none_or(|term| term != "dumb")
}

/// Whether a person can be asked.
pub(crate) fn can_ask() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

/// Columns of the terminal on standard output; none where it is no terminal.
pub(crate) fn width() -> Option<usize> {
    if !std::io::stdout().is_terminal() {
        return None;
    }
    let columns = variable("COLUMNS").and_then(|columns| columns.parse().ok());
    Some(columns.unwrap_or(120).max(40))
}

/// The name of the user who runs this, as far as it can be a name.
pub(crate) fn own_name() -> String {
    let name = variable("USER").or_else(|| variable("LOGNAME")).unwrap_or_default();
    let name: String = name
        .to_lowercase()
        .chars()
        .filter(|letter| loggia_model::resource::is_name(&letter.to_string()))
        .collect();
    if name.is_empty() { "visitor".to_owned() } else { name }
}

/// Whether an SSH agent is there.
pub(crate) fn has_ssh_agent() -> bool {
    variable("SSH_AUTH_SOCK").is_some()
}

/// The password on a host that is tried.
pub(crate) fn ssh_password() -> Option<loggia_model::Secret> {
    let password = variable("LOGGIA_TARGET_PASSWORD").or_else(|| variable("SSHPASS"));
    password.map(loggia_model::Secret::new)
}

/// The password that `psql` itself would take.
pub(crate) fn pgpassword() -> Option<String> {
    variable("PGPASSWORD")
}
