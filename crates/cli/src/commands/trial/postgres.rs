//! The database of a trial, from the URL that `psql` takes.

use crate::environment;
use crate::fail::{Done, Fail};
use loggia_model::Secret;
use loggia_server::trial::{Kind, Target};

/// Reads `postgres://USER[:PASSWORD]@HOST[:PORT]/DATABASE[?…]`.
pub(super) fn target(url: &str) -> Done<Target> {
    let wrong = || {
        Fail::usage("the database is given as postgres://USER[:PASSWORD]@HOST[:PORT]/DATABASE")
            .hint("for example: loggia try postgres://app@localhost/shop; a host: ssh://USER@HOST")
    };
    let parsed = url::Url::parse(url).map_err(|_| wrong())?;
    if !matches!(parsed.scheme(), "postgres" | "postgresql") || parsed.username().is_empty() {
        return Err(wrong());
    }
    let decode =
        |text: &str| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
    let host = parsed.host_str().ok_or_else(wrong)?.trim_matches(['[', ']']).to_owned();
    let user = decode(parsed.username());
    let database = decode(parsed.path().trim_start_matches('/'));
    let option = |name: &str| {
        parsed.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
    };
    let ca_file = option("sslrootcert");
    let tls = match option("sslmode").as_deref() {
        Some("disable") => "off",
        Some("verify-full") => "verify-full",
        Some("require") => "unverified",
        Some(other) => {
            return Err(Fail::usage(format!("sslmode={other} is not known here"))
                .hint("use disable, require or verify-full"));
        }
        // A database on this very machine is mostly without TLS; anything else must prove itself.
        None if is_loopback(&host) && ca_file.is_none() => "off",
        None => "verify-full",
    };
    let password = parsed.password().map(decode).or_else(environment::pgpassword).map(Secret::new);
    let database = if database.is_empty() { user.clone() } else { database };
    let kind = Kind::Postgres { password, database, tls: tls.to_owned(), ca_file };
    Ok(Target { user, host, port: parsed.port().unwrap_or(5432), kind })
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_reads_as_psql_reads_it_and_remote_targets_must_prove_themselves() {
        let of = |url: &str| {
            let target = target(url).unwrap();
            let Kind::Postgres { password, tls, .. } = target.kind else { panic!("no database") };
            (target.port, tls, password.map(|it| it.reveal().to_owned()))
        };
        let local = of("postgres://app:p%40ss@localhost/shop");
        assert_eq!(local, (5432, "off".to_owned(), Some("p@ss".to_owned())));
        let (port, tls, _) = of("postgresql://app@db.example:6432/shop");
        assert_eq!((port, tls.as_str()), (6432, "verify-full"));
        assert!(target("mysql://x@y/z").is_err());
        assert!(target("postgres://localhost/shop").is_err(), "nobody is anonymous");
    }
}
