//! Signing in on a target with what its account says: a certificate minted for this session, a
//! private key, or a password.

use super::{TargetHandler, UpstreamParts};
use loggia_gate::Dial;
use loggia_model::{Fault, PublicError, Secret};
use russh::client::{AuthResult, Handle, KeyboardInteractiveAuthResponse};
use russh::keys::ssh_key::Certificate;
use russh::keys::{PrivateKey, PrivateKeyWithHashAlg};
use std::sync::Arc;

/// Rounds of questions that a target may ask before it has the password.
const QUESTIONS_MAX: usize = 4;

/// Signs in, or says why not.
pub(super) async fn sign_in(
    handle: &mut Handle<TargetHandler>,
    dial: &Dial,
    parts: &UpstreamParts,
) -> Result<(), PublicError> {
    let account = dial.permit().account();
    let name = dial.permit().resource().name.as_str();
    let lost = |error: russh::Error| super::down(name).cause(error);
    let signed_in = if account.certificate {
        let (key, certificate) = minted(dial, parts)?;
        let answer = handle.authenticate_openssh_cert(&account.name, key, certificate);
        answer.await.map_err(lost)?.success()
    } else if let Some(reference) = &account.key {
        let key = private_key(&parts.secrets.resolve(reference)?, name)?;
        let hash = match key.algorithm().is_rsa() {
            true => handle.best_supported_rsa_hash().await.map_err(lost)?.flatten(),
            false => None,
        };
        let key = PrivateKeyWithHashAlg::new(Arc::new(key), hash);
        handle.authenticate_publickey(&account.name, key).await.map_err(lost)?.success()
    } else if let Some(reference) = &account.password {
        let password = parts.secrets.resolve(reference)?;
        with_password(handle, &account.name, &password).await.map_err(lost)?
    } else {
        let answer = handle.authenticate_none(&account.name);
        answer.await.map_err(lost)?.success()
    };
    if signed_in { Ok(()) } else { Err(refused(name, &account.name)) }
}

/// A certificate that names this person and session, bound to the log entry of its start.
fn minted(
    dial: &Dial,
    parts: &UpstreamParts,
) -> Result<(Arc<PrivateKey>, Certificate), PublicError> {
    let name = dial.permit().resource().name.as_str();
    let receipt = dial.receipt();
    let actor = dial.permit().actor();
    let account = &dial.permit().account().name;
    let minted = parts.keys.session_key(
        actor,
        dial.session(),
        account,
        receipt.index(),
        receipt.leaf_hash(),
    )?;
    let key = private_key(&minted.private_key, name)?;
    let certificate = Certificate::from_openssh(&minted.certificate)
        .map_err(|error| unusable(name).cause(error))?;
    Ok((Arc::new(key), certificate))
}

fn private_key(secret: &Secret, name: &str) -> Result<PrivateKey, PublicError> {
    PrivateKey::from_openssh(secret.reveal()).map_err(|error| unusable(name).cause(error))
}

/// By the method `password`, or by answering a target that asks for it.
async fn with_password(
    handle: &mut Handle<TargetHandler>,
    account: &str,
    password: &Secret,
) -> Result<bool, russh::Error> {
    if let AuthResult::Success = handle.authenticate_password(account, password.reveal()).await? {
        return Ok(true);
    }
    let mut answer = handle.authenticate_keyboard_interactive_start(account, None).await?;
    for _ in 0..QUESTIONS_MAX {
        let prompts = match answer {
            KeyboardInteractiveAuthResponse::Success => return Ok(true),
            KeyboardInteractiveAuthResponse::Failure { .. } => return Ok(false),
            KeyboardInteractiveAuthResponse::InfoRequest { prompts, .. } => prompts,
        };
        let answers = prompts.iter().map(|_| password.reveal().to_owned()).collect();
        answer = handle.authenticate_keyboard_interactive_respond(answers).await?;
    }
    Ok(false)
}

fn unusable(name: &str) -> PublicError {
    PublicError::new("target_auth", Fault::Gateway, format!("the key for `{name}` cannot be used"))
        .hint("it must be a private key in OpenSSH's format without a passphrase")
}

fn refused(name: &str, account: &str) -> PublicError {
    PublicError::new(
        "target_auth",
        Fault::Target,
        format!("`{name}` does not let the gateway in as `{account}`"),
    )
    .hint("an administrator checks the account's key, certificate or password on both sides")
}
