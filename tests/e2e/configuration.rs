//! H5, I1, F39: `/config`, what it shows, what it takes, and what is left when anything goes wrong.

use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::crash;
use super::folder::Folder;
use super::gateway::{Gateway, json};
use super::message::Message;
use super::plan::{Io, Plan};
use super::process::binary;
use super::wait::{thread, until_true};
use super::wire::Wire;

/// A gateway that answers every request with this body.
fn saying(body: &str) -> Plan {
    Plan::bare(Io::Epoll).route(&format!("name: all, match: {{ path: /* }}, respond: {{ status: 200, body: {body} }}"))
}

/// What it answers with.
fn said(gateway: &Gateway) -> String {
    gateway.client().asks("/").expects(200).text().to_owned()
}

fn kept(gateway: &Gateway) -> String {
    std::fs::read_to_string(gateway.folder.path("gateway.yaml")).expect("a file")
}

/// The answer of the admin server to a request with these fields and this body.
fn asks(admin: SocketAddr, method: &str, fields: &str, body: &[u8]) -> Message {
    let mut wire = Wire::to(admin);
    let length = body.len();
    let head = format!(
        "{method} /config HTTP/1.1\r\nHost: {admin}\r\n{fields}Connection: close\r\nContent-Length: {length}\r\n\r\n"
    );
    // What is refused need not be read whole.
    drop(wire.try_send([head.as_bytes(), body].concat()));
    let mut message = wire.reads_head();
    wire.reads_body(&mut message);
    message
}

pub(crate) fn puts(gateway: &Gateway, fields: &str, body: impl AsRef<[u8]>) -> Message {
    asks(gateway.admin(), "PUT", fields, body.as_ref())
}

fn tag(message: &Message) -> &str {
    message.field("etag").unwrap_or_else(|| panic!("no ETag in {message}"))
}

/// It is in force on every worker once it is answered, on the disk, and shown; nothing is taken up a second time.
fn what_is_put_is_in_force_and_on_the_disk(io: Io) {
    let gateway =
        Plan::bare(io).workers("3").route("name: a, match: { path: /* }, respond: { status: 200, body: old }").start();
    let before = asks(gateway.admin(), "GET", "", b"");
    assert_eq!((before.status(), before.field("content-type")), (200, Some("application/yaml")), "{before}");
    std::fs::set_permissions(gateway.folder.path("gateway.yaml"), std::fs::Permissions::from_mode(0o640))
        .expect("a file");
    let yaml =
        Plan::bare(io).workers("3").route("name: a, match: { path: /* }, respond: { status: 200, body: new }").yaml();
    let answer = puts(&gateway, &format!("If-Match: {}\r\nContent-Type: application/yaml\r\n", tag(&before)), &yaml);
    assert_eq!(answer.status(), 200, "{answer}");
    let told = json(answer.text());
    assert_eq!(
        (&told["status"], &told["epoch"], told["etag"].as_str()),
        (&"ok".into(), &2.into(), answer.field("etag"))
    );
    for _ in 0..8 {
        assert_eq!(said(&gateway), "new", "on every worker");
    }
    assert_eq!(kept(&gateway), yaml);
    assert!(!gateway.folder.path("gateway.yaml.new").exists());
    let mode = std::fs::metadata(gateway.folder.path("gateway.yaml")).expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o640, "who may read it stays");
    let shown = asks(gateway.admin(), "GET", "", b"");
    assert_eq!(tag(&shown), tag(&answer));
    assert!(shown.text().starts_with("# epoch 2\n") && shown.text().contains("body: new"), "{shown}");
    let last = &gateway.status()["last_reload"];
    assert_eq!((&last["ok"], &last["trigger"]), (&true.into(), &"put".into()));
    // A file that is changed by hand is seen; by then the change that was ours has been as well.
    gateway.adopts(&yaml.replace("body: new", "body: hand"));
    assert_eq!((said(&gateway), gateway.epoch()), ("hand".to_owned(), 3), "what was put was taken up once");
    gateway.stop();
}

/// So many configurations that were sent were refused, and nothing else failed.
fn is_no_failed_reload(gateway: &Gateway, refused: f64) {
    let count = |result: &str| gateway.metric(&format!("config_reloads_total{{result=\"{result}\"}}"));
    assert_eq!((count("refused"), count("error"), gateway.metric("config_last_reload_success")), (refused, 0.0, 1.0));
    assert_ne!(gateway.status()["last_reload"]["ok"], false);
}

