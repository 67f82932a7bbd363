//! What the certificate of a client says of it, as values of fields.

/// What a verified certificate says of the client that showed it, as printable ASCII; a text is empty when there is
/// nothing to say.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ClientCertificate {
    /// The distinguished name (RFC 4514).
    pub subject: Vec<u8>,
    /// The alternative names, `DNS:a.example,URI:spiffe://a/b`.
    pub names: Vec<u8>,
    /// The serial number in hexadecimal, upper case.
    pub serial: Vec<u8>,
    /// SHA-256 of the certificate in hexadecimal, lower case.
    pub fingerprint: Vec<u8>,
}

/// A part of a [`ClientCertificate`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Variable {
    Subject,
    Names,
    Serial,
    Fingerprint,
}

/// How a variable begins.
const OPEN: &str = "{client_cert.";
/// Its names and what they stand for.
const VARIABLES: [(&str, Variable); 4] = [
    ("subject", Variable::Subject),
    ("san", Variable::Names),
    ("serial", Variable::Serial),
    ("fingerprint", Variable::Fingerprint),
];

impl Variable {
    fn of(self, certificate: &ClientCertificate) -> &[u8] {
        match self {
            Self::Subject => &certificate.subject,
            Self::Names => &certificate.names,
            Self::Serial => &certificate.serial,
            Self::Fingerprint => &certificate.fingerprint,
        }
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Part {
    Text(Box<[u8]>),
    Variable(Variable),
}

/// A value with variables in it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CertificateTemplate(Vec<Part>);

/// What follows `{client_cert.` is none of `subject`, `san`, `serial` and `fingerprint` with a brace behind it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UnknownVariable;

impl CertificateTemplate {
    /// The template that `value` is; `None` when there is no variable in it. Other braces are text.
    ///
    /// # Errors
    /// A variable that there is not.
    pub fn parse(value: &str) -> Result<Option<Self>, UnknownVariable> {
        let mut parts = Vec::new();
        let mut rest = value;
        while let Some((text, behind)) = rest.split_once(OPEN) {
            let (name, behind) = behind.split_once('}').ok_or(UnknownVariable)?;
            let (_, variable) = VARIABLES.iter().find(|(known, _)| *known == name).ok_or(UnknownVariable)?;
            if !text.is_empty() {
                parts.push(Part::Text(text.as_bytes().into()));
            }
            parts.push(Part::Variable(*variable));
            rest = behind;
        }
        if parts.is_empty() {
            return Ok(None);
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.as_bytes().into()));
        }
        Ok(Some(Self(parts)))
    }

    /// Appends the value; false, and nothing is appended, when one of its variables has nothing to say.
    pub(super) fn push(&self, out: &mut Vec<u8>, certificate: &ClientCertificate) -> bool {
        let is_there = |part: &Part| !matches!(part, Part::Variable(variable) if variable.of(certificate).is_empty());
        if !self.0.iter().all(is_there) {
            return false;
        }
        for part in &self.0 {
            out.extend_from_slice(match part {
                Part::Text(text) => text,
                Part::Variable(variable) => variable.of(certificate),
            });
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate() -> ClientCertificate {
        let text = |text: &str| text.as_bytes().to_vec();
        ClientCertificate { subject: text("CN=a"), names: text(""), serial: text("0A"), fingerprint: text("ff") }
    }

    fn filled(value: &str) -> Option<String> {
        let mut out = b"x".to_vec();
        let template = CertificateTemplate::parse(value).expect("known variables").expect("variables");
        let is_filled = template.push(&mut out, &certificate());
        let text = String::from_utf8(out.split_off(1)).expect("text");
        assert!(is_filled || text.is_empty());
        is_filled.then_some(text)
    }

    #[test]
    fn variables_are_filled_in_and_what_is_missing_leaves_the_whole_value_out() {
        assert_eq!(filled("{client_cert.subject}").as_deref(), Some("CN=a"));
        assert_eq!(
            filled("Hash={client_cert.fingerprint};Subject=\"{client_cert.subject}\"").as_deref(),
            Some("Hash=ff;Subject=\"CN=a\"")
        );
        assert_eq!(filled("{client_cert.serial}{client_cert.serial}").as_deref(), Some("0A0A"));
        assert_eq!(filled("{client_cert.subject} {client_cert.san}"), None);
    }

    #[test]
    fn other_braces_are_text_and_unknown_variables_are_errors() {
        for value in ["", "1", "{a}", "{\"client_cert\": 1}", "{client_cert"] {
            assert_eq!(CertificateTemplate::parse(value), Ok(None), "{value}");
        }
        for value in
            ["{client_cert.}", "{client_cert.name}", "{client_cert.subject", "{client_cert.subject}{client_cert."]
        {
            assert_eq!(CertificateTemplate::parse(value), Err(UnknownVariable), "{value}");
        }
    }
}
