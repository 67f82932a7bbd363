"""What a client finds when it connects to a proxy: TLS or not, HTTP/2 or HTTP/1.1, or gRPC."""

import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

NAME = "bench.test"


@dataclass(frozen=True)
class Front:
    tls: bool = False
    h2: bool = False
    # Is the origin spoken to by HTTP/2 as well, as gRPC wants it?
    calls: bool = False
    # The certificate, its key, and both in one file, in PEM.
    cert: Path | None = None
    key: Path | None = None
    pair: Path | None = None

    @property
    def scheme(self):
        return "https" if self.tls else "http"

    def certified(self, folder):
        """With a certificate of its own in `folder`, where it needs one; everybody gets the same."""
        return replace(self, **_pair(folder)) if self.tls else self


EVERY = (Front(), Front(tls=True), Front(h2=True), Front(tls=True, h2=True), Front(h2=True, calls=True))
PLAIN, TLS, H2C, H2, GRPC = EVERY


def _pair(folder):
    # P-256: what a certificate of today has.
    paths = {name: folder / f"{name}.pem" for name in ("cert", "key", "pair")}
    if not paths["pair"].exists():
        curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        named = ["-subj", f"/CN={NAME}", "-addext", f"subjectAltName=DNS:{NAME}", "-days", "2"]
        # Clients that look closely take no authority for a server.
        named += ["-addext", "basicConstraints=critical,CA:FALSE"]
        files = ["-keyout", paths["key"], "-out", paths["cert"]]
        subprocess.run(["openssl", "req", "-x509", *curve, *named, *files], check=True, capture_output=True, timeout=30)
        paths["pair"].write_text(paths["cert"].read_text() + paths["key"].read_text())
    return paths
