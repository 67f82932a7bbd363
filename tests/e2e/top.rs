//! L1: `ringgate top`, as text and on a terminal of its own.

use std::fs::File;
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::process::{Command, Stdio};

use super::folder::Folder;
use super::gateway::Gateway;
use super::origin::Origin;
use super::plan::{Io, Plan};
use super::process::{Lines, Process, binary};
use super::wait::{thread, until, until_true};

/// A terminal: where the program is, and where its user is.
struct Terminal {
    program: OwnedFd,
    user: File,
    lines: Lines,
}

impl Terminal {
    fn new() -> Self {
        let (mut user, mut program) = (0, 0);
        let size = libc::winsize { ws_row: 30, ws_col: 120, ws_xpixel: 0, ws_ypixel: 0 };
        // SAFETY: all pointers are to values that outlive the call, or null where that is allowed.
        let opened = unsafe {
            libc::openpty(&raw mut user, &raw mut program, std::ptr::null_mut(), std::ptr::null(), &raw const size)
        };
        assert_eq!(opened, 0, "openpty");
        // SAFETY: both are open, and nobody else has them.
        let (user, program) = unsafe { (File::from_raw_fd(user), OwnedFd::from_raw_fd(program)) };
        let lines = Lines::of(Pieces(user.try_clone().expect("a descriptor")));
        Self { program, user, lines }
    }

    /// How it is set: the flags that a program changes.
    fn settings(&self) -> [u32; 4] {
        // SAFETY: an all-zero value is one, and the call fills it in.
        let mut settings: libc::termios = unsafe { std::mem::zeroed() };
        // SAFETY: the descriptor is open, and the value outlives the call.
        assert_eq!(unsafe { libc::tcgetattr(self.program.as_raw_fd(), &raw mut settings) }, 0, "tcgetattr");
        [settings.c_iflag, settings.c_oflag, settings.c_cflag, settings.c_lflag]
    }

    /// Starts a program on it.
    fn starts(&self, command: &mut Command) -> Process {
        let end = || Stdio::from(self.program.try_clone().expect("a descriptor"));
        Process::start(command.stdin(end()).stdout(end()).stderr(end()))
    }

    fn types(&mut self, keys: &str) {
        self.user.write_all(keys.as_bytes()).expect("a terminal");
    }

    /// Everything that was shown so far.
    fn shown(&self) -> String {
        self.lines.all().join("")
    }

    fn waits_to_show(&self, text: &str) {
        until_true(&format!("`{text}` on the terminal"), || self.shown().contains(text));
    }
}

/// The output of a terminal, a line end behind whatever came at once: what steers a screen has none.
struct Pieces(File);

impl std::io::Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let room = buffer.len() - 1;
        let count = self.0.read(&mut buffer[..room])?;
        buffer[count] = b'\n';
        Ok(if count == 0 { 0 } else { count + 1 })
    }
}

fn top(admin: SocketAddr) -> Command {
    let mut command = binary();
    command.args(["top", "--admin", &format!("http://{admin}")]);
    command
}

fn gateway(origin: &Origin) -> Gateway {
    Plan::to(Io::Epoll, &[origin.address()])
        .workers("2")
        .route("name: none, match: { path: /none }, respond: { status: 200 }, policies: [nobody]")
        .policies("nobody: { access: { deny: ['0.0.0.0/0'] } }")
        .start()
}