/// The same words as `check` has, as text or as JSON, with exit code and status that say so; nothing has changed.
#[test]
fn what_is_invalid_is_refused_with_what_check_prints() {
    let gateway = saying("old").and("reload: { watch: false }").start();
    let (before, epoch) = (kept(&gateway), gateway.epoch());
    let bad = saying("new").yaml().replace("respond: {", "respnd: {") + "nonsense: 1\n";
    let file = gateway.folder.path("gateway.yaml");
    let answer = puts(&gateway, "", &bad);
    let as_json = puts(&gateway, "Accept: application/json\r\n", &bad);
    assert_eq!((answer.status(), as_json.status()), (400, 400), "{answer}");
    // The same file, the same name.
    let moved = gateway.folder.path("elsewhere");
    std::fs::rename(&file, &moved).expect("a file");
    std::fs::write(&file, &bad).expect("a file");
    let checked = binary().arg("check").arg("-c").arg(&file).output().expect("it runs");
    std::fs::rename(&moved, &file).expect("a file");
    let printed = String::from_utf8(checked.stderr).expect("text");
    assert!(printed.contains("gateway.yaml:") && printed.contains("did you mean `respond`?"), "{printed}");
    assert_eq!(answer.text(), printed);
    assert_eq!(json(as_json.text())["error"], printed.as_str());
    assert_eq!((kept(&gateway), gateway.epoch(), said(&gateway)), (before, epoch, "old".to_owned()));
    // Whoever sent it knows; the file is in force as before, and no reload of it failed.
    is_no_failed_reload(&gateway, 2.0);
    let notice = gateway.notice("configuration refused, the last one stays");
    assert_eq!((&notice["trigger"], &notice["report"]), (&"put".into(), &printed.as_str().into()));
    gateway.stop();
}

/// H4, F39: whatever comes, the old state is live, and the answer says what is wrong.
#[test]
fn rubbish_is_refused_and_changes_nothing() {
    let gateway = saying("old").start();
    let before = kept(&gateway);
    let valid = saying("new").yaml();
    let binary: Vec<u8> = (0..=255).cycle().take(4096).collect();
    for body in [&b""[..], b"\0", b"{", b"[]", b"version: 1", b"version: 2\n", b"- - -", &binary] {
        let answer = puts(&gateway, "", body);
        assert_eq!(answer.status(), 400, "{answer}");
        assert!(answer.text().starts_with("error: "), "{answer}");
    }
    let huge = vec![b'x'; 10 << 20];
    let answer = puts(&gateway, "", &huge);
    assert_eq!(answer.status(), 413, "{answer}");
    for kind in ["application/x-www-form-urlencoded", "image/png", "multipart/form-data; boundary=x", "yaml", ""] {
        let answer = puts(&gateway, &format!("Content-Type: {kind}\r\n"), &valid);
        assert_eq!(answer.status(), 415, "{kind}: {answer}");
    }
    let rebound = puts(&gateway, "Origin: http://evil.example\r\n", &valid);
    assert_eq!(rebound.status(), 403, "{rebound}");
    let mut wire = Wire::to(gateway.admin());
    let length = valid.len();
    drop(wire.try_send(format!(
        "PUT /config HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{valid}"
    )));
    assert_eq!(wire.reads_head().status(), 403, "DNS rebinding");
    for method in ["POST", "DELETE", "PATCH"] {
        assert_eq!(asks(gateway.admin(), method, "", valid.as_bytes()).status(), 405, "{method}");
    }
    // Half of a body, and then nothing.
    let mut wire = Wire::to(gateway.admin());
    wire.sends(format!(
        "PUT /config HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{}",
        &valid[..length / 2]
    ));
    drop(wire);
    assert_eq!((kept(&gateway), gateway.epoch(), said(&gateway)), (before, 1, "old".to_owned()));
    for kind in ["application/yaml; charset=utf-8", "Text/YAML", "text/plain", "application/json"] {
        assert_eq!(puts(&gateway, &format!("Content-Type: {kind}\r\n"), &valid).status(), 200, "{kind}");
    }
    gateway.stop();
}

