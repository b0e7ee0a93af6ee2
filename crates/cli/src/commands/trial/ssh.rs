//! The host of a trial: where it is, how it is known, how the gateway signs in there.
//!
//! Its key is never taken blindly: it is given, or known already, or shown and agreed to.

use super::super::client_file::quoted;
use crate::ask::Ask;
use crate::environment;
use crate::fail::{Done, Fail};
use crate::new_key::NewKey;
use crate::out::say;
use crate::profile::write_private;
use crate::text;
use loggia_model::Secret;
use loggia_server::trial::{Kind, SshWay, Target, Trial};
use ssh_key::{HashAlg, PublicKey};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

/// How long OpenSSH's tools may take.
const TOOL_WAIT_MAX: Duration = Duration::from_secs(15);
/// Types of host keys, the best first.
const TYPES: [&str; 5] =
    ["ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", "ssh-rsa"];

/// The visitor's own key for this trial.
pub(super) struct Visitor {
    key: NewKey,
}

/// `ssh://USER[:PASSWORD]@HOST[:PORT]`.
#[derive(Debug)]
struct Place {
    user: String,
    password: Option<Secret>,
    host: String,
    port: u16,
}

impl Visitor {
    pub(super) fn generate() -> Done<Self> {
        Ok(Self { key: NewKey::generate()? })
    }

    /// Keeps key, certificate and configuration in the folder of the trial, and gives the line to
    /// paste.
    pub(super) fn line(&self, data: &Path, trial: &Trial) -> Done<String> {
        let failed = |error: std::io::Error| Fail::new(format!("{}: {error}", data.display()));
        let data = std::path::absolute(data).map_err(failed)?;
        let folder = data.join("visitor");
        std::fs::create_dir_all(&folder).map_err(failed)?;
        let certificate = trial.ssh_certificate.as_deref().unwrap_or_default();
        let known = format!("@cert-authority * {}\n", trial.ssh_host_authority);
        let file = |name: &str| folder.join(name).display().to_string();
        let config = format!(
            "Host {name}\n    HostName localhost\n    Port {port}\n    User {name}\n    \
             IdentityFile \"{key}\"\n    CertificateFile \"{key}-cert.pub\"\n    IdentitiesOnly yes\n    \
             UserKnownHostsFile \"{known}\"\n    GlobalKnownHostsFile none\n    \
             StrictHostKeyChecking yes\n",
            name = trial.resource,
            port = trial.addresses.ssh.port(),
            key = file("id_loggia").replace('%', "%%"),
            known = file("known_hosts").replace('%', "%%"),
        );
        for (name, content) in [
            ("id_loggia", self.key.ssh_private.reveal()),
            ("id_loggia-cert.pub", format!("{certificate}\n").as_str()),
            ("known_hosts", known.as_str()),
            ("ssh_config", config.as_str()),
        ] {
            write_private(&folder.join(name), content.as_bytes())?;
        }
        Ok(format!("ssh -F {} {}", quoted(&file("ssh_config")), trial.resource))
    }
}

/// What is to be tried, with everything that must be known of it.
pub(super) async fn target(
    url: &str,
    key: Option<&Path>,
    host_key: Option<&str>,
    ask: Ask,
    visitor: &Visitor,
) -> Done<Target> {
    let place = place(url)?;
    let host_keys = match host_key {
        Some(key) => vec![key.to_owned()],
        None => match known(&place).await {
            keys if keys.is_empty() => vec![shown(&place, ask).await?],
            keys => keys,
        },
    };
    let way = match key {
        Some(path) => key_file(path)?,
        None => match place.password.or_else(environment::ssh_password) {
            Some(password) => SshWay::Password(password),
            None => {
                let what = format!("Password of {} on {}", place.user, place.host);
                SshWay::Password(ask.secret(&what, "--key FILE or SSHPASS")?)
            }
        },
    };
    let visitor_key = visitor.key.ssh_public.clone();
    let kind = Kind::Ssh { way, host_keys, visitor_key };
    Ok(Target { user: place.user, host: place.host, port: place.port, kind })
}

