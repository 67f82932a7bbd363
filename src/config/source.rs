//! Where files and environment variables come from.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::clock;

/// Everything that a configuration may read from outside.
pub trait Sources {
    /// The bytes of a file.
    ///
    /// # Errors
    /// As the file system reports them.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;

    /// The value of an environment variable; `None` when it is not set or is not UTF-8.
    fn env(&self, name: &str) -> Option<String>;

    /// The files that match a glob, in any order.
    fn glob(&self, pattern: &str) -> Vec<PathBuf>;

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

    fn glob(&self, pattern: &str) -> Vec<PathBuf> {
        let matches = glob::glob(pattern).into_iter().flatten();
        matches.filter_map(Result::ok).filter(|path| path.is_file()).collect()
    }

    fn mode(&self, path: &Path) -> Option<u32> {
        std::fs::metadata(path).ok().map(|found| found.permissions().mode())
    }
}
