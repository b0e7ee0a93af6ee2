//! The log's key in a PKCS#11 token: it is made there, and never leaves it.
//!
//! A session that breaks is opened anew with the next signature. The module itself is loaded once
//! for the life of the process; one that has to be initialised again wants a start of the gateway.

use super::uri::Pkcs11Uri;
use super::{KeyStore, LogSigner, SignError};
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11 as Module};
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::eddsa::{EddsaParams, EddsaSignatureScheme};
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::types::AuthPin;
use loggia_tlog::VerifierKey;
use loggia_tlog::note::{KeyKind, Signature};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use zeroize::Zeroizing;

/// Ed25519 as the parameters of a curve: its object identifier (RFC 8410), and its name, which
/// older tokens want instead.
const CURVES: [&[u8]; 2] = [&[0x06, 0x03, 0x2b, 0x65, 0x70], b"\x13\x0cedwards25519"];

/// Modules of this process. A module can be initialised only once in it.
static MODULES: Mutex<BTreeMap<String, Module>> = Mutex::new(BTreeMap::new());

/// Reads the PIN behind a reference; says why where it cannot be had.
pub type ReadPin = dyn Fn(&str) -> Result<Zeroizing<String>, String> + Send + Sync;

/// Keys in PKCS#11 tokens.
pub struct Pkcs11 {
    pin: Arc<ReadPin>,
}

impl Pkcs11 {
    /// PINs are read by `pin` at each login.
    pub fn new(pin: Arc<ReadPin>) -> Self {
        Self { pin }
    }

    fn place(&self, uri: &str) -> Result<Place, SignError> {
        let uri = Pkcs11Uri::parse(uri).map_err(SignError::Refused)?;
        Ok(Place { uri, pin: Arc::clone(&self.pin) })
    }
}

impl KeyStore for Pkcs11 {
    fn open(&self, key: &VerifierKey, uri: &str) -> Result<Arc<dyn LogSigner>, SignError> {
        let place = self.place(uri)?;
        let open = place.open()?.ok_or_else(|| refused("the token holds no such key"))?;
        if open.public != key.public_key() {
            return Err(refused("the key in the token is another than the one that is named"));
        }
        Ok(Arc::new(TokenSigner { place, key: key.clone(), open: Mutex::new(Some(open)) }))
    }

    fn open_or_make(&self, name: &str, uri: &str) -> Result<Arc<dyn LogSigner>, SignError> {
        let place = self.place(uri)?;
        let open = match place.open()? {
            Some(open) => open,
            None => place.make()?,
        };
        let key = VerifierKey::new(name, KeyKind::Ed25519, &open.public)?;
        Ok(Arc::new(TokenSigner { place, key, open: Mutex::new(Some(open)) }))
    }
}

fn refused(why: impl Into<String>) -> SignError {
    SignError::Refused(why.into())
}

fn failed(doing: &str) -> impl Fn(Error) -> SignError + '_ {
    move |error| refused(format!("{doing}: {error}"))
}

/// Where a key lies, and how to get in.
struct Place {
    uri: Pkcs11Uri,
    pin: Arc<ReadPin>,
}

/// A key in an open session.
struct Open {
    session: Session,
    private: ObjectHandle,
    /// 32 bytes.
    public: Vec<u8>,
}

impl Place {
    /// The key; `None` where the token has none of this name.
    fn open(&self) -> Result<Option<Open>, SignError> {
        let session = self.session()?;
        let Some(private) = self.find(&session, ObjectClass::PRIVATE_KEY)? else {
            return Ok(None);
        };
        let public = self.find(&session, ObjectClass::PUBLIC_KEY)?;
        let public = public.ok_or_else(|| refused("the token does not have its public half"))?;
        let public = public_key(&session, public)?;
        Ok(Some(Open { session, private, public }))
    }

    /// A session in which the key can be used.
    fn session(&self) -> Result<Session, SignError> {
        let module = module(&self.uri.module)?;
        let slots = module.get_slots_with_token().map_err(failed("looking for tokens"))?;
        let mut found = None;
        for slot in slots {
            let info = module.get_token_info(slot).map_err(failed("looking at a token"))?;
            let is = |wanted: &Option<String>, found: &str| {
                wanted.as_ref().is_none_or(|wanted| wanted == found.trim_end())
            };
            if is(&self.uri.token, info.label())
                && is(&self.uri.serial, info.serial_number())
                && found.replace(slot).is_some()
            {
                return Err(refused("two tokens are named like that; give `serial` too"));
            }
        }
        let slot = found.ok_or_else(|| refused("no token is named like that"))?;
        let session = module.open_rw_session(slot).map_err(failed("opening a session"))?;
        if let Some(source) = &self.uri.pin_source {
            let pin = (self.pin)(source).map_err(|why| refused(format!("the PIN: {why}")))?;
            let pin = AuthPin::new(pin.as_str().into());
            match session.login(UserType::User, Some(&pin)) {
                // Sessions of one process share the login.
                Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => {}
                Err(error) => return Err(failed("logging in")(error)),
            }
        }
        Ok(session)
    }

