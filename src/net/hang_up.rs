//! The end of a connection that its peer has before the drop returns.

use std::cell::Cell;
use std::net::Shutdown;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

use socket2::{SockAddr, SockAddrStorage, SockRef};

/// Asks for the bytes of a socket that were never sent (`linux/sockios.h`).
const SIOCOUTQNSD: libc::Ioctl = 0x894B;

/// Hangs up on drop, once it was told of what; a field before the one that owns the descriptor.
///
/// io_uring closes a descriptor when it gets to it, and not before the last operation on it has completed: until then the
/// peer would take the connection for open.
#[derive(Debug, Default)]
pub(super) struct HangUp {
    descriptor: Cell<Option<RawFd>>,
    /// Is the end to be a reset?
    resets: Cell<bool>,
}

impl HangUp {
    /// Sets the descriptor of a connection, which stays open until this is dropped or called off.
    pub(super) fn on(&self, descriptor: RawFd) {
        self.descriptor.set(Some(descriptor));
    }

    /// Does nothing on drop any more.
    pub(super) fn call_off(&self) {
        self.descriptor.set(None);
    }

    /// The peer is to see a reset and no end of the stream before it, if it is hung up on.
    pub(super) fn reset(&self) {
        self.resets.set(true);
    }
}

impl Drop for HangUp {
    fn drop(&mut self) {
        let Some(descriptor) = self.descriptor.get() else { return };
        // SAFETY: the owner of the descriptor is dropped after this.
        let socket = unsafe { BorrowedFd::borrow_raw(descriptor) };
        if self.resets.get() {
            return disconnect(socket);
        }
        let is_ended = SockRef::from(&socket).shutdown(Shutdown::Both).is_ok();
        if is_ended && has_unsent(socket) {
            // The end would wait behind these bytes for a peer that may never read them: a reset does not.
            disconnect(socket);
        }
    }
}

/// Is there anything, the end of the stream included, that the peer's window left no room to send?
fn has_unsent(socket: BorrowedFd<'_>) -> bool {
    let mut unsent: libc::c_int = 0;
    // SAFETY: the kernel writes an int to where `unsent` is, and both outlive the call.
    let asked = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCOUTQNSD, &raw mut unsent) };
    asked == 0 && unsent > 0
}

/// Takes a connection back to where there is none, at once, by a reset.
fn disconnect(socket: BorrowedFd<'_>) {
    // SAFETY: an address of zeros has the family of no address (`AF_UNSPEC`), which has no other fields.
    let nowhere = unsafe { SockAddr::new(SockAddrStorage::zeroed(), 16) };
    // It cannot fail on a connection; if it did, the close that follows ends it.
    drop(SockRef::from(&socket).connect(&nowhere));
}
