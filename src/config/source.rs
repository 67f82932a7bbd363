//! Where files and environment variables come from.

use std::io;
use std::path::{Path, PathBuf};

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
}
