//! The demonstration: a PostgreSQL that knows nothing of Loggia, a Loggia in front of it, and a
//! scripted morning of real `psql` and `pgbench`. Every step checks what it comes to.
//!
//! The program `demo` runs it for people; a test of the crate that has the binary runs it, too.
//! What it declares and what is typed lies under `demo/` at the top of the repository.

mod by_hand;
mod morning;
mod people;
mod program;
mod proof;
mod steps;
mod world;

use std::path::Path;
use std::sync::atomic::Ordering;

use anyhow::Result;

use morning::Morning;
use people::{Person, key_pair};
use steps::{INTERRUPTED, Steps};
use world::World;

/// How many steps the script has.
const STEPS: usize = 20;

/// Plays the whole, printing what happens. Without `once` it then stays up for a person to try,
/// until [`interrupt`]. What was started ends with it, whatever happens.
///
/// `loggia` is the binary. Fails when a step does not come to what it should, when it is
/// interrupted before its end, or when something does not end in good order.
pub fn run(loggia: &Path, once: bool) -> Result<()> {
    let mut steps = Steps::new(STEPS);
    let start = || World::with_target(loggia);
    let mut world = steps.run("start a PostgreSQL that knows nothing of Loggia", start)?;
    let played = script(&mut steps, &mut world, once);
    if played.is_err() && !INTERRUPTED.load(Ordering::Relaxed) {
        println!("\nThe gateway said last:\n{}", world.last_words());
    }
    // A failed end must not hide why the script failed.
    let stopped = world.stop();
    played.and(stopped)
}

/// Ends the demonstration as soon as it can: before its next step, or its waiting for a person.
/// Gives whether it was asked to end before.
pub fn interrupt() -> bool {
    INTERRUPTED.swap(true, Ordering::Relaxed)
}

/// From an empty data folder to the lines for a session by hand.
fn script(steps: &mut Steps, world: &mut World, once: bool) -> Result<()> {
    let (reports_key, reports_public_key) = key_pair()?;
    steps.run("fill it: a shop, and pgbench's tables", || world.fill_target())?;
    steps.run("make a Loggia: keys, an empty log, the first administrator", || world.init())?;
    let declarations = steps.run("declare resources, people and policies; check them", || {
        let declarations = world.declare(&reports_public_key)?;
        world.check(&declarations)?;
        Ok(declarations)
    })?;
    steps.run("start Loggia", || world.up(&declarations))?;
    play(steps, world, &reports_key)?;
    world.alive()?;
    let took = steps.end()?;
    println!("\nAll {STEPS} steps did what they should, in {:.1} s.\n", took.as_secs_f64());
    if once {
        return Ok(());
    }
    by_hand::tell(&morning(world)?);
    by_hand::wait(world)
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
fn play(steps: &mut Steps, world: &World, reports_key: &str) -> Result<()> {
    let day = morning(world)?;
    let auditor = Person::new(world, "auditor")?;
    steps.run("alice and bob take up their accounts", || day.enrol())?;
    steps.run("alice, bob and the service account sign in", || day.sign_in(reports_key))?;
    steps.run("alice works: reads, writes, two transactions", || day.alice_works())?;
    steps.run("bob reads", || day.bob_reads())?;
    steps.run("three who are not let through", || day.refusals())?;
    steps.run("two statements that fail on the target", || day.failures())?;
    steps.run("a statement that is cancelled", || day.cancelled())?;
    steps.run("COPY out and in", || day.copies())?;
    steps.run("pgbench, simple and prepared, as the service account", || {
        day.bench("simple")?;
        day.bench("prepared")
    })?;
    steps.run("a lock ends a session that runs", || day.locked_out())?;
    steps.run("the timeline of alice's session: its statements, no more and no less", || {
        let session = day.alice_session()?;
        proof::timeline(&day, &session)
    })?;
    let denied = steps.run("search", || proof::searches(&day))?;
    steps.run("count: what the target itself logged, and what is recorded", || day.counts())?;
    steps.run("verify the log, then a copy with one byte changed", || {
        proof::verify(&day, &auditor)?;
        proof::tampered(&day, &auditor, &denied)
    })?;
    steps.run("prove one event, and check it offline", || proof::prove(&day, &auditor, &denied))
}
