//! Policies of authentication, and the files of their keys.

use std::time::Duration;

use super::super::file::{ApiKeyFile, BasicAuthFile, JwtFile, Named, ScalarOr, TextsFile};
use super::super::leaf::Leaf;
use super::super::model::{ApiKey, BasicAuth, Jwt, JwtKeys, KeySource, Policy};
use super::super::patterns::FieldName;
use super::super::place::At;
use super::super::problems::Pending;
use super::super::units::Text;
use super::edits::{self, Direction};
use super::{Check, as_written, tls};
use crate::policy::auth::{Algorithm, Family, Jwks, Key, KeyBook, KeySet, Origin, Rules, UserBook, keys_of_pem};

const REFRESH: Duration = Duration::from_secs(600);
const LEEWAY: Duration = Duration::from_secs(30);
/// Longest leeway: beyond it, expiry says little.
const LEEWAY_MAX: Duration = Duration::from_secs(3600);
const API_KEY_FIELD: &str = "x-api-key";
const ONE_FIELD: &str = "a request has one `Authorization`: give the routes apart";
/// What a route may have one policy of.
const ONE_OF: &str = "a request has one `Authorization`: give the routes apart, or one policy both audiences";

pub(super) fn check_jwt(check: &mut Check<'_>, at: At<'_>, policy: &str, file: &JwtFile) -> Jwt {
    let keys = check_keys(check, at, file);
    let audiences = check_texts(check, at.key("audience"), file.audience.as_ref());
    if audiences.is_empty() && file.audience.is_none() {
        let note = "a token that the issuer gave for another service passes as well";
        check.warn_at(at, "tokens for anybody pass: `audience` is missing", note);
    }
    let leeway = check.value(at.key("leeway"), file.leeway.as_ref()).unwrap_or(LEEWAY);
    if leeway > LEEWAY_MAX {
        check.error(at.key("leeway"), "expected a duration of at most `1h`");
    }
    let rules = Rules {
        issuer: check.value(at.key("issuer"), file.issuer.as_ref()).map(String::into_boxed_str),
        audiences: audiences.into_iter().map(String::into_boxed_str).collect(),
        algorithms: check_algorithms(check, at, file, &keys),
        scopes: check_scopes(check, at.key("scopes"), file.scopes.as_ref()),
        leeway_s: u32::try_from(leeway.as_secs()).unwrap_or(u32::MAX),
        forward: check_forward(check, at.key("forward_claims"), file.forward_claims.as_ref()),
        keep: Vec::new(),
    };
    Jwt {
        rules,
        keys,
        forward_credentials: check
            .value(at.key("forward_credentials"), file.forward_credentials.as_ref())
            .unwrap_or(true),
        realm: check.value(at.key("realm"), file.realm.as_ref()).unwrap_or_else(|| policy.to_owned()),
    }
}

/// A value or several, each of which has to be something.
fn check_texts(check: &mut Check<'_>, at: At<'_>, file: Option<&TextsFile>) -> Vec<String> {
    let texts: Vec<String> = match file {
        None => return Vec::new(),
        Some(ScalarOr::Scalar(leaf)) => check.value(at, Some(leaf)).into_iter().collect(),
        Some(ScalarOr::Compound(list)) => {
            if list.is_empty() {
                check.error(at, "expected at least one");
            }
            check.values(at, Some(list))
        }
    };
    if texts.iter().any(String::is_empty) {
        check.error(at, "expected text that is not empty");
    }
    texts
}

/// RFC 6749 section 3.3: words without spaces, quotes and backslashes.
fn check_scopes(check: &mut Check<'_>, at: At<'_>, list: Option<&Vec<Leaf<Text>>>) -> Vec<Box<str>> {
    let scopes = check.values(at, list);
    let is_word = |scope: &String| {
        !scope.is_empty() && scope.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\')
    };
    if !scopes.iter().all(is_word) {
        check.error(at, "a scope is a word of visible ASCII, without quotes and backslashes");
    }
    scopes.into_iter().map(String::into_boxed_str).collect()
}

