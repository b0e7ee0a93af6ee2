//! What remains of the morning: found, shown, verified; and what a forger gets.

use std::path::{Path, PathBuf};

use crate::wait_until;
use anyhow::{Context as _, Result, bail, ensure};
use std::time::Duration;

use super::morning::{Morning, text_at};
use super::people::Person;
use super::steps::{printed, printed_at_most, say};

/// Exit code of `loggia verify`: intact.
const INTACT: i32 = 0;
/// Exit code of `loggia verify`: tampered.
pub(super) const TAMPERED: i32 = 10;
/// How often a copy of the log is made before one must verify.
const COPY_TRIES: u32 = 3;
/// How long the log may take to cover an event by a checkpoint: one is signed each second.
const CHECKPOINT_PATIENCE: Duration = Duration::from_secs(10);

/// The timeline of one session.
pub(crate) fn timeline(morning: &Morning<'_>, session: &str) -> Result<()> {
    let shown = morning.alice.loggia(&["session", "show", session])?.expect_code(0)?;
    let shown =
        shown.expect_words(&["alice on shop as app", "DELETE FROM purchase", "session.end"])?;
    printed_at_most(&shown.stdout, 30);
    Ok(())
}

/// Two searches: by fields, and by what was typed. Gives the id of bob's denied attempt.
pub(crate) fn searches(morning: &Morning<'_>) -> Result<String> {
    let alice = &morning.alice;
    let denied = ["search", "actor:bob outcome:denied"];
    let found = alice.loggia(&denied)?.expect_code(0)?.expect_words(&["session.refused"])?;
    printed(&found.said());
    let by_text = alice.loggia(&["search", "\"delete from\" kind:sql.statement"])?;
    let by_text = by_text.expect_code(0)?;
    let by_text = by_text.expect_words(&["DELETE FROM customer", "DELETE FROM purchase"])?;
    printed(&by_text.said());
    let wrong = alice.loggia(&["search", "actr:bob"])?.expect_code(2)?.expect_words(&["actor"])?;
    printed(&wrong.stderr);
    let events = alice.json(&denied)?;
    // The oldest: the account that no policy gives him.
    let refused = events.iter().rfind(|event| text_at(event, "/kind") == "session.refused");
    let id = refused.map(|event| text_at(event, "/id")).context("bob was not refused")?;
    Ok(id.to_owned())
}

/// An outsider verifies log and recordings, with the key alone and without asking the gateway.
/// Gives how many recordings were checked.
pub(crate) fn verify(morning: &Morning<'_>, auditor: &Person<'_>) -> Result<u64> {
    let data = morning.world.data();
    let arguments = ["verify", &data.to_string_lossy(), "--key", &morning.world.log_key];
    say(&format!("DATA={}\nKEY={}", data.display(), morning.world.log_key));
    let verified = auditor.loggia_as("verify $DATA --key $KEY", &arguments)?;
    let verified = verified.expect_code(INTACT)?.expect_words(&["intact"])?;
    printed_at_most(&verified.stdout, 24);
    say("exit code 0");
    let line = verified.stdout.lines().find(|line| line.contains("recordings are checked"));
    let count = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    Ok(count.unwrap_or(0))
}

/// A copy of the data folder, in which one byte of one entry is changed; and put back afterwards.
pub(crate) fn tampered(morning: &Morning<'_>, auditor: &Person<'_>, event: &str) -> Result<()> {
    let copy = copied(morning);
    let arguments = ["verify", &copy.to_string_lossy(), "--key", &morning.world.log_key];
    copy_of_the_log(morning, auditor, &copy)?;
    say("a copy of the log verifies, too; now somebody moves bob's denied attempt in time:");
    let change = change_time(&copy, event)?;
    say(&change.told);
    let verified = auditor.loggia_as("verify copy --key $KEY", &arguments)?;
    let verified = verified.expect_code(TAMPERED)?.expect_words(&["tampered", &change.file])?;
    printed_at_most(&verified.said(), 12);
    say("exit code 10");
    std::fs::write(&change.path, &change.before).context("putting the byte back")
}

/// Where the copy lies.
pub(super) fn copied(morning: &Morning<'_>) -> PathBuf {
    morning.world.folder.join("copy")
}

/// Copies log, recordings and what opens their disclosures to a folder, where they verify, too.
fn copy_of_the_log(morning: &Morning<'_>, auditor: &Person<'_>, copy: &Path) -> Result<()> {
    let arguments = ["verify", &copy.to_string_lossy(), "--key", &morning.world.log_key];
    let mut tries = 0;
    loop {
        // What was recorded is checked against salts that are sealed under the subjects' keys.
        for part in ["ledger", "recordings", "keys/subjects"] {
            copy_folder(&morning.world.data().join(part), &copy.join(part))?;
        }
        let verified = auditor.loggia_quietly(&arguments)?;
        tries += 1;
        // A checkpoint that was signed amid the copying makes the copy a mixture.
        if verified.code() == INTACT || tries == COPY_TRIES {
            return verified.expect_code(INTACT).map(|_| ());
        }
        std::fs::remove_dir_all(copy).context("removing the copy")?;
    }
}

