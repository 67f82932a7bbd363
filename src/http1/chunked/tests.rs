use super::super::tests::Cases;
use super::*;
use crate::http1::FieldEdits;
use crate::limits::TRAILER_BYTES;

/// Content, trailers, bytes used.
type Message = (Vec<u8>, Vec<u8>, usize);

/// What came of decoding `coded` in pieces that end at `ends`.
fn decode_in_pieces(coded: &[u8], ends: impl Iterator<Item = usize>) -> Result<Option<Message>, ChunkError> {
    let mut decoder = ChunkedDecoder::new();
    let (mut content, mut from) = (Vec::new(), 0);
    for end in ends {
        let mut piece = coded[from..end].to_vec();
        let decoded = decoder.decode(&mut piece)?;
        content.extend_from_slice(&piece[..decoded.content]);
        assert_eq!(piece[decoded.consumed..], coded[from + decoded.consumed..end], "what follows was touched");
        if decoded.done {
            return Ok(Some((content, decoder.trailers().to_vec(), from + decoded.consumed)));
        }
        assert_eq!(decoded.consumed, end - from);
        from = end;
    }
    Ok(None)
}

fn whole(coded: &str) -> Result<Option<(String, String, usize)>, ChunkError> {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ok(decode_in_pieces(coded.as_bytes(), [coded.len()].into_iter())?
        .map(|(content, trailers, used)| (text(content), text(trailers), used)))
}

/// RFC 9112 section 7.1.
#[test]
fn content_and_trailers_come_out_and_what_follows_stays() {
    for (coded, content, trailers) in [
        ("0\r\n\r\n", "", ""),
        ("5\r\nhello\r\n0\r\n\r\n", "hello", ""),
        ("5\r\nhello\r\nA\r\n, world...\r\n000\r\n\r\n", "hello, world...", ""),
        ("a\r\n0123456789\r\n0\r\n\r\n", "0123456789", ""),
        ("0000000000000001\r\nx\r\n0\r\n\r\n", "x", ""),
        // RFC 9112 section 7.1.1: unknown extensions are ignored.
        ("1;a=b;c=\"d e\"\r\nx\r\n0 \t;last\r\n\r\n", "x", ""),
        // RFC 9112 section 7.1.2: trailers are kept apart.
        ("0\r\nX-Sum: 1\r\nGrpc-Status:0 \r\n\r\n", "", "X-Sum: 1\r\nGrpc-Status: 0\r\n"),
        ("2\r\n\r\n\r\n0\r\n\r\n", "\r\n", ""),
    ] {
        let expected = Some((content.to_owned(), trailers.to_owned(), coded.len()));
        assert_eq!(whole(coded), Ok(expected.clone()), "{coded:?}");
        assert_eq!(whole(&format!("{coded}GET / HTTP/1.1\r\n")), Ok(expected), "{coded:?} with more behind");
    }
}

/// RFC 9110 section 6.5.1: no framing, routing, authentication or hop-by-hop field may come as a trailer.
#[test]
fn trailers_that_would_change_the_message_are_dropped() {
    for name in [
        "Content-Length",
        "transfer-encoding",
        "Host",
        "Connection",
        "TE",
        "Trailer",
        "Authorization",
        "Cookie",
        "Set-Cookie",
        "X-Forwarded-For",
        "X_Real_IP",
        "Content-Type",
        "Content-Encoding",
        "Content-Range",
        "Cache-Control",
        "Max-Forwards",
        "Upgrade",
        "Via",
        "WWW-Authenticate",
    ] {
        let coded = format!("0\r\n{name}: 1\r\nX-Kept: 2\r\n\r\n");
        assert_eq!(whole(&coded).unwrap().unwrap().1, "X-Kept: 2\r\n", "{name}");
    }
}

