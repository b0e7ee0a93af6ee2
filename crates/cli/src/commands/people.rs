//! `person` and `service`: add, ls, disable.

use super::Context;
use crate::fail::{Done, Fail};
use crate::out::say;
use crate::text;
use clap::{Args, Subcommand};
use loggia_api::control::{AddPerson, AddService, Disable, Page};
use std::path::PathBuf;

/// People.
#[derive(Debug, Subcommand)]
pub(crate) enum Person {
    /// Add a person; prints their enrolment code, which is shown this once
    Add(PersonAdd),
    /// List people
    Ls(PersonLs),
    /// Let a person no longer in: credentials and sessions end at once
    Disable(PersonDisable),
}

/// Adds a person.
#[derive(Debug, Args)]
#[command(before_help = "Examples:
  loggia person add alice --group dba
  loggia person add root-operator --admin
  loggia person add alice            again, before she enrolled: a new code")]
pub(crate) struct PersonAdd {
    /// Their name: small letters, digits, dot, dash, underscore
    name: String,
    /// They administer this Loggia
    #[arg(long)]
    admin: bool,
    /// A group to put them into; may be given again
    #[arg(long = "group", value_name = "NAME")]
    groups: Vec<String>,
}

/// Lists people.
#[derive(Debug, Args)]
#[command(before_help = "Examples:
  loggia person ls
  loggia person ls --json | jq -r 'select(.enrolled | not) | .name'")]
pub(crate) struct PersonLs {}

/// Disables a person.
#[derive(Debug, Args)]
#[command(before_help = "Example:
  loggia person disable mallory --reason 'has left'")]
pub(crate) struct PersonDisable {
    /// Their name
    name: String,
    /// Why; recorded, and shown in the sessions that end by it
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

impl Person {
    pub(super) async fn run(self, context: &Context) -> Done {
        let client = context.client()?;
        match self {
            Self::Add(args) => {
                let add = AddPerson { name: args.name, admin: args.admin, groups: args.groups };
                let added = client.add_person(&add).await?;
                context.out.either(&added, || added.enrolment_code.reveal().to_owned())?;
                say(&format!(
                    "Hand this code to {} over a way that is safe; it is good once, until {}.\n\
                     They take up their account with: loggia enrol CODE",
                    text::line(&added.person.name),
                    text::moment_of(added.expires_us)
                ));
                Ok(())
            }
            Self::Ls(PersonLs {}) => {
                let mut all = Vec::new();
                let mut page = Page::default();
                loop {
                    let mut people = client.people(&page).await?;
                    all.append(&mut people.people);
                    page.after = people.next;
                    if page.after.is_none() {
                        break;
                    }
                }
                context.out.table(
                    &all,
                    &["name", "groups", "standing", "since", "id"],
                    |person| {
                        let standing = [
                            (person.admin, "administrator"),
                            (!person.enrolled, "not enrolled"),
                            (person.disabled, "disabled"),
                        ];
                        let standing: Vec<&str> =
                            standing.iter().filter(|(is, _)| *is).map(|(_, word)| *word).collect();
                        vec![
                            person.name.clone(),
                            person.groups.join(", "),
                            standing.join(", "),
                            text::moment_of(person.created_us),
                            person.id.clone(),
                        ]
                    },
                    "there is nobody yet",
                )
            }
            Self::Disable(args) => {
                let why = Disable { reason: args.reason };
                let disabled = client.disable_person(&args.name, &why).await?;
                told(context, &args.name, &disabled)
            }
        }
    }
}

fn told(context: &Context, name: &str, disabled: &loggia_api::control::Disabled) -> Done {
    if context.out.json {
        return context.out.object(disabled);
    }
    let count = disabled.credentials;
    say(&format!("{} may no longer come in; {count} credentials ended", text::line(name)));
    Ok(())
}

/// Service accounts.
#[derive(Debug, Subcommand)]
pub(crate) enum Service {
    /// Add a service account with its public key
    Add(ServiceAdd),
    /// List service accounts
    Ls(ServiceLs),
    /// Let a service account no longer in: credentials and sessions end at once
    Disable(ServiceDisable),
}

/// Adds a service account.
#[derive(Debug, Args)]
#[command(before_help = "Examples:
  openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out backup.key
  openssl pkey -in backup.key -pubout -out backup.pub
  loggia service add backup --key backup.pub")]
pub(crate) struct ServiceAdd {
    /// Its name: small letters, digits, dot, dash, underscore
    name: String,
    /// File with its public key: ECDSA P-256, SPKI in PEM
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
}

/// Lists service accounts.
#[derive(Debug, Args)]
#[command(before_help = "Example:
  loggia service ls")]
pub(crate) struct ServiceLs {}

/// Disables a service account.
#[derive(Debug, Args)]
#[command(before_help = "Example:
  loggia service disable backup --reason 'replaced'")]
pub(crate) struct ServiceDisable {
    /// Its name
    name: String,
    /// Why; recorded
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

impl Service {
    pub(super) async fn run(self, context: &Context) -> Done {
        match self {
            Self::Add(args) => {
                let shown = args.key.display();
                let public_key = std::fs::read_to_string(&args.key)
                    .map_err(|error| Fail::usage(format!("{shown} cannot be read: {error}")))?;
                if public_key.contains("PRIVATE KEY") {
                    return Err(Fail::usage(format!("{shown} is a private key; nothing was sent"))
                        .hint("its public key: openssl pkey -in FILE -pubout"));
                }
                let add = AddService { name: args.name, public_key };
                let service = context.client()?.add_service(&add).await?;
                context.out.either(&service, || service.id.clone())?;
                let name = text::line(&service.name);
                say(&format!("It signs in with: loggia login --service {name} --key-file FILE"));
                Ok(())
            }
            Self::Ls(ServiceLs {}) => {
                let client = context.client()?;
                let mut all = Vec::new();
                let mut page = Page::default();
                loop {
                    let mut services = client.services(&page).await?;
                    all.append(&mut services.services);
                    page.after = services.next;
                    if page.after.is_none() {
                        break;
                    }
                }
                context.out.table(
                    &all,
                    &["name", "groups", "standing", "since", "id"],
                    |service| {
                        vec![
                            service.name.clone(),
                            service.groups.join(", "),
                            if service.disabled { "disabled" } else { "" }.to_owned(),
                            text::moment_of(service.created_us),
                            service.id.clone(),
                        ]
                    },
                    "there is no service account yet",
                )
            }
            Self::Disable(args) => {
                let why = Disable { reason: args.reason };
                let disabled = context.client()?.disable_service(&args.name, &why).await?;
                told(context, &args.name, &disabled)
            }
        }
    }
}
