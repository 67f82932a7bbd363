"""HTTP/2 at saturation by h2load, whose words become the figures that wrk's script prints."""

import re

import children

# How much longer than planned it may take.
GRACE = 30


def run(scenario, port, seconds, log):
    """As fast as it is answered, for so long: requests, failures, bytes of bodies and percentiles."""
    url = f"{scenario.front.scheme}://127.0.0.1:{port}{scenario.path}"
    # It appends to a log that is there already.
    log.unlink(missing_ok=True)
    command = ["h2load", "-t1", f"-c{scenario.connections}", f"-m{scenario.streams}", "-D", f"{max(seconds, 1):g}"]
    words = children.run([*command, f"--log-file={log}", url], seconds + GRACE)
    return {**_counts(words), **_percentiles(log)}


def _counts(words):
    requests = dict((what, int(count)) for count, what in re.findall(r"(\d+) (done|failed|errored|timeout)\b", words))
    good = int(_found(r"status codes: (\d+) 2xx", words))
    length = _found(r"finished in ([\d.]+)(s|ms)\b", words, 0)
    seconds = float(re.search(r"([\d.]+)", length).group(1)) / (1000 if length.endswith("ms") else 1)
    failures = {kind: requests[kind] for kind in ("failed", "errored", "timeout")}
    failures["status"] = requests["done"] - good
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