    fn names(&self) -> Vec<Attribute> {
        let label = self.uri.object.as_ref().map(|label| Attribute::Label(label.clone().into()));
        label.into_iter().chain(self.uri.id.clone().map(Attribute::Id)).collect()
    }

    fn find(
        &self,
        session: &Session,
        class: ObjectClass,
    ) -> Result<Option<ObjectHandle>, SignError> {
        let mut wanted = self.names();
        wanted.extend([Attribute::Class(class), Attribute::KeyType(KeyType::EC_EDWARDS)]);
        let found = session.find_objects(&wanted).map_err(failed("looking for the key"))?;
        match found.as_slice() {
            [] => Ok(None),
            [one] => Ok(Some(*one)),
            _ => Err(refused("several keys are named like that; give `id` too")),
        }
    }

    /// Makes the key in the token, where it cannot be taken out of.
    fn make(&self) -> Result<Open, SignError> {
        let session = self.session()?;
        let mut names = self.names();
        if self.uri.id.is_none() {
            // Programs that go by ids need one that both halves share.
            names.extend(self.uri.object.as_ref().map(|label| Attribute::Id(label.clone().into())));
        }
        let mut private = names.clone();
        private.extend([
            Attribute::Token(true),
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
            Attribute::Sign(true),
        ]);
        let mut made = Err(refused("the token makes no keys on Ed25519"));
        for curve in CURVES {
            let mut public = names.clone();
            public.extend([
                Attribute::Token(true),
                Attribute::Private(false),
                Attribute::Verify(true),
                Attribute::EcParams(curve.to_vec()),
            ]);
            let mechanism = Mechanism::EccEdwardsKeyPairGen;
            made = session
                .generate_key_pair(&mechanism, &public, &private)
                .map_err(failed("making the key"));
            if made.is_ok() {
                break;
            }
        }
        let (public, private) = made?;
        let public = public_key(&session, public)?;
        Ok(Open { session, private, public })
    }
}

fn module(path: &str) -> Result<Module, SignError> {
    let mut modules = MODULES.lock();
    if let Some(module) = modules.get(path) {
        return Ok(module.clone());
    }
    let module = Module::new(path).map_err(failed("loading the module"))?;
    match module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
        Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
        Err(error) => return Err(failed("initialising the module")(error)),
    }
    modules.insert(path.to_owned(), module.clone());
    Ok(module)
}

/// The public key behind a handle: 32 bytes, in a DER octet string or as they are.
fn public_key(session: &Session, public: ObjectHandle) -> Result<Vec<u8>, SignError> {
    let read = session.get_attributes(public, &[AttributeType::EcPoint]);
    let point = match read.map_err(failed("reading the public key"))?.pop() {
        Some(Attribute::EcPoint(point)) => point,
        _ => return Err(refused("the public key cannot be read")),
    };
    let bare = point.strip_prefix(&[0x04, 32]).filter(|bare| bare.len() == 32);
    match bare.unwrap_or(&point) {
        bare if bare.len() == 32 => Ok(bare.to_vec()),
        _ => Err(refused("the public key is not one of Ed25519")),
    }
}

/// A key that signs in its token.
struct TokenSigner {
    place: Place,
    key: VerifierKey,
    open: Mutex<Option<Open>>,
}

impl LogSigner for TokenSigner {
    fn verifier(&self) -> &VerifierKey {
        &self.key
    }

    fn sign(&self, text: &str) -> Result<Signature, SignError> {
        let mut slot = self.open.lock();
        let open = match slot.take() {
            Some(open) => open,
            None => self.place.open()?.ok_or_else(|| refused("the token holds no such key"))?,
        };
        if open.public != self.key.public_key() {
            return Err(refused("the key in the token is another than before"));
        }
        let mechanism = Mechanism::Eddsa(EddsaParams::new(EddsaSignatureScheme::Pure));
        let signed = open.session.sign(&mechanism, open.private, text.as_bytes());
        // After a failure the session is opened anew.
        let bytes = signed.map_err(failed("signing"))?;
        *slot = Some(open);
        Ok(Signature::new(&self.key, bytes)?)
    }
}
