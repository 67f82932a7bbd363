"""Runs the scenarios in interleaved rounds and prints what came of it. Started by scripts/bench."""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import children
import contenders
import report
from scenarios import SCENARIOS, Bench

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ROOT / "target/rig/release"


def arguments():
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds (5)")
    parser.add_argument("--seconds", type=float, default=4, help="length of one measurement (4)")
    parser.add_argument("--scenarios", default="all", help="comma separated, of: " + ",".join(SCENARIOS))
    parser.add_argument("--peers", default="nginx,haproxy,envoy", help="comma separated, or none (nginx,haproxy,envoy)")
    parser.add_argument("--gateway", type=Path, default=ROOT / "target/release/ringgate", help="binary to measure")
    parser.add_argument("--against", type=Path, help="another ringgate binary, measured in the same rounds")
    parser.add_argument("--no-relay", action="store_true", help="leave the floor out")
    parser.add_argument("--rate", type=int, help="requests/s at full load, instead of finding the slowest's")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every round there")
    # Taken care of by the shell script; listed here for --help.
    parser.add_argument("--install-peers", action="store_true", help="install the peers and what makes load, start nothing")
    parser.add_argument("--no-build", action="store_true", help="measure what is built already")
    return parser.parse_args()


def field(options):
    """Who takes part, in the order of every round."""
    chosen = [] if options.no_relay else [contenders.Relay(TOOLS / "relay")]
    if options.gateway.exists():
        chosen.append(contenders.Ringgate(options.gateway.resolve()))
    else:
        say(f"no gateway at {options.gateway}: measuring without it")
    if options.against:
        chosen.append(contenders.Ringgate(options.against.resolve(), "against"))
    for name in filter(None, options.peers.replace("none", "").split(",")):
        if name not in contenders.PEERS:
            sys.exit(f"bench: unknown peer {name!r}; there are: {', '.join(contenders.PEERS)}")
        peer = contenders.find_peer(name)
        if peer:
            chosen.append(peer)
        else:
            say(f"{name} is not installed (scripts/bench --install-peers): measuring without it")
    return chosen


def scenarios(options):
    names = list(SCENARIOS) if options.scenarios == "all" else options.scenarios.split(",")
    unknown = [name for name in names if name not in SCENARIOS]
    if unknown:
        sys.exit(f"bench: unknown scenario {unknown[0]!r}; there are: {', '.join(SCENARIOS)}")
    return [SCENARIOS[name] for name in names]


def taking_part(scenario, chosen):
    if scenario.cast:
        return list(scenario.cast(chosen))
    fit = [contender for contender in chosen if scenario.front in contender.fronts]
    return [contender for contender in fit if contender.reloads or scenario.kind != "reload"]


def measure(bench, scenario, chosen, rounds, rate):
    """A B C A B C ...: neighbours in time are compared, so a slow minute of the machine meets everybody."""
    line = taking_part(scenario, chosen)
    results = {contender.name: [] for contender in line}
    for number in range(1, rounds + 1):
        for contender in line:
            say(f"{scenario.name} {number}/{rounds} {contender.name}")
            try:
                figures = bench.measure(scenario, contender, rate)
            except (RuntimeError, OSError, ValueError, subprocess.SubprocessError) as error:
                say(f"  {error}")
                figures = {"failures": {"measurement": 1}}
            results[contender.name].append(figures)
    return results


def saturation(bench, chosen, results, seconds, base):
    """Requests per second of the slowest contender, measured once if the rounds did not."""
    found = results.get(base)
    if found is None:
        say("finding the slowest contender's saturation")
        bench.seconds = min(seconds, 2)
        found = measure(bench, SCENARIOS[base], chosen, 1, None)
        bench.seconds = seconds
    speeds = [median(report.column(rounds, "per_second")) for rounds in found.values() if report.column(rounds, "per_second")]
    return min(speeds) if speeds else sys.exit("bench: nobody answered, there is no rate to measure at")


def run(options, chosen, wanted, folder):
    bench = Bench(TOOLS, folder, options.seconds)
    results, full = {}, {}
    for scenario in wanted:
        rate = None
        if scenario.share:
            if scenario.base not in full:
                full[scenario.base] = options.rate or saturation(bench, chosen, results, options.seconds, scenario.base)
            rate = round(full[scenario.base] * scenario.share)
        found = results[scenario.name] = measure(bench, scenario, chosen, options.rounds, rate)
        if rate:
            for figures in (one for rounds in found.values() for one in rounds):
                figures["rate"] = rate
        print(report.table(scenario, found), flush=True)
    return results


def surroundings(options, chosen):
    commit = subprocess.run(["git", "-C", ROOT, "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    model = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "?")
    return {
        "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "commit": commit.stdout.strip() or "none",
        "kernel": platform.release(),
        "cpu": f"{os.cpu_count()} x {model}",
        "load_average_at_start": round(os.getloadavg()[0], 2),
        "rounds": options.rounds,
        "seconds": options.seconds,
        "contenders": {contender.name: contender.version() for contender in chosen},
    }


def preamble(about):
    print(f"{about['cpu']}, Linux {about['kernel']}, commit {about['commit']}, {about['when']}.")
    print(f"{about['rounds']} interleaved rounds of {about['seconds']:g} s; median (least..most).")
    if about["load_average_at_start"] > 0.5:
        print(f"**The machine was busy (load average {about['load_average_at_start']}): a smoke test, not a measurement.**")
    print("; ".join(f"{name}: {version}" for name, version in about["contenders"].items()) + ".\n", flush=True)


def say(line):
    print(line, file=sys.stderr, flush=True)


def main():
    options = arguments()
    wanted = scenarios(options)
    if len(os.sched_getaffinity(0)) < 2:
        sys.exit("bench: needs two CPUs, one for the proxy and one for the load")
    for tool in ("wrk", "h2load", "nghttp", "openssl", "redis-server"):
        if not shutil.which(tool):
            sys.exit(f"bench: {tool} is missing; scripts/bench --install-peers installs it")
    chosen = field(options)
    about = surroundings(options, chosen)
    children.prepare_self()
    # Where there is memory for it, so that no disk has a part in what is measured.
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="ringgate-bench-", dir=memory) as folder:
        try:
            preamble(about)
            results = run(options, chosen, wanted, Path(folder))
        finally:
            children.stop_all()
    if options.json:
        options.json.write_text(json.dumps({"about": about, "results": results}, indent=1) + "\n")
    # A figure of ours beside a failed request says nothing: whoever calls this must notice. Peers may fail visibly.
    ours = (rounds for found in results.values() for name, rounds in found.items() if name not in contenders.PEERS)
    rounds = (one for rounds in ours for one in rounds)
    sys.exit(1 if any(figures["failures"] for figures in rounds) else 0)


if __name__ == "__main__":
    main()
