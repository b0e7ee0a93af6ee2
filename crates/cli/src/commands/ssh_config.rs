//! `ssh-config`: what plain `ssh NAME` needs.

use super::Context;
use super::client_file::{Door, may_write, quoted, reachable};
use crate::fail::{Done, Fail};
use crate::out::say;
use crate::profile::{Profile, SSH_CERTIFICATE, SSH_KEY, write_private};
use crate::text;
use clap::Args;
use loggia_api::control::Resource;
use std::path::PathBuf;

/// Port of the SSH door when nothing else is said.
const PORT_DEFAULT: u16 = 7022;
/// The first line of a file that this command may write again.
const MARK: &str = "# Written by `loggia ssh-config`, which writes it again; changes are lost.";
/// The host keys that are known, beside the configuration.
const KNOWN_HOSTS: &str = "ssh_known_hosts";

/// Writes Host entries.
#[derive(Debug, Args)]
#[command(before_help = "Examples:
  loggia ssh-config                  writes the file, prints the line for ~/.ssh/config
  loggia ssh-config --print          prints the entries and writes nothing
  ssh -F \"$(loggia ssh-config --json | jq -r .config_file)\" web-1")]
pub(crate) struct SshConfig {
    /// The file to write [default: ssh_config in the folder of the sign-in]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Print the entries instead of writing them
    #[arg(long, conflicts_with = "out")]
    print: bool,
    /// Host of the SSH door [default: that of the API]
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    /// Port of the SSH door
    #[arg(long, default_value_t = PORT_DEFAULT, value_name = "PORT")]
    port: u16,
}

impl SshConfig {
    pub(super) async fn run(self, context: &Context) -> Done {
        let profile = context.profile()?;
        let none = "there is no host that you may connect to";
        let reachable = reachable(context, "ssh", none).await?;
        let Some(authority) = profile.ssh_host_authority()? else {
            return Err(Fail::sign_in("this sign-in is without SSH").hint("sign in: loggia login"));
        };
        let door = Door::new(&profile, self.host, self.port)?;
        let (hosts, skipped) = hosts(&reachable);
        let text = entries(&profile, &door, &hosts)?;
        for name in skipped {
            say(&format!("note: {} cannot stand in a configuration file", text::line(&name)));
        }
        let path = self.out.clone().unwrap_or_else(|| profile.path("ssh_config"));
        let path = std::path::absolute(&path).unwrap_or(path);
        if !self.print {
            may_write(
                &path,
                MARK,
                "name another file with --out, and include that in ~/.ssh/config",
            )?;
        }
        // The key of the gateway first: what names it finds it.
        let known = format!("{MARK}\n@cert-authority * {}\n", authority.trim());
        write_private(&profile.path(KNOWN_HOSTS), known.as_bytes())?;
        if self.print {
            return context.out.line(text.trim_end());
        }
        write_private(&path, text.as_bytes())?;
        let names: Vec<&String> = hosts.iter().map(|host| &host.name).collect();
        let shown = path.display().to_string();
        if context.out.json {
            let object = serde_json::json!({ "config_file": shown, "hosts": names });
            return context.out.object(&object);
        }
        context.out.line(&format!("Include {}", word(&shown)?))?;
        say("That line belongs to the beginning of ~/.ssh/config, once. Then:");
        for name in names {
            say(&format!("  ssh {}", quoted(&text::line(name))));
        }
        Ok(())
    }
}

/// One entry: what is typed behind `ssh`, and the user name that says so to the gateway.
#[derive(Debug, PartialEq, Eq)]
struct Host {
    name: String,
    user: String,
}

/// The entries of all resources, the default account of each by its name and each further one by
/// both, and the names that OpenSSH could not read.
fn hosts(resources: &[Resource]) -> (Vec<Host>, Vec<String>) {
    let (mut hosts, mut skipped) = (Vec::new(), Vec::new());
    for resource in resources {
        let resource_name = &resource.name;
        for (place, account) in resource.accounts.iter().enumerate() {
            let user = format!("{account}~{resource_name}");
            let name = if place == 0 { resource_name.clone() } else { user.clone() };
            match is_plain(&user) && is_plain(&name) {
                true => hosts.push(Host { name, user }),
                false => skipped.push(user),
            }
        }
    }
    (hosts, skipped)
}

/// Whether a text means itself in `Host` (no pattern), as `User` (no token) and on a command line
/// (no option, and nothing that OpenSSH refuses in the name of a host).
fn is_plain(text: &str) -> bool {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "._-~+@".contains(letter);
    !text.is_empty() && !text.starts_with('-') && text.chars().all(plain)
}

