"""HTTP/2 at saturation by h2load, whose words become the figures that wrk's script prints."""

import math
import re

import children

# How much longer than planned it may take.
GRACE = 30


def run(scenario, port, seconds, log, more=()):
    """As fast as it is answered, for so long: requests, failures, bytes of bodies and percentiles. `more` are arguments."""
    url = f"{scenario.front.scheme}://127.0.0.1:{port}{scenario.path}"
    # It appends to a log that is there already.
    log.unlink(missing_ok=True)
    # It takes whole seconds.
    whole = str(max(math.ceil(seconds), 1))
    command = ["h2load", "-t1", f"-c{scenario.connections}", f"-m{scenario.streams}", "-D", whole]
    words = children.run([*command, f"--log-file={log}", *more, url], seconds + GRACE)
    return {**_counts(words), **_percentiles(log)}


def check_call(scenario, port, arguments):
    """One call of gRPC by nghttp, which shows what h2load does not: the fields behind the message."""
    url = f"{scenario.front.scheme}://127.0.0.1:{port}{scenario.path}"
    words = children.run(["nghttp", "-v", *arguments, url], GRACE)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", words)
    received = plain.partition("recv (stream_id=")[2]
    for wanted in (r":status: 200", rf"recv DATA frame <length={scenario.body},", r"grpc-status: 0"):
        if not re.search(wanted, received):
            raise RuntimeError(f"a call was answered without {wanted!r}:\n{plain}")


def _counts(words):
    requests = dict((what, int(count)) for count, what in re.findall(r"(\d+) (done|failed|errored|timeout)\b", words))
    # Told by those that say so, as the responses that are under way at the end have a status and are not done.
    bad = _found(r"status codes: (\d+ 2xx, .*)", words)
    length = _found(r"finished in ([\d.]+)(s|ms)\b", words, 0)
    seconds = float(re.search(r"([\d.]+)", length).group(1)) / (1000 if length.endswith("ms") else 1)
    failures = {kind: requests[kind] for kind in ("failed", "errored", "timeout")}
    failures["status"] = sum(int(count) for count in re.findall(r"(\d+) [345]xx", bad))
    return {
        "requests": requests["done"],
        "seconds": seconds,
        "bytes": int(_found(r"\((\d+)\) data", words)),
        "failures": failures,
    }


def _found(pattern, words, group=1):
    found = re.search(pattern, words)
    if not found:
        raise RuntimeError(f"h2load says nothing like {pattern!r}: {words}")
    return found.group(group)


def _percentiles(log):
    # When it began, status, microseconds that it took.
    with open(log) as lines:
        took = sorted(int(line.split("\t")[2]) for line in lines)
    if not took:
        return {}
    at = lambda share: took[min(int(len(took) * share), len(took) - 1)]
    return {"p50_us": at(0.5), "p99_us": at(0.99), "p999_us": at(0.999), "max_us": took[-1]}
