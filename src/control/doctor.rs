//! What this machine lacks for a configuration, for `ringgate doctor`: each thing with what to do about it.
//!
//! Owns: what is looked at, and the remedies. Never: changes anything. What can be judged without the machine is a function
//! of what was read.

mod certificates;
mod machine;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use super::driver::Choice;
use super::start::descriptors_for;
use super::{cpus, driver, policy};
use crate::config::{AdminListen, Config};
use crate::net::{Refused, Sandbox};

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grade {
    /// As it should be.
    Fine,
    /// It works, and not as well as it could, or not for long.
    Warning,
    /// A gateway will not start, or not do what the configuration says.
    Failure,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Examined {
    /// How bad it is.
    pub grade: Grade,
    /// What was looked at.
    pub what: String,
    /// What was found.
    pub found: String,
    /// What to do; empty when it is fine.
    pub remedy: String,
}

impl Examined {
    fn fine(what: &str, found: impl Into<String>) -> Self {
        Self { grade: Grade::Fine, what: what.to_owned(), found: found.into(), remedy: String::new() }
    }

    fn warning(what: &str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { grade: Grade::Warning, what: what.to_owned(), found: found.into(), remedy: remedy.into() }
    }

    fn failure(what: &str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { grade: Grade::Failure, ..Self::warning(what, found, remedy) }
    }
}

/// Looks at this machine, and at what `config` needs of it; endpoints are looked at by [`super::check_online`].
#[must_use]
pub fn examine(config: &Config, now_unix_s: i64) -> Vec<Examined> {
    // A number of workers that cannot be is told of by itself.
    let count = cpus::place(&config.runtime.workers, &cpus::allowed(), cpus::quota()).map_or(1, |all| all.len());
    let mut all = vec![io_driver(driver::choose(config.runtime.io, count)), workers(config), descriptors(config)];
    all.extend(machine::settings(&|path| std::fs::read_to_string(path).ok()));
    all.push(machine::clock());
    if config.runtime.sandbox {
        all.push(sandbox(Sandbox::probe()));
    }
    let addresses = config.listeners.iter().map(|listener| (format!("listener {}", listener.name), listener.address));
    all.extend(addresses.map(|(what, address)| port(&what, address, bind(address))));
    if let AdminListen::Tcp(address) = config.admin.listen {
        all.push(port("admin endpoint", address, bind(address)));
    }
    let file = config.live_policy.as_ref().and_then(|place| place.file.as_ref());
    all.extend(file.map(|path| live_policy(path)));
    all.extend(certificates::examine(config, now_unix_s));
    all
}

fn io_driver(chosen: Result<Choice, Refused>) -> Examined {
    let what = "io driver";
    match chosen {
        Ok(Choice { driver, why, remedy }) => {
            let found = format!("{}: {why}", driver.name());
            remedy.map_or_else(|| Examined::fine(what, &*found), |remedy| Examined::warning(what, &*found, remedy))
        }
        Err(refused) => Examined::failure(what, refused.to_string(), driver::remedy(&refused)),
    }
}

fn sandbox(tried: io::Result<Sandbox>) -> Examined {
    let what = "sandbox of workers";
    let kept = tried.map_or_else(|error| vec![error.to_string()], Sandbox::kept);
    if kept.is_empty() {
        return Examined::fine(what, "they give up files, programs and rare system calls");
    }
    Examined::warning(
        what,
        format!("they keep {}", kept.join("; ")),
        "a kernel with Landlock (lsm=landlock) and seccomp, and a profile that allows landlock_* and seccomp",
    )
}

fn workers(config: &Config) -> Examined {
    let (allowed, quota) = (cpus::allowed(), cpus::quota());
    let found = |workers: usize| {
        let quota = quota.map_or(String::new(), |quota| format!(", a quota of {quota}"));
        format!("{workers}; this process may use {} CPUs{quota}", allowed.len())
    };
    match cpus::place(&config.runtime.workers, &allowed, quota) {
        Ok(placement) if placement.len() > quota.unwrap_or(usize::MAX).min(allowed.len()) => Examined::warning(
            "workers",
            found(placement.len()),
            "set runtime.workers to auto: workers that share a CPU wait for one another",
        ),
        Ok(placement) => Examined::fine("workers", found(placement.len())),
        Err(why) => Examined::failure("workers", why, "set runtime.workers to auto, or list CPUs that it may use"),
    }
}

fn descriptors(config: &Config) -> Examined {
    let needed = descriptors_for(config);
    // The gateway raises its own limit as far as this one.
    match rlimit::getrlimit(rlimit::Resource::NOFILE).ok().map(|(_soft, hard)| hard) {
        None => Examined::fine("open files", format!("no limit that could be read; {needed} may be needed")),
        Some(limit) if limit >= needed => Examined::fine("open files", format!("{limit}, {needed} may be needed")),
        Some(limit) => Examined::warning(
            "open files",
            format!("{limit}, runtime.max_connections may need {needed}"),
            format!("LimitNOFILE={needed} in its unit, `ulimit -Hn {needed}`, or a lower runtime.max_connections"),
        ),
    }
}

fn live_policy(path: &Path) -> Examined {
    let what = "live policy";
    match policy::load(path) {
        Ok(Some(document)) => {
            Examined::fine(what, format!("{}: {}", path.display(), document.to_json().replace(['\n', ' '], "")))
        }
        Ok(None) => Examined::fine(what, format!("{} is not there yet: the standard one is in force", path.display())),
        Err(why) => {
            let remedy =
                "mend it, or remove it: a gateway that starts with it takes the standard one, 1000 requests a second";
            Examined::failure(what, why, remedy)
        }
    }
}

/// Whether an address can be listened on by a process that is not there yet.
fn bind(address: SocketAddr) -> io::Result<()> {
    TcpListener::bind(address).map(drop)
}

fn port(what: &str, address: SocketAddr, bound: io::Result<()>) -> Examined {
    let Err(error) = bound else { return Examined::fine(what, format!("{address} is free")) };
    let kind = error.kind();
    if kind == io::ErrorKind::AddrInUse {
        let remedy = "that is as it should be while the gateway runs; otherwise `ss -ltnp` tells by whom";
        return Examined::warning(what, format!("{address} is in use"), remedy);
    }
    let remedy = if kind == io::ErrorKind::PermissionDenied {
        "AmbientCapabilities=CAP_NET_BIND_SERVICE in its unit, or sysctl net.ipv4.ip_unprivileged_port_start"
    } else if kind == io::ErrorKind::AddrNotAvailable {
        "it is no address of this machine: `ip address` lists those"
    } else {
        "choose another address"
    };
    Examined::failure(what, format!("{address}: {error}"), remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_port_lacks_is_told_by_its_error() {
        let address = "127.0.0.1:80".parse().unwrap();
        let grade = |kind: io::ErrorKind| port("listener web", address, Err(kind.into())).grade;
        assert_eq!(port("listener web", address, Ok(())).grade, Grade::Fine);
        assert_eq!(grade(io::ErrorKind::AddrInUse), Grade::Warning);
        for kind in [io::ErrorKind::PermissionDenied, io::ErrorKind::AddrNotAvailable, io::ErrorKind::Other] {
            assert_eq!(grade(kind), Grade::Failure, "{kind:?}");
        }
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let found = port("web", taken.local_addr().unwrap(), bind(taken.local_addr().unwrap()));
        assert_eq!((found.grade, found.found.ends_with("is in use")), (Grade::Warning, true));
    }
}
