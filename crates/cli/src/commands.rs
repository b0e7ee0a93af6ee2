//! What each command does: a file for each group.

mod access;
mod client_file;
mod completion;
mod copies;
mod credentials;
mod declare;
mod enrol;
mod erase;
mod events;
mod hold;
mod key;
mod lock;
mod login;
mod monitor;
mod operate;
mod people;
mod pg_config;
mod proof;
mod receipt;
mod replay;
mod resource;
mod session;
mod shown;
mod shown_live;
mod ssh_ca;
mod ssh_config;
mod trial;
mod witness;

pub(crate) use access::{Logout, Whoami};
pub(crate) use completion::Completion;
pub(crate) use copies::{Mirror, Restore};
pub(crate) use credentials::AuditCredentials;
pub(crate) use declare::{Apply, Plan};
pub(crate) use enrol::Enrol;
pub(crate) use erase::{Erase, Retention};
pub(crate) use events::{Search, Tail};
pub(crate) use hold::Hold;
pub(crate) use key::Key;
pub(crate) use lock::Lock;
pub(crate) use login::Login;
pub(crate) use monitor::Monitor;
pub(crate) use operate::{Check, Doctor, Init, Ledger, Up};
pub(crate) use people::{Person, Service};
pub(crate) use pg_config::PgConfig;
pub(crate) use proof::{Fsck, Prove, Verify};
pub(crate) use receipt::Receipt;
pub(crate) use replay::Replay;
pub(crate) use resource::Resource;
pub(crate) use session::Session;
pub(crate) use ssh_ca::SshCa;
pub(crate) use ssh_config::SshConfig;
pub(crate) use trial::Try;
pub(crate) use witness::Witness;

use crate::ask::Ask;
use crate::cli::{Color, Command, Global};
use crate::environment;
use crate::fail::Done;
use crate::out::Out;
use crate::profile::Profile;
use loggia_client::Client;
use std::path::PathBuf;

/// What every command works with.
pub(crate) struct Context {
    /// Standard output.
    pub(crate) out: Out,
    /// Questions to a person.
    pub(crate) ask: Ask,
    home: Option<PathBuf>,
}

impl Context {
    /// From the options that every command takes.
    pub(crate) fn new(global: &Global) -> Self {
        let color = match global.color {
            Color::Auto => environment::wants_color(),
            Color::Always => true,
            Color::Never => false,
        };
        Self {
            out: Out { json: global.json, color: color && !global.json },
            ask: Ask::new(global.no_input),
            home: global.home.clone(),
        }
    }

    /// The profile.
    pub(crate) fn profile(&self) -> Done<Profile> {
        Profile::at(self.home.as_deref())
    }

    /// A client for whoever is signed in.
    pub(crate) fn client(&self) -> Done<Client> {
        self.profile()?.client()
    }
}

/// Does it.
pub(crate) async fn run(command: Command, context: &Context) -> Done {
    match command {
        Command::Enrol(args) => args.run(context).await,
        Command::Login(args) => args.run(context).await,
        Command::Logout(args) => args.run(context).await,
        Command::Whoami(args) => args.run(context).await,
        Command::PgConfig(args) => args.run(context).await,
        Command::SshConfig(args) => args.run(context).await,
        Command::SshCa(args) => args.run(context).await,
        Command::Key(args) => args.run(context).await,
        Command::Search(args) => args.run(context).await,
        Command::Tail(args) => args.run(context).await,
        Command::Session(args) => args.run(context).await,
        Command::Replay(args) => args.run(context).await,
        Command::Receipt(args) => args.run(context).await,
        Command::Lock(args) => args.run(context).await,
        Command::Erase(args) => args.run(context).await,
        Command::Hold(args) => args.run(context).await,
        Command::Retention(args) => args.run(context).await,
        Command::Person(args) => args.run(context).await,
        Command::Service(args) => args.run(context).await,
        Command::Resource(args) => args.run(context).await,
        Command::Plan(args) => args.run(context).await,
        Command::Apply(args) => args.run(context).await,
        Command::Completion(args) => args.run(context),
        Command::Verify(args) => args.run(context).await,
        Command::Prove(args) => args.run(context),
        Command::Fsck(args) => args.run(context),
        Command::Mirror(args) => args.run(context).await,
        Command::Restore(args) => args.run(context).await,
        Command::AuditCredentials(args) => args.run(context),
        Command::Monitor(args) => args.run(context).await,
        Command::Init(args) => args.run(context).await,
        Command::Check(args) => args.run(context).await,
        Command::Up(args) => args.run().await,
        Command::Try(args) => args.run(context.ask, context.out).await,
        Command::Doctor(args) => args.run(context).await,
        Command::Ledger(args) => args.run(context).await,
        Command::Witness(args) => args.run(context).await,
    }
}

/// Sends what the gateway says of itself to standard error; LOGGIA_LOG filters it.
fn log_to_stderr() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("LOGGIA_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    let ansi = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(ansi);
    log.with_writer(std::io::stderr).init();
}
