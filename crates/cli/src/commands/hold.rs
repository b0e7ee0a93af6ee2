//! `hold add`, `ls`, `rm`.

use super::Context;
use crate::fail::{Done, Fail};
use crate::out::say;
use crate::text;
use clap::{Args, Subcommand};
use loggia_api::control::Page;
use loggia_api::retention::{AddHold, Hold as Shown, RemoveHold};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Legal holds.
#[derive(Debug, Subcommand)]
pub(crate) enum Hold {
    /// Keep something from being erased and from retention
    Add(Add),
    /// List legal holds
    Ls(Ls),
    /// Take a legal hold away
    Rm(Rm),
}

/// Adds a legal hold.
#[derive(Debug, Args)]
#[command(before_help = "Examples:
  loggia hold add --person mallory --reason 'case 4711'
  loggia hold add --resource shop --from 2026-01-01 --to 2026-04-01 --reason 'audit of the first quarter'
  loggia hold add --session se_01h455vb4pex5vsknk084sn02q --reason 'case 4711'")]
pub(crate) struct Add {
    /// Name or id of a person or service account
    #[arg(long, value_name = "NAME")]
    person: Option<String>,
    /// Name of a resource
    #[arg(long, value_name = "NAME")]
    resource: Option<String>,
    /// Id of a session
    #[arg(long, value_name = "ID")]
    session: Option<String>,
    /// From this time on: a date, or RFC 3339
    #[arg(long, value_name = "TIME", value_parser = time_us)]
    from: Option<i64>,
    /// Before this time: a date, or RFC 3339
    #[arg(long, value_name = "TIME", value_parser = time_us)]
    to: Option<i64>,
    /// Why
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

/// Lists legal holds.
#[derive(Debug, Args)]
#[command(before_help = "Example:
  loggia hold ls")]
pub(crate) struct Ls {}

/// Removes a legal hold.
#[derive(Debug, Args)]
#[command(before_help = "Example:
  loggia hold rm ho_01h455vb4pex5vsknk084sn02q --reason 'case 4711 is closed'")]
pub(crate) struct Rm {
    /// Id of the hold, as `loggia hold ls` shows it
    id: String,
    /// Why
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

/// Microseconds since 1970 of a date (midnight, UTC) or an RFC 3339 time.
fn time_us(text: &str) -> Result<i64, String> {
    let whole = if text.len() == 10 { format!("{text}T00:00:00Z") } else { text.to_owned() };
    let time = OffsetDateTime::parse(&whole, &Rfc3339)
        .map_err(|_| "write 2026-01-31 or 2026-01-31T12:00:00Z".to_owned())?;
    i64::try_from(time.unix_timestamp_nanos() / 1000).map_err(|error| error.to_string())
}

fn shown(hold: &Shown) -> String {
    let named = |what: &str, name: &Option<String>| {
        name.as_ref().map(|name| format!("{what}:{}", text::line(name)))
    };
    let timed = |what: &str, time: Option<i64>| {
        time.map(|time_us| format!("{what} {}", text::moment_of(time_us)))
    };
    let parts = [
        named("person", &hold.person),
        named("resource", &hold.resource),
        named("session", &hold.session),
        timed("from", hold.from_us),
        timed("before", hold.to_us),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

impl Hold {
    pub(super) async fn run(self, context: &Context) -> Done {
        let client = context.client()?;
        match self {
            Self::Add(args) => {
                let Add { person, resource, session, from, to, reason } = args;
                let add = AddHold { person, session, resource, from_us: from, to_us: to, reason };
                if add == (AddHold { reason: add.reason.clone(), ..AddHold::default() }) {
                    return Err(Fail::usage("a hold needs something that it keeps")
                        .hint("give --person, --resource, --session, --from or --to"));
                }
                let hold = client.add_hold(&add).await?;
                context.out.either(&hold, || hold.id.clone())?;
                say(&format!("{} is kept", shown(&hold)));
                Ok(())
            }
            Self::Ls(Ls {}) => {
                let mut all = Vec::new();
                let mut page = Page::default();
                loop {
                    let mut holds = client.holds(&page).await?;
                    all.append(&mut holds.holds);
                    page.after = holds.next;
                    if page.after.is_none() {
                        break;
                    }
                }
                context.out.table(
                    &all,
                    &["id", "keeps", "since", "by", "reason"],
                    |hold| {
                        vec![
                            hold.id.clone(),
                            shown(hold),
                            text::moment_of(hold.created_us),
                            hold.created_by.clone().unwrap_or_default(),
                            hold.reason.clone(),
                        ]
                    },
                    "nothing is under a legal hold",
                )
            }
            Self::Rm(args) => {
                let why = RemoveHold { reason: args.reason };
                let hold = client.remove_hold(&args.id, &why).await?;
                if context.out.json {
                    return context.out.object(&hold);
                }
                say(&format!("{} is no longer kept", shown(&hold)));
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_dates_or_moments() {
        assert_eq!(time_us("1970-01-02"), Ok(86_400_000_000));
        assert_eq!(time_us("1970-01-01T00:00:01Z"), Ok(1_000_000));
        assert!(time_us("yesterday").is_err() && time_us("1970-13-01").is_err());
    }
}
