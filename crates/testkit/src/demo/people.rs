//! People and the service account: how they come in, and what they then type.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};
use rcgen::KeyPair;
use serde_json::Value;

use super::program::{Finished, clean, run};
use super::steps::{printed, typed};
use super::world::{World, private_file, private_folder, random_word};

/// Length of a step of one-time codes, in seconds (RFC 6238).
const STEP_S: u64 = 30;

/// Somebody with a folder of their own, as if it were their own machine.
pub(crate) struct Person<'a> {
    world: &'a World,
    /// The name.
    pub(crate) name: &'static str,
}

impl<'a> Person<'a> {
    /// Gives somebody a folder.
    pub(crate) fn new(world: &'a World, name: &'static str) -> Result<Self> {
        let person = Self { world, name };
        private_folder(&person.home())?;
        Ok(person)
    }

    /// Their folder.
    pub(crate) fn home(&self) -> PathBuf {
        self.world.folder.join("people").join(self.name)
    }

    /// A file of what `loggia` keeps for them: `ca.pem`, `cert.pem`, `key.pem`, `token`, …
    pub(crate) fn kept(&self, name: &str) -> PathBuf {
        self.home().join(".config/loggia").join(name)
    }

    /// Puts a file into their folder; gives its path there, as they would type it.
    pub(crate) fn file<'p>(&self, path: &'p str, text: &str) -> Result<&'p str> {
        let file = self.home().join(path);
        private_folder(file.parent().unwrap_or(&file))?;
        private_file(&file, text)?;
        Ok(path)
    }

    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = clean(program, &self.home());
        command.current_dir(self.home());
        command
    }

    /// `loggia` as they type it.
    pub(crate) fn loggia(&self, arguments: &[&str]) -> Result<Finished> {
        typed(self.name, &format!("loggia {}", shown(arguments)));
        self.loggia_quietly(arguments)
    }

    /// `loggia`, shown with names in place of what is long.
    pub(crate) fn loggia_as(&self, display: &str, arguments: &[&str]) -> Result<Finished> {
        typed(self.name, &format!("loggia {display}"));
        self.loggia_quietly(arguments)
    }

    /// `loggia`, without saying so.
    pub(crate) fn loggia_quietly(&self, arguments: &[&str]) -> Result<Finished> {
        let mut command = self.command(&self.world.loggia);
        command.args(arguments);
        run(command)
    }

    /// The lines of JSON that a command of `loggia` prints.
    pub(crate) fn json(&self, arguments: &[&str]) -> Result<Vec<Value>> {
        let mut command = self.command(&self.world.loggia);
        command.arg("--json").args(arguments);
        let finished = run(command)?.expect_code(0)?;
        let lines = finished.stdout.lines().filter(|line| !line.trim().is_empty());
        lines
            .map(|line| serde_json::from_str(line).with_context(|| format!("no JSON: {line}")))
            .collect()
    }

    /// Takes up the account by the code: a password of their own, and an authenticator.
    pub(crate) fn enrol(&self) -> Result<()> {
        let code = self.world.enrolment_code(self.name)?;
        private_file(&self.home().join("password"), &random_word()?)?;
        // The kernel chose the port after the first code was made.
        let address = format!("--address={}", self.world.api);
        let rest = ["--password-file", "password", "--totp-file", "seed", &address];
        typed(self.name, &format!("loggia enrol CODE {}", shown(&rest)));
        let mut command = self.command(&self.world.loggia);
        command.args(["enrol", code]).args(rest);
        let finished = run(command)?.expect_code(0)?.expect_words(&["recorded"])?;
        printed(&finished.stderr);
        Ok(())
    }

    /// Signs in with password and one-time code.
    pub(crate) fn login(&self) -> Result<()> {
        let seed = std::fs::read_to_string(self.home().join("seed")).context("reading the seed")?;
        // Enrolment has used up the code of this half minute, and each is good once. The one of
        // the next is accepted already: clocks may differ by one step.
        let code = one_time_code(&seed, unix_seconds()? + STEP_S)?;
        let code_file = self.home().join("code");
        private_file(&code_file, &code)?;
        let finished = self.loggia(&[
            "login",
            self.name,
            "--password-file",
            "password",
            "--code-file",
            "code",
        ])?;
        std::fs::remove_file(&code_file).context("removing the code")?;
        printed(&finished.expect_code(0)?.expect_words(&["signed in as"])?.stderr);
        Ok(())
    }

    /// `psql` with what `loggia pg-config` wrote: their certificate, no password.
    pub(crate) fn psql(&self, to: &str, application: &str, arguments: &[&str]) -> Command {
        typed(self.name, &format!("psql {} {}", shown(&[to]), shown(arguments)));
        let mut command = self.command(self.world.target.binary("psql"));
        command.env("PGSERVICEFILE", self.kept("pg_service.conf"));
        command.env("PGAPPNAME", application).env("PGCONNECT_TIMEOUT", "10");
        command.args(["-X", to]).args(arguments);
        command
    }

    /// A program of PostgreSQL's with a token as its password.
    pub(crate) fn with_token(
        &self,
        program: &str,
        user: &str,
        token: &str,
        arguments: &[&str],
    ) -> Command {
        typed(self.name, &format!("PGPASSWORD=$TOKEN {program} -U {user} {}", shown(arguments)));
        let mut command = self.command(self.world.target.binary(program));
        command
            .env("PGHOST", "localhost")
            .env("PGPORT", self.world.postgres_port.to_string())
            .env("PGSSLMODE", "verify-full")
            .env("PGSSLROOTCERT", self.kept("ca.pem"))
            .env("PGPASSWORD", token)
            .env("PGCONNECT_TIMEOUT", "10");
        command.args(["-U", user]).args(arguments);
        command
    }

    /// One of OpenSSH's clients, with what `loggia ssh-config` wrote.
    ///
    /// OpenSSH finds `~/.ssh/config` by the account and not by `HOME`, and the reader's own is not
    /// touched: `-F` stands in for the line `Include …` in it.
    pub(crate) fn open_ssh(&self, program: &str, arguments: &[&str]) -> Command {
        typed(self.name, &format!("{program} {}", shown(arguments)));
        let mut command = self.command(program);
        command.arg("-F").arg(self.kept("ssh_config")).args(arguments);
        command
    }

    /// `loggia` as they type it, to be run by the caller.
    pub(crate) fn loggia_command(&self, arguments: &[&str]) -> Command {
        typed(self.name, &format!("loggia {}", shown(arguments)));
        let mut command = self.command(&self.world.loggia);
        command.args(arguments);
        command
    }

    /// The token that they hold.
    pub(crate) fn token(&self) -> Result<String> {
        let token = std::fs::read_to_string(self.kept("token")).context("reading the token")?;
        Ok(token.trim().to_owned())
    }
}

