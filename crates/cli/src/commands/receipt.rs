//! `receipt`: the proof of one's own session, to keep.

use super::Context;
use crate::fail::{Done, Fail};
use crate::out::say;
use clap::Args;
use loggia_api::audit::ReceiptPart;
use std::path::{Path, PathBuf};

/// Takes the proof of your own session home.
#[derive(Debug, Args)]
#[command(
    before_help = "Example:
  loggia receipt se_01h455vb4pex5vsknk084sn02q --out ./receipt",
    after_help = "The proof of its beginning and, once it is over, of its end: how many events it had, and the \
                  hash\nof the last. Whoever holds it can tell later whether the log still has that session, \
                  event by event.\nYour own needs no permission; anybody else's needs `sessions.read`."
)]
pub(crate) struct Receipt {
    /// Id of the session
    session: String,
    /// Write start.json, start.tlog-proof, end.json, end.tlog-proof and what is disclosed of them
    /// here; without it, everything goes to standard output as JSON
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

impl Receipt {
    pub(super) async fn run(self, context: &Context) -> Done {
        let receipt = context.client()?.receipt(&self.session).await?;
        let Some(out) = &self.out else { return context.out.object(&receipt) };
        std::fs::create_dir_all(out)
            .map_err(|error| Fail::new(format!("{}: {error}", out.display())))?;
        for part in &receipt.parts {
            write(out, part)?;
            say(&format!("{}: entry {} of {}", part.name, part.index, receipt.origin));
        }
        if !receipt.parts.iter().any(|part| part.name == "end") {
            say("The session is not over; take the receipt again when it is.");
        }
        say(
            "\nTo check it anywhere, with the log's key from somebody you trust (the gateway says:",
        );
        say(&format!("{}):", receipt.key));
        for part in &receipt.parts {
            let (name, open) = (&part.name, if part.open.is_some() { "open" } else { "" });
            let open =
                if open.is_empty() { String::new() } else { format!(" --open {name}.open.json") };
            say(&format!("  loggia verify {name}.tlog-proof --entry {name}.json{open} --key VKEY"));
        }
        Ok(())
    }
}

fn write(folder: &Path, part: &ReceiptPart) -> Done {
    // The name is the server's word: it must not lead out of the folder.
    let name = match part.name.as_str() {
        "start" => "start",
        "end" => "end",
        other => return Err(Fail::new(format!("a receipt has no part called `{other}`"))),
    };
    let put = |ending: &str, text: &str| {
        let path = folder.join(format!("{name}{ending}"));
        std::fs::write(&path, text)
            .map_err(|error| Fail::new(format!("{}: {error}", path.display())))
    };
    put(".json", &part.entry)?;
    put(".tlog-proof", &part.proof)?;
    match &part.open {
        Some(open) => put(".open.json", open),
        None => Ok(()),
    }
}
