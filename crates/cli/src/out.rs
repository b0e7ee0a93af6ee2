//! Standard output: data, and nothing else.

use crate::fail::{Done, Fail};
use comfy_table::{ContentArrangement, Table};
use serde::Serialize;
use std::io::{ErrorKind, Write};

/// How data is written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Out {
    /// One JSON object a line.
    pub(crate) json: bool,
    /// Colours.
    pub(crate) color: bool,
}

/// What a word is coloured by. The words alone say it too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    /// Nothing special.
    Plain,
    /// Went well.
    Good,
    /// Did not go well.
    Bad,
    /// Beside the point.
    Faint,
}

impl Out {
    /// Writes a line. A reader who went away is no error.
    pub(crate) fn line(&self, text: &str) -> Done {
        let mut stdout = std::io::stdout().lock();
        let written = stdout.write_all(text.as_bytes()).and_then(|()| stdout.write_all(b"\n"));
        written.and_then(|()| stdout.flush()).map_err(|error| match error.kind() {
            ErrorKind::BrokenPipe => Fail::reader_gone(),
            _ => Fail::new(format!("standard output cannot be written: {error}")),
        })
    }

    /// Writes an object as one line of JSON.
    pub(crate) fn object(&self, object: &impl Serialize) -> Done {
        let text = serde_json::to_string(object);
        self.line(&text.map_err(|error| Fail::new(format!("no JSON can be made: {error}")))?)
    }

    /// Writes what people read, or the object for programs.
    pub(crate) fn either(&self, object: &impl Serialize, people: impl FnOnce() -> String) -> Done {
        if self.json { self.object(object) } else { self.line(&people()) }
    }

    /// Writes a table: the heads of its columns, then a row for each item. As JSON one object a
    /// line. An empty table says so on standard error.
    pub(crate) fn table<T: Serialize>(
        &self,
        items: &[T],
        heads: &[&str],
        row: impl Fn(&T) -> Vec<String>,
        nothing: &str,
    ) -> Done {
        if self.json {
            return items.iter().try_for_each(|item| self.object(item));
        }
        if items.is_empty() {
            say(nothing);
            return Ok(());
        }
        let mut table = Table::new();
        table.load_preset(comfy_table::presets::NOTHING);
        table.set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(heads.iter().map(|head| head.to_uppercase()));
        for item in items {
            table.add_row(row(item).iter().map(|cell| crate::text::line(cell)));
        }
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        let text = table.to_string();
        text.lines().try_for_each(|line| self.line(line.trim_end()))
    }

    /// The text in its tone.
    pub(crate) fn toned(&self, text: &str, tone: Tone) -> String {
        let code = match tone {
            _ if !self.color => return text.to_owned(),
            Tone::Plain => return text.to_owned(),
            Tone::Good => "32",
            Tone::Bad => "31",
            Tone::Faint => "2",
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }
}

/// Says something on standard error.
pub(crate) fn say(text: &str) {
    // There is nobody left to tell when this fails.
    let _ = writeln!(std::io::stderr(), "{}", text.trim_end());
}
