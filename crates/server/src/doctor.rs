//! `loggia check` and `loggia doctor`: what is wrong or not safe, before it hurts.

use crate::compose::{PROTOCOLS, checkpoint_copy};
use crate::config::Config;
use crate::system::{SystemSecrets, mint};
use loggia_control::{Declaration, DeclaredFile};
use loggia_identity::{Ca, SshAuthorities};
use loggia_model::Draft;
use loggia_model::port::{Append, AppendError, Appended, OnDisk, Secrets};
use loggia_model::resource::{Resource, UpstreamTls};
use loggia_policy::PolicySet;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// Fine; said because somebody may ask.
    Good,
    /// Works, but is not as safe as it could be.
    Warning,
    /// Does not work, or is not safe.
    Bad,
}

impl Severity {
    /// The word in reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Good => "ok",
            Self::Warning => "warning",
            Self::Bad => "bad",
        }
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone)]
pub struct Finding {
    /// How bad.
    pub severity: Severity,
    /// What was looked at, in a word.
    pub topic: &'static str,
    /// What was found.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

fn finding(severity: Severity, topic: &'static str, message: impl Into<String>) -> Finding {
    Finding { severity, topic, message: message.into(), hint: None }
}

impl Finding {
    fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// For a target to answer.
const TARGET_WAIT_MAX: Duration = Duration::from_secs(3);
/// What a server may say before its identification, in bytes.
const IDENTIFICATION_BYTES_MAX: u64 = 8 * 1024;
/// Below this, in bytes, the disk is nearly full.
const FREE_BYTES_LOW: u64 = 1 << 30;

/// Validates declarations: they parse, policies compile against the schema, targets resolve.
pub async fn check(config: &Config, files: &[DeclaredFile]) -> Vec<Finding> {
    let declaration = match Declaration::parse(files, &PROTOCOLS) {
        Ok(declaration) => declaration,
        Err(errors) => {
            return errors
                .0
                .iter()
                .map(|error| finding(Severity::Bad, "declaration", error.to_string()))
                .collect();
        }
    };
    let mut findings = Vec::new();
    let policies: Vec<(&str, &str)> = declaration.policies().collect();
    match PolicySet::compile(&policies) {
        Ok(set) => {
            let message = format!("{} policies compile", set.len());
            findings.push(finding(Severity::Good, "policies", message));
            for warning in set.warnings() {
                findings.push(finding(Severity::Warning, "policies", warning.to_string()));
            }
        }
        Err(errors) => {
            for error in &errors.0 {
                findings.push(finding(Severity::Bad, "policies", error.to_string()));
            }
        }
    }
    for resource in declaration.resources() {
        findings.push(resolves(resource).await);
        findings.extend(unsafe_leg(resource));
        findings.extend(missing_secrets(resource, &config.data));
    }
    findings
}

async fn resolves(resource: &Resource) -> Finding {
    let name = &resource.name;
    let lookup = tokio::net::lookup_host((resource.host.as_str(), resource.port));
    let found = tokio::time::timeout(TARGET_WAIT_MAX, lookup).await;
    if found.is_ok_and(|found| found.is_ok_and(|mut addresses| addresses.next().is_some())) {
        return finding(Severity::Good, "target", format!("`{name}`: {} resolves", resource.host));
    }
    finding(Severity::Bad, "target", format!("`{name}`: {} does not resolve", resource.host))
        .hint("check `address` of the resource")
}

fn unsafe_leg(resource: &Resource) -> Option<Finding> {
    let name = &resource.name;
    let (severity, message) = match resource.tls {
        UpstreamTls::VerifyFull => return None,
        UpstreamTls::Unverified => {
            (Severity::Warning, format!("`{name}`: the target's certificate is not looked at"))
        }
        UpstreamTls::Off => {
            (Severity::Warning, format!("`{name}`: the leg to the target is not encrypted"))
        }
    };
    Some(finding(severity, "target-tls", message).hint("set tls = \"verify-full\" and a ca_file"))
}

fn missing_secrets(resource: &Resource, data: &Path) -> Vec<Finding> {
    let secrets = resource.accounts.iter().flat_map(|account| {
        let password = account.password.as_ref().map(|reference| ("password", reference));
        let key = account.key.as_ref().map(|reference| ("key", reference));
        password.into_iter().chain(key).map(move |(what, reference)| (account, what, reference))
    });
    let missing = secrets.filter_map(|(account, what, reference)| {
        let error = SystemSecrets::new(data).resolve(reference).err()?;
        let message = format!(
            "`{}`: the {what} of `{}` cannot be read: {}",
            resource.name,
            account.name,
            error.cause.unwrap_or_default()
        );
        Some(
            finding(Severity::Bad, "secrets", message)
                .hint("the reference is read by the gateway, in its own environment"),
        )
    });
    missing.collect()
}

/// Looks at a configured gateway's machine: disk, clock, keys, targets, what is not safe.
pub async fn doctor(config: &Config) -> Vec<Finding> {
    let mut findings = vec![free_space(&config.data)];
    findings.extend(key_permissions(&config.keys()));
    findings.push(copy_of_checkpoint(config));
    findings.extend(witnesses(config).await);
    findings.push(authorities(config));
    findings.push(ssh_host_key(config));
    findings.push(clock());
    findings.extend(listeners(config));
    findings.extend(control_state(config).await);
    findings
}

fn free_space(data: &Path) -> Finding {
    match rustix::fs::statvfs(data) {
        Ok(stat) => {
            let free = stat.f_bavail.saturating_mul(stat.f_frsize);
            let message = format!("{} MiB free for the data folder", free >> 20);
            if free < FREE_BYTES_LOW {
                finding(Severity::Warning, "disk", message).hint(
                    "when the disk is full, nothing is recorded and so nothing is let through",
                )
            } else {
                finding(Severity::Good, "disk", message)
            }
        }
        Err(error) => finding(Severity::Bad, "disk", format!("{}: {error}", data.display()))
            .hint("`loggia init` makes the data folder"),
    }
}

fn key_permissions(keys: &Path) -> Vec<Finding> {
    let Ok(entries) = std::fs::read_dir(keys) else {
        let message = format!("{} cannot be read", keys.display());
        return vec![finding(Severity::Bad, "keys", message)];
    };
    let mut findings = Vec::new();
    let mut replaced = Vec::new();
    for entry in entries.filter_map(Result::ok) {
        if entry.file_name().to_string_lossy().ends_with(".previous.key") {
            let message = "a log key that was replaced still signs";
            replaced.push(finding(Severity::Warning, "keys", message).hint(
                "once every witness and auditor has the new one: `loggia ledger retire-key`",
            ));
        }
        let public = entry.file_name() == "ca.pem";
        let mode = entry.metadata().map(|meta| meta.permissions().mode() & 0o077).unwrap_or(0o077);
        if mode != 0 && !public {
            let message = format!("{} is open to others than its owner", entry.path().display());
            findings.push(finding(Severity::Bad, "keys", message).hint("chmod 600 it"));
        }
    }
    if findings.is_empty() {
        findings.push(finding(Severity::Good, "keys", "only their owner can read the keys"));
    }
    findings.extend(replaced);
    findings
}

fn copy_of_checkpoint(config: &Config) -> Finding {
    let copy = checkpoint_copy(config);
    if !copy.exists() {
        let message = format!("no checkpoint in its second place, {}", copy.display());
        return finding(Severity::Warning, "checkpoint", message)
            .hint("after the first minute of running it should be there; best on another disk");
    }
    let inside = copy.starts_with(&config.data);
    if inside {
        let message = "the second place of the checkpoint lies inside the data folder";
        return finding(Severity::Warning, "checkpoint", message)
            .hint("set ledger.checkpoint_copy to a place that is not restored with the folder");
    }
    finding(Severity::Good, "checkpoint", format!("second place: {}", copy.display()))
}

/// Who keeps the operator of this log honest, and what they have seen of it.
async fn witnesses(config: &Config) -> Vec<Finding> {
    const TOPIC: &str = "witnesses";
    let peers = match crate::witnesses::peers(config) {
        Ok(peers) => peers,
        Err(error) => return vec![finding(Severity::Bad, TOPIC, format!("{error:#}"))],
    };
    if peers.is_empty() {
        let message = "none: who holds this log's key can rewrite it unnoticed, and every verdict \
                       says operator-trusted only";
        return vec![finding(Severity::Warning, TOPIC, message).hint(
            "run `loggia witness` on a second machine (against whoever breaks into this one), ask \
             a colleague or a customer to run one (against you too), or keep a checkpoint in an \
             object store with a lock from time to time (against both, up to that checkpoint)",
        )];
    }
    let mut findings = Vec::new();
    if let Err(error) = crate::witnesses::policy(config) {
        findings.push(finding(Severity::Bad, TOPIC, format!("{error:#}")));
    }
    for peer in &peers {
        let name = &peer.name;
        let asked =
            loggia_ledger::ask_witnesses(&config.data, std::slice::from_ref(peer), TARGET_WAIT_MAX);
        let found = match asked.await {
            Err(error) => Err(error),
            Ok(seen) => match seen.first() {
                Some(seen) => loggia_ledger::compare(&config.data, seen).map(Some),
                None => Ok(None),
            },
        };
        findings.push(match found {
            Ok(Some(size)) => {
                let message = format!("`{name}` has seen {size} entries of this very log");
                finding(Severity::Good, TOPIC, message)
            }
            Ok(None) => {
                let message = format!("`{name}` does not answer, or has seen nothing of this log");
                finding(Severity::Warning, TOPIC, message)
                    .hint("is it up, and does it have this log's key?")
            }
            Err(error) => {
                let hint = error.hint();
                Finding { hint, ..finding(Severity::Bad, TOPIC, format!("`{name}`: {error}")) }
            }
        });
    }
    findings
}

fn authorities(config: &Config) -> Finding {
    if !config.keys().join("ca.pem").exists() {
        return finding(Severity::Bad, "certificates", "there is no certificate authority yet")
            .hint("`loggia init` makes it");
    }
    match Ca::open_or_create(&config.keys(), &mint(), &config.names) {
        Ok(ca) => {
            let days = (ca.server().not_after_s - mint().now_us() / 1_000_000) / 86_400;
            let message = format!("the servers' certificate is valid for {days} more days");
            finding(Severity::Good, "certificates", message)
        }
        Err(error) => {
            let hint = error.hint();
            let found = finding(Severity::Bad, "certificates", error.to_string());
            Finding { hint, ..found }
        }
    }
}

/// The fingerprint is what somebody is shown who connects without `loggia ssh-config`.
fn ssh_host_key(config: &Config) -> Finding {
    if !config.keys().join("ssh-host.key").exists() {
        let message = "there is no SSH host key yet";
        return finding(Severity::Warning, "ssh", message).hint("the next `loggia up` makes it");
    }
    match SshAuthorities::open_or_create(&config.keys(), &mint(), "") {
        Ok(ssh) => {
            let message = format!("the SSH host key is {}", ssh.host_fingerprint());
            finding(Severity::Good, "ssh", message)
        }
        Err(error) => {
            let hint = error.hint();
            let found = finding(Severity::Bad, "ssh", error.to_string());
            Finding { hint, ..found }
        }
    }
}

fn clock() -> Finding {
    // Without a time service of our own the kernel's word is what there is.
    let synchronised = std::path::Path::new("/run/systemd/timesync/synchronized").exists()
        || std::path::Path::new("/run/chrony").exists()
        || std::path::Path::new("/run/ntpd.pid").exists();
    if synchronised {
        return finding(Severity::Good, "clock", "a time service keeps the clock");
    }
    finding(Severity::Warning, "clock", "no time service was found")
        .hint("events carry this clock; install chrony or systemd-timesyncd")
}

fn listeners(config: &Config) -> Vec<Finding> {
    let listen = &config.listen;
    let open = [
        ("api", listen.api),
        ("postgres", listen.postgres),
        ("ssh", listen.ssh),
        ("metrics", listen.metrics),
    ];
    let mut findings = Vec::new();
    for (name, address) in open {
        if name == "metrics" && !address.ip().is_loopback() {
            let message = format!("metrics are open to the network on {address}, without sign-in");
            findings.push(finding(Severity::Warning, "listen", message));
        }
    }
    findings
}

async fn control_state(config: &Config) -> Vec<Finding> {
    if !config.control_db().exists() {
        return vec![finding(Severity::Bad, "control", "there is no control database yet")];
    }
    let opened =
        loggia_control::Control::open(&config.control_db(), mint(), Arc::new(ReadOnly)).await;
    let control = match opened {
        Ok(control) => control,
        Err(error) => return vec![finding(Severity::Bad, "control", error.to_string())],
    };
    let mut findings = Vec::new();
    if let Some(errors) = control.policy_errors() {
        findings.push(finding(
            Severity::Bad,
            "policies",
            format!("the stored policies are not in force, everything is denied: {errors}"),
        ));
    }
    for resource in control.resources() {
        findings.push(reaches(&resource).await);
        findings.extend(unsafe_leg(&resource));
        findings.extend(missing_secrets(&resource, &config.data));
    }
    control.close().await;
    findings
}

async fn reaches(resource: &Resource) -> Finding {
    let name = &resource.name;
    let address = (resource.host.as_str(), resource.port);
    let connect = tokio::net::TcpStream::connect(address);
    match tokio::time::timeout(TARGET_WAIT_MAX, connect).await {
        Ok(Ok(stream)) if resource.protocol == "ssh" => speaks_ssh(name, stream).await,
        Ok(Ok(_)) => finding(Severity::Good, "target", format!("`{name}` answers")),
        Ok(Err(error)) => finding(Severity::Bad, "target", format!("`{name}`: {error}"))
            .hint("is it up, and reachable from this machine?"),
        Err(_) => finding(Severity::Bad, "target", format!("`{name}` does not answer in time")),
    }
}

/// An SSH server says so before it is asked (RFC 4253 section 4.2); lines may stand before. Its
/// host key is looked at when a session begins, and a wrong one is refused there.
async fn speaks_ssh(name: &str, stream: tokio::net::TcpStream) -> Finding {
    let mut lines = BufReader::new(stream.take(IDENTIFICATION_BYTES_MAX)).lines();
    let said = tokio::time::timeout(TARGET_WAIT_MAX, async {
        while let Ok(Some(line)) = lines.next_line().await {
            if line.starts_with("SSH-2.0-") || line.starts_with("SSH-1.99-") {
                return true;
            }
        }
        false
    });
    if said.await.unwrap_or(false) {
        return finding(Severity::Good, "target", format!("`{name}` answers and speaks SSH"));
    }
    finding(Severity::Bad, "target", format!("`{name}` answers, but not as an SSH server"))
        .hint("check `address` of the resource")
}

/// A ledger for those who only read control state.
struct ReadOnly;

#[async_trait::async_trait]
impl Append for ReadOnly {
    fn append(&self, _drafts: &[Draft]) -> Result<Appended, AppendError> {
        Err(AppendError::Closed("only reading".to_owned()))
    }

    fn append_soon(&self, _draft: Draft) -> Result<(), AppendError> {
        Err(AppendError::Closed("only reading".to_owned()))
    }

    async fn on_disk(&self, _appended: &Appended) -> Result<OnDisk, AppendError> {
        Err(AppendError::Closed("only reading".to_owned()))
    }

    async fn resumed(&self, _wait_max: Duration) -> bool {
        false
    }

    fn origin(&self) -> String {
        String::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;

    /// What is found of a server that says this and hangs up.
    async fn found(said: &'static [u8]) -> Severity {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.unwrap();
            let _ = socket.write_all(said).await;
        });
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let found = speaks_ssh("web-1", stream).await;
        server.await.unwrap();
        found.severity
    }

    #[tokio::test]
    async fn an_ssh_server_is_told_from_another() {
        assert_eq!(found(b"SSH-2.0-OpenSSH_9.2\r\n").await, Severity::Good);
        assert_eq!(found(b"hello\r\nSSH-2.0-x\r\n").await, Severity::Good);
        assert_eq!(found(b"220 mail ready\r\n").await, Severity::Bad);
        assert_eq!(found(b"").await, Severity::Bad);
        assert_eq!(found(&[b'x'; 20_000]).await, Severity::Bad);
    }
}
