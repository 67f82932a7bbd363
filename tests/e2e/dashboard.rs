//! H5: the dashboard in a real browser. Pictures are kept in `target/tmp/dashboard`.

use serde_json::{Value, json};

use super::admin::{READ_TOKEN, TOKEN, guarded};
use super::browser::{AT_ONCE, Browser};
use super::client::Client;
use super::endpoint::Endpoint;
use super::folder::Folder;
use super::gateway::Gateway;
use super::gateway::json as parsed;
use super::heirs::Load;
use super::patient::Patient;
use super::plan::{Io, Plan};
use super::trial::{ends, orders, stages};
use super::wait::until_true;

const WIDE: (u32, u32) = (1280, 1180);
const PHONE: (u32, u32) = (360, 740);

fn site(gateway: &Gateway) -> String {
    format!("http://127.0.0.1:{}/", gateway.admin().port())
}

/// A browser that shows the dashboard of a gateway, once there is something to see.
fn looks_at(gateway: &Gateway, (width, height): (u32, u32)) -> Browser {
    let mut browser = Browser::start();
    browser.opens(&site(gateway), width, height);
    browser.waits_to_read("#link", "ready");
    browser
}

/// Two endpoints behind breakers that one failure opens.
fn scene() -> (Patient, Patient, Plan) {
    let (first, second) = (Patient::start("first"), Patient::start("second"));
    let entries = "max_connections: 8, breaker: { consecutive: 1, open_for: 60s }";
    let plan = Plan::bare(Io::Uring)
        .cluster_with("orders", &[first.address(), second.address()], entries)
        .route("name: orders, match: { path: /orders/* }, cluster: orders")
        .route("name: hello, match: { path: /* }, respond: { status: 200, body: hello }");
    (first, second, plan)
}

fn is_within(took_ms: u64) {
    assert!(u128::from(took_ms) <= AT_ONCE.as_millis(), "{took_ms} ms");
}

/// A breaker that opens is to be seen within seconds, with what it rejects; so are latencies of clusters and of routes.
#[test]
fn a_breaker_that_opens_is_to_be_seen_at_once() {
    let (first, _second, plan) = scene();
    let gateway = plan.start();
    let mut browser = looks_at(&gateway, WIDE);
    browser.waits_to_read("#clusters h3", "orders");
    let line = format!(
        "[...document.querySelectorAll('.endpoints tbody tr')].find((line) => line.textContent.includes('{}'))",
        first.address()
    );
    browser.waits_for(&format!("{line}.cells[2].textContent === 'closed'"));
    let mut client = gateway.client();
    for _ in 0..20 {
        client.asks("/orders/1").expects(200);
    }
    first.tells_clients(500);
    for _ in 0..2 {
        client.asks("/orders/2").expects_any();
    }
    is_within(browser.waits_for(&format!(
        "{line}.cells[2].textContent === 'open' && {line}.cells[1].textContent.includes('out: breaker')"
    )));
    is_within(browser.waits_to_read("#changes", &format!("orders {}: breaker open", first.address())));
    is_within(browser.waits_to_read(".cluster-head p", "1 of 2 fit"));
    browser.waits_to_read("#percentiles", "22");
    browser.waits_to_read("#routes", "orders");
    let latency = parsed(gateway.asks_admin("GET", "/latency").text());
    assert_eq!(latency["clusters"][0]["since_start"]["count"], 22, "{latency}");
    browser.ends(&site(&gateway));
    gateway.stop();
}

