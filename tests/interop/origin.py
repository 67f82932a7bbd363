"""A small HTTP/1.1 origin that can be stopped, continued and killed as a process.

Prints `HOST:PORT` when it listens, then `METHOD PATH` for each request before it is answered; the answer is the name.
Bodies of requests need a Content-Length. The arguments are checked by argparse below.
"""

import argparse
import asyncio
import os


def tell(line):
    # Unbuffered: what was told stays told when the process is killed right after.
    os.write(1, line.encode() + b"\n")


class Connection(asyncio.Protocol):
    def __init__(self, answer, delay_s):
        self.answer, self.delay_s = answer, delay_s
        self.received = b""
        self.busy = False

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.received += data
        self.serve()

    def serve(self):
        """Takes the next request, unless one is being answered or it has not come whole."""
        end = self.received.find(b"\r\n\r\n")
        if self.busy or end < 0:
            return
        lines = self.received[:end].decode("latin-1").split("\r\n")
        fields = dict(line.lower().split(":", 1) for line in lines[1:])
        whole = end + 4 + int(fields.get("content-length", "0"))
        if len(self.received) < whole:
            return
        self.received = self.received[whole:]
        self.busy = True
        tell(lines[0].rsplit(" ", 1)[0])
        if self.delay_s:
            asyncio.get_running_loop().call_later(self.delay_s, self.reply)
        else:
            self.reply()

    def reply(self):
        self.transport.write(self.answer)
        self.busy = False
        self.serve()


async def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--name", default="origin", help="the content of each answer")
    parser.add_argument("--host", default="127.0.0.1", help="where it listens")
    parser.add_argument("--port", type=int, default=0, help="0: the kernel's choice")
    parser.add_argument("--backlog", type=int, default=1024, help="connections that may wait to be accepted")
    parser.add_argument("--sent-bytes", type=int, help="of the content; the rest never comes")
    parser.add_argument("--delay-ms", type=float, default=0, help="before each answer")
    given = parser.parse_args()
    content = given.name.encode()
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(content), content[: given.sent_bytes])
    server = await asyncio.get_running_loop().create_server(
        lambda: Connection(answer, given.delay_ms / 1000), given.host, given.port, backlog=given.backlog
    )
    host, port = server.sockets[0].getsockname()
    tell(f"{host}:{port}")
    await server.serve_forever()


asyncio.run(main())
