//! Policies, and the names by which routes ask for them.

use std::time::Duration;

use rustc_hash::FxHashSet;

use super::super::file::{AccessFile, CorsFile, EditsFile, PolicyFile, RouteFile};
use super::super::leaf::Leaf;
use super::super::model::{Access, Config, Policy};
use super::super::place::At;
use super::super::problems::{Pending, Subject};
use super::super::units::Text;
use super::{Check, Names, Written, auth, external_auth, rate_limit};
use crate::policy::limit::KeyFrom;
use crate::policy::{CorsSpec, Origin};

/// Methods that scripts of other origins may use unless given: those for which no preflight is asked either.
const METHODS: [&str; 3] = ["GET", "HEAD", "POST"];
/// What a browser remembers a preflight for by itself.
const MAX_AGE: Duration = Duration::from_secs(5);

pub(super) fn check(check: &mut Check<'_>, files: &[Written], clusters: &Names) -> (Vec<Policy>, Names) {
    let mut policies: Vec<Policy> = Vec::new();
    let mut names = Names::default();
    for written in files {
        check.base.clone_from(&written.base);
        let root = At::root(written.file);
        let at = root.key("policies");
        for (name, file) in written.document.policies.iter().flat_map(|named| &named.0) {
            let at = at.key(name);
            let problem = |message| Pending::error(at.place(), message).at_key();
            names.take(check, "policy", name, policies.len(), problem);
            policies.push(check_one(check, at, name, file, clusters));
        }
    }
    keep_claims(&mut policies);
    (policies, names)
}

/// Has tokens keep the claims that rate limits count by.
fn keep_claims(policies: &mut [Policy]) {
    let keys = policies.iter().filter_map(|policy| policy.rate_limit.as_ref()).flat_map(|limit| &limit.keys);
    let claims =
        keys.filter_map(|key| if let KeyFrom::Claim(claim) = key { Some(claim.as_str().into()) } else { None });
    let claims: Vec<Box<str>> = claims.collect();
    for jwt in policies.iter_mut().filter_map(|policy| policy.jwt.as_mut()) {
        jwt.rules.keep.clone_from(&claims);
    }
}

fn check_one(check: &mut Check<'_>, at: At<'_>, name: &str, file: &PolicyFile, clusters: &Names) -> Policy {
    let PolicyFile { access, rate_limit, cors, jwt, api_key, basic_auth, external_auth } = file;
    let limits = access.is_some() || rate_limit.is_some() || cors.is_some();
    let knows = jwt.is_some() || api_key.is_some() || basic_auth.is_some() || external_auth.is_some();
    if !limits && !knows {
        let message = "missing what the policy is about, `access`, `rate_limit`, `cors`, `jwt`, `api_key`, `basic_auth` or `external_auth`,";
        check.missing(&at, message);
    }
    Policy {
        name: name.to_owned(),
        access: access.as_ref().map(|file| check_access(check, at.key("access"), file)),
        rate_limit: rate_limit.as_ref().map(|file| rate_limit::check(check, at.key("rate_limit"), file)),
        cors: cors.as_ref().map(|file| check_cors(check, at.key("cors"), file)),
        jwt: jwt.as_ref().map(|file| auth::check_jwt(check, at.key("jwt"), name, file)),
        api_key: api_key.as_ref().map(|file| auth::check_api_key(check, at.key("api_key"), name, file)),
        basic_auth: basic_auth.as_ref().map(|file| auth::check_basic(check, at.key("basic_auth"), name, file)),
        external_auth: external_auth
            .as_ref()
            .map(|file| external_auth::check(check, at.key("external_auth"), file, clusters)),
    }
}

fn check_access(check: &mut Check<'_>, at: At<'_>, file: &AccessFile) -> Access {
    for (key, list) in [("allow", &file.allow), ("deny", &file.deny)] {
        if list.as_ref().is_some_and(Vec::is_empty) {
            check.error(at.key(key), "expected at least one network");
        }
    }
    if file.allow.is_none() && file.deny.is_none() {
        check.missing(&at, "missing `allow` or `deny`");
    }
    let allow = check.values(at.key("allow"), file.allow.as_ref());
    let at_deny = at.key("deny");
    let mut deny = Vec::new();
    for (index, leaf) in file.deny.iter().flatten().enumerate() {
        let at = at_deny.index(index);
        let Some(net) = check.value(at, Some(leaf)) else { continue };
        if allow.contains(&net) {
            check.error_with(
                at,
                "this network is both allowed and denied",
                "of all networks the most specific decides",
            );
        }
        deny.push(net);
    }
    Access { allow, deny }
}

fn check_cors(check: &mut Check<'_>, at: At<'_>, file: &CorsFile) -> CorsSpec {
    let at_origins = at.key("origins");
    if file.origins.as_ref().is_none_or(Vec::is_empty) {
        check.missing(&at, "missing `origins`, at least one");
    }
    let origins = check.values(at_origins, file.origins.as_ref());
    let credentials = check.value(at.key("credentials"), file.credentials.as_ref()).unwrap_or(false);
    if credentials && origins.contains(&Origin::Any) {
        let note = "name the origins: any page on the web could act as the user who looks at it";
        check.error_with(at.key("credentials"), "`credentials` with the origin `*`", note);
    }
    if file.methods.as_ref().is_some_and(Vec::is_empty) {
        check.error(at.key("methods"), "expected at least one method");
    }
    let methods = match &file.methods {
        Some(list) => {
            let named = check.values(at.key("methods"), Some(list));
            // Every method is named by none.
            named.into_iter().collect::<Option<Vec<_>>>().unwrap_or_default()
        }
        None => METHODS.map(str::to_owned).to_vec(),
    };
    CorsSpec {
        origins,
        methods,
        headers: check.values(at.key("headers"), file.headers.as_ref()).into_iter().collect(),
        expose: check.values(at.key("expose"), file.expose.as_ref()),
        credentials,
        max_age: check.value(at.key("max_age"), file.max_age.as_ref()).unwrap_or(MAX_AGE),
    }
}

