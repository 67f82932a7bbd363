//! The way of a record from a worker to the writer: a single-producer, single-consumer ring of bytes.

use rtrb::{Consumer, Producer, RingBuffer};

use super::record::{Decoded, RECORD_BYTES_MAX, Record};
use crate::limits;

const PREFIX: usize = size_of::<u32>();

const _: () = assert!(RECORD_BYTES_MAX + PREFIX < limits::LOG_RING_BYTES);

/// The end where messages go in.
#[derive(Debug)]
pub(super) struct ByteRing {
    producer: Producer<u8>,
    scratch: Vec<u8>,
}

/// The end where they come out.
#[derive(Debug)]
pub(super) struct ByteDrain {
    consumer: Consumer<u8>,
    scratch: Box<[u8]>,
}

/// Both ends of a ring of `bytes` for messages of `most` bytes each.
pub(super) fn byte_ring(bytes: usize, most: usize) -> (ByteRing, ByteDrain) {
    let (producer, consumer) = RingBuffer::new(bytes);
    (
        ByteRing { producer, scratch: Vec::with_capacity(most + PREFIX) },
        ByteDrain { consumer, scratch: vec![0; most].into_boxed_slice() },
    )
}

impl ByteRing {
    /// Copies what `encode` appends into the ring; `false` when it does not fit now.
    ///
    /// Neither allocates nor waits.
    pub(super) fn try_push(&mut self, encode: impl FnOnce(&mut Vec<u8>)) -> bool {
        self.scratch.clear();
        self.scratch.extend_from_slice(&[0; PREFIX]);
        let room = self.scratch.capacity();
        encode(&mut self.scratch);
        debug_assert!(self.scratch.len() <= room, "a message is longer than its bound");
        let length = u32::try_from(self.scratch.len() - PREFIX).expect("a message fits in its ring");
        self.scratch[..PREFIX].copy_from_slice(&length.to_le_bytes());
        self.producer.push_entire_slice(&self.scratch).is_ok()
    }
}

impl ByteDrain {
    /// Takes the oldest message, if there is one.
    pub(super) fn try_pop(&mut self) -> Option<&[u8]> {
        let mut prefix = [0; PREFIX];
        self.consumer.pop_entire_slice(&mut prefix).ok()?;
        // The producer publishes prefix and message in one step, so the message is there with its prefix.
        let message = &mut self.scratch[..u32::from_le_bytes(prefix) as usize];
        self.consumer.pop_entire_slice(message).expect("a message is published with its length");
        Some(message)
    }

    /// Whether the other end is gone and nothing can follow.
    pub(super) fn is_abandoned(&self) -> bool {
        self.consumer.is_abandoned()
    }

    /// Whether nothing waits now.
    pub(super) fn is_empty(&self) -> bool {
        self.consumer.is_empty()
    }

    /// Bytes that wait now.
    pub(super) fn waiting(&self) -> usize {
        self.consumer.slots()
    }
}

/// The worker's end: records go in, and are dropped when there is no room.
#[derive(Debug)]
pub struct LogRing(ByteRing);

/// The writer's end.
#[derive(Debug)]
pub struct LogDrain(ByteDrain);

/// Both ends of a ring of `LOG_RING_BYTES`.
#[must_use]
pub fn ring() -> (LogRing, LogDrain) {
    ring_of(limits::LOG_RING_BYTES)
}

fn ring_of(bytes: usize) -> (LogRing, LogDrain) {
    let (ring, drain) = byte_ring(bytes, RECORD_BYTES_MAX);
    (LogRing(ring), LogDrain(drain))
}

impl LogRing {
    /// Copies `record` into the ring; `false` when it does not fit now, and then the caller counts it as dropped.
    ///
    /// Neither allocates nor waits.
    pub fn try_push(&mut self, record: &Record<'_>) -> bool {
        self.0.try_push(|out| record.encode(out))
    }
}

impl LogDrain {
    /// Takes the oldest record, if there is one.
    pub fn try_pop(&mut self) -> Option<Decoded<'_>> {
        let bytes = self.0.try_pop()?;
        Some(Decoded::of(bytes).expect("the ring carries only what Record::encode wrote"))
    }

    /// Whether the worker is gone and nothing can follow.
    #[must_use]
    pub fn is_abandoned(&self) -> bool {
        self.0.is_abandoned()
    }

    /// Whether nothing waits now.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::tests::full;
    use super::*;

    #[test]
    fn records_come_out_in_order_across_many_turns_of_the_ring() {
        let (mut ring, mut drain) = ring_of(1_000);
        for epoch in 0..10_000 {
            assert!(ring.try_push(&Record { epoch, ..full() }));
            assert_eq!(drain.try_pop().unwrap().record.epoch, epoch);
        }
        assert!(drain.try_pop().is_none());
    }

    #[test]
    fn a_full_ring_refuses_and_takes_again_once_drained() {
        let (mut ring, mut drain) = ring_of(1_000);
        let mut pushed = 0;
        while ring.try_push(&Record { epoch: pushed, ..full() }) {
            pushed += 1;
        }
        assert!(pushed >= 2);
        assert!(!ring.try_push(&full()), "a refused record must leave nothing behind");
        for epoch in 0..pushed {
            assert_eq!(drain.try_pop().unwrap().record.epoch, epoch);
        }
        assert!(drain.try_pop().is_none() && drain.is_empty());
        assert!(ring.try_push(&full()));
    }

    #[test]
    fn a_push_does_not_grow_the_scratch_space() {
        let (mut ring, _drain) = ring();
        let capacity = ring.0.scratch.capacity();
        let long = vec![b'x'; 2 * limits::LOG_FIELD_BYTES];
        assert!(ring.try_push(&Record { path: &long, host: &long, user_agent: &long, method: &long, ..full() }));
        assert_eq!(ring.0.scratch.capacity(), capacity);
    }

    #[test]
    fn every_record_crosses_threads_whole() {
        let (mut ring, mut drain) = ring_of(2_000);
        #[allow(clippy::disallowed_methods, reason = "a test of two threads")]
        let writer = std::thread::spawn(move || {
            for epoch in 0..20_000 {
                while !ring.try_push(&Record { epoch, ..full() }) {
                    std::thread::yield_now();
                }
            }
        });
        let mut next = 0;
        while next < 20_000 {
            match drain.try_pop() {
                Some(Decoded { record, .. }) => {
                    assert_eq!((record.epoch, record.path), (next, b"/a".as_slice()));
                    next += 1;
                }
                None => std::thread::yield_now(),
            }
        }
        writer.join().unwrap();
        assert!(drain.is_abandoned());
    }
}
