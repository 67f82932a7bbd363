//! Cargo.toml: a dependency stands under a comment that says why it is there.

/// Dependencies without a comment line directly above them.
pub(crate) fn problems(manifest: &str) -> Vec<String> {
    let mut problems = Vec::new();
    let mut among_dependencies = false;
    let mut before = "";
    for (index, line) in manifest.lines().enumerate() {
        let line = line.trim();
        if let Some(section) = line.strip_prefix('[') {
            let section = section.trim_end_matches(']');
            // `[dependencies.name]` is one dependency written as a section.
            let single = section.split_once("dependencies.").is_some();
            among_dependencies = section.ends_with("dependencies");
            if single && !gives_reason(before) {
                problems.push(format!("Cargo.toml:{}: `{section}` gives no reason", index + 1));
            }
        } else if let Some((name, _)) = line.split_once('=')
            && among_dependencies
            && !line.starts_with('#')
            && !gives_reason(before)
        {
            problems.push(format!("Cargo.toml:{}: `{}` gives no reason", index + 1, name.trim()));
        }
        before = line;
    }
    problems
}

/// Whether the line above is a comment with words in it.
fn gives_reason(above: &str) -> bool {
    above.strip_prefix('#').is_some_and(|reason| reason.trim().len() >= 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dependency_without_a_reason_fails() {
        let good = "[package]\nname = \"a\"\n[dependencies]\n# Buffers without copies.\nbytes = \"1\"\n\n# System calls.\nlibc = \"1\"\n";
        assert_eq!(problems(good), Vec::<String>::new());
        assert_eq!(problems("[dependencies]\nbytes = \"1\"\n").len(), 1);
        assert_eq!(problems("[dev-dependencies]\n# x\nbytes = \"1\"\n").len(), 1, "a reason has words");
        assert_eq!(problems("[target.'cfg(unix)'.dependencies]\nlibc = \"1\"\n").len(), 1);
        assert_eq!(problems("[dependencies.libc]\nversion = \"1\"\n").len(), 1);
    }

    #[test]
    fn one_reason_covers_one_dependency() {
        assert_eq!(problems("[dependencies]\n# Buffers without copies.\nbytes = \"1\"\nlibc = \"1\"\n").len(), 1);
    }
}
