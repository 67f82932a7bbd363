//! Names without a network: whoever is asked answers as the test says, on the runtime's paused clock.

use std::collections::VecDeque;
use std::future::pending;
use std::sync::{Mutex, MutexGuard};

use tokio::time::Instant;

use super::answer::{Family, Nothing};
use super::*;
use crate::config::tests::of_text;

/// A configuration with these endpoints, each `cluster host:port`.
pub(super) fn config(endpoints: &[&str]) -> Config {
    let mut clusters: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for endpoint in endpoints {
        let (cluster, authority) = endpoint.split_once(' ').unwrap();
        clusters.entry(cluster).or_default().push(format!("{{ url: 'http://{authority}' }}"));
    }
    let mut yaml = "version: 1\nadmin: { listen: off }\nlisteners: { web: { address: '127.0.0.1:0' } }\n".to_owned();
    yaml.push_str("routes: [{ name: all, match: { path: /* }, respond: { status: 200 } }]\nclusters:\n");
    for (cluster, urls) in clusters {
        yaml.push_str(&format!("  {cluster}: {{ endpoints: [{}] }}\n", urls.join(", ")));
    }
    let mut config = of_text(&yaml);
    let seconds = Duration::from_secs;
    config.dns = Dns { servers: Vec::new(), timeout: seconds(2), ttl_min: seconds(1), ttl_max: seconds(30) };
    config
}

pub(super) fn ips(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

/// Answers by script.
#[derive(Clone, Default)]
struct Script(Arc<Mutex<Scripted>>);

#[derive(Default)]
struct Scripted {
    /// By host; the last one stays.
    answers: HashMap<String, VecDeque<Option<Answer>>>,
    /// What was asked, with the time in milliseconds since the start and the first server.
    asked: Vec<(String, u64)>,
    most_at_once: usize,
    at_once: usize,
    servers: Vec<Vec<SocketAddr>>,
}

/// Counts an ask while it is under way.
struct UnderWay(Script);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.lock().at_once -= 1;
    }
}

impl Script {
    fn lock(&self) -> MutexGuard<'_, Scripted> {
        self.0.lock().unwrap()
    }

    /// Further answers for `host`; `None` never answers.
    fn says(&self, host: &str, answers: impl IntoIterator<Item = Option<Answer>>) {
        self.lock().answers.insert(host.to_owned(), answers.into_iter().collect());
    }

    fn finds(&self, host: &str, ttl_s: u32, addresses: &[&str]) {
        self.says(host, [Some(Answer::found(ips(addresses), ttl_s))]);
    }

    fn asked(&self, host: &str) -> usize {
        self.lock().asked.iter().filter(|(asked, _)| asked == host).count()
    }
}

impl Asker for Script {
    fn tuned(&self, dns: &Dns) -> Self {
        self.lock().servers.push(dns.servers.clone());
        self.clone()
    }

    async fn ask(self, host: Arc<str>) -> Answer {
        let answer = {
            let mut scripted = self.lock();
            let now_ms = now_ms();
            scripted.asked.push((host.to_string(), now_ms));
            scripted.at_once += 1;
            scripted.most_at_once = scripted.most_at_once.max(scripted.at_once);
            let answers = scripted.answers.get_mut(&*host).unwrap_or_else(|| panic!("{host} was not expected"));
            if answers.len() > 1 { answers.pop_front().unwrap() } else { answers.front().unwrap().clone() }
        };
        let _under_way = UnderWay(self.clone());
        tokio::task::yield_now().await;
        match answer {
            Some(answer) => answer,
            None => pending().await,
        }
    }
}

std::thread_local! {
    static START: Instant = Instant::now();
}

/// Milliseconds on the runtime's clock since the test began to look at it.
fn now_ms() -> u64 {
    START.with(|start| u64::try_from(start.elapsed().as_millis()).unwrap()) + 1
}

fn unknown() -> Option<Answer> {
    Some(Answer::unknown("no answer".to_owned()))
}

/// Runs `test` on a clock that jumps to the next timer whenever nothing else is left.
fn run(test: impl AsyncFnOnce(Script, Names<Script>)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let script = Script::default();
        test(script.clone(), Names::new(script, now_ms)).await;
    });
}

pub(super) async fn resolves<A: Asker>(names: &mut Names<A>, config: &Config) -> Result<Resolved, Vec<String>> {
    let new = names.ask_for_new(config).await;
    names.resolve(&[config], new)
}

