//! TLS: certificates and keys that belong together, and what is probably not meant.

use rustc_hash::FxHashMap;
use rustls::pki_types::ServerName;
use rustls::sign::CertifiedKey;

use super::super::certificates::{self, Facts, ListFacts};
use super::super::file::{CertificateFile, ClusterTlsFile, ListenerTlsFile};
use super::super::leaf::{Leaf, Refusal};
use super::super::model::{
    Authorities, ClientAuth, ClusterTls, Endpoint, Identity, ListenerTls, Revocations, Scheme, TlsVersion,
};
use super::super::place::At;
use super::super::problems::Pending;
use super::super::units::Text;
use super::{Check, as_written};

/// Those who may read a file beside its owner.
const READ_BY_OTHERS: u32 = 0o044;

pub(super) fn check_listener(check: &mut Check<'_>, at: At<'_>, file: Option<&ListenerTlsFile>) -> Option<ListenerTls> {
    let file = file?;
    if file.client_auth.is_some() && file.client_ca.is_none() {
        let note = "nobody is asked for a certificate: name those who may have signed one as `client_ca`";
        check.error_with(at.key("client_auth"), "`client_auth` without `client_ca`", note);
    }
    let client_ca = file.client_ca.as_ref().and_then(|leaf| check_authorities(check, at.key("client_ca"), leaf));
    Some(ListenerTls {
        certificates: check_certificates(check, &at, file.certificates.as_deref()),
        min_version: check.value(at.key("min_version"), file.min_version.as_ref()).unwrap_or(TlsVersion::Tls12),
        client_crl: check_revocations(check, at, file, client_ca.as_ref()),
        client_ca,
        client_auth: check.value(at.key("client_auth"), file.client_auth.as_ref()).unwrap_or(ClientAuth::Required),
    })
}

fn check_certificates(check: &mut Check<'_>, tls: &At<'_>, file: Option<&[CertificateFile]>) -> Vec<Identity> {
    let at_list = tls.key("certificates");
    let Some(file) = file else {
        check.missing(tls, "missing `certificates`");
        return Vec::new();
    };
    if file.is_empty() {
        check.missing(&at_list, "TLS needs at least one certificate");
    }
    let mut identities = Vec::with_capacity(file.len());
    let mut taken: FxHashMap<String, usize> = FxHashMap::default();
    for (index, entry) in file.iter().enumerate() {
        let at = at_list.index(index);
        let cert = check.required(&at, "cert", entry.cert.as_ref());
        let key = check.required(&at, "key", entry.key.as_ref());
        let (Some(cert), Some(key)) = (cert, key) else { continue };
        if let Some(identity) = check_identity(check, at, entry, (&cert, &key)) {
            warn_of_names(check, at, index, identity.names(), &mut taken);
            identities.push(identity);
        }
    }
    identities
}

/// A name of several certificates, and a certificate that no name leads to.
fn warn_of_names(
    check: &mut Check<'_>,
    at: At<'_>,
    index: usize,
    names: &[String],
    taken: &mut FxHashMap<String, usize>,
) {
    if names.is_empty() && index > 0 {
        let note = "certificates are chosen by their DNS names, and only the first one where there is none";
        check.warn(at, "cert", "no client ever gets this certificate: it is for no DNS name", note);
    }
    for name in names {
        match taken.get(name) {
            Some(first) if *first != index => {
                let message = format!("certificate {} is already for `{name}`", first + 1);
                check.warn(at, "cert", &message, "of several for one name, the first one is used");
            }
            Some(_) => {}
            None => drop(taken.insert(name.clone(), index)),
        }
    }
}

