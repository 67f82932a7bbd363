"""The proxies that are compared and the configuration each of them gets."""

import json
import os
import resource
import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

import children
from fronts import EVERY, GRPC, H2, H2C, PLAIN

ROUTES = 10_000
# Where scripts/bench --install-peers puts what Debian does not have.
VENV = Path(__file__).resolve().parents[2] / "target/peers"
ENVOY = "type.googleapis.com/envoy.extensions"
# Which of the origins somebody forwards to; the last of them is all of them together behind one port.
FIRST, EACH, TOGETHER = slice(0, 1), slice(0, -1), slice(-1, None)


@dataclass
class Running:
    """A proxy that listens."""

    child: subprocess.Popen
    port: int
    reconfigure: Callable[[int], None]
    # Where the gateway has its metrics.
    admin: int = 0
    # Does somebody ask for them now and then?
    is_scraped: bool = False

    @property
    def pid(self):
        return self.child.pid

    def stop(self):
        children.stop(self.child)


class Relay:
    reloads = False
    # Without a part in TLS of HTTP/1.1 and its handshakes.
    fronts = (PLAIN, H2C, H2, GRPC)

    def __init__(self, binary, name="relay", origins=FIRST):
        self.binary, self.name, self.origins = binary, name, origins

    def version(self):
        return "bare relay"

    def start(self, folder, origins, generations=None, front=PLAIN):
        port = children.free_port()
        to = ",".join(map(str, origins[self.origins]))
        # HTTP/2 has a floor of its own, which has `h2` in it.
        command = [self.binary.with_name("streams") if front.h2 else self.binary, "--origin", to, "--port", port]
        command += ["--calls", "1"] if front.calls else ["--fields", "1"] if front.h2 else []
        command += ["--cert", front.cert, "--key", front.key] if front.tls else []
        child = _launch(command, folder, self.name, port)
        return Running(child, port, lambda _generation: None)


class Configured:
    """A proxy that is started on a configuration file."""

    name = ""
    reloads = False
    has_admin = is_scraped = False
    fronts = EVERY
    cpus = children.PROXY_CPU

    def __init__(self, binary):
        self.binary = binary

    def start(self, folder, origins, generations=None, front=PLAIN):
        """Starts on generation 0 of as many as asked for, or on the plain configuration; clients find `front`."""
        port, admin = children.free_port(), children.free_port()
        # Everything is written beforehand, outside of the watched folder: a reload is one rename.
        home, waiting = folder / self.name, folder / f"{self.name}-next"
        for place in (home, waiting):
            place.mkdir(exist_ok=True)
        for generation in range(generations or 1):
            shown = None if generations is None else generation
            (waiting / str(generation)).write_text(self.config(home, port, admin, origins, shown, front))
        config = home / "proxy.conf"
        os.replace(waiting / "0", config)
        child = _launch(self.command(config), folder, self.name, port, self.cpus)
        adopt = lambda generation: self.reload(child, waiting / str(generation), config)
        return Running(child, port, adopt, admin if self.has_admin else 0, self.is_scraped)

    def reload(self, _child, fresh, config):
        os.replace(fresh, config)


