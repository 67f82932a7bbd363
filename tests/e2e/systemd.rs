//! I4: what systemd is told, and the sockets that it passes; the test is systemd.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};

use super::folder::Folder;
use super::gateway::Gateway;
use super::heirs::Heirs;
use super::plan::{Io, Plan};
use super::process::{BINARY, program};
use super::wait::{PATIENCE, until_true};

/// The socket that systemd listens on.
struct Notified(UnixDatagram);

impl Notified {
    /// In this directory.
    fn bind(folder: &Folder) -> Self {
        let socket = UnixDatagram::bind(folder.path("notify")).expect("a socket in the temporary directory");
        socket.set_read_timeout(Some(PATIENCE)).expect("a positive time");
        Self(socket)
    }

    /// The next message.
    fn hears(&self) -> String {
        let mut bytes = [0; 512];
        let count = self.0.recv(&mut bytes).expect("a message of the gateway");
        String::from_utf8_lossy(&bytes[..count]).into_owned()
    }

    /// Whether nothing was said.
    fn is_silent(&self) -> bool {
        self.0.set_nonblocking(true).expect("an open socket");
        let heard = self.0.recv(&mut [0; 512]);
        self.0.set_nonblocking(false).expect("an open socket");
        heard.is_err()
    }
}

/// What `systemctl status` shows of a gateway that is content.
const CONTENT: &str = "READY=1\nSTATUS=serving\n";

/// `Type=notify-reload`: ready, reloading with its time, ready again whatever came of it, another main process, stopping.
/// As systemd takes a reload that was refused for one that was not, the status says so, and why.
#[test]
fn systemd_is_told_how_the_gateway_fares() {
    let folder = Folder::new();
    let systemd = Notified::bind(&folder);
    let place = folder.path("notify");
    let yaml = Plan::bare(Io::Epoll).and("reload: { watch: off }").yaml();
    let mut heirs = Heirs::start_in(folder, &yaml, |command| {
        command.env("NOTIFY_SOCKET", place);
    });
    assert_eq!(systemd.hears(), CONTENT);
    let mut before_us = 0;
    let refused = "READY=1\nSTATUS=serving by the configuration before; the files were refused: error: ";
    for (yaml, outcome) in [(yaml.as_str(), CONTENT), ("nonsense", refused), ("nonsense", refused), (&yaml, CONTENT)] {
        heirs.gateway.writes(yaml);
        heirs.signals(libc::SIGHUP);
        let told = systemd.hears();
        let since = told.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap_or_else(|| panic!("{told}"));
        let since: u64 = since.trim_end().parse().expect("a number");
        assert!(since > before_us, "{since} is not after {before_us}");
        before_us = since;
        let told = systemd.hears();
        assert!(told.starts_with(outcome) && told.lines().count() == 2, "{told}");
        assert_eq!(told.contains("gateway.yaml:1:1: "), yaml == "nonsense", "{told}");
    }
    let old = heirs.upgrades();
    assert_eq!(heirs.exit_code_of(old), Some(0));
    let (main, mut told) = (format!("MAINPID={}\n", heirs.serving), Vec::new());
    while !told.contains(&main) {
        told.push(systemd.hears());
    }
    heirs.stop();
    while told.last().is_none_or(|last| last != "STOPPING=1\n") {
        told.push(systemd.hears());
    }
    let count = |word: &str| told.iter().filter(|told| told.starts_with(word)).count();
    assert!(count("STOPPING") == 1 && count("READY") >= 1 && count("MAINPID") == 1, "{told:?}");
    assert!(systemd.is_silent(), "{told:?}");
}

/// A thread of another process that is stopped, and no other with it, until this is dropped.
struct Stopped(i32);