/// The key pair of a service account, PEM: private and public.
pub(crate) fn key_pair() -> Result<(String, String)> {
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).context("making a key")?;
    Ok((key.serialize_pem(), key.public_key_pem()))
}

/// What an authenticator with this seed shows at a time.
fn one_time_code(seed: &str, seconds: u64) -> Result<String> {
    let seed = totp_rs::Secret::try_from_base32(seed.trim())
        .map_err(|_| anyhow::anyhow!("the seed is not base 32"))?;
    let builder = totp_rs::Builder::new().with_digits(6).with_step_duration(STEP_S);
    Ok(builder.with_secret(seed).build_noncompliant().generate(seconds).to_string())
}

#[expect(clippy::disallowed_methods, reason = "an authenticator goes by the wall clock")]
fn unix_seconds() -> Result<u64> {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Ok(since.context("the clock stands before 1970")?.as_secs())
}

/// Arguments as one would type them.
fn shown(arguments: &[&str]) -> String {
    let quote = |word: &&str| {
        let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_./:=~+,@".contains(letter);
        match word.chars().all(plain) && !word.is_empty() {
            true => (*word).to_owned(),
            false => format!("'{}'", word.replace('\'', "'\\''")),
        }
    };
    arguments.iter().map(quote).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_that_of_rfc_6238() {
        // Appendix B, the last six of eight digits.
        assert_eq!(one_time_code("GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ", 59).unwrap(), "287082");
    }

    #[test]
    fn arguments_are_shown_so_that_they_can_be_typed() {
        assert_eq!(shown(&["-c", "SELECT 1"]), "-c 'SELECT 1'");
        assert_eq!(shown(&["it's"]), "'it'\\''s'");
    }

    #[test]
    fn a_key_pair_has_a_public_key_in_pem() {
        let (private, public) = key_pair().unwrap();
        assert!(private.contains("PRIVATE KEY"));
        assert!(public.starts_with("-----BEGIN PUBLIC KEY-----"));
    }
}
