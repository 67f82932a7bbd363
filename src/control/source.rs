//! Where a configuration comes from, and reading it off the control thread.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::{self, Config, Disk, Sources};

/// Where a configuration comes from.
#[derive(Clone)]
pub struct Source {
    path: Option<PathBuf>,
    sources: Arc<dyn Sources + Send + Sync>,
}

/// A valid configuration and the files it was read from.
#[derive(Debug, Clone)]
pub(super) struct Loaded {
    pub(super) config: Config,
    pub(super) files: Vec<PathBuf>,
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

    /// Reads and checks everything on a thread of its own: a large configuration takes a while.
    ///
    /// # Errors
    /// The whole report.
    pub(super) async fn load(self) -> Result<Loaded, String> {
        let reading = tokio::task::spawn_blocking(move || self.load_now());
        reading.await.map_err(|error| format!("reading the configuration failed: {error}"))?
    }

    fn load_now(&self) -> Result<Loaded, String> {
        let loaded = match &self.path {
            Some(path) => config::load(path, self.sources.as_ref()),
            None => config::from_environment(self.sources.as_ref()),
        };
        match loaded {
            Ok(loaded) => {
                let problems = loaded.warnings.problems.iter();
                let warnings = problems.map(|problem| problem.to_string().trim_end().to_owned()).collect();
                Ok(Loaded { config: loaded.config, files: loaded.files, warnings })
            }
            Err(report) => Err(report.to_string()),
        }
    }
}