fn place(url: &str) -> Done<Place> {
    let wrong = || {
        Fail::usage("the host is given as ssh://USER[:PASSWORD]@HOST[:PORT]")
            .hint("for example: loggia try ssh://deploy@web-1.example --key ~/.ssh/id_ed25519")
    };
    let parsed = url::Url::parse(url).map_err(|_| wrong())?;
    let rest = !matches!(parsed.path(), "" | "/") || parsed.query().is_some();
    if parsed.scheme() != "ssh" || parsed.username().is_empty() || rest {
        return Err(wrong());
    }
    let decode =
        |text: &str| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
    let host = parsed.host_str().ok_or_else(wrong)?.trim_matches(['[', ']']).to_owned();
    // It becomes an argument of other programs.
    if host.is_empty() || host.starts_with('-') {
        return Err(wrong());
    }
    Ok(Place {
        user: decode(parsed.username()),
        password: parsed.password().map(|text| Secret::new(decode(text))),
        host,
        port: parsed.port().unwrap_or(22),
    })
}

/// A private key that the gateway can use, without looking at more of it than it needs.
fn key_file(path: &Path) -> Done<SshWay> {
    let shown = path.display();
    let text = std::fs::read_to_string(path).map(Secret::new);
    let text = text.map_err(|error| Fail::usage(format!("{shown} cannot be read: {error}")))?;
    let key = ssh_key::PrivateKey::from_openssh(text.reveal()).map_err(|_| {
        Fail::usage(format!("{shown} is no private key in OpenSSH's format"))
            .hint("ssh-keygen -p -f FILE writes older formats anew")
    })?;
    if key.is_encrypted() {
        return Err(Fail::usage(format!(
            "{shown} asks for a passphrase, which a gateway cannot type"
        ))
        .hint(
            "make a key for the trial: ssh-keygen -t ed25519 -N '' -f FILE; ssh-copy-id -i FILE",
        ));
    }
    Ok(SshWay::KeyFile(path.to_owned()))
}

/// The keys of the host that the visitor's `known_hosts` has, by OpenSSH's own reading of it.
async fn known(place: &Place) -> Vec<String> {
    let name = match place.port {
        22 => place.host.clone(),
        port => format!("[{}]:{port}", place.host),
    };
    let found = tool("ssh-keygen", &["-F", &name]).await.unwrap_or_default();
    let keys = usable(&found);
    if !keys.is_empty() {
        say(&format!("The host key is the one in your known_hosts: {}", fingerprints(&keys)));
    }
    keys
}

/// The key that the host shows, once the visitor agrees that it is right.
async fn shown(place: &Place, ask: Ask) -> Done<String> {
    let hint = "give the host's key: --host-key 'ssh-ed25519 AAAA…'";
    let port = place.port.to_string();
    let arguments = ["-T", "10", "-p", &port, "-t", "ed25519,ecdsa,rsa", &place.host];
    let found = tool("ssh-keyscan", &arguments).await.map_err(|why| {
        Fail::new(format!("the host key of {} cannot be learned: {why}", place.host)).hint(hint)
    })?;
    let keys = usable(&found);
    let Some(best) = TYPES.iter().find_map(|kind| keys.iter().find(|key| key.starts_with(kind)))
    else {
        let message = format!("{}:{} shows no SSH host key", place.host, place.port);
        return Err(Fail::unreachable(message).hint("is it up, and does its sshd listen there?"));
    };
    say(&format!("{} shows this host key, which is not known here:", text::line(&place.host)));
    say(&format!("  {}", fingerprints(std::slice::from_ref(best))));
    say("On the host itself: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub");
    if ask.agrees("Is it the right one?", "--host-key 'TYPE BASE64'")? {
        return Ok(best.clone());
    }
    Err(Fail::new("the host key was not agreed to; nothing was sent").hint(hint))
}

