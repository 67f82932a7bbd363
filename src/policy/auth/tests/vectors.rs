//! Examples of the standards.

use super::*;

const PAYLOAD: &str = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
const EXPIRES: u64 = 1_300_819_380;

/// A key in a set of its own, and the token that it signs.
fn verified(jwk: &str, header: &str, signature: &str, now_s: u64) -> Result<Verified, Refusal> {
    let keys = Jwks::parse(format!(r#"{{"keys":[{jwk}]}}"#).as_bytes(), Origin::Local).expect("a good set").keys;
    let rules = Rules { issuer: Some("joe".into()), keep: boxes(&["http://example.com/is_root"]), ..open() };
    Verifier::new(rules, keys).verify(format!("{header}.{PAYLOAD}.{signature}").as_bytes(), now_s)
}

fn check(jwk: &str, header: &str, signature: &str) {
    let passed = verified(jwk, header, signature, EXPIRES - 1).expect("a good token");
    assert_eq!(passed.until_s, EXPIRES);
    assert_eq!(passed.identity.claim("http://example.com/is_root"), Some("true"));
    assert_eq!(verified(jwk, header, signature, EXPIRES), Err(Refusal::Expired));
    let other = signature.replacen(|c: char| c.is_ascii_uppercase(), "_", 1);
    assert_eq!(verified(jwk, header, &other, EXPIRES - 1), Err(Refusal::SignatureWrong));
}

/// RFC 7515 appendix A.1, with the key of RFC 7519 section 3.1's example.
#[test]
fn the_example_of_hmac_passes() {
    let jwk =
        r#"{"kty":"oct","k":"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"}"#;
    check(jwk, "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9", "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk");
}

/// RFC 7515 appendix A.2.
#[test]
fn the_example_of_rsa_passes() {
    let jwk = concat!(
        r#"{"kty":"RSA","n":"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4"#,
        "d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-",
        "UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kz",
        r#"k2PAcDTW9gb54h4FRWyuXpoQ","e":"AQAB"}"#
    );
    let signature = concat!(
        "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1",
        "dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzD",
        "wusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe7",
        "7Rw"
    );
    check(jwk, "eyJhbGciOiJSUzI1NiJ9", signature);
}

/// RFC 7515 appendix A.3.
#[test]
fn the_example_of_p256_passes() {
    let jwk = r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#;
    check(
        jwk,
        "eyJhbGciOiJFUzI1NiJ9",
        "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
    );
}

/// RFC 8037 appendix A.4, whose payload is no JSON.
#[test]
fn the_example_of_ed25519_verifies() {
    let jwk = br#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
    let keys = Jwks::parse(jwk, Origin::Issuer).expect("a good set").keys;
    let text = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.\
                hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
    let token = Token::parse(text.as_bytes()).expect("a good form");
    assert!(keys.keys()[0].verifies(token.algorithm(), &text.as_bytes()[..token.signed()], token.signature()));
    assert_eq!(Verifier::new(open(), keys).verify(text.as_bytes(), NOW), Err(Refusal::Malformed));
}

/// RFC 7519 section 6.1 and RFC 7515 appendix A.5.
#[test]
fn the_example_that_nobody_signed_is_refused() {
    let text = format!("eyJhbGciOiJub25lIn0.{PAYLOAD}.");
    assert_eq!(verifier(open(), Family::Hmac).verify(text.as_bytes(), EXPIRES - 1), Err(Refusal::Unsigned));
}
