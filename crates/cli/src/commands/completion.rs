//! `completion`.

use super::Context;
use crate::fail::Done;
use clap::Args;
use clap_complete::Shell;

/// Prints completions.
#[derive(Debug, Args)]
#[command(before_help = "Examples:
  loggia completion bash > ~/.local/share/bash-completion/completions/loggia
  loggia completion zsh  > ~/.zfunc/_loggia
  loggia completion fish > ~/.config/fish/completions/loggia.fish")]
pub(crate) struct Completion {
    /// The shell
    shell: Shell,
}

impl Completion {
    pub(super) fn run(self, context: &Context) -> Done {
        let mut script = Vec::new();
        let mut definition = crate::cli::definition();
        clap_complete::generate(self.shell, &mut definition, "loggia", &mut script);
        context.out.line(String::from_utf8_lossy(&script).trim_end())
    }
}
