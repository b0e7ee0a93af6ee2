//! A real gateway in front of real servers: made, enrolled, started, killed and read back.
//!
//! Everything goes through the one binary, as a person would do it: `init`, `up --apply`,
//! `enrol`, `verify`. What was recorded is read from the log folder itself, not asked of the
//! gateway (see [`recorded`]).

mod clients;
mod options;
mod recorded;

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use crate::folder::{Workspace, free_port};
use crate::process::ManagedProcess;

pub use clients::Verified;
pub use options::{GatewayOptions, SshSignIn, SshTarget, Target, program};
pub use recorded::{RecordedEvent, RecordedStatement, statements as statements_of};

/// How long a gateway may take from its start until it is ready.
const START_PATIENCE: Duration = Duration::from_secs(60);
/// How long it may take to end in good order before it is killed.
const STOP_PATIENCE: Duration = Duration::from_secs(30);
/// How long an answer over HTTP may take.
const HTTP_PATIENCE: Duration = Duration::from_secs(5);
/// Between two looks whether it is ready.
const LOOK_EVERY: Duration = Duration::from_millis(1);
/// How often other ports are tried when somebody took a free one first.
const PORT_TRIES: u32 = 4;

/// Where a gateway listens, on 127.0.0.1.
#[derive(Debug, Clone, Copy)]
pub struct Ports {
    /// API.
    pub api: u16,
    /// PostgreSQL.
    pub postgres: u16,
    /// SSH.
    pub ssh: u16,
    /// Metrics, `/healthz`, `/readyz`.
    pub metrics: u16,
}

impl Ports {
    fn free() -> Result<Self> {
        Ok(Self {
            api: free_port()?,
            postgres: free_port()?,
            ssh: free_port()?,
            metrics: free_port()?,
        })
    }
}

/// A gateway under test. Dropping it stops it and removes its folder.
pub struct GatewayUnderTest {
    /// Where it listens.
    pub ports: Ports,
    /// The data folder.
    pub data: PathBuf,
    /// The log's verification key, as `init` printed it.
    pub key: String,
    options: GatewayOptions,
    // The process before the folder: it is dropped first.
    process: Option<ManagedProcess>,
    workspace: Workspace,
}

impl GatewayUnderTest {
    /// Makes a data folder, starts the gateway on free ports with everything declared, waits until
    /// it is ready and enrols everybody.
    pub fn start(options: GatewayOptions) -> Result<Self> {
        let mut gateway = Self::initialised(options)?;
        gateway.options.declare(gateway.workspace.path())?;
        gateway.start_on_free_ports()?;
        gateway.enrol_everybody()?;
        Ok(gateway)
    }

    /// Only makes the data folder, with ports chosen, for those who measure the first start.
    pub fn initialised(options: GatewayOptions) -> Result<Self> {
        let workspace = Workspace::new("gateway")?;
        let data = options.data.clone().unwrap_or_else(|| workspace.join("data"));
        let mut gateway = Self {
            ports: Ports::free()?,
            data,
            key: String::new(),
            options,
            process: None,
            workspace,
        };
        gateway.initialise()?;
        Ok(gateway)
    }

