//! The sections of a TOML file: what keys they have and what these mean.

use super::reader::{Reader, Section};
use super::{At, Declaration, DeclaredFile, DeclaredGroup, DeclaredPerson, DeclaredService};
use crate::error::ControlError;
use crate::people::public_key_pem;
use crate::snapshot::{depth_named, tls_named};
use loggia_model::id::ResourceId;
use loggia_model::resource::{Account, Depth, Resource, SecretRef, UpstreamTls};

const TOP: &[&str] = &["prune", "resource", "group", "person", "service"];
const RESOURCE: &[&str] =
    &["name", "protocol", "address", "tls", "ca_file", "database", "depth", "labels", "account"];
const ACCOUNT: &[&str] = &["name", "password"];
const GROUP: &[&str] = &["name", "members"];
const PERSON: &[&str] = &["name", "admin", "groups"];
const SERVICE: &[&str] = &["name", "public_key", "public_key_file"];
/// The longest host name, in bytes (RFC 1035 section 2.3.4).
const HOST_BYTES_MAX: usize = 255;

impl Declaration {
    /// Adds what a TOML file declares.
    pub(super) fn read_toml(
        &mut self,
        reader: &mut Reader<'_>,
        files: &[&DeclaredFile],
        protocols: &[&str],
    ) {
        let Some(parsed) = reader.parse() else {
            return;
        };
        let top = reader.top(&parsed, TOP);
        self.prune |= reader.flag(top, "prune");
        for section in reader.tables(top, "resource", RESOURCE) {
            self.resources.extend(resource(reader, section, protocols));
        }
        for section in reader.tables(top, "group", GROUP) {
            let members = reader.names(section, "members");
            let name = reader.name(section);
            self.groups.extend(name.map(|name| DeclaredGroup { name, members }));
        }
        for section in reader.tables(top, "person", PERSON) {
            let groups = reader.names(section, "groups");
            let admin = reader.flag(section, "admin");
            let name = reader.name(section);
            self.people.extend(name.map(|name| DeclaredPerson { name, admin, groups }));
        }
        for section in reader.tables(top, "service", SERVICE) {
            let public_key = service_key(reader, section, files);
            let name = reader.name(section);
            if let (Some(name), Some(public_key)) = (name, public_key) {
                self.services.push(DeclaredService { name, public_key });
            }
        }
    }
}

fn resource(
    reader: &mut Reader<'_>,
    section: Section<'_>,
    protocols: &[&str],
) -> Option<At<Resource>> {
    let name = reader.name(section);
    let known = |word: &str| protocols.contains(&word).then(|| word.to_owned());
    let _ = section.get("protocol").is_none() && reader.required(section, "protocol").is_none();
    let protocol = reader.word(section, "protocol", protocols, known);
    let address = reader.required(section, "address").and_then(|text| address(reader, &text));
    let tls = reader.word(section, "tls", &["verify-full", "unverified", "off"], tls_named);
    let tls = tls.unwrap_or(UpstreamTls::VerifyFull);
    let depth = reader.word(section, "depth", &["disk", "kernel"], depth_named);
    let ca_file = reader.text(section, "ca_file");
    if let (Some(ca_file), true) = (&ca_file, tls != UpstreamTls::VerifyFull) {
        let message = "`ca_file` has no meaning without tls = \"verify-full\"".to_owned();
        reader.wrong_at(ca_file, message, "leave one of the two out");
    }
    let accounts = accounts(reader, section);
    let database = reader.text(section, "database");
    let labels = reader.pairs(section, "labels");
    let (name, (host, port)) = (name?, address?);
    let resource = Resource {
        id: ResourceId::from_parts(0, [0; 10]),
        name: name.value.clone(),
        protocol: protocol?,
        host,
        port,
        tls,
        ca_file: ca_file.map(|it| it.value),
        accounts,
        database: database.map(|it| it.value),
        depth: depth.unwrap_or(Depth::Disk),
        labels,
    };
    Some(name.with(resource))
}

