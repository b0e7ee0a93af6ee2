//! The section `[[resource]]`: one form for all protocols, of which each takes its part.

use super::At;
use super::reader::{Reader, Section};
use crate::keys::{SSH, host_key};
use crate::snapshot::{depth_named, tls_named};
use loggia_model::id::ResourceId;
use loggia_model::resource::{Account, Depth, Resource, SecretRef, UpstreamTls};

pub(super) const RESOURCE: &[&str] = &[
    "name",
    "protocol",
    "address",
    "tls",
    "ca_file",
    "database",
    "host_keys",
    "depth",
    "labels",
    "account",
];
const ACCOUNT: &[&str] = &["name", "password", "key", "certificate"];
/// The longest host name, in bytes (RFC 1035 section 2.3.4).
const HOST_BYTES_MAX: usize = 255;
/// Port of an SSH server where the address names none.
const SSH_PORT: u16 = 22;
/// Host keys that a resource can have.
const HOST_KEYS_MAX: usize = 32;

pub(super) fn resource(
    reader: &mut Reader<'_>,
    section: Section<'_>,
    protocols: &[&str],
) -> Option<At<Resource>> {
    let name = reader.name(section);
    let known = |word: &str| protocols.contains(&word).then(|| word.to_owned());
    let _ = section.get("protocol").is_none() && reader.required(section, "protocol").is_none();
    let protocol = reader.word(section, "protocol", protocols, known);
    let ssh = protocol.as_deref() == Some(SSH);
    let port = ssh.then_some(SSH_PORT);
    let address = reader.required(section, "address").and_then(|text| address(reader, &text, port));
    let depth = reader.word(section, "depth", &["disk", "kernel"], depth_named);
    let accounts = accounts(reader, section, ssh);
    let labels = reader.pairs(section, "labels");
    let way = if ssh { over_ssh(reader, section) } else { over_tls(reader, section) };
    let (name, (host, port)) = (name?, address?);
    let resource = Resource {
        id: ResourceId::from_parts(0, [0; 10]),
        name: name.value.clone(),
        protocol: protocol?,
        host,
        port,
        tls: way.tls,
        ca_file: way.ca_file,
        host_keys: way.host_keys,
        accounts,
        database: way.database,
        depth: depth.unwrap_or(Depth::Disk),
        labels,
    };
    Some(name.with(resource))
}

/// What only one kind of protocol has.
struct Way {
    tls: UpstreamTls,
    ca_file: Option<String>,
    database: Option<String>,
    host_keys: Vec<String>,
}

fn over_tls(reader: &mut Reader<'_>, section: Section<'_>) -> Way {
    let tls = reader.word(section, "tls", &["verify-full", "unverified", "off"], tls_named);
    let tls = tls.unwrap_or(UpstreamTls::VerifyFull);
    let ca_file = reader.text(section, "ca_file");
    if let (Some(ca_file), true) = (&ca_file, tls != UpstreamTls::VerifyFull) {
        let message = "`ca_file` has no meaning without tls = \"verify-full\"".to_owned();
        reader.wrong_at(ca_file, message, "leave one of the two out");
    }
    meaningless(reader, section, &["host_keys"], "protocol = \"ssh\" has host keys");
    let database = reader.text(section, "database");
    Way {
        tls,
        ca_file: ca_file.map(|it| it.value),
        database: database.map(|it| it.value),
        host_keys: Vec::new(),
    }
}

/// A host is known by its keys, and there is no word for taking any key: whoever stands between
/// would be let in, and with them the password or the certificate of the account.
fn over_ssh(reader: &mut Reader<'_>, section: Section<'_>) -> Way {
    let hint = "SSH knows a target by `host_keys` and has neither TLS nor databases";
    meaningless(reader, section, &["tls", "ca_file", "database"], hint);
    let declared = reader.texts(section, "host_keys");
    let hint = "host_keys = [\"ssh-ed25519 AAAA…\"]; `ssh-keyscan -t ed25519 HOST` prints them, each \
                behind the host's name; or \"@cert-authority ssh-ed25519 AAAA…\"";
    let given = section.get("host_keys").is_some();
    if let (true, Some(name)) = (declared.is_empty(), reader.place(section, "name")) {
        let at = reader.place(section, "host_keys").unwrap_or(name);
        if !given || section.get("host_keys").is_some_and(|it| it.get_ref().as_array().is_some()) {
            reader.wrong_at(&at, "an ssh resource needs `host_keys`".to_owned(), hint);
        }
    }
    let mut host_keys = Vec::new();
    for text in declared.iter().take(HOST_KEYS_MAX) {
        match host_key(&text.value) {
            Ok(key) if host_keys.contains(&key) => {
                reader.wrong_at(text, "this host key stands twice".to_owned(), "each key once");
            }
            Ok(key) => host_keys.push(key),
            Err((message, hint)) => reader.wrong_at(text, message, &hint),
        }
    }
    if let Some(text) = declared.get(HOST_KEYS_MAX) {
        let message = format!("a resource has at most {HOST_KEYS_MAX} host keys");
        reader.wrong_at(text, message, "an authority for hosts takes one line");
    }
    Way { tls: UpstreamTls::VerifyFull, ca_file: None, database: None, host_keys }
}

