//! What of the watched directories is of interest; the disk is asked where files are followed, never where events are judged:
//! whoever changes a directory still has it locked when that is told.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use super::way::way;

/// What happened to a file that is of interest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// It is there as it is to be: written and closed, or put in its place.
    Whole,
    /// It, or one beside it, may be about to change further.
    Part,
}

/// What is told of a name in a watched directory.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Told {
    /// Written and closed, or put in its place.
    pub(super) is_whole: bool,
    /// It is a directory.
    pub(super) is_directory: bool,
}

/// Logs are written in these directories as well, our own among them, and a gateway that reads its configuration anew for
/// each line that it writes would never rest.
#[derive(Debug, Default)]
pub(super) struct Scope {
    /// The files, each link on the way to one, and where a way ends early the name that is missing.
    places: BTreeSet<PathBuf>,
    /// Extensions of the files: another one of its kind may be one that an `include` takes in.
    extensions: BTreeSet<Option<OsString>>,
    /// Files that the gateway writes itself.
    own: BTreeSet<PathBuf>,
}

impl Scope {
    /// Is about these files from now on, and about others of their kind unless they stand `alone`.
    pub(super) fn follow(&mut self, files: &[PathBuf], alone: bool) {
        self.places = files.iter().flat_map(|file| way(file)).collect();
        let kinds = files.iter().filter(|_| !alone).map(|file| file.extension().map(OsStr::to_owned));
        self.extensions = kinds.collect();
    }

    /// The directories where a change on the way to a file shows, as the kernel names them: without a link.
    pub(super) fn directories(&self) -> BTreeSet<PathBuf> {
        self.places.iter().filter_map(|place| Some(place.parent()?.to_owned())).collect()
    }

    /// Is not about these files.
    pub(super) fn ignore(&mut self, own: impl IntoIterator<Item = PathBuf>) {
        let with_folder_s_place = |file: PathBuf| {
            let file = std::path::absolute(&file).unwrap_or(file);
            let folder = file.parent().and_then(|folder| folder.canonicalize().ok());
            let place = folder.zip(file.file_name()).map(|(folder, name)| folder.join(name));
            [Some(file), place]
        };
        self.own = own.into_iter().flat_map(with_folder_s_place).flatten().collect();
    }

    /// What a change of `path` is; `None` unless it is about one of the files, a link on the way to one, another of their
    /// kind, or a directory, which may be one that an `include` looks into.
    pub(super) fn change_of(&self, path: &Path, told: Told) -> Option<Change> {
        if self.places.contains(path) {
            return Some(if told.is_whole { Change::Whole } else { Change::Part });
        }
        let is_kindred = || self.extensions.contains(&path.extension().map(OsStr::to_owned));
        (!self.own.contains(path) && (told.is_directory || is_kindred())).then_some(Change::Part)
    }
}
