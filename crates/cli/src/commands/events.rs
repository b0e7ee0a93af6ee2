//! `search` and `tail`.

use super::{Context, shown};
use crate::environment;
use crate::fail::{Done, Fail};
use crate::out::say;
use crate::text;
use clap::{Args, ValueEnum};
use loggia_api::audit::{AuditEvent, EventPage, EventQuery, LIMIT_MAX, Order, TailLine, TailQuery};
use loggia_client::Client;

const FIELDS: &str = "The query:
  words and \"phrases\"  are looked for in every text, in small and capital letters alike
  actor:alice          name or id; a star at the end stands for the rest: actor:al*
  kind:sql.*           session:se_…   id:ev_…   resource:shop   account:app
  outcome:error        ok, error, denied, partial, cancelled, unknown
  decision:deny        effect:write   source:10.0.0.0/8   sqlstate:42*
  since:1h             since:2026-11-01   until:2026-11-01T12:00:00Z
  rows:>100            duration:>1s   bytes:>1MiB   rows:10..20
  -outcome:ok          not; a OR b: either; ( ) groups; everything else must all hold";

/// What stands for the outcome of an action that has no result: it still runs, or its result was
/// lost.
pub(super) const UNKNOWN: &str = "unknown";

/// Finds events.
#[derive(Debug, Args)]
#[command(
    before_help = "Examples:
  loggia search 'actor:alice kind:sql.* -outcome:ok \"drop table\" since:1h'
  loggia search decision:deny since:2026-11-01 until:2026-11-08
  loggia search --json --all kind:session.start | jq -r .actor.name | sort | uniq -c
  loggia search -- -actor:alice",
    after_help = FIELDS
)]
pub(crate) struct Search {
    /// What to look for; nothing finds everything
    #[arg(value_name = "QUERY")]
    query: Vec<String>,
    /// At most so many events
    #[arg(long, short = 'n', default_value_t = 100, value_name = "N")]
    limit: u32,
    /// All events that match
    #[arg(long, conflicts_with = "limit")]
    all: bool,
    /// Which end of the log comes first
    #[arg(long, value_enum, default_value_t = First::Newest)]
    order: First,
    /// Go on where an earlier search ended
    #[arg(long, value_name = "CURSOR")]
    cursor: Option<String>,
}

/// Which end of the log comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum First {
    Newest,
    Oldest,
}

/// Shows the latest events.
#[derive(Debug, Args)]
#[command(
    before_help = "Examples:
  loggia tail                        the latest ten events
  loggia tail -f                     and everything that happens from now on
  loggia tail -f 'resource:shop -outcome:ok'
  loggia tail -f --json decision:deny | jq .actor",
    after_help = FIELDS
)]
pub(crate) struct Tail {
    /// What to show; nothing shows everything
    #[arg(value_name = "QUERY")]
    query: Vec<String>,
    /// Go on with what happens from now on
    #[arg(long, short)]
    follow: bool,
    /// Begin with so many of the latest events
    #[arg(long, short = 'n', default_value_t = 10, value_name = "N")]
    lines: u32,
}

impl Search {
    pub(super) async fn run(self, context: &Context) -> Done {
        let client = context.client()?;
        let order = match self.order {
            First::Newest => Order::Newest,
            First::Oldest => Order::Oldest,
        };
        let mut left = if self.all { u64::MAX } else { u64::from(self.limit) };
        let mut query =
            EventQuery { q: self.query.join(" "), limit: None, cursor: self.cursor, order };
        let (mut scanned, mut matched, mut took_us) = (0, 0, 0u64);
        loop {
            query.limit = Some(u32::try_from(left).unwrap_or(LIMIT_MAX).clamp(1, LIMIT_MAX));
            let page = client.search(&query).await?;
            page.items.iter().try_for_each(|event| print(context, event, UNKNOWN))?;
            scanned += page.scanned;
            matched += page.matched;
            took_us += page.took_us;
            left = left.saturating_sub(page.items.len() as u64);
            query.cursor = page.next.clone();
            if query.cursor.is_none() || left == 0 {
                return summary(&page, scanned, matched, took_us);
            }
        }
    }
}

fn summary(last: &EventPage, scanned: u64, matched: u64, took_us: u64) -> Done {
    let mut said = format!(
        "{} {} found, {} looked at, in {}",
        text::count(matched),
        if matched == 1 { "event" } else { "events" },
        text::count(scanned),
        text::duration(took_us)
    );
    match &last.next {
        Some(next) => said.push_str(&format!("; there may be more: --cursor {next}")),
        None if matched == 0 && last.log_size == 0 => said = "the log is empty".to_owned(),
        None if matched == 0 => said.push_str("; leave out a term, or look further back"),
        None => {}
    }
    say(&said);
    Ok(())
}

fn print(context: &Context, event: &AuditEvent, pending: &'static str) -> Done {
    context.out.either(event, || shown::line(context.out, event, environment::width(), pending))
}

impl Tail {
    pub(super) async fn run(self, context: &Context) -> Done {
        let client = context.client()?;
        let q = self.query.join(" ");
        // Followed first, so that nothing is lost between what was and what comes.
        let tail =
            if self.follow { Some(client.tail(&TailQuery { q: q.clone() }).await?) } else { None };
        let past = latest(&client, q, self.lines).await?;
        past.iter().try_for_each(|event| print(context, event, UNKNOWN))?;
        let Some(mut tail) = tail else { return Ok(()) };
        let newest = past.last().map(|event| event.index);
        while let Some(line) = tail.next().await? {
            match line {
                TailLine::Event(event) if newest.is_some_and(|newest| event.index <= newest) => {}
                // Its result is a line of its own, when it comes.
                TailLine::Event(event) => print(context, &event, "")?,
                TailLine::Skipped { skipped } => {
                    if context.out.json {
                        context.out.object(&TailLine::Skipped { skipped })?;
                    }
                    let many = text::count(skipped);
                    say(&format!("{many} events were skipped here; loggia search finds them"));
                }
                TailLine::Ended { ended } => return Err(Fail::sign_in(ended)),
            }
        }
        Err(Fail::unreachable("the gateway ended the tail")
            .hint("is it being restarted? try again"))
    }
}

/// The latest events, the oldest of them first.
async fn latest(client: &Client, q: String, lines: u32) -> Done<Vec<AuditEvent>> {
    if lines == 0 {
        return Ok(Vec::new());
    }
    let limit = Some(lines.min(LIMIT_MAX));
    let query = EventQuery { q, limit, cursor: None, order: Order::Newest };
    let mut items = client.search(&query).await?.items;
    items.reverse();
    Ok(items)
}
