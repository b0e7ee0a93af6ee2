//! Where the log's key may lie beside a file: a PKCS#11 token, in a program that was built with it.

use loggia_ledger::{KeyElsewhere, KeyStore};
use std::sync::Arc;

/// The places that this program was built with.
#[cfg(feature = "pkcs11")]
#[expect(clippy::unnecessary_wraps, reason = "without the feature there are none")]
pub(crate) fn store() -> Option<Arc<dyn KeyStore>> {
    Some(Arc::new(loggia_ledger::Pkcs11::new(Arc::new(pin))))
}

/// The places that this program was built with: none.
#[cfg(not(feature = "pkcs11"))]
pub(crate) fn store() -> Option<Arc<dyn KeyStore>> {
    None
}

/// The key at a URI; `None` where none is given.
pub(crate) fn elsewhere<'a>(
    store: Option<&'a dyn KeyStore>,
    uri: Option<&'a str>,
) -> anyhow::Result<Option<KeyElsewhere<'a>>> {
    let Some(uri) = uri else { return Ok(None) };
    let store = store.ok_or_else(|| {
        anyhow::anyhow!("this program was built without PKCS#11; build it with `--features pkcs11`")
    })?;
    Ok(Some(KeyElsewhere { store, uri }))
}

/// The PIN behind a reference. Read at each use, so that it stands nowhere else.
#[cfg(feature = "pkcs11")]
fn pin(reference: &str) -> Result<zeroize::Zeroizing<String>, String> {
    use loggia_model::resource::SecretRef;
    let read = match reference.parse::<SecretRef>()? {
        SecretRef::Env(name) => {
            #[expect(clippy::disallowed_methods, reason = "secrets are looked up at each use")]
            let value = std::env::var(&name);
            value.map_err(|error| format!("env:{name}: {error}"))
        }
        SecretRef::File(path) => crate::system::read_secret(path.as_ref())
            .map_err(|error| format!("file:{path}: {error}")),
    };
    read.map(zeroize::Zeroizing::new)
}
