//! `loggia try`: a gateway before the visitor's own database or host, without a configuration file.

use crate::compose::{Addresses, Foundation, Gateway, PROTOCOLS};
use crate::config::Config;
use crate::explain;
use crate::init::write_new;
use loggia_control::{Declaration, DeclaredFile, ENROLMENT_US, NewPerson};
use loggia_identity::{Issued, SshPublicKey, Wanted};
use loggia_ledger::LogName;
use loggia_model::port::{Directory, Follow};
use loggia_model::resource::is_name;
use loggia_model::{Authn, Secret};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What the visitor wants to try.
#[derive(Debug, Clone)]
pub struct Target {
    /// Account on the target.
    pub user: String,
    /// Host of the target.
    pub host: String,
    /// Port of the target.
    pub port: u16,
    /// What is behind it.
    pub kind: Kind,
}

/// What the visitor wants to try it with.
#[derive(Debug, Clone)]
pub enum Kind {
    /// A database.
    Postgres {
        /// The account's password, where one is needed.
        password: Option<Secret>,
        /// Database; the account's name where none is given.
        database: String,
        /// `verify-full`, `unverified` or `off`.
        tls: String,
        /// PEM file with the target's certificate authorities.
        ca_file: Option<String>,
    },
    /// A host.
    Ssh {
        /// How the gateway signs in there.
        way: SshWay,
        /// The host's keys.
        host_keys: Vec<String>,
        /// Public half of the visitor's key, `TYPE BASE64`, for a certificate.
        visitor_key: String,
    },
}

/// How the gateway signs in on a host.
#[derive(Debug, Clone)]
pub enum SshWay {
    /// With this password.
    Password(Secret),
    /// With the private key in this file.
    KeyFile(PathBuf),
}

/// A trial that runs.
pub struct Trial {
    /// The gateway.
    pub gateway: Gateway,
    /// Where it listens.
    pub addresses: Addresses,
    /// Name of the first person.
    pub person: String,
    /// Name of the resource.
    pub resource: String,
    /// The person's token, good as a password for `psql`.
    pub token: Secret,
    /// The certificate for the visitor's SSH key, `TYPE BASE64`, where they gave one.
    pub ssh_certificate: Option<String>,
    /// The authority by which SSH clients know this gateway: `TYPE BASE64`.
    pub ssh_host_authority: String,
    /// What `psql` needs to trust the gateway.
    pub ca_file: PathBuf,
    /// The log's verification key.
    pub verification_key: String,
}

/// Makes what is missing in the data folder and begins to serve. `follower` is shown every event.
///
/// # Errors
/// Where the folder cannot be used, or the person's name cannot be one.
pub async fn begin(
    data: &Path,
    person: &str,
    target: &Target,
    follower: Arc<dyn Follow>,
) -> anyhow::Result<Trial> {
    let data = std::path::absolute(data)?;
    let mut config = Config::over(&data);
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    config.listen.api = any;
    config.listen.postgres = any;
    config.listen.ssh = any;
    config.listen.metrics = any;
    config.ledger.checkpoint_copy = Some(data.join("checkpoint-copy"));
    let fresh = !data.join("ledger").exists();
    if fresh {
        loggia_ledger::init(&data, &LogName::default(), &crate::system::mint()).map_err(explain)?;
    }
    let foundation = Foundation::open(&config).await?;
    foundation.ledger.follow(follower);
    let gateway = Gateway::start(&config, foundation).await?;
    let resource = target.resource();
    let by = gateway.local_root();
    if gateway.control().person_by_name(person).await?.is_none() {
        let (_, code_digest) = gateway.codes().issue();
        let expires_us = crate::system::mint().now_us() + ENROLMENT_US;
        let (name, groups) = (person.to_owned(), Vec::new());
        let new = NewPerson { name, admin: true, groups, newcomer: false, code_digest, expires_us };
        gateway.control().add_person(new, by.clone()).await?;
    }
    let files = declare(&data, &resource, person, target)?;
    let declaration = Declaration::parse(&files, &PROTOCOLS)?;
    gateway.control().apply(declaration, by, None, Arc::clone(gateway.codes())).await?;
    let visitor_key = match &target.kind {
        Kind::Postgres { .. } => None,
        Kind::Ssh { visitor_key, .. } => Some(visitor_key.as_str()),
    };
    let issued = credentials_for(&gateway, person, visitor_key).await?;
    let token = issued.token.ok_or_else(|| anyhow::anyhow!("no token was issued"))?;
    let verification_key = gateway.ledger().verification_key();
    Ok(Trial {
        addresses: gateway.addresses(),
        person: person.to_owned(),
        resource,
        token,
        ssh_certificate: issued.ssh_certificate,
        ssh_host_authority: gateway.sign_in().ssh_trust().host_authority,
        ca_file: config.keys().join("ca.pem"),
        verification_key,
        gateway,
    })
}

impl Target {
    /// The name of the resource: that of the database, or of the host, where it can be one.
    fn resource(&self) -> String {
        let name = match &self.kind {
            Kind::Postgres { database, .. } => database.clone(),
            Kind::Ssh { .. } => self.host.to_ascii_lowercase(),
        };
        if is_name(&name) { name } else { "target".to_owned() }
    }
}

