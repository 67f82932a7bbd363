//! The endpoints of a cluster.

use std::net::IpAddr;

use rustc_hash::FxHashMap;

use super::super::bounds::{ENDPOINT_WEIGHT_MAX, PRIORITY_MAX};
use super::super::file::EndpointFile;
use super::super::model::{Balance, Dns, Endpoint, Scheme};
use super::super::place::At;
use super::super::problems::Pending;
use super::Check;

pub(super) fn check(
    check: &mut Check<'_>,
    cluster: &At<'_>,
    file: Option<&[EndpointFile]>,
    balance: Option<Balance>,
    dns: &Dns,
) -> Vec<Endpoint> {
    let at_list = cluster.key("endpoints");
    let Some(file) = file else {
        check.missing(cluster, "missing `endpoints`");
        return Vec::new();
    };
    if file.is_empty() {
        check.missing(&at_list, "a cluster needs at least one endpoint");
    }
    let mut seen = FxHashMap::default();
    let mut is_warned = false;
    let mut endpoints = Vec::with_capacity(file.len());
    for (index, endpoint) in file.iter().enumerate() {
        let at = at_list.index(index);
        let Some(endpoint) = check_one(check, at, endpoint, dns) else { continue };
        if let Some((first, scheme)) = seen.insert((endpoint.host.clone(), endpoint.port), (index, endpoint.scheme)) {
            let at_first = at_list.index(first);
            let message = match (scheme, endpoint.scheme) {
                (first, second) if first == second => {
                    "this endpoint is given twice, where one entry with a larger `weight` would do,"
                }
                (Scheme::Https, _) | (_, Scheme::Https) => {
                    "this endpoint is given twice, with TLS and without: one of the two is wrong,"
                }
                _ => "this endpoint is given twice, for HTTP/1.1 and for HTTP/2: one of the two is wrong,",
            };
            check.problems.push(Pending::error(at.key("url").place(), message).other(at_first.key("url").place()));
        }
        // One warning is enough for all of them.
        if endpoint.weight > 1 && !std::mem::replace(&mut is_warned, true) && balance == Some(Balance::RoundRobin) {
            let note = "it takes in turn all whose weight is not 0: write `balance: weighted_round_robin`";
            check.warn(at, "weight", "a `weight` above 1 is of no use with `round_robin`", note);
        }
        endpoints.push(endpoint);
    }
    // One that was refused may have had a weight.
    let is_whole = endpoints.len() == file.len() && !endpoints.is_empty();
    if is_whole && endpoints.iter().all(|endpoint: &Endpoint| endpoint.weight == 0) {
        let problem = Pending::error(at_list.place(), "all weights are 0, so no endpoint would get a request");
        let note = "an endpoint with weight 0 is drained: give at least one of them more".to_owned();
        check.problems.push(problem.at_own_key().note(Some(note)));
    }
    endpoints
}

fn check_one(check: &mut Check<'_>, at: At<'_>, file: &EndpointFile, dns: &Dns) -> Option<Endpoint> {
    let url = check.required(&at, "url", file.url.as_ref());
    let weight = check.number(at.key("weight"), file.weight.as_ref(), 0..=ENDPOINT_WEIGHT_MAX).unwrap_or(1);
    let priority = check.number(at.key("priority"), file.priority.as_ref(), 0..=PRIORITY_MAX).unwrap_or(0);
    let dns_ttl_max = check.value(at.key("dns_ttl_max"), file.dns_ttl_max.as_ref());
    if dns_ttl_max.is_some_and(|most| most < dns.ttl_min) {
        let note = "no name is asked for sooner than that; it is 1s unless given";
        check.error_with(at.key("dns_ttl_max"), "this is shorter than `dns.ttl_min`", note);
    }
    let url = url?;
    if dns_ttl_max.is_some() && url.host.parse::<IpAddr>().is_ok() {
        check.warn(at, "dns_ttl_max", "`dns_ttl_max` is of no use with an IP address", "only names are resolved");
    }
    Some(Endpoint {
        scheme: url.scheme,
        host: url.host,
        port: url.port,
        weight,
        priority: u8::try_from(priority).unwrap_or(0),
        dns_ttl_max,
    })
}
