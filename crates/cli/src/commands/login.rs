//! `login`: of a person with password and one-time code, of a service account with its key.

use super::Context;
use crate::agent;
use crate::ask::{Ask, secret_from};
use crate::environment;
use crate::fail::{Done, Fail};
use crate::new_key::NewKey;
use crate::out::say;
use crate::text;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use loggia_api::identity::{
    self, ServiceCertify, ServiceChallenge, SignedIn, service_login_message,
};
use loggia_client::{Auth, Client, Trust};
use loggia_model::Secret;
use rcgen::{KeyPair, SigningKey};
use std::path::{Path, PathBuf};

/// Signs in.
#[derive(Debug, Args)]
#[command(before_help = "Examples:
  loggia login                                    asks for password and code
  loggia login alice --address gate.example.org:7443 --ca-file loggia-ca.pem
  printf '%s\\n' \"$PASSWORD\" \"$CODE\" | loggia login alice --password-file - --code-file -
  loggia login --service backup --key-file backup.key
  loggia login --agent                            the SSH key goes into your agent too")]
pub(crate) struct Login {
    /// Your name [default: who signed in last]
    #[arg(conflicts_with = "service")]
    name: Option<String>,
    /// Address of the API [default: that of the last sign-in]
    #[arg(long, value_name = "HOST:PORT")]
    address: Option<String>,
    /// File with the certificate of the authority to trust [default: that of the enrolment]
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// File with the password; - is standard input
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// File with the one-time code; - is standard input
    #[arg(long, value_name = "FILE")]
    code_file: Option<PathBuf>,
    /// File with the authenticator's seed in base 32, to make the code from; for machines that
    /// test, where nobody can type one
    #[arg(long, value_name = "FILE", conflicts_with = "code_file")]
    totp_file: Option<PathBuf>,
    /// Sign in as this service account
    #[arg(long, value_name = "NAME", requires = "key_file")]
    service: Option<String>,
    /// File with the service account's private key, PEM
    #[arg(long, value_name = "FILE", requires = "service")]
    key_file: Option<PathBuf>,
    /// Put the SSH key into your SSH agent too, until the sign-in ends
    #[arg(long)]
    agent: bool,
}

impl Login {
    pub(super) async fn run(self, context: &Context) -> Done {
        let profile = context.profile()?;
        let signed = profile.signed()?;
        let address = self.address.clone().or(signed.as_ref().map(|signed| signed.address.clone()));
        let Some(address) = address else {
            return Err(Fail::usage("which Loggia? none was signed in to before")
                .hint("name it: --address HOST:PORT --ca-file FILE; or enrol: loggia enrol CODE"));
        };
        let authority = match &self.ca_file {
            Some(path) => std::fs::read_to_string(path).map_err(|error| {
                Fail::usage(format!("{} cannot be read: {error}", path.display()))
            })?,
            None => profile.authority()?.ok_or_else(|| {
                Fail::usage("the authority of that Loggia is not known here")
                    .hint("give its certificate: --ca-file FILE; or enrol: loggia enrol CODE")
            })?,
        };
        let client = Client::new(&address, &Trust::Authority(authority), &Auth::Nobody)?;
        let key = NewKey::generate()?;
        let signed_in = match (&self.service, &self.key_file) {
            (Some(service), Some(path)) => as_service(&client, service, path, &key).await?,
            _ => {
                let last = signed.as_ref().map(|signed| signed.name.as_str());
                self.as_person(context.ask, &client, last, &key).await?
            }
        };
        agent::forget(&profile).await;
        profile.keep(client.address(), &signed_in, &key)?;
        welcome(context, &signed_in)?;
        agent::offer(&profile, signed_in.expires_us, self.agent).await;
        Ok(())
    }

    async fn as_person(
        &self,
        ask: Ask,
        client: &Client,
        last: Option<&str>,
        key: &NewKey,
    ) -> Done<SignedIn> {
        let name = match (&self.name, last) {
            (Some(name), _) => name.clone(),
            (None, Some(last)) if self.password_file.is_some() => last.to_owned(),
            (None, last) => ask.text("Name", last, "an argument: loggia login NAME")?,
        };
        let password = match &self.password_file {
            Some(path) => secret_from(path)?,
            None => ask.secret("Password", "--password-file FILE")?,
        };
        let code = match (&self.code_file, &self.totp_file) {
            (Some(path), _) => secret_from(path)?,
            (None, Some(path)) => code_from_seed(&secret_from(path)?)?,
            (None, None) => {
                Secret::new(ask.text("Code of your authenticator", None, "--code-file FILE")?)
            }
        };
        let login = identity::Login {
            name,
            password,
            code,
            csr: key.csr.clone(),
            ssh_key: Some(key.ssh_public.clone()),
            want_token: true,
        };
        Ok(client.login(&login).await?)
    }
}

async fn as_service(client: &Client, name: &str, path: &Path, key: &NewKey) -> Done<SignedIn> {
    let shown = path.display();
    let pem = std::fs::read_to_string(path)
        .map(Secret::new)
        .map_err(|error| Fail::usage(format!("{shown} cannot be read: {error}")))?;
    let wrong = || {
        Fail::usage(format!("{shown} is no ECDSA P-256 private key in PEM")).hint(
            "make one: openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out FILE",
        )
    };
    let account = KeyPair::from_pem(pem.reveal()).map_err(|_| wrong())?;
    if account.algorithm() != &rcgen::PKCS_ECDSA_P256_SHA256 {
        return Err(wrong());
    }
    let challenge = client.challenge(&ServiceChallenge { name: name.to_owned() }).await?;
    let message = service_login_message(&challenge.origin, &challenge.nonce);
    let signature = account
        .sign(&message)
        .map_err(|error| Fail::new(format!("the challenge cannot be signed: {error}")))?;
    let certify = ServiceCertify {
        name: name.to_owned(),
        nonce: challenge.nonce,
        signature: STANDARD.encode(signature),
        csr: key.csr.clone(),
        ssh_key: Some(key.ssh_public.clone()),
        want_token: true,
    };
    Ok(client.certify(&certify).await?)
}

/// What an authenticator with this seed shows now (RFC 6238: SHA-1, 6 digits, 30 seconds).
pub(super) fn code_from_seed(seed: &Secret) -> Done<Secret> {
    let bytes = totp_rs::Secret::try_from_base32(seed.reveal().trim())
        .map_err(|_| Fail::usage("this is no seed of an authenticator: base 32 is needed"))?;
    let totp = totp_rs::Builder::new()
        .with_digits(6)
        .with_step_duration(30)
        .with_secret(bytes)
        .build_noncompliant();
    let seconds = u64::try_from(environment::now_us()).unwrap_or(0) / 1_000_000;
    Ok(Secret::new(totp.generate(seconds).to_string()))
}

/// What everybody who signed in is told.
pub(super) fn welcome(context: &Context, signed_in: &SignedIn) -> Done {
    say(&text::safe(&signed_in.notice));
    let until = text::moment_of(signed_in.expires_us);
    if context.out.json {
        // No credentials: they are in the profile's files, for their owner alone.
        return context.out.object(&serde_json::json!({
            "actor": signed_in.actor,
            "name": signed_in.name,
            "expires_us": signed_in.expires_us,
        }));
    }
    say(&format!("signed in as {} until {until}", text::line(&signed_in.name)));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_has_six_digits_and_a_wrong_seed_is_refused() {
        let code =
            code_from_seed(&Secret::new("JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP\n".into())).unwrap();
        assert_eq!(code.reveal().len(), 6);
        assert!(code_from_seed(&Secret::new("not base 32!".into())).is_err());
    }
}
