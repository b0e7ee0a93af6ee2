//! `pg-config`: what plain `psql service=NAME` needs.

use super::Context;
use super::client_file::{Door, may_write, quoted, reachable};
use crate::fail::{Done, Fail};
use crate::out::say;
use crate::profile::{Profile, write_private};
use crate::text;
use clap::Args;
use loggia_api::control::Resource;
use std::path::PathBuf;

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
        let none = "there is no PostgreSQL that you may connect to";
        let reachable = reachable(context, "postgres", none).await?;
        let door = Door::new(&profile, self.host, self.port)?;
        let path = self.out.clone().unwrap_or_else(|| profile.path("pg_service.conf"));
        let path = std::path::absolute(&path).unwrap_or(path);
        may_write(&path, MARK, "name another file: --out FILE")?;
        write_private(&path, services(&profile, &door, &reachable)?.as_bytes())?;
        let names: Vec<String> = reachable.iter().flat_map(names).collect();
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

/// The services of a resource: its default account by its name, each account by both.
fn names(resource: &Resource) -> Vec<String> {
    let others = resource.accounts.iter().skip(1);
    let mut names = vec![resource.name.clone()];
    names.extend(others.map(|account| format!("{account}~{}", resource.name)));
    names
}

fn services(profile: &Profile, door: &Door, resources: &[Resource]) -> Done<String> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

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
        let door = Door { host: "gate.example".into(), port: 7432 };
        let shop = resource(&["app", "readonly"]);
        let text = services(&profile, &door, std::slice::from_ref(&shop)).unwrap();
        assert_eq!(names(&shop), ["shop", "readonly~shop"]);
        insta::assert_snapshot!(text);
        let odd = resource(&["app\nhost=elsewhere"]);
        assert!(services(&profile, &door, &[odd]).is_err(), "no line is smuggled in");
    }
}
