//! `ssh-ca`: the public keys that targets and clients are told to trust.

use super::Context;
use crate::fail::Done;
use crate::out::say;
use crate::text;
use clap::Args;

/// Prints the authorities.
#[derive(Debug, Args)]
#[command(before_help = "Examples:
  loggia ssh-ca > /etc/ssh/loggia-ca.pub       on a target; then in its sshd_config:
                                               TrustedUserCAKeys /etc/ssh/loggia-ca.pub
  loggia ssh-ca --hosts >> ~/.ssh/known_hosts  on a client without `loggia ssh-config`")]
pub(crate) struct SshCa {
    /// The line for known_hosts by which clients know this Loggia, instead
    #[arg(long)]
    hosts: bool,
}

impl SshCa {
    pub(super) async fn run(self, context: &Context) -> Done {
        let trust = context.client()?.ssh_trust().await?;
        if context.out.json {
            return context.out.object(&trust);
        }
        if self.hosts {
            return context
                .out
                .line(&format!("@cert-authority * {}", text::line(&trust.host_authority)));
        }
        context.out.line(&text::line(&trust.target_authority))?;
        say("It signs a certificate for each session, with person and session in its key id, for");
        say("accounts with certificate = true. Whoever trusts it lets this gateway in as anybody.");
        Ok(())
    }
}
