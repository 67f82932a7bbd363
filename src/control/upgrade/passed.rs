//! What is passed from one process to the next: sockets by their numbers, in a variable of the environment.

use std::env;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::process;

use serde::{Deserialize, Serialize};
use socket2::SockRef;

use super::Predecessor;
use crate::config::{AdminListen, Listener};
use crate::control::sockets::Originals;
use crate::control::systemd;
use crate::net;

/// The variable.
pub(super) const VARIABLE: &str = "RINGGATE_UPGRADE";

/// The text of the variable.
#[derive(Debug, Serialize, Deserialize)]
struct Passed {
    /// Who passes it: a variable that outlived its process is for nobody.
    from: u32,
    channel: RawFd,
    listeners: Vec<PassedListener>,
    admin: Option<(String, RawFd)>,
}

#[derive(Debug, Serialize, Deserialize)]
struct PassedListener {
    name: String,
    configured: SocketAddr,
    sockets: Vec<RawFd>,
}

/// Copies of sockets for a new process. Only while it is started do they stay open on exec.
#[derive(Debug, Default)]
pub(super) struct Passing {
    listeners: Vec<(String, SocketAddr, Vec<TcpListener>)>,
    admin: Option<(String, OwnedFd)>,
    /// Why there are none.
    failure: Option<io::Error>,
}

impl Passing {
    /// Copies everything that this process listens on.
    pub(super) fn new(originals: &Originals, admin: Option<&(String, OwnedFd)>) -> Self {
        Self::try_new(originals, admin).unwrap_or_else(|error| Self { failure: Some(error), ..Self::default() })
    }

    fn try_new(originals: &Originals, admin: Option<&(String, OwnedFd)>) -> io::Result<Self> {
        let copy = |sockets: &[TcpListener]| sockets.iter().map(TcpListener::try_clone).collect::<io::Result<_>>();
        let listeners = originals.all().map(|(held, sockets)| Ok((held.name.clone(), held.configured, copy(sockets)?)));
        let listeners = listeners.collect::<io::Result<_>>()?;
        let admin = admin.map(|(at, socket)| Ok::<_, io::Error>((at.clone(), socket.try_clone()?))).transpose()?;
        Ok(Self { listeners, admin, failure: None })
    }

    /// Opens all of it to the next process that is started, and says so in the text of [`VARIABLE`].
    pub(super) fn open(&mut self, channel: &UnixStream) -> io::Result<String> {
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        let sockets = self.listeners.iter().flat_map(|(_, _, sockets)| sockets).map(SockRef::from);
        let admin = self.admin.iter().map(|(_, socket)| SockRef::from(socket));
        for socket in sockets.chain(admin).chain([SockRef::from(channel)]) {
            socket.set_cloexec(false)?;
        }
        let listeners = self.listeners.iter().map(|(name, configured, sockets)| PassedListener {
            name: name.clone(),
            configured: *configured,
            sockets: sockets.iter().map(AsRawFd::as_raw_fd).collect(),
        });
        let passed = Passed {
            from: process::id(),
            channel: channel.as_raw_fd(),
            listeners: listeners.collect(),
            admin: self.admin.as_ref().map(|(at, socket)| (at.clone(), socket.as_raw_fd())),
        };
        Ok(serde_json::to_string(&passed)?)
    }
}

/// Sockets that this process was started with.
#[derive(Debug, Default)]
pub(in crate::control) struct Inherited {
    listeners: Vec<Inheritance>,
    admin: Option<(String, OwnedFd)>,
    /// Names of the listeners that were taken up.
    pub(in crate::control) kept: Vec<String>,
    /// Whose sockets they are; else they are systemd's.
    pub(in crate::control) predecessor: Option<Predecessor>,
}

/// The sockets of one listener.
#[derive(Debug)]
pub(in crate::control) struct Inheritance {
    name: String,
    /// The address as it was configured; systemd does not know it.
    configured: Option<SocketAddr>,
    /// The address bound.
    pub(in crate::control) bound: SocketAddr,
    /// Sockets that listen on it.
    pub(in crate::control) sockets: Vec<TcpListener>,
}

impl Inherited {
    /// Takes what the environment says was passed to this process; to be called before it opens anything.
    ///
    /// # Errors
    /// What was passed cannot be taken.
    pub(in crate::control) fn take() -> Result<Self, String> {
        match env::var(VARIABLE) {
            Ok(text) => Self::from_predecessor(&text).map_err(|error| format!("{VARIABLE}: {error}")),
            Err(_unset) => Self::from_systemd().map_err(|error| format!("LISTEN_FDS: {error}")),
        }
    }

    fn from_predecessor(text: &str) -> io::Result<Self> {
        let passed: Passed = serde_json::from_str(text)?;
        if passed.from != std::os::unix::process::parent_id() {
            return Err(io::Error::other(format!("process {}, which passed its sockets, is gone", passed.from)));
        }
        let admin = passed.admin.as_ref().map(|(_, number)| *number);
        let sockets = passed.listeners.iter().flat_map(|listener| &listener.sockets).copied();
        let numbers: Vec<RawFd> = [passed.channel].into_iter().chain(admin).chain(sockets).collect();
        let mut taken = net::take_inherited(&numbers, true)?.into_iter();
        let mut next = || taken.next().ok_or_else(|| io::Error::other("a descriptor is missing"));
        let predecessor = Some(Predecessor::new(passed.from, UnixStream::from(next()?)));
        let admin = passed.admin.map(|(at, _)| Ok::<_, io::Error>((at, next()?))).transpose()?;
        let mut listeners = Vec::new();
        for PassedListener { name, configured, sockets } in passed.listeners {
            let sockets = sockets.iter().map(|_| next()).collect::<io::Result<Vec<_>>>()?;
            listeners.push(Inheritance::new(name, Some(configured), sockets)?);
        }
        Ok(Self { listeners, admin, kept: Vec::new(), predecessor })
    }

