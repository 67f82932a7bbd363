//! A gateway that is killed at a step of its writing of one file.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::folder::Folder;
use super::process::binary;
use super::tool::runs;

/// What kills a process at a step, made in `folder`.
pub(crate) fn shim(folder: &Folder) -> PathBuf {
    let (source, shim) = (concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/crash.c"), folder.path("crash.so"));
    runs("cc", &["-shared", "-fPIC", "-O1", "-o", shim.to_str().expect("a path of text"), source, "-ldl"]);
    shim
}

/// A gateway on the configuration in `folder`, which is killed by `shim` at this point, from 1, of writing files whose
/// names hold `name`; beyond the last point it lives.
pub(crate) fn dies_at(shim: &Path, point: u32, name: &str, folder: &Folder) -> Command {
    let mut command = binary();
    command.arg("run").arg("-c").arg(folder.path("gateway.yaml")).current_dir(folder);
    // As the gateway names it: without a slash at its end.
    let inside = folder.path("").components().collect::<PathBuf>();
    command.env("LD_PRELOAD", shim).env("CRASH_AT", point.to_string()).env("CRASH_NAME", name).env("CRASH_IN", inside);
    command
}
