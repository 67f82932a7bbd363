//! Where files and environment variables come from.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::clock;

/// What makes a pattern of a path.
pub(super) const WILDCARDS: [char; 3] = ['*', '?', '['];

/// Everything that a configuration may read from outside.
pub trait Sources {
    /// The bytes of a file.
    ///
    /// # Errors
    /// As the file system reports them.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;

    /// The value of an environment variable; `None` when it is not set or is not UTF-8.
    fn env(&self, name: &str) -> Option<String>;

    /// The files that match a glob, in any order; none where there is no such directory.
    ///
    /// # Errors
    /// Why it is no glob, or which directory cannot be read, or cannot be looked into.
    fn glob(&self, pattern: &str) -> Result<Vec<PathBuf>, String>;

    /// Who may do what with a file, in the bits of chmod(2); `None` where that is not known.
    fn mode(&self, _path: &Path) -> Option<u32> {
        None
    }

    /// Seconds since 1970, to tell an expired certificate.
    fn unix_s(&self) -> u64 {
        clock::unix_ms() / 1_000
    }
}

/// The real file system and environment.
#[derive(Debug, Clone, Copy, Default)]
pub struct Disk;

impl Sources for Disk {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        std::fs::read(path)
    }

    fn env(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn glob(&self, pattern: &str) -> Result<Vec<PathBuf>, String> {
        let unreadable = |path: &Path, error: &io::Error| format!("cannot read `{}`: {error}", path.display());
        let matches = glob::glob(pattern).map_err(|error| error.msg.to_owned())?;
        // The crate takes a directory that may not be entered for one that is not there.
        let leading = Path::new(".").join(leading_directory(pattern));
        match std::fs::read_dir(&leading) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(unreadable(leading_directory(pattern), &error)),
            Ok(_) => {}
        }
        if let Some((path, error)) = shut_directory(pattern) {
            return Err(unreadable(&path, &error));
        }
        let mut files = Vec::new();
        for path in matches {
            let path = path.map_err(|error| unreadable(error.path(), error.error()))?;
            // What cannot be looked at is kept: whoever reads it learns why.
            let is_kept = std::fs::metadata(&path).map_or_else(|_| !is_lock(&path), |found| found.is_file());
            if is_kept {
                files.push(path);
            }
        }
        Ok(files)
    }

    fn mode(&self, path: &Path) -> Option<u32> {
        std::fs::metadata(path).ok().map(|found| found.permissions().mode())
    }
}

/// A directory that a component with a wildcard matches, and that what follows cannot be looked up in; one that is gone or no
/// directory has nothing that could be.
fn shut_directory(pattern: &str) -> Option<(PathBuf, io::Error)> {
    let first = pattern.find(WILDCARDS)?;
    let ends = pattern.match_indices('/').map(|(at, _)| at).filter(|at| *at > first);
    let mut directories = ends.filter_map(|end| glob::glob(&pattern[..end]).ok()).flatten().flatten();
    directories.find_map(|path| match std::fs::metadata(path.join(".")) {
        Err(error) if !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Some((path, error))
        }
        Ok(_) | Err(_) => None,
    })
}

/// What of a glob comes before the component with its first wildcard.
fn leading_directory(pattern: &str) -> &Path {
    let wildcard = pattern.find(WILDCARDS).unwrap_or(pattern.len());
    Path::new(pattern[..wildcard].rfind('/').map_or("", |slash| &pattern[..=slash]))
}

/// Whether an editor keeps others from a file by this: Emacs makes a link `.#NAME` to nowhere beside NAME.
fn is_lock(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".#"))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    /// A directory that is gone with its test.
    struct Directory(PathBuf);

    impl Directory {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("ringgate-source-{name}-{}", std::process::id()));
            fs::create_dir_all(path.join("conf.d")).unwrap();
            Self(path)
        }

        /// What a glob in it matches, by names.
        fn glob(&self, pattern: &str) -> Result<Vec<String>, String> {
            let found = Disk.glob(&format!("{}/{pattern}", self.0.display()))?;
            Ok(found.iter().map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect())
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            drop(fs::remove_dir_all(&self.0));
        }
    }

    #[test]
    fn a_glob_matches_files_and_what_only_a_reader_can_tell_of() {
        let directory = Directory::new("matches");
        let path = |name: &str| directory.0.join("conf.d").join(name);
        fs::write(path("a.yaml"), "").unwrap();
        fs::create_dir(path("b.yaml")).unwrap();
        symlink("nowhere", path("c.yaml")).unwrap();
        symlink("me@here.1:2", path(".#a.yaml")).unwrap();
        assert_eq!(directory.glob("conf.d/*.yaml").unwrap(), ["a.yaml", "c.yaml"]);
    }

    #[test]
    fn only_a_directory_that_is_not_there_matches_nothing() {
        let directory = Directory::new("nothing");
        fs::write(directory.0.join("file"), "").unwrap();
        for nothing in ["conf.d/*.yaml", "more.d/*.yaml", "*.yaml", "more.d/*/conf.d/*.yaml"] {
            assert_eq!(directory.glob(nothing), Ok(Vec::new()), "{nothing}");
        }
        let error = directory.glob("file/*.yaml").unwrap_err();
        assert!(error.contains("/file/`: Not a directory"), "{error}");
        assert!(directory.glob("conf.d/**.yaml").unwrap_err().contains("recursive wildcards"));
        assert!(directory.glob("conf.d/[a/b].yaml").is_err());
    }

    /// Here links that lead in a circle, as no right keeps root from a directory.
    #[test]
    fn a_directory_behind_a_wildcard_that_is_shut_is_named() {
        let directory = Directory::new("shut");
        let path = |name: &str| directory.0.join("conf.d").join(name);
        for site in ["a/conf", "b"] {
            fs::create_dir_all(path(site)).unwrap();
        }
        fs::write(path("a/site.yaml"), "").unwrap();
        fs::write(path("a/conf/more.yaml"), "").unwrap();
        fs::write(path("notes"), "").unwrap();
        symlink("nowhere", path("gone")).unwrap();
        symlink("me@here.1:2", path(".#a")).unwrap();
        let patterns = ["conf.d/*/site.yaml", "conf.d/*/*.yaml", "conf.d/*/conf/*.yaml", "conf.d/a/*/more.yaml"];
        for (pattern, found) in patterns.iter().zip(["site.yaml", "site.yaml", "more.yaml", "more.yaml"]) {
            assert_eq!(directory.glob(pattern), Ok(vec![found.to_owned()]), "{pattern}");
        }
        symlink("circle", path("circle")).unwrap();
        for pattern in &patterns[..3] {
            let error = directory.glob(pattern).unwrap_err();
            assert!(error.contains("conf.d/circle`: Too many levels"), "{pattern}: {error}");
        }
        assert_eq!(directory.glob(patterns[3]), Ok(vec!["more.yaml".to_owned()]), "it is not asked for");
        symlink("circle", path("a/circle")).unwrap();
        let error = directory.glob(patterns[3]).unwrap_err();
        assert!(error.contains("conf.d/a/circle`: Too many levels"), "{error}");
    }

    #[test]
    fn a_glob_leads_to_the_directory_before_its_first_wildcard() {
        for (pattern, leading) in [("/etc/a/*.yaml", "/etc/a/"), ("a/b?/c/*", "a/"), ("*.yaml", ""), ("/[ab]/c", "/")] {
            assert_eq!(leading_directory(pattern), Path::new(leading));
        }
    }
}
