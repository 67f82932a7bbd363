//! Tests of [`super`]: what is read, and what looks at it lead to.

use super::*;

const LIMIT: u64 = 1 << 30;

/// What `/proc` says of a process that holds so many parts in a hundred of the limit.
fn held(parts: u64) -> String {
    format!("RssAnon:\t{} kB\n", LIMIT / 1024 * parts / 100)
}

fn from<'a>(files: &'a [(&'a str, &'a str)]) -> impl Fn(&Path) -> Option<String> {
    |path| files.iter().find(|(name, _)| Path::new(name) == path).map(|(_, text)| (*text).to_owned())
}

/// The same as the kernel has it.
fn found(files: &[(&str, &str)], path: &Path) -> io::Result<String> {
    from(files)(path).ok_or_else(|| io::Error::from_raw_os_error(libc::ENOENT))
}

fn limit_with(files: &[(&str, &str)]) -> Option<u64> {
    cgroup_limit(from(files)).map(|group| group.bytes)
}

#[test]
fn the_tightest_limit_of_a_v2_cgroup_counts() {
    let group = ("/proc/self/cgroup", "0::/pod/box\n");
    let limits = [
        group,
        ("/sys/fs/cgroup/memory.max", "max\n"),
        ("/sys/fs/cgroup/pod/memory.max", "536870912\n"),
        ("/sys/fs/cgroup/pod/box/memory.max", "1073741824\n"),
    ];
    assert_eq!(limit_with(&limits), Some(512 << 20));
    assert_eq!(limit_with(&limits[..2]), None);
    assert_eq!(limit_with(&[]), None);
    // A container with a namespace of its own sees its files at the mount.
    let own = [("/proc/self/cgroup", "0::/\n"), ("/sys/fs/cgroup/memory.max", "268435456\n")];
    assert_eq!(limit_with(&own), Some(256 << 20));
}

#[test]
fn a_limit_of_a_v1_cgroup_is_found_and_what_is_none_is_not() {
    let group = ("/proc/self/cgroup", "9:memory:/box\n4:cpu,cpuacct:/other\n0::/init\n");
    let file = "/sys/fs/cgroup/memory/box/memory.limit_in_bytes";
    assert_eq!(limit_with(&[group, (file, "134217728\n")]), Some(128 << 20));
    assert_eq!(limit_with(&[group, (file, "9223372036854771712\n")]), None);
    let root = [group, ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "67108864\n")];
    assert_eq!(limit_with(&root), Some(64 << 20), "a container without a namespace of its own");
}

#[test]
fn what_a_group_has_in_use_counts_where_the_limit_is_its_own_but_for_files_that_can_be_dropped() {
    let v2 = [
        ("/proc/self/cgroup", "0::/pod/box\n"),
        ("/sys/fs/cgroup/pod/box/memory.max", "1000\n"),
        ("/sys/fs/cgroup/pod/box/memory.current", "900\n"),
        ("/sys/fs/cgroup/pod/box/memory.stat", "anon 500\ninactive_file 250\nactive_file 50\n"),
        ("/sys/fs/cgroup/pod/memory.max", "999\n"),
        ("/sys/fs/cgroup/pod/memory.current", "998\n"),
    ];
    let used_with = |files: &[(&str, &str)]| {
        let group = cgroup_limit(from(files)).expect("a limit");
        group_bytes(&group, from(files))
    };
    assert_eq!(used_with(&v2[..4]), Some(600));
    assert_eq!(used_with(&v2), None, "the limit of a group above is shared with others");
    assert_eq!(used_with(&v2[..2]), None, "nothing is known");
    let v1 = [
        ("/proc/self/cgroup", "9:memory:/box\n"),
        ("/sys/fs/cgroup/memory/box/memory.limit_in_bytes", "1000\n"),
        ("/sys/fs/cgroup/memory/box/memory.usage_in_bytes", "950\n"),
        ("/sys/fs/cgroup/memory/box/memory.stat", "inactive_file 1\ntotal_inactive_file 200\ntotal_active_file 50\n"),
    ];
    assert_eq!(used_with(&v1), Some(700));
}

#[test]
fn memory_is_read_in_bytes_and_what_the_kernel_can_take_back_is_not_held() {
    let old = "Name:\tx\nVmRSS:\t    1234 kB\nVmSwap: 0 kB\n";
    assert_eq!((line_of(old, "VmRSS:"), parse_held(old)), (Some(1_263_616), Some(1_263_616)));
    let new = "VmRSS:\t 1234 kB\nRssAnon:\t 200 kB\nRssFile:\t 1000 kB\nRssShmem:\t 34 kB\n";
    assert_eq!(parse_held(new), Some(234 * 1024));
    assert_eq!(parse_held("Name:\tx\n"), None);
    let held = used_bytes(None, read).expect("a process");
    assert!(held > 100_000 && held < resident_bytes(), "{held}");
}

