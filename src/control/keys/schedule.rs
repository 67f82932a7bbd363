//! When a source is asked: each interval, sooner after a failure, and once ahead of time for a key that is not there.

use std::sync::Arc;
use std::time::Duration;

use super::fetch::{Found, fetch};
use crate::config::KeySource;
use crate::policy::auth::Wanted;
use crate::rng::Rng;

/// Pause after the first failure, twice as long after each further one.
const BACK_OFF: Duration = Duration::from_secs(1);
/// Longest pause after failures, or the interval if that is shorter.
const BACK_OFF_MAX: Duration = Duration::from_secs(60);
/// Time from one look to the next at whether a key is wanted.
const LOOK: Duration = Duration::from_millis(100);

/// Asks `source` until nobody listens, for the first time by `first`.
pub(super) async fn run(
    source: KeySource,
    first: impl Future<Output = Found>,
    wanted: Arc<Wanted>,
    mut rng: Rng,
    tell: impl Fn(Found) -> bool,
) {
    let mut found = first.await;
    let mut due = Box::pin(tokio::time::sleep(Duration::ZERO));
    let (mut hurries, mut failures) = (false, 0);
    loop {
        let is_ok = found.is_ok();
        if !tell(found) {
            return;
        }
        failures = if is_ok { 0 } else { failures + 1 };
        let may_hurry = is_ok && !hurries;
        // One ahead of time that went well leaves the next one where it is.
        if !(is_ok && hurries) {
            due.set(tokio::time::sleep(pause(source.refresh, failures, rng.u64())));
        }
        // What asked for these keys is answered.
        wanted.take();
        hurries = tokio::select! {
            () = due.as_mut() => false,
            () = asked(&wanted), if may_hurry => true,
        };
        found = fetch(&source).await;
    }
}

/// Completes once a token has named a key that is not there.
async fn asked(wanted: &Wanted) {
    while !wanted.take() {
        tokio::time::sleep(LOOK).await;
    }
}

/// The pause before the next fetch: a tenth shorter or longer at most, by 64 random bits.
fn pause(refresh: Duration, failures: u32, random: u64) -> Duration {
    let whole = match failures.checked_sub(1) {
        None => refresh,
        Some(doublings) => BACK_OFF.saturating_mul(1 << doublings.min(10)).min(BACK_OFF_MAX).min(refresh),
    };
    let tenth = u64::try_from(whole.as_nanos() / 10).unwrap_or(u64::MAX);
    let varied = (u128::from(tenth) * 2 * u128::from(random)) >> 64;
    whole - whole / 10 + Duration::from_nanos(u64::try_from(varied).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;
    use tokio::time::Instant;

    use super::*;
    use crate::config::KeysUrl;

    #[tokio::test(start_paused = true)]
    async fn a_server_that_hangs_is_given_up_and_asked_less_and_less_often() {
        // The kernel takes its connections, and nobody answers.
        let server = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = server.local_addr().unwrap().port();
        let url = KeysUrl { is_secure: false, host: "127.0.0.1".to_owned(), port, path: "/".to_owned() };
        let source = KeySource { url, ca: None, refresh: Duration::from_secs(600) };
        let (told, mut heard) = mpsc::unbounded_channel();
        let tell = move |found: Found| told.send((Instant::now(), found)).is_ok();
        let mut last = Instant::now();
        let asked = source.clone();
        let first = async move { fetch(&asked).await };
        let asking = tokio::spawn(run(source, first, Arc::default(), Rng::from_seed(1), tell));
        for pause_s in [0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0] {
            let (at, found) = heard.recv().await.unwrap();
            assert_eq!(found.unwrap_err(), "no whole answer within 10s");
            let paused_s = (at - std::mem::replace(&mut last, at)).as_secs_f64() - 10.0;
            assert!((paused_s - pause_s).abs() <= pause_s / 10.0 + 0.01, "{paused_s} instead of {pause_s}");
        }
        asking.abort();
    }

    #[test]
    fn pauses_grow_with_failures_and_never_beyond_the_interval() {
        let refresh = Duration::from_secs(600);
        let middle = |refresh, failures| pause(refresh, failures, 1 << 63).as_millis();
        assert_eq!((middle(refresh, 0), middle(refresh, 1), middle(refresh, 2)), (600_000, 1_000, 2_000));
        assert_eq!((middle(refresh, 6), middle(refresh, 7), middle(refresh, 100)), (32_000, 60_000, 60_000));
        assert_eq!(middle(Duration::from_secs(5), 100), 5_000);
        assert!(pause(refresh, 0, 0) == refresh * 9 / 10 && pause(refresh, 0, u64::MAX) <= refresh * 11 / 10);
    }
}
