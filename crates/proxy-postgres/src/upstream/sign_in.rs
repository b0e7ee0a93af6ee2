//! The sign-in dialogue with a target, up to its first ReadyForQuery.

use super::{Greeting, TargetStream, down};
use crate::codec::backend::{self, Authentication, ErrorFields};
use crate::codec::frame::HEADER_BYTES;
use crate::codec::startup::{CancelKey, Start};
use crate::codec::{CodecError, encode};
use bytes::{Bytes, BytesMut};
use loggia_model::resource::Resource;
use loggia_model::{Fault, PublicError, Secret};
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};

/// The longest message of a sign-in, in bytes.
const MESSAGE_BYTES_MAX: usize = 64 * 1024;
/// Messages until the first ReadyForQuery at most; a server sends some fifteen settings.
const MESSAGES_MAX: usize = 1024;
/// Bytes of all of them together at most: settings, key and notices are kept until the client has
/// them.
const GREETING_BYTES_MAX: usize = 256 * 1024;

/// What is left to prove, on either side.
enum Proof {
    /// The target has asked for nothing yet.
    None,
    /// The target has yet to show that it knows the password, too.
    Scram(Box<ScramSha256>),
    /// Done.
    Complete,
}

/// Says who we are and what we want, and answers until the target is ready.
pub(super) async fn sign_in(
    stream: &mut TargetStream,
    resource: &Resource,
    start: &Start,
    account: &str,
    password: Option<&Secret>,
) -> Result<Greeting, PublicError> {
    let mut out = BytesMut::new();
    encode::startup(&mut out, start);
    send(stream, resource, &mut out).await?;
    let mut greeting = Greeting::default();
    let mut proof = Proof::None;
    let broken = |error: CodecError| down(resource).cause(error);
    let mut bytes = 0;
    for _ in 0..MESSAGES_MAX {
        let message = read_message(stream, &mut greeting.rest)
            .await
            .map_err(|error| down(resource).cause(error))?;
        bytes += message.len();
        if bytes > GREETING_BYTES_MAX {
            let cause = format!("more than {GREETING_BYTES_MAX} bytes before its ReadyForQuery");
            return Err(down(resource).cause(cause));
        }
        let tag = message.first().copied().unwrap_or_default();
        let body = message.get(HEADER_BYTES..).unwrap_or_default();
        match tag {
            b'R' => {
                let asked = backend::authentication(body).map_err(broken)?;
                let clear = stream.is_encrypted();
                proof = answer(asked, proof, &mut out, resource, account, password, clear)?;
                send(stream, resource, &mut out).await?;
            }
            b'S' => {
                let (name, value) = backend::parameter_status(body).map_err(broken)?;
                greeting.parameters.push((message.slice_ref(name), message.slice_ref(value)));
            }
            b'K' => {
                let (process, secret) = backend::backend_key_data(body).map_err(broken)?;
                greeting.key = Some(CancelKey { process, secret: message.slice_ref(secret) });
            }
            b'N' => greeting.notices.extend_from_slice(&message),
            b'E' => return Err(refused(resource, account, &backend::error_fields(body))),
            b'Z' => return Ok(greeting),
            // We speak 3.0 without extensions, so there is nothing to negotiate.
            other => {
                let cause = format!("sent a message of type {:?}", char::from(other));
                return Err(down(resource).cause(cause));
            }
        }
    }
    Err(down(resource).cause("no ReadyForQuery among its first messages"))
}

