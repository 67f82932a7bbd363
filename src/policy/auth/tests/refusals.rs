//! What no token may be, each with its own reason.

use super::*;

fn refusal(rules: Rules, payload: &str) -> Refusal {
    let text = token(Algorithm::EdDsa, payload);
    verifier(rules, Family::Ed25519).verify(text.as_bytes(), NOW).expect_err("refused")
}

fn passes(rules: Rules, payload: &str) -> Identity {
    let text = token(Algorithm::EdDsa, payload);
    verifier(rules, Family::Ed25519).verify(text.as_bytes(), NOW).expect("passes").identity
}

#[test]
fn every_algorithm_passes_with_its_own_key_and_with_no_other() {
    for algorithm in Algorithm::ALL {
        let text = token(algorithm, &good());
        for family in FAMILIES {
            let verdict = verifier(open(), family).verify(text.as_bytes(), NOW).map(|passed| passed.until_s);
            let expected = if family == algorithm.family() { Ok(NOW + 60) } else { Err(Refusal::KeyUnfit) };
            assert_eq!(verdict, expected, "{algorithm:?} with a key of {family:?}");
        }
    }
}

/// The attack: the public key, which everybody knows, taken for the secret of an HMAC.
#[test]
fn a_public_key_is_no_secret() {
    for text_of_key in [pem(Family::Rsa), pem(Family::Rsa).trim_end().to_owned()] {
        let signed =
            format!("{}.{}", BASE64URL_NOPAD.encode(br#"{"alg":"HS256"}"#), BASE64URL_NOPAD.encode(good().as_bytes()));
        let mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, text_of_key.as_bytes()), signed.as_bytes());
        let text = format!("{signed}.{}", BASE64URL_NOPAD.encode(mac.as_ref()));
        assert_eq!(verifier(open(), Family::Rsa).verify(text.as_bytes(), NOW), Err(Refusal::KeyUnfit));
        let rules = Rules { algorithms: vec![Algorithm::Rs256], ..Rules::default() };
        assert_eq!(verifier(rules, Family::Rsa).verify(text.as_bytes(), NOW), Err(Refusal::AlgorithmRefused));
    }
}

#[test]
fn an_algorithm_that_the_policy_does_not_name_is_refused_though_the_key_could() {
    let text = token(Algorithm::Ps256, &good());
    let rules = Rules { algorithms: vec![Algorithm::Rs256], ..Rules::default() };
    assert_eq!(verifier(rules, Family::Rsa).verify(text.as_bytes(), NOW), Err(Refusal::AlgorithmRefused));
}

