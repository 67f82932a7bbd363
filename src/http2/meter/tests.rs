use super::*;

fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags, 0, 0, 0, 1]);
    bytes.extend(payload);
    bytes
}

fn reset(code: u8) -> Vec<u8> {
    frame(3, 0, &[0, 0, 0, code])
}

fn meter() -> Meter {
    let mut meter = Meter::new(0, 64 * 1024, limits::H2_STREAMS_DEFAULT);
    meter.on_received(PREFACE, 0);
    meter
}

/// How many of `bytes` pass at time 0 before the meter has had enough.
fn patience(bytes: &[u8]) -> (u64, Option<Excess>) {
    let mut meter = meter();
    for passed in 0..10_000 {
        meter.on_received(bytes, 0);
        if meter.excess().is_some() {
            return (passed, meter.excess());
        }
    }
    (10_000, None)
}

/// RFC 9113 section 10.5: what costs more than it carries is bounded.
#[test]
fn frames_that_carry_nothing_have_a_budget() {
    for (bytes, excess) in [
        (frame(6, 0, &[0; 8]), Excess::Ping),
        (frame(4, 0, &[]), Excess::Settings),
        (frame(2, 0, &[0; 5]), Excess::Priority),
        (frame(0, 0, &[]), Excess::EmptyContent),
        (frame(8, 0, &[0, 0, 0, 1]), Excess::Window),
        (frame(0x20, 0, b"?"), Excess::Other),
    ] {
        assert_eq!(patience(&bytes), (limits::H2_CONTROL_FRAMES, Some(excess)));
    }
}

#[test]
fn content_and_ends_of_streams_cost_nothing() {
    for bytes in [frame(0, 0, b"x"), frame(0, 1, &[]), frame(1, 5, b"fields"), frame(9, 4, b"fields")] {
        assert_eq!(patience(&bytes), (10_000, None));
    }
}

/// CVE-2023-44487, and CVE-2025-8671 where the server is made to reset.
#[test]
fn resets_have_a_budget_whoever_sends_them() {
    assert_eq!(patience(&reset(8)), (limits::H2_RESETS, Some(Excess::Resets)));
    for (code, is_of_client) in
        [(0, false), (1, true), (2, false), (3, true), (5, true), (6, true), (7, true), (8, false)]
    {
        let mut meter = meter();
        for _ in 0..=limits::H2_RESETS {
            meter.on_sent(&reset(code), 0);
        }
        assert_eq!(meter.excess().is_some(), is_of_client, "code {code}");
        assert_eq!(meter.take_tally().map_or(0, |tally| tally.resets_sent), limits::H2_RESETS + 1);
    }
    let mut both = meter();
    for _ in 0..limits::H2_RESETS / 2 {
        both.on_received(&reset(8), 0);
        both.on_sent(&reset(3), 0);
    }
    assert_eq!(both.excess(), None);
    both.on_sent(&reset(3), 0);
    assert_eq!(both.excess(), Some(Excess::Resets));
}

/// Whoever may have many streams open may leave all of them at once.
#[test]
fn as_many_streams_may_be_reset_as_may_be_open() {
    for (streams, most) in [(1, limits::H2_RESETS), (100, 100), (101, 101), (limits::H2_STREAMS_MAX, 1000)] {
        let mut meter = Meter::new(0, 64 * 1024, streams);
        meter.on_received(PREFACE, 0);
        for _ in 0..most {
            meter.on_received(&reset(8), 0);
        }
        assert_eq!(meter.excess(), None, "{streams}");
        meter.on_received(&reset(8), 0);
        assert_eq!(meter.excess(), Some(Excess::Resets), "{streams}");
    }
}

#[test]
fn a_budget_comes_back_with_time() {
    let mut meter = meter();
    for second in 0..1000 {
        for _ in 0..limits::H2_RESETS / 10 {
            meter.on_received(&reset(8), second * 1000);
        }
    }
    assert_eq!(meter.excess(), None, "at exactly the rate");
    for _ in 0..=limits::H2_RESETS {
        meter.on_received(&reset(8), 999_000);
    }
    assert_eq!(meter.excess(), Some(Excess::Resets));
}

/// A client that takes a large response tells for each frame of it that it has room for more, twice.
#[test]
fn windows_are_free_for_whoever_takes_content() {
    let mut meter = meter();
    for _ in 0..100_000 {
        meter.on_sent(&frame(0, 0, b"content"), 0);
        meter.on_received(&[frame(8, 0, &[0, 0, 0, 1]), frame(8, 0, &[0, 0, 0, 1])].concat(), 0);
    }
    assert_eq!(meter.excess(), None);
}