/// H4: a token for looking looks, and puts nothing; secrets are shown to nobody.
#[test]
fn a_token_for_looking_puts_nothing_and_nobody_sees_a_secret() {
    let folder = Folder::new();
    folder.write("all", "a-token-that-may-do-everything");
    folder.write("look", "a-token-that-may-only-look");
    let secrets = |yaml: String| {
        yaml.replace(
            "admin: { listen: '127.0.0.1:0' }",
            "admin: { listen: '127.0.0.1:0', token: '${file:all}', read_token: '${file:look}' }",
        )
    };
    let plan = |body: &str| {
        let headers = "headers: { response: { set: { x-any: '${HOME_KEY}', x-auth: hunter2 } } }";
        secrets(
            Plan::bare(Io::Epoll)
                .route(&format!("name: all, respond: {{ status: 200, body: {body} }}, {headers}"))
                .yaml(),
        )
    };
    let file = folder.write("gateway.yaml", plan("old"));
    let mut command = binary();
    command.arg("run").arg("-c").arg(file).env("HOME_KEY", "hunter2");
    let gateway = Gateway::start_with(folder, &mut command);
    let with = |token: &str| format!("Authorization: Bearer {token}\r\n");
    for (token, got, put) in [
        (String::new(), 401, 401),
        (with("unknown-unknown-unknown"), 401, 401),
        (with("a-token-that-may-only-look"), 200, 403),
        (with("a-token-that-may-do-everything"), 200, 200),
    ] {
        for accept in ["", "Accept: application/json\r\n"] {
            let shown = asks(gateway.admin(), "GET", &format!("{token}{accept}"), b"");
            assert_eq!(shown.status(), got, "{token}: {shown}");
            let text = shown.text();
            assert!(!text.contains("hunter2") && !text.contains("a-token-that"), "{text}");
            assert!(got != 200 || text.contains("${HOME_KEY}") && text.contains("<redacted>"), "{text}");
        }
        let answer = puts(&gateway, &token, plan("new"));
        assert_eq!(answer.status(), put, "{token}: {answer}");
    }
    assert_eq!(said(&gateway), "new");
    drop(gateway.killed());
}

/// Two operators, and one who edits the file by hand: nobody overwrites what he has not seen.
#[test]
fn nobody_overwrites_unknowingly() {
    let gateway = saying("a").start();
    let seen = tag(&asks(gateway.admin(), "GET", "", b"")).to_owned();
    let first = puts(&gateway, &format!("If-Match: {seen}\r\n"), saying("b").yaml());
    assert_eq!(first.status(), 200, "{first}");
    let second = puts(&gateway, &format!("If-Match: {seen}\r\n"), saying("c").yaml());
    assert_eq!((second.status(), tag(&second)), (412, tag(&first)), "{second}");
    // Nothing is wrong with what is in force, nor with what was sent.
    gateway.notice("configuration not taken, the last one stays");
    assert_eq!(gateway.metric("config_last_reload_success"), 1.0);
    assert_eq!(gateway.status()["last_reload"]["ok"], true);
    for odd in ["\"0\"", "W/\"1\"", "", "x", &format!("W/{}", tag(&first)), tag(&first).trim_matches('"')] {
        let answer = puts(&gateway, &format!("If-Match: {odd}\r\n"), saying("c").yaml());
        assert_eq!(answer.status(), 412, "{odd}: {answer}");
    }
    assert_eq!(said(&gateway), "b");
    let listed = format!("If-Match: \"0\", {}\r\n", tag(&first));
    assert_eq!(puts(&gateway, &listed, saying("c").yaml()).status(), 200);
    // By hand, and wrong: what is in force is not what is in the file.
    gateway.writes("version: 1\nnonsense: 1\n");
    until_true("the refused file", || gateway.status()["last_reload"]["ok"] == false);
    let unsaid = puts(&gateway, "", saying("d").yaml());
    assert_eq!((unsaid.status(), said(&gateway).as_str()), (409, "c"), "{unsaid}");
    assert!(json(unsaid.text())["error"].as_str().is_some_and(|why| why.contains("If-Match")), "{unsaid}");
    assert_eq!(puts(&gateway, &format!("If-Match: {}\r\n", tag(&unsaid)), saying("d").yaml()).status(), 200);
    let last = saying("e").yaml();
    assert_eq!(puts(&gateway, "If-Match: *\r\n", &last).status(), 200);
    // Without a file there is nothing to match.
    std::fs::remove_file(gateway.folder.path("gateway.yaml")).expect("a file");
    assert_eq!(puts(&gateway, "If-Match: *\r\n", saying("f").yaml()).status(), 412);
    assert_eq!((puts(&gateway, "", saying("f").yaml()).status(), said(&gateway).as_str()), (409, "e"));
    gateway.writes(&last);
    assert_eq!((puts(&gateway, "", saying("f").yaml()).status(), said(&gateway).as_str()), (200, "f"));
    gateway.stop();
}

