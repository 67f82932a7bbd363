//! Files in PEM to certificates and keys; nothing of a key is in any message.

use std::sync::Arc;

use rustls::crypto::aws_lc_rs::{self, sign::any_supported_type};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::sign::CertifiedKey;
use rustls::{Error, RootCertStore};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{ASN1Time, CertificateRevocationList, FromDer as _, X509Certificate, X509Name};

use super::leaf::Refusal;

/// Bytes of a file of certificates: the bundle of a whole operating system has a few hundred KiB.
const FILE_BYTES: usize = 4 << 20;
/// Bytes of a file of lists of revoked certificates, some fifty for each of them.
const LIST_BYTES: usize = 32 << 20;
/// Words of a passphrase's work: as PKCS #8 says it, and as OpenSSL once did.
const ENCRYPTED: [&[u8]; 2] = [b"-----BEGIN ENCRYPTED PRIVATE KEY-----", b"Proc-Type: 4,ENCRYPTED"];

/// What a certificate says of itself.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Facts {
    /// The DNS names it is for, in lower case.
    pub(super) names: Vec<String>,
    /// Seconds since 1970 from which on it is valid.
    pub(super) not_before: i64,
    /// The last such second.
    pub(super) not_after: i64,
}

/// What a list of revoked certificates says of itself.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ListFacts {
    /// The name of whoever revokes, as it is encoded.
    pub(super) issuer: Vec<u8>,
    /// Seconds since 1970 by which there will be a later one.
    pub(super) next_update: Option<i64>,
}

/// The certificates of a file, in order; at least one.
pub(super) fn chain(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Refusal> {
    if pem.len() > FILE_BYTES {
        return Err(Refusal::new(format!("the file is larger than {} MiB", FILE_BYTES >> 20)));
    }
    let sections: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let chain = sections.map_err(|_| Refusal::new("the file is damaged: it is no PEM that can be read"))?;
    if chain.is_empty() {
        return Err(Refusal::new("the file holds no certificate").hint("certificates are read in PEM"));
    }
    for (index, certificate) in chain.iter().enumerate() {
        parse(certificate).ok_or_else(|| unreadable(index))?;
    }
    Ok(chain)
}

fn parse<'a>(certificate: &'a CertificateDer<'_>) -> Option<X509Certificate<'a>> {
    let (rest, parsed) = X509Certificate::from_der(certificate).ok()?;
    rest.is_empty().then_some(parsed)
}

fn unreadable(index: usize) -> Refusal {
    Refusal::new(format!("certificate {} of the file cannot be read", index + 1))
        .hint("it is PEM around something that is no X.509 certificate")
}

/// What a certificate says that [`chain`] has let pass.
pub(super) fn facts(certificate: &CertificateDer<'_>) -> Result<Facts, Refusal> {
    let parsed = parse(certificate).ok_or_else(|| unreadable(0))?;
    let alternatives = parsed.subject_alternative_name().ok().flatten();
    let names = alternatives.iter().flat_map(|extension| &extension.value.general_names);
    let validity = parsed.validity();
    Ok(Facts {
        names: names
            .filter_map(
                |name| if let GeneralName::DNSName(name) = name { Some(name.to_ascii_lowercase()) } else { None },
            )
            .collect(),
        not_before: validity.not_before.timestamp(),
        not_after: validity.not_after.timestamp(),
    })
}

/// The lists of revoked certificates of a file, in order; at least one.
pub(super) fn revocations(pem: &[u8]) -> Result<Vec<CertificateRevocationListDer<'static>>, Refusal> {
    if pem.len() > LIST_BYTES {
        return Err(Refusal::new(format!("the file is larger than {} MiB", LIST_BYTES >> 20)));
    }
    let sections: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(pem).collect();
    let lists = sections.map_err(|_| Refusal::new("the file is damaged: it is no PEM that can be read"))?;
    if lists.is_empty() {
        return Err(Refusal::new("the file holds no list of revoked certificates")
            .hint("lists are read in PEM: `openssl crl -inform DER -in LIST` makes it of another form"));
    }
    Ok(lists)
}

