"""Client addresses from which the kernel gives every connection to the same worker of a gateway that does not balance."""

import json
import socket
import struct
import time
import urllib.request

# Not the address that the proxy connects to its origins from, so that a port stays free until it is wanted again.
CLIENT = "127.0.0.2"
REQUEST = b"GET /health HTTP/1.1\r\nHost: bench.test\r\n\r\n"
TRIES = 1000


def of_first_worker(proxy, count):
    """So many sources as `address:port`; their connections are closed again."""
    found, held = [], []
    try:
        # Every one stays open until all are found, so that no port comes up twice.
        while len(found) < count:
            before = connections(proxy)[0]
            held.append(_connection(proxy.port))
            if connections(proxy)[0] > before:
                found.append("%s:%d" % held[-1].getsockname())
            if len(held) > TRIES:
                raise RuntimeError("the kernel gives nothing to the first worker")
    finally:
        for client in held:
            client.close()
    _wait("its clients to be gone", lambda: sum(connections(proxy)) == 0)
    return found


def adopt(proxy, generation):
    """Reconfigures the gateway and waits until it says so."""
    epoch = _status(proxy)["epoch"]
    proxy.reconfigure(generation)
    _wait("the new configuration", lambda: _status(proxy)["epoch"] > epoch)


def connections(proxy):
    """Client connections of each worker."""
    return [worker["connections_active"] for worker in _status(proxy)["workers"]]


def _connection(port):
    client = socket.socket()
    # Closed by a reset, which leaves no trace of the port behind.
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.settimeout(5)
    client.bind((CLIENT, 0))
    client.connect(("127.0.0.1", port))
    client.sendall(REQUEST)
    if not client.recv(4096).startswith(b"HTTP/1.1 200"):
        raise RuntimeError("the gateway is not healthy")
    return client


def _status(proxy):
    with urllib.request.urlopen(f"http://127.0.0.1:{proxy.admin}/status", timeout=10) as answer:
        return json.load(answer)


def _wait(what, is_so, seconds=10):
    deadline = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > deadline:
            raise RuntimeError(f"waited in vain for {what}")
        time.sleep(0.01)
