//! `session ls`, `show`, `end`.

use super::events::UNKNOWN;
use super::{Context, shown};
use crate::environment;
use crate::fail::{Done, Fail};
use crate::out::{Tone, say};
use crate::text;
use clap::{Args, Subcommand};
use loggia_api::audit::{
    AuditEvent, EndSession, LIMIT_MAX, SessionQuery, SessionState, SessionSummary, TimelineQuery,
};
use serde_json::Value;

/// Sessions.
#[derive(Debug, Subcommand)]
pub(crate) enum Session {
    /// List sessions, the newest first
    Ls(Ls),
    /// Show what happened in a session, in order
    Show(Show),
    /// End a running session; the person is told why
    End(End),
}

/// Lists sessions.
#[derive(Debug, Args)]
#[command(before_help = "Examples:
  loggia session ls
  loggia session ls --live
  loggia session ls --live --json | jq -r 'select(.resource.name == \"shop\") | .id'")]
pub(crate) struct Ls {
    /// Those that run now
    #[arg(long)]
    live: bool,
    /// At most so many
    #[arg(long, short = 'n', default_value_t = 50, value_name = "N")]
    limit: u32,
}

/// Shows a session.
#[derive(Debug, Args)]
#[command(before_help = "Examples:
  loggia session show se_01h455vb4pex5vsknk084sn02q
  loggia session show se_01h455vb4pex5vsknk084sn02q --json | jq -r .detail.text")]
pub(crate) struct Show {
    /// Id of the session, as `loggia session ls` shows it
    id: String,
}

/// Ends a session.
#[derive(Debug, Args)]
#[command(before_help = "Example:
  loggia session end se_01h455vb4pex5vsknk084sn02q --reason 'maintenance at noon'")]
pub(crate) struct End {
    /// Id of the session
    id: String,
    /// Why; recorded, and shown to the person
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

impl Session {
    pub(super) async fn run(self, context: &Context) -> Done {
        match self {
            Self::Ls(args) => args.run(context).await,
            Self::Show(args) => args.run(context).await,
            Self::End(args) => {
                let end = EndSession { reason: args.reason };
                let ending = context.client()?.end_session(&args.id, &end).await?;
                if context.out.json {
                    return context.out.object(&ending);
                }
                say(&format!("{} is being ended", text::line(&ending.session)));
                Ok(())
            }
        }
    }
}

impl Ls {
    async fn run(self, context: &Context) -> Done {
        if self.limit == 0 {
            return Err(Fail::usage("a list has at least one line"));
        }
        let client = context.client()?;
        let mut sessions = Vec::new();
        let mut cursor = None;
        loop {
            let left = self.limit - u32::try_from(sessions.len()).unwrap_or(self.limit);
            let query = SessionQuery { live: self.live, limit: Some(left.min(LIMIT_MAX)), cursor };
            let mut page = client.sessions(&query).await?;
            sessions.append(&mut page.items);
            sessions.truncate(usize::try_from(self.limit).unwrap_or(usize::MAX));
            cursor = page.next;
            if cursor.is_none() || sessions.len() as u64 >= u64::from(self.limit) {
                break;
            }
        }
        context.out.table(
            &sessions,
            &[
                "id", "started", "lasted", "actor", "resource", "account", "source", "actions",
                "end",
            ],
            |session| {
                vec![
                    session.id.clone(),
                    text::moment(&session.started),
                    lasted(session),
                    actor(session),
                    member(&session.resource, "name"),
                    member(&session.resource, "account"),
                    member(&session.source, "ip"),
                    session.actions.map(text::count).unwrap_or_default(),
                    session.end_reason.clone().unwrap_or_else(|| "runs".to_owned()),
                ]
            },
            if self.live {
                "nobody works through this Loggia now"
            } else {
                "there was no session yet"
            },
        )
    }
}

fn member(members: &serde_json::Map<String, Value>, key: &str) -> String {
    members.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn actor(session: &SessionSummary) -> String {
    let actor = session.actor.as_ref();
    actor.map(|actor| actor.name.clone().unwrap_or_else(|| actor.id.clone())).unwrap_or_default()
}

fn lasted(session: &SessionSummary) -> String {
    let until = session.ended_us.unwrap_or_else(environment::now_us);
    text::duration(u64::try_from(until.saturating_sub(session.started_us)).unwrap_or(0))
}

impl Show {
    async fn run(self, context: &Context) -> Done {
        let client = context.client()?;
        let mut cursor = None;
        let mut first = true;
        loop {
            let query = TimelineQuery { limit: Some(LIMIT_MAX), cursor };
            let page = client.session(&self.id, &query).await?;
            if first && !context.out.json {
                head(context, &page.session)?;
            }
            first = false;
            for event in &page.items {
                context.out.either(event, || row(context, &page.session, event))?;
            }
            cursor = page.next;
            if cursor.is_none() {
                return Ok(());
            }
        }
    }
}

fn head(context: &Context, session: &SessionSummary) -> Done {
    let out = context.out;
    out.line(&format!(
        "{}  {} on {} as {}, from {}",
        session.id,
        text::line(&actor(session)),
        text::line(&member(&session.resource, "name")),
        text::line(&member(&session.resource, "account")),
        text::line(&member(&session.source, "ip")),
    ))?;
    let mut about = format!("began {}", text::moment(&session.started));
    match session.state {
        SessionState::Ended => {
            let reason = session.end_reason.as_deref().unwrap_or("unknown");
            about.push_str(&format!(", ended after {}: {}", lasted(session), text::line(reason)));
        }
        SessionState::Open => about.push_str(&format!(", runs for {}", lasted(session))),
    }
    if let Some(application) = &session.application {
        about.push_str(&format!(", {}", text::line(application)));
    }
    out.line(&out.toned(&about, Tone::Faint))?;
    if let (Some(received), Some(sent)) = (session.bytes_in, session.bytes_out) {
        let moved = format!("{} in, {} out", text::bytes(received), text::bytes(sent));
        out.line(&out.toned(&moved, Tone::Faint))?;
    }
    if let (Some(frames), Some(bytes)) = (session.recording_frames, session.recording_bytes) {
        let recorded = format!(
            "recorded: {} frames, {}; loggia replay {}",
            text::count(frames),
            text::bytes(bytes),
            text::line(&session.id)
        );
        out.line(&out.toned(&recorded, Tone::Faint))?;
    }
    if let Some(note) = &session.end_note {
        out.line(&format!("told at the end: {}", text::line(note)))?;
    }
    out.line("")
}

fn row(context: &Context, session: &SessionSummary, event: &AuditEvent) -> String {
    let since = u64::try_from(event.time_us.saturating_sub(session.started_us)).unwrap_or(0);
    let when = format!("{:>12}", format!("+{}.{:03} s", since / 1_000_000, since / 1_000 % 1_000));
    let out = context.out;
    let room = environment::width().map(|width| width.saturating_sub(12 + 2 + 17 + 2));
    format!(
        "{}  {:<17}  {}",
        out.toned(&when, Tone::Faint),
        text::line(&event.kind),
        shown::tail(out, event, room, UNKNOWN)
    )
}
