use super::*;

fn framed(
    collapse: bool,
    lengths: &[&str],
    encodings: &[&str],
    version: Version,
) -> Result<Option<BodyLength>, HeadError> {
    let mut framing = if collapse { Framing::of_response() } else { Framing::default() };
    for value in lengths {
        framing.try_length(value.as_bytes())?;
    }
    for value in encodings {
        framing.try_encoding(value.as_bytes())?;
    }
    framing.try_body(version)
}

/// RFC 9110 section 8.6, RFC 9112 section 6.3: an invalid Content-Length makes the framing invalid.
#[test]
fn a_length_is_digits_that_fit_64_bits() {
    for (value, length) in [("0", 0), ("5", 5), ("005", 5), ("18446744073709551615", u64::MAX)] {
        assert_eq!(framed(false, &[value], &[], Version::Http11), Ok(Some(BodyLength::Exact(length))));
    }
    for value in [
        "",
        " ",
        "+5",
        "-5",
        "0x5",
        "5 5",
        "5;",
        "5.0",
        "1e3",
        "\u{665}",
        "18446744073709551616",
        "99999999999999999999999",
        ",",
        "5,",
    ] {
        assert_eq!(framed(false, &[value], &[], Version::Http11), Err(HeadError::InvalidContentLength), "{value:?}");
    }
}

/// RFC 9112 section 6.3: equal lengths may be taken for one, different ones are an error.
#[test]
fn several_lengths_are_refused_unless_a_response_repeats_itself() {
    for lengths in [&["5", "5"][..], &["5, 5"], &["5", "5,5"]] {
        assert_eq!(framed(false, lengths, &[], Version::Http11), Err(HeadError::RepeatedContentLength));
        assert_eq!(framed(true, lengths, &[], Version::Http11), Ok(Some(BodyLength::Exact(5))));
    }
    for lengths in [&["5", "6"][..], &["5, 6"], &["5", "5,6"]] {
        assert_eq!(framed(false, lengths, &[], Version::Http11), Err(HeadError::RepeatedContentLength));
        assert_eq!(framed(true, lengths, &[], Version::Http11), Err(HeadError::RepeatedContentLength));
    }
}

/// RFC 9112 section 6.1.
#[test]
fn the_only_coding_is_chunked_once_and_alone() {
    for value in ["chunked", "CHUNKED", "Chunked"] {
        assert_eq!(framed(false, &[], &[value], Version::Http11), Ok(Some(BodyLength::Chunked)));
    }
    for encodings in [
        &["chunked, chunked"][..],
        &["chunked", "chunked"],
        &["chunked, gzip"],
        &["chunked", "identity"],
        &[""],
        &[",chunked"],
        &["chunked,"],
        &["chunked;q=1"],
        &["\"chunked\""],
        &["chunked x"],
    ] {
        assert_eq!(
            framed(false, &[], encodings, Version::Http11),
            Err(HeadError::InvalidTransferEncoding),
            "{encodings:?}"
        );
    }
    for encodings in [&["gzip, chunked"][..], &["gzip"], &["identity", "chunked"], &["xchunked"], &["identity"]] {
        assert_eq!(
            framed(false, &[], encodings, Version::Http11),
            Err(HeadError::UnknownTransferCoding),
            "{encodings:?}"
        );
    }
}

/// RFC 9112 section 6.1: both Content-Length and Transfer-Encoding, or Transfer-Encoding on HTTP/1.0.
#[test]
fn two_ways_to_frame_a_message_are_refused() {
    for collapse in [false, true] {
        for coding in ["chunked", "gzip"] {
            assert_eq!(
                framed(collapse, &["5"], &[coding], Version::Http11),
                Err(HeadError::ContentLengthWithTransferEncoding)
            );
            assert_eq!(framed(collapse, &["5"], &[coding], Version::Http10), Err(HeadError::TransferEncodingOnHttp10));
            assert_eq!(framed(collapse, &[], &[coding], Version::Http10), Err(HeadError::TransferEncodingOnHttp10));
        }
    }
}
