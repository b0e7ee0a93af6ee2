//! The values of an event and their one text form.
//!
//! The form equals RFC 8785 (JSON Canonicalization Scheme) by construction, because the values
//! are chosen so that it is easy: objects with ASCII keys in ascending order, strings, booleans,
//! arrays and integers within ±(2^53-1). No floats, no null; absent means not given.
//! Bytes that are not UTF-8 are the object `{"b64":"…"}` (RFC 4648 section 4, padded).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

/// The largest integer that every JSON reader keeps exactly: 2^53-1 (RFC 7493 section 2.2).
pub const INTEGER_MAX: i64 = (1 << 53) - 1;

/// An object: keys in ascending order, each once.
pub type Object = BTreeMap<Cow<'static, str>, Value>;

/// One value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A string.
    Str(String),
    /// An integer within ±(2^53-1).
    Int(i64),
    /// A boolean.
    Bool(bool),
    /// An array.
    Array(Vec<Value>),
    /// An object.
    Object(Object),
}

impl Value {
    /// Text as it was typed or received: a string where it is UTF-8, else `{"b64":"…"}`.
    pub fn text(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Str(text.to_owned()),
            Err(_) => {
                let mut object = Object::new();
                object.insert(Cow::Borrowed("b64"), Self::Str(STANDARD.encode(bytes)));
                Self::Object(object)
            }
        }
    }

    /// A count or size. Saturates at 2^53-1, which no counter of ours reaches in a lifetime.
    pub fn count(count: u64) -> Self {
        Self::Int(i64::try_from(count).unwrap_or(INTEGER_MAX).min(INTEGER_MAX))
    }

    /// An object of the given members.
    pub fn object<const N: usize>(members: [(&'static str, Value); N]) -> Self {
        Self::Object(members.into_iter().map(|(key, value)| (Cow::Borrowed(key), value)).collect())
    }

    /// The string, where it is one.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Str(text) => Some(text),
            _ => None,
        }
    }

    /// The integer, where it is one.
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Self::Int(number) => Some(*number),
            _ => None,
        }
    }

    /// The object, where it is one.
    pub fn as_object(&self) -> Option<&Object> {
        match self {
            Self::Object(object) => Some(object),
            _ => None,
        }
    }

    /// The member `key` of an object.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.as_object().and_then(|object| object.get(key))
    }

    /// The value at an RFC 6901 pointer without array steps, such as `/detail/text`.
    pub fn at(&self, pointer: &str) -> Option<&Value> {
        let mut here = self;
        for step in pointer.strip_prefix('/')?.split('/') {
            here = here.get(step)?;
        }
        Some(here)
    }

    /// What a person reads: a string as it is, anything else in its canonical form.
    pub fn display(&self) -> Cow<'_, str> {
        match self {
            Self::Str(text) => Cow::Borrowed(text),
            other => Cow::Owned(String::from_utf8_lossy(&other.to_bytes()).into_owned()),
        }
    }

    /// Appends the canonical form.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Str(text) => write_string(text, out),
            Self::Int(number) => write_int(*number, out),
            Self::Bool(true) => out.extend_from_slice(b"true"),
            Self::Bool(false) => out.extend_from_slice(b"false"),
            Self::Array(items) => {
                out.push(b'[');
                for (place, item) in items.iter().enumerate() {
                    if place > 0 {
                        out.push(b',');
                    }
                    item.write(out);
                }
                out.push(b']');
            }
            Self::Object(object) => write_object(object, out),
        }
    }

    /// The canonical form.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        self.write(&mut out);
        out
    }

    /// Reads a canonical form, strictly: other whitespace, escapes, key order, number forms,
    /// doubled keys, floats and null are refused.
    pub fn parse(bytes: &[u8]) -> Result<Self, ValueError> {
        let value: Self =
            serde_json::from_slice(bytes).map_err(|error| ValueError::Json(error.to_string()))?;
        // A value has one form only, so whatever was written in another form shows here.
        let mut form = Vec::with_capacity(bytes.len());
        value.write(&mut form);
        if form == bytes { Ok(value) } else { Err(ValueError::NotCanonical) }
    }
}

