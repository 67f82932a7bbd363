//! What of the watched directories is of interest; asks the disk only what a path is.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// What happened to a file that is of interest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// It is there as it is to be: written and closed, or put in its place.
    Whole,
    /// It, or one beside it, may be about to change further.
    Part,
}

/// Logs are written in these directories as well, our own among them, and a gateway that reads its configuration anew for
/// each line that it writes would never rest.
#[derive(Debug, Default)]
pub(super) struct Scope {
    files: BTreeSet<PathBuf>,
    /// Extensions of the files: another one of its kind may be one that an `include` takes in.
    extensions: BTreeSet<Option<OsString>>,
    /// Files that the gateway writes itself.
    own: BTreeSet<PathBuf>,
}

impl Scope {
    /// Is about these files from now on.
    pub(super) fn follow(&mut self, files: &[PathBuf]) {
        self.files = files.iter().flat_map(|file| places(file)).collect();
        self.extensions = files.iter().map(|file| file.extension().map(OsStr::to_owned)).collect();
    }

    /// Is not about these files.
    pub(super) fn ignore(&mut self, own: impl IntoIterator<Item = PathBuf>) {
        let with_folder_s_place = |file: PathBuf| {
            let file = absolute(&file);
            let folder = file.parent().and_then(|folder| folder.canonicalize().ok());
            let place = folder.zip(file.file_name()).map(|(folder, name)| folder.join(name));
            [Some(file), place]
        };
        self.own = own.into_iter().flat_map(with_folder_s_place).flatten().collect();
    }

    /// What a change of `path` is, that may have made it whole; `None` unless it is about one of the files, one of their
    /// kind, or anything that is no plain file: links and directories on the way to one.
    pub(super) fn change_of(&self, path: &Path, is_whole: bool) -> Option<Change> {
        let is_file = self.files.contains(path);
        let is_kindred = || self.extensions.contains(&path.extension().map(OsStr::to_owned));
        let kind = || path.symlink_metadata().ok().map(|metadata| metadata.file_type());
        if !is_file && self.own.contains(path) {
            return None;
        }
        if is_file && is_whole {
            return Some(Change::Whole);
        }
        if is_file || is_kindred() {
            return Some(Change::Part);
        }
        match kind() {
            Some(kind) if kind.is_file() => None,
            // A link that leads elsewhere now changes everything at once.
            Some(kind) if kind.is_symlink() && is_whole => Some(Change::Whole),
            // What is gone may have been anything.
            _ => Some(Change::Part),
        }
    }
}

/// The directories where a change of one of `files` shows: its own, and that of the file a link leads to.
pub(super) fn directories(files: &[PathBuf]) -> BTreeSet<PathBuf> {
    files.iter().flat_map(|file| places(file)).filter_map(|file| Some(file.parent()?.to_owned())).collect()
}

/// Where a file is looked for, and where it is.
fn places(file: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    [Some(absolute(file)), file.canonicalize().ok()].into_iter().flatten()
}

/// The path from the root, links left as they are.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}
