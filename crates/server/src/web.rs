//! A client for what others serve over HTTP: witnesses, and logs as plain files. What it gets proves
//! itself by signatures; TLS only keeps it from being read and delayed.

use loggia_ledger::{Answer, AskWitness};
use loggia_tlog::note::MAX_NOTE_BYTES;
use loggia_tlog::witness::{SIZE_CONTENT_TYPE, monitor_path};
use reqwest::{Client, StatusCode, Url};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// To connect, and between two pieces of an answer.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// Gets and posts, with an end to everything.
#[derive(Clone)]
pub struct Web {
    client: Client,
}

impl Web {
    /// A client that trusts the authorities in `ca_file`, or those of the system.
    ///
    /// # Errors
    /// Where the authorities cannot be read.
    pub fn new(ca_file: Option<&Path>) -> anyhow::Result<Self> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots(ca_file)?)
            .with_no_client_auth();
        let client = Client::builder()
            .tls_backend_preconfigured(tls)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(WAIT_MAX)
            .read_timeout(WAIT_MAX)
            .user_agent(concat!("loggia/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Self { client })
    }

    /// The body at an address, at most `bytes_max` long; `None` for 404 and 410.
    ///
    /// # Errors
    /// Says why there is none.
    pub async fn get(&self, url: Url, bytes_max: usize) -> Result<Option<Vec<u8>>, String> {
        let answer = self.client.get(url).send().await.map_err(|error| chain(&error))?;
        match answer.status() {
            StatusCode::OK => Ok(Some(body(answer, bytes_max).await?)),
            StatusCode::NOT_FOUND | StatusCode::GONE => Ok(None),
            status => Err(format!("it answers with status {}", status.as_u16())),
        }
    }
}

/// An address below which others are: it ends in a slash.
///
/// # Errors
/// Where it is no HTTP address without query and user.
pub fn prefix(text: &str) -> Result<Url, String> {
    let mut url = Url::parse(text).map_err(|error| error.to_string())?;
    let plain = matches!(url.scheme(), "http" | "https")
        && url.host_str().is_some()
        && url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none();
    if !plain {
        return Err("an http or https address without query and user is needed".to_owned());
    }
    if !url.path().ends_with('/') {
        url.set_path(&format!("{}/", url.path()));
    }
    Ok(url)
}

/// A witness over HTTP.
pub struct HttpWitness {
    /// The client.
    pub web: Web,
    /// The submission prefix.
    pub submit: Url,
    /// The monitoring prefix.
    pub monitor: Url,
}

#[async_trait::async_trait]
impl AskWitness for HttpWitness {
    async fn add_checkpoint(&self, request: String) -> Result<Answer, String> {
        let url = self.submit.join("add-checkpoint").map_err(|error| error.to_string())?;
        let posted = self.web.client.post(url).body(request).send().await;
        let answer = posted.map_err(|error| chain(&error))?;
        let status = answer.status().as_u16();
        let kind = answer.headers().get(reqwest::header::CONTENT_TYPE);
        let is_size = kind.is_some_and(|kind| kind.as_bytes() == SIZE_CONTENT_TYPE.as_bytes());
        Ok(Answer { status, is_size, body: body(answer, MAX_NOTE_BYTES).await? })
    }

    async fn latest(&self, origin: &str) -> Result<Option<Vec<u8>>, String> {
        let url = self.monitor.join(&monitor_path(origin)).map_err(|error| error.to_string())?;
        self.web.get(url, MAX_NOTE_BYTES).await
    }
}

async fn body(mut answer: reqwest::Response, bytes_max: usize) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|error| chain(&error))? {
        if bytes.len() + chunk.len() > bytes_max {
            return Err(format!("its answer is longer than {bytes_max} bytes"));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

fn roots(ca_file: Option<&Path>) -> anyhow::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    if let Some(path) = ca_file {
        for certificate in CertificateDer::pem_file_iter(path)? {
            roots.add(certificate?)?;
        }
        anyhow::ensure!(!roots.is_empty(), "{} holds no certificate", path.display());
        return Ok(roots);
    }
    // Without any the client can still speak plain HTTP, to a witness on this machine.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    Ok(roots)
}

/// An error with everything below it, for the one who configured the address.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_end_in_a_slash_and_carry_nothing_else() {
        assert_eq!(prefix("https://w.example").unwrap().as_str(), "https://w.example/");
        assert_eq!(prefix("http://w.example/a").unwrap().as_str(), "http://w.example/a/");
        for bad in ["w.example", "ftp://w.example", "https://u@w.example", "https://w.example?a"] {
            assert!(prefix(bad).is_err(), "{bad}");
        }
    }
}