async fn publishes(names: &mut Names<Script>, config: &Config) -> Resolved {
    let resolved = resolves(names, config).await.unwrap();
    names.on_published();
    assert_eq!(names.resolved(), resolved);
    resolved
}

fn of(resolved: &Resolved, host: &str, port: u16) -> Vec<String> {
    resolved[&(host.to_owned(), port)].iter().map(ToString::to_string).collect()
}

/// Lets `names` work for this long; the changes it told.
async fn passes(names: &mut Names<Script>, time: Duration) -> Vec<Vec<String>> {
    let mut told = Vec::new();
    let working = async {
        loop {
            told.push(names.changed().await);
        }
    };
    let _: Result<(), _> = timeout(time, working).await;
    told
}

const HOUR: Duration = Duration::from_secs(3_600);

#[test]
fn what_is_on_trial_does_not_say_whom_to_ask_nor_how_often() {
    run(async |script, mut names| {
        script.finds("a.test", 60, &["10.0.0.1"]);
        script.finds("b.test", 60, &["10.0.0.2"]);
        let current = config(&["a a.test:80"]);
        publishes(&mut names, &current).await;
        let known = names.statuses();
        let mut candidate = config(&["a a.test:80", "b b.test:80"]);
        candidate.dns.servers = vec!["10.0.0.53:53".parse().unwrap()];
        candidate.dns.ttl_max = Duration::from_secs(2);
        let servers = script.lock().servers.clone();
        let new = names.ask_for_new_of(&[&current, &candidate]).await;
        names.resolve(&[&current, &candidate], new).unwrap();
        names.on_published();
        assert_eq!(script.lock().servers, servers);
        assert_eq!(names.statuses()[0], known[0], "due when it was");
        passes(&mut names, Duration::from_secs(20)).await;
        assert_eq!((script.asked("a.test"), script.asked("b.test")), (1, 1));
        names.resolved_of(&[&candidate]);
        names.on_published();
        assert_eq!(script.lock().servers.last(), Some(&candidate.dns.servers), "promoted");
        passes(&mut names, Duration::from_secs(1)).await;
        assert_eq!((script.asked("a.test"), script.asked("b.test")), (2, 2));
    });
}

#[test]
fn addresses_need_nobody_to_ask() {
    run(async |script, mut names| {
        let resolved = publishes(&mut names, &config(&["a 10.0.0.1:80", "a [::1]:81"])).await;
        assert_eq!(of(&resolved, "10.0.0.1", 80), ["10.0.0.1:80"]);
        assert_eq!(of(&resolved, "::1", 81), ["[::1]:81"]);
        assert_eq!(passes(&mut names, HOUR).await, Vec::<Vec<String>>::new());
        assert_eq!((script.lock().asked.len(), names.statuses()), (0, Vec::new()));
    });
}

#[test]
fn a_name_on_several_ports_is_asked_for_once() {
    run(async |script, mut names| {
        script.finds("a.test", 5, &["::1", "10.0.0.2", "10.0.0.1"]);
        let resolved = publishes(&mut names, &config(&["a a.test:80", "b a.test:80", "b a.test:81"])).await;
        assert_eq!(of(&resolved, "a.test", 80), ["10.0.0.1:80", "10.0.0.2:80", "[::1]:80"]);
        assert_eq!(of(&resolved, "a.test", 81), ["10.0.0.1:81", "10.0.0.2:81", "[::1]:81"]);
        assert_eq!(script.asked("a.test"), 1);
    });
}

#[test]
fn names_without_an_address_are_told_all_at_once_with_their_clusters() {
    run(async |script, mut names| {
        script.finds("good.test", 5, &["10.0.0.1"]);
        script.says(
            "gone.test",
            [Some(Answer { v4: Family::Nothing(Nothing::NoName), v6: Family::Nothing(Nothing::NoName) })],
        );
        script.says("slow.test", [None]);
        let refused = resolves(&mut names, &config(&["b slow.test:80", "a gone.test:80", "a good.test:80"])).await;
        assert_eq!(
            refused.unwrap_err(),
            [
                "cluster `a`: cannot resolve `gone.test`: no such name",
                "cluster `b`: cannot resolve `slow.test`: no answer within 30s"
            ]
        );
        assert_eq!(names.counts(), Counts { ok: 1, failed: 2 });
        assert!(names.resolved().is_empty() && names.statuses().is_empty());
    });
}

