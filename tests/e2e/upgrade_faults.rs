//! I4 and F41: what may go wrong between two processes, who may ask for an upgrade, and what is handed over with the sockets.

use serde_json::{Value, json};

use super::balance::named;
use super::folder::Folder;
use super::gateway::json;
use super::heirs::{Heirs, Load};
use super::live_policy::document;
use super::origin::Origin;
use super::pki::Authority;
use super::plan::{Io, Plan};
use super::process::BINARY;
use super::site::write_pair;
use super::tool::run;
use super::wait::until_true;
use super::wire::Wire;

/// A program that takes up everything, says that it is ready, waits until the old process has stopped accepting, and then
/// does what follows.
const READY: &str = "\
import json, os, signal, socket, sys
passed = json.loads(os.environ['RINGGATE_UPGRADE'])
channel = socket.socket(fileno=passed['channel'])
def say(word):
    channel.sendall((json.dumps(word) + '\\n').encode())
say({'Ready': {'listeners': [one['name'] for one in passed['listeners']], 'admin': True}})
heard = channel.makefile().readline()
assert json.loads(heard) == 'Go', heard
";

/// Between the word to go and the word that it serves the new process may do anything: the old one goes on, whoever came
/// meanwhile is served, and the next upgrade is one like any other.
fn a_process_that_fails_when_it_is_to_accept_changes_nothing(io: Io) {
    let origin = Origin::echo();
    let mut heirs = Heirs::start(&Plan::to(io, &[origin.address()]).workers("2").log("off").yaml());
    let load = Load::plain(3, heirs.gateway.address());
    let pid = heirs.gateway.status()["pid"].clone();
    let cases = [
        ("sys.exit(3)", "the new process ended: exit status: 3"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "the new process ended: signal: 9"),
        ("say({'Failed': {'why': 'no luck today'}}); signal.pause()", "no luck today"),
        ("say({'Ready': {'listeners': [], 'admin': True}}); signal.pause()", "which was not its turn to say"),
        ("channel.sendall(b'rubbish\\n'); signal.pause()", "the new process was not understood"),
        ("signal.pause()", "the new process was not ready within 5s"),
    ];
    for (number, (ending, reason)) in cases.into_iter().enumerate() {
        load.goes_on(20);
        let script = heirs.gateway.folder.write(&format!("{number}.py"), format!("{READY}{ending}\n"));
        heirs.places_script("fails", &format!("exec /usr/bin/python3 {}", script.display()));
        let output = heirs.asks_for_upgrade();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(1) && said.contains(reason), "{ending}: {said}");
        let status = heirs.gateway.status();
        assert_eq!((&status["pid"], &status["ready"], &status["draining"]), (&pid, &true.into(), &false.into()));
        assert_eq!(status["last_upgrade"]["ok"], false);
        let shown = status["last_upgrade"]["error"].as_str().unwrap_or_default();
        assert!(shown.contains(reason), "{ending}: {shown}");
        heirs.gateway.waits_for("upgrades_total{result=\"error\"}", f64::from(u8::try_from(number + 1).unwrap()));
        load.goes_on(20);
    }
    heirs.places(BINARY);
    let old = heirs.upgrades();
    load.goes_on(20);
    assert_eq!(heirs.exit_code_of(old), Some(0));
    heirs.gateway.waits_for("upgrades_total{result=\"ok\"}", 1.0);
    assert_eq!(heirs.gateway.metric("upgrades_total{result=\"error\"}"), 0.0, "another process, another count");
    load.ends_whole();
    heirs.stop();
}

