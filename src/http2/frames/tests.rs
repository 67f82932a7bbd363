use super::*;

fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags, 0, 0, 0, 1]);
    bytes.extend(payload);
    bytes
}

/// The frames that a scanner sees when the bytes come in pieces of `size`.
fn seen(scanner: &mut Scanner, bytes: &[u8], size: usize) -> Vec<Frame> {
    let mut frames = Vec::new();
    for piece in bytes.chunks(size) {
        scanner.scan(piece, |frame| frames.push(frame));
    }
    frames
}

/// RFC 9113 section 4.1, whatever the pieces.
#[test]
fn every_frame_is_seen_once_in_pieces_of_any_size() {
    let bytes = [
        frame(4, 0, &[]),
        frame(1, 0x5, b"block"),
        frame(0, 0x1, &[7; 300]),
        frame(3, 0, &[0, 0, 0, 8]),
        frame(7, 0, &[0, 0, 0, 1, 0, 0, 0, 11, b'b', b'y', b'e']),
        frame(0x1f, 0, b"?"),
        frame(6, 1, &[0; 8]),
    ]
    .concat();
    let kinds = [
        FrameKind::Settings,
        FrameKind::Headers,
        FrameKind::Content,
        FrameKind::Reset,
        FrameKind::GoAway,
        FrameKind::Unknown,
        FrameKind::Ping,
    ];
    for size in 1..bytes.len() + 1 {
        let frames = seen(&mut Scanner::behind(0), &bytes, size);
        assert_eq!(frames.iter().map(|frame| frame.kind).collect::<Vec<_>>(), kinds, "{size}");
        assert_eq!(frames.iter().map(|frame| frame.code).collect::<Vec<_>>(), [0, 0, 0, 8, 11, 0, 0]);
        assert_eq!(frames.iter().map(|frame| frame.length).collect::<Vec<_>>(), [0, 5, 300, 4, 11, 1, 8]);
        assert_eq!(
            frames.iter().map(Frame::ends_stream).collect::<Vec<_>>(),
            [false, true, true, false, false, false, false]
        );
    }
}

#[test]
fn what_comes_before_the_first_frame_is_passed() {
    let bytes = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(4, 0, &[])].concat();
    for size in [1, 7, 100] {
        assert_eq!(seen(&mut Scanner::behind(24), &bytes, size).len(), 1);
    }
}

/// RFC 9113 section 6.4 and 6.8: frames too short for a code are a matter of the codec, and must not derail the scan.
#[test]
fn frames_of_a_wrong_size_do_not_derail_it() {
    let bytes = [frame(3, 0, &[0, 0]), frame(3, 0, &[0; 9]), frame(7, 0, &[0; 7]), frame(6, 0, &[0; 8])].concat();
    for size in 1..20 {
        let frames = seen(&mut Scanner::behind(0), &bytes, size);
        assert_eq!(frames.iter().map(|frame| frame.length).collect::<Vec<_>>(), [2, 9, 7, 8], "{size}");
    }
}

/// RFC 9113 section 4.3: fields are open from the first byte of their HEADERS to the last one of what ends them.
#[test]
fn fields_are_open_until_their_last_byte() {
    let mut scanner = Scanner::behind(0);
    let bytes = [frame(1, 0, b"abc"), frame(9, 0, b""), frame(9, 0x4, b"def"), frame(0, 0, b"x")].concat();
    let open: Vec<bool> = bytes
        .iter()
        .map(|byte| {
            scanner.scan(&[*byte], |_| {});
            scanner.is_in_fields()
        })
        .collect();
    let headers_seen = 8;
    let ended = 12 + 9 + 12 - 1;
    assert!(open[..headers_seen].iter().all(|open| !open));
    assert!(open[headers_seen..ended].iter().all(|open| *open), "{open:?}");
    assert!(open[ended..].iter().all(|open| !open), "{open:?}");
    assert_eq!(open.len(), bytes.len());
}