    fn from_systemd() -> io::Result<Self> {
        let passed = systemd::passed()?;
        if passed.is_empty() {
            return Ok(Self::default());
        }
        let numbers: Vec<RawFd> = passed.iter().map(|(number, _)| *number).collect();
        let taken = net::take_inherited(&numbers, false)?;
        let mut listeners: Vec<Inheritance> = Vec::new();
        for (socket, (_, name)) in taken.into_iter().zip(passed) {
            let one = Inheritance::new(name, None, vec![socket])?;
            match listeners.iter_mut().find(|known| known.name == one.name && known.bound == one.bound) {
                Some(known) => known.sockets.extend(one.sockets),
                None => listeners.push(one),
            }
        }
        Ok(Self { listeners, ..Self::default() })
    }

    /// Gives the sockets of systemd to the listeners: by their names, or in order where none of them is a listener's.
    ///
    /// # Errors
    /// The sockets that are nobody's.
    pub(in crate::control) fn fit(&mut self, wanted: &[Listener]) -> Result<(), String> {
        if self.listeners.iter().all(|passed| passed.configured.is_some()) {
            return Ok(());
        }
        let is_wanted = |name: &str| wanted.iter().any(|wanted| wanted.name == name);
        if !self.listeners.iter().any(|passed| is_wanted(&passed.name)) && self.listeners.len() == wanted.len() {
            for (passed, wanted) in self.listeners.iter_mut().zip(wanted) {
                passed.name.clone_from(&wanted.name);
            }
        }
        let strangers = self.listeners.iter().enumerate().filter(|(index, passed)| {
            !is_wanted(&passed.name) || self.listeners[..*index].iter().any(|other| other.name == passed.name)
        });
        let strangers: Vec<_> = strangers.map(|(_, passed)| format!("`{}` ({})", passed.name, passed.bound)).collect();
        if strangers.is_empty() {
            return Ok(());
        }
        let names: Vec<_> = wanted.iter().map(|wanted| format!("`{}`", wanted.name)).collect();
        let (strangers, names) = (strangers.join(", "), names.join(", "));
        Err(format!("LISTEN_FDS: {strangers} fits no listener; name sockets (FileDescriptorName=) like one of {names}"))
    }

    /// Where the sockets that are not taken up yet are bound.
    pub(in crate::control) fn bound(&self) -> Vec<SocketAddr> {
        self.listeners.iter().map(|one| one.bound).collect()
    }

    /// The sockets for a listener of this name and address, if there are any.
    pub(in crate::control) fn take_for(&mut self, name: &str, address: SocketAddr) -> Option<Inheritance> {
        let is_same = |one: &Inheritance| one.name == name && one.configured.is_none_or(|known| known == address);
        let same = self.listeners.iter().position(is_same);
        let at = same.or_else(|| self.listeners.iter().position(|one| one.bound == address))?;
        let found = self.listeners.remove(at);
        if found.bound != address && address.port() != 0 {
            tracing::warn!(listener = name, passed = %found.bound, configured = %address, "the socket passed listens elsewhere");
        }
        self.kept.push(found.name.clone());
        Some(found)
    }

    /// The admin server's socket, if it is where this configuration wants it.
    pub(in crate::control) fn take_admin(&mut self, admin: &AdminListen) -> Option<OwnedFd> {
        let wanted = admin_text(admin)?;
        self.admin.take().filter(|(at, _)| *at == wanted).map(|(_, socket)| socket)
    }
}

impl Inheritance {
    fn new(name: String, configured: Option<SocketAddr>, sockets: Vec<OwnedFd>) -> io::Result<Self> {
        let refused = |why: &str| io::Error::other(format!("`{name}` {why}"));
        let mut bound = None;
        for socket in &sockets {
            let socket = SockRef::from(socket);
            if !socket.is_listener().unwrap_or(false) {
                return Err(refused("does not listen"));
            }
            bound = socket.local_addr()?.as_socket();
            // Accepted sockets inherit both.
            socket
                .set_tcp_nodelay(true)
                .and_then(|()| socket.set_keepalive(true))
                .map_err(|_| refused("is not TCP"))?;
        }
        let bound = bound.ok_or_else(|| refused("is no socket of IP"))?;
        Ok(Self { name, configured, bound, sockets: sockets.into_iter().map(TcpListener::from).collect() })
    }
}

/// Where the admin server is, as it was configured.
pub(in crate::control) fn admin_text(admin: &AdminListen) -> Option<String> {
    match admin {
        AdminListen::Off => None,
        AdminListen::Tcp(address) => Some(address.to_string()),
        AdminListen::Unix(path) => Some(format!("unix:{}", path.display())),
    }
}