/// `net/http` of Go tells for each 4 KiB that were read, on the stream and on the connection.
#[test]
fn windows_are_free_for_whoever_takes_large_frames_bit_by_bit() {
    let (content, window) = (frame(0, 0, &[0; 16_384]), frame(8, 0, &[0, 0, 16, 0]));
    for mut meter in [meter(), Meter::of_client(0, 64 * 1024)] {
        for _ in 0..1000 {
            meter.on_sent(&content, 0);
            meter.on_received(&window.repeat(8), 0);
        }
        // Only now it reads what has gathered on the way.
        (0..1000).for_each(|_| meter.on_sent(&content, 0));
        (0..1000).for_each(|_| meter.on_received(&window.repeat(8), 0));
        assert_eq!(meter.excess(), None);
    }
}

/// What little content earns does not pay for many windows.
#[test]
fn windows_for_little_content_have_a_budget() {
    for (length, free) in [(0, 4), (1, 4), (511, 4), (512, 5), (16_384, 36)] {
        let (content, window) = (frame(0, 0, &vec![0; length]), frame(8, 0, &[0; 4]));
        for (windows, excess) in [(free, None), (free + 1, Some(Excess::Window))] {
            let mut meter = meter();
            for _ in 0..=limits::H2_CONTROL_FRAMES {
                meter.on_sent(&content, 0);
                meter.on_received(&window.repeat(windows), 0);
            }
            assert_eq!(meter.excess(), excess, "{windows} for {length}");
        }
    }
}

/// Browsers send a priority and a window with each request.
#[test]
fn each_request_may_bring_some_frames_of_its_own() {
    let mut meter = meter();
    for _ in 0..100_000 {
        meter.on_received(
            &[frame(1, 5, b"fields"), frame(2, 0, &[0; 5]), frame(8, 0, &[0; 4]), frame(16, 0, b"u=1")].concat(),
            0,
        );
    }
    assert_eq!(meter.excess(), None);
}

/// A client that gives up one request in five does nothing wrong, at whatever rate.
#[test]
fn responses_that_were_taken_pay_for_some_resets() {
    let mut meter = meter();
    for _ in 0..100_000 {
        for _ in 0..4 {
            meter.on_sent(&frame(0, 1, b"whole"), 0);
        }
        meter.on_received(&reset(8), 0);
    }
    assert_eq!(meter.excess(), None);
}

/// RFC 9113 section 10.5.1 and CVE-2024-27316: frames of one field section are few, whatever is in them.
#[test]
fn a_field_section_has_few_frames() {
    for (header_bytes, most) in [(1024, 5), (64 * 1024, 5), (256 * 1024, 20), (4 << 20, 320)] {
        let mut meter = Meter::new(0, header_bytes, limits::H2_STREAMS_DEFAULT);
        for _ in 0..3 {
            meter.on_received(&frame(1, 1, b"fields"), 0);
            for _ in 0..most {
                meter.on_received(&frame(9, 0, b""), 0);
            }
            meter.on_received(&frame(9, 4, b""), 0);
            assert_eq!(meter.excess(), None, "{header_bytes}");
        }
        meter.on_received(&frame(1, 1, b"fields"), 0);
        for _ in 0..=most {
            assert_eq!(meter.excess(), None, "{header_bytes}");
            meter.on_received(&frame(9, 0, b""), 0);
        }
        assert_eq!(meter.excess(), Some(Excess::Continuation), "{header_bytes}");
    }
}

/// What `h2` found by itself is known by the words of its GOAWAY; one that we made it send has none.
#[test]
fn an_abuse_that_h2_found_is_told_by_name() {
    for (words, excess) in [
        ("", None),
        ("header_list_way_too_large", Some(Excess::Fields)),
        ("too_many_continuations", Some(Excess::Continuation)),
        ("too_many_resets", Some(Excess::Resets)),
        ("too_many_internal_resets", Some(Excess::Resets)),
        ("too_many_data_frames", Some(Excess::EmptyContent)),
    ] {
        let goaway = frame(7, 0, &[&[0, 0, 0, 0, 0, 0, 0, 11][..], words.as_bytes()].concat());
        for size in [1, 5, goaway.len()] {
            let mut meter = meter();
            goaway.chunks(size).for_each(|piece| meter.on_sent(piece, 0));
            assert_eq!(meter.excess(), excess, "{words}");
            assert_eq!(meter.take_tally().map(|tally| tally.goaways[11]), Some(1));
        }
    }
}

