"""What is measured: each function takes one figure of one contender, on a proxy started for it alone."""

import http.client
import json
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

import children
import fronts
import h2load
import sources
import tokens
import variants
from gauges import machine_us, tools_us, usage

HERE = Path(__file__).parent
WARMUP = 1.0
ORIGINS = 3
# How much longer than planned a tool of the load side may take.
GRACE = 30
IDLE_CONNECTIONS = 10_000
# Bytes of a message of gRPC, and of what goes before it.
MESSAGE, PREFIX = 100, 5
RELOADS_PER_SECOND = 1
POLL_SECONDS = 0.002
SCRAPE_SECONDS = 1
SPREAD_CONNECTIONS = 8
# Requests that follow one another on a connection without waiting, so that the load side does with little CPU.
SPREAD_BATCH = 16


@dataclass(frozen=True)
class Scenario:
    name: str
    title: str
    kind: str
    path: str = "/small"
    connections: int = 64
    body: int = 13
    # What clients connect to; only who has such a front takes part.
    front: fronts.Front = fronts.PLAIN
    # Of HTTP/2, on each connection at once.
    streams: int = 0
    resumes: bool = False
    # A fixed rate: this part of what the slowest contender answers in the scenario `base`.
    share: float = 0.0
    base: str = "small"
    # Who takes part, given those of the command line; those themselves when it is left out.
    cast: Callable | None = None
    # Further lines of each request.
    fields: tuple[str, ...] = ()


# As many slow requests as the origin has time for (rig/src/bin/slow.rs); a load that is none, and one that is too much.
SLOW_PER_SECOND = 1600
CALM, OVERLOAD = 0.25, 3
# Until a limit has been found.
SETTLING = 3.0
# A trace that somebody has begun.
TRACED = "Traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
SPREAD_TITLE = "local replies to 8 connections that the kernel gives to one of 2 workers"
SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario("small", "13 B GET, 64 connections", "saturate"),
        Scenario("10k", "10 KB GET, 64 connections", "saturate", "/10k", 64, 10 * 1024),
        Scenario("1m", "1 MB GET, 16 connections", "saturate", "/1m", 16, 1024 * 1024),
        Scenario("upload", "1 MB POST, 16 connections", "saturate", "/upload", 16, 2),
        Scenario("close", "a new connection per request, 32 at a time", "saturate", connections=32),
        Scenario("many", "13 B GET, 1000 connections", "saturate", connections=1000),
        Scenario("tail50", "13 B GET at 50 % of the slowest's saturation", "rate", share=0.5),
        Scenario("tail80", "13 B GET at 80 % of the slowest's saturation", "rate", share=0.8),
        Scenario("tls", "13 B GET over TLS, 64 connections", "saturate", front=fronts.TLS),
        Scenario("tls-full", "a new TLS connection per request, 16 at a time", "handshakes", connections=16, front=fronts.TLS),
        Scenario(
            "tls-resumed", "the same, each resumed by a ticket", "handshakes",
            connections=16, front=fronts.TLS, resumes=True,
        ),
        Scenario("tls-1m", "1 MB GET over TLS, 16 connections", "saturate", "/1m", 16, 1024 * 1024, front=fronts.TLS),
        Scenario(
            "h2c", "13 B GET, HTTP/2 without TLS, 8 connections x 32 streams", "streams",
            connections=8, streams=32, front=fronts.H2C,
        ),
        Scenario(
            "h2", "13 B GET, HTTP/2 over TLS, 4 connections x 100 streams", "streams",
            connections=4, streams=100, front=fronts.H2,
        ),
        Scenario(
            "grpc", "gRPC unary, 100 B each way, HTTP/2 without TLS on both sides, 8 connections x 32 streams", "calls",
            path="/bench.Echo/Unary", connections=8, streams=32, body=MESSAGE + PREFIX, front=fronts.GRPC,
        ),
        Scenario("idle", f"{IDLE_CONNECTIONS} idle keep-alive clients", "idle", connections=IDLE_CONNECTIONS),
        Scenario("reload", "reload of 10,000 routes at 50 % load", "reload", share=0.5),
        Scenario("balance", "13 B GET, 64 connections, three endpoints", "saturate", cast=variants.strategies),
        Scenario(
            "balance50", "the same at 50 % of the slowest's saturation", "rate",
            share=0.5, base="balance", cast=variants.strategies,
        ),
        Scenario(
            "policies", "13 B GET with a token and a trace, 64 connections", "policed",
            cast=variants.policies, fields=(tokens.bearer(), TRACED),
        ),
        Scenario("limits", "13 B GET, 64 connections, under a limit that is never reached", "saturate", cast=variants.limits),
        Scenario(
            "limits50", "the same at 50 % of the slowest's saturation", "rate",
            share=0.5, base="limits", cast=variants.limits,
        ),
        Scenario(
            "overload", f"three times what the origin has time for, {SLOW_PER_SECOND} requests/s of some 10 ms", "overload",
            connections=512, cast=variants.overload,
        ),
        Scenario("seeing", "13 B GET, 64 connections, nothing told of it or everything", "watched", cast=variants.seeing),
        Scenario(
            "scraped", "the same at 50 %, with 1,000 routes and 200 endpoints, never scraped or once a second", "scraped",
            share=0.5, base="seeing", cast=variants.scraped,
        ),
        Scenario("spread", SPREAD_TITLE, "spread", "/local", SPREAD_CONNECTIONS, cast=variants.spread),
        Scenario(
            "spread80", f"{SPREAD_TITLE}, 80 % of one worker", "spread", "/local", SPREAD_CONNECTIONS,
            share=0.8, base="spread", cast=variants.spread,
        ),
    )
}


