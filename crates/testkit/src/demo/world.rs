//! What stands before the morning begins: a PostgreSQL, a host, a Loggia, and where everything
//! lies.

use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::{ManagedProcess, Postgres, PostgresOptions, Sshd, SshdOptions, Workspace};
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::program::{clean, run};
use super::steps::{now, printed, say, typed};

// The files under demo/, which readers look at, too. They are part of the program, so that it
// needs no sources where it runs.
const RESOURCES: &str = include_str!("../../../../demo/resources.toml");
const ACCESS: &str = include_str!("../../../../demo/access.cedar");
const SHOP: &str = include_str!("../../../../demo/shop.sql");
const ACCESS_LOG: &str = include_str!("../../../../demo/access.log");
const SHOP_CONF: &str = include_str!("../../../../demo/shop.conf");
/// The key that stands in for the host's own.
const HOST_KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOle+VxsrInpGOjBWGcBZiVd2xYCkI9g1nRbX1ZrGjC9";
/// How long the gateway may take from its start to "serves".
const START_PATIENCE: Duration = Duration::from_secs(60);
/// How long the gateway may take to end in good order.
const STOP_PATIENCE: Duration = Duration::from_secs(20);
/// How long running sessions may finish when the demonstration ends, in seconds.
const DRAIN_S: &str = "1";
/// The scale of pgbench's own tables: 100,000 accounts each.
const PGBENCH_SCALE: &str = "1";

/// Folder, targets and gateway. Fields are dropped in this order: gateway, targets, folder.
pub(crate) struct World {
    gateway: Option<ManagedProcess>,
    /// The port of the gateway's PostgreSQL door.
    pub(crate) postgres_port: u16,
    /// The port of its SSH door.
    pub(crate) ssh_port: u16,
    /// Where the gateway's API is: `HOST:PORT`.
    pub(crate) api: String,
    /// Codes by which people take up their accounts: name and code.
    pub(crate) enrolment_codes: Vec<(String, String)>,
    /// The log's verification key.
    pub(crate) log_key: String,
    /// The database.
    pub(crate) target: Postgres,
    /// The host; none where this machine cannot have an OpenSSH server.
    pub(crate) host: Option<Sshd>,
    /// The `loggia` binary.
    pub(crate) loggia: PathBuf,
    secrets: Vec<(&'static str, String)>,
    /// Where everything lies.
    pub(crate) folder: Workspace,
}

/// A private folder for one of the house.
pub(crate) fn private_folder(path: &Path) -> Result<()> {
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.with_context(|| format!("making {}", path.display()))
}

/// Writes a file that only its owner can read.
pub(crate) fn private_file(path: &Path, text: &str) -> Result<()> {
    use std::io::Write as _;
    let open = std::fs::File::options().write(true).create_new(true).mode(0o600).open(path);
    open.and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| format!("writing {}", path.display()))
}

/// 96 random bits in hexadecimal.
pub(crate) fn random_word() -> Result<String> {
    use std::io::Read as _;
    let mut bytes = [0; 12];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut bytes))
        .context("reading /dev/urandom")?;
    Ok(hex::encode(bytes))
}

impl World {
    /// Starts the target and makes the folder. The gateway is not there yet.
    pub(crate) fn with_target(loggia: &Path) -> Result<Self> {
        let loggia = std::path::absolute(loggia).context("the place of the loggia binary")?;
        let folder = Workspace::new("demo")?;
        let target = Postgres::start(PostgresOptions::default())?;
        let version = target.execute("SHOW server_version")?;
        say(&format!("PostgreSQL {version} on {}, TLS and SCRAM only", target.address()));
        Ok(Self {
            gateway: None,
            postgres_port: 0,
            ssh_port: 0,
            api: String::new(),
            enrolment_codes: Vec::new(),
            log_key: String::new(),
            target,
            host: None,
            loggia,
            secrets: vec![
                ("SHOP_APP_PASSWORD", random_word()?),
                ("SHOP_READONLY_PASSWORD", random_word()?),
            ],
            folder,
        })
    }

