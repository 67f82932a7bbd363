//! What a client's certificate, which was verified, says of it, as text for fields and logs.

use std::fmt::Write as _;

use rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;
use rustls::pki_types::CertificateDer;
use x509_parser::asn1_rs::ToDer as _;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{AttributeTypeAndValue, FromDer as _, X509Certificate, X509Name};

use crate::http1::ClientCertificate;
use crate::limits;

/// Types of attributes that have a name: those of RFC 4514 section 3, and two that everybody knows.
const NAMES: [(&str, &str); 11] = [
    ("2.5.4.3", "CN"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.6", "C"),
    ("2.5.4.9", "STREET"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("0.9.2342.19200300.100.1.1", "UID"),
    ("1.2.840.113549.1.9.1", "emailAddress"),
    ("2.5.4.5", "serialNumber"),
];

/// What `certificate` says; `None` when it cannot be read.
pub(super) fn describe(certificate: &CertificateDer<'_>) -> Option<ClientCertificate> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let suite = TLS13_AES_128_GCM_SHA256.tls13()?;
    let digest = suite.common.hash_provider.hash(certificate);
    let serial = parsed.raw_serial();
    // A leading zero only keeps the number from being negative (X.690 section 8.3.3).
    let serial = if serial.len() > 1 { serial.strip_prefix(&[0]).unwrap_or(serial) } else { serial };
    Some(ClientCertificate {
        subject: bounded(subject(parsed.subject())),
        names: bounded(alternatives(&parsed)),
        serial: bounded(hex(serial).to_ascii_uppercase()),
        fingerprint: bounded(hex(digest.as_ref())),
    })
}

/// Half a name would be another's: one that is too long is none.
fn bounded(text: String) -> Vec<u8> {
    if text.len() > limits::CERTIFICATE_TEXT_BYTES { Vec::new() } else { text.into_bytes() }
}

/// A distinguished name as RFC 4514 writes it: the last part first.
fn subject(name: &X509Name<'_>) -> String {
    let mut text = String::new();
    let parts: Vec<_> = name.iter_rdn().collect();
    for part in parts.into_iter().rev() {
        if !text.is_empty() {
            text.push(',');
        }
        for (index, attribute) in part.iter().enumerate() {
            if index > 0 {
                text.push('+');
            }
            push_attribute(&mut text, attribute);
        }
    }
    text
}

/// RFC 4514 sections 2.3 and 2.4.
fn push_attribute(text: &mut String, attribute: &AttributeTypeAndValue<'_>) {
    let kind = attribute.attr_type().to_id_string();
    let known = NAMES.iter().find(|(id, _)| *id == kind).map(|(_, name)| *name);
    text.push_str(known.unwrap_or(&kind));
    text.push('=');
    match (known, attribute.as_str()) {
        (Some(_), Ok(value)) => push_value(text, value),
        // Of a type or in an alphabet that is not known here: as it is in the certificate.
        _ => {
            let encoded = attribute.attr_value().to_der_vec().unwrap_or_default();
            text.push('#');
            text.push_str(&hex(&encoded));
        }
    }
}

fn push_value(text: &mut String, value: &str) {
    let last = value.len().saturating_sub(1);
    for (at, byte) in value.bytes().enumerate() {
        let is_special = matches!(byte, b'"' | b'+' | b',' | b';' | b'<' | b'>' | b'\\')
            || at == 0 && matches!(byte, b' ' | b'#')
            || at == last && byte == b' ';
        push_byte(text, byte, is_special);
    }
}

/// The alternative names, with a comma between them and none unescaped within them.
fn alternatives(parsed: &X509Certificate<'_>) -> String {
    let extension = parsed.subject_alternative_name().ok().flatten();
    let mut text = String::new();
    for name in extension.iter().flat_map(|extension| &extension.value.general_names) {
        let (kind, value) = match name {
            GeneralName::DNSName(name) => ("DNS", (*name).to_owned()),
            GeneralName::URI(uri) => ("URI", (*uri).to_owned()),
            GeneralName::RFC822Name(name) => ("email", (*name).to_owned()),
            GeneralName::IPAddress(bytes) => match address(bytes) {
                Some(ip) => ("IP", ip),
                None => continue,
            },
            GeneralName::OtherName(..)
            | GeneralName::X400Address(_)
            | GeneralName::DirectoryName(_)
            | GeneralName::EDIPartyName(_)
            | GeneralName::RegisteredID(_)
            | GeneralName::Invalid(..) => continue,
        };
        let _ = write!(text, "{}{kind}:", if text.is_empty() { "" } else { "," });
        for byte in value.bytes() {
            push_byte(&mut text, byte, matches!(byte, b',' | b'\\'));
        }
    }
    text
}

fn address(bytes: &[u8]) -> Option<String> {
    if let Ok(ip) = <[u8; 4]>::try_from(bytes) {
        return Some(std::net::Ipv4Addr::from(ip).to_string());
    }
    <[u8; 16]>::try_from(bytes).ok().map(|ip| std::net::Ipv6Addr::from(ip).to_string())
}

/// A byte as it is, behind a backslash, or as the two digits of RFC 4514 section 2.4 where it is not printable ASCII.
fn push_byte(text: &mut String, byte: u8, is_special: bool) {
    if !(b' '..=b'~').contains(&byte) {
        let _ = write!(text, "\\{byte:02X}");
        return;
    }
    if is_special {
        text.push('\\');
    }
    text.push(char::from(byte));
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, DnValue, KeyPair, SanType};

    use super::*;

    fn described(change: impl FnOnce(&mut CertificateParams)) -> ClientCertificate {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        change(&mut params);
        let certificate = params.self_signed(&KeyPair::generate().expect("a key")).expect("a certificate");
        describe(certificate.der()).expect("a certificate that can be read")
    }

    fn text(bytes: &[u8]) -> &str {
        std::str::from_utf8(bytes).expect("text")
    }

    /// RFC 4514 section 4 has the like for examples.
    #[test]
    fn a_subject_is_written_last_part_first_and_escaped() {
        let named = |parts: &[(DnType, &str)]| {
            described(|params| {
                for (kind, value) in parts {
                    params.distinguished_name.push(kind.clone(), DnValue::Utf8String((*value).to_owned()));
                }
            })
            .subject
        };
        assert_eq!(text(&named(&[])), "");
        let parts = [(DnType::CountryName, "DE"), (DnType::OrganizationName, "Acme"), (DnType::CommonName, "a b")];
        assert_eq!(text(&named(&parts)), "CN=a b,O=Acme,C=DE");
        let escaped = r#"CN=\ a\, b\+\"\\\<\>\;=#\ "#;
        assert_eq!(text(&named(&[(DnType::CommonName, " a, b+\"\\<>;=# ")])), escaped);
        assert_eq!(text(&named(&[(DnType::CommonName, "#a")])), "CN=\\#a");
        assert_eq!(text(&named(&[(DnType::CommonName, "L\u{fc}\r\n\0x")])), "CN=L\\C3\\BC\\0D\\0A\\00x");
        assert_eq!(text(&named(&[(DnType::CommonName, " ")])), "CN=\\ ");
        let custom = DnType::CustomDnType(vec![1, 3, 6, 1, 4, 1, 1466, 0]);
        assert_eq!(text(&named(&[(custom, "Hi")])), "1.3.6.1.4.1.1466.0=#0c024869");
        assert_eq!(named(&[(DnType::CommonName, &"x".repeat(3000))]), b"", "half of it would be another's");
    }

    #[test]
    fn alternative_names_serial_and_fingerprint_are_told() {
        let certificate = described(|params| {
            let ia5 = |text: &str| text.try_into().expect("ASCII");
            params.serial_number = Some(vec![0x8f, 0, 0x0a].into());
            params.subject_alt_names = vec![
                SanType::DnsName(ia5("a.example")),
                SanType::URI(ia5("spiffe://a/b,c")),
                SanType::IpAddress("192.0.2.1".parse().expect("an address")),
                SanType::IpAddress("2001:db8::1".parse().expect("an address")),
                SanType::Rfc822Name(ia5("a@a.example")),
            ];
        });
        let names = "DNS:a.example,URI:spiffe://a/b\\,c,IP:192.0.2.1,IP:2001:db8::1,email:a@a.example";
        assert_eq!(text(&certificate.names), names);
        assert_eq!(text(&certificate.serial), "8F000A");
        assert_eq!(certificate.fingerprint.len(), 64);
        assert!(certificate.fingerprint.iter().all(|byte| b"0123456789abcdef".contains(byte)));
    }

    /// SHA-256 of no bytes at all is known to everybody; here of a certificate, by the other library in reach.
    #[test]
    fn nothing_that_is_no_certificate_is_described() {
        for bytes in [&b""[..], b"0", b"\x30\x03\x02\x01\x01"] {
            assert_eq!(describe(&CertificateDer::from(bytes.to_vec())), None, "{bytes:?}");
        }
    }
}
