//! `scripts/sysctl` on a tree of files that stands in for the kernel's.
//!
//! The real one is never touched: every path the script writes is given to it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const BEFORE: [(&str, &str); 5] = [
    ("net/ipv4/tcp_tw_reuse", "2\n"),
    ("net/core/somaxconn", "4096\n"),
    ("net/ipv4/ip_local_port_range", "32768\t60999\n"),
    ("fs/file-max", "9223372036854775807\n"),
    ("fs/nr_open", "65536\n"),
];

/// A folder of its own for one test, removed at the end.
struct Machine(PathBuf);

impl Machine {
    fn new(test: &str) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("sysctl-{test}"));
        drop(fs::remove_dir_all(&folder));
        for (name, value) in BEFORE {
            let file = folder.join("proc").join(name);
            fs::create_dir_all(file.parent().expect("a name has a folder")).expect("the folder can be made");
            fs::write(file, value).expect("the file can be written");
        }
        Self(folder)
    }

    fn run(&self, verb: &str) -> Output {
        Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/sysctl"))
            .arg(verb)
            .env("RINGGATE_PROC_SYS", self.0.join("proc"))
            .env("RINGGATE_SYSCTL_STATE", self.0.join("state/saved"))
            .env("RINGGATE_LIMITS_FILE", self.0.join("limits.d/ringgate.conf"))
            .output()
            .expect("the script starts")
    }

    fn code(&self, verb: &str) -> Option<i32> {
        self.run(verb).status.code()
    }

    /// The settings as one list, blanks made equal.
    fn values(&self) -> Vec<String> {
        let value = |(name, _): &(&str, &str)| {
            fs::read_to_string(self.0.join("proc").join(name)).expect("the setting is there")
        };
        BEFORE.iter().map(|entry| value(entry).split_whitespace().collect::<Vec<_>>().join(" ")).collect()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

#[test]
fn apply_sets_what_revert_puts_back() {
    let machine = Machine::new("round");
    let before = machine.values();
    assert_eq!(machine.code("show"), Some(1), "show says that something differs");
    assert_eq!(machine.code("apply"), Some(0));
    assert_eq!(machine.values(), ["1", "65535", "1024 65535", "9223372036854775807", "1048576"]);
    assert!(machine.0.join("limits.d/ringgate.conf").exists());
    assert_eq!(machine.code("show"), Some(0));
    assert_eq!(machine.code("apply"), Some(0), "a second apply changes nothing and keeps the first record");
    assert_eq!(machine.code("revert"), Some(0));
    assert_eq!(machine.values(), before);
    assert!(!machine.0.join("limits.d/ringgate.conf").exists());
    assert_eq!(machine.code("revert"), Some(1), "nothing is left to revert");
}

#[test]
fn limits_that_someone_else_wrote_are_left_alone() {
    let machine = Machine::new("foreign");
    let limits = machine.0.join("limits.d/ringgate.conf");
    fs::create_dir_all(limits.parent().expect("a name has a folder")).expect("the folder can be made");
    fs::write(&limits, "* soft nofile 5\n").expect("the file can be written");
    assert_eq!(machine.code("apply"), Some(1));
    assert_eq!(machine.code("revert"), Some(0));
    assert_eq!(fs::read_to_string(&limits).expect("the file is there"), "* soft nofile 5\n");
}

#[test]
fn wrong_usage_is_told_apart_from_failure() {
    let machine = Machine::new("usage");
    assert_eq!(machine.code("bogus"), Some(2));
    let help = machine.run("--help");
    assert_eq!(help.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&help.stdout).contains("need root"));
}
