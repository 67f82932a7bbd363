//! J6: a gateway that root starts becomes another user. Where the tests are not root's, that is refused, and said.

use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use super::folder::Folder;
use super::gateway::{Gateway, json};
use super::plan::{Io, Plan};
use super::process::binary;
use super::wait::until_true;

/// The only capability that is left: ports below 1024.
const LOW_PORTS: &str = "0000000000000400";

fn plan(io: Io, user: &str) -> Plan {
    Plan::bare(io)
        .runtime(&format!("user: {user}"))
        .route("name: all, match: { path: /* }, respond: { status: 200, body: in }")
}

fn is_root() -> bool {
    // SAFETY: a system call without memory.
    unsafe { libc::geteuid() == 0 }
}

/// What `run` says on `yaml` when it does not start.
fn refused(yaml: &str) -> String {
    let folder = Folder::new();
    let output = binary().arg("run").arg("-c").arg(folder.write("gateway.yaml", yaml)).output().expect("a child");
    assert!(!output.status.success());
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The values of a line of every thread's status, each once.
fn of_all_threads(pid: i64, key: &str) -> Vec<String> {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).expect("a living process");
    let mut values: Vec<String> = threads
        .map(|thread| std::fs::read_to_string(thread.expect("a thread").path().join("status")).expect("it lives"))
        .map(|status| status.lines().find_map(|line| line.strip_prefix(key)).expect("a line").trim().to_owned())
        .collect();
    values.sort_unstable();
    values.dedup();
    values
}

/// No thread is root's any more, nor may become so; all that is left is listening on low ports.
fn is_nobody(pid: i64) {
    assert_eq!(of_all_threads(pid, "Uid:"), ["65534\t65534\t65534\t65534"]);
    assert_eq!(of_all_threads(pid, "Gid:"), ["65534\t65534\t65534\t65534"]);
    assert_eq!(of_all_threads(pid, "NoNewPrivs:"), ["1"]);
    for set in ["CapEff:", "CapPrm:", "CapInh:", "CapAmb:"] {
        for kept in of_all_threads(pid, set) {
            assert!(kept == LOW_PORTS || kept == "0000000000000000", "{set} {kept}");
        }
    }
}

/// It serves, reloads, listens on another low port and hands over, all of it as the other user.
fn root_is_given_up_for_good(io: Io) {
    if !is_root() {
        assert!(refused(&plan(io, "nobody").yaml()).contains("runtime.user: only root may become `nobody`"));
        return;
    }
    let mut gateway = plan(io, "nobody").start();
    let pid = |gateway: &Gateway| gateway.status()["pid"].as_i64().expect("a number");
    is_nobody(pid(&gateway));
    gateway.client().asks("/").expects(200);
    // An address of this test's own on loopback, so that its port is nobody else's.
    let [high, low] = u16::try_from(pid(&gateway) % 65_000).expect("it is small").to_be_bytes();
    let address = SocketAddr::from(([127, 77, high, low.max(1)], 80));
    let low_port = format!("  low: {{ address: '{address}' }}\ndefaults:");
    gateway.adopts(&plan(io, "nobody").yaml().replace("defaults:", &low_port));
    until_true("the low port", || TcpStream::connect(address).is_ok());
    let before = pid(&gateway);
    let upgraded = gateway.posts("/upgrade", "");
    assert_eq!(upgraded.status(), 200, "{upgraded}");
    assert_eq!(gateway.process.exit_code(), Some(0));
    let heir = pid(&gateway);
    assert_ne!(before, heir);
    is_nobody(heir);
    gateway.client().asks("/").expects(200);
    // SAFETY: a system call without memory, to the process that the gateway says it is.
    assert_eq!(unsafe { libc::kill(i32::try_from(heir).expect("a process id"), libc::SIGTERM) }, 0);
}