#[test]
fn many_names_are_asked_for_together_but_not_all() {
    run(async |script, mut names| {
        let hosts: Vec<String> = (0..100).map(|at| format!("h{at}.test")).collect();
        hosts.iter().for_each(|host| script.finds(host, 5, &["10.0.0.1"]));
        let endpoints: Vec<String> = hosts.iter().map(|host| format!("a {host}:80")).collect();
        let endpoints: Vec<&str> = endpoints.iter().map(String::as_str).collect();
        publishes(&mut names, &config(&endpoints)).await;
        assert_eq!(script.lock().most_at_once, ASKS);
        passes(&mut names, Duration::from_secs(20)).await;
        assert_eq!(script.lock().most_at_once, ASKS, "and when they are due as well");
        assert!(hosts.iter().all(|host| script.asked(host) >= 4));
    });
}

#[test]
fn a_name_is_asked_for_again_when_its_ttl_is_over() {
    run(async |script, mut names| {
        script.finds("a.test", 10, &["10.0.0.1"]);
        publishes(&mut names, &config(&["a a.test:80"])).await;
        assert!(passes(&mut names, Duration::from_secs(8)).await.is_empty());
        assert_eq!(script.asked("a.test"), 1);
        passes(&mut names, Duration::from_secs(4)).await;
        assert_eq!(script.asked("a.test"), 2);
        let before = script.asked("a.test");
        passes(&mut names, Duration::from_secs(1_000)).await;
        assert!((91..=111).contains(&(script.asked("a.test") - before)), "every 9 to 11 seconds");
    });
}

#[test]
fn a_ttl_of_zero_waits_for_the_floor() {
    run(async |script, mut names| {
        script.finds("a.test", 0, &["10.0.0.1"]);
        publishes(&mut names, &config(&["a a.test:80"])).await;
        passes(&mut names, Duration::from_secs(100)).await;
        assert!((90..=101).contains(&script.asked("a.test")), "{}", script.asked("a.test"));
    });
}

#[test]
fn an_endpoint_may_have_a_ceiling_of_its_own() {
    run(async |script, mut names| {
        script.finds("own.test", 900, &["10.0.0.1"]);
        script.finds("all.test", 900, &["10.0.0.1"]);
        script.finds("long.test", 900, &["10.0.0.1"]);
        let mut config = config(&["a own.test:80", "a all.test:80", "a long.test:80"]);
        config.clusters[0].endpoints[0].dns_ttl_max = Some(Duration::from_secs(5));
        config.clusters[0].endpoints[2].dns_ttl_max = Some(Duration::from_secs(100));
        publishes(&mut names, &config).await;
        passes(&mut names, Duration::from_secs(300)).await;
        let asked = (script.asked("own.test"), script.asked("all.test"));
        assert!((60..=68).contains(&asked.0) && (10..=13).contains(&asked.1), "{asked:?}");
        assert!((3..=5).contains(&script.asked("long.test")), "{}", script.asked("long.test"));
    });
}

#[test]
fn a_changed_set_is_told_once_and_another_order_is_no_change() {
    run(async |script, mut names| {
        let answer = |addresses: &[&str]| Some(Answer::found(ips(addresses), 5));
        script.says(
            "a.test",
            [
                answer(&["10.0.0.1", "10.0.0.2"]),
                answer(&["10.0.0.2", "10.0.0.1"]),
                answer(&["10.0.0.2", "10.0.0.3"]),
                answer(&["10.0.0.3", "10.0.0.2"]),
            ],
        );
        publishes(&mut names, &config(&["a a.test:80"])).await;
        assert_eq!(passes(&mut names, HOUR).await, [["a.test"]]);
        assert_eq!(of(&names.resolved(), "a.test", 80), ["10.0.0.2:80", "10.0.0.3:80"]);
    });
}

#[test]
fn a_burst_of_changes_is_told_at_once() {
    run(async |script, mut names| {
        for host in ["a.test", "b.test", "c.test"] {
            let answers = ["10.0.0.1", "10.0.0.2"].map(|one| Some(Answer::found(ips(&[one]), 0)));
            script.says(host, answers);
        }
        publishes(&mut names, &config(&["a a.test:80", "a b.test:80", "a c.test:80"])).await;
        assert_eq!(passes(&mut names, HOUR).await, [["a.test", "b.test", "c.test"]]);
    });
}

