//! `ringgate dump`.

use std::path::Path;

use super::{ConfigFile, Error, print};
use crate::config::{self, Disk};

/// Prints the configuration that a gateway would run by, as one file: what is included in its place, variables replaced,
/// and what was left out filled in. References to secrets stay references, and passwords in URLs are not shown.
#[derive(Debug, clap::Args)]
pub(super) struct Dump {
    #[command(flatten)]
    file: ConfigFile,
    /// Behind each value, where it comes from: a file and its line, a variable of the environment, or the default.
    #[arg(long)]
    effective: bool,
    /// As JSON, with the origins beside the configuration.
    #[arg(long)]
    json: bool,
}

impl Dump {
    pub(super) fn run(self) -> Result<(), Error> {
        let loaded = config::load(&self.file.path, &Disk).map_err(|report| Error::Config(report.to_string()))?;
        // Warnings would be no YAML, and `check` prints them.
        let root = std::env::current_dir().unwrap_or_else(|_| Path::new("/").to_owned());
        let effective = loaded.texts.effective(&Disk, &root);
        let text = match self.json {
            true if self.effective => format!("{:#}\n", effective.to_json()),
            true => format!("{:#}\n", effective.to_json()["config"]),
            false => effective.to_yaml(self.effective),
        };
        print(text);
        Ok(())
    }
}
