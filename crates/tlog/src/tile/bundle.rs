//! Contents of tiles, of bundles of entries, and of the disclosures beside them.

use alloc::vec::Vec;

use thiserror::Error;

use super::TILE_WIDTH;
use crate::hash::{HASH_BYTES, Hash};

/// Longest entry that fits in a bundle, in bytes.
pub const MAX_ENTRY_BYTES: usize = u16::MAX as usize;

/// Why the content of a tile, a bundle or a file of disclosures is malformed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BundleError {
    /// Not 1 to 256 items.
    #[error("a tile holds 1 to 256 items, not {found}")]
    Count {
        /// How many were given.
        found: usize,
    },
    /// An entry longer than [`MAX_ENTRY_BYTES`].
    #[error("entry {position} is {len} bytes long; at most {MAX_ENTRY_BYTES} fit")]
    EntryTooLong {
        /// Position in the bundle, from 0.
        position: usize,
        /// Its length in bytes.
        len: usize,
    },
    /// A disclosure that is present and empty, which would read as absent, or one
    /// of 2^32 bytes and more.
    #[error("disclosure {position} is {len} bytes long; 1 to 2^32 - 1 fit")]
    DisclosureLength {
        /// Position in the file, from 0.
        position: usize,
        /// Its length in bytes.
        len: usize,
    },
    /// The bytes end within item `position`.
    #[error("the content ends within item {position} of {width}")]
    Truncated {
        /// Position of the item that is cut, from 0.
        position: usize,
        /// How many items there should be.
        width: u16,
    },
    /// Bytes follow the last item.
    #[error("{extra} bytes follow the last item")]
    TrailingBytes {
        /// How many.
        extra: usize,
    },
}

/// Bytes of a tile of 1 to 256 hashes.
///
/// # Errors
/// [`BundleError::Count`].
pub fn tile_encode(hashes: &[Hash]) -> Result<Vec<u8>, BundleError> {
    check_count(hashes.len())?;
    Ok(hashes.iter().flat_map(|hash| hash.0).collect())
}

/// Hashes of a tile that is `width` wide; the length must be exactly `width * 32`.
///
/// # Errors
/// [`BundleError::Count`], [`BundleError::Truncated`], [`BundleError::TrailingBytes`].
pub fn tile_decode(bytes: &[u8], width: u16) -> Result<Vec<Hash>, BundleError> {
    check_count(width.into())?;
    let (hashes, rest) = bytes.as_chunks::<HASH_BYTES>();
    if hashes.len() < width.into() {
        return Err(BundleError::Truncated { position: hashes.len(), width });
    }
    let expected = usize::from(width) * HASH_BYTES;
    if bytes.len() > expected || !rest.is_empty() {
        return Err(BundleError::TrailingBytes { extra: bytes.len() - expected });
    }
    Ok(hashes.iter().copied().map(Hash).collect())
}

/// A bundle of 1 to 256 entries: for each `u16 BE length | bytes`.
///
/// # Errors
/// [`BundleError::Count`], [`BundleError::EntryTooLong`].
pub fn bundle_encode<E: AsRef<[u8]>>(entries: &[E]) -> Result<Vec<u8>, BundleError> {
    check_count(entries.len())?;
    let total: usize = entries.iter().map(|entry| 2 + entry.as_ref().len()).sum();
    let mut bytes = Vec::with_capacity(total);
    for (position, entry) in entries.iter().enumerate() {
        let entry = entry.as_ref();
        let len = u16::try_from(entry.len())
            .map_err(|_| BundleError::EntryTooLong { position, len: entry.len() })?;
        bytes.extend_from_slice(&len.to_be_bytes());
        bytes.extend_from_slice(entry);
    }
    Ok(bytes)
}