/// Why bytes are not a value in canonical form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// Not JSON, or JSON with something that an event never has.
    #[error("not the JSON of an event: {0}")]
    Json(String),
    /// The right content in another form than RFC 8785's.
    #[error("the JSON is not in canonical form (RFC 8785)")]
    NotCanonical,
}

/// Appends an object in canonical form.
pub fn write_object(object: &Object, out: &mut Vec<u8>) {
    out.push(b'{');
    for (place, (key, value)) in object.iter().enumerate() {
        if place > 0 {
            out.push(b',');
        }
        write_string(key, out);
        out.push(b':');
        value.write(out);
    }
    out.push(b'}');
}

/// Appends an integer in decimal.
pub fn write_int(number: i64, out: &mut Vec<u8>) {
    // Twenty digits hold any i64; filled from the end.
    let mut digits = [0u8; 20];
    let mut rest = number.unsigned_abs();
    let mut used = 0;
    for slot in digits.iter_mut().rev() {
        *slot = b'0' + (rest % 10) as u8;
        rest /= 10;
        used += 1;
        if rest == 0 {
            break;
        }
    }
    if number < 0 {
        out.push(b'-');
    }
    out.extend(digits.iter().skip(20 - used));
}

/// Appends a string in quotes, escaped as RFC 8785 section 3.2.2.2 says.
pub fn write_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let bytes = text.as_bytes();
    // Most strings need no escape. Without an early end this is done many bytes at a time.
    let escapes = bytes
        .iter()
        .fold(false, |any, byte| any | (*byte < 0x20) | (*byte == b'"') | (*byte == b'\\'));
    if !escapes {
        out.extend_from_slice(bytes);
        out.push(b'"');
        return;
    }
    let mut clean_from = 0;
    for (place, byte) in bytes.iter().enumerate() {
        let escape: &[u8] = match byte {
            b'"' => b"\\\"",
            b'\\' => b"\\\\",
            0x08 => b"\\b",
            0x09 => b"\\t",
            0x0a => b"\\n",
            0x0c => b"\\f",
            0x0d => b"\\r",
            0x00..=0x1f => b"",
            _ => continue,
        };
        out.extend_from_slice(bytes.get(clean_from..place).unwrap_or_default());
        if escape.is_empty() {
            out.extend_from_slice(b"\\u00");
            out.push(if *byte >= 0x10 { b'1' } else { b'0' });
            let low = byte & 0xf;
            out.push(if low < 10 { b'0' + low } else { b'a' + low - 10 });
        } else {
            out.extend_from_slice(escape);
        }
        clean_from = place + 1;
    }
    out.extend_from_slice(bytes.get(clean_from..).unwrap_or_default());
    out.push(b'"');
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Str(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Str(text)
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Self::Bool(flag)
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self::Int(i64::from(number))
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::count(number)
    }
}

impl From<Vec<Value>> for Value {
    fn from(items: Vec<Value>) -> Self {
        Self::Array(items)
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string, an integer within 2^53-1, a boolean, an array or an object")
    }