class Bench:
    """The load side of a run: tools, origin, how long."""

    def __init__(self, tools, folder, seconds):
        self.tools, self.load, self.folder, self.seconds = tools, tools / "load", folder, seconds
        self.origins, self.shared_port = {}, children.free_port()
        # What only some scenarios need: a port and the process behind it.
        self.others = {}
        for _ in range(ORIGINS):
            port = children.free_port()
            command = [tools / "origin", "--port", port, "--shared", self.shared_port]
            quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
            self.origins[port] = children.start(command, children.LOAD_CPU, **quiet)
            children.wait_for_port(port, self.origins[port])

    def _other(self, *command):
        """The port of what a command starts; it runs from when it is first asked for, and to the end."""
        if command[0] not in self.others:
            port = children.free_port()
            quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
            child = children.start([*command, "--port", port], children.LOAD_CPU, **quiet)
            children.wait_for_port(port, child)
            self.others[command[0]] = port, child
        return self.others[command[0]][0]

    def measure(self, scenario, contender, rate):
        generations = {"reload": self.reloads() + 1, "spread": 2}.get(scenario.kind)
        front = scenario.front.certified(self.folder)
        origins = [*self.origins, self.shared_port]
        if front.calls:
            origins = [self._other(self.tools / "calls", "--bytes", MESSAGE)]
        if scenario.kind == "overload":
            origins = [self._other(self.tools / "slow")]
        if getattr(contender, "wants_store", False):
            # It keeps nothing and listens to nobody else.
            alone = ["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", self.folder]
            contender.store_port = self._other("redis-server", *alone)
        if getattr(contender, "wants_collector", False):
            contender.collector_port = self._other(sys.executable, HERE / "collector.py")
        proxy = contender.start(self.folder, origins, generations, front)
        try:
            return getattr(self, scenario.kind)(scenario, proxy, rate)
        finally:
            proxy.stop()

    def reloads(self):
        return max(int(self.seconds * RELOADS_PER_SECOND), 1)

    def saturate(self, scenario, proxy, _rate):
        self._wrk(scenario, proxy.port, WARMUP)
        return self._gauged(proxy, lambda: self._wrk(scenario, proxy.port, self.seconds), scenario.body)

    def streams(self, scenario, proxy, _rate):
        load = lambda seconds: h2load.run(scenario, proxy.port, seconds, self.folder / "h2load.log")
        load(WARMUP)
        return self._gauged(proxy, lambda: load(self.seconds), scenario.body)

    def calls(self, scenario, proxy, _rate):
        message = self.folder / "message"
        message.write_bytes(bytes(1) + MESSAGE.to_bytes(4) + b"m" * MESSAGE)
        more = ["-d", message, "-H", "content-type: application/grpc", "-H", "te: trailers"]
        h2load.check_call(scenario, proxy.port, more)
        load = lambda seconds: h2load.run(scenario, proxy.port, seconds, self.folder / "h2load.log", more)
        load(WARMUP)
        figures = self._gauged(proxy, lambda: load(self.seconds), scenario.body)
        # The origin of gRPC does not tell who has come.
        return {name: figure for name, figure in figures.items() if name not in ("reuse", "shares")}

    def policed(self, scenario, proxy, rate):
        figures = self.saturate(scenario, proxy, rate)
        # Only the gateway has metrics to ask for.
        return {**figures, "dropped": _counted(proxy, "access_log_dropped_total") / figures["requests"]} if proxy.admin else figures

    def watched(self, scenario, proxy, rate):
        with Scraper(proxy):
            figures = self.policed(scenario, proxy, rate)
        lost, taken = (_counted(proxy, f"traces_{what}_total") for what in ("dropped", "exported"))
        return {**figures, "spans_dropped": lost / (lost + taken)} if lost + taken else figures

    def scraped(self, scenario, proxy, rate):
        visited = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=10)
        for number in range(variants.SHOWN_ROUTES):
            visited.request("GET", variants.shown_path(number))
            visited.getresponse().read()
        visited.close()
        with Scraper(proxy) as scraper:
            figures = self.rate(scenario, proxy, rate)
        return {**figures, "scrape_ms": scraper.took_ms, "page_kib": len(_metrics(proxy)) / 1024}

    def handshakes(self, scenario, proxy, _rate):
        believed = scenario.front.certified(self.folder).cert
        command = [self.load, "tls", "--to", proxy.port, "--believe", believed, "--conns", scenario.connections]
        command += ["--resume", int(scenario.resumes), "--seconds"]
        load = lambda seconds: json.loads(children.run([*command, seconds], seconds + GRACE))
        load(WARMUP)
        return self._gauged(proxy, lambda: load(self.seconds))

    def rate(self, scenario, proxy, rate):
        # The warm-up is a run of its own so that its CPU time is not in the figure.
        self._rate(scenario, proxy.port, rate, WARMUP)
        return self._gauged(proxy, lambda: self._rate(scenario, proxy.port, rate, self.seconds))

    def overload(self, scenario, proxy, _rate):
        calm = self._rate(scenario, proxy.port, CALM * SLOW_PER_SECOND, self.seconds)
        load = lambda seconds: self._rate(scenario, proxy.port, OVERLOAD * SLOW_PER_SECOND, seconds, may_shed=True)
        load(SETTLING)
        figures = self._gauged(proxy, lambda: load(self.seconds), scenario.body)
        # This origin does not tell who has come.
        kept = {name: figure for name, figure in figures.items() if name not in ("reuse", "shares")}
        return {**kept, "calm_p99_us": calm["p99_us"]}

    def spread(self, scenario, proxy, rate):
        found = sources.of_first_worker(proxy, scenario.connections)
        sources.adopt(proxy, 1)
        held = []
        look = threading.Timer(self.seconds / 2, lambda: held.extend(sources.connections(proxy)))
        load = lambda seconds: self._rate(
            scenario, proxy.port, rate or 0, seconds, more=["--from", ",".join(found), "--batch", SPREAD_BATCH]
        )
        load(WARMUP)
        look.start()
        figures = self._gauged(proxy, lambda: load(self.seconds))
        look.join()
        return {**figures, "held": held}

    def idle(self, scenario, proxy, _rate):
        self._rate(scenario, proxy.port, 200, 0.5, connections=1)
        before = usage(proxy.pid)
        command = [self.load, "idle", "--to", proxy.port, "--conns", scenario.connections]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        child = children.start(command, children.LOAD_CPU, **pipes)
        alarm = threading.Timer(60 + GRACE, child.kill)
        alarm.start()
        try:
            held = child.stdout.readline()
            if not held:
                raise RuntimeError(f"not all clients were served: {child.stderr.read().strip()}")
            # Long enough for a proxy to put away what an idle connection does not need.
            time.sleep(2)
            rested = usage(proxy.pid)
            time.sleep(1)
            after = usage(proxy.pid)
            printed, _ = child.communicate("\n", timeout=60)
        finally:
            alarm.cancel()
            children.stop(child)
        missing = scenario.connections - json.loads(printed)["answered"]
        return {
            "bytes_each": (after.rss_kib - before.rss_kib) * 1024 / json.loads(held)["held"],
            "rss_kib": after.rss_kib,
            "base_kib": before.rss_kib,
            "idle_cpu_us_per_s": after.since(rested).cpu_us,
            "failures": {"closed_while_idle": missing} if missing else {},
        }

    def reload(self, scenario, proxy, rate):
        self._rate(scenario, proxy.port, rate, WARMUP)
        # Both halves are watched the same way, so that what watching costs is in both.
        watch = Watch(proxy)
        before = self._watched(scenario, proxy, rate, watch, 0)
        during = self._watched(scenario, proxy, rate, watch, self.reloads())
        failures = dict(watch.failures)
        for kind, count in (*before["failures"].items(), *during["failures"].items()):
            failures[kind] = failures.get(kind, 0) + count
        return {
            "reloads": watch.asked,
            "adopted_ms": watch.adopted_ms,
            "before_p99_us": before["p99_us"],
            "p99_us": during["p99_us"],
            "p999_us": during["p999_us"],
            "requests": before["requests"] + during["requests"],
            "rss_kib": usage(proxy.pid).rss_kib,
            "failures": failures,
        }

    def _watched(self, scenario, proxy, rate, watch, reloads):
        outcome = []
        work = threading.Thread(
            target=lambda: outcome.append(self._rate(scenario, proxy.port, rate, self.seconds)), daemon=True
        )
        work.start()
        begun, done = time.monotonic(), 0
        while work.is_alive():
            # The first after half an interval, the last early enough to be adopted under load.
            if done < reloads and time.monotonic() - begun > (done + 0.5) / RELOADS_PER_SECOND:
                watch.reload()
                done += 1
            watch.poll()
            time.sleep(POLL_SECONDS)
        watch.settle()
        if not outcome:
            raise RuntimeError("the load did not finish")
        return outcome[0]

    def _gauged(self, proxy, work, body=0):
        seen, spent, tools = self._origins_counts(), usage(proxy.pid), tools_us() + self._origins_us()
        machine, begun = machine_us(), time.monotonic()
        figures = work()
        wall_us = (time.monotonic() - begun) * 1e6
        machine = machine_us() - machine
        spent = usage(proxy.pid).since(spent)
        tools = tools_us() + self._origins_us() - tools
        requests = figures["requests"]
        failures = {kind: count for kind, count in figures["failures"].items() if count}
        if requests == 0:
            return {"failures": failures or {"no_answer": 1}}
        if figures.get("bytes", requests * body) < requests * body:
            failures["short_bodies"] = 1
        arrived, opened = self._arrived_since(seen)
        return {
            "requests": requests,
            "per_second": requests / figures["seconds"],
            "cpu_us": spent.cpu_us / requests,
            "user_us": spent.user_us / requests,
            "switches": spent.switches / requests,
            "rss_kib": spent.rss_kib,
            "peak_kib": spent.peak_kib,
            "reuse": 1 - sum(opened) / max(sum(arrived), 1),
            "shares": [count / max(sum(arrived), 1) for count in arrived],
            "load_busy": tools / wall_us,
            "others_busy": max(machine - spent.cpu_us - tools, 0) / wall_us,
            "failures": failures,
            **{name: figures[name] for name in ("p50_us", "p99_us", "p999_us", "max_us", "lag_p99_us", "shed") if name in figures},
        }

    def _origins_us(self):
        others = (child for _, child in self.others.values())
        return sum(usage(child.pid).cpu_us for child in (*self.origins.values(), *others))

    def _wrk(self, scenario, port, seconds):
        url = f"{scenario.front.scheme}://127.0.0.1:{port}{scenario.path}"
        # wrk takes whole seconds.
        whole = max(round(seconds), 1)
        command = ["wrk", "-t1", f"-c{scenario.connections}", f"-d{whole}s", "--timeout", "10s"]
        command += [word for field in scenario.fields for word in ("-H", field)]
        command += ["-s", HERE / "report.lua", url, "--", scenario.name]
        return json.loads(children.run(command, whole + GRACE).strip().splitlines()[-1])

    def _rate(self, scenario, port, rate, seconds, connections=None, more=(), may_shed=False):
        command = [self.load, "rate", "--to", port, "--path", scenario.path, "--rate", rate]
        command += ["--conns", connections or scenario.connections, "--seconds", seconds, "--warmup", 0, *more]
        figures = json.loads(children.run(command, seconds + GRACE))
        if figures["shed"] and not may_shed:
            figures["failures"]["shed"] = figures["shed"]
        return figures

    def _arrived_since(self, seen):
        """Requests, and the connections opened for them, by origin."""
        pairs = list(zip(self._origins_counts(), seen))
        return tuple([now[what] - then[what] for now, then in pairs] for what in ("requests", "connections"))

    def _origins_counts(self):
        return [_json(f"http://127.0.0.1:{port}/stats") for port in self.origins]


