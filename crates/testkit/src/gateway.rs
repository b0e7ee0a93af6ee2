//! A real gateway in front of a real PostgreSQL: made, enrolled, started, killed and read back.
//!
//! Everything goes through the one binary, as a person would do it: `init`, `up --apply`,
//! `enrol`, `verify`. What was recorded is read from the log folder itself, not asked of the
//! gateway (see [`recorded`]).

mod recorded;

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use crate::folder::{Workspace, free_port};
use crate::postgres::Postgres;
use crate::process::ManagedProcess;

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
/// The password of everybody who is enrolled here.
const PASSWORD: &str = "correct horse battery staple";

/// Everybody may use every resource: what most tests want.
const ALLOW_EVERYTHING: &str = r#"
@id("everybody.everything")
permit (
  principal,
  action in [Loggia::Action::"connect", Loggia::Action::"sql.execute"],
  resource is Loggia::Resource
);
"#;

/// A resource to be declared.
#[derive(Debug, Clone)]
pub struct Target {
    /// Its name in Loggia.
    pub name: String,
    /// `disk` or `kernel`.
    pub depth: String,
    /// `HOST:PORT`.
    pub address: String,
    /// `verify-full`, `unverified` or `off`.
    pub tls: String,
    /// The authority of the server's certificate.
    pub ca_file: Option<PathBuf>,
    /// Accounts on the target, the default one first: name and password.
    pub accounts: Vec<(String, String)>,
    /// Labels: key and value.
    pub labels: Vec<(String, String)>,
}

impl Target {
    /// A resource over a server of the kit: its superuser's account, TLS checked.
    pub fn over(server: &Postgres, name: &str, depth: &str) -> Self {
        Self {
            name: name.into(),
            depth: depth.into(),
            address: server.address(),
            tls: "verify-full".into(),
            ca_file: Some(server.ca_pem_path.clone()),
            accounts: vec![(server.superuser.clone(), server.password.clone())],
            labels: Vec::new(),
        }
    }

    /// Another account on the target.
    #[must_use]
    pub fn account(mut self, name: &str, password: &str) -> Self {
        self.accounts.push((name.into(), password.into()));
        self
    }
}

/// How a gateway is set up.
#[derive(Debug, Clone)]
pub struct GatewayOptions {
    /// The binary.
    pub program: PathBuf,
    /// People to declare and enrol; the first one administers Loggia.
    pub people: Vec<String>,
    /// Resources to declare.
    pub targets: Vec<Target>,
    /// Policies; without any, everybody may use every resource.
    pub policies: Option<String>,
    /// Further TOML declarations: groups, service accounts.
    pub declarations: String,
    /// Lines of the configuration file: section (`ledger`, `session`, …) and line.
    pub settings: Vec<(String, String)>,
    /// Where the data folder lies; without, beside everything else.
    pub data: Option<PathBuf>,
}

impl GatewayOptions {
    /// One administrator, `alice`, and `bob`; everybody may use both resources over the server,
    /// `disk` and `kernel`, which are called after their depth.
    pub fn over(server: &Postgres, program: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            people: vec!["alice".into(), "bob".into()],
            targets: vec![
                Target::over(server, "disk", "disk"),
                Target::over(server, "kernel", "kernel"),
            ],
            policies: None,
            declarations: String::new(),
            settings: Vec::new(),
            data: None,
        }
    }

    /// Adds a line to a section of the configuration file.
    #[must_use]
    pub fn setting(mut self, section: &str, line: &str) -> Self {
        self.settings.push((section.into(), line.into()));
        self
    }
}

/// The binary that `cargo xtask` built: named by `LOGGIA_BIN`.
///
/// Tests of the crate that has the binary use `env!("CARGO_BIN_EXE_loggia")` instead.
#[expect(clippy::disallowed_methods, reason = "this variable comes from xtask")]
pub fn program() -> Result<PathBuf> {
    let named = std::env::var_os("LOGGIA_BIN").filter(|name| !name.is_empty());
    let program = named.map(PathBuf::from).context(
        "LOGGIA_BIN is not set: run this by `cargo xtask bench`, `torture` or `demo`, or name \
         the binary `loggia`",
    )?;
    ensure!(program.is_file(), "LOGGIA_BIN names {}, which is no file", program.display());
    Ok(program)
}

/// Where a gateway listens, on 127.0.0.1.
#[derive(Debug, Clone, Copy)]
pub struct Ports {
    /// API.
    pub api: u16,
    /// PostgreSQL.
    pub postgres: u16,
    /// Metrics, `/healthz`, `/readyz`.
    pub metrics: u16,
}

impl Ports {
    fn free() -> Result<Self> {
        Ok(Self { api: free_port()?, postgres: free_port()?, metrics: free_port()? })
    }
}

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
        gateway.declare()?;
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
        let mut sections = vec![(
            "listen".to_string(),
            format!(
                "api = {}\npostgres = {}\nmetrics = {}",
                at(self.ports.api),
                at(self.ports.postgres),
                at(self.ports.metrics)
            ),
        )];
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

    fn declare(&self) -> Result<()> {
        let mut text = String::new();
        for (place, person) in self.options.people.iter().enumerate() {
            text.push_str(&format!("[[person]]\nname = {person:?}\nadmin = {}\n\n", place == 0));
        }
        for target in &self.options.targets {
            text.push_str(&self.declared(target)?);
        }
        text.push_str(&self.options.declarations);
        std::fs::write(self.workspace.join("declared.toml"), text).context("declaring")?;
        let policies = self.options.policies.as_deref().unwrap_or(ALLOW_EVERYTHING);
        std::fs::write(self.workspace.join("access.cedar"), policies).context("declaring")
    }

    /// A resource in TOML; the passwords of its accounts go to files of their own.
    fn declared(&self, target: &Target) -> Result<String> {
        let Target { name, depth, address, tls, .. } = target;
        let mut text = format!(
            "[[resource]]\nname = {name:?}\nprotocol = \"postgres\"\naddress = {address:?}\n\
             tls = {tls:?}\ndepth = {depth:?}\n"
        );
        if let Some(ca_file) = &target.ca_file {
            text.push_str(&format!("ca_file = {:?}\n", ca_file.display().to_string()));
        }
        if !target.labels.is_empty() {
            let labels = target.labels.iter().map(|(key, value)| format!("{key} = {value:?}"));
            text.push_str(&format!("labels = {{ {} }}\n", labels.collect::<Vec<_>>().join(", ")));
        }
        for (place, (account, password)) in target.accounts.iter().enumerate() {
            let file = self.workspace.join(format!("password-{name}-{place}"));
            std::fs::write(&file, password).context("writing a target's password")?;
            text.push_str(&format!(
                "[[resource.account]]\nname = {account:?}\npassword = \"file:{}\"\n",
                file.display()
            ));
        }
        text.push('\n');
        Ok(text)
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

    fn enrol_everybody(&self) -> Result<()> {
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
