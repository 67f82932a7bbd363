//! The credentials of the Basic scheme (RFC 7617).

use core::fmt;

use data_encoding::BASE64;

use super::token::credentials;
use crate::limits;

/// What `Authorization: Basic ...` holds behind the scheme; `None` for another scheme.
#[must_use]
pub fn basic(authorization: &[u8]) -> Option<&[u8]> {
    credentials(authorization, b"basic")
}

/// Why credentials are none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LoginError {
    /// They are longer than any that are looked at.
    TooLong,
    /// They are no base64 (RFC 4648 section 4).
    NotBase64,
    /// There is no colon between a name and a password.
    NoColon,
    /// There is a control character in them, which RFC 7617 section 2 forbids.
    Control,
}

impl LoginError {
    /// The name in logs.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::TooLong => "credentials too long",
            Self::NotBase64 => "credentials not base64",
            Self::NoColon => "credentials without a colon",
            Self::Control => "credentials with a control character",
        }
    }
}

/// A name and a password, of which nothing is proven.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    text: Box<[u8]>,
    colon: usize,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").finish_non_exhaustive()
    }
}

impl Login {
    /// Reads what [`basic`] has found.
    ///
    /// # Errors
    /// It is no name and password.
    pub fn parse(credentials: &[u8]) -> Result<Self, LoginError> {
        if credentials.len() > limits::BASIC_BYTES {
            return Err(LoginError::TooLong);
        }
        // The decoder takes padded pieces behind one another, of which this would be another spelling of one.
        let padding = credentials.iter().position(|byte| *byte == b'=').unwrap_or(credentials.len());
        if padding + 2 < credentials.len() {
            return Err(LoginError::NotBase64);
        }
        let text = BASE64.decode(credentials).map_err(|_| LoginError::NotBase64)?;
        // C0, DEL, and C1 as UTF-8 has it.
        if text.iter().any(u8::is_ascii_control) || text.windows(2).any(|pair| pair[0] == 0xc2 && pair[1] < 0xa0) {
            return Err(LoginError::Control);
        }
        let colon = text.iter().position(|byte| *byte == b':').ok_or(LoginError::NoColon)?;
        Ok(Self { text: text.into(), colon })
    }

    /// The name, which has no colon.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        &self.text[..self.colon]
    }

    /// The password.
    #[must_use]
    pub fn password(&self) -> &[u8] {
        &self.text[self.colon + 1..]
    }
}
