//! Users and their passwords.

use super::*;

/// Of `crypt_blowfish` 1.3, and one that `htpasswd -B` wrote.
const BCRYPT: [(&str, &str); 4] = [
    ("U*U", "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"),
    ("", "$2a$05$CCCCCCCCCCCCCCCCCCCCC.7uG0VCzI2bS7j6ymqJi9CdcdxiRTWNy"),
    (
        "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789chars after 72 are ignored",
        "$2a$05$abcdefghijklmnopqrstuu5s2v8.iXieOjg/.AySBTTZIIVFJeBui",
    ),
    ("U*U", "$2y$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"),
];

/// Of the reference implementation of Argon2 (`src/test.c`).
const ARGON2: [(&str, &str); 3] = [
    ("password", "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4"),
    ("password", "$argon2i$v=19$m=256,t=2,p=1$c29tZXNhbHQ$iekCn0Y3spW+sCcFanM2xBT63UP2sghkUoHLIUpWRS8"),
    ("password", "$argon2i$m=256,t=2,p=1$c29tZXNhbHQ$/U3YPXYsSb3q9XxHvc0MLxur+GP960kN9j7emXX8zwY"),
];

#[test]
fn a_hash_is_of_its_password_and_of_no_other() {
    for (password, text) in BCRYPT.iter().chain(&ARGON2) {
        let hash = PasswordHash::parse(text).unwrap();
        assert!(hash.is_of(password.as_bytes()), "{text}");
        for other in [&b"u*u"[..], b"passwore", b"\x01", &[0xff; 100]] {
            assert!(!hash.is_of(other), "{text}: {other:?}");
        }
        let shown = format!("{hash:?}");
        assert!(!shown.contains("CCCC") && !shown.contains("c29t"), "{shown}");
    }
    assert!(!PasswordHash::parse(BCRYPT[0].1).unwrap().is_of(b"U*U "));
}

#[test]
fn what_is_no_hash_or_costs_too_much_is_refused() {
    let good = BCRYPT[0].1;
    let argon2 = |costs: &str| ARGON2[0].1.replace("m=256,t=2", costs);
    for (text, error) in [
        ("hunter2".to_owned(), PasswordHashError::Kind),
        (String::new(), PasswordHashError::Kind),
        ("$apr1$abc$def".to_owned(), PasswordHashError::Kind),
        ("{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=".to_owned(), PasswordHashError::Kind),
        (good.replace("$2a", "$2x"), PasswordHashError::Kind),
        (ARGON2[0].1.replace("argon2id", "argon2d"), PasswordHashError::Kind),
        (good[..59].to_owned(), PasswordHashError::Broken),
        (format!("{good}x"), PasswordHashError::Broken),
        (good.replace("$05", "$5"), PasswordHashError::Broken),
        (good.replace("$05", "$+5"), PasswordHashError::Broken),
        (good.replace("$05", "$03"), PasswordHashError::Broken),
        (good.replace("CCC", "C\u{e4}"), PasswordHashError::Broken),
        (good.replace("$05", "$15"), PasswordHashError::Costly),
        (good.replace("$05", "$99"), PasswordHashError::Costly),
        ("$argon2id$".to_owned(), PasswordHashError::Broken),
        ("$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ".to_owned(), PasswordHashError::Broken),
        (argon2("m=0,t=2"), PasswordHashError::Broken),
        (argon2("m=256,t=0"), PasswordHashError::Broken),
        (ARGON2[0].1.replace("v=19", "v=20"), PasswordHashError::Broken),
        (argon2("m=262145,t=1"), PasswordHashError::Costly),
        (argon2("m=262144,t=5"), PasswordHashError::Costly),
        (argon2("m=256,t=4097"), PasswordHashError::Costly),
    ] {
        assert_eq!(PasswordHash::parse(&text), Err(error), "{text}");
    }
    assert!(PasswordHash::parse(&argon2("m=262144,t=4")).is_ok());
}

fn login(text: &str) -> Login {
    Login::parse(BASE64.encode(text.as_bytes()).as_bytes()).unwrap()
}

#[test]
fn a_book_knows_its_users_by_their_passwords() {
    let text = format!("# staff\n\nbob:{}\r\n  alice:{}:since 2024\n", BCRYPT[0].1, ARGON2[0].1);
    let book = UserBook::parse(&text).unwrap();
    assert_eq!(book.names().collect::<Vec<_>>(), ["alice", "bob"]);
    assert_eq!(book.find(&login("bob:U*U")), Some(1));
    assert_eq!(book.find(&login("alice:password")), Some(0));
    for other in ["alice:U*U", "bob:password", "bob:", ":U*U", "carol:U*U", "carol:password", "Bob:U*U"] {
        assert_eq!(book.find(&login(other)), None, "{other}");
    }
    assert_eq!(UserBook::default().find(&login("a:b")), None);
}