#[test]
fn a_failure_keeps_the_last_addresses_and_backs_off() {
    run(async |script, mut names| {
        script.says("a.test", [Some(Answer::found(ips(&["10.0.0.1"]), 5)), unknown()]);
        publishes(&mut names, &config(&["a a.test:80"])).await;
        assert!(passes(&mut names, Duration::from_secs(1_000)).await.is_empty());
        assert_eq!(of(&names.resolved(), "a.test", 80), ["10.0.0.1:80"]);
        // After 1, 2, 4, 8 and 16 seconds, then about every 30.
        assert!((35..=45).contains(&script.asked("a.test")), "{}", script.asked("a.test"));
        let status = &names.statuses()[0];
        assert_eq!((status.is_failing, status.error.as_deref()), (true, Some("no answer")));
        assert!(status.due_in_ms <= 30_000);
        script.finds("a.test", 5, &["10.0.0.9"]);
        assert_eq!(passes(&mut names, Duration::from_secs(60)).await, [["a.test"]]);
        assert!(!names.statuses()[0].is_failing);
        assert_eq!(names.counts().ok + names.counts().failed, script.asked("a.test") as u64);
    });
}

#[test]
fn a_name_that_never_answers_holds_up_no_other() {
    run(async |script, mut names| {
        let found = |one: &str| Some(Answer::found(ips(&[one]), 1));
        script.says("slow.test", [found("10.0.0.1"), None]);
        script.says("a.test", [found("10.0.0.1"), found("10.0.0.1"), found("10.0.0.2")]);
        publishes(&mut names, &config(&["a slow.test:80", "a a.test:80"])).await;
        assert_eq!(passes(&mut names, HOUR).await, [["a.test"]]);
        assert_eq!(script.asked("slow.test"), 2);
        assert_eq!(names.statuses()[1].due_in_ms, 0, "it is being asked for");
    });
}

#[test]
fn known_names_are_looked_after_while_new_ones_are_asked_for() {
    run(async |script, mut names| {
        script.says("a.test", ["10.0.0.1", "10.0.0.2"].map(|one| Some(Answer::found(ips(&[one]), 1))));
        script.says("new.test", [None]);
        publishes(&mut names, &config(&["a a.test:80"])).await;
        let more = config(&["a a.test:80", "a new.test:80"]);
        let mut asking = std::pin::pin!(names.ask_for_new(&more));
        let told = tokio::select! {
            _ = asking.as_mut() => panic!("nobody answers"),
            told = names.changed() => told,
        };
        assert_eq!(told, ["a.test"]);
        // It is given up in the end, and what was learnt meanwhile stays.
        let new = asking.await;
        let refused = names.resolve(&[&more], new).unwrap_err();
        assert_eq!(refused, ["cluster `a`: cannot resolve `new.test`: no answer within 30s"]);
        names.on_rejected();
        assert_eq!(of(&names.resolved(), "a.test", 80), ["10.0.0.2:80"]);
    });
}

#[test]
fn what_was_known_when_new_names_were_asked_for_is_known_when_they_are_answered() {
    run(async |script, mut names| {
        for host in ["a.test", "trial.test", "new.test"] {
            script.finds(host, 20, &["10.0.0.1"]);
        }
        let current = config(&["a a.test:80"]);
        let on_trial = config(&["a trial.test:80"]);
        let new = names.ask_for_new_of(&[&current, &on_trial]).await;
        names.resolve(&[&current, &on_trial], new).unwrap();
        names.on_published();
        let next = config(&["a trial.test:80", "a new.test:80"]);
        let new = names.ask_for_new_of(&[&current, &next]).await;
        // The trial ends meanwhile, and what it wanted is forgotten.
        names.resolved_of(&[&current]);
        names.on_published();
        assert!(names.statuses().iter().all(|status| status.host == "a.test"));
        let resolved = names.resolve(&[&current, &next], new).unwrap();
        for host in ["a.test", "trial.test", "new.test"] {
            assert_eq!(of(&resolved, host, 80), ["10.0.0.1:80"], "{host}");
        }
        names.on_published();
        passes(&mut names, Duration::from_secs(1)).await;
        assert_eq!(["trial.test", "new.test"].map(|host| script.asked(host)), [2, 1], "it is looked after again");
        // What was on trial is in force meanwhile.
        let new = names.ask_for_new_of(&[&current, &on_trial]).await;
        let resolved = names.resolve(&[&next, &on_trial], new).unwrap();
        assert_eq!(resolved.len(), 2);
        assert_eq!(of(&resolved, "new.test", 80), ["10.0.0.1:80"]);
    });
}

