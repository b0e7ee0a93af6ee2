//! What left the gateway before it was killed, and must still be true afterwards.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};

use crate::gateway::{GatewayUnderTest, RecordedEvent};

/// What stands before a binding in a certificate.
const MARK: &[u8] = b"loggia:log-binding:v1:";

/// The place in the log that a credential is bound to.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Binding {
    origin: String,
    index: u64,
    leaf_hash: String,
}

/// Credentials and checkpoints that were given out.
#[derive(Debug, Default)]
pub(super) struct Promises {
    bindings: Vec<Binding>,
    checkpoints: Vec<PathBuf>,
    last: Vec<u8>,
}

impl Promises {
    /// Keeps the newest checkpoint, if it is another than the last one.
    pub(super) fn see_checkpoint(
        &mut self,
        gateway: &GatewayUnderTest,
        folder: &Path,
    ) -> Result<()> {
        let Some(bytes) = gateway.checkpoint().filter(|bytes| *bytes != self.last) else {
            return Ok(());
        };
        let path = folder.join(format!("checkpoint-{}", self.checkpoints.len()));
        std::fs::write(&path, &bytes).context("keeping a checkpoint")?;
        self.checkpoints.push(path);
        self.last = bytes;
        Ok(())
    }

    /// Keeps the binding of a client certificate.
    pub(super) fn see_certificate(&mut self, pem: &Path) -> Result<()> {
        let text =
            std::fs::read_to_string(pem).with_context(|| format!("reading {}", pem.display()))?;
        self.bindings.push(binding(&text)?);
        Ok(())
    }

    /// The checkpoints, for `loggia verify --known-checkpoint`.
    pub(super) fn checkpoints(&self) -> &[PathBuf] {
        &self.checkpoints
    }

    /// How many credentials are known.
    pub(super) fn credentials(&self) -> u64 {
        self.bindings.len() as u64
    }

    /// Whether each credential's entry stands where the credential says, in this log.
    pub(super) fn credentials_hold(&self, events: &[RecordedEvent], key: &str) -> Result<()> {
        let origin = key.split('+').next().unwrap_or_default();
        for binding in &self.bindings {
            ensure!(binding.origin == origin, "a credential of another log: {binding:?}");
            let found = events.iter().find(|event| event.index == binding.index);
            let found = found.with_context(|| format!("no entry for {binding:?}"))?;
            ensure!(
                found.leaf_hash.to_hex() == binding.leaf_hash
                    && found.kind() == "credential.minted",
                "entry {} is another one than {binding:?} says: a {}",
                found.index,
                found.kind()
            );
        }
        Ok(())
    }
}

fn binding(pem: &str) -> Result<Binding> {
    let der = pem::parse(pem).context("reading a certificate")?;
    let der = der.contents();
    let at = der.windows(MARK.len()).position(|window| window == MARK);
    let text = at.and_then(|at| der.get(at + MARK.len()..)).context("no binding in it")?;
    let text: String =
        text.iter().map_while(|byte| byte.is_ascii_graphic().then(|| char::from(*byte))).collect();
    let mut parts = text.splitn(3, ':');
    let (origin, index, hash) = (parts.next(), parts.next(), parts.next());
    let index = index.and_then(|index| index.parse().ok());
    let hash = hash.and_then(|hash| hash.get(..64));
    match (origin, index, hash) {
        (Some(origin), Some(index), Some(leaf_hash)) => {
            Ok(Binding { origin: origin.into(), index, leaf_hash: leaf_hash.into() })
        }
        _ => bail!("a binding of another form: {text}"),
    }
}

/// A service account that signs in while the gateway is being killed.
pub(super) struct Service {
    key_file: PathBuf,
    /// Its declaration.
    pub(super) declaration: String,
}

impl Service {
    /// Makes a key pair.
    pub(super) fn new(folder: &Path) -> Result<Self> {
        let key = rcgen::KeyPair::generate().context("making a key")?;
        let key_file = folder.join("service.key");
        std::fs::write(&key_file, key.serialize_pem()).context("writing a key")?;
        let public = key.public_key_pem();
        let declaration = format!("[[service]]\nname = \"robot\"\npublic_key = '''\n{public}'''\n");
        Ok(Self { key_file, declaration })
    }

    /// Begins to sign in, into the folder of `home`.
    pub(super) fn sign_in(&self, gateway: &GatewayUnderTest, home: &str) -> Result<Child> {
        let mut command: Command = gateway.command(Some(home));
        command.args(["login", "--service", "robot", "--no-input", "--key-file"]);
        command.arg(&self.key_file).arg("--ca-file").arg(gateway.ca_file("alice"));
        command.arg("--address").arg(format!("127.0.0.1:{}", gateway.ports.api));
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().context("starting loggia login")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_binding_is_read_out_of_a_certificate() {
        let hash = "ab".repeat(32);
        let mut der = vec![0x30, 0x82];
        der.extend_from_slice(format!("loggia:log-binding:v1:a/b/e1:42:{hash}").as_bytes());
        der.extend_from_slice(b"zz\x30\x05");
        let pem = pem::encode(&pem::Pem::new("CERTIFICATE", der));
        let found = binding(&pem).unwrap();
        assert_eq!((found.origin.as_str(), found.index), ("a/b/e1", 42));
        assert_eq!(found.leaf_hash, hash);
        let none = pem::encode(&pem::Pem::new("CERTIFICATE", vec![1, 2, 3]));
        assert!(binding(&none).is_err());
    }
}