class Scraper:
    """Asks a proxy for its metrics now and then, if it is one that is asked."""

    def __init__(self, proxy):
        self.proxy, self.took_ms = proxy, []
        self.done, self.thread = threading.Event(), threading.Thread(target=self._scrape, daemon=True)

    def __enter__(self):
        if self.proxy.is_scraped:
            self.thread.start()
        return self

    def __exit__(self, *_):
        self.done.set()
        if self.proxy.is_scraped:
            self.thread.join()

    def _scrape(self):
        while not self.done.wait(SCRAPE_SECONDS):
            begun = time.monotonic()
            _metrics(self.proxy)
            self.took_ms.append((time.monotonic() - begun) * 1000)


def _metrics(proxy):
    return _text(f"http://127.0.0.1:{proxy.admin}/metrics")


def _counted(proxy, family):
    """The sum of a family of counters."""
    samples = re.findall(rf"^{family}(?:\{{[^}}]*\}})? (\d+)", _metrics(proxy), re.MULTILINE)
    return sum(map(int, samples))


def _json(url):
    return json.loads(_text(url))


def _text(url):
    with urllib.request.urlopen(url, timeout=10) as answer:
        return answer.read().decode()


class Watch:
    """Asks a proxy over new connections which generation of its configuration it serves."""

    REQUEST = b"GET /bench-generation HTTP/1.1\r\nHost: bench.test\r\nConnection: close\r\n\r\n"

    def __init__(self, proxy):
        self.proxy, self.asked, self.changed = proxy, 0, None
        self.adopted_ms, self.failures = [], {}

    def reload(self):
        self.settle()
        self.asked += 1
        self.changed = time.monotonic()
        self.proxy.reconfigure(self.asked)

    def poll(self):
        answer = self._ask()
        if not answer.startswith(b"HTTP/1.1 200 "):
            self._fail("new_connection")
        elif self.changed is not None and answer.rstrip().endswith(b"\n" + str(self.asked).encode()):
            self.adopted_ms.append((time.monotonic() - self.changed) * 1000)
            self.changed = None

    def settle(self, seconds=10):
        """Waits until the last change is served, at most so long."""
        deadline = time.monotonic() + seconds
        while self.changed is not None and time.monotonic() < deadline:
            self.poll()
            time.sleep(POLL_SECONDS)
        if self.changed is not None:
            self.changed = None
            self._fail("not_adopted")

    def _fail(self, kind):
        self.failures[kind] = self.failures.get(kind, 0) + 1

    def _ask(self):
        whole = b""
        try:
            with socket.create_connection(("127.0.0.1", self.proxy.port), 2) as connection:
                connection.sendall(self.REQUEST)
                while part := connection.recv(4096):
                    whole += part
        except OSError:
            return b""
        return whole
