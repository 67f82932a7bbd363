//! Health checks and breakers: what finds a sick endpoint, and what leaves it alone.

use std::time::Duration;

use super::super::bounds::{CLOSE_AFTER_MAX, CONSECUTIVE_MAX, MIN_REQUESTS_MAX, PORT_MAX, PROBES_MAX};
use super::super::file::{ActiveHealthFile, BreakerFile, PassiveHealthFile, ScalarOr};
use super::super::leaf::Leaf;
use super::super::model::{ActiveHealth, Breaker, ClusterTls, Endpoint, PassiveHealth, ProbeKind, Scheme};
use super::super::place::At;
use super::super::problems::Pending;
use super::super::units::{Percent, Wait};
use super::{Check, tls};

/// From one probe to the next.
const INTERVAL: Duration = Duration::from_secs(5);
/// For the answer to a probe.
const TIMEOUT: Duration = Duration::from_secs(2);

pub(super) fn check_active(check: &mut Check<'_>, at: At<'_>, file: Option<&ActiveHealthFile>) -> Option<ActiveHealth> {
    let file = file?;
    if file.kind.is_none() {
        check.missing(&at, "missing `kind`, one of `tcp`, `http`, `https` and `grpc`,");
    }
    let kind = check.value(at.key("kind"), file.kind.as_ref());
    if let Some(kind) = kind {
        refuse_useless_keys(check, at, file, kind);
    }
    let interval = check.value(at.key("interval"), file.interval.as_ref());
    let active = ActiveHealth {
        kind: kind.unwrap_or(ProbeKind::Tcp),
        path: check.value(at.key("path"), file.path.as_ref()).unwrap_or_else(|| "/".to_owned()),
        host: check.value(at.key("host"), file.host.as_ref()),
        service: check.value(at.key("service"), file.service.as_ref()).unwrap_or_default(),
        port: check.number(at.key("port"), file.port.as_ref(), 1..=PORT_MAX).and_then(|port| u16::try_from(port).ok()),
        interval: interval.unwrap_or(INTERVAL),
        timeout: check_timeout(check, at.key("timeout"), file, interval),
        expect: check_expect(check, at.key("expect"), file),
        healthy_after: check.number(at.key("healthy_after"), file.healthy_after.as_ref(), 1..=u32::MAX).unwrap_or(2),
        unhealthy_after: check
            .number(at.key("unhealthy_after"), file.unhealthy_after.as_ref(), 1..=u32::MAX)
            .unwrap_or(3),
        require_probe: check.value(at.key("require_probe"), file.require_probe.as_ref()).unwrap_or(false),
        tls: check_tls(check, at, file, kind == Some(ProbeKind::Https)),
    };
    Some(active)
}

/// How a probe is secured, as far as it says so itself.
fn check_tls(check: &mut Check<'_>, at: At<'_>, file: &ActiveHealthFile, is_https: bool) -> ClusterTls {
    let tls = ClusterTls {
        ca: match &file.ca {
            Some(leaf) if is_https => tls::check_authorities(check, at.key("ca"), leaf),
            Some(_) | None => None,
        },
        identity: None,
        server_name: check.value(at.key("server_name"), file.server_name.as_ref()),
        insecure_skip_verify: check
            .value(at.key("insecure_skip_verify"), file.insecure_skip_verify.as_ref())
            .unwrap_or(false),
    };
    if is_https && tls.insecure_skip_verify {
        let note =
            "whoever stands between gateway and endpoint can answer the probes: name the signer with `ca` instead";
        tls::warn_of_skipped(check, at, file.ca.is_some(), note);
    }
    tls
}

/// Probes are secured as requests are, unless they say otherwise; a cluster that speaks TLS is hardly probed without.
pub(super) fn take_up_tls(
    check: &mut Check<'_>,
    at: At<'_>,
    active: &mut ActiveHealth,
    tls: &ClusterTls,
    endpoints: &[Endpoint],
) {
    if matches!(active.kind, ProbeKind::Https | ProbeKind::Grpc) && active.tls == ClusterTls::default() {
        active.tls = tls.clone();
    }
    let is_secure = !endpoints.is_empty() && endpoints.iter().all(|endpoint| endpoint.scheme == Scheme::Https);
    if active.kind == ProbeKind::Http && active.port.is_none() && is_secure {
        let note = "the endpoints speak TLS: write `kind: https`, or give the `port` that speaks plain HTTP";
        check.warn(at, "kind", "a probe of kind `http` at the port of an `https` endpoint", note);
    }
}

