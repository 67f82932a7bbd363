//! Certificates for tests, made afresh in every run: no key lies in the repository.

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyIdMethod, KeyPair, RevokedCertParams, date_time_ymd,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// Whoever signs certificates.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// A certificate and its key, in PEM.
#[derive(Clone, Debug)]
pub(crate) struct Pair {
    pub(crate) cert: String,
    pub(crate) key: String,
}

impl Authority {
    /// An authority that calls itself so.
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("a certificate").pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// Its own certificate, in PEM.
    pub(crate) fn pem(&self) -> &str {
        &self.pem
    }

    /// A list, in PEM, of these certificates, which it takes back.
    pub(crate) fn revokes(&self, pairs: &[&Pair]) -> String {
        self.revokes_until(3000, pairs)
    }

    /// The same, to be renewed by the beginning of this year.
    pub(crate) fn revokes_until(&self, year: i32, pairs: &[&Pair]) -> String {
        let revoked = pairs.iter().map(|pair| RevokedCertParams {
            serial_number: pair.serial().into(),
            revocation_time: date_time_ymd(2001, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2001, 1, 1),
            next_update: date_time_ymd(year, 1, 1),
            crl_number: 1.into(),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.issuer).expect("a list").pem().expect("PEM")
    }

    /// A certificate for these names and addresses, of servers and clients alike.
    pub(crate) fn certifies(&self, names: &[&str]) -> Pair {
        self.certifies_as(names, |_| {})
    }

    /// The same with something different about it.
    pub(crate) fn certifies_as(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Pair {
        self.certifies_key(names, KeyPair::generate().expect("a key"), change)
    }

    /// The same with a given key.
    pub(crate) fn certifies_key(
        &self,
        names: &[&str],
        key: KeyPair,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Pair {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("names");
        params.distinguished_name.push(DnType::CommonName, "ringgate test");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        change(&mut params);
        let cert = params.signed_by(&key, &self.issuer).expect("a certificate").pem();
        Pair { cert, key: key.serialize_pem() }
    }
}

impl Pair {
    /// The certificate as it goes over the wire.
    pub(crate) fn chain(&self) -> Vec<CertificateDer<'static>> {
        let certificates = CertificateDer::pem_slice_iter(self.cert.as_bytes());
        certificates.collect::<Result<_, _>>().expect("certificates in PEM")
    }

    /// The number that its authority gave to the certificate.
    fn serial(&self) -> Vec<u8> {
        let chain = self.chain();
        let (_, certificate) = X509Certificate::from_der(&chain[0]).expect("a certificate");
        certificate.raw_serial().to_vec()
    }

    /// The key as TLS reads it.
    pub(crate) fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::from_pem_slice(self.key.as_bytes()).expect("a key in PEM")
    }
}

/// The certificate that a file in PEM begins with.
pub(crate) fn first_in(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).expect("a certificate in PEM")
}