/// A right to low ports that the program's file brings is not lost by an upgrade, though nothing can bring another one.
fn an_upgrade_keeps_the_right_of_the_file(io: Io) {
    let folder = Folder::new();
    let program = folder.path("ringgate");
    std::fs::copy(binary().get_program(), &program).expect("a copy");
    let given = Command::new("/usr/sbin/setcap").arg("cap_net_bind_service=ep").arg(&program).output();
    if !is_root() || !given.expect("setcap").status.success() {
        return an_unknown_user_is_refused(io);
    }
    let file = folder.write("gateway.yaml", plan(io, "nobody").yaml().replace(", user: nobody", ""));
    std::fs::set_permissions(folder.path("."), std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .expect("its owner may");
    let mut command = Command::new(program);
    command.arg("run").arg("-c").arg(file).uid(65_534).gid(65_534);
    let mut gateway = Gateway::start_with(folder, &mut command);
    let rights = |gateway: &Gateway| {
        let pid = gateway.status()["pid"].as_i64().expect("a number");
        ["CapPrm:", "CapEff:", "NoNewPrivs:"].map(|key| of_all_threads(pid, key).join(" "))
    };
    let before = rights(&gateway);
    assert_eq!(before[2], "1");
    if before[0] != LOW_PORTS {
        // A file system that is mounted `nosuid` knows of no such rights.
        return gateway.stop();
    }
    assert_eq!(gateway.posts("/upgrade", "").status(), 200);
    assert_eq!(gateway.process.exit_code(), Some(0));
    assert_eq!(rights(&gateway), before);
    let heir = i32::try_from(gateway.status()["pid"].as_i64().expect("a number")).expect("a process id");
    // SAFETY: a system call without memory, to the process that the gateway says it is.
    assert_eq!(unsafe { libc::kill(heir, libc::SIGTERM) }, 0);
}

/// What the other user may not read is told at the start, and not by the first reload.
fn files_must_be_readable_by_the_user(io: Io) {
    if !is_root() {
        return root_is_given_up_for_good(io);
    }
    let folder = Folder::new();
    std::fs::create_dir(folder.path("conf.d")).expect("a directory of its own");
    let keys = folder.write("keys.yaml", format!("partner: {}\n", "a".repeat(64)));
    let mode = |bits| std::os::unix::fs::PermissionsExt::from_mode(bits);
    std::fs::set_permissions(&keys, mode(0o600)).expect("its owner may");
    let policy = format!("p: {{ api_key: {{ keys_file: '{}' }} }}", keys.display());
    let yaml = plan(io, "nobody").policies(&policy).defaults("policies: [p]").yaml();
    let said = refused(&yaml);
    assert!(said.contains("keys.yaml") && said.contains("Permission denied"), "{said}");
    // A directory of included files that it may not look into does not hold none.
    folder.write("conf.d/more.yaml", "routes: [{ name: more, match: { path: /more }, respond: { status: 200 } }]\n");
    std::fs::set_permissions(folder.path("conf.d"), mode(0o700)).expect("its owner may");
    let include = format!("include: ['{}']\n", folder.path("conf.d/*.yaml").display());
    let said = refused(&(include + &plan(io, "nobody").yaml()));
    assert!(said.contains("conf.d/`: Permission denied"), "{said}");
}

/// An unknown user is a start-up error; a change of the user is for the next start.
fn an_unknown_user_is_refused(io: Io) {
    let said = refused(&plan(io, "nobody-of-that-name").yaml());
    assert!(said.contains("runtime.user: there is no user `nobody-of-that-name` on this machine"), "{said}");
    let said = refused(&plan(io, "'a b'").yaml());
    assert!(said.contains("expected a user and perhaps its group"), "{said}");
    let gateway = plan(io, "nobody").yaml().replace(", user: nobody", "");
    let gateway = Gateway::start(&gateway);
    gateway.adopts(&plan(io, "nobody").route("name: b, match: { path: /b }, respond: { status: 200 }").yaml());
    let warned = gateway.notices.first("a notice", |line| line.contains("runtime.user").then(|| json(line)));
    assert_eq!(warned["level"], "WARN", "{warned}");
    gateway.stop();
}

on_both_drivers![
    root_is_given_up_for_good,
    an_upgrade_keeps_the_right_of_the_file,
    files_must_be_readable_by_the_user,
    an_unknown_user_is_refused,
];
