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

fn keys(text: &str) -> Vec<(bool, Vec<u8>)> {
    text.chars().map(|key| (true, key.to_string().into_bytes())).collect()
}

fn typed(bytes: &str) -> (bool, Vec<u8>) {
    (true, bytes.as_bytes().to_vec())
}

fn shown(bytes: &str) -> (bool, Vec<u8>) {
    (false, bytes.as_bytes().to_vec())
}

/// Each key is shown before the next one comes.
fn echoed(text: &str) -> Vec<(bool, Vec<u8>)> {
    text.chars().flat_map(|key| [typed(&key.to_string()), shown(&key.to_string())]).collect()
}

#[test]
fn bash_with_its_line_editor() {
    const LONG: &str = "a long line that has to be wrapped because the terminal is not wide enough \
                        for all of it";
    let expected = [
        r"+ls -lx\x7fa\r",
        r"+cat notes\t\x1b[D\x1b[D\x1b[C\x1b[C | head -2\r",
        r"+ecoh hi\x1b[D\x1b[D\x1b[D\x1b[D\x1b[D\x7f\x1b[Co\r",
        r"+\x1b[A\x1b[A\r",
        r"+\x12notes\r",
        r"+echo gr\xc3\xbc\xc3\x9fe \xe6\x97\xa5\xe6\x9c\xac\r",
        &format!("+echo {}\\r", LONG),
        r"+echo burst\r",
        r"+\r",
        r"+y\x03",
        r"+pwd\r",
    ];
    assert_eq!(recorded("terminal-bash.recording"), expected);
}

#[test]
fn prompts_that_do_not_echo() {
    let expected = [
        r"+read -s -p \'Secret: \' x\r",
        r"-hunter2!\r",
        r"+echo got ${#x}\r",
        r"+python3 -c \'import getpass; getpass.getpass()\'\r",
        r"-tops3cret\r",
        r"+setpriv --reuid 65534 --regid 65534 --clear-groups su root -c id\r",
        r"-opensesame\r",
        r"+read -s -n4 pin\r",
        // In doubt, the command behind the number is kept apart, too.
        r"-4711echo done\r",
        r"+python3 -c \'import getpass; getpass.getpass()\'\r",
        r"-Pasted+pw\r",
        r"+echo more\r",
        r"+stty -echo\r",
        r"-id\r",
        r"-whoami\r",
        r"-stty echo\r",
        r"+echo seen\r",
    ];
    assert_eq!(recorded("terminal-secrets.recording"), expected);
}

#[test]
fn programs_that_use_the_whole_screen() {
    let vim =
        [r"+vim -u NONE -n story.txt\r", r"-ihello world\x1bkkjj0x:wq\r", r"+cat story.txt\r"];
    assert_eq!(recorded("terminal-vim.recording"), vim);
    let less = ["+less notes.txt\\r", "-j", "-j", "-j", "+/fox\\r", "-nq", "+echo after\\r"];
    assert_eq!(recorded("terminal-less.recording"), less);
}

#[test]
fn pasted_and_typed_ahead() {
    let lines = recorded("terminal-paste.recording");
    let silent: Vec<&String> = lines.iter().filter(|line| !line.starts_with('+')).collect();
    assert_eq!((lines.len(), silent), (12, vec![]));
}

#[test]
fn other_line_editors_and_none() {
    for name in ["terminal-python.recording", "terminal-cat.recording"] {
        assert!(recorded(name).iter().all(|line| line.starts_with('+')), "{name}");
    }
}

#[test]
fn sudo_and_mysql() {
    let mut stream = echoed("sudo id");
    stream.extend([typed("\r"), shown("\r\n[sudo] password for demo: ")]);
    stream.extend(keys("swordfish\r"));
    stream.push(shown("\r\nSorry, try again.\r\n[sudo] password for demo: "));
    stream.extend(keys("swordfish2\r"));
    stream.push(shown("\r\nuid=0(root) gid=0(root)\r\n\x1b[1m$\x1b[0m "));
    stream.extend(echoed("mysql -p"));
    stream.extend([typed("\r"), shown("\r\nEnter password: "), typed("pa55\r")]);
    stream.push(shown("\r\nWelcome to the monitor.\r\n\r\nmysql> "));
    stream.extend(echoed("select 1;"));
    stream.extend([typed("\r"), shown("\r\n")]);
    let expected = [
        r"+sudo id\r",
        r"-swordfish\r",
        r"-swordfish2\r",
        r"+mysql -p\r",
        r"-pa55\r",
        r"+select 1;\r",
    ];
    assert_eq!(lines(&stream), expected);
}