/// Claims and their fields, none of which the gateway writes itself.
fn check_forward(
    check: &mut Check<'_>,
    at: At<'_>,
    file: Option<&Named<Leaf<FieldName>>>,
) -> Vec<(Box<str>, Box<str>)> {
    let mut forward: Vec<(Box<str>, Box<str>)> = Vec::new();
    for (claim, leaf) in file.into_iter().flat_map(|named| &named.0) {
        let at = at.key(claim);
        let Some(field) = check_field(check, at, Some(leaf)) else { continue };
        if forward.iter().any(|(_, other)| is_same_field(other, &field)) {
            check.error(at, "two claims cannot have the same field");
        }
        forward.push((claim.as_str().into(), field.into()));
    }
    forward
}

pub(super) fn check_field(check: &mut Check<'_>, at: At<'_>, leaf: Option<&Leaf<FieldName>>) -> Option<String> {
    let field = check.value(at, leaf)?;
    edits::refuse_owned(check, &field, Direction::Request, |message| Pending::error(at.place(), message));
    Some(field)
}

/// Whether two fields are one to an endpoint that takes `_` for `-`.
pub(super) fn is_same_field(one: &str, other: &str) -> bool {
    one.replace('_', "-").eq_ignore_ascii_case(&other.replace('_', "-"))
}

fn check_keys(check: &mut Check<'_>, at: At<'_>, file: &JwtFile) -> JwtKeys {
    let files = [
        ("keys_file", file.keys_file.as_ref()),
        ("public_key_file", file.public_key_file.as_ref()),
        ("secret_file", file.secret_file.as_ref()),
    ];
    let mut given: Vec<&str> = files.iter().filter(|(_, leaf)| leaf.is_some()).map(|(key, _)| *key).collect();
    given.extend(file.jwks_url.as_ref().map(|_| "jwks_url"));
    match given[..] {
        [] => check.missing(&at, "missing `jwks_url`, `keys_file`, `public_key_file` or `secret_file`"),
        [_] => {}
        [.., second] => check.error(at.key(second), "the keys come from one place: remove the others"),
    }
    if file.jwks_url.is_none() {
        for (key, is_given) in [("jwks_ca", file.jwks_ca.is_some()), ("refresh", file.refresh.is_some())] {
            if is_given {
                check.error(at.key(key), "it is only of use with `jwks_url`");
            }
        }
    }
    if let Some(source) = check_source(check, at, file) {
        return JwtKeys::Remote(source);
    }
    let mut keys = Vec::new();
    for (key, leaf) in files {
        keys.extend(check_key_file(check, at.key(key), key, leaf));
    }
    JwtKeys::Local(KeySet::new(keys))
}

fn check_source(check: &mut Check<'_>, at: At<'_>, file: &JwtFile) -> Option<KeySource> {
    let url = check.value(at.key("jwks_url"), file.jwks_url.as_ref())?;
    if !url.is_secure && !matches!(url.host.as_str(), "localhost" | "127.0.0.1" | "::1") {
        let note = "whoever stands between gateway and issuer can put in a key of theirs: use `https://`";
        check.warn(at, "jwks_url", "the keys come over a connection that nobody secures", note);
    }
    if !url.is_secure && file.jwks_ca.is_some() {
        check.error(at.key("jwks_ca"), "it is only of use with a URL of `https://`");
    }
    let refresh = check.value(at.key("refresh"), file.refresh.as_ref()).unwrap_or(REFRESH);
    if refresh < Duration::from_secs(1) {
        check.error(at.key("refresh"), "expected a duration of at least `1s`");
    }
    let ca = file.jwks_ca.as_ref().and_then(|leaf| tls::check_authorities(check, at.key("jwks_ca"), leaf));
    Some(KeySource { url, ca, refresh })
}

