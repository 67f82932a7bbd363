//! L3: the files of `config` that an operator installs, each tried by what runs of it without a container engine: the same
//! commands, the same system calls refused, the same schemas.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use super::endpoint::Endpoint;
use super::folder::Folder;
use super::gateway::Gateway;
use super::origin::Origin;
use super::plan::{Io, Plan};
use super::process::{BINARY, binary, program};
use super::sandbox::{IN_PART, WHOLE};
use super::tool::{PYTHON, run, runs, runs_python};
use super::wait::until_true;

/// The path of a file of `config`.
pub(crate) fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(name)
}

/// A file of `config`.
pub(crate) fn read(name: &str) -> String {
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

/// What a gateway tells whose control thread may not ask for short slices of its core.
const NOT_PROMPT: &str = "the control thread may not be prompt: on busy cores changes take longer to be in force";

/// It serves, reads its configuration again, keeps a document and hands over to another process, by `driver`.
fn lives(mut gateway: Gateway, driver: &str) {
    let chosen = gateway.notice("io driver chosen");
    assert_eq!(chosen["driver"], driver, "{chosen}");
    assert!(gateway.notices_of(NOT_PROMPT).is_empty(), "sched_setattr is refused");
    gateway.notice(WHOLE);
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

/// Where workers may give nothing up, that is told, and they serve all the same.
#[test]
fn a_profile_without_landlock_leaves_workers_their_files() {
    let origin = Origin::echo();
    for (refused, kept) in [("landlock_", "files: "), ("seccomp", "system calls: ")] {
        let gateway = under("seccomp.json", Some(refused), &origin);
        let told = gateway.notice(IN_PART);
        assert!(told["kept"].as_str().expect("text").starts_with(kept), "{told}");
        gateway.client().asks("/x").expects(200);
        gateway.stop();
    }
}

/// Where the control thread may not ask to be woken soon, that is told, and it serves all the same.
#[test]
fn a_control_thread_that_may_not_be_prompt_is_told() {
    let origin = Origin::echo();
    let gateway = under("seccomp.json", Some("sched_setattr"), &origin);
    gateway.notice(NOT_PROMPT);
    gateway.client().asks("/x").expects(200);
    gateway.stop();
}

/// A5: locked memory is the user's for all rings together, unless the user may lock what it likes. Where it is counted and there is
/// too little for all workers, epoll serves, though one ring would be had.
#[test]
fn too_little_locked_memory_for_all_workers_leads_to_epoll() {
    let driver = |kibibytes: usize, workers: &str| {
        let plan = Plan::bare(Io::Uring).workers(workers).route("name: all, respond: { status: 200, body: in }");
        let folder = Folder::new();
        let config = folder.write("gateway.yaml", plan.yaml().replace("io: io_uring", "io: auto"));
        let mut command = program("sh");
        command
            .args([
                "-c",
                "ulimit -l $0 && exec setpriv --bounding-set=-ipc_lock \"$@\"",
                &kibibytes.to_string(),
                BINARY,
                "run",
                "-c",
            ])
            .arg(config);
        let gateway = Gateway::start_with(folder, &mut command);
        gateway.client().asks("/").expects(200);
        let chosen = gateway.notice("io driver chosen")["driver"].as_str().expect("a name").to_owned();
        gateway.stop();
        chosen
    };
    // A kernel that does not count rings has them for nothing.
    assert_eq!(driver(2_048, "8"), driver(4, "1"));
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

/// The unit has no key that systemd does not know. It is started again for as long as it takes, since after a reboot the names of
/// its endpoints may be late, and what it says of a reload is true of `notify-reload`.
#[test]
fn the_unit_is_what_systemd_takes_and_never_gives_up() {
    let unit = shipped("ringgate.service");
    let verified = |unit: &Path| run("systemd-analyze", &["verify", unit.to_str().expect("text")], "").text;
    let (said, text) = (verified(&unit), read("ringgate.service"));
    assert!(!said.contains("Unknown"), "{said}");
    let folder = Folder::new();
    let broken = folder.write("ringgate.service", text.replace("RestartSec=", "RestartSecs="));
    assert!(verified(&broken).contains("Unknown key 'RestartSecs'"));
    let (head, service) = text.split_once("\n[Service]\n").expect("a section");
    let has = |section: &str, line: &str| section.lines().any(|other| other == line);
    assert!(has(head, "StartLimitIntervalSec=0") && has(service, "Restart=on-failure"), "{text}");
    assert!(has(head, "Wants=network-online.target") && has(head, "After=network-online.target nss-lookup.target"));
    assert!(has(service, "Type=notify-reload") && !text.contains("fails when it is refused"), "{text}");
}

/// The unit's user is one that files can belong to, and the shipped file makes it; its directories are within what the unit lets it
/// write.
#[test]
fn the_user_of_the_unit_is_made_and_keeps_its_name() {
    let unit = read("ringgate.service");
    let has = |line: &str| unit.lines().any(|other| other == line);
    assert!(has("User=ringgate") && !unit.contains("\nDynamicUser="), "{unit}");
    assert!(has("StateDirectory=ringgate") && has("LogsDirectory=ringgate"), "{unit}");
    let folder = Folder::new();
    std::fs::create_dir(folder.path("etc")).expect("a new folder");
    let root = format!("--root={}", folder.path("").display());
    runs("systemd-sysusers", &[&root, shipped("sysusers").to_str().expect("text")]);
    let made = |file: &str| std::fs::read_to_string(folder.path(file)).expect("it was made");
    let users = made("etc/passwd");
    let user = users.lines().find(|line| line.starts_with("ringgate:")).expect("the user");
    assert!(user.ends_with("/nologin") && user.contains(":/var/lib/ringgate:"), "{user}");
    assert!(made("etc/group").lines().any(|line| line.starts_with("ringgate:")), "no group");
    assert!(read("../README.md").contains("`config/sysusers`"), "nobody finds it");
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

/// K5: the dashboards are what Grafana takes, by its own types.
#[test]
fn the_dashboards_fit_the_types_of_grafana() {
    let schemas = format!("{}/tests/artefacts/grafana-11.3.json", env!("CARGO_MANIFEST_DIR"));
    let boards = ["gateway", "clusters", "policies"].map(|name| format!("grafana/dashboards/{name}.json"));
    let paths = boards.each_ref().map(|board| shipped(board).display().to_string());
    runs_python("dashboards.py", &[std::slice::from_ref(&schemas), &paths[..]].concat());
    let folder = Folder::new();
    let script = format!("{}/tests/interop/dashboards.py", env!("CARGO_MANIFEST_DIR"));
    for (from, to, place) in [
        ("\"drawStyle\": \"line\"", "\"drawStyle\": \"lines\"", "custom: drawStyle"),
        ("\"gridPos\"", "\"gridPosition\"", "gridPosition"),
        ("\"textMode\": \"value\"", "\"textMode\": 1", "options: textMode"),
    ] {
        let broken = folder.write("broken.json", read(&boards[0]).replacen(from, to, 1));
        let said = run(PYTHON, &[script.clone(), schemas.clone(), broken.display().to_string()], "");
        assert!(!said.is_content && said.text.contains(place), "{place}: {}", said.text);
    }
}

/// Names in the runbooks that are those of OpenSSL and of the kernel.
const OTHERS: [&str; 2] = ["s_client", "nr_throttled"];

/// What stands as code in a page.
fn code_of(page: &str) -> Vec<&str> {
    let blocks = page.lines().filter_map(|line| line.strip_prefix("    "));
    let inline =
        page.lines().filter(|line| !line.starts_with("    ")).flat_map(|line| line.split('`').skip(1).step_by(2));
    blocks.chain(inline).collect()
}

/// The flags of a command line, without their values.
fn flags_of(command: &str) -> impl Iterator<Item = &str> {
    command.split([' ', '=']).filter(|word| word.starts_with("--") && word.len() > 2)
}

/// Whether the help of a program has a flag.
fn has_flag(help: &str, flag: &str) -> bool {
    help.split([' ', ',', '[', ']', '\n']).any(|word| word == flag)
}

/// L5: the flags of commands that the runbooks and the README name are ones that these have.
#[test]
fn the_flags_in_the_pages_exist() {
    let mut known = BTreeMap::new();
    let mut help_of = |command: &[&str]| -> String {
        let ask = || runs(command[0], &[&command[1..], &["--help"]].concat());
        known.entry(command.join(" ")).or_insert_with(ask).clone()
    };
    let script = |name: &str| format!("{}/scripts/{name}", env!("CARGO_MANIFEST_DIR"));
    // Of flags without their command.
    let bare = [&[BINARY, "status"][..], &[BINARY, "top"], &[&script("bench")]].map(&mut help_of).concat();
    let mut seen = 0;
    for page in [read("../docs/runbooks.md"), read("../README.md")] {
        for part in code_of(&page).iter().flat_map(|code| code.split(['#', '|', ';', '&'])).map(str::trim) {
            let mut flags = flags_of(part).peekable();
            if flags.peek().is_none() {
                continue;
            }
            let mut words = part.split(' ');
            let help = match words.next().expect("a word at least") {
                "ringgate" => {
                    let is_name = |word: &&str| word.bytes().all(|byte| byte.is_ascii_lowercase());
                    let command: Vec<&str> = [BINARY].into_iter().chain(words.take_while(is_name)).collect();
                    help_of(&command)
                }
                program if program.starts_with("--") => bare.clone(),
                program if program.starts_with("scripts/") => help_of(&[&script(&program[8..])]),
                _ => continue,
            };
            for flag in flags {
                assert!(has_flag(&help, flag), "`{part}`: no {flag} in\n{help}");
                seen += 1;
            }
        }
    }
    assert!(seen > 25, "{seen} flags");
}

/// The shipped configuration of logrotate turns the access log of a gateway, which goes on in a file of its own making. The
/// signal comes from here, as there is no unit.
#[test]
fn logrotate_turns_the_access_log() {
    let gateway =
        Plan::bare(Io::Uring).route("name: all, respond: { status: 200, body: in }").log("access.log").start();
    let (log, state) = (gateway.folder.path("access.log"), gateway.folder.path("state"));
    let shipped = read("logrotate");
    let (unit, place) = ("systemctl kill -s SIGUSR1 ringgate", "/var/log/ringgate/access.log {");
    assert!(shipped.contains(unit) && shipped.contains(&format!("\n{place}")), "{shipped}");
    let shipped = shipped.replace(unit, &format!("kill -s USR1 {}", gateway.process.pid()));
    let config = gateway.folder.write("rotate", shipped.replace(place, &format!("{} {{", log.display())));
    std::fs::set_permissions(&config, std::fs::Permissions::from_mode(0o644)).expect("its owner may");
    let lines = |path: &Path| std::fs::read_to_string(path).unwrap_or_default().lines().count();
    let arguments = ["-f", "-s", state.to_str().expect("text"), config.to_str().expect("text")];
    let mut client = gateway.client();
    for turn in 1..=2 {
        client.asks("/old").expects(200);
        until_true("a line", || lines(&log) == 1);
        let inode = std::fs::metadata(&log).expect("a file").ino();
        // It is one of the system's programs, which not every user's path has.
        runs("env", &[&["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "logrotate"], &arguments[..]].concat());
        until_true("a new file", || std::fs::metadata(&log).is_ok_and(|new| new.ino() != inode));
        assert_eq!(lines(&gateway.folder.path("access.log.1")), 1, "turn {turn}");
    }
    assert!(gateway.folder.path("access.log.2.gz").exists(), "the one before is compressed");
    gateway.stop();
}

/// L5: there is a runbook for each trouble, and what it names exists: commands, metrics, reasons, settings.
#[test]
fn the_runbooks_name_what_there_is() {
    let (runbooks, readme) = (read("../docs/runbooks.md"), read("../README.md"));
    assert!(readme.contains("(docs/runbooks.md)"), "nobody finds them");
    for topic in [
        "Who made this 5xx?",
        "Rollback",
        "Certificate rotation",
        "Upgrade",
        "Log rotation",
        "Capacity",
        "Soak",
        "Alerts",
    ] {
        assert!(runbooks.contains(&format!("\n## {topic}\n")), "no runbook of {topic}");
    }
    let code = code_of(&runbooks);
    let commands =
        code.iter().flat_map(|code| code.split("ringgate ").skip(1).filter_map(|rest| rest.split(' ').next()));
    let commands: BTreeSet<&str> =
        commands.filter(|word| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase())).collect();
    assert!(commands.len() >= 6, "{commands:?}");
    for command in commands {
        assert!(binary().args([command, "--help"]).output().expect("a child").status.success(), "ringgate {command}");
    }
    let orders = code.iter().flat_map(|code| code.split("ringgate rollout ").skip(1));
    let orders: BTreeSet<&str> = orders.filter_map(|rest| rest.split(' ').next()).collect();
    assert!(orders.contains("promote"), "a good file would be on trial while the bad one serves: {orders:?}");
    for order in orders {
        assert!(binary().args(["rollout", order, "--help"]).output().expect("a child").status.success(), "{order}");
    }
    let refused = Folder::new().write("wrong.yaml", "nonsense");
    let refused = binary().args(["check", "-c"]).arg(refused).output().expect("a child").status.code().expect("an end");
    assert!(runbooks.contains(&format!("`ringgate reload` fails with exit code {refused}")), "of a refusal: {refused}");
    let gateway = Plan::to(Io::Uring, &[Endpoint::closed()]).start();
    let pages = ["/metrics", "/status", "/clusters"].map(|page| gateway.asks_admin("GET", page).text().to_owned());
    let known = [&pages.join("\n"), &read("../ARCHITECTURE.md"), &read("ringgate.yaml"), &read("../scripts/sysctl")]
        .map(String::as_str)
        .join("\n");
    let known: BTreeSet<&str> = known.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').collect();
    let mut seen = 0;
    for word in code.iter().flat_map(|code| code.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')) {
        if word.contains('_')
            && !OTHERS.contains(&word)
            && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
        {
            assert!(known.contains(word) || word.ends_with('_'), "{word} is nowhere");
            seen += 1;
        }
    }
    assert!(seen > 30, "{seen} names");
    gateway.stop();
}