/// | key | tcp | http | https | grpc |
/// |---|---|---|---|---|
/// | `path`, `host`, `expect` | - | yes | yes | - |
/// | `service` | - | - | - | yes |
/// | `ca`, `server_name`, `insecure_skip_verify` | - | - | yes | - |
fn refuse_useless_keys(check: &mut Check<'_>, at: At<'_>, file: &ActiveHealthFile, kind: ProbeKind) {
    let (name, speaks_http, speaks_tls, speaks_grpc) = match kind {
        ProbeKind::Tcp => ("tcp", false, false, false),
        ProbeKind::Http => ("http", true, false, false),
        ProbeKind::Https => ("https", true, true, false),
        ProbeKind::Grpc => ("grpc", false, false, true),
    };
    let (http, tls, grpc) = ("`kind: http` or `kind: https`", "`kind: https`", "`kind: grpc`");
    let keys = [
        ("path", file.path.is_some(), speaks_http, http),
        ("host", file.host.is_some(), speaks_http, http),
        ("expect", file.expect.is_some(), speaks_http, http),
        ("service", file.service.is_some(), speaks_grpc, grpc),
        ("ca", file.ca.is_some(), speaks_tls, tls),
        ("server_name", file.server_name.is_some(), speaks_tls, tls),
        ("insecure_skip_verify", file.insecure_skip_verify.is_some(), speaks_tls, tls),
    ];
    for (key, _, _, of_use) in keys.into_iter().filter(|(_, is_given, is_useful, _)| *is_given && !is_useful) {
        let message = format!("`{key}` means nothing in a probe of kind `{name}`");
        let note = format!("it is only of use with {of_use}");
        check.problems.push(Pending::error(at.key(key).place(), message).at_key().note(Some(note)));
    }
}

/// The time for an answer: unless given 2s, or the interval when that is shorter.
fn check_timeout(check: &mut Check<'_>, at: At<'_>, file: &ActiveHealthFile, interval: Option<Duration>) -> Duration {
    let timeout = check.value(at, file.timeout.as_ref());
    // An interval that was refused is no measure.
    let bound = if file.interval.is_some() { interval } else { Some(INTERVAL) };
    let (Some(timeout), Some(bound)) = (timeout, bound) else { return bound.unwrap_or(INTERVAL).min(TIMEOUT) };
    if timeout > bound {
        let note =
            "a probe ends before the next one begins: lower `timeout` or raise `interval`, which is 5s unless given";
        check.error_with(at, "the timeout of a probe is longer than its interval", note);
    }
    timeout
}

fn check_expect(check: &mut Check<'_>, at: At<'_>, file: &ActiveHealthFile) -> Vec<(u16, u16)> {
    match &file.expect {
        None => vec![(200, 200)],
        Some(ScalarOr::Scalar(leaf)) => check.value(at, Some(leaf)).into_iter().collect(),
        Some(ScalarOr::Compound(list)) => {
            if list.is_empty() {
                check.missing(&at, "expected at least one status");
            }
            check.values(at, Some(list))
        }
    }
}

pub(super) fn check_passive(
    check: &mut Check<'_>,
    at: At<'_>,
    file: Option<&PassiveHealthFile>,
) -> Option<PassiveHealth> {
    let file = file?;
    let max_ejected = check_share(
        check,
        at.key("max_ejected"),
        file.max_ejected.as_ref(),
        "leave `passive` out to eject no endpoint",
    );
    Some(PassiveHealth {
        window: check_wait(check, at.key("window"), file.window.as_ref(), 30),
        error_rate: check_share(check, at.key("error_rate"), file.error_rate.as_ref(), WITHOUT_FAILURE),
        min_requests: check
            .number(at.key("min_requests"), file.min_requests.as_ref(), 1..=MIN_REQUESTS_MAX)
            .unwrap_or(20),
        eject_for: check_wait(check, at.key("eject_for"), file.eject_for.as_ref(), 10),
        max_ejected,
    })
}

pub(super) fn check_breaker(check: &mut Check<'_>, at: At<'_>, file: Option<&BreakerFile>) -> Option<Breaker> {
    let file = file?;
    Some(Breaker {
        window: check_wait(check, at.key("window"), file.window.as_ref(), 10),
        error_rate: check_share(check, at.key("error_rate"), file.error_rate.as_ref(), WITHOUT_FAILURE),
        min_requests: check
            .number(at.key("min_requests"), file.min_requests.as_ref(), 1..=MIN_REQUESTS_MAX)
            .unwrap_or(20),
        consecutive: check.number(at.key("consecutive"), file.consecutive.as_ref(), 0..=CONSECUTIVE_MAX),
        open_for: check_wait(check, at.key("open_for"), file.open_for.as_ref(), 15),
        probes: check.number(at.key("probes"), file.probes.as_ref(), 1..=PROBES_MAX).unwrap_or(1),
        close_after: check.number(at.key("close_after"), file.close_after.as_ref(), 1..=CLOSE_AFTER_MAX).unwrap_or(3),
    })
}

/// Why a rate of 0% is refused.
const WITHOUT_FAILURE: &str = "an endpoint without a single failure reaches `0%` too";

fn check_wait(check: &mut Check<'_>, at: At<'_>, leaf: Option<&Leaf<Wait>>, default_s: u64) -> Duration {
    check.value(at, leaf).unwrap_or(Duration::from_secs(default_s))
}

/// A share above nothing, a half unless given.
fn check_share(check: &mut Check<'_>, at: At<'_>, leaf: Option<&Leaf<Percent>>, why: &str) -> f64 {
    let share = check.value(at, leaf).unwrap_or(0.5);
    if share <= 0.0 {
        check.error_with(at, "expected more than `0%`", why);
    }
    share
}