#[test]
fn memory_is_given_back_once_more_only_where_that_helped() {
    let may_help = |used| Trims { used, used_before: 100 << 20, ..Trims::default() }.may_help();
    assert!(!may_help(200 << 20) && !may_help(100 << 20) && !may_help((99 << 20) + 1));
    assert!(may_help(99 << 20));
}

#[test]
fn what_a_peak_had_is_given_back_before_it_is_taken_for_a_floor() {
    let headroom = Headroom::default();
    headroom.set_limit(Some(LIMIT));
    let mut watch = Watch::default();
    let mut gives_back = |now_ms, used_parts, at_work| {
        let status = held(used_parts);
        watch.on_look(&headroom, now_ms, at_work, |path| found(&[(STATUS, status.as_str())], path));
        (watch.trims.takes_turn(), headroom.shortage())
    };
    assert_eq!(gives_back(0, 50, 0), (false, Shortage::None));
    assert_eq!(gives_back(50, 93, LIMIT), (true, Shortage::Requests));
    assert_eq!(gives_back(100, 94, LIMIT), (false, Shortage::Requests));
    assert_eq!(gives_back(150, 94, 0), (true, Shortage::Requests), "clients have left");
    assert_eq!(gives_back(200, 94, 0), (false, Shortage::Requests), "once");
    assert_eq!(gives_back(2_150, 94, 0), (false, Shortage::None), "a floor");
}

#[tokio::test]
async fn giving_back_waits_for_the_time_before() {
    let mut trims = Trims { running: Some(tokio::spawn(std::future::pending())), ..Trims::default() };
    trims.on_look(true, true, false, 1);
    assert!(!trims.takes_turn());
    trims.on_look(true, false, false, 1);
    let running = trims.running.as_mut().expect("it runs");
    running.abort();
    drop(running.await);
    assert!(trims.takes_turn() && !trims.takes_turn());
    trims.on_look(true, true, false, 1);
    trims.on_look(false, false, false, 1);
    assert!(!trims.takes_turn(), "memory is no longer short");
}

#[test]
fn the_soft_limit_of_descriptors_is_read() {
    let text = "Limit  Soft Limit  Hard Limit  Units\nMax open files            1024                 524288               files \n";
    assert_eq!(parse_descriptors(text), Some(1024));
    assert_eq!(parse_descriptors("Max open files   unlimited  unlimited files"), None);
    assert!(descriptor_limit().is_some());
}

#[test]
fn what_cannot_be_read_for_want_of_descriptors_or_memory_changes_nothing() {
    let headroom = Headroom::default();
    headroom.set_auto(true);
    let (limit, much, little) = (LIMIT.to_string(), held(93), held(10));
    let own = [
        ("/proc/self/cgroup", "0::/box\n"),
        ("/sys/fs/cgroup/box/memory.max", limit.as_str()),
        ("/sys/fs/cgroup/box/memory.current", "1"),
    ];
    let (mut watch, mut now_ms) = (Watch::default(), 0);
    watch.on_look(&headroom, now_ms, LIMIT, |path| found(&[&own[..], &[(STATUS, much.as_str())]].concat(), path));
    let mut lacks = |file: &str, code| {
        for _ in 0..=20 {
            now_ms += 50;
            watch.on_look(&headroom, now_ms, 0, |path| match path.ends_with(file) {
                true => Err(io::Error::from_raw_os_error(code)),
                false => found(&[&own[..], &[(STATUS, little.as_str())]].concat(), path),
            });
        }
        (headroom.limit(), watch.group.is_some(), headroom.shortage())
    };
    // Where what is in use is not known.
    for (file, code) in [("status", libc::EMFILE), ("memory.current", libc::ENFILE), ("status", libc::ENOMEM)] {
        assert_eq!(lacks(file, code), (Some(LIMIT), true, Shortage::Requests), "{file}");
    }
    // Where the limit is not.
    for (file, code) in [("cgroup", libc::EMFILE), ("memory.max", libc::ENFILE), ("cgroup", libc::ENOMEM)] {
        assert_eq!(lacks(file, code), (Some(LIMIT), true, Shortage::None), "{file}");
    }
    assert_eq!(lacks("memory.max", libc::ENOENT), (None, false, Shortage::None), "there is none any more");
}
