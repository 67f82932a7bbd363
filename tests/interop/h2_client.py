"""Python's h2 against the gateway at the port given, with TLS if the file of an authority is given too.

The origin behind the gateway answers with `METHOD PATH LENGTH`; exits with 1 at the first difference.
"""

import socket
import ssl
import sys

import h2.config
import h2.connection
import h2.events
import h2.exceptions


def expect(what, got, wanted):
    if got != wanted:
        sys.exit(f"{what}: {got!r} instead of {wanted!r}")


class Client:
    def __init__(self, port, authority):
        wire = socket.create_connection(("127.0.0.1", port), timeout=20)
        if authority:
            context = ssl.create_default_context(cafile=authority)
            context.set_alpn_protocols(["h2"])
            wire = context.wrap_socket(wire, server_hostname="a.example")
            expect("ALPN", wire.selected_alpn_protocol(), "h2")
        self.wire = wire
        self.scheme = "https" if authority else "http"
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self.h2.initiate_connection()
        self.status, self.bodies, self.trailers, self.ended, self.reset = {}, {}, {}, set(), {}
        self.pongs = 0
        self.flush()

    def flush(self):
        self.wire.sendall(self.h2.data_to_send())

    def ask(self, method, path, ends=True, extra=()):
        stream = self.h2.get_next_available_stream_id()
        fields = [(":method", method), (":scheme", self.scheme), (":authority", "a.example"), (":path", path), *extra]
        self.h2.send_headers(stream, fields, end_stream=ends)
        self.bodies[stream] = b""
        self.flush()
        return stream

    def upload(self, stream, body):
        while body:
            room = min(self.h2.local_flow_control_window(stream), self.h2.max_outbound_frame_size)
            if room == 0:
                self.step()
                continue
            self.h2.send_data(stream, body[:room])
            body = body[room:]
            self.flush()
        self.h2.end_stream(stream)
        self.flush()

    def step(self):
        came = self.wire.recv(65536)
        if not came:
            sys.exit("the end of the connection")
        for event in self.h2.receive_data(came):
            if isinstance(event, h2.events.ResponseReceived):
                self.status[event.stream_id] = dict(event.headers)[":status"]
            elif isinstance(event, h2.events.DataReceived):
                self.bodies[event.stream_id] += event.data
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, h2.events.TrailersReceived):
                self.trailers[event.stream_id] = dict(event.headers)
            elif isinstance(event, h2.events.StreamEnded):
                self.ended.add(event.stream_id)
            elif isinstance(event, h2.events.StreamReset):
                self.reset[event.stream_id] = event.error_code
            elif isinstance(event, h2.events.PingAckReceived):
                self.pongs += 1
            elif isinstance(event, h2.events.ConnectionTerminated):
                sys.exit(f"GOAWAY {event.error_code}")
        self.flush()

    def finish(self, streams):
        while not all(stream in self.ended or stream in self.reset for stream in streams):
            self.step()


def main():
    client = Client(int(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else None)
    streams = [client.ask("GET", f"/many/{number}") for number in range(90)]
    client.finish(streams)
    for number, stream in enumerate(streams):
        expect("status", client.status[stream], "200")
        expect("body", client.bodies[stream], f"GET /many/{number} 0\n".encode())
    upload = client.ask("POST", "/up", ends=False)
    client.upload(upload, b"x" * 300_000)
    sized = client.ask("PUT", "/sized", ends=False, extra=[("content-length", "70000")])
    client.upload(sized, b"x" * 70_000)
    large = [client.ask("GET", f"/large/{number}") for number in range(5)]
    client.finish([upload, sized, *large])
    expect("upload", client.bodies[upload], b"POST /up 300000\n")
    expect("sized upload", client.bodies[sized], b"PUT /sized 70000\n")
    for stream in large:
        expect("large", client.bodies[stream], b"0123456789" * 30_000)
    with_trailers = client.ask("POST", "/trailers", ends=False)
    client.h2.send_data(with_trailers, b"four")
    client.h2.send_headers(with_trailers, [("x-sum", "4")], end_stream=True)
    client.flush()
    client.finish([with_trailers])
    expect("with trailers", client.bodies[with_trailers], b"POST /trailers 4\n")
    given_up = client.ask("POST", "/given-up", ends=False)
    client.h2.reset_stream(given_up)
    client.h2.ping(b"are you?")
    client.flush()
    while client.pongs == 0:
        client.step()
    last = client.ask("GET", "/last")
    client.finish([last])
    expect("after a reset", client.bodies[last], b"GET /last 0\n")
    expect("resets of the gateway", client.reset, {})
    client.h2.close_connection()
    client.flush()


main()
