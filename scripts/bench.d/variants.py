"""Our own programs several times, configured differently: what a feature costs is measured against itself."""

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
    "health: { active: { kind: http, path: /stats, interval: 1s }, passive: {} }, "
)
RETRIES = "retry: { attempts: 3, on: [connect, reset, timeout, 503] }, "
GUARDED = "guarded"
OF_THREE = (*STRATEGIES, GUARDED)
# The floor with one endpoint and with three.
FLOOR_SINGLE, FLOOR_EACH = "relay, single", "relay, in turn"
KEPT, BALANCED = "kept", "handed over"


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
