"""Our own programs several times, configured differently: what a feature costs is measured against itself."""

import tokens
from contenders import EACH, FIRST, TOGETHER, Relay, Ringgate

# What the others are compared with: the one has another number of endpoints, the other another strategy.
SINGLE, PLAIN = "single", "round_robin"
# Each with a key or a cap where it needs one to be what it is.
STRATEGIES = {
    PLAIN: "",
    "weighted_round_robin": "",
    "least_connections": "",
    "least_saturated": "max_connections: 512, ",
    "p2c": "",
    "consistent_hash": "hash_key: { header: x-user }, ",
}
GUARDS = (
    "max_connections: 512, queue: { max: 256, timeout: 1s }, slow_start: 10s, breaker: {}, "
    # The origin does not count this path.
    "health: { active: { kind: http, path: /stats, interval: 1s }, passive: { max_ejected: 100% } }, "
)
RETRIES = "retry: { attempts: 3, on: [connect, reset, timeout, 503] }, "
GUARDED = "guarded"
OF_THREE = (*STRATEGIES, GUARDED)
# The floor with one endpoint and with three.
FLOOR_SINGLE, FLOOR_EACH = "relay, single", "relay, in turn"
KEPT, BALANCED = "kept", "handed over"
# One route without any policy, and with all of them.
BARE, EVERYTHING = "plain route", "every policy"
# So many that nobody is ever refused; of one client, as all of the load comes from one address.
PER_CLIENT = "limit: 1000000/1s"
# All that come are let in, or as many as the endpoint bears.
OPEN, GATED = "all let in", "admission"
# No limit; one of this process; one that gateways share by a store, of which tokens are taken ahead of use.
UNLIMITED, PROCESS, LEASED = "no limit", "process", "leased"
# Nothing told of a request, and everything that there is to tell.
UNSEEN, SEEN = "nothing told", "everything told"
# Nobody asks for metrics, or somebody does; of so many routes, each with traffic, and endpoints.
UNSCRAPED, SCRAPED = "never scraped", "scraped"
SHOWN_ROUTES, SHOWN_CLUSTERS, SHOWN_ENDPOINTS = 1000, 20, 10
# Of so many exchanges the collector gets spans.
TRACED = "1%"


class Clustered(Ringgate):
    """The gateway with a cluster of its own."""

    def __init__(self, binary, name, cluster, endpoints=EACH, route=""):
        super().__init__(binary, name)
        self.cluster, self.endpoints, self.route = cluster, endpoints, route


class Spread(Ringgate):
    """Two workers, each on a CPU. Generation 0 keeps every connection where the kernel put it, so that one may see where."""

    cpus = "0,1"

    def __init__(self, binary, name, balances):
        super().__init__(binary, name)
        self.balances = balances

    def runtime(self, generation):
        balance = "on" if self.balances and generation else "off"
        return f"workers: [0, 1], accept_balance: {balance}"

    def more_routes(self, generation):
        # A name that changes, because what changes nothing is not published.
        yield f"  - {{ name: local_{generation}, match: {{ path: /local }}, "
        yield 'respond: { status: 200, body: "Hello, world!" } }\n'


class Policed(Ringgate):
    """The gateway with a token to check, a limit, a breaker, probes, and a line of log for each request."""

    cluster = "breaker: {}, health: { active: { kind: http, path: /stats, interval: 1s }, passive: { max_ejected: 100% } }, "
    route = "policies: [who, per_client], "

    def config(self, folder, *rest):
        (folder / "secret").write_bytes(tokens.SECRET)
        self.log = folder / "access.log"
        self.log.unlink(missing_ok=True)
        issued = f"issuer: {tokens.ISSUER}, audience: {tokens.AUDIENCE}, secret_file: {folder}/secret"
        self.keys = (
            "policies:\n"
            f"  who: {{ jwt: {{ {issued}, algorithms: [HS256], forward_claims: {{ sub: x-user }} }} }}\n"
            f"  per_client: {{ rate_limit: {{ {PER_CLIENT} }} }}\n"
        )
        return super().config(folder, *rest)


class Limited(Ringgate):
    """The gateway with a limit, which a store keeps if it is shared."""

    route = "policies: [per_client], "

    def __init__(self, binary, name, is_shared):
        super().__init__(binary, name)
        self.is_shared, self.wants_store = is_shared, is_shared

    def config(self, *rest):
        store = f", store: {{ redis: 'redis://127.0.0.1:{self.store_port}', mode: leased }}" if self.is_shared else ""
        scope = "cluster" if self.is_shared else "process"
        self.keys = f"policies: {{ per_client: {{ rate_limit: {{ {PER_CLIENT}, scope: {scope}{store} }} }} }}\n"
        return super().config(*rest)


