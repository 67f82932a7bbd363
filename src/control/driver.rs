//! Which I/O driver the workers use, and why.

use crate::config::Io;
use crate::net::{Driver, probe_io_uring};

/// The driver for a setting, with the reason in words.
///
/// # Errors
/// `io_uring` is demanded and refused; the text says what to change.
pub(super) fn choose(io: Io) -> Result<(Driver, String), String> {
    choose_by(io, probe_io_uring)
}

fn choose_by(io: Io, probe: impl FnOnce() -> Result<(), String>) -> Result<(Driver, String), String> {
    match io {
        Io::Epoll => Ok((Driver::Epoll, "runtime.io asks for it".to_owned())),
        Io::IoUring => match probe() {
            Ok(()) => Ok((Driver::IoUring, "runtime.io asks for it".to_owned())),
            Err(why) => Err(format!(
                "runtime.io is io_uring, but {why}. Allow it (sysctl kernel.io_uring_disabled=0, a seccomp profile with \
                 io_uring_setup, io_uring_enter and io_uring_register), or set runtime.io to auto or epoll"
            )),
        },
        Io::Auto => Ok(match probe() {
            Ok(()) => (Driver::IoUring, "the kernel allows it".to_owned()),
            Err(why) => (Driver::Epoll, format!("io_uring is refused: {why}")),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused() -> Result<(), String> {
        Err("io_uring_setup: not permitted".to_owned())
    }

    #[test]
    fn auto_falls_back_to_epoll_and_says_why() {
        assert_eq!(choose_by(Io::Auto, || Ok(())).unwrap().0, Driver::IoUring);
        let (driver, why) = choose_by(Io::Auto, refused).unwrap();
        assert_eq!(driver, Driver::Epoll);
        assert!(why.contains("not permitted"));
    }

    #[test]
    fn io_uring_demanded_and_refused_is_an_error_with_a_remedy() {
        let error = choose_by(Io::IoUring, refused).unwrap_err();
        assert!(error.contains("not permitted") && error.contains("epoll"), "{error}");
    }

    #[test]
    fn epoll_demanded_does_not_even_try_io_uring() {
        assert_eq!(choose_by(Io::Epoll, || unreachable!("no probe")).unwrap().0, Driver::Epoll);
    }
}