/// The keys of a file; what is wrong with it is told without a word of it.
fn check_key_file(check: &mut Check<'_>, at: At<'_>, kind: &str, leaf: Option<&Leaf<Text>>) -> Vec<Key> {
    let Some(bytes) = read(check, at, leaf) else { return Vec::new() };
    let keys = match kind {
        "keys_file" => {
            Jwks::parse(&bytes, Origin::Local).map(|jwks| jwks.keys.keys().to_vec()).map_err(|e| e.to_string())
        }
        "public_key_file" => keys_of_pem(&bytes).map_err(|error| error.to_string()),
        _ => Key::secret(without_line_end(&bytes)).map(|key| vec![key]).map_err(|error| error.to_string()),
    };
    keys.unwrap_or_else(|message| {
        check.error(at, message);
        Vec::new()
    })
}

/// The file that a value names, which is watched from now on.
fn read(check: &mut Check<'_>, at: At<'_>, leaf: Option<&Leaf<Text>>) -> Option<Vec<u8>> {
    let leaf = leaf?;
    let path = check.value(at, Some(leaf))?;
    let path = check.path(&path);
    check.read.push(path.clone());
    match check.sources.read(&path) {
        Ok(bytes) => Some(bytes),
        Err(error) => {
            check.error(at, format!("cannot read the file `{}`: {error}", as_written(leaf)));
            None
        }
    }
}

/// Editors end a file with a line end that is no part of a secret.
fn without_line_end(bytes: &[u8]) -> &[u8] {
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    bytes.strip_suffix(b"\r").unwrap_or(bytes)
}

/// What is named, or else what the keys allow.
fn check_algorithms(check: &mut Check<'_>, at: At<'_>, file: &JwtFile, keys: &JwtKeys) -> Vec<Algorithm> {
    let fits = |algorithm: Algorithm| match keys {
        JwtKeys::Local(keys) => keys.is_for(algorithm),
        JwtKeys::Remote(_) => algorithm.family() != Family::Hmac,
    };
    let Some(list) = &file.algorithms else {
        return Algorithm::ALL.into_iter().filter(|algorithm| fits(*algorithm)).collect();
    };
    let at = at.key("algorithms");
    if list.is_empty() {
        check.error(at, "expected at least one algorithm");
    }
    let has_keys = !matches!(keys, JwtKeys::Local(keys) if keys.is_empty());
    let mut algorithms = Vec::new();
    for (index, leaf) in list.iter().enumerate() {
        let at = at.index(index);
        let Some(algorithm) = check.value(at, Some(leaf)) else { continue };
        if has_keys && !fits(algorithm) {
            check.error(at, format!("no key is for {}", algorithm.name()));
        }
        algorithms.push(algorithm);
    }
    algorithms
}

pub(super) fn check_api_key(check: &mut Check<'_>, at: At<'_>, policy: &str, file: &ApiKeyFile) -> ApiKey {
    let at_file = at.key("keys_file");
    if file.keys_file.is_none() {
        check.missing(&at, "missing `keys_file`");
    }
    let read = read(check, at_file, file.keys_file.as_ref());
    let parsed = read.map(|bytes| match std::str::from_utf8(&bytes) {
        Ok(yaml) => KeyBook::parse(yaml).map_err(|error| error.to_string()),
        Err(_) => Err("the file is not UTF-8 text".to_owned()),
    });
    let book = parsed.and_then(|parsed| parsed.map_err(|message| check.error(at_file, message)).ok());
    let header = check_field(check, at.key("header"), file.header.as_ref());
    let header = header.unwrap_or_else(|| API_KEY_FIELD.to_owned());
    if header == "authorization" || header == "cookie" {
        check.error_with(
            at.key("header"),
            "this field holds more than a key",
            "use a field of its own, such as `x-api-key`",
        );
    }
    let forward_identity = check_field(check, at.key("forward_identity"), file.forward_identity.as_ref());
    if forward_identity.as_ref().is_some_and(|field| is_same_field(field, &header)) {
        check.error(at.key("forward_identity"), "this field has the key");
    }
    ApiKey {
        header,
        book: book.unwrap_or_default(),
        forward_identity,
        forward_credentials: check
            .value(at.key("forward_credentials"), file.forward_credentials.as_ref())
            .unwrap_or(false),
        realm: check.value(at.key("realm"), file.realm.as_ref()).unwrap_or_else(|| policy.to_owned()),
    }
}

