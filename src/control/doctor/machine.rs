//! Settings of the kernel, and its clock.

use super::Examined;
use crate::net::clock_is_synchronized;

/// A setting of the kernel, the least value that serves, and what less of it does.
const SETTINGS: [(&str, u64, &str); 2] = [
    ("net.core.somaxconn", 4_096, "a burst of new connections is dropped instead of waiting"),
    ("net.ipv4.tcp_max_syn_backlog", 512, "a burst of new connections is dropped instead of waiting"),
];
/// Ports for connections to one address of an endpoint.
const PORTS: u64 = 28_000;

/// Settings of the kernel, as `read` finds them below `/proc/sys`; what is not there is left out.
pub(super) fn settings(read: &dyn Fn(&str) -> Option<String>) -> Vec<Examined> {
    let value = |name: &str| read(&format!("/proc/sys/{}", name.replace('.', "/")));
    let mut all = Vec::new();
    for (name, least, why) in SETTINGS {
        let Some(now) = value(name).and_then(|text| text.trim().parse::<u64>().ok()) else { continue };
        all.push(if now >= least {
            Examined::fine(name, now.to_string())
        } else {
            Examined::warning(name, format!("{now}: {why}"), "scripts/sysctl apply")
        });
    }
    let range = value("net.ipv4.ip_local_port_range").unwrap_or_default();
    if let Some((first, last)) = two_numbers(&range) {
        let ports = (last + 1).saturating_sub(first);
        let found = format!("{ports} ports for connections to one address of an endpoint");
        let name = "net.ipv4.ip_local_port_range";
        all.push(if ports >= PORTS {
            Examined::fine(name, found)
        } else {
            Examined::warning(name, found, "scripts/sysctl apply")
        });
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
}
