//! `session watch`: what a running session shows now. It comes from the gateway as it is written;
//! the proof of it is the replay's.

use super::super::Context;
use super::plain::Plain;
use super::screen::{SIZE_DEFAULT, Screen};
use super::source::told;
use super::terminal::{Key, Picture, Terminal};
use super::told::Told;
use crate::fail::{Done, Fail};
use crate::out::{Out, Tone, say};
use crate::text;
use loggia_api::recordings::{RecordingEnd, RecordingNote};
use loggia_client::{Client, RecordingPart, RecordingStream};
use loggia_model::id::EventId;
use loggia_verify::recording::{Content, Frame, Header, Malformed};
use std::collections::HashMap;
use std::io::IsTerminal;
use std::time::Duration;

/// How long keys are waited for at a time.
const KEYS_WAIT: Duration = Duration::from_millis(50);
/// Actions whose screens are kept.
const SCREENS_MAX: usize = 32;

/// Shows a running session until it ends, or the watcher has enough.
pub(in crate::commands) async fn watch(context: &Context, id: &str) -> Done {
    let client = context.client()?;
    let mut stream = client.watch(id).await?;
    let out = context.out;
    let end = if std::io::stdout().is_terminal() && !out.json {
        on_terminal(&client, id, &mut stream, out).await?
    } else {
        as_text(&mut stream, out).await?
    };
    match end {
        Some(end) if end.reason == "session_ended" => {
            say(&text::line(&end.message));
            Ok(())
        }
        Some(end) if end.reason == "expired" => Err(Fail::sign_in(end.message)),
        Some(end) => Err(Fail::new(end.message)),
        None => Ok(()),
    }
}

/// Puts frames together from what comes.
#[derive(Default)]
struct Frames {
    bytes: Vec<u8>,
    begun: bool,
    action: Option<EventId>,
}

impl Frames {
    /// Takes bytes of the file and hands out every frame that is whole.
    fn take(
        &mut self,
        bytes: &[u8],
        mut each: impl FnMut(Option<EventId>, &Frame<'_>),
    ) -> Result<(), Malformed> {
        self.bytes.extend_from_slice(bytes);
        let mut rest = self.bytes.as_slice();
        if !self.begun {
            let Some((_, length)) = Header::decode(rest)? else { return Ok(()) };
            rest = rest.get(length..).unwrap_or_default();
            self.begun = true;
        }
        while let Some(frame) = Frame::decode(rest)? {
            rest = rest.get(frame.raw.len()..).unwrap_or_default();
            if let Content::Action(action) = frame.content() {
                self.action = Some(action);
            }
            each(self.action, &frame);
        }
        let left = rest.len();
        self.bytes.drain(..self.bytes.len() - left);
        Ok(())
    }
}

fn nonsense(malformed: Malformed) -> Fail {
    Fail::new(format!("the gateway sent something else than a recording: {malformed}"))
}

/// Prints output as text; as JSON, one object for each piece.
async fn as_text(stream: &mut RecordingStream, out: Out) -> Done<Option<RecordingEnd>> {
    let mut frames = Frames::default();
    let mut texts: HashMap<Option<EventId>, Plain> = HashMap::new();
    while let Some(part) = stream.next().await? {
        let bytes = match part {
            RecordingPart::File(bytes) => bytes,
            RecordingPart::Note(RecordingNote::End(end)) => return Ok(Some(end)),
            RecordingPart::Note(RecordingNote::Head(_)) => continue,
        };
        let mut lines = Vec::new();
        let each = |action: Option<EventId>, frame: &Frame<'_>| {
            let (Content::Output(bytes) | Content::Error(bytes)) = frame.content() else { return };
            if out.json {
                let text = String::from_utf8_lossy(bytes).into_owned();
                let action = action.map(|action| action.to_string());
                lines.push(serde_json::json!({
                    "action": action, "at_us": frame.at_us, "data": text,
                }));
            } else {
                let text = texts.entry(action).or_insert_with(Plain::new).feed(bytes);
                lines.extend(text.lines().map(serde_json::Value::from));
            }
        };
        frames.take(&bytes, each).map_err(nonsense)?;
        for line in lines {
            match &line {
                serde_json::Value::String(text) => out.line(text)?,
                object => out.object(object)?,
            }
        }
    }
    Ok(None)
}

/// What the watcher sees.
struct Seen {
    told: Told,
    out: Out,
    screens: HashMap<Option<EventId>, Screen>,
    /// The action that showed something last.
    action: Option<EventId>,
    /// Its headline is not known, and was not asked for again.
    untold: bool,
}

