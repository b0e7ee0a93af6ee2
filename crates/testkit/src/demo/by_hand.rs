//! The lines to paste for a first session by hand, and waiting for Ctrl-C.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Result;

use super::OverSsh;
use super::morning::Morning;
use super::steps::INTERRUPTED;
use super::world::World;

/// Between two looks at whether somebody pressed Ctrl-C.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Prints what alice would type.
pub(crate) fn tell(morning: &Morning<'_>, over_ssh: Option<&OverSsh>) {
    let (world, alice) = (morning.world, &morning.alice);
    let programs = world.loggia.parent().unwrap_or(Path::new(".")).display();
    let home = alice.kept("").display().to_string();
    let home = home.trim_end_matches('/');
    let port = world.postgres_port;
    println!("Loggia stays up. In another terminal, as alice:\n");
    println!("  export PATH={programs}:$PATH LOGGIA_HOME={home}");
    println!("  export PGSERVICEFILE={home}/pg_service.conf\n");
    line("psql service=shop", "as the account app, by certificate");
    line("psql 'service=readonly~shop'", "as the account readonly");
    if over_ssh.is_some() {
        line("ssh -F $LOGGIA_HOME/ssh_config web", "a shell; scp and sftp take -F, too");
    }
    println!();
    line("loggia tail -f", "what happens, as it happens");
    line("loggia search 'actor:alice since:10m'", "what happened");
    line("loggia session ls", "then: loggia session show SESSION");
    if let Some(record) = over_ssh {
        line(&format!("loggia replay {}", record.session), "alice's shell; space, arrows, q");
    }
    println!("  loggia verify {} \\\n    --key '{}'", world.data().display(), world.log_key);
    println!("\nThe same without a service file, with a token as the password:\n");
    println!(
        "  PGPASSWORD=$(cat {home}/token) psql \\\n    \"host=localhost port={port} user=app~shop \
         dbname=shop sslmode=verify-full sslrootcert={home}/ca.pem\""
    );
    println!("\nCtrl-C ends everything and removes {}.", world.folder.path().display());
}

/// A line to paste, and what it does.
fn line(command: &str, what: &str) {
    println!("  {command:<46}# {what}");
}

/// Waits until somebody presses Ctrl-C. Fails when the gateway ends by itself before.
pub(crate) fn wait(world: &mut World) -> Result<()> {
    while !INTERRUPTED.load(Ordering::Relaxed) {
        world.alive()?;
        std::thread::sleep(LOOK_EVERY);
    }
    println!();
    Ok(())
}
