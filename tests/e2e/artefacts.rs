//! L3: the files of `config` that an operator installs, each tried by what runs of it without a container engine: the same
//! commands, the same system calls refused, the same schemas.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::folder::Folder;
use super::gateway::Gateway;
use super::origin::Origin;
use super::plan::{Io, Plan};
use super::process::{BINARY, binary, program};
use super::tool::{PYTHON, run, runs_python};

/// The path of a file of `config`.
fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(name)
}

fn read(name: &str) -> String {
    std::fs::read_to_string(shipped(name)).expect("a file that is shipped")
}

/// A gateway that chooses its driver under what `file` allows, less the system calls of `without`.
fn under(file: &str, without: Option<&str>, origin: &Origin) -> Gateway {
    let folder = Folder::new();
    let yaml = Plan::to(Io::Uring, &[origin.address()]).yaml().replace("io: io_uring", "io: auto");
    let config = folder.write("gateway.yaml", yaml + "policy: {}\n");
    let mut command = program(PYTHON);
    command.arg(format!("{}/tests/interop/under_seccomp.py", env!("CARGO_MANIFEST_DIR"))).arg(shipped(file));
    if let Some(prefix) = without {
        command.args(["--without", prefix]);
    }
    command.args(["--", BINARY, "run", "-c"]).arg(config).current_dir(&folder);
    Gateway::start_with(folder, &mut command)
}

