//! What the machine runs out of: descriptors (F34), memory for heads (F35), and drivers that it refuses (A5).

use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use super::folder::Folder;
use super::gateway::Gateway;
use super::origin::Origin;
use super::plan::{Io, Plan};
use super::process::{Lines, Process, binary};
use super::wait::{now_ms, until, until_true};
use super::wire::Wire;

/// Heads on their way, and bytes of each that have come.
const HEADS: u64 = 200;
const HEAD_BYTES: u64 = 60 << 10;

/// F34: without descriptors accepting pauses, and does not spin; what is open is served; a new connection upstream is a
/// 503; and all is well once there are descriptors again.
fn without_descriptors_it_waits_and_recovers(io: Io) {
    let origin = Origin::echo();
    let gateway = Plan::to(io, &[origin.address()])
        .route("name: local, match: { path: /local }, respond: { status: 200, body: local }")
        .start();
    let mut open = gateway.client();
    open.asks("/local");
    open.expects(200);
    gateway.process.bounds_descriptors(3);
    open.asks("/upstream");
    let answer = open.expects(503);
    assert_eq!(answer.reason(), "descriptors_exhausted");
    let mut waiting: Vec<_> = (0..20).map(|_| gateway.client()).collect();
    for client in &mut waiting {
        client.asks("/local");
    }
    let (ticks, began_ms) = (gateway.process.cpu_ticks(), now_ms());
    until_true("half a second without descriptors", || {
        open.asks("/local");
        open.expects(200);
        now_ms() - began_ms > 500
    });
    let used = gateway.process.cpu_ticks() - ticks;
    assert!(used < 40, "{used} hundredths of a second in half a second: it spins");
    gateway.process.bounds_descriptors(4096);
    for client in &mut waiting {
        client.expects(200);
    }
    open.asks("/upstream");
    open.expects(200);
    assert!(gateway.metric("accept_errors_total{reason=\"descriptors\"}") > 0.0);
    assert_eq!(
        gateway.metric_sum("accept_errors_total"),
        gateway.metric("accept_errors_total{reason=\"descriptors\"}")
    );
    gateway.stop();
}

/// F35: what heads hold that are still on their way is freed when these end: so others are refused meanwhile, and not taken on until the
/// kernel kills the process.
fn heads_on_their_way_are_at_work_when_memory_is_short(io: Io) {
    let plan = |limit: &str| {
        Plan::bare(io)
            .workers("1")
            .limits("header_timeout: 60s")
            .route("name: local, match: { path: /local }, respond: { status: 200, body: local }")
            .runtime(&format!("memory_limit: {limit}"))
    };
    let gateway = plan("off").start();
    let before = gateway.process.held_bytes();
    let begun = format!("GET /local HTTP/1.1\r\nHost: a\r\nX: {}", "x".repeat(usize::try_from(HEAD_BYTES).unwrap()));
    let heads: Vec<_> = (0..HEADS)
        .map(|_| {
            let mut wire = Wire::to(gateway.address());
            wire.sends(&begun);
            wire
        })
        .collect();
    until_true("they have come", || gateway.process.held_bytes() > before + HEADS * HEAD_BYTES);
    gateway.adopts(&plan(&format!("{}B", gateway.process.held_bytes() / 100 * 98)).yaml());
    gateway.waits_for("memory_shedding", 2.0);
    let answer = gateway.client().expects(503);
    assert!(answer.text().contains("memory"), "{answer}");
    drop(heads);
    gateway.waits_for("memory_shedding", 0.0);
    gateway.client().asks("/local").expects(200);
    gateway.stop();
}

on_both_drivers![without_descriptors_it_waits_and_recovers, heads_on_their_way_are_at_work_when_memory_is_short];

/// The binary, which may open so many descriptors.
fn with_descriptors(limit: u64) -> Command {
    let bound = libc::rlimit { rlim_cur: limit, rlim_max: limit };
    // SAFETY: a system call whose argument outlives it; it allocates nothing and is allowed between fork and exec.
    let sets_bound = move || match unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const bound) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    };
    let mut command = binary();
    // SAFETY: the closure calls only what is allowed between fork and exec.
    unsafe { command.pre_exec(sets_bound) };
    command
}