class Ringgate(Configured):
    reloads = has_admin = True
    endpoints = FIRST
    # Further keys of the cluster and of its route, each with a comma behind it; further keys of the whole, by line.
    cluster = route = keys = ""
    log = "off"
    # Further keys of what is observed, each with a comma before it.
    observed = ""

    def __init__(self, binary, name="ringgate"):
        super().__init__(binary)
        self.name = name

    def version(self):
        return _first_line([self.binary, "--version"])

    def command(self, config):
        return [self.binary, "run", "-c", config]

    def config(self, folder, port, admin, origins, generation, front=PLAIN):
        watch = "false" if generation is None else "true"
        scheme = "h2c" if front.calls else "http"
        endpoints = ", ".join(f'{{ url: "{scheme}://127.0.0.1:{origin}" }}' for origin in origins[self.endpoints])
        return "".join([
            "version: 1\n",
            f"runtime: {{ {self.runtime(generation)} }}\n",
            f'admin: {{ listen: "127.0.0.1:{admin}" }}\n',
            f'listeners: {{ web: {{ address: "127.0.0.1:{port}"{self.front(front)} }} }}\n',
            f"clusters: {{ app: {{ {self.cluster}endpoints: [{endpoints}] }} }}\n",
            "defaults: { route: { body_limit: 0 } }\n",
            f"observability: {{ access_log: {{ output: {self.log} }}{self.observed} }}\n",
            f"reload: {{ watch: {watch} }}\n",
            self.keys,
            "routes:\n",
            f"  - {{ name: all, match: {{ path: /* }}, {self.route}cluster: app }}\n",
            *self.more_routes(generation),
        ])

    def runtime(self, _generation):
        return "workers: 1"

    def front(self, front):
        tls = f", tls: {{ certificates: [{{ cert: {front.cert}, key: {front.key} }}] }}" if front.tls else ""
        return tls + (", protocols: [h2, http/1.1]" if front.h2 else ", protocols: [http/1.1]")

    def more_routes(self, generation):
        if generation is None:
            return
        yield "  - { name: generation, match: { path: /bench-generation }, "
        yield f'respond: {{ status: 200, body: "{generation}" }} }}\n'
        for number in range(ROUTES):
            yield f"  - {{ name: r{number}, match: {{ path: /r{number}/g{generation}/* }}, cluster: app }}\n"