/// What is included stays as it is, and goes on being part of what is in force; a link leads where it led.
#[test]
fn what_is_included_stays_and_a_link_stays_one() {
    let folder = Folder::new();
    std::fs::create_dir(folder.path("far")).expect("a directory");
    let main = |body: &str| format!("{}include: [more.yaml]\n", saying(body).yaml());
    let new = main("new");
    folder.write("far/gateway.yaml", main("old"));
    folder.write(
        "more.yaml",
        "routes: [{ name: more, match: { path: /more }, respond: { status: 200, body: included } }]\n",
    );
    symlink("far/gateway.yaml", folder.path("gateway.yaml")).expect("a link");
    let mut command = binary();
    command.arg("run").arg("-c").arg(folder.path("gateway.yaml"));
    let gateway = Gateway::start_with(folder, &mut command);
    assert_eq!(puts(&gateway, "", &new).status(), 200);
    assert_eq!((said(&gateway).as_str(), gateway.client().asks("/more").expects(200).text()), ("new", "included"));
    assert!(gateway.folder.path("gateway.yaml").is_symlink());
    let far = std::fs::read_to_string(gateway.folder.path("far/gateway.yaml")).expect("a file");
    assert_eq!(far, new);
    let shown = asks(gateway.admin(), "GET", "Accept: application/json\r\n", b"");
    let shown = json(shown.text());
    assert_eq!(shown["config"]["routes"][1]["respond"]["body"], "included");
    let origin = shown["origins"]["/routes/1/respond/body"].as_str().unwrap_or_default();
    assert!(origin.ends_with("more.yaml:1"), "{origin}");
    gateway.stop();
}

/// F39: a disk without room, a file that may not grow, a directory that nobody may write to.
#[test]
fn a_full_disk_leaves_the_old_state_live_and_is_told() {
    let gateway = saying("old").start();
    let (before, beside) = (kept(&gateway), gateway.folder.path("gateway.yaml.new"));
    // Whatever is written beside the file goes to a device without room.
    symlink("/dev/full", &beside).expect("a link");
    let answer = puts(&gateway, "", saying("new").yaml());
    assert_eq!(answer.status(), 507, "{answer}");
    let why = json(answer.text())["error"].as_str().unwrap_or_default().to_owned();
    assert!(why.contains("cannot be written") && why.contains("No space left on device"), "{why}");
    assert_eq!((kept(&gateway), gateway.epoch(), said(&gateway)), (before, 1, "old".to_owned()));
    is_no_failed_reload(&gateway, 1.0);
    assert_eq!(gateway.notice("configuration refused, the last one stays")["report"], why.as_str());
    // It is gone with what was tried.
    assert!(!beside.exists() && std::fs::symlink_metadata(&beside).is_err());
    std::fs::create_dir_all(beside.join("in the way")).expect("a directory");
    assert_eq!(puts(&gateway, "", saying("new").yaml()).status(), 500);
    std::fs::remove_dir_all(&beside).expect("a directory");
    assert_eq!((puts(&gateway, "", saying("new").yaml()).status(), said(&gateway).as_str()), (200, "new"));
    assert_eq!(gateway.metric("config_last_reload_success"), 1.0);
    gateway.stop();
}

/// A port that somebody else has makes a configuration that cannot be served by: nothing of it is kept.
#[test]
fn what_cannot_be_served_is_not_kept() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let gateway = saying("old").start();
    let before = kept(&gateway);
    let address = taken.local_addr().expect("an address").to_string();
    let answer = puts(&gateway, "", before.replacen("address: '127.0.0.1:0'", &format!("address: '{address}'"), 1));
    assert_eq!(answer.status(), 400, "{answer}");
    assert!(answer.text().contains(&address), "{answer}");
    assert_eq!((kept(&gateway), gateway.epoch(), said(&gateway)), (before, 1, "old".to_owned()));
    gateway.stop();
}