pub(super) fn check_basic(check: &mut Check<'_>, at: At<'_>, policy: &str, file: &BasicAuthFile) -> BasicAuth {
    let at_file = at.key("users_file");
    if file.users_file.is_none() {
        check.missing(&at, "missing `users_file`");
    }
    let book = read(check, at_file, file.users_file.as_ref()).and_then(|bytes| {
        let name = file.users_file.as_ref().map(|leaf| as_written(leaf).into_owned()).unwrap_or_default();
        let parsed = match std::str::from_utf8(&bytes) {
            Ok(text) => UserBook::parse(text).map_err(|error| (error.line, error.fault.to_string())),
            Err(_) => Err((None, "the file is not UTF-8 text".to_owned())),
        };
        parsed
            .map_err(|(line, message)| match line {
                Some(line) => check.error(at_file, format!("{name}:{line}: {message}")),
                None => check.error(at_file, message),
            })
            .ok()
    });
    BasicAuth {
        book: book.unwrap_or_default(),
        forward_user: check_field(check, at.key("forward_user"), file.forward_user.as_ref()),
        forward_credentials: check
            .value(at.key("forward_credentials"), file.forward_credentials.as_ref())
            .unwrap_or(false),
        realm: check.value(at.key("realm"), file.realm.as_ref()).unwrap_or_else(|| policy.to_owned()),
    }
}

/// Refuses a second policy of one kind, and a field that two policies of a route write.
pub(super) fn check_beside(check: &mut Check<'_>, at: At<'_>, policy: &Policy, others: &[&Policy]) {
    for other in others {
        if policy.jwt.is_some() && other.jwt.is_some() {
            let message = format!("`jwt` a second time, after that of the policy `{}`", other.name);
            check.error_with(at, message, ONE_OF);
        }
        if policy.api_key.is_some() && other.api_key.is_some() {
            let message = format!("`api_key` a second time, after that of the policy `{}`", other.name);
            check.error_with(at, message, "put the keys into one file");
        }
        if policy.basic_auth.is_some() && other.basic_auth.is_some() {
            let message = format!("`basic_auth` a second time, after that of the policy `{}`", other.name);
            check.error_with(at, message, "put the users into one file");
        }
        if policy.external_auth.is_some() && other.external_auth.is_some() {
            let message = format!("`external_auth` a second time, after that of the policy `{}`", other.name);
            check.error_with(at, message, "let one service ask the other");
        }
        for (one, theirs) in [(policy, *other), (*other, policy)] {
            if one.basic_auth.is_some() && theirs.jwt.is_some() {
                let message = format!("`jwt` and `basic_auth` together, the other by the policy `{}`", other.name);
                check.error_with(at, message, ONE_FIELD);
            }
        }
        let is_shared = |field: &&str| written(other).any(|theirs| is_same_field(field, theirs));
        if let Some(field) = written(policy).find(is_shared) {
            check.error(at, format!("the policy `{}` writes the field `{field}` as well", other.name));
        }
    }
}

/// Fields of the request that a policy writes.
pub(super) fn written(policy: &Policy) -> impl Iterator<Item = &str> {
    let claims = policy.jwt.iter().flat_map(|jwt| jwt.rules.forward.iter().map(|(_, field)| &**field));
    let holder = policy.api_key.iter().filter_map(|api_key| api_key.forward_identity.as_deref());
    let user = policy.basic_auth.iter().filter_map(|basic| basic.forward_user.as_deref());
    let service = policy.external_auth.iter().flat_map(|external| external.rules.response.iter().map(|field| &**field));
    claims.chain(holder).chain(user).chain(service)
}
