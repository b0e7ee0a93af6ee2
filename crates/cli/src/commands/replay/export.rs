//! A recording for other programs: asciicast, text, one JSON object a frame.

use super::harmless::Harmless;
use super::plain::Plain;
use super::screen::SIZE_DEFAULT;
use super::script::{Scene, Script, played};
use super::told::Told;
use crate::fail::{Done, Fail};
use crate::out::Out;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use loggia_verify::recording::Content;
use serde_json::{Value, json};
use std::io::Write;

/// Decodes bytes that come in pieces; what is no UTF-8 becomes U+FFFD.
#[derive(Default)]
struct Letters {
    rest: Vec<u8>,
}

impl Letters {
    fn take(&mut self, bytes: &[u8]) -> String {
        self.rest.extend_from_slice(bytes);
        let mut text = String::new();
        loop {
            match std::str::from_utf8(&self.rest) {
                Ok(valid) => {
                    text.push_str(valid);
                    self.rest.clear();
                    return text;
                }
                Err(error) => {
                    let valid = self.rest.get(..error.valid_up_to()).unwrap_or_default();
                    text.push_str(&String::from_utf8_lossy(valid));
                    let wrong = error.error_len();
                    self.rest.drain(..error.valid_up_to() + wrong.unwrap_or(0));
                    // Perhaps the beginning of a letter whose end comes with the next piece.
                    if wrong.is_none() {
                        return text;
                    }
                    text.push('\u{fffd}');
                }
            }
        }
    }
}

/// Writes asciicast, version 2: a header, then `[seconds, kind, text]` with output (`o`), what was
/// typed and may be read (`i`), sizes (`r`) and a marker (`m`) at each action. The actions follow
/// each other, as they do when they are played. Whatever would act on the terminal of who plays it
/// beyond its screen is left out.
pub(super) fn cast(
    script: &Script,
    scenes: &[&Scene],
    told: &Told,
    idle_us: Option<u64>,
    out: &mut impl Write,
) -> Done {
    let size = scenes.first().map_or(SIZE_DEFAULT, |scene| told.size_of(scene));
    let mut header = json!({
        "version": 2,
        "width": size.0,
        "height": size.1,
        "timestamp": script.started_us / 1_000_000,
        "title": told.title(),
    });
    if let (Some(idle_us), Some(header)) = (idle_us, header.as_object_mut()) {
        header.insert("idle_time_limit".to_owned(), json!(idle_us as f64 / 1e6));
    }
    line(out, &header)?;
    let mut begun_us = 0;
    for scene in scenes {
        begun_us = cast_scene(script, scene, told, begun_us, out)?;
    }
    Ok(())
}

fn cast_scene(
    script: &Script,
    scene: &Scene,
    told: &Told,
    begun_us: u64,
    out: &mut impl Write,
) -> Done<u64> {
    let seconds = |at_us: u64| json!(at_us as f64 / 1e6);
    let size = told.size_of(scene);
    line(out, &json!([seconds(begun_us), "m", told.headline(scene.action)]))?;
    line(out, &json!([seconds(begun_us), "r", format!("{}x{}", size.0, size.1)]))?;
    let bare_lines = !told.terminal_of(scene);
    let (mut letters, mut typed) = (Letters::default(), Letters::default());
    let mut harmless = Harmless::default();
    let (mut at_us, mut last_us) = (begun_us, None);
    let mut reader = script.read(scene);
    while let Some((number, _, frame)) = reader.next_frame()? {
        at_us = played(at_us, last_us, frame.at_us, u64::MAX);
        last_us = Some(frame.at_us);
        let (kind, text) = match frame.content() {
            Content::Output(bytes) | Content::Error(bytes) => {
                ("o", letters.take(&harmless.pass(bytes)))
            }
            Content::Input(bytes) => ("i", typed.take(bytes)),
            Content::Sealed { line, sealed } => {
                match script.typed(scene.action, line, number, sealed) {
                    (Some(bytes), _) => ("i", typed.take(&bytes)),
                    (None, _) => continue,
                }
            }
            Content::Resize { columns, rows } => ("r", format!("{columns}x{rows}")),
            _ => continue,
        };
        let text = if bare_lines && kind == "o" { text.replace('\n', "\r\n") } else { text };
        if !text.is_empty() {
            line(out, &json!([seconds(at_us), kind, text]))?;
        }
    }
    Ok(at_us)
}

fn line(out: &mut impl Write, value: &Value) -> Done {
    writeln!(out, "{value}").map_err(|error| Fail::new(format!("it cannot be written: {error}")))
}

/// Writes what was put out, as text alone; with several actions each under its headline.
pub(super) fn text(script: &Script, scenes: &[&Scene], told: &Told, out: Out) -> Done {
    for scene in scenes {
        if scenes.len() > 1 {
            out.line(&format!("== {}", told.headline(scene.action)))?;
        }
        let mut plain = Plain::new();
        let mut reader = script.read(scene);
        while let Some((_, _, frame)) = reader.next_frame()? {
            if let Content::Output(bytes) | Content::Error(bytes) = frame.content() {
                lines(out, &plain.feed(bytes))?;
            }
        }
        lines(out, &plain.end())?;
    }
    Ok(())
}

fn lines(out: Out, text: &str) -> Done {
    text.lines().try_for_each(|line| out.line(line))
}

/// Writes every frame as one JSON object a line.
pub(super) fn frames(script: &Script, scenes: &[&Scene], out: Out) -> Done {
    for scene in scenes {
        let mut reader = script.read(scene);
        while let Some((number, offset, frame)) = reader.next_frame()? {
            let mut object = json!({
                "frame": number,
                "offset": offset,
                "at_us": frame.at_us,
                "action": scene.action.map(|action| action.to_string()),
            });
            let told = match frame.content() {
                Content::Output(bytes) => json!({"kind": "output", "data": data(bytes)}),
                Content::Error(bytes) => json!({"kind": "error", "data": data(bytes)}),
                Content::Input(bytes) => json!({"kind": "input", "data": data(bytes)}),
                Content::Sealed { line, sealed } => {
                    let (typed, echoed) = script.typed(scene.action, line, number, sealed);
                    json!({
                        "kind": "typed",
                        "line": line,
                        "echoed": echoed,
                        "bytes": sealed.len().saturating_sub(16),
                        "data": typed.as_deref().map(data),
                    })
                }
                Content::Key { line, .. } => json!({"kind": "echoed", "line": line}),
                Content::Resize { columns, rows } => {
                    json!({"kind": "resize", "columns": columns, "rows": rows})
                }
                Content::Exit(status) => json!({"kind": "exit", "status": status}),
                Content::Action(_) | Content::Other => continue,
            };
            if let (Some(object), Value::Object(told)) = (object.as_object_mut(), told) {
                object.extend(told.into_iter().filter(|(_, value)| !value.is_null()));
                object.retain(|_, value| !value.is_null());
            }
            out.object(&object)?;
        }
    }
    Ok(())
}

/// Text where it is, else `{"b64":…}`.
fn data(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => Value::from(text),
        Err(_) => json!({"b64": STANDARD.encode(bytes)}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_that_come_in_pieces_are_put_together_and_what_is_none_is_marked() {
        let mut letters = Letters::default();
        let bytes = "aä漢\u{1f600}".as_bytes();
        let text: String = bytes.iter().map(|byte| letters.take(&[*byte])).collect();
        assert_eq!(text, "aä漢\u{1f600}");
        assert_eq!(letters.take(b"\xffx\xe6"), "\u{fffd}x");
        assert_eq!(letters.take(b"y"), "\u{fffd}y");
    }
}
