//! What a policy wants of a token, and whether it has it.

use aws_lc_rs::digest::{SHA256, digest};

use super::algorithm::Algorithm;
use super::cache::Stamp;
use super::claims::Claims;
use super::identity::Identity;
use super::key::KeySet;
use super::refusal::Refusal;
use super::token::Token;
use crate::http1::is_field_value;
use crate::limits;

/// What a policy wants of a token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// Who must have issued it; `None` for anybody who has the key.
    pub issuer: Option<Box<str>>,
    /// For whom it must be, one of these; empty for anybody.
    pub audiences: Vec<Box<str>>,
    /// How it may be signed, at least one way.
    pub algorithms: Vec<Algorithm>,
    /// Scopes that it must have, all of them.
    pub scopes: Vec<Box<str>>,
    /// Seconds that clocks may differ by.
    pub leeway_s: u32,
    /// Claims and the fields by which the endpoint is told of them.
    pub forward: Vec<(Box<str>, Box<str>)>,
    /// Further claims that are kept; the subject always is.
    pub keep: Vec<Box<str>>,
}

/// A token that passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The second since 1970 from which on it holds no more, leeway included.
    pub until_s: u64,
    /// Who its bearer is.
    pub identity: Identity,
}

/// Rules with the keys that tokens are verified by.
#[derive(Clone, Debug)]
pub struct Verifier {
    rules: Rules,
    keys: KeySet,
    keep: Vec<Box<str>>,
    stamp: Stamp,
}

impl Verifier {
    /// Rules with their keys.
    #[must_use]
    pub fn new(rules: Rules, keys: KeySet) -> Self {
        let mut text = format!("{rules:?}\n").into_bytes();
        keys.describe(&mut text);
        let named = rules.forward.iter().map(|(claim, _)| claim).chain(&rules.keep).cloned();
        let keep = named.chain(["sub".into()]).collect();
        let stamp = Stamp::of(digest(&SHA256, &text).as_ref());
        Self { rules, keys, keep, stamp }
    }

    /// Stands for the rules and the keys: another one as soon as any of them is another.
    #[must_use]
    pub const fn stamp(&self) -> Stamp {
        self.stamp
    }

    /// The keys.
    #[must_use]
    pub const fn keys(&self) -> &KeySet {
        &self.keys
    }

    /// The fields by which the endpoint is told of claims.
    pub fn fields(&self) -> impl Iterator<Item = &str> {
        self.rules.forward.iter().map(|(_, field)| &**field)
    }

    /// Verifies a token at `now_s`, seconds since 1970.
    ///
    /// # Errors
    /// The first thing that is wrong with it; nothing that it claims is looked at before its signature is.
    pub fn verify(&self, text: &[u8], now_s: u64) -> Result<Verified, Refusal> {
        let token = Token::parse(text)?;
        if !self.rules.algorithms.contains(&token.algorithm()) {
            return Err(Refusal::AlgorithmRefused);
        }
        self.check_signature(&token, &text[..token.signed()])?;
        let claims = Claims::parse(token.payload(), &self.keep)?;
        let until_s = self.check_time(&claims, now_s)?;
        self.check_parties(&claims)?;
        let lines = self.lines(&claims.kept)?;
        Ok(Verified { until_s, identity: Identity::bearer(claims.kept, lines) })
    }

    /// A key with the token's identity, or without any, has signed it.
    fn check_signature(&self, token: &Token, signed: &[u8]) -> Result<(), Refusal> {
        let may_be = |kid: Option<&str>| match (token.kid(), kid) {
            (Some(wanted), Some(kid)) => wanted == kid,
            (None, _) | (_, None) => true,
        };
        let mut named = self.keys.keys().iter().filter(|key| may_be(key.kid())).peekable();
        if named.peek().is_none() {
            return Err(Refusal::KeyUnknown);
        }
        let mut fit = named.filter(|key| key.is_for(token.algorithm())).take(limits::TOKEN_KEY_TRIES).peekable();
        if fit.peek().is_none() {
            return Err(Refusal::KeyUnfit);
        }
        let is_signed = fit.any(|key| key.verifies(token.algorithm(), signed, token.signature()));
        if is_signed { Ok(()) } else { Err(Refusal::SignatureWrong) }
    }

    /// RFC 7519 sections 4.1.4 and 4.1.5; the second until which the token may be believed.
    fn check_time(&self, claims: &Claims, now_s: u64) -> Result<u64, Refusal> {
        let leeway_s = i64::from(self.rules.leeway_s);
        let now_s = i64::try_from(now_s).unwrap_or(i64::MAX);
        let until_s = claims.expires_s.ok_or(Refusal::ExpiryMissing)?.saturating_add(leeway_s);
        if now_s >= until_s {
            return Err(Refusal::Expired);
        }
        if claims.not_before_s.is_some_and(|from_s| now_s.saturating_add(leeway_s) < from_s) {
            return Err(Refusal::NotYet);
        }
        Ok(u64::try_from(until_s).unwrap_or(0))
    }

    /// RFC 7519 sections 4.1.1 and 4.1.3, and the scopes of RFC 8693 section 4.2.
    fn check_parties(&self, claims: &Claims) -> Result<(), Refusal> {
        let Rules { issuer, audiences, scopes, .. } = &self.rules;
        if issuer.is_some() && issuer.as_deref() != claims.issuer.as_deref() {
            return Err(Refusal::IssuerWrong);
        }
        let is_for = |wanted: &str| claims.audience.iter().any(|audience| audience == wanted);
        if !audiences.is_empty() && !audiences.iter().any(|wanted| is_for(wanted)) {
            return Err(Refusal::AudienceWrong);
        }
        let has = |wanted: &str| claims.scopes.iter().any(|scope| scope == wanted);
        if scopes.iter().all(|wanted| has(wanted)) { Ok(()) } else { Err(Refusal::ScopeMissing) }
    }

    /// The field lines that tell the endpoint of claims; a value that would break a line is none.
    fn lines(&self, kept: &[(Box<str>, Box<str>)]) -> Result<Vec<u8>, Refusal> {
        let mut lines = Vec::new();
        for (claim, field) in &self.rules.forward {
            let Some((_, value)) = kept.iter().find(|(name, _)| name == claim) else { continue };
            push_line(&mut lines, field, value).ok_or(Refusal::ClaimUnfit)?;
        }
        Ok(lines)
    }
}

/// Appends a field line, unless its value cannot be one.
pub(super) fn push_line(lines: &mut Vec<u8>, field: &str, value: &str) -> Option<()> {
    let fits = is_field_value(value.as_bytes())
        && value.trim_ascii() == value
        && !value.is_empty()
        && value.len() <= limits::CLAIM_TEXT_BYTES;
    if !fits {
        return None;
    }
    lines.extend_from_slice(field.as_bytes());
    lines.extend_from_slice(b": ");
    lines.extend_from_slice(value.as_bytes());
    lines.extend_from_slice(b"\r\n");
    Some(())
}
