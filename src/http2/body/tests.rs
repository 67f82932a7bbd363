use super::*;

/// Takes everything off `bytes`, `most` bytes of content at a time: the content and the trailers.
fn unframed(mut unframer: Unframer, mut bytes: &[u8], most: usize) -> Option<(Vec<u8>, Vec<u8>)> {
    let mut content = Vec::new();
    loop {
        let (piece, next) = unframer.front(bytes, most)?;
        assert!(piece.used > 0 && piece.content.len() <= most);
        assert_eq!(piece.ends, next.is_over());
        content.extend_from_slice(&bytes[piece.content]);
        if piece.ends {
            assert_eq!(piece.used, bytes.len(), "all of it");
            return Some((content, bytes[piece.trailers].to_vec()));
        }
        unframer = next;
        bytes = &bytes[piece.used..];
    }
}

#[test]
fn a_sized_body_ends_with_its_last_byte() {
    for most in [1, 3, 5, 100] {
        assert_eq!(unframed(Unframer::exact(5), b"hello", most), Some((b"hello".to_vec(), Vec::new())));
    }
    assert!(Unframer::exact(0).is_over() && Unframer::none().is_over());
    let (piece, next) = Unframer::exact(9).front(b"hello", 100).unwrap();
    assert_eq!((piece.used, piece.ends, next), (5, false, Unframer::exact(4)));
}

/// RFC 9112 section 7.1 taken off, and the end told with the last content, not behind it.
#[test]
fn chunks_are_taken_off_and_the_last_one_ends_the_content_before_it() {
    let whole = b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n";
    for most in [1, 2, 5, 6, 100] {
        assert_eq!(unframed(Unframer::chunked(), whole, most), Some((b"hello world".to_vec(), Vec::new())), "{most}");
    }
    let (piece, _) = Unframer::chunked().front(b"5\r\nhello\r\n0\r\n\r\n", 100).unwrap();
    assert_eq!(piece, Piece { used: 15, content: 3..8, ends: true, trailers: 13..13 });
}

/// RFC 9112 section 7.1.2.
#[test]
fn trailers_stand_behind_the_last_chunk() {
    let whole = b"5\r\nhello\r\n0\r\nX-A: 1\r\nX-B: 2\r\n\r\n";
    for most in [1, 5, 100] {
        let (content, trailers) = unframed(Unframer::chunked(), whole, most).unwrap();
        assert_eq!((&content[..], &trailers[..]), (&b"hello"[..], &b"X-A: 1\r\nX-B: 2\r\n"[..]));
    }
    let (content, trailers) = unframed(Unframer::chunked(), b"0\r\nX-A: 1\r\n\r\n", 0).unwrap();
    assert_eq!((content.len(), &trailers[..]), (0, &b"X-A: 1\r\n"[..]));
}

#[test]
fn an_end_of_its_own_needs_no_room_for_content() {
    let (piece, next) = Unframer::chunked().front(b"0\r\n\r\n", 0).unwrap();
    assert_eq!((piece.used, piece.content.len(), piece.ends, next.is_over()), (5, 0, true, true));
}

#[test]
fn what_our_encoder_does_not_write_is_none() {
    for bytes in [
        &b"hello"[..],
        b"5\nhello\n",
        b"5\r\nhelloXX",
        b"5;x=y\r\nhello\r\n",
        b"0\r\nX: 1\r\n",
        b"\r\n",
        b"fffffffffffffffff\r\n",
    ] {
        assert_eq!(unframed(Unframer::chunked(), bytes, 100), None, "{bytes:?}");
    }
    assert_eq!(Unframer::none().front(b"x", 1), None);
}