/// A second of work as plain text: rates, percentiles, reasons, workers, endpoints; over TCP as over a unix socket, and with a
/// token where one is needed.
#[test]
fn one_second_is_told_as_text() {
    let origin = Origin::saying("ok");
    let gateway = gateway(&origin);
    let address = gateway.address();
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let asking = thread("asks", move || {
        let mut client = super::client::Client::to(address);
        let mut count = 0u32;
        while stopped.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
            client.asks("/").expects(200);
            client.asks("/none").expects(403);
            count += 2;
        }
        count
    });
    // Standard output is no terminal here, which is as good as `--once`.
    let output = top(gateway.admin()).output().expect("it runs");
    stop.send(()).expect("it still asks");
    let count = asking.join().expect("it ends");
    let text = String::from_utf8(output.stdout).expect("text");
    assert_eq!(output.status.code(), Some(0), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let number = |start: &str, end: &str| {
        let from = text.find(start).unwrap_or_else(|| panic!("no {start} in\n{text}")) + start.len();
        text[from..].split(end).next().expect("an end").parse::<f64>().unwrap_or_else(|_| panic!("{start}\n{text}"))
    };
    let rate = number("requests  ", "/s");
    assert!(rate > 10.0 && rate <= f64::from(count), "{rate} of {count}:\n{text}");
    let refused = number("access_denied ", "/s");
    assert!(refused > 4.0 && refused < rate, "{refused} of {rate}:\n{text}");
    assert!(number(", p50 ", " ms") > 0.0 && number(", p99 ", " ms") > 0.0);
    for part in ["ringgate  ", "epoch 1, ready\n", "\nworker 0 ", "\nworker 1 ", "cluster   app (round_robin): "] {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
    assert!(text.contains(&format!("{} ", origin.address())) && text.contains(" fit, "), "{text}");
    assert!(!text.contains('\u{1b}'), "plain text: {text:?}");
    gateway.stop();
}

/// H4: over a unix socket, and with a token.
#[test]
fn it_finds_the_gateway_as_other_commands_do() {
    let folder = Folder::new();
    let socket = folder.path("admin.sock");
    let listen = format!("admin: {{ listen: 'unix:{}' }}", socket.display());
    let gateway =
        Gateway::start_in(folder, &Plan::bare(Io::Epoll).yaml().replace("admin: { listen: '127.0.0.1:0' }", &listen));
    let once = |arguments: &[&str]| {
        let output = binary().args(["top", "--once"]).args(arguments).output().expect("it runs");
        (output.status.code(), String::from_utf8([output.stdout, output.stderr].concat()).expect("text"))
    };
    let file = gateway.folder.path("gateway.yaml");
    for arguments in [["--admin", &format!("unix:{}", socket.display())], ["-c", file.to_str().expect("text")]] {
        let (code, text) = once(&arguments);
        assert!(code == Some(0) && text.contains("rejected  nothing"), "{text}");
    }
    drop(gateway.killed());
    let folder = Folder::new();
    let token = folder.write("token", "a-token-that-may-do-everything");
    let listen = "admin: { listen: '127.0.0.1:0', token: '${file:token}' }";
    let gateway =
        Gateway::start_in(folder, &Plan::bare(Io::Epoll).yaml().replace("admin: { listen: '127.0.0.1:0' }", listen));
    let admin = format!("http://{}", gateway.admin());
    let (code, text) = once(&["--admin", &admin, "--token-file", token.to_str().expect("text")]);
    assert!(code == Some(0) && text.starts_with("ringgate  "), "{text}");
    let (code, text) = once(&["--admin", &admin]);
    assert!(code == Some(1) && text.contains("401"), "{text}");
    drop(gateway.killed());
    let (code, text) = once(&["--admin", &admin]);
    assert!(code == Some(1) && text.contains("is the gateway running?"), "{text}");
}

/// On a terminal it goes on until `q`, ctrl-C or a signal, and the terminal is as it was.
#[test]
fn a_terminal_is_as_it_was_whatever_ended_it() {
    let origin = Origin::saying("ok");
    let gateway = gateway(&origin);
    for end in ["q", "\u{3}", "\u{1b}", ""] {
        let mut terminal = Terminal::new();
        let before = terminal.settings();
        let mut process = terminal.starts(&mut top(gateway.admin()));
        terminal.waits_to_show("cluster   app");
        assert_ne!(terminal.settings(), before, "keys are read one by one");
        assert!(terminal.shown().contains("\u{1b}[?1049h"), "a screen of its own");
        if end.is_empty() {
            process.signal(libc::SIGTERM);
        } else {
            terminal.types(end);
        }
        assert_eq!(process.exit_code(), Some(0), "{end:?}: {}", terminal.shown());
        assert_eq!(terminal.settings(), before, "{end:?}");
        terminal.waits_to_show("\u{1b}[?1049l");
        terminal.waits_to_show("\u{1b}[?25h");
    }
    gateway.stop();
}

/// A gateway that is away is told of and asked again until it is back.
#[test]
fn a_gateway_that_is_away_is_asked_again() {
    let folder = Folder::new();
    let socket = folder.path("admin.sock");
    let listen = format!("admin: {{ listen: 'unix:{}' }}", socket.display());
    let yaml = Plan::bare(Io::Epoll).yaml().replace("admin: { listen: '127.0.0.1:0' }", &listen);
    let mut command = binary();
    command.args(["top", "--admin", &format!("unix:{}", socket.display())]);
    let mut terminal = Terminal::new();
    let mut process = terminal.starts(&mut command);
    terminal.waits_to_show("AWAY ");
    let gateway = Gateway::start_in(folder, &yaml);
    let pid = format!("pid {}", gateway.process.pid());
    terminal.waits_to_show(&pid);
    let folder = gateway.killed();
    let away = terminal.shown().matches("AWAY ").count();
    until("that it is away again", || (terminal.shown().matches("AWAY ").count() > away).then_some(()));
    let gateway = Gateway::start_in(folder, &yaml);
    terminal.waits_to_show(&format!("pid {}", gateway.process.pid()));
    terminal.types("q");
    assert_eq!(process.exit_code(), Some(0));
    drop(gateway.killed());
}
