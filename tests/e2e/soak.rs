//! L4, I2: `scripts/soak`, on gateways that fare well and on those that do not.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::folder::Folder;
use super::process::{BINARY, Process, program};
use super::tool::run;
use super::wait::until_true;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/soak");

/// A program that is the gateway, after a line of the shell to which `$3` is the configuration and `$$` the process.
fn beside(folder: &Folder, line: &str) -> String {
    let file = folder.write("gateway", format!("#!/bin/sh\n{line}\nexec {BINARY} \"$@\"\n"));
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).expect("its owner may");
    file.to_str().expect("text").to_owned()
}

/// The processes that a soak has started: those that noted their number.
fn noted(folder: &Folder) -> Vec<String> {
    let text = std::fs::read_to_string(folder.path("pids")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// Whether a process is there, and not only to be waited for.
fn lives(pid: &str) -> bool {
    let stat = std::fs::read_to_string(Path::new("/proc").join(pid).join("stat"));
    stat.is_ok_and(|stat| !stat.contains(") Z "))
}

/// L4: a soak goes on while nothing fails, and ends with exit code 1 when something does.
#[test]
fn a_soak_tells_whether_anything_drifted() {
    let soak = |gateway: &str| {
        run(SCRIPT, &["--for", "3s", "--slice", "1s", "--rate", "500", "--clients", "500", "--gateway", gateway], "")
    };
    let said = soak(BINARY);
    assert!(said.is_content && said.text.contains("soak: nothing drifted"), "{}", said.text);
    assert!(said.text.contains("500 answered, 0 failed") && said.text.contains(" reloads"), "{}", said.text);
    let folder = Folder::new();
    let said = soak(&beside(&folder, "sed -i 's/status: 200/status: 503/' \"$3\""));
    assert!(!said.is_content && said.text.contains("soak: FAILED: "), "{}", said.text);
}

/// I2: so does one of many reloads beside connections that have nothing to do with them.
#[test]
fn a_soak_of_reloads_tells_whether_a_connection_was_lost() {
    let soak = |gateway: &str| run(SCRIPT, &["--reloads", "100", "--held", "40", "--gateway", gateway], "");
    let said = soak(BINARY);
    assert!(said.is_content && said.text.contains("soak: nothing drifted"), "{}", said.text);
    assert!(said.text.contains("100 reloads were taken; of 40 connections 0 were lost"), "{}", said.text);
    let folder = Folder::new();
    for (change, told) in [
        // Nine of ten rest, and are closed before their time.
        ("s/idle_timeout: 1h/idle_timeout: 50ms/", "soak: FAILED: 36 connections were lost"),
        ("s/^clusters: {/cluster: {/", "soak: the gateway did not start"),
    ] {
        let said = soak(&beside(&folder, &format!("sed -i '{change}' \"$3\"")));
        assert!(!said.is_content && said.text.contains(told), "{}", said.text);
    }
}

/// A gateway that dies in the middle is a failure that is told as one, and the origin ends with the soak.
#[test]
fn a_gateway_that_dies_is_told_and_nothing_is_left_behind() {
    let folder = Folder::new();
    let pids = folder.path("pids");
    // It dies with the first change of its configuration.
    let dies =
        "case $3 in */gateway.yaml) (until grep -q '90000[1-9]/' \"$3\"; do sleep 0.01; done; kill -9 $$) & esac";
    let gateway = beside(&folder, &format!("echo $$ >>{}\n{dies}", pids.display()));
    let options = ["--for", "3s", "--slice", "1s", "--rate", "500", "--clients", "500", "--gateway", gateway.as_str()];
    let said = run(SCRIPT, &options, "");
    assert!(!said.is_content && said.text.contains("soak: FAILED: "), "{}", said.text);
    assert!(
        said.text.contains("the gateway ended with exit code -9") && !said.text.contains("Traceback"),
        "{}",
        said.text
    );
    let pids = noted(&folder);
    assert_eq!(pids.len(), 2, "{pids:?}");
    assert!(!pids.iter().any(|pid| lives(pid)), "{pids:?}");
}

/// A soak that is told to end, or killed, takes what it started with it.
#[test]
fn a_soak_that_is_ended_leaves_nothing_behind() {
    for (signal, code) in [(libc::SIGTERM, Some(130)), (libc::SIGKILL, None)] {
        let folder = Folder::new();
        let gateway = beside(&folder, &format!("echo $$ >>{}", folder.path("pids").display()));
        let mut soak = Process::start(program(SCRIPT).args(["--for", "1h", "--rate", "100", "--gateway", &gateway]));
        until_true("an origin and a gateway", || noted(&folder).len() == 2);
        soak.signal(signal);
        assert_eq!(soak.exit_code(), code);
        for pid in noted(&folder) {
            until_true("its end", || !lives(&pid));
        }
    }
}