    /// Starts the host, with a log and a configuration to work on.
    pub(crate) fn start_host(&mut self) -> Result<()> {
        let host = Sshd::start(SshdOptions::default())?;
        host.put("access.log", ACCESS_LOG)?;
        host.put("shop.conf", SHOP_CONF)?;
        let (address, account) = (host.address(), &host.account);
        say(&format!("sshd on {address}, unprivileged, as `{account}`"));
        self.host = Some(host);
        Ok(())
    }

    /// Puts the shop into the target, as its superuser and directly.
    pub(crate) fn fill_target(&self) -> Result<()> {
        let mut psql = self.direct("psql", "postgres");
        let shop = self.folder.join("shop.sql");
        private_file(&shop, SHOP)?;
        psql.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-f"]).arg(shop);
        psql.envs(self.secrets.iter().cloned());
        typed("postgres", "psql -f demo/shop.sql");
        run(psql)?.expect_code(0)?;
        let mut pgbench = self.direct("pgbench", "shop");
        pgbench.args(["-i", "-q", "-s", PGBENCH_SCALE]);
        typed("postgres", &format!("pgbench -i -q -s {PGBENCH_SCALE}"));
        run(pgbench)?.expect_code(0)?;
        Ok(())
    }

    /// A program of PostgreSQL's, connecting as superuser and not through Loggia.
    fn direct(&self, program: &str, database: &str) -> Command {
        let mut command = clean(self.target.binary(program), self.folder.path());
        command.envs(self.target.psql_env()).env("PGDATABASE", database);
        command
    }

    /// `loggia` as whoever runs the gateway.
    fn operator(&self) -> Command {
        clean(&self.loggia, self.folder.path())
    }

    /// The configuration file.
    pub(crate) fn config_file(&self) -> PathBuf {
        self.folder.join("loggia.toml")
    }

    /// The gateway's data folder.
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// `loggia init`: data folder, keys, configuration, the first administrator.
    pub(crate) fn init(&mut self) -> Result<()> {
        let mut init = self.operator();
        init.args(["init", "--json", "--admin", "alice", "--config"]).arg(self.config_file());
        init.arg("--data").arg(self.data());
        typed("operator", "loggia init --config loggia.toml --data data --admin alice");
        let made = run(init)?.expect_code(0)?;
        let made: Value = serde_json::from_str(&made.stdout).context("what `loggia init` made")?;
        let told = |key: &str| {
            let text = made.get(key).and_then(Value::as_str);
            text.map(str::to_owned).with_context(|| format!("`loggia init` told no {key}"))
        };
        self.log_key = told("verification_key")?;
        self.enrolment_codes.push(("alice".into(), told("enrolment_code")?));
        say(&format!("the log's verification key, to be kept elsewhere:\n  {}", self.log_key));
        self.listen_anywhere()
    }

    /// Lets the kernel choose the ports, so that nothing on this machine is in the way.
    fn listen_anywhere(&self) -> Result<()> {
        let path = self.config_file();
        let text = std::fs::read_to_string(&path).context("reading the configuration")?;
        let changed = text
            .replace("# api = \"127.0.0.1:7443\"", "api = \"127.0.0.1:0\"")
            .replace("# postgres = \"127.0.0.1:7432\"", "postgres = \"127.0.0.1:0\"")
            .replace("# ssh = \"127.0.0.1:7022\"", "ssh = \"127.0.0.1:0\"")
            .replace("# metrics = \"127.0.0.1:7464\"", "metrics = \"127.0.0.1:0\"");
        ensure!(changed.matches("127.0.0.1:0").count() == 4, "the configuration reads differently");
        std::fs::write(&path, changed).context("writing the configuration")
    }

