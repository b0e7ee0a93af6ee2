//! `enrol`: takes up an account with the code that an administrator gave.

use super::Context;
use super::login::{code_from_seed, welcome};
use crate::agent;
use crate::ask::{Ask, secret_from};
use crate::fail::{Done, Fail};
use crate::new_key::NewKey;
use crate::out::say;
use crate::profile::write_private;
use crate::text;
use clap::Args;
use loggia_api::identity::{EnrolBegin, EnrolBegun, EnrolFinish, EnrolmentCode};
use loggia_client::{Auth, Client, SeenAuthority, Trust};
use loggia_model::Secret;
use std::path::{Path, PathBuf};

/// Enrols.
#[derive(Debug, Args)]
#[command(before_help = "Examples:
  loggia enrol lge1.…                 asks for a new password and a first code
  loggia enrol - < code.txt           the code from standard input
  loggia enrol - --password-file pw --totp-file seed < code.txt      nobody is asked")]
pub(crate) struct Enrol {
    /// The enrolment code; - is standard input
    code: String,
    /// File with the new password; - is standard input
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// Write the authenticator's seed to this new file and make the first code from it; for
    /// machines that test, where nobody has an authenticator
    #[arg(long, value_name = "FILE")]
    totp_file: Option<PathBuf>,
    /// Address of the API, where it is another than the code says
    #[arg(long, value_name = "HOST:PORT")]
    address: Option<String>,
    /// Put the SSH key into your SSH agent too, until the sign-in ends
    #[arg(long)]
    agent: bool,
}

impl Enrol {
    pub(super) async fn run(self, context: &Context) -> Done {
        let text = match self.code.as_str() {
            "-" => secret_from(Path::new("-"))?,
            _ => Secret::new(self.code.clone()),
        };
        let code = EnrolmentCode::parse(text.reveal()).map_err(|error| {
            Fail::usage(error.to_string()).hint("ask your administrator for another one")
        })?;
        let profile = context.profile()?;
        let address = self.address.as_deref().unwrap_or(code.address());
        // The server is known by the fingerprint in the code before anything is sent.
        let seen = SeenAuthority::default();
        let trust = Trust::Fingerprint(*code.ca_sha256(), seen.clone());
        let client = Client::new(address, &trust, &Auth::Nobody)?;
        let begun = client.enrol_begin(&EnrolBegin { secret: code.secret() }).await?;
        say(&format!("Welcome, {}.", text::line(&begun.name)));
        let password = self.password(context.ask)?;
        let first = self.first_code(context.ask, &begun)?;
        let key = NewKey::generate()?;
        let finish = EnrolFinish {
            secret: code.secret(),
            password,
            totp_secret: begun.totp_secret,
            code: first,
            csr: key.csr.clone(),
            ssh_key: Some(key.ssh_public.clone()),
            want_token: true,
        };
        let signed_in = client.enrol_finish(&finish).await?;
        if !is_authority(&signed_in.ca_pem, &seen) {
            return Err(Fail::new("the gateway names another authority than it has shown")
                .hint("tell your administrator; nothing was saved"));
        }
        agent::forget(&profile).await;
        profile.keep(address, &signed_in, &key)?;
        welcome(context, &signed_in)?;
        agent::offer(&profile, signed_in.expires_us, self.agent).await;
        Ok(())
    }

    fn password(&self, ask: Ask) -> Done<Secret> {
        if let Some(path) = &self.password_file {
            return secret_from(path);
        }
        let password = ask.secret("New password (12 letters or more)", "--password-file FILE")?;
        let again = ask.secret("The same again", "--password-file FILE")?;
        if password.reveal() != again.reveal() {
            return Err(Fail::usage("the two are not the same"));
        }
        Ok(password)
    }

    fn first_code(&self, ask: Ask, begun: &EnrolBegun) -> Done<Secret> {
        if let Some(path) = &self.totp_file {
            if path.exists() {
                return Err(Fail::usage(format!("{} exists already", path.display())));
            }
            write_private(path, begun.totp_secret.reveal().as_bytes())?;
            return code_from_seed(&begun.totp_secret);
        }
        if ask.can_ask() {
            say(&format!(
                "Add this to your authenticator; it is shown this once:\n\n  {}\n\n  key: {}\n",
                text::safe(begun.otpauth_url.reveal()),
                text::safe(begun.totp_secret.reveal())
            ));
        }
        ask.text("The code it shows", None, "--totp-file FILE").map(Secret::new)
    }
}

/// Whether the PEM is the authority that the handshake was checked against.
fn is_authority(ca_pem: &str, seen: &SeenAuthority) -> bool {
    let named = pem::parse(ca_pem).ok();
    named.is_some_and(|named| Some(named.contents()) == seen.der())
}
