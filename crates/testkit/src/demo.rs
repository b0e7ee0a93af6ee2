//! The demonstration: a PostgreSQL and an OpenSSH server that know nothing of Loggia, a Loggia in
//! front of them, and a scripted morning of real `psql`, `pgbench`, `ssh`, `scp` and `sftp`. Every
//! step checks what it comes to.
//!
//! The program `demo` runs it for people; a test of the crate that has the binary runs it, too.
//! What it declares and what is typed lies under `demo/` at the top of the repository.

mod by_hand;
mod morning;
mod over_ssh;
mod people;
mod program;
mod proof;
mod recorded;
mod steps;
mod world;

use std::path::Path;
use std::sync::atomic::Ordering;

use anyhow::Result;

use crate::openssh;
use morning::Morning;
use over_ssh::{OnHost, Shell};
use people::{Person, key_pair};
use steps::{INTERRUPTED, Steps};
use world::World;

/// How many steps the script has without a host.
const STEPS: usize = 20;
/// How many more it has with one.
const STEPS_OVER_SSH: usize = 9;

/// What the part over SSH left behind: for those who check it once more.
#[derive(Debug, Default)]
pub struct OverSsh {
    /// The session of alice's shell.
    pub session: String,
    /// Commands and subsystems that the host wrote down itself, sorted.
    pub executed: Vec<String>,
    /// Those that are events, sorted.
    pub recorded: Vec<String>,
    /// The lines that the host's shell was told, by its own record.
    pub told: Vec<String>,
    /// What was typed into it, as the recording has it; lines end in a carriage return.
    pub typed: String,
    /// What was typed where nothing is echoed.
    pub passphrase: String,
    /// What the terminal showed while it was typed.
    pub seen: String,
    /// What the replay showed.
    pub replayed: String,
    /// Where refused forwards wanted to go.
    pub refused_forwards: Vec<String>,
    /// The database, which the tunnel was to reach.
    pub database: String,
    /// Recordings that `loggia verify` found to be what the ledger says.
    pub recordings_checked: u64,
}

/// Plays the whole, printing what happens. Without `once` it then stays up for a person to try,
/// until [`interrupt`]. What was started ends with it, whatever happens.
///
/// `loggia` is the binary. Gives what the part over SSH left behind; where this machine cannot have
/// an OpenSSH server there is no such part, which is said loudly. Fails when a step does not come
/// to what it should, when it is interrupted before its end, or when something does not end in
/// good order.
pub fn run(loggia: &Path, once: bool) -> Result<Option<OverSsh>> {
    let no_host = openssh::available().err().map(|why| format!("{why:#}"));
    let more = if no_host.is_none() { STEPS_OVER_SSH } else { 0 };
    let mut steps = Steps::new(STEPS + more);
    introduce(no_host.as_deref());
    let start = || World::with_target(loggia);
    let mut world = steps.run("start a PostgreSQL that knows nothing of Loggia", start)?;
    let played = script(&mut steps, &mut world, no_host.as_deref(), once);
    if played.is_err() && !INTERRUPTED.load(Ordering::Relaxed) {
        println!("\nThe gateway said last:\n{}", world.last_words());
    }
    // A failed end must not hide why the script failed.
    let stopped = world.stop();
    let over_ssh = played?;
    stopped.map(|()| over_ssh)
}

/// Ends the demonstration as soon as it can: before its next step, or its waiting for a person.
/// Gives whether it was asked to end before.
pub fn interrupt() -> bool {
    INTERRUPTED.swap(true, Ordering::Relaxed)
}

/// What is about to be seen, and how to read it.
fn introduce(no_host: Option<&str>) {
    println!("A morning in a small shop. Its database and its host know nothing of Loggia, which");
    println!("stands in front of them. alice administers, bob may read, a service makes reports;");
    println!(
        "their psql, pgbench, ssh, scp and sftp are the ordinary ones. Then: what is on record,"
    );
    println!("and what a forger of it gets. Lines like `alice$ …` are typed, lines with | are");
    println!("answers. All of it runs on 127.0.0.1 and in temporary folders, removed at the end.");
    if let Some(why) = no_host {
        println!(
            "\nSSH WILL NOT BE SHOWN, only PostgreSQL: there is no host to be had here.\n  {why}"
        );
    }
}

