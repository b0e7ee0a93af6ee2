//! `resource ls`.

use super::Context;
use crate::fail::Done;
use clap::{Args, Subcommand};
use loggia_api::control::Page;

/// What can be reached.
#[derive(Debug, Subcommand)]
pub(crate) enum Resource {
    /// List what you can reach; whoever may list all resources sees all
    Ls(Ls),
}

/// Lists resources.
#[derive(Debug, Args)]
#[command(before_help = "Examples:
  loggia resource ls
  loggia resource ls --json | jq -r 'select(.connect) | .name'")]
pub(crate) struct Ls {}

impl Resource {
    pub(super) async fn run(self, context: &Context) -> Done {
        let Self::Ls(Ls {}) = self;
        let resources = all(context).await?;
        context.out.table(
            &resources,
            &["name", "protocol", "accounts", "database", "depth", "connect", "address"],
            |resource| {
                vec![
                    resource.name.clone(),
                    resource.protocol.clone(),
                    resource.accounts.join(", "),
                    resource.database.clone().unwrap_or_default(),
                    resource.depth.clone(),
                    if resource.connect { "yes" } else { "no" }.to_owned(),
                    resource.address.clone().unwrap_or_default(),
                ]
            },
            "there is nothing that you can reach",
        )
    }
}

/// All resources that the caller sees.
pub(super) async fn all(context: &Context) -> Done<Vec<loggia_api::control::Resource>> {
    let client = context.client()?;
    let mut all = Vec::new();
    let mut page = Page::default();
    loop {
        let mut resources = client.resources(&page).await?;
        all.append(&mut resources.resources);
        match resources.next {
            Some(next) => page.after = Some(next),
            None => return Ok(all),
        }
    }
}