/// H4: `POST /upgrade` is an order, so a token for looking is not enough; over TLS like every page.
fn an_upgrade_is_ordered_with_a_token_over_tls(io: Io) {
    let (folder, authority) = (Folder::new(), Authority::new("us"));
    write_pair(&folder, "admin", &authority.certifies(&["localhost"]));
    folder.write("us.pem", authority.pem());
    folder.write("all", "a-token-that-may-do-everything\n");
    folder.write("look", "a-token-that-may-only-look\n");
    let admin = "listen: '127.0.0.1:0', tls: { cert: admin.crt, key: admin.key }, token: '${file:all}', \
                 read_token: '${file:look}'";
    let plan = Plan::bare(io).route("name: all, respond: { status: 200, body: hello }").workers("2");
    let yaml = plan.yaml().replace("admin: { listen: '127.0.0.1:0' }", &format!("admin: {{ {admin} }}"));
    let mut heirs = Heirs::start_in(folder, &yaml, |_| {});
    let url = format!("https://localhost:{}", heirs.gateway.admin().port());
    let ca = heirs.gateway.folder.path("us.pem").display().to_string();
    let ask = |method: &str, page: &str, token: Option<&str>| {
        let target = format!("{url}{page}");
        let mut arguments = vec!["-sS", "--cacert", &ca, "-X", method, "-w", "\n%{http_code}"];
        let shown = token.map(|token| format!("Authorization: Bearer {token}"));
        if let Some(shown) = &shown {
            arguments.extend(["-H", shown.as_str()]);
        }
        arguments.push(&target);
        let said = run("curl", &arguments, "");
        let (text, status) = said.text.rsplit_once('\n').expect("a status");
        (status.to_owned(), text.to_owned())
    };
    let (all, look) = (Some("a-token-that-may-do-everything"), Some("a-token-that-may-only-look"));
    for (method, token, status) in
        [("POST", None, "401"), ("POST", Some("wrong"), "401"), ("POST", look, "403"), ("GET", all, "405")]
    {
        assert_eq!(ask(method, "/upgrade", token).0, status, "{method} {token:?}");
    }
    let pid = |text: &str| i32::try_from(json(text)["pid"].as_u64().expect("a number")).expect("a process id");
    assert_eq!(pid(&ask("GET", "/status", look).1), heirs.serving);
    for _ in 0..2 {
        let (status, text) = ask("POST", "/upgrade", all);
        assert_eq!((status.as_str(), &json(&text)["status"]), ("200", &"ok".into()), "{text}");
        let old = std::mem::replace(&mut heirs.serving, pid(&text));
        let (_, text) = ask("GET", "/status", look);
        assert_eq!((pid(&text), &json(&text)["replaced_pid"]), (heirs.serving, &old.into()), "{text}");
        assert_eq!(heirs.gateway.client().asks("/").expects(200).text(), "hello");
        assert_eq!(heirs.exit_code_of(old), Some(0));
    }
    heirs.places("/nonexistent/ringgate");
    let (status, text) = ask("POST", "/upgrade", all);
    assert!(status == "500" && text.contains("No such file"), "{status} {text}");
    heirs.stop();
}

/// H4: what operators gave by the admin server is in force before the new process accepts: weights, drains, and a live policy
/// that is kept nowhere. It is handed on and on, and can be given back.
fn what_operators_gave_is_handed_over(io: Io) {
    let origins = named(3);
    let [a, b, c] = [&origins[0], &origins[1], &origins[2]].map(Origin::address);
    let plan = Plan::bare(io).cluster_with("app", &[a, b, c], "balance: weighted_round_robin").workers("2");
    let mut heirs = Heirs::start(&plan.route("name: all, cluster: app").yaml());
    let order = |heirs: &Heirs, method: &str, what: &str, body: &str| {
        let answer = heirs.gateway.sends_admin(method, what, body);
        assert_eq!(answer.status(), 200, "{answer}");
    };
    let weight = |heirs: &Heirs, of| heirs.gateway.shows("app", of)["weight"].clone();
    order(&heirs, "POST", &format!("/clusters/app/{a}/drain"), "");
    order(&heirs, "PUT", &format!("/clusters/app/{b}/weight"), "{\"weight\": 7}");
    order(&heirs, "POST", "/policy", "{\"rateLimit\": 123456, \"circuitBreakerThreshold\": 9}");
    let policy = document(&heirs.gateway);
    let before = origins[0].requests();
    let load = Load::of(2, {
        let to = heirs.gateway.address();
        move || {
            super::client::Client::to(to).asks("/x").expects(200);
            Ok(())
        }
    });
    for _ in 0..2 {
        load.goes_on(20);
        let old = heirs.serving;
        let output = heirs.asks_for_upgrade();
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        let status = heirs.gateway.status();
        heirs.serving = i32::try_from(status["pid"].as_u64().unwrap()).unwrap();
        assert_eq!((&status["replaced_pid"], &status["epoch"]), (&old.into(), &2.into()), "{status}");
        load.goes_on(20);
        assert_eq!(heirs.exit_code_of(old), Some(0));
        assert_eq!([a, b, c].map(|of| weight(&heirs, of)), [0, 7, 1].map(Value::from));
        assert_eq!((document(&heirs.gateway), &policy), (policy.clone(), &policy));
        assert_eq!(heirs.gateway.status()["policy"]["in_force"], true);
    }
    load.ends_whole();
    assert_eq!(origins[0].requests(), before, "it is drained, whoever serves");
    order(&heirs, "POST", &format!("/clusters/app/{a}/undrain"), "");
    assert_eq!(weight(&heirs, a), 1);
    heirs.stop();
}

