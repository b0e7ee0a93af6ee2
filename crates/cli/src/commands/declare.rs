//! `plan` and `apply`: declarations.

use super::Context;
use crate::fail::{Done, Fail};
use crate::out::{Tone, say};
use crate::text;
use clap::Args;
use loggia_api::control::{self, Declaration, DeclaredFile};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Says what would change.
#[derive(Debug, Args)]
#[command(before_help = "Examples:
  loggia plan resources.toml access.cedar
  loggia plan --json declarations/* | jq .changes")]
pub(crate) struct Plan {
    /// Files of the declaration: .toml, .cedar, .pem
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

/// Brings declarations into force.
#[derive(Debug, Args)]
#[command(before_help = "Examples:
  loggia apply resources.toml access.cedar
  loggia apply --yes declarations/*")]
pub(crate) struct Apply {
    /// Files of the declaration: .toml, .cedar, .pem
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

impl Plan {
    pub(super) async fn run(self, context: &Context) -> Done {
        let files = read(&self.files)?;
        let plan = context.client()?.plan(&Declaration { files }).await?;
        if context.out.json { context.out.object(&plan) } else { show(context, &plan) }
    }
}

impl Apply {
    pub(super) async fn run(self, context: &Context) -> Done {
        let files = read(&self.files)?;
        let client = context.client()?;
        let plan = client.plan(&Declaration { files: files.clone() }).await?;
        if !context.out.json {
            show(context, &plan)?;
        }
        if !plan.changes.is_empty() && !self.yes {
            let question = format!("Apply {} changes?", plan.changes.len());
            if !context.ask.agrees(&question, "--yes")? {
                return Err(Fail::new("nothing was changed"));
            }
        }
        // The digest binds what is applied to what was shown.
        let applied = client.apply(&control::Apply { files, digest: plan.digest }).await?;
        if context.out.json {
            return context.out.object(&applied);
        }
        say(&format!("{} changes are in force", applied.plan.changes.len()));
        for new in &applied.enrolments {
            let name = text::line(&new.name);
            context.out.line(&format!("{name}  {}", new.enrolment_code.reveal()))?;
        }
        if !applied.enrolments.is_empty() {
            say(
                "Each takes up their account with: loggia enrol CODE. The codes are shown this once.",
            );
        }
        Ok(())
    }
}

fn read(paths: &[PathBuf]) -> Done<Vec<DeclaredFile>> {
    let mut names = BTreeSet::new();
    let mut files = Vec::new();
    for path in paths {
        let shown = path.display();
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        let known = Path::new(&name).extension().and_then(|extension| extension.to_str());
        if !matches!(known, Some("toml" | "cedar" | "pem")) {
            return Err(Fail::usage(format!("{shown} is no declaration"))
                .hint("declarations end with .toml, .cedar or .pem"));
        }
        if !names.insert(name.clone()) {
            return Err(Fail::usage(format!("two files are called {name}")));
        }
        let text = std::fs::read_to_string(path)
            .map_err(|error| Fail::usage(format!("{shown} cannot be read: {error}")))?;
        files.push(DeclaredFile { name, text });
    }
    Ok(files)
}

fn show(context: &Context, plan: &control::Plan) -> Done {
    let out = context.out;
    if plan.changes.is_empty() {
        say("all is as declared; nothing would change");
    }
    for change in &plan.changes {
        let (sign, tone) = match (&change.before, &change.after) {
            (None, _) => ("+", Tone::Good),
            (_, None) => ("-", Tone::Bad),
            _ => ("~", Tone::Plain),
        };
        let head = format!("{sign} {}  {}", change.change, text::line(&change.name));
        out.line(&out.toned(&head, tone))?;
        for (key, before, after) in differences(change.before.as_ref(), change.after.as_ref()) {
            let line = match (before, after) {
                (Some(before), Some(after)) => format!("    {key}: {before} → {after}"),
                (Some(gone), None) => format!("    {key}: {gone} → nothing"),
                (None, Some(new)) => format!("    {key}: {new}"),
                (None, None) => continue,
            };
            out.line(&text::cut(&text::line_indented(&line), 200))?;
        }
    }
    for note in &plan.notes {
        say(&format!("note: {}", text::safe(note)));
    }
    Ok(())
}

type Difference = (String, Option<String>, Option<String>);

/// The members that differ, with what they were and will be.
fn differences(
    before: Option<&serde_json::Value>,
    after: Option<&serde_json::Value>,
) -> Vec<Difference> {
    let members = |value: Option<&serde_json::Value>| match value {
        Some(serde_json::Value::Object(members)) => members.clone(),
        Some(other) => serde_json::Map::from_iter([("is".to_owned(), other.clone())]),
        None => serde_json::Map::new(),
    };
    let (before, after) = (members(before), members(after));
    let keys: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let differing = keys.into_iter().filter(|key| before.get(*key) != after.get(*key));
    differing
        .map(|key| {
            let text = |members: &serde_json::Map<String, serde_json::Value>| {
                members.get(key).filter(|value| !value.is_null()).map(|value| match value {
                    serde_json::Value::String(text) => text.clone(),
                    other => other.to_string(),
                })
            };
            (key.clone(), text(&before), text(&after))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_what_differs_is_shown() {
        let before = json!({"host": "a", "port": 1, "gone": true});
        let after = json!({"host": "b", "port": 1, "new": ["x"]});
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(
            differences(Some(&before), Some(&after)),
            vec![
                ("gone".into(), text("true"), None),
                ("host".into(), text("a"), text("b")),
                ("new".into(), None, text("[\"x\"]")),
            ]
        );
    }

    #[test]
    fn files_that_are_no_declarations_are_refused() {
        assert!(read(&["notes.txt".into()]).is_err());
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.toml");
        std::fs::write(&path, "x").unwrap();
        assert_eq!(read(std::slice::from_ref(&path)).unwrap()[0].name, "a.toml");
        assert!(read(&[path.clone(), path]).is_err(), "twice the same name");
    }
}
