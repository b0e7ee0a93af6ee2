//! Files to be transferred, with their SHA-256.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::Path;

use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};

const MIB: usize = 1 << 20;

/// Writes `mib` MiB that do not compress and differ in every block; returns their SHA-256 in
/// hexadecimal. The same seed gives the same bytes.
pub fn write_payload(path: &Path, mib: usize, seed: u64) -> Result<String> {
    let mut file = File::create(path).with_context(|| format!("making {}", path.display()))?;
    let mut hash = Sha256::new();
    let mut block = noise(seed);
    for number in 0..mib as u64 {
        for (place, byte) in block.iter_mut().zip(number.to_be_bytes()) {
            *place = byte;
        }
        hash.update(&block);
        file.write_all(&block).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(hex::encode(hash.finalize()))
}

/// A MiB that looks random (xorshift).
fn noise(seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut block = Vec::with_capacity(MIB);
    while block.len() < MIB {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        block.extend_from_slice(&state.to_le_bytes());
    }
    block
}

/// The SHA-256 of a file, in hexadecimal.
pub fn sha256_of(path: &Path) -> Result<String> {
    let mut file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
    let mut hash = Sha256::new();
    let mut block = vec![0; MIB];
    loop {
        let read = file.read(&mut block).with_context(|| format!("reading {}", path.display()))?;
        match block.get(..read) {
            None | Some([]) => return Ok(hex::encode(hash.finalize())),
            Some(bytes) => hash.update(bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::folder::Workspace;

    #[test]
    fn a_payload_has_its_size_and_its_hash() {
        let workspace = Workspace::new("payload-test").unwrap();
        let path = workspace.join("payload");
        let hash = write_payload(&path, 3, 7).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 3 << 20);
        assert_eq!(sha256_of(&path).unwrap(), hash);
        assert_ne!(write_payload(&path, 3, 8).unwrap(), hash);
    }
}