class Nginx(Configured):
    name = "nginx"
    reloads = True

    def version(self):
        return _first_line([self.binary, "-v"])

    def command(self, config):
        return [self.binary, "-e", "stderr", "-p", config.parent, "-c", config]

    def reload(self, child, fresh, config):
        os.replace(fresh, config)
        child.send_signal(signal.SIGHUP)

    def config(self, folder, port, admin, origins, generation, front=PLAIN):
        user = "user root;" if os.geteuid() == 0 else ""
        temporary = " ".join(
            f"{kind}_temp_path {folder}/nginx-{kind};"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        return f"""{user}
daemon off;
worker_processes 1;
worker_rlimit_nofile {_descriptors()};
pid {folder}/nginx.pid;
error_log stderr crit;
events {{ worker_connections 16384; }}
http {{
  access_log off;
  {temporary}
  keepalive_timeout 600s;
  keepalive_requests 1000000000;
  client_max_body_size 0;
  # Bodies stream in both directions, as they do in the other contenders.
  proxy_request_buffering off;
  proxy_max_temp_file_size 0;
  proxy_http_version 1.1;
  proxy_set_header Connection "";
  upstream app {{
    server 127.0.0.1:{origins[0]};
    keepalive 2048;
    keepalive_requests 1000000000;
    keepalive_timeout 600s;
  }}
  server {{
    listen 127.0.0.1:{port} backlog=65535{" ssl" if front.tls else ""}{" http2" if front.h2 else ""};
    {f"ssl_certificate {front.cert}; ssl_certificate_key {front.key}; ssl_protocols TLSv1.2 TLSv1.3;" if front.tls else ""}
    location / {{ {"grpc_pass grpc" if front.calls else "proxy_pass http"}://app; }}
    {"".join(self._routes(generation))}
  }}
}}
"""

    def _routes(self, generation):
        if generation is None:
            return
        yield f'location = /bench-generation {{ return 200 "{generation}"; }}\n'
        for number in range(ROUTES):
            yield f"location /r{number}/g{generation}/ {{ proxy_pass http://app; }}\n"


class Haproxy(Configured):
    name = "haproxy"

    def version(self):
        return _first_line([self.binary, "-v"])

    def command(self, config):
        return [self.binary, "-db", "-f", config]

    def config(self, folder, port, admin, origins, generation, front=PLAIN):
        alpn = "h2,http/1.1" if front.h2 else "http/1.1"
        bind = f" ssl crt {front.pair} alpn {alpn} ssl-min-ver TLSv1.2" if front.tls else " proto h2" if front.h2 else ""
        return f"""global
  nbthread 1
  # Room for the idle clients where descriptors are short: it plans with two for each, they need one.
  no strict-limits
  ulimit-n {_descriptors()}
  maxconn 12000
defaults
  mode http
  timeout connect 5s
  timeout client 600s
  timeout server 600s
  timeout http-keep-alive 600s
  option http-keep-alive
  http-reuse always
frontend web
  bind 127.0.0.1:{port} backlog 65535{bind}
  default_backend app
backend app
  server origin 127.0.0.1:{origins[0]}{" proto h2" if front.calls else ""}
"""


class Envoy(Configured):
    """As its page on benchmarking says: no circuit breaking, no request ids, no statistics of the router."""

    name = "envoy"

    def version(self):
        # Its path, a commit, the version and how it was built.
        return "envoy " + _first_line([self.binary, "--version"]).split("/")[-4]

    def command(self, config):
        quiet = ["--disable-hot-restart", "--log-level", "error"]
        return [self.binary, "--concurrency", "1", *quiet, "--config-yaml", config.read_text()]

    def config(self, folder, port, admin, origins, generation, front=PLAIN):
        unbounded = {name: 1_000_000_000 for name in ("max_connections", "max_pending_requests", "max_requests", "max_retries")}
        router = {"@type": f"{ENVOY}.filters.http.router.v3.Router", "dynamic_stats": False}
        manager = {
            "@type": f"{ENVOY}.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "web",
            "codec_type": "AUTO",
            "generate_request_id": False,
            "route_config": {"virtual_hosts": [
                {"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "app", "timeout": "0s"}}]},
            ]},
            "http_filters": [{"name": "router", "typed_config": router}],
        }
        chain = {"filters": [{"name": "http", "typed_config": manager}]}
        if front.tls:
            pair = {"certificate_chain": {"filename": str(front.cert)}, "private_key": {"filename": str(front.key)}}
            alpn = ["h2", "http/1.1"] if front.h2 else ["http/1.1"]
            chain["transport_socket"] = {"name": "tls", "typed_config": {
                "@type": f"{ENVOY}.transport_sockets.tls.v3.DownstreamTlsContext",
                "common_tls_context": {"tls_certificates": [pair], "alpn_protocols": alpn},
            }}
        endpoint = {"endpoint": {"address": _envoy_address(origins[0])}}
        options = f"{ENVOY}.upstreams.http.v3.HttpProtocolOptions"
        of_http2 = {"@type": options, "explicit_http_config": {"http2_protocol_options": {}}}
        spoken = {"typed_extension_protocol_options": {options.rpartition("/")[2]: of_http2}} if front.calls else {}
        return json.dumps({
            "stats_config": {"stats_matcher": {"reject_all": True}},
            "static_resources": {
                "listeners": [{"name": "web", "address": _envoy_address(port), "tcp_backlog_size": 65535, "filter_chains": [chain]}],
                "clusters": [{
                    "name": "app", "type": "STATIC", "connect_timeout": "5s",
                    "circuit_breakers": {"thresholds": [unbounded]}, **spoken,
                    "load_assignment": {"cluster_name": "app", "endpoints": [{"lb_endpoints": [endpoint]}]},
                }],
            },
        })


def _envoy_address(port):
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


PEERS = {"nginx": Nginx, "haproxy": Haproxy, "envoy": Envoy}


def find_peer(name):
    """The peer of that name, or None when it is not installed."""
    beyond = ["/usr/sbin", "/usr/local/sbin", *map(str, VENV.glob("lib/python*/site-packages/envoy/_bin"))]
    found = shutil.which(name, path=":".join([os.environ.get("PATH", ""), *beyond]))
    return PEERS[name](found) if found else None


def _launch(command, folder, name, port, cpus=children.PROXY_CPU):
    log = folder / f"{name}.log"
    with open(log, "w") as lines:
        quiet = {"stdin": subprocess.DEVNULL, "stdout": lines, "stderr": lines}
        child = children.start(command, cpus, **quiet)
    try:
        children.wait_for_port(port, child)
    except RuntimeError as error:
        children.stop(child)
        raise RuntimeError(f"{error}\n{log.read_text()[-2000:].strip()}") from None
    return child


def _first_line(command):
    result = subprocess.run(command, capture_output=True, text=True, timeout=10)
    return ((result.stdout + result.stderr).strip().splitlines() or ["unknown"])[0]


def _descriptors():
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