/// Without a file there is something to see and nothing to replace.
#[test]
fn a_gateway_without_a_file_has_nothing_to_replace() {
    let mut command = binary();
    command
        .arg("run")
        .env("LISTEN_ADDR", "127.0.0.1:0")
        .env("UPSTREAM_URL", "http://127.0.0.1:9")
        .env("CONFIG_PORT", "0");
    let gateway = Gateway::start_with(Folder::new(), &mut command);
    let shown = asks(gateway.admin(), "GET", "", b"");
    let text = shown.text();
    assert!(shown.field("etag").is_none() && text.contains("# built in, env LISTEN_ADDR"), "{shown}");
    assert!(text.contains("listen: 127.0.0.1:0") && text.contains("# env CONFIG_PORT"), "{shown}");
    let answer = puts(&gateway, "", saying("new").yaml());
    assert_eq!(answer.status(), 409, "{answer}");
    gateway.stop();
}

/// Many at once: each is taken whole or not at all, and what is in force in the end is what is on the disk.
#[test]
fn of_many_at_once_one_is_in_force_and_on_the_disk() {
    let gateway = saying("start").workers("2").start();
    let admin = gateway.admin();
    let putting: Vec<_> = (0..8)
        .map(|number| {
            thread("puts", move || {
                let yaml = saying(&format!("it-{number}")).workers("2").yaml();
                let statuses: Vec<u16> =
                    (0..4).map(|_| asks(admin, "PUT", "If-Match: *\r\n", yaml.as_bytes()).status()).collect();
                statuses
            })
        })
        .collect();
    for statuses in putting {
        assert_eq!(statuses.join().expect("it ends"), [200; 4]);
    }
    let last = said(&gateway);
    assert!(last.starts_with("it-") && kept(&gateway).contains(&last), "{last}");
    assert_eq!(gateway.epoch(), 33);
    gateway.stop();
}

/// Killed at any moment while configurations are put one after the other: there is always a whole one, and the next start
/// has it.
#[test]
fn a_crash_leaves_a_whole_configuration() {
    let mut folder = Folder::new();
    let file = folder.write("gateway.yaml", saying("it-0").yaml());
    let mut left = 0;
    for round in 0..8 {
        let gateway = Gateway::start_with(folder, &mut runs(&file));
        assert_eq!(said(&gateway), format!("it-{left}"));
        let admin = gateway.admin();
        let (tell, told) = std::sync::mpsc::channel();
        let putting = thread("puts", move || {
            let mut answered = left;
            while is_put(admin, &saying(&format!("it-{}", answered + 1)).yaml()) {
                answered += 1;
                let _test_goes_on = tell.send(answered);
            }
            answered
        });
        for _ in 0..=round {
            told.recv().expect("an answer");
        }
        folder = gateway.killed();
        let answered = putting.join().expect("it ends");
        left = whole(&folder);
        assert!((answered..=answered + 1).contains(&left), "{left} is kept, {answered} was answered");
    }
}

/// The number of the configuration in the file, which must be whole.
fn whole(folder: &Folder) -> u32 {
    let text = std::fs::read_to_string(folder.path("gateway.yaml")).expect("a file");
    let number = text.split("it-").nth(1).and_then(|rest| rest.split(|char: char| !char.is_ascii_digit()).next());
    let number = number.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("not whole: {text}"));
    let listed =
        |yaml: &str| yaml.lines().filter(|line| !line.starts_with("runtime")).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(listed(&text), listed(&saying(&format!("it-{number}")).yaml()));
    number
}

