//! `loggia try`: a gateway before the visitor's own database, without a configuration file.

use crate::compose::{Addresses, Foundation, Gateway, PROTOCOLS};
use crate::config::Config;
use crate::explain;
use crate::init::write_new;
use loggia_control::{Declaration, DeclaredFile, ENROLMENT_US, NewPerson};
use loggia_identity::Wanted;
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
    /// Its password, where one is needed.
    pub password: Option<Secret>,
    /// Host of the target.
    pub host: String,
    /// Port of the target.
    pub port: u16,
    /// Database; the account's name where none is given.
    pub database: String,
    /// `verify-full`, `unverified` or `off`.
    pub tls: String,
    /// PEM file with the target's certificate authorities.
    pub ca_file: Option<String>,
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
    config.listen.metrics = any;
    config.ledger.checkpoint_copy = Some(data.join("checkpoint-copy"));
    let fresh = !data.join("ledger").exists();
    if fresh {
        loggia_ledger::init(&data, &LogName::default(), &crate::system::mint()).map_err(explain)?;
    }
    let foundation = Foundation::open(&config).await?;
    foundation.ledger.follow(follower);
    let gateway = Gateway::start(&config, foundation).await?;
    let resource =
        if is_name(&target.database) { target.database.clone() } else { "target".into() };
    let by = gateway.local_root();
    if gateway.control().person_by_name(person).await?.is_none() {
        let (_, code_digest) = gateway.codes().issue();
        let expires_us = crate::system::mint().now_us() + ENROLMENT_US;
        let (name, groups) = (person.to_owned(), Vec::new());
        let new = NewPerson { name, admin: true, groups, code_digest, expires_us };
        gateway.control().add_person(new, by.clone()).await?;
    }
    let files = declare(&data, &resource, person, target)?;
    let declaration = Declaration::parse(&files, &PROTOCOLS)?;
    gateway.control().apply(declaration, by, None, Arc::clone(gateway.codes())).await?;
    let token = token_for(&gateway, person).await?;
    let verification_key = gateway.ledger().verification_key();
    Ok(Trial {
        addresses: gateway.addresses(),
        person: person.to_owned(),
        resource,
        token,
        ca_file: config.keys().join("ca.pem"),
        verification_key,
        gateway,
    })
}

/// The declaration of a trial: the target, and that this person may use it.
fn declare(
    data: &Path,
    resource: &str,
    person: &str,
    target: &Target,
) -> anyhow::Result<Vec<DeclaredFile>> {
    let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
    let mut text = format!(
        "[[resource]]\nname = {}\nprotocol = \"postgres\"\naddress = {}\ntls = {}\ndatabase = {}\n",
        quoted(resource),
        quoted(&address(target)),
        quoted(&target.tls),
        quoted(&target.database),
    );
    if let Some(ca_file) = &target.ca_file {
        text.push_str(&format!("ca_file = {}\n", quoted(ca_file)));
    }
    text.push_str(&format!("[[resource.account]]\nname = {}\n", quoted(&target.user)));
    if let Some(password) = &target.password {
        let path = data.join("secrets/target-password");
        let _ = std::fs::remove_file(&path);
        write_new(&path, password.reveal())?;
        text.push_str(&format!("password = {}\n", quoted(&format!("file:{}", path.display()))));
    }
    let policy = format!(
        "@id(\"try\")\npermit (\n    principal is Loggia::Person,\n    action in [Loggia::Action::\"connect\", Loggia::Action::\"sql.execute\"],\n    resource is Loggia::Resource\n) when {{ principal.name == \"{person}\" }};\n"
    );
    Ok(vec![
        DeclaredFile { name: "try.toml".to_owned(), text },
        DeclaredFile { name: "try.cedar".to_owned(), text: policy },
    ])
}

fn address(target: &Target) -> String {
    match target.host.contains(':') {
        true => format!("[{}]:{}", target.host, target.port),
        false => format!("{}:{}", target.host, target.port),
    }
}

async fn token_for(gateway: &Gateway, person: &str) -> anyhow::Result<Secret> {
    let missing = || anyhow::anyhow!("{person} is not in the control database");
    let control = gateway.control();
    let id = control.person_by_name(person).await?.ok_or_else(missing)?;
    let record = control.identity(loggia_model::id::ActorId::Person(id)).await?;
    let record = record.ok_or_else(missing)?;
    let minter = gateway.sign_in().minter();
    let wanted = Wanted { token: true, ..Wanted::default() };
    let issued = minter.issue(&record, Authn::Local, None, &wanted, Vec::new()).await?;
    issued.token.ok_or_else(|| anyhow::anyhow!("no token was issued"))
}
