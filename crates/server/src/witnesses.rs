//! The witnesses of this gateway's log: from the configuration to those who are asked.

use crate::config::Config;
use crate::web::{HttpWitness, Web, prefix};
use anyhow::Context;
use loggia_ledger::{CosignLimits, Cosigning, Ledger, PeerState, WitnessPeer, WitnessStanding};
use loggia_model::Mint;
use loggia_tlog::{Policy, VerifierKey};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Witnesses at most.
const WITNESSES_MAX: usize = 32;
/// For each witness's word at the start; one that is down must not keep the gateway down.
pub(crate) const START_WAIT_MAX: Duration = Duration::from_secs(3);

/// One witness in the configuration file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WitnessConfig {
    /// Its name here, in metrics and in events.
    pub name: String,
    /// Its verification key, or its keys.
    pub key: Keys,
    /// Its submission prefix: `add-checkpoint` is below it.
    pub url: String,
    /// Its monitoring prefix, where that is another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub monitor_url: Option<String>,
    /// Authorities that vouch for its certificate (PEM), where they are not the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
}

/// One key, or several.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Keys {
    /// One.
    One(String),
    /// Several: a witness may sign with Ed25519 and with ML-DSA-44.
    Several(Vec<String>),
}

impl Keys {
    fn texts(&self) -> &[String] {
        match self {
            Self::One(text) => std::slice::from_ref(text),
            Self::Several(texts) => texts,
        }
    }
}

impl WitnessConfig {
    fn keys(&self) -> Result<Vec<VerifierKey>, String> {
        let mut keys = Vec::new();
        for text in self.key.texts() {
            let key = VerifierKey::parse(text.trim()).map_err(|error| error.to_string())?;
            if !key.kind().cosigns() {
                return Err(format!("{} is not the key of a witness", key.name()));
            }
            keys.push(key);
        }
        if keys.is_empty() { Err("a witness has a key".to_owned()) } else { Ok(keys) }
    }

    fn peer(&self) -> anyhow::Result<WitnessPeer> {
        let address = |text: &str| {
            prefix(text).map_err(|why| anyhow::anyhow!("the witness `{}`: {why}", self.name))
        };
        let submit = address(&self.url)?;
        let monitor = self.monitor_url.as_deref().map(address).transpose()?;
        let web = Web::new(self.ca_file.as_deref());
        let web = web.with_context(|| format!("the witness `{}`", self.name))?;
        let monitor = monitor.unwrap_or_else(|| submit.clone());
        let keys = self.keys().map_err(anyhow::Error::msg)?;
        let ask = Arc::new(HttpWitness { web, submit, monitor });
        Ok(WitnessPeer { name: self.name.clone(), keys, ask })
    }
}

/// What is wrong with the witnesses of a configuration, if anything.
pub(crate) fn check(witnesses: &[WitnessConfig]) -> Result<(), String> {
    if witnesses.len() > WITNESSES_MAX {
        return Err(format!("there are at most {WITNESSES_MAX} witnesses"));
    }
    let (mut names, mut known) = (BTreeSet::new(), BTreeSet::new());
    for witness in witnesses {
        let wrong = |why: String| format!("the witness `{}`: {why}", witness.name);
        if !loggia_model::resource::is_name(&witness.name) {
            return Err(wrong("a name is of a-z, 0-9, `.`, `_` and `-`".to_owned()));
        }
        if !names.insert(witness.name.as_str()) {
            return Err(wrong("it stands here twice".to_owned()));
        }
        for key in witness.keys().map_err(wrong)? {
            if !known.insert(key.public_key().to_vec()) {
                return Err(wrong("its key stands here twice".to_owned()));
            }
        }
        for url in [Some(&witness.url), witness.monitor_url.as_ref()].into_iter().flatten() {
            prefix(url).map_err(|why| wrong(format!("{url}: {why}")))?;
        }
    }
    Ok(())
}

/// Those who are asked.
///
/// # Errors
/// Where a certificate file cannot be read.
pub(crate) fn peers(config: &Config) -> anyhow::Result<Vec<WitnessPeer>> {
    config.ledger.witnesses.iter().map(WitnessConfig::peer).collect()
}

/// The quorum policy that the configuration names.
///
/// # Errors
/// Where it cannot be read, or names a witness that is not configured.
pub(crate) fn policy(config: &Config) -> anyhow::Result<Option<Policy>> {
    let Some(path) = &config.ledger.policy else { return Ok(None) };
    let policy = read_policy(path)?;
    let known: Vec<VerifierKey> =
        config.ledger.witnesses.iter().filter_map(|one| one.keys().ok()).flatten().collect();
    for witness in policy.witnesses() {
        anyhow::ensure!(
            known.contains(&witness.key),
            "{}: the witness {} is not among [[ledger.witness]]",
            path.display(),
            witness.name
        );
    }
    Ok(Some(policy))
}