/// Puts to an admin server that may be gone.
fn is_put(admin: SocketAddr, body: &str) -> bool {
    let Ok(stream) = TcpStream::connect(admin) else { return false };
    let mut wire = Wire::new(stream);
    let length = body.len();
    let head =
        format!("PUT /config HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
    wire.try_send(head + body).is_ok() && wire.try_reads_head().is_some_and(|answer| answer.status() == 200)
}

/// Killed before, in and after each step of keeping a file: what is there afterwards is the old file or the new one, whole;
/// a start serves by it, and what was left beside it is in nobody's way.
#[test]
fn a_crash_at_any_step_leaves_the_old_file_or_the_new_one() {
    let tools = Folder::new();
    let shim = crash::shim(&tools);
    let (old, new) = (saying("old").yaml(), saying("new").yaml());
    let mut seen = [0, 0];
    for point in 1.. {
        let folder = Folder::new();
        let file = folder.write("gateway.yaml", &old);
        let mut command = crash::dies_at(&shim, point, "gateway.yaml", &folder);
        let mut gateway = Gateway::start_with(folder, &mut command);
        if is_put(gateway.admin(), &new) {
            assert_eq!(std::fs::read_to_string(&file).expect("a file"), new);
            assert!(point > 12, "steps before the last one are missing: {point}");
            drop(gateway.killed());
            break;
        }
        assert_eq!(gateway.process.exit_code(), None, "point {point}: killed");
        let folder = gateway.into_folder();
        let left = std::fs::read_to_string(&file).expect("a file");
        assert!(left == old || left == new, "point {point}: {left}");
        seen[usize::from(left == new)] += 1;
        let next = Gateway::start_with(folder, &mut runs(&file));
        assert_eq!(said(&next), if left == new { "new" } else { "old" }, "point {point}");
        let third = saying("third").yaml();
        assert_eq!((puts(&next, "", &third).status(), said(&next).as_str()), (200, "third"), "point {point}");
        assert!(!next.folder.path("gateway.yaml.new").exists(), "point {point}");
        drop(next.killed());
    }
    // With the new one: after the rename, and before and after its directory is forced to the disk.
    assert!(seen[0] >= 9 && seen[1] == 3, "{seen:?} points with the old and with the new file");
}

/// A gateway on a file that is there.
fn runs(file: &Path) -> Command {
    let mut command = binary();
    command.arg("run").arg("-c").arg(file);
    command
}

/// What `dump` prints is what the gateway is run by: `check` takes it, and a gateway on it does the same.
#[test]
fn a_dump_is_a_configuration_and_says_where_each_value_comes_from() {
    let folder = Folder::new();
    std::fs::create_dir(folder.path("parts")).expect("a directory");
    folder.write("parts/one.yaml", "clusters: { app: { endpoints: [{ url: 'http://127.0.0.1:${APP_PORT}' }] } }\n");
    let plan = saying("old").and("include: [parts/*.yaml]").route("name: app, match: { path: /app/* }, cluster: app");
    let file = folder.write("gateway.yaml", plan.yaml());
    let dump = |file: &Path, more: &[&str]| {
        let mut command = binary();
        command.arg("dump").arg("-c").arg(file).args(more).env("APP_PORT", "3000").current_dir("/");
        let output = command.output().expect("it runs");
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    };
    let plain = dump(&file, &[]);
    assert!(!plain.contains('#') && plain.contains("url: http://127.0.0.1:3000\n"), "{plain}");
    let effective = dump(&file, &["--effective"]);
    let origin = |start: &str| {
        let line = effective.lines().find(|line| line.trim_start_matches([' ', '-']).starts_with(start));
        line.and_then(|line| line.split_once(" # "))
            .unwrap_or_else(|| panic!("no {start} in\n{effective}"))
            .1
            .to_owned()
    };
    assert!(origin("url:").ends_with("parts/one.yaml:1, env APP_PORT"), "{}", origin("url:"));
    assert_eq!(origin("header_bytes:"), "default");
    assert!(origin("body: old").contains("gateway.yaml:"), "{effective}");
    let as_json = json(&dump(&file, &["--effective", "--json"]));
    assert_eq!(as_json["origins"]["/listeners/web/limits/header_bytes"], "default");
    assert_eq!(json(&dump(&file, &["--json"])), as_json["config"]);
    let other = Folder::new();
    for text in [&plain, &effective] {
        let again = other.write("gateway.yaml", text);
        let checked = binary().arg("check").arg("-c").arg(&again).output().expect("it runs");
        let printed = [checked.stdout, checked.stderr].concat();
        assert_eq!(checked.status.code(), Some(0), "{}", String::from_utf8_lossy(&printed));
        assert_eq!(dump(&again, &[]), plain, "a dump of a dump is the dump");
    }
    let gateway = Gateway::start_in(other, &plain);
    assert_eq!(said(&gateway), "old");
    gateway.stop();
    let broken = folder.write("broken.yaml", "version: 2\n");
    let output = binary().arg("dump").arg("-c").arg(broken).output().expect("it runs");
    assert_eq!((output.status.code(), output.stdout.len()), (Some(3), 0));
}

#[test]
fn the_samples_are_shown_whole() {
    for sample in ["minimal.yaml", "demo.yaml"] {
        let path = format!("{}/config/{sample}", env!("CARGO_MANIFEST_DIR"));
        let output = binary().args(["dump", "--effective", "--json", "-c", &path]).output().expect("it runs");
        let shown: Value = json(&String::from_utf8(output.stdout).expect("text"));
        assert_eq!(shown["config"]["version"], 1, "{sample}");
    }
}

on_both_drivers![what_is_put_is_in_force_and_on_the_disk];
