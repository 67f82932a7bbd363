//! The way to a file, as the kernel walks it (path_resolution(7)).

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

/// Links that the kernel follows on one way.
const LINKS_MAX: usize = 40;
/// Names that are looked at on one way, however its links lead.
const STEPS_MAX: usize = 4096;

/// Each link on the way to `file` and where the way ends: the file itself, or the first name that is not there. All but their
/// last names are free of links. A way that leads in a circle has only its links.
pub(super) fn way(file: &Path) -> BTreeSet<PathBuf> {
    let mut places = BTreeSet::new();
    let mut links = 0;
    let mut at = PathBuf::from("/");
    // What is still to be walked, the next step last.
    let mut steps = Vec::new();
    push_steps(&mut steps, &std::path::absolute(file).unwrap_or_else(|_| file.to_owned()));
    for _ in 0..STEPS_MAX {
        let Some(step) = steps.pop() else { break };
        match step {
            Step::Root => at = PathBuf::from("/"),
            Step::Up => drop(at.pop()),
            Step::Down(name) => {
                let next = at.join(name);
                match next.read_link() {
                    Ok(target) if links < LINKS_MAX => {
                        links += 1;
                        push_steps(&mut steps, &target);
                        places.insert(next);
                    }
                    Ok(_) => return places,
                    Err(_) if steps.is_empty() || next.symlink_metadata().is_err() => {
                        places.insert(next);
                        return places;
                    }
                    Err(_) => at = next,
                }
            }
        }
    }
    places
}

/// A component of a path.
#[derive(Debug)]
enum Step {
    Root,
    Up,
    Down(OsString),
}

/// Walks `path` before what is to be walked already.
fn push_steps(steps: &mut Vec<Step>, path: &Path) {
    steps.extend(path.components().rev().filter_map(|component| match component {
        Component::RootDir => Some(Step::Root),
        Component::ParentDir => Some(Step::Up),
        Component::Normal(name) => Some(Step::Down(name.to_owned())),
        Component::CurDir | Component::Prefix(_) => None,
    }));
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::control::disk::tests::Folder;

    fn folder(test: &str) -> Folder {
        let folder = Folder::new(test);
        for name in ["a/b", "c"] {
            std::fs::create_dir_all(folder.0.join(name)).unwrap();
        }
        folder
    }

    /// What is on the way to a file, from this directory.
    fn way_in(folder: &Folder, file: &str) -> Vec<String> {
        let root = folder.0.canonicalize().unwrap();
        let names = way(&folder.0.join(file));
        let from_root = |path: PathBuf| path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
        names.into_iter().map(from_root).collect()
    }

    #[test]
    fn a_file_without_links_is_all_there_is_on_its_way() {
        let folder = folder("way-plain");
        std::fs::write(folder.0.join("a/b/file"), "").unwrap();
        assert_eq!(way_in(&folder, "a/b/file"), ["a/b/file"]);
        assert_eq!(way_in(&folder, "a/./b/../b/file"), ["a/b/file"]);
        assert_eq!(way(Path::new("Cargo.toml")), [std::env::current_dir().unwrap().join("Cargo.toml")].into());
    }

    #[test]
    fn each_link_of_a_chain_is_on_the_way() {
        let folder = folder("way-chain");
        symlink(folder.0.join("a/two"), folder.0.join("one")).unwrap();
        symlink("../c/three", folder.0.join("a/two")).unwrap();
        symlink("./three.yaml", folder.0.join("c/three")).unwrap();
        std::fs::write(folder.0.join("c/three.yaml"), "").unwrap();
        assert_eq!(way_in(&folder, "one"), ["a/two", "c/three", "c/three.yaml", "one"]);
    }

    #[test]
    fn a_link_to_a_directory_is_on_the_way_and_up_is_up_from_where_it_leads() {
        let folder = folder("way-directory");
        symlink("a/b", folder.0.join("link")).unwrap();
        std::fs::write(folder.0.join("a/b/file"), "").unwrap();
        std::fs::write(folder.0.join("a/other"), "").unwrap();
        assert_eq!(way_in(&folder, "link/file"), ["a/b/file", "link"]);
        assert_eq!(way_in(&folder, "link/../other"), ["a/other", "link"]);
    }

    #[test]
    fn a_way_ends_at_the_first_name_that_is_missing() {
        let folder = folder("way-missing");
        symlink("..one", folder.0.join("..data")).unwrap();
        symlink("..data/file", folder.0.join("file")).unwrap();
        assert_eq!(way_in(&folder, "file"), ["..data", "..one", "file"]);
        assert_eq!(way_in(&folder, "a/none/none/file"), ["a/none"]);
    }

    #[test]
    fn a_circle_of_links_has_an_end() {
        let folder = folder("way-circle");
        symlink("two", folder.0.join("one")).unwrap();
        symlink("one/deeper", folder.0.join("two")).unwrap();
        assert_eq!(way_in(&folder, "one"), ["one", "two"]);
    }

    #[test]
    fn as_many_links_are_followed_as_the_kernel_follows() {
        let folder = folder("way-long");
        for link in 1..=LINKS_MAX {
            symlink(format!("l{}", link - 1), folder.0.join(format!("l{link}"))).unwrap();
        }
        let last = folder.0.join(format!("l{LINKS_MAX}"));
        std::fs::write(folder.0.join("l0"), "").unwrap();
        assert!(last.exists() && way(&last).contains(&folder.0.canonicalize().unwrap().join("l0")));
        symlink(&last, folder.0.join("more")).unwrap();
        let more = folder.0.join("more");
        assert!(!more.exists() && !way(&more).contains(&folder.0.canonicalize().unwrap().join("l0")));
    }
}
