//! What remains of the morning on the host: counted against the host's own record, found, played
//! again, and held to the ledger.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::OverSsh;
use super::morning::text_at;
use super::over_ssh::{OnHost, Shell};
use super::people::Person;
use super::program::{in_terminal, is_watched, on_screen};
use super::proof::{TAMPERED, copied};
use super::steps::{printed, printed_at_most, say};
use crate::openssh::sha256_of;

/// How long playing may take; it is a matter of seconds.
const PLAY_PATIENCE: Duration = Duration::from_secs(60);
/// What the recording shows of the failed orders, and what somebody would rather see there.
const SHOWN: &str = "POST /order 500";
const FORGED: &str = "POST /order 200";

impl OnHost<'_> {
    /// Two searches: what was refused on the host, and a text in commands and names of files.
    pub(crate) fn searches(&self) -> Result<()> {
        let alice = &self.day.alice;
        let denied = alice.loggia(&["search", "resource:web outcome:denied"])?.expect_code(0)?;
        printed(&denied.expect_words(&["ssh.refused", "bob", "alice"])?.said());
        let by_text = alice.loggia(&["search", "\"access.log\""])?.expect_code(0)?;
        printed(&by_text.expect_words(&["ssh.exec", "file.operation"])?.said());
        Ok(())
    }

    /// What the host itself wrote down, against what Loggia recorded.
    pub(crate) fn counts(&self, shell: &Shell) -> Result<OverSsh> {
        let alice = &self.day.alice;
        let search = |query: &str| alice.json(&["search", "--all", query]);
        let mut executed = self.host.executed()?;
        let mut recorded: Vec<String> = search("resource:web kind:ssh.exec")?
            .iter()
            .map(|event| text_at(event, "/detail/command").to_owned())
            .collect();
        for event in search("resource:web kind:ssh.subsystem")? {
            ensure!(text_at(&event, "/detail/name") == "sftp", "a subsystem: {event}");
            recorded.push(self.host.file_server());
        }
        executed.sort();
        recorded.sort();
        say(&format!("commands that the host wrote down itself: {}", executed.len()));
        say(&format!("recorded by Loggia:                       {}", recorded.len()));
        ensure!(executed == recorded, "executed: {executed:#?}\nrecorded: {recorded:#?}");
        let shells = search("resource:web kind:ssh.shell")?;
        let [opened] = shells.as_slice() else {
            anyhow::bail!("{} shells are recorded and not 1", shells.len())
        };
        let session = text_at(opened, "/session/id").to_owned();
        let (told, typed) = (self.host.typed()?, self.typed(&session)?);
        let lines: Vec<&str> = typed.split('\r').filter(|line| !line.is_empty()).collect();
        say(&format!("lines that the host's shell was told:     {}", told.len()));
        say(&format!("lines in the recording, as typed:         {}", lines.len()));
        ensure!(told == lines && lines == shell.lines, "told: {told:#?}\ntyped: {lines:#?}");
        self.files_on_record()?;
        self.accepted()?;
        let refused = search("resource:web kind:ssh.refused")?;
        let forwards =
            refused.iter().filter(|event| text_at(event, "/detail/request") == "forward");
        let refused_forwards = forwards.map(|event| text_at(event, "/detail/text").to_owned());
        let refused_forwards: Vec<String> = refused_forwards.collect();
        Ok(OverSsh {
            executed,
            recorded,
            told,
            typed,
            refused_forwards,
            ..self.kept(shell, session)
        })
    }

    /// Both files that were transferred are on record with the SHA-256 of what they hold.
    fn files_on_record(&self) -> Result<()> {
        let events =
            self.day.alice.json(&["search", "--all", "resource:web kind:file.operation"])?;
        let recorded: Vec<&str> =
            events.iter().map(|event| text_at(event, "/outcome/sha256")).collect();
        say("SHA-256 of what was transferred, as recorded, and of the files:");
        for (person, name) in [(&self.day.alice, "maintenance.html"), (&self.day.bob, "access.log")]
        {
            let hash = sha256_of(&person.home().join(name))?;
            ensure!(recorded.contains(&hash.as_str()), "{name}, {hash}, is not in {recorded:#?}");
            say(&format!("  {hash}  {name}"));
        }
        Ok(())
    }

    fn kept(&self, shell: &Shell, session: String) -> OverSsh {
        let (passphrase, seen) = (shell.passphrase.clone(), shell.seen.clone());
        let database = self.day.world.target.address();
        OverSsh { session, passphrase, seen, database, ..OverSsh::default() }
    }

    /// Each login on the host was by a certificate that names a session.
    fn accepted(&self) -> Result<()> {
        let accepted = self.host.accepted();
        for login in &accepted {
            let certificate = login.certificate.as_ref();
            let id = certificate.map(|certificate| certificate.key_id.as_str()).unwrap_or_default();
            let session = id.rsplit(':').next().unwrap_or_default();
            let events = self.day.alice.json(&["session", "show", session]);
            let events = events.with_context(|| format!("no session for the login `{id}`"))?;
            let start = events.first().context("a session without events")?;
            ensure!(id.contains(text_at(start, "/actor/id")), "{id} is not who {start} is");
        }
        let count = accepted.len();
        say(&format!(
            "the host's own log of its {count} logins names person and session, the last:"
        ));
        let last = accepted.last().context("the host let nobody in")?;
        let id = last.certificate.as_ref().map(|certificate| certificate.key_id.as_str());
        let id = id.unwrap_or_default();
        printed(&format!("Accepted publickey for {} … ED25519-CERT … ID {id} …", last.account));
        Ok(())
    }

    /// What was typed in a session, as far as it was echoed.
    fn typed(&self, session: &str) -> Result<String> {
        let frames = self.day.alice.json(&["replay", session])?;
        let typed = frames.iter().filter(|frame| text_at(frame, "/kind") == "typed");
        Ok(typed.filter_map(|frame| frame.get("data").and_then(Value::as_str)).collect())
    }

    /// The timeline of alice's shell, and the terminal again. Gives the text of it.
    pub(crate) fn replay(&self, record: &OverSsh) -> Result<String> {
        let (alice, session) = (&self.day.alice, record.session.as_str());
        let shown = alice.loggia(&["session", "show", session])?.expect_code(0)?;
        printed_at_most(&shown.expect_words(&["ssh.shell", "session.end"])?.stdout, 20);
        self.play(session)?;
        let text = alice.loggia(&["replay", session, "--text"])?.expect_code(0)?;
        let text =
            text.expect_words(&["order_timeout_s = 30", "frames, as the ledger has them"])?;
        printed_at_most(&text.said(), 20);
        let recording = self.day.world.data().join("recordings").join(format!("{session}.rec"));
        let recording = std::fs::read(recording).context("reading the recording")?;
        let recording = String::from_utf8_lossy(&recording);
        let clear = [text.stdout.as_str(), record.typed.as_str(), &recording];
        let readable = clear.iter().any(|text| text.contains(&record.passphrase));
        ensure!(!readable, "what was typed without echo can be read");
        say("the passphrase was not echoed: it is in no replay, but sealed under a key of its own");
        Ok(text.stdout)
    }

    /// Plays a session: on the reader's own terminal where there is one, which then shows again
    /// what it showed before.
    fn play(&self, session: &str) -> Result<()> {
        let arguments = ["replay", session, "--speed", "1", "--idle", "0.3"];
        let command = self.day.alice.loggia_command(&arguments);
        if is_watched() {
            return on_screen(command, PLAY_PATIENCE);
        }
        let mut terminal = in_terminal(command)?;
        terminal.wait_for("order_timeout_s = 30", PLAY_PATIENCE)?;
        terminal.wait_for("end  ", PLAY_PATIENCE)?;
        terminal.send("q")?;
        let code = terminal.wait_end(PLAY_PATIENCE)?;
        ensure!(code == Some(0), "the replay ended with {code:?}:\n{}", terminal.shown());
        say("(it was played in a terminal that nobody sees; on yours you would have watched it)");
        Ok(())
    }

    /// The copy, in which the terminal now shows something else than it did.
    pub(crate) fn tampered(&self, auditor: &Person<'_>, record: &OverSsh) -> Result<()> {
        let world = self.day.world;
        let copy = copied(self.day);
        let place = copy.to_string_lossy();
        let recording = copy.join("recordings").join(format!("{}.rec", record.session));
        let mut bytes = std::fs::read(&recording).context("reading the recording")?;
        let at = bytes.windows(SHOWN.len()).position(|window| window == SHOWN.as_bytes());
        let at = at.context("the recording does not show the failed orders")?;
        let place_of_text = bytes.get_mut(at..at + FORGED.len()).context("a short recording")?;
        place_of_text.copy_from_slice(FORGED.as_bytes());
        std::fs::write(&recording, &bytes).context("writing the recording")?;
        say(
            "the byte is put back; now, in the copy's recording of alice's terminal, somebody turns",
        );
        say(&format!("`{SHOWN}` into `{FORGED}`:"));
        let arguments = ["verify", &place, "--key", &world.log_key];
        let verified = auditor.loggia_as("verify copy --key $KEY", &arguments)?;
        let verified = verified
            .expect_code(TAMPERED)?
            .expect_words(&["tampered: recordings/", &record.session])?;
        printed_at_most(&verified.said(), 4);
        let one = format!("{place}/{}", record.session);
        let arguments = ["replay", &one, "--key", &world.log_key, "--text"];
        let display = format!("replay copy/{} --key $KEY --text", record.session);
        let refused = auditor.loggia_as(&display, &arguments)?.expect_code(TAMPERED)?;
        ensure!(refused.stdout.is_empty(), "an altered recording was shown: {}", refused.stdout);
        printed(&refused.stderr);
        say("exit code 10");
        Ok(())
    }
}
