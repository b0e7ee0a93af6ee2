//! What people do with a gateway under test: enrol, run the binary, connect, search, verify.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context as _, Result, bail};

use super::GatewayUnderTest;
use crate::openssh::OpenSsh;

/// The password of everybody who is enrolled here.
const PASSWORD: &str = "correct horse battery staple";

/// What `loggia verify` said.
#[derive(Debug, Clone)]
pub struct Verified {
    /// The exit code: 0 intact, 10 tampered, 11 incomplete, 12 another log; 2 used wrongly.
    pub exit_code: Option<i32>,
    /// The report, as `--json` gives it; null where there is none.
    pub report: serde_json::Value,
    /// Everything that was printed, for people.
    pub text: String,
}

impl GatewayUnderTest {
    /// The folder of a person's sign-in: `ca.pem`, `cert.pem`, `key.pem`, `token`.
    pub fn home(&self, person: &str) -> PathBuf {
        self.workspace.join("people").join(person)
    }

    /// The certificate of the authority of the gateway's own servers.
    pub fn ca_file(&self, person: &str) -> PathBuf {
        self.home(person).join("ca.pem")
    }

    /// The environment for libpq programs: this person, by token, on this resource, with this
    /// account (without: the resource's first), in the database `postgres`.
    pub fn psql_env(
        &self,
        person: &str,
        resource: &str,
        account: Option<&str>,
    ) -> Result<Vec<(&'static str, String)>> {
        let token = self.home(person).join("token");
        let token = std::fs::read_to_string(&token)
            .with_context(|| format!("reading {}", token.display()))?;
        let mut environment = self.place(person, resource, account);
        environment.push(("PGPASSWORD", token.trim().to_string()));
        Ok(environment)
    }

    /// [`Self::psql_env`] with the person's client certificate in place of the token.
    pub fn psql_env_certificate(
        &self,
        person: &str,
        resource: &str,
        account: Option<&str>,
    ) -> Vec<(&'static str, String)> {
        let file = |name: &str| self.home(person).join(name).display().to_string();
        let mut environment = self.place(person, resource, account);
        environment.push(("PGSSLCERT", file("cert.pem")));
        environment.push(("PGSSLKEY", file("key.pem")));
        environment
    }

    fn place(
        &self,
        person: &str,
        resource: &str,
        account: Option<&str>,
    ) -> Vec<(&'static str, String)> {
        let user = match account {
            Some(account) => format!("{account}~{resource}"),
            None => resource.to_string(),
        };
        vec![
            ("PGHOST", "127.0.0.1".into()),
            ("PGPORT", self.ports.postgres.to_string()),
            ("PGUSER", user),
            ("PGDATABASE", "postgres".into()),
            ("PGSSLMODE", "verify-full".into()),
            ("PGSSLROOTCERT", self.ca_file(person).display().to_string()),
            ("PGCONNECT_TIMEOUT", "10".into()),
        ]
    }

    /// OpenSSH's clients as this person, with the configuration that `loggia ssh-config` writes:
    /// every resource over SSH is a host of its name.
    pub fn open_ssh(&self, person: &str) -> Result<OpenSsh> {
        let config = self.home(person).join("ssh_config");
        let path = config.display().to_string();
        let port = self.ports.ssh.to_string();
        self.succeed(Some(person), &["ssh-config", "--port", &port, "--out", &path])?;
        Ok(OpenSsh::new(config))
    }

    /// A command of the binary, with a person's sign-in or nobody's.
    pub fn command(&self, person: Option<&str>) -> Command {
        let mut command = Command::new(&self.options.program);
        let home = self.home(person.unwrap_or("nobody"));
        command
            .env("LOGGIA_HOME", home)
            .env("XDG_STATE_HOME", self.workspace.join("state"))
            .env("LOGGIA_CONFIG", self.config_file())
            .env("NO_COLOR", "1")
            .stdin(Stdio::null());
        command
    }

    /// Runs a command of the binary to its end.
    pub fn run(&self, person: Option<&str>, arguments: &[&str]) -> Result<Output> {
        let mut command = self.command(person);
        command.args(arguments);
        command.output().with_context(|| format!("running loggia {}", arguments.join(" ")))
    }

    /// Runs a command that must succeed; gives its standard output.
    pub fn succeed(&self, person: Option<&str>, arguments: &[&str]) -> Result<String> {
        let output = self.run(person, arguments)?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_string();
            bail!("loggia {} ended with {}: {said}", arguments.join(" "), output.status);
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// All events that match, newest first, as `loggia search --json` gives them.
    pub fn search(&self, person: &str, query: &str) -> Result<Vec<serde_json::Value>> {
        let found = self.succeed(Some(person), &["search", "--json", "--all", "--", query])?;
        found
            .lines()
            .map(|line| serde_json::from_str(line).context("reading what the search found"))
            .collect()
    }

    /// Checks the whole log offline, against checkpoints that were seen before.
    pub fn verify(&self, known_checkpoints: &[PathBuf]) -> Result<Verified> {
        self.verify_folder(&self.data, known_checkpoints)
    }

    /// [`Self::verify`] of a copy of the data folder.
    pub fn verify_folder(&self, data: &Path, known_checkpoints: &[PathBuf]) -> Result<Verified> {
        let mut command = self.command(None);
        command.arg("verify").arg(data).args(["--json", "--key", &self.key]);
        for checkpoint in known_checkpoints {
            command.arg("--known-checkpoint").arg(checkpoint);
        }
        let output = command.output().context("running loggia verify")?;
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        Ok(Verified {
            exit_code: output.status.code(),
            report: serde_json::from_str(stdout.trim()).unwrap_or_default(),
            text: format!("{stdout}{}", String::from_utf8_lossy(&output.stderr)),
        })
    }

    pub(super) fn enrol_everybody(&self) -> Result<()> {
        let said = self.log();
        for person in &self.options.people {
            let mark = format!("for {person},");
            let code = said.lines().skip_while(|line| !line.contains(&mark)).nth(1);
            let code =
                code.with_context(|| format!("no enrolment code for {person} in:\n{said}"))?;
            self.enrol(person, code.trim())?;
        }
        Ok(())
    }

    /// Enrols a person with a code, non-interactively; they are signed in then.
    pub fn enrol(&self, person: &str, code: &str) -> Result<()> {
        let password = self.workspace.join("password");
        std::fs::write(&password, PASSWORD).context("writing a password")?;
        let seed = self.workspace.join(format!("totp-{person}"));
        let mut command = self.command(Some(person));
        command.args(["enrol", "-", "--no-input", "--password-file"]).arg(password);
        command.arg("--totp-file").arg(seed);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().context("running loggia enrol")?;
        if let Some(mut input) = child.stdin.take() {
            // An early end breaks the pipe; the status says why.
            let _ = writeln!(input, "{code}");
        }
        let output = child.wait_with_output().context("waiting for loggia enrol")?;
        if !output.status.success() {
            bail!("enrolling {person}: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(())
    }

    /// The files to sign a person in again: password and seed of the authenticator, for
    /// `loggia login NAME --password-file … --totp-file …`. A code is good once in 30 seconds.
    pub fn login_files(&self, person: &str) -> (PathBuf, PathBuf) {
        (self.workspace.join("password"), self.workspace.join(format!("totp-{person}")))
    }
}