impl Seen {
    fn take(&mut self, action: Option<EventId>, frame: &Frame<'_>) {
        if self.action != action {
            self.action = action;
            self.untold = self.told.terminal(action).is_none();
        }
        if self.screens.len() >= SCREENS_MAX && !self.screens.contains_key(&action) {
            self.screens.clear();
        }
        let told = &self.told;
        let screen = self.screens.entry(action).or_insert_with(|| {
            let size = told.size(action).unwrap_or(SIZE_DEFAULT);
            Screen::new(size, told.terminal(action).unwrap_or(true))
        });
        match frame.content() {
            Content::Output(bytes) | Content::Error(bytes) => screen.feed(bytes),
            Content::Resize { columns, rows } => screen.resize((columns, rows)),
            _ => {}
        }
    }

    fn picture(&self) -> Picture {
        let (columns, _) = Terminal::size();
        let line = format!("{}  {}", self.told.session, self.told.headline(self.action));
        let foot = vec![
            self.out.toned(&text::cut(&line, columns.into()), Tone::Faint),
            text::cut("watching, which is recorded as such   q quit", columns.into()),
        ];
        match self.screens.get(&self.action) {
            Some(screen) => Picture {
                rows: screen.rows(columns, self.out.color),
                foot,
                cursor: screen.cursor().filter(|(column, _)| *column < columns),
            },
            None => {
                Picture { rows: vec!["nothing is recorded yet".to_owned()], foot, cursor: None }
            }
        }
    }
}

async fn on_terminal(
    client: &Client,
    id: &str,
    stream: &mut RecordingStream,
    out: Out,
) -> Done<Option<RecordingEnd>> {
    let mut seen = Seen {
        told: told(client, id).await?,
        out,
        screens: HashMap::new(),
        action: None,
        untold: false,
    };
    let mut frames = Frames::default();
    let mut terminal = Terminal::take()?;
    loop {
        terminal.draw(seen.picture())?;
        // A part that is half there is kept by the stream; a key must not wait for it.
        match tokio::time::timeout(KEYS_WAIT, stream.next()).await {
            Err(_) => {}
            Ok(part) => match part? {
                Some(RecordingPart::File(bytes)) => {
                    let each =
                        |action: Option<EventId>, frame: &Frame<'_>| seen.take(action, frame);
                    frames.take(&bytes, each).map_err(nonsense)?;
                    if std::mem::take(&mut seen.untold) {
                        // The action began after the others were asked for.
                        seen.told = told(client, id).await?;
                        if let Some(size) = seen.told.size(seen.action)
                            && let Some(screen) = seen.screens.get_mut(&seen.action)
                        {
                            screen.resize(size);
                        }
                    }
                }
                Some(RecordingPart::Note(RecordingNote::End(end))) => return Ok(Some(end)),
                Some(RecordingPart::Note(RecordingNote::Head(_))) => {}
                None => return Ok(None),
            },
        }
        let enough = |key: &Key| matches!(key, Key::Letter('q') | Key::Interrupt);
        if terminal.has_keys() && terminal.keys(Duration::ZERO).iter().any(enough) {
            return Ok(None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use loggia_model::id::SessionId;
    use loggia_verify::recording::{Direction, Head};

    fn frame(direction: Direction, bytes: &[u8]) -> Vec<u8> {
        let head = Head::of(1, direction, bytes).unwrap().encode();
        [head.as_slice(), bytes].concat()
    }

    #[test]
    fn frames_are_put_together_however_they_come() {
        let action = EventId::from_parts(1, [1; 10]);
        let session = SessionId::from_parts(1, [2; 10]);
        let bytes = [
            Header::new(session, &[3; 32], 0).encode(),
            frame(Direction::Output, b"before"),
            frame(Direction::Action, action.to_string().as_bytes()),
            frame(Direction::Output, b"under it"),
        ]
        .concat();
        for step in [1, 7, 1_000] {
            let mut frames = Frames::default();
            let mut seen = Vec::new();
            for piece in bytes.chunks(step) {
                let each = |action: Option<EventId>, frame: &Frame<'_>| {
                    if let Content::Output(bytes) = frame.content() {
                        seen.push((action, String::from_utf8(bytes.to_vec()).unwrap()));
                    }
                };
                frames.take(piece, each).unwrap();
            }
            assert_eq!(seen, [(None, "before".into()), (Some(action), "under it".into())]);
            assert!(frames.bytes.is_empty());
        }
        assert!(Frames::default().take(b"asciicast", |_, _| {}).is_err());
    }
}
