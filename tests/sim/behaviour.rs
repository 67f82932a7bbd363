//! What an endpoint does with one request.

use crate::chance::Chance;

/// How an endpoint frames its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    Length,
    Chunked,
    UntilClose,
}

/// What an endpoint does with one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Behaviour {
    pub(crate) status: u16,
    pub(crate) shape: Shape,
    pub(crate) length: usize,
    pub(crate) interims: usize,
    pub(crate) delay_ms: u64,
    /// Milliseconds between the pieces of the answer.
    pub(crate) pace_ms: u64,
    pub(crate) closes: bool,
    pub(crate) trouble: Trouble,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    None,
    /// Answers before it has read the body, and closes.
    Early,
    /// Reads the request and never answers.
    Stall,
    /// Reads the request and closes, in order or with a reset.
    Gone {
        reset: bool,
    },
    /// Does not even read the whole head of the next request.
    GoneAtOnce,
    /// Sends so many bytes of the answer and closes, or with a reset, or stalls.
    Cut {
        at: usize,
        reset: bool,
        stall: bool,
    },
    /// Sends a whole response more than was asked for.
    Extra,
    /// Answers with rubbish.
    Rubbish(usize),
    /// Sends interim responses without end.
    Flood,
}

impl Behaviour {
    pub(crate) fn calm(chance: &Chance) -> Self {
        Self {
            status: chance.pick(&[200, 200, 200, 201, 204, 304, 404, 500]),
            shape: chance.pick(&[Shape::Length, Shape::Length, Shape::Chunked, Shape::Chunked, Shape::UntilClose]),
            length: chance.pick(&[0, 1, 5, 100, 1000, 9000, 16_384, 40_000]),
            interims: chance.pick(&[0, 0, 0, 0, 1, 2]),
            delay_ms: chance.pick(&[0, 0, 0, 1, 7, 80, 300]),
            pace_ms: chance.pick(&[0, 0, 0, 0, 1, 15]),
            closes: chance.one_in(6),
            trouble: Trouble::None,
        }
    }

    /// Nothing that a breaker or a retry could mind.
    pub(crate) fn good(chance: &Chance) -> Self {
        let calm = Self::calm(chance);
        Self {
            status: chance.pick(&[200, 200, 201, 204, 304, 404]),
            length: calm.length.min(1_000),
            // A host that dies ends such an answer, and nobody can tell.
            shape: if calm.shape == Shape::UntilClose { Shape::Length } else { calm.shape },
            delay_ms: chance.pick(&[0, 1, 7, 30, 120, 200]),
            ..calm
        }
    }

    pub(crate) fn wild(chance: &Chance) -> Self {
        let mut wild = Self::calm(chance);
        let at = chance.pick(&[1, 10, 60, 150, 300, 400, 1000, 8000]);
        let reset = chance.one_in(2);
        wild.trouble = match chance.below(16) {
            0 => Trouble::Early,
            1 => Trouble::Stall,
            2 | 3 => Trouble::Gone { reset },
            4 => Trouble::GoneAtOnce,
            5..=7 => Trouble::Cut { at, reset, stall: chance.one_in(4) },
            8 | 9 => Trouble::Extra,
            10 => Trouble::Rubbish(chance.below(RUBBISH.len())),
            11 if chance.one_in(3) => Trouble::Flood,
            _ => Trouble::None,
        };
        if wild.trouble == Trouble::Extra && wild.shape == Shape::UntilClose {
            // Whatever follows such an answer is part of it.
            wild.shape = Shape::Length;
        }
        if wild.trouble == Trouble::Early {
            wild.status = chance.pick(&[401, 413, 200]);
        }
        wild
    }
}

/// Responses that must not be relayed.
pub(crate) const RUBBISH: [&[u8]; 6] = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nbad\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nbad!",
    b"HTTP/1.1 200 OK\r\nContent-Length: -3\r\n\r\nbad",
    b"SSH-2.0-OpenSSH_9.2p1\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nX-Nul: a\0b\r\nContent-Length: 3\r\n\r\nbad",
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n",
];
