"""Both ends of gRPC as grpcio has them, with messages that are just bytes.

    grpc_calls.py serve          serves test.Echo on a port of its own, prints it, and ends with its standard input
    grpc_calls.py call ADDRESS   makes calls of every kind and prints what came of them
    grpc_calls.py fail ADDRESS   makes a call that nobody answers and prints its status
"""

import queue
import sys
from concurrent import futures

import grpc

PATIENCE_S = 20


def unary(request, context):
    context.send_initial_metadata((("x-head", "1"),))
    return request


def up(requests, context):
    lengths = [len(request) for request in requests]
    return f"{len(lengths)} {sum(lengths)}".encode()


def down(request, context):
    for number in range(int(request)):
        yield str(number).encode()


def both(requests, context):
    for request in requests:
        yield request


def fail(request, context):
    context.set_trailing_metadata((("x-why", "because"), ("x-raw-bin", b"\0\xff\n")))
    context.abort(grpc.StatusCode.DATA_LOSS, "all l\u00f6st: 100%")


def serve():
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=8))
    methods = {
        "Unary": grpc.unary_unary_rpc_method_handler(unary),
        "Up": grpc.stream_unary_rpc_method_handler(up),
        "Down": grpc.unary_stream_rpc_method_handler(down),
        "Both": grpc.stream_stream_rpc_method_handler(both),
        "Fail": grpc.unary_unary_rpc_method_handler(fail),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Echo", methods),))
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    server.start()
    sys.stdin.read()
    server.stop(None)


def takes_turns(channel):
    """Each message is answered before the next one is sent."""
    says = queue.Queue()
    answers = channel.stream_stream("/test.Echo/Both")(iter(says.get, None), timeout=PATIENCE_S)
    turns = []
    for number in range(10):
        says.put(str(number).encode())
        turns.append(next(answers))
    says.put(None)
    return b" ".join(turns).decode(), list(answers), answers.code().name


def call(address):
    with grpc.insecure_channel(address) as channel:
        answer = channel.unary_unary("/test.Echo/Unary")(b"hello", timeout=PATIENCE_S)
        print("unary", answer.decode())
        answer = channel.stream_unary("/test.Echo/Up")(iter([b"message"] * 100), timeout=PATIENCE_S)
        print("up", answer.decode())
        answers = channel.unary_stream("/test.Echo/Down")(b"5", timeout=PATIENCE_S)
        print("down", b" ".join(answers).decode(), answers.code().name)
        print("both", *takes_turns(channel))
        big = bytes(3 << 20)
        print("large", channel.unary_unary("/test.Echo/Unary")(big, timeout=PATIENCE_S) == big)
        try:
            channel.unary_unary("/test.Echo/Fail")(b"", timeout=PATIENCE_S)
        except grpc.RpcError as error:
            told = dict(error.trailing_metadata())
            print("fail", error.code().name, ascii(error.details()), told["x-why"], told["x-raw-bin"])


def fails(address):
    with grpc.insecure_channel(address) as channel:
        try:
            channel.unary_unary("/test.Echo/Unary")(b"", timeout=PATIENCE_S)
        except grpc.RpcError as error:
            print(error.code().name, error.details())


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["serve"]:
            serve()
        case ["call", address]:
            call(address)
        case ["fail", address]:
            fails(address)
