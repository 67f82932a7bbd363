//! Who a client has turned out to be.

/// Who a client is, as one policy has verified it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    claims: Box<[(Box<str>, Box<str>)]>,
    name: Option<Box<str>>,
    lines: Box<[u8]>,
}

impl Identity {
    /// The bearer of a token with these claims, as text, and the field lines that tell of them, each with its CR LF.
    #[must_use]
    pub fn bearer(claims: Vec<(Box<str>, Box<str>)>, lines: Vec<u8>) -> Self {
        Self { claims: claims.into(), name: None, lines: lines.into() }
    }

    /// Who holds the key or the password of this name, and the field lines that tell of it.
    #[must_use]
    pub fn named(name: &str, lines: Vec<u8>) -> Self {
        Self { claims: Box::default(), name: Some(name.into()), lines: lines.into() }
    }

    /// The claim of this name, if the token had it and the policy was told to keep it.
    #[must_use]
    pub fn claim(&self, name: &str) -> Option<&str> {
        self.claims.iter().find(|(known, _)| &**known == name).map(|(_, value)| &**value)
    }

    /// Whose key or password it was.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The field lines for the endpoint.
    #[must_use]
    pub fn lines(&self) -> &[u8] {
        &self.lines
    }
}
