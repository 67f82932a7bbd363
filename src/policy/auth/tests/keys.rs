//! Keys from files and sets of keys.

use x509_parser::prelude::FromDer as _;
use x509_parser::public_key::RSAPublicKey;

use super::*;

fn parse(json: &str) -> Result<Jwks, JwksError> {
    Jwks::parse(json.as_bytes(), Origin::Issuer)
}

fn ed25519_jwk(more: &str) -> String {
    format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{}"{more}}}"#, BASE64URL_NOPAD.encode(ED25519.public_key().as_ref()))
}

#[test]
fn public_keys_are_read_from_pem_and_from_certificates() {
    for family in [Family::Rsa, Family::P256, Family::P384, Family::Ed25519] {
        let algorithm = Algorithm::ALL.into_iter().find(|one| one.family() == family).unwrap();
        let key = &keys_of_pem(pem(family).as_bytes()).unwrap()[0];
        assert!(key.verifies(algorithm, b"m", &sign(algorithm, b"m")), "{family:?}");
        assert!(!key.verifies(algorithm, b"n", &sign(algorithm, b"m")), "{family:?}");
    }
    let pair = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["a.example".into()]).unwrap().self_signed(&pair).unwrap();
    let of_certificate = keys_of_pem(certificate.pem().as_bytes()).unwrap();
    let of_key = keys_of_pem(pair.public_key_pem().as_bytes()).unwrap();
    assert!(KeySet::new(of_certificate) == KeySet::new(of_key));
    assert_eq!(keys_of_pem((pem(Family::Rsa) + &pem(Family::P256)).as_bytes()).unwrap().len(), 2);
}

#[test]
fn files_that_hold_no_public_key_say_what_they_hold() {
    let pair = rcgen::KeyPair::generate().unwrap();
    let error = |pem: &str| keys_of_pem(pem.as_bytes()).unwrap_err();
    assert_eq!(error(&pair.serialize_pem()), KeyError::Private);
    assert_eq!(error(""), KeyError::Absent);
    assert_eq!(error("<!DOCTYPE html><html></html>"), KeyError::Absent);
    assert_eq!(error(&armour("PUBLIC KEY", b"junk")), KeyError::Damaged);
    assert_eq!(error(&armour("X509 CRL", b"junk")), KeyError::KindUnknown);
    assert_eq!(error("-----BEGIN PUBLIC KEY-----\nAAAA\n"), KeyError::Damaged);
    let small = RsaPair::generate(KeySize::Rsa2048).unwrap();
    let der = small.public_key().as_der().unwrap();
    assert!(keys_of_pem(armour("PUBLIC KEY", der.as_ref()).as_bytes()).is_ok());
    assert_eq!(Key::rsa(&[0xff; 128], &[1, 0, 1]).unwrap_err(), KeyError::RsaSize);
    assert_eq!(Key::rsa(&[0xff; 1025], &[1, 0, 1]).unwrap_err(), KeyError::RsaSize);
    assert_eq!(Key::rsa(&[], &[]).unwrap_err(), KeyError::RsaSize);
    assert_eq!(Key::on_curve(Family::P256, &[4; 65]).unwrap_err(), KeyError::Damaged);
    assert_eq!(Key::on_curve(Family::P256, &[]).unwrap_err(), KeyError::Damaged);
}

/// RFC 7518 section 3.2.
#[test]
fn a_secret_is_for_the_algorithms_it_is_long_enough_for() {
    assert_eq!(Key::secret(&[0; 31]).unwrap_err(), KeyError::SecretShort);
    for (length, for_384, for_512) in [(32, false, false), (47, false, false), (48, true, false), (64, true, true)] {
        let key = Key::secret(&vec![0; length]).unwrap();
        let is_for = |algorithm| key.is_for(algorithm);
        assert_eq!(
            (is_for(Algorithm::Hs256), is_for(Algorithm::Hs384), is_for(Algorithm::Hs512)),
            (true, for_384, for_512)
        );
    }
}

