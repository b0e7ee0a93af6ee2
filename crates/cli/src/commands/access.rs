//! `whoami` and `logout`.

use super::Context;
use crate::agent;
use crate::fail::Done;
use crate::out::say;
use crate::text;
use clap::Args;

/// Says who the caller is.
#[derive(Debug, Args)]
#[command(before_help = "Examples:
  loggia whoami
  loggia whoami --json | jq -r .name")]
pub(crate) struct Whoami {}

impl Whoami {
    pub(super) async fn run(self, context: &Context) -> Done {
        let client = context.client()?;
        let who = client.whoami().await?;
        context.out.either(&who, || {
            let mut lines = vec![
                format!("{}  {}  {}", text::line(&who.name), who.actor_type, who.actor),
                format!("at {}, from {}, by {}", client.address(), who.source, who.authn),
            ];
            if !who.groups.is_empty() {
                lines.push(format!("in {}", text::line(&who.groups.join(", "))));
            }
            if who.admin {
                lines.push("administers this Loggia".to_owned());
            }
            if let Some(expires_us) = who.expires_us {
                lines.push(format!("until {}", text::moment_of(expires_us)));
            }
            lines.join("\n")
        })
    }
}

/// Gives the credentials back.
#[derive(Debug, Args)]
#[command(before_help = "Example:
  loggia logout")]
pub(crate) struct Logout {}

impl Logout {
    pub(super) async fn run(self, context: &Context) -> Done {
        let revoked = context.client()?.logout().await?;
        // Revoked first: what is thrown away here is of no use to anybody by then.
        let profile = context.profile()?;
        agent::forget(&profile).await;
        profile.forget_credentials()?;
        if context.out.json {
            return context.out.object(&revoked);
        }
        say(&format!("signed out; {} credentials ended", revoked.revoked));
        Ok(())
    }
}