    /// Puts the declarations together: the files under `demo/`, with this target's address and
    /// authority, and the service account's public key.
    pub(crate) fn declare(&self, reports_public_key: &str) -> Result<Vec<PathBuf>> {
        let declared = self.folder.join("declared");
        private_folder(&declared)?;
        let authority = self.target.ca_pem_path.display().to_string();
        let text = replaced_once(RESOURCES, "localhost:5432", &self.target.address())?;
        let text = replaced_once(&text, "/etc/ssl/certs/shop-ca.pem", &authority)?;
        let text = with_host(&text, self.host.as_ref())?;
        private_file(&declared.join("resources.toml"), &text)?;
        private_file(&declared.join("access.cedar"), ACCESS)?;
        private_file(&declared.join("reports.pem"), reports_public_key)?;
        Ok(["resources.toml", "access.cedar", "reports.pem"].map(|name| declared.join(name)).into())
    }

    /// `loggia check`: configuration and declarations, before anything runs.
    pub(crate) fn check(&self, declarations: &[PathBuf]) -> Result<()> {
        let mut check = self.operator();
        check.args(["check", "--config"]).arg(self.config_file()).args(declarations);
        check.envs(self.secrets.iter().cloned());
        typed("operator", "loggia check demo/resources.toml demo/access.cedar reports.pem");
        printed(&run(check)?.expect_code(0)?.stdout);
        Ok(())
    }

    /// `loggia up`, with the declarations applied at start.
    pub(crate) fn up(&mut self, declarations: &[PathBuf]) -> Result<()> {
        let mut up = self.operator();
        up.args(["up", "--drain", DRAIN_S, "--config"]).arg(self.config_file());
        up.envs(self.secrets.iter().cloned());
        for file in declarations {
            up.arg("--apply").arg(file);
        }
        typed(
            "operator",
            "loggia up --apply resources.toml --apply access.cedar --apply reports.pem",
        );
        let started = now();
        let mut gateway = ManagedProcess::spawn("gateway", up, self.folder.path())?;
        gateway.wait_for_stderr("Loggia serves.", START_PATIENCE)?;
        let ready_ms = started.elapsed().as_millis();
        let said = gateway.stderr();
        let [api, postgres, ssh] = addresses(&said).context("where the gateway listens")?;
        self.api = format!("localhost:{}", port_of(&api)?);
        self.postgres_port = port_of(&postgres)?;
        self.ssh_port = port_of(&ssh)?;
        self.enrolment_codes.extend(enrolment_codes(&said));
        self.gateway = Some(gateway);
        say(&format!("ready after {ready_ms} ms: API {api}, PostgreSQL {postgres}, SSH {ssh}"));
        say(&format!(
            "pid {}, log {}",
            self.gateway_pid(),
            self.folder.join("gateway.stderr").display()
        ));
        Ok(())
    }

    fn gateway_pid(&self) -> u32 {
        self.gateway.as_ref().map_or(0, ManagedProcess::pid)
    }

    /// The code by which this person takes up their account.
    pub(crate) fn enrolment_code(&self, name: &str) -> Result<&str> {
        let found = self.enrolment_codes.iter().find(|(person, _)| person == name);
        found.map(|(_, code)| code.as_str()).with_context(|| format!("no code for {name}"))
    }

    /// Fails when the gateway has ended by itself.
    pub(crate) fn alive(&mut self) -> Result<()> {
        let Some(gateway) = self.gateway.as_mut() else { return Ok(()) };
        let ended = gateway.ended()?;
        ensure!(ended.is_none(), "the gateway ended by itself:\n{}", gateway.stderr());
        Ok(())
    }

    /// Ends the gateway in good order, then the targets. Says how both ended.
    pub(crate) fn stop(&mut self) -> Result<()> {
        if let Some(mut gateway) = self.gateway.take() {
            let pid = gateway.pid();
            let status = gateway.stop(STOP_PATIENCE)?;
            ensure!(status.success(), "the gateway ended with {status}:\n{}", gateway.stderr());
            println!("Loggia (pid {pid}) ended in good order.");
        }
        if let Some(status) = self.target.stop()? {
            println!("PostgreSQL ended: {status}.");
        }
        if let Some(mut host) = self.host.take() {
            host.stop()?;
            println!("sshd and its sessions ended.");
        }
        Ok(())
    }