#[test]
fn keys_of_a_set_that_do_not_sign_are_passed_over() {
    for other in [
        ed25519_jwk(r#","use":"enc""#),
        ed25519_jwk(r#","key_ops":["sign"]"#),
        ed25519_jwk(r#","alg":"RS256""#),
        ed25519_jwk(r#","alg":"RSA-OAEP""#),
        ed25519_jwk(r#","kid":5"#),
        r#"{"kty":"OKP","crv":"X25519","x":"AA"}"#.to_owned(),
        r#"{"kty":"EC","crv":"secp256k1","x":"AA","y":"AA"}"#.to_owned(),
        r#"{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}"#.to_owned(),
        r#"{"kty":"RSA","n":"AQAB","e":"AQAB"}"#.to_owned(),
        r#"{"kty":"RSA"}"#.to_owned(),
        r#"{"kty":"new"}"#.to_owned(),
        format!(r#"{{"kty":"oct","k":"{}"}}"#, BASE64URL_NOPAD.encode(&SECRET)),
        "{}".to_owned(),
        "7".to_owned(),
        "null".to_owned(),
    ] {
        let good = ed25519_jwk(r#","kid":"k","use":"sig","key_ops":["verify"],"alg":"EdDSA","x5t":"x""#);
        let read = parse(&format!(r#"{{"keys":[{other},{good}],"more":1}}"#)).unwrap();
        assert_eq!((read.keys.keys().len(), read.skipped), (1, 1), "{other}");
        assert_eq!(read.keys.keys()[0].kid(), Some("k"));
        assert!(matches!(parse(&format!(r#"{{"keys":[{other}]}}"#)), Err(JwksError::NoneUsable(1, _))), "{other}");
    }
}

#[test]
fn the_algorithm_of_a_key_in_a_set_is_its_only_one() {
    let der = RSA.public_key().as_ref();
    let n = RSAPublicKey::from_der(der).unwrap().1.modulus.to_vec();
    let jwk = format!(r#"{{"keys":[{{"kty":"RSA","n":"{}","e":"AQAB","alg":"PS256"}}]}}"#, BASE64URL_NOPAD.encode(&n));
    let keys = parse(&jwk).unwrap().keys;
    assert!(keys.is_for(Algorithm::Ps256) && !keys.is_for(Algorithm::Rs256));
    let verifier = Verifier::new(open(), keys);
    let verdict = |algorithm| verifier.verify(token(algorithm, &good()).as_bytes(), NOW).map(|passed| passed.until_s);
    assert_eq!((verdict(Algorithm::Ps256), verdict(Algorithm::Rs256)), (Ok(NOW + 60), Err(Refusal::KeyUnfit)));
}

#[test]
fn what_is_no_set_of_keys_says_what_it_is() {
    assert_eq!(parse("<!DOCTYPE html>").unwrap_err(), JwksError::Html);
    assert_eq!(parse("  \n<html>").unwrap_err(), JwksError::Html);
    for other in ["", "[]", "{}", r#"{"keys":{}}"#, r#"{"keys":null}"#, "\0", r#"{"keys":[]"#] {
        assert_eq!(parse(other).unwrap_err(), JwksError::NotJwks, "{other}");
    }
    assert_eq!(parse(r#"{"keys":[]}"#).unwrap_err(), JwksError::NoneUsable(0, None));
    assert_eq!(parse(&format!(r#"{{"keys":[{}7]}}"#, "7,".repeat(300))).unwrap_err(), JwksError::TooMany);
    assert_eq!(parse(&" ".repeat(2 << 20)).unwrap_err(), JwksError::TooLong);
}

#[test]
fn no_key_shows_itself() {
    let secret = b"canary-canary-canary-canary-canary-canary";
    let key = Key::secret(secret).unwrap();
    let verifier = Verifier::new(open(), KeySet::new(vec![key.clone()]));
    for text in [format!("{key:?}"), format!("{verifier:?}"), format!("{:#?}", verifier.keys())] {
        assert!(!text.contains("canary") && !text.contains("99, 97, 110, 97"), "{text}");
    }
}

#[test]
fn a_stamp_is_another_as_soon_as_a_rule_or_a_key_is() {
    let with = |rules: Rules, keys: Vec<Key>| Verifier::new(rules, KeySet::new(keys)).stamp();
    let secret = |byte: u8| Key::secret(&[byte; 64]).unwrap();
    let first = with(open(), vec![secret(1), secret(2)]);
    assert_eq!(first, with(open(), vec![secret(1), secret(2)]));
    for other in [
        with(open(), vec![secret(1)]),
        with(open(), vec![secret(1), secret(3)]),
        with(open(), vec![secret(1), secret(2).with_kid("a")]),
        with(open(), vec![secret(1), secret(2).only_for(Algorithm::Hs256).unwrap()]),
        with(Rules { issuer: Some("a".into()), ..open() }, vec![secret(1), secret(2)]),
        with(Rules { leeway_s: 1, ..open() }, vec![secret(1), secret(2)]),
        with(Rules { scopes: boxes(&["a"]), ..open() }, vec![secret(1), secret(2)]),
    ] {
        assert_ne!(first, other);
    }
}