/// The keys in lines of `known_hosts`, without names, marks that are not ours, and comments.
fn usable(lines: &str) -> Vec<String> {
    let mut keys = Vec::new();
    for line in lines.lines().filter(|line| !line.starts_with('#')) {
        let mut words = line.split_ascii_whitespace();
        let mark = words.clone().next().filter(|word| word.starts_with('@'));
        if mark.is_some() {
            words.next();
        }
        let (_, Some(kind), Some(blob)) = (words.next(), words.next(), words.next()) else {
            continue;
        };
        let key = format!("{kind} {blob}");
        let good = TYPES.contains(&kind) && PublicKey::from_openssh(&key).is_ok();
        match mark {
            None if good => keys.push(key),
            Some("@cert-authority") if good => keys.push(format!("@cert-authority {key}")),
            _ => {}
        }
    }
    keys.sort();
    keys.dedup();
    keys
}

fn fingerprints(keys: &[String]) -> String {
    let of = |key: &String| {
        let bare = key.trim_start_matches("@cert-authority ");
        let read = PublicKey::from_openssh(bare).ok()?;
        let kind = bare.split(' ').next().unwrap_or_default();
        Some(format!("{} ({kind})", read.fingerprint(HashAlg::Sha256)))
    };
    keys.iter().filter_map(of).collect::<Vec<_>>().join(", ")
}

/// What one of OpenSSH's tools prints.
async fn tool(name: &str, arguments: &[&str]) -> Result<String, String> {
    let mut command = tokio::process::Command::new(name);
    command.args(arguments).stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    match tokio::time::timeout(TOOL_WAIT_MAX, command.output()).await {
        Ok(Ok(output)) => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        Ok(Err(error)) => Err(format!("{name}: {error}")),
        Err(_) => Err(format!("{name} did not end in time")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ED25519: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOle+VxsrInpGOjBWGcBZiVd2xYCkI9g1nRbX1ZrGjC9";

    #[test]
    fn a_url_reads_as_ssh_reads_it_and_nobody_is_anonymous() {
        let one = place("ssh://deploy:p%40ss@web-1.example:2222").unwrap();
        assert_eq!(
            (one.user.as_str(), one.host.as_str(), one.port),
            ("deploy", "web-1.example", 2222)
        );
        assert_eq!(one.password.unwrap().reveal(), "p@ss");
        assert_eq!(
            (place("ssh://a@[::1]").unwrap().host, place("ssh://a@h").unwrap().port),
            ("::1".into(), 22)
        );
        for bad in [
            "ssh://web-1",
            "ssh://a@h/path",
            "ssh://a@h?x=1",
            "ssh://a@-oProxyCommand=x",
            "ssh:",
            "scp://a@h",
        ] {
            assert!(place(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn keys_are_read_out_of_known_hosts_and_what_is_revoked_is_not_one() {
        let lines = format!(
            "# Host web-1 found: line 3\n|1|salt=|hash= {ED25519} a comment\nweb-1 {ED25519}\n\
             @revoked web-1 {ED25519}\n@cert-authority *.example {ED25519}\nweb-1 ssh-dss AAAA\n\
             web-1 ssh-ed25519 AAAA\nweb-1\n"
        );
        assert_eq!(usable(&lines), [format!("@cert-authority {ED25519}"), ED25519.to_owned()]);
        let told = fingerprints(&[ED25519.to_owned()]);
        assert_eq!(told, "SHA256:DDyMoA1XbKZtXev3HM2IlhuRgN7Eyko+bo/kN/4OkUg (ssh-ed25519)");
    }

    #[test]
    fn a_key_file_must_be_one_that_a_gateway_can_use() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        std::fs::write(&path, NewKey::generate().unwrap().ssh_private.reveal()).unwrap();
        assert!(matches!(key_file(&path).unwrap(), SshWay::KeyFile(_)));
        std::fs::write(&path, "-----BEGIN RSA PRIVATE KEY-----\n").unwrap();
        assert!(key_file(&path).is_err() && key_file(&folder.path().join("none")).is_err());
    }
}
