//! The commands and what they take. What each of them does is in `commands`.

use crate::commands::{
    Apply, AuditCredentials, Check, Completion, Doctor, Enrol, Erase, Fsck, Hold, Init, Key,
    Ledger, Lock, Login, Logout, Mirror, Monitor, Person, PgConfig, Plan, Prove, Receipt, Replay,
    Resource, Restore, Retention, Search, Service, Session, SshCa, SshConfig, Tail, Try, Up,
    Verify, Whoami, Witness,
};
use crate::fail::EXIT_CODES;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// What it is for, examples, then the details.
const TEMPLATE: &str = "\
{about-with-newline}
{before-help}{usage-heading} {usage}

{all-args}{after-help}";

const EXAMPLES: &str = "Examples:
  loggia login                                   sign in for eight hours
  loggia search 'actor:alice \"drop table\" since:1h'
  loggia tail -f decision:deny                   follow what is denied
  loggia session show se_01h455vb4pex5vsknk084sn02q
  loggia pg-config                               then: psql service=NAME
  loggia ssh-config                              then: ssh NAME";

/// Everyone comes in as themselves, and what they do is recorded before it happens.
#[derive(Debug, Parser)]
#[command(
    name = "loggia",
    version,
    before_help = EXAMPLES,
    after_help = EXIT_CODES,
    arg_required_else_help = true,
    disable_help_subcommand = true,
    max_term_width = 100
)]
pub(crate) struct Cli {
    /// What every command takes.
    #[command(flatten)]
    pub(crate) global: Global,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command takes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct Global {
    /// Print JSON: one object a line
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Colour the output: auto, always or never
    #[arg(
        long,
        global = true,
        value_enum,
        default_value_t = Color::Auto,
        value_name = "WHEN",
        hide_possible_values = true
    )]
    pub(crate) color: Color,
    /// Never ask; fail where an answer would be needed
    #[arg(long, global = true)]
    pub(crate) no_input: bool,
    /// Folder of the sign-in [default: ~/.config/loggia]
    #[arg(long, global = true, env = "LOGGIA_HOME", hide_env_values = true, value_name = "DIR")]
    pub(crate) home: Option<PathBuf>,
}

/// When to colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Take up your account with the code that an administrator gave you
    Enrol(Enrol),
    /// Sign in: short-lived credentials for this machine
    Login(Login),
    /// Give your credentials back
    Logout(Logout),
    /// Say who you are to Loggia
    Whoami(Whoami),
    /// Write what plain psql needs: service file, certificate, key
    PgConfig(PgConfig),
    /// Write what plain ssh needs: an entry for each host, key, certificate, known hosts
    SshConfig(SshConfig),
    /// Print what targets and clients are told to trust over SSH
    SshCa(SshCa),
    /// Find what was recorded
    Search(Search),
    /// Show the latest events, and follow
    Tail(Tail),
    /// List, show and end sessions
    #[command(subcommand)]
    Session(Session),
    /// Play a recorded session again, or export it
    Replay(Replay),
    /// Take the proof of your own session home
    Receipt(Receipt),
    /// Keep somebody, or everybody from something, at once
    #[command(subcommand)]
    Lock(Lock),
    /// Destroy what is disclosed and recorded of somebody
    Erase(Erase),
    /// Legal holds: keep something from being erased
    #[command(subcommand)]
    Hold(Hold),
    /// Destroy what is older than the configured periods
    #[command(subcommand)]
    Retention(Retention),
    /// Add, list and disable people
    #[command(subcommand)]
    Person(Person),
    /// Add, list and disable service accounts
    #[command(subcommand)]
    Service(Service),
    /// Register, list and remove SSH keys of people and service accounts
    #[command(subcommand)]
    Key(Key),
    /// List what can be reached
    #[command(subcommand)]
    Resource(Resource),
    /// Say what declarations would change
    Plan(Plan),
    /// Bring declarations into force
    Apply(Apply),
    /// Check a whole log, or the proof of one event, offline
    Verify(Verify),
    /// Write the proof of one event
    Prove(Prove),
    /// Watch a log over time: that it only grows, and that witnesses see the same
    Monitor(Monitor),
    /// Name the credentials that a target accepted and the log never minted
    AuditCredentials(AuditCredentials),
    /// Keep a second copy of a log, verified on arrival
    Mirror(Mirror),
    /// Rebuild a data folder's log from a copy
    Restore(Restore),
    /// Check the files of this machine's own log
    Fsck(Fsck),
    /// Put a gateway in front of your own database or host, without a configuration file
    Try(Try),
    /// Make a data folder, keys, the first administrator and a commented configuration file
    Init(Init),
    /// Validate the configuration file and declarations
    Check(Check),
    /// Serve
    Up(Up),
    /// Look at this machine: disk, clock, keys, targets, what is not safe
    Doctor(Doctor),
    /// The log itself
    #[command(subcommand)]
    Ledger(Ledger),
    /// Remember other people's logs, on a machine that is not theirs
    #[command(subcommand)]
    Witness(Witness),
    /// Print completions for your shell
    Completion(Completion),
}

/// The definition of all commands.
pub(crate) fn definition() -> clap::Command {
    with_template(Cli::command())
}

fn with_template(command: clap::Command) -> clap::Command {
    let names: Vec<String> =
        command.get_subcommands().map(|sub| sub.get_name().to_owned()).collect();
    let command = command.help_template(TEMPLATE);
    names.into_iter().fold(command, |command, name| command.mut_subcommand(name, with_template))
}

/// Reads the command line.
pub(crate) fn parse() -> Result<Cli, clap::Error> {
    Cli::from_arg_matches(&definition().try_get_matches()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_sound_and_every_command_begins_with_examples() {
        definition().debug_assert();
        fn check(command: &clap::Command) {
            if command.get_subcommands().next().is_none() {
                let help = command.get_before_help().map(ToString::to_string).unwrap_or_default();
                assert!(help.starts_with("Example"), "{}", command.get_name());
            }
            command.get_subcommands().for_each(check);
        }
        definition().get_subcommands().for_each(check);
    }
}
