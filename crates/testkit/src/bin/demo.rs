//! The demonstration as a program: `cargo xtask demo` builds it and starts it.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail, ensure};
use loggia_testkit::demo;

/// Exit code of a program that Ctrl-C ended.
const EXIT_INTERRUPTED: u8 = 130;

const HELP: &str = "\
usage: cargo xtask demo [--once]

  A PostgreSQL and an OpenSSH server of its own, a Loggia in front of them, a scripted morning of
  psql, pgbench, ssh, scp and sftp, what was recorded, and the proof of it; then it stays up for
  you to try, until Ctrl-C.
  Everything runs on ports of 127.0.0.1 that the kernel chooses, in a temporary folder that is
  removed at the end (LOGGIA_KEEP=1 keeps it).

  --once   end after the script; exit code 0 only when every step did what it should";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let once = match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => false,
        ["--once"] => true,
        ["--help" | "-h"] => {
            println!("{HELP}");
            return ExitCode::SUCCESS;
        }
        _ => {
            eprintln!("{HELP}");
            return ExitCode::from(2);
        }
    };
    let played = watch_for_signals().and_then(|()| demo::run(&loggia()?, once));
    match played {
        Ok(_) => ExitCode::SUCCESS,
        Err(_) if demo::interrupt() => {
            eprintln!("\ninterrupted");
            ExitCode::from(EXIT_INTERRUPTED)
        }
        Err(error) => {
            eprintln!("\nerror: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The binary that is shown: `LOGGIA_BIN`, else the one beside this program.
fn loggia() -> Result<PathBuf> {
    #[expect(clippy::disallowed_methods, reason = "xtask says in this variable what it has built")]
    let named = std::env::var_os("LOGGIA_BIN").map(PathBuf::from);
    let path = match named {
        Some(path) => path,
        None => std::env::current_exe().context("finding this program")?.with_file_name("loggia"),
    };
    ensure!(path.is_file(), "no loggia binary at {}: `cargo xtask demo` builds it", path.display());
    Ok(path)
}

/// The first Ctrl-C or SIGTERM ends the demonstration in good order; the second ends this program
/// at once, and the guards of what it started clean up.
fn watch_for_signals() -> Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("making an event loop for signals")?;
    let (ready, is_ready) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        runtime.block_on(async {
            let (Ok(mut interrupt), Ok(mut terminate)) =
                (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
            else {
                return;
            };
            // Nobody listens any more only when main has ended.
            let _ = ready.send(());
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                if demo::interrupt() {
                    std::process::exit(i32::from(EXIT_INTERRUPTED));
                }
            }
        });
    });
    if is_ready.recv().is_err() {
        bail!("signals cannot be watched for");
    }
    Ok(())
}
