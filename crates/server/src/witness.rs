//! `loggia witness`: a witness of other people's logs, on a machine of its own.

use crate::door;
use crate::system::mint;
use anyhow::Context;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path as UrlPath, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use loggia_ledger::{Disk, NotCosigned, Remembered, Witness, WitnessError, WitnessOptions};
use loggia_tlog::VerifierKey;
use loggia_tlog::cosignature::format_lines;
use loggia_tlog::witness::{MAX_REQUEST_BYTES, Refusal, SIZE_CONTENT_TYPE};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Checkpoints that are judged and stored at a time; each takes a few fsyncs.
const AT_ONCE_MAX: usize = 16;
/// The configuration, in the witness's folder.
const FILE: &str = "witness.toml";

/// The configuration of a witness.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WitnessFile {
    /// Where it listens; plain HTTP, for what it says proves itself.
    pub listen: SocketAddr,
    /// The verification keys of the logs that it watches.
    pub logs: Vec<String>,
}

impl WitnessFile {
    fn load(dir: &Path) -> anyhow::Result<Self> {
        let path = dir.join(FILE);
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        toml::from_str(&text).with_context(|| path.display().to_string())
    }

    fn keys(&self) -> anyhow::Result<Vec<VerifierKey>> {
        let parse = |text: &String| {
            VerifierKey::parse(text.trim()).with_context(|| format!("the log key {text}"))
        };
        self.logs.iter().map(parse).collect()
    }

    fn text(&self) -> String {
        let quoted = |text: &String| toml::Value::String(text.clone()).to_string();
        let logs: Vec<String> =
            self.logs.iter().map(|log| format!("    {},\n", quoted(log))).collect();
        format!(
            "# A witness. It remembers the largest tree that it has seen of each of these logs, and\n\
             # cosigns only what continues it. Restart it after a change.\n\
             \n\
             # Plain HTTP; what a witness says proves itself by its signatures.\n\
             listen = \"{}\"\n\
             \n\
             # Verification keys of the logs, from those who run them: `loggia init` prints one.\n\
             logs = [\n{}]\n",
            self.listen,
            logs.concat()
        )
    }
}

/// Makes a new witness: keys, and a commented configuration. Never overwrites. Gives its
/// verification keys.
///
/// # Errors
/// Where there is one already, or a key cannot be used.
pub fn init(dir: &Path, name: &str, file: &WitnessFile) -> anyhow::Result<Vec<VerifierKey>> {
    file.keys()?;
    anyhow::ensure!(!dir.join(FILE).exists(), "{} exists already", dir.join(FILE).display());
    let keys = Witness::create(dir, name, &mint()).map_err(explain)?;
    crate::init::write_new(&dir.join(FILE), &file.text())?;
    Ok(keys)
}

/// What a witness is and remembers.
#[derive(Debug, Clone)]
pub struct Shown {
    /// Its configuration.
    pub file: WitnessFile,
    /// Its verification keys.
    pub keys: Vec<VerifierKey>,
    /// What it remembers of each log.
    pub logs: Vec<Remembered>,
}

/// Looks at a witness's folder, also while it serves.
///
/// # Errors
/// Where it cannot be read.
pub fn show(dir: &Path) -> anyhow::Result<Shown> {
    let file = WitnessFile::load(dir)?;
    let keys = Witness::public_keys(dir).map_err(explain)?;
    let logs = Witness::look(dir, &file.keys()?).map_err(explain)?;
    Ok(Shown { file, keys, logs })
}

/// A witness that serves.
pub struct RunningWitness {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its verification keys.
    pub keys: Vec<VerifierKey>,
    running: TaskTracker,
    stop: CancellationToken,
}

