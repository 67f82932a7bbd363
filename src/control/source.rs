//! Where a configuration comes from, and reading it off the control thread.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::body::Bytes;

use super::memory;
use crate::config::{self, Config, Disk, Leavings, Sources, Texts};

/// Where a configuration comes from.
#[derive(Clone)]
pub struct Source {
    path: Option<PathBuf>,
    sources: Arc<dyn Sources + Send + Sync>,
}

/// A valid configuration and the files it was read from.
#[derive(Debug, Clone)]
pub(super) struct Loaded {
    pub(super) config: Arc<Config>,
    pub(super) files: Vec<PathBuf>,
    /// As it was written.
    pub(super) texts: Texts,
    /// What is legal and hardly meant, a text each.
    warnings: Vec<String>,
}

impl Loaded {
    /// Logs what is hardly meant; once for a configuration that is put in force, not each time it is read.
    pub(super) fn warn(&self) {
        for warning in &self.warnings {
            tracing::warn!("{warning}");
        }
    }
}

impl Source {
    /// This file and what it includes, read from the disk.
    #[must_use]
    pub fn file(path: &Path) -> Self {
        Self::new(Some(path.to_owned()), Arc::new(Disk))
    }

    /// No file: the environment variables `LISTEN_ADDR` and `UPSTREAM_URL` make a gateway.
    #[must_use]
    pub fn environment() -> Self {
        Self::new(None, Arc::new(Disk))
    }

    /// A file, or none, with files and environment variables from elsewhere.
    #[must_use]
    pub fn new(path: Option<PathBuf>, sources: Arc<dyn Sources + Send + Sync>) -> Self {
        Self { path, sources }
    }

    /// The main file.
    pub(super) fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Where files and variables come from.
    pub(super) fn sources(&self) -> Arc<dyn Sources + Send + Sync> {
        Arc::clone(&self.sources)
    }

    /// The same with another text in the place of the main file.
    pub(super) fn with_main(&self, text: Bytes) -> Self {
        let path = self.path.clone();
        let over = Over { main: path.clone().unwrap_or_default(), text, under: self.sources() };
        Self { path, sources: Arc::new(over) }
    }

    /// Reads and checks everything on a thread of its own: a large configuration takes a while.
    ///
    /// # Errors
    /// The whole report.
    pub(super) async fn load(self) -> Result<Loaded, String> {
        let (loaded, leavings) = self.load_leaving().await;
        memory::drop_elsewhere(leavings);
        loaded
    }

    /// The same for whoever has better to do than to drop what is left of it.
    pub(super) async fn load_leaving(self) -> (Result<Loaded, String>, Leavings) {
        let reading = tokio::task::spawn_blocking(move || self.load_now()).await;
        reading.unwrap_or_else(|error| (Err(format!("reading the configuration failed: {error}")), Leavings::default()))
    }

    fn load_now(&self) -> (Result<Loaded, String>, Leavings) {
        let (loaded, leavings) = match &self.path {
            Some(path) => config::load_leaving(path, self.sources.as_ref()),
            None => (config::from_environment(self.sources.as_ref()), Leavings::default()),
        };
        let explained = |report: config::Report| report.to_string();
        let loaded = loaded.map_err(explained).map(|loaded| {
            let problems = loaded.warnings.problems.iter();
            let warnings = problems.map(|problem| problem.to_string().trim_end().to_owned()).collect();
            let config::Loaded { config, files, texts, .. } = loaded;
            Loaded { config: Arc::new(config), files, texts, warnings }
        });
        (loaded, leavings)
    }
}

/// A text that stands for a file.
struct Over {
    main: PathBuf,
    text: Bytes,
    under: Arc<dyn Sources + Send + Sync>,
}

impl Sources for Over {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        if path == self.main { Ok(self.text.to_vec()) } else { self.under.read(path) }
    }

    fn env(&self, name: &str) -> Option<String> {
        self.under.env(name)
    }

    fn glob(&self, pattern: &str) -> Result<Vec<PathBuf>, String> {
        self.under.glob(pattern)
    }

    fn mode(&self, path: &Path) -> Option<u32> {
        self.under.mode(path)
    }

    fn unix_s(&self) -> u64 {
        self.under.unix_s()
    }
}
