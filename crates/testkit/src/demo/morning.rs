//! The scripted morning: real `psql` and `pgbench`, each step with what it must come to.

use std::time::Duration;

use crate::wait_until;
use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::Signal;
use serde_json::Value;

use super::people::Person;
use super::program::{Finished, Running, run};
use super::steps::{now, printed, say};
use super::world::{World, private_file};

const ALICE: &str = include_str!("../../../../demo/alice.sql");
const BOB: &str = include_str!("../../../../demo/bob.sql");
/// The statements of `demo/alice.sql`.
const ALICE_STATEMENTS: usize = 11;
/// What the morning's session calls itself.
const ALICE_APPLICATION: &str = "alice-morning";
/// Statements that the target could not parse, so that it logged none: one in
/// [`Morning::failures`].
const UNPARSED: usize = 1;
/// A statement that is still running when something happens to it.
const LONG_STATEMENT: &str = "SELECT pg_sleep(60)";
/// How long the target may take to show a statement, or its end.
const SEEN_PATIENCE: Duration = Duration::from_secs(15);
/// Rows that are copied in.
const COPIED_ROWS: usize = 1000;
/// How long a lock may take to end a session that runs.
const LOCK_MAX: Duration = Duration::from_secs(5);
/// psql's exit code when it could not connect, or lost the connection.
const NO_CONNECTION: i32 = 2;
/// psql's exit code when a statement of `-c` failed.
const STATEMENT_FAILED: i32 = 1;

/// Who takes part, and on what.
pub(crate) struct Morning<'a> {
    /// Target and gateway.
    pub(crate) world: &'a World,
    /// Administrator of this Loggia and of the database.
    pub(crate) alice: Person<'a>,
    /// Reads, and no more.
    pub(crate) bob: Person<'a>,
    /// The service account.
    pub(crate) reports: Person<'a>,
}