class Watched(Ringgate):
    """The gateway behind a trusted proxy, which is what Server-Timing is for, and told of or not.

    Its counters and histograms are always on; what may be off is who asks for them, log, spans and Server-Timing.
    """

    def __init__(self, binary, name, is_told):
        super().__init__(binary, name)
        self.is_scraped = self.wants_collector = is_told

    def front(self, front):
        return super().front(front) + ', trusted_proxies: ["127.0.0.0/8"]'

    def config(self, folder, *rest):
        if self.is_scraped:
            self.log = folder / "access.log"
            self.log.unlink(missing_ok=True)
            collector = f"http://127.0.0.1:{self.collector_port}"
            self.observed = f', server_timing: on, tracing: {{ otlp: "{collector}", sample: {TRACED} }}'
        return super().config(folder, *rest)


def shown_path(number):
    return f"/shown/{number}"


class Shown(Ringgate):
    """The gateway with a long page of metrics."""

    def __init__(self, binary, name, is_scraped):
        super().__init__(binary, name)
        self.is_scraped = is_scraped

    def config(self, folder, *rest):
        whole = super().config(folder, *rest)
        # Nobody is sent there.
        clusters = (
            f"shown{cluster}: {{ endpoints: [" + ", ".join(
                f'{{ url: "http://127.1.{cluster}.{number + 1}:9" }}' for number in range(SHOWN_ENDPOINTS)
            ) + "] }" for cluster in range(SHOWN_CLUSTERS)
        )
        return whole.replace("clusters: { ", "clusters: { " + ", ".join(clusters) + ", ")

    def more_routes(self, _generation):
        for number in range(SHOWN_ROUTES):
            yield f"  - {{ name: shown{number}, match: {{ path: {shown_path(number)} }}, respond: {{ status: 200 }} }}\n"


def prefix(contender):
    """What the names of a contender's variants begin with."""
    return "" if contender == "ringgate" else f"{contender} "


def strategies(chosen):
    """One endpoint, which is the three origins behind one port; the three by each strategy; the three, guarded.

    Whoever sends to three processes in turn wakes more of them than who sends to one for a while. That is the kernel's
    work and nobody's choice, so the floor is measured with both as well, and beside them an endpoint of one process.
    """
    for one in chosen:
        if isinstance(one, Relay):
            yield Relay(one.binary, FLOOR_SINGLE, TOGETHER)
            yield Relay(one.binary, FLOOR_EACH, EACH)
        elif isinstance(one, Ringgate):
            before = prefix(one.name)
            yield Clustered(one.binary, f"{before}one origin", "", FIRST)
            yield Clustered(one.binary, before + SINGLE, "", TOGETHER)
            for name, keys in STRATEGIES.items():
                yield Clustered(one.binary, before + name, f"balance: {name}, {keys}")
            yield Clustered(one.binary, before + GUARDED, f"balance: {PLAIN}, {GUARDS}", route=RETRIES)


def spread(chosen):
    """Two workers without and with accept balance."""
    for one in chosen:
        if isinstance(one, Ringgate):
            yield Spread(one.binary, prefix(one.name) + KEPT, balances=False)
            yield Spread(one.binary, prefix(one.name) + BALANCED, balances=True)


def policies(chosen):
    """The plain route and the one with every policy, and the others as they are."""
    for one in chosen:
        if isinstance(one, Ringgate):
            yield Ringgate(one.binary, prefix(one.name) + BARE)
            yield Policed(one.binary, prefix(one.name) + EVERYTHING)
        else:
            yield one


def limits(chosen):
    """No limit, one of the process, and one of a store."""
    for one in chosen:
        if isinstance(one, Ringgate):
            before = prefix(one.name)
            yield Ringgate(one.binary, before + UNLIMITED)
            yield Limited(one.binary, before + PROCESS, is_shared=False)
            yield Limited(one.binary, before + LEASED, is_shared=True)


def overload(chosen):
    """Without adaptive admission and with it."""
    for one in chosen:
        if isinstance(one, Ringgate):
            yield Clustered(one.binary, prefix(one.name) + OPEN, "", FIRST)
            yield Clustered(one.binary, prefix(one.name) + GATED, "admission: {}, ", FIRST)


def seeing(chosen):
    """Nothing told, and everything."""
    for one in chosen:
        if isinstance(one, Ringgate):
            before = prefix(one.name)
            yield Watched(one.binary, before + UNSEEN, is_told=False)
            yield Watched(one.binary, before + SEEN, is_told=True)


def scraped(chosen):
    """Without and with a scrape each second."""
    for one in chosen:
        if isinstance(one, Ringgate):
            before = prefix(one.name)
            yield Shown(one.binary, before + UNSCRAPED, is_scraped=False)
            yield Shown(one.binary, before + SCRAPED, is_scraped=True)
