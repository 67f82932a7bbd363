//! Against a real server of Redis, and against what pretends to be one.

use std::future::Future;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use futures_util::future::join_all;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::*;
use crate::rng::Rng;

/// A server of Redis on a socket in a folder of its own.
struct Server {
    child: Child,
    folder: PathBuf,
}

impl Server {
    fn start() -> Self {
        let folder = std::env::temp_dir().join(format!("ringgate-redis-{:016x}", Rng::from_os().unwrap().u64()));
        std::fs::create_dir(&folder).unwrap();
        Self { child: Self::run(&folder), folder }
    }

    fn run(folder: &std::path::Path) -> Child {
        let child = Command::new("redis-server")
            .args(["--port", "0", "--unixsocket", "s", "--save", "", "--appendonly", "no"])
            .current_dir(folder)
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed by scripts/test");
        let ends = Duration::from_secs(20);
        let begun = clock::now_ns();
        while std::os::unix::net::UnixStream::connect(folder.join("s")).is_err() {
            assert!(Duration::from_nanos(clock::now_ns() - begun) < ends, "redis-server did not start");
            std::thread::yield_now();
        }
        child
    }

    fn store(&self) -> Store {
        Store::new(&format!("unix://{}", self.folder.join("s").display())).unwrap()
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    }

    fn ends(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn returns(&mut self) {
        let _removed = std::fs::remove_file(self.folder.join("s"));
        self.child = Self::run(&self.folder);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _status = self.child.wait();
        let _removed = std::fs::remove_dir_all(&self.folder);
    }
}

fn run<F: Future<Output = ()>>(future: F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, future);
}

const PATIENCE: Duration = Duration::from_secs(5);
/// Long enough that no window ends while a test runs.
const AGE: Duration = Duration::from_secs(300 * 24 * 3600);

fn charge(key: &str, want: u32) -> Charge {
    Charge { key: key.into(), algorithm: Algorithm::SlidingWindow, limit: 100, period: AGE, want }
}

fn bucket(key: &str, want: u32) -> Charge {
    Charge { algorithm: Algorithm::TokenBucket { burst: 100 }, ..charge(key, want) }
}

/// Many that ask at once, over several connections, get what the limit allows and no more; each key has its own.
#[test]
fn no_more_than_the_limit_is_granted_to_all_who_ask_at_once() {
    let server = Server::start();
    run(async {
        for one in [charge("a", 3), bucket("b", 3)] {
            let stores: Vec<Arc<Store>> = (0..3).map(|_| Arc::new(server.store())).collect();
            let tasks: Vec<_> = (0..120)
                .map(|index| {
                    let (store, one) = (Arc::clone(&stores[index % 3]), one.clone());
                    tokio::task::spawn_local(async move { store.charge(&one, PATIENCE).await.unwrap().granted })
                })
                .collect();
            let mut sum = 0;
            for task in tasks {
                sum += task.await.unwrap();
            }
            assert_eq!(sum, 100, "{one:?}");
            let more = stores[0].charge(&one, PATIENCE).await.unwrap();
            assert_eq!((more.granted, more.left), (0, 0));
            assert!(more.retry > Duration::ZERO, "{more:?}");
            let other = Charge { key: b"other".to_vec(), ..one };
            let granted = stores[1].charge(&other, PATIENCE).await.unwrap();
            assert_eq!((granted.granted, granted.left, granted.retry), (3, 97, Duration::ZERO));
        }
    });
}

