"""Starts what a measurement needs, on the CPU it belongs on, and ends all of it by its process id."""

import ctypes
import os
import random
import resource
import signal
import socket
import subprocess
import time

PROXY_CPU = 0
LOAD_CPU = 1
# Outside of the range the kernel takes client ports from, so that no connection of a run occupies one.
PORTS = range(15000, 31000)
# HAProxy plans with two for each connection it may accept.
DESCRIPTORS = 40_000
PR_SET_PDEATHSIG = 1

_libc = ctypes.CDLL(None)
_living = []


def prepare_self():
    """Keeps this program off the proxy's CPU and allows as many descriptors as the scenarios need."""
    os.sched_setaffinity(0, {LOAD_CPU})
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        enough = max(hard, DESCRIPTORS)
        resource.setrlimit(resource.RLIMIT_NOFILE, (enough, enough))
    except ValueError:
        # Only root may raise the limit: without it a proxy may refuse some of the idle clients, which then shows.
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    end_when_told()


def end_when_told():
    """Has signals end this program as an exception does, so that what it started can be ended."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: (_ for _ in ()).throw(SystemExit(130)))


def free_port():
    while True:
        port = random.choice(PORTS)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


def start(command, cpu=None, **options):
    """Starts a command, on one CPU if one is named. It is told to end should this program die."""

    def dies_with_parent():
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)

    words = [] if cpu is None else ["taskset", "-c", str(cpu)]
    words.extend(map(str, command))
    child = subprocess.Popen(words, preexec_fn=dies_with_parent, text=True, **options)
    _living.append(child)
    return child


def run(command, seconds):
    """Runs a command of the load side to its end, at most `seconds`, and returns what it printed."""
    child = start(command, LOAD_CPU, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        printed, complaint = child.communicate(timeout=seconds)
    finally:
        stop(child)
    if child.returncode != 0:
        raise RuntimeError(f"{command[0]} failed: {complaint.strip() or printed.strip()}")
    return printed


def stop(child):
    """Ends a child and what it started: asks, waits, insists."""
    tree = descendants(child.pid) if child.poll() is None else []
    for kind, patience in ((signal.SIGTERM, 5), (signal.SIGKILL, 5)):
        if child.poll() is None:
            child.send_signal(kind)
            try:
                child.wait(patience)
            except subprocess.TimeoutExpired:
                continue
    for pid in tree:
        _end_orphan(pid)
    if child in _living:
        _living.remove(child)


def stop_all():
    for child in list(_living):
        stop(child)


def descendants(pid):
    """The process and its children, theirs included."""
    found = [pid]
    for parent in found:
        try:
            for task in os.listdir(f"/proc/{parent}/task"):
                with open(f"/proc/{parent}/task/{task}/children") as children:
                    found.extend(int(child) for child in children.read().split())
        except OSError:
            continue
    return found


def wait_for_port(port, child, seconds=10):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if child.poll() is not None:
            raise RuntimeError(f"{child.args[3]} ended with status {child.returncode} instead of listening")
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.02)
    raise RuntimeError(f"{child.args[3]} did not listen within {seconds} s")


def _end_orphan(pid):
    # A worker outlives its parent only for moments; one that does not is ended here.
    deadline = time.monotonic() + 2
    started = _start_time(pid)
    while started is not None and _start_time(pid) == started:
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
            return
        time.sleep(0.01)


def _start_time(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
            return None if fields[0] == "Z" else fields[19]
    except OSError:
        return None