/// Reads a quorum policy.
///
/// # Errors
/// Names the file and the line.
pub fn read_policy(path: &Path) -> anyhow::Result<Policy> {
    let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
    Policy::parse(&bytes).with_context(|| path.display().to_string())
}

/// Cosigning for an open ledger; none without witnesses.
///
/// # Errors
/// As [`peers`] and [`policy`].
pub(crate) fn cosigning(
    config: &Config,
    ledger: &Arc<Ledger>,
    mint: &Mint,
) -> anyhow::Result<Option<Arc<Cosigning>>> {
    let (peers, policy) = (peers(config)?, policy(config)?);
    if peers.is_empty() {
        return Ok(None);
    }
    let limits = CosignLimits::default();
    let cosigning = Cosigning::new(Arc::clone(ledger), mint.clone(), peers, policy, limits);
    Ok(Some(Arc::new(cosigning.map_err(crate::explain)?)))
}

/// What is said where there are no witnesses.
pub(crate) const NONE: &str = "none: operator-trusted only";

/// Where the witnesses stand: all is well, or what is not, in a sentence. None without witnesses.
pub(crate) fn standing(standings: &[WitnessStanding]) -> Option<Result<(), String>> {
    if standings.is_empty() {
        return None;
    }
    let trouble = standings.iter().filter(|one| one.state != PeerState::Cosigns);
    let trouble: Vec<String> = trouble
        .map(|one| {
            let why = one.why.as_deref().map(|why| format!(": {why}")).unwrap_or_default();
            format!("{} {}{why} (behind for {} s)", one.name, one.state.as_str(), one.lag_s)
        })
        .collect();
    Some(if trouble.is_empty() { Ok(()) } else { Err(trouble.join("; ")) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use loggia_tlog::CosignerKey;
    use loggia_tlog::note::KeyKind;

    fn key(seed: u8) -> String {
        let kind = KeyKind::CosignatureEd25519;
        CosignerKey::from_seed("w.example", kind, &[seed; 32]).unwrap().verifier().to_string()
    }

    fn parse(witnesses: &str) -> Result<Config, String> {
        let text = format!("data = \"/x\"\n[ledger]\n{witnesses}");
        Config::parse(&text, "c").map_err(|error| error.to_string())
    }

    #[test]
    fn witnesses_are_read_strictly() {
        let one = |name: &str, key: &str, url: &str| {
            format!("[[ledger.witness]]\nname = \"{name}\"\nkey = {key}\nurl = \"{url}\"\n")
        };
        let quoted = |seed| format!("\"{}\"", key(seed));
        let config = parse(&one("a", &quoted(1), "https://w.example")).unwrap();
        assert_eq!(peers(&config).unwrap()[0].keys.len(), 1);
        let several = format!("[{}, {}]", quoted(1), quoted(2));
        let config = parse(&one("a", &several, "http://127.0.0.1:1/w")).unwrap();
        assert_eq!(peers(&config).unwrap()[0].keys.len(), 2);

        let good = one("a", &quoted(1), "https://w.example");
        for (bad, why) in [
            (one("A b", &quoted(1), "https://w.example"), "a name is of"),
            (one("a", "\"broken\"", "https://w.example"), "NAME+KEYID"),
            (one("a", "[]", "https://w.example"), "a witness has a key"),
            (one("a", &quoted(1), "w.example"), "w.example"),
            (format!("{good}{}", one("a", &quoted(2), "https://w")), "twice"),
            (format!("{good}{}", one("b", &quoted(1), "https://w")), "its key stands here twice"),
            (format!("{good}colour = 1\n"), "colour"),
        ] {
            let error = parse(&bad).unwrap_err();
            assert!(error.contains(why), "{bad}: {error}");
        }
    }

    #[test]
    fn the_policy_names_configured_witnesses() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("policy");
        let text = format!("witness a {}\nquorum a\n", key(2));
        std::fs::write(&path, text).unwrap();
        let ledger = format!(
            "policy = \"{}\"\n[[ledger.witness]]\nname = \"a\"\nkey = \"{}\"\nurl = \"http://w\"\n",
            path.display(),
            key(1)
        );
        let error = policy(&parse(&ledger).unwrap()).unwrap_err().to_string();
        assert!(error.contains("the witness a is not among"), "{error}");
    }
}
