//! What compiling a configuration needs beside it, and what must outlive any one configuration.

use super::resolve;
use super::series::RouteSeries;
use crate::cluster::EndpointRegistry;
use crate::config::Config;
use crate::snapshot::{self, Resolved, Snapshot};

/// Identities of endpoints, series of routes, and the last addresses of names.
#[derive(Default)]
pub(super) struct Tables {
    registry: EndpointRegistry,
    series: RouteSeries,
    resolved: Resolved,
}

impl Tables {
    /// Resolves the names of `config` and compiles it as `epoch` for `workers` workers.
    ///
    /// # Errors
    /// Every name without an address, or what the compiler refuses; follow neither by [`Tables::on_published`].
    pub(super) async fn compile(&mut self, config: &Config, epoch: u64, workers: usize) -> Result<Snapshot, String> {
        let resolved = resolve::resolve(config, &self.resolved).await.map_err(|all| all.join("\n"))?;
        match snapshot::compile(config, epoch, workers, &mut self.registry, &resolved) {
            Ok(mut snapshot) => {
                for route in &mut snapshot.routes {
                    route.series = self.series.slot(&route.name);
                }
                self.resolved = resolved;
                Ok(snapshot)
            }
            Err(error) => {
                self.registry.on_rejected(epoch);
                Err(error.to_string())
            }
        }
    }

    /// Told that the snapshot of `epoch` is in force.
    pub(super) fn on_published(&mut self, epoch: u64) {
        self.registry.on_published(epoch);
    }

    /// Told that the snapshot of `epoch` was given up after it was compiled.
    pub(super) fn on_rejected(&mut self, epoch: u64) {
        self.registry.on_rejected(epoch);
    }

    /// Told that no worker uses an epoch before `oldest`.
    pub(super) fn retire(&mut self, oldest: u64) {
        self.registry.retire(oldest);
    }

    /// Route names by series slot.
    pub(super) fn series_names(&self) -> Vec<String> {
        self.series.names().to_vec()
    }
}
