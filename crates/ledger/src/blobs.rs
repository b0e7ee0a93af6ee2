//! Sealed values that are too large for a disclosure: one file each, named by the commitment.
//!
//! A blob is durable before the event that commits to it is stamped. A crash in between leaves a
//! file that no event names, which does no harm. Blobs are rare (values over 64 KiB), so each is
//! synced by itself.

use crate::disk::is_full;
use crate::shared::Shared;
use loggia_model::port::AppendError;
use loggia_model::seal::Blob;

/// Makes the blobs of one event durable.
pub(crate) fn keep(shared: &Shared, blobs: &[Blob]) -> Result<(), AppendError> {
    let folder = shared.layout.blobs();
    for blob in blobs {
        let path = folder.join(&blob.name);
        match shared.disk.replace(&path, &blob.bytes) {
            Ok(()) => {}
            Err(error) if is_full(&error) => {
                let _ = shared.disk.remove(&path.with_extension("new"));
                return Err(AppendError::Paused("no room on the disk"));
            }
            Err(error) => {
                let why = format!("{}: {error}", path.display());
                shared.fatal(&why);
                return Err(AppendError::Closed(why));
            }
        }
    }
    Ok(())
}