/// Taking up what operators gave is another compilation of everything, so the old process accepts as long as that takes.
fn the_old_process_accepts_while_the_new_one_takes_up_what_it_is_given(io: Io) {
    let origins = named(2);
    let [a, b] = [&origins[0], &origins[1]].map(Origin::address);
    let plan = Plan::bare(io).cluster_with("app", &[a, b], "balance: round_robin").workers("2").log("off");
    let heirs = Heirs::start(&plan.route("name: all, cluster: app").yaml());
    let answer = heirs.gateway.asks_admin("POST", &format!("/clusters/app/{a}/drain"));
    assert_eq!(answer.status(), 200, "{answer}");
    let [heard, free] = ["heard", "free"].map(|name| heirs.gateway.folder.path(name));
    let script = READY.lines().take_while(|line| !line.starts_with("heard")).collect::<Vec<_>>().join("\n");
    let script = heirs.gateway.folder.write(
        "slow.py",
        format!(
            "{script}
import time
lines = channel.makefile()
given = lines.readline()
assert 'Given' in json.loads(given), given
open('{}', 'w').close()
while not os.path.exists('{}'):
    time.sleep(0.005)
say('Inherited')
heard = lines.readline()
assert json.loads(heard) == 'Go', heard
sys.exit(3)
",
            heard.display(),
            free.display()
        ),
    );
    heirs.places_script("slow", &format!("exec /usr/bin/python3 {}", script.display()));
    let load = {
        let to = heirs.gateway.address();
        Load::of(2, move || {
            super::client::Client::to(to).asks("/x").expects(200);
            Ok(())
        })
    };
    let mut upgrade = Wire::to(heirs.gateway.admin());
    upgrade.sends(format!("POST /upgrade HTTP/1.1\r\nHost: {}\r\nContent-Length: 0\r\n\r\n", heirs.gateway.admin()));
    until_true("the new process has what it is given", || heard.exists());
    load.goes_on(40);
    std::fs::write(&free, "").expect("our own folder");
    let mut answer = upgrade.reads_head();
    upgrade.reads_body(&mut answer);
    assert!(answer.text().contains("the new process ended: exit status: 3"), "{answer}");
    load.goes_on(20);
    load.ends_whole();
    heirs.stop();
}

/// A policy that has a place is that of its place, whatever was in force before.
fn a_policy_with_a_place_is_read_from_there(io: Io) {
    let plan = Plan::bare(io).route("name: all, match: { path: /* }, respond: { status: 200, body: in }").workers("2");
    let plan = plan.and("reload: { watch: false }");
    let mut heirs = Heirs::start(&plan.yaml());
    assert_eq!(heirs.gateway.posts("/policy", "{\"enabled\": false}").status(), 200);
    heirs.gateway.folder.write(".gateway-policy.json", "{\"rateLimit\": 77}");
    heirs.gateway.writes(&plan.and("policy: {}").yaml());
    let old = heirs.upgrades();
    assert_eq!(document(&heirs.gateway), json!({"enabled": true, "rateLimit": 77, "circuitBreakerThreshold": 50}));
    heirs.gateway.client().asks("/").expects(200);
    assert_eq!(heirs.exit_code_of(old), Some(0));
    heirs.stop();
}

on_both_drivers![
    a_process_that_fails_when_it_is_to_accept_changes_nothing,
    an_upgrade_is_ordered_with_a_token_over_tls,
    what_operators_gave_is_handed_over,
    the_old_process_accepts_while_the_new_one_takes_up_what_it_is_given,
    a_policy_with_a_place_is_read_from_there,
];