impl<T> At<T> {
    /// Another value at the same place.
    fn with<U>(self, value: U) -> At<U> {
        At { value, file: self.file, line: self.line, column: self.column }
    }
}

fn accounts(reader: &mut Reader<'_>, section: Section<'_>) -> Vec<Account> {
    let mut all: Vec<Account> = Vec::new();
    let declared = reader.tables(section, "account", ACCOUNT);
    if declared.is_empty() {
        // Without an account nobody could ever sign in on the target.
        let at = reader.required(section, "name");
        if let Some(at) = at {
            let hint = "write [[resource.account]] with name and password";
            reader.wrong_at(&at, "a resource needs an account".to_owned(), hint);
        }
    }
    for account in declared {
        let Some(name) = reader.required(account, "name") else {
            continue;
        };
        if all.iter().any(|known| known.name == name.value) {
            let message = format!("the account `{}` stands twice", name.value.escape_debug());
            reader.wrong_at(&name, message, "each account once");
        }
        let password = match reader.text(account, "password") {
            None => None,
            Some(text) => match text.value.parse::<SecretRef>() {
                Ok(reference) => Some(reference),
                Err(_) => {
                    let hint = "a password is given by reference: \"env:NAME\" or \"file:PATH\", \
                                which the gateway reads";
                    reader.wrong_at(&text, "this is no reference to a secret".to_owned(), hint);
                    None
                }
            },
        };
        all.push(Account { name: name.value, password });
    }
    all
}

/// `HOST:PORT` or `[IPV6]:PORT`. What is wrong is not repeated: it may hold a password.
fn address(reader: &mut Reader<'_>, text: &At<String>) -> Option<(String, u16)> {
    let split = text.value.rsplit_once(':');
    let found = split.and_then(|(host, port)| {
        let host = match host.strip_prefix('[') {
            Some(inner) => inner.strip_suffix(']').filter(|ip| ip.contains(':'))?,
            None => host,
        };
        let good = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:".contains(&byte);
        let bare_ipv6 = host.contains(':') && !text.value.starts_with('[');
        let usable = !host.is_empty()
            && !bare_ipv6
            && host.len() <= HOST_BYTES_MAX
            && host.bytes().all(good);
        let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        let port = port.parse::<u16>().ok().filter(|port| *port > 0 && digits)?;
        usable.then(|| (host.to_owned(), port))
    });
    if found.is_none() {
        let hint = "\"HOST:PORT\", such as \"db.internal:5432\" or \"[::1]:5432\", nothing else";
        reader.wrong_at(text, "this is no address".to_owned(), hint);
    }
    found
}

/// A service account's key, from the file itself or from a `.pem` file beside it.
fn service_key(
    reader: &mut Reader<'_>,
    section: Section<'_>,
    files: &[&DeclaredFile],
) -> Option<String> {
    let inline = reader.text(section, "public_key");
    let file = reader.text(section, "public_key_file");
    let (at, text) = match (inline, file) {
        (Some(inline), None) => {
            let text = inline.value.clone();
            (inline, text)
        }
        (None, Some(path)) => {
            let wanted = path.value.trim_start_matches("./");
            match files.iter().find(|file| file.name.trim_start_matches("./") == wanted) {
                Some(file) => {
                    let text = file.text.clone();
                    (path, text)
                }
                None => {
                    let message = "this file did not come with the declaration".to_owned();
                    reader.wrong_at(&path, message, "name the .pem file as it is sent along");
                    return None;
                }
            }
        }
        (Some(inline), Some(_)) => {
            let message = "`public_key` and `public_key_file` say the same thing twice".to_owned();
            reader.wrong_at(&inline, message, "leave one of the two out");
            return None;
        }
        (None, None) => {
            let _ = reader.required(section, "public_key");
            return None;
        }
    };
    match public_key_pem(&text) {
        Ok(key) => Some(key),
        Err(ControlError::Invalid { message, hint }) => {
            reader.wrong_at(&at, message, &hint);
            None
        }
        Err(other) => {
            reader.wrong_at(&at, other.to_string(), "");
            None
        }
    }
}
