//! How names of endpoints become addresses.

use std::net::SocketAddr;
use std::time::Duration;

use super::super::file::DnsFile;
use super::super::model::Dns;
use super::super::place::At;
use super::super::problems::{Pending, Subject};
use super::{Check, Written};

pub(super) fn check(check: &mut Check<'_>, main: &Written) -> Dns {
    let root = At::root(main.file);
    let at = root.key("dns");
    let mut dns = Dns {
        servers: Vec::new(),
        timeout: Duration::from_secs(2),
        ttl_min: Duration::from_secs(1),
        ttl_max: Duration::from_secs(30),
    };
    let Some(file) = &main.document.dns else { return dns };
    dns.servers = check_servers(check, at.key("servers"), file);
    if let Some(timeout) = check.value(at.key("timeout"), file.timeout.as_ref()) {
        dns.timeout = timeout;
    }
    let least = check.value(at.key("ttl_min"), file.ttl_min.as_ref());
    let most = check.value(at.key("ttl_max"), file.ttl_max.as_ref());
    dns.ttl_min = least.unwrap_or(dns.ttl_min);
    dns.ttl_max = most.unwrap_or(dns.ttl_max);
    if dns.ttl_min > dns.ttl_max {
        let key = if least.is_some() { "ttl_min" } else { "ttl_max" };
        let note = "`ttl_min` is 1s and `ttl_max` 30s unless given";
        let problem = Pending::error(at.key(key).place(), "`ttl_min` is longer than `ttl_max`");
        check.problems.push(problem.subject(Subject::Container).note(Some(note.to_owned())));
    }
    dns
}

fn check_servers(check: &mut Check<'_>, at: At<'_>, file: &DnsFile) -> Vec<SocketAddr> {
    let Some(leaves) = &file.servers else { return Vec::new() };
    if leaves.is_empty() {
        check.missing(&at, "expected at least one server");
    }
    let mut servers = Vec::with_capacity(leaves.len());
    for (index, leaf) in leaves.iter().enumerate() {
        match check.value(at.index(index), Some(leaf)) {
            Some(server) if servers.contains(&server) => check.error(at.index(index), "this server is given twice"),
            Some(server) => servers.push(server),
            None => {}
        }
    }
    servers
}