/// Writes our part of the next step into `out`.
fn answer(
    asked: Authentication<'_>,
    proof: Proof,
    out: &mut BytesMut,
    resource: &Resource,
    account: &str,
    password: Option<&Secret>,
    encrypted: bool,
) -> Result<Proof, PublicError> {
    let secret = || {
        password.map(|password| password.reveal().as_bytes()).ok_or_else(|| {
            wrong_account(resource, account).cause("it asks for a password; none is set")
        })
    };
    match (asked, proof) {
        // A target that stops half-way through SCRAM has not shown that it knows the password.
        (Authentication::Ok, Proof::Scram(_)) => {
            Err(wrong_account(resource, account).cause("it skipped its own part of SCRAM"))
        }
        (Authentication::Ok, _) => Ok(Proof::Complete),
        (Authentication::CleartextPassword, Proof::None) if encrypted => {
            encode::password(out, secret()?);
            Ok(Proof::None)
        }
        (Authentication::CleartextPassword, Proof::None) => {
            Err(wrong_account(resource, account).cause("it asks for the password in clear"))
        }
        (Authentication::Md5Password(salt), Proof::None) => {
            encode::password(out, md5_hash(account.as_bytes(), secret()?, salt).as_bytes());
            Ok(Proof::None)
        }
        (Authentication::Sasl(mechanisms), Proof::None)
            if mechanisms.contains(&SCRAM_SHA_256.as_bytes()) =>
        {
            let scram = ScramSha256::new(secret()?, ChannelBinding::unsupported());
            encode::sasl_initial_response(out, SCRAM_SHA_256, scram.message());
            Ok(Proof::Scram(Box::new(scram)))
        }
        (Authentication::SaslContinue(data), Proof::Scram(mut scram)) => {
            scram.update(data).map_err(|error| wrong_account(resource, account).cause(error))?;
            encode::sasl_response(out, scram.message());
            Ok(Proof::Scram(scram))
        }
        (Authentication::SaslFinal(data), Proof::Scram(mut scram)) => {
            scram.finish(data).map_err(|error| wrong_account(resource, account).cause(error))?;
            Ok(Proof::Complete)
        }
        (other, _) => {
            let cause = format!("it asks for something that Loggia does not do: {other:?}");
            Err(wrong_account(resource, account).cause(cause))
        }
    }
}

/// The target's own refusal. What it says of database and load is for the client too; what it
/// says of the account is not, because the client does not sign in with it.
fn refused(resource: &Resource, account: &str, fields: &ErrorFields<'_>) -> PublicError {
    let said = String::from_utf8_lossy(fields.message).into_owned();
    let sqlstate = String::from_utf8_lossy(fields.sqlstate).into_owned();
    let cause = format!("{sqlstate}: {said}");
    match fields.sqlstate {
        [b'2', b'8', ..] => wrong_account(resource, account).cause(cause),
        b"3D000" => PublicError::new("unknown_database", Fault::Client, said)
            .hint("name another database: dbname=… in the connection string")
            .cause(cause),
        // Too many connections, starting up, shutting down.
        [b'5', b'3', ..] | [b'5', b'7', ..] => down(resource).detail(said).cause(cause),
        _ => PublicError::new(
            "target_refused",
            Fault::Target,
            format!("`{}` refused the session", resource.name),
        )
        .detail(said)
        .cause(cause),
    }
}

fn wrong_account(resource: &Resource, account: &str) -> PublicError {
    PublicError::new(
        "target_auth",
        Fault::Target,
        format!("`{}` did not let the gateway sign in as `{account}`", resource.name),
    )
    .hint(
        "an administrator checks the account's password and the target's pg_hba.conf; \
         `loggia doctor` on the gateway's machine tells more",
    )
}

async fn send(
    stream: &mut TargetStream,
    resource: &Resource,
    out: &mut BytesMut,
) -> Result<(), PublicError> {
    let lost = |error| down(resource).cause(error);
    stream.write_all(out).await.map_err(lost)?;
    stream.flush().await.map_err(lost)?;
    out.clear();
    Ok(())
}

/// The next message, whole.
async fn read_message(
    stream: &mut (impl AsyncRead + Unpin),
    buffer: &mut BytesMut,
) -> Result<Bytes, String> {
    loop {
        if let Some(field) = buffer.get(1..HEADER_BYTES).and_then(<[u8]>::first_chunk) {
            let whole = u32::from_be_bytes(*field) as usize + 1;
            if !(HEADER_BYTES..=MESSAGE_BYTES_MAX).contains(&whole) {
                return Err(format!("a message of {whole} bytes at sign-in"));
            }
            if buffer.len() >= whole {
                return Ok(buffer.split_to(whole).freeze());
            }
        }
        match stream.read_buf(buffer).await {
            Ok(0) => return Err("closed the connection at sign-in".to_owned()),
            Ok(_) => {}
            Err(error) => return Err(error.to_string()),
        }
    }
}
