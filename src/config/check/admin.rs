//! The admin endpoint: where it listens, and who may ask it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::super::addresses::{AdminAddress, port_number};
use super::super::file::{AdminFile, AdminTlsFile, CertificateFile};
use super::super::leaf::{Leaf, Scalar};
use super::super::model::{Admin, AdminListen, AdminTls, Listener, Token};
use super::super::place::At;
use super::super::problems::{Pending, Subject};
use super::super::units::Text;
use super::{Check, Written, tls};

/// The port of the admin endpoint when neither the file nor `CONFIG_PORT` gives one.
const ADMIN_PORT: u16 = 9090;
/// Fewest characters of a token: fewer can be guessed.
const TOKEN_CHARS: usize = 16;

pub(super) fn check(check: &mut Check<'_>, main: &Written) -> Admin {
    let root = At::root(main.file);
    let at = root.key("admin");
    let listen = check_listen(check, main, at);
    let Some(file) = &main.document.admin else { return Admin { listen, tls: None, token: None, read_token: None } };
    let admin = Admin {
        tls: file.tls.as_ref().and_then(|tls| check_tls(check, at.key("tls"), tls)),
        token: check_token(check, at.key("token"), file.token.as_ref()),
        read_token: check_token(check, at.key("read_token"), file.read_token.as_ref()),
        listen,
    };
    check_guard(check, at, file, &admin);
    admin
}

fn check_listen(check: &mut Check<'_>, main: &Written, at: At<'_>) -> AdminListen {
    let listen = main.document.admin.as_ref().and_then(|admin| admin.listen.as_ref());
    match check.value(at.key("listen"), listen) {
        Some(AdminAddress::Off) => AdminListen::Off,
        Some(AdminAddress::Unix(path)) => AdminListen::Unix(check.path(&path)),
        Some(AdminAddress::Tcp(ip, Some(port))) => AdminListen::Tcp(SocketAddr::new(ip, port)),
        Some(AdminAddress::Tcp(ip, None)) => AdminListen::Tcp(SocketAddr::new(ip, default_admin_port(check, main))),
        None if listen.is_some() => AdminListen::Off,
        None => AdminListen::Tcp(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), default_admin_port(check, main))),
    }
}

fn check_tls(check: &mut Check<'_>, at: At<'_>, file: &AdminTlsFile) -> Option<AdminTls> {
    let cert = check.required(&at, "cert", file.cert.as_ref());
    let key = check.required(&at, "key", file.key.as_ref());
    let client_ca = file.client_ca.as_ref().and_then(|leaf| tls::check_authorities(check, at.key("client_ca"), leaf));
    let entry = CertificateFile { cert: file.cert.clone(), key: file.key.clone() };
    Some(AdminTls { identity: tls::check_identity(check, at, &entry, (&cert?, &key?))?, client_ca })
}

fn check_token(check: &mut Check<'_>, at: At<'_>, leaf: Option<&Leaf<Text>>) -> Option<Token> {
    let token = check.value(at, leaf)?;
    if let Some(Scalar::Text(written)) = leaf.map(|leaf| &leaf.scalar)
        && !written.contains("${")
    {
        check.problems.hide(written);
        let note = "a configuration is read by many: write `${file:PATH}` or `${VARIABLE}`";
        check.error_with(at, "a token does not stand in the configuration itself", note);
        return None;
    }
    // RFC 6750 section 2.1: what may stand behind `Bearer`.
    let is_legal = token.bytes().all(|byte| byte.is_ascii_graphic());
    if token.len() < TOKEN_CHARS || !is_legal {
        let note = "make one with `openssl rand -hex 32`, and keep it in a file: `${file:PATH}`";
        check.error_with(at, format!("expected a token of at least {TOKEN_CHARS} visible ASCII characters"), note);
        return None;
    }
    Some(Token::new(token))
}

/// Whoever reaches the admin endpoint may end what the gateway does: beyond this machine it has a guard.
fn check_guard(check: &mut Check<'_>, at: At<'_>, file: &AdminFile, admin: &Admin) {
    let is_tcp = matches!(admin.listen, AdminListen::Tcp(_));
    for (key, is_given) in
        [("tls", file.tls.is_some()), ("token", file.token.is_some()), ("read_token", file.read_token.is_some())]
    {
        if is_given && !is_tcp && !check.problems.has_errors() {
            check.warn(at, key, "this has no effect", "a unix socket is guarded by its permissions, which are 0600");
        }
    }
    if admin.read_token.is_some() && file.token.is_none() {
        check.warn(at, "read_token", "without `token` nobody may change anything", "give a `token` as well");
    }
    let AdminListen::Tcp(address) = admin.listen else { return };
    if address.ip().is_loopback() {
        return;
    }
    let has_mutual_tls = file.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some());
    let has_token = file.token.is_some() || file.read_token.is_some();
    if !has_mutual_tls && !has_token {
        let message = "without a `token` or a `client_ca` the admin endpoint must stay on loopback or a unix socket";
        let near = format!("did you mean `127.0.0.1:{}`?", address.port());
        check.error_with(at.key("listen"), message, &near);
    } else if file.tls.is_none() {
        check.warn(
            at,
            "listen",
            "tokens are sent to this address without TLS",
            "give the endpoint a certificate: `tls`",
        );
    }
}

fn default_admin_port(check: &mut Check<'_>, main: &Written) -> u16 {
    let Some(port) = check.sources.env("CONFIG_PORT").filter(|port| !port.is_empty()) else {
        return ADMIN_PORT;
    };
    port_number(&port).unwrap_or_else(|| {
        let message = "the environment variable `CONFIG_PORT` is no port";
        let note = "it is the port of the admin endpoint unless `admin.listen` gives one: a number from 0 to 65535";
        let place = At::root(main.file).place();
        check.problems.push(Pending::error(place, message).subject(Subject::Nothing).note(Some(note.to_owned())));
        ADMIN_PORT
    })
}

/// The admin endpoint and a listener cannot share a port of the same address.
pub(super) fn check_admin_is_apart(check: &mut Check<'_>, main: &Written, admin: &Admin, listeners: &[Listener]) {
    let AdminListen::Tcp(address) = &admin.listen else { return };
    let clashes = |listener: &&Listener| {
        let same_ip = listener.address.ip() == address.ip() || listener.address.ip().is_unspecified();
        address.port() != 0 && listener.address.port() == address.port() && same_ip
    };
    if let Some(listener) = listeners.iter().find(clashes) {
        let root = At::root(main.file);
        let at = root.key("admin");
        let message = format!("the admin endpoint has the same address as the listener `{}`", listener.name);
        check.problems.push(Pending::error(at.key("listen").place(), message).subject(Subject::Nothing));
    }
}