/// The proof of one event: three small files that anybody with the key can check, offline.
pub(crate) fn prove(morning: &Morning<'_>, auditor: &Person<'_>, event: &str) -> Result<()> {
    let data = morning.world.data();
    let out = auditor.home().join("proof");
    let data = data.to_string_lossy();
    let arguments = ["prove", event, "--data", &data, "--out", "proof"];
    wait_until("a checkpoint over the event", CHECKPOINT_PATIENCE, || {
        Ok(auditor.loggia_quietly(&arguments)?.code() == 0)
    })?;
    let display = format!("prove {event} --data $DATA --out proof");
    auditor.loggia_as(&display, &arguments)?.expect_code(0)?;
    let key = &morning.world.log_key;
    let proof = ["proof/e.tlog-proof", "--entry", "proof/e.json", "--open", "proof/e.open.json"];
    let check = [&["verify"], &proof[..], &["--key", key]].concat();
    let display = format!("verify {} --key $KEY", proof.join(" "));
    let proven = auditor.loggia_as(&display, &check)?.expect_code(INTACT)?;
    printed(&proven.expect_words(&["intact", "session.refused"])?.stdout);
    let entry = std::fs::read_to_string(out.join("e.json")).context("reading e.json")?;
    ensure!(entry.contains("\"deny\""), "the proven event is no denial: {entry}");
    std::fs::write(out.join("e.json"), entry.replace("\"deny\"", "\"allow\""))
        .context("writing e.json")?;
    say("and with `deny` made `allow` in e.json:");
    let forged = auditor.loggia_as(&display, &check)?.expect_code(TAMPERED)?;
    printed(&forged.expect_words(&["tampered"])?.stdout);
    say("exit code 10");
    Ok(())
}

/// What was changed, and how to tell it.
struct Change {
    path: PathBuf,
    before: Vec<u8>,
    file: String,
    told: String,
}

/// Changes one digit of the time of an event, wherever in the log its entry lies.
fn change_time(folder: &Path, event: &str) -> Result<Change> {
    for path in files(folder)? {
        if !path.components().any(|part| part.as_os_str() == "entries") {
            continue;
        }
        let mut bytes = std::fs::read(&path).context("reading a bundle of entries")?;
        let Some(id) = find(&bytes, 0, format!("\"id\":\"{event}\"").as_bytes()) else { continue };
        let key = b"\"time_us\":";
        let key_at = find(&bytes, id, key).context("an event without a time")?;
        let unchanged = bytes.clone();
        // The fifth digit stands for days.
        let at = key_at + key.len() + 4;
        let digit = bytes.get_mut(at).context("an event that ends in its time")?;
        let before = char::from(*digit);
        *digit = if *digit == b'9' { b'0' } else { *digit + 1 };
        let after = char::from(*digit);
        let file = path.strip_prefix(folder).unwrap_or(&path).display().to_string();
        std::fs::write(&path, &bytes).context("writing a bundle of entries")?;
        let told =
            format!("  {file}\n  byte {at}: `{before}` is now `{after}`, nothing else changed");
        return Ok(Change { path, before: unchanged, file: last_two(&file), told });
    }
    bail!("{event} lies in no bundle of entries under {}", folder.display())
}

/// The end of a path: enough to know the file by, however the report shortens it.
fn last_two(path: &str) -> String {
    let parts: Vec<&str> = path.rsplitn(3, '/').take(2).collect();
    parts.into_iter().rev().collect::<Vec<_>>().join("/")
}

/// Where `needle` begins, from `start` on.
fn find(bytes: &[u8], start: usize, needle: &[u8]) -> Option<usize> {
    let rest = bytes.get(start..)?;
    rest.windows(needle.len()).position(|window| window == needle).map(|at| start + at)
}

/// All files under a folder, sorted.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        let what = || format!("listing {}", next.display());
        for entry in std::fs::read_dir(&next).with_context(what)? {
            let path = entry.with_context(what)?.path();
            if path.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    Ok(found)
}

/// Copies a folder in which a program may be at work: what vanishes meanwhile was temporary.
fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    for path in files(from)? {
        let target = to.join(path.strip_prefix(from).context("a path outside its folder")?);
        if let Some(parent) = target.parent() {
            std::fs::create_dir_all(parent).context("making a folder of the copy")?;
        }
        match std::fs::copy(&path, &target) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            copied => {
                copied.with_context(|| format!("copying {}", path.display()))?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_one_byte_of_the_right_event_is_changed() {
        let folder = crate::Workspace::new("demo-test").unwrap();
        let entries = folder.join("log/tile/entries");
        std::fs::create_dir_all(&entries).unwrap();
        let text = "{\"id\":\"ev_1\",\"time_us\":1799000},{\"id\":\"ev_2\",\"time_us\":1799000}";
        std::fs::write(entries.join("000"), text).unwrap();
        let change = change_time(folder.path(), "ev_2").unwrap();
        assert_eq!(change.file, "entries/000");
        let changed = std::fs::read_to_string(entries.join("000")).unwrap();
        let expected =
            "{\"id\":\"ev_1\",\"time_us\":1799000},{\"id\":\"ev_2\",\"time_us\":1799100}";
        assert_eq!(changed, expected);
        assert!(change_time(folder.path(), "ev_3").is_err());
    }

    #[test]
    fn a_folder_is_copied_with_what_lies_in_it() {
        let folder = crate::Workspace::new("demo-test").unwrap();
        std::fs::create_dir_all(folder.join("a/b/c")).unwrap();
        std::fs::write(folder.join("a/b/c/file"), "x").unwrap();
        copy_folder(&folder.join("a"), &folder.join("z")).unwrap();
        assert_eq!(std::fs::read_to_string(folder.join("z/b/c/file")).unwrap(), "x");
    }
}