/// Entries of a bundle that holds exactly `width` of them and nothing after.
///
/// # Errors
/// [`BundleError::Count`], [`BundleError::Truncated`], [`BundleError::TrailingBytes`].
pub fn bundle_decode(bytes: &[u8], width: u16) -> Result<Vec<&[u8]>, BundleError> {
    check_count(width.into())?;
    let mut rest = bytes;
    let mut entries = Vec::with_capacity(width.into());
    for position in 0..width.into() {
        let truncated = BundleError::Truncated { position, width };
        let (len, after) = rest.split_first_chunk().ok_or(truncated)?;
        let len = usize::from(u16::from_be_bytes(*len));
        let (entry, after) = after.split_at_checked(len).ok_or(truncated)?;
        entries.push(entry);
        rest = after;
    }
    nothing_after(rest)?;
    Ok(entries)
}

/// The disclosures of 1 to 256 entries: for each `u32 BE length | bytes`, length 0
/// where there is none or it was erased. Not part of the tree: a verifier of the log
/// does not need them.
///
/// # Errors
/// [`BundleError::Count`], [`BundleError::DisclosureLength`].
pub fn open_encode<D: AsRef<[u8]>>(disclosures: &[Option<D>]) -> Result<Vec<u8>, BundleError> {
    check_count(disclosures.len())?;
    let length = |one: &Option<D>| 4 + one.as_ref().map_or(0, |one| one.as_ref().len());
    let mut bytes = Vec::with_capacity(disclosures.iter().map(length).sum());
    for (position, disclosure) in disclosures.iter().enumerate() {
        let disclosure = disclosure.as_ref().map(AsRef::as_ref);
        let content: &[u8] = disclosure.unwrap_or_default();
        let malformed = BundleError::DisclosureLength { position, len: content.len() };
        if disclosure.is_some_and(<[u8]>::is_empty) {
            return Err(malformed);
        }
        let len = u32::try_from(content.len()).map_err(|_| malformed)?;
        bytes.extend_from_slice(&len.to_be_bytes());
        bytes.extend_from_slice(content);
    }
    Ok(bytes)
}

/// Disclosures of exactly `width` entries, `None` where there is none.
///
/// # Errors
/// [`BundleError::Count`], [`BundleError::Truncated`], [`BundleError::TrailingBytes`].
pub fn open_decode(bytes: &[u8], width: u16) -> Result<Vec<Option<&[u8]>>, BundleError> {
    check_count(width.into())?;
    let mut rest = bytes;
    let mut disclosures = Vec::with_capacity(width.into());
    for position in 0..width.into() {
        let truncated = BundleError::Truncated { position, width };
        let (len, after) = rest.split_first_chunk().ok_or(truncated)?;
        let len = usize::try_from(u32::from_be_bytes(*len)).map_err(|_| truncated)?;
        let (content, after) = after.split_at_checked(len).ok_or(truncated)?;
        disclosures.push((len > 0).then_some(content));
        rest = after;
    }
    nothing_after(rest)?;
    Ok(disclosures)
}

fn check_count(found: usize) -> Result<(), BundleError> {
    if found == 0 || found > usize::from(TILE_WIDTH) {
        return Err(BundleError::Count { found });
    }
    Ok(())
}

