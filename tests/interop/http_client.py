"""Python's http.client against the gateway at the address given; exits with 1 at the first difference.

The origin behind the gateway answers with `METHOD PATH FRAMING LENGTH CHECKSUM`.
"""

import http.client
import sys


def checksum(body):
    total = 0
    for byte in body:
        total = (total * 31 + byte) & 0xFFFFFFFF
    return total


def expect(what, got, wanted):
    if got != wanted:
        sys.exit(f"{what}: {got!r} instead of {wanted!r}")


def exchange(connection, method, path, body=None, headers=None, chunked=False):
    connection.request(method, path, body=body, headers=headers or {}, encode_chunked=chunked)
    response = connection.getresponse()
    return response, response.read().decode()


def parts():
    for number in range(100):
        yield bytes([number]) * 1000


def main():
    connection = http.client.HTTPConnection(sys.argv[1], int(sys.argv[2]), timeout=20)
    connection.connect()
    socket = connection.sock
    for number in range(5):
        _, text = exchange(connection, "GET", f"/get/{number}")
        expect("GET", text, f"GET /get/{number} sized 0 0\n")
    body = bytes(range(256)) * 400
    _, text = exchange(connection, "POST", "/post", body)
    expect("POST", text, f"POST /post sized {len(body)} {checksum(body)}\n")
    _, text = exchange(connection, "PUT", "/chunked", parts(), {"Transfer-Encoding": "chunked"}, True)
    whole = b"".join(parts())
    expect("chunked PUT", text, f"PUT /chunked chunked {len(whole)} {checksum(whole)}\n")
    response, text = exchange(connection, "GET", "/chunks/down")
    expect("chunked response", (text, response.getheader("Transfer-Encoding")), ("GET /chunks/down sized 0 0\n", "chunked"))
    response, text = exchange(connection, "HEAD", "/head")
    expect("HEAD", (text, response.getheader("Content-Length")), ("", "1234"))
    response, text = exchange(connection, "GET", "/none")
    expect("204", (response.status, text), (204, ""))
    response, text = exchange(connection, "GET", "/old/x?y=1")
    expect("redirect", (response.status, response.getheader("Location")), (307, "/chunks/old/x"))
    expect("one connection", connection.sock is socket, True)
    _, text = exchange(connection, "GET", "/last", headers={"Connection": "close"})
    expect("close", (text, connection.sock), ("GET /last sized 0 0\n", None))


main()
