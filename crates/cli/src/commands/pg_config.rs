//! `pg-config`: what plain `psql service=NAME` needs.

use super::{Context, resource};
use crate::fail::{Done, Fail};
use crate::out::say;
use crate::profile::{Profile, write_private};
use crate::text;
use clap::Args;
use loggia_api::control::Resource;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Port of the PostgreSQL door when nothing else is said.
const PORT_DEFAULT: u16 = 7432;
/// The first line of a file that this command may write again.
const MARK: &str = "# Written by `loggia pg-config`, which writes it again; changes are lost.";

/// Writes a service file.
#[derive(Debug, Args)]
#[command(before_help = "Examples:
  eval \"$(loggia pg-config)\" && psql service=shop
  loggia pg-config --out ~/.pg_service.conf
  loggia pg-config --host gate.example.org --port 7432")]
pub(crate) struct PgConfig {
    /// The file to write [default: pg_service.conf in the folder of the sign-in]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Host of the PostgreSQL door [default: that of the API]
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    /// Port of the PostgreSQL door
    #[arg(long, default_value_t = PORT_DEFAULT, value_name = "PORT")]
    port: u16,
}

impl PgConfig {
    pub(super) async fn run(self, context: &Context) -> Done {
        let profile = context.profile()?;
        let address = profile.signed()?.map(|signed| signed.address).unwrap_or_default();
        let resources = resource::all(context).await?;
        let reachable: Vec<&Resource> = resources
            .iter()
            .filter(|resource| resource.protocol == "postgres" && resource.connect)
            .collect();
        if reachable.is_empty() {
            return Err(Fail::new("there is no PostgreSQL that you may connect to")
                .hint("loggia resource ls shows what there is"));
        }
        let door = Door {
            host: self.host.unwrap_or_else(|| host_of(&address).to_owned()),
            port: self.port,
        };
        let path = self.out.clone().unwrap_or_else(|| profile.path("pg_service.conf"));
        let path = std::path::absolute(&path).unwrap_or(path);
        may_write(&path)?;
        write_private(&path, services(&profile, &door, &reachable)?.as_bytes())?;
        let names: Vec<String> = reachable.iter().flat_map(|one| names(one)).collect();
        let shown = path.display().to_string();
        if context.out.json {
            return context
                .out
                .object(&serde_json::json!({ "service_file": shown, "services": names }));
        }
        context.out.line(&format!("export PGSERVICEFILE={}", quoted(&shown)))?;
        say("services:");
        for name in &names {
            say(&format!("  psql service={}", text::line(name)));
        }
        Ok(())
    }
}

struct Door {
    host: String,
    port: u16,
}

pub(super) fn host_of(address: &str) -> &str {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.trim_start_matches('[').trim_end_matches(']')
}

/// A file that somebody else wrote is not written over.
fn may_write(path: &Path) -> Done {
    match std::fs::read_to_string(path) {
        Ok(text) if text.starts_with(MARK) => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Ok(_) => Err(Fail::usage(format!("{} was not written by this command", path.display()))
            .hint("name another file: --out FILE")),
        Err(error) => Err(Fail::new(format!("{} cannot be read: {error}", path.display()))),
    }
}

/// The services of a resource: its default account by its name, each account by both.
fn names(resource: &Resource) -> Vec<String> {
    let others = resource.accounts.iter().skip(1);
    let mut names = vec![resource.name.clone()];
    names.extend(others.map(|account| format!("{account}~{}", resource.name)));
    names
}

fn services(profile: &Profile, door: &Door, resources: &[&Resource]) -> Done<String> {
    let file = |name: &str| {
        let path = std::path::absolute(profile.path(name)).unwrap_or_else(|_| profile.path(name));
        path.display().to_string()
    };
    let mut text = format!("{MARK}\n");
    for resource in resources {
        for (place, name) in names(resource).iter().enumerate() {
            let account = resource.accounts.get(place);
            let user = match account {
                Some(account) => format!("{account}~{}", resource.name),
                None => resource.name.clone(),
            };
            text.push_str(&format!("\n[{}]\n", value(name)?));
            text.push_str(&format!("host={}\nport={}\n", value(&door.host)?, door.port));
            text.push_str(&format!("user={}\n", value(&user)?));
            if let Some(database) = &resource.database {
                text.push_str(&format!("dbname={}\n", value(database)?));
            }
            text.push_str("sslmode=verify-full\n");
            for (key, name) in
                [("sslrootcert", "ca.pem"), ("sslcert", "cert.pem"), ("sslkey", "key.pem")]
            {
                text.push_str(&format!("{key}={}\n", value(&file(name))?));
            }
        }
    }
    Ok(text)
}

/// libpq reads a value to the end of its line, as it is; there is no way to escape.
fn value(text: &str) -> Done<&str> {
    let bad = text.is_empty() || text.chars().any(|letter| letter.is_control() || letter == ']');
    if bad || text.trim() != text {
        return Err(Fail::new(format!("`{}` cannot stand in a service file", text::line(text))));
    }
    Ok(text)
}

/// As one word of a shell.
pub(super) fn quoted(text: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "/._-~+".contains(letter);
    if text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resource(accounts: &[&str]) -> Resource {
        Resource {
            id: "re_1".into(),
            name: "shop".into(),
            protocol: "postgres".into(),
            accounts: accounts.iter().map(ToString::to_string).collect(),
            database: Some("shopdb".into()),
            labels: Vec::new(),
            connect: true,
            depth: "disk".into(),
            address: None,
            tls: None,
            host_keys: Vec::new(),
        }
    }

    #[test]
    fn each_account_is_a_service_that_libpq_reads() {
        let profile = Profile::at(Some(Path::new("/srv/al/.config/loggia"))).unwrap();
        let door = Door { host: host_of("gate.example:7443").into(), port: 7432 };
        let shop = resource(&["app", "readonly"]);
        let text = services(&profile, &door, &[&shop]).unwrap();
        assert_eq!(names(&shop), ["shop", "readonly~shop"]);
        insta::assert_snapshot!(text);
        let odd = resource(&["app\nhost=elsewhere"]);
        assert!(services(&profile, &door, &[&odd]).is_err(), "no line is smuggled in");
    }

    #[test]
    fn a_file_of_somebody_else_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pg_service.conf");
        may_write(&path).unwrap();
        std::fs::write(&path, format!("{MARK}\n[x]\n")).unwrap();
        may_write(&path).unwrap();
        std::fs::write(&path, "[mine]\nhost=x\n").unwrap();
        assert!(may_write(&path).is_err());
    }

    #[test]
    fn hosts_and_words_are_taken_apart_and_quoted() {
        assert_eq!(host_of("[::1]:7443"), "::1");
        assert_eq!(host_of("gate.example:7443"), "gate.example");
        assert_eq!(quoted("/a/b"), "/a/b");
        assert_eq!(quoted("/it's me"), "'/it'\\''s me'");
    }
}