impl RunningWitness {
    /// Opens the witness in a folder and begins to serve.
    ///
    /// # Errors
    /// Where it cannot be opened or the address is taken.
    pub async fn start(dir: &Path, listen: Option<SocketAddr>) -> anyhow::Result<Self> {
        let file = WitnessFile::load(dir)?;
        let options = WitnessOptions {
            dir: dir.to_owned(),
            logs: file.keys()?,
            mint: mint(),
            disk: Disk::default(),
            fatal: Arc::new(|_| std::process::abort()),
        };
        let witness = Arc::new(Witness::open(options).map_err(explain)?);
        let keys = witness.keys().cloned().collect();
        let address = listen.unwrap_or(file.listen);
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("cannot listen on {address}"))?;
        let address = listener.local_addr()?;
        let (running, stop) = (TaskTracker::new(), CancellationToken::new());
        let router = router(witness);
        running.spawn(door::serve_plain(listener, router, running.clone(), stop.clone()));
        Ok(Self { address, keys, running, stop })
    }

    /// Ends: requests that are being answered are finished.
    pub async fn stop(self) {
        self.stop.cancel();
        self.running.close();
        self.running.wait().await;
    }
}

#[derive(Clone)]
struct Serving {
    witness: Arc<Witness>,
    room: Arc<Semaphore>,
}

/// The routes of a witness.
pub fn router(witness: Arc<Witness>) -> Router {
    let serving = Serving { witness, room: Arc::new(Semaphore::new(AT_ONCE_MAX)) };
    Router::new()
        .route("/", get(about))
        .route("/add-checkpoint", post(add_checkpoint))
        .route("/{place}/checkpoint", get(latest))
        .layer(DefaultBodyLimit::max(MAX_REQUEST_BYTES))
        .with_state(serving)
}

type Headers<const N: usize> = [(HeaderName, &'static str); N];
const TEXT: &str = "text/plain; charset=utf-8";

async fn add_checkpoint(State(serving): State<Serving>, body: Bytes) -> Response {
    // A crowd waits here, and its connections are bounded by the door.
    let Ok(place) = Arc::clone(&serving.room).acquire_owned().await else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    let judged = tokio::task::spawn_blocking(move || {
        let judged = serving.witness.add_checkpoint(&body);
        drop(place);
        judged
    });
    let text: Headers<1> = [(CONTENT_TYPE, TEXT)];
    match judged.await {
        Ok(Ok(lines)) => (text, format_lines(&lines)).into_response(),
        Ok(Err(NotCosigned::Refused(Refusal::OldSize { seen }))) => {
            let size: Headers<1> = [(CONTENT_TYPE, SIZE_CONTENT_TYPE)];
            (StatusCode::CONFLICT, size, format!("{seen}\n")).into_response()
        }
        Ok(Err(refused)) => {
            let status = StatusCode::from_u16(refused.status());
            let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            (status, text, format!("{refused}\n")).into_response()
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn latest(State(serving): State<Serving>, UrlPath(place): UrlPath<String>) -> Response {
    let headers: Headers<2> = [(CONTENT_TYPE, TEXT), (CACHE_CONTROL, "no-store")];
    match serving.witness.latest(&place) {
        Some(note) => (headers, note).into_response(),
        None => (StatusCode::NOT_FOUND, "no checkpoint of this log was cosigned\n").into_response(),
    }
}

/// Who this is, and of which logs it has refused forks: for people and for monitors.
async fn about(State(serving): State<Serving>) -> Response {
    let logs: Vec<serde_json::Value> = serving.witness.remembers().iter().map(to_json).collect();
    let keys: Vec<String> = serving.witness.keys().map(ToString::to_string).collect();
    Json(serde_json::json!({ "keys": keys, "logs": logs })).into_response()
}

/// What is remembered of one log, as JSON.
pub fn to_json(log: &Remembered) -> serde_json::Value {
    serde_json::json!({
        "origin": log.origin,
        "place": log.place,
        "size": log.size,
        "refused_forks": log.evidence,
    })
}

fn explain(error: WitnessError) -> anyhow::Error {
    match error.hint() {
        Some(hint) => anyhow::Error::new(crate::Hinted { message: error.to_string(), hint }),
        None => error.into(),
    }
}