#[test]
fn stars_are_no_echo() {
    let mut stream = vec![shown("Password: ")];
    for key in ["a", "*", "b", "*", "c", "*", "*", "*"] {
        stream.extend([typed(key), shown("*")]);
    }
    stream.extend([typed("\r"), shown("\r\n$ ")]);
    assert!(lines(&stream).iter().all(|line| line.starts_with('-') || line.len() <= 4));
    let whole =
        [shown("Password: "), typed("a*b*c***"), shown("********"), typed("\r"), shown("\r\n$ ")];
    assert_eq!(lines(&whole), [r"-a*b*c***\r"]);
    let dots =
        [shown("Passphrase: "), typed("s3same"), shown("••••••"), typed("\r"), shown("\r\n")];
    assert_eq!(lines(&dots), ["-s3same", r"+\r"]);
}

#[test]
fn a_word_that_comes_by_later_discloses_no_secret() {
    // `read -s`: no new line after Enter, and the prompt begins with what was typed.
    let mut stream = vec![shown("Secret: ")];
    stream.extend(keys("root\r"));
    stream.push(shown("root@web-1:~$ "));
    stream.extend(echoed("whoami"));
    stream.extend([typed("\r"), shown("\r\nroot\r\nroot@web-1:~$ ")]);
    assert_eq!(lines(&stream), [r"-root\r", r"+whoami\r"]);
    // The same pasted, at a prompt that answers with a new line.
    let mut stream = vec![shown("Password: "), typed("root\r"), shown("\r\nroot@web-1:~$ ")];
    stream.extend(echoed("whoami"));
    stream.extend([typed("\r"), shown("\r\nroot\r\nroot@web-1:~$ ")]);
    assert_eq!(lines(&stream), [r"-root\r", r"+whoami\r"]);
    // And by a program that does not look at what comes.
    let stream = [
        shown("Password: "),
        typed("root\r"),
        typed("whoami\r"),
        shown("\r\n$ whoami\r\nroot\r\n$ "),
    ];
    assert_eq!(lines(&stream), [r"-root\r", r"+whoami\r"]);
}

#[test]
fn a_secret_typed_into_much_output_stays_one() {
    let mut stream = vec![shown("Password: ")];
    for (number, key) in "correcthorse".chars().enumerate() {
        stream.push(typed(&key.to_string()));
        let noise = format!("[{number}.0221] eth0: link is up, 1000 Mbps, full duplex\r\n");
        stream.push(shown(&noise));
    }
    stream.extend([typed("\r"), shown("\r\n$ ")]);
    let found = lines(&stream);
    assert!(found.iter().all(|line| line.starts_with('-') || line == "+\\r"), "{found:?}");
}

#[test]
fn a_shell_that_draws_its_line_anew_with_each_key() {
    let mut stream = vec![shown("\x1b]0;web-1\x07\x1b[32m❯\x1b[0m ")];
    let mut line = String::new();
    for key in "git status".chars() {
        line.push(key);
        stream.push(typed(&key.to_string()));
        stream.push(shown(&format!(
            "\r\x1b[32m❯\x1b[0m \x1b[1m{line}\x1b[90m and more\x1b[0m\x1b[9D"
        )));
    }
    stream.extend([typed("\r"), shown("\x1b[K\r\n")]);
    assert_eq!(lines(&stream), [r"+git status\r"]);
}

#[test]
fn keys_that_are_faster_than_their_echo() {
    let mut stream = vec![shown("$ ")];
    stream.extend(keys("ls -la\rpwd\r"));
    stream.push(shown("ls"));
    stream.push(shown(" -la\r\n"));
    stream.push(shown("total 0\r\n$ pwd\r\n/srv\r\n$ "));
    let found = lines(&stream);
    assert_eq!(found[0], r"+ls -la\r");
    // What came before the prompt was ready was shown behind other output: in doubt it is silent.
    assert_eq!(found[1], r"-pwd\r");
}

