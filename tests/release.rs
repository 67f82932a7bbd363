//! `scripts/release` as far as it goes without the quarter of an hour that it takes: what it says of itself, what it refuses, and
//! that the load it asks for is one that `scripts/bench` has.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const TOP: &str = env!("CARGO_MANIFEST_DIR");

fn run(arguments: &[&str], path: Option<&Path>) -> Output {
    let mut command = Command::new("/usr/bin/bash");
    command.arg(Path::new(TOP).join("scripts/release")).args(arguments);
    if let Some(path) = path {
        command.env("PATH", path);
    }
    command.output().expect("bash starts")
}

/// What it wrote, and its exit code.
fn refusal(output: &Output) -> (Option<i32>, String) {
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// A folder with nothing but `dirname` and `tools` that only say what they were asked.
struct Tools(PathBuf);

impl Tools {
    fn new(test: &str, tools: &[&str]) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("release-{test}"));
        drop(fs::remove_dir_all(&folder));
        fs::create_dir_all(&folder).expect("the folder can be made");
        let link =
            |to: &str, name: &str| std::os::unix::fs::symlink(to, folder.join(name)).expect("a link can be made");
        link("/usr/bin/dirname", "dirname");
        for tool in tools {
            link("/usr/bin/echo", tool);
        }
        Self(folder)
    }
}

impl Drop for Tools {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

#[test]
fn it_tells_what_it_does_and_refuses_what_it_does_not_know() {
    let help = run(&["--help"], None);
    assert_eq!(help.status.code(), Some(0));
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    assert!(help.starts_with("usage: scripts/release [OUT]") && help.contains("Exit: 0 built"), "{help}");
    let (code, words) = refusal(&run(&["."], None));
    assert!(code == Some(2) && words.contains("is a folder: OUT is the file to write"), "{words}");
    for arguments in [&["--fast"][..], &["one", "two"]] {
        let (code, words) = refusal(&run(arguments, None));
        assert_eq!(code, Some(2), "{arguments:?}");
        assert!(words.contains("scripts/release --help"), "{words}");
    }
}

#[test]
fn what_is_missing_is_named_with_its_remedy() {
    for (test, tools, remedy) in [
        ("cargo", &[][..], "no cargo on the PATH: install a Rust toolchain first"),
        ("load", &["cargo"], "wrk is missing: scripts/bench --install-peers installs it"),
        // This `rustc` names no folder, and so there is no llvm-profdata.
        (
            "llvm",
            &["cargo", "wrk", "h2load", "openssl", "python3", "rustc"],
            "llvm-profdata is missing: rustup component add llvm-tools",
        ),
    ] {
        let folder = Tools::new(test, tools);
        let (code, words) = refusal(&run(&[], Some(&folder.0)));
        assert_eq!(code, Some(2), "{test}: {words}");
        assert!(words.contains(remedy), "{test}: {words}");
    }
}

#[test]
fn the_load_it_asks_for_is_known_to_the_benchmark() {
    let script = fs::read_to_string(Path::new(TOP).join("scripts/release")).expect("the script is there");
    let load = script.lines().find_map(|line| line.strip_prefix("load=")).expect("it names a load");
    let bench = Command::new("python3")
        .args(["-B", "scripts/bench.d/bench.py", "--help"])
        .env("COLUMNS", "1000")
        .current_dir(TOP)
        .output();
    let bench = String::from_utf8(bench.expect("python3 starts").stdout).expect("help is text");
    let listed =
        bench.split("of: ").nth(1).and_then(|rest| rest.split_whitespace().next()).expect("scenarios are listed");
    let known: Vec<_> = listed.split(',').collect();
    assert!(known.len() > 10, "{listed}");
    for scenario in load.split(',') {
        assert!(known.contains(&scenario), "{scenario} is none of {listed}");
    }
    for option in ["--rounds", "--seconds", "--peers", "--no-relay", "--scenarios", "--gateway"] {
        assert!(script.contains(option) && bench.contains(option), "{option}");
    }
}
