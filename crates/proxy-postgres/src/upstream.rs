//! The leg to the target: connects, secures, signs in with the account that the permit names.
//!
//! The handshake is the gateway's own. Of what the client sent, only start-up settings go along;
//! user, database and replication are set here.

mod sign_in;
mod stream;
mod tls;

#[cfg(test)]
mod tests;

pub use stream::TargetStream;
pub use tls::TargetTls;

use crate::codec::encode;
use crate::codec::startup::{CancelKey, Start};
use bytes::{Bytes, BytesMut};
use loggia_gate::Dial;
use loggia_model::resource::{Resource, UpstreamTls};
use loggia_model::{Fault, PublicError, Secret};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

/// What the target said when it let us in.
#[derive(Debug, Default)]
pub struct Greeting {
    /// Its settings: name and value, in order.
    pub parameters: Vec<(Bytes, Bytes)>,
    /// The key to cancel what runs; some poolers give none.
    pub key: Option<CancelKey>,
    /// Notices, framed as they came.
    pub notices: BytesMut,
    /// What came behind the first ReadyForQuery already.
    pub rest: BytesMut,
}

/// Reaches the target of a permit and signs in, within `wait_max` in all.
pub async fn dial(
    dial: &Dial,
    start: &Start,
    replication: Option<&[u8]>,
    password: Option<&Secret>,
    tls: &TargetTls,
    wait_max: Duration,
) -> Result<(TargetStream, Greeting), PublicError> {
    let deadline = Instant::now() + wait_max;
    let permit = dial.permit();
    let resource = permit.resource();
    let mut stream = connect(resource, tls, deadline).await?;
    let account = &permit.account().name;
    let start = start_for(start, account, permit.database(), replication);
    let signing_in = sign_in::sign_in(&mut stream, resource, &start, account, password);
    let greeting =
        timeout_at(deadline, signing_in).await.unwrap_or_else(|_late| Err(late(resource)))?;
    Ok((stream, greeting))
}

/// The client's start-up settings with our account and database.
fn start_for(
    start: &Start,
    account: &str,
    database: Option<&str>,
    replication: Option<&[u8]>,
) -> Start {
    let ours: &[&[u8]] = &[b"user", b"database", b"replication"];
    let text = |text: &str| Bytes::copy_from_slice(text.as_bytes());
    let mut parameters = vec![(Bytes::from_static(b"user"), text(account))];
    parameters.extend(database.map(|name| (Bytes::from_static(b"database"), text(name))));
    parameters.extend(
        replication.map(|mode| (Bytes::from_static(b"replication"), Bytes::copy_from_slice(mode))),
    );
    let theirs = start
        .parameters
        .iter()
        .filter(|(name, _)| !ours.contains(&name.as_ref()) && !name.starts_with(b"_pq_."));
    parameters.extend(theirs.cloned());
    Start { minor: 0, parameters }
}

/// Connects and secures the connection as the resource says; nothing is said yet.
pub async fn connect(
    resource: &Resource,
    tls: &TargetTls,
    deadline: Instant,
) -> Result<TargetStream, PublicError> {
    let connecting = TcpStream::connect((resource.host.as_str(), resource.port));
    let socket = timeout_at(deadline, connecting)
        .await
        .map_err(|_late| late(resource))?
        .map_err(|error| down(resource).cause(error))?;
    socket.set_nodelay(true).map_err(|error| down(resource).cause(error))?;
    if resource.tls == UpstreamTls::Off {
        return Ok(TargetStream::Plain(socket));
    }
    timeout_at(deadline, secure(socket, resource, tls))
        .await
        .unwrap_or_else(|_late| Err(late(resource)))
}

async fn secure(
    mut socket: TcpStream,
    resource: &Resource,
    tls: &TargetTls,
) -> Result<TargetStream, PublicError> {
    let lost = |error: std::io::Error| down(resource).cause(error);
    let mut request = BytesMut::new();
    encode::ssl_request(&mut request);
    socket.write_all(&request).await.map_err(lost)?;
    // One byte and no more: what came behind it in clear must not be taken for the target's word.
    match socket.read_u8().await.map_err(lost)? {
        b'S' => {}
        b'N' => return Err(untrusted(resource).detail("the target does not speak TLS")),
        other => {
            return Err(down(resource).cause(format!("answered {other:#x} to a request for TLS")));
        }
    }
    let (connector, name) = tls.connector(resource).await?;
    let stream = connector
        .connect(name, socket)
        .await
        .map_err(|error| untrusted(resource).detail(tls_detail(&error)).cause(error))?;
    Ok(TargetStream::Tls(Box::new(stream)))
}

/// The part of a TLS error that helps who set the resource up and tells a stranger nothing new.
fn tls_detail(error: &std::io::Error) -> String {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(why)) => format!("its certificate: {why}"),
        Some(_) => "the TLS handshake failed".to_owned(),
        None => "the connection broke in the TLS handshake".to_owned(),
    }
}

/// Sends a cancel request of its own connection and waits until the target has closed it, which
/// it does once the request is carried out.
pub async fn cancel(
    dial: &Dial,
    request: loggia_gate::Recorded,
    tls: &TargetTls,
    wait_max: Duration,
) -> Result<(), PublicError> {
    let deadline = Instant::now() + wait_max;
    let resource = dial.permit().resource();
    let stream = connect(resource, tls, deadline).await?;
    let (mut reader, writer) = tokio::io::split(stream);
    let mut writer = loggia_gate::TargetWriter::new(writer, dial);
    writer.queue(request).map_err(|error| down(resource).cause(error))?;
    let asking = async {
        writer.write_all().await?;
        let mut nothing = [0; 1];
        // A server that closes without a TLS goodbye has carried the request out all the same.
        let _ = reader.read(&mut nothing).await;
        std::io::Result::Ok(())
    };
    timeout_at(deadline, asking)
        .await
        .map_err(|_late| late(resource))?
        .map_err(|error| down(resource).cause(error))
}

fn down(resource: &Resource) -> PublicError {
    PublicError::new(
        "target_down",
        Fault::Target,
        format!("`{}` cannot be reached from the gateway", resource.name),
    )
    .hint("is it up? `loggia doctor` on the gateway's machine tells more")
    .retry()
}

fn late(resource: &Resource) -> PublicError {
    PublicError::new(
        "target_down",
        Fault::Target,
        format!("`{}` did not answer the gateway in time", resource.name),
    )
    .hint("is it up? `loggia doctor` on the gateway's machine tells more")
    .retry()
}

fn untrusted(resource: &Resource) -> PublicError {
    PublicError::new(
        "target_tls",
        Fault::Target,
        format!("`{}` did not prove that it is the right server", resource.name),
    )
    .hint(
        "an administrator sets `ca_file` of the resource to the authority of its certificate, \
         and `host` to the name in it; `loggia doctor` on the gateway's machine tells more",
    )
}