/// RFC 9113 section 3.4: the first frame is one of settings.
#[test]
fn settings_come_first() {
    for (first, breach) in [
        (frame(4, 0, &[]), None),
        (frame(4, 0, &[0; 12]), None),
        (frame(4, 1, &[]), Some(Breach::Unannounced)),
        (frame(1, 5, b"fields"), Some(Breach::Unannounced)),
        (frame(0x20, 0, b"?"), Some(Breach::Unannounced)),
    ] {
        let mut meter = meter();
        meter.on_received(&first, 0);
        meter.on_received(&frame(6, 0, &[0; 8]), 0);
        assert_eq!(meter.breach(), breach, "{first:?}");
    }
}

/// RFC 9113 section 4.2 and those of the frames.
#[test]
fn frames_have_the_length_of_their_kind() {
    for (kind, flags, right, wrong) in [
        (0, 8, &[1, 2][..], &[0][..]),
        (1, 8, &[1][..], &[0][..]),
        (1, 0x20, &[5][..], &[4][..]),
        (1, 0x28, &[6][..], &[5][..]),
        (2, 0, &[5][..], &[0, 4, 6][..]),
        (3, 0, &[4][..], &[0, 3, 5][..]),
        (4, 0, &[0, 6, 12][..], &[1, 5, 7][..]),
        (4, 1, &[0][..], &[6][..]),
        (6, 0, &[8][..], &[0, 7, 9][..]),
        (7, 0, &[8, 100][..], &[0, 7][..]),
        (8, 0, &[4][..], &[0, 3, 5][..]),
        (9, 0, &[0, 100][..], &[][..]),
        (0x20, 0, &[0, 100][..], &[][..]),
    ] {
        let breach_of = |length: usize| {
            let mut meter = meter();
            meter.on_received(&frame(4, 0, &[]), 0);
            meter.on_received(&frame(kind, flags, &vec![0; length]), 0);
            meter.breach()
        };
        for length in right {
            assert_eq!(breach_of(*length), None, "{kind} of {length}");
        }
        for length in wrong {
            assert_eq!(breach_of(*length), Some(Breach::FrameSize), "{kind} of {length}");
        }
    }
}

/// RFC 9113 section 6.5.3.
#[test]
fn settings_are_owed_an_answer() {
    let mut meter = meter();
    assert!(!meter.awaits_settings());
    meter.on_sent(&frame(4, 0, &[0; 6]), 0);
    meter.on_received(&frame(4, 0, &[0; 6]), 0);
    meter.on_sent(&frame(4, 1, &[]), 0);
    assert!(meter.awaits_settings(), "settings of its own are no answer");
    meter.on_received(&frame(4, 1, &[]), 0);
    assert!(!meter.awaits_settings());
}

#[test]
fn a_tally_is_taken_once() {
    let mut meter = meter();
    meter.on_received(&reset(8), 0);
    meter.on_sent(&[frame(7, 0, &[0, 0, 0, 0, 0, 0, 0, 11]), frame(1, 5, b"x"), reset(2)].concat(), 0);
    let mut goaways = [0; ERROR_CODES];
    goaways[11] = 1;
    let tally = Tally { resets_received: 1, resets_sent: 1, fields_sent: 1, goaways, ..Tally::default() };
    assert_eq!(meter.take_tally(), Some(tally));
    assert_eq!(meter.take_tally(), None);
}

/// RFC 9113 sections 3.4 and 6.5.3: a client's preface is ours here, and its settings are known once we say so.
#[test]
fn the_side_of_a_client_knows_its_server() {
    let mut meter = Meter::of_client(0, 64 * 1024);
    meter.on_sent(PREFACE, 0);
    meter.on_sent(&frame(4, 0, b""), 0);
    meter.on_received(&frame(4, 0, b""), 0);
    assert!(!meter.is_acquainted());
    meter.on_sent(&frame(4, 1, b""), 0);
    assert!(meter.is_acquainted());
    meter.on_received(&[frame(1, 4, b"x"), frame(0, 1, b"y"), frame(7, 0, &[0; 8])].concat(), 0);
    let tally = meter.take_tally().expect("something passed");
    assert_eq!((tally.spoken, tally.goaways_received), (2, 1));
}

/// An endpoint that does not want requests says so as often as it gets them.
#[test]
fn an_endpoint_may_reset_what_it_was_asked() {
    let mut meter = Meter::of_client(0, 64 * 1024);
    for _ in 0..10 * limits::H2_RESETS {
        meter.on_received(&reset(7), 0);
        meter.on_sent(&reset(1), 0);
    }
    assert_eq!(meter.excess(), None);
    for _ in 0..=limits::H2_CONTROL_FRAMES {
        meter.on_received(&frame(6, 0, &[0; 8]), 0);
    }
    assert_eq!(meter.excess(), Some(Excess::Ping));
}

#[test]
fn every_excess_knows_its_place() {
    for (index, excess) in Excess::ALL.into_iter().enumerate() {
        assert_eq!(excess.index(), index, "{}", excess.label());
    }
}
