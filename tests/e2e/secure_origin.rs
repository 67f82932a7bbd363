//! Origins that speak TLS, and those who vouch for them.

use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::folder::Folder;
use super::origin::Origin;

/// An authority whose certificate is in a file.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) file: PathBuf,
}

/// A certificate with its key.
pub(crate) type Identity = (CertificateDer<'static>, PrivateKeyDer<'static>);

impl Authority {
    /// A new one; its certificate is `name.pem` in `folder`.
    pub(crate) fn new(folder: &Folder, name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no name");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let key = KeyPair::generate().expect("entropy");
        let file = folder.write(&format!("{name}.pem"), params.self_signed(&key).expect("a key of its own").pem());
        Self { issuer: Issuer::new(params, key), file }
    }

    /// A certificate for `name`, changed as `change` says.
    pub(crate) fn certifies(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Identity {
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        change(&mut params);
        let key = KeyPair::generate().expect("entropy");
        let certificate = params.signed_by(&key, &self.issuer).expect("an issuer");
        (certificate.der().clone(), PrivatePkcs8KeyDer::from(key.serialize_der()).into())
    }
}

/// An origin that shows this certificate and answers each connection's first request with 200.
pub(crate) fn secure_origin((certificate, key): Identity) -> Origin {
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
    let config = config.with_safe_default_protocol_versions().expect("versions").with_no_client_auth();
    let config = Arc::new(config.with_single_cert(vec![certificate], key).expect("a key that fits"));
    Origin::serving(move |wire| {
        let connection = ServerConnection::new(Arc::clone(&config)).expect("a configuration that fits");
        let mut stream = StreamOwned::new(connection, wire.stream().try_clone().expect("an open socket"));
        let mut head = Vec::new();
        let mut byte = [0; 1];
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read(&mut byte) {
                Ok(1) => head.push(byte[0]),
                // A client that does not like the certificate, or speaks something else, leaves.
                Ok(_) | Err(_) => return,
            }
        }
        drop(stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"));
        stream.conn.send_close_notify();
        drop(stream.flush());
        // Closed with bytes unread it would be reset.
        drop(stream.read(&mut byte));
    })
}