/// The certificate and the key of the files at these paths.
pub(super) fn check_identity(
    check: &mut Check<'_>,
    at: At<'_>,
    entry: &CertificateFile,
    paths: (&str, &str),
) -> Option<Identity> {
    let (at_cert, at_key) = (at.key("cert"), at.key("key"));
    let chain = check_file(check, at_cert, entry.cert.as_ref(), paths.0, certificates::chain);
    let key = check_file(check, at_key, entry.key.as_ref(), paths.1, certificates::private_key);
    if key.is_some() {
        warn_of_readers(check, at, paths.1);
    }
    let chain = chain?;
    let facts = certificates::facts(&chain[0]).map_err(|refusal| refuse(check, at_cert, refusal)).ok()?;
    warn_of_times(check, at, &facts);
    let certified: CertifiedKey =
        certificates::pair(chain, &key?).map_err(|refusal| refuse(check, at_key, refusal)).ok()?;
    Some(Identity::new(certified, facts.names))
}

/// What `parse` makes of the file at `path`, which is watched from now on.
fn check_file<T>(
    check: &mut Check<'_>,
    at: At<'_>,
    leaf: Option<&Leaf<Text>>,
    path: &str,
    parse: impl FnOnce(&[u8]) -> Result<T, Refusal>,
) -> Option<T> {
    let path = check.path(path);
    check.read.push(path.clone());
    match check.sources.read(&path) {
        Ok(bytes) => parse(&bytes).map_err(|refusal| refuse(check, at, refusal)).ok(),
        Err(error) => {
            let name = leaf.map(as_written).unwrap_or_default();
            check.error(at, format!("cannot read the file `{name}`: {error}"));
            None
        }
    }
}

fn refuse(check: &mut Check<'_>, at: At<'_>, refusal: Refusal) {
    check.problems.push(Pending::error(at.place(), refusal.message).note(refusal.hint));
}

/// Who may sign: looked at here, so that a wrong path is told with its line, and watched from now on.
pub(super) fn check_authorities(check: &mut Check<'_>, at: At<'_>, leaf: &Leaf<Text>) -> Option<Authorities> {
    let path = check.value(at, Some(leaf))?;
    check_file(check, at, Some(leaf), &path, certificates::authorities).map(Authorities::new)
}

/// Who is refused although somebody of `ca` signed for them.
fn check_revocations(
    check: &mut Check<'_>,
    tls: At<'_>,
    file: &ListenerTlsFile,
    ca: Option<&Authorities>,
) -> Option<Revocations> {
    let (leaf, at) = (file.client_crl.as_ref()?, tls.key("client_crl"));
    if file.client_ca.is_none() {
        let note = "nobody is asked for a certificate: name those who may have signed one as `client_ca`";
        check.error_with(at, "`client_crl` without `client_ca`", note);
    }
    let path = check.value(at, Some(leaf))?;
    let lists = check_file(check, at, Some(leaf), &path, certificates::revocations)?;
    let ca = ca?;
    let by: Vec<ListFacts> = (lists.iter().enumerate())
        .map(|(index, list)| certificates::list_facts(index, list, ca.roots()))
        .collect::<Result<_, _>>()
        .map_err(|refusal| refuse(check, at, refusal))
        .ok()?;
    warn_of_lists(check, tls, &by, ca);
    Some(Revocations::new(lists))
}

/// A list that is too old, and somebody who has none.
fn warn_of_lists(check: &mut Check<'_>, tls: At<'_>, lists: &[ListFacts], ca: &Authorities) {
    let now = i64::try_from(check.sources.unix_s()).unwrap_or(i64::MAX);
    for (index, list) in lists.iter().enumerate() {
        if let Some(due) = list.next_update.filter(|due| now > *due) {
            let message = format!("list {} was to be renewed by {}", index + 1, certificates::day(due));
            check.warn(tls, "client_crl", &message, "whoever was revoked since then gets in: renew it");
        }
    }
    for subject in ca.roots().subjects() {
        if !lists.iter().any(|list| list.issuer == subject.as_ref()) {
            let message = format!("no list is by `{}` of `client_ca`", certificates::name(subject.as_ref()));
            check.warn(
                tls,
                "client_crl",
                &message,
                "whether its certificates are revoked is unknown: they are refused",
            );
        }
    }
}

