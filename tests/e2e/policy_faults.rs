//! H1 and H3: the live policy where it cannot be kept: full disks, crashes at each step of a write, Redis that is gone, does not
//! answer or refuses.

use std::os::unix::fs::symlink;
use std::time::Duration;

use super::crash;
use super::folder::Folder;
use super::gateway::{Gateway, json};
use super::heirs::Heirs;
use super::live_policy::{document, is_posted, of};
use super::plan::{Io, Plan};
use super::redis::Redis;
use super::redis_front::RedisFront;
use super::wait::until_true;

const FILE: &str = "policy.json";
const KEY: &str = "gateway:policy";

fn plan(io: Io, policy: &str) -> Plan {
    let plan = Plan::bare(io).workers("2");
    plan.route("name: all, match: { path: /* }, respond: { status: 200, body: in }").and(policy)
}

/// A gateway whose document has a file and a key.
fn sharing(io: Io, redis: &Redis) -> Gateway {
    plan(io, &format!("policy: {{ file: {FILE}, redis: {{ url: '{}' }} }}", redis.url())).start()
}

/// From now on there is no room for the file.
fn fills_the_disk(gateway: &Gateway) {
    // What is written beside the file goes to a device that has no room, and is removed when that fails.
    symlink("/dev/full", gateway.folder.path(".full")).expect("a link");
    std::fs::rename(gateway.folder.path(".full"), gateway.folder.path("policy.json.new")).expect("a rename");
}

fn trouble(gateway: &Gateway) -> String {
    gateway.status()["policy"]["error"].as_str().unwrap_or_default().to_owned()
}

fn kept(folder: &Folder) -> serde_json::Value {
    json(&std::fs::read_to_string(folder.path(FILE)).expect("it is kept"))
}