/// The policies that a route names, as indices; `default` when it names none.
pub(super) fn check_named(
    check: &mut Check<'_>,
    at: At<'_>,
    list: Option<&Vec<Leaf<Text>>>,
    policies: &[Policy],
    names: &Names,
    default: &[usize],
) -> Vec<usize> {
    let Some(list) = list else { return default.to_vec() };
    let mut named = Vec::new();
    for (index, leaf) in list.iter().enumerate() {
        let at = at.index(index);
        let Some(policy) = names.find(check, at, "policy", leaf) else { continue };
        if named.contains(&policy) {
            check.error(at, "this policy is named twice");
            continue;
        }
        let other = named.iter().find(|other: &&usize| policies[**other].cors.is_some());
        if let (Some(_), Some(other)) = (&policies[policy].cors, other) {
            let message = format!("`cors` a second time, after that of the policy `{}`", policies[*other].name);
            check.error_with(at, message, "a browser obeys one: put the origins into one list");
        }
        let others: Vec<&Policy> = named.iter().map(|other| &policies[*other]).collect();
        auth::check_beside(check, at, &policies[policy], &others);
        named.push(policy);
    }
    warn_of_keys(check, at, &named.iter().map(|policy| &policies[*policy]).collect::<Vec<_>>());
    named
}

/// A limit by what no policy of the route finds out counts by the client's address instead, which is hardly meant unless it
/// says so.
fn warn_of_keys(check: &mut Check<'_>, at: At<'_>, named: &[&Policy]) {
    let is_known = |key: &KeyFrom| match key {
        KeyFrom::Claim(_) => named.iter().any(|policy| policy.jwt.is_some()),
        KeyFrom::ApiKey => named.iter().any(|policy| policy.api_key.is_some()),
        KeyFrom::User => named.iter().any(|policy| policy.basic_auth.is_some()),
        KeyFrom::ClientIp | KeyFrom::Global | KeyFrom::Header(_) => true,
    };
    for policy in named {
        let keys = policy.rate_limit.iter().flat_map(|limit| &limit.keys);
        if keys.clone().any(is_known) {
            continue;
        }
        for key in keys {
            let message =
                format!("no policy of the route finds out `{}`, by which `{}` counts", key.name(), policy.name);
            let note = "its requests are counted by their client_ip: name the policy that knows the client, or `client_ip` as \
                        the last key";
            check.warn_at(at, &message, note);
        }
    }
}

/// The policies of routes that name none.
pub(super) fn check_default(check: &mut Check<'_>, main: &Written, policies: &[Policy], names: &Names) -> Vec<usize> {
    check.base.clone_from(&main.base);
    let root = At::root(main.file);
    let (at_defaults, defaults) = (root.key("defaults"), main.document.defaults.as_ref());
    let at_route = at_defaults.key("route");
    let list = defaults.and_then(|defaults| defaults.route.as_ref()).and_then(|route| route.policies.as_ref());
    check_named(check, at_route.key("policies"), list, policies, names, &[])
}

/// Refuses edits of fields that a policy of the route writes itself.
pub(super) fn refuse_owned_edits(check: &mut Check<'_>, at: At<'_>, file: &RouteFile, policies: &[&Policy]) {
    let Some(headers) = &file.headers else { return };
    let at_headers = at.key("headers");
    let (request, response) = (headers.request.as_ref(), headers.response.as_ref());
    for policy in policies {
        let is_owned = |name: &str| {
            let name = name.to_ascii_lowercase();
            name.starts_with("access-control-") && policy.cors.is_some()
                || name.starts_with("x-ratelimit-") && policy.rate_limit.is_some()
        };
        refuse_edits(check, at_headers.key("response"), response, policy, is_owned);
        let is_owned = |name: &str| auth::written(policy).any(|field| auth::is_same_field(name, field));
        refuse_edits(check, at_headers.key("request"), request, policy, is_owned);
    }
}

fn refuse_edits(
    check: &mut Check<'_>,
    at: At<'_>,
    file: Option<&EditsFile>,
    policy: &Policy,
    is_owned: impl Fn(&str) -> bool,
) {
    let Some(EditsFile { set, add, .. }) = file else { return };
    for (key, fields) in [("set", set), ("add", add)] {
        let at = at.key(key);
        for (name, _) in fields.iter().flat_map(|named| &named.0) {
            if is_owned(name) {
                let message = format!("the policy `{}` writes this field", policy.name);
                check.problems.push(Pending::error(at.key(name).place(), message).at_key());
            }
        }
    }
}

/// A policy that no route names is hardly meant.
pub(super) fn warn_of_unused(check: &mut Check<'_>, config: &Config, names: &Names) {
    let used: FxHashSet<usize> = config.routes.iter().flat_map(|route| route.policies.iter().copied()).collect();
    for (index, policy) in config.policies.iter().enumerate() {
        if let (false, Some((_, place))) = (used.contains(&index), names.taken.get(&policy.name)) {
            let warning = Pending::warning(place.clone(), format!("no route uses the policy `{}`", policy.name));
            check.problems.push(warning.at_key().subject(Subject::Nothing));
        }
    }
}
