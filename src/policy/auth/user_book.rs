//! Files of users and the hashes of their passwords.

use core::fmt;

use aws_lc_rs::digest::{SHA256, digest};

use super::basic::Login;
use super::password::{PasswordHash, PasswordHashError};
use super::verify::push_line;
use crate::limits;

/// What is wrong with a line of a file of users; nothing of the line is told, because somebody may have written a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserBookFault {
    /// It is no name and hash with a colon between.
    Shape,
    /// The name cannot stand in a field.
    Name,
    /// The name stands in this line already.
    Twice(usize),
    /// What stands behind the name cannot be used.
    Hash(PasswordHashError),
    /// There is no user.
    Empty,
    /// There are more users than any policy may have.
    TooMany,
}

/// Why a file of users cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserBookError {
    /// The line, from 1; `None` for what is wrong with the file as a whole.
    pub line: Option<usize>,
    /// What is wrong.
    pub fault: UserBookFault,
}

impl fmt::Display for UserBookFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shape => f.write_str("expected `name:hash`"),
            Self::Name => f.write_str("the name is empty, too long or has a character that no header may have"),
            Self::Twice(line) => write!(f, "the name of line {line} a second time"),
            Self::Hash(PasswordHashError::Kind) => f.write_str(
                "this is no hash by bcrypt ($2a$, $2b$, $2y$) or Argon2 ($argon2id$, $argon2i$), never the password itself: \
                 `htpasswd -B` writes one",
            ),
            Self::Hash(PasswordHashError::Broken) => f.write_str("the hash is cut or broken"),
            Self::Hash(PasswordHashError::Costly) => write!(
                f,
                "to try a password against this hash would take too much: a cost of bcrypt of at most {}, of Argon2 at most {} \
                 KiB (m), and {} KiB over its passes (m times t)",
                limits::BCRYPT_COST,
                limits::ARGON2_KIB,
                limits::ARGON2_WORK_KIB
            ),
            Self::Empty => f.write_str("the file holds no user"),
            Self::TooMany => write!(f, "the file has more than {} users", limits::USERS),
        }
    }
}

/// Who has which password.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserBook {
    /// By name, in their order.
    users: Vec<(Box<str>, PasswordHash)>,
}

impl UserBook {
    /// Reads a file in the form of `htpasswd`: a name, a colon and a hash in each line, and perhaps another colon with a
    /// remark; empty lines and those that begin with `#` are left out.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn parse(text: &str) -> Result<Self, UserBookError> {
        let mut users = Vec::new();
        let whole = |fault| UserBookError { line: None, fault };
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim_ascii();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let user = user(line).map_err(|fault| UserBookError { line: Some(number), fault })?;
            users.push((number, user));
            if users.len() > limits::USERS {
                return Err(whole(UserBookFault::TooMany));
            }
        }
        users.sort_by(|(_, (one, _)), (_, (other, _))| one.cmp(other));
        if let Some(pair) = users.windows(2).find(|pair| pair[0].1.0 == pair[1].1.0) {
            return Err(UserBookError { line: Some(pair[1].0), fault: UserBookFault::Twice(pair[0].0) });
        }
        if users.is_empty() {
            return Err(whole(UserBookFault::Empty));
        }
        Ok(Self { users: users.into_iter().map(|(_, user)| user).collect() })
    }

    /// The number of the user whose name and password these are. Takes milliseconds, as many for a name that nobody has as
    /// for one of those that somebody has.
    #[must_use]
    pub fn find(&self, login: &Login) -> Option<usize> {
        match self.users.binary_search_by(|(name, _)| name.as_bytes().cmp(login.name())) {
            Ok(number) => self.users[number].1.is_of(login.password()).then_some(number),
            Err(_) if self.users.is_empty() => None,
            Err(_) => {
                // Always the same one for the same name, as if it were its own.
                let hash = digest(&SHA256, login.name());
                let number = usize::from_le_bytes(*hash.as_ref().first_chunk().unwrap_or(&[0; 8])) % self.users.len();
                let _wasted = self.users[number].1.is_of(login.password());
                None
            }
        }
    }

    /// The users, by their numbers.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.users.iter().map(|(name, _)| &**name)
    }

    /// What tells one book from another.
    pub(super) fn describe(&self, text: &mut Vec<u8>) {
        for (name, hash) in &self.users {
            text.extend_from_slice(name.as_bytes());
            text.push(b':');
            hash.describe(text);
            text.push(b'\n');
        }
    }
}

fn user(line: &str) -> Result<(Box<str>, PasswordHash), UserBookFault> {
    let mut parts = line.split(':');
    let (Some(name), Some(hash)) = (parts.next(), parts.next()) else { return Err(UserBookFault::Shape) };
    push_line(&mut Vec::new(), "x", name).ok_or(UserBookFault::Name)?;
    let hash = PasswordHash::parse(hash.trim_ascii()).map_err(UserBookFault::Hash)?;
    Ok((name.into(), hash))
}