fn warn_of_times(check: &mut Check<'_>, at: At<'_>, facts: &Facts) {
    let now = i64::try_from(check.sources.unix_s()).unwrap_or(i64::MAX);
    let day = certificates::day;
    if now > facts.not_after {
        let message = format!("the certificate expired on {}", day(facts.not_after));
        check.warn(at, "cert", &message, "its peers will refuse it: renew it");
    } else if now < facts.not_before {
        let message = format!("the certificate is not valid before {}", day(facts.not_before));
        check.warn(at, "cert", &message, "its peers will refuse it until then; is the clock of this machine right?");
    }
}

fn warn_of_readers(check: &mut Check<'_>, at: At<'_>, path: &str) {
    let mode = check.sources.mode(&check.path(path));
    if mode.is_some_and(|mode| mode & READ_BY_OTHERS != 0) {
        let note = "whoever has the key can pass for this gateway: `chmod 600` keeps them out";
        check.warn(at, "key", "others than its owner may read the private key", note);
    }
}

/// TLS to the endpoints of a cluster; `endpoints` are those that were not refused.
pub(super) fn check_cluster(
    check: &mut Check<'_>,
    cluster: At<'_>,
    file: Option<&ClusterTlsFile>,
    endpoints: &[Endpoint],
) -> ClusterTls {
    let at = cluster.key("tls");
    let Some(file) = file else {
        check_hosts(check, cluster, endpoints);
        return ClusterTls::default();
    };
    let tls = ClusterTls {
        ca: file.ca.as_ref().and_then(|leaf| check_authorities(check, at.key("ca"), leaf)),
        identity: check_own(check, at, file),
        server_name: check.value(at.key("server_name"), file.server_name.as_ref()),
        insecure_skip_verify: check
            .value(at.key("insecure_skip_verify"), file.insecure_skip_verify.as_ref())
            .unwrap_or(false),
    };
    if file.server_name.is_none() {
        check_hosts(check, cluster, endpoints);
    }
    if tls.insecure_skip_verify {
        let note = "whoever stands between gateway and endpoint can read and change everything: name the signer with `ca` instead";
        warn_of_skipped(check, at, file.ca.is_some(), note);
    }
    if !endpoints.is_empty() && endpoints.iter().all(|endpoint| endpoint.scheme != Scheme::Https) {
        let note = "write `https://` in the URLs that speak TLS, or leave `tls` out";
        check.warn(cluster, "tls", "`tls` is of no use without an `https` endpoint", note);
    }
    tls
}

/// Our own certificate, which has a key or is not there at all.
fn check_own(check: &mut Check<'_>, at: At<'_>, file: &ClusterTlsFile) -> Option<Identity> {
    let (cert, key) = match (&file.cert, &file.key) {
        (None, None) => return None,
        (cert, key) => (check.required(&at, "cert", cert.as_ref()), check.required(&at, "key", key.as_ref())),
    };
    let entry = CertificateFile { cert: file.cert.clone(), key: file.key.clone() };
    check_identity(check, at, &entry, (&cert?, &key?))
}

/// Where no name is given, the host of each URL is the one that a certificate must have.
fn check_hosts(check: &mut Check<'_>, cluster: At<'_>, endpoints: &[Endpoint]) {
    for endpoint in endpoints.iter().filter(|endpoint| endpoint.scheme == Scheme::Https) {
        if ServerName::try_from(endpoint.host.as_str()).is_err() {
            let message = format!("`{}` is no name that a certificate can be for", endpoint.host);
            let problem = Pending::error(cluster.key("endpoints").place(), message);
            check.problems.push(problem.at_own_key().note(Some("give the right one as `tls.server_name`".to_owned())));
        }
    }
}

/// Nothing is verified; `note` says what that means.
pub(super) fn warn_of_skipped(check: &mut Check<'_>, at: At<'_>, has_ca: bool, note: &str) {
    check.warn(at, "insecure_skip_verify", "no certificate is verified with `insecure_skip_verify`", note);
    if has_ca {
        let note = "remove the one or the other";
        check.warn(at, "ca", "`ca` is of no use with `insecure_skip_verify`", note);
    }
}
