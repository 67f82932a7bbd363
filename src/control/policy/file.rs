//! The file of a live policy document: read whole, replaced whole.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

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

/// What is to replace a file, so that whoever looks sees the old or the new one, also after a crash: it is written beside the
/// file and forced to the disk, then renamed, and the directory forced to the disk. Dropped before that, it is removed.
#[derive(Debug)]
pub(super) struct Prepared {
    path: PathBuf,
    beside: Option<PathBuf>,
}

impl Prepared {
    /// Does everything that fails when a disk is full or a directory is not ours.
    ///
    /// # Errors
    /// Nothing has changed then.
    pub(super) fn new(path: &Path, text: &str) -> io::Result<Self> {
        // A link stays one: what it leads to is replaced.
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let prepared = Self { beside: Some(beside(&path)), path };
        write(&beside(&prepared.path), text)?;
        Ok(prepared)
    }

    /// Puts it in its place.
    ///
    /// # Errors
    /// Nothing has changed then.
    pub(super) fn commit(mut self) -> io::Result<()> {
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::rename(beside(&self.path), &self.path)?;
        self.beside = None;
        // The new name is there; that it stays after a crash is all this adds.
        File::open(folder).and_then(|folder| folder.sync_all())
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        if let Some(beside) = &self.beside {
            drop(fs::remove_file(beside));
        }
    }
}

/// A name in the same directory, the same each time: what a crash left behind is written over.
pub(super) fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    path.with_file_name(name)
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replace(path: &Path, text: &str) -> io::Result<()> {
        Prepared::new(path, text)?.commit()
    }

    struct Folder(PathBuf);

    impl Folder {
        fn new(test: &str) -> Self {
            let path = std::env::temp_dir().join(format!("ringgate-policy-{}-{test}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    #[test]
    fn a_file_is_replaced_whole_and_nothing_stays_beside_it() {
        let folder = Folder::new("replace");
        let path = folder.0.join("policy.json");
        assert_eq!(read(&path), Ok(None));
        assert_eq!(mark(&path), None);
        fs::write(folder.0.join("policy.json.new"), "left by a crash, and longer").unwrap();
        for text in ["one", "two"] {
            replace(&path, text).unwrap();
            assert_eq!(read(&path), Ok(Some(text.as_bytes().to_vec())));
        }
        let names: Vec<_> = fs::read_dir(&folder.0).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["policy.json"]);
        let before = mark(&path);
        replace(&path, "six").unwrap();
        assert_ne!(mark(&path), before, "another file of the same size");
    }

    #[test]
    fn a_link_goes_on_leading_to_the_file() {
        let folder = Folder::new("link");
        fs::write(folder.0.join("far.json"), "old").unwrap();
        let link = folder.0.join("policy.json");
        std::os::unix::fs::symlink("far.json", &link).unwrap();
        replace(&link, "new").unwrap();
        assert!(link.is_symlink());
        assert_eq!(fs::read(folder.0.join("far.json")).unwrap(), b"new");
    }

    #[test]
    fn what_cannot_be_written_changes_nothing() {
        let folder = Folder::new("refused");
        let path = folder.0.join("gone/policy.json");
        assert!(replace(&path, "new").is_err());
        // A directory of that name cannot be replaced by a file.
        let taken = folder.0.join("taken");
        fs::create_dir_all(taken.join("full")).unwrap();
        assert!(replace(&taken, "new").is_err());
        assert!(!folder.0.join("taken.new").exists());
        assert!(read(&taken).is_err());
    }

    #[test]
    fn a_full_disk_changes_nothing_and_leaves_nothing() {
        let folder = Folder::new("full");
        let path = folder.0.join("policy.json");
        replace(&path, "old").unwrap();
        // A device that takes nothing, as a disk without room does.
        std::os::unix::fs::symlink("/dev/full", beside(&path)).unwrap();
        let error = replace(&path, "new").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull, "{error}");
        assert_eq!((read(&path), beside(&path).symlink_metadata().is_ok()), (Ok(Some(b"old".to_vec())), false));
    }

    #[test]
    fn what_is_prepared_and_not_wanted_any_more_is_removed() {
        let folder = Folder::new("prepared");
        let path = folder.0.join("policy.json");
        drop(Prepared::new(&path, "one").unwrap());
        assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 0);
        let prepared = Prepared::new(&path, "two").unwrap();
        assert_eq!(read(&path), Ok(None), "not yet");
        prepared.commit().unwrap();
        assert_eq!(read(&path), Ok(Some(b"two".to_vec())));
    }
}
