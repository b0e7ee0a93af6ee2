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
    let cli = match cli::parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help goes to standard output with code 0, mistakes to standard error with code 2.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(fail::USAGE));
        }
    };
    let context = commands::Context::new(&cli.global);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let done = match runtime {
        Ok(runtime) => runtime.block_on(commands::run(cli.command, &context)),
        Err(error) => Err(fail::Fail::new(format!("no event loop can be had: {error}"))),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(fail) => fail.report(),
    }
}
