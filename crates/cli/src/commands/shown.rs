//! An event in a line, as search, tail and timelines show it.

use crate::out::{Out, Tone};
use crate::text;
use loggia_api::audit::AuditEvent;
use serde_json::{Map, Value};

/// A statement is shown to so many letters where the width of the terminal is not known.
const TEXT_LETTERS_MAX: usize = 400;

/// When, who, where, what, how it went.
///
/// `pending` is what stands for the outcome of an action without one: while it may still run it is
/// another thing than afterwards.
pub(super) fn line(
    out: Out,
    event: &AuditEvent,
    width: Option<usize>,
    pending: &'static str,
) -> String {
    let who = event.actor.as_ref().map_or("-", |actor| match &actor.name {
        Some(name) => name,
        None if actor.actor_type.as_deref() == Some("system") => "the gateway",
        None => &actor.id,
    });
    let head = format!(
        "{}  {:<12}  {:<10}  {:<17}",
        out.toned(&text::moment(&event.time), Tone::Faint),
        text::cut(&text::line(who), 24),
        text::cut(&text::line(member(&event.resource, "name").unwrap_or("-")), 24),
        text::line(&event.kind),
    );
    let plain_head = 24 + 2 + 12 + 2 + 10 + 2 + 17;
    let room = width.map(|width| width.saturating_sub(plain_head + 2));
    format!("{head}  {}", tail(out, event, room, pending))
}

/// How it went and what it was: what fits into a line.
pub(super) fn tail(
    out: Out,
    event: &AuditEvent,
    width: Option<usize>,
    pending: &'static str,
) -> String {
    let awaits = matches!(
        event.kind.as_str(),
        "sql.statement"
            | "sql.fetch"
            | "sql.call"
            | "ssh.shell"
            | "ssh.exec"
            | "ssh.subsystem"
            | "ssh.forward"
            | "file.operation"
    );
    let status = member(&event.outcome, "status").unwrap_or(if awaits { pending } else { "" });
    let tone = match status {
        "ok" => Tone::Good,
        "" => Tone::Plain,
        _ => Tone::Bad,
    };
    let word = format!("{:<9}", text::line(status));
    let numbers = numbers(event);
    let room = width.map_or(TEXT_LETTERS_MAX, |width| {
        width.saturating_sub(word.len() + 1 + numbers.chars().count()).max(10)
    });
    let what = text::cut(&text::line(&what(event)), room);
    let numbers = out.toned(&numbers, Tone::Faint);
    format!("{} {what}{numbers}", out.toned(&word, tone)).trim_end().to_owned()
}

fn member<'a>(members: &'a Map<String, Value>, key: &str) -> Option<&'a str> {
    members.get(key).and_then(Value::as_str)
}

fn number(members: &Map<String, Value>, key: &str) -> Option<u64> {
    members.get(key).and_then(Value::as_u64)
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        // Bytes that are no text, as an event carries them.
        Value::Object(object) if object.len() == 1 && object.contains_key("null") => {
            "NULL".to_owned()
        }
        other => other.to_string(),
    }
}

/// What an event is about.
fn what(event: &AuditEvent) -> String {
    if let Some(damage) = &event.damage {
        return format!("DAMAGED: {damage}");
    }
    let mut parts = Vec::new();
    if let Some(value) = event.detail.get("text") {
        parts.push(shown(value));
    }
    if let Some(Value::Array(values)) = event.detail.get("parameters").filter(|_| !parts.is_empty())
    {
        let values: Vec<String> = values.iter().map(shown).collect();
        parts.push(format!("[{}]", values.join(", ")));
    }
    parts.extend(on_host(event));
    if parts.is_empty() {
        // What is said first, and what only programs need.
        let first = ["change", "name", "reason"];
        let beside = [
            "of",
            "options",
            "digest",
            "object",
            "attested",
            "salt",
            "root",
            "environment",
            "recording_root",
        ];
        let told = |key: &str| event.detail.get(key).map(|value| format!("{key}={}", shown(value)));
        parts.extend(first.iter().filter_map(|key| told(key)));
        let others = event.detail.keys().map(String::as_str);
        let others = others.filter(|key| !first.contains(key) && !beside.contains(key));
        parts.extend(others.filter_map(told));
    }
    if let Some(tag) = member(&event.outcome, "tag").filter(|_| event.kind == "sql.result") {
        parts.push(tag.to_owned());
    }
    let code = member(&event.outcome, "sqlstate").or(member(&event.outcome, "code"));
    parts.extend(code.map(str::to_owned));
    parts.extend(member(&event.outcome, "message").map(str::to_owned));
    for pointer in &event.erased {
        parts.push(format!("{pointer} was erased"));
    }
    for pointer in &event.large {
        parts.push(format!("{pointer} is too large to be shown"));
    }
    parts.join("  ")
}

/// What an event on a host is about: a command, a file, a destination.
fn on_host(event: &AuditEvent) -> Option<String> {
    let detail = |key: &str| event.detail.get(key).map(shown);
    match event.kind.as_str() {
        "ssh.exec" => detail("command"),
        "ssh.shell" => Some(match (detail("columns"), detail("rows")) {
            (Some(columns), Some(rows)) => format!("terminal {columns}×{rows}"),
            _ => "without a terminal".to_owned(),
        }),
        "ssh.forward" => {
            let to = [detail("host"), detail("port")].into_iter().flatten();
            let to: Vec<String> = to.collect();
            Some(format!("{} {}", detail("direction")?, to.join(":")).trim_end().to_owned())
        }
        "file.operation" => {
            // scp: a name that goes to a path.
            let paths = [detail("name"), detail("path"), detail("path_to")].into_iter().flatten();
            let paths: Vec<String> = paths.collect();
            let operation = match detail("operation")?.as_str() {
                "other" => detail("request")?,
                known => known.to_owned(),
            };
            let flags = detail("flags").filter(|_| operation.starts_with("open_write"));
            let flags = flags.map(|flags| format!(" ({flags})")).unwrap_or_default();
            Some(format!("{operation} {}{flags}", paths.join(" -> ")))
        }
        _ => None,
    }
}

