"""A token that is good for longer than any run, and the secret it was signed with."""

import base64
import hashlib
import hmac
import json

SECRET = b"only for measuring: 32 bytes and more of what nobody has to know"
ISSUER, AUDIENCE = "https://id.bench.test", "bench"
# The last second of 2099.
EXPIRES = 4_102_444_799


def bearer():
    """The field of a request that has it."""
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "user-1", "exp": EXPIRES}
    signed = ".".join(map(_part, ({"alg": "HS256", "typ": "JWT"}, claims)))
    signature = hmac.digest(SECRET, signed.encode(), hashlib.sha256)
    return f"Authorization: Bearer {signed}.{_encoded(signature)}"


def _part(value):
    return _encoded(json.dumps(value, separators=(",", ":")).encode())


def _encoded(value):
    # Without padding (RFC 7515 section 2).
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()