    /// The process id while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(ManagedProcess::pid)
    }

    /// What it wrote to standard error so far, over all its starts.
    pub fn log(&self) -> String {
        let path = self.workspace.join("loggia.stderr");
        String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
    }

    /// The folder of everything but, perhaps, the data.
    pub fn folder(&self) -> &Path {
        self.workspace.path()
    }

    /// The configuration file.
    pub fn config_file(&self) -> PathBuf {
        self.workspace.join("loggia.toml")
    }

    /// SIGKILL.
    pub fn kill_nine(&mut self) -> Result<()> {
        if let Some(mut process) = self.process.take() {
            process.kill_nine()?;
        }
        Ok(())
    }

    /// Ends it in good order; sessions may finish for a second.
    pub fn stop(&mut self) -> Result<Option<ExitStatus>> {
        match self.process.take() {
            Some(mut process) => Ok(Some(process.stop(STOP_PATIENCE)?)),
            None => Ok(None),
        }
    }

    /// The exit status, if it ended by itself.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.process.as_mut().map_or(Ok(None), ManagedProcess::ended)
    }

    /// Starts it again over what is there. Gives the time from the start of the process until
    /// `/readyz` said yes.
    pub fn start_again(&mut self) -> Result<Duration> {
        ensure!(self.process.is_none(), "the gateway runs already");
        self.launch(false)
    }

    /// Whether `/readyz` says yes.
    pub fn ready(&self) -> bool {
        self.get("/readyz").is_ok_and(|(status, _)| status == 200)
    }

    /// Status and body of a path of the metrics listener.
    pub fn get(&self, path: &str) -> Result<(u16, String)> {
        http_get(self.ports.metrics, path)
    }

    /// A metric: the sum over its labels; `None` where it is not there.
    pub fn metric(&self, name: &str) -> Result<Option<f64>> {
        let (_, text) = self.get("/metrics")?;
        let values = text.lines().filter_map(|line| {
            let (metric, value) = line.rsplit_once(' ')?;
            let bare = metric.split_once('{').map_or(metric, |(bare, _)| bare);
            (bare == name).then(|| value.parse::<f64>().ok()).flatten()
        });
        Ok(values.fold(None, |sum, value| Some(sum.unwrap_or(0.0) + value)))
    }

    /// Resident memory in bytes, and the most it ever was.
    pub fn memory(&self) -> Result<(u64, u64)> {
        let pid = self.pid().context("the gateway does not run")?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))
            .context("reading the memory of the gateway")?;
        let kib = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()
        };
        let now = kib("VmRSS:").context("no VmRSS")?;
        let most = kib("VmHWM:").context("no VmHWM")?;
        Ok((now << 10, most << 10))
    }

    /// Everything in the log, opened, in order: all epochs, what is under the checkpoint and what
    /// only stands in the write-ahead log.
    pub fn events(&self) -> Result<Vec<RecordedEvent>> {
        recorded::events(&self.data)
    }

    /// [`Self::events`] of the newest epoch, from this index on.
    pub fn events_since(&self, index: u64) -> Result<Vec<RecordedEvent>> {
        recorded::newest_events(&self.data, index)
    }

    /// The statements among them, with the texts of prepared ones.
    pub fn statements(&self) -> Result<Vec<RecordedStatement>> {
        Ok(statements_of(&self.events()?))
    }

    /// The bytes of the newest signed checkpoint; `None` before the first.
    pub fn checkpoint(&self) -> Option<Vec<u8>> {
        let epoch = recorded::epochs(&self.data).pop()?;
        std::fs::read(epoch.join("log/checkpoint")).ok()
    }

    fn initialise(&mut self) -> Result<()> {
        let data = self.data.display().to_string();
        let config = self.config_file().display().to_string();
        let arguments =
            ["init", "--json", "--config", &config, "--data", &data, "--admin", "founder"];
        let printed = self.succeed(None, &arguments)?;
        let printed: serde_json::Value =
            serde_json::from_str(printed.trim()).context("reading what `loggia init` printed")?;
        let key = printed.get("verification_key").and_then(|key| key.as_str());
        self.key = key.context("`loggia init` printed no key")?.to_string();
        self.configure()
    }

    /// The file that `init` wrote has the well-known ports; tests use free ones.
    fn configure(&self) -> Result<()> {
        let at = |port: u16| format!("\"127.0.0.1:{port}\"");
        let listen = format!(
            "api = {}\npostgres = {}\nssh = {}\nmetrics = {}",
            at(self.ports.api),
            at(self.ports.postgres),
            at(self.ports.ssh),
            at(self.ports.metrics)
        );
        let mut sections = vec![("listen".to_string(), listen)];
        for (section, line) in &self.options.settings {
            match sections.iter_mut().find(|(known, _)| known == section) {
                Some((_, lines)) => *lines = format!("{lines}\n{line}"),
                None => sections.push((section.clone(), line.clone())),
            }
        }
        let mut text = format!("data = {:?}\n", self.data.display().to_string());
        for (section, lines) in sections {
            text.push_str(&format!("\n[{section}]\n{lines}\n"));
        }
        std::fs::write(self.config_file(), text).context("writing the configuration")
    }

    fn start_on_free_ports(&mut self) -> Result<()> {
        for _ in 0..PORT_TRIES {
            match self.launch(true) {
                Ok(_) => return Ok(()),
                Err(_) if self.log().contains("cannot listen on") => {
                    self.process = None;
                    std::fs::remove_file(self.workspace.join("loggia.stderr"))
                        .context("removing the log")?;
                    self.ports = Ports::free()?;
                    self.configure()?;
                }
                Err(error) => return Err(error),
            }
        }
        bail!("no free ports for the gateway in {PORT_TRIES} tries")
    }

    /// Starts the process and waits until it is ready; gives the time that took.
    fn launch(&mut self, apply: bool) -> Result<Duration> {
        let mut command = self.command(None);
        command.arg("up").arg("--config").arg(self.config_file()).args(["--drain", "1"]);
        let mut awaited = None;
        if apply {
            command.arg("--apply").arg(self.workspace.join("declared.toml"));
            command.arg("--apply").arg(self.workspace.join("access.cedar"));
            // It listens before the declarations are in force.
            awaited = Some("Loggia serves");
        }
        let started = now();
        let process = ManagedProcess::spawn("loggia", command, self.workspace.path())?;
        let process = self.process.insert(process);
        let metrics = self.ports.metrics;
        loop {
            if awaited.is_none_or(|text| process.stderr().contains(text))
                && http_get(metrics, "/readyz").is_ok_and(|(status, _)| status == 200)
            {
                return Ok(started.elapsed());
            }
            if let Some(status) = process.ended()? {
                let said = self.log();
                bail!("the gateway ended with {status}:\n{}", last_lines(&said));
            }
            if started.elapsed() > START_PATIENCE {
                bail!("the gateway is not ready:\n{}", last_lines(&self.log()));
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the time that a real process takes")]
fn now() -> Instant {
    Instant::now()
}

fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines.get(lines.len().saturating_sub(15)..).unwrap_or_default().join("\n")
}

/// Status and body of a plain HTTP request on loopback.
fn http_get(port: u16, path: &str) -> Result<(u16, String)> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect_timeout(&address, HTTP_PATIENCE).context("connecting")?;
    stream.set_read_timeout(Some(HTTP_PATIENCE)).context("setting a time-out")?;
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).context("asking")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).context("reading the answer")?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no end of the header")?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Ok((status.context("no status")?, body.to_string()))
}
