//! Compiled policies of authentication: what an exchange asks.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aws_lc_rs::digest::{SHA256, digest};

use super::cache::Stamp;
use super::identity::Identity;
use super::key_book::KeyBook;
use super::user_book::UserBook;
use super::verify::{Verifier, push_line};

/// What a client is told that it lacks (RFC 9110 section 11.6.1).
#[derive(Clone, Debug)]
pub struct Challenge {
    scheme: &'static str,
    realm: Box<str>,
    /// Whether error codes are told, which only Bearer knows.
    has_errors: bool,
    /// Further parameters.
    rest: &'static str,
}

impl Challenge {
    /// The challenge of a scheme for a realm, which holds no quotes and no backslashes.
    #[must_use]
    pub fn new(scheme: &'static str, realm: &str) -> Self {
        Self { scheme, realm: realm.into(), has_errors: true, rest: "" }
    }

    /// The challenge of the Basic scheme (RFC 7617 section 2.1).
    #[must_use]
    pub fn basic(realm: &str) -> Self {
        Self { scheme: "Basic", realm: realm.into(), has_errors: false, rest: ", charset=\"UTF-8\"" }
    }

    /// Appends the field line, with an error code of RFC 6750 section 3.1 unless it is empty.
    pub fn push(&self, lines: &mut Vec<u8>, error: &str) {
        lines.extend_from_slice(b"WWW-Authenticate: ");
        lines.extend_from_slice(self.scheme.as_bytes());
        let error = if self.has_errors { error } else { "" };
        for (name, value) in [(&b" realm=\""[..], &*self.realm), (b", error=\"", error)] {
            // A client that brought nothing is told of no error (RFC 6750 section 3.1).
            if name[0] == b' ' || !value.is_empty() {
                lines.extend_from_slice(name);
                lines.extend_from_slice(value.as_bytes());
                lines.push(b'"');
            }
        }
        lines.extend_from_slice(self.rest.as_bytes());
        lines.extend_from_slice(b"\r\n");
    }
}

/// Whether a token named a key that is not there, told to those who fetch keys.
#[derive(Debug, Default)]
pub struct Wanted(AtomicBool);

impl Wanted {
    /// A key was not there.
    pub fn on_unknown(&self) {
        // Seldom the first to say so: a read leaves the line with all cores.
        if !self.0.load(Ordering::Relaxed) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    /// Whether one was not since the last call.
    pub fn take(&self) -> bool {
        self.0.load(Ordering::Relaxed) && self.0.swap(false, Ordering::Relaxed)
    }
}

/// A policy of bearer tokens.
#[derive(Debug)]
pub struct Bearers {
    /// What is wanted of a token.
    pub verifier: Verifier,
    /// What a client without one is told.
    pub challenge: Challenge,
    /// Whom to tell of keys that are not there; `None` when they come from a file.
    pub wanted: Option<Arc<Wanted>>,
    /// Whether the endpoint gets the token too.
    pub forwards_credentials: bool,
}

/// A policy of API keys.
#[derive(Debug)]
pub struct Holders {
    header: Box<str>,
    book: KeyBook,
    identities: Vec<Identity>,
    forward_identity: Option<Box<str>>,
    /// What a client without a key is told.
    pub challenge: Challenge,
    /// Whether the endpoint gets the key too.
    pub forwards_credentials: bool,
}

impl Holders {
    /// The keys of `book` in the field `header`; the endpoint is told whose it was in the field `forward_identity`.
    #[must_use]
    pub fn new(
        header: &str,
        book: KeyBook,
        forward_identity: Option<&str>,
        realm: &str,
        forwards_credentials: bool,
    ) -> Self {
        let identity = |name: &str| {
            let mut lines = Vec::new();
            if let Some(field) = forward_identity {
                push_line(&mut lines, field, name).expect("a book has no other names");
            }
            Identity::named(name, lines)
        };
        Self {
            header: header.into(),
            identities: book.names().iter().map(|name| identity(name)).collect(),
            book,
            forward_identity: forward_identity.map(Box::from),
            challenge: Challenge::new("ApiKey", realm),
            forwards_credentials,
        }
    }

    /// The field that has the key.
    #[must_use]
    pub fn header(&self) -> &str {
        &self.header
    }

    /// Whose key it is.
    #[must_use]
    pub fn find(&self, key: &[u8]) -> Option<&Identity> {
        self.book.find(key).map(|number| &self.identities[number])
    }

    /// Fields of the request that a client cannot send to the endpoint.
    pub(in crate::policy) fn fields(&self) -> impl Iterator<Item = &str> {
        let key = (!self.forwards_credentials).then_some(&*self.header);
        key.into_iter().chain(self.forward_identity.as_deref())
    }
}

/// A policy of users with passwords.
#[derive(Debug)]
pub struct Users {
    /// Who has which password; in an `Arc`, because those who try one keep it.
    pub book: Arc<UserBook>,
    identities: Vec<Identity>,
    forward_user: Option<Box<str>>,
    stamp: Stamp,
    /// What a client without a password is told.
    pub challenge: Challenge,
    /// Whether the endpoint gets name and password too.
    pub forwards_credentials: bool,
}

impl Users {
    /// The users of `book`; the endpoint is told who it was in the field `forward_user`.
    #[must_use]
    pub fn new(book: UserBook, forward_user: Option<&str>, realm: &str, forwards_credentials: bool) -> Self {
        let identity = |name: &str| {
            let mut lines = Vec::new();
            if let Some(field) = forward_user {
                push_line(&mut lines, field, name).expect("a book has no other names");
            }
            Identity::named(name, lines)
        };
        let mut text = format!("{forward_user:?}\n").into_bytes();
        book.describe(&mut text);
        Self {
            identities: book.names().map(identity).collect(),
            book: Arc::new(book),
            forward_user: forward_user.map(Box::from),
            stamp: Stamp::of(digest(&SHA256, &text).as_ref()),
            challenge: Challenge::basic(realm),
            forwards_credentials,
        }
    }

    /// Stands for the users and their hashes: another one as soon as any of them is another.
    #[must_use]
    pub const fn stamp(&self) -> Stamp {
        self.stamp
    }

    /// The user of this number.
    #[must_use]
    pub fn identity(&self, number: usize) -> Option<&Identity> {
        self.identities.get(number)
    }

    /// Fields of the request that a client cannot send to the endpoint.
    pub(in crate::policy) fn fields(&self) -> impl Iterator<Item = &str> {
        let password = (!self.forwards_credentials).then_some("authorization");
        password.into_iter().chain(self.forward_user.as_deref())
    }
}

impl Bearers {
    /// Fields of the request that a client cannot send to the endpoint.
    pub(in crate::policy) fn fields(&self) -> impl Iterator<Item = &str> {
        let token = (!self.forwards_credentials).then_some("authorization");
        token.into_iter().chain(self.verifier.fields())
    }
}
