//! Properties of what clients prove who they are by, and of the files and pages that keys are read from.

use aws_lc_rs::hmac;
use data_encoding::{BASE64, BASE64URL_NOPAD};
use ringgate::policy::auth::{
    Algorithm, Jwks, Key, KeyBook, KeySet, Login, Origin, Rules, Token, UserBook, Verifier, basic, keys_of_pem,
};

const SECRET: [u8; 32] = [7; 32];
const NOW_S: u64 = 1_700_000_000;

fn verifier() -> Verifier {
    let rules = Rules {
        algorithms: Algorithm::ALL.to_vec(),
        forward: vec![("sub".into(), "x-user".into())],
        keep: vec!["role".into()],
        ..Rules::default()
    };
    Verifier::new(rules, KeySet::new(vec![Key::secret(&SECRET).expect("long enough")]))
}

/// A token has one spelling, passes only if it is signed, and a claim never becomes more than one line: once for the input as
/// a token, and once as the payload of one that is well signed.
pub fn token(input: &[u8]) {
    let verifier = verifier();
    if let Ok(token) = Token::parse(input) {
        let parts: Vec<&[u8]> = input.split(|&byte| byte == b'.').collect();
        assert_eq!(parts.len(), 3);
        assert_eq!(BASE64URL_NOPAD.encode(token.payload()).as_bytes(), parts[1]);
        assert_eq!(BASE64URL_NOPAD.encode(token.signature()).as_bytes(), parts[2]);
        assert_eq!(token.signed(), parts[0].len() + 1 + parts[1].len());
        let key = hmac::Key::new(hmac::HMAC_SHA256, &SECRET);
        let is_signed = hmac::verify(&key, &input[..token.signed()], token.signature()).is_ok();
        assert!(is_signed || verifier.verify(input, NOW_S).is_err(), "it passes unsigned");
    } else {
        assert!(verifier.verify(input, NOW_S).is_err(), "it passes without a form");
    }
    let message = format!("eyJhbGciOiJIUzI1NiJ9.{}", BASE64URL_NOPAD.encode(input));
    let mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &SECRET), message.as_bytes());
    let whole = format!("{message}.{}", BASE64URL_NOPAD.encode(mac.as_ref()));
    if let Ok(passed) = verifier.verify(whole.as_bytes(), NOW_S) {
        assert!(passed.until_s > NOW_S, "it has ended");
        let lines = passed.identity.lines();
        if let Some(line) = lines.strip_suffix(b"\r\n") {
            assert!(line.starts_with(b"x-user: "));
            assert!(!line.iter().any(|&byte| byte < b' ' && byte != b'\t' || byte == 0x7f), "it breaks its line");
        }
        assert!(lines.is_empty() || passed.identity.claim("sub").is_some());
    }
}

/// Whatever keys are read from, there is a set of them or a reason, and secrets come from files alone.
pub fn key_set(input: &[u8]) {
    let local = Jwks::parse(input, Origin::Local);
    match Jwks::parse(input, Origin::Issuer) {
        Ok(jwks) => {
            assert!(!jwks.keys.is_empty());
            let macs = [Algorithm::Hs256, Algorithm::Hs384, Algorithm::Hs512];
            assert!(!macs.iter().any(|mac| jwks.keys.is_for(*mac)), "a secret that everybody can read");
            assert!(local.is_ok_and(|local| local.skipped <= jwks.skipped));
        }
        Err(why) => assert!(!why.to_string().is_empty()),
    }
    assert!(keys_of_pem(input).is_ok_and(|keys| !keys.is_empty()) || keys_of_pem(input).is_err());
    if let Ok(yaml) = std::str::from_utf8(input)
        && let Ok(book) = KeyBook::parse(yaml)
    {
        assert!(!book.names().is_empty());
        assert_eq!(book.find(input), None, "the file is no key");
    }
}

/// Credentials are a name and a password in one spelling, and a file of users is one or is refused without a word of it.
pub fn login(input: &[u8]) {
    for credentials in [Some(input), basic(input)].into_iter().flatten() {
        if let Ok(login) = Login::parse(credentials) {
            let text = [login.name(), b":", login.password()].concat();
            assert_eq!(BASE64.encode(&text).as_bytes(), credentials);
            assert!(!login.name().contains(&b':') && !text.iter().any(u8::is_ascii_control));
        }
    }
    let encoded = BASE64.encode(input);
    if let Ok(login) = Login::parse(encoded.as_bytes()) {
        assert!(input.starts_with(login.name()) && input.ends_with(login.password()));
        assert_eq!(input.len(), login.name().len() + 1 + login.password().len());
        assert_eq!(UserBook::default().find(&login), None);
    }
    let Ok(text) = std::str::from_utf8(input) else { return };
    match UserBook::parse(text) {
        Ok(book) => assert!(book.names().is_sorted() && book.names().all(|name| text.contains(name))),
        Err(error) => assert!(error.line.is_none_or(|line| (1..=text.lines().count()).contains(&line))),
    }
}