/// RFC 9112 section 7.1: the grammar, to the byte.
#[test]
fn what_the_grammar_does_not_allow_is_refused() {
    for (coded, error) in [
        ("\r\n", ChunkError::InvalidSize),
        (" 5\r\n", ChunkError::InvalidSize),
        ("+5\r\n", ChunkError::InvalidSize),
        ("-1\r\n", ChunkError::InvalidSize),
        ("0x5\r\n", ChunkError::InvalidSize),
        ("5g\r\n", ChunkError::InvalidSize),
        (";a\r\n", ChunkError::InvalidSize),
        ("5\n", ChunkError::InvalidLineEnd),
        ("5\rx", ChunkError::InvalidLineEnd),
        ("5;a\n", ChunkError::InvalidLineEnd),
        ("5 \r\n", ChunkError::InvalidLineEnd),
        ("5 5\r\n", ChunkError::InvalidExtension),
        ("5;a\0\r\n", ChunkError::InvalidExtension),
        ("5;a\x7f\r\n", ChunkError::InvalidExtension),
        ("10000000000000000\r\n", ChunkError::SizeOverflow),
        ("00000000000000000\r\n", ChunkError::SizeOverflow),
        ("1\r\nxx", ChunkError::MissingEnd),
        ("1\r\nx\n", ChunkError::MissingEnd),
        ("1\r\nx\rx", ChunkError::MissingEnd),
        ("0\r\nA\r\n", ChunkError::InvalidTrailer),
        ("0\r\nA : b\r\n", ChunkError::InvalidTrailer),
        ("0\r\n A: b\r\n", ChunkError::InvalidTrailer),
        ("0\r\nA: b\n", ChunkError::InvalidTrailer),
        ("0\r\n\n", ChunkError::InvalidTrailer),
        ("0\r\nA: b\rc\r\n", ChunkError::InvalidTrailer),
        ("0\r\nA: \0\r\n", ChunkError::InvalidTrailer),
        ("0\r\n: b\r\n", ChunkError::InvalidTrailer),
    ] {
        assert_eq!(whole(coded), Err(error), "{coded:?}");
        assert!(decode_in_pieces(coded.as_bytes(), 1..=coded.len()).is_err(), "{coded:?} byte by byte");
    }
}

/// RFC 9112 section 7.1: the largest size is read without overflow.
#[test]
fn the_largest_size_is_read() {
    assert_eq!(whole("FFFFFFFFFFFFFFFF\r\nabc"), Ok(None));
}

/// RFC 9112 section 7.1.1: extensions are bounded, in one line and in the body.
#[test]
fn extensions_and_trailers_are_bounded() {
    let line = |length: usize| format!("1;{}\r\nx\r\n", "a".repeat(length));
    assert_eq!(whole(&line(CHUNK_LINE_BYTES - 4)), Ok(None));
    assert_eq!(whole(&line(CHUNK_LINE_BYTES)), Err(ChunkError::LineTooLong));
    assert_eq!(whole(&line(1000).repeat(CHUNK_EXTENSION_BYTES / 1000)), Ok(None));
    assert_eq!(whole(&line(1000).repeat(CHUNK_EXTENSION_BYTES / 1000 + 1)), Err(ChunkError::ExtensionsTooLarge));
    let trailers = |length: usize| format!("0\r\nA: {}\r\n\r\n", "b".repeat(length - 7));
    assert!(whole(&trailers(TRAILER_BYTES)).unwrap().is_some());
    assert_eq!(whole(&trailers(TRAILER_BYTES + 1)), Err(ChunkError::TrailersTooLarge));
    assert_eq!(
        whole(&format!("0\r\n{}", "Host: a\r\n".repeat(TRAILER_BYTES / 9 + 1))),
        Err(ChunkError::TrailersTooLarge)
    );
    assert_eq!(whole(&format!("0\r\n{}", "a".repeat(TRAILER_BYTES + 1))), Err(ChunkError::TrailersTooLarge));
}

#[test]
fn a_decoder_starts_over_after_reset() {
    let mut decoder = ChunkedDecoder::new();
    let mut coded = *b"1;a\r\nx\r\n0\r\nA: b\r\n\r\n";
    assert!(decoder.decode(&mut coded).unwrap().done);
    assert_eq!(decoder.decode(&mut [1, 2]), Ok(Decoded { content: 0, consumed: 0, done: true }));
    decoder.reset();
    assert!(decoder.trailers().is_empty());
    assert_eq!(decoder.decode(&mut b"0\r\n\r\n".to_vec()), Ok(Decoded { content: 0, consumed: 5, done: true }));
}