#[test]
fn an_abandoned_wait_loses_nothing() {
    run(async |script, mut names| {
        let answers = ["10.0.0.1", "10.0.0.2"].map(|one| Some(Answer::found(ips(&[one]), 1)));
        script.says("a.test", answers);
        publishes(&mut names, &config(&["a a.test:80"])).await;
        let mut told = Vec::new();
        for _ in 0..5_000 {
            told.extend(passes(&mut names, Duration::from_millis(1)).await);
        }
        assert_eq!(told, [["a.test"]]);
        assert!((4..=6).contains(&script.asked("a.test")), "{}", script.asked("a.test"));
    });
}

#[test]
fn a_reload_keeps_what_it_knows_and_forgets_what_is_gone() {
    run(async |script, mut names| {
        for host in ["a.test", "b.test", "c.test"] {
            script.finds(host, 20, &["10.0.0.1"]);
        }
        publishes(&mut names, &config(&["a a.test:80", "a b.test:80"])).await;
        publishes(&mut names, &config(&["a b.test:81", "a c.test:80"])).await;
        assert_eq!(["a.test", "b.test", "c.test"].map(|host| script.asked(host)), [1, 1, 1]);
        passes(&mut names, Duration::from_secs(30)).await;
        assert_eq!(["a.test", "b.test", "c.test"].map(|host| script.asked(host)), [1, 2, 2]);
        let hosts: Vec<String> = names.statuses().into_iter().map(|status| status.host).collect();
        assert_eq!(hosts, ["b.test", "c.test"]);
        assert!(!names.resolved().contains_key(&("b.test".to_owned(), 80)));
    });
}

#[test]
fn a_refused_reload_changes_nothing() {
    run(async |script, mut names| {
        script.finds("a.test", 5, &["10.0.0.1"]);
        script.finds("b.test", 5, &["10.0.0.2"]);
        publishes(&mut names, &config(&["a a.test:80"])).await;
        let before = names.resolved();
        let mut other = config(&["a b.test:80"]);
        other.dns.servers = vec!["10.0.0.53:53".parse().unwrap()];
        assert!(resolves(&mut names, &other).await.is_ok());
        names.on_rejected();
        assert_eq!(names.resolved(), before);
        passes(&mut names, Duration::from_secs(60)).await;
        assert_eq!(script.asked("b.test"), 1, "it is not asked for again");
        assert!(script.asked("a.test") > 10);
    });
}

#[test]
fn a_change_that_a_refused_reload_saw_is_still_told() {
    run(async |script, mut names| {
        let answers = ["10.0.0.1", "10.0.0.2"].map(|one| Some(Answer::found(ips(&[one]), 1)));
        script.says("a.test", answers);
        script.says("gone.test", [unknown()]);
        publishes(&mut names, &config(&["a a.test:80"])).await;
        while !names.changed.contains("a.test") {
            assert!(names.step().await.is_none());
        }
        assert!(resolves(&mut names, &config(&["a a.test:80", "a gone.test:80"])).await.is_err());
        assert_eq!(passes(&mut names, HOUR).await, [["a.test"]]);
    });
}

#[test]
fn other_servers_are_asked_at_once_and_the_former_ones_have_no_say_any_more() {
    run(async |script, mut names| {
        script.says("a.test", [Some(Answer::found(ips(&["10.0.0.1"]), 5)), None]);
        let mut config = config(&["a a.test:80"]);
        publishes(&mut names, &config).await;
        passes(&mut names, Duration::from_secs(10)).await;
        assert_eq!(script.lock().at_once, 1, "the former server is silent");
        script.finds("a.test", 5, &["10.0.0.2"]);
        config.dns.servers = vec!["10.0.0.53:53".parse().unwrap()];
        publishes(&mut names, &config).await;
        assert_eq!(passes(&mut names, Duration::from_secs(1)).await, [["a.test"]]);
        assert_eq!(script.lock().servers, [vec![], config.dns.servers.clone()]);
    });
}

#[test]
fn an_asker_that_panics_costs_one_turn() {
    run(async |script, mut names| {
        script.finds("a.test", 1, &["10.0.0.1"]);
        publishes(&mut names, &config(&["a a.test:80"])).await;
        script.lock().answers.insert("a.test".to_owned(), VecDeque::new());
        passes(&mut names, Duration::from_millis(1_200)).await;
        assert_eq!(names.statuses()[0].error.as_deref(), Some("the resolver panicked"));
    });
}
