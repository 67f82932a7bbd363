//! Why a token is refused.

/// Why a bearer token is refused; none of these tells anything of a key or of the token itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// It is longer than any that is looked at.
    TooLong,
    /// It is not three parts of base64url, or one of them is not the JSON it should be (RFC 7515 section 7.1).
    Malformed,
    /// Its header asks for what has to be understood and is not (RFC 7515 section 4.1.11).
    Critical,
    /// It says that it is signed by nobody (RFC 7518 section 3.6).
    Unsigned,
    /// Its algorithm is none that is known.
    AlgorithmUnknown,
    /// Its algorithm is none that the policy accepts.
    AlgorithmRefused,
    /// No key has the identity that it names.
    KeyUnknown,
    /// The key that it names is not for its algorithm.
    KeyUnfit,
    /// Its signature is not of the key.
    SignatureWrong,
    /// It is by another issuer.
    IssuerWrong,
    /// It is for another audience.
    AudienceWrong,
    /// It does not say until when it holds.
    ExpiryMissing,
    /// It holds no more.
    Expired,
    /// It does not hold yet.
    NotYet,
    /// A claim that is to be forwarded cannot stand in a field.
    ClaimUnfit,
    /// It does not have the scopes that the policy wants (RFC 6750 section 3.1).
    ScopeMissing,
}

impl Refusal {
    /// One of each.
    pub const ALL: [Self; 16] = [
        Self::TooLong,
        Self::Malformed,
        Self::Critical,
        Self::Unsigned,
        Self::AlgorithmUnknown,
        Self::AlgorithmRefused,
        Self::KeyUnknown,
        Self::KeyUnfit,
        Self::SignatureWrong,
        Self::IssuerWrong,
        Self::AudienceWrong,
        Self::ExpiryMissing,
        Self::Expired,
        Self::NotYet,
        Self::ClaimUnfit,
        Self::ScopeMissing,
    ];

    /// The name in logs.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::TooLong => "token too long",
            Self::Malformed => "token malformed",
            Self::Critical => "critical header not understood",
            Self::Unsigned => "token not signed",
            Self::AlgorithmUnknown => "algorithm unknown",
            Self::AlgorithmRefused => "algorithm not accepted",
            Self::KeyUnknown => "key unknown",
            Self::KeyUnfit => "key not for the algorithm",
            Self::SignatureWrong => "signature wrong",
            Self::IssuerWrong => "issuer wrong",
            Self::AudienceWrong => "audience wrong",
            Self::ExpiryMissing => "expiry missing",
            Self::Expired => "expired",
            Self::NotYet => "not valid yet",
            Self::ClaimUnfit => "claim unfit for a field",
            Self::ScopeMissing => "scope missing",
        }
    }
}
