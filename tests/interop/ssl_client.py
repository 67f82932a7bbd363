"""Python's ssl against the gateway at the port given, believing the authority in the file given."""

import http.client
import socket
import ssl
import sys

PORT, AUTHORITY = int(sys.argv[1]), sys.argv[2]


def expect(what, got, wanted):
    if got != wanted:
        sys.exit(f"{what}: {got!r} instead of {wanted!r}")


def context_of(version=None):
    context = ssl.create_default_context(cafile=AUTHORITY)
    if version:
        context.minimum_version = context.maximum_version = version
    return context


def ask(context, session=None):
    wire = socket.create_connection(("127.0.0.1", PORT), timeout=20)
    wire = context.wrap_socket(wire, server_hostname="a.example", session=session)
    wire.sendall(b"GET /python HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n")
    said = b""
    # A read that ends without close_notify raises.
    while part := wire.recv(65536):
        said += part
    expect("answer", said.endswith(b"GET /python HTTP/1.1"), True)
    return wire


def expect_refusal(context, reason, name="a.example"):
    try:
        with socket.create_connection(("127.0.0.1", PORT), timeout=20) as wire:
            context.wrap_socket(wire, server_hostname=name)
    except ssl.SSLError as error:
        expect(f"{reason} in {error}", reason in str(error), True)
        return
    sys.exit("a handshake that should have failed")


def main():
    for version, name in [(ssl.TLSVersion.TLSv1_2, "TLSv1.2"), (ssl.TLSVersion.TLSv1_3, "TLSv1.3")]:
        context = context_of(version)
        first = ask(context)
        expect("version", first.version(), name)
        second = ask(context, first.session)
        expect(f"{name} resumed", (first.session_reused, second.session_reused), (False, True))
    context = context_of()
    context.set_alpn_protocols(["http/1.1"])
    expect("ALPN", ask(context).selected_alpn_protocol(), "http/1.1")
    context.set_alpn_protocols(["nonsense"])
    expect_refusal(context, "no application protocol")
    expect_refusal(context_of(), "CERTIFICATE_VERIFY_FAILED", "b.example")
    connection = http.client.HTTPSConnection("127.0.0.1", PORT, timeout=20, context=unnamed())
    for number in range(5):
        connection.request("GET", f"/kept/{number}")
        expect("kept", connection.getresponse().read().decode(), f"GET /kept/{number} HTTP/1.1")


def unnamed():
    context = context_of()
    context.check_hostname = False
    return context


main()