#[test]
fn a_secret_that_is_broken_off_is_apart_from_the_next_line() {
    let mut stream = vec![shown("Password: ")];
    stream.extend(keys("hunt\x03"));
    stream.push(shown("^C\r\n$ "));
    stream.extend(echoed("ls -la /srv"));
    stream.extend([typed("\r"), shown("\r\n")]);
    assert_eq!(lines(&stream), [r"-hunt\x03", r"+ls -la /srv\r"]);
}

#[test]
fn silent_lines_in_a_row_are_counted() {
    let mut echo = Echo::new();
    let mut runs = Vec::new();
    for (client, bytes) in recording("terminal-secrets.recording") {
        if client {
            echo.typed(&bytes);
        } else {
            echo.output(&bytes);
        }
        if runs.last() != Some(&echo.silent_run()) {
            runs.push(echo.silent_run());
        }
    }
    // One for each prompt; then three commands behind `stty -echo`.
    assert_eq!(runs, [0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 2, 3, 0]);
}

#[test]
fn keys_for_a_pager_are_not_counted() {
    let mut echo = Echo::new();
    for (client, bytes) in recording("terminal-less.recording") {
        if client {
            echo.typed(&bytes);
        } else {
            let verdicts = echo.output(&bytes);
            assert!(verdicts.iter().all(|verdict| verdict.echoed || verdict.full_screen));
        }
        assert_eq!(echo.silent_run(), 0);
    }
}

#[test]
fn a_line_has_an_end_and_so_has_the_wait() {
    let mut echo = Echo::new();
    let long = vec![b'x'; 3 * LINE_BYTES_MAX + 1];
    let pieces = echo.typed(&long);
    let cut: Vec<(u64, usize, bool)> =
        pieces.iter().map(|piece| (piece.line, piece.bytes.len(), piece.ends)).collect();
    let whole = LINE_BYTES_MAX;
    assert_eq!(cut, [(0, whole, true), (1, whole, true), (2, whole, true), (3, 1, false)]);
    let verdicts = echo.output(&vec![b'y'; OUTPUT_BYTES_MAX]);
    assert!(verdicts.len() == 3 && verdicts.iter().all(|verdict| !verdict.echoed));
    for _ in 0..10 * WAITING_LINES_MAX {
        echo.typed(b"secret\r");
    }
    assert!(echo.ended.len() <= WAITING_LINES_MAX);
    assert_eq!(echo.output(b"\r").len(), 9 * WAITING_LINES_MAX + 1);
    for _ in 0..2 * VERDICTS_MAX {
        echo.typed(b"\r");
    }
    assert_eq!(echo.finish().len(), VERDICTS_MAX);
}

proptest! {
    /// A line that is typed key by key and shown key by key is echoed, whatever it is; one of
    /// which nothing is shown never is.
    #[test]
    fn all_or_nothing(line in "[!-~]([ -~]{0,40}[!-~])?", prompt in "[ -~]{0,20}") {
        let mut stream = vec![shown(&prompt)];
        stream.extend(echoed(&line));
        stream.extend([typed("\r"), shown("\r\n")]);
        prop_assert!(lines(&stream)[0].starts_with('+'));
        let mut stream = vec![shown(&prompt)];
        stream.extend(keys(&line));
        stream.extend([typed("\r"), shown("\r\n"), shown(&line), shown("\r\n")]);
        prop_assert!(lines(&stream)[0].starts_with('-'));
    }
}

#[test]
fn shells_that_colour_and_suggest() {
    for name in ["terminal-zsh.recording", "terminal-fish.recording"] {
        let found = recorded(name);
        let (secret, other): (Vec<_>, Vec<_>) =
            found.into_iter().partition(|line| line.starts_with('-'));
        // The one shows nothing of it, the other a dot for each key.
        let secret = secret.iter().map(|line| line[1..].trim_end_matches("\\r"));
        assert_eq!(secret.collect::<String>(), "hunter2!", "{name}");
        let text = other.iter().filter(|line| line.len() > 3).collect::<Vec<_>>();
        assert_eq!(text.len(), 8, "{name}: {text:?}");
    }
}