fn nothing_after(rest: &[u8]) -> Result<(), BundleError> {
    if rest.is_empty() {
        return Ok(());
    }
    Err(BundleError::TrailingBytes { extra: rest.len() })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn limits_of_a_bundle() {
        let none: [&[u8]; 0] = [];
        assert_eq!(bundle_encode(&none), Err(BundleError::Count { found: 0 }));
        assert_eq!(bundle_encode(&vec![b""; 257]), Err(BundleError::Count { found: 257 }));
        assert!(bundle_encode(&[vec![0; 65_535]]).is_ok());
        assert_eq!(
            bundle_encode(&[vec![], vec![0; 65_536]]),
            Err(BundleError::EntryTooLong { position: 1, len: 65_536 })
        );
        assert_eq!(bundle_decode(&[], 0), Err(BundleError::Count { found: 0 }));
        assert_eq!(bundle_decode(&[], 257), Err(BundleError::Count { found: 257 }));
    }

    #[test]
    fn bytes_of_a_bundle() {
        let bytes = bundle_encode(&[b"ab".as_slice(), b"", b"c"]).unwrap();
        assert_eq!(bytes, b"\0\x02ab\0\0\0\x01c");
        assert_eq!(bundle_decode(&bytes, 3).unwrap(), [b"ab".as_slice(), b"", b"c"]);
        assert_eq!(bundle_decode(&bytes, 2), Err(BundleError::TrailingBytes { extra: 3 }));
        assert_eq!(bundle_decode(&bytes, 4), Err(BundleError::Truncated { position: 3, width: 4 }));
        for cut in 0..bytes.len() {
            assert!(matches!(bundle_decode(&bytes[..cut], 3), Err(BundleError::Truncated { .. })));
        }
    }

    #[test]
    fn bytes_of_disclosures() {
        let bytes = open_encode(&[Some(b"ab".as_slice()), None]).unwrap();
        assert_eq!(bytes, b"\0\0\0\x02ab\0\0\0\0");
        assert_eq!(open_decode(&bytes, 2).unwrap(), [Some(b"ab".as_slice()), None]);
        assert_eq!(open_decode(&bytes, 1), Err(BundleError::TrailingBytes { extra: 4 }));
        assert_eq!(
            open_encode(&[Some(b"")]),
            Err(BundleError::DisclosureLength { position: 0, len: 0 })
        );
        // A length far beyond the file allocates nothing and is an error.
        assert_eq!(
            open_decode(&[0xff, 0xff, 0xff, 0xff, 1], 1),
            Err(BundleError::Truncated { position: 0, width: 1 })
        );
    }

    #[test]
    fn length_of_a_tile() {
        let hashes = [Hash([1; 32]), Hash([2; 32])];
        let bytes = tile_encode(&hashes).unwrap();
        assert_eq!(tile_decode(&bytes, 2).unwrap(), hashes);
        assert_eq!(tile_decode(&bytes, 1), Err(BundleError::TrailingBytes { extra: 32 }));
        assert_eq!(tile_decode(&bytes[..63], 1), Err(BundleError::TrailingBytes { extra: 31 }));
        assert_eq!(
            tile_decode(&bytes[..63], 2),
            Err(BundleError::Truncated { position: 1, width: 2 })
        );
        assert_eq!(tile_encode(&[]), Err(BundleError::Count { found: 0 }));
    }

    proptest! {
        #[test]
        fn bundles_round_trip(entries in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..=256)) {
            let bytes = bundle_encode(&entries).unwrap();
            let width = u16::try_from(entries.len()).unwrap();
            prop_assert_eq!(bundle_decode(&bytes, width).unwrap(), entries);
        }

        #[test]
        fn disclosures_round_trip(
            open in prop::collection::vec(prop::option::of(prop::collection::vec(any::<u8>(), 1..40)), 1..=256),
        ) {
            let bytes = open_encode(&open).unwrap();
            let width = u16::try_from(open.len()).unwrap();
            let decoded = open_decode(&bytes, width).unwrap();
            prop_assert_eq!(decoded, open.iter().map(Option::as_deref).collect::<Vec<_>>());
        }

        #[test]
        fn decoding_any_bytes_gives_them_back_or_an_error(
            bytes in prop::collection::vec(0_u8..4, 0..200),
            width in 0_u16..300,
        ) {
            if let Ok(entries) = bundle_decode(&bytes, width) {
                prop_assert_eq!(bundle_encode(&entries).unwrap(), bytes.clone());
            }
            if let Ok(open) = open_decode(&bytes, width) {
                prop_assert_eq!(open_encode(&open).unwrap(), bytes.clone());
            }
            if let Ok(hashes) = tile_decode(&bytes, width) {
                prop_assert_eq!(tile_encode(&hashes).unwrap(), bytes);
            }
        }
    }
}