/// From an empty data folder to the lines for a session by hand.
fn script(
    steps: &mut Steps,
    world: &mut World,
    no_host: Option<&str>,
    once: bool,
) -> Result<Option<OverSsh>> {
    let (reports_key, reports_public_key) = key_pair()?;
    steps.run("fill it: a shop, and pgbench's tables", || world.fill_target())?;
    if no_host.is_none() {
        steps.run("start an OpenSSH server that knows nothing of Loggia", || world.start_host())?;
    }
    steps.run("make a Loggia: keys, an empty log, the first administrator", || world.init())?;
    let declarations = steps.run("declare resources, people and policies; check them", || {
        let declarations = world.declare(&reports_public_key)?;
        world.check(&declarations)?;
        Ok(declarations)
    })?;
    steps.run("start Loggia", || world.up(&declarations))?;
    let over_ssh = play(steps, world, &reports_key)?;
    world.alive()?;
    let took = steps.end()?;
    let total = steps.total();
    println!("\nAll {total} steps did what they should, in {:.1} s.\n", took.as_secs_f64());
    if let Some(why) = no_host {
        // Half of what there is to see was missing: nobody may overlook it.
        println!("SSH WAS NOT SHOWN: {why}\n");
    }
    if once {
        return Ok(over_ssh);
    }
    by_hand::tell(&morning(world)?, over_ssh.as_ref());
    by_hand::wait(world)?;
    Ok(over_ssh)
}

fn morning(world: &World) -> Result<Morning<'_>> {
    Ok(Morning {
        world,
        alice: Person::new(world, "alice")?,
        bob: Person::new(world, "bob")?,
        reports: Person::new(world, "reports")?,
    })
}

/// The morning, and what remains of it.
fn play(steps: &mut Steps, world: &World, reports_key: &str) -> Result<Option<OverSsh>> {
    let day = morning(world)?;
    let auditor = Person::new(world, "auditor")?;
    let on_host = world.host.as_ref().map(|host| OnHost { day: &day, host });
    steps.run("alice and bob take up their accounts", || day.enrol())?;
    steps.run("alice, bob and the service account sign in", || day.sign_in(reports_key))?;
    on_the_database(steps, &day)?;
    let shell = on_host.as_ref().map(|on_host| at_the_host(steps, on_host)).transpose()?;
    steps.run("a lock ends a session that runs", || day.locked_out())?;
    let denied = remains(steps, &day, on_host.as_ref())?;
    let mut over_ssh = match (&on_host, &shell) {
        (Some(on_host), Some(shell)) => Some(remains_of_the_host(steps, on_host, shell)?),
        _ => None,
    };
    let checked =
        steps.run("verify log and recordings, then a copy with one byte changed", || {
            let checked = proof::verify(&day, &auditor)?;
            proof::tampered(&day, &auditor, &denied)?;
            Ok(checked)
        })?;
    if let (Some(on_host), Some(record)) = (&on_host, &mut over_ssh) {
        record.recordings_checked = checked;
        steps
            .run("change what a recorded terminal showed", || on_host.tampered(&auditor, record))?;
    }
    steps.run("prove one event, and check it offline", || proof::prove(&day, &auditor, &denied))?;
    Ok(over_ssh)
}

/// What is done through PostgreSQL.
fn on_the_database(steps: &mut Steps, day: &Morning<'_>) -> Result<()> {
    steps.run("alice works: reads, writes, two transactions", || day.alice_works())?;
    steps.run("bob reads", || day.bob_reads())?;
    steps.run("three who are not let through", || day.refusals())?;
    steps.run("two statements that fail on the database", || day.failures())?;
    steps.run("a statement that is cancelled", || day.cancelled())?;
    steps.run("COPY out and in", || day.copies())?;
    steps.run("pgbench, simple and prepared, as the service account", || {
        day.bench("simple")?;
        day.bench("prepared")
    })
}

/// What is done over SSH.
fn at_the_host(steps: &mut Steps, on_host: &OnHost<'_>) -> Result<Shell> {
    steps.run("SSH: the host learns whom to trust, ssh learns the way", || on_host.introduce())?;
    steps.run("alice runs two commands on the host", || on_host.commands())?;
    let shell = steps.run("alice opens a shell and types", || on_host.shell())?;
    steps.run("files: alice copies one up, bob fetches one", || on_host.files())?;
    steps.run("two who are not let through, a tunnel among them", || on_host.refusals())?;
    Ok(shell)
}

/// What remains of the work on the database, and the search over everything. Gives the id of bob's denied attempt.
fn remains(steps: &mut Steps, day: &Morning<'_>, on_host: Option<&OnHost<'_>>) -> Result<String> {
    steps.run("the timeline of alice's psql: its statements, no more and no less", || {
        let session = day.alice_session()?;
        proof::timeline(day, &session)
    })?;
    let denied = steps.run("search", || {
        on_host.map_or(Ok(()), OnHost::searches)?;
        proof::searches(day)
    })?;
    steps.run("count: what the database itself logged, and what is recorded", || day.counts())?;
    Ok(denied)
}

/// What remains of the work on the host.
fn remains_of_the_host(steps: &mut Steps, on_host: &OnHost<'_>, shell: &Shell) -> Result<OverSsh> {
    let mut record = steps
        .run("count: what the host itself executed, and what is recorded", || {
            on_host.counts(shell)
        })?;
    record.replayed = steps
        .run("the timeline of alice's shell, and her terminal again", || on_host.replay(&record))?;
    Ok(record)
}