/// The declaration of a trial: the target, and that this person may use it.
fn declare(
    data: &Path,
    resource: &str,
    person: &str,
    target: &Target,
) -> anyhow::Result<Vec<DeclaredFile>> {
    let (protocol, actions) = match &target.kind {
        Kind::Postgres { .. } => ("postgres", ["sql.execute"].as_slice()),
        Kind::Ssh { .. } => ("ssh", ["ssh.shell", "ssh.exec", "ssh.sftp"].as_slice()),
    };
    let mut text = format!(
        "[[resource]]\nname = {}\nprotocol = \"{protocol}\"\naddress = {}\n",
        quoted(resource),
        quoted(&address(target)),
    );
    let account = format!("[[resource.account]]\nname = {}\n", quoted(&target.user));
    match &target.kind {
        Kind::Postgres { password, database, tls, ca_file } => {
            text.push_str(&format!("tls = {}\ndatabase = {}\n", quoted(tls), quoted(database)));
            if let Some(ca_file) = ca_file {
                text.push_str(&format!("ca_file = {}\n", quoted(ca_file)));
            }
            text.push_str(&account);
            if let Some(password) = password {
                text.push_str(&kept_password(data, password)?);
            }
        }
        Kind::Ssh { way, host_keys, .. } => {
            let keys: Vec<String> = host_keys.iter().map(|key| quoted(key)).collect();
            text.push_str(&format!("host_keys = [{}]\n{account}", keys.join(", ")));
            match way {
                SshWay::Password(password) => text.push_str(&kept_password(data, password)?),
                SshWay::KeyFile(path) => {
                    let path = std::path::absolute(path)?;
                    let reference = format!("file:{}", path.display());
                    text.push_str(&format!("key = {}\n", quoted(&reference)));
                }
            }
        }
    }
    let actions = ["connect"].iter().chain(actions);
    let actions: Vec<_> = actions.map(|name| format!("Loggia::Action::\"{name}\"")).collect();
    let policy = format!(
        "@id(\"try\")\npermit (\n    principal is Loggia::Person,\n    action in [{}],\n    resource is Loggia::Resource\n) when {{ principal.name == \"{person}\" }};\n",
        actions.join(", ")
    );
    Ok(vec![
        DeclaredFile { name: "try.toml".to_owned(), text },
        DeclaredFile { name: "try.cedar".to_owned(), text: policy },
    ])
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// Keeps the password where the gateway reads it, and gives the line that says so.
fn kept_password(data: &Path, password: &Secret) -> anyhow::Result<String> {
    let path = data.join("secrets/target-password");
    let _ = std::fs::remove_file(&path);
    write_new(&path, password.reveal())?;
    Ok(format!("password = {}\n", quoted(&format!("file:{}", path.display()))))
}

fn address(target: &Target) -> String {
    match target.host.contains(':') {
        true => format!("[{}]:{}", target.host, target.port),
        false => format!("{}:{}", target.host, target.port),
    }
}

async fn credentials_for(
    gateway: &Gateway,
    person: &str,
    ssh_key: Option<&str>,
) -> anyhow::Result<Issued> {
    let missing = || anyhow::anyhow!("{person} is not in the control database");
    let control = gateway.control();
    let id = control.person_by_name(person).await?.ok_or_else(missing)?;
    let record = control.identity(loggia_model::id::ActorId::Person(id)).await?;
    let record = record.ok_or_else(missing)?;
    let ssh_key = ssh_key.map(SshPublicKey::for_certificate).transpose()?;
    let wanted = Wanted { key: None, ssh_key, token: true };
    let minter = gateway.sign_in().minter();
    Ok(minter.issue(&record, Authn::Local, None, &wanted, Vec::new()).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn declared(target: &Target) -> String {
        let folder = tempfile::tempdir().unwrap();
        let files = declare(folder.path(), &target.resource(), "al", target).unwrap();
        let declaration = Declaration::parse(&files, &PROTOCOLS).unwrap();
        let policies: Vec<_> = declaration.policies().collect();
        loggia_policy::PolicySet::compile(&policies).unwrap();
        files[0].text.clone()
    }

    #[test]
    fn what_a_visitor_names_can_be_declared() {
        let host = Target {
            user: "odd \"user\"".into(),
            host: "Web-1.internal".into(),
            port: 2222,
            kind: Kind::Ssh {
                way: SshWay::KeyFile("key".into()),
                host_keys: vec!["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOle+VxsrInpGOjBWGcBZiVd2xYCkI9g1nRbX1ZrGjC9".into()],
                visitor_key: String::new(),
            },
        };
        let text = declared(&host);
        assert_eq!(host.resource(), "web-1.internal");
        assert!(text.contains("key = \"file:/"), "{text}");
        let way = SshWay::Password(Secret::new("hunter2".into()));
        let Kind::Ssh { host_keys, visitor_key, .. } = host.kind.clone() else { panic!() };
        let kind = Kind::Ssh { way, host_keys, visitor_key };
        let text = declared(&Target { host: "::1".into(), kind, ..host });
        assert!(text.contains("[::1]:2222") && !text.contains("hunter2"), "{text}");
        let database = Target {
            user: "app".into(),
            host: "localhost".into(),
            port: 5432,
            kind: Kind::Postgres {
                password: None,
                database: "shop".into(),
                tls: "off".into(),
                ca_file: None,
            },
        };
        assert!(declared(&database).contains("database = \"shop\""));
    }
}