/// What list `index` of a file says of itself, if TLS can use it for certificates of `roots`.
pub(super) fn list_facts(
    index: usize,
    list: &CertificateRevocationListDer<'static>,
    roots: &Arc<RootCertStore>,
) -> Result<ListFacts, Refusal> {
    let refused = |why: String| Refusal::new(format!("list {} of the file cannot be used", index + 1)).hint(why);
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::clone(roots), provider);
    verifier.with_crls([list.clone()]).build().map_err(|why| refused(why.to_string()))?;
    let (_, parsed) =
        CertificateRevocationList::from_der(list).map_err(|_| refused("it is no X.509 list".to_owned()))?;
    Ok(ListFacts {
        issuer: parsed.issuer().as_raw().to_vec(),
        next_update: parsed.next_update().map(|time| time.timestamp()),
    })
}

/// A name of a certificate for a message.
pub(super) fn name(subject: &[u8]) -> String {
    X509Name::from_der(subject).map_or_else(|_| "somebody".to_owned(), |(_, name)| name.to_string())
}

/// A day and a time for a message.
pub(super) fn day(unix_s: i64) -> String {
    let Ok(time) = ASN1Time::from_timestamp(unix_s) else { return "an unknown day".to_owned() };
    let time = time.to_datetime();
    let (month, day) = (u8::from(time.month()), time.day());
    format!("{}-{month:02}-{day:02} {:02}:{:02} UTC", time.year(), time.hour(), time.minute())
}

/// The one private key of a file.
pub(super) fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, Refusal> {
    if pem.len() > FILE_BYTES {
        return Err(Refusal::new(format!("the file is larger than {} MiB", FILE_BYTES >> 20)));
    }
    let is_encrypted = |mark: &&[u8]| memchr::memmem::find(pem, mark).is_some();
    if ENCRYPTED.iter().any(is_encrypted) {
        return Err(Refusal::new("the private key is encrypted")
            .hint("nobody is there to type its passphrase: `openssl pkey -in KEY -out PLAIN` takes it off"));
    }
    // The library's words may quote what they did not like.
    let sections: Result<Vec<_>, _> = PrivateKeyDer::pem_slice_iter(pem).collect();
    let mut keys = sections.map_err(|_| Refusal::new("the file is damaged: it is no PEM that can be read"))?;
    match (keys.pop(), keys.len()) {
        (Some(key), 0) => Ok(key),
        (Some(_), others) => Err(Refusal::new(format!("the file holds {} private keys", others + 1))
            .hint("which one is meant? keep one in a file")),
        (None, _) => Err(Refusal::new("the file holds no private key")
            .hint("keys are read in PEM: PKCS #8 (`BEGIN PRIVATE KEY`), PKCS #1 (`BEGIN RSA PRIVATE KEY`) or SEC1 (`BEGIN EC PRIVATE KEY`)")),
    }
}

/// A chain and the key of its first certificate.
pub(super) fn pair(chain: Vec<CertificateDer<'static>>, key: &PrivateKeyDer<'_>) -> Result<CertifiedKey, Refusal> {
    let signing = any_supported_type(key).map_err(|_| {
        Refusal::new("the private key is of a kind that is not supported")
            .hint("RSA of 2048 to 8192 bits, ECDSA on P-256, P-384 or P-521, and Ed25519 are")
    })?;
    let mut certified = CertifiedKey::new(chain, signing);
    match certified.keys_match() {
        Ok(()) => Ok(certified),
        Err(Error::InconsistentKeys(_)) => {
            let mut further = 1..certified.cert.len();
            let rightful = further.find(|_| {
                certified.cert.rotate_left(1);
                certified.keys_match().is_ok()
            });
            Err(mismatch(rightful))
        }
        Err(why) => Err(Refusal::new("the certificate cannot be used").hint(why.to_string())),
    }
}

fn mismatch(rightful: Option<usize>) -> Refusal {
    let refusal = Refusal::new("the private key does not belong to the certificate");
    match rightful {
        Some(index) => refusal.hint(format!(
            "it belongs to certificate {} of that file: the gateway's own comes first, behind it those that sign it",
            index + 1
        )),
        None => refusal,
    }
}

/// Everybody that the certificates of a file stand for, as those who sign others.
pub(super) fn authorities(pem: &[u8]) -> Result<RootCertStore, Refusal> {
    let mut roots = RootCertStore::empty();
    for (index, certificate) in chain(pem)?.into_iter().enumerate() {
        roots.add(certificate).map_err(|_| unreadable(index))?;
    }
    Ok(roots)
}
