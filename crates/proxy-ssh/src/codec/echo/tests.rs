//! Tests of the observer of echo: recordings of real programs on a terminal, and streams made by
//! hand.

use super::*;
use crate::codec::fuzz::recording;
use proptest::prelude::*;

/// Each line with text that was typed in a recording, and `+` where it was echoed, `-` where not.
fn lines(segments: &[(bool, Vec<u8>)]) -> Vec<String> {
    let mut echo = Echo::new();
    let mut typed: Vec<Vec<u8>> = Vec::new();
    let mut verdicts = Vec::new();
    for (client, bytes) in segments {
        if !client {
            verdicts.extend(echo.output(bytes));
            continue;
        }
        for piece in echo.typed(bytes) {
            typed.resize(typed.len().max(piece.line as usize + 1), Vec::new());
            typed[piece.line as usize].extend_from_slice(piece.bytes);
        }
    }
    verdicts.extend(echo.finish());
    assert_eq!(verdicts.len(), typed.len(), "one verdict for each line");
    let lines = verdicts.iter().enumerate().map(|(number, verdict)| {
        assert_eq!(verdict.line, number as u64);
        let sign = if verdict.echoed { '+' } else { '-' };
        format!("{sign}{}", typed[number].escape_ascii())
    });
    lines.collect()
}

fn recorded(name: &str) -> Vec<String> {
    lines(&recording(name))
}

#[test]
fn print_all() {
    for name in ["bash", "secrets", "vim", "paste", "python", "cat", "less"] {
        println!("== {name}");
        for line in recorded(&format!("terminal-{name}.recording")) {
            println!("{line}");
        }
    }
}