/// It serves, reads its configuration again, keeps a document and hands over to another process, by `driver`.
fn lives(mut gateway: Gateway, driver: &str) {
    let chosen = gateway.notice("io driver chosen");
    assert_eq!(chosen["driver"], driver, "{chosen}");
    gateway.client().asks("/x").expects(200);
    let yaml = std::fs::read_to_string(gateway.folder.path("gateway.yaml")).expect("its own");
    gateway.adopts(&yaml.replace("reason_header: on", "reason_header: off"));
    assert_eq!(gateway.posts("/policy", r#"{"rateLimit": 5000}"#).status(), 200);
    assert!(gateway.folder.path(".gateway-policy.json").exists());
    let upgraded = gateway.posts("/upgrade", "");
    assert_eq!(upgraded.status(), 200, "{upgraded}");
    gateway.client().asks("/x").expects(200);
    assert_eq!(gateway.process.exit_code(), Some(0));
    let heir = gateway.status()["pid"].as_i64().expect("a number");
    // SAFETY: a system call without memory, to the process that the gateway says it is.
    assert_eq!(unsafe { libc::kill(i32::try_from(heir).expect("a process id"), libc::SIGTERM) }, 0);
}

/// The profile for containers allows all that the gateway does, io_uring included.
#[test]
fn the_seccomp_profile_allows_all_that_is_needed() {
    let origin = Origin::echo();
    lives(under("seccomp.json", None, &origin), "io_uring");
}

/// A5: where io_uring is refused, as by the default profiles of container engines, epoll serves, and one line says why.
#[test]
fn a_profile_without_io_uring_leads_to_epoll() {
    let origin = Origin::echo();
    let gateway = under("seccomp.json", Some("io_uring_"), &origin);
    assert!(gateway.notice("io driver chosen")["why"].as_str().expect("text").contains("seccomp"));
    lives(gateway, "epoll");
}

/// The unit of systemd leaves the gateway what it needs, and little else.
#[test]
fn the_unit_allows_all_that_is_needed_and_is_tight() {
    let origin = Origin::echo();
    lives(under("ringgate.service", None, &origin), "io_uring");
    let unit = shipped("ringgate.service");
    let unit = unit.to_str().expect("text");
    let said = run("systemd-analyze", &["security", "--offline=true", "--no-pager", "--threshold=25", unit], "");
    assert!(said.is_content && said.text.contains("Overall exposure level"), "{}", said.text);
}

/// The commands of the unit, the image and the compose file are ones that the binary has.
#[test]
fn the_commands_of_the_artefacts_work() {
    let gateway = Plan::bare(Io::Uring).start();
    let (unit, image, compose) = (read("ringgate.service"), read("Dockerfile"), read("compose.yaml"));
    assert!(image.contains("CMD [\"/usr/bin/ringgate\", \"health\"]"), "{image}");
    assert!(compose.contains("test: [\"CMD\", \"/usr/bin/ringgate\", \"health\"]"), "{compose}");
    let port = gateway.admin().port().to_string();
    let health = |port: &str| binary().arg("health").env("CONFIG_PORT", port).output().expect("a child").status.code();
    assert_eq!(health(&port), Some(0));
    gateway.stop();
    assert_eq!(health(&port), Some(1));
    for line in unit.lines().filter_map(|line| line.strip_prefix("ExecStart")) {
        let (_, command) = line.split_once("=/usr/bin/ringgate ").expect("a command");
        let words: Vec<&str> = command.split(' ').take_while(|word| *word != "-c").collect();
        assert!(binary().args(words).arg("--help").output().expect("a child").status.success(), "{command}");
    }
    assert!(image.contains("CMD [\"run\", \"-c\", \"/etc/ringgate/gateway.yaml\"]"), "{image}");
    assert!(image.contains("STOPSIGNAL SIGTERM") && image.contains("USER 65532"), "{image}");
}

/// The configurations in the compose file's folder and in the manifests pass `check`, and what the compose file mounts is
/// there.
#[test]
fn the_configurations_of_the_artefacts_pass_their_check() {
    let folder = Folder::new();
    let secret = folder.write("secret", "0123456789abcdef");
    let manifests = read("kubernetes/ringgate.yaml");
    let (_, rest) = manifests.split_once("gateway.yaml: |\n").expect("a ConfigMap");
    let inner: Vec<&str> =
        rest.lines().map_while(|line| line.strip_prefix("    ").or(line.is_empty().then_some(""))).collect();
    for (name, yaml) in [("compose", read("compose/gateway/gateway.yaml")), ("kubernetes", inner.join("\n"))] {
        let words = yaml.split("${file:").map(|part| match part.split_once('}') {
            Some((path, rest)) if path.starts_with("/run/secrets/") => format!("${{file:{}}}{rest}", secret.display()),
            _ => part.to_owned(),
        });
        let file = folder.write(&format!("{name}.yaml"), words.collect::<String>());
        let said = Command::new(BINARY).args(["check", "-c"]).arg(&file).output().expect("a child");
        assert!(said.status.success(), "{name}: {}", String::from_utf8_lossy(&said.stderr));
    }
    let compose = read("compose.yaml");
    let mounts: Vec<&str> =
        compose.lines().filter_map(|line| line.trim().strip_prefix("- ./")?.split(':').next()).collect();
    assert!(mounts.len() >= 4, "{mounts:?}");
    for mount in mounts {
        assert!(shipped(mount).exists(), "{mount} is not there");
    }
}

/// L4: a soak goes on while nothing fails, and ends with exit code 1 when something does.
#[test]
fn a_soak_tells_whether_anything_drifted() {
    let script = format!("{}/scripts/soak", env!("CARGO_MANIFEST_DIR"));
    let soak =
        |gateway: &str| run(&script, &["--for", "3s", "--slice", "1s", "--rate", "500", "--gateway", gateway], "");
    let said = soak(BINARY);
    assert!(said.is_content && said.text.contains("soak: nothing drifted"), "{}", said.text);
    assert!(said.text.contains("500 answered, 0 failed") && said.text.contains(" reloads"), "{}", said.text);
    let folder = Folder::new();
    let refusing = folder
        .write("refusing", format!("#!/bin/sh\nsed -i 's/status: 200/status: 503/' \"$3\"\nexec {BINARY} \"$@\"\n"));
    std::fs::set_permissions(&refusing, std::fs::Permissions::from_mode(0o755)).expect("its owner may");
    let said = soak(refusing.to_str().expect("text"));
    assert!(!said.is_content && said.text.contains("soak: FAILED: "), "{}", said.text);
}

/// The manifests are what the API of Kubernetes takes, by its own schemas.
#[test]
fn the_manifests_fit_the_schemas_of_kubernetes() {
    let schemas = format!("{}/tests/artefacts/kubernetes-1.31.json", env!("CARGO_MANIFEST_DIR"));
    let manifests = shipped("kubernetes/ringgate.yaml").display().to_string();
    runs_python("manifests.py", &[schemas.clone(), manifests]);
    let folder = Folder::new();
    let broken =
        folder.write("broken.yaml", read("kubernetes/ringgate.yaml").replace("minReplicas: 3", "minReplicas: three"));
    let script = format!("{}/tests/interop/manifests.py", env!("CARGO_MANIFEST_DIR"));
    let said = run(PYTHON, &[script, schemas, broken.display().to_string()], "");
    assert!(!said.is_content && said.text.contains("spec/minReplicas"), "{}", said.text);
}
