"""The proxies that are compared and the configuration each of them gets."""

import os
import resource
import shutil
import signal
import subprocess
from dataclasses import dataclass
from typing import Callable

import children

ROUTES = 10_000
# Which of the origins somebody forwards to; the last of them is all of them together behind one port.
FIRST, EACH, TOGETHER = slice(0, 1), slice(0, -1), slice(-1, None)


@dataclass
class Running:
    """A proxy that listens."""

    child: subprocess.Popen
    port: int
    reconfigure: Callable[[int], None]
    admin: int = 0

    @property
    def pid(self):
        return self.child.pid

    def stop(self):
        children.stop(self.child)


class Relay:
    reloads = False

    def __init__(self, binary, name="relay", origins=FIRST):
        self.binary, self.name, self.origins = binary, name, origins

    def version(self):
        return "bare relay"

    def start(self, folder, origins, generations=None):
        port = children.free_port()
        to = ",".join(map(str, origins[self.origins]))
        child = _launch([self.binary, "--origin", to, "--port", port], folder, self.name, port)
        return Running(child, port, lambda _generation: None)


class Configured:
    """A proxy that is started on a configuration file."""

    name = ""
    reloads = False
    cpus = children.PROXY_CPU

    def __init__(self, binary):
        self.binary = binary

    def start(self, folder, origins, generations=None):
        """Starts on generation 0 of as many as asked for, or on the plain configuration."""
        port, admin = children.free_port(), children.free_port()
        # Everything is written beforehand, outside of the watched folder: a reload is one rename.
        home, waiting = folder / self.name, folder / f"{self.name}-next"
        for place in (home, waiting):
            place.mkdir(exist_ok=True)
        for generation in range(generations or 1):
            shown = None if generations is None else generation
            (waiting / str(generation)).write_text(self.config(home, port, admin, origins, shown))
        config = home / "proxy.conf"
        os.replace(waiting / "0", config)
        child = _launch(self.command(config), folder, self.name, port, self.cpus)
        adopt = lambda generation: self.reload(child, waiting / str(generation), config)
        return Running(child, port, adopt, admin)

    def reload(self, _child, fresh, config):
        os.replace(fresh, config)


class Ringgate(Configured):
    reloads = True
    endpoints = FIRST
    # Further keys of the cluster and of its route, each with a comma behind it.
    cluster = route = ""

    def __init__(self, binary, name="ringgate"):
        super().__init__(binary)
        self.name = name

    def version(self):
        return _first_line([self.binary, "--version"])

    def command(self, config):
        return [self.binary, "run", "-c", config]

    def config(self, folder, port, admin, origins, generation):
        watch = "false" if generation is None else "true"
        endpoints = ", ".join(f'{{ url: "http://127.0.0.1:{origin}" }}' for origin in origins[self.endpoints])
        return "".join([
            "version: 1\n",
            f"runtime: {{ {self.runtime(generation)} }}\n",
            f'admin: {{ listen: "127.0.0.1:{admin}" }}\n',
            f'listeners: {{ web: {{ address: "127.0.0.1:{port}" }} }}\n',
            f"clusters: {{ app: {{ {self.cluster}endpoints: [{endpoints}] }} }}\n",
            "defaults: { route: { body_limit: 0 } }\n",
            "observability: { access_log: { output: off } }\n",
            f"reload: {{ watch: {watch} }}\n",
            "routes:\n",
            f"  - {{ name: all, match: {{ path: /* }}, {self.route}cluster: app }}\n",
            *self.more_routes(generation),
        ])

    def runtime(self, _generation):
        return "workers: 1"

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

    def config(self, folder, port, admin, origins, generation):
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
    listen 127.0.0.1:{port} backlog=65535;
    location / {{ proxy_pass http://app; }}
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

    def config(self, folder, port, admin, origins, generation):
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
  bind 127.0.0.1:{port} backlog 65535
  default_backend app
backend app
  server origin 127.0.0.1:{origins[0]}
"""


PEERS = {"nginx": Nginx, "haproxy": Haproxy}


def find_peer(name):
    """The peer of that name, or None when it is not installed."""
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
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