/// A server that was restarted knows no scripts: they are loaded again. One that is gone is reported, and found again by
/// itself, without anybody waiting for it meanwhile.
#[test]
fn a_server_that_is_lost_is_told_at_once_and_found_again() {
    let mut server = Server::start();
    run(async {
        let store = server.store();
        assert_eq!(store.charge(&charge("a", 1), PATIENCE).await.unwrap().granted, 1);
        server.ends();
        let lost = store.charge(&charge("a", 1), Duration::from_millis(100)).await;
        assert!(matches!(lost, Err(StoreError::Unreachable | StoreError::TimedOut)), "{lost:?}");
        assert_eq!(store.charge(&charge("a", 1), PATIENCE).await, Err(StoreError::Resting));
        server.returns();
        let begun = Instant::now();
        let granted = loop {
            match store.charge(&charge("a", 1), Duration::from_millis(500)).await {
                Ok(granted) => break granted,
                Err(_) => assert!(begun.elapsed() < Duration::from_secs(20), "it is not found again"),
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        // Its memory is empty, as that of a new one.
        assert_eq!((granted.granted, granted.left), (1, 99));
    });
}

/// Nobody waits longer than their patience for a server that is stopped, and after the first nobody waits at all.
#[test]
fn a_server_that_is_slow_costs_no_more_than_patience() {
    let server = Server::start();
    run(async {
        let store = server.store();
        assert!(store.charge(&charge("a", 1), PATIENCE).await.is_ok());
        server.signal("-STOP");
        assert_eq!(store.charge(&charge("a", 1), Duration::from_millis(50)).await, Err(StoreError::TimedOut));
        assert_eq!(store.charge(&charge("a", 1), PATIENCE).await, Err(StoreError::Resting));
        server.signal("-CONT");
        let begun = Instant::now();
        while store.charge(&charge("a", 1), Duration::from_millis(500)).await.is_err() {
            assert!(begun.elapsed() < Duration::from_secs(20), "it is not asked again");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
}

/// What is no Redis, says something else than was asked for, or has an older script's key, is no grant and no panic.
#[test]
fn rubbish_is_refused() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    run(async {
        for answer in
            ["HTTP/1.1 400 Bad Request\r\n\r\n", "+OK\r\n+OK\r\n+OK\r\n", "*4\r\n:9\r\n:0\r\n:0\r\n:0\r\n", "$5\r\nab"]
        {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let store = Store::new(&format!("redis://{}", listener.local_addr().unwrap())).unwrap();
            let server = tokio::task::spawn_local(async move {
                loop {
                    let (mut stream, _) = listener.accept().await.unwrap();
                    tokio::task::spawn_local(async move {
                        let mut read = [0; 4096];
                        while stream.read(&mut read).await.is_ok_and(|count| count > 0) {
                            let _sent = stream.write_all(answer.as_bytes()).await;
                        }
                    });
                }
            });
            let refused = store.charge(&charge("a", 1), Duration::from_millis(300)).await;
            assert!(refused.is_err(), "{answer:?}: {refused:?}");
            server.abort();
        }
        assert!(
            granted((2, 0, 0, 0), 1).is_err()
                && granted((1, -1, 0, 0), 1).is_err()
                && granted((1, 0, -1, 0), 1).is_err()
        );
    });
    for url in ["", "http://127.0.0.1", "redis://", "secret@nowhere"] {
        let refused = Store::new(url).err().unwrap_or_default();
        assert!(refused.starts_with("not a URL of Redis") && !refused.contains("secret"), "{url}: {refused}");
    }
}

/// F38: a server that has talked rubbish, or refused us, is heard again by itself, whatever it said.
#[test]
fn a_server_that_talked_rubbish_is_heard_once_it_does_not() {
    use std::cell::Cell;
    use std::rc::Rc;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
    let server = Server::start();
    run(async {
        for answer in ["HTTP/1.1 400 Bad Request\r\n\r\n", "-WRONGPASS no\r\n-WRONGPASS no\r\n", ":1\r\n:1\r\n:1\r\n"] {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let store = Store::new(&format!("redis://{}", listener.local_addr().unwrap())).unwrap();
            let (is_well, path) = (Rc::new(Cell::new(false)), server.folder.join("s"));
            let knows = Rc::clone(&is_well);
            let front = tokio::task::spawn_local(async move {
                loop {
                    let (mut stream, _) = listener.accept().await.unwrap();
                    if knows.get() {
                        let mut redis = tokio::net::UnixStream::connect(&path).await.unwrap();
                        tokio::task::spawn_local(async move { copy_bidirectional(&mut stream, &mut redis).await });
                        continue;
                    }
                    tokio::task::spawn_local(async move {
                        let mut read = [0; 4096];
                        while stream.read(&mut read).await.is_ok_and(|count| count > 0) {
                            let _sent = stream.write_all(answer.as_bytes()).await;
                        }
                    });
                }
            });
            assert_eq!(store.charge(&charge("r", 1), PATIENCE).await, Err(StoreError::Refused), "{answer:?}");
            is_well.set(true);
            hears(&store, Duration::from_millis(500)).await;
            front.abort();
        }
    });
}

/// Asks until there is an answer.
async fn hears(store: &Store, patience: Duration) {
    let begun = Instant::now();
    while store.charge(&charge("h", 1), patience).await.is_err() {
        assert!(begun.elapsed() < Duration::from_secs(5), "it is not heard");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A port before `server`. Each connection is passed on after `delay`, and falls silent when `vanishes` is told, as one to a
/// machine that is gone: nobody ends it.
async fn front(server: &Server, delay: Duration, vanishes: &Arc<Notify>) -> (Store, JoinHandle<()>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let store = Store::new(&format!("redis://{}", listener.local_addr().unwrap())).unwrap();
    let (path, vanishes) = (server.folder.join("s"), Arc::clone(vanishes));
    let front = tokio::task::spawn_local(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let (path, vanishes) = (path.clone(), Arc::clone(&vanishes));
            tokio::task::spawn_local(async move {
                let passed = async {
                    tokio::time::sleep(delay).await;
                    let mut redis = tokio::net::UnixStream::connect(path).await.unwrap();
                    tokio::io::copy_bidirectional(&mut stream, &mut redis).await
                };
                tokio::select! {
                    _ended = passed => return,
                    () = vanishes.notified() => {}
                }
                std::future::pending::<()>().await;
            });
        }
    });
    (store, front)
}

/// F38: a server whose machine loses its power, or whose address another one has now, ends no connection; it is connected to
/// again by itself.
#[test]
fn a_server_that_vanished_without_a_word_is_connected_to_again() {
    let server = Server::start();
    run(async {
        let vanishes = Arc::new(Notify::new());
        let (store, front) = front(&server, Duration::ZERO, &vanishes).await;
        assert!(store.charge(&charge("a", 1), PATIENCE).await.is_ok());
        vanishes.notify_waiters();
        let one = charge("a", 1);
        let many = (0..9).map(|_| store.charge(&one, Duration::from_millis(200)));
        for lost in join_all(many).await {
            assert_eq!(lost, Err(StoreError::TimedOut));
        }
        hears(&store, Duration::from_millis(500)).await;
        front.abort();
    });
}

/// A connection may take longer than a question: it is not given up before it is there.
#[test]
fn a_connection_that_takes_longer_than_a_question_comes_about() {
    let server = Server::start();
    run(async {
        let (store, front) = front(&server, REST + Duration::from_millis(200), &Arc::default()).await;
        assert_eq!(store.charge(&charge("a", 1), Duration::from_millis(100)).await, Err(StoreError::TimedOut));
        hears(&store, Duration::from_millis(100)).await;
        front.abort();
    });
}

/// A reload that makes a limit looser lets a client that had used it up wait no longer than the new one does.
#[test]
fn a_bucket_made_smaller_is_at_worst_empty() {
    let server = Server::start();
    run(async {
        let mut connection = server.store().link.into_inner().unwrap().connection;
        let at: u64 = 1_700_000_000_000_000;
        let (slow_us, quick_us): (u64, u64) = (24 * 3600 * 1_000_000, 1_000_000);
        for (period, want, at, granted, retry) in [
            (slow_us, 100, at, 100, 0),
            (quick_us, 1, at + 5, 0, 10_000),
            (quick_us, 1, at + 10_004, 0, 1),
            (quick_us, 2, at + 20_005, 2, 0),
        ] {
            let script = script::at::token_bucket();
            let mut call = script.key("a");
            call.arg(100).arg(period).arg(want).arg(100).arg(at);
            let answer: (u64, u64, u64, u64) = call.invoke_async(&mut connection).await.unwrap();
            assert_eq!((answer.0, answer.3), (granted, retry), "{answer:?}");
        }
    });
}

/// A limit as the scripts should keep it, without rounding of times.
#[derive(Default)]
struct Model {
    passed: Vec<(u64, u64)>,
}

impl Model {
    fn in_window(&self, number: u64, period: u64) -> u64 {
        self.passed.iter().filter(|(at, _)| at / period == number).map(|(_, count)| count).sum()
    }

    fn sliding(&mut self, limit: u64, period: u64, want: u64, now: u64) -> u64 {
        let number = now / period;
        let before = if number == 0 { 0 } else { self.in_window(number - 1, period) };
        let weighted = (u128::from(before) * u128::from(period - now % period)).div_ceil(u128::from(period));
        let used = self.in_window(number, period) + u64::try_from(weighted).unwrap();
        let granted = want.min(limit.saturating_sub(used));
        self.passed.push((now, granted));
        granted
    }
}

/// Both scripts against models, over random times; and what a refusal says of when to come back holds.
#[test]
fn the_scripts_count_as_their_models_do() {
    let server = Server::start();
    run(async {
        let mut connection = server.store().link.into_inner().unwrap().connection;
        for seed in 0..6 {
            let mut rng = Rng::from_seed(seed);
            let (limit, period) = (1 + rng.below(20), 5_000_000 * (1 + rng.below(20)));
            let burst = 1 + rng.below(20);
            let mut model = Model::default();
            let mut at: u64 = 1_700_000_000_000_000 + rng.below(period);
            let mut tokens: f64 = f64::from(u32::try_from(burst).unwrap());
            let mut last = at;
            for _ in 0..150 {
                at += rng.below(period / 3 + 1);
                let want = 1 + rng.below(4);
                let key = format!("w{seed}");
                let script = script::at::sliding_window();
                let mut call = script.key(&key);
                let (granted, _, _, retry): (u64, u64, u64, u64) =
                    call.arg(limit).arg(period).arg(want).arg(0).arg(at).invoke_async(&mut connection).await.unwrap();
                assert_eq!(granted, model.sliding(limit, period, want, at), "seed {seed} at {at}");
                if granted == 0 {
                    let mut early = Model { passed: model.passed.clone() };
                    assert_eq!(early.sliding(limit, period, 1, at + retry - 2), 0, "seed {seed}: {retry} is too late");
                    let mut late = Model { passed: model.passed.clone() };
                    assert_eq!(late.sliding(limit, period, 1, at + retry + 1), 1, "seed {seed}: {retry} is too early");
                }
                #[expect(clippy::cast_precision_loss, reason = "small numbers")]
                let came = (at - last) as f64 * limit as f64 / period as f64;
                tokens = (tokens + came).min(f64::from(u32::try_from(burst).unwrap()));
                last = at;
                let key = format!("b{seed}");
                let script = script::at::token_bucket();
                let mut call = script.key(&key);
                let (granted, ..): (u64, u64, u64, u64) = call
                    .arg(limit)
                    .arg(period)
                    .arg(want)
                    .arg(burst)
                    .arg(at)
                    .invoke_async(&mut connection)
                    .await
                    .unwrap();
                let granted = f64::from(u32::try_from(granted).unwrap());
                let wanted = f64::from(u32::try_from(want).unwrap());
                // Times are whole microseconds, so that a token may come one of them later.
                assert!(
                    granted <= tokens + 0.01 && granted >= wanted.min((tokens - 0.05).floor()),
                    "seed {seed} at {at}: {granted} of {tokens}"
                );
                tokens -= granted;
            }
        }
    });
}