impl Stopped {
    /// The thread of this name.
    fn thread(process: i32, name: &str) -> Self {
        let mut threads = std::fs::read_dir(format!("/proc/{process}/task")).expect("a living process").flatten();
        let is_it = |path: &Path| std::fs::read_to_string(path.join("comm")).is_ok_and(|comm| comm.trim_end() == name);
        let found = threads.find(|thread| is_it(&thread.path())).expect("a thread of that name").file_name();
        let number: i32 = found.to_str().expect("digits").parse().expect("a number");
        let none = std::ptr::null_mut::<libc::c_void>();
        for order in [libc::PTRACE_SEIZE, libc::PTRACE_INTERRUPT] {
            // SAFETY: neither of the two reads or writes memory.
            assert_eq!(unsafe { libc::ptrace(order, number, none, none) }, 0, "{}", std::io::Error::last_os_error());
        }
        // SAFETY: how it stopped is not asked for.
        assert_eq!(unsafe { libc::waitpid(number, std::ptr::null_mut(), libc::__WALL) }, number);
        Self(number)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        let none = std::ptr::null_mut::<libc::c_void>();
        // SAFETY: it lets the thread go on, by which no memory is read or written.
        unsafe { libc::ptrace(libc::PTRACE_DETACH, self.0, none, none) };
    }
}

/// The watchdog hears of it as long as every worker ticks, of nothing while one does not, and again when it goes on.
#[test]
fn the_watchdog_is_fed_while_the_workers_tick() {
    const SILENCE: &str = "a worker does not tick, systemd is not told that it lives";
    let folder = Folder::new();
    let systemd = Notified::bind(&folder);
    let place = folder.path("notify");
    let yaml = Plan::bare(Io::Epoll).workers("2").and("reload: { watch: off }").yaml();
    let heirs = Heirs::start_in(folder, &yaml, |command| {
        command.env("NOTIFY_SOCKET", place).env("WATCHDOG_USEC", "400000");
    });
    assert_eq!(systemd.hears(), CONTENT);
    for _ in 0..3 {
        assert_eq!(systemd.hears(), "WATCHDOG=1\n");
    }
    let stopped = Stopped::thread(heirs.serving, "worker-1");
    heirs.gateway.notice(SILENCE);
    while !systemd.is_silent() {}
    let told = heirs.gateway.notices_of(SILENCE).len();
    until_true("several times of silence", || heirs.gateway.notices_of(SILENCE).len() >= told + 3);
    assert!(systemd.is_silent());
    drop(stopped);
    assert_eq!(systemd.hears(), "WATCHDOG=1\n");
    heirs.stop();
}

/// Starts the binary with one listening socket as its third descriptor, as systemd would.
fn activated(socket: OwnedFd, name: &str, folder: Folder, yaml: &str) -> (Folder, Command) {
    let file = folder.write("gateway.yaml", yaml);
    let mut command = program("sh");
    let script = "exec 3<&0 </dev/null; LISTEN_PID=$$ exec \"$0\" run -c \"$1\"";
    command.arg("-c").arg(script).arg(BINARY).arg(file).env("LISTEN_FDS", "1").env("LISTEN_FDNAMES", name);
    command.stdin(Stdio::from(socket));
    (folder, command)
}

/// By the name of the listener, or in order where no name is a listener's.
#[test]
fn sockets_of_systemd_are_listened_on() {
    for name in ["web", "ringgate.socket"] {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback");
        let address = socket.local_addr().expect("a bound socket");
        let plan = Plan::bare(Io::Uring).workers("2").route("name: all, respond: { status: 200, body: hello }");
        let (folder, mut command) = activated(socket.into(), name, Folder::new(), &plan.yaml());
        let gateway = Gateway::start_with(folder, &mut command);
        assert_eq!(gateway.address(), address, "{name}");
        for _ in 0..8 {
            let mut client = gateway.client();
            client.asks("/");
            assert_eq!(client.expects(200).text(), "hello");
            client.closes();
        }
        gateway.stop();
    }
}

/// A socket that fits no listener is a mistake that must not go unnoticed.
#[test]
fn a_socket_that_fits_no_listener_is_an_error() {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback");
    let more = "listeners:\n  more: { address: '127.0.0.1:0' }\n";
    let yaml = Plan::bare(Io::Epoll).yaml().replace("listeners:\n", more);
    let (_folder, mut command) = activated(socket.into(), "other", Folder::new(), &yaml);
    let output = command.output().expect("a child");
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("`other`") && said.contains("`web`") && said.contains("fits no listener"), "{said}");
}