/// Who says that it has started has all descriptors that this takes: with fewer it does not start, which is told at once, and it is
/// never gone behind that.
#[test]
fn who_has_started_lacks_no_descriptor() {
    let folder = Folder::new();
    let plan = Plan::bare(Io::Epoll).route("name: all, respond: { status: 200, body: in }");
    let file = folder.write("gateway.yaml", plan.yaml());
    let has_started = (8..100).any(|limit| {
        let mut command = with_descriptors(limit);
        command.arg("run").arg("-c").arg(&file).stdout(Stdio::null()).stderr(Stdio::piped());
        let (mut process, began_ms) = (Process::start(&mut command), now_ms());
        let notices = Lines::of(process.child().stderr.take().expect("a pipe"));
        let says_so = || notices.all().iter().any(|line| line.contains("gateway starting"));
        let has_started = until("a start or an end", || {
            let has_ended = process.ended().is_some();
            if has_ended {
                notices.end();
            }
            (says_so() || has_ended).then(says_so)
        });
        if process.ended().is_none() {
            process.signal(libc::SIGTERM);
        }
        let all = notices.all().join("\n");
        assert_eq!(process.exit_code() == Some(0), has_started, "with {limit} descriptors: {all}");
        let took_ms = now_ms() - began_ms;
        assert!(took_ms < 4_000, "{took_ms} ms with {limit} descriptors: {all}");
        has_started
    });
    assert!(has_started, "a hundred descriptors are enough");
}

/// Makes the kernel refuse `io_uring_setup` to this process with an error, as a container's profile does with EPERM.
fn refuse_io_uring(error: i32) -> std::io::Result<()> {
    const LOAD_NUMBER: libc::sock_filter = libc::sock_filter { code: 0x20, jt: 0, jf: 0, k: 0 };
    let number = u32::try_from(libc::SYS_io_uring_setup).expect("a small number");
    let mut program = [
        LOAD_NUMBER,
        libc::sock_filter { code: 0x15, jt: 0, jf: 1, k: number },
        libc::sock_filter { code: 0x06, jt: 0, jf: 0, k: 0x0005_0000 | error.unsigned_abs() },
        libc::sock_filter { code: 0x06, jt: 0, jf: 0, k: 0x7fff_0000 },
    ];
    let filter = libc::sock_fprog { len: 4, filter: program.as_mut_ptr() };
    // SAFETY: system calls whose argument outlives them; they allocate nothing and are allowed between fork and exec.
    let refused = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const filter) == 0
    };
    if refused { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

/// The binary, to which the kernel refuses `io_uring` with this error.
pub(crate) fn without_io_uring(error: i32) -> Command {
    let mut command = binary();
    // SAFETY: the closure calls only what is allowed between fork and exec.
    unsafe { command.pre_exec(move || refuse_io_uring(error)) };
    command
}

/// A5: where `io_uring` is refused, `auto` takes epoll by itself and says why; asked for by name, it is an error.
#[test]
fn epoll_is_taken_where_io_uring_is_refused() {
    let origin = Origin::echo();
    let yaml = Plan::to(Io::Epoll, &[origin.address()]).yaml();
    let folder = Folder::new();
    let file = folder.write("gateway.yaml", yaml.replace("io: epoll", "io: auto"));
    let mut command = without_io_uring(libc::EPERM);
    command.arg("run").arg("-c").arg(file);
    let gateway = Gateway::start_with(folder, &mut command);
    let status = gateway.status();
    assert_eq!(status["io"]["driver"], "epoll", "{status}");
    assert!(status["io"]["reason"].as_str().is_some_and(|reason| reason.contains("seccomp")), "{status}");
    let mut client = gateway.client();
    client.asks("/x");
    client.expects(200);
    gateway.stop();

    let folder = Folder::new();
    let file = folder.write("gateway.yaml", yaml.replace("io: epoll", "io: io_uring"));
    let mut command = without_io_uring(libc::EPERM);
    let output = command.arg("run").arg("-c").arg(file).output().expect("a child");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("io_uring"), "{output:?}");
}