impl Morning<'_> {
    /// Both take up their accounts, with the codes that the gateway gave out.
    pub(crate) fn enrol(&self) -> Result<()> {
        self.alice.enrol()?;
        self.bob.enrol()
    }

    /// Everybody signs in: people by password and one-time code, the service by its key.
    pub(crate) fn sign_in(&self, reports_key: &str) -> Result<()> {
        self.alice.login()?;
        self.bob.login()?;
        let authority = self.alice.kept("ca.pem");
        std::fs::copy(authority, self.reports.home().join("ca.pem"))
            .context("handing over ca.pem")?;
        private_file(&self.reports.home().join("reports.key"), reports_key)?;
        let address = format!("--address={}", self.world.api);
        let arguments = ["login", "--service", "reports", "--key-file", "reports.key"];
        let arguments = [&arguments[..], &["--ca-file", "ca.pem", &address]].concat();
        printed(&self.reports.loggia(&arguments)?.expect_code(0)?.stderr);
        let port = self.world.postgres_port.to_string();
        for person in [&self.alice, &self.bob] {
            let finished = person.loggia(&["pg-config", "--port", &port])?.expect_code(0)?;
            printed(&finished.stderr);
        }
        Ok(())
    }

    /// Reads and writes, a transaction that commits and one that is rolled back.
    pub(crate) fn alice_works(&self) -> Result<()> {
        let file = self.alice.file("demo/alice.sql", ALICE)?;
        let psql = self.alice.psql(
            "service=shop",
            ALICE_APPLICATION,
            &["-v", "ON_ERROR_STOP=1", "-f", file],
        );
        let finished =
            run(psql)?.expect_code(0)?.expect_words(&["COMMIT", "ROLLBACK", "Arlington"])?;
        printed(&finished.stdout);
        let notice = finished.stderr.lines().find(|line| line.contains("NOTICE"));
        say(notice.context("the notice that everything is recorded was not shown")?);
        let left = self.world.target.execute_in("shop", "SELECT count(*) FROM purchase")?;
        ensure!(left == "4", "the shop has {left} purchases and not 4");
        Ok(())
    }

    /// Reads as the account that can only read.
    pub(crate) fn bob_reads(&self) -> Result<()> {
        let file = self.bob.file("demo/bob.sql", BOB)?;
        let psql = self.bob.psql("service=shop", "psql", &["-f", file]);
        printed(&run(psql)?.expect_code(0)?.expect_words(&["Grace", "1200"])?.stdout);
        Ok(())
    }

    /// What no policy permits is denied, in PostgreSQL's own words; so is a token that nobody
    /// was given, and a resource that is not there.
    pub(crate) fn refusals(&self) -> Result<()> {
        let select = ["-c", "SELECT 1"];
        let denied = run(self.bob.psql("service=shop user=app~shop", "psql", &select))?;
        refused(denied, &["FATAL", "app"])?;
        let token = self.reports.token()?;
        let arguments = ["-X", "-d", "shop", "-c", "SELECT 1"];
        let port = self.world.postgres_port;
        say(&format!(
            "reports has set: PGHOST=localhost PGPORT={port} PGSSLMODE=verify-full \
             PGSSLROOTCERT=ca.pem"
        ));
        say("a token with its last letter mistyped:");
        let mistyped = token.get(..token.len() - 1).unwrap_or_default();
        let mistyped = format!("{mistyped}{}", if token.ends_with('x') { 'y' } else { 'x' });
        let stranger = self.reports.with_token("psql", "readonly~shop", &mistyped, &arguments);
        refused(run(stranger)?, &["FATAL", "login"])?;
        let lost = self.reports.with_token("psql", "readonly~warehouse", &token, &arguments);
        refused(run(lost)?, &["FATAL", "warehouse"])
    }

    /// The target's own errors reach the client unchanged.
    pub(crate) fn failures(&self) -> Result<()> {
        let delete = self.bob.psql("service=shop", "psql", &["-c", "DELETE FROM customer"]);
        let finished = run(delete)?.expect_code(STATEMENT_FAILED)?;
        printed(&finished.expect_words(&["permission denied for table customer"])?.stderr);
        let typing = self.bob.psql("service=shop", "psql", &["-c", "SELEC name FROM customer"]);
        let finished = run(typing)?.expect_code(STATEMENT_FAILED)?;
        printed(&finished.expect_words(&["syntax error at or near \"SELEC\"", "LINE 1"])?.stderr);
        Ok(())
    }

    /// Ctrl-C in psql: its cancel request goes through Loggia to the target.
    pub(crate) fn cancelled(&self) -> Result<()> {
        let psql = self.alice.psql("service=shop", "psql", &["-c", LONG_STATEMENT]);
        let mut running = Running::start(psql)?;
        self.wait_until_runs(true).with_context(|| running.so_far())?;
        say("… it runs on the database; now Ctrl-C (SIGINT to psql)");
        let pressed = now();
        running.signal(Signal::INT)?;
        let finished = running.finish()?.expect_code(STATEMENT_FAILED)?;
        let words = "canceling statement due to user request";
        printed(&finished.expect_words(&[words])?.stderr);
        say(&format!("cancelled after {} ms", pressed.elapsed().as_millis()));
        let cancels = self.alice.json(&["search", "actor:alice kind:sql.cancel"])?;
        ensure!(cancels.len() == 1, "{} cancels are recorded and not 1", cancels.len());
        Ok(())
    }

    /// COPY in both directions.
    pub(crate) fn copies(&self) -> Result<()> {
        let out = self.alice.psql(
            "service=shop",
            "psql",
            &["-c", "\\copy customer TO 'customers.csv' CSV"],
        );
        printed(&run(out)?.expect_code(0)?.expect_words(&["COPY 4"])?.stdout);
        let copied = std::fs::read_to_string(self.alice.home().join("customers.csv"));
        let copied = copied.context("reading what was copied out")?;
        ensure!(copied.lines().count() == 4, "copied out:\n{copied}");
        let rows: String =
            (0..COPIED_ROWS).map(|row| format!("{},customer {row},Paris\n", 1000 + row)).collect();
        private_file(&self.alice.home().join("new.csv"), &rows)?;
        let copy = "\\copy customer FROM 'new.csv' CSV";
        let words = format!("COPY {COPIED_ROWS}");
        let into = self.alice.psql("service=shop", "psql", &["-c", copy]);
        printed(&run(into)?.expect_code(0)?.expect_words(&[&words])?.stdout);
        let sum = "SELECT count(*), sum(id) FROM customer WHERE city = 'Paris'";
        let sum = self.world.target.execute_in("shop", sum)?;
        let expected = (0..COPIED_ROWS).map(|row| 1000 + row).sum::<usize>();
        ensure!(sum == format!("{COPIED_ROWS}|{expected}"), "copied in: {sum}");
        Ok(())
    }

    /// pgbench as the service account, its token as password.
    pub(crate) fn bench(&self, protocol: &str) -> Result<()> {
        let token = self.reports.token()?;
        let arguments = ["-n", "-S", "-c", "4", "-T", "2", "-M", protocol, "shop"];
        let pgbench = self.reports.with_token("pgbench", "readonly~shop", &token, &arguments);
        let finished = run(pgbench)?.expect_code(0)?;
        let told = |what: &str| {
            let line = finished.stdout.lines().find(|line| line.contains(what));
            line.with_context(|| format!("pgbench told no {what}:\n{}", finished.said()))
        };
        let transactions = told("transactions actually processed")?;
        ensure!(!transactions.contains(": 0"), "pgbench got nothing done");
        ensure!(told("failed transactions")?.contains(": 0 "), "{}", finished.stdout);
        let seconds = told("tps =")?;
        printed(&format!("{transactions}\n{seconds}"));
        Ok(())
    }

    /// A lock ends the session that runs, tells why, and keeps the next one out.
    pub(crate) fn locked_out(&self) -> Result<()> {
        let running =
            Running::start(self.bob.psql("service=shop", "psql", &["-c", LONG_STATEMENT]))?;
        self.wait_until_runs(true).with_context(|| running.so_far())?;
        let reason = "laptop lost, see ticket 4711";
        let locked = now();
        let lock = self.alice.loggia(&["lock", "add", "person:bob", "--reason", reason])?;
        let lock = lock.expect_code(0)?.stdout.trim().to_owned();
        let finished = running.finish()?;
        let took = locked.elapsed();
        say(&format!("bob's psql ended {} ms after the lock was typed:", took.as_millis()));
        ensure!(took < LOCK_MAX, "the lock took {} ms", took.as_millis());
        refused(finished, &["FATAL", reason])?;
        self.wait_until_runs(false)?;
        say("the database says that the statement does not run any more");
        let again = run(self.bob.psql("service=shop", "psql", &["-c", "SELECT 1"]))?;
        refused(again, &["FATAL", reason])?;
        printed(&self.alice.loggia(&["lock", "rm", &lock])?.expect_code(0)?.stderr);
        run(self.bob.psql("service=shop", "psql", &["-c", "SELECT 1"]))?.expect_code(0)?;
        Ok(())
    }

    /// Waits until the target itself says that the long statement runs, or that it does not.
    fn wait_until_runs(&self, runs: bool) -> Result<()> {
        let sql = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query = '{LONG_STATEMENT}'"
        );
        let what =
            if runs { "the statement to run on the target" } else { "its end on the target" };
        wait_until(what, SEEN_PATIENCE, || Ok((self.world.target.execute(&sql)? == "1") == runs))
    }

    /// The id of alice's morning, which holds exactly the statements of `demo/alice.sql`: those
    /// that the target logged, in their order.
    pub(crate) fn alice_session(&self) -> Result<String> {
        let sessions = self.alice.json(&["session", "ls", "-n", "100"])?;
        let morning = sessions.iter().find(|session| {
            session.get("application").and_then(Value::as_str) == Some(ALICE_APPLICATION)
        });
        let id = morning.and_then(|session| session.get("id")?.as_str());
        let id = id.context("alice's session is not in the list")?;
        let events = self.alice.json(&["session", "show", id])?;
        let statements = events.iter().filter(|event| text_at(event, "/kind") == "sql.statement");
        let recorded: Vec<&str> = statements.map(|event| text_at(event, "/detail/text")).collect();
        let logged = self.world.target.logged()?;
        let logged = logged.iter().filter(|statement| statement.application == ALICE_APPLICATION);
        let logged: Vec<&str> = logged.map(|statement| statement.text.as_str()).collect();
        ensure!(
            recorded.len() == ALICE_STATEMENTS,
            "{} statements are recorded and not {ALICE_STATEMENTS}",
            recorded.len()
        );
        if recorded != logged {
            bail!("recorded: {recorded:#?}\nbut the target logged: {logged:#?}");
        }
        Ok(id.to_owned())
    }

    /// What the target logged by itself, against what Loggia recorded, for everybody.
    pub(crate) fn counts(&self) -> Result<()> {
        let logged = self.world.target.logged()?;
        let through = ["app", "readonly"];
        let at_target =
            logged.iter().filter(|statement| through.contains(&statement.user.as_str())).count();
        let events = self.alice.json(&["search", "--all", "kind:sql.statement"])?;
        let mut people: std::collections::BTreeMap<&str, usize> = std::collections::BTreeMap::new();
        for event in &events {
            *people.entry(text_at(event, "/actor/name")).or_default() += 1;
        }
        say(&format!("logged by the database itself:      {at_target}"));
        say(&format!("recorded by Loggia (sql.statement): {}", events.len()));
        for (name, count) in &people {
            say(&format!("  by {name:<8} {count}"));
        }
        let known = ["alice", "bob", "reports"];
        ensure!(people.keys().all(|name| known.contains(name)), "a statement without a person");
        ensure!(
            events.len() == at_target + UNPARSED,
            "{} events for {at_target} statements and {UNPARSED} that the target could not parse",
            events.len()
        );
        say(&format!(
            "the difference, {UNPARSED}, is the statement that the database could not parse"
        ));
        Ok(())
    }
}

/// A text in an event, empty where it is none.
pub(crate) fn text_at<'a>(event: &'a Value, pointer: &str) -> &'a str {
    event.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// Shows a refusal, which must hold these words.
fn refused(finished: Finished, words: &[&str]) -> Result<()> {
    printed(&finished.expect_code(NO_CONNECTION)?.expect_words(words)?.stderr);
    Ok(())
}