fn meaningless(reader: &mut Reader<'_>, section: Section<'_>, keys: &[&str], hint: &str) {
    for key in keys {
        if let Some(at) = reader.place(section, key) {
            reader.wrong_at(&at, format!("`{key}` has no meaning for this protocol"), hint);
        }
    }
}

impl<T> At<T> {
    /// Another value at the same place.
    fn with<U>(self, value: U) -> At<U> {
        At { value, file: self.file, line: self.line, column: self.column }
    }
}

fn accounts(reader: &mut Reader<'_>, section: Section<'_>, ssh: bool) -> Vec<Account> {
    let mut all: Vec<Account> = Vec::new();
    let declared = reader.tables(section, "account", ACCOUNT);
    if declared.is_empty() {
        // Without an account nobody could ever sign in on the target.
        let at = reader.required(section, "name");
        if let Some(at) = at {
            let hint = if ssh {
                "write [[resource.account]] with name and certificate = true, key or password"
            } else {
                "write [[resource.account]] with name and password"
            };
            reader.wrong_at(&at, "a resource needs an account".to_owned(), hint);
        }
    }
    for section in declared {
        let Some(name) = reader.required(section, "name") else {
            continue;
        };
        if all.iter().any(|known| known.name == name.value) {
            let message = format!("the account `{}` stands twice", name.value.escape_debug());
            reader.wrong_at(&name, message, "each account once");
        }
        let account = Account {
            password: secret(reader, section, "password"),
            key: secret(reader, section, "key"),
            certificate: reader.flag(section, "certificate"),
            name: name.value.clone(),
        };
        if ssh {
            one_way_in(reader, section, &name);
        } else {
            meaningless(reader, section, &["key", "certificate"], "these are for SSH");
        }
        all.push(account);
    }
    all
}

/// The gateway signs in on a host in exactly one way, so that a refusal there has one reason.
fn one_way_in(reader: &mut Reader<'_>, section: Section<'_>, name: &At<String>) {
    let certificate = section.get("certificate").is_some_and(|it| {
        // `false` says the same as nothing; another type was complained of already.
        it.get_ref().as_bool() != Some(false)
    });
    let ways = [section.get("password").is_some(), section.get("key").is_some(), certificate];
    let hint = "certificate = true, where the host trusts what `loggia ssh-ca` prints; or \
                key = \"file:PATH\"; or password = \"file:PATH\"";
    match ways.into_iter().filter(|way| *way).count() {
        1 => {}
        0 => {
            let message = "an account over SSH needs a way to sign in".to_owned();
            reader.wrong_at(name, message, hint);
        }
        _ => {
            let message = "an account has one way to sign in, this has several".to_owned();
            reader.wrong_at(name, message, hint);
        }
    }
}

fn secret(reader: &mut Reader<'_>, section: Section<'_>, key: &str) -> Option<SecretRef> {
    let text = reader.text(section, key)?;
    match text.value.parse::<SecretRef>() {
        Ok(reference) => Some(reference),
        Err(_) => {
            let hint = format!(
                "a {key} is given by reference: \"env:NAME\" or \"file:PATH\", which the gateway \
                 reads"
            );
            reader.wrong_at(&text, "this is no reference to a secret".to_owned(), &hint);
            None
        }
    }
}

/// `HOST:PORT` or `[IPV6]:PORT`; where there is a port that goes without saying, the host alone.
/// What is wrong is not repeated: it may hold a password.
fn address(
    reader: &mut Reader<'_>,
    text: &At<String>,
    port_default: Option<u16>,
) -> Option<(String, u16)> {
    let found = match (split(&text.value), port_default) {
        (Some(found), _) => Some(found),
        (None, Some(port)) => split(&format!("{}:{port}", text.value)),
        (None, None) => None,
    };
    if found.is_none() {
        let hint = match port_default {
            None => "\"HOST:PORT\", such as \"db.internal:5432\" or \"[::1]:5432\", nothing else",
            Some(_) => "\"HOST\" or \"HOST:PORT\", such as \"web-1.internal\" or \"[::1]:2222\"",
        };
        reader.wrong_at(text, "this is no address".to_owned(), hint);
    }
    found
}

fn split(text: &str) -> Option<(String, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let bare_ipv6 = host.contains(':') && !text.starts_with('[');
    let host = match host.strip_prefix('[') {
        Some(inner) => inner.strip_suffix(']').filter(|ip| ip.contains(':'))?,
        None => host,
    };
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:".contains(&byte);
    let usable =
        !host.is_empty() && !bare_ipv6 && host.len() <= HOST_BYTES_MAX && host.bytes().all(good);
    let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    let port = port.parse::<u16>().ok().filter(|port| *port > 0 && digits)?;
    usable.then(|| (host.to_owned(), port))
}
