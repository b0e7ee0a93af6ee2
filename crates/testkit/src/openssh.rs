//! A real OpenSSH server for one test, unprivileged, on a loopback port, with witnesses of its
//! own: who came in, and which commands were executed.
//!
//! An unprivileged server lets in only the account that it runs as, and only by key or
//! certificate. What the witnesses wrote is compared with what the ledger says.

pub mod client;
pub mod keys;
pub mod payload;
mod programs;
pub mod terminal;
mod witness;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::account::{Account, Login};
use crate::folder::{Workspace, free_port};
use crate::process::ManagedProcess;

pub use client::{OpenSsh, Ran, finish};
pub use keys::SshKey;
pub use payload::{sha256_of, write_payload};
pub use programs::{Programs, programs};
pub use terminal::Terminal;
pub use witness::Accepted;

/// How long the server may take to listen.
const START_PATIENCE: Duration = Duration::from_secs(20);
/// How long it may take to end in good order before it is killed.
const STOP_PATIENCE: Duration = Duration::from_secs(10);
/// How often another port is tried when somebody took the free one first.
const PORT_TRIES: u32 = 4;

/// How a server is set up. `Default` is what tests want.
#[derive(Debug, Clone, Default)]
pub struct SshdOptions {
    /// Whether the host key has a certificate of an authority, see [`Sshd::host_ca`].
    pub host_certificate: bool,
    /// Whether commands are executed without the witness: OpenSSH sends no signals to commands
    /// that it executes by way of another (`ForceCommand`).
    pub unwitnessed: bool,
    /// Further settings, as name and value of `sshd_config`; they win.
    pub settings: Vec<(String, String)>,
}

/// Whether [`Sshd::start`] has what it needs, for shells in terminals, too: the programs, an
/// account, the clients. Fails, saying what to do, where it has not.
pub fn available() -> Result<()> {
    programs()?;
    let account = Account::for_servers()?;
    account.login()?;
    account.hands_out_terminals(terminal::group_of_new()?)?;
    keys::available()
}

impl SshdOptions {
    /// Adds a setting.
    #[must_use]
    pub fn setting(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.into(), value.into()));
        self
    }
}

/// A running OpenSSH server; dropping it ends its sessions, stops it and removes its folder.
pub struct Sshd {
    /// The port on 127.0.0.1.
    pub port: u16,
    /// The account that it runs as, and the only one that it lets in.
    pub account: String,
    /// A key that may log in.
    pub key: SshKey,
    /// The authority of the host certificate, where there is one.
    pub host_ca: Option<SshKey>,
    host_key: SshKey,
    programs: Programs,
    login: Login,
    options: SshdOptions,
    // The process before the folder: it is dropped first.
    process: Option<ManagedProcess>,
    workspace: Workspace,
}

impl Sshd {
    /// Starts a server, ready for connections on return.
    ///
    /// Fails, saying what to do, when there is no OpenSSH server, or no account that it could
    /// run as.
    pub fn start(options: SshdOptions) -> Result<Self> {
        let account = Account::for_servers()?.with_terminals()?;
        let login = account.login()?;
        let workspace = Workspace::new("sshd")?;
        let programs = programs()?.reachable(&workspace)?;
        let host_key = SshKey::generate(workspace.path(), "host")?;
        let key = SshKey::generate(workspace.path(), "key")?;
        let host_ca = match options.host_certificate {
            true => Some(SshKey::generate(workspace.path(), "host-ca")?),
            false => None,
        };
        for (name, text) in [("authorized_keys", key.public.as_str()), ("user-ca.pub", "")] {
            let path = workspace.join(name);
            std::fs::write(&path, format!("{text}\n")).context("writing the accepted keys")?;
        }
        let home = workspace.join("home");
        std::fs::create_dir(&home).context("making a home")?;
        login.account.give(&home)?;
        witness::set_up(&workspace, login.account)?;
        let mut server = Self {
            port: 0,
            account: login.name.clone(),
            key,
            host_ca,
            host_key,
            programs,
            login,
            options,
            process: None,
            workspace,
        };
        server.prepare_host_key()?;
        server.start_on_a_free_port()?;
        server.write_client_files()?;
        Ok(server)
    }

    /// Where the server listens.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The host's public key: type and key, as in `known_hosts`.
    pub fn host_key(&self) -> &str {
        &self.host_key.public
    }

    /// The home of the account, where commands run and files are looked for.
    pub fn home(&self) -> PathBuf {
        self.workspace.join("home")
    }

    /// Puts a file into the home of the account.
    pub fn put(&self, name: &str, text: &str) -> Result<()> {
        let path = self.home().join(name);
        std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
        self.login.account.give(&path)
    }

