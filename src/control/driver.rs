//! Which I/O driver the workers use, and why.

use crate::config::Io;
use crate::net::{Driver, Refused, probe_io_uring};

/// The driver of the workers.
#[derive(Debug)]
pub(super) struct Choice {
    /// The driver itself.
    pub(super) driver: Driver,
    /// The reason in words.
    pub(super) why: String,
    /// What lets io_uring be used, where it was wanted and is refused.
    pub(super) remedy: Option<&'static str>,
}

impl Choice {
    fn new(driver: Driver, why: &str) -> Self {
        Self { driver, why: why.to_owned(), remedy: None }
    }
}

/// The driver of so many workers for a setting.
///
/// # Errors
/// `io_uring` is demanded and refused.
pub(super) fn choose(io: Io, workers: usize) -> Result<Choice, Refused> {
    choose_by(io, || probe_io_uring(workers))
}

/// That io_uring is demanded and refused, and what to do about it.
pub(super) fn told(refused: &Refused) -> String {
    format!("runtime.io is io_uring, but {refused}; {}", remedy(refused))
}

/// What to do where io_uring is demanded and refused.
pub(super) fn remedy(refused: &Refused) -> String {
    format!("{}, or set runtime.io to auto or epoll", refused.remedy())
}

fn choose_by(io: Io, probe: impl FnOnce() -> Result<(), Refused>) -> Result<Choice, Refused> {
    const ASKED: &str = "runtime.io asks for it";
    match io {
        Io::Epoll => Ok(Choice::new(Driver::Epoll, ASKED)),
        Io::IoUring => probe().map(|()| Choice::new(Driver::IoUring, ASKED)),
        Io::Auto => Ok(match probe() {
            Ok(()) => Choice::new(Driver::IoUring, "the kernel allows it"),
            Err(refused) => Choice {
                remedy: Some(refused.remedy()),
                ..Choice::new(Driver::Epoll, &format!("io_uring is refused: {refused}"))
            },
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused() -> Result<(), Refused> {
        Err(libc::EPERM.into())
    }

    #[test]
    fn auto_falls_back_to_epoll_and_says_why() {
        let allowed = choose_by(Io::Auto, || Ok(())).unwrap();
        assert_eq!((allowed.driver, allowed.remedy), (Driver::IoUring, None));
        let choice = choose_by(Io::Auto, refused).unwrap();
        assert_eq!(choice.driver, Driver::Epoll);
        assert!(choice.why.contains("seccomp") && choice.remedy.is_some(), "{choice:?}");
    }

    #[test]
    fn io_uring_demanded_and_refused_is_an_error_with_a_remedy() {
        let error = told(&choose_by(Io::IoUring, refused).unwrap_err());
        assert!(error.contains("kernel.io_uring_disabled=0") && error.contains("epoll"), "{error}");
        let error = told(&libc::ENOMEM.into());
        assert!(error.contains("LimitMEMLOCK") && !error.contains("seccomp"), "{error}");
    }

    #[test]
    fn epoll_demanded_does_not_even_try_io_uring() {
        assert_eq!(choose_by(Io::Epoll, || unreachable!("no probe")).unwrap().driver, Driver::Epoll);
    }
}
