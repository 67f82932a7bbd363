-- Sends what the first argument names and prints the figures of the run as one JSON line.
-- (wrk calls init before it builds the one request that it repeats.)
function init(args)
  if args[1] == "upload" then
    wrk.method = "POST"
    wrk.body = string.rep("u", 1024 * 1024)
  elseif args[1] == "close" then
    wrk.headers["Connection"] = "close"
  elseif args[1] == "balance" then
    for user = 1, USERS do
      wrk.headers["X-User"] = "user-" .. user
      requests[user] = wrk.format()
    end
    request = next_user
  end
end

-- What consistent hashing goes by, for all strategies alike.
USERS = 1024
requests = {}
local user = 0
function next_user()
  user = user % USERS + 1
  return requests[user]
end

function done(summary, latency)
  local e = summary.errors
  io.write(string.format(
    '\n{"requests":%d,"seconds":%.6f,"bytes":%d,"p50_us":%.1f,"p99_us":%.1f,"p999_us":%.1f,"max_us":%.1f,' ..
      '"failures":{"connect":%d,"read":%d,"write":%d,"status":%d,"timeout":%d}}\n',
    summary.requests, summary.duration / 1e6, summary.bytes,
    latency:percentile(50), latency:percentile(99), latency:percentile(99.9), latency.max,
    e.connect, e.read, e.write, e.status, e.timeout))
end