    /// The folder of everything that belongs to this server.
    pub fn folder(&self) -> &Path {
        self.workspace.path()
    }

    /// The process id while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(ManagedProcess::pid)
    }

    /// Lets this key in: a line as in `authorized_keys`, with options if wanted.
    pub fn authorize(&self, line: &str) -> Result<()> {
        append(&self.workspace.join("authorized_keys"), line)
    }

    /// Takes certificates of this authority (`TrustedUserCAKeys`); their principals must name
    /// the account.
    pub fn trust_user_ca(&self, line: &str) -> Result<()> {
        append(&self.workspace.join("user-ca.pub"), line)
    }

    /// OpenSSH's clients, going directly to this server, which they know as `target`.
    pub fn direct(&self) -> OpenSsh {
        OpenSsh::new(self.workspace.join("ssh_config"))
    }

    /// The texts of the commands that were executed, as the target got them, in order; a
    /// subsystem is the path of its program. Written before each is executed.
    pub fn executed(&self) -> Result<Vec<String>> {
        witness::read(&self.workspace.join(witness::EXECUTED))
    }

    /// What stands for a transfer by SFTP in [`Sshd::executed`]: the path of the program.
    pub fn file_server(&self) -> String {
        self.programs.file_server.display().to_string()
    }

    /// What shells were told: each line of an interactive one, each simple command of one
    /// without a terminal. Written before it is executed.
    pub fn typed(&self) -> Result<Vec<String>> {
        witness::read(&self.workspace.join(witness::TYPED))
    }

    /// Who was let in, by the server's own log, in order.
    pub fn accepted(&self) -> Vec<Accepted> {
        self.log().lines().filter_map(Accepted::parse).collect()
    }

    /// The server's log, over all its starts, at level VERBOSE.
    pub fn log(&self) -> String {
        let path = self.workspace.join("sshd.stderr");
        String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
    }

    /// Stops the server and cuts its sessions; its keys stay.
    pub fn stop(&mut self) -> Result<()> {
        if let Some(mut process) = self.process.take() {
            // While the server lives, its sessions can be told by their parent.
            let sessions = descendants(process.pid());
            process.stop(STOP_PATIENCE)?;
            end(&sessions);
        }
        end(&self.commands());
        Ok(())
    }

    /// Whether anybody is logged in, or anything of a session still runs.
    pub fn busy(&self) -> bool {
        self.pid().is_some_and(|pid| !descendants(pid).is_empty()) || !self.commands().is_empty()
    }

    /// Cuts all sessions; the server goes on.
    pub fn cut_sessions(&self) {
        let sessions = self.pid().map(descendants).unwrap_or_default();
        end(&sessions);
        end(&self.commands());
    }

    /// Starts a stopped server again, on the same port.
    pub fn start_again(&mut self) -> Result<()> {
        if self.process.is_some() {
            bail!("the server runs already");
        }
        self.launch()
    }

    /// Starts again on the same port with another host key, as somebody in the middle would.
    ///
    /// [`Sshd::direct`] goes on knowing the old one.
    pub fn change_host_key(&mut self) -> Result<()> {
        self.stop()?;
        self.host_key = SshKey::generate(self.workspace.path(), "other-host")?;
        self.prepare_host_key()?;
        self.launch()
    }

    /// Commands of sessions, told by the home in their environment: they may outlive the server.
    fn commands(&self) -> Vec<u32> {
        let mark = format!("HOME={}", self.home().display());
        processes()
            .filter(|pid| {
                let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
                environment.split(|byte| *byte == 0).any(|entry| entry == mark.as_bytes())
            })
            .collect()
    }

    fn prepare_host_key(&self) -> Result<()> {
        if let Some(authority) = &self.host_ca {
            let names = "127.0.0.1,localhost,target";
            authority.certify(&self.host_key, &["-h", "-I", "host of a test", "-n", names])?;
        }
        self.login.account.give(&self.host_key.path)
    }

    fn write_client_files(&self) -> Result<()> {
        let known = self.workspace.join("known_hosts");
        std::fs::write(&known, format!("[127.0.0.1]:{} {}\n", self.port, self.host_key()))
            .context("writing known_hosts")?;
        let text = format!(
            "Host target\n  HostName 127.0.0.1\n  Port {}\n  User {}\n  IdentityFile {}\n  \
             IdentitiesOnly yes\n  StrictHostKeyChecking yes\n  UserKnownHostsFile {}\n",
            self.port,
            self.account,
            self.key.path.display(),
            known.display(),
        );
        std::fs::write(self.workspace.join("ssh_config"), text).context("writing ssh_config")
    }

    fn start_on_a_free_port(&mut self) -> Result<()> {
        for _ in 0..PORT_TRIES {
            self.port = free_port()?;
            match self.launch() {
                Ok(()) => return Ok(()),
                Err(_) if self.log().contains("Address already in use") => {
                    std::fs::remove_file(self.workspace.join("sshd.stderr"))
                        .context("removing the log")?;
                }
                Err(error) => return Err(error),
            }
        }
        bail!("no free port for sshd in {PORT_TRIES} tries")
    }

    fn launch(&mut self) -> Result<()> {
        let configuration = self.workspace.join("sshd_config");
        std::fs::write(&configuration, self.configuration()).context("writing sshd_config")?;
        let already_there = self.log().len();
        let mut command = Command::new(&self.programs.server);
        command.args(["-D", "-e", "-f"]).arg(&configuration);
        command.current_dir("/").env_clear().env("PATH", "/usr/bin:/bin");
        if let Some(libraries) = &self.programs.libraries {
            command.env("LD_LIBRARY_PATH", libraries);
        }
        self.login.account.apply(&mut command);
        let mut process = ManagedProcess::spawn("sshd", command, self.workspace.path())?;
        process.wait_ready(START_PATIENCE, |process| {
            let log = process.stderr();
            Ok(log.get(already_there..).unwrap_or_default().contains("Server listening on"))
        })?;
        self.process = Some(process);
        Ok(())
    }

    /// The text of `sshd_config`: the first value of a setting wins, so own settings come first.
    fn configuration(&self) -> String {
        let at = |name: &str| self.workspace.join(name).display().to_string();
        let mut settings = self.options.settings.clone();
        let ours = [
            ("ListenAddress", self.address()),
            ("HostKey", self.host_key.path.display().to_string()),
            ("PidFile", "none".into()),
            ("UsePAM", "no".into()),
            ("UseDNS", "no".into()),
            ("StrictModes", "no".into()),
            ("PasswordAuthentication", "no".into()),
            ("KbdInteractiveAuthentication", "no".into()),
            ("AuthorizedKeysFile", at("authorized_keys")),
            ("TrustedUserCAKeys", at("user-ca.pub")),
            ("Subsystem", format!("sftp {}", self.programs.file_server.display())),
            ("AcceptEnv", "*".into()),
            ("SetEnv", format!("HOME={}", at("home"))),
            ("MaxStartups", "1000".into()),
            ("MaxSessions", "1000".into()),
            ("PrintMotd", "no".into()),
            ("PrintLastLog", "no".into()),
            ("LogLevel", "VERBOSE".into()),
        ];
        settings.extend(ours.map(|(name, value)| (name.to_string(), value)));
        if !self.options.unwitnessed {
            settings.push(("ForceCommand".into(), at(witness::WRAPPER)));
        }
        if self.host_ca.is_some() {
            let certificate = self.host_key.certificate();
            settings.push(("HostCertificate".into(), certificate.display().to_string()));
        }
        for (name, path) in &self.programs.session_parts {
            settings.push(((*name).to_string(), path.display().to_string()));
        }
        if !self.programs.session_parts.is_empty() {
            // As old as those parts: pauses for addresses that fail, and all tests share one.
            settings.push(("PerSourcePenalties".into(), "no".into()));
        }
        settings.iter().map(|(name, value)| format!("{name} {value}\n")).collect()
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            eprintln!("could not stop sshd: {error:#}");
        }
    }
}

/// Adds a line to a file that the server reads anew for each login.
fn append(path: &Path, line: &str) -> Result<()> {
    let mut text = std::fs::read_to_string(path).context("reading the accepted keys")?;
    text.push_str(line.trim_end());
    text.push('\n');
    std::fs::write(path, text).context("writing the accepted keys")
}

/// The ids of all processes that can be seen.
fn processes() -> impl Iterator<Item = u32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// Children of a process, their children, and so on.
fn descendants(ancestor: u32) -> Vec<u32> {
    let parents: Vec<(u32, u32)> =
        processes().filter_map(|pid| Some((pid, parent_of(pid)?))).collect();
    let mut found = vec![ancestor];
    let mut looked_at = 0;
    while let Some(parent) = found.get(looked_at).copied() {
        found.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid));
        looked_at += 1;
    }
    found.split_off(1)
}

fn parent_of(pid: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in brackets, may contain anything; state and parent follow.
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(1)?.parse().ok()
}

/// Kills what is still there.
fn end(processes: &[u32]) {
    for pid in processes {
        let pid = i32::try_from(*pid).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid {
            // One that has ended by itself needs no signal.
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

#[cfg(test)]
mod tests;
