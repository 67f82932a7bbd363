//! F42: somebody sets the wall clock while the gateway runs. Deadlines, limits and pools go on by the monotonic one; what a
//! token says of its time, and `Date`, go by the wall.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::folder::Folder;
use super::gateway::Gateway;
use super::issuer::{Issuer, key_set};
use super::message::Message;
use super::origin::Origin;
use super::plan::{Io, Plan};
use super::process::binary;
use super::wait::{now_ms, until_true};

/// Put before the C library: a wall clock that is ahead by what a file says.
const CLOCK: &str = r#"
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static volatile long *ahead;

__attribute__((constructor)) static void begin(void) {
    int file = open(getenv("CLOCK_AHEAD"), O_RDONLY | O_CLOEXEC);
    ahead = mmap(0, sizeof *ahead, PROT_READ, MAP_SHARED, file, 0);
    close(file);
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    long failed = syscall(SYS_clock_gettime, clock, now);
    if (!failed && ahead && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += *ahead;
    return failed;
}
"#;

/// A wall clock of one gateway, which the test sets.
struct WallClock(PathBuf);

impl WallClock {
    fn new(folder: &Folder) -> Self {
        let clock = Self(folder.path("ahead"));
        clock.jumps(0);
        let source = folder.write("clock.c", CLOCK);
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-o"]).arg(folder.path("clock.so")).arg(source);
        assert!(compiler.status().expect("a compiler of C").success());
        clock
    }

    /// It is so many seconds ahead from now on; the file stays where it is mapped.
    fn jumps(&self, seconds: i64) {
        use std::os::unix::fs::FileExt as _;
        let file = std::fs::OpenOptions::new().create(true).truncate(false).write(true).open(&self.0).expect("a file");
        file.write_all_at(&seconds.to_ne_bytes(), 0).expect("room on the disk");
    }

    fn under(&self, folder: &Folder, config: &Path) -> Command {
        let mut command = binary();
        command.arg("run").arg("-c").arg(config).current_dir(folder);
        command.env("LD_PRELOAD", folder.path("clock.so")).env("CLOCK_AHEAD", &self.0);
        command
    }
}

const HOUR: i64 = 3_600;
const DAY: i64 = 24 * HOUR;

/// An hour ahead, an hour back, a day back: no quota comes back early and none is lost, connections of both sides stay, and a
/// token holds or not by the new time.
fn limits_and_pools_do_not_follow_the_wall_clock(io: Io) {
    let (issuer, origin, folder) = (Issuer::new("k"), Origin::saying("in"), Folder::new());
    folder.write("keys.json", key_set(&[&issuer]));
    let plan = Plan::bare(io)
        .cluster("app", &[origin.address()])
        .policies("staff: { jwt: { audience: api, keys_file: keys.json } }, window: { rate_limit: { limit: 2/1h } }")
        .policies("bucket: { rate_limit: { limit: 2/1h, algorithm: token_bucket, burst: 2 } }")
        .policies("short: { rate_limit: { limit: 1/1s } }")
        .route("name: window, match: { path: /window }, cluster: app, policies: [window]")
        .route("name: bucket, match: { path: /bucket }, cluster: app, policies: [bucket]")
        .route("name: short, match: { path: /short }, cluster: app, policies: [short]")
        .route("name: staff, match: { path: /staff }, cluster: app, policies: [staff]")
        .route("name: rest, match: { path: /* }, cluster: app");
    let config = folder.write("gateway.yaml", plan.yaml());
    let clock = WallClock::new(&folder);
    let mut command = clock.under(&folder, &config);
    let gateway = Gateway::start_with(folder, &mut command);
    let mut client = gateway.client();
    let token = issuer.token(r#""aud":"api""#);
    let shows = format!("GET /staff HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n");
    for path in ["/window", "/bucket"] {
        client.asks(path).expects(200);
        client.asks(path).expects(200);
    }
    let day = |answer: &Message| answer.field("date").map(|date| date[..16].to_owned());
    let today = day(&client.asks("/window").expects(429));
    for (ahead, status) in [(HOUR, 401), (0, 200), (-HOUR, 200), (-DAY, 200), (30 * DAY, 401), (0, 200)] {
        clock.jumps(ahead);
        // The wall is looked at by the tick.
        until_true("the wall clock is followed", || {
            let is_another_day = day(&client.asks("/window").expects(429)) != today;
            client.sends(&shows);
            client.expects_any().status() == status && (is_another_day || ahead.abs() < DAY)
        });
        for path in ["/window", "/bucket"] {
            let refused = client.asks(path).expects(429);
            let wait_s: u64 = refused.field("retry-after").and_then(|text| text.parse().ok()).expect("seconds");
            // One may pass a moment after the window, and it may have just begun.
            assert!((1..=3_601).contains(&wait_s), "{ahead}: {refused}");
        }
        client.asks("/x").expects(200);
    }
    assert_eq!(origin.connections(), 1, "no connection to the endpoint was given up");
    // A quota comes back when its time is over, though the clock went back a day.
    let began_ms = now_ms();
    client.asks("/short").expects(200);
    clock.jumps(-DAY);
    until_true("the window to move on", || client.asks("/short").expects_any().status() == 200);
    assert!((900..5_000).contains(&(now_ms() - began_ms)), "{} ms", now_ms() - began_ms);
    gateway.stop();
}

on_both_drivers![limits_and_pools_do_not_follow_the_wall_clock];
