//! `scripts/sysctl` on a tree of files that stands in for the kernel's.
//!
//! The real one is never touched: every path the script writes is given to it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
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
        for (name, _) in BEFORE {
            let file = folder.join("proc").join(name);
            fs::create_dir_all(file.parent().expect("a name has a folder")).expect("the folder can be made");
        }
        let machine = Self(folder);
        machine.boots("a");
        machine
    }

    /// As the kernel is after a start of the machine, of that name.
    fn boots(&self, id: &str) {
        for (name, value) in BEFORE {
            fs::write(self.0.join("proc").join(name), value).expect("the file can be written");
        }
        fs::create_dir_all(self.0.join("proc/kernel/random")).expect("the folder can be made");
        fs::write(self.0.join("proc/kernel/random/boot_id"), format!("{id}\n")).expect("the file can be written");
    }

    fn limits(&self) -> Option<String> {
        fs::read_to_string(self.0.join("limits.d/ringgate.conf")).ok()
    }

    fn run(&self, verb: &str) -> Output {
        Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/sysctl"))
            .arg(verb)
            .env("RINGGATE_PROC_SYS", self.0.join("proc"))
            .env("RINGGATE_SYSCTL_STATE", self.0.join("state/saved"))
            .env("RINGGATE_SYSCTL_OLD_STATE", self.0.join("sysctl.saved"))
            .env("RINGGATE_LIMITS_FILE", self.0.join("limits.d/ringgate.conf"))
            .output()
            .expect("the script starts")
    }

    /// What the script says of itself where nothing stands in for the machine's files.
    fn help_of_the_machine() -> String {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/sysctl");
        let help = Command::new(script).arg("--help").output().expect("the script starts");
        String::from_utf8_lossy(&help.stdout).into_owned()
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

/// Root follows the record: only root may write it, and what is not the script's is not put back.
#[test]
fn a_record_puts_back_the_settings_of_the_script_and_no_others() {
    let machine = Machine::new("planted");
    let before = machine.values();
    let pattern = machine.0.join("proc/kernel/core_pattern");
    fs::write(&pattern, "core\n").expect("the file can be written");
    assert_eq!(machine.code("apply"), Some(0));
    let record = machine.0.join("state/saved");
    let mode = fs::metadata(machine.0.join("state")).expect("it was made").permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    let saved = fs::read_to_string(&record).expect("it was written");
    fs::write(&record, format!("kernel.core_pattern=|planted\n{saved}")).expect("the file can be written");
    let reverted = machine.run("revert");
    assert_eq!(reverted.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&reverted.stderr).contains("kernel.core_pattern: none of the settings"));
    assert_eq!(fs::read_to_string(&pattern).expect("the file is there"), "core\n");
    assert_eq!(machine.values(), before);
    let help = Machine::help_of_the_machine();
    assert!(help.contains(" /var/lib/ringgate-sysctl/saved,"), "{help}");
}

/// What an earlier version tuned is not what the boot began with, and whoever may write its record is not root.
#[test]
fn beside_a_record_of_an_earlier_version_nothing_is_saved_or_put_back() {
    let machine = Machine::new("old");
    let before = machine.values();
    let old = machine.0.join("sysctl.saved");
    fs::write(&old, "net.core.somaxconn=1\n").expect("the file can be written");
    for verb in ["apply", "revert"] {
        let output = machine.run(verb);
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{complaint}");
        assert!(complaint.contains(&format!("by {}: revert with that version", old.display())), "{complaint}");
        assert!(!machine.0.join("state/saved").exists());
        assert_eq!((machine.values(), machine.limits()), (before.clone(), None));
    }
    fs::remove_file(&old).expect("it is there");
    assert_eq!(machine.code("apply"), Some(0));
    fs::write(&old, "net.core.somaxconn=1\n").expect("the file can be written");
    assert_eq!(machine.code("revert"), Some(0), "there is a record of this boot");
    assert_eq!(machine.values(), before);
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

/// Settings end with a boot and the record does not: what it has of an earlier one is not what is there now.
#[test]
fn a_record_of_an_earlier_boot_is_begun_anew() {
    let machine = Machine::new("boots");
    assert_eq!(machine.code("apply"), Some(0));
    machine.boots("b");
    let somaxconn = machine.0.join("proc/net/core/somaxconn");
    fs::write(&somaxconn, "8192\n").expect("the file can be written");
    let before = machine.values();
    assert_eq!(machine.code("apply"), Some(0));
    assert_eq!(machine.code("revert"), Some(0));
    assert_eq!(machine.values(), before, "what the second boot began with");

    assert_eq!(machine.code("apply"), Some(0));
    machine.boots("c");
    fs::write(&somaxconn, "16384\n").expect("the file can be written");
    let before = machine.values();
    assert_eq!(machine.code("revert"), Some(0));
    assert_eq!(machine.values(), before, "nothing is set by a record of another boot");
    assert_eq!(machine.limits(), None);
    assert_eq!(machine.code("revert"), Some(1), "nothing is left to revert");
}

/// After the next boot `fs.nr_open` is as before, and a limit above it would lock out every login.
#[test]
fn the_limits_file_allows_what_the_kernel_does_without_the_script() {
    let machine = Machine::new("limits");
    assert_eq!(machine.code("apply"), Some(0));
    let text = machine.limits().expect("it was written");
    assert!(text.contains("* hard nofile 65536\n") && !text.contains("1048576"), "{text}");
    assert_eq!(machine.code("revert"), Some(0));
    machine.boots("b");
    fs::write(machine.0.join("proc/fs/nr_open"), "1073741816\n").expect("the file can be written");
    assert_eq!(machine.code("apply"), Some(0));
    let text = machine.limits().expect("it was written");
    assert!(text.contains("* hard nofile 1048576\n"), "{text}");
    machine.boots("c");
    assert_eq!(machine.code("apply"), Some(0), "what another boot wrote is the script's own");
    let text = machine.limits().expect("it was written");
    assert!(text.contains("* hard nofile 65536\n"), "{text}");
    fs::remove_file(machine.0.join("proc/fs/nr_open")).expect("it is there");
    fs::write(machine.0.join("proc/kernel/random/boot_id"), "d\n").expect("the file can be written");
    assert_eq!(machine.code("apply"), Some(1), "what is not known is not promised");
}

#[test]
fn wrong_usage_is_told_apart_from_failure() {
    let machine = Machine::new("usage");
    assert_eq!(machine.code("bogus"), Some(2));
    let help = machine.run("--help");
    assert_eq!(help.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&help.stdout).contains("need root"));
}