/// The bars of workers and of a cluster and the heat of latencies follow the load, and go back when it is over.
#[test]
fn bars_and_heat_follow_the_load() {
    let endpoint = Endpoint::listens();
    let gateway = Plan::bare(Io::Uring)
        .workers("2")
        .cluster_with("orders", &[endpoint.address()], "max_connections: 8")
        .route("name: orders, match: { path: /orders/* }, cluster: orders")
        .route("name: hello, match: { path: /* }, respond: { status: 200, body: hello }")
        .start();
    let mut browser = looks_at(&gateway, WIDE);
    browser.prefers("light");
    // The fullest cell is drawn with the whole colour.
    let heat = "(() => {
        const [r, g, b] = getComputedStyle(document.documentElement).getPropertyValue('--heat').split(',').map(Number);
        const canvas = document.getElementById('heat');
        const copy = document.createElement('canvas');
        [copy.width, copy.height] = [canvas.width, canvas.height];
        const seen = copy.getContext('2d', { willReadFrequently: true });
        seen.drawImage(canvas, 0, 0);
        const data = seen.getImageData(0, 0, canvas.width, canvas.height).data;
        let cells = 0;
        for (let at = 0; at < data.length; at += 4)
            cells += data[at] === r && data[at + 1] === g && data[at + 2] === b && data[at + 3] === 255;
        return cells;
    })()";
    let width = |bar: &str| format!("document.querySelector('{bar} > span > span').style.width");
    let (of_cluster, of_endpoint) = (width(".cluster-head .bar"), width(".endpoints tbody .bar"));
    browser.waits_for(&format!("{of_cluster} === '0%' && {of_endpoint} === '0%'"));
    assert_eq!(browser.says(heat), 0, "nothing was asked yet");
    browser.waits_for("document.getElementById('workers').rows.length === 2");

    let mut held: Vec<_> = (0..4)
        .map(|_| {
            let mut client = gateway.client();
            client.asks("/orders/held");
            let mut accepted = endpoint.accepts();
            accepted.expects("GET /orders/held");
            (client, accepted)
        })
        .collect();
    is_within(browser.waits_for(&format!("{of_cluster} === '50%' && {of_endpoint} === '50%'")));
    assert_eq!(browser.reads(".cluster-head .bar"), "4 / 8 conn.");

    let address = gateway.address();
    let load = Load::of(4, move || {
        let mut client = Client::to(address);
        client.asks("/x").expects(200);
        client.closes();
        Ok(())
    });
    let each = |cells: &str| {
        format!("[...document.getElementById('workers').rows].every(({{ cells: [, load, rate] }}) => {cells})")
    };
    browser.waits_for(&each(
        "parseFloat(load.querySelector('.bar > span > span').style.width) > 0 && rate.textContent !== '0'",
    ));
    browser.waits_for(&format!("{heat} > 0"));
    load.ends_whole();
    browser.waits_for(&each("rate.textContent === '0'"));

    for (client, accepted) in &mut held {
        accepted.replies_with("done");
        client.expects(200);
    }
    is_within(browser.waits_for(&format!("{of_endpoint} === '0%'")));
    drop(held);
    browser.ends(&site(&gateway));
    gateway.stop();
}

