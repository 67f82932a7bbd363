//! The lines of a log, however long and however many.

use std::io::{self, BufRead};

use memchr::memchr;

/// Longest line of a log that is looked at: twice what the longest record takes with every character of it escaped.
pub(super) const LINE_BYTES_MAX: usize = 320 * 1024;

/// What was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// The line is in the buffer; `is_cut`: nothing ends it.
    Line { is_cut: bool },
    /// It is longer than a line may be, and was passed over.
    TooLong,
    /// There is no further one.
    End,
}

/// Reads the next line into `line`, without its end.
pub(super) fn next(from: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<Read> {
    line.clear();
    let mut is_too_long = false;
    loop {
        let there = match from.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        let (end, used) = match memchr(b'\n', there) {
            Some(end) => (end, end + 1),
            None => (there.len(), there.len()),
        };
        let is_over = used == 0 || used > end;
        let is_end = used == 0 && line.is_empty() && !is_too_long;
        is_too_long |= line.len() + end > LINE_BYTES_MAX;
        if !is_too_long {
            line.extend_from_slice(&there[..end]);
        }
        from.consume(used);
        if is_end {
            return Ok(Read::End);
        }
        if is_over {
            return Ok(if is_too_long { Read::TooLong } else { Read::Line { is_cut: used == 0 } });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use super::*;

    fn read_all(text: &[u8], room: usize) -> Vec<(Read, String)> {
        let (mut from, mut line, mut all) = (BufReader::with_capacity(room, text), Vec::new(), Vec::new());
        loop {
            match next(&mut from, &mut line).unwrap() {
                Read::End => return all,
                read @ (Read::Line { .. } | Read::TooLong) => {
                    all.push((read, String::from_utf8(line.clone()).unwrap()))
                }
            }
        }
    }

    #[test]
    fn lines_are_the_same_however_they_arrive() {
        let whole = Read::Line { is_cut: false };
        for room in [1, 2, 3, 100] {
            let lines = read_all(b"one\n\ntwo\nthr", room);
            let cut = Read::Line { is_cut: true };
            let expected = [(whole, "one"), (whole, ""), (whole, "two"), (cut, "thr")];
            assert_eq!(lines, expected.map(|(read, text)| (read, text.to_owned())), "{room}");
            assert_eq!(read_all(b"", room), []);
        }
    }

    #[test]
    fn a_line_that_is_too_long_takes_no_room_and_no_other_line_with_it() {
        let text = [&vec![b'x'; 10 * LINE_BYTES_MAX][..], b"\nshort\n", &vec![b'y'; LINE_BYTES_MAX + 1]].concat();
        let (mut from, mut line) = (BufReader::new(&*text), Vec::new());
        assert_eq!(next(&mut from, &mut line).unwrap(), Read::TooLong);
        assert_eq!(next(&mut from, &mut line).unwrap(), Read::Line { is_cut: false });
        assert_eq!(line, b"short");
        assert_eq!(next(&mut from, &mut line).unwrap(), Read::TooLong);
        assert_eq!(next(&mut from, &mut line).unwrap(), Read::End);
        assert!(line.capacity() <= 2 * LINE_BYTES_MAX, "{}", line.capacity());
    }
}