/// A full disk: nothing is lost, the last document stays everywhere, and log, status and metrics say why.
fn a_full_disk_loses_nothing_and_is_told(io: Io) {
    let gateway = plan(io, &format!("policy: {{ file: {FILE} }}")).start();
    assert_eq!(gateway.posts("/policy", r#"{"rateLimit": 300}"#).status(), 200);
    let before = kept(&gateway.folder);
    for round in 1..=2 {
        fills_the_disk(&gateway);
        let answer = gateway.posts("/policy", r#"{"enabled": false}"#);
        let told = json(answer.text());
        assert_eq!((answer.status(), &told["error"]), (503, &"Policy not stored".into()), "{answer}");
        let why = told["detail"].as_str().expect("a reason");
        assert!(why.contains(FILE) && why.contains("No space left on device"), "{why}");
        assert_eq!((document(&gateway), kept(&gateway.folder)), (of(true, 300, 50), before.clone()));
        assert_eq!(gateway.client().asks("/").expects(200).text(), "in");
        assert_eq!(trouble(&gateway), why);
        gateway.waits_for("policy_updates_total{result=\"error\"}", f64::from(round));
        let notice = gateway.notice("posted policy refused, the last one stays");
        assert_eq!(notice["why"], why);
    }
    assert_eq!(gateway.posts("/policy", r#"{"enabled": false}"#).status(), 200);
    assert_eq!((document(&gateway), trouble(&gateway)), (of(false, 300, 50), String::new()));
    gateway.stop();
}

/// A place that has nothing to say opens nothing: what is switched off stays so when the file is broken and a key is named
/// beside it, when another file is named that is not there yet, and in a process that cannot read the file either.
fn what_is_switched_off_stays_so_wherever_its_place_is(io: Io) {
    let redis = Redis::start();
    let with = |policy: &str| plan(io, &format!("policy: {{ {policy} }}")).yaml();
    let mut heirs = Heirs::start(&with("file: policy.json"));
    let refuses = |gateway: &Gateway| {
        assert_eq!(gateway.client().asks("/").expects(429).reason(), "policy_enforced");
        assert_eq!(document(gateway), of(false, 300, 50));
    };
    assert_eq!(heirs.gateway.posts("/policy", r#"{"enabled": false, "rateLimit": 300}"#).status(), 200);
    heirs.gateway.folder.write(FILE, "rubbish");
    until_true("what is wrong", || trouble(&heirs.gateway).contains("a JSON object"));
    refuses(&heirs.gateway);
    let shared = format!("redis: {{ url: '{}' }}", redis.url());
    heirs.gateway.adopts(&with(&format!("file: {FILE}, {shared}")));
    refuses(&heirs.gateway);
    assert!(trouble(&heirs.gateway).contains("a JSON object"), "{}", trouble(&heirs.gateway));
    let old = heirs.upgrades_to_epoch(2);
    refuses(&heirs.gateway);
    assert!(trouble(&heirs.gateway).contains("a JSON object"), "{}", trouble(&heirs.gateway));
    assert_eq!(heirs.exit_code_of(old), Some(0));
    heirs.gateway.adopts(&with("file: other.json"));
    refuses(&heirs.gateway);
    until_true("it is kept there", || {
        let kept = std::fs::read_to_string(heirs.gateway.folder.path("other.json"));
        kept.is_ok_and(|kept| json(&kept)["enabled"] == false)
    });
    heirs.gateway.adopts(&with("file: other.json, redis: { url: 'unix:///nonexistent' }"));
    refuses(&heirs.gateway);
    heirs.gateway.folder.write("other.json", r#"{"rateLimit": 400}"#);
    until_true("a place that says something", || document(&heirs.gateway) == of(true, 400, 50));
    heirs.stop();
}

/// What a process hands over to the next is kept in the file that it has now and is not there yet; one that is gone is told, by
/// each process, and not made anew.
fn an_upgrade_keeps_the_policy_in_a_new_file_and_tells_of_one_that_is_gone(io: Io) {
    let with = |policy: &str| plan(io, &format!("{policy}\nreload: {{ watch: false }}")).yaml();
    let mut heirs = Heirs::start(&with(""));
    assert_eq!(heirs.gateway.posts("/policy", r#"{"enabled": false, "rateLimit": 300}"#).status(), 200);
    let upgrades_with = |heirs: &mut Heirs, file: &str| {
        heirs.gateway.folder.write("gateway.yaml", with(&format!("policy: {{ file: {file} }}")));
        let old = heirs.upgrades_to_epoch(2);
        assert_eq!(heirs.exit_code_of(old), Some(0));
        assert_eq!(document(&heirs.gateway), of(false, 300, 50));
    };
    let is_kept_in = |heirs: &Heirs, file: &str| {
        let kept = std::fs::read_to_string(heirs.gateway.folder.path(file));
        kept.is_ok_and(|kept| json(&kept)["enabled"] == false)
    };
    upgrades_with(&mut heirs, FILE);
    until_true("it is kept", || is_kept_in(&heirs, FILE));
    assert_eq!(trouble(&heirs.gateway), "");
    std::fs::remove_file(heirs.gateway.folder.path(FILE)).expect("it is there");
    until_true("what is wrong", || trouble(&heirs.gateway).ends_with("policy.json is gone"));
    upgrades_with(&mut heirs, FILE);
    assert!(trouble(&heirs.gateway).ends_with("policy.json is gone"), "{}", trouble(&heirs.gateway));
    upgrades_with(&mut heirs, "other.json");
    until_true("it is kept there", || is_kept_in(&heirs, "other.json"));
    assert_eq!(trouble(&heirs.gateway), "");
    assert!(!heirs.gateway.folder.path(FILE).exists(), "whoever took it away may have meant it");
    heirs.stop();
}

/// The first request of a process obeys what Redis has, and without an answer what the process before had, or the standard
/// document, which is told.
fn the_first_request_obeys_redis_or_the_process_before(io: Io) {
    let redis = Redis::start();
    let front = RedisFront::of(&redis);
    redis.sets(KEY, r#"{"enabled": false, "rateLimit": 300}"#);
    // Without a wait clients would come first.
    front.takes(Duration::from_millis(100));
    let yaml = plan(io, &format!("policy: {{ redis: {{ url: 'redis://{}' }} }}", front.address())).yaml();
    let mut heirs = Heirs::start(&yaml);
    assert_eq!(heirs.gateway.client().asks("/").expects(429).reason(), "policy_enforced");
    front.takes(Duration::ZERO);
    redis.freezes();
    let old = heirs.upgrades_to_epoch(2);
    assert_eq!(heirs.gateway.client().asks("/").expects(429).reason(), "policy_enforced");
    assert_eq!(document(&heirs.gateway), of(false, 300, 50));
    assert_eq!(heirs.exit_code_of(old), Some(0));
    let restarted = Gateway::start(&yaml);
    let told = restarted.notice("this live policy is in force until Redis tells another one");
    assert_eq!((&told["level"], &told["enabled"]), (&"ERROR".into(), &true.into()), "{told}");
    redis.thaws();
    until_true("what Redis has", || document(&restarted) == of(false, 300, 50));
    restarted.stop();
    heirs.stop();
}

/// What one gateway cannot keep it does not tell the others, and it does not come back by them.
fn what_is_refused_by_the_file_is_not_told_to_redis(io: Io) {
    let redis = Redis::start();
    let (one, other) = (sharing(io, &redis), sharing(io, &redis));
    assert_eq!(one.posts("/policy", r#"{"rateLimit": 300}"#).status(), 200);
    until_true("the other gateway", || document(&other) == of(true, 300, 50));
    let shared = redis.gets(KEY);
    fills_the_disk(&one);
    let answer = one.posts("/policy", r#"{"enabled": false}"#);
    assert!(answer.status() == 503 && answer.text().contains("No space left on device"), "{answer}");
    assert_eq!(redis.gets(KEY), shared);
    assert_eq!((document(&one), document(&other)), (of(true, 300, 50), of(true, 300, 50)));
    // What others change is in force here all the same, and that it could not be kept is told.
    fills_the_disk(&one);
    assert_eq!(other.posts("/policy", r#"{"rateLimit": 400}"#).status(), 200);
    until_true("what was posted elsewhere", || document(&one) == of(true, 400, 50));
    until_true("that it is not kept", || trouble(&one).contains("No space left on device"));
    assert_eq!(kept(&one.folder)["rateLimit"], 300);
    // Whatever happens beside it, a file that is known to be old is not taken for a change.
    one.folder.write("beside.json", "{}");
    assert_eq!(other.posts("/policy", r#"{"rateLimit": 401}"#).status(), 200);
    until_true("the next one, which is kept", || kept(&one.folder)["rateLimit"] == 401 && trouble(&one).is_empty());
    assert_eq!((document(&one), document(&other)), (of(true, 401, 50), of(true, 401, 50)));
    let by_file = |notice: &serde_json::Value| notice["by"] == "file";
    assert!(!one.notices_of("live policy published").iter().any(by_file));
    for gateway in [one, other] {
        gateway.stop();
    }
}

/// What Redis does not take is not kept here either.
fn what_is_refused_by_redis_is_not_kept(io: Io) {
    let redis = Redis::start();
    let gateway = sharing(io, &redis);
    assert_eq!(gateway.posts("/policy", r#"{"rateLimit": 300}"#).status(), 200);
    let before = kept(&gateway.folder);
    redis.obeys(&["CONFIG", "SET", "min-replicas-to-write", "1"]);
    let answer = gateway.posts("/policy", r#"{"enabled": false}"#);
    assert!(answer.status() == 503 && answer.text().contains("Redis"), "{answer}");
    assert_eq!((document(&gateway), kept(&gateway.folder)), (of(true, 300, 50), before));
    assert!(!gateway.folder.path("policy.json.new").exists(), "nothing is left beside it");
    let notice = gateway.notice("posted policy refused, the last one stays");
    assert!(notice["why"].as_str().is_some_and(|why| why.starts_with("Redis: ")), "{notice}");
    gateway.waits_for("policy_updates_total{result=\"error\"}", 1.0);
    redis.obeys(&["CONFIG", "SET", "min-replicas-to-write", "0"]);
    assert_eq!(gateway.posts("/policy", r#"{"enabled": false}"#).status(), 200);
    assert_eq!((document(&gateway), &kept(&gateway.folder)["enabled"]), (of(false, 300, 50), &false.into()));
    gateway.stop();
}

/// A file that changes is in force at once, whatever Redis does, and Redis is told when it answers again; what it had before
/// does not come back.
fn a_changed_file_does_not_wait_for_redis(io: Io) {
    let mut redis = Redis::start();
    let (one, other) = (sharing(io, &redis), sharing(io, &redis));
    assert_eq!(one.posts("/policy", r#"{"rateLimit": 300}"#).status(), 200);
    until_true("the other gateway", || document(&other) == of(true, 300, 50));
    let sum = || one.metric("policy_sync_duration_ms_sum");
    redis.freezes();
    let before = sum();
    one.folder.write(FILE, r#"{"rateLimit": 400}"#);
    until_true("a changed file", || document(&one) == of(true, 400, 50));
    until_true("its time is known", || sum() > before);
    // Less than Redis would be waited for.
    assert!(sum() - before < 900.0, "{} ms", sum() - before);
    redis.thaws();
    until_true("the other gateway is told", || document(&other) == of(true, 400, 50));
    redis.is_killed();
    until_true("that it is gone", || trouble(&one).contains("Redis"));
    one.folder.write(FILE, r#"{"rateLimit": 500}"#);
    until_true("another change", || document(&one) == of(true, 500, 50));
    redis.starts_with(KEY, r#"{"rateLimit": 1}"#);
    until_true("the other gateway is told once it is back", || document(&other) == of(true, 500, 50));
    assert!(redis.gets(KEY).is_some_and(|value| value.contains("500")));
    let by_redis = |notice: &serde_json::Value| notice["by"] == "redis";
    let published = one.notices_of("live policy published");
    assert!(!published.iter().any(by_redis), "it never went back: {published:?}");
    for gateway in [one, other] {
        gateway.stop();
    }
}

/// A server that refuses has the word: its document holds, for all.
fn a_document_that_redis_refuses_gives_way_to_its_own(io: Io) {
    let redis = Redis::start();
    let gateway = sharing(io, &redis);
    assert_eq!(gateway.posts("/policy", r#"{"rateLimit": 300}"#).status(), 200);
    redis.obeys(&["CONFIG", "SET", "min-replicas-to-write", "1"]);
    gateway.folder.write(FILE, r#"{"rateLimit": 400}"#);
    until_true("the one that all share", || kept(&gateway.folder)["rateLimit"] == 300);
    until_true("it is in force", || document(&gateway) == of(true, 300, 50));
    let told = gateway.notice("the live policy has trouble, the last document stays");
    assert!(told["why"].as_str().is_some_and(|why| why.contains("NOREPLICAS") || why.contains("EXECABORT")), "{told}");
    gateway.stop();
}

/// Killed before, in and after each step of keeping a document: what is there afterwards is the old document or the new one,
/// whole; a start has it, and what was left beside it is in nobody's way.
fn a_crash_at_any_step_leaves_the_old_document_or_the_new_one(io: Io) {
    let yaml = plan(io, &format!("policy: {{ file: {FILE} }}")).yaml();
    let tools = Folder::new();
    let shim = crash::shim(&tools);
    let mut seen = [0, 0];
    for point in 1.. {
        let folder = Folder::new();
        folder.write(FILE, r#"{"rateLimit": 300}"#);
        folder.write("gateway.yaml", &yaml);
        let mut command = crash::dies_at(&shim, point, FILE, &folder);
        let mut gateway = Gateway::start_with(folder, &mut command);
        if is_posted(gateway.admin(), r#"{"rateLimit": 400}"#) {
            assert_eq!(kept(&gateway.folder)["rateLimit"], 400);
            assert!(point > 10, "steps before the last one are missing: {point}");
            drop(gateway.killed());
            break;
        }
        assert_eq!(gateway.process.exit_code(), None, "point {point}: killed");
        let folder = gateway.into_folder();
        let left = kept(&folder)["rateLimit"].as_u64().expect("a number");
        assert!(left == 300 || left == 400, "point {point}: {left}");
        seen[usize::from(left == 400)] += 1;
        let gateway = Gateway::start_in(folder, &yaml);
        assert_eq!(document(&gateway)["rateLimit"], left, "point {point}");
        assert_eq!(gateway.posts("/policy", r#"{"rateLimit": 500}"#).status(), 200, "point {point}");
        assert!(!gateway.folder.path("policy.json.new").exists(), "point {point}");
        drop(gateway.killed());
    }
    assert!(seen[0] >= 7 && seen[1] >= 3, "{seen:?} points with the old and with the new document");
}

on_both_drivers![
    a_full_disk_loses_nothing_and_is_told,
    what_is_switched_off_stays_so_wherever_its_place_is,
    an_upgrade_keeps_the_policy_in_a_new_file_and_tells_of_one_that_is_gone,
    the_first_request_obeys_redis_or_the_process_before,
    what_is_refused_by_the_file_is_not_told_to_redis,
    what_is_refused_by_redis_is_not_kept,
    a_changed_file_does_not_wait_for_redis,
    a_document_that_redis_refuses_gives_way_to_its_own,
    a_crash_at_any_step_leaves_the_old_document_or_the_new_one,
];
