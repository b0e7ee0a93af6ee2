//! PKCS#11 URIs (RFC 7512), as far as they name one key:
//!
//! ```text
//! pkcs11:token=NAME;object=LABEL?module-path=/usr/lib/…/module.so&pin-source=env:NAME
//! ```
//! `pin-source` is a reference, `env:NAME` or `file:PATH`. `pin-value` is refused: a URI stands in
//! files and in messages, a PIN in neither. What is not known is refused too, because a part that is
//! overlooked may be the one that tells two keys apart.

/// What a URI says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Pkcs11Uri {
    /// Label of the token.
    pub(super) token: Option<String>,
    /// Serial number of the token.
    pub(super) serial: Option<String>,
    /// Label of the key.
    pub(super) object: Option<String>,
    /// Id of the key.
    pub(super) id: Option<Vec<u8>>,
    /// The module, a shared library.
    pub(super) module: String,
    /// Where the PIN is; without it the token needs none.
    pub(super) pin_source: Option<String>,
}

impl Pkcs11Uri {
    /// Parses a URI.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let rest = text.strip_prefix("pkcs11:").ok_or("a PKCS#11 URI begins with `pkcs11:`")?;
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let mut uri = Self::default();
        let mut module = None;
        let parts = path.split(';').map(|part| (part, true));
        for (part, in_path) in parts.chain(query.split('&').map(|part| (part, false))) {
            if part.is_empty() {
                continue;
            }
            let (name, value) = part.split_once('=').ok_or("a part of the URI has no `=`")?;
            let bytes = decode(value)?;
            let text =
                || String::from_utf8(bytes.clone()).map_err(|_| format!("`{name}` is not UTF-8"));
            match (in_path, name) {
                (true, "token") => once(&mut uri.token, text()?, name)?,
                (true, "serial") => once(&mut uri.serial, text()?, name)?,
                (true, "object") => once(&mut uri.object, text()?, name)?,
                (true, "id") => once(&mut uri.id, bytes, name)?,
                (true, "type") if value == "private" => {}
                (false, "module-path") => once(&mut module, text()?, name)?,
                (false, "pin-source") => once(&mut uri.pin_source, text()?, name)?,
                (false, "pin-value") => {
                    return Err("a PIN does not stand in the URI: give pin-source=env:NAME or \
                                pin-source=file:PATH"
                        .to_owned());
                }
                _ => return Err(format!("`{name}` is not known here")),
            }
        }
        if uri.token.is_none() && uri.serial.is_none() {
            return Err("the URI names no token (`token` or `serial`)".to_owned());
        }
        if uri.object.is_none() && uri.id.is_none() {
            return Err("the URI names no key (`object` or `id`)".to_owned());
        }
        uri.module = module.ok_or("the URI names no module (`module-path`)")?;
        Ok(uri)
    }
}

fn once<T>(place: &mut Option<T>, value: T, name: &str) -> Result<(), String> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(format!("`{name}` stands twice")),
    }
}

/// Percent-decoding.
fn decode(value: &str) -> Result<Vec<u8>, String> {
    let mut decoded = Vec::with_capacity(value.len());
    let mut bytes = value.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
        let (high, low) = (digit(bytes.next()), digit(bytes.next()));
        let pair = high.zip(low).and_then(|(high, low)| u8::try_from(high * 16 + low).ok());
        decoded.push(pair.ok_or("`%` is followed by two hexadecimal digits")?);
    }
    Ok(decoded)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_uri_names_token_key_module_and_where_the_pin_is() {
        let text = "pkcs11:token=My%20HSM;object=log-e1;id=%01%ff;type=private\
                    ?module-path=/usr/lib/m.so&pin-source=file:/etc/pin";
        let uri = Pkcs11Uri {
            token: Some("My HSM".into()),
            serial: None,
            object: Some("log-e1".into()),
            id: Some(vec![1, 255]),
            module: "/usr/lib/m.so".into(),
            pin_source: Some("file:/etc/pin".into()),
        };
        assert_eq!(Pkcs11Uri::parse(text), Ok(uri));
    }

    #[test]
    fn what_is_missing_twice_unknown_or_secret_is_refused() {
        for (text, why) in [
            ("http://x", "begins with"),
            ("pkcs11:object=k?module-path=m", "no token"),
            ("pkcs11:token=t?module-path=m", "no key"),
            ("pkcs11:token=t;object=k", "no module"),
            ("pkcs11:token=t;object=k;object=l?module-path=m", "twice"),
            ("pkcs11:token=t;object=k;slot=1?module-path=m", "not known"),
            ("pkcs11:token=t;object=k;module-path=m", "not known"),
            ("pkcs11:token=t;object=k;type=public?module-path=m", "not known"),
            ("pkcs11:token=t;object?module-path=m", "no `=`"),
            ("pkcs11:token=%4;object=k?module-path=m", "hexadecimal"),
            ("pkcs11:token=%ff;object=k?module-path=m", "UTF-8"),
        ] {
            let error = Pkcs11Uri::parse(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
        let secret = Pkcs11Uri::parse("pkcs11:token=t;object=k?module-path=m&pin-value=1234");
        assert!(!secret.unwrap_err().contains("1234"));
    }

    proptest! {
        #[test]
        fn any_text_is_refused_or_names_a_key(text in "(pkcs11:)?[a-z0-9=;?&%:/-]{0,60}") {
            if let Ok(uri) = Pkcs11Uri::parse(&text) {
                prop_assert!(uri.object.is_some() || uri.id.is_some());
            }
        }

        #[test]
        fn any_label_comes_back(label in "\\PC{1,20}") {
            let encoded: String = label.bytes().map(|byte| format!("%{byte:02X}")).collect();
            let text = format!("pkcs11:token=t;object={encoded}?module-path=m");
            prop_assert_eq!(Pkcs11Uri::parse(&text).unwrap().object, Some(label));
        }
    }
}