#[test]
fn files_that_are_no_books_of_users_are_refused_by_their_lines() {
    let good = BCRYPT[0].1;
    let long = "n".repeat(2000);
    for (text, line, fault) in [
        (String::new(), None, UserBookFault::Empty),
        ("# a:b\n\n".to_owned(), None, UserBookFault::Empty),
        ("canary".to_owned(), Some(1), UserBookFault::Shape),
        (format!("a:{good}\n\nb:canary"), Some(3), UserBookFault::Hash(PasswordHashError::Kind)),
        (format!("a:{}", &good[..20]), Some(1), UserBookFault::Hash(PasswordHashError::Broken)),
        (format!("a:{good}\nb:{good}\na:{good}"), Some(3), UserBookFault::Twice(1)),
        (format!(":{good}"), Some(1), UserBookFault::Name),
        (format!("a\tb:{good}\n a\u{7f}:{good}"), Some(2), UserBookFault::Name),
        (format!("{long}:{good}"), Some(1), UserBookFault::Name),
    ] {
        let error = UserBook::parse(&text).unwrap_err();
        assert_eq!((error.line, error.fault), (line, fault), "{text}");
        assert!(!error.fault.to_string().contains("canary"));
    }
}

/// RFC 7617 section 2.
#[test]
fn credentials_are_a_name_and_a_password() {
    assert_eq!(basic(b"Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="), Some(&b"QWxhZGRpbjpvcGVuIHNlc2FtZQ=="[..]));
    assert_eq!(basic(b"bAsIc   x"), Some(&b"x"[..]));
    for other in [&b"Bearer x"[..], b"Basicx", b"Basi", b""] {
        assert_eq!(basic(other), None);
    }
    let aladdin = Login::parse(b"QWxhZGRpbjpvcGVuIHNlc2FtZQ==").unwrap();
    assert_eq!((aladdin.name(), aladdin.password()), (&b"Aladdin"[..], &b"open sesame"[..]));
    assert!(!format!("{aladdin:?}").contains("open"));
    // The example of section 2.1: a pound sign in UTF-8.
    let test = Login::parse(b"dGVzdDoxMjPCow==").unwrap();
    assert_eq!(test.password(), "123\u{a3}".as_bytes());
    let of = |text: &[u8]| Login::parse(BASE64.encode(text).as_bytes());
    assert_eq!(of(b"a:b:c").unwrap().password(), b"b:c");
    assert_eq!(of(b":").unwrap(), of(b":").unwrap());
    for (text, error) in [
        (&b"a"[..], LoginError::NoColon),
        (b"", LoginError::NoColon),
        (b"a:b\0", LoginError::Control),
        (b"a\nb:c", LoginError::Control),
        (b"a:\x7f", LoginError::Control),
        ("a:\u{85}".as_bytes(), LoginError::Control),
    ] {
        assert_eq!(of(text).unwrap_err(), error, "{text:?}");
    }
    for text in [
        &b"QWxhZGRpbjpvcGVuIHNlc2FtZQ"[..],
        b"QWx*",
        b"QWx",
        b"QWxhZGRpbjpvcGVuIHNlc2FtZR==",
        b"a b=",
        b"Og==Og==",
        b"YTo=Yg==",
    ] {
        assert_eq!(Login::parse(text).unwrap_err(), LoginError::NotBase64, "{text:?}");
    }
    assert_eq!(Login::parse(&[b'A'; 2049]).unwrap_err(), LoginError::TooLong);
}

#[test]
fn what_was_refused_is_refused_again_for_a_while_and_for_its_policy() {
    let (one, other) = (Stamp::of(&[1; 32]), Stamp::of(&[2; 32]));
    let mut refused = Refused::default();
    assert!(!refused.has(one, &[0; 32], 0));
    refused.on_refused(one, [7; 32], 100);
    let until_s = 100 + crate::limits::REFUSED_S;
    assert!(refused.has(one, &[7; 32], until_s - 1) && !refused.has(one, &[7; 32], until_s));
    assert!(!refused.has(other, &[7; 32], 100) && !refused.has(one, &[8; 32], 100));
    // However many come, the table stays as it is.
    for number in 0..100_000_u32 {
        let mut proof = [0; 32];
        proof[..4].copy_from_slice(&number.to_le_bytes());
        refused.on_refused(one, proof, 100);
    }
    assert!(format!("{refused:?}").matches("Stamp").count() <= crate::limits::REFUSED_ENTRIES);
}

#[test]
fn users_are_others_as_soon_as_a_hash_is() {
    let book = |hash: &str| UserBook::parse(&format!("a:{hash}\nb:{}", ARGON2[0].1)).unwrap();
    let users = |hash: &str, field: Option<&str>| Users::new(book(hash), field, "r", false);
    let stamp = users(BCRYPT[0].1, None).stamp();
    assert_eq!(users(BCRYPT[0].1, None).stamp(), stamp);
    assert_ne!(users(BCRYPT[1].1, None).stamp(), stamp);
    assert_ne!(users(&BCRYPT[0].1.replace("$05", "$06"), None).stamp(), stamp);
    assert_ne!(users(BCRYPT[0].1, Some("x-user")).stamp(), stamp, "what the endpoint is told is kept with it");
    let told = users(BCRYPT[0].1, Some("x-user"));
    assert_eq!(told.identity(1).map(Identity::lines), Some(&b"x-user: b\r\n"[..]));
    assert!(told.identity(2).is_none());
}