    fn visit_bool<E: de::Error>(self, flag: bool) -> Result<Value, E> {
        Ok(Value::Bool(flag))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Value, E> {
        if number.unsigned_abs() > INTEGER_MAX.unsigned_abs() {
            return Err(E::custom("an integer beyond 2^53-1"));
        }
        Ok(Value::Int(number))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Value, E> {
        let number = i64::try_from(number).map_err(|_| E::custom("an integer beyond 2^53-1"))?;
        self.visit_i64(number)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Str(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(item) = items.next_element()? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Object::new();
        while let Some((Key(key), value)) = members.next_entry::<Key, Value>()? {
            if object.insert(key, value).is_some() {
                return Err(de::Error::custom("a key that stands twice"));
            }
        }
        Ok(Value::Object(object))
    }
}

/// A member's name. Those that stand in nearly every event are not copied: reading an entry
/// would spend a good part of its time on them.
struct Key(Cow<'static, str>);

/// Names of members, ascending.
const FREQUENT_KEYS: [&str; 26] = [
    "/detail/text",
    "actor",
    "boot",
    "bytes",
    "context",
    "detail",
    "duration_us",
    "effects",
    "id",
    "kind",
    "node",
    "of",
    "outcome",
    "parameters",
    "prepared",
    "prev",
    "rows",
    "sealed",
    "seed",
    "seq",
    "session",
    "status",
    "tag",
    "time_us",
    "v",
    "values",
];

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(KeyVisitor)
    }
}

struct KeyVisitor;

impl Visitor<'_> for KeyVisitor {
    type Value = Key;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an ASCII key")
    }

    fn visit_str<E: de::Error>(self, key: &str) -> Result<Key, E> {
        if !key.is_ascii() {
            return Err(E::custom("a key that is not ASCII"));
        }
        let frequent = FREQUENT_KEYS.binary_search(&key).ok();
        Ok(Key(match frequent.and_then(|place| FREQUENT_KEYS.get(place)) {
            Some(known) => Cow::Borrowed(*known),
            None => Cow::Owned(key.to_owned()),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn frequent_keys_are_found_by_their_order() {
        assert!(FREQUENT_KEYS.is_sorted());
        let read = Value::parse(b"{\"id\":\"x\",\"idle\":1}").unwrap();
        let keys: Vec<_> = read.as_object().unwrap().keys().collect();
        assert!(
            matches!(keys.as_slice(), [Cow::Borrowed("id"), Cow::Owned(idle)] if idle == "idle")
        );
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<String>().prop_map(Value::Str),
            (-INTEGER_MAX..=INTEGER_MAX).prop_map(Value::Int),
            any::<bool>().prop_map(Value::Bool),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::Array),
                proptest::collection::btree_map("[ -~]{0,9}".prop_map(Cow::Owned), inner, 0..6)
                    .prop_map(Value::Object),
            ]
        })
    }

    proptest! {
        #[test]
        fn the_form_equals_an_independent_canonicaliser(value in values()) {
            let ours = value.to_bytes();
            let read: serde_json::Value = serde_json::from_slice(&ours).unwrap();
            prop_assert_eq!(&ours, &serde_json_canonicalizer::to_vec(&read).unwrap());
            prop_assert_eq!(Value::parse(&ours).unwrap(), value);
        }

        #[test]
        fn any_bytes_are_refused_or_equal_their_own_form(bytes in any::<Vec<u8>>()) {
            if let Ok(value) = Value::parse(&bytes) {
                prop_assert_eq!(value.to_bytes(), bytes);
            }
        }
    }

    #[test]
    fn other_forms_of_the_same_content_are_refused() {
        for other in [
            r#"{"b":1,"a":2}"#,
            r#"{"a":1,"a":1}"#,
            r#"{"a": 1}"#,
            r#"{"a":1.0}"#,
            r#"{"a":1e3}"#,
            r#"{"a":null}"#,
            r#"{"a":9007199254740992}"#,
            r#"{"a":-9223372036854775808}"#,
            "{\"a\":\"\\u0041\"}",
            r#"{"a":1} "#,
            r#"{"é":1}"#,
        ] {
            assert!(Value::parse(other.as_bytes()).is_err(), "{other}");
        }
    }

    #[test]
    fn bytes_that_are_not_text_are_base64_and_saturated_counts_stay_exact() {
        assert_eq!(Value::text(b"ok"), Value::Str("ok".into()));
        assert_eq!(Value::text(&[0xff, 0x00]).to_bytes(), br#"{"b64":"/wA="}"#);
        assert_eq!(Value::count(u64::MAX), Value::Int(INTEGER_MAX));
        assert_eq!(Value::object([("a", Value::Bool(true))]).at("/a"), Some(&Value::Bool(true)));
    }
}
