//! Files that the gateway writes for good: replaced whole, so that whoever looks sees the old or the new one, also after
//! a crash.

use std::fs::{self, File, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};

/// What is to replace a file: it is written beside the file and forced to the disk, then renamed, and the directory forced to
/// the disk. Dropped before that, it is removed.
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
    pub(super) fn new(path: &Path, text: impl AsRef<[u8]>) -> io::Result<Self> {
        // A link stays one: what it leads to is replaced.
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let prepared = Self { beside: Some(beside(&path)), path };
        write(&beside(&prepared.path), &prepared.path, text.as_ref())?;
        Ok(prepared)
    }

    /// Puts it in its place.
    ///
    /// # Errors
    /// Nothing has changed then.
    pub(super) fn commit(self) -> io::Result<()> {
        self.commit_and(|folder| File::open(folder)?.sync_all())
    }

    /// The same, with what forces a directory to the disk.
    fn commit_and(mut self, force: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::rename(beside(&self.path), &self.path)?;
        self.beside = None;
        // That it stays after a crash is all this adds. It is in its place already, and an error would say that it is not.
        if let Err(error) = force(folder) {
            let file = self.path.display().to_string();
            tracing::warn!(file, %error, "its directory cannot be forced to the disk: a crash may bring the file of before back");
        }
        Ok(())
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

fn write(beside: &Path, path: &Path, text: &[u8]) -> io::Result<()> {
    let mut file = File::create(beside)?;
    // Whoever may read the old one may read the new one, and nobody else; from before there is anything to read.
    if let Ok(old) = fs::metadata(path)
        && file.metadata()?.is_file()
    {
        // Who is not allowed to give it away keeps it.
        drop(fchown(&file, Some(old.uid()), Some(old.gid())));
        file.set_permissions(Permissions::from_mode(old.mode() & 0o7777))?;
    }
    file.write_all(text)?;
    file.sync_all()
}

#[cfg(test)]
pub(super) mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A directory of a test.
    pub(in crate::control) struct Folder(pub(in crate::control) PathBuf);

    impl Folder {
        pub(in crate::control) fn new(test: &str) -> Self {
            let path = std::env::temp_dir().join(format!("ringgate-disk-{}-{test}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn names(&self) -> Vec<String> {
            let entries = fs::read_dir(&self.0).unwrap();
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    pub(in crate::control) fn replace(path: &Path, text: impl AsRef<[u8]>) -> io::Result<()> {
        Prepared::new(path, text)?.commit()
    }

    #[test]
    fn a_file_is_replaced_whole_and_nothing_stays_beside_it() {
        let folder = Folder::new("replace");
        let path = folder.0.join("policy.json");
        for text in ["one", "two"] {
            replace(&path, text).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        assert_eq!(folder.names(), ["policy.json"]);
    }

    #[test]
    fn what_a_crash_leaves_at_any_step_is_the_old_file_and_the_next_one_takes_its_place() {
        let folder = Folder::new("steps");
        let path = folder.0.join("gateway.yaml");
        for left in [None, Some(""), Some("ne"), Some("new"), Some("new, and longer than the next")] {
            fs::write(&path, "old").unwrap();
            if let Some(left) = left {
                fs::write(beside(&path), left).unwrap();
            }
            // A process that is killed here runs no destructor.
            std::mem::forget(Prepared::new(&path, "new").unwrap());
            assert_eq!(fs::read_to_string(&path).unwrap(), "old", "{left:?}");
            replace(&path, "next").unwrap();
            assert_eq!((fs::read_to_string(&path).unwrap(), folder.names().len()), ("next".to_owned(), 1), "{left:?}");
        }
    }

    #[test]
    fn what_is_prepared_and_not_wanted_any_more_is_removed() {
        let folder = Folder::new("prepared");
        let path = folder.0.join("policy.json");
        drop(Prepared::new(&path, "one").unwrap());
        assert_eq!(folder.names().len(), 0);
    }

    #[test]
    fn a_full_disk_changes_nothing_and_leaves_nothing() {
        let folder = Folder::new("full");
        let path = folder.0.join("policy.json");
        replace(&path, "old").unwrap();
        // A device that takes nothing, as a disk without room does.
        symlink("/dev/full", beside(&path)).unwrap();
        let error = replace(&path, "new").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull, "{error}");
        assert_eq!((fs::read_to_string(&path).unwrap(), folder.names().len()), ("old".to_owned(), 1));
    }

    #[test]
    fn a_link_goes_on_leading_to_the_file() {
        let folder = Folder::new("link");
        fs::write(folder.0.join("far.json"), "old").unwrap();
        let link = folder.0.join("policy.json");
        symlink("far.json", &link).unwrap();
        replace(&link, "new").unwrap();
        assert!(link.is_symlink());
        assert_eq!(fs::read(folder.0.join("far.json")).unwrap(), b"new");
    }

    #[test]
    fn who_may_read_the_file_stays() {
        let folder = Folder::new("mode");
        let path = folder.0.join("gateway.yaml");
        for mode in [0o600, 0o640, 0o664] {
            fs::write(&path, "old").unwrap();
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            replace(&path, "new").unwrap();
            assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, mode);
        }
    }

    #[test]
    fn a_directory_that_cannot_be_forced_to_the_disk_does_not_deny_what_is_in_its_place() {
        let folder = Folder::new("unforced");
        let path = folder.0.join("gateway.yaml");
        replace(&path, "old").unwrap();
        let committed = Prepared::new(&path, "new").unwrap().commit_and(|forced| {
            assert_eq!(forced, folder.0.canonicalize().unwrap());
            Err(io::ErrorKind::PermissionDenied.into())
        });
        assert!(committed.is_ok(), "{committed:?}");
        assert_eq!((fs::read_to_string(&path).unwrap(), folder.names().len()), ("new".to_owned(), 1));
    }

    #[test]
    fn what_cannot_be_written_changes_nothing() {
        let folder = Folder::new("refused");
        assert!(replace(&folder.0.join("gone/policy.json"), "new").is_err());
        // A directory of that name cannot be replaced by a file.
        let taken = folder.0.join("taken");
        fs::create_dir_all(taken.join("full")).unwrap();
        assert!(replace(&taken, "new").is_err());
        assert_eq!(folder.names(), ["taken"]);
    }
}