#[test]
fn headers_that_ask_for_what_there_is_not_are_refused() {
    for (header, refusal) in [
        (r#"{"alg":"none"}"#, Refusal::Unsigned),
        (r#"{"alg":"nOnE"}"#, Refusal::Unsigned),
        (r#"{"alg":""}"#, Refusal::AlgorithmUnknown),
        (r#"{"alg":"eddsa"}"#, Refusal::AlgorithmUnknown),
        (r#"{"alg":"ES256K"}"#, Refusal::AlgorithmUnknown),
        (r#"{"alg":"EdDSA","crit":["exp"],"exp":1}"#, Refusal::Critical),
        (r#"{"alg":"EdDSA","crit":null}"#, Refusal::Critical),
        (r#"{"alg":"EdDSA","b64":false,"crit":["b64"]}"#, Refusal::Critical),
        (r#"{"alg":"EdDSA","alg":"none"}"#, Refusal::Malformed),
        (r#"{"alg":"none","alg":"EdDSA"}"#, Refusal::Malformed),
        (r#"{"alg":["EdDSA"]}"#, Refusal::Malformed),
        (r#"{"alg":"EdDSA","kid":7}"#, Refusal::Malformed),
        (r#"{"typ":"JWT"}"#, Refusal::Malformed),
        (r#"["EdDSA"]"#, Refusal::Malformed),
        (r#"["EdDSA",null,null]"#, Refusal::Malformed),
        (r#"{"alg":"EdDSA"}x"#, Refusal::Malformed),
        (r#"{"alg":"EdDSA""#, Refusal::Malformed),
        ("\u{feff}{\"alg\":\"EdDSA\"}", Refusal::Malformed),
    ] {
        let text = token_of(Algorithm::EdDsa, header, &good());
        let verdict = verifier(open(), Family::Ed25519).verify(text.as_bytes(), NOW);
        assert_eq!(verdict.map(|passed| passed.until_s), Err(refusal), "{header}");
    }
}

#[test]
fn a_token_brings_no_key_of_its_own() {
    let header = format!(
        r#"{{"alg":"HS256","jwk":{{"kty":"oct","k":"{}"}},"jku":"https://evil.example/","x5u":"https://evil.example/"}}"#,
        BASE64URL_NOPAD.encode(&SECRET)
    );
    let text = token_of(Algorithm::Hs256, &header, &good());
    let other = Key::secret(&[8; 64]).unwrap();
    let verdict = Verifier::new(open(), KeySet::new(vec![other])).verify(text.as_bytes(), NOW);
    assert_eq!(verdict, Err(Refusal::SignatureWrong));
}

#[test]
fn every_damage_to_the_form_is_refused() {
    let whole = token(Algorithm::EdDsa, &good());
    let verifier = verifier(open(), Family::Ed25519);
    let parts: Vec<&str> = whole.split('.').collect();
    let (header, payload, signature) = (parts[0], parts[1], parts[2]);
    for text in [
        String::new(),
        ".".to_owned(),
        "..".to_owned(),
        "...".to_owned(),
        format!("{header}.{payload}"),
        format!("{header}.{payload}."),
        format!("{header}..{signature}"),
        format!(".{payload}.{signature}"),
        format!("{whole}."),
        format!("{whole}.{signature}"),
        format!("{header}.{payload}.{signature}.{header}.{payload}"),
        format!("{whole}="),
        format!("{header}=.{payload}.{signature}"),
        format!(" {whole}"),
        format!("{whole} "),
        format!("{header}\n.{payload}.{signature}"),
        format!("\0{whole}"),
        format!("{}\0{}", &whole[..20], &whole[20..]),
        whole.replace(['-', '_'], "+"),
        format!("{whole}\u{e9}"),
        format!("{{\"protected\":\"{header}\",\"payload\":\"{payload}\",\"signature\":\"{signature}\"}}"),
    ] {
        if text != whole {
            let verdict = verifier.verify(text.as_bytes(), NOW);
            assert_eq!(verdict.map(|passed| passed.until_s), Err(Refusal::Malformed), "{text:?}");
        }
    }
    assert_eq!(verifier.verify(&[0xff; 40], NOW), Err(Refusal::Malformed));
    assert_eq!(verifier.verify(&vec![b'.'; 100 << 10], NOW), Err(Refusal::TooLong));
    assert_eq!(verifier.verify("a".repeat(100 << 10).as_bytes(), NOW), Err(Refusal::TooLong));
}

/// Of each part there is one spelling: 64 bytes of a signature leave four bits of the last letter unused.
#[test]
fn another_spelling_of_the_same_bytes_is_refused() {
    let whole = token(Algorithm::EdDsa, &good());
    let verifier = verifier(open(), Family::Ed25519);
    let last = whole.as_bytes()[whole.len() - 1];
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let passing = alphabet.iter().filter(|letter| {
        let text = [&whole.as_bytes()[..whole.len() - 1], &[**letter]].concat();
        verifier.verify(&text, NOW).is_ok()
    });
    assert_eq!(passing.copied().collect::<Vec<_>>(), [last]);
}

#[test]
fn no_byte_of_a_token_can_be_another() {
    for algorithm in [Algorithm::Hs256, Algorithm::Es256, Algorithm::EdDsa, Algorithm::Rs256] {
        let whole = token(algorithm, &good()).into_bytes();
        let verifier = verifier(open(), algorithm.family());
        for at in 0..whole.len() {
            for other in [b'A', b'.', b'-', 0, whole[at] ^ 1, whole[at].wrapping_add(1)] {
                let mut text = whole.clone();
                text[at] = other;
                assert!(text == whole || verifier.verify(&text, NOW).is_err(), "{algorithm:?}: byte {at} as {other}");
            }
        }
        for at in 0..whole.len() {
            assert!(verifier.verify(&whole[..at], NOW).is_err(), "{algorithm:?}: cut at {at}");
        }
    }
}

/// "Psychic signatures" and their kin.
#[test]
fn signatures_of_zeros_and_of_other_lengths_are_refused() {
    for (algorithm, length) in [(Algorithm::Es256, 64), (Algorithm::Es384, 96), (Algorithm::EdDsa, 64)] {
        let whole = token(algorithm, &good());
        let signed = &whole[..whole.rfind('.').unwrap()];
        for signature in [vec![0; length], vec![0; 8], vec![0xff; length], vec![0x30, 6, 2, 1, 0, 2, 1, 0]] {
            let text = format!("{signed}.{}", BASE64URL_NOPAD.encode(&signature));
            let verdict = verifier(open(), algorithm.family()).verify(text.as_bytes(), NOW);
            assert_eq!(verdict, Err(Refusal::SignatureWrong), "{algorithm:?}");
        }
    }
}

#[test]
fn nothing_that_is_claimed_counts_before_the_signature() {
    let whole = token(Algorithm::EdDsa, r#"{"exp":1}"#);
    let cut = whole.rfind('.').unwrap();
    let text = format!("{}.{}", &whole[..cut], BASE64URL_NOPAD.encode(&[1; 64]));
    assert_eq!(verifier(open(), Family::Ed25519).verify(text.as_bytes(), NOW), Err(Refusal::SignatureWrong));
}

#[test]
fn times_hold_to_the_second_and_by_the_leeway() {
    let leeway = || Rules { leeway_s: 30, ..open() };
    let exp = |at: u64| format!(r#"{{"exp":{at}}}"#);
    assert_eq!(refusal(open(), &exp(NOW)), Refusal::Expired);
    passes(open(), &exp(NOW + 1));
    assert_eq!(refusal(leeway(), &exp(NOW - 30)), Refusal::Expired);
    passes(leeway(), &exp(NOW - 29));
    let nbf = |at: u64| format!(r#"{{"exp":{},"nbf":{at}}}"#, NOW + 60);
    assert_eq!(refusal(open(), &nbf(NOW + 1)), Refusal::NotYet);
    passes(open(), &nbf(NOW));
    assert_eq!(refusal(leeway(), &nbf(NOW + 31)), Refusal::NotYet);
    passes(leeway(), &nbf(NOW + 30));
    assert_eq!(refusal(open(), "{}"), Refusal::ExpiryMissing);
}

#[test]
fn times_of_any_size_are_taken_for_what_they_are() {
    for exp in ["-1", "0", "-1e300", "-9223372036854775808", "1699999999.9"] {
        assert_eq!(refusal(open(), &format!(r#"{{"exp":{exp}}}"#)), Refusal::Expired, "{exp}");
    }
    for exp in ["1e300", "18446744073709551615", "9223372036854775807", "1700000001.5", "1.8e9"] {
        passes(open(), &format!(r#"{{"exp":{exp}}}"#));
    }
    for exp in ["\"1800000000\"", "null", "true", "[1]", "{}", "1e999"] {
        assert_eq!(refusal(open(), &format!(r#"{{"exp":{exp}}}"#)), Refusal::Malformed, "{exp}");
    }
    let nbf = |at: &str| format!(r#"{{"exp":1800000000,"nbf":{at}}}"#);
    assert_eq!(refusal(open(), &nbf("1e300")), Refusal::NotYet);
    passes(open(), &nbf("-1e300"));
}

#[test]
fn issuer_audience_and_scope_are_compared_whole() {
    let rules = || Rules {
        issuer: Some("https://id.example.com".into()),
        audiences: boxes(&["api", "web"]),
        scopes: boxes(&["read", "write"]),
        ..open()
    };
    let claims =
        |iss: &str, aud: &str, scope: &str| format!(r#"{{"exp":1800000000,"iss":{iss},"aud":{aud},"scope":{scope}}}"#);
    let (iss, aud, scope) = (r#""https://id.example.com""#, r#""api""#, r#""write read x""#);
    passes(rules(), &claims(iss, aud, scope));
    passes(rules(), &claims(iss, r#"["other","web"]"#, scope));
    passes(rules(), &claims(iss, aud, r#"["read","write"]"#));
    for other in [r#""https://id.example.com/""#, r#""HTTPS://id.example.com""#, r#""""#] {
        assert_eq!(refusal(rules(), &claims(other, aud, scope)), Refusal::IssuerWrong, "{other}");
    }
    for other in [r#""apis""#, r#""API""#, "[]", r#"["ap","i"]"#, r#""api web""#] {
        assert_eq!(refusal(rules(), &claims(iss, other, scope)), Refusal::AudienceWrong, "{other}");
    }
    for other in [r#""read""#, r#""readwrite""#, "[]", r#""""#] {
        assert_eq!(refusal(rules(), &claims(iss, aud, other)), Refusal::ScopeMissing, "{other}");
    }
    for (wrong, part) in [("1", aud), (iss, "1"), (iss, "[1]"), ("[]", aud), ("null", aud), (iss, "null")] {
        assert_eq!(refusal(rules(), &claims(wrong, part, scope)), Refusal::Malformed, "{wrong} {part}");
    }
    assert_eq!(refusal(rules(), r#"{"exp":1800000000}"#), Refusal::IssuerWrong);
    assert_eq!(refusal(rules(), r#"{"exp":1800000000,"iss":"https://id.example.com"}"#), Refusal::AudienceWrong);
}

#[test]
fn a_claim_that_counts_is_there_once() {
    let rules = || Rules { keep: boxes(&["role"]), ..open() };
    for twice in [
        r#"{"exp":1,"exp":1800000000}"#,
        r#"{"exp":1800000000,"role":"user","role":"admin"}"#,
        r#"{"exp":1800000000,"iss":"a","iss":"b"}"#,
        r#"{"exp":1800000000,"\u0065xp":1}"#,
    ] {
        assert_eq!(refusal(rules(), twice), Refusal::Malformed, "{twice}");
    }
    passes(rules(), r#"{"exp":1800000000,"x":1,"x":2}"#);
}

#[test]
fn payloads_that_are_no_object_are_refused() {
    for payload in ["1", "[]", "null", "\"a\"", "{", "{}x", "{\"exp\":1800000000}{}", &"[".repeat(9000), "\u{0}"] {
        assert_eq!(refusal(open(), payload), Refusal::Malformed, "{}", &payload[..1]);
    }
    let nested = |name: &str| format!(r#"{{"exp":1800000000,"{name}":{}1{}}}"#, "[".repeat(4000), "]".repeat(4000));
    assert_eq!(refusal(open(), &nested("aud")), Refusal::Malformed);
    passes(open(), &nested("other"));
}

#[test]
fn claims_become_field_lines_and_text() {
    let rules = Rules {
        forward: vec![
            ("sub".into(), "x-user".into()),
            ("admin".into(), "x-admin".into()),
            ("no".into(), "x-no".into()),
        ],
        keep: boxes(&["roles", "level", "deep"]),
        ..open()
    };
    let identity = passes(
        rules,
        r#"{"exp":1800000000,"sub":"ali\u00e7e","admin":false,"roles":["a","b"],"level":7,"deep":{"x":1},"other":"o"}"#,
    );
    assert_eq!(identity.lines(), "x-user: ali\u{e7}e\r\nx-admin: false\r\n".as_bytes());
    let claim = |name| identity.claim(name);
    assert_eq!((claim("sub"), claim("roles"), claim("level")), (Some("ali\u{e7}e"), Some("a,b"), Some("7")));
    assert_eq!((claim("deep"), claim("other"), claim("exp")), (None, None, None));
}

#[test]
fn a_claim_never_breaks_a_line() {
    let rules = || Rules { forward: vec![("sub".into(), "x-user".into())], ..open() };
    for sub in [r"a\r\nx-admin: true", r"a\nb", r"a\u0000b", r"\u007f", " a", r"a\t", ""] {
        let payload = format!(r#"{{"exp":1800000000,"sub":"{sub}"}}"#);
        assert_eq!(refusal(rules(), &payload), Refusal::ClaimUnfit, "{sub}");
    }
    let long = format!(r#"{{"exp":1800000000,"sub":"{}"}}"#, "a".repeat(2000));
    assert_eq!(refusal(rules(), &long), Refusal::ClaimUnfit);
}

#[test]
fn a_kid_chooses_the_key() {
    let secret = |byte: u8| Key::secret(&[byte; 64]).unwrap();
    let set =
        KeySet::new(vec![secret(1).with_kid("a"), key(Family::Hmac).with_kid("b"), key(Family::Ed25519).with_kid("c")]);
    let verifier = Verifier::new(open(), set);
    let verdict = |algorithm: Algorithm, kid: &str| {
        let text = token_of(algorithm, &format!(r#"{{"alg":"{}"{kid}}}"#, algorithm.name()), &good());
        verifier.verify(text.as_bytes(), NOW).map(|passed| passed.until_s)
    };
    assert_eq!(verdict(Algorithm::Hs256, r#","kid":"b""#), Ok(NOW + 60));
    assert_eq!(verdict(Algorithm::Hs256, ""), Ok(NOW + 60), "without one, all that fit are tried");
    assert_eq!(verdict(Algorithm::Hs256, r#","kid":"a""#), Err(Refusal::SignatureWrong));
    assert_eq!(verdict(Algorithm::Hs256, r#","kid":"c""#), Err(Refusal::KeyUnfit));
    assert_eq!(verdict(Algorithm::Hs256, r#","kid":"d""#), Err(Refusal::KeyUnknown));
    assert_eq!(verdict(Algorithm::Hs256, r#","kid":"B""#), Err(Refusal::KeyUnknown));
    assert_eq!(verdict(Algorithm::EdDsa, r#","kid":"c""#), Ok(NOW + 60));
}

#[test]
fn a_token_that_names_no_key_is_tried_with_a_few_only() {
    let mut keys: Vec<_> =
        (0..crate::limits::TOKEN_KEY_TRIES).zip(100..).map(|(_, byte)| Key::secret(&[byte; 64]).unwrap()).collect();
    keys.push(key(Family::Hmac));
    let text = token(Algorithm::Hs256, &good());
    let verdict = Verifier::new(open(), KeySet::new(keys)).verify(text.as_bytes(), NOW);
    assert_eq!(verdict, Err(Refusal::SignatureWrong));
}

#[test]
fn the_scheme_is_told_by_its_whole_name_in_any_case() {
    for (field, token) in [
        (&b"Bearer abc"[..], Some(&b"abc"[..])),
        (b"bearer   abc", Some(b"abc")),
        (b"BEARER a b", Some(b"a b")),
        (b"Bearer", Some(b"")),
        (b"Bearer ", Some(b"")),
        (b"Bearerabc", None),
        (b"Bearer\tabc", None),
        (b"Basic abc", None),
        (b"", None),
        (b"Bear", None),
    ] {
        assert_eq!(bearer(field), token, "{field:?}");
    }
}

#[test]
fn every_refusal_has_a_name_of_its_own() {
    let names: std::collections::HashSet<_> = Refusal::ALL.iter().map(|refusal| refusal.label()).collect();
    assert_eq!(names.len(), Refusal::ALL.len());
}