fn numbers(event: &AuditEvent) -> String {
    let mut numbers = String::new();
    let moved = [("bytes_read", "read"), ("bytes_written", "written")];
    let moved = moved.into_iter().chain([("bytes_in", "in"), ("bytes_out", "out")]);
    for (member, word) in moved {
        if let Some(bytes) = number(&event.outcome, member).filter(|bytes| *bytes > 0) {
            numbers.push_str(&format!("  {} {word}", text::bytes(bytes)));
        }
    }
    if let Some(status) = number(&event.outcome, "exit_status").filter(|status| *status > 0) {
        numbers.push_str(&format!("  exit {status}"));
    }
    if let Some(signal) = member(&event.outcome, "exit_signal") {
        numbers.push_str(&format!("  SIG{}", text::line(signal)));
    }
    if let Some(rows) = number(&event.outcome, "rows") {
        let word = if rows == 1 { "row" } else { "rows" };
        numbers.push_str(&format!("  {} {word}", text::count(rows)));
    }
    if let Some(took) = number(&event.outcome, "duration_us") {
        numbers.push_str(&format!("  {}", text::duration(took)));
    }
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn event() -> AuditEvent {
        serde_json::from_value(json!({
            "id": "ev_1", "kind": "sql.statement", "time_us": 1, "index": 5, "leaf_hash": "",
            "time": "2026-11-23T04:11:02.123456Z", "node": {"id": "nd_1", "boot": 1, "seq": 5},
            "actor": {"id": "pe_1", "name": "alice"}, "resource": {"name": "shop"},
            "detail": {"text": "select *\n  from \u{1b}[2Jorders where id = $1", "parameters": ["7", {"null": true}]},
            "outcome": {"status": "ok", "rows": 1500, "duration_us": 3140}
        }))
        .unwrap()
    }

    #[test]
    fn an_event_is_one_line_that_no_terminal_obeys() {
        let out = Out { json: false, color: false };
        assert_eq!(
            line(out, &event(), None, ""),
            "2026-11-23 04:11:02.123Z  alice         shop        sql.statement      ok        \
             select * from \\u{1b}[2Jorders where id = $1 [7, NULL]  1,500 rows  3.1 ms"
        );
        let narrow = line(out, &event(), Some(120), "");
        assert!(narrow.chars().count() <= 120 && narrow.ends_with("  1,500 rows  3.1 ms"));
        let colored = line(Out { json: false, color: true }, &event(), None, "");
        assert!(colored.contains("\u{1b}[32mok"));
    }

    #[test]
    fn what_was_done_on_a_host_reads_as_it_was_typed() {
        let out = Out { json: false, color: false };
        let told = |kind: &str, detail: Value, outcome: Value| {
            let mut event = event();
            event.kind = kind.to_owned();
            event.detail = detail.as_object().unwrap().clone();
            event.outcome = outcome.as_object().unwrap().clone();
            tail(out, &event, None, "unknown")
        };
        assert_eq!(
            told(
                "ssh.exec",
                json!({"command": "make\ntest", "program": "other", "recorded": "all"}),
                json!({"status": "error", "exit_status": 2, "bytes_out": 5120, "duration_us": 182_000})
            ),
            "error     make test  5 KiB out  exit 2  182 ms"
        );
        assert_eq!(
            told("ssh.shell", json!({"terminal": true, "columns": 80, "rows": 24}), json!({})),
            "unknown   terminal 80×24"
        );
        assert_eq!(
            told(
                "file.operation",
                json!({"operation": "open_write", "path": "/srv/a\u{1b}[2J", "flags": "create", "of": "ev_1"}),
                json!({"status": "ok", "bytes_written": 500_000_000, "sha256": "00"})
            ),
            "ok        open_write /srv/a\\u{1b}[2J (create)  476 MiB written"
        );
        assert_eq!(
            told(
                "file.operation",
                json!({"operation": "receive", "path": "/srv", "name": "a"}),
                json!({})
            ),
            "unknown   receive a -> /srv"
        );
        assert_eq!(
            told(
                "file.operation",
                json!({"operation": "rename", "path": "a", "path_to": "b"}),
                json!({})
            ),
            "unknown   rename a -> b"
        );
        assert_eq!(
            told(
                "ssh.forward",
                json!({"direction": "local", "host": "db.internal", "port": 5432}),
                json!({"status": "ok", "exit_signal": "TERM"})
            ),
            "ok        local db.internal:5432  SIGTERM"
        );
        assert_eq!(
            told("recording.begun", json!({"version": 1, "salt": "00ff"}), json!({})),
            "          version=1"
        );
    }

    #[test]
    fn what_is_missing_or_damaged_is_said() {
        let out = Out { json: false, color: false };
        let mut event = event();
        event.detail.clear();
        event.erased = vec!["/detail/text".into()];
        assert!(line(out, &event, None, "").contains("/detail/text was erased"));
        event.outcome.clear();
        assert!(line(out, &event, None, "unknown").contains("  unknown  "));
        event.damage = Some("not what the log committed to".into());
        assert!(line(out, &event, None, "").contains("DAMAGED"));
    }
}
