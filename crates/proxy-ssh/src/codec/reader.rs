//! Reads the fields of a packet, in the encoding of RFC 4251 section 5.

use bytes::{Buf, Bytes};

/// What is left of a packet. Each reading takes from the front, or yields `None` and has no
/// defined rest.
#[derive(Debug)]
pub(super) struct Reader(Bytes);

impl Reader {
    /// Over the fields of a packet. What is read shares its memory.
    pub(super) fn new(fields: Bytes) -> Self {
        Self(fields)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.0.try_get_u32().ok()
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.0.try_get_u64().ok()
    }

    /// A length and so many bytes.
    pub(super) fn string(&mut self) -> Option<Bytes> {
        let length = usize::try_from(self.u32()?).ok()?;
        (length <= self.0.len()).then(|| self.0.split_to(length))
    }

    /// All that is left.
    pub(super) fn rest(self) -> Bytes {
        self.0
    }
}

/// The number at `at`, where there are four bytes.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let field = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_be_bytes(*field))
}

/// The number at `at`, where there are eight bytes.
pub(super) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    let field = bytes.get(at..)?.first_chunk()?;
    Some(u64::from_be_bytes(*field))
}
