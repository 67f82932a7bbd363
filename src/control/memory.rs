//! What the kernel says of this process: resident memory and the limit of descriptors; and giving memory back.

/// Resident memory in bytes; 0 when `/proc` is not mounted.
pub(super) fn resident_bytes() -> u64 {
    std::fs::read_to_string("/proc/self/status").ok().and_then(|text| parse_resident(&text)).unwrap_or(0)
}

/// Gives back what is large on a thread of its own, so that nobody waits for the control thread meanwhile.
pub(super) fn drop_elsewhere(what: impl Send + 'static) {
    drop(tokio::task::spawn_blocking(move || drop(what)));
}

/// Most descriptors this process may open (the soft limit).
pub(super) fn descriptor_limit() -> Option<u64> {
    parse_descriptors(&std::fs::read_to_string("/proc/self/limits").ok()?)
}

/// `VmRSS:   1234 kB` of `/proc/PID/status`.
fn parse_resident(status: &str) -> Option<u64> {
    let kibibytes = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.trim().strip_suffix(" kB")?;
    Some(kibibytes.trim().parse::<u64>().ok()? * 1024)
}

/// The soft limit of the line `Max open files` of `/proc/PID/limits`; `None` when unlimited.
fn parse_descriptors(limits: &str) -> Option<u64> {
    limits.lines().find_map(|line| line.strip_prefix("Max open files"))?.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resident_memory_is_read_in_bytes() {
        assert_eq!(parse_resident("Name:\tx\nVmRSS:\t    1234 kB\nVmSwap: 0 kB\n"), Some(1_263_616));
        assert_eq!(parse_resident("Name:\tx\n"), None);
        assert!(resident_bytes() > 100_000);
    }

    #[test]
    fn the_soft_limit_of_descriptors_is_read() {
        let text = "Limit  Soft Limit  Hard Limit  Units\nMax open files            1024                 524288               files \n";
        assert_eq!(parse_descriptors(text), Some(1024));
        assert_eq!(parse_descriptors("Max open files   unlimited  unlimited files"), None);
        assert!(descriptor_limit().is_some());
    }
}
