//! The scripts that count in Redis: one atomic step each, by the clock of the server.
//!
//! A key is a hash that is gone once it says nothing any more. Numbers are microseconds and fit the 53 bits of a double; they
//! are written by `%.0f`, because Lua would round them otherwise.

/// The time of the server in microseconds.
const NOW: &str = "local t = redis.call('TIME')\nlocal now = t[1] * 1000000 + t[2]\n";

/// `KEYS[1]`; `ARGV`: limit, period, wanted. Answers with granted, left, reset, retry.
///
/// The window before counts by the part of it that still reaches into the period that ends now, rounded up.
const SLIDING_WINDOW: &str = "\
local limit, period, want = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local start = now - now % period
local held = redis.call('HMGET', KEYS[1], 's', 'c', 'p')
local s, c, p = tonumber(held[1]), tonumber(held[2]) or 0, tonumber(held[3]) or 0
if s ~= start then
  if s == start - period then p = c else p = 0 end
  c = 0
end
local into = now - start
local free = limit - c - math.ceil(p * (period - into) / period)
local granted = math.max(0, math.min(want, free))
if granted > 0 then
  c = c + granted
  redis.call('HSET', KEYS[1], 's', string.format('%.0f', start), 'c', c, 'p', p)
  redis.call('PEXPIRE', KEYS[1], string.format('%.0f', math.ceil((2 * period - into) / 1000)))
end
local retry = 0
if granted == 0 and want > 0 then
  if c < limit then
    retry = math.ceil(period * (1 - (limit - c - 1) / p)) - into
  else
    retry = period - into + math.ceil(period * (1 - (limit - 1) / c))
  end
end
return {granted, math.max(0, free - granted), period - into, math.max(retry, 0)}
";

/// `KEYS[1]`; `ARGV`: limit, period, wanted, burst. Answers as the other one.
///
/// The generic cell rate algorithm (ITU-T I.371): the state is the time at which the bucket is full again.
/// A reload may have made it smaller: emptier than empty it never is.
const TOKEN_BUCKET: &str = "\
local limit, period, want, burst = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local each = period / limit
local held = tonumber(redis.call('HGET', KEYS[1], 'f')) or 0
local full = math.max(math.min(held, now + math.ceil(burst * each)), now)
local free = math.floor((burst * each - (full - now)) / each + 0.000001)
local granted = math.max(0, math.min(want, free))
full = full + math.ceil(granted * each)
if granted > 0 or full < held then
  redis.call('HSET', KEYS[1], 'f', string.format('%.0f', full))
  redis.call('PEXPIRE', KEYS[1], string.format('%.0f', math.ceil((full - now) / 1000) + 1))
end
local retry = 0
if granted == 0 and want > 0 then retry = math.ceil(full - now - (burst - 1) * each) end
return {granted, math.max(0, free - granted), math.ceil(full - now), math.max(retry, 0)}
";

/// The script of the sliding window.
pub(super) fn sliding_window() -> redis::Script {
    redis::Script::new(&[NOW, SLIDING_WINDOW].concat())
}

/// The script of the token bucket.
pub(super) fn token_bucket() -> redis::Script {
    redis::Script::new(&[NOW, TOKEN_BUCKET].concat())
}

#[cfg(test)]
pub(super) mod at {
    //! The scripts at a time of the test's own: the last argument.

    const NOW: &str = "local now = tonumber(ARGV[5])\n";

    pub(in super::super) fn sliding_window() -> redis::Script {
        redis::Script::new(&[NOW, super::SLIDING_WINDOW].concat())
    }

    pub(in super::super) fn token_bucket() -> redis::Script {
        redis::Script::new(&[NOW, super::TOKEN_BUCKET].concat())
    }
}
