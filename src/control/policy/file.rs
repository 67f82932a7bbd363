//! The file of a live policy document: read whole.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::document::BYTES_MAX;

/// What tells one state of a file from another: its device, inode, size and time of change.
pub(super) type Mark = (u64, u64, u64, i64, i64);

/// The state of a file, if it is there.
pub(super) fn mark(path: &Path) -> Option<Mark> {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino(), metadata.size(), metadata.mtime(), metadata.mtime_nsec()))
}

/// The bytes of a file; `None` when there is none. Of a large one no more than is needed to refuse it.
///
/// # Errors
/// It cannot be read.
pub(super) fn read(path: &Path) -> Result<Option<Vec<u8>>, String> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(BYTES_MAX as u64 + 1).read_to_end(&mut bytes));
    match read {
        Ok(_) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::disk::tests::{Folder, replace};

    #[test]
    fn another_file_of_the_same_size_has_another_mark() {
        let folder = Folder::new("mark");
        let path = folder.0.join("policy.json");
        assert_eq!((read(&path), mark(&path)), (Ok(None), None));
        replace(&path, "two").unwrap();
        assert_eq!(read(&path), Ok(Some(b"two".to_vec())));
        let before = mark(&path);
        replace(&path, "six").unwrap();
        assert_ne!(mark(&path), before);
        assert!(read(&folder.0).is_err(), "a directory is no file");
    }
}
