//! Why requests are sent once more, and why they are not.

/// Why a request was sent once more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retried {
    /// A reused connection died before a byte of response.
    Reused,
    /// A fresh connection did.
    Reset,
    /// No response head came in time.
    Timeout,
    /// The response had a status that the route names.
    Status,
    /// The endpoint did nothing with it and said so.
    Refused,
    /// No connection came about.
    Connect,
}

/// Why a request was not sent once more although its attempt failed in a way that is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotRetried {
    /// Its method is not idempotent (RFC 9110 section 9.2.2).
    NonIdempotent,
    /// Something went to the client already.
    Answered,
    /// Its body was not kept, or is still on its way.
    Body,
    /// The route's attempts were made.
    Attempts,
    /// The deadline would have passed.
    Deadline,
    /// The budget was used up.
    Budget,
    /// No endpoint was left but those that failed, which are not asked again.
    Endpoint,
}

impl Retried {
    /// One of each, in the order of their counters.
    pub const ALL: [Self; 6] = [Self::Reused, Self::Reset, Self::Timeout, Self::Status, Self::Refused, Self::Connect];

    /// The name in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Reused => "reused",
            Self::Reset => "reset",
            Self::Timeout => "timeout",
            Self::Status => "status",
            Self::Refused => "refused",
            Self::Connect => "connect",
        }
    }
}

impl NotRetried {
    /// One of each, in the order of their counters.
    pub const ALL: [Self; 7] =
        [Self::NonIdempotent, Self::Answered, Self::Body, Self::Attempts, Self::Deadline, Self::Budget, Self::Endpoint];

    /// The name in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NonIdempotent => "non_idempotent",
            Self::Answered => "answered",
            Self::Body => "body",
            Self::Attempts => "attempts",
            Self::Deadline => "deadline",
            Self::Budget => "budget",
            Self::Endpoint => "no_other_endpoint",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_the_counters_is_that_of_the_kinds() {
        assert!(Retried::ALL.iter().enumerate().all(|(at, kind)| *kind as usize == at));
        assert!(NotRetried::ALL.iter().enumerate().all(|(at, kind)| *kind as usize == at));
    }
}