/// A policy that somebody else changes, a reload and its error are to be seen within seconds.
#[test]
fn a_change_of_the_policy_and_a_refused_reload_are_to_be_seen_at_once() {
    let (_first, _second, plan) = scene();
    let plan = plan.and("policy: {}");
    let gateway = plan.start();
    let mut browser = looks_at(&gateway, WIDE);
    browser.waits_to_read("#policy", "1,000 requests/s");
    assert_eq!(gateway.posts("/policy", r#"{"rateLimit": 77}"#).status(), 200);
    is_within(browser.waits_to_read("#policy", "77 requests/s"));
    assert_eq!(gateway.posts("/policy", r#"{"enabled": false}"#).status(), 200);
    is_within(browser.waits_for("document.getElementById('switch').getAttribute('aria-checked') === 'false'"));
    is_within(browser.waits_to_read("#changes", "traffic switched off"));
    gateway.client().asks("/").expects(429);
    browser.waits_to_read("#rejections", "policy_enforced");
    gateway.writes(&plan.yaml().replace("routes:", "rouets:"));
    assert_eq!(gateway.posts("/reload", "").status(), 400);
    is_within(browser.waits_to_read("#reload-error", "rouets"));
    is_within(browser.waits_to_read("#config", "refused"));
    assert_eq!(gateway.posts("/policy", r#"{"enabled": true}"#).status(), 200);
    gateway.adopts(&plan.route("name: more, match: { path: /more }, respond: { status: 200, body: more }").yaml());
    is_within(browser.waits_for("document.getElementById('reload-error').hidden"));
    is_within(browser.waits_to_read("#config", "taken"));
    browser.ends(&site(&gateway));
    gateway.stop();
}

/// A configuration on trial, what it does beside the one in force, and how that ends are to be seen within seconds.
#[test]
fn a_trial_and_its_end_are_to_be_seen_at_once() {
    let (_first, _second, plan) = scene();
    let staged = |word: &str, rules: &str| {
        let reload = format!("reload: {{ watch: false, stage: {{ {rules} }} }}");
        plan.clone().and(&reload).yaml().replace("body: hello", &format!("body: {word}"))
    };
    let gateway = Gateway::start(&staged("hello", ""));
    let mut browser = looks_at(&gateway, WIDE);
    let number = stages(&gateway, &staged("new", "share: 100%, for: 1h"));
    is_within(browser.waits_to_read("#config", "trial 1, 100 % of new connections"));
    is_within(browser.waits_to_read("#changes", "trial 1 begins"));
    for _ in 0..3 {
        assert_eq!(gateway.client().asks("/").expects(200).text(), "new");
    }
    is_within(browser.waits_to_read("#config", "3 requests, 0 failed"));
    browser.pictures("trial");
    assert_eq!(orders(&gateway, "abort").0, 200);
    is_within(browser.waits_to_read("#config", "trial 1 rolled back"));
    is_within(browser.waits_to_read("#config", "say what was rolled back"));
    is_within(browser.waits_to_read("#changes", "trial 1 rolled back"));
    assert_eq!(ends(&gateway, number)["reason"], "an operator asked for it");
    browser.ends(&site(&gateway));
    gateway.stop();
}

/// What has the focus, by its identity.
fn focus(browser: &mut Browser) -> String {
    browser.says("document.activeElement.id").as_str().unwrap_or_default().to_owned()
}

/// Tab leads to the switch, to its confirmation and away from it; Escape changes nothing, and the focus is to be seen.
#[test]
fn the_switch_is_reached_and_confirmed_by_keys_alone() {
    let (_first, _second, plan) = scene();
    let gateway = plan.and("policy: {}").start();
    let mut browser = looks_at(&gateway, WIDE);
    browser.waits_for("!document.getElementById('switch').disabled");
    let mut steps = 0;
    while focus(&mut browser) != "switch" {
        browser.presses("Tab");
        steps += 1;
        assert!(steps < 10, "the switch is far away");
    }
    let outline = "getComputedStyle(document.activeElement).outlineStyle";
    assert_eq!(browser.says(outline), "solid");
    let is_enabled = |gateway: &Gateway| parsed(gateway.asks_admin("GET", "/policy").text())["enabled"].clone();
    browser.presses(" ");
    browser.waits_to_read("#confirm-title", "Stop all traffic?");
    assert_eq!(focus(&mut browser), "confirm-no");
    browser.presses("Escape");
    browser.waits_for("!document.getElementById('confirm').open");
    assert_eq!((is_enabled(&gateway), focus(&mut browser).as_str()), (Value::Bool(true), "switch"));
    browser.presses("Enter");
    browser.waits_for("document.getElementById('confirm').open");
    browser.presses("Enter");
    browser.waits_for("!document.getElementById('confirm').open");
    assert_eq!(is_enabled(&gateway), true, "Cancel comes first");
    browser.presses(" ");
    browser.waits_for("document.getElementById('confirm').open");
    browser.presses("Tab");
    assert_eq!((focus(&mut browser).as_str(), browser.says(outline)), ("confirm-yes", json!("solid")));
    browser.pictures("confirmation");
    browser.presses("Enter");
    browser.waits_to_read("#switch-state", "off");
    browser.waits_for("!document.getElementById('confirm').open");
    assert_eq!(is_enabled(&gateway), false);
    gateway.client().asks("/").expects(429);
    browser.presses(" ");
    browser.waits_to_read("#confirm-title", "Let traffic pass again?");
    browser.presses("Tab");
    browser.presses("Enter");
    browser.waits_to_read("#switch-state", "on");
    gateway.client().asks("/").expects(200);
    browser.ends(&site(&gateway));
    gateway.stop();
}

/// Both schemes have colours of their own, and nothing on a phone is wider than it is.
#[test]
fn it_is_readable_in_the_light_in_the_dark_and_on_a_phone() {
    let (first, _second, plan) = scene();
    let gateway = plan.and("policy: {}").start();
    let mut browser = looks_at(&gateway, WIDE);
    let mut client = gateway.client();
    for _ in 0..200 {
        client.asks("/orders/1").expects(200);
        client.asks("/").expects(200);
    }
    first.tells_clients(503);
    for _ in 0..3 {
        client.asks("/orders/2").expects_any();
    }
    browser.waits_to_read(".endpoints", "open");
    browser.waits_to_read("#routes", "orders");
    let ground = "getComputedStyle(document.body).backgroundColor";
    let mut grounds = Vec::new();
    for scheme in ["light", "dark"] {
        browser.prefers(scheme);
        for (name, (width, height)) in [("wide", WIDE), ("phone", PHONE)] {
            browser.sizes(width, height);
            browser.waits_for(&format!("innerWidth === {width}"));
            let widest = "Math.max(document.documentElement.scrollWidth, ...[...document.querySelectorAll('main *')].filter((one) => one.checkVisibility() && !one.closest('.hidden')).map((one) => one.getBoundingClientRect().right))";
            let widest = browser.says(widest).as_f64().expect("a number");
            assert!(widest <= f64::from(width), "{scheme} {name}: {widest}");
            // A picture shows what was drawn for this size and scheme.
            browser.says("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(1))))");
            browser.pictures(&format!("{name}-{scheme}"));
        }
        grounds.push(browser.says(ground));
        browser.says("document.getElementById('switch').click()");
        browser.waits_for("document.getElementById('confirm').open");
        let edge = browser.says("document.getElementById('confirm').getBoundingClientRect().right");
        assert!(edge.as_f64().is_some_and(|edge| edge <= f64::from(PHONE.0)), "{edge}");
        browser.says("document.getElementById('confirm').close()");
    }
    assert_ne!(grounds[0], grounds[1]);
    let is_drawn = |id: &str| {
        format!(
            "document.getElementById('{id}').getContext('2d').getImageData(0, 0, 300, 90).data.some((byte) => byte)"
        )
    };
    assert_eq!([browser.says(&is_drawn("heat")), browser.says(&is_drawn("rate"))], [true, true]);
    browser.ends(&site(&gateway));
    gateway.stop();
}

/// No text of the gateway is taken for markup, wherever it stands: every one of a frame is replaced by some.
#[test]
fn markup_in_names_stays_text() {
    let (_first, _second, plan) = scene();
    let gateway = plan.and("policy: {}").start();
    let mut browser = looks_at(&gateway, WIDE);
    gateway.client().asks("/orders/1").expects(200);
    browser.waits_to_read("#routes", "orders");
    // No frame of the gateway comes in between.
    browser.says("wantsToken = true; reading.abort(); 1");
    let markup = "<img src=x onerror=\"window.isRun = true\"><b>name</b>";
    let replaced = format!(
        "(() => {{
            const markup = {markup:?};
            const replace = (value) => typeof value === 'string' ? markup + value
                : Array.isArray(value) ? value.map(replace)
                : value && typeof value === 'object' ? Object.fromEntries(Object.entries(value).map(([key, one]) => [key, replace(one)]))
                : value;
            const next = replace(frame);
            next.gateway.last_reload = {{ ok: false, at: markup, trigger: markup, error: markup }};
            next.gateway.last_upgrade = {{ ok: false, at: markup, pid: null, error: markup }};
            next.gateway.policy.error = markup;
            next.rejections = [{{ reason: markup, total: 1, per_second: 0 }}];
            takeFrame(next);
            const last = structuredClone(next);
            last.clusters[0].endpoints[0].breaker = 'other';
            takeFrame(last);
            const latency = {{ count: 1, p50_us: 1, p90_us: 1, p99_us: 1, p99_9_us: 1, p99_99_us: 1, max_us: 1 }};
            drawRoutes({{ window_seconds: 60, routes: [{{ name: markup, minute: latency }}] }});
            document.getElementById('switch').click();
            refuse(markup);
            return document.querySelectorAll('body img, body b').length;
        }})()"
    );
    assert_eq!(browser.says(&replaced), 0);
    for place in [
        "#clusters h3",
        ".endpoints",
        "#routes",
        "#reload-error",
        "#config",
        "#policy",
        "#rejections",
        "#changes",
        "#confirm-error",
    ] {
        assert!(browser.reads(place).contains(markup), "{place}");
    }
    assert_eq!(browser.says("window.isRun === undefined"), true);
    // And if somebody came to write it as markup after all, the policy of the page would not have it.
    let tried = "(() => { try { document.body.innerHTML = '<b>x</b>'; return 'taken'; } catch (error) { return error.name; } })()";
    assert_eq!(browser.says(tried), "TypeError");
    browser.wrong.clear();
    browser.ends(&site(&gateway));
    drop(gateway.killed());
}

/// A wrong token is told, a right one is in this tab and nowhere else, and what it may not do is told as well.
#[test]
fn a_token_is_asked_for_kept_in_the_tab_and_told_when_it_is_wrong() {
    let folder = Folder::new();
    folder.write("all", TOKEN);
    folder.write("look", READ_TOKEN);
    let gateway = guarded(Io::Epoll, folder, "listen: '0.0.0.0:0', token: '${file:all}', read_token: '${file:look}'");
    let mut browser = Browser::start();
    browser.opens(&site(&gateway), PHONE.0, PHONE.1);
    browser.waits_for("document.getElementById('login').open && document.activeElement.id === 'token'");
    assert_eq!(browser.says("document.getElementById('login-error').hidden"), true);
    let shows = |browser: &mut Browser, token: &str| {
        browser.types(token);
        browser.presses("Enter");
    };
    shows(&mut browser, "no-token-of-this-gateway");
    browser.waits_for("document.getElementById('login').open && !document.getElementById('login-error').hidden");
    assert!(browser.reads("#login-error").contains("does not know this token"));
    browser.pictures("wrong-token");
    shows(&mut browser, READ_TOKEN);
    browser.waits_to_read("#link", "ready");
    assert_eq!(browser.says("document.getElementById('login').open"), false);
    // It is in this tab and nowhere else.
    let kept =
        browser.says("[sessionStorage.length, localStorage.length, document.cookie.length, location.href.length]");
    assert_eq!(kept, json!([1, 0, 0, site(&gateway).len()]));
    // Whoever may only look is told so.
    browser.says("document.getElementById('switch').click(); document.getElementById('confirm-yes').click()");
    browser.waits_to_read("#confirm-error", "this token is for looking only");
    browser.presses("Escape");
    browser.calls("Page.reload", json!({}));
    browser.waits_to_read("#link", "ready");
    browser.says("document.getElementById('forget').click()");
    browser.waits_for("document.getElementById('login').open && sessionStorage.length === 0");
    shows(&mut browser, TOKEN);
    browser.waits_to_read("#link", "ready");
    browser.says("document.getElementById('switch').click(); document.getElementById('confirm-yes').click()");
    browser.waits_to_read("#switch-state", "off");
    assert!(browser.asked.iter().all(|url| !url.contains("token")), "{:?}", browser.asked);
    browser.ends(&site(&gateway));
    drop(gateway.killed());
}

/// Whoever looks is told at once that the gateway is gone, and sees it again when it is back.
#[test]
fn a_lost_connection_is_told_and_taken_up_again() {
    let (_first, _second, plan) = scene();
    let gateway = plan.start();
    let mut browser = looks_at(&gateway, WIDE);
    let site = site(&gateway);
    let yaml =
        plan.yaml().replace("admin: { listen: '127.0.0.1:0' }", &format!("admin: {{ listen: '{}' }}", gateway.admin()));
    // One that stands still is lost as well.
    gateway.signal(libc::SIGSTOP);
    browser.waits_to_read("#lost", "Connection to the gateway lost");
    assert_eq!(browser.says("document.getElementById('lost').checkVisibility() && document.getElementById('switch').disabled && document.getElementById('main').classList.contains('stale') && document.title.startsWith('Connection lost')"), true);
    browser.pictures("lost");
    gateway.signal(libc::SIGCONT);
    browser.waits_for(
        "document.getElementById('lost').hidden && !document.getElementById('main').classList.contains('stale')",
    );
    let folder = gateway.killed();
    is_within(browser.waits_for("!document.getElementById('lost').hidden"));
    let gateway = Gateway::start_in(folder, &yaml);
    browser.waits_for("document.getElementById('lost').hidden");
    browser.waits_to_read("#changes", "took the place of");
    browser.ends(&site);
    gateway.stop();
}

/// What the page is sent with: nothing from outside, nothing that frames it, nothing that takes text for markup.
#[test]
fn the_page_is_sent_with_a_strict_policy() {
    let gateway =
        Plan::bare(Io::Epoll).route("name: all, match: { path: /* }, respond: { status: 200, body: in }").start();
    let page = gateway.asks_admin("GET", "/");
    assert_eq!((page.status(), page.field("content-type")), (200, Some("text/html; charset=utf-8")));
    let policy = page.field("content-security-policy").expect("a policy").to_owned();
    for part in [
        "default-src 'none'",
        "connect-src 'self'",
        "frame-ancestors 'none'",
        "form-action 'none'",
        "base-uri 'none'",
        "require-trusted-types-for 'script'",
        "script-src 'sha256-",
    ] {
        assert!(policy.contains(part), "{part}: {policy}");
    }
    assert!(!policy.contains("unsafe") && !policy.contains('*'), "{policy}");
    assert_eq!(page.field("x-content-type-options"), Some("nosniff"));
    until_true("its size", || page.text().len() > 20_000);
    gateway.stop();
}