    /// The last lines that the gateway said, for whoever asks why something failed.
    pub(crate) fn last_words(&self) -> String {
        let said = self.gateway.as_ref().map(ManagedProcess::stderr).unwrap_or_default();
        let lines: Vec<&str> = said.lines().collect();
        let tail = lines.get(lines.len().saturating_sub(20)..).unwrap_or_default();
        // Codes are secrets, even used ones.
        let harmless = tail.iter().filter(|line| !line.contains("lge1."));
        harmless.copied().collect::<Vec<_>>().join("\n")
    }
}

/// The text with `old` replaced, which stands in it exactly once.
fn replaced_once(text: &str, old: &str, new: &str) -> Result<String> {
    ensure!(
        text.matches(old).count() == 1,
        "`{old}` does not stand exactly once in a file of demo/"
    );
    Ok(text.replace(old, new))
}

/// The declarations with the host's address, key and account, or without the host.
fn with_host(text: &str, host: Option<&Sshd>) -> Result<String> {
    let begin = text.find("[[resource]]\nname = \"web\"").context("no `web` in a file of demo/")?;
    let (before, rest) = text.split_at(begin);
    let end = rest.find("[[group]]").context("no group behind `web` in a file of demo/")?;
    let (block, after) = rest.split_at(end);
    let Some(host) = host else { return Ok(format!("{before}{after}")) };
    let block = replaced_once(block, "localhost:22", &host.address())?;
    let block = replaced_once(&block, HOST_KEY, host.host_key())?;
    let block = replaced_once(&block, "name = \"deploy\"", &format!("name = {:?}", host.account))?;
    Ok(format!("{before}{block}{after}"))
}

/// The addresses of API, PostgreSQL and SSH in what the gateway says before it serves.
fn addresses(said: &str) -> Option<[String; 3]> {
    let line = said.lines().find(|line| line.starts_with("API "))?;
    let words: Vec<&str> = line.split_whitespace().collect();
    let behind = |name: &str| {
        let at = words.iter().position(|word| *word == name)?;
        words.get(at + 1).map(ToString::to_string)
    };
    Some([behind("API")?, behind("PostgreSQL")?, behind("SSH")?])
}

fn port_of(address: &str) -> Result<u16> {
    let port = address.rsplit(':').next().and_then(|port| port.parse().ok());
    port.with_context(|| format!("no port in {address}"))
}

/// Names and codes in what the gateway says when it applies declarations.
fn enrolment_codes(said: &str) -> Vec<(String, String)> {
    let mut codes = Vec::new();
    let mut lines = said.lines();
    while let Some(line) = lines.next() {
        let name = line.strip_prefix("Enrolment code for ").and_then(|rest| rest.split(',').next());
        if let (Some(name), Some(code)) = (name, name.and_then(|_| lines.next())) {
            codes.push((name.to_owned(), code.trim().to_owned()));
        }
    }
    codes
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = "Enrolment code for bob, good once, for 24 hours:\n  lge1.abc\n\
        API 127.0.0.1:4001  PostgreSQL 127.0.0.1:4002  SSH 127.0.0.1:4003  metrics 127.0.0.1:4004\nLoggia serves.\n";

    #[test]
    fn what_the_gateway_says_is_read() {
        assert_eq!(enrolment_codes(SAID), [("bob".to_owned(), "lge1.abc".to_owned())]);
        let ports = addresses(SAID).unwrap().map(|address| port_of(&address).unwrap());
        assert_eq!(ports, [4001, 4002, 4003]);
        assert!(addresses("Loggia serves.\n").is_none());
    }

    #[test]
    fn the_files_of_the_demonstration_have_the_places_that_are_filled_in() {
        assert!(replaced_once(RESOURCES, "localhost:5432", "x").is_ok());
        assert!(replaced_once(RESOURCES, "/etc/ssl/certs/shop-ca.pem", "x").is_ok());
        assert!(replaced_once("a a", "a", "x").is_err());
        let alone = with_host(RESOURCES, None).unwrap();
        assert!(!alone.contains("ssh") && alone.contains("[[person]]"), "{alone}");
        for name in ["localhost:22", HOST_KEY, "name = \"deploy\""] {
            assert!(RESOURCES.contains(name) && !alone.contains(name), "{name}");
        }
    }
}
