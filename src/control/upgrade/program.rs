//! Which program an upgrade starts: what lies on the disk where this one was started from.

use std::env;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// A program and how it is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::control) struct Program {
    /// Where it lies.
    pub(super) path: PathBuf,
    /// Its name for itself.
    pub(super) name: OsString,
    /// What follows.
    pub(super) arguments: Vec<OsString>,
}

impl Program {
    /// This process as it was started; to be asked for before its file is replaced, of which the kernel then only knows
    /// that it is deleted.
    pub(in crate::control) fn of_this_process() -> Option<Self> {
        let mut arguments = env::args_os();
        let name = arguments.next()?;
        let running = env::current_exe().ok()?;
        let folders = env::var_os("PATH").unwrap_or_default();
        let path = locate(&name, &env::current_dir().ok()?, &folders, &running);
        Some(Self { path, name, arguments: arguments.collect() })
    }
}

/// The path that `name` was found by, which may be a symbolic link that the next release moves; where that cannot be
/// told, the running file's own.
fn locate(name: &OsStr, here: &Path, folders: &OsStr, running: &Path) -> PathBuf {
    let candidates = if name.as_encoded_bytes().contains(&b'/') {
        vec![here.join(name)]
    } else {
        env::split_paths(folders).map(|folder| here.join(folder).join(name)).collect()
    };
    let is_running = |path: &PathBuf| path.canonicalize().is_ok_and(|path| path == running);
    candidates.into_iter().find(is_running).unwrap_or_else(|| running.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_looked_for_where_it_was_called() {
        let folder = env::temp_dir().canonicalize().unwrap().join(format!("ringgate-program-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (file, link) = (folder.join("v1"), folder.join("gate"));
        std::fs::write(&file, "").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        let at = |name: &str, here: &Path, folders: &str| locate(OsStr::new(name), here, OsStr::new(folders), &file);
        let elsewhere = Path::new("/");
        assert_eq!(at(link.to_str().unwrap(), elsewhere, ""), link, "by its whole path");
        assert_eq!(at("./gate", &folder, ""), folder.join("./gate"), "from the working directory");
        assert_eq!(at("gate", elsewhere, &format!("/nowhere:{}", folder.display())), link, "by the search path");
        assert_eq!(at("gate", elsewhere, "/nowhere"), file, "it is not found, or another one is");
        assert_eq!(at("/bin/sh", elsewhere, ""), file, "a name can say anything");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