/// A coded body of random chunks with its content, and the trailers expected.
fn random_body(cases: &mut Cases) -> (Vec<u8>, Vec<u8>, Vec<u8>) {
    let (mut coded, mut content, mut trailers) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..cases.below(5) {
        let chunk = vec![b'a' + u8::try_from(cases.below(26)).unwrap(); cases.below(40) + 1];
        let mut line = [0; 18];
        let start = encode_chunk_line(chunk.len(), &mut line);
        coded.extend_from_slice(&line[start..16]);
        coded.extend_from_slice(cases.pick(&["", "", ";x", " ; y=\"z\""]).as_bytes());
        coded.extend_from_slice(b"\r\n");
        coded.extend_from_slice(&chunk);
        coded.extend_from_slice(b"\r\n");
        content.extend_from_slice(&chunk);
    }
    coded.extend_from_slice(b"0\r\n");
    for _ in 0..cases.below(3) {
        let (line, kept) = [("X-A: 1\r\n", true), ("Host: b\r\n", false), ("Y: \r\n", true)][cases.below(3)];
        coded.extend_from_slice(line.as_bytes());
        if kept {
            trailers.extend_from_slice(line.as_bytes());
        }
    }
    coded.extend_from_slice(b"\r\n");
    (coded, content, trailers)
}

#[test]
fn a_body_split_anywhere_decodes_as_it_does_whole() {
    let mut cases = Cases::of_seed(0x5eed_0000_0000_0001);
    for _ in 0..200 {
        let (mut coded, content, trailers) = random_body(&mut cases);
        let length = coded.len();
        coded.extend_from_slice(b"5\r\nnext");
        let expected = Ok(Some((content, trailers, length)));
        for split in 0..=coded.len() {
            assert_eq!(
                decode_in_pieces(&coded, [split, coded.len()].into_iter()),
                expected,
                "{coded:?} split at {split}"
            );
        }
        assert_eq!(decode_in_pieces(&coded, 0..=coded.len()), expected, "{coded:?} byte by byte");
    }
}

#[test]
fn a_damaged_body_is_never_read_in_two_ways() {
    let mut cases = Cases::of_seed(0x5eed_0000_0000_0002);
    for _ in 0..20_000 {
        let (mut coded, _, _) = random_body(&mut cases);
        let at = cases.below(coded.len());
        coded[at] = *cases.pick(&[&b'\r', &b'\n', &b';', &b'0', &b'f', &b' ', &0]);
        let whole = decode_in_pieces(&coded, [coded.len()].into_iter());
        let split = cases.below(coded.len() + 1);
        assert_eq!(decode_in_pieces(&coded, [split, coded.len()].into_iter()), whole, "{coded:?} split at {split}");
    }
}

#[test]
fn a_chunk_line_is_the_size_in_hexadecimal() {
    for (size, line) in
        [(0, "0\r\n"), (1, "1\r\n"), (255, "ff\r\n"), (4096, "1000\r\n"), (usize::MAX, "ffffffffffffffff\r\n")]
    {
        let mut out = [0; 18];
        let start = encode_chunk_line(size, &mut out);
        assert_eq!(&out[start..], line.as_bytes());
    }
}

/// RFC 9110 section 7.6.1: a connection option ends a trailer of its name as it ends a field.
#[test]
fn trailers_named_by_connection_end_here() {
    let mut out = Vec::new();
    let edits = FieldEdits::default();
    super::super::encode_trailers(&mut out, b"X-A: 1\r\nX-B: 2\r\n", [&b"x-a"[..], b"x"].into_iter(), &edits);
    assert_eq!(out, b"X-B: 2\r\n");
}

/// What a route takes off the fields of a message does not come behind its body instead, in no spelling.
#[test]
fn trailers_that_an_edit_removes_end_here() {
    let edits = FieldEdits::new(&[], &[], &["x-user".to_owned()]).unwrap();
    let mut out = Vec::new();
    let trailers = b"X-User: a\r\nx_user: b\r\nX-USER:c\r\nX-Users: d\r\n";
    super::super::encode_trailers(&mut out, trailers, std::iter::empty(), &edits);
    assert_eq!(out, b"X-Users: d\r\n");
}
