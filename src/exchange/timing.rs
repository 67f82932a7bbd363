//! What an exchange spent its time on: its stages as they are counted, and as a trusted peer is told of them.

use super::held::{Exchange, Sending};
use crate::net::Env;
use crate::telemetry::{Millis, Stage};

impl<E: Env> Exchange<'_, E> {
    /// Its route is known.
    pub(super) fn on_routed(&self) {
        if self.tally.is_timed {
            self.count_until_now(Stage::Route);
        }
    }

    /// The head of its first attempt is about to go out on a connection that had rested: when it goes, as the attempt has it.
    pub(super) fn on_reused(&self) -> u64 {
        if self.tally.is_timed {
            self.count_until_now(Stage::Reuse);
        }
        self.tally.ready_ns.get()
    }

    /// Counts a stage that began when the request was last seen to be ready, and ends here.
    fn count_until_now(&self, stage: Stage) {
        let now_ns = self.shard.env.now_ns();
        let took_ns = now_ns.saturating_sub(self.tally.ready_ns.replace(now_ns));
        self.shard.counters.stages.observe(stage, took_ns);
    }

    /// It is for the rate limits to say whether it may pass.
    pub(super) fn on_limits(&self) {
        let now_ns = self.shard.env.now_ns();
        self.tally.ready_ns.set(now_ns);
        self.tally.limits_ns.set(now_ns);
    }

    /// Whatever the policies asked, they let the request pass or refused it now.
    pub(super) fn on_policies_asked(&self) {
        let (now_ns, tally) = (self.shard.env.now_ns(), &self.tally);
        tally.admit_ns.set(now_ns.saturating_sub(tally.started_ns + tally.head_ns).max(1));
        // What was waited for so far was theirs.
        tally.queue_ns.set(0);
        tally.ready_ns.set(now_ns);
        if tally.limits_ns.get() > 0 {
            self.shard.counters.stages.observe(Stage::Limiter, now_ns.saturating_sub(tally.limits_ns.get()));
        }
    }

    /// What the endpoint has taken by `now_ns`: since all of the request was there, as the time that a client takes for its body
    /// says nothing of the endpoint. Nothing is known while the client is to send.
    pub(super) fn endpoint_ns(&self, sending: &Sending, now_ns: u64) -> Option<u64> {
        let since_ns = self.tally.sent_ns.get().max(sending.done_ns.get());
        sending.asked_ms().map(|_| now_ns.saturating_sub(since_ns))
    }

    /// From the first byte of the answer to the end of an exchange that took so long; 0 without an answer.
    pub(super) fn body_ns(&self, duration_ns: u64) -> u64 {
        let tally = &self.tally;
        match tally.first_byte_ns.get() {
            0 => 0,
            first_byte_ns => {
                (tally.started_ns + duration_ns).saturating_sub(tally.sent_ns.get() + first_byte_ns).max(1)
            }
        }
    }

    /// Counts the stages of an exchange that took so long: those that there were.
    pub(super) fn count_stages(&self, duration_ns: u64) {
        let (tally, stages) = (&self.tally, &self.shard.counters.stages);
        // A tunnel says nothing about how long bodies take.
        let body_ns = if tally.switched_ns.get() == 0 { self.body_ns(duration_ns) } else { 0 };
        for (stage, ns) in [
            (Stage::Head, tally.head_ns),
            (Stage::Admit, tally.admit_ns.get()),
            (Stage::Queue, tally.queue_ns.get()),
            (Stage::Connect, tally.connect_ns.get()),
            (Stage::FirstByte, tally.first_byte_ns.get()),
            (Stage::Body, body_ns),
        ] {
            if ns > 0 {
                stages.observe(stage, ns);
            }
        }
    }

    /// What a trusted peer, if it is to be told, is told of what took how long; empty for others (<https://www.w3.org/TR/server-timing/>).
    pub(super) fn timing_line<'t>(&self, place: &'t mut Option<Millis>) -> &'t [u8] {
        if !self.adopted.snapshot.server_timing || !self.is_trusted {
            return b"";
        }
        let tally = &self.tally;
        let waits = [
            (&b", admit;dur="[..], tally.admit_ns.get()),
            (b", queue;dur=", tally.queue_ns.get()),
            (b", connect;dur=", tally.connect_ns.get()),
            (b", upstream;dur=", tally.first_byte_ns.get()),
        ];
        let head = (&b"Server-Timing: head;dur="[..], tally.head_ns);
        Millis::write(place, std::iter::once(head).chain(waits.into_iter().filter(|(_, ns)| *ns > 0)), b"\r\n")
    }
}
