//! The contents of a bundle, or of the file of disclosures beside it.

use loggia_tlog::tile::{bundle_decode, open_decode};
use std::ops::Range;

/// The entries of a bundle or the disclosures beside it: bytes and where each item lies.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Items {
    bytes: Vec<u8>,
    places: Vec<Range<usize>>,
}

impl Items {
    /// The item at `position`, from 0; an absent disclosure is empty.
    pub fn get(&self, position: usize) -> Option<&[u8]> {
        self.bytes.get(self.places.get(position)?.clone())
    }

    /// Number of items.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// All items in order.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.places.iter().map(|place| self.bytes.get(place.clone()).unwrap_or_default())
    }

    /// The entries of a bundle `width` wide.
    ///
    /// # Errors
    /// What [`bundle_decode`] finds, in words.
    pub fn entries(bytes: Vec<u8>, width: u16) -> Result<Self, String> {
        match Self::entries_readable(bytes, width) {
            (items, None) => Ok(items),
            (_, Some(wrong)) => Err(wrong),
        }
    }

    /// The disclosures of `width` entries.
    ///
    /// # Errors
    /// What [`open_decode`] finds, in words.
    pub fn disclosures(bytes: Vec<u8>, width: u16) -> Result<Self, String> {
        let lengths: Vec<usize> = open_decode(&bytes, width)
            .map_err(|error| error.to_string())?
            .into_iter()
            .map(|disclosure| disclosure.map_or(0, <[u8]>::len))
            .collect();
        let mut end = 0;
        let place = |length: &usize| {
            let begin = end + 4;
            end = begin + length;
            begin..end
        };
        Ok(Self { places: lengths.iter().map(place).collect(), bytes })
    }

    /// As many absent disclosures.
    pub(super) fn absent(width: u16) -> Self {
        Self { bytes: Vec::new(), places: vec![0..0; width.into()] }
    }

    /// The entries of a bundle as far as they can be read, and what is wrong behind them.
    pub(crate) fn entries_readable(bytes: Vec<u8>, width: u16) -> (Self, Option<String>) {
        let mut places = Vec::with_capacity(width.into());
        let mut rest = bytes.as_slice();
        while places.len() < usize::from(width)
            && let Some((length, after)) = rest.split_first_chunk()
            && let length = usize::from(u16::from_be_bytes(*length))
            && let Some((_, behind)) = after.split_at_checked(length)
        {
            let end = bytes.len() - behind.len();
            places.push(end - length..end);
            rest = behind;
        }
        let whole = places.len() == usize::from(width) && rest.is_empty();
        let wrong = if whole { None } else { bundle_decode(&bytes, width).err() };
        (Self { places, bytes }, wrong.map(|error| error.to_string()))
    }

    /// The first `width` items.
    pub(crate) fn cut(mut self, width: u16) -> Self {
        self.places.truncate(width.into());
        self
    }
}
