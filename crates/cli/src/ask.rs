//! Asking a person, on a terminal only; otherwise taking answers from files or standard input.

use crate::environment;
use crate::fail::{Done, Fail};
use loggia_model::Secret;
use std::io::{BufRead, Read, Write};
use std::path::Path;

/// A file with a secret is at most this long, in bytes.
const SECRET_BYTES_MAX: u64 = 64 << 10;

/// Where answers come from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ask {
    allowed: bool,
}

impl Ask {
    /// Asks on a terminal, unless `--no-input` says not to.
    pub(crate) fn new(no_input: bool) -> Self {
        Self { allowed: !no_input && environment::can_ask() }
    }

    /// Whether a person is there to be asked.
    pub(crate) fn can_ask(self) -> bool {
        self.allowed
    }

    fn on_terminal(self, what: &str, instead: &str) -> Done {
        if self.allowed {
            return Ok(());
        }
        Err(Fail::usage(format!("{what} is needed, and nobody can be asked for it"))
            .hint(format!("give it by {instead}")))
    }

    /// Asks for a text; an empty answer is the default, where there is one.
    pub(crate) fn text(self, what: &str, default: Option<&str>, instead: &str) -> Done<String> {
        self.on_terminal(what, instead)?;
        let shown = default.map(|default| format!(" [{default}]")).unwrap_or_default();
        let answer = self.answer(&format!("{what}{shown}: "))?;
        match (answer.is_empty(), default) {
            (true, Some(default)) => Ok(default.to_owned()),
            (true, None) => Err(Fail::usage(format!("{what} is needed"))),
            (false, _) => Ok(answer),
        }
    }

    /// Asks for a secret, which is not shown as it is typed.
    pub(crate) fn secret(self, what: &str, instead: &str) -> Done<Secret> {
        self.on_terminal(what, instead)?;
        rpassword::prompt_password(format!("{what}: "))
            .map(Secret::new)
            .map_err(|error| Fail::new(format!("the terminal cannot be read: {error}")))
    }

    /// Asks whether to go on.
    pub(crate) fn agrees(self, question: &str, instead: &str) -> Done<bool> {
        self.on_terminal("your consent", instead)?;
        let answer = self.answer(&format!("{question} [y/N] "))?;
        Ok(matches!(answer.to_ascii_lowercase().as_str(), "y" | "yes"))
    }

    fn answer(self, prompt: &str) -> Done<String> {
        let failed = |error| Fail::new(format!("the terminal cannot be read: {error}"));
        let mut stderr = std::io::stderr();
        stderr.write_all(prompt.as_bytes()).and_then(|()| stderr.flush()).map_err(failed)?;
        let mut answer = String::new();
        std::io::stdin().lock().read_line(&mut answer).map_err(failed)?;
        Ok(answer.trim().to_owned())
    }
}

/// The first line of a file, or the next line of standard input where the path is `-`.
pub(crate) fn secret_from(path: &Path) -> Done<Secret> {
    let shown = path.display();
    let failed = |error: std::io::Error| Fail::new(format!("{shown} cannot be read: {error}"));
    let mut text = String::new();
    if path.as_os_str() == "-" {
        std::io::stdin().lock().read_line(&mut text).map_err(failed)?;
    } else {
        let file = std::fs::File::open(path).map_err(failed)?;
        file.take(SECRET_BYTES_MAX).read_to_string(&mut text).map_err(failed)?;
    }
    let text = Secret::new(text);
    let line = text.reveal().lines().next().unwrap_or_default();
    if line.is_empty() {
        return Err(Fail::usage(format!("there is nothing in {shown}")));
    }
    Ok(Secret::new(line.to_owned()))
}
