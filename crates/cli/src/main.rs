//! `loggia`: the one binary. What people do, they do with it; data goes to standard output,
//! everything that is said about it to standard error.
//!
//! Start reading at [`cli`]: the commands. Each group of commands is a file in `commands`.

mod agent;
mod ask;
mod cli;
mod commands;
mod environment;
mod fail;
mod new_key;
mod out;
mod profile;
mod text;

use std::process::ExitCode;

/// The system's allocator takes a tenth of the gateway's time under load; this one half of that.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    loggia_server::system::keep_memory_private();
    let cli = match cli::parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help goes to standard output with code 0, mistakes to standard error with code 2.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(fail::USAGE));
        }
    };
    let context = commands::Context::new(&cli.global);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(session_threads())
        .enable_all()
        .build();
    let done = match runtime {
        Ok(runtime) => runtime.block_on(commands::run(cli.command, &context)),
        Err(error) => Err(fail::Fail::new(format!("no event loop can be had: {error}"))),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(fail) => fail.report(),
    }
}

/// Threads that serve sessions: one for each processor but one, which the ledger's own threads
/// (flusher, publisher, followers) keep busy. More only take turns, and wait for each other's
/// locks while they are not running.
fn session_threads() -> usize {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    processors.saturating_sub(1).max(1)
}
