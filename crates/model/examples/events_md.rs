//! Prints `docs/reference/events.md` from the catalogue.
//!
//! The examples are real leaves: made by the same code that writes the log, from the catalogue's
//! example values, with fixed ids, times and seeds.

use loggia_model::catalogue::{COMMON_FIELDS, Field, Kind};
use loggia_model::event::{Role, SessionSlot, Stamp};
use loggia_model::id::{ActorId, EventId, NodeId, PersonId, SessionId};
use loggia_model::seal::Seed;
use loggia_model::{EventDraft, LeafHash};
use std::fmt::{self, Write as _};
use std::io::Write as _;

const HEAD: &str = "\
# Events

This page is generated from the catalogue in `crates/model/src/catalogue.rs`; the test
`events_reference` of that crate holds it to it. Write it anew with

```sh
cargo run -q -p loggia-model --example events_md > docs/reference/events.md
```

An event is one JSON object: a leaf of the log, byte for byte. Its form equals RFC 8785, so keys
are sorted and there is no white space; the examples below are indented for reading. How events are
chained, sealed and proved stands in [the format of the ledger](ledger-format.md).

## What every event has

| key | meaning |
| --- | --- |
| `v` | version of the form: 1 |
| `id` | id of the event |
| `kind` | a code of this page |
| `time_us` | when: microseconds since 1970, stamped in the order of the log |
| `node` | `id` of the node that wrote it, number of its `boot`, `seq` in that boot: from 1, without gaps |
| `effects` | what it does to the world: a sorted array of `config`, `delete`, `execute`, `export`, `privilege`, `read`, `secret`, `session`, `unknown`, `write` |
| `actor` | who acted, by `id`; absent where nobody was identified, or nobody acted |
| `session` | in a session: its `id`; `seq` from 1, without gaps; `prev`, the leaf hash of the session's event before; `context`, id of the event in which the circumstances stand |
| `sealed` | for each sealed field its commitment; the value lies beside the log and can be erased |

Fields marked *sealed* carry what people typed, or what may be personal. In the log such a field
stands only as a commitment, under its pointer.

## Fields that any event may carry

In a session, `session.start` states them once; another event of the session repeats only what
differs.

";

/// The page.
pub(crate) fn page() -> Result<String, Box<dyn std::error::Error>> {
    let mut page = HEAD.to_owned();
    write_fields(&mut page, COMMON_FIELDS)?;
    page.push_str("\n## Kinds\n\n");
    for kind in Kind::ALL {
        let spec = kind.spec();
        writeln!(page, "- [`{}`](#{}): {}", spec.code, anchor(spec.code), spec.summary)?;
    }
    for kind in Kind::ALL {
        write_kind(&mut page, *kind)?;
    }
    Ok(page)
}

fn write_kind(page: &mut String, kind: Kind) -> Result<(), Box<dyn std::error::Error>> {
    let spec = kind.spec();
    let effects: Vec<String> =
        spec.effects.iter().map(|effect| format!("`{}`", effect.as_str())).collect();
    let effects = if effects.is_empty() { "none".to_owned() } else { effects.join(", ") };
    writeln!(page, "\n## {}\n\n{}\n\nUsual effects: {effects}.\n", spec.code, spec.summary)?;
    if !spec.fields.is_empty() {
        write_fields(page, spec.fields)?;
        page.push('\n');
    }
    let (leaf, disclosure) = example(kind)?;
    let leaf: serde_json::Value = serde_json::from_slice(&leaf)?;
    writeln!(page, "```json\n{leaf:#}\n```")?;
    if !disclosure.is_empty() {
        let disclosure: serde_json::Value = serde_json::from_slice(&disclosure)?;
        writeln!(page, "\nIts disclosure:\n\n```json\n{disclosure:#}\n```")?;
    }
    Ok(())
}

fn write_fields(page: &mut String, fields: &[Field]) -> fmt::Result {
    page.push_str("| field | meaning |\n| --- | --- |\n");
    for field in fields {
        let sealed = if field.sealed { " *(sealed)*" } else { "" };
        writeln!(page, "| `{}` | {}{sealed} |", field.pointer, field.meaning)?;
    }
    Ok(())
}

/// The anchor that renderers give a heading: letters, digits, `-` and `_`.
fn anchor(code: &str) -> String {
    code.replace('.', "")
}

/// Leaf and disclosure of the catalogue's example.
fn example(kind: Kind) -> Result<(Vec<u8>, Vec<u8>), loggia_model::event::DraftError> {
    let ms = 1_790_000_000_000;
    let session = SessionId::from_parts(ms, [5; 10]);
    let start = EventId::from_parts(ms, [6; 10]);
    let mut draft =
        EventDraft::new(kind, EventId::from_parts(ms, [1; 10]), Seed::from_random([7; 32]));
    for (pointer, value) in kind.example() {
        draft = draft.set(pointer, value);
    }
    let code = kind.code();
    // Before anyone is identified there is no actor; the node acts in its own name.
    let nobody = ["stranger.", "clock.", "policy.", "auth.login_failed"];
    let node = NodeId::from_parts(ms, [2; 10]);
    if ["node.", "epoch.", "config.not_applied"].iter().any(|start| code.starts_with(start)) {
        draft = draft.actor(ActorId::Node(node));
    } else if !nobody.iter().any(|start| code.starts_with(start)) {
        draft = draft.actor(ActorId::Person(PersonId::from_parts(ms, [3; 10])));
    }
    let role = match kind {
        Kind::SessionStart => Some(Role::Start),
        Kind::SessionEnd => Some(Role::End),
        Kind::SessionContext => Some(Role::Member),
        _ => code.starts_with("sql.").then_some(Role::Member),
    };
    let first = role == Some(Role::Start);
    if let Some(role) = role {
        let context = (!first).then_some(start);
        draft = draft.session(SessionSlot { id: session, context, role });
    }
    let place = if first { (1, None) } else { (4, Some(LeafHash([9; 32]))) };
    let draft = draft.encode()?;
    let mut leaf = Vec::new();
    let stamp = Stamp {
        time_us: 1_790_000_000_000_000,
        node: &node.to_string(),
        boot: 1,
        seq: 42,
        session: role.map(|_| place),
    };
    draft.stamp(&stamp, &mut leaf);
    Ok((leaf, draft.disclosure.to_vec()))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    write!(std::io::stdout(), "{}", page()?)?;
    Ok(())
}