fn entries(profile: &Profile, door: &Door, hosts: &[Host]) -> Done<String> {
    let file = |name: &str| {
        let path = std::path::absolute(profile.path(name)).unwrap_or_else(|_| profile.path(name));
        word(&path.display().to_string())
    };
    let mut text = format!("{MARK}\n");
    for host in hosts {
        text.push_str(&format!(
            "\nHost {}\n    HostName {}\n    Port {}\n    User {}\n",
            host.name,
            word(&door.host)?,
            door.port,
            host.user
        ));
        text.push_str(&format!(
            "    IdentityFile {}\n    CertificateFile {}\n    IdentitiesOnly yes\n",
            file(SSH_KEY)?,
            file(SSH_CERTIFICATE)?
        ));
        // Without a second way a client whose certificate has expired hangs up before it reads why.
        text.push_str("    PreferredAuthentications publickey,keyboard-interactive\n");
        text.push_str(&format!("    UserKnownHostsFile {}\n", file(KNOWN_HOSTS)?));
        text.push_str("    GlobalKnownHostsFile none\n    StrictHostKeyChecking yes\n");
    }
    Ok(text)
}

/// A value in OpenSSH's configuration: in quotes, which hold everything but quotes; a percent sign
/// begins a token there.
fn word(text: &str) -> Done<String> {
    let bad = |letter: char| letter.is_control() || "\"\\".contains(letter);
    // `${` names an environment variable.
    if text.is_empty() || text.contains(bad) || text.contains("${") {
        let message = format!("`{}` cannot stand in a configuration of ssh", text::line(text));
        return Err(Fail::new(message).hint("keep the sign-in elsewhere: LOGGIA_HOME=DIR"));
    }
    let escaped = text.replace('%', "%%");
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "/._-~+:%".contains(letter);
    Ok(if escaped.chars().all(plain) { escaped } else { format!("\"{escaped}\"") })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn resource(name: &str, accounts: &[&str]) -> Resource {
        Resource {
            id: "re_1".into(),
            name: name.into(),
            protocol: "ssh".into(),
            accounts: accounts.iter().map(ToString::to_string).collect(),
            database: None,
            labels: Vec::new(),
            connect: true,
            depth: "disk".into(),
            address: None,
            tls: None,
            host_keys: Vec::new(),
        }
    }

    #[test]
    fn each_account_is_a_host_that_openssh_reads() {
        let profile = Profile::at(Some(Path::new("/srv/a l/.config/loggia"))).unwrap();
        let door = Door { host: "gate.example".into(), port: 7022 };
        let web = resource("web-1", &["deploy", "root"]);
        let odd = resource("web-2", &["x\n  ProxyCommand=touch", "ok", "*"]);
        let (hosts, skipped) = hosts(&[web, odd]);
        let names: Vec<&str> = hosts.iter().map(|host| host.name.as_str()).collect();
        assert_eq!(names, ["web-1", "root~web-1", "ok~web-2"]);
        assert_eq!(skipped.len(), 2, "no line is smuggled in");
        insta::assert_snapshot!(entries(&profile, &door, &hosts).unwrap());
        let bad = Profile::at(Some(Path::new("/srv/\"x\n"))).unwrap();
        assert!(entries(&bad, &door, &hosts).is_err());
    }

    #[test]
    fn openssh_takes_what_is_written_for_what_is_meant() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().join("50% of it");
        std::fs::create_dir(&home).unwrap();
        let profile = Profile::at(Some(&home)).unwrap();
        let door = Door { host: "::1".into(), port: 7023 };
        let web = resource("web-1", &["deploy", "root"]);
        let (hosts, _) = hosts(&[web]);
        let path = home.join("ssh_config");
        write_private(&path, entries(&profile, &door, &hosts).unwrap().as_bytes()).unwrap();
        let asked = std::process::Command::new("ssh")
            .arg("-F")
            .arg(&path)
            .args(["-G", "root~web-1"])
            .output();
        let Ok(answer) = asked else {
            println!("SKIPPED: ssh is not installed");
            return;
        };
        let said = String::from_utf8(answer.stdout).unwrap();
        assert!(answer.status.success(), "{}", String::from_utf8_lossy(&answer.stderr));
        let key = home.join("id_loggia");
        for line in [
            "hostname ::1",
            "port 7023",
            "user root~web-1",
            "identitiesonly yes",
            "stricthostkeychecking true",
            "globalknownhostsfile none",
        ] {
            assert!(said.lines().any(|found| found == line), "{line} is missing in\n{said}");
        }
        // Whether tokens are expanded in what is printed depends on the version.
        let shown = key.display().to_string();
        let identity = said.lines().find(|line| line.starts_with("identityfile ")).unwrap();
        assert!(identity.replace("%%", "%").ends_with(&shown), "{identity}");
    }
}
