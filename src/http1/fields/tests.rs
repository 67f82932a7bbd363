use super::*;

const KNOWN: [(&str, FieldKind); 29] = [
    ("Host", FieldKind::Host),
    ("Connection", FieldKind::Connection),
    ("Content-Length", FieldKind::ContentLength),
    ("Transfer-Encoding", FieldKind::TransferEncoding),
    ("TE", FieldKind::Te),
    ("Trailer", FieldKind::Trailer),
    ("Upgrade", FieldKind::Upgrade),
    ("Keep-Alive", FieldKind::KeepAlive),
    ("Proxy-Connection", FieldKind::ProxyConnection),
    ("Proxy-Authenticate", FieldKind::ProxyAuthenticate),
    ("Proxy-Authorization", FieldKind::ProxyAuthorization),
    ("Expect", FieldKind::Expect),
    ("Via", FieldKind::Via),
    ("Max-Forwards", FieldKind::MaxForwards),
    ("Forwarded", FieldKind::Forwarded),
    ("X-Forwarded-For", FieldKind::XForwardedFor),
    ("X-Forwarded-Proto", FieldKind::XForwardedProto),
    ("X-Forwarded-Host", FieldKind::XForwardedHost),
    ("X-Real-IP", FieldKind::XRealIp),
    ("X-Request-ID", FieldKind::XRequestId),
    ("HTTP2-Settings", FieldKind::Http2Settings),
    ("Date", FieldKind::Date),
    ("Server", FieldKind::Server),
    ("Authorization", FieldKind::Authorization),
    ("Cookie", FieldKind::Cookie),
    ("User-Agent", FieldKind::UserAgent),
    ("Traceparent", FieldKind::Traceparent),
    ("Tracestate", FieldKind::Tracestate),
    ("Content-Type", FieldKind::ContentType),
];

/// RFC 9110 section 5.1: field names are compared without regard to case.
#[test]
fn known_names_are_found_in_any_case() {
    for (name, kind) in KNOWN {
        for spelling in [name.to_owned(), name.to_lowercase(), name.to_uppercase()] {
            assert_eq!(FieldKind::classify(spelling.as_bytes()), kind, "{spelling}");
        }
        assert_eq!(FieldKind::classify(&name.as_bytes()[1..]), FieldKind::Other);
    }
}

#[test]
fn a_name_that_differs_in_one_byte_has_another_kind() {
    for (name, kind) in KNOWN {
        for at in 0..name.len() {
            for byte in (0..128).filter(|&byte| is_token_byte(byte)) {
                let mut near = name.as_bytes().to_vec();
                near[at] = byte;
                let expected = near.eq_ignore_ascii_case(name.as_bytes());
                let alike = name.as_bytes()[at] == b'-' && byte == b'_' && FORWARDING.contains(kind);
                assert_eq!(FieldKind::classify(&near) == kind, expected || alike, "{}", String::from_utf8_lossy(&near));
            }
        }
    }
}

#[test]
fn an_underscore_counts_as_a_hyphen_in_forwarding_names_only() {
    for (name, kind) in KNOWN {
        let spelling = name.replace('-', "_");
        let expected = if spelling == name || FORWARDING.contains(kind) { kind } else { FieldKind::Other };
        assert_eq!(FieldKind::classify(spelling.as_bytes()), expected, "{spelling}");
    }
    for name in ["X-Forwarded-Port", "x_forwarded_prefix", "X-Forwarded_Ssl", "x-forwarded-"] {
        assert_eq!(FieldKind::classify(name.as_bytes()), FieldKind::XForwardedOther, "{name}");
    }
}

/// RFC 9110 section 5.6.1.2: empty list elements are ignored.
#[test]
fn a_list_has_no_empty_elements() {
    let elements: Vec<_> = list(b" ,a,, b\t,").collect();
    assert_eq!(elements, [b"a", b"b"]);
    assert_eq!(list(b" , ,").count(), 0);
}

#[test]
fn the_end_to_end_names_are_lower_case_tokens_without_a_kind() {
    for name in END_TO_END {
        assert!(is_token(name) && name.to_ascii_lowercase() == name);
        assert_eq!(FieldKind::classify(name), FieldKind::Other, "{}", String::from_utf8_lossy(name));
    }
}
