//! Settings of the kernel, and its clock.

use super::Examined;
use crate::net::clock_is_synchronized;

const DROPPED: &str = "a burst of new connections is dropped instead of waiting";
/// What sets most of it.
const SCRIPT: &str = "scripts/sysctl apply";
/// A setting of the kernel, the least value that serves, what less of it does, and what to do then.
const SETTINGS: [(&str, u64, &str, &str); 2] = [
    ("net.core.somaxconn", 4_096, DROPPED, SCRIPT),
    ("net.ipv4.tcp_max_syn_backlog", 512, DROPPED, "sysctl net.ipv4.tcp_max_syn_backlog=4096"),
];
/// Ports for connections to one address of an endpoint.
const PORTS: u64 = 28_000;

/// Settings of the kernel, as `read` finds them below `/proc/sys`; what is not there is left out.
pub(super) fn settings(read: &dyn Fn(&str) -> Option<String>) -> Vec<Examined> {
    let value = |name: &str| read(&format!("/proc/sys/{}", name.replace('.', "/")));
    let mut all = Vec::new();
    for (name, least, why, remedy) in SETTINGS {
        let Some(now) = value(name).and_then(|text| text.trim().parse::<u64>().ok()) else { continue };
        all.push(if now >= least {
            Examined::fine(name, now.to_string())
        } else {
            Examined::warning(name, format!("{now}: {why}"), remedy)
        });
    }
    let range = value("net.ipv4.ip_local_port_range").unwrap_or_default();
    if let Some((first, last)) = two_numbers(&range) {
        let ports = (last + 1).saturating_sub(first);
        let found = format!("{ports} ports for connections to one address of an endpoint");
        let name = "net.ipv4.ip_local_port_range";
        all.push(if ports >= PORTS { Examined::fine(name, found) } else { Examined::warning(name, found, SCRIPT) });
    }
    all
}

fn two_numbers(text: &str) -> Option<(u64, u64)> {
    let mut numbers = text.split_whitespace().map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// Certificates, tokens and logs go by the clock.
pub(super) fn clock() -> Examined {
    match clock_is_synchronized() {
        Some(true) => Examined::fine("clock", "synchronized"),
        Some(false) => Examined::warning(
            "clock",
            "nothing synchronizes it: certificates and tokens are judged by it",
            "run chronyd or systemd-timesyncd",
        ),
        None => Examined::fine("clock", "the kernel does not tell whether it is synchronized"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Grade;
    use super::*;

    #[test]
    fn settings_that_are_too_low_are_told_and_those_that_are_not_there_left_out() {
        let read = |path: &str| {
            Some(match path {
                "/proc/sys/net/core/somaxconn" => "128\n".to_owned(),
                "/proc/sys/net/ipv4/ip_local_port_range" => "1024\t65535\n".to_owned(),
                _ => return None,
            })
        };
        let all = settings(&read);
        let found: Vec<_> = all.iter().map(|one| (one.what.as_str(), one.grade)).collect();
        assert_eq!(found, [("net.core.somaxconn", Grade::Warning), ("net.ipv4.ip_local_port_range", Grade::Fine)]);
        assert!(all[1].found.starts_with("64512 ports"), "{:?}", all[1]);
        assert_eq!(settings(&|_| Some("x".to_owned())), []);
    }

    /// Whatever is told to run the script for is set by it, and the rest names what sets it.
    #[test]
    fn what_is_told_to_do_about_a_setting_changes_that_setting() {
        let script = include_str!("../../../scripts/sysctl");
        let all = settings(&|path| Some(if path.ends_with("range") { "1 2" } else { "1" }.to_owned()));
        assert_eq!(all.len(), 3, "{all:?}");
        for Examined { grade, what, remedy, .. } in all {
            assert_eq!(grade, Grade::Warning, "{what}");
            let is_set = remedy.starts_with(&format!("sysctl {what}=")) || script.contains(&format!("\"{what}="));
            assert!(is_set, "{what}: {remedy}");
        }
    }
}
